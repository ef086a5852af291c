"""How the people of a world walk through the views of its cameras, for videos."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, hypot, radians, sin

import numpy as np

from resight.synthesis.cameras import Camera
from resight.synthesis.config import WorldConfig
from resight.synthesis.people import NONE, Person
from resight.synthesis.render import heading_for, step_phase
from resight.synthesis.skeleton import Pose

_STEP = 0.05  # metres between two points of a path
_BODY = 0.7  # metres beside the view from which nothing of a body is in it
_CORNER = 21  # points over which corners are rounded
_SHARE = 0.42  # height of a person of 1.75 m at the middle distance, as a share of the picture's height


@dataclass(frozen=True)
class View:
    """The fixed view of a camera.

    Attributes:
        forward: Unit vector of the middle of the picture.
        across: Tangent of the angle from the middle of the picture to its left and right edge.
        down: Tangent of the angle to its upper and lower edge.
    """

    forward: tuple[float, float, float]
    across: float
    down: float


def view_of(camera: Camera, aspect: float) -> View:
    """The view of a camera in a video: people at its middle distance fill 42 % of the picture's height.

    Args:
        camera: The camera.
        aspect: Width of the picture divided by its height.
    """
    middle = 0.5 * (camera.near + camera.far)
    length = hypot(middle, 0.9 - camera.height)
    down = 0.5 * 1.75 / _SHARE / length
    return View((0.0, middle / length, (0.9 - camera.height) / length), down * aspect, down)


@dataclass(frozen=True)
class Walk:
    """One way of a person through the view of a camera, from one side to a side.

    Attributes:
        figure: Number of the person, from 1.
        camera: Number of the camera, from 1.
        begin: Seconds at which it begins.
        end: Seconds at which it ends.
        points: ``(n, 2)`` places on the ground, 5 cm apart, in metres.
        speed: Metres per second.
        stop: Metres after which the person stands still.
        pause: Seconds that the person stands there; 0 if they do not.
        phase: Phase of the step at the beginning.
        carry: What the hands hold.
        gaze: Degrees that the head is turned.
    """

    figure: int
    camera: int
    begin: float
    end: float
    points: np.ndarray
    speed: float
    stop: float
    pause: float
    phase: float
    carry: str
    gaze: float

    def pose(self, seconds: float, person: Person) -> Pose:
        """Where and how the person is at a time from ``begin`` to ``end``."""
        metres = self.speed * (seconds - self.begin)
        standing = self.pause > 0 and self.stop < metres <= self.stop + self.speed * self.pause
        if metres > self.stop:
            metres = max(self.stop, metres - self.speed * self.pause)
        place = min(metres / _STEP, len(self.points) - 1.001)
        row = int(place)
        here, there = self.points[row], self.points[row + 1]
        x, y = here + (place - row) * (there - here)
        low, high = self.points[max(0, row - 4)], self.points[min(len(self.points) - 1, row + 5)]
        heading = float(np.degrees(np.arctan2(high[1] - low[1], high[0] - low[0])))
        phase = step_phase(self.phase, metres, person)
        return Pose(float(x), float(y), heading, phase, not standing, self.carry, self.gaze)


def walk_through(
    camera: Camera, view: View, config: WorldConfig, figure: int, begin: float, rng: np.random.Generator
) -> Walk:
    """Draws a walk at random.

    In the middle the person walks in the camera's main direction, as in the crops of a world. Where that would lead
    too near or too far, the path turns to a side.

    Args:
        camera: The camera.
        view: Its view.
        config: Settings: spread and reversal of directions, and how many people stand.
        figure: Number of the person.
        begin: Seconds at which the walk begins.
        rng: Generator of this walk alone.
    """
    turned = rng.random() < config.reverse
    direction = camera.direction + (180.0 if turned else 0.0) + config.direction_spread * rng.normal()
    y = rng.uniform(camera.near, camera.far)
    x = 0.6 * _edge(view, camera, y) * rng.uniform(-1, 1)
    heading = radians(heading_for(direction, x, y))
    ahead = (cos(heading), sin(heading))
    sides = rng.choice((-1.0, 1.0), 2)
    after = _leg(camera, view, (x, y), ahead, float(sides[0]))
    before = _leg(camera, view, (x, y), (-ahead[0], -ahead[1]), float(sides[1]))
    points = _rounded(np.array([*before[::-1], (x, y), *after]))
    length = _STEP * (len(points) - 1)
    speed = rng.uniform(1.1, 1.6)
    stands, share, pause = rng.random(3)
    pause = (2.0 + 5.0 * pause) if stands < config.standing else 0.0
    carry = str(rng.choice((NONE, "phone", "hold"), p=(0.88, 0.09, 0.03)))
    return Walk(
        figure=figure,
        camera=camera.number,
        begin=begin,
        end=begin + length / speed + pause,
        points=points,
        speed=float(speed),
        stop=float(length * (0.3 + 0.4 * share)),
        pause=float(pause),
        phase=float(rng.uniform(0, 2 * np.pi)),
        carry=carry,
        gaze=float(rng.normal() * 14),
    )


def _edge(view: View, camera: Camera, y: float) -> float:
    """Metres from the middle of the picture to its edge, ``y`` metres away."""
    return view.across * (y * view.forward[1] + (0.9 - camera.height) * view.forward[2])


def _leg(
    camera: Camera, view: View, start: tuple[float, float], ahead: tuple[float, float], side: float
) -> list[tuple[float, float]]:
    """Corners of a path from a place out of the view: straight on, and to a side at the limits of near and far."""
    x, y = start
    near, far = camera.near, camera.far + 0.8
    corners: list[tuple[float, float]] = []
    for _ in range(2000):
        x, y = x + _STEP * ahead[0], y + _STEP * ahead[1]
        if abs(x) > _edge(view, camera, y) + _BODY:
            break
        if not near <= y <= far:
            y = min(max(y, near), far)
            corners.append((x, y))
            if abs(ahead[0]) > 0.3:
                side = 1.0 if ahead[0] > 0 else -1.0
            ahead = (side, 0.0)
    corners.append((x, y))
    return corners


def _rounded(corners: np.ndarray) -> np.ndarray:
    """Points 5 cm apart along a line through corners, with the corners rounded."""
    first = corners[0] - _unit(corners[1] - corners[0]) * _STEP * _CORNER
    last = corners[-1] + _unit(corners[-1] - corners[-2]) * _STEP * _CORNER
    corners = np.vstack([first, corners, last])
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(corners, axis=0).T))])
    at = np.arange(0.0, along[-1], _STEP)
    points = np.stack([np.interp(at, along, corners[:, axis]) for axis in (0, 1)], axis=1)
    kernel = np.full(_CORNER, 1 / _CORNER)
    for _ in range(2):
        points = np.stack([np.convolve(points[:, axis], kernel, "valid") for axis in (0, 1)], axis=1)
    return points


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.hypot(*vector)), 1e-9)
