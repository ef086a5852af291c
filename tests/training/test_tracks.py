"""Runs that use tracks, and the losses that use proxies and neighbours, from crops to the run folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from resight.crops import CropTable, read_crops
from resight.errors import ResightError
from resight.training.config import build_config
from resight.training.loop import fit

LOSSES = {"offline_weight": 0.1, "online_weight": 0.1, "intra_weight": 0.1, "neighbour_weight": 0.1}


@pytest.fixture(scope="module")
def tracked(painted: Path) -> CropTable:
    """The painted crops, those of an identity in a camera a track; tracks of a camera never overlap in time."""
    table = read_crops(painted)
    assert table.identity is not None
    shot = np.array([int(path.split("_")[2]) for path in table.paths])
    return replace(table, track=table.identity, time=10.0 * table.identity + shot)


@pytest.mark.parametrize("unit", ["crops", "tracks"])
def test_a_run_keeps_tracks_together(unit: str, tracked: CropTable, tiny: dict[str, object], tmp_path: Path) -> None:
    changes = tiny | {"epochs": 1, "sampling.iterations": 2, "sampling.tracks": "spread", "sampling.cameras": "even"}
    changes |= {f"method.{name}": weight for name, weight in LOSSES.items()} | {"clustering.tracks": True}
    changes |= {"clustering.unit": unit} | ({"clustering.k1": 3, "clustering.k2": 1} if unit == "tracks" else {})
    run = fit(build_config("cluster_contrast", "default", changes), tracked, tmp_path / unit, device="cpu")
    labels, record = run.read_array("labels", 1), run.read_metrics()[-1]
    assert tracked.track is not None
    assert tracked.camera is not None
    for pair in np.unique(np.stack([tracked.track, tracked.camera], 1), axis=0):
        assert len(set(labels[(tracked.track == pair[0]) & (tracked.camera == pair[1])].tolist())) == 1
    assert {"contrast", "offline", "online", "intra", "neighbours"} <= set(record)
    said = json.loads((run.path / "data.json").read_text())
    assert said["track_use"] == [
        "clustering.tracks", *(["clustering.unit"] if unit == "tracks" else []), "sampling.tracks"
    ]  # fmt: skip
    if unit == "tracks":
        assert record["tracks"] == 24


def test_settings_that_need_tracks_say_so(painted: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    for change in ({"clustering.tracks": True}, {"clustering.unit": "tracks"}, {"sampling.tracks": "spread"}):
        config = build_config("cluster_contrast", "default", tiny | change)
        with pytest.raises(ResightError, match=f"{next(iter(change))} needs the column 'track'"):
            fit(config, read_crops(painted), tmp_path / "none", device="cpu")
    config = build_config("pplr", "default", tiny | {"encoder.parts": 2, "clustering.unit": "tracks"})
    with pytest.raises(ResightError, match="unit=crops"):
        fit(config, replace(read_crops(painted), track=np.zeros(96, np.int64)), tmp_path / "none", device="cpu")
