"""The pixel cache: every crop decoded and resized once, into one memory-mapped array."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

import numpy as np

from resight.crops.images import UnreadableImage, file_digest, read_image
from resight.crops.table import CropTable
from resight.errors import ResightError

#: Called with (what is being done, crops done, crops in all).
Progress = Callable[[str, int, int], None]
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class PixelCache:
    """Decoded crops of one size.

    Attributes:
        table: The crops that could be read, row for row with ``images``.
        images: ``(N, 3, height, width)`` uint8 RGB, memory-mapped and read-only.
        unreadable: ``(path, reason)`` of each crop that was left out.
        digest: Hash of the contents of all files, in order: the same crops elsewhere have the same digest.
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
    """Opens the cache of a table's crops, decoding what no earlier call has decoded.

    The file is named by the contents of the crops and the size, so that a moved or copied folder finds its cache
    and a changed crop does not. It is written aside and renamed: an interrupted call leaves nothing half-written.

    Args:
        table: The crops.
        height: Image height in pixels (bicubic resize).
        width: Image width in pixels.
        folder: Where caches lie.
        max_unreadable: Share of the crops that may be missing or damaged before the call gives up.
        progress: Told of crops done.

    Raises:
        ResightError: no crops, or too many of them unreadable.
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
            f"{len(failed)} of {len(table)} crops in {table.root} could not be read, more than the share of "
            f"{max_unreadable:g} that is put up with ({some}). Mend or remove them ('resight check' lists them all), "
            "or raise max_unreadable."
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
            f"{error}. Free some space or name another folder with cache=PATH."
        ) from error
    finally:
        for file in (aside, index_aside):
            with contextlib.suppress(OSError):  # the folder may be the very thing that could not be made
                file.unlink()


def _in_threads(
    function: Callable[[_Item], _Result], items: list[_Item], what: str, progress: Progress | None
) -> Iterator[_Result]:
    """Results in order, computed a few ahead in threads (decoding and hashing release the GIL)."""
    block = 512
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(items), block):
            results: Iterable[_Result] = pool.map(function, items[start : start + block])
            yield from results
            if progress is not None:
                progress(what, min(start + block, len(items)), len(items))
