"""Crop tables as files: CSV and Parquet, read and written, and every sentence a user may read."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from resight.common.identities import JUNK, UNLABELLED
from resight.crops.readers import read_crops, write_table
from resight.crops.table import CropTable
from resight.errors import ResightError


def write(file: Path, text: str) -> Path:
    file.write_text(text, encoding="utf-8")
    return file


def column(table: CropTable, name: str) -> dict[str, object]:
    return dict(zip(table.paths, getattr(table, name).tolist(), strict=True))


def assert_same(a: CropTable, b: CropTable) -> None:
    assert [a.file(row).resolve() for row in range(len(a))] == [b.file(row).resolve() for row in range(len(b))]
    for name in ("camera", "identity", "time", "track", "split"):
        one, other = getattr(a, name), getattr(b, name)
        assert (one is None) == (other is None), name
        if one is not None:
            assert one.tolist() == other.tolist(), name
    assert a.camera_names == b.camera_names
    assert a.identity_names == b.identity_names


def test_csv_with_names(tmp_path: Path) -> None:
    file = write(
        tmp_path / "crops.csv",
        "\ufeffpath,camera,identity,time,split,weather\n"
        "a b.jpg,Yard,Zoë,1.5,train,sunny\n"
        "sub/ü.jpg,Hall,,2,gallery,\n"
        '"c,d.jpg",Hall,Ann,3,query,\n'
        "/abs/e.jpg,Hall,-1,3,gallery,\n",
    )
    table = read_crops(file)
    assert table.root == tmp_path
    assert table.paths == ("a b.jpg", "sub/ü.jpg", "c,d.jpg", "/abs/e.jpg")
    assert str(table.file(3)) == "/abs/e.jpg"
    assert table.camera_names == {1: "Hall", 2: "Yard"}
    assert table.identity_names == {1: "Ann", 2: "Zoë"}
    assert column(table, "camera") == {"a b.jpg": 2, "sub/ü.jpg": 1, "c,d.jpg": 1, "/abs/e.jpg": 1}
    assert list(column(table, "identity").values()) == [2, UNLABELLED, 1, JUNK]
    assert list(column(table, "time").values()) == [1.5, 2, 3, 3]
    assert table.track is None


def test_csv_of_a_data_frame(tmp_path: Path) -> None:
    table = read_crops(write(tmp_path / "a.csv", "path,identity\na.jpg,1.0\n\nb.jpg,\n"))
    assert list(column(table, "identity").values()) == [1, UNLABELLED]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no column 'path'"),
        ("path,camera\n", "lists no crop"),
        ("camera\n1\n", "has no column 'path'"),
        ("path;camera\na.jpg;1\n", "separated by ';': use commas"),
        ("path,cam\na.jpg,1\n", "column 'cam' but none called 'camera': rename it"),
        ("path,pid\na.jpg,1\n", "rename it to 'identity'"),
        ("path,Camera\na.jpg,1\n", "rename it to 'camera'"),
        ("path,identiy\na.jpg,1\n", "rename it to 'identity'"),
        ("file_name\na.jpg\n", "rename it to 'path'"),
        ("path,camera,camera\na.jpg,1,1\n", "column 'camera' more than once"),
        ("path,camera_name\na.jpg,Hall\n", "rename it to 'camera'"),
        ("path,camera\na.jpg,1\nb.jpg\n", "Line 3 of .* has 1 cells, but the header has 2"),
        ("path,camera\na.jpg,1\nb.jpg,\n", "Line 3 of .* has an empty cell in the column 'camera'"),
        ("path,camera\na.jpg,1\n ,2\n", "Line 3 of .* has an empty 'path'"),
        ("path\na.jpg\n./a.jpg\n", "Line 3 of .* gives the path 'a.jpg' again, after line 2"),
        ("path,time\na.jpg,noon\n", "Line 2 of .* has time 'noon': it must be a finite number"),
        ("path,time\na.jpg,nan\n", "Line 2 of .* has time 'nan'"),
        ("path,track\na.jpg,t1\n", "has track 't1': it must be a whole number"),
        ("path,split\na.jpg,test\n", "has split 'test': it must be one of train, query, gallery"),
        ("path,identity\na.jpg,-7\n", "has identity -7: number identities from 1"),
        ("path,camera,camera_name\na.jpg,1,A\nb.jpg,1,B\n", "Line 3 of .* calls camera 1 'B'"),
        ("path,camera,camera_name\na.jpg,x,A\n", "needs whole numbers in the column 'camera'"),
    ],
)
def test_csv_sentences(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ResightError, match=sentence) as error:
        read_crops(write(tmp_path / "crops.csv", text))
    assert str(tmp_path / "crops.csv") in str(error.value)


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("path\nü.jpg".encode("latin-1"))
    with pytest.raises(ResightError, match="is not UTF-8 text"):
        read_crops(tmp_path / "a.csv")
    (tmp_path / "a.parquet").write_bytes(b"not parquet at all")
    with pytest.raises(ResightError, match="cannot be read as Parquet"):
        read_crops(tmp_path / "a.parquet")
    with pytest.raises(ResightError, match="There is no file"):
        read_crops(tmp_path / "none.csv", "csv")
    with pytest.raises(ResightError, match="is a folder, but this format is read from one file"):
        read_crops(tmp_path, "parquet")


def full_table(root: Path) -> CropTable:
    return CropTable(
        root=root,
        paths=("cam a/Zoë 1.jpg", " led by a space.png", 'quo"ted, twice.jpg', "d.jpg"),
        camera=np.array([4, 2, 2, 7]),
        identity=np.array([3, UNLABELLED, JUNK, 9]),
        time=np.array([0.1 + 0.2, 451.0, -2.0, 1e300]),
        track=np.array([1, 1, 2, 5]),
        split=np.array(["train", "train", "gallery", "query"]),
        camera_names={4: "Tür", 2: "2"},
        identity_names={3: "Ann", 9: "Zoë"},
    )


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
class TestRoundTrip:
    def test_full(self, tmp_path: Path, suffix: str) -> None:
        table = full_table(tmp_path)
        assert_same(read_crops(write_table(table, tmp_path / f"t.{suffix}")), table)
        assert read_crops(tmp_path / f"t.{suffix}").paths == table.paths

    def test_paths_alone(self, tmp_path: Path, suffix: str) -> None:
        table = CropTable(root=tmp_path, paths=("a.jpg", "b.jpg"))
        assert_same(read_crops(write_table(table, tmp_path / f"t.{suffix}")), table)

    def test_a_selection_keeps_its_codes(self, tmp_path: Path, suffix: str) -> None:
        names = {1: "test/0000", 2: "train/0000", 3: "train/0001"}
        whole = CropTable(root=tmp_path, paths=("a", "b", "c"), identity=np.array([3, 1, 2]), identity_names=names)
        again = read_crops(write_table(whole.select([0, 2]), tmp_path / f"t.{suffix}"))
        assert again.identity is not None
        assert again.identity.tolist() == [3, 2]
        assert again.identity_names == {2: "train/0000", 3: "train/0001"}

    def test_from_another_folder(self, tmp_path: Path, suffix: str) -> None:
        table = full_table(tmp_path / "crops")
        assert_same(read_crops(write_table(table, tmp_path / f"above.{suffix}")), table)
        assert read_crops(tmp_path / f"above.{suffix}").paths[3] == "crops/d.jpg"
        assert_same(read_crops(write_table(table, tmp_path / "runs" / "1" / f"beside.{suffix}")), table)


def test_parquet_of_a_data_frame(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    cells = {"path": ["a.jpg", "b.jpg"], "identity": [1.0, float("nan")], "camera": ["in", "out"], "blob": [b"", b"x"]}
    arrays = {name: pyarrow.array(values) for name, values in cells.items()}
    arrays["camera"] = arrays["camera"].dictionary_encode()
    pyarrow.parquet.write_table(pyarrow.table(arrays), tmp_path / "t.parquet")
    table = read_crops(tmp_path / "t.parquet")
    assert list(column(table, "identity").values()) == [1, UNLABELLED]
    assert table.camera_names == {1: "in", 2: "out"}
    arrays["path"] = pyarrow.array(["a.jpg", "a.jpg"])
    pyarrow.parquet.write_table(pyarrow.table(arrays), tmp_path / "t.parquet")
    with pytest.raises(ResightError, match=r"Row 2 of .* again, after row 1"):
        read_crops(tmp_path / "t.parquet")


def test_write_sentences(tmp_path: Path) -> None:
    with pytest.raises(ResightError, match=re.escape("is written as .csv or .parquet")):
        write_table(full_table(tmp_path), tmp_path / "t.xlsx")
    with pytest.raises(ResightError, match="has a path twice"):
        write_table(CropTable(root=tmp_path, paths=("a.jpg", "a.jpg")), tmp_path / "t.csv")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_failed_write_leaves_the_old_file(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_table(full_table(tmp_path), tmp_path / f"t.{suffix}")
    before = file.read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_table(CropTable(root=tmp_path, paths=("a.jpg",)), file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]
