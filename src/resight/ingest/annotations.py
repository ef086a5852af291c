"""Reads boxes and tracks that other programs wrote: MOTChallenge text, CVAT, Label Studio, JSON lines."""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from resight.common.checks import as_path, shown
from resight.errors import ResightError
from resight.ingest.boxes import NO_TRACK, Boxes, GivenBoxes

#: A box as it is read: index of the frame from 0, the file's name of the track, corners, score.
_Row = tuple[int, Any, tuple[float, float, float, float], float]
#: Largest number of boxes of a file, so that a wrong file ends in a sentence and not in a full memory.
_MOST = 50_000_000
_LARGEST_FRAME = 10**9
_LARGEST_TRACK = 10**15
_FARTHEST = 1e9  # pixels


def read_boxes(path: str | Path, *, classes: Sequence[str] | None = None, video: str | None = None) -> GivenBoxes:
    """Reads boxes by the ending and the content of a file.

    - ``.txt``, ``.csv``: MOTChallenge text (motchallenge.net, "Instructions"): ``frame, id, left, top, width, height,
      confidence`` and, after that, ``x, y, z`` in results and detections, or ``class, visibility`` in ground truth.
      Frames count from 1. Lines with a confidence of 0 are meant to be ignored, and are. An id of -1 is a box without
      a track. Of ground truth without names of classes, class 1 is read, the pedestrians.
    - ``.zip``, or a folder: an export of CVAT as "MOT 1.1": ``gt/gt.txt`` in that order and ``gt/labels.txt`` with the
      names of the classes.
    - ``.json``: an export of Label Studio with ``videorectangle`` regions. Between two key frames boxes are
      interpolated linearly while the first of them is ``enabled``, and a last enabled one lasts to the video's end.
    - ``.jsonl``, ``.ndjson``: one object per line with ``frame`` (from 1), ``box`` (left, top, width and height in
      pixels) and perhaps ``track`` (a number or a text), ``score`` and ``label``.

    Args:
        path: The file or folder.
        classes: Names, or for MOT text numbers, of the classes to read; all that the file has if not given.
        video: Name of the video, for Label Studio files with several tasks.

    Raises:
        ResightError: there is no such file, or it is none of these; the sentence names the line.
    """
    path = as_path("The file of boxes", path)
    wanted = None if classes is None else {str(name) for name in classes}
    try:
        if not path.exists():
            raise ResightError(f"There is no file {path}: check the path of the boxes.")
        if path.is_dir() or path.suffix.lower() == ".zip":
            rows, relative = _cvat(path, wanted), False
        elif path.suffix.lower() == ".json":
            rows, relative = _label_studio(path, wanted, video), True
        elif path.suffix.lower() in (".jsonl", ".ndjson"):
            rows, relative = _json_lines(path, wanted), False
        elif path.suffix.lower() in (".txt", ".csv"):
            rows, relative = _mot(_text(path), str(path), None, wanted), False
        else:
            raise ResightError(
                f"{path} is no file of boxes that is known: give MOTChallenge text (.txt), CVAT's MOT 1.1 (.zip), "
                "Label Studio's JSON (.json) or JSON lines (.jsonl)."
            )
        return _collected(rows, relative, str(path))
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ResightError(f"{path} cannot be read: {error}.") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ResightError(f"{path} is not UTF-8 text (byte {error.start}): save the boxes as UTF-8.") from error


def _collected(rows: Iterable[_Row], relative: bool, origin: str) -> GivenBoxes:
    numbers: dict[Any, int] = {}
    frames: defaultdict[int, list[tuple[tuple[float, float, float, float], float, int]]] = defaultdict(list)
    count = 0
    for frame, name, corners, score in rows:
        count += 1
        if count > _MOST:
            raise ResightError(f"{origin} has more than {_MOST} boxes: divide it into several files.")
        if name is None:
            track = NO_TRACK
        elif isinstance(name, int):
            track = name
        else:
            track = numbers.setdefault(name, len(numbers) + 1)
        frames[frame].append((corners, score, track))
    if not count:
        raise ResightError(
            f"{origin} has no box of the classes that are asked for: give another file or other classes."
        )
    found = {}
    for frame, items in sorted(frames.items()):
        tracks = np.array([item[2] for item in items], np.int64)
        known = tracks[tracks != NO_TRACK]
        if len(np.unique(known)) < len(known):
            twice = int(known[np.argmax(np.bincount(np.unique(known, return_inverse=True)[1])[np.unique(
                known, return_inverse=True)[1]] > 1)])  # fmt: skip
            raise ResightError(
                f"{origin} has track {twice} twice in frame {frame + 1}: a track has one box per frame. Give the "
                "boxes of one video and one class."
            )
        found[frame] = Boxes(np.array([i[0] for i in items]), np.array([i[1] for i in items]), tracks)
    return GivenBoxes(found, relative, origin)


def _mot(text: str, origin: str, names: Sequence[str] | None, wanted: set[str] | None) -> Iterator[_Row]:
    """MOT text; with ``names`` the classes are numbers of these, from 1."""
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        cells = [cell.strip() for cell in (line.split(",") if "," in line else line.split())]
        try:
            values = [float(cell) for cell in cells if cell]
        except ValueError:
            values = []
        if len(values) < 6 or not all(map(math.isfinite, values)):
            raise ResightError(
                f"Line {number} of {origin} is {shown(line.strip())}, but MOT text has at least 6 numbers per line: "
                "frame, id, left, top, width, height."
            )
        frame = _frame(values[0], f"Line {number} of {origin}")
        confidence = values[6] if len(values) > 6 else -1.0
        if confidence == 0:
            continue
        truth = len(values) in (8, 9) or names is not None
        if truth and len(values) > 7:
            kind = int(values[7])
            if names is not None:
                if not 1 <= kind <= len(names):
                    raise ResightError(
                        f"Line {number} of {origin} has class {kind}, but labels.txt has {len(names)} names."
                    )
                if wanted is not None and names[kind - 1] not in wanted:
                    continue
            elif (str(kind) not in wanted) if wanted is not None else kind != 1:
                continue
        left, top, width, height = values[2:6]
        if max(abs(left), abs(top), width, height) >= _FARTHEST:
            raise ResightError(f"Line {number} of {origin} has a box at {left:g}, {top:g}: no frame is that large.")
        if width <= 0 or height <= 0:
            raise ResightError(
                f"Line {number} of {origin} has a box of width {width:g} and height {height:g}: both must be above 0."
            )
        score = 1.0 if truth or confidence < 0 else min(confidence, 1.0)
        track = _track(values[1], f"Line {number} of {origin}")
        yield frame, None if track < 0 else track, (left, top, left + width, top + height), score


def _frame(value: Any, where: str) -> int:
    """Index from 0 of a frame that is counted from 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise ResightError(f"{where} has frame {shown(value)}: it must be a whole number.")
    if not 1 <= value <= _LARGEST_FRAME:
        raise ResightError(f"{where} has frame {int(value)}: frames count from 1.")
    return int(value) - 1


def _track(value: float, where: str) -> int:
    """The number of a track."""
    if value != int(value) or abs(value) > _LARGEST_TRACK:
        raise ResightError(f"{where} has the track {value:g}: it must be a whole number up to {_LARGEST_TRACK}.")
    return int(value)


def _cvat(path: Path, wanted: set[str] | None) -> Iterator[_Row]:
    found: dict[str, str] = {}
    for name in ("gt.txt", "labels.txt"):
        if path.is_dir():
            there = [file for file in (path / "gt" / name, path / name) if file.is_file()]
            if there:
                found[name] = _text(there[0])
            continue
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename in (f"gt/{name}", name)]
            if members:
                if members[0].file_size > 4 << 30:
                    raise ResightError(f"{name} in {path} is larger than 4 GB: unzip it and divide it.")
                found[name] = archive.read(members[0]).decode("utf-8", errors="replace")
    if "gt.txt" not in found:
        raise ResightError(f"{path} has no gt/gt.txt: export from CVAT as 'MOT 1.1', or give a text file.")
    names = (
        [line.strip() for line in found["labels.txt"].splitlines() if line.strip()] if "labels.txt" in found else None
    )
    if names and wanted is not None and not wanted & set(names):
        raise ResightError(f"{path} has the classes {', '.join(names)}, and none that is asked for.")
    yield from _mot(found["gt.txt"], f"gt.txt of {path}", names or None, wanted)


def _json_lines(path: Path, wanted: set[str] | None) -> Iterator[_Row]:
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        where = f"Line {number} of {path}"
        try:
            given = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ResightError(f"{where} is no JSON: {error}.") from error
        if not isinstance(given, dict) or "frame" not in given or "box" not in given:
            raise ResightError(f"{where} must be an object with 'frame' (from 1) and 'box' (left, top, width, height).")
        if wanted is not None and "label" in given and str(given["label"]) not in wanted:
            continue
        box, score, track = given["box"], given.get("score", 1.0), given.get("track")
        if not (isinstance(box, list) and len(box) == 4 and all(_is_number(value) for value in [*box, score])):
            raise ResightError(f"{where} has the box {shown(box)}: give left, top, width and height in pixels.")
        if box[2] <= 0 or box[3] <= 0:
            raise ResightError(f"{where} has a box of width {box[2]} and height {box[3]}: both must be above 0.")
        if track is not None and (isinstance(track, bool) or not isinstance(track, int | str)):
            raise ResightError(f"{where} has the track {shown(track)}: give a number or a text.")
        if isinstance(track, int) and abs(track) > _LARGEST_TRACK:
            raise ResightError(f"{where} has a track number above {_LARGEST_TRACK}: give a smaller one, or a text.")
        corners = (float(box[0]), float(box[1]), float(box[0] + box[2]), float(box[1] + box[3]))
        yield _frame(given["frame"], where), track, corners, float(min(max(score, 0.0), 1.0))


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and abs(value) < _FARTHEST
    )


def _label_studio(path: Path, wanted: set[str] | None, video: str | None) -> Iterator[_Row]:
    try:
        tasks = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise ResightError(f"{path} is no JSON: {error}.") from error
    tasks = tasks if isinstance(tasks, list) else [tasks]
    named = [(_video_of(task), task) for task in tasks if isinstance(task, dict)]
    if len(named) > 1 and video is not None:
        # uploads are called 1a2b3c4d-name.mp4
        named = [(name, task) for name, task in named if name == video or name.endswith(f"-{video}")]
    if len(named) != 1:
        raise ResightError(
            f"{path} has {len(tasks)} tasks, and {len(named)} of them are of the video {video}: export one task."
        )
    regions = list(_regions(named[0][1]))
    if not regions:
        raise ResightError(f"{path} has no videorectangle: export a task that has boxes of a video as JSON.")
    for place, region in enumerate(regions):
        labels = region.get("labels") or region.get("rectanglelabels") or []
        if wanted is not None and labels and not wanted & {str(label) for label in labels}:
            continue
        yield from _key_frames(region, place + 1, f"Region {place + 1} of {path}")


def _video_of(task: dict[str, Any]) -> str:
    data = task.get("data", task)
    texts = [value for value in (data.values() if isinstance(data, dict) else ()) if isinstance(value, str)]
    return next((Path(text.split("?")[0]).name for text in texts if "." in Path(text.split("?")[0]).name), "")


def _regions(given: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """Everything with key frames in a task: of its last finished annotation, or wherever the short export has it."""
    if depth > 8:
        return
    if isinstance(given, dict):
        if isinstance(given.get("sequence"), list):
            yield given
            return
        done = given.get("annotations")
        if isinstance(done, list) and done:
            kept = [one for one in done if isinstance(one, dict) and not one.get("was_cancelled")]
            yield from _regions(kept[-1] if kept else [], depth + 1)
            return
        for name, value in given.items():
            if name not in ("predictions", "drafts"):
                yield from _regions(value, depth + 1)
    elif isinstance(given, list):
        for value in given:
            yield from _regions(value, depth + 1)


def _key_frames(region: dict[str, Any], track: int, where: str) -> Iterator[_Row]:
    keys = []
    for key in region["sequence"]:
        values = [key.get(name) for name in ("x", "y", "width", "height")] if isinstance(key, dict) else []
        if not values or not all(_is_number(value) for value in values):
            raise ResightError(f"{where} has a key frame {shown(key)}: it needs frame, x, y, width and height.")
        keys.append(
            (_frame(key.get("frame"), where), np.array(values, np.float64) / 100, bool(key.get("enabled", True)))
        )
    keys.sort(key=lambda key: key[0])
    last = region.get("framesCount")
    end = int(last) if last is not None and _is_number(last) and 0 < last <= _LARGEST_FRAME else None
    for place, (frame, box, enabled) in enumerate(keys):
        following = keys[place + 1] if place + 1 < len(keys) else None
        until = frame + 1
        if enabled:
            until = following[0] if following else max(end or 0, frame + 1)
        for at in range(frame, max(until, frame + 1)):
            share = (at - frame) / (following[0] - frame) if following and following[0] > frame else 0.0
            x, y, w, h = box if not following else box + share * (following[1] - box)
            if w > 0 and h > 0:
                yield at, track, (float(x), float(y), float(x + w), float(y + h)), 1.0


def write_mot(rows: Iterable[tuple[int, int, float, float, float, float, float]]) -> str:
    """MOTChallenge text of boxes.

    Args:
        rows: Index of the frame from 0, track, left, top, right, bottom and score of each box, by frame.

    Returns:
        Lines ``frame, id, left, top, width, height, confidence, -1, -1, -1``; frames count from 1.
    """
    return "".join(
        f"{frame + 1},{track},{left:.2f},{top:.2f},{right - left:.2f},{bottom - top:.2f},{score:.4f},-1,-1,-1\n"
        for frame, track, left, top, right, bottom, score in rows
    )
