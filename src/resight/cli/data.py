"""Commands about crops: ``check``, ``synth`` and ``thin``."""

from __future__ import annotations

import shlex
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resight.cli.options import DataOption, FormatOption, QuietOption, SplitOption, given_path, read, reporter, shell

if TYPE_CHECKING:
    from resight.crops import CheckReport, CropTable

#: Share of unreadable crops from which training stops, unless max_unreadable is raised.
MAX_UNREADABLE = 0.01


def check(
    path: Annotated[
        Path,
        typer.Argument(
            parser=given_path, metavar="PATH", help="Folder of crops or of a data set, or a CSV or Parquet table."
        ),
    ],
    format: FormatOption = "auto",
    train_identities: SplitOption = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Files named in each list.")] = 20,
) -> None:
    """Look at crops before training: counts, unreadable files, duplicates, odd shapes, and what to do next.

    Exit status 1 if a file cannot be read.

    Example: **resight check cameras/**
    """
    from resight.cli.tables import print_check, print_text
    from resight.crops import check_crops, remarks

    table = read(path, format, train_identities)
    found = check_crops(table)
    print_check(found, limit=limit)
    for remark in remarks(table, found):
        print_text(f"Note: {remark}")
    print(f"Next: {_next_command(path, format, train_identities, table, found)}")
    if not found.ok:
        raise typer.Exit(1)


def _next_command(path: Path, format: str, train_identities: int | None, table: CropTable, found: CheckReport) -> str:
    """What to type after a check: mend the crops, read them in another way, or train in a way that suits them."""
    import numpy as np

    from resight.crops import TRAIN
    from resight.crops.check import folders_look_like_identities, images_look_like_frames

    where = shlex.quote(str(path))
    read_as = "" if format == "auto" else f" --format {format}"
    if len(found.unreadable) + len(found.zero_size) > MAX_UNREADABLE * found.crops:
        return f"mend or take out the files that cannot be decoded, then resight check {where}{read_as}"
    if format == "auto" and folders_look_like_identities(table):
        return f"resight check {where} --format identities"
    if images_look_like_frames(table, found):
        return f"cut the crops out of the frames, then resight check {where}{read_as}"
    train = table.subset(TRAIN)
    if not len(train):
        return f"resight evaluate RUN --data {where}{read_as}"
    words = f"resight train --data {where}{read_as}"
    if train_identities is not None:
        words += f" --train-identities {train_identities}"
    elif table.split is None and table.identity is not None:
        people = len(np.unique(table.identity[table.is_person]))
        if people > 2:
            words += f" --train-identities {2 * people // 3}"
    return words


class Level(str, Enum):
    """How hard it is to recognise anybody in a synthetic world."""

    easy = "easy"
    medium = "medium"
    hard = "hard"


def _list_knobs(value: bool) -> None:
    if value:
        from resight.cli.tables import print_table
        from resight.synthesis import describe_knobs

        print_table(("setting", "easy", "medium", "hard", "meaning"), describe_knobs())
        raise typer.Exit


def synth(
    out: Annotated[
        Path, typer.Argument(parser=given_path, metavar="OUT", help="The folder to make.", show_default=False)
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="Other settings that differ from the level's; --settings lists all.",
            show_default=False,
        ),
    ] = None,
    identities: Annotated[
        int | None,
        typer.Option(metavar="N", help="People, training and test together: 200, or 20 in videos.", show_default=False),
    ] = None,
    cameras: Annotated[
        int | None, typer.Option(metavar="N", help="Cameras: 6, or 4 with videos.", show_default=False)
    ] = None,
    crops: Annotated[int | None, typer.Option(metavar="N", help="Crops in all: 4000.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Another seed gives another world.")] = 0,
    level: Annotated[
        Level, typer.Option(metavar="NAME", help="How hard it is to recognise anybody: easy, medium or hard.")
    ] = Level.medium,
    video: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Make no crops but a video of this length for each camera: 60s, 5min. Needs the extra 'ingest'.",
            show_default=False,
        ),
    ] = None,
    fps: Annotated[
        float | None, typer.Option(metavar="N", help="Frames per second of videos: 10.", show_default=False)
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="WIDTHxHEIGHT", help="Size of the frames of videos: 640x360.", show_default=False),
    ] = None,
    list_settings: Annotated[
        bool,
        typer.Option("--settings", callback=_list_knobs, is_eager=True, help="List every setting and stop."),
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Make a synthetic data set: crops of people who do not exist, or videos of them.

    The folder has the layout of Market-1501; crops.parquet has everything that is true of each crop. With --video it
    has one video per camera, of the same time, with the true boxes, tracks and identities as MOTChallenge text. The
    same settings give the same files. After a stop the same command goes on.

    Example: **resight synth world --identities 100 --crops 2000 occlusion=0.3**,
    **resight synth station --video 60s --cameras 4**
    """
    from resight.errors import ResightError
    from resight.synthesis import world_config, write_world
    from resight.training.config import parse_overrides

    given = {"identities": identities, "cameras": cameras, "crops": crops, "fps": fps}
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    chosen = {"seed": seed, "level": level.value} | chosen | parse_overrides(settings or [])
    if video is not None:
        _synth_videos(out, video, size, chosen, quiet)
        return
    if fps is not None or size is not None:
        raise ResightError("--fps and --size are of videos: add --video 60s, or leave them out.")
    config = world_config(**chosen)
    with reporter(quiet) as report:
        made = write_world(out, config, progress=report.progress)
    counts = {name: len(made.table.subset(name)) for name in ("train", "query", "gallery")}
    if made.drawn:
        before = f", {made.found} were there before" if made.found else ""
        print(f"{made.drawn} crops were rendered{before}: " + ", ".join(f"{n} {s}" for s, n in counts.items()) + ".")
    else:
        print(f"{out} holds this world already, {made.found} crops: nothing was rendered.")
    print(f"Next: {shell('resight', 'train', '--data', out)}")


def _synth_videos(out: Path, length: str, size: str | None, chosen: dict[str, Any], quiet: bool) -> None:
    """Makes videos instead of crops."""
    import re

    from resight.errors import ResightError
    from resight.ingest import parse_duration
    from resight.synthesis import video_config, write_videos

    if size is not None:
        found = re.fullmatch(r"(\d{1,6})[x×](\d{1,6})", size.strip(), re.ASCII)
        if not found:
            raise ResightError(f"The size of frames is written as 640x360, not '{size}'.")
        chosen |= {"frame_width": int(found[1]), "frame_height": int(found[2])}
    config = video_config(**({"seconds": parse_duration(length)} | chosen))
    with reporter(quiet) as report:
        made = write_videos(out, config, progress=report.progress)
    people = len({track.identity for track in made.tracks})
    cameras = len(made.cameras)
    if made.drawn:
        print(f"{made.drawn} frames were rendered: {cameras} cameras, {people} people, {len(made.tracks)} tracks.")
    else:
        print(f"{out} holds these videos already: nothing was rendered.")
    print(f"Next: {shell('resight', 'ingest', out / 'cameras.yaml', '--to', out / 'sightings')}")


class Thinning(str, Enum):
    """Which crops are left out."""

    unbalanced = "unbalanced"
    balanced = "balanced"


def thin(
    data: DataOption,
    to: Annotated[
        Path,
        typer.Option(
            "--to", parser=given_path, metavar="FILE", help="Table to write: .csv or .parquet.", show_default=False
        ),
    ],
    format: FormatOption = "auto",
    train_identities: SplitOption = None,
    how: Annotated[
        Thinning,
        typer.Option(
            metavar="NAME",
            help="unbalanced: each identity keeps all its crops from a random number of its cameras, from none to all. "
            "balanced: as many crops in all as unbalanced keeps with the same seed, the same share of each identity's "
            "crops in each camera.",
        ),
    ] = Thinning.unbalanced,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Another seed keeps other crops.")] = 0,
) -> None:
    """Leave out training crops, to see how a method copes with identities that are seen unequally often.

    Needs identities and cameras. All query and gallery crops stay. The table can be trained on like any other.

    Example: **resight thin --data market1501-train --train-identities 500 --to unbalanced.csv**
    """
    import numpy as np

    from resight.crops import TRAIN, balanced_subset, unbalanced_subset, write_table

    table = read(data, format, train_identities)
    left = unbalanced_subset(table, seed)
    if how is Thinning.balanced:
        left = balanced_subset(table, int(left.subset(TRAIN).is_person.sum()), seed)
    write_table(left, to)
    train, before = left.subset(TRAIN), table.subset(TRAIN)
    assert train.identity is not None
    _, crops = np.unique(train.identity[train.is_person], return_counts=True)
    spread = f", {crops.min()} to {crops.max()} crops each" if len(crops) else ""
    print(
        f"{len(train)} of {len(before)} training crops are left, of {len(crops)} identities{spread}; the table is in "
        f"{to}."
    )
