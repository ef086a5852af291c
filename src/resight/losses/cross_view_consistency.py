"""Cross-view consistency: soft multilabels are distributed alike in every camera."""

from __future__ import annotations

from torch import Tensor

from resight.common.statistics import camera_statistics


def cross_view_consistency(log_multilabels: Tensor, camera: Tensor, cameras: int, mean: Tensor, std: Tensor) -> Tensor:
    """L_CML of MAR (Yu et al., CVPR 2019): ½[‖μ_v − μ‖² + ‖σ_v − σ‖²].

    That is the supplement's equation 2, the simplified 2-Wasserstein distance.

    Args:
        log_multilabels: ``(B, P)`` log y of target crops.
        camera: ``(B,)`` int64 in 0…V−1.
        cameras: V.
        mean: ``(P,)`` μ, of all cameras; no gradient flows into μ and σ.
        std: ``(P,)`` σ.

    Returns:
        The mean over the cameras that have two crops or more in the batch; 0, still with a gradient, where none has.
    """
    means, stds, enough = camera_statistics(log_multilabels, camera, cameras)
    each = ((means - mean.detach()).square() + (stds - std.detach()).square()).sum(1) / 2
    return (each * enough).sum() / enough.sum().clamp(min=1)
