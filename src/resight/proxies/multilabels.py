"""Soft multilabels: how similar a crop is to each reference identity, stored for every crop."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resight.common.memory import room_for


def log_multilabels(features: Tensor, agents: Tensor, scale: float = 30.0) -> Tensor:
    """Logarithm of the soft multilabels y = softmax_p(scale · f·a_p) over P reference identities.

    Source: Yu et al., "Unsupervised Person Re-identification by Soft Multilabel Learning" (MAR), CVPR 2019.

    Args:
        features: ``(B, D)`` L2-normalised features f.
        agents: ``(P, D)`` L2-normalised agents a_p, one per reference identity; no gradient flows into them.
        scale: Factor of the similarities; 30 in the authors' public code.

    Returns:
        ``(B, P)`` log y.
    """
    return (scale * features @ agents.detach().T).log_softmax(dim=1)


class MultilabelMemory(nn.Module):
    """The soft multilabel of every crop, averaged over the batches that held the crop: y ← m·y + (1−m)·(new y).

    Source: Yu et al., "Unsupervised Person Re-identification by Soft Multilabel Learning" (MAR), CVPR 2019, and the
    authors' public code.

    The multilabels take 2·N·P bytes in memory and in a checkpoint: with the P = 4,101 identities of MSMT17, 106 MB for
    the 12,936 training crops of Market-1501, and 8.2 GB for a million crops.

    Args:
        momentum: m, the share of the old multilabel, 0…1.
        limit: Bytes that the multilabels may take on the device of the training. Larger ones are a memory map of an
            unnamed temporary file.

    Attributes:
        values: ``(N, P)`` float16 multilabels.
        known: ``(N,)`` bool: whether the crop has a multilabel yet.
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
        """Forgets all multilabels, and makes room for others.

        Args:
            crops: N, the number of crops.
            persons: P, the number of reference identities.
        """
        device = self.known.device
        if 2 * crops * persons <= self.limit:
            self.values = torch.zeros(crops, persons, dtype=torch.float16, device=device)
        else:
            self.values = torch.from_numpy(room_for((crops, persons), np.float16, memory=int(self.limit)))
        self.known = torch.zeros(crops, dtype=torch.bool, device=device)

    @torch.no_grad()
    def blend(self, rows: Tensor, multilabels: Tensor) -> Tensor:
        """Averages new multilabels with the stored ones, without storing the result.

        Args:
            rows: ``(B,)`` int64 indices of the crops, all different.
            multilabels: ``(B, P)`` new multilabels.

        Returns:
            ``(B, P)``: m·old + (1−m)·new; the new multilabel for a crop without an old one.
        """
        old = self.values[rows.to(self.values.device)].to(multilabels.device, torch.float32)
        return torch.where(self.known[rows, None], torch.lerp(multilabels, old, self.momentum), multilabels)

    @torch.no_grad()
    def update(self, rows: Tensor, blended: Tensor) -> None:
        """Stores multilabels.

        Args:
            rows: ``(B,)`` int64 indices of the crops, all different.
            blended: ``(B, P)`` result of :meth:`blend`.
        """
        self.values[rows.to(self.values.device)] = blended.to(self.values)
        self.known[rows] = True
