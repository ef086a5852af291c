"""Instance discriminative loss: a crop's view is that crop, and no other crop is."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

InstanceForm = Literal["paper", "symmetric"]


def instance_discrimination(
    features: Tensor, views: Tensor, temperature: float = 0.1, form: InstanceForm = "paper"
) -> Tensor:
    """The invariant and spreading loss of Ye et al. 2019, as Nikhal and Riggan 2021 use it (equations 4 to 6).

    −Σ_i log P(i|x̂_i) − Σ_i Σ_{j≠i} log(1 − P(i|x_j)), with P(i|x) the softmax over the batch's crops k of f_k·f/τ,
    divided by the number of crops (the equations leave the sums as they are; Ye et al.'s public code divides).

    Args:
        features: ``(B, D)`` L2-normalised features f of the crops.
        views: ``(B, D)`` L2-normalised features f̂ of another view of each, in the same order.
        temperature: τ.
        form: ``paper`` is the formula above: each softmax is over the B crops, a crop itself included. ``symmetric``
            is Ye et al.'s public code: crops and views are 2B instances, each the positive of its other view, a
            softmax over all but itself.

    Returns:
        The loss; finite for any similarities, and without the second term where there is a single crop.
    """
    size = len(features)
    if form == "paper":
        matched = (views @ features.T / temperature).log_softmax(dim=1).diagonal()
        others = features @ features.T / temperature
        kept = ~torch.eye(size, dtype=torch.bool, device=features.device)
    else:
        both = torch.cat([features, views])
        itself = torch.eye(2 * size, dtype=torch.bool, device=features.device)
        others = (both @ both.T / temperature).masked_fill(itself, -torch.inf)
        partner = itself.roll(size, dims=1)
        matched = others.log_softmax(dim=1)[partner]
        kept = ~(itself | partner)
    if size < 2:
        return -matched.mean()
    apart = log_one_minus_softmax(others).masked_fill(~kept, 0.0)
    return -(matched.sum() + apart.sum()) / len(matched)


def log_one_minus_softmax(logits: Tensor) -> Tensor:
    """log(1 − softmax) over the last dimension, of at least two finite logits.

    Where a probability is at most ½ this is log1p(−P). Only the largest can be above, and 1 − P would cancel there:
    for it the other logits are summed instead.
    """
    top = logits.argmax(dim=-1, keepdim=True)
    rest = logits.scatter(-1, top, -torch.inf).logsumexp(-1, keepdim=True) - logits.logsumexp(-1, keepdim=True)
    small = logits.softmax(dim=-1).scatter(-1, top, 0.0)
    return torch.log1p(-small).scatter(-1, top, rest)
