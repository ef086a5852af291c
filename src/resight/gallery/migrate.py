"""Embedding all sightings anew by another model."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from resight.common.memory import room_for
from resight.common.threads import map_ordered
from resight.crops import UnreadableImage, file_digest, read_image
from resight.errors import ResightError
from resight.gallery.adding import BATCH, resized
from resight.gallery.models import fingerprint_of
from resight.gallery.schema import MODEL, SIGHTING
from resight.gallery.store import Store, in_parts, sequence
from resight.gallery.thumbnails import Thumbnails, decode
from resight.model import Model


def migrate(
    store: Store,
    files: Thumbnails,
    model: Model,
    run: str,
    *,
    kind: str,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[int, int]:
    """Embeds all sightings anew, and then replaces all embeddings in one transaction.

    A crop is read from its source if that has the same content as when it was added, else from its thumbnail.

    Args:
        store: The truth.
        files: The thumbnails.
        model: The new model.
        run: Its run folder.
        kind: ``float16`` or ``float32``.
        progress: Called with the step's name, the sightings done and the sightings in all.

    Returns:
        Sightings embedded anew, and how many of these from their thumbnails.

    Raises:
        ResightError: a sighting has neither its source nor a thumbnail; nothing is changed.
    """
    height, width = model.config.encoder.height, model.config.encoder.width
    ids = np.empty(0, np.int64)
    parts: list[np.ndarray] = []
    from_thumbnails = 0
    columns = [SIGHTING.c.id, SIGHTING.c.digest, SIGHTING.c.source, SIGHTING.c.thumbnail]

    def pixels(row: Any) -> tuple[np.ndarray, bool] | None:
        try:
            if Path(row.source).is_file() and file_digest(row.source) == row.digest:
                return read_image(row.source, height, width), False
        except (UnreadableImage, OSError):
            pass
        data = None if row.thumbnail is None else files.read(row.thumbnail)
        image = None if data is None else decode(data)
        return None if image is None else (resized(image.transpose(2, 0, 1), height, width), True)

    while True:
        with store.reading() as connection:
            every = connection.execute(sa.select(*columns).order_by(SIGHTING.c.id)).all()
        seen = set(ids.tolist())
        rows = [row for row in every if row.id not in seen]
        embedded = room_for((len(rows), model.dim), np.float32)
        batch: list[np.ndarray] = []
        lost = []
        for place, found in enumerate(map_ordered(pixels, rows)):
            if found is None:
                lost.append(rows[place])
                found = (np.zeros((3, height, width), np.uint8), True)
            batch.append(found[0])
            from_thumbnails += found[1]
            if len(batch) == BATCH or place + 1 == len(rows):
                embedded[place + 1 - len(batch) : place + 1] = model.embed(np.stack(batch))
                batch.clear()
                if progress is not None:
                    progress("embedding", place + 1, len(rows))
        if lost:
            raise ResightError(
                f"{len(lost)} sightings of {store.name} have neither their source nor a thumbnail, so they cannot be "
                f"embedded anew; the first is {lost[0].id}, from {lost[0].source}. Nothing was changed: bring the "
                "files back, or delete these sightings."
            )
        ids, parts = np.concatenate([ids, np.array([row.id for row in rows], np.int64)]), [*parts, embedded]
        if _replace(store, model, run, ids, parts, kind):
            return len(ids), from_thumbnails


def _replace(store: Store, model: Model, run: str, ids: np.ndarray, parts: list[np.ndarray], kind: str) -> bool:
    """Writes all embeddings, or returns False if sightings were added meanwhile."""
    fingerprint = fingerprint_of(model)
    with store.writing() as connection:
        change = sequence(connection)
        there = set(connection.scalars(sa.select(SIGHTING.c.id)).all())
        if there - set(ids.tolist()):
            return False
        connection.execute(sa.update(MODEL).values(current=False))
        known = connection.scalar(sa.select(MODEL.c.id).where(MODEL.c.fingerprint == fingerprint))
        if known is None:
            row = {"fingerprint": fingerprint, "run": run, "dim": model.dim, "current": True, "added": time.time()}
            known = connection.execute(sa.insert(MODEL).returning(MODEL.c.id), row).scalar_one()
        else:
            connection.execute(sa.update(MODEL).where(MODEL.c.id == known).values(current=True, run=run))
        statement = (
            sa.update(SIGHTING)
            .where(SIGHTING.c.id == sa.bindparam("of"))
            .values(embedding=sa.bindparam("to"), model=known, sequence=change, moved=change)
        )
        first = 0
        for part in parts:
            numbers = ids[first : first + len(part)].tolist()
            first += len(part)
            for places in in_parts(range(len(part))):
                rows = [{"of": numbers[p], "to": part[p].astype(kind).tobytes()} for p in places if numbers[p] in there]
                if rows:
                    connection.execute(statement, rows)
    return True
