"""The whole way once, on people who do not exist: a world, a training run, scores before and after, pictures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resight.encoders import Encoder
from resight.model import Model, labelled_test_crops, train
from resight.pictures import cluster_sheet, retrieval_sheet
from resight.synthesis import world_config, write_world
from resight.training.reporting import Reporter
from resight.training.run import RunFolder

METHOD, RECIPE = "cluster_contrast", "synthetic"


@dataclass(frozen=True)
class Demo:
    """What a demo made.

    Attributes:
        world: Folder of the synthetic crops.
        run: The run folder.
        before: Test figures of the encoder before training.
        after: Test figures after the last epoch.
        pictures: Each picture and what it shows.
        people: Test identities.
        clusters: Clusters found among the test crops.
        seconds: What it took this time.
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
    out: str | Path, *, settings: Sequence[str] = (), crops: int = 4000, reporter: Reporter | None = None
) -> Demo:
    """Make a synthetic world, train on it without labels, score before and after, and draw sheets of results.

    What is there from an earlier call with the same arguments is used again; a call that was cut short goes on.

    Args:
        out: Folder for all of it.
        settings: Settings that differ from the recipe's, as ``key=value``.
        crops: Images in the world.
        reporter: Told of progress.

    Returns:
        Where everything lies, and the figures.

    Raises:
        ResightError: ``out`` holds something else, or a setting is wrong.
    """
    start = time.monotonic()
    reporter = reporter or Reporter()
    folder = Path(out)
    config = world_config(crops=crops, identities=max(20, crops // 20))
    made = write_world(folder / "world", config, progress=reporter.progress)
    verb = f"rendered {made.drawn} crops" if made.drawn else "found there"
    reporter.say(f"1. A world of {config.identities} people in {config.cameras} cameras: {verb}.")

    reporter.say("2. Training without labels; identities serve the figures alone.")
    model = train(METHOD, made.table, folder / "run", recipe=RECIPE, settings=settings, resume=True, reporter=reporter)
    run = model.run
    assert run is not None
    records = run.read_metrics()

    reporter.say("3. Pictures of what it finds for a query, and of how it groups people it never saw.")
    tested = labelled_test_crops(made.table)
    pixels = model.open_cache(tested, progress=reporter.progress)
    untrained = Model(Encoder(model.config.encoder), model.config)
    features = model.embed_cached(pixels, progress=reporter.progress)
    labels = model.cluster(features, tested).labels
    pictures = {
        folder / "retrieval-before.png": "what the untrained network ranks first for eight queries",
        folder / "retrieval-after.png": "the same queries after training (green: right, red: wrong)",
        folder / "clusters.png": "people it never saw, grouped (green: the cluster's main person)",
    }
    before = untrained.embed_cached(pixels, progress=reporter.progress)
    sheets = (
        retrieval_sheet(pixels.images, pixels.table, before),
        retrieval_sheet(pixels.images, pixels.table, features),
        cluster_sheet(pixels.images, pixels.table, features, labels),
    )
    for path, sheet in zip(pictures, sheets, strict=True):
        sheet.save(path, optimize=True)
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
