"""Proposed identities, decisions and questions."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from resight.errors import ResightError
from resight.gallery import Gallery
from resight.gallery.identify import links_of, propose
from resight.gallery.review import Queue, separate, split_tree

Fill = Callable[..., dict[str, np.ndarray]]
CLEAR = {"eps": 0.5, "k1": 8, "k2": 3, "min_samples": 2}


def _identity_of(gallery: Gallery, ids: np.ndarray) -> np.ndarray:
    return np.array([hit.identity or 0 for hit in gallery.sightings(ids.tolist())])


def _same_groups(one: np.ndarray, other: np.ndarray) -> bool:
    return (
        len(set(zip(one.tolist(), other.tolist(), strict=True))) == len(set(one.tolist())) == len(set(other.tolist()))
    )


def test_numbers_stay_and_new_sightings_join(gallery: Gallery, fill: Fill) -> None:
    first = fill(gallery, identities=100)
    size = len(first["ids"])
    done = gallery.identify(settings=CLEAR)
    before = _identity_of(gallery, first["ids"])
    assert _same_groups(before, first["identity"])
    assert (done["clustered"], done["moved"], done["without_identity"]) == (size, 0, 0)
    named = int(before[0])
    gallery.rename(named, "Anna", "red coat")
    rng = np.random.default_rng(9)
    more = first["embeddings"] + 0.02 * rng.normal(size=first["embeddings"].shape).astype(np.float32)
    new = rng.normal(size=(1, more.shape[1])) + 0.1 * rng.normal(size=(5, more.shape[1]))
    gallery.add_embeddings(np.concatenate([more[:4], new]), fingerprint=gallery.info()["model"])
    done = gallery.identify(settings=CLEAR)
    assert done["clustered"] < 0.6 * size
    assert len(done["new_identities"]) == 1
    after = _identity_of(gallery, np.arange(1, size + 10))
    assert (after[:size] == before).all()
    assert (after[size : size + 4] == before[:4]).all()
    assert set(after[size + 4 :]) == set(done["new_identities"])
    again = gallery.identify(again=True, settings=CLEAR)
    assert (again["moved"], again["new_identities"]) == (0, [])
    assert gallery.sightings([1])[0].name == "Anna"


@pytest.mark.parametrize("seed", range(4))
def test_decisions_are_respected_however_often_one_clusters(gallery: Gallery, fill: Fill, seed: int) -> None:
    made = fill(gallery, seed=seed, spread=1.1)
    gallery.identify(settings=CLEAR | {"eps": 0.7})
    rng = np.random.default_rng(seed)
    said: list[tuple[int, int, bool]] = []
    for a, b in rng.choice(made["ids"], (40, 2)).tolist():
        same = made["identity"][a - 1] == made["identity"][b - 1]
        if a == b:
            continue
        try:
            gallery.answer(f"{a}-{b}", "same" if same else "different")
        except ResightError:
            continue  # the groups hold a pair that was decided otherwise
        said.append((a, b, bool(same)))
    assert len(said) > 15
    for again in (None, False, True, True):
        if again is not None:
            gallery.identify(again=again, settings=CLEAR | {"eps": 0.7})
        identity = _identity_of(gallery, made["ids"])
        for a, b, same in said:
            assert (identity[a - 1] == identity[b - 1] > 0) == same, (a, b, same, again)


def test_tracks_are_one_identity_unless_somebody_says_otherwise(gallery: Gallery) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(8, gallery.info()["dim"])).astype(np.float32)
    gallery.add_embeddings(rows, fingerprint=gallery.info()["model"], track=["t"] * 4 + ["u"] * 4)
    gallery.identify(settings={"eps": 0.01, "k1": 3, "k2": 1})
    assert _same_groups(_identity_of(gallery, np.arange(1, 9)), np.array([1] * 4 + [2] * 4))
    gallery.reject(1, 3)
    gallery.identify(again=True, settings={"eps": 0.01, "k1": 3, "k2": 1})
    identity = _identity_of(gallery, np.arange(1, 9))
    assert identity[0] != identity[2] or identity[0] == 0
    assert len(set(identity[4:])) == 1
    with pytest.raises(ResightError, match="are different: undo it first"):
        gallery.confirm(1, 3)


def test_everything_can_be_undone_for_ever(gallery: Gallery, fill: Fill) -> None:
    made = fill(gallery)
    states = [_state(gallery, made)]
    gallery.identify(settings=CLEAR)
    groups = [row["id"] for row in gallery.identities()]
    members = {one: [hit.sighting for hit in gallery.members(one)] for one in groups}
    acts = (
        lambda: gallery.rename(groups[0], "Anna"),
        lambda: gallery.merge(groups[1:3]),
        lambda: gallery.split(groups[3], members[groups[3]][:2]),
        lambda: gallery.hide(identities=[groups[4]], sightings=[members[groups[5]][0]]),
        lambda: gallery.reject(members[groups[6]][0], members[groups[6]][1]),
        lambda: gallery.confirm(members[groups[7]][0], members[groups[8]][0]),
        lambda: gallery.rename(groups[0], "Berta", "a note"),
        lambda: gallery.answer(f"{members[groups[9]][0]}-{members[groups[10]][0]}", "skip"),
    )
    states.append(_state(gallery, made))
    for act in acts:
        act()
        states.append(_state(gallery, made))
    for expected in reversed(states[:-1]):
        gallery.undo()
        assert _state(gallery, made) == expected
    with pytest.raises(ResightError, match="no decision to undo"):
        gallery.undo()
    undone = [entry for entry in gallery.log() if entry.kind == "undo"]
    assert len(undone) == len(acts) + 1
    for entry, expected in zip(reversed(undone), states[1:], strict=True):  # undoing the undoing
        gallery.undo(entry.id)
        assert _state(gallery, made) == expected
    with pytest.raises(ResightError, match="is undone already"):
        gallery.undo(undone[0].id)
    with pytest.raises(ResightError, match="There is no decision 999"):
        gallery.undo(999)


def _state(gallery: Gallery, made: dict[str, np.ndarray]) -> list[tuple[object, ...]]:
    hits = gallery.sightings(made["ids"].tolist())
    found = {hit.sighting for hit in gallery.search(sightings=[int(made["ids"][0])], k=1000)}
    return [(hit.identity, hit.name, hit.sighting in found) for hit in hits]


def test_an_old_decision_is_undone_without_what_came_later(gallery: Gallery, fill: Fill) -> None:
    fill(gallery)
    gallery.identify(settings=CLEAR)
    first, second = (row["id"] for row in gallery.identities()[:2])
    mine = [hit.sighting for hit in gallery.members(second)]
    first_ones = [hit.sighting for hit in gallery.members(first)]
    merged = gallery.merge([first, second])
    later = gallery.split(merged["identity"], [mine[-1]] if merged["identity"] == first else [first_ones[-1]])
    done = gallery.undo(merged["decision"])
    assert done["moved_on"] == 1
    moved = mine if merged["identity"] == first else first_ones
    assert gallery.sightings([moved[-1]])[0].identity == later["identity"]
    assert {hit.identity for hit in gallery.sightings(moved[:-1])} == {second if moved is mine else first}


def test_names_and_contradictions(gallery: Gallery, fill: Fill) -> None:
    fill(gallery)
    gallery.identify(settings=CLEAR)
    first, second, third = (row["id"] for row in gallery.identities()[:3])
    gallery.rename(third, "Carla")
    merged = gallery.merge([first, third])
    assert merged["identity"] == third
    a, b = gallery.members(third)[0].sighting, gallery.members(second)[0].sighting
    gallery.reject(a, b)
    for wrong in (lambda: gallery.merge([third, second]), lambda: gallery.confirm(a, b)):
        with pytest.raises(ResightError, match="are different: undo it first"):
            wrong()
    gallery.undo()
    gallery.confirm(a, b)
    with pytest.raises(ResightError, match="are one identity: undo the confirmation"):
        gallery.reject(a, b)
    for wrong, sentence in (
        (lambda: gallery.merge([third]), "at least two"),
        (lambda: gallery.merge([third, 999]), "no identity 999"),
        (lambda: gallery.confirm(1, 1), "give two"),
        (lambda: gallery.confirm(1, 999), "no sighting 999"),
        (lambda: gallery.reject(1, 999), "no sighting 999"),
        (lambda: gallery.rename(third), "Give a name or a note"),
        (lambda: gallery.hide(), "Say what to hide"),
        (lambda: gallery.split(third, []), "Name some of the"),
        (lambda: gallery.answer("12", "same"), "is no question"),
    ):
        with pytest.raises(ResightError, match=sentence):
            wrong()


def test_questions_are_not_asked_twice_and_lead_to_the_truth(gallery: Gallery, fill: Fill) -> None:
    made = fill(gallery, spread=0.9)
    gallery.identify(settings=CLEAR | {"eps": 0.75})
    session, asked = gallery.review(), set()
    while (question := session.next()) is not None and len(asked) < 400:
        pair = frozenset(question.sightings)
        assert pair not in asked
        asked.add(pair)
        a, b = (made["identity"][np.flatnonzero(made["ids"] == one)[0]] for one in question.sightings)
        fresh = gallery.questions(1)
        assert fresh[0].gain > 0
        session.answer(question, "same" if a == b else "different")
        if _same_groups(_identity_of(gallery, made["ids"]), made["identity"]):
            break
    assert _same_groups(_identity_of(gallery, made["ids"]), made["identity"])
    left = {frozenset(question.sightings) for question in gallery.questions(1000)}
    assert not left & asked
    gallery.identify(again=True, settings=CLEAR | {"eps": 0.75})
    assert _purity(_identity_of(gallery, made["ids"]), made["identity"]) > 0.9


def _purity(one: np.ndarray, other: np.ndarray) -> float:
    pairs = list(itertools.combinations(range(len(one)), 2))
    return float(np.mean([(one[a] == one[b] > 0) == (other[a] == other[b]) for a, b in pairs]))


def test_the_queue_keeps_account_as_a_new_queue_would() -> None:
    """After many answers, groups, sums and similarities are those that are computed anew."""
    rng = np.random.default_rng(5)
    identity = np.repeat(np.arange(10), 8)
    unit = rng.normal(size=(10, 24))[identity] + 1.2 * rng.normal(size=(80, 24))
    unit = (unit / np.linalg.norm(unit, axis=1, keepdims=True)).astype(np.float32)
    queue = Queue(unit, rng.integers(-1, 9, 80))
    said = []
    for _ in range(200):
        best = queue.best(3)
        if not best:
            break
        for one in best:
            first, second = queue.group == queue.group[one.a], queue.group == queue.group[one.b]
            if one.kind == "merge":
                assert [len(side) for side in one.sides] == [first.sum(), second.sum()]
                assert (queue.group[one.sides[0]] == queue.group[one.a]).all()
                slow = np.mean([unit[x] @ unit[y] for x in np.flatnonzero(first) for y in np.flatnonzero(second)])
                assert abs(slow - one.similarity) < 1e-4
            else:
                assert (first == second).all()
        gains = [one.gain for one in best]
        assert gains == sorted(gains, reverse=True)
        same = bool(identity[best[0].a] == identity[best[0].b])
        queue.answer(best[0].a, best[0].b, same)
        said.append((best[0].a, best[0].b, same))
    for a, b, same in said:
        if not same:
            assert queue.group[a] != queue.group[b]
    assert _purity(queue.group + 1, identity + 1) > 0.96


def test_the_part_that_leaves_is_the_part_that_was_shown() -> None:
    rng = np.random.default_rng(1)
    unit = np.concatenate(
        [rng.normal(size=(12, 16)) * 0.1 + np.eye(16)[0], rng.normal(size=(5, 16)) * 0.1 + np.eye(16)[1]]
    )
    unit = (unit / np.linalg.norm(unit, axis=1, keepdims=True)).astype(np.float32)
    (parts,) = split_tree(unit, lambda one, other: "")
    large, small = sorted(parts, key=len, reverse=True)
    assert small.tolist() == list(range(12, 17))
    a, b = (int(part[np.argmax(unit[part] @ unit[part].sum(axis=0))]) for part in (large, small))
    assert np.flatnonzero(separate(unit, np.arange(17), a, b)).tolist() == small.tolist()
    assert np.flatnonzero(separate(unit, np.arange(17), b, a)).tolist() == small.tolist()
    atom = np.arange(17)
    atom[16] = atom[0]  # an answer joined one of the small part to the large one: it stays
    assert np.flatnonzero(separate(unit, atom, a, b)).tolist() == list(range(12, 16))


def test_links_of_tracks_and_decisions(gallery: Gallery, fill: Fill) -> None:
    fill(gallery)
    gallery.confirm(1, 2)
    gallery.reject(3, 4)
    mirror = gallery._mirror
    links = links_of(mirror, gallery.pairs(), np.arange(len(mirror)))
    assert (links.must.tolist(), links.cannot.tolist()) == ([[0, 1]], [[2, 3]])
    only = links_of(mirror, gallery.pairs(), np.array([2, 3, 5]))
    assert (len(only.must), only.cannot.tolist()) == (0, [[0, 1]])
    nothing = propose(mirror, gallery.pairs(), lambda rows, camera: np.full(len(rows), -1))
    assert nothing.without == 70  # the confirmed pair has one


def test_many_sightings_are_put_into_an_identity_at_once(gallery: Gallery, fill: Fill) -> None:
    made = fill(gallery)
    gallery.identify(settings=CLEAR)
    rows = gallery.identities()
    first, second = (row["id"] for row in rows[:2])
    before = {hit.sighting: hit.identity for hit in gallery.sightings(made["ids"])}
    moving = [hit.sighting for hit in gallery.members(second)[:3]]
    stay = [hit.sighting for hit in gallery.members(second)[3:]]
    done = gallery.assign(first, moving)
    assert (done["identity"], done["moved"]) == (first, 3)
    assert {hit.identity for hit in gallery.sightings(moving)} == {first}
    assert {hit.identity for hit in gallery.sightings(stay)} == {second}
    gallery.identify(again=True, settings=CLEAR)  # it is a decision: clustering anew keeps it
    assert {hit.identity for hit in gallery.sightings([*moving, gallery.members(first)[0].sighting])} == {first}
    gallery.undo()
    with pytest.raises(ResightError, match=r"are one identity: undo the confirmation"):
        gallery.assign(None, moving[:1])
    gallery.undo()
    assert {hit.sighting: hit.identity for hit in gallery.sightings(made["ids"])} == before
    gallery.reject(moving[0], gallery.members(first)[0].sighting)
    with pytest.raises(ResightError, match=r"\(reject, by tester\) says that the sightings"):
        gallery.assign(first, moving)
    new = gallery.assign(None, moving)
    assert new["identity"] not in {row["id"] for row in rows}
    assert sorted(hit.sighting for hit in gallery.members(new["identity"])) == sorted(moving)
    assert gallery.assign(new["identity"], moving)["moved"] == 0
    with pytest.raises(ResightError, match="There is no sighting 9999"):
        gallery.assign(first, [9999])
    with pytest.raises(ResightError, match="Name the sightings"):
        gallery.assign(first, [])


def test_similar_identities_are_those_of_a_slow_search(gallery: Gallery, fill: Fill) -> None:
    fill(gallery)
    gallery.identify(settings=CLEAR)
    rows = gallery.identities()
    one, apart, hidden = rows[0]["id"], rows[1]["id"], rows[2]["id"]
    members = {row["id"]: [hit.sighting for hit in gallery.members(row["id"])] for row in rows}
    gallery.reject(members[one][0], members[apart][0])
    gallery.hide(identities=[hidden])
    own = gallery.embeddings(members[one], without_cameras=True)
    expected = {
        other: float(np.mean([a @ b for a in own for b in gallery.embeddings(inside, without_cameras=True)]))
        for other, inside in members.items()
        if other not in (one, apart, hidden)
    }
    found = gallery.similar(one, 5)
    assert [row["id"] for row in found] == sorted(expected, key=lambda other: -expected[other])[:5]
    assert [row["similarity"] for row in found] == pytest.approx([expected[row["id"]] for row in found], abs=1e-4)
    assert {row["sightings"] for row in found} <= {len(inside) for inside in members.values()}
    with pytest.raises(ResightError, match="There is no identity 9999"):
        gallery.similar(9999)


def test_a_question_says_who_is_on_either_side_and_where(gallery: Gallery, fill: Fill) -> None:
    fill(gallery, spread=0.9)
    gallery.identify(settings=CLEAR)
    questions = gallery.questions(40)
    assert {question.kind for question in questions} == {"merge", "split"}
    for question in questions:
        for side in (0, 1):
            hits = gallery.sightings(question.sides[side])
            assert len(hits) == question.sizes[side]
            assert question.sightings[side] == question.sides[side][0]
            seen = {camera: sum(hit.camera == camera for hit in hits) for camera in {hit.camera for hit in hits}}
            assert question.cameras[side] == seen
            times = [hit.time for hit in hits if hit.time is not None]
            assert question.times[side] == (min(times), max(times))
            if question.kind == "merge" and question.identities[side] is not None:
                inside = gallery.members(question.identities[side])
                assert {hit.sighting for hit in hits} == {hit.sighting for hit in inside}
    split = next(question for question in questions if question.kind == "split")
    assert split.identities[0] == split.identities[1]
    gallery.answer(split.id, "different")  # what leaves is one of the two sides that were shown
    of = {hit.sighting: hit.identity for side in split.sides for hit in gallery.sightings(side)}
    first, second = ({of[one] for one in side} for side in split.sides)
    assert len(first) == len(second) == 1
    assert first != second
