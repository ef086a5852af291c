"""Commands about videos: ``ingest``, from videos to crops, and ``journeys``, where and when identities were seen."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resight.cli.options import (
    CacheOption,
    DeviceOption,
    EpochOption,
    FlipOption,
    FormatOption,
    QuietOption,
    TracksOption,
    given_path,
    read,
    reporter,
    shell,
)

if TYPE_CHECKING:
    from resight.journeys import Whereabouts
    from resight.training.reporting import Reporter


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def ingest(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE…",
            help="Video files, folders of frames, an address such as rtsp://…, the number of a camera, or one .yaml "
            "file with a list of cameras.",
        ),
    ],
    to: Annotated[
        Path,
        typer.Option(
            "--to",
            parser=given_path,
            metavar="FOLDER",
            help="Folder for the sightings; an earlier one is gone on with.",
        ),
    ],
    camera: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the camera; several sources are read one after another.")
    ] = "camera",
    start: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="When the first frame was taken: 2026-11-23T08:00. The file's own time if not given.",
            show_default=False,
        ),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(
            parser=given_path,
            metavar="FILE",
            help="Boxes of another program: MOT text, CVAT's MOT 1.1 (.zip), Label Studio (.json) or .jsonl.",
            show_default=False,
        ),
    ] = None,
    detector: Annotated[
        Path | None,
        typer.Option(
            parser=given_path,
            metavar="FILE",
            help="Detector in ONNX format: YOLOv5, v8, 11, YOLOX, RT-DETR or DETR. OpenCV's weak one if not given.",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Classes, separated by commas; 'person' for detectors, all of a file of boxes if not given.",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            help="Frames per second to look at; all if not given. Of a folder of frames: how many there are.",
            show_default=False,
        ),
    ] = None,
    duration: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="End after this time: 90s, 5min, 8h.", show_default=False),
    ] = None,
    crops: Annotated[int, typer.Option(metavar="N", help="Crops to keep of each track, at most.")] = 8,
    min_height: Annotated[float, typer.Option(metavar="N", help="Lower boxes, in pixels, give no crop.")] = 48,
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Delete crops this long after they were taken: 30d. Never if not given.",
            show_default=False,
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            parser=given_path,
            metavar="FILE",
            help="Picture to write, .png or .jpg: the crops of some tracks.",
            show_default=False,
        ),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Cut crops out of videos and streams, with camera, time and track.

    The same command goes on after a stop or a kill. Needs the extra 'ingest'.

    Example: **resight ingest gate.mp4 --camera gate --start 2026-11-23T08:00 --to sightings/**
    """
    from resight.cli.tables import print_table, print_text
    from resight.crops.sheets import contact_sheet
    from resight.errors import ResightError
    from resight.export import check_picture_file, write_picture
    from resight.ingest import Feed, Ingest, parse_duration, parse_time, read_feeds
    from resight.ingest.picture import sheet_rows
    from resight.ingest.video import describe_time
    from resight.training.reporting import duration as in_words

    if sheet is not None:
        check_picture_file(sheet)
    if len(sources) == 1 and sources[0].lower().endswith((".yaml", ".yml")):
        feeds = read_feeds(sources[0])
    else:
        if len(sources) > 1 and (boxes is not None or start is not None):
            raise ResightError("--boxes and --start are of one source: give one, or list the sources in a .yaml file.")
        feeds = [
            Feed(
                source,
                camera,
                None if start is None else parse_time(start),
                None if boxes is None else str(boxes),
                None if detector is None else str(detector),
                None if classes is None else [name.strip() for name in classes.split(",") if name.strip()],
                rate,
                None if duration is None else parse_duration(duration),
            )
            for source in sources
        ]
    with reporter(quiet) as report:
        work = Ingest(
            feeds, to, crops=crops, least_height=min_height, keep=None if keep is None else parse_duration(keep)
        )
        rows = []
        for line in work.lines:
            source = line.source
            size = f"{source.width}×{source.height}, " if source.width else ""
            length = (
                f", {_count(source.frames, 'frame')} ({in_words(source.frames / source.rate)})" if source.frames else ""
            )
            said = (line.feed.start is None and f" by {source.start_from}") or ""
            rows += [
                (line.feed.camera[:10], f"{source.name}: {size}{source.rate:.3g} frames per second{length}"),
                ("", f"begins {describe_time(line.start)} UTC{said}"),
                ("", line.result.about),
            ]
        report.header(f"Ingest {len(feeds)} {'source' if len(feeds) == 1 else 'sources'} into {to}", rows)
        found = work.run(report.progress)
    table = []
    for one in found:
        pace = f"{one.frames / one.seconds:.1f}" if one.seconds and one.frames else ""
        state = "read before" if one.known else str(one.frames)
        table.append([one.camera, one.source, state, pace, str(one.tracks), str(one.crops)])
    print_table(["camera", "source", "frames", "frames/s", "tracks", "crops"], table, words=2)
    for one in found:
        for note in one.notes:
            print_text(f"Note: {note}")
    total = len(work.store.rows)
    if not total:
        print_text("No crop was found. Look at another part of the video, give boxes, or a trained detector.")
        return
    tracks = len({row["track"] for row in work.store.rows})
    cameras = len(work.store.cameras)
    print(f"{to} has {_count(total, 'crop')} of {_count(tracks, 'track')} in {_count(cameras, 'camera')}.")
    if sheet is not None:
        images, titles, captions = sheet_rows(to, work.store.rows)
        write_picture(sheet, contact_sheet(images, titles=titles, captions=captions, scale=1), optimize=True)
        print(f"{sheet} shows {len(images)} of the tracks.")
    print(f"Next: {shell('resight', 'train', '--data', to)}")


class Ending(str, Enum):
    """How tables are written."""

    csv = "csv"
    parquet = "parquet"


def journeys(
    source: Annotated[
        Path,
        typer.Argument(
            parser=given_path,
            metavar="RUN",
            help="A run folder, whose model proposes identities, or a table that 'resight cluster' wrote.",
        ),
    ],
    to: Annotated[
        Path, typer.Option("--to", parser=given_path, metavar="FOLDER", help="Folder to write to.", show_default=False)
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="With a run: settings of its clustering that differ, such as eps=0.5.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            parser=given_path,
            metavar="PATH",
            help="The crops, with cameras and times: a folder that 'resight ingest' made, or a table. With a table of "
            "identities needed only for --boxes and --video.",
            show_default=False,
        ),
    ] = None,
    boxes: Annotated[
        bool,
        typer.Option("--boxes", help="Write MOT text per source with identities in place of tracks, into boxes/."),
    ] = False,
    video: Annotated[
        bool,
        typer.Option("--video", help="Write each source's video with boxes and identities, into video/, and --boxes."),
    ] = False,
    gap: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="A stay ends where its camera saw nothing for longer: 90s, 5min. If not given 30s, or only at another "
            "camera where times are no seconds since 1970.",
            show_default=False,
        ),
    ] = None,
    impossible: Annotated[
        float,
        typer.Option(
            metavar="X",
            help="With a run: multiply the similarity of crops by X, 0 to 1, where nobody comes from camera to camera "
            "in that time, as confident matches have it, and cluster again. 1 is off.",
        ),
    ] = 1.0,
    tables: Annotated[
        Ending, typer.Option(metavar="NAME", help="How tables are written: csv or parquet.")
    ] = Ending.csv,
    tracks: TracksOption = True,
    epoch: EpochOption = None,
    format: FormatOption = "auto",
    flip: FlipOption = None,
    device: DeviceOption = "auto",
    cache: CacheOption = None,
    quiet: QuietOption = False,
) -> None:
    """Say where and when each identity was seen, and how long ways between cameras take.

    Writes journeys.csv (one row per stay), transitions.csv, journeys.png (cameras × time) and, with a run,
    identities.csv.

    Example: **resight journeys runs/first --data sightings/ --to journeys/ --video**
    """
    from resight.cli.tables import print_table, print_text
    from resight.common.checks import number
    from resight.errors import ResightError
    from resight.ingest import parse_duration
    from resight.sentences import TRANSITION_HEAD, counted, transition_rows

    weight = number("--impossible", impossible, least=0, most=1)
    longest = None if gap is None else parse_duration(gap)
    if (boxes or video) and data is None:
        raise ResightError("--boxes and --video need the folder that 'resight ingest' made: name it with --data.")
    said: list[str] = []
    with reporter(quiet) as report:
        from resight.export import write_clusters
        from resight.ingest.annotated import opened_sightings
        from resight.journeys import follow, read_identities, write_boxes, write_journeys

        if data is not None and (boxes or video):
            opened_sightings(data, videos=video)  # before any work is done
        if source.is_file():
            if weight < 1 or settings:
                raise ResightError(
                    f"{source} has identities already: --impossible and settings of the clustering need a run folder."
                )
            found = follow(*read_identities(source), gap=longest)
        else:
            found, said = _propose(
                source, to, data, settings or [], weight, longest, tracks, format, epoch, flip, device, cache, report
            )
            write_clusters(to / f"identities.{tables.value}", found.table, found.labels)
        report.progress("tables and picture", 0, 1)
        write_journeys(to, found, ending=tables.value)
        counts = None
        if boxes or video:
            assert data is not None
            counts = write_boxes(to, found, data, video=video, progress=report.progress)
    for sentence in said:
        print_text(sentence)
    _print_journeys(found)
    if found.transitions:
        rows = transition_rows(found.transitions, found.names, clock=found.clock)
        known = all(move.sure is not None for move in found.moves)
        print_table(TRANSITION_HEAD, rows[:20], title="Times between cameras", words=2)
        print_text(
            "Confident moves are those of which each side is nearest to the other's identity in its camera."
            if known
            else "All moves are counted: a table of identities has no embeddings to tell which are confident."
        )
    if counts:
        where = f"Boxes of {counted(counts['sources'], 'source')} are in {to / 'boxes'}"
        filmed = f", {counts['frames']} frames of video in {to / 'video'}" if video else ""
        print_text(f"{where}{filmed}.")
        if apart := counts["apart"]:
            print_text(f"{apart} tracks share a frame with another of their identity: they have numbers of their own.")
    print(f"Tables and journeys.png are in {to}.")


def _propose(
    run: Path,
    to: Path,
    data: Path | None,
    settings: list[str],
    weight: float,
    gap: float | None,
    tracks: bool,
    format: str,
    epoch: int | None,
    flip: bool | None,
    device: str,
    cache: Path | None,
    report: Reporter,
) -> tuple[Whereabouts, list[str]]:
    """Identities by a run's model, and where they were; and sentences about how they were found."""
    from resight.common.files import make_folder
    from resight.errors import ResightError
    from resight.journeys import check_followed, cluster_possible, follow
    from resight.model import load
    from resight.sentences import describe_tracks
    from resight.training.config import parse_overrides

    if data is None:
        raise ResightError("A run needs crops to follow: name them with --data PATH.")
    changes = {name.rpartition(".")[2]: value for name, value in parse_overrides(settings).items()}
    model = load(run, device, epoch=epoch)
    clustering = model.clustering(None, changes)
    if weight < 1 and clustering.name != "dbscan":
        raise ResightError(
            f"Impossible moves are weighed in the neighbours of dbscan, but {run} clusters by {clustering.name}: leave "
            "--impossible out."
        )
    table = read(data, format)
    check_followed(table)
    make_folder(to)  # before the crops are decoded
    pixels = model.open_cache(table, cache, progress=report.progress)
    features = model.embed_cached(pixels, flip, report.progress)
    report.progress("clustering", 0, 1)
    labels = model.cluster(features, pixels.table, tracks=tracks, **changes)
    found = follow(pixels.table, labels.labels, features, gap=gap)
    said = [f"left out: {path}: {reason}" for path, reason in pixels.unreadable]
    if weight < 1:
        labels, counts = cluster_possible(model, pixels.table, features, found, weight, tracks=tracks, **changes)
        found = follow(pixels.table, labels.labels, features, gap=gap)
        said.append(
            f"Times used in clustering: {counts['weighed']} pairs of near crops, of {counts['camera_pairs']} pairs of "
            f"cameras with enough confident moves, lie closer in time than anybody walks; similarity times {weight:g}."
        )
    said.append(describe_tracks(labels, pixels.table))
    return found, said


def _print_journeys(found: Whereabouts, identities: int = 12, stays: int = 5) -> None:
    """The journeys of some identities, those with the most cameras first."""
    from resight.cli.tables import print_table
    from resight.sentences import counted

    rows = []
    for way in found.journeys[:identities]:
        lines = [
            f"{found.names[camera]}: {found.time(first)} to {found.time(last)[11 if found.clock else 0 :]}"
            for camera, first, last, _ in way.stays[:stays]
        ]
        lines += [f"… and {len(way.stays) - stays} more stays"] if len(way.stays) > stays else []
        rows.append([str(way.cluster), str(len(way.rows)), "\n".join(lines)])
    if len(found.journeys) > identities:
        rows.append([f"… and {len(found.journeys) - identities} more"])
    stay_count = sum(len(way.stays) for way in found.journeys)
    several = sum(len({stay[0] for stay in way.stays}) > 1 for way in found.journeys)
    title = (
        f"{counted(len(found.journeys), 'identity')}, {counted(stay_count, 'stay')} in "
        f"{counted(len(found.names), 'camera')}; {counted(several, 'identity')} in several cameras; "
        f"{counted(int((found.labels < 0).sum()), 'crop')} in none"
    )
    head = ["identity", "crops", "camera: from, to" + (" (UTC)" if found.clock else "")]
    print_table(head, rows, title=title)
