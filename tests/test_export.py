"""Files for other programs: what is in them, which names are refused, and that a failed write changes nothing."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from resight import ResightError
from resight.common.identities import UNLABELLED
from resight.crops import CropTable
from resight.export import (
    check_cluster_file,
    check_description_file,
    check_embedding_file,
    check_picture_file,
    write_clusters,
    write_descriptions,
    write_embeddings,
    write_picture,
)

TABLE = CropTable(
    Path("x"),
    ("a.jpg", "b.jpg", "c.jpg"),
    camera=np.array([1, 2, 2]),
    identity=np.array([4, UNLABELLED, 6]),
    time=np.array([0.5, 1, 2]),
    camera_names={1: "Hall"},
)
FEATURES = np.arange(6, dtype=np.float32).reshape(3, 2)
NAMES = np.array([["p", "q"], ["q", "r"], ["r", "p"]])
SHARES = np.array([[0.75, 0.25], [0.5, 0.5], [1, 0]], np.float32)
KNOWN = {"path": ["a.jpg", "b.jpg", "c.jpg"], "camera": ["Hall", "2", "2"], "identity": [4, None, 6]}
KNOWN |= {"time": [0.5, 1.0, 2.0]}

WRITERS: dict[str, Callable[[Path], None]] = {
    "e.parquet": lambda file: write_embeddings(file, TABLE, FEATURES),
    "e.npz": lambda file: write_embeddings(file, TABLE, FEATURES),
    "c.csv": lambda file: write_clusters(file, TABLE, np.array([0, -1, 1])),
    "c.parquet": lambda file: write_clusters(file, TABLE, np.array([0, -1, 1])),
    "d.csv": lambda file: write_descriptions(file, TABLE, NAMES, SHARES),
    "d.parquet": lambda file: write_descriptions(file, TABLE, NAMES, SHARES),
    "p.png": lambda file: write_picture(file, Image.new("RGB", (4, 3), (1, 2, 3)), optimize=True),
    "p.jpg": lambda file: write_picture(file, Image.new("RGB", (4, 3), (1, 2, 3))),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_failed_write_leaves_the_old_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).write_bytes(b"what was there before")

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full_disk)
        with pytest.raises(OSError, match="No space left"):
            WRITERS[name](tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == b"what was there before"
    WRITERS[name](tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() != b"what was there before"


def test_embeddings(tmp_path: Path) -> None:
    WRITERS["e.parquet"](tmp_path / "e.parquet")
    assert pq.read_table(tmp_path / "e.parquet").to_pydict() == KNOWN | {"embedding": FEATURES.tolist()}
    WRITERS["e.npz"](tmp_path / "e.npz")
    with np.load(tmp_path / "e.npz") as arrays:
        assert set(arrays) == {"path", "embedding", "camera", "identity", "time"}
        assert arrays["path"].tolist() == list(TABLE.paths)
        assert (arrays["embedding"] == FEATURES).all()
        assert arrays["identity"].tolist() == [4, UNLABELLED, 6]


@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        ("c", {"cluster": [0, -1, 1]}),
        ("d", {"reference_1": ["p", "q", "r"], "share_1": [0.75, 0.5, 1], "reference_2": ["q", "r", "p"]}),
    ],
)
def test_clusters_and_descriptions(kind: str, columns: dict[str, list[object]], tmp_path: Path) -> None:
    columns = columns | ({"share_2": [0.25, 0.5, 0]} if kind == "d" else {})
    for ending in ("csv", "parquet"):
        WRITERS[f"{kind}.{ending}"](tmp_path / f"t.{ending}")
    assert pq.read_table(tmp_path / "t.parquet").to_pydict() == KNOWN | columns
    with (tmp_path / "t.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == [*KNOWN, *columns]
    for name, values in (KNOWN | columns).items():
        for row, value in zip(rows, values, strict=True):
            given = row[name]
            assert given == "" if value is None else given == value if isinstance(value, str) else float(given) == value


def test_pictures(tmp_path: Path) -> None:
    for name, form in (("p.png", "PNG"), ("p.jpg", "JPEG")):
        WRITERS[name](tmp_path / name)
        with Image.open(tmp_path / name) as picture:
            assert (picture.format, picture.size) == (form, (4, 3))


@pytest.mark.parametrize(
    ("check", "right", "wrong", "said"),
    [
        (check_embedding_file, "a.NPZ", "a.csv", "Embeddings are written to a file ending in .parquet or .npz, not"),
        (check_cluster_file, "a.parquet", "a.npz", "Clusters are written to a file ending in .csv or .parquet, not"),
        (check_description_file, "a.csv", "a", "Descriptions are written to a file ending in .csv or .parquet, not"),
        (check_picture_file, "a.jpeg", "a.pdf", "Pictures are written to a file ending in .png or .jpg or .jpeg, not"),
    ],
)
def test_names_are_checked_before_any_work(
    check: Callable[[Path], None], right: str, wrong: str, said: str, tmp_path: Path
) -> None:
    check(tmp_path / right)
    with pytest.raises(ResightError) as error:
        check(tmp_path / wrong)
    assert said in str(error.value)
    with pytest.raises(ResightError, match=r"there is no folder .*nowhere"):
        check(tmp_path / "nowhere" / right)
