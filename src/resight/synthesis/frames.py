"""Frames of a video: several people in front of a camera that does not move, with the true boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

import numpy as np

from resight.synthesis.cameras import Camera, add_prop, response
from resight.synthesis.config import WorldConfig
from resight.synthesis.figure import add_person
from resight.synthesis.parts import Parts, pack
from resight.synthesis.people import Person
from resight.synthesis.render import figure_shadows, set_window
from resight.synthesis.skeleton import Pose
from resight.synthesis.slots import (
    BOUND_BOTTOM,
    BOUND_LEFT,
    BOUND_RIGHT,
    BOUND_TOP,
    EYE_FORWARD,
    EYE_POSITION,
    EYE_RIGHT,
    EYE_UP,
    PART_COVER_MATERIAL,
    PART_MATERIAL,
    RESPONSE_BLUR_ACROSS,
    RESPONSE_BLUR_DOWN,
    RESPONSE_NOISE,
    SHADOW_END,
    SHADOW_RADIUS,
    SHADOW_START,
    SHADOW_WIDTH,
    VIEW_WIDTH,
    WINDOW_LEFT,
    WINDOW_STEP_DOWN,
    WINDOW_STEP_RIGHT,
    WINDOW_TOP,
)
from resight.synthesis.walks import View, view_of

#: Things that stand in front of the people.
_IN_FRONT = ("pillar", "bollard", "bench", "bin", "planter")
#: Materials that one figure may have. The folds of cloth depend on a material's number, so each figure keeps its own.
_MATERIALS = 64
#: Samples around what changes in which light and shade may change, too.
_MARGIN = 24

#: A rectangle of samples: first and last row, first and last column; the last are not part of it.
_Area = tuple[int, int, int, int]


@dataclass(frozen=True)
class Seen:
    """A person in a frame.

    Attributes:
        place: Index of the person in what :meth:`FrameCamera.render` was given.
        box: Left, top, right and bottom in pixels of the outline with whatever covers it, inside the frame.
        visible: Share of the whole outline that is in the frame and not covered, 0 to 1.
    """

    place: int
    box: tuple[float, float, float, float]
    visible: float


@dataclass
class _Figure:
    packed: np.ndarray
    frames: np.ndarray
    area: _Area
    depth: np.ndarray
    ident: np.ndarray
    shadows: np.ndarray
    reach: np.ndarray


class FrameCamera:
    """Renders frames of one camera. Its background is rendered once, and then only what people change.

    Args:
        camera: The camera.
        config: Settings of the world; only ``occlusion`` is read: the number of things in front of the people is ten
            times that.
        width: Width of the frames in pixels, an even number.
        height: Height of the frames in pixels, an even number.
        rng: Generator of the things in front.
    """

    def __init__(self, camera: Camera, config: WorldConfig, width: int, height: int, rng: np.random.Generator) -> None:
        from resight.synthesis import _kernels

        self.camera, self.width, self.height = camera, width, height
        self.view = view_of(camera, width / height)
        self._eye = _eye(camera, self.view, width, height)
        props = Parts(list(camera.props.ends), list(camera.props.numbers), list(camera.props.materials))
        shadows = list(camera.prop_shadows)
        for _ in range(round(10 * config.occlusion)):
            kind = _IN_FRONT[int(rng.integers(len(_IN_FRONT)))]
            y = camera.near - rng.uniform(0.8, 1.6)
            add_prop(props, shadows, kind, y * self.view.across * rng.uniform(-0.9, 0.9), y, rng)
        self._packed, materials = pack(props)
        self._materials = materials if len(props.materials) else np.zeros((0, materials.shape[1]))
        self._frames = _kernels.prepare_parts(self._packed, self._eye)
        self._shadows = np.array(shadows).reshape(-1, SHADOW_WIDTH)
        self._reach = _reach(self._shadows, self._eye)
        self._depth = np.full((2 * height, 2 * width), np.inf)
        self._ident = np.full((2 * height, 2 * width), -1, np.int16)
        _kernels.rasterise(self._packed, self._frames, self._eye, 0, self._depth, self._ident)
        self._light = np.empty((height, width, 3))
        _kernels.shade_samples(
            self._packed, materials, self._frames, self._eye, camera.scene, self._shadows, self._depth, self._ident,
            self._light,
        )  # fmt: skip
        # blur is given for crops of 128 rows, and a person at the middle distance has as many rows as this
        rows = round(0.42 * height * 1.06)
        self._response = response(camera, rows, 0.0, 0.0)
        self._noise = float(self._response[RESPONSE_NOISE])
        self._response[RESPONSE_NOISE] = 0.0
        blur = max(self._response[RESPONSE_BLUR_DOWN], self._response[RESPONSE_BLUR_ACROSS])
        self._spread = 1 + ceil(2.5 * blur)
        self._plain = np.empty((height, width, 3), np.uint8)
        _kernels.develop(self._light, self._response, 0, self._plain)

    def render(
        self, people: Sequence[tuple[Person, Pose, int]], seed: int, *, draw: bool = True
    ) -> tuple[np.ndarray | None, list[Seen]]:
        """Renders a frame.

        Args:
            people: Everybody near the view, with their pose, and a number from 0 that no other person in the view has
                and that the person keeps while being seen.
            seed: Seed of the sensor noise.
            draw: Whether the picture is wanted.

        Returns:
            ``(height, width, 3)`` uint8, or ``None`` without ``draw``; and everybody of whom some part is inside the
            frame, also where something covers it.
        """
        from resight.synthesis import _kernels
        from resight.synthesis._noise import add_noise

        numbers = [number for _, _, number in people]
        materials = np.zeros((len(self._materials) + _MATERIALS * (max(numbers, default=0) + 1),
                              self._materials.shape[1]))  # fmt: skip
        materials[: len(self._materials)] = self._materials
        figures = [self._figure(person, pose, number, materials) for person, pose, number in people]
        depth, ident = self._depth.copy(), self._ident.copy()
        first = len(self._packed)
        for figure in figures:
            self._put(figure, first, depth, ident)
            first += len(figure.packed)
        seen = []
        first = len(self._packed)
        for place, figure in enumerate(figures):
            found = self._seen(place, figure, first, ident)
            first += len(figure.packed)
            if found is not None:
                seen.append(found)
        if not draw:
            return None, seen
        packed = np.vstack([self._packed, *(figure.packed for figure in figures)])
        frames = np.vstack([self._frames, *(figure.frames for figure in figures)])
        shadows = np.vstack([self._shadows, *(figure.shadows for figure in figures)])
        reach = np.vstack([self._reach, *(figure.reach for figure in figures)])
        light, picture = self._light, self._plain
        areas = [area for figure in figures if (area := self._changed(figure)) is not None]
        if areas:
            light, picture = light.copy(), picture.copy()
        for top, bottom, left, right in areas:
            r0, r1 = max(0, top - _MARGIN), min(2 * self.height, bottom + _MARGIN)
            c0, c1 = max(0, left - _MARGIN), min(2 * self.width, right + _MARGIN)
            near = (reach[:, 0] <= r1) & (reach[:, 1] >= r0) & (reach[:, 2] <= c1) & (reach[:, 3] >= c0)
            part = np.empty(((r1 - r0) // 2, (c1 - c0) // 2, 3))
            _kernels.shade_samples(
                packed, materials, frames, _window(self._eye, r0, c0), self.camera.scene, shadows[near],
                depth[r0:r1, c0:c1].copy(), ident[r0:r1, c0:c1].copy(), part,
            )  # fmt: skip
            inner = part[(top - r0) // 2 : (bottom - r0) // 2, (left - c0) // 2 : (right - c0) // 2]
            light[top // 2 : bottom // 2, left // 2 : right // 2] = inner
        for top, bottom, left, right in areas:
            self._develop(light, picture, top // 2, bottom // 2, left // 2, right // 2)
        noisy = np.empty_like(picture)
        add_noise(picture, self._noise, seed, noisy)
        return noisy, seen

    def _develop(self, light: np.ndarray, picture: np.ndarray, top: int, bottom: int, left: int, right: int) -> None:
        """Develops a part of a frame, and what blur carries out of it."""
        from resight.synthesis import _kernels

        reach = self._spread
        top, bottom = max(0, top - reach), min(self.height, bottom + reach)
        left, right = max(0, left - reach), min(self.width, right + reach)
        r0, r1 = max(0, top - reach), min(self.height, bottom + reach)
        c0, c1 = max(0, left - reach), min(self.width, right + reach)
        part = np.empty((r1 - r0, c1 - c0, 3), np.uint8)
        _kernels.develop(light[r0:r1, c0:c1].copy(), self._response, 0, part)
        picture[top:bottom, left:right] = part[top - r0 : bottom - r0, left - c0 : right - c0]

    def _figure(self, person: Person, pose: Pose, number: int, materials: np.ndarray) -> _Figure:
        """A person alone, in samples that may reach over the edges of the frame."""
        from resight.synthesis import _kernels

        parts = Parts()
        shadows = figure_shadows(add_person(parts, person, pose), self.camera)
        packed, own = pack(parts)
        assert len(own) <= _MATERIALS
        base = len(self._materials) + _MATERIALS * number
        materials[base : base + len(own)] = own
        packed[:, PART_MATERIAL] += base
        packed[:, PART_COVER_MATERIAL] += base
        frames = _kernels.prepare_parts(packed, self._eye)
        eye = self._eye
        left, right = frames[:, BOUND_LEFT].min(), frames[:, BOUND_RIGHT].max()
        bottom, top = frames[:, BOUND_BOTTOM].min(), frames[:, BOUND_TOP].max()
        c0 = floor((left - eye[WINDOW_LEFT]) / eye[WINDOW_STEP_RIGHT])
        c1 = ceil((right - eye[WINDOW_LEFT]) / eye[WINDOW_STEP_RIGHT]) + 1
        r0 = floor((eye[WINDOW_TOP] - top) / eye[WINDOW_STEP_DOWN])
        r1 = ceil((eye[WINDOW_TOP] - bottom) / eye[WINDOW_STEP_DOWN]) + 1
        # nobody comes so near that one frame's size around the frame is not enough
        c0, c1 = max(c0, -2 * self.width), max(min(c1, 4 * self.width), max(c0, -2 * self.width))
        r0, r1 = max(r0, -2 * self.height), max(min(r1, 4 * self.height), max(r0, -2 * self.height))
        depth = np.full((r1 - r0, c1 - c0), np.inf)
        ident = np.full((r1 - r0, c1 - c0), -1, np.int16)
        _kernels.rasterise(packed, frames, _window(eye, r0, c0), 0, depth, ident)
        dark = np.array(shadows).reshape(-1, SHADOW_WIDTH)
        return _Figure(packed, frames, (r0, r1, c0, c1), depth, ident, dark, _reach(dark, eye))

    def _inside(self, figure: _Figure) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
        """What of a figure's samples is inside the frame: there, and among its own; ``None`` if nothing is."""
        r0, r1, c0, c1 = figure.area
        top, bottom = max(0, r0), min(2 * self.height, r1)
        left, right = max(0, c0), min(2 * self.width, c1)
        if top >= bottom or left >= right:
            return None
        return (slice(top, bottom), slice(left, right)), (slice(top - r0, bottom - r0), slice(left - c0, right - c0))

    def _put(self, figure: _Figure, first: int, depth: np.ndarray, ident: np.ndarray) -> None:
        """Puts a figure into the frame wherever nothing is nearer."""
        inside = self._inside(figure)
        if inside is None:
            return
        there, own = inside
        nearer = figure.depth[own] < depth[there]
        depth[there][nearer] = figure.depth[own][nearer]
        ident[there][nearer] = figure.ident[own][nearer] + np.int16(first)

    def _seen(self, place: int, figure: _Figure, first: int, ident: np.ndarray) -> Seen | None:
        inside = self._inside(figure)
        if inside is None:
            return None
        there, own = inside
        outline = figure.ident[own] >= 0
        if not outline.any():
            return None
        rows, columns = np.flatnonzero(outline.any(axis=1)), np.flatnonzero(outline.any(axis=0))
        top, left = there[0].start, there[1].start
        box = (left + columns[0]) / 2, (top + rows[0]) / 2, (left + columns[-1] + 1) / 2, (top + rows[-1] + 1) / 2
        shown = ident[there]
        mine = int(((shown >= first) & (shown < first + len(figure.packed))).sum())
        visible = mine / int((figure.ident >= 0).sum())
        return Seen(place, (float(box[0]), float(box[1]), float(box[2]), float(box[3])), round(visible, 3))

    def _changed(self, figure: _Figure) -> _Area | None:
        """The samples that a figure or its shadow may change, from even to even ones; ``None`` if there are none."""
        (r0, r1, c0, c1), reach = figure.area, figure.reach
        r0, r1 = min(r0, floor(reach[:, 0].min())), max(r1, ceil(reach[:, 1].max()))
        c0, c1 = min(c0, floor(reach[:, 2].min())), max(c1, ceil(reach[:, 3].max()))
        r0, c0 = max(0, (r0 - 2) & -2), max(0, (c0 - 2) & -2)
        r1, c1 = min(2 * self.height, (r1 + 3) & -2), min(2 * self.width, (c1 + 3) & -2)
        return (r0, r1, c0, c1) if r0 < r1 and c0 < c1 else None


def _reach(shadows: np.ndarray, eye: np.ndarray) -> np.ndarray:
    """``(S, 4)`` samples that shadows may darken: first and last row, first and last column."""
    found = np.tile([np.inf, -np.inf, np.inf, -np.inf], (len(shadows), 1))
    for end in (SHADOW_START, SHADOW_END):
        for right in (-1, 1):
            for away in (-1, 1):
                radius = shadows[:, SHADOW_RADIUS]
                place = np.zeros((len(shadows), 3))
                place[:, 0] = shadows[:, end] + right * radius
                place[:, 1] = np.maximum(shadows[:, end + 1] + away * radius, 0.5)
                place -= eye[EYE_POSITION : EYE_POSITION + 3]
                far = np.maximum(place @ eye[EYE_FORWARD : EYE_FORWARD + 3], 0.2)
                columns = place @ eye[EYE_RIGHT : EYE_RIGHT + 3] / far - eye[WINDOW_LEFT]
                rows = eye[WINDOW_TOP] - place @ eye[EYE_UP : EYE_UP + 3] / far
                columns, rows = columns / eye[WINDOW_STEP_RIGHT], rows / eye[WINDOW_STEP_DOWN]
                found[:, 0], found[:, 1] = np.minimum(found[:, 0], rows), np.maximum(found[:, 1], rows)
                found[:, 2], found[:, 3] = np.minimum(found[:, 2], columns), np.maximum(found[:, 3], columns)
    return found


def _eye(camera: Camera, view: View, width: int, height: int) -> np.ndarray:
    """The camera for the kernels, with the window of a whole frame."""
    eye = np.zeros(VIEW_WIDTH)
    forward = np.array(view.forward)
    right = np.array([1.0, 0.0, 0.0])
    eye[EYE_POSITION : EYE_POSITION + 3] = (0.0, 0.0, camera.height)
    eye[EYE_FORWARD : EYE_FORWARD + 3] = forward
    eye[EYE_RIGHT : EYE_RIGHT + 3] = right
    eye[EYE_UP : EYE_UP + 3] = np.cross(right, forward)
    set_window(eye, -view.across, view.down, view.across / width, view.down / height)
    return eye


def _window(eye: np.ndarray, row: int, column: int) -> np.ndarray:
    """The camera with a window that begins at a sample."""
    moved = eye.copy()
    moved[WINDOW_LEFT] += column * eye[WINDOW_STEP_RIGHT]
    moved[WINDOW_TOP] -= row * eye[WINDOW_STEP_DOWN]
    return moved
