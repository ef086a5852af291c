"""Discrepant cluster contrastive loss of DCMIP, on two proxies per cluster."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from resight.losses.cluster_contrast import cluster_contrast

DiscrepantForm = Literal["hardest", "sum", "sum_discrepant"]


def discrepant_contrast(
    features: Tensor,
    mean: Tensor,
    discrepant: Tensor,
    labels: Tensor,
    temperature: float = 0.05,
    form: DiscrepantForm = "hardest",
    margin: float = 0.2,
) -> Tensor:
    """L_DCP = −log [ e^{s_y/τ} / Σ_k e^{s_k/τ} ]: classifies a crop by the two proxies of all C clusters.

    ``form`` defines the similarity s_k to cluster k. Source: Zou et al., "Discrepant and Multi-Instance Proxies for
    Unsupervised Person Re-Identification" (DCMIP), ICCV 2023. All forms are readings of its abstract and supplement:
    equation 8, which defines the loss, was not available. ``"sum_discrepant"`` is what the unofficial code at
    https://github.com/Trangle12/DCMIP computes.

    Args:
        features: ``(B, D)`` L2-normalised features f.
        mean: ``(C, D)`` L2-normalised mean proxies; no gradient flows into them.
        discrepant: ``(C, D)`` L2-normalised discrepant proxies; no gradient flows into them.
        labels: ``(B,)`` int64 clusters y, 0…C−1.
        temperature: τ.
        form: ``"hardest"``: s_y is the similarity to the less similar proxy of the crop's cluster, and s_k the
            similarity to the more similar proxy of another cluster. ``"sum"``: the loss is
            ½[CE(discrepant) + max(0, CE(mean) − margin)], where CE is the batch mean with one kind of proxy.
            ``"sum_discrepant"``: the margin is on the other kind, ½[CE(mean) + max(0, CE(discrepant) − margin)].
        margin: The value of CE below which the proxies that have the margin are ignored.

    Returns:
        Scalar: the mean over the batch.
    """
    if form != "hardest":
        whole, beyond = (discrepant, mean) if form == "sum" else (mean, discrepant)
        near = F.relu(cluster_contrast(features, beyond, labels, temperature) - margin)
        return (cluster_contrast(features, whole, labels, temperature) + near) / 2
    first, second = features @ mean.detach().T, features @ discrepant.detach().T
    own = labels[:, None] == torch.arange(len(mean), device=labels.device)
    hardest = torch.where(own, torch.minimum(first, second), torch.maximum(first, second))
    return F.cross_entropy(hardest / temperature, labels)
