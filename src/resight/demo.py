"""Everything once, on people who do not exist: a synthetic world, training, scores before and after, pictures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from resight.common.devices import resolve_device
from resight.encoders import Encoder
from resight.entry import train_config
from resight.export import write_picture
from resight.model import Model
from resight.pictures import cluster_sheet, retrieval_sheet
from resight.scoring import labelled_test_crops
from resight.synthesis import world_config, write_world
from resight.training.config import build_config
from resight.training.loop import run_precision
from resight.training.reporting import Reporter
from resight.training.run import RunFolder, first_weights
from resight.training.watch import describe_run

METHOD, RECIPE = "cluster_contrast", "synthetic"


@dataclass(frozen=True)
class Demo:
    """What a demo made, and its figures.

    Attributes:
        world: Folder of the synthetic crops.
        run: The run folder.
        before: Metrics before training, with the test figures.
        after: Metrics of the last epoch, with the test figures.
        pictures: Each picture's file and what it shows.
        people: How many identities are tested.
        clusters: How many clusters the test crops form.
        seconds: How long this call took.
    """

    world: Path
    run: RunFolder
    before: dict[str, Any]
    after: dict[str, Any]
    pictures: dict[Path, str]
    people: int
    clusters: int
    seconds: float


def run_demo(
    out: str | Path,
    *,
    settings: Sequence[str] = (),
    crops: int = 4000,
    overwrite: bool = False,
    device: str | torch.device = "auto",
    reporter: Reporter | None = None,
) -> Demo:
    """Makes a synthetic world, trains on it without labels, scores before and after, and draws sheets of results.

    Results of an earlier call with the same arguments are used again; a call that was interrupted goes on.

    Args:
        out: Folder for everything.
        settings: Settings that differ from the recipe's, as ``key=value``.
        crops: Crops in the world.
        overwrite: Train anew instead of going on with an earlier call's run. The world is used again.
        device: Where to compute, as for :func:`resight.entry.train`.
        reporter: Reports progress; silent if not given.

    Returns:
        Where everything is, and the figures.

    Raises:
        ResightError: ``out`` holds something else, a setting is wrong, or there is no such device.
    """
    start = time.monotonic()
    device = resolve_device(device)
    reporter = reporter or Reporter()
    folder = Path(out)
    build_config(METHOD, RECIPE, settings)  # a slip in a setting is reported before anything is rendered
    config = world_config(crops=crops, identities=max(20, crops // 20))
    made = write_world(folder / "world", config, progress=reporter.progress)
    verb = f"rendered {made.drawn} crops" if made.drawn else "made before"
    reporter.say(f"1. A world of {config.identities} people in {config.cameras} cameras: {verb}.")

    reporter.say("2. Training without labels; identities are used for the figures only.")
    training = build_config(METHOD, RECIPE, settings)
    run_folder, precision = folder / "run", run_precision(training, device)
    reporter.header(
        *describe_run(training, made.table, recipe=RECIPE, precision=precision, device=device, out=run_folder)
    )
    model = train_config(
        training, made.table, run_folder, resume=not overwrite, overwrite=overwrite, device=device, reporter=reporter
    )
    run = model.run
    assert run is not None
    records = run.read_metrics()

    reporter.say("3. Pictures of what it finds for a query, and of how it groups people that it never saw.")
    tested = labelled_test_crops(made.table)
    pixels = model.open_cache(tested, progress=reporter.progress)
    untrained = Model(
        Encoder(model.config.encoder, weights=first_weights(model.config.encoder.weights)).to(model.device),
        model.config,
    )
    features = model.embed_cached(pixels, progress=reporter.progress)
    labels = model.cluster(features, tested).labels
    pictures = {
        folder / "retrieval-before.png": "what the untrained network ranks first for eight queries",
        folder / "retrieval-after.png": "the same queries after training (green: right, red: wrong)",
        folder / "clusters.png": "people that it never saw, grouped (green: the cluster's most frequent person)",
    }
    before = untrained.embed_cached(pixels, progress=reporter.progress)
    sheets = (
        retrieval_sheet(pixels.images, pixels.table, before),
        retrieval_sheet(pixels.images, pixels.table, features),
        cluster_sheet(pixels.images, pixels.table, features, labels),
    )
    for path, sheet in zip(pictures, sheets, strict=True):
        write_picture(path, sheet, optimize=True)
    people = pixels.table.identity[pixels.table.is_person] if pixels.table.identity is not None else []
    return Demo(
        world=folder / "world",
        run=run,
        before=records[0],
        after=records[-1],
        pictures=pictures,
        people=len(set(people)),
        clusters=int(labels.max()) + 1,
        seconds=time.monotonic() - start,
    )
