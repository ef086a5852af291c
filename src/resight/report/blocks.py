"""What sections of a report are made of, and the pictures that they share."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Cell:
    """A picture in a row.

    Attributes:
        picture: Its number in :class:`Pictures`.
        kind: ``right``, ``wrong``, ``ignored``, ``query`` or ``plain``: its frame and sign.
        caption: Text below it.
        alt: What it shows, for people who cannot see it.
    """

    picture: int
    kind: str = "plain"
    caption: str = ""
    alt: str = ""


@dataclass(frozen=True)
class Strip:
    """A row of pictures under a title."""

    title: str
    cells: list[Cell]


@dataclass(frozen=True)
class Block:
    """A part of a section: exactly one of its fields but ``text`` is set, or ``text`` alone.

    Attributes:
        text: A sentence or two above the rest.
        charts: SVG elements.
        strips: Rows of pictures.
        table: Names of columns and rows of cells.
        plots: SVG of points with, per chart, the picture and the words of each point by collection.
    """

    text: str = ""
    charts: list[str] = field(default_factory=list)
    strips: list[Strip] = field(default_factory=list)
    table: tuple[list[str], list[list[str]]] | None = None
    plots: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Section:
    """A section of a report.

    Attributes:
        name: Its name in addresses within the page.
        title: Its title.
        blocks: What it has.
        closed: Whether it is shown closed at first.
    """

    name: str
    title: str
    blocks: list[Block]
    closed: bool = False


class Pictures:
    """Small pictures of a page, each kept once.

    Args:
        height: Height that larger pictures are reduced to, in pixels.
        quality: Quality of the compression.
    """

    def __init__(self, height: int = 112, quality: int = 72) -> None:
        self._height, self._quality = height, quality
        self._places: dict[str, int] = {}
        self.urls: list[str] = []
        self.sizes: list[tuple[int, int]] = []

    def add(self, image: np.ndarray) -> int:
        """Takes an image.

        Args:
            image: ``(3, H, W)`` or ``(H, W, 3)`` uint8.

        Returns:
            Its number; the same for the same image.
        """
        from PIL import Image

        if image.shape[0] == 3 and image.shape[2] != 3:
            image = image.transpose(1, 2, 0)
        picture = Image.fromarray(np.ascontiguousarray(image))
        if picture.height > self._height:
            size = max(1, round(picture.width * self._height / picture.height)), self._height
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        out = io.BytesIO()
        picture.save(out, "webp", quality=self._quality, method=4)
        url = "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode("ascii")
        place = self._places.setdefault(url, len(self.urls))
        if place == len(self.urls):
            self.urls.append(url)
            self.sizes.append(picture.size)
        return place
