"""Runs of every method that are killed, whose disk is full, or that two processes want: is anything lost?

Each method trains on small synthetic crops with tiny settings, once without a disturbance. Then, several times each:

* kill: the process is killed (SIGKILL) at a random moment, and ``--resume`` goes on;
* disk: the run lies on a file system that is too small by a random amount, which must end with a sentence and without
  leftovers; with more room ``--resume`` goes on (needs root, to mount it);
* two: two processes are started in the same folder; one must be refused with a sentence.

A run that came to its end must equal the undisturbed one byte for byte. Prints counts; 1 if a run is not equal.

    python benchmarks/interruptions.py --kills 3 --disks 2 --pairs 1
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from same_results import ROWS, digests, paint

#: The rows of ``same_results`` that are disturbed: one for each method, and what they start from.
NAMES = ("supervised", "cluster_contrast", "pplr", "dcmip", "idl_acl", "adtc from a source", "mar")


class Training:
    """The command that trains a row into a folder."""

    def __init__(self, method: str, words: list[str], crops: Path, cache: Path) -> None:
        self.method, self.words, self.crops, self.cache = method, words, crops, cache

    def start(self, out: Path, *more: str) -> subprocess.Popen[str]:
        """Starts it."""
        command = [sys.executable, "-m", "resight", "train", self.method, "--data", str(self.crops), "--out", str(out)]
        command += ["--cache", str(self.cache), "--train-identities", "20", "--quiet", *self.words, *more]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def finish(self, out: Path, *more: str) -> tuple[int, str]:
        """Runs it to its end; its exit status and what it printed to stderr."""
        process = self.start(out, *more)
        said = process.communicate()[1]
        return process.returncode, said


def killed(training: Training, out: Path, seconds: float, rng: random.Random) -> str:
    """Kills a run at up to two random moments, goes on with it, and says what was wrong; empty if nothing was."""
    for _ in range(rng.choice((1, 2))):
        process = training.start(out, "--resume")
        time.sleep(rng.uniform(0.3, 0.98) * seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    status, said = training.finish(out, "--resume")
    return said if status else ""


def full(training: Training, disk: Path, needed: int, rng: random.Random) -> str:
    """Fills the disk while a run writes, gives it room and goes on; what was wrong, empty if nothing was."""
    size = int(rng.uniform(0.05, 0.95) * needed)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    subprocess.run(mount, check=True)
    status, said = training.finish(disk / "run")
    last = said.strip().splitlines()[-2:]
    if status != 2 or "Traceback" in said or not any("No space left on device" in line for line in last):
        return f"status {status} on a disk of {size} of {needed} bytes: {said[-500:]}"
    if left := list(disk.rglob("*.part*")):
        return f"left over: {left}"
    mount[4] = f"remount,size={4 * needed}"
    subprocess.run(mount, check=True)
    status, said = training.finish(disk / "run", "--resume")
    return said if status else ""


def twice(training: Training, out: Path, rng: random.Random) -> str:
    """Starts two processes in one folder; what was wrong, empty if nothing was."""
    first = training.start(out)
    time.sleep(rng.uniform(0, 0.5))
    second = training.start(out, "--resume")
    said = [process.communicate()[1] for process in (first, second)]
    statuses = [process.returncode for process in (first, second)]
    refused = [text for status, text in zip(statuses, said, strict=True) if status == 2]
    # both may end well: the second finds a finished run if it starts late
    if sorted(statuses) not in ([0, 2], [0, 0]) or any("Another process" not in text for text in refused):
        return f"statuses {statuses}: {said}"
    return ""


def main() -> int:
    """Disturbs the runs that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=3, help="of each method")
    parser.add_argument("--disks", type=int, default=2, help="of each method")
    parser.add_argument("--pairs", type=int, default=1, help="of each method")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, counts, wrong = random.Random(options.seed), Counter[str](), 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        crops, disk = folder / "crops", folder / "disk"
        paint(crops, 0, 30)
        paint(folder / "crops-2", 1, 20)
        disk.mkdir()
        for name, method, text in ROWS:
            if name not in NAMES:
                continue
            words = text.format(source=folder / "supervised", crops=crops).split()
            training = Training(method, words, crops, folder / "pixels")
            whole = folder / method
            begin = time.monotonic()
            status, said = training.finish(whole)
            if status:
                raise SystemExit(said)
            seconds, expected = time.monotonic() - begin, digests(whole)
            needed = sum(file.stat().st_size for file in whole.rglob("*") if file.is_file())
            kinds = ["kill"] * options.kills + ["disk"] * options.disks * (os.geteuid() == 0) + ["two"] * options.pairs
            for number, kind in enumerate(kinds):
                out = disk / "run" if kind == "disk" else folder / f"{method}-{number}"
                try:
                    if kind == "kill":
                        problem = killed(training, out, seconds, rng)
                    elif kind == "disk":
                        problem = full(training, disk, needed, rng)
                    else:
                        problem = twice(training, out, rng)
                    if not problem and digests(out) != expected:
                        problem = "another result than without the disturbance"
                finally:
                    if kind == "disk":
                        subprocess.run(["umount", disk], check=False)
                    else:
                        shutil.rmtree(out, ignore_errors=True)
                counts[kind] += not problem
                wrong += bool(problem)
                if problem:
                    print(f"{method}, {kind}: {problem}", flush=True)
            print(f"{method:18} {len(kinds)} disturbed, {wrong} wrong so far, a run takes {seconds:.0f} s", flush=True)
    print(f"equal to the undisturbed run: {counts['kill']} after kills, {counts['disk']} after a full disk, "
          f"{counts['two']} wanted by two processes; {wrong} wrong")  # fmt: skip
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
