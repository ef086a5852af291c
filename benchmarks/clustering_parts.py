"""What each part of the clustering stage is worth on given embeddings, before any training on its labels.

Reads embeddings of labelled crops with cameras, as ``resight embed RUN --data DATA --to FILE.npz`` writes them. Each
part is tried with eps of 0.4, 0.5, 0.6 and 0.7, and the best by ARI over all crops is printed, each outlier a cluster
by itself. So labels choose eps: the figures compare parts and are no result of a model.

    python benchmarks/clustering_parts.py ward.npz --k1 80
    python benchmarks/clustering_parts.py market.npz --most-identities 250
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from resight.analysis import camera_mixture
from resight.clustering import NoClusters, cluster_crops, clustering_quality, leave_out_one_camera

EPS = (0.4, 0.5, 0.6, 0.7)


def parts(k1: int) -> dict[str, dict[str, Any]]:
    """The settings of each part."""
    centred: dict[str, Any] = {"centre_cameras": True}
    aware: dict[str, Any] = {"camera_jaccard": True}
    return {
        "no cameras": {"k1": k1},
        "centre_cameras": {"k1": k1, **centred},
        "scale_cameras": {"k1": k1, "scale_cameras": True},
        "camera_jaccard": aware,
        "centre_cameras, camera_jaccard": centred | aware,
        "the same, intra_k2=3, inter_k2=3": centred | aware | {"intra_k2": 3, "inter_k2": 3},
        "centre_cameras, infomap": {"k1": k1, "clusterer": "infomap", **centred},
        "centre_cameras, camera_jaccard, infomap": centred | aware | {"clusterer": "infomap"},
    }


def line(name: str, labels: np.ndarray, identity: np.ndarray, camera: np.ndarray) -> str:
    """One line of the table."""
    found = clustering_quality(labels, identity)
    alone = camera_mixture(labels, camera)["one_camera"]
    return (
        f"{name:48} ARI, all {found['all_ari']:.3f}, clustered {found['ari']:.3f}; {labels.max() + 1:4} clusters, "
        f"{100 * alone:.0f} % of one camera; {100 * (labels >= 0).mean():.0f} % of the crops clustered"
    )


def main() -> None:
    """Read the files and print a line for each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--k1", type=int, default=20)
    parser.add_argument("--most-identities", type=int, default=10**9, help="identities of each file that are used")
    options = parser.parse_args()
    for file in options.files:
        held = np.load(file)
        known = np.unique(held["identity"][held["identity"] > 0])[: options.most_identities]
        keep = np.isin(held["identity"], known)
        features, identity, camera = (held[name][keep] for name in ("embedding", "identity", "camera"))
        print(f"{file.stem}: {len(features)} crops of {len(known)} identities, {len(np.unique(camera))} cameras")
        for name, settings in parts(options.k1).items():
            tried = {}
            for eps in EPS:
                try:
                    labels = cluster_crops(features, eps=eps, camera=camera, **settings).labels
                except NoClusters:
                    continue
                tried[eps] = (clustering_quality(labels, identity)["all_ari"], labels)
            if not tried:
                print(f"{name:48} no clusters")
                continue
            eps = max(tried, key=lambda value: tried[value][0])
            labels = tried[eps][1]
            print(line(f"{name}, eps {eps}", labels, identity, camera), flush=True)
            if name == "centre_cameras":
                for share in (0.5, 1.0):
                    left = leave_out_one_camera(labels, camera, share=share).labels
                    print(line(f"  one_camera=leave_out, share {share}", left, identity, camera), flush=True)


if __name__ == "__main__":
    main()
