"""How many questions bring a gallery's proposed identities to an ARI of 0.95 and 0.99, if true labels answer.

Compares the order of ``resight gallery review`` (expected gain) with the largest group first and with random order.
The proposal is the clustering of ``resight identify``; sightings in no cluster count as groups of one. Every answer is
right.

    python benchmarks/gallery_review.py RUN DATA --train-identities N [--limit QUESTIONS]

prints one table row per order. The crops are those of the identities that do not train.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from sklearn.metrics import adjusted_rand_score

import resight
from resight.clustering import NoClusters, centre_by_camera
from resight.gallery.review import Queue

GOALS = (0.95, 0.99)


def ari(group: np.ndarray, identity: np.ndarray) -> float:
    """The adjusted Rand index over all sightings."""
    return float(adjusted_rand_score(identity, group))


def simulate(
    unit: np.ndarray, labels: np.ndarray, identity: np.ndarray, order: str, limit: int, seed: int = 0
) -> tuple[float, dict[float, int | None], int, float]:
    """The ARI before, the questions that each goal took, all questions asked, and seconds per question."""
    queue = Queue(unit, labels, order=order, seed=seed)  # type: ignore[arg-type]
    start, reached, asked = ari(queue.group, identity), {}, 0
    begin = time.perf_counter()
    spent = 0.0
    while asked < limit and len(reached) < len(GOALS):
        found = queue.best(1)
        if not found:
            break
        queue.answer(found[0].a, found[0].b, bool(identity[found[0].a] == identity[found[0].b]))
        asked += 1
        if asked % 5 == 0:
            pause = time.perf_counter()
            now = ari(queue.group, identity)
            reached |= {goal: asked for goal in GOALS if now >= goal and goal not in reached}
            spent += time.perf_counter() - pause
    seconds = (time.perf_counter() - begin - spent) / max(asked, 1)
    return start, {goal: reached.get(goal) for goal in GOALS}, asked, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("data")
    parser.add_argument("--train-identities", type=int, required=True)
    parser.add_argument("--limit", type=int, default=20_000)
    parser.add_argument("--cache")
    arguments = parser.parse_args()
    model = resight.load(arguments.run, "cpu")
    table = resight.read_crops(arguments.data, train_identities=arguments.train_identities)
    table = table.select((table.split != "train") & table.is_person)
    unit = model.embed(table, cache=arguments.cache)
    try:
        labels = model.cluster(unit, table).labels
    except NoClusters:
        labels = np.full(len(unit), -1)
    identity = np.asarray(table.identity)
    if table.camera is not None:  # as the gallery does
        unit = centre_by_camera(unit, table.camera)
    print(f"{len(unit)} crops of {len(np.unique(identity))} identities; {labels.max() + 1} groups proposed")
    for order in ("gain", "size", "random"):
        start, reached, asked, seconds = simulate(unit, labels, identity, order, arguments.limit)
        goals = ", ".join(f"ARI {goal}: {reached[goal] or f'not in {asked}'}" for goal in GOALS)
        print(f"{order:7} ARI before {start:.3f}; questions to {goals}; {1000 * seconds:.1f} ms per question")


if __name__ == "__main__":
    main()
