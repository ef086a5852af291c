"""What is most worth asking: pairs of groups that may be one identity, and groups that may be several.

A question is about two sightings, a and b. Where they are of two groups, the answer "same" joins the groups. Where
they are of one group, the answer "different" divides it. Questions are ordered by expected gain: the number of pairs of
sightings that the answer would put right, times the probability that it does. With m and n sightings on the two sides
that is

    m · n · p          for two groups that are one identity with probability p,
    m · n · (1 − p)    for two halves of a group.

p = σ(slope · (s − line)), where s is the mean similarity of the sightings of both sides. Slope and line start with what
the groups look like and are fitted to the answers by logistic regression.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

from resight.clustering.links import divide, must_components

#: Candidates kept for each group: the nearest other groups.
_NEAREST = 6
#: Slope of the logistic curve before there are answers, per unit of cosine similarity.
_SLOPE = 18.0
#: How much the first slope and line count, in answers.
_PRIOR = 4.0
#: Answers after which slope and line are fitted anew.
_EVERY = 5
#: Groups of at most this size are divided by average linkage.
_TREE = 1500

Order = Literal["gain", "size", "random"]


@dataclass(frozen=True)
class Asked:
    """One question.

    Attributes:
        a: Place of a sighting.
        b: Place of another.
        kind: ``merge`` (two groups: are they one?) or ``split`` (one group: are these two one?).
        sides: Places of the sightings on a's and on b's side.
        similarity: Mean similarity of the sightings of both sides.
        probability: Estimated probability that a and b are one identity.
        gain: Expected number of pairs that the answer puts right.
    """

    a: int
    b: int
    kind: Literal["merge", "split"]
    sides: tuple[np.ndarray, np.ndarray]
    similarity: float
    probability: float
    gain: float


class Queue:
    """Questions about groups of sightings, the most worthwhile first.

    Args:
        unit: ``(N, D)`` float32 embeddings of length 1.
        group: ``(N,)`` integers: equal for sightings of one group, negative for sightings in none.
        cannot: ``(C, 2)`` places of sightings that are different.
        must: ``(M, 2)`` places of sightings that are one identity.
        skipped: ``(K, 2)`` places of sightings that were asked about and left open.
        order: By expected gain, by the size of the larger group, or at random; for comparisons.
        seed: Seed of the random order.
        line: The similarity at which p is ½ before there are answers; estimated from the groups if not given.
    """

    def __init__(
        self,
        unit: np.ndarray,
        group: np.ndarray,
        *,
        cannot: np.ndarray | None = None,
        must: np.ndarray | None = None,
        skipped: np.ndarray | None = None,
        order: Order = "gain",
        seed: int = 0,
        line: float | None = None,
    ) -> None:
        self._unit, self._order = unit, order
        self._rng = np.random.default_rng(seed)
        alone = np.flatnonzero(group < 0)
        number = group.astype(np.int64, copy=True)
        number[alone] = number.max(initial=-1) + 1 + np.arange(len(alone))
        self.group = np.unique(number, return_inverse=True)[1].reshape(-1)
        groups = int(self.group.max(initial=-1)) + 1
        sort = np.argsort(self.group, kind="stable")
        bounds = np.searchsorted(self.group[sort], np.arange(groups + 1))
        self._members = [sort[bounds[g] : bounds[g + 1]] for g in range(groups)]
        self._sum = np.zeros((max(groups, 1) + 64, unit.shape[1]), np.float32)
        for g, inside in enumerate(self._members):
            self._sum[g] = unit[inside].sum(axis=0)
        self._alive = [True] * groups
        self._joined: dict[int, set[tuple[int, int]]] = {}  # pairs of one identity, by either sighting
        self._cannot: set[tuple[int, int]] = set()  # pairs that are different, or were left open
        self._against: dict[int, set[int]] = {}  # the same by sighting
        for a, b in () if must is None else must.tolist():
            self._join((min(a, b), max(a, b)))
        for pairs in (cannot, skipped):
            for a, b in () if pairs is None else pairs.tolist():
                self._forbid((min(a, b), max(a, b)))
        self._a: list[int] = []
        self._b: list[int] = []
        self._kind: list[bool] = []  # whether it is a split; then _b indexes _halves
        self._halves: list[tuple[np.ndarray, np.ndarray]] = []
        self._s: list[float] = []
        self._w: list[float] = []
        self._open: list[bool] = []
        self._of_group: list[set[int]] = [set() for _ in range(groups)]
        self._answers: list[tuple[float, bool]] = []
        self._first = (_SLOPE, self._guess_line() if line is None else line)
        self.slope, self.line = self._first
        self._fill()

    # ── candidates ──

    def _guess_line(self) -> float:
        """Between the similarity of halves of groups and that of nearest groups."""
        groups = [g for g, inside in enumerate(self._members) if len(inside) >= 2]
        if not groups:
            return 0.5
        chosen = groups if len(groups) <= 2000 else self._rng.choice(groups, 2000, replace=False).tolist()
        size = np.array([len(self._members[g]) for g in chosen])
        inside = ((self._sum[chosen] ** 2).sum(axis=1) - size) / (size * (size - 1))
        across = (self._sum[chosen] @ self._sum[chosen].T) / np.outer(size, size)
        np.fill_diagonal(across, -1)
        return float((np.median(inside) + np.median(across.max(axis=1))) / 2)

    def _fill(self) -> None:
        groups = len(self._members)
        size = np.array([len(inside) for inside in self._members], np.float32)
        mean = self._sum[:groups] / np.maximum(size, 1)[:, None]
        count = min(_NEAREST + 1, groups)
        seen: set[tuple[int, int]] = set()
        for start in range(0, groups, 1024):
            near = mean[start : start + 1024] @ mean.T
            top = np.argpartition(-near, count - 1, axis=1)[:, :count] if count else np.empty((0, 0), int)
            for row, best in enumerate(top):
                g = start + row
                for other in best.tolist():
                    pair = (min(g, other), max(g, other))
                    if other != g and pair not in seen:
                        seen.add(pair)
                        self._offer(*pair)
        for g in range(groups):
            self._offer_halves(g)

    def _similarity(self, a: int, b: int) -> float:
        return float(self._sum[a] @ self._sum[b]) / (len(self._members[a]) * len(self._members[b]))

    def _offer(self, a: int, b: int) -> None:
        few, many = (a, b) if len(self._members[a]) < len(self._members[b]) else (b, a)
        if many in self._apart(few):
            return
        self._add(a, b, False, self._similarity(a, b), len(self._members[a]) * len(self._members[b]))

    def _add(self, a: int, b: int, split: bool, s: float, w: float) -> None:
        number = len(self._a)
        self._a.append(a)
        self._b.append(b)
        self._kind.append(split)
        self._s.append(s)
        self._w.append(w)
        self._open.append(True)
        self._of_group[a].add(number)
        if not split:
            self._of_group[b].add(number)

    def _offer_halves(self, g: int) -> None:
        """Offers the halves of a group; of halves that are known to be one identity, their own halves."""
        inside = self._members[g]
        if len(inside) < 2:
            return
        atom = self._atoms(inside)
        at = {sighting: place for place, sighting in enumerate(inside.tolist())}
        for first, second in split_tree(
            self._unit[inside], lambda one, other: self._known(inside, atom, at, one, other)
        ):
            one, other = inside[first], inside[second]
            s = float(self._unit[one].sum(axis=0) @ self._unit[other].sum(axis=0)) / (len(one) * len(other))
            self._halves.append((one, other))
            self._add(g, len(self._halves) - 1, True, s, len(one) * len(other))

    def _known(
        self, inside: np.ndarray, atom: np.ndarray, at: dict[int, int], one: np.ndarray, other: np.ndarray
    ) -> str:
        """Whether the typical sightings of two parts are known to be one identity, were left open, or neither."""
        a, b = self._stand(inside[one]), self._stand(inside[other])
        if atom[at[a]] == atom[at[b]]:
            return "same"
        return "open" if (min(a, b), max(a, b)) in self._cannot else ""

    def _atoms(self, inside: np.ndarray) -> np.ndarray:
        """``(n,)`` numbers of the sets of sightings that answers made one identity."""
        at = {sighting: place for place, sighting in enumerate(inside.tolist())}
        pairs = {pair for one in inside.tolist() for pair in self._joined.get(one, ())}
        known = [(at[a], at[b]) for a, b in pairs if a in at and b in at]
        return must_components(len(inside), np.array(known, np.int64).reshape(-1, 2))

    def _join(self, pair: tuple[int, int]) -> None:
        for one in pair:
            self._joined.setdefault(one, set()).add(pair)

    def _stand(self, inside: np.ndarray) -> int:
        """The most typical sighting."""
        return int(inside[typical(self._unit[inside])])

    def _forbid(self, pair: tuple[int, int]) -> None:
        self._cannot.add(pair)
        for one, other in (pair, pair[::-1]):
            self._against.setdefault(one, set()).add(other)

    def _apart(self, g: int) -> set[int]:
        """Groups with a sighting that is known to be different from one of this group, or was left open."""
        inside = self._members[g].tolist()
        others = {other for one in inside if one in self._against for other in self._against[one]}
        return {int(self.group[other]) for other in others} - {g}

    # ── asking ──

    def _gains(self) -> tuple[np.ndarray, np.ndarray]:
        s, w, split = np.array(self._s), np.array(self._w), np.array(self._kind, bool)
        p = 1 / (1 + np.exp(-self.slope * (s - self.line)))
        return w * np.where(split, 1 - p, p), p

    def best(self, count: int) -> list[Asked]:
        """The most worthwhile questions, at most ``count``."""
        if not self._a:
            return []
        gain, p = self._gains()
        key = gain.copy()
        if self._order == "random":
            key = self._rng.random(len(gain))
        elif self._order == "size":
            key = np.array(
                [
                    max(len(half) for half in self._halves[b]) if split else
                    max(len(self._members[a]), len(self._members[b]))
                    for a, b, split in zip(self._a, self._b, self._kind, strict=True)
                ],
                np.float64,
            )  # fmt: skip
        key[~np.array(self._open, bool)] = -np.inf
        order = np.argsort(-key, kind="stable")[:count]
        return [self._question(int(n), float(p[n]), float(gain[n])) for n in order if np.isfinite(key[n])]

    def _question(self, number: int, p: float, gain: float) -> Asked:
        a, b = self._a[number], self._b[number]
        first, second = self._halves[b] if self._kind[number] else (self._members[a], self._members[b])
        kind: Literal["merge", "split"] = "split" if self._kind[number] else "merge"
        return Asked(self._stand(first), self._stand(second), kind, (first, second), self._s[number], p, gain)

    # ── answers ──

    def answer(self, a: int, b: int, same: bool | None) -> None:
        """Takes an answer in: the groups change, and so do the questions.

        Args:
            a: Place of a sighting.
            b: Place of another.
            same: Whether they are one identity; ``None`` leaves it open, and it is not asked again.
        """
        pair = (min(a, b), max(a, b))
        first, second = int(self.group[a]), int(self.group[b])
        for number in sorted(self._of_group[first]):
            if self._open[number] and self._concerns(number, first, second, a, b):
                if same is not None:
                    self._answers.append((self._s[number], same))
                break
        if first == second:
            self._answer_within(first, a, b, same, pair)
        elif same:
            self._join(pair)
            self._merge(first, second)
        else:
            self._forbid(pair)
            for number in self._of_group[first] & self._of_group[second]:
                self._open[number] = False
            for g in (first, second):
                if not any(self._open[n] and not self._kind[n] for n in self._of_group[g]):
                    self._renew(g)
        if len(self._answers) % _EVERY == 0:
            self._fit()

    def _concerns(self, number: int, first: int, second: int, a: int, b: int) -> bool:
        if self._kind[number]:
            if first != second:
                return False
            one, other = self._halves[self._b[number]]
            return bool((a in one and b in other) or (a in other and b in one))
        return {self._a[number], self._b[number]} == {first, second}

    def _answer_within(self, g: int, a: int, b: int, same: bool | None, pair: tuple[int, int]) -> None:
        if same is False:
            inside = self._members[g]
            at = {sighting: place for place, sighting in enumerate(inside.tolist())}
            atom = self._atoms(inside)
            self._forbid(pair)
            if atom[at[a]] != atom[at[b]]:
                leaves = separate(self._unit[inside], atom, at[a], at[b])
                self._divide(g, inside[~leaves], inside[leaves])
                return
        elif same:
            self._join(pair)
        else:
            self._forbid(pair)
        for number in list(self._of_group[g]):
            if self._kind[number]:
                self._open[number] = False
        self._offer_halves(g)

    def _new_group(self, inside: np.ndarray) -> int:
        g = len(self._members)
        if g >= len(self._sum):
            self._sum = np.concatenate([self._sum, np.zeros((max(64, g // 2), self._sum.shape[1]), np.float32)])
        self._members.append(inside)
        self._sum[g] = self._unit[inside].sum(axis=0)
        self.group[inside] = g
        self._alive.append(True)
        self._of_group.append(set())
        return g

    def _retire(self, g: int) -> list[int]:
        """Takes a group out and returns the other groups of its candidates."""
        others = []
        for number in self._of_group[g]:
            if self._open[number] and not self._kind[number]:
                others.append(self._b[number] if self._a[number] == g else self._a[number])
            self._open[number] = False
        self._alive[g] = False
        self._sum[g] = 0
        return others

    def _merge(self, first: int, second: int) -> None:
        others = {*self._retire(first), *self._retire(second)} - {first, second}
        g = self._new_group(np.sort(np.concatenate([self._members[first], self._members[second]])))
        for other in sorted(others):
            if self._alive[other]:
                self._offer(g, other)
        self._renew(g)
        self._offer_halves(g)

    def _divide(self, old: int, one: np.ndarray, other: np.ndarray) -> None:
        others = set(self._retire(old))
        made = [self._new_group(part) for part in (one, other)]
        for g in made:
            for neighbour in sorted(others):
                if self._alive[neighbour]:
                    self._offer(g, neighbour)
            self._renew(g)
            self._offer_halves(g)

    def _renew(self, g: int) -> None:
        """Offers the nearest groups that were not asked about yet."""
        groups = len(self._members)
        size = np.array([len(inside) for inside in self._members], np.float32)
        near = (self._sum[:groups] @ self._sum[g]) / (size * len(self._members[g]))
        near[~np.array(self._alive, bool)] = -np.inf
        near[[g, *self._apart(g)]] = -np.inf
        held = {
            self._b[n] if self._a[n] == g else self._a[n]
            for n in self._of_group[g]
            if self._open[n] and not self._kind[n]
        }
        count = min(_NEAREST, groups)
        for other in np.argpartition(-near, count - 1)[:count].tolist():
            if np.isfinite(near[other]) and other not in held:
                self._offer(g, other)

    def _fit(self) -> None:
        """Slope and line by logistic regression; the first ones count as :data:`_PRIOR` answers."""
        if not self._answers:
            return
        s = np.array([value for value, _ in self._answers])
        y = np.array([same for _, same in self._answers], float)
        slope, line = self._first
        w = np.array([slope, -slope * line])
        start, x = w.copy(), np.stack([s, np.ones(len(s))], axis=1)
        # deviations of 5 in the slope and of 0.1 in the line, shared by the prior's answers
        precision = _PRIOR * np.array([1 / 25.0, 1 / (0.1 * slope) ** 2])

        def cost(w: np.ndarray) -> float:
            z = x @ w
            return float((np.logaddexp(0, z) - y * z).sum() + 0.5 * (precision * (w - start) ** 2).sum())

        for _ in range(50):  # Newton, with steps halved until the cost falls: it is convex
            p = 1 / (1 + np.exp(-np.clip(x @ w, -40, 40)))
            gradient = x.T @ (p - y) + precision * (w - start)
            hessian = (x * (p * (1 - p))[:, None]).T @ x + np.diag(precision)
            step = np.linalg.solve(hessian, gradient)
            before, share = cost(w), 1.0
            while cost(w - share * step) > before and share > 1e-6:
                share /= 2
            w = w - share * step
            if np.abs(share * step).max() < 1e-8:
                break
        if w[0] > 1:
            self.slope, self.line = float(w[0]), float(-w[1] / w[0])


def split_tree(unit: np.ndarray, known: Callable[[np.ndarray, np.ndarray], str]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The pairs of parts of a group that are worth a question: the uppermost in a tree of parts that are not known.

    The tree is that of average linkage. For more than :data:`_TREE` sightings only their two halves are looked at.

    Args:
        unit: ``(n, D)`` float32 rows of length 1, n ≥ 2.
        known: Says of two parts whether they are one identity (``same``: their own parts are looked at), were left open
            (``open``: they are passed over) or neither.

    Returns:
        Pairs of arrays of places.
    """
    size = len(unit)
    if size > _TREE:
        half = halves(unit)
        one, other = np.flatnonzero(half == 0), np.flatnonzero(half == 1)
        return [(one, other)] if len(one) and len(other) and not known(one, other) else []
    tree, members = _tree(unit)
    found, left = [], [2 * size - 2]
    while left:
        node = left.pop()
        if node < size:
            continue
        first, second = tree[node - size, :2].astype(int).tolist()
        said = known(members[first], members[second])
        if said == "same":
            left += [first, second]
        elif not said:
            found.append((members[first], members[second]))
    return found


def halves(unit: np.ndarray) -> np.ndarray:
    """Divides sightings into the two halves that differ most, by 2-means from the two ends of the main direction.

    Args:
        unit: ``(n, D)`` float32 rows of length 1, n ≥ 2.

    Returns:
        ``(n,)`` 0 or 1.
    """
    centred = unit - unit.mean(axis=0)
    gram = centred @ centred.T
    axis = gram[:, int(np.argmax(np.diag(gram)))].copy()
    for _ in range(20):  # power iteration
        axis = gram @ axis
        length = np.linalg.norm(axis)
        if length < 1e-12:
            return np.zeros(len(unit), int)
        axis /= length
    side = axis > 0
    for _ in range(10):
        if side.all() or not side.any():
            break
        new = (
            unit @ (unit[side].mean(axis=0) - unit[~side].mean(axis=0))
            > ((unit[side].mean(axis=0) ** 2).sum() - (unit[~side].mean(axis=0) ** 2).sum()) / 2
        )
        if (new == side).all():
            break
        side = new
    return side.astype(int)


def _tree(unit: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """The tree of average linkage, as scipy gives it, and the ascending places below each of its nodes."""
    distance = np.maximum(1 - unit @ unit.T, 0)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average")
    members: list[np.ndarray] = [np.array([place]) for place in range(len(unit))]
    for first, second in tree[:, :2].astype(int):
        members.append(np.sort(np.concatenate([members[first], members[second]])))
    return tree, members


def typical(unit: np.ndarray) -> int:
    """The place of the row that is most similar to the mean of all rows."""
    return int(np.argmax(unit @ unit.sum(axis=0)))


def separate(unit: np.ndarray, atom: np.ndarray, a: int, b: int) -> np.ndarray:
    """Which sightings of a group leave it when two of them turn out to be different.

    If the two are the typical ones of two parts that :func:`split_tree` offers, one of these parts leaves: the one that
    no answer joins to the rest of the group, or else the smaller one. Otherwise each sighting goes with the one of the
    two that it is more similar to, and the smaller part leaves.

    Args:
        unit: ``(n, D)`` float32 rows of length 1, in ascending order of sightings.
        atom: ``(n,)`` numbers of sets of sightings that stay together; a and b are of different sets.
        a: Place of a sighting.
        b: Place of another.

    Returns:
        ``(n,)`` bool; a stays and b leaves, or b stays and a leaves.
    """
    parts = _parts_of(unit, a, b)
    if parts is None:
        return divide(unit, atom, atom[[[a, b]]]) == 1
    inside = np.zeros(len(unit), bool)
    inside[parts[0]] = inside[parts[1]] = True
    outside = set(atom[~inside].tolist())
    bound = [bool(outside & set(atom[part].tolist())) for part in parts]
    smaller = int(len(parts[1]) <= len(parts[0]))
    leaving = smaller if bound[0] == bound[1] else int(bound[0])
    leaves = np.zeros(len(unit), bool)
    leaves[parts[leaving]] = True
    own = atom[(a, b)[leaving]]
    leaves &= ~np.isin(atom, np.unique(atom[~leaves]))  # sets that are on both sides stay
    leaves |= atom == own
    return leaves


def _parts_of(unit: np.ndarray, a: int, b: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The two parts, below one node of the tree, whose typical sightings are a and b, in this order."""
    size = len(unit)
    if size > _TREE:
        half = halves(unit)
        pairs = [(np.flatnonzero(half == 0), np.flatnonzero(half == 1))]
    else:
        tree, members = _tree(unit)
        pairs = [(members[int(first)], members[int(second)]) for first, second in tree[::-1, :2]]
    for one, other in pairs:
        for first, second in ((one, other), (other, one)):
            found = a in first and b in second
            if found and first[typical(unit[first])] == a and second[typical(unit[second])] == b:
                return first, second
    return None
