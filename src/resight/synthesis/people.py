"""The people of a synthetic world: body and clothes of each identity."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np


class _Colour(NamedTuple):
    """A colour of clothes in sRGB, and how often it is worn above and below the waist, relative to the others."""

    name: str
    srgb: str
    upper: float
    lower: float


_WARDROBE = (
    _Colour("black", "#17171a", 17, 24),
    _Colour("charcoal", "#37393e", 8, 10),
    _Colour("grey", "#85878c", 9, 7),
    _Colour("light grey", "#b9bbbf", 5, 3),
    _Colour("white", "#ecebe7", 12, 3),
    _Colour("navy", "#1d2745", 10, 12),
    _Colour("denim", "#3f5c86", 5, 17),
    _Colour("light denim", "#7d99bb", 3, 7),
    _Colour("blue", "#2856b0", 5, 1),
    _Colour("sky", "#84b6dd", 3, 0.5),
    _Colour("teal", "#1d7c80", 2, 0.5),
    _Colour("green", "#2f7d45", 2.5, 0.5),
    _Colour("olive", "#5c6138", 3.5, 4),
    _Colour("khaki", "#b09a6c", 2.5, 6),
    _Colour("beige", "#d6c5a4", 4, 5),
    _Colour("brown", "#5d3f2a", 3, 3),
    _Colour("burgundy", "#661b2c", 3, 1),
    _Colour("red", "#bf2430", 5, 1),
    _Colour("orange", "#e07a26", 2, 0.3),
    _Colour("yellow", "#e8c440", 2, 0.3),
    _Colour("pink", "#e59bb2", 2.5, 0.5),
    _Colour("purple", "#69408f", 2, 0.5),
)
_UPPER = np.array([float(colour.upper) for colour in _WARDROBE])
_LOWER = np.array([float(colour.lower) for colour in _WARDROBE])
_SHOES = ("black", "black", "white", "white", "grey", "brown", "beige", "navy", "red", "light grey")
_BAGS = ("black", "black", "navy", "grey", "red", "green", "brown", "khaki", "blue", "orange", "pink", "yellow")
_HAIR = (
    ("#15110f", 38),
    ("#2e2019", 24),
    ("#523622", 14),
    ("#8a6238", 8),
    ("#c5a063", 6),
    ("#8c8c8c", 5),
    ("#d9d7d2", 2),
    ("#843c1c", 3),
)
_SKIN = ("#f3cfb3", "#ecc0a0", "#dfac87", "#cb9468", "#b27b52", "#8f5e3c", "#6c452b", "#4c3020")

NONE = "none"
PATTERNS = ("plain", "hstripes", "vstripes", "checks", "dots", "two-tone")
#: Attributes that a change of clothes draws anew; the others belong to the body.
CLOTHES = (
    "upper_colour",
    "upper_second",
    "upper_pattern",
    "pattern_size",
    "sleeves",
    "jacket",
    "shirt_colour",
    "upper_length",
    "hood",
    "logo",
    "lower",
    "lower_colour",
    "lower_pattern",
    "lower_fit",
    "shoes",
    "boots",
    "backpack",
    "bag",
    "bag_colour",
    "hat",
    "hat_colour",
)


@dataclass(frozen=True)
class Person:
    """The looks of one identity in one set of clothes. Colours are sRGB as ``#rrggbb``.

    Attributes:
        height: Standing height in metres.
        girth: Thickness of trunk and limbs, relative to the mean.
        shoulders: Width of the shoulders, relative to the mean.
        hips: Width of the hips, relative to the mean.
        legs: Share of the height that is legs, relative to the mean.
        stride: Swing of the legs in a step, relative to the mean.
        arm_swing: Swing of the arms, relative to the mean.
        posture: Degrees that the back leans forward.
        skin: Colour of the skin.
        hair: Colour of the hair.
        hair_style: ``short``, ``bob``, ``long``, ``tied`` or ``bald``.
        beard: ``yes`` or ``no``.
        upper_colour: Colour of the outermost upper garment.
        upper_second: Second colour of its pattern.
        upper_pattern: One of :data:`PATTERNS`.
        pattern_size: Size of the pattern; 1 is a period of 8.5 cm.
        sleeves: ``long`` or ``short``.
        jacket: ``none``, ``closed`` or ``open``.
        shirt_colour: Colour of the shirt that shows in the collar or in an open jacket.
        upper_length: ``waist``, ``hip`` or ``thigh``.
        hood: ``none``, ``down`` or ``up``.
        logo: Colour of a logo on the chest, or ``none``.
        lower: ``trousers``, ``shorts``, ``skirt`` or ``dress``.
        lower_colour: Colour of the lower garment; not used for a dress, which has the upper garment's colour.
        lower_pattern: ``plain``, ``sides`` (a stripe along the leg) or ``checks``.
        lower_fit: ``slim``, ``regular`` or ``wide``.
        shoes: Colour of the shoes.
        boots: ``yes`` or ``no``.
        backpack: Colour of the backpack, or ``none``.
        bag: Side on which a shoulder bag hangs: ``left``, ``right`` or ``none``.
        bag_colour: Colour of the shoulder bag.
        hat: ``none``, ``cap``, ``beanie`` or ``brim``.
        hat_colour: Colour of the hat.
    """

    height: float
    girth: float
    shoulders: float
    hips: float
    legs: float
    stride: float
    arm_swing: float
    posture: float
    skin: str
    hair: str
    hair_style: str
    beard: str
    upper_colour: str
    upper_second: str
    upper_pattern: str
    pattern_size: float
    sleeves: str
    jacket: str
    shirt_colour: str
    upper_length: str
    hood: str
    logo: str
    lower: str
    lower_colour: str
    lower_pattern: str
    lower_fit: str
    shoes: str
    boots: str
    backpack: str
    bag: str
    bag_colour: str
    hat: str
    hat_colour: str

    def attributes(self) -> dict[str, Any]:
        """The attributes by name."""
        return dict(vars(self))


#: Names of the attributes of :class:`Person`, in order.
ATTRIBUTES = tuple(field.name for field in fields(Person))


def rgb(colour: str) -> np.ndarray:
    """A colour ``#rrggbb`` as ``(3,)`` float64 from 0 to 1."""
    return np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255.0


def colour_distance(a: str, b: str) -> float:
    """Distance of two colours ``#rrggbb`` in CIELAB (ΔE of CIE 1976): about 2 is just visible, 25 is obvious."""
    return float(np.linalg.norm(_lab(a) - _lab(b)))


def draw_person(rng: np.random.Generator) -> Person:
    """Draws a person with body and clothes at random."""
    broad = rng.random()  # from 0, narrow shoulders and wide hips, to 1, broad shoulders and narrow hips
    skin = _SKIN[int(rng.integers(len(_SKIN)))]
    hair_colours, weights = zip(*_HAIR, strict=True)
    hair = str(rng.choice(hair_colours, p=np.array(weights) / sum(weights)))
    styles = ("short", "bob", "long", "tied", "bald")
    chances = np.array([0.2, 0.2, 0.33, 0.25, 0.02]) * (1 - broad) + np.array([0.74, 0.06, 0.05, 0.04, 0.11]) * broad
    style = str(rng.choice(styles, p=chances / chances.sum()))
    body: dict[str, Any] = {
        "height": round(float(np.clip(rng.normal(1.64 + 0.13 * broad, 0.065), 1.45, 2.0)), 3),
        "girth": round(float(np.clip(rng.normal(1.0, 0.13), 0.8, 1.45)), 3),
        "shoulders": round(float(0.92 + 0.16 * broad + rng.normal(0, 0.02)), 3),
        "hips": round(float(1.08 - 0.14 * broad + rng.normal(0, 0.03)), 3),
        "legs": round(float(np.clip(rng.normal(1.0, 0.025), 0.94, 1.06)), 3),
        "stride": round(float(np.clip(rng.normal(1.0, 0.15), 0.6, 1.4)), 3),
        "arm_swing": round(float(np.clip(rng.normal(1.0, 0.3), 0.3, 1.8)), 3),
        "posture": round(float(np.clip(rng.normal(3.0, 3.0), -3, 14)), 2),
        "skin": _jitter(rng, skin, 0.03),
        "hair": _jitter(rng, hair, 0.02),
        "hair_style": style,
        "beard": "yes" if broad > 0.55 and rng.random() < 0.3 else "no",
    }
    return Person(**body, **_draw_clothes(rng, broad))


def change_clothes(rng: np.random.Generator, person: Person) -> Person:
    """The same body in other clothes, with an obviously different upper colour."""
    while True:
        broad = (person.shoulders - 0.92) / 0.16
        changed = replace(person, **_draw_clothes(rng, float(np.clip(broad, 0, 1))))
        if colour_distance(changed.upper_colour, person.upper_colour) > 25:
            return changed


def draw_sibling(rng: np.random.Generator, person: Person) -> tuple[Person, str]:
    """A copy of a person with one visible change, and the name of the attribute that was changed."""
    names, weights = zip(*_SIBLING_CHANGES.items(), strict=True)
    while True:
        name = str(rng.choice(names, p=np.array(weights) / sum(weights)))
        other = replace(person, **{name: getattr(draw_person(rng), name)})
        if _visibly_changed(person, other, name):
            return other, name


#: Attributes in which a sibling may differ, and how often; most of them are visible from all sides.
_SIBLING_CHANGES = {
    "upper_colour": 5,
    "lower_colour": 5,
    "upper_pattern": 2.5,
    "upper_second": 1,
    "sleeves": 2,
    "upper_length": 1.5,
    "lower": 2.5,
    "shoes": 1.5,
    "hair_style": 1.5,
    "hair": 1.5,
    "skin": 1,
    "hat": 2,
    "backpack": 2,
    "bag": 1.5,
    "jacket": 1,
}
#: Colours of a sibling differ at least this much (:func:`colour_distance`).
_LEAST_STEP = {"upper_colour": 26, "upper_second": 35, "lower_colour": 26, "shoes": 45, "hair": 32, "skin": 32}


def _visibly_changed(old: Person, new: Person, name: str) -> bool:
    before, after = getattr(old, name), getattr(new, name)
    if before == after:
        return False
    if name in _LEAST_STEP and colour_distance(before, after) < _LEAST_STEP[name]:
        return False
    if name == "upper_second":
        return old.upper_pattern != "plain"
    if name == "upper_pattern":
        return colour_distance(old.upper_colour, old.upper_second) > 35
    if name == "lower_colour":
        return old.lower != "dress"
    if name in ("hair", "hair_style"):
        flowing = (before in ("long", "bob")) != (after in ("long", "bob"))
        seen = old.hood != "up" and old.hat != "beanie"
        return seen and (flowing if name == "hair_style" else old.hair_style != "bald")
    if name == "hat":
        return old.hood != "up"
    if name == "jacket":
        opened = colour_distance(old.shirt_colour, old.upper_colour) > 30
        return opened and "open" in (before, after) and old.lower != "dress" and old.sleeves == "long"
    if name == "backpack":  # another colour is too small a change
        return NONE in (before, after)
    if name == "sleeves":
        return old.jacket == NONE
    if name == "upper_length":
        return old.lower in ("trousers", "shorts") and "thigh" in (before, after)
    if name == "lower":
        return old.upper_length != "thigh"
    return True


def _draw_clothes(rng: np.random.Generator, broad: float) -> dict[str, Any]:
    jacket = str(rng.choice((NONE, "closed", "open"), p=(0.55, 0.25, 0.2)))
    lower_chances = np.array([0.62, 0.1, 0.17, 0.11]) * (1 - broad) + np.array([0.82, 0.18, 0.0, 0.0]) * broad
    lower = str(rng.choice(("trousers", "shorts", "skirt", "dress"), p=lower_chances / lower_chances.sum()))
    if lower == "dress":
        jacket = NONE
    upper = _garment(rng, _UPPER)
    second = _garment(rng, _UPPER)
    while colour_distance(upper, second) < 30:
        second = _garment(rng, _UPPER)
    pattern = str(rng.choice(PATTERNS, p=(0.56, 0.13, 0.05, 0.1, 0.05, 0.11)))
    sleeves = "long" if jacket != NONE or rng.random() < 0.45 else "short"
    length = str(rng.choice(("waist", "hip", "thigh"), p=(0.45, 0.4, 0.15) if jacket != NONE else (0.65, 0.33, 0.02)))
    if lower in ("skirt", "dress") and length == "thigh":
        length = "hip"
    hood = str(rng.choice((NONE, "down", "up"), p=(0.72, 0.23, 0.05) if sleeves == "long" else (0.98, 0.02, 0.0)))
    return {
        "upper_colour": upper,
        "upper_second": second,
        "upper_pattern": pattern,
        "pattern_size": round(float(rng.uniform(0.75, 1.4)), 3),
        "sleeves": sleeves,
        "jacket": jacket,
        "shirt_colour": _garment(rng, _UPPER),
        "upper_length": length,
        "hood": hood,
        "logo": _garment(rng, _UPPER) if rng.random() < 0.18 else NONE,
        "lower": lower,
        "lower_colour": _garment(rng, _LOWER),
        "lower_pattern": str(rng.choice(("plain", "sides", "checks"), p=(0.86, 0.09, 0.05))),
        "lower_fit": str(rng.choice(("slim", "regular", "wide"), p=(0.35, 0.45, 0.2))),
        "shoes": _named(rng, _SHOES),
        "boots": "yes" if rng.random() < 0.12 else "no",
        "backpack": _named(rng, _BAGS) if rng.random() < 0.24 else NONE,
        "bag": str(rng.choice((NONE, "left", "right"), p=(0.78, 0.11, 0.11))),
        "bag_colour": _named(rng, _BAGS),
        "hat": str(rng.choice((NONE, "cap", "beanie", "brim"), p=(0.83, 0.09, 0.05, 0.03))),
        "hat_colour": _named(rng, _BAGS),
    }


def _garment(rng: np.random.Generator, weights: np.ndarray) -> str:
    return _jitter(rng, _WARDROBE[int(rng.choice(len(_WARDROBE), p=weights / weights.sum()))].srgb, 0.03)


def _named(rng: np.random.Generator, names: tuple[str, ...]) -> str:
    name = names[int(rng.integers(len(names)))]
    return _jitter(rng, next(colour.srgb for colour in _WARDROBE if colour.name == name), 0.03)


def _jitter(rng: np.random.Generator, colour: str, amount: float) -> str:
    values = np.clip(rgb(colour) + rng.normal(0, amount / 2) + rng.normal(0, amount / 2, 3), 0.02, 0.97)
    return "#" + "".join(f"{round(255 * value):02x}" for value in values)


def _lab(colour: str) -> np.ndarray:
    """CIELAB of an sRGB colour, with the white point D65 (CIE 1976)."""
    linear = linear_light(rgb(colour))
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    ratio = xyz / np.array([0.9505, 1.0, 1.089])
    fx, fy, fz = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)])


def linear_light(values: np.ndarray) -> np.ndarray:
    """Linear light of sRGB values from 0 to 1 (IEC 61966-2-1)."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
