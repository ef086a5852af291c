"""Losses, one a file, as pure functions."""

from resight.losses.batch_hard_triplet import batch_hard_triplet
from resight.losses.camera_contrast import camera_contrast
from resight.losses.cluster_contrast import cluster_contrast
from resight.losses.instance_discrimination import InstanceForm, instance_discrimination

__all__ = ["InstanceForm", "batch_hard_triplet", "camera_contrast", "cluster_contrast", "instance_discrimination"]
