"""Agreement-aware label smoothing (AALS): a part that disagrees with the whole need not know who it is."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def agreement_aware_smoothing(part_logits: Tensor, labels: Tensor, agreement: Tensor) -> Tensor:
    """C(n)·CE(y, q_n) + (1 − C(n))·KL(u ‖ q_n), with u uniform over the C classes (Cho et al. 2022).

    Args:
        part_logits: ``(B, P, C)``; q_n is their softmax.
        labels: ``(B,)`` int64 in 0…C−1, the y of all parts.
        agreement: ``(B, P)`` cross agreement C(n).

    Returns:
        The mean over parts and batch.
    """
    logs = part_logits.log_softmax(dim=2)
    index = labels[:, None, None].expand(-1, logs.shape[1], 1)
    certain = -torch.gather(logs, 2, index).squeeze(2)
    uniform = -logs.mean(dim=2) - math.log(logs.shape[2])
    return (agreement * certain + (1 - agreement) * uniform).mean()
