"""The crop table: one row per crop, and only the columns that are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from resight.common.checks import as_array, as_path, integers, one_of, shown, whole
from resight.common.identities import DISTRACTOR
from resight.errors import ResightError

TRAIN, QUERY, GALLERY = "train", "query", "gallery"
SPLITS = (TRAIN, QUERY, GALLERY)
COLUMNS = ("camera", "identity", "time", "track", "split", "quality", "track_from", "track_to")
#: Sources of crops whose times a person or a video gave. Data sets count the frames of each camera by itself.
_ONE_CLOCK = ("csv", "parquet", "table", "sightings")
_REALS = ("time", "quality", "track_from", "track_to")


@dataclass(frozen=True, eq=False)
class CropTable:
    """N crops on disk with what is known of each.

    A column that is not known is ``None``, never a column of zeros. Code that needs it calls :meth:`require`, which
    raises a sentence.

    Attributes:
        root: Folder that ``paths`` are relative to.
        paths: N file names relative to ``root``, with forward slashes.
        camera: ``(N,)`` int64 camera numbers, or ``None``.
        identity: ``(N,)`` int64 identities, which count from 1, or ``None``. The codes ``JUNK`` (-1), ``DISTRACTOR``
            (0) and ``UNLABELLED`` are not identities (:mod:`resight.common.identities`).
        time: ``(N,)`` float64 time or frame number within a camera, or ``None``.
        track: ``(N,)`` int64 tracklet numbers, or ``None``.
        split: ``(N,)`` strings ``train``, ``query`` or ``gallery``, or ``None``: all are ``train``.
        quality: ``(N,)`` float64 at least 0: what each crop weighs in the mean of its track, or ``None``: all the same.
        track_from: ``(N,)`` float64 time at which a crop's track began, or ``None``: when its first crop was taken.
        track_to: ``(N,)`` float64 time at which it ended.
        camera_names: Names of camera numbers, where cameras are not just numbered on disk.
        identity_names: Names of identities, where they are not just numbered on disk.
        source: Name of the reader that made the table, for messages and run folders.
    """

    root: Path
    paths: tuple[str, ...]
    camera: np.ndarray | None = None
    identity: np.ndarray | None = None
    time: np.ndarray | None = None
    track: np.ndarray | None = None
    split: np.ndarray | None = None
    quality: np.ndarray | None = None
    track_from: np.ndarray | None = None
    track_to: np.ndarray | None = None
    camera_names: dict[int, str] | None = None
    identity_names: dict[int, str] | None = None
    source: str = "table"

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", as_path("The root of the crop table", self.root))
        if not isinstance(self.paths, list | tuple):
            raise ResightError(f"The paths of a crop table are a list of file names, not {shown(self.paths)}.")
        object.__setattr__(self, "paths", tuple(self.paths))
        for path in self.paths:
            if not isinstance(path, str) or "\0" in path:
                raise ResightError(f"The paths of the crop table hold {shown(path)}, which is no file name.")
        for name in COLUMNS:
            if getattr(self, name) is not None:
                object.__setattr__(self, name, self._column(name))
        if self.split is not None:
            unknown = sorted(set(np.unique(self.split).tolist()) - set(SPLITS))
            if unknown:
                raise ResightError(
                    f"Column 'split' of the crop table holds {', '.join(map(repr, unknown))}: use {', '.join(SPLITS)}."
                )
        for name in ("camera_names", "identity_names"):
            names = getattr(self, name)
            if names is not None and not (
                isinstance(names, dict)
                and all(isinstance(code, int | np.integer) and isinstance(text, str) for code, text in names.items())
            ):
                raise ResightError(f"'{name}' of the crop table maps numbers to texts, but is {shown(names)}.")

    def _column(self, name: str) -> np.ndarray:
        """A column as an array with one value of the right type per crop."""
        what = f"Column '{name}' of the crop table"
        given = getattr(self, name)
        if name == "split" and isinstance(given, np.ndarray | list) and all(isinstance(word, str) for word in given):
            given = np.asarray(given, dtype=np.str_)  # data frames keep texts as objects
        column = as_array(what, given)
        if column.shape != (len(self.paths),):
            raise ResightError(
                f"{what} has shape {column.shape}, but there are {len(self.paths)} crops: give one value per crop."
            )
        if name not in (*_REALS, "split"):
            return integers(what, column)
        if column.size and column.dtype.kind not in ("U" if name == "split" else "iuf"):
            raise ResightError(f"{what} is of type {column.dtype}: give {'texts' if name == 'split' else 'numbers'}.")
        column = column.astype(np.str_ if name == "split" else np.float64, copy=False)
        if name == "quality" and column.size and not (np.isfinite(column).all() and column.min() >= 0):
            raise ResightError(f"{what} holds {column.min():g}: a crop weighs a finite number of at least 0.")
        return column

    def __len__(self) -> int:
        return len(self.paths)

    def file(self, row: int) -> Path:
        """The file of the crop with this index."""
        return self.root / self.paths[whole("The index of a crop", row, least=0, most=len(self) - 1)]

    def require(self, column: str, purpose: str) -> np.ndarray:
        """A column that is needed.

        Args:
            column: Name of the column, such as ``camera``.
            purpose: What needs it, the subject of the sentence that is raised.

        Raises:
            ResightError: the column is not known.
        """
        one_of("A column of the crop table", column, COLUMNS)
        values = getattr(self, column)
        if values is None:
            raise ResightError(
                f"{purpose} needs the column '{column}', which the crop table read from "
                f"{self.root} as '{self.source}' does not have."
            )
        return np.asarray(values)

    def select(self, rows: np.ndarray | Sequence[int]) -> CropTable:
        """The table of some crops, given as a boolean mask or as indices; in the order of the indices.

        Raises:
            ResightError: the mask has another length, or an index is no whole number from 0 to N − 1.
        """
        rows = as_array("The crops to select", rows)
        if rows.dtype == bool:
            if rows.shape != (len(self),):
                raise ResightError(
                    f"A mask of shape {rows.shape} cannot select of {len(self)} crops: give one per crop."
                )
            rows = np.flatnonzero(rows)
        rows = integers("The crops to select", rows)
        if rows.size and not 0 <= rows.min() <= rows.max() < len(self):
            raise ResightError(
                f"The crops to select have indices from 0 to {len(self) - 1}, not {rows.min()} to {rows.max()}."
            )
        columns: dict[str, Any] = {
            name: None if (column := getattr(self, name)) is None else column[rows] for name in COLUMNS
        }
        return replace(self, paths=tuple(self.paths[row] for row in rows), **columns)

    def subset(self, split: str) -> CropTable:
        """The crops of one split; without the column all crops are ``train``."""
        if not isinstance(split, str) or split not in SPLITS:
            raise ResightError(f"There is no split {shown(split)}: use {', '.join(SPLITS)}.")
        if self.split is None:
            return self.select(np.full(len(self), split == TRAIN))
        return self.select(self.split == split)

    def without_labels(self) -> CropTable:
        """The same crops without identities: what an unsupervised method may see."""
        return replace(self, identity=None, identity_names=None)

    @property
    def one_clock(self) -> bool:
        """Whether there are times, and those of different cameras can be compared."""
        return self.time is not None and self.source in _ONE_CLOCK

    @property
    def is_person(self) -> np.ndarray:
        """``(N,)`` bool: crops that have an identity (they are not junk, distractor or unlabelled)."""
        if self.identity is None:
            return np.zeros(len(self), dtype=bool)
        return np.asarray(self.identity > DISTRACTOR)
