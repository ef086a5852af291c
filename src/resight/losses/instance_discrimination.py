"""Instance discriminative loss (IDL): a crop matches another view of itself, and no other crop."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

InstanceForm = Literal["paper", "symmetric"]


def instance_discrimination(
    features: Tensor, views: Tensor, temperature: float = 0.1, form: InstanceForm = "paper"
) -> Tensor:
    """[−Σ_i log P(i|x̂_i) − Σ_i Σ_{j≠i} log(1 − P(i|x_j))] / B, with P(i|x) = e^{f_i·f/τ} / Σ_k e^{f_k·f/τ}.

    f is the feature of x, and k runs over the B crops. Sources: Nikhal and Riggan, "Unsupervised Attention Based
    Instance Discriminative Learning for Person Re-Identification", WACV 2021, equations 4 to 6; Ye et al.,
    "Unsupervised Embedding Learning via Invariant and Spreading Instance Feature", CVPR 2019. The equations do not
    divide by B; Ye et al.'s public code does.

    Args:
        features: ``(B, D)`` L2-normalised features of the crops x_i.
        views: ``(B, D)`` L2-normalised features of another view x̂_i of each crop, in the same order.
        temperature: τ.
        form: ``"paper"``: the formula above. ``"symmetric"``: Ye et al.'s public code, where crops and views are 2B
            instances, each matches its other view, each softmax leaves out the instance itself, and the sum is divided
            by 2B.

    Returns:
        Scalar loss, finite for any similarities. With a single crop there is no second term.
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
    """log(1 − softmax(logits)) over the last dimension, without cancellation.

    For a probability P of at most ½ this is log1p(−P). Only the largest probability can be above ½; for it, 1 − P is
    computed as the sum of the other probabilities.

    Args:
        logits: ``(…, n)`` finite logits, n at least 2.

    Returns:
        ``(…, n)`` logarithms.
    """
    top = logits.argmax(dim=-1, keepdim=True)
    rest = logits.scatter(-1, top, -torch.inf).logsumexp(-1, keepdim=True) - logits.logsumexp(-1, keepdim=True)
    small = logits.softmax(dim=-1).scatter(-1, top, 0.0)
    return torch.log1p(-small).scatter(-1, top, rest)
