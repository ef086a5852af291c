"""Features checked and brought to length 1, and blocks of the distances between two sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from resight.common.devices import full_float32
from resight.errors import ResightError

if TYPE_CHECKING:
    import torch

#: Upper bound of the bytes of one block of distances when the caller names no block size, and of rows read at once.
BLOCK_BYTES = 32 << 20


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of an array of features, which may be a memory map: they are read a block at a time.

    Attributes:
        features: ``(M, D)`` numbers.
        chosen: ``(N,)`` ascending row numbers, or ``None`` for all.
    """

    features: np.ndarray
    chosen: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.features) if self.chosen is None else len(self.chosen)

    @property
    def dim(self) -> int:
        """Numbers a row, D."""
        return int(self.features.shape[1])

    def read(self, rows: slice | np.ndarray) -> np.ndarray:
        """``(n, D)`` of the given rows, as they are stored."""
        return self.features[rows] if self.chosen is None else self.features[self.chosen[rows]]


def check_features(query_features: np.ndarray, gallery_features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Query and gallery features as two-dimensional arrays of equal width, or a sentence about what is wrong.

    Args:
        query_features: ``(Q, D)``.
        gallery_features: ``(G, D)``.

    Returns:
        Both as arrays, unchanged.

    Raises:
        ResightError: Shapes that do not fit, or an empty set.
    """
    sets = {"query": np.asanyarray(query_features), "gallery": np.asanyarray(gallery_features)}
    for name, features in sets.items():
        if features.ndim != 2:
            raise ResightError(f"The {name} features have shape {features.shape}: give one row of numbers a crop.")
        if features.dtype.kind not in "fiu":
            raise ResightError(f"The {name} features are of type {features.dtype}: give real numbers.")
        if features.shape[0] == 0:
            raise ResightError(f"There is no {name} crop: there is nothing to evaluate.")
    query, gallery = sets["query"], sets["gallery"]
    if query.shape[1] != gallery.shape[1] or query.shape[1] == 0:
        raise ResightError(
            f"Query features have {query.shape[1]} numbers a crop and gallery features {gallery.shape[1]}: "
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
    """Rows of length 1 in float32 and a hash of each.

    Args:
        rows: N rows of D numbers.
        name: What the set is called in messages, ``"query"`` or ``"gallery"``.
        which: The n rows to read, by default all.
        keep: ``(n,)`` bool: those wanted, m of them, by default all. The others are only checked.
        out: ``(m, D)`` float32 to write; a new array where ``None``.

    Returns:
        ``(m, D)`` float32 without -0, and ``(m,)`` uint64, equal where rows are, and else different.

    Raises:
        ResightError: A row that is not finite or all zero, with its number.
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
    """Rows of length 1 in float32: :func:`unit_rows` of a whole array.

    Args:
        features: ``(N, D)``.
        name: What the set is called in messages, ``"query"`` or ``"gallery"``.

    Returns:
        ``(N, D)`` float32, a new array.

    Raises:
        ResightError: A row that is not finite or all zero, with its number.
    """
    return unit_rows(Rows(features), name)[0]


#: Writes the inner products of ``(B, D)`` queries and all columns into ``(B, G)``.
Product = Callable[[np.ndarray, np.ndarray], Any]


def product(columns: np.ndarray, device: str | None) -> Product:
    """What computes blocks of inner products with the rows of ``columns``.

    Args:
        columns: ``(G, D)`` float32.
        device: ``None`` or ``"cpu"`` for numpy; otherwise the name of a device of PyTorch's.

    Returns:
        A function of ``(B, D)`` float32 rows and the ``(B, G)`` float32 array to write.

    Raises:
        ResightError: A device that is not there.
    """
    if device is None or str(device) == "cpu":
        return lambda rows, out: np.matmul(rows, columns.T, out=out)
    return torch_product(columns, device)


def torch_product(columns: np.ndarray, device: str) -> Product:
    """:func:`product` by PyTorch on a device, in full float32, and copied back."""
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
    """Rows of the matrix of ``2 - 2 cos`` between two sets, computed when asked for.

    Distances are float32 and never negative: squared Euclidean distances of vectors of length 1. Exact duplicates among
    the columns get exactly equal distances, so that they tie: matrix products alone can part them in the last bit.
    Otherwise that bit may depend on which rows are asked for together, and on the device.

    Args:
        rows: ``(Q, D)`` float32 of length 1, from :func:`unit_rows`.
        columns: ``(G, D)``, likewise.
        mark: ``(G,)`` hashes of the columns. ``None`` leaves duplicates as the product has them.
        device: ``None`` or ``"cpu"`` for numpy; otherwise the name of a device of PyTorch's that computes the products.
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
        """``(len(rows), G)`` float32; the next call writes over it."""
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
