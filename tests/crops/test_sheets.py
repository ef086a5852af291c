"""Contact sheets."""

from __future__ import annotations

import numpy as np
import pytest

from resight.crops.sheets import FRAME_COLOURS, contact_sheet
from resight.errors import ResightError


def _image(value: int, height: int = 20, width: int = 10) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def _count(sheet: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((sheet == colour).all(axis=2).sum())


def test_images_keep_their_pixels_and_places() -> None:
    sheet = np.asarray(contact_sheet([[_image(10), _image(20)], [None, _image(30)]], scale=2, gap=4))
    for value in (10, 20, 30):
        assert _count(sheet, (value, value, value)) == 40 * 20
    tops = {value: np.argwhere((sheet == value).all(axis=2))[0].tolist() for value in (10, 20, 30)}
    assert tops[10][0] == tops[20][0] < tops[30][0]
    assert tops[10][1] < tops[20][1] == tops[30][1]


def test_smaller_images_are_centred() -> None:
    sheet = np.asarray(contact_sheet([[_image(10), _image(20, 10, 4)]], scale=1, gap=2))
    where = np.argwhere((sheet == 20).all(axis=2))
    assert len(where) == 40
    assert where[:, 0].min() == 2 + 5
    assert where[:, 1].min() == 2 + 10 + 2 + 3


def test_frames_surround_only_the_named_images() -> None:
    rows = [[_image(10), _image(20), _image(30)]]
    sheet = np.asarray(contact_sheet(rows, frames=[["right", None]]))
    green = tuple(int(FRAME_COLOURS["right"][k : k + 2], 16) for k in (1, 3, 5))
    assert _count(sheet, green) == (20 + 4) * (40 + 4) - 20 * 40
    own = np.asarray(contact_sheet(rows, frames=[["#010203"]]))
    assert _count(own, (1, 2, 3)) == _count(sheet, green)


def test_titles_and_captions_add_ink_outside_the_images() -> None:
    rows = [[_image(255)], [_image(255)]]
    plain = contact_sheet(rows)
    titled = contact_sheet(rows, titles=["first\nline", "second"])
    captioned = contact_sheet(rows, captions=[["one"], [None]])
    assert titled.width > plain.width
    assert titled.height == plain.height
    assert captioned.height > plain.height
    dark = np.asarray(captioned).min(axis=2) < 128
    half = captioned.height // 2
    assert dark[:half].any()
    assert not dark[half + 4 :].any()


def test_long_captions_stay_under_their_image() -> None:
    pair = [[_image(255), _image(255)]]
    sheet = np.asarray(contact_sheet(pair, captions=[["a caption that is far too long", None]]))
    assert (sheet[:, : 6 + 20 + 6].min(axis=2) < 128).any()
    assert (sheet[:, 6 + 20 + 6 :] == 255).all()


def test_signs_the_font_lacks_are_replaced() -> None:
    rows = [[_image(255)]]
    given = np.asarray(contact_sheet(rows, titles=["256×128 – Zoë"]))
    meant = np.asarray(contact_sheet(rows, titles=["256x128 - Zoe"]))
    other = np.asarray(contact_sheet(rows, titles=["256x128 - Zoa"]))
    assert (given == meant).all()
    assert given.shape != other.shape or (given != other).any()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"rows": [[None]]}, "at least one image"),
        ({"rows": [[np.zeros((4, 4, 3), np.float32)]]}, "uint8"),
        ({"rows": [[np.zeros((4, 4), np.uint8)]]}, "(H, W, 3)"),
        ({"rows": [[_image(1)]], "titles": ["a", "b"]}, "2 of titles"),
        ({"rows": [[_image(1)]], "frames": [["greenish"]]}, "no frame colour 'greenish'"),
        ({"rows": [[_image(1)]], "scale": 0}, "scale=0"),
    ],
)
def test_refusals(arguments: dict, said: str) -> None:
    with pytest.raises(ResightError) as error:
        contact_sheet(**arguments)
    assert said in str(error.value)
