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
from resight.encoders import Encoder, EncoderConfig, Features
from resight.losses import (
    agent_learning,
    agreement_quantile,
    cross_view_consistency,
    joint_embedding,
    multilabel_discriminative,
    pair_agreement,
)
from resight.methods import Batch, Mar
from resight.methods.mar import MarOptions
from resight.training.config import build_config
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
    learner.prepare_source(3)
    learner.start_source(unit(4, 1), LABELS)
    learner.start_epoch(unit(6, 2), torch.arange(6), CAMERA)
    return learner


def batch_of(epoch: int, seed: int = 3) -> tuple[Batch, Features]:
    rows = torch.tensor([4, 0, 5, 2])
    embedding = unit(6, seed).requires_grad_()
    batch = Batch(rows, rows, CAMERA[rows], epoch, source_labels=LABELS[:2])
    return batch, Features(embedding, embedding, torch.empty(0))


def test_agents_start_as_the_means_of_their_people() -> None:
    features = unit(4, 1)
    expected = F.normalize(torch.stack([features[1], (features[0] + features[2]) / 2, features[3]]))
    learner = started()
    assert torch.allclose(learner.unit_agents, expected, atol=1e-6)
    assert [name for name, _ in learner.named_parameters()] == ["agents"]
    assert torch.equal(learner.model_state["agents"], learner.unit_agents)


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
        batch, features = batch_of(1, 3 + turn)
        target, source = features.embedding[:4], features.embedding[4:]
        terms = learner.loss(batch, features)
        assert list(terms) == ["agents", "joint", "consistency", "discriminative"]
        learned = agent_learning(source, agents, LABELS[:2])
        assert terms["agents"].item() == pytest.approx(7 * learned.item(), rel=1e-4)
        joint = joint_embedding(source, LABELS[:2], target, agents)
        assert terms["joint"].item() == pytest.approx(7 * 0.3 * joint.item(), rel=1e-4)
        logs = (30 * target @ agents.T).log_softmax(1).detach()
        camera = (CAMERA[batch.rows] == 7).long()
        by_camera = torch.stack([logs[camera == number] for number in (0, 1)])
        new = by_camera.mean(1).mean(0), by_camera.std(1).mean(0)
        start = tuple((old + found) / 2 for old, found in zip(start, new, strict=True))
        consistency = cross_view_consistency(logs, camera, 2, *start)
        assert terms["consistency"].item() == pytest.approx(0.1 * consistency.item(), rel=1e-3)
        memory[batch.rows] = logs.exp() if turn == 0 else 0.9 * memory[batch.rows] + 0.1 * logs.exp()
        agreement = pair_agreement(memory[batch.rows])
        loss = multilabel_discriminative(target, agreement, threshold, 0.4)
        assert terms["discriminative"].item() == pytest.approx(2 * loss.item(), rel=1e-3)
        assert torch.equal(learner.threshold, threshold)  # kept only after the step
        learner.after_step(batch, features)
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
    learner = started(**options)
    batch, features = batch_of(epoch)
    assert list(learner.loss(batch, features)) == terms
    learner.after_step(batch, features)
    assert learner.memory.known.any() == ("discriminative" in terms)
    assert (len(learner.memory.values) > 0) == bool(options.get("discriminative_weight", 1))
    assert learner.camera_use == (("method.consistency_weight",) if "consistency" in terms else ())


def test_only_agent_learning_moves_the_agents() -> None:
    learner = started()
    terms = learner.loss(*batch_of(1))
    for name, term in terms.items():
        learner.zero_grad()
        term.backward(retain_graph=True)
        moved = learner.agents.grad is not None and bool(learner.agents.grad.any())
        assert moved == (name == "agents"), name


def test_a_step_looks_at_no_value_so_a_gpu_need_not_be_waited_for() -> None:
    learner = started()
    batch, features = batch_of(1)
    agents, embedding = learner.agents.detach(), features.embedding.detach()
    with FakeTensorMode(allow_non_fake_inputs=False) as mode:
        names = [(m, n) for m in (learner, learner.memory, learner.statistics) for n in m._buffers]
        for module, name in names:
            setattr(module, name, mode.from_tensor(module._buffers[name]))
        learner._parameters["agents"] = mode.from_tensor(agents)  # type: ignore[assignment]
        for name in ("rows", "camera", "source_labels"):
            setattr(batch, name, mode.from_tensor(getattr(batch, name)))
        features.embedding = mode.from_tensor(embedding).requires_grad_()
        torch.stack(list(learner.loss(batch, features).values())).sum().backward()
        learner.after_step(batch, features)


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
    found = model.describe(model.embed(source), 1)[0][:, 0]
    assert (found == source.identity.astype(str)).mean() > 0.2


def test_a_run_keeps_agents_names_and_the_size_of_its_memory(whole: RunFolder, painted: Path, reference: Path) -> None:
    source = whole.read_data()["source"]
    assert source["people"] == [str(n) for n in range(1, 21)]
    assert source["crops"] == 120
    assert whole.read_metrics()[-1]["multilabel_mb"] == pytest.approx(96 * 20 * 2e-6)
    assert whole.read_metrics()[-1]["reference_persons"] == 20
    assert not (whole.path / "labels").exists()
    model = resight.load(whole.path)
    assert model.persons == tuple(source["people"])
    features = model.embed(read_crops(reference))
    multilabels = model.multilabels(features)
    assert multilabels.shape == (120, 20)
    assert np.allclose(multilabels.sum(1), 1, atol=1e-5)
    state = torch.load(whole.checkpoint_file, weights_only=True)["trained"]
    cosine = features @ F.normalize(state["method.agents"]).numpy().T
    expected = np.exp(30 * cosine) / np.exp(30 * cosine).sum(1, keepdims=True)
    assert np.allclose(multilabels, expected, atol=1e-4)
    names, shares = model.describe(features, 3)
    assert names.tolist() == (np.argsort(-multilabels, axis=1)[:, :3] + 1).astype(str).tolist()
    assert np.allclose(shares, -np.sort(-multilabels, axis=1)[:, :3])
    assert model.describe(features[:2], 50)[0].shape == (2, 20)
    assert model.describe(features[:0])[0].shape == (0, 5)


def test_labels_of_the_target_never_reach_training(
    whole: RunFolder, painted: Path, reference: Path, tiny: dict[str, object], tmp_path: Path
) -> None:
    """And where the memory lies changes nothing."""
    settings = tiny | RUN | {"method.memory_gb": 0}
    without = run_to_end(read_crops(painted).without_labels(), settings, tmp_path / "a", source=read_crops(reference))
    assert without.weights_file.read_bytes() == whole.weights_file.read_bytes()
    assert without.metrics_file.read_bytes() == whole.metrics_file.read_bytes()


@pytest.mark.parametrize("stop", ["after epoch 1", "in epoch 3"])
@pytest.mark.parametrize("memory_gb", [1.0, 0.0])
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


def test_weights_of_a_supervised_run_and_of_a_run_of_this_method_start_another(
    whole: RunFolder, reference: Path, tiny: dict[str, object], tmp_path: Path
) -> None:
    settings = {name: value for name, value in tiny.items() if not name.startswith("sampling")}
    settings |= {"epochs": 1, "sampling.iterations": 2, "encoder.last_stride": 1}
    first = resight.train("supervised", reference, tmp_path / "first", recipe="reference", settings=settings)
    mar = build_config("mar", None, tiny | {"encoder.weights": "none"}).encoder
    assert mar == first.config.encoder
    for run in (first.run, whole):
        assert run is not None
        start = Encoder(mar.model_copy(update={"weights": str(run.weights_file)}))
        trained = resight.load(run.path).encoder
        assert all(torch.equal(value, trained.state_dict()[name]) for name, value in start.state_dict().items())


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
    with pytest.raises(ResightError, match=r"96 crops of the source .*shows other people"):
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


def test_other_models_have_no_reference_persons(tiny: dict[str, object]) -> None:
    from resight.model import Model

    config = build_config("cluster_contrast", None, tiny)
    model = Model(Encoder(config.encoder), config)
    with pytest.raises(ResightError, match="no reference persons"):
        model.describe(np.zeros((1, model.dim), np.float32))
