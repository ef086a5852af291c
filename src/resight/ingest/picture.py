"""A contact sheet of an ingest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from resight.crops.images import UnreadableImage, read_image
from resight.ingest.tracks import Row
from resight.ingest.video import describe_time

_ROWS, _CROPS = 24, 8
_HEIGHT, _WIDTH = 128, 64


def sheet_rows(folder: Path, rows: Sequence[Row]) -> tuple[list[list[np.ndarray | None]], list[str], list[list[str]]]:
    """Images, titles and captions of some tracks, spread evenly over all.

    Args:
        folder: The folder of sightings.
        rows: Its rows.

    Returns:
        What :func:`resight.crops.sheets.contact_sheet` takes, one row per track.
    """
    tracks: dict[int, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["track"], row["frame"])):
        tracks.setdefault(row["track"], []).append(row)
    numbers = list(tracks)
    chosen = [
        numbers[i] for i in np.unique(np.linspace(0, len(numbers) - 1, min(_ROWS, len(numbers))).round().astype(int))
    ]
    images: list[list[np.ndarray | None]] = []
    titles, captions = [], []
    for track in chosen:
        cells: list[np.ndarray | None] = []
        for row in tracks[track][:_CROPS]:
            try:
                height = max(1, min(_HEIGHT, round(_WIDTH * row["height"] / max(row["width"], 1))))
                width = max(1, round(height * row["width"] / max(row["height"], 1)))
                image = read_image(folder / row["path"], height, width)
                cells.append(np.ascontiguousarray(image.transpose(1, 2, 0)))
            except UnreadableImage:
                cells.append(None)
        if any(cell is not None for cell in cells):
            images.append(cells)
            first = tracks[track][0]
            titles.append(f"{first['camera_name']}\ntrack {track}\n{describe_time(first['track_from'])[5:]}")
            captions.append([f"{row['quality']:.2f}" for row in tracks[track][:_CROPS]])
    return images, titles, captions
