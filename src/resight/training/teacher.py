"""The EMA teacher: an exponential moving average (EMA) of an encoder's weights."""

from __future__ import annotations

import copy
from typing import Any, Generic, TypeVar

import torch
from torch import nn

_Module = TypeVar("_Module", bound=nn.Module)


class EMATeacher(Generic[_Module]):
    """Keeps θ_m ← α·θ_m + (1 − α)·θ over parameters and floating-point buffers, batch-norm statistics included.

    Args:
        module: The module to follow; the teacher starts as its copy.
        decay: α.
        warmup: Whether α is at most (1 + t)/(10 + t) in step t, so that the teacher soon forgets its start.
    """

    def __init__(self, module: _Module, decay: float, warmup: bool = True) -> None:
        self.module: _Module = copy.deepcopy(module)
        self.module.requires_grad_(False).eval()
        self.decay = decay
        self.warmup = warmup
        self.steps = 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Moves the teacher one step towards ``module``; integer buffers are copied."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps)) if self.warmup else self.decay
        self.steps += 1
        own, other = self.module.state_dict(), module.state_dict()
        floats = [name for name, value in own.items() if value.is_floating_point()]
        torch._foreach_lerp_([own[name] for name in floats], [other[name] for name in floats], 1 - decay)
        for name in own.keys() - set(floats):
            own[name].copy_(other[name])

    def restart(self, module: nn.Module) -> None:
        """Makes the teacher a copy of ``module`` again."""
        self.module.load_state_dict(module.state_dict())

    def state(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {"module": self.module.state_dict(), "steps": self.steps}

    def load_state(self, state: dict[str, Any]) -> None:
        """Takes over a state from :meth:`state`."""
        self.module.load_state_dict(state["module"])
        self.steps = state["steps"]
