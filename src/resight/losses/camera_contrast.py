"""Inter-camera contrastive loss on camera proxies."""

from __future__ import annotations

import torch
from torch import Tensor


def camera_contrast(
    features: Tensor,
    labels: Tensor,
    camera: Tensor,
    proxies: Tensor,
    proxy_cluster: Tensor,
    proxy_camera: Tensor,
    *,
    temperature: float = 0.07,
    negatives: int = 50,
) -> Tensor:
    """−1/|P_i| Σ_{p∈P_i} log [ e^{f_i·c_p/τ} / (e^{f_i·c_p/τ} + Σ_{q∈Q_i} e^{f_i·c_q/τ}) ].

    Pulls crop i towards the proxies of its cluster in other cameras. P_i are the proxies with the crop's cluster and
    another camera, Q_i the proxies of other clusters that are most similar to the crop. Each positive is compared with
    the negatives only, not with the other positives. Sources: Wang et al., "Camera-aware Proxies for Unsupervised
    Person Re-Identification", AAAI 2021; Cho et al., "Part-based Pseudo Label Refinement for Unsupervised Person
    Re-identification", CVPR 2022, supplement, section B.

    Args:
        features: ``(B, D)`` L2-normalised features f.
        labels: ``(B,)`` int64 clusters of the crops.
        camera: ``(B,)`` int64 cameras of the crops.
        proxies: ``(M, D)`` L2-normalised proxies c; no gradient flows into them.
        proxy_cluster: ``(M,)`` int64 clusters of the proxies.
        proxy_camera: ``(M,)`` int64 cameras of the proxies.
        temperature: τ.
        negatives: |Q_i|; all proxies of other clusters where there are fewer.

    Returns:
        Scalar: the mean over the crops that have a positive; 0, with a gradient of 0, where no crop has one.
    """
    similarity = features @ proxies.detach().T / temperature
    same = labels[:, None] == proxy_cluster
    positive = same & (camera[:, None] != proxy_camera)
    others = similarity.masked_fill(same, -torch.inf)
    hardest = others.topk(min(negatives, others.shape[1]), dim=1).values
    log_negative = torch.logsumexp(hardest, dim=1, keepdim=True)
    term = torch.logaddexp(similarity, log_negative) - similarity
    count = positive.sum(1)
    per_crop = term.masked_fill(~positive, 0.0).sum(1) / count.clamp(min=1)
    return per_crop.sum() / (count > 0).sum().clamp(min=1)
