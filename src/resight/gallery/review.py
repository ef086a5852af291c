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

from dataclasses import dataclass
from typing import Literal

import numpy as np

from resight.clustering.links import divide

#: Candidates kept for each group: the nearest other groups.
_NEAREST = 6
#: Slope of the logistic curve before there are answers, per unit of cosine similarity.
_SLOPE = 18.0
#: How much the first slope and line count, in answers.
_PRIOR = 4.0
#: Answers after which slope and line are fitted anew.
_EVERY = 5
#: Groups of at least this size are looked at for halves.
_SPLITTABLE = 4

Order = Literal["gain", "size", "random"]


@dataclass(frozen=True)
class Asked:
    """One question.

    Attributes:
        a: Place of a sighting.
        b: Place of another.
        kind: ``merge`` (two groups: are they one?) or ``split`` (one group: are these two one?).
        sizes: Sightings on a's and on b's side.
        similarity: Mean similarity of the sightings of both sides.
        probability: Estimated probability that a and b are one identity.
        gain: Expected number of pairs that the answer puts right.
    """

    a: int
    b: int
    kind: Literal["merge", "split"]
    sizes: tuple[int, int]
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
        self._apart: list[set[int]] = [set() for _ in range(groups)]  # groups known to be different, or left open
        self._together: set[tuple[int, int]] = set()
        self._cannot: set[tuple[int, int]] = set()
        for a, b in () if must is None else must.tolist():
            self._together.add((min(a, b), max(a, b)))
        for pairs in (cannot, skipped):
            for a, b in () if pairs is None else pairs.tolist():
                self._cannot.add((min(a, b), max(a, b)))
                self._set_apart(int(self.group[a]), int(self.group[b]))
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
        if b in self._apart[a]:
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
        inside = self._members[g]
        if len(inside) < _SPLITTABLE:
            return
        half = halves(self._unit[inside])
        first, second = inside[half == 0], inside[half == 1]
        if not len(first) or not len(second):
            return
        a, b = self._stand(first), self._stand(second)
        if (min(a, b), max(a, b)) in self._together or (min(a, b), max(a, b)) in self._cannot:
            return
        s = float(self._unit[first].sum(axis=0) @ self._unit[second].sum(axis=0)) / (len(first) * len(second))
        self._halves.append((first, second))
        self._add(g, len(self._halves) - 1, True, s, len(first) * len(second))

    def _stand(self, inside: np.ndarray) -> int:
        """The most typical sighting."""
        part = self._unit[inside]
        return int(inside[np.argmax(part @ part.sum(axis=0))])

    def _set_apart(self, a: int, b: int) -> None:
        if a != b:
            self._apart[a].add(b)
            self._apart[b].add(a)

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
        return Asked(self._stand(first), self._stand(second), kind, (len(first), len(second)), self._s[number], p, gain)

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
            self._merge(first, second)
            self._together.add(pair)
        else:
            self._cannot.add(pair)
            self._set_apart(first, second)
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
            side = divide(self._unit[inside], np.arange(len(inside)), np.array([[at[a], at[b]]])) == 1
            self._cannot.add(pair)
            self._divide(g, inside[~side], inside[side])
            return
        self._together.add(pair)
        for number in list(self._of_group[g]):
            if self._kind[number]:
                self._open[number] = False

    def _new_group(self, inside: np.ndarray) -> int:
        g = len(self._members)
        if g >= len(self._sum):
            self._sum = np.concatenate([self._sum, np.zeros((max(64, g // 2), self._sum.shape[1]), np.float32)])
        self._members.append(inside)
        self._sum[g] = self._unit[inside].sum(axis=0)
        self.group[inside] = g
        self._alive.append(True)
        self._apart.append(set())
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
        g = self._new_group(np.concatenate([self._members[first], self._members[second]]))
        for other in self._apart[first] | self._apart[second]:
            if self._alive[other]:
                self._set_apart(g, other)
        for other in sorted(others):
            if self._alive[other]:
                self._offer(g, other)
        self._renew(g)
        self._offer_halves(g)

    def _divide(self, old: int, one: np.ndarray, other: np.ndarray) -> None:
        others = set(self._retire(old))
        made = [self._new_group(part) for part in (one, other)]
        self._set_apart(*made)
        for apart in self._apart[old]:
            if self._alive[apart]:
                for g in made:
                    self._set_apart(g, apart)
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
        near[[g, *self._apart[g]]] = -np.inf
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
        for _ in range(25):
            p = 1 / (1 + np.exp(-np.clip(x @ w, -40, 40)))
            gradient = x.T @ (p - y) + precision * (w - start)
            hessian = (x * (p * (1 - p))[:, None]).T @ x + np.diag(precision)
            step = np.linalg.solve(hessian, gradient)
            w = w - step
            if np.abs(step).max() < 1e-8:
                break
        if w[0] > 1:
            self.slope, self.line = float(w[0]), float(-w[1] / w[0])


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
            return np.arange(len(unit)) % 2 if len(unit) < 2 else np.zeros(len(unit), int)
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
