"""The learner: everything that training changes, and one step of the optimiser."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resight.common.memory import is_out_of_memory
from resight.encoders import Encoder
from resight.encoders.weights import describe_mismatch
from resight.errors import ResightError
from resight.methods import METHODS, Batch, EpochData, EpochPlan, Method, MethodData
from resight.training.config import TrainConfig
from resight.training.optim import build_optimizer, learning_rate_factor, renew_parameters
from resight.training.teacher import EMATeacher


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
        renew_parameters(self.optimizer, self.config.optimizer, self.trained)

    def step(
        self, batch: Batch, views: list[Tensor], source: Tensor | None, rate: float, *, teacher: bool = False
    ) -> dict[str, float]:
        """One step of the optimiser.

        Args:
            batch: The batch; this fills in its features.
            views: Normalised images of each view, ``(B, 3, H, W)`` each.
            source: ``(S, 3, H, W)`` normalised images of source crops.
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
        parameters = [p for p in self.trained.parameters() if p.grad is not None]
        norm = nn.utils.clip_grad_norm_(parameters, self.config.optimizer.clip_norm or torch.inf)
        # one transfer from the device per step
        values = torch.stack([loss, norm, *terms.values()]).detach().tolist()
        record = dict(zip(["loss", "gradient_norm", *terms], values, strict=True))
        if not np.isfinite(values).all():
            raise NonFiniteLoss(", ".join(f"{name} {value:g}" for name, value in record.items()))
        self.optimizer.step()
        if self.teacher is not None:
            self.teacher.update(self.encoder)
            if teacher:
                with torch.no_grad(), self.autocast():
                    batch.teacher = self.teacher.module(views[0])
        self.method.after_step(batch)
        return record

    def _encode(self, batch: Batch, views: list[Tensor], source: Tensor | None) -> None:
        """Fills in the batch's features: of all images in one pass, or of source crops in a pass of their own."""
        together = [*views] if source is None or self.config.sampling.source_apart else [*views, source]
        images = torch.cat(together).contiguous(memory_format=torch.channels_last) if len(together) > 1 else views[0]
        features = self.encoder(images).split([len(part) for part in together])
        batch.views = tuple(features[: len(views)])
        if source is not None:
            batch.source = features[-1] if len(features) > len(views) else self.encoder(source)

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
