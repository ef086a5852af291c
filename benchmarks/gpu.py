"""What a machine with GPUs does, in parts that each take less than ten minutes; ``gpu.sh`` runs them all.

Each part writes a JSON and prints a table; ``report`` puts them together into ``OUT/gpu.json`` and ``OUT/gpu.md``, for
``docs/performance.md``. ``--quick`` takes tiny sizes, for a try on a CPU. A schedule that is cut off by its time goes
on where it stopped when its part is started again.

    python benchmarks/gpu.py correctness --out /tmp/gpu --quick
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hard_features import hard_features, hard_world
from same_results import JACCARD, ROWS, paint

from resight.bench import measure
from resight.clustering import dbscan, jaccard_distance
from resight.clustering.search.neighbours import nearest_neighbours
from resight.common.devices import resolve_device
from resight.evaluation import evaluate_splits
from resight.losses import (
    agreement_aware_smoothing,
    batch_hard_triplet,
    camera_contrast,
    cluster_contrast,
    discrepant_contrast,
    instance_discrimination,
    joint_embedding,
    multi_instance_contrast,
    multilabel_discriminative,
    pair_agreement,
    part_guided_refinement,
)
from resight.training.config import build_config
from resight.training.run import RunFolder

#: Methods whose published schedules are run, with the recipe.
SCHEDULES = {"dcmip": "market1501", "pplr": "market1501", "cluster_contrast": "market1501"}
#: All tables of this part.
_PRINTED: list[str] = []
_TINY = (
    "encoder.backbone=resnet18 encoder.weights=none encoder.width_multiplier=0.25 encoder.height=32 encoder.width=16 "
    "encoder.last_stride=1 augmentation.pad=2 sampling.clusters=4 sampling.crops=4 sampling.iterations=4 epochs=2 "
    "precision=float32"
)


def correctness(options: argparse.Namespace) -> dict[str, Any]:
    """Every device path against the CPU."""
    device, rows, found = resolve_device(), [], {}

    def compare(name: str, apart: float, limit: float) -> None:
        found[name] = {"difference": apart, "limit": limit, "passed": bool(apart <= limit)}
        rows.append((name, f"{apart:.2g}", f"{limit:.2g}", "yes" if apart <= limit else "NO"))

    count = 1500 if options.quick else 20_000
    identity, camera = hard_world(count, count // 17, 6, 0)
    features = hard_features(identity, camera, 128 if options.quick else 2048, 0)
    own = nearest_neighbours(features, 30, search="exact", furthest=True)
    other = nearest_neighbours(features, 30, search="exact", furthest=True, device=device)
    compare("neighbours that differ", float((own.indices != other.indices).sum()), 0)
    compare("distances of neighbours", float(np.abs(own.distances - other.distances).max()), 0)
    assert own.furthest is not None
    assert other.furthest is not None
    compare("distances of the farthest", float(np.abs(own.furthest - other.furthest).max()), 0)
    labels = [dbscan(jaccard_distance(near, 30, 6, max_distance=0.6), 0.6, 4) for near in (own, other)]
    compare("pseudo-labels that differ", float((labels[0] != labels[1]).sum()), 0)
    split = np.where(np.arange(count) % 5 == 0, "query", "gallery")
    scores = [evaluate_splits(features, identity, camera, split, device=str(d)).to_dict() for d in ("cpu", device)]
    compare("mAP", abs(scores[0]["mAP"] - scores[1]["mAP"]), 1e-6)
    for name, loss in losses().items():
        values, gradients = [], []
        for place in (torch.device("cpu"), device):
            given = unit(64, 32, 1).to(place).requires_grad_()
            value = loss(given, place)
            value.backward()
            assert given.grad is not None
            values.append(value.item())
            gradients.append(given.grad.cpu())
        compare(f"loss: {name}", abs(values[0] - values[1]) / abs(values[0]), 1e-4)
        apart = (gradients[0] - gradients[1]).norm() / gradients[0].norm()
        compare(f"gradient: {name}", float(apart), 1e-3)
    for method, record in tiny_runs(options, str(device)).items():
        for figure, limit in (("loss", 2e-2), ("clusters", 0)):
            first, second = (side.get(figure, 0) for side in record)
            compare(f"{method}: {figure} of the first epoch", abs(first - second) / max(abs(first), 1e-9), limit)
    table("Device paths against the CPU", ("what", "difference", "limit", "passed"), rows)
    return found


def unit(rows: int, columns: int, seed: int) -> torch.Tensor:
    """Seeded L2-normalised rows."""
    return F.normalize(torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)))


def losses() -> dict[str, Callable[[torch.Tensor, torch.device], torch.Tensor]]:
    """Each loss on fixed proxies and labels, as a function of 64 features."""
    labels, cameras = torch.arange(64) // 4, torch.arange(64) % 3
    clusters = torch.arange(48) // 3
    agreement = torch.rand(64, 2, generator=torch.Generator().manual_seed(5))

    def at(place: torch.device, *tensors: torch.Tensor) -> list[torch.Tensor]:
        return [tensor.to(place) for tensor in tensors]

    def parts(x: torch.Tensor, d: torch.device) -> torch.Tensor:
        return torch.stack([x @ unit(16, 32, seed).to(d).T for seed in (2, 3)], dim=1)

    return {
        "cluster contrast": lambda x, d: cluster_contrast(x, *at(d, unit(16, 32, 2), labels)),
        "camera contrast": lambda x, d: camera_contrast(
            x, *at(d, labels, cameras, unit(48, 32, 2), clusters, torch.arange(48) % 3), form="separate"
        ),
        "discrepant contrast": lambda x, d: discrepant_contrast(x, *at(d, unit(16, 32, 2), unit(16, 32, 3), labels)),
        "multi-instance contrast": lambda x, d: multi_instance_contrast(
            x, *at(d, unit(128, 32, 2).view(16, 8, 32), labels)
        ),
        "instance discrimination": lambda x, d: instance_discrimination(x, *at(d, unit(64, 32, 2))),
        "batch-hard triplet": lambda x, d: batch_hard_triplet(x, *at(d, labels), None),
        "part-guided refinement": lambda x, d: part_guided_refinement(
            x @ unit(16, 32, 4).to(d).T, parts(x, d), *at(d, labels, agreement)
        ),
        "agreement-aware smoothing": lambda x, d: agreement_aware_smoothing(parts(x, d), *at(d, labels, agreement)),
        "joint embedding": lambda x, d: joint_embedding(x[:32], labels[:32].to(d), x[32:], unit(16, 32, 2).to(d), 1.9),
        "multilabel discriminative": lambda x, d: multilabel_discriminative(
            x, pair_agreement(unit(64, 8, 6).abs().to(d)), 0.5, 0.05
        ),
    }


def tiny_runs(options: argparse.Namespace, device: str) -> dict[str, list[dict[str, Any]]]:
    """The first epoch of each method on the CPU and on the device."""
    found: dict[str, list[dict[str, Any]]] = {}
    crops = options.out / "crops"
    for folder, seed, count in ((crops, 0, 30), (options.out / "crops-2", 1, 20)):
        if not folder.exists():
            paint(folder, seed, count)
    for name, method, text in ROWS:
        if name != method or (options.quick and method not in ("supervised", "cluster_contrast", "dcmip")):
            continue
        words = text.format(source="none", crops=crops).split()
        for place in ("cpu", device):
            out = options.out / "tiny" / f"{method}-{place.replace(':', '-')}"
            train([method, "--data", crops, "--out", out, "--device", place, "--overwrite", *words, "epochs=1"])
            found.setdefault(method, []).append(RunFolder(out).read_metrics()[-1])
    return found


def train(words: Sequence[object], *, processes: int = 1, seconds: float = 580) -> bool:
    """Trains by the command; returns whether it came to its end within its time. After that it is asked to stop."""
    launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *launcher, "-m", "resight", "train", *map(str, words), "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        _, said = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        return False
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}\n{said[-4000:]}")
    return True


def steps(options: argparse.Namespace) -> dict[str, Any]:
    """Step times, images per second and utilisation of whole recipes."""
    found, rows = {}, []
    for method in SCHEDULES:
        for precision in ("bfloat16", "float32"):
            if options.quick and (precision == "bfloat16" or method == "pplr"):
                continue  # bfloat16 takes minutes where it is not in hardware
            settings = [f"precision={precision}", "encoder.weights=none", *(_TINY.split() if options.quick else [])]
            settings += [] if options.quick else ["encoder.backbone=resnet50"]
            cost = measure(
                build_config(method, "default" if options.quick else SCHEDULES[method], settings),
                crops=300 if options.quick else 12_936,
                steps=3 if options.quick else 30,
            )
            found[f"{method}, {precision}"] = cost.to_dict()
            rows.append(
                (
                    f"{method}, {precision}", f"{cost.batch}", f"{cost.step_seconds['all']:.4f}",
                    f"{cost.train_images:,.0f}", f"{100 * cost.train_use:.0f} %", f"{cost.embed_images:,.0f}",
                    f"{100 * cost.embed_use:.0f} %", f"{cost.label_seconds:.2f}", f"{cost.peak_bytes / 1e9:.1f}",
                )
            )  # fmt: skip
    head = ("recipe", "batch", "s per step", "images/s", "use", "embedded/s", "use", "labels, s", "GB")
    table("Steps", head, rows)
    return found


def clustering(options: argparse.Namespace) -> dict[str, Any]:
    """Neighbours, Jaccard distances and DBSCAN, by size."""
    found, rows = {}, []
    for count, dim in ((500, 64), (2_500, 64)) if options.quick else ((12_936, 2048), (32_621, 2048), (1_000_000, 512)):
        identity, camera = hard_world(count, max(2, count // 17), 6, 0)
        features: Any = np.empty((count, dim), np.float32)
        hard_features(identity, camera, dim, 0, out=features)
        seconds: dict[str, float] = {}
        start = time.perf_counter()
        near = nearest_neighbours(features, 30, device=resolve_device())
        seconds["neighbours"] = time.perf_counter() - start
        start = time.perf_counter()
        distance = jaccard_distance(near, 30, 6, max_distance=0.5)
        seconds["jaccard"] = time.perf_counter() - start
        start = time.perf_counter()
        labels = dbscan(distance, 0.5, 4)
        seconds["dbscan"] = time.perf_counter() - start
        found[f"{count} x {dim}"] = {**seconds, "clusters": int(labels.max() + 1), "recall": near.recall}
        rows.append((f"{count:,} × {dim:,}", *(f"{value:.2f}" for value in seconds.values()), f"{labels.max() + 1:,}"))
    table("Clustering", ("crops", "neighbours, s", "Jaccard, s", "DBSCAN, s", "clusters"), rows)
    return found


def schedule(options: argparse.Namespace) -> dict[str, Any]:
    """A whole schedule on the Market-1501 split, so far as it comes in its time; a later call goes on with it."""
    method, recipe = options.schedule.split("/")
    out = options.out / "schedules" / f"{method}-{recipe}"
    if options.quick:
        data: Path = options.out / "crops"
        if not data.exists():
            paint(data, 0, 30)
        words = [*_TINY.split(), *JACCARD.split()]
        if method == "pplr":
            words += ["encoder.height=64", "method.agreement_k=8"]
        more: list[object] = ["--train-identities", 20, *words]
        recipe = "default"
    elif options.data is None:
        print("No data were named (--data), so no schedule is run.")
        return {}
    else:
        data, more = options.data, []
    resume = ["--resume"] if (out / "config.yaml").exists() else []
    ended = train([method, "--recipe", recipe, "--data", data, "--out", out, *resume, *more])
    run = RunFolder(out)
    timings = [json.loads(line) for line in run.timings_file.read_text().splitlines()] if out.exists() else []
    stages = {name: sum(line.get(name, 0.0) for line in timings) for name in ("embed", "label", "train", "metrics")}
    last = run.read_metrics()[-1] if timings else {}
    found = {"ended": ended, "epochs": len(timings), "seconds": stages, "all": sum(stages.values()), "last": last}
    scores = (f"{100 * last[name]:.1f}" if name in last else "–" for name in ("test_mAP", "test_rank1"))
    row = (f"{method}/{recipe}", str(len(timings)), "yes" if ended else "not yet", f"{found['all']:.0f}", *scores)
    table("Schedules", ("recipe", "epochs", "ended", "seconds", "mAP", "rank-1"), [row])
    return {options.schedule: found}


def processes(options: argparse.Namespace) -> dict[str, Any]:
    """Two processes on one GPU, or on a GPU each where there are two, against one process."""
    crops, found, rows = options.out / "crops", {}, []
    if not crops.exists():
        paint(crops, 0, 30)
    device = "cuda:0" if torch.cuda.device_count() == 1 else "auto"
    for method, more in (("cluster_contrast", []), ("dcmip", ["method.first_epochs=1", "ema.restart=true"])):
        records = []
        for count in (1, 2):
            out = options.out / "processes" / f"{method}-{count}"
            words = [*_TINY.split(), *JACCARD.split(), "optimizer.name=sgd", "optimizer.lr=1e-3", *more]
            train([method, "--data", crops, "--out", out, "--overwrite", "--device", device, *words], processes=count)
            records.append(RunFolder(out).read_metrics()[-1])
        apart = abs(records[0]["loss"] - records[1]["loss"]) / records[0]["loss"]
        folders = [options.out / "processes" / f"{method}-{count}" / "labels" for count in (1, 2)]
        pairs = [[np.load(folder / f"{epoch:04d}.npz")["labels"] for folder in folders] for epoch in (1, 2)]
        same = all(np.array_equal(*pair) for pair in pairs)
        found[method] = {"loss": apart, "same_labels": same, "passed": bool(same and apart < 1e-2)}
        rows.append((method, "the same" if same else "OTHERS", f"{apart:.2g}"))
    table("Two processes against one", ("method", "labels", "difference of the loss"), rows)
    return found


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table in Markdown."""
    lines = [f"\n**{title}**\n", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    _PRINTED.extend([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
    print(*_PRINTED[-len(lines) - len(rows) :], sep="\n", flush=True)


def report(options: argparse.Namespace) -> None:
    """Puts the parts together."""
    parts = {file.stem: json.loads(file.read_text()) for file in sorted(options.out.glob("part-*.json"))}
    gpus = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    machine = {
        "host": socket.gethostname(),
        "gpus": gpus,
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "quick": options.quick,
    }
    (options.out / "gpu.json").write_text(json.dumps({"machine": machine, **parts}, indent=1))
    tables = [file.read_text() for file in sorted(options.out.glob("part-*.md"))]
    (options.out / "gpu.md").write_text("\n".join(tables))
    failed = [
        f"{part.removeprefix('part-')}: {name}"
        for part, values in parts.items()
        for name, value in values.items()
        if isinstance(value, dict) and value.get("passed") is False
    ]
    print(f"\n{options.out / 'gpu.json'} has all figures, gpu.md the tables. On {', '.join(gpus) or 'a CPU'}.")
    print("Failed: " + "; ".join(failed) if failed else "Every comparison passed.")


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "correctness": correctness,
    "steps": steps,
    "clustering": clustering,
    "schedule": schedule,
    "processes": processes,
}


def main() -> None:
    """Runs one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=[*PARTS, "report"])
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), help="folder of all results")
    parser.add_argument("--data", type=Path, help="Market-1501, for the schedules")
    parser.add_argument("--schedule", default="dcmip/market1501", metavar="METHOD/RECIPE")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.part == "report":
        report(options)
        return
    start = time.perf_counter()
    found = PARTS[options.part](options)
    name = options.part + (f"-{options.schedule.replace('/', '-')}" if options.part == "schedule" else "")
    (options.out / f"part-{name}.json").write_text(json.dumps(found, indent=1))
    (options.out / f"part-{name}.md").write_text("\n".join(_PRINTED) + "\n")
    print(f"\n{name}: {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
