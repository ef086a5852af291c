"""The gallery's index beside Milvus Lite, Qdrant's local mode and LanceDB, on made-up clustered embeddings, in one run.

    python benchmarks/gallery.py [--sightings 100000] [--dim 512] [--only embedded,milvus,qdrant,lancedb]

Each takes the same embeddings with their cameras, as a user of its documentation would give them. Printed are the time
to add, the memory of the process after that, bytes on disk, and per client count and filter the median and the 99th
percentile of one query's time, and recall@10 against exact search in float64 on the float32 embeddings. A filter leaves
one camera of ten. Eight clients are threads of one process. What is not installed is left out, with a line.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import sqlalchemy as sa

from resight.gallery.adding import Row, insert_rows
from resight.gallery.index import EmbeddedIndex
from resight.gallery.mirror import Filters, Mirror
from resight.gallery.schema import MODEL
from resight.gallery.store import Store
from resight.gallery.thumbnails import Thumbnails

K, CAMERAS = 10, 10
#: A query: ``(D,)`` float32 and the camera to stay in, or None.
Ask = Callable[[np.ndarray, "int | None"], "list[int]"]


def made_up(size: int, dim: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings in clusters of ten or so, and cameras."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(size // 10 + 1, dim)).astype(np.float32)
    rows = np.empty((size, dim), np.float32)
    for start in range(0, size, 65_536):
        stop = min(start + 65_536, size)
        part = centres[rng.integers(0, len(centres), stop - start)]
        part = part + 0.7 * rng.normal(size=part.shape).astype(np.float32)
        rows[start:stop] = part / np.linalg.norm(part, axis=1, keepdims=True)
    return rows, rng.integers(0, CAMERAS, size)


def embedded(folder: Path, rows: np.ndarray, camera: np.ndarray) -> tuple[Ask, float]:
    """The gallery itself: rows in SQLite, search in this process."""
    store = Store(folder)
    settings = {"gallery": "x", "thumbnails": "", "index": "embedded", "precision": "float16"}
    store.make(settings, {"fingerprint": "x", "run": "", "dim": rows.shape[1]})
    with store.reading() as connection:
        model = int(connection.scalar(sa.select(MODEL.c.id)) or 0)
    files = Thumbnails(folder / "thumbnails")
    for start in range(0, len(rows), 4096):
        batch = [
            Row(f"{place:032x}", rows[place], "", camera=str(camera[place]))
            for place in range(start, min(start + 4096, len(rows)))
        ]
        insert_rows(store, files, batch, model=model, kind="float16")
    begin = time.perf_counter()
    mirror = Mirror(store, rows.shape[1], "float16")
    index = EmbeddedIndex(mirror)
    mirror.refresh()
    opening = time.perf_counter() - begin
    nothing = np.empty(0, np.int64)

    def ask(query: np.ndarray, one: int | None) -> list[int]:
        filters = Filters() if one is None else Filters(cameras=(str(one),))
        return [place - 1 for place in index.search(query[None], K, filters, nothing)[0][0].tolist()]

    return ask, opening


def milvus(folder: Path, rows: np.ndarray, camera: np.ndarray) -> tuple[Ask, float]:
    """Milvus Lite as its quickstart has it: the index it chooses, by inner product."""
    from pymilvus import MilvusClient

    client = MilvusClient(str(folder / "milvus.db"))
    client.create_collection("crops", dimension=rows.shape[1], metric_type="IP")
    for start in range(0, len(rows), 1000):
        places = range(start, min(start + 1000, len(rows)))
        client.insert("crops", [{"id": p, "vector": rows[p], "camera": int(camera[p])} for p in places])
    begin = time.perf_counter()
    client.load_collection("crops")

    def ask(query: np.ndarray, one: int | None) -> list[int]:
        chosen = "" if one is None else f"camera == {one}"
        return [hit["id"] for hit in client.search("crops", data=[query], limit=K, filter=chosen)[0]]

    return ask, time.perf_counter() - begin


def qdrant(folder: Path, rows: np.ndarray, camera: np.ndarray) -> tuple[Ask, float]:
    """Qdrant's local mode."""
    from qdrant_client import QdrantClient, models

    client = QdrantClient(path=str(folder))
    distance = models.VectorParams(size=rows.shape[1], distance=models.Distance.COSINE)
    client.create_collection("crops", vectors_config=distance)
    for start in range(0, len(rows), 1000):
        places = range(start, min(start + 1000, len(rows)))
        points = [models.PointStruct(id=p, vector=rows[p].tolist(), payload={"camera": int(camera[p])}) for p in places]
        client.upsert("crops", points)

    def ask(query: np.ndarray, one: int | None) -> list[int]:
        match = models.FieldCondition(key="camera", match=models.MatchValue(value=one or 0))
        chosen = None if one is None else models.Filter(must=[match])
        found = client.query_points("crops", query=query.tolist(), limit=K, query_filter=chosen)
        return [point.id for point in found.points]

    return ask, 0.0


def lancedb(folder: Path, rows: np.ndarray, camera: np.ndarray) -> tuple[Ask, float]:
    """LanceDB without an index: its exact scan."""
    os.environ.setdefault("LANCE_LOG", "error")  # else it warns at every search
    import lancedb as lance
    import pyarrow as pa

    schema = pa.schema([("id", pa.int64()), ("camera", pa.int64()), ("vector", pa.list_(pa.float32(), rows.shape[1]))])
    table = lance.connect(str(folder)).create_table("crops", schema=schema)
    for start in range(0, len(rows), 50_000):
        stop = min(start + 50_000, len(rows))
        flat = pa.FixedSizeListArray.from_arrays(pa.array(rows[start:stop].ravel()), rows.shape[1])
        table.add(pa.table({"id": np.arange(start, stop), "camera": camera[start:stop], "vector": flat}, schema=schema))

    def ask(query: np.ndarray, one: int | None) -> list[int]:
        search = table.search(query).metric("cosine").limit(K).select(["id"])
        search = search if one is None else search.where(f"camera = {one}", prefilter=True)
        return [int(value) for value in search.to_arrow()["id"].to_pylist()]

    return ask, 0.0


def measure(ask: Ask, queries: np.ndarray, one: int | None, clients: int, seconds: float) -> tuple[np.ndarray, list]:
    """Times of single queries, and the answers of the first client."""
    times: list[list[float]] = [[] for _ in range(clients)]
    answers: list[list[int]] = []
    end = time.perf_counter() + seconds

    def client(number: int) -> None:
        for turn in range(len(queries)):
            begin = time.perf_counter()
            found = ask(queries[(turn + 7 * number) % len(queries)], one)
            times[number].append(time.perf_counter() - begin)
            if number == 0:
                answers.append(found)
            if time.perf_counter() > end and turn >= 4:
                return

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return np.concatenate([np.array(part) for part in times]), answers


def truth(rows: np.ndarray, queries: np.ndarray, keep: np.ndarray | None) -> list[set[int]]:
    """The exact answers."""
    found = []
    for query in queries:
        cosine = np.concatenate(
            [rows[start : start + 65_536].astype(np.float64) @ query for start in range(0, len(rows), 65_536)]
        )
        if keep is not None:
            cosine[~keep] = -np.inf
        found.append(set(np.argpartition(-cosine, K)[:K].tolist()))
    return found


def disk_of(folder: Path) -> int:
    """Bytes of all files."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sightings", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20, help="longest time per measurement")
    parser.add_argument("--only", default="embedded,milvus,qdrant,lancedb")
    arguments = parser.parse_args()
    rows, camera = made_up(arguments.sightings, arguments.dim)
    rng = np.random.default_rng(1)
    queries = rows[rng.integers(0, len(rows), arguments.queries)]
    queries = queries + 0.4 * rng.normal(size=queries.shape).astype(np.float32) / np.sqrt(arguments.dim)
    queries = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
    known = {None: truth(rows, queries, None), 3: truth(rows, queries, camera == 3)}
    print(f"{len(rows)} × {arguments.dim}, {psutil.cpu_count()} cores")
    kinds: dict[str, Any] = {"embedded": embedded, "milvus": milvus, "qdrant": qdrant, "lancedb": lancedb}
    first: dict[tuple[int | None, int], float] = {}
    for name in arguments.only.split(","):
        folder = Path(tempfile.mkdtemp(prefix="resight-gallery-"))
        try:
            process, begin = psutil.Process(), time.perf_counter()
            before = process.memory_info().rss
            try:
                ask, opening = kinds[name](folder, rows, camera)
            except ModuleNotFoundError as error:
                print(f"{name}: not installed ({error.name})")
                continue
            ask(queries[0], None)
            ask(queries[0], 3)
            added = time.perf_counter() - begin
            used: float = process.memory_info().rss - before
            used += sum(child.memory_info().rss for child in process.children(recursive=True))
            print(
                f"{name}: added in {added:.1f} s (of which opening {opening:.1f} s), {used / 1e6:.0f} MB of memory, "
                f"{disk_of(folder) / 1e6:.0f} MB on disk",
                flush=True,
            )
            for one in (None, 3):
                for clients in (1, 8):
                    times, answers = measure(ask, queries, one, clients, arguments.seconds)
                    recall = np.mean([len(set(a) & t) / K for a, t in zip(answers, known[one], strict=False)])
                    p50, p99 = 1000 * np.quantile(times, 0.5), 1000 * np.quantile(times, 0.99)
                    ratio = p50 / first.setdefault((one, clients), p50)
                    which = "one camera" if one is not None else "no filter "
                    print(
                        f"  {which} {clients} clients: p50 {p50:8.1f} ms  p99 {p99:8.1f} ms  recall@10 {recall:.3f}  "
                        f"p50 {ratio:.1f} times the first store's",
                        flush=True,
                    )
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
