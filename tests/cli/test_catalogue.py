"""The lists of methods, recipes and settings."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import yaml

from resight.methods import METHODS
from resight.training.config import RECIPES, describe_settings, recipes, show_recipe


def column(out: str, number: int = 0) -> list[str]:
    """Cells of a column in all tables that were printed, without heads."""
    return [line.split("│")[number + 1].strip() for line in out.splitlines() if line.startswith("│")]


def test_methods(resight: Callable[..., tuple[int, str, str]]) -> None:
    out = resight("methods")[1]
    assert [name for name in column(out) if name] == sorted(METHODS)
    assert METHODS["cluster_contrast"].summary in column(out, 1)


def test_recipes(resight: Callable[..., tuple[int, str, str]]) -> None:
    out = resight("recipes")[1]
    pairs = [(method, recipe) for method, files in recipes().items() for recipe in files]
    assert [pair for pair in zip(column(out), column(out, 1), strict=True) if pair[0]] == pairs
    out = resight("recipes", "idl_acl")[1]
    assert [name for name in column(out, 1) if name] == list(recipes()["idl_acl"])


@pytest.mark.parametrize("method", METHODS)
def test_a_recipe_of_a_method(method: str, resight: Callable[..., tuple[int, str, str]]) -> None:
    status, out, _ = resight("recipes", method, "--show", "default")
    assert status == 0
    assert out == (RECIPES / method / "default.yaml").read_text(encoding="utf-8")


def test_a_recipe_without_a_method(resight: Callable[..., tuple[int, str, str]]) -> None:
    # of one method alone: no doubt which
    assert resight("recipes", "--show", "buc")[1] == show_recipe("idl_acl", "buc")
    status, out, err = resight("recipes", "--show", "default")
    assert (status, out) == (2, "")
    assert f"{len(METHODS)} methods have a recipe 'default'" in err
    _, found, command = err.partition("as in '")
    assert found
    words = command.split("'")[0].split()
    assert words == ["resight", "recipes", "cluster_contrast", "--show", "default"]
    assert yaml.safe_load(resight(*words[1:])[1])["epochs"] > 0
    assert resight("recipes", "--show", "adtc_market1501")[0] == 0
    words = resight("recipes", "--show", "msmt17")[2].partition("as in '")[2].split("'")[0].split()
    assert resight(*words[1:])[1].startswith("#")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nothing",), "There is no method 'nothing': choose one of adtc, cluster_contrast"),
        (("--show", "nothing"), "There is no recipe 'nothing': 'resight recipes' lists them."),
        (
            ("mar", "--show", "buc"),
            "There is no recipe 'buc' of mar: choose one of default, dukemtmc, market1501, ward.",
        ),
    ],
)
def test_bad_names(words: tuple[str, ...], said: str, resight: Callable[..., tuple[int, str, str]]) -> None:
    status, out, err = resight("recipes", *words)
    assert (status, out) == (2, "")
    assert said in err


def test_settings_of_a_method(resight: Callable[..., tuple[int, str, str]]) -> None:
    out = resight("recipes", "pplr", "--settings")[1]
    heads = [line for line in out.splitlines() if re.match(r"\S+=", line)]
    assert [line.partition("=")[0] for line in heads] == [setting.name for setting in describe_settings("pplr")]
    assert any(line.startswith("clustering.eps=0.55    (number > 0 and < 1 or auto)") for line in heads)
    out = resight("recipes", "cluster_contrast", "--settings", "--show", "cameras")[1]
    assert "clustering.eps=0.5    " in out
    assert "their values in the recipe 'cameras'" in out


def test_settings_need_a_method(resight: Callable[..., tuple[int, str, str]]) -> None:
    status, out, err = resight("recipes", "--settings")
    assert (status, out) == (2, "")
    words = err.partition("as in '")[2].split("'")[0].split()
    assert resight(*words[1:])[0] == 0
