"""A table of runs that differ in a few settings: each row trained with every seed, then means and spreads.

A YAML file names the method, its recipe, settings common to all rows, and the rows, any of which may name another
method, for its recipe of the same name, or crops of its own, a table divided into train, query and gallery. Finished
runs are not repeated and broken ones are resumed, so the table can be stopped and gone on with, and a row or a seed
more costs only its own runs.

    python benchmarks/ablation.py benchmarks/ablations/idl_acl.yaml --data ward --train-identities 35 --out runs/ward
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from resight.encoders import Encoder
from resight.training.config import build_config
from resight.training.run import RunFolder


def run_folder(out: Path, row: str, seed: int) -> Path:
    """Where a row's run with a seed lies."""
    return out / f"{re.sub('[^a-z0-9]+', '-', row.lower()).strip('-')}-{seed}"


def finished(options: argparse.Namespace, row: dict[str, Any]) -> list[Path]:
    """The folders of a row's runs that came to their end."""
    folders = [run_folder(options.out, row["name"], seed) for seed in options.seeds]
    return [folder for folder in folders if (folder / "evaluation.json").is_file()]


def row_settings(table: dict[str, Any], row: dict[str, Any], **others: Any) -> list[str]:
    """What the command line is told of a row, ``others`` instead of its own."""
    settings = table.get("settings", {}) | row.get("settings", {}) | others
    return [f"{name}={json.dumps(value)}" for name, value in settings.items()]


def train(options: argparse.Namespace, table: dict[str, Any], row: dict[str, Any], seed: int) -> None:
    """Trains one run to its end in a process of its own; its output goes beside its folder."""
    folder = run_folder(options.out, row["name"], seed)
    if (folder / "evaluation.json").is_file():
        return
    words = row_settings(table, row, seed=seed) + options.settings
    method = row.get("method", table["method"])
    data = [row["data"]] if "data" in row else [str(options.data), "--train-identities", str(options.train_identities)]
    data += ["--source", str(options.source)] if options.source else []
    data += ["--source-identities", str(options.source_identities)] if options.source_identities else []
    command = [
        sys.executable, "-m", "resight", "train", method, "--data", *data, "--recipe", table.get("recipe", "default"),
        "--out", str(folder), "--cache", str(options.out / "pixels"), "--resume", "--quiet", *words,
    ]  # fmt: skip
    threads = str(max(1, (os.cpu_count() or 1) // options.jobs))
    environment = os.environ | {"OMP_NUM_THREADS": threads, "NUMBA_NUM_THREADS": threads}
    with folder.with_suffix(".log").open("a", encoding="utf-8") as log:
        if subprocess.run(command, env=environment, stdout=log, stderr=log, check=False).returncode:
            print(f"{row['name']}, seed {seed}: failed, see {log.name}", file=sys.stderr)


def backbone_parameters(table: dict[str, Any], row: dict[str, Any], extra: list[str]) -> float:
    """Millions of parameters of a row's backbone."""
    words = row_settings(table, row, **{"encoder.weights": "none"}) + extra
    config = build_config(row.get("method", table["method"]), table.get("recipe"), words)
    return sum(p.numel() for p in Encoder(config.encoder).backbone.parameters()) / 1e6


def read_lines(file: Path) -> list[dict[str, Any]]:
    """The records of a file of JSON lines."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def describe(values: list[float], factor: float = 100, digits: int = 1) -> str:
    """A single value, or the mean with the least and the largest."""
    mean = f"{factor * statistics.mean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ({factor * min(values):.{digits}f}–{factor * max(values):.{digits}f})"


def report(options: argparse.Namespace, table: dict[str, Any]) -> str:
    """The table of all finished runs, as Markdown."""
    lines = [
        "| | backbone, M parameters | seeds | mAP | rank-1 | rank-10 | earlier mAP | clusters | ARI, all | minutes |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in table["rows"]:
        done = finished(options, row)
        if not done:
            continue
        scores = [json.loads((folder / "evaluation.json").read_text(encoding="utf-8")) for folder in done]
        epochs = [read_lines(folder / "metrics.jsonl") for folder in done]
        last = [run[-1] for run in epochs]
        seconds = [sum(sum(epoch.values()) for epoch in RunFolder(folder).read_timings()) for folder in done]
        earlier: dict[int, list[float]] = {}
        for run in epochs:
            for epoch in run[:-1]:
                if "test_mAP" in epoch:
                    earlier.setdefault(epoch["epoch"], []).append(epoch["test_mAP"])
        cells = [row["name"], f"{backbone_parameters(table, row, options.settings):.2f}", str(len(done))]
        cells += [describe([score[name] for score in scores]) for name in ("mAP", "rank1", "rank10")]
        means = {epoch: 100 * statistics.mean(found) for epoch, found in sorted(earlier.items())}
        cells += [", ".join(f"epoch {epoch}: {mean:.1f}" for epoch, mean in means.items())]
        clustered = all("clusters" in epoch for epoch in last)
        cells += [describe([epoch["clusters"] for epoch in last], 1, 0) if clustered else "–"]
        cells += [describe([epoch.get("all_ari", 0.0) for epoch in last], 1, 3) if clustered else "–"]
        cells += [describe([value / 60 for value in seconds], 1, 1)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def by_epoch(options: argparse.Namespace, table: dict[str, Any]) -> str:
    """The chosen metrics of each row epoch by epoch, the mean over the finished runs, as Markdown."""
    lines = ["| | metric | seeds | epochs |", "|---|---|---|---|"]
    for row in table["rows"]:
        epochs = [read_lines(folder / "metrics.jsonl") for folder in finished(options, row)]
        for name in options.by_epoch if epochs else []:
            found = [[epoch[name] for epoch in run if name in epoch] for run in epochs]
            means = [f"{statistics.mean(values):.3g}" for values in zip(*found, strict=False)]
            if means:
                lines.append(f"| {row['name']} | {name} | {len(epochs)} | {', '.join(means)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="YAML file of rows")
    parser.add_argument("settings", nargs="*", default=[], help="key=value for all rows")
    parser.add_argument("--data", type=Path, help="of the rows that name none")
    parser.add_argument("--train-identities", type=int, help="of that data")
    parser.add_argument("--out", type=Path, required=True, help="folder of run folders")
    parser.add_argument("--source", type=Path, help="labelled crops of other people, for methods that need them")
    parser.add_argument("--source-identities", type=int, help="only the first N people of the source")
    parser.add_argument("--recipe", help="instead of the table's")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rows", nargs="+", help="only the rows of these names")
    parser.add_argument("--report", action="store_true", help="print the table of the finished runs and train nothing")
    parser.add_argument("--by-epoch", nargs="+", metavar="METRIC", help="print these of metrics.jsonl for every epoch")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time, sharing the processor's cores")
    options = parser.parse_intermixed_args()  # settings may stand between options
    table = yaml.safe_load(options.table.read_text(encoding="utf-8"))
    if options.recipe:
        table["recipe"] = options.recipe
    if options.rows:
        table["rows"] = [row for row in table["rows"] if row["name"] in options.rows]
    if not all("data" in row for row in table["rows"]) and not (options.data and options.train_identities):
        parser.error("rows that name no data need --data and --train-identities")
    options.out.mkdir(parents=True, exist_ok=True)
    runs = [] if options.report else [(row, seed) for seed in options.seeds for row in table["rows"]]
    with ThreadPoolExecutor(options.jobs) as pool:
        for job in [pool.submit(train, options, table, row, seed) for row, seed in runs]:
            job.result()
    print(by_epoch(options, table) if options.by_epoch else report(options, table))


if __name__ == "__main__":
    main()
