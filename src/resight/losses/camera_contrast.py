"""Inter-camera contrastive loss on camera proxies."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

CameraForm = Literal["joint", "separate"]


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
    form: CameraForm = "joint",
) -> Tensor:
    """−1/|P_i| Σ_{p∈P_i} log [ e^{f_i·c_p/τ} / Σ_{m∈P_i∪Q_i} e^{f_i·c_m/τ} ], summed over the crops i and divided by B.

    Pulls crop i towards the proxies of its cluster in other cameras. P_i are the proxies with the crop's cluster and
    another camera, Q_i the proxies of other clusters that are most similar to the crop. Sources: Cho et al.,
    "Part-based Pseudo Label Refinement for Unsupervised Person Re-identification", CVPR 2022, supplement, section B,
    and their public code; Wang et al., "Camera-aware Proxies for Unsupervised Person Re-Identification", AAAI 2021.

    Args:
        features: ``(B, D)`` L2-normalised features f.
        labels: ``(B,)`` int64 clusters of the crops.
        camera: ``(B,)`` int64 cameras of the crops.
        proxies: ``(M, D)`` L2-normalised proxies c; no gradient flows into them.
        proxy_cluster: ``(M,)`` int64 clusters of the proxies.
        proxy_camera: ``(M,)`` int64 cameras of the proxies.
        temperature: τ.
        negatives: |Q_i|; all proxies of other clusters where there are fewer.
        form: ``"joint"``: the formula above, as published. One softmax holds all positives and negatives, so the
            farthest positive is pulled most even where all positives beat the negatives. Crops without a positive
            count as 0 in the mean over B. ``"separate"``: each positive p has a denominator without the other
            positives, e^{f_i·c_p/τ} + Σ_{q∈Q_i} e^{f_i·c_q/τ}, and the mean is over the crops that have a positive.

    Returns:
        Scalar; 0, with a gradient of 0, where no crop has a positive.
    """
    similarity = features @ proxies.detach().T / temperature
    same = labels[:, None] == proxy_cluster
    positive = same & (camera[:, None] != proxy_camera)
    others = similarity.masked_fill(same, -torch.inf)
    hardest = others.topk(min(negatives, others.shape[1]), dim=1).values
    denominator = torch.logsumexp(hardest, dim=1, keepdim=True)
    count = positive.sum(1)
    if form == "joint":
        # nothing is masked of a crop without a positive: its terms, which are left out below, stay finite
        own = similarity.masked_fill(~positive & (count > 0)[:, None], -torch.inf)
        denominator = torch.logaddexp(denominator, own.logsumexp(1, keepdim=True))
        term = denominator - similarity
    else:
        term = torch.logaddexp(similarity, denominator) - similarity
    per_crop = term.masked_fill(~positive, 0.0).sum(1) / count.clamp(min=1)
    return per_crop.sum() / (len(labels) if form == "joint" else (count > 0).sum().clamp(min=1))
