from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import resight
from resight import ResightError
from resight.clustering.config import ClusteringConfig
from resight.crops import CropTable
from resight.encoders import Encoder, EncoderConfig, Features
from resight.losses import batch_hard_triplet
from resight.methods import Batch, EpochData, Supervised
from resight.methods.supervised import SupervisedOptions


def method(**options: object) -> Supervised:
    encoder = Encoder(EncoderConfig(backbone="resnet18", weights="none", width_multiplier=0.125))
    return Supervised(SupervisedOptions(**options), ClusteringConfig(), encoder)  # type: ignore[arg-type]


def data_of(identity: list[int]) -> EpochData:
    paths = [f"{i}.png" for i in range(len(identity))]
    return EpochData(CropTable(Path("."), paths, identity=np.array(identity)), torch.device("cpu"))


def batch_of(labels: Tensor, pre_norm: Tensor) -> Batch:
    view = Features(F.normalize(pre_norm), pre_norm, torch.empty(0))
    return Batch(torch.arange(4), labels, None, 0, (view,))


def test_labels_are_the_identities_and_junk_has_none() -> None:
    data = data_of([7, 3, 0, 7, -1, 9])
    learner = method()
    assert learner.needs(learner.options).identities
    assert not learner.plan(0).embed
    learner.setup(data)
    labels = learner.label(data).labels
    assert labels.tolist() == [1, 0, -1, 1, -1, 2]
    assert learner.classifier is not None
    assert learner.classifier.out_features == 3


def test_the_loss_is_its_two_terms_weighted() -> None:
    learner = method(triplet_weight=2.0, softmax_weight=0.5, margin=None)
    learner.setup(data_of([1, 1, 2, 2]))
    labels = torch.tensor([0, 0, 1, 1])
    pre_norm = torch.randn(4, learner.dim)
    batch = batch_of(labels, pre_norm)
    terms = learner.loss(batch)
    assert learner.classifier is not None
    softmax = F.cross_entropy(pre_norm @ learner.classifier.weight.T, labels, label_smoothing=0.1)
    assert terms["triplet"].item() == pytest.approx(2 * batch_hard_triplet(F.normalize(pre_norm), labels, None).item())
    assert terms["softmax"].item() == pytest.approx(softmax.item() / 2)
    without = method(softmax_weight=0)
    without.setup(data_of([1, 1, 2, 2]))
    assert without.classifier is None
    assert list(without.loss(batch)) == ["triplet"]


@pytest.mark.parametrize("feature", ["pooled", "pre_norm", "embedding"])
def test_the_triplet_loss_compares_the_feature_that_is_named(feature: str) -> None:
    learner = method(triplet_feature=feature, softmax_weight=0, margin=None)
    labels, pre_norm = torch.tensor([0, 0, 1, 1]), 3 * torch.randn(4, learner.dim)
    batch = batch_of(labels, pre_norm)
    batch.features.pooled = torch.randn(4, learner.dim)
    expected = {
        "pooled": batch_hard_triplet(batch.features.pooled, labels, None),
        "pre_norm": batch_hard_triplet(pre_norm, labels, None),
        "embedding": batch_hard_triplet(F.normalize(pre_norm), labels, None),
    }
    assert torch.equal(learner.loss(batch)["triplet"], expected[feature])
    assert len({value.item() for value in expected.values()}) == 3
    assert SupervisedOptions().triplet_feature == "embedding"


def test_a_softmax_over_cosines() -> None:
    learner = method(triplet_weight=0, softmax_scale=8, label_smoothing=0)
    learner.setup(data_of([1, 1, 2, 3]))
    labels = torch.tensor([0, 0, 1, 2])
    pre_norm = 5 * torch.randn(4, learner.dim)
    term = learner.loss(batch_of(labels, pre_norm))["softmax"]
    assert learner.classifier is not None
    cosine = F.cosine_similarity(pre_norm[:, None], learner.classifier.weight[None], dim=2)
    assert term.item() == pytest.approx(-(8 * cosine).log_softmax(1)[torch.arange(4), labels].mean().item(), rel=1e-5)


@pytest.mark.parametrize("identity", [[5, 5, 5], [0, -1, 2]])
def test_one_identity_is_too_few(identity: list[int]) -> None:
    with pytest.raises(ResightError, match=r"at least two identities; .* show 1"):
        method().setup(data_of(identity))


def test_crops_without_identities_are_refused_in_words(painted: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    table = resight.read_crops(painted).without_labels()
    with pytest.raises(ResightError, match=r"supervised needs .*identity"):
        resight.train("supervised", table, tmp_path / "run", settings=tiny)


def test_both_losses_cannot_be_left_out() -> None:
    with pytest.raises(ResightError, match="Both losses are left out"):
        method(triplet_weight=0, softmax_weight=0)


def test_training_beats_its_start_on_identities_it_never_saw(
    paint_crops: Callable[..., Path], tiny: dict[str, object], tmp_path: Path
) -> None:
    settings = tiny | {"epochs": 6, "evaluate_every": 6, "sampling.iterations": 15, "optimizer.schedule": "cosine"}
    settings |= {"optimizer.lr": 2e-3, "sampling.clusters": 8}
    crops = paint_crops(tmp_path / "crops", identities=60, cameras=3, shots=2, cast=0.6, noise=25)
    table = resight.read_crops(crops, train_identities=45)
    model = resight.train("supervised", table, tmp_path / "run", settings=settings)
    assert model.run is not None
    start, *_, end = model.run.read_metrics()
    assert end["test_mAP"] > start["test_mAP"] + 0.05
    assert "ari" not in end
    assert model.run.facts()["identity_use_in_training"] is True
    assert not any("classifier" in name for name in model.encoder.state_dict())
