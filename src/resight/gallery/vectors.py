"""Exact search among embeddings in memory: 8-bit products with a proven error bound, then exact ones of what is left.

A row of length 1 is stored as 8-bit numbers and a scale. The length of its rounding error ``e`` is measured. The
product of two such rows differs from the true cosine by at most ``e_x (1 + e_q) + e_q`` (Cauchy-Schwarz). So all rows
but a few are ruled out after a quarter of the memory traffic of float32; the cosines of the others are computed in
float64 from the embeddings as they are stored, and ordered by cosine, then by place.
"""

from __future__ import annotations

import numpy as np

#: Rows that one thread takes at a time.
_CHUNK = 16_384
#: Below this many rows that pass the filters, they are compared directly.
_FEW = 2048
#: Rounding of the float32 products and of their scales.
_ROUNDING = 2e-6


class Vectors:
    """N embeddings of D numbers that grow at the end.

    Args:
        dim: D.
        kind: ``float16`` or ``float32``, as they are stored.
    """

    def __init__(self, dim: int, kind: str) -> None:
        self.dim, self.kind = dim, np.dtype(kind)
        self.size = 0
        self._stored = np.empty((0, dim), self.kind)
        self._short = np.empty((0, dim), np.int8)
        self._scale = np.empty(0, np.float32)
        self._error = np.empty(0, np.float32)
        self._worst = 0.0

    def __len__(self) -> int:
        return self.size

    @property
    def bytes(self) -> int:
        """Bytes in memory, with the room for growth."""
        return sum(part.nbytes for part in (self._stored, self._short, self._scale, self._error))

    def append(self, rows: np.ndarray) -> None:
        """Adds ``(n, D)`` rows, stored in this object's number type."""
        need = self.size + len(rows)
        if need > len(self._stored):
            room = max(need, len(self._stored) * 5 // 4, 1024)
            for name in ("_stored", "_short", "_scale", "_error"):
                old = getattr(self, name)
                new = np.empty((room, *old.shape[1:]), old.dtype)
                new[: self.size] = old[: self.size]
                setattr(self, name, new)
        self._stored[self.size : need] = rows
        self._shorten(self.size, need)
        self.size = need

    def replace(self, place: np.ndarray, rows: np.ndarray) -> None:
        """Overwrites the rows at some places, given in ascending order."""
        for index, row in zip(place.tolist(), rows, strict=True):
            self._stored[index] = row
            self._shorten(index, index + 1)

    def keep(self, mask: np.ndarray) -> None:
        """Drops all rows but those of an ``(N,)`` mask; the memory of the others is overwritten."""
        left = int(mask.sum())
        for name in ("_stored", "_short", "_scale", "_error"):
            array = getattr(self, name)
            array[:left] = array[: self.size][mask]
            array[left : self.size] = 0
        self.size = left

    def take(self, rows: slice | np.ndarray) -> np.ndarray:
        """``(n, D)`` float32 rows of length 1."""
        part = self._stored[: self.size][rows].astype(np.float32)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
        return part

    def _shorten(self, start: int, stop: int) -> None:
        from resight.gallery import _kernels

        for first in range(start, stop, _CHUNK):
            last = min(first + _CHUNK, stop)
            unit = self._stored[first:last].astype(np.float32)
            unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-30)
            _kernels.shorten(
                unit, self._short[first:last], self._scale[first:last], self._error[first:last], 0, len(unit)
            )
            self._worst = max(self._worst, float(self._error[first:last].max(initial=0)))

    def search(
        self, queries: np.ndarray, k: int, keep: np.ndarray | None = None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The k most similar rows of each query, exactly.

        Args:
            queries: ``(Q, D)`` float32.
            k: Rows per query; fewer are returned if fewer pass the filter.
            keep: ``(N,)`` bool: the rows to rank; all if not given.

        Returns:
            For each query the places of the rows and their cosines, float64: the most similar first, equal
            ones by place.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        left = self.size if keep is None else int(np.count_nonzero(keep))
        if not left or not len(queries):
            return [(np.empty(0, np.int64), np.empty(0)) for _ in queries]
        if left <= max(_FEW, k):
            places = np.arange(self.size) if keep is None else np.flatnonzero(keep)
            return [self._rank(query, places, k) for query in queries]
        return [
            found for start in range(0, len(queries), 4) for found in self._four(queries[start : start + 4], k, keep)
        ]

    def _four(self, queries: np.ndarray, k: int, keep: np.ndarray | None) -> list[tuple[np.ndarray, np.ndarray]]:
        from resight.common.kernels import run_rows
        from resight.gallery import _kernels

        unit = queries / np.linalg.norm(queries, axis=1, keepdims=True)
        short, scale, error = (
            np.empty(unit.shape, np.int8),
            np.empty(len(unit), np.float32),
            np.empty(len(unit), np.float32),
        )
        _kernels.shorten(unit, short, scale, error, 0, len(unit))
        asked = short.astype(np.int16)
        kernel = _kernels.similarities_one if len(unit) == 1 else _kernels.similarities_four
        if len(unit) in (2, 3):
            asked = np.concatenate([asked, np.repeat(asked[-1:], 4 - len(unit), axis=0)])
        near = np.empty((len(asked), self.size), np.float32)
        mask = np.empty(0, bool) if keep is None else keep

        def work(start: int, stop: int) -> None:
            kernel(asked, self._short, self._scale, mask, near, start, stop)

        run_rows(work, self.size, chunk=_CHUNK)
        found = []
        for row, query in enumerate(queries):
            values = near[row]
            values *= scale[row]
            bound = self._worst * (1 + float(error[row])) + float(error[row]) + _ROUNDING
            line = np.partition(values, self.size - k)[self.size - k] - 2 * bound
            found.append(self._rank(query, np.flatnonzero(values >= line), k))
        return found

    def _rank(self, query: np.ndarray, places: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        from resight.gallery import _kernels

        cosine = np.empty(len(places))
        for start in range(0, len(places), _CHUNK):
            part = self._stored[places[start : start + _CHUNK]].astype(np.float32)
            _kernels.exact_similarities(query, part, cosine[start : start + _CHUNK], 0, len(part))
        order = np.argsort(-cosine, kind="stable")[:k]  # places ascend with ids
        return places[order], cosine[order]

    def neighbours(self, rows: np.ndarray, k: int, keep: np.ndarray) -> np.ndarray:
        """``(n, k)`` places of the rows that are most similar to some rows, those included, by float32 products.

        Args:
            rows: ``(n,)`` places.
            k: Neighbours of each; at most as many as are kept.
            keep: ``(N,)`` bool: the rows to choose from.
        """
        k = min(k, int(keep.sum()))
        near = np.empty((len(rows), 0), np.int64)
        best = np.empty((len(rows), 0), np.float32)
        asked = self.take(rows)
        for start in range(0, self.size, _CHUNK):
            places = start + np.flatnonzero(keep[start : start + _CHUNK])
            if not len(places):
                continue
            columns = self.take(places)
            found, values = [], []
            for first in range(0, len(rows), 512):
                block = asked[first : first + 512] @ columns.T
                count = min(k, len(places))
                top = np.argpartition(-block, count - 1, axis=1)[:, :count]
                found.append(places[top])
                values.append(np.take_along_axis(block, top, axis=1))
            near = np.concatenate([near, np.concatenate(found)], axis=1)
            best = np.concatenate([best, np.concatenate(values)], axis=1)
            if near.shape[1] > k:
                top = np.argpartition(-best, k - 1, axis=1)[:, :k]
                near, best = np.take_along_axis(near, top, axis=1), np.take_along_axis(best, top, axis=1)
        return near
