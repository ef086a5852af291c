"""The run folder: what first weights are read from, and which runs are behind them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from resight.errors import ResightError
from resight.training.config import build_config
from resight.training.run import RunFolder, first_weights, runs_behind


def begun(path: Path, **data: object) -> RunFolder:
    """A run of which no epoch was finished."""
    run = RunFolder(path)
    run.start(build_config("cluster_contrast", None, ["encoder.weights=none"]), {"root": "crops"} | data)
    return run


@pytest.mark.parametrize("weights", ["none", "imagenet"])
def test_what_is_no_run_is_read_as_it_is_named(weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / weights).mkdir()  # a folder of that name does not take its place
    assert first_weights(weights) == weights
    assert first_weights(str(tmp_path / "w.pth")) == str(tmp_path / "w.pth")
    assert runs_behind(weights) == runs_behind(str(tmp_path / "w.pth")) == []


def test_a_run_folder_gives_its_model(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    with pytest.raises(ResightError, match=r"run has no weights to start from: no epoch of it was finished"):
        first_weights(str(run.path))
    run.save_weights(nn.Linear(2, 3))
    assert first_weights(str(run.path)) == str(run.weights_file)
    assert first_weights(str(run.weights_file)) == str(run.weights_file)


def test_a_folder_that_is_no_run_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ResightError, match=r"is not a run folder: it has no config\.yaml"):
        first_weights(str(tmp_path))


@pytest.mark.parametrize("by_file", [False, True])
def test_the_runs_behind_weights_are_those_of_the_whole_chain(by_file: bool, tmp_path: Path) -> None:
    oldest = begun(tmp_path / "a", identity_use=True, camera_use=[], started_from=runs_behind("imagenet"))
    middle = begun(tmp_path / "b", identity_use=False, camera_use=["x"], started_from=runs_behind(str(oldest.path)))
    found = runs_behind(str(middle.weights_file if by_file else middle.path))
    assert found == [
        {"run": str(middle.path), "root": "crops", "camera_use": ["x"], "identity_use": False},
        {"run": str(oldest.path), "root": "crops", "camera_use": [], "identity_use": True},
    ]
    assert json.loads(middle.data_file.read_text())["started_from"] == found[1:]


def test_the_extension_of_a_method_is_saved_beside_the_encoder(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    run, encoder, extension = begun(tmp_path / "run"), nn.Linear(2, 3), nn.Module()
    extension.register_buffer("agents", torch.rand(4, 3))
    run.save_weights(encoder, extension)
    found = load_file(run.weights_file)
    assert found.keys() == {"weight", "bias", "method.agents"}
    assert torch.equal(found["method.agents"], extension.agents)
    assert torch.equal(found["weight"], encoder.weight)
