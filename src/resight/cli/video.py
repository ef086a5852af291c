"""The command ``ingest``: from videos to crops."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from resight.cli.options import QuietOption, given_path, reporter, shell


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
    print(f"Next: {shell('resight', 'train', 'cluster_contrast', '--data', to)}")
