"""Videos that are damaged or odd, boxes of other programs with mistakes, and the commands that read them."""

from __future__ import annotations

import functools
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import av
import numpy as np
from torture_case import EITHER, FINE, SENTENCE, Case, command
from torture_commands import NO_COUNT, NO_NUMBER, NO_SEED, vary_command
from torture_stage import Stage

from resight.ingest import Ingest, OnnxDetector, open_source, parse_duration, parse_time, read_boxes, read_feeds
from resight.ingest.run import Feed
from resight.synthesis import video_config, write_videos

WIDTH, HEIGHT, FRAMES = 96, 64, 12
#: Boxes of one track that lie in the frames.
RIGHT = "".join(f"{frame + 1},1,{5 + frame},4,20,56,0.9,-1,-1,-1\n" for frame in range(FRAMES))


def _encoded(
    file: Path, codec: str = "libx264", pixels: str = "yuv420p", *, size: tuple[int, int] = (WIDTH, HEIGHT),
    format: str | None = None, turn: int = 0, frames: int = FRAMES,
) -> bytes:  # fmt: skip
    with av.open(str(file), "w", format=format) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        if turn:
            stream.set_display_rotation(turn)
        for number in range(frames):
            image = np.full((size[1], size[0], 3), 200, np.uint8)
            image[4:60, 5 + number : 25 + number] = np.random.default_rng(number).integers(0, 255, (56, 20, 3))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return file.read_bytes()


#: Odd videos, and what must come of each.
ODD = {
    **dict.fromkeys(
        ("ten bits.mkv", "mpeg4.avi", "grey.mkv", "turned 90.mp4", "turned 180.mp4", "turned 270.mov", "one frame.mp4",
         "two sizes.h264"), FINE),
    **dict.fromkeys(
        ("empty.mp4", "text.mp4", "zeros.mp4", "head.mp4", "half.mp4", "random.mp4", "picture.mp4", "sound.mp4"), SENTENCE),
    **dict.fromkeys(("half.mkv", "end.mkv", "half.ts"), EITHER),
    **{f"noise {number}.{ending}": EITHER for ending in ("mp4", "mkv", "ts") for number in range(8)},
}  # fmt: skip


class Videos:
    """Videos that cases read."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.folder = stage.fresh()

    @cached_property
    def right(self) -> Path:
        """A video that nothing is wrong with."""
        _encoded(self.folder / "right.mp4")
        return self.folder / "right.mp4"

    @cached_property
    def boxes(self) -> Path:
        """Its boxes."""
        (self.folder / "right.txt").write_text(RIGHT)
        return self.folder / "right.txt"

    @cached_property
    def odd(self) -> dict[str, Path]:
        """The videos of ``ODD``, made where the first of them is read."""
        rng = np.random.default_rng(0)
        mp4, mkv = self.right.read_bytes(), _encoded(self.folder / "a.mkv")
        ts = _encoded(self.folder / "a.ts", format="mpegts")
        for name, codec, pixels, turn in (
            ("ten bits.mkv", "libx265", "yuv420p10le", 0), ("mpeg4.avi", "mpeg4", "yuv420p", 0),
            ("grey.mkv", "libx264", "gray", 0), ("turned 90.mp4", "libx264", "yuv420p", 90),
            ("turned 180.mp4", "libx264", "yuv420p", 180), ("turned 270.mov", "libx264", "yuv420p", 270),
        ):  # fmt: skip
            _encoded(self.folder / name, codec, pixels, turn=turn)
        _encoded(self.folder / "one frame.mp4", frames=1)
        small = _encoded(self.folder / "a.h264", format="h264")
        for name, data in {
            "two sizes.h264": small + _encoded(self.folder / "b.h264", format="h264", size=(192, 128)),
            "empty.mp4": b"", "text.mp4": b"This is text.\n" * 20, "zeros.mp4": b"\0" * 4000, "head.mp4": mp4[:40],
            "half.mp4": mp4[: len(mp4) // 2], "random.mp4": rng.bytes(9000), "picture.mp4": _picture(),
            "half.mkv": mkv[: len(mkv) // 2], "end.mkv": mkv[:-200], "half.ts": ts[: len(ts) // 2],
        }.items():  # fmt: skip
            (self.folder / name).write_bytes(data)
        for ending, data in (("mp4", mp4), ("mkv", mkv), ("ts", ts)):
            for number in range(8):
                noisy = bytearray(data)
                for place in rng.integers(100, len(data), 30):
                    noisy[place] = int(rng.integers(256))
                (self.folder / f"noise {number}.{ending}").write_bytes(noisy)
        with av.open(str(self.folder / "sound.mp4"), "w") as container:
            stream = container.add_stream("aac", rate=44100)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
            frame.rate = 44100
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return {name: self.folder / name for name in ODD}


def _picture() -> bytes:
    from PIL import Image

    data = io.BytesIO()
    Image.new("RGB", (64, 64)).save(data, "PNG")
    return data.getvalue()[:60]


def video_cases(stage: Stage) -> Iterator[Case]:
    """All cases about videos."""
    videos = Videos(stage)
    yield from _sources(stage, videos)
    yield from _boxes(stage)
    yield from _commands(stage, videos)
    yield from _functions(stage, videos)


def _sources(stage: Stage, videos: Videos) -> Iterator[Case]:
    def ingest(source: object, *words: object) -> Callable[[], Any]:
        return lambda: command("ingest", source, "--to", stage.fresh("to"), *words)

    def odd(name: str, boxes: bool) -> Callable[[], Any]:
        return lambda: ingest(videos.odd[name], *(("--boxes", videos.boxes) if boxes else ()))()

    for name, expects in ODD.items():
        yield Case(f"ingest {name}", odd(name, boxes=True), expects)
    for name in ("half.ts", "noise 0.mkv", "two sizes.h264", "turned 90.mp4", "text.mp4"):
        yield Case(f"ingest {name} without boxes", odd(name, boxes=False), EITHER)
    frames = stage.fresh("frames")
    frames.mkdir()
    for number, image in enumerate(sorted(stage.crops.iterdir())[:6]):
        (frames / f"{number}.png").write_bytes(image.read_bytes() if number % 2 else b"broken")
    yield Case("ingest a folder with broken frames", ingest(frames, "--boxes", videos.boxes), FINE)
    for name, source in {
        "missing": stage.root / "missing.mp4", "a folder without frames": stage.empty, "below a file": stage.text / "a.mp4",
        "a device": "/dev/null", "nothing": "", "NUL": "a\0b.mp4", "long": "x" * 300, "http, closed": "http://127.0.0.1:9/a.mp4",
        "rtsp, closed": "rtsp://127.0.0.1:9/a", "no address": "http://", "no camera": "987", "surrogate": "é\udcff.mp4",
    }.items():  # fmt: skip
        yield Case(f"ingest {name}", ingest(source, "--duration", "1s"), SENTENCE)
    for name, boxes in {
        "past the end": RIGHT + "".join(f"{frame},1,5,4,20,56,0.9,-1,-1,-1\n" for frame in range(100, 120)),
        "outside the frame": RIGHT + "3,2,500,500,20,56,0.9,-1,-1,-1\n4,2,-900,-900,20,56,0.9,-1,-1,-1\n",
        "huge": RIGHT + "3,2,-100000,-100000,1000000,1000000,0.9,-1,-1,-1\n",
        "tiny": RIGHT + "3,2,5,5,0.0001,0.0001,0.9,-1,-1,-1\n",
        "without tracks": RIGHT.replace(",1,", ",-1,", FRAMES),
        "some without tracks": RIGHT + "3,-1,50,4,20,56,0.9,-1,-1,-1\n",
    }.items():  # fmt: skip
        file = stage.fresh("boxes.txt")
        file.write_text(boxes)
        yield Case(f"ingest with boxes {name}", functools.partial(_with_boxes, stage, videos, file), FINE)


def _with_boxes(stage: Stage, videos: Videos, boxes: Path) -> Any:
    return command("ingest", videos.right, "--boxes", boxes, "--to", stage.fresh("to"))


def _boxes(stage: Stage) -> Iterator[Case]:
    def case(name: str, data: str | bytes, ending: str, expects: str = SENTENCE) -> Case:
        file = stage.fresh(f"boxes.{ending}")
        file.write_bytes(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)
        return Case(f"boxes .{ending}: {name}", functools.partial(read_boxes, file), expects)

    for name, text, expects in (
        ("right", RIGHT, FINE), ("spaces", RIGHT.replace(",", " "), FINE), ("CRLF and BOM", "\ufeff" + RIGHT.replace("\n", "\r\n"), FINE),
        ("empty", "", SENTENCE), ("words", "frame,id,left\n", SENTENCE), ("five cells", "1,1,2,3,4\n", SENTENCE),
        ("letters", "1,a,2,3,4,5\n", SENTENCE), ("nan", "1,1,nan,3,4,5\n", SENTENCE), ("inf", "1,1,inf,3,4,5\n", SENTENCE),
        ("frame 0", "0,1,2,3,4,5\n", SENTENCE), ("frame 1.5", "1.5,1,2,3,4,5\n", SENTENCE),
        ("frame -1", "-1,1,2,3,4,5\n", SENTENCE), ("frame 1e300", "1e300,1,2,3,4,5\n", SENTENCE),
        ("id 1.5", "1,1.5,2,3,4,5\n", SENTENCE), ("id 1e300", "1,1e300,2,3,4,5\n", SENTENCE),
        ("no width", "1,1,2,3,0,5\n", SENTENCE), ("height below 0", "1,1,2,3,4,-5\n", SENTENCE),
        ("a track twice", "1,1,2,3,4,5\n1,1,9,9,4,5\n", SENTENCE), ("NUL", "1,1,2,3,4,5\n\0", SENTENCE),
        ("semicolons", "1;1;2;3;4;5\n", SENTENCE), ("left out", "1,1,2,3,4,5,0,-1,-1,-1\n", SENTENCE),
        ("other classes", "1,1,2,3,4,5,1,7,1\n", SENTENCE), ("class nan", "1,1,2,3,4,5,1,nan,1\n", SENTENCE),
        ("far away", "1,1,1e300,3,4,5\n", SENTENCE), ("binary", "\udc80\udcff\n", SENTENCE), ("digits of elsewhere", "１,1,2,3,4,5\n", EITHER),
    ):  # fmt: skip
        yield case(name, text, "txt", expects)
    right = {"frame": 1, "box": [1, 2, 3, 4]}
    for name, given, expects in (
        ("right", right, FINE), ("no box", {"frame": 1}, SENTENCE), ("a list", [1], SENTENCE), ("null", None, SENTENCE),
        ("three sides", right | {"box": [1, 2, 3]}, SENTENCE), ("text in a box", right | {"box": [1, 2, 3, "4"]}, SENTENCE),
        ("nested box", right | {"box": [[1, 2, 3, 4]]}, SENTENCE), ("no width", right | {"box": [1, 2, 0, 4]}, SENTENCE),
        ("nan", right | {"box": [1, 2, float("nan"), 4]}, SENTENCE), ("frame 0", right | {"frame": 0}, SENTENCE),
        ("frame true", right | {"frame": True}, SENTENCE), ("frame text", right | {"frame": "1"}, SENTENCE),
        ("frame null", right | {"frame": None}, SENTENCE), ("track list", right | {"track": [1]}, SENTENCE),
        ("track true", right | {"track": True}, SENTENCE), ("track huge", right | {"track": 10**40}, SENTENCE),
        ("track 1.5", right | {"track": 1.5}, SENTENCE), ("score text", right | {"score": "high"}, SENTENCE),
        ("score 7", right | {"score": 7}, FINE),
        ("track text", right | {"track": "Ann"}, FINE), ("frame 1e300", right | {"frame": 1e300}, SENTENCE),
    ):  # fmt: skip
        yield case(name, json.dumps(given) + "\n", "jsonl", expects)
    for name, text in (("cut", '{"frame": 1, "bo'), ("empty", ""), ("deep", "[" * 100_000), ("binary", "\udc80")):
        yield case(name, text, "jsonl")
    key = {"frame": 1, "x": 1, "y": 2, "width": 10, "height": 20, "enabled": True}

    def studio(*sequence: object, **more: object) -> str:
        value = {"framesCount": 5, "sequence": list(sequence), "labels": ["person"]} | more
        return json.dumps([{"data": {"video": "a.mp4"}, "annotations": [{"result": [{"value": value}]}]}])

    for name, text, expects in (
        ("right", studio(key), FINE), ("no key frames", studio(), SENTENCE), ("key frame null", studio(None), SENTENCE),
        ("no frame", studio({**key, "frame": None}), SENTENCE), ("frame 0", studio({**key, "frame": 0}), SENTENCE),
        ("no width", studio({**key, "width": 0}), SENTENCE), ("width text", studio({**key, "width": "9"}), SENTENCE),
        ("x nan", studio({**key, "x": float("nan")}), SENTENCE), ("no boxes", json.dumps([{"data": {}}]), SENTENCE),
        ("a number", "5", SENTENCE), ("null", "null", SENTENCE), ("empty", "", SENTENCE), ("cut", studio(key)[:50], SENTENCE),
        ("deep", "[" * 100_000, SENTENCE), ("two tasks", json.dumps(json.loads(studio(key)) * 2), SENTENCE),
        ("a frame twice", studio(key, {**key, "x": 9}), EITHER), ("framesCount huge", studio(key, framesCount=10**12), EITHER),
        ("framesCount text", studio(key, framesCount="many"), EITHER), ("labels a number", studio(key, labels=5), EITHER),
    ):  # fmt: skip
        yield case(name, text, "json", expects)
    for name, members, expects in (
        ("right", {"gt/gt.txt": "1,1,2,3,4,5,1,1,1\n", "gt/labels.txt": "person\n"}, FINE),
        ("no gt.txt", {"gt/labels.txt": "person\n"}, SENTENCE), ("nothing", {}, SENTENCE),
        ("class too high", {"gt/gt.txt": "1,1,2,3,4,5,1,9,1\n", "gt/labels.txt": "person\n"}, SENTENCE),
        ("class 0", {"gt/gt.txt": "1,1,2,3,4,5,1,0,1\n", "gt/labels.txt": "person\n"}, SENTENCE),
        ("words", {"gt/gt.txt": "this is text\n"}, SENTENCE), ("empty gt.txt", {"gt/gt.txt": ""}, SENTENCE),
    ):  # fmt: skip
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, text in members.items():
                archive.writestr(member, text)
        yield case(name, data.getvalue(), "zip", expects)
        if name == "right":
            yield case("cut", data.getvalue()[:-30], "zip")
            broken = bytearray(data.getvalue())
            broken[40:44] = b"\xff\xff\xff\xff"
            yield case("broken member", bytes(broken), "zip", EITHER)
    yield case("text", "This is text.\n", "zip")
    yield case("unknown ending", RIGHT, "boxes")
    for name, path in {"missing": stage.root / "missing.txt", "a folder": stage.empty, "NUL": "a\0b.txt", "5": 5,
                       "None": None}.items():  # fmt: skip
        yield Case(f"boxes: {name}", functools.partial(read_boxes, path), SENTENCE)  # type: ignore[arg-type]


def _commands(stage: Stage, videos: Videos) -> Iterator[Case]:
    new = stage.fresh
    times = ("soon", "", "nan", "inf", "-5", "0", "1e999", "[1]", "x" * 300, "5 weeks", "９s")
    nothing = (stage.root / "missing", stage.text / "a", stage.root, "a\0b", "x" * 300)
    damaged = new("sightings")
    damaged.mkdir()
    (damaged / "sightings.json").write_text('{"version": 1, "cameras": 5')
    yield from vary_command(
        stage, "ingest", lambda: ["ingest", videos.right, "--boxes", videos.boxes, "--to", new("to"), "--min-height", 8],
        {
            "--to": ("", stage.text, stage.text / "below", "/proc/to", "x" * 300, "a\0b", stage.crops, damaged),
            "--camera": ("", "a\0b", "x" * 300, "a\nb", " ", "é\udcff"), "--start": ("soon", "", "2026-13-45", "nan", "25:00"),
            "--boxes": (*nothing, stage.text), "--detector": (*nothing, stage.text),
            "--rate": (*NO_NUMBER, "0", "99999"), "--duration": times, "--keep": (*times, "1s"),
            "--crops": NO_COUNT, "--min-height": (*NO_NUMBER, "0", "1", "99999"),
            "--sheet": (new("a"), new("a.txt"), "/proc/a.png", stage.root, stage.text / "a.png"),
            "+": (stage.text, stage.root / "missing.mp4"),
        },
        {"--camera": (("gate",), ("Tür 1",)), "--start": (("2026-11-23T08:00",), ("2026-11-23T08:00Z",)), "--rate": (("5",),),
         "--duration": (("1s",),), "--crops": (("1",),), "--quiet": ((),), "--sheet": ((new("a.png"),),),
         "--classes": (("1",),)},
    )  # fmt: skip
    video = ("--video", "1s", "--fps", "2", "--size", "64x64", "--identities", "3", "--cameras", "2")
    yield from vary_command(
        stage, "synth video", lambda: ["synth", new("film"), *video],
        {"RUN": (1, ("", stage.text, stage.text / "below", "/proc/film", "x" * 300, "a\0b", stage.crops)),
         "--video": times, "--fps": (*NO_NUMBER, "0", "1000"), "--size": ("", "64", "64x", "63x64", "0x0", "9x9", "99999x99999", "-64x64"),
         "--identities": (*NO_COUNT, "1"), "--cameras": (*NO_COUNT, "1"), "--seed": NO_SEED, "--crops": ("5",),
         "+": ("nonsense=1", "junk=0.1", "noise=2", "height=64", "occlusion=nan", "world=5")},
        {"--level": (("easy",), ("hard",)), "+": (("noise=0",), ("occlusion=1",))}, pairs=10,
    )  # fmt: skip


def _functions(stage: Stage, videos: Videos) -> Iterator[Case]:
    for text in ("soon", "", "nan", "0", "-5s", "1e9", "5 weeks", "９s", "9" * 40, "1.2.3s", "s"):
        yield Case(f"parse_duration({text!r})", functools.partial(parse_duration, text), SENTENCE)
    for text in ("soon", "", "nan", "2026-13-45", "0001-01-01", "99999-01-01", "12:30", "2026-11-23T08:00+99:00"):
        yield Case(f"parse_time({text!r})", functools.partial(parse_time, text), EITHER)
    for name, text in {
        "empty": "", "a list": "- 1\n", "no cameras": "cameras: []\n", "a word": "cameras: gate\n", "no source": "cameras: [{camera: a}]\n",
        "an entry is a word": "cameras: [gate]\n", "unknown": "cameras: [{camera: a, source: b, nonsense: 1}]\n",
        "start": "cameras: [{camera: a, source: b, start: soon}]\n", "duration": "cameras: [{camera: a, source: b, duration: -1}]\n",
        "tab": "cameras:\n\t- a\n", "alias": "cameras: &a [*a]\n", "deep": "[" * 5000, "binary": "\udc80", "object": "!!python/object:os.system x\n",
    }.items():  # fmt: skip
        file = stage.fresh("cameras.yaml")
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
        yield Case(f"read_feeds: {name}", functools.partial(read_feeds, file), SENTENCE)
    for name, value in {
        "rate true": {"rate": True}, "rate text": {"rate": "fast"}, "rate 0": {"rate": 0}, "rate nan": {"rate": float("nan")},
        "boxes and detector": {"detector": str(stage.text)}, "camera 5": {"camera": 5},
        "camera empty": {"camera": ""}, "source None": {"source": None}, "source 5": {"source": 5.5}, "start text": {"start": "soon"},
        "start nan": {"start": float("nan")}, "duration text": {"duration": "long"}, "boxes 5": {"boxes": 5},
    }.items():  # fmt: skip
        call = functools.partial(
            lambda value: len(Ingest([Feed(**(_feed(videos) | value))], stage.fresh("to")).run()), value
        )
        yield Case(f"Ingest: {name}", call, SENTENCE)
    for name, options in {
        "no source": {"feeds": []}, "feeds None": {"feeds": None}, "crops 0": {"crops": 0}, "crops 1.5": {"crops": 1.5},
        "least_height nan": {"least_height": float("nan")}, "keep -1": {"keep": -1}, "to None": {"to": None},
    }.items():  # fmt: skip
        call = functools.partial(
            lambda options: Ingest(**({"feeds": [Feed(**_feed(videos))], "to": stage.fresh("to")} | options)).lines,
            options,
        )
        yield Case(f"Ingest(…): {name}", call, SENTENCE)
    for name, path in {"None": None, "5.5": 5.5, "a folder": stage.empty, "text": stage.text}.items():
        yield Case(f"open_source({name})", functools.partial(open_source, path), SENTENCE)  # type: ignore[arg-type]
        yield Case(f"OnnxDetector({name})", functools.partial(OnnxDetector, path), SENTENCE)  # type: ignore[arg-type]
    small = {"identities": 3, "cameras": 2, "seconds": 1, "fps": 2, "frame_width": 64, "frame_height": 64}
    for name, value in {
        "fps": (0, -1, float("nan"), "fast", True, 1e9), "seconds": (0, float("inf"), None), "frame_width": (63, 0, 1.5, "wide"),
        "frame_height": (10**9, None), "identities": (0, 1, None, "many"), "level": ("none", None), "crops": (50,), "nonsense": (1,),
    }.items():  # fmt: skip
        for wrong in value:
            call = functools.partial(lambda given: video_config(**given).frames, small | {name: wrong})
            yield Case(f"video_config({name}={wrong!r})", call, SENTENCE)
    for name, config in {"None": None, "5": 5, "a world": {}}.items():
        call = functools.partial(write_videos, stage.fresh("film"), config)  # type: ignore[arg-type]
        yield Case(f"write_videos: config {name}", call, SENTENCE)
    yield Case("write_videos: threads 0", functools.partial(
        write_videos, stage.fresh("film"), video_config(**small), threads=0), SENTENCE)  # fmt: skip


def _feed(videos: Videos) -> dict[str, Any]:
    return {"source": str(videos.right), "camera": "gate", "boxes": str(videos.boxes)}
