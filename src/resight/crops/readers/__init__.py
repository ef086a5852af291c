"""Readers: from files on disk to a :class:`~resight.crops.table.CropTable`."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from resight.common.checks import as_path, shown
from resight.crops.readers.datasets import (
    layout_of_names,
    layout_of_tree,
    read_layout,
    read_msmt17,
    refuse_tree_inside,
)
from resight.crops.readers.files import list_folders, list_images, require_folder
from resight.crops.readers.folder import read_folder, read_identities
from resight.crops.readers.tabular import read_csv, read_parquet, write_table
from resight.crops.splits import identity_split
from resight.crops.table import CropTable
from resight.errors import ResightError

__all__ = ["FORMATS", "Format", "detect_format", "read_crops", "write_table"]


class Format(NamedTuple):
    """A format of crops on disk: the function that reads it, and a line about it."""

    read: Callable[[Path], CropTable]
    about: str


#: The file by which a folder of sightings is known, and the table in it.
SIGHTINGS, SIGHTINGS_TABLE = "sightings.json", "crops.parquet"


def _read_sightings(path: Path) -> CropTable:
    require_folder(path)
    if not (path / SIGHTINGS_TABLE).is_file():
        raise ResightError(f"{path} has no {SIGHTINGS_TABLE}: 'resight ingest' wrote no crop into it.")
    return replace(read_parquet(path / SIGHTINGS_TABLE), source="sightings")


#: Every format by name.
FORMATS: dict[str, Format] = {
    "market1501": Format(
        partial(read_layout, name="market1501"), "Market-1501: 0002_c1s1_000451_03.jpg, junk and distractors kept."
    ),
    "dukemtmc": Format(partial(read_layout, name="dukemtmc"), "DukeMTMC-reID: 0001_c2_f0046182.jpg."),
    "msmt17": Format(read_msmt17, "MSMT17 V1 or V2 by its four lists; list_val.txt counts as train."),
    "veri776": Format(partial(read_layout, name="veri776"), "VeRi-776, vehicles: 0001_c001_00016450_0.jpg."),
    "cuhk03-np": Format(
        partial(read_layout, name="cuhk03-np"), "CUHK03 in the new protocol, its 'detected' or its 'labeled' folder."
    ),
    "personx": Format(partial(read_layout, name="personx"), "PersonX, synthetic people: one of its scenes."),
    "ward": Format(partial(read_layout, name="ward"), "WARD: one folder of files as 000100020003.jpg."),
    "folder": Format(read_folder, "Your own images in one folder, or in one sub-folder per camera."),
    "identities": Format(read_identities, "Your own labelled images in one sub-folder per identity."),
    "sightings": Format(_read_sightings, "A folder that 'resight ingest' made of videos."),
    "csv": Format(read_csv, "A CSV file with the column path, and any of camera, identity, time, track, split."),
    "parquet": Format(read_parquet, "The same columns in a Parquet file."),
}

_TABLE_SUFFIXES = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet"}
_SPLIT_FOLDERS = {"train", "val", "test", "query", "gallery"}


def read_crops(path: str | Path, format: str = "auto", *, train_identities: int | None = None) -> CropTable:
    """Reads the crops at a path.

    Args:
        path: A folder, or a CSV or Parquet file.
        format: A name in :data:`FORMATS`, or ``auto``: see :func:`detect_format`.
        train_identities: For a table that has identities but no split: this number of identities train, the others
            test (see :func:`~resight.crops.splits.identity_split`).

    Returns:
        The crop table, in the text order of the paths (CSV and Parquet: in the order of the file).

    Raises:
        ResightError: the path does not have this format, or the table already has a split and ``train_identities`` is
            given.
    """
    path = as_path("The path of the crops", path)
    if isinstance(format, str) and format == "auto":
        format = detect_format(path)
    elif not isinstance(format, str) or format not in FORMATS:
        near = difflib.get_close_matches(str(format), FORMATS, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise ResightError(
            f"There is no crop format {shown(format)}.{hint} The formats are auto, {', '.join(FORMATS)}."
        )
    table = FORMATS[format].read(path)
    if train_identities is None:
        return table
    if table.split is not None:
        raise ResightError(
            f"{path}, read as '{format}', is already divided into train, query and gallery: leave the number of "
            "training identities out."
        )
    return identity_split(table, train_identities)


def detect_format(path: str | Path) -> str:
    """The format of the crops at a path.

    These are tried in order: the suffix of a file; the official folders and lists of a data set; the file names, if at
    least half of them follow a data set's rule. Anything else is a plain ``folder``.

    Raises:
        ResightError: there is nothing at the path, or its format is not clear.
    """
    path = as_path("The path of the crops", path)
    if not path.exists():
        raise ResightError(f"There is nothing at {path}: check the path to the crops.")
    if not path.is_dir():
        name = _TABLE_SUFFIXES.get(path.suffix.lower())
        if name is None:
            raise ResightError(f"{path} is a file, but neither .csv nor .parquet: give a folder of crops or a table.")
        return name
    if (path / SIGHTINGS).is_file():
        return "sightings"
    if name := layout_of_tree(path):
        return name
    refuse_tree_inside(path)
    images = list_images(path)
    if images and (name := layout_of_names(images, by_name_only=True)):
        return name
    if splits := sorted(_SPLIT_FOLDERS & {folder.lower() for folder in list_folders(path)}):
        raise ResightError(
            f"{path} has a folder '{splits[0]}', which would be read as a camera: list the crops in a CSV file with a "
            "column 'split', or give --format folder (in Python format='folder') if it is a camera."
        )
    return "folder"
