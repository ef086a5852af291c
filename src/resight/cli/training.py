"""Commands that train: ``train`` and ``demo``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from resight.cli.options import (
    CacheOption,
    DataOption,
    DeviceOption,
    FormatOption,
    QuietOption,
    SettingsArgument,
    SplitOption,
    given_path,
    read,
    reporter,
)


def train(
    method: Annotated[
        str, typer.Argument(metavar="METHOD", help="The method; 'resight methods' lists them.", show_default=False)
    ],
    data: DataOption,
    settings: SettingsArgument = None,
    format: FormatOption = "auto",
    train_identities: SplitOption = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A recipe of the method ('resight recipes' lists them) or a YAML file; 'default' if not given.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=given_path,
            metavar="FOLDER",
            help="The run folder; runs/METHOD-1, -2, … if not given.",
            show_default=False,
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            parser=given_path,
            metavar="PATH",
            help="Labelled crops of other identities, for the method 'mar'.",
            show_default=False,
        ),
    ] = None,
    source_identities: Annotated[
        int | None,
        typer.Option(
            min=2,
            metavar="N",
            help="Use only the first N identities of the source; all if not given.",
            show_default=False,
        ),
    ] = None,
    source_format: Annotated[str, typer.Option(metavar="NAME", help="Format of the source, as for --format.")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out after a stop.")] = False,
    device: DeviceOption = "auto",
    cache: CacheOption = None,
    quiet: QuietOption = False,
) -> None:
    """Train a model on crops, without labels.

    Labels are used only by the method 'supervised' (the identities in the data) and by the method 'mar' (those of the
    --source). Where there are labelled query and gallery crops, the model is scored on them at the end.

    Example: **resight train cluster_contrast --data cameras/ --out runs/first epochs=20**
    """
    from resight.cli.tables import print_scores
    from resight.common.devices import resolve_device
    from resight.entry import resolve_config, train_config
    from resight.errors import ResightError
    from resight.scoring import can_be_scored

    if resume and out is None:
        raise ResightError("--resume needs --out RUN, the run folder to go on with.")
    # A slip in a setting is reported before the crops are read.
    config = resolve_config(method, recipe, settings or [], resume=out if resume else None)
    resolve_device(device)
    table = read(data, format, train_identities)
    out = out or _fresh_folder(method)
    with reporter(quiet) as report:
        model = train_config(
            config,
            table,
            out,
            source=None if source is None else read(source, source_format),
            source_identities=source_identities,
            resume=resume,
            cache=cache,
            device=device,
            reporter=report,
        )
    run = model.run
    assert run is not None
    if can_be_scored(table):
        print_scores(json.loads(run.evaluation_file.read_text(encoding="utf-8")))
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


def demo(
    settings: SettingsArgument = None,
    out: Annotated[
        Path, typer.Option(parser=given_path, metavar="FOLDER", help="The folder for everything it makes.")
    ] = Path("demo"),
    crops: Annotated[int, typer.Option(min=400, metavar="N", help="Crops in the synthetic world.")] = 4000,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
) -> None:
    """Try everything in a few minutes: synthetic crops, training without labels, scores, pictures.

    A second call uses what the first one made.

    Example: **resight demo**
    """
    from resight.cli.tables import print_table, print_text
    from resight.demo import run_demo
    from resight.sentences import percent

    with reporter(quiet) as report:
        made = run_demo(out, settings=settings or [], crops=crops, device=device, reporter=report)
    rows = [
        (name, percent(record["test_mAP"]), percent(record["test_rank1"]))
        for name, record in (("before training", made.before), ("after", made.after))
    ]
    print()
    print_table(("", "mAP", "rank-1"), rows, title="Finding unseen people in other cameras, in per cent:", words=1)
    where = {
        made.world: "crops of people who do not exist; crops.parquet has everything that is true of them",
        made.run.path: "the run: settings, metrics of each epoch, labels, weights",
        **made.pictures,
    }
    print_table(("where", "what"), [(str(path), what) for path, what in where.items()])
    print_text(
        f"{made.clusters} clusters among the crops of {made.people} test people and some strangers; "
        f"{made.seconds / 60:.1f} minutes this time."
    )
    print(f"Next: resight embed {made.run.path} --data {made.world} --to embeddings.parquet")
    print("      resight train cluster_contrast --data your/crops")
