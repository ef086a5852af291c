"""Decoding image files."""

from __future__ import annotations

import contextlib
import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from resight.common.checks import as_path, whole
from resight.errors import ResightError

if TYPE_CHECKING:
    from PIL import Image


class UnreadableImage(ResightError):  # noqa: N818 - a noun like the others the user reads
    """A file is missing, broken or not an image.

    Attributes:
        path: The file.
        reason: Why it cannot be read, without its name.
    """

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"The image {path} cannot be read: {reason}.")
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
        UnreadableImage: the file is missing, empty, truncated or not an image.
        ResightError: only one of ``height`` and ``width`` is given, or one is not positive.
    """
    path = as_path("The path of an image", path)
    height, width = (
        None if side is None else whole("The side of an image", side, least=-(2**63), most=_LARGEST_SIDE)
        for side in (height, width)
    )
    if (height is None) != (width is None):
        raise ResightError("To resize an image give both its height and its width.")
    image = decode_image(read_bytes(path), path)
    if height is not None and width is not None:
        from PIL import Image

        if height < 1 or width < 1:
            raise ResightError(f"An image cannot be resized to {height}×{width}: give a positive height and width.")
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(image, dtype=np.uint8).transpose(2, 0, 1))


def read_bytes(path: str | Path) -> bytes:
    """The bytes of a file.

    Raises:
        UnreadableImage: the file cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UnreadableImage(path, _sentence(error.strerror or str(error))) from error


def decode_image(data: bytes, path: str | Path) -> Image.Image:
    """Decodes the bytes of a file to an upright RGB image of Pillow.

    Args:
        data: The bytes.
        path: The file, for messages only.

    Raises:
        UnreadableImage: the bytes are not an image, or a broken one.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not data:
        raise UnreadableImage(path, "the file is empty")
    try:
        image: Image.Image = Image.open(io.BytesIO(data))
        image.load()
    except UnidentifiedImageError as error:
        raise UnreadableImage(path, "it is not an image of a known kind") from error
    except Exception as error:  # decoders raise every kind of exception for broken bytes
        raise UnreadableImage(path, _sentence(str(error) or type(error).__name__)) from error
    with contextlib.suppress(Exception):  # the EXIF block is broken, but the pixels are not
        image = ImageOps.exif_transpose(image)
    return _to_rgb(image, path)


def bytes_digest(data: bytes) -> str:
    """Digest of bytes: 128-bit BLAKE2b in hexadecimal."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def file_digest(path: str | Path) -> str:
    """Digest of a file's content (see :func:`bytes_digest`), whatever its name.

    Raises:
        UnreadableImage: the file cannot be read.
    """
    return bytes_digest(read_bytes(path))


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


def _sentence(reason: str) -> str:
    reason = reason.strip().rstrip(".")
    return reason[:1].lower() + reason[1:]
