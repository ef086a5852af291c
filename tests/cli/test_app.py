"""The command as a whole: help, errors in one sentence, and what it imports."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from resight import __version__
from resight.cli.app import app
from resight.cli.gallery import COMMANDS as GALLERY_COMMANDS
from resight.crops import FORMATS
from resight.encoders import Encoder

COMMANDS = (
    "train", "demo", "bench", "evaluate", "compare", "transfer", "embed", "cluster", "journeys", "describe", "report",
    "watch", "study", "search", "identify", "ingest", "check", "synth", "thin", "methods", "recipes",
)  # fmt: skip
#: Commands that compute with a model, each with what it needs besides a run folder.
COMPUTING = {
    "train": ("cluster_contrast", "--data", "/nowhere"),
    "demo": (),
    "bench": ("cluster_contrast",),
    "evaluate": ("RUN", "--data", "/nowhere"),
    "transfer": ("RUN", "--source-data", "/nowhere", "--data", "/nowhere"),
    "embed": ("RUN", "--data", "/nowhere", "--to", "e.npz"),
    "cluster": ("RUN", "--data", "/nowhere", "--to", "c.csv"),
    "journeys": ("RUN", "--data", "/nowhere", "--to", "j"),
    "describe": ("RUN", "--data", "/nowhere"),
    "show attention": ("RUN", "--data", "/nowhere", "--to", "m.png"),
    "report": ("RUN", "--data", "/nowhere", "--to", "r.html"),
}


def test_version_and_help(resight: Callable[..., tuple[int, str, str]]) -> None:
    assert resight("--version")[1] == f"resight {__version__}\n"
    assert [command.callback.__name__ for command in app.registered_commands if command.callback] == list(COMMANDS)
    for command in (*COMMANDS, *(f"gallery {name}" for name in GALLERY_COMMANDS)):
        status, out, _ = resight(*command.split(), "--help")
        assert status == 0
        assert f"Example: resight {command}" in " ".join(out.split())


def test_help_of_each_picture(resight: Callable[..., tuple[int, str, str]]) -> None:
    (group,) = [group for group in app.registered_groups if group.name == "show"]
    assert group.typer_instance is not None
    shown = [command.callback.__name__ for command in group.typer_instance.registered_commands if command.callback]
    assert shown == ["ranks", "clusters", "attention", "tsne", "curves", "cameras"]
    for picture in shown:
        assert f"Example: resight show {picture}" in " ".join(resight("show", picture, "--help")[1].split())


def test_formats_in_the_help_are_those_that_are_read(resight: Callable[..., tuple[int, str, str]]) -> None:
    words = " ".join(resight("check", "--help")[1].replace("│", " ").split())
    assert f"Format of the data: auto, {', '.join([*FORMATS][:-1])} or {[*FORMATS][-1]}." in words


@pytest.mark.parametrize("command", COMPUTING)
def test_every_command_that_computes_takes_a_device(
    command: str,
    run: Path,
    tmp_path: Path,
    resight: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    words = [str(run) if word == "RUN" else word for word in COMPUTING[command]]
    for device, said in (("mps", "There is no device 'mps'"), ("cuda:1", "it sees 1 GPU, numbered from 0")):
        status, out, err = resight(*command.split(), *words, "--device", device)
        assert (status, out) == (2, "")
        assert said in err
    assert not list(tmp_path.iterdir())  # said before any work
    assert "Apple's MPS is not supported" in resight(*command.split(), "--help")[1]


@pytest.mark.parametrize(
    "command", ["evaluate", "transfer", "embed", "cluster", "describe", "show attention", "report"]
)
def test_a_gpu_is_used_unless_something_else_is_asked_for(
    command: str, run: Path, resight: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[torch.device] = []

    honest = Encoder.to

    def move(encoder: Encoder, *device: torch.device, **options: Any) -> Encoder:
        used.extend(device)
        return honest(encoder, **options) if options else encoder

    monkeypatch.setattr(Encoder, "to", move)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    words = [str(run) if word == "RUN" else word for word in COMPUTING[command]]
    for options in ((), ("--device", "auto"), ("--device", "cuda:2"), ("--device", "cpu")):
        status, _, err = resight(*command.split(), *words, *options)
        assert status == 2
        # the model was loaded by then
        assert ("has no reference identities" if command == "describe" else "There is nothing at /nowhere") in err
    assert list(map(str, used)) == ["cuda", "cuda", "cuda:2", "cpu"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "nothing", "--data", "CROPS"], "There is no method 'nothing'"),
        (["train", "cluster_contrast", "--data", "/nowhere"], "/nowhere"),
        (["train", "cluster_contrast", "--data", "CROPS", "epoch=3"], "Did you mean 'epochs'?"),
        (["train", "cluster_contrast", "--data", "CROPS", "--resume"], "--out"),
        (["evaluate", "CROPS", "--data", "CROPS"], "not a run folder"),
        (["embed", "RUN", "--data", "CROPS", "--to", "e.txt"], ".parquet or .npz"),
        (["show", "attention", "RUN", "--data", "CROPS", "--to", "m.pdf"], "ending in .png or .jpg"),
        (["show", "attention", "CROPS", "--data", "CROPS", "--to", "m.png"], "not a run folder"),
        (["cluster", "RUN", "--data", "CROPS", "--to", "/nowhere/c.csv"], "no folder"),
        (["evaluate", "RUN", "--data", "CROPS"], "--train-identities"),
        (["transfer", "RUN", "CROPS", "--source-data", "CROPS", "--data", "CROPS"], "not a run folder"),
        (["transfer", "RUN", "--source-data", "CROPS", "--data", "CROPS"], "--train-identities"),
        (["thin", "--data", "CROPS", "--to", "t.txt"], ".csv or .parquet"),
        (["describe", "RUN", "--data", "CROPS"], "no reference identities"),
        (["cluster", "RUN", "--data", "CROPS", "--to", "c.csv", "--algorithm", "two_stage", "--eps", "1"], "'eps'"),
        (
            ["cluster", "RUN", "--data", "CROPS", "--to", "c.csv", "clustering.eps=2"],
            "The setting eps=2 is not possible",
        ),
        (["cluster", "RUN", "--data", "CROPS", "--to", "c.csv", "eps"], "is not a setting: write key=value"),
        (["describe", "RUN", "--data", "CROPS", "--to", "d.txt"], ".csv or .parquet"),
        (["train", "cluster_contrast", "--data", "CROPS", "--source", "CROPS"], "does not learn from a source"),
        (["recipes", "nothing"], "There is no method"),
        (["bench", "nothing"], "There is no method 'nothing'"),
        (["bench", "cluster_contrast", "epoch=3"], "Did you mean 'epochs'?"),
    ],
)
def test_bad_input_is_one_sentence(
    words: list[str],
    said: str,
    run: Path,
    painted: Path,
    resight: Callable[..., tuple[int, str, str]],
) -> None:
    places = {"CROPS": str(painted), "RUN": str(run)}
    status, _, err = resight(*(places.get(word, word) for word in words))
    assert status == 2
    assert err.startswith("resight: ")
    assert said in err
    assert "Traceback" not in err
    assert err.count("\n") == 1


def test_import_is_quick_and_light() -> None:
    script = (
        "import sys, time; start = time.perf_counter(); import resight; took = time.perf_counter() - start; "
        "print([m for m in ('torch', 'accelerate', 'sklearn', 'numba', 'PIL', 'pyarrow', 'rich', 'pydantic') "
        "if m in sys.modules]); print(took)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy, took = done.stdout.splitlines()
    assert heavy == "[]"
    assert float(took) < 0.5  # a hundredth of it on an idle machine; torch alone takes more


def test_the_command_starts_without_what_computes() -> None:
    script = (
        "import sys; from resight.cli.app import app; "
        "print([m for m in ('torch', 'sklearn', 'numba', 'PIL', 'pyarrow', 'numpy', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
