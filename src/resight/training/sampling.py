"""Which crops make a batch: P clusters with K crops each (Hermans et al. 2017), or crops in random order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from pydantic import AliasChoices, ConfigDict, Field, field_validator, model_validator

from resight.common.settings import Settings


class SamplingConfig(Settings):
    """The shape of a batch and the length of an epoch."""

    model_config = ConfigDict(populate_by_name=True)

    order: Literal["clusters", "crops"] = Field(
        "clusters", description="clusters: batches of P clusters, K crops of each; crops: P·K crops in random order"
    )
    balance: Literal["clusters", "proxies"] = Field(
        "clusters",
        description="of what a batch holds P, with K crops each: clusters; proxies (uses cameras; O2CAP): the crops of "
        "a cluster in one camera",
    )
    clusters: int = Field(16, ge=1, description="P: clusters in a batch")
    crops: int = Field(8, ge=1, description="K: crops of each cluster")
    iterations: int = Field(80, ge=0, description="batches in an epoch; 0: as many as show every crop once")
    cameras: Literal["none", "spread", "even", "spcl"] = Field(
        "none",
        validation_alias=AliasChoices("cameras", "prefer_other_cameras"),
        description="whether the crops of a cluster are drawn by camera (uses cameras): none; spread: first one of any "
        "camera, then those of other cameras, then of its own; even: one of each camera in turn; spcl (public code of "
        "SpCL, Cluster Contrast and PPLR): those of other cameras than the first alone, with repetition if too few",
    )
    tracks: Literal["none", "spread"] = Field(
        "none",
        description="whether the crops of a cluster are drawn by track (uses tracks): none; spread: one of each track, "
        "then a second one of each, and so on",
    )
    draws: Literal["balanced", "spcl"] = Field(
        "balanced",
        description="balanced: clusters left over by a round of batches begin the next, and a cluster with fewer than "
        "K crops shows each of them; spcl (public code of SpCL, Cluster Contrast and PPLR): these clusters are left "
        "out, and crops of a small cluster are drawn with repetition",
    )
    source_crops: int | None = Field(
        None, ge=1, description="source crops added to each batch; null: as many as the batch has"
    )
    source_apart: bool = Field(
        False, description="encode source crops in a pass of their own, so that batch norms see one set at a time"
    )

    @model_validator(mode="after")
    def _fitting(self) -> SamplingConfig:
        if self.balance == "proxies" and self.cameras != "none":
            raise ValueError("a proxy has one camera, so set sampling.cameras=none where sampling.balance is proxies")
        if self.tracks != "none" and "spcl" in (self.cameras, self.draws):
            raise ValueError(
                "the public sampler spcl knows no tracks, so set sampling.tracks=none, or other values of "
                "sampling.cameras and sampling.draws"
            )
        return self

    @field_validator("cameras", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        """The former setting ``prefer_other_cameras`` was true or false."""
        return {True: "spread", False: "none"}[value] if isinstance(value, bool) else value


def num_batches(labels: np.ndarray, config: SamplingConfig) -> int:
    """Number of batches in an epoch. A last batch that would not be full is left out."""
    return config.iterations or max(1, int((labels >= 0).sum()) // (config.clusters * config.crops))


def batches(
    labels: np.ndarray,
    config: SamplingConfig,
    rng: np.random.Generator,
    camera: np.ndarray | None = None,
    track: np.ndarray | None = None,
) -> Iterator[np.ndarray]:
    """Yields the int64 crop indices of each batch of an epoch, in the order that the settings name."""
    if config.order == "crops":
        return crop_batches(labels, config, rng)
    return pk_batches(labels, config, rng, camera, track)


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


def _separate_rounds(items: np.ndarray, width: int, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yields ``count`` draws of ``width`` distinct items each, in rounds; what a round leaves over is not drawn."""
    while count > 0:
        order = items[rng.permutation(len(items))]
        for start in range(0, min(len(items) // width, count) * width, width):
            yield order[start : start + width]
        count -= len(items) // width


def pk_batches(
    labels: np.ndarray,
    config: SamplingConfig,
    rng: np.random.Generator,
    camera: np.ndarray | None = None,
    track: np.ndarray | None = None,
) -> Iterator[np.ndarray]:
    """Yields batches of P clusters, K crops of each.

    Clusters come in rounds of random order. With ``draws=balanced`` each is seen as often as any other, and each crop
    of a cluster with fewer than K crops is drawn at least once, unless ``cameras`` is ``spcl``. If there are fewer than
    P clusters, each batch holds all of them. With ``balance=proxies`` the crops of one cluster in one camera take the
    place of a cluster.

    Args:
        labels: ``(N,)`` pseudo-labels; −1 is an outlier and never drawn.
        config: P, K, number of batches, and how crops are drawn and cameras used.
        rng: Source of randomness.
        camera: ``(N,)`` cameras; not looked at if the settings ``cameras`` and ``balance`` do not ask for them.
        track: ``(N,)`` numbers of the crops' tracks; not looked at if the setting ``tracks`` is ``none``.

    Yields:
        int64 crop indices; the K crops of a cluster stand together.
    """
    units = labels
    if config.balance == "proxies" and camera is not None:
        units = np.full_like(labels, -1)
        inside = labels >= 0
        pairs = np.stack([labels[inside], camera[inside]], axis=1)
        units[inside] = np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)
    labelled = np.flatnonzero(units >= 0)
    labelled = labelled[np.argsort(units[labelled], kind="stable")]
    members = np.split(labelled, np.flatnonzero(np.diff(units[labelled])) + 1)
    rounds = _rounds if config.draws == "balanced" else _separate_rounds
    numbers = np.arange(len(members))
    for drawn in rounds(numbers, min(config.clusters, len(members)), num_batches(labels, config), rng):
        yield np.concatenate([_crops_of(members[unit], config, rng, camera, track) for unit in drawn])


def _crops_of(
    members: np.ndarray,
    config: SamplingConfig,
    rng: np.random.Generator,
    camera: np.ndarray | None,
    track: np.ndarray | None,
) -> np.ndarray:
    """``(K,)`` crops of the cluster with these members."""
    if config.cameras == "spcl" and camera is not None:
        return _crops_as_spcl(members, config.crops, rng, camera)
    if config.cameras == "none" and config.draws == "spcl":
        return _crops_as_spcl(members, config.crops, rng, None)
    order = rng.permutation(members)
    if config.cameras == "spread" and camera is not None:
        same = camera[order[1:]] == camera[order[0]]
        order = np.concatenate([order[:1], order[1:][~same], order[1:][same]])
    if config.cameras == "even" and camera is not None:
        order = _in_turn(order, camera[order])
    if config.tracks == "spread" and track is not None:
        order = _in_turn(order, track[order])
    short = config.crops - len(order)
    if short > 0:
        order = np.concatenate([order, rng.choice(members, short, replace=True)])
    return order[: config.crops]


def _in_turn(items: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The first item of each group, then the second of each, and so on; otherwise in the given order."""
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=groups[order[0]] - 1))
    turn = np.empty(len(items), np.int64)
    turn[order] = np.arange(len(items)) - np.repeat(starts, np.diff(starts, append=len(items)))
    return items[np.argsort(turn, kind="stable")]


def _crops_as_spcl(members: np.ndarray, count: int, rng: np.random.Generator, camera: np.ndarray | None) -> np.ndarray:
    """A first crop, and K − 1 other crops of its cluster: of other cameras alone if cameras are given.

    Only if the cluster has no other camera, they are other crops of the same one. They are distinct if there are at
    least K to choose from, and drawn with repetition if not (K, not K − 1: so does the code). A crop alone in its
    cluster comes K times; the public code shows it once, in a batch that the next cluster then fills. Source:
    ``RandomMultipleGallerySampler`` and ``RandomMultipleGallerySamplerNoCam`` in the public code of SpCL (Ge et al.,
    NeurIPS 2020, arXiv 2006.02713), Cluster Contrast and PPLR.
    """
    first = rng.choice(members)
    others = members[:0] if camera is None else members[camera[members] != camera[first]]
    if not len(others):
        others = members[members != first] if len(members) > 1 else members
    drawn = rng.choice(others, count - 1, replace=len(others) < count)
    return np.concatenate([[first], drawn])
