"""The figures of studies, each from finished runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from resight import charts, show
from resight.analysis import distance_order
from resight.crops.sheets import contact_sheet
from resight.errors import ResightError
from resight.export import write_picture
from resight.pictures import heat_map, spread_over
from resight.report.sections import distinct
from resight.show import curve_series
from resight.study.runs import Place, StudyRun
from resight.study.spec import MEASURES, RATES, Figure, Row, Study
from resight.training.run import RunFolder
from resight.view import RunView

if TYPE_CHECKING:
    from resight.study.tables import Results

Look = Callable[[StudyRun, Place], RunView]


def draw(
    figure: Figure, study: Study, results: Results, place: Place, folder: Path, look: Look
) -> list[Path]:  # fmt: skip
    """Draws a figure from the finished rows that it shows.

    Args:
        figure: The figure.
        study: Its study.
        results: What the runs measured.
        place: Where the study runs.
        folder: Where its files go.
        look: Makes a view of a run.

    Returns:
        The files. None where no row that it shows is finished, or none has what it shows.
    """
    rows = [row for row in results.finished if not figure.rows or row.name in figure.rows]
    if not rows:
        return []
    if figure.kind in ("line", "bars", "epochs"):
        made = {"line": _line, "bars": _bars, "epochs": _epochs}[figure.kind](figure, study, results, rows)
        return _saved(folder, figure, made)
    views = {row.name: look(results.runs[row.name][0], place) for row in rows}
    return {
        "crops": _crops,
        "tsne": _tsne,
        "clusters": _clusters,
        "agreement": _agreement,
        "lognormal": _lognormal,
        "attention": _attention,
    }[figure.kind](figure, views, folder)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _saved(folder: Path, figure: Figure, made: dict[str, Any]) -> list[Path]:
    """Writes charts (SVG) and sheets (PNG), by the end of their names."""
    files = []
    for name, one in made.items():
        stem = f"{_slug(figure.name)}-{_slug(name)}".strip("-")
        if hasattr(one, "savefig"):
            files.append(folder / f"{stem}.svg")
            charts.save_chart(files[-1], one)
        else:
            files.append(folder / f"{stem}.png")
            write_picture(files[-1], one, optimize=True)
    return files


def _line(figure: Figure, study: Study, results: Results, rows: list[Row]) -> dict[str, Any]:
    """Measures over the places of rows, a line per series; the paper's beside them."""
    made = {}
    for measure in figure.measures:
        series: dict[str, tuple[list[float], list[float]]] = {}
        spread: dict[str, tuple[list[float], list[float]]] = {}
        placed = sorted((row for row in rows if row.at is not None), key=lambda row: row.at or 0.0)
        for name in dict.fromkeys(row.series for row in placed):
            of = [row for row in placed if row.series == name and results.values(row, measure)]
            values = [results.values(row, measure) for row in of]
            label = name or "here"
            if of:
                series[label] = ([float(row.at or 0) for row in of], [float(np.mean(found)) for found in values])
                spread[label] = ([min(found) for found in values], [max(found) for found in values])
            reported = [row for row in placed if row.series == name and measure in row.paper]
            if reported:
                line = [float(row.at or 0) for row in reported], [row.paper[measure] for row in reported]
                series[f"{name}, paper" if name else "paper"] = line
        if series:
            unit = f"{MEASURES[measure]}, %" if measure in RATES else MEASURES[measure]
            made[measure] = charts.line_chart(
                series, title=study.title, x=figure.x, y=unit, spread=spread, logarithmic=figure.logarithmic,
                size=(5.2, 3.4),
            )  # fmt: skip
    return made


def _bars(figure: Figure, study: Study, results: Results, rows: list[Row]) -> dict[str, Any]:
    measures = [name for name in figure.measures if any(results.values(row, name) for row in rows)]
    values = {
        MEASURES[name]: [float(np.mean(results.values(row, name) or [np.nan])) for row in rows] for name in measures
    }
    spread = {
        MEASURES[name]: (
            [min(results.values(row, name) or [np.nan]) for row in rows],
            [max(results.values(row, name) or [np.nan]) for row in rows],
        )
        for name in measures
    }
    for name in measures:
        if any(name in row.paper for row in rows):
            values[f"{MEASURES[name]}, paper"] = [row.paper.get(name, float("nan")) for row in rows]
    x = "%" if measures and all(name in RATES for name in measures) else ""
    chart = charts.bar_chart([row.name for row in rows], values, spread=spread, title=study.title, x=x)
    return {"": chart} if measures else {}


def _epochs(figure: Figure, study: Study, results: Results, rows: list[Row]) -> dict[str, Any]:
    """Metrics by epoch: a chart per metric with a line per row, or one chart of all metrics for a single row."""
    made: dict[str, Any] = {}
    if len(rows) == 1:
        lines = {rows[0].name: RunFolder(results.runs[rows[0].name][0].folder).read_metrics()}
        series = curve_series(lines, {measure: MEASURES.get(measure, measure) for measure in figure.measures})
        return {"": charts.line_chart(series, title=study.title, y="", size=(4.6, 3.0))} if series else {}
    for measure in figure.measures:
        lines = {row.name: RunFolder(results.runs[row.name][0].folder).read_metrics() for row in rows}
        series = curve_series(lines, {measure: MEASURES.get(measure, measure)})
        if series:
            made[measure] = charts.line_chart(series, title=MEASURES.get(measure, measure), y="", size=(4.6, 3.0))
    return made


def _crops(figure: Figure, views: dict[str, RunView], folder: Path) -> list[Path]:
    """Training crops per identity."""
    counts = {}
    for row, seen in views.items():
        table = seen.table.subset("train")
        if table.identity is not None:
            counts[row] = np.unique(table.identity[table.is_person], return_counts=True)[1]
    if not counts:
        return []
    chart = charts.histogram(
        counts, bins=24, title="Training crops per identity", x="crops", y="share of identities", whole=True
    )
    return _saved(folder, figure, {"": chart})


def _tsne(figure: Figure, views: dict[str, RunView], folder: Path) -> list[Path]:
    """The same identities by t-SNE, a chart per row."""
    made = {}
    for row, seen in views.items():
        chart = show.tsne(seen, groups=18)
        chart.axes[0].set_title(row, loc="left")
        made[row] = chart
    return _saved(folder, figure, made)


def _clusters(figure: Figure, views: dict[str, RunView], folder: Path) -> list[Path]:
    """Clusters sorted by distance to the centre, wrong crops framed; the same crops' clusters in each row.

    The clusters of the first row with the most wrong crops among those of middling size are shown, and below each
    the cluster of another row that has most of its crops.
    """
    rows, frames, titles = [], [], []
    first = next(iter(views.values()))
    table = first.trained
    if table.identity is None:
        return []
    sizes = np.bincount(first.labels[first.labels >= 0]) if (first.labels >= 0).any() else np.zeros(0, int)
    chosen = [
        int(cluster) for cluster in sorted(np.flatnonzero(sizes >= 4), key=lambda one: (-_wrong(first, int(one)), one))
    ][:4]
    for cluster in chosen:
        inside = np.flatnonzero(first.labels == cluster)
        for row, seen in views.items():
            if seen is not first:
                names, counts = np.unique(seen.labels[inside][seen.labels[inside] >= 0], return_counts=True)
                if not len(names):
                    continue
            own = cluster if seen is first else int(names[counts.argmax()])
            mine = np.flatnonzero(seen.labels == own)
            order, _ = distance_order(seen.features[mine])
            picked = mine[order[spread_over(np.arange(len(mine)), 14)]]
            identities, counts = np.unique(table.identity[mine], return_counts=True)
            frequent = identities[counts.argmax()]
            rows.append([np.ascontiguousarray(seen.images[one].transpose(1, 2, 0)) for one in picked])
            frames.append(["right" if table.identity[one] == frequent else "wrong" for one in picked])
            titles.append(f"{row}\ncluster {own}, {len(mine)} crops")
    if not rows:
        return []
    sheet = contact_sheet(rows, titles=titles, frames=frames, scale=96 / first.images.shape[2])
    return _saved(folder, figure, {"": sheet})


def _wrong(seen: RunView, cluster: int) -> float:
    """The number of a cluster's crops that are not of its most frequent identity."""
    assert seen.trained.identity is not None
    identities = seen.trained.identity[seen.labels == cluster]
    return float(len(identities) - np.unique(identities, return_counts=True)[1].max())


def _agreement(figure: Figure, views: dict[str, RunView], folder: Path, most: int = 50) -> list[Path]:
    """Per part the crops of lowest and of highest agreement, nearly equal ones once, and a histogram of all."""
    made: dict[str, Any] = {}
    for row, seen in views.items():
        kept = seen.run.saved_arrays("agreement")
        if not kept:
            continue
        agreement = seen.run.read_array("agreement", max(kept))[seen.rows]
        rows, titles = [], []
        for part in range(agreement.shape[1]):
            order = np.argsort(agreement[:, part], kind="stable")
            for words, ranked in (("lowest", order), ("highest", order[::-1])):
                picked = distinct(ranked, seen.features, most)
                for start in range(0, len(picked), 25):
                    rows.append(
                        [
                            np.ascontiguousarray(seen.images[one].transpose(1, 2, 0))
                            for one in picked[start : start + 25]
                        ]
                    )
                    titles.append(f"part {part + 1}, {words}" if not start else "")
        made[f"{row} crops"] = contact_sheet(rows, titles=titles, scale=72 / seen.images.shape[2])
        made[f"{row} histogram"] = charts.histogram(
            {f"part {part + 1}": agreement[:, part] for part in range(agreement.shape[1])},
            title=row, x="agreement", y="share of crops",
        )  # fmt: skip
    return _saved(folder, figure, made)


def _lognormal(figure: Figure, views: dict[str, RunView], folder: Path) -> list[Path]:
    """Logarithms of the soft multilabels, over all reference identities and for the first, with normal curves.

    The title has the Kolmogorov-Smirnov distance from the normal distribution of the same mean and variance: the
    largest difference of the two distribution functions.
    """
    from scipy.stats import norm

    made = {}
    for row, seen in views.items():
        reference: Any = seen.model.extension
        if not hasattr(reference, "multilabels"):
            raise ResightError(f"{seen.run.path} has no soft multilabels: a figure 'lognormal' needs runs of mar.")
        logs = np.log(np.maximum(reference.multilabels(seen.features).astype(np.float64), 1e-30))
        for name, values in (("all reference identities", logs.ravel()), ("first reference identity", logs[:, 0])):
            ordered = np.sort(values)
            share = np.arange(1, len(ordered) + 1) / len(ordered)
            fitted = norm.cdf(ordered, values.mean(), max(values.std(), 1e-12))
            far = float(np.maximum(np.abs(share - fitted), np.abs(share - 1 / len(ordered) - fitted)).max())
            made[f"{row} {name}"] = charts.histogram(
                {"crops": values}, title=f"{name}: distance {far:.3f}", x="log of the soft multilabel", normal=True
            )
    return _saved(folder, figure, made)


def _attention(figure: Figure, views: dict[str, RunView], folder: Path, crops: int = 10) -> list[Path]:
    """Crops, and for each row what its model looks at, side by side."""
    first = next(iter(views.values()))
    tested = first.scored
    table = first.tested.table if tested else first.trained
    people = np.flatnonzero(table.is_person) if table.is_person.any() else np.arange(len(table))
    chosen = spread_over(people, crops)
    shown: list[list[Any]] = []
    captions: list[list[str | None]] = []
    for place, crop in enumerate(chosen):
        shown.append([])
        captions.append([])
        for row, seen in views.items():
            images = seen.tested.images if tested else seen.images
            image = np.ascontiguousarray(images[int(crop)].transpose(1, 2, 0))
            if not shown[place]:
                shown[place].append(image)
                captions[place].append("crop")
            strength = heat_map(_map(seen, np.asarray(images[int(crop) : int(crop) + 1])), image.shape)
            over = ((image.astype(np.uint16) + strength) // 2).astype(np.uint8)
            shown[place] += [strength, over]
            captions[place] += [row, ""]
    sheet = contact_sheet(shown, captions=captions, scale=128 / first.images.shape[2])
    return _saved(folder, figure, {"": sheet})


def _map(seen: RunView, image: np.ndarray) -> np.ndarray:
    found: np.ndarray = seen.model.attention_maps(image)["activation"][0]
    return found
