"""The split by identity: the rule on small tables, the known counts on real file names."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from resight.crops.readers import read_crops
from resight.crops.splits import identity_split
from resight.crops.table import DISTRACTOR, JUNK, UNLABELLED, CropTable
from resight.errors import ResightError

SHARED_DATA = Path(
    os.environ.get("RESIGHT_SHARED_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data")
)


def table(rows: list[tuple[str, int, int]], **columns: object) -> CropTable:
    paths, identity, camera = zip(*rows, strict=True)
    return CropTable(root=Path("x"), paths=paths, identity=np.array(identity), **{"camera": np.array(camera)} | columns)


ROWS = [
    ("e.jpg", 5, 1),
    ("d.jpg", 5, 1),
    ("c.jpg", 5, 2),
    ("b.jpg", 2, 1),
    ("a.jpg", 9, 1),
    ("j.jpg", JUNK, 1),
    ("k.jpg", DISTRACTOR, 1),
    ("u.jpg", UNLABELLED, 1),
]


def test_rule() -> None:
    split = identity_split(table(ROWS), 1).split
    assert split is not None
    assert split.tolist() == ["gallery", "query", "query", "train", "query", "gallery", "gallery", "train"]


def test_without_cameras_one_query_an_identity() -> None:
    split = identity_split(table(ROWS, camera=None), 1).split
    assert split is not None
    assert split.tolist() == ["gallery", "gallery", "query", "train", "query", "gallery", "gallery", "train"]


def test_order_of_rows_changes_nothing() -> None:
    whole = table(ROWS)
    order = np.array([3, 0, 7, 2, 6, 1, 5, 4])
    one, other = identity_split(whole, 2).split, identity_split(whole.select(order), 2).split
    assert one is not None
    assert other is not None
    assert one[order].tolist() == other.tolist()


@pytest.mark.parametrize("train", [-1, 0, 3, 99])
def test_too_many_or_too_few(train: int) -> None:
    with pytest.raises(
        ResightError, match=f"^{train} training identities were asked for.* has 3 people: choose 1 to 2"
    ):
        identity_split(table(ROWS), train)


def test_no_identities() -> None:
    with pytest.raises(ResightError, match="A split by identity needs the column 'identity'"):
        identity_split(table(ROWS).without_labels(), 1)
    with pytest.raises(ResightError, match="has 0 people"):
        identity_split(table([("a.jpg", JUNK, 1)]), 1)


@pytest.mark.parametrize(
    ("archive", "train", "crops", "queries", "scored", "gallery"),
    [("market1501-train.zip", 500, 12936, 1122, 1115, 2641), ("ward.zip", 35, 4786, 105, 105, 2316)],
)
def test_real_file_names(
    tmp_path: Path, archive: str, train: int, crops: int, queries: int, scored: int, gallery: int
) -> None:
    file = SHARED_DATA / archive
    if not file.is_file():
        pytest.skip(f"{file} is absent: set RESIGHT_SHARED_DATA to the folder with {archive}")
    with zipfile.ZipFile(file) as content:
        for name in content.namelist():
            if not name.endswith("/"):
                (tmp_path / Path(name).name).touch()
    whole = read_crops(tmp_path, train_identities=train)
    assert len(whole) == crops
    ask, answer = whole.subset("query"), whole.subset("gallery")
    assert len(np.unique(whole.subset("train").identity)) == train
    assert len(ask) == queries
    assert len(answer) == gallery
    assert ask.identity is not None
    assert ask.camera is not None
    assert answer.identity is not None
    right = ask.identity[:, None] == answer.identity[None]
    elsewhere = ask.camera[:, None] != np.asarray(answer.camera)[None]
    assert int((right & elsewhere).any(axis=1).sum()) == scored
