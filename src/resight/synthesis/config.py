"""The settings of a synthetic world: its size, and one setting for each difficulty."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from resight.common.checks import LARGEST_SEED, shown
from resight.common.settings import Settings, explain
from resight.errors import ResightError

Level = Literal["easy", "medium", "hard"]


class WorldConfig(Settings):
    """All settings of a world; the defaults are those of the level ``medium``.

    Use :func:`world_config` to make one: it starts from a level, and its error messages are sentences.
    """

    model_config = ConfigDict(validate_default=True)

    identities: int = Field(200, ge=2, le=1_000_000, description="number of identities, training and test together")
    cameras: int = Field(6, ge=2, le=999, description="number of cameras")
    crops: int = Field(4000, ge=4, le=100_000_000, description="number of crops, including distractors and junk")
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="seed of all random numbers")
    level: Level = Field("medium", description="where the defaults of the other settings come from")
    height: int = Field(128, ge=32, le=1024, description="height of a crop in pixels")
    width: int = Field(64, ge=16, le=1024, description="width of a crop in pixels")

    train_share: float = Field(
        0.5, ge=0, lt=1, description="share of the identities for training; the others are for testing"
    )
    coverage: float = Field(0.8, ge=0, le=1, description="probability that a camera sees an identity; at least two do")
    track_length: int = Field(2, ge=1, le=1000, description="maximum number of crops in a track")
    frame_gap: float = Field(0.4, gt=0, le=60, description="seconds between two crops of a track")
    siblings: float = Field(
        0.1, ge=0, le=1, description="share of identities that differ from another in one attribute only"
    )
    clothes_change: float = Field(0.0, ge=0, le=1, description="share of identities with a second set of clothes")
    label_noise: float = Field(0.0, ge=0, le=1, description="share of training crops with a wrong recorded identity")
    distractors: float = Field(
        0.05, ge=0, le=0.9, description="share of all crops: strangers in the gallery, identity 0"
    )
    junk: float = Field(
        0.02, ge=0, le=0.9, description="share of all crops: badly placed boxes in the gallery, identity -1"
    )

    direction_range: float = Field(
        180, ge=0, le=180, description="maximum angle in degrees of a camera's main walking direction; 0 is towards it"
    )
    direction_spread: float = Field(
        25, ge=0, le=180, description="σ of a track's direction around the camera's main walking direction, in degrees"
    )
    reverse: float = Field(0.2, ge=0, le=1, description="share of tracks in the opposite direction")
    standing: float = Field(0.1, ge=0, le=1, description="share of tracks in which the person stands")
    camera_height: float = Field(
        4.5, ge=1, le=12, description="maximum height of a camera in metres; the minimum is 1.6"
    )
    colour_cast: float = Field(0.1, ge=0, le=1, description="σ of the logarithm of a camera's colour gains")
    exposure: float = Field(0.3, ge=0, le=3, description="σ of a camera's exposure in stops")
    contrast: float = Field(0.12, ge=0, le=1, description="σ of the logarithm of a camera's contrast")
    saturation: float = Field(0.2, ge=0, le=1, description="σ of the logarithm of a camera's saturation")
    flicker: float = Field(0.1, ge=0, le=2, description="σ of a track's exposure in stops, added to the camera's")
    lighting: float = Field(
        0.5, ge=0, le=1, description="how much the strength of the sunlight differs between cameras, 0 to 1"
    )
    blur: float = Field(0.5, ge=0, le=6, description="maximum blur of a camera, as σ in pixels of a 128-row crop")
    motion_blur: float = Field(
        0.8, ge=0, le=12, description="maximum motion blur of a camera, as σ in pixels of a 128-row crop"
    )
    noise: float = Field(0.02, ge=0, le=0.5, description="maximum sensor noise of a camera, as σ, as a share of white")
    resolution: float = Field(
        0.55, gt=0.05, le=1, description="minimum native height of a crop, as a share of its height"
    )
    jpeg_quality: int = Field(70, ge=5, le=100, description="minimum JPEG quality of a camera; the maximum is 95")
    clutter: float = Field(
        0.4, ge=0, le=1, description="how busy backgrounds are and how much they differ between cameras, 0 to 1"
    )
    occlusion: float = Field(0.1, ge=0, le=1, description="share of tracks with a thing in front of the person")
    crowd: float = Field(0.12, ge=0, le=1, description="share of tracks with another person close by")
    misalignment: float = Field(
        0.04, ge=0, le=0.5, description="σ of the shift and the scale of a box, as a share of its size"
    )
    cut_off: float = Field(0.05, ge=0, le=1, description="share of tracks whose box cuts off the legs or a side")


#: Levels, and the settings in which each differs from the defaults.
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
    """The settings of a level, with changes.

    Args:
        level: ``easy``, ``medium`` or ``hard``.
        **settings: Fields of :class:`WorldConfig` that differ from the level.

    Raises:
        ResightError: There is no such level or setting, a value has a wrong type or is out of range, or there are too
            few crops for the identities.
    """
    if not isinstance(level, str) or level not in LEVELS:
        raise ResightError(f"There is no level {shown(level)}: choose one of {', '.join(LEVELS)}.")
    for name in settings:
        if name not in WorldConfig.model_fields:
            near = difflib.get_close_matches(name, WorldConfig.model_fields, n=1, cutoff=0.5)
            hint = f"Did you mean '{near[0]}'?" if near else f"The settings are {', '.join(WorldConfig.model_fields)}."
            raise ResightError(f"There is no setting '{name}' of a synthetic world. {hint}")
    try:
        config = WorldConfig.model_validate({**LEVELS[level], **settings, "level": level})
    except ValidationError as error:
        raise ResightError("The setting {}{}.".format(*explain(error))) from error
    return _checked(config)


def describe_knobs() -> list[tuple[str, str, str, str, str]]:
    """For every setting: its name, its values on ``easy``, ``medium`` and ``hard``, and its meaning."""
    rows = []
    for name, field in WorldConfig.model_fields.items():
        values = [str(LEVELS[level].get(name, field.default)) if name != "level" else level for level in LEVELS]
        rows.append((name, values[0], values[1], values[2], field.description or ""))
    return rows


def read_settings(file: Path, settings: Mapping[str, Any], generation: int, *, kind: str, holds: str) -> dict[str, Any]:
    """What the file beside synthetic crops or videos says, if they were made with these settings.

    Args:
        file: The file.
        settings: The settings that are asked for, by name.
        generation: Version of what renders.
        kind: What is made, ``crops`` or ``videos``, for the sentences.
        holds: What the folder holds, such as ``a world``, for the sentences.

    Raises:
        ResightError: the file is damaged, or of another version or of other settings.
    """
    try:
        known = dict(json.loads(file.read_text(encoding="utf-8")))
        theirs, version = dict(known["settings"]), known["generation"]
    except (ValueError, KeyError, TypeError) as error:
        raise ResightError(f"{file} is damaged: choose a new folder for the synthetic {kind}.") from error
    if version != generation:
        raise ResightError(
            f"{file.parent} was made by version {version} of the renderer and this is {generation}: choose a new "
            "folder."
        )
    if changed := [name for name in settings if settings[name] != theirs.get(name)]:
        pairs = ", ".join(f"{name}={theirs.get(name)} there, {settings[name]} asked for" for name in changed[:4])
        more = f", and {len(changed) - 4} more" if len(changed) > 4 else ""
        raise ResightError(f"{file.parent} holds {holds} of other settings ({pairs}{more}): choose a new folder.")
    return known


def _checked(config: WorldConfig) -> WorldConfig:
    strangers = round(config.crops * config.distractors) + round(config.crops * config.junk)
    people = config.crops - strangers
    if people < 3 * config.identities:
        raise ResightError(
            f"crops={config.crops} leaves {people} for {config.identities} identities (distractors and junk taken "
            "away), but each needs 3, in two cameras: ask for more crops or for fewer identities."
        )
    return config
