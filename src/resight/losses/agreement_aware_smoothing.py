"""Agreement-aware label smoothing (AALS) of PPLR."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def agreement_aware_smoothing(part_logits: Tensor, labels: Tensor, agreement: Tensor) -> Tensor:
    """C(n)·CE(y, q_n) + (1 − C(n))·KL(u ‖ q_n): the less part n agrees with the whole crop, the smoother its target.

    u is uniform over the C classes. Source: Cho et al., "Part-based Pseudo Label Refinement for Unsupervised Person
    Re-identification" (PPLR), CVPR 2022.

    Args:
        part_logits: ``(B, P, C)`` logits of P parts; q_n is their softmax.
        labels: ``(B,)`` int64 labels y of all parts, 0…C−1.
        agreement: ``(B, P)`` cross agreement C(n), 0…1.

    Returns:
        Scalar: the mean over parts and crops.
    """
    logs = part_logits.log_softmax(dim=2)
    index = labels[:, None, None].expand(-1, logs.shape[1], 1)
    certain = -torch.gather(logs, 2, index).squeeze(2)
    uniform = -logs.mean(dim=2) - math.log(logs.shape[2])
    return (agreement * certain + (1 - agreement) * uniform).mean()
