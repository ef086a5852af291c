"""A person as solids: the body and the clothes around a posed skeleton."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from resight.synthesis.outfit import add_bags, add_hair, add_hat, colour_of
from resight.synthesis.parts import NO_COVER, Parts
from resight.synthesis.people import NONE, Person
from resight.synthesis.skeleton import Joints, Pose, Skeleton, between, pose_skeleton, shifted
from resight.synthesis.slots import (
    CLOTH,
    CONE,
    FACE,
    FACE_BEARD,
    HAIR,
    LOGO_BAR,
    LOGO_DISC,
    LOGO_SQUARE,
    MATERIAL_COLOUR,
    MATERIAL_KIND,
    MATERIAL_LINE,
    MATERIAL_PATTERN,
    MATERIAL_RADIUS,
    MATERIAL_SIDE,
    MATERIAL_SIZE,
    MATERIAL_SOLE,
    MATERIAL_THIRD_COLOUR,
    NO_LOGO,
    OPEN,
    OPEN_CONE,
    OWNER_THING,
    PATTERN_CHECKS,
    PATTERN_COLUMNS,
    PATTERN_DOTS,
    PATTERN_PLAIN,
    PATTERN_ROWS,
    PATTERN_SIDE,
    PATTERN_TWO_TONE,
    SHOE,
    SHUT,
    SKIN,
    TORSO,
    TORSO_BAG_SIDE,
    TORSO_COLLAR,
    TORSO_GAP,
    TORSO_LOGO,
    TORSO_NECK,
    TORSO_OPENING,
    TORSO_SHIRT,
    TORSO_STRAPS,
    ZIPPED,
)

_PATTERNS = {
    "plain": PATTERN_PLAIN,
    "hstripes": PATTERN_ROWS,
    "vstripes": PATTERN_COLUMNS,
    "checks": PATTERN_CHECKS,
    "dots": PATTERN_DOTS,
    "two-tone": PATTERN_TWO_TONE,
}
_LOWER_PATTERNS = {"plain": PATTERN_PLAIN, "sides": PATTERN_SIDE, "checks": PATTERN_CHECKS}
_LOGOS = (LOGO_DISC, LOGO_BAR, LOGO_SQUARE)
#: ``MATERIAL_SOLE`` of a shoe's material that shows no sole: it lies below every point.
_NO_SOLE = {MATERIAL_SOLE: -9.0}


@dataclass(frozen=True)
class _Cloths:
    """Indices of a person's materials, and how high above the hips the garments end (metres, negative below)."""

    torso: int
    over: int
    sleeve: int
    yoke: int
    legs: tuple[int, int]
    bare: int
    hair: int
    face: int
    shoe: int
    shaft: int
    hem: float
    skirt_hem: float


def add_person(parts: Parts, person: Person, pose: Pose, owner: int = OWNER_THING) -> Joints:
    """Adds the solids of a clothed person who stands on the ground.

    Args:
        parts: Where the solids and materials are added.
        person: Body and clothes.
        pose: Place and pose.
        owner: ``OWNER_PERSON`` or ``OWNER_COMPANION``, to count visible samples by.

    Returns:
        The joints, for the figure's shadow.
    """
    first = len(parts.ends)
    parts.owner = owner
    bones = pose_skeleton(person, pose)
    cloths = _materials(parts, person, bones)
    _add_legs(parts, person, bones, cloths)
    _add_arms(parts, person, bones, cloths)
    _add_trunk(parts, person, bones, cloths)
    _add_head(parts, person, bones, cloths)
    add_hair(parts, person, bones, cloths.hair)
    add_hat(parts, person, bones, parts.materials[cloths.over][MATERIAL_COLOUR : MATERIAL_COLOUR + 3])
    add_bags(parts, person, pose, bones)
    parts.owner = OWNER_THING
    return _stand_on_ground(parts, first, bones.joints())


def _materials(parts: Parts, person: Person, bones: Skeleton) -> _Cloths:
    k, g = bones.size, person.girth
    skin, upper, second = colour_of(person.skin), colour_of(person.upper_colour), colour_of(person.upper_second)
    dress = person.lower == "dress"
    pattern = _PATTERNS[person.upper_pattern]
    opening = {NONE: SHUT, "closed": ZIPPED, "open": OPEN}[person.jacket]
    logo = NONE if person.jacket == "open" else person.logo
    straps = None if person.backpack == NONE else colour_of(person.backpack)
    torso = parts.material(
        TORSO,
        upper,
        second,
        {
            MATERIAL_PATTERN: pattern,
            MATERIAL_SIZE: person.pattern_size,
            MATERIAL_LINE: bones.torso * 0.55,
            MATERIAL_RADIUS: 0.15 * g,
            TORSO_OPENING: opening,
            TORSO_NECK: bones.torso,
            TORSO_GAP: 0.055 * k * g,
            TORSO_STRAPS: 0 if straps is None else 1,
            TORSO_LOGO: NO_LOGO if logo == NONE else _LOGOS[int(logo[1:], 16) % len(_LOGOS)],
            TORSO_BAG_SIDE: {NONE: 0, "left": -1, "right": 1}[person.bag],
            TORSO_COLLAR: 1 if person.sleeves == "long" else 0,
        },
    )
    row = parts.materials[torso]
    third = colour_of(logo) if logo != NONE else 0.7 * (upper if straps is None else straps)
    row[MATERIAL_THIRD_COLOUR : MATERIAL_THIRD_COLOUR + 3] = third
    row[TORSO_SHIRT : TORSO_SHIRT + 3] = skin if opening == SHUT else colour_of(person.shirt_colour)
    two_tone = pattern == PATTERN_TWO_TONE
    size = {MATERIAL_SIZE: person.pattern_size}
    plain = PATTERN_PLAIN if two_tone else pattern
    over = parts.material(CLOTH, upper, second, {MATERIAL_PATTERN: plain, MATERIAL_RADIUS: 0.09, **size})
    arms = second if two_tone else upper
    fine = pattern if pattern in (PATTERN_ROWS, PATTERN_CHECKS, PATTERN_DOTS) else PATTERN_PLAIN
    sleeve = parts.material(CLOTH, arms, second, {MATERIAL_PATTERN: fine, MATERIAL_RADIUS: 0.06, **size})
    right = torso if dress else _lower_material(parts, person, 1.0)
    left = torso if dress else _lower_material(parts, person, -1.0)
    return _Cloths(
        torso=torso,
        over=over,
        sleeve=sleeve,
        yoke=sleeve if two_tone else over,
        legs=(right, left),
        bare=parts.material(SKIN, skin),
        hair=parts.material(HAIR, colour_of(person.hair)),
        face=parts.material(FACE, skin, colour_of(person.hair), {FACE_BEARD: 1 if person.beard == "yes" else 0}),
        shoe=parts.material(SHOE, colour_of(person.shoes), np.array([0.55, 0.54, 0.5]), {MATERIAL_SOLE: -0.016}),
        shaft=parts.material(SHOE, colour_of(person.shoes), slots=_NO_SOLE),
        hem={"waist": -0.06, "hip": -0.16, "thigh": -0.38}[person.upper_length] * k,
        skirt_hem=-(0.4 + 0.12 * person.legs) * k if person.lower in ("skirt", "dress") else 0.0,
    )


def _lower_material(parts: Parts, person: Person, side: float) -> int:
    colour = colour_of(person.lower_colour)
    pattern = _LOWER_PATTERNS[person.lower_pattern]
    if pattern == PATTERN_SIDE and person.lower == "skirt":
        pattern = PATTERN_ROWS
    second = colour * 0.35 if colour.mean() > 0.25 else np.array([0.7, 0.7, 0.68])
    if pattern == PATTERN_CHECKS:
        second = colour * 0.5 + 0.12
    slots = {MATERIAL_PATTERN: pattern, MATERIAL_SIZE: 0.8, MATERIAL_SIDE: side, MATERIAL_RADIUS: 0.08}
    return parts.material(CLOTH, colour, second, slots)


def _covers(person: Person, bones: Skeleton, cloths: _Cloths) -> tuple[tuple[float, int], tuple[float, int]]:
    """What covers the hips, and what covers the thighs: height above the ground and index of the material."""
    above = (bones.leg + cloths.hem, cloths.over)
    if person.lower == "dress":
        return NO_COVER, (bones.leg + cloths.skirt_hem, cloths.over)
    if person.lower == "skirt" and cloths.skirt_hem < cloths.hem:
        return above, (bones.leg + cloths.skirt_hem, cloths.legs[0])
    return above, above


def _add_legs(parts: Parts, person: Person, bones: Skeleton, cloths: _Cloths) -> None:
    k, g = bones.size, person.girth
    trousers = person.lower == "trousers"
    loose = {"slim": 0.0, "regular": 0.009, "wide": 0.026}[person.lower_fit] * k
    boots = person.boots == "yes" and not (trousers and person.lower_fit == "wide")
    above_hips, above_thigh = _covers(person, bones, cloths)
    ahead = bones.pelvis.y
    for leg, cloth in zip(bones.legs, cloths.legs, strict=True):
        hip, knee, ankle = leg.hip, leg.knee, leg.ankle
        heel = shifted(shifted(ankle, leg.ahead, -0.035 * k), leg.over, -0.6 * bones.sole)
        toe = shifted(shifted(ankle, leg.ahead, 0.15 * k), leg.over, -0.74 * bones.sole)
        parts.add(heel, toe, 0.038 * k, 0.031 * k, cloths.shoe, deep=0.85, front=leg.over)
        if trousers:
            cuff = (0.043 if person.lower_fit == "slim" else 0.052) * k + 1.3 * loose
            bend = 0.056 * k * g + loose
            parts.add(hip, knee, 0.086 * k * g, bend, cloth, front=ahead, cover=above_thigh)
            parts.add(knee, between(knee, ankle, 0.97), bend, cuff, cloth, front=ahead, offset=0.4)
        else:
            parts.add(hip, knee, 0.082 * k * g, 0.053 * k * g, cloths.bare, front=ahead, cover=above_thigh)
            parts.add(knee, ankle, 0.05 * k * g, 0.034 * k, cloths.bare, front=ahead)
            calf = shifted(between(knee, ankle, 0.3), ahead, -0.016 * k)
            parts.add(calf, between(knee, ankle, 0.62), 0.05 * k * g, 0.032 * k, cloths.bare, front=ahead)
        if person.lower == "shorts":
            edge, wide = between(hip, knee, 0.86), 0.08 * k * g + loose
            parts.add(hip, edge, 0.092 * k * g, wide, cloth, front=ahead, kind=OPEN_CONE, cover=above_hips)
        if boots:
            top = between(ankle, knee, 0.42)
            parts.add(ankle, top, 0.047 * k, 0.058 * k * g, cloths.shaft, front=ahead)
        else:
            sock = cloths.shaft if trousers else cloths.bare
            parts.add(ankle, between(ankle, knee, 0.05), 0.036 * k, 0.038 * k, sock)


def _add_arms(parts: Parts, person: Person, bones: Skeleton, cloths: _Cloths) -> None:
    k, g, ahead = bones.size, person.girth, bones.spine.y
    mild = 0.4 + 0.6 * g
    bulk = 0.009 * k if person.jacket != NONE else 0.004 * k
    for arm in bones.arms:
        if person.sleeves == "long":
            cuff = between(arm.elbow, arm.wrist, 0.96)
            parts.add(
                arm.shoulder, arm.elbow, 0.053 * k * mild + bulk, 0.042 * k * mild + bulk, cloths.sleeve, front=ahead
            )
            parts.add(arm.elbow, cuff, 0.043 * k * g + bulk, 0.033 * k + bulk, cloths.sleeve, front=ahead, offset=0.3)
        else:
            cuff, ball = between(arm.shoulder, arm.elbow, 0.62), 0.056 * k * mild
            parts.add(arm.shoulder, arm.elbow, 0.047 * k * g, 0.038 * k * g, cloths.bare, front=ahead)
            parts.add(arm.elbow, arm.wrist, 0.038 * k * g, 0.027 * k, cloths.bare, front=ahead)
            parts.add(arm.shoulder, cuff, ball, 0.054 * k * g, cloths.sleeve, front=ahead, kind=OPEN_CONE)
            parts.ball(arm.shoulder, (ball, ball, ball), cloths.sleeve, up=bones.spine.z, front=ahead)
        palm = between(arm.wrist, arm.hand, 0.15)
        parts.add(palm, arm.hand, 0.03 * k, 0.023 * k, cloths.bare, wide=0.65, deep=1.2, front=ahead)


def _add_trunk(parts: Parts, person: Person, bones: Skeleton, cloths: _Cloths) -> None:
    """Hips, waist, chest and shoulders, then the loose lower edges of the garments.

    The texture of the trunk counts metres upwards from the hips.
    """
    k, g, torso = bones.size, person.girth, bones.torso
    spine, pelvis = bones.spine, bones.pelvis
    coat = 1.08 if person.jacket != NONE else 1.0
    above_hips, _ = _covers(person, bones, cloths)
    parts.add(
        pelvis.at(0, -0.012 * k, -0.012 * k),
        pelvis.at(0, 0, 0.1 * k),
        0.092 * k,
        0.09 * k,
        cloths.legs[0],
        wide=1.62 * g * person.hips,
        deep=1.12 * g,
        front=pelvis.y,
        offset=-0.01,
        cover=above_hips,
    )
    parts.add(
        spine.at(0, 0, 0.1 * k),
        spine.at(0, 0.006 * k, torso * 0.62),
        0.09 * k,
        0.105 * k,
        cloths.torso,
        wide=1.42 * g * coat,
        deep=1.06 * g * coat,
        front=spine.y,
        offset=0.1 * k,
    )
    parts.add(
        spine.at(0, 0.006 * k, torso * 0.58),
        spine.at(0, -0.006 * k, torso - 0.135 * k),
        0.105 * k,
        0.098 * k,
        cloths.torso,
        wide=1.42 * coat * person.shoulders * (0.4 + 0.6 * g),
        deep=1.06 * g * coat,
        front=spine.y,
        offset=torso * 0.58,
    )
    neck = spine.at(0, -0.012 * k, torso + 0.004 * k)
    for side in (1, -1):
        point = spine.at(side * (bones.shoulder - 0.006 * k), 0, torso - 0.07 * k)
        parts.add(point, neck, 0.053 * k * coat, 0.053 * k, cloths.yoke, front=spine.y, offset=torso)
    if person.lower in ("skirt", "dress"):
        low = cloths.skirt_hem
        parts.add(
            pelvis.at(0, 0.01 * k, low),
            pelvis.at(0, 0, 0.12 * k),
            0.15 * k * g + 0.16 * bones.step + 0.01,
            0.126 * k * g,
            cloths.legs[0],
            wide=1.08,
            deep=0.92,
            front=pelvis.y,
            kind=OPEN_CONE,
            offset=low,
            cover=above_hips,
        )
    if person.lower != "dress":
        flare = 0.155 * k * g * coat * person.hips
        flare += 0.1 * bones.step if person.upper_length == "thigh" else 0.004
        parts.add(
            spine.at(0, 0.012 * k, cloths.hem),
            spine.at(0, 0, 0.13 * k),
            flare,
            0.139 * k * g * coat,
            cloths.torso,
            deep=0.78,
            front=spine.y,
            kind=OPEN_CONE,
            offset=cloths.hem,
        )


def _add_head(parts: Parts, person: Person, bones: Skeleton, cloths: _Cloths) -> None:
    k, torso, spine, head = bones.size, bones.torso, bones.spine, bones.head
    neck = parts.material(SKIN, 0.9 * colour_of(person.skin))
    base, top = spine.at(0, -0.005 * k, torso - 0.01 * k), spine.at(0, 0.012 * k, torso + 0.09 * k)
    parts.add(base, top, 0.052 * k * (0.6 + 0.4 * person.girth), 0.047 * k, neck, front=spine.y)
    k = bones.head_size
    parts.add(head.at(0, 0.028 * k, 0.02 * k), head.at(0, 0.0, 0.105 * k), 0.048 * k, 0.083 * k, cloths.face,
              wide=0.84, front=head.y)  # fmt: skip
    nose, ear = (0.011 * k, 0.016 * k, 0.02 * k), (0.012 * k, 0.02 * k, 0.03 * k)
    parts.ball(head.at(0, 0.095 * k, 0.066 * k), nose, cloths.bare, up=head.z, front=head.y)
    for side in (1, -1):
        parts.ball(head.at(side * 0.071 * k, 0.0, 0.075 * k), ear, cloths.bare, up=head.z, front=head.y)


def _stand_on_ground(parts: Parts, first: int, joints: Joints) -> Joints:
    """Moves the solids from index ``first`` on, and the joints, up or down until the lowest sole is on the ground."""
    lowest = min(
        min(a[2] - numbers.start_radius * numbers.deep, b[2] - numbers.end_radius * numbers.deep)
        for (a, b, _), numbers in zip(parts.ends[first:], parts.numbers[first:], strict=True)
        if numbers.shape == CONE and parts.materials[numbers.material][MATERIAL_KIND] == SHOE
    )
    for i in range(first, len(parts.ends)):
        a, b, front = parts.ends[i]
        parts.ends[i] = ((a[0], a[1], a[2] - lowest), (b[0], b[1], b[2] - lowest), front)
        numbers = parts.numbers[i]
        if numbers.cover_height != NO_COVER[0]:
            parts.numbers[i] = numbers._replace(cover_height=numbers.cover_height - lowest)
    return Joints(*((x, y, z - lowest) for x, y, z in joints))
