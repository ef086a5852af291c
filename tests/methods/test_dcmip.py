from __future__ import annotations

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
from resight.losses import discrepant_contrast, multi_instance_contrast
from resight.methods import Batch, Dcmip, EpochData
from resight.methods.dcmip import DcmipOptions
from resight.training.config import build_config
from resight.training.learner import Learner
from resight.training.loop import fit
from resight.training.reporting import Reporter
from resight.training.run import RunFolder

LABELS = torch.tensor([0, 0, 1, 1, 2, 2, -1, 0])


def method(**options: Any) -> Dcmip:
    encoder = Encoder(EncoderConfig(backbone="resnet18", weights="none", width_multiplier=0.125))
    return Dcmip(DcmipOptions(**options), ClusteringConfig(), encoder)


def unit(rows: int, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(rows, 6, generator=torch.Generator().manual_seed(seed)))


def features_of(embedding: Tensor) -> Features:
    return Features(embedding, embedding, torch.empty(0))


def batch_of(rows: list[int], epoch: int, embedding: Tensor, teacher: Tensor | None = None) -> Batch:
    index = torch.tensor(rows)
    batch = Batch(index, LABELS[index], None, epoch, (features_of(embedding),))
    batch.teacher = None if teacher is None else features_of(teacher)
    return batch


def started(**options: Any) -> Dcmip:
    learner = method(**options)
    torch.manual_seed(0)
    table = CropTable(paths=[f"{i}.png" for i in range(8)], root=Path("."))
    learner.start_epoch(EpochData(table, torch.device("cpu"), features=unit(8).numpy()), LABELS)
    return learner


def test_both_cluster_proxies_start_as_the_centroid_and_come_to_differ() -> None:
    learner = started(momentum=0.1)
    for cluster in range(3):
        centroid = F.normalize(unit(8)[LABELS.eq(cluster)].mean(0), dim=0)
        for memory in (learner.mean, learner.discrepant):
            torch.testing.assert_close(memory.centroids[cluster], centroid)
    before, embedding = learner.mean.centroids.clone(), unit(4, 1)
    learner.after_step(batch_of([0, 1, 7, 2], 0, embedding))
    least = embedding[:3][(embedding[:3] @ before[0]).argmin()]
    expected = {"mean": embedding[:3].mean(0), "discrepant": least}
    for kind, target in expected.items():
        found = getattr(learner, kind).centroids
        torch.testing.assert_close(found[0], F.normalize(0.1 * before[0] + 0.9 * target, dim=0))
        torch.testing.assert_close(found[1], F.normalize(0.1 * before[1] + 0.9 * embedding[3], dim=0))
        assert torch.equal(found[2], before[2])


def test_every_crop_in_turn_may_move_the_discrepant_proxy() -> None:
    learner, embedding = started(momentum=0.5, discrepant_update="each"), unit(2, 1)
    expected = learner.discrepant.centroids[0].clone()
    learner.after_step(batch_of([0, 1], 0, embedding))
    for row in embedding:
        expected = F.normalize((expected + row) / 2, dim=0)
    torch.testing.assert_close(learner.discrepant.centroids[0], expected)


@pytest.mark.parametrize("form", ["hardest", "sum"])
def test_the_loss_is_the_cluster_term_and_later_both_weighted(form: str) -> None:
    options = {"temperature": 0.1, "cluster_form": form, "cluster_margin": 0.3}
    options |= {"negatives": 7, "mining": "global", "hardness": "easiest"}
    learner = started(first_epochs=2, cluster_weight=0.3, instances=4, **options)
    learner.after_step(batch_of([0, 1, 4], 0, unit(3, 4)))
    embedding, rows = unit(4, 1), [0, 1, 2, 4]
    labels = LABELS[rows]
    cluster = discrepant_contrast(
        embedding,
        learner.mean.centroids,
        learner.discrepant.centroids,
        labels,
        0.1,
        form,
        0.3,  # type: ignore[arg-type]
    )
    instance = multi_instance_contrast(
        embedding, learner.instances.proxies, labels, temperature=0.1, negatives=7, hardness="easiest"
    )
    for epoch in (0, 1):
        terms = learner.loss(batch_of(rows, epoch, embedding))
        assert list(terms) == ["cluster"]
        assert torch.equal(terms["cluster"], cluster)
    terms = learner.loss(batch_of(rows, 2, embedding))
    assert list(terms) == ["cluster", "instance"]
    torch.testing.assert_close(terms["cluster"], 0.3 * cluster)
    torch.testing.assert_close(terms["instance"], 0.7 * instance)


def test_a_term_without_weight_is_left_out() -> None:
    first, second, last = (batch_of([0, 1, 2, 4], epoch, unit(4, 1)) for epoch in (0, 1, 99))
    instances = started(first_epochs=1, cluster_weight=0)
    assert list(instances.loss(first)) == ["cluster"]
    assert list(instances.loss(second)) == ["instance"]
    for options in ({"first_epochs": None}, {"first_epochs": 0, "cluster_weight": 1}):
        learner = started(**options)
        assert list(learner.loss(last)) == ["cluster"]
        assert not learner.plan(99).teacher


def test_the_teacher_is_asked_for_from_the_first_epoch_with_instances() -> None:
    assert [method(first_epochs=2).plan(epoch).teacher for epoch in range(4)] == [False, False, True, True]
    assert not any(method(first_epochs=0, instance_encoder="encoder").plan(epoch).teacher for epoch in range(4))
    assert all(method(first_epochs=2).plan(epoch).embed for epoch in range(4))


@pytest.mark.parametrize("encoder", ["average", "encoder"])
def test_instance_proxies_are_drawn_crops_and_then_the_chosen_encoders_features(encoder: str) -> None:
    learner = started(first_epochs=1, instances=3, instance_encoder=encoder)
    for cluster, proxies in enumerate(learner.instances.proxies):
        own = {tuple(row.tolist()) for row in unit(8)[LABELS.eq(cluster)]}
        assert {tuple(row.tolist()) for row in proxies} == own
    before, embedding = learner.instances.proxies.clone(), unit(3, 1)
    teacher = unit(3, 2) if encoder == "average" else None
    learner.after_step(batch_of([0, 1, 2], 0, embedding, teacher))
    assert torch.equal(learner.instances.proxies, before)  # before the epoch with instances
    learner.after_step(batch_of([0, 1, 2], 1, embedding, teacher))
    source = embedding if teacher is None else teacher
    assert torch.equal(learner.instances.proxies[0], torch.stack([source[0], source[1], before[0, 2]]))
    assert torch.equal(learner.instances.proxies[1], torch.stack([source[2], before[1, 1], before[1, 2]]))
    assert torch.equal(learner.instances.proxies[2], before[2])


@pytest.mark.parametrize("form", ["hardest", "sum"])
@pytest.mark.parametrize("mining", ["global", "per_cluster"])
@pytest.mark.parametrize("hardness", ["hardest", "semi-hard", "easiest"])
def test_a_step_waits_for_no_value(form: str, mining: str, hardness: str) -> None:
    """Tensors without values: whatever read one, or had a shape that depends on one, would raise."""
    options = {"cluster_form": form, "mining": mining, "hardness": hardness}
    learner = started(first_epochs=0, **options)
    batch = batch_of([0, 1, 2, 4], 0, unit(4, 1).requires_grad_(), unit(4, 2))
    with FakeTensorMode(allow_non_fake_inputs=False) as mode:
        for memory in (learner.mean, learner.discrepant):
            memory.centroids = mode.from_tensor(memory.centroids)
        learner.instances.proxies = mode.from_tensor(learner.instances.proxies)
        learner.instances.oldest = mode.from_tensor(learner.instances.oldest)
        batch.labels = mode.from_tensor(batch.labels)
        assert batch.teacher is not None
        for features in (batch.features, batch.teacher):
            features.embedding = mode.from_tensor(features.embedding)
        torch.stack(list(learner.loss(batch).values())).sum().backward()
        learner.after_step(batch)


RUN = {"method.first_epochs": 1, "method.instances": 4, "method.negatives": 10, "ema.decay": 0.9}


def run_to_end(table: CropTable, settings: dict[str, object], out: Path, **options: Any) -> RunFolder:
    return fit(build_config("dcmip", "default", settings), table, out, **options)


def test_training_beats_its_start(paint_crops: Callable[..., Path], tiny: dict[str, object], tmp_path: Path) -> None:
    table = read_crops(paint_crops(tmp_path / "crops", identities=32, shots=5, noise=40), train_identities=16)
    settings = tiny | RUN | {"epochs": 8, "evaluate_every": 8, "sampling.iterations": 12, "optimizer.lr": 1e-3}
    model = resight.train("dcmip", table, tmp_path / "run", settings=settings | {"method.first_epochs": 3})
    assert model.run is not None
    start, *epochs = model.run.read_metrics()
    assert epochs[-1]["test_mAP"] > start["test_mAP"] + 0.03
    assert ["instance" in record for record in epochs] == [False] * 3 + [True] * 5
    assert model.run.read_data()["camera_use"] == []


def test_the_teacher_sees_the_batch_after_its_step_and_begins_each_epoch_as_the_encoder(
    painted: Path, tiny: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, bool]] = []
    honest, honest_step = Dcmip.after_step, Learner.step
    learners: list[Learner] = []
    images_of: list[Tensor] = []
    kept: list[dict[str, Tensor]] = []

    def step(self: Learner, batch: Batch, views: list[Tensor], *args: Any, **options: Any) -> dict[str, float]:
        assert batch.teacher is None
        if batch.epoch != len(kept) - 1:
            learners.append(self)
            assert self.teacher is not None
            for name, value in self.teacher.module.state_dict().items():
                assert torch.equal(value, self.encoder.state_dict()[name]), name
            kept.append({name: value.clone() for name, value in self.encoder.state_dict().items()})
        images_of.append(views[0])
        return honest_step(self, batch, views, *args, **options)

    def after_step(self: Dcmip, batch: Batch) -> None:
        seen.append((batch.epoch, batch.teacher is not None))
        if batch.teacher is not None:
            assert learners[-1].teacher is not None
            teacher = learners[-1].teacher.module
            assert not teacher.training
            assert torch.equal(batch.teacher.embedding, teacher(images_of[-1]).embedding)
            assert not torch.equal(batch.teacher.embedding, batch.features.embedding)
            assert not batch.teacher.embedding.requires_grad
        honest(self, batch)

    monkeypatch.setattr(Learner, "step", step)
    monkeypatch.setattr(Dcmip, "after_step", after_step)
    run_to_end(read_crops(painted), tiny | RUN | {"epochs": 3}, tmp_path / "run")
    assert seen == [(0, False)] * 6 + [(1, True)] * 6 + [(2, True)] * 6
    assert len(kept) == 3
    # statistics of the norms travel too, and only a part of the way
    assert learners[-1].teacher is not None
    teacher, encoder = learners[-1].teacher.module.state_dict(), learners[-1].encoder.state_dict()
    name = "neck.running_mean"
    start, end = (values[name] for values in (kept[-1], encoder))
    assert 0 < (teacher[name] - start).norm() < (end - start).norm()


def test_the_teacher_is_the_model_unless_it_is_not_to_be_kept(
    painted: Path, tiny: dict[str, object], tmp_path: Path
) -> None:
    kept = {
        keep: run_to_end(read_crops(painted), tiny | RUN | {"ema.keep": keep}, tmp_path / str(keep))
        for keep in (True, False)
    }
    states = [torch.load(run.checkpoint_file, weights_only=True) for run in kept.values()]
    encoder = {
        name.removeprefix("encoder."): value for name, value in states[0]["trained"].items() if "encoder." in name
    }
    for keep, expected in ((True, states[0]["average"]["module"]), (False, encoder)):
        found = resight.load(kept[keep].path).encoder.state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in found.items())
    for name, value in states[0]["trained"].items():
        assert torch.equal(states[1]["trained"][name], value)  # what is kept changes nothing in training


def test_without_instances_the_teacher_changes_nothing_in_training(
    painted: Path, tiny: dict[str, object], tmp_path: Path
) -> None:
    plain = tiny | {"method.first_epochs": None}
    settings = {
        "without": plain | {"ema.decay": None, "ema.restart": False},
        "with": plain | {"ema.decay": 0.9},
        "all of the weight": plain | {"method.first_epochs": 0, "method.cluster_weight": 1, "ema.decay": 0.9},
    }
    states = [
        torch.load(run_to_end(read_crops(painted), values, tmp_path / name).checkpoint_file, weights_only=True)
        for name, values in settings.items()
    ]
    for other in states[1:]:
        for name, value in states[0]["trained"].items():
            assert torch.equal(other["trained"][name], value), name


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ema.decay": None, "ema.restart": False}, r"dcmip .*needs an EMA teacher, .*ema\.decay=0\.999"),
        ({"ema.restart": False}, r"ema\.labels is false: set ema\.restart=true"),
        ({"ema.decay": None, "method.instance_encoder": "encoder"}, r"ema\.restart=true .*ema\.decay is null"),
        ({"ema.keep": False, "method.first_epochs": None}, r"neither clustered, nor saved, nor used by dcmip"),
        ({"ema.keep": False, "method.first_epochs": 3}, r"neither clustered, nor saved, nor used"),
    ],
)
def test_settings_of_the_teacher_that_contradict_are_sentences(
    settings: dict[str, object], said: str, painted: Path, tiny: dict[str, object], tmp_path: Path
) -> None:
    with pytest.raises(ResightError, match=said):
        run_to_end(read_crops(painted), tiny | RUN | settings, tmp_path / "run")


def test_a_teacher_that_is_clustered_may_run_on(painted: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    settings = tiny | RUN | {"ema.restart": False, "ema.labels": True}
    assert np.isfinite(run_to_end(read_crops(painted), settings, tmp_path / "run").read_metrics()[-1]["loss"])


@pytest.mark.parametrize("stop", ["after epoch 3", "in epoch 2"])
def test_a_resumed_run_gives_the_same_numbers(
    stop: str, stop_at: Callable[[str], Reporter], painted: Path, tiny: dict[str, object], tmp_path: Path
) -> None:
    """Before, at and after the first epoch with instances, which is the third."""
    settings = tiny | RUN | {"epochs": 4, "method.first_epochs": 2}
    table = read_crops(painted)
    whole = run_to_end(table, settings, tmp_path / "whole")

    with pytest.raises(KeyboardInterrupt):
        run_to_end(table, settings, tmp_path / "cut", reporter=stop_at(stop))
    resumed = run_to_end(table, settings, tmp_path / "cut", resume=True)
    for name in ("metrics_file", "weights_file"):
        assert getattr(resumed, name).read_bytes() == getattr(whole, name).read_bytes()
    ours, theirs = (torch.load(run.checkpoint_file, weights_only=True) for run in (resumed, whole))
    for part in ("trained", "average"):
        states = [state[part] if part == "trained" else state[part]["module"] for state in (ours, theirs)]
        for name, tensor in states[1].items():
            assert torch.equal(states[0][name], tensor), name
