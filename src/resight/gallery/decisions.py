"""The log of decisions: what was decided, what follows for pairs of sightings, and how it is undone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from resight.errors import ResightError
from resight.gallery.schema import DECISION, IDENTITY, LINK, MOVE, SIGHTING
from resight.gallery.store import in_parts, select_in, sequence

#: Kinds whose two sides are one identity, different identities, or were left open.
MUST, CANNOT, OPEN = ("confirm", "merge"), ("reject", "split"), ("skip",)
#: Every kind of decision.
KINDS = (*MUST, *CANNOT, *OPEN, "name", "hide", "identify", "undo")


@dataclass(frozen=True)
class Decision:
    """One entry of the log.

    Attributes:
        id: Its number.
        kind: One of :data:`KINDS`.
        by: Who decided.
        at: When, in seconds since 1970.
        value: What else is known of it, such as names before and after.
        undoes: The decision that it undoes.
        active: Whether it counts: it was not undone, or its undoing was undone.
    """

    id: int
    kind: str
    by: str
    at: float
    value: dict[str, Any]
    undoes: int | None
    active: bool


@dataclass(frozen=True)
class Pairs:
    """Pairs of sightings by id, from the decisions that count.

    Attributes:
        must: Pairs of one identity.
        cannot: Pairs of different identities.
        open: Pairs that were asked about and left open.
        because: The decision behind each pair of ``cannot``.
    """

    must: list[tuple[int, int]]
    cannot: list[tuple[int, int]]
    open: list[tuple[int, int]]
    because: list[int]


def log(connection: Connection) -> list[Decision]:
    """All decisions, the oldest first."""
    rows = connection.execute(sa.select(DECISION).order_by(DECISION.c.id)).all()
    active = {row.id: True for row in rows}
    for row in reversed(rows):  # an undo has a higher number than what it undoes
        if row.undoes is not None and active[row.id]:
            active[row.undoes] = False
    return [
        Decision(row.id, row.kind, row.by, row.at, json.loads(row.value), row.undoes, active[row.id]) for row in rows
    ]


def pairs(connection: Connection) -> Pairs:
    """What the decisions that count say of pairs of sightings that are in the gallery."""
    kind = {decision.id: decision.kind for decision in log(connection) if decision.active}
    sides: dict[int, tuple[list[int], list[int]]] = {}
    rows = connection.execute(
        sa.select(LINK.c.decision, LINK.c.side, SIGHTING.c.id)
        .join(SIGHTING, SIGHTING.c.digest == LINK.c.digest)
        .order_by(LINK.c.decision, LINK.c.side, SIGHTING.c.id)
    )
    for decision, side, sighting in rows:
        if decision in kind:
            sides.setdefault(decision, ([], []))[side].append(sighting)
    found = Pairs([], [], [], [])
    for decision, (first, second) in sides.items():
        if kind[decision] in MUST:
            every = [*first, *second]
            found.must.extend(pairwise(every))
            continue
        every_pair = [(a, b) for a in first for b in second]
        if kind[decision] in CANNOT:
            found.cannot.extend(every_pair)
            found.because.extend([decision] * len(every_pair))
        elif kind[decision] in OPEN:
            found.open.extend(every_pair)
    return found


def record(
    connection: Connection,
    kind: str,
    by: str,
    *,
    sides: tuple[Sequence[int], Sequence[int]] = ((), ()),
    moves: Iterable[tuple[int, int | None, int | None]] = (),
    attributes: Sequence[tuple[str, int, str, Any, Any]] = (),
    undoes: int | None = None,
    **value: Any,
) -> int:
    """Writes a decision down and carries it out, within a writing transaction.

    Args:
        connection: The transaction.
        kind: One of :data:`KINDS`.
        by: Who decides.
        sides: Ids of the sightings of both sides.
        moves: ``(sighting, identity before, identity after)``; ``None`` is no identity.
        attributes: ``(table, id, column, value before, value after)`` of identities and sightings.
        undoes: The decision that it undoes.
        **value: What else to keep.

    Returns:
        The number of the decision.
    """
    change, moves = sequence(connection), list(moves)
    value["attributes"] = [list(item) for item in attributes]
    row = {"kind": kind, "by": by, "at": time.time(), "value": json.dumps(value), "undoes": undoes}
    number = int(connection.execute(sa.insert(DECISION).returning(DECISION.c.id), row).scalar_one())
    for side, sightings in enumerate(sides):
        digests = select_in(connection, [SIGHTING.c.digest], SIGHTING.c.id, sightings)
        if digests:
            rows = [{"decision": number, "side": side, "digest": found.digest} for found in digests]
            connection.execute(sa.insert(LINK), rows)
    if moves:
        rows = [{"decision": number, "sighting": s, "before": b, "after": a} for s, b, a in moves]
        connection.execute(sa.insert(MOVE), rows)
        statement = (
            sa.update(SIGHTING)
            .where(SIGHTING.c.id == sa.bindparam("of"))
            .values(identity=sa.bindparam("to"), moved=change)
        )
        connection.execute(statement, [{"of": s, "to": a} for s, _, a in moves])
    for table, key, column, _, after in attributes:
        _set_attribute(connection, table, key, column, after, change)
    return number


def _set_attribute(connection: Connection, table: str, key: int, column: str, value: Any, change: int) -> None:
    if table == "identity":
        connection.execute(sa.update(IDENTITY).where(IDENTITY.c.id == key).values({column: value}))
    else:
        connection.execute(sa.update(SIGHTING).where(SIGHTING.c.id == key).values({column: value, "moved": change}))


def undo(connection: Connection, number: int | None, by: str) -> tuple[Decision, int, int]:
    """Undoes a decision: what it moved and changed is as before, and it no longer says anything of pairs.

    A sighting that a later decision moved on stays where it is now. An undo can be undone.

    Args:
        connection: A writing transaction.
        number: The decision; the last one that counts and is no undo if not given.
        by: Who undoes it.

    Returns:
        The decision that was undone, how many sightings moved back, and how many a later decision had moved on.

    Raises:
        ResightError: there is no such decision, or it is undone already.
    """
    decisions = log(connection)
    if number is None:
        last = [decision for decision in decisions if decision.active and decision.kind != "undo"]
        if not last:
            raise ResightError("There is no decision to undo.")
        target = last[-1]
    else:
        named = [decision for decision in decisions if decision.id == number]
        if not named:
            raise ResightError(f"There is no decision {number}: 'resight gallery log' lists them.")
        target = named[0]
    if not target.active:
        undoing = max(decision.id for decision in decisions if decision.undoes == target.id and decision.active)
        raise ResightError(
            f"Decision {target.id} is undone already, by decision {undoing}: undo that to bring it back."
        )
    made = connection.execute(sa.select(MOVE).where(MOVE.c.decision == target.id)).all()
    rows = select_in(connection, [SIGHTING.c.id, SIGHTING.c.identity], SIGHTING.c.id, [move.sighting for move in made])
    now = {row.id: row.identity for row in rows}
    there = {row.id for row in select_in(connection, [IDENTITY.c.id], IDENTITY.c.id, {m.before for m in made} - {None})}
    back = [
        (move.sighting, move.after, move.before)
        for move in made
        if move.sighting in now
        and now[move.sighting] == move.after
        and (move.before is None or move.before in there)  # not erased
    ]
    attributes = []
    for table, key, column, before, after in target.value.get("attributes", []):
        held = IDENTITY if table == "identity" else SIGHTING
        found = connection.execute(sa.select(held.c[column]).where(held.c.id == key)).first()
        if found is not None and found[0] == after:
            attributes.append((table, key, column, after, before))
    record(connection, "undo", by, moves=back, attributes=attributes, undoes=target.id)
    return target, len(back), len([move for move in made if move.sighting in now]) - len(back)


def new_identities(connection: Connection, count: int) -> list[int]:
    """Makes identities without a name and returns their ids, ascending."""
    ids: list[int] = []
    now = time.time()
    for part in in_parts(range(count)):
        rows = [{"hidden": False, "created": now} for _ in part]
        made = connection.execute(sa.insert(IDENTITY).returning(IDENTITY.c.id), rows)
        ids += [row.id for row in made]
    return sorted(ids)


def forget(connection: Connection, digests: Iterable[str], sightings: Iterable[int], identities: Iterable[int]) -> None:
    """Takes erased sightings, and the names of erased identities, out of the log. The entries stay.

    Args:
        connection: A writing transaction.
        digests: Contents of the sightings.
        sightings: Their ids.
        identities: Ids of the identities.
    """
    for contents in in_parts(digests):
        connection.execute(sa.delete(LINK).where(LINK.c.digest.in_(contents)))
    numbers = set(sightings)
    for part in in_parts(numbers):
        connection.execute(sa.delete(MOVE).where(MOVE.c.sighting.in_(part)))
    gone = set(identities)
    for decision in log(connection):
        value = decision.value
        kept = [
            item
            for item in value.get("attributes", [])
            if not (item[0] == "identity" and item[1] in gone) and not (item[0] == "sighting" and item[1] in numbers)
        ]
        if len(kept) != len(value.get("attributes", [])):
            changed = json.dumps(value | {"attributes": kept})
            connection.execute(sa.update(DECISION).where(DECISION.c.id == decision.id).values(value=changed))
