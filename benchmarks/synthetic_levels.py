"""How far raw pixels and colours get on each level of the synthetic world: nearest neighbours without any learning.

A figure near 100 would mean that a level needs no model. What a trained model reaches is in docs/synthetic.md.

    python benchmarks/synthetic_levels.py --identities 200 --crops 4000
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import resight
from resight.evaluation import evaluate_splits
from resight.synthesis import LEVELS


def raw_pixels(image: Image.Image) -> np.ndarray:
    """64×32 pixels as one vector."""
    return np.asarray(image.resize((32, 64), Image.Resampling.BILINEAR), dtype=np.float32).ravel()


def colour_histogram(image: Image.Image, mode: str, stripes: int) -> np.ndarray:
    """Square roots of an 8×8×8 histogram in each of some horizontal stripes."""
    values = np.asarray(image.convert(mode)).astype(np.int64) // 32
    codes = values[..., 0] * 64 + values[..., 1] * 8 + values[..., 2]
    bands = np.array_split(codes, stripes, axis=0)
    counts = [np.bincount(band.ravel(), minlength=512) / band.size for band in bands]
    return np.sqrt(np.concatenate(counts)).astype(np.float32)


DESCRIPTORS = {
    "pixels 64×32": raw_pixels,
    "RGB": lambda image: colour_histogram(image, "RGB", 1),
    "HSV": lambda image: colour_histogram(image, "HSV", 1),
    "RGB, 6 stripes": lambda image: colour_histogram(image, "RGB", 6),
    "HSV, 6 stripes": lambda image: colour_histogram(image, "HSV", 6),
}


def main() -> None:
    """Prints mAP and rank-1 of each descriptor on each level."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--identities", type=int, default=200)
    parser.add_argument("--cameras", type=int, default=6)
    parser.add_argument("--crops", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--levels", nargs="+", default=list(LEVELS))
    arguments = parser.parse_args()
    print("mAP / rank-1 in per cent")
    for level in arguments.levels:
        with tempfile.TemporaryDirectory() as folder:
            table = resight.synthetic(
                Path(folder) / level, arguments.identities, arguments.cameras, arguments.crops, arguments.seed, level
            )
            images = []
            for row in range(len(table)):
                with Image.open(table.file(row)) as image:
                    images.append(image.convert("RGB"))
        cells = []
        for name, descriptor in DESCRIPTORS.items():
            features = np.stack([descriptor(image) for image in images])
            features /= np.linalg.norm(features, axis=1, keepdims=True)
            scores = evaluate_splits(features, table.identity, table.camera, table.split)
            cells.append(f"{name} {100 * scores.mAP:.1f} / {100 * scores.rank1:.1f}")
        print(f"{level}: " + "; ".join(cells))


if __name__ == "__main__":
    main()
