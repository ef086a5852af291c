"""Losses, one per file, as functions of tensors. Each states its formula and its paper."""

from resight.losses.agent_learning import agent_learning
from resight.losses.agreement_aware_smoothing import agreement_aware_smoothing
from resight.losses.batch_hard_triplet import batch_hard_triplet
from resight.losses.camera_contrast import CameraForm, camera_contrast
from resight.losses.cluster_contrast import cluster_contrast
from resight.losses.cross_view_consistency import cross_view_consistency
from resight.losses.discrepant_contrast import DiscrepantForm, discrepant_contrast
from resight.losses.instance_discrimination import InstanceForm, instance_discrimination
from resight.losses.intra_camera_contrast import intra_camera_contrast
from resight.losses.joint_embedding import joint_embedding
from resight.losses.multi_instance_contrast import Hardness, Mining, multi_instance_contrast
from resight.losses.multilabel_discriminative import agreement_quantile, multilabel_discriminative, pair_agreement
from resight.losses.neighbour_refinement import neighbour_refinement, neighbour_targets
from resight.losses.offline_association import offline_association, sum_over_cameras
from resight.losses.online_association import online_association
from resight.losses.part_guided_refinement import part_guided_refinement, refined_targets

__all__ = [
    "CameraForm",
    "DiscrepantForm",
    "Hardness",
    "InstanceForm",
    "Mining",
    "agent_learning",
    "agreement_aware_smoothing",
    "agreement_quantile",
    "batch_hard_triplet",
    "camera_contrast",
    "cluster_contrast",
    "cross_view_consistency",
    "discrepant_contrast",
    "instance_discrimination",
    "intra_camera_contrast",
    "joint_embedding",
    "multi_instance_contrast",
    "multilabel_discriminative",
    "neighbour_refinement",
    "neighbour_targets",
    "offline_association",
    "online_association",
    "pair_agreement",
    "part_guided_refinement",
    "refined_targets",
    "sum_over_cameras",
]
