"""Identities in videos of several cameras, before and after Resight, by TrackEval's IDF1 and HOTA.

Takes videos that ``resight synth DIR --video 60s`` made and a run, and does three times what a user does:
``resight ingest``, then ``resight journeys --boxes``, which clusters and writes MOT text with identities.

* tracks: the true boxes with the true tracks are given;
* boxes: the true boxes without tracks, of which ByteTrack makes tracks;
* motion: nothing is given, so OpenCV's background subtraction and people detector find boxes.

Before Resight each track is an identity. Within cameras, the frames of each camera are scored with the identities of
that camera, and the counts of all cameras are added up; somebody who comes back is the same identity. Across cameras
the frames of all cameras are one sequence, in which an identity is the same in all cameras. People of whom less than a
quarter is visible are left out of the truth and of the given boxes; a box of a tracker on them counts for nothing.

    pip install trackeval==1.3.0
    resight synth station --video 60s --seed 7
    python benchmarks/video_identities.py station runs/first --out work
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from resight.ingest import read_boxes
from resight.ingest.boxes import Boxes, iou

_VISIBLE = 0.25


def truth(folder: Path, camera: str) -> tuple[dict[int, Boxes], dict[int, Boxes], list[tuple[str, float]]]:
    """True boxes by frame: those that count, with identities; the others; and the lines of the tracks' file."""
    lines = (folder / camera / "gt" / "gt.txt").read_text().splitlines()
    shown = [float(line.rpartition(",")[2]) for line in lines]
    counted: dict[int, list[list[float]]] = {}
    others: dict[int, list[list[float]]] = {}
    for line, share in zip((folder / camera / "gt" / "identities.txt").read_text().splitlines(), shown, strict=True):
        frame, identity, left, top, width, height = (float(cell) for cell in line.split(",")[:6])
        row = [left, top, left + width, top + height, identity]
        (counted if share >= _VISIBLE else others).setdefault(int(frame) - 1, []).append(row)

    def boxes(found: dict[int, list[list[float]]]) -> dict[int, Boxes]:
        arrays = {frame: np.array(rows) for frame, rows in found.items()}
        return {f: Boxes(rows[:, :4], np.ones(len(rows)), rows[:, 4].astype(int)) for f, rows in arrays.items()}

    return boxes(counted), boxes(others), list(zip(lines, shown, strict=True))


def without_ignored(found: Boxes, counted: Boxes, ignored: Boxes) -> Boxes:
    """Boxes of a tracker without those that match somebody who is hardly visible."""
    if not len(found) or not len(ignored):
        return found
    similar = iou(found.corners, np.vstack([counted.corners, ignored.corners]))
    rows, columns = linear_sum_assignment(-np.where(similar >= 0.5, similar, 0))
    matched = rows[(similar[rows, columns] >= 0.5) & (columns >= len(counted))]
    return found.select(np.setdiff1d(np.arange(len(found)), matched))


class Scored:
    """Frames of one or several cameras, as TrackEval's metrics take them."""

    def __init__(self) -> None:
        self.frames: list[tuple[Boxes, Boxes]] = []

    def add(self, counted: dict[int, Boxes], ignored: dict[int, Boxes], found: dict[int, Boxes], frames: int) -> None:
        """Adds the frames of a camera."""
        none = Boxes()
        for frame in range(frames):
            real = counted.get(frame, none)
            self.frames.append((real, without_ignored(found.get(frame, none), real, ignored.get(frame, none))))

    def data(self) -> dict[str, object]:
        """Identities as numbers from 0, and overlaps, by frame."""
        real = {n: i for i, n in enumerate(sorted({int(t) for one, _ in self.frames for t in one.track}))}
        ours = {n: i for i, n in enumerate(sorted({int(t) for _, one in self.frames for t in one.track}))}
        return {
            "gt_ids": [np.array([real[int(t)] for t in one.track], int) for one, _ in self.frames],
            "tracker_ids": [np.array([ours[int(t)] for t in one.track], int) for _, one in self.frames],
            "similarity_scores": [iou(one.corners, other.corners) for one, other in self.frames],
            "num_gt_ids": len(real),
            "num_tracker_ids": len(ours),
            "num_gt_dets": sum(len(one) for one, _ in self.frames),
            "num_tracker_dets": sum(len(one) for _, one in self.frames),
            "num_timesteps": len(self.frames),
        }


def scores(sequences: Sequence[Scored]) -> dict[str, float]:
    """IDF1 and HOTA in per cent over some sequences."""
    from trackeval.metrics import HOTA, Identity

    identity, hota = Identity({"PRINT_CONFIG": False}), HOTA()
    ids, hotas = {}, {}
    for place, one in enumerate(sequences):
        data = one.data()
        ids[str(place)] = identity.eval_sequence(data)
        hotas[str(place)] = hota.eval_sequence(data)
    all_ids, all_hotas = identity.combine_sequences(ids), hota.combine_sequences(hotas)
    return {
        "IDF1": 100 * float(all_ids["IDF1"]),
        "HOTA": 100 * float(np.mean(all_hotas["HOTA"])),
        "DetA": 100 * float(np.mean(all_hotas["DetA"])),
        "AssA": 100 * float(np.mean(all_hotas["AssA"])),
    }


def main() -> None:
    """Ingests, clusters, scores, prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, help="folder that 'resight synth DIR --video' made")
    parser.add_argument("run", type=Path, help="run folder of a model")
    parser.add_argument("--out", type=Path, required=True, help="folder to work in")
    parser.add_argument("--ways", default="tracks,boxes,motion", help="which of the three")
    parser.add_argument("--cluster", default="", help="settings for the clustering, such as 'eps=0.5 k1=20'")
    given = parser.parse_args()
    cameras = sorted(path.name for path in given.videos.iterdir() if (path / "gt").is_dir())
    facts = json.loads((given.videos / "video.json").read_text())["settings"]
    frames = round(facts["seconds"] * facts["fps"])
    real = {camera: truth(given.videos, camera) for camera in cameras}
    print(f"{len(cameras)} cameras, {facts['seconds']:g} s, {facts['fps']:g} fps, "
          f"{len({int(t) for one, _, _ in real.values() for b in one.values() for t in b.track})} people, "
          f"{sum(len(b) for one, _, _ in real.values() for b in one.values())} boxes that count")  # fmt: skip
    table = []
    for way in given.ways.split(","):
        work = given.out / way
        work.mkdir(parents=True, exist_ok=True)
        entries = []
        for camera in cameras:
            entry = f"  - {{camera: {camera}, source: {(given.videos / camera / f'{camera}.mp4').resolve()}"
            if way != "motion":
                lines = [line for line, share in real[camera][2] if share >= _VISIBLE]
                if way == "boxes":
                    lines = [",".join([line.split(",")[0], "-1", *line.split(",")[2:]]) for line in lines]
                file = work / f"{camera}.txt"
                file.write_text("\n".join(lines) + "\n")
                entry += f", boxes: {file.resolve()}"
            entries.append(entry + "}\n")
        (work / "cameras.yaml").write_text("cameras:\n" + "".join(entries))
        sightings, journeys = work / "sightings", work / "journeys"
        resight("ingest", work / "cameras.yaml", "--to", sightings)
        resight("journeys", given.run, "--data", sightings, "--to", journeys, "--boxes", *given.cluster.split())
        known = json.loads((sightings / "sightings.json").read_text())["sources"]
        for state, folder in (("before", sightings / "boxes"), ("after", journeys / "boxes")):
            within, across = [], Scored()
            for camera in cameras:
                number = next(n for n, one in known.items() if one["camera"] == camera)
                file = folder / f"{camera}-{number}.txt"
                found = dict(read_boxes(file).frames) if file.exists() and file.stat().st_size else {}
                within.append(Scored())
                within[-1].add(*real[camera][:2], found, frames)
                across.add(*real[camera][:2], found, frames)
            ours = {int(t) for _, one in across.frames for t in one.track}
            table.append({"way": way, "state": state, "numbers": len(ours), "within": scores(within),
                          "across": scores([across])})  # fmt: skip
    print("| boxes | | identities | IDF1 within | HOTA within | IDF1 across | HOTA across | DetA |")
    print("|---|---|---|---|---|---|---|---|")
    for row in table:
        one, other = row["within"], row["across"]
        print(f"| {row['way']} | {row['state']} | {row['numbers']} | {one['IDF1']:.1f} | {one['HOTA']:.1f} | "
              f"{other['IDF1']:.1f} | {other['HOTA']:.1f} | {other['DetA']:.1f} |")  # fmt: skip
    (given.out / "scores.json").write_text(json.dumps(table, indent=1) + "\n")


def resight(*words: object) -> None:
    """Runs a command."""
    done = subprocess.run(
        [sys.executable, "-m", "resight", *map(str, words), "--quiet"], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"resight {' '.join(map(str, words))}\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
