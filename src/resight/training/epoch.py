"""The steps of one epoch."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from resight.crops.cache import PixelCache
from resight.methods import Batch, EpochData, EpochPlan
from resight.training.augment import Draws, augment
from resight.training.data import TrainingData
from resight.training.learner import Learner, NonFiniteLoss
from resight.training.reporting import Reporter
from resight.training.sampling import batches, num_batches, source_batches
from resight.training.seeds import Stream, numpy_generator, torch_generator


def train_epoch(
    learner: Learner, data: TrainingData, now: EpochData, plan: EpochPlan, labels: np.ndarray, reporter: Reporter
) -> dict[str, float]:
    """Takes all steps of one epoch.

    Args:
        learner: What is trained.
        data: The crops.
        now: What the method knows of the epoch.
        plan: What the epoch consists of.
        labels: ``(N,)`` int64 pseudo-labels.
        reporter: Gets the progress.

    Returns:
        The mean over the steps of the loss, of the gradient's norm and of each term of the loss.

    Raises:
        NonFiniteLoss: the loss or the gradient is not finite.
    """
    config, epoch, source = learner.config, now.epoch, data.source
    all_labels, all_cameras = now.on_device(labels), now.camera
    learner.start_epoch(now, all_labels)
    generator = torch_generator(config.seed, epoch, Stream.AUGMENTATION)
    steps = num_batches(labels, config.sampling)
    table, random = data.table, numpy_generator(config.seed, epoch, Stream.BATCHES)
    drawn = batches(labels, config.sampling, random, table.camera, table.track)
    if source is not None:
        source_labels = now.on_device(source.labels)
        source_drawn = source_batches(
            len(source.labels), config.sampling, steps, numpy_generator(config.seed, epoch, Stream.SOURCE_BATCHES)
        )

    def crops(pixels: PixelCache, indices: np.ndarray) -> Tensor:
        return torch.from_numpy(pixels.images[indices]).to(learner.device)

    def view(images: Tensor, batch: int, rows: slice, statistics: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """A view of those of a batch's images that are in these rows."""
        preprocess = partial(learner.encoder.preprocess, statistics=statistics)
        return augment(images, preprocess, config.augmentation, Draws(generator, batch, rows))

    learner.encoder.train()
    records: list[dict[str, float]] = []
    reporter.progress(f"epoch {epoch + 1}", 0, steps)
    for step, chosen in enumerate(drawn):
        source_chosen = None if source is None else next(source_drawn)
        parts, source_part = learner.parts(
            len(chosen), data.needs.views, 0 if source_chosen is None else len(source_chosen)
        )
        images = crops(data.pixels, chosen[parts[0]])
        views = []
        for number, rows in enumerate(parts):
            own = images if rows == parts[0] else crops(data.pixels, chosen[rows])
            plain = data.needs.plain_view and not number
            views.append(learner.encoder.preprocess(own) if plain else view(own, len(chosen), rows))
        indices = now.on_device(chosen)
        batch = Batch(indices, all_labels[indices], None if all_cameras is None else all_cameras[indices], epoch)
        source_images = None
        if source is not None and source_chosen is not None:
            own = crops(source.pixels, source_chosen[source_part])
            source_images = view(own, len(source_chosen), source_part, source.statistics)
            batch.source_labels = source_labels[now.on_device(source_chosen)]
        rate = learner.rate(plan, epoch + step / steps)
        try:
            records.append(learner.step(batch, views, source_images, rate, teacher=plan.teacher))
        except NonFiniteLoss as error:
            raise NonFiniteLoss(
                f"Training stopped being finite at step {step + 1} of epoch {epoch + 1}: {error}. The checkpoint of "
                "the last whole epoch is intact. Lower optimizer.lr, set optimizer.clip_norm, or train in "
                "precision=float32."
            ) from None
        reporter.progress(f"epoch {epoch + 1}", step + 1, steps)
        reporter.progress("all steps", epoch * steps + step + 1, config.epochs * steps)
    return {name: sum(record[name] for record in records) / len(records) for name in records[0]}
