"""The scores of a gallery beside those of ``resight evaluate``, query by query.

    python benchmarks/gallery_protocol.py RUN DATA --train-identities N [--precision float16] [--cache FOLDER]

Adds the gallery crops of the split to a new gallery, searches it with each query, ignores crops of the query's identity
in the query's camera, and prints rank-1 and mAP of both, and how many queries differ in either.
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("data")
    parser.add_argument("--train-identities", type=int, required=True)
    parser.add_argument("--precision", default="float16")
    parser.add_argument("--cache")
    arguments = parser.parse_args()
    table = resight.read_crops(arguments.data, train_identities=arguments.train_identities)
    table = table.select(table.split != "train")
    model = resight.load(arguments.run, "cpu")
    scored = resight.evaluate(model, table, cache=arguments.cache)
    features = model.embed(table, cache=arguments.cache)
    query, inside = np.flatnonzero(table.split == "query"), np.flatnonzero(table.split == "gallery")
    folder = Path(tempfile.mkdtemp(prefix="resight-gallery-"))
    try:
        gallery = resight.Gallery.create(folder / "g", arguments.run, precision=arguments.precision, device="cpu")
        print(gallery.add(table.select(inside)))
        found = gallery.search_many(features[query], len(inside))
        row_of = {str(table.file(int(row)).absolute()): int(row) for row in inside}
        source = {hit.sighting: hit.source for hit in gallery.sightings(np.sort(found[0][0]).tolist())}
        own, different = [], 0
        for place, row in enumerate(query.tolist()):
            order = np.array([row_of[source[one]] for one in found[place][0].tolist()])
            keep = (table.identity[order] != table.identity[row]) | (table.camera[order] != table.camera[row])
            keep &= table.identity[order] != -1
            if not (table.identity[order[keep]] == table.identity[row]).any():
                continue
            own.append(scores_of(table.identity[order[keep]], table.identity[row]))
            one = evaluate_retrieval(
                features[[row]], features[inside], table.identity[[row]], table.identity[inside],
                table.camera[[row]], table.camera[inside],
            )  # fmt: skip
            different += (one.rank1, round(one.mAP, 9)) != (own[-1][0], round(own[-1][1], 9))
        rank1, mean = np.mean(own, axis=0)
        print(f"resight evaluate: rank-1 {scored['rank1']:.6f}, mAP {scored['mAP']:.6f}")
        print(f"gallery, {arguments.precision}: rank-1 {rank1:.6f}, mAP {mean:.6f}")
        print(f"{len(own)} of {scored['scored_queries']} queries compared; {different} differ")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
