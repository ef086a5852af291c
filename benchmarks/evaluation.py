"""Ranking metrics and re-ranking: Resight against the algorithm of the usual re-identification code.

That algorithm, written anew here: the whole matrix of distances by one float32 product in PyTorch, each row sorted in
full, and a Python loop over queries for CMC, AP and INP; for re-ranking, the ranking and the encodings of all crops as
dense arrays of (Q+G)² and Python loops over crops. Both run turn by turn in one process on the same seeded features;
the answers are compared. Features go in and metrics come out; compiling and loading is done before, on a few crops.

    python benchmarks/evaluation.py --size market1501 --repeats 3
    python benchmarks/evaluation.py --size market1501 --rerank
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import dataclass

import numba
import numpy as np
import psutil
import torch
from hard_features import hard_features, hard_world, precision_at_5
from measure import Measurement, measured

from resight.evaluation import RerankOptions, evaluate_retrieval, rerank_distances

#: Queries, gallery, persons, cameras, and how many of the gallery are distractors.
SIZES = {
    "small": (300, 2_000, 80, 6, 280),
    "market1501": (3_368, 19_732, 751, 6, 2_798),
    "msmt17": (11_659, 82_161, 3_060, 15, 0),
}
METRICS = ("mAP", "rank1", "rank5", "rank10", "mINP")
#: Bytes of the peers' re-ranking for each pair of crops: distances, sorted columns in 64 and 32 bits, and encodings.
DENSE_BYTES = 4 + 8 + 4 + 4


@dataclass
class Split:
    """Queries and gallery: ``(Q, D)`` and ``(G, D)`` float32 and the identities and cameras of each."""

    query: np.ndarray
    gallery: np.ndarray
    query_identity: np.ndarray
    gallery_identity: np.ndarray
    query_camera: np.ndarray
    gallery_camera: np.ndarray

    def arguments(self, queries: int | None = None, crops: int | None = None) -> tuple[np.ndarray, ...]:
        """As ``evaluate_retrieval`` takes them, or the first few of each."""
        return (
            self.query[:queries],
            self.gallery[:crops],
            self.query_identity[:queries],
            self.gallery_identity[:crops],
            self.query_camera[:queries],
            self.gallery_camera[:crops],
        )


def make_split(size: str, dim: int, seed: int, difficulty: float) -> Split:
    """Seeded queries and gallery of one of ``SIZES``."""
    queries, crops, people, cameras, distractors = SIZES[size]
    identity, camera = hard_world(queries + crops - distractors, people, cameras, seed)
    identity = np.concatenate([identity, np.zeros(distractors, np.int64)])
    camera = np.concatenate([camera, np.random.default_rng(seed).integers(0, cameras, distractors)])
    features = hard_features(identity, camera, dim, seed, difficulty=difficulty)
    return Split(
        features[:queries],
        features[queries:],
        identity[:queries],
        identity[queries:],
        camera[:queries],
        camera[queries:],
    )


def product_distances(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Squared Euclidean distances of all pairs: the squared lengths, then the product is added."""
    distances = first.square().sum(1, keepdim=True) + second.square().sum(1)
    return distances.addmm_(first, second.T, alpha=-2)


def unit(features: np.ndarray) -> torch.Tensor:
    """Rows of length 1."""
    return torch.nn.functional.normalize(torch.from_numpy(features))


def loop_metrics(distances: np.ndarray, split: tuple[np.ndarray, ...]) -> dict[str, float]:
    """CMC, mAP and mINP of a matrix of distances, from a full sort of it and a loop over queries.

    Which crops are right is looked up a query at a time; usual code holds one or two more arrays of Q×G for it.
    """
    _, _, query_identity, gallery_identity, query_camera, gallery_camera = split
    order = np.argsort(distances, axis=1)
    precision, inverse_negative, curves = [], [], []
    for q in range(len(distances)):
        ranked = order[q]
        right = gallery_identity[ranked] == query_identity[q]
        right = right[~(right & (gallery_camera[ranked] == query_camera[q]))]
        if not right.any():
            continue
        seen = right.cumsum()
        curves.append(np.minimum(seen[:50], 1))
        precision.append((seen / np.arange(1, len(seen) + 1) * right).sum() / seen[-1])
        inverse_negative.append(seen[-1] / (np.flatnonzero(right)[-1] + 1))
    cmc = np.mean(curves, axis=0)
    return {
        "mAP": float(np.mean(precision)),
        "rank1": float(cmc[0]),
        "rank5": float(cmc[4]),
        "rank10": float(cmc[9]),
        "mINP": float(np.mean(inverse_negative)),
    }


def reciprocal(ranking: np.ndarray, crop: int, depth: int) -> np.ndarray:
    """Crops among the first ``depth + 1`` of a crop's ranking that have it among theirs."""
    forward = ranking[crop, : depth + 1]
    return forward[(ranking[forward, : depth + 1] == crop).any(axis=1)]


def dense_rerank(query: np.ndarray, gallery: np.ndarray, k1: int = 20, k2: int = 6, lam: float = 0.3) -> np.ndarray:
    """k-reciprocal re-ranking with dense arrays of all pairs of crops; ``(Q, G)`` float32."""
    both = unit(np.concatenate([query, gallery]))
    distances = product_distances(both, both).numpy()
    del both
    size, num_queries = len(distances), len(query)
    distances /= distances.max(axis=1, keepdims=True)
    ranking = np.argsort(distances, axis=1).astype(np.int32)

    encoding = np.zeros((size, size), np.float32)
    for i in range(size):
        near = reciprocal(ranking, i, k1)
        members = near
        for c in near:
            half = reciprocal(ranking, c, int(np.around(k1 / 2)))
            if 3 * len(np.intersect1d(half, near)) > 2 * len(half):
                members = np.append(members, half)
        members = np.unique(members)
        weight = np.exp(-distances[i, members])
        encoding[i, members] = weight / weight.sum()
    distances = distances[:num_queries].copy()
    if k2 > 1:
        plain, encoding = encoding, np.zeros((size, size), np.float32)
        for i in range(size):
            encoding[i] = plain[ranking[i, :k2]].mean(axis=0)
        del plain
    del ranking
    inverse = [np.flatnonzero(encoding[:, m]) for m in range(size)]
    jaccard = np.empty((num_queries, size), np.float32)
    for i in range(num_queries):
        shared = np.zeros(size, np.float32)
        for m in np.flatnonzero(encoding[i]):
            shared[inverse[m]] += np.minimum(encoding[i, m], encoding[inverse[m], m])
        jaccard[i] = 1 - shared / (2 - shared)
    return ((1 - lam) * jaccard + lam * distances)[:, num_queries:]


def peers(split: tuple[np.ndarray, ...], rerank: bool) -> tuple[dict[str, float], np.ndarray | None]:
    """Metrics, and the re-ranked distances where there are any."""
    if rerank:
        distances = dense_rerank(*split[:2])
        return loop_metrics(distances, split), distances
    return loop_metrics(product_distances(unit(split[0]), unit(split[1])).numpy(), split), None


def resight(split: tuple[np.ndarray, ...], rerank: bool) -> dict[str, float]:
    """The same metrics by Resight."""
    found = evaluate_retrieval(*split, rerank=RerankOptions() if rerank else None)
    return {name: getattr(found, name) for name in METRICS}


def report(name: str, runs: list[Measurement]) -> None:
    """One line of the table."""
    seconds = [run.seconds for run in runs]
    spread = f"{min(seconds):9.2f} {statistics.median(seconds):9.2f} {max(seconds):9.2f}"
    print(f"{name:<22}{spread} {max(run.peak_mb for run in runs):12.0f}")


def main() -> None:
    """Runs the parts turn by turn and prints seconds, peak memory, ratios and how far the answers differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), default="small")
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--rerank", action="store_true", help="re-rank first, with k1=20, k2=6, lam=0.3")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--difficulty", type=float, default=1.0)
    parser.add_argument("--part", choices=["resight", "peers", "both"], default="both")
    options = parser.parse_args()

    data = make_split(options.size, options.dim, options.seed, options.difficulty)
    split = data.arguments()
    print(
        f"{options.size}: {len(data.query)} queries × {len(data.gallery)} gallery × {options.dim}, "
        f"{numba.get_num_threads()} threads (numba), {torch.get_num_threads()} (PyTorch); "
        f"precision@5 of the gallery's persons {precision_of(data):.3f}" + ("; re-ranked" if options.rerank else "")
    )
    parts = ["resight", "peers"] if options.part == "both" else [options.part]
    crops = len(data.query) + len(data.gallery)
    needed, there = DENSE_BYTES * crops**2, psutil.virtual_memory().available
    if options.rerank and "peers" in parts and needed > there:
        print(
            f"The dense re-ranking is skipped: its arrays of {crops}² need {needed / 1e9:.0f} GB at once "
            f"({4 * crops**2 / 1e9:.0f} GB each in float32), and {there / 1e9:.0f} GB are free."
        )
        parts.remove("peers")

    runs: dict[str, list[Measurement]] = {name: [] for name in parts}
    metrics: dict[str, dict[str, float]] = {}
    dense = None
    for name in parts:
        (peers if name == "peers" else resight)(data.arguments(50, 500), options.rerank)
    for _ in range(options.repeats):
        for name in parts:
            dense = None
            with measured() as run:
                if name == "peers":
                    metrics[name], dense = peers(split, options.rerank)
                else:
                    metrics[name] = resight(split, options.rerank)
            runs[name].append(run)

    print(f"{'':<22}{'min s':>9} {'median s':>9} {'max s':>9} {'peak MB':>12}")
    for name in parts:
        report("Resight" if name == "resight" else "the usual algorithm", runs[name])
    for name in parts:
        print(f"{name:<9}" + "  ".join(f"{key} {value:.6f}" for key, value in metrics[name].items()))
    if len(parts) < 2:
        return
    fast = min(run.seconds for run in runs["peers"]) / min(run.seconds for run in runs["resight"])
    small = max(run.peak_mb for run in runs["peers"]) / max(run.peak_mb for run in runs["resight"])
    apart = max(abs(metrics["peers"][key] - metrics["resight"][key]) for key in METRICS)
    print(
        f"Resight takes 1/{fast:.1f} of the time and 1/{small:.1f} of the memory; metrics differ by {apart:.1e} at most"
    )
    if dense is not None:
        error = np.abs(rerank_distances(*split[:2]) - dense)
        print(
            f"re-ranked distances differ by {error.max():.1e} at most, by more than 1e-5 in {(error > 1e-5).sum()} of "
            f"{error.size} pairs (where rounding parts near-equal neighbours otherwise)"
        )
    if apart > 1e-6:
        sys.exit("The metrics differ by more than 1e-6.")


def precision_of(data: Split) -> float:
    """Precision among the five nearest other crops of the gallery without distractors."""
    person = np.flatnonzero(data.gallery_identity > 0)
    return precision_at_5(data.gallery[person], data.gallery_identity[person])


if __name__ == "__main__":
    main()
