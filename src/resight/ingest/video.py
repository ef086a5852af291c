"""Frames of a video file, a folder of images, a stream or a camera."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from resight.common.checks import as_path, shown
from resight.common.packages import package
from resight.crops.images import UnreadableImage, image_size, read_image
from resight.crops.readers.files import is_image_name
from resight.errors import ResightError

#: Addresses that are streams.
STREAMS = ("rtsp://", "rtsps://", "http://", "https://", "rtmp://", "udp://", "srt://", "tcp://")
#: Seconds until a stream that gives nothing is taken for dead, and until it is tried again.
PATIENCE, AGAIN = 10.0, 2.0


class Frame:
    """One frame.

    Attributes:
        number: Index of the frame in its source, from 0.
        seconds: Time since the first frame.
        width: Upright width in pixels.
        height: Upright height in pixels.
    """

    def __init__(self, number: int, seconds: float, width: int, height: int, decode: Callable[[], np.ndarray]) -> None:
        self.number = number
        self.seconds = seconds
        self.width = width
        self.height = height
        self._decode = decode

    @cached_property
    def image(self) -> np.ndarray:
        """``(height, width, 3)`` uint8 RGB, upright; converted when it is first asked for."""
        return self._decode()


@dataclass
class Source:
    """Where frames come from.

    Attributes:
        name: What was given, as text.
        live: Whether it is a stream or a camera: it cannot be read again.
        rate: Frames per second, as far as known.
        frames: Number of frames, or 0 if it is not known.
        width: Upright width in pixels; 0 if it is not known before the first frame.
        height: Upright height in pixels.
        start: When the first frame was taken, seconds since 1970 in UTC, by the source itself.
        start_from: Where that time comes from, in words.
        note: What happened while it was read, in a sentence; empty if nothing did.
    """

    name: str
    live: bool = False
    rate: float = 25.0
    frames: int = 0
    width: int = 0
    height: int = 0
    start: float = 0.0
    start_from: str = ""
    note: str = ""

    def read(self, first: int = 0, stop: Callable[[], bool] = lambda: False) -> Iterator[Frame]:
        """Yields frames.

        Args:
            first: Index of the first frame wanted; earlier ones are decoded, if need be, but not given.
            stop: Asked now and then; true ends the reading.
        """
        raise NotImplementedError

    def fingerprint(self) -> dict[str, Any]:
        """What tells this source from another, or from a file that was changed."""
        return {"name": self.name}


def open_source(name: str | Path, rate: float | None = None) -> Source:
    """Opens a source and looks at its header.

    Args:
        name: A video file, a folder of images, an address such as ``rtsp://…``, or the number of a camera.
        rate: Frames per second of a folder of images; 25 if not given.

    Raises:
        ResightError: there is nothing at that place, or it holds no video.
    """
    text = str(name)
    if text.isdecimal() and not Path(text).exists():
        return _Camera(text, live=True)
    if text.lower().startswith(STREAMS):
        return _Stream(text)
    path = as_path("The source", name)
    if not path.exists():
        raise ResightError(
            f"There is no video {path}: give a video file, a folder of frames, an address such as rtsp://…, or the "
            "number of a camera."
        )
    if path.is_dir():
        return _Folder(path, rate)
    if not path.is_file():
        raise ResightError(f"{path} is neither a file nor a folder: give a video file or a folder of frames.")
    return _File(path)


def reason(error: BaseException) -> str:
    """What FFmpeg says of an error, without its numbers and names of functions."""
    if type(error).__name__ == "ExitError":  # what FFmpeg calls the end of its patience
        return f"it gave nothing for {PATIENCE:g} seconds"
    text = str(getattr(error, "strerror", "") or error).strip().rstrip(".")
    return text[:1].lower() + text[1:] if text else type(error).__name__


class _File(Source):
    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path
        if path.stat().st_size == 0:
            raise ResightError(f"{path} is empty (0 bytes): copy the video again.")
        with self._opened() as (container, stream):
            self.rate = _rate(stream)
            self.frames = int(stream.frames or 0)
            if not self.frames and stream.duration and stream.time_base:
                self.frames = int(float(stream.duration * stream.time_base) * self.rate)
            self.width, self.height = stream.codec_context.width, stream.codec_context.height
            made = container.metadata.get("creation_time") or stream.metadata.get("creation_time")
            self.start, self.start_from = path.stat().st_mtime, "the file's date, for want of a better one"
            if made:
                with contextlib.suppress(ValueError):
                    self.start = datetime.fromisoformat(made.replace("Z", "+00:00")).timestamp()
                    self.start_from = "the time that the file says"
            with contextlib.suppress(StopIteration, *_errors()):  # a frame knows whether it is to be turned
                frame = next(container.decode(stream))
                turned = frame.rotation % 180 != 0
                self.width, self.height = (frame.height, frame.width) if turned else (frame.width, frame.height)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        av = package("av")
        try:
            container = av.open(str(self.path), metadata_errors="replace")
        except _errors() as error:
            raise ResightError(
                f"{self.path} cannot be read as a video: {reason(error)}. If it plays elsewhere, convert it with "
                "ffmpeg -i FILE -c:v libx264 new.mp4."
            ) from error
        with container:
            if not container.streams.video:
                raise ResightError(f"{self.path} has no video, only {_others(container)}: give another file.")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            yield container, stream

    def read(self, first: int = 0, stop: Callable[[], bool] = lambda: False) -> Iterator[Frame]:
        number, damaged, size = 0, 0, (0, 0)
        resized = False
        with self._opened() as (container, stream):
            begin: float | None = None
            for packet, problem in _packets(container, stream):
                if problem:
                    damaged += 1
                    break
                try:
                    frames = packet.decode()
                except _errors():
                    damaged += 1
                    continue
                for frame in frames:
                    if stop():
                        return
                    at = frame.time if frame.time is not None else number / self.rate
                    begin = at if begin is None else begin
                    resized |= size not in ((0, 0), (frame.width, frame.height))
                    size = (frame.width, frame.height)
                    if number >= first:
                        yield _frame(frame, number, max(0.0, at - begin))
                    number += 1
        if not number:
            raise ResightError(f"{self.path} has no frame that can be decoded: copy the video again.")
        if damaged:
            left = (
                f", and {self.frames - number} of its {self.frames} frames are missing" if self.frames > number else ""
            )
            self.note = f"{self.path} is damaged{left}: what can be decoded was read."
        elif self.frames - number > max(2, self.rate):
            self.note = f"{self.path} ends after {number} of the {self.frames} frames that its header promises."
        if resized:
            self.note += f"{' ' if self.note else ''}The frames of {self.path} change their size."

    def fingerprint(self) -> dict[str, Any]:
        stat = self.path.stat()
        return {"name": str(self.path.resolve()), "bytes": stat.st_size, "changed": stat.st_mtime_ns}


def _errors() -> tuple[type[BaseException], ...]:
    return (package("av").error.FFmpegError, OSError, ValueError)


def _packets(container: Any, stream: Any) -> Iterator[tuple[Any, bool]]:
    """Packets of a stream, and whether reading them ended in an error."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except _errors():
            yield None, True
            return
        yield packet, False


def _rate(stream: Any) -> float:
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and 0 < float(rate) <= 1000:
            return float(rate)
    return 25.0


def _others(container: Any) -> str:
    return ", ".join(sorted({stream.type or "data" for stream in container.streams})) or "nothing"


def _frame(frame: Any, number: int, seconds: float) -> Frame:
    turns = round(frame.rotation / 90) % 4  # counter-clockwise
    width, height = (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)

    def decode() -> np.ndarray:
        image = frame.to_ndarray(format="rgb24")
        return np.ascontiguousarray(np.rot90(image, turns)) if turns else image

    return Frame(number, seconds, width, height, decode)


class _Folder(Source):
    def __init__(self, path: Path, rate: float | None) -> None:
        super().__init__(str(path), rate=rate or 25.0)
        self.path = path
        self.files = sorted(
            (file for file in path.iterdir() if is_image_name(file.name)), key=lambda file: _natural(file.name)
        )
        if not self.files:
            raise ResightError(f"{path} holds no frame: frames are images such as 000001.jpg, directly in the folder.")
        self.frames = len(self.files)
        for file in self.files:
            with contextlib.suppress(UnreadableImage):
                self.height, self.width = image_size(file)
                break
        self.start, self.start_from = self.files[0].stat().st_mtime, "the date of the first frame's file"

    def read(self, first: int = 0, stop: Callable[[], bool] = lambda: False) -> Iterator[Frame]:
        unreadable = 0
        for number, file in enumerate(self.files):
            if stop():
                return
            if number < first:
                continue
            try:
                image = np.ascontiguousarray(read_image(file).transpose(1, 2, 0))
            except UnreadableImage:
                unreadable += 1
                continue
            yield Frame(number, number / self.rate, image.shape[1], image.shape[0], partial(_same, image))
        if unreadable == len(self.files):
            raise ResightError(f"None of the {unreadable} frames in {self.path} can be decoded: copy them again.")
        if unreadable:
            self.note = f"{unreadable} of {len(self.files)} frames in {self.path} cannot be decoded and were left out."

    def fingerprint(self) -> dict[str, Any]:
        return {"name": str(self.path.resolve()), "frames": len(self.files), "last": self.files[-1].name}


def _same(image: np.ndarray) -> np.ndarray:
    return image


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Key by which 2.jpg comes before 10.jpg."""
    parts: list[tuple[int, int, str]] = []
    digits = ""
    for sign in name + "\0":
        if sign.isdecimal():
            digits += sign
            continue
        if digits:
            parts.append((0, int(digits), ""))
            digits = ""
        parts.append((1, 0, sign))
    return parts


class _Stream(Source):
    """A stream, which is opened again when it breaks off, unless it has an end."""

    def __init__(self, address: str) -> None:
        super().__init__(address, live=True, start=time.time(), start_from="the clock of this machine")

    def read(self, first: int = 0, stop: Callable[[], bool] = lambda: False) -> Iterator[Frame]:
        av = package("av")
        options = {"rtsp_transport": "tcp"} if self.name.startswith("rtsp") else {}
        begin, number, breaks, tried = time.time(), 0, 0, 0
        self.start = begin
        while not stop():
            problem = ""
            try:
                with av.open(self.name, options=options, timeout=(PATIENCE, PATIENCE)) as container:
                    if not container.streams.video:
                        raise ResightError(f"{shown(self.name)} has no video, only {_others(container)}.")
                    stream = container.streams.video[0]
                    stream.thread_type = "AUTO"
                    self.rate = _rate(stream)
                    ends = container.duration is not None  # a file on a server: it is read faster than it plays
                    zero: float | None = None
                    for packet in container.demux(stream):
                        with contextlib.suppress(av.error.InvalidDataError):  # a damaged packet
                            for frame in packet.decode():
                                if stop():
                                    return
                                tried = 0
                                seconds = time.time() - begin
                                if ends and frame.time is not None:
                                    zero = frame.time if zero is None else zero
                                    seconds = max(0.0, frame.time - zero)
                                yield _frame(frame, number, seconds)
                                number += 1
                        if stop():
                            return
                if ends:
                    return
                problem = "it ended"
            except _errors() as error:
                problem = reason(error)
            if not number:
                raise ResightError(
                    f"The stream {self.name} cannot be read: {problem}. Check the address in a player; if it is a "
                    "file on a server, download it and give the file."
                )
            breaks, tried = breaks + 1, tried + 1
            self.note = f"The stream {self.name} broke off {breaks} {'time' if breaks == 1 else 'times'}: {problem}."
            if tried > 5:
                return
            until = time.monotonic() + AGAIN
            while time.monotonic() < until and not stop():
                time.sleep(0.1)


class _Camera(Source):
    def read(self, first: int = 0, stop: Callable[[], bool] = lambda: False) -> Iterator[Frame]:
        cv2 = package("cv2")
        with contextlib.suppress(AttributeError):
            cv2.setLogLevel(0)
        camera = cv2.VideoCapture(int(self.name))
        begin = self.start = time.time()
        number = 0
        try:
            while not stop():
                there, image = camera.read() if camera.isOpened() else (False, None)
                if not there:
                    if not number:
                        raise ResightError(
                            f"Camera {self.name} gives no frame: check its number, and that no other program uses it."
                        )
                    self.note = f"Camera {self.name} stopped giving frames."
                    return
                assert image is not None
                upright = np.ascontiguousarray(image[:, :, ::-1])
                yield Frame(number, time.time() - begin, upright.shape[1], upright.shape[0], partial(_same, upright))
                number += 1
        finally:
            camera.release()


def describe_time(seconds: float) -> str:
    """A time as ``2026-11-23 08:00:00``, in UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
