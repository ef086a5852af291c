"""A merge step of bottom-up clustering: Resight against the algorithm of the usual code.

That algorithm, as BUC's public code does it and written anew here: the distances of all pairs as a dense array, the
size penalty added to it, all its entries sorted, and a Python loop over the sorted pairs that overwrites labels. Both
run in one process on the same seeded features, at the first stage (every crop a cluster, 4 % of the crops merged) and
at a late one (about 14 % of the crops left as clusters), and their answers are compared.

    python benchmarks/bottom_up.py
    python benchmarks/bottom_up.py --size market1501 --repeats 3
"""

from __future__ import annotations

import argparse

import numba
import numpy as np
import torch
from hard_features import hard_features, hard_world
from measure import Measurement, measured, show, spread

from resight.clustering import merge_clusters
from resight.clustering.search.products import quickest_product

#: Crops, persons, cameras: a small set and the training set of the data set.
SIZES = {"small": (3_000, 180, 6), "market1501": (12_936, 751, 6)}
#: Merges of a stage and clusters of the late stage, as shares of the crops.
SHARE, LATE = 0.04, 1_800 / 12_936


def peers_merge(features: np.ndarray, labels: np.ndarray, merges: int, size_penalty: float) -> np.ndarray:
    """Labels after the merges, in no particular numbering."""
    unit = torch.nn.functional.normalize(torch.from_numpy(features))
    costs = (2 - 2 * (unit @ unit.T)).clamp_(min=0).sqrt_().numpy()
    sizes = np.bincount(labels)[labels].astype(np.float32)
    costs += np.float32(size_penalty) * sizes[:, None]
    costs += np.float32(size_penalty) * sizes[None]
    costs[np.tri(len(labels), dtype=bool)] = 1e5
    first, second = np.unravel_index(np.argsort(costs, axis=None), costs.shape)
    labels = labels.copy()
    for i, j in zip(first, second, strict=True):
        if merges == 0:
            break
        if labels[i] != labels[j]:
            labels[labels == labels[j]] = labels[i]
            merges -= 1
    return labels


def differing(labels: np.ndarray, others: np.ndarray) -> int:
    """Crops whose cluster holds other crops in the second clustering than in the first."""
    _, own, size = np.unique(labels, return_inverse=True, return_counts=True)
    _, other, other_size = np.unique(others, return_inverse=True, return_counts=True)
    _, both, both_size = np.unique(np.stack([own, other]), axis=1, return_inverse=True, return_counts=True)
    shared = both_size[both.reshape(-1)]
    return int(((shared != size[own]) | (shared != other_size[other])).sum())


def compare(features: np.ndarray, labels: np.ndarray, merges: int, options: argparse.Namespace) -> None:
    """Time both sides, turn by turn."""
    ours: list[Measurement] = []
    theirs: list[Measurement] = []
    for _ in range(options.repeats):
        with measured() as run:
            merging = merge_clusters(features, labels, merges, size_penalty=options.size_penalty)
        ours.append(run)
        if options.part == "both":
            with measured() as run:
                other = peers_merge(features, labels, merges, options.size_penalty)
            theirs.append(run)
    clusters = labels.max() + 1
    print(f"\n{merges} merges of {clusters} clusters, the largest of {np.bincount(labels).max()} crops")
    print(f"{'':9}{'time: median (range)':>28}  {'peak memory beyond the features':>12}")
    show("Resight", ours)
    if theirs:
        show("peers", theirs)
        times = [b.seconds / a.seconds for a, b in zip(ours, theirs, strict=True)]
        memory = max(run.peak_mb for run in theirs) / max(run.peak_mb for run in ours)
        print(f"ratio    {spread(times):>28}  {memory:12.1f}")
        print(f"clusters: {differing(merging.labels, other)} of {len(labels)} crops are in a different one")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="small", help="small, market1501 or a number of crops")
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--size-penalty", type=float, default=0.003)
    parser.add_argument("--part", choices=("both", "resight"), default="both")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    size, people, cameras = SIZES.get(options.size) or (int(options.size), int(options.size) // 17, 15)
    features = hard_features(*hard_world(size, people, cameras, options.seed), options.dim, options.seed)
    print(
        f"{size} × {options.dim} {features.dtype}, size penalty {options.size_penalty:g}; "
        f"{numba.get_num_threads()} threads, products in {quickest_product()}"
    )
    # compile and load first; with lists of one crop, the kernels that follow the lists too
    merge_clusters(features[:500], np.arange(500), 20, k=1)
    merge_clusters(features[:3000], np.arange(len(features[:3000])), 20)

    merges = round(SHARE * size)
    labels = np.arange(size)
    compare(features, labels, merges, options)
    while labels.max() + 1 > round(LATE * size):
        left = int(labels.max()) + 1 - round(LATE * size)
        labels = merge_clusters(features, labels, min(left, size // 5), size_penalty=options.size_penalty).labels
    compare(features, labels, merges, options)


if __name__ == "__main__":
    main()
