"""What a run prints: times, estimates, headers, and lines that fit the terminal."""

from __future__ import annotations

from typing import Any

import pytest

from resight.training.reporting import BarReporter, LogReporter, Pace, duration


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (170, "2 min 50 s"), (200, "3 min"), (7500, "2 h 05 min")],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_the_first_steps_give_an_estimate_once() -> None:
    clock = Clock()
    pace = Pace(clock)
    clock.now += 10  # loading
    assert pace.progress("reading crops", 570, 570) == ""
    pace.progress("embedding", 0, 570)
    clock.now += 30  # embedding and clustering
    pace.progress("epoch 1", 0, 10)
    said = []
    for step in range(1, 11):
        clock.now += 4
        said += [pace.progress("epoch 1", step, 10), pace.progress("all steps", step, 30)]
    # after four steps, 26 steps of 4 s are left, and two epochs begin with 30 s
    assert [text for text in said if text] == ["About 2 min 44 s left: 4 s per step, measured in the first 4 steps."]
    assert pace.epoch(1, 3) == "1 min 20 s so far, about 2 min 20 s left"
    clock.now += 50
    assert pace.epoch(2, 3) == "2 min 10 s so far, about 1 min 00 s left"
    clock.now += 60
    assert pace.epoch(3, 3) == "3 min in all"


def test_scores_before_training_do_not_count_as_an_epoch() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.progress("embedding", 0, 570)
    clock.now += 1000
    assert pace.epoch(0, 2) == ""
    clock.now += 20
    assert pace.epoch(1, 2) == "17 min so far, about 20 s left"


def test_a_resumed_run_counts_its_own_epochs() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.progress("embedding", 0, 570)
    clock.now += 20
    assert pace.epoch(6, 10) == "20 s so far, about 1 min 20 s left"


RECORD: dict[str, Any] = {
    "epoch": 1, "loss": 2.5, "clusters": 15, "outliers": 271, "ari": 0.028, "all_ari": 0.023,
    "test_mAP": 0.08, "test_rank1": 0.153,
}  # fmt: skip


def test_a_log_has_one_line_per_epoch_with_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    with LogReporter() as report:
        report.header("Training x:", [("crops", "570 to train on"), ("cameras", "6, not used")], ["a note"])
        assert capsys.readouterr().err == ""  # not before there is work
        report.progress("embedding", 0, 570)
        report.epoch(RECORD, 2, ("a word of the method",))
    title, crops, cameras, note, epoch = capsys.readouterr().err.splitlines()
    assert (title, crops, cameras) == ("Training x:", "  crops     570 to train on", "  cameras   6, not used")
    assert note == "Note: a note"
    assert epoch == (
        "epoch 1/2  loss 2.500  15 clusters  271 outliers  a word of the method  "
        "ARI 0.028 of clustered crops, 0.023 of all  mAP 8.0 rank-1 15.3  0 s so far, about 0 s left"
    )


def test_a_log_speaks_within_long_work(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    report = LogReporter()
    report.progress("decoding crops", 0, 1000)
    for done in range(100, 1001, 100):
        clock.now += 25
        report.progress("decoding crops", done, 1000)
    assert capsys.readouterr().err.splitlines() == [
        "decoding crops: 300 of 1000, about 2 min 55 s left of this",
        "decoding crops: 600 of 1000, about 1 min 40 s left of this",
        "decoding crops: 900 of 1000, about 25 s left of this",
    ]


@pytest.mark.parametrize("width", [80, 120])
def test_lines_on_a_terminal_fit_and_keep_their_words(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    path = "a/" * 60 + "folder[1]"
    with BarReporter() as report:
        report.header(
            "Training x:", [("cameras", "one two three four five six seven eight nine ten " * 4), ("run", path)]
        )
        report.progress("embedding", 0, 570)
        report.progress("embedding", 570, 570)
        report.progress("clustering", 0, 1)
        report.progress("clustering", 1, 1)
        report.epoch(RECORD, 2)
    lines = [line.rstrip() for line in capsys.readouterr().err.splitlines()]
    lines = [line for line in lines if line and "━" not in line]
    assert f"  run       {path}" in lines
    assert all(len(line) <= min(width, 110) for line in lines if path not in line)
    assert sum(line.startswith(" " * 12) for line in lines) >= 1  # continued below its own beginning
    words = " ".join(" ".join(lines).split())
    assert "epoch 1/2 loss 2.500 15 clusters 271 outliers ARI 0.028 of clustered crops, 0.023 of all mAP 8.0" in words
