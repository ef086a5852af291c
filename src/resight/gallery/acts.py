"""Carrying out decisions: what is checked before, which sightings move, and what is written down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from resight.clustering import Links
from resight.clustering.links import must_components
from resight.errors import ResightError
from resight.gallery import decisions
from resight.gallery.decisions import Pairs
from resight.gallery.identify import links_of
from resight.gallery.mirror import Mirror
from resight.gallery.review import separate
from resight.gallery.schema import IDENTITY, SIGHTING
from resight.gallery.store import select_in

#: Sightings of the rest of an identity that stand for it when some are split off.
_WITNESSES = 20

#: Orders the ids of sightings, the most typical first.
Typical = Callable[[list[int]], list[int]]


def join(
    connection: Connection, by: str, sightings: Sequence[int], identities: Sequence[int], typical: Typical, kind: str
) -> dict[str, Any]:
    """Makes sightings and whole identities one identity.

    An identity with a name stays; of several the one with most sightings, then the lowest id. Its name stays, and the
    others' are in the log.

    Args:
        connection: A writing transaction.
        by: Who decides.
        sightings: Ids of sightings; those that have an identity bring it whole.
        identities: Ids of identities.
        typical: Orders sightings.
        kind: ``confirm`` or ``merge``.

    Returns:
        ``decision``, ``identity`` and ``moved``.

    Raises:
        ResightError: a decision says that two of them are different.
    """
    rows = select_in(connection, [SIGHTING.c.id, SIGHTING.c.identity], SIGHTING.c.id, sightings)
    own = {row.id: row.identity for row in rows}
    for one in sightings:
        if one not in own:
            raise ResightError(f"There is no sighting {one} in the gallery.")
    groups = list(dict.fromkeys([*identities, *(own[one] for one in sightings if own[one] is not None)]))
    members: dict[int, list[int]] = {one: [] for one in groups}
    for row in select_in(connection, [SIGHTING.c.id, SIGHTING.c.identity], SIGHTING.c.identity, groups):
        members[row.identity].append(row.id)
    loose = [one for one in sightings if own[one] is None]
    _refuse_different(connection, [*members.values(), *([one] for one in loose)])
    named = {row.id: row for row in select_in(connection, [IDENTITY], IDENTITY.c.id, groups)}
    if groups:
        keep = max(groups, key=lambda one: (named[one].name is not None, len(members[one]), -one))
    else:
        keep = decisions.new_identities(connection, 1)[0]
    moves: list[tuple[int, int | None, int | None]] = [(one, None, keep) for one in loose]
    attributes: list[tuple[str, int, str, Any, Any]] = []
    for one in groups:
        if one == keep:
            continue
        moves += [(sighting, one, keep) for sighting in members[one]]
        if named[one].name is not None:
            attributes.append(("identity", one, "name", named[one].name, None))
    if kind == "merge":
        stand = [typical(members[one])[0] for one in groups if members[one]]
        first = [s for s in stand if s in members.get(keep, [])]
        sides = first, [s for s in stand if s not in first]
    else:
        sides = [sightings[0]], [one for one in sightings[1:] if one != sightings[0]]
    number = decisions.record(connection, kind, by, sides=sides, moves=moves, attributes=attributes, identity=keep)
    return {"decision": number, "identity": keep, "moved": len(moves)}


def _refuse_different(connection: Connection, groups: list[list[int]]) -> None:
    """Raises a sentence if a decision says that sightings of two of the groups are different."""
    group_of = {sighting: place for place, group in enumerate(groups) for sighting in group}
    pairs = decisions.pairs(connection)
    for (a, b), number in zip(pairs.cannot, pairs.because, strict=True):
        if a in group_of and b in group_of and group_of[a] != group_of[b]:
            entry = next(decision for decision in decisions.log(connection) if decision.id == number)
            raise ResightError(
                f"Decision {number} ({entry.kind}, by {entry.by}) says that the sightings {a} and {b} are different: "
                f"undo it first (resight gallery undo GALLERY {number}), or choose others."
            )


def part(connection: Connection, by: str, a: int, b: int, mirror: Mirror) -> dict[str, Any]:
    """Says that two sightings are different. If they share an identity, it is divided.

    How is described at :func:`resight.gallery.review.separate`.

    Returns:
        ``decision``, ``moved``, and ``new_identities``.

    Raises:
        ResightError: decisions say that they are one identity.
    """
    place = mirror.places([a, b])
    for one, at in zip((a, b), place, strict=True):
        if at < 0:
            raise ResightError(f"There is no sighting {one} in the gallery.")
    if a == b:
        raise ResightError("A sighting is not different from itself: give two.")
    pairs = decisions.pairs(connection)
    _refuse_same(connection, pairs, [a], [b])
    moves: list[tuple[int, int | None, int | None]] = []
    made: list[int] = []
    identity = int(mirror.identity[place[0]])
    if identity and identity == mirror.identity[place[1]]:
        rows = np.flatnonzero(mirror.identity == identity)
        given = Pairs(pairs.must, [*pairs.cannot, (a, b)], [], [])
        links = links_of(mirror, given, rows)
        at = {int(one): place for place, one in enumerate(mirror.ids[rows])}
        atom = must_components(len(rows), links.must)
        leaves = separate(mirror.comparable(rows), atom, at[a], at[b])
        made = decisions.new_identities(connection, 1)
        moves = [(int(one), identity, made[0]) for one in mirror.ids[rows[leaves]]]
        of_now = select_in(connection, [SIGHTING.c.identity], SIGHTING.c.id, [move[0] for move in moves])
        if {row.identity for row in of_now} != {identity}:
            raise ResightError(f"Identity {identity} was changed by another process just now: look again.")
    number = decisions.record(connection, "reject", by, sides=([a], [b]), moves=moves)
    return {"decision": number, "moved": len(moves), "new_identities": made}


def _refuse_same(connection: Connection, pairs: Pairs, first: Sequence[int], second: Sequence[int]) -> None:
    """Raises a sentence if decisions say that a sighting of one side is the identity of one of the other."""
    every = sorted({*first, *second, *(one for pair in pairs.must for one in pair)})
    at = {one: place for place, one in enumerate(every)}
    links = Links(must=np.array([[at[a], at[b]] for a, b in pairs.must], np.int64).reshape(-1, 2))
    component = must_components(len(every), links.must)
    inside = {component[at[one]]: one for one in first}
    for one in second:
        if component[at[one]] in inside:
            raise ResightError(
                f"Decisions say that the sightings {inside[component[at[one]]]} and {one} are one identity: undo the "
                "confirmation or the merge first ('resight gallery log GALLERY' lists them)."
            )


def split_off(
    connection: Connection, by: str, identity: int, sightings: Sequence[int], typical: Typical
) -> dict[str, Any]:
    """Makes some sightings of an identity an identity of their own.

    Returns:
        ``decision``, ``identity`` (the new one) and ``moved``.

    Raises:
        ResightError: a sighting is of another identity, all of them are named, or decisions join one to the rest.
    """
    members = list(connection.scalars(sa.select(SIGHTING.c.id).where(SIGHTING.c.identity == identity)))
    chosen = list(dict.fromkeys(sightings))
    for one in chosen:
        if one not in set(members):
            raise ResightError(f"Sighting {one} is not of identity {identity}.")
    rest = [one for one in members if one not in set(chosen)]
    if not chosen or not rest:
        raise ResightError(f"Name some of the {len(members)} sightings of identity {identity}, and not all of them.")
    _refuse_same(connection, decisions.pairs(connection), chosen, rest)
    new = decisions.new_identities(connection, 1)[0]
    moves = [(one, identity, new) for one in chosen]
    sides = chosen, typical(rest)[:_WITNESSES]
    number = decisions.record(connection, "split", by, sides=sides, moves=moves, identity=identity)
    return {"decision": number, "identity": new, "moved": len(moves)}


def assign(
    connection: Connection, by: str, identity: int | None, sightings: Sequence[int], typical: Typical
) -> dict[str, Any]:
    """Says of sightings that they are one identity, wherever they are now. The others of their identities stay there.

    Args:
        connection: A writing transaction.
        by: Who decides.
        identity: The identity; a new one if ``None``.
        sightings: Ids of sightings.
        typical: Orders sightings.

    Returns:
        ``decision``, ``identity`` and ``moved``.

    Raises:
        ResightError: a decision says that one of the sightings is different from the identity, or from another of them,
            or is the same as one that would stay behind.
    """
    rows = select_in(connection, [SIGHTING.c.id, SIGHTING.c.identity], SIGHTING.c.id, sightings)
    own = {row.id: row.identity for row in rows}
    for one in sightings:
        if one not in own:
            raise ResightError(f"There is no sighting {one} in the gallery.")
    members = (
        []
        if identity is None
        else list(connection.scalars(sa.select(SIGHTING.c.id).where(SIGHTING.c.identity == identity)))
    )
    chosen = list(dict.fromkeys(one for one in sightings if identity is None or own[one] != identity))
    _refuse_different(connection, [members, *([one] for one in dict.fromkeys(sightings))])
    left = {own[one] for one in chosen} - {None}
    rest = [row.id for row in select_in(connection, [SIGHTING.c.id], SIGHTING.c.identity, left)]
    rest = [one for one in rest if one not in set(chosen)]
    if rest:
        _refuse_same(connection, decisions.pairs(connection), chosen, rest)
    into = decisions.new_identities(connection, 1)[0] if identity is None else identity
    moves = [(one, own[one], into) for one in chosen]
    sides = typical(members)[:1], list(dict.fromkeys(sightings))
    number = decisions.record(connection, "confirm", by, sides=sides, moves=moves, identity=into)
    return {"decision": number, "identity": into, "moved": len(moves)}


def name(connection: Connection, by: str, identity: int, given: str | None, note: str | None) -> dict[str, Any]:
    """Gives an identity a name, a note, or both; an empty text takes it away.

    Returns:
        ``decision`` and ``identity``.
    """
    row = connection.execute(sa.select(IDENTITY).where(IDENTITY.c.id == identity)).one()
    attributes = [
        ("identity", identity, column, getattr(row, column), value or None)
        for column, value in (("name", given), ("note", note))
        if value is not None and (value or None) != getattr(row, column)
    ]
    number = decisions.record(connection, "name", by, attributes=attributes, identity=identity) if attributes else None
    return {"decision": number, "identity": identity}


def hide(
    connection: Connection, by: str, sightings: Sequence[int], identities: Sequence[int], hidden: bool
) -> dict[str, Any]:
    """Hides sightings and identities from searches, proposals and questions, or shows them again.

    Returns:
        ``decision`` and ``changed``, the number of sightings and identities that changed.
    """
    attributes: list[tuple[str, int, str, Any, Any]] = []
    for table, held, chosen in (("sighting", SIGHTING, sightings), ("identity", IDENTITY, identities)):
        rows = {row.id: row.hidden for row in select_in(connection, [held.c.id, held.c.hidden], held.c.id, chosen)}
        for one in chosen:
            if one not in rows:
                raise ResightError(f"There is no {table} {one} in the gallery.")
        attributes += [(table, one, "hidden", rows[one], hidden) for one in rows if rows[one] != hidden]
    number = decisions.record(connection, "hide", by, attributes=attributes) if attributes else None
    return {"decision": number, "changed": len(attributes)}
