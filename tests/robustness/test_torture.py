"""A part of the corpus, drawn by a seed; ``make torture`` runs all of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_wrong_calls_get_a_sentence() -> None:
    command = [sys.executable, "-W", "ignore", str(Path(__file__).parent), "--seconds", "5", "--mended"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
