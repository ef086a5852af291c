from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import resight
from resight import ResightError
from resight.clustering import cluster_crops, cross_agreement, nearest_neighbours
from resight.clustering.config import ClusteringConfig
from resight.crops import CropTable, read_crops
from resight.encoders import Encoder, EncoderConfig, Features
from resight.losses import (
    CameraForm,
    agreement_aware_smoothing,
    batch_hard_triplet,
    camera_contrast,
    part_guided_refinement,
)
from resight.methods import Batch, EpochData, Pplr
from resight.methods import pplr as module
from resight.methods.pplr import PplrOptions
from resight.training.config import build_config
from resight.training.loop import fit
from resight.training.reporting import Reporter
from resight.training.run import RunFolder

DIM = 64  # of a ResNet-18 at an eighth of its width
LABELS = torch.tensor([0, 0, 1, 1, 2, 2, -1, 0])
CAMERA = torch.tensor([1, 2, 1, 2, 1, 1, 2, 3])
CLUSTERING = ClusteringConfig(k1=10, k2=3, eps=0.7)


def method(parts: int = 2, clustering: ClusteringConfig = CLUSTERING, **options: object) -> Pplr:
    encoder = Encoder(EncoderConfig(backbone="resnet18", weights="none", width_multiplier=0.125, parts=parts))
    return Pplr(PplrOptions(**options), clustering, encoder)  # type: ignore[arg-type]


def unit(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def features_of(rows: int, parts: int = 2, seed: int = 1) -> Features:
    pre_norms = torch.randn(rows, 1 + parts, DIM, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    embeddings = F.normalize(pre_norms, dim=2)
    return Features(embeddings[:, 0], pre_norms[:, 0], torch.empty(0), embeddings[:, 1:], pre_norms[:, 1:])


def batch_of(rows: list[int], features: Features, epoch: int = 9) -> Batch:
    index = torch.tensor(rows)
    return Batch(index, LABELS[index], CAMERA[index], epoch, (features,))


def epoch_of(features: np.ndarray, camera: np.ndarray | None = None) -> EpochData:
    table = CropTable(paths=[f"{i}.png" for i in range(len(features))], root=Path("."), camera=camera)
    return EpochData(table, torch.device("cpu"), features=features)


def started(agreement: Tensor | None = None, **options: object) -> Pplr:
    learner = method(**options)
    learner.start_epoch(epoch_of(unit(8, 3, DIM).numpy(), CAMERA.numpy()), LABELS)
    learner.agreement = torch.rand(8, 2, generator=torch.Generator().manual_seed(4)) if agreement is None else agreement
    return learner


def crowd(size: int = 120) -> np.ndarray:
    """Features of people and their parts, the second of which sees little of them."""
    rng = np.random.default_rng(0)
    people = rng.normal(size=(size // 12, 8)).repeat(12, axis=0)
    spaces = [people + scale * rng.normal(size=people.shape) for scale in (0.4, 0.5, 2.0)]
    return np.stack(spaces, axis=1).astype(np.float32)


def test_labels_are_those_of_the_whole_and_the_agreement_that_of_all_spaces() -> None:
    features = crowd()
    found = method().label(epoch_of(features))
    expected = cluster_crops(features[:, 0], k1=10, k2=3, eps=0.7)
    assert found.labels.tolist() == expected.labels.tolist()
    lists = [nearest_neighbours(features[:, n], 21).indices for n in range(3)]
    agreement = cross_agreement(lists[0], lists[1:])
    assert np.array_equal(found.kept["agreement"], agreement)
    assert found.facts == pytest.approx({"agreement_1": agreement[:, 0].mean(), "agreement_2": agreement[:, 1].mean()})
    assert found.facts["agreement_1"] > found.facts["agreement_2"] + 0.1
    assert found.sentences == (f"agreement {found.facts['agreement_1']:.2f} {found.facts['agreement_2']:.2f}",)


@pytest.mark.parametrize("k1", [10, 30])
@pytest.mark.parametrize("agreement_k", [5, 20, 40])
@pytest.mark.parametrize("refine", ["none", "both"])
def test_one_search_of_the_whole_gives_what_a_search_for_each_purpose_gives(
    k1: int, agreement_k: int, refine: str
) -> None:
    """Whichever of the two purposes needs the longer lists."""
    clustering, features = ClusteringConfig(k1=k1, k2=3, eps=0.7), crowd()
    learner = method(clustering=clustering, refine=refine, agreement_k=agreement_k)
    found = learner.label(epoch_of(features))
    assert np.array_equal(found.labels, cluster_crops(features[:, 0], k1=k1, k2=3, eps=0.7).labels)
    if refine == "none":
        assert not found.kept
        assert not found.facts
        return
    whole, *parts = (nearest_neighbours(features[:, n], agreement_k + 1).indices for n in range(3))
    assert np.array_equal(found.kept["agreement"], cross_agreement(whole, parts, agreement_k))
    assert torch.equal(learner.agreement, torch.from_numpy(found.kept["agreement"]))


def test_centring_on_cameras_reaches_every_space() -> None:
    features, camera = crowd(), np.arange(120) % 2
    shifted = features + 3 * camera[:, None, None].astype(np.float32)
    clustering = ClusteringConfig(k1=10, k2=3, eps=0.7, centre_cameras=True)
    found = method(clustering=clustering).label(epoch_of(shifted, camera))
    blind = method().label(epoch_of(shifted, camera))
    assert found.num_clusters != blind.num_clusters
    assert (found.kept["agreement"] != blind.kept["agreement"]).any()


@pytest.mark.parametrize("rows", [None, 5])
def test_rows_of_each_classifier_are_the_means_of_its_own_space(rows: int | None) -> None:
    features = unit(8, 3, DIM)
    learner = method(classifier_rows=rows)
    before = learner.classifiers
    learner.start_epoch(epoch_of(features.numpy()), LABELS)
    for space in range(3):
        for cluster in range(3):
            expected = F.normalize(features[LABELS.eq(cluster), space].mean(0), dim=0)
            torch.testing.assert_close(learner.classifiers[space, cluster].detach(), expected)
    assert learner.classifiers.shape == (3, rows or 3, DIM)
    assert (learner.classifiers is before) is (rows is not None)
    assert learner.classifiers.requires_grad


def test_more_clusters_than_rows_is_a_sentence() -> None:
    with pytest.raises(ResightError, match=r"3 clusters, but .*classifier_rows=2"):
        method(classifier_rows=2).start_epoch(epoch_of(unit(8, 3, DIM).numpy()), LABELS)


@pytest.mark.parametrize("refine", ["none", "pglr", "aals", "both"])
@pytest.mark.parametrize("rows", [None, 3000])
def test_the_terms_are_those_of_the_classifiers_predictions(refine: str, rows: int | None) -> None:
    weights = {"global_weight": 0.5, "part_weight": 2.0, "triplet_weight": 3.0}
    learner = started(refine=refine, beta=0.3, classifier_rows=rows, **weights)
    features = features_of(4)
    batch = batch_of([0, 1, 2, 4], features)
    terms = learner.loss(batch)
    assert features.part_pre_norms is not None
    own = learner.classifiers[:, :3]
    whole = features.pre_norm @ own[0].T
    parts = torch.stack([features.part_pre_norms[:, n] @ own[1 + n].T for n in range(2)], dim=1)
    agreement = learner.agreement[batch.indices]
    expected = {
        "global": 0.5 * F.cross_entropy(whole, batch.labels),
        "parts": 2 * (F.cross_entropy(parts[:, 0], batch.labels) + F.cross_entropy(parts[:, 1], batch.labels)) / 2,
        "triplet": 3 * batch_hard_triplet(features.pre_norm, batch.labels, None),
    }
    if refine in ("pglr", "both"):
        expected["global"] = 0.5 * part_guided_refinement(whole, parts, batch.labels, agreement, 0.3)
    if refine in ("aals", "both"):
        expected["parts"] = 2 * agreement_aware_smoothing(parts, batch.labels, agreement)
    assert list(terms) == list(expected)
    for name, term in terms.items():
        torch.testing.assert_close(term, expected[name])


@pytest.mark.parametrize("refine", ["none", "both"])
def test_the_logit_scale_is_a_factor_on_the_logits_of_all_classifiers(refine: str) -> None:
    plain, scaled = started(refine=refine), started(refine=refine, logit_scale=2.5)
    larger = started(refine=refine)
    larger.classifiers.data *= 2.5
    batches = [batch_of([0, 1, 2, 4], features_of(4)) for _ in range(3)]
    found = [one.loss(batch) for one, batch in zip((plain, scaled, larger), batches, strict=True)]
    for name in ("global", "parts"):
        torch.testing.assert_close(found[1][name], found[2][name])
        assert not torch.allclose(found[0][name], found[1][name])
    assert torch.equal(found[0]["triplet"], found[1]["triplet"])


def test_with_few_dimensions_a_scale_keeps_the_predictions_as_sure_as_with_the_papers_2048() -> None:
    def own_probability(dim: int, scale: float = 1.0) -> float:
        generator = torch.Generator().manual_seed(0)
        centres = torch.randn(500, dim, generator=generator)
        crops = (centres + 2.3 * torch.randn(500, dim, generator=generator)) / (1 + 2.3**2) ** 0.5  # BN output
        logits = scale * crops @ F.normalize(centres).T
        return logits.softmax(1).diagonal().mean().item()

    assert own_probability(2048) > 0.9
    assert own_probability(256) < 0.5
    assert own_probability(256, (2048 / 256) ** 0.5) == pytest.approx(own_probability(2048), abs=0.1)


@pytest.mark.parametrize("feature", ["pooled", "pre_norm", "embedding"])
def test_the_triplet_loss_compares_the_feature_that_is_named(
    feature: Literal["pooled", "pre_norm", "embedding"],
) -> None:
    features = features_of(4)
    features.pooled = torch.randn(4, DIM)
    term = started(triplet_feature=feature).loss(batch_of([0, 1, 2, 4], features))["triplet"]
    expected = {
        "pooled": batch_hard_triplet(features.pooled, LABELS[[0, 1, 2, 4]], None),
        "pre_norm": batch_hard_triplet(features.pre_norm, LABELS[[0, 1, 2, 4]], None),
        "embedding": batch_hard_triplet(features.embedding, LABELS[[0, 1, 2, 4]], None),
    }
    assert torch.equal(term, expected[feature])
    assert len({value.item() for value in expected.values()}) == 3
    assert PplrOptions().triplet_feature == "pre_norm"


def test_label_smoothing_stands_in_for_aals_in_the_first_epochs() -> None:
    learner, features = started(warmup_epochs=5, warmup_smoothing=0.1), features_of(4)
    assert features.part_pre_norms is not None
    rows = [0, 1, 2, 4]
    parts = torch.einsum("bsd,scd->bsc", features.part_pre_norms, learner.classifiers[1:])
    labels = LABELS[rows]
    smoothed = sum(F.cross_entropy(parts[:, n], labels, label_smoothing=0.1) for n in range(2)) / 2
    refined = agreement_aware_smoothing(parts, labels, learner.agreement[rows])
    for epoch, expected in ((0, smoothed), (4, smoothed), (5, refined)):
        torch.testing.assert_close(learner.loss(batch_of(rows, features, epoch))["parts"], expected)
    hard = started(refine="pglr").loss(batch_of(rows, features, 0))["parts"]
    torch.testing.assert_close(hard, sum(F.cross_entropy(parts[:, n], labels) for n in range(2)) / 2)


def test_with_beta_1_and_full_agreement_the_loss_is_the_baselines_to_the_bit() -> None:
    ours, theirs = (batch_of([0, 1, 2, 4], features_of(4)) for _ in range(2))
    refined = started(torch.ones(8, 2), beta=1.0).loss(ours)
    plain = started(refine="none").loss(theirs)
    assert list(refined) == list(plain)
    for name in plain:
        assert torch.equal(refined[name], plain[name]), name


def test_terms_of_no_weight_are_left_out_but_not_all() -> None:
    learner = started(global_weight=0, triplet_weight=0)
    assert list(learner.loss(batch_of([0, 1, 2, 4], features_of(4)))) == ["parts"]
    with pytest.raises(ResightError, match="All losses are left out"):
        method(global_weight=0, part_weight=0, triplet_weight=0)


@pytest.mark.parametrize("form", ["joint", "separate"])
def test_the_camera_term_is_the_crops_and_the_mean_of_the_parts_and_declared(form: CameraForm) -> None:
    features, terms = features_of(4), {}
    batch = batch_of([0, 1, 2, 4], features)
    everything = unit(8, 3, DIM)
    for weight in (0.0, 0.5, 1.0):
        learner = started(camera_weight=weight, camera_form=form)
        terms[weight] = learner.loss(batch)
        assert learner.needs(learner.options).cameras == (("method.camera_weight",) if weight else ())
    assert "camera" not in terms[0.0]
    assert features.parts is not None
    pairs = [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (2, 1)]
    values = []
    for n, space in enumerate([features.embedding, *features.parts.unbind(1)]):
        means = [everything[LABELS.eq(b) & CAMERA.eq(a), n].mean(0) for b, a in pairs]
        proxies = F.normalize(torch.stack(means), dim=1)
        cluster, camera = torch.tensor(pairs).unbind(1)
        values.append(camera_contrast(space, batch.labels, batch.camera, proxies, cluster, camera, form=form))
    expected = values[0] + (values[1] + values[2]) / 2
    torch.testing.assert_close(terms[1.0]["camera"], expected)
    torch.testing.assert_close(terms[0.5]["camera"], expected / 2)


def test_an_encoder_without_parts_is_a_sentence() -> None:
    with pytest.raises(ResightError, match=r"set encoder\.parts=3"):
        method(parts=0)


def parameters(*modules: torch.nn.Module) -> int:
    return sum(p.numel() for one in modules for p in one.parameters() if p.requires_grad)


def test_parameters_are_those_of_the_papers_table_1() -> None:
    """29.668 M, of the supplement, counts what is trained and classifiers of Market-1501's 751 people.

    That is neither the public code's 3000 rows (48.092 M) nor the clusters of an epoch.
    """
    config = build_config("pplr", "market1501", ["encoder.weights=none"])
    encoder = Encoder(config.encoder)
    for rows, millions in ((751, 29.668), (3000, 48.092)):
        options = PplrOptions(classifier_rows=rows)
        learner = Pplr(options, config.clustering, encoder)
        assert round(parameters(encoder, learner) / 1e6, 3) == millions
    # classifiers sized to an epoch's clusters
    learner = Pplr(PplrOptions(), config.clustering, encoder)
    learner.start_epoch(epoch_of(np.random.default_rng(0).random((751, 4, 2048), np.float32)), torch.arange(751))
    assert round(parameters(encoder, learner) / 1e6, 3) == 29.668


TINY = {"encoder.height": 64, "encoder.parts": 2, "method.agreement_k": 8, "method.warmup_epochs": 1}


def run_to_end(table: CropTable, settings: dict[str, object], out: Path, **options: object) -> RunFolder:
    return fit(build_config("pplr", "default", settings), table, out, **options)  # type: ignore[arg-type]


def test_training_beats_its_start_and_keeps_the_agreement(
    paint_crops: Callable[..., Path], tiny: dict[str, object], tmp_path: Path
) -> None:
    table = read_crops(paint_crops(tmp_path / "crops", identities=32, shots=5, noise=40), train_identities=16)
    settings = tiny | TINY | {"epochs": 8, "evaluate_every": 8, "sampling.iterations": 12, "optimizer.lr": 1e-3}
    model = resight.train("pplr", table, tmp_path / "run", settings=settings)
    assert model.run is not None
    start, *epochs = model.run.read_metrics()
    assert epochs[-1]["test_mAP"] > start["test_mAP"] + 0.03
    for number in (1, 8):
        kept = np.load(model.run.path / f"agreement/{number:04d}.npz")["agreement"]
        assert kept.shape == (160, 2)
        assert kept.mean(axis=0) == pytest.approx([epochs[number - 1][f"agreement_{n}"] for n in (1, 2)], rel=1e-5)
    assert model.run.read_data()["camera_use"] == []
    assert model.embed(table, parts=True).shape == (len(table), 3, model.dim)


def test_the_whole_run_with_beta_1_and_full_agreement_is_the_baselines(
    painted: Path, tiny: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny | TINY | {"method.warmup_epochs": 0, "epochs": 2}
    plain = run_to_end(read_crops(painted), settings | {"method.refine": "none"}, tmp_path / "plain")
    monkeypatch.setattr(module, "cross_agreement", lambda whole, parts, k: np.ones((len(whole), len(parts)), "f4"))
    refined = run_to_end(read_crops(painted), settings | {"method.beta": 1.0}, tmp_path / "refined")
    assert refined.weights_file.read_bytes() == plain.weights_file.read_bytes()
    for ours, theirs in zip(refined.read_metrics(), plain.read_metrics(), strict=True):
        assert {name: value for name, value in ours.items() if "agreement" not in name} == theirs


@pytest.mark.parametrize(("stop", "rows"), [("after epoch 2", 40), ("in epoch 3", None)])
def test_a_resumed_run_gives_the_same_numbers(
    stop: str,
    stop_at: Callable[[str], Reporter],
    rows: int | None,
    painted: Path,
    tiny: dict[str, object],
    tmp_path: Path,
) -> None:
    settings = tiny | TINY | {"epochs": 3, "method.classifier_rows": rows, "method.camera_weight": 0.5}
    table = read_crops(painted)
    whole = run_to_end(table, settings, tmp_path / "whole")

    with pytest.raises(KeyboardInterrupt):
        run_to_end(table, settings, tmp_path / "cut", reporter=stop_at(stop))
    resumed = run_to_end(table, settings, tmp_path / "cut", resume=True)
    for name in ("metrics_file", "weights_file"):
        assert getattr(resumed, name).read_bytes() == getattr(whole, name).read_bytes()
    for epoch in (1, 2, 3):
        ours, theirs = (np.load(run.path / f"agreement/{epoch:04d}.npz")["agreement"] for run in (resumed, whole))
        assert np.array_equal(ours, theirs)
    ours, theirs = (torch.load(run.checkpoint_file, weights_only=True) for run in (resumed, whole))
    for name, tensor in theirs["trained"].items():
        assert torch.equal(ours["trained"][name], tensor), name
    clusters = whole.read_metrics()[-1]["clusters"]
    assert theirs["trained"]["method.classifiers"].shape == (3, rows or clusters, 128)
    states = [state["optimizer"]["state"] for state in (ours, theirs)]
    for key, values in states[1].items():
        for name, value in values.items():
            assert torch.equal(states[0][key][name], value), (key, name)
    # all have taken every step, but for classifiers made anew
    steps = sorted(int(values["step"]) for values in states[1].values())
    assert steps == ([18] * len(steps) if rows else [6] + [18] * (len(steps) - 1))
