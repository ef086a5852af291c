"""Part-guided label refinement (PGLR): the parts of a crop have a say in what the whole should be."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def refined_targets(labels: Tensor, part_logits: Tensor, agreement: Tensor, beta: float = 0.5) -> Tensor:
    """ỹ = β·y + (1 − β)·Σ_n w_n q_n, with w the softmax over the parts n of the agreement C(n) (Cho et al. 2022).

    Args:
        labels: ``(B,)`` int64 in 0…C−1; y is its one-hot vector.
        part_logits: ``(B, P, C)``; q_n is their softmax, and no gradient flows into it.
        agreement: ``(B, P)`` cross agreement.
        beta: β: 1 leaves the labels as they are.

    Returns:
        ``(B, C)``, each row a distribution.
    """
    predicted = (agreement.softmax(dim=1)[:, :, None] * part_logits.detach().softmax(dim=2)).sum(dim=1)
    return beta * F.one_hot(labels, part_logits.shape[2]).to(predicted.dtype) + (1 - beta) * predicted


def part_guided_refinement(
    logits: Tensor, part_logits: Tensor, labels: Tensor, agreement: Tensor, beta: float = 0.5
) -> Tensor:
    """Cross-entropy of the whole crop's prediction with :func:`refined_targets`.

    Args:
        logits: ``(B, C)`` of the whole crop.
        part_logits: ``(B, P, C)``; no gradient flows into them.
        labels: ``(B,)`` int64.
        agreement: ``(B, P)``.
        beta: β.

    Returns:
        The mean over the batch.
    """
    return F.cross_entropy(logits, refined_targets(labels, part_logits, agreement, beta), reduction="none").mean()
