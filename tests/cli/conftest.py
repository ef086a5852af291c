"""The command, run in the process of the test, and a run that it trained."""

from __future__ import annotations

import subprocess
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
def run(painted: Path, tiny: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained by the command, in another process."""
    out = tmp_path_factory.mktemp("cli") / "run"
    words = [f"{name}={value}" for name, value in tiny.items()]
    command = [sys.executable, "-m", "resight", "train", "cluster_contrast", "--data", str(painted), "--out", str(out)]
    done = subprocess.run(
        [*command, "--train-identities", "8", "-q", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "rank-1" in done.stdout
    assert "epoch 3/3" in done.stderr
    assert "camera labels in training: none" in done.stdout
    return out
