"""An exponential moving average of a module's weights, BN statistics included."""

from __future__ import annotations

import copy
from typing import Any, Generic, TypeVar

import torch
from torch import nn

_Module = TypeVar("_Module", bound=nn.Module)


class WeightAverage(Generic[_Module]):
    """Keeps θ_m ← α·θ_m + (1−α)·θ over parameters and floating-point buffers.

    During the first steps α may be held down to (1+t)/(10+t), lest the average be weighed down by where it began.

    Args:
        module: The module to follow; the average starts as its copy.
        decay: α.
        hold_down: Whether it is.
    """

    def __init__(self, module: _Module, decay: float, hold_down: bool = True) -> None:
        self.module: _Module = copy.deepcopy(module)
        self.module.requires_grad_(False).eval()
        self.decay = decay
        self.hold_down = hold_down
        self.steps = 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Moves the average one step towards ``module``."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps)) if self.hold_down else self.decay
        self.steps += 1
        own, other = self.module.state_dict(), module.state_dict()
        floats = [name for name, value in own.items() if value.is_floating_point()]
        torch._foreach_lerp_([own[name] for name in floats], [other[name] for name in floats], 1 - decay)
        for name in own.keys() - set(floats):
            own[name].copy_(other[name])

    def restart(self, module: nn.Module) -> None:
        """Begins again as a copy of ``module``."""
        self.module.load_state_dict(module.state_dict())

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {"module": self.module.state_dict(), "steps": self.steps}

    def load_state(self, state: dict[str, Any]) -> None:
        """The reverse of :meth:`state`."""
        self.module.load_state_dict(state["module"])
        self.steps = state["steps"]
