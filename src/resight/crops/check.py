"""A check of crops before training: what there is, and which files would make trouble."""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from resight.common.checks import instance
from resight.common.identities import DISTRACTOR, JUNK, UNLABELLED
from resight.common.threads import map_ordered
from resight.crops.images import (
    NOT_UNICODE,
    UnreadableImage,
    file_digest,
    header_size,
    image_size,
    is_unicode,
    open_file,
)
from resight.crops.table import SPLITS, TRAIN, CropTable
from resight.errors import ResightError

#: Usual range of height over width for crops of standing people.
PERSON_ASPECT = (1.0, 5.0)
_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
#: Fewer training crops than this are remarked on.
FEW_CROPS = 500
#: Shortest side in pixels from which landscape images look like frames of a video, and other images of equal size, too.
_FRAME_SIDE, _LARGE_FRAME_SIDE = 240, 480
#: More sub-folders than this are hardly all cameras, nor are several with fewer crops than this.
_MOST_CAMERAS, _SEVERAL, _FEWEST_CROPS = 30, 5, 30
#: Crops in a folder from which a number as its name may well be that of a camera.
_CROPS_OF_CAMERA = 100
#: Headers that are read for the sizes of crops where no report has them.
_SAMPLE = 64
#: Names such as 'cam 2', 'Kamera_3' or 'hall-c1'; not '0002_c1', which is a tracklet.
_CAMERA_NAME = re.compile(r"(?!\d{3,}[_-])(?:.*[^a-z])?(?:c|ch|channel|[ck]am(?:era)?s?|view)[ _.-]*\d*(?:[^a-z].*)?")
#: Names such as 'person 12', 'id_0042' or 'p007'.
_IDENTITY_NAME = re.compile(r"(?:.*[^a-z])?(?:p|pid|ids?|persons?|subjects?|identity|vehicles?|animals?)[ _.-]*\d+")


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


def remarks(table: CropTable, report: CheckReport | None = None) -> list[str]:
    """What is unusual about crops that are to be trained on, and what to do about it.

    Sub-folders that look like identities but are read as cameras; whole frames instead of crops; very few crops; only
    one camera, or none known.

    Args:
        table: The crops.
        report: What :func:`check_crops` found. Without it, the sizes of some crops are read from their headers.

    Returns:
        Sentences, the most important first; empty if nothing is unusual.
    """
    train = table.subset(TRAIN)
    found = [_remark_on_folders(table), _remark_on_frames(table, report)]
    if 0 < len(train) < FEW_CROPS:
        found.append(
            f"There are only {len(train)} crops to train on. Clusters form where many identities are seen several "
            "times each: a few thousand crops are usual."
        )
    if table.camera is None:
        folders = "put the crops of each camera into a sub-folder, or " if table.source == "folder" else ""
        found.append(
            f"Cameras are not known. Training works without them, but better with them: {folders}list the crops in a "
            "CSV file with a column 'camera', and train with --recipe cameras."
        )
    elif train.camera is not None and len(np.unique(train.camera)) == 1:
        name = (table.camera_names or {}).get(int(train.camera[0]), str(train.camera[0]))
        found.append(
            f"All crops to train on are from one camera, '{name}': a model learns from them to recognise within this "
            "camera, not across cameras."
        )
    return [remark for remark in found if remark]


def folders_look_like_identities(table: CropTable) -> bool:
    """Whether sub-folders that were read as cameras look like one folder per identity.

    They do if none of the names looks like a camera's and there are more than 30 folders, or five or more with fewer
    than 30 crops each (median), or three or more that are named or numbered like identities, with fewer than 100 crops
    each.
    """
    if table.source != "folder" or table.camera is None or table.camera_names is None:
        return False
    names = [name.lower() for name in table.camera_names.values()]
    if any(_CAMERA_NAME.fullmatch(name) for name in names):
        return False
    crops = float(np.median(np.unique(table.camera, return_counts=True)[1]))
    alike = sum(_IDENTITY_NAME.fullmatch(name) is not None or (name.isdecimal() and len(name) > 2) for name in names)
    return (
        len(names) > _MOST_CAMERAS
        or (len(names) >= _SEVERAL and crops < _FEWEST_CROPS)
        or (len(names) > 2 and 2 * alike >= len(names) and crops < _CROPS_OF_CAMERA)
    )


def _remark_on_folders(table: CropTable) -> str | None:
    if not folders_look_like_identities(table):
        return None
    assert table.camera is not None
    assert table.camera_names is not None
    _, counts = np.unique(table.camera, return_counts=True)
    return (
        f"The {len(counts)} sub-folders of {table.root}, such as '{table.camera_names[1]}', are read as cameras, but "
        f"look like identities, with {np.median(counts):.0f} crops each (median). If each folder shows one identity, "
        "add --format identities (in Python format='identities'). If cameras are known as well, list the crops in a "
        "CSV file with the columns path, identity and camera, and read that file."
    )


def images_look_like_frames(table: CropTable, report: CheckReport | None = None) -> bool:
    """Whether images look like whole frames of a camera.

    They do if all have the same size and are landscape with a height of 240 pixels or more, or if the median image has
    480 pixels or more on each side and is landscape or as large as all others.

    Args:
        table: The crops.
        report: As for :func:`remarks`.
    """
    return _remark_on_frames(table, report) is not None


def _remark_on_frames(table: CropTable, report: CheckReport | None) -> str | None:
    heights, widths = _sizes(table) if report is None else (report.heights, report.widths)
    if not heights:
        return None
    height, width = heights[0.5], widths[0.5]
    equal = all(size[0.0] == size[1.0] for size in (heights, widths))
    side, landscape = min(height, width), width > height
    if not ((equal and landscape and side >= _FRAME_SIDE) or ((equal or landscape) and side >= _LARGE_FRAME_SIDE)):
        return None
    which = "All images are" if equal else "The median image is"
    return (
        f"{which} {width:.0f} pixels wide and {height:.0f} high, like whole frames of a camera. A crop shows one "
        "person, vehicle or animal and little else: cut the crops out first, by a detector."
    )


def _sizes(table: CropTable) -> tuple[dict[float, float], dict[float, float]]:
    """Quantiles of the heights and the widths of some crops."""
    sizes = []
    for row in np.unique(np.linspace(0, len(table) - 1, min(_SAMPLE, len(table))).round().astype(int)).tolist():
        with contextlib.suppress(UnreadableImage):
            sizes.append(header_size(table.file(row)))
    array = np.array(sizes).reshape(-1, 2)
    return _quantiles(array[:, 0]), _quantiles(array[:, 1])


def _look(table: CropTable, row: int) -> _Seen:
    """One file: its digest, (height, width) and problem. An empty file has none of the three."""
    path = table.file(row)
    if not is_unicode(table.paths[row]):
        return _Seen(problem=NOT_UNICODE)
    try:
        with open_file(path) as stream:
            if not os.fstat(stream.fileno()).st_size:
                return _Seen()
        digest = file_digest(path)
    except UnreadableImage as error:
        return _Seen(problem=error.reason)
    try:
        return _Seen(digest, image_size(path))
    except UnreadableImage as error:
        return _Seen(digest, problem=error.reason)


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
