"""Deleting sightings so that nothing of them is left, and checking a gallery."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from resight.errors import ResightError
from resight.gallery import decisions
from resight.gallery.schema import COUNTER, GONE, IDENTITY, MODEL, MOVE, PENDING, SIGHTING, TABLES
from resight.gallery.store import Store, in_parts, is_left_over, select_in, sequence
from resight.gallery.thumbnails import Thumbnails


@dataclass(frozen=True)
class Deleted:
    """What was deleted.

    Attributes:
        sightings: Their ids.
        identities: Ids of identities that lost their last sighting, or were named in the call, or had become others
            before; their names are gone, too.
    """

    sightings: list[int]
    identities: list[int]


def delete(
    store: Store,
    files: Thumbnails,
    *,
    sightings: Sequence[int] = (),
    identities: Sequence[int] = (),
    cameras: Sequence[str] = (),
    before: float | None = None,
) -> Deleted:
    """Deletes the sightings that any argument names: rows, thumbnails, and their traces in the log.

    Thumbnails are noted as pending in the transaction that deletes the rows and removed after it, so that a process
    that is killed between the two leaves a note. At the end the freed pages of an SQLite file are overwritten, and its
    write-ahead log is emptied.

    Raises:
        ResightError: a sighting or identity is not there, or nothing was named.
    """
    conditions: list[sa.ColumnElement[bool]] = []
    if cameras:
        conditions.append(SIGHTING.c.camera.in_(list(cameras)))
    if before is not None:
        conditions.append(SIGHTING.c.time < before)
    if not (conditions or sightings or identities):
        raise ResightError("Say what to delete: sightings, identities, cameras, or all before a time.")
    with store.writing() as connection:
        change = sequence(connection)
        columns = [SIGHTING.c.id, SIGHTING.c.digest, SIGHTING.c.identity, SIGHTING.c.thumbnail]
        rows = {row.id: row for row in select_in(connection, columns, SIGHTING.c.id, sightings)}
        _all_there("sighting", sightings, rows)
        there = {row.id for row in select_in(connection, [IDENTITY.c.id], IDENTITY.c.id, identities)}
        _all_there("identity", identities, there)
        rows |= {row.id: row for row in select_in(connection, columns, SIGHTING.c.identity, identities)}
        for condition in conditions:
            rows |= {row.id: row for row in connection.execute(sa.select(*columns).where(condition))}
        touched = {row.identity for row in rows.values()} - {None}
        once = _once(connection, rows) - touched
        for part in in_parts(rows):
            connection.execute(sa.delete(SIGHTING).where(SIGHTING.c.id.in_(part)))
            connection.execute(sa.insert(GONE), [{"sighting": one, "sequence": change} for one in part])
        kept = {row.identity for row in select_in(connection, [SIGHTING.c.identity], SIGHTING.c.identity, touched)}
        empty = (touched - kept) | set(identities) | _without_any(connection, once)
        for part in in_parts(empty):
            connection.execute(sa.delete(IDENTITY).where(IDENTITY.c.id.in_(part)))
        decisions.forget(connection, [row.digest for row in rows.values()], rows, empty)
        keys = [row.thumbnail for row in rows.values() if row.thumbnail is not None]
        for part in in_parts(keys):
            notes = [{"thumbnail": key, "writer": store.writer, "at": time.time()} for key in part]
            connection.execute(
                sa.delete(PENDING).where(PENDING.c.writer == store.writer, PENDING.c.thumbnail.in_(part))
            )
            connection.execute(sa.insert(PENDING), notes)
    finish_removal(store, files, keys)
    overwrite_free_pages(store)
    return Deleted(sorted(rows), sorted(empty))


def _once(connection: Connection, sightings: Iterable[int]) -> set[int]:
    """Identities that sightings were of at any time: one that was merged into another has its name in the log."""
    rows = select_in(connection, [MOVE.c.before, MOVE.c.after], MOVE.c.sighting, sightings)
    return {one for row in rows for one in row if one is not None}


def _without_any(connection: Connection, identities: set[int]) -> set[int]:
    """Those of some identities that no sighting in the gallery is of, or was of at any time."""
    found = set(identities)
    inside = sa.select(SIGHTING.c.id)
    for column in (MOVE.c.before, MOVE.c.after):
        found -= {row[0] for row in select_in(connection, [column], column, identities, MOVE.c.sighting.in_(inside))}
    return found - {row[0] for row in select_in(connection, [SIGHTING.c.identity], SIGHTING.c.identity, identities)}


def finish_removal(store: Store, files: Thumbnails, keys: Iterable[str]) -> None:
    """Removes thumbnails that are noted as pending, but those that were added again meanwhile."""
    keys = set(keys)
    if not keys:
        return
    with store.writing(counted=False) as connection:
        held = {row.thumbnail for row in select_in(connection, [SIGHTING.c.thumbnail], SIGHTING.c.thumbnail, keys)}
        rows = select_in(connection, [PENDING.c.thumbnail], PENDING.c.thumbnail, keys, PENDING.c.writer != store.writer)
        held |= {row.thumbnail for row in rows}
        files.remove(keys - held)
        for part in in_parts(keys):
            connection.execute(
                sa.delete(PENDING).where(PENDING.c.writer == store.writer, PENDING.c.thumbnail.in_(part))
            )


def _all_there(what: str, asked: Sequence[int], found: Iterable[int]) -> None:
    there = set(found)
    missing = sorted(one for one in set(asked) if one not in there)
    if missing:
        raise ResightError(f"There is no {what} {missing[0]} in the gallery; nothing was deleted.")


def overwrite_free_pages(store: Store) -> None:
    """Makes sure that what was deleted is in no file of the database any more.

    SQLite overwrites freed space with zeros in the file (``secure_delete``); here the file is also written anew without
    free pages, and the write-ahead log is emptied. PostgreSQL writes its tables anew; its own write-ahead log and
    backups are beyond the gallery's reach.
    """
    if store.is_sqlite:
        checkpoint(store)
        store.alone("VACUUM")
        checkpoint(store)
    else:
        for table in TABLES.sorted_tables:
            store.alone(f'VACUUM FULL "{table.name}"')


def checkpoint(store: Store) -> None:
    """Moves the write-ahead log of SQLite into the file and empties it.

    Raises:
        ResightError: another process is reading, so the log cannot be emptied.
    """
    if store.alone("PRAGMA wal_checkpoint(TRUNCATE)"):
        raise ResightError(
            f"The sightings are deleted, but another process is using {store.name}, so their bytes may still be in its "
            f"write-ahead log: end that process, and call 'resight gallery verify {store.name}', which empties it."
        )


def verify(store: Store, files: Thumbnails, *, dim: int, kind: str) -> list[str]:
    """Checks that a gallery is whole; each finding is a sentence.

    - The database is consistent (SQLite: ``PRAGMA integrity_check``), and its freed pages are empty.
    - Each embedding has the right length, is finite and of length 1, and is of the current model.
    - Each thumbnail is there and can be decoded, and there are no others.
    - Deleted sightings are not there.

    Args:
        store: The truth.
        files: The thumbnails.
        dim: D, the numbers of an embedding.
        kind: ``float16`` or ``float32``.
    """
    found: list[str] = []
    if store.is_sqlite:
        found += _check_sqlite(store)
    keys: dict[str, int] = {}
    with store.reading() as connection:
        current = connection.scalar(sa.select(MODEL.c.id).where(MODEL.c.current))
        last = sequence(connection)
        size = dim * np.dtype(kind).itemsize
        rows = connection.execution_options(stream_results=True).execute(
            sa.select(
                SIGHTING.c.id, SIGHTING.c.embedding, SIGHTING.c.model, SIGHTING.c.thumbnail, SIGHTING.c.sequence
            ).order_by(SIGHTING.c.id)
        )
        for row in rows:
            if row.thumbnail is not None:
                keys[row.thumbnail] = row.id
            if row.model != current:
                found.append(f"Sighting {row.id} was embedded by another model: 'resight gallery migrate' goes on.")
                continue
            if len(row.embedding) != size:
                found.append(f"The embedding of sighting {row.id} has {len(row.embedding)} bytes instead of {size}.")
                continue
            length = float(np.linalg.norm(np.frombuffer(row.embedding, kind).astype(np.float64)))
            if not abs(length - 1) < 0.01:
                found.append(f"The embedding of sighting {row.id} has length {length:g} instead of 1.")
            if row.sequence > last:
                found.append(f"Sighting {row.id} is of change {row.sequence}, but there were only {last} changes.")
        again = connection.scalars(sa.select(SIGHTING.c.id).where(SIGHTING.c.id.in_(sa.select(GONE.c.sighting)))).all()
        found += [f"Sighting {one} was deleted and is there." for one in again]
        if connection.scalar(sa.select(sa.func.count()).select_from(COUNTER)) != 1:
            found.append("The counter of changes is missing.")
        pending = {
            row.thumbnail for row in connection.execute(sa.select(PENDING)) if not is_left_over(row.writer, row.at)
        }
    stored = files.keys()
    found += [f"The thumbnail of sighting {keys[key]}, {key}, is missing." for key in sorted(keys.keys() - stored)]
    found += [f"The thumbnail {key} belongs to no sighting." for key in sorted(stored - keys.keys() - pending)
              if key.partition(".jpg")[0] + ".jpg" not in pending]  # fmt: skip
    known = sorted(keys.keys() & stored)
    for start in range(0, len(known), 256):
        part = known[start : start + 256]
        for key, image in zip(part, files.images(part), strict=True):
            if image is None:
                found.append(f"The thumbnail of sighting {keys[key]}, {key}, is damaged.")
    return found


def _check_sqlite(store: Store) -> list[str]:
    with store.reading() as connection:
        said = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check")]
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    found = [] if said == ["ok"] else [f"The database is damaged: {one}." for one in said[:20]]
    found += [f"A row of {row[0]} names a row of {row[2]} that is not there." for row in broken[:20]]
    if store.alone("PRAGMA wal_checkpoint(TRUNCATE)"):
        return [*found, f"Another process is using {store.name}: its write-ahead log cannot be emptied now."]
    if (used := _used_free_page(store)) is not None:
        found.append(f"Page {used} of the database is free, but not empty: 'resight gallery delete' was stopped.")
    return found


def _used_free_page(store: Store) -> int | None:
    """The first free page of an SQLite file that holds anything; ``None`` if there is none.

    Format: https://www.sqlite.org/fileformat.html, section 1.5. A trunk page begins with the number of the next one
    and the count of the leaf pages that it lists; leaf pages must be all zeros.
    """
    assert store.folder is not None
    from resight.gallery.store import DATABASE

    with (store.folder / DATABASE).open("rb") as file:
        head = file.read(100)
        size = int.from_bytes(head[16:18], "big")
        size = 65536 if size == 1 else size
        trunk = int.from_bytes(head[32:36], "big")
        pages = int.from_bytes(head[28:32], "big")
        seen: set[int] = set()
        while trunk and trunk not in seen:
            seen.add(trunk)
            file.seek((trunk - 1) * size)
            page = file.read(size)
            count = int.from_bytes(page[4:8], "big")
            rest = np.frombuffer(page[8 + 4 * count : size // 4 * 4], ">u4")
            if (rest > pages).any():  # it may still hold numbers of pages that it listed before
                return trunk
            for place in range(count):
                leaf = int.from_bytes(page[8 + 4 * place : 12 + 4 * place], "big")
                file.seek((leaf - 1) * size)
                if any(file.read(size)):
                    return leaf
            trunk = int.from_bytes(page[:4], "big")
    return None
