"""The commands: thin words over :mod:`resight.model` and the rooms below it."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resight import __version__

if TYPE_CHECKING:
    import numpy as np

    from resight.crops import CropTable
    from resight.crops.cache import PixelCache
    from resight.model import Model

app = typer.Typer(
    name="resight",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Learn to recognise the same person across cameras, without one label.\n\n"
    "Start with **resight check PATH**, then **resight train cluster_contrast --data PATH**.",
)


class APConvention(str, Enum):
    """How average precision is computed."""

    standard = "standard"
    trapezoidal = "trapezoidal"


DataOption = Annotated[
    Path, typer.Option("--data", help="Folder of crops or of a dataset, or a CSV or Parquet table.", show_default=False)
]
FormatOption = Annotated[
    str,
    typer.Option(help="auto, market1501, dukemtmc, msmt17, veri776, cuhk03-np, personx, ward, folder, csv or parquet."),
]
SplitOption = Annotated[
    int | None,
    typer.Option(
        "--train-identities",
        min=1,
        metavar="N",
        help="Divide labelled crops: the first N identities train (labels unseen), the others test.",
        show_default=False,
    ),
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder that 'resight train' made.")]
SettingsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Settings that differ from the recipe's; 'resight recipes --settings' lists all.",
        show_default=False,
    ),
]
EpochOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="An earlier epoch, where training kept its weights (keep_every); the last if not given.",
        show_default=False,
    ),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(help="Folder for decoded crops; 'pixels' beside the run if not given.", show_default=False),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars: plain lines, for logs.")]
FlipOption = Annotated[
    bool | None,
    typer.Option(
        "--flip/--no-flip", help="Add each mirror image's embedding.  [default: as in training]", show_default=False
    ),
]


def _version(value: bool) -> None:
    if value:
        print(f"resight {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    return None


def _read(data: Path, format: str, train_identities: int | None) -> CropTable:
    from resight.crops import read_crops

    return read_crops(data, format, train_identities=train_identities)


def _reporter(quiet: bool) -> Any:
    import sys

    from resight.training.reporting import BarReporter, LogReporter

    return LogReporter() if quiet or not sys.stderr.isatty() else BarReporter()


@app.command()
def train(
    method: Annotated[str, typer.Argument(help="The method; 'resight methods' lists them.", show_default=False)],
    data: DataOption,
    settings: SettingsArgument = None,
    format: FormatOption = "auto",
    train_identities: SplitOption = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="A recipe's name ('resight recipes' lists them) or a YAML file; 'default' if not given.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder; runs/METHOD-1, -2, … if not given.", show_default=False)
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(help="Labelled crops of other people, for a method that needs them (mar).", show_default=False),
    ] = None,
    source_identities: Annotated[
        int | None,
        typer.Option(min=2, help="Only the first N people of the source; all if not given.", show_default=False),
    ] = None,
    source_format: Annotated[str, typer.Option(help="Of the source, as --format.")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out after a stop.")] = False,
    cache: CacheOption = None,
    quiet: QuietOption = False,
) -> None:
    """Train a model, without labels unless the method is called supervised.

    Identities in the data are never used for training, but by the method 'supervised': where there are labelled query
    and gallery crops, the model is scored on them at the end. Those of a --source are labels.

    Example: **resight train cluster_contrast --data cameras/ --out runs/first epochs=20**
    """
    from resight.errors import ResightError
    from resight.model import can_be_scored, resolve_config
    from resight.model import train as train_model

    if resume and out is None:
        raise ResightError("--resume needs --out RUN, the run folder to go on with.")
    # A slip in a setting is told before the crops are read.
    resolve_config(method, recipe, settings or [], resume=out if resume else None)
    table = _read(data, format, train_identities)
    out = out or _fresh_folder(method)
    with _reporter(quiet) as reporter:
        model = train_model(
            method,
            table,
            out,
            recipe=recipe,
            settings=settings or [],
            source=None if source is None else _read(source, source_format, None),
            source_identities=source_identities,
            resume=resume,
            cache=cache,
            reporter=reporter,
        )
    run = model.run
    assert run is not None
    if can_be_scored(table):
        _print_scores(json.loads(run.evaluation_file.read_text(encoding="utf-8")))
    elif table.identity is None:
        print("The crops have no identities, so there are no labels to score against.")
    else:
        print("No identities were held out (--train-identities N does so), so there is nothing to score against.")
    print(f"The model and its metrics are in {run.path}.")
    print(f"Next: resight cluster {run.path} --data {data} --to identities.csv")


def _fresh_folder(method: str) -> Path:
    number = 1
    while (folder := Path("runs") / f"{method}-{number}").exists():
        number += 1
    return folder


@app.command()
def evaluate(
    run: RunArgument,
    data: DataOption,
    format: FormatOption = "auto",
    train_identities: SplitOption = None,
    epoch: EpochOption = None,
    ap: Annotated[
        APConvention,
        typer.Option(
            "--ap", metavar="FORM", help="Average precision: 'standard', or 'trapezoidal' as Market-1501's MATLAB code."
        ),
    ] = APConvention.standard,
    rerank: Annotated[bool, typer.Option("--rerank", help="Re-rank by k-reciprocal neighbours.")] = False,
    k1: Annotated[int, typer.Option(help="Neighbours in re-ranking.")] = 20,
    k2: Annotated[int, typer.Option(help="Neighbours averaged in re-ranking.")] = 6,
    lam: Annotated[float, typer.Option("--lambda", help="Weight of the original distance in re-ranking.")] = 0.3,
    clustering: Annotated[
        bool, typer.Option("--clustering", help="Also cluster the test crops and compare with their identities.")
    ] = False,
    flip: FlipOption = None,
    cache: CacheOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Score a trained model on labelled query and gallery crops.

    Example: **resight evaluate runs/first --data Market-1501-v15.09.15 --rerank**
    """
    from resight.evaluation import RerankOptions
    from resight.model import evaluate as evaluate_model
    from resight.model import load

    model = load(run, epoch=epoch)
    table = _read(data, format, train_identities)
    with _reporter(quiet) as reporter:
        scores = evaluate_model(
            model,
            table,
            ap=ap.value,
            rerank=RerankOptions(k1=k1, k2=k2, lam=lam) if rerank else None,
            flip=flip,
            clustering=clustering,
            cache=cache,
            progress=reporter.progress,
        )
    assert model.run is not None
    scores |= model.run.facts(epoch)
    if as_json:
        print(json.dumps(scores))
    else:
        _print_scores(scores, f"Retrieval, epoch {epoch}" if epoch else "Retrieval, last epoch")


def _print_scores(scores: dict[str, Any], title: str = "Retrieval, last epoch") -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=title, title_justify="left")
    names = {"mAP": "mAP", "rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10", "mINP": "mINP"}
    for name in names.values():
        table.add_column(name, justify="right")
    table.add_row(*(f"{100 * scores[key]:.1f}" for key in names))
    console.print(table)
    cameras = scores.get("camera_use_in_training") or []
    rerank = scores.get("rerank")
    lines = [
        f"epoch {scores['epoch']}" if scores.get("epoch") else "",
        f"{scores['scored_queries']} queries scored, {scores['skipped_queries']} without a right answer skipped",
        f"{scores['gallery_size']} gallery crops"
        + (f", {scores['gallery_junk']} of them junk" if scores["gallery_junk"] else ""),
        f"AP {scores['ap']}",
        "re-ranked with " + ", ".join(f"{k}={v}" for k, v in rerank.items()) if rerank else "",
        "mirror images added" if scores.get("flip") else "",
        f"{scores['unreadable']} unreadable crops left out" if scores.get("unreadable") else "",
        "identities in training: yes, this is a supervised model" if scores.get("identity_use_in_training") else "",
        "camera labels in training: " + (", ".join(cameras) if cameras else "none"),
        *(_describe_start(start) for start in scores.get("started_from") or []),
        f"labels of another set in training: {source['crops']} crops of {source['people']} people in {source['root']}"
        if (source := scores.get("source_in_training"))
        else "",
    ]
    console.print("; ".join(line for line in lines if line) + ".", highlight=False)
    if best := scores.get("best_epoch"):
        console.print(
            f"Best epoch by these same figures, {best['epoch']} (not to be quoted as the result): "
            f"mAP {100 * best['mAP']:.1f}, rank-1 {100 * best['rank1']:.1f}.",
            highlight=False,
        )
    if quality := scores.get("clustering"):
        table = Table(
            "", "clustered crops", "all, outliers alone", title="Clusters of the test crops", title_justify="left"
        )
        for key in ("ari", "ami", "fowlkes_mallows", "v_measure", "homogeneity", "completeness"):
            name = key.upper() if len(key) == 3 else key.replace("_", "-")
            table.add_row(name, f"{quality[key]:.3f}", f"{quality['all_' + key]:.3f}")
        console.print(table)
        console.print(f"{quality['clusters']} clusters, {quality['outliers']} outliers.", highlight=False)


@app.command()
def transfer(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="The run folder of the source model.")],
    source_data: Annotated[
        Path, typer.Option("--source-data", help="The labelled data it was trained on.", show_default=False)
    ],
    data: Annotated[Path, typer.Option("--data", help="The target: other labelled data.", show_default=False)],
    adapted: Annotated[
        list[Path] | None,
        typer.Argument(metavar="ADAPTED", help="Run folders of models trained on the target.", show_default=False),
    ] = None,
    source_format: Annotated[str, typer.Option(help="As --format, of the source.")] = "auto",
    source_identities: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="As --train-identities, of the source.", show_default=False),
    ] = None,
    format: FormatOption = "auto",
    train_identities: SplitOption = None,
    flip: FlipOption = None,
    cache: CacheOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Score a source model at home and on a target, before and after adaptation.

    Example: **resight transfer runs/source runs/adapted --source-data dukemtmc --data market1501**
    """
    from rich.console import Console
    from rich.table import Table

    from resight.model import load, transfer_report

    models = [load(run) for run in (source, *(adapted or []))]
    tables = _read(source_data, source_format, source_identities), _read(data, format, train_identities)
    with _reporter(quiet) as reporter:
        rows = transfer_report(models[0], *tables, models[1:], flip=flip, cache=cache, progress=reporter.progress)
    if as_json:
        print(json.dumps(rows))
        return
    console = Console()
    names = {"mAP": "mAP", "rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10"}
    table = Table(title="Transfer, last epochs", title_justify="left")
    for name in ("", "model"):
        table.add_column(name, overflow="fold")
    for name in names.values():
        table.add_column(name, justify="right")
    for row in rows:
        if row["data"] == "source":
            what = source_data.name
        else:
            what = f"{source_data.name} to {data.name}, {'after' if row['adapted'] else 'before'} adaptation"
        table.add_row(what, row["model"], *(f"{100 * row[name]:.1f}" for name in names))
    console.print(table)
    for model in models[1:]:
        assert model.run is not None
        facts = model.run.facts()
        starts = [_describe_start(start) for start in facts["started_from"]]
        words = [
            f"{model.run.path}: {model.config.method.name}, epoch {facts['epoch']}",
            *(starts or [f"started from weights {model.config.encoder.weights}"]),
            f"camera labels in training: {', '.join(facts['camera_use_in_training']) or 'none'}",
            "identities in training: yes" if facts["identity_use_in_training"] else "",
        ]
        console.print("; ".join(word for word in words if word) + ".", highlight=False)


def _describe_start(start: dict[str, Any]) -> str:
    """Where a run's first weights come from, in words."""
    labels = "with identities" if start["identity_use"] else "without identities"
    return f"started from {start['run']}, trained {labels} on {start['root']}"


def _embed_data(
    run: Path, epoch: int | None, data: Path, format: str, flip: bool | None, cache: Path | None, quiet: bool
) -> tuple[Model, PixelCache, np.ndarray]:
    """The run's model, the crops that could be read, and their embeddings; names the crops that could not."""
    from resight.model import load

    model = load(run, epoch=epoch)
    table = _read(data, format, None)
    with _reporter(quiet) as reporter:
        pixels = model.open_cache(table, cache, progress=reporter.progress)
        features = model.embed_cached(pixels, flip, reporter.progress)
    for path, reason in pixels.unreadable:
        print(f"left out: {path}: {reason}")
    return model, pixels, features


@app.command()
def embed(
    run: RunArgument,
    data: DataOption,
    to: Annotated[Path, typer.Option("--to", help="File to write: .parquet or .npz.", show_default=False)],
    epoch: EpochOption = None,
    format: FormatOption = "auto",
    flip: FlipOption = None,
    cache: CacheOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write the embedding of every crop to a file.

    One row a crop: its path, what is known of it, and an L2-normalised float32 embedding.

    Example: **resight embed runs/first --data cameras/ --to embeddings.parquet**
    """
    from resight.export import check_embedding_file, write_embeddings

    check_embedding_file(to)
    _, pixels, features = _embed_data(run, epoch, data, format, flip, cache, quiet)
    write_embeddings(to, pixels.table, features)
    print(f"{len(features)} embeddings of {features.shape[1]} numbers are in {to}.")


@app.command()
def cluster(
    run: RunArgument,
    data: DataOption,
    to: Annotated[Path, typer.Option("--to", help="Table to write: .csv or .parquet.", show_default=False)],
    epoch: EpochOption = None,
    format: FormatOption = "auto",
    eps: Annotated[
        float | None, typer.Option(help="Largest Jaccard distance of neighbours; the run's if not given.")
    ] = None,
    min_samples: Annotated[int | None, typer.Option(help="Neighbours of a core crop; the run's if not given.")] = None,
    clusters: Annotated[
        int | None,
        typer.Option(help="How many identities there are, if that is known: merges bottom-up, without outliers."),
    ] = None,
    flip: FlipOption = None,
    cache: CacheOption = None,
    quiet: QuietOption = False,
) -> None:
    """Give every crop an identity found by clustering.

    The column 'cluster' counts from 0; −1 is a crop that belongs to none.

    Example: **resight cluster runs/first --data cameras/ --to identities.csv**
    """
    from resight.errors import ResightError
    from resight.export import check_cluster_file, write_clusters

    check_cluster_file(to)
    if clusters is not None and (eps is not None or min_samples is not None):
        raise ResightError("--clusters merges bottom-up, without --eps and --min-samples: leave these out.")
    model, pixels, features = _embed_data(run, epoch, data, format, flip, cache, quiet)
    labels = model.cluster(features, pixels.table, clusters=clusters, eps=eps, min_samples=min_samples)
    write_clusters(to, pixels.table, labels.labels)
    print(
        f"{labels.num_clusters} identities among {len(labels)} crops, {labels.num_outliers} crops in none; "
        f"the table is in {to}."
    )


@app.command()
def describe(
    run: RunArgument,
    data: DataOption,
    to: Annotated[
        Path | None, typer.Option("--to", help="Table to write: .csv or .parquet.", show_default=False)
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Reference persons named for each crop.")] = 5,
    crops: Annotated[int, typer.Option(min=1, help="Crops printed, spread evenly over the data.")] = 10,
    epoch: EpochOption = None,
    format: FormatOption = "auto",
    flip: FlipOption = None,
    cache: CacheOption = None,
    quiet: QuietOption = False,
) -> None:
    """Describe crops by the reference persons that they are most like, with a model of the method 'mar'.

    Each person is followed by its share of the crop's soft multilabel, whose shares add up to 1. A table has one row a
    crop, with the columns person_1, share_1, person_2, …

    Example: **resight describe runs/mar-1 --data cameras/ --top 3**
    """
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from resight.export import check_description_file, write_descriptions

    if to is not None:
        check_description_file(to)
    model, pixels, features = _embed_data(run, epoch, data, format, flip, cache, quiet)
    persons, shares = model.describe(features, top)
    if to is not None:
        write_descriptions(to, pixels.table, persons, shares)
        print(f"{len(persons)} crops, each with {persons.shape[1]} of {len(model.persons)} persons, are in {to}.")
        return
    listing = Table("crop", *(f"{place + 1}" for place in range(persons.shape[1])))
    for row in np.linspace(0, len(persons) - 1, min(crops, len(persons))).round().astype(int):
        cells = (f"{name} ({share:.3f})" for name, share in zip(persons[row], shares[row], strict=True))
        listing.add_row(pixels.table.paths[row], *cells)
    Console().print(listing)
    print(
        f"Persons by their names in the {len(model.persons)} of the source; --to FILE writes all {len(persons)} crops."
    )


@app.command()
def attention(
    run: RunArgument,
    data: DataOption,
    to: Annotated[Path, typer.Option("--to", help="Picture to write: .png or .jpg.", show_default=False)],
    crops: Annotated[int, typer.Option(min=1, help="Crops shown, spread evenly over the data.")] = 8,
    epoch: EpochOption = None,
    format: FormatOption = "auto",
    cache: CacheOption = None,
    quiet: QuietOption = False,
) -> None:
    """Draw what a model looks at in some crops.

    Each row has a crop, the strength of its last feature map, that map laid over the crop, and, where the encoder has
    attention, the spatial attention at the end of each stage or behind the backbone.

    Example: **resight attention runs/first --data cameras/ --to maps.png**
    """
    import numpy as np

    from resight.export import check_picture_file
    from resight.model import load
    from resight.pictures import attention_sheet

    check_picture_file(to)
    model = load(run, epoch=epoch)
    table = _read(data, format, None)
    shown = np.linspace(0, len(table) - 1, min(crops, len(table))).round().astype(int)
    with _reporter(quiet) as reporter:
        pixels = model.open_cache(table.select(shown), cache, max_unreadable=1, progress=reporter.progress)
    for path, reason in pixels.unreadable:
        print(f"left out: {path}: {reason}")
    maps = model.attention_maps(pixels.images)
    attention_sheet(pixels.images, maps, pixels.table).save(to)
    what = "their activation" if len(maps) == 1 else f"their activation and {len(maps) - 1} of attention"
    print(f"{len(pixels)} crops and maps of {what} are in {to}.")


class Level(str, Enum):
    """How much speaks against recognising anybody in a synthetic world."""

    easy = "easy"
    medium = "medium"
    hard = "hard"


def _list_knobs(value: bool) -> None:
    if value:
        from rich.console import Console
        from rich.table import Table

        from resight.synthesis import describe_knobs

        table = Table("setting", "easy", "medium", "hard", "meaning")
        for row in describe_knobs():
            table.add_row(*row)
        Console().print(table)
        raise typer.Exit


@app.command()
def synth(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to make.", show_default=False)],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="Further settings that differ from the level's; --settings lists all.",
            show_default=False,
        ),
    ] = None,
    identities: Annotated[int, typer.Option(help="People, training and test together.")] = 200,
    cameras: Annotated[int, typer.Option(help="Cameras.")] = 6,
    crops: Annotated[int, typer.Option(help="Images in all.")] = 4000,
    seed: Annotated[int, typer.Option(help="Another seed, another world.")] = 0,
    level: Annotated[Level, typer.Option(help="How much speaks against recognising anybody.")] = Level.medium,
    list_settings: Annotated[
        bool,
        typer.Option("--settings", callback=_list_knobs, is_eager=True, help="List every setting and stop."),
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Make crops of people who do not exist: data without forms, whose truth is known.

    The folder is in the layout of Market-1501, with all that is true of each crop in crops.parquet. The same settings
    give the same files; after a stop the same command goes on.

    Example: **resight synth world --identities 100 --crops 2000 occlusion=0.3**
    """
    from resight.synthesis import world_config, write_world
    from resight.training.config import parse_overrides

    chosen = {"identities": identities, "cameras": cameras, "crops": crops, "seed": seed, "level": level.value}
    config = world_config(**(chosen | parse_overrides(settings or [])))
    with _reporter(quiet) as reporter:
        made = write_world(out, config, progress=reporter.progress)
    counts = {name: len(made.table.subset(name)) for name in ("train", "query", "gallery")}
    if made.drawn:
        before = f", {made.found} were there before" if made.found else ""
        print(f"{made.drawn} crops were rendered{before}: " + ", ".join(f"{n} {s}" for s, n in counts.items()) + ".")
    else:
        print(f"{out} holds this world already, {made.found} crops: nothing was rendered.")
    print(f"Next: resight train cluster_contrast --data {out}")


@app.command()
def demo(
    settings: SettingsArgument = None,
    out: Annotated[Path, typer.Option(help="The folder for all it makes.")] = Path("demo"),
    crops: Annotated[int, typer.Option(min=400, help="Images in the synthetic world.")] = 4000,
    quiet: QuietOption = False,
) -> None:
    """See the whole way in a few minutes: synthetic crops, training without labels, scores, pictures.

    A second call uses what the first one made.

    Example: **resight demo**
    """
    from rich.console import Console
    from rich.table import Table

    from resight.demo import run_demo

    with _reporter(quiet) as reporter:
        made = run_demo(out, settings=settings or [], crops=crops, reporter=reporter)
    console = Console()
    console.print("\nFinding people it never saw in other cameras, in per cent:", highlight=False)
    table = Table("", "mAP", "rank-1")
    for name, record in (("before training", made.before), ("after", made.after)):
        table.add_row(name, f"{100 * record['test_mAP']:.1f}", f"{100 * record['test_rank1']:.1f}")
    console.print(table)
    where = {
        made.world: "crops of people who do not exist; crops.parquet has all that is true of them",
        made.run.path: "the run: settings, metrics of each epoch, labels, weights",
        **made.pictures,
    }
    listing = Table("what lies where", "", show_header=False, box=None)
    for path, what in where.items():
        listing.add_row(str(path), what)
    console.print(listing)
    console.print(
        f"\n{made.clusters} clusters among the crops of {made.people} test people and some strangers; "
        f"{made.seconds / 60:.1f} minutes this time.",
        highlight=False,
    )
    print(f"Next: resight embed {made.run.path} --data {made.world} --to embeddings.parquet")
    print("      resight train cluster_contrast --data your/crops")


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="Folder of crops or of a dataset, or a CSV or Parquet table.")],
    format: FormatOption = "auto",
    train_identities: SplitOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Files named in each list.")] = 20,
) -> None:
    """Look at crops before training: counts, unreadable files, duplicates, odd shapes.

    Exit status 1 if a file cannot be read.

    Example: **resight check cameras/**
    """
    from rich.console import Console

    from resight.crops import check_crops, render

    report = check_crops(_read(path, format, train_identities))
    render(report, Console(), limit=limit)
    if not report.ok:
        raise typer.Exit(1)


class Thinning(str, Enum):
    """Which crops are left out."""

    unbalanced = "unbalanced"
    balanced = "balanced"


@app.command()
def thin(
    data: DataOption,
    to: Annotated[Path, typer.Option("--to", help="Table to write: .csv or .parquet.", show_default=False)],
    format: FormatOption = "auto",
    train_identities: SplitOption = None,
    how: Annotated[
        Thinning,
        typer.Option(
            help="'unbalanced': all crops of 0 to all cameras of each person; 'balanced': as many crops as that with "
            "the same seed, evenly from each person in each camera."
        ),
    ] = Thinning.unbalanced,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other crops.")] = 0,
) -> None:
    """Leave out training crops, to see how a method bears people who are seen unequally often.

    Needs identities and cameras. Query and gallery stay as they are. The table can be trained on as any other.

    Example: **resight thin --data market1501-train --train-identities 500 --to unbalanced.csv**
    """
    import numpy as np

    from resight.crops import TRAIN, balanced_subset, unbalanced_subset, write_table

    table = _read(data, format, train_identities)
    left = unbalanced_subset(table, seed)
    if how is Thinning.balanced:
        left = balanced_subset(table, int(left.subset(TRAIN).is_person.sum()), seed)
    write_table(left, to)
    train, before = left.subset(TRAIN), table.subset(TRAIN)
    assert train.identity is not None
    _, crops = np.unique(train.identity[train.is_person], return_counts=True)
    spread = f", {crops.min()} to {crops.max()} crops each" if len(crops) else ""
    print(
        f"{len(train)} of {len(before)} training crops are left, of {len(crops)} people{spread}; the table is in {to}."
    )


@app.command()
def methods() -> None:
    """List the methods.

    Example: **resight methods**
    """
    from rich.console import Console
    from rich.table import Table

    from resight.methods import METHODS

    table = Table("method", "what it does")
    for name, method in sorted(METHODS.items()):
        table.add_row(name, method.summary)
    Console().print(table)


@app.command()
def recipes(
    method: Annotated[str | None, typer.Argument(help="Only this method's.", show_default=False)] = None,
    show: Annotated[
        str | None, typer.Option(help="Print one recipe, constants and sources.", show_default=False)
    ] = None,
    settings: Annotated[bool, typer.Option("--settings", help="List every setting with its default.")] = False,
) -> None:
    """List the recipes: a method's constants for a dataset, each with its source.

    Example: **resight recipes cluster_contrast --show default**
    """
    from rich.console import Console
    from rich.table import Table

    from resight.errors import ResightError
    from resight.methods import METHODS
    from resight.training.config import describe_settings, read_recipe
    from resight.training.config import recipes as all_recipes

    known = all_recipes()
    if method is not None and method not in known:
        raise ResightError(f"There is no method '{method}': choose one of {', '.join(known)}.")
    chosen = {method: known[method]} if method else known
    if show:
        for name, files in chosen.items():
            if show in files:
                print(files[show].read_text(encoding="utf-8"), end="")
                return
            if method:
                read_recipe(name, show)
        raise ResightError(f"There is no recipe '{show}': 'resight recipes' lists them.")
    if settings:
        table = Table("setting", "default", "meaning")
        for row in describe_settings(method or next(iter(METHODS))):
            table.add_row(*row)
    else:
        table = Table("method", "recipe", "what it is")
        for name, files in chosen.items():
            for recipe in files:
                table.add_row(name, recipe, str(read_recipe(name, recipe).get("description", "")))
    Console().print(table)
