"""Ingests that are killed (SIGKILL) at random moments: is a crop listed that is not whole, or one lost that was listed?

Ingests a video once without a disturbance. Then, again and again into new folders: starts the command, kills it after a
random share of the time that the whole took, looks at all that the folder lists, and goes on with the same command to
the end. Tracks are made by the weak detector unless ``--boxes`` gives them. Prints counts; 1 if anything was wrong.

    resight synth station --video 20s
    python benchmarks/ingest_kills.py station/c3/c3.mp4 --kills 30
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from PIL import Image

from resight.ingest.store import read_rows


def listed(folder: Path) -> dict[str, bytes]:
    """The crops that the table and the journal list, with their bytes; each is decoded.

    Raises:
        OSError: one is missing or cannot be decoded.
    """
    names = {str(row["path"]) for row in read_rows(folder)}
    journal = folder / "journal.jsonl"
    for line in journal.read_bytes().split(b"\n") if journal.is_file() else []:
        try:
            names |= {row["path"] for row in json.loads(line)["rows"]}
        except ValueError:
            continue  # the torn last line
    found = {}
    for name in sorted(names):
        with Image.open(folder / name) as image:
            image.load()
        found[name] = (folder / name).read_bytes()
    return found


def main() -> int:
    """Kills and goes on; 1 if something was damaged or lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--boxes", type=Path)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    words = [sys.executable, "-m", "resight", "ingest", str(given.video), "--quiet"]
    words += ["--boxes", str(given.boxes)] if given.boxes else []
    rng = random.Random(given.seed)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)

        def start(to: Path) -> subprocess.Popen[str]:
            return subprocess.Popen(
                [*words, "--to", str(to)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )

        begin = time.monotonic()
        first = start(root / "whole")
        assert not first.wait(), first.stderr and first.stderr.read()
        took = time.monotonic() - begin
        expected = listed(root / "whole")
        print(f"undisturbed: {len(expected)} crops, {took:.1f} s")
        for number in range(given.kills):
            to = root / str(number)
            process = start(to)
            time.sleep(rng.uniform(0.15, 1.0) * took)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            counts["killed before the end" if process.returncode == -signal.SIGKILL else "had ended"] += 1
            try:
                before = listed(to)
                counts["with crops listed at the kill"] += bool(before)
                again = start(to)
                said = again.communicate()[1]
                if again.returncode:
                    counts["WRONG: did not go on"] += 1
                    print(said)
                    continue
                after = listed(to)
            except OSError as error:
                counts["WRONG: a listed crop is not whole"] += 1
                print(error)
                continue
            counts["WRONG: a listed crop was lost or changed"] += any(
                after.get(n) != data for n, data in before.items()
            )
            there = {path.relative_to(to).as_posix() for path in to.rglob("*.jpg")}
            counts["WRONG: files that nothing lists"] += there != set(after)
            counts["same crops as undisturbed"] += after == expected
    for what, count in counts.items():
        if count or not what.startswith("WRONG"):
            print(f"{count:4} {what}")
    return int(any(count for what, count in counts.items() if what.startswith("WRONG")))


if __name__ == "__main__":
    sys.exit(main())
