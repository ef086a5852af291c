"""What training costs on this machine: crops per second, seconds by stage, memory, and how well the machine is used."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch.utils.flop_counter import FlopCounterMode

from resight.common.checks import instance, whole
from resight.common.devices import fast_bfloat16, resolve_device
from resight.common.memory import explained_memory
from resight.crops import TRAIN, CropTable
from resight.crops.cache import PixelCache
from resight.encoders import embed_images
from resight.errors import ResightError
from resight.methods import METHODS, EpochData
from resight.training.augment import augment
from resight.training.config import TrainConfig
from resight.training.data import Source, TrainingData
from resight.training.epoch import train_epoch
from resight.training.learner import Learner
from resight.training.loop import run_precision
from resight.training.reporting import Reporter, duration

_POOL = 512  # different images of noise
_CAMERAS = 6
_CROPS_PER_IDENTITY = 17  # as in Market-1501's training set
_READ_SECONDS = 4e-4  # to decode a small crop and to hash its file
_LEAST = 200  # crops that a run is measured with
_WARM = 2  # steps before those that are timed


@dataclass(frozen=True)
class Cost:
    """What a run costs on this machine.

    Attributes:
        device: Where it was measured, with the number of threads on a CPU.
        precision: Its arithmetic.
        products_per_second: Floating-point operations per second of a large matrix product in this precision.
        batch: Images that the encoder sees in a step, views and source crops included.
        step_seconds: Seconds per step (median): ``all``, of which ``augment`` for reading and augmenting the images.
        train_images: Images per second in training.
        train_use: Share of ``products_per_second`` that a step reaches, a backward pass counted as two forward.
        embed_images: Crops per second in embedding, mirror images included if the settings ask for them.
        embed_use: Share of ``products_per_second`` that embedding reaches.
        crops: N, crops of the run.
        embed_seconds: Seconds to embed N crops.
        label_seconds: Seconds to label N crops and to prepare an epoch.
        steps: Steps in an epoch.
        epoch_seconds: Seconds of an epoch, saving and scoring left out.
        run_seconds: Seconds of all epochs.
        peak_bytes: Most memory in use: on the GPU, or of this process beyond what it had before.
        advice: What to change on this machine, a sentence each.
    """

    device: str
    precision: str
    products_per_second: float
    batch: int
    step_seconds: dict[str, float]
    train_images: float
    train_use: float
    embed_images: float
    embed_use: float
    crops: int
    embed_seconds: float
    label_seconds: float
    steps: int
    epoch_seconds: float
    run_seconds: float
    peak_bytes: int
    advice: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain values."""
        return asdict(self)


class _Noise:
    """Images of noise, as many as are asked for, of which few are different."""

    def __init__(self, count: int, height: int, width: int) -> None:
        pool = min(_POOL, count)
        self.pool = np.random.default_rng(0).integers(0, 256, (pool, 3, height, width), np.uint8)
        self.shape = (count, 3, height, width)
        self.ndim, self.dtype = 4, self.pool.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        at = np.arange(*rows.indices(len(self))) if isinstance(rows, slice) else np.asarray(rows)
        found: np.ndarray = self.pool[at % len(self.pool)]
        return found


class _Watch(Reporter):
    """Notes when each step ends, after the device has finished it."""

    def __init__(self, wait: Callable[[], None]) -> None:
        self.wait, self.ends = wait, list[float]()

    def progress(self, what: str, done: int, total: int) -> None:
        if what.startswith("epoch"):
            self.wait()
            self.ends.append(time.perf_counter())


def measure(
    config: TrainConfig,
    *,
    crops: int = 12_936,
    steps: int = 10,
    device: str | torch.device = "auto",
    reporter: Reporter | None = None,
) -> Cost:
    """Measures what a run with these settings costs on this machine.

    Embedding, labelling and steps are those of the training loop, on images of noise and on features in clear clusters.
    Nothing is read from disk and no weights are needed.

    Args:
        config: The settings of the run.
        crops: N, crops to train on; the default is Market-1501's training set.
        steps: Steps that are timed.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        reporter: Gets the progress.

    Raises:
        ResightError: the settings or the device cannot be used, or there is not enough memory.
    """
    instance("config", config, TrainConfig, "build_config makes one")
    crops, steps = whole("crops", crops, least=_LEAST), whole("steps", steps, least=1)
    reporter, device = reporter or Reporter(), resolve_device(device)
    wait = (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else (lambda: None)
    busy = _busy_cores()
    config = config.model_copy(update={"precision": run_precision(config, device)})
    with _peak_memory(device) as peak, explained_memory("measuring", "Lower sampling.clusters or crops."):
        reporter.progress("measuring products", 0, 1)
        products = _product_rate(device, config.precision)
        reporter.progress("measuring products", 1, 1)
        torch.manual_seed(config.seed)
        data = _data(config, crops, device)
        learner = Learner(config, data.method_data, weights="none")
        reporter.progress("measuring embedding", 0, 1)
        embed, embed_flops = _embedding(learner, data, wait)
        reporter.progress("measuring embedding", 1, 1)
        reporter.progress("measuring labels", 0, 1)
        labelling = 0.0
        plans = [learner.method.plan(n) for n in range(config.epochs)]
        embedding = [n for n, plan in enumerate(plans) if plan.embed]
        # the first epoch, which compiles; the last that embeds, which is timed; and the last, which is trained
        for number in (0, *embedding[-1:], *([config.epochs - 1] if embedding[-1:] != [config.epochs - 1] else [])):
            now, labels, seconds = _label(learner, data, number, wait)
            if number in embedding[-1:]:
                labelling = seconds
        reporter.progress("measuring labels", 1, 1)
        reporter.progress("measuring steps", 0, 1)
        step, augmenting = _steps(learner, data, now, labels, steps, wait)
        reporter.progress("measuring steps", 1, 1)
    shape = config.sampling
    batch = min(shape.clusters * shape.crops, crops)
    seen = batch * data.needs.views + ((shape.source_crops or batch) if data.needs.source else 0)
    count = shape.iterations or max(1, int((labels >= 0).sum()) // (shape.clusters * shape.crops))
    embeds = sum(learner.method.plan(n).embed for n in range(config.epochs)) / config.epochs
    embed_seconds = crops * embed
    each = count * step + embeds * (embed_seconds + labelling)
    # a step is a forward and a backward pass; the latter multiplies twice as much
    flops = embed_flops / (1 + config.embed_flip) * (3 * seen + batch * learner.method.plan(now.epoch).teacher)
    threads = f", {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    cost = Cost(
        device=f"{name}{threads}",
        precision=config.precision,
        products_per_second=products,
        batch=seen,
        step_seconds={"all": step, "augment": augmenting},
        train_images=seen / step,
        train_use=flops / step / products,
        embed_images=1 / embed,
        embed_use=embed_flops / embed / products,
        crops=crops,
        embed_seconds=embed_seconds,
        label_seconds=labelling,
        steps=count,
        epoch_seconds=each,
        run_seconds=each * config.epochs,
        peak_bytes=peak[0],
    )
    return Cost(**{**vars(cost), "advice": tuple(_advice(cost, config, device, busy, count * step))})


def _label(
    learner: Learner, data: TrainingData, epoch: int, wait: Callable[[], None]
) -> tuple[EpochData, np.ndarray, float]:
    """What a method knows of an epoch, the labels, and the seconds that labelling and preparing it took."""
    dim = learner.encoder.dim
    nothing = np.empty((0, dim), np.float32), np.empty((0, dim), np.float32)
    now = data.epoch_data(epoch, *(_features(learner, data) if learner.method.plan(epoch).embed else nothing))
    start = time.perf_counter()
    labels = learner.method.label(now).labels
    learner.start_epoch(now, now.on_device(labels))
    wait()
    return now, labels, time.perf_counter() - start


def _data(config: TrainConfig, crops: int, device: torch.device) -> TrainingData:
    """Crops of noise, with the identities and cameras that methods may need."""
    needs, size = METHODS[config.method.name].needs(config.method), config.encoder

    def pixels(count: int) -> PixelCache:
        rng = np.random.default_rng(1)
        table = CropTable(
            root=Path("."),
            paths=tuple(f"{n}.jpg" for n in range(count)),
            identity=_identities(count) + 1,
            camera=rng.integers(0, _CAMERAS, count),
        )
        images: Any = _Noise(count, size.height, size.width)
        return PixelCache(table, images, (), "")

    source = None
    if needs.source:
        labels = _identities(crops)
        source = Source(pixels(crops), labels, tuple(map(str, range(labels.max() + 1))), "")
    return TrainingData(pixels(crops), needs, (), "", device, source)


def _identities(count: int) -> np.ndarray:
    """``(N,)`` identities from 0, each of about as many crops."""
    return np.arange(count) % max(2, count // _CROPS_PER_IDENTITY)


def _features(learner: Learner, data: TrainingData) -> tuple[np.ndarray, np.ndarray]:
    """Features in clear clusters, of all crops and of all source crops."""
    dim, spaces = learner.encoder.dim, 1 + learner.config.encoder.parts

    def made(count: int, seed: int) -> np.ndarray:
        rng, of = np.random.default_rng(seed), _identities(count)
        centres = rng.normal(size=(of.max() + 1, dim)).astype(np.float32)
        found = centres[of] + 0.8 * rng.normal(size=(count, dim)).astype(np.float32)
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))

    count = len(data.pixels)
    features = made(count, 2)
    if data.needs.parts:
        features = np.stack([made(count, 2 + n) for n in range(spaces)]).transpose(1, 0, 2)
    if data.source is None:
        return features, np.empty((0, dim), np.float32)
    return features, made(len(data.source.labels), 20)


def _embedding(learner: Learner, data: TrainingData, wait: Callable[[], None]) -> tuple[float, float]:
    """Seconds and operations per crop."""
    config = learner.config
    count = config.embed_batch * (8 if learner.device.type == "cuda" else 2)
    images: Any = _Noise(count, config.encoder.height, config.encoder.width)

    def run(images: Any) -> None:
        embed_images(
            learner.labeller,
            images,
            batch=config.embed_batch,
            flip=config.embed_flip,
            parts=data.needs.parts,
            autocast=learner.autocast,
        )
        wait()

    few = images[: min(16, count)]
    with FlopCounterMode(display=False) as counter:
        run(few)
    run(images[: config.embed_batch])
    start = time.perf_counter()
    run(images)
    return (time.perf_counter() - start) / count, counter.get_total_flops() / len(few)


def _steps(
    learner: Learner, data: TrainingData, now: EpochData, labels: np.ndarray, steps: int, wait: Callable[[], None]
) -> tuple[float, float]:
    """Seconds per step, and seconds of reading and augmenting its images."""
    plan, usual = learner.method.plan(now.epoch), learner.config

    def train(count: int) -> list[float]:
        sampling = usual.sampling.model_copy(update={"iterations": count})
        learner.config = usual.model_copy(update={"sampling": sampling})
        watch = _Watch(wait)
        train_epoch(learner, data, now, plan, labels, watch)
        learner.config = usual
        return watch.ends

    ends = np.array(train(_WARM + steps))
    step = statistics.median(np.diff(ends)[_WARM:].tolist())

    shape, generator = usual.sampling, torch.Generator().manual_seed(0)
    batch = min(shape.clusters * shape.crops, len(data.pixels))
    chosen = np.random.default_rng(0).permutation(len(data.pixels))[:batch]
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        for _ in range(data.needs.views):
            images = torch.from_numpy(data.pixels.images[chosen]).to(learner.device)
            augment(images, learner.encoder.preprocess, usual.augmentation, generator)
        wait()
        seconds.append(time.perf_counter() - start)
    return step, min(seconds)


def _product_rate(device: torch.device, precision: str) -> float:
    """Operations per second of a large matrix product: the best of several."""
    size, kind = (8192 if device.type == "cuda" else 1024), getattr(torch, precision)
    left, right = (torch.randn(size, size, device=device, dtype=torch.float32).to(kind) for _ in range(2))
    best, end = 0.0, time.perf_counter() + 2
    for _ in range(20):
        if best and time.perf_counter() > end:
            break
        start = time.perf_counter()
        product = left @ right
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - start))
        del product
    return best


def _busy_cores() -> float:
    """Cores that are at work while this process waits."""
    return float(psutil.cpu_percent(interval=0.5)) / 100 * (os.cpu_count() or 1)


@contextmanager
def _peak_memory(device: torch.device) -> Iterator[list[int]]:
    """A list whose one number is the most memory used, once the block has ended."""
    found = [0]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield found
        found[0] = int(torch.cuda.max_memory_allocated(device))
        return
    process, done = psutil.Process(), threading.Event()
    before = process.memory_info().rss

    def look() -> None:
        while not done.wait(0.02):
            found[0] = max(found[0], process.memory_info().rss - before)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def _advice(cost: Cost, config: TrainConfig, device: torch.device, busy: float, training: float) -> Iterator[str]:
    """What to change on this machine."""
    step, cores = cost.step_seconds, os.cpu_count() or 1
    if device.type == "cpu" and busy > 0.5:
        yield (
            f"{busy:.1f} of {cores} cores were at work for other programs: close them, or set OMP_NUM_THREADS to the "
            "cores that are free. Threads that share a core wait for each other."
        )
    if device.type == "cpu" and torch.get_num_threads() < cores and busy <= 0.5:
        yield f"{torch.get_num_threads()} of {cores} cores are used: raise OMP_NUM_THREADS, if nothing else needs them."
    if config.precision == "float32" and fast_bfloat16(device):
        yield "This device has bfloat16 in hardware: precision=bfloat16 multiplies faster."
    if config.precision == "bfloat16" and not fast_bfloat16(device):
        yield "This device has no bfloat16 in hardware: precision=float32 is many times faster."
    if device.type == "cpu" and config.encoder.height * config.encoder.width > 128 * 64:
        yield (
            f"Images of {config.encoder.height}×{config.encoder.width} pixels are large for a CPU: encoder.height=128 "
            "encoder.width=64 takes about a quarter of the time of 256×128."
        )
    if step["augment"] > 0.15 * step["all"]:
        share = 100 * step["augment"] / step["all"]
        yield f"Reading and augmenting takes {share:.0f} % of a step: lower augmentation.zoom to 1 and colour to 0."
    if config.embed_flip and cost.embed_seconds > 0.15 * cost.epoch_seconds:
        yield "Embedding takes a large share of an epoch: embed_flip=false halves it."
    if cost.label_seconds > 0.25 * cost.epoch_seconds and config.clustering.search != "approximate":
        yield "Labelling takes a large share of an epoch: clustering.search=approximate is quicker for many crops."
    if training < 0.5 * cost.epoch_seconds and not config.sampling.iterations:
        yield "Steps take less than half of an epoch: set sampling.iterations for longer epochs."
    if cost.train_use < 0.25 and step["augment"] < 0.15 * step["all"]:
        what = "larger batches (sampling.clusters)" if device.type == "cuda" else "encoder.backbone=resnet18"
        yield (
            f"A step reaches {100 * cost.train_use:.0f} % of this machine's products, since norms, activations and "
            f"depthwise convolutions move more numbers than they multiply: {what} uses the machine better."
        )


def cost_rows(cost: Cost) -> Sequence[tuple[str, str]]:
    """Name and figure of each row of a table."""
    step = cost.step_seconds
    return [
        ("matrix products", f"{cost.products_per_second / 1e9:,.0f} GFLOP/s in {cost.precision}"),
        ("training", f"{cost.train_images:,.0f} images/s; {step['all']:.3f} s per step of {cost.batch}"),
        ("  of a step, reading and augmenting", f"{step['augment']:.3f} s"),
        ("  use of the products", f"{100 * cost.train_use:.0f} %"),
        ("embedding", f"{cost.embed_images:,.0f} crops/s"),
        ("  use of the products", f"{100 * cost.embed_use:.0f} %"),
        (f"embedding {cost.crops:,} crops", f"{cost.embed_seconds:.1f} s"),
        (f"labelling {cost.crops:,} crops", f"{cost.label_seconds:.2f} s"),
        (f"an epoch of {cost.steps} steps", duration(cost.epoch_seconds)),
        ("the run", duration(cost.run_seconds)),
        ("peak memory", f"{cost.peak_bytes / 1e9:.2f} GB"),
    ]


def epochs_within(
    config: TrainConfig,
    table: CropTable,
    seconds: float,
    *,
    device: str | torch.device = "auto",
    reporter: Reporter | None = None,
) -> int:
    """How many epochs of a run fit into some time, by timing a few steps and an epoch's other stages.

    Reading the crops and scoring the model are allowed for, as embedding is timed and each crop is read once.

    Args:
        config: The settings of the run.
        table: Its crops.
        seconds: The time.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        reporter: Gets the progress.

    Returns:
        The number of epochs.

    Raises:
        ResightError: not even one epoch fits; or as for :func:`measure`.
    """
    start = time.perf_counter()
    crops = len(table.subset(TRAIN))
    tested = len(table) - crops
    cost = measure(config, crops=max(crops, _LEAST), steps=4, device=device, reporter=reporter)
    scorings = 1 + (config.epochs // config.evaluate_every + 1 if config.evaluate_every else 0)
    once = tested / cost.embed_images * scorings + crops * _READ_SECONDS
    left = seconds - (time.perf_counter() - start) - once
    epochs = round(left / cost.epoch_seconds)
    if left < cost.epoch_seconds:
        raise ResightError(
            f"One epoch takes about {duration(cost.epoch_seconds)} on this machine, and {duration(once)} go to reading "
            f"and scoring: {duration(seconds)} are not enough. Give more minutes, or fewer sampling.iterations (now "
            f"{config.sampling.iterations})."
        )
    return epochs
