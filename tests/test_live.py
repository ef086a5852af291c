"""Where a run stands."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

import resight
from resight.live import sparkline, standing
from resight.training.run import RunFolder


def test_where_a_run_stands(painted: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    resight.train("cluster_contrast", painted, run.path, settings=tiny | {"epochs": 2})
    now = standing(run)
    assert (now.epoch, now.epochs, now.finished, now.left, now.overdue) == (2, 2, True, 0, False)
    assert now.seconds is not None
    run.config_file.write_text(run.config_file.read_text().replace("epochs: 2\n", "epochs: 6\n"))
    now = standing(run)
    assert (now.finished, now.overdue) == (False, False)
    assert now.left == pytest.approx(4 * (now.seconds or 0))
    old = time.time() - 3600
    os.utime(run.metrics_file, (old, old))
    assert standing(run).overdue
    run.metrics_file.unlink()
    run.timings_file.unlink()
    now = standing(run)
    assert (now.epoch, now.seconds, now.left, now.finished) == (0, None, None, False)


def test_sparklines() -> None:
    assert sparkline([]) == ""
    assert sparkline([2, 2, 2]) == "▄▄▄"
    assert sparkline([0, 10]) == "▁█"
    assert len(sparkline(range(1000))) == 40
