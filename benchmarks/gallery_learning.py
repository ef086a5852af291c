"""What answers of a reviewer are worth when a model is trained again with them.

    python benchmarks/gallery_learning.py DATA --train-identities N --out FOLDER [--answers 100,500] [--seeds 0,1]
        [--recipe NAME] [KEY=VALUE …]

For each seed: trains ``cluster_contrast`` without labels, makes a gallery of the training crops with that run, proposes
identities, and lets true identities of training crops answer the questions of ``resight gallery review`` in its order.
After each number of answers it trains anew from the same start, with the same seed, settings and number of steps, and
with ``--decisions``. It prints mAP and rank-1 on the test identities, about which nothing was asked, the ARI of the
last epoch's pseudo-labels and the identities' ARI in the gallery. A run that is finished in FOLDER is kept.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

import numpy as np
from sklearn.metrics import adjusted_rand_score

import resight
from resight.gallery import Gallery


def trained(table: resight.CropTable, out: Path, seed: int, given: argparse.Namespace, gallery: Path | None) -> str:
    """Trains a run, if it is not there, and says what came of it."""
    begin = time.process_time()
    settings = [*given.settings, f"seed={seed}"]
    model = resight.train(
        "cluster_contrast", table, out, recipe=given.recipe, settings=settings, decisions=gallery,
        resume=True, cache=given.out / "pixels", device="cpu",
    )  # fmt: skip
    scores = resight.evaluate(model, table, cache=given.out / "pixels")
    last = sorted((out / "labels").glob("*.npz"))[-1]
    labels = np.load(last)["labels"].astype(np.int64)
    identity = np.asarray(table.identity)[table.split == "train"]
    alone = labels < 0
    labels[alone] = labels.max(initial=-1) + 1 + np.arange(int(alone.sum()))
    return (
        f"mAP {100 * scores['mAP']:5.1f}  rank-1 {100 * scores['rank1']:5.1f}  ARI of the last pseudo-labels "
        f"{adjusted_rand_score(identity, labels):.3f}  ({time.process_time() - begin:.0f} s of processor time)"
    )


def answered(place: Path, table: resight.CropTable, wanted: int) -> str:
    """Answers questions until a gallery has a number of answers, and says how good its identities are then."""
    train = table.select(table.split == "train")
    truth = {str(train.file(row).absolute()): int(train.identity[row]) for row in range(len(train))}
    with Gallery(place, device="cpu", by="simulated") as gallery:
        number = gallery.info()["sightings"]
        ids = gallery.search_many(np.ones((1, gallery.info()["dim"])), number)[0][0]
        of = {hit.sighting: truth[hit.source] for hit in gallery.sightings(np.sort(ids).tolist())}
        session = gallery.review()
        done = sum(entry.kind in ("confirm", "reject") for entry in gallery.log())
        while done < wanted and (question := session.next()) is not None:
            a, b = question.sightings
            session.answer(question, "same" if of[a] == of[b] else "different")
            done += 1
        hits = gallery.sightings(sorted(of))
    group = [-hit.sighting if hit.identity is None else hit.identity for hit in hits]
    ari = adjusted_rand_score([of[hit.sighting] for hit in hits], group)
    return f"{done} answers: ARI of the identities in the gallery {ari:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--train-identities", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", default="ward")
    parser.add_argument("--answers", default="100,500")
    parser.add_argument("--seeds", default="0,1")
    given = parser.parse_intermixed_args()
    table = resight.read_crops(given.data, train_identities=given.train_identities)
    given.out.mkdir(parents=True, exist_ok=True)
    for seed in (int(one) for one in given.seeds.split(",")):
        base = given.out / f"seed{seed}-none"
        print(f"seed {seed}, no answers: {trained(table, base, seed, given, None)}", flush=True)
        place = given.out / f"seed{seed}-gallery"
        shutil.rmtree(place, ignore_errors=True)
        with Gallery.create(place, base, device="cpu") as gallery:
            gallery.add(table.select(table.split == "train"))
            gallery.identify()
        print(f"  {answered(place, table, 0)}", flush=True)
        for wanted in (int(one) for one in given.answers.split(",")):
            print(f"  {answered(place, table, wanted)}", flush=True)
            run = trained(table, given.out / f"seed{seed}-{wanted}", seed, given, place)
            print(f"seed {seed}, {wanted} answers: {run}", flush=True)


if __name__ == "__main__":
    main()
