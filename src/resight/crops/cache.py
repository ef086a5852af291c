"""The pixel cache: all crops decoded and resized once, in one memory-mapped array."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

import numpy as np

from resight.common.threads import map_ordered
from resight.crops.images import UnreadableImage, file_digest, read_image
from resight.crops.table import CropTable
from resight.errors import ResightError

#: Called with the name of a step, the crops done and the crops in all.
Progress = Callable[[str, int, int], None]
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class PixelCache:
    """Decoded crops of one size.

    Attributes:
        table: The N crops that could be read.
        images: ``(N, 3, height, width)`` uint8 RGB of these crops, memory-mapped and read-only.
        unreadable: ``(path, reason)`` of each crop that was left out.
        digest: Hash of the contents of all files, in order. The same crops in another folder have the same digest.
    """

    table: CropTable
    images: np.ndarray
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
    progress: Progress | None = None,
) -> PixelCache:
    """Opens the cache of a table's crops, or decodes the crops if there is none.

    The cache file is named after the contents of the crops and the size: a moved or copied folder of crops finds its
    cache, and changed crops get a new one. It is written under another name and renamed, so an interrupted call leaves
    no half-written cache.

    Args:
        table: The crops.
        height: Image height in pixels (bicubic resize).
        width: Image width in pixels.
        folder: Folder of the caches.
        max_unreadable: Largest share of the crops that may be missing or damaged.
        progress: Called with the step's name, the crops done and the crops in all.

    Returns:
        The crops that could be read, and which could not.

    Raises:
        ResightError: there are no crops, too many of them are unreadable, or the cache cannot be written.
    """
    if not len(table):
        raise ResightError(f"There are no crops to read in {table.root}.")
    folder = Path(folder)
    files = [table.file(row) for row in range(len(table))]
    digests = list(_in_threads(_digest_or_empty, files, "reading crops", progress))
    digest = blake2b(b"".join(digests), digest_size=16).hexdigest()
    stem = folder / f"{digest}-{height}x{width}"
    array_file, index_file = stem.with_suffix(".npy"), stem.with_suffix(".json")
    if not (array_file.exists() and index_file.exists()):
        _decode(files, height, width, array_file, index_file, progress)
    index = json.loads(index_file.read_text())
    failed = {int(row): reason for row, reason in index["unreadable"].items()}
    unreadable = tuple((table.paths[row], reason) for row, reason in sorted(failed.items()))
    some = "; ".join(f"{path}: {reason}" for path, reason in unreadable[:3])
    if len(failed) == len(table):
        raise ResightError(f"None of the {len(table)} crops in {table.root} could be read ({some}).")
    if len(failed) > max_unreadable * len(table):
        raise ResightError(
            f"{len(failed)} of {len(table)} crops in {table.root} could not be read ({some}), a larger share than "
            f"max_unreadable={max_unreadable:g}. Mend or remove them ('resight check' lists them all), or raise "
            "max_unreadable."
        )
    kept = np.array([row for row in range(len(table)) if row not in failed], dtype=np.int64)
    return PixelCache(table.select(kept), np.load(array_file, mmap_mode="r"), unreadable, digest)


def _digest_or_empty(file: Path) -> bytes:
    try:
        return bytes.fromhex(file_digest(file))
    except UnreadableImage:
        return b"\0" * 16


def _decode(
    files: list[Path], height: int, width: int, array_file: Path, index_file: Path, progress: Progress | None
) -> None:
    aside = array_file.with_suffix(f".{os.getpid()}.part")
    index_aside = aside.with_suffix(".index")
    failed: dict[int, str] = {}

    def read(file: Path) -> np.ndarray | str:
        try:
            return read_image(file, height, width)
        except UnreadableImage as error:
            return error.reason

    try:
        array_file.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as stream:
            # The header is written twice: the number of readable crops is only known at the end.
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(files), 3, height, width)}
            np.lib.format.write_array_header_1_0(stream, header)
            start = stream.tell()
            for row, image in enumerate(_in_threads(read, files, "decoding crops", progress)):
                if isinstance(image, str):
                    failed[row] = image
                else:
                    stream.write(np.ascontiguousarray(image).tobytes())
            if failed:
                stream.seek(0)
                np.lib.format.write_array_header_1_0(
                    stream, header | {"shape": (len(files) - len(failed), 3, height, width)}
                )
                if stream.tell() != start:
                    raise RuntimeError("the header of the pixel cache changed its length")
            stream.flush()
            os.fsync(stream.fileno())
        index_aside.write_text(json.dumps({"unreadable": failed}))
        os.replace(index_aside, index_file)
        os.replace(aside, array_file)
    except OSError as error:
        raise ResightError(
            f"The pixel cache {array_file} ({len(files) * 3 * height * width / 1e9:.1f} GB) could not be written: "
            f"{error}. Free some space or name another folder: --cache FOLDER, in Python cache=FOLDER."
        ) from error
    finally:
        for file in (aside, index_aside):
            with contextlib.suppress(OSError):  # the folder may be the very thing that could not be made
                file.unlink()


def _in_threads(
    function: Callable[[_Item], _Result], items: list[_Item], what: str, progress: Progress | None
) -> Iterator[_Result]:
    """Results in order, computed in threads, since decoding and hashing release Python's lock."""
    for done, result in enumerate(map_ordered(function, items), start=1):
        yield result
        if progress is not None and (done % 512 == 0 or done == len(items)):
            progress(what, done, len(items))
