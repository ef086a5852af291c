"""Discriminative loss on pairs mined by their soft multilabels."""

from __future__ import annotations

import torch
from torch import Tensor


def pair_agreement(multilabels: Tensor) -> Tensor:
    """1 − ½‖y_i − y_j‖₁ of all pairs i < j of ``(B, P)`` multilabels: ``(B(B−1)/2,)``, row by row, in 0…1."""
    return 1 - torch.pdist(multilabels, 1) / 2


def mined_pairs(pairs: int, ratio: float) -> int:
    """How many of so many pairs a mining ratio takes: at least one."""
    return max(1, int(pairs * ratio))


def agreement_quantile(agreement: Tensor, ratio: float) -> Tensor:
    """The agreement that a share ``ratio`` of the pairs reaches: ``()`` of ``(n,)``, n above 0."""
    return agreement.topk(mined_pairs(len(agreement), ratio)).values[-1]


def multilabel_discriminative(
    features: Tensor, agreement: Tensor, threshold: Tensor | float, ratio: float = 0.005
) -> Tensor:
    """L_MDL of MAR (Yu et al., CVPR 2019): −log(P̄ / (P̄ + N̄)) over the closest pairs of a batch.

    Of all pairs the closest by features are taken. Those whose multilabels agree are positive, the others look alike
    and are not: hard negatives. P̄ and N̄ are the means of exp(−‖f_i − f_j‖²) over them. Where there is no positive P̄ is
    1, where there is no negative N̄ is ½ (authors' public code).

    Args:
        features: ``(B, D)`` L2-normalised.
        agreement: ``(B(B−1)/2,)``, see :func:`pair_agreement`.
        threshold: A pair is positive if its agreement is above.
        ratio: Mining ratio: share of the pairs that is taken, at least one.

    Returns:
        The loss; 0, still with a gradient, for a batch without a pair.
    """
    if len(agreement) == 0:
        return (features * 0).sum()
    closest = torch.pdist(features.detach()).topk(mined_pairs(len(agreement), ratio), largest=False).indices
    first, second = torch.triu_indices(len(features), len(features), 1, device=features.device)[:, closest]
    likeness = torch.exp(-(features[first] - features[second]).square().sum(1))
    positive = agreement[closest] > threshold
    positives, negatives = positive.sum(), (~positive).sum()
    near = torch.where(positives > 0, (likeness * positive).sum() / positives.clamp(min=1), 1.0)
    far = torch.where(negatives > 0, (likeness * ~positive).sum() / negatives.clamp(min=1), 0.5)
    return torch.log(near + far) - torch.log(near)
