"""A whole synthetic data set: who is seen where and when, and its files in the layout of Market-1501."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from resight.common.checks import as_path, instance
from resight.common.files import write_aside
from resight.common.identities import DISTRACTOR, JUNK
from resight.common.threads import map_ordered
from resight.common.version import __version__
from resight.crops.images import bytes_digest
from resight.crops.readers.files import list_images
from resight.crops.readers.tabular import read_parquet
from resight.crops.table import GALLERY, QUERY, TRAIN, CropTable
from resight.errors import ResightError
from resight.synthesis.cameras import OCCLUDERS, Camera, make_camera
from resight.synthesis.config import WorldConfig, read_settings, world_config
from resight.synthesis.people import (
    ATTRIBUTES,
    NONE,
    Person,
    change_clothes,
    draw_person,
    draw_sibling,
)
from resight.synthesis.render import Box, Shot, heading_for, relative_direction, render_shot, step_phase
from resight.synthesis.skeleton import Pose

#: Raised when the same settings begin to give other pictures, so that no folder mixes old and new ones.
GENERATION = 1
FRAMES_PER_SECOND = 25
WORLD_FILE, TABLE_FILE = "world.json", "crops.parquet"
#: A thing that leaves less of a person visible is removed.
_LEAST_VISIBLE = 0.3
_FOLDERS = {TRAIN: "bounding_box_train", QUERY: "query", GALLERY: "bounding_box_test"}
# Purposes of random generators. A generator is made of the seed, a purpose and an index, so its numbers do not depend
# on the order of the work.
_PERSON, _SIBLING, _WARDROBE, _CAMERA, _COVER, _TRIP, _TRACK, _FRAME, _STRANGER, _JUNK, _QUERY, _NOISE = range(12)

Progress = Callable[[str, int, int], None]


class Visit(NamedTuple):
    """One crop in the plan of a world.

    Attributes:
        kind: ``person``, ``distractor`` or ``junk``.
        figure: Number of the person: identities from 1, strangers after them; 0 for junk.
        camera: Number of the camera, from 1.
        track: Index of the track of this figure in this camera, from 0.
        frame: Index of the crop in the track, from 0.
        length: Number of crops in the track.
        clothes: Index of the set of clothes, from 0.
        time: Number of the frame, at ``FRAMES_PER_SECOND``.
    """

    kind: str
    figure: int
    camera: int
    track: int
    frame: int
    length: int
    clothes: int
    time: int


class Crop(NamedTuple):
    """One crop of the data set.

    Attributes:
        visit: What it shows.
        split: ``train``, ``query`` or ``gallery``.
        identity: Recorded identity, which label noise may have changed.
        track: Number of the track in the whole data set, from 1.
        path: Path of its file relative to the world's folder.
    """

    visit: Visit
    split: str
    identity: int
    track: int
    path: str


@dataclass(frozen=True)
class Made:
    """What :func:`write_world` did.

    Attributes:
        table: The crops.
        drawn: Number of crops rendered by this call.
        found: Number of crops that were there before.
    """

    table: CropTable
    drawn: int
    found: int


class World:
    """The people, cameras and crops of a world. Only :meth:`render` renders anything.

    Args:
        config: Settings.

    Attributes:
        config: Settings.
        cameras: The cameras; number ``c`` is at index ``c - 1``.
        people: The identities in their first set of clothes; number ``i`` is at index ``i - 1``.
        siblings: For each identity the number of the one it copies and the attribute that differs, or ``(0, "")``.
    """

    def __init__(self, config: WorldConfig) -> None:
        self.config = config
        self.cameras = [make_camera(config, c, self._rng(_CAMERA, c)) for c in range(1, config.cameras + 1)]
        self.people: list[Person] = []
        self.siblings: list[tuple[int, str]] = []
        for i in range(config.identities):
            person, parent, changed = draw_person(self._rng(_PERSON, i)), 0, ""
            rng = self._rng(_SIBLING, i)
            # drawn for everybody, so that changing the share of siblings does not change the other people
            if rng.random() < config.siblings and i:
                parent = int(rng.integers(i)) + 1
                person, changed = draw_sibling(rng, self.people[parent - 1])
            self.people.append(person)
            self.siblings.append((parent, changed))

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, *key])

    @property
    def train_identities(self) -> int:
        """Number of identities for training; they are the first ones."""
        return min(round(self.config.identities * self.config.train_share), self.config.identities - 1)

    def person(self, figure: int, clothes: int = 0) -> Person:
        """The looks of a figure.

        Args:
            figure: Number of the figure, from 1.
            clothes: Index of the set of clothes, from 0.
        """
        if figure <= len(self.people):
            person = self.people[figure - 1]
            return person if clothes == 0 else change_clothes(self._rng(_WARDROBE, figure), person)
        return draw_person(self._rng(_STRANGER, figure - len(self.people)))

    @cached_property
    def crops(self) -> list[Crop]:
        """All crops, sorted by path."""
        visits = [*self._people_visits(), *self._stranger_visits(), *self._junk_visits()]
        splits = self._splits(visits)
        recorded = self._recorded(visits, splits)
        tracks: dict[tuple[str, int, int, int], int] = {}
        taken: set[str] = set()
        crops = []
        for visit, split, identity in zip(visits, splits, recorded, strict=True):
            track = tracks.setdefault((visit.kind, visit.figure, visit.camera, visit.track), len(tracks) + 1)
            box = 1
            while True:
                person = "-1" if identity == JUNK else f"{identity:04d}"
                name = f"{person}_c{visit.camera}s1_{visit.time:06d}_{box:02d}.jpg"
                if name not in taken:
                    break
                box += 1
            taken.add(name)
            crops.append(Crop(visit, split, identity, track, f"{_FOLDERS[split]}/{name}"))
        return sorted(crops, key=lambda crop: crop.path)

    def _people_visits(self) -> Iterator[Visit]:
        config = self.config
        people = config.crops - round(config.crops * config.distractors) - round(config.crops * config.junk)
        day = 60.0 * max(10, config.identities // 3)
        for i in range(config.identities):
            number = people // config.identities + (i < people % config.identities)
            cover = self._rng(_COVER, i)
            luck = cover.random(config.cameras)
            seen = luck < config.coverage
            seen[np.argsort(luck)[:2]] = True
            # the person walks along the cameras, starting at a random one, in a random direction
            order = np.roll(np.arange(config.cameras), -int(cover.integers(config.cameras)))
            order = order[:: 1 if cover.random() < 0.5 else -1]
            order = order[seen[order]][:number]
            changes = cover.random() < config.clothes_change
            counts = number // len(order) + (np.arange(len(order)) < number % len(order))
            trips = -(-int(counts.max()) // config.track_length)
            for trip in range(trips):
                rng = self._rng(_TRIP, i, trip)
                clock = (trip + 0.8 * rng.random()) * day / trips
                for place, camera in enumerate(order):
                    clock += rng.uniform(15, 60)
                    left = int(counts[place]) - trip * config.track_length
                    length = min(config.track_length, left)
                    for frame in range(length):
                        time = round(FRAMES_PER_SECOND * (clock + frame * config.frame_gap))
                        clothes = (trip + place) % 2 if changes else 0
                        yield Visit("person", i + 1, int(camera) + 1, trip, frame, length, clothes, time)

    def _stranger_visits(self) -> Iterator[Visit]:
        config = self.config
        left = round(config.crops * config.distractors)
        number = 0
        while left > 0:
            number += 1
            rng = self._rng(_STRANGER, number, 1)
            camera = int(rng.integers(config.cameras)) + 1
            clock = 60.0 * max(10, config.identities // 3) * rng.random()
            length = min(left, int(rng.integers(1, 3)))
            for frame in range(length):
                time = round(FRAMES_PER_SECOND * (clock + frame * config.frame_gap))
                yield Visit("distractor", config.identities + number, camera, 0, frame, length, 0, time)
            left -= length

    def _junk_visits(self) -> Iterator[Visit]:
        config = self.config
        for number in range(round(config.crops * config.junk)):
            rng = self._rng(_JUNK, number)
            camera = int(rng.integers(config.cameras)) + 1
            time = round(FRAMES_PER_SECOND * 60.0 * max(10, config.identities // 3) * rng.random())
            yield Visit("junk", 0, camera, number, 0, 1, 0, time)

    def _splits(self, visits: list[Visit]) -> list[str]:
        """The split of each visit.

        Crops of test identities are gallery, except one query per identity and camera, where the camera has another
        crop for the gallery. An identity without such a camera gets one query.
        """
        splits = [TRAIN if v.kind == "person" and v.figure <= self.train_identities else GALLERY for v in visits]
        groups: dict[int, dict[int, list[int]]] = {}
        for row, visit in enumerate(visits):
            if visit.kind == "person" and splits[row] == GALLERY:
                groups.setdefault(visit.figure, {}).setdefault(visit.camera, []).append(row)
        for figure, cameras in groups.items():
            queries = [
                rows[int(self._rng(_QUERY, figure, camera).integers(len(rows)))]
                for camera, rows in cameras.items()
                if len(rows) > 1
            ]
            for row in queries or [next(iter(cameras.values()))[0]]:
                splits[row] = QUERY
        return splits

    def _recorded(self, visits: list[Visit], splits: list[str]) -> list[int]:
        """The recorded identity of each visit, with label noise."""
        numbers = {"distractor": DISTRACTOR, "junk": JUNK}
        identities = [numbers.get(visit.kind, visit.figure) for visit in visits]
        training = np.array([row for row, split in enumerate(splits) if split == TRAIN], dtype=np.int64)
        wrong = round(self.config.label_noise * len(training))
        if wrong and self.train_identities > 1:
            rng = self._rng(_NOISE)
            for row in rng.permutation(training)[:wrong]:
                other = int(rng.integers(1, self.train_identities))
                identities[row] = other + (other >= identities[row])
        return identities

    def camera(self, visit: Visit) -> Camera:
        """The camera that takes a visit."""
        return self.cameras[visit.camera - 1]

    def shot(self, visit: Visit) -> Shot:
        """What the crop of a visit shows."""
        if visit.kind == "junk":
            return self._junk_shot(visit)
        config, camera = self.config, self.camera(visit)
        person = self.person(visit.figure, visit.clothes)
        rng = self._rng(_TRACK, visit.figure, visit.camera, visit.track)
        walking = rng.random() >= config.standing
        turned = rng.random() < config.reverse
        direction = camera.direction + (180.0 if turned else 0.0) + config.direction_spread * rng.normal()
        y = rng.uniform(camera.near, camera.far)
        x = y * 0.3 * rng.uniform(-1, 1)
        heading = heading_for(direction, x, y)
        speed = rng.uniform(1.1, 1.6) if walking else 0.0
        phase = rng.uniform(0, 2 * np.pi)
        carry = str(rng.choice((NONE, "phone", "hold"), p=(0.88, 0.09, 0.03)))
        gaze = rng.normal() * 14
        exposure = config.flicker * rng.normal()
        # x and y are the middle of the track
        metres = speed * config.frame_gap * (visit.frame - (visit.length - 1) / 2)
        ahead = np.cos(np.radians(heading)), np.sin(np.radians(heading))
        pose = Pose(
            x + metres * ahead[0],
            y + metres * ahead[1],
            heading,
            step_phase(phase, metres, person),
            walking,
            carry,
            gaze,
        )
        occluder, occluder_at, occluder_seed = NONE, (0.0, 0.0), 0
        covered, together, cut = rng.random(3) < (config.occlusion, config.crowd, config.cut_off)
        if covered:
            occluder = str(rng.choice(OCCLUDERS))
            closer, side = rng.uniform(0.7, 1.2), rng.uniform(-1, 1)
            occluder_at = (x * (1 - closer / y) + side * (0.3 if occluder != "car" else 0.8), y - closer)
            occluder_seed = int(rng.integers(2**31))
        else:
            rng.random(4)
        companion = self._companion(visit, rng, pose, (x, y), metres) if together else None
        track_box = rng.normal(size=3) * config.misalignment * 0.7
        shift, where, shrink = ((rng.random(3) * 2 - 1) if cut else np.zeros(3)).tolist()
        cuts_side = abs(where) < 0.4  # otherwise the legs
        frame = self._rng(_FRAME, visit.figure, visit.camera, visit.track, visit.frame)
        right, down, scale = (track_box + frame.normal(size=3) * config.misalignment * 0.5).tolist()
        box = Box(
            right=right + 0.3 * shift * cuts_side,
            down=down - 0.3 * abs(shift) * (not cuts_side),
            scale=float(np.exp(scale)) * (1.0 - 0.25 * abs(shrink)),
        )
        return Shot(
            person,
            pose,
            companion,
            occluder,
            occluder_at,
            occluder_seed,
            box,
            float(exposure),
            int(frame.integers(2**31)),
        )

    def render(self, visit: Visit, *, draw: bool = True) -> tuple[Shot, np.ndarray | None, float]:
        """Renders the crop of a visit.

        A thing in front of the person is removed if it leaves less than 30 % of the person visible.

        Args:
            visit: The visit.
            draw: Whether the picture is wanted.

        Returns:
            What the crop shows; the picture as ``(height, width, 3)`` uint8, or ``None`` without ``draw``; and the
            visible share of the person, 0 to 1.
        """
        shot, camera = self.shot(visit), self.camera(visit)
        if shot.occluder != NONE and render_shot(shot, camera, self.config, draw=False)[1] < _LEAST_VISIBLE:
            shot = replace(shot, occluder=NONE)
        picture, visible = render_shot(shot, camera, self.config, draw=draw)
        return shot, picture, visible

    def _companion(
        self, visit: Visit, rng: np.random.Generator, pose: Pose, middle: tuple[float, float], metres: float
    ) -> tuple[Person, Pose]:
        """Another person next to, behind or in front of the person, and their pose."""
        other = draw_person(np.random.default_rng(int(rng.integers(2**31))))
        side = (1 if rng.random() < 0.5 else -1) * rng.uniform(0.42, 0.85)
        nearer = rng.uniform(-0.9, 0.7)
        same = rng.random() < 0.6
        heading = pose.heading + (rng.normal() * 8 if same else 180 + rng.normal() * 30)
        along = np.radians(heading)
        phase = step_phase(rng.uniform(0, 2 * np.pi), metres, other)
        x = middle[0] + side + metres * np.cos(along)
        y = middle[1] - nearer + metres * np.sin(along)
        return other, Pose(float(x), float(y), float(heading), phase, pose.walking)

    def _junk_shot(self, visit: Visit) -> Shot:
        """A badly placed box: background only, a part of a person, or a person who is half outside."""
        rng = self._rng(_JUNK, visit.track, 1)
        camera = self.camera(visit)
        y = rng.uniform(camera.near, camera.far)
        x = y * 0.45 * rng.uniform(-1, 1)
        pose = Pose(x, y, float(rng.uniform(0, 360)), float(rng.uniform(0, 6)), carry=NONE)
        person = draw_person(rng)
        kind = rng.random()
        seed = int(rng.integers(2**31))
        if kind < 0.4:
            return Shot(None, pose, noise_seed=seed, box=Box(scale=float(rng.uniform(0.8, 1.6))))
        if kind < 0.7:
            down = float(rng.uniform(-0.35, 0.35))
            return Shot(person, pose, noise_seed=seed, box=Box(float(rng.uniform(-0.2, 0.2)), down, 0.35))
        side = float(rng.choice((-1, 1)) * rng.uniform(0.55, 0.75))
        return Shot(
            person, pose, noise_seed=seed, box=Box(side, float(rng.uniform(-0.3, 0.3)), float(rng.uniform(0.8, 1.5)))
        )

    def truth(self, crop: Crop, shot: Shot, visible: float) -> dict[str, Any]:
        """One row of the truth table, by column.

        Args:
            crop: The crop.
            shot: What it shows, from :meth:`render`.
            visible: Visible share of the person, from :meth:`render`.
        """
        visit = crop.visit
        person = {} if visit.kind == "junk" or shot.person is None else shot.person.attributes()
        known = visit.kind == "person"
        parent, changed = self.siblings[visit.figure - 1] if known else (0, "")
        return {
            "path": crop.path,
            "camera": visit.camera,
            "identity": crop.identity,
            "time": float(visit.time),
            "track": crop.track,
            "split": crop.split,
            "kind": visit.kind,
            "true_identity": visit.figure if known else crop.identity,
            "figure": visit.figure,
            "sibling_of": parent or None,
            "sibling_change": changed or None,
            "clothes": visit.clothes,
            "frame_in_track": visit.frame,
            "direction": round(relative_direction(shot.pose), 1) if person else None,
            "phase": round(shot.pose.phase, 3) if person else None,
            "walking": shot.pose.walking if person else None,
            "carry": shot.pose.carry if person else None,
            "visible": visible if person else None,
            "occluder": shot.occluder if person else None,
            "companion": shot.companion is not None,
            **{name: person.get(name) for name in ATTRIBUTES},
            **self.camera(visit).attributes(),
        }


def synthetic(
    out: str | Path,
    identities: int = 200,
    cameras: int = 6,
    crops: int = 4000,
    seed: int = 0,
    level: str = "medium",
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    **knobs: Any,
) -> CropTable:
    """Makes a data set of people who do not exist.

    The folder gets the crops in the layout of Market-1501, ``crops.parquet`` with the truth about each crop, and
    ``world.json`` with the settings. The same settings give the same bytes for any number of threads. If the folder
    already holds this world, it is only read; crops that are missing are rendered.

    Args:
        out: The folder: new, empty, or made by these settings before.
        identities: Number of identities, training and test together.
        cameras: Number of cameras.
        crops: Number of crops, including distractors and junk.
        seed: Seed of all random numbers.
        level: ``easy``, ``medium`` or ``hard``: how difficult it is to recognise people.
        threads: Number of threads; by default numba's.
        progress: Called as ``progress(what, done, total)``.
        **knobs: Any other field of :class:`~resight.synthesis.config.WorldConfig`.

    Returns:
        The crop table with camera, recorded identity, time, track and split.

    Raises:
        ResightError: A setting is impossible, or the folder holds something else.
    """
    config = world_config(level, identities=identities, cameras=cameras, crops=crops, seed=seed, **knobs)
    return write_world(out, config, threads=threads, progress=progress).table


def write_world(
    out: str | Path, config: WorldConfig, *, threads: int | None = None, progress: Progress | None = None
) -> Made:
    """Writes the data set of some settings, or what is missing of it.

    Args:
        out: The folder: new, empty, or made by these settings before.
        config: Settings.
        threads: Number of threads; by default numba's.
        progress: Called as ``progress(what, done, total)``.

    Raises:
        ResightError: ``threads`` is less than 1, or the folder holds something else.
    """
    out = as_path("The folder of the world", out)
    known = _claim(out, instance("config", config, WorldConfig, "world_config makes one"))
    if threads is not None and threads < 1:
        raise ResightError(f"Rendering needs at least one thread, but threads={threads}.")
    world = World(config)
    crops = world.crops
    there = {f"{name}/{image}" for name in _FOLDERS.values() for image in list_images(out / name)}
    if foreign := sorted(there - {crop.path for crop in crops}):
        raise ResightError(
            f"{out} holds {len(foreign)} images that are not of this world, the first being '{foreign[0]}': take them "
            "out, or choose another folder."
        )
    missing = len(crops) - len(there)
    if known.get("finished") and not missing and (out / TABLE_FILE).is_file():
        return Made(_read(out), 0, len(crops))

    def work(crop: Crop) -> tuple[dict[str, Any], str]:
        file = out / crop.path
        shot, picture, visible = world.render(crop.visit, draw=crop.path not in there)
        if picture is None:
            data = file.read_bytes()
        else:
            data = _jpeg(picture, world.camera(crop.visit).jpeg_quality)
            # waiting for the disk would take about as long as rendering
            write_aside(file, lambda aside: aside.write_bytes(data), sync=False)
        return world.truth(crop, shot, visible), bytes_digest(data)

    digest = hashlib.blake2b(digest_size=16)
    rows = []
    if threads is None:
        import numba

        threads = numba.get_num_threads()
    results = map_ordered(work, crops, threads)
    for done, (crop, (row, content)) in enumerate(zip(crops, results, strict=True), start=1):
        digest.update(f"{crop.path}\0{content}\n".encode())
        rows.append(row)
        if progress is not None and (done % 16 == 0 or done == len(crops)):
            progress("rendering", done, len(crops))
    _write_table(rows, out / TABLE_FILE)
    _write_settings(out, config, {"finished": True, "crops_digest": digest.hexdigest()})
    return Made(_read(out), missing, len(there))


def _claim(out: Path, config: WorldConfig) -> dict[str, Any]:
    """Makes a folder for a world, or checks that the folder is one of these settings; returns its ``world.json``."""
    if out.exists() and not out.is_dir():
        raise ResightError(f"{out} is a file: give a folder for the synthetic crops.")
    file = out / WORLD_FILE
    if not file.is_file():
        if out.is_dir() and any(out.iterdir()):
            raise ResightError(
                f"{out} is not empty and holds no {WORLD_FILE}, so it is not a synthetic world: choose a new folder."
            )
        out.mkdir(parents=True, exist_ok=True)
        _write_settings(out, config, {"finished": False})  # first, so that the folder is recognised from here on
        for name in _FOLDERS.values():
            (out / name).mkdir()
        return {}
    known = read_settings(file, config.model_dump(), GENERATION, kind="crops", holds="a world")
    for name in _FOLDERS.values():
        (out / name).mkdir(exist_ok=True)
    return known


def _write_settings(out: Path, config: WorldConfig, state: dict[str, Any]) -> None:
    settings = config.model_dump()
    name = hashlib.blake2b(json.dumps([GENERATION, settings], sort_keys=True).encode(), digest_size=16).hexdigest()
    facts = {"generation": GENERATION, "resight": __version__, "seed": config.seed, "settings_digest": name}
    text = json.dumps({**facts, **state, "settings": settings}, indent=2) + "\n"
    write_aside(out / WORLD_FILE, lambda aside: aside.write_bytes(text.encode()))


def _write_table(rows: list[dict[str, Any]], file: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist(rows)
    write_aside(file, lambda aside: pyarrow.parquet.write_table(table, aside))


def _read(out: Path) -> CropTable:
    return replace(read_parquet(out / TABLE_FILE), source="synthetic")


def _jpeg(picture: np.ndarray, quality: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
