"""Cluster contrastive loss (ClusterNCE) of Cluster Contrast."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def cluster_contrast(features: Tensor, centroids: Tensor, labels: Tensor, temperature: float = 0.05) -> Tensor:
    """−log [ e^{f·c_y/τ} / Σ_k e^{f·c_k/τ} ]: classifies a crop by the proxies of all C clusters.

    Source: Dai et al., "Cluster Contrast for Unsupervised Person Re-Identification", 2021,
    https://arxiv.org/abs/2103.11568.

    Args:
        features: ``(B, D)`` L2-normalised features f.
        centroids: ``(C, D)`` L2-normalised cluster proxies c; no gradient flows into them.
        labels: ``(B,)`` int64 clusters y, 0…C−1.
        temperature: τ.

    Returns:
        Scalar: the mean over the batch.
    """
    return F.cross_entropy(features @ centroids.detach().T / temperature, labels)
