"""Commands that show what a run learned: ``show``, ``report`` and ``watch``."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resight.cli.options import (
    CacheOption,
    DeviceOption,
    EpochOption,
    FormatOption,
    QuietOption,
    RunArgument,
    SplitOption,
    given_path,
    reporter,
)

if TYPE_CHECKING:
    from resight.training.reporting import Reporter
    from resight.view import RunView

RunsArgument = Annotated[
    list[Path], typer.Argument(parser=given_path, metavar="RUN", help="Run folders made by 'resight train'.")
]
OwnDataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        parser=given_path,
        metavar="PATH",
        help="Crops to show, in any format; those that the run was trained on if not given.",
        show_default=False,
    ),
]
ToPicture = Annotated[
    Path,
    typer.Option("--to", parser=given_path, metavar="FILE", help="Picture to write: .png or .jpg.", show_default=False),
]
ToChart = Annotated[
    Path,
    typer.Option(
        "--to", parser=given_path, metavar="FILE", help="Chart to write: .svg, .png or .pdf.", show_default=False
    ),
]


def _view(
    run: Path,
    data: Path | None,
    format: str,
    train_identities: int | None,
    device: str,
    cache: Path | None,
    report: Reporter,
    epoch: int | None = None,
    crops: int | None = None,
) -> RunView:
    from resight.view import RunView

    seen = RunView(
        run, data, format=format, train_identities=train_identities, epoch=epoch, device=device, cache=cache,
        crops=crops, progress=report.progress,
    )  # fmt: skip
    _ = seen.model  # what is wrong with a run is said before crops are read
    return seen


def _picture(to: Path, quiet: bool, look: Callable[[Reporter], RunView], draw: Callable[[RunView], Any]) -> None:
    """Draws a picture of a run and writes it."""
    with reporter(quiet) as report:
        from resight.export import check_picture_file, write_picture

        check_picture_file(to)
        seen = look(report)
        picture = draw(seen)
        write_picture(to, picture, **({"optimize": True} if to.suffix.lower() == ".png" else {"quality": 90}))
    for path, reason in seen.unreadable.items():
        print(f"left out: {path}: {reason}")
    print(f"{to} is a picture of {picture.width}×{picture.height} pixels.")


def _chart(to: Path, quiet: bool, draw: Callable[[Reporter], Any]) -> None:
    """Draws a chart and writes it."""
    with reporter(quiet) as report:
        from resight.charts import check_chart_file, save_chart

        check_chart_file(to)
        save_chart(to, draw(report))
    print(f"The chart is in {to}.")


def ranks(
    run: RunArgument,
    to: ToPicture,
    data: OwnDataOption = None,
    queries: Annotated[int, typer.Option(min=1, metavar="N", help="Queries, of different identities.")] = 8,
    crops: Annotated[int, typer.Option(min=1, metavar="N", help="Ranked crops per query.")] = 10,
    epoch: EpochOption = None,
    format: FormatOption = "auto",
    train_identities: SplitOption = None,
    device: DeviceOption = "auto",
    cache: CacheOption = None,
    quiet: QuietOption = False,
) -> None:
    """Draw queries and the gallery crops ranked first for them.

    Right answers have a green frame and a tick, wrong ones a red frame and a cross. Crops that evaluation ignores are
    left out.

    Example: **resight show ranks runs/first --to ranks.png**
    """

    def look(report: Reporter) -> RunView:
        return _view(run, data, format, train_identities, device, cache, report, epoch)

    def draw(seen: RunView) -> Any:
        from resight import show as pictures

        return pictures.ranks(seen, queries=queries, shown=crops)

    _picture(to, quiet, look, draw)


def clusters(
    run: RunArgument,
    to: ToPicture,
    data: OwnDataOption = None,
    clusters: Annotated[int, typer.Option(min=1, metavar="N", help="Clusters, from the largest to the smallest.")] = 8,
    crops: Annotated[int, typer.Option(min=1, metavar="N", help="Crops per cluster.")] = 12,
    epoch: EpochOption = None,
    format: FormatOption = "auto",
    train_identities: SplitOption = None,
    device: DeviceOption = "auto",
    cache: CacheOption = None,
    quiet: QuietOption = False,
) -> None:
    """Draw clusters of the training crops, each by the distance of its crops from the centre.

    The clusters are the pseudo-labels of the last epoch. Where identities are known, crops of a cluster's most frequent
    identity have a green frame and a tick, others a red frame and a cross.

    Example: **resight show clusters runs/first --to clusters.png**
    """

    def look(report: Reporter) -> RunView:
        return _view(run, data, format, train_identities, device, cache, report, epoch)

    def draw(seen: RunView) -> Any:
        from resight import show as pictures

        return pictures.clusters(seen, clusters=clusters, shown=crops)

    _picture(to, quiet, look, draw)


def attention(
    run: RunArgument,
    to: ToPicture,
    data: OwnDataOption = None,
    crops: Annotated[int, typer.Option(min=1, metavar="N", help="Crops shown, spread evenly over the data.")] = 8,
    epoch: EpochOption = None,
    format: FormatOption = "auto",
    train_identities: SplitOption = None,
    device: DeviceOption = "auto",
    cache: CacheOption = None,
    quiet: QuietOption = False,
) -> None:
    """Draw what a model looks at in some crops.

    One row per crop: the crop, the strength of its last feature map, that map laid over the crop, and, where the
    encoder has attention, the spatial attention at the end of each stage or behind the backbone.

    Example: **resight show attention runs/first --to maps.png**
    """

    def look(report: Reporter) -> RunView:
        return _view(run, data, format, train_identities, device, cache, report, epoch)

    def draw(seen: RunView) -> Any:
        from resight import show as pictures

        return pictures.attention(seen, crops=crops)

    _picture(to, quiet, look, draw)


class Colour(str, Enum):
    """What the points of a t-SNE are coloured by."""

    identity = "identity"
    camera = "camera"
    cluster = "cluster"


def tsne(
    run: RunArgument,
    to: ToChart,
    data: OwnDataOption = None,
    colour: Annotated[
        Colour, typer.Option("--colour", metavar="NAME", help="Colour by 'identity', 'camera' or 'cluster'.")
    ] = Colour.identity,
    groups: Annotated[int, typer.Option(min=1, metavar="N", help="Identities, or clusters, that are shown.")] = 15,
    crops: Annotated[int, typer.Option(min=4, metavar="N", help="Crops shown at most.")] = 800,
    epoch: EpochOption = None,
    format: FormatOption = "auto",
    train_identities: SplitOption = None,
    device: DeviceOption = "auto",
    cache: CacheOption = None,
    quiet: QuietOption = False,
) -> None:
    """Draw the embeddings of some identities in the plane, by t-SNE.

    The identities are those that most cameras saw: of the test crops, where there are any. Without identities, clusters
    are shown.

    Example: **resight show tsne runs/first --colour camera --to cameras.svg**
    """

    def draw(report: Reporter) -> Any:
        from resight import show as pictures

        seen = _view(run, data, format, train_identities, device, cache, report, epoch)
        return pictures.tsne(seen, colour=colour.value, groups=groups, most=crops)

    _chart(to, quiet, draw)


class Curves(str, Enum):
    """Which metrics are drawn."""

    scores = "scores"
    loss = "loss"
    clusters = "clusters"
    quality = "quality"


def curves(
    runs: RunsArgument,
    to: ToChart,
    group: Annotated[
        Curves,
        typer.Option("--group", metavar="NAME", help="'scores', 'loss', 'clusters', or 'quality' of pseudo-labels."),
    ] = Curves.scores,
    quiet: QuietOption = False,
) -> None:
    """Draw metrics of one or several runs by epoch.

    Example: **resight show curves runs/first runs/second --group loss --to loss.svg**
    """

    def draw(report: Reporter) -> Any:
        from resight import show as pictures

        return pictures.curves(list(runs), group=group.value)

    _chart(to, quiet, draw)


def cameras(
    run: RunArgument,
    to: ToChart,
    data: OwnDataOption = None,
    epoch: EpochOption = None,
    format: FormatOption = "auto",
    train_identities: SplitOption = None,
    device: DeviceOption = "auto",
    cache: CacheOption = None,
    quiet: QuietOption = False,
) -> None:
    """Draw which cameras the nearest crops of each camera's crops are from.

    Example: **resight show cameras runs/first --to cameras.svg**
    """

    def draw(report: Reporter) -> Any:
        from resight import show as pictures

        return pictures.cameras(_view(run, data, format, train_identities, device, cache, report, epoch))

    _chart(to, quiet, draw)


def report(
    runs: RunsArgument,
    to: Annotated[
        Path, typer.Option("--to", parser=given_path, metavar="FILE", help="Page to write: .html.", show_default=False)
    ],
    data: OwnDataOption = None,
    crops: Annotated[
        int,
        typer.Option(
            min=4, max=10**9, metavar="N", help="Training crops embedded at most; of more, whole clusters are drawn."
        ),
    ] = 3000,
    format: FormatOption = "auto",
    train_identities: SplitOption = None,
    device: DeviceOption = "auto",
    cache: CacheOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write a report of one or several runs: one page with pictures, which needs no network.

    It has scores, curves, cost, ranked lists, clusters, the surest and least sure crops, t-SNE, attention, cameras,
    journeys (where times are known) and settings. Runs without labels show what can be known without. Several runs are
    also compared.

    Example: **resight report runs/first --to report.html**
    """
    from resight.errors import ResightError

    with reporter(quiet) as progress:
        from resight.report import check_report_file, write_report

        check_report_file(to)
        views = [_view(run, data, format, train_identities, device, cache, progress, crops=crops) for run in runs]
        if len({view.run.path.resolve() for view in views}) < len(views):
            raise ResightError("A run is named twice: name each run of the report once.")
        write_report(to, views, progress=progress.progress)
    print(f"{to} is a report of {len(views)} run{'s' if len(views) > 1 else ''}, {to.stat().st_size / 2**20:.1f} MiB.")


def watch(
    run: RunArgument,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            parser=given_path,
            metavar="FILE",
            help="Also write a page of curves, .html, anew after each epoch; a browser that shows it loads it again.",
            show_default=False,
        ),
    ] = None,
    every: Annotated[float, typer.Option(min=0.2, max=3600, metavar="SECONDS", help="How often to look.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Say where the run stands, and stop.")] = False,
) -> None:
    """Follow a run that trains elsewhere: epochs, curves, the time left.

    It reads the run folder and does not disturb the run. It ends with the run; Ctrl-C ends it before.

    Example: **resight watch runs/first --to live.html**
    """
    import sys
    import time

    from resight.live import standing
    from resight.training.reporting import describe_epoch
    from resight.training.run import RunFolder

    folder = RunFolder.existing(run)
    if to is not None:
        from resight.report import check_report_file

        check_report_file(to)
    shown, warned = -1, False
    live = None
    if sys.stdout.isatty() and not once:
        from rich.live import Live

        live = Live(refresh_per_second=4, transient=False)
        live.start()
    try:
        while True:
            now = standing(folder)
            if live is not None:
                live.update(_panel(folder.path.name, now))
            else:
                fresh = now.metrics if once else [line for line in now.metrics if line["epoch"] > shown]
                for line in fresh[-20:]:
                    print(describe_epoch(line, now.epochs), flush=True)
                if once or (now.overdue and not warned):
                    print(_standing_sentence(now), flush=True)
                    warned = now.overdue
            if to is not None and now.metrics and now.epoch > shown:
                _write_live(to, folder.path, None if now.finished or once else max(2, round(every)))
            shown = max(shown, now.epoch if now.metrics else -1)
            if now.finished or once:
                break
            time.sleep(every)
    finally:
        if live is not None:
            live.stop()
    if not once:
        print(_standing_sentence(now))
    if to is not None and now.metrics:
        print(f"The page is {to}.")


def _write_live(to: Path, run: Path, refresh: int | None) -> None:
    from resight.report import write_report
    from resight.view import RunView

    write_report(to, [RunView(run)], only=["progress"], refresh=refresh)


def _standing_sentence(now: Any) -> str:
    from resight.training.reporting import duration

    if now.finished:
        return f"Epoch {now.epoch} of {now.epochs}: the run is finished."
    if now.seconds is None:
        return f"No epoch of {now.epochs} is finished yet; the run began {duration(now.silent)} ago."
    text = f"Epoch {now.epoch} of {now.epochs}, {duration(now.seconds)} each: about {duration(now.left)} left."
    if now.overdue:
        text += f" The last epoch ended {duration(now.silent)} ago: the run may have stopped. --resume goes on with it."
    return text


def _panel(name: str, now: Any) -> Any:
    """What a terminal shows of a run."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    from resight.live import sparkline
    from resight.training.reporting import describe_epoch

    curves = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for metric, text in (
        ("loss", "loss"), ("test_mAP", "mAP"), ("test_rank1", "rank-1"), ("clusters", "clusters"),
        ("outliers", "outliers"), ("all_ari", "ARI, all"),
    ):  # fmt: skip
        values = [line[metric] for line in now.metrics if isinstance(line.get(metric), int | float)]
        if values:
            curves.add_row(text, sparkline(values), f"{values[0]:.4g} → {values[-1]:.4g}")
    lines = [Text(describe_epoch(line, now.epochs)) for line in now.metrics[-6:]]
    bar = ProgressBar(total=max(now.epochs, 1), completed=now.epoch, width=40)
    return Group(Text(name, style="bold"), bar, Text(_standing_sentence(now)), curves, *lines)
