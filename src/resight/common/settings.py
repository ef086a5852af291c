"""The base of all groups of settings: what a number, a word or a flag may be, in one place."""

from __future__ import annotations

import re
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from resight.common.checks import shown

#: Largest number of a setting that names no bound itself, and smallest one that is not 0.
LARGEST, SMALLEST = 1e9, 1e-12
_KIND = re.compile(r"(constrained-|literal\[|function-|tuple\[|list\[|(int|float|str|bool)$)")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)


class Settings(BaseModel):
    """Frozen settings.

    Numbers are finite, and between ``SMALLEST`` and ``LARGEST`` unless the field has bounds itself. Whole numbers may
    be written as 20.0 or 2e1. true and false are no numbers, and numbers are neither true nor false.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[str(info.field_name)]
        return _plain(value, _kinds(field.annotation), _bounded(field))


def explain(error: ValidationError) -> tuple[str, str]:
    """The dotted name of the first setting that is not possible, and why, with the value."""
    errors = error.errors()
    name, value = _name(errors[0]["loc"]), errors[0]["input"]
    if errors[0]["type"] == "missing":
        return name, " is missing: it must be given"
    # one reason for each kind of value that the setting can have
    reasons = [str(one["msg"]).removeprefix("Value error, ").rstrip(".") for one in errors if _name(one["loc"]) == name]
    others = [f", or {reason[0].lower()}{reason[1:]}" for reason in dict.fromkeys(reasons[1:]) if reason != reasons[0]]
    return name, f"={shown(value)} is not possible: {reasons[0]}{''.join(others)}"


def _name(location: tuple[int | str, ...]) -> str:
    """The dotted name of a setting, without the kind of value that pydantic adds where there are several."""
    return ".".join(str(part) for part in location if not _KIND.match(str(part)))


def _plain(value: Any, kinds: set[Any], bounded: bool) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list | tuple):
        return [_plain(item, kinds, bounded) for item in value]
    numeric = bool(kinds & {int, float})
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("a text must not have a NUL character")
        if str in kinds or kinds.isdisjoint({int, float, bool}):
            return value
        if not numeric:
            raise ValueError("it must be true or false")
        if _NUMBER.fullmatch(value):  # YAML 1.1 reads 1e-3 as text
            value = float(value)
    if isinstance(value, bool):
        if bool not in kinds:
            raise ValueError("true and false are possible only where there are two choices")
    elif bool in kinds and not numeric and value is not None:
        raise ValueError("it must be true or false")
    if isinstance(value, bytes | complex):
        raise ValueError("it must be a number" if numeric else "it must be a text")
    if isinstance(value, int | float) and not isinstance(value, bool) and numeric and not bounded:
        if abs(value) > LARGEST and abs(value) != float("inf"):
            raise ValueError(f"it must be at most {LARGEST:g}")
        if 0 < abs(value) < SMALLEST:
            raise ValueError(f"it must be at least {SMALLEST:g}, or 0 where 0 is possible")
    return value


def _kinds(annotation: Any) -> set[Any]:
    """The types that a field can have, inside lists as well."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kinds(parts[0])
    if origin is Literal:
        return {type(part) for part in parts}
    if origin in (Union, UnionType, tuple):
        return set().union(*(_kinds(part) for part in parts if part is not Ellipsis))
    return {annotation}


def _bounded(field: FieldInfo) -> bool:
    return any(hasattr(item, "le") and item.le > LARGEST for item in field.metadata)
