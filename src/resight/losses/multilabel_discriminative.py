"""Soft multilabel-guided discriminative loss of MAR."""

from __future__ import annotations

import torch
from torch import Tensor


def pair_agreement(multilabels: Tensor) -> Tensor:
    """Agreement 1 − ½‖y_i − y_j‖₁ of the soft multilabels of all pairs of crops (Yu et al., CVPR 2019).

    Args:
        multilabels: ``(B, P)`` soft multilabels y.

    Returns:
        ``(B(B−1)/2,)`` agreements between 0 and 1 of the pairs i < j, by ascending i, then j.
    """
    return 1 - torch.pdist(multilabels, 1) / 2


def mined_pairs(pairs: int, ratio: float) -> int:
    """Number of pairs that a mining ratio takes: at least one."""
    return max(1, int(pairs * ratio))


def agreement_quantile(agreement: Tensor, ratio: float) -> Tensor:
    """The agreement that a share of the pairs reaches.

    Args:
        agreement: ``(n,)`` agreements, n at least 1.
        ratio: The share, above 0 and at most 1; it stands for at least one pair.

    Returns:
        Scalar: the least agreement of this share of the pairs with the greatest agreement.
    """
    return agreement.topk(mined_pairs(len(agreement), ratio)).values[-1]


def multilabel_discriminative(
    features: Tensor, agreement: Tensor, threshold: Tensor | float, ratio: float = 0.005
) -> Tensor:
    """L_MDL = −log(P̄ / (P̄ + N̄)), over the pairs of a batch with the most similar features.

    Of these pairs, those whose soft multilabels agree are positive, and the others are hard negatives: they look
    similar but probably show different identities. P̄ and N̄ are the means of exp(−‖f_i − f_j‖²) over the positive and
    the negative pairs. Without positive pairs P̄ is 1, and without negative pairs N̄ is ½, as in the authors' public
    code. Source: Yu et al., "Unsupervised Person Re-identification by Soft Multilabel Learning" (MAR), CVPR 2019,
    equations 3 and 4.

    Args:
        features: ``(B, D)`` L2-normalised features f.
        agreement: ``(B(B−1)/2,)`` agreements of all pairs i < j, from :func:`pair_agreement`.
        threshold: A pair is positive where its agreement is greater.
        ratio: Mining ratio: the share of all pairs to use, above 0 and at most 1; at least one pair is used.

    Returns:
        Scalar loss; 0, with a gradient of 0, for a batch without pairs.
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
