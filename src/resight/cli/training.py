"""Commands that train: ``train`` and ``demo``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resight.cli.options import (
    CacheOption,
    DataOption,
    DeviceOption,
    FormatOption,
    JsonOption,
    QuietOption,
    SettingsArgument,
    SheetOption,
    SplitOption,
    given,
    given_gallery,
    given_path,
    read,
    reporter,
    shell,
)
from resight.errors import ResightError

if TYPE_CHECKING:
    from resight.crops import CropTable
    from resight.model import Model
    from resight.training.config import TrainConfig
    from resight.training.reporting import Reporter


def train(
    data: DataOption,
    method: Annotated[
        str | None,
        typer.Argument(
            metavar="METHOD",
            help="The method; 'resight methods' lists them. If not given, one that suits the crops is chosen, with its "
            "recipe.",
            show_default=False,
        ),
    ] = None,
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
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            metavar="M",
            help="About how long it may take: steps are timed first, and the number of epochs follows.",
            show_default=False,
        ),
    ] = None,
    decisions: Annotated[
        str | None,
        typer.Option(
            parser=given_gallery,
            metavar="GALLERY",
            help="A gallery whose decisions the pseudo-labels obey: confirmed pairs stay together, rejected apart.",
            show_default=False,
        ),
    ] = None,
    sheet: SheetOption = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the run in --out after a stop, or longer: --resume epochs=40."),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run that is in --out.")] = False,
    device: DeviceOption = "auto",
    cache: CacheOption = None,
    quiet: QuietOption = False,
) -> None:
    """Train a model on crops, without labels.

    Labels are used only by the method 'supervised' (the identities in the data) and by the method 'mar' (those of the
    --source). Where there are labelled query and gallery crops, the model is scored on them at the end.

    Without a METHOD, the crops decide: cameras, tracks, their number and their size.

    Example: **resight train --data cameras/ --out runs/first --minutes 30**
    """
    from resight.cli.tables import print_remarks, print_scores, print_text

    if method is not None and "=" in method:  # a setting: no method was named
        settings, method = [method, *(settings or [])], None
    if minutes is not None and (resume or any(word.startswith("epochs=") for word in settings or [])):
        raise ResightError(
            "--minutes finds the number of epochs of a new run: leave it out, or leave out epochs= and --resume."
        )
    started = time.monotonic()

    if resume and out is None:
        raise ResightError("--resume needs --out RUN, the run folder to go on with.")
    with reporter(quiet) as report:
        if "torch" not in sys.modules:  # it takes seconds
            report.say(f"Starting {method or 'training'} on {data}: loading PyTorch and listing the crops.")
        from resight.analysis import describe_doubt
        from resight.common.devices import resolve_device
        from resight.common.processes import launched_rank, own_device
        from resight.crops import remarks
        from resight.entry import choose_run, resolve_config, train_config
        from resight.export import check_picture_file
        from resight.scoring import can_be_scored
        from resight.training.config import DEFAULT_RECIPE, flatten, parse_overrides
        from resight.training.loop import run_precision
        from resight.training.watch import describe_run

        def resolved() -> TrainConfig:
            assert method is not None
            return resolve_config(method, recipe, settings or [], resume=out if resume else None)

        # A slip in a setting is reported before the crops are read.
        config = None if method is None else resolved()
        chosen_device = own_device(resolve_device(device))
        if sheet is not None:
            check_picture_file(sheet)
        table = read(data, format, train_identities)
        if config is None:
            own = flatten(parse_overrides(settings or []))
            choice = choose_run(table, recipe, resume=out if resume else None, device=chosen_device, given=own)
            method, recipe = choice.method, choice.recipe or recipe
            settings = [*(f"{name}={str(value).lower()}" for name, value in choice.settings.items()), *(settings or [])]
            for reason in choice.reasons:
                report.say(reason)
            config = resolved()
        assert method is not None
        source_table = None if source is None else read(source, source_format)
        out = out or _fresh_folder(method)
        if minutes is not None:
            from resight.bench import epochs_within

            report.say("Timing some steps, to find how many epochs fit.")
            seconds = 60 * minutes - (time.monotonic() - started)
            epochs = epochs_within(config, table, seconds, device=chosen_device, reporter=report)
            settings = [*(settings or []), f"epochs={epochs}"]
            config = resolved()
        of_run = resume and recipe is None and (out / "config.yaml").exists()
        header = describe_run(
            config,
            table,
            recipe=None if of_run else recipe or DEFAULT_RECIPE,
            precision=run_precision(config, chosen_device),
            device=chosen_device,
            out=out,
        )
        report.header(*header, remarks(table))
        model = train_config(
            config,
            table,
            out,
            source=source_table,
            source_identities=source_identities,
            decisions=decisions,
            resume=resume,
            overwrite=overwrite,
            cache=cache,
            device=chosen_device,
            reporter=report,
        )
        if launched_rank() > 0:  # the first process writes and prints
            return
        drawn = "" if sheet is None else _draw_sheet(sheet, model, table, cache, report)
    run = model.run
    assert run is not None
    if can_be_scored(table):
        print_scores(json.loads(run.evaluation_file.read_text(encoding="utf-8")))
    elif table.identity is None:
        print("The crops have no identities, so there are no labels to score against.")
    else:
        print("No identities were held out (--train-identities N does so), so there is nothing to score against.")
    if (figures := run.read_doubt()) is not None:
        for sentence in describe_doubt(figures, table.camera_names):
            print_text(sentence)
    print(f"The model and its metrics are in {run.path}.")

    options = {
        "--format": format,
        "--train-identities": train_identities,
        "--source": source,
        "--source-identities": source_identities,
        "--source-format": source_format,
        "--decisions": decisions,
        "--device": device,
    }

    def again(setting: str = "", other_recipe: str | None = None) -> str:
        """This command with another setting or recipe, into another folder."""
        changed = given(options | {"--recipe": other_recipe or recipe})
        words = [*(settings or []), setting] if setting else settings or []
        return shell("resight", "train", method or "", "--data", data, *changed, *words)

    next_words = ["resight", "cluster", run.path, "--data", data, "--to", "identities.csv"]
    next_words += given({"--sheet": "clusters.png" if sheet is None else None, "--format": format})
    print_remarks(_remarks(model, table, again))
    if drawn:
        print(drawn)
    print(f"Next: {shell(*next_words)}")


def _draw_sheet(file: Path, model: Model, table: CropTable, cache: Path | None, report: Reporter) -> str:
    """Draws clusters of the training crops, by the trained model. Returns a sentence about the sheet."""
    from resight.clustering import NoClusters
    from resight.crops import TRAIN
    from resight.export import write_picture
    from resight.pictures import SHEET_ROWS, cluster_sheet

    pixels = model.open_cache(table.subset(TRAIN), cache, progress=report.progress)
    features = model.embed_cached(pixels, progress=report.progress)
    try:
        labels = model.cluster(features, pixels.table)
    except NoClusters as error:
        return f"There is no sheet to draw. {error}"
    write_picture(file, cluster_sheet(pixels.images, pixels.table, features, labels.labels), optimize=True)
    return (
        f"{file} shows {min(SHEET_ROWS, labels.num_clusters)} of {labels.num_clusters} clusters that the model finds "
        "among the training crops, the most typical crop of each first."
    )


def _remarks(model: Model, table: CropTable, again: Callable[..., str]) -> list[tuple[str, str]]:
    """What is odd about the pseudo-labels of the last epoch, each with the command that may mend it."""
    import numpy as np

    from resight.clustering.remarks import odd_clusters
    from resight.crops import TRAIN
    from resight.training.watch import CAMERA_RECIPE, advise, has_camera_recipe, uses_cameras

    assert model.run is not None
    config, facts = model.config, model.run.read_data()
    files = sorted((model.run.path / "labels").glob("*.npz"))
    if facts["identity_use"] or not files:
        return []
    labels = np.load(files[-1])["labels"]
    unreadable, crops = {path for path, _ in facts["unreadable"]}, table.subset(TRAIN)
    crops = crops.select([row for row, path in enumerate(crops.paths) if path not in unreadable])
    remarks = []
    for kind, text in odd_clusters(labels, crops.camera):
        advice = advise(kind, config)
        if kind == "cameras" and has_camera_recipe(config.method.name) and not uses_cameras(config):
            remarks.append((f"{text} Use the camera labels:", again(other_recipe=CAMERA_RECIPE)))
        elif advice is not None:
            remarks.append((f"{text} Try {advice} (now {advice.now}):", again(str(advice))))
        else:
            remarks.append((f"{text} No setting of the clustering mends this: train longer.", ""))
    return remarks


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
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Train anew instead of going on with an earlier call's run.")
    ] = False,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
) -> None:
    """Try everything in five to fifteen minutes: synthetic crops, training without labels, scores, pictures.

    A second call uses what the first one made.

    Example: **resight demo**
    """
    from resight.cli.tables import print_table, print_text
    from resight.common.processes import started_by_launcher
    from resight.sentences import percent

    if started_by_launcher() > 1:
        raise ResightError("The demo runs in one process: start it without torchrun or accelerate launch.")
    with reporter(quiet) as report:
        if "torch" not in sys.modules:
            report.say("Starting the demo: loading PyTorch.")
        from resight.demo import run_demo

        made = run_demo(out, settings=settings or [], crops=crops, overwrite=overwrite, device=device, reporter=report)
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
    print("      resight train --data your/crops")


def bench(
    method: Annotated[
        str, typer.Argument(metavar="METHOD", help="The method; 'resight methods' lists them.", show_default=False)
    ],
    settings: SettingsArgument = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="A recipe of the method or a YAML file; 'default' if not given.", show_default=False
        ),
    ] = None,
    crops: Annotated[int, typer.Option(min=200, metavar="N", help="Crops of the run that is planned.")] = 12_936,
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="Steps that are timed.")] = 10,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure what a run costs on this machine, and what to change.

    Crops per second, seconds of each stage, memory, and the share of the machine's own matrix products that is reached.
    It takes about a minute and needs no crops.

    Example: **resight bench cluster_contrast encoder.backbone=resnet18**
    """
    from resight.cli.tables import print_table, print_text

    with reporter(quiet) as report:
        from resight.bench import cost_rows, measure
        from resight.training.config import DEFAULT_RECIPE, build_config

        config = build_config(method, recipe, settings or [])
        cost = measure(config, crops=crops, steps=steps, device=device, reporter=report)
    if as_json:
        print(json.dumps(cost.to_dict(), indent=1))
        return
    title = f"{method}, recipe {recipe or DEFAULT_RECIPE}, {config.encoder.backbone}, on {cost.device}:"
    print_table(("what", "measured"), cost_rows(cost), title=title)
    for sentence in cost.advice:
        print_text(sentence)
