"""Sightings with identities: MOT text with identities in place of tracks, and videos with both drawn in."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from resight.common.files import make_folder, write_aside
from resight.common.packages import package
from resight.errors import ResightError
from resight.ingest.annotations import read_boxes, write_mot
from resight.ingest.boxes import Boxes, rows_of
from resight.ingest.store import MARKER, Sightings, read_rows
from resight.ingest.video import Frame, Source, open_source

_GREY = (150, 150, 150)
_TICKS = 90_000  # per second


@dataclass(frozen=True, eq=False)
class NumberedSource:
    """The boxes of a source, whose tracks have identities.

    Attributes:
        name: Name of its file of boxes, without the ending: ``CAMERA-N``.
        source: What :class:`resight.ingest.Sightings` knows of it.
        frames: Its boxes by index of the frame; ``track`` has the numbers of identities.
        apart: Tracks that are numbered as identities of their own, because another track of their identity is in some
            of their frames.
    """

    name: str
    source: Mapping[str, Any]
    frames: Mapping[int, Boxes]
    apart: int = 0


def opened_sightings(folder: Path, *, videos: bool = False) -> Sightings:
    """A folder of sightings whose boxes, and perhaps videos, can be written with identities.

    Raises:
        ResightError: it was not made by ``resight ingest``, or a video is not as it was; see :func:`open_numbered`.
    """
    if not (folder / MARKER).is_file():
        raise ResightError(
            f"{folder} was not made by 'resight ingest', so there are no boxes: give the folder of sightings (--data)."
        )
    store = Sightings(folder)
    if videos:
        package("cv2")
        for number, source in store.sources.items():
            open_numbered(NumberedSource(store.boxes_file(number).stem, source, {}))
    return store


def number_boxes(folder: Path, identity: Mapping[str, int]) -> tuple[list[NumberedSource], int]:
    """The boxes of a folder of sightings with identities in place of tracks.

    A track has the identity of most of its crops. A track without one gets a number of its own, above all identities.
    So does the shorter of two tracks of one identity that share a frame: in MOT text a number is in a frame once.

    Args:
        folder: A folder that ``resight ingest`` made.
        identity: Identity of crops by path; below 0 or missing: none.

    Returns:
        The sources that have boxes, and the first number that stands for no identity.

    Raises:
        ResightError: it is no such folder, it holds none of these crops, or a file of boxes is damaged.
    """
    store = opened_sightings(folder)
    votes: defaultdict[int, Counter[int]] = defaultdict(Counter)
    known = 0
    for row in read_rows(folder):
        known += row["path"] in identity
        if (number := identity.get(row["path"], -1)) >= 0:
            votes[row["track"]][number] += 1
    if not known:
        raise ResightError(
            f"{folder} holds none of the crops that have identities: give the folder whose crops were clustered."
        )
    chosen = {track: min(count, key=lambda one: (-count[one], one)) for track, count in votes.items()}
    least = following = 1 + max([-1, *identity.values()])
    found = []
    for number, source in sorted(store.sources.items()):
        file = store.boxes_file(number)
        if not file.is_file() or not file.stat().st_size:
            continue
        frames = read_boxes(file).frames
        numbers, apart = _numbers(frames, chosen)
        for track in sorted({int(one) for boxes in frames.values() for one in boxes.track} - numbers.keys()):
            numbers[track], following = following, following + 1
        numbered = {
            frame: replace(boxes, track=np.array([numbers[int(one)] for one in boxes.track], np.int64))
            for frame, boxes in frames.items()
        }
        found.append(NumberedSource(file.stem, source, numbered, apart))
    return found, least


def _numbers(frames: Mapping[int, Boxes], chosen: Mapping[int, int]) -> tuple[dict[int, int], int]:
    """Identities of the tracks of a source, and how many tracks lose theirs to a longer one in the same frame."""
    seen: defaultdict[int, set[int]] = defaultdict(set)
    for frame, boxes in frames.items():
        for track in boxes.track.tolist():
            seen[track].add(frame)
    numbers: dict[int, int] = {}
    taken: defaultdict[int, set[int]] = defaultdict(set)
    apart = 0
    for track in sorted(seen, key=lambda one: (-len(seen[one]), one)):
        identity = chosen.get(track)
        if identity is None:
            continue
        if taken[identity] & seen[track]:
            apart += 1
            continue
        taken[identity] |= seen[track]
        numbers[track] = identity
    return numbers, apart


def write_numbered(found: Sequence[NumberedSource], to: Path) -> list[Path]:
    """Writes MOTChallenge text per source: frame (from 1), identity, left, top, width, height, confidence, -1, -1, -1.

    Args:
        found: The sources.
        to: The folder, made if it is not there.
    """
    make_folder(to)
    files = []
    for one in found:
        file = to / f"{one.name}.txt"
        write_aside(file, partial(Path.write_text, data=write_mot(rows_of(one.frames)), encoding="utf-8"))
        files.append(file)
    return files


def open_numbered(one: NumberedSource) -> Source:
    """The video of a source.

    Raises:
        ResightError: it was a stream or a camera, it is not where it was, or it is another file now.
    """
    name = str(one.source["fingerprint"]["name"])
    if one.source.get("live"):
        raise ResightError(f"{name} was a stream: there is no video of it to draw in. Leave --video out.")
    if not Path(name).exists():
        raise ResightError(f"{name} is no longer there: put the video back, or leave --video out.")
    opened = open_source(name, one.source.get("rate") if Path(name).is_dir() else None)
    if opened.fingerprint() != one.source["fingerprint"]:
        raise ResightError(
            f"{name} is not the video that was read: it changed since. Put that one back, read the new one with "
            "'resight ingest' into another folder, or leave --video out."
        )
    return opened


def annotate(
    one: NumberedSource,
    source: Source,
    file: Path,
    *,
    least: int,
    colours: Sequence[str],
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Writes the video of a source with its boxes and the numbers of their identities.

    Boxes without an identity are grey and have no number. Where ingest looked at some frames only, the boxes stay until
    the next of these.

    Args:
        one: The source.
        source: Its video.
        file: The video to write, ``.mp4``; H.264 where PyAV has it, else MPEG-4.
        least: The first number that stands for no identity.
        colours: Colours as ``#rrggbb``; an identity has the one at its number.
        progress: Called with the frames done and the frames in all.

    Returns:
        Frames written.

    Raises:
        ResightError: a package is missing, no frame can be decoded, or the disk is full.
    """
    av = package("av")
    step = source.rate / min(float(one.source["settings"].get("rate") or source.rate), source.rate)
    palette = [(int(c[1:3], 16), int(c[3:5], 16), int(c[5:7], 16)) for c in colours]
    written = 0

    def write(aside: Path) -> None:
        nonlocal written
        with av.open(str(aside), "w", options={"movflags": "faststart"}) as container:
            stream: Any = None
            shown, since, before = Boxes(), -1, -1
            for frame in source.read():
                if frame.number in one.frames:
                    shown, since = one.frames[frame.number], frame.number
                elif frame.number - since >= math.ceil(step - 1e-6):
                    shown = Boxes()
                image = _drawn(frame, shown, least, palette)
                if stream is None:
                    stream = _stream(av, container, source.rate, image)
                image = _fitted(image, stream.width, stream.height)
                picture = av.VideoFrame.from_ndarray(image, format="rgb24")
                before = max(before + 1, round(frame.seconds * _TICKS))
                picture.pts, picture.time_base = before, Fraction(1, _TICKS)
                container.mux(stream.encode(picture))
                written += 1
                if progress is not None:
                    progress(written, max(source.frames or 0, written))
            if stream is not None:
                container.mux(stream.encode())

    make_folder(file.parent)
    write_aside(file, write)
    return written


def _stream(av: Any, container: Any, rate: float, image: np.ndarray) -> Any:
    try:
        av.codec.Codec("libx264", "w")
        name, options = "libx264", {"crf": "23", "preset": "veryfast"}
    except (ValueError, av.error.FFmpegError):
        name, options = "mpeg4", {"q": "4"}
    stream = container.add_stream(name, rate=Fraction(rate).limit_denominator(1001), options=options)
    stream.height, stream.width = (max(2, size - size % 2) for size in image.shape[:2])
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = Fraction(1, _TICKS)
    return stream


def _fitted(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """The image in the size of the video, which is even; larger changes of size are scaled."""
    if abs(image.shape[0] - height) > 1 or abs(image.shape[1] - width) > 1:
        return np.asarray(package("cv2").resize(image, (width, height)))
    return np.ascontiguousarray(image[:height, :width])


def _drawn(frame: Frame, boxes: Boxes, least: int, palette: Sequence[tuple[int, int, int]]) -> np.ndarray:
    cv2 = package("cv2")
    image = np.array(frame.image)
    size = max(image.shape[0] / 900, 0.45)
    line = max(2, round(2.2 * size))
    for corners, number in zip(boxes.corners, boxes.track.tolist(), strict=True):
        left, top, right, bottom = (round(float(value)) for value in corners)
        known = number < least
        colour = palette[number % len(palette)] if known else _GREY
        cv2.rectangle(image, (left, top), (right, bottom), colour, line)
        if not known:
            continue
        (width, height), below = cv2.getTextSize(str(number), cv2.FONT_HERSHEY_SIMPLEX, size, line - 1)
        floor = max(top, height + below)  # a box at the upper edge has its number inside
        cv2.rectangle(image, (left, floor - height - below), (left + width + 4, floor), colour, cv2.FILLED)
        bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140
        ink = (0, 0, 0) if bright else (255, 255, 255)
        place = (left + 2, floor - below // 2 - 1)
        cv2.putText(image, str(number), place, cv2.FONT_HERSHEY_SIMPLEX, size, ink, line - 1, cv2.LINE_AA)
    return image
