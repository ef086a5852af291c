"""The settings of the clustering stage."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from resight.clustering.search import Search
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
    centre_cameras: bool = Field(False, description="subtract each camera's mean feature first (uses cameras)")
    search: Search = Field(
        "auto", description="how neighbours are found; auto is exact for up to 150,000 crops (1,500,000 on a GPU)"
    )
    recall: float = Field(
        0.95, gt=0, le=1, description="share of the true neighbours that the approximate search aims to find"
    )

    def arguments(self) -> dict[str, Any]:
        """These settings as arguments of :func:`resight.clustering.cluster_crops`."""
        return self.model_dump(include=set(ClusteringConfig.model_fields))


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
