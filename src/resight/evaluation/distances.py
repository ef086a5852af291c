"""Checks of features, rows of length 1, and distances between two sets in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from resight.common.checks import as_array
from resight.common.devices import full_float32, resolve_device
from resight.errors import ResightError

if TYPE_CHECKING:
    import torch

#: Bytes that one block of distances may take unless the caller names a block size, and so may rows read at once.
BLOCK_BYTES = 32 << 20


@dataclass(frozen=True, eq=False)
class Rows:
    """N rows of an array of features, which may be a memory map: only the rows asked for are read.

    Attributes:
        features: ``(M, D)`` numbers.
        chosen: ``(N,)`` ascending indices of the N rows among the M; ``None`` takes all M.
    """

    features: np.ndarray
    chosen: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.features) if self.chosen is None else len(self.chosen)

    @property
    def dim(self) -> int:
        """D, the numbers per row."""
        return int(self.features.shape[1])

    def read(self, rows: slice | np.ndarray) -> np.ndarray:
        """``(n, D)`` rows, in the type they are stored in.

        Args:
            rows: Which of the N rows: a slice or ``(n,)`` indices.
        """
        return self.features[rows] if self.chosen is None else self.features[self.chosen[rows]]


def query_ranges(num_queries: int, width: int, itemsize: int, block: int | None) -> Iterator[slice]:
    """Consecutive ranges of queries whose distances are held at once.

    Args:
        num_queries: Number of queries.
        width: Number of gallery crops.
        itemsize: Bytes of one distance.
        block: Queries in a range; ``None`` limits the distances of a range to :data:`BLOCK_BYTES`.

    Yields:
        The ranges.
    """
    if block is None:
        block = max(1, BLOCK_BYTES // max(1, width * itemsize))
    for start in range(0, num_queries, block):
        yield slice(start, min(start + block, num_queries))


def check_features(query_features: np.ndarray, gallery_features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Checks that query and gallery features are two-dimensional arrays of numbers of the same width.

    Args:
        query_features: ``(Q, D)`` numbers.
        gallery_features: ``(G, D)`` numbers.

    Returns:
        Both as arrays, unchanged.

    Raises:
        ResightError: A set is empty, is not two-dimensional or holds no real numbers, or the widths differ.
    """
    given = {"query": query_features, "gallery": gallery_features}
    sets = {name: as_array(f"The {name} features", features) for name, features in given.items()}
    for name, features in sets.items():
        if features.ndim != 2:
            raise ResightError(f"The {name} features have shape {features.shape}: give one row of numbers per crop.")
        if features.dtype.kind not in "fiu":
            raise ResightError(f"The {name} features are of type {features.dtype}: give real numbers.")
        if features.shape[0] == 0:
            raise ResightError(f"There is no {name} crop: there is nothing to evaluate.")
    query, gallery = sets["query"], sets["gallery"]
    if query.shape[1] != gallery.shape[1] or query.shape[1] == 0:
        raise ResightError(
            f"Query features have {query.shape[1]} numbers per crop and gallery features {gallery.shape[1]}: "
            "both must come from the same encoder."
        )
    return query, gallery


def unit_rows(
    rows: Rows,
    name: str,
    which: range | np.ndarray | None = None,
    keep: np.ndarray | None = None,
    out: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Divides rows by their length, and hashes the results so that exact duplicates are found.

    Args:
        rows: N rows of D numbers.
        name: Name of the set in messages, ``"query"`` or ``"gallery"``.
        which: Indices of the n rows to read; by default all N.
        keep: ``(n,)`` bool: the m rows to return; by default all n. The others are only checked.
        out: ``(m, D)`` float32 array for the result; by default a new array.

    Returns:
        ``(m, D)`` float32 rows of length 1, without -0; and ``(m,)`` uint64 hashes: equal for equal rows, and different
        for different rows but for a collision of 64 bits.

    Raises:
        ResightError: A row holds NaN or infinity, is all zeros, or overflows when squared. The message says which row.
    """
    from resight.common.kernels import run_rows
    from resight.common.unit import plain_floats
    from resight.evaluation import _kernels

    which = range(len(rows)) if which is None else which
    wanted = np.ones(len(which), dtype=bool) if keep is None else keep
    target = np.where(wanted, np.cumsum(wanted) - 1, -1)
    unit = np.empty((int(np.count_nonzero(wanted)), rows.dim), dtype=np.float32) if out is None else out
    mark = np.empty(len(unit), dtype=np.uint64)
    factors = np.random.default_rng(0).integers(1 << 63, size=rows.dim, dtype=np.uint64) * np.uint64(2) + np.uint64(1)

    def work(start: int, stop: int) -> None:
        part = which[start:stop]
        raw = plain_floats(rows.read(slice(part.start, part.stop) if isinstance(part, range) else part))
        _kernels.normalise_rows(raw, target[start:stop], factors, unit, mark, 0, len(raw))

    step = max(1, min(512, BLOCK_BYTES // (32 * rows.dim)))
    run_rows(work, len(which), chunk=step)
    bad = np.flatnonzero(target == -2)
    if len(bad):
        row = which[int(bad[0])]
        values = np.asarray(rows.read(slice(row, row + 1)), dtype=np.float64)
        if not np.isfinite(values).all():
            problem = "holds NaN or infinite values"
        elif not values.any():
            problem = "is all zeros, so it has no direction"
        else:
            problem = "has values too large or too small to be squared"
        raise ResightError(
            f"The feature vector of {name} row {row} {problem}: check the encoder's output for that crop."
        )
    return unit, mark


def unit_features(features: np.ndarray, name: str) -> np.ndarray:
    """The rows of a whole array divided by their length.

    Args:
        features: ``(N, D)`` numbers.
        name: Name of the set in messages, ``"query"`` or ``"gallery"``.

    Returns:
        ``(N, D)`` float32 rows of length 1, a new array.

    Raises:
        ResightError: A row holds NaN or infinity, is all zeros, or overflows when squared. The message says which row.
    """
    return unit_rows(Rows(features), name)[0]


#: Takes ``(B, D)`` float32 rows and writes their inner products with G fixed rows into a ``(B, G)`` float32 array.
Product = Callable[[np.ndarray, np.ndarray], Any]


def product(columns: np.ndarray, device: str | None) -> Product:
    """A function that computes inner products with the rows of ``columns``.

    Args:
        columns: ``(G, D)`` float32.
        device: ``None`` or ``"cpu"`` computes with numpy; any other name with PyTorch on that device.

    Returns:
        A function of ``(B, D)`` float32 rows and of the ``(B, G)`` float32 array that it writes.

    Raises:
        ResightError: The device is not available.
    """
    if device is None or str(device) == "cpu":
        return lambda rows, out: np.matmul(rows, columns.T, out=out)
    return torch_product(columns, str(resolve_device(device)))


def torch_product(columns: np.ndarray, device: str) -> Product:
    """A function that computes inner products with the rows of ``columns`` by PyTorch, in full float32 (no TF32).

    Args:
        columns: ``(G, D)`` float32, copied to the device.
        device: Name of a device of PyTorch.

    Returns:
        A function of ``(B, D)`` float32 rows and of the ``(B, G)`` float32 array that it writes.

    Raises:
        ResightError: The device is not available, or has too little memory.
    """
    import torch

    try:
        held = torch.from_numpy(columns).to(device).T
    except (RuntimeError, AssertionError) as error:
        raise ResightError(
            f"The distances cannot be computed on the device '{device}': {str(error).splitlines()[0]}"
        ) from error

    def multiply(rows: np.ndarray, out: np.ndarray) -> None:
        with full_float32():
            found: torch.Tensor = torch.from_numpy(rows).to(device) @ held
        torch.from_numpy(out).copy_(found)

    return multiply


class DistanceRows:
    """Distances ``2 - 2 cos`` between two sets, computed for the rows asked for.

    These are squared Euclidean distances of vectors of length 1, in float32 and never negative. A matrix product may
    give exact duplicates products that differ in the last bit; here duplicates among the columns get equal distances,
    so that they tie. The last bit may still depend on which rows are asked for together, and on the device.

    Args:
        rows: ``(Q, D)`` float32 rows of length 1, from :func:`unit_rows`.
        columns: ``(G, D)`` float32 rows of length 1, from :func:`unit_rows`.
        mark: ``(G,)`` uint64 hashes of the columns, from :func:`unit_rows`; ``None`` does not equalise duplicates.
        device: ``None`` or ``"cpu"`` computes with numpy; any other name with PyTorch on that device.

    Raises:
        ResightError: The device is not available.
    """

    def __init__(
        self, rows: np.ndarray, columns: np.ndarray, mark: np.ndarray | None, device: str | None = None
    ) -> None:
        self._rows = rows
        self._multiply = product(columns, device)
        self._width = len(columns)
        self._held = np.empty((0, len(columns)), dtype=np.float32)
        self._copies = self._originals = np.empty(0, dtype=np.int64)
        if mark is not None:
            _, first, inverse = np.unique(mark, return_index=True, return_inverse=True)
            self._copies = np.flatnonzero(first[inverse] != np.arange(len(mark)))
            self._originals = first[inverse][self._copies]

    def __call__(self, rows: slice) -> np.ndarray:
        """``(len(rows), G)`` float32 distances; the next call overwrites them."""
        from resight.common.kernels import run_rows
        from resight.evaluation import _kernels

        part = self._rows[rows]
        if len(self._held) < len(part):
            self._held = np.empty((len(part), self._width), dtype=np.float32)
        out = self._held[: len(part)]
        self._multiply(part, out)

        def work(start: int, stop: int) -> None:
            _kernels.distances_from_cosines(out, start, stop)

        run_rows(work, len(out), chunk=64)
        if len(self._copies):
            out[:, self._copies] = out[:, self._originals]
        return out
