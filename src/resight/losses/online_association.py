"""Online association of camera proxies: those that are nearest at the moment are a crop's positives."""

from __future__ import annotations

import torch
from torch import Tensor

from resight.losses.offline_association import sum_over_cameras


def online_association(
    features: Tensor,
    own: Tensor,
    camera: Tensor,
    proxies: Tensor,
    proxy_camera: Tensor,
    *,
    temperature: float = 0.05,
    negatives: int = 50,
    positives: int = 3,
    mix: float = 0.15,
) -> Tensor:
    """−1/|P_i| Σ_{p∈P_i} log [ e^{f_i·c_p/τ} / Σ_{m∈P_i∪Q_i} e^{f_i·c_m/τ} ], averaged per camera, summed over cameras.

    s_m = mix · f_i·c_m + (1 − mix) · c_o·c_m is how similar proxy m is to crop i and to the proxy o of the crop's
    cluster and camera. P_i are the most similar proxies of the cameras, one per camera, and of these the ``positives``
    best, **whatever their cluster**: so the loss joins what clustering kept apart. Q_i are the most similar of all
    other proxies. s chooses P_i and Q_i; the loss itself uses f_i·c_m alone. Source: Wang et al., "Offline-Online
    Associated Camera-Aware Proxies for Unsupervised Person Re-Identification" (O2CAP), IEEE TIP 2022, arXiv
    2201.05820, and the authors' public code.

    Args:
        features: ``(B, D)`` L2-normalised features f.
        own: ``(B,)`` int64 index of the proxy of each crop's cluster and camera.
        camera: ``(B,)`` int64 cameras of the crops.
        proxies: ``(M, D)`` L2-normalised proxies c; no gradient flows into them.
        proxy_camera: ``(M,)`` int64 cameras of the proxies.
        temperature: τ; 0.05 in the paper, 0.07 in the public command.
        negatives: |Q_i|; all other proxies where there are fewer.
        positives: |P_i|; 3 in the paper. All cameras where there are fewer.
        mix: Weight of the crop's own similarity in s; 0.15 in the paper.

    Returns:
        Scalar: see :func:`~resight.losses.offline_association.sum_over_cameras`.
    """
    proxies = proxies.detach()
    similarity = features @ proxies.T
    with torch.no_grad():
        score = mix * similarity + (1 - mix) * (proxies[own] @ proxies.T)
        chosen = _best_of_cameras(score, proxy_camera, positives)
        rest = score.scatter(1, chosen, -torch.inf)
        others = rest.topk(min(negatives, rest.shape[1] - chosen.shape[1]), dim=1).indices
    logits = similarity / temperature
    near = logits.gather(1, chosen)
    everything = torch.cat([near, logits.gather(1, others)], dim=1)
    return sum_over_cameras(everything.logsumexp(1) - near.mean(1), camera)


def _best_of_cameras(score: Tensor, proxy_camera: Tensor, count: int) -> Tensor:
    """``(B, K)`` indices of the proxies with the highest score of their camera, the K best of these."""
    names, code = proxy_camera.unique(return_inverse=True)
    cameras, index = len(names), code.expand_as(score)
    best = score.new_full((len(score), cameras), -torch.inf).scatter_reduce(1, index, score, "amax")
    place = torch.arange(score.shape[1], device=score.device).expand_as(score)
    # of equal proxies the first
    place = torch.where(score == best.gather(1, index), place, score.shape[1])
    first = place.new_full((len(score), cameras), score.shape[1]).scatter_reduce(1, index, place, "amin")
    return first.gather(1, best.topk(min(count, cameras), dim=1).indices)
