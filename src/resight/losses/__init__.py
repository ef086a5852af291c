"""Losses, one a file, as pure functions."""

from resight.losses.agreement_aware_smoothing import agreement_aware_smoothing
from resight.losses.batch_hard_triplet import batch_hard_triplet
from resight.losses.camera_contrast import camera_contrast
from resight.losses.cluster_contrast import cluster_contrast
from resight.losses.instance_discrimination import InstanceForm, instance_discrimination
from resight.losses.part_guided_refinement import part_guided_refinement, refined_targets

__all__ = [
    "InstanceForm",
    "agreement_aware_smoothing",
    "batch_hard_triplet",
    "camera_contrast",
    "cluster_contrast",
    "instance_discrimination",
    "part_guided_refinement",
    "refined_targets",
]
