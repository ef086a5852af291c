"""The command, run in the process of the test, and a run that it trained."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
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
    """A run trained by the command."""
    out = tmp_path_factory.mktemp("cli") / "run"
    words = [f"{name}={value}" for name, value in tiny.items()]
    command = ["resight", "train", "cluster_contrast", "--data", str(painted), "--out", str(out)]
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(StringIO()) as said,
        redirect_stderr(StringIO()) as told,
    ):
        patch.setattr(sys, "argv", [*command, "--train-identities", "8", "-q", *words])
        with pytest.raises(SystemExit) as done:
            main()
    assert done.value.code == 0, told.getvalue()
    assert "rank-1" in said.getvalue()
    assert "epoch 3/3" in told.getvalue()
    assert "camera labels in training: none" in said.getvalue()
    return out
