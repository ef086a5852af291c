"""The folder of sightings: crops, their table, and the boxes of all frames. A kill never damages it.

- ``crops/CAMERA/TRACK_FRAME.jpg``: the crops. Each is flushed to disk before any list names it.
- ``crops.parquet``: one row per crop. It is replaced as a whole, at most every ten seconds.
- ``journal.jsonl``: rows that are not in the table yet, one line per finished track.
- ``boxes/SOURCE.txt``: MOTChallenge text with our track numbers. Lines of tracks that are not listed are dropped when
  the folder is opened.
- ``sightings.json``: cameras and sources.
"""

from __future__ import annotations

import io
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from resight.common.checks import shown
from resight.common.files import CannotWrite, append_line, make_folder, write_aside, writing
from resight.common.locks import locked
from resight.errors import ResightError
from resight.ingest.annotations import write_mot
from resight.ingest.tracks import Candidate, OpenTrack, Row, as_mot

MARKER, TABLE, JOURNAL = "sightings.json", "crops.parquet", "journal.jsonl"
_VERSION = 1
_EVERY = 10.0  # seconds between two replacements of the table
_COLUMNS: dict[str, str] = {
    "path": "string", "camera": "int64", "camera_name": "string", "time": "float64", "track": "int64",
    "quality": "float64", "source": "int64", "frame": "int64", "left": "float64", "top": "float64",
    "width": "float64", "height": "float64", "score": "float64", "sharpness": "float64", "overlap": "float64",
    "cut_off": "bool", "track_from": "float64", "track_to": "float64", "last_frame": "int64", "given": "int64",
}  # fmt: skip


class Sightings:
    """A folder that crops are added to; one process at a time holds it.

    Args:
        folder: The folder; made if it is not there.

    Attributes:
        cameras: Numbers of cameras by name.
        sources: What was read, by number: its camera, fingerprint, settings, first time, rate, ``resume`` (the frame
            to go on with) and whether it is ``done``.

    Raises:
        ResightError: the folder holds something else, or is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        if folder.exists() and not folder.is_dir():
            raise ResightError(f"{folder} is a file: give a folder for the sightings.")
        marker = folder / MARKER
        if not marker.is_file():
            if folder.is_dir() and any(
                file.name not in (".lock", f".{Path(MARKER).stem}.part.json") for file in folder.iterdir()
            ):
                raise ResightError(f"{folder} is not empty and holds no {MARKER}: choose a new folder for sightings.")
            self.cameras: dict[str, int] = {}
            self.sources: dict[int, dict[str, Any]] = {}
        else:
            try:
                known = json.loads(marker.read_text(encoding="utf-8"))
                if known["version"] != _VERSION:
                    raise ResightError(f"{folder} was made by another version of Resight: choose a new folder.")
                self.cameras = {str(name): int(number) for name, number in known["cameras"].items()}
                self.sources = {int(number): dict(source) for number, source in known["sources"].items()}
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ResightError(
                    f"{marker} is damaged: bring it back from a copy, or choose a new folder."
                ) from error
        self.rows: list[Row] = []
        self._next = 1
        self._folded = 0.0

    @contextmanager
    def opened(self) -> Iterator[Sightings]:
        """Holds the folder, mends what a kill left, and writes the table at the end, whatever happens."""
        make_folder(self.folder)
        taken = f"Another process adds to {self.folder}: wait for its end, or choose another folder."
        with locked(self.folder / ".lock", taken):
            if not (self.folder / MARKER).is_file():
                self._write_marker()  # first, so that the folder is known from here on
            for name in ("crops", "boxes"):
                make_folder(self.folder / name)
            self._load()
            try:
                yield self
            finally:
                self.fold()

    def _load(self) -> None:
        self.rows = read_rows(self.folder)
        there = {row["path"] for row in self.rows}
        for line in _whole_lines(self.folder / JOURNAL):
            self.rows += [row for row in line["rows"] if row["path"] not in there]
            source = self.sources.get(line["source"])
            if source is not None:
                source["resume"] = max(source["resume"], line["resume"])
        self._next = 1 + max((row["track"] for row in self.rows), default=0)
        self._mend()
        self.fold()

    def _mend(self) -> None:
        """Deletes crops that nothing lists, and boxes of tracks that nothing lists."""
        listed = {row["path"] for row in self.rows}
        for place, _, names in os.walk(self.folder / "crops"):
            for name in names:
                file = Path(place) / name
                if file.relative_to(self.folder).as_posix() not in listed:
                    file.unlink(missing_ok=True)
        self._drop_boxes()

    def _drop_boxes(self) -> None:
        last: dict[tuple[int, int], int] = {}
        for row in self.rows:
            key = (row["source"], row["track"])
            last[key] = max(last.get(key, -1), row["last_frame"])
        for number in self.sources:
            file = self.boxes_file(number)
            if not file.is_file():
                continue
            lines = file.read_text(encoding="utf-8").splitlines()
            kept = []
            for line in lines:
                frame, _, rest = line.partition(",")
                track = rest.partition(",")[0]
                if line.count(",") == 9 and int(frame) - 1 <= last.get((number, int(track)), -1):
                    kept.append((int(frame), int(track), line))
            text = "".join(f"{line}\n" for _, _, line in sorted(kept))
            write_aside(file, partial(Path.write_text, data=text, encoding="utf-8"))

    def boxes_file(self, source: int) -> Path:
        """The file with the boxes of a source."""
        camera = _file_name(self.sources[source]["camera"])
        return self.folder / "boxes" / f"{camera}-{source}.txt"

    def source(self, camera: str, fingerprint: dict[str, Any], settings: dict[str, Any], live: bool) -> int:
        """The number of a source, as an earlier call had it or new.

        Raises:
            ResightError: an earlier call read this source with other settings.
        """
        with self._lock:
            for number, known in self.sources.items():
                if not live and known["fingerprint"] == fingerprint and known["camera"] == camera:
                    if known["settings"] != settings:
                        changed = sorted(n for n in settings if settings[n] != known["settings"].get(n))
                        raise ResightError(
                            f"{fingerprint['name']} was read into {self.folder} with another {' and '.join(changed)}: "
                            "choose another folder, or give the same as before."
                        )
                    return number
            self.cameras.setdefault(camera, len(self.cameras) + 1)
            number = 1 + max(self.sources, default=0)
            self.sources[number] = {
                "camera": camera, "fingerprint": fingerprint, "settings": settings, "resume": 0, "done": False,
            }  # fmt: skip
            self._write_marker()
            return number

    def note(self, source: int, **facts: Any) -> None:
        """Keeps facts about a source."""
        with self._lock:
            self.sources[source].update(facts)
            self._write_marker()

    def _write_marker(self) -> None:
        known = {"version": _VERSION, "cameras": self.cameras, "sources": self.sources}
        text = json.dumps(known, indent=1, ensure_ascii=False) + "\n"
        write_aside(self.folder / MARKER, lambda aside: aside.write_text(text, encoding="utf-8"))

    def add(self, source: int, start: float, tracks: list[tuple[OpenTrack, int]], resume: int) -> int:
        """Writes finished tracks: crops first, then their boxes, then the line that lists them.

        Args:
            source: Number of the source.
            start: Time of its first frame, seconds since 1970.
            tracks: The tracks, each with the number that the given boxes have for it, or -1.
            resume: Frame to go on with, should this be the last that is written.

        Returns:
            Number of crops written.
        """
        with self._lock:
            camera = self.sources[source]["camera"]
            folder = self.folder / "crops" / _file_name(camera)
            make_folder(folder)
            rows: list[Row] = []
            boxes = []
            for track, given in tracks:
                crops = track.crops
                if not crops:
                    continue
                if track.number is None:
                    track.number, self._next = self._next, self._next + 1
                for crop in crops:
                    file = folder / f"{track.number:06d}_{crop.frame:08d}.jpg"
                    data = _jpeg(crop.image)
                    write_aside(file, partial(Path.write_bytes, data=data))
                    rows.append(self._row(file, source, camera, start, track, given, crop))
                boxes += as_mot(track, track.number)
            if boxes:
                append_line(self.boxes_file(source), write_mot(boxes).rstrip("\n"))
            line = {"source": source, "resume": resume, "rows": rows}
            append_line(self.folder / JOURNAL, json.dumps(line))
            self.rows += rows
            self.sources[source]["resume"] = resume
            if time.monotonic() - self._folded > _EVERY:
                self.fold()
            return len(rows)

    def _row(
        self, file: Path, source: int, camera: str, start: float, track: OpenTrack, given: int, crop: Candidate
    ) -> Row:
        left, top, right, bottom = (float(value) for value in crop.corners)
        return {
            "path": file.relative_to(self.folder).as_posix(), "camera": self.cameras[camera], "camera_name": camera,
            "time": start + crop.seconds, "track": track.number, "quality": round(crop.quality, 4), "source": source,
            "frame": crop.frame, "left": left, "top": top, "width": right - left, "height": bottom - top,
            "score": round(crop.score, 4), "sharpness": round(crop.sharpness, 4), "overlap": round(crop.overlap, 4),
            "cut_off": crop.cut_off, "track_from": start + track.begin, "track_to": start + track.end,
            "last_frame": track.last, "given": given,
        }  # fmt: skip

    def fold(self) -> None:
        """Replaces the table by one with all rows, then empties the journal."""
        with self._lock:
            journal = self.folder / JOURNAL
            if self.rows and (journal.exists() or not (self.folder / TABLE).exists()):
                write_rows(self.folder, self.rows)
            if journal.exists():
                self._write_marker()
                with writing(journal):
                    journal.unlink()
            self._folded = time.monotonic()

    def forget(self, before: float) -> int:
        """Deletes crops that were taken before a time: first from the table, then from the disk.

        Returns:
            Number of crops deleted.
        """
        with self._lock:
            old = [row for row in self.rows if row["time"] < before]
            if not old:
                return 0
            self.rows = [row for row in self.rows if row["time"] >= before]
            write_rows(self.folder, self.rows)
            (self.folder / JOURNAL).unlink(missing_ok=True)
            for row in old:
                (self.folder / row["path"]).unlink(missing_ok=True)
            self._drop_boxes()
            return len(old)


def read_rows(folder: Path) -> list[Row]:
    """The rows of a folder's table, with all columns; none if there is no table yet.

    Raises:
        ResightError: the table is damaged or lacks a column.
    """
    import pyarrow
    import pyarrow.parquet

    file = folder / TABLE
    if not file.is_file():
        return []
    try:
        return list(pyarrow.parquet.read_table(file, columns=list(_COLUMNS)).to_pylist())
    except (pyarrow.ArrowException, OSError, KeyError) as error:
        raise ResightError(
            f"{file} cannot be read as a table of sightings: {str(error).splitlines()[0]} Bring it back from a copy."
        ) from error


def write_rows(folder: Path, rows: list[Row]) -> None:
    """Replaces a folder's table."""
    import pyarrow
    import pyarrow.parquet

    kinds = {
        "bool": pyarrow.bool_(),
        "string": pyarrow.string(),
        "int64": pyarrow.int64(),
        "float64": pyarrow.float64(),
    }
    arrays = {name: pyarrow.array([row[name] for row in rows], kinds[kind]) for name, kind in _COLUMNS.items()}
    table = pyarrow.table(arrays)
    write_aside(folder / TABLE, lambda aside: pyarrow.parquet.write_table(table, aside))


def _whole_lines(file: Path) -> Iterator[dict[str, Any]]:
    """Lines of a journal. The last may be torn; it was not finished, so nothing was promised."""
    if not file.is_file():
        return
    for line in file.read_bytes().split(b"\n"):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and {"source", "resume", "rows"} <= found.keys():
            yield found


def _file_name(camera: str) -> str:
    """A camera's name as a file can have it."""
    plain = re.sub(r"[^\w.-]", "_", camera).strip(".") or "camera"
    return plain[:100]


def check_camera(name: str) -> str:
    """A camera's name.

    Raises:
        ResightError: it is empty, too long, or has signs that end a line.
    """
    if not isinstance(name, str) or not name.strip() or len(name) > 200 or any(ord(sign) < 32 for sign in name):
        raise ResightError(f"A camera cannot be called {shown(name)}: give a short name, such as 'gate'.")
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ResightError(f"The camera's name {shown(name)} is not valid Unicode: give another.") from error
    return name.strip()


def _jpeg(image: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


__all__ = ["MARKER", "TABLE", "CannotWrite", "Sightings", "check_camera", "read_rows"]
