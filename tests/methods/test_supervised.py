from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import resight
from resight import ResightError
from resight.clustering.config import ClusteringConfig
from resight.crops import CropTable
from resight.encoders import Encoder, EncoderConfig, Features
from resight.losses import batch_hard_triplet
from resight.methods import Batch, Supervised
from resight.methods.supervised import SupervisedOptions


def method(**options: object) -> Supervised:
    encoder = Encoder(EncoderConfig(backbone="resnet18", weights="none", width_multiplier=0.125))
    return Supervised(SupervisedOptions(**options), ClusteringConfig(), encoder)  # type: ignore[arg-type]


def table_of(identity: list[int] | None) -> CropTable:
    size = 6 if identity is None else len(identity)
    return CropTable(
        paths=[f"{i}.png" for i in range(size)],
        root=Path("."),
        identity=None if identity is None else np.array(identity),
    )


def test_labels_are_the_people_and_junk_has_none() -> None:
    table = table_of([7, 3, 0, 7, -1, 9])
    learner = method()
    learner.prepare(table)
    labels = learner.label(np.empty((6, 0)), table, 0).labels
    assert labels.tolist() == [1, 0, -1, 1, -1, 2]
    assert learner.classifier is not None
    assert learner.classifier.out_features == 3


def test_the_loss_is_its_two_terms_weighted() -> None:
    learner = method(triplet_weight=2.0, softmax_weight=0.5, margin=None)
    learner.prepare(table_of([1, 1, 2, 2]))
    labels = torch.tensor([0, 0, 1, 1])
    neck = torch.randn(4, learner.dim)
    features = Features(F.normalize(neck), neck, torch.empty(0))
    terms = learner.loss(Batch(torch.arange(4), labels, None, 0), features)
    assert learner.classifier is not None
    softmax = F.cross_entropy(neck @ learner.classifier.weight.T, labels, label_smoothing=0.1)
    assert terms["triplet"].item() == pytest.approx(2 * batch_hard_triplet(features.embedding, labels, None).item())
    assert terms["softmax"].item() == pytest.approx(softmax.item() / 2)
    without = method(softmax_weight=0)
    without.prepare(table_of([1, 1, 2, 2]))
    assert without.classifier is None
    assert list(without.loss(Batch(torch.arange(4), labels, None, 0), features)) == ["triplet"]


def test_a_softmax_over_cosines() -> None:
    learner = method(triplet_weight=0, softmax_scale=8, label_smoothing=0)
    learner.prepare(table_of([1, 1, 2, 3]))
    labels = torch.tensor([0, 0, 1, 2])
    neck = 5 * torch.randn(4, learner.dim)
    features = Features(F.normalize(neck), neck, torch.empty(0))
    term = learner.loss(Batch(torch.arange(4), labels, None, 0), features)["softmax"]
    assert learner.classifier is not None
    cosine = F.cosine_similarity(neck[:, None], learner.classifier.weight[None], dim=2)
    assert term.item() == pytest.approx(-(8 * cosine).log_softmax(1)[torch.arange(4), labels].mean().item(), rel=1e-5)


@pytest.mark.parametrize("identity", [[5, 5, 5], [0, -1, 2]])
def test_one_person_is_too_few(identity: list[int]) -> None:
    with pytest.raises(ResightError, match="at least two people"):
        method().prepare(table_of(identity))


def test_crops_without_identities_are_refused_in_words(painted: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    table = resight.read_crops(painted).without_labels()
    with pytest.raises(ResightError, match=r"supervised needs .*identity"):
        resight.train("supervised", table, tmp_path / "run", settings=tiny)


def test_both_losses_cannot_be_left_out() -> None:
    with pytest.raises(ResightError, match="Both losses are left out"):
        method(triplet_weight=0, softmax_weight=0)


def test_training_beats_its_start_on_people_it_never_saw(
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
