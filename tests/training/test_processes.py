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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import resight
from resight.methods import METHODS
from resight.training.run import RunFolder

#: What the processes run: the trainings that a file names, in turn. The second process is killed in the fifth step of
#: the last one.
TRAIN = """
import json, os, signal, sys
import torch
import resight
from resight.training.learner import Learner
torch.set_num_threads(1)
*jobs, last = json.loads(open(sys.argv[1]).read())
for job in jobs:
    resight.train(**job)
usual, steps = Learner.step, 0
def step(*args, **named):
    global steps
    steps += 1
    if steps == 5 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return usual(*args, **named)
Learner.step = step
resight.train(**last)
"""

TEACHER = {"ema.decay": 0.9, "ema.restart": True}
MERGING = {"method.first_epochs": 1, "method.stage_epochs": 1, "method.merge_share": 0.2}
CROPS = {"sampling.order": "crops", "sampling.clusters": 15, "sampling.crops": 1}
#: Steps whose rounding is not amplified: Adam divides a gradient near 0 by itself, and so chooses its direction by it.
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
        "optimizer.lr": 1e-3,
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
    for name, value in weights.items():
        apart = np.linalg.norm(value.astype(float) - found[name])
        assert apart <= 1e-3 * max(np.linalg.norm(value.astype(float)), 1e-3), name


@dataclass
class Trained:
    """What two processes left.

    Attributes:
        folder: Their run folders: one for each method, and ``killed``.
        job: What trains a method into one of them.
        said: What the first process said at last.
        codes: Exit statuses.
        seconds: Seconds from the end of the second process to that of the first.
    """

    folder: Path
    job: Callable[..., dict[str, Any]]
    said: str
    codes: tuple[int, int]
    seconds: float


@pytest.fixture(scope="module")
def trained(
    painted: Path, paint_crops: Callable[..., Path], tiny: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    """Two processes train by all methods, until one is killed."""
    folder = tmp_path_factory.mktemp("processes")
    source = paint_crops(folder / "source", identities=6)

    def job(method: str, name: str) -> dict[str, Any]:
        settings = tiny | STEPS | SETTINGS[method]
        learns_from = {"source": str(source)} if method == "mar" else {}
        return {"method": method, "data": str(painted), "out": str(folder / name), "settings": settings, **learns_from}

    file = folder / "jobs.json"
    file.write_text(json.dumps([*(job(method, method) for method in METHODS), job("pplr", "killed")]), encoding="utf-8")
    first, second = start([sys.executable, "-c", TRAIN, str(file)], 2)
    code = second.wait(timeout=300)
    died = time.monotonic()
    _, said = first.communicate(timeout=120)
    return Trained(folder, job, said, (first.returncode, code), time.monotonic() - died)


@pytest.mark.parametrize("method", METHODS)
def test_two_processes_train_as_one_does(method: str, trained: Trained) -> None:
    resight.train(**trained.job(method, f"{method}-alone"))
    compare(RunFolder(trained.folder / f"{method}-alone"), RunFolder(trained.folder / method))


def test_a_process_is_killed_and_another_number_goes_on(trained: Trained) -> None:
    """The other process says so at once. One process finishes the run, as if nothing had been."""
    killed = trained.folder / "killed"
    assert trained.codes == (1, -signal.SIGKILL), trained.said
    assert trained.seconds < 60
    assert "ProcessLost: Another of the 2 processes ended without a word" in trained.said
    assert f"Epoch 1 of 2 is saved in {killed}." in trained.said
    resight.train(**trained.job("pplr", "killed"), resume=True)
    compare(RunFolder(trained.folder / "pplr"), RunFolder(killed))


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
    assert "epoch 1/1" in printed[0]
    assert f"The model and its metrics are in {out}." in printed[0]
    assert "epoch" not in printed[1]
    assert RunFolder(out).evaluation_file.is_file()
