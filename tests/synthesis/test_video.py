"""Videos of a synthetic world: what covers what, true boxes, the same bytes every time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resight.errors import ResightError
from resight.ingest import read_boxes, read_feeds
from resight.synthesis import video_config, write_videos
from resight.synthesis.config import world_config
from resight.synthesis.frames import FrameCamera
from resight.synthesis.render import heading_for
from resight.synthesis.skeleton import Pose
from resight.synthesis.walks import walk_through
from resight.synthesis.world import World

av = pytest.importorskip("av")

SMALL: dict[str, Any] = {
    "identities": 12, "cameras": 2, "seconds": 2, "fps": 4, "frame_width": 128, "frame_height": 72, "occlusion": 0,
}  # fmt: skip


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos") / "station"
    write_videos(folder, video_config(**SMALL), threads=1)
    return folder


@pytest.fixture(scope="module")
def world() -> World:
    return World(world_config("medium", identities=4, cameras=2, occlusion=0))


def pose(x: float, y: float) -> Pose:
    """Somebody who walks to the right of the picture."""
    return Pose(x, y, heading_for(90, x, y))


def test_nearer_people_cover_farther_ones(world: World) -> None:
    camera = replace(world.cameras[0], height=1.6)
    stage = FrameCamera(camera, world.config, 192, 108, np.random.default_rng(0))
    near = (world.person(1), pose(0, camera.near), 0)
    far = (world.person(2), pose(0, camera.far), 1)
    beside = (world.person(3), pose(2.0, camera.far), 2)
    outside = (world.person(4), pose(30.0, camera.far), 3)
    _, seen = stage.render([near, far, beside, outside], 0, draw=False)
    shares = {one.place: one.visible for one in seen}
    assert shares[0] == shares[2] == 1
    assert shares[1] < 0.4
    assert 3 not in shares
    _, seen = stage.render([far, near], 0, draw=False)  # in whatever order they are given
    assert [one.visible for one in seen] == [shares[1], 1]
    _, seen = stage.render([far], 0, draw=False)
    assert seen[0].visible == 1
    half = (world.person(1), pose(stage.view.across * camera.near * 0.97, camera.near), 0)
    one = stage.render([half], 0, draw=False)[1][0]
    assert one.box[2] == 192  # the box ends with the frame
    assert 0.2 < one.visible < 0.8


def test_a_frame_is_that_which_is_rendered_as_a_whole(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the part that people change is shaded again: the result is that of shading everything."""
    camera = world.cameras[0]
    stage = FrameCamera(camera, world.config, 128, 72, np.random.default_rng(0))
    empty, _ = stage.render([], 5)
    people = [(world.person(1), pose(-0.5, camera.near + 0.5), 0), (world.person(2), pose(0.2, camera.far), 1)]
    quick, seen = stage.render(people, 5)
    monkeypatch.setattr(stage, "_changed", lambda figure: (0, 144, 0, 256))
    whole, _ = stage.render(people, 5)
    assert quick is not None
    assert whole is not None
    assert empty is not None
    np.testing.assert_array_equal(quick, whole)
    changed = np.abs(whole.astype(int) - empty).max(axis=2) > 12
    assert np.flatnonzero(changed.any(axis=1))[0] == pytest.approx(min(one.box[1] for one in seen), abs=1.5)
    for one in seen:
        left, top, right, bottom = (round(value) for value in one.box)
        assert changed[top:bottom, left:right].mean() > 0.3


def test_walks_stay_where_people_are_and_leave_the_view(world: World) -> None:
    config = world.config.model_copy(update={"standing": 1.0})
    for camera in world.cameras:
        stage = FrameCamera(camera, config, 64, 64, np.random.default_rng(0))
        for i in range(8):
            walk = walk_through(camera, stage.view, config, 1, 3.0, np.random.default_rng(i))
            assert camera.near - 0.1 < walk.points[:, 1].min()
            assert walk.points[:, 1].max() < camera.far + 0.9
            assert np.hypot(*np.diff(walk.points, axis=0).T).max() < 0.051
            poses = [walk.pose(at, world.person(1)) for at in np.linspace(walk.begin, walk.end, 40)]
            assert 0 < sum(not one.walking for one in poses) < 35
            assert not stage.render([(world.person(1), poses[0], 0), (world.person(1), poses[-1], 1)], 0, draw=False)[1]


def test_truth_and_video_belong_together(small: Path) -> None:
    config = video_config(**SMALL)
    rows = [line.split(",") for line in (small / "tracks.csv").read_text().splitlines()[1:]]
    identity = {int(row[0]): int(row[2]) for row in rows}
    assert len(identity) == len(rows)
    feeds = read_feeds(small / "cameras.yaml")
    assert [feed.camera for feed in feeds] == ["c1", "c2"]
    tracks: list[int] = []
    for feed in feeds:
        with av.open(feed.source) as container:
            pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
            assert container.metadata["creation_time"].startswith("2026-01-01T08:00:00")
        assert len(pictures) == config.frames == 8
        assert pictures[0].shape == (72, 128, 3)
        assert feed.boxes is not None
        boxes = read_boxes(feed.boxes)
        assert boxes.tracked
        people = read_boxes(Path(feed.boxes).with_name("identities.txt"))
        for frame, found in boxes.frames.items():
            assert [identity[track] for track in found.track] == people.frames[frame].track.tolist()
            assert found.corners.min() >= 0
            assert (found.corners.max(axis=0) <= [128, 72, 128, 72]).all()
            tracks += found.track.tolist()
    assert set(tracks) == set(identity)
    assert "seqLength=8" in (small / "c1" / "seqinfo.ini").read_text()


def test_the_same_bytes_on_two_threads_and_after_a_stop(small: Path, tmp_path: Path) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if done > 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_videos(tmp_path / "again", video_config(**SMALL), threads=2, progress=stop)
    first = (tmp_path / "again/c1/c1.mp4").stat().st_mtime_ns
    made = write_videos(tmp_path / "again", video_config(**SMALL), threads=2)
    assert made.drawn == 8
    assert (tmp_path / "again/c1/c1.mp4").stat().st_mtime_ns == first
    assert files(tmp_path / "again") == files(small)
    assert write_videos(small, video_config(**SMALL)).drawn == 0


def test_the_command(small: Path, tmp_path: Path, in_process: Callable[..., tuple[int, str, str]]) -> None:
    words = ("synth", small, "--video", "2s", "--fps", 4, "--size", "128x72", "--identities", 12, "--cameras", 2)
    status, out, err = in_process(*words, "occlusion=0")
    assert (status, "nothing was rendered" in out) == (0, True), err
    for more, said in (
        (("--crops", 50), "'crops' is of crops"),
        (("junk=0.1",), "'junk' is of crops"),
        (("--size", "128"), "is written as 640x360"),
        (("--size", "127x72"), "must be an even number"),
        (("--fps", 0), "fps=0"),
        (("--video", "soon"), "A length of time"),
        ((), "occlusion=0.0 there, 0.1 asked for"),
        (("nonsense=1",), "no setting 'nonsense'"),
    ):
        status, _, err = in_process(*words, *more)
        assert status == 2
        assert said in " ".join(err.replace("│", " ").split())
    status, _, err = in_process("synth", tmp_path / "a", "--fps", 4)
    assert "--fps and --size are of videos" in err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep me")
    with pytest.raises(ResightError, match=r"is not empty and holds no video\.json"):
        write_videos(tmp_path / "mine", video_config(**SMALL))
