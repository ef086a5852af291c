"""Buffers and parameters whose size depends on the data."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def register_state(module: nn.Module, name: str, value: Tensor) -> None:
    """Registers a buffer or parameter that takes the size of the checkpoint that is loaded.

    Args:
        module: The module to register it with.
        name: Name of the attribute, and key in the module's state dict.
        value: A tensor becomes a buffer, an ``nn.Parameter`` a parameter.
    """
    if isinstance(value, nn.Parameter):
        module.register_parameter(name, value)
    else:
        module.register_buffer(name, value)

    def resize(module: nn.Module, state: dict[str, Any], prefix: str, *args: Any) -> None:
        saved = state.get(prefix + name)
        if saved is not None:
            own = getattr(module, name)
            own.data = own.new_empty(saved.shape)  # in place, because an optimiser refers to the object

    module.register_load_state_dict_pre_hook(resize)
