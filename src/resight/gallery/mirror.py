"""What is known of all sightings, in memory, brought up to the truth before each use."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from resight.errors import ResightError
from resight.gallery.schema import GONE, IDENTITY, SIGHTING
from resight.gallery.store import Store, sequence
from resight.gallery.vectors import Vectors

#: Rows read from the database at once.
_ROWS = 8192


@dataclass(frozen=True)
class Filters:
    """Which sightings to rank.

    Attributes:
        cameras: Only these cameras.
        not_cameras: None of these cameras.
        start: Only at this time or later; sightings without a time are left out.
        stop: Only before or at this time; sightings without a time are left out.
        identities: Only these identities.
        hidden: Whether hidden sightings and identities are ranked, too.
    """

    cameras: tuple[str, ...] = ()
    not_cameras: tuple[str, ...] = ()
    start: float | None = None
    stop: float | None = None
    identities: tuple[int, ...] = ()
    hidden: bool = False


class Mirror:
    """Columns of all sightings, ordered by id.

    Args:
        store: The truth.
        dim: D, the numbers of an embedding.
        kind: ``float16`` or ``float32``, as embeddings are stored.

    Attributes:
        ids: ``(N,)`` int64.
        camera: ``(N,)`` int32 index into ``cameras``, -1 for none.
        track: ``(N,)`` int32 index into ``tracks``, -1 for none.
        time: ``(N,)`` float64, NaN for none.
        identity: ``(N,)`` int64, 0 for none.
        hidden: ``(N,)`` bool: the sighting or its identity is hidden.
        vectors: The embeddings.
        last: The last change of the truth that is in here.
    """

    def __init__(self, store: Store, dim: int, kind: str) -> None:
        self._store, self._dim, self._kind = store, dim, kind
        self._lock = threading.RLock()
        self._clear()

    def _clear(self) -> None:
        self.ids, self.identity = np.empty(0, np.int64), np.empty(0, np.int64)
        self.camera, self.track = np.empty(0, np.int32), np.empty(0, np.int32)
        self.time, self.hidden = np.empty(0), np.empty(0, bool)
        self._self_hidden = np.empty(0, bool)
        self.cameras: list[str] = []
        self.tracks: list[str] = []
        self._camera_codes: dict[str, int] = {}
        self._track_codes: dict[str, int] = {}
        self.hidden_identities: frozenset[int] = frozenset()
        self.vectors = Vectors(self._dim, self._kind)
        self.last = 0
        self._means: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def refresh(self) -> None:
        """Replays what changed in the truth since the last call; starts anew if the counts then differ."""
        with self._lock, self._store.reading() as connection:
            now = sequence(connection)
            if now == self.last:
                return
            self._replay(connection)
            if connection.scalar(sa.select(sa.func.count()).select_from(SIGHTING)) != len(self.ids):
                self._clear()
                self._replay(connection)
            self.last = now

    def _replay(self, connection: Connection) -> None:
        gone = connection.scalars(sa.select(GONE.c.sighting).where(GONE.c.sequence > self.last)).all()
        if gone and len(self.ids):
            self._keep(~np.isin(self.ids, np.array(gone, np.int64)))
        moved = connection.execute(
            sa.select(SIGHTING.c.id, SIGHTING.c.identity, SIGHTING.c.hidden).where(
                SIGHTING.c.moved > self.last, SIGHTING.c.sequence <= self.last
            )
        )
        for rows in moved.partitions(_ROWS):
            ids, identity, hidden = zip(*rows, strict=True)
            place, there = self._places(np.array(ids, np.int64))
            self.identity[place] = np.array([one or 0 for one in identity], np.int64)[there]
            self._self_hidden[place] = np.array(hidden, bool)[there]
        columns = [getattr(SIGHTING.c, name) for name in ("id", "camera", "track", "time", "identity", "hidden")]
        new = connection.execution_options(stream_results=True).execute(
            sa.select(*columns, SIGHTING.c.embedding).where(SIGHTING.c.sequence > self.last).order_by(SIGHTING.c.id)
        )
        parts: list[tuple[np.ndarray, ...]] = []
        for fresh in new.partitions(_ROWS):
            self._take_in(fresh, parts)
        if parts:
            joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
            names = ("ids", "camera", "track", "time", "identity", "_self_hidden")
            for name, column in zip(names, joined, strict=True):
                setattr(self, name, np.concatenate([getattr(self, name), column]))
            if not (self.ids[1:] > self.ids[:-1]).all():  # never on one machine: ids are given in the order of changes
                raise RuntimeError("ids of sightings do not ascend")
        hidden_identities = connection.scalars(sa.select(IDENTITY.c.id).where(IDENTITY.c.hidden)).all()
        self.hidden_identities = frozenset(hidden_identities)
        self.hidden = self._self_hidden | np.isin(self.identity, np.array(hidden_identities, np.int64))

    def _take_in(self, rows: Sequence[Any], parts: list[tuple[np.ndarray, ...]]) -> None:
        ids, camera, track, time, identity, hidden, embedding = zip(*rows, strict=True)
        size = self._dim * self.vectors.kind.itemsize
        if wrong := [one for one, data in zip(ids, embedding, strict=True) if len(data) != size]:
            raise ResightError(
                f"The embedding of sighting {wrong[0]} in {self._store.name} does not have {self._dim} numbers: "
                "'resight gallery verify' lists what is damaged; delete it and add its crop again."
            )
        vectors = np.frombuffer(b"".join(embedding), self.vectors.kind).reshape(len(rows), self._dim)
        columns = (
            np.array(ids, np.int64),
            self._codes(camera, self.cameras, self._camera_codes),
            self._codes(track, self.tracks, self._track_codes),
            np.array([np.nan if one is None else one for one in time], np.float64),
            np.array([one or 0 for one in identity], np.int64),
            np.array(hidden, bool),
        )
        place, again = self._places(columns[0])
        if again.any():  # embedded anew by another model
            order = np.argsort(place)
            self.vectors.replace(place[order], vectors[again][order])
            for name, column in zip(("camera", "track", "time", "identity", "_self_hidden"), columns[1:], strict=True):
                getattr(self, name)[place] = column[again]
            columns = tuple(column[~again] for column in columns)
            vectors = vectors[~again]
        if len(columns[0]):
            self.vectors.append(vectors)
            parts.append(columns)

    def _codes(self, values: Sequence[str | None], names: list[str], codes: dict[str, int]) -> np.ndarray:
        found = np.full(len(values), -1, np.int32)
        for place, value in enumerate(values):
            if value is None:
                continue
            if value not in codes:
                codes[value] = len(names)
                names.append(value)
            found[place] = codes[value]
        return found

    def _places(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places of those ids that are here, and ``(n,)`` bool: which these are."""
        place = np.searchsorted(self.ids, ids)
        there = place < len(self.ids)
        there[there] = self.ids[place[there]] == ids[there]
        return place[there], there

    def _keep(self, mask: np.ndarray) -> None:
        for name in ("ids", "camera", "track", "time", "identity", "_self_hidden"):
            setattr(self, name, getattr(self, name)[mask])
        self.vectors.keep(mask)

    def comparable(self, rows: np.ndarray) -> np.ndarray:
        """``(n, D)`` float32 embeddings of length 1, from which the mean of each one's camera is subtracted.

        Much of what an embedding says is the camera. Sightings without a camera count as those of one more camera. The
        embeddings stay as they are where there is one camera only.

        Args:
            rows: ``(n,)`` places.
        """
        unit = self.vectors.take(rows)
        means = self._camera_means()
        if len(means) < 2:
            return unit
        unit -= means[self.camera[rows]]
        length = np.linalg.norm(unit, axis=1, keepdims=True)
        return np.where(length > 1e-6, unit / np.maximum(length, 1e-6), self.vectors.take(rows))

    def _camera_means(self) -> np.ndarray:
        """``(V, D)`` float32 mean of each camera that there is; the last one is that of sightings without."""
        if self._means is not None and self._means[0] == self.last:
            return self._means[1]
        known = np.unique(self.camera)
        means = np.zeros((len(self.cameras) + 1, self._dim), np.float64)
        for start in range(0, len(self.ids), _ROWS):
            part, camera = self.vectors.take(slice(start, start + _ROWS)), self.camera[start : start + _ROWS]
            for one in np.unique(camera):
                means[one] += part[camera == one].sum(axis=0, dtype=np.float64)
        count = np.array([(self.camera == one).sum() for one in [*range(len(self.cameras)), -1]])
        found = (means / np.maximum(count, 1)[:, None]).astype(np.float32)
        self._means = self.last, found if len(known) > 1 else found[:0]
        return self._means[1]

    def places(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Places of sightings by id; -1 for one that is not there."""
        asked = np.asarray(ids, np.int64)
        place, there = self._places(asked)
        found = np.full(len(asked), -1, np.int64)
        found[there] = place
        return found

    def mask(self, filters: Filters) -> np.ndarray | None:
        """``(N,)`` bool: the sightings that pass; ``None`` if all do."""
        kept: list[np.ndarray] = []
        for names, wanted in ((filters.cameras, True), (filters.not_cameras, False)):
            if names:
                codes = [self._camera_codes[name] for name in names if name in self._camera_codes]
                kept.append(np.isin(self.camera, np.array(codes, np.int32)) == wanted)
        if filters.start is not None:
            kept.append(self.time >= filters.start)
        if filters.stop is not None:
            kept.append(self.time <= filters.stop)
        if filters.identities:
            kept.append(np.isin(self.identity, np.array(filters.identities, np.int64)))
        if not filters.hidden and self.hidden.any():
            kept.append(~self.hidden)
        return np.logical_and.reduce(kept) if kept else None
