"""The one training loop, for every method."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from resight.clustering import clustering_quality
from resight.crops import TRAIN, CropTable, reference_crops
from resight.crops.cache import PixelCache, open_pixel_cache
from resight.encoders import Encoder, Features, embed_images
from resight.errors import ResightError
from resight.methods import METHODS, Batch, Method
from resight.training.augment import augment, epoch_seed
from resight.training.config import TrainConfig, flatten
from resight.training.ema import WeightAverage
from resight.training.reporting import Reporter
from resight.training.run import RunFolder, runs_behind, table_fingerprint
from resight.training.sampling import batches, num_batches, source_batches
from resight.training.schedules import build_optimizer, learning_rate_factor, renew_parameters

if TYPE_CHECKING:
    from accelerate import Accelerator

#: Called after an epoch with the encoder to use; what it returns joins the epoch's metrics under ``test_``.
Evaluate = Callable[[Encoder], dict[str, Any]]


class NonFiniteLoss(ResightError):  # noqa: N818 (a state of the run, named as the user meets it)
    """A loss or gradient became infinite or not a number; the last checkpoint is intact."""


def fit(
    config: TrainConfig,
    table: CropTable,
    out: str | Path,
    *,
    source: CropTable | None = None,
    resume: bool = False,
    cache: str | Path | None = None,
    reporter: Reporter | None = None,
    evaluate: Evaluate | None = None,
    device: str | torch.device = "auto",
) -> RunFolder:
    """Trains one method on the ``train`` rows of a table.

    Every epoch: embed all crops, label them, then steps on batches of :mod:`resight.training.sampling`. All randomness
    of an epoch is drawn from ``(seed, epoch)``, so an epoch begun again after a crash gives the same numbers.

    Args:
        config: The settings.
        table: The crops. Identities, if it has them, serve the metrics and nothing else.
        out: The run folder.
        source: Labelled crops of other people, for a method that learns from them as well (``uses_source``): all that
            :func:`~resight.crops.reference_crops` leaves of them.
        resume: Go on from the last whole epoch found there (or start, if there is none).
        cache: Folder of pixel caches; ``pixels`` beside the run folder if not given.
        reporter: Told of progress.
        evaluate: Called before the first epoch and every ``evaluate_every`` epochs (if that is not 0), and after
            the last.
        device: Where to train.

    Returns:
        The run folder.

    Raises:
        ResightError: the table or the source lacks what the method needs, crops cannot be read, nothing clusters, the
            folder holds another run, or the loss is no longer finite.
    """
    reporter = reporter or Reporter()
    run = RunFolder(out)
    if run.config_file.exists() and not resume:
        raise ResightError(f"{out} already holds a run: go on with it by --resume, or choose another folder.")
    accelerator = _accelerator(config, run)
    torch.manual_seed(config.seed)
    crops = table.subset(TRAIN)
    source = _check_source(config, source, table)
    learner = _Learner(config, accelerator, crops, source)
    learner.method.check(crops)
    if config.sampling.prefer_other_cameras:
        crops.require("camera", "sampling.prefer_other_cameras")
    open_cache = partial(
        open_pixel_cache,
        height=config.encoder.height,
        width=config.encoder.width,
        folder=cache or run.path.parent / "pixels",
        max_unreadable=config.max_unreadable,
        progress=reporter.progress,
    )
    pixels = open_cache(crops)
    labelled = None if source is None else _Source(open_cache(source), source)
    data = _describe_data(pixels, config, learner.method, labelled)
    if run.config_file.exists():
        _check_same_run(run, config, data)
    else:
        run.start(config, data)
    if unreadable := [*pixels.unreadable, *(labelled.pixels.unreadable if labelled else ())]:
        names = ", ".join(path for path, _ in unreadable[:5])
        more = f" and {len(unreadable) - 5} more, named in {run.data_file}" if len(unreadable) > 5 else ""
        reporter.say(f"{len(unreadable)} unreadable crops left out: {names}{more}.")

    first_epoch = 0
    if state := run.load_checkpoint():
        learner.load_state(state)
        first_epoch = state["epoch"]
        reporter.say(f"Resumed after epoch {first_epoch} of {config.epochs}.")
    elif evaluate is not None and config.evaluate_every:
        record = {"epoch": 0} | _scores(evaluate, learner.best)
        run.append(run.metrics_file, record)
        reporter.epoch(record, config.epochs)
    embed = partial(
        embed_images,
        learner.labeller,
        batch=config.embed_batch,
        flip=config.embed_flip,
        parts=learner.method.uses_parts,
        autocast=accelerator.autocast,
        progress=partial(reporter.progress, "embedding"),
    )
    last_labels, quality = None, {}
    for epoch in range(first_epoch, config.epochs):
        if learner.method.finished(epoch):
            reporter.say(f"The labels have settled: ended after epoch {epoch} of {config.epochs}.")
            break
        clock = _Clock()
        torch.manual_seed(epoch_seed(config.seed, epoch))
        learner.begin_epoch()
        with clock("embed"):
            features = source_features = np.empty((0, learner.encoder.dim), np.float32)
            if learner.method.needs_features(epoch):
                features = embed(pixels.images)
                if labelled is not None:
                    source_features = embed(labelled.pixels.images)
        known = pixels.table if learner.method.uses_identities else pixels.table.without_labels()
        with clock("label"):
            found = learner.method.label(features, known, epoch)
        labels = found.labels
        with clock("train"):
            if labelled is not None and len(source_features):
                learner.start_source(source_features, labelled.labels)
            losses = _train_epoch(learner, epoch, pixels, features, labels, reporter, labelled)
        record = {
            "epoch": epoch + 1,
            "lr": learner.rate(epoch),
            **losses,
        }
        groups = learner.method.groups_crops
        if groups:
            record |= {"clusters": int(labels.max()) + 1, "outliers": int((labels < 0).sum())}
        record |= found.facts
        with clock("metrics"):
            if groups and known.identity is None and pixels.table.identity is not None and pixels.table.is_person.any():
                if last_labels is None or not np.array_equal(labels, last_labels):
                    quality, last_labels = clustering_quality(labels, pixels.table.identity), labels
                record |= quality
            every = config.evaluate_every or config.epochs
            last = epoch + 1 == config.epochs or learner.method.finished(epoch + 1)
            if evaluate is not None and (last or (epoch + 1) % every == 0):
                record |= _scores(evaluate, learner.best)
        for name, values in (({"labels": labels.astype(np.int32)} if groups else {}) | dict(found.kept)).items():
            run.save_values(name, epoch + 1, values)
        run.append(run.metrics_file, record)
        run.append(run.timings_file, {"epoch": epoch + 1, **clock.seconds})
        run.save_weights(learner.best, learner.method.model_state)
        if config.keep_every and (epoch + 1) % config.keep_every == 0:
            run.keep_weights(epoch + 1)
        run.save_checkpoint({"epoch": epoch + 1, **learner.state()})
        if config.tracker != "none":
            accelerator.log({k: v for k, v in record.items() if isinstance(v, int | float)}, step=epoch + 1)
        reporter.epoch(record, config.epochs)
    if config.tracker != "none":
        accelerator.end_training()
    return run


def _accelerator(config: TrainConfig, run: RunFolder) -> Accelerator:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.tracking import get_available_trackers

    if config.tracker != "none" and config.tracker not in map(str, get_available_trackers()):
        raise ResightError(
            f"tracker={config.tracker} needs a package that is not installed: pip install 'resight[{config.tracker}]'."
        )
    AcceleratorState._reset_state()  # an earlier run in this process may have had another precision
    accelerator = Accelerator(
        mixed_precision="bf16" if config.precision == "bfloat16" else "no",
        log_with=None if config.tracker == "none" else config.tracker,
        project_dir=str(run.path),
    )
    if accelerator.num_processes > 1:
        raise ResightError("A run uses one process and one device: start it without torchrun or accelerate launch.")
    if config.tracker != "none":
        accelerator.init_trackers("resight", {name: str(value) for name, value in flatten(config.model_dump()).items()})
    return accelerator


def _check_average(config: TrainConfig, method: Method) -> None:
    """Says in a sentence if the settings of the average contradict each other or what the method asks of it."""
    ema, uses = config.ema, any(method.uses_average(epoch) for epoch in range(config.epochs))
    if uses and ema.decay is None:
        raise ResightError(
            f"{method.name}, so configured, shows batches to an averaged encoder, and ema.decay is null: set "
            "ema.decay=0.999, say."
        )
    if uses and not (ema.restart or ema.labels):
        raise ResightError(
            f"{method.name}, so configured, begins an epoch with features of the averaged encoder, and ema.labels is "
            "false: set ema.restart=true, for an average that begins each epoch as a copy of the encoder, or "
            "ema.labels=true."
        )
    if ema.decay is None and ema.restart:
        raise ResightError("ema.restart=true restarts an average, and ema.decay is null: set ema.decay=0.999, say.")
    if ema.decay is not None and not (uses or ema.keep or (ema.labels and not ema.restart)):
        raise ResightError(
            f"ema.decay={ema.decay} keeps an average that is neither clustered, nor kept, nor asked for by "
            f"{method.name}: leave ema.decay null, or set ema.keep=true."
        )


class _Source:
    """Labelled crops that are in each batch beside those to learn from.

    Attributes:
        pixels: The crops that could be read.
        labels: ``(M,)`` their people, numbered from 0.
        people: What these are called, in that order.
        fingerprint: Hash of crops and identities.
    """

    def __init__(self, pixels: PixelCache, table: CropTable) -> None:
        codes, names = np.unique(table.require("identity", "A source")), table.identity_names or {}
        self.pixels = pixels
        self.labels = np.searchsorted(codes, pixels.table.require("identity", "A source"))
        self.people = [names.get(code, str(code)) for code in codes.tolist()]
        self.fingerprint = table_fingerprint(pixels.table, pixels.digest, ("identity",))


def _check_source(config: TrainConfig, source: CropTable | None, table: CropTable) -> CropTable | None:
    """The source's crops of people, if the method learns from a source; says in a sentence what does not fit."""
    method = METHODS[config.method.name]
    if not method.groups_crops and config.sampling.order == "clusters":
        raise ResightError(f"{method.name} finds no clusters to make batches of: set sampling.order=crops.")
    if not method.uses_source:
        if source is not None:
            raise ResightError(f"{method.name} does not learn from a source: leave --source out.")
        return None
    if source is None:
        raise ResightError(
            f"{method.name} also learns from labelled crops of other people: name them with --source PATH (source= in "
            "Python)."
        )
    source = reference_crops(source)
    own = {table.file(row).absolute() for row in range(len(table))}
    if twice := sum(source.file(row).absolute() in own for row in range(len(source))):
        raise ResightError(
            f"{twice} crops of the source in {source.root} are also among those to train on without labels or to test "
            "with: a source shows other people."
        )
    return source


class _Learner:
    """Everything that training changes, with what changes it."""

    def __init__(
        self, config: TrainConfig, accelerator: Accelerator, crops: CropTable, source: CropTable | None = None
    ) -> None:
        self.config = config
        self.accelerator = accelerator
        self.encoder = Encoder(config.encoder)
        self.method = METHODS[config.method.name](config.method, config.clustering, self.encoder)
        self.method.device = accelerator.device
        self.method.prepare(crops if self.method.uses_identities else crops.without_labels())
        if source is not None:
            self.method.prepare_source(len(np.unique(source.require("identity", "A source"))))
        self.trained = nn.ModuleDict({"encoder": self.encoder, "method": self.method}).to(accelerator.device)
        self.optimizer = build_optimizer(config.optimizer, self.trained)
        ema = config.ema
        self.average = None if ema.decay is None else WeightAverage(self.encoder, ema.decay, hold_down=not ema.restart)
        _check_average(config, self.method)

    @property
    def best(self) -> Encoder:
        """The encoder to keep and to score: the average, if there is one that is not only for the method."""
        return self.encoder if self.average is None or not self.config.ema.keep else self.average.module

    @property
    def labeller(self) -> Encoder:
        """The encoder whose features are clustered."""
        return self.encoder if self.average is None or not self.config.ema.labels else self.average.module

    def rate(self, epoch: float) -> float:
        """The learning rate when so many epochs are done, counted from 0, fractions within one."""
        length = self.method.round_epochs or self.config.epochs
        return self.config.optimizer.lr * learning_rate_factor(self.config.optimizer, epoch % length, length)

    def begin_epoch(self) -> None:
        """What comes before all crops are embedded."""
        if self.average is not None and self.config.ema.restart:
            self.average.restart(self.encoder)

    def start_source(self, features: np.ndarray, labels: np.ndarray) -> None:
        """Shows the method all crops of the source."""
        device = self.accelerator.device
        self.method.start_source(torch.from_numpy(features).to(device), torch.from_numpy(labels).to(device))

    def start_epoch(self, features: Tensor, labels: Tensor, camera: Tensor | None) -> None:
        """Lets the method prepare its epoch, and the optimiser take over what parameters it made anew."""
        self.method.start_epoch(features, labels, camera)
        renew_parameters(self.optimizer, self.config.optimizer, self.trained)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds; random numbers are drawn anew from seed and epoch."""
        return {
            "trained": self.trained.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """The reverse of :meth:`state`."""
        self.trained.load_state_dict(state["trained"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state(state["average"])

    def step(self, batch: Batch, images: Tensor, rate: float) -> dict[str, float]:
        """One step of the optimiser; returns the loss, the gradient's norm and the loss's terms.

        Raises:
            NonFiniteLoss: one of them is not finite; nothing was changed.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        with self.accelerator.autocast():
            features = self._encode(batch, images)
        terms = self.method.loss(batch, features)
        loss = torch.stack(list(terms.values())).sum()
        self.optimizer.zero_grad()
        self.accelerator.backward(loss)
        parameters = [p for p in self.trained.parameters() if p.grad is not None]
        norm = nn.utils.clip_grad_norm_(parameters, self.config.optimizer.clip_norm or torch.inf)
        # one transfer from the device a step
        values = torch.stack([loss, norm, *terms.values()]).detach().tolist()
        told = dict(zip(["loss", "gradient_norm", *terms], values, strict=True))
        if not np.isfinite(values).all():
            raise NonFiniteLoss(", ".join(f"{name} {value:g}" for name, value in told.items()))
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.encoder)
            if self.method.uses_average(batch.epoch):
                with torch.no_grad(), self.accelerator.autocast():
                    batch.averaged = self.average.module(images)
        self.method.after_step(batch, features)
        return told

    def _encode(self, batch: Batch, images: Tensor) -> Features:
        if batch.source_labels is None or not self.config.sampling.source_apart:
            return self.encoder(images)
        first = len(images) - len(batch.source_labels)
        return Features.joined([self.encoder(part) for part in images.tensor_split([first])])


def _train_epoch(
    learner: _Learner,
    epoch: int,
    pixels: PixelCache,
    features: np.ndarray,
    labels: np.ndarray,
    reporter: Reporter,
    source: _Source | None,
) -> dict[str, float]:
    """All steps of one epoch; returns the means of what the steps return."""
    config, device, table = learner.config, learner.accelerator.device, pixels.table
    all_labels = torch.from_numpy(labels).to(device)
    all_cameras = None if table.camera is None else torch.from_numpy(table.camera).to(device)
    learner.start_epoch(torch.from_numpy(features).to(device), all_labels, all_cameras)
    generator = torch.Generator().manual_seed(epoch_seed(config.seed, epoch, stream=1))
    rng = np.random.default_rng(epoch_seed(config.seed, epoch, stream=2))
    steps = num_batches(labels, config.sampling)
    if source is not None:
        source_labels = torch.from_numpy(source.labels).to(device)
        source_rng = np.random.default_rng(epoch_seed(config.seed, epoch, stream=3))
        source_rows = source_batches(len(source.labels), config.sampling, steps, source_rng)
    learner.encoder.train()
    told: list[dict[str, float]] = []
    for step, rows in enumerate(batches(labels, config.sampling, rng, table.camera)):
        crops = torch.from_numpy(pixels.images[rows]).to(device)
        views = [
            augment(crops, learner.encoder.preprocess, config.augmentation, generator)
            for _ in range(learner.method.views)
        ]
        index = torch.from_numpy(rows).to(device)
        batch = Batch(index, all_labels[index], None if all_cameras is None else all_cameras[index], epoch)
        if source is not None:
            beside = next(source_rows)
            crops = torch.from_numpy(source.pixels.images[beside]).to(device)
            views.append(augment(crops, learner.encoder.preprocess, config.augmentation, generator))
            batch.source_labels = source_labels[torch.from_numpy(beside).to(device)]
        images = torch.cat(views).contiguous(memory_format=torch.channels_last) if len(views) > 1 else views[0]
        rate = learner.rate(epoch + step / steps)
        try:
            told.append(learner.step(batch, images, rate))
        except NonFiniteLoss as error:
            raise NonFiniteLoss(
                f"Training stopped being finite at step {step + 1} of epoch {epoch + 1}: {error}. The checkpoint of "
                "the last whole epoch is intact. Lower optimizer.lr, set optimizer.clip_norm, or train in "
                "precision=float32."
            ) from None
        reporter.progress(f"epoch {epoch + 1}", step + 1, steps)
        reporter.progress("all steps", epoch * steps + step + 1, config.epochs * steps)
    return {name: sum(values[name] for values in told) / len(told) for name in told[0]}


def _scores(evaluate: Evaluate, encoder: Encoder) -> dict[str, Any]:
    return {f"test_{name}": value for name, value in evaluate(encoder).items()}


def _describe_data(pixels: PixelCache, config: TrainConfig, method: Method, source: _Source | None) -> dict[str, Any]:
    use = [*method.camera_use]
    if config.sampling.prefer_other_cameras:
        use.append("sampling.prefer_other_cameras")

    def describe(pixels: PixelCache, fingerprint: str) -> dict[str, Any]:
        return {
            "root": str(pixels.table.root),
            "format": pixels.table.source,
            "crops": len(pixels),
            "unreadable": [list(item) for item in pixels.unreadable],
            "fingerprint": fingerprint,
        }

    data = describe(pixels, table_fingerprint(pixels.table, pixels.digest))
    data |= {"camera_use": use, "identity_use": method.uses_identities}
    if behind := runs_behind(config.encoder.weights):
        data["started_from"] = behind
    if source is not None:
        data["source"] = describe(source.pixels, source.fingerprint) | {"people": source.people}
    return data


def _check_same_run(run: RunFolder, config: TrainConfig, data: dict[str, Any]) -> None:
    if run.read_config() != config:
        raise ResightError(
            f"{run.path} was trained with other settings than these: resume with the settings of its config.yaml, "
            "or train in another folder."
        )
    before = run.read_data()
    if before["fingerprint"] != data["fingerprint"]:
        raise ResightError(f"{run.path} was trained on other crops than those in {data['root']}: train elsewhere.")
    if "source" in data and before["source"]["fingerprint"] != data["source"]["fingerprint"]:
        raise ResightError(
            f"{run.path} was trained with another source than the labelled crops in {data['source']['root']}: give the "
            "same, or train elsewhere."
        )


class _Clock:
    """Seconds spent in each named stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Any:
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - start, 3)
