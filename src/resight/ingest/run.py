"""Reads sources into a folder of sightings."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from resight.common.checks import as_path, number, shown, whole
from resight.common.packages import package
from resight.errors import ResightError
from resight.ingest.annotations import read_boxes
from resight.ingest.boxes import Boxes, GivenBoxes, iou
from resight.ingest.detectors import Detector, MotionDetector, OnnxDetector
from resight.ingest.store import Sightings, check_camera
from resight.ingest.tracks import OpenTrack, Tracker, measure
from resight.ingest.video import Frame, Source, open_source

_LOOK = 0.2  # seconds between two crops of a track that are measured
_FLUSH = 60.0  # seconds after which a track is written although it goes on
_LOST = 1.0  # seconds that a track may be unseen
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}

Progress = Callable[[str, int, int], None]


@dataclass
class Feed:
    """A source and what is known of it.

    Attributes:
        source: A video file, a folder of frames, an address, or the number of a camera.
        camera: Name of the camera.
        start: When its first frame was taken, seconds since 1970; the source's own time if not given.
        boxes: File of boxes (:func:`resight.ingest.read_boxes`).
        detector: ONNX file of a detector; OpenCV's weak detectors if neither boxes nor detector are given.
        classes: Classes to read or to find; ``person`` for detectors, all of a file of boxes, if not given.
        rate: Frames per second to look at; all if not given. For a folder of frames: how many there are.
        duration: Seconds after which reading ends.
    """

    source: str
    camera: str
    start: float | None = None
    boxes: str | None = None
    detector: str | None = None
    classes: Sequence[str] | None = None
    rate: float | None = None
    duration: float | None = None


@dataclass
class Result:
    """What came of one source.

    Attributes:
        camera: Name of the camera.
        source: What was given.
        about: Where the boxes came from, in words.
        frames: Frames read by this call.
        seconds: How long that took.
        tracks: Tracks of which crops were written by this call.
        crops: Crops written by this call.
        notes: Sentences about what was odd.
        error: Why it ended early, or ``None``.
        known: Whether an earlier call had read all of it.
    """

    camera: str
    source: str
    about: str = ""
    frames: int = 0
    seconds: float = 0.0
    tracks: int = 0
    crops: int = 0
    notes: list[str] = field(default_factory=list)
    error: BaseException | None = None
    known: bool = False


def parse_duration(text: str) -> float:
    """Seconds of a length of time: ``90``, ``90s``, ``5min``, ``8h`` or ``30d``.

    Raises:
        ResightError: it is no such length.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)?", str(text).strip(), re.ASCII)
    value = float(found[1]) * _UNITS[found[2] or "s"] if found and len(found[1]) < 12 else 0.0
    if not 0 < value < 1e10:
        raise ResightError(f"A length of time is written as 90s, 5min, 8h or 30d, not {shown(text)}.")
    return value


def parse_time(text: str) -> float:
    """Seconds since 1970 of a time such as ``2026-11-23T08:00``, of this machine's time zone unless it names one.

    Raises:
        ResightError: it is no such time.
    """
    try:
        return datetime.fromisoformat(str(text).strip().replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise ResightError(f"A time is written as 2026-11-23T08:00, not {shown(text)}.") from error


def read_feeds(path: str | Path) -> list[Feed]:
    """Reads a list of cameras from a YAML file.

    The file has a list ``cameras``; each entry has ``camera`` and ``source``, and perhaps ``start``, ``boxes``,
    ``detector``, ``classes``, ``rate`` and ``duration``. Relative paths start from the file's folder.

    Raises:
        ResightError: the file is missing or is no such list.
    """
    import yaml

    path = as_path("The list of cameras", path)
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise ResightError(f"{path} cannot be read as YAML: {str(error).splitlines()[0]}.") from error
    entries = given.get("cameras") if isinstance(given, dict) else None
    if not isinstance(entries, list) or not entries:
        raise ResightError(f"{path} must have a list 'cameras', each entry with 'camera' and 'source'.")
    feeds = []
    known = set(Feed.__dataclass_fields__)
    for place, entry in enumerate(entries, start=1):
        where = f"Entry {place} of {path}"
        if not isinstance(entry, dict) or not {"camera", "source"} <= entry.keys():
            raise ResightError(f"{where} must have 'camera' and 'source'.")
        if extra := sorted(str(name) for name in entry if name not in known):
            raise ResightError(f"{where} has '{extra[0]}', but the entries know {', '.join(sorted(known))}.")
        values: dict[str, Any] = {name: value for name, value in entry.items() if value is not None}
        values["camera"], values["source"] = str(values["camera"]), _beside(path, str(values["source"]))
        for name in ("boxes", "detector"):
            if name in values:
                values[name] = _beside(path, str(values[name]))
        if "start" in values:
            moment = values["start"]
            values["start"] = moment.timestamp() if isinstance(moment, datetime) else parse_time(moment)
        if "duration" in values:
            values["duration"] = parse_duration(str(values["duration"]))
        if "classes" in values:
            given_classes = values["classes"]
            values["classes"] = [
                str(v) for v in (given_classes if isinstance(given_classes, list) else [given_classes])
            ]
        feeds.append(Feed(**values))
    return feeds


def _beside(file: Path, name: str) -> str:
    place = file.parent / name
    return str(place) if "://" not in name and not Path(name).is_absolute() and place.exists() else name


class Ingest:
    """Reads sources into a folder of sightings; those of different cameras at the same time.

    Everything is checked when it is made, before a frame is read.

    Args:
        feeds: The sources. Several of one camera are read one after another.
        to: The folder of sightings: new, or made by an earlier call, which is then gone on with.
        crops: Crops to keep of each track, at most.
        least_height: Boxes that are lower, in pixels, give no crop.
        keep: Seconds after which crops are deleted, by the time they were taken; never if not given.

    Raises:
        ResightError: there is nothing to read, a source or a file of boxes cannot be opened, or the folder holds
            something else.
    """

    def __init__(
        self, feeds: Sequence[Feed], to: str | Path, *, crops: int = 8, least_height: float = 48,
        keep: float | None = None,
    ) -> None:  # fmt: skip
        if not feeds:
            raise ResightError("There is no source: give a video file, a folder of frames, an address or a camera.")
        for name in ("av", "cv2"):
            package(name)
        self._limit = whole("The number of crops of a track", crops, most=1000)
        self._least = number("The least height of a box", least_height, least=2, most=10_000)
        self._keep = None if keep is None else number("The time to keep crops", keep, above=0)
        self.store = Sightings(as_path("The folder of sightings", to))
        self.lines = [_Line(feed, self._limit, self._least) for feed in feeds]
        oldest = min(line.start for line in self.lines)
        if self._keep is not None and oldest < time.time() - self._keep:
            raise ResightError(
                f"{self.lines[0].source.name} was taken before the time that crops are kept (--keep): its crops would "
                "be deleted at once. Give --start if its time is wrong, or leave --keep out."
            )
        self.results = [line.result for line in self.lines]
        self._stop = threading.Event()

    def run(self, progress: Progress | None = None, tick: Callable[[], None] | None = None) -> list[Result]:
        """Reads everything.

        A signal ends it: what is unfinished of a stream is written first, a file is gone on with by the next call.

        Args:
            progress: Called with a camera's name, the frames done and the frames in all (1 if that is not known).
            tick: Called a few times per second, for tests.

        Returns:
            What came of each source, in their order.

        Raises:
            ResightError: a source could not be read, or the disk is full. What was written before stays.
        """
        cameras: dict[str, list[_Line]] = {}
        for line in self.lines:
            cameras.setdefault(line.feed.camera, []).append(line)
        with self.store.opened() as store:
            for line in self.lines:
                line.enter(store)
            threads = [
                threading.Thread(target=_read_all, args=(lines, store, self._stop), daemon=True)
                for lines in cameras.values()
            ]
            for thread in threads:
                thread.start()
            forgotten = 0.0
            try:
                while any(thread.is_alive() for thread in threads):
                    for thread in threads:
                        thread.join(0.1)
                    if tick is not None:
                        tick()
                    if progress is not None:
                        for line in self.lines:
                            progress(*line.state())
                    if self._keep is not None and time.monotonic() - forgotten > 60:
                        store.forget(time.time() - self._keep)
                        forgotten = time.monotonic()
            finally:
                self._stop.set()
                for thread in threads:
                    thread.join(30)
                if progress is not None:
                    for line in self.lines:
                        name, _, total = line.state()
                        progress(name, total, total)
        for result in self.results:
            if result.error is not None:
                raise result.error
        return self.results


def _read_all(lines: list[_Line], store: Sightings, stop: threading.Event) -> None:
    for line in lines:
        try:
            line.read(store, stop)
        except BaseException as error:  # raised again by the main thread
            line.result.error = error
            return


class _Line:
    """One source on its way into the folder."""

    def __init__(self, feed: Feed, limit: int, least: float) -> None:
        self.feed, self._limit, self._least = feed, limit, least
        feed.camera = check_camera(feed.camera)
        self.result = Result(feed.camera, str(feed.source))
        if feed.boxes and feed.detector:
            raise ResightError("Give boxes or a detector, not both.")
        if feed.rate is not None:
            feed.rate = number("The rate", feed.rate, above=0, most=1000)
        if feed.start is not None:
            feed.start = number("The start, in seconds since 1970,", feed.start, least=-1e11, most=1e11)
        if feed.duration is not None:
            feed.duration = number("The duration, in seconds,", feed.duration, above=0)
        folder = Path(str(feed.source)).is_dir()
        self.source: Source = open_source(feed.source, feed.rate if folder else None)
        self.start = self.source.start if feed.start is None else feed.start
        rate = min(feed.rate or self.source.rate, self.source.rate)
        self._step = 1 / rate
        self.given: GivenBoxes | None = None
        self._detector: Detector | None = None
        self._tracker: Tracker | None = None
        if feed.boxes:
            self.given = read_boxes(feed.boxes, classes=feed.classes, video=Path(str(feed.source)).name)
            if self.source.frames:
                self._note_end(self.source.frames)
            self.result.about = f"boxes of {feed.boxes}"
        elif feed.detector:
            self._detector = OnnxDetector(feed.detector, tuple(feed.classes or ("person",)))
        else:
            if feed.classes and list(feed.classes) != ["person"]:
                raise ResightError("Without a detector only people are found: name one with --detector FILE.onnx.")
            self._detector = MotionDetector(rate)
        if self._detector is not None:
            self.result.about = self._detector.about
        if self.given is None or not self.given.tracked:
            self._tracker = Tracker(rate, _LOST)
        self._ends = self.given.ends() if self.given is not None and self._tracker is None else {}
        self._open: dict[int, OpenTrack] = {}
        self._number = 0
        self._done = 0

    def _note_end(self, frames: int) -> None:
        """Says so if the given boxes go on where the source does not."""
        assert self.given is not None
        if self.given.last >= frames + 2:
            self.result.notes.append(
                f"{self.feed.boxes} has boxes up to frame {self.given.last + 1}, but {self.source.name} has "
                f"{frames} {'frame' if frames == 1 else 'frames'}: check that they belong together."
            )

    def enter(self, store: Sightings) -> None:
        """Claims the source in the folder, before any is read."""
        feed = self.feed
        settings = {
            "boxes": feed.boxes, "detector": feed.detector, "classes": list(feed.classes) if feed.classes else None,
            "rate": feed.rate, "start": feed.start, "crops": self._limit, "min-height": self._least,
        }  # fmt: skip
        self._number = store.source(feed.camera, self.source.fingerprint(), settings, self.source.live)
        known = store.sources[self._number]
        self.result.known = bool(known["done"])
        self._resume = int(known["resume"])
        store.note(self._number, start=self.start, rate=self.source.rate, live=self.source.live)
        self._written: dict[int, list[tuple[int, np.ndarray]]] = {}
        self._last: dict[int, int] = {}
        self._of_given: dict[int, int] = {}
        for row in store.rows:
            if row["source"] != self._number:
                continue
            corners = np.array([row["left"], row["top"], row["left"] + row["width"], row["top"] + row["height"]])
            self._written.setdefault(row["frame"], []).append((row["track"], corners))
            self._last[row["track"]] = max(self._last.get(row["track"], -1), row["last_frame"])
            if row["given"] >= 0:
                self._of_given[row["given"]] = row["track"]

    def state(self) -> tuple[str, int, int]:
        """Name, frames done and frames in all, for progress bars."""
        total = self.source.frames
        return self.feed.camera, min(self._done, total - 1) if total else 0, total or 1

    def read(self, store: Sightings, stop: threading.Event) -> None:
        """Reads the source to its end, to its duration, or until a stop."""
        if self.result.known:
            return
        begin = time.perf_counter()
        duration, ended = self.feed.duration, False
        warm = max(0, self._resume - round(3 * self.source.rate)) if self._detector is not None else self._resume
        try:
            for frame in self.source.read(warm, stop.is_set):
                if self.source.live and not self.result.frames:
                    self.start = self.source.start if self.feed.start is None else self.feed.start
                    store.note(self._number, start=self.start)
                self._done = frame.number + 1
                if duration is not None and frame.seconds > duration:
                    break
                self.result.frames += 1
                if self.feed.rate is not None and not self._begins(frame, self._step):
                    continue
                boxes = self._boxes(frame)
                if frame.number < self._resume:
                    continue
                self._see(frame, boxes, self._begins(frame, max(_LOOK, self._step)))
                self._finish(store, frame)
            else:
                ended = not stop.is_set()
            ended |= duration is not None and not stop.is_set()
        finally:
            self.result.seconds = time.perf_counter() - begin
            if self.source.note:
                self.result.notes.append(self.source.note)
            if ended and duration is None and not self.source.frames and self.given is not None:
                self._note_end(self._done)
        if ended or self.source.live:
            self._write(store, list(self._open), self._done)
        if ended:
            store.note(self._number, done=True, resume=self._done)

    def _begins(self, frame: Frame, length: float) -> bool:
        """Whether a frame is the first of its part of time, wherever reading began."""
        before = frame.seconds - 1 / self.source.rate
        return int(frame.seconds / length + 1e-6) != int(before / length + 1e-6) or frame.number == 0

    def _boxes(self, frame: Frame) -> Boxes:
        """The boxes of a frame, with tracks."""
        if self.given is not None:
            boxes = self.given.at(frame.number, frame.width, frame.height)
        else:
            assert self._detector is not None
            boxes = self._detector(frame.image)
        return boxes if self._tracker is None else self._tracker(boxes)

    def _see(self, frame: Frame, boxes: Boxes, look: bool) -> None:
        known = self._written.get(frame.number, []) if self._tracker is not None else []
        fresh = []
        for row, track in enumerate(boxes.track.tolist()):
            if track not in self._open:
                self._open[track] = OpenTrack(self._limit, frame.number, frame.seconds)
                fresh.append(track)
                if self._tracker is None and track in self._of_given:
                    self._open[track].number = self._of_given[track]
                    self._open[track].written = self._last[self._of_given[track]]
            one = self._open[track]
            for number_, corners in known:  # an earlier call had this track under another number of its tracker
                if one.number is None and iou(boxes.corners[row : row + 1], corners[None])[0, 0] > 0.6:
                    one.number, one.written = number_, self._last[number_]
                    one.rows = [kept for kept in one.rows if kept[0] > one.written]
                    one._slots = {slot: c for slot, c in one._slots.items() if c.frame > one.written}
            one.see(frame, boxes.corners[row], float(boxes.score[row]))
        if (look or fresh) and len(boxes):
            for track, crop in measure(frame, boxes, self._least).items():
                self._open[track].offer(crop)

    def _finish(self, store: Sightings, frame: Frame) -> None:
        """Writes the tracks that ended, and what there is of very long ones."""
        if self._ends:
            over = [track for track in self._open if self._ends[track] <= frame.number]
        else:
            over = [track for track, one in self._open.items() if frame.seconds - one.end > _LOST + 0.5]
        if over:
            self._write(store, over, frame.number + 1)
        for track, one in list(self._open.items()):
            if frame.seconds - one.begin > _FLUSH:
                self._write(store, [track], frame.number + 1)
                following = OpenTrack(self._limit, frame.number + 1, frame.seconds, one.number, frame.number)
                following.last, following.end = one.last, one.end
                self._open[track] = following

    def _write(self, store: Sightings, tracks: list[int], frame: int) -> None:
        given = self._tracker is None
        ended = [(self._open.pop(track), track if given else -1) for track in tracks]
        resume = min([one.first for one in self._open.values()], default=frame)
        count = store.add(self._number, self.start, ended, min(resume, frame))
        self.result.crops += count
        self.result.tracks += sum(bool(one.crops) for one, _ in ended)
