"""Offline association of camera proxies: the proxies of a crop's cluster are its positives."""

from __future__ import annotations

import torch
from torch import Tensor


def offline_association(
    features: Tensor,
    labels: Tensor,
    camera: Tensor,
    proxies: Tensor,
    proxy_cluster: Tensor,
    *,
    temperature: float = 0.05,
    negatives: int = 50,
) -> Tensor:
    """−1/|P_i| Σ_{p∈P_i} log [ e^{f_i·c_p/τ} / Σ_{m∈P_i∪Q_i} e^{f_i·c_m/τ} ], averaged per camera, summed over cameras.

    P_i are all proxies of the crop's cluster, that of its own camera included. Q_i are the proxies of other clusters
    that are most similar to the crop. Source: Wang et al., "Offline-Online Associated Camera-Aware Proxies for
    Unsupervised Person Re-Identification" (O2CAP), IEEE TIP 2022, arXiv 2201.05820, and the authors' public code.

    Args:
        features: ``(B, D)`` L2-normalised features f.
        labels: ``(B,)`` int64 clusters of the crops. Each has a proxy.
        camera: ``(B,)`` int64 cameras of the crops.
        proxies: ``(M, D)`` L2-normalised proxies c, one for each pair of cluster and camera; no gradient flows into
            them.
        proxy_cluster: ``(M,)`` int64 clusters of the proxies.
        temperature: τ; 0.05 in the paper, 0.07 in the public command.
        negatives: |Q_i|; all proxies of other clusters where there are fewer.

    Returns:
        Scalar: see :func:`sum_over_cameras`.
    """
    similarity = features @ proxies.detach().T / temperature
    positive = labels[:, None] == proxy_cluster
    others = similarity.masked_fill(positive, -torch.inf)
    nearest = others.topk(min(negatives, others.shape[1]), dim=1).values.logsumexp(1)
    own = similarity.masked_fill(~positive, -torch.inf).logsumexp(1)
    mean = similarity.masked_fill(~positive, 0.0).sum(1) / positive.sum(1)
    return sum_over_cameras(torch.logaddexp(own, nearest) - mean, camera)


def sum_over_cameras(losses: Tensor, camera: Tensor) -> Tensor:
    """Sum over the cameras of a batch of the mean loss of their crops, as in the public code of CAP and O2CAP.

    So a camera with few crops in the batch counts as much as one with many, and the sum grows with the number of
    cameras.

    Args:
        losses: ``(B,)`` loss of each crop.
        camera: ``(B,)`` int64 cameras of the crops.
    """
    return (losses / (camera[:, None] == camera).sum(1)).sum()
