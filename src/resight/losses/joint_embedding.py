"""Joint embedding of source and target crops around reference agents."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def joint_embedding(source: Tensor, labels: Tensor, target: Tensor, agents: Tensor, margin: float = 1.0) -> Tensor:
    """L_RJ of MAR (Yu et al., CVPR 2019): a source crop near its agent, all crops away from agents not their own.

    The mean over these terms: of each source crop ‖f − a_label‖²; of each source and each target crop that has hard
    agents, the mean over them of max(0, margin − ‖f − a‖²). Hard are agents of cosine above 1 − margin/2, for a source
    crop all but its own. In the sum over all crops, a crop without a hard agent adds no term (authors' public code).

    Args:
        source: ``(S, D)`` L2-normalised.
        labels: ``(S,)`` int64 in 0…P−1.
        target: ``(B, D)`` L2-normalised.
        agents: ``(P, D)`` L2-normalised; no gradient flows into them.
        margin: Squared distance kept from agents.

    Returns:
        The loss. Squared distances are 2 − 2·cosine, whose gradient differs from that of ‖f − a‖² along f alone, where
        normalising takes it away.
    """
    cosine = torch.cat([source, target]) @ agents.detach().T
    own = cosine[: len(source)].gather(1, labels[:, None])
    hard = cosine.detach() > 1 - margin / 2
    hard[: len(source)] = hard[: len(source)].scatter(1, labels[:, None], False)
    count = hard.sum(1)
    apart = (F.relu(margin - 2 + 2 * cosine) * hard).sum(1) / count.clamp(min=1)
    return ((2 - 2 * own).sum() + apart.sum()) / (len(source) + (count > 0).sum()).clamp(min=1)
