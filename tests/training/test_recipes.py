"""The recipe files: what they extend, how they are shown, and that they set only what their method reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from resight.errors import ResightError
from resight.methods import METHODS
from resight.training import config
from resight.training.config import build_config, flatten, is_read, read_recipe, recipes, show_recipe, unread_settings

ALL = [(method, name) for method, files in recipes().items() for name in files]
PUBLISHED = (
    "default",
    *("market1501", "msmt17", "veri776", "dukemtmc", "personx"),
    *("market1501_cameras", "msmt17_cameras", "veri776_cameras"),
    *("buc_market1501", "buc_dukemtmc", "adtc_market1501", "mar_market1501"),
)


def own_text(method: str, name: str) -> str:
    return recipes()[method][name].read_text(encoding="utf-8")


def own_settings(method: str, name: str) -> dict[str, object]:
    return flatten(yaml.safe_load(own_text(method, name)))


def trailing_comments(text: str) -> dict[str, str]:
    """The comments behind settings and groups, read line by line; that behind {…} is for every setting in it."""
    found, group = {}, ""
    for line in text.splitlines():
        match = re.match(r"( *)(\w+):([^#]*)(?:#(.*))?$", line)
        if match is None:
            assert not line.strip() or line.lstrip().startswith("#"), line
            continue
        indent, key, value, comment = match.groups()
        group = group if indent else key
        if not (value.strip() or comment):
            continue
        for name in flatten(yaml.safe_load(f"{key}:{value}")):
            found[f"{group}.{name}" if indent else name] = (comment or "").strip()
    return found


def write_recipes(folder: Path, **texts: str) -> None:
    (folder / "cluster_contrast").mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / "cluster_contrast" / f"{name}.yaml").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(("method", "name"), ALL)
def test_a_recipe_is_shown_as_a_recipe_with_the_same_settings(method: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "shown.yaml").write_text(show_recipe(method, name), encoding="utf-8")
    shown = read_recipe(method, tmp_path / "shown.yaml")
    assert shown == read_recipe(method, name)
    assert "extends" not in shown
    assert build_config(method, tmp_path / "shown.yaml") == build_config(method, name)


@pytest.mark.parametrize(("method", "name"), ALL)
def test_a_recipe_is_shown_with_the_comments_of_the_files_that_its_settings_come_from(method: str, name: str) -> None:
    shown, own = show_recipe(method, name), own_text(method, name)
    target = own_settings(method, name).get("extends")
    expected = {**trailing_comments(own_text(method, str(target)) if target else ""), **trailing_comments(own)}
    expected.pop("extends", None)
    assert trailing_comments(shown) == expected
    lines = [line.strip() for line in shown.splitlines()]
    assert all(line.strip() in lines for line in own.splitlines() if line.lstrip().startswith("#"))
    assert not target or lines[0] == f"# Extends recipe '{target}', whose other settings are filled in below."


@pytest.mark.parametrize(("method", "name"), ALL)
def test_published_recipes_and_defaults_stand_whole_and_the_others_extend_default(method: str, name: str) -> None:
    assert own_settings(method, name).get("extends") == (None if name in PUBLISHED else "default")


@pytest.mark.parametrize(("method", "name"), ALL)
def test_a_recipe_sets_only_what_its_method_reads(method: str, name: str) -> None:
    settings = build_config(method, name)
    assert unread_settings(settings) == []
    needs = METHODS[method].needs(settings.method)
    assert [setting for setting in read_recipe(method, name) if not is_read(setting, needs)] == []


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (("supervised", "adtc"), ("adtc", "default")),
        (("supervised", "adtc"), ("adtc", "ward")),
        (("supervised", "adtc_market1501"), ("adtc", "market1501")),
        (("supervised", "adtc_market1501"), ("adtc", "dukemtmc")),
        (("supervised", "mar_market1501"), ("mar", "market1501")),
        (("supervised", "mar_market1501"), ("mar", "dukemtmc")),
        (("supervised", "reference"), ("mar", "default")),
        (("supervised", "reference"), ("mar", "ward")),
    ],
)
def test_a_source_model_has_the_encoder_of_the_recipe_that_starts_from_it(
    source: tuple[str, str], target: tuple[str, str]
) -> None:
    assert build_config(*source).encoder == build_config(*target).encoder


#: What papers and public codes say, by recipe; the recipes name the sources.
STATED: dict[tuple[str, str], dict[str, object]] = {
    **{
        ("cluster_contrast", name): {
            "clustering.eps": 0.6,
            "sampling.cameras": "spcl",
            "sampling.iterations": iterations,
            "sampling.clusters": 16,
            "sampling.crops": 16,
            "encoder.norm_groups": 4,
            "augmentation.pad": 10,
        }
        for name, iterations in (
            ("market1501", 200),
            ("msmt17", 400),
            ("veri776", 400),
            ("dukemtmc", 200),
            ("personx", 400),
        )
    },
    **{
        ("pplr", f"{name}_cameras"): {
            "clustering.eps": eps,
            "sampling.cameras": "spcl",
            "method.camera_form": "joint",
            "method.camera_weight": weight,
            "method.camera_temperature": 0.07,
            "method.camera_negatives": 50,
            "encoder.norm_groups": 4,
        }
        for name, eps, weight in (("market1501", 0.4, 0.5), ("msmt17", 0.6, 1.0), ("veri776", 0.7, 0.5))
    },
    **{
        ("pplr", name): {
            "sampling.cameras": "none",
            "method.camera_weight": 0,
            "encoder.norm_groups": 4,
            "augmentation.pad": 10,
        }
        for name in ("market1501", "msmt17", "veri776")
    },
    **{("dcmip", name): {"encoder.norm_groups": 4} for name in ("market1501", "msmt17")},
    **{
        ("idl_acl", name): {
            "augmentation.pad": 0,
            "augmentation.zoom": 0.64**-0.5,  # the least window has 64 % of the area
            "augmentation.erase": 0,
            "augmentation.contrast": 0,
            "method.proxy_start": "zeros",
            "encoder.norm_groups": 1,
        }
        for name in ("buc_market1501", "buc_dukemtmc")
    },
    **{("idl_acl", name): {"method.first_view": "plain"} for name in ("market1501", "dukemtmc")},
    **{
        ("mar", name): {
            "encoder.standardise": "crops",
            "encoder.norm_groups": 4,
            "method.agent_start": "classifier",
            "sampling.source_apart": True,
            "augmentation.pad": 7,
        }
        for name in ("market1501", "dukemtmc")
    },
    ("supervised", "mar_market1501"): {
        "method.triplet_weight": 0,
        "method.keep_classifier": True,
        "encoder.standardise": "crops",
    },
    **{("adtc", name): {"method.clusters": 1000, "method.nearest": 20} for name in ("market1501", "dukemtmc")},
}


@pytest.mark.parametrize(("method", "name"), STATED)
def test_published_recipes_are_what_their_sources_state(method: str, name: str) -> None:
    found = flatten(build_config(method, name).model_dump())
    stated = STATED[method, name]
    assert {setting: found[setting] for setting in stated} == stated


def test_own_recipes_keep_our_sampler_and_our_form_of_the_camera_loss() -> None:
    for method, name in ALL:
        if name in PUBLISHED:
            continue
        found = flatten(build_config(method, name).model_dump())
        assert found["sampling.cameras"] in ("none", "spread")
        assert found.get("method.camera_form", "separate") == "separate"


def test_a_file_of_the_user_can_extend_a_recipe(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("extends: default\nepochs: 3\nclustering: {k1: 40}\naugmentation: {colour: 0.2}\n")
    default = build_config("cluster_contrast", "default")
    expected = {"epochs": 3, "clustering.k1": 40, "augmentation.colour": 0.2, "description": ""}
    assert flatten(build_config("cluster_contrast", mine).model_dump()) == flatten(default.model_dump()) | expected
    assert build_config("cluster_contrast", mine, ["epochs=5"]).epochs == 5
    mine.write_text("extends: cluster_contrast/market1501\n")
    assert build_config("cluster_contrast", mine).encoder.backbone == "resnet50"


def test_another_methods_recipe_gives_all_but_its_own_constants(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("extends: pplr/veri776\nmethod: {temperature: 0.1}\n")
    settings, theirs = build_config("dcmip", mine), build_config("pplr", "veri776")
    assert (settings.encoder, settings.sampling) == (theirs.encoder, theirs.sampling)
    assert settings.method == METHODS["dcmip"].Options(temperature=0.1)


@pytest.mark.parametrize(
    ("extends", "said"),
    [
        ("nowhere", "'nowhere', which does not exist: choose one of cluster_contrast, which are cameras, default, "),
        ("pplr/nowhere", "'pplr/nowhere', which does not exist: choose one of pplr, which are cameras, default, "),
        ("nothing/default", "'nothing/default', which does not exist: choose one of cluster_contrast, which are "),
        ("other.yaml", "'other.yaml', which does not exist: "),
        ("cameras", "'cameras', which itself extends 'default', but a recipe can only extend one that extends none."),
        ("pplr/ward", "Print all settings of 'pplr/ward' with 'resight recipes pplr --show ward', and change a copy"),
    ],
)
def test_what_cannot_be_extended_is_named(extends: str, said: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"extends: {extends}\nepochs: 3\n")
    with pytest.raises(ResightError) as error:
        read_recipe("cluster_contrast", mine)
    assert str(error.value).startswith(f"The recipe '{mine}' extends '")
    assert said in str(error.value)


def test_a_recipe_that_extends_itself_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "RECIPES", tmp_path)
    write_recipes(tmp_path, default="epochs: 3\n", mine="extends: mine\n")
    for recipe in ("mine", tmp_path / "cluster_contrast" / "mine.yaml"):
        with pytest.raises(ResightError, match="extends itself: name another recipe, or remove 'extends'"):
            read_recipe("cluster_contrast", recipe)


def test_extends_is_no_setting_of_the_command() -> None:
    with pytest.raises(ResightError, match="There is no setting 'extends'"):
        build_config("cluster_contrast", None, ["extends=market1501"])


def test_only_recipes_can_be_shown(tmp_path: Path) -> None:
    with pytest.raises(ResightError, match="There is no method 'nothing'"):
        show_recipe("nothing", "default")
    with pytest.raises(ResightError, match="There is no recipe 'nowhere' for pplr"):
        show_recipe("pplr", "nowhere")
    (tmp_path / "mine.yaml").write_text("epochs: 3\n")
    with pytest.raises(ResightError, match="is a file: name one of pplr's recipes, cameras, default, "):
        show_recipe("pplr", str(tmp_path / "mine.yaml"))


def test_a_derived_recipe_is_shown_line_by_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "RECIPES", tmp_path)
    default = """\
# The header of the default recipe.
description: "The first: default."  # never taken over
epochs: 20                   # paper
# Why this seed.
seed: 3
encoder:                     # of all recipes
  backbone: resnet18
  # Two lines
  # about the weights.
  weights: none              # ours
  height: 96
# The amounts are ours.
augmentation: {flip: 0.5, erase_area: [0.02, 0.4], pad: 0}  # paper A
optimizer: {lr: 3.5e-4}
"""
    mine = """\
# The header of mine,
# in two lines.
extends: default
description: "Mine: # is no comment here."
keep_every: 2                # mine
encoder:
  height: 128
  width: 64                  # mine, too
augmentation: {pad: 10, colour: 0.4}  # held out
method:
  temperature: 0.1           # mine as well
"""
    write_recipes(tmp_path, default=default, mine=mine)
    assert show_recipe("cluster_contrast", "default") == default
    assert (
        show_recipe("cluster_contrast", "mine")
        == """\
# Extends recipe 'default', whose other settings are filled in below.
# The header of mine,
# in two lines.
description: "Mine: # is no comment here."
epochs: 20                   # paper
# Why this seed.
seed: 3
keep_every: 2                # mine
encoder:                     # of all recipes
  backbone: resnet18
  # Two lines
  # about the weights.
  weights: none              # ours
  height: 128
  width: 64                  # mine, too
# The amounts are ours.
augmentation:
  flip: 0.5                  # paper A
  erase_area: [0.02, 0.4]    # paper A
  pad: 10                    # held out
  colour: 0.4                # held out
optimizer:
  lr: 3.5e-4
method:
  temperature: 0.1           # mine as well
"""
    )
