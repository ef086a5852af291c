from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import resight
from resight.clustering import NoClusters
from resight.crops import CropTable, read_crops
from resight.errors import ResightError
from resight.methods import ClusterContrast
from resight.training.config import build_config
from resight.training.loop import NonFiniteLoss, fit
from resight.training.run import RunFolder

Paint = Callable[..., Path]


def run_to_end(table: CropTable, settings: dict[str, object], out: Path, **options: object) -> RunFolder:
    return fit(build_config("cluster_contrast", "default", settings), table, out, **options)  # type: ignore[arg-type]


def test_training_beats_its_start(paint_crops: Paint, tiny: dict[str, object], tmp_path: Path) -> None:
    table = read_crops(paint_crops(tmp_path / "crops", identities=32, shots=5, noise=40), train_identities=16)
    settings = tiny | {"epochs": 8, "evaluate_every": 8, "sampling.iterations": 12, "optimizer.lr": 1e-3}
    model = resight.train("cluster_contrast", table, tmp_path / "run", settings=settings)
    assert model.run is not None
    start, *_, end = model.run.read_metrics()
    assert start["epoch"] == 0
    assert end["test_mAP"] > start["test_mAP"] + 0.03
    assert json.loads(model.run.evaluation_file.read_text())["mAP"] == end["test_mAP"]


def test_identities_never_reach_training(painted: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    table = read_crops(painted)
    assert table.identity is not None
    with_labels = run_to_end(table, tiny, tmp_path / "a")
    without = run_to_end(table.without_labels(), tiny, tmp_path / "b")
    assert with_labels.weights_file.read_bytes() == without.weights_file.read_bytes()
    assert "ari" in with_labels.read_metrics()[-1]
    assert "ari" not in without.read_metrics()[-1]


def test_a_flat_folder_without_names_trains(painted: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    for number, file in enumerate(sorted(painted.iterdir())):
        os.link(file, tmp_path / f"crop{number}.png")
    table = read_crops(tmp_path)
    assert table.camera is None
    assert table.identity is None
    model = resight.train("cluster_contrast", table, tmp_path / "runs" / "a", settings=tiny | {"epochs": 1})
    with pytest.raises(ResightError, match="no labels to score against"):
        resight.evaluate(model, table)


@pytest.mark.parametrize("where", ["in a step", "before the checkpoint"])
def test_resume_after_kill_gives_the_same_run(
    where: str, painted: Path, tiny: dict[str, object], tmp_path: Path
) -> None:
    settings = tiny | {"ema.decay": 0.9, "sampling.prefer_other_cameras": True, "method.camera_weight": 0.5}
    whole = run_to_end(read_crops(painted), settings, tmp_path / "whole")
    script = f"""
        import os, signal, sys
        from resight.crops import read_crops
        from resight.training import loop
        from resight.training.config import build_config
        from resight.training.reporting import Reporter
        from resight.training.run import RunFolder

        def die():
            os.kill(os.getpid(), signal.SIGKILL)

        class Killer(Reporter):
            def progress(self, what, done, total):
                if what == "epoch 2" and done == 3 and {where!r} == "in a step":
                    die()

        save = RunFolder.save_checkpoint

        def save_or_die(self, state):
            if state["epoch"] == 2 and {where!r} == "before the checkpoint":
                die()
            save(self, state)

        RunFolder.save_checkpoint = save_or_die
        config = build_config("cluster_contrast", "default", {settings!r})
        loop.fit(config, read_crops({str(painted)!r}), {str(tmp_path / "killed")!r}, reporter=Killer())
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    killed = RunFolder(tmp_path / "killed")
    assert torch.load(killed.checkpoint_file, weights_only=True)["epoch"] == 1
    resumed = run_to_end(read_crops(painted), settings, killed.path, resume=True)
    assert resumed.metrics_file.read_bytes() == whole.metrics_file.read_bytes()
    assert resumed.weights_file.read_bytes() == whole.weights_file.read_bytes()
    ours, theirs = (torch.load(run.checkpoint_file, weights_only=True) for run in (resumed, whole))
    for name, tensor in theirs["trained"].items():
        assert torch.equal(ours["trained"][name], tensor), name
    for epoch in (1, 2, 3):
        ours, theirs = (np.load(run.path / f"labels/{epoch:04d}.npz")["labels"] for run in (resumed, whole))
        assert (ours == theirs).all()


def test_resume_of_a_finished_run_changes_nothing(painted: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    table = read_crops(painted)
    run = run_to_end(table, tiny | {"epochs": 1}, tmp_path / "run")
    before = run.metrics_file.read_bytes(), run.weights_file.read_bytes()
    run_to_end(table, tiny | {"epochs": 1}, tmp_path / "run", resume=True)
    assert (run.metrics_file.read_bytes(), run.weights_file.read_bytes()) == before


def test_a_folder_with_a_run_is_not_overwritten(painted: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    table = read_crops(painted)
    run_to_end(table, tiny | {"epochs": 1}, tmp_path / "run")
    with pytest.raises(ResightError, match="already holds a run"):
        run_to_end(table, tiny | {"epochs": 1}, tmp_path / "run")
    with pytest.raises(ResightError, match="other settings"):
        run_to_end(table, tiny | {"epochs": 1, "seed": 1}, tmp_path / "run", resume=True)
    with pytest.raises(ResightError, match="other crops"):
        run_to_end(table.select(np.arange(60)), tiny | {"epochs": 1}, tmp_path / "run", resume=True)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(
    painted: Path, tiny: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = ClusterContrast.loss

    def explode(self, batch, features):  # type: ignore[no-untyped-def]
        terms = honest(self, batch, features)
        return {name: term * (torch.inf if batch.epoch == 1 else 1.0) for name, term in terms.items()}

    monkeypatch.setattr(ClusterContrast, "loss", explode)
    with pytest.raises(NonFiniteLoss, match=r"step 1 of epoch 2: .*contrast inf.*optimizer\.lr"):
        run_to_end(read_crops(painted), tiny, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    assert torch.load(run.checkpoint_file, weights_only=True)["epoch"] == 1
    assert np.isfinite(resight.load(run.path).embed(read_crops(painted))).all()


def test_no_clusters_ends_in_a_sentence(painted: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(NoClusters, match=r"clustering\.eps"):
        run_to_end(read_crops(painted), tiny | {"clustering.eps": 0.001, "clustering.min_samples": 9}, tmp_path / "run")


def test_camera_settings_need_cameras_and_are_recorded(painted: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    table = read_crops(painted)
    blind = CropTable(table.root, table.paths)
    for setting in ("clustering.centre_cameras", "sampling.prefer_other_cameras", "method.camera_weight"):
        value: object = 0.5 if setting == "method.camera_weight" else True
        with pytest.raises(ResightError, match=setting):
            run_to_end(blind, tiny | {setting: value}, tmp_path / setting)
        run = run_to_end(table, tiny | {setting: value, "epochs": 1}, tmp_path / setting)
        assert run.read_data()["camera_use"] == [setting]


def test_bfloat16_autocast_trains(painted: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    run = run_to_end(read_crops(painted), tiny | {"epochs": 1, "precision": "bfloat16"}, tmp_path / "run")
    assert np.isfinite(run.read_metrics()[-1]["loss"])
    assert all(tensor.dtype != torch.bfloat16 for tensor in resight.load(run.path).encoder.state_dict().values())


def test_a_tracker_that_is_not_installed_is_a_sentence(
    painted: Path, tiny: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", list)
    with pytest.raises(ResightError, match=r"pip install 'resight\[wandb\]'"):
        run_to_end(read_crops(painted), tiny | {"tracker": "wandb"}, tmp_path / "run")


def test_metrics_reach_the_tracker(
    painted: Path, tiny: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate import Accelerator

    logged: list[tuple[int, dict[str, float]]] = []
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", lambda: ["tensorboard"])
    monkeypatch.setattr(Accelerator, "init_trackers", lambda *_, **__: None)
    monkeypatch.setattr(Accelerator, "log", lambda _, values, step: logged.append((step, values)))
    run = run_to_end(read_crops(painted), tiny | {"tracker": "tensorboard", "epochs": 2}, tmp_path / "run")
    assert [step for step, _ in logged] == [1, 2]
    assert logged[1][1]["loss"] == run.read_metrics()[1]["loss"]
