"""The clustering stage, features in and pseudo-labels out: Resight against the algorithm of the usual code.

That algorithm, written anew here: float32 products and a top-k for the neighbours, Python loops over crops for the
reciprocal sets, the weights, their averages and the distances, each in a dense array of N×N, then scikit-learn's DBSCAN
on the dense distances. Both run in one process on the same seeded features, and their answers are compared.

    python benchmarks/clustering.py --size small --grid       agreement for several settings, with duplicates and ties
    python benchmarks/clustering.py --size market1501 --repeats 3
    python benchmarks/clustering.py --size msmt17
    python benchmarks/clustering.py --size 1000000 --dim 512 --part resight --float16 --scratch DIR
    python benchmarks/clustering.py --size 100000 --dim 512 --part approximate
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from hard_features import hard_features, hard_world, precision_at_5
from measure import Measurement, measured, show, spread
from sklearn.cluster import DBSCAN

from resight.clustering import dbscan, jaccard_distance, label_agreement, nearest_neighbours
from resight.clustering.search.products import quickest_product

#: Crops, persons, cameras: the training sets of the two data sets, and a small one.
SIZES = {"small": (3_000, 180, 6), "market1501": (12_936, 751, 6), "msmt17": (32_621, 1_041, 15)}
#: Difficulty of other sizes, up to so many crops, for about 0.8 precision among the five nearest at 512 dimensions: the
#: more persons share a space of the same dimensions, the less each may scatter.
DIFFICULTY = {50_000: 0.9, 150_000: 0.82, 400_000: 0.78, 10**9: 0.74}


def peers_neighbours(unit: torch.Tensor, k1: int) -> np.ndarray:
    """``(N, k1)`` nearest crops; ties fall as the product rounds and the top-k happens to order them."""
    blocks = range(0, len(unit), 1024)
    return torch.cat([(unit[i : i + 1024] @ unit.T).topk(k1, dim=1).indices for i in blocks]).numpy()


def peers_jaccard(unit: torch.Tensor, ranking: np.ndarray, k2: int) -> np.ndarray:
    """The k-reciprocal Jaccard distance as dense arrays and loops; ``(N, N)`` in the precision of ``unit``."""
    size, k1 = ranking.shape
    kind = unit.numpy().dtype

    def reciprocal(i: int, depth: int) -> np.ndarray:
        forward = ranking[i, :depth]
        return forward[(ranking[forward, :depth] == i).any(axis=1)]

    near = [reciprocal(i, k1) for i in range(size)]
    half = [reciprocal(i, round(k1 / 2) + 1) for i in range(size)]
    weights = np.zeros((size, size), kind)
    for i in range(size):
        members = near[i]
        for c in near[i]:
            if 3 * len(np.intersect1d(half[c], near[i])) > 2 * len(half[c]):
                members = np.append(members, half[c])
        members = np.unique(members)
        distances = 2 - 2 * (unit[i : i + 1] @ unit[members].T)
        weights[i, members] = torch.softmax(-distances, dim=1).numpy()[0]
    if k2 > 1:
        plain, weights = weights, np.empty((size, size), kind)
        for i in range(size):
            weights[i] = plain[ranking[i, :k2]].mean(axis=0)
        del plain
    holders = [np.flatnonzero(weights[:, m]) for m in range(size)]
    result = np.empty((size, size), kind)
    for i in range(size):
        shared = np.zeros(size, kind)
        for m in np.flatnonzero(weights[i]):
            rows = holders[m]
            shared[rows] += np.minimum(weights[i, m], weights[rows, m])
        result[i] = 1 - shared / (2 - shared)
    return np.maximum(result, 0, out=result)


def peers_stage(features: np.ndarray, k1: int, k2: int, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels and dense distances."""
    unit = torch.nn.functional.normalize(torch.from_numpy(features))
    distances = peers_jaccard(unit, peers_neighbours(unit, k1), k2)
    return DBSCAN(eps=eps, min_samples=4, metric="precomputed", n_jobs=-1).fit_predict(distances), distances


def resight_stage(features: np.ndarray, options: argparse.Namespace, search: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Labels, and what each part took in seconds."""
    start = time.perf_counter()
    neighbours = nearest_neighbours(features, options.k1, search=search, recall=options.recall, device=options.device)
    found = time.perf_counter()
    distances = jaccard_distance(neighbours, options.k1, options.k2, max_distance=options.eps)
    compared = time.perf_counter()
    labels = dbscan(distances, options.eps)
    end = time.perf_counter()
    parts = {"neighbours": found - start, "Jaccard": compared - found, "DBSCAN": end - compared}
    return labels, {"parts": parts, "recall": neighbours.recall, "entries": distances.nnz / len(labels)}


def make_features(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Seeded features, in memory or as a memory map of float16, and identities."""
    if options.size in SIZES:
        (size, people, cameras), difficulty = SIZES[options.size], 1.0
    else:
        size, people, cameras = int(options.size), int(options.size) // 17, 15
        difficulty = next(value for most, value in DIFFICULTY.items() if size <= most)
    if options.difficulty is not None:
        difficulty = options.difficulty
    identity, camera = hard_world(size, people, cameras, options.seed)
    out = None
    if options.float16:
        folder = Path(options.scratch or tempfile.gettempdir())
        with tempfile.TemporaryFile(dir=folder) as file:
            out = np.memmap(file, np.float16, mode="w+", shape=(size, options.dim))
    return hard_features(identity, camera, options.dim, options.seed, difficulty=difficulty, out=out), identity


def agreement(features: np.ndarray, options: argparse.Namespace) -> None:
    """Compare distances and labels for a grid of settings, on features with duplicates and ties.

    The reference runs in float64 here and breaks ties as Resight says it does (itself first, then by index): among
    equal distances the usual code's answer is an accident of rounding.
    """
    features = features.copy()
    rng = np.random.default_rng(options.seed)
    copies = rng.choice(len(features), len(features) // 10, replace=False)
    features[copies] = features[rng.choice(len(features), len(copies))]
    rough = rng.choice(len(features), len(features) // 3, replace=False)
    features[rough] = np.round(features[rough] / features.std()) * features.std()  # few distinct values: ties
    unit = features.astype(np.float64)
    unit = (unit / np.linalg.norm(unit, axis=1, keepdims=True)).astype(np.float32).astype(np.float64)
    ranking = np.empty((len(unit), 30), np.int64)
    for i in range(len(unit)):
        distance = ((unit - unit[i]) ** 2).sum(axis=1).astype(np.float32)
        distance[i] = -1
        ranking[i] = np.argsort(distance, kind="stable")[:30]
    print("k1  eps   max |ΔJ| where J < 1   labels equal   clusters  outliers")
    for k1 in (20, 30):
        dense = peers_jaccard(torch.from_numpy(unit), ranking[:, :k1], options.k2).astype(np.float32)
        sparse = jaccard_distance(features, k1, options.k2)
        full = np.ones(dense.shape, np.float32)
        full[np.repeat(np.arange(len(dense)), np.diff(sparse.indptr)), sparse.indices] = sparse.data
        worst = float(abs(full - dense)[(dense < 1) | (full < 1)].max())
        for eps in (0.4, 0.5, 0.6, 0.7):
            theirs = DBSCAN(eps=eps, min_samples=4, metric="precomputed").fit_predict(dense)
            ours = dbscan(jaccard_distance(features, k1, options.k2, max_distance=eps), eps)
            same = bool((ours == theirs).all())
            print(f"{k1}  {eps}   {worst:20.1e}   {same!s:>12}   {ours.max() + 1:8d}  {int((ours < 0).sum()):8d}")
            if not same or worst > 1e-5:
                raise SystemExit("The answers differ.")


def compare(features: np.ndarray, identity: np.ndarray, options: argparse.Namespace) -> None:
    """Time both sides, turn by turn."""
    ours: list[Measurement] = []
    theirs: list[Measurement] = []
    for _ in range(options.repeats):
        if options.part != "peers":
            with measured() as run:
                labels, told = resight_stage(features, options, options.search)
            ours.append(run)
            parts = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in told["parts"].items())
            recall = "" if told["recall"] is None else f"; {100 * told['recall']:.1f} % of the true neighbours found"
            print(f"Resight: {parts}; {told['entries']:.0f} distances a crop{recall}")
        if options.part in ("both", "peers"):
            with measured() as run:
                other, _ = peers_stage(features, options.k1, options.k2, options.eps)
            theirs.append(run)
    print(f"\n{'':9}{'time: median (range)':>28}  {'peak memory beyond the features':>12}")
    if ours:
        show("Resight", ours)
        score = label_agreement(identity, labels)
        print(f"         {labels.max() + 1} clusters, {(labels < 0).sum()} outliers, ARI with the persons {score:.3f}")
    if theirs:
        show("peers", theirs)
    if ours and theirs:
        times = [b.seconds / a.seconds for a, b in zip(ours, theirs, strict=True)]
        memory = max(run.peak_mb for run in theirs) / max(run.peak_mb for run in ours)
        print(f"ratio    {spread(times):>28}  {memory:12.1f}")
        differ = int((labels != other).sum())
        agree = label_agreement(labels, other)
        print(f"labels: {differ} of {len(labels)} differ (numbering included), ARI {agree:.6f}")


def approximate(features: np.ndarray, identity: np.ndarray, options: argparse.Namespace) -> None:
    """The approximate search beside the exact one: time, recall, and how far the labels agree."""
    labels = {}
    for search in ("exact", "approximate"):
        with measured() as run:
            labels[search], told = resight_stage(features, options, search)
        recall = 1.0 if told["recall"] is None else told["recall"]
        score = label_agreement(identity, labels[search])
        parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in told["parts"].items())
        print(
            f"{search:12} {run.seconds:8.1f} s ({parts}), {run.peak_mb:6.0f} MB, recall {recall:.4f}, "
            f"{labels[search].max() + 1} clusters, ARI with the persons {score:.4f}"
        )
    print(f"ARI of the approximate labels with the exact ones: {label_agreement(*labels.values()):.4f}")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="small", help="small, market1501, msmt17 or a number of crops")
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--k1", type=int, default=30)
    parser.add_argument("--k2", type=int, default=6)
    parser.add_argument("--eps", type=float, default=0.6)
    parser.add_argument("--part", choices=("both", "resight", "peers", "approximate"), default="both")
    parser.add_argument("--grid", action="store_true", help="compare the answers for several settings, untimed")
    parser.add_argument("--search", choices=("auto", "exact", "approximate"), default="auto")
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--device", help="where Resight searches, as torch names it")
    parser.add_argument("--float16", action="store_true", help="features in a memory map of float16")
    parser.add_argument("--scratch", help="folder for that memory map")
    parser.add_argument("--difficulty", type=float, help="of the features; by default for about 0.8 precision")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    features, identity = make_features(options)
    print(
        f"{len(features)} × {options.dim} {features.dtype}, k1={options.k1}, k2={options.k2}, eps={options.eps}; "
        f"{100 * precision_at_5(features, identity):.0f} % of the five nearest are the same person; "
        f"{numba.get_num_threads()} threads, products in {quickest_product()}"
    )
    # compile and load first
    few = np.random.default_rng(0).normal(size=(3000, options.dim)).astype(features.dtype)
    resight_stage(few, argparse.Namespace(**{**vars(options), "recall": 0.5}), "approximate")
    resight_stage(few, options, "exact")
    if options.grid:
        agreement(features, options)
    elif options.part == "approximate":
        approximate(features, identity, options)
    else:
        compare(features, identity, options)


if __name__ == "__main__":
    main()
