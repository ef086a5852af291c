"""Exact nearest neighbours on a GPU, with PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np

from resight.clustering.search.exact import furthest_of, search_some
from resight.clustering.search.rows import UnitRows
from resight.common.devices import full_float32

_SLACK = 32  # candidates beyond the neighbours asked for
_TILE_ELEMENTS = 1 << 28  # similarities held at once: 1 GiB of float32
_GATHERED = 1 << 27  # numbers compared at once in float64: 1 GiB


def search_on_device(
    rows: UnitRows,
    indices: np.ndarray,
    distances: np.ndarray,
    furthest: np.ndarray | None,
    device: Any,
    *,
    tile_elements: int = _TILE_ELEMENTS,
    slack: int = _SLACK,
    part: slice | None = None,
) -> dict[str, float]:
    """Writes the exact neighbours of all rows, or of a part of them, found on a device of PyTorch.

    Similarities in full float32 choose ``k + slack`` candidates per row, which are sorted by their distance in float64.
    A row whose k-th candidate is not certainly nearer than all crops that were left out is searched again on the CPU.

    Args:
        rows: N rows.
        indices: ``(N, k)`` int32, written.
        distances: ``(N, k)`` float32, written.
        furthest: ``(N,)`` float32 largest distance of each row, written; ``None`` does not compute it.
        device: A ``torch.device``.
        tile_elements: Similarities held at once on the device.
        slack: Candidates per row beyond k.
        part: The rows whose neighbours are written; all if not given.

    Returns:
        ``repeated``, the number of rows that were searched again.
    """
    import torch

    size, k = indices.shape
    begin, end = (0, size) if part is None else (part.start, part.stop)
    bound = 1.01 * rows.dim * 2.0**-24 + 1e-6
    kept = min(k - 1 + slack, size - 1)
    height = max(1, min(1024, tile_elements // size))
    width = max(kept + 1, tile_elements // height)
    again: list[np.ndarray] = []
    far_again: list[np.ndarray] = []
    with torch.inference_mode(), full_float32():
        blocks = [
            (left, torch.from_numpy(np.ascontiguousarray(rows.take(slice(left, left + width)))).to(device))
            for left in range(0, size, width)
        ]
        for top in range(begin, end, height):
            bottom = min(top + height, end)
            own = torch.arange(top, bottom, device=device)
            pieces = [block[max(0, top - left) : max(0, bottom - left)] for left, block in blocks]
            queries = torch.cat(pieces)
            near = _Best(kept, True)
            far = _Best(min(slack, size), False) if furthest is not None else None
            for left, block in blocks:
                tile = queries @ block.T
                if far is not None:
                    far.add(tile, left)
                inside = (own >= left) & (own < left + len(block))
                tile[inside.nonzero()[:, 0], own[inside] - left] = -torch.inf
                near.add(tile, left)
            where, exact, order = _ordered(queries, blocks, near)
            indices[top:bottom, 0], distances[top:bottom, 0] = np.arange(top, bottom), 0
            indices[top:bottom, 1:] = where.gather(1, order)[:, : k - 1].cpu().numpy()
            distances[top:bottom, 1:] = exact.gather(1, order)[:, : k - 1].cpu().numpy()
            if kept < size - 1 and k > 1:
                reached = 1 - exact.gather(1, order)[:, k - 2] / 2
                again.append(top + np.flatnonzero((reached <= near.worst() + bound).cpu().numpy()))
            if far is not None and furthest is not None:
                _, exact, _ = _ordered(queries, blocks, far)
                furthest[top:bottom] = exact.amax(dim=1).cpu().numpy()
                if slack < size:
                    reached = 1 - exact.amax(dim=1) / 2
                    far_again.append(top + np.flatnonzero((reached >= far.worst() - bound).cpu().numpy()))
    repeat = np.concatenate([*again, np.empty(0, np.int64)]).astype(np.int64)
    search_some(rows, repeat, indices, distances)
    if furthest is not None:
        furthest_of(rows, np.concatenate([*far_again, np.empty(0, np.int64)]).astype(np.int64), furthest)
    return {"repeated": len(repeat)}


class _Best:
    """The largest or smallest similarities of each of B rows so far, and their columns.

    Args:
        count: Similarities to keep per row.
        largest: Whether to keep the largest.
    """

    def __init__(self, count: int, largest: bool) -> None:
        self.count = count
        self.largest = largest
        self.value: Any = None
        self.where: Any = None

    def add(self, tile: Any, first: int) -> None:
        """Adds ``(B, W)`` similarities to the columns from ``first`` on."""
        import torch

        value, where = tile.topk(min(self.count, tile.shape[1]), dim=1, largest=self.largest)
        where = where + first
        if self.value is not None:
            value, where = torch.cat([self.value, value], dim=1), torch.cat([self.where, where], dim=1)
            value, place = value.topk(min(self.count, value.shape[1]), dim=1, largest=self.largest)
            where = where.gather(1, place)
        self.value, self.where = value, where

    def worst(self) -> Any:
        """``(B,)`` last similarity kept per row: no column that was left out has a better one."""
        return self.value.amin(dim=1) if self.largest else self.value.amax(dim=1)


def _ordered(part: Any, blocks: list[tuple[int, Any]], best: _Best) -> tuple[Any, Any, Any]:
    """Sorts the C candidates of B rows.

    Returns:
        ``(B, C)`` candidates by ascending column; ``(B, C)`` float32 distances; and ``(B, C)`` order of the candidates
        by distance, ties by column.
    """
    import torch

    where, _ = best.where.sort(dim=1)
    exact = torch.empty(where.shape, dtype=torch.float32, device=where.device)
    step = max(1, _GATHERED // (where.shape[1] * part.shape[1])) if where.shape[1] else len(where)
    for first in range(0, len(where), step):
        chosen = where[first : first + step]
        if len(blocks) == 1:
            other = blocks[0][1][chosen]
        else:
            other = torch.empty((*chosen.shape, part.shape[1]), device=where.device)
            for left, block in blocks:
                inside = (chosen >= left) & (chosen < left + len(block))
                other[inside] = block[chosen[inside] - left]
        apart = part[first : first + step, None].double() - other.double()
        exact[first : first + step] = apart.square_().sum(dim=2).float()
    return where, exact, exact.argsort(dim=1, stable=True)
