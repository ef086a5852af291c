"""Discrepant cluster contrastive loss: a crop against two proxies of every cluster."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from resight.losses.cluster_contrast import cluster_contrast

DiscrepantForm = Literal["hardest", "sum"]


def discrepant_contrast(
    features: Tensor,
    mean: Tensor,
    discrepant: Tensor,
    labels: Tensor,
    temperature: float = 0.05,
    form: DiscrepantForm = "hardest",
    margin: float = 0.2,
) -> Tensor:
    """L_DCP of DCMIP (Zou et al. 2023): −log softmax of the own cluster among all, each cluster having two proxies.

    The paper's equation 8 was not at hand, so there are two forms that fit what it says of it.

    Args:
        features: ``(B, D)`` L2-normalised.
        mean: ``(C, D)`` L2-normalised mean proxies; no gradient flows into either kind.
        discrepant: ``(C, D)`` L2-normalised discrepant proxies.
        labels: ``(B,)`` int64 in 0…C−1.
        temperature: τ.
        form: ``hardest``: of the own cluster's proxies the less similar one counts, of every other cluster's the more
            similar one. ``sum``: ½[CE(discrepant) + max(0, CE(mean) − margin)], with each CE the batch's
            :func:`cluster_contrast` with one kind of proxy.
        margin: Of ``sum``: how far the mean proxies' loss is pressed down.

    Returns:
        The mean over the batch.
    """
    if form == "sum":
        near = F.relu(cluster_contrast(features, mean, labels, temperature) - margin)
        return (cluster_contrast(features, discrepant, labels, temperature) + near) / 2
    first, second = features @ mean.detach().T, features @ discrepant.detach().T
    own = labels[:, None] == torch.arange(len(mean), device=labels.device)
    hardest = torch.where(own, torch.minimum(first, second), torch.maximum(first, second))
    return F.cross_entropy(hardest / temperature, labels)
