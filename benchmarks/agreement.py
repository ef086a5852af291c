"""What refinement by parts adds to PPLR's clustering stage: a search in each part's space, and the cross agreement.

The other side, written anew here: float32 products and a top-k for each part, then a Python loop over crops and parts
that intersects and unites the two lists of neighbours, as the usual code has it. Both run in one process on the same
seeded features, and their agreements are compared. The neighbours of the whole crop are given: clustering needs them
with and without refinement.

    python benchmarks/agreement.py
    python benchmarks/agreement.py --size market1501 --repeats 3
"""

from __future__ import annotations

import argparse
import statistics

import numba
import numpy as np
import torch
from clustering import SIZES, peers_neighbours
from hard_features import hard_features, hard_world
from measure import measured

from resight.clustering import cross_agreement, nearest_neighbours


def peers_agreement(whole: np.ndarray, parts: list[np.ndarray], k: int) -> np.ndarray:
    """Agreement of every crop and part by set operations, in a loop."""
    result = np.empty((len(whole), len(parts)), np.float32)
    for crop, ours in enumerate(whole[:, 1 : k + 1]):
        for part, theirs in enumerate(found[crop, 1 : k + 1] for found in parts):
            result[crop, part] = len(np.intersect1d(ours, theirs)) / len(np.union1d(ours, theirs))
    return result


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--dim", type=int, default=1280, help="of EfficientNet-Lite0; 2048 of ResNet-50")
    parser.add_argument("--parts", type=int, default=3)
    parser.add_argument("--k", type=int, default=20, help="neighbours compared")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    size, people, cameras = SIZES[options.size]
    identity, camera = hard_world(size, people, cameras, options.seed)
    whole, *parts = (hard_features(identity, camera, options.dim, options.seed + n) for n in range(options.parts + 1))
    print(f"{size} × {options.dim}, {options.parts} parts, {options.k} neighbours; {numba.get_num_threads()} threads")
    depth = options.k + 1
    given = nearest_neighbours(whole, depth).indices
    cross_agreement(given, [given], options.k)  # compile first
    seconds: dict[str, list[float]] = {"search": [], "agreement": [], "usual search": [], "usual agreement": []}
    for _ in range(options.repeats):
        with measured() as search:
            lists = [nearest_neighbours(part, depth).indices for part in parts]
        with measured() as agreement:
            ours = cross_agreement(given, lists, options.k)
        with measured() as usual_search:
            rows = [torch.nn.functional.normalize(torch.from_numpy(part)) for part in parts]
            others = [peers_neighbours(part, depth) for part in rows]
        with measured() as usual_agreement:
            theirs = peers_agreement(given, others, options.k)
        for values, run in zip(seconds.values(), (search, agreement, usual_search, usual_agreement), strict=True):
            values.append(run.seconds)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{'':12}{'Resight':>10}{'usual code':>12}{'ratio':>8}")
    for name in ("search", "agreement"):
        a, b = middle[name], middle["usual " + name]
        print(f"{name:12}{a:8.2f} s{b:10.2f} s{b / a:8.1f}")
    a, b = (middle[kind + "search"] + middle[kind + "agreement"] for kind in ("", "usual "))
    print(f"{'both':12}{a:8.2f} s{b:10.2f} s{b / a:8.1f}")
    differ = np.abs(ours - theirs).max(axis=1) > 1e-6
    print(f"agreements that differ: {differ.sum()} of {size} crops, where float32 products rank equal neighbours anew")


if __name__ == "__main__":
    main()
