"""Part-guided label refinement (PGLR) of PPLR."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def refined_targets(labels: Tensor, part_logits: Tensor, agreement: Tensor, beta: float = 0.5) -> Tensor:
    """Targets ỹ = β·y + (1 − β)·Σ_n w_n·q_n: labels refined by the predictions q_n of a crop's parts n.

    w is the softmax of the cross agreement C(n) over the parts. Source: Cho et al., "Part-based Pseudo Label Refinement
    for Unsupervised Person Re-identification" (PPLR), CVPR 2022.

    Args:
        labels: ``(B,)`` int64 labels, 0…C−1; y is the one-hot vector of a label.
        part_logits: ``(B, P, C)`` logits of P parts; q_n is their softmax, and no gradient flows into them.
        agreement: ``(B, P)`` cross agreement C(n), 0…1.
        beta: β, 0…1; 1 keeps the labels.

    Returns:
        ``(B, C)`` targets; each row sums to 1.
    """
    predicted = (agreement.softmax(dim=1)[:, :, None] * part_logits.detach().softmax(dim=2)).sum(dim=1)
    return beta * F.one_hot(labels, part_logits.shape[2]).to(predicted.dtype) + (1 - beta) * predicted


def part_guided_refinement(
    logits: Tensor, part_logits: Tensor, labels: Tensor, agreement: Tensor, beta: float = 0.5
) -> Tensor:
    """CE(ỹ, q): cross-entropy between the targets ỹ of :func:`refined_targets` and the whole crop's prediction q.

    Source: Cho et al., "Part-based Pseudo Label Refinement for Unsupervised Person Re-identification" (PPLR), CVPR
    2022.

    Args:
        logits: ``(B, C)`` logits of the whole crop; q is their softmax.
        part_logits: ``(B, P, C)`` logits of P parts; no gradient flows into them.
        labels: ``(B,)`` int64 labels, 0…C−1.
        agreement: ``(B, P)`` cross agreement, 0…1.
        beta: β, the share of the label in ỹ, 0…1.

    Returns:
        Scalar: the mean over the batch.
    """
    return F.cross_entropy(logits, refined_targets(labels, part_logits, agreement, beta), reduction="none").mean()
