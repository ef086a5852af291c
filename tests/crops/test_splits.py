"""The split by identity and what thins a table out: the rules on small tables, known counts on real file names."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from resight.common.identities import DISTRACTOR, JUNK, UNLABELLED
from resight.crops.readers import read_crops
from resight.crops.splits import balanced_subset, identity_split, reference_crops, unbalanced_subset
from resight.crops.table import CropTable
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
        ResightError, match=f"^{train} training identities were asked for.* has 3 identities: choose 1 to 2"
    ):
        identity_split(table(ROWS), train)


def test_no_identities() -> None:
    with pytest.raises(ResightError, match="A split by identity needs the column 'identity'"):
        identity_split(table(ROWS).without_labels(), 1)
    with pytest.raises(ResightError, match="has 0 identities"):
        identity_split(table([("a.jpg", JUNK, 1)]), 1)


def crowd(people: int = 120, seed: int = 0) -> CropTable:
    """People in 1 to 5 cameras, 1 to 9 crops in each, a sixth of them to be tested, and some crops of nobody."""
    rng = np.random.default_rng(seed)
    rows = [
        (f"{person}-{camera}-{shot}.jpg", person, camera)
        for person in range(1, people + 1)
        for camera in rng.permutation(5)[: rng.integers(1, 6)].tolist()
        for shot in range(rng.integers(1, 10))
    ]
    rows += [(f"junk{number}.jpg", (JUNK, DISTRACTOR, UNLABELLED)[number % 3], number % 5) for number in range(9)]
    rows = [rows[row] for row in rng.permutation(len(rows))]
    split = np.array(["query" if person > people * 5 // 6 else "train" for _, person, _ in rows])
    return table(rows, split=split)


def groups(crops: CropTable) -> dict[tuple[int, int], set[str]]:
    """Training crops of people, by identity and camera."""
    found: dict[tuple[int, int], set[str]] = {}
    trained = crops.subset("train")
    assert trained.identity is not None
    assert trained.camera is not None
    for path, person, camera in zip(trained.paths, trained.identity.tolist(), trained.camera.tolist(), strict=True):
        if person > 0:
            found.setdefault((person, camera), set()).add(path)
    return found


def test_unbalanced_keeps_whole_cameras_of_each_person_and_all_else() -> None:
    whole = crowd()
    left = unbalanced_subset(whole, seed=3)
    before, after = groups(whole), groups(left)
    assert all(after[pair] == before[pair] for pair in after)
    others = {path for path in whole.paths if path not in set().union(*before.values())}
    assert others <= set(left.paths)
    assert list(left.paths) == [path for path in whole.paths if path in set(left.paths)]
    assert left.paths == unbalanced_subset(whole, seed=3).paths
    assert left.paths != unbalanced_subset(whole, seed=4).paths


def test_every_number_of_cameras_is_as_likely_and_every_camera() -> None:
    rows = [(f"{person}-{camera}.jpg", person, camera) for person in range(1, 3001) for camera in range(3)]
    left = unbalanced_subset(table(rows))
    assert left.identity is not None
    assert left.camera is not None
    kept = np.bincount(np.bincount(left.identity, minlength=3001)[1:], minlength=4)
    assert abs(kept - 750).max() < 100  # 4 standard deviations
    assert abs(np.bincount(left.camera) - 1500).max() < 120


@pytest.mark.parametrize("crops", [0, 1, 100, 333])
def test_balanced_keeps_the_same_share_of_each_group(crops: int) -> None:
    whole = crowd()
    before, after = groups(whole), groups(balanced_subset(whole, crops, seed=1))
    share = crops / sum(map(len, before.values()))
    assert sum(map(len, after.values())) == crops
    for pair, members in before.items():
        left = after.get(pair, set())
        assert left <= members
        assert abs(len(left) - share * len(members)) <= 1 + 0.05 * len(members), pair
    assert balanced_subset(whole, crops, seed=1).paths == balanced_subset(whole, crops, seed=1).paths


def test_balanced_halves_are_random_halves() -> None:
    rows = [(f"{camera}-{shot}.jpg", 1, camera) for camera in range(4) for shot in range(6)]
    halves = [balanced_subset(table(rows), 12, seed) for seed in range(8)]
    for half in halves:
        assert set(map(len, groups(half).values())) == {3}
    assert len({half.paths for half in halves}) == 8


def test_all_of_the_crops_are_all_of_them() -> None:
    whole = crowd()
    assert balanced_subset(whole, sum(map(len, groups(whole).values()))).paths == whole.paths


def test_crops_that_cannot_be_left_out_are_a_sentence() -> None:
    whole = crowd(12)
    for thin in (unbalanced_subset, lambda crops: balanced_subset(crops, 3)):
        for lacking in (whole.without_labels(), table(ROWS, camera=None)):
            with pytest.raises(ResightError, match="Leaving out crops by identity and camera needs the column"):
                thin(lacking)
        with pytest.raises(ResightError, match="no training crop with an identity"):
            thin(whole.select(whole.split == "query"))
    with pytest.raises(ResightError, match=r"9999 crops were asked for, but .* ask for 0 to \d+\."):
        balanced_subset(whole, 9999)


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


def test_reference_crops_are_those_with_an_identity_in_any_split() -> None:
    rows = [("a", 7, 1), ("b", 3, 1), ("c", JUNK, 1), ("d", 3, 2), ("e", DISTRACTOR, 1), ("f", UNLABELLED, 1)]
    rows.append(("g", 9, 1))
    found = reference_crops(table(rows, split=np.array(["train", "query", *["gallery"] * 4, "train"])))
    assert found.paths == ("a", "b", "d", "g")
    assert reference_crops(table(rows), 2).paths == ("a", "b", "d")
    assert reference_crops(reference_crops(table(rows), 2)).paths == ("a", "b", "d")


def test_reference_crops_need_identities() -> None:
    with pytest.raises(ResightError, match=r"at least two identities.* show 1"):
        reference_crops(table([("a", 7, 1), ("b", 0, 1), ("c", 7, 1)]))
    for asked in (1, 4):
        with pytest.raises(ResightError, match=f"{asked} identities were asked for .*choose 2 to 3"):
            reference_crops(table([("a", 7, 1), ("b", 1, 1), ("c", 8, 1)]), asked)
    with pytest.raises(ResightError, match="source of labelled crops needs the column 'identity'"):
        reference_crops(table(ROWS).without_labels())
