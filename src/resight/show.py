"""What a run learned, one picture at a time: ranked lists, clusters, attention, t-SNE, curves, cameras.

Each function takes a run folder, or a :class:`~resight.view.RunView` that several calls share, and returns a figure:
a Pillow image where crops are shown in rows, a matplotlib figure where numbers are drawn.

>>> from resight import show
>>> show.tsne("runs/first", colour="camera").savefig("cameras.svg")    # doctest: +SKIP
>>> show.ranks("runs/first").save("ranks.png")                         # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from resight.analysis import camera_confusion, plane
from resight.charts import heat_chart, line_chart, scatter
from resight.common.checks import one_of, shown, whole
from resight.crops import CropTable
from resight.errors import ResightError
from resight.pictures import attention_sheet, cluster_sheet, retrieval_sheet
from resight.view import RunView

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

Run = RunView | str | Path
#: What points of a t-SNE can be coloured by.
COLOURS = ("identity", "camera", "cluster")
#: Curves of :func:`curves` by the name of a group: names in ``metrics.jsonl``, and what each is called.
CURVES: dict[str, dict[str, str]] = {
    "scores": {"test_mAP": "mAP", "test_rank1": "rank-1"},
    "loss": {"loss": "loss"},
    "clusters": {"clusters": "clusters", "outliers": "outliers"},
    "quality": {"all_ari": "ARI, all", "ari": "ARI, clustered", "all_ami": "AMI, all"},
}


def view(run: Run) -> RunView:
    """A view of a run, or the one that is given."""
    return run if isinstance(run, RunView) else RunView(run)


def ranks(run: Run, *, queries: int = 8, shown: int = 10) -> Image.Image:
    """Queries and the gallery crops ranked first for them, right ones framed green with a tick, wrong ones red.

    Args:
        run: The run, with labelled query and gallery crops.
        queries: Queries, of different identities.
        shown: Ranked crops per query.

    Raises:
        ResightError: there are no labels to rank against.
    """
    seen = view(run)
    return retrieval_sheet(
        seen.tested.images, seen.tested.table, seen.test_features, queries=queries, shown=shown
    )  # fmt: skip


def clusters(run: Run, *, clusters: int = 8, shown: int = 12) -> Image.Image:
    """Clusters of the training crops, each by the distance of its crops from the centre.

    Args:
        run: The run.
        clusters: Clusters, spread from the largest to the smallest.
        shown: Crops per cluster, spread from the nearest to the furthest.

    Raises:
        ResightError: there is no cluster.
    """
    seen = view(run)
    return cluster_sheet(seen.images, seen.trained, seen.features, seen.labels, clusters=clusters, shown=shown)


def attention(run: Run, *, crops: int = 8) -> Image.Image:
    """What the model looks at in some crops, spread evenly over those of the run.

    Args:
        run: The run.
        crops: Crops shown.
    """
    seen = view(run)
    rows = np.linspace(0, len(seen.table) - 1, min(whole("crops", crops), len(seen.table))).round().astype(int)
    pixels = seen.open_cache(seen.table.select(rows))
    return attention_sheet(pixels.images, seen.model.attention_maps(pixels.images), pixels.table)


def tsne(run: Run, *, colour: str = "identity", groups: int = 15, most: int = 800, perplexity: float = 30) -> Figure:
    """Embeddings of some identities or clusters in the plane, by t-SNE.

    Args:
        run: The run.
        colour: What points are coloured by: ``identity``, ``camera`` or ``cluster``.
        groups: Identities that are shown (of the test crops, where there are any): those that most cameras saw, then
            those with most crops. Without identities, and for ``cluster``, clusters of the training crops.
        most: Crops shown at most.
        perplexity: As for :func:`resight.analysis.plane`.

    Raises:
        ResightError: identities or cameras are asked for and not known, or there is nothing to show.
    """
    seen = view(run)
    one_of("colour", colour, COLOURS)
    points = plane_of(seen, by="cluster" if colour == "cluster" else "identity", groups=groups, most=most)
    if colour == "identity" and points.table.identity is None:
        raise ResightError(f"The crops of {seen.run.path} have no identities to colour by: choose camera or cluster.")
    place = plane(points.features, perplexity=perplexity)
    return tsne_chart(points, place, colour)


class Points:
    """Crops chosen for a t-SNE.

    Args:
        table: The crops.
        images: Their images.
        features: Their embeddings.
        group: ``(N,)`` the identity or cluster that each was chosen for.
        by: ``identity`` or ``cluster``.
    """

    def __init__(self, table: CropTable, images: np.ndarray, features: np.ndarray, group: np.ndarray, by: str) -> None:
        self.table, self.images, self.features, self.group, self.by = table, images, features, group, by


def plane_of(seen: RunView, *, by: str = "identity", groups: int = 15, most: int = 800) -> Points:
    """The crops of some identities, or of some clusters where identities are not known.

    Args:
        seen: The run.
        by: ``identity`` or ``cluster``.
        groups: How many identities or clusters.
        most: Crops at most; each group keeps its share.
    """
    groups, most = whole("groups", groups), whole("most", most, least=4)
    images: Any
    if by == "identity" and seen.scored:
        table, features, images = seen.tested.table, seen.test_features, seen.tested.images
    else:
        table, features, images = seen.trained, seen.features, seen.images
    if by == "identity" and table.identity is not None and table.is_person.any():
        group = np.where(table.is_person, table.identity, -1)
    else:
        by, group = "cluster", seen.labels
    names = np.unique(group[group >= 0])
    if not len(names):
        raise ResightError(f"{seen.run.path} has no clusters to show: nothing clusters.")
    camera = np.zeros(len(table), np.int64) if table.camera is None else table.camera
    sizes = [(-len(np.unique(camera[group == one])), -int((group == one).sum()), int(one)) for one in names]
    chosen = [one for *_, one in sorted(sizes)[:groups]]
    rows = np.flatnonzero(np.isin(group, chosen))
    if len(rows) > most:
        rows = rows[np.linspace(0, len(rows) - 1, most).round().astype(int)]
    if len(rows) < 4:
        raise ResightError(f"{seen.run.path} has only {len(rows)} crops to show: t-SNE needs at least 4.")
    return Points(table.select(rows), np.asarray(images[rows]), features[rows], group[rows], by)


def tsne_chart(points: Points, place: np.ndarray, colour: str) -> Figure:
    """Points of a t-SNE, coloured by ``identity``, ``cluster`` or ``camera``."""
    if colour == "camera":
        camera = points.table.require("camera", "Colouring by camera")
        names = {int(one): camera_name(points.table, int(one)) for one in np.unique(camera)}
        return scatter(place, camera, names, title="by camera", marks=True, labels=False)
    names = {int(one): str(one) for one in np.unique(points.group)}
    return scatter(place, points.group, names, title=f"by {points.by}")


def camera_name(table: CropTable, camera: int) -> str:
    """The name of a camera, or its number."""
    return (table.camera_names or {}).get(camera, str(camera))


def curves(runs: Run | Sequence[Run], *, group: str = "scores") -> Figure:
    """Metrics of one or several runs by epoch.

    Args:
        runs: The runs.
        group: ``scores`` (mAP and rank-1 of the test crops), ``loss``, ``clusters`` or ``quality`` (how well
            pseudo-labels match identities).

    Raises:
        ResightError: none of the runs has these metrics.
    """
    if isinstance(runs, RunView | str | Path):
        runs = [runs]
    if not isinstance(runs, list | tuple) or not runs:
        raise ResightError(f"Runs are a list of run folders, not {shown(runs)}.")
    views = [view(run) for run in runs]
    named = CURVES[one_of("group", group, list(CURVES))]
    series = curve_series({seen.name: seen.metrics for seen in views}, named)
    if not series:
        raise ResightError(
            f"{', '.join(str(seen.run.path) for seen in views)} has no figures of '{group}' yet: choose another group, "
            "or wait for an epoch that is scored."
        )
    rate = group in ("scores", "quality")
    return line_chart(series, title=group, y="fraction of 1" if rate else ("loss" if group == "loss" else "number"))


def curve_series(
    metrics: dict[str, list[dict[str, Any]]], named: dict[str, str]
) -> dict[str, tuple[list[float], list[float]]]:
    """Epochs and values of some metrics of some runs, by what the line is called."""
    series: dict[str, tuple[list[float], list[float]]] = {}
    for run, lines in metrics.items():
        for name, text in named.items():
            found = [(line["epoch"], line[name]) for line in lines if isinstance(line.get(name), int | float)]
            if found:
                label = text if len(metrics) == 1 else run if len(named) == 1 else f"{run}: {text}"
                series[label] = ([epoch for epoch, _ in found], [value for _, value in found])
    return series


def cameras(run: Run) -> Figure:
    """Which cameras the nearest crops of each camera's crops are from.

    For the test crops, the nearest crop of another camera's or another identity's; without labels, the nearest training
    crop. Rows add up to 100 %.

    Raises:
        ResightError: cameras are not known.
    """
    seen = view(run)
    table, features = (seen.tested.table, seen.test_features) if seen.scored else (seen.trained, seen.features)
    found = camera_confusion(features, table.require("camera", "The picture of cameras"), table.identity)
    return heat_chart(
        found.share, [camera_name(table, int(one)) for one in found.cameras],
        title="Nearest crops, %", x="camera of the nearest crop", y="camera of the crop",
    )  # fmt: skip
