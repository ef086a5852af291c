"""Search in Milvus, for galleries that several machines share. The truth stays in SQL.

A collection has the embeddings with camera and time, and is made anew from the truth when it does not fit. Identities
and what is hidden are looked up in SQL, since they change. Milvus answers what its index finds: with an index of the
kind FLAT, which is made here, that is exact up to float32.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import sqlalchemy as sa

from resight.errors import ResightError
from resight.gallery.mirror import Filters
from resight.gallery.schema import GONE, IDENTITY, MODEL, SETTING, SIGHTING
from resight.gallery.store import Store, sequence

#: Sightings sent at once.
_ROWS = 1000
#: Most results of one search in Milvus.
_LARGEST_K = 16_384
_WITHOUT = "-"  # stands for no camera
_NEVER = -1e300  # stands for no time


def check_address(address: str) -> None:
    """Raises a sentence if Milvus cannot be reached, or its package is missing."""
    _connect(address).close()


def _connect(address: str) -> Any:
    if not isinstance(address, str) or not (address.startswith(("http://", "https://")) or address.endswith(".db")):
        raise ResightError(
            f"The index is 'embedded' or the address of Milvus, such as http://host:19530, not '{address}'."
        )
    try:
        from pymilvus import MilvusClient
    except ModuleNotFoundError as error:
        raise ResightError(
            "Milvus needs the package pymilvus: pip install --constraint constraints.txt '.[milvus]'."
        ) from error
    with _sentences(address):
        return MilvusClient(address, timeout=10)


@contextmanager
def _sentences(address: str) -> Iterator[None]:
    try:
        yield
    except ResightError:
        raise
    except Exception as error:  # pymilvus, grpc and milvus-lite raise many kinds
        said = " ".join(str(error).split())[:200]
        raise ResightError(
            f"Milvus at {address} cannot be used ({said}): check that it runs, and the address."
        ) from error


class MilvusIndex:
    """An index in Milvus.

    Args:
        store: The truth.
        address: The address of Milvus; or, for Milvus Lite, a file ending in ``.db``.
        name: The gallery's random name, after which the collection is called.

    Raises:
        ResightError: Milvus cannot be reached.
    """

    def __init__(self, store: Store, address: str, name: str) -> None:
        self._store, self._address = store, address
        self._name = f"resight_{name}"
        self._client = _connect(address)
        self._progress = f"milvus {address}"[:64]

    def search(
        self, queries: np.ndarray, k: int, filters: Filters, without: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """As :meth:`SearchIndex.search`."""
        self.refresh()
        if k > _LARGEST_K:
            raise ResightError(f"Milvus finds at most {_LARGEST_K} sightings for a query; {k} were asked for.")
        expression = self._expression(filters, without)
        if expression is None or not len(queries):
            return [(np.empty(0, np.int64), np.empty(0)) for _ in queries]
        with _sentences(self._address):
            found = self._client.search(
                self._name,
                data=[(row / np.linalg.norm(row)).astype(np.float32) for row in queries],
                limit=k,
                filter=expression,
                output_fields=["id"],
                consistency_level="Strong",
            )
        results = []
        for hits in found:
            ids = np.array([hit["id"] for hit in hits], np.int64)
            similarity = np.array([hit["distance"] for hit in hits], np.float64)
            order = np.lexsort((ids, -similarity))
            results.append((ids[order], similarity[order]))
        return results

    def describe(self) -> dict[str, object]:
        """As :meth:`SearchIndex.describe`."""
        self.refresh()
        return {"kind": "milvus", "address": self._address, "sightings": self._count()}

    def _expression(self, filters: Filters, without: np.ndarray) -> str | None:
        """The filter in the language of Milvus; ``None`` if nothing passes."""
        parts = []
        if filters.cameras:
            parts.append(f"camera in {json.dumps(list(filters.cameras))}")
        if filters.not_cameras:
            parts.append(f"camera not in {json.dumps(list(filters.not_cameras))}")
        if filters.start is not None:
            parts.append(f"time >= {filters.start!r}")
        if filters.start is not None or filters.stop is not None:
            parts.append(f"time > {_NEVER!r}")
        if filters.stop is not None:
            parts.append(f"time <= {filters.stop!r}")
        out = set(without.tolist())
        with self._store.reading() as connection:
            if not filters.hidden:
                hidden = sa.select(IDENTITY.c.id).where(IDENTITY.c.hidden)
                out |= set(
                    connection.scalars(
                        sa.select(SIGHTING.c.id).where(SIGHTING.c.hidden | SIGHTING.c.identity.in_(hidden))
                    )
                )
            if filters.identities:
                chosen = sa.select(SIGHTING.c.id).where(SIGHTING.c.identity.in_(filters.identities))
                inside = sorted(set(connection.scalars(chosen)) - out)
                if not inside:
                    return None
                return " and ".join([*parts, f"id in {inside}"])
        if out:
            parts.append(f"id not in {sorted(out)}")
        return " and ".join(parts)

    # ── keeping up with the truth ──

    def refresh(self) -> None:
        """Replays what changed in the truth; makes the collection anew if its count then differs."""
        with self._store.reading() as connection:
            now = sequence(connection)
            key = SETTING.c.name == self._progress
            last = int(connection.scalar(sa.select(SETTING.c.value).where(key)) or 0)
            dim = int(connection.scalar(sa.select(MODEL.c.dim).where(MODEL.c.current)) or 0)
            there = int(connection.scalar(sa.select(sa.func.count()).select_from(SIGHTING)) or 0)
        with _sentences(self._address):
            if not self._client.has_collection(self._name) or self._dim() != dim:
                self._make(dim)
                last = 0
            if last < now:
                self._replay(last)
            if self._count() != there:
                self._make(dim)
                self._replay(0)
        if last < now:
            with self._store.writing(counted=False) as connection:
                connection.execute(sa.delete(SETTING).where(key))
                connection.execute(sa.insert(SETTING), [{"name": self._progress, "value": str(now)}])

    def _dim(self) -> int:
        fields = self._client.describe_collection(self._name)["fields"]
        return int(next(field["params"]["dim"] for field in fields if field["name"] == "embedding"))

    def _count(self) -> int:
        rows = self._client.query(self._name, filter="", output_fields=["count(*)"], consistency_level="Strong")
        return int(rows[0]["count(*)"])

    def _make(self, dim: int) -> None:
        from pymilvus import DataType

        if self._client.has_collection(self._name):
            self._client.drop_collection(self._name)
        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=dim)
        schema.add_field("camera", DataType.VARCHAR, max_length=1024)
        schema.add_field("time", DataType.DOUBLE)
        index = self._client.prepare_index_params()
        index.add_index("embedding", index_type="FLAT", metric_type="COSINE")
        self._client.create_collection(self._name, schema=schema, index_params=index)
        self._client.load_collection(self._name)

    def _replay(self, last: int) -> None:
        with self._store.reading() as connection:
            gone = list(connection.scalars(sa.select(GONE.c.sighting).where(GONE.c.sequence > last)))
            precision = connection.scalar(sa.select(SETTING.c.value).where(SETTING.c.name == "precision"))
            for start in range(0, len(gone), _ROWS):
                self._client.delete(self._name, ids=gone[start : start + _ROWS])
            rows = connection.execution_options(stream_results=True).execute(
                sa.select(SIGHTING.c.id, SIGHTING.c.camera, SIGHTING.c.time, SIGHTING.c.embedding)
                .where(SIGHTING.c.sequence > last)
                .order_by(SIGHTING.c.id)
            )
            for part in rows.partitions(_ROWS):
                self._client.upsert(
                    self._name,
                    [
                        {
                            "id": row.id,
                            "camera": _WITHOUT if row.camera is None else row.camera,
                            "time": _NEVER if row.time is None else row.time,
                            "embedding": np.frombuffer(row.embedding, precision).astype(np.float32),
                        }
                        for row in part
                    ],
                )
