from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import resight
from resight import ResightError
from resight.clustering import merge_clusters
from resight.clustering.config import ClusteringConfig
from resight.crops import CropTable, read_crops
from resight.crops.cache import open_pixel_cache
from resight.encoders import Encoder, EncoderConfig, Features
from resight.losses import cluster_contrast, instance_discrimination
from resight.methods import Batch, EpochData, IdlAcl
from resight.methods.idl_acl import IdlAclOptions
from resight.training.config import build_config
from resight.training.data import camera_use
from resight.training.learner import Learner
from resight.training.loop import fit
from resight.training.reporting import Reporter


def method(**options: object) -> IdlAcl:
    encoder = Encoder(EncoderConfig(backbone="resnet18", weights="none", width_multiplier=0.125))
    return IdlAcl(IdlAclOptions(**options), ClusteringConfig(), encoder)  # type: ignore[arg-type]


def unit(rows: int, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(rows, 6, generator=torch.Generator().manual_seed(seed)))


NOTHING = np.empty((0, 6), np.float32)


def epoch_of(size: int, epoch: int, features: np.ndarray = NOTHING, *, camera: np.ndarray | None = None) -> EpochData:
    table = CropTable(paths=[f"{i}.png" for i in range(size)], root=Path("."), camera=camera)
    return EpochData(table, torch.device("cpu"), epoch=epoch, features=features)


def features_of(embedding: Tensor) -> Features:
    return Features(embedding, embedding, torch.empty(0))


def test_every_crop_is_its_own_cluster_until_the_first_merging() -> None:
    learner = method(first_epochs=3)
    assert learner.plan(0).embed
    for epoch in range(3):
        assert learner.label(epoch_of(40, epoch)).labels.tolist() == list(range(40))
    assert [learner.plan(epoch).embed for epoch in (1, 2, 3)] == [False, False, True]


def test_stages_merge_their_share_until_the_wanted_number_is_reached() -> None:
    learner = method(first_epochs=1, stage_epochs=2, merge_share=0.2, clusters=13)
    features = unit(40).numpy()
    counts, merged = [], []
    for epoch in range(11):
        found = learner.label(epoch_of(40, epoch, features if learner.plan(epoch).embed else NOTHING))
        counts.append(found.num_clusters)
        merged.append(found.facts.get("merged"))
        assert found.facts["largest_cluster"] == found.cluster_sizes.max()
        assert found.facts["singletons"] == (found.cluster_sizes == 1).sum()
        merging = f"{merged[-1]} merged up to a distance of {found.facts.get('merge_distance', 0):.3f}"
        largest = f"largest cluster {found.cluster_sizes.max()}"
        assert found.sentences == ((merging, largest) if merged[-1] else (largest,))
    assert counts == [40, 32, 32, 24, 24, 16, 16, 13, 13, 13, 13]
    assert merged == [None, 8, None, 8, None, 8, None, 3, None, None, None]
    assert not learner.plan(11).embed


def test_without_a_number_it_stops_at_a_cluster_for_so_many_crops() -> None:
    learner = method(first_epochs=1, stage_epochs=1, merge_share=0.5, crops_per_person=8)
    features = unit(40).numpy()
    counts = [learner.label(epoch_of(40, epoch, features)).num_clusters for epoch in range(5)]
    assert counts == [40, 20, 5, 5, 5]


def test_the_nearest_are_merged_and_large_clusters_pay() -> None:
    angles = torch.tensor([0.0, 0.01, 0.021, 0.5, 0.5201, 2.0])
    features = torch.stack([angles.cos(), angles.sin()], dim=1).numpy()
    plain = method(first_epochs=1, stage_epochs=1, merge_share=0.2, clusters=1, size_penalty=0.0)
    paying = method(first_epochs=1, stage_epochs=1, merge_share=0.2, clusters=1, size_penalty=0.1)
    for learner in (plain, paying):
        learner.label(epoch_of(6, 0))
        # two merges: 0 with 1, and 1 with 2, for a stage looks at the sizes it began with
        assert learner.label(epoch_of(6, 1, features)).labels.tolist() == [0, 0, 0, 1, 2, 3]
    assert plain.label(epoch_of(6, 2, features)).labels.tolist() == [0, 0, 0, 0, 0, 1]
    # 3 and 4 join at 0.02 + 0.2; then any of the three with the single one at 1.35 + 0.2, or with 3 at 0.48 + 0.4
    assert paying.label(epoch_of(6, 2, features)).labels.tolist() == [0, 0, 0, 0, 0, 1]
    heavy = method(first_epochs=1, stage_epochs=1, merge_share=0.1, clusters=1, size_penalty=10.0)
    heavy.assignment = torch.tensor([0, 0, 0, 1, 2, 3])
    assert heavy.label(epoch_of(6, 1, features)).labels.tolist() == [0, 0, 0, 1, 1, 2]


def test_cameras_are_centred_before_merging_where_asked_for() -> None:
    # two people, the second axis is the camera's: without centring each camera's crops are nearest
    features = F.normalize(torch.tensor([[1.0, 5.0], [-1.0, 5.0], [1.1, -5.0], [-0.9, -5.0]])).numpy()
    camera = np.array([1, 1, 2, 2])
    found = {}
    for centre in (False, True):
        learner = method(first_epochs=1, merge_share=0.5, clusters=2)
        learner.clustering = ClusteringConfig(centre_cameras=centre)
        learner.label(epoch_of(4, 0, camera=camera))
        found[centre] = learner.label(epoch_of(4, 1, features, camera=camera)).labels.tolist()
        config = build_config("idl_acl", None, {"clustering.centre_cameras": centre})
        needs = IdlAcl.needs(config.method)  # type: ignore[arg-type]
        assert camera_use(config, needs) == (("clustering.centre_cameras",) if centre else ())
    assert found == {False: [0, 0, 1, 1], True: [0, 1, 0, 1]}


def test_merging_across_cameras_is_declared_and_joins_no_pair_of_one(
    painted: Path, tiny: dict[str, object], tmp_path: Path
) -> None:
    features, camera = unit(30).numpy(), np.arange(30) % 3
    learner = method(first_epochs=1, merge_share=0.3, clusters=3, merge_cameras="different")
    assert learner.needs(learner.options).cameras == ("method.merge_cameras",)
    assert IdlAcl.needs(IdlAclOptions(merge_cameras="different", cluster_weight=0)).cameras == ()
    learner.label(epoch_of(30, 0, camera=camera))
    found = learner.label(epoch_of(30, 1, features, camera=camera))
    expected = merge_clusters(features, np.arange(30), 9, size_penalty=0.003, camera=camera)
    assert np.array_equal(found.labels, expected.labels)
    assert found.facts["merged"] == 9
    for cluster in np.flatnonzero(found.cluster_sizes == 2):
        assert len(np.unique(camera[found.labels == cluster])) == 2
    table = resight.read_crops(painted)
    settings = tiny | SCHEDULE | {"method.merge_cameras": "different"}
    with pytest.raises(ResightError, match=r"method\.merge_cameras"):
        resight.train("idl_acl", CropTable(table.root, table.paths), tmp_path / "run", settings=settings)


@pytest.mark.parametrize(
    ("changes", "matters"),
    [({"k1": 4, "k2": 2, "eps": 0.2, "min_samples": 9}, False), ({"search": "approximate", "recall": 0.99}, True)],
)
def test_which_settings_of_clustering_the_merging_reads(changes: dict[str, object], matters: bool) -> None:
    """An approximate search says how many of the true neighbours it found."""
    learner, changed = (method(first_epochs=1, merge_share=0.3) for _ in range(2))
    changed.clustering = ClusteringConfig(**changes)  # type: ignore[arg-type]
    for one in (learner, changed):
        one.label(epoch_of(300, 0))
    before, after = (one.label(epoch_of(300, 1, unit(300).numpy())) for one in (learner, changed))
    assert ("neighbour_recall" in after.facts) is matters
    assert matters or (np.array_equal(after.labels, before.labels) and after.facts == before.facts)
    read = IdlAcl.needs(IdlAclOptions()).settings
    assert all((f"clustering.{name}" in read) is matters for name in changes)
    assert IdlAcl.needs(IdlAclOptions(cluster_weight=0)).settings == ()


def test_instances_alone_need_no_features_and_merge_nothing() -> None:
    learner = method(cluster_weight=0, first_epochs=1)
    assert not any(learner.plan(epoch).embed for epoch in range(5))
    for epoch in range(3):
        assert learner.label(epoch_of(9, epoch)).num_clusters == 9
    assert IdlAcl.needs(learner.options).views == 2
    assert IdlAcl.needs(IdlAclOptions(instance_weight=0)).views == 1


def test_the_loss_is_its_two_terms_weighted_and_acl_sees_first_views() -> None:
    learner = method(instance_weight=0.5, cluster_weight=2.0, temperature=0.2, instance_form="symmetric")
    everything, first, second = unit(8), unit(3, 1), unit(3, 2)
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 2, 3])
    learner.start_epoch(epoch_of(8, 0, everything.numpy()), labels)
    views = features_of(first), features_of(second)
    batch = Batch(torch.tensor([0, 3, 7]), labels[[0, 3, 7]], None, 0, views)
    terms = learner.loss(batch)
    means = torch.stack([F.normalize(everything[labels == c].mean(0), dim=0) for c in range(4)])
    instance = instance_discrimination(first, second, 0.2, "symmetric")
    cluster = cluster_contrast(first, means, batch.labels, 0.2)
    assert terms["instance"].item() == pytest.approx(0.5 * instance.item())
    assert terms["cluster"].item() == pytest.approx(2 * cluster.item(), rel=1e-5)


def test_rows_of_the_memory_are_averaged_with_their_crops_and_outlive_the_epoch() -> None:
    learner = method()
    everything, embedding, labels = unit(4), unit(2, 1), torch.arange(4)
    learner.start_epoch(epoch_of(4, 0, everything.numpy()), labels)
    views = features_of(embedding), features_of(unit(2, 2))
    learner.after_step(Batch(torch.tensor([2, 0]), torch.tensor([2, 0]), None, 0, views))
    expected = everything.clone()
    for row, crop in ((2, 0), (0, 1)):
        expected[row] = F.normalize((everything[row] + embedding[crop]) / 2, dim=0)
    assert torch.allclose(learner.memory.centroids, expected, atol=1e-6)
    learner.start_epoch(epoch_of(4, 1), labels)
    assert torch.allclose(learner.memory.centroids, expected, atol=1e-6)


def test_proxies_from_zeros_are_those_of_bucs_public_code() -> None:
    learner = method(
        proxy_start="zeros", instance_weight=0, first_epochs=1, stage_epochs=1, merge_share=0.3, clusters=3
    )
    learner.dim = 6
    assert not learner.plan(0).embed
    crops = unit(10, 1)
    for epoch in range(3):
        features = crops.numpy() if learner.plan(epoch).embed else NOTHING
        data = epoch_of(10, epoch, features)
        labels = torch.from_numpy(learner.label(data).labels)
        learner.start_epoch(data, labels)
        slow = torch.zeros(int(labels.max()) + 1, 6)  # a new memory at each stage
        for step in range(4):
            rows = torch.randperm(10, generator=torch.Generator().manual_seed(10 * epoch + step))[:5]
            ours, theirs = (F.normalize(crops[rows] + 0.1 * step).requires_grad_() for _ in range(2))
            batch = Batch(rows, labels[rows], None, epoch, (features_of(ours),))
            terms = learner.loss(batch)
            scores = [[10 * (crop @ slow[c].clone()) for c in range(len(slow))] for crop in theirs]
            expected = -sum(
                score[y] - torch.stack(score).exp().sum().log() for score, y in zip(scores, labels[rows], strict=True)
            )
            assert terms["cluster"].item() == pytest.approx(expected.item() / 5, rel=1e-5)
            terms["cluster"].backward()
            (expected / 5).backward()
            torch.testing.assert_close(ours.grad, theirs.grad)
            learner.after_step(batch)
            for crop, y in zip(theirs.detach(), labels[rows].tolist(), strict=True):
                slow[y] = F.normalize((slow[y] + crop) / 2, dim=0)
            torch.testing.assert_close(learner.memory.centroids, slow)


@pytest.mark.parametrize("first", ["augmented", "plain"])
def test_the_first_view_is_augmented_or_the_crop_itself(
    first: str, painted: Path, tiny: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Tensor, list[Tensor]]] = []
    step = Learner.step

    def spy(self: Learner, batch: Batch, views: list[Tensor], *others: Any, **named: Any) -> dict[str, float]:
        seen.append((batch.indices, views))
        return step(self, batch, views, *others, **named)

    monkeypatch.setattr(Learner, "step", spy)
    table = read_crops(painted)
    settings = tiny | {"sampling.order": "crops", "epochs": 1, "method.first_view": first, "augmentation.flip": 1}
    pixels = open_pixel_cache(table.subset("train"), height=32, width=16, folder=tmp_path / "pixels")
    fit(build_config("idl_acl", None, settings), table, tmp_path / "run", cache=tmp_path / "pixels")
    assert len(seen) == 6
    encoder = Encoder(EncoderConfig(backbone="resnet18", weights="none", width_multiplier=0.125))
    for indices, (one, other) in seen:
        crops = encoder.preprocess(torch.from_numpy(pixels.images[indices.numpy()]))
        assert torch.equal(one, crops) == (first == "plain")
        assert not torch.equal(other, crops)


def test_the_default_augments_both_views_and_bottom_up_clustering_its_only_one() -> None:
    assert IdlAclOptions().first_view == "augmented"
    assert IdlAcl.needs(IdlAclOptions(first_view="plain")).plain_view
    assert not IdlAcl.needs(IdlAclOptions(first_view="plain", instance_weight=0)).plain_view


def test_a_checkpoint_brings_clusters_and_memory_back() -> None:
    learner = method(first_epochs=1, merge_share=0.3)
    first, second = (epoch_of(20, epoch, unit(20).numpy()) for epoch in (0, 1))
    learner.label(first)
    labels = learner.label(second).labels
    learner.start_epoch(second, torch.from_numpy(labels))
    again = method(first_epochs=1, merge_share=0.3)
    again.load_state_dict(learner.state_dict())
    assert again.label(epoch_of(20, 2)).labels.tolist() == labels.tolist()
    assert torch.equal(again.memory.centroids, learner.memory.centroids)


def test_both_losses_cannot_be_left_out() -> None:
    with pytest.raises(ResightError, match="Both losses are left out"):
        method(instance_weight=0, cluster_weight=0)


SCHEDULE = {
    "sampling.order": "crops",
    "sampling.clusters": 32,
    "sampling.crops": 1,
    "sampling.iterations": 0,
    "method.first_epochs": 2,
    "method.stage_epochs": 1,
    "method.merge_share": 0.2,
}


def test_training_beats_its_start_and_every_stage_can_be_had_again(
    paint_crops: Callable[..., Path], tiny: dict[str, object], tmp_path: Path
) -> None:
    crops = paint_crops(tmp_path / "crops", identities=60, cameras=3, shots=2)
    table = resight.read_crops(crops, train_identities=45)
    settings = tiny | SCHEDULE | {"epochs": 8, "evaluate_every": 8, "keep_every": 1}
    settings |= {"method.first_epochs": 4, "method.merge_share": 0.1, "optimizer.lr": 5e-3}
    settings |= {"encoder.attention": "cbam", "encoder.groups": 4, "encoder.embedding_dim": 64}
    model = resight.train("idl_acl", table, tmp_path / "run", settings=settings)
    assert model.run is not None
    start, *epochs = model.run.read_metrics()
    assert epochs[-1]["test_mAP"] > start["test_mAP"] + 0.1
    assert [record["clusters"] for record in epochs] == [270] * 4 + [243, 216, 189, 162]
    earlier = resight.load(tmp_path / "run", epoch=5)
    images = table.select(table.split == "query")
    assert not np.array_equal(earlier.embed(images), model.embed(images))
    assert np.array_equal(resight.load(tmp_path / "run", epoch=8).embed(images), model.embed(images))
    with pytest.raises(ResightError, match=r"epoch 12: kept are the epochs 1 to 8"):
        resight.load(tmp_path / "run", epoch=12)


def test_a_resumed_run_gives_the_same_numbers(
    stop_at: Callable[[str], Reporter], painted: Path, tiny: dict[str, object], tmp_path: Path
) -> None:
    table = resight.read_crops(painted)
    settings = tiny | SCHEDULE | {"epochs": 5}
    whole = resight.train("idl_acl", table, tmp_path / "whole", settings=settings)
    assert whole.run is not None

    with pytest.raises(KeyboardInterrupt):
        resight.train("idl_acl", table, tmp_path / "cut", settings=settings, reporter=stop_at("after epoch 3"))
    resumed = resight.train("idl_acl", table, tmp_path / "cut", settings=settings, resume=True)
    assert resumed.run is not None
    assert resumed.run.metrics_file.read_bytes() == whole.run.metrics_file.read_bytes()
    assert resumed.run.weights_file.read_bytes() == whole.run.weights_file.read_bytes()
