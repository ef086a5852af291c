"""The check of crops: what it counts and what it finds."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resight.common.identities import DISTRACTOR, JUNK, UNLABELLED
from resight.crops.check import check_crops
from resight.crops.readers import read_crops
from resight.crops.table import CropTable
from resight.errors import ResightError


@pytest.fixture
def crops(tmp_path: Path) -> CropTable:
    for number, (width, height) in enumerate([(32, 64), (32, 70), (64, 32), (10, 80), (40, 40)]):
        noise = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        file = tmp_path / ("cam1" if number < 3 else "cam2") / f"{number}.jpg"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(noise).save(file)
    shutil.copy(tmp_path / "cam1" / "0.jpg", tmp_path / "cam2" / "copy of [0].jpg")
    (tmp_path / "cam1" / "cut.jpg").write_bytes((tmp_path / "cam1" / "1.jpg").read_bytes()[:400])
    (tmp_path / "cam1" / "zero.png").touch()
    (tmp_path / "cam2" / "zero too.png").touch()
    (tmp_path / "cam2" / "text.png").write_text("hello")
    return read_crops(tmp_path)


def test_findings(crops: CropTable) -> None:
    done: list[int] = []
    report = check_crops(crops, threads=2, progress=done.append)
    assert done == list(range(1, len(crops) + 1))
    assert report.crops == 10
    assert report.splits == {"train": 10}
    assert report.identities == {}
    assert report.cameras == {"cam1": {"train": 5}, "cam2": {"train": 5}}
    assert report.zero_size == ("cam1/zero.png", "cam2/zero too.png")
    assert [path for path, _ in report.unreadable] == ["cam1/cut.jpg", "cam2/text.png"]
    assert "truncated" in dict(report.unreadable)["cam1/cut.jpg"]
    assert report.duplicates == (("cam1/0.jpg", "cam2/copy of [0].jpg"),)
    assert report.odd_aspect == (("cam1/2.jpg", 0.5), ("cam2/3.jpg", 8.0))
    assert report.heights[0.0] == 32
    assert report.heights[1.0] == 80
    assert report.widths[0.5] == 32
    assert not report.ok


def test_aspect_range_is_the_users(crops: CropTable) -> None:
    assert check_crops(crops, aspect_range=(0.5, 8)).odd_aspect == ()
    with pytest.raises(ResightError, match="aspect range 3 to 1 is none"):
        check_crops(crops, aspect_range=(3, 1))
    with pytest.raises(ResightError, match="0 threads"):
        check_crops(crops, threads=0)


def test_labels_and_splits(crops: CropTable) -> None:
    table = CropTable(
        root=crops.root,
        paths=(*crops.paths[:3], "gone.jpg", crops.paths[5], crops.paths[6]),
        camera=np.array([1, 1, 2, 2, 2, 2]),
        identity=np.array([4, 4, 7, JUNK, DISTRACTOR, UNLABELLED]),
        split=np.array(["train", "train", "query", "gallery", "gallery", "train"]),
    )
    report = check_crops(table, threads=1)
    assert report.splits == {"train": 3, "query": 1, "gallery": 2}
    assert report.identities == {"train": 1, "query": 1, "gallery": 0}
    assert report.cameras == {"1": {"train": 2}, "2": {"train": 1, "query": 1, "gallery": 2}}
    assert (report.junk, report.distractors, report.unlabelled) == (1, 1, 1)
    assert dict(report.unreadable)["gone.jpg"] == "no such file or directory"


def test_all_well(tmp_path: Path) -> None:
    Image.new("RGB", (10, 20)).save(tmp_path / "a.png")
    report = check_crops(read_crops(tmp_path))
    assert report.ok
    assert report.duplicates == ()


def test_imports_are_cheap() -> None:
    code = "import sys, resight.crops; print([m for m in ('PIL', 'pyarrow', 'rich', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
