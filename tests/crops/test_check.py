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
from resight.crops.check import check_crops, folders_look_like_identities, images_look_like_frames, remarks
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


def in_folders(root: Path, names: list[str], crops: int, source: str = "folder") -> CropTable:
    """A table of crops in folders that are read as cameras; there are no files."""
    paths = [f"{name}/{number}.jpg" for name in names for number in range(crops)]
    return CropTable(
        root,
        tuple(paths),
        camera=np.repeat(np.arange(1, len(names) + 1), crops),
        camera_names=dict(enumerate(names, start=1)),
        source=source,
    )


@pytest.mark.parametrize(
    ("names", "crops", "expected"),
    [
        ([f"{n:04d}" for n in range(751)], 17, True),
        ([f"{n:04d}" for n in range(12)], 8, True),
        ([f"{n:03d}" for n in range(4)], 60, True),
        ([f"person_{n}" for n in range(3)], 80, True),
        ([f"id{n}" for n in range(20)], 5, True),
        ([f"p{n:02d}" for n in range(10)], 40, True),
        (["anna", "ben", "carla", "dora", "emil", "fritz"], 12, True),
        ([f"{a}{b}" for a in "abcdefgh" for b in "lmnop"], 100, True),
        ([f"0002_c{n}" for n in range(1, 8)], 6, True),  # one folder per tracklet is no camera either
        (["1", "2", "3", "4", "5", "6"], 2000, False),
        (["001", "002", "003"], 2000, False),
        ([f"cam{n:02d}" for n in range(60)], 10, False),
        ([f"Camera {n}" for n in range(40)], 500, False),
        ([f"hall-c{n}" for n in range(8)], 9, False),
        (["cam_a", "cam_b", "cam_c", "cam_d", "cam_e"], 3, False),
        (["entrance", "hall", "yard"], 5, False),
        (["entrance", "hall", "yard", "stairs", "lift", "garage"], 300, False),
        ([f"lobby{n}" for n in range(12)], 1000, False),
    ],
    ids=lambda value: str(value)[:24],
)
def test_one_folder_per_identity_is_remarked_on(tmp_path: Path, names: list[str], crops: int, expected: bool) -> None:
    table = in_folders(tmp_path, names, crops)
    assert folders_look_like_identities(table) == expected
    said = [remark for remark in remarks(table) if "sub-folders" in remark]
    assert len(said) == expected
    if said:
        assert said[0] == (
            f"The {len(names)} sub-folders of {tmp_path}, such as '{names[0]}', are read as cameras, but look like "
            f"identities, with {crops} crops each (median). If each folder shows one identity, add --format identities "
            "(in Python format='identities'). If cameras are known as well, list the crops in a CSV file with the "
            "columns path, identity and camera, and read that file."
        )
    assert not folders_look_like_identities(in_folders(tmp_path, names, crops, source="csv"))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(1920, 1080)], True),
        ([(640, 480)], True),
        ([(320, 240)], True),
        ([(1080, 1920)], True),  # a phone held upright
        ([(800, 600), (1280, 720), (1920, 1080)], True),
        ([(64, 128)], False),
        ([(128, 256)], False),
        ([(80, 200), (120, 300), (64, 180)], False),
        ([(300, 900), (500, 1200), (700, 1500)], False),  # large crops of standing people
        ([(200, 150), (320, 200), (260, 240)], False),  # vehicles
    ],
    ids=str,
)
@pytest.mark.parametrize("checked", [True, False])
def test_whole_frames_are_remarked_on(
    tmp_path: Path, sizes: list[tuple[int, int]], expected: bool, checked: bool
) -> None:
    for number, size in enumerate(sizes * 3):
        Image.new("RGB", size).save(tmp_path / f"{number}.jpg")
    table = read_crops(tmp_path)
    report = check_crops(table) if checked else None
    assert images_look_like_frames(table, report) == expected
    assert any("whole frames" in remark for remark in remarks(table, report)) == expected


def test_sizes_without_a_report_are_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (1000, 400))
    exif = image.getexif()
    exif[0x0112] = 6
    for number in range(3):
        image.resize((1000 + number, 600)).save(tmp_path / f"{number}.jpg", exif=exif)
    assert not images_look_like_frames(read_crops(tmp_path))  # 600 wide and 1000 high: large crops


def test_few_crops_and_cameras_are_remarked_on(tmp_path: Path) -> None:
    def said(table: CropTable) -> list[str]:
        return [remark.partition(":")[0].partition(".")[0] for remark in remarks(table)]

    assert said(in_folders(tmp_path, ["hall", "yard"], 250)) == []
    assert said(in_folders(tmp_path, ["hall", "yard"], 249)) == ["There are only 498 crops to train on"]
    assert said(in_folders(tmp_path, ["hall"], 500)) == ["All crops to train on are from one camera, 'hall'"]
    flat = CropTable(tmp_path, tuple(f"{number}.jpg" for number in range(500)), source="folder")
    assert said(flat) == ["Cameras are not known"]
    assert "into a sub-folder" in remarks(flat)[0]
    labelled = CropTable(tmp_path, flat.paths, identity=np.arange(1, 501), source="identities")
    assert "into a sub-folder" not in remarks(labelled)[0]
    tested = CropTable(tmp_path, ("a", "b"), camera=np.array([1, 2]), split=np.array(["query", "gallery"]))
    assert remarks(tested) == []


def test_imports_are_cheap() -> None:
    code = "import sys, resight.crops; print([m for m in ('PIL', 'pyarrow', 'rich', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
