"""Draw the pictures of docs/synthetic.md again.

python docs/make_synthetic_pictures.py
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from resight.crops.sheets import contact_sheet
from resight.synthesis import LEVELS, World, video_config, world_config
from resight.synthesis.cameras import Camera
from resight.synthesis.people import Person
from resight.synthesis.render import Shot, heading_for, render_shot
from resight.synthesis.skeleton import Pose
from resight.synthesis.video import Film

FOLDER = Path(__file__).parent / "images"
#: A calm world for pictures of people rather than of cameras.
CALM = world_config(
    "easy", identities=60, cameras=6, crops=1200, clutter=0.1, noise=0, blur=0, motion_blur=0, resolution=1
)
WORLD = World(CALM)


def portrait(person: Person, direction: float, camera: Camera | None = None, phase: float = 1.0) -> np.ndarray:
    """A person walking in a direction, in the calm world."""
    camera = camera or WORLD.cameras[1]
    pose = Pose(0.3, 7.0, heading_for(direction, 0.3, 7.0), phase)
    image, _ = render_shot(Shot(person, pose), camera, CALM)
    assert image is not None
    return image


def save(sheet: Image.Image, name: str) -> None:
    """Write a sheet with 256 colours of its own, fitted to it: a third of the size, hardly to be told apart."""
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / f"synthetic-{name}.png"
    sheet.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=6, dither=Image.Dither.NONE).save(file, optimize=True)
    print(f"{file.relative_to(FOLDER.parents[1])}: {sheet.width}×{sheet.height}, {file.stat().st_size / 1024:.0f} KiB")


def attributes() -> None:
    """People from in front, from the side and from behind."""
    people = [WORLD.people[i] for i in (0, 1, 2, 3, 5, 6, 8, 9, 11, 15, 18, 20)]
    rows = [[portrait(person, d, phase=0.8 * k) for k, person in enumerate(people)] for d in (15.0, 100.0, 190.0)]
    save(contact_sheet(rows, titles=["front", "side", "back"], scale=1.25, gap=3), "people")


def views() -> None:
    """One identity from all sides, and then as its cameras saw it."""
    loaded = [p for p in WORLD.people if p.backpack != "none" and p.jacket == "open"]
    person = replace(loaded[0], hat="cap")
    turns = list(range(0, 360, 36))
    top = [portrait(person, turn, phase=0.6 * k) for k, turn in enumerate(turns)]
    save(contact_sheet([top], captions=[[f"{turn}°" for turn in turns]], scale=1.25, gap=3), "directions")


def siblings() -> None:
    """Pairs that differ in one attribute."""
    world = World(world_config("medium", identities=200, siblings=0.4))
    pairs: dict[str, tuple[Person, Person]] = {}
    for i, (parent, changed) in enumerate(world.siblings):
        if parent and changed not in pairs:
            pairs[changed] = (world.people[parent - 1], world.people[i])
    names = sorted(pairs)[:9]
    rows = [
        [portrait(pairs[name][side], d) for name in names] for side, d in ((0, 30.0), (1, 30.0), (0, 200.0), (1, 200.0))
    ]
    captions = [[None] * len(names)] * 3 + [[name.replace("_", " ") for name in names]]
    titles = ["first, front", "second, front", "first, back", "second, back"]
    save(contact_sheet(rows, titles=titles, captions=captions, scale=1.25, gap=3), "siblings")


def cameras() -> None:
    """The same person in the same pose in every camera of a medium world."""
    config = world_config("medium", cameras=10)
    world = World(config)
    rows = []
    for person, direction in ((world.people[4], 20.0), (world.people[7], 160.0)):
        row = []
        for camera in world.cameras:
            y = 0.5 * (camera.near + camera.far)
            image, _ = render_shot(Shot(person, Pose(0.8, y, heading_for(direction, 0.8, y), 1.0)), camera, config)
            row.append(image)
        rows.append(row)
    captions = [[None] * 10, [f"camera {camera.number}" for camera in world.cameras]]
    save(contact_sheet(rows, captions=captions, scale=1.25, gap=3), "cameras")


def levels() -> None:
    """The first crops of some identities on each level."""
    rows = []
    for level in LEVELS:
        config = world_config(level)
        world = World(config)
        row: list[np.ndarray | None] = []
        for figure in (13, 16, 30):
            visits = [c.visit for c in world.crops if c.visit.figure == figure]
            firsts = {visit.camera: visit for visit in sorted(visits, key=lambda v: (-v.track, -v.frame))}
            chosen = sorted(visits, key=lambda visit: firsts[visit.camera] != visit)[:4]
            row += [world.render(visit)[1] for visit in chosen]
        rows.append(row)
    save(contact_sheet(rows, titles=list(LEVELS), scale=1.25, gap=3), "levels")


def track() -> None:
    """Two tracks of one identity in one camera."""
    config = world_config("medium", identities=20, crops=2000, track_length=8, frame_gap=0.25)
    world = World(config)
    rows = []
    for number in (0, 1):
        visits = [c.visit for c in world.crops if c.visit.figure == 11 and c.visit.track == number]
        camera = visits[0].camera
        visits = sorted((v for v in visits if v.camera == camera), key=lambda v: v.frame)
        rows.append([world.render(visit)[1] for visit in visits])
    save(contact_sheet(rows, titles=["a track", "another"], scale=1.25, gap=3), "tracks")


def clothes() -> None:
    """A change of clothes."""
    people = [4, 9, 13, 17]
    first = [portrait(WORLD.person(f, s), d) for f in people for s, d in ((0, 20.0), (0, 200.0))]
    second = [portrait(WORLD.person(f, s), d) for f in people for s, d in ((1, 20.0), (1, 200.0))]
    save(contact_sheet([first, second], titles=["before", "after"], scale=1.25, gap=3), "clothes")


def video() -> None:
    """Four cameras at the same moment, with the true boxes."""
    film = Film(video_config(seed=7, frame_width=480, frame_height=270))
    sheet = Image.new("RGB", (964, 544), "white")
    for place in range(4):
        picture, seen = next(film.frames(place + 1, 1, range(250, 251)))
        assert picture is not None
        frame = Image.fromarray(picture)
        for walk, one in seen:
            left, top, right, bottom = one.box
            ImageDraw.Draw(frame).rectangle((left, top, right - 1, bottom - 1), outline="white")
            ImageDraw.Draw(frame).text((left + 3, top + 1), str(walk.figure), fill="white")
        sheet.paste(frame, (484 * (place % 2), 274 * (place // 2)))
    save(sheet, "video")


if __name__ == "__main__":
    for draw in (attributes, views, siblings, cameras, levels, track, clothes, video):
        draw()
