"""The command, run in the process of the test, and a run that it trained."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from resight.cli import main


@pytest.fixture
def resight(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Runs the command with the given words: exit status, standard output, standard error."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["resight", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "200")
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture(scope="session")
def run(
    in_process: Callable[..., tuple[int, str, str]],
    painted: Path,
    tiny: dict[str, object],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A run trained by the command."""
    out = tmp_path_factory.mktemp("cli") / "run"
    settings = [f"{name}={value}" for name, value in tiny.items()]
    words = ("train", "cluster_contrast", "--data", painted, "--out", out, "--train-identities", 8, "-q")
    status, said, told = in_process(*words, *settings)
    assert status == 0, told
    assert "rank-1" in said
    assert "epoch 3/3" in told
    assert "camera labels in training: none" in said
    return out
