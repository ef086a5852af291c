"""Crop tables as CSV and Parquet files: reading and writing."""

from __future__ import annotations

import csv
import difflib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from resight.common.checks import as_path, instance
from resight.common.files import write_aside
from resight.common.identities import DISTRACTOR, JUNK, UNLABELLED
from resight.crops.readers.codes import codes_of
from resight.crops.table import COLUMNS as TABLE_COLUMNS
from resight.crops.table import SPLITS, CropTable
from resight.errors import ResightError

#: The columns of a crop table. The two ``…_name`` columns have the names of numbers.
COLUMNS = (
    "path", "camera", "identity", "time", "track", "split", "quality", "track_from", "track_to", "camera_name",
    "identity_name",
)  # fmt: skip
#: What programs write where a value is missing; no camera and no identity is called so.
_MISSING = {"nan", "-nan", "none", "null", "na", "n/a", "#n/a", "<na>", "nat"}
#: Other words for the columns. They are not accepted: the error names the right one.
_ALIASES = {
    "path": {"file", "filename", "filepath", "image", "imagepath", "imagefile", "img", "imgpath", "imagename"},
    "camera": {"cam", "cams", "camid", "cameraid", "cameraidx", "camidx"},
    "identity": {"pid", "pids", "person", "personid", "identityid", "label", "vehicleid", "animalid"},
    "time": {"frame", "frameid", "timestamp", "datetime"},
    "track": {"tracklet", "trackid", "trackletid"},
    "split": {"subset", "set", "fold", "partition"},
}
_VERBATIM = {"path", "camera_name", "identity_name"}
_INT64 = np.iinfo(np.int64)


class _Cells(NamedTuple):
    """A file's cells as text; an empty cell is ``""``."""

    file: Path
    columns: dict[str, list[str]]
    lines: list[int]
    unit: str

    def at(self, row: int) -> str:
        return f"{self.unit} {self.lines[row]} of {self.file}"


def read_csv(path: Path) -> CropTable:
    """Reads a comma-separated table with a header line, in UTF-8.

    Raises:
        ResightError: the file is missing or is not such a table; the message names the line.
    """
    _require_file(path)
    columns: dict[str, list[str]] = {}
    lines: list[int] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            header = [name.strip() for name in next(reader, [])]
            _check_header(header, path)
            rows: list[list[str]] = []
            for row in reader:
                if not any(cell.strip() for cell in row):
                    continue
                if len(row) != len(header):
                    raise ResightError(
                        f"Line {reader.line_num} of {path} has {len(row)} cells, but the header has {len(header)}: "
                        "give one cell per column, and put double quotes around a cell with a comma in it."
                    )
                rows.append(row)
                lines.append(reader.line_num)
    except UnicodeDecodeError as error:
        raise ResightError(f"{path} is not UTF-8 text (byte {error.start}): save the table as UTF-8.") from error
    except csv.Error as error:
        raise ResightError(f"{path} cannot be read as CSV: {error}.") from error
    for number, name in enumerate(header):
        columns[name] = [_text(row[number], name) for row in rows]
    return _table(_Cells(path, columns, lines, "Line"), "csv")


def read_parquet(path: Path) -> CropTable:
    """Reads a Parquet table.

    Raises:
        ResightError: the file is missing or is not such a table; the message names the row.
    """
    import pyarrow
    import pyarrow.parquet

    _require_file(path)
    try:
        names = list(pyarrow.parquet.read_schema(path).names)
        _check_header(names, path)
        wanted = [name for name in names if name in COLUMNS]
        table = pyarrow.parquet.ParquetFile(path).read(columns=wanted)
    except (pyarrow.ArrowException, OSError) as error:
        raise ResightError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    for name in wanted:
        _check_type(path, name, table.column(name).type)
    columns = {name: [_text(value, name) for value in table.column(name).to_pylist()] for name in wanted}
    return _table(_Cells(path, columns, list(range(1, table.num_rows + 1)), "Row"), "parquet")


def _check_type(file: Path, name: str, kind: Any) -> None:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    texts = types.is_string(kind) or types.is_large_string(kind) or types.is_null(kind)
    numbers = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    if not texts and (name == "path" or not numbers):
        raise ResightError(
            f"The column '{name}' of {file} holds values of the type {kind}: write it as texts"
            f"{'' if name == 'path' else ' or numbers'}."
        )


def write_table(table: CropTable, path: str | Path) -> Path:
    """Writes a crop table as CSV or Parquet, by the suffix of the file.

    Reading the file again gives the same crops, columns and codes. Names of cameras and identities go into the columns
    ``camera_name`` and ``identity_name``; names that no crop uses are not kept. Paths are written relative to the
    file's folder if the crops are below it, else in full. The file is written under another name and renamed: if
    writing fails, an old file stays as it was.

    Args:
        table: The crops.
        path: The file to write. Its folder is made if it is missing.

    Returns:
        The file written.

    Raises:
        ResightError: the suffix is neither ``.csv`` nor ``.parquet``, a path appears twice or is empty, or a file name
            is not valid Unicode.
    """
    path = as_path("The file of the crop table", path)
    instance("table", table, CropTable, "read_crops makes one")
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise ResightError(f"A crop table is written as .csv or .parquet, but the file is to be {path}.")
    columns: dict[str, list[Any]] = {"path": _written_paths(table, path)}
    for name in TABLE_COLUMNS:
        values = getattr(table, name)
        if values is not None:
            columns[name] = values.tolist()
    for name in ("camera", "identity"):
        called = getattr(table, f"{name}_names")
        if called and name in columns:
            columns[f"{name}_name"] = [called.get(code) for code in columns[name]]
    if "identity" in columns:
        columns["identity"] = [None if code == UNLABELLED else code for code in columns["identity"]]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_columns = _write_csv if path.suffix.lower() == ".csv" else _write_parquet
    write_aside(path, lambda aside: write_columns(aside, columns))
    return path


def _write_csv(file: Path, columns: Mapping[str, list[Any]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_csv_cell(cell) for cell in row] for row in zip(*columns.values(), strict=True))


def _write_parquet(file: Path, columns: Mapping[str, list[Any]]) -> None:
    import pyarrow
    import pyarrow.parquet

    kinds = dict.fromkeys(("time", "quality", "track_from", "track_to"), pyarrow.float64())
    kinds |= dict.fromkeys(("camera", "identity", "track"), pyarrow.int64())
    arrays = {name: pyarrow.array(cells, kinds.get(name, pyarrow.string())) for name, cells in columns.items()}
    pyarrow.parquet.write_table(pyarrow.table(arrays), file)


def _require_file(path: Path) -> None:
    if not path.exists():
        raise ResightError(f"There is no file {path}: check the path to the crop table.")
    if path.is_dir():
        raise ResightError(f"{path} is a folder, but this format is read from one file: give the table's file.")


def _check_header(names: Sequence[str], file: Path) -> None:
    twice = sorted({name for name in names if name in COLUMNS and names.count(name) > 1})
    if twice:
        raise ResightError(f"{file} has the column '{twice[0]}' more than once: keep one of them.")
    missing = [name for name in COLUMNS[:6] if name not in names]  # the others are rarely meant
    for name in names:
        right = None if name in COLUMNS else _meant(name, missing)
        if right is not None:
            raise ResightError(
                f"{file} has a column '{name}' but none called '{right}': rename it to '{right}' if that is what it "
                "contains, else give it a less similar name."
            )
    if "path" not in names:
        marks = [mark for mark in (";", "\t", "|") if any(mark in name for name in names)]
        hint = f" The columns seem to be separated by {marks[0]!r}: use commas." if marks else ""
        raise ResightError(
            f"{file} has no column 'path': its first line must name the columns, of which 'path' is needed and "
            f"{', '.join(COLUMNS[1:7])} are known.{hint}"
        )
    for name in ("camera", "identity"):
        if f"{name}_name" in names and name not in names:
            raise ResightError(f"{file} has a column '{name}_name' but no column '{name}': rename it to '{name}'.")


def _meant(name: str, missing: Sequence[str]) -> str | None:
    plain = "".join(character for character in name.casefold() if character.isalnum())
    for column in missing:
        if plain == column or plain in _ALIASES.get(column, ()):
            return column
    near = difflib.get_close_matches(plain, [column for column in missing if "_" not in column], n=1, cutoff=0.8)
    return near[0] if near else None


def _table(cells: _Cells, source: str) -> CropTable:
    for name, texts in cells.columns.items():
        row = next((row for row, text in enumerate(texts) if "\0" in text), None)
        if row is not None:
            raise ResightError(f"{cells.at(row)} has a NUL character in the column '{name}': the file is damaged.")
    paths = _paths(cells)
    camera, camera_names = _coded(cells, "camera")
    identity, identity_names = _coded(cells, "identity")
    if identity is not None:
        _check_identities(cells, identity)
    return CropTable(
        root=cells.file.parent,
        paths=tuple(paths),
        camera=camera,
        identity=identity,
        time=_column(cells, "time", _number, "a finite number, as seconds or a frame", np.float64),
        track=_column(cells, "track", _integer, "a whole number", np.int64),
        split=_column(cells, "split", _split, f"one of {', '.join(SPLITS)}", np.str_),
        quality=_column(cells, "quality", _weight, "a finite number of at least 0", np.float64),
        track_from=_column(cells, "track_from", _number, "a finite number", np.float64),
        track_to=_column(cells, "track_to", _number, "a finite number", np.float64),
        camera_names=camera_names,
        identity_names=identity_names,
        source=source,
    )


def _paths(cells: _Cells) -> list[str]:
    if not cells.lines:
        raise ResightError(f"{cells.file} lists no crop: give one line per crop below the header.")
    root = cells.file.absolute().parent
    seen: dict[str, int] = {}
    paths = []
    for row, cell in enumerate(cells.columns["path"]):
        if not cell:
            raise ResightError(f"{cells.at(row)} has an empty 'path': give the crop's file.")
        path = Path(cell).as_posix()
        file = os.path.normpath(root / path)  # sub/../a.jpg is a.jpg
        if file in seen:
            raise ResightError(
                f"{cells.at(row)} gives the path '{path}' again, after {cells.unit.lower()} "
                f"{cells.lines[seen[file]]}: list every crop once."
            )
        seen[file] = row
        paths.append(path)
    return paths


def _coded(cells: _Cells, name: str) -> tuple[np.ndarray | None, dict[int, str] | None]:
    """A column of cameras or identities: whole numbers are kept, anything else are names that get numbers."""
    if name not in cells.columns:
        return None, None
    texts = cells.columns[name]
    fixed = {"": UNLABELLED, str(JUNK): JUNK, str(DISTRACTOR): DISTRACTOR} if name == "identity" else {}
    if "" not in fixed:
        _refuse_empty(cells, name)
    numbers = [fixed.get(text, _integer(text)) for text in texts]
    if None not in numbers:
        codes = np.array(numbers, dtype=np.int64)
        return codes, _given_names(cells, name, codes)
    if f"{name}_name" in cells.columns:
        row = numbers.index(None)
        raise ResightError(
            f"{cells.at(row)} has {name} '{texts[row]}': a table with a column '{name}_name' needs whole numbers in "
            f"the column '{name}'."
        )
    for row, text in enumerate(texts):
        if text.casefold() in _MISSING:
            what = (
                "leave the cell empty" if name == "identity" else f"fill it in, or leave the whole column '{name}' out"
            )
            raise ResightError(f"{cells.at(row)} has {name} '{text}', as programs write a missing value: {what}.")
        if ("." in text and _is_real(text)) or text.casefold().lstrip("+-") in ("inf", "infinity"):
            raise ResightError(
                f"{cells.at(row)} has {name} '{text}': give a whole number, or a name that is no number, such as "
                f"'{name} {text}'."
            )
    named = np.array([text not in fixed for text in texts])
    codes = np.array([fixed.get(text, 0) for text in texts], dtype=np.int64)
    codes[named], names = codes_of([text for text in texts if text not in fixed])
    return codes, names


def _given_names(cells: _Cells, name: str, codes: np.ndarray) -> dict[int, str] | None:
    names: dict[int, str] = {}
    for row, (code, called) in enumerate(zip(codes.tolist(), cells.columns.get(f"{name}_name", ()), strict=False)):
        if called and names.setdefault(code, called) != called:
            raise ResightError(
                f"{cells.at(row)} calls {name} {code} '{called}', but an earlier one calls it '{names[code]}': "
                "give each number one name."
            )
    return names or None


def _check_identities(cells: _Cells, identity: np.ndarray) -> None:
    wrong = np.flatnonzero((identity < JUNK) & (identity != UNLABELLED))
    if len(wrong):
        raise ResightError(
            f"{cells.at(int(wrong[0]))} has identity {identity[wrong[0]]}: number identities from 1, and use {JUNK} "
            f"for junk, {DISTRACTOR} for distractors and an empty cell where nothing is known."
        )


def _column(cells: _Cells, name: str, parse: Callable[[str], object], meaning: str, kind: Any) -> np.ndarray | None:
    if name not in cells.columns:
        return None
    _refuse_empty(cells, name)
    values = [parse(text) for text in cells.columns[name]]
    if None in values:
        row = values.index(None)
        raise ResightError(f"{cells.at(row)} has {name} '{cells.columns[name][row]}': it must be {meaning}.")
    return np.array(values, dtype=kind)


def _refuse_empty(cells: _Cells, name: str) -> None:
    if "" in cells.columns[name]:
        raise ResightError(
            f"{cells.at(cells.columns[name].index(''))} has an empty cell in the column '{name}': fill it in, or "
            "leave the whole column out. Only 'identity' may have empty cells, for crops without a label."
        )


def _integer(text: str) -> int | None:
    """A whole number, or ``None``. Spreadsheets and data frames also write 3 as ``3.0``."""
    digits = text[:-2] if text.endswith(".0") else text
    unsigned = digits[1:] if digits[:1] in ("-", "+") else digits
    if not (unsigned.isascii() and unsigned.isdecimal()):
        return None
    number = int(digits)
    return number if _INT64.min < number <= _INT64.max else None


def _number(text: str) -> float | None:
    return float(text) if _is_real(text) and math.isfinite(float(text)) else None


def _weight(text: str) -> float | None:
    found = _number(text)
    return found if found is not None and found >= 0 else None


def _is_real(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii()


def _split(text: str) -> str | None:
    return text if text in SPLITS else None


def _text(value: object, column: str) -> str:
    """A cell as text without the spaces around it, except in file names and names of cameras and identities."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    text = str(value)
    return text if text.strip() and column in _VERBATIM else text.strip()


def _csv_cell(value: object) -> object:
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**53 else repr(value)
    return value


def _written_paths(table: CropTable, file: Path) -> list[str]:
    root, home = table.root.resolve(), file.parent.resolve()
    # Paths relative to the same folder stay exactly as they are.
    prefix = None if root == home else root.relative_to(home) if root.is_relative_to(home) else root
    paths = [path if prefix is None else (prefix / path).as_posix() for path in table.paths]
    if len(set(paths)) != len(paths) or "" in paths:
        raise ResightError(f"The crop table of {table.root} has a path twice or an empty path: it cannot be written.")
    for path in paths:
        if not _is_text(path):
            raise ResightError(f"The file name {path!r} is not valid Unicode: rename the file to write the table.")
    return paths


def _is_text(path: str) -> bool:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
