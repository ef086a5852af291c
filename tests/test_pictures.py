"""Sheets of retrieved crops and of clusters: who is shown, in what order, in which frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import ImageColor

from resight import ResightError, pictures
from resight.crops import CropTable
from resight.crops.sheets import FRAME_COLOURS


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """What the sheets were asked to draw, with images told apart by their first value."""
    calls: list[dict] = []

    def remember(rows, **options):
        calls.append({"rows": [[int(image[0, 0, 0]) for image in row] for row in rows], **options})

    monkeypatch.setattr(pictures, "contact_sheet", remember)
    return calls


def images(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, 8, 4), np.uint8)


def table(identity: list[int], camera: list[int] | None, split: list[str] | None) -> CropTable:
    return CropTable(
        paths=[f"{i}.png" for i in range(len(identity))],
        root=Path("."),
        identity=np.array(identity),
        camera=None if camera is None else np.array(camera),
        split=None if split is None else np.array(split),
    )


def test_retrieval_follows_the_protocol(shown: list[dict]) -> None:
    crops = table(
        [5, 5, 5, 6, 0, -1, 6],
        [1, 1, 2, 1, 3, 2, 2],
        ["query", "gallery", "gallery", "gallery", "gallery", "gallery", "query"],
    )
    angle = np.array([0.0, 0.1, 0.5, 0.3, 0.2, 0.05, 0.31])
    features = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    pictures.retrieval_sheet(images(7), crops, features, shown=3)
    # crop 1 is the query's identity in its camera, crop 5 is junk
    assert shown[0]["rows"] == [[0, 4, 3, 2], [6, 3, 4, 2]]
    assert shown[0]["frames"] == [["query", "wrong", "wrong", "right"], ["query", "right", "wrong", "wrong"]]
    assert shown[0]["titles"] == ["identity 5", "identity 6"]
    assert shown[0]["captions"][0] == ["camera 1", "camera 3", "camera 1", "camera 2"]


def test_queries_are_of_different_identities_and_do_not_depend_on_the_features(shown: list[dict]) -> None:
    people = np.repeat(
        np.arange(1, 31), 2
    )  # two queries each: the sheet shows the first of one, the second of the next
    crops = table([*people, 1], None, ["query"] * 60 + ["gallery"])
    rng = np.random.default_rng(0)
    for _ in range(2):
        pictures.retrieval_sheet(images(61), crops, rng.normal(size=(61, 3)), queries=4)
    first, second = ([row[0] for row in call["rows"]] for call in shown)
    assert first == second
    assert next(people[row] for row in first) == 1
    assert [people[row] for row in first][-1] == 30
    assert len({people[row] for row in first}) == 4
    assert [row % 2 for row in first] == [0, 1, 0, 1]


def test_clusters_show_the_typical_first_and_frame_other_identities(shown: list[dict]) -> None:
    crops = table([3, 3, 3, 4, -1, 0, 3], None, None)
    angle = np.array([0.0, 0.1, -0.1, 0.4, 2.0, 2.1, 1.0])
    features = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    pictures.cluster_sheet(images(7), crops, features, np.array([1, 1, 1, 1, 0, 0, -1]))
    large, small = shown[0]["rows"]
    assert large == [1, 0, 2, 3]  # their mean is at an angle of 0.1
    assert sorted(small) == [4, 5]
    assert shown[0]["frames"] == [["right", "right", "right", "wrong"], ["junk", "junk"]]
    assert shown[0]["titles"][1] == "cluster 0\n2 crops\nno identity known"
    assert shown[0]["titles"][0] == "cluster 1\n4 crops\n75 % one identity"


def test_without_identities_clusters_have_no_frames(shown: list[dict]) -> None:
    crops = table([1, 1], None, None).without_labels()
    pictures.cluster_sheet(images(2), crops, np.eye(2), np.array([0, 0]))
    assert shown[0]["frames"] is None


def test_nothing_to_show_is_said() -> None:
    crops = table([1, 2], None, None)
    with pytest.raises(ResightError, match="needs identities, queries and a gallery"):
        pictures.retrieval_sheet(images(2), crops, np.eye(2))
    with pytest.raises(ResightError, match="no cluster"):
        pictures.cluster_sheet(images(2), crops, np.eye(2), np.array([-1, -1]))
    with pytest.raises(ResightError, match="no labelled queries"):
        pictures.retrieval_sheet(images(2), table([1, 2], None, ["gallery", "gallery"]), np.eye(2))


def test_a_real_sheet_is_drawn() -> None:
    crops = table([1, 1, 2], [1, 2, 1], ["query", "gallery", "gallery"])
    sheet = pictures.retrieval_sheet(images(3), crops, np.eye(3))
    assert sheet.mode == "RGB"
    pixels = np.asarray(sheet)
    # the query, then its two crops of the gallery: crop 1 is right, crop 2 is wrong, at 12 times their size
    for value in range(3):
        assert (pixels == value).all(axis=2).sum() >= 0.9 * 96 * 48, value  # a sign covers a corner
    for colour in ("query", "right", "wrong"):
        assert (pixels == ImageColor.getrgb(FRAME_COLOURS[colour])).all(axis=2).any(), colour


def test_attention_has_one_row_per_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict] = []
    monkeypatch.setattr(pictures, "contact_sheet", lambda rows, **options: calls.append({"rows": rows, **options}))
    left_to_right = np.tile(np.linspace(0, 1, 4, dtype=np.float32), (2, 8, 1))
    maps = {
        "activation": left_to_right,
        "layer1.0": np.full((2, 8, 4), 0.5, np.float32),
        "layer1.1": 0.2 + 0.1 * left_to_right,
        "layer2.0": np.full((2, 4, 2), 0.5, np.float32),
    }
    crops = table([1, 2], None, None)
    pictures.attention_sheet(images(2), maps, crops)
    rows, captions = calls[0]["rows"], calls[0]["captions"]
    assert calls[0]["titles"] == ["0.png", "1.png"]
    assert captions[1] == ["crop", "activation", "laid over", "layer1: 20–30 %", "layer2: 50–50 %"]
    assert [len(row) for row in rows] == [5, 5]
    assert all(cell.shape == (8, 4, 3) and cell.dtype == np.uint8 for row in rows for cell in row)
    crop, heat, over, stretched, flat = rows[1]
    assert (crop == 1).all()
    assert (np.diff(heat.astype(int).sum(axis=2), axis=1) > 0).all()  # ever brighter
    assert tuple(heat[0, 0]) == tuple(pictures._HEAT[0])
    assert tuple(heat[0, -1]) == tuple(pictures._HEAT[-1])
    assert (over == (1 + heat.astype(int)) // 2).all()
    assert (stretched == heat).mean() > 0.9  # whatever its range
    assert (flat == pictures._HEAT[0]).all()


def test_attention_of_a_plain_encoder_and_of_nothing() -> None:
    maps = {"activation": np.zeros((3, 2, 1), np.float32)}
    sheet = pictures.attention_sheet(images(3), maps)
    assert sheet.mode == "RGB"
    assert sheet.height > 3 * 192  # three rows
    assert sheet.width < 4 * 96 + 100  # of three cells
    with pytest.raises(ResightError, match="no crops"):
        pictures.attention_sheet(images(0), maps)
    with pytest.raises(ResightError, match="2 crops, but 3 maps 'activation'"):
        pictures.attention_sheet(images(2), maps)


def test_long_file_names_lose_their_beginning() -> None:
    assert pictures._short("a" * 28) == "a" * 28
    assert pictures._short("a" * 20 + "0123456789.jpg", 12) == "…" + "3456789.jpg"
    assert len(pictures._short("b" * 99)) == 28
