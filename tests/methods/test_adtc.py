from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import resight
from resight import ResightError
from resight.clustering import label_agreement, two_stage
from resight.clustering.config import ClusteringConfig
from resight.crops import CropTable, read_crops
from resight.encoders import Encoder, EncoderConfig, Features
from resight.losses import batch_hard_triplet
from resight.methods import Adtc, Batch
from resight.methods.adtc import AdtcOptions
from resight.training.config import build_config
from resight.training.loop import fit
from resight.training.reporting import Reporter, describe_epoch
from resight.training.run import RunFolder, runs_behind
from resight.transfer import transfer_report

CLUSTERING = ClusteringConfig(k1=8, k2=3)


def method(**options: Any) -> Adtc:
    encoder = Encoder(EncoderConfig(backbone="resnet18", weights="none", width_multiplier=0.125))
    return Adtc(AdtcOptions(**options), CLUSTERING, encoder)


def crops(size: int = 96) -> CropTable:
    return CropTable(paths=[f"{i}.png" for i in range(size)], root=Path("."))


def features_of(size: int = 96, noise: float = 0.5, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(8, 12))[np.arange(size) % 8]
    return (centres + noise * np.random.default_rng(seed).normal(size=(size, 12))).astype(np.float32)


@pytest.mark.parametrize(
    ("options", "clusters"),
    [({"clusters": 11}, 11), ({"crops_per_cluster": 9}, 11), ({"crops_per_cluster": 96}, 2)],
)
@pytest.mark.parametrize("second_stage", [True, False])
def test_labels_are_those_of_the_clustering(options: dict[str, Any], clusters: int, second_stage: bool) -> None:
    learner = method(second_stage=second_stage, nearest=5, components=6, contested="out", unwanted="cluster", **options)
    torch.manual_seed(0)
    found = learner.label(features_of(), crops(), 0)
    torch.manual_seed(0)
    seed = int(torch.randint(2**31 - 1, ()))
    expected = two_stage(
        features_of(), clusters, keep=5 if second_stage else None, components=6, k1=8, k2=3,
        contested="out", unwanted="cluster", seed=seed,
    )  # fmt: skip
    assert np.array_equal(found.labels, expected.labels)
    assert found.facts == {"round": 1, **expected.facts}


def test_labels_stay_within_a_round_and_the_agreement_is_with_those_before() -> None:
    learner = method(clusters=8, round_epochs=3, nearest=30)
    assert [learner.needs_features(epoch) for epoch in range(5)] == [True, False, False, True, False]
    nothing = np.empty((0, 12), np.float32)
    first = learner.label(features_of(), crops(), 0)
    for epoch in (1, 2):
        within = learner.label(nothing, crops(), epoch)
        assert np.array_equal(within.labels, first.labels)
        assert within.facts == {"round": 1}
    second = learner.label(features_of(noise=1.2, seed=1), crops(), 3)
    assert second.facts["round"] == 2
    assert second.facts["round_ari"] == label_agreement(second, first) < 0.9
    assert not any(learner.finished(epoch) for epoch in range(9))
    learner.label(features_of(noise=0.01), crops(), 6)
    third = learner.label(features_of(noise=0.01, seed=1), crops(), 9)
    assert third.facts["round_ari"] > 0.98
    assert [learner.finished(epoch) for epoch in (10, 11, 12)] == [False, False, True]


@pytest.mark.parametrize(("settled", "ends"), [(None, False), (1.0, False), (0.5, True)])
def test_when_labels_count_as_settled_is_a_setting(settled: float | None, ends: bool) -> None:
    learner = method(clusters=8, round_epochs=1, settled=settled)
    for epoch in (0, 1):
        learner.label(features_of(noise=0.01), crops(), epoch)
    assert learner.finished(2) is ends


@pytest.mark.parametrize("margin", [0.3, None])
def test_the_loss_is_the_batch_hard_triplet(margin: float | None) -> None:
    torch.manual_seed(0)
    neck = torch.randn(6, 8)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    terms = method(margin=margin).loss(
        Batch(torch.arange(6), labels, None, 0), Features(F.normalize(neck), neck, torch.empty(0))
    )
    assert list(terms) == ["triplet"]
    assert terms["triplet"].item() == batch_hard_triplet(F.normalize(neck), labels, margin).item()


ROUNDS = {"method.clusters": 12, "method.round_epochs": 2, "method.settled": None, "method.components": 16}
VOXEL = {"encoder.attention": "voxel", "encoder.voxel_units": 32}


def run_to_end(table: CropTable, settings: dict[str, object], out: Path, **options: Any) -> RunFolder:
    return fit(build_config("adtc", "default", settings), table, out, **options)


def test_the_rate_begins_anew_with_each_round(painted: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    settings = tiny | ROUNDS | {"epochs": 7, "method.round_epochs": 3, "optimizer.decay_from": 1, "optimizer.lr": 0.01}
    rates: list[float] = []

    class Watch(Reporter):
        def epoch(self, record: dict[str, Any], epochs: int) -> None:
            rates.append(record["lr"])
            described.append(describe_epoch(record, epochs))

    described: list[str] = []
    run = run_to_end(read_crops(painted), settings, tmp_path / "run", reporter=Watch())
    assert rates == pytest.approx([0.01, 0.01, 0.01 * 0.001**0.5] * 2 + [0.01])
    assert [record["round"] for record in run.read_metrics()] == [1, 1, 1, 2, 2, 2, 3]
    assert ["ARI" in line and "with the labels before" in line for line in described] == [
        False, False, False, True, False, False, True,
    ]  # fmt: skip


def test_a_run_ends_after_the_round_whose_labels_settled(
    painted: Path, tiny: dict[str, object], tmp_path: Path
) -> None:
    """So small a rate changes nothing, so the second round has the labels of the first, but for the seed of k-means."""
    settings = tiny | ROUNDS | {"epochs": 20, "optimizer.lr": 1e-9, "method.settled": 0.2}
    table = read_crops(painted, train_identities=8)
    model = resight.train("adtc", table, tmp_path / "run", settings=settings)
    assert model.run is not None
    records = model.run.read_metrics()
    assert [record["epoch"] for record in records] == [0, 1, 2, 3, 4]
    assert records[3]["round_ari"] > 0.2
    assert "test_mAP" in records[-1]  # the last epoch is scored, though more were asked for
    weights = model.run.weights_file.read_bytes()
    again = resight.train("adtc", table, tmp_path / "run", settings=settings, resume=True)
    assert again.run is not None
    assert again.run.read_metrics() == records
    assert again.run.weights_file.read_bytes() == weights


@pytest.mark.parametrize("stop", ["after epoch 1", "after epoch 2", "in epoch 4"])
def test_a_resumed_run_gives_the_same_numbers(
    stop: str, stop_at: Callable[[str], Reporter], painted: Path, tiny: dict[str, object], tmp_path: Path
) -> None:
    """Within, at and after the end of a round."""
    settings = tiny | ROUNDS | VOXEL | {"epochs": 5, "sampling.iterations": 4}
    table = read_crops(painted)
    whole = run_to_end(table, settings, tmp_path / "whole")

    with pytest.raises(KeyboardInterrupt):
        run_to_end(table, settings, tmp_path / "cut", reporter=stop_at(stop))
    resumed = run_to_end(table, settings, tmp_path / "cut", resume=True)
    for name in ("metrics_file", "weights_file"):
        assert getattr(resumed, name).read_bytes() == getattr(whole, name).read_bytes()
    ours, theirs = (torch.load(run.checkpoint_file, weights_only=True)["trained"] for run in (resumed, whole))
    assert "method.assignment" in ours
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_adaptation_beats_the_source_model_it_starts_from(
    paint_crops: Callable[..., Path], tiny: dict[str, object], tmp_path: Path
) -> None:
    """Source and target differ in people, cameras' colours and noise; the source's whole encoder is handed on."""
    source_crops = read_crops(
        paint_crops(tmp_path / "source", identities=40, cameras=2, shots=3, cast=0.1, noise=10), train_identities=30
    )
    painted = read_crops(paint_crops(tmp_path / "target", identities=72, cameras=2, shots=5, cast=0.25, noise=50))
    assert painted.identity is not None
    target_crops = resight.identity_split(painted.select(painted.identity > 40), 16)  # the first 40 are the source's
    settings = tiny | VOXEL | {"encoder.pooling": "avg", "optimizer.schedule": "exponential", "sampling.iterations": 12}
    source = resight.train(
        "supervised", source_crops, tmp_path / "runs" / "source", recipe="adtc",
        settings=settings | {"epochs": 1, "optimizer.lr": 2e-3, "sampling.clusters": 8},
    )  # fmt: skip
    adapting = settings | ROUNDS | {"encoder.weights": str(tmp_path / "runs" / "source"), "optimizer.lr": 1e-3}
    adapting |= {"epochs": 12, "evaluate_every": 12, "method.clusters": 16, "method.nearest": 12}
    adapted = resight.train("adtc", target_crops, tmp_path / "runs" / "adapted", settings=adapting)
    assert adapted.run is not None
    start, *epochs = adapted.run.read_metrics()
    before = resight.evaluate(source, target_crops)
    assert start["test_mAP"] == before["mAP"]  # the whole encoder started, not its backbone alone
    assert epochs[-1]["test_mAP"] > start["test_mAP"] + 0.05
    assert adapted.run.read_data()["camera_use"] == []
    assert adapted.run.facts()["identity_use_in_training"] is False
    behind = {"run": str(tmp_path / "runs" / "source"), "root": str(tmp_path / "source")}
    behind |= {"camera_use": [], "identity_use": True}
    assert adapted.run.facts()["started_from"] == [behind]
    assert runs_behind(str(tmp_path / "runs" / "adapted" / "model.safetensors"))[1:] == [behind]
    assert runs_behind("none") == []
    assert list(adapted.attention_maps(np.zeros((1, 3, 32, 16), np.uint8))) == ["activation", "voxel"]

    rows = transfer_report(source, source_crops, target_crops, [adapted])
    assert [(row["data"], row["adapted"]) for row in rows] == [("source", False), ("target", False), ("target", True)]
    assert [row["mAP"] for row in rows] == [
        resight.evaluate(source, source_crops)["mAP"], before["mAP"], epochs[-1]["test_mAP"],
    ]  # fmt: skip
    assert [Path(row["model"]).name for row in rows] == ["source", "source", "adapted"]


def test_more_clusters_than_crops_is_a_sentence(painted: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ResightError, match=r"and 97 were asked for: set method\.clusters"):
        run_to_end(read_crops(painted), tiny | {"method.clusters": 97}, tmp_path / "run")


def test_centred_cameras_are_used_and_declared() -> None:
    encoder = Encoder(EncoderConfig(backbone="resnet18", weights="none", width_multiplier=0.125))
    learner = Adtc(AdtcOptions(clusters=8), CLUSTERING.model_copy(update={"centre_cameras": True}), encoder)
    assert method().camera_use == ()
    assert learner.camera_use == ("clustering.centre_cameras",)
    camera = np.arange(96) // 48
    features = features_of() + 3 * np.eye(2, 12, dtype=np.float32)[camera]
    table = CropTable(paths=crops().paths, root=Path("."), camera=camera)
    found = []
    for each in (learner, method(clusters=8)):
        torch.manual_seed(0)
        found.append(label_agreement(each.label(features, table, 0), np.arange(96) % 8))
    assert found[0] > found[1] + 0.1
