"""The cameras of a synthetic world: their place, their background, and their lens and sensor."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import cos, radians, sin
from typing import Any

import numpy as np

from resight.synthesis.config import WorldConfig
from resight.synthesis.parts import Parts, Shadow
from resight.synthesis.slots import (
    BRICKS,
    CHEQUERS,
    CLOTH,
    GREENERY,
    HAIR,
    LEAVES,
    MATERIAL_LINE,
    MATERIAL_PATTERN,
    MATERIAL_SIZE,
    MATERIAL_SOLE,
    PATCHES,
    PLAIN,
    POSTERS,
    PROP,
    PROP_COLUMNS,
    PROP_PLAIN,
    PROP_ROWS,
    PROP_WINDOWS,
    RESPONSE_BLUR_ACROSS,
    RESPONSE_BLUR_DOWN,
    RESPONSE_CONTRAST,
    RESPONSE_MATRIX,
    RESPONSE_NOISE,
    RESPONSE_SATURATION,
    RESPONSE_WIDTH,
    ROAD,
    SCENE_AMBIENT,
    SCENE_FLOOR,
    SCENE_GRAIN,
    SCENE_LIGHT,
    SCENE_SEED,
    SCENE_SKY,
    SCENE_SUN,
    SCENE_WALL,
    SCENE_WALL_HEIGHT,
    SCENE_WALL_Y,
    SCENE_WIDTH,
    SHOE,
    STRIPES,
    SURFACE_COLOUR,
    SURFACE_KIND,
    SURFACE_LINE_Y,
    SURFACE_SECOND_COLOUR,
    SURFACE_SIZE,
    TILES,
    WINDOWS,
)

_UP, _AWAY = (0.0, 0.0, 1.0), (0.0, 1.0, 0.0)
_FLOORS = (PLAIN, TILES, TILES, CHEQUERS, BRICKS, STRIPES, GREENERY, ROAD, PATCHES)
_WALLS = (PLAIN, TILES, BRICKS, STRIPES, GREENERY, WINDOWS, WINDOWS, POSTERS)
#: Mean size of the pattern in metres; 1 where nothing is said.
_FLOOR_SIZES = {TILES: 0.5, CHEQUERS: 0.6, BRICKS: 0.3, PATCHES: 0.7}
_WALL_SIZES = {TILES: 1.2, BRICKS: 0.5, STRIPES: 0.5, WINDOWS: 1.7, POSTERS: 1.9}
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
#: Things that may stand between a camera and a person.
OCCLUDERS = ("pillar", "bollard", "bench", "car", "bin", "planter")


@dataclass(frozen=True)
class Camera:
    """One camera and its scene. The camera stands above the origin and looks along +y; the ground is z = 0.

    Attributes:
        number: Number of the camera, from 1.
        height: Height above the ground in metres.
        near: Minimum distance of people along the ground in metres.
        far: Maximum distance of people along the ground in metres.
        direction: Main walking direction in degrees: 0 towards the camera, 90 to the right of the picture.
        sun: Strength of the light that casts shadows.
        ambient: Strength of the light that casts none.
        light: Unit vector towards the light.
        gains: Gain of red, green and blue, without the exposure.
        mixing: ``(3, 3)`` share of each colour of light (column) in each channel of the sensor (row).
        exposure: Exposure in stops.
        contrast: Exponent of the tone curve; 1 changes nothing.
        saturation: Factor of the saturation; 1 changes nothing.
        blur: Blur as σ in pixels of a 128-row crop.
        motion_blur: Further blur of a person who walks across the picture, as σ in pixels of a 128-row crop.
        noise: Sensor noise as σ, as a share of white.
        resolution: Native height of a crop at the middle distance, as a share of its final height.
        jpeg_quality: Quality of the JPEG files.
        scene: ``(SCENE_WIDTH,)`` floor, wall, light and sky for the kernels.
        props: Things that stand in the scene.
        prop_shadows: Their shadows.
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
    prop_shadows: tuple[Shadow, ...] = ()

    def attributes(self) -> dict[str, Any]:
        """The camera's columns of the truth table."""
        red, green, blue = self.gains
        return {
            "camera_height": self.height,
            "camera_direction": self.direction,
            "camera_sun": self.sun,
            "camera_red": red,
            "camera_green": green,
            "camera_blue": blue,
            "camera_exposure": self.exposure,
            "camera_contrast": self.contrast,
            "camera_saturation": self.saturation,
            "camera_blur": self.blur,
            "camera_noise": self.noise,
            "camera_resolution": self.resolution,
            "camera_jpeg_quality": self.jpeg_quality,
        }


def make_camera(config: WorldConfig, number: int, rng: np.random.Generator) -> Camera:
    """Draws a camera at random.

    Random numbers are drawn first and scaled by the settings afterwards. So the same generator gives the same camera on
    every level, in a milder or a stronger form.

    Args:
        config: Settings.
        number: Number of the camera, from 1. It decides the main walking direction and shifts the kinds of floor and
            wall, so that cameras with neighbouring numbers differ.
        rng: Generator of this camera alone.
    """
    normal = rng.normal(size=16).clip(-1.8, 1.8)
    warm, both, green, exposure, contrast, saturation = normal[:6]
    uniform = rng.random(24)
    nearness, depth, elevated, weather, sun_azimuth, sun_elevation, sunshine, blur = uniform[:8]
    near = 5.0 + 4.0 * nearness
    far = near + 3.0 + 3.0 * depth
    height = 1.6 + (config.camera_height - 1.6) * elevated if config.camera_height > 1.6 else config.camera_height
    # multiples of the golden ratio spread any number of cameras evenly over the range
    turn = (number * 0.6180339887 + 0.13) % 1.0
    direction = config.direction_range * (2.0 * turn - 1.0)
    outdoor = weather < 0.6
    azimuth = radians(360.0 * sun_azimuth)
    elevation = radians(35.0 + 40.0 * sun_elevation)
    sunny = 0.5 + config.lighting * ((0.9 if outdoor else 0.45) * (sunshine - 0.5) * 1.1)
    sun = float(np.clip(1.25 * sunny, 0.05, 1.3))
    # colour casts of real lamps vary from warm to cool far more than from green to magenta
    both, green = 0.35 * both, 0.4 * green
    gains = np.exp(config.colour_cast * np.array([warm + both, green, -warm + both]))
    gains /= gains.mean()
    mixing = np.eye(3) + 0.35 * config.colour_cast * rng.normal(size=(3, 3)).clip(-2, 2)
    mixing /= mixing.sum(axis=1, keepdims=True)
    scene = _scene(config, number, outdoor, far, uniform[8:20], rng)
    light = (cos(azimuth) * cos(elevation), sin(azimuth) * cos(elevation), sin(elevation))
    scene[SCENE_LIGHT : SCENE_LIGHT + 3] = light
    scene[SCENE_SUN] = sun
    scene[SCENE_AMBIENT] = 1.05 - 0.55 * sun
    props, shadows = _furnish(config, scene, far, rng)
    return Camera(
        number=number,
        height=round(float(height), 3),
        near=near,
        far=far,
        direction=round(direction, 1),
        sun=round(sun, 3),
        ambient=float(scene[SCENE_AMBIENT]),
        light=light,
        gains=tuple(float(round(gain, 4)) for gain in gains),  # type: ignore[arg-type]
        mixing=mixing,
        exposure=round(float(config.exposure * exposure), 3),
        contrast=round(float(np.exp(config.contrast * contrast)), 3),
        saturation=round(float(np.exp(config.saturation * saturation)), 3),
        blur=round(float(config.blur * blur), 3),
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
    """Floor, wall and sky; ``uniform`` holds the 12 random numbers that decide them."""
    scene = np.zeros(SCENE_WIDTH)
    scene[SCENE_SEED] = int(rng.integers(1, 1_000_000))
    scene[SCENE_GRAIN] = 0.1 + 0.55 * config.clutter
    floor_size, line, wall_size, wall_distance, wall_height, sky = uniform[6:]
    for base, kinds, palette, grey, sizes, spread, size, draws in (
        (SCENE_FLOOR, _FLOORS, _FLOOR_COLOURS, 0.3, _FLOOR_SIZES, 0.8, floor_size, uniform[0:3]),
        (SCENE_WALL, _WALLS, _WALL_COLOURS, 0.42, _WALL_SIZES, 0.6, wall_size, uniform[3:6]),
    ):
        kind_draw, colour_draw, brightness = draws
        # cameras with neighbouring numbers usually get different kinds
        kind = kinds[(int(kind_draw * len(kinds)) + 2 * number) % len(kinds)]
        colours = palette[(int(colour_draw * len(palette)) + number) % len(palette)]
        first, second = _GREEN if kind == GREENERY else colours
        first = np.array(first) * np.exp(0.06 * rng.normal(size=3).clip(-2, 2)) * (0.75 + 0.5 * brightness)
        # without clutter, all cameras have the same grey floor and wall
        first = grey + (first - grey) * min(1.0, 1.4 * config.clutter)
        second = first + (np.array(second) - first) * min(1.0, 0.05 + config.clutter)
        scene[base + SURFACE_KIND] = kind
        scene[base + SURFACE_SIZE] = sizes.get(kind, 1.0) * (0.8 + spread * size)
        scene[base + SURFACE_COLOUR : base + SURFACE_COLOUR + 3] = first
        scene[base + SURFACE_SECOND_COLOUR : base + SURFACE_SECOND_COLOUR + 3] = second
    scene[SCENE_FLOOR + SURFACE_LINE_Y] = far * (0.6 + 0.5 * line)
    scene[SCENE_WALL_Y] = far + 2.0 + (9.0 if outdoor else 3.0) * wall_distance
    scene[SCENE_WALL_HEIGHT] = 2.2 + 5.0 * wall_height if outdoor else 0.0
    scene[SCENE_SKY : SCENE_SKY + 3] = np.array([0.62, 0.7, 0.8]) * (0.7 + 0.4 * sky)
    return scene


def _furnish(
    config: WorldConfig, scene: np.ndarray, far: float, rng: np.random.Generator
) -> tuple[Parts, list[Shadow]]:
    """Things that stand between the people and the wall, and their shadows."""
    parts = Parts()
    shadows: list[Shadow] = []
    count = round(14 * config.clutter)
    kinds = ("pillar", "bollard", "bench", "car", "bin", "planter", "tree", "cupboard")
    for _ in range(count):
        kind = kinds[int(rng.integers(len(kinds)))]
        y = far + 0.9 + (scene[SCENE_WALL_Y] - far - 0.9) * rng.random()
        x = (2.0 * rng.random() - 1.0) * 0.75 * y
        add_prop(parts, shadows, kind, x, y, rng)
    return parts, shadows


def add_prop(
    parts: Parts,
    shadows: list[Shadow],
    kind: str,
    x: float,
    y: float,
    rng: np.random.Generator,
) -> None:
    """Puts a thing on the ground of a scene.

    Args:
        parts: Where its solids and materials are added.
        shadows: Where its shadow is added.
        kind: One of :data:`OCCLUDERS`, ``tree`` or ``cupboard``.
        x: Place in metres, to the right.
        y: Place in metres, away from the camera.
        rng: Generator of its colour, size and angle.
    """
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
        pattern = PROP_ROWS if rng.random() < 0.3 else PROP_PLAIN
        stuff = parts.material(PROP, colour * 0.5 + 0.2, bright, {MATERIAL_PATTERN: pattern, MATERIAL_SIZE: 0.7})
        parts.add((x, y, 0.0), (x, y, 4.5), 0.15 * size, 0.15 * size, stuff)
        shadows.append(Shadow(x, y, x, y, 0.35 * size, 0.5))
    elif kind == "bollard":
        stuff = parts.material(PROP, colour, bright, {MATERIAL_PATTERN: PROP_ROWS, MATERIAL_SIZE: 0.5})
        parts.add((x, y, 0.0), (x, y, 0.75 * size), 0.13, 0.12, stuff)
        shadows.append(Shadow(x, y, x, y, 0.28, 0.5))
    elif kind == "bench":
        light, dark = np.array([0.25, 0.14, 0.07]) * size, np.array([0.12, 0.07, 0.03])
        wood = parts.material(PROP, light, dark, {MATERIAL_PATTERN: PROP_ROWS, MATERIAL_SIZE: 0.14})
        iron = parts.material(SHOE, np.array([0.03, 0.03, 0.035]), slots={MATERIAL_SOLE: -9.0})
        box(0, 0.40, 1.5 * size, 0.42, 0.06, wood)
        box(0, 0.46, 1.5 * size, 0.05, 0.34, wood)
        box(-0.62 * size, 0, 0.07, 0.4, 0.4, iron)
        box(0.62 * size, 0, 0.07, 0.4, 0.4, iron)
        dx, dy = 0.6 * across[0], 0.6 * across[1]
        shadows.append(Shadow(x - dx, y - dy, x + dx, y + dy, 0.4, 0.55))
    elif kind == "car":
        paint = parts.material(PROP, colour, colour)
        windows = {MATERIAL_PATTERN: PROP_WINDOWS, MATERIAL_LINE: 0.42}
        glass = parts.material(PROP, np.array([0.03, 0.04, 0.05]), colour, windows)
        rubber = parts.material(CLOTH, np.array([0.012, 0.012, 0.012]))
        side = -1.0 if rng.random() < 0.5 else 1.0
        box(side * 1.2, 0.2, 4.1, 1.6, 0.55, paint)
        box(side * 1.3, 0.75, 2.2, 1.4, 0.48, glass)
        for wheel in (-1.3, 1.3):
            along = side * 1.2 + wheel
            hub = (x + along * across[0] - 0.76 * front[0], y + along * across[1] - 0.76 * front[1], 0.31)
            parts.ball(hub, (0.31, 0.1, 0.31), rubber, up=_UP, front=front)
        shadows.append(Shadow(x + side * 1.2 - 1.6, y, x + side * 1.2 + 1.6, y, 0.95, 0.6))
    elif kind == "bin":
        stuff = parts.material(PROP, colour, bright, {MATERIAL_PATTERN: PROP_ROWS, MATERIAL_SIZE: 1.6})
        parts.add((x, y, 0.0), (x, y, 0.9 * size), 0.24, 0.28, stuff)
        shadows.append(Shadow(x, y, x, y, 0.45, 0.55))
    elif kind == "planter":
        tub = parts.material(PROP, np.array([0.3, 0.26, 0.22]) * size)
        leaf = parts.material(LEAVES, np.array([0.1, 0.19, 0.06]) * size)
        box(0, 0.0, 0.8 * size, 0.5, 0.45, tub)
        parts.ball((x, y, 0.62), (0.45 * size, 0.32, 0.34), leaf, up=_UP, front=front)
        shadows.append(Shadow(x - 0.3, y, x + 0.3, y, 0.42, 0.55))
    elif kind == "tree":
        bark = parts.material(HAIR, np.array([0.12, 0.08, 0.05]))
        leaf = parts.material(LEAVES, np.array([0.11, 0.19, 0.06]) * size)
        parts.add((x, y, 0.0), (x, y, 2.4), 0.16 * size, 0.1, bark)
        parts.ball((x, y, 3.4), (1.3 * size, 1.2, 1.25), leaf, up=_UP, front=_AWAY)
        shadows.append(Shadow(x, y, x, y, 0.8, 0.4))
    else:  # a cupboard, a kiosk, a vending machine
        pattern = (PROP_PLAIN, PROP_WINDOWS, PROP_ROWS, PROP_COLUMNS)[rng.integers(4)]
        looks = {MATERIAL_PATTERN: pattern, MATERIAL_SIZE: 0.5, MATERIAL_LINE: 1.1}
        stuff = parts.material(PROP, colour, bright, looks)
        box(0, 0.0, 0.95 * size, 0.7, 1.9 * size, stuff)
        shadows.append(Shadow(x - 0.3, y, x + 0.3, y, 0.5, 0.6))


def response(camera: Camera, rows: int, exposure: float, smear: float) -> np.ndarray:
    """Lens and sensor of a camera for one crop, as :func:`resight.synthesis._kernels.develop` reads them.

    Args:
        camera: The camera.
        rows: Native height of the crop in pixels. Blur is given for 128 rows and is scaled to it.
        exposure: Stops added to the camera's exposure.
        smear: Share of the camera's motion blur, 0 to 1.

    Returns:
        ``(RESPONSE_WIDTH,)`` float64.
    """
    numbers = np.zeros(RESPONSE_WIDTH)
    numbers[RESPONSE_BLUR_DOWN] = camera.blur * rows / 128
    numbers[RESPONSE_BLUR_ACROSS] = float(np.hypot(camera.blur, camera.motion_blur * smear)) * rows / 128
    numbers[RESPONSE_NOISE] = camera.noise
    numbers[RESPONSE_CONTRAST] = camera.contrast
    numbers[RESPONSE_SATURATION] = camera.saturation
    gain = 2.0 ** (camera.exposure + exposure)
    matrix = np.array(camera.gains)[:, None] * camera.mixing * gain
    numbers[RESPONSE_MATRIX : RESPONSE_MATRIX + 9] = matrix.ravel()
    return numbers
