"""Agent learning loss of MAR."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def agent_learning(features: Tensor, agents: Tensor, labels: Tensor, scale: float = 30.0) -> Tensor:
    """L_AL = −log y_label, with y = softmax_p(scale · f·a_p): classifies source crops by their reference identity.

    Of the losses of MAR it is the only one with a gradient into the agents. Source: Yu et al., "Unsupervised Person
    Re-identification by Soft Multilabel Learning" (MAR), CVPR 2019.

    Args:
        features: ``(S, D)`` L2-normalised features f of source crops.
        agents: ``(P, D)`` L2-normalised agents a_p, one per reference identity.
        labels: ``(S,)`` int64 reference identities, 0…P−1.
        scale: Factor of the similarities; 30 in the authors' public code.

    Returns:
        Scalar: the mean over the S crops.
    """
    return F.cross_entropy(scale * features @ agents.T, labels)
