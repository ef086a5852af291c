"""Commands that use a trained model: ``embed``, ``cluster`` and ``describe``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resight.cli.options import (
    CacheOption,
    DataOption,
    DeviceOption,
    EpochOption,
    FlipOption,
    FormatOption,
    QuietOption,
    RunArgument,
    SheetOption,
    TracksOption,
    given,
    given_path,
    read,
    reporter,
    shell,
)

if TYPE_CHECKING:
    import numpy as np

    from resight.clustering import PseudoLabels
    from resight.crops.cache import PixelCache
    from resight.identities import BottomUp, Dbscan, TwoStage
    from resight.model import Model
    from resight.training.reporting import Reporter


def _embed(
    model: Model, data: Path, format: str, flip: bool | None, cache: Path | None, report: Reporter
) -> tuple[PixelCache, np.ndarray]:
    """The crops that could be read and their embeddings."""
    table = read(data, format)
    report.progress("reading crops", 0, len(table))
    pixels = model.open_cache(table, cache, progress=report.progress)
    report.progress("embedding", 0, len(pixels))
    return pixels, model.embed_cached(pixels, flip, report.progress)


def _name_unreadable(pixels: PixelCache) -> None:
    for path, reason in pixels.unreadable:
        print(f"left out: {path}: {reason}")


def embed(
    run: RunArgument,
    data: DataOption,
    to: Annotated[
        Path,
        typer.Option(
            "--to", parser=given_path, metavar="FILE", help="File to write: .parquet or .npz.", show_default=False
        ),
    ],
    tracks: Annotated[
        bool,
        typer.Option(
            "--tracks",
            help="One row per track: the mean of its crops' embeddings, weighted by the column 'quality' if there is "
            "one.",
        ),
    ] = False,
    epoch: EpochOption = None,
    format: FormatOption = "auto",
    flip: FlipOption = None,
    device: DeviceOption = "auto",
    cache: CacheOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write the embedding of every crop, or of every track, to a file.

    One row per crop: its path, its known columns, and an L2-normalised float32 embedding. With --tracks one row per
    track: the path of its best crop, its camera, when it began and ended, and its number of crops.

    Example: **resight embed runs/first --data cameras/ --to embeddings.parquet**
    """
    with reporter(quiet) as report:
        from resight.export import check_embedding_file, write_embeddings, write_track_embeddings
        from resight.model import load

        check_embedding_file(to)
        model = load(run, device, epoch=epoch)
        if tracks:
            read(data, format).require("track", "--tracks")
        pixels, features = _embed(model, data, format, flip, cache, report)
    _name_unreadable(pixels)
    if tracks:
        own, means = model.embed_tracks(pixels.table, features)
        write_track_embeddings(to, pixels.table, own, means)
        by = "weighted by quality" if pixels.table.quality is not None else "all crops alike: there is no 'quality'"
        print(f"{len(means)} tracks of {len(features)} crops ({by}), {means.shape[1]} numbers each, are in {to}.")
        return
    write_embeddings(to, pixels.table, features)
    print(f"{len(features)} embeddings of {features.shape[1]} numbers are in {to}.")


class Algorithm(str, Enum):
    """How crops are grouped into identities; the names are those of :mod:`resight.identities`."""

    dbscan = "dbscan"
    two_stage = "two_stage"
    bottom_up = "bottom_up"


def cluster(
    run: RunArgument,
    data: DataOption,
    to: Annotated[
        Path,
        typer.Option(
            "--to", parser=given_path, metavar="FILE", help="Table to write: .csv or .parquet.", show_default=False
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="Settings of the algorithm that differ from the run's, such as k1=20 or crops_per_cluster=15.",
            show_default=False,
        ),
    ] = None,
    epoch: EpochOption = None,
    format: FormatOption = "auto",
    algorithm: Annotated[
        Algorithm | None,
        typer.Option(
            metavar="NAME",
            help="dbscan, two_stage or bottom_up; that of the run's method if not given.",
            show_default=False,
        ),
    ] = None,
    clusters: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Number of identities, if it is known. dbscan cannot use it: bottom_up takes its place.",
            show_default=False,
        ),
    ] = None,
    eps: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="dbscan: largest Jaccard distance of neighbours; the run's if not given.",
            show_default=False,
        ),
    ] = None,
    min_samples: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="dbscan: neighbours of a core crop; the run's if not given.", show_default=False
        ),
    ] = None,
    tracks: TracksOption = True,
    sheet: SheetOption = None,
    flip: FlipOption = None,
    device: DeviceOption = "auto",
    cache: CacheOption = None,
    quiet: QuietOption = False,
) -> None:
    """Group crops into identities.

    Writes a table with one row per crop. Its column 'cluster' counts from 0; −1 is a crop that belongs to no cluster.
    Where the crops have tracks, a track has one identity, and two tracks of one camera that overlap in time have two.

    Three algorithms: 'dbscan' finds the number of identities itself; 'two_stage' is k-means, of which each centroid
    keeps its nearest crops; 'bottom_up' merges single crops and leaves none out.

    Example: **resight cluster runs/first --data cameras/ --to identities.csv --sheet clusters.png**
    """
    from resight.cli.tables import print_remarks, print_text
    from resight.errors import ResightError
    from resight.sentences import describe_tracks

    with reporter(quiet) as report:
        from resight.analysis import describe_doubt
        from resight.export import check_cluster_file, check_picture_file, write_clusters, write_picture
        from resight.model import load
        from resight.pictures import SHEET_ROWS, cluster_sheet
        from resight.training.config import parse_overrides

        check_cluster_file(to)
        if sheet is not None:
            check_picture_file(sheet)
        # Sentences name settings as a run does, clustering.eps, say: both names work here.
        changes = {name.rpartition(".")[2]: value for name, value in parse_overrides(settings or []).items()}
        changes |= {name: value for name, value in (("eps", eps), ("min_samples", min_samples)) if value is not None}
        changes |= {"clusters": clusters} if clusters is not None else {}
        model = load(run, device, epoch=epoch)
        clustering = model.clustering(None if algorithm is None else algorithm.value, changes)
        pixels, features = _embed(model, data, format, flip, cache, report)
        report.progress("clustering", 0, 1)
        labels = model.cluster(
            features, pixels.table, algorithm=None if algorithm is None else algorithm.value, tracks=tracks, **changes
        )
        write_clusters(to, pixels.table, labels.labels)
        doubts: list[str] = []
        with suppress(ResightError):  # half of the crops may be too few
            figures = model.doubt(features, pixels.table, labels, clustering, tracks=tracks).to_dict()
            doubts = describe_doubt(figures, pixels.table.camera_names)
        if sheet is not None:
            write_picture(sheet, cluster_sheet(pixels.images, pixels.table, features, labels.labels), optimize=True)
    _name_unreadable(pixels)
    identities = "1 identity" if labels.num_clusters == 1 else f"{labels.num_clusters} identities"
    print(
        f"{identities} among {len(labels)} crops, {labels.num_outliers} crops in none, by {clustering.name}; the table "
        f"is in {to}."
    )
    print_text(describe_tracks(labels, pixels.table))
    for sentence in doubts:
        print_text(sentence)

    def again(*words: object, **changed: object) -> str:
        """This command with other settings and further words."""
        values = [f"{name}={str(value).lower()}" for name, value in (changes | changed).items()]
        options = {"--format": format, "--epoch": epoch, "--algorithm": algorithm and algorithm.value}
        alone = () if tracks else ("--no-tracks",)
        return shell("resight", "cluster", run, "--data", data, "--to", to, *given(options), *alone, *values, *words)

    print_remarks(_remarks(labels, pixels, clustering, again))
    if sheet is None:
        print(f"Next: {again('--sheet', 'clusters.png')}")
    else:
        print(f"{sheet} shows {min(SHEET_ROWS, labels.num_clusters)} of them, the most typical crop of each first.")


def _remarks(
    labels: PseudoLabels, pixels: PixelCache, clustering: Dbscan | TwoStage | BottomUp, again: Callable[..., str]
) -> list[tuple[str, str]]:
    """What is odd about clusters, each with the command that may mend it."""
    from resight.clustering.remarks import odd_clusters, remedy

    remarks = []
    for kind, text in odd_clusters(labels.labels, pixels.table.camera):
        if found := remedy(kind, clustering.name, settings := clustering.model_dump()):
            name, value = found
            remarks.append((f"{text} Try {name}={str(value).lower()} (now {settings[name]}):", again(**{name: value})))
        else:
            remarks.append((f"{text} No setting of {clustering.name} mends this: train longer, or with cameras.", ""))
    return remarks


def describe(
    run: RunArgument,
    data: DataOption,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", parser=given_path, metavar="FILE", help="Table to write: .csv or .parquet.", show_default=False
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, metavar="N", help="Reference identities named for each crop.")] = 5,
    crops: Annotated[int, typer.Option(min=1, metavar="N", help="Crops printed, spread evenly over the data.")] = 10,
    epoch: EpochOption = None,
    format: FormatOption = "auto",
    flip: FlipOption = None,
    device: DeviceOption = "auto",
    cache: CacheOption = None,
    quiet: QuietOption = False,
) -> None:
    """Describe crops by the reference identities that they resemble most.

    Needs a model of the method 'mar', whose source has the reference identities. Each name is followed by its share of
    the crop's soft multilabel; the shares of all reference identities add up to 1. A table has one row per crop, with
    the columns reference_1, share_1, reference_2, …

    Example: **resight describe runs/mar-1 --data cameras/ --top 3**
    """
    import numpy as np

    from resight.cli.tables import print_table
    from resight.errors import ResightError

    with reporter(quiet) as report:
        from resight.export import check_description_file, write_descriptions
        from resight.methods.mar import ReferenceAgents
        from resight.model import load

        if to is not None:
            check_description_file(to)
        model = load(run, device, epoch=epoch)
        reference = model.extension
        if not isinstance(reference, ReferenceAgents):
            raise ResightError(
                f"{run} is a run of {model.config.method.name}, which has no reference identities to describe crops "
                "by: train a model with the method mar."
            )
        pixels, features = _embed(model, data, format, flip, cache, report)
    _name_unreadable(pixels)
    names, shares = reference.describe(features, top)
    if to is not None:
        write_descriptions(to, pixels.table, names, shares)
        among = f"{names.shape[1]} of {len(reference.names)} reference identities"
        print(f"{len(names)} crops, each with {among}, are in {to}.")
        return
    shown = np.linspace(0, len(names) - 1, min(crops, len(names))).round().astype(int)
    rows = [
        (
            pixels.table.paths[row],
            *(f"{name} ({share:.3f})" for name, share in zip(names[row], shares[row], strict=True)),
        )
        for row in shown
    ]
    print_table(("crop", *(str(place + 1) for place in range(names.shape[1]))), rows)
    print(
        f"The names are those of the {len(reference.names)} identities of the source; --to FILE writes all "
        f"{len(names)} crops."
    )
