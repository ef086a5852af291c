"""Where and when identities were seen: journeys, times between cameras, boxes with identities, annotated videos."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from resight.analysis import STAY, Journey, Move, Transition, moves, shortest_times, transitions, weigh_impossible
from resight.analysis import journeys as find_journeys
from resight.charts import COLOURS, is_clock, journey_chart, save_chart
from resight.clustering import PseudoLabels, cluster_crops, find_neighbours, longest_list
from resight.common.checks import as_path, instance, integers, number, one_of
from resight.common.files import make_folder
from resight.crops import CropTable, read_crops
from resight.crops.cache import Progress
from resight.errors import ResightError
from resight.export import write_rows
from resight.identities import Dbscan
from resight.ingest.annotated import annotate, number_boxes, open_numbered, write_numbered
from resight.model import Model, times_of, with_tracks

#: Identities in the picture at most.
SHOWN = 12
#: Times as many neighbours as are needed are searched for, so that others can take the place of impossible ones.
_MORE = 4


@dataclass(frozen=True, eq=False)
class Whereabouts:
    """Where and when identities were seen.

    Attributes:
        table: The N crops.
        labels: ``(N,)`` int64 identities, -1 for none.
        journeys: The journey of each identity: those with the most cameras first, then those with the most crops.
        moves: Their ways from camera to camera; which are confident is known where there were embeddings.
    """

    table: CropTable
    labels: np.ndarray
    journeys: list[Journey]
    moves: list[Move]

    @cached_property
    def names(self) -> dict[int, str]:
        """Names of the cameras."""
        found = np.unique(self.table.require("camera", "A journey")).tolist()
        return {camera: (self.table.camera_names or {}).get(camera, str(camera)) for camera in found}

    @cached_property
    def transitions(self) -> list[Transition]:
        """Times between cameras, from confident moves where it is known which are."""
        return transitions(self.moves)

    @cached_property
    def clock(self) -> bool:
        """Whether times are seconds since 1970."""
        return is_clock([stay[1] for way in self.journeys for stay in way.stays])

    def time(self, value: float) -> str:
        """A time in words: date and time of day in UTC, or the number."""
        if not self.clock:
            return f"{value:.6g}"
        return datetime.fromtimestamp(value, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def check_followed(table: CropTable) -> np.ndarray:
    """The cameras of a table whose identities can be followed.

    Raises:
        ResightError: there are no cameras or no times, or the times count frames of each camera by itself.
    """
    instance("table", table, CropTable, "read_crops makes one")
    camera = table.require("camera", "A journey")
    table.require("time", "A journey")
    if not table.one_clock:
        raise ResightError(
            f"The times of {table.root}, read as '{table.source}', count frames of each camera by itself, so they say "
            "nothing about ways between cameras: give a table with times of one clock, or a folder that 'resight "
            "ingest' made."
        )
    return camera


def follow(
    table: CropTable, labels: np.ndarray, features: np.ndarray | None = None, *, gap: float | None = None
) -> Whereabouts:
    """The journeys of identities.

    Args:
        table: N crops with cameras and times of one clock. Where it says when tracks began and ended, stays are those
            of the tracks.
        labels: ``(N,)`` identities from 0, -1 for none.
        features: ``(N, D)`` embeddings, by which confident moves are told from others (:func:`resight.analysis.moves`).
        gap: A stay ends where its camera saw nothing of the identity for longer than this. If not given:
            :data:`resight.analysis.STAY` where times are seconds since 1970, else a stay ends at another camera only.

    Raises:
        ResightError: there are no cameras, no times or no identities, or the times count frames of each camera by
            itself.
    """
    camera = check_followed(table)
    labels = integers("The identities", labels, len(table))
    if labels.max(initial=-1) < 0:
        raise ResightError("No crop has an identity, so there are no journeys: cluster with other settings.")
    begin, until = times_of(table)
    gap = STAY if gap is None and is_clock(begin) else gap
    found = find_journeys(labels, camera, begin, until=until, gap=gap, most=None)
    if features is None:
        return Whereabouts(table, labels, found, moves(found))
    return Whereabouts(table, labels, found, moves(found, features, camera, labels=labels, weight=table.quality))


def read_identities(file: str | Path) -> tuple[CropTable, np.ndarray]:
    """A table that ``resight cluster`` wrote: the crops and their identities.

    Raises:
        ResightError: the file is missing, is no such table, or lacks the column ``cluster``.
    """
    file = as_path("The table of identities", file)
    if file.suffix.lower() not in (".csv", ".parquet"):
        raise ResightError(f"{file} is neither a run folder nor a table of identities (.csv or .parquet).")
    table = read_crops(file)
    if file.suffix.lower() == ".csv":
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = [row for row in csv.reader(stream) if any(cell.strip() for cell in row)]
        names = [name.strip() for name in rows[0]]
        cells = [row[names.index("cluster")].strip() for row in rows[1:]] if "cluster" in names else None
    else:
        import pyarrow.parquet

        known = "cluster" in pyarrow.parquet.read_schema(file).names
        read = pyarrow.parquet.ParquetFile(file).read(columns=["cluster"] if known else [])
        cells = [str(value) for value in read["cluster"].to_pylist()] if known else None
    if cells is None:
        raise ResightError(f"{file} has no column 'cluster': give a table that 'resight cluster' wrote.")
    try:
        labels = np.array([int(cell) for cell in cells], np.int64)
    except (ValueError, OverflowError) as error:
        raise ResightError(
            f"The column 'cluster' of {file} holds what is no whole number: give a table that 'resight cluster' wrote."
        ) from error
    return table, np.maximum(labels, -1)


def cluster_possible(
    model: Model,
    table: CropTable,
    features: np.ndarray,
    found: Whereabouts,
    weight: float,
    *,
    tracks: bool = True,
    **changes: Any,
) -> tuple[PseudoLabels, dict[str, int]]:
    """Clusters again, with less similarity for crops that no one identity can have.

    The shortest times between cameras come from the confident moves of a first clustering
    (:func:`resight.analysis.shortest_times`). Where less time lies between two crops, their cosine is multiplied by
    ``weight`` before neighbours are ranked.

    Args:
        model: The model; its clustering must be ``dbscan``.
        table: The N crops.
        features: ``(N, D)`` embeddings.
        found: The journeys of the first clustering.
        weight: From 0 to 1.
        tracks: As for :meth:`resight.model.Model.cluster`.
        **changes: Settings of the clustering.

    Returns:
        The clusters, and figures: ``camera_pairs`` with a shortest time, and ``weighed`` pairs of neighbours.

    Raises:
        NoClusters: every crop is an outlier.
        ResightError: the clustering is another, or a value is not possible.
    """
    weight = number("The weight of impossible moves", weight, least=0, most=1)
    clustering = model.clustering(None, changes)
    if not isinstance(clustering, Dbscan):
        raise ResightError(
            f"Impossible moves are weighed in the neighbours of dbscan, but this run clusters by {clustering.name}: "
            "leave --impossible out."
        )
    shortest = shortest_times(found.moves)
    settings = clustering.model_dump()
    k = min(longest_list(settings["k1"]), len(table))
    search = {name: settings[name] for name in ("centre_cameras", "search", "recall")}
    near = find_neighbours(
        features, min(_MORE * k, len(table)), camera=table.camera, device=model.device, **search
    )  # fmt: skip
    camera, time = table.require("camera", "A journey"), table.require("time", "A journey")
    near, weighed = weigh_impossible(near, camera, time, shortest, weight, k)
    labels = cluster_crops(near, **settings, camera=table.camera)
    if tracks and table.track is not None:
        labels = with_tracks(labels, features, table)
    return labels, {"camera_pairs": len(shortest), "weighed": weighed}


def write_journeys(to: Path, found: Whereabouts, *, ending: str = "csv") -> list[Path]:
    """Writes ``journeys`` and ``transitions`` as tables, and ``journeys.png``, cameras × time.

    ``journeys`` has one row per stay: ``identity``, ``stay`` (from 1), ``camera``, ``from``, ``to``, ``crops``, and
    ``from_utc`` and ``to_utc`` where times are seconds since 1970. ``transitions`` has one row per pair of cameras:
    ``from_camera``, ``to_camera``, ``moves``, ``confident`` (the moves that the times are of), ``lower_quartile``,
    ``median``, ``upper_quartile``.

    Args:
        to: The folder, made if it is not there.
        found: The journeys.
        ending: ``csv`` or ``parquet``.

    Returns:
        The files.

    Raises:
        ResightError: a file cannot be written, or matplotlib is not installed.
    """
    one_of("The ending of tables", ending, ("csv", "parquet"))
    make_folder(to)
    ordered = sorted(found.journeys, key=lambda way: way.cluster)
    stays = [(way.cluster, place, *stay) for way in ordered for place, stay in enumerate(way.stays, start=1)]
    columns: dict[str, Any] = dict(
        zip(("identity", "stay", "camera", "from", "to", "crops"), map(list, zip(*stays, strict=True)), strict=True)
    )
    columns["camera"] = [found.names[camera] for camera in columns["camera"]]
    if found.clock:
        columns |= {f"{name}_utc": [_iso(value) for value in columns[name]] for name in ("from", "to")}
    files = [to / f"journeys.{ending}", to / f"transitions.{ending}", to / "journeys.png"]
    write_rows(files[0], columns)
    learnt = found.transitions
    write_rows(
        files[1],
        {
            "from_camera": [found.names[one.start] for one in learnt],
            "to_camera": [found.names[one.end] for one in learnt],
            "moves": np.array([one.moves for one in learnt], np.int64),
            "confident": np.array([one.count for one in learnt], np.int64),
            "lower_quartile": np.array([one.lower for one in learnt], np.float64),
            "median": np.array([one.median for one in learnt], np.float64),
            "upper_quartile": np.array([one.upper for one in learnt], np.float64),
        },
    )
    shown = sorted(found.journeys[:SHOWN], key=lambda way: way.cluster)
    title = (
        "Where identities were seen" if len(found.journeys) <= SHOWN else f"{SHOWN} of {len(found.journeys)} identities"
    )
    chart = journey_chart({str(way.cluster): way.stays for way in shown}, found.names, by="camera", title=title)
    save_chart(files[2], chart)
    return files


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def write_boxes(
    to: Path, found: Whereabouts, sightings: Path, *, video: bool = False, progress: Progress | None = None
) -> dict[str, int]:
    """Writes ``boxes/CAMERA-N.txt``, MOT text with identities in place of tracks, and ``video/CAMERA-N.mp4``.

    See :func:`resight.ingest.annotated.number_boxes` for the numbers.

    Args:
        to: The folder.
        found: The journeys.
        sightings: The folder that ``resight ingest`` made.
        video: Whether to write videos with the boxes drawn in.
        progress: Called with the step's name, the frames done and the frames in all.

    Returns:
        Figures: ``sources``, ``apart`` (tracks whose number is not that of their identity) and ``frames`` of videos.

    Raises:
        ResightError: the folder was not made by ``resight ingest``, a video is not there any more, or a file cannot be
            written.
    """
    numbered, least = number_boxes(sightings, _by_path(found))
    sources = [open_numbered(one) for one in numbered] if video else []  # all before the first is written
    write_numbered(numbered, to / "boxes")
    frames = 0
    for one, source in zip(numbered, sources, strict=False):

        def tell(done: int, total: int, name: str = one.name) -> None:
            if progress is not None:
                progress(f"video of {name}", done, total)

        file = to / "video" / f"{one.name}.mp4"
        frames += annotate(one, source, file, least=least, colours=COLOURS, progress=tell)
    return {"sources": len(numbered), "apart": sum(one.apart for one in numbered), "frames": frames}


def _by_path(found: Whereabouts) -> Mapping[str, int]:
    return dict(zip(found.table.paths, found.labels.tolist(), strict=True))
