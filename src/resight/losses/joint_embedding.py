"""Joint embedding loss of MAR."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def joint_embedding(source: Tensor, labels: Tensor, target: Tensor, agents: Tensor, margin: float = 1.0) -> Tensor:
    """L_RJ: pulls source crops to the agent of their identity, and pushes all crops away from hard agents.

    The loss is the mean of two kinds of terms. Each source crop has a term ‖f − a_label‖². Each source or target crop
    with hard agents has a term: the mean over its hard agents of max(0, margin − ‖f − a‖²). An agent is hard for a crop
    if it lies within the margin, ‖f − a‖² < margin, and is not the agent of the crop's identity. As in the authors'
    public code, a crop without hard agents adds no second term to the mean. Source: Yu et al., "Unsupervised Person
    Re-identification by Soft Multilabel Learning" (MAR), CVPR 2019.

    Squared distances are computed as 2 − 2·cosine. Their gradient differs from that of ‖f − a‖² along f only, and the
    L2 normalisation of f removes that part.

    Args:
        source: ``(S, D)`` L2-normalised features of source crops.
        labels: ``(S,)`` int64 reference identities of the source crops, 0…P−1.
        target: ``(B, D)`` L2-normalised features of target crops.
        agents: ``(P, D)`` L2-normalised agents a, one per reference identity; no gradient flows into them.
        margin: Squared distance that is kept from other agents.

    Returns:
        Scalar loss.
    """
    cosine = torch.cat([source, target]) @ agents.detach().T
    own = cosine[: len(source)].gather(1, labels[:, None])
    hard = cosine.detach() > 1 - margin / 2
    hard[: len(source)] = hard[: len(source)].scatter(1, labels[:, None], False)
    count = hard.sum(1)
    apart = (F.relu(margin - 2 + 2 * cosine) * hard).sum(1) / count.clamp(min=1)
    return ((2 - 2 * own).sum() + apart.sum()) / (len(source) + (count > 0).sum()).clamp(min=1)
