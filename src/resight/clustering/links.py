"""Pairs of crops that must or must not share a cluster, and clusters that obey them.

The pairs are those of constrained clustering (Wagstaff et al., "Constrained k-means clustering with background
knowledge", ICML 2001). Here clusters are found first, by any method, and then changed as little as the pairs ask for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from resight.clustering.search import unit_rows
from resight.common.checks import as_array, instance, integers
from resight.errors import ResightError


def _no_pairs() -> np.ndarray:
    return np.empty((0, 2), np.int64)


@dataclass(frozen=True, eq=False)
class Links:
    """What is known of pairs of crops.

    Attributes:
        must: ``(M, 2)`` int64 indices of crops of one identity.
        cannot: ``(C, 2)`` int64 indices of crops of different identities.

    Raises:
        ResightError: The pairs are not two columns of whole numbers.
    """

    must: np.ndarray = field(default_factory=_no_pairs)
    cannot: np.ndarray = field(default_factory=_no_pairs)

    def __post_init__(self) -> None:
        for name in ("must", "cannot"):
            pairs = as_array(f"The {name}-links", getattr(self, name))
            if not pairs.size:
                pairs = _no_pairs()
            if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
                raise ResightError(
                    f"The {name}-links have shape {pairs.shape} of {pairs.dtype}: give two indices of crops per pair."
                )
            object.__setattr__(self, name, pairs.astype(np.int64))

    def __len__(self) -> int:
        return len(self.must) + len(self.cannot)


def must_components(size: int, must: np.ndarray) -> np.ndarray:
    """``(N,)`` number of the set of crops that must-links join each crop to, directly or by others."""
    ones = np.ones(len(must), np.int8)
    graph = sp.coo_matrix((ones, (must[:, 0], must[:, 1])), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def respect_links(labels: Any, features: Any, links: Links) -> np.ndarray:
    """Changes clusters as little as possible so that they obey all links.

    - Clusters that a must-link connects become one. A crop in no cluster joins the cluster of a crop that it must share
      one with; such crops without a cluster form one.
    - A cluster with a cannot-link inside is divided into as few parts as its cannot-links allow. The crops of
      cannot-links are joined first, the most similar on average before others, unless a cannot-link forbids it. The
      other crops go to the part whose mean they are most similar to.
    - Crops that must-links join stay together. Other clusters stay as they are.

    Args:
        labels: ``(N,)`` integers: cluster numbers from 0, -1 for none.
        features: ``(N, D)`` numbers; L2-normalised here. Or :class:`~resight.clustering.UnitRows`.
        links: The links.

    Returns:
        ``(N,)`` int64 labels without gaps.

    Raises:
        ResightError: An index is out of range, or must-links join two crops of a cannot-link.
    """
    labels = integers("Labels", labels)
    instance("links", links, Links, "Links(must=…, cannot=…) makes them")
    rows = unit_rows(features)
    if len(rows) != len(labels):
        raise ResightError(f"There are {len(labels)} labels, but features of {len(rows)} crops: give a row per crop.")
    for name in ("must", "cannot"):
        pairs = getattr(links, name)
        if pairs.size and not 0 <= pairs.min() <= pairs.max() < len(labels):
            raise ResightError(
                f"The {name}-links have indices from {pairs.min()} to {pairs.max()}, but there are {len(labels)} crops."
            )
    atom = must_components(len(labels), links.must)
    against = atom[links.cannot]
    if (wrong := np.flatnonzero(against[:, 0] == against[:, 1])).size:
        a, b = links.cannot[wrong[0]]
        raise ResightError(
            f"The links contradict each other: the crops {a} and {b} must not share a cluster, and must-links join "
            "them."
        )
    group = _joined(labels, atom)
    split = np.flatnonzero(group[links.cannot[:, 0]] == group[links.cannot[:, 1]])
    new = int(group.max(initial=-1)) + 1
    for broken in np.unique(group[links.cannot[split, 0]]):
        inside = split[group[links.cannot[split, 0]] == broken]
        members = np.flatnonzero(group == broken)
        part = divide(rows.take(members), atom[members], against[inside])
        group[members[part > 0]] = new + part[part > 0] - 1
        new += int(part.max())
    alone = np.bincount(group, minlength=new)[group] == 1
    group[alone & (labels < 0)] = -1
    kept = group >= 0
    _, first, number = np.unique(group[kept], return_index=True, return_inverse=True)
    place = np.empty(len(first), np.int64)
    place[np.argsort(first)] = np.arange(len(first))  # numbered by their first crop
    group[kept] = place[number.reshape(-1)]
    return group


def _joined(labels: np.ndarray, atom: np.ndarray) -> np.ndarray:
    """``(N,)`` groups: clusters and sets of must-linked crops that share a crop are one."""
    node = np.where(labels >= 0, labels, -1)
    clusters = int(labels.max(initial=-1)) + 1
    node[labels < 0] = clusters + np.arange(int((labels < 0).sum()))
    size = int(node.max(initial=-1)) + 1
    graph = sp.coo_matrix((np.ones(len(atom), np.int8), (node, size + atom)), shape=(size + len(atom),) * 2)
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)[node]


def divide(unit: np.ndarray, atom: np.ndarray, against: np.ndarray) -> np.ndarray:
    """Divides a group so that no part holds both sides of a cannot-link.

    Args:
        unit: ``(n, D)`` float32 rows of length 1.
        atom: ``(n,)`` numbers of sets of crops that stay together.
        against: ``(C, 2)`` pairs of such numbers that must be apart, at least one.

    Returns:
        ``(n,)`` parts, from 0; part 0 is the largest.
    """
    numbers, own = np.unique(atom, return_inverse=True)
    own = own.reshape(-1)
    sums = np.zeros((len(numbers), unit.shape[1]))
    np.add.at(sums, own, unit)
    size = np.bincount(own).astype(np.float64)
    seeds = np.unique(np.searchsorted(numbers, against))
    apart = np.zeros((len(seeds), len(seeds)), bool)
    pairs = np.searchsorted(seeds, np.searchsorted(numbers, against))
    apart[pairs[:, 0], pairs[:, 1]] = apart[pairs[:, 1], pairs[:, 0]] = True
    part_of_seed = _average_linkage(sums[seeds], size[seeds], apart)
    part = np.full(len(numbers), -1)
    part[seeds] = part_of_seed
    free = np.flatnonzero(part < 0)
    parts = int(part_of_seed.max()) + 1
    centre = np.stack([sums[part == p].sum(axis=0) / size[part == p].sum() for p in range(parts)])
    for _ in range(3):  # the second time, parts are what they have become
        if len(free):
            part[free] = np.argmax(sums[free] @ centre.T, axis=1)
            centre = np.stack([sums[part == p].sum(axis=0) / size[part == p].sum() for p in range(parts)])
    found = part[own]
    rank = np.empty(parts, np.int64)
    rank[np.argsort(-np.bincount(found, minlength=parts), kind="stable")] = np.arange(parts)
    return rank[found]


def _average_linkage(sums: np.ndarray, size: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """Joins sets by their mean similarity, the largest first, until every two that are left must be apart."""
    similarity = (sums @ sums.T) / np.outer(size, size)
    open_pairs = ~apart
    np.fill_diagonal(open_pairs, False)
    size, part = size.copy(), np.arange(len(size))
    while open_pairs.any():
        a, b = np.unravel_index(np.argmax(np.where(open_pairs, similarity, -np.inf)), similarity.shape)
        merged = (size[a] * similarity[a] + size[b] * similarity[b]) / (size[a] + size[b])
        similarity[a], similarity[:, a] = merged, merged
        open_pairs[a] &= open_pairs[b]
        open_pairs[:, a] = open_pairs[a]
        open_pairs[a, a] = False
        open_pairs[b] = open_pairs[:, b] = False
        size[a] += size[b]
        part[part == b] = a
    return np.unique(part, return_inverse=True)[1].reshape(-1)
