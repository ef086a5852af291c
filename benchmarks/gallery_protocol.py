"""The scores of a gallery beside those of ``resight evaluate``, query by query.

    python benchmarks/gallery_protocol.py RUN DATA --train-identities N [--precision float16,float32] [--cache FOLDER]

Adds the gallery crops of the split to a new gallery, searches it with each query, ignores crops of the query's identity
in the query's camera, and prints rank-1 and mAP of both, how many queries differ in rank-1 or in average precision, and
by how much.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np

import resight
from resight.evaluation import evaluate_retrieval


def scores_of(ranked: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Rank-1 and average precision of a ranking.

    Args:
        ranked: ``(G,)`` identities in the order of the ranking, ignored crops left out.
        right: The identity asked for.
    """
    hits = np.flatnonzero(ranked == right)
    return float(hits[0] == 0), float(np.mean((1 + np.arange(len(hits))) / (1 + hits)))


def evaluated(
    features: np.ndarray, table: resight.CropTable, query: np.ndarray, inside: np.ndarray
) -> dict[int, tuple[float, float]]:
    """Rank-1 and average precision by ``resight evaluate``'s code of each query that has something to find."""
    found = {}
    for row in query.tolist():
        other = table.camera[inside] != table.camera[row]
        if not ((table.identity[inside] == table.identity[row]) & other).any():
            continue
        one = evaluate_retrieval(
            features[[row]], features[inside], table.identity[[row]], table.identity[inside],
            table.camera[[row]], table.camera[inside],
        )  # fmt: skip
        found[row] = one.rank1, one.mAP
    return found


def searched(
    gallery: resight.Gallery, features: np.ndarray, table: resight.CropTable, query: np.ndarray, inside: np.ndarray
) -> dict[int, tuple[float, float]]:
    """The same by searching a gallery that holds the crops ``inside``."""
    answers = gallery.search_many(features[query], len(inside))
    row_of = {str(table.file(int(row)).absolute()): int(row) for row in inside}
    source = {hit.sighting: hit.source for hit in gallery.sightings(np.sort(answers[0][0]).tolist())}
    found = {}
    for row, (sightings, _) in zip(query.tolist(), answers, strict=True):
        order = np.array([row_of[source[one]] for one in sightings.tolist()])
        keep = (table.identity[order] != table.identity[row]) | (table.camera[order] != table.camera[row])
        keep &= table.identity[order] != -1
        if (table.identity[order[keep]] == table.identity[row]).any():
            found[row] = scores_of(table.identity[order[keep]], table.identity[row])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("data")
    parser.add_argument("--train-identities", type=int, required=True)
    parser.add_argument("--precision", default="float16,float32")
    parser.add_argument("--cache")
    arguments = parser.parse_args()
    table = resight.read_crops(arguments.data, train_identities=arguments.train_identities)
    table = table.select(table.split != "train")
    model = resight.load(arguments.run, "cpu")
    scored = resight.evaluate(model, table, cache=arguments.cache)
    features = model.embed(table, cache=arguments.cache)
    query, inside = np.flatnonzero(table.split == "query"), np.flatnonzero(table.split == "gallery")
    print(f"resight evaluate: rank-1 {scored['rank1']:.6f}, mAP {scored['mAP']:.6f}", flush=True)
    right = evaluated(features, table, query, inside)
    for precision in arguments.precision.split(","):
        folder = Path(tempfile.mkdtemp(prefix="resight-gallery-"))
        try:
            with resight.Gallery.create(folder / "g", arguments.run, precision=precision, device="cpu") as gallery:
                print(gallery.add(table.select(inside)))
                own = searched(gallery, features, table, query, inside)
        finally:
            shutil.rmtree(folder)
        ours, theirs = (np.array([scores[row] for row in sorted(right)]) for scores in (own, right))
        rank1, mean = ours.mean(axis=0)
        apart = np.abs(ours - theirs)
        other = apart[:, 1] > 1e-9
        print(f"gallery, {precision}: rank-1 {rank1:.6f}, mAP {mean:.6f}")
        print(
            f"  {len(own)} of {scored['scored_queries']} queries compared: rank-1 of {int((apart[:, 0] > 0).sum())} "
            f"and average precision of {int(other.sum())} differ; average precision by {apart[other, 1].mean():.6f} "
            f"on average among these and {apart[:, 1].max():.6f} at most"
            if other.any()
            else f"  {len(own)} of {scored['scored_queries']} queries compared: none differs",
            flush=True,
        )


if __name__ == "__main__":
    main()
