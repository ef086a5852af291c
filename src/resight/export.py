"""What a model found, as files for other programs. Each is written under another name first, then renamed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from resight.clustering import Tracks
from resight.common.checks import as_array, as_path, instance, integers
from resight.common.files import write_aside
from resight.crops import UNLABELLED, CropTable
from resight.crops.table import COLUMNS
from resight.errors import ResightError

if TYPE_CHECKING:
    from PIL import Image


def check_embedding_file(file: Path) -> None:
    """Raises a sentence, before any work is done, if :func:`write_embeddings` could not write a file of this name."""
    _check(file, (".parquet", ".npz"), "embeddings")


def check_cluster_file(file: Path) -> None:
    """Raises a sentence, before any work is done, if :func:`write_clusters` could not write a file of this name."""
    _check(file, (".csv", ".parquet"), "clusters")


def check_description_file(file: Path) -> None:
    """Raises a sentence, before any work is done, if :func:`write_descriptions` could not write a file of this name."""
    _check(file, (".csv", ".parquet"), "descriptions")


def check_comparison_file(file: Path) -> None:
    """Raises a sentence, before any work is done, if :func:`write_comparison` could not write a file of this name."""
    _check(file, (".csv", ".md", ".json"), "comparisons")


def check_picture_file(file: Path) -> None:
    """Raises a sentence, before any work is done, if :func:`write_picture` could not write a file of this name."""
    _check(file, (".png", ".jpg", ".jpeg"), "pictures")


def _check(file: Path, endings: tuple[str, ...], what: str) -> None:
    file = as_path("The file to write", file)
    if file.suffix.lower() not in endings:
        raise ResightError(
            f"{what.capitalize()} are written to a file ending in {' or '.join(endings)}, not {file.name}."
        )
    if not file.resolve().parent.is_dir():
        raise ResightError(f"{file} cannot be written: there is no folder {file.resolve().parent}.")
    if file.is_dir():
        raise ResightError(f"{file} cannot be written: it is a folder.")


def _columns(table: CropTable) -> dict[str, Any]:
    instance("table", table, CropTable, "read_crops makes one")
    import pyarrow as pa

    columns: dict[str, Any] = {"path": list(table.paths)}
    for name in COLUMNS:
        values = getattr(table, name)
        if values is None:
            continue
        names = getattr(table, f"{name}_names", None)
        if names:
            values = np.array([names.get(int(value), str(value)) for value in values])
        columns[name] = pa.array(values, mask=values == UNLABELLED if values.dtype == np.int64 else None)
    return columns


def write_embeddings(file: Path, table: CropTable, features: np.ndarray) -> None:
    """Writes one row per crop with its embedding.

    Args:
        file: ``.parquet`` (column ``embedding``: fixed-size list of float32) or ``.npz`` (arrays ``path``,
            ``embedding`` and one for each known column).
        table: The N crops.
        features: ``(N, D)`` float32.
    """
    _write_embeddings(file, table, features, {})


def _write_embeddings(file: Path, table: CropTable, features: np.ndarray, more: dict[str, np.ndarray]) -> None:
    check_embedding_file(file)
    columns, features = _columns(table), as_array("The features", features)
    if features.ndim != 2 or len(features) != len(table) or not features.size or features.dtype.kind not in "fiu":
        raise ResightError(
            f"The embeddings of {len(table)} crops cannot have shape {features.shape} of {features.dtype}: give one "
            "row of numbers per crop."
        )
    if not np.isfinite(features).all():
        raise ResightError("An embedding holds a value that is no finite number: check the model that made it.")
    if file.suffix.lower() == ".npz":
        known = {name: column for name in COLUMNS if (column := getattr(table, name)) is not None} | more

        def write(aside: Path) -> None:
            with aside.open("wb") as stream:
                np.savez(stream, path=np.array(table.paths), embedding=features, **known)

        write_aside(file, write)
        return
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(features, dtype=np.float32).ravel())
    write_rows(file, columns | more | {"embedding": pa.FixedSizeListArray.from_arrays(flat, features.shape[1])})


def write_track_embeddings(file: Path, table: CropTable, tracks: Tracks, features: np.ndarray) -> None:
    """Writes one row per track with its embedding.

    Args:
        file: ``.parquet`` or ``.npz``, as for :func:`write_embeddings`. The columns are ``path`` (of the crop with the
            highest quality, the first of equals), ``camera``, ``identity`` and ``track`` of that crop, ``track_from``
            and ``track_to`` (when the track began and ended), ``crops`` (their number) and ``embedding``.
        table: The N crops.
        tracks: Their T tracks.
        features: ``(T, D)`` float32.
    """
    instance("table", table, CropTable, "read_crops makes one")
    features = as_array("The features", features)
    if len(tracks.of_crop) != len(table) or features.shape[:1] != (len(tracks),):
        raise ResightError(
            f"There are {len(table)} crops, {len(tracks)} tracks of {len(tracks.of_crop)} crops, and features of shape "
            f"{features.shape}: give the tracks of the crops and one row of features per track."
        )
    quality = np.zeros(len(table)) if table.quality is None else table.quality
    order = np.lexsort((-quality, tracks.of_crop))
    best = order[np.unique(tracks.of_crop[order], return_index=True)[1]]
    kept = table.select(best)
    kept = replace(kept, time=None, split=None, quality=None, track_from=tracks.first, track_to=tracks.last)
    _write_embeddings(file, kept, features, {"crops": np.bincount(tracks.of_crop)})


def write_clusters(file: Path, table: CropTable, labels: np.ndarray) -> None:
    """Writes one row per crop with its cluster.

    Args:
        file: ``.csv`` or ``.parquet``.
        table: The N crops.
        labels: ``(N,)`` integers, -1 for none: the column ``cluster``.
    """
    check_cluster_file(file)
    write_rows(file, _columns(table) | {"cluster": integers("The labels", labels, len(table))})


def write_descriptions(file: Path, table: CropTable, names: np.ndarray, shares: np.ndarray) -> None:
    """Writes one row per crop with the reference identities that it resembles most.

    Args:
        file: ``.csv`` or ``.parquet``. After the columns of the table it has ``reference_1``, ``share_1``,
            ``reference_2`` and so on.
        table: The N crops.
        names: ``(N, K)`` names, the most alike first.
        shares: ``(N, K)`` float32, the share of each in the crop's multilabel.
    """
    check_description_file(file)
    columns = _columns(table)
    names, shares = as_array("The names", names), as_array("The shares", shares)
    if names.ndim != 2 or names.shape != shares.shape or len(names) != len(table) or not np.isfinite(shares).all():
        raise ResightError(
            f"The descriptions of {len(table)} crops have names of shape {names.shape} and shares of {shares.shape}: "
            "give as many names as shares for each crop, and shares that are numbers."
        )
    for place in range(names.shape[1]):
        columns |= {f"reference_{place + 1}": names[:, place], f"share_{place + 1}": shares[:, place]}
    write_rows(file, columns)


def write_comparison(file: Path, found: Mapping[str, Any]) -> None:
    """Writes a comparison of runs.

    Args:
        file: ``.json`` (all figures), ``.csv`` (one row per name, rates as fractions) or ``.md`` (the printed table).
        found: What :func:`resight.comparison.compare` returned.
    """
    check_comparison_file(file)
    if file.suffix.lower() == ".json":
        text = json.dumps(found, indent=1)
    elif file.suffix.lower() == ".md":
        from resight.sentences import comparison_rows, describe_comparison

        head, rows = comparison_rows(found)
        text = markdown_table(head, rows) + "\n" + describe_comparison(found).replace("\n", " ") + "\n"
    else:
        columns = ["name", "runs", "mAP", "rank1"]
        parts = [(measure, end) for measure in ("mAP", "rank1") for end in ("difference", "low", "high")]
        lines = [
            [group["name"], len(group["runs"]), group["mAP"], group["rank1"]]
            + [group.get(f"{measure}_difference", {}).get(end, "") for measure, end in parts]
            for group in found["groups"]
        ]
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows(
            [columns + [f"{measure}_{end}" for measure, end in parts], *lines]
        )
        text = out.getvalue()
    write_aside(file, lambda aside: aside.write_text(text, encoding="utf-8"))


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; a bar in a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def write_picture(file: Path, picture: Image.Image, **options: Any) -> None:
    """Writes a picture in the format of the file's ending.

    Args:
        file: ``.png``, ``.jpg`` or ``.jpeg``.
        picture: The picture.
        **options: Passed on to Pillow's ``Image.save``.
    """
    write_aside(file, lambda aside: picture.save(aside, **options))


def write_rows(file: Path, columns: Mapping[str, Any]) -> None:
    """Writes columns as a table, ``.csv`` or ``.parquet``."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    rows = pa.table(dict(columns))
    write = pyarrow.csv.write_csv if file.suffix.lower() == ".csv" else pq.write_table
    write_aside(file, lambda aside: write(rows, aside))
