"""Write docs/paper-studies.md: every study of the papers' tables and figures, with what was measured here.

    resight study NAME --quick --out runs/studies      # for each study to be measured
    python docs/make_paper_studies.py runs/studies COMMIT [COMMIT ...] [--market FOLDER --market-commit COMMIT]

COMMIT is where the runs were measured. FOLDER has the studies on Market-1501, by the commands on the page. Studies of
which a row is missing are listed like those that were not run.

Tables are taken from the folders of the quick studies, figures are copied to docs/images/studies. A study that was not
run is listed with its command. Of the studies on Market-1501 tables and charts are taken, and no picture of a crop.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from pathlib import Path

from PIL import Image

from resight.study import Study, find_study, list_studies, quick_worlds

DOCS = Path(__file__).resolve().parent
IMAGES = DOCS / "images" / "studies"
PAPERS = {
    "adtc": "ADTC (Ji et al. 2020)",
    "pplr": "PPLR (Cho et al. 2022)",
    "mar": "MAR (Yu et al. 2019)",
    "gam": "GAM, IDL and ACL (Nikhal and Riggan 2021)",
    "dcmip": "DCMIP (Zou et al. 2023)",
}
HEAD = """# Tables and figures of the papers

<!-- Written by docs/make_paper_studies.py: run the script instead of changing this page. -->

Every table and figure of the five papers is a command:

```sh
pip install --constraint constraints.txt '.[report]'
resight study --list
resight study adtc-table-2 --quick                                                  # minutes, on synthetic people
resight study adtc-table-2 --data market1501 --source dukemtmc --seed 0 --seed 1    # the published settings, on a GPU
```

A study trains what is missing and writes `table.md`, `table.csv` and its figures to `runs/studies/NAME`. Runs are named
by a hash of their settings and crops, so studies share them, and a study that was stopped goes on. `--row` and `--seed`
choose what is trained, `KEY=VALUE` changes a setting of all rows, `--table` writes what is finished and trains nothing.
`epochs.csv` has what each run measured by epoch. A YAML file of your own works like those in `src/resight/studies`.

`--recipe default` is a size for two cores: EfficientNet-Lite0 at 128×64 pixels (GAM: a half-width ResNet-18 at 96×48).
Runs that rows start from are then of that size, too. One study per paper on the training images of Market-1501, the
first 500 identities for training and the other 251 for the test, with 120 batches per run:

```sh
MARKET="--recipe default --data market1501-train --train-identities 500"
SHORT="epochs=4 sampling.iterations=30"
resight synth source-world identities=600 crops=12000 train_share=0.9        # the labelled source of ADTC and MAR
resight study pplr-figure-3 $MARKET $SHORT method.warmup_epochs=1
resight study dcmip-table-3 $MARKET $SHORT method.first_epochs=1
resight study gam-figure-4 $MARKET $SHORT method.first_epochs=2 optimizer.step_epochs=[2] method.merge_share=0.08
resight study adtc-figure-3 $MARKET --source source-world $SHORT
resight study mar-figure-s1 $MARKET --source source-world $SHORT optimizer.step_epochs=[3]
```

Those that were run are in the next section. The source model of the last two takes 400 batches more.

What longer runs on these images reached is in [results](results.md).

Several seeds are shown as mean (least–largest). Differences are from the row named as baseline, in points of mAP, with
95 % intervals by a [paired bootstrap over queries](using-a-model.md#differences-between-runs).

The figures below the section on Market-1501 are of the **quick size**: a quarter-width ResNet-18 at 64×32 pixels, 6
epochs of 12 batches of 32 crops, {target} crops of {people} synthetic people{seeds}. They show that a study runs and
what it prints. They do not tell methods apart: the set is small, and one seed says little. The papers' own figures, of
ResNet-50 on real people, stand beside them. Seconds and minutes were measured with other programs on the same core.
Measured at {commit}.
"""


def _whole(table: Path, rows: list[str]) -> bool:
    """Whether a table has all rows of its study."""
    if not table.is_file():
        return False
    return {line["row"] for line in csv.DictReader(table.read_text(encoding="utf-8").splitlines())} == set(rows)


def _market(out: Path, commit: str, studies: dict[str, Study]) -> list[str]:
    """The section on Market-1501: table and charts of each study that is finished there."""
    blocks = [
        "## On Market-1501",
        f"By the commands above, seed 0, last epoch, at `{commit}`; runs so short say little of a method.",
    ]
    for name, study in studies.items():
        folder = out / name
        if not _whole(folder / "table.csv", [row.name for row in study.rows]):
            continue
        lines = (folder / "table.md").read_text(encoding="utf-8").splitlines()
        blocks.append(f"**{study.title}** ({study.paper}), `{name}`")
        blocks.append("\n".join(line for line in lines if line.startswith("|")))
        for file in sorted(folder.glob("*.svg")):
            copy = IMAGES / f"market-{name}-{file.name}"
            shutil.copyfile(file, copy)
            blocks.append(f"![{study.title}, Market-1501: {file.stem}](images/studies/{copy.name})")
    return blocks


def main() -> None:
    """Writes the page and the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("commits", nargs="+")
    parser.add_argument("--market", type=Path)
    parser.add_argument("--market-commit", default="")
    given = parser.parse_args()
    out, commits = given.out, given.commits
    shutil.rmtree(IMAGES, ignore_errors=True)
    IMAGES.mkdir(parents=True)
    world = quick_worlds()["target"]
    blocks = [
        HEAD.format(
            target=world["crops"],
            people=world["identities"],
            seeds=", seed 0",
            commit=" and ".join(f"`{one}`" for one in commits),
        ).strip()
    ]
    studies = {name: find_study(name) for name in list_studies()}
    if given.market is not None:
        blocks += _market(given.market, given.market_commit, studies)
    for prefix, title in PAPERS.items():
        blocks.append(f"## {title}")
        for name, study in studies.items():
            if not name.startswith(f"{prefix}-"):
                continue
            place = study.paper.split(", ", 1)[-1]
            blocks.append(f"### {study.title}\n\n{place[0].upper()}{place[1:]}. `resight study {name}`")
            blocks.append(" ".join(study.about.split()))
            folder = out / f"{name}-quick"
            if not _whole(folder / "table.csv", [row.name for row in study.rows]):
                blocks.append("*Not measured here yet.*")
                continue
            lines = (folder / "table.md").read_text(encoding="utf-8").splitlines()
            blocks.append("\n".join(line for line in lines if line.startswith("|")))
            pictures = []
            for file in sorted([*folder.glob("*.svg"), *folder.glob("*.png")]):
                copy = IMAGES / f"{name}-{file.name}"
                if file.suffix == ".png":  # crops: a tenth of the size
                    copy = copy.with_suffix(".jpg")
                    with Image.open(file) as picture:
                        picture.convert("RGB").save(copy, quality=80, optimize=True)
                else:
                    shutil.copyfile(file, copy)
                pictures.append(f"![{study.title}: {file.stem}](images/studies/{copy.name})")
            if pictures:
                blocks.append("\n".join(pictures))
    (DOCS / "paper-studies.md").write_text("\n\n".join(blocks) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
