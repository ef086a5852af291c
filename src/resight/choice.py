"""What to train where no method is named: chosen from what is known of the crops."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from resight.crops import TRAIN, CropTable
from resight.crops.images import UnreadableImage, header_size
from resight.training.watch import CAMERA_RECIPE

#: The recipe for crops whose cameras are not known.
PSEUDO_RECIPE = "pseudo_cameras"
_METHOD = "cluster_contrast"
_LOOKED_AT = 64  # crops whose size is read
_UPRIGHT = 1.4  # least height over width of a crop that shows a person
_SQUARE = 96  # about as many pixels as the recipes' 128×64
_BATCH, _BATCHES = 128, 40  # crops in a batch and batches in an epoch, by the recipes
_VIEWS = 2.2  # how often an epoch shows a crop of WARD, the smallest set that the recipes were measured on
_WHOLE_TRACKS = 0.1  # least share of crops that share their track


@dataclass(frozen=True)
class Choice:
    """A method and its recipe, with the reasons.

    Attributes:
        method: Name of the method.
        recipe: Name of its recipe; None: the settings of the run that is resumed.
        reasons: Sentences: what is trained, why, and what a missing column would be worth.
        settings: Settings that differ from the recipe's, by dotted name; none of those that the user gives.
    """

    method: str
    recipe: str | None
    reasons: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


def choose(table: CropTable, device: object = None, given: Collection[str] = ()) -> Choice:
    """The method, recipe and settings for some crops.

    Where the training crops come from at least two cameras, camera labels are used. Otherwise pseudo-cameras, which are
    found from the crops alone, take their place. Tracks are used where they are known. Crops that are about square get
    a square input, and few crops short epochs.

    Args:
        table: The crops; its ``train`` crops are looked at, and the sizes of some of their files.
        device: Where training runs, for the sentence.
        given: Dotted names of the settings that the user gives, which are left alone.
    """
    crops, taken = table.subset(TRAIN), set(given)
    cameras = 0 if crops.camera is None else len(np.unique(crops.camera))
    recipe = CAMERA_RECIPE if cameras > 1 else PSEUDO_RECIPE
    settings: dict[str, Any] = {}
    why = []
    if cameras > 1:
        why.append(f"The crops' {cameras} cameras are used in labels, batches and loss.")
    else:
        known = "All crops are from one camera" if cameras else "The cameras are not known"
        why.append(f"{known}: groups of crops that are alike in light, sharpness and background take their place.")
    tracks = _shared_tracks(crops)
    if tracks and taken.isdisjoint(("clustering.tracks", "sampling.tracks")):
        settings |= {"clustering.tracks": True, "sampling.tracks": "spread"}
        why.append(f"Crops of one of the {tracks} tracks share a cluster.")
    size = _median_size(crops)
    upright = size is None or size[0] >= _UPRIGHT * size[1]
    if not upright and taken.isdisjoint(("encoder.height", "encoder.width")):
        settings |= {"encoder.height": _SQUARE, "encoder.width": _SQUARE}
        why.append(f"The crops are not upright, so the encoder sees them at {_SQUARE}×{_SQUARE} pixels.")
    batches = math.ceil(_VIEWS * len(crops) / _BATCH)
    counted = "sampling.iterations" not in taken
    if counted and batches < _BATCHES:
        settings["sampling.iterations"] = max(1, batches)
        why.append("The crops are few, so epochs are short.")
    elif counted and len(crops) > 10 * _BATCH * _BATCHES:
        shown = 100 * _BATCH * _BATCHES / len(crops)
        why.append(f"An epoch shows {shown:.0f} % of the crops: sampling.iterations above {_BATCHES} shows more.")
    pixels = "" if size is None else f" of about {size[0]}×{size[1]} pixels"
    place = "" if device is None else f" on {device}"
    words = " ".join(f"{name}={str(value).lower()}" for name, value in settings.items())
    what = (
        f"Chosen for {len(crops)} crops{pixels}{place}: {_METHOD}, recipe {recipe}"
        f"{f', with {words}' if words else ''}. Name a METHOD to train another; KEY=VALUE changes a setting."
    )
    missing = _worth(cameras, bool(tracks))
    return Choice(_METHOD, recipe, (what, " ".join(why), *([missing] if missing else [])), settings)


def _worth(cameras: int, tracks: bool) -> str:
    """What the columns that are missing were measured to be worth; empty if none is."""
    sentences = []
    if cameras == 0:
        sentences.append(
            "Whether known cameras do better is open: in short runs on Market-1501's training identities mAP was 42.0 "
            "with such groups, 39.2 with cameras and 35.7 with neither (docs/studies/camera-parts.md)."
        )
    if not tracks:
        sentences.append(
            "A column 'track' would make labels better: on WARD it raised the ARI of the first labels from 0.60 to "
            "0.64, on synthetic crops from 0.12 to 0.19 (docs/studies/held-out.md)."
        )
    return " ".join(sentences)


def _shared_tracks(crops: CropTable) -> int:
    """Number of tracks, if enough crops share theirs with another crop; else 0."""
    if crops.track is None or not len(crops):
        return 0
    keys = crops.track if crops.camera is None else np.stack([crops.camera, crops.track], axis=1)
    known = crops.track >= 0
    counts = np.unique(keys[known], axis=0, return_counts=True)[1]
    return len(counts) if counts[counts > 1].sum() >= _WHOLE_TRACKS * len(crops) else 0


def _median_size(crops: CropTable) -> tuple[int, int] | None:
    """Median height and width of some crops, evenly spread; None if none can be read."""
    sizes = []
    for row in np.unique(np.linspace(0, max(0, len(crops) - 1), min(_LOOKED_AT, len(crops))).astype(int)):
        try:
            sizes.append(header_size(crops.file(int(row))))
        except UnreadableImage:
            continue
    if not sizes:
        return None
    height, width = np.median(sizes, axis=0)
    return round(float(height)), round(float(width))
