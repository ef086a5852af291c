from __future__ import annotations

from pathlib import Path

import pytest

from resight.errors import ResightError
from resight.training.config import build_config, describe_settings, read_recipe, recipes, setting_names


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
def test_every_recipe_is_valid_and_described(method: str, name: str) -> None:
    build_config(method, name)
    assert read_recipe(method, name)["description"]


def test_every_setting_is_described() -> None:
    rows = describe_settings("cluster_contrast")
    assert [name for name, _, _ in rows] == list(setting_names("cluster_contrast"))
    assert "method.temperature" in setting_names("cluster_contrast")


def test_settings_that_exclude_each_other_are_named() -> None:
    with pytest.raises(ResightError, match=r"^The settings of optimizer do not fit together: nesterov needs"):
        build_config("supervised", None, ["optimizer.name=sgd", "optimizer.nesterov=true", "optimizer.momentum=0"])
