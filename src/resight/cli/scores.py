"""Commands that score models: ``evaluate``, ``compare`` and ``transfer``."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from resight.cli.options import (
    CacheOption,
    DataOption,
    DeviceOption,
    EpochOption,
    FlipOption,
    FormatOption,
    JsonOption,
    QuietOption,
    RunArgument,
    SplitOption,
    given_path,
    read,
    reporter,
)


class APConvention(str, Enum):
    """How average precision is computed."""

    standard = "standard"
    trapezoidal = "trapezoidal"


class DebiasForm(str, Enum):
    """What is taken away of what a camera adds to its embeddings."""

    none = "none"
    centre = "centre"
    standardise = "standardise"


def evaluate(
    run: RunArgument,
    data: DataOption,
    format: FormatOption = "auto",
    train_identities: SplitOption = None,
    epoch: EpochOption = None,
    ap: Annotated[
        APConvention,
        typer.Option(
            "--ap",
            metavar="FORM",
            help="Average precision: 'standard', or 'trapezoidal' as in Market-1501's MATLAB code.",
        ),
    ] = APConvention.standard,
    rerank: Annotated[bool, typer.Option("--rerank", help="Re-rank by k-reciprocal neighbours.")] = False,
    k1: Annotated[int, typer.Option(metavar="N", help="Neighbours in re-ranking.")] = 20,
    k2: Annotated[int, typer.Option(metavar="N", help="Neighbours averaged in re-ranking.")] = 6,
    lam: Annotated[
        float, typer.Option("--lambda", metavar="X", help="Weight of the original distance in re-ranking.")
    ] = 0.3,
    rerank_cameras: Annotated[
        bool,
        typer.Option(
            "--rerank-cameras",
            help="Re-rank by neighbours within and across cameras (CA-Jaccard). Uses at least 3 cameras.",
        ),
    ] = False,
    debias: Annotated[
        DebiasForm,
        typer.Option(
            "--debias",
            metavar="FORM",
            help="What to take away of each camera's embeddings: 'none', its mean ('centre'), or mean and deviation "
            "('standardise'). Uses cameras.",
        ),
    ] = DebiasForm.none,
    tracks: Annotated[
        bool,
        typer.Option(
            "--tracks",
            help="Rank tracks instead of crops: the mean of each track's embeddings, weighted by the column 'quality' "
            "if there is one. Uses tracks and cameras.",
        ),
    ] = False,
    clustering: Annotated[
        bool,
        typer.Option("--clustering", help="Also cluster the test crops and compare the clusters with the identities."),
    ] = False,
    flip: FlipOption = None,
    device: DeviceOption = "auto",
    cache: CacheOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score a trained model on labelled query and gallery crops.

    Example: **resight evaluate runs/first --data Market-1501-v15.09.15 --rerank**
    """
    from resight.cli.tables import print_scores

    with reporter(quiet) as report:
        from resight.evaluation import RerankOptions
        from resight.model import load
        from resight.scoring import evaluate as evaluate_model

        options = RerankOptions(k1=k1, k2=k2, lam=lam, cameras=rerank_cameras)  # checked before the model is loaded
        model = load(run, device, epoch=epoch)
        table = read(data, format, train_identities)
        scores = evaluate_model(
            model,
            table,
            ap=ap.value,
            rerank=options if rerank or rerank_cameras else None,
            debias=debias.value,
            flip=flip,
            tracks=tracks,
            clustering=clustering,
            cache=cache,
            progress=report.progress,
        )
    assert model.run is not None
    scores |= model.run.facts(epoch)
    if as_json:
        print(json.dumps(scores))
    else:
        print_scores(scores, f"Retrieval, epoch {epoch}" if epoch else "Retrieval, last epoch")


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN", help="Run folders, or NAME=RUN,RUN for several seeds of one method."),
    ],
    data: DataOption,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The run to compare with; the first if not given.", show_default=False),
    ] = None,
    format: FormatOption = "auto",
    train_identities: SplitOption = None,
    ap: Annotated[
        APConvention,
        typer.Option("--ap", metavar="FORM", help="Average precision: 'standard' or 'trapezoidal'."),
    ] = APConvention.standard,
    rerank: Annotated[bool, typer.Option("--rerank", help="Re-rank by k-reciprocal neighbours.")] = False,
    rerank_cameras: Annotated[
        bool,
        typer.Option(
            "--rerank-cameras",
            help="Re-rank by neighbours within and across cameras (CA-Jaccard). Uses at least 3 cameras.",
        ),
    ] = False,
    draws: Annotated[int, typer.Option(min=1, max=10**7, metavar="N", help="Draws of the bootstrap.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, metavar="N", help="Seed of the draws.")] = 0,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", parser=given_path, metavar="FILE", help="File to write: .csv, .md or .json.", show_default=False
        ),
    ] = None,
    flip: FlipOption = None,
    device: DeviceOption = "auto",
    cache: CacheOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say how sure the difference between runs is, by a paired bootstrap over queries.

    All runs are scored on the same query and gallery crops. Queries are drawn anew 10,000 times, for all runs together;
    the interval holds 95 % of the differences. Several seeds of one method are averaged first.

    Example: **resight compare runs/first pplr=runs/pplr-1,runs/pplr-2 --data market1501**
    """
    from resight.cli.tables import print_comparison

    with reporter(quiet) as report:
        from resight.comparison import compare as compare_runs
        from resight.evaluation import RerankOptions
        from resight.export import check_comparison_file, write_comparison

        if to is not None:
            check_comparison_file(to)
        groups = _named_runs(runs)
        found = compare_runs(
            groups,
            read(data, format, train_identities),
            baseline=baseline,
            ap=ap.value,
            rerank=RerankOptions(cameras=rerank_cameras) if rerank or rerank_cameras else None,
            flip=flip,
            draws=draws,
            seed=seed,
            device=device,
            cache=cache,
            progress=report.progress,
        )
        if to is not None:
            write_comparison(to, found)
    if as_json:
        print(json.dumps(found))
    else:
        print_comparison(found)


def _named_runs(words: list[str]) -> dict[str, list[Path]]:
    """Run folders by name: a word is a folder, or ``NAME=FOLDER,FOLDER``."""
    from resight.errors import ResightError

    groups: dict[str, list[Path]] = {}
    for word in words:
        folders: str | None
        name, equals, folders = word.partition("=")
        if not equals or given_path(word).exists():  # a folder's name may hold "="
            name, folders = word, None
        if not name:
            raise ResightError(f"'{word}' has no name: write NAME=RUN,RUN or a run folder.")
        if name in groups:
            raise ResightError(f"'{name}' is named twice: give every group another name.")
        groups[name] = [given_path(word)] if folders is None else [given_path(one) for one in folders.split(",")]
    return groups


def transfer(
    source: Annotated[
        Path, typer.Argument(parser=given_path, metavar="SOURCE", help="The run folder of the source model.")
    ],
    source_data: Annotated[
        Path,
        typer.Option(
            "--source-data",
            parser=given_path,
            metavar="PATH",
            help="The labelled data that model was trained on.",
            show_default=False,
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            "--data", parser=given_path, metavar="PATH", help="The target: other labelled data.", show_default=False
        ),
    ],
    adapted: Annotated[
        list[Path] | None,
        typer.Argument(
            parser=given_path,
            metavar="ADAPTED",
            help="Run folders of models trained on the target.",
            show_default=False,
        ),
    ] = None,
    source_format: Annotated[str, typer.Option(metavar="NAME", help="Format of the source, as for --format.")] = "auto",
    source_identities: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Divide the source by identity, as for --train-identities.", show_default=False
        ),
    ] = None,
    format: FormatOption = "auto",
    train_identities: SplitOption = None,
    flip: FlipOption = None,
    device: DeviceOption = "auto",
    cache: CacheOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score a source model on its own data and on a target, before and after adaptation.

    Example: **resight transfer runs/source runs/adapted --source-data dukemtmc --data market1501**
    """
    from resight.cli.tables import print_text, print_transfer
    from resight.sentences import describe_model

    with reporter(quiet) as report:
        from resight.model import load
        from resight.transfer import transfer_report

        models = [load(run, device) for run in (source, *(adapted or []))]
        tables = read(source_data, source_format, source_identities), read(data, format, train_identities)
        rows = transfer_report(models[0], *tables, models[1:], flip=flip, cache=cache, progress=report.progress)
    if as_json:
        print(json.dumps(rows))
        return
    print_transfer(rows, source_data.name, data.name)
    for model in models[1:]:
        assert model.run is not None
        config = model.config
        print_text(describe_model(str(model.run.path), config.method.name, config.encoder.weights, model.run.facts()))
