"""Approximate nearest neighbours of many crops: an inverted file of cells, searched cell by cell.

Spherical k-means divides the rows into cells, and each row is compared with the members of its nearest cells (Jégou,
Douze and Schmid, "Product Quantization for Nearest Neighbor Search", TPAMI 2011, section IV, without the compression).
Every row is also a query, so one matrix product compares all queries of a cell with all its members. This happens in
the 128 directions that keep most of the inner products: the leading eigenvectors of the second moments. The best
candidates, three times as many as are wanted, are then sorted by exact distance in all dimensions.

The number of cells to search is measured: the exact neighbours of a sample of rows are found, and the ranks of the
cells that hold them give the recall of every number of cells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from resight.clustering.search import _rows
from resight.clustering.search.exact import Candidates, exact_rows, search_some
from resight.clustering.search.products import TILE_ELEMENTS, Products, quickest_product
from resight.clustering.search.rows import UnitRows
from resight.common.memory import available_memory, room_for

_DIRECTIONS = 128
_CANDIDATES = 3  # candidates per neighbour wanted
_MOMENT_ROWS = 16384  # rows sampled to choose the directions
_SAMPLE = 512  # rows whose exact neighbours are found: one sample to choose the number of cells, another to report
_TRAINING_ROWS = 40  # rows per cell in k-means
_ROUNDS = 8  # rounds of k-means
_BLOCK = 4096


def search_approximate(
    rows: UnitRows,
    indices: np.ndarray,
    distances: np.ndarray,
    *,
    recall: float,
    cells: int | None = None,
    memory: int | None = None,
    part: slice | None = None,
    complete: Callable[[], None] | None = None,
) -> dict[str, float]:
    """Writes approximate neighbours of all rows, or of a part of them.

    Args:
        rows: N rows.
        indices: ``(N, k)`` int32, written.
        distances: ``(N, k)`` float32 exact distances of the neighbours found, written.
        recall: Share of the true neighbours to aim for.
        cells: Number of cells; by default ``1.5 √N``.
        memory: Bytes for the candidates; by default a quarter of the memory that is available. Rows whose candidates do
            not fit together are processed in panels.
        part: The rows whose neighbours are written; all if not given.
        complete: With a part: called to fill in the neighbours of the other rows, before the recall is measured.

    Returns:
        ``recall``, the share of the true neighbours found, measured on a sample; ``cells``, the number of cells;
        ``probes``, the number of cells searched per row; and ``repeated``, the number of rows that were searched
        exactly because their cells hold too few other rows.
    """
    size, k = indices.shape
    rng = np.random.default_rng(0)
    number = int(min(max(cells or round(1.5 * size**0.5), 1), size))
    coarse = _reduced(rows, rng)
    products = Products(coarse)
    centroids = _spherical_kmeans(coarse, number, rng)
    probes = _probes(rows, coarse, centroids, rng, k, recall)
    nearest = np.empty((size, probes), np.int32)
    for first in range(0, size, _BLOCK):
        nearest[first : first + _BLOCK] = _nearest_cells(coarse.take(slice(first, first + _BLOCK)), centroids, probes)
    members = _lists(nearest[:, :1], number)
    others = _lists(nearest[:, 1:], number)
    del nearest

    need = min(_CANDIDATES * (k - 1), size - 1)
    capacity = 2 * need + 64
    room = available_memory() // 4 if memory is None else memory
    panel = int(min(size, max(4096, room // (8 * capacity))))
    few = []
    begin, end = (0, size) if part is None else (part.start, part.stop)
    for origin in range(begin, end, panel):
        until = min(origin + panel, end)
        candidates = Candidates(origin, until - origin, need, capacity)
        # a row's own cell comes first: it soon rules out most of the other cells' members
        for queries, cell in ((queries, cell) for queries in (members, others) for cell in range(number)):
            inside = _of(members, cell)
            asking = _of(queries, cell)
            asking = asking[np.searchsorted(asking, origin) : np.searchsorted(asking, until)]
            step = max(1, TILE_ELEMENTS // max(1, len(inside)))
            for first in range(0, len(asking) if len(inside) else 0, step):
                some = asking[first : first + step]
                candidates.offer(products.tile(some, inside), some, inside)
        candidates.finish(rows, indices, distances)
        few.append(origin + np.flatnonzero(candidates.count < k - 1))
        del candidates
    again = np.concatenate([*few, np.empty(0, np.int64)]).astype(np.int64)
    search_some(rows, again, indices, distances)
    if complete is not None:
        complete()

    sample = np.sort(rng.choice(size, min(_SAMPLE, size), replace=False))
    true, _ = exact_rows(rows, sample, k)
    found = [len(np.intersect1d(a[1:], b[1:], assume_unique=True)) for a, b in zip(true, indices[sample], strict=True)]
    share = float(np.sum(found)) / max(1, len(sample) * (k - 1))
    return {
        "recall": share if k > 1 else 1.0,
        "cells": number,
        "probes": probes,
        "repeated": len(again),
    }


def _spherical_kmeans(rows: UnitRows, cells: int, rng: np.random.Generator) -> np.ndarray:
    """``(cells, D)`` float32 directions: k-means by cosine similarity on a sample of rows."""
    size = min(len(rows), _TRAINING_ROWS * cells)
    sample = rows.take(np.sort(rng.choice(len(rows), size, replace=False)))
    centroids = sample[np.sort(rng.choice(size, cells, replace=False))]
    for _ in range(_ROUNDS):
        cell = np.concatenate(
            [_nearest_cells(sample[first : first + _BLOCK], centroids, 1)[:, 0] for first in range(0, size, _BLOCK)]
        )
        starts, order = _lists(cell[:, None], cells)
        empty = np.flatnonzero(np.diff(starts) == 0)
        for number in range(cells):
            inside = order[starts[number] : starts[number + 1]]
            if len(inside):
                centroids[number] = sample[inside].sum(axis=0)
        centroids[empty] = sample[rng.choice(size, len(empty), replace=False)]  # restart empty cells
        norm = np.linalg.norm(centroids, axis=1, keepdims=True)
        centroids /= np.where(norm > 0, norm, 1)
    return centroids


def _nearest_cells(part: np.ndarray, centroids: np.ndarray, count: int) -> np.ndarray:
    """``(B, count)`` int32 nearest cells of B rows, nearest first."""
    import torch

    kind = getattr(torch, quickest_product())
    with torch.inference_mode():
        left, right = (torch.from_numpy(np.ascontiguousarray(a)).to(kind) for a in (part, centroids))
        product = left @ right.T
        top = product.argmax(dim=1, keepdim=True) if count == 1 else product.topk(count, dim=1).indices
        return np.asarray(top.to(torch.int32).numpy())


def _reduced(rows: UnitRows, rng: np.random.Generator) -> UnitRows:
    """The rows projected to the directions that keep most of the inner products, and normalised."""
    if rows.dim <= _DIRECTIONS:
        return rows
    sample = rows.take(np.sort(rng.choice(len(rows), min(_MOMENT_ROWS, len(rows)), replace=False)))
    _, directions = np.linalg.eigh(sample.T @ sample)
    basis = np.ascontiguousarray(directions[:, -_DIRECTIONS:], dtype=np.float32)
    result = room_for((len(rows), _DIRECTIONS), np.float32)
    for first in range(0, len(rows), _BLOCK):
        part = rows.take(slice(first, first + _BLOCK)) @ basis
        norm = np.linalg.norm(part, axis=1, keepdims=True)
        result[first : first + _BLOCK] = part / np.where(norm > 0, norm, 1)
    return UnitRows(result)


def _probes(
    rows: UnitRows, coarse: UnitRows, centroids: np.ndarray, rng: np.random.Generator, k: int, recall: float
) -> int:
    """Least number of cells per row that finds the share ``recall`` of the true neighbours of a sample of rows."""
    if k == 1:
        return 1
    sample = np.sort(rng.choice(len(rows), min(_SAMPLE, len(rows)), replace=False))
    true, _ = exact_rows(rows, sample, k)
    others = true[:, 1:]
    distinct, place = np.unique(others, return_inverse=True)
    home = np.concatenate(
        [
            _nearest_cells(coarse.take(distinct[first : first + _BLOCK]), centroids, 1)[:, 0]
            for first in range(0, len(distinct), _BLOCK)
        ]
    )
    order = _nearest_cells(coarse.take(sample), centroids, len(centroids))
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(len(centroids), dtype=order.dtype)[None], axis=1)
    reached = np.take_along_axis(rank, home[place.reshape(others.shape)], axis=1)
    aim = recall + 0.2 * (1 - recall)  # the candidates in 128 directions lose some more
    return int(np.quantile(reached, aim, method="inverted_cdf")) + 1


def _of(lists: tuple[np.ndarray, np.ndarray], cell: int) -> np.ndarray:
    """Rows of a cell, from the result of :func:`_lists`."""
    starts, rows = lists
    return rows[starts[cell] : starts[cell + 1]]


def _lists(cells: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """For each cell the rows of ``(N, p)`` cells that hold it, ascending: ``(number + 1,)`` starts, and the rows."""
    size, width = cells.shape
    indptr = np.arange(size + 1, dtype=np.int64) * width
    values: Any = np.empty(size * width, np.uint8)
    starts, rows, _, _ = _rows.invert(indptr, np.ascontiguousarray(cells).reshape(-1), values, number)
    return starts, rows
