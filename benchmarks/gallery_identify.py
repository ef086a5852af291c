"""``resight identify`` on many made-up sightings: time and memory, and a second call after a few more were added.

    python benchmarks/gallery_identify.py RUN [--sightings 100000] [--more 500]

The embeddings are made up, in clusters of ten or so, with as many numbers as the model of RUN gives. The clustering is
that of RUN. The second half of ``--more`` are of new identities. Printed are seconds, processor seconds, the memory
that the process gained at most, and the ARI against the clusters that the embeddings were made from.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from sklearn.metrics import adjusted_rand_score

from resight.gallery import Gallery


def made_up(centres: np.ndarray, identity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Embeddings around the centres of identities."""
    rows = np.empty((len(identity), centres.shape[1]), np.float32)
    for start in range(0, len(rows), 8192):
        part = centres[identity[start : start + 8192]]
        rows[start : start + 8192] = part + 0.7 * rng.normal(size=part.shape)
    return rows


def measured(name: str, work: Callable[[], Any]) -> Any:
    """Does some work, and prints its time and the memory that it took."""
    process, most, done = psutil.Process(), [0], threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        while not done.wait(0.2):
            most[0] = max(most[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    begin, used = time.perf_counter(), time.process_time()
    result = work()
    seconds, used = time.perf_counter() - begin, time.process_time() - used
    done.set()
    watcher.join()
    memory = max(most[0] - before, 0) / 1e6
    print(f"{name}: {seconds:.1f} s ({used:.1f} s of processor time), {memory:.0f} MB more memory", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--sightings", type=int, default=100_000)
    parser.add_argument("--more", type=int, default=500)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    folder = Path(tempfile.mkdtemp(prefix="resight-gallery-"))
    try:
        with Gallery.create(folder / "g", arguments.run, device="cpu") as gallery:
            info = gallery.info()
            count, half = arguments.sightings // 10, arguments.more // 2
            centres = rng.normal(size=(count + half // 10 + 1, info["dim"])).astype(np.float32)
            identity = rng.integers(0, count, arguments.sightings)
            more = np.concatenate(
                [rng.integers(0, count, arguments.more - half), rng.integers(count, len(centres), half)]
            )
            measured(
                "adding, with making them up",
                lambda: gallery.add_embeddings(made_up(centres, identity, rng), fingerprint=info["model"]),
            )
            gallery.index.describe()  # the sightings are in memory now
            first = measured("first identify", gallery.identify)
            print(f"  {first['clustered']} clustered, {len(first['new_identities'])} identities")
            gallery.add_embeddings(made_up(centres, more, rng), fingerprint=info["model"])
            second = measured("second identify", gallery.identify)
            print(
                f"  {second['clustered']} clustered, {len(second['new_identities'])} new identities, "
                f"{second['moved']} moved"
            )
            hits = gallery.sightings(range(1, arguments.sightings + arguments.more + 1))
            group = [hit.identity or -hit.sighting for hit in hits]
            print(f"ARI {adjusted_rand_score(np.concatenate([identity, more]), group):.4f}")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
