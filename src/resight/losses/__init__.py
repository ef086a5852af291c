"""Losses, one a file, as pure functions."""

from resight.losses.agreement_aware_smoothing import agreement_aware_smoothing
from resight.losses.batch_hard_triplet import batch_hard_triplet
from resight.losses.camera_contrast import camera_contrast
from resight.losses.cluster_contrast import cluster_contrast
from resight.losses.discrepant_contrast import DiscrepantForm, discrepant_contrast
from resight.losses.instance_discrimination import InstanceForm, instance_discrimination
from resight.losses.multi_instance_contrast import Hardness, Mining, multi_instance_contrast
from resight.losses.part_guided_refinement import part_guided_refinement, refined_targets

__all__ = [
    "DiscrepantForm",
    "Hardness",
    "InstanceForm",
    "Mining",
    "agreement_aware_smoothing",
    "batch_hard_triplet",
    "camera_contrast",
    "cluster_contrast",
    "discrepant_contrast",
    "instance_discrimination",
    "multi_instance_contrast",
    "part_guided_refinement",
    "refined_targets",
]
