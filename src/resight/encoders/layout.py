"""Tensors as arrays for compiled loops."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def channels_last_array(x: Tensor) -> np.ndarray:
    """A CPU tensor ``(B, C, H, W)`` as an array ``(B, H, W, C)``, without a copy if it lies in this order."""
    array: np.ndarray = x.detach().contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1).numpy()
    return array
