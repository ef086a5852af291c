"""One crop: people, things and a camera are put together, rendered and developed."""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, cos, degrees, hypot, pi, radians, sin

import numpy as np

from resight.synthesis.cameras import Camera, add_prop, response
from resight.synthesis.config import WorldConfig
from resight.synthesis.figure import add_person
from resight.synthesis.parts import Parts, Shadow, Vector, pack
from resight.synthesis.people import NONE, Person
from resight.synthesis.skeleton import Joints, Pose
from resight.synthesis.slots import (
    BOUND_BOTTOM,
    BOUND_LEFT,
    BOUND_RIGHT,
    BOUND_TOP,
    EYE_FORWARD,
    EYE_POSITION,
    EYE_RIGHT,
    EYE_UP,
    OWNER_COMPANION,
    OWNER_PERSON,
    SHADOW_WIDTH,
    VIEW_WIDTH,
    WINDOW_LEFT,
    WINDOW_STEP_DOWN,
    WINDOW_STEP_RIGHT,
    WINDOW_TOP,
)


@dataclass(frozen=True)
class Box:
    """Where a crop's box lies relative to the tight box around the person.

    Attributes:
        right: Shift to the right, as a share of the box's width.
        down: Shift down, as a share of the box's height.
        scale: Factor of the box's size; at 1 it holds the person with a small margin.
    """

    right: float = 0.0
    down: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True)
class Shot:
    """Everything that one crop shows.

    Attributes:
        person: The person; ``None`` for a box without anybody.
        pose: The person's pose and place; without a person, the place that the box is around.
        companion: Another person near by and their pose, or ``None``.
        occluder: Kind of the thing in front of the person, one of :data:`~resight.synthesis.cameras.OCCLUDERS`, or
            ``none``.
        occluder_at: Its place on the ground: x and y in metres.
        occluder_seed: Seed of its colour, size and angle.
        box: Where the box lies.
        exposure: Stops added to the camera's exposure.
        noise_seed: Seed of the sensor noise.
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
    """The direction a person faces as the camera sees it.

    Returns:
        Degrees from -180 to 180: 0 is towards the camera, 90 to the right of the picture, ±180 away.
    """
    heading = radians(pose.heading)
    away = atan2(pose.y, pose.x)
    along, across = cos(heading - away), -sin(heading - away)
    return degrees(atan2(across, -along))


def heading_for(direction: float, x: float, y: float) -> float:
    """The heading that gives a relative direction at a place; the inverse of :func:`relative_direction`.

    Args:
        direction: Degrees, 0 towards the camera, 90 to the right of the picture.
        x: Place in metres, to the right.
        y: Place in metres, away from the camera.

    Returns:
        Degrees from +x towards +y.
    """
    return degrees(atan2(y, x)) + 180.0 + direction


def render_shot(
    shot: Shot, camera: Camera, config: WorldConfig, *, draw: bool = True
) -> tuple[np.ndarray | None, float]:
    """Renders one crop.

    Args:
        shot: What the crop shows.
        camera: The camera that takes it.
        config: Settings; only ``height`` and ``width`` are read.
        draw: Whether the picture is wanted. Without it only the visible share is computed, which is faster.

    Returns:
        The picture as ``(height, width, 3)`` uint8, or ``None`` without ``draw``; and the share of the person's
        outline that is inside the box and not covered, from 0 to 1 (0 without a person).
    """
    from resight.synthesis import _kernels

    pose = shot.pose
    parts = Parts(list(camera.props.ends), list(camera.props.numbers), list(camera.props.materials))
    shadows = list(camera.prop_shadows)
    if shot.occluder != NONE:
        add_prop(parts, shadows, shot.occluder, *shot.occluder_at, np.random.default_rng(shot.occluder_seed))
    if shot.companion is not None:
        shadows += figure_shadows(add_person(parts, *shot.companion, owner=OWNER_COMPANION), camera)
    first = len(parts.ends)
    if shot.person is not None:
        shadows += figure_shadows(add_person(parts, shot.person, pose, owner=OWNER_PERSON), camera)
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
        left, bottom = own[:, BOUND_LEFT].min(), own[:, BOUND_BOTTOM].min()
        extent = (left, own[:, BOUND_RIGHT].max(), bottom, own[:, BOUND_TOP].max())
    share = min(1.0, camera.resolution * middle_distance / distance)
    rows = max(16, round(share * config.height))
    columns = max(8, round(rows * config.width / config.height))
    aspect = config.width / config.height
    _frame_box(view, extent, shot.box, rows, columns, aspect)
    depth = np.full((2 * rows, 2 * columns), np.inf)
    ident = np.full((2 * rows, 2 * columns), -1, np.int16)
    _kernels.rasterise(packed, frames, view, 0, depth, ident)
    visible = 0.0
    if shot.person is not None:
        seen = _kernels.count_owner(ident, packed, OWNER_PERSON) * view[WINDOW_STEP_RIGHT] * view[WINDOW_STEP_DOWN]
        visible = min(1.0, seen / _outline(packed, frames, view, first, extent))
    if not draw:
        return None, round(visible, 3)
    image = np.empty((rows, columns, 3))
    darkness = np.array(shadows).reshape(-1, SHADOW_WIDTH)
    _kernels.shade_samples(packed, materials, frames, view, camera.scene, darkness, depth, ident, image)
    out = np.empty((config.height, config.width, 3), np.uint8)
    smear = abs(sin(radians(relative_direction(pose)))) if pose.walking else 0.0
    _kernels.develop(image, response(camera, rows, shot.exposure, smear), shot.noise_seed, out)
    return out, round(visible, 3)


def step_phase(phase: float, metres: float, person: Person) -> float:
    """The phase of the step after some metres of walking.

    Args:
        phase: Phase before, in radians.
        metres: Distance walked; negative for the past.
        person: Who walks: the length of a step follows from their height and stride.

    Returns:
        Radians, from 0 to 2π.
    """
    stride = 1.35 * person.stride**0.5 * person.height / 1.75
    return (phase + 2 * pi * metres / stride) % (2 * pi)


def _look_at(camera: Camera, pose: Pose) -> np.ndarray:
    """A view from the camera to the middle of a person's body; its window is still empty."""
    view = np.zeros(VIEW_WIDTH)
    position = np.array([0.0, 0.0, camera.height])
    forward = np.array([pose.x, pose.y, 0.9]) - position
    forward /= np.linalg.norm(forward)
    right = np.array([forward[1], -forward[0], 0.0]) / hypot(forward[0], forward[1])
    view[EYE_POSITION : EYE_POSITION + 3] = position
    view[EYE_FORWARD : EYE_FORWARD + 3] = forward
    view[EYE_RIGHT : EYE_RIGHT + 3] = right
    view[EYE_UP : EYE_UP + 3] = np.cross(right, forward)
    return view


def set_window(view: np.ndarray, left: float, top: float, step_right: float, step_down: float) -> None:
    view[WINDOW_LEFT] = left
    view[WINDOW_TOP] = top
    view[WINDOW_STEP_RIGHT] = step_right
    view[WINDOW_STEP_DOWN] = step_down


def _frame_box(
    view: np.ndarray, extent: tuple[float, float, float, float], box: Box, rows: int, columns: int, aspect: float
) -> None:
    """Sets the window to a box around ``extent`` (left, right, bottom, top), with 2×2 samples per pixel."""
    left, right, bottom, top = extent
    high = max(1.06 * (top - bottom), (right - left) / aspect * 0.86) * box.scale
    wide = high * aspect
    x = 0.5 * (left + right) + box.right * wide
    y = 0.5 * (bottom + top) - box.down * high
    set_window(view, x - wide / 2, y + high / 2, wide / (2 * columns), high / (2 * rows))


def _outline(
    packed: np.ndarray, frames: np.ndarray, view: np.ndarray, first: int, extent: tuple[float, float, float, float]
) -> float:
    """Area of the whole person with nothing in front, in squared tangents."""
    from resight.synthesis import _kernels

    left, right, bottom, top = extent
    rows = 128
    step = (top - bottom) / rows
    columns = max(1, int(np.ceil((right - left) / step)))
    whole = view.copy()
    set_window(whole, left, top, step, step)
    depth = np.full((rows, columns), np.inf)
    ident = np.full((rows, columns), -1, np.int16)
    _kernels.rasterise(packed, frames, whole, first, depth, ident)
    return max(1e-12, _kernels.count_owner(ident, packed, OWNER_PERSON) * step * step)


def figure_shadows(joints: Joints, camera: Camera) -> list[Shadow]:
    """Shadows of a figure: its bones projected along the light onto the ground, and a dark spot under each foot."""
    lx, ly, lz = camera.light
    dark = 0.85 * camera.sun / (camera.sun + 0.5 * camera.ambient)

    def down(joint: Vector) -> tuple[float, float]:
        return joint[0] - joint[2] * lx / lz, joint[1] - joint[2] * ly / lz

    def middle(a: Vector, b: Vector) -> Vector:
        return ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2, (a[2] + b[2]) / 2)

    hips = middle(joints.right_hip, joints.left_hip)
    neck = middle(joints.right_shoulder, joints.left_shoulder)
    bones = (
        (joints.right_ankle, joints.right_knee, 0.12),
        (joints.right_knee, joints.right_hip, 0.16),
        (joints.left_ankle, joints.left_knee, 0.12),
        (joints.left_knee, joints.left_hip, 0.16),
        (hips, neck, 0.3),
        (joints.head, joints.head, 0.18),
        (joints.right_shoulder, joints.right_wrist, 0.1),
        (joints.left_shoulder, joints.left_wrist, 0.1),
    )
    shadows = [Shadow(*down(a), *down(b), radius, dark) for a, b, radius in bones]
    for x, y, z in (joints.right_ankle, joints.left_ankle):
        shadows.append(Shadow(x, y, x, y, 0.22, max(0.0, 0.62 - 2.0 * z + 0.15)))
    return shadows
