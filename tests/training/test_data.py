"""The data of a run: which settings use cameras, and what a method sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from resight.crops import read_crops
from resight.errors import ResightError
from resight.methods import METHODS
from resight.training.config import build_config
from resight.training.data import TrainingData, camera_use

BOTH = {"clustering.centre_cameras": True, "sampling.cameras": "spread"}


@pytest.mark.parametrize(
    ("method", "settings", "expected"),
    [
        ("cluster_contrast", {}, ()),
        (
            "cluster_contrast",
            BOTH | {"method.camera_weight": 0.5},
            ("clustering.centre_cameras", "method.camera_weight", "sampling.cameras"),
        ),
        (
            "pplr",
            {"clustering.camera_jaccard": True, "clustering.scale_cameras": True},
            ("clustering.scale_cameras", "clustering.camera_jaccard"),
        ),
        ("adtc", {"clustering.camera_jaccard": True}, ()),
        ("supervised", BOTH, ("sampling.cameras",)),
        ("mar", BOTH, ("method.consistency_weight",)),
        ("idl_acl", BOTH | {"method.cluster_weight": 0}, ("sampling.cameras",)),
    ],
)
def test_camera_use_names_the_settings_that_training_reads(
    method: str, settings: dict[str, object], expected: tuple[str, ...]
) -> None:
    config = build_config(method, None, settings)
    assert camera_use(config, METHODS[method].needs(config.method)) == expected


@pytest.mark.parametrize(("method", "sees"), [("cluster_contrast", False), ("supervised", True)])
def test_only_a_method_that_needs_identities_sees_them(
    method: str, sees: bool, painted: Path, tiny: dict[str, object], tmp_path: Path
) -> None:
    table = read_crops(painted)
    data = TrainingData.open(build_config(method, None, tiny), table, cache=tmp_path, device=torch.device("cpu"))
    assert (data.method_data.table.identity is not None) is sees
    now = data.epoch_data(3, np.ones((96, 4), np.float32), np.empty((0, 4), np.float32))
    assert (now.table.identity is not None) is sees
    assert now.epoch == 3
    assert now.features.shape == (96, 4)
    assert now.source_labels is None
    assert now.camera is not None
    assert now.camera.tolist() == data.pixels.table.camera.tolist()  # type: ignore[union-attr]
    assert data.pixels.table.identity is not None  # for the figures
    assert data.describe()["identity_use"] is sees


def test_a_source_is_numbered_and_named_and_no_crop_of_the_run(
    painted: Path, paint_crops: object, tiny: dict[str, object], tmp_path: Path
) -> None:
    folder = paint_crops(tmp_path / "source", identities=5)  # type: ignore[operator]
    config, device = build_config("mar", None, tiny | {"sampling.order": "crops"}), torch.device("cpu")
    source = read_crops(folder)
    data = TrainingData.open(
        config, read_crops(painted), cache=tmp_path, device=device, source=source, source_identities=3
    )
    given = data.method_data
    assert given.source_names == ("1", "2", "3")
    assert given.source_labels is not None
    assert np.unique(given.source_labels, return_counts=True)[1].tolist() == [8, 8, 8]
    assert data.describe()["source"]["people"] == ["1", "2", "3"]
    with pytest.raises(ResightError, match=r"40 crops of the source .*must show other identities"):
        TrainingData.open(config, source, cache=tmp_path, device=device, source=source)
