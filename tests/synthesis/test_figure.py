"""The rendered figure: what is seen from which side."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from resight.synthesis import World, world_config
from resight.synthesis.cameras import Camera, add_prop
from resight.synthesis.figure import add_person
from resight.synthesis.parts import Parts, pack
from resight.synthesis.people import NONE, Person
from resight.synthesis.render import Box, Shot, heading_for, relative_direction, render_shot
from resight.synthesis.skeleton import Pose
from resight.synthesis.slots import CONE, PART_MATERIAL, PART_ORIGIN, PART_SCALE, PART_SHAPE, PART_START_RADIUS

CONFIG = world_config("easy", identities=4, crops=40, clutter=0, noise=0, blur=0, motion_blur=0, resolution=1)
WORLD = World(CONFIG)
CAMERA: Camera = WORLD.cameras[0]
PLAIN: Person = replace(
    WORLD.people[0], backpack=NONE, bag=NONE, hat=NONE, hood=NONE, logo=NONE, jacket=NONE, upper_pattern="plain",
    hair_style="short", sleeves="long", lower="trousers", upper_length="waist", upper_colour="#b9bbbf",
)  # fmt: skip


def picture(person: Person, direction: float, **changes: object) -> np.ndarray:
    """A crop of somebody walking in a direction relative to the camera."""
    pose = Pose(0.5, 7.0, heading_for(direction, 0.5, 7.0), phase=1.2)
    image, _ = render_shot(replace(Shot(person, pose), **changes), CAMERA, CONFIG)
    assert image is not None
    return image.astype(float)


def test_direction_is_what_was_asked_for() -> None:
    for direction in (-170.0, -90.0, 0.0, 35.0, 180.0):
        pose = Pose(-1.5, 8.0, heading_for(direction, -1.5, 8.0))
        assert abs((relative_direction(pose) - direction + 180) % 360 - 180) < 1e-9


def test_a_backpack_is_seen_from_behind() -> None:
    loaded = replace(PLAIN, backpack="#bf2430")
    front = np.abs(picture(loaded, 0) - picture(PLAIN, 0))
    back = np.abs(picture(loaded, 180) - picture(PLAIN, 180))
    assert back.mean() > 2 * front.mean() > 0
    red = picture(loaded, 180)
    assert ((red[..., 0] > 1.6 * red[..., 1]) & (red[..., 0] > 60))[30:60].mean() > 0.05


def test_a_logo_is_seen_from_the_front_only() -> None:
    printed = replace(PLAIN, logo="#2856b0")
    assert np.abs(picture(printed, 0) - picture(PLAIN, 0)).max() > 40
    assert (picture(printed, 180) == picture(PLAIN, 180)).all()


def test_an_open_jacket_shows_the_shirt_in_front_only() -> None:
    jacket = replace(PLAIN, jacket="open", shirt_colour="#ecebe7", upper_colour="#17171a")
    other = replace(jacket, shirt_colour="#bf2430")
    assert np.abs(picture(jacket, 0) - picture(other, 0)).mean() > 1
    assert (picture(jacket, 180) == picture(other, 180)).all()


def test_face_and_hair() -> None:
    person = replace(PLAIN, skin="#ecc0a0", hair="#15110f")
    front, back = picture(person, 0), picture(person, 180)
    head = slice(4, 22)
    assert front[head, 24:40].mean() > back[head, 24:40].mean() + 8


@pytest.mark.parametrize(
    "change",
    [
        {"hair_style": "long"},
        {"hair_style": "tied"},
        {"hair_style": "bald"},
        {"hat": "cap"},
        {"hat": "beanie"},
        {"hat": "brim"},
        {"hood": "up"},
        {"hood": "down"},
        {"sleeves": "short"},
        {"lower": "shorts"},
        {"lower": "skirt"},
        {"lower": "dress"},
        {"lower_fit": "wide"},
        {"lower_pattern": "checks"},
        {"boots": "yes", "shoes": "#bf2430"},
        {"upper_length": "thigh"},
        {"upper_pattern": "hstripes"},
        {"upper_pattern": "vstripes"},
        {"upper_pattern": "dots"},
        {"upper_pattern": "two-tone"},
        {"bag": "left"},
        {"girth": 1.3},
    ],
    ids=str,
)
def test_every_attribute_can_be_seen(change: dict) -> None:
    person = replace(PLAIN, upper_second="#2f7d45", bag_colour="#bf2430", hat_colour="#bf2430", lower_colour="#1d2745")
    seen = max(np.abs(picture(replace(person, **change), d) - picture(person, d)).mean() for d in (-90, 20, 160))
    assert seen > 0.5


def test_feet_touch_the_ground_in_every_phase() -> None:
    for phase in np.linspace(0, 2 * np.pi, 12):
        parts = Parts()
        add_person(parts, PLAIN, Pose(phase=float(phase)))
        packed, _ = pack(parts)
        cones = packed[packed[:, PART_SHAPE] == CONE]
        heights = cones[:, PART_ORIGIN + 2]
        low = min((heights - cones[:, PART_START_RADIUS] * cones[:, PART_SCALE + 1]).min(), heights.min())
        assert -0.05 < low < 0.1


def test_legs_swing_against_the_arms() -> None:
    joints = add_person(Parts(), PLAIN, Pose(heading=90.0, phase=0.0))
    assert joints.right_ankle[1] > joints.left_ankle[1] + 0.4
    assert joints.right_wrist[1] < joints.left_wrist[1]
    assert 1.4 < joints.head[2] < 2.0


def test_visible_share() -> None:
    pose = Pose(0.0, 7.0, heading_for(0, 0.0, 7.0))
    _, whole = render_shot(Shot(PLAIN, pose), CAMERA, CONFIG, draw=False)
    _, half = render_shot(Shot(PLAIN, pose, box=Box(down=-0.5)), CAMERA, CONFIG, draw=False)
    hidden = Shot(PLAIN, pose, occluder="pillar", occluder_at=(0.0, 6.2))
    picture, covered = render_shot(hidden, CAMERA, CONFIG)
    assert whole > 0.97
    assert 0.2 < half < 0.7
    assert picture is not None
    assert 0.1 < covered < 0.85


def test_every_prop_is_drawn() -> None:
    for kind in ("pillar", "bollard", "bench", "car", "bin", "planter", "tree", "cupboard"):
        parts, shadows = Parts(), []
        add_prop(parts, shadows, kind, 0.0, 5.0, np.random.default_rng(0))
        packed, materials = pack(parts)
        assert len(packed)
        assert np.isfinite(packed).all()
        assert packed[:, PART_MATERIAL].max() < len(materials)
        assert shadows
