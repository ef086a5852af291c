"""The bones of somebody who walks or stands.

Body axes: x to the person's right, y forward, z up; the ground is z = 0. Lengths are metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, exp, pi, radians, sin

from resight.synthesis.parts import Vector
from resight.synthesis.people import NONE, Person


@dataclass(frozen=True)
class Pose:
    """Where somebody is and what the body does.

    Attributes:
        x: Place in the scene, to the right.
        y: Place in the scene, away from the camera.
        heading: Degrees from +x towards +y of the way the person faces.
        phase: Of the step, in radians: 0 where the right heel strikes, π where the left one does.
        walking: Whether it is a step; standing otherwise.
        carry: What the arms do: ``none``, ``phone`` or ``hold``.
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
    """A turned and shifted frame: from its axes to the world's."""

    def __init__(self, origin: Vector, x: Vector, y: Vector, z: Vector) -> None:
        self.origin, self.x, self.y, self.z = origin, x, y, z

    def at(self, x: float, y: float, z: float) -> Vector:
        """The place with these coordinates."""
        o, w = self.origin, self.way(x, y, z)
        return (o[0] + w[0], o[1] + w[1], o[2] + w[2])

    def way(self, x: float, y: float, z: float) -> Vector:
        """The direction with these coordinates."""
        a, b, c = self.x, self.y, self.z
        return (
            x * a[0] + y * b[0] + z * c[0],
            x * a[1] + y * b[1] + z * c[1],
            x * a[2] + y * b[2] + z * c[2],
        )

    def turned(self, origin: Vector, yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> Frame:
        """A frame at ``origin`` (own axes), turned about z (to the left), then leant forward, then to the right."""
        cy, sy = cos(yaw), sin(yaw)
        cp, sp = cos(pitch), sin(pitch)
        cr, sr = cos(roll), sin(roll)
        x = (cr * cy + sr * sp * sy, cr * sy - sr * sp * cy, -sr * cp)
        y = (-cp * sy, cp * cy, -sp)
        z = (sr * cy - cr * sp * sy, sr * sy + cr * sp * cy, cr * cp)
        return Frame(self.at(*origin), self.way(*x), self.way(*y), self.way(*z))


@dataclass(frozen=True)
class Leg:
    """One leg's joints, and the foot's directions forward and up."""

    hip: Vector
    knee: Vector
    ankle: Vector
    ahead: Vector
    over: Vector


@dataclass(frozen=True)
class Arm:
    """One arm's joints and the end of the hand."""

    shoulder: Vector
    elbow: Vector
    wrist: Vector
    hand: Vector


@dataclass(frozen=True)
class Skeleton:
    """A posed skeleton, feet not yet on the ground.

    Attributes:
        size: Height as a share of 1.75 m: scales all that is given in metres of the mean body.
        leg: From the ground to the hip joint, standing.
        sole: From the ground to the ankle, standing.
        thigh: Length of the thigh.
        torso: From the hips to the base of the neck.
        shoulder: From the middle to a shoulder joint.
        pelvis: Frame between the hip joints.
        spine: Frame there that leans and turns with the chest.
        head: Frame at the top of the neck.
        legs: Right, left.
        arms: Right, left.
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
        """Like ``size`` for the head: heads vary less than bodies."""
        return 0.62 * self.size + 0.38

    @property
    def step(self) -> float:
        """How far the knees are apart."""
        right, left = self.legs
        return max(abs(a - b) for a, b in zip(right.knee, left.knee, strict=True))

    def joints(self) -> list[Vector]:
        """Ankles, knees and hips (right leg, then left), shoulders, head, wrists."""
        right, left = self.legs
        legs = [right.ankle, right.knee, right.hip, left.ankle, left.knee, left.hip]
        first, second = self.arms
        return [*legs, first.shoulder, second.shoulder, self.head.at(0, 0, 0.1 * self.size), first.wrist, second.wrist]


def pose_skeleton(person: Person, pose: Pose) -> Skeleton:
    """The skeleton of a person in a pose."""
    height, size = person.height, person.height / 1.75
    leg = 0.515 * height * person.legs
    thigh, shank, sole = 0.48 * leg, 0.435 * leg, 0.085 * leg
    torso = 0.302 * height * (1.0 - 0.5 * (person.legs - 1.0))
    shoulder = 0.178 * size * person.shoulders
    wave = sin(pose.phase) if pose.walking else 1.0
    turn = radians(7.0) * cos(pose.phase) if pose.walking else 0.0
    middle = (0.018 * size * wave, 0.0, leg)
    ground = Frame((pose.x, pose.y, 0.0), *_heading(pose.heading))
    # the hips turn with the leading leg and drop on the swinging side; the chest turns against them
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
    """The place some share of the way from ``a`` to ``b``."""
    return (a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]), a[2] + share * (b[2] - a[2]))


def shifted(a: Vector, way: Vector, length: float) -> Vector:
    """The place some length from ``a`` in a direction."""
    return (a[0] + length * way[0], a[1] + length * way[1], a[2] + length * way[2])


def _gait(person: Person, pose: Pose, side: int) -> tuple[float, float, float, float, float]:
    """Angles of one leg and the arm on its side: hip, knee, foot (up), shoulder, elbow, in radians.

    The hip swings as a cosine; the knee bends a little as it takes the weight and much as it swings through.
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
    """The end of a limb hanging from ``start``, swung forward by ``angle`` and outwards by ``out``."""
    return shifted(start, frame.way(sin(out), sin(angle) * cos(out), -cos(angle) * cos(out)), length)


def _heading(degrees: float) -> tuple[Vector, Vector, Vector]:
    forward = (cos(radians(degrees)), sin(radians(degrees)), 0.0)
    return (forward[1], -forward[0], 0.0), forward, (0.0, 0.0, 1.0)
