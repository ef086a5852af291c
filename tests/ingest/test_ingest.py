"""Videos become crops with camera, time and track, whatever happens in between."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resight.crops import read_crops
from resight.errors import ResightError
from resight.ingest import Feed, Ingest, OnnxDetector, read_boxes

av = pytest.importorskip("av")
pytest.importorskip("cv2")

WIDTH, HEIGHT, FRAMES = 160, 96, 30


def paint(number: int) -> np.ndarray:
    image = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
    for track, left in ((0, 5 + 3 * number), (1, 120 - 2 * number)):
        top = 10 + 20 * track
        image[top : top + 60 : 2, left : left + 24] = (200 * track, 40, 90)
    return image


def write_video(
    file: Path, codec: str = "libx264", pixels: str = "yuv420p", turn: int = 0, frames: int = FRAMES
) -> Path:
    with av.open(str(file), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        if turn:
            stream.set_display_rotation(turn)
        for number in range(frames):
            for packet in stream.encode(av.VideoFrame.from_ndarray(paint(number), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return file


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "gate.mp4")


@pytest.fixture(scope="module")
def mot(video: Path) -> Path:
    file = video.with_suffix(".txt")
    lines = []
    for number in range(FRAMES):
        lines.append(f"{number + 1},7,{5 + 3 * number},10,24,60,0.9,-1,-1,-1")
        if number < 20:
            lines.append(f"{number + 1},8,{120 - 2 * number},30,24,60,0.8,-1,-1,-1")
    file.write_text("\n".join(lines))
    return file


def feed(video: Path, mot: Path) -> list[Feed]:
    return [Feed(str(video), "gate", start=1000.0, boxes=str(mot))]


def test_crops_have_camera_time_and_track(
    video: Path, mot: Path, tmp_path: Path, in_process: Callable[..., tuple[int, str, str]]
) -> None:
    to = tmp_path / "sightings"
    words = (
        "ingest",
        video,
        "--boxes",
        mot,
        "--camera",
        "gate",
        "--start",
        "2026-11-23T08:00",
        "--to",
        to,
        "--crops",
        4,
    )
    status, out, err = in_process(*words, "--sheet", tmp_path / "sheet.png")
    assert (status, "crops of 2 tracks in 1 camera." in out) == (0, True), err
    assert "160×96, 10 frames per second, 30 frames" in err
    table = read_crops(to)
    assert table.source == "sightings"
    assert table.track is not None
    assert table.time is not None
    assert set(table.track.tolist()) == {1, 2}
    assert max(np.bincount(table.track)) <= 4
    assert table.camera_names == {1: "gate"}
    assert 0 <= np.ptp(table.time) < 3
    for row in range(len(table)):
        assert Image.open(table.file(row)).size == (24, 60)
    lines = (to / "boxes" / "gate-1.txt").read_text().splitlines()
    assert len(lines) == 50
    before = (to / "crops.parquet").read_bytes()
    assert "read before" in in_process(*words)[1]
    assert (to / "crops.parquet").read_bytes() == before
    status, _, err = in_process(*words[:-1], 5)
    assert status == 2
    assert "with another crops" in err


def test_what_is_listed_is_whole_wherever_it_is_stopped(
    video: Path, mot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between any two writes: no crop is listed that is not whole, and the next call gives the same table."""
    import resight.common.files as files

    whole = Ingest(feed(video, mot), tmp_path / "whole")
    whole.run()
    expected = [row["path"] for row in whole.store.rows]

    class Killed(BaseException):
        pass

    honest, count, moments = files.os.replace, 0, 0
    for moment in range(1, 60):
        to, count = tmp_path / str(moment), 0

        def replace(source: Path, target: Path, moment: int = moment) -> None:
            nonlocal count
            count += 1
            if count >= moment:
                raise Killed
            honest(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(files.os, "replace", replace)
            try:
                Ingest(feed(video, mot), to).run()
            except Killed:
                moments += 1
            else:
                break
        if (to / "crops.parquet").exists():
            table = read_crops(to / "crops.parquet")
            for row in range(len(table)):
                Image.open(table.file(row)).load()
        again = Ingest(feed(video, mot), to)
        again.run()
        assert [row["path"] for row in again.store.rows] == expected
        assert sorted(p.relative_to(to).as_posix() for p in to.rglob("*.jpg")) == sorted(expected)
    assert moments > 10


def test_broken_and_odd_videos_get_a_sentence(video: Path, mot: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")
    for name, said in (("empty", "is empty"), ("text", "cannot be read as a video"), ("none", "There is no video")):
        with pytest.raises(ResightError, match=said):
            Ingest([Feed(str(tmp_path / f"{name}.mp4"), "gate")], tmp_path / "to")
    data = bytearray(write_video(tmp_path / "cut.mkv").read_bytes())
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    found = Ingest([Feed(str(tmp_path / "cut.mkv"), "gate", boxes=str(mot))], tmp_path / "cut").run()
    assert 0 < found[0].frames < FRAMES
    turned = Ingest([Feed(str(write_video(tmp_path / "turned.mp4", turn=90, frames=4)), "gate")], tmp_path / "turned")
    assert (turned.lines[0].source.width, turned.lines[0].source.height) == (HEIGHT, WIDTH)
    deep = Ingest(
        [Feed(str(write_video(tmp_path / "deep.mkv", "libx265", "yuv420p10le", frames=4)), "gate")], tmp_path / "deep"
    )
    assert deep.run()[0].frames == 4


def test_boxes_of_other_programs(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "cvat.zip", "w") as archive:
        archive.writestr("gt/gt.txt", "1,1,10,20,30,40,1,2,0.9\n1,2,1,1,5,5,1,1,1\n2,1,11,20,30,40,0,2,0.9\n")
        archive.writestr("gt/labels.txt", "dog\nperson\n")
    found = read_boxes(tmp_path / "cvat.zip", classes=["person"])
    assert list(found.frames) == [0]
    np.testing.assert_allclose(found.frames[0].corners, [[10, 20, 40, 60]])
    keys = [
        {"frame": 1, "x": 0, "y": 0, "width": 10, "height": 20, "enabled": True},
        {"frame": 3, "x": 20, "y": 0, "width": 10, "height": 20, "enabled": False},
    ]
    value = {"framesCount": 9, "sequence": keys, "labels": ["person"]}
    task = {"data": {"video": "/data/1-gate.mp4"}, "annotations": [{"result": [{"value": value}]}]}
    (tmp_path / "studio.json").write_text(json.dumps([task]))
    found = read_boxes(tmp_path / "studio.json")
    assert list(found.frames) == [0, 1, 2]
    np.testing.assert_allclose(found.at(1, 200, 100).corners, [[20, 0, 40, 20]])
    (tmp_path / "a.jsonl").write_text('{"frame": 2, "box": [1, 2, 3, 4], "track": "anna", "score": 0.5}\n')
    np.testing.assert_allclose(read_boxes(tmp_path / "a.jsonl").frames[1].corners, [[1, 2, 4, 6]])
    (tmp_path / "zero.txt").write_text("0,1,10,20,30,40,1,-1,-1,-1\n")
    with pytest.raises(ResightError, match="frames count from 1"):
        read_boxes(tmp_path / "zero.txt")


def _model(file: Path, outputs: dict[str, np.ndarray]) -> Path:
    """An ONNX model that gives fixed outputs for an image of 64×64."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(values.astype(np.float32), name))
        for name, values in outputs.items()
    ]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, values.shape) for name, values in outputs.items()]
    graph = helper.make_graph(nodes, "detector", [image], given)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(file))
    return file


@pytest.mark.parametrize("family", ["YOLOv8", "YOLOX", "YOLOv5", "end-to-end YOLO", "RT-DETR", "DETR"])
def test_outputs_of_each_family_are_decoded(family: str, tmp_path: Path) -> None:
    """One person at (16, 24)–(32, 56) of the model's image; the picture is twice as wide as high."""
    pytest.importorskip("onnxruntime")
    box = np.array([24.0, 40, 16, 32])  # centre and size in pixels
    cells = 64 + 16 + 4
    if family == "YOLOv8":
        values = np.zeros((1, 84, 90))
        values[0, :4, 3], values[0, 4, 3] = box, 0.9
    elif family == "YOLOX":
        values = np.zeros((1, cells, 85))
        row = 5 * 8 + 3  # the cell at (24, 40) of stride 8
        values[0, row, :4], values[0, row, 4:6] = [0, 0, np.log(2), np.log(4)], [1, 0.9]
    elif family == "YOLOv5":
        values = np.zeros((1, 3 * cells, 85))
        values[0, 3, :4], values[0, 3, 4:6] = box, [1, 0.9]
    elif family == "end-to-end YOLO":
        values = np.zeros((1, 300, 6))
        values[0, 3] = [16, 24, 32, 56, 0.9, 0]
    elif family == "RT-DETR":
        values = np.zeros((1, 300, 84))
        values[0, 3, :4], values[0, 3, 4] = box / 64, 0.9
    outputs = {"output0": values} if family != "DETR" else {}
    if family == "DETR":
        logits, boxes = np.zeros((1, 100, 92)), np.zeros((1, 100, 4))
        logits[0, :, 91], logits[0, 3] = 20, 0
        logits[0, 3, 1], boxes[0, 3] = 20, box / 64
        outputs = {"logits": logits, "pred_boxes": boxes}
    detector = OnnxDetector(_model(tmp_path / "a.onnx", outputs))
    assert detector.about.startswith(family)
    found = detector(np.zeros((64, 128, 3), np.uint8))
    # stretched: x doubles; letterboxed: both double, and 16 rows of grey are above (YOLOX has none)
    expected = {"RT-DETR": [32, 24, 64, 56], "DETR": [32, 24, 64, 56], "YOLOX": [32, 48, 64, 64]}.get(
        family, [32, 16, 64, 64]
    )
    np.testing.assert_allclose(found.corners, [expected], atol=1e-3)
    with pytest.raises(ResightError, match="none called 'nonsense'"):
        OnnxDetector(tmp_path / "a.onnx", ["nonsense"])
