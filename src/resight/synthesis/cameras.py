"""The cameras of a synthetic world: where each stands, what it sees behind people, how it renders colour."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import cos, radians, sin
from typing import Any

import numpy as np

from resight.synthesis.config import WorldConfig
from resight.synthesis.parts import CLOTH, HAIR, LEAVES, PROP, SHOE, Parts

_SCENE_WIDTH = 40
_UP, _AWAY = (0.0, 0.0, 1.0), (0.0, 1.0, 0.0)
#: Kinds of floor and wall by the kernel's number: tiles 1, chequers 2, bricks 3, stripes 4, grass or hedge 5, road or
#: windows 6, worn patches or posters 7.
_FLOORS = (0, 1, 1, 2, 3, 4, 5, 6, 7)
_WALLS = (0, 1, 3, 4, 5, 6, 6, 7)
_FLOOR_COLOURS = (
    ((0.30, 0.29, 0.28), (0.16, 0.16, 0.16)),
    ((0.42, 0.40, 0.36), (0.22, 0.2, 0.18)),
    ((0.17, 0.17, 0.18), (0.5, 0.5, 0.47)),
    ((0.36, 0.30, 0.24), (0.2, 0.15, 0.11)),
    ((0.24, 0.26, 0.29), (0.12, 0.13, 0.15)),
    ((0.5, 0.48, 0.44), (0.33, 0.31, 0.29)),
)
_WALL_COLOURS = (
    ((0.48, 0.46, 0.42), (0.2, 0.2, 0.21)),
    ((0.3, 0.17, 0.12), (0.42, 0.38, 0.34)),
    ((0.36, 0.4, 0.44), (0.06, 0.08, 0.1)),
    ((0.52, 0.45, 0.32), (0.09, 0.09, 0.1)),
    ((0.2, 0.24, 0.27), (0.4, 0.42, 0.4)),
    ((0.55, 0.55, 0.53), (0.3, 0.12, 0.1)),
)
_GREEN = ((0.1, 0.17, 0.05), (0.2, 0.22, 0.07))
_PROP_COLOURS = (
    (0.4, 0.4, 0.4),
    (0.05, 0.05, 0.06),
    (0.35, 0.05, 0.05),
    (0.05, 0.1, 0.3),
    (0.5, 0.5, 0.48),
    (0.08, 0.16, 0.09),
    (0.3, 0.22, 0.12),
    (0.5, 0.35, 0.05),
)
#: What may stand between a camera and a person.
OCCLUDERS = ("pillar", "bollard", "bench", "car", "bin", "planter")


@dataclass(frozen=True)
class Camera:
    """One camera and its view. It stands at the origin of its scene, looking along +y; the ground is z = 0.

    Attributes:
        number: From 1.
        height: Metres above the ground.
        near: Least distance of people along the ground, in metres.
        far: Greatest distance.
        direction: Degrees: the way people mostly walk, 0 towards the camera, 90 to the right of the picture.
        sun: Strength of the light that casts shadows.
        ambient: Strength of the light that does not.
        light: Unit vector towards the light.
        gains: Red, green and blue gain, the exposure not included.
        mixing: 3×3: how much of each colour's light the sensor takes for another.
        exposure: Stops.
        contrast: Exponent of the tone curve; 1 leaves it.
        saturation: Factor.
        blur: σ in pixels of a 128-row crop.
        motion_blur: Smear of somebody who walks across, likewise.
        noise: σ as a share of white.
        resolution: Native height of a crop of somebody at the middle distance, as a share of the crop's rows.
        jpeg_quality: Of the files.
        scene: ``(40,)`` numbers of floor, wall, light and sky for the kernels.
        props: What stands in the scene.
        prop_shadows: Its shadows, as :func:`shade_samples` takes them.
    """

    number: int
    height: float
    near: float
    far: float
    direction: float
    sun: float
    ambient: float
    light: tuple[float, float, float]
    gains: tuple[float, float, float]
    mixing: np.ndarray
    exposure: float
    contrast: float
    saturation: float
    blur: float
    motion_blur: float
    noise: float
    resolution: float
    jpeg_quality: int
    scene: np.ndarray
    props: Parts = field(default_factory=Parts)
    prop_shadows: tuple[tuple[float, ...], ...] = ()

    def attributes(self) -> dict[str, Any]:
        """What the truth table says of a camera, by column."""
        return {
            "camera_height": self.height,
            "camera_direction": self.direction,
            "camera_sun": self.sun,
            "camera_red": self.gains[0],
            "camera_green": self.gains[1],
            "camera_blue": self.gains[2],
            "camera_exposure": self.exposure,
            "camera_contrast": self.contrast,
            "camera_saturation": self.saturation,
            "camera_blur": self.blur,
            "camera_noise": self.noise,
            "camera_resolution": self.resolution,
            "camera_jpeg_quality": self.jpeg_quality,
        }


def make_camera(config: WorldConfig, number: int, rng: np.random.Generator) -> Camera:
    """A camera drawn at random, as unlike the others as the settings allow.

    All numbers are drawn first and scaled by the settings afterwards: with the same generator, two levels give the
    same camera in a milder and a stronger form.
    """
    normal = rng.normal(size=16).clip(-1.8, 1.8)
    uniform = rng.random(24)
    near = 5.0 + 4.0 * uniform[0]
    far = near + 3.0 + 3.0 * uniform[1]
    height = 1.6 + (config.camera_height - 1.6) * uniform[2] if config.camera_height > 1.6 else config.camera_height
    # the golden ratio spreads any number of cameras evenly over the range
    turn = (number * 0.6180339887 + 0.13) % 1.0
    direction = config.direction_range * (2.0 * turn - 1.0)
    outdoor = uniform[3] < 0.6
    azimuth = radians(360.0 * uniform[4])
    elevation = radians(35.0 + 40.0 * uniform[5])
    sunny = 0.5 + config.lighting * ((0.9 if outdoor else 0.45) * (uniform[6] - 0.5) * 1.1)
    sun = float(np.clip(1.25 * sunny, 0.05, 1.3))
    # casts of real lamps run from warm to cool far more than from green to magenta
    warm, both, green = normal[0:3] * (1.0, 0.35, 0.4)
    gains = np.exp(config.colour_cast * np.array([warm + both, green, -warm + both]))
    gains /= gains.mean()
    mixing = np.eye(3) + 0.35 * config.colour_cast * rng.normal(size=(3, 3)).clip(-2, 2)
    mixing /= mixing.sum(axis=1, keepdims=True)
    scene = _scene(config, number, outdoor, far, uniform[8:24], rng)
    light = (cos(azimuth) * cos(elevation), sin(azimuth) * cos(elevation), sin(elevation))
    scene[30:33] = light
    scene[33] = sun
    scene[34] = 1.05 - 0.55 * sun
    props, shadows = _furnish(config, scene, near, far, rng)
    return Camera(
        number=number,
        height=round(float(height), 3),
        near=near,
        far=far,
        direction=round(direction, 1),
        sun=round(sun, 3),
        ambient=float(scene[34]),
        light=light,
        gains=tuple(float(round(gain, 4)) for gain in gains),  # type: ignore[arg-type]
        mixing=mixing,
        exposure=round(float(config.exposure * normal[3]), 3),
        contrast=round(float(np.exp(config.contrast * normal[4])), 3),
        saturation=round(float(np.exp(config.saturation * normal[5])), 3),
        blur=round(float(config.blur * uniform[7]), 3),
        motion_blur=round(float(config.motion_blur * rng.random()), 3),
        noise=round(float(config.noise * rng.uniform(0.2, 1)), 4),
        resolution=round(float(config.resolution + (1 - config.resolution) * rng.random()), 3),
        jpeg_quality=round(config.jpeg_quality + max(0, 95 - config.jpeg_quality) * rng.random()),
        scene=scene,
        props=props,
        prop_shadows=tuple(shadows),
    )


def _scene(
    config: WorldConfig, number: int, outdoor: bool, far: float, uniform: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    scene = np.zeros(_SCENE_WIDTH)
    scene[0] = int(rng.integers(1, 1_000_000))
    scene[1] = 0.1 + 0.55 * config.clutter
    for base, kinds, palette, pick in (
        (2, _FLOORS, _FLOOR_COLOURS, uniform[0:3]),
        (16, _WALLS, _WALL_COLOURS, uniform[3:6]),
    ):
        # neighbours in number get different kinds, whatever the draw
        kind = kinds[(int(pick[0] * len(kinds)) + 2 * number) % len(kinds)]
        first, second = _GREEN if kind == 5 else palette[(int(pick[1] * len(palette)) + number) % len(palette)]
        first = np.array(first) * np.exp(0.06 * rng.normal(size=3).clip(-2, 2)) * (0.75 + 0.5 * pick[2])
        # a quiet world has the same grey floor and wall everywhere
        grey = 0.3 if base == 2 else 0.42
        first = grey + (first - grey) * min(1.0, 1.4 * config.clutter)
        scene[base] = kind
        scene[base + 2 : base + 5] = first
        scene[base + 5 : base + 8] = first + (np.array(second) - first) * min(1.0, 0.05 + config.clutter)
    scene[3] = {1: 0.5, 2: 0.6, 3: 0.3, 4: 1.0, 5: 1.0, 7: 0.7}.get(int(scene[2]), 1.0) * (0.8 + 0.8 * uniform[6])
    scene[10] = far * (0.6 + 0.5 * uniform[7])
    scene[17] = {1: 1.2, 3: 0.5, 4: 0.5, 6: 1.7, 7: 1.9}.get(int(scene[16]), 1.0) * (0.8 + 0.6 * uniform[8])
    scene[26] = far + 2.0 + (9.0 if outdoor else 3.0) * uniform[9]
    scene[27] = 2.2 + 5.0 * uniform[10] if outdoor else 0.0
    scene[35:38] = np.array([0.62, 0.7, 0.8]) * (0.7 + 0.4 * uniform[11])
    return scene


def _furnish(
    config: WorldConfig, scene: np.ndarray, near: float, far: float, rng: np.random.Generator
) -> tuple[Parts, list[tuple[float, ...]]]:
    """Things that stand behind the people, up to the wall."""
    parts = Parts()
    shadows: list[tuple[float, ...]] = []
    count = round(14 * config.clutter)
    kinds = ("pillar", "bollard", "bench", "car", "bin", "planter", "tree", "cupboard")
    for _ in range(count):
        kind = kinds[int(rng.integers(len(kinds)))]
        y = far + 0.9 + (scene[26] - far - 0.9) * rng.random()
        x = (2.0 * rng.random() - 1.0) * 0.75 * y
        add_prop(parts, shadows, kind, x, y, rng)
    return parts, shadows


def add_prop(
    parts: Parts,
    shadows: list[tuple[float, ...]],
    kind: str,
    x: float,
    y: float,
    rng: np.random.Generator,
) -> None:
    """Put a thing on the ground at a place of a scene, with the dark spot below it."""
    colour = np.array(_PROP_COLOURS[int(rng.integers(len(_PROP_COLOURS)))]) * rng.uniform(0.7, 1.4)
    bright = np.minimum(0.7, colour * 0.4 + 0.25)
    size = rng.uniform(0.85, 1.2)
    turn = rng.uniform(-0.5, 0.5)
    front = (sin(turn), cos(turn), 0.0)
    across = (cos(turn), -sin(turn), 0.0)

    def box(dx: float, z: float, across_size: float, deep: float, high: float, material: int) -> None:
        foot = (x + dx * across[0], y + dx * across[1], z)
        parts.box(foot, (across_size, deep, high), material, up=_UP, front=front)

    if kind == "pillar":
        stuff = parts.material(PROP, colour * 0.5 + 0.2, bright, s10=2.0 * (rng.random() < 0.3), s11=0.7)
        parts.add((x, y, 0.0), (x, y, 4.5), 0.15 * size, 0.15 * size, stuff)
        shadows.append((x, y, x, y, 0.35 * size, 0.5))
    elif kind == "bollard":
        stuff = parts.material(PROP, colour, bright, s10=2.0, s11=0.5)
        parts.add((x, y, 0.0), (x, y, 0.75 * size), 0.13, 0.12, stuff)
        shadows.append((x, y, x, y, 0.28, 0.5))
    elif kind == "bench":
        wood = parts.material(
            PROP, np.array([0.25, 0.14, 0.07]) * size, np.array([0.12, 0.07, 0.03]), s10=2.0, s11=0.14
        )
        iron = parts.material(SHOE, np.array([0.03, 0.03, 0.035]), s12=-9.0)
        box(0, 0.40, 1.5 * size, 0.42, 0.06, wood)
        box(0, 0.46, 1.5 * size, 0.05, 0.34, wood)
        box(-0.62 * size, 0, 0.07, 0.4, 0.4, iron)
        box(0.62 * size, 0, 0.07, 0.4, 0.4, iron)
        shadows.append((x - 0.6 * across[0], y - 0.6 * across[1], x + 0.6 * across[0], y + 0.6 * across[1], 0.4, 0.55))
    elif kind == "car":
        paint = parts.material(PROP, colour, colour)
        glass = parts.material(PROP, np.array([0.03, 0.04, 0.05]), colour, s10=1.0, s12=0.42)
        rubber = parts.material(CLOTH, np.array([0.012, 0.012, 0.012]))
        side = -1.0 if rng.random() < 0.5 else 1.0
        box(side * 1.2, 0.2, 4.1, 1.6, 0.55, paint)
        box(side * 1.3, 0.75, 2.2, 1.4, 0.48, glass)
        for wheel in (-1.3, 1.3):
            along = side * 1.2 + wheel
            hub = (x + along * across[0] - 0.76 * front[0], y + along * across[1] - 0.76 * front[1], 0.31)
            parts.ball(hub, (0.31, 0.1, 0.31), rubber, up=_UP, front=front)
        shadows.append((x + side * 1.2 - 1.6, y, x + side * 1.2 + 1.6, y, 0.95, 0.6))
    elif kind == "bin":
        stuff = parts.material(PROP, colour, bright, s10=2.0, s11=1.6)
        parts.add((x, y, 0.0), (x, y, 0.9 * size), 0.24, 0.28, stuff)
        shadows.append((x, y, x, y, 0.45, 0.55))
    elif kind == "planter":
        tub = parts.material(PROP, np.array([0.3, 0.26, 0.22]) * size)
        leaf = parts.material(LEAVES, np.array([0.1, 0.19, 0.06]) * size)
        box(0, 0.0, 0.8 * size, 0.5, 0.45, tub)
        parts.ball((x, y, 0.62), (0.45 * size, 0.32, 0.34), leaf, up=_UP, front=front)
        shadows.append((x - 0.3, y, x + 0.3, y, 0.42, 0.55))
    elif kind == "tree":
        bark = parts.material(HAIR, np.array([0.12, 0.08, 0.05]))
        leaf = parts.material(LEAVES, np.array([0.11, 0.19, 0.06]) * size)
        parts.add((x, y, 0.0), (x, y, 2.4), 0.16 * size, 0.1, bark)
        parts.ball((x, y, 3.4), (1.3 * size, 1.2, 1.25), leaf, up=_UP, front=_AWAY)
        shadows.append((x, y, x, y, 0.8, 0.4))
    else:  # a cupboard, a kiosk, a vending machine
        stuff = parts.material(PROP, colour, bright, s10=float(rng.integers(0, 4)), s11=0.5, s12=1.1)
        box(0, 0.0, 0.95 * size, 0.7, 1.9 * size, stuff)
        shadows.append((x - 0.3, y, x + 0.3, y, 0.5, 0.6))


def response(camera: Camera, rows: int, exposure: float, smear: float) -> np.ndarray:
    """The numbers :func:`resight.synthesis._kernels.develop` takes.

    Args:
        camera: The camera.
        rows: Native rows of the crop: blur is given in pixels of 128.
        exposure: Stops added to the camera's.
        smear: 0 to 1, how much of the camera's motion blur there is.
    """
    numbers = np.zeros(16)
    numbers[0] = camera.blur * rows / 128
    numbers[1] = float(np.hypot(camera.blur, camera.motion_blur * smear)) * rows / 128
    numbers[2] = camera.noise
    numbers[3] = camera.contrast
    numbers[4] = camera.saturation
    gain = 2.0 ** (camera.exposure + exposure)
    numbers[5:14] = (np.array(camera.gains)[:, None] * camera.mixing * gain).ravel()
    return numbers
