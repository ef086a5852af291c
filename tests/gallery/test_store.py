"""Adding, searching, deleting, exporting: on SQLite and, where there is a server, on PostgreSQL."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import resight
from resight.errors import ResightError
from resight.gallery import Gallery, adding
from resight.gallery.schema import VERSION


def test_adding_twice_adds_nothing(gallery: Gallery, painted: Path, tmp_path: Path) -> None:
    acknowledged: list[str] = []
    first = gallery.add(painted, acknowledge=acknowledged.extend)
    assert (first.added, first.known, first.unreadable) == (96, 0, [])
    assert len(set(acknowledged)) == 96
    moved = shutil.copytree(painted, tmp_path / "elsewhere")
    (moved / "copy.png").write_bytes(next(painted.glob("*.png")).read_bytes())
    (moved / "broken.png").write_bytes(b"no image")
    again = gallery.add(resight.read_crops(moved, "folder"))
    assert (again.added, again.known) == (0, 97)
    assert [name for name, _ in again.unreadable] == ["broken.png"]
    info = gallery.info()
    assert (info["sightings"], info["cameras"]) == (96, {"1": 48, "2": 48})
    assert gallery.verify() == []


def test_embeddings_are_those_of_the_model(gallery: Gallery, painted: Path) -> None:
    table = resight.read_crops(painted)
    gallery.add(table)
    expected = gallery.model.embed([table.file(row) for row in range(len(table))])
    hits = {Path(hit.source).name: hit.sighting for hit in gallery.sightings(range(1, 97))}
    ids = [hits[Path(path).name] for path in table.paths]
    assert np.abs(gallery.embeddings(ids) - expected).max() < 1e-3
    assert gallery.pictures(gallery.sightings(ids[:1]))[0].shape == (32, 16, 3)


def test_search_finds_what_a_slow_search_finds(gallery: Gallery, fill: Callable[..., dict[str, np.ndarray]]) -> None:
    made = fill(gallery)
    ids, camera, time = made["ids"], made["camera"], made["time"]
    stored = made["embeddings"].astype(np.float16).astype(np.float64)
    stored /= np.linalg.norm(stored, axis=1, keepdims=True)
    for options, mask in (
        ({}, np.ones(len(ids), bool)),
        ({"cameras": ["c0", "c2"]}, camera != 1),
        ({"not_cameras": ["c0"]}, camera != 0),
        ({"start": 300, "stop": 600.0}, (time >= 300) & (time <= 600)),
        ({"cameras": ["c1"], "stop": 500}, (camera == 1) & (time <= 500)),
    ):
        query = [int(ids[4]), int(ids[9])]
        hits = gallery.search(sightings=query, k=10, **options)
        vector = stored[[4, 9]].mean(axis=0)
        cosine = stored @ (vector / np.linalg.norm(vector))
        kept = mask & ~np.isin(ids, query)
        order = [place for place in np.argsort(-cosine, kind="stable") if kept[place]][:10]
        assert [hit.sighting for hit in hits] == ids[order].tolist()
        assert np.allclose([hit.similarity for hit in hits], cosine[order], atol=1e-6)
        assert [hit.camera for hit in hits] == [f"c{camera[place]}" for place in order]
        many = gallery.search_many(vector[None], 10 + len(query), **options)[0]
        assert [one for one in many[0].tolist() if one not in query][:10] == ids[order].tolist()


def test_not_this_one_and_reranking(gallery: Gallery, fill: Callable[..., dict[str, np.ndarray]]) -> None:
    made = fill(gallery, spread=0.8)
    ids, identity = made["ids"], made["identity"]
    query, other = int(ids[0]), int(ids[identity != identity[0]][0])
    plain = gallery.search(sightings=[query], k=71)
    away = gallery.search(sightings=[query], not_sightings=[other], k=71)
    assert len(away) == 70
    rank = {hit.sighting: place for place, hit in enumerate(plain)}
    of_other = [int(one) for one in ids[identity == made["identity"][ids == other][0]] if one != other]
    after = {hit.sighting: place for place, hit in enumerate(away)}
    assert np.mean([after[one] for one in of_other]) > np.mean([rank[one] for one in of_other])
    hits = gallery.search(sightings=[query], k=8, rerank=True)
    vectors = gallery.embeddings([hit.sighting for hit in plain])
    from resight.evaluation import rerank_distances

    distance = rerank_distances(gallery.embeddings([query]), vectors)[0]
    expected = [plain[place].sighting for place in np.argsort(distance, kind="stable")[:8]]
    assert [hit.sighting for hit in hits] == expected


def test_deleting_leaves_no_byte(run: Path, painted: Path, tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "g", run, device="cpu") as gallery:
        gallery.add(painted)
        gallery.identify(settings={"eps": 0.5, "min_samples": 2})
        largest = gallery.identities()[0]["id"]
        gallery.rename(largest, "Anna Secretname", "a note that is private")
        members = [hit.sighting for hit in gallery.members(largest)]
        others = [one for one in range(1, 97) if one not in members]
        gallery.reject(members[0], others[0])
        secrets = [row.tobytes() for row in gallery.embeddings(members).astype(np.float16)]
        secrets += [gallery.stored(one) for one in members]
        secrets += [gallery.thumbnail(one) for one in members]
        secrets += [Path(hit.source).name.encode() for hit in gallery.sightings(members)]
        secrets += [b"Anna Secretname", b"a note that is private"]
        kept = [gallery.stored(one) for one in others]
        before = _bytes_of(tmp_path / "g")
        assert sum(one in before for one in secrets) > 3 * len(members)
        deleted = gallery.delete(identities=[largest])
        assert deleted.sightings == sorted(members)
        assert deleted.identities == [largest]
        after = _bytes_of(tmp_path / "g")
        assert not [one for one in secrets if one in after]
        assert all(one in after for one in kept)
        assert gallery.verify() == []
        assert gallery.info()["sightings"] == len(others)
        assert [entry.kind for entry in gallery.log()] == ["identify", "name", "reject"]
        assert {hit.sighting for hit in gallery.search(sightings=[others[0]], k=96)} == set(others[1:])
        new = gallery.add(painted)
        assert new.added == len(members)
        assert min(hit.sighting for hit in gallery.sightings(range(97, 97 + len(members)))) == 97


def test_deleting_an_identity_deletes_the_names_of_those_that_became_it(run: Path, tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "g", run, device="cpu") as gallery:
        info = gallery.info()
        rows = np.random.default_rng(0).normal(size=(7, info["dim"])).astype(np.float32)
        gallery.add_embeddings(rows, fingerprint=info["model"])
        one, other, third = (gallery.assign(None, pair)["identity"] for pair in ([1, 2], [3, 4], [5, 6]))
        gallery.rename(one, "Anna Secretname")
        gallery.rename(other, "Berta Otherwise")
        gallery.rename(third, "Clara Stays")
        into = gallery.merge([one, other])["identity"]
        gallery.assign(third, [7])
        gallery.delete(sightings=[5, 6])  # sighting 7 is left, so the identity and its name are
        assert b"Clara Stays" in _bytes_of(tmp_path / "g")
        assert sorted(gallery.delete(identities=[into]).identities) == [one, other]
        after = _bytes_of(tmp_path / "g")
        assert b"Anna Secretname" not in after
        assert b"Berta Otherwise" not in after
        assert [row["id"] for row in gallery.identities()] == [third]
        assert gallery.verify() == []


def _bytes_of(folder: Path) -> bytes:
    return b"\n".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())


def test_delete_by_camera_and_time(gallery: Gallery, fill: Callable[..., dict[str, np.ndarray]]) -> None:
    made = fill(gallery)
    expected = set(made["ids"][(made["camera"] == 1) | (made["time"] < 200)].tolist())
    assert set(gallery.delete(cameras=["c1"], before=200).sightings) == expected
    left = set(made["ids"].tolist()) - expected
    assert {hit.sighting for hit in gallery.search(sightings=[min(left)], k=100)} == left - {min(left)}
    with pytest.raises(ResightError, match="There is no sighting 9999 in the gallery; nothing was deleted"):
        gallery.delete(sightings=[min(left), 9999])
    assert gallery.info()["sightings"] == len(left)
    assert gallery.verify() == []


def test_export_and_back(gallery: Gallery, run: Path, painted: Path, tmp_path: Path) -> None:
    gallery.add(painted)
    gallery.identify(settings={"eps": 0.5, "min_samples": 2})
    some = gallery.identities()[0]["id"]
    gallery.rename(some, "Anna")
    members = [hit.sighting for hit in gallery.members(some)]
    gallery.split(some, members[:1])
    gallery.hide(sightings=members[-1:])
    assert gallery.export(tmp_path / "out") == 96
    assert len(list((tmp_path / "out" / "thumbnails").rglob("*.jpg"))) == 96
    with Gallery.create(tmp_path / "copy", run, device="cpu") as copy:
        assert copy.import_from(tmp_path / "out") == (96, 4)
        assert copy.import_from(tmp_path / "out") == (0, 0)
        assert copy.verify() == []

        def state(of: Gallery) -> list[tuple[object, ...]]:
            hits = of.search(sightings=[1], k=100, hidden=True)
            return sorted((hit.source, hit.camera, hit.identity, hit.name, hit.quality) for hit in hits)

        assert state(copy) == state(gallery)
        assert [(e.kind, e.by, e.active) for e in copy.log()] == [(e.kind, e.by, e.active) for e in gallery.log()]
        copy.undo()
        split = next(entry.id for entry in copy.log() if entry.kind == "split")
        copy.undo(split)
        assert {hit.sighting for hit in copy.members(some)} >= set()
        assert len(copy.members(some)) == len(members)
    with pytest.raises(ResightError, match="is there already"):
        gallery.export(tmp_path / "out")
    (tmp_path / "out" / "sightings.parquet").write_bytes(b"PAR1")
    with pytest.raises(ResightError, match="is damaged"):
        gallery.import_from(tmp_path / "out")


def test_another_models_embeddings_are_refused_until_migrated(
    gallery: Gallery, run: Path, other_run: Path, painted: Path, tmp_path: Path
) -> None:
    gallery.add(painted)
    gallery.identify(settings={"eps": 0.5, "min_samples": 2})
    groups = gallery.identities()
    gallery.export(tmp_path / "out")
    with pytest.raises(ResightError, match="embeddings of two models cannot be compared"):
        gallery.add_embeddings(np.eye(128, dtype=np.float32)[:2], fingerprint="another")
    sources = sorted(Path(hit.source) for hit in gallery.sightings(range(1, 97)))
    away = shutil.move(sources[0], tmp_path / "away.png")
    try:
        assert gallery.migrate(other_run) == (96, 1)
    finally:
        shutil.move(away, sources[0])
    assert gallery.info()["dim"] == 256
    table = resight.read_crops(painted)
    model = resight.load(other_run, "cpu")
    by_name = {Path(hit.source).name: hit.sighting for hit in gallery.sightings(range(1, 97))}
    ids = [by_name[path] for path in table.paths]
    expected = model.embed([table.file(row) for row in range(len(table))])
    assert np.abs(gallery.embeddings(ids[1:]) - expected[1:]).max() < 1e-3
    assert gallery.identities() == groups
    assert gallery.verify() == []
    with pytest.raises(ResightError, match="are of another model"):
        gallery.import_from(tmp_path / "out")
    with pytest.raises(ResightError, match="are not those that embedded"):
        Gallery(gallery._store.place, run=run, device="cpu")


def test_what_a_killed_process_left_is_swept(gallery: Gallery, painted: Path) -> None:
    gallery.add(painted)
    store, files = gallery._store, gallery._files
    held = gallery.sightings([1])[0].thumbnail
    assert held is not None
    dead = "/".join([store.writer.split("/")[0], "999999999", "1.0"])
    alive = store.writer
    store.writer = dead
    adding.note_pending(store, ["aa/orphan.jpg", held])
    store.writer = alive
    files.write([("aa/orphan.jpg", b"x")])
    assert adding.sweep(store, files) == 2
    assert files.read("aa/orphan.jpg") is None
    assert files.read(held) is not None
    assert gallery.verify() == []


def test_verify_names_what_is_wrong(run: Path, painted: Path, tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "g", run, device="cpu") as gallery:
        gallery.add(painted)
        keys = [hit.thumbnail for hit in gallery.sightings([1, 2])]
        (tmp_path / "g" / "thumbnails" / str(keys[0])).unlink()
        (tmp_path / "g" / "thumbnails" / str(keys[1])).write_bytes(b"")
        (tmp_path / "g" / "thumbnails" / "stray.jpg").write_bytes(b"x")
        (tmp_path / "g" / "thumbnails" / "aa" / "stray.jpg").parent.mkdir(exist_ok=True)
        (tmp_path / "g" / "thumbnails" / "aa" / "stray.jpg").write_bytes(b"x")
        with sqlite3.connect(tmp_path / "g" / "gallery.db") as connection:
            connection.execute("UPDATE sighting SET embedding = zeroblob(256) WHERE id = 3")
            connection.execute("UPDATE sighting SET embedding = zeroblob(3) WHERE id = 4")
        found = " ".join(gallery.verify())
    for part in (
        "sighting 1,",
        "sighting 2,",
        "stray.jpg belongs to no",
        "sighting 3 has length 0",
        "sighting 4 has 3",
    ):
        assert part in found


def test_places_that_hold_no_gallery_get_a_sentence(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ResightError, match="is not a gallery: it has no gallery"):
        Gallery(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("x")
    with pytest.raises(ResightError, match="other files in it"):
        Gallery.create(tmp_path / "other", run, device="cpu")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "gallery.db").write_bytes(b"x" * 5000)
    with pytest.raises(ResightError, match="is damaged"):
        Gallery(tmp_path / "bad")
    Gallery.create(tmp_path / "g", run, device="cpu").close()
    with pytest.raises(ResightError, match="already holds a gallery"):
        Gallery.create(tmp_path / "g", run, device="cpu")
    with sqlite3.connect(tmp_path / "g" / "gallery.db") as connection:
        connection.execute("UPDATE setting SET value = '999' WHERE name = 'version'")
    with pytest.raises(ResightError, match=f"tables of version 999, here {VERSION}"):
        Gallery(tmp_path / "g")
    for place in ("mysql://host/x", "postgresql://localhost:1/x", "nonsense://"):
        with pytest.raises(ResightError):
            Gallery(place)
    with pytest.raises(ResightError, match="needs a place for its thumbnails"):
        Gallery.create("postgresql://localhost/x", run)


def test_thumbnails_by_address(run: Path, painted: Path, tmp_path: Path) -> None:
    address = f"memory://{os.urandom(4).hex()}/people"
    with Gallery.create(tmp_path / "g", run, thumbnails=address, device="cpu") as gallery:
        gallery.add(painted)
        assert gallery.verify() == []
        assert gallery.pictures(gallery.sightings([5]))[0] is not None
        gallery.delete(sightings=[5])
        assert gallery.verify() == []
        assert len(gallery._files.keys()) == 95
    with pytest.raises(ResightError, match="Thumbnails cannot be kept at"):
        Gallery.create(tmp_path / "h", run, thumbnails="nonsense://x", device="cpu")


def test_two_openings_see_each_other(gallery: Gallery, fill: Callable[..., dict[str, np.ndarray]]) -> None:
    made = fill(gallery)
    with Gallery(gallery._store.place, device="cpu") as other:
        assert len(other.search(sightings=[1], k=100)) == 71
        more = fill(gallery, seed=1)
        assert len(other.search(sightings=[1], k=1000)) == 143
        gallery.delete(sightings=made["ids"][:10].tolist())
        assert len(other.search(sightings=[int(more["ids"][0])], k=1000)) == 133
        gallery.hide(sightings=[int(more["ids"][5])])
        assert len(other.search(sightings=[int(more["ids"][0])], k=1000)) == 132
        assert len(other.search(sightings=[int(more["ids"][0])], k=1000, hidden=True)) == 133
