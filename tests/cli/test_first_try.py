"""What a new user meets: words at once, advice that works, pictures of their own crops."""

from __future__ import annotations

import csv
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

Resight = Callable[..., tuple[int, str, str]]


def words_of(tiny: dict[str, object], **others: object) -> list[str]:
    return [f"{name}={value}" for name, value in (tiny | others).items()]


def suggested(out: str, start: str = "  resight") -> list[list[str]]:
    """The words of each command that a result suggests."""
    return [shlex.split(line)[1:] for line in out.splitlines() if line.startswith(start)]


@pytest.fixture
def flat(painted: Path, tmp_path: Path) -> Path:
    """The painted crops without cameras and identities, in a folder with a space in its name."""
    folder = tmp_path / "my crops"
    folder.mkdir()
    for number, file in enumerate(sorted(painted.iterdir())):
        shutil.copy(file, folder / f"img{number:03d}.png")
    return folder


def test_something_is_said_before_torch_is_loaded() -> None:
    script = """
        import sys
        class Heard(Exception): pass
        class Listen:
            def write(self, text):
                if "loading PyTorch" in text:
                    raise Heard("torch" in sys.modules, "numpy" in sys.modules)
            def flush(self): pass
            def isatty(self): return False
        sys.argv = ["resight", "train", "cluster_contrast", "--data", "crops"]
        sys.stderr = Listen()
        from resight.cli.app import app
        try:
            app(standalone_mode=False)
        except Heard as heard:
            print(heard)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert done.stdout == "(False, False)\n", done.stderr


def test_a_first_run_ends_with_a_picture_on_offer_and_the_offer_works(
    flat: Path, tiny: dict[str, object], tmp_path: Path, resight: Resight, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = resight("train", "cluster_contrast", "--data", flat, "-q", *words_of(tiny))
    assert status == 0, err
    # the line before it is only there if this process had to load PyTorch first
    lines = [line for line in err.splitlines() if not line.startswith("Starting cluster_contrast on ")]
    assert lines[0] == "Training cluster_contrast, recipe default, into runs/cluster_contrast-1:"
    assert [line.split()[0] for line in lines[1:6]] == ["crops", "cameras", "encoder", "device", "epochs"]
    assert "so far, about" in next(line for line in lines if line.startswith("epoch 1/3"))
    assert next(line for line in lines if line.startswith("epoch 3/3")).endswith("in all")
    ((_, *offer),) = suggested(out, "Next: ")
    assert offer[-2:] == ["--sheet", "clusters.png"]
    status, out, _ = resight(*offer, "-q")
    assert status == 0
    with Image.open("clusters.png") as sheet:
        assert sheet.width > 100
    with Path("identities.csv").open() as stream:
        clusters = len({row["cluster"] for row in csv.DictReader(stream)} - {"-1"})
    assert f"clusters.png shows {min(8, clusters)} of them" in out
    assert "Next:" not in out


def test_train_draws_a_sheet(painted: Path, tiny: dict[str, object], tmp_path: Path, resight: Resight) -> None:
    words = ("train", "cluster_contrast", "--data", painted, "--out", tmp_path / "run", "-q", *words_of(tiny, epochs=1))
    status, _, err = resight(*words, "--sheet", tmp_path / "sheet.gif")
    assert status == 2
    assert "ending in .png or .jpg" in err
    assert not (tmp_path / "run").exists()
    status, out, err = resight(*words, "--sheet", tmp_path / "sheet.jpg")
    assert status == 0, err
    assert f"{tmp_path / 'sheet.jpg'} shows " in out
    assert "clusters that the model finds among the training crops" in " ".join(out.split())
    assert [command for command in suggested(out, "Next: ") if "--sheet" in command] == []
    with Image.open(tmp_path / "sheet.jpg") as sheet:
        assert sheet.width > 100


def test_cluster_remarks_on_odd_clusters_and_its_advice_runs(
    run: Path, painted: Path, tmp_path: Path, resight: Resight, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("cluster", run, "--data", painted, "--to", "c.csv", "-q")
    status, out, _ = resight(*words, "--clusters", 60)
    assert status == 0
    assert "There are 60 clusters for 96 crops: an identity is split into many clusters. Try clusters=30" in out
    (advice,) = suggested(out)
    status, out, _ = resight(*advice, "-q")
    assert status == 0
    assert out.startswith("30 identities among 96 crops")
    assert "Note: There" not in out
    (advice,) = suggested(resight(*words, "--eps", 0.05, "min_samples=1")[1])
    assert advice[-2:] == ["min_samples=1", "eps=0.15"]
    assert resight(*advice, "-q")[0] == 0


def test_cluster_offers_the_sheet(run: Path, painted: Path, tmp_path: Path, resight: Resight) -> None:
    words = ("cluster", run, "--data", painted, "--to", tmp_path / "c.csv", "-q", "--algorithm", "bottom_up")
    ((_, *offer),) = suggested(resight(*words, "crops_per_identity=8")[1], "Next: ")
    assert offer[-5:] == ["--algorithm", "bottom_up", "crops_per_identity=8", "--sheet", "clusters.png"]


def test_train_remarks_on_its_last_labels(
    paint_crops: Callable[..., Path], tiny: dict[str, object], tmp_path: Path, resight: Resight,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    crops = paint_crops(tmp_path / "crops", cast=0.9)  # cameras differ more than people
    words = words_of(tiny, epochs=1)
    status, out, err = resight("train", "cluster_contrast", "--data", crops, "--format", "market1501", "-q", *words)
    assert status == 0, err
    assert "clusters are of a single camera" in " ".join(out.split())
    advice = next(command for command in suggested(out) if "--recipe" in command)
    assert advice == [
        "train", "cluster_contrast", "--data", str(crops), "--format", "market1501", "--recipe", "cameras", *words,
    ]  # fmt: skip
    status, out, err = resight(*advice, "-q", "clustering.eps=0.9")
    assert status == 0, err
    assert "2, used (clustering.centre_cameras" in err
    assert Path("runs/cluster_contrast-2/model.safetensors").exists()


def test_cameras_on_a_flat_folder_say_what_to_do(
    flat: Path, painted: Path, tiny: dict[str, object], tmp_path: Path, resight: Resight
) -> None:
    words = ("train", "cluster_contrast", "--recipe", "cameras", "--out", tmp_path / "run", "-q", *words_of(tiny))
    status, _, err = resight(*words, "--data", flat)
    assert status == 2
    assert "Move the crops of each camera into one sub-folder per camera" in err
    assert "or list them in a CSV file with the columns path and camera" in err
    assert err.endswith("or train without cameras: the recipe default uses none.\n")
    assert err.count("\n") == 1
    table = tmp_path / "crops.csv"  # the second advice
    table.write_text("path,camera\n" + "".join(f"{file},{file.name[6]}\n" for file in sorted(painted.iterdir())))
    status, _, err = resight(*words, "--data", table)
    assert status == 0, err
    assert "2, used" in err


def test_an_error_before_the_work_stands_alone(run: Path, painted: Path, resight: Resight) -> None:
    status, out, err = resight("train", "cluster_contrast", "--data", painted, "--out", run, "-q")
    assert (status, out) == (2, "")
    assert err.startswith(f"resight: {run} already holds a run")
    assert err.count("\n") == 1


def test_help_shows_no_types_of_the_program(resight: Resight) -> None:
    for command in ("train", "cluster", "recipes"):
        out = resight(command, "--help")[1]
        assert "<bool>" not in out
        assert "<list" not in out
        assert "<path>" not in out
