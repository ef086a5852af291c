"""How many frames per second ``resight ingest`` reads at 1920×1080, with given tracks.

Makes a video of synthetic people who cross the picture, 10 at a time, as H.264 with 6 Mbit/s, and ingests it with the
true tracks. Prints frames per second of wall time and of processor time, beside those of decoding the same file and
of turning each frame into an RGB array, which a detector would need. Run it on one core with ``taskset -c 0``.

    python benchmarks/ingest.py --seconds 12
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

from resight.ingest import Feed, Ingest, open_source
from resight.synthesis.config import world_config
from resight.synthesis.frames import FrameCamera
from resight.synthesis.render import heading_for
from resight.synthesis.skeleton import Pose
from resight.synthesis.world import World

WIDTH, HEIGHT, FPS, PEOPLE = 1920, 1080, 25, 10


def make(folder: Path, seconds: float) -> tuple[Path, Path]:
    """A video and its boxes: each person is rendered once and then moves across the picture."""
    import av

    from resight.synthesis._noise import add_noise

    world = World(world_config("medium", identities=PEOPLE, cameras=2))
    camera = world.cameras[0]
    stage = FrameCamera(camera, world.config, WIDTH, HEIGHT, np.random.default_rng(0))
    plain, _ = stage.render([], 0)
    assert plain is not None
    sprites = []
    for i in range(PEOPLE):
        y = camera.near + (camera.far - camera.near) * i / PEOPLE
        shown, seen = stage.render([(world.person(i + 1), Pose(0.0, y, heading_for(90, 0.0, y)), 0)], 0)
        assert shown is not None
        left, top, right, bottom = (round(value) for value in seen[0].box)
        sprites.append((top, shown[top:bottom, left:right].copy()))
    lines = []
    file = folder / "wide.mp4"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate = 6_000_000
        stream.options = {"preset": "veryfast"}
        for frame in range(round(seconds * FPS)):
            picture = plain.copy()
            for i, (top, sprite) in enumerate(sprites):
                lap, left = divmod(frame * 8 + i * 190, WIDTH - sprite.shape[1])
                picture[top : top + sprite.shape[0], left : left + sprite.shape[1]] = sprite
                lines.append(
                    f"{frame + 1},{i + 1 + PEOPLE * lap},{left},{top},{sprite.shape[1]},{sprite.shape[0]},1,1,1"
                )
            noisy = np.empty_like(picture)
            add_noise(picture, 0.01, frame, noisy)
            for packet in stream.encode(av.VideoFrame.from_ndarray(noisy, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    boxes = folder / "wide.txt"
    boxes.write_text("\n".join(lines) + "\n")
    return file, boxes


def timed(work: Callable[[], int]) -> tuple[int, float, float]:
    """Frames, seconds, and seconds of processor time."""
    wall, own = time.perf_counter(), time.process_time()
    frames = work()
    return frames, time.perf_counter() - wall, time.process_time() - own


def main() -> None:
    """Makes the video, reads it in three ways, prints figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=12)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        file, boxes = make(folder, given.seconds)
        megabits = 8e-6 * file.stat().st_size / given.seconds
        print(f"{WIDTH}×{HEIGHT}, {FPS} fps, {given.seconds:g} s, {megabits:.1f} Mbit/s, {PEOPLE} people per frame, "
              f"{len(os.sched_getaffinity(0))} cores")  # fmt: skip
        work: dict[str, Callable[[], int]] = {
            "decoding alone": lambda: sum(1 for _ in open_source(file).read()),
            "decoding to RGB": lambda: sum(bool(frame.image.shape) for frame in open_source(file).read()),
            "ingest, tracks given": lambda: (
                Ingest([Feed(str(file), "wide", boxes=str(boxes))], folder / "sightings").run()[0].frames
            ),
        }
        for name, one in work.items():
            frames, wall, own = timed(one)
            print(f"{name:22} {frames / wall:7.1f} frames/s, {frames / own:7.1f} per second of processor time")


if __name__ == "__main__":
    main()
