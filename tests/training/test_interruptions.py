"""Signals, a full disk, a lack of memory and two processes at once: a sentence, and the run goes on."""

from __future__ import annotations

import contextlib
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

import resight
from resight.common import files
from resight.common.signals import Stopped, stopped_by_signals
from resight.crops import CropTable
from resight.errors import ResightError
from resight.training.run import RunFolder
from resight.training.tracking import Tracker

METHOD = "cluster_contrast"
#: A learning rate that does not depend on the number of epochs.
LASTING = {"optimizer.schedule": "constant"}
#: Settings of a run whose first epoch takes hours.
ENDLESS = ["sampling.iterations=1000000", "epochs=2"]


def words(painted: Path, out: Path, settings: dict[str, object], *more: str) -> list[str]:
    """The command that trains."""
    named = [f"{name}={value}" for name, value in settings.items()]
    return [
        sys.executable,
        "-m",
        "resight",
        "train",
        METHOD,
        "--data",
        str(painted),
        "--out",
        str(out),
        "-q",
        *named,
        *more,
    ]


def wait_for(happened: Callable[[], Any], process: subprocess.Popen[str], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.05)


@contextmanager
def started(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def follow(line: str) -> subprocess.CompletedProcess[str]:
    """Runs the command behind "Go on with: ", as a user would paste it."""
    program, *rest = shlex.split(line.partition("o on with: ")[2])
    assert program == "python"  # as it was called
    return subprocess.run([sys.executable, *rest], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def table(painted: Path) -> CropTable:
    return resight.read_crops(painted)


@pytest.fixture(scope="module")
def whole(table: CropTable, tiny: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of three epochs that nothing stopped."""
    model = resight.train(
        METHOD, table, tmp_path_factory.mktemp("whole") / "run", settings=tiny | LASTING | {"keep_every": 2}
    )
    assert model.run is not None
    return model.run


def test_a_lost_terminal_ends_training_with_the_command_that_goes_on(
    painted: Path, tiny: dict[str, object], tmp_path: Path, whole: RunFolder
) -> None:
    crops = tmp_path / "my crops"
    crops.symlink_to(painted)
    settings = tiny | LASTING | {"keep_every": 2}
    run = RunFolder(tmp_path / "a run")
    with started(words(crops, run.path, settings, "--overwrite")) as process:
        assert process.stderr is not None
        before = []
        for line in process.stderr:
            before.append(line)
            if line.startswith("epoch 1/3"):
                break
        process.send_signal(signal.SIGHUP)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 129, (before, err)
    assert out == ""
    lines = err.splitlines()
    stopped, command = lines[-2:]
    assert stopped in [f"resight: Stopped by SIGHUP. Epoch {n} of 3 is saved in {run.path}." for n in (1, 2)]
    assert "--overwrite" not in command
    assert command.endswith(" keep_every=2 --resume")
    assert not list(run.path.rglob("*.part.*"))
    done = follow(command)
    assert done.returncode == 0, done.stderr
    assert "Resumed after epoch" in done.stderr
    assert run.metrics_file.read_bytes() == whole.metrics_file.read_bytes()
    assert run.weights_file.read_bytes() == whole.weights_file.read_bytes()


def test_a_signal_before_the_first_epoch_is_finished(painted: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "runs" / f"{METHOD}-1")
    command = [word for word in words(painted, Path("OUT"), tiny, *ENDLESS) if word not in ("--out", "OUT")]
    with started(command, cwd=tmp_path) as process:
        wait_for(run.config_file.exists, process)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)  # a program that started this one may pass it on
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    stopped, again = err.splitlines()[-2:]
    assert stopped == f"resight: Stopped by SIGINT. runs/{METHOD}-1 has no epoch yet."
    assert again.endswith(f"epochs=2 --out runs/{METHOD}-1 --resume")
    assert resight.train(METHOD, painted, run.path, settings=tiny | {"epochs": 1}).run is not None


def test_a_signal_ends_another_command_with_a_line(painted: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "resight", "synth", "world", "--crops", "100000", "--identities", "2000", "-q"]
    with started(command, cwd=tmp_path) as process:
        wait_for((tmp_path / "world" / "world.json").exists, process)
        process.terminate()
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, "")
    assert err == (
        "resight: Stopped by SIGTERM.\nGo on with: python -m resight synth world --crops 100000 --identities 2000 -q\n"
    )


def test_signals_are_handled_for_a_while_only() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopped_by_signals() as stopped:
            signal.raise_signal(signal.SIGHUP)  # ignored, as under nohup
            assert stopped() is None
            with pytest.raises(Stopped) as caught:
                signal.raise_signal(signal.SIGTERM)
            assert stopped() is caught.value
            assert caught.value.signal == signal.SIGTERM
            signal.raise_signal(signal.SIGTERM)  # at once again: passed on by another program
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


class _Finalized:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def _dropped() -> None:
    with contextlib.suppress(BaseException):
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("meets", [_Finalized, _dropped], ids=["a finalizer", "code that drops every exception"])
def test_a_signal_that_is_dropped_still_ends_the_command(meets: Callable[[], object]) -> None:
    hook = sys.unraisablehook
    with stopped_by_signals() as stopped:
        meets()
        with pytest.raises(Stopped) as caught:
            time.sleep(30)
    assert stopped() is caught.value
    assert sys.unraisablehook is hook


def test_a_second_signal_later_ends_the_process_at_once() -> None:
    script = """
        import signal, time
        from resight.common import signals
        with signals.stopped_by_signals():
            try:
                signal.raise_signal(signal.SIGTERM)
            except signals.Stopped:
                time.sleep(1.1)
                signal.raise_signal(signal.SIGTERM)
                time.sleep(60)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGTERM, "")


def test_two_processes_do_not_train_in_one_folder(
    in_process: Callable[..., tuple[int, str, str]], painted: Path, tiny: dict[str, object], tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "run")
    with started(words(painted, run.path, tiny, *ENDLESS)) as first:
        wait_for(run.config_file.exists, first)
        for options in ({}, {"resume": True}, {"overwrite": True}):
            start = time.monotonic()
            with pytest.raises(ResightError, match=r"Another process is training in .*run: wait for it, or choose"):
                resight.train(METHOD, painted, run.path, settings=tiny, **options)
            assert time.monotonic() - start < 5
        status, _, told = in_process(*words(painted, run.path, tiny)[3:])
        assert status == 2
        assert told.splitlines()[-1] == (
            f"resight: Another process is training in {run.path}: wait for it, or choose another folder."
        )
        assert first.poll() is None
        first.kill()
        first.wait()
    resight.train(METHOD, painted, run.path, settings=tiny | {"epochs": 1})  # the lock went with the process
    assert [record["epoch"] for record in run.read_metrics()] == [1]


@contextmanager
def small_files() -> Iterator[None]:
    """Files cannot grow beyond ten bytes for a while: the system refuses, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


#: Each file of the run folder, and the epoch that is saved when it cannot be written.
FILES = {
    "data.json": None,
    "config.yaml": None,
    "labels/0002.npz": 1,
    "metrics.jsonl": 1,
    "timings.jsonl": 1,
    "model.safetensors": 1,
    "weights/0002.safetensors": 1,
    "checkpoint.pt": 1,
    "evaluation.json": 3,
    "changes.jsonl": 2,
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_written_is_a_sentence_and_the_run_goes_on(
    name: str,
    painted: Path,
    tiny: dict[str, object],
    tmp_path: Path,
    whole: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, settings = RunFolder(tmp_path / "run"), tiny | LASTING | {"keep_every": 2}
    scored = name == "evaluation.json"
    table = resight.read_crops(painted, train_identities=8 if scored else None)
    if name == "changes.jsonl":
        resight.train(METHOD, table, run.path, settings=settings | {"epochs": 2})
    honest_aside, honest_append = files.write_aside, files.append_line

    def write_aside(file: Path, write: Callable[[Path], object], **options: bool) -> None:
        # model.safetensors and checkpoint.pt are written in epoch 1, too
        first = name in ("model.safetensors", "checkpoint.pt") and not file.exists()
        with small_files() if file == run.path / name and not first else nullcontext():
            honest_aside(file, write, **options)

    def append_line(file: Path, line: str) -> None:
        with small_files() if file == run.path / name and file.exists() else nullcontext():
            honest_append(file, line)

    with monkeypatch.context() as full:
        for module in ("resight.training.run", "resight.scoring"):
            full.setattr(f"{module}.write_aside", write_aside)
        full.setattr("resight.training.run.append_line", append_line)
        with pytest.raises(ResightError) as caught:
            resight.train(METHOD, table, run.path, settings=settings, resume=name == "changes.jsonl")
    said = f"{run.path / name} could not be written: File too large. Raise the limit on the size of files (ulimit -f)."
    saved = FILES[name]
    told = f" Epoch {saved} of 3 is saved in {run.path}." if saved and name != "changes.jsonl" else ""
    assert str(caught.value) == said + told
    assert not list(tmp_path.rglob("*.part*"))
    if saved:
        assert run.saved_epochs() == saved
    resight.train(METHOD, table, run.path, settings=settings, resume=True)
    if scored:
        assert run.evaluation_file.exists()
    else:
        assert run.metrics_file.read_bytes() == whole.metrics_file.read_bytes()
        assert run.weights_file.read_bytes() == whole.weights_file.read_bytes()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts a file system of so many bytes, or gives it another size."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = False

    def mount(size: int) -> Path:
        nonlocal mounted
        options = f"remount,size={size}" if mounted else f"size={size}"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr}")
        mounted = True
        return disk

    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    yield mount
    if mounted:
        subprocess.run(["umount", disk], check=True)


def test_a_full_disk(
    painted: Path,
    tiny: dict[str, object],
    tmp_path: Path,
    whole: RunFolder,
    small_disk: Callable[[int], Path],
) -> None:
    sizes = {name: (whole.path / name).stat().st_size for name in ("checkpoint.pt", "model.safetensors")}
    # the files of epoch 1 and half a checkpoint more
    disk = small_disk(int(1.5 * sizes["checkpoint.pt"]) + sizes["model.safetensors"])
    run = RunFolder(disk / "run")
    settings = tiny | LASTING
    command = words(painted, run.path, settings, "--cache", str(tmp_path / "pixels"))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    said, then = done.stderr.splitlines()[-2:]
    assert said == (
        f"resight: {run.checkpoint_file} could not be written: No space left on device. Free some space on that disk. "
        f"Epoch 1 of 3 is saved in {run.path}."
    )
    assert not list(disk.rglob("*.part*"))
    small_disk(1 << 26)
    assert then.endswith("--resume")
    resight.train(METHOD, painted, run.path, settings=settings, resume=True)
    assert run.metrics_file.read_bytes() == whole.metrics_file.read_bytes()
    assert run.weights_file.read_bytes() == whole.weights_file.read_bytes()


def test_a_tracker_that_fails_is_a_sentence_and_the_run_goes_on(
    table: CropTable,
    tiny: dict[str, object],
    tmp_path: Path,
    whole: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from accelerate import Accelerator

    def log(self: Accelerator, values: dict[str, float], step: int) -> None:
        if step == 2:
            raise OSError(28, "No space left on device", "events")

    monkeypatch.setattr("accelerate.tracking.get_available_trackers", lambda: ["tensorboard"])
    monkeypatch.setattr(Accelerator, "init_trackers", lambda *_, **__: None)
    monkeypatch.setattr(Accelerator, "log", log)
    settings = tiny | LASTING | {"keep_every": 2, "tracker": "tensorboard"}
    with pytest.raises(ResightError, match=r"tracker=tensorboard failed \(.*No space left.*Epoch 2 of 3 is saved"):
        resight.train(METHOD, table, tmp_path / "run", settings=settings)
    run = resight.train(METHOD, table, tmp_path / "run", settings={"tracker": "none"}, resume=True).run
    assert run is not None
    assert run.metrics_file.read_bytes() == whole.metrics_file.read_bytes()
    assert run.weights_file.read_bytes() == whole.weights_file.read_bytes()
    assert Tracker(run.read_config(), run).log({"epoch": 4}) is None


#: Takes a tenth of a gigabyte more than the process has and no more, then runs a command.
POOR = """
    import resource, sys
    import torch
    import resight.model, resight.training.loop, resight.clustering.labels, resight.evaluation
    from resight.cli import main
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 600_000_000, -1))
    sys.argv = ["resight", *sys.argv[1:]]
    main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory can only be limited on Linux")
def test_a_lack_of_memory_says_what_to_lower(painted: Path, tiny: dict[str, object], tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    command = words(painted, run.path, tiny, "sampling.crops=100000")
    command[1:3] = ["-c", textwrap.dedent(POOR)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    said, then = done.stderr.splitlines()[-2:]
    assert said.startswith("resight: There is not enough room in memory for a training step (")
    assert "Lower sampling.clusters (now 4) or sampling.crops (now 100000), or, in a new run, encoder.height" in said
    assert said.endswith(f"{run.path} has no epoch yet.")
    assert then.endswith("--resume")
    model = resight.train(METHOD, painted, run.path, settings={"sampling.crops": 4, "epochs": 1}, resume=True)
    assert model.config.sampling.crops == 4


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError("Unable to allocate 7.45 GiB for an array with shape (1000000000,)"), r"in memory .*\(7.45 GiB"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total"), r"on the GPU .*20.00 MiB"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 80 bytes."),
            "80 b",
        ),
        (OSError(12, "Cannot allocate memory"), "in memory"),
    ],
)
@pytest.mark.parametrize("stage", ["embed", "train"])
def test_a_lack_of_memory_is_recognised(
    stage: str,
    error: Exception,
    said: str,
    table: CropTable,
    tiny: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise error

    place = {"embed": "embed_images", "train": "train_epoch"}[stage]
    lower = {"embed": r"Lower embed_batch \(now 256\)", "train": r"Lower sampling.clusters \(now 4\)"}[stage]
    monkeypatch.setattr(f"resight.training.loop.{place}", fail)
    with pytest.raises(ResightError, match=f"{said}.*{lower}.*no epoch yet"):
        resight.train(METHOD, table, tmp_path / "run", settings=tiny)
