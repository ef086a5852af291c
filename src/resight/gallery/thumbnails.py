"""Thumbnails of sightings: small JPEG files in a folder or, through fsspec, anywhere else."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from resight.common.files import CannotWrite, writing
from resight.common.threads import map_ordered
from resight.errors import ResightError

#: Longest side of a thumbnail in pixels; smaller crops stay as they are.
SIDE = 256
_QUALITY = 88
_THREADS = 8


def encode(image: np.ndarray) -> bytes:
    """A thumbnail of a crop.

    Args:
        image: ``(3, H, W)`` uint8 RGB.

    Returns:
        A JPEG file.
    """
    from PIL import Image

    picture = Image.fromarray(image.transpose(1, 2, 0))
    picture.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()


def decode(data: bytes) -> np.ndarray | None:
    """The pixels of a thumbnail, ``(H, W, 3)`` uint8; ``None`` if the file is damaged."""
    from PIL import Image

    try:
        return np.asarray(Image.open(io.BytesIO(data), formats=("JPEG",)).convert("RGB"))
    except Exception:  # decoders raise every kind of exception for broken bytes
        return None


def key_of(digest: str) -> str:
    """The name of the thumbnail of a sighting, within the place of all thumbnails."""
    return f"{digest[:2]}/{digest}.jpg"


class Thumbnails:
    """Thumbnails by key.

    Files of a folder appear whole or not at all when a process is killed. They are not flushed to the disk one by one:
    after a power failure ``verify`` names those that are empty.

    Args:
        address: An address that fsspec knows, such as ``s3://bucket/thumbnails``, or a folder.

    Raises:
        ResightError: fsspec does not know the address, or lacks the package for it.
    """

    def __init__(self, address: str | Path) -> None:
        self.address = str(address)
        self.folder: Path | None = None
        self._files: Any = None
        self._root = ""
        if "://" not in self.address:
            self.folder = Path(address)
            return
        try:
            import fsspec

            self._files, self._root = fsspec.core.url_to_fs(self.address)
        except (ImportError, ValueError) as error:
            raise ResightError(
                f"Thumbnails cannot be kept at {self.address}: {' '.join(str(error).split())}."
            ) from error

    def write(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Writes thumbnails, several at once.

        Raises:
            CannotWrite: the disk is full, or the place cannot be written.
        """
        for _ in map_ordered(lambda item: self._write(*item), list(items), _THREADS):
            pass

    def _write(self, key: str, data: bytes) -> None:
        if self.folder is not None:
            file = self.folder / key
            with writing(file):
                file.parent.mkdir(parents=True, exist_ok=True)
                aside = file.with_name(f"{file.name}.{os.getpid()}.part")
                try:
                    aside.write_bytes(data)
                    os.replace(aside, file)
                except BaseException:
                    aside.unlink(missing_ok=True)
                    raise
            return
        try:
            if "file" in self._files.protocol:
                self._files.makedirs(self._place(key).rpartition("/")[0], exist_ok=True)
            self._files.pipe_file(self._place(key), data)
        except Exception as error:  # each file system has errors of its own
            raise CannotWrite(f"The thumbnail {self._place(key)} could not be written: {_said(error)}.") from error

    def read(self, key: str) -> bytes | None:
        """The bytes of a thumbnail; ``None`` if there is none."""
        try:
            if self.folder is not None:
                return (self.folder / key).read_bytes()
            return bytes(self._files.cat_file(self._place(key)))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise ResightError(f"The thumbnail {key} in {self.address} cannot be read: {_said(error)}.") from error

    def images(self, keys: Iterable[str | None]) -> list[np.ndarray | None]:
        """The pixels of several thumbnails, ``(H, W, 3)`` uint8 each; ``None`` where one is missing."""

        def image(key: str | None) -> np.ndarray | None:
            data = None if key is None else self.read(key)
            return None if data is None else decode(data)

        return list(map_ordered(image, list(keys), _THREADS))

    def remove(self, keys: Iterable[str]) -> None:
        """Removes thumbnails; those that are not there are passed over.

        Raises:
            CannotWrite: one cannot be removed.
        """
        for _ in map_ordered(self._remove, list(keys), _THREADS):
            pass

    def _remove(self, key: str) -> None:
        try:
            if self.folder is None:
                self._files.rm_file(self._place(key))
                return
            for part in self.folder.glob(f"{key}.*.part"):
                part.unlink(missing_ok=True)
            (self.folder / key).unlink(missing_ok=True)
        except FileNotFoundError:
            pass
        except Exception as error:
            raise CannotWrite(f"The thumbnail {key} in {self.address} could not be removed: {_said(error)}.") from error

    def keys(self) -> set[str]:
        """Every file there, by its name within the place."""
        if self.folder is not None:
            return {f"{file.parent.name}/{file.name}" for file in self.folder.glob("*/*") if file.is_file()}
        try:
            found = self._files.find(self._root)
        except FileNotFoundError:
            return set()
        return {name.removeprefix(self._root).lstrip("/") for name in found}

    def _place(self, key: str) -> str:
        return f"{self._root}/{key}"


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
