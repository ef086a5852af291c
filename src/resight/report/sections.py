"""The sections of one run's report, each from what the run and its crops have; ``None`` where they have nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from resight import charts
from resight.analysis import (
    STAY,
    camera_confusion,
    camera_mixture,
    confidence,
    describe_doubt,
    distance_order,
    journeys,
    moves,
    plane,
    transitions,
)
from resight.crops import GALLERY, JUNK, QUERY, CropTable
from resight.errors import ResightError
from resight.live import standing
from resight.model import times_of
from resight.pictures import heat_map, spread_over
from resight.report.blocks import Block, Cell, Pictures, Section, Strip
from resight.sentences import RATES, TRANSITION_HEAD, counted, describe_scores, percent, transition_rows
from resight.show import camera_name, curve_series, plane_of, tsne_chart
from resight.training.config import setting_origins
from resight.training.reporting import duration
from resight.view import RunView


def scores(seen: RunView, pictures: Pictures) -> Section | None:
    """The figures of the last epoch, and what they depend on."""
    blocks = []
    if seen.scored:
        found = seen.ranking.to_dict() | {"flip": seen.config.embed_flip, "unreadable": len(seen.tested.unreadable)}
        row = [percent(found[name]) for name in RATES]
        blocks.append(
            Block(
                "Rates in per cent; " + describe_scores(found | seen.run.facts(seen.epoch)),
                table=(list(RATES.values()), [row]),
            )
        )
    else:
        blocks.append(
            Block(
                "There are no labelled query and gallery crops, so there is no score. What follows shows what can be "
                "known without labels."
            )
        )
    if (figures := seen.run.read_doubt()) is not None:
        blocks.append(Block(" ".join(describe_doubt(figures, seen.trained_table.camera_names))))
    last = seen.metrics[-1] if seen.metrics else {}
    facts = []
    for name, text in (("clusters", "clusters"), ("outliers", "outliers")):
        if name in last:
            facts.append([text, f"{last[name]:,}"])
    for name, text in (("ari", "ARI of clustered crops"), ("all_ari", "ARI, each outlier alone")):
        if name in last:
            facts.append([text, f"{last[name]:.3f}"])
    if facts:
        blocks.append(Block("Pseudo-labels of the last epoch.", table=(["", "value"], facts)))
    return Section("scores", "Scores", blocks)


def progress(seen: RunView, pictures: Pictures) -> Section | None:
    """What a run that still trains can show: its curves and where it stands, without its crops."""
    now = standing(seen.run)
    pace = "" if now.seconds is None else f", {duration(now.seconds)} each, about {duration(now.left or 0)} left"
    text = f"Epoch {now.epoch} of {now.epochs}{'; the run is finished' if now.finished else pace}."
    drawn = training(seen, pictures, mixture=False)
    return Section("progress", "Progress", [Block(text), *(drawn.blocks if drawn else [])])


def training(seen: RunView, pictures: Pictures, *, mixture: bool = True) -> Section | None:
    """Curves of losses, scores and pseudo-labels by epoch."""
    lines = seen.metrics
    if not lines:
        return None
    drawn: list[str] = []

    def draw(title: str, named: dict[str, str], y: str) -> None:
        series = curve_series({seen.name: lines}, named)
        if any(len(places) > 1 for places, _ in series.values()):  # one value is in the tables
            chart = charts.line_chart(series, title=title, y=y, size=(4.2, 2.7))
            drawn.append(charts.chart_svg(chart, f"{title}: {_ends(series)}"))

    draw("Loss", {name: name for name in ("loss", *_terms(lines[-1]))}, "loss")
    draw("Scores of the test crops", {"test_mAP": "mAP", "test_rank1": "rank-1"}, "fraction of 1")
    draw("Clusters and outliers", {"clusters": "clusters", "outliers": "outliers"}, "number")
    draw("Pseudo-labels against identities", {"all_ari": "ARI, all", "ari": "ARI, clustered"}, "index")
    draw("Learning rate", {"lr": "learning rate"}, "")
    if mixture and (mixed := _mixture(seen)):
        chart = charts.line_chart(mixed, title="Cameras within clusters", y="", size=(4.2, 2.7))
        drawn.append(charts.chart_svg(chart, f"Cameras within clusters: {_ends(mixed)}"))
    return Section("training", "Training", [Block(charts=drawn)])


def _terms(record: dict[str, Any]) -> list[str]:
    """The terms of the loss in an epoch's metrics: they stand between the gradient's norm and the clusters."""
    names = list(record)
    if "gradient_norm" not in names or "clusters" not in names:
        return []
    return names[names.index("gradient_norm") + 1 : names.index("clusters")]


def _ends(series: dict[str, tuple[list[float], list[float]]]) -> str:
    """The first and the last value of each line, in words."""
    return "; ".join(f"{name} from {values[0]:.3g} to {values[-1]:.3g}" for name, (_, values) in series.items())


def _mixture(seen: RunView) -> dict[str, tuple[list[float], list[float]]]:
    """How clusters mix cameras, by epoch; at most 40 epochs are read."""
    epochs = seen.label_epochs
    if not epochs or seen.trained_table.camera is None:
        return {}
    epochs = sorted(
        {epochs[place] for place in np.linspace(0, len(epochs) - 1, min(40, len(epochs))).round().astype(int)}
    )
    found = [camera_mixture(seen.labels_of(epoch), seen.trained_table.camera) for epoch in epochs]
    names = {"one_camera": "share with one camera", "mixture": "mixture (1: as chance)"}
    return {text: ([float(e) for e in epochs], [line[name] for line in found]) for name, text in names.items()}


def cost(seen: RunView, pictures: Pictures) -> Section | None:
    """Parameters, seconds of the stages, memory."""
    encoder = seen.model.encoder
    rows = [
        ["parameters of the encoder", f"{sum(p.numel() for p in encoder.parameters()) / 1e6:.2f} M"],
        ["of its backbone", f"{sum(p.numel() for p in encoder.backbone.parameters()) / 1e6:.2f} M"],
        ["length of an embedding", str(seen.model.dim)],
        ["crops", f"{len(seen.trained_table):,} at {seen.config.encoder.height}×{seen.config.encoder.width} pixels"],
    ]
    timings = seen.run.read_timings()
    stages: dict[str, list[float]] = {}
    for line in timings:
        for name, seconds in line.items():
            stages.setdefault(name, []).append(float(seconds))
    if stages:
        total = sum(map(sum, stages.values()))
        rows.append(["time of all epochs", duration(total)])
        steps = [line["steps"] for line in seen.metrics if isinstance(line.get("steps"), int)]
        iterations = steps[-1] if steps else seen.config.sampling.iterations
        if iterations and "train" in stages:
            rows.append(["per step", f"{np.mean(stages['train']) / iterations:.3f} s"])
    if (peak := seen.run.peak_mib()) is not None:
        rows.append(["most memory held", f"{peak / 1024:.1f} GiB"])
    blocks = [Block(table=(["", ""], rows))]
    if stages:
        chart = charts.bar_chart(
            list(stages), {"seconds": [float(np.mean(values)) for values in stages.values()]},
            title="Mean seconds per epoch", x="s", width=5.2,
        )  # fmt: skip
        said = ", ".join(f"{name} {np.mean(values):.1f}" for name, values in stages.items())
        blocks.append(Block(charts=[charts.chart_svg(chart, f"Mean seconds per epoch: {said}")]))
    return Section("cost", "Cost", blocks)


def ranks(seen: RunView, pictures: Pictures, queries: int = 10, most: int = 12) -> Section | None:
    """Queries of the lowest, middle and highest average precision, each with the crops ranked first."""
    if not seen.scored:
        return None
    table, features, images = seen.tested.table, seen.test_features, seen.tested.images
    assert table.identity is not None
    assert table.split is not None
    found = seen.ranking.queries
    assert found is not None
    asked, gallery = np.flatnonzero(table.split == QUERY), np.flatnonzero(table.split == GALLERY)
    order = np.argsort(found.average_precision, kind="stable")
    strips = []
    for place in spread_over(order, queries):
        query = int(asked[found.query[place]])
        cosines = features[gallery] @ features[query]
        cells = [Cell(pictures.add(images[query]), "query", _seen_by(table, query), f"query, {_words(table, query)}")]
        rank = 0
        for row in gallery[np.argsort(-cosines, kind="stable")]:
            same = table.identity[row] == table.identity[query]
            own = same and table.camera is not None and table.camera[row] == table.camera[query]
            ignored = bool(own or table.identity[row] == JUNK)
            kind = "ignored" if ignored else "right" if same else "wrong"
            rank += not ignored
            said = f"ignored: {'same camera' if own else 'junk'}" if ignored else f"rank {rank}, {kind}"
            caption = _seen_by(table, int(row))
            cells.append(Cell(pictures.add(images[row]), kind, caption, f"{said}, {_words(table, int(row))}"))
            if rank == most or len(cells) > most + 6:
                break
        precision = percent(found.average_precision[place])
        strips.append(Strip(f"identity {_identity(table, query)}, AP {precision} %", cells))
    text = (
        f"Queries from the lowest average precision to the highest of {seen.ranking.scored_queries}, evenly spread. "
        "The first picture is the query. A tick marks a right answer, a cross a wrong one, a dash a crop that "
        "evaluation ignores: junk, or the same identity in the same camera."
    )
    return Section("ranks", "Ranked lists", [Block(text, strips=strips)])


def clusters(seen: RunView, pictures: Pictures, count: int = 12, most: int = 14) -> Section | None:
    """Clusters of all sizes, each by distance from the centre."""
    labels, table = seen.labels, seen.trained
    sizes = np.bincount(labels[labels >= 0]) if (labels >= 0).any() else np.zeros(0, np.int64)
    if not len(sizes):
        return None
    known = table.identity is not None and table.is_person.any()
    chosen = spread_over(np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)], count)
    if known:
        # half of them with the most wrong crops: these are what a person wants to see
        impure = sorted(np.flatnonzero(sizes > 1), key=lambda one: -_impurity(table, labels, int(one)))
        worst = [int(one) for one in impure[: count // 2] if _impurity(table, labels, int(one)) > 0]
        chosen = np.array([*worst, *[one for one in chosen if one not in worst][: count - len(worst)]], np.int64)
    strips = []
    for cluster in chosen:
        inside = np.flatnonzero(labels == cluster)
        order, distance = distance_order(seen.features[inside])
        picked = spread_over(np.arange(len(inside)), most)
        frequent = _frequent(table, inside)
        cells = []
        for place in picked:
            row = int(inside[order[place]])
            kind = "plain"
            if known:
                kind = "ignored" if not table.is_person[row] else "right" if _code(table, row) == frequent else "wrong"
            said = f"{distance[place]:.2f}"
            words = {"right": ", the cluster's identity", "wrong": ", another identity"}.get(kind, "")
            cells.append(
                Cell(pictures.add(seen.images[row]), kind, said, f"distance {said}{words}, {_words(table, row)}")
            )
        share = ""
        if known and frequent is not None:
            mine = np.mean([_code(table, int(row)) == frequent for row in inside])
            share = f", {100 * mine:.0f} % one identity"
        cameras = "" if table.camera is None else f", {counted(len(np.unique(table.camera[inside])), 'camera')}"
        strips.append(Strip(f"cluster {cluster}: {counted(len(inside), 'crop')}{cameras}{share}", cells))
    text = "Crops from the nearest to the cluster's centre to the furthest; distances are 1 minus the cosine."
    if known:
        text += (
            " Half of the clusters are those with the largest share of other identities. A tick marks the cluster's "
            "most frequent identity, a cross another one."
        )
    return Section("clusters", "Clusters by distance from their centre", [Block(text, strips=strips)])


def sureness(seen: RunView, pictures: Pictures, most: int = 24) -> Section | None:
    """Crops that are surest and least sure to be in their cluster; for PPLR, crops of lowest and highest agreement."""
    values = confidence(seen.features, seen.labels)
    known = np.flatnonzero(np.isfinite(values))
    blocks = []
    if len(known) >= 4:
        order = known[np.argsort(values[known], kind="stable")]
        low, high = distinct(order, seen.features, most), distinct(order[::-1], seen.features, most)
        blocks.append(
            Block(
                "Confidence is the cosine to the mean of the own cluster's other crops minus the cosine to the nearest "
                "other cluster. Below 0 a crop lies nearer to another cluster. Nearly equal crops are shown once.",
                strips=[
                    Strip(title, [_valued(seen, pictures, int(row), float(values[row])) for row in rows])
                    for title, rows in (("lowest confidence", low), ("highest confidence", high))
                ],
            )
        )
    kept = seen.run.saved_arrays("agreement") if seen.is_trained_on else {}
    if kept:
        agreement = seen.run.read_array("agreement", max(kept))
        if agreement.ndim == 2 and len(agreement) == len(seen.trained_table):
            strips = []
            for part in range(agreement.shape[1]):
                of_part = agreement[seen.rows, part]
                order = np.argsort(of_part, kind="stable")
                for title, rows in (("lowest", order), ("highest", order[::-1])):
                    picked = distinct(rows, seen.features, most // 2)
                    cells = [_valued(seen, pictures, int(row), float(of_part[row])) for row in picked]
                    strips.append(
                        Strip(f"part {part + 1} of {agreement.shape[1]} from the top, {title} agreement", cells)
                    )
            blocks.append(Block("Agreement of each part's neighbours with those of the whole crop.", strips=strips))
    return Section("confidence", "Lowest and highest confidence", blocks) if blocks else None


def distinct(order: np.ndarray, features: np.ndarray, most: int, alike: float = 0.98) -> np.ndarray:
    """The first crops of an order, without those nearly equal to an earlier one.

    Args:
        order: ``(K,)`` crops.
        features: ``(N, D)`` embeddings of length 1.
        most: How many to take.
        alike: The cosine from which on two crops count as equal.
    """
    taken: list[int] = []
    for row in order[: 40 * most]:
        if not taken or float((features[taken] @ features[row]).max()) < alike:
            taken.append(int(row))
        if len(taken) == most:
            break
    return np.array(taken, np.int64)


def tsne(seen: RunView, pictures: Pictures, groups: int = 15, most: int = 600) -> Section | None:
    """Some identities in the plane, coloured by identity and by camera; each point shows its crop."""
    try:
        points = plane_of(seen, groups=groups, most=most)
    except ResightError:
        return None
    place = plane(points.features)
    thumbs = [pictures.add(image) for image in points.images]
    words = [_words(points.table, row) for row in range(len(points.table))]
    plots = []
    ways = [points.by] + (["camera"] if points.table.camera is not None else [])
    for colour in ways:
        chart = tsne_chart(points, place, colour)
        group = points.table.camera if colour == "camera" else points.group
        assert group is not None
        order = [np.flatnonzero(group == one).tolist() for one in np.unique(group)]
        said = f"t-SNE of {len(points.table)} crops, coloured by {colour}. Arrow keys go from point to point."
        plots.append(
            {
                "svg": charts.chart_svg(chart, said).replace('role="img"', 'role="application" tabindex="0"', 1),
                "data": json.dumps([[[thumbs[row], words[row]] for row in rows] for rows in order]),
            }
        )
    what = (
        "test identities"
        if seen.scored and points.by == "identity"
        else "clusters"
        if points.by == "cluster"
        else "identities"
    )
    text = (
        f"{len(np.unique(points.group))} {what}, those that most cameras saw, by t-SNE (perplexity 30). Point at one, "
        "tap it, or use the arrow keys, to see its crop. Distances between far groups mean little."
    )
    return Section("tsne", "Embeddings in the plane", [Block(text, plots=plots)])


def attention(seen: RunView, pictures: Pictures, crops: int = 12) -> Section | None:
    """Crops and what the model looks at in them."""
    rows = spread_over(np.arange(len(seen.trained)), crops)
    images = seen.images[rows]
    maps = seen.model.attention_maps(images)
    last = {name.split(".")[0]: values for name, values in maps.items() if name != "activation"}
    strips = []
    for place, row in enumerate(rows):
        crop = images[place].transpose(1, 2, 0)
        strength = heat_map(maps["activation"][place], crop.shape)
        over = ((crop.astype(np.uint16) + strength) // 2).astype(np.uint8)
        words = _words(seen.trained, int(row))
        cells = [Cell(pictures.add(crop), caption="crop", alt=words)]
        cells += [
            Cell(pictures.add(picture), caption=text, alt=f"{text} of {words}")
            for text, picture in (("activation", strength), ("laid over", over))
        ]
        for stage, values in last.items():
            low, high = values[place].min(), values[place].max()
            picture = heat_map((values[place] - low) / max(high - low, 1e-12), crop.shape)
            said = f"{stage} {100 * low:.0f}–{100 * high:.0f} %"
            cells.append(Cell(pictures.add(picture), caption=said, alt=f"attention of {said}, {words}"))
        strips.append(Strip("", cells))
    text = (
        "The strength of the last feature map, stretched to each crop: dark blue is its smallest value, yellow its "
        "largest." + (" Behind it the spatial attention at the end of each stage, with its range." if last else "")
    )
    return Section("attention", "What the model looks at", [Block(text, strips=strips)])


def cameras(seen: RunView, pictures: Pictures) -> Section | None:
    """From which cameras the nearest crops come."""
    table, features = (seen.tested.table, seen.test_features) if seen.scored else (seen.trained, seen.features)
    if table.camera is None or len(np.unique(table.camera)) < 2:
        return None
    found = camera_confusion(features, table.camera, table.identity if seen.scored else None)
    names = [camera_name(table, int(one)) for one in found.cameras]
    size = 0.62 if len(names) < 9 else 0.42
    drawn = []
    lines = [("Nearest crops, %", found.share), ("The same by chance, %", found.expected)]
    if seen.scored:
        lines.append(("Right ones among the nearest, %", found.right))
    for title, values in lines:
        chart = charts.heat_chart(
            values, names, title=title, x="camera of the nearest crop", y="camera of the crop", size=size
        )
        diagonal = ", ".join(
            f"{name} {100 * values[k, k]:.0f}" for k, name in enumerate(names) if np.isfinite(values[k, k])
        )
        drawn.append(charts.chart_svg(chart, f"{title}. On the diagonal: {diagonal}"))
    text = (
        "For each crop, its nearest crop, without those of its own identity in its own camera. Where the same camera "
        "is far above chance, the embedding holds the camera's look."
        if seen.scored
        else "For each training crop, its nearest other crop. Crops of one passage are near each other in any case."
    )
    return Section("cameras", "Cameras", [Block(text, charts=drawn)])


def ways(seen: RunView, pictures: Pictures, most: int = 16) -> Section | None:
    """Journeys of clusters through the cameras."""
    table = seen.trained
    if table.camera is None or table.time is None or not table.one_clock or not (seen.labels >= 0).any():
        return None
    begin, until = times_of(table)
    clock = charts.is_clock(begin)
    every = journeys(seen.labels, table.camera, begin, until=until, gap=STAY if clock else None, most=None)
    found = [way for way in every[:most] if len(way.stays) > 1]
    if not found:
        return None
    present = np.unique([stay[0] for way in found for stay in way.stays])
    names = {int(one): camera_name(table, int(one)) for one in present}
    chart = charts.journey_chart(
        {f"cluster {way.cluster}": way.stays for way in found}, names, x="time" if clock else "time in the table"
    )
    strips = []
    for way in found[: most // 2]:
        tracks = table.track
        cells = []
        for row in spread_over(way.rows, 14):
            track = "" if tracks is None or tracks[row] < 0 else f", track {tracks[row]}"
            said = f"{_seen_by(table, int(row))}"
            cells.append(
                Cell(
                    pictures.add(seen.images[row]),
                    caption=said,
                    alt=f"time {table.time[row]:g}{track}, {_words(table, int(row))}",
                )
            )
        strips.append(Strip(f"cluster {way.cluster}: {len(way.rows)} crops, {len(way.stays)} stays", cells))
    text = "Clusters that most cameras saw, by time. Times are compared across cameras as they are in the table."
    learnt = transitions(moves(every, seen.features, table.camera, labels=seen.labels, weight=table.quality))
    named = {int(one): camera_name(table, int(one)) for one in np.unique(table.camera)}
    times = transition_rows(learnt, named, clock=clock)
    between = "Time from camera to camera, from matches in which each side is the other's nearest."
    tables = [Block(between, table=(list(TRANSITION_HEAD), times[:most]))] if times else []
    said = "; ".join(f"cluster {way.cluster} in {len({stay[0] for stay in way.stays})} cameras" for way in found)
    return Section(
        "journeys",
        "Journeys",
        [Block(text, charts=[charts.chart_svg(chart, f"Journeys: {said}")]), *tables, Block(strips=strips)],
    )


def settings(seen: RunView, pictures: Pictures) -> Section | None:
    """Every setting that the method reads, and where its value came from."""
    recipe, found = setting_origins(seen.config)
    words = {"recipe": f"recipe {recipe}", "default": "default", "given": "given"}
    order = {"given": 0, "recipe": 1, "default": 2}
    rows = [
        [one.name, one.value, words[one.origin], one.note]
        for one in sorted(found, key=lambda one: order[one.origin])
    ]  # fmt: skip
    changes = []
    if seen.run.changes_file.exists():
        for line in seen.run.changes_file.read_text(encoding="utf-8").splitlines():
            change = json.loads(line)
            changes += [
                [f"after epoch {change['after_epoch']}", name, str(was), str(now)]
                for name, (was, now) in change["changed"].items()
            ]
    data = seen.run.read_data()
    text = f"Method {seen.config.method.name}, " + (f"recipe {recipe}." if recipe else "no recipe of the package.")
    text += f" Trained on {data.get('crops', '?')} crops of {data.get('root', '?')}."
    blocks = [Block(text, table=(["setting", "value", "from", "note"], rows))]
    if changes:
        blocks.append(
            Block("Changed when the run was resumed.", table=(["when", "setting", "before", "since"], changes))
        )
    return Section("settings", "Settings", blocks, closed=True)


#: The sections of a run in their order, and what is said while each is made.
SECTIONS: dict[str, Callable[[RunView, Pictures], Section | None]] = {
    "scores": scores,
    "curves": training,
    "cost": cost,
    "ranked lists": ranks,
    "clusters": clusters,
    "confidence": sureness,
    "t-SNE": tsne,
    "attention": attention,
    "cameras": cameras,
    "journeys": ways,
    "settings": settings,
}


#: Sections of a run that still trains.
LIVE: dict[str, Callable[[RunView, Pictures], Section | None]] = {"progress": progress}


def _code(table: CropTable, row: int) -> int | None:
    return None if table.identity is None else int(table.identity[row])


def _frequent(table: CropTable, inside: np.ndarray) -> int | None:
    """The most frequent identity of some crops."""
    if table.identity is None:
        return None
    names, counts = np.unique(table.identity[inside[table.is_person[inside]]], return_counts=True)
    return int(names[counts.argmax()]) if len(names) else None


def _impurity(table: CropTable, labels: np.ndarray, cluster: int) -> float:
    """The share of a cluster's crops that are not of its most frequent identity."""
    inside = np.flatnonzero(labels == cluster)
    assert table.identity is not None
    return 1.0 - float((table.identity[inside] == _frequent(table, inside)).mean())


def _identity(table: CropTable, row: int) -> str:
    code = _code(table, row)
    return "?" if code is None else (table.identity_names or {}).get(code, str(code))


def _seen_by(table: CropTable, row: int) -> str:
    return "" if table.camera is None else f"cam {camera_name(table, int(table.camera[row]))}"


def _words(table: CropTable, row: int) -> str:
    """What is known of a crop, for people who cannot see it."""
    known = [] if table.identity is None or not table.is_person[row] else [f"identity {_identity(table, row)}"]
    known += [] if table.camera is None else [f"camera {camera_name(table, int(table.camera[row]))}"]
    return ", ".join(known) or table.paths[row].rsplit("/", 1)[-1]


def _valued(seen: RunView, pictures: Pictures, row: int, value: float) -> Cell:
    said = f"{value:.2f}"
    return Cell(pictures.add(seen.images[row]), caption=said, alt=f"{said}, {_words(seen.trained, row)}")


def facts(seen: RunView) -> dict[str, Any]:
    """What the head of a run's report says."""
    lines = seen.metrics
    return {
        "name": seen.name,
        "path": str(seen.run.path),
        "method": seen.config.method.name,
        "epochs": lines[-1]["epoch"] if lines else 0,
        "planned": seen.config.epochs,
    }
