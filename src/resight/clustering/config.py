"""The settings of the clustering stage."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from resight.clustering.search import Search
from resight.clustering.selection import Clusterer
from resight.common.settings import Settings


class ClusteringConfig(Settings):
    """Settings of :func:`resight.clustering.cluster_crops`: its arguments of the same names."""

    k1: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        30, description="length of the neighbour lists, the crop itself counted; auto chooses without labels"
    )
    k2: int = Field(6, ge=1, description="neighbours whose weights are averaged, the crop itself counted")
    eps: Annotated[float, Field(gt=0, lt=1)] | Literal["auto"] = Field(
        0.6, description="largest Jaccard distance between neighbours; auto chooses without labels"
    )
    min_samples: int = Field(4, ge=1, description="neighbours that make a core crop, the crop itself counted")
    clusterer: Clusterer = Field(
        "dbscan",
        description="what clusters the graph of distances; infomap needs 'resight[infomap]', and min_samples is then "
        "the size of the smallest cluster",
    )
    centre_cameras: bool = Field(False, description="subtract each camera's mean feature first (uses cameras)")
    scale_cameras: bool = Field(
        False, description="divide by the deviations of each camera's features as well (Song et al. 2025; uses cameras)"
    )
    camera_jaccard: bool = Field(
        False,
        description="search for neighbours within cameras and across them (CA-Jaccard, Chen et al. 2024; in place of "
        "k1 and k2; uses cameras, at least 3)",
    )
    intra_k1: int = Field(
        5, ge=1, description="with camera_jaccard: neighbours within the camera, without the crop itself (published)"
    )
    inter_k1: int = Field(20, ge=1, description="with camera_jaccard: neighbours across cameras, less one (published)")
    intra_k2: int = Field(
        2, ge=1, description="with camera_jaccard: crops within the camera whose weights are averaged (published)"
    )
    inter_k2: int = Field(
        4, ge=0, description="with camera_jaccard: crops of other cameras whose weights are averaged (published)"
    )
    search: Search = Field(
        "auto", description="how neighbours are found; auto is exact for up to 150,000 crops (1,500,000 on a GPU)"
    )
    recall: float = Field(
        0.95, gt=0, le=1, description="share of the true neighbours that the approximate search aims to find"
    )

    def arguments(self) -> dict[str, Any]:
        """These settings as arguments of :func:`resight.clustering.cluster_crops`."""
        return self.model_dump(include=set(ClusteringConfig.model_fields))


#: Settings of the clustering stage that use cameras.
CAMERA_SETTINGS = ("centre_cameras", "scale_cameras", "camera_jaccard")


class TrainingClusteringConfig(ClusteringConfig):
    """Settings of the clustering stage of training, where crops may belong to tracks."""

    tracks: bool = Field(
        False,
        description="all crops of a track share a cluster, and tracks that overlap in time in one camera do not "
        "(uses tracks)",
    )
    unit: Literal["crops", "tracks"] = Field(
        "crops", description="what is clustered: crops, or the mean feature of each track (uses tracks)"
    )
    track_min_samples: int = Field(
        2, ge=1, description="with unit tracks: neighbours that make a core track, the track itself counted"
    )
    one_camera: Literal["keep", "leave_out"] = Field(
        "keep",
        description="what becomes of clusters whose crops are all from one camera (leave_out: Song et al. 2025; uses "
        "cameras)",
    )
    one_camera_ramp: int = Field(
        0,
        ge=0,
        description="with one_camera=leave_out: epochs in which the share of these clusters that is left out grows "
        "from none to all, the smallest first; 0: all from the first epoch on",
    )
    one_camera_least: float = Field(
        0.5, gt=0, le=1, description="with one_camera=leave_out: share of the clustered crops that stays in any case"
    )

    def one_camera_share(self, epoch: int) -> float:
        """Share of the clusters of one camera that an epoch, counted from 0, leaves out."""
        if self.one_camera == "keep":
            return 0.0
        return min(1.0, epoch / self.one_camera_ramp) if self.one_camera_ramp else 1.0
