"""Direct transfer: a model on crops of a world it was not trained on, beside raw pixels and untrained networks.

python benchmarks/transfer.py demo/run --data ward --train-identities 35
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from synthetic_levels import raw_pixels

import resight
from resight.crops import read_crops
from resight.encoders import Encoder
from resight.evaluation import evaluate_splits
from resight.model import Model
from resight.scoring import labelled_test_crops
from resight.training.run import first_weights


def main() -> None:
    """Prints mAP and rank-1 of each on the test crops of the data."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="the run folder of the model")
    parser.add_argument("--data", required=True, help="labelled crops")
    parser.add_argument("--train-identities", type=int, help="identities left out of the test")
    parser.add_argument("--cache", help="folder for decoded crops")
    options = parser.parse_args()

    model = resight.load(options.run)
    tested = labelled_test_crops(read_crops(options.data, train_identities=options.train_identities))
    pixels = model.open_cache(tested, options.cache)
    torch.manual_seed(0)
    untrained = Encoder(model.config.encoder.model_copy(update={"weights": "none"}))
    pretrained = Encoder(model.config.encoder, weights=first_weights(model.config.encoder.weights))
    print(f"{Path(options.data).name}: mAP / rank-1 in per cent, {len(pixels)} test crops")
    for name, features in (
        ("raw pixels, 64×32", _raw(pixels.images)),
        ("random weights", Model(untrained, model.config).embed_cached(pixels)),
        (f"start of the run ({model.config.encoder.weights})", Model(pretrained, model.config).embed_cached(pixels)),
        (f"after training ({options.run})", model.embed_cached(pixels)),
    ):
        scores = evaluate_splits(features, pixels.table.identity, pixels.table.camera, pixels.table.split)
        print(f"  {name}: {100 * scores.mAP:.1f} / {100 * scores.rank1:.1f}")


def _raw(images: np.ndarray) -> np.ndarray:
    from PIL import Image

    return np.stack([raw_pixels(Image.fromarray(np.ascontiguousarray(i.transpose(1, 2, 0)))) for i in images])


if __name__ == "__main__":
    main()
