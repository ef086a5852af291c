"""Decoding image files."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from resight.common.checks import shown, whole
from resight.errors import ResightError

if TYPE_CHECKING:
    from PIL import Image

#: Kinds of images that are read, by Pillow's names. The decoders of other kinds, such as PostScript, stay shut.
KINDS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")
#: Most pixels of an image, as many as in 8192×8192.
MAX_PIXELS = 1 << 26
#: Most bytes of an image file: as many as an uncompressed image of that size has with transparency.
MAX_BYTES = 4 * MAX_PIXELS
#: Bytes that decoding takes for each pixel: the image, and copies of it on the way to upright RGB.
_BYTES_PER_PIXEL = 8
_ORIENTATION = 0x0112
#: The reason for leaving out a file whose name could not be written into a table of results.
NOT_UNICODE = "its name is not valid Unicode; rename it"


class UnreadableImage(ResightError):  # noqa: N818 - a noun like the others the user reads
    """A file is missing, broken or not an image.

    Attributes:
        path: The file.
        reason: Why it cannot be read, without its name.
    """

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"The image {str(path) or 'without a name'} cannot be read: {reason}.")
        self.path = path
        self.reason = reason


#: The longest side of a JPEG in pixels; larger pictures do not fit into memory either.
_LARGEST_SIDE = 65_500


def read_image(path: str | Path, height: int | None = None, width: int | None = None) -> np.ndarray:
    """Decodes an image file to RGB.

    The EXIF orientation is applied. Palette and grey images become RGB, 16-bit ones keep their upper 8 bits, and
    transparency is dropped.

    Args:
        path: The file.
        height: With ``width``, resize to this many rows (bicubic, without keeping the aspect ratio).
        width: With ``height``, resize to this many columns.

    Returns:
        ``(3, H, W)`` uint8.

    Raises:
        UnreadableImage: the file is missing, empty, truncated, too large, not a regular file, or not an image of one of
            :data:`KINDS`.
        ResightError: only one of ``height`` and ``width`` is given, or one is not positive.
    """
    height, width = (
        None if side is None else whole("The side of an image", side, least=-(2**63), most=_LARGEST_SIDE)
        for side in (height, width)
    )
    if (height is None) != (width is None):
        raise ResightError("To resize an image give both its height and its width.")
    if height is not None and width is not None and (height < 1 or width < 1):
        raise ResightError(f"An image cannot be resized to {height}×{width}: give a positive height and width.")
    image = _decode(path, None if height is None or width is None else (width, height))
    return np.ascontiguousarray(np.asarray(image, dtype=np.uint8).transpose(2, 0, 1))


def image_size(path: str | Path) -> tuple[int, int]:
    """Decodes an image file and gives its height and width, EXIF orientation applied.

    Raises:
        UnreadableImage: as for :func:`read_image`.
    """
    image = _decode(path)
    return image.height, image.width


def header_size(path: str | Path) -> tuple[int, int]:
    """Height and width of an image file by its header, upright if it is a JPEG; the pixels are not decoded.

    Raises:
        UnreadableImage: as for :func:`read_image`, but damage behind the header is not seen.
    """
    with open_file(path) as stream:
        image = _open(stream, path)
        turned = False
        if image.format in ("JPEG", "MPO"):  # of others the block may lie behind the pixels
            with contextlib.suppress(Exception):  # it is broken
                turned = image.getexif().get(_ORIENTATION, 1) >= 5
        return (image.width, image.height) if turned else (image.height, image.width)


def open_file(path: str | Path) -> BinaryIO:
    """Opens a file for reading bytes, if it is a regular file of a size that an image may have.

    A pipe, a device or a socket is not opened, since reading it may block or never end.

    Raises:
        UnreadableImage: the file is missing, not a regular file, or too large.
        ResightError: ``path`` is neither text nor a path.
    """
    if not isinstance(path, str | Path):  # a whole number would be an open file of this process
        raise ResightError(f"The path of an image must be a path, got {shown(path)}.")
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise UnreadableImage(path, f"it is {_kind(found.st_mode)}, not a file")
        if found.st_size > MAX_BYTES:
            raise UnreadableImage(
                path, f"it has {found.st_size / 1e6:.0f} MB, and an image file may have {MAX_BYTES / 1e6:.0f} MB"
            )
        return open(path, "rb")
    except (OSError, ValueError) as error:  # ValueError: the name has a NUL
        raise UnreadableImage(path, _sentence(getattr(error, "strerror", None) or str(error))) from error


def is_unicode(name: str) -> bool:
    """Whether a file name is valid Unicode. Other names cannot be written into tables."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


class _Room:
    """Shares an amount of memory between threads: each waits until what it asks for is free.

    Args:
        size: Bytes in all. One thread may take more than that if no other has taken any.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken = 0
        self._freed = threading.Condition()

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Takes ``size`` bytes for the duration of a block."""
        with self._freed:
            self._freed.wait_for(lambda: not self._taken or self._taken + size <= self._size)
            self._taken += size
        try:
            yield
        finally:
            with self._freed:
                self._taken -= size
                self._freed.notify_all()


_ROOM = _Room(1 << 30)


def _decode(path: str | Path, size: tuple[int, int] | None = None) -> Image.Image:
    """An upright RGB image of Pillow, resized to ``size``, (width, height), if that is given."""
    from PIL import Image, ImageOps

    with open_file(path) as stream:
        image = _open(stream, path)
        with _ROOM.taken(_BYTES_PER_PIXEL * image.width * image.height):
            try:
                image.load()
            except Exception as error:  # decoders raise every kind of exception for broken bytes
                raise UnreadableImage(path, _sentence(str(error) or type(error).__name__)) from error
            with contextlib.suppress(Exception):  # the EXIF block is broken, but the pixels are not
                image = ImageOps.exif_transpose(image)
            image = _to_rgb(image, path)
            if size is not None and image.size != size:
                image = image.resize(size, Image.Resampling.BICUBIC)
            return image


def _open(stream: BinaryIO, path: str | Path) -> Image.Image:
    """An image of which only the header is read."""
    from PIL import Image, UnidentifiedImageError

    if not os.fstat(stream.fileno()).st_size:
        raise UnreadableImage(path, "the file is empty")
    too_large = f"than the {MAX_PIXELS / 1e6:.0f} million that a crop may have; make it smaller"
    try:
        image = Image.open(stream, formats=KINDS)
    except UnidentifiedImageError as error:
        raise UnreadableImage(path, "it is not an image of a known kind") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImage(path, f"it has many more pixels {too_large}") from error
    except Exception as error:  # decoders raise every kind of exception for broken bytes
        raise UnreadableImage(path, _sentence(str(error) or type(error).__name__)) from error
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise UnreadableImage(path, f"it has {pixels / 1e6:.0f} million pixels, more {too_large}")
    return image


def bytes_digest(data: bytes) -> str:
    """Digest of bytes: 128-bit BLAKE2b in hexadecimal."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def file_digest(path: str | Path) -> str:
    """Digest of a file's content (see :func:`bytes_digest`), whatever its name.

    Raises:
        UnreadableImage: the file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    with open_file(path) as stream:
        try:
            while data := stream.read(1 << 20):
                digest.update(data)
        except OSError as error:
            raise UnreadableImage(path, _sentence(error.strerror or str(error))) from error
    return digest.hexdigest()


def _to_rgb(image: Image.Image, path: str | Path) -> Image.Image:
    from PIL import Image

    if image.mode == "RGB":
        return image
    if image.mode == "F":
        raise UnreadableImage(path, "its pixels are floating-point numbers of unknown range; save it with 8 bits")
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise UnreadableImage(path, "its pixels have more than 16 bits; save it with 8 bits")
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")
    return image.convert("RGB")


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _sentence(reason: str) -> str:
    reason = reason.strip().rstrip(".")
    return reason[:1].lower() + reason[1:]
