"""Boxes of one frame, and boxes of a whole source by frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

#: The track of a box of which none is known.
NO_TRACK = -1


def _no_boxes() -> np.ndarray:
    return np.empty((0, 4))


@dataclass(frozen=True, eq=False)
class Boxes:
    """The boxes of one frame.

    Attributes:
        corners: ``(n, 4)`` float64 left, top, right, bottom in pixels; the origin is the upper left corner.
        score: ``(n,)`` float64, from 0 to 1.
        track: ``(n,)`` int64 track numbers, -1 where none is known.
    """

    corners: np.ndarray = field(default_factory=_no_boxes)
    score: np.ndarray = field(default_factory=lambda: np.empty(0))
    track: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.corners)

    def scaled(self, across: float, down: float) -> Boxes:
        """The same boxes in a frame of another size: x times ``across`` and y times ``down``."""
        return Boxes(self.corners * np.array([across, down, across, down]), self.score, self.track)

    def select(self, rows: np.ndarray) -> Boxes:
        """Some of the boxes, by mask or indices."""
        return Boxes(self.corners[rows], self.score[rows], self.track[rows])


@dataclass(frozen=True, eq=False)
class GivenBoxes:
    """The boxes of a source that somebody else found.

    Attributes:
        frames: The boxes by index of the frame, from 0.
        relative: Whether the corners are shares of the frame's width and height instead of pixels.
        origin: Where they were read from, for sentences.
    """

    frames: Mapping[int, Boxes]
    relative: bool = False
    origin: str = ""

    @property
    def tracked(self) -> bool:
        """Whether every box has a track number."""
        return all((boxes.track != NO_TRACK).all() for boxes in self.frames.values())

    @property
    def last(self) -> int:
        """Index of the last frame that has a box, -1 if none has."""
        return max(self.frames, default=-1)

    def at(self, frame: int, width: int, height: int) -> Boxes:
        """The boxes of a frame of some size, in pixels."""
        boxes = self.frames.get(frame)
        if boxes is None:
            return Boxes()
        return boxes.scaled(width, height) if self.relative else boxes

    def ends(self) -> dict[int, int]:
        """The last frame of each track."""
        found: dict[int, int] = {}
        for frame, boxes in self.frames.items():
            for track in boxes.track.tolist():
                found[track] = max(frame, found.get(track, -1))
        return found


def overlaps(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Areas that boxes share.

    Args:
        one: ``(n, 4)`` corners.
        other: ``(m, 4)`` corners.

    Returns:
        ``(n, m)`` areas in pixels.
    """
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    return np.asarray(np.prod(np.maximum(high - low, 0), axis=2))


def areas(corners: np.ndarray) -> np.ndarray:
    """``(n,)`` areas of boxes in pixels."""
    return np.asarray(np.prod(np.maximum(corners[:, 2:] - corners[:, :2], 0), axis=1))


def iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """``(n, m)`` intersection over union of boxes given by their corners; 0 for boxes without an area."""
    shared = overlaps(one, other)
    union = areas(one)[:, None] + areas(other)[None, :] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def rows_of(frames: Mapping[int, Boxes]) -> Iterator[tuple[int, int, float, float, float, float, float]]:
    """Frame, track, left, top, right, bottom and score of all boxes, by frame."""
    for frame in sorted(frames):
        boxes = frames[frame]
        for track, corners, score in zip(
            boxes.track.tolist(), boxes.corners.tolist(), boxes.score.tolist(), strict=True
        ):
            yield (frame, track, *corners, score)
