"""The clustering stage with every part that uses cameras on, against the plain stage.

Plain: neighbours, Jaccard distance, DBSCAN. With cameras: mean and deviation of each camera are taken away, neighbours
are searched within and across cameras (CA-Jaccard), and clusters of one camera are left out. Both run turn by turn in
one process on the same seeded features.

    python benchmarks/camera_clustering.py --repeats 3                      Market-1501's size: 12,936 × 2,048
    python benchmarks/camera_clustering.py --size 100000 --dim 512
    python benchmarks/camera_clustering.py --size 1000000 --dim 512 --part cameras --float16 --scratch DIR
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numba
import numpy as np
from hard_features import hard_features, hard_world, precision_at_5
from measure import Measurement, measured, show, spread

from resight.clustering import cluster_crops, label_agreement, leave_out_one_camera
from resight.clustering.search.products import quickest_product


def plain_stage(features: np.ndarray, options: argparse.Namespace) -> np.ndarray:
    """Labels without cameras."""
    return cluster_crops(features, k1=options.k1, eps=options.eps, search=options.search).labels


def camera_stage(features: np.ndarray, camera: np.ndarray, options: argparse.Namespace) -> np.ndarray:
    """Labels with all parts that use cameras."""
    found = cluster_crops(
        features,
        eps=options.camera_eps,
        camera=camera,
        centre_cameras=True,
        scale_cameras=True,
        camera_jaccard=True,
        search=options.search,
    )
    return leave_out_one_camera(found, camera).labels


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=12_936, help="number of crops")
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--cameras", type=int, default=6)
    parser.add_argument("--k1", type=int, default=30)
    parser.add_argument("--eps", type=float, default=0.6)
    parser.add_argument("--camera-eps", type=float, default=0.6)
    parser.add_argument("--difficulty", type=float, default=0.8, help="of the features")
    parser.add_argument("--search", choices=("auto", "exact", "approximate"), default="auto")
    parser.add_argument("--part", choices=("both", "plain", "cameras"), default="both")
    parser.add_argument("--float16", action="store_true", help="features in a memory map of float16")
    parser.add_argument("--scratch", type=Path, help="folder for that memory map")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    identity, camera = hard_world(options.size, options.size // 17, options.cameras, options.seed)
    out = None
    if options.float16:
        with tempfile.TemporaryFile(dir=options.scratch) as file:
            out = np.memmap(file, np.float16, mode="w+", shape=(options.size, options.dim))
    features = hard_features(identity, camera, options.dim, options.seed, difficulty=options.difficulty, out=out)
    print(
        f"{len(features)} × {options.dim} {features.dtype}, {options.cameras} cameras; "
        f"{100 * precision_at_5(features, identity):.0f} % of the five nearest are the same person; "
        f"{numba.get_num_threads()} threads, products in {quickest_product()}",
        flush=True,
    )
    few = slice(0, 2000)
    plain_stage(features[few], options)  # compile and load first
    camera_stage(features[few], camera[few], options)
    runs: dict[str, list[Measurement]] = {"plain": [], "cameras": []}
    processor: dict[str, list[float]] = {"plain": [], "cameras": []}
    labels: dict[str, np.ndarray] = {}
    for _ in range(options.repeats):
        for part in ("plain", "cameras") if options.part == "both" else (options.part,):
            start = time.process_time()
            with measured() as run:
                labels[part] = (
                    plain_stage(features, options) if part == "plain" else camera_stage(features, camera, options)
                )
            processor[part].append(time.process_time() - start)
            runs[part].append(run)
            print(f"{part}: {run.seconds:.2f} s, of the processor {processor[part][-1]:.2f} s", flush=True)
    print(f"\n{'':9}{'time: median (range)':>28}  {'peak memory beyond the features':>12}")
    for part, found in labels.items():
        show(part, runs[part])
        score = label_agreement(identity, found)
        print(
            f"         processor {spread(processor[part])} s; {found.max() + 1} clusters, "
            f"{(found < 0).sum()} outliers, ARI with the persons {score:.3f}"
        )
    if options.part == "both":
        for name, times in (
            ("time", {part: [run.seconds for run in runs[part]] for part in runs}),
            ("processor", processor),
        ):
            ratios = [b / a for a, b in zip(times["plain"], times["cameras"], strict=True)]
            print(f"ratio of {name}, cameras to plain: {spread(ratios)}")


if __name__ == "__main__":
    main()
