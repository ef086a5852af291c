"""What to train where no method is named: chosen from what is known of the crops."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from resight.crops import TRAIN, CropTable
from resight.training.watch import CAMERA_RECIPE

#: The recipe for crops whose cameras are not known.
PSEUDO_RECIPE = "pseudo_cameras"
_METHOD = "cluster_contrast"


@dataclass(frozen=True)
class Choice:
    """A method and its recipe, with the reasons.

    Attributes:
        method: Name of the method.
        recipe: Name of its recipe; None: the settings of the run that is resumed.
        reasons: Sentences: what is trained, how cameras are used, and what a missing column would be worth.
    """

    method: str
    recipe: str | None
    reasons: tuple[str, ...]


def choose(table: CropTable) -> Choice:
    """The method and recipe for some crops.

    Where the training crops come from at least two cameras, camera labels are used. Otherwise pseudo-cameras, which are
    found from the crops alone, take their place.

    Args:
        table: The crops; its ``train`` crops are looked at.
    """
    crops = table.subset(TRAIN)
    cameras = 0 if crops.camera is None else len(np.unique(crops.camera))
    recipe = CAMERA_RECIPE if cameras > 1 else PSEUDO_RECIPE
    what = f"Chosen for these {len(crops)} crops: {_METHOD}, recipe {recipe}. Name a METHOD to train another."
    if cameras > 1:
        return Choice(_METHOD, recipe, (what, f"The crops' {cameras} cameras are used in labels, batches and loss."))
    known = "The cameras are not known" if cameras == 0 else "All crops are from one camera"
    return Choice(
        _METHOD,
        recipe,
        (
            what,
            f"{known}: groups of crops that are alike in light, sharpness and background take the cameras' place.",
            "Whether known cameras do better is open: in short runs on Market-1501's training identities mAP was 42.0 "
            "with such groups, 39.2 with cameras and 35.7 with neither (docs/studies/camera-parts.md).",
        ),
    )
