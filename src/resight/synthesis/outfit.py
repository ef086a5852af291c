"""What a figure wears besides clothes: hair, hats, hoods and bags."""

from __future__ import annotations

import numpy as np

from resight.synthesis.parts import Parts
from resight.synthesis.people import NONE, Person, linear_light, rgb
from resight.synthesis.skeleton import Pose, Skeleton, shifted
from resight.synthesis.slots import CLOTH, SHOE


def colour_of(colour: str) -> np.ndarray:
    """An sRGB colour ``#rrggbb`` as ``(3,)`` linear light."""
    return linear_light(rgb(colour))


def add_hair(parts: Parts, person: Person, bones: Skeleton, hair: int) -> None:
    """Adds hair in the person's style; a hood that is up hides all of it.

    Args:
        parts: Where the solids are added.
        person: Style, hood and girth are read.
        bones: The posed skeleton.
        hair: Index of the hair's material.
    """
    style = person.hair_style
    if style == "bald" or person.hood == "up":
        return
    k, head, spine, torso = bones.head_size, bones.head, bones.spine, bones.torso
    ahead = head.y
    crown = (0.078 * k, 0.088 * k, 0.08 * k)
    parts.ball(head.at(0, -0.014 * k, 0.122 * k), crown, hair, up=head.way(0, -0.25, 0.97), front=ahead)
    nape = head.at(0, -0.034 * k, 0.075 * k)
    parts.add(nape, head.at(0, -0.03 * k, 0.12 * k), 0.06 * k, 0.07 * k, hair, wide=1.1, front=ahead)
    if style in ("bob", "long"):
        for side in (1, -1):
            low, high = (
                head.at(side * 0.057 * k, -0.012 * k, 0.012 * k),
                head.at(side * 0.052 * k, -0.012 * k, 0.115 * k),
            )
            parts.add(low, high, 0.03 * k, 0.038 * k, hair, deep=1.35, front=ahead)
        low, high = head.at(0, -0.05 * k, 0.0), head.at(0, -0.035 * k, 0.1 * k)
        parts.add(low, high, 0.056 * k, 0.065 * k, hair, wide=1.25, deep=0.85, front=ahead)
    if style == "long":
        back = -0.1 * bones.size * person.girth * (1.08 if person.jacket != NONE else 1.0) - 0.012 * k
        low, high = spine.at(0, back, torso - 0.2 * k), head.at(0, -0.06 * k, 0.07 * k)
        parts.add(low, high, 0.05 * k, 0.062 * k, hair, wide=1.5, deep=0.62, front=ahead)
        for side in (1, -1):
            low, high = (
                spine.at(side * 0.085 * k, 0.05 * k, torso - 0.1 * k),
                head.at(side * 0.06 * k, -0.01 * k, 0.05 * k),
            )
            parts.add(low, high, 0.022 * k, 0.032 * k, hair, front=ahead)
    if style == "tied":
        knot = head.at(0, -0.1 * k, 0.13 * k)
        parts.ball(knot, (0.034 * k, 0.034 * k, 0.034 * k), hair, up=head.z, front=ahead)
        parts.add(knot, spine.at(0, -0.14 * k, torso - 0.06 * k), 0.026 * k, 0.014 * k, hair, wide=1.3, front=ahead)


def add_hat(parts: Parts, person: Person, bones: Skeleton, upper: np.ndarray) -> None:
    """Adds a hood, and a hat unless the hood is up.

    Args:
        parts: Where the solids and materials are added.
        person: Hood and hat are read.
        bones: The posed skeleton.
        upper: ``(3,)`` colour of the upper garment in linear light, which the hood shares.
    """
    k, head, spine, torso = bones.head_size, bones.head, bones.spine, bones.torso
    ahead = head.y
    if person.hood == "up":
        cloth = parts.material(CLOTH, upper)
        dome = (0.1 * k, 0.105 * k, 0.115 * k)
        parts.ball(head.at(0, -0.03 * k, 0.105 * k), dome, cloth, up=head.z, front=ahead)
        low, high = spine.at(0, -0.03 * k, torso), head.at(0, -0.035 * k, 0.07 * k)
        parts.add(low, high, 0.085 * k, 0.09 * k, cloth, wide=1.1, front=ahead)
        return
    if person.hood == "down":
        cloth = parts.material(CLOTH, 0.85 * upper)
        roll = (0.125 * k, 0.06 * k, 0.07 * k)
        parts.ball(spine.at(0, -0.085 * k, torso - 0.025 * k), roll, cloth, up=spine.z, front=spine.y)
        for side in (1, -1):
            a, b = (
                spine.at(side * 0.07 * k, -0.04 * k, torso + 0.012 * k),
                spine.at(side * 0.045 * k, 0.075 * k, torso - 0.045 * k),
            )
            parts.add(a, b, 0.036 * k, 0.024 * k, cloth, front=spine.y)
    if person.hat == NONE:
        return
    felt = parts.material(CLOTH, colour_of(person.hat_colour))
    top = head.at(0, -0.012 * k, 0.142 * k)
    if person.hat == "cap":
        parts.ball(top, (0.086 * k, 0.098 * k, 0.08 * k), felt, up=head.z, front=ahead)
        a, b = head.at(0, 0.06 * k, 0.142 * k), head.at(0, 0.14 * k, 0.128 * k)
        parts.add(a, b, 0.045 * k, 0.04 * k, felt, wide=1.5, deep=0.28, front=head.z)
    elif person.hat == "beanie":
        a, b = head.at(0, -0.01 * k, 0.118 * k), head.at(0, -0.028 * k, 0.18 * k)
        parts.add(a, b, 0.09 * k, 0.062 * k, felt, deep=1.08, front=ahead)
        bobble = (0.02 * k, 0.02 * k, 0.018 * k)
        parts.ball(head.at(0, -0.04 * k, 0.247 * k), bobble, felt, up=head.z, front=ahead)
    else:
        parts.ball(top, (0.08 * k, 0.092 * k, 0.092 * k), felt, up=head.z, front=ahead)
        brim = (0.155 * k, 0.165 * k, 0.014 * k)
        parts.ball(head.at(0, -0.006 * k, 0.138 * k), brim, felt, up=head.z, front=ahead)


def add_bags(parts: Parts, person: Person, pose: Pose, bones: Skeleton) -> None:
    """Adds a backpack with straps, a shoulder bag, and what the hands hold.

    Args:
        parts: Where the solids and materials are added.
        person: Backpack, bag, jacket and girth are read.
        pose: ``carry`` is read.
        bones: The posed skeleton.
    """
    k, g, spine, torso = bones.size, person.girth, bones.spine, bones.torso
    ahead = spine.y
    if person.backpack != NONE:
        colour = colour_of(person.backpack)
        cloth, trim = parts.material(CLOTH, colour), parts.material(CLOTH, 0.6 * colour)
        back = -(0.105 * g * (1.08 if person.jacket != NONE else 1.0) + 0.075) * k
        low, high = spine.at(0, back, 0.09 * k), spine.at(0, back, torso - 0.1 * k)
        parts.add(low, high, 0.085 * k, 0.082 * k, cloth, wide=1.65, front=ahead)
        low, high = spine.at(0, back - 0.07 * k, 0.1 * k), spine.at(0, back - 0.07 * k, 0.19 * k)
        parts.add(low, high, 0.06 * k, 0.055 * k, trim, wide=1.6, deep=0.7, front=ahead)
        for side in (1, -1):
            a, b = (
                spine.at(side * 0.09 * k, -0.08 * k, torso - 0.02 * k),
                spine.at(side * 0.09 * k, 0.085 * k, torso - 0.055 * k),
            )
            parts.add(a, b, 0.03 * k, 0.026 * k, trim, wide=0.9, front=spine.z)
    if person.bag != NONE:
        leather = parts.material(CLOTH, colour_of(person.bag_colour))
        x, y = (0.215 * g + 0.01) * k * (1.0 if person.bag == "right" else -1.0), -0.035 * k
        parts.add(
            spine.at(x, y, -0.15 * k),
            spine.at(x, y, 0.03 * k),
            0.07 * k,
            0.066 * k,
            leather,
            wide=0.8,
            deep=2.0,
            front=ahead,
        )
    if pose.carry == "phone":
        glass = parts.material(SHOE, np.array([0.01, 0.01, 0.012]))
        hand = shifted(shifted(bones.arms[0].wrist, ahead, 0.06), spine.z, 0.09)
        parts.ball(hand, (0.035, 0.012, 0.065), glass, up=spine.way(0, 0.3, 0.95), front=ahead)
    elif pose.carry == "hold":
        paper = parts.material(CLOTH, np.array([0.33, 0.22, 0.12]))
        size = (0.3 * k, 0.2 * k, 0.2 * k)
        parts.box(spine.at(0, 0.29 * k, 0.14 * k), size, paper, up=spine.z, front=ahead)
