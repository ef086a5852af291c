"""Inter-camera contrastive loss."""

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
    """Draws a crop to its cluster's proxies in other cameras (Wang et al. 2021; PPLR's supplement, section B).

    −1/|P_i| Σ_{p∈P_i} log [ e^{f·c_p/τ} / (e^{f·c_p/τ} + Σ_{q∈Q_i} e^{f·c_q/τ}) ], with P_i the proxies of the same
    cluster and another camera, and Q_i the nearest proxies of other clusters.

    Args:
        features: ``(B, D)`` L2-normalised.
        labels: ``(B,)`` clusters.
        camera: ``(B,)`` cameras.
        proxies: ``(M, D)`` L2-normalised; no gradient flows into them.
        proxy_cluster: ``(M,)``.
        proxy_camera: ``(M,)``.
        temperature: τ.
        negatives: |Q_i|, or all there are.

    Returns:
        The mean over the crops that have a positive; 0 if none has.
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
