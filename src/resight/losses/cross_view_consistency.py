"""Cross-view consistency loss of MAR."""

from __future__ import annotations

from torch import Tensor

from resight.common.statistics import camera_statistics


def cross_view_consistency(log_multilabels: Tensor, camera: Tensor, cameras: int, mean: Tensor, std: Tensor) -> Tensor:
    """L_CML = ½[‖μ_v − μ‖² + ‖σ_v − σ‖²]: makes soft multilabels have the same distribution in every camera v.

    μ_v and σ_v are the mean and standard deviation of log y over the batch's crops of camera v. The loss is the
    simplified 2-Wasserstein distance. Source: Yu et al., "Unsupervised Person Re-identification by Soft Multilabel
    Learning" (MAR), CVPR 2019, equation 6; supplement, equation 2.

    Args:
        log_multilabels: ``(B, P)`` log soft multilabels log y of target crops.
        camera: ``(B,)`` int64 camera of each crop, 0…V−1.
        cameras: V, the number of cameras.
        mean: ``(P,)`` μ over all cameras; no gradient flows into it.
        std: ``(P,)`` σ over all cameras; no gradient flows into it.

    Returns:
        Scalar: the mean over the cameras with at least two crops in the batch; 0, with a gradient of 0, where no camera
        has them.
    """
    means, stds, enough = camera_statistics(log_multilabels, camera, cameras)
    each = ((means - mean.detach()).square() + (stds - std.detach()).square()).sum(1) / 2
    return (each * enough).sum() / enough.sum().clamp(min=1)
