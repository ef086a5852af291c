"""Two-stage clustering: Resight against scikit-learn's k-means and a dense k-reciprocal distance.

The other side, written anew here: scikit-learn's PCA and k-means, then the k-reciprocal distance of crops and
centroids together in dense arrays by loops over crops, as the usual code has it, of which the centroids' rows are
sorted. Both run in one process on the same seeded features and, behind the PCA, on the same components, so that their
answers compare.

    python benchmarks/two_stage.py
    python benchmarks/two_stage.py --size market1501 --clusters 1000
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numba
import numpy as np
import torch
from clustering import SIZES, peers_jaccard, peers_neighbours
from hard_features import hard_features, hard_world
from measure import measured
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from resight.clustering import label_agreement, two_stage
from resight.clustering.two_stage import principal_components

Seconds = dict[str, tuple[float, float]]


@contextmanager
def timed(seconds: Seconds, name: str) -> Iterator[None]:
    """Notes the wall and the processor time of the body."""
    wall, processor = time.perf_counter(), time.process_time()
    yield
    seconds[name] = time.perf_counter() - wall, time.process_time() - processor


def peers_two_stage(
    features: np.ndarray, coordinates: np.ndarray, options: argparse.Namespace, seconds: Seconds
) -> np.ndarray:
    """Labels, -1 for crops that no centroid keeps."""
    with timed(seconds, "components"):
        unit = features / np.linalg.norm(features, axis=1, keepdims=True)
        PCA(options.components, random_state=options.seed).fit_transform(unit)
    with timed(seconds, "k-means"):
        found = KMeans(options.clusters, n_init=1, random_state=options.seed).fit(coordinates)
    with timed(seconds, "second stage"):
        points = torch.nn.functional.normalize(torch.from_numpy(np.concatenate([coordinates, found.cluster_centers_])))
        points = points.double() if options.double else points
        distances = peers_jaccard(points, peers_neighbours(points, options.k1), options.k2).astype(np.float32)
        size = len(features)
        labels, nearest = np.full(size, -1), np.full(size, np.inf)
        for cluster, row in enumerate(distances[size:, :size]):
            for crop in np.argsort(row, kind="stable")[: options.keep]:
                if row[crop] < min(nearest[crop], 1):
                    labels[crop], nearest[crop] = cluster, row[crop]
    return labels


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--clusters", type=int, help="M; a centroid for 13 crops if not given")
    parser.add_argument("--keep", type=int, default=20, help="p")
    parser.add_argument("--components", type=int, default=50)
    parser.add_argument("--k1", type=int, default=20)
    parser.add_argument("--k2", type=int, default=6)
    parser.add_argument("--part", choices=("both", "resight"), default="both")
    parser.add_argument("--double", action="store_true", help="the other side in float64: its ranks are not rounded")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    size, people, cameras = SIZES[options.size]
    options.clusters = options.clusters or -(-size // 13)
    identity, camera = hard_world(size, people, cameras, options.seed)
    features = hard_features(identity, camera, options.dim, options.seed)
    settings = {name: getattr(options, name) for name in ("components", "k1", "k2", "seed")}
    print(
        f"{size} × {options.dim}, {options.clusters} clusters, {options.keep} crops kept by each, "
        f"{options.components} components; {numba.get_num_threads()} threads"
    )
    two_stage(features[:400], 30, **settings)  # compile and load first

    ours: Seconds = {}
    with timed(ours, "components"):
        coordinates = principal_components(features, options.components)
    with timed(ours, "components and k-means"):
        first = two_stage(features, options.clusters, keep=None, **settings)
    with measured() as run, timed(ours, "all"):
        found = two_stage(features, options.clusters, keep=options.keep, **settings)
    print_side("Resight", ours, run.peak_mb)
    print(
        f"  {found.num_clusters} clusters, {found.facts['contested']} crops contested, {found.facts['unwanted']} "
        f"unwanted; ARI with the persons {label_agreement(found, identity):.3f}, of k-means alone "
        f"{label_agreement(first, identity):.3f}"
    )
    if options.part == "both":
        theirs: Seconds = {}
        with measured() as other_run, timed(theirs, "all"):
            other = peers_two_stage(features, coordinates, options, theirs)
        print_side("usual code", theirs, other_run.peak_mb)
        wall, processor = (b / a for a, b in zip(ours["all"], theirs["all"], strict=True))
        print(f"ratio of all: {wall:.1f} by the clock, {processor:.1f} by the processor; ", end="")
        print(f"memory {other_run.peak_mb / run.peak_mb:.1f}")
        print(f"agreement of the labels, unwanted crops alone: ARI {label_agreement(found, other):.6f}")


def print_side(name: str, seconds: Seconds, peak_mb: float) -> None:
    """One line: each part's seconds by the clock and, in brackets, of the processor."""
    parts = ", ".join(f"{part} {wall:.2f} s ({processor:.2f})" for part, (wall, processor) in seconds.items())
    print(f"{name}: {parts}; {peak_mb:.0f} MB")


if __name__ == "__main__":
    main()
