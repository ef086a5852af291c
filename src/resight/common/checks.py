"""Checks of arguments: what a public function is given is what it can use, or there is a sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from resight.common.paths import as_path, shown
from resight.errors import ResightError

Kind = TypeVar("Kind")
#: Numbers that every random generator takes as its seed.
LARGEST_SEED = 2**63 - 1

__all__ = ["LARGEST_SEED", "as_array", "as_path", "flag", "instance", "integers", "number", "one_of", "shown", "whole"]


def whole(name: str, value: Any, *, least: int = 1, most: int | None = None) -> int:
    """A whole number; 3.0 is one, true is none.

    Args:
        name: What it is called in the sentence.
        value: What was given.
        least: Smallest number that is possible.
        most: Largest number that is possible; any if not given.

    Raises:
        ResightError: it is no whole number, or out of range.
    """
    if isinstance(value, float | np.floating) and value.is_integer():
        value = int(value)
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise ResightError(f"{name} must be a whole number, got {shown(value)}.")
    if value < least:
        raise ResightError(f"{name} must be at least {least}, got {shown(value)}.")
    if most is not None and value > most:
        raise ResightError(f"{name} must be at most {most}, got {shown(value)}.")
    return int(value)


def number(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> float:
    """A finite number; true is none.

    Args:
        name: What it is called in the sentence.
        value: What was given.
        least: Smallest number that is possible.
        above: Number that it must be above.
        most: Largest number that is possible.
        below: Number that it must be below.

    Raises:
        ResightError: it is no finite number, or out of range.
    """
    possible = (
        isinstance(value, int | float | np.integer | np.floating)
        and not isinstance(value, bool)
        and abs(value) < 1e300
        and math.isfinite(value)
        and (least is None or value >= least)
        and (above is None or value > above)
        and (most is None or value <= most)
        and (below is None or value < below)
    )
    if not possible:
        bounds = {"above": above, "a number of at least": least, "below": below, "at most": most}
        words = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)
        if least is not None and most is not None:
            words = f"between {least:g} and {most:g}"
        raise ResightError(f"{name} must be {words or 'a number'}, got {shown(value)}.")
    return float(value)


def one_of(name: str, value: Any, words: Sequence[str]) -> str:
    """One of some words.

    Raises:
        ResightError: it is none of them.
    """
    if not isinstance(value, str) or value not in words:
        raise ResightError(f"{name} must be {', '.join(words[:-1])} or {words[-1]}, got {shown(value)}.")
    return value


def flag(name: str, value: Any) -> bool:
    """True or false.

    Raises:
        ResightError: it is neither.
    """
    if not isinstance(value, bool | np.bool_):
        raise ResightError(f"{name} must be True or False, got {shown(value)}.")
    return bool(value)


def instance(name: str, value: Any, kind: type[Kind], how: str) -> Kind:
    """An object of a class.

    Args:
        name: What it is called in the sentence.
        value: What was given.
        kind: The class.
        how: Where such an object comes from.

    Raises:
        ResightError: it is of another class.
    """
    if not isinstance(value, kind):
        raise ResightError(f"{name} must be a {kind.__name__}, got {shown(value)}: {how}.")
    return value


def as_array(name: str, value: Any) -> np.ndarray:
    """An array, a memory map, a tensor of the CPU or nested lists as an array of numbers or texts.

    Raises:
        ResightError: it is none of these.
    """
    if isinstance(value, np.ndarray):
        array = value
    else:
        try:
            array = np.asarray(value)
        except (ValueError, TypeError, RuntimeError) as error:  # lists of different lengths; a tensor on a GPU
            raise ResightError(f"{name} cannot be made an array of: {' '.join(str(error).split())}.") from error
    if array.dtype.kind in "OVmM":
        raise ResightError(f"{name} must be an array of numbers, got {shown(value)}.")
    return array


def integers(name: str, value: Any, size: int | None = None) -> np.ndarray:
    """``(N,)`` int64: one whole number per crop.

    Args:
        name: What they are called in the sentence.
        value: An array or a list of integers.
        size: Number of crops; any if not given.

    Raises:
        ResightError: it is not one whole number per crop, or one does not fit into 64 bits.
    """
    array = as_array(name, value)
    if array.ndim != 1 or (size is not None and len(array) != size) or (array.size and array.dtype.kind not in "iu"):
        crops = "crop" if size is None else f"of {size} crops"
        raise ResightError(f"{name} must be one integer per {crops}; got shape {array.shape} of {array.dtype}.")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise ResightError(f"{name} hold {array.max()}, which is too large: number from 1.")
    return array.astype(np.int64, copy=False)
