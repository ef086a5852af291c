"""Exact nearest neighbours on the CPU: approximate similarities of all pairs, then exact distances of candidates.

The candidates of a crop are the crops whose approximate similarity lies within the error bound of its k-th largest one.
The true neighbours are among them, so sorting them by exact distance gives the exact result, however the similarities
were rounded. A crop with more candidates than its buffer holds is searched again, in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from resight.clustering.search import _candidates
from resight.clustering.search.products import TILE_ELEMENTS, Products
from resight.clustering.search.rows import UnitRows
from resight.common.kernels import map_rows, run_rows
from resight.common.memory import available_memory

_ROWS_PER_TASK = 64
_READ_AT_ONCE = 1 << 25  # numbers read at once from features that are not in memory


class Candidates:
    """Buffers of candidate neighbours for consecutive crops.

    Args:
        origin: First crop.
        size: Number of crops.
        need: Neighbours wanted per crop, the crop itself not counted.
        capacity: Candidates per buffer.
        products: Source of the similarities: every crop that their error bound allows stays a candidate. ``None`` keeps
            only the crops of largest similarity.

    Attributes:
        value: ``(size, capacity)`` float32 similarity of each candidate.
        where: ``(size, capacity)`` int32 crop of each candidate.
        count: ``(size,)`` int32 number of candidates.
        cut: ``(size,)`` float32: a crop of lower similarity cannot be among the nearest.
        full: ``(size,)`` int32 number of candidates at which the buffer is thinned out next.
        spilt: ``(size,)`` bool: whether possible neighbours were dropped for lack of room.
    """

    def __init__(self, origin: int, size: int, need: int, capacity: int, products: Products | None = None) -> None:
        self.origin = origin
        self.need = need
        self.margin, self.slope = (0.0, 0.0) if products is None else (products.margin, products.slope)
        self.value = np.empty((size, capacity), np.float32)
        self.where = np.empty((size, capacity), np.int32)
        self.count = np.zeros(size, np.int32)
        self.cut = np.full(size, -np.inf, np.float32)
        self.full = np.full(size, min(capacity, 2 * need + 32), np.int32)
        self.spilt = np.zeros(size, bool)

    def offer(self, tile: np.ndarray, rows: np.ndarray, columns: np.ndarray, *, to_columns: bool = False) -> None:
        """Adds the columns of a tile to the candidates of its rows, or the rows to the candidates of its columns.

        Args:
            tile: ``(B, W)`` float32 similarities; the next call of :meth:`Products.tile` may overwrite it.
            rows: ``(B,)`` int32 crop of each row of the tile.
            columns: ``(W,)`` int32 crop of each column of the tile.
            to_columns: Whether the rows are added to the candidates of the columns.
        """
        kernel, size = (_candidates.offer_columns, len(columns)) if to_columns else (_candidates.offer_rows, len(rows))

        def work(start: int, stop: int) -> None:
            kernel(
                tile, rows, columns, self.origin, self.value, self.where, self.count, self.cut, self.full, self.spilt,
                max(self.need, 1), self.margin, self.slope, start, stop,
            )  # fmt: skip

        run_rows(work, size, chunk=512 if to_columns else max(_ROWS_PER_TASK, (1 << 20) // tile.shape[1]))

    def finish(self, rows: UnitRows, indices: np.ndarray, distances: np.ndarray) -> int:
        """Writes the neighbours of every crop with enough candidates, by exact distance.

        Args:
            rows: All N rows.
            indices: ``(N, k)`` int32, written.
            distances: ``(N, k)`` float32, written.

        Returns:
            Number of exact distances computed.
        """

        def work(start: int, stop: int) -> int:
            return int(
                _candidates.finish_rows(
                    rows.data, rows.norm, self.origin, self.value, self.where, self.count, self.need,
                    self.margin, self.slope, indices, distances, start, stop,
                )
            )  # fmt: skip

        return sum(map_rows(work, len(self.count), chunk=_ROWS_PER_TASK))


def search_exact(
    rows: UnitRows,
    products: Products,
    indices: np.ndarray,
    distances: np.ndarray,
    furthest: np.ndarray | None = None,
    *,
    memory: int | None = None,
    tile_rows: int | None = None,
    part: slice | None = None,
) -> dict[str, float]:
    """Writes the exact neighbours of all rows, or of a part of them.

    Args:
        rows: N rows.
        products: Approximate similarities of the rows.
        indices: ``(N, k)`` int32, written.
        distances: ``(N, k)`` float32, written.
        furthest: ``(N,)`` float32 largest distance of each row, written; ``None`` does not compute it.
        memory: Bytes for the candidates; by default a quarter of the memory that is available. Where the candidates of
            all rows fit, each pair is multiplied once. Otherwise rows are processed in panels, and pairs across panels
            are multiplied twice.
        tile_rows: Rows multiplied at once; by default 1024, or 4096 where the rows are not in memory.
        part: The rows whose neighbours are written; all if not given. With fewer than all, pairs of a row of the part
            and another row are multiplied without use for the other row.

    Returns:
        ``candidates``, the mean number of exact distances per row, and ``repeated``, the number of rows that were
        searched again.
    """
    size, k = indices.shape
    begin, end = (0, size) if part is None else (part.start, part.stop)
    need = k - 1
    capacity = min(4 * need + 256, max(size, 8))
    room = available_memory() // 4 if memory is None else memory
    panel = int(min(size, max(4096, room // (8 * (capacity + (128 if furthest is not None else 0))))))
    height = min(tile_rows or (1024 if rows.held else 4096), panel)
    width = max(height, TILE_ELEMENTS // height)
    if not rows.held:
        width = min(width, max(height, _READ_AT_ONCE // rows.dim))
    ids = np.arange(size, dtype=np.int32)
    computed = 0
    repeat: list[np.ndarray] = []
    far_repeat: list[np.ndarray] = []
    for first in range(begin, end, panel):
        last = min(first + panel, end)
        near = Candidates(first, last - first, need, capacity, products)
        far = Candidates(first, last - first, 1, min(128, max(size, 8)), products) if furthest is not None else None
        for top in range(first, last, height):
            bottom = min(top + height, last)
            # columns of earlier panels, then of this panel from the diagonal on, then of later panels
            for left, right in _pieces(first, top, bottom, last, size, width):
                tile = products.tile(slice(top, bottom), slice(left, right))
                mirrored = bottom <= left and right <= last
                for candidates in (near, far):
                    if candidates is None:
                        continue
                    if candidates is far:
                        np.negative(tile, out=tile)
                    candidates.offer(tile, ids[top:bottom], ids[left:right])
                    if mirrored:
                        candidates.offer(tile, ids[top:bottom], ids[left:right], to_columns=True)
        computed += near.finish(rows, indices, distances)
        repeat.append(first + np.flatnonzero(near.spilt))
        if far is not None and furthest is not None:
            _finish_furthest(far, rows, furthest)
            far_repeat.append(first + np.flatnonzero(far.spilt))
        del near, far
    again = np.concatenate([*repeat, np.empty(0, np.int64)]).astype(np.int64)
    search_some(rows, again, indices, distances)
    if furthest is not None:
        furthest_of(rows, np.concatenate([*far_repeat, np.empty(0, np.int64)]).astype(np.int64), furthest)
    return {"candidates": computed / max(1, end - begin), "repeated": len(again)}


def _pieces(first: int, top: int, bottom: int, last: int, size: int, width: int) -> list[tuple[int, int]]:
    """Ranges of columns to multiply rows ``top`` to ``bottom`` with; no range mixes mirrored columns with others."""
    ranges = [(0, first), (top, bottom), (bottom, last), (last, size)]
    return [(left, min(left + width, stop)) for start, stop in ranges for left in range(start, stop, width)]


def search_some(rows: UnitRows, wanted: np.ndarray, indices: np.ndarray, distances: np.ndarray) -> None:
    """Writes the exact neighbours of the rows ``wanted`` into the same rows of ``(N, k)`` indices and distances."""
    found, near = exact_rows(rows, wanted, indices.shape[1])
    indices[wanted] = found
    distances[wanted] = near


def exact_rows(rows: UnitRows, wanted: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """``(W, k)`` int32 indices and float32 distances of the exact neighbours of the W rows ``wanted``.

    Similarities are computed in float32, and buffers grow as needed, so that no row has to be searched again.
    """
    indices = np.empty((len(wanted), k), np.int32)
    distances = np.empty((len(wanted), k), np.float32)
    for part, tile, margin in _whole_rows(rows, wanted):

        def work(start: int, stop: int, part: slice = part, tile: Any = tile, margin: float = margin) -> None:
            _candidates.search_rows(
                rows.data, rows.norm, tile, wanted[part], margin, indices[part], distances[part], start, stop
            )

        run_rows(work, len(tile), chunk=16)
    return indices, distances


def _finish_furthest(far: Candidates, rows: UnitRows, furthest: np.ndarray) -> None:
    """Writes the largest exact distance of each row to its candidates."""

    def work(start: int, stop: int) -> None:
        _candidates.furthest_rows(rows.data, rows.norm, far.origin, far.where, far.count, furthest, start, stop)

    run_rows(work, len(far.count), chunk=_ROWS_PER_TASK)


def furthest_of(rows: UnitRows, wanted: np.ndarray, furthest: np.ndarray) -> None:
    """Writes the largest exact distance of the rows ``wanted`` into the same rows of ``furthest``."""
    for part, tile, margin in _whole_rows(rows, wanted):
        result = np.empty(len(tile), np.float32)

        def work(
            start: int, stop: int, part: slice = part, tile: Any = tile, margin: float = margin, out: Any = result
        ) -> None:
            _candidates.furthest_of_tile(rows.data, rows.norm, tile, wanted[part], margin, out, start, stop)

        run_rows(work, len(tile), chunk=16)
        furthest[wanted[part]] = result


def _whole_rows(rows: UnitRows, wanted: np.ndarray) -> Any:
    """Parts of the rows ``wanted``, each with its float32 similarities to all rows and twice their error bound."""
    if not len(wanted):
        return
    products = Products(rows, "float32")
    step = max(1, min(1024, 4 * TILE_ELEMENTS // len(rows)))
    width = max(1, (TILE_ELEMENTS if rows.held else _READ_AT_ONCE // rows.dim) // (step if rows.held else 1))
    for first in range(0, len(wanted), step):
        part = slice(first, min(first + step, len(wanted)))
        if len(rows) <= width:
            yield part, products.tile(wanted[part], slice(0, len(rows))), products.margin
            continue
        tile = np.empty((part.stop - part.start, len(rows)), np.float32)
        for left in range(0, len(rows), width):
            columns = slice(left, min(left + width, len(rows)))
            tile[:, columns] = products.tile(wanted[part], columns)
        yield part, tile, products.margin
