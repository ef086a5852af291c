"""Buffers and parameters whose size is that of the data."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def register_state(module: nn.Module, name: str, value: Tensor) -> None:
    """Registers a buffer, or a parameter, that is checkpointed and takes the size of whatever checkpoint is loaded."""
    if isinstance(value, nn.Parameter):
        module.register_parameter(name, value)
    else:
        module.register_buffer(name, value)

    def resize(module: nn.Module, state: dict[str, Any], prefix: str, *args: Any) -> None:
        saved = state.get(prefix + name)
        if saved is not None:
            own = getattr(module, name)
            own.data = own.new_empty(saved.shape)  # in place: an optimiser knows a parameter by the object

    module.register_load_state_dict_pre_hook(resize)
