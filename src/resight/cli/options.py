"""Arguments and options that several commands share, and what they stand for."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from resight.crops import CropTable
    from resight.training.reporting import Reporter


def given_path(text: str | Path) -> Path:
    """A path of the command line; a sentence where it is empty, which pathlib takes for the current folder."""
    from resight.common.paths import as_path

    return as_path("A path of the command", text)


def given_gallery(text: str | Path) -> str:
    """A gallery of the command line: a folder, or the address of a database, as it was given."""
    return str(text) if "://" in str(text) else str(given_path(text))


DataOption = Annotated[
    Path,
    typer.Option(
        "--data",
        parser=given_path,
        metavar="PATH",
        help="Folder of crops or of a data set, or a CSV or Parquet table.",
        show_default=False,
    ),
]
FormatOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Format of the data: auto, market1501, dukemtmc, msmt17, veri776, cuhk03-np, personx, ward, folder, "
        "identities, sightings, csv or parquet.",
    ),
]
SplitOption = Annotated[
    int | None,
    typer.Option(
        "--train-identities",
        min=1,
        metavar="N",
        help="Divide labelled crops by identity: the first N identities train, the others test.",
        show_default=False,
    ),
]
RunArgument = Annotated[
    Path, typer.Argument(parser=given_path, metavar="RUN", help="A run folder made by 'resight train'.")
]
SettingsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Settings that differ from the recipe's; 'resight recipes METHOD --settings' lists them.",
        show_default=False,
    ),
]
EpochOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Use the weights of an earlier epoch, if training kept them (keep_every); the last epoch's if not given.",
        show_default=False,
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="cpu, cuda, cuda:N (GPU number N), or auto: a GPU if there is one. Apple's MPS is not supported, because "
        "clustering needs float64.",
    ),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        parser=given_path,
        metavar="FOLDER",
        help="Folder for decoded crops; 'pixels' beside the run if not given.",
        show_default=False,
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print plain lines instead of progress bars.")]
SheetOption = Annotated[
    Path | None,
    typer.Option(
        "--sheet",
        metavar="FILE",
        help="Picture to write, .png or .jpg: some clusters of the crops, one per row.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")]
TracksOption = Annotated[
    bool,
    typer.Option(
        "--tracks/--no-tracks",
        help="In a table with tracks: one identity per track, and different ones for tracks of one camera that overlap "
        "in time.",
    ),
]
FlipOption = Annotated[
    bool | None,
    typer.Option(
        "--flip/--no-flip",
        help="Add the embedding of each crop's mirror image.  [default: as in training]",
        show_default=False,
    ),
]


def read(data: Path, format: str, train_identities: int | None = None) -> CropTable:
    """The crops that ``--data``, ``--format`` and ``--train-identities`` name."""
    from resight.crops import read_crops

    return read_crops(data, format, train_identities=train_identities)


def shell(*words: object) -> str:
    """A command as it is typed in a shell."""
    return shlex.join(map(str, words))


def given(options: Mapping[str, object]) -> list[object]:
    """The words of those options whose value is neither None nor ``auto``."""
    return [word for name, value in options.items() if value not in (None, "auto") for word in (name, value)]


def reporter(quiet: bool) -> Reporter:
    """Progress bars on a terminal, plain lines elsewhere or with ``--quiet``; nothing but in the first process."""
    from resight.common.processes import launched_rank
    from resight.training.reporting import BarReporter, LogReporter, Reporter

    if launched_rank() > 0:
        return Reporter()
    return LogReporter() if quiet or not sys.stderr.isatty() else BarReporter()
