"""Cross-entropy with targets that the neighbours of a crop refine."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def neighbour_refinement(
    logits: Tensor,
    labels: Tensor,
    distances: Tensor,
    *,
    alpha: float = 0.1,
    reach: float = 0.2,
    temperature: float = 0.05,
) -> Tensor:
    """−Σ_k ỹ_ik log softmax(z_i)_k, averaged over the batch, with the targets ỹ of :func:`neighbour_targets`.

    Source: "Neighbour Consistency Guided Pseudo-Label Refinement for Unsupervised Person Re-Identification" (NCPLR) and
    the authors' public code.

    Args:
        logits: ``(B, C)`` logits z of the crops of a batch over the clusters.
        labels: ``(B,)`` int64 clusters, 0…C−1.
        distances: ``(B, B)`` distances between the crops, 0 on the diagonal; infinite where they are not known.
        alpha: Share of a crop's own label in its target; 0.1 in the public code.
        reach: Distance below which a crop is a neighbour; 0.2 in the public code, of Jaccard distances.
        temperature: Temperature of the neighbours' weights; 0.05 in the public code.

    Returns:
        Scalar; no gradient flows through the targets.
    """
    targets = neighbour_targets(logits, labels, distances, alpha=alpha, reach=reach, temperature=temperature)
    return -(targets * logits.log_softmax(1)).sum(1).mean()


@torch.no_grad()
def neighbour_targets(
    logits: Tensor,
    labels: Tensor,
    distances: Tensor,
    *,
    alpha: float = 0.1,
    reach: float = 0.2,
    temperature: float = 0.05,
) -> Tensor:
    """ỹ_i = α·onehot(y_i) + (1 − α) Σ_j w_ij softmax(z_j), w_ij = softmax over the neighbours j of i of −d_ij/τ.

    The crop itself is one of its neighbours. The nearer a neighbour, the larger its weight. (The public code passes +d
    to the softmax, so there the farther neighbours weigh more.)

    Args:
        logits: ``(B, C)`` logits z.
        labels: ``(B,)`` int64 clusters y, 0…C−1.
        distances: ``(B, B)`` distances d.
        alpha: α.
        reach: Distance below which a crop is a neighbour.
        temperature: τ.

    Returns:
        ``(B, C)`` targets; each row sums to 1.
    """
    closeness = (-distances / temperature).masked_fill(distances >= reach, -torch.inf)
    refined = closeness.softmax(1).to(logits.dtype) @ logits.softmax(1)
    return alpha * F.one_hot(labels, logits.shape[1]) + (1 - alpha) * refined
