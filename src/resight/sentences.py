"""What a run and its scores say, as plain text: for the command line and for reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resight.analysis import Transition
    from resight.clustering import PseudoLabels
    from resight.crops import CropTable

#: Rates of a ranking, and what each is called in print.
RATES = {"mAP": "mAP", "rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10", "mINP": "mINP"}


def percent(rate: float) -> str:
    """A rate in per cent, with one decimal."""
    return f"{100 * rate:.1f}"


def counted(number: int, word: str) -> str:
    """A number with its word, as in ``1 camera`` or ``3 identities``."""
    plural = f"{word[:-1]}ies" if word.endswith("ty") else f"{word}s"
    return f"{number} {word if number == 1 else plural}"


def describe_reranking(rerank: Mapping[str, Any] | None) -> str:
    """How a ranking was re-ranked; empty if it was not."""
    if not rerank:
        return ""
    text = "re-ranked with " + ", ".join(f"{name}={value}" for name, value in rerank.items())
    return f"{text} (camera labels in scoring)" if "intra_k1" in rerank else text


def describe_scores(scores: Mapping[str, Any]) -> str:
    """What scores depend on, in one sentence: the crops, the protocol, and the labels that training used.

    Args:
        scores: Figures of :func:`resight.scoring.evaluate`, with the facts of the run where there is one
            (:meth:`resight.training.run.RunFolder.facts`).
    """
    source, rerank = scores.get("source_in_training"), scores.get("rerank")
    junk = f", {scores['gallery_junk']} of them junk" if scores["gallery_junk"] else ""
    crops = scores.get("unit", "crops")
    parts = [
        f"epoch {scores['epoch']}" if scores.get("epoch") else "",
        f"{scores['scored_queries']} queries scored, {scores['skipped_queries']} without a right answer skipped",
        f"{scores['gallery_size']} gallery {crops}{junk}",
        _described_tracks(scores) if crops == "tracks" else "",
        f"AP {scores['ap']}",
        describe_reranking(rerank),
        f"camera labels in scoring: debias={debias}" if (debias := scores.get("debias", "none")) != "none" else "",
        "mirror images added" if scores.get("flip") else "",
        f"{scores['unreadable']} unreadable crops left out" if scores.get("unreadable") else "",
        "identities in training: yes, this is a supervised model" if scores.get("identity_use_in_training") else "",
        describe_cameras(scores.get("camera_use_in_training") or ()),
        *(describe_start(start) for start in scores.get("started_from") or ()),
        f"labels of another set in training: {source['crops']} crops of {source['people']} identities in "
        f"{source['root']}"
        if source
        else "",
    ]
    return _joined(parts)


def _described_tracks(scores: Mapping[str, Any]) -> str:
    weighed = "weighted by quality" if scores["track_weight"] == "quality" else "all crops alike"
    mixed = f", {scores['mixed_tracks']} tracks with crops of several identities" if scores["mixed_tracks"] else ""
    return f"tracks by the mean of their crops' embeddings, {weighed}{mixed}"


def describe_tracks(labels: PseudoLabels, table: CropTable) -> str:
    """What was done to clusters so that they agree with tracks, in one sentence; empty for crops without tracks.

    Args:
        labels: What :meth:`resight.model.Model.cluster` returned.
        table: The crops.
    """
    if table.track is None:
        return ""
    if "tracks_divided" not in labels.facts:
        return "The crops have tracks, which were not used."
    divided, overlapping = (int(labels.facts[f"tracks_{name}"]) for name in ("divided", "overlapping"))
    return (
        f"Each track has one identity: {counted(divided, 'track')} had crops in several clusters, or some in none, and "
        f"{counted(overlapping, 'pair')} of tracks that overlap in time in one camera shared a cluster."
    )


#: Columns of :func:`transition_rows`.
TRANSITION_HEAD = ("from", "to", "confident", "of", "lower quartile", "median", "upper quartile")


def transition_rows(found: Sequence[Transition], names: Mapping[int, str], *, clock: bool) -> list[list[str]]:
    """Times between cameras as rows of :data:`TRANSITION_HEAD`.

    Args:
        found: The transitions.
        names: Names of the cameras.
        clock: Whether times are seconds; else they are written as plain numbers.
    """

    def said(value: float) -> str:
        return f"{value:.3g}" if not clock else f"{value:.1f} s" if abs(value) < 100 else f"{value / 60:.1f} min"

    return [
        [names[one.start], names[one.end], str(one.count), str(one.moves)]
        + [said(value) for value in (one.lower, one.median, one.upper)]
        for one in found
    ]


def describe_best_epoch(scores: Mapping[str, Any]) -> str:
    """The best epoch in ``evaluation.json`` and why it is not the result; empty if there is none."""
    if not (best := scores.get("best_epoch")):
        return ""
    return (
        f"Best epoch by these same figures, {best['epoch']} (not to be quoted as the result): "
        f"mAP {percent(best['mAP'])}, rank-1 {percent(best['rank1'])}."
    )


def describe_cameras(uses: Sequence[str]) -> str:
    """In which ways training used camera labels."""
    return f"camera labels in training: {', '.join(uses) or 'none'}"


def describe_start(start: Mapping[str, Any]) -> str:
    """Which run the first weights came from, and whether that run used identities."""
    labels = "with identities" if start["identity_use"] else "without identities"
    return f"started from {start['run']}, trained {labels} on {start['root']}"


def describe_model(run: str, method: str, weights: str, facts: Mapping[str, Any]) -> str:
    """How a model came about, in one sentence.

    Args:
        run: Its run folder.
        method: Its method.
        weights: The setting ``encoder.weights``.
        facts: :meth:`resight.training.run.RunFolder.facts` of the run.
    """
    return _joined(
        [
            f"{run}: {method}, epoch {facts['epoch']}",
            *([describe_start(start) for start in facts["started_from"]] or [f"started from weights {weights}"]),
            describe_cameras(facts["camera_use_in_training"]),
            "identities in training: yes" if facts["identity_use_in_training"] else "",
        ]
    )


def describe_transfer(row: Mapping[str, Any], source: str, target: str) -> str:
    """What a row of :func:`resight.transfer.transfer_report` shows.

    Args:
        row: The row.
        source: What the source is called.
        target: What the target is called.
    """
    if row["data"] == "source":
        return source
    return f"{source} to {target}, {'after' if row['adapted'] else 'before'} adaptation"


def describe_difference(difference: Mapping[str, float]) -> str:
    """A difference in per cent points with its interval, as in ``+1.2 (-0.3 to +2.6)``."""
    change, low, high = (f"{100 * difference[name]:+.1f}" for name in ("difference", "low", "high"))
    return f"{change} ({low} to {high})"


def comparison_rows(found: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of what :func:`resight.comparison.compare` returned."""
    head = ["", "runs", "mAP", "rank-1", "difference in mAP", "difference in rank-1"]
    rows = [
        [
            group["name"],
            str(len(group["runs"])),
            percent(group["mAP"]),
            percent(group["rank1"]),
            *(
                ["baseline", "baseline"]
                if group["name"] == found["baseline"]
                else [describe_difference(group[f"{name}_difference"]) for name in ("mAP", "rank1")]
            ),
        ]
        for group in found["groups"]
    ]
    return head, rows


def describe_comparison(found: Mapping[str, Any]) -> str:
    """What the intervals of a comparison mean, in two sentences."""
    rerank = found["rerank"]
    depends = _joined(
        [
            f"{found['scored_queries']} queries scored, {found['skipped_queries']} without a right answer skipped",
            f"{found['gallery_size']} gallery crops",
            f"AP {found['ap']}",
            describe_reranking(rerank),
            *sorted({f"epoch {run['epoch']}" for group in found["groups"] for run in group["runs"]}),
        ]
    )
    grouped = any(len(group["runs"]) > 1 for group in found["groups"])
    several = " Several runs of one name are averaged per query first." if grouped else ""
    return (
        f"{depends}\nDifferences from {found['baseline']} in points, with 95 % intervals: paired bootstrap over "
        f"queries, {found['draws']} draws, seed {found['seed']}. An interval without 0 tells the two apart on these "
        f"queries; how much another seed of training changes is not in it.{several}"
    )


def clustering_rows(quality: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Measures of a clustering as (name, over clustered crops, over all crops with each outlier as its own cluster).

    Args:
        quality: Figures of :func:`resight.clustering.clustering_quality`.
    """
    rows = []
    for key in ("ari", "ami", "fowlkes_mallows", "v_measure", "homogeneity", "completeness"):
        name = key.upper() if len(key) == 3 else key.replace("_", "-")
        rows.append((name, f"{quality[key]:.3f}", f"{quality['all_' + key]:.3f}"))
    return rows


def _joined(parts: Sequence[str]) -> str:
    return "; ".join(part for part in parts if part) + "."
