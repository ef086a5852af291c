"""``python tests/robustness``: calls everything with everything that can be wrong, and prints what came of it."""

from __future__ import annotations

import os

# One thread, set before torch and numba read it: the worker is forked, and two people may share a machine.
os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1", COLUMNS="200")

import argparse
import itertools
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from torture_api import api_cases
from torture_case import EITHER, GOOD, OUTCOMES, Case
from torture_commands import command_cases
from torture_files import file_cases
from torture_runner import run_cases
from torture_settings import setting_cases
from torture_stage import Stage
from torture_videos import video_cases

ROOMS = {
    "commands": command_cases,
    "functions": api_cases,
    "settings": setting_cases,
    "files": file_cases,
    "videos": video_cases,
}


def main() -> int:
    """Runs the corpus; 1 if anything came of it but right results and sentences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seconds", type=float, help="stop after this time, with cases drawn by --seed; all if not given"
    )
    parser.add_argument("--seed", type=int, default=0, help="which cases --seconds draws")
    parser.add_argument("--mended", action="store_true", help="leave out the cases of points that are not mended yet")
    parser.add_argument("--only", default="", help="only cases whose name has this text")
    parser.add_argument("--room", choices=ROOMS, help="only calls of this kind")
    parser.add_argument("--show", action="store_true", help="print what came of every case")
    chosen = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="resight-torture-"))
    before = os.getcwd()
    os.chdir(root)
    try:
        (root / "stage").mkdir()
        return _run(Stage(root / "stage"), chosen)
    finally:
        os.chdir(before)
        shutil.rmtree(root)


def _run(stage: Stage, chosen: argparse.Namespace) -> int:
    cases = [(room, case) for room, make in ROOMS.items() if chosen.room in (None, room) for case in make(stage)]
    twice = [name for name, count in Counter(f"{room}: {case.name}" for room, case in cases).items() if count > 1]
    assert not twice, f"cases with the same name: {twice[:3]}"
    cases = [(room, case) for room, case in cases if chosen.only in case.name and not (chosen.mended and case.open)]
    if chosen.seconds is not None:
        cases = [cases[place] for place in np.random.default_rng(chosen.seed).permutation(len(cases))]
    room_of = {case: room for room, case in cases}
    counts: Counter[tuple[str, str]] = Counter()
    points: Counter[str] = Counter()
    stale: list[Case] = []
    end = time.monotonic() + (chosen.seconds or float("inf"))
    for case, verdict in run_cases([case for _, case in cases]):
        counts[room_of[case], verdict.outcome] += 1
        if verdict.outcome not in GOOD:
            points[case.open] += 1
            mark = f" (point {case.open})" if case.open else ""
            _say(f"{verdict.outcome}{mark}: {case.name}\n    {verdict.detail}")
        elif chosen.show:
            _say(f"{verdict.outcome}: {case.name}\n    {verdict.detail}")
        elif case.open and case.expects != EITHER:
            stale.append(case)
        if time.monotonic() > end:
            break
    _print(counts)
    if stale:
        print(f"{len(stale)} cases are marked as not mended yet but are right; take the mark away from:")
        for case in stale:
            print(f"    {case.open} {case.name}")
    for point, count in sorted(points.items()):
        print(f"{count} calls went wrong{f', of point {point}' if point else ''}.")
    return 1 if sum(points.values()) else 0


def _say(text: str) -> None:
    """Prints a line and, indented, what shows it; characters that a terminal cannot show are escaped."""
    head, _, detail = text.partition("\n")
    plain = "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape", "surrogatepass").decode() for sign in detail
    )
    print(f"{head}\n{plain}", flush=True)


def _print(counts: Counter[tuple[str, str]]) -> None:
    rooms = [room for room in ROOMS if any(counts[room, outcome] for outcome in OUTCOMES)]
    print("".join([f"{'outcome':<12}", *(f"{room:>12}" for room in (*rooms, "all")), "  meaning"]))
    for outcome, meaning in OUTCOMES.items():
        row = [counts[room, outcome] for room in rooms]
        print("".join([f"{outcome:<12}", *(f"{count:>12}" for count in (*row, sum(row))), f"  {meaning}"]))
    row = [sum(counts[room, outcome] for outcome in OUTCOMES) for room in rooms]
    print("".join([f"{'all':<12}", *(f"{count:>12}" for count in itertools.chain(row, [sum(row)]))]))


if __name__ == "__main__":
    sys.exit(main())
