"""The synthetic world: what it writes, that it is the same every time, and that its truth is true."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

import resight
from resight.crops import read_crops
from resight.errors import ResightError
from resight.synthesis import World, world_config
from resight.synthesis.people import CLOTHES, colour_distance

#: A world that is rendered in about a second.
SMALL = {"identities": 10, "cameras": 3, "crops": 150, "height": 64, "width": 32, "distractors": 0.1, "junk": 0.06}


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def truth(folder: Path) -> list[dict]:
    """The rows of the truth table."""
    return pyarrow.parquet.read_table(folder / "crops.parquet").to_pylist()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small world, rendered on one thread."""
    folder = tmp_path_factory.mktemp("synthetic") / "world"
    resight.synthetic(folder, threads=1, label_noise=0.2, **SMALL)
    return folder


def test_same_bytes_on_two_threads(small: Path, tmp_path: Path) -> None:
    resight.synthetic(tmp_path / "again", threads=2, label_noise=0.2, **SMALL)
    assert files(small) == files(tmp_path / "again")


def test_another_seed_is_another_world(small: Path, tmp_path: Path) -> None:
    resight.synthetic(tmp_path / "other", seed=1, threads=1, **SMALL | {"crops": 60, "identities": 10})
    first = {data for name, data in files(small).items() if name.endswith(".jpg")}
    other = {data for name, data in files(tmp_path / "other").items() if name.endswith(".jpg")}
    assert len(first) == 150
    assert not first & other


def test_layout_reads_back_as_market1501(small: Path) -> None:
    table = read_crops(small)
    rows = truth(small)
    assert table.source == "market1501"
    assert list(table.paths) == [row["path"] for row in rows]
    assert table.identity.tolist() == [row["identity"] for row in rows]
    assert table.camera.tolist() == [row["camera"] for row in rows]
    assert table.time.tolist() == [row["time"] for row in rows]
    assert table.split.tolist() == [row["split"] for row in rows]


def test_parquet_reads_back_with_tracks(small: Path) -> None:
    table = read_crops(small / "crops.parquet")
    rows = truth(small)
    assert table.track.tolist() == [row["track"] for row in rows]
    assert table.identity.tolist() == [row["identity"] for row in rows]
    assert len(table) == 150
    with Image.open(table.file(0)) as image:
        assert image.size == (32, 64)


def test_counts_and_splits(small: Path) -> None:
    rows = truth(small)
    assert Counter(row["kind"] for row in rows) == {"person": 126, "distractor": 15, "junk": 9}
    assert {row["identity"] for row in rows if row["kind"] == "distractor"} == {0}
    assert {row["identity"] for row in rows if row["kind"] == "junk"} == {-1}
    assert {row["split"] for row in rows if row["kind"] != "person"} == {"gallery"}
    people = [row for row in rows if row["kind"] == "person"]
    assert {row["true_identity"] for row in people if row["split"] == "train"} == {1, 2, 3, 4, 5}
    assert {row["true_identity"] for row in people if row["split"] != "train"} == {6, 7, 8, 9, 10}
    queries = Counter((row["identity"], row["camera"]) for row in people if row["split"] == "query")
    assert set(queries.values()) == {1}
    for identity, camera in queries:
        assert any(
            row["split"] == "gallery" and row["identity"] == identity and row["camera"] != camera for row in people
        )


def test_label_noise_touches_that_share_of_training_crops_only(small: Path) -> None:
    rows = truth(small)
    train = [row for row in rows if row["split"] == "train"]
    wrong = [row for row in rows if row["identity"] != row["true_identity"]]
    assert len(wrong) == round(0.2 * len(train))
    assert {row["split"] for row in wrong} == {"train"}
    assert {row["identity"] for row in wrong} <= {1, 2, 3, 4, 5}


def test_distractors_are_people_of_one_place(small: Path) -> None:
    places: dict[int, set[tuple[int, int]]] = {}
    for row in truth(small):
        if row["kind"] == "distractor":
            places.setdefault(row["figure"], set()).add((row["camera"], row["track"]))
    assert min(places) > 10
    assert {len(where) for where in places.values()} == {1}


def test_truth_says_what_a_crop_shows(small: Path) -> None:
    rows = truth(small)
    people = [row for row in rows if row["kind"] == "person"]
    assert all(0 < row["visible"] <= 1 for row in people)
    assert all(-180 <= row["direction"] <= 180 for row in people)
    assert {row["lower"] for row in rows if row["kind"] == "junk"} == {None}
    for figure in range(1, 11):
        looks = {tuple((name, row[name]) for name in CLOTHES) for row in people if row["figure"] == figure}
        assert len(looks) == 1


def test_nobody_is_hidden_wholly() -> None:
    world = World(world_config("hard", identities=10, crops=150, height=64, width=32, occlusion=1, cut_off=0))
    seen = [world.render(crop.visit, draw=False) for crop in world.crops if crop.visit.kind == "person"]
    covered = [visible for shot, _, visible in seen if shot.occluder != "none"]
    assert min(covered) >= 0.3
    assert len(covered) > 0.6 * len(seen)
    assert np.mean(covered) < 0.9


def test_frames_of_a_track_are_alike(small: Path) -> None:
    groups: dict[tuple[int, int], dict[int, list[np.ndarray]]] = {}
    for row in truth(small):
        if row["kind"] == "person":
            with Image.open(small / row["path"]) as image:
                pixels = np.asarray(image, dtype=float)
            groups.setdefault((row["figure"], row["camera"]), {}).setdefault(row["track"], []).append(pixels)
    within, between = [], []
    for tracks in groups.values():
        frames = [(track, image) for track, images in tracks.items() for image in images]
        for i, (track, image) in enumerate(frames):
            for other, second in frames[i + 1 :]:
                (within if track == other else between).append(np.abs(image - second).mean())
    assert len(within) > 20
    assert np.mean(within) < 0.75 * np.mean(between)


def test_a_finished_world_is_reused(small: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in small.rglob("*")}
    table = resight.synthetic(small, label_noise=0.2, **SMALL)
    assert len(table) == 150
    assert {path: path.stat().st_mtime_ns for path in small.rglob("*")} == before


def test_an_interrupted_world_is_finished(small: Path, tmp_path: Path) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if done >= 48:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resight.synthetic(tmp_path / "w", threads=1, progress=stop, label_noise=0.2, **SMALL)
    assert not json.loads((tmp_path / "w/world.json").read_text())["finished"]
    assert 0 < len(files(tmp_path / "w")) < 150
    calls = []
    resight.synthetic(tmp_path / "w", threads=1, progress=lambda *call: calls.append(call), label_noise=0.2, **SMALL)
    assert files(tmp_path / "w") == files(small)
    assert calls[-1] == ("rendering", 150, 150)


def test_a_lost_crop_is_made_again(tmp_path: Path) -> None:
    settings = SMALL | {"crops": 40, "identities": 4}
    table = resight.synthetic(tmp_path, threads=1, **settings)
    before = files(tmp_path)
    table.file(7).unlink()
    resight.synthetic(tmp_path, threads=1, **settings)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"level": "harder"}, "no level 'harder'"),
        ({"oclusion": 0.5}, "Did you mean 'occlusion'?"),
        ({"occlusion": 2}, "occlusion=2 is not possible"),
        ({"cameras": "many"}, "cameras='many' is not possible"),
        ({"crops": 20}, "ask for more crops or for fewer identities"),
        ({"threads": 0}, "threads=0"),
    ],
)
def test_settings_refused(settings: dict, said: str, tmp_path: Path) -> None:
    with pytest.raises(ResightError) as error:
        resight.synthetic(tmp_path / "w", **SMALL | settings)
    assert said in str(error.value)
    assert not list((tmp_path / "w").rglob("*.jpg"))


def test_folders_refused(small: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep me")
    with pytest.raises(ResightError, match=r"is not empty and holds no world\.json"):
        resight.synthetic(tmp_path / "mine", **SMALL)
    assert files(tmp_path / "mine") == {"notes.txt": b"keep me"}
    with pytest.raises(ResightError, match="is a file"):
        resight.synthetic(tmp_path / "mine/notes.txt", **SMALL)
    with pytest.raises(ResightError, match=r"seed=0 there, 5 asked for"):
        resight.synthetic(small, seed=5, label_noise=0.2, **SMALL)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/world.json").write_text("{")
    with pytest.raises(ResightError, match="is damaged"):
        resight.synthetic(tmp_path / "damaged", **SMALL)


def test_foreign_images_are_refused_and_kept(tmp_path: Path) -> None:
    settings = SMALL | {"crops": 40, "identities": 4}
    resight.synthetic(tmp_path, threads=1, **settings)
    stranger = tmp_path / "query/0001_c1s1_000001_01.jpg"
    stranger.write_bytes(b"mine")
    with pytest.raises(ResightError, match="1 images that are not of this world"):
        resight.synthetic(tmp_path, threads=1, **settings)
    assert stranger.read_bytes() == b"mine"


def test_more_than_nine_cameras_round_trip(tmp_path: Path) -> None:
    resight.synthetic(
        tmp_path, identities=3, cameras=12, crops=40, height=32, width=16, coverage=1, junk=0, distractors=0, threads=1
    )
    table = read_crops(tmp_path)
    assert set(table.camera.tolist()) == set(range(1, 13))


# --- the plan alone, nothing rendered


def test_siblings_differ_in_exactly_one_visible_attribute() -> None:
    world = World(world_config("medium", identities=300, siblings=0.5))
    copies = [(i, parent, name) for i, (parent, name) in enumerate(world.siblings) if parent]
    assert 110 < len(copies) < 190
    for i, parent, name in copies:
        own, other = world.people[i].attributes(), world.people[parent - 1].attributes()
        assert [key for key in own if own[key] != other[key]] == [name]
        if name in ("upper_colour", "lower_colour"):
            assert colour_distance(own[name], other[name]) > 25
    assert len({name for _, _, name in copies}) >= 8
    assert not any(parent for parent, _ in World(world_config("easy")).siblings)


def test_more_identities_and_cameras_leave_the_first_as_they_are() -> None:
    few = World(world_config("medium", identities=20, cameras=3, crops=400))
    many = World(world_config("medium", identities=40, cameras=5, crops=800))
    assert many.people[:20] == few.people
    assert [c.attributes() for c in many.cameras[:3]] == [c.attributes() for c in few.cameras]


@pytest.mark.parametrize(("coverage", "least", "most"), [(0.0, 2.0, 2.0), (0.5, 2.0, 4.4), (1.0, 6.0, 6.0)])
def test_coverage(coverage: float, least: float, most: float) -> None:
    world = World(world_config("medium", identities=100, crops=2000, coverage=coverage))
    seen: dict[int, set[int]] = {}
    for crop in world.crops:
        if crop.visit.kind == "person":
            seen.setdefault(crop.visit.figure, set()).add(crop.visit.camera)
    counts = [len(cameras) for cameras in seen.values()]
    assert len(counts) == 100
    assert min(counts) >= 2
    assert least <= np.mean(counts) <= most
    assert len({camera for cameras in seen.values() for camera in cameras}) == 6


def test_every_test_identity_can_be_scored_even_with_few_crops() -> None:
    world = World(world_config("medium", identities=50, crops=170))
    test = [crop for crop in world.crops if crop.visit.kind == "person" and crop.split != "train"]
    for figure in range(26, 51):
        queries = {crop.visit.camera for crop in test if crop.visit.figure == figure and crop.split == "query"}
        gallery = {crop.visit.camera for crop in test if crop.visit.figure == figure and crop.split == "gallery"}
        assert queries
        assert gallery - queries or len(gallery) > 1


def test_clothes_change_for_a_share_of_identities() -> None:
    world = World(world_config("medium", identities=100, crops=2000, clothes_change=0.4))
    sets: dict[int, set[int]] = {}
    for crop in world.crops:
        sets.setdefault(crop.visit.figure, set()).add(crop.visit.clothes)
    changed = [figure for figure, numbers in sets.items() if len(numbers) == 2]
    assert 25 < len(changed) < 55
    before, after = world.person(changed[0], 0), world.person(changed[0], 1)
    assert colour_distance(before.upper_colour, after.upper_colour) > 25
    assert (before.skin, before.hair, before.height) == (after.skin, after.hair, after.height)


def test_time_runs_within_a_track() -> None:
    world = World(world_config("medium", identities=20, crops=600, track_length=3, frame_gap=0.4))
    tracks: dict[int, list[tuple[int, int]]] = {}
    for crop in world.crops:
        tracks.setdefault(crop.track, []).append((crop.visit.frame, crop.visit.time))
    assert {len(frames) for frames in tracks.values()} == {1, 2, 3}
    for frames in tracks.values():
        times = [time for _, time in sorted(frames)]
        assert all(9 <= b - a <= 11 for a, b in pairwise(times))


def test_levels_are_ordered_knob_by_knob() -> None:
    easy, medium, hard = (world_config(level).model_dump() for level in ("easy", "medium", "hard"))
    falling = {"coverage", "resolution", "jpeg_quality"}
    rising = {name for name in easy if easy[name] != hard[name]} - falling - {"level"}
    assert len(rising) >= 18
    for name in falling:
        assert easy[name] > medium[name] > hard[name]
    for name in rising:
        assert easy[name] <= medium[name] <= hard[name], name
        assert easy[name] < hard[name], name


def test_planning_a_world_needs_no_compiler() -> None:
    script = (
        "import sys; from resight.synthesis import World, world_config; "
        "World(world_config('easy', identities=4, crops=40)).crops; "
        "print([m for m in ('torch', 'numba', 'sklearn', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
