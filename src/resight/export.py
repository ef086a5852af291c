"""Embeddings and clusters as files that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from resight.crops import UNLABELLED, CropTable
from resight.errors import ResightError

_COLUMNS = ("camera", "identity", "time", "track", "split")


def check_embedding_file(file: Path) -> None:
    """Refuses a file name that :func:`write_embeddings` has no format for, before any work is done."""
    _check(file, (".parquet", ".npz"), "embeddings")


def check_cluster_file(file: Path) -> None:
    """Refuses a file name that :func:`write_clusters` has no format for, before any work is done."""
    _check(file, (".csv", ".parquet"), "clusters")


def check_description_file(file: Path) -> None:
    """Refuses a file name that :func:`write_descriptions` has no format for, before any work is done."""
    _check(file, (".csv", ".parquet"), "descriptions")


def check_picture_file(file: Path) -> None:
    """Refuses a file name that a picture cannot be saved under, before any work is done."""
    _check(file, (".png", ".jpg", ".jpeg"), "pictures")


def _check(file: Path, endings: tuple[str, ...], what: str) -> None:
    if file.suffix.lower() not in endings:
        raise ResightError(
            f"{what.capitalize()} are written to a file ending in {' or '.join(endings)}, not {file.name}."
        )
    if not file.resolve().parent.is_dir():
        raise ResightError(f"{file} cannot be written: there is no folder {file.resolve().parent}.")


def _columns(table: CropTable) -> dict[str, Any]:
    import pyarrow as pa

    columns: dict[str, Any] = {"path": list(table.paths)}
    for name in _COLUMNS:
        values = getattr(table, name)
        if values is None:
            continue
        names = getattr(table, f"{name}_names", None)
        if names:
            values = np.array([names.get(int(value), str(value)) for value in values])
        columns[name] = pa.array(values, mask=values == UNLABELLED if values.dtype == np.int64 else None)
    return columns


def write_embeddings(file: Path, table: CropTable, features: np.ndarray) -> None:
    """Writes one row a crop with its embedding.

    Args:
        file: ``.parquet`` (column ``embedding``: fixed-size list of float32) or ``.npz`` (arrays ``path``,
            ``embedding`` and one for each column that is known).
        table: The crops.
        features: ``(N, D)`` float32.
    """
    if file.suffix.lower() == ".npz":
        known = {name: column for name in _COLUMNS if (column := getattr(table, name)) is not None}
        with file.open("wb") as stream:
            np.savez(stream, path=np.array(table.paths), embedding=features, **known)
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    flat = pa.array(np.ascontiguousarray(features, dtype=np.float32).ravel())
    columns = _columns(table) | {"embedding": pa.FixedSizeListArray.from_arrays(flat, features.shape[1])}
    pq.write_table(pa.table(columns), file)


def write_clusters(file: Path, table: CropTable, labels: np.ndarray) -> None:
    """Writes one row a crop with its cluster, −1 for none, to ``.csv`` or ``.parquet``."""
    _write_rows(file, _columns(table) | {"cluster": labels.astype(np.int64)})


def write_descriptions(file: Path, table: CropTable, persons: np.ndarray, shares: np.ndarray) -> None:
    """Writes one row a crop with the reference persons it is most like, to ``.csv`` or ``.parquet``.

    Args:
        file: Has the columns ``person_1``, ``share_1``, ``person_2`` and so on beside those of the table.
        table: The crops.
        persons: ``(N, K)`` names.
        shares: ``(N, K)`` float32.
    """
    columns = _columns(table)
    for place in range(persons.shape[1]):
        columns |= {f"person_{place + 1}": persons[:, place], f"share_{place + 1}": shares[:, place]}
    _write_rows(file, columns)


def _write_rows(file: Path, columns: dict[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    rows = pa.table(columns)
    if file.suffix.lower() == ".csv":
        pyarrow.csv.write_csv(rows, file)
    else:
        pq.write_table(rows, file)
