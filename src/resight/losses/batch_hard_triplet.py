"""Batch-hard triplet loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def batch_hard_triplet(features: Tensor, labels: Tensor, margin: float | None = 0.3) -> Tensor:
    """max(0, m + d(a, hardest positive) − d(a, hardest negative)), Euclidean (Hermans et al. 2017, equation 5).

    Each crop is an anchor: its hardest positive is the furthest crop of its label, its hardest negative the nearest of
    another. The gradient of a distance of 0 (a crop drawn twice) is taken as 0.

    Args:
        features: ``(B, D)``.
        labels: ``(B,)`` int64.
        margin: m; ``None`` is the soft margin, log(1 + exp(·)).

    Returns:
        The mean over the anchors with a positive other than themselves and a negative; 0, still with a gradient, where
        there is none.
    """
    products = features @ features.T
    squares = products.diagonal()
    squared = (squares[:, None] + squares[None] - 2 * products).clamp(min=0)
    near = squared < 1e-12
    distance = torch.where(near, 0.0, squared.masked_fill(near, 1.0).sqrt())
    same = labels[:, None] == labels[None]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    usable = (same & ~itself).any(dim=1) & (~same).any(dim=1)
    if not usable.any():
        return (features * 0).sum()
    positive = distance.masked_fill(~same, -torch.inf).amax(dim=1)[usable]
    negative = distance.masked_fill(same, torch.inf).amin(dim=1)[usable]
    return (F.softplus(positive - negative) if margin is None else F.relu(margin + positive - negative)).mean()
