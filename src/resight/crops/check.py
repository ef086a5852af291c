"""A check of crops before training: what there is, and which files would make trouble."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from resight.common.checks import instance
from resight.common.identities import DISTRACTOR, JUNK, UNLABELLED
from resight.common.threads import map_ordered
from resight.crops.images import UnreadableImage, bytes_digest, decode_image, read_bytes
from resight.crops.table import SPLITS, CropTable
from resight.errors import ResightError

#: Usual range of height over width for crops of standing people.
PERSON_ASPECT = (1.0, 5.0)
_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True)
class CheckReport:
    """What :func:`check_crops` found.

    Attributes:
        root: The folder of the crops.
        source: The name of the reader of the table.
        crops: Number of crops in the table.
        splits: Number of crops in each split; all are ``train`` where the table has no split.
        identities: Number of identities in each split; empty if the table has none.
        cameras: Number of crops of each camera in each split, ``{camera: {split: crops}}``; empty without cameras.
        junk: Number of crops whose identity is junk.
        distractors: Number of crops whose identity is a distractor.
        unlabelled: Number of crops without an identity in a table with identities.
        unreadable: Files that are missing, broken or not images, with the reason.
        zero_size: Files of zero bytes (not repeated in ``unreadable``).
        duplicates: Groups of files with the same bytes, each group in text order.
        odd_aspect: Files outside ``aspect_range``, with their height over width.
        aspect_range: Smallest and largest height over width that is not reported.
        heights: Quantiles of the heights in pixels, ``{quantile: pixels}``; empty if nothing could be read.
        widths: Quantiles of the widths in pixels.
    """

    root: str
    source: str
    crops: int
    splits: dict[str, int]
    identities: dict[str, int]
    cameras: dict[str, dict[str, int]]
    junk: int
    distractors: int
    unlabelled: int
    unreadable: tuple[tuple[str, str], ...]
    zero_size: tuple[str, ...]
    duplicates: tuple[tuple[str, ...], ...]
    odd_aspect: tuple[tuple[str, float], ...]
    aspect_range: tuple[float, float]
    heights: dict[float, float]
    widths: dict[float, float]

    @property
    def ok(self) -> bool:
        """Whether every file can be decoded. Duplicates and odd shapes are for the user to judge."""
        return not self.unreadable and not self.zero_size


class _Seen(NamedTuple):
    digest: str | None = None
    size: tuple[int, int] | None = None
    problem: str | None = None


def check_crops(
    table: CropTable,
    *,
    aspect_range: tuple[float, float] = PERSON_ASPECT,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> CheckReport:
    """Reads every file once and reports what would make trouble in training.

    Args:
        table: The crops.
        aspect_range: Smallest and largest height over width, after EXIF orientation, that is not reported.
        threads: Files read at once; by default one per core.
        progress: Called with the number of files done.

    Returns:
        Counts and findings.

    Raises:
        ResightError: ``aspect_range`` is not a range of positive numbers, or ``threads`` is below 1.
    """
    instance("table", table, CropTable, "read_crops makes one")
    low, high = aspect_range
    if not 0 < low <= high:
        raise ResightError(
            f"The aspect range {low} to {high} is none: give two positive numbers, the smaller one first."
        )
    if threads is not None and threads < 1:
        raise ResightError(f"{threads} threads cannot read anything: give at least 1.")
    seen: list[_Seen] = []
    for result in map_ordered(lambda row: _look(table, row), range(len(table)), threads):
        seen.append(result)
        if progress is not None:
            progress(len(seen))

    groups: dict[str, list[str]] = defaultdict(list)
    odd = []
    for path, (digest, size, _) in zip(table.paths, seen, strict=True):
        if digest is not None:
            groups[digest].append(path)
        if size is not None and not low <= size[0] / size[1] <= high:
            odd.append((path, size[0] / size[1]))
    sizes = np.array([result.size for result in seen if result.size is not None]).reshape(-1, 2)
    split = np.full(len(table), SPLITS[0]) if table.split is None else table.split
    identity = np.ones(0, dtype=np.int64) if table.identity is None else table.identity
    return CheckReport(
        root=str(table.root),
        source=table.source,
        crops=len(table),
        splits={name: count for name in SPLITS if (count := int(np.sum(split == name)))},
        identities=_identities(table, split),
        cameras=_cameras(table, split),
        junk=int(np.sum(identity == JUNK)),
        distractors=int(np.sum(identity == DISTRACTOR)),
        unlabelled=int(np.sum(identity == UNLABELLED)),
        unreadable=tuple(
            (path, result.problem) for path, result in zip(table.paths, seen, strict=True) if result.problem
        ),
        zero_size=tuple(path for path, result in zip(table.paths, seen, strict=True) if result == _Seen()),
        duplicates=tuple(sorted(tuple(sorted(group)) for group in groups.values() if len(group) > 1)),
        odd_aspect=tuple(odd),
        aspect_range=(low, high),
        heights=_quantiles(sizes[:, 0]),
        widths=_quantiles(sizes[:, 1]),
    )


def _look(table: CropTable, row: int) -> _Seen:
    """One file: its digest, (height, width) and problem. An empty file has none of the three."""
    path = table.file(row)
    try:
        data = read_bytes(path)
        if not data:
            return _Seen()
    except UnreadableImage as error:
        return _Seen(problem=error.reason)
    digest = bytes_digest(data)
    try:
        width, height = decode_image(data, path).size
    except UnreadableImage as error:
        return _Seen(digest=digest, problem=error.reason)
    return _Seen(digest=digest, size=(height, width))


def _identities(table: CropTable, split: np.ndarray) -> dict[str, int]:
    if table.identity is None:
        return {}
    known = table.is_person
    counts = {name: len(np.unique(table.identity[known & (split == name)])) for name in SPLITS}
    return {name: counts[name] for name in SPLITS if np.any(split == name)}


def _cameras(table: CropTable, split: np.ndarray) -> dict[str, dict[str, int]]:
    if table.camera is None:
        return {}
    counts = Counter(zip(table.camera.tolist(), split.tolist(), strict=True))
    names = table.camera_names or {}
    return {
        names.get(camera, str(camera)): {name: counts[camera, name] for name in SPLITS if counts[camera, name]}
        for camera in np.unique(table.camera).tolist()
    }


def _quantiles(values: np.ndarray) -> dict[float, float]:
    if not len(values):
        return {}
    return dict(zip(_QUANTILES, np.quantile(values, _QUANTILES).tolist(), strict=True))
