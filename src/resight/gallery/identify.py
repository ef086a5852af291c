"""Proposed identities: clusters that respect every decision, and identities that keep their numbers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from resight.clustering import Links, NoClusters, respect_links
from resight.clustering.links import must_components
from resight.gallery.decisions import Pairs
from resight.gallery.mirror import Mirror

#: Sightings without an identity are clustered together with this many neighbours of each.
_NEIGHBOURS = 30
#: Share of all sightings from which on all of them are clustered.
_MOST = 0.6
#: Sightings whose similarities are computed at once.
_ROWS = 8192

#: Clusters ``(n, D)`` features of crops with ``(n,)`` cameras: labels, -1 for none.
Cluster = Callable[[np.ndarray, "np.ndarray | None"], np.ndarray]


@dataclass(frozen=True)
class Proposal:
    """Which identity each sighting would get.

    Attributes:
        moves: ``(sighting, identity before, identity after)`` of each sighting that changes. Identities are ids, 0 for
            none, and -1, -2, … for new ones.
        new: Number of new identities.
        clustered: Sightings that were clustered.
        without: Sightings that get no identity.
        note: A sentence about the clustering, if something is odd.
    """

    moves: list[tuple[int, int, int]]
    new: int
    clustered: int
    without: int
    note: str = ""


def links_of(mirror: Mirror, pairs: Pairs, rows: np.ndarray) -> Links:
    """Links among some sightings, from decisions and from tracks.

    The sightings of a track are one identity, unless decisions say otherwise of two of them, directly or by other
    links: then the track says nothing.

    Args:
        mirror: The sightings.
        pairs: The decisions' pairs.
        rows: ``(n,)`` ascending places of the sightings; the links count these.
    """
    at = np.full(len(mirror), -1, np.int64)
    at[rows] = np.arange(len(rows))

    def inside(given: Sequence[tuple[int, int]]) -> np.ndarray:
        if not given:
            return np.empty((0, 2), np.int64)
        place = mirror.places(np.array(given, np.int64).ravel()).reshape(-1, 2)
        known = (place >= 0).all(axis=1)
        found = at[place[known]]
        return found[(found >= 0).all(axis=1)]

    must, cannot = inside(pairs.must), inside(pairs.cannot)
    track = mirror.track[rows]
    order = np.argsort(track, kind="stable")
    order = order[track[order] >= 0]
    same = track[order[1:]] == track[order[:-1]]
    chains = np.stack([order[:-1][same], order[1:][same]], axis=1)
    if len(chains) and len(cannot):
        component = must_components(len(rows), np.concatenate([must, chains]))
        wrong = component[cannot[:, 0]]
        wrong = wrong[wrong == component[cannot[:, 1]]]
        chains = chains[~np.isin(component[chains[:, 0]], wrong)]
    return Links(np.concatenate([must, chains]), cannot)


def propose(mirror: Mirror, pairs: Pairs, cluster: Cluster, *, again: bool = False) -> Proposal:
    """Proposes identities.

    Sightings that have an identity keep it, and those without join an identity or form a new one. For this they are
    clustered together with their neighbours' identities. In a cluster with sightings of several identities, a new one
    joins the identity that it is most similar to on average, unless a decision forbids it.

    Args:
        mirror: The sightings.
        pairs: What the decisions say.
        cluster: Clusters features.
        again: Whether to cluster all sightings anew. A cluster then is the identity that most of its sightings had.
    """
    visible = ~mirror.hidden
    old = np.where(visible, mirror.identity, 0)
    first = again or not (old > 0).any()
    rows = np.flatnonzero(visible) if first else _neighbourhood(mirror, visible)
    if not len(rows):
        return Proposal([], 0, 0, 0)
    features = mirror.vectors.take(rows)
    camera = mirror.camera[rows] if (mirror.camera[rows] >= 0).any() else None
    note = ""
    try:
        labels = cluster(features, camera)
    except NoClusters as error:
        labels, note = np.full(len(rows), -1), str(error)
    links = links_of(mirror, pairs, rows)
    labels = respect_links(labels, features, links)
    assign = _match if first else _join
    identity, new = assign(labels, old[rows], features, links)
    changed = np.flatnonzero(identity != old[rows])
    moves = [(int(mirror.ids[rows[place]]), int(old[rows[place]]), int(identity[place])) for place in changed.tolist()]
    after = old.copy()
    after[rows] = identity
    return Proposal(moves, new, len(rows), int((after[visible] == 0).sum()), note)


def _neighbourhood(mirror: Mirror, visible: np.ndarray) -> np.ndarray:
    """Sightings without an identity, their nearest neighbours, and these neighbours' identities."""
    new = np.flatnonzero(visible & (mirror.identity == 0))
    if not len(new):
        return new
    if len(new) > _MOST * visible.sum():
        return np.flatnonzero(visible)
    near = mirror.vectors.neighbours(new, _NEIGHBOURS, visible)
    chosen = np.zeros(len(mirror), bool)
    chosen[new] = chosen[near.ravel()] = True
    touched = np.unique(mirror.identity[near.ravel()])
    chosen |= np.isin(mirror.identity, touched[touched > 0]) & visible
    rows = np.flatnonzero(chosen & visible)
    return np.flatnonzero(visible) if len(rows) > _MOST * visible.sum() else rows


def _match(labels: np.ndarray, old: np.ndarray, features: np.ndarray, links: Links) -> tuple[np.ndarray, int]:
    """Identities of clusters: that with the most sightings in common, one cluster per identity; else new ones."""
    both = np.flatnonzero((labels >= 0) & (old > 0))
    common = Counter(zip(labels[both].tolist(), old[both].tolist(), strict=True))
    taken: dict[int, int] = {}
    used: set[int] = set()
    for (label, identity), _ in sorted(common.items(), key=lambda item: (-item[1], item[0][1], item[0][0])):
        if label not in taken and identity not in used:
            taken[label] = identity
            used.add(identity)
    new = 0
    for label in range(int(labels.max(initial=-1)) + 1):
        if label not in taken:
            new += 1
            taken[label] = -new
    return np.array([0 if label < 0 else taken[label] for label in labels.tolist()], np.int64), new


def _join(labels: np.ndarray, old: np.ndarray, features: np.ndarray, links: Links) -> tuple[np.ndarray, int]:
    """Old identities stay; sightings without one join an identity of their cluster, or are a new one together."""
    identity, new = old.copy(), 0
    against: dict[int, list[int]] = defaultdict(list)
    for a, b in links.cannot.tolist():
        against[a].append(b)
        against[b].append(a)
    atom = must_components(len(labels), links.must)
    of_atom: dict[int, list[int]] = defaultdict(list)
    for row, number in enumerate(atom.tolist()):
        of_atom[number].append(row)
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(int(labels.max(initial=-1)) + 2))
    for label in range(len(bounds) - 1):
        members = order[bounds[label] : bounds[label + 1]]
        free = [row for row in members.tolist() if old[row] == 0]
        if not free:
            continue
        known = members[old[members] > 0]
        present = np.unique(old[known])
        left: list[int] = []
        centres = (
            np.stack([features[known[old[known] == one]].mean(axis=0) for one in present]) if len(present) else None
        )
        for number in dict.fromkeys(atom[free].tolist()):
            own = of_atom[number]
            rows = [row for row in own if old[row] == 0]
            votes = Counter(old[row] for row in own if old[row] > 0)
            if centres is None:
                left += rows
                continue
            similar = centres @ features[rows].mean(axis=0)
            choice = [one for one, _ in votes.most_common()] + present[np.argsort(-similar, kind="stable")].tolist()
            forbidden = {identity[other] for row in rows for other in against[row]}
            chosen = next((one for one in choice if one not in forbidden), None)
            if chosen is None:
                left += rows
            else:
                identity[rows] = chosen
        if left:  # a cluster holds no two sightings that must be apart
            new += 1
            identity[left] = -new
    return identity, new


def most_similar(mirror: Mirror, pairs: Pairs, identity: int, count: int) -> list[tuple[int, float]]:
    """The visible identities with the largest mean similarity to one over all pairs of sightings.

    Args:
        mirror: The sightings.
        pairs: The decisions' pairs; identities that they say are different from this one are left out.
        identity: The identity.
        count: Identities at most.

    Returns:
        ``(identity, similarity)``, the most similar first, then by number.
    """
    own = np.flatnonzero(mirror.identity == identity)
    others = np.flatnonzero((mirror.identity > 0) & (mirror.identity != identity) & ~mirror.hidden)
    if not len(own) or not len(others):
        return []
    centre = mirror.comparable(own).mean(axis=0)
    numbers, place = np.unique(mirror.identity[others], return_inverse=True)
    total = np.zeros(len(numbers))
    for start in range(0, len(others), _ROWS):
        part = slice(start, start + _ROWS)
        total += np.bincount(place[part], mirror.comparable(others[part]) @ centre, len(numbers))
    similarity = total / np.bincount(place, minlength=len(numbers))
    at = mirror.places(np.array(pairs.cannot, np.int64).reshape(-1, 2).ravel()).reshape(-1, 2)
    apart = mirror.identity[at[(at >= 0).all(axis=1)]]
    apart = np.concatenate([apart[apart[:, 0] == identity, 1], apart[apart[:, 1] == identity, 0]])
    order = np.argsort(-similarity, kind="stable")
    order = order[~np.isin(numbers[order], apart)][:count]
    return [(int(numbers[one]), float(similarity[one])) for one in order]


def describe(proposal: Proposal, numbers: Sequence[int]) -> dict[str, Any]:
    """What a proposal changes, as plain figures.

    Args:
        proposal: The proposal.
        numbers: Ids of its new identities, in the order -1, -2, ….
    """
    real = [(s, b, a if a >= 0 else numbers[-a - 1]) for s, b, a in proposal.moves]
    joined: dict[int, list[int]] = defaultdict(list)
    left: dict[int, list[int]] = defaultdict(list)
    for sighting, before, after in real:
        if after:
            joined[after].append(sighting)
        if before:
            left[before].append(sighting)
    return {
        "clustered": proposal.clustered,
        "new_identities": sorted(numbers),
        "joined": {str(one): joined[one] for one in sorted(joined)},
        "left": {str(one): left[one] for one in sorted(left)},
        "moved": sum(1 for _, before, after in real if before and after),
        "without_identity": proposal.without,
        "note": proposal.note,
    }
