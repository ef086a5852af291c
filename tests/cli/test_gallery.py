"""The commands about galleries, as a person uses them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def people(run: Path, painted: Path, tmp_path: Path, resight: Command) -> Path:
    """A gallery of all crops, with identities."""
    place = tmp_path / "people"
    assert resight("gallery", "create", place, "--run", run, "--device", "cpu")[0] == 0
    status, out, _ = resight("gallery", "add", place, "--data", painted, "--device", "cpu", "-q")
    assert (status, "96 sightings added, 0 known before; 96 in the gallery now." in out) == (0, True)
    status, out, _ = resight("identify", place, "--device", "cpu", "-q", "eps=0.5", "min_samples=2")
    assert (status, "96 sightings clustered." in out) == (0, True)
    return place


def test_from_crops_to_reviewed_identities(people: Path, painted: Path, tmp_path: Path, resight: Command) -> None:
    info = json.loads(resight("gallery", "info", people, "--json")[1])
    assert (info["sightings"], info["decisions"]) == (96, 1)
    again = json.loads(resight("identify", people, "--json", "-q", "--device", "cpu", "eps=0.5", "min_samples=2")[1])
    assert again["new_identities"] == []
    largest = json.loads(resight("gallery", "identities", people, "--json")[1])[0]["id"]
    assert "is named (decision" in resight("gallery", "name", people, largest, "Anna", "--by", "Kim")[1]
    assert "Anna" in resight("gallery", "identities", people)[1]
    members = json.loads(resight("gallery", "show", people, largest, "--json", "--sheet", tmp_path / "s.png")[1])
    assert (tmp_path / "s.png").is_file()
    some = [str(hit["sighting"]) for hit in members[:2]]
    status, out, _ = resight("gallery", "split", people, largest, *some)
    assert (status, "2 sightings are identity" in out) == (0, True)
    made = out.split("identity ")[1].split()[0]
    status, _, err = resight("gallery", "merge", people, largest, made)
    assert (status, "are different: undo it first" in err) == (2, True)
    assert "is undone: 2 sightings moved back" in resight("gallery", "undo", people)[1]
    log = json.loads(resight("gallery", "log", people, "--json")[1])
    assert [(entry["kind"], entry["by"] == "Kim") for entry in log[-3:]] == [
        ("name", True), ("split", False), ("undo", False),
    ]  # fmt: skip
    assert "undone" in resight("gallery", "log", people)[1]
    assert "All is well: 96 sightings" in resight("gallery", "verify", people)[1]


def test_search(people: Path, painted: Path, tmp_path: Path, resight: Command) -> None:
    image = sorted(painted.iterdir())[0]
    status, out, _ = resight("search", people, image, "-k", 5, "--device", "cpu", "--sheet", tmp_path / "found.png")
    assert status == 0
    assert image.name in out
    assert (tmp_path / "found.png").is_file()
    hits = json.loads(resight("search", people, image, "--not-camera", "1", "--device", "cpu", "--json", "-k", 60)[1])
    assert len(hits) == 48
    assert {hit["camera"] for hit in hits} == {"2"}
    words = ("--sighting", 1, "--sighting", 2, "--not-sighting", 90, "--rerank", "--json", "-k", 7)
    hits = json.loads(resight("search", people, *words)[1])
    assert len(hits) == 7
    assert all(hit["distance"] is not None for hit in hits)
    assert not {1, 2, 90} & {hit["sighting"] for hit in hits}
    for wrong, sentence in (
        ((), "There is nothing to search for"),
        ((painted / "missing.png",), "cannot be read"),
        (("--sighting", 1000), "There is no sighting 1000"),
        (("--sighting", 1, "--camera", "9"), "no sighting of a camera '9'"),
        (("--sighting", 1, "--from", "soon"), "--from is a number"),
        (("--sighting", 1, "--from", "5", "--to", "4"), "ends at 4, before it starts at 5"),
        (("--sighting", 1, "--identity", 999), "There is no identity 999"),
        (("--sighting", 1, "--sheet", tmp_path / "a.txt"), "Pictures are written to a file ending in"),
    ):
        status, _, err = resight("search", people, *wrong)
        assert (status, sentence in err) == (2, True), err


def test_review_by_hand_and_by_another_program(
    people: Path, tmp_path: Path, resight: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("d\nu\nwhat\nk\ns\nq\n"))
    status, out, _ = resight("gallery", "review", people, "--sheet", tmp_path / "q.png")
    assert status == 0
    assert "2 answers." in out
    assert "is undone" in out
    assert "'what' is no answer" in out
    assert (tmp_path / "q.png").is_file()
    questions = json.loads(resight("gallery", "review", people, "--json", "-n", 3)[1])
    assert len(questions) == 3
    assert questions[0]["gain"] >= questions[1]["gain"] >= questions[2]["gain"]
    asked = questions[0]["id"]
    assert json.loads(resight("gallery", "answer", people, asked, "skip", "--json")[1])["decision"] > 0
    left = json.loads(resight("gallery", "review", people, "--json", "-n", 1000)[1])
    assert asked not in {question["id"] for question in left}
    for words, sentence in (((asked, "maybe"), "must be same, different or skip"), (("12", "same"), "is no question")):
        status, _, err = resight("gallery", "answer", people, *words)
        assert (status, sentence in err) == (2, True)


def test_similar_identities_and_many_at_once(people: Path, tmp_path: Path, resight: Command) -> None:
    rows = json.loads(resight("gallery", "identities", people, "--json")[1])
    one = rows[0]["id"]
    status, out, _ = resight("gallery", "similar", people, one, "-n", 2, "--sheet", tmp_path / "s.png")
    assert (status, f"Next: resight gallery merge {people} {one} " in out) == (0, True)
    assert (tmp_path / "s.png").is_file()
    near = json.loads(resight("gallery", "similar", people, one, "--json")[1])
    assert len(near) == min(10, len(rows) - 1)
    assert near[0]["similarity"] >= near[-1]["similarity"]
    some = [hit["sighting"] for hit in json.loads(resight("gallery", "show", people, near[0]["id"], "--json")[1])[:2]]
    assert f"2 sightings moved to identity {one} " in resight("gallery", "assign", people, one, *some)[1]
    status, _, err = resight("gallery", "assign", people, "new", *some)
    assert (status, "are one identity: undo" in err) == (2, True)
    resight("gallery", "undo", people)
    assert "2 sightings moved to identity " in resight("gallery", "assign", people, "new", *some)[1]
    status, _, err = resight("gallery", "assign", people, "x", *some)
    assert (status, "IDENTITY is the number of one, or 'new', not 'x'" in err) == (2, True)
    questions = json.loads(resight("gallery", "review", people, "--json", "-n", 2)[1])
    told = resight("gallery", "answer", people, *(question["id"] for question in questions), "skip", "--json")[1]
    assert len([json.loads(line)["decision"] for line in told.splitlines()]) == 2


def test_delete_export_import_migrate(people: Path, run: Path, tmp_path: Path, resight: Command) -> None:
    assert "96 sightings exported" in resight("gallery", "export", people, "--to", tmp_path / "out")[1]
    status, _, err = resight("gallery", "delete", people, "--camera", "1")
    assert (status, "give --yes" in err) == (2, True)
    assert "48 sightings deleted" in resight("gallery", "delete", people, "--camera", "1", "--yes")[1]
    status, out, _ = resight("gallery", "import", people, "--from", tmp_path / "out", "-q")
    assert (status, "48 sightings and 0 decisions added." in out) == (0, True)
    assert (
        "96 sightings embedded anew" in resight("gallery", "migrate", people, "--to", run, "--device", "cpu", "-q")[1]
    )
    assert resight("gallery", "verify", people)[0] == 0
    thumbnail = next((people / "thumbnails").rglob("*.jpg"))
    thumbnail.unlink()
    status, out, _ = resight("gallery", "verify", people)
    assert (status, "is missing" in out) == (1, True)


def test_places_that_are_no_gallery(run: Path, painted: Path, tmp_path: Path, resight: Command) -> None:
    for words in (("info",), ("add", "--data", painted), ("verify",), ("log",), ("review", "--json")):
        status, _, err = resight("gallery", words[0], tmp_path / "missing", *words[1:])
        assert (status, "is not a gallery" in err) == (2, True), err
    status, _, err = resight("gallery", "create", tmp_path / "g", "--run", tmp_path / "missing")
    assert (status, "is not a run folder" in err) == (2, True)
    assert not (tmp_path / "g").exists()
