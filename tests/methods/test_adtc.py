from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import resight
from resight import ResightError
from resight.clustering import PseudoLabels, label_agreement, two_stage
from resight.clustering.config import ClusteringConfig
from resight.crops import CropTable, read_crops
from resight.encoders import Encoder, EncoderConfig, Features
from resight.losses import batch_hard_triplet
from resight.methods import Adtc, Batch, EpochData
from resight.methods.adtc import AdtcOptions
from resight.training.config import build_config
from resight.training.data import camera_use
from resight.training.loop import fit
from resight.training.reporting import Reporter, describe_epoch
from resight.training.run import RunFolder, runs_behind
from resight.transfer import transfer_report

CLUSTERING = ClusteringConfig(k1=8, k2=3)


def method(clustering: ClusteringConfig = CLUSTERING, **options: Any) -> Adtc:
    encoder = Encoder(EncoderConfig(backbone="resnet18", weights="none", width_multiplier=0.125))
    return Adtc(AdtcOptions(**options), clustering, encoder)


def features_of(size: int = 96, noise: float = 0.5, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(8, 12))[np.arange(size) % 8]
    return (centres + noise * np.random.default_rng(seed).normal(size=(size, 12))).astype(np.float32)


NOTHING = np.empty((0, 12), np.float32)


def epoch_of(features: np.ndarray, epoch: int = 0, *, size: int = 96, camera: np.ndarray | None = None) -> EpochData:
    table = CropTable(paths=[f"{i}.png" for i in range(size)], root=Path("."), camera=camera)
    return EpochData(table, torch.device("cpu"), epoch=epoch, features=features)


def label(learner: Adtc, features: np.ndarray, *, seed: int = 0, camera: np.ndarray | None = None) -> PseudoLabels:
    """The labels of a first epoch whose random numbers have this seed."""
    torch.manual_seed(seed)
    return learner.label(epoch_of(features, size=len(features), camera=camera))


def partition(found: PseudoLabels) -> list[int]:
    """The labels, numbered in the order of the crops: k-means numbers its clusters as it happens to draw them."""
    numbers = {-1: -1}
    return [numbers.setdefault(number, len(numbers) - 1) for number in found.labels.tolist()]


@pytest.mark.parametrize(
    ("options", "depths", "expected"),
    [
        ({"nearest": 5}, (8, 3), {"keep": 5}),
        ({"nearest": 30}, (16, 6), {"keep": 30}),
        ({"nearest": 30, "contested": "out"}, (24, 6), {"keep": 30, "contested": "out"}),
        ({"nearest": 5, "unwanted": "cluster"}, (8, 3), {"keep": 5, "unwanted": "cluster"}),
        ({"second_stage": False}, (8, 3), {"keep": None}),
    ],
)
def test_labels_are_those_of_two_stage_clustering(
    options: dict[str, Any], depths: tuple[int, int], expected: dict[str, Any]
) -> None:
    """On clusters so far apart that k-means finds the same ones whatever it begins with."""
    k1, k2 = depths
    learner = method(ClusteringConfig(k1=k1, k2=k2), clusters=8, components=6, **options)
    found = label(learner, features_of(noise=0.2))
    direct = two_stage(features_of(noise=0.2), 8, components=6, k1=k1, k2=k2, **expected)
    assert partition(found) == partition(direct)
    assert found.facts == {"round": 1, **direct.facts}
    assert not found.sentences


@pytest.mark.parametrize(
    ("options", "clusters"),
    [({"clusters": 11}, 11), ({"crops_per_cluster": 9}, 11), ({"crops_per_cluster": 96}, 2)],
)
def test_the_number_of_clusters_is_given_or_a_share_of_the_crops(options: dict[str, Any], clusters: int) -> None:
    assert label(method(second_stage=False, **options), features_of()).num_clusters == clusters


def test_the_epochs_random_numbers_settle_the_labels() -> None:
    features = features_of(noise=1.2)
    found = [label(method(clusters=8), features, seed=seed) for seed in (0, 1, 2, 3, 0)]
    assert np.array_equal(found[0].labels, found[4].labels)
    assert len({tuple(partition(one)) for one in found}) > 1


@pytest.mark.parametrize(
    ("options", "changes", "matters"),
    [
        ({"components": 2}, {}, True),
        ({}, {"k1": 16}, True),
        ({}, {"k2": 6}, True),
        ({}, {"eps": 0.2, "min_samples": 9}, False),
        ({"second_stage": False}, {"k1": 16, "k2": 6}, False),
    ],
)
def test_which_settings_change_the_labels(options: dict[str, Any], changes: dict[str, Any], matters: bool) -> None:
    """And a setting that changes nothing is not said to be read."""
    common = {"clusters": 8, "components": 6, "nearest": 30}
    plain, changed = {"second_stage": options.get("second_stage", True)}, CLUSTERING.model_copy(update=changes)
    before = label(method(**common | plain), features_of(noise=0.8))
    after = label(method(changed, **common | options), features_of(noise=0.8))
    assert (partition(after) != partition(before)) is matters
    read = Adtc.needs(AdtcOptions(**options)).settings
    assert all((f"clustering.{name}" in read) is matters for name in changes)


def test_labels_stay_within_a_round_and_the_agreement_is_with_those_before() -> None:
    learner = method(clusters=8, round_epochs=3, nearest=30)
    assert [learner.plan(epoch).embed for epoch in range(5)] == [True, False, False, True, False]
    assert {learner.plan(epoch).schedule_length for epoch in range(5)} == {3}
    first = learner.label(epoch_of(features_of()))
    for epoch in (1, 2):
        within = learner.label(epoch_of(NOTHING, epoch))
        assert np.array_equal(within.labels, first.labels)
        assert within.facts == {"round": 1}
        assert not within.sentences
    second = learner.label(epoch_of(features_of(noise=1.2, seed=1), 3))
    assert second.facts["round"] == 2
    assert second.facts["round_ari"] == label_agreement(second, first) < 0.9
    assert second.sentences == (f"round 2: ARI {second.facts['round_ari']:.3f} with the labels of the round before",)
    assert not any(learner.plan(epoch).finished for epoch in range(9))
    learner.label(epoch_of(features_of(noise=0.01), 6))
    third = learner.label(epoch_of(features_of(noise=0.01, seed=1), 9))
    assert third.facts["round_ari"] > 0.98
    assert [learner.plan(epoch).finished for epoch in (10, 11, 12)] == [False, False, True]


@pytest.mark.parametrize(("settled", "ends"), [(None, False), (1.0, False), (0.5, True)])
def test_when_labels_count_as_settled_is_a_setting(settled: float | None, ends: bool) -> None:
    learner = method(clusters=8, round_epochs=1, settled=settled)
    for epoch in (0, 1):
        learner.label(epoch_of(features_of(noise=0.01), epoch))
    assert learner.plan(2).finished is ends


@pytest.mark.parametrize("margin", [0.3, None])
def test_the_loss_is_the_batch_hard_triplet(margin: float | None) -> None:
    torch.manual_seed(0)
    pre_norm = torch.randn(6, 8)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    view = Features(F.normalize(pre_norm), pre_norm, torch.empty(0))
    terms = method(margin=margin).loss(Batch(torch.arange(6), labels, None, 0, (view,)))
    assert list(terms) == ["triplet"]
    assert terms["triplet"].item() == batch_hard_triplet(F.normalize(pre_norm), labels, margin).item()


@pytest.mark.parametrize("feature", ["pooled", "pre_norm", "embedding"])
def test_the_triplet_loss_compares_the_feature_that_is_named(feature: str) -> None:
    pre_norm, pooled, labels = torch.randn(6, 8), torch.randn(6, 8), torch.tensor([0, 0, 1, 1, 2, 2])
    view = Features(F.normalize(pre_norm), pre_norm, torch.empty(0), pooled=pooled)
    term = method(triplet_feature=feature).loss(Batch(torch.arange(6), labels, None, 0, (view,)))["triplet"]
    expected = {"pooled": pooled, "pre_norm": pre_norm, "embedding": view.embedding}
    assert torch.equal(term, batch_hard_triplet(expected[feature], labels))
    assert AdtcOptions().triplet_feature == "embedding"


ROUNDS = {"method.clusters": 12, "method.round_epochs": 2, "method.settled": None, "method.components": 16}
VOXEL = {"encoder.attention": "voxel", "encoder.voxel_units": 32}


def run_to_end(table: CropTable, settings: dict[str, object], out: Path, **options: Any) -> RunFolder:
    return fit(build_config("adtc", "default", settings), table, out, **options)


def test_the_rate_begins_anew_with_each_round(painted: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    settings = tiny | ROUNDS | {"epochs": 7, "method.round_epochs": 3, "optimizer.decay_from": 1, "optimizer.lr": 0.01}
    rates: list[float] = []

    class Watch(Reporter):
        def epoch(self, record: dict[str, Any], epochs: int, sentences: Sequence[str] = ()) -> None:
            rates.append(record["lr"])
            described.append(describe_epoch(record, epochs, sentences))

    described: list[str] = []
    run = run_to_end(read_crops(painted), settings, tmp_path / "run", reporter=Watch())
    assert rates == pytest.approx([0.01, 0.01, 0.01 * 0.001**0.5] * 2 + [0.01])
    assert [record["round"] for record in run.read_metrics()] == [1, 1, 1, 2, 2, 2, 3]
    assert ["ARI" in line and "with the labels of the round before" in line for line in described] == [
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


@pytest.mark.parametrize("stop", ["after epoch 2", "in epoch 4"])
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
    """Source and target differ in identities, cameras' colours and noise; the source's whole encoder is handed on."""
    source_crops = read_crops(
        paint_crops(tmp_path / "source", identities=40, cameras=2, shots=3, cast=0.1, noise=10), train_identities=30
    )
    painted = read_crops(paint_crops(tmp_path / "target", identities=88, cameras=2, shots=8, cast=0.1, noise=70))
    assert painted.identity is not None
    target_crops = resight.identity_split(painted.select(painted.identity > 40), 24)  # the first 40 are the source's
    settings = tiny | VOXEL | {"encoder.pooling": "avg", "optimizer.schedule": "exponential", "sampling.iterations": 12}
    source = resight.train(
        "supervised", source_crops, tmp_path / "runs" / "source", recipe="adtc",
        settings=settings | {"epochs": 2, "optimizer.lr": 2e-3, "sampling.clusters": 8},
    )  # fmt: skip
    adapting = settings | ROUNDS | {"encoder.weights": str(tmp_path / "runs" / "source"), "optimizer.lr": 1e-3}
    adapting |= {"epochs": 6, "evaluate_every": 6, "method.clusters": 24, "method.nearest": 16, "sampling.clusters": 8}
    adapted = resight.train("adtc", target_crops, tmp_path / "runs" / "adapted", settings=adapting)
    assert adapted.run is not None
    start, *epochs = adapted.run.read_metrics()
    before = resight.evaluate(source, target_crops)
    assert start["test_mAP"] == before["mAP"]  # the whole encoder started, not its backbone alone
    assert epochs[-1]["test_mAP"] > start["test_mAP"] + 0.1
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
    for centre, use in ((False, ()), (True, ("clustering.centre_cameras",))):
        config = build_config("adtc", None, {"clustering.centre_cameras": centre})
        assert camera_use(config, Adtc.needs(config.method)) == use  # type: ignore[arg-type]
    camera = np.arange(96) // 48
    features = features_of() + 3 * np.eye(2, 12, dtype=np.float32)[camera]
    agreement = [
        label_agreement(label(method(clustering, clusters=8), features, camera=camera), np.arange(96) % 8)
        for clustering in (CLUSTERING.model_copy(update={"centre_cameras": True}), CLUSTERING)
    ]
    assert agreement[0] > agreement[1] + 0.1
