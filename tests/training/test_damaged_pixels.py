"""A run whose pixel cache is damaged: a sentence, never a signal, and the same numbers after going on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from resight.crops import read_crops
from resight.errors import ResightError
from resight.training.config import build_config
from resight.training.loop import fit
from resight.training.reporting import Reporter


class _Cut(Reporter):
    """Cuts the pixel caches short after the first epoch, as a full disk or a careless copy does."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache

    def epoch(self, record: dict[str, Any], epochs: int, *_: object) -> None:
        if record["epoch"] == 1:
            for file in self.cache.glob("*.npy"):
                os.truncate(file, 1000)


def test_a_cache_that_is_cut_short_in_a_run_stops_it_with_a_sentence_and_it_goes_on(
    painted: Path, tiny: dict[str, object], tmp_path: Path
) -> None:
    config, table = build_config("cluster_contrast", None, tiny), read_crops(painted)
    whole = fit(config, table, tmp_path / "whole")
    with pytest.raises(ResightError, match="is damaged: it was cut short while it was in use"):
        fit(config, table, tmp_path / "run", cache=tmp_path / "cut", reporter=_Cut(tmp_path / "cut"))
    run = fit(config, table, tmp_path / "run", cache=tmp_path / "cut", resume=True)
    assert run.metrics_file.read_bytes() == whole.metrics_file.read_bytes()
    assert run.weights_file.read_bytes() == whole.weights_file.read_bytes()
