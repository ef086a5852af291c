"""Resight: learn to recognise the same person across cameras, without one label.

>>> import resight
>>> table = resight.read_crops("market1501-train", train_identities=500)   # doctest: +SKIP
>>> model = resight.train("cluster_contrast", table, out="runs/first")     # doctest: +SKIP
>>> model = resight.load("runs/first")                                     # doctest: +SKIP
>>> embeddings = model.embed(["a.jpg", "b.jpg"])                           # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from resight.common.version import __version__

#: Public names and where they live; loaded on first use, so that ``import resight`` is quick.
_PLACES = {
    "CropTable": "resight.crops",
    "Gallery": "resight.gallery",
    "Model": "resight.model",
    "ResightError": "resight.errors",
    "compare": "resight.comparison",
    "evaluate": "resight.scoring",
    "identity_split": "resight.crops",
    "load": "resight.model",
    "read_crops": "resight.crops",
    "synthetic": "resight.synthesis",
    "train": "resight.entry",
}

if TYPE_CHECKING:
    from resight.comparison import compare
    from resight.crops import CropTable, identity_split, read_crops
    from resight.entry import train
    from resight.errors import ResightError
    from resight.gallery import Gallery
    from resight.model import Model, load
    from resight.scoring import evaluate
    from resight.synthesis import synthetic

__all__ = [
    "CropTable",
    "Gallery",
    "Model",
    "ResightError",
    "__version__",
    "compare",
    "evaluate",
    "identity_split",
    "load",
    "read_crops",
    "synthetic",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'resight' has no attribute '{name}'")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return __all__
