"""What is odd about a clustering, in words, and which setting mends it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

Kind = Literal["outliers", "giant", "tiny", "cameras"]

_LEAST_CROPS = 20  # of fewer crops nothing is odd
_OUTLIERS = 0.8  # share of the crops in no cluster
_GIANT = 0.5  # share of the crops in the largest cluster
_TINY = 2.0  # mean crops of a cluster
_ONE_CAMERA = 0.95  # share of a cluster's crops from one camera
_CLUSTERS = 0.9  # share of the clusters that are of one camera


class Remark(NamedTuple):
    """Something odd about a clustering.

    Attributes:
        kind: ``outliers``: nearly all crops are in no cluster; ``giant``: one cluster holds most crops; ``tiny``:
            there are nearly as many clusters as crops; ``cameras``: nearly every cluster is of one camera.
        text: A sentence with the figures.
    """

    kind: Kind
    text: str


def odd_clusters(labels: np.ndarray, camera: np.ndarray | None = None) -> list[Remark]:
    """What is odd about a clustering, the gravest first; empty if nothing is.

    Args:
        labels: ``(N,)`` cluster of each crop, -1 for none.
        camera: ``(N,)`` camera of each crop, if known.
    """
    crops, inside = len(labels), labels >= 0
    if crops < _LEAST_CROPS or not inside.any():
        return []
    remarks = []
    sizes = np.bincount(labels[inside])
    clusters, outliers = len(sizes), crops - int(inside.sum())
    if outliers >= _OUTLIERS * crops:
        text = f"{outliers} of {crops} crops are in no cluster, so only the other {crops - outliers} count."
        remarks.append(Remark("outliers", text))
    if sizes.max() > _GIANT * crops and clusters < crops:
        text = f"One cluster holds {sizes.max()} of {crops} crops: it mixes identities, unless most crops show one."
        remarks.append(Remark("giant", text))
    if not remarks and inside.sum() <= _TINY * clusters:
        text = f"There are {clusters} clusters for {inside.sum()} crops: an identity is split into many clusters."
        remarks.append(Remark("tiny", text))
    if camera is not None and clusters > 1 and len(np.unique(camera)) > 1:
        _, code = np.unique(camera, return_inverse=True)
        counts = np.zeros((clusters, code.max() + 1), np.int64)
        np.add.at(counts, (labels[inside], code[inside]), 1)
        alone = int((counts.max(axis=1) >= _ONE_CAMERA * sizes).sum())
        if alone >= _CLUSTERS * clusters and inside.sum() > _TINY * clusters:
            text = (
                f"{alone} of {clusters} clusters are of a single camera: crops are grouped by camera, unless hardly "
                "any identity was seen by two."
            )
            remarks.append(Remark("cameras", text))
    return remarks


def remedy(kind: Kind, algorithm: str, settings: Mapping[str, Any]) -> tuple[str, Any] | None:
    """The setting of a clustering that mends something odd, and a value to try; None if no setting does.

    Args:
        kind: What is odd.
        algorithm: ``dbscan``, ``two_stage`` or ``bottom_up``.
        settings: The settings that were used, by name, as :mod:`resight.identities` has them.
    """
    if kind == "cameras":
        return None if settings["centre_cameras"] else ("centre_cameras", True)
    if algorithm == "dbscan":
        eps, samples = settings["eps"], settings["min_samples"]
        if eps == "auto":  # the best of all that were tried
            return ("min_samples", 2) if kind == "outliers" and samples > 2 else None
        if kind == "giant":
            return "eps", round(eps - 0.1 if eps > 0.1 else eps / 2, 3)
        if eps < 0.8:
            return "eps", round(min(0.8, eps + 0.1), 3)
        return ("min_samples", 2) if kind == "outliers" and samples > 2 else None
    if kind == "outliers":
        return ("nearest", 2 * settings["nearest"]) if algorithm == "two_stage" else None
    if kind == "giant" and algorithm == "bottom_up":
        return "size_penalty", 3 * settings["size_penalty"] or 0.003
    fewer = kind == "tiny"
    if number := settings.get("clusters"):
        return "clusters", max(2, number // 2) if fewer else 2 * number
    name = "crops_per_cluster" if algorithm == "two_stage" else "crops_per_identity"
    return name, 2 * settings[name] if fewer else max(1.0, settings[name] / 2)
