"""A run's settings: typed, frozen, from a recipe and ``key=value`` words."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from itertools import takewhile
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, Field, SerializeAsAny, ValidationError, field_validator
from pydantic.fields import FieldInfo

from resight.clustering.config import TrainingClusteringConfig
from resight.common.checks import LARGEST_SEED, as_path, shown
from resight.common.settings import Settings, explain
from resight.encoders import EncoderConfig
from resight.errors import ResightError
from resight.methods import METHODS, MethodOptions, Needs
from resight.training.augment import AugmentationConfig
from resight.training.optim import OptimizerConfig
from resight.training.sampling import SamplingConfig

_DEEPEST = 8  # groups in groups; there are two
RECIPES = Path(__file__).parents[1] / "recipes"
DEFAULT_RECIPE = "default"


#: Former names of settings, which are still understood.
RENAMED = {"encoder.start": "encoder.init_from", "sampling.prefer_other_cameras": "sampling.cameras"}


class EMAConfig(Settings):
    """The EMA teacher: a moving average of the encoder's weights."""

    decay: float | None = Field(None, ge=0, lt=1, description="α: share of the old average kept; null: no EMA teacher")
    restart: bool = Field(
        False, description="begin each epoch with a copy of the encoder, and use α from the first step on"
    )
    labels: bool = Field(True, description="cluster the EMA teacher's features, not the encoder's")
    keep: bool = Field(True, description="save and score the EMA teacher, not the encoder")


class TrainConfig(Settings):
    """All settings of a run."""

    method: SerializeAsAny[MethodOptions]
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="another seed, other random numbers")
    epochs: int = Field(50, ge=1, le=1_000_000, description="epochs to train")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="arithmetic of the backbone; auto: bfloat16 if the device has it in hardware, else float32"
    )
    encoder: EncoderConfig = EncoderConfig()
    clustering: TrainingClusteringConfig = TrainingClusteringConfig()
    sampling: SamplingConfig = SamplingConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    ema: EMAConfig = EMAConfig()
    pseudo_cameras: int | None = Field(
        None,
        ge=2,
        le=1000,
        description="number of groups of crops, found from the crops alone, that take the place of cameras wherever "
        "training uses these (camera-free); null: the cameras of the crop table",
    )
    embed_flip: bool = Field(False, description="add the embedding of each mirror image, for labels and evaluation")
    embed_batch: int = Field(256, ge=1, description="crops embedded at once")
    max_unreadable: float = Field(
        0.01, ge=0, le=1, description="largest share of unreadable crops that are left out; more stop the run"
    )
    evaluate_every: int = Field(
        0, ge=0, description="epochs between evaluations, with one before training; 0: only after the last epoch"
    )
    keep_every: int = Field(
        0, ge=0, description="epochs between saved copies of the weights; 0: only the last are saved"
    )
    tracker: Literal["none", "tensorboard", "wandb", "mlflow"] = Field("none", description="experiment tracker")
    description: str = Field("", description="one line about the recipe")

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


def is_read(name: str, needs: Needs) -> bool:
    """Whether training with a method reads a setting.

    Args:
        name: Dotted name of the setting.
        needs: What the method needs.
    """
    if name in ("sampling.source_crops", "sampling.source_apart"):
        return needs.source
    if name in ("sampling.cameras", "sampling.balance", "sampling.tracks"):
        return needs.groups
    return not name.startswith("clustering.") or any(
        name == own or name.startswith(f"{own}.") for own in needs.settings
    )


def unread_settings(config: TrainConfig) -> list[str]:
    """A sentence for each setting that differs from its default although training does not read it."""
    method = METHODS[config.method.name]
    needs, values = method.needs(config.method), flatten(config.model_dump())
    unread = [(name, field) for name, field in _fields(method.name) if not is_read(name, needs)]
    return [
        f"The setting {name}={values[name]} has no effect on training: {method.name} with these settings does not "
        "read it."
        for name, field in unread
        if values[name] != field.default
    ]


class Setting(NamedTuple):
    """One setting of a method's run.

    Attributes:
        name: Dotted name.
        value: Its value in a recipe.
        allowed: The values it can have, in words.
        meaning: What it does.
    """

    name: str
    value: str
    allowed: str
    meaning: str


def describe_settings(method: str, recipe: str | Path | None = None) -> list[Setting]:
    """Every setting that a method reads, with its value in a recipe.

    Args:
        method: Name of the method.
        recipe: Name of one of its recipes, or a YAML file; ``default`` if not given.

    Raises:
        ResightError: there is no such method or recipe.
    """
    config = build_config(method, recipe)
    needs, values = METHODS[method].needs(config.method), flatten(config.model_dump(mode="json"))
    return [
        Setting(name, _yaml(values[name]), describe_values(field), field.description or "")
        for name, field in _fields(method)
        if is_read(name, needs) and name not in ("method.name", "description")
    ]


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=1000, allow_unicode=True).removesuffix("...\n").strip()


def describe_values(field: FieldInfo) -> str:
    """The values that a setting can have, in words: ``each, hard or mean``, ``number > 0``."""
    return _describe_type(field.annotation, _describe_bounds(field.metadata))


def _describe_bounds(metadata: Iterable[Any]) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    metadata = [part for item in metadata for part in (item.metadata if isinstance(item, FieldInfo) else [item])]
    bounds = [
        f"{sign} {getattr(item, name):g}" for item in metadata for name, sign in signs.items() if hasattr(item, name)
    ]
    return " and ".join(bounds)


def _describe_type(annotation: Any, bounds: str = "") -> str:
    words = _alternatives(annotation, bounds)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _alternatives(annotation: Any, bounds: str) -> list[str]:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _alternatives(parts[0], _describe_bounds(parts[1:]) or bounds)
    if origin is Literal:
        return [_yaml(part) for part in parts]
    if origin in (Union, UnionType):
        return [word for part in parts for word in _alternatives(part, bounds)]
    if origin is tuple:
        inner = _describe_type(parts[0], bounds)
        return [f"list of {inner}" if Ellipsis in parts else f"{len(parts)} times {inner}"]
    if annotation is bool:
        return ["true", "false"]
    name = {int: "whole number", float: "number", str: "text", type(None): "null"}[annotation]
    return [f"{name} {bounds}" if bounds and annotation in (int, float) else name]


def _nearest(name: str, known: Iterable[str], method: str) -> str:
    known = list(known)
    tails = {candidate.rsplit(".", 1)[-1]: candidate for candidate in known}
    if name in tails:
        return f" Did you mean '{tails[name]}'?"
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    if not near:
        close = difflib.get_close_matches(name.rsplit(".", 1)[-1], tails, n=1, cutoff=0.5)
        near = [tails[close[0]]] if close else []
    return f" Did you mean '{near[0]}'?" if near else f" 'resight recipes {method} --settings' lists them."


class _Loader(yaml.SafeLoader):
    """YAML as settings need it: no aliases, each key once, no dates, and no numbers in sixtieths such as 1:30."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="aliases such as *name have no place in settings: write the value")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            raise yaml.MarkedYAMLError(problem=f"'{twice}' is set more than once")
        return super().construct_mapping(node, deep)


_NUMBERS = {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp"}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag not in _NUMBERS]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"),
    list("-+.0123456789"),
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?(0|[1-9][0-9]*)$"), list("-+0123456789"))


@lru_cache(maxsize=64)
def _parsed(text: str) -> Any:
    """What a YAML text holds: a recipe is read for each run of a study."""
    return yaml.load(text, _Loader)


def read_yaml(text: str) -> Any:
    """What a YAML text holds, for settings.

    Raises:
        ValueError: it is no such text; the message has one line.
    """
    try:
        return copy.deepcopy(_parsed(text))
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a number of 5,000 digits
        raise ValueError(" ".join(str(error).split())[:300].rstrip(".")) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def recipes() -> dict[str, dict[str, Path]]:
    """Recipe files by method and name."""
    return {
        method: {file.stem: file for file in sorted((RECIPES / method).glob("*.yaml"))} for method in sorted(METHODS)
    }


class _Recipe(NamedTuple):
    """A recipe file: the method it is for, the name it was asked for by, and its own settings by dotted name."""

    method: str
    name: str
    file: Path
    settings: dict[str, Any]


def _load_recipe(method: str, recipe: str | Path) -> _Recipe:
    if not isinstance(method, str) or method not in METHODS:
        raise ResightError(f"There is no method {shown(method)}: choose one of {', '.join(sorted(METHODS))}.")
    known = recipes()[method]
    file = known.get(str(recipe)) or as_path("The recipe", recipe)
    if not file.is_file():
        raise ResightError(
            f"There is no recipe {shown(str(recipe))} for {method}: choose one of {', '.join(known)}, or give a YAML "
            "file."
        )
    try:
        settings = read_yaml(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ResightError(f"The recipe {file} is not valid YAML: {error}.") from error
    if not isinstance(settings, dict):
        raise ResightError(f"The recipe {file} must be a mapping of settings to values.")
    return _Recipe(method, str(recipe), file, flatten(settings))


def _extended(recipe: _Recipe) -> _Recipe | None:
    """The recipe that another one extends, or None."""
    if "extends" not in recipe.settings:
        return None
    target, known = str(recipe.settings["extends"]), recipes()
    method, _, name = target.rpartition("/")
    method = method or recipe.method
    if name not in known.get(method, ()):
        method = method if method in known else recipe.method
        raise ResightError(
            f"The recipe '{recipe.name}' extends '{target}', which does not exist: choose one of {method}, which are "
            f"{', '.join(known[method])}, or one of another method as METHOD/NAME."
        )
    other = _load_recipe(method, name)
    if other.file.samefile(recipe.file):
        raise ResightError(f"The recipe '{recipe.name}' extends itself: name another recipe, or remove 'extends'.")
    if "extends" in other.settings:
        raise ResightError(
            f"The recipe '{recipe.name}' extends '{target}', which itself extends '{other.settings['extends']}', but a "
            f"recipe can only extend one that extends none. Print all settings of '{target}' with 'resight recipes "
            f"{method} --show {name}', and change a copy of them."
        )
    return other


def _resolve(own: dict[str, Any], other: dict[str, Any], same_method: bool) -> dict[str, Any]:
    """What a recipe holds, and before it what it takes over from the recipe that it extends, by dotted name."""
    inherited = {
        name: value
        for name, value in other.items()
        if (same_method or name.split(".")[0] != "method") and (name != "description" or name in own)
    }
    return {name: value for name, value in (inherited | own).items() if name != "extends"}


def read_recipe(method: str, recipe: str | Path) -> dict[str, Any]:
    """The settings of a named recipe, or of a YAML file, by dotted name.

    A recipe with ``extends: NAME`` has the settings of that recipe of the same method where it does not set them
    itself. With ``extends: METHOD/NAME`` the recipe is another method's, and its ``method.*`` settings are left out.
    The description is not taken over.

    Args:
        method: Name of the method.
        recipe: Name of one of its recipes, or a YAML file.

    Raises:
        ResightError: there is no such recipe, it is not a YAML mapping, or it extends an unknown recipe, itself, or
            a recipe that extends another one.
    """
    own = _load_recipe(method, recipe)
    other = _extended(own)
    return _resolve(own.settings, other.settings, other.method == method) if other else own.settings


class _Entry(NamedTuple):
    """How a recipe file writes a setting or a group: value, comment behind it, comment lines above it."""

    value: str = ""
    comment: str = ""
    above: tuple[str, ...] = ()


def _header(text: str) -> list[str]:
    return list(takewhile(lambda line: line.startswith("#"), text.splitlines()))


def _entries(text: str) -> dict[str, _Entry]:
    """All settings, and all groups that have a comment, of a recipe file with each setting on one line."""
    lines, header = text.splitlines(), len(_header(text))

    def value(node: yaml.Node) -> str:
        return text[node.start_mark.index : node.end_mark.index]

    def behind(node: yaml.Node) -> str:
        return lines[node.end_mark.line][node.end_mark.column :].partition("#")[2].strip()

    def above(key: yaml.Node) -> tuple[str, ...]:
        before = [line.strip() for line in reversed(lines[header : key.start_mark.line])]
        return tuple(takewhile(lambda line: line.startswith("#"), before))[::-1]

    entries, root = {}, yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    for key, node in root.value:
        if not isinstance(node, yaml.MappingNode):
            entries[key.value] = _Entry(value(node), behind(node), above(key))
            continue
        braces = node.flow_style  # {…}: the comment behind it is that of each setting in it
        entries[key.value] = _Entry("", "" if braces else behind(key), above(key))
        for inner, setting in node.value:
            entries[f"{key.value}.{inner.value}"] = _Entry(
                value(setting), behind(node if braces else setting), () if braces else above(inner)
            )
    return {name: entry for name, entry in entries.items() if any(entry)}


def show_recipe(method: str, name: str) -> str:
    """A recipe with all its settings and their comments, as YAML that is itself a recipe.

    A recipe that extends none is returned as its file is. Any other has one line per setting, with the comments of
    the file that the setting comes from, below a line that says what it extends and the recipe's own header.

    Args:
        method: Name of the method.
        name: Name of one of its recipes.

    Raises:
        ResightError: there is no such method or recipe.
    """
    own = _load_recipe(method, name)
    if name not in recipes()[method]:
        raise ResightError(f"'{name}' is a file: name one of {method}'s recipes, {', '.join(recipes()[method])}.")
    text, other = own.file.read_text(encoding="utf-8"), _extended(own)
    if other is None:
        return text
    entries = _resolve(_entries(text), _entries(other.file.read_text(encoding="utf-8")), other.method == method)
    groups = dict.fromkeys(key.split(".")[0] for key in entries if "." in key)
    order = [key for key in entries if "." not in key and key not in groups]
    for group in groups:
        order += [group, *(key for key in entries if key.startswith(f"{group}."))]
    lines = [f"# Extends recipe '{own.settings['extends']}', whose other settings are filled in below.", *_header(text)]
    for key in order:
        entry, indent = entries.get(key, _Entry()), "  " * key.count(".")
        lines += [indent + line for line in entry.above]
        line = f"{indent}{key.split('.')[-1]}: {entry.value}".rstrip()
        lines.append(f"{line:<28} # {entry.comment}" if entry.comment else line)
    return "\n".join(lines) + "\n"


def recipe_comments(method: str, name: str) -> dict[str, str]:
    """What a recipe's files say behind each of its settings, by dotted name; empty texts are left out.

    Raises:
        ResightError: there is no such method or recipe.
    """
    own = _load_recipe(method, name)
    other = _extended(own)
    entries = _entries(own.file.read_text(encoding="utf-8"))
    if other is not None:
        entries = _resolve(entries, _entries(other.file.read_text(encoding="utf-8")), other.method == method)
    return {key: entry.comment for key, entry in entries.items() if entry.comment}


class Origin(NamedTuple):
    """A setting of a run, and where its value came from.

    Attributes:
        name: Dotted name.
        value: The value, as YAML.
        origin: ``recipe``, ``default`` or ``given``.
        note: What the recipe says of it, or what else it would be.
    """

    name: str
    value: str
    origin: str
    note: str


def setting_origins(config: TrainConfig) -> tuple[str | None, list[Origin]]:
    """Where each setting of a run came from.

    A run keeps no name of its recipe: it is the one of the same description, if one of the method's has it.

    Args:
        config: The settings of the run.

    Returns:
        The recipe's name, ``None`` if it is none of the method's, and the settings that the method reads.
    """
    method = config.method.name
    named = [name for name in recipes().get(method, {}) if read_recipe(method, name).get("description")]
    recipe = next((name for name in named if read_recipe(method, name)["description"] == config.description), None)
    values = flatten(config.model_dump(mode="json"))
    usual = flatten(build_config(method, recipe).model_dump(mode="json")) if recipe else {}
    in_recipe = read_recipe(method, recipe) if recipe else {}
    comments = recipe_comments(method, recipe) if recipe else {}
    fields, needs = dict(_fields(method)), METHODS[method].needs(config.method)
    found = []
    for name, value in values.items():
        if name in ("method.name", "description") or not is_read(name, needs):
            continue
        field = fields.get(name)
        default = None if field is None or field.is_required() else field.get_default(call_default_factory=True)
        if recipe and value != usual.get(name):
            kind, note = "given", f"{_yaml(usual.get(name))} in the recipe"
        elif name in in_recipe:
            kind, note = "recipe", comments.get(name, "")
        elif value == default or recipe:
            kind, note = "default", ""
        else:
            kind, note = "given", f"{_yaml(default)} by default"
        found.append(Origin(name, _yaml(value), kind, note))
    return recipe, found


def flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` as ``{"a.b": 1}``."""
    if prefix.count(".") > _DEEPEST:
        raise ResightError(f"Settings are nested too deeply at {prefix.rstrip('.')}: write group.name=value.")
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def parse_overrides(words: Iterable[str]) -> dict[str, Any]:
    """``["optimizer.lr=1e-3"]`` as a mapping of dotted names to values; values are YAML.

    Raises:
        ResightError: a word is not ``key=value``.
    """
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        raise ResightError(
            f"Settings are a list of key=value words, or a mapping of names to values, not {shown(words, 40)}."
        )
    values: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise ResightError(f"{shown(word)} is not a setting: write key=value, such as epochs=20.")
        try:
            values[name.strip()] = read_yaml(text) if text else ""
        except ValueError as error:
            raise ResightError(f"The value of {shown(word)} cannot be read: {error}.") from error
    return values


def build_config(
    method: str,
    recipe: str | Path | TrainConfig | None = None,
    overrides: dict[str, Any] | Iterable[str] | None = (),
) -> TrainConfig:
    """A method's settings: the recipe's, then the overrides.

    Args:
        method: Name of the method.
        recipe: Name of one of its recipes, a YAML file, or settings to begin with; the method's ``default`` if not
            given.
        overrides: ``key=value`` words, or a mapping of dotted names; nothing is changed if ``None``.

    Raises:
        ResightError: unknown method, recipe or setting (the nearest right one is named), or a value of a wrong
            type or out of range.
    """
    recipe = DEFAULT_RECIPE if recipe is None else recipe
    base = flatten(recipe.model_dump(mode="json")) if isinstance(recipe, TrainConfig) else read_recipe(method, recipe)
    changes = flatten(overrides) if isinstance(overrides, dict) else parse_overrides(overrides or ())
    known = setting_names(method)
    nested: dict[str, Any] = {"method": {"name": method}}
    for source, values in ((f"the recipe '{recipe}'", base), ("the command", changes)):
        for given, value in values.items():
            name = RENAMED.get(given, given)
            if isinstance(value, dict) and not value and any(setting.startswith(f"{name}.") for setting in known):
                continue  # a group without settings
            if name not in known:
                raise ResightError(f"There is no setting '{name}' ({source}).{_nearest(name, known, method)}")
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
        name, problem = explain(error)
        if isinstance(first["input"], dict) and first["type"] == "value_error":  # the validator's sentence says which
            sentence = first["msg"].removeprefix("Value error, ")
            raise ResightError(f"The settings of {name} do not fit together: {sentence}.") from error
        setting, place = _setting_at(name, known), ".".join(map(str, first["loc"]))
        if setting in known and place not in (setting, setting.removeprefix("method.")):  # within a list, or a type
            value, allowed = _value_at(nested, setting), describe_values(dict(_fields(method))[setting])
            problem = f"={shown(value)} is not possible: it must be {allowed}"
        raise ResightError(f"The setting {setting}{problem}.") from error


def _value_at(nested: dict[str, Any], setting: str) -> Any:
    value: Any = nested
    for name in setting.split("."):
        value = value[name]
    return value


def _setting_at(place: str, known: Iterable[str]) -> str:
    """The setting in which a validator found a problem; behind its name the place may have an index or a type."""
    for name in (place, f"method.{place}"):
        while name:
            if name in known:
                return name
            name = name.rpartition(".")[0]
    return place
