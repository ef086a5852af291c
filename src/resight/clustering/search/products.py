"""Approximate similarities of crops, a tile at a time, with a bound on their error."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import numpy as np

from resight.clustering.search.rows import UnitRows

#: Similarities in a tile: 64 MiB of float32.
TILE_ELEMENTS = 1 << 24
#: Multiplications below which either product takes no time.
_SMALL = 1e10


class Products:
    """Inner products of rows of length 1, computed in float32 or, where that is faster, in bfloat16.

    The approximate similarity ``a`` and the true similarity ``s`` of a pair obey ``|a - s| <= bound + relative · |s|``.
    Sums of D products in float32 are off by at most ``D · 2^-24``, in any order. A bfloat16 number with 8 significant
    bits is off by at most ``2^-8`` of itself: with E the largest length of a row's rounding error, which is measured
    where the rows are in memory, the Cauchy-Schwarz inequality gives an error of at most ``E · (1 + E) + E``;
    ``relative`` is the rounding of the result.

    Args:
        rows: N rows of length 1.
        kind: ``"float32"`` or ``"bfloat16"``; by default the one that is faster on this machine. An exact search has
            the same result with both.

    Attributes:
        kind: ``"float32"`` or ``"bfloat16"``.
        bound: Part of the error bound that does not depend on the similarity.
        relative: Part of the error bound per unit of similarity.
    """

    def __init__(self, rows: UnitRows, kind: str | None = None) -> None:
        small = float(len(rows)) ** 2 * rows.dim < _SMALL
        self.kind = kind or ("float32" if small else quickest_product())
        self._rows = rows
        self._short: Any = None
        self._buffers: dict[str, Any] = {}
        accumulated = 1.01 * rows.dim * 2.0**-24
        rest = 1e-6  # rounding of the rows and of the exact distance to float32
        self.bound, self.relative = accumulated + rest, 0.0
        if self.kind == "bfloat16":
            if rows.held:
                self._short, error = _to_bfloat16(rows.data)
            else:
                error = 2.0**-8
            # hardware for bfloat16 rounds sums less strictly, so the error of the sums counts twice
            self.bound, self.relative = error * (2 + error) + 2 * accumulated + rest, 2.0**-8

    @property
    def margin(self) -> float:
        """A true neighbour reaches at least ``a - margin - slope · |a|``, with the k-th largest similarity ``a``."""
        return 2 * self.bound

    @property
    def slope(self) -> float:
        """A true neighbour reaches at least ``a - margin - slope · |a|``, with the k-th largest similarity ``a``."""
        return 2.02 * self.relative

    def tile(self, rows: slice | np.ndarray, columns: slice | np.ndarray) -> np.ndarray:
        """``(B, W)`` float32 approximate similarities of B rows and W columns; the next call overwrites them."""
        if self.kind == "float32":
            left, right = self._rows.take(rows), self._rows.take(columns)
            tile: Any = self._buffer("tile", len(left) * len(right), np.float32).reshape(len(left), len(right))
            np.matmul(left, right.T, out=tile)
            return tile
        import torch

        with torch.inference_mode():
            left, right = self._bfloat16(rows), self._bfloat16(columns)
            shape = (len(left), len(right))
            short = self._buffer("short", shape[0] * shape[1], np.uint16)
            product = torch.from_numpy(short).view(torch.bfloat16).view(shape)
            tile = self._buffer("tile", shape[0] * shape[1], np.float32).reshape(shape)
            torch.mm(left, right.T, out=product)
            torch.from_numpy(tile).copy_(product)
        return tile

    def _bfloat16(self, rows: slice | np.ndarray) -> Any:
        import torch

        if self._short is not None:
            return self._short[rows] if isinstance(rows, slice) else self._short.index_select(0, torch.from_numpy(rows))
        return torch.from_numpy(np.ascontiguousarray(self._rows.take(rows))).bfloat16()

    def _buffer(self, name: str, size: int, kind: type) -> np.ndarray:
        """A flat array that is used again: new memory costs a page fault per 4 KiB."""
        held = self._buffers.get(name)
        if held is None or len(held) < size:
            held = self._buffers[name] = np.empty(size, kind)
        return np.asarray(held[:size])


def _to_bfloat16(data: np.ndarray) -> tuple[Any, float]:
    """The rows as a bfloat16 tensor, and an upper bound of the length of a row's rounding error."""
    import torch

    from resight.clustering.search import _rows
    from resight.common.kernels import map_rows

    bits = np.empty(data.shape, np.uint16)
    worst = max(map_rows(lambda start, stop: _rows.round_bfloat16(data, bits, start, stop), len(data), chunk=512))
    return torch.from_numpy(bits).view(torch.bfloat16), 1.0001 * worst


@cache
def quickest_product() -> str:
    """``"bfloat16"`` where a short trial on the CPU multiplies it in less than 0.8 of the time, else ``"float32"``."""
    import torch

    seconds = {}
    for name in ("float32", "bfloat16"):
        left, right = (torch.ones(size, 1024, dtype=getattr(torch, name)) for size in (256, 2048))
        times = []
        for _ in range(4):
            begin = time.perf_counter()
            torch.mm(left, right.T)
            times.append(time.perf_counter() - begin)
        seconds[name] = min(times)
    return "bfloat16" if seconds["bfloat16"] < 0.8 * seconds["float32"] else "float32"
