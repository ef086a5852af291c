"""Agent learning: each reference person gets a direction that its crops are most like."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def agent_learning(features: Tensor, agents: Tensor, labels: Tensor, scale: float = 30.0) -> Tensor:
    """L_AL of MAR (Yu et al., CVPR 2019): −log of the own person's entry of the soft multilabel.

    The one loss that moves the agents.

    Args:
        features: ``(S, D)`` L2-normalised, of source crops.
        agents: ``(P, D)`` L2-normalised.
        labels: ``(S,)`` int64 in 0…P−1.
        scale: Of the similarities.

    Returns:
        The mean over the batch.
    """
    return F.cross_entropy(scale * features @ agents.T, labels)
