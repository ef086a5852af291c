"""Every format of data sets and folders on a miniature of its official tree, and every sentence a user may read."""

from __future__ import annotations

from pathlib import Path

import pytest

from resight.common.identities import DISTRACTOR, JUNK
from resight.crops.readers import FORMATS, detect_format, read_crops
from resight.crops.table import CropTable
from resight.errors import ResightError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return root


def write(file: Path, text: str) -> Path:
    file.write_text(text, encoding="utf-8")
    return file


def column(table: CropTable, name: str) -> dict[str, object]:
    return dict(zip(table.paths, getattr(table, name).tolist(), strict=True))


MARKET = (
    "bounding_box_train/0002_c1s1_000451_03.jpg",
    "bounding_box_train/0007_c3s2_000911_01.jpg",
    "bounding_box_test/-1_c1s1_000401_03.jpg",
    "bounding_box_test/0000_c2s1_000151_01.jpg",
    "bounding_box_test/0001_c6s1_001051_02.jpg",
    "query/0001_c1s1_001051_00.jpg",
)
TREES = {
    "market1501": MARKET,
    "dukemtmc": (
        "bounding_box_train/0001_c2_f0046182.jpg",
        "bounding_box_test/0002_c1_f0044158.jpg",
        "query/0005_c2_f0046985.jpg",
    ),
    "veri776": (
        "image_train/0001_c001_00016450_0.jpg",
        "image_test/0002_c002_00030600_0.jpg",
        "image_query/0002_c004_00084250_1.jpg",
    ),
    "cuhk03-np": ("bounding_box_train/0001_c1_1.png", "bounding_box_test/0003_c2_7.png", "query/0003_c1_21.png"),
    "personx": ("bounding_box_train/0001_c3_s1_0.jpg", "bounding_box_test/0002_c4_s1_0.jpg", "query/0002_c8_s1_9.jpg"),
}
TRAIN_ROW = {
    "market1501": (2, 1, 451.0),
    "dukemtmc": (1, 2, 46182.0),
    "veri776": (1, 1, 16450.0),
    "cuhk03-np": (1, 1, None),
    "personx": (1, 3, None),
}


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("by", ["auto", "name"])
def test_official_tree(tmp_path: Path, name: str, by: str) -> None:
    touch(tmp_path, *TREES[name])
    folder = Path(TREES[name][0]).parent
    touch(tmp_path, "readme.txt", *(f"{folder}/{clutter}" for clutter in ("Thumbs.db", ".DS_Store", "._a.jpg")))
    table = read_crops(tmp_path, "auto" if by == "auto" else name)
    assert table.source == name
    assert list(table.paths) == sorted(TREES[name])
    identity, camera, time = TRAIN_ROW[name]
    row = table.paths.index(TREES[name][0])
    assert table.identity is not None
    assert table.camera is not None
    assert (table.identity[row], table.camera[row]) == (identity, camera)
    assert (None if table.time is None else table.time[row]) == time
    assert table.track is None
    assert table.identity_names is None
    expected = {"train": "train", "test": "gallery", "query": "query"}
    assert all(split == expected[path.split("/")[0].split("_")[-1]] for path, split in column(table, "split").items())


def test_market_keeps_junk_and_distractors_in_the_gallery(tmp_path: Path) -> None:
    table = read_crops(touch(tmp_path, *MARKET))
    identity = column(table, "identity")
    assert identity["bounding_box_test/-1_c1s1_000401_03.jpg"] == JUNK
    assert identity["bounding_box_test/0000_c2s1_000151_01.jpg"] == DISTRACTOR
    assert sorted(table.subset("gallery").identity) == [JUNK, DISTRACTOR, 1]
    assert int(table.is_person.sum()) == 4


def test_a_person_numbered_0_is_no_distractor_elsewhere(tmp_path: Path) -> None:
    table = read_crops(touch(tmp_path, "0000_c1_f0000001.jpg", "0004_c2_f0000002.jpg", "-1_c2_f0000003.jpg"))
    assert table.source == "dukemtmc"
    assert column(table, "identity") == {
        "-1_c2_f0000003.jpg": JUNK,
        "0000_c1_f0000001.jpg": 1,
        "0004_c2_f0000002.jpg": 2,
    }
    assert table.identity_names == {1: "0000", 2: "0004"}


def test_personx_in_plain_folders(tmp_path: Path) -> None:
    touch(tmp_path, "train/0001_c1_s1_0.jpg", "test/0002_c2_s1_0.jpg", "query/0002_c1_s1_0.jpg")
    table = read_crops(tmp_path)
    assert table.source == "personx"
    assert column(table, "split") == {
        "query/0002_c1_s1_0.jpg": "query",
        "test/0002_c2_s1_0.jpg": "gallery",
        "train/0001_c1_s1_0.jpg": "train",
    }


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("market1501", ["0002_c1s1_000451_03.jpg", "0007_c3s2_000911_01.JPG"]),
        ("dukemtmc", ["0001_c2_f0046182.jpg"]),
        ("msmt17", ["0001_000_01_0303morning_0008_0.jpg", "0002_003_14_0302noon_0101_1_ex.jpg"]),
        ("veri776", ["0001_c001_00016450_0.jpg"]),
        ("cuhk03-np", ["0001_c1_1.png"]),
        ("ward", ["000100020003.jpg", "007000030001.png"]),
    ],
)
def test_flat_folder_with_the_names_of_a_dataset(tmp_path: Path, name: str, files: list[str]) -> None:
    table = read_crops(touch(tmp_path, *files))
    assert table.source == name
    assert table.paths == tuple(sorted(files))
    assert table.split is None
    assert table.identity is not None
    assert table.camera is not None


def test_ward_fields(tmp_path: Path) -> None:
    table = read_crops(touch(tmp_path, "000100020003.jpg", "007000030001.png"), "ward")
    assert table.identity is not None
    assert table.camera is not None
    assert table.identity.tolist() == [1, 70]
    assert table.camera.tolist() == [2, 3]
    assert table.time is None  # its frames start again for every identity


MSMT = {
    "list_train.txt": [("0000/0000_000_01_0303morning_0008_0.jpg", 0)],
    "list_val.txt": [("0001/0001_000_15_0302noon_0011_1.jpg", 1)],
    "list_query.txt": [("0000/0000_004_02_0303morning_0030_0.jpg", 0)],
    "list_gallery.txt": [("0000/0000_001_03_0303afternoon_0044_0_ex.jpg", 0)],
}


def msmt17(root: Path, train: str = "train", test: str = "test") -> Path:
    for name, rows in MSMT.items():
        folder = train if name in ("list_train.txt", "list_val.txt") else test
        touch(root, *(f"{folder}/{image}" for image, _ in rows))
        write(root / name, "".join(f"{image} {person}\n" for image, person in rows))
    return root


@pytest.mark.parametrize("folders", [("train", "test"), ("mask_train_v2", "mask_test_v2")])
def test_msmt17(tmp_path: Path, folders: tuple[str, str]) -> None:
    table = read_crops(msmt17(tmp_path, *folders))
    assert table.source == "msmt17"
    assert table.camera is not None
    assert table.split is not None
    assert table.identity is not None
    assert table.identity_names is not None
    rows = {
        path.rpartition("/")[2]: (camera, split, table.identity_names[identity])
        for path, camera, split, identity in zip(
            table.paths, table.camera.tolist(), table.split.tolist(), table.identity.tolist(), strict=True
        )
    }
    assert rows == {
        "0000_000_01_0303morning_0008_0.jpg": (1, "train", "train/0000"),
        "0001_000_15_0302noon_0011_1.jpg": (15, "train", "train/0001"),
        "0000_004_02_0303morning_0030_0.jpg": (2, "query", "test/0000"),
        "0000_001_03_0303afternoon_0044_0_ex.jpg": (3, "gallery", "test/0000"),
    }
    assert table.is_person.all()
    assert list(table.paths) == sorted(table.paths)


def test_msmt17_sentences(tmp_path: Path) -> None:
    msmt17(tmp_path)
    write(tmp_path / "list_val.txt", "0001/x.jpg\n")
    with pytest.raises(ResightError, match=r"Line 1 of .*list_val.txt is '0001/x.jpg'"):
        read_crops(tmp_path)
    write(tmp_path / "list_val.txt", "0001/none.jpg 1\n")
    with pytest.raises(ResightError, match=r"1 of the 4 images .* are missing, the first being 'train/0001/none.jpg'"):
        read_crops(tmp_path)
    (tmp_path / "list_val.txt").unlink()
    with pytest.raises(ResightError, match=r"has no file 'list_val.txt'; MSMT17 comes with"):
        read_crops(tmp_path)
    msmt17(tmp_path)
    (tmp_path / "test").rename(tmp_path / "tests")
    with pytest.raises(ResightError, match="has no folder 'test'; MSMT17 keeps its images in"):
        read_crops(tmp_path, "msmt17")


def test_missing_folder(tmp_path: Path) -> None:
    touch(tmp_path, *(name for name in MARKET if "test" not in name))
    for format in ("auto", "market1501"):
        with pytest.raises(ResightError, match=r"has no folder 'bounding_box_test'; Market-1501 keeps its crops in"):
            read_crops(tmp_path, format)


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("by", ["auto", "name"])
def test_the_training_folder_alone_is_a_labelled_table(tmp_path: Path, name: str, by: str) -> None:
    (trains,) = {path.split("/")[0] for path in TREES[name] if "train" in path}
    files = [path for path in TREES[name] if path.startswith(trains)]
    for camera in (1, 2):  # a second identity, so that there is one to test
        files.append(files[0].replace("/000", "/010").replace("_c", f"_c{camera}"))
    table = read_crops(touch(tmp_path, *files), "auto" if by == "auto" else name)
    assert table.source == name
    assert list(table.paths) == sorted(files)
    assert table.split is None
    assert table.identity is not None
    split = read_crops(tmp_path, name, train_identities=1).split
    assert split is not None
    assert {"train", "query"} <= set(split.tolist())


def test_other_folders_alone_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, *(name for name in MARKET if "train" not in name))
    with pytest.raises(ResightError, match=r"has no folder 'bounding_box_train'"):
        read_crops(tmp_path)


def test_name_that_breaks_the_rule(tmp_path: Path) -> None:
    touch(tmp_path, *MARKET, "query/zebra.jpg", "query/aardvark.png")
    with pytest.raises(ResightError, match=r"2 of the 8 images .* PPPP_cCsS_FFFFFF_BB.jpg .*'query/aardvark.png'"):
        read_crops(tmp_path)


def test_tree_with_names_of_no_dataset(tmp_path: Path) -> None:
    touch(tmp_path, "bounding_box_train/a.jpg", "bounding_box_test/b.jpg", "query/c.jpg")
    with pytest.raises(ResightError, match="follow the rule of no known data set"):
        read_crops(tmp_path)


def test_dataset_one_level_deeper(tmp_path: Path) -> None:
    touch(tmp_path, *(f"detected/{name}" for name in TREES["cuhk03-np"]))
    for format in ("auto", "cuhk03-np", "msmt17", "ward"):
        with pytest.raises(ResightError, match=r"one level deeper: read .*detected\."):
            read_crops(tmp_path, format)
    touch(tmp_path, *(f"labeled/{name}" for name in TREES["cuhk03-np"]))
    with pytest.raises(ResightError, match="data sets one level deeper, 'detected', 'labeled': read one of them"):
        read_crops(tmp_path, "cuhk03-np")


def test_plain_folder(tmp_path: Path) -> None:
    table = read_crops(touch(tmp_path, "b b.PNG", "a.jpeg", "ü.webp", "notes.txt", ".hidden.jpg"))
    assert table.source == "folder"
    assert table.paths == ("a.jpeg", "b b.PNG", "ü.webp")
    assert table.camera is None
    assert table.identity is None
    assert table.split is None


def test_one_folder_a_camera(tmp_path: Path) -> None:
    touch(
        tmp_path, "Tür vorn/a.jpg", "Hof/b.jpg", "Hof/tuesday/c.tiff", ".cache/d.jpg", "__MACOSX/e.jpg", "empty/x.txt"
    )
    table = read_crops(tmp_path)
    assert table.camera_names == {1: "Hof", 2: "Tür vorn"}
    assert column(table, "camera") == {"Hof/b.jpg": 1, "Hof/tuesday/c.tiff": 1, "Tür vorn/a.jpg": 2}


def test_one_folder_per_identity(tmp_path: Path) -> None:
    touch(tmp_path, "anna/a.jpg", "0042/b.jpg", "0042/monday/c.jpg")
    table = read_crops(tmp_path, "identities")
    assert table.source == "identities"
    assert table.identity_names == {1: "0042", 2: "anna"}
    assert column(table, "identity") == {"0042/b.jpg": 1, "0042/monday/c.jpg": 1, "anna/a.jpg": 2}
    assert table.camera is None
    assert table.split is None
    assert read_crops(tmp_path).source == "folder"
    split = read_crops(tmp_path, "identities", train_identities=1)
    assert column(split, "split") == {"0042/b.jpg": "train", "0042/monday/c.jpg": "train", "anna/a.jpg": "query"}
    touch(tmp_path, "loose.jpg")
    with pytest.raises(ResightError, match="put every image into the sub-folder of its identity"):
        read_crops(tmp_path, "identities")
    with pytest.raises(ResightError, match="has no sub-folders with images, but this format has one for each identity"):
        read_crops(tmp_path / "anna", "identities")


def test_folder_sentences(tmp_path: Path) -> None:
    with pytest.raises(ResightError, match="There is nothing at"):
        read_crops(tmp_path / "none")
    for format in set(FORMATS) - {"csv", "parquet"}:
        with pytest.raises(ResightError, match="There is no folder"):
            read_crops(tmp_path / "none", format)
    with pytest.raises(ResightError, match="holds no image: crops are files ending in jpg jpeg png"):
        read_crops(tmp_path)
    with pytest.raises(ResightError, match=r"is a file, but neither .csv nor .parquet"):
        read_crops(touch(tmp_path, "x.xlsx") / "x.xlsx")
    touch(tmp_path, "loose.jpg", "cam1/a.jpg")
    with pytest.raises(ResightError, match=r"has 1 images, such as 'loose.jpg', and also sub-folders"):
        read_crops(tmp_path)
    with pytest.raises(ResightError, match=r"no crop format 'market'\. Did you mean 'market1501'"):
        read_crops(tmp_path, "market")


def test_folders_named_like_splits_are_not_cameras(tmp_path: Path) -> None:
    touch(tmp_path, "train/a.jpg", "test/b.jpg")
    with pytest.raises(ResightError, match="would be read as a camera"):
        read_crops(tmp_path)
    assert read_crops(tmp_path, "folder").camera_names == {1: "test", 2: "train"}


def test_train_identities(tmp_path: Path) -> None:
    ward = touch(tmp_path / "ward", "000100010001.jpg", "000200010001.jpg", "000200020001.jpg", "000200020002.jpg")
    split = read_crops(ward, train_identities=1).split
    assert split is not None
    assert split.tolist() == ["train", "query", "query", "gallery"]
    with pytest.raises(ResightError, match="already divided"):
        read_crops(touch(tmp_path / "market", *MARKET), train_identities=1)


def test_detection_needs_half_of_the_names(tmp_path: Path) -> None:
    assert detect_format(touch(tmp_path, "0002_c1s1_000451_03.jpg", "a.jpg")) == "market1501"
    assert detect_format(touch(tmp_path, "b.jpg")) == "folder"


def test_dates_are_no_ward_names(tmp_path: Path) -> None:
    assert detect_format(touch(tmp_path, "202401311230.jpg", "202401311231.jpg")) == "folder"


def test_every_format_has_a_line_about_it() -> None:
    assert list(FORMATS) == [
        "market1501", "dukemtmc", "msmt17", "veri776", "cuhk03-np", "personx", "ward", "folder", "identities",
        "sightings", "csv", "parquet",
    ]  # fmt: skip
    assert all(about.endswith(".") and "\n" not in about for _, about in FORMATS.values())
