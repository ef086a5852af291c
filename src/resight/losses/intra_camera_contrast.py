"""Contrastive loss among the camera proxies of a crop's own camera."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from resight.losses.offline_association import sum_over_cameras


def intra_camera_contrast(
    features: Tensor, own: Tensor, camera: Tensor, proxies: Tensor, proxy_camera: Tensor, *, temperature: float = 0.05
) -> Tensor:
    """−log [ e^{f_i·c_o/τ} / Σ_{m in the crop's camera} e^{f_i·c_m/τ} ], averaged per camera, summed over cameras.

    o is the proxy of the crop's cluster and camera. Crops of one camera differ by identity and not by the camera, so
    this loss cannot be met by telling cameras apart. Source: Wang et al., "Camera-aware Proxies for Unsupervised Person
    Re-Identification" (CAP), AAAI 2021; kept, but switched off, in the public code of O2CAP (arXiv 2201.05820).

    Args:
        features: ``(B, D)`` L2-normalised features f.
        own: ``(B,)`` int64 index o of the proxy of each crop's cluster and camera.
        camera: ``(B,)`` int64 cameras of the crops.
        proxies: ``(M, D)`` L2-normalised proxies c; no gradient flows into them.
        proxy_camera: ``(M,)`` int64 cameras of the proxies.
        temperature: τ; 0.07 in CAP.

    Returns:
        Scalar: see :func:`~resight.losses.offline_association.sum_over_cameras`.
    """
    logits = features @ proxies.detach().T / temperature
    logits = logits.masked_fill(camera[:, None] != proxy_camera, -torch.inf)
    return sum_over_cameras(F.cross_entropy(logits, own, reduction="none"), camera)
