"""The runs of a study: which there are, which are missing, and training these, several at a time."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from resight.common.checks import whole
from resight.common.files import make_folder, write_aside
from resight.crops import CropTable, read_crops, write_table
from resight.crops.splits import balanced_subset, unbalanced_subset
from resight.errors import ResightError
from resight.study.spec import Row, Start, Study, quick_worlds
from resight.synthesis import world_config, write_world
from resight.training.config import TrainConfig, build_config, flatten
from resight.training.reporting import Reporter, duration
from resight.training.run import RunFolder


@dataclass(frozen=True)
class Crops:
    """Crops that a study is run on.

    Attributes:
        path: Folder or table.
        format: Format.
        train_identities: As for :func:`resight.read_crops`.
        identities: How many identities of a source are used; all if not given.
    """

    path: Path
    format: str = "auto"
    train_identities: int | None = None
    identities: int | None = None

    def read(self) -> CropTable:
        """The table."""
        return read_crops(self.path, self.format, train_identities=self.train_identities)

    def key(self) -> list[Any]:
        """What tells these crops from others."""
        return [str(self.path.resolve()), self.format, self.train_identities, self.identities]


@dataclass(frozen=True)
class StudyRun:
    """A run of a study.

    Attributes:
        name: What it is called when it is trained.
        folder: Its run folder, named after a hash of its settings and crops.
        config: Its settings.
        crops: Its crops, or those that it is scored on.
        source: Its source, if it learns from one.
        first: The run that it starts from.
        trains: Whether it is trained; otherwise ``folder`` is that of ``first``, scored on other crops.
    """

    name: str
    folder: Path
    config: TrainConfig
    crops: Crops
    source: Crops | None = None
    first: StudyRun | None = None
    trains: bool = True

    @property
    def finished(self) -> bool:
        """Whether it came to its end: its last epoch is written, and scored where there is something to score."""
        return (self.folder / "finished").is_file()


@dataclass
class Place:
    """Where a study runs and on what.

    Attributes:
        out: Folder of all studies: ``runs`` has the run folders, which studies share; each study has a folder of
            results.
        target: The crops; the synthetic world of the quick size if not given.
        source: Labelled crops of other identities; the same.
        quick: Whether it is run in quick size.
        changes: Settings that differ for all rows; those of the encoder's shape also for the runs they start from.
        device: Where to train.
        jobs: Runs at a time.
        reporter: Reports progress.
    """

    out: Path
    target: Crops | None = None
    source: Crops | None = None
    quick: bool = False
    changes: dict[str, Any] = field(default_factory=dict)
    device: str = "auto"
    jobs: int = 1
    reporter: Reporter = field(default_factory=Reporter)

    def prepare(self, study: Study) -> None:
        """Makes the worlds and tables that the study needs.

        Raises:
            ResightError: crops are needed and not named.
        """
        make_folder(self.out)
        whole("jobs", self.jobs, least=1, most=256)
        if self.quick:
            self.target = self.target or self._world("target")
            if study.needs_source:
                self.source = self.source or self._world("source")
        if self.target is None:
            raise ResightError("A study needs crops: name them with --data PATH, or use --quick for a synthetic world.")
        if study.needs_source and self.source is None:
            raise ResightError(
                f"The study {study.name} also learns from labelled crops of other identities: name them with "
                "--source PATH, or use --quick for a synthetic world."
            )
        for how in {row.data for row in study.rows} - {"target"}:
            file = self._thinned(how)
            if not file.is_file():
                table = self.target.read()
                uneven = unbalanced_subset(table)
                size = int(uneven.is_person[uneven.split == "train"].sum() if uneven.split is not None else len(uneven))
                make_folder(file.parent)
                write_table(uneven if how == "unbalanced" else balanced_subset(table, size), file)

    def _world(self, name: str) -> Crops:
        folder = self.out / "worlds" / name
        make_folder(folder.parent)
        config = world_config(**quick_worlds()[name])
        write_world(folder, config, progress=self.reporter.progress)
        return Crops(folder)

    def _thinned(self, how: str) -> Path:
        assert self.target is not None
        return self.out / "tables" / f"{how}-{_digest(self.target.key())}.csv"

    def crops_of(self, row: Row) -> Crops:
        """The crops of a row."""
        assert self.target is not None
        if row.score == "source":
            assert self.source is not None
            return self.source
        return self.target if row.data == "target" else Crops(self._thinned(row.data))

    def start(self, study: Study, name: str, seed: int) -> StudyRun:
        """The run that rows of a study start from."""
        start: Start = study.starts[name]
        crops = self.source if start.data == "source" else self.target
        assert crops is not None
        shape = {
            name: value
            for name, value in self.changes.items()
            if name.startswith("encoder.") and name not in ("encoder.weights", "encoder.start")
        }
        config = build_config(start.method, start.recipe, {**start.settings, **shape, "seed": seed})
        folder = self.out / "runs" / _digest([_settings(config), crops.key(), None, None])
        return StudyRun(f"start {name}, seed {seed}", folder, config, crops)

    def run(self, study: Study, row: Row, seed: int) -> StudyRun:
        """The run of a row with a seed."""
        first = None if row.start is None else self.start(study, row.start, seed)
        crops, name = self.crops_of(row), f"{row.name}, seed {seed}"
        if row.score is not None:
            assert first is not None
            return StudyRun(name, first.folder, first.config, crops, first=first, trains=False)
        config = study.config(row, seed, None if first is None else str(first.folder), self.changes)
        source = self.source if study.source else None
        # the start counts by what it is, not by where it lies
        settings = _settings(config) | ({"encoder.weights": first.folder.name} if first else {})
        key = [settings, crops.key(), None if source is None else source.key(), first and first.folder.name]
        return StudyRun(name, self.out / "runs" / _digest(key), config, crops, source, first)


def _settings(config: TrainConfig) -> dict[str, Any]:
    flat = flatten(config.model_dump(mode="json"))
    return {name: value for name, value in flat.items() if name not in ("description", "tracker")}


def _digest(key: Any) -> str:
    text = json.dumps(key, sort_keys=True, ensure_ascii=True)
    return blake2b(text.encode("ascii"), digest_size=8).hexdigest()


def run_study(study: Study, place: Place, *, seeds: Sequence[int] | None = None) -> list[StudyRun]:
    """Trains what is missing of a study. Finished runs are kept, and broken ones gone on with.

    Args:
        study: The study, in the size that is run.
        place: Where and on what.
        seeds: Instead of the study's.

    Returns:
        The runs that did not come to their end; what each said is in ``logs`` beside the runs.

    Raises:
        ResightError: crops are missing, or a setting is not possible.
    """
    place.prepare(study)
    wanted: dict[Path, StudyRun] = {}
    for seed in seeds or study.seeds:
        for row in study.rows:
            run = place.run(study, row, seed)
            for one in (run.first, run):
                if one is not None and one.trains:
                    wanted.setdefault(one.folder, one)
    missing = [run for run in wanted.values() if not run.finished]
    firsts = [
        run
        for run in missing
        if run.first is None and any(other.first and other.first.folder == run.folder for other in wanted.values())
    ]
    rest = [run for run in missing if run not in firsts]
    place.reporter.say(f"{study.name}: {len(wanted)} runs, {len(missing)} of them to be trained.")
    failed: list[StudyRun] = []
    for batch in (firsts, rest):
        failed += _train_all(batch, place, {run.folder for run in failed})
    return failed


class _Slots:
    """Shares of the machine: cores, and a GPU where there are several."""

    def __init__(self, jobs: int) -> None:
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        count = len(cores) or os.cpu_count() or 1
        self.threads = max(1, count // jobs)
        self._free: queue.Queue[tuple[list[int], int]] = queue.Queue()
        for place in range(jobs):
            own = [cores[(place * self.threads + k) % count] for k in range(self.threads)] if cores else []
            self._free.put((own, place))

    def take(self) -> tuple[list[int], int]:
        return self._free.get()

    def give(self, slot: tuple[list[int], int]) -> None:
        self._free.put(slot)


def _train_all(runs: list[StudyRun], place: Place, broken: set[Path]) -> list[StudyRun]:
    """Trains runs, ``place.jobs`` at a time. Returns those that failed."""
    if not runs:
        return []
    slots, failed, done = _Slots(place.jobs), [], 0
    running: dict[Path, subprocess.Popen[bytes]] = {}
    lock = threading.Lock()
    gpus = _gpus() if place.jobs > 1 and place.device in ("auto", "cuda") else 0
    for folder in ("runs", "logs"):
        make_folder(place.out / folder)

    def work(run: StudyRun) -> StudyRun | None:
        nonlocal done
        if run.first is not None and run.first.folder in broken:
            return run
        slot = slots.take()
        try:
            status = _train(run, place, slot, slots.threads, gpus, running)
        finally:
            slots.give(slot)
        with lock:
            done += 1
            log = place.out / "logs" / f"{run.folder.name}.log"
            place.reporter.progress("runs of the study", done, len(runs))
            place.reporter.say(
                f"{done} of {len(runs)}: {run.name}: " + ("finished" if status == 0 else f"failed, see {log}")
            )
        return run if status else None

    with ThreadPoolExecutor(place.jobs, thread_name_prefix="resight-study") as pool:
        jobs = [pool.submit(work, run) for run in runs]
        try:
            failed = [run for job in jobs if (run := job.result()) is not None]
        except BaseException:
            for job in jobs:
                job.cancel()
            for process in list(running.values()):
                process.terminate()  # a run that is stopped keeps its whole epochs
            raise
    return failed


def _gpus() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _train(
    run: StudyRun,
    place: Place,
    slot: tuple[list[int], int],
    threads: int,
    gpus: int,
    running: dict[Path, subprocess.Popen[bytes]],
) -> int:
    """Trains a run in a process of its own; what it says goes to its log. Returns the exit status."""
    cores, number = slot
    words = [f"{name}={json.dumps(value)}" for name, value in flatten(run.config.model_dump(mode="json")).items()]
    words = [word for word in words if not word.startswith(("method.name=", "description="))]
    command = [sys.executable, "-m", "resight", "train", run.config.method.name, "--data", str(run.crops.path)]
    command += ["--format", run.crops.format, "--out", str(run.folder), "--cache", str(place.out / "pixels")]
    if run.crops.train_identities is not None:
        command += ["--train-identities", str(run.crops.train_identities)]
    if run.source is not None:
        command += ["--source", str(run.source.path), "--source-format", run.source.format]
        if run.source.identities is not None:
            command += ["--source-identities", str(run.source.identities)]
    command += ["--resume", "--quiet", "--device", place.device, *words]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)}
    if gpus > 1:
        environment["CUDA_VISIBLE_DEVICES"] = str(number % gpus)
    log = place.out / "logs" / f"{run.folder.name}.log"
    with log.open("ab") as stream:
        stream.write(f"{run.name}\n".encode())
        stream.flush()
        process = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL)
        running[run.folder] = process
        if cores and hasattr(os, "sched_setaffinity") and place.jobs > 1:
            with contextlib.suppress(OSError):  # it has ended
                os.sched_setaffinity(process.pid, cores)
        status = process.wait()
        running.pop(run.folder, None)
    if status == 0:
        seconds = sum(sum(line.values()) for line in RunFolder(run.folder).read_timings())
        write_aside(run.folder / "finished", lambda file: file.write_text(f"{run.name}, {duration(seconds)}\n"))
    return status
