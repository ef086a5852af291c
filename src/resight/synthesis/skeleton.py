"""The bones of a person who walks or stands.

Body axes: x to the person's right, y forward, z up; the ground is z = 0. Lengths are in metres. Proportions of the body
and angles of the gait were chosen by eye.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, exp, pi, radians, sin
from typing import NamedTuple

from resight.synthesis.parts import Vector
from resight.synthesis.people import NONE, Person


@dataclass(frozen=True)
class Pose:
    """Where a person is and what the body does.

    Attributes:
        x: Place in the scene in metres, to the right.
        y: Place in the scene in metres, away from the camera.
        heading: Direction the person faces, in degrees from +x towards +y.
        phase: Phase of the step in radians: 0 when the right heel strikes the ground, π when the left one does.
        walking: Whether the person walks; otherwise they stand.
        carry: What the arms do: ``none``, ``phone`` (look at a phone) or ``hold`` (carry a box).
        gaze: Degrees that the head is turned to the person's right.
    """

    x: float = 0.0
    y: float = 0.0
    heading: float = 0.0
    phase: float = 0.0
    walking: bool = True
    carry: str = NONE
    gaze: float = 0.0


class Frame:
    """A coordinate frame in the world.

    Args:
        origin: Its origin, in metres.
        x: Unit vector of its x axis.
        y: Unit vector of its y axis.
        z: Unit vector of its z axis.
    """

    def __init__(self, origin: Vector, x: Vector, y: Vector, z: Vector) -> None:
        self.origin, self.x, self.y, self.z = origin, x, y, z

    def at(self, x: float, y: float, z: float) -> Vector:
        """The point with these coordinates in the frame, in world coordinates."""
        o, w = self.origin, self.way(x, y, z)
        return (o[0] + w[0], o[1] + w[1], o[2] + w[2])

    def way(self, x: float, y: float, z: float) -> Vector:
        """The direction with these coordinates in the frame, in world coordinates."""
        a, b, c = self.x, self.y, self.z
        return (
            x * a[0] + y * b[0] + z * c[0],
            x * a[1] + y * b[1] + z * c[1],
            x * a[2] + y * b[2] + z * c[2],
        )

    def turned(self, origin: Vector, yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> Frame:
        """Another frame, moved and turned relative to this one.

        Args:
            origin: The new origin in this frame's coordinates, in metres.
            yaw: Radians about z, to the left; applied first.
            pitch: Radians leant forward; applied second.
            roll: Radians leant to the right; applied last.
        """
        cy, sy = cos(yaw), sin(yaw)
        cp, sp = cos(pitch), sin(pitch)
        cr, sr = cos(roll), sin(roll)
        x = (cr * cy + sr * sp * sy, cr * sy - sr * sp * cy, -sr * cp)
        y = (-cp * sy, cp * cy, -sp)
        z = (sr * cy - cr * sp * sy, sr * sy + cr * sp * cy, cr * cp)
        return Frame(self.at(*origin), self.way(*x), self.way(*y), self.way(*z))


@dataclass(frozen=True)
class Leg:
    """One leg.

    Attributes:
        hip: Joint, in world coordinates.
        knee: Joint.
        ankle: Joint.
        ahead: Direction of the foot's toes.
        over: Direction up from the sole.
    """

    hip: Vector
    knee: Vector
    ankle: Vector
    ahead: Vector
    over: Vector


@dataclass(frozen=True)
class Arm:
    """One arm.

    Attributes:
        shoulder: Joint, in world coordinates.
        elbow: Joint.
        wrist: Joint.
        hand: End of the hand.
    """

    shoulder: Vector
    elbow: Vector
    wrist: Vector
    hand: Vector


class Joints(NamedTuple):
    """The joints whose shadows are drawn, in world coordinates; ``head`` is its middle."""

    right_ankle: Vector
    right_knee: Vector
    right_hip: Vector
    left_ankle: Vector
    left_knee: Vector
    left_hip: Vector
    right_shoulder: Vector
    left_shoulder: Vector
    head: Vector
    right_wrist: Vector
    left_wrist: Vector


@dataclass(frozen=True)
class Skeleton:
    """A posed skeleton whose feet are not yet on the ground.

    Attributes:
        size: Height divided by 1.75 m. It scales every length that is given for a body of that height.
        leg: Metres from the ground to the hip joint when standing.
        sole: Metres from the ground to the ankle when standing.
        thigh: Length of the thigh in metres.
        torso: Metres from the hips to the base of the neck.
        shoulder: Metres from the middle of the body to a shoulder joint.
        pelvis: Frame between the hip joints that moves with the hips.
        spine: Frame between the hip joints that moves with the chest.
        head: Frame at the top of the neck.
        legs: Right leg, left leg.
        arms: Right arm, left arm.
    """

    size: float
    leg: float
    sole: float
    thigh: float
    torso: float
    shoulder: float
    pelvis: Frame
    spine: Frame
    head: Frame
    legs: tuple[Leg, Leg]
    arms: tuple[Arm, Arm]

    @property
    def head_size(self) -> float:
        """Factor of the lengths of the head; it varies less than ``size``."""
        return 0.62 * self.size + 0.38

    @property
    def step(self) -> float:
        """The largest distance between the knees along one world axis, in metres."""
        right, left = self.legs
        return max(abs(a - b) for a, b in zip(right.knee, left.knee, strict=True))

    def joints(self) -> Joints:
        """The joints whose shadows are drawn."""
        right, left = self.legs
        right_arm, left_arm = self.arms
        return Joints(
            right_ankle=right.ankle,
            right_knee=right.knee,
            right_hip=right.hip,
            left_ankle=left.ankle,
            left_knee=left.knee,
            left_hip=left.hip,
            right_shoulder=right_arm.shoulder,
            left_shoulder=left_arm.shoulder,
            head=self.head.at(0, 0, 0.1 * self.size),
            right_wrist=right_arm.wrist,
            left_wrist=left_arm.wrist,
        )


def pose_skeleton(person: Person, pose: Pose) -> Skeleton:
    """The skeleton of a person in a pose, with the hips at their standing height."""
    height, size = person.height, person.height / 1.75
    leg = 0.515 * height * person.legs
    thigh, shank, sole = 0.48 * leg, 0.435 * leg, 0.085 * leg
    torso = 0.302 * height * (1.0 - 0.5 * (person.legs - 1.0))
    shoulder = 0.178 * size * person.shoulders
    wave = sin(pose.phase) if pose.walking else 1.0
    turn = radians(7.0) * cos(pose.phase) if pose.walking else 0.0
    middle = (0.018 * size * wave, 0.0, leg)
    ground = Frame((pose.x, pose.y, 0.0), *_heading(pose.heading))
    # the hips turn with the leading leg and drop on the swinging side; the chest turns the other way
    pelvis = ground.turned(middle, yaw=turn, roll=0.035 * wave)
    spine = ground.turned(middle, yaw=-0.8 * turn, pitch=radians(person.posture), roll=-0.02 * wave)
    nod = -0.7 * radians(person.posture)
    head = spine.turned((0.0, 0.016 * size, torso + 0.062 * size), yaw=-radians(pose.gaze), pitch=nod)
    legs, arms = [], []
    for side in (1, -1):
        hip_angle, knee_angle, foot_angle, shoulder_angle, elbow_angle = _gait(person, pose, side)
        hip = pelvis.at(side * 0.092 * size * person.hips, 0.0, 0.0)
        knee = _limb(pelvis, hip, hip_angle, 0.01 * side, thigh)
        ankle = _limb(pelvis, knee, hip_angle - knee_angle, -0.02 * side, shank)
        tilt = hip_angle - knee_angle + foot_angle if pose.walking else 0.0
        if pose.walking and foot_angle > -0.1 and abs(tilt) < 0.5:
            tilt *= 0.6  # the sole settles on the ground
        ahead, over = pelvis.way(0.1 * side, cos(tilt), sin(tilt)), pelvis.way(0.0, -sin(tilt), cos(tilt))
        legs.append(Leg(hip, knee, ankle, ahead, over))
        out = (0.11 + 0.1 * (person.girth - 1)) * side
        if pose.carry == "phone" and side > 0:
            shoulder_angle, elbow_angle, out = 0.35, 1.75, 0.05
        elif pose.carry == "hold":
            shoulder_angle, elbow_angle, out = 0.1, 1.45, 0.12 * side
        joint = spine.at(side * shoulder, 0.0, torso - 0.068 * size)
        elbow = _limb(spine, joint, shoulder_angle, out, 0.172 * height)
        wrist = _limb(spine, elbow, shoulder_angle + elbow_angle, 0.4 * out, 0.142 * height)
        hand = _limb(spine, wrist, shoulder_angle + elbow_angle + 0.15, 0.0, 0.07 * height)
        arms.append(Arm(joint, elbow, wrist, hand))
    return Skeleton(
        size, leg, sole, thigh, torso, shoulder, pelvis, spine, head, (legs[0], legs[1]), (arms[0], arms[1])
    )


def between(a: Vector, b: Vector, share: float) -> Vector:
    """The point at ``share`` of the way from ``a`` to ``b``."""
    return (a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]), a[2] + share * (b[2] - a[2]))


def shifted(a: Vector, way: Vector, length: float) -> Vector:
    """The point ``length`` metres from ``a`` in the direction ``way``."""
    return (a[0] + length * way[0], a[1] + length * way[1], a[2] + length * way[2])


def _gait(person: Person, pose: Pose, side: int) -> tuple[float, float, float, float, float]:
    """Angles of the leg and the arm on one side.

    The hip swings as a cosine. The knee bends a little when the leg takes the weight, and much while it swings forward.

    Args:
        person: Their stride and arm swing are read.
        pose: Its phase and whether it is a step are read.
        side: 1 for the right side, -1 for the left one.

    Returns:
        Hip, knee, foot (toes up), shoulder and elbow, in radians.
    """
    if not pose.walking:
        lean = 0.03 * side
        return 0.02 + lean, 0.05 + lean, 0.0, 0.03, 0.18
    phase = (pose.phase + (0.0 if side > 0 else pi)) % (2 * pi)
    wave = cos(phase)

    def bump(centre: float, width: float) -> float:
        gap = (phase - centre + pi) % (2 * pi) - pi
        return exp(-((gap / width) ** 2))

    hip = 4 + 20 * person.stride * wave
    knee = 6 + 12 * bump(0.3 * pi, 0.6) + (15 + 27 * person.stride) * bump(1.36 * pi, 0.85)
    foot = 16 * bump(0.0, 0.7) - 34 * bump(1.05 * pi, 0.55) - 12 * bump(1.35 * pi, 0.6)
    shoulder = -2 - 22 * person.arm_swing * wave
    elbow = 22 + 14 * person.arm_swing * (1 - wave) / 2
    return radians(hip), radians(knee), radians(foot), radians(shoulder), radians(elbow)


def _limb(frame: Frame, start: Vector, angle: float, out: float, length: float) -> Vector:
    """The end of a limb that hangs from ``start``, swung by ``angle`` forward and by ``out`` to the right (radians)."""
    return shifted(start, frame.way(sin(out), sin(angle) * cos(out), -cos(angle) * cos(out)), length)


def _heading(degrees: float) -> tuple[Vector, Vector, Vector]:
    forward = (cos(radians(degrees)), sin(radians(degrees)), 0.0)
    return (forward[1], -forward[0], 0.0), forward, (0.0, 0.0, 1.0)
