"""The one training loop, for every method."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resight.clustering import clustering_quality
from resight.crops import TRAIN, CropTable
from resight.crops.cache import PixelCache, open_pixel_cache
from resight.encoders import Encoder, embed_images
from resight.errors import ResightError
from resight.methods import METHODS, Batch, Method
from resight.training.augment import epoch_seed, flip_and_crop, random_erasing
from resight.training.config import TrainConfig
from resight.training.ema import WeightAverage
from resight.training.reporting import Reporter
from resight.training.run import RunFolder, table_fingerprint, write_aside
from resight.training.sampling import pk_batches
from resight.training.schedules import build_optimizer, learning_rate_factor

#: Called after an epoch with the encoder to use; what it returns joins the epoch's metrics under ``test_``.
Evaluate = Callable[[Encoder], dict[str, Any]]


class NonFiniteLoss(ResightError):  # noqa: N818 (a state of the run, named as the user meets it)
    """A loss or gradient became infinite or not a number; the last checkpoint is intact."""


def fit(
    config: TrainConfig,
    table: CropTable,
    out: str | Path,
    *,
    resume: bool = False,
    cache: str | Path | None = None,
    reporter: Reporter | None = None,
    evaluate: Evaluate | None = None,
) -> RunFolder:
    """Trains one method on the ``train`` rows of a table.

    Every epoch: embed all crops, label them, then ``sampling.iterations`` steps. All randomness of an epoch is
    drawn from ``(seed, epoch)``, so an epoch begun again after a crash gives the same numbers.

    Args:
        config: The settings.
        table: The crops. Identities, if it has them, serve the metrics and nothing else.
        out: The run folder.
        resume: Go on from the last whole epoch found there (or start, if there is none).
        cache: Folder of pixel caches; ``pixels`` beside the run folder if not given.
        reporter: Told of progress.
        evaluate: Called before the first epoch and every ``evaluate_every`` epochs (if that is not 0), and after
            the last.

    Returns:
        The run folder.

    Raises:
        ResightError: the table lacks what the method needs, crops cannot be read, nothing clusters, the folder
            holds another run, or the loss is no longer finite.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    reporter = reporter or Reporter()
    run = RunFolder(out)
    if run.config_file.exists() and not resume:
        raise ResightError(f"{out} already holds a run: go on with it by --resume, or choose another folder.")
    AcceleratorState._reset_state()  # an earlier run in this process may have had another precision
    accelerator = Accelerator(
        mixed_precision="bf16" if config.precision == "bfloat16" else "no",
        log_with=None if config.tracker == "none" else config.tracker,
        project_dir=str(run.path),
    )
    device = accelerator.device
    torch.manual_seed(config.seed)

    crops = table.subset(TRAIN)
    encoder = Encoder(config.encoder)
    method = METHODS[config.method.name](config.method, config.clustering, encoder)
    method.check(crops)
    if config.sampling.prefer_other_cameras:
        crops.require("camera", "sampling.prefer_other_cameras")
    pixels = open_pixel_cache(
        crops,
        config.encoder.height,
        config.encoder.width,
        cache or run.path.parent / "pixels",
        max_unreadable=config.max_unreadable,
        progress=reporter.progress,
    )
    if pixels.unreadable:
        names = ", ".join(path for path, _ in pixels.unreadable[:5])
        more = f" and {len(pixels.unreadable) - 5} more" if len(pixels.unreadable) > 5 else ""
        reporter.say(f"{len(pixels.unreadable)} unreadable crops left out: {names}{more}.")
    data = _describe_data(pixels, config, method)
    if run.config_file.exists():
        _check_same_run(run, config, data)
    else:
        run.start(config, data)

    trained = nn.ModuleDict({"encoder": encoder, "method": method}).to(device)
    optimizer = build_optimizer(config.optimizer, trained)
    average = WeightAverage(encoder, config.ema.decay) if config.ema.decay is not None else None
    first_epoch = 0
    if state := run.load_checkpoint():
        trained.load_state_dict(state["trained"])
        optimizer.load_state_dict(state["optimizer"])
        if average is not None:
            average.module.load_state_dict(state["average"])
            average.steps = state["average_steps"]
        first_epoch = state["epoch"]
        reporter.say(f"Resumed after epoch {first_epoch} of {config.epochs}.")
    if config.tracker != "none":
        accelerator.init_trackers("resight", config.model_dump(mode="json"))

    best_encoder = average.module if average is not None else encoder
    if first_epoch == 0 and evaluate is not None and config.evaluate_every:
        start = {"epoch": 0} | {f"test_{name}": value for name, value in evaluate(best_encoder).items()}
        run.append(run.metrics_file, start)
        reporter.epoch(start, config.epochs)
    for epoch in range(first_epoch, config.epochs):
        clock = _Clock()
        torch.manual_seed(epoch_seed(config.seed, epoch))
        with clock("embed"):
            features = embed_images(
                average.module if average is not None and config.ema.labels else encoder,
                pixels.images,
                batch=config.embed_batch,
                flip=config.embed_flip,
                autocast=accelerator.autocast,
                progress=lambda done, total: reporter.progress("embedding", done, total),
            )
        with clock("label"):
            labels = method.label(features, pixels.table.without_labels(), epoch).labels
        with clock("train"):
            losses = _train_epoch(
                config, epoch, method, encoder, average, optimizer, pixels, features, labels, accelerator, reporter
            )
        record: dict[str, Any] = {
            "epoch": epoch + 1,
            "lr": config.optimizer.lr * learning_rate_factor(config.optimizer, epoch, config.epochs),
            **losses,
            "clusters": int(labels.max()) + 1,
            "outliers": int((labels < 0).sum()),
        }
        with clock("metrics"):
            if pixels.table.identity is not None and pixels.table.is_person.any():
                record |= clustering_quality(labels, pixels.table.identity)
            last = epoch + 1 == config.epochs
            if evaluate is not None and (last or (config.evaluate_every and (epoch + 1) % config.evaluate_every == 0)):
                record |= {f"test_{name}": value for name, value in evaluate(best_encoder).items()}
        run.save_labels(epoch + 1, labels)
        run.append(run.metrics_file, record)
        run.append(run.timings_file, {"epoch": epoch + 1, **clock.seconds})
        _save_weights(run, best_encoder)
        run.save_checkpoint(
            {
                "epoch": epoch + 1,
                "trained": trained.state_dict(),
                "optimizer": optimizer.state_dict(),
                "average": None if average is None else average.module.state_dict(),
                "average_steps": 0 if average is None else average.steps,
            }
        )
        if config.tracker != "none":
            accelerator.log({k: v for k, v in record.items() if isinstance(v, int | float)}, step=epoch + 1)
        reporter.epoch(record, config.epochs)
    if config.tracker != "none":
        accelerator.end_training()
    return run


def _train_epoch(
    config: TrainConfig,
    epoch: int,
    method: Method,
    encoder: Encoder,
    average: WeightAverage[Encoder] | None,
    optimizer: torch.optim.Optimizer,
    pixels: PixelCache,
    features: np.ndarray,
    labels: np.ndarray,
    accelerator: Any,
    reporter: Reporter,
) -> dict[str, float]:
    """All steps of one epoch; returns the mean loss and its terms."""
    device = accelerator.device
    table = pixels.table
    all_labels = torch.from_numpy(labels).to(device)
    all_cameras = None if table.camera is None else torch.from_numpy(table.camera).to(device)
    method.start_epoch(torch.from_numpy(features).to(device), all_labels, all_cameras)
    generator = torch.Generator().manual_seed(epoch_seed(config.seed, epoch, stream=1))
    rng = np.random.default_rng(epoch_seed(config.seed, epoch, stream=2))
    batches = method.batches(labels, table) or pk_batches(labels, config.sampling, rng, table.camera)
    sums: dict[str, float] = {}
    encoder.train()
    steps = config.sampling.iterations
    for step, rows in enumerate(batches):
        factor = learning_rate_factor(config.optimizer, epoch + step / steps, config.epochs)
        for group in optimizer.param_groups:
            group["lr"] = config.optimizer.lr * factor
        images = torch.from_numpy(pixels.images[rows]).to(device)
        images = encoder.preprocess(flip_and_crop(images, config.augmentation, generator))
        images = random_erasing(images, config.augmentation, generator)
        index = torch.from_numpy(rows).to(device)
        batch = Batch(index, all_labels[index], None if all_cameras is None else all_cameras[index], epoch)
        with accelerator.autocast():
            output = encoder(images)
        terms = method.loss(batch, output)
        total = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        accelerator.backward(total)
        norm = _gradient_norm(optimizer, config.optimizer.clip_norm)
        values = torch.stack([total, norm, *terms.values()]).detach().tolist()
        if not np.isfinite(values).all():
            told = ", ".join(f"{name} {value:g}" for name, value in zip(terms, values[2:], strict=True))
            raise NonFiniteLoss(
                f"The loss is not finite at step {step + 1} of epoch {epoch + 1}: {told}; gradient norm {values[1]:g}. "
                "The checkpoint of the last whole epoch is intact. Lower optimizer.lr, set optimizer.clip_norm, or "
                "train in precision=float32."
            )
        optimizer.step()
        method.after_step(batch, output)
        if average is not None:
            average.update(encoder)
        for name, value in zip(["loss", "gradient_norm", *terms], values, strict=True):
            sums[name] = sums.get(name, 0.0) + value
        reporter.progress(f"epoch {epoch + 1}/{config.epochs}", step + 1, steps)
    return {name: value / (step + 1) for name, value in sums.items()}


def _gradient_norm(optimizer: torch.optim.Optimizer, limit: float | None) -> Tensor:
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    return nn.utils.clip_grad_norm_(parameters, torch.inf if limit is None else limit)


def _describe_data(pixels: PixelCache, config: TrainConfig, method: Method) -> dict[str, Any]:
    use = [*method.camera_use]
    if config.sampling.prefer_other_cameras:
        use.append("sampling.prefer_other_cameras")
    return {
        "root": str(pixels.table.root),
        "format": pixels.table.source,
        "crops": len(pixels),
        "unreadable": [list(item) for item in pixels.unreadable],
        "fingerprint": table_fingerprint(pixels.table, pixels.digest),
        "camera_use": use,
    }


def _check_same_run(run: RunFolder, config: TrainConfig, data: dict[str, Any]) -> None:
    if run.read_config() != config:
        raise ResightError(
            f"{run.path} was trained with other settings than these: resume with the settings of its config.yaml, "
            "or train in another folder."
        )
    if run.read_data()["fingerprint"] != data["fingerprint"]:
        raise ResightError(f"{run.path} was trained on other crops than those in {data['root']}: train elsewhere.")


def _save_weights(run: RunFolder, encoder: Encoder) -> None:
    from safetensors.torch import save_file

    state = {name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()}
    write_aside(run.weights_file, lambda file: save_file(state, file))


class _Clock:
    """Seconds spent in each named stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Any:
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - start, 3)
