"""Optimisers and how the learning rate moves."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import nn

from resight.common.settings import Settings


class OptimizerConfig(Settings):
    """Optimiser and learning rate schedule."""

    name: Literal["adam", "sgd"] = Field("adam", description="the optimiser")
    lr: float = Field(3.5e-4, gt=0, description="full learning rate")
    weight_decay: float = Field(5e-4, ge=0, description="weight decay (an L2 penalty, in Adam too)")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD")
    nesterov: bool = Field(False, description="Nesterov's momentum in SGD")
    decay_norms: bool = Field(True, description="weight decay on norms and biases too, as the public codes have it")
    backbone_factor: float = Field(1.0, gt=0, description="factor on lr for the backbone")
    clip_norm: float | None = Field(None, gt=0, description="largest norm of the gradient; null: not limited")
    schedule: Literal["constant", "step", "cosine", "exponential"] = Field(
        "step", description="how the learning rate moves"
    )
    step_epochs: PositiveInt | tuple[PositiveInt, ...] = Field(
        20, description="schedule=step: epochs between two steps, or a list of the epochs after which there is one"
    )
    step_factor: float = Field(0.1, gt=0, le=1, description="schedule=step: factor on the rate at each step")
    decay_from: float = Field(0.0, ge=0, description="schedule=cosine, exponential: epoch at which the decay begins")
    final_factor: float = Field(
        1e-3, ge=0, le=1, description="schedule=cosine, exponential: share of lr left at the end of the last epoch"
    )
    warmup_epochs: float = Field(0.0, ge=0, description="epochs in which the rate grows linearly from a tenth of lr")

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> OptimizerConfig:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self


def learning_rate_factor(config: OptimizerConfig, epoch: float, epochs: int) -> float:
    """Share of the full learning rate at a point of the run.

    Args:
        config: The schedule.
        epoch: Epochs done, counted from 0, with fractions within an epoch.
        epochs: Length of the schedule in epochs.
    """
    factor = 1.0
    if config.schedule == "step":
        at = config.step_epochs
        factor = config.step_factor ** (epoch // at if isinstance(at, int) else sum(epoch >= step for step in at))
    elif config.schedule in ("cosine", "exponential"):
        along = (epoch - config.decay_from) / max(epochs - config.decay_from, 1e-9)
        along = min(max(along, 0.0), 1.0)
        if config.schedule == "cosine":
            factor = config.final_factor + (1 - config.final_factor) * (1 + math.cos(math.pi * along)) / 2
        else:
            factor = config.final_factor**along
    if epoch < config.warmup_epochs:
        factor *= 0.1 + 0.9 * epoch / config.warmup_epochs
    return factor


def build_optimizer(config: OptimizerConfig, module: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of a module's trainable parameters.

    Each of its parameter groups has a ``factor``, by which the learning rate of the group is multiplied.
    """
    described = _groups(config, module)
    if config.name == "sgd":
        return torch.optim.SGD(described, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov)
    return torch.optim.Adam(described, lr=config.lr)


def renew_parameters(optimizer: torch.optim.Optimizer, config: OptimizerConfig, module: nn.Module) -> None:
    """Gives an optimiser the parameters of a module again, after some of them were replaced by new ones.

    New parameters start without optimiser state. The state of those that are gone is dropped.

    Args:
        optimizer: The module's optimiser, from :func:`build_optimizer`.
        config: The settings it was built from.
        module: The module, with as many parameters as before, of any sizes.
    """
    for group, described in zip(optimizer.param_groups, _groups(config, module), strict=True):
        group["params"] = described["params"]
    present = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    for parameter in set(optimizer.state) - present:
        del optimizer.state[parameter]


def _groups(config: OptimizerConfig, module: nn.Module) -> list[dict[str, Any]]:
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            decay = config.weight_decay if parameter.ndim > 1 or config.decay_norms else 0.0
            factor = config.backbone_factor if ".backbone." in f".{name}" else 1.0
            groups.setdefault((decay, factor), []).append(parameter)
    return [{"params": found, "weight_decay": key[0], "factor": key[1]} for key, found in groups.items()]
