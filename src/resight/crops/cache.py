"""The pixel cache: all crops decoded and resized once, in one file."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from resight.common.threads import map_ordered
from resight.crops.digests import FileDigests
from resight.crops.images import NOT_UNICODE, UnreadableImage, is_unicode, read_image
from resight.crops.kept import read_sealed, replacing, sweep_parts, write_sealed
from resight.crops.pixels import DamagedPixels, StoredImages, checksum, header
from resight.crops.table import CropTable
from resight.errors import ResightError

#: Called with the name of a step, the crops done and the crops in all.
Progress = Callable[[str, int, int], None]
_LOG = logging.getLogger("resight")


@dataclass(frozen=True)
class PixelCache:
    """Decoded crops of one size.

    Attributes:
        table: The N crops that could be read.
        images: ``(N, 3, height, width)`` uint8 RGB of these crops, read from a file when they are indexed.
        unreadable: ``(path, reason)`` of each crop that was left out.
        digest: Hash of the contents of all files, in order. The same crops in another folder have the same digest.
    """

    table: CropTable
    images: StoredImages
    unreadable: tuple[tuple[str, str], ...]
    digest: str

    def __len__(self) -> int:
        return len(self.table)


def open_pixel_cache(
    table: CropTable,
    height: int,
    width: int,
    folder: str | Path,
    *,
    max_unreadable: float = 0.01,
    remedy: str = "raise max_unreadable",
    progress: Progress | None = None,
) -> PixelCache:
    """Opens the cache of a table's crops, or decodes the crops if there is none.

    The cache is named after the contents of the crops and the size: a moved or copied folder of crops finds its cache,
    and changed crops get a new one. It is written under another name and renamed, so an interrupted call leaves no
    half-written cache, and several processes may open the same cache at once.

    A second file, the index, has the checksum of every image and the crops that could not be read. A cache whose size,
    header or index is damaged, or that an earlier version wrote without checksums, is made anew, and a warning of the
    logger ``resight`` says so. A damaged image is found when it is read
    (:class:`~resight.crops.pixels.StoredImages`). A third file has the digests of the crops' files, so that unchanged
    files are not read again to find their cache.

    Args:
        table: The crops.
        height: Image height in pixels (bicubic resize).
        width: Image width in pixels.
        folder: Folder of the caches.
        max_unreadable: Largest share of the crops that may be missing or damaged.
        remedy: What the caller can do about too many unreadable crops beside mending them, for the error; may be empty.
        progress: Called with the step's name, the crops done and the crops in all.

    Returns:
        The crops that could be read, and which could not.

    Raises:
        ResightError: there are no crops, too many of them are unreadable, or the cache cannot be written.
    """
    if not len(table):
        raise ResightError(f"There are no crops to read in {table.root}.")
    folder = Path(folder)
    sweep_parts(folder)
    digests = FileDigests(table.root, folder)
    of_files = digests.of(table, _throttled("reading crops", progress))
    digest = blake2b(b"".join(of_files), digest_size=16).hexdigest()
    stem = folder / f"{digest}-{height}x{width}"
    images, failed = _open_or_decode(table, height, width, stem, progress)
    digests.keep()
    unreadable = tuple((table.paths[row], reason) for row, reason in sorted(failed.items()))
    some = "; ".join(f"{path}: {reason}" for path, reason in unreadable[:3])
    if len(failed) == len(table):
        raise ResightError(f"None of the {len(table)} crops in {table.root} could be read ({some}).")
    if len(failed) > max_unreadable * len(table):
        mend = "Mend or remove them ('resight check' lists them all)"
        raise ResightError(
            f"{len(failed)} of {len(table)} crops in {table.root} could not be read ({some}), a larger share than "
            f"max_unreadable={max_unreadable:g}. {mend}{f', or {remedy}' if remedy else ''}."
        )
    kept = np.array([row for row in range(len(table)) if row not in failed], dtype=np.int64)
    return PixelCache(table.select(kept), images, unreadable, digest)


def _open_or_decode(
    table: CropTable, height: int, width: int, stem: Path, progress: Progress | None
) -> tuple[StoredImages, dict[int, str]]:
    for decoded in (False, True):
        try:
            if opened := _open(stem, len(table), height, width):
                return opened
        except DamagedPixels as damage:
            _LOG.warning("The pixel cache %s %s: its crops are decoded anew.", _array_file(stem), damage)
        if not decoded:
            _decode(table, height, width, stem, progress)
    raise ResightError(f"The pixel cache {_array_file(stem)} was changed by another program just now: start again.")


def _array_file(stem: Path) -> Path:
    return stem.with_suffix(".npy")


def _index_file(stem: Path) -> Path:
    return stem.with_suffix(".json")


def _open(stem: Path, crops: int, height: int, width: int) -> tuple[StoredImages, dict[int, str]] | None:
    """The images of a cache and the crops that it lacks, with the reasons; ``None`` if a file of it is missing.

    Raises:
        DamagedPixels: the cache cannot be used.
    """
    try:
        index = read_sealed(_index_file(stem))
        if index is None:
            old = b'{"unreadable"' in _index_file(stem).read_bytes()[:16]
            raise DamagedPixels(
                "was written by an earlier version, without checksums" if old else "has a damaged index"
            )
        failed = {int(row): reason for row, reason in index["unreadable"].items()}
        shape = (crops - len(failed), 3, height, width)
        if index["shape"] != [*shape] or len(index["checksums"]) != shape[0]:
            raise DamagedPixels("has the index of other crops")
        return StoredImages(_array_file(stem), shape, index["checksums"]), failed
    except FileNotFoundError:
        return None
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise DamagedPixels("has the index of another version") from error
    except OSError as error:
        raise DamagedPixels(f"cannot be read ({error.strerror})") from error


def _decode(table: CropTable, height: int, width: int, stem: Path, progress: Progress | None) -> None:
    failed: dict[int, str] = {}
    checksums: list[int] = []

    def read(row: int) -> np.ndarray | str:
        if not is_unicode(table.paths[row]):
            return NOT_UNICODE
        try:
            return read_image(table.file(row), height, width)
        except UnreadableImage as error:
            return error.reason

    told = _throttled("decoding crops", progress)
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        with replacing(_array_file(stem)) as stream:
            # The header is written twice: the number of readable crops is only known at the end.
            begin = header((len(table), 3, height, width))
            stream.write(begin)
            for row, image in enumerate(map_ordered(read, range(len(table)))):
                if isinstance(image, str):
                    failed[row] = image
                else:
                    data = image.tobytes()
                    checksums.append(checksum(data))
                    stream.write(data)
                told(row + 1, len(table))
            shape = (len(checksums), 3, height, width)
            end = header(shape)
            if len(end) != len(begin):
                raise RuntimeError("the header of the pixel cache changed its length")
            stream.seek(0)
            stream.write(end)
            # A reader between the two renamings finds an index that does not fit, and decodes for itself.
            write_sealed(_index_file(stem), {"shape": [*shape], "unreadable": failed, "checksums": checksums})
    except OSError as error:
        size = f"{len(table) * 3 * height * width / 1e9:.1f} GB"
        raise ResightError(
            f"The pixel cache {_array_file(stem)} ({size}) could not be written: {error}. Free some space or name "
            "another folder: --cache FOLDER, in Python cache=FOLDER."
        ) from error


def _throttled(what: str, progress: Progress | None) -> Callable[[int, int], None]:
    """Reports (done, total) as progress of a step, four times per second."""
    last = time.monotonic()

    def told(done: int, total: int) -> None:
        nonlocal last
        if progress is not None and (done == total or time.monotonic() - last >= 0.25):
            last = time.monotonic()
            progress(what, done, total)

    return told
