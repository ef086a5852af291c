"""Settings of runs: every setting of every method with values of every kind, and damaged recipes."""

from __future__ import annotations

import functools
import typing
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import numpy as np
from torture_case import FINE, SENTENCE, Case
from torture_stage import Stage

from resight.methods import METHODS
from resight.training.config import TrainConfig, build_config

#: As YAML text: never a number of any setting, all of which are finite and not negative.
NO_NUMBER = ("true", "no", ".nan", ".inf", "-.inf", "-1", "-0.5", "abc", "", "[]", "[1]", "{}", "{a: 1}", "2020-01-01",
             "nan", "inf", "1e400", "1e30", "９", "1_", "!!binary aGk=", "'1 2'", "1:30")  # fmt: skip
NO_WHOLE = (*NO_NUMBER, "1.5", "0.1", "9" * 20, "9" * 400, "1e15", "1e-3")
NO_FLAG = ("5", "-1", "maybe", ".nan", "[]", "{}", "''", "'true '", "2020-01-01", "1.0", "0")
NO_WORD = ("5", "true", "nonsense", "''", "[]", "{}", ".nan", "null", "2020-01-01")
NO_PAIR = ("5", "true", "abc", "[]", "[1]", "[1, 2, 3]", "[.nan, 1]", "[.inf, 1]", "[-1, 1]", "[true, 1]", "[a, b]",
"{}",
           "null", "[0.4, 0.02]", "[[1], [2]]", "[1, .inf]")  # fmt: skip


def setting_cases(stage: Stage) -> Iterator[Case]:
    """Every setting of every method with wrong values; what all methods share, with one of them."""
    for method in sorted(METHODS):
        yield Case(f"settings of {method}", functools.partial(build_config, method), FINE)
        for name, annotation in _settings(METHODS[method].Options, "method."):
            yield from _wrong(method, name, annotation)
    for name, annotation in _settings(TrainConfig, ""):
        yield from _wrong("cluster_contrast", name, annotation)
    for word in ("epochs=20", "epochs=20.0", "epochs=2e1", "optimizer.lr=1e-3", "optimizer.lr=1", "seed=0",
                 "seed=9223372036854775807", "embed_flip=false", "embed_flip=yes", "ema.decay=null",
                 "optimizer.step_epochs=[5, 10]", "optimizer.step_epochs=5", "augmentation.erase_area=[0.1, 0.2]",
                 "encoder.start=backbone", "description=1e3", "description='a: b'", "encoder.weights=5e3"):  # fmt: skip
        yield Case(f"cluster_contrast {word}", functools.partial(build_config, "cluster_contrast", None, [word]), FINE)
    for value in (np.int64(3), np.float32(3), 3.0, "3"):
        call = functools.partial(build_config, "cluster_contrast", None, {"epochs": value})
        yield Case(f"cluster_contrast {{'epochs': {value!r}}}", call, FINE, lambda config: config.epochs == 3)
    yield from _recipes(stage)


def _settings(model: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        inner = [part for part in (field.annotation, *get_args(field.annotation)) if hasattr(part, "model_fields")]
        if prefix + name in ("method", "method.name", "description", "encoder.weights"):
            continue
        if inner:
            yield from _settings(inner[0], f"{prefix}{name}.")
        else:
            yield prefix + name, field.annotation


def _wrong(method: str, name: str, annotation: Any) -> Iterator[Case]:
    kinds = _kinds(annotation)
    values: tuple[str, ...] = ("null",) if type(None) not in kinds else ()
    if float in kinds:
        values += NO_NUMBER
    elif int in kinds and tuple in kinds:
        values += tuple(value for value in NO_WHOLE if value not in ("[1]", "[]"))
    elif int in kinds:
        values += NO_WHOLE
    elif bool in kinds:
        values += NO_FLAG
    elif tuple in kinds:
        values += NO_PAIR
    else:
        values += tuple(value for value in NO_WORD if value != "null" or type(None) not in kinds)
    for value in dict.fromkeys(values):
        if (name, value) in (
            ("seed", "1e15"),
            ("sampling.cameras", "true"),
        ):  # a seed; how the setting was once written
            continue
        if value == "null" and type(None) in kinds:
            continue
        shown = value if len(value) < 30 else f"{value[:10]}…({len(value)})"
        yield Case(
            f"{method} {name}={shown}", functools.partial(build_config, method, None, [f"{name}={value}"]), SENTENCE
        )


def _kinds(annotation: Any) -> set[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return set().union(*(_kinds(part) for part in get_args(annotation)))
    if origin is Literal:
        numbers = {type(value) for value in get_args(annotation)}
        return {"words"} if numbers != {int} else {int}
    return {typing.get_origin(annotation) or annotation}


def _recipes(stage: Stage) -> Iterator[Case]:
    laughs = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
    )
    maps = "a: &a {x: 1}\n" + "".join(
        f"{b}: &{b} {{p: *{a}, q: *{a}, r: *{a}, s: *{a}, t: *{a}}}\n"
        for a, b in zip("abcdefghijkl", "bcdefghijklm", strict=True)
    )
    wrong = {
        "empty": b"", "a comment": b"# nothing\n", "a list": b"- 1\n- 2\n", "a number": b"5\n", "a text": b"abc\n",
        "null": b"null\n", "true": b"true\n", "open brace": b"epochs: {", "tab": b"epochs:\t5\n\tseed: 1\n",
        "NUL": b"epochs: 5\0\n",
        "UTF-16": "epochs: 5\n".encode("utf-16"), "Latin-1": "description: é\n".encode("latin-1"),
        "binary": bytes(range(256)),
        "two documents": b"epochs: 5\n---\nepochs: 6\n", "recursive list": b"epochs: &a [*a]\n",
        "recursive mapping": b"encoder: &a {height: *a}\n", "recursive whole": b"&a\nencoder: *a\n",
        "many laughs": laughs.encode(),
        "many mappings": maps.encode(), "deep list": b"epochs: " + b"[" * 20000, "deep mapping": b"{a: " * 5000,
        "python object": b"epochs: !!python/object/apply:os.getcwd []\n", "unknown tag": b"epochs: !nonsense 5\n",
        "5,000 digits": b"epochs: " + b"9" * 5000, "a bad date": b"epochs: 2020-13-45\n",
        "twice": b"epochs: 5\nepochs: 6\n",
        "unknown alias": b"epochs: *nonsense\n", "key is a list": b"? [1]\n: 5\n", "key is a number": b"5: 5\n",
        "key is null": b"null: 5\n", "key is a date": b"2020-01-01: 5\n", "unknown setting": b"nonsense: 5\n",
        "group as number": b"encoder: 5\n", "group as list": b"encoder: [5]\n", "group as null": b"encoder: null\n",
        "setting as group": b"epochs: {a: 5}\n", "extends itself": b"extends: default\nepochs: true\n",
        "extends nothing": b"extends: nonsense\n", "extends a list": b"extends: [default]\n",
        "extends null": b"extends: null\n",
        "extends a path": b"extends: ../../default\n", "extends NUL": b'extends: "a\\0b"\n',
        "method of another": b"method: {name: mar}\n",
        "method as a text": b"method: mar\n", "method as a list": b"method: {name: [mar]}\n",
        "merge key": b"<<: {epochs: 5}\nnonsense: 1\n",
        "sexagesimal": b"epochs: 1:30\n", "a set": b"epochs: !!set {5}\n", "NaN": b"optimizer: {lr: .nan}\n",
        "negative": b"epochs: -5\n", "bool": b"epochs: yes\n", "a directive": b"%NONSENSE\nepochs: 5\n",
        "a lone quote": b"epochs: '\n",
    }  # fmt: skip
    for name, text in wrong.items():
        file = stage.fresh("recipe.yaml")
        file.write_bytes(text)
        yield Case(f"recipe: {name}", functools.partial(build_config, "cluster_contrast", file), SENTENCE)
    rng = np.random.default_rng(0)
    whole = b"epochs: 5\nencoder: {height: 32, width: 16}\noptimizer: {lr: 1.0e-3}\ndescription: a recipe\n"
    right = stage.fresh("recipe.yaml")
    right.write_bytes(whole)
    yield Case(
        "recipe: right", functools.partial(build_config, "cluster_contrast", right), FINE, lambda got: got.epochs == 5
    )
    for number in range(60):
        damaged = bytearray(whole)
        for place in rng.integers(len(whole), size=1 + number % 4):
            damaged[place] = rng.integers(256)
        file = stage.fresh("recipe.yaml")
        file.write_bytes(bytes(damaged))
        yield Case(f"recipe: damaged {number}", functools.partial(build_config, "cluster_contrast", file), "either")
    for name, given in {
        "5": 5, "'epochs=5'": "epochs=5", "[5]": [5], "[None]": [None], "{5: 5}": {5: 5}, "b'epochs=5'": b"epochs=5",
        "{'epochs': {}}": {"epochs": {}}, "{'': 5}": {"": 5}, "['']": [""], "[' =5']": [" =5"],
        "['épochs=5']": ["épochs=5"],
        "['epochs==5']": ["epochs==5"], "['epochs=5\\0']": ["epochs=5\0"],
        "['encoder.weights=a\\0b']": ["encoder.weights=\"a\\0b\""],
        "{'epochs': inf}": {"epochs": float("inf")}, "{'epochs': 10**400}": {"epochs": 10**400},
        "{'epochs': np.nan}": {"epochs": np.nan}, "{'epochs': np.array(5)}": {"epochs": np.array([5, 6])},
        "{'epochs': np.True_}": {"epochs": np.True_}, "{'epochs': 1j}": {"epochs": 1j},
        "{'epochs': b'5'}": {"epochs": b"5"},
    }.items():  # fmt: skip
        yield Case(
            f"build_config(overrides={name})",
            functools.partial(build_config, "cluster_contrast", None, given),
            SENTENCE,
        )
