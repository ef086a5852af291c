"""How well what can be known without labels predicts what labels would say.

Reads embeddings of labelled crops, as ``resight embed RUN --data DATA --to FILE.npz`` writes them. Each file is
clustered with every setting of a grid, and for each clustering the figures of :func:`resight.analysis.doubt` stand
beside the adjusted Rand index over all crops, each outlier a cluster by itself, and beside the number of identities.

    python benchmarks/doubt.py ward.npz market.npz synthetic-easy.npz --csv doubt.csv
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from resight.analysis import doubt
from resight.clustering import NoClusters, clustering_quality
from resight.identities import Dbscan

K1, EPS = (10, 20, 40, 80), (0.4, 0.5, 0.6, 0.7)


def settings() -> list[dict[str, Any]]:
    """The grid: with and without cameras, plain and camera-aware."""
    plain = [{"k1": k1, "k2": 6, "eps": eps} for k1 in K1 for eps in EPS]
    aware = [{"camera_jaccard": True, "eps": eps} for eps in EPS]
    return [one | {"centre_cameras": centre} for one in (*plain, *aware) for centre in (False, True)]


def look(name: str, features: np.ndarray, identity: np.ndarray, camera: np.ndarray, every: int) -> list[dict[str, Any]]:
    """One row for each clustering that found clusters, of each n-th setting."""
    rows = []
    for setting in settings()[::every]:
        clustering = Dbscan(**setting)
        start = time.process_time()
        try:
            found = clustering(features, camera)
        except NoClusters:
            continue
        once, half = time.process_time() - start, clustering.for_half(found)
        start = time.process_time()
        told = doubt(found, lambda part, half=half: half(features[part], camera[part]).labels, camera=camera)
        cost = (time.process_time() - start) / max(once, 1e-9)
        quality = clustering_quality(found, identity)
        inside, figures = found.labels >= 0, told.to_dict()
        main = np.zeros(len(identity), bool)  # crops of the identity that most of their cluster shows
        for cluster in range(found.num_clusters):
            crops = found.labels == cluster
            values, counts = np.unique(identity[crops], return_counts=True)
            main[crops] = identity[crops] == values[counts.argmax()]
        rows.append(
            {
                "set": name,
                **setting,
                "ari": quality["all_ari"],
                "ari_clustered": quality["ari"],
                "identities": len(np.unique(identity)),
                **{key: figures[key] for key in ("clusters", "low", "high", "stability", "clustered", "sure")},
                "right_of_sure": main[told.sure].mean() if told.sure.any() else np.nan,
                "right_of_others": main[inside & ~told.sure].mean() if (inside & ~told.sure).any() else np.nan,
                "merged": len(told.merged) / max(1, found.num_clusters),
                "split": len({one for pair in told.split for one in pair}) / max(1, found.num_clusters),
                "cost": cost,
            }
        )
    return rows


def main() -> None:
    """Read the files, print a line for each and one for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--most-identities", type=int, default=250, help="identities of each file that are used")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="try each N-th setting of the grid alone")
    parser.add_argument("--csv", type=Path, help="file for a line per clustering")
    options = parser.parse_args()
    every: list[dict[str, Any]] = []
    head = ("set", "clusterings", "stability", "sure", "clustered", "in the interval", "right: sure", "others", "cost")
    print(" | ".join(head))
    for file in options.files:
        held = np.load(file)
        known = np.unique(held["identity"][held["identity"] > 0])[: options.most_identities]
        keep = np.isin(held["identity"], known)
        rows = look(file.stem, held["embedding"][keep], held["identity"][keep], held["camera"][keep], options.every)
        every += rows
        print(line(file.stem, rows), flush=True)
    print(line("all", every))
    if options.csv:
        with options.csv.open("w", newline="", encoding="utf-8") as file_:
            writer = csv.DictWriter(file_, sorted({key for row in every for key in row}))
            writer.writeheader()
            writer.writerows(every)


def line(name: str, rows: list[dict[str, Any]]) -> str:
    """Rank correlations with ARI, and the means of the other columns."""
    values = {key: np.array([row[key] for row in rows], float) for key in rows[0] if key not in ("set", *settings()[0])}
    ranks = [f"{spearmanr(values[key], values['ari'])[0]:.2f}" for key in ("stability", "sure", "clustered")]
    inside = (values["low"] <= values["identities"]) & (values["identities"] <= values["high"])
    right = [f"{np.nanmean(values[key]):.2f}" for key in ("right_of_sure", "right_of_others")]
    cost = f"{np.median(values['cost']):.1f}"
    return " | ".join([name, str(len(rows)), *ranks, f"{inside.mean():.2f}", *right, cost])


if __name__ == "__main__":
    main()
