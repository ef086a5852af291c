from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import resight
from resight import ResightError
from resight.clustering.config import ClusteringConfig
from resight.crops import CropTable, read_crops
from resight.crops.cache import open_pixel_cache
from resight.encoders import Encoder, EncoderConfig, Features
from resight.losses import (
    agent_learning,
    agreement_quantile,
    cross_view_consistency,
    joint_embedding,
    multilabel_discriminative,
    pair_agreement,
)
from resight.methods import Batch, EpochData, Mar
from resight.methods.mar import MarOptions
from resight.model import Model
from resight.training.config import build_config
from resight.training.learner import Learner
from resight.training.loop import fit
from resight.training.reporting import Reporter
from resight.training.run import RunFolder

#: Of a target crop each, and of a source crop each.
CAMERA, LABELS = torch.tensor([2, 7, 2, 2, 7, 7]), torch.tensor([1, 0, 1, 2])


def method(**options: Any) -> Mar:
    encoder = Encoder(EncoderConfig(backbone="resnet18", weights="none", width_multiplier=0.125))
    return Mar(MarOptions(**options), ClusteringConfig(), encoder)


def unit(rows: int, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(rows, 64, generator=torch.Generator().manual_seed(seed)))


def started(**options: Any) -> Mar:
    learner = method(**options)
    table = CropTable(paths=[f"{i}.png" for i in range(6)], root=Path("."), camera=CAMERA.numpy())
    data = EpochData(
        table,
        torch.device("cpu"),
        LABELS.numpy(),
        ("ann", "bob", "eve"),
        features=unit(6, 2).numpy(),
        source_features=unit(4, 1).numpy(),
    )
    learner.setup(data)
    learner.start_epoch(data, torch.arange(6))
    return learner


def features_of(embedding: Tensor) -> Features:
    return Features(embedding, embedding, torch.empty(0))


def batch_of(epoch: int, seed: int = 3) -> Batch:
    """Four target crops and two of the source."""
    indices = torch.tensor([4, 0, 5, 2])
    target, source = unit(6, seed).split([4, 2])
    views = (features_of(target.clone().requires_grad_()),)
    source_features = features_of(source.clone().requires_grad_())
    return Batch(indices, indices, CAMERA[indices], epoch, views, source_features, LABELS[:2])


def test_agents_start_as_the_means_of_their_people() -> None:
    features = unit(4, 1)
    expected = F.normalize(torch.stack([features[1], (features[0] + features[2]) / 2, features[3]]))
    learner = started()
    assert torch.allclose(learner.unit_agents, expected, atol=1e-6)
    assert [name for name, _ in learner.named_parameters()] == ["agents"]
    assert torch.equal(learner.extension().agents, learner.unit_agents)


def test_threshold_statistics_and_memory_start_from_all_crops() -> None:
    learner = started(mining_ratio=0.2)
    logs = (30 * unit(6, 2) @ learner.unit_agents.T).log_softmax(1).detach()
    # as many crops are drawn as there are, so all 15 pairs: the third highest agreement
    y = logs.exp()
    agreements = sorted(1 - (y[i] - y[j]).abs().sum().item() / 2 for i in range(6) for j in range(i))
    assert learner.threshold.item() == pytest.approx(agreements[-3], abs=1e-5)
    means = torch.stack([logs[number == CAMERA].mean(0) for number in (2, 7)]).mean(0)
    stds = torch.stack([logs[number == CAMERA].std(0) for number in (2, 7)]).mean(0)
    assert torch.allclose(learner.statistics.mean, means, atol=1e-4)
    assert torch.allclose(learner.statistics.std, stds, atol=1e-4)
    assert learner.memory.values.shape == (6, 3)
    assert not learner.memory.known.any()


def test_the_loss_is_its_four_terms_weighted_and_what_it_saw_is_kept_after_the_step() -> None:
    options = {"beta": 0.3, "agent_weight": 7.0, "consistency_weight": 0.1, "discriminative_weight": 2.0}
    learner = started(**options, mining_ratio=0.4, statistics_rate=0.5)
    agents, threshold = learner.unit_agents.detach(), learner.threshold.clone()
    start = learner.statistics.mean.clone(), learner.statistics.std.clone()
    memory = torch.zeros(6, 3)
    for turn in range(2):
        batch = batch_of(1, 3 + turn)
        assert batch.source is not None
        target, source = batch.features.embedding, batch.source.embedding
        terms = learner.loss(batch)
        assert list(terms) == ["agents", "joint", "consistency", "discriminative"]
        learned = agent_learning(source, agents, LABELS[:2])
        assert terms["agents"].item() == pytest.approx(7 * learned.item(), rel=1e-4)
        joint = joint_embedding(source, LABELS[:2], target, agents)
        assert terms["joint"].item() == pytest.approx(7 * 0.3 * joint.item(), rel=1e-4)
        logs = (30 * target @ agents.T).log_softmax(1).detach()
        camera = (CAMERA[batch.indices] == 7).long()
        by_camera = torch.stack([logs[camera == number] for number in (0, 1)])
        new = by_camera.mean(1).mean(0), by_camera.std(1).mean(0)
        start = tuple((old + found) / 2 for old, found in zip(start, new, strict=True))
        consistency = cross_view_consistency(logs, camera, 2, *start)
        assert terms["consistency"].item() == pytest.approx(0.1 * consistency.item(), rel=1e-3)
        memory[batch.indices] = logs.exp() if turn == 0 else 0.9 * memory[batch.indices] + 0.1 * logs.exp()
        agreement = pair_agreement(memory[batch.indices])
        loss = multilabel_discriminative(target, agreement, threshold, 0.4)
        assert terms["discriminative"].item() == pytest.approx(2 * loss.item(), rel=1e-3)
        assert torch.equal(learner.threshold, threshold)  # kept only after the step
        learner.after_step(batch)
        threshold = 0.9 * threshold + 0.1 * agreement_quantile(agreement, 0.4)
        assert learner.threshold.item() == pytest.approx(threshold.item(), abs=1e-3)
        threshold = learner.threshold.clone()
        assert torch.allclose(learner.statistics.mean, start[0], atol=1e-3)
        assert torch.allclose(learner.memory.values.float(), memory, atol=2e-3)
    assert learner.memory.known.tolist() == [True, False, True, False, True, True]


@pytest.mark.parametrize(
    ("options", "epoch", "terms"),
    [
        ({}, 0, ["agents", "joint", "consistency"]),
        ({"first_epochs": 0}, 0, ["agents", "joint", "consistency", "discriminative"]),
        ({"beta": 0}, 1, ["agents", "consistency", "discriminative"]),
        ({"consistency_weight": 0}, 1, ["agents", "joint", "discriminative"]),
        ({"discriminative_weight": 0}, 1, ["agents", "joint", "consistency"]),
        ({"beta": 0, "consistency_weight": 0, "discriminative_weight": 0}, 1, ["agents"]),
    ],
)
def test_each_loss_can_be_left_out(options: dict[str, Any], epoch: int, terms: list[str]) -> None:
    learner, batch = started(**options), batch_of(epoch)
    assert list(learner.loss(batch)) == terms
    learner.after_step(batch)
    assert learner.memory.known.any() == ("discriminative" in terms)
    assert (len(learner.memory.values) > 0) == bool(options.get("discriminative_weight", 1))
    cameras = learner.needs(learner.options).cameras
    assert cameras == (("method.consistency_weight",) if "consistency" in terms else ())


def test_only_agent_learning_moves_the_agents() -> None:
    learner = started()
    terms = learner.loss(batch_of(1))
    for name, term in terms.items():
        learner.zero_grad()
        term.backward(retain_graph=True)
        moved = learner.agents.grad is not None and bool(learner.agents.grad.any())
        assert moved == (name == "agents"), name


def test_a_step_looks_at_no_value_so_a_gpu_need_not_be_waited_for() -> None:
    learner, batch = started(), batch_of(1)
    assert batch.source is not None
    agents, sides = learner.agents.detach(), (batch.features, batch.source)
    embeddings = [features.embedding.detach() for features in sides]
    with FakeTensorMode(allow_non_fake_inputs=False) as mode:
        names = [(m, n) for m in (learner, learner.memory, learner.statistics) for n in m._buffers]
        for module, name in names:
            setattr(module, name, mode.from_tensor(module._buffers[name]))
        learner._parameters["agents"] = mode.from_tensor(agents)  # type: ignore[assignment]
        for name in ("indices", "camera", "source_labels"):
            setattr(batch, name, mode.from_tensor(getattr(batch, name)))
        for features, embedding in zip(sides, embeddings, strict=True):
            features.embedding = mode.from_tensor(embedding).requires_grad_()
        torch.stack(list(learner.loss(batch).values())).sum().backward()
        learner.after_step(batch)


RUN = {
    "sampling.clusters": 16,
    "sampling.crops": 1,
    "sampling.source_crops": 12,
    "sampling.source_apart": True,
    "sampling.iterations": 4,
    "encoder.freeze_norms": False,
    "optimizer.lr": 1e-3,
    "evaluate_every": 0,
    "epochs": 3,
}


@pytest.fixture(scope="module")
def reference(paint_crops: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled crops of 20 other people, in other light."""
    folder = tmp_path_factory.mktemp("reference") / "crops"
    return paint_crops(folder, identities=20, cameras=3, shots=2, cast=0.5, noise=30)


def run_to_end(table: CropTable, settings: dict[str, object], out: Path, **options: Any) -> RunFolder:
    return fit(build_config("mar", "default", settings), table, out, **options)


@pytest.fixture(scope="module")
def whole(
    painted: Path, reference: Path, tiny: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    out = tmp_path_factory.mktemp("mar") / "whole"
    return run_to_end(read_crops(painted), tiny | RUN, out, source=read_crops(reference))


def test_training_beats_its_start(
    paint_crops: Callable[..., Path], reference: Path, tiny: dict[str, object], tmp_path: Path
) -> None:
    table = read_crops(paint_crops(tmp_path / "crops", identities=32, shots=5, noise=40), train_identities=16)
    settings = tiny | RUN | {"epochs": 4, "evaluate_every": 4, "sampling.iterations": 12}
    model = resight.train("mar", table, tmp_path / "run", source=reference, settings=settings)
    assert model.run is not None
    start, *epochs = model.run.read_metrics()
    assert epochs[-1]["test_mAP"] > start["test_mAP"] + 0.1
    assert ["discriminative" in record for record in epochs] == [False, True, True, True]
    assert not any("ari" in record or "clusters" in record for record in epochs)
    facts = json.loads(model.run.evaluation_file.read_text())
    assert facts["camera_use_in_training"] == ["method.consistency_weight"]
    assert facts["identity_use_in_training"] is False
    assert facts["source_in_training"] == {"root": str(reference), "crops": 120, "people": 20}
    # crops of the source are most like their own agent, far more often than the 1 in 20 of chance
    source = read_crops(reference)
    assert source.identity is not None
    found = model.extension.describe(model.embed(source), 1)[0][:, 0]
    assert (found == source.identity.astype(str)).mean() > 0.2


def test_a_run_keeps_agents_names_and_the_size_of_its_memory(whole: RunFolder, painted: Path, reference: Path) -> None:
    source = whole.read_data()["source"]
    assert source["people"] == [str(n) for n in range(1, 21)]
    assert source["crops"] == 120
    assert whole.read_metrics()[-1]["multilabel_mb"] == pytest.approx(96 * 20 * 2e-6)
    assert whole.read_metrics()[-1]["reference_persons"] == 20
    assert not (whole.path / "labels").exists()
    model = resight.load(whole.path)
    assert model.extension.names == tuple(source["people"])
    features = model.embed(read_crops(reference))
    multilabels = model.extension.multilabels(features)
    assert multilabels.shape == (120, 20)
    assert np.allclose(multilabels.sum(1), 1, atol=1e-5)
    state = torch.load(whole.checkpoint_file, weights_only=True)["trained"]
    cosine = features @ F.normalize(state["method.agents"]).numpy().T
    expected = np.exp(30 * cosine) / np.exp(30 * cosine).sum(1, keepdims=True)
    assert np.allclose(multilabels, expected, atol=1e-4)
    names, shares = model.extension.describe(features, 3)
    assert names.tolist() == (np.argsort(-multilabels, axis=1)[:, :3] + 1).astype(str).tolist()
    assert np.allclose(shares, -np.sort(-multilabels, axis=1)[:, :3])
    assert model.extension.describe(features[:2], 50)[0].shape == (2, 20)
    assert model.extension.describe(features[:0])[0].shape == (0, 5)


def test_labels_of_the_target_never_reach_training(
    whole: RunFolder, painted: Path, reference: Path, tiny: dict[str, object], tmp_path: Path
) -> None:
    """And where the memory lies changes nothing."""
    settings = tiny | RUN | {"method.memory_gb": 0}
    without = run_to_end(read_crops(painted).without_labels(), settings, tmp_path / "a", source=read_crops(reference))
    assert without.weights_file.read_bytes() == whole.weights_file.read_bytes()
    assert without.metrics_file.read_bytes() == whole.metrics_file.read_bytes()


@pytest.mark.parametrize(("stop", "memory_gb"), [("after epoch 1", 0.0), ("in epoch 3", 1.0)])
def test_a_resumed_run_gives_the_same_numbers(
    stop: str,
    stop_at: Callable[[str], Reporter],
    memory_gb: float,
    whole: RunFolder,
    painted: Path,
    reference: Path,
    tiny: dict[str, object],
    tmp_path: Path,
) -> None:
    settings = tiny | RUN | {"method.memory_gb": memory_gb}
    data, out, source = read_crops(painted), tmp_path / "cut", read_crops(reference)
    with pytest.raises(KeyboardInterrupt):
        run_to_end(data, settings, out, source=source, reporter=stop_at(stop))
    resumed = run_to_end(data, settings, out, source=source, resume=True)
    for name in ("metrics_file", "weights_file"):
        assert getattr(resumed, name).read_bytes() == getattr(whole, name).read_bytes()
    ours, theirs = (torch.load(run.checkpoint_file, weights_only=True)["trained"] for run in (resumed, whole))
    assert theirs["method.memory.known"].any()
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name


def test_a_run_is_of_its_source(whole: RunFolder, painted: Path, reference: Path, tiny: dict[str, object]) -> None:
    data, source = read_crops(painted), read_crops(reference)
    assert source.identity is not None
    relabelled = CropTable(source.root, source.paths, identity=np.roll(source.identity, 1))
    for other in (relabelled, source.select(np.arange(60))):
        with pytest.raises(ResightError, match="trained with another source"):
            run_to_end(data, tiny | RUN, whole.path, source=other, resume=True)


#: An encoder of which the backbone is not all that is trained.
WITH_HEAD = {
    "encoder.attention": "voxel",
    "encoder.voxel_units": 8,
    "encoder.last_relu": True,
    "encoder.pooling": "gem",
    "encoder.embedding_dim": 24,
    "encoder.neck": True,
}
PARTS = ("backbone.", "attention.", "pooling.", "projection.", "neck.")


class Begun(Exception):  # noqa: N818 (no error: the run is where the test wants it)
    """A run is about to take its first step."""


@pytest.mark.parametrize("before", ["supervised", "mar"])
@pytest.mark.parametrize("by", ["folder", "file"])
def test_weights_of_a_supervised_run_and_of_a_run_of_this_method_start_another(
    before: str, by: str, painted: Path, reference: Path, tiny: dict[str, object], tmp_path: Path
) -> None:
    """The whole encoder is taken over: attention, pooling, linear layer and neck, too."""
    data, source = read_crops(painted), read_crops(reference)
    settings = tiny | RUN | WITH_HEAD | {"epochs": 1, "optimizer.lr": 0.05}
    if before == "mar":
        first = run_to_end(data, settings, tmp_path / "first", source=source)
    else:
        supervised = {name: value for name, value in settings.items() if not name.startswith("sampling")}
        supervised |= {"sampling.iterations": 4}
        first = fit(build_config("supervised", "reference", supervised), source, tmp_path / "first")
    config = build_config("mar", "default", settings)
    assert first.read_config().encoder == config.encoder
    trained, new = resight.load(first.path).encoder.state_dict(), Encoder(config.encoder).state_dict()
    for part in PARTS:
        differing = [name for name in new if name.startswith(part) and not torch.equal(trained[name], new[name])]
        assert differing, f"training left {part} as it was, so this test would not see it"
    started: dict[str, Tensor] = {}

    def begun(encoder: Encoder) -> dict[str, Any]:
        started.update({name: value.clone() for name, value in encoder.state_dict().items()})
        raise Begun

    path = first.path if by == "folder" else first.weights_file
    second = settings | {"encoder.weights": str(path), "evaluate_every": 1, "seed": 5}
    with pytest.raises(Begun):
        run_to_end(data, second, tmp_path / "second", source=source, evaluate=begun)
    assert started.keys() == trained.keys()
    for name, value in trained.items():
        assert torch.equal(started[name], value), name
    (behind,) = RunFolder(tmp_path / "second").read_data()["started_from"]
    assert (behind["run"], behind["identity_use"]) == (str(first.path), before == "supervised")


def test_the_recipe_for_the_source_has_the_encoder_of_this_method(tiny: dict[str, object]) -> None:
    settings = {"encoder.weights": "none"}
    mar, source = (build_config(*of, settings) for of in (("mar", "default"), ("supervised", "reference")))
    assert mar.encoder == source.encoder


def test_the_classifier_of_the_start_becomes_the_agents(
    painted: Path, reference: Path, tiny: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, source = read_crops(painted), read_crops(reference)
    settings = tiny | RUN | {"epochs": 1}
    supervised = {name: value for name, value in settings.items() if not name.startswith("sampling")}
    supervised |= {"sampling.iterations": 4, "method.triplet_weight": 0, "method.keep_classifier": True}
    first = fit(build_config("supervised", "reference", supervised), source, tmp_path / "first")
    assert resight.load(first.path).extension is None
    trained = torch.load(first.checkpoint_file, weights_only=True)["trained"]["method.classifier.weight"]
    started: list[Tensor] = []
    honest = Mar.start_epoch

    def start_epoch(self: Mar, data: EpochData, labels: Tensor) -> None:
        honest(self, data, labels)
        started.append(self.agents.detach().clone())

    monkeypatch.setattr(Mar, "start_epoch", start_epoch)
    second = settings | {"encoder.weights": str(first.path), "method.agent_start": "classifier"}
    run_to_end(data, second, tmp_path / "second", source=source)
    assert torch.equal(started[0], trained)
    assert trained.shape[0] == 20

    few = {"method.agent_start": "classifier", "encoder.weights": str(first.path)}
    with pytest.raises(ResightError, match=r"has 20 identities of 128 dimensions, and the source has 7 of 128"):
        run_to_end(data, settings | few, tmp_path / "few", source=source, source_identities=7)
    with pytest.raises(ResightError, match=r"encoder\.weights hold none: .*method\.keep_classifier=true"):
        run_to_end(data, settings | {"method.agent_start": "classifier"}, tmp_path / "none", source=source)
    without = supervised | {"method.softmax_weight": 0, "method.triplet_weight": 1}
    with pytest.raises(ResightError, match=r"raise method\.softmax_weight"):
        fit(build_config("supervised", "reference", without), source, tmp_path / "no")


def test_each_set_can_be_standardised_by_its_own_channel_statistics(
    painted: Path,
    reference: Path,
    tiny: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop_at: Callable[[str], Reporter],
) -> None:
    data, source = read_crops(painted), read_crops(reference)
    still = {"augmentation.flip": 0, "augmentation.pad": 0, "augmentation.erase": 0}
    settings = tiny | RUN | still | {"epochs": 2, "encoder.standardise": "crops", "sampling.iterations": 8}
    seen: list[tuple[Tensor, Tensor]] = []
    honest = Learner.step

    def step(self: Learner, batch: Batch, views: list[Tensor], source: Tensor, *others: Any, **named: Any) -> Any:
        seen.append((views[0], source))
        return honest(self, batch, views, source, *others, **named)

    monkeypatch.setattr(Learner, "step", step)
    run = run_to_end(data, settings, tmp_path / "run", source=source)
    pixels = {}
    for name, table in (("data", data), ("source", source)):
        cache = open_pixel_cache(table, 32, 16, tmp_path / "pixels")
        pixels[name] = np.array(cache.images[:]).astype(np.float64) / 255
    for n, name in enumerate(("data", "source")):
        mean, std = (getattr(pixels[name], of)((0, 2, 3)) for of in ("mean", "std"))
        found = np.concatenate([views[n].numpy() for views in seen]).astype(np.float64)
        nearest = np.abs(found[:8, None] - (pixels[name] - mean[:, None, None]) / std[:, None, None]).max((2, 3, 4))
        assert nearest.min(1).max() < 1e-4
    encoder = resight.load(run.path).encoder
    assert encoder.mean.flatten().numpy() == pytest.approx(pixels["data"].mean((0, 2, 3)), abs=1e-6)
    assert encoder.std.flatten().numpy() == pytest.approx(pixels["data"].std((0, 2, 3)), abs=1e-6)
    with pytest.raises(KeyboardInterrupt):
        run_to_end(data, settings, tmp_path / "stopped", source=source, reporter=stop_at("after epoch 1"))
    again = run_to_end(data, settings, tmp_path / "stopped", source=source, resume=True)
    assert again.weights_file.read_bytes() == run.weights_file.read_bytes()
    # a run that starts from these weights has statistics of its own
    started = Encoder(encoder.config.model_copy(update={"weights": str(run.weights_file)}))
    assert started.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert torch.equal(started.backbone.conv1.weight, encoder.backbone.conv1.weight)


def test_what_does_not_fit_is_a_sentence(
    painted: Path, reference: Path, tiny: dict[str, object], tmp_path: Path
) -> None:
    data, source = read_crops(painted), read_crops(reference)
    settings, out = tiny | RUN, tmp_path / "run"
    blind = CropTable(data.root, data.paths)
    with pytest.raises(ResightError, match=r"mar also learns from labelled crops .*--source"):
        run_to_end(data, settings, out)
    with pytest.raises(ResightError, match="source of labelled crops needs the column 'identity'"):
        run_to_end(data, settings, out, source=source.without_labels())
    with pytest.raises(ResightError, match=r"mar with method\.consistency_weight set needs the column 'camera'"):
        run_to_end(blind, settings, out, source=source)
    with pytest.raises(ResightError, match=r"96 crops of the source .*must show other identities"):
        run_to_end(data, settings, out, source=data)
    with pytest.raises(ResightError, match=r"mar finds no clusters.*sampling\.order=crops"):
        run_to_end(data, settings | {"sampling.order": "clusters"}, out, source=source)
    with pytest.raises(ResightError, match="cluster_contrast does not learn from a source"):
        resight.train("cluster_contrast", data, out, source=source, settings=tiny)
    with pytest.raises(ResightError, match="but no source"):
        resight.train("mar", data, out, source_identities=5, settings=settings)
    assert not out.exists()


def test_without_consistency_no_cameras_are_needed(
    painted: Path, reference: Path, tiny: dict[str, object], tmp_path: Path
) -> None:
    data = read_crops(painted)
    settings = tiny | RUN | {"method.consistency_weight": 0, "epochs": 1, "sampling.source_apart": False}
    run = run_to_end(CropTable(data.root, data.paths), settings, tmp_path / "run", source=read_crops(reference))
    assert np.isfinite(run.read_metrics()[-1]["loss"])
    assert run.read_data()["camera_use"] == []


def test_norms_see_one_set_at_a_time_where_asked(
    painted: Path, reference: Path, tiny: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    honest = Encoder.forward

    def forward(self: Encoder, images: Tensor) -> Features:
        if self.training:
            sizes.append(len(images))
        return honest(self, images)

    monkeypatch.setattr(Encoder, "forward", forward)
    for apart in (False, True):
        settings = tiny | RUN | {"epochs": 1, "sampling.iterations": 1, "sampling.source_apart": apart}
        run_to_end(read_crops(painted), settings, tmp_path / str(apart), source=read_crops(reference))
    assert sizes == [28, 16, 12]


def test_a_model_describes_crops_by_the_reference_identities() -> None:
    learner, features = started(scale=20.0), unit(7, 5).numpy()
    state = learner.extension().state_dict()
    data = {"source": {"people": ["ann", "bob", "eve"]}}
    loaded = Mar.load_extension(learner.options, state, data)
    assert loaded is not None
    assert loaded.names == ("ann", "bob", "eve")
    expected = (20 * torch.from_numpy(features) @ learner.unit_agents.T).softmax(1).detach().numpy()
    found = loaded.multilabels(features)
    assert found.dtype == np.float32
    assert found == pytest.approx(expected, abs=1e-6)
    names, shares = loaded.describe(features, 2)
    order = np.argsort(-expected, axis=1)[:, :2]
    assert names.tolist() == np.array(["ann", "bob", "eve"])[order].tolist()
    assert shares == pytest.approx(np.take_along_axis(expected, order, axis=1), abs=1e-6)
    assert loaded.describe(features, 9)[0].shape == (7, 3)
    assert loaded.multilabels(features[:0]).shape == (0, 3)
    assert [values.shape for values in loaded.describe(features[:0], 2)] == [(0, 2), (0, 2)]
    assert Mar.load_extension(learner.options, {}, {}) is None


def test_other_models_have_no_reference_identities(tiny: dict[str, object]) -> None:
    config = build_config("cluster_contrast", None, tiny)
    assert Model(Encoder(config.encoder), config).extension is None
