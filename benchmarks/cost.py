"""What a method costs beside itself with other settings, or beside another: parameters, labels by stage, a step.

Both sides run in one process, turn by turn, on the same seeded features and images, and through the training loop's own
step. Features stand in for those of a trained encoder, so that there is something to cluster (hard_features.py).

    python benchmarks/cost.py pplr --against method.refine=none
    python benchmarks/cost.py pplr --recipe market1501 --against method.refine=none --embedded 64 --steps 3
    python benchmarks/cost.py cluster_contrast --against method.update=hard
    python benchmarks/cost.py dcmip --against-method cluster_contrast
    python benchmarks/cost.py mar --against method.discriminative_weight=0
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from hard_features import hard_features, hard_world
from torch import nn

from resight.common.devices import resolve_device
from resight.crops import CropTable
from resight.encoders import embed_images
from resight.methods import METHODS, Batch, EpochData, MethodData
from resight.training.config import TrainConfig, build_config
from resight.training.learner import Learner
from resight.training.sampling import batches

#: What is timed of a method's labels by itself: a stage's name, where it is called from, and what it is called there.
STAGES = (
    ("neighbours", "resight.clustering.labels", "nearest_neighbours"),
    ("neighbours", "resight.clustering.bottom_up", "nearest_neighbours"),
    ("agreement", "resight.methods.pplr", "cross_agreement"),
)


class Side:
    """A method with settings of its own, and the seconds of what it did."""

    def __init__(self, config: TrainConfig, table: CropTable) -> None:
        self.config = config
        self.needs = METHODS[config.method.name].needs(config.method)
        identity = table.require("identity", "A source")
        self.data: dict[str, Any] = {
            "table": table if self.needs.identities else table.without_labels(),
            "device": resolve_device(),
        }
        if self.needs.source:  # the same crops, for their cost
            names, labels = np.unique(identity, return_inverse=True)
            self.data |= {"source_labels": labels, "source_names": tuple(map(str, names))}
        self.learner = Learner(config, MethodData(**self.data))
        self.method = self.learner.method
        self.seconds: dict[str, list[float]] = {}

    def embed(self, images: np.ndarray, crops: int) -> None:
        """Embeds some crops; the time is told as that of all."""
        start = time.perf_counter()
        embed_images(
            self.learner.encoder,
            images,
            batch=self.config.embed_batch,
            flip=self.config.embed_flip,
            parts=self.needs.parts,
            autocast=self.learner.autocast,
        )
        self.tell("embed", (time.perf_counter() - start) * crops / len(images))

    def epoch(self, features: np.ndarray, epoch: int) -> EpochData:
        """What the method gets when an epoch begins."""
        source = {"source_features": features} if self.needs.source else {}
        return EpochData(**self.data, epoch=epoch, features=features, **source)

    def label(self, features: np.ndarray, epoch: int) -> None:
        """Labels all crops."""
        now = self.epoch(features, epoch)
        spent: dict[str, float] = {}
        with ExitStack() as stack:
            for stage, module, name in STAGES:
                stack.enter_context(timed(module, name, stage, spent))
            start = time.perf_counter()
            self.labels = self.method.label(now).labels
            total = time.perf_counter() - start
        for stage in dict.fromkeys(stage for stage, _, _ in STAGES):
            self.tell(stage, spent.get(stage, 0.0))
        self.tell("clustering", total - sum(spent.values()))

    def start(self, features: np.ndarray, epoch: int, seed: int) -> None:
        """Gets ready for steps."""
        self.now, self.plan = self.epoch(features, epoch), self.method.plan(epoch)
        self.all_labels, self.cameras = self.now.on_device(self.labels), self.now.camera
        self.learner.start_epoch(self.now, self.all_labels)
        self.learner.encoder.train()
        sampling = self.config.sampling.model_copy(update={"iterations": 10_000})
        self.batches = batches(self.labels, sampling, np.random.default_rng(seed), self.now.table.camera)

    def step(self, generator: torch.Generator) -> None:
        """One step of the training loop on images of noise."""
        device = self.learner.device
        indices = torch.from_numpy(next(self.batches)).to(device)
        assert self.cameras is not None
        batch = Batch(indices, self.all_labels[indices], self.cameras[indices], self.now.epoch)
        views = [self.noise(len(indices), generator) for _ in range(self.needs.views)]
        source = None
        if self.needs.source:
            count = self.config.sampling.source_crops or len(indices)
            batch.source_labels = torch.from_numpy(self.data["source_labels"][:count]).to(device)
            source = self.noise(count, generator)
        self.wait()
        start = time.perf_counter()
        self.learner.step(batch, views, source, 1e-6, teacher=self.plan.teacher)
        self.wait()
        self.tell("step", time.perf_counter() - start)

    def noise(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Normalised images on the device, as many as ``count``."""
        encoder = self.config.encoder
        images = torch.randn(count, 3, encoder.height, encoder.width, generator=generator)
        return images.to(self.learner.device, memory_format=torch.channels_last)

    def wait(self) -> None:
        """Lets a GPU finish what it was given."""
        if self.learner.device.type == "cuda":
            torch.cuda.synchronize(self.learner.device)

    def tell(self, what: str, seconds: float) -> None:
        """Notes a time."""
        self.seconds.setdefault(what, []).append(seconds)


@contextmanager
def timed(module_name: str, name: str, stage: str, spent: dict[str, float]) -> Iterator[None]:
    """Adds the seconds spent in a module's function to its stage."""
    module = sys.modules[module_name]
    honest = getattr(module, name)

    def watched(*args: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return honest(*args, **options)
        finally:
            spent[stage] = spent.get(stage, 0.0) + time.perf_counter() - start

    setattr(module, name, watched)
    try:
        yield
    finally:
        setattr(module, name, honest)


def trained(module: nn.Module) -> float:
    """Millions of trained parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad) / 1e6


def row(name: str, values: list[float], digits: int) -> None:
    """One line: each side, and the first over the second."""
    cells = "".join(f"{value:16.{digits}f}" for value in values)
    if len(values) == 2:
        first, second = values
        ratio = f"{first / second:12.3f}" if second else f"{'–':>12}"
        cells += f"{ratio}{first - second:+14.{digits}f}"
    print(f"  {name:28}{cells}")


def report(sides: list[Side], embedded: int) -> None:
    """The table."""
    both = f"{'this':>16}{'against':>16}{'ratio':>12}{'difference':>14}" if len(sides) == 2 else f"{'this':>16}"
    print(f"{'trained parameters, M':30}{both}")
    encoders = [side.learner.encoder for side in sides]
    row("backbone", [trained(encoder.backbone) for encoder in encoders], 3)
    row("head", [trained(encoder) - trained(encoder.backbone) for encoder in encoders], 3)
    row("method", [trained(side.method) for side in sides], 3)
    row("all", [trained(side.learner.trained) for side in sides], 3)
    row("clusters", [float(side.labels.max() + 1) for side in sides], 0)
    print("an epoch's labels, seconds (medians)")
    total, labelled = [0.0 for _ in sides], [0.0 for _ in sides]
    for stage in ("embed", "neighbours", "clustering", "agreement"):
        times = [statistics.median(side.seconds[stage]) for side in sides]
        total = [a + b for a, b in zip(total, times, strict=True)]
        if stage != "embed":
            labelled = [a + b for a, b in zip(labelled, times, strict=True)]
        row(f"embed, from {embedded} crops" if stage == "embed" else stage, times, 2)
    row("all", total, 2)
    print("a training step, seconds")
    for name, of in (("median", statistics.median), ("fastest", min)):
        row(name, [of(side.seconds["step"]) for side in sides], 3)
    if len(sides) == 2:
        steps = [statistics.median(side.seconds["step"]) for side in sides]
        print(
            f"overheads: {labelled[0] - labelled[1]:+.2f} s, embedding apart, on {total[1]:.2f} s of labels; "
            f"{100 * (steps[0] / steps[1] - 1):+.1f} % a step"
        )


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method")
    parser.add_argument(
        "settings", nargs="*", default=[], help="key=value of both sides; of this one alone with --against-method"
    )
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--against", nargs="+", default=[], metavar="key=value", help="settings of the other side")
    parser.add_argument("--against-method", metavar="METHOD", help="of the other side, by its recipe of the same name")
    parser.add_argument("--crops", type=int, default=12_936, help="as Market-1501's training set")
    parser.add_argument("--people", type=int, default=751)
    parser.add_argument("--cameras", type=int, default=6)
    parser.add_argument("--embedded", type=int, default=512, help="crops that embedding is timed on")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3, help="of an epoch's labels")
    parser.add_argument("--epoch", type=int, default=20, help="the epoch that labels and steps are said to be of")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    chosen = [(options.method, options.settings)]
    if options.against or options.against_method:
        common = [] if options.against_method else options.settings  # another method may not know them
        chosen.append((options.against_method or options.method, [*common, *options.against]))
    configs = [build_config(name, options.recipe, ["encoder.weights=none", *words]) for name, words in chosen]
    identity, camera = hard_world(options.crops, options.people, options.cameras, options.seed)
    table = CropTable(
        root=Path("."), paths=[f"{n}.jpg" for n in range(options.crops)], identity=identity, camera=camera
    )
    generator = torch.Generator().manual_seed(options.seed)
    torch.manual_seed(options.seed)
    sides = [Side(config, table) for config in configs]
    other = [*([options.against_method] if options.against_method else []), *options.against]
    print(
        f"{options.method}, recipe {options.recipe} {' '.join(options.settings)}"
        f"{' against ' + ' '.join(other) if other else ''}: {options.crops} crops, "
        f"{sides[0].learner.device}, {configs[0].precision}, {torch.get_num_threads()} and "
        f"{numba.get_num_threads()} threads"
    )
    spaces: dict[tuple[bool, int, int], np.ndarray] = {}

    def features_of(side: Side) -> np.ndarray:
        """Features of all crops; each space of one with parts is drawn by itself, with the same people."""
        encoder = side.learner.encoder
        key = side.needs.parts, encoder.config.parts, encoder.dim
        if key not in spaces:
            count = 1 + encoder.config.parts if side.needs.parts else 1
            made = np.empty((count, options.crops, encoder.dim), np.float32)
            for n in range(count):
                hard_features(identity, camera, encoder.dim, options.seed + n, out=made[n])
            spaces[key] = made.transpose(1, 0, 2) if side.needs.parts else made[0]
        return spaces[key]

    images = [
        np.random.default_rng(options.seed).integers(
            0, 256, (options.embedded, 3, config.encoder.height, config.encoder.width), np.uint8
        )
        for config in configs
    ]
    for repeat in range(options.repeats + 1):
        for side, pixels in zip(sides, images, strict=True):
            side.embed(pixels, options.crops)
            if not repeat:  # compiles, and is the first epoch for methods that begin with one
                side.label(features_of(side), 0)
            side.label(features_of(side), options.epoch)
        if not repeat:
            for side in sides:
                side.seconds.clear()
    for side in sides:
        side.start(features_of(side), options.epoch, options.seed)
    for turn in range(options.steps + 1):
        for side in sides if turn % 2 else sides[::-1]:
            side.step(generator)
    for side in sides:
        side.seconds["step"].pop(0)
    report(sides, options.embedded)


if __name__ == "__main__":
    main()
