"""Soft multilabels: how like each reference person a crop is, kept for every crop."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resight.common.memory import room_for


def log_multilabels(features: Tensor, agents: Tensor, scale: float = 30.0) -> Tensor:
    """Logarithm of y = softmax over the reference persons p of scale · f·a_p (Yu et al., CVPR 2019).

    Args:
        features: ``(B, D)`` L2-normalised.
        agents: ``(P, D)`` L2-normalised, one a reference person; no gradient flows into them.
        scale: Of the similarities; 30 in the authors' public code.

    Returns:
        ``(B, P)``.
    """
    return (scale * features @ agents.detach().T).log_softmax(dim=1)


class MultilabelMemory(nn.Module):
    """A soft multilabel of every crop, moved a little whenever the crop is seen (Yu et al. 2019).

    It takes 2·N·P bytes, in float16: 106 MB for the 12,936 crops of Market-1501 and the 4,101 persons of MSMT17, 267 MB
    for MSMT17's own 32,621 training crops, 8.2 GB for a million crops. A checkpoint holds it, too.

    Args:
        momentum: Share of the old multilabel that stays.
        limit: Bytes it may take on the device of the training; above, it is a memory map of an unnamed temporary file.

    Attributes:
        values: ``(N, P)`` float16.
        known: ``(N,)`` bool: crops that were seen.
    """

    values: Tensor
    known: Tensor

    def __init__(self, momentum: float = 0.9, limit: float = 1e9) -> None:
        super().__init__()
        self.momentum = momentum
        self.limit = limit
        self.register_buffer("values", torch.empty(0, 0, dtype=torch.float16))
        self.register_buffer("known", torch.empty(0, dtype=torch.bool))

        def resize(module: nn.Module, state: dict[str, Any], prefix: str, *args: Any) -> None:
            if (saved := state.get(prefix + "values")) is not None:
                self.reset(*saved.shape)

        self.register_load_state_dict_pre_hook(resize)

    @torch.no_grad()
    def reset(self, crops: int, persons: int) -> None:
        """Makes room for N crops and P reference persons, and knows none of them."""
        device = self.known.device
        if 2 * crops * persons <= self.limit:
            self.values = torch.zeros(crops, persons, dtype=torch.float16, device=device)
        else:
            self.values = torch.from_numpy(room_for((crops, persons), np.float16, memory=int(self.limit)))
        self.known = torch.zeros(crops, dtype=torch.bool, device=device)

    @torch.no_grad()
    def blend(self, rows: Tensor, multilabels: Tensor) -> Tensor:
        """``(B, P)`` float32: m·old + (1−m)·new for crops that were seen before, the new multilabel for others.

        Args:
            rows: ``(B,)`` int64, none twice.
            multilabels: ``(B, P)``.
        """
        old = self.values[rows.to(self.values.device)].to(multilabels.device, torch.float32)
        return torch.where(self.known[rows, None], torch.lerp(multilabels, old, self.momentum), multilabels)

    @torch.no_grad()
    def update(self, rows: Tensor, blended: Tensor) -> None:
        """Keeps what :meth:`blend` gave."""
        self.values[rows.to(self.values.device)] = blended.to(self.values)
        self.known[rows] = True
