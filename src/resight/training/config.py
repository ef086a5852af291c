"""A run's settings: typed, frozen, from a recipe and ``key=value`` words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, ValidationError, field_validator
from pydantic.fields import FieldInfo

from resight.clustering.config import ClusteringConfig
from resight.encoders import EncoderConfig
from resight.errors import ResightError
from resight.methods import METHODS, MethodOptions
from resight.training.augment import AugmentationConfig
from resight.training.sampling import SamplingConfig
from resight.training.schedules import OptimizerConfig

RECIPES = Path(__file__).parents[1] / "recipes"
DEFAULT_RECIPE = "default"


class EMAConfig(BaseModel):
    """The moving average of the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    decay: float | None = Field(None, ge=0, lt=1, description="α; null keeps no average")
    restart: bool = Field(
        False, description="begin each epoch's average as a copy of the encoder, with α from the first step on"
    )
    labels: bool = Field(True, description="whether the averaged encoder gives the features that are clustered")
    keep: bool = Field(True, description="whether the averaged encoder is kept and scored; else the trained one")


class TrainConfig(BaseModel):
    """Everything that decides what a run computes, and how it is watched."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: SerializeAsAny[MethodOptions]
    seed: int = Field(0, ge=0)
    epochs: int = Field(50, ge=1)
    precision: Literal["float32", "bfloat16"] = Field("float32", description="of the backbone's arithmetic")
    encoder: EncoderConfig = EncoderConfig()
    clustering: ClusteringConfig = ClusteringConfig()
    sampling: SamplingConfig = SamplingConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    ema: EMAConfig = EMAConfig()
    embed_flip: bool = Field(False, description="add each mirror image's embedding, for labels and evaluation")
    embed_batch: int = Field(256, ge=1, description="crops embedded at once")
    max_unreadable: float = Field(0.01, ge=0, le=1, description="share of unreadable crops that is put up with")
    evaluate_every: int = Field(
        0, ge=0, description="epochs between evaluations, the start included; 0: only after the last"
    )
    keep_every: int = Field(0, ge=0, description="epochs between kept copies of the weights; 0: only the last are kept")
    tracker: Literal["none", "tensorboard", "wandb", "mlflow"] = "none"
    description: str = ""

    @field_validator("method", mode="before")
    @classmethod
    def _typed_method(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return METHODS[value["name"]].Options.model_validate(value)
        return value


def _submodel(annotation: Any) -> type[BaseModel] | None:
    if get_origin(annotation) in (Annotated, Union, UnionType):
        return next((model for part in get_args(annotation) if (model := _submodel(part))), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _fields(method: str) -> Iterator[tuple[str, FieldInfo]]:
    """Every setting of a method's run by dotted name, groups opened."""

    def walk(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
        for name, field in model.model_fields.items():
            inner = METHODS[method].Options if prefix + name == "method" else _submodel(field.annotation)
            if inner is None:
                yield prefix + name, field
            else:
                yield from walk(inner, f"{prefix}{name}.")

    return walk(TrainConfig, "")


@cache
def setting_names(method: str) -> tuple[str, ...]:
    """All dotted names of settings that a method's run has."""
    return tuple(name for name, _ in _fields(method))


def describe_settings(method: str) -> list[tuple[str, str, str]]:
    """Name, default and meaning of every setting of a method's run."""
    return [(name, str(field.default), field.description or "") for name, field in _fields(method)]


def _nearest(name: str, known: Iterable[str]) -> str:
    known = list(known)
    tails = {candidate.rsplit(".", 1)[-1]: candidate for candidate in known}
    if name in tails:
        return f" Did you mean '{tails[name]}'?"
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    if not near:
        close = difflib.get_close_matches(name.rsplit(".", 1)[-1], tails, n=1, cutoff=0.5)
        near = [tails[close[0]]] if close else []
    return f" Did you mean '{near[0]}'?" if near else " 'resight recipes --settings' lists the settings."


def recipes() -> dict[str, dict[str, Path]]:
    """Recipe files by method and name."""
    return {
        method: {file.stem: file for file in sorted((RECIPES / method).glob("*.yaml"))} for method in sorted(METHODS)
    }


def read_recipe(method: str, recipe: str | Path) -> dict[str, Any]:
    """The settings of a named recipe, or of a YAML file.

    Raises:
        ResightError: there is no such recipe, or it is not a YAML mapping.
    """
    known = recipes()[method]
    file = known.get(str(recipe)) or Path(recipe)
    if not file.is_file():
        raise ResightError(
            f"There is no recipe '{recipe}' for {method}: choose one of {', '.join(known)}, or give a YAML file."
        )
    try:
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ResightError(f"The recipe {file} is not valid YAML: {error}") from error
    if not isinstance(settings, dict):
        raise ResightError(f"The recipe {file} must be a mapping of settings to values.")
    return settings


def flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` as ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def parse_overrides(words: Iterable[str]) -> dict[str, Any]:
    """``["optimizer.lr=1e-3"]`` as a mapping of dotted names to values; values are YAML.

    Raises:
        ResightError: a word is not ``key=value``.
    """
    values: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise ResightError(f"'{word}' is not a setting: write key=value, such as epochs=20.")
        try:
            values[name.strip()] = yaml.safe_load(text) if text else ""
        except yaml.YAMLError as error:
            raise ResightError(f"The value of '{word}' cannot be read: {error}") from error
    return values


def build_config(
    method: str, recipe: str | Path | None = None, overrides: dict[str, Any] | Iterable[str] = ()
) -> TrainConfig:
    """A method's settings: the recipe's, then the overrides.

    Args:
        method: Name of the method.
        recipe: Name of one of its recipes, or a YAML file; the method's ``default`` if not given.
        overrides: ``key=value`` words, or a mapping of dotted names.

    Raises:
        ResightError: unknown method, recipe or setting (the nearest right one is named), or a value of a wrong
            type or out of range.
    """
    if method not in METHODS:
        raise ResightError(f"There is no method '{method}': choose one of {', '.join(sorted(METHODS))}.")
    recipe = DEFAULT_RECIPE if recipe is None else recipe
    base = flatten(read_recipe(method, recipe))
    changes = flatten(overrides) if isinstance(overrides, dict) else parse_overrides(overrides)
    known = setting_names(method)
    nested: dict[str, Any] = {"method": {"name": method}}
    for source, values in ((f"the recipe '{recipe}'", base), ("the command", changes)):
        for name, value in values.items():
            if name not in known:
                raise ResightError(f"There is no setting '{name}' ({source}).{_nearest(name, known)}")
            # YAML 1.1 reads 1e-3 as text.
            if isinstance(value, str) and _is_number(value):
                value = float(value)
            *groups, last = name.split(".")
            target = nested
            for group in groups:
                target = target.setdefault(group, {})
            target[last] = value
    if nested["method"]["name"] != method:
        raise ResightError(f"The recipe '{recipe}' is for {nested['method']['name']}, not for {method}.")
    try:
        return TrainConfig.model_validate(nested)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if isinstance(first["input"], dict):  # several settings at once: the validator's sentence says which
            sentence = first["msg"].removeprefix("Value error, ")
            raise ResightError(f"The settings of {name} do not fit together: {sentence}.") from error
        name = name if name in known else f"method.{name}"
        raise ResightError(f"The setting {name}={first['input']!r} is not possible: {first['msg']}.") from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.strip().lower() not in ("nan", "inf", "-inf", "infinity", "-infinity")
