"""Several processes give one process's labels exactly and its figures up to rounding, for every method."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import resight
from resight.methods import METHODS
from resight.training.run import RunFolder

#: What the processes run: the trainings that a file names, one after another.
TRAIN = """
import json, sys
import torch
import resight
torch.set_num_threads(1)
for job in json.loads(open(sys.argv[1]).read()):
    resight.train(**job)
"""

TEACHER = {"ema.decay": 0.9, "ema.restart": True}
MERGING = {"method.first_epochs": 1, "method.stage_epochs": 1, "method.merge_share": 0.2}
CROPS = {"sampling.order": "crops", "sampling.clusters": 15, "sampling.crops": 1}
STEPS = {"epochs": 2, "sampling.iterations": 3, "optimizer.name": "sgd", "optimizer.lr": 2e-3}
#: Settings of each method with which two epochs use all that it has: its memories, its teacher, a batch norm over
#: groups, dropout, views, batches that two processes cannot halve.
SETTINGS: dict[str, dict[str, object]] = {
    "supervised": {"sampling.clusters": 3, "sampling.crops": 3, "encoder.dropout": 0.2},
    "cluster_contrast": {
        "optimizer.lr": 5e-4,
        "method.camera_weight": 0.5,
        "ema.decay": 0.9,
        "ema.keep": True,
        "embed_batch": 20,
    },
    "pplr": {
        "optimizer.name": "adam",
        "optimizer.lr": 3.5e-4,
        "encoder.height": 64,
        "encoder.parts": 2,
        "method.agreement_k": 8,
        "method.warmup_epochs": 1,
    },
    "dcmip": {"method.first_epochs": 1, "encoder.norm_groups": 2, **TEACHER},
    "idl_acl": {**CROPS, **MERGING, "sampling.iterations": 3, "encoder.norm_groups": 2},
    "adtc": {"method.clusters": 12, "method.round_epochs": 1, "method.components": 16, "method.settled": None},
    "mar": {
        **CROPS,
        "optimizer.lr": 1e-4,
        "sampling.source_crops": 12,
        "method.first_epochs": 1,
        "encoder.freeze_norms": False,
    },
}


def environment(rank: int, count: int, port: int, **more: str) -> dict[str, str]:
    """What a launcher sets."""
    launched = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
    return os.environ | launched | {"MASTER_PORT": str(port), "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"} | more


def free_port() -> int:
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return int(own.getsockname()[1])


def start(command: list[str], count: int, **more: str) -> list[subprocess.Popen[str]]:
    port = free_port()
    return [
        subprocess.Popen(
            command,
            env=environment(rank, count, port, **more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def train_in_processes(jobs: list[dict[str, Any]], count: int, folder: Path) -> None:
    file = folder / "jobs.json"
    file.write_text(json.dumps(jobs), encoding="utf-8")
    for process in start([sys.executable, "-c", TRAIN, str(file)], count):
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said


def labels_of(run: RunFolder) -> dict[str, np.ndarray]:
    return {file.name: np.load(file)["labels"] for file in sorted(run.path.glob("labels/*.npz"))}


def compare(one: RunFolder, several: RunFolder) -> None:
    """The same labels, and figures and weights that differ by rounding."""
    for (name, labels), (_, found) in zip(labels_of(one).items(), labels_of(several).items(), strict=True):
        assert np.array_equal(labels, found), f"{name}: other labels"
    for record, found in zip(one.read_metrics(), several.read_metrics(), strict=True):
        assert list(record) == list(found)
        for figure, value in record.items():
            assert found[figure] == pytest.approx(value, rel=1e-3, abs=1e-5), f"{figure} in epoch {record['epoch']}"
    weights, found = load_file(one.weights_file), load_file(several.weights_file)
    assert list(weights) == list(found)
    # Adam divides a gradient near 0 by itself, so that its rounding decides the direction of a step
    far = 0.2 if one.read_config().optimizer.name == "adam" else 1e-3
    for name, value in weights.items():
        apart = np.linalg.norm(value.astype(float) - found[name])
        assert apart <= far * max(np.linalg.norm(value.astype(float)), 1e-3), name


@pytest.fixture(scope="module")
def jobs(painted: Path, paint_crops: Callable[..., Path], tiny: dict[str, object], tmp_path_factory: Any) -> Any:
    """For each method what trains it, but the run folder."""
    source = paint_crops(tmp_path_factory.mktemp("source") / "crops", identities=6)
    assert SETTINGS.keys() == METHODS.keys()

    def described(method: str, out: Path, **more: Any) -> dict[str, Any]:
        settings = tiny | STEPS | SETTINGS[method]
        learns_from = {"source": str(source)} if method == "mar" else {}
        return {"method": method, "data": str(painted), "out": str(out), "settings": settings, **learns_from, **more}

    return described


def test_two_processes_are_as_good_as_one(jobs: Any, tmp_path: Path) -> None:
    """All methods, in two processes that stay for all of them."""
    train_in_processes([jobs(method, tmp_path / f"{method}-2") for method in METHODS], 2, tmp_path)
    for method in METHODS:
        resight.train(**jobs(method, tmp_path / f"{method}-1"))
        compare(RunFolder(tmp_path / f"{method}-1"), RunFolder(tmp_path / f"{method}-2"))


def test_a_process_is_killed_and_the_other_says_so_and_one_goes_on(jobs: Any, tmp_path: Path) -> None:
    """The run of two that was killed within its second epoch is finished by one process, as if nothing had been."""
    job = jobs("pplr", tmp_path / "run")
    killed = f"""
import os, signal
import torch
import resight
from resight.training.learner import Learner
torch.set_num_threads(1)
usual, steps = Learner.step, 0
def step(*args, **named):
    global steps
    steps += 1
    if steps == 5 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return usual(*args, **named)
Learner.step = step
resight.train(**{job!r})
"""
    first, second = start([sys.executable, "-c", killed], 2)
    assert second.wait(timeout=300) == -signal.SIGKILL
    died = time.monotonic()
    _, said = first.communicate(timeout=60)
    assert time.monotonic() - died < 30
    assert first.returncode == 1
    assert "ProcessLost: Another of the 2 processes ended without a word" in said
    assert f"Epoch 1 of 2 is saved in {tmp_path / 'run'}." in said
    resight.train(**job, resume=True)
    resight.train(**jobs("pplr", tmp_path / "alone"))
    compare(RunFolder(tmp_path / "alone"), RunFolder(tmp_path / "run"))


def test_two_machines_with_an_agent_each(painted: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    """The command under two agents of torchrun, as on two machines: one of them prints, and both end well."""
    words = [f"{name}={value}" for name, value in (tiny | {"epochs": 1, "sampling.iterations": 2}).items()]
    port, out = free_port(), tmp_path / "run"
    agents = []
    for node in range(2):
        launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", f"--node-rank={node}"]
        launcher += ["--nproc-per-node=1", "--master-addr=127.0.0.1", f"--master-port={port}"]
        command = ["-m", "resight", "train", "cluster_contrast", "--data", str(painted), "--train-identities", "9"]
        agents.append(
            subprocess.Popen(
                [*launcher, *command, "--out", str(out), "--quiet", *words],
                env=os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    printed = []
    for agent in agents:
        output, said = agent.communicate(timeout=300)
        assert agent.returncode == 0, said
        printed.append(output + said)
    assert "The model and its metrics are in" in printed[0]
    assert "epoch" not in printed[1]
    assert RunFolder(out).evaluation_file.is_file()
    assert not (out / ".lock").exists() or resight.load(out).run is not None
