"""Instance contrastive loss over many proxies a cluster, the hard ones mined from all of them."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Mining = Literal["global", "per_cluster"]
Hardness = Literal["hardest", "semi-hard", "easiest"]


def multi_instance_contrast(
    features: Tensor,
    proxies: Tensor,
    labels: Tensor,
    *,
    temperature: float = 0.05,
    negatives: int = 50,
    mining: Mining = "global",
    hardness: Hardness = "hardest",
) -> Tensor:
    """−log [ e^{s⁺/τ} / (e^{s⁺/τ} + Σ e^{s⁻/τ}) ], with s the similarity to instance proxies (DCMIP, Zou et al. 2023).

    ``hardness`` says which proxies count (table 2 of the supplement, which leaves ``semi-hard`` undefined):

    * ``hardest``: as positive the own cluster's least similar proxy, as negatives the most similar of the others.
    * ``easiest``: the other way round, the most similar of the own and the least similar of the others.
    * ``semi-hard``: as negatives the most similar of those that are less similar than the positive (Schroff et al.
      2015, https://arxiv.org/abs/1503.03832, section 3.2); as positive, likewise, the least similar of the own that are
      more similar than every other cluster's, or the most similar of the own where none is. A crop that then has no
      negative has a loss of 0.

    Args:
        features: ``(B, D)`` L2-normalised.
        proxies: ``(C, K, D)`` L2-normalised, K a cluster; no gradient flows into them.
        labels: ``(B,)`` int64 in 0…C−1.
        temperature: τ.
        negatives: N: how many count, or all there are.
        mining: ``global``: those N of all other clusters' proxies together. ``per_cluster``: one of every other
            cluster, the most similar that may count (``easiest``: the least similar), whatever N.
        hardness: See above.

    Returns:
        The mean over the batch; 0 where there is a single cluster.
    """
    clusters, size = proxies.shape[:2]
    similarity = (features @ proxies.detach().flatten(0, 1).T / temperature).unflatten(1, (clusters, size))
    same = (labels[:, None] == torch.arange(clusters, device=labels.device))[:, :, None]
    own = similarity.take_along_dim(labels[:, None, None], dim=1).squeeze(1)
    others = similarity.masked_fill(same, -torch.inf)
    if hardness == "hardest":
        positive = own.amin(1)
    elif hardness == "easiest":
        positive = own.amax(1)
        others = similarity.masked_fill(same, torch.inf)
    else:
        above = own > others.amax((1, 2))[:, None]
        positive = torch.where(above.any(1), own.masked_fill(~above, torch.inf).amin(1), own.amax(1))
        others = others.masked_fill(others >= positive[:, None, None], -torch.inf)
    if mining == "per_cluster":
        found = others.amin(2) if hardness == "easiest" else others.amax(2)
        found = found.masked_fill(same[:, :, 0], -torch.inf)
    else:
        # of every crop's row the same number is another cluster's, so no shape depends on the labels
        count = min(negatives, (clusters - 1) * size)
        found = others.flatten(1).topk(count, dim=1, largest=hardness != "easiest").values
    logits = torch.cat([positive[:, None], found], dim=1)
    return F.cross_entropy(logits, torch.zeros_like(labels))
