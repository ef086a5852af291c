"""What tracks are worth to the labels of a first epoch: crops alone, crops with tracks, and tracks as units.

Data sets without tracks get those that a tracker would give: the crops of one identity in one camera are one track.
``--csv`` writes the table with these tracks, for training.

    python benchmarks/tracks.py ward --train-identities 35 --k1 80 --track-k1 8 --csv ward-tracks.csv
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from resight.clustering import NoClusters, cluster_crops, clustering_quality
from resight.clustering.tracks import Tracks, respect_tracks
from resight.crops import CropTable, read_crops
from resight.crops.cache import open_pixel_cache
from resight.encoders import Encoder, EncoderConfig, embed_images


def with_implied_tracks(table: CropTable) -> CropTable:
    """The table with the crops of each identity in each camera as a track; a crop without identity is in none."""
    identity, camera = table.require("identity", "Implied tracks"), table.require("camera", "Implied tracks")
    pairs = np.stack([identity, camera], axis=1)
    track = np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)
    return replace(table, track=np.where(table.is_person, track, -1))


def write_csv(table: CropTable, file: Path) -> None:
    """Writes paths, cameras, tracks, identities and splits as a table that ``resight train`` reads."""
    assert table.camera is not None
    assert table.identity is not None
    assert table.track is not None
    split = table.split if table.split is not None else np.full(len(table), "train")
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "camera", "track", "identity", "split"])
        for row in range(len(table)):
            columns = (table.camera[row], table.track[row], table.identity[row], split[row])
            writer.writerow([table.file(row), *columns])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--train-identities", type=int)
    parser.add_argument("--k1", type=int, default=20)
    parser.add_argument("--track-k1", type=int, default=8)
    parser.add_argument("--eps", type=float, nargs="+", default=[0.5, 0.6, 0.7])
    parser.add_argument("--height", type=int, default=96)
    parser.add_argument("--csv", type=Path, help="write all crops with their tracks to this file")
    parser.add_argument("--cache", type=Path, default=Path("pixels"))
    options = parser.parse_args()
    table = read_crops(options.data, train_identities=options.train_identities)
    table = table if table.track is not None else with_implied_tracks(table)
    if options.csv:
        write_csv(table, options.csv)
    table = table.subset("train")
    height = options.height
    pixels = open_pixel_cache(table, height=height, width=height // 2, folder=options.cache, max_unreadable=0.0)
    encoder = Encoder(
        EncoderConfig(backbone="efficientnet_lite0", weights="imagenet", height=height, width=height // 2)
    )
    with torch.no_grad():
        features = embed_images(encoder.eval(), pixels.images, batch=256)
    tracks = Tracks.of(table.track, table.camera, table.time)
    people = len(np.unique(table.identity))
    print(f"{len(table)} crops, {len(tracks)} tracks, {people} identities; ARI and AMI of all crops:")
    means = tracks.means(features)
    for eps in options.eps:
        for name in ("crops", "crops, tracks kept", "tracks as units"):
            units = name == "tracks as units"
            try:
                labels = cluster_crops(
                    means if units else features,
                    k1=options.track_k1 if units else options.k1,
                    k2=3 if units else 6,
                    min_samples=2 if units else 4,
                    eps=eps,
                    camera=tracks.camera if units else table.camera,
                    centre_cameras=True,
                ).labels
            except NoClusters:
                print(f"eps {eps:.2f}  {name:20} no cluster")
                continue
            labels = labels[tracks.of_crop] if units else labels
            if name != "crops":
                labels = respect_tracks(labels, features, tracks)
            found = clustering_quality(labels, table.identity)
            print(
                f"eps {eps:.2f}  {name:20} {found['all_ari']:.3f} {found['all_ami']:.3f}  "
                f"{labels.max() + 1} clusters, {(labels < 0).sum()} outliers"
            )


if __name__ == "__main__":
    main()
