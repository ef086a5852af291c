"""Who lives in a synthetic world: each identity's body and clothes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

#: Wardrobe colours with how often they are worn: (name, sRGB, weight above the waist, weight below).
_WARDROBE: tuple[tuple[str, str, float, float], ...] = (
    ("black", "#17171a", 17, 24),
    ("charcoal", "#37393e", 8, 10),
    ("grey", "#85878c", 9, 7),
    ("light grey", "#b9bbbf", 5, 3),
    ("white", "#ecebe7", 12, 3),
    ("navy", "#1d2745", 10, 12),
    ("denim", "#3f5c86", 5, 17),
    ("light denim", "#7d99bb", 3, 7),
    ("blue", "#2856b0", 5, 1),
    ("sky", "#84b6dd", 3, 0.5),
    ("teal", "#1d7c80", 2, 0.5),
    ("green", "#2f7d45", 2.5, 0.5),
    ("olive", "#5c6138", 3.5, 4),
    ("khaki", "#b09a6c", 2.5, 6),
    ("beige", "#d6c5a4", 4, 5),
    ("brown", "#5d3f2a", 3, 3),
    ("burgundy", "#661b2c", 3, 1),
    ("red", "#bf2430", 5, 1),
    ("orange", "#e07a26", 2, 0.3),
    ("yellow", "#e8c440", 2, 0.3),
    ("pink", "#e59bb2", 2.5, 0.5),
    ("purple", "#69408f", 2, 0.5),
)
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
#: Attributes that only clothes have: a change of clothes draws these anew and leaves the others.
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
    """One identity's looks. Colours are sRGB as ``#rrggbb``; lengths in metres; the rest as said.

    Attributes:
        height: Standing height.
        girth: Thickness of trunk and limbs, 1 the mean.
        shoulders: Width of the shoulders, 1 the mean.
        hips: Width of the hips, 1 the mean.
        legs: Share of the height below the hip joint, 1 the mean.
        stride: Swing of the legs in a step, 1 the mean.
        arm_swing: Swing of the arms, 1 the mean.
        posture: Degrees that the back leans forward.
        skin: Colour of the skin.
        hair: Colour of the hair.
        hair_style: ``short``, ``bob``, ``long``, ``tied`` or ``bald``.
        beard: ``yes`` or ``no``.
        upper_colour: Colour of the outermost upper garment.
        upper_second: Second colour of its pattern.
        upper_pattern: One of :data:`PATTERNS`.
        pattern_size: Size of the pattern, 1 the mean.
        sleeves: ``long`` or ``short``.
        jacket: ``none``, ``closed`` or ``open``.
        shirt_colour: What shows in the collar or between the sides of an open jacket.
        upper_length: ``waist``, ``hip`` or ``thigh``.
        hood: ``none``, ``down`` or ``up``.
        logo: Colour of a print on the chest, or ``none``.
        lower: ``trousers``, ``shorts``, ``skirt`` or ``dress``.
        lower_colour: Its colour; a dress has the upper garment's.
        lower_pattern: ``plain``, ``sides`` (a stripe along the leg) or ``checks``.
        lower_fit: ``slim``, ``regular`` or ``wide``.
        shoes: Colour of the shoes.
        boots: ``yes`` or ``no``.
        backpack: Its colour, or ``none``.
        bag: Side the shoulder bag hangs on: ``left``, ``right`` or ``none``.
        bag_colour: Its colour.
        hat: ``none``, ``cap``, ``beanie`` or ``brim``.
        hat_colour: Its colour.
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
        """Attributes by name."""
        return dict(vars(self))


#: Names of a person's attributes, in order.
ATTRIBUTES = tuple(field.name for field in fields(Person))


def rgb(colour: str) -> np.ndarray:
    """``#rrggbb`` as three numbers from 0 to 1."""
    return np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255.0


def colour_distance(a: str, b: str) -> float:
    """Euclidean distance of two colours in CIELAB (ΔE 1976): 2 is just seen, 25 is plainly another colour."""
    return float(np.linalg.norm(_lab(a) - _lab(b)))


def draw_person(rng: np.random.Generator) -> Person:
    """A person with body and clothes drawn at random."""
    broad = rng.random()  # 0 to 1: from narrow shoulders and wide hips to the reverse
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
    """The same body in other clothes, plainly of another colour."""
    while True:
        broad = (person.shoulders - 0.92) / 0.16
        changed = replace(person, **_draw_clothes(rng, float(np.clip(broad, 0, 1))))
        if colour_distance(changed.upper_colour, person.upper_colour) > 25:
            return changed


def draw_sibling(rng: np.random.Generator, person: Person) -> tuple[Person, str]:
    """A copy of a person with one attribute changed so that it can be seen, and that attribute's name."""
    names, weights = zip(*_SIBLING_CHANGES.items(), strict=True)
    while True:
        name = str(rng.choice(names, p=np.array(weights) / sum(weights)))
        other = replace(person, **{name: getattr(draw_person(rng), name)})
        if _visibly_changed(person, other, name):
            return other, name


#: Attributes a sibling may differ in, and how often: mostly those that are seen from all sides.
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
    if name == "backpack":  # there or not there; another colour is a smaller thing
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
    upper = _wardrobe(rng, 2)
    second = _wardrobe(rng, 2)
    while colour_distance(upper, second) < 30:
        second = _wardrobe(rng, 2)
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
        "shirt_colour": _wardrobe(rng, 2),
        "upper_length": length,
        "hood": hood,
        "logo": _wardrobe(rng, 2) if rng.random() < 0.18 else NONE,
        "lower": lower,
        "lower_colour": _wardrobe(rng, 3),
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


def _wardrobe(rng: np.random.Generator, weight: int) -> str:
    weights = np.array([float(entry[weight]) for entry in _WARDROBE])
    return _jitter(rng, _WARDROBE[int(rng.choice(len(_WARDROBE), p=weights / weights.sum()))][1], 0.03)


def _named(rng: np.random.Generator, names: tuple[str, ...]) -> str:
    name = names[int(rng.integers(len(names)))]
    return _jitter(rng, next(entry[1] for entry in _WARDROBE if entry[0] == name), 0.03)


def _jitter(rng: np.random.Generator, colour: str, amount: float) -> str:
    values = np.clip(rgb(colour) + rng.normal(0, amount / 2) + rng.normal(0, amount / 2, 3), 0.02, 0.97)
    return "#" + "".join(f"{round(255 * value):02x}" for value in values)


def _lab(colour: str) -> np.ndarray:
    linear = linear_light(rgb(colour))
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    f = xyz / np.array([0.9505, 1.0, 1.089])
    f = np.where(f > 0.008856, np.cbrt(f), 7.787 * f + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def linear_light(values: np.ndarray) -> np.ndarray:
    """SRGB values from 0 to 1 as amounts of light."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
