"""The data of a run: crops, decoded pixels and source, with every check of what the method needs of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resight.clustering import Links
from resight.clustering.config import CAMERA_SETTINGS
from resight.clustering.infomap import require_infomap
from resight.clustering.tracks import Tracks
from resight.crops import TRAIN, CropTable, reference_crops
from resight.crops.cache import PixelCache, open_pixel_cache
from resight.encoders import channel_statistics
from resight.errors import ResightError
from resight.methods import METHODS, EpochData, MethodData, Needs
from resight.training.config import DEFAULT_RECIPE, TrainConfig, build_config, is_read, recipes
from resight.training.reporting import Reporter
from resight.training.run import table_fingerprint


@dataclass(frozen=True)
class Source:
    """Labelled crops of other identities, some of which are in every batch.

    Attributes:
        pixels: The M crops that could be read.
        labels: ``(M,)`` int64 identity of each crop, numbered from 0.
        names: The name of each identity.
        fingerprint: Hash of crops and identities.
        statistics: What its crops are standardised by, on the device; None: what the encoder standardises by.
    """

    pixels: PixelCache
    labels: np.ndarray
    names: tuple[str, ...]
    fingerprint: str
    statistics: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True)
class Decisions:
    """What people decided of pairs of crops, by their paths in the crop table.

    Attributes:
        origin: Where they come from, for sentences and ``data.json``.
        must: Pairs of one identity.
        cannot: Pairs of different identities.
    """

    origin: str
    must: tuple[tuple[str, str], ...]
    cannot: tuple[tuple[str, str], ...]

    def links(self, paths: tuple[str, ...]) -> Links:
        """The links among some crops, given by their paths.

        Raises:
            ResightError: no pair is among them.
        """
        at = {path: row for row, path in enumerate(paths)}
        must, cannot = (
            np.array([(at[a], at[b]) for a, b in pairs if a in at and b in at], np.int64).reshape(-1, 2)
            for pairs in (self.must, self.cannot)
        )
        if not len(must) + len(cannot):
            raise ResightError(
                f"None of the decisions in {self.origin} is about two of the crops to train on: add these crops to the "
                "gallery and review them first, or leave --decisions out."
            )
        return Links(must, cannot)


@dataclass(frozen=True)
class TrainingData:
    """The crops of a run, checked against what its method needs.

    Attributes:
        pixels: The N training crops that could be read.
        needs: What the method needs.
        camera_use: Settings by which this run uses camera labels; empty if it uses none.
        fingerprint: Hash of the crops and of what is known of them beside identities.
        device: Where training runs.
        source: The labelled source, if the method learns from one.
        decisions: Where the links come from; empty if there are none.
        links: Pairs of crops that pseudo-labels must or must not join, if there are decisions.
        pseudo_cameras: ``(N,)`` int64 groups of crops that take the place of their cameras, if the setting asks for it
            and they are found.
        tracks: The tracks of the crops, if labelling uses them.
        track_use: Settings by which this run uses tracks; empty if it uses none.
    """

    pixels: PixelCache
    needs: Needs
    camera_use: tuple[str, ...]
    fingerprint: str
    device: torch.device
    source: Source | None = None
    decisions: str = ""
    links: Links | None = None
    pseudo_cameras: np.ndarray | None = None
    tracks: Tracks | None = None
    track_use: tuple[str, ...] = ()

    @classmethod
    def open(
        cls,
        config: TrainConfig,
        table: CropTable,
        *,
        cache: str | Path,
        device: torch.device,
        source: CropTable | None = None,
        source_identities: int | None = None,
        decisions: Decisions | None = None,
        reporter: Reporter | None = None,
    ) -> TrainingData:
        """Checks the crops and decodes those that were not decoded before.

        Args:
            config: The settings.
            table: All crops; the ``train`` rows are trained on.
            cache: Folder of pixel caches.
            device: Where training runs.
            source: Labelled crops of other identities, for a method that needs them.
            source_identities: Use only this many identities of the source, the first in the order of their codes.
            decisions: What people decided of pairs of crops.
            reporter: Gets the progress.

        Raises:
            ResightError: the crops or the source lack what the method needs, or cannot be read.
        """
        reporter = reporter or Reporter()
        crops, source = _check_data(config, table, source, source_identities)
        if decisions is not None:
            _check_decisions(config)
        needs = METHODS[config.method.name].needs(config.method)
        open_cache = partial(
            open_pixel_cache,
            height=config.encoder.height,
            width=config.encoder.width,
            folder=cache,
            max_unreadable=config.max_unreadable,
            progress=reporter.progress,
        )
        reporter.progress("reading crops", 0, len(crops))
        pixels = open_cache(crops)
        fingerprint = table_fingerprint(pixels.table, pixels.digest)
        opened = None if source is None else _open_source(open_cache(source))
        if opened is not None and config.encoder.standardise == "crops":
            mean, std = channel_statistics(opened.pixels.images)
            opened = replace(opened, statistics=(mean.to(device), std.to(device)))
        links = None if decisions is None else decisions.links(pixels.table.paths)
        origin = "" if decisions is None else decisions.origin
        tracks, used, crops = None, track_use(config, needs), pixels.table
        if {"clustering.tracks", "clustering.unit"} & {*used}:
            tracks = Tracks.of(crops.track, crops.camera, crops.time)
        cameras = camera_use(config, needs)
        return cls(pixels, needs, cameras, fingerprint, device, opened, origin, links, tracks=tracks, track_use=used)

    @property
    def unreadable(self) -> list[tuple[str, str]]:
        """Path and reason of each crop that could not be read, source included."""
        return [*self.pixels.unreadable, *(self.source.pixels.unreadable if self.source else ())]

    @property
    def table(self) -> CropTable:
        """The crops as training sees them: with pseudo-cameras in place of cameras, if there are any."""
        table = self.pixels.table
        if self.pseudo_cameras is None:
            return table
        return replace(table, camera=self.pseudo_cameras, camera_names=None)

    @property
    def method_data(self) -> MethodData:
        """What the method gets for the whole run."""
        return MethodData(**self._for_method())

    def epoch_data(self, epoch: int, features: np.ndarray, source_features: np.ndarray) -> EpochData:
        """What the method gets when an epoch begins."""
        return EpochData(
            **self._for_method(), epoch=epoch, features=features, source_features=source_features, tracks=self.tracks
        )

    def _for_method(self) -> dict[str, Any]:
        table = self.table if self.needs.identities else self.table.without_labels()
        labels, names = (None, ()) if self.source is None else (self.source.labels, self.source.names)
        return {"table": table, "device": self.device, "source_labels": labels, "source_names": names}

    def describe(self) -> dict[str, Any]:
        """What ``data.json`` says of the data."""

        def crops(pixels: PixelCache, fingerprint: str) -> dict[str, Any]:
            return {
                "root": str(pixels.table.root),
                "format": pixels.table.source,
                "crops": len(pixels),
                "unreadable": [list(item) for item in pixels.unreadable],
                "fingerprint": fingerprint,
            }

        data = crops(self.pixels, self.fingerprint)
        data |= {"camera_use": [*self.camera_use], "identity_use": self.needs.identities}
        if self.pseudo_cameras is not None:
            data["pseudo_cameras"] = np.bincount(self.pseudo_cameras).tolist()
        if self.track_use:
            data["track_use"] = [*self.track_use]
        if self.links is not None:
            data["decisions"] = {
                "gallery": self.decisions, "must": len(self.links.must), "cannot": len(self.links.cannot)
            }  # fmt: skip
        if self.source is not None:
            data["source"] = crops(self.source.pixels, self.source.fingerprint) | {"people": [*self.source.names]}
        return data


def _check_data(
    config: TrainConfig, table: CropTable, source: CropTable | None, source_identities: int | None
) -> tuple[CropTable, CropTable | None]:
    """The crops to train on and those of the source, if they have what a run needs; else raises a sentence."""
    method = METHODS[config.method.name]
    needs = method.needs(config.method)
    if not needs.groups and config.sampling.order == "clusters":
        raise ResightError(f"{method.name} finds no clusters to make batches of: set sampling.order=crops.")
    if needs.source:
        source = _check_source(method.name, source, source_identities, table)
    elif source is not None:
        raise ResightError(f"{method.name} does not learn from a source: leave --source out.")
    if config.clustering.clusterer == "infomap" and is_read("clustering.clusterer", needs):
        require_infomap()
    crops = table.subset(TRAIN)
    if needs.identities:
        crops.require("identity", method.name)
    use = camera_use(config, needs)
    if use and crops.camera is None:
        raise ResightError(_explain_missing_cameras(method.name, use, crops))
    for name in track_use(config, needs):
        crops.require("track", f"The setting {name}")
    return crops, source


def _check_decisions(config: TrainConfig) -> None:
    """Raises a sentence if the method does not take decisions."""
    method = METHODS[config.method.name]
    needs = method.needs(config.method)
    if needs.identities or not needs.groups or not method.takes_links:
        can = sorted(
            name
            for name, other in METHODS.items()
            if other.takes_links and not (of := other.needs(build_config(name).method)).identities and of.groups
        )
        raise ResightError(
            f"{method.name} does not take decisions, since it does not cluster all crops in every epoch: use one of "
            f"{', '.join(can)}, or leave --decisions out."
        )


def camera_use(config: TrainConfig, needs: Needs) -> tuple[str, ...]:
    """Settings by which a run uses camera labels; empty if it uses none, or pseudo-cameras in their place."""
    return () if config.pseudo_cameras is not None else camera_settings(config, needs)


def camera_settings(config: TrainConfig, needs: Needs) -> tuple[str, ...]:
    """Settings by which a run uses cameras or pseudo-cameras."""
    first = {f"clustering.{name}": getattr(config.clustering, name) for name in CAMERA_SETTINGS}
    first["clustering.one_camera"] = config.clustering.one_camera != "keep"
    sampling = {
        "sampling.cameras": config.sampling.cameras != "none",
        "sampling.balance": config.sampling.balance == "proxies",
    }
    before, after = (
        (name for name, value in settings.items() if value and is_read(name, needs)) for settings in (first, sampling)
    )
    return (*before, *needs.cameras, *after)


def track_use(config: TrainConfig, needs: Needs) -> tuple[str, ...]:
    """Settings by which a run uses tracks; empty if it uses none."""
    shared = {
        "clustering.tracks": config.clustering.tracks,
        "clustering.unit": config.clustering.unit == "tracks",
        "sampling.tracks": config.sampling.tracks != "none",
    }
    return tuple(name for name, value in shared.items() if value and is_read(name, needs))


def _explain_missing_cameras(method: str, use: tuple[str, ...], crops: CropTable) -> str:
    without = ""
    if DEFAULT_RECIPE in recipes()[method]:
        default = build_config(method)
        if not camera_use(default, METHODS[method].needs(default.method)):
            without = f", or train without cameras: the recipe {DEFAULT_RECIPE} uses none"
    return (
        f"{method} with {use[0]} set needs the column 'camera', which the crop table read from {crops.root} as "
        f"'{crops.source}' does not have. Move the crops of each camera into one sub-folder per camera, or list them "
        f"in a CSV file with the columns path and camera{without}."
    )


def _check_source(name: str, source: CropTable | None, identities: int | None, table: CropTable) -> CropTable:
    if source is None:
        raise ResightError(
            f"{name} also learns from labelled crops of other identities: name them with --source PATH (source= in "
            "Python)."
        )
    source = reference_crops(source, identities)
    own = {table.file(row).absolute() for row in range(len(table))}
    if twice := sum(source.file(row).absolute() in own for row in range(len(source))):
        raise ResightError(
            f"{twice} crops of the source in {source.root} are also among those to train on without labels or to test "
            "with: a source must show other identities."
        )
    return source


def _open_source(pixels: PixelCache) -> Source:
    identity, names = pixels.table.require("identity", "A source"), pixels.table.identity_names or {}
    codes, labels = np.unique(identity, return_inverse=True)
    fingerprint = table_fingerprint(pixels.table, pixels.digest, ("identity",))
    return Source(pixels, labels, tuple(names.get(code, str(code)) for code in codes.tolist()), fingerprint)
