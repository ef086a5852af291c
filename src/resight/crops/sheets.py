"""Contact sheets: rows of crops with titles, captions and coloured frames, as one picture."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from resight.errors import ResightError

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

#: Names for colours of frames.
FRAME_COLOURS = {
    "right": "#2e9e4f",
    "wrong": "#d0342c",
    "query": "#2563c9",
    "junk": "#9a9a9a",
    "none": "#ffffff",
}
#: Signs that frames of some names have in a corner, so that they are told apart without colours.
SIGNS = {"right": "tick", "wrong": "cross", "junk": "dash"}
#: Characters that Pillow's font lacks, and their replacements. Accents are dropped.
_SIGNS = str.maketrans({"×": "x", "–": "-", "—": "-", "−": "-", "→": "->", "·": "-", "’": "'", "“": '"', "”": '"'})


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray | None]],
    *,
    titles: Sequence[str] | None = None,
    captions: Sequence[Sequence[str | None]] | None = None,
    frames: Sequence[Sequence[str | None]] | None = None,
    scale: float = 2,
    gap: int = 6,
    font_size: int = 13,
    background: str = "#ffffff",
    ink: str = "#222222",
) -> Image.Image:
    """Draws rows of images as one picture.

    Each image has a cell of the size of the largest image times ``scale``; smaller images are centred in their cells.
    Text is set in Pillow's built-in font, which has Latin letters without accents; other characters are replaced.

    Args:
        rows: Rows of ``(H, W, 3)`` uint8 images; ``None`` leaves a gap. Rows may differ in length.
        titles: One text per row, drawn to its left; it may have line breaks.
        captions: One list per row of small texts under its images; ``None`` for an image without. A list may be shorter
            than its row.
        frames: One list per row of colours around its images; ``None`` for an image without. A colour is a name in
            :data:`FRAME_COLOURS` or any colour that Pillow knows. ``right``, ``wrong`` and ``junk`` also have a sign in
            a corner (:data:`SIGNS`).
        scale: Pixels of the sheet per pixel of an image.
        gap: Pixels between images.
        font_size: Height of titles in pixels; captions are a little smaller.
        background: Colour of the sheet.
        ink: Colour of the text.

    Returns:
        The sheet, RGB.

    Raises:
        ResightError: there is no image, an image is not ``(H, W, 3)`` uint8, there are not as many titles, captions or
            frames as rows, the scale is not positive, or a colour is unknown.
    """
    from PIL import Image, ImageDraw, ImageFont

    cells = [list(row) for row in rows]
    _check(cells, titles, captions, frames, scale)
    sizes = [image.shape for row in cells for image in row if image is not None]
    width = max(1, round(scale * max(size[1] for size in sizes)))
    height = max(1, round(scale * max(size[0] for size in sizes)))
    titles = None if titles is None else [_printable(title) for title in titles]
    font = ImageFont.load_default(font_size)
    small = ImageFont.load_default(max(8, font_size - 2))
    border = max(2, round(width / 28)) if frames is not None else 0
    ruler = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    label = max((int(ruler.multiline_textbbox((0, 0), title, font=font)[2]) for title in titles or ()), default=0)
    left = gap + (label + 2 * gap if label else 0)
    step_x = width + 2 * border + gap
    tops = [gap]
    for i in range(len(cells)):
        footer = font_size + 4 if captions is not None and any(captions[i]) else 0
        tops.append(tops[-1] + height + 2 * border + footer + gap)
    columns = max(len(row) for row in cells)
    sheet = Image.new("RGB", (left + columns * step_x, tops[-1]), background)
    pen = ImageDraw.Draw(sheet)
    for i, row in enumerate(cells):
        top = tops[i]
        if titles is not None:
            middle = top + border + height / 2
            pen.multiline_text((gap, middle), titles[i], fill=ink, font=font, anchor="lm", spacing=3)
        for j, image in enumerate(row):
            if image is None:
                continue
            x = left + j * step_x
            colour = _at(frames, i, j)
            if colour is not None:
                box = (x, top, x + width + 2 * border - 1, top + height + 2 * border - 1)
                pen.rectangle(box, fill=_colour(colour))
            picture = Image.fromarray(image)
            size = max(1, round(scale * picture.width)), max(1, round(scale * picture.height))
            if size != picture.size:
                picture = picture.resize(size, Image.Resampling.BICUBIC)
            sheet.paste(picture, (x + border + (width - size[0]) // 2, top + border + (height - size[1]) // 2))
            if colour in SIGNS and width >= 24:
                _draw_sign(pen, SIGNS[colour], x + width + 2 * border - 1, top, max(9, width // 5), _colour(colour))
            text = _at(captions, i, j)
            if text:
                text = _fitted(_printable(text), small, step_x - 2)
                place = (x + border + width / 2, top + 2 * border + height + 1)
                pen.text(place, text, fill=ink, font=small, anchor="ma")
    return sheet


def _draw_sign(pen: ImageDraw.ImageDraw, sign: str, right: int, top: int, size: int, colour: tuple[int, ...]) -> None:
    """A white sign in the upper right corner of a frame, on a square of the frame's colour."""
    left, line = right - size, max(1, size // 6)
    pen.rectangle((left, top, right, top + size), fill=colour)
    a, b, c = size * 0.25, size * 0.5, size * 0.75
    if sign == "tick":
        places = [[(left + a, top + b), (left + size * 0.42, top + c), (left + c, top + a)]]
    elif sign == "cross":
        places = [[(left + a, top + a), (left + c, top + c)], [(left + a, top + c), (left + c, top + a)]]
    else:
        places = [[(left + a, top + b), (left + c, top + b)]]
    for line_of in places:
        pen.line(line_of, fill="#ffffff", width=line)


def _at(table: Sequence[Sequence[str | None]] | None, row: int, column: int) -> str | None:
    return None if table is None or column >= len(table[row]) else table[row][column]


def _printable(text: str) -> str:
    """A text in characters that the font has."""
    plain = (sign for sign in unicodedata.normalize("NFD", text.translate(_SIGNS)) if not unicodedata.combining(sign))
    return "".join(sign if sign.isascii() or sign in "°…" else "?" for sign in plain)


def _fitted(text: str, font: Any, width: float) -> str:
    """A text cut to a width in pixels; an ellipsis marks a cut."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _colour(name: str) -> tuple[int, ...]:
    from PIL import ImageColor

    try:
        return ImageColor.getrgb(FRAME_COLOURS.get(name, name))
    except ValueError as error:
        raise ResightError(
            f"There is no frame colour '{name}': use {', '.join(FRAME_COLOURS)} or a colour such as '#2563c9'."
        ) from error


def _check(
    cells: list[list[np.ndarray | None]],
    titles: Sequence[str] | None,
    captions: Sequence[Sequence[str | None]] | None,
    frames: Sequence[Sequence[str | None]] | None,
    scale: float,
) -> None:
    images = [image for row in cells for image in row if image is not None]
    if not images:
        raise ResightError("A contact sheet needs at least one image.")
    for image in images:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise ResightError(
                f"A contact sheet takes images of shape (H, W, 3) and type uint8, but one has shape {image.shape} and "
                f"type {image.dtype}."
            )
    if not scale > 0:
        raise ResightError(f"A contact sheet cannot be drawn at scale={scale}: give a positive number.")
    for name, given in (("titles", titles), ("captions", captions), ("frames", frames)):
        if given is not None and len(given) != len(cells):
            raise ResightError(f"There are {len(cells)} rows of images, but {len(given)} of {name}: give one per row.")
