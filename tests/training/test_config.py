from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from resight.errors import ResightError
from resight.methods import METHODS
from resight.training.config import (
    build_config,
    describe_settings,
    flatten,
    read_recipe,
    recipes,
    setting_names,
    unread_settings,
)


def test_words_override_the_recipe() -> None:
    config = build_config("cluster_contrast", "default", ["epochs=3", "optimizer.lr=1e-3", "method.temperature=0.1"])
    assert (config.epochs, config.optimizer.lr, config.method.temperature) == (3, 1e-3, 0.1)  # type: ignore[attr-defined]
    assert config.sampling == build_config("cluster_contrast").sampling


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("clustering.esp=0.5", "'clustering.eps'"),
        ("eps=0.5", "'clustering.eps'"),
        ("epoch=3", "'epochs'"),
        ("optimiser.lr=1", "'optimizer.lr'"),
        ("epochs=many", "epochs='many'"),
        ("epochs=0", "epochs=0"),
        ("encoder.backbone=vgg", "encoder.backbone='vgg'"),
        ("method.update=all", "method.update='all'"),
        ("epochs", "key=value"),
        ("sampling=3", "'sampling'"),
    ],
)
def test_a_wrong_setting_is_a_sentence_that_names_the_right_one(word: str, said: str) -> None:
    with pytest.raises(ResightError) as error:
        build_config("cluster_contrast", None, [word])
    assert said in str(error.value)


def test_unknown_methods_and_recipes_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(ResightError, match="choose one of adtc, cluster_contrast"):
        build_config("cluster_contrst")
    with pytest.raises(ResightError, match=r"choose one of .*default"):
        build_config("cluster_contrast", "nowhere")
    (tmp_path / "bad.yaml").write_text("epochs: [")
    with pytest.raises(ResightError, match="not valid YAML"):
        build_config("cluster_contrast", tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(ResightError, match="mapping"):
        build_config("cluster_contrast", tmp_path / "list.yaml")


def test_a_config_survives_being_written_and_read() -> None:
    config = build_config("cluster_contrast", None, ["method.update=hard", "encoder.embedding_dim=64"])
    assert type(config).model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(("method", "name"), [(m, n) for m, files in recipes().items() for n in files])
def test_every_recipe_is_valid_and_described_and_sets_what_its_method_reads(method: str, name: str) -> None:
    config = build_config(method, name)
    assert read_recipe(method, name)["description"]
    assert unread_settings(config) == []


#: Settings of a run that its training does not read.
SOURCE = {"sampling.source_crops", "sampling.source_apart"}
DENSITY = {"clustering.eps", "clustering.min_samples"}
DEPTHS = {"clustering.k1", "clustering.k2"}
CAMERAS = {
    *(f"clustering.{name}" for name in ("clusterer", "scale_cameras", "camera_jaccard", "one_camera")),
    *(f"clustering.{name}" for name in ("intra_k1", "inter_k1", "intra_k2", "inter_k2")),
    *(f"clustering.one_camera_{name}" for name in ("ramp", "least")),
}
SEARCH = {"clustering.centre_cameras", "clustering.search", "clustering.recall"}
TRACKS = {"clustering.tracks", "clustering.unit", "clustering.track_min_samples"}
UNREAD = {
    "cluster_contrast": SOURCE,
    "pplr": SOURCE,
    "dcmip": SOURCE,
    "adtc": TRACKS | SOURCE | DENSITY | CAMERAS,
    "idl_acl": TRACKS | SOURCE | DENSITY | DEPTHS | CAMERAS,
    "mar": TRACKS | DENSITY | DEPTHS | SEARCH | CAMERAS | {"sampling.cameras", "sampling.balance", "sampling.tracks"},
    "supervised": TRACKS | SOURCE | DENSITY | DEPTHS | SEARCH | CAMERAS,
}


#: How far from a bound there is a value that it refuses.
BEYOND = {"≥": -1, ">": 0, "≤": 1, "<": 0}


PLAIN = {"encoder.backbone": "resnet50", "encoder.last_relu": True, "encoder.attention": "none", "encoder.groups": 1}


def accepts(method: str, name: str, value: object) -> bool:
    """Whether a setting can have a value, beside settings of the encoder that exclude no value of another."""
    try:
        build_config(method, None, PLAIN | {name: value})
    except ResightError:
        return False
    return True


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_setting_that_a_method_reads_is_described_and_no_other(method: str) -> None:
    rows = describe_settings(method)
    unread = UNREAD[method] | {"method.name", "description"}
    assert [row.name for row in rows] == [name for name in setting_names(method) if name not in unread]
    assert any(row.name.startswith("method.") for row in rows)
    values = flatten(build_config(method).model_dump(mode="json"))
    for name, value, allowed, meaning in rows:
        assert yaml.safe_load(value) == values[name]
        assert len(meaning) >= 10, f"{name} has no description"
        assert allowed, f"{name} does not say which values it can have"
        words = allowed.replace(",", "").split()
        assert ("null" in words) == accepts(method, name, None), name
        if words[0] not in ("number", "whole", "true", "text", "list", "2"):
            assert all(accepts(method, name, word) for word in words if word not in ("or", "null")), name
            assert not accepts(method, name, "nonsense"), name
        for sign, bound in pairwise(words):
            if sign in BEYOND:
                beyond = float(bound) + BEYOND[sign] if abs(float(bound)) < 1e15 else 2 * float(bound)
                assert not accepts(method, name, beyond), f"{name} {sign} {bound}"


def test_every_setting_is_read_by_some_method() -> None:
    """So that the test above sees the description of each."""
    read = {row.name for method in METHODS for row in describe_settings(method)}
    every = {name for method in METHODS for name in setting_names(method)}
    assert every - read == {"method.name", "description"}


@pytest.mark.parametrize(
    ("method", "name", "allowed"),
    [
        ("cluster_contrast", "method.temperature", "number > 0"),
        ("cluster_contrast", "method.update", "each, hard or mean"),
        ("mar", "method.threshold_crops", "whole number ≥ 2"),
        ("mar", "sampling.source_crops", "whole number ≥ 1 or null"),
        ("dcmip", "ema.decay", "number ≥ 0 and < 1 or null"),
        ("adtc", "encoder.match_groups", "2, 4, 8, 16 or null"),
        ("adtc", "encoder.neck", "true or false"),
        ("adtc", "encoder.weights", "text"),
        ("supervised", "optimizer.step_epochs", "whole number > 0 or list of whole number > 0"),
        ("supervised", "augmentation.erase_area", "2 times number ≥ 0 and ≤ 1"),
    ],
)
def test_the_values_that_a_setting_can_have_in_words(method: str, name: str, allowed: str) -> None:
    assert {row.name: row.allowed for row in describe_settings(method)}[name] == allowed


@pytest.mark.parametrize(
    ("method", "settings", "named"),
    [
        ("adtc", {"clustering.eps": 0.3}, ["clustering.eps=0.3"]),
        ("adtc", {"clustering.k1": 7}, []),
        ("adtc", {"clustering.k1": 7, "method.second_stage": False}, ["clustering.k1=7"]),
        ("idl_acl", {"clustering.recall": 0.5}, []),
        ("idl_acl", {"clustering.recall": 0.5, "method.cluster_weight": 0}, ["clustering.recall=0.5"]),
        ("cluster_contrast", {"clustering.eps": 0.3, "sampling.source_crops": 4}, ["sampling.source_crops=4"]),
        ("cluster_contrast", {"sampling.source_apart": False}, []),
        (
            "mar",
            {"sampling.source_crops": 4, "clustering.k2": 3, "clustering.eps": 0.2},
            ["clustering.k2=3", "clustering.eps=0.2"],
        ),
        ("mar", {"sampling.cameras": "spread"}, ["sampling.cameras=spread"]),
        ("supervised", {"clustering.centre_cameras": True}, ["clustering.centre_cameras=True"]),
    ],
)
def test_a_changed_setting_that_is_not_read_is_named(
    method: str, settings: dict[str, object], named: list[str]
) -> None:
    found = unread_settings(build_config(method, None, settings))
    assert len(found) == len(named)
    for sentence, setting in zip(found, named, strict=True):
        assert sentence.startswith(f"The setting {setting} ")
        assert method in sentence


def test_the_former_name_of_a_setting_is_understood() -> None:
    assert build_config("adtc", None, ["encoder.start=backbone"]) == build_config(
        "adtc", None, ["encoder.init_from=backbone"]
    )


def test_a_setting_like_no_other_is_answered_with_the_list() -> None:
    with pytest.raises(ResightError, match="'resight recipes mar --settings' lists them"):
        build_config("mar", None, ["zzzzqqqq=1"])


def test_settings_that_exclude_each_other_are_named() -> None:
    with pytest.raises(ResightError, match=r"^The settings of optimizer do not fit together: nesterov needs"):
        build_config("supervised", None, ["optimizer.name=sgd", "optimizer.nesterov=true", "optimizer.momentum=0"])


@pytest.mark.parametrize("value", ["0.04", "[0.6, 0.1]", "[1, 2, 3]", "-1"])
def test_a_value_of_no_possible_type_is_answered_with_all_of_them(value: str) -> None:
    with pytest.raises(ResightError, match=r"augmentation\.pad=.* it must be whole number ≥ 0 or 2 times number"):
        build_config("cluster_contrast", None, [f"augmentation.pad={value}"])
