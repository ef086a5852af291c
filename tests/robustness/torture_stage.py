"""What the calls of the corpus are made on: a few crops, a tiny model, and files damaged in many ways."""

from __future__ import annotations

import shutil
import tempfile
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

import resight
from resight.crops import CropTable
from resight.model import Model

HEIGHT, WIDTH = 32, 16
#: Settings of the tiny model.
TINY = {
    "encoder.backbone": "resnet18",
    "encoder.weights": "none",
    "encoder.width_multiplier": 0.125,
    "encoder.height": HEIGHT,
    "encoder.width": WIDTH,
    "augmentation.pad": 2,
    "clustering.k1": 6,
    "clustering.k2": 2,
    "clustering.eps": 0.7,
    "clustering.min_samples": 2,
    "sampling.clusters": 2,
    "sampling.crops": 2,
    "sampling.iterations": 1,
    "epochs": 1,
    "precision": "float32",
}


class Stage:
    """A folder with crops and a run; every case may read them, and writes to fresh paths.

    Args:
        root: An empty folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.crops = root / "crops"
        self._paint(self.crops, identities=6, cameras=2, shots=2)
        self.plain = root / "plain"  # crops of which nothing is known
        self.plain.mkdir()
        for number, file in enumerate(sorted(self.crops.iterdir())[:8]):
            shutil.copyfile(file, self.plain / f"{number}.png")
        self.cameras = root / "cameras"  # the same in one folder per camera
        for number, file in enumerate(sorted(self.plain.iterdir())):
            folder = self.cameras / f"gate {number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / file.name)
        self.empty = root / "empty"
        self.empty.mkdir()
        self.text = root / "text.txt"
        self.text.write_text("This is text.\n", encoding="utf-8")
        self.seen = root / "seen.csv"  # the crops with times of one clock and tracks
        rows = ["path,camera,time,track,quality"]
        for number, file in enumerate(sorted(self.crops.iterdir())):
            rows.append(f"crops/{file.name},gate {file.name[6]},{1.7e9 + 20 * number:.0f},{number // 2},0.{number % 9}")
        self.seen.write_text("\n".join(rows), encoding="utf-8")
        self.run = root / "run"
        resight.train("cluster_contrast", self.table, self.run, settings=TINY, cache=root / "pixels")

    @cached_property
    def table(self) -> CropTable:
        """The crops, with identities, cameras and a split."""
        return resight.read_crops(self.crops, train_identities=3)

    @cached_property
    def model(self) -> Model:
        """The tiny model."""
        return resight.load(self.run, "cpu")

    @cached_property
    def features(self) -> np.ndarray:
        """The embeddings of the crops."""
        return self.model.embed(self.table, cache=self.root / "pixels")

    def fresh(self, name: str = "") -> Path:
        """A path where nothing is, in a folder that exists."""
        path = Path(tempfile.mkdtemp(dir=self.root))  # another name in each process
        return path / name if name else path

    def copy_of_run(self) -> Path:
        """A copy of the run, to be damaged."""
        path = self.fresh("run")
        shutil.copytree(self.run, path)
        return path

    def _paint(self, folder: Path, identities: int, cameras: int, shots: int) -> None:
        rng = np.random.default_rng(0)
        folder.mkdir()
        colours = rng.uniform(40, 215, (identities, 3))
        for identity, camera, shot in np.ndindex(identities, cameras, shots):
            image = np.full((HEIGHT, WIDTH, 3), colours[identity]) + rng.normal(0, 12, (HEIGHT, WIDTH, 3))
            name = f"{identity + 1:04d}_c{camera + 1}s1_{shot:06d}_01.png"
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / name)
