"""Batch-hard triplet loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def batch_hard_triplet(features: Tensor, labels: Tensor, margin: float | None = 0.3) -> Tensor:
    """max(0, m + max_p d(a, p) − min_n d(a, n)), with d the Euclidean distance.

    Every crop is an anchor a. Its positives p are the other crops with the same label, its negatives n the crops with
    another label. A distance of 0, between copies of a crop, has the gradient 0. Source: Hermans, Beyer and Leibe, "In
    Defense of the Triplet Loss for Person Re-Identification", 2017, equation 5, https://arxiv.org/abs/1703.07737.

    Args:
        features: ``(B, D)`` features.
        labels: ``(B,)`` int64 labels.
        margin: m; ``None`` is the soft margin, which replaces max(0, m + x) by log(1 + exp(x)).

    Returns:
        Scalar: the mean over the anchors that have a positive and a negative; 0, with a gradient of 0, without such
        anchors.
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
