"""Which crops make a batch: P clusters with K crops each (Hermans et al. 2017), or crops in random order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from pydantic import Field

from resight.common.settings import Settings


class SamplingConfig(Settings):
    """The shape of a batch and the length of an epoch."""

    order: Literal["clusters", "crops"] = Field(
        "clusters", description="clusters: batches of P clusters, K crops of each; crops: P·K crops in random order"
    )
    clusters: int = Field(16, ge=1, description="P: clusters in a batch")
    crops: int = Field(8, ge=1, description="K: crops of each cluster")
    iterations: int = Field(80, ge=0, description="batches in an epoch; 0: as many as show every crop once")
    prefer_other_cameras: bool = Field(
        False, description="draw a cluster's crops from as many cameras as possible (uses cameras)"
    )
    source_crops: int | None = Field(
        None, ge=1, description="source crops added to each batch; null: as many as the batch has"
    )
    source_apart: bool = Field(
        False, description="encode source crops in a pass of their own, so that batch norms see one set at a time"
    )


def num_batches(labels: np.ndarray, config: SamplingConfig) -> int:
    """Number of batches in an epoch. A last batch that would not be full is left out."""
    return config.iterations or max(1, int((labels >= 0).sum()) // (config.clusters * config.crops))


def batches(
    labels: np.ndarray, config: SamplingConfig, rng: np.random.Generator, camera: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Yields the int64 crop indices of each batch of an epoch, in the order that the settings name."""
    return crop_batches(labels, config, rng) if config.order == "crops" else pk_batches(labels, config, rng, camera)


def crop_batches(labels: np.ndarray, config: SamplingConfig, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yields batches of P·K crops that have a label, each crop as often as any other.

    Crops come in rounds of random order, and never twice in a batch. If there are fewer than P·K crops, each batch
    holds all of them.
    """
    labelled = np.flatnonzero(labels >= 0)
    width = min(config.clusters * config.crops, len(labelled))
    return _rounds(labelled, width, num_batches(labels, config), rng)


def source_batches(crops: int, config: SamplingConfig, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yields the indices of the source crops in each of ``count`` batches, in rounds as :func:`crop_batches` has them.

    Args:
        crops: Number of source crops.
        config: How many of them are in a batch.
        count: Number of batches.
        rng: Source of randomness.
    """
    width = config.source_crops or config.clusters * config.crops
    return _rounds(np.arange(crops), min(width, crops), count, rng)


def _rounds(items: np.ndarray, width: int, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yields ``count`` draws of ``width`` distinct items each, in rounds that hold every item once."""
    queue = np.empty(0, dtype=np.int64)
    for _ in range(count):
        if len(queue) < width:
            fresh = rng.permutation(len(items))
            # Items left from the last round go first, and are not drawn twice in this batch.
            queue = np.concatenate([queue, fresh[~np.isin(fresh, queue)], fresh[np.isin(fresh, queue)]])
        drawn, queue = queue[:width], queue[width:]
        yield items[drawn]


def pk_batches(
    labels: np.ndarray, config: SamplingConfig, rng: np.random.Generator, camera: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Yields batches of P clusters, K crops of each.

    Clusters come in rounds of random order, so that each is seen as often as any other. Of a cluster with fewer than K
    crops each crop is drawn at least once. If there are fewer than P clusters, each batch holds all of them.

    Args:
        labels: ``(N,)`` pseudo-labels; −1 is an outlier and never drawn.
        config: P, K, number of batches.
        rng: Source of randomness.
        camera: ``(N,)`` cameras, used only with ``prefer_other_cameras``: a first crop is drawn, then the others from
            other cameras than its own, and only if these do not suffice from its own.

    Yields:
        int64 crop indices; the K crops of a cluster stand together.
    """
    labelled = np.flatnonzero(labels >= 0)
    labelled = labelled[np.argsort(labels[labelled], kind="stable")]
    members = np.split(labelled, np.flatnonzero(np.diff(labels[labelled])) + 1)
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
