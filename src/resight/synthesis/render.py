"""One crop: people, things and camera put together, rendered and developed."""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, cos, degrees, hypot, pi, radians, sin

import numpy as np

from resight.synthesis.cameras import Camera, add_prop, response
from resight.synthesis.config import WorldConfig
from resight.synthesis.figure import add_person
from resight.synthesis.parts import Parts, Vector, pack
from resight.synthesis.people import NONE, Person
from resight.synthesis.skeleton import Pose


@dataclass(frozen=True)
class Box:
    """How a crop's box lies on a person: shifts and size as shares of the tight box.

    Attributes:
        right: Shift to the right.
        down: Shift down.
        scale: Size; 1 is the person with a small margin.
    """

    right: float = 0.0
    down: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True)
class Shot:
    """All that is in one crop.

    Attributes:
        person: Who it is of; ``None`` for a box without anybody.
        pose: What they do and where.
        companion: Somebody else, if there is, and what they do.
        occluder: What stands in front, or ``none``.
        occluder_at: Where.
        occluder_seed: Which one of its kind.
        box: How the box lies.
        exposure: Stops added to the camera's.
        noise_seed: Of the sensor noise.
    """

    person: Person | None
    pose: Pose
    companion: tuple[Person, Pose] | None = None
    occluder: str = NONE
    occluder_at: tuple[float, float] = (0.0, 0.0)
    occluder_seed: int = 0
    box: Box = Box()
    exposure: float = 0.0
    noise_seed: int = 0


def relative_direction(pose: Pose) -> float:
    """Degrees from -180 to 180: 0 walks towards the camera, 90 to the right of the picture, ±180 away."""
    heading = radians(pose.heading)
    away = atan2(pose.y, pose.x)
    along, across = cos(heading - away), -sin(heading - away)
    return degrees(atan2(across, -along))


def heading_for(direction: float, x: float, y: float) -> float:
    """The heading at a place that has a direction relative to the camera: undoes :func:`relative_direction`."""
    return degrees(atan2(y, x)) + 180.0 + direction


def render_shot(
    shot: Shot, camera: Camera, config: WorldConfig, *, draw: bool = True
) -> tuple[np.ndarray | None, float]:
    """Render one crop.

    Args:
        shot: What is in it.
        camera: Who takes it.
        config: For the crop's size.
        draw: Whether the picture is wanted, or only the share that is visible.

    Returns:
        ``(height, width, 3)`` uint8, or ``None``; and the share of the person's outline that is in the box and not
        covered, 0 to 1.
    """
    from resight.synthesis import _kernels

    pose = shot.pose
    parts = Parts(list(camera.props.ends), list(camera.props.numbers), list(camera.props.materials))
    shadows = list(camera.prop_shadows)
    if shot.occluder != NONE:
        add_prop(parts, shadows, shot.occluder, *shot.occluder_at, np.random.default_rng(shot.occluder_seed))
    if shot.companion is not None:
        shadows += _figure_shadows(add_person(parts, *shot.companion, owner=2), camera)
    first = len(parts.ends)
    if shot.person is not None:
        shadows += _figure_shadows(add_person(parts, shot.person, pose, owner=1), camera)
    packed, materials = pack(parts)
    view = _look_at(camera, pose)
    frames = _kernels.prepare_parts(packed, view)
    middle_distance = 0.5 * (camera.near + camera.far)
    distance = hypot(pose.x, pose.y)
    if shot.person is None:
        half = 1.0 / hypot(distance, camera.height)
        extent = (-half / 2, half / 2, -half, half)
    else:
        own = frames[first:]
        extent = (own[:, 12].min(), own[:, 13].max(), own[:, 14].min(), own[:, 15].max())
    share = min(1.0, camera.resolution * middle_distance / distance)
    rows = max(16, round(share * config.height))
    columns = max(8, round(rows * config.width / config.height))
    aspect = config.width / config.height
    _set_window(view, extent, shot.box, rows, columns, aspect)
    depth = np.full((2 * rows, 2 * columns), np.inf)
    ident = np.full((2 * rows, 2 * columns), -1, np.int16)
    _kernels.rasterise(packed, frames, view, 0, depth, ident)
    visible = 0.0
    if shot.person is not None:
        seen = _kernels.count_owner(ident, packed, 1.0) * view[14] * view[15]
        visible = min(1.0, seen / _outline(packed, frames, view, first, extent, aspect))
    if not draw:
        return None, round(visible, 3)
    image = np.empty((rows, columns, 3))
    darkness = np.array(shadows).reshape(-1, 6)
    _kernels.shade_samples(packed, materials, frames, view, camera.scene, darkness, depth, ident, image)
    out = np.empty((config.height, config.width, 3), np.uint8)
    smear = abs(sin(radians(relative_direction(pose)))) if pose.walking else 0.0
    _kernels.develop(image, response(camera, rows, shot.exposure, smear), shot.noise_seed, out)
    return out, round(visible, 3)


def _look_at(camera: Camera, pose: Pose) -> np.ndarray:
    """A view from the camera to a person's middle; its window is set later."""
    position = np.array([0.0, 0.0, camera.height])
    forward = np.array([pose.x, pose.y, 0.9]) - position
    forward /= np.linalg.norm(forward)
    right = np.array([forward[1], -forward[0], 0.0]) / hypot(forward[0], forward[1])
    return np.concatenate([position, forward, right, np.cross(right, forward), np.zeros(4)])


def _set_window(
    view: np.ndarray, extent: tuple[float, float, float, float], box: Box, rows: int, columns: int, aspect: float
) -> None:
    left, right, bottom, top = extent
    high = max(1.06 * (top - bottom), (right - left) / aspect * 0.86) * box.scale
    wide = high * aspect
    x = 0.5 * (left + right) + box.right * wide
    y = 0.5 * (bottom + top) - box.down * high
    view[12:16] = x - wide / 2, y + high / 2, wide / (2 * columns), high / (2 * rows)


def _outline(
    packed: np.ndarray,
    frames: np.ndarray,
    view: np.ndarray,
    first: int,
    extent: tuple[float, float, float, float],
    aspect: float,
) -> float:
    """Area of the person alone and whole, in tangents."""
    from resight.synthesis import _kernels

    left, right, bottom, top = extent
    rows = 128
    step = (top - bottom) / rows
    columns = max(1, int(np.ceil((right - left) / step)))
    whole = view.copy()
    whole[12:16] = left, top, step, step
    depth = np.full((rows, columns), np.inf)
    ident = np.full((rows, columns), -1, np.int16)
    _kernels.rasterise(packed, frames, whole, first, depth, ident)
    return max(1e-12, _kernels.count_owner(ident, packed, 1.0) * step * step)


def _figure_shadows(joints: list[Vector], camera: Camera) -> list[tuple[float, ...]]:
    """Shadows of a figure: its bones along the light onto the ground, and a dark spot under each foot."""
    lx, ly, lz = camera.light
    dark = 0.85 * camera.sun / (camera.sun + 0.5 * camera.ambient)

    def down(joint: Vector) -> tuple[float, float]:
        return joint[0] - joint[2] * lx / lz, joint[1] - joint[2] * ly / lz

    def middle(a: Vector, b: Vector) -> Vector:
        return ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2, (a[2] + b[2]) / 2)

    hips, neck = middle(joints[2], joints[5]), middle(joints[6], joints[7])
    bones = (
        (joints[0], joints[1], 0.12),
        (joints[1], joints[2], 0.16),
        (joints[3], joints[4], 0.12),
        (joints[4], joints[5], 0.16),
        (hips, neck, 0.3),
        (joints[8], joints[8], 0.18),
        (joints[6], joints[9], 0.1),
        (joints[7], joints[10], 0.1),
    )
    shadows: list[tuple[float, ...]] = [(*down(a), *down(b), radius, dark) for a, b, radius in bones]
    for ankle in (joints[0], joints[3]):
        shadows.append((ankle[0], ankle[1], ankle[0], ankle[1], 0.22, max(0.0, 0.62 - 2.0 * ankle[2] + 0.15)))
    return shadows


def step_phase(phase: float, metres: float, person: Person) -> float:
    """The phase of the step after walking some way."""
    stride = 1.35 * person.stride**0.5 * person.height / 1.75
    return (phase + 2 * pi * metres / stride) % (2 * pi)
