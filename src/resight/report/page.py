"""Puts the sections together as one HTML file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resight import charts
from resight.common.checks import as_path, shown
from resight.common.files import write_aside
from resight.common.version import __version__
from resight.comparison import ScoredRun, compare_scores
from resight.crops.cache import Progress
from resight.errors import ResightError
from resight.report.blocks import Block, Pictures, Section
from resight.report.sections import LIVE, SECTIONS, facts
from resight.sentences import comparison_rows, describe_comparison
from resight.show import CURVES, curve_series
from resight.view import RunView


def check_report_file(file: Path) -> None:
    """Raises a sentence, before any work is done, if :func:`write_report` could not write a file of this name."""
    file = as_path("The report to write", file)
    if file.suffix.lower() not in (".html", ".htm"):
        raise ResightError(f"Reports are written to a file ending in .html, not {file.name}.")
    if not file.resolve().parent.is_dir():
        raise ResightError(f"{file} cannot be written: there is no folder {file.resolve().parent}.")
    if file.is_dir():
        raise ResightError(f"{file} cannot be written: it is a folder.")


def write_report(
    file: str | Path,
    runs: Sequence[RunView | str | Path],
    *,
    only: Sequence[str] | None = None,
    refresh: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Writes a report of one or several runs as one HTML file, which needs no other file and no network.

    Args:
        file: The file, ``.html``.
        runs: The runs: folders, or views with other crops than those that they were trained on.
        only: Names of sections to make (:data:`resight.report.sections.SECTIONS`); all that have something to show if
            not given.
        refresh: Seconds after which a browser loads the page again; never if not given.
        progress: Called with the step's name, the parts done and the parts in all.

    Raises:
        ResightError: there is no run, one has no finished epoch, its crops are missing, a package is not installed, or
            the file cannot be written.
    """
    file = as_path("The report to write", file)
    check_report_file(file)
    if isinstance(runs, str | Path | RunView):
        runs = [runs]
    if not isinstance(runs, list | tuple) or not runs:
        raise ResightError(f"A report is of a list of run folders, not of {shown(runs)}.")
    if wrong := [name for name in only or () if name not in SECTIONS | LIVE]:
        raise ResightError(f"There is no section '{wrong[0]}' of a report: choose of {', '.join(SECTIONS)}.")
    views = [run if isinstance(run, RunView) else RunView(run) for run in runs]
    try:
        import jinja2
    except ImportError as error:
        raise ResightError("A report needs a package that is not installed: pip install 'resight[report]'.") from error
    pictures = Pictures()
    pages: list[dict[str, Any]] = []
    names = list(only or SECTIONS)
    for number, seen in enumerate(views):
        made = []
        for place, name in enumerate(names):
            if progress is not None:
                progress(f"report of {seen.name}: {name}", place, len(names) + 1)
            section = (SECTIONS | LIVE)[name](seen, pictures)
            if section is not None:
                made.append(section)
            if progress is not None:
                progress(f"report of {seen.name}: {name}", 1, 1)
        pages.append(facts(seen) | {"anchor": f"run-{number + 1}", "sections": made})
    together = _together(views) if len(views) > 1 else None
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("resight.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    text = environment.get_template("page.html").render(
        title=" · ".join(page["name"] for page in pages),
        runs=pages,
        together=together,
        refresh=refresh,
        version=__version__,
        pictures=json.dumps(pictures.urls),
        sizes=pictures.sizes,
    )
    write_aside(file, lambda aside: aside.write_text(text, encoding="utf-8"))


def _together(views: list[RunView]) -> Section:
    """What is said of several runs: curves in one chart, and differences with intervals where all are scored alike."""
    names = _names(views)
    drawn = []
    for group, named in CURVES.items():
        for metric, text in named.items():
            lines = {name: seen.metrics for name, seen in zip(names, views, strict=True)}
            series = curve_series(lines, {metric: text})
            if len(series) > 1:
                chart = charts.line_chart(series, title=text, y="", size=(4.2, 2.7))
                ends = "; ".join(f"{name} ends at {values[-1]:.3g}" for name, (_, values) in series.items())
                drawn.append(charts.chart_svg(chart, f"{text} of each run, {group}: {ends}"))
    blocks = []
    if all(seen.scored for seen in views):
        paths = [tuple(seen.tested.table.paths) for seen in views]
        if all(path == paths[0] for path in paths):
            blocks += _differences(names, views)
        else:
            blocks.append(Block("The runs were tested on different crops, so their scores are not compared."))
    return Section("comparison", "Comparison", [*blocks, Block(charts=drawn)])


def _names(views: list[RunView]) -> list[str]:
    """What each run is called: its folder's name, and its whole path where two have the same."""
    short = [seen.name for seen in views]
    return [name if short.count(name) == 1 else str(seen.run.path) for name, seen in zip(short, views, strict=True)]


def _differences(names: list[str], views: list[RunView]) -> list[Block]:
    scored = {}
    for name, seen in zip(names, views, strict=True):
        figures = seen.ranking
        assert figures.queries is not None
        record = {"run": str(seen.run.path), "epoch": seen.run.facts(seen.epoch)["epoch"]}
        scored[name] = [ScoredRun(record | {"mAP": figures.mAP, "rank1": figures.rank1}, figures.queries)]
    if len(scored) < 2:
        return []
    found: dict[str, Any] = {
        "baseline": names[0],
        "draws": 10_000,
        "seed": 0,
        "groups": compare_scores(scored, names[0]),
    }
    found |= {
        name: views[0].ranking.to_dict()[name] for name in ("scored_queries", "skipped_queries", "gallery_size", "ap")
    }
    found["rerank"] = None
    head, rows = comparison_rows(found)
    blocks = [Block(describe_comparison(found), table=(head, rows))]
    charts_of = []
    for measure, text in (("mAP", "mAP"), ("rank1", "rank-1")):
        differences = {
            group["name"]: group[f"{measure}_difference"] for group in found["groups"] if group["name"] != names[0]
        }
        chart = charts.difference_chart(differences, title=f"{text} minus that of {names[0]}")
        said = "; ".join(
            f"{name}: {100 * d['difference']:+.1f}, {100 * d['low']:+.1f} to {100 * d['high']:+.1f}"
            for name, d in differences.items()
        )
        charts_of.append(charts.chart_svg(chart, f"Difference in {text}: {said}"))
    return [*blocks, Block(charts=charts_of)]
