"""What a run and its scores say, as plain text: for the command line and for reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Rates of a ranking, and what each is called in print.
RATES = {"mAP": "mAP", "rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10", "mINP": "mINP"}


def percent(rate: float) -> str:
    """A rate in per cent, with one decimal."""
    return f"{100 * rate:.1f}"


def describe_scores(scores: Mapping[str, Any]) -> str:
    """What scores depend on, in one sentence: the crops, the protocol, and the labels that training used.

    Args:
        scores: Figures of :func:`resight.scoring.evaluate`, with the facts of the run where there is one
            (:meth:`resight.training.run.RunFolder.facts`).
    """
    source, rerank = scores.get("source_in_training"), scores.get("rerank")
    junk = f", {scores['gallery_junk']} of them junk" if scores["gallery_junk"] else ""
    parts = [
        f"epoch {scores['epoch']}" if scores.get("epoch") else "",
        f"{scores['scored_queries']} queries scored, {scores['skipped_queries']} without a right answer skipped",
        f"{scores['gallery_size']} gallery crops{junk}",
        f"AP {scores['ap']}",
        "re-ranked with " + ", ".join(f"{name}={value}" for name, value in rerank.items()) if rerank else "",
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
