"""A gallery as files that other programs read, and back."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from resight.common.checks import as_path
from resight.common.files import writing
from resight.errors import ResightError
from resight.gallery import decisions
from resight.gallery.adding import BATCH, Row, insert_rows
from resight.gallery.schema import DECISION, IDENTITY, LINK, MOVE, SIGHTING
from resight.gallery.store import Store, in_parts, select_in, sequence
from resight.gallery.thumbnails import Thumbnails

#: Version of the files.
VERSION = 1
_ABOUT, _SIGHTINGS, _IDENTITIES, _DECISIONS = (
    "gallery.json",
    "sightings.parquet",
    "identities.parquet",
    "decisions.jsonl",
)
_ROWS = 4096


def export(store: Store, files: Thumbnails, about: dict[str, Any], to: Path) -> int:
    """Writes a gallery to a new folder and returns the number of sightings.

    ``sightings.parquet`` has one row per sighting with its embedding, ``identities.parquet`` the identities,
    ``decisions.jsonl`` the log, one decision per line, ``gallery.json`` the model. ``thumbnails`` has one folder per
    identity, and ``none`` for sightings without one.

    Args:
        store: The truth.
        files: The thumbnails.
        about: What ``gallery.json`` says: fingerprint, run, dim and precision.
        to: The folder to make.

    Raises:
        ResightError: there is something at that place.
        CannotWrite: it cannot be written.
    """
    to = as_path("The folder of the export", to)
    if to.exists():
        raise ResightError(f"{to} is there already: name a new folder.")
    aside = to.with_name(f".{to.name}.{os.getpid()}.part")
    with writing(to):
        try:
            aside.mkdir(parents=True)
            with store.reading() as connection:
                count = _write_sightings(connection, files, about, aside)
                _write_identities(connection, aside / _IDENTITIES)
                with (aside / _DECISIONS).open("w", encoding="utf-8") as stream:
                    for entry in _decisions(connection):
                        stream.write(json.dumps(entry) + "\n")
            (aside / _ABOUT).write_text(json.dumps(about | {"version": VERSION, "sightings": count}, indent=1), "utf-8")
            os.replace(aside, to)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return count


def _write_sightings(connection: Connection, files: Thumbnails, about: dict[str, Any], folder: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = pa.float16() if about["precision"] == "float16" else pa.float32()
    columns = {
        "sighting": pa.int64(), "digest": pa.string(), "camera": pa.string(), "time": pa.float64(),
        "track": pa.string(), "box": pa.string(), "source": pa.string(), "quality": pa.float64(),
        "identity": pa.int64(), "hidden": pa.bool_(), "thumbnail": pa.string(),
        "embedding": pa.list_(number, about["dim"]),
    }  # fmt: skip
    schema = pa.schema(columns)
    rows = connection.execution_options(stream_results=True).execute(sa.select(SIGHTING).order_by(SIGHTING.c.id))
    count = 0
    with pq.ParquetWriter(folder / _SIGHTINGS, schema) as writer:
        for part in rows.partitions(_ROWS):
            pictures = [None if row.thumbnail is None else files.read(row.thumbnail) for row in part]
            names: list[str | None] = []
            for row, picture in zip(part, pictures, strict=True):
                name = None if picture is None else f"thumbnails/{row.identity or 'none'}/{row.digest}.jpg"
                names.append(name)
                if name is not None and picture is not None:
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (folder / name).write_bytes(picture)
            embeddings = np.frombuffer(b"".join(row.embedding for row in part), about["precision"])
            values = {
                "sighting": [row.id for row in part],
                "thumbnail": names,
                "embedding": pa.FixedSizeListArray.from_arrays(pa.array(embeddings, number), about["dim"]),
            }
            values |= {name: [getattr(row, name) for row in part] for name in columns if name not in values}
            writer.write_table(pa.table({name: values[name] for name in columns}, schema=schema))
            count += len(part)
    return count


def _write_identities(connection: Connection, file: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {
        "identity": pa.int64(),
        "name": pa.string(),
        "note": pa.string(),
        "hidden": pa.bool_(),
        "created": pa.float64(),
    }
    rows = connection.execute(sa.select(IDENTITY).order_by(IDENTITY.c.id)).all()
    columns = {"identity": [row.id for row in rows]}
    columns |= {name: [getattr(row, name) for row in rows] for name in kinds if name != "identity"}
    pq.write_table(pa.table(columns, schema=pa.schema(kinds)), file)


def _decisions(connection: Connection) -> Iterator[dict[str, Any]]:
    """Every decision with its links and moves, by the contents of sightings."""
    links: dict[int, tuple[list[str], list[str]]] = {}
    for row in connection.execute(sa.select(LINK).order_by(LINK.c.decision, LINK.c.side, LINK.c.digest)):
        links.setdefault(row.decision, ([], []))[row.side].append(row.digest)
    moves: dict[int, list[list[Any]]] = {}
    digest = SIGHTING.c.digest
    for row in connection.execute(sa.select(MOVE, digest).join(SIGHTING, SIGHTING.c.id == MOVE.c.sighting)):
        moves.setdefault(row.decision, []).append([row.digest, row.before, row.after])
    for entry in decisions.log(connection):
        yield {
            "decision": entry.id, "kind": entry.kind, "by": entry.by, "at": entry.at, "value": entry.value,
            "undoes": entry.undoes, "sides": links.get(entry.id, ([], [])), "moves": moves.get(entry.id, []),
        }  # fmt: skip


def read_about(folder: Path) -> dict[str, Any]:
    """What ``gallery.json`` of an export says.

    Raises:
        ResightError: the folder is no export, or of another version.
    """
    folder = as_path("The export", folder)
    try:
        about = json.loads((folder / _ABOUT).read_text("utf-8"))
        if about["version"] != VERSION:
            raise ResightError(
                f"{folder} is an export of version {about['version']}, and this Resight reads version {VERSION}: "
                "import it with the version that wrote it."
            )
        return {name: about[name] for name in ("fingerprint", "run", "dim", "precision", "sightings")}
    except OSError as error:
        raise ResightError(f"{folder} is not an export: 'resight gallery export' makes one.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ResightError(f"{folder / _ABOUT} is damaged: export the gallery again.") from error


def import_folder(
    store: Store,
    files: Thumbnails,
    folder: Path,
    *,
    model: int,
    kind: str,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[int, int]:
    """Adds an export to a gallery of the same model; a second call adds nothing.

    Identities keep their numbers where the gallery has none yet, and get new ones otherwise. A sighting that has an
    identity in the gallery keeps it.

    Args:
        store: The truth.
        files: The thumbnails.
        folder: The export.
        model: Id of the model in the store.
        kind: ``float16`` or ``float32``.
        progress: Called with the step's name, the sightings done and the sightings in all.

    Returns:
        Sightings that are new, and decisions that are new.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    added, done = 0, 0
    identity_of: dict[str, int] = {}
    hidden: list[str] = []
    try:
        source = pq.ParquetFile(folder / _SIGHTINGS)
        for batch in source.iter_batches(BATCH):
            rows = []
            vectors = np.asarray(batch.column("embedding").flatten()).reshape(batch.num_rows, -1)
            columns = {name: batch.column(name).to_pylist() for name in batch.schema.names if name != "embedding"}
            for place, digest in enumerate(columns["digest"]):
                picture = columns["thumbnail"][place]
                if columns["identity"][place] is not None:
                    identity_of[digest] = columns["identity"][place]
                if columns["hidden"][place]:
                    hidden.append(digest)
                known = {name: columns[name][place] for name in ("camera", "time", "track", "box", "quality")}
                read = None if picture is None else _read_picture(folder, picture)
                rows.append(Row(digest, vectors[place], columns["source"][place], picture=read, **known))
            added += insert_rows(store, files, rows, model=model, kind=kind)
            done += len(rows)
            if progress is not None:
                progress("importing", done, source.metadata.num_rows)
        named = pq.read_table(folder / _IDENTITIES).to_pylist()
        lines = (folder / _DECISIONS).read_text("utf-8").splitlines()
        entries = [json.loads(line) for line in lines]
    except ResightError:
        raise
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
        raise ResightError(
            f"The export {folder} is damaged ({' '.join(str(error).split())[:200]}): export the gallery again. What "
            "was added before is in the gallery."
        ) from error
    with store.writing() as connection:
        new = _take_identities(connection, named, identity_of, hidden, entries)
    return added, new


def _read_picture(folder: Path, name: str) -> bytes | None:
    file = (folder / name).resolve()
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        return None
    return file.read_bytes()


def _take_identities(
    connection: Connection,
    named: list[dict[str, Any]],
    identity_of: dict[str, int],
    hidden: list[str],
    entries: list[dict[str, Any]],
) -> int:
    """Brings identities and decisions in; returns the number of new decisions."""
    known = {(row.kind, row.by, row.at) for row in connection.execute(sa.select(DECISION))}
    new = [entry for entry in entries if (entry["kind"], entry["by"], entry["at"]) not in known]
    columns = [SIGHTING.c.digest, SIGHTING.c.id, SIGHTING.c.identity]
    digests = {*identity_of, *hidden, *(move[0] for entry in new for move in entry["moves"])}
    rows = {row.digest: row for row in select_in(connection, columns, SIGHTING.c.digest, digests)}
    open_ones = [d for d, _ in identity_of.items() if d in rows and rows[d].identity is None]
    change = sequence(connection)
    number: dict[int | None, int | None] = {None: None, 0: None}
    if open_ones or new:
        wanted = {identity_of[digest] for digest in open_ones}
        wanted |= {one for entry in new for move in entry["moves"] for one in move[1:] if one}
        by_id = {row["identity"]: row for row in named}
        wanted = {one for one in wanted if one in by_id}
        empty = connection.scalar(sa.select(sa.func.count()).select_from(IDENTITY)) == 0
        for one in sorted(wanted):
            row = {name: by_id[one][name] for name in ("name", "note", "hidden", "created")}
            row |= {"id": one} if empty else {}
            number[one] = connection.execute(sa.insert(IDENTITY).returning(IDENTITY.c.id), row).scalar_one()
        if empty and wanted and connection.dialect.name == "postgresql":
            connection.execute(
                sa.text("SELECT setval(pg_get_serial_sequence('identity', 'id'), :last)"), {"last": max(wanted)}
            )
    moved = [{"of": rows[d].id, "to": number.get(identity_of[d])} for d in open_ones]
    if moved:
        statement = sa.update(SIGHTING).where(SIGHTING.c.id == sa.bindparam("of"))
        connection.execute(statement.values(identity=sa.bindparam("to"), moved=change), moved)
    for part in in_parts(d for d in hidden if d in rows):
        connection.execute(sa.update(SIGHTING).where(SIGHTING.c.digest.in_(part)).values(hidden=True, moved=change))
    renamed: dict[int, int] = {}
    for entry in new:
        value = entry["value"]
        attributes = []
        for table, key, *rest in value.get("attributes", []):
            if table == "identity" and number.get(key) is not None:
                attributes.append([table, number[key], *rest])
        row = {
            "kind": entry["kind"], "by": entry["by"], "at": entry["at"],
            "value": json.dumps(value | {"attributes": attributes}), "undoes": renamed.get(entry["undoes"]),
        }  # fmt: skip
        made = int(connection.execute(sa.insert(DECISION).returning(DECISION.c.id), row).scalar_one())
        renamed[entry["decision"]] = made
        links = [{"decision": made, "side": s, "digest": d} for s, side in enumerate(entry["sides"]) for d in side]
        if links:
            connection.execute(sa.insert(LINK), links)
        moves = [
            {"decision": made, "sighting": rows[d].id, "before": number.get(before), "after": number.get(after)}
            for d, before, after in entry["moves"]
            if d in rows
        ]
        if moves:
            connection.execute(sa.insert(MOVE), moves)
    return len(new)
