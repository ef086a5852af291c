"""TensorBoard gets the curves and the sheets of a run."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

import resight

tensorboard = pytest.importorskip("tensorboard")


def test_tensorboard_gets_curves_and_clusters(painted: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    table = resight.read_crops(painted, train_identities=8)
    settings = tiny | {"epochs": 2, "evaluate_every": 1, "tracker": "tensorboard"}
    model = resight.train("cluster_contrast", table, tmp_path / "run", settings=settings)
    assert model.run is not None
    folders = {file.parent for file in model.run.path.rglob("events.out.tfevents.*")}
    events = [EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0}).Reload() for folder in folders]
    (found,) = [one for one in events if "loss" in one.Tags()["scalars"]]
    lines = [line for line in model.run.read_metrics() if line["epoch"]]
    for name in ("loss", "test_mAP", "clusters", "all_ari"):
        assert [point.value for point in found.Scalars(name)] == pytest.approx([line[name] for line in lines], rel=1e-5)
    assert {"cameras_one_camera", "cameras_mixture"} <= set(found.Tags()["scalars"])
    pictures = [point for one in events if "clusters" in one.Tags()["images"] for point in one.Images("clusters")]
    assert [picture.step for picture in pictures] == [1, 2]
    with Image.open(io.BytesIO(pictures[-1].encoded_image_string)) as sheet:
        assert min(sheet.size) > 50
