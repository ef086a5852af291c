"""The settings of a synthetic world: sizes, options and one knob for each nuisance."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from resight.errors import ResightError

Level = Literal["easy", "medium", "hard"]


class WorldConfig(BaseModel):
    """Everything that decides what a world looks like; the nuisance defaults are those of level ``medium``.

    Build one with :func:`world_config`, which starts from a level and refuses a slip in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    identities: int = Field(200, ge=2, le=1_000_000, description="people, training and test together")
    cameras: int = Field(6, ge=2, le=999, description="cameras")
    crops: int = Field(4000, ge=4, le=100_000_000, description="images in all, distractors and junk included")
    seed: int = Field(0, ge=0, description="another seed, another world")
    level: Level = Field("medium", description="the named set of knobs that the others start from")
    height: int = Field(128, ge=32, le=1024, description="rows of a crop, in pixels")
    width: int = Field(64, ge=16, le=1024, description="columns of a crop, in pixels")

    train_share: float = Field(0.5, ge=0, lt=1, description="share of the identities that train; the others test")
    coverage: float = Field(0.8, ge=0, le=1, description="chance that a camera sees an identity; two always do")
    track_length: int = Field(2, ge=1, le=1000, description="crops in a full track; a fresh track begins after so many")
    frame_gap: float = Field(0.4, gt=0, le=60, description="seconds between the crops of a track")
    siblings: float = Field(0.1, ge=0, le=1, description="share of identities that copy another but for one attribute")
    clothes_change: float = Field(0.0, ge=0, le=1, description="share of identities with a second set of clothes")
    label_noise: float = Field(0.0, ge=0, le=1, description="share of training crops recorded under a wrong identity")
    distractors: float = Field(0.05, ge=0, le=0.9, description="share of all crops: gallery strangers, identity 0")
    junk: float = Field(0.02, ge=0, le=0.9, description="share of all crops: bad boxes in the gallery, identity -1")

    direction_range: float = Field(
        180, ge=0, le=180, description="degrees from frontal that a camera's own view may be"
    )
    direction_spread: float = Field(
        25, ge=0, le=180, description="degrees (σ) that walks differ from the camera's view"
    )
    reverse: float = Field(0.2, ge=0, le=1, description="share of tracks that walk the other way")
    standing: float = Field(0.1, ge=0, le=1, description="share of tracks of somebody who stands")
    camera_height: float = Field(4.5, ge=1, le=12, description="greatest height of a camera, in metres; least is 1.6")
    colour_cast: float = Field(0.1, ge=0, le=1, description="σ of the logarithm of a camera's gain per channel")
    exposure: float = Field(0.3, ge=0, le=3, description="σ of a camera's exposure, in stops")
    contrast: float = Field(0.12, ge=0, le=1, description="σ of the logarithm of a camera's contrast")
    saturation: float = Field(0.2, ge=0, le=1, description="σ of the logarithm of a camera's saturation")
    flicker: float = Field(0.1, ge=0, le=2, description="σ of a track's own exposure, in stops")
    lighting: float = Field(0.5, ge=0, le=1, description="how far cameras differ in sun, shade and its direction")
    blur: float = Field(0.5, ge=0, le=6, description="greatest blur of a camera, σ in pixels of a 128-row crop")
    motion_blur: float = Field(0.8, ge=0, le=12, description="greatest smear of somebody who walks across, likewise")
    noise: float = Field(0.02, ge=0, le=0.5, description="greatest sensor noise of a camera, σ as a share of white")
    resolution: float = Field(0.55, gt=0.05, le=1, description="least native height of a crop, as a share of its rows")
    jpeg_quality: int = Field(70, ge=5, le=100, description="least JPEG quality of a camera; the greatest is 95")
    clutter: float = Field(0.4, ge=0, le=1, description="how busy backgrounds are and how far those of cameras differ")
    occlusion: float = Field(0.1, ge=0, le=1, description="share of tracks behind a pillar, car, bench or box")
    crowd: float = Field(0.12, ge=0, le=1, description="share of tracks with another person near or cutting in")
    misalignment: float = Field(0.04, ge=0, le=0.5, description="σ of a box's shift and scale, as a share of its size")
    cut_off: float = Field(0.05, ge=0, le=1, description="share of tracks whose box cuts off legs or a side")


#: What each level changes of the defaults.
LEVELS: dict[str, dict[str, Any]] = {
    "easy": {
        "coverage": 1.0,
        "siblings": 0.0,
        "direction_range": 40,
        "direction_spread": 12,
        "reverse": 0.0,
        "camera_height": 2.5,
        "colour_cast": 0.04,
        "exposure": 0.1,
        "contrast": 0.04,
        "saturation": 0.06,
        "flicker": 0.03,
        "lighting": 0.2,
        "blur": 0.3,
        "motion_blur": 0.3,
        "noise": 0.008,
        "resolution": 0.85,
        "jpeg_quality": 85,
        "clutter": 0.1,
        "occlusion": 0.0,
        "crowd": 0.0,
        "misalignment": 0.015,
        "cut_off": 0.0,
    },
    "medium": {},
    "hard": {
        "coverage": 0.6,
        "siblings": 0.4,
        "direction_spread": 40,
        "reverse": 0.5,
        "camera_height": 7.0,
        "colour_cast": 0.22,
        "exposure": 0.6,
        "contrast": 0.22,
        "saturation": 0.35,
        "flicker": 0.25,
        "lighting": 1.0,
        "blur": 1.0,
        "motion_blur": 1.8,
        "noise": 0.045,
        "resolution": 0.3,
        "jpeg_quality": 45,
        "clutter": 1.0,
        "occlusion": 0.35,
        "crowd": 0.4,
        "misalignment": 0.09,
        "cut_off": 0.15,
    },
}


def world_config(level: str = "medium", **settings: Any) -> WorldConfig:
    """A level's settings with some of them changed.

    Args:
        level: ``easy``, ``medium`` or ``hard``.
        **settings: Fields of :class:`WorldConfig`.

    Raises:
        ResightError: there is no such level or setting (the nearest right one is named), a value is of a wrong type
            or out of range, or there are too few crops for the identities.
    """
    if not isinstance(level, str) or level not in LEVELS:
        raise ResightError(f"There is no level '{level}': choose one of {', '.join(LEVELS)}.")
    for name in settings:
        if name not in WorldConfig.model_fields:
            near = difflib.get_close_matches(name, WorldConfig.model_fields, n=1, cutoff=0.5)
            hint = f"Did you mean '{near[0]}'?" if near else f"The settings are {', '.join(WorldConfig.model_fields)}."
            raise ResightError(f"There is no setting '{name}' of a synthetic world. {hint}")
    try:
        config = WorldConfig.model_validate({**LEVELS[level], **settings, "level": level})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise ResightError(f"The setting {name}={first['input']!r} is not possible: {first['msg']}.") from error
    return _checked(config)


def describe_knobs() -> list[tuple[str, str, str, str, str]]:
    """Name, value at ``easy``, ``medium`` and ``hard``, and meaning of every setting."""
    rows = []
    for name, field in WorldConfig.model_fields.items():
        values = [str(LEVELS[level].get(name, field.default)) if name != "level" else level for level in LEVELS]
        rows.append((name, values[0], values[1], values[2], field.description or ""))
    return rows


def differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Names of settings that two worlds do not share."""
    return [name for name in WorldConfig.model_fields if ours.get(name) != theirs.get(name)]


def _checked(config: WorldConfig) -> WorldConfig:
    strangers = round(config.crops * config.distractors) + round(config.crops * config.junk)
    people = config.crops - strangers
    if people < 3 * config.identities:
        raise ResightError(
            f"crops={config.crops} leaves {people} for {config.identities} identities (distractors and junk taken "
            "away), but each needs 3, in two cameras: ask for more crops or for fewer identities."
        )
    return config
