"""Losses, one a file, as pure functions."""

from resight.losses.camera_contrast import camera_contrast
from resight.losses.cluster_contrast import cluster_contrast

__all__ = ["camera_contrast", "cluster_contrast"]
