"""Questions about a gallery: what :mod:`resight.gallery.review` asks, with ids, and sittings of many questions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from resight.common.checks import shown
from resight.errors import ResightError
from resight.gallery.decisions import Pairs
from resight.gallery.mirror import Mirror
from resight.gallery.review import Asked, Order, Queue

if TYPE_CHECKING:
    from resight.gallery.core import Gallery

_QUESTION = re.compile(r"([1-9][0-9]{0,17})-([1-9][0-9]{0,17})", re.ASCII)


@dataclass(frozen=True)
class Question:
    """One question: are two sightings one identity?

    Attributes:
        id: The two sightings, as ``12-345``; :meth:`Gallery.answer` takes it.
        kind: ``merge``: of two identities, or sightings without one: are they the same? ``split``: of one identity: is
            it really one?
        sightings: The two sightings, each the most typical of its side.
        identities: Their identities, ``None`` for a sighting without one.
        sizes: Sightings on either side.
        sides: The ids of these sightings, the most typical first: of a split, what each of the two would have.
        cameras: How many sightings each camera has on either side; without a camera, under ``unknown``.
        times: First and last time on either side, ``None`` where no time is known.
        similarity: Mean similarity of the sightings of both sides.
        probability: Estimated probability that the answer is "same".
        gain: Pairs of sightings that the answer is expected to put right.
    """

    id: str
    kind: Literal["merge", "split"]
    sightings: tuple[int, int]
    identities: tuple[int | None, int | None]
    sizes: tuple[int, int]
    sides: tuple[list[int], list[int]]
    cameras: tuple[dict[str, int], dict[str, int]]
    times: tuple[tuple[float, float] | None, tuple[float, float] | None]
    similarity: float
    probability: float
    gain: float

    def to_dict(self) -> dict[str, Any]:
        """The question as plain values."""
        return asdict(self)


def parse_question(question: str) -> tuple[int, int]:
    """The two sightings of a question's id.

    Raises:
        ResightError: it is no such id.
    """
    found = _QUESTION.fullmatch(question) if isinstance(question, str) else None
    if found is None:
        raise ResightError(f"{shown(question)} is no question: the id of one has two sightings, such as 12-345.")
    return int(found[1]), int(found[2])


def build_queue(
    mirror: Mirror, pairs: Pairs, line: float | None, order: str = "gain", seed: int = 0
) -> tuple[Queue, np.ndarray]:
    """The queue of a gallery's visible sightings, and their ``(n,)`` places in the mirror."""
    rows = np.flatnonzero(~mirror.hidden)
    at = np.full(len(mirror) + 1, -1, np.int64)
    at[rows] = np.arange(len(rows))

    def inside(given: Sequence[tuple[int, int]]) -> np.ndarray:
        if not given:
            return np.empty((0, 2), np.int64)
        found = at[mirror.places(np.array(given, np.int64).ravel())].reshape(-1, 2)
        return found[(found >= 0).all(axis=1)]

    identity = mirror.identity[rows]
    group = np.where(identity > 0, identity, -1)
    queue = Queue(
        mirror.comparable(rows),
        group,
        cannot=inside(pairs.cannot),
        must=inside(pairs.must),
        skipped=inside(pairs.open),
        order=cast(Order, order),
        seed=seed,
        line=line,
    )
    return queue, rows


def _question(mirror: Mirror, rows: np.ndarray, asked: Asked) -> Question:
    places = rows[[asked.a, asked.b]]
    a, b = (int(one) for one in mirror.ids[places])
    first, second = (int(one) or None for one in mirror.identity[places])
    one, other = (_side(mirror, rows[side]) for side in asked.sides)
    return Question(
        f"{a}-{b}",
        asked.kind,
        (a, b),
        (first, second),
        (len(one[0]), len(other[0])),
        (one[0], other[0]),
        (one[1], other[1]),
        (one[2], other[2]),
        round(asked.similarity, 4),
        round(asked.probability, 4),
        round(asked.gain, 2),
    )


def _side(mirror: Mirror, places: np.ndarray) -> tuple[list[int], dict[str, int], tuple[float, float] | None]:
    """Ids of sightings, the most typical first; how many each camera has; first and last time."""
    unit = mirror.comparable(places)
    order = np.argsort(-(unit @ unit.sum(axis=0)), kind="stable")
    names = [*mirror.cameras, "unknown"]  # -1 stands for none
    codes, counts = np.unique(mirror.camera[places], return_counts=True)
    cameras = {names[code]: int(count) for code, count in zip(codes.tolist(), counts, strict=True)}
    time = mirror.time[places]
    time = time[~np.isnan(time)]
    span = (float(time.min()), float(time.max())) if len(time) else None
    return mirror.ids[places[order]].tolist(), dict(sorted(cameras.items())), span


def questions(mirror: Mirror, pairs: Pairs, count: int, line: float | None) -> list[Question]:
    """The most worthwhile questions about a gallery."""
    if not len(mirror):
        return []
    queue, rows = build_queue(mirror, pairs, line)
    return [_question(mirror, rows, asked) for asked in queue.best(count)]


class Session:
    """A sitting of questions and answers. Every answer is written to the gallery at once.

    Args:
        gallery: The gallery.
        mirror: Its sightings.
        pairs: Its decisions.
        line: Similarity at which two sightings are as likely one identity as two, if known.
        order: ``gain``, ``size`` or ``random``.
        seed: Seed of the random order.
    """

    def __init__(
        self, gallery: Gallery, mirror: Mirror, pairs: Pairs, line: float | None, order: str, seed: int
    ) -> None:
        self._gallery, self._mirror = gallery, mirror
        self._options = (line, order, seed)
        self._start(pairs)
        self._made: list[int] = []

    def _start(self, pairs: Pairs) -> None:
        line, order, seed = self._options
        self._queue, self._rows = build_queue(self._mirror, pairs, line, order, seed)

    def next(self) -> Question | None:
        """The next question; ``None`` if there is nothing left to ask."""
        if not len(self._rows):
            return None
        asked = self._queue.best(1)
        return _question(self._mirror, self._rows, asked[0]) if asked else None

    def answer(self, question: Question, answer: str) -> dict[str, Any]:
        """Takes in an answer; arguments and result as :meth:`Gallery.answer`.

        An answer that contradicts decisions is refused there with a sentence; the question is then left out here.
        """
        a, b = np.searchsorted(self._mirror.ids[self._rows], question.sightings).tolist()
        try:
            changed = self._gallery.answer(question.id, answer)
        except ResightError:
            self._queue.answer(a, b, None)
            raise
        self._made.append(changed["decision"])
        self._queue.answer(a, b, {"same": True, "different": False, "skip": None}[answer])
        self._mirror.refresh()
        members = np.flatnonzero(np.isin(self._queue.group, self._queue.group[[a, b]]))
        identity, group = self._mirror.identity[self._rows[members]], self._queue.group[members]
        if len(set(zip(identity.tolist(), group.tolist(), strict=True))) != len(set(group.tolist())):
            self._start(self._gallery.pairs())  # links or tracks divided the group in another way
        return changed

    def undo(self) -> dict[str, Any] | None:
        """Undoes the last answer of this sitting; ``None`` if there is none."""
        if not self._made:
            return None
        undone = self._gallery.undo(self._made.pop())
        self._mirror.refresh()
        self._start(self._gallery.pairs())
        return undone
