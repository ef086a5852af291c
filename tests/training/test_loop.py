from __future__ import annotations

import json
import os
import shutil
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
from resight.methods import Batch, ClusterContrast
from resight.training.config import build_config
from resight.training.learner import NonFiniteLoss
from resight.training.loop import fit
from resight.training.reporting import Reporter
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


def test_resume_after_kill_gives_the_same_run(painted: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    """Killed in a step, and before the checkpoint is saved."""
    settings = tiny | {"ema.decay": 0.9, "sampling.cameras": "spread", "method.camera_weight": 0.5}
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
                if what == "epoch 2" and done == 3 and where == "in a step":
                    die()

        save = RunFolder.save_checkpoint

        def save_or_die(self, state):
            if state["epoch"] == 2 and where == "before the checkpoint":
                die()
            save(self, state)

        RunFolder.save_checkpoint = save_or_die
        config = build_config("cluster_contrast", "default", {settings!r})
        for where in ("in a step", "before the checkpoint"):
            child = os.fork()
            if not child:
                loop.fit(config, read_crops({str(painted)!r}), {str(tmp_path)!r} + "/" + where, reporter=Killer())
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for where in ("in a step", "before the checkpoint"):
        _resumes(RunFolder(tmp_path / where), whole, painted, settings)


def _resumes(killed: RunFolder, whole: RunFolder, painted: Path, settings: dict[str, object]) -> None:
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


@pytest.mark.parametrize("stop", ["after epoch 2", "in epoch 3", None])
def test_a_run_is_resumed_after_the_run_that_it_started_from_was_deleted(
    stop: str | None, stop_at: Callable[[str], Reporter], painted: Path, tiny: dict[str, object], tmp_path: Path
) -> None:
    table, first = read_crops(painted), tmp_path / "first"
    run_to_end(table, tiny | {"epochs": 1, "seed": 3}, first)
    settings = tiny | {"encoder.weights": str(first), "sampling.iterations": 3}
    whole = run_to_end(table, settings, tmp_path / "whole")
    if stop is None:
        run_to_end(table, settings, tmp_path / "cut")
    else:
        with pytest.raises(KeyboardInterrupt):
            run_to_end(table, settings, tmp_path / "cut", reporter=stop_at(stop))
    shutil.rmtree(first)
    resumed = run_to_end(table, settings, tmp_path / "cut", resume=True)
    for name in ("metrics_file", "weights_file", "data_file"):
        assert getattr(resumed, name).read_bytes() == getattr(whole, name).read_bytes()
    assert [run["run"] for run in resumed.facts()["started_from"]] == [str(first)]


def test_a_run_without_a_finished_epoch_still_needs_the_weights_it_starts_from(
    stop_at: Callable[[str], Reporter], painted: Path, tiny: dict[str, object], tmp_path: Path
) -> None:
    table, first = read_crops(painted), tmp_path / "first"
    settings = tiny | {"encoder.weights": str(first)}
    with pytest.raises(ResightError, match=r"no weight file .*first"):
        run_to_end(table, settings, tmp_path / "cut")
    assert not (tmp_path / "cut").exists()
    run_to_end(table, tiny | {"epochs": 1, "seed": 3}, first)
    with pytest.raises(KeyboardInterrupt):
        run_to_end(table, settings, tmp_path / "cut", reporter=stop_at("in epoch 1"))
    first.rename(tmp_path / "moved")
    with pytest.raises(ResightError, match=r"no weight file .*first"):
        run_to_end(table, settings, tmp_path / "cut", resume=True)
    (tmp_path / "moved").rename(first)
    assert len(run_to_end(table, settings, tmp_path / "cut", resume=True).read_metrics()) == 3


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

    def explode(self: ClusterContrast, batch: Batch) -> dict[str, torch.Tensor]:
        terms = honest(self, batch)
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
    values = {"clustering.centre_cameras": True, "sampling.cameras": "spcl", "method.camera_weight": 0.5}
    for setting, value in values.items():
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


def test_a_host_process_keeps_its_accelerate_state(painted: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    """And its precision does not reach the run."""
    settings = tiny | {"epochs": 1, "precision": "float32"}
    alone = run_to_end(read_crops(painted), settings, tmp_path / "alone")
    script = f"""
        import torch
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
        from resight.crops import read_crops
        from resight.training.config import build_config
        from resight.training.loop import fit

        host = Accelerator(mixed_precision="bf16", cpu=True)
        before = dict(AcceleratorState().__dict__)
        config = build_config("cluster_contrast", "default", {settings!r})
        fit(config, read_crops({str(painted)!r}), {str(tmp_path / "hosted")!r})
        assert AcceleratorState().__dict__ == before, AcceleratorState().__dict__
        assert host.mixed_precision == Accelerator().mixed_precision == "bf16"
        assert not torch.is_autocast_enabled("cpu")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert RunFolder(tmp_path / "hosted").weights_file.read_bytes() == alone.weights_file.read_bytes()


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("cuda", r"'cuda' is not available: .*it sees no GPU\. Choose auto or cpu"),
        ("cuda:1", r"'cuda:1' is not available"),
        ("gpu", r"no device 'gpu': choose auto, cpu, cuda"),
    ],
)
def test_a_device_that_is_not_there_is_a_sentence(
    device: str, said: str, painted: Path, tiny: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ResightError, match=said):
        run_to_end(read_crops(painted), tiny, tmp_path / "run", device=device)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("launched", "said"),
    [
        ({"WORLD_SIZE": "1"}, ""),
        ({"WORLD_SIZE": ""}, ""),
        ({"WORLD_SIZE": "2"}, "RANK is not set: start them with torchrun"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE, which torchrun and accelerate launch set, is a whole number, not 'two'"),
        (
            {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "RESIGHT_TIMEOUT": "0.1"},
            "Process 1 of 2 cannot reach the others through 127.0.0.1:1",
        ),
        (
            {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "RESIGHT_TIMEOUT": "-1"},
            "RESIGHT_TIMEOUT is a number of seconds above 0, not '-1'",
        ),
    ],
)
def test_what_a_launcher_set_is_checked(
    launched: dict[str, str],
    said: str,
    painted: Path,
    tiny: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in launched.items():
        monkeypatch.setenv(name, value)
    settings = tiny | {"epochs": 1, "sampling.iterations": 1}
    if not said:
        assert run_to_end(read_crops(painted), settings, tmp_path / "run").weights_file.is_file()
        return
    with pytest.raises(ResightError, match=said):
        run_to_end(read_crops(painted), settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_changed_setting_without_effect_is_said_before_training(
    painted: Path, tiny: dict[str, object], tmp_path: Path
) -> None:
    class Begun(Exception):  # noqa: N818 (no error)
        pass

    class Listener(Reporter):
        def say(self, text: str) -> None:
            said.append(text)

        def progress(self, what: str, done: int, total: int) -> None:
            if what == "embedding":
                raise Begun

    said: list[str] = []
    config = build_config("adtc", None, tiny | {"clustering.eps": 0.5})
    with pytest.raises(Begun):
        fit(config, read_crops(painted), tmp_path / "run", reporter=Listener())
    assert [sentence.split(" has no effect on training")[0] for sentence in said] == ["The setting clustering.eps=0.5"]
