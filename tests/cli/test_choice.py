"""Training without naming a method."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import resight
from resight import bench
from resight.choice import choose
from resight.crops import CropTable
from resight.errors import ResightError
from resight.training.run import RunFolder

Run = Callable[..., tuple[int, str, str]]


def table(camera: list[int] | None) -> CropTable:
    paths = tuple(f"{number}.png" for number in range(6))
    return CropTable(Path("crops"), paths, camera=None if camera is None else np.array(camera))


@pytest.mark.parametrize(
    ("camera", "recipe", "said"),
    [
        ([1, 1, 1, 2, 2, 2], "cameras", "The crops' 2 cameras are used"),
        ([1, 1, 1, 1, 1, 1], "pseudo_cameras", "All crops are from one camera"),
        (None, "pseudo_cameras", "The cameras are not known"),
    ],
)
def test_cameras_decide(camera: list[int] | None, recipe: str, said: str) -> None:
    chosen = choose(table(camera))
    assert (chosen.method, chosen.recipe) == ("cluster_contrast", recipe)
    assert said in chosen.reasons[1]
    assert len(chosen.reasons) == 3
    assert "mAP was 42.0 with such groups, 39.2 with cameras" in chosen.reasons[2] or camera is not None
    assert chosen.settings == {"sampling.iterations": 1}


def test_tracks_number_and_size_of_the_crops_decide_too(painted: Path, tmp_path: Path) -> None:
    crops = resight.read_crops(painted)
    assert "of about 32×16 pixels on cpu" in choose(crops, "cpu").reasons[0]
    tracked = replace(crops, track=np.arange(96) // 4)
    chosen = choose(tracked)
    assert chosen.settings == {"clustering.tracks": True, "sampling.tracks": "spread", "sampling.iterations": 2}
    assert "clustering.tracks=true sampling.tracks=spread" in chosen.reasons[0]
    assert len(chosen.reasons) == 2  # nothing is missing
    assert not choose(tracked, given=["sampling.tracks", "sampling.iterations"]).settings
    alone = choose(replace(crops, track=np.arange(96)))
    assert "clustering.tracks" not in alone.settings
    assert "A column 'track' would make labels better" in alone.reasons[2]
    for number in range(3):
        Image.new("RGB", (40, 40)).save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_bytes(b"no image")
    square = choose(CropTable(tmp_path, tuple(f"{number}.png" for number in range(5))))
    assert (square.settings["encoder.height"], square.settings["encoder.width"]) == (96, 96)
    many = choose(CropTable(tmp_path, tuple(f"no-{number}.png" for number in range(60_000))))
    assert "An epoch shows 9 % of the crops" in many.reasons[1]
    assert many.settings == {}


def test_the_command_chooses_says_why_and_goes_on(
    painted: Path, tiny: dict[str, object], tmp_path: Path, in_process: Run
) -> None:
    flat = tmp_path / "crops"
    flat.mkdir()
    for number, file in enumerate(sorted(painted.iterdir())):
        shutil.copy(file, flat / f"img{number:03d}.png")
    out = tmp_path / "run"
    words = ["train", *(f"{name}={value}" for name, value in (tiny | {"epochs": 1}).items()), "--data", flat]
    status, said, err = in_process(*words, "--out", out)
    assert status == 0, err
    assert "What can be known without labels: " in said
    assert 0 <= json.loads((out / "doubt.json").read_text())["stability"] <= 1
    assert "cluster_contrast, recipe pseudo_cameras" in err
    assert "mAP was 42.0 with such groups, 39.2 with cameras" in err
    assert RunFolder(out).read_config().pseudo_cameras == 6
    status, _, err = in_process("train", "epochs=2", "--data", flat, "--out", out, "--resume", "-q")
    assert status == 0, err
    assert RunFolder(out).read_metrics()[-1]["epoch"] == 2


def test_python_chooses_too(painted: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    model = resight.train(None, painted, tmp_path / "run", settings=tiny | {"epochs": 1})
    assert model.run is not None
    assert model.run.read_data()["camera_use"] != []
    with pytest.raises(ResightError, match="no method: name the method whose recipe it is"):
        resight.train(None, painted, tmp_path / "other", recipe="cameras")


def test_minutes_become_epochs(
    painted: Path, tiny: dict[str, object], tmp_path: Path, in_process: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [f"{name}={value}" for name, value in tiny.items() if name != "epochs"]
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(bench, "measure", lambda *_, **__: SimpleNamespace(epoch_seconds=30, embed_images=1e9))
        status, _, err = in_process("train", *words, "--data", painted, "--out", out, "--minutes", "1", "-q")
    assert status == 0, err
    assert RunFolder(out).read_metrics()[-1]["epoch"] == RunFolder(out).read_config().epochs == 2
    status, _, err = in_process("train", "epochs=3", "--data", painted, "--minutes", "0.1")
    assert status == 2
    assert "--minutes finds the number of epochs of a new run" in err
    many = [word.replace("iterations=6", "iterations=100000") for word in words]
    status, _, err = in_process("train", *many, "--data", painted, "--out", tmp_path / "b", "--minutes", "0.1", "-q")
    assert status == 2
    assert "One epoch takes about" in err
