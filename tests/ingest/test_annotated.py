"""Boxes and videos with identities in place of tracks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from resight.charts import COLOURS
from resight.errors import ResightError
from resight.ingest import Feed, Ingest, read_boxes
from resight.ingest.annotated import annotate, number_boxes, open_numbered, write_numbered
from resight.ingest.store import read_rows

av = pytest.importorskip("av")
pytest.importorskip("cv2")

WIDTH, HEIGHT, FRAMES = 161, 97, 12


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of one grey, whose size is odd, and tracks 7, 8 and 9; 8 and 9 are in the same frames."""
    folder = tmp_path_factory.mktemp("annotated")
    with av.open(str(folder / "gate.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "bgr0"
        image = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
        for _ in range(FRAMES):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    lines = [f"{frame + 1},7,10,20,24,60,0.9,-1,-1,-1" for frame in range(4)]
    lines += [f"{frame + 1},8,60,20,24,60,0.9,-1,-1,-1" for frame in range(4, 12)]
    lines += [f"{frame + 1},9,110,20,24,60,0.9,-1,-1,-1" for frame in range(6, 12)]
    (folder / "gate.txt").write_text("\n".join(lines))
    return folder / "gate.mkv"


@pytest.fixture(scope="module")
def sightings(video: Path) -> Path:
    to = video.parent / "sightings"
    Ingest([Feed(str(video), "gate", start=1e9, boxes=str(video.with_suffix(".txt")))], to).run()
    return to


def test_tracks_have_the_numbers_of_identities_and_a_number_is_in_a_frame_once(sightings: Path, tmp_path: Path) -> None:
    rows = read_rows(sightings)
    track = {row["given"]: row["track"] for row in rows}
    for wanted, expected, apart in (
        ({7: 0, 8: 0, 9: 1}, {7: 0, 8: 0, 9: 1}, 0),
        ({7: 0, 8: 4}, {7: 0, 8: 4, 9: 5}, 0),  # a track in no identity has a number of its own
        ({7: 2, 8: 2, 9: 2}, {7: 2, 8: 2, 9: 3}, 1),  # 8 is longer than 9
    ):
        identity = {row["path"]: wanted.get(row["given"], -1) for row in rows}
        (found,), least = number_boxes(sightings, identity)
        assert (found.apart, least) == (apart, 1 + max(wanted.values()))
        (file,) = write_numbered([found], tmp_path)
        plain, written = read_boxes(sightings / "boxes" / "gate-1.txt"), read_boxes(file)
        assert file.name == "gate-1.txt"
        numbers = {track[given]: number for given, number in expected.items()}
        for frame, boxes in plain.frames.items():
            assert written.frames[frame].track.tolist() == [numbers[one] for one in boxes.track.tolist()]
            np.testing.assert_allclose(written.frames[frame].corners, boxes.corners)
    with pytest.raises(ResightError, match="none of the crops"):
        number_boxes(sightings, {"other.jpg": 1})
    with pytest.raises(ResightError, match="not made by 'resight ingest'"):
        number_boxes(tmp_path, {})


def test_a_video_shows_boxes_in_colours_of_identities(sightings: Path, video: Path, tmp_path: Path) -> None:
    identity = {row["path"]: {7: 0, 8: 1}.get(row["given"], -1) for row in read_rows(sightings)}
    (found,), least = number_boxes(sightings, identity)
    source = open_numbered(found)
    assert annotate(found, source, tmp_path / "v" / "a.mp4", least=least, colours=COLOURS) == FRAMES
    with av.open(str(tmp_path / "v" / "a.mp4")) as container:
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    assert [round(10 * time) for time, _ in frames] == list(range(FRAMES))
    assert frames[0][1].shape == (HEIGHT - 1, WIDTH - 1, 3)

    def colour(frame: int, left: int) -> np.ndarray:
        return frames[frame][1][40:70, left - 1 : left + 1].reshape(-1, 3).mean(axis=0)

    rgb = [np.array([int(c[i : i + 2], 16) for i in (1, 3, 5)]) for c in COLOURS[:2]]
    tint = [one - one.mean() for one in rgb]  # chroma has half the resolution, so only the direction is compared
    for frame, left, expected in ((2, 10, tint[0]), (8, 60, tint[1])):
        seen = colour(frame, left) - colour(frame, left).mean()
        assert seen @ expected > 0.8 * np.linalg.norm(seen) * np.linalg.norm(expected) > 100
    assert np.ptp(colour(8, 110)) < 12  # no identity: grey
    assert np.abs(colour(8, 10) - 120).max() < 12  # its track is over
    video.rename(video.with_suffix(".gone"))
    try:
        with pytest.raises(ResightError, match="put the video back"):
            open_numbered(found)
    finally:
        video.with_suffix(".gone").rename(video)
