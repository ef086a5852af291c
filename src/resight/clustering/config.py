"""The settings of the clustering stage."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ClusteringConfig(BaseModel):
    """Arguments of :func:`resight.clustering.cluster_crops`, which documents them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    k1: int = Field(30, ge=1, description="neighbours of a crop, itself counted")
    k2: int = Field(6, ge=1, description="neighbours averaged in local expansion")
    eps: float = Field(0.6, gt=0, lt=1, description="largest Jaccard distance of neighbours")
    min_samples: int = Field(4, ge=1, description="neighbours of a core crop, itself counted")
    centre_cameras: bool = Field(False, description="subtract each camera's mean feature first (uses cameras)")
    search: Literal["auto", "exact", "approximate"] = Field(
        "auto", description="how neighbours are found; auto is exact for up to 150,000 crops (1,500,000 on a GPU)"
    )
    recall: float = Field(
        0.95, gt=0, le=1, description="share of the true neighbours that the approximate search aims to find"
    )
