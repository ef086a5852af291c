"""Videos of a synthetic world: several people in front of several cameras at the same time, with the truth."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, ValidationError, field_validator

from resight.common.checks import as_path, instance
from resight.common.files import make_folder, write_aside
from resight.common.packages import package
from resight.common.settings import Settings, explain
from resight.common.threads import map_ordered
from resight.common.version import __version__
from resight.errors import ResightError
from resight.synthesis.config import WorldConfig, read_settings, world_config
from resight.synthesis.frames import FrameCamera, Seen
from resight.synthesis.walks import Walk, view_of, walk_through
from resight.synthesis.world import World

#: Raised when the same settings begin to give other videos.
GENERATION = 1
#: What the files say of their first frame.
START = "2026-01-01T08:00:00Z"
VIDEO_FILE = "video.json"
#: Settings of a world that are of its crops, and that its videos do not read.
CROPS_ONLY = (
    "crops", "height", "width", "train_share", "track_length", "frame_gap", "clothes_change", "label_noise",
    "distractors", "junk", "flicker", "motion_blur", "resolution", "jpeg_quality", "crowd", "misalignment", "cut_off",
)  # fmt: skip
# Purposes of random generators, after those of resight.synthesis.world.
_ROUND, _WALK, _FRONT, _NOISE = range(20, 24)

Progress = Callable[[str, int, int], None]


class VideoConfig(Settings):
    """Settings of the videos of a world; :func:`video_config` makes one."""

    world: WorldConfig = Field(description="the world that is filmed")
    seconds: float = Field(60.0, gt=0, le=86_400, description="length of each video")
    fps: float = Field(10.0, gt=0, le=240, description="frames per second")
    frame_width: int = Field(640, ge=64, le=7680, description="width of a frame in pixels, an even number")
    frame_height: int = Field(360, ge=64, le=4320, description="height of a frame in pixels, an even number")

    @field_validator("frame_width", "frame_height")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("it must be an even number")
        return value

    @property
    def frames(self) -> int:
        """Frames of each video."""
        return max(1, round(self.seconds * self.fps))


@dataclass(frozen=True)
class Track:
    """One walk that a camera saw.

    Attributes:
        track: Number of the track, from 1; no other track of any camera has it.
        camera: Name of the camera.
        identity: Number of the person, from 1.
        first: Number of its first frame, from 1.
        last: Number of its last frame.
    """

    track: int
    camera: str
    identity: int
    first: int
    last: int


@dataclass(frozen=True)
class MadeVideos:
    """What :func:`write_videos` did.

    Attributes:
        cameras: Names of the cameras.
        tracks: The true tracks, by camera and time.
        drawn: Frames rendered by this call.
    """

    cameras: list[str]
    tracks: list[Track]
    drawn: int


def video_config(
    level: str = "medium",
    *,
    identities: int = 20,
    cameras: int = 4,
    seed: int = 0,
    seconds: float = 60.0,
    fps: float = 10.0,
    frame_width: int = 640,
    frame_height: int = 360,
    **knobs: Any,
) -> VideoConfig:
    """Settings of the videos of a world.

    Args:
        level: ``easy``, ``medium`` or ``hard``.
        identities: Number of people.
        cameras: Number of cameras.
        seed: Seed of all random numbers.
        seconds: Length of each video.
        fps: Frames per second.
        frame_width: Width of a frame in pixels, an even number.
        frame_height: Height of a frame in pixels, an even number.
        **knobs: Other fields of :class:`~resight.synthesis.config.WorldConfig` that videos read.

    Raises:
        ResightError: A setting is impossible, or is one of crops alone.
    """
    for name in knobs:
        if name in CROPS_ONLY:
            raise ResightError(f"The setting '{name}' is of crops, and videos do not read it: leave it out.")
    # the number of crops is not read, but a world needs some for each identity
    enough = 4 * identities if isinstance(identities, int) and 0 < identities <= 1_000_000 else 4000
    world = world_config(level, identities=identities, cameras=cameras, seed=seed, crops=max(4000, enough), **knobs)
    try:
        return VideoConfig(world=world, seconds=seconds, fps=fps, frame_width=frame_width, frame_height=frame_height)
    except ValidationError as error:
        raise ResightError("The setting {}{}.".format(*explain(error))) from error


def describe_video_settings() -> list[tuple[str, str, str]]:
    """Name, default and meaning of the settings that only videos have."""
    return [
        (name, str(field.default), field.description or "")
        for name, field in VideoConfig.model_fields.items()
        if name != "world"
    ]


class Film:
    """Who walks through which camera when, and the frames that show it.

    Args:
        config: Settings.

    Attributes:
        world: People and cameras.
        names: Names of the cameras.
    """

    def __init__(self, config: VideoConfig) -> None:
        self.config, self.world = config, World(config.world)
        self.names = [f"c{camera.number}" for camera in self.world.cameras]
        self.walks = list(self._plan())

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.config.world.seed, *key])

    def _plan(self) -> Iterator[Walk]:
        """All walks. Everybody goes round some of the cameras, again and again, with breaks in between."""
        config, cameras = self.config.world, self.world.cameras
        views = [view_of(camera, self.config.frame_width / self.config.frame_height) for camera in cameras]
        for i in range(config.identities):
            rng = self._rng(_ROUND, i)
            luck = rng.random(len(cameras))
            seen = luck < config.coverage
            seen[np.argsort(luck)[:2]] = True
            order = np.roll(np.arange(len(cameras)), -int(rng.integers(len(cameras))))
            order = order[:: 1 if rng.random() < 0.5 else -1]
            order = order[seen[order]]
            clock = -float(rng.uniform(0, 25))
            place = 0
            while clock < self.config.seconds:
                number = int(order[place % len(order)])
                rng = self._rng(_WALK, i, place)
                walk = walk_through(cameras[number], views[number], config, i + 1, clock, rng)
                if walk.end > 0:
                    yield walk
                clock = walk.end + float(rng.uniform(4, 16))
                place += 1

    def of(self, camera: int) -> list[tuple[int, Walk]]:
        """The walks through a camera, by time, each with a number that no other walk at the same time has.

        Args:
            camera: Number of the camera, from 1.
        """
        walks = sorted((walk for walk in self.walks if walk.camera == camera), key=lambda w: (w.begin, w.figure))
        free_from: list[float] = []
        found = []
        for walk in walks:
            number = next((n for n, end in enumerate(free_from) if end < walk.begin), len(free_from))
            free_from[number : number + 1] = [walk.end]
            found.append((number, walk))
        return found

    def frames(
        self, camera: int, threads: int, only: range | None = None, *, draw: bool = True
    ) -> Iterator[tuple[np.ndarray | None, list[tuple[Walk, Seen]]]]:
        """The frames of a camera in order, each with everybody who is in it.

        Args:
            camera: Number of the camera, from 1.
            threads: Threads that render.
            only: Indices of the frames, from 0; all if not given.
            draw: Whether the pictures are wanted.

        Yields:
            ``(height, width, 3)`` uint8, or ``None`` without ``draw``; and the walks that it shows.
        """
        config = self.config
        stage = FrameCamera(
            self.world.cameras[camera - 1],
            config.world,
            config.frame_width,
            config.frame_height,
            self._rng(_FRONT, camera),
        )
        walks = self.of(camera)
        seeds = self._rng(_NOISE, camera).integers(2**31, size=config.frames)

        def render(number: int) -> tuple[np.ndarray | None, list[tuple[Walk, Seen]]]:
            at = number / config.fps
            there = [(slot, walk) for slot, walk in walks if walk.begin <= at <= walk.end]
            people = [(self.world.person(walk.figure), slot, walk) for slot, walk in there]
            picture, seen = stage.render(
                [(person, walk.pose(at, person), slot) for person, slot, walk in people], int(seeds[number]), draw=draw
            )
            return picture, [(there[one.place][1], one) for one in seen]

        yield from map_ordered(render, range(config.frames) if only is None else only, threads)


def write_videos(
    out: str | Path, config: VideoConfig, *, threads: int | None = None, progress: Progress | None = None
) -> MadeVideos:
    """Writes videos of a world with their truth.

    The folder gets, for a camera ``c1``, ``c1/c1.mp4``, ``c1/gt/gt.txt`` (MOTChallenge ground truth with the numbers
    of tracks), ``c1/gt/identities.txt`` (the same with identities, which are the same in all cameras) and
    ``c1/seqinfo.ini``; for all cameras ``tracks.csv``, ``cameras.yaml`` for :func:`resight.ingest.read_feeds`, and
    ``video.json`` with the settings. The same settings give the same bytes for any number of threads. A camera that
    is finished is not made again.

    Args:
        out: The folder: new, empty, or made by these settings before.
        config: Settings.
        threads: Threads that render; by default numba's.
        progress: Called as ``progress(what, done, total)``.

    Raises:
        ResightError: ``threads`` is less than 1, the folder holds something else, or PyAV is not installed.
    """
    out = as_path("The folder of the videos", out)
    package("av")
    instance("config", config, VideoConfig, "video_config makes one")
    if threads is not None and threads < 1:
        raise ResightError(f"Rendering needs at least one thread, but threads={threads}.")
    _claim(out, config)
    if threads is None:
        import numba

        threads = numba.get_num_threads()
    film = Film(config)
    drawn, total = 0, config.frames * len(film.names)
    before = 0
    for number, name in enumerate(film.names, start=1):
        if not (out / name / "gt" / "identities.txt").is_file():

            def done(frame: int, number: int = number) -> None:
                if progress is not None:
                    progress("rendering", (number - 1) * config.frames + frame, total)

            before = _write_camera(out / name, name, film, number, before, threads, done)
            drawn += config.frames
        else:
            before = max([before, *(row[1] for row in _rows(out / name / "gt" / "gt.txt"))])
    tracks = [track for name in film.names for track in _tracks(out / name, name)]
    _write_text(
        out / "tracks.csv",
        "track,camera,identity,first_frame,last_frame\n"
        + "".join(f"{one.track},{one.camera},{one.identity},{one.first},{one.last}\n" for one in tracks),
    )
    crossed = {track.camera for track in tracks}  # a file of boxes without a box is refused
    entries = [
        f"  - {{camera: {name}, source: {name}/{name}.mp4, boxes: {name}/gt/gt.txt}}\n"
        for name in film.names
        if name in crossed
    ]
    _write_text(out / "cameras.yaml", "cameras:\n" + "".join(entries))
    return MadeVideos(film.names, tracks, drawn)


def _write_camera(
    folder: Path, name: str, film: Film, camera: int, before: int, threads: int, done: Callable[[int], None]
) -> int:
    """Writes the files of one camera, that which says that it is finished last.

    Args:
        folder: Folder of the camera.
        name: Its name.
        film: What is shown.
        camera: Number of the camera, from 1.
        before: Largest number that a track of an earlier camera has.
        threads: Threads that render.
        done: Called with the number of frames done.

    Returns:
        Largest number of a track of this camera, or ``before``.
    """
    config = film.config
    make_folder(folder / "gt")
    rows: list[tuple[int, int, int, Seen]] = []
    numbers: dict[int, int] = {}

    def pictures() -> Iterator[np.ndarray]:
        for frame, (picture, seen) in enumerate(film.frames(camera, threads), start=1):
            for walk, one in seen:
                track = numbers.setdefault(id(walk), before + len(numbers) + 1)
                rows.append((frame, track, walk.figure, one))
            assert picture is not None
            yield picture
            if frame % 8 == 0 or frame == config.frames:
                done(frame)

    write_aside(folder / f"{name}.mp4", partial(_encode, pictures=pictures(), config=config))
    _write_text(
        folder / "seqinfo.ini",
        f"[Sequence]\nname={name}\nimDir=img1\nframeRate={config.fps:g}\nseqLength={config.frames}\n"
        f"imWidth={config.frame_width}\nimHeight={config.frame_height}\nimExt=.jpg\n",
    )
    _write_text(folder / "gt" / "gt.txt", _ground_truth((row[0], row[1], row[3]) for row in rows))
    _write_text(folder / "gt" / "identities.txt", _ground_truth((row[0], row[2], row[3]) for row in rows))
    return before + len(numbers)


def _ground_truth(rows: Iterator[tuple[int, int, Seen]]) -> str:
    """MOTChallenge ground truth: frame, id, left, top, width, height, 1 (it counts), 1 (a pedestrian), visibility."""
    lines = []
    for frame, number, one in rows:
        left, top, right, bottom = one.box
        box = f"{left:g},{top:g},{right - left:g},{bottom - top:g}"
        lines.append(f"{frame},{number},{box},1,1,{one.visible:g}\n")
    return "".join(lines)


def _encode(file: Path, *, pictures: Iterator[np.ndarray], config: VideoConfig) -> None:
    av = package("av")
    from fractions import Fraction

    with av.open(str(file), "w", format="mp4", options={"movflags": "faststart"}) as container:
        container.metadata["creation_time"] = START
        stream = container.add_stream("libx264", rate=Fraction(config.fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = config.frame_width, config.frame_height, "yuv420p"
        stream.codec_context.thread_count = 1  # with several the bytes may differ
        stream.options = {"crf": "20", "preset": "veryfast"}
        for picture in pictures:
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def _rows(file: Path) -> list[tuple[int, int]]:
    """Frame and number of every line of a ground truth."""
    cells = [line.split(",", 2) for line in file.read_text(encoding="utf-8").splitlines()]
    return [(int(cell[0]), int(cell[1])) for cell in cells]


def _tracks(folder: Path, name: str) -> list[Track]:
    """The tracks of a camera, as its ground truth has them."""
    frames: dict[int, list[int]] = {}
    identity: dict[int, int] = {}
    both: Sequence[list[tuple[int, int]]] = [_rows(folder / "gt" / file) for file in ("gt.txt", "identities.txt")]
    for (frame, track), (_, figure) in zip(*both, strict=True):
        frames.setdefault(track, []).append(frame)
        identity[track] = figure
    return [Track(track, name, identity[track], min(at), max(at)) for track, at in sorted(frames.items())]


def _claim(out: Path, config: VideoConfig) -> None:
    """Makes a folder for videos, or checks that the folder is one of these settings."""
    settings = {name: value for name, value in config.world.model_dump().items() if name not in CROPS_ONLY}
    settings |= config.model_dump(exclude={"world"})
    if out.exists() and not out.is_dir():
        raise ResightError(f"{out} is a file: give a folder for the synthetic videos.")
    file = out / VIDEO_FILE
    if not file.is_file():
        if out.is_dir() and any(out.iterdir()):
            raise ResightError(
                f"{out} is not empty and holds no {VIDEO_FILE}, so it has no synthetic videos: choose a new folder."
            )
        make_folder(out)
        known = {"generation": GENERATION, "resight": __version__, "settings": settings}
        _write_text(file, json.dumps(known, indent=2) + "\n")
        return
    read_settings(file, settings, GENERATION, kind="videos", holds="videos")


def _write_text(file: Path, text: str) -> None:
    write_aside(file, lambda aside: aside.write_bytes(text.encode()))
