"""The command that makes a synthetic world."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from resight.crops import read_crops

WORDS = ("--identities", "4", "--cameras", "3", "--crops", "40", "height=32", "width=16")


def test_makes_a_world_and_finds_it_again(tmp_path: Path, resight: Callable[..., tuple[int, str, str]]) -> None:
    status, out, err = resight("synth", tmp_path / "w", *WORDS, "siblings=1", "--seed", 3)
    assert (status, err) == (0, "")
    assert "40 crops were rendered" in out
    table = read_crops(tmp_path / "w")
    assert len(table) == 40
    assert set(table.camera.tolist()) == {1, 2, 3}
    again = resight("synth", tmp_path / "w", *WORDS, "siblings=1", "--seed", 3)
    assert again[0] == 0
    assert "nothing was rendered" in again[1]
    table.file(0).unlink()
    status, out, _ = resight("synth", tmp_path / "w", *WORDS, "siblings=1", "--seed", 3)
    assert (status, "1 crops were rendered, 39 were there before" in out) == (0, True)


def test_lists_every_knob(resight: Callable[..., tuple[int, str, str]]) -> None:
    status, out, _ = resight("synth", "--settings")
    assert status == 0
    for name in ("siblings", "occlusion", "jpeg_quality", "label_noise"):
        assert name in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sibling=0.5",), "There is no setting 'sibling' of a synthetic world. Did you mean 'siblings'?"),
        (("occlusion",), "is not a setting: write key=value"),
        (("blur=-1",), "The setting blur=-1 is not possible"),
        (("--crops", "10"), "ask for more crops or for fewer identities"),
        (("--seed", "1", "level=odd"), "There is no level 'odd'"),
    ],
)
def test_bad_input_is_one_sentence(
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    resight: Callable[..., tuple[int, str, str]],
) -> None:
    status, _, err = resight("synth", tmp_path / "w", *WORDS, *words)
    assert status == 2
    assert err.startswith("resight: ")
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "w").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, resight: Callable[..., tuple[int, str, str]]) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    status, _, err = resight("synth", tmp_path, *WORDS)
    assert status == 2
    assert "it is not a synthetic world: choose a new folder" in err
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]
