"""Instance contrastive loss of DCMIP, on several instance proxies per cluster."""

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
    """−log [ e^{s⁺/τ} / (e^{s⁺/τ} + Σ e^{s⁻/τ}) ]: one positive proxy of the crop's cluster, against negative proxies.

    s is the similarity between a crop and an instance proxy. Source: Zou et al., "Discrepant and Multi-Instance Proxies
    for Unsupervised Person Re-Identification" (DCMIP), ICCV 2023; supplement, table 2. ``hardness`` chooses proxies:

    * ``"hardest"``: the positive is the least similar proxy of the crop's cluster, and the negatives are the most
      similar proxies of other clusters.
    * ``"easiest"``: the positive is the most similar proxy of the crop's cluster, and the negatives are the least
      similar proxies of other clusters.
    * ``"semi-hard"``, which the supplement does not define: the positive is the least similar of those proxies of the
      crop's cluster that are more similar than every proxy of other clusters, or the most similar one where there are
      none. The negatives are the most similar proxies of other clusters that are less similar than the positive, as in
      Schroff et al. 2015, https://arxiv.org/abs/1503.03832, section 3.2. A crop without negatives has a loss of 0.

    Args:
        features: ``(B, D)`` L2-normalised features.
        proxies: ``(C, K, D)`` L2-normalised instance proxies, K per cluster; no gradient flows into them.
        labels: ``(B,)`` int64 clusters, 0…C−1.
        temperature: τ.
        negatives: Number of negatives with ``mining="global"``; all proxies where there are fewer.
        mining: ``"global"``: negatives are chosen from the proxies of all other clusters together. ``"per_cluster"``:
            one negative is chosen from each other cluster, however many ``negatives`` are asked for.
        hardness: ``"hardest"``, ``"semi-hard"`` or ``"easiest"``.

    Returns:
        Scalar: the mean over the batch; 0 where there is a single cluster.
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
        # every crop has the same number of proxies of other clusters, so no shape depends on the labels
        count = min(negatives, (clusters - 1) * size)
        found = others.flatten(1).topk(count, dim=1, largest=hardness != "easiest").values
    logits = torch.cat([positive[:, None], found], dim=1)
    return F.cross_entropy(logits, torch.zeros_like(labels))
