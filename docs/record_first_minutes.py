"""Records docs/first-minutes.md: runs each command on its page and writes down what it prints.

Usage: python docs/record_first_minutes.py   (about ten minutes on two cores)
"""

from __future__ import annotations

import contextlib
import os
import pty
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).parent

PAGE = """\
# The first ten minutes

What a new user sees, with three layouts of crops. Each block is a command and what it printed on one core without a
GPU, at a width of 80; a terminal shows progress bars as well. `python docs/record_first_minutes.py` records this page
anew.

The people are [synthetic](synthetic.md). Training is cut down to two epochs of five steps. That shows the words of
the program, not what a model can learn: for that, see the [results](results.md).

$ resight synth world --identities 60 --crops 1200

## Images in one folder

The folder `shop` has the training crops of this world, under names that say nothing. `check` looks at every file and
says what to type next.

$ resight check shop

Within a second `train` says what it is doing, then what it is going to do, and soon how long that takes.

$ resight train --data shop epochs=2 sampling.iterations=5

The last line is the next command: it writes a table with an identity for each crop, and a picture.

$ resight cluster runs/cluster_contrast-1 --data shop --to identities.csv --sheet clusters.png

This is `clusters.png`, one cluster per row:

![Clusters of synthetic people, one per row](images/first-minutes.png)

## The layout of Market-1501

The world itself has folders for training, queries and gallery, and its file names say identity and camera. Identities
are not used for training; they serve to score the model.

$ resight check world
$ resight train --data world epochs=2 sampling.iterations=5
$ resight cluster runs/cluster_contrast-2 --data world --to identities.csv --sheet clusters.png

## One folder per identity

The folder `people` has one sub-folder per identity. Without a hint, sub-folders are read as cameras, and `check` says
that this looks wrong.

$ resight check people --limit 5

With the format that it names, twenty identities train and the others test.

$ resight train --data people --format identities --train-identities 20 epochs=2 sampling.iterations=5
$ resight cluster runs/cluster_contrast-3 --data people --format identities --to identities.csv --sheet clusters.png

## When something is wrong

An error is one sentence that says what to do. Odd clusters come with a note and a command to try.

$ resight train cluster_contrast --data shop --recipe cameras
$ resight train cluster_contrast --data shop epoch=20
$ resight cluster runs/cluster_contrast-1 --data shop --to identities.csv --eps 0.1
"""


def prepare(folder: Path) -> None:
    """Copies the training crops of ``world`` into ``shop``, all together, and ``people``, by identity."""
    for number, file in enumerate(sorted((folder / "world" / "bounding_box_train").glob("*.jpg"))):
        identity = folder / "people" / f"person-{file.name[:4]}"
        identity.mkdir(parents=True, exist_ok=True)
        (folder / "shop").mkdir(exist_ok=True)
        for place in (identity, folder / "shop"):
            shutil.copy(file, place / f"img_{number:05d}.jpg")


def record(command: str, folder: Path) -> str:
    """Runs a command and returns it with its output, as a block of Markdown."""
    program, *words = shlex.split(command)
    reader, terminal = pty.openpty()
    environment = os.environ | {"TERM": "dumb"}  # a terminal that shows lines but no progress bars
    process = subprocess.Popen(
        [sys.executable, "-m", program, *words], cwd=folder, env=environment, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    printed = b""
    with contextlib.suppress(OSError):  # the end of a terminal is an error on Linux
        while part := os.read(reader, 4096):
            printed += part
    os.close(reader)
    process.wait()
    lines = [line.rstrip() for line in printed.decode().splitlines() if line.strip()]
    print(f"$ {command}", *lines, sep="\n", flush=True)
    return "\n".join(["```console", f"$ {command}", *lines, "```"])


def main() -> None:
    """Records the page."""
    with tempfile.TemporaryDirectory() as name:
        folder, page = Path(name), []
        for line in PAGE.splitlines():
            if not line.startswith("$ "):
                page.append(line)
                continue
            page.append(record(line.removeprefix("$ "), folder) + "\n")
            if line.startswith("$ resight synth"):
                prepare(folder)
            if "--data shop --to identities.csv --sheet" in line:
                with Image.open(folder / "clusters.png") as sheet:
                    sheet.quantize(128).save(DOCS / "images" / "first-minutes.png", optimize=True)
    text = "\n".join(page).replace("\n\n\n", "\n\n").rstrip()
    (DOCS / "first-minutes.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
