"""Which crops make a batch: P clusters, K crops of each (Hermans et al. 2017), or any crops in random order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field


class SamplingConfig(BaseModel):
    """The shape of a batch and the length of an epoch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    order: Literal["clusters", "crops"] = Field(
        "clusters", description="batches of P clusters, K crops of each; or of P·K crops in random order"
    )
    clusters: int = Field(16, ge=1, description="P: clusters in a batch")
    crops: int = Field(8, ge=1, description="K: crops of each")
    iterations: int = Field(80, ge=0, description="batches in an epoch; 0: as many as hold the crops once")
    prefer_other_cameras: bool = Field(False, description="a crop's companions come from other cameras first")
    source_crops: int | None = Field(
        None, ge=1, description="crops of a labelled source beside those of a batch (--source); null: as many"
    )
    source_apart: bool = Field(
        False, description="show the encoder the source's crops by themselves, so that norms see one set at a time"
    )


def num_batches(labels: np.ndarray, config: SamplingConfig) -> int:
    """How many batches an epoch has; a last one that would not be full is left out."""
    return config.iterations or max(1, int((labels >= 0).sum()) // (config.clusters * config.crops))


def batches(
    labels: np.ndarray, config: SamplingConfig, rng: np.random.Generator, camera: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Yields the rows of each batch of an epoch, int64, in the order that the settings name."""
    return crop_batches(labels, config, rng) if config.order == "crops" else pk_batches(labels, config, rng, camera)


def crop_batches(labels: np.ndarray, config: SamplingConfig, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yields batches of P·K crops that have a label, each crop as often as any other.

    Crops come in rounds of random order, and none twice in a batch; fewer than P·K crops are all in each batch.
    """
    rows = np.flatnonzero(labels >= 0)
    return _rounds(rows, min(config.clusters * config.crops, len(rows)), num_batches(labels, config), rng)


def source_batches(crops: int, config: SamplingConfig, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yields ``count`` times the rows of the crops that a source of so many adds to a batch, in random order.

    They come in rounds as in :func:`crop_batches`.
    """
    width = config.source_crops or config.clusters * config.crops
    return _rounds(np.arange(crops), min(width, crops), count, rng)


def _rounds(items: np.ndarray, width: int, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """``count`` draws of ``width`` distinct items each, in rounds that hold every item once."""
    queue = np.empty(0, dtype=np.int64)
    for _ in range(count):
        if len(queue) < width:
            fresh = rng.permutation(len(items))
            # An item still waiting goes first and is not drawn twice at once.
            queue = np.concatenate([queue, fresh[~np.isin(fresh, queue)], fresh[np.isin(fresh, queue)]])
        drawn, queue = queue[:width], queue[width:]
        yield items[drawn]


def pk_batches(
    labels: np.ndarray, config: SamplingConfig, rng: np.random.Generator, camera: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Yields the rows of each batch of an epoch.

    Clusters are visited in rounds of random order, so that each is seen as often as any other. A cluster of fewer
    than K crops gives each of them at least once. Where there are fewer than P clusters a batch holds all of them.

    Args:
        labels: ``(N,)`` pseudo-labels; −1 is an outlier and never drawn.
        config: P, K, number of batches.
        rng: Source of randomness.
        camera: ``(N,)`` cameras; used only with ``prefer_other_cameras``: an anchor is drawn, then its K−1
            companions, first from other cameras than the anchor's, then from its own.

    Yields:
        int64 rows, K after K of one cluster.
    """
    rows = np.flatnonzero(labels >= 0)
    rows = rows[np.argsort(labels[rows], kind="stable")]
    members = np.split(rows, np.flatnonzero(np.diff(labels[rows])) + 1)
    numbers = np.arange(len(members))
    for drawn in _rounds(numbers, min(config.clusters, len(members)), num_batches(labels, config), rng):
        yield np.concatenate([_crops_of(members[cluster], config, rng, camera) for cluster in drawn])


def _crops_of(
    members: np.ndarray, config: SamplingConfig, rng: np.random.Generator, camera: np.ndarray | None
) -> np.ndarray:
    order = rng.permutation(members)
    if config.prefer_other_cameras and camera is not None:
        same = camera[order[1:]] == camera[order[0]]
        order = np.concatenate([order[:1], order[1:][~same], order[1:][same]])
    short = config.crops - len(order)
    if short > 0:
        order = np.concatenate([order, rng.choice(members, short, replace=True)])
    return order[: config.crops]
