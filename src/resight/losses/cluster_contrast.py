"""Cluster contrastive loss."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def cluster_contrast(features: Tensor, centroids: Tensor, labels: Tensor, temperature: float = 0.05) -> Tensor:
    """−log softmax of a crop's similarity to its own cluster's proxy among all proxies (Dai et al. 2021).

    Args:
        features: ``(B, D)`` L2-normalised.
        centroids: ``(C, D)`` L2-normalised proxies; no gradient flows into them.
        labels: ``(B,)`` int64 in 0…C−1.
        temperature: τ.

    Returns:
        The mean over the batch.
    """
    return F.cross_entropy(features @ centroids.detach().T / temperature, labels)
