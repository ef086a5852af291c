"""The learner: everything that training changes, and one step of the optimiser."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resight.common.memory import is_out_of_memory
from resight.common.processes import current
from resight.encoders import Encoder, Features
from resight.encoders.weights import describe_mismatch
from resight.errors import ResightError
from resight.methods import METHODS, Batch, EpochData, EpochPlan, Method, MethodData
from resight.training.config import TrainConfig
from resight.training.optim import build_optimizer, learning_rate_factor, renew_parameters
from resight.training.teacher import EMATeacher

#: Numbers in the largest buffer that is sent when an epoch begins.
_LARGEST_SENT = 1 << 26


class NonFiniteLoss(ResightError):  # noqa: N818 (a state of the run, named as the user meets it)
    """A loss or a gradient became infinite or not a number. The last checkpoint is intact."""


class Learner:
    """Encoder, method, optimiser and EMA teacher of a run.

    Args:
        config: The settings of the run.
        data: The crops, for methods whose parameters depend on them.
        weights: First weights of the encoder, as in ``encoder.weights``; ``none`` if a state is loaded later.

    Attributes:
        encoder: The encoder that is trained.
        method: The method.
        trained: Both as one module, on the device.
        optimizer: The optimiser of their parameters.
        teacher: The EMA teacher, if ``ema.decay`` asks for one.
        processes: The processes that train together. Each encodes its share of every batch and gets the features of the
            whole batch, so that losses, proxies and labels are those of a process alone.

    Raises:
        ResightError: the weights, the settings or the crops do not fit.
    """

    def __init__(self, config: TrainConfig, data: MethodData, *, weights: str | None = None) -> None:
        self.config = config
        self.device = data.device
        self.encoder = Encoder(config.encoder, weights=weights)
        self.method: Method[Any] = METHODS[config.method.name](config.method, config.clustering, self.encoder)
        self.method.setup(data)
        self.trained = nn.ModuleDict({"encoder": self.encoder, "method": self.method}).to(data.device)
        self.optimizer = build_optimizer(config.optimizer, self.trained)
        ema = config.ema
        self.teacher = None if ema.decay is None else EMATeacher(self.encoder, ema.decay, warmup=not ema.restart)
        _check_teacher(config, self.method)
        self.processes = current()
        self._shared = self.encoder.share_batches(self.processes) if self.processes.count > 1 else None

    @property
    def best(self) -> Encoder:
        """The encoder to save and to score: the teacher, if ``ema.keep`` says so."""
        return self.teacher.module if self.teacher is not None and self.config.ema.keep else self.encoder

    @property
    def labeller(self) -> Encoder:
        """The encoder whose features are clustered: the teacher, if ``ema.labels`` says so."""
        return self.teacher.module if self.teacher is not None and self.config.ema.labels else self.encoder

    def autocast(self) -> AbstractContextManager[object]:
        """The context of the arithmetic's precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16")

    def rate(self, plan: EpochPlan, epoch: float) -> float:
        """The learning rate at a point of the run: epochs done, counted from 0, with fractions within an epoch."""
        length = plan.schedule_length or self.config.epochs
        return self.config.optimizer.lr * learning_rate_factor(self.config.optimizer, epoch % length, length)

    def standardise_by(self, statistics: tuple[Tensor, Tensor]) -> None:
        """Makes a set's channel statistics those that encoder and teacher standardise crops by."""
        for encoder in (self.encoder, *([] if self.teacher is None else [self.teacher.module])):
            encoder.standardise_by(statistics)

    def begin_epoch(self) -> None:
        """Restarts the teacher if ``ema.restart`` says so; comes before crops are embedded."""
        if self.teacher is not None and self.config.ema.restart:
            self.teacher.restart(self.encoder)

    def start_epoch(self, data: EpochData, labels: Tensor) -> None:
        """Lets the method prepare an epoch, and hands the optimiser the parameters that it replaced."""
        self.method.start_epoch(data, labels)
        self.send_method()
        renew_parameters(self.optimizer, self.config.optimizer, self.trained)

    def send(self) -> None:
        """Gives every process the parameters and buffers of the first one."""
        if self.processes.count > 1:
            modules = [self.trained, *([] if self.teacher is None else [self.teacher.module])]
            self.processes.send([value for module in modules for value in (*module.parameters(), *module.buffers())])

    def send_method(self) -> None:
        """Gives every process the method's parameters and buffers of the first one, large memories excepted.

        They are equal on all processes, unless these round differently.
        """
        if self.processes.count > 1:
            values = (*self.method.parameters(), *self.method.buffers())
            self.processes.send([value for value in values if value.numel() < _LARGEST_SENT])

    def parts(self, crops: int, views: int, source: int) -> tuple[list[slice], slice]:
        """The rows that this process encodes of each view of a batch, and of its source crops.

        Args:
            crops: Crops in the batch.
            views: Views of each crop.
            source: Source crops in the batch.

        Raises:
            ResightError: there are more processes than rows.
        """
        passes = [[crops] * views, [source]] if self.config.sampling.source_apart else [[crops] * views + [source]]
        for sizes in passes:
            if 0 < sum(sizes) < self.processes.count:
                raise ResightError(
                    f"A batch has {sum(sizes)} crops, and there are {self.processes.count} processes to share it: "
                    "start fewer, or raise sampling.clusters or sampling.crops."
                )
        found = [part for sizes in passes for part in self.processes.parts(sizes)]
        return found[:-1], found[-1]

    def step(
        self, batch: Batch, views: list[Tensor], source: Tensor | None, rate: float, *, teacher: bool = False
    ) -> dict[str, float]:
        """One step of the optimiser.

        Args:
            batch: The batch; this fills in its features.
            views: Normalised images of each view, ``(B, 3, H, W)`` each. Of several processes each has the rows that
                :meth:`parts` names, perhaps none of a view.
            source: ``(S, 3, H, W)`` normalised images of source crops, or this process's rows of them.
            rate: The learning rate.
            teacher: Whether the method wants the teacher's features after the step.

        Returns:
            The loss, the norm of the gradient and the terms of the loss, by name.

        Raises:
            NonFiniteLoss: one of these is not finite; no parameter was changed.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        with self.autocast():
            self._encode(batch, views, source)
        terms = self.method.loss(batch)
        loss = torch.stack(list(terms.values())).sum()
        self.optimizer.zero_grad()
        loss.backward()
        self._sum_gradients()
        parameters = [p for p in self.trained.parameters() if p.grad is not None]
        norm = nn.utils.clip_grad_norm_(parameters, self.config.optimizer.clip_norm or torch.inf)
        # one transfer from the device per step
        values = torch.stack([loss, norm, *terms.values()]).detach().tolist()
        record = dict(zip(["loss", "gradient_norm", *terms], values, strict=True))
        if not np.isfinite(values).all():
            raise NonFiniteLoss(", ".join(f"{name} {value:g}" for name, value in record.items()))
        self.optimizer.step()
        self._send_running_statistics()
        if self.teacher is not None:
            self.teacher.update(self.encoder)
            if teacher:
                with torch.no_grad(), self.autocast():
                    batch.teacher = self._look(self.teacher.module, batch, views, source)
        self.method.after_step(batch)
        return record

    def _encode(self, batch: Batch, views: list[Tensor], source: Tensor | None) -> None:
        """Fills in the batch's features: of all images in one pass, or of source crops in a pass of their own."""
        apart = source is None or self.config.sampling.source_apart
        together = [*views] if apart or source is None else [*views, source]
        images = torch.cat(together).contiguous(memory_format=torch.channels_last) if len(together) > 1 else views[0]
        sizes = [len(batch.indices)] * len(views) + ([] if apart else [self._source_size(batch)])
        features = self._features(images, sizes).split(sizes)
        batch.views = tuple(features[: len(views)])
        if source is not None:
            batch.source = self._features(source, [self._source_size(batch)]) if apart else features[-1]

    @staticmethod
    def _source_size(batch: Batch) -> int:
        return 0 if batch.source_labels is None else len(batch.source_labels)

    def _features(self, images: Tensor, sizes: list[int]) -> Features:
        """The encoder's features of all images of a pass, of which this process has its share."""
        features: Features
        if self._shared is None:
            features = self.encoder(images)
            return features
        self._shared.rows = sum(sizes)
        features = self.encoder(images)
        counts = [share.stop - share.start for share in self.processes.shares(sum(sizes))]
        return features.gathered(self.processes, counts)

    def _look(self, encoder: Encoder, batch: Batch, views: list[Tensor], source: Tensor | None) -> Features:
        """An encoder's features of the first view, in evaluation mode."""
        features: Features
        if self._shared is None:
            features = encoder(views[0])
            return features
        # a process may have no row of this view: it looks at an empty image, whose features are left out
        features = encoder(views[0] if len(views[0]) else views[0].new_zeros(1, *views[0].shape[1:]))
        together = source is not None and not self.config.sampling.source_apart
        sizes = [len(batch.indices)] * len(views) + [self._source_size(batch)] * together
        parts = [self.processes.parts(sizes, rank)[0] for rank in range(self.processes.count)]
        return features.gathered(self.processes, [part.stop - part.start for part in parts])

    def _sum_gradients(self) -> None:
        """Adds up the encoder's gradients, which each process has of its own rows.

        Those of the method are of the whole batch on each process: the first one's are used.
        """
        if self.processes.count == 1:
            return
        encoder = [p.grad for p in self.encoder.parameters() if p.grad is not None]
        method = [p.grad for p in self.method.parameters() if p.grad is not None]
        if not self.processes.first:
            for gradient in method:
                gradient.zero_()
        self.processes.sum([*encoder, *method])

    def _send_running_statistics(self) -> None:
        """Gives every process the first one's running statistics, where each normalises its own rows alone."""
        if self._shared is not None and self.config.encoder.norm_groups == self.processes.count:
            values = [value for value in self.encoder.buffers() if value.is_floating_point() and value.ndim == 1]
            self.processes.send_together(values)

    def state(self) -> dict[str, Any]:
        """The state for a checkpoint. Random numbers need no state: they are drawn from seed and epoch."""
        return {
            "trained": self.trained.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.teacher is None else self.teacher.state(),
        }

    def load_state(self, state: dict[str, Any], source: object = "the checkpoint") -> None:
        """Takes over a state from :meth:`state`.

        Args:
            state: The state.
            source: Where it came from, for the sentence.

        Raises:
            ResightError: the state is of another network, method or optimiser.
        """
        try:
            self.trained.load_state_dict(state["trained"])
            own, saved = (set(held["param_groups"][0]) for held in (self.optimizer.state_dict(), state["optimizer"]))
            if (own ^ saved) & {"betas", "momentum"}:  # only Adam has the one, only SGD the other
                raise ValueError("another optimiser")
            self.optimizer.load_state_dict(state["optimizer"])
            if self.teacher is not None:
                self.teacher.load_state(state["average"])
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise
            trained = state["trained"] if isinstance(state["trained"], dict) else {}
            what = describe_mismatch(self.trained.state_dict(), trained) or "is of another optimiser or EMA teacher"
            raise ResightError(
                f"{source} does not fit the settings of this run: it {what}. Bring back the checkpoint and the "
                "config.yaml of the run, or train anew with --overwrite."
            ) from error


def _check_teacher(config: TrainConfig, method: Method[Any]) -> None:
    """Raises a sentence if the settings of the teacher contradict each other or what the method asks of it."""
    ema, uses = config.ema, any(method.plan(epoch).teacher for epoch in range(config.epochs))
    if uses and ema.decay is None:
        raise ResightError(
            f"{method.name} with these settings needs an EMA teacher, and ema.decay is null: set ema.decay=0.999, for "
            "example."
        )
    if uses and not (ema.restart or ema.labels):
        raise ResightError(
            f"{method.name} with these settings begins an epoch with features of the EMA teacher, and ema.labels is "
            "false: set ema.restart=true, for a teacher that begins each epoch as a copy of the encoder, or "
            "ema.labels=true."
        )
    if ema.decay is None and ema.restart:
        raise ResightError("ema.restart=true restarts an EMA teacher, and ema.decay is null: set ema.decay=0.999.")
    if ema.decay is not None and not (uses or ema.keep or (ema.labels and not ema.restart)):
        raise ResightError(
            f"ema.decay={ema.decay} keeps an EMA teacher that is neither clustered, nor saved, nor used by "
            f"{method.name}: set ema.decay=null, or ema.keep=true."
        )
