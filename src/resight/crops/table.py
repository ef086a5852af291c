"""The crop table: one row per crop, and only the columns that are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from resight.common.identities import DISTRACTOR
from resight.errors import ResightError

TRAIN, QUERY, GALLERY = "train", "query", "gallery"
SPLITS = (TRAIN, QUERY, GALLERY)


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
    camera_names: dict[int, str] | None = None
    identity_names: dict[int, str] | None = None
    source: str = "table"

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))
        object.__setattr__(self, "paths", tuple(self.paths))
        kinds = {"camera": np.int64, "identity": np.int64, "time": np.float64, "track": np.int64, "split": np.str_}
        for name, kind in kinds.items():
            column = getattr(self, name)
            if column is None:
                continue
            column = np.asarray(column, dtype=kind)
            if column.shape != (len(self.paths),):
                raise ResightError(
                    f"Column '{name}' of the crop table has shape {column.shape}, but there are "
                    f"{len(self.paths)} crops: give one value per crop."
                )
            object.__setattr__(self, name, column)
        if self.split is not None:
            unknown = sorted(set(np.unique(self.split).tolist()) - set(SPLITS))
            if unknown:
                raise ResightError(
                    f"Column 'split' of the crop table holds {', '.join(map(repr, unknown))}: use {', '.join(SPLITS)}."
                )

    def __len__(self) -> int:
        return len(self.paths)

    def file(self, row: int) -> Path:
        """The file of the crop with this index."""
        return self.root / self.paths[row]

    def require(self, column: str, purpose: str) -> np.ndarray:
        """A column that is needed.

        Args:
            column: Name of the column, such as ``camera``.
            purpose: What needs it, the subject of the sentence that is raised.

        Raises:
            ResightError: the column is not known.
        """
        values = getattr(self, column)
        if values is None:
            raise ResightError(
                f"{purpose} needs the column '{column}', which the crop table read from "
                f"{self.root} as '{self.source}' does not have."
            )
        return np.asarray(values)

    def select(self, rows: np.ndarray | Sequence[int]) -> CropTable:
        """The table of some crops, given as a boolean mask or as indices; in the order of the indices."""
        rows = np.asarray(rows)
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        rows = rows.astype(np.int64, copy=False)
        columns: dict[str, Any] = {
            name: None if (column := getattr(self, name)) is None else column[rows]
            for name in ("camera", "identity", "time", "track", "split")
        }
        return replace(self, paths=tuple(self.paths[row] for row in rows), **columns)

    def subset(self, split: str) -> CropTable:
        """The crops of one split; without the column all crops are ``train``."""
        if split not in SPLITS:
            raise ResightError(f"There is no split '{split}': use {', '.join(SPLITS)}.")
        if self.split is None:
            return self.select(np.full(len(self), split == TRAIN))
        return self.select(self.split == split)

    def without_labels(self) -> CropTable:
        """The same crops without identities: what an unsupervised method may see."""
        return replace(self, identity=None, identity_names=None)

    @property
    def is_person(self) -> np.ndarray:
        """``(N,)`` bool: crops that have an identity (they are not junk, distractor or unlabelled)."""
        if self.identity is None:
            return np.zeros(len(self), dtype=bool)
        return np.asarray(self.identity > DISTRACTOR)
