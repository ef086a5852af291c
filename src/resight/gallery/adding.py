"""Putting sightings into a gallery: from crops, or from embeddings made elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import sqlalchemy as sa

from resight.common.threads import map_ordered
from resight.crops import CropTable, UnreadableImage, file_digest, read_image
from resight.crops.images import NOT_UNICODE, is_unicode
from resight.errors import ResightError
from resight.gallery import thumbnails
from resight.gallery.schema import MODEL, PENDING, SIGHTING
from resight.gallery.store import Store, in_parts, select_in, sequence
from resight.gallery.thumbnails import Thumbnails
from resight.model import Model

#: Sightings of one transaction: what a stop loses at most.
BATCH = 256


@dataclass
class Added:
    """What came of adding crops.

    Attributes:
        added: Sightings that are new.
        known: Crops whose content was in the gallery, or came twice.
        unreadable: ``(path, reason)`` of each crop that could not be read.
    """

    added: int = 0
    known: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """A sighting that is about to be added."""

    digest: str
    embedding: np.ndarray
    source: str
    camera: str | None = None
    time: float | None = None
    track: str | None = None
    box: str | None = None
    quality: float | None = None
    picture: bytes | None = None


def insert_rows(store: Store, files: Thumbnails, rows: Iterable[Row], *, model: int, kind: str) -> int:
    """Adds sightings in one transaction; those whose content is there are passed over.

    Thumbnails are written before the transaction, and noted as pending before that: whenever the process is killed,
    what it left is known.

    Args:
        store: The truth.
        files: The thumbnails.
        rows: The sightings.
        model: Id of the model that embedded them.
        kind: ``float16`` or ``float32``.

    Returns:
        How many were new.
    """
    rows = list({row.digest: row for row in rows}.values())
    pictures = {thumbnails.key_of(row.digest): row.picture for row in rows if row.picture is not None}
    if pictures:
        note_pending(store, pictures)
        files.write(pictures.items())
    with store.writing() as connection:
        change, now = sequence(connection), time.time()
        if connection.scalar(sa.select(MODEL.c.id).where(MODEL.c.current)) != model:
            raise ResightError(
                f"The sightings of {store.name} were embedded anew by another model just now: start again, to add with "
                "that one."
            )
        digests = [row.digest for row in rows]
        known = {row.digest for row in select_in(connection, [SIGHTING.c.digest], SIGHTING.c.digest, digests)}
        new = [row for row in rows if row.digest not in known]
        if new:
            connection.execute(
                sa.insert(SIGHTING),
                [
                    {
                        "digest": row.digest,
                        "embedding": row.embedding.astype(kind).tobytes(),
                        "model": model,
                        "camera": row.camera,
                        "time": row.time,
                        "track": row.track,
                        "box": row.box,
                        "source": row.source,
                        "thumbnail": None if row.picture is None else thumbnails.key_of(row.digest),
                        "quality": row.quality,
                        "hidden": False,
                        "sequence": change,
                        "moved": change,
                        "added": now,
                    }
                    for row in new
                ],
            )
        if pictures:
            connection.execute(
                sa.delete(PENDING).where(PENDING.c.writer == store.writer, PENDING.c.thumbnail.in_(pictures))
            )
    return len(new)


def note_pending(store: Store, keys: Iterable[str]) -> None:
    """Notes thumbnails that this process is about to write or to remove."""
    with store.writing(counted=False) as connection:
        mine = PENDING.c.writer == store.writer
        for part in in_parts(keys):
            connection.execute(sa.delete(PENDING).where(mine, PENDING.c.thumbnail.in_(part)))
            rows = [{"thumbnail": key, "writer": store.writer, "at": time.time()} for key in part]
            connection.execute(sa.insert(PENDING), rows)


def add_crops(
    store: Store,
    files: Thumbnails,
    model: Model,
    table: CropTable,
    *,
    number: int,
    kind: str,
    progress: Callable[[str, int, int], None] | None = None,
    acknowledge: Callable[[Sequence[str]], None] | None = None,
) -> Added:
    """Embeds the crops of a table and adds those whose content is not there yet.

    Args:
        store: The truth.
        files: The thumbnails.
        model: The gallery's model.
        table: The crops. Their identities, where there are any, are not used.
        number: Id of the model in the store.
        kind: ``float16`` or ``float32``.
        progress: Called with the step's name, the crops done and the crops in all.
        acknowledge: Called with the digests of each batch when it is on the disk.
    """
    done, height, width = Added(), model.config.encoder.height, model.config.encoder.width
    digests = _digests(table, done, progress)
    with store.reading() as connection:
        asked = [digest for digest in digests if digest is not None]
        known = {row.digest for row in select_in(connection, [SIGHTING.c.digest], SIGHTING.c.digest, asked)}
    first: dict[str, int] = {}
    for row, digest in enumerate(digests):
        if digest is not None and digest not in known:
            first.setdefault(digest, row)
    wanted = sorted(first.values())
    done.known = len(asked) - len(wanted)
    ready: list[tuple[int, np.ndarray, bytes, float]] = []
    tracks = blake2b(str(table.root.absolute()).encode(errors="surrogateescape"), digest_size=4).hexdigest()

    def flush() -> None:
        if not ready:
            return
        embeddings = model.embed(np.stack([pixels for _, pixels, _, _ in ready]))
        rows = [
            _row(table, row, str(digests[row]), embedding, picture, quality, tracks)
            for (row, _, picture, quality), embedding in zip(ready, embeddings, strict=True)
        ]
        new = insert_rows(store, files, rows, model=number, kind=kind)
        done.added, done.known = done.added + new, done.known + len(rows) - new
        if acknowledge is not None:
            acknowledge([row.digest for row in rows])
        ready.clear()

    def look(row: int) -> tuple[np.ndarray, bytes, float] | str:
        try:
            image = read_image(table.file(row))
        except UnreadableImage as error:
            return error.reason
        pixels = resized(image, height, width)
        return pixels, thumbnails.encode(image), quality_of(image, pixels)

    for place, found in enumerate(map_ordered(look, wanted)):
        if isinstance(found, str):
            done.unreadable.append((table.paths[wanted[place]], found))
        else:
            ready.append((wanted[place], *found))
        if len(ready) >= BATCH:
            flush()
        if progress is not None and (place + 1 == len(wanted) or (place + 1) % BATCH == 0):
            progress("adding", place + 1, len(wanted))
    flush()
    return done


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """An image as :func:`resight.crops.read_image` resizes it, ``(3, height, width)`` uint8."""
    from PIL import Image

    picture = Image.fromarray(image.transpose(1, 2, 0))
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(picture, dtype=np.uint8).transpose(2, 0, 1))


def quality_of(image: np.ndarray, pixels: np.ndarray) -> float:
    """How well a crop can be recognised, from 0 to 1: its size and its sharpness, each compared with the model's input.

    Size is the share of the model's pixels that the crop has, at most 1. Sharpness is v / (v + 100), with v the
    variance of the Laplacian of the grey image at the model's size: 0 for a plain area, near 1 for strong edges.

    Args:
        image: ``(3, H, W)`` uint8, the crop.
        pixels: ``(3, h, w)`` uint8, the crop at the model's size.
    """
    grey = pixels.astype(np.float32).mean(axis=0)
    laplacian = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    variance = float(laplacian.var()) if laplacian.size else 0.0
    size = min(1.0, image.shape[1] * image.shape[2] / (pixels.shape[1] * pixels.shape[2]))
    return round(size * variance / (variance + 100), 4)


def _digests(table: CropTable, done: Added, progress: Callable[[str, int, int], None] | None) -> list[str | None]:
    def digest(row: int) -> tuple[str | None, str]:
        if not is_unicode(table.paths[row]):
            return None, NOT_UNICODE
        try:
            return file_digest(table.file(row)), ""
        except UnreadableImage as error:
            return None, error.reason

    found: list[str | None] = []
    for row, (one, reason) in enumerate(map_ordered(digest, range(len(table)))):
        found.append(one)
        if one is None:
            done.unreadable.append((table.paths[row], reason))
        if progress is not None and (row + 1) % 1000 == 0:
            progress("reading crops", row + 1, len(table))
    return found


def _row(
    table: CropTable, row: int, digest: str, embedding: np.ndarray, picture: bytes, quality: float, tracks: str
) -> Row:
    names, camera, moment = table.camera_names or {}, table.camera, table.time
    return Row(
        digest,
        embedding,
        str(table.file(row).absolute()),
        camera=None if camera is None else names.get(int(camera[row]), str(int(camera[row]))),
        time=None if moment is None or not np.isfinite(moment[row]) else float(moment[row]),
        track=None if table.track is None else f"{tracks}/{int(table.track[row])}",
        quality=quality,
        picture=picture,
    )


def sweep(store: Store, files: Thumbnails) -> int:
    """Removes thumbnails that a process which is no longer there left, and returns how many notes there were."""
    from resight.gallery.store import is_left_over

    with store.reading() as connection:
        notes = connection.execute(sa.select(PENDING)).all()
    old = [note for note in notes if is_left_over(note.writer, note.at)]
    if not old:
        return 0
    with store.writing(counted=False) as connection:
        writers = {note.writer for note in old}
        keys = {note.thumbnail for note in old}
        held = {row.thumbnail for row in select_in(connection, [SIGHTING.c.thumbnail], SIGHTING.c.thumbnail, keys)}
        rows = select_in(connection, [PENDING.c.thumbnail, PENDING.c.writer], PENDING.c.thumbnail, keys)
        held |= {row.thumbnail for row in rows if row.writer not in writers}
        files.remove(keys - held)  # within the transaction: nobody can note one of them meanwhile
        for part in in_parts(keys):
            connection.execute(sa.delete(PENDING).where(PENDING.c.writer.in_(writers), PENDING.c.thumbnail.in_(part)))
    return len(old)
