"""Charts of numbers, as matplotlib figures: legible in print, told apart by more than colour.

Each function returns a figure of its own, which no other function changes. :func:`save_chart` writes one to a file;
:func:`chart_svg` makes SVG for a page, whose ink follows the page's text.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from resight.common.checks import as_path, one_of
from resight.common.files import write_aside
from resight.errors import ResightError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Given = ParamSpec("Given")
Drawn = TypeVar("Drawn")

#: Colours that people with any colour vision tell apart (Okabe and Ito 2008, without yellow and black).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
#: Marks and dashes that go with them.
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
#: What stands for the ink of text and the lines of axes in SVG that a page shows.
INK, FAINT = "#1b1f24", "#9aa1a9"
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "svg.fonttype": "none",
    "svg.hashsalt": "resight",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": FAINT,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "savefig.transparent": False,
}
#: Endings of files that :func:`save_chart` writes.
ENDINGS = (".svg", ".png", ".pdf")


def _styled(draw: Callable[Given, Drawn]) -> Callable[Given, Drawn]:
    """A function that draws, in the style of these charts; a sentence where matplotlib is not installed."""

    @functools.wraps(draw)
    def styled(*args: Given.args, **options: Given.kwargs) -> Drawn:
        try:
            from matplotlib import rc_context
        except ImportError as error:
            raise ResightError("Charts need a package that is not installed: pip install 'resight[report]'.") from error
        with rc_context(_STYLE):
            return draw(*args, **options)

    return styled


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure and its axes; the size is in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    return figure, figure.subplots()


def check_chart_file(file: Path) -> None:
    """Raises a sentence, before any work is done, if :func:`save_chart` could not write a file of this name."""
    file = as_path("The chart to write", file)
    if file.suffix.lower() not in ENDINGS:
        raise ResightError(f"Charts are written to a file ending in {' or '.join(ENDINGS)}, not {file.name}.")
    if not file.resolve().parent.is_dir():
        raise ResightError(f"{file} cannot be written: there is no folder {file.resolve().parent}.")
    if file.is_dir():
        raise ResightError(f"{file} cannot be written: it is a folder.")


@_styled
def save_chart(file: Path, figure: Figure) -> None:
    """Writes a chart as the file's ending says: ``.svg``, ``.png`` or ``.pdf``; the same chart gives the same bytes."""
    check_chart_file(file)
    date = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {"Software": None}}[file.suffix.lower()]
    write_aside(file, lambda aside: figure.savefig(aside, dpi=160, metadata=date))


@_styled
def chart_svg(figure: Figure, label: str) -> str:
    """The chart as an SVG element for a page, without a background.

    Text and axes are drawn in the page's ``--ink`` and ``--faint``.

    Args:
        figure: The chart.
        label: What it shows, for people who cannot see it.
    """
    from html import escape

    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for colour, name in ((INK, "ink"), (FAINT, "faint")):
        text = text.replace(colour, f"var(--{name})").replace(colour.upper(), f"var(--{name})")
    # names within one file must differ between the charts of a page
    salt = f"c{blake2b(text.encode(), digest_size=4).hexdigest()}"
    text = re.sub(r'\bid="([^"]+)"', rf'id="{salt}-\1"', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{salt}-", text)
    wide = " wide" if figure.get_figwidth() > 6 else ""
    head = f'<svg class="chart{wide}" role="img" aria-label="{escape(label, quote=True)}" '
    text = re.sub(r"<svg ", head, text, count=1)
    return re.sub(
        r'(<svg [^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg [^>]*?) height="[^"]*"', r"\1", text, count=1), count=1
    )


def _style(place: int) -> dict[str, Any]:
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": MARKS[place % len(MARKS)],
        "linestyle": DASHES[place % len(DASHES)],
    }


@_styled
def line_chart(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    title: str = "",
    x: str = "epoch",
    y: str = "",
    spread: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    logarithmic: bool = False,
    size: tuple[float, float] = (4.6, 3.0),
) -> Figure:
    """Lines over numbers, told apart by colour, dash and mark.

    Args:
        series: Names, each with x and y values; values that are no number leave a gap.
        title: Title.
        x: What the x axis has.
        y: What the y axis has.
        spread: Per name the lowest and highest y values, drawn as a bar.
        logarithmic: Whether the x axis is logarithmic.
        size: Width and height in inches.
    """
    figure, axes = _axes(*size)
    longest = max((len(places) for places, _ in series.values()), default=0)
    for place, (name, (places, values)) in enumerate(series.items()):
        mark = _style(place) | ({} if longest <= 24 else {"marker": None})
        axes.plot(places, values, label=name, markersize=4.5, linewidth=1.6, **mark)
        if spread and name in spread:
            low, high = spread[name]
            axes.vlines(places, low, high, color=COLOURS[place % len(COLOURS)], linewidth=1.2)
    if logarithmic:
        axes.set_xscale("log")
    if len(series) > 1:
        axes.legend(fontsize=8, loc="best")
    _finish(axes, title, x, y)
    if x == "epoch":
        from matplotlib.ticker import MaxNLocator

        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        epochs = [place for places, _ in series.values() for place in places]
        if epochs and max(epochs) - min(epochs) < 1:  # whole numbers only, for a single epoch, too
            axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
    return figure


def _finish(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(True, axis="y")
    axes.set_axisbelow(True)


@_styled
def bar_chart(
    names: Sequence[str],
    values: Mapping[str, Sequence[float]],
    *,
    spread: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    title: str = "",
    x: str = "",
    width: float = 6.2,
) -> Figure:
    """Horizontal bars, one group per name, with the value at the end of each.

    Args:
        names: What the groups are called.
        values: Measures, each with one value per name.
        spread: Per measure the lowest and highest values.
        title: Title.
        x: What the x axis has.
        width: Width in inches.
    """
    figure, axes = _axes(width, 0.7 + len(names) * (0.16 + 0.2 * len(values)))
    step = 0.8 / max(len(values), 1)
    hatches = ("", "///", "...", "xxx")
    for place, (measure, lengths) in enumerate(values.items()):
        at = np.arange(len(names)) + (place - (len(values) - 1) / 2) * step
        numbers = np.asarray(lengths, float)
        axes.barh(
            at, numbers, height=step * 0.92, label=measure, color=COLOURS[place % len(COLOURS)],
            hatch=hatches[place % len(hatches)], edgecolor="white", linewidth=0,
        )  # fmt: skip
        ends = numbers
        if spread and measure in spread:
            low, high = (np.asarray(part, float) for part in spread[measure])
            axes.hlines(at, low, high, color=INK, linewidth=1.2)
            ends = np.maximum(high, numbers)
        for y, end, value in zip(at, ends, numbers, strict=True):
            if np.isfinite(value):
                axes.annotate(
                    f"{value:.3g}", (end, y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8
                )
    axes.set_yticks(np.arange(len(names)), names)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.tick_params(axis="y", length=0)
    if len(values) > 1:
        figure.legend(fontsize=8, loc="outside lower center", ncols=min(len(values), 4))
    axes.set_title(title)
    axes.set_xlabel(x)
    return figure


@_styled
def histogram(
    values: Mapping[str, np.ndarray],
    *,
    bins: int = 40,
    title: str = "",
    x: str = "",
    y: str = "share",
    normal: bool = False,
    whole: bool = False,
    size: tuple[float, float] = (4.6, 3.0),
) -> Figure:
    """Histograms on top of each other.

    Args:
        values: Names, each with its numbers.
        bins: Number of bins.
        title: Title.
        x: What is counted.
        y: What the y axis has.
        normal: Whether to draw, for each, the normal curve of the same mean and variance.
        whole: Whether the numbers are whole: then there is one bin per number.
        size: Width and height in inches.
    """
    figure, axes = _axes(*size)
    every = np.concatenate([np.ravel(part) for part in values.values()]).astype(float)
    low, high = float(every.min()), float(every.max())
    if whole:
        step = max(1, round((high - low + 1) / bins))
        edges = np.arange(low, high + step + 1, step) - 0.5
    else:
        edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    for place, (name, numbers) in enumerate(values.items()):
        numbers = np.ravel(numbers).astype(float)
        colour = COLOURS[place % len(COLOURS)]
        weights = None if normal else np.full(len(numbers), 1 / max(len(numbers), 1))
        axes.hist(numbers, edges.tolist(), weights=weights, density=normal, label=name, color=colour, alpha=0.35)
        axes.hist(
            numbers, edges.tolist(), weights=weights, density=normal, histtype="step", color=colour,
            linestyle=("-", "--", "-.", ":")[place % 4], linewidth=1.4,
        )  # fmt: skip
        if normal:
            mean, deviation = numbers.mean(), max(numbers.std(), 1e-12)
            at = np.linspace(edges[0], edges[-1], 200)
            curve = np.exp(-(((at - mean) / deviation) ** 2) / 2) / (deviation * np.sqrt(2 * np.pi))
            axes.plot(at, curve, color=INK, linewidth=1.4, linestyle="--", label="normal curve" if not place else None)
    if len(values) > 1 or normal:
        axes.legend(fontsize=8)
    _finish(axes, title, x, "density" if normal else y)
    return figure


@_styled
def scatter(
    points: np.ndarray,
    groups: np.ndarray,
    names: Mapping[int, str],
    *,
    title: str = "",
    marks: bool = False,
    labels: bool = True,
    size: tuple[float, float] = (5.0, 4.6),
) -> Figure:
    """Points in the plane, coloured by group.

    Args:
        points: ``(N, 2)`` places.
        groups: ``(N,)`` int64 group of each point.
        names: Name of each group.
        title: Title.
        marks: Whether each group has a mark of its own, with a legend; for a few groups.
        labels: Whether the name of a group stands at the median of its points; for many groups.
        size: Width and height in inches.

    Returns:
        A figure in which the points of group number k, in the order of ``names``, are the collection ``group-k``.
    """
    figure, axes = _axes(*size)
    for place, (group, name) in enumerate(names.items()):
        inside = groups == group
        found = axes.scatter(
            points[inside, 0], points[inside, 1], s=20 if marks else 16, color=COLOURS[place % len(COLOURS)],
            marker=MARKS[place % len(MARKS)] if marks else "o", label=name, alpha=0.8, linewidths=0,
        )  # fmt: skip
        found.set_gid(f"group-{place}")
        if labels and inside.any():
            middle = np.median(points[inside], axis=0)
            axes.annotate(
                name, middle, ha="center", va="center", fontsize=8, fontweight="bold",
                bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.75, "linewidth": 0},
                color="#000000",
            )  # fmt: skip
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_title(title)
    if marks and len(names) > 1:
        figure.legend(fontsize=8, loc="outside lower center", ncols=min(len(names), 4))
    return figure


@_styled
def heat_chart(
    values: np.ndarray,
    names: Sequence[str],
    *,
    title: str = "",
    x: str = "",
    y: str = "",
    size: float = 0.62,
) -> Figure:
    """A square of shares from 0 to 1, each written in its cell in per cent; a cell without a value is empty.

    Args:
        values: ``(C, C)`` shares; NaN for none.
        names: What rows and columns are called.
        title: Title.
        x: What the columns are.
        y: What the rows are.
        size: Inches per cell.
    """
    side = 1.5 + size * len(names)
    figure, axes = _axes(max(side, 3.4), max(side - 0.2, 3.0))
    axes.imshow(np.ma.masked_invalid(values), cmap="cividis", vmin=0, vmax=1, aspect="equal")
    for row, column in np.ndindex(*values.shape):
        share = values[row, column]
        if np.isfinite(share):
            axes.text(
                column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=8,
                color="#000000" if share > 0.5 else "#ffffff",
            )  # fmt: skip
    axes.set_xticks(range(len(names)), names, rotation=0 if max(map(len, names), default=0) < 4 else 45, ha="center")
    axes.set_yticks(range(len(names)), names)
    for edge in axes.spines.values():
        edge.set_visible(False)
    axes.tick_params(length=0)
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure


@_styled
def difference_chart(differences: Mapping[str, Mapping[str, float]], *, title: str = "", x: str = "points") -> Figure:
    """Differences with their intervals, each as a mark on a line, and a line at no difference.

    Args:
        differences: Names, each with ``difference``, ``low`` and ``high`` as fractions.
        title: Title.
        x: What the x axis has.
    """
    figure, axes = _axes(5.2, 1.0 + 0.36 * len(differences))
    axes.axvline(0, color=FAINT, linewidth=1)
    for place, found in enumerate(differences.values()):
        change, low, high = (100 * found[name] for name in ("difference", "low", "high"))
        colour = COLOURS[2] if low > 0 else COLOURS[1] if high < 0 else COLOURS[0]
        axes.plot([low, high], [place, place], color=colour, linewidth=2.4, solid_capstyle="butt")
        axes.plot([change], [place], marker="D", color=colour, markersize=6)
        axes.annotate(
            f"{change:+.1f}", (change, place), xytext=(0, 6), textcoords="offset points", ha="center", fontsize=8
        )
    axes.set_yticks(range(len(differences)), list(differences))
    axes.set_ylim(len(differences) - 0.5, -0.7)
    axes.tick_params(axis="y", length=0)
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.grid(True, axis="x")
    axes.set_axisbelow(True)
    return figure


#: Times above this are seconds since 1970, and are written as dates: 1973 and later.
_CLOCK = 1e8


def is_clock(times: Any) -> bool:
    """Whether times are seconds since 1970 and not frames or seconds of a video: all are above 10⁸ (March 1973)."""
    times = np.asarray(times, np.float64)
    return bool(times.size) and bool((times > _CLOCK).all())


@_styled
def journey_chart(
    ways: Mapping[str, Sequence[tuple[int, float, float, int]]],
    names: Mapping[int, str],
    *,
    by: str = "identity",
    title: str = "",
    x: str = "time",
) -> Figure:
    """Where each of some clusters was seen when, with a bar and a mark per stay in a camera.

    Times that are seconds since 1970 (:func:`is_clock`) are written as dates and times of day, in UTC.

    Args:
        ways: Names, each with stays as :class:`resight.analysis.Journey` has them.
        names: Name of each camera.
        by: ``identity``: a row per cluster, whose colours are cameras. ``camera``: a row per camera, whose lines and
            colours are clusters, with their names beside the first bar of each in a camera.
        title: Title.
        x: What the time is counted in.

    Raises:
        ResightError: ``by`` is another word.
    """
    one_of("The rows of a chart of journeys", by, ("identity", "camera"))
    stays = [stay for way in ways.values() for stay in way]
    dated = is_clock([stay[1] for stay in stays])
    figure, axes = _axes(7.2, 1.3 + (0.3 * len(ways) if by == "identity" else 0.9 * len(names)))
    place = {camera: row for row, camera in enumerate(names)}

    def at(seconds: float) -> Any:
        return np.datetime64(round(1000 * seconds), "ms") if dated else seconds

    if by == "identity":
        _rows_of_clusters(axes, ways, names, place, at)
        rows = list(ways)
    else:
        _rows_of_cameras(axes, ways, place, at)
        rows = list(names.values())
        for row in range(1, len(rows)):
            axes.axhline(row - 0.5, color=FAINT, linewidth=0.6, zorder=0)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - (0.4 if by == "identity" else 0.5), -0.6 if by == "identity" else -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_title(title)
    if dated:
        x = _dated(axes, x, [moment for stay in stays for moment in stay[1:3]])
    axes.set_xlabel(x)
    if by == "identity":
        figure.legend(fontsize=8, loc="outside lower center", ncols=min(6, max(1, len(names))))
    return figure


def _dated(axes: Axes, x: str, times: Sequence[float]) -> str:
    """Writes the times of an axis as times of day, with the date where there are several; returns its title."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, DateFormatter

    locator = AutoDateLocator(maxticks=7)
    axes.xaxis.set_major_locator(locator)
    first, last = (np.datetime64(round(1000 * moment), "ms") for moment in (min(times), max(times)))
    if first.astype("M8[D]") != last.astype("M8[D]"):
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        return f"{x}, UTC"
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M:%S" if max(times) - min(times) < 1800 else "%H:%M"))
    return f"{x} on {first.astype('M8[D]')}, UTC"


def _rows_of_clusters(
    axes: Axes,
    ways: Mapping[str, Sequence[tuple[int, float, float, int]]],
    names: Mapping[int, str],
    place: Mapping[int, int],
    at: Callable[[float], Any],
) -> None:
    shown: set[int] = set()
    for row, stays in enumerate(ways.values()):
        axes.plot([at(stays[0][1]), at(stays[-1][2])], [row, row], color=FAINT, linewidth=0.8, zorder=1)
        for camera, first, last, _ in stays:
            style = _style_of(place[camera])
            label = None if camera in shown else names[camera]
            shown.add(camera)
            axes.plot(
                [at(first), at(last)], [row, row], linewidth=5, solid_capstyle="butt", color=style["color"], zorder=2
            )
            axes.plot([at((first + last) / 2)], [row], linestyle="", markersize=7, label=label, zorder=3, **style)


def _rows_of_cameras(
    axes: Axes,
    ways: Mapping[str, Sequence[tuple[int, float, float, int]]],
    place: Mapping[int, int],
    at: Callable[[float], Any],
) -> None:
    from matplotlib.patheffects import withStroke

    for number, (name, stays) in enumerate(ways.items()):
        style = _style_of(number)
        offset = -0.36 + 0.72 * (number + 0.5) / len(ways)  # each has its height within all rows
        heights = [place[stay[0]] + offset for stay in stays]
        times = [moment for stay in stays for moment in stay[1:3]]
        axes.plot(
            [at(time) for time in times],
            np.repeat(heights, 2),
            linewidth=0.8,
            color=style["color"],
            linestyle=DASHES[number // len(COLOURS) % len(DASHES)],
            zorder=1,
        )
        before = None
        for (camera, first, last, _), height in zip(stays, heights, strict=True):
            axes.plot([at(first), at(last)], [height] * 2, linewidth=4, solid_capstyle="butt", zorder=2, **style,
                      markersize=4)  # fmt: skip
            if camera != before:
                axes.annotate(
                    name, (at(first), height), xytext=(-4, 0), textcoords="offset points", ha="right", va="center",
                    fontsize=7, color=style["color"], path_effects=[withStroke(linewidth=2, foreground="white")],
                )  # fmt: skip
            before = camera


def _style_of(number: int) -> dict[str, Any]:
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKS[number % len(MARKS)]}
