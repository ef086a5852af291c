"""Tracks of a source: boxes joined over time, and the best crops of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from resight.common.packages import package
from resight.ingest.boxes import NO_TRACK, Boxes
from resight.ingest.detectors import covered
from resight.ingest.video import Frame

_SHARE = 0.2  # of the quality of a track's best crop: what the others must have


class Tracker:
    """ByteTrack (Zhang et al., ECCV 2022) as the package ``trackers`` has it.

    Args:
        rate: Frames per second that it is given.
        lost: Seconds that a track may be unseen.
    """

    def __init__(self, rate: float, lost: float = 1.0) -> None:
        trackers, self._boxes = package("trackers"), package("supervision").Detections
        self._tracker = trackers.ByteTrackTracker(
            lost_track_buffer=round(30 * lost),
            frame_rate=rate,
            track_activation_threshold=0.5,
            high_conf_det_threshold=0.5,
            minimum_consecutive_frames=2,
            minimum_iou_threshold=0.1,
        )

    def __call__(self, boxes: Boxes) -> Boxes:
        """The boxes of the next frame that belong to a track, with its number."""
        given = self._boxes(
            xyxy=boxes.corners.astype(np.float32).reshape(-1, 4),
            confidence=boxes.score.astype(np.float32),
            data={"row": np.arange(len(boxes))},
        )
        found = self._tracker.update(given)
        if not len(found):
            return Boxes()
        track = np.asarray(found.tracker_id, np.int64)
        rows = np.asarray(found.data["row"], np.int64)[track != NO_TRACK]
        return Boxes(boxes.corners[rows], boxes.score[rows], track[track != NO_TRACK])


@dataclass(eq=False)
class Candidate:
    """A crop that may be kept.

    Attributes:
        frame: Index of the frame, from 0.
        seconds: Its time since the source's first frame.
        corners: ``(4,)`` left, top, right, bottom in pixels of the frame.
        score: Score of the box.
        sharpness: Variance of the Laplacian of the crop, grey and at 128×64 pixels, divided by that variance plus 100:
            from 0, blurred, to 1.
        overlap: Largest share of the box that another box covers.
        cut_off: Whether the box touches the border of the frame.
        quality: What the crop should weigh in its track's embedding, from 0 to 1.
        image: ``(h, w, 3)`` uint8 RGB.
    """

    frame: int
    seconds: float
    corners: np.ndarray
    score: float
    sharpness: float
    overlap: float
    cut_off: bool
    quality: float
    image: np.ndarray


def measure(frame: Frame, boxes: Boxes, least_height: float) -> dict[int, Candidate]:
    """Cuts the crops of a frame and measures them.

    quality = score · sharpness · min(1, height / 128) · (1 − overlap) · (0.5 where cut off, else 1).

    Args:
        frame: The frame.
        boxes: Its boxes, with tracks.
        least_height: Boxes that are lower, in pixels, are left out.

    Returns:
        A crop by track.
    """
    cv2 = package("cv2")
    found = {}
    limit = np.array([frame.width, frame.height] * 2, np.float64)
    overlap = covered(boxes.corners)
    for row, track in enumerate(boxes.track.tolist()):
        inside = np.clip(boxes.corners[row], 0, limit)
        left, top, right, bottom = (round(float(value)) for value in inside)
        if bottom - top < max(least_height, 2) or right - left < 2:
            continue
        image = frame.image[top:bottom, left:right]
        grey = cv2.cvtColor(cv2.resize(image, (64, 128), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        variance = float(cv2.Laplacian(grey, cv2.CV_32F).var())
        sharpness = variance / (variance + 100)
        corners = boxes.corners[row]
        cut_off = bool((corners[:2] <= 1).any() or (corners[2:] >= limit[2:] - 1).any())
        quality = float(boxes.score[row]) * sharpness * min(1.0, (bottom - top) / 128)
        quality *= (1 - min(1.0, float(overlap[row]))) * (0.5 if cut_off else 1)
        found[track] = Candidate(
            frame.number, frame.seconds, corners, float(boxes.score[row]), sharpness, float(overlap[row]), cut_off,
            quality, image,
        )  # fmt: skip
    return found


@dataclass(eq=False)
class OpenTrack:
    """A track that is not written yet.

    Attributes:
        limit: Crops at most.
        first: Index of its first frame.
        begin: Time of its first frame.
        number: Its number in the folder, once it has one.
        written: Last frame that was written of it by an earlier call; crops up to there are not taken again.
        last: Index of its last frame.
        end: Time of its last frame.
        rows: Frame, corners and score of its boxes.
    """

    limit: int
    first: int
    begin: float
    number: int | None = None
    written: int = -1
    last: int = -1
    end: float = 0.0
    rows: list[tuple[int, float, float, float, float, float]] = field(default_factory=list)
    _slots: dict[int, Candidate] = field(default_factory=dict)
    _width: float = 0.2

    def see(self, frame: Frame, corners: np.ndarray, score: float) -> None:
        """Adds a box."""
        self.last, self.end = frame.number, frame.seconds
        if frame.number > self.written:
            self.rows.append((frame.number, *corners.tolist(), score))

    def offer(self, crop: Candidate) -> None:
        """Keeps a crop if it is the best of its slot of time. Slots double in length when there are too many."""
        if crop.frame <= self.written:
            return
        slot = int((crop.seconds - self.begin) / self._width)
        self._put(slot, crop)
        while len(self._slots) > self.limit:
            self._width *= 2
            old, self._slots = self._slots, {}
            for slot, kept in old.items():
                self._put(slot // 2, kept)

    def _put(self, slot: int, crop: Candidate) -> None:
        kept = self._slots.get(slot)
        if kept is None or crop.quality > kept.quality:
            crop.image = np.array(crop.image)  # the frame is not kept
            self._slots[slot] = crop

    @property
    def crops(self) -> list[Candidate]:
        """The kept crops, by time, without those that are far worse than the best: they mostly show somebody else."""
        least = _SHARE * max((crop.quality for crop in self._slots.values()), default=0.0)
        return [self._slots[slot] for slot in sorted(self._slots) if self._slots[slot].quality >= least]


def as_mot(track: OpenTrack, number: int) -> list[tuple[int, int, float, float, float, float, float]]:
    """The boxes of a track as :func:`resight.ingest.annotations.write_mot` takes them."""
    return [(row[0], number, *row[1:]) for row in track.rows]


Row = dict[str, Any]
