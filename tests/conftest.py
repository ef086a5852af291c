"""Small worlds that tests train on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resight.cli import main
from resight.training.reporting import Reporter


def _paint_crops(
    folder: Path, identities: int = 12, cameras: int = 2, shots: int = 4, cast: float = 0.25, noise: float = 12
) -> Path:
    """Writes crops named as Market-1501's: two-coloured figures under a cast of their camera's, with noise."""
    height, width = 32, 16
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    colours = rng.uniform(40, 215, (identities, 2, 3))
    casts = rng.uniform(1 - cast, 1 + cast, (cameras, 3))
    for identity in range(identities):
        for camera in range(cameras):
            for shot in range(shots):
                image = np.full((height, width, 3), 128.0)
                edge = int(rng.integers(1, 4))
                image[2 : height // 2, edge:-edge] = colours[identity, 0]
                image[height // 2 : -2, edge:-edge] = colours[identity, 1]
                image = image * casts[camera] + rng.normal(0, noise, image.shape)
                name = f"{identity + 1:04d}_c{camera + 1}s1_{shot:06d}_01.png"
                Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / name)
    return folder


@pytest.fixture(scope="session", name="paint_crops")
def _paint_crops_fixture() -> Callable[..., Path]:
    """The painter, for tests that want other crops than ``painted``."""
    return _paint_crops


@pytest.fixture(scope="session")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 crops of 12 identities in 2 cameras."""
    return _paint_crops(tmp_path_factory.mktemp("painted") / "crops")


@pytest.fixture(scope="session")
def in_process() -> Callable[..., tuple[int, str, str]]:
    """Runs the command with the given words, in this process: exit status, standard output, standard error."""

    def run(*words: object) -> tuple[int, str, str]:
        with (
            pytest.MonkeyPatch.context() as patch,
            redirect_stdout(StringIO()) as out,
            redirect_stderr(StringIO()) as err,
        ):
            patch.setattr(sys, "argv", ["resight", *map(str, words)])
            patch.setenv("COLUMNS", "200")
            with pytest.raises(SystemExit) as stop:
                main()
        return int(stop.value.code or 0), out.getvalue(), err.getvalue()

    return run


class _Stop(Reporter):
    """Interrupts a run, as a person would."""

    def __init__(self, moment: str) -> None:
        self.moment = moment

    def epoch(self, record: dict[str, object], epochs: int, sentences: Sequence[str] = ()) -> None:
        if self.moment == f"after epoch {record['epoch']}":
            raise KeyboardInterrupt

    def progress(self, what: str, done: int, total: int) -> None:
        if self.moment == f"in {what}" and done == 3:
            raise KeyboardInterrupt


@pytest.fixture(scope="session")
def stop_at() -> Callable[[str], Reporter]:
    """A reporter that interrupts its run "after epoch 2", say, or "in epoch 3", in the third step."""
    return _Stop


#: Settings under which a run on ``painted`` takes a second or two.
TINY: dict[str, object] = {
    "encoder.backbone": "resnet18",
    "encoder.weights": "none",
    "encoder.width_multiplier": 0.25,
    "encoder.height": 32,
    "encoder.width": 16,
    "encoder.last_stride": 1,
    "augmentation.pad": 2,
    "clustering.k1": 8,
    "clustering.k2": 3,
    "clustering.eps": 0.6,
    "sampling.clusters": 4,
    "sampling.crops": 4,
    "sampling.iterations": 6,
    "epochs": 3,
    "precision": "float32",
}


@pytest.fixture(scope="session")
def tiny() -> dict[str, object]:
    """The settings of a tiny run; add to them with ``tiny | {...}``."""
    return TINY
