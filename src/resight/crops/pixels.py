"""Decoded crops in a file: read when they are asked for, and checked when they are read for the first time."""

from __future__ import annotations

import contextlib
import io
import os
import threading
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn, Protocol

import numpy as np

from resight.errors import ResightError

#: Reads at a place in a file without moving in it. Windows has no such call.
_PREADV = getattr(os, "preadv", None)


class Images(Protocol):
    """``(N, 3, H, W)`` uint8 images, as a ``numpy.ndarray`` in memory or as :class:`StoredImages` in a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """N, 3, H and W."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Any, /) -> np.ndarray: ...


class DamagedPixels(Exception):  # noqa: N818 - what is found, not a failure
    """A file is not the array that it should be; the text says how, as the end of a sentence."""


def header(shape: tuple[int, ...]) -> bytes:
    """The first bytes of a ``.npy`` file that holds a uint8 array of this shape."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def checksum(image: bytes | memoryview) -> int:
    """CRC-32 of an image's bytes: of the checksums that Python has, the quickest."""
    return zlib.crc32(image)


class StoredImages:
    """``(N, 3, H, W)`` uint8 images in a ``.npy`` file, indexed like an array along their first axis.

    Indexing by a number, a slice, an array of indices or a mask reads these images from the file into a new array. The
    file is read, not mapped into memory: if it is cut short meanwhile, an error is raised and the process goes on. When
    an image is read for the first time, its checksum is compared.

    Args:
        file: The file.
        shape: N, 3, H and W.
        checksums: The :func:`checksum` of each image.

    Raises:
        DamagedPixels: header or size of the file do not fit the shape.
        OSError: the file cannot be opened.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, file: Path, shape: tuple[int, int, int, int], checksums: Sequence[int]) -> None:
        self.shape = shape
        self._path = file
        self._checksums = checksums
        self._unchecked = set(range(shape[0]))
        self._rows = np.arange(shape[0])
        self._bytes = shape[1] * shape[2] * shape[3]
        expected = header(shape)
        self._start = len(expected)
        # Unbuffered; closed with the object.
        self._stream: IO[bytes] = open(file, "rb", buffering=0)  # noqa: SIM115
        self._number = self._stream.fileno()
        self._lock = threading.Lock()
        size = os.fstat(self._number).st_size
        if size != self._start + shape[0] * self._bytes:
            self.close()
            raise DamagedPixels(f"has {size} bytes instead of {self._start + shape[0] * self._bytes}")
        if self._stream.read(self._start) != expected:
            self.close()
            raise DamagedPixels("does not begin as an array of its crops")

    def close(self) -> None:
        """Closes the file. Images cannot be read any more."""
        self._stream.close()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # the file could not be opened
            self._stream.close()

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[row] for row in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype, copy=False)

    def __getitem__(self, indices: Any, /) -> np.ndarray:
        rows = self._rows[indices]
        wanted = np.atleast_1d(rows).ravel()
        images = np.empty((len(wanted), self._bytes), dtype=np.uint8)
        if len(wanted):
            self._read(wanted, memoryview(images.data).cast("B"))
        return images.reshape(*np.shape(rows), *self.shape[1:])

    def _read(self, rows: np.ndarray, into: memoryview) -> None:
        size, numbers = self._bytes, rows.tolist()
        place = 0
        while place < len(numbers):
            first, row = place, numbers[place]
            place += 1
            while place < len(numbers) and numbers[place] == row + place - first:  # neighbours are read at once
                place += 1
            self._read_at(self._start + row * size, into[first * size : place * size])
        if self._unchecked:
            self._check(numbers, into)

    def _read_at(self, offset: int, into: memoryview) -> None:
        while into:
            try:
                if _PREADV is not None:
                    count = _PREADV(self._number, (into,), offset)
                else:
                    with self._lock:
                        self._stream.seek(offset)
                        count = self._stream.readinto(into)  # type: ignore[attr-defined]
            except OSError as error:
                self._refuse(f"it cannot be read ({error.strerror})")
            if not count:
                self._refuse("it was cut short while it was in use")
            into, offset = into[count:], offset + count

    def _check(self, numbers: list[int], images: memoryview) -> None:
        for place, row in enumerate(numbers):
            if row in self._unchecked:
                if checksum(images[place * self._bytes : (place + 1) * self._bytes]) != self._checksums[row]:
                    self._refuse(f"its image {row + 1} is not the one that was written")
                self._unchecked.remove(row)

    def _refuse(self, problem: str) -> NoReturn:
        """Removes the file, unless another process has replaced it, so that the next start makes it anew."""
        removed = "It is removed:"
        try:
            here = os.fstat(self._number)
            there = os.stat(self._path)
            if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
                self._path.unlink()
        except FileNotFoundError:
            pass
        except OSError:
            removed = "Delete it and"
        raise ResightError(
            f"The pixel cache {self._path} is damaged: {problem}. {removed} start again, and the crops are "
            "decoded anew. A training run goes on with --resume."
        )
