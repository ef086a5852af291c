"""The run folder: everything a run leaves behind, written so that a kill at any moment loses at most one epoch."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from pydantic import ValidationError
from torch import nn

from resight.clustering import PseudoLabels
from resight.clustering.config import CAMERA_SETTINGS
from resight.common.files import CannotWrite, append_line, make_folder, write_aside
from resight.common.locks import locked
from resight.common.memory import OutOfMemory, is_out_of_memory, peak_memory
from resight.common.processes import ProcessLost
from resight.common.signals import Stopped
from resight.crops import CropTable
from resight.encoders.weights import EXTENSION
from resight.errors import ResightError
from resight.training.config import TrainConfig, flatten

#: Settings, and groups of them, that may change between two epochs of a run: they shape neither the network nor the
#: state of the optimiser, and do not say which labels are used.
CHANGEABLE = (
    *("epochs", "evaluate_every", "keep_every", "embed_batch", "max_unreadable", "precision", "tracker", "description"),
    *("optimizer.lr", "optimizer.clip_norm", "optimizer.schedule", "optimizer.step_epochs", "optimizer.step_factor"),
    *("optimizer.decay_from", "optimizer.final_factor", "optimizer.warmup_epochs"),
    *("clustering", "sampling", "augmentation"),
)
#: Settings in these groups that may not: they say whether camera labels or tracks are used.
_FIXED = (
    *(f"clustering.{name}" for name in CAMERA_SETTINGS),
    *("clustering.one_camera", "sampling.cameras", "sampling.balance"),
    *("clustering.tracks", "clustering.unit", "sampling.tracks"),
)


#: The most memory of a process so far, in MiB, beside the seconds of each epoch in ``timings.jsonl``.
PEAK = "peak_mib"


def differing_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The settings that differ, by dotted name, each with its value before and now.

    Args:
        before: Settings as ``TrainConfig.model_dump(mode="json")`` gives them.
        now: Others of the same form.
    """
    old, new = flatten(dict(before)), flatten(dict(now))
    names = [*new, *(name for name in old if name not in new)]
    return {name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}


def _may_change(name: str) -> bool:
    return name not in _FIXED and (name in CHANGEABLE or name.partition(".")[0] in CHANGEABLE)


def _fixed_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The differing settings that may not change within a run, for a sentence; empty if there are none."""
    pairs = [
        f"{name}={old} there, {new} here"
        for name, (old, new) in differing_settings(before, now).items()
        if not _may_change(name)
    ]
    return "; ".join(pairs[:4]) + (f"; and {len(pairs) - 4} more" if len(pairs) > 4 else "")


def _with_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a checkpoint, and the defaults of those that came after it; as they are if they fit no more."""
    try:
        return TrainConfig.model_validate(settings).model_dump(mode="json") if settings else settings
    except (ValueError, KeyError, TypeError, ResightError):
        return settings


def _in_short(error: Exception) -> str:
    """What an error says, on one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}"
    if isinstance(error, KeyError):
        return f"there is no {error}"
    text = " ".join(str(error).split())
    return text if len(text) < 200 else f"{text[:200]}…"


def table_fingerprint(table: CropTable, digest: str, columns: tuple[str, ...] = ("camera", "time", "track")) -> str:
    """Hash of a table's columns that matter and of its files' contents (``digest``)."""
    hasher = blake2b(digest.encode(), digest_size=16)
    hasher.update("\n".join(table.paths).encode())
    for name in columns:
        column = getattr(table, name)
        hasher.update(name.encode() + (b"-" if column is None else np.ascontiguousarray(column).tobytes()))
    return hasher.hexdigest()


def first_weights(weights: str) -> str:
    """The file that first weights are read from, where ``encoder.weights`` names a run folder; else what it names.

    Raises:
        ResightError: the folder is no run, or no epoch of the run was finished.
    """
    if weights in ("none", "imagenet") or not Path(weights).is_dir():
        return weights
    file = RunFolder.existing(weights).weights_file
    if not file.is_file():
        raise ResightError(f"The run {weights} has no weights to start from: no epoch of it was finished.")
    return str(file)


def runs_behind(weights: str) -> list[dict[str, Any]]:
    """The runs that first weights come from, the latest first: folder, crops and labels used of each.

    Empty for weights that come from no run, such as ImageNet's.
    """
    path = Path(weights)
    folder = path if path.is_dir() else path.parent
    run = RunFolder(folder)
    if weights in ("none", "imagenet") or not (run.config_file.is_file() and run.data_file.is_file()):
        return []
    data = run.read_data("root")
    latest = {"run": str(folder), "root": data["root"]}
    latest |= {name: data.get(name) for name in ("camera_use", "identity_use")}
    return [latest, *data.get("started_from", [])]


class RunFolder:
    """Names and files of a run.

    ======================  ====================================================================
    ``config.yaml``         resolved settings, with the method's name
    ``changes.jsonl``       settings changed by a resume: after which epoch, and each setting's value before and since
    ``data.json``           the crops and their fingerprint, unreadable crops, the same for a source, with the names of
                            its identities; the runs whose weights this one starts from
    ``metrics.jsonl``       one line per epoch; the same for the same seed, whatever the machine's speed
    ``timings.jsonl``       seconds of each epoch's stages, and the most memory held so far
    ``labels/0001.npz``     pseudo-labels of each epoch
    ``NAME/0001.npz``       what else a method keeps of each crop in each epoch, such as PPLR's ``agreement``
    ``model.safetensors``   weights of the encoder to use (the EMA teacher's if ``ema.keep``); under ``method.`` what
                            the model needs of its method
    ``weights/0010.safet…`` copies of these weights from earlier epochs (``keep_every``)
    ``checkpoint.pt``       full training state after the last whole epoch
    ``evaluation.json``     figures on the test split, if there is one
    ``doubt.json``          what is known without labels of the clusters that the trained model finds among its crops
    ``.lock``               locked while a process trains
    ======================  ====================================================================

    Args:
        path: The folder. Nothing is made or read yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.yaml"
        self.changes_file = self.path / "changes.jsonl"
        self.data_file = self.path / "data.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.timings_file = self.path / "timings.jsonl"
        self.weights_file = self.path / "model.safetensors"
        self.checkpoint_file = self.path / "checkpoint.pt"
        self.evaluation_file = self.path / "evaluation.json"
        self.doubt_file = self.path / "doubt.json"

    @classmethod
    def existing(cls, path: str | Path) -> RunFolder:
        """A folder that holds a run.

        Raises:
            ResightError: it does not.
        """
        run = cls(path)
        if not run.config_file.is_file():
            raise ResightError(f"{path} is not a run folder: it has no config.yaml. 'resight train' makes one.")
        return run

    def read_config(self) -> TrainConfig:
        """The settings of the run.

        Raises:
            ResightError: the file does not hold any.
        """
        try:
            return TrainConfig.model_validate(yaml.safe_load(self.config_file.read_text(encoding="utf-8")))
        except (OSError, yaml.YAMLError, ValueError, KeyError, TypeError, RecursionError, ResightError) as error:
            raise ResightError(
                f"{self.config_file} does not hold the settings of a run ({_in_short(error)}): bring it back from a "
                "copy, or name another folder."
            ) from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Makes the folder and keeps other processes from training in it.

        A folder in which no run was started is removed at the end, if there is nothing in it.

        Raises:
            ResightError: another process trains there, or the folder cannot be made.
        """
        make_folder(self.path)
        file = self.path / ".lock"
        with locked(file, f"Another process is training in {self.path}: wait for it, or choose another folder."):
            try:
                if self.config_file.exists():  # what a process that was killed was writing
                    for part in (*self.path.glob(".*.part.*"), *self.path.glob("*/.*.part.*")):
                        part.unlink(missing_ok=True)
                yield
            finally:
                with contextlib.suppress(OSError):  # Windows keeps a file that is open
                    if [*self.path.iterdir()] == [file]:
                        file.unlink()
                        self.path.rmdir()

    @property
    def holds_epochs(self) -> bool:
        """Whether there is anything of a finished epoch.

        An epoch is finished once there is a checkpoint; a process that is killed between weights and checkpoint of the
        first epoch finished none. Weights of later epochs count without a checkpoint, too: it may have been removed to
        save space.
        """
        if self.checkpoint_file.exists() or self.evaluation_file.exists():
            return True
        if not self.weights_file.exists():
            return any(self.kept_weights(1).parent.glob("[0-9]*.safetensors"))
        try:
            return self.read_metrics()[-1]["epoch"] > 1
        except (ResightError, IndexError):
            return True

    def check_free(self, resume: bool, overwrite: bool = False) -> None:
        """Checks that training may write to the folder. A run of which no epoch was finished may be replaced.

        Raises:
            ResightError: the folder holds a run that is neither to be resumed nor to be overwritten, or files of
                another program.
        """
        if resume and overwrite:
            raise ResightError("--resume goes on with a run and --overwrite replaces it: choose one of them.")
        if self.holds_epochs:
            if not (resume or overwrite):
                raise ResightError(
                    f"{self.path} already holds a run: go on with it by --resume, replace it with --overwrite (in "
                    "Python resume=True or overwrite=True), or choose another folder."
                )
        elif self.config_file.exists():
            self.read_config()  # nothing is replaced that may not be ours

    def resume(self, config: TrainConfig, data: dict[str, Any]) -> dict[str, Any] | None:
        """The state to go on from; ``None`` if the folder holds no run or no epoch of it was finished.

        Nothing is changed: :meth:`go_on` does so.

        Args:
            config: The settings. They may differ from those of the run in what may change within a run.
            data: What the run would be started with, whose crops must be those of the run.

        Raises:
            ResightError: other settings or the crops differ, or a file is missing or damaged.
        """
        if not self.holds_epochs:
            return None
        if not self.config_file.exists():
            raise ResightError(
                f"{self.path} holds a run without its settings: bring config.yaml back from a copy, train anew "
                "with --overwrite, or choose another folder."
            )
        if fixed := _fixed_changes(self.read_config().model_dump(mode="json"), config.model_dump(mode="json")):
            raise ResightError(
                f"{self.path} was trained with other settings ({fixed}), which cannot change within a run: leave them "
                "out, train anew with --overwrite, or choose another folder."
            )
        before = self.read_data("crops", "fingerprint")
        if before["fingerprint"] != data["fingerprint"]:
            raise ResightError(
                f"{self.path} was trained on other crops than those in {data['root']}: give the same, train anew "
                "with --overwrite, or choose another folder."
            )
        if "source" in data and before.get("source", {}).get("fingerprint") != data["source"]["fingerprint"]:
            raise ResightError(
                f"{self.path} was trained with another source than the labelled crops in {data['source']['root']}: "
                "give the same, train anew with --overwrite, or choose another folder."
            )
        if not self.checkpoint_file.exists():
            raise ResightError(
                f"{self.path} cannot be gone on with, because {self.checkpoint_file.name} is missing. Its model can be "
                f"used, and a run in another folder can start from it with encoder.weights={self.path}; --overwrite "
                "replaces the run."
            )
        state = self.load_checkpoint()
        saved = _with_defaults(state.get("settings", {}))
        if saved and (fixed := _fixed_changes(saved, config.model_dump(mode="json"))):
            raise ResightError(
                f"{self.config_file} was edited, or {self.checkpoint_file.name} is another run's: the settings differ "
                f"({fixed}). Bring back the file that was there, or train anew with --overwrite."
            )
        if state.get("fingerprint", data["fingerprint"]) != data["fingerprint"]:
            raise ResightError(
                f"{self.checkpoint_file} is of a run on other crops: bring back the one that was there, or train "
                "anew with --overwrite."
            )
        if config.epochs < state["epoch"]:
            raise ResightError(
                f"{self.path} has trained {state['epoch']} epochs, more than epochs={config.epochs}: give a larger "
                "number, or train anew with --overwrite."
            )
        return state

    def go_on(self, config: TrainConfig, state: dict[str, Any]) -> list[str]:
        """Cuts metrics and timings back to a state from :meth:`resume` and writes down which settings change.

        Returns:
            A sentence for each setting that changes.
        """
        for file in (self.metrics_file, self.timings_file):
            os.truncate(file, state["lines"][file.name])
        new = config.model_dump(mode="json")
        before = _with_defaults(state.get("settings", {})) or self.read_config().model_dump(mode="json")
        changed = differing_settings(before, new)
        if changed:
            line = json.dumps({"after_epoch": state["epoch"], "changed": changed})
            known = self.changes_file.read_text(encoding="utf-8") if self.changes_file.exists() else ""
            if not known.endswith(f"{line}\n"):  # a resume that was killed here wrote it
                write_aside(self.changes_file, lambda file: file.write_text(f"{known}{line}\n", encoding="utf-8"))
            self._write_config(new)
        return [f"From epoch {state['epoch'] + 1} on {name}={now}, not {was}." for name, (was, now) in changed.items()]

    def start(self, config: TrainConfig, data: dict[str, Any]) -> None:
        """Makes the folder of a new run and writes what is known before training. A run that is there is removed."""
        make_folder(self.path)
        if self.config_file.exists() or self.holds_epochs:
            self._clear()
        write_aside(self.data_file, lambda file: file.write_text(json.dumps(data, indent=1), encoding="utf-8"))
        self._write_config(config.model_dump(mode="json"))

    def _write_config(self, settings: dict[str, Any]) -> None:
        text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
        write_aside(self.config_file, lambda file: file.write_text(text, encoding="utf-8"))

    def _clear(self) -> None:
        """Removes a run's files, and no others that may be in the folder."""
        arrays = [*self.path.glob("*/[0-9]*.npz"), *self.kept_weights(1).parent.glob("[0-9]*.safetensors")]
        named = (self.metrics_file, self.timings_file, self.weights_file, self.checkpoint_file, self.evaluation_file)
        tracked = self.path.glob("**/events.out.tfevents.*")  # TensorBoard draws all that it finds in a folder
        for file in (*named, self.doubt_file, *arrays, *tracked, self.changes_file, self.data_file, self.config_file):
            file.unlink(missing_ok=True)
        for folder in {file.parent for file in arrays}:
            with contextlib.suppress(OSError):  # there is something else in it
                folder.rmdir()

    def describe_unreadable(self, unreadable: list[tuple[str, str]]) -> Iterable[str]:
        """A sentence about crops that were left out, if there are any."""
        if unreadable:
            names = ", ".join(path for path, _ in unreadable[:5])
            more = f" and {len(unreadable) - 5} more, named in {self.data_file}" if len(unreadable) > 5 else ""
            yield f"{len(unreadable)} unreadable crops left out: {names}{more}."

    def read_data(self, *needed: str) -> dict[str, Any]:
        """What :meth:`start` wrote of the data.

        Args:
            needed: What must be there.

        Raises:
            ResightError: the file is missing or damaged.
        """
        try:
            data = json.loads(self.data_file.read_text(encoding="utf-8"))
            return {name: data[name] for name in needed} | data
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ResightError(
                f"{self.data_file} does not say what the run was trained on ({_in_short(error)}): bring it back from a "
                "copy, or train again in another folder."
            ) from error

    def append(self, file: Path, record: dict[str, Any]) -> None:
        """Adds a JSON line."""
        append_line(file, json.dumps(record))

    def read_doubt(self) -> dict[str, Any] | None:
        """What is known without labels of the trained model's clusters; ``None`` if it was not written.

        Raises:
            ResightError: the file is damaged.
        """
        if not self.doubt_file.is_file():
            return None
        names = ("clusters", "low", "high", "stability", "clustered", "sure", "merged", "split", "apart")
        try:
            figures = json.loads(self.doubt_file.read_text(encoding="utf-8"))
            if not all(isinstance(figures[name], list if name in names[6:] else int | float) for name in names):
                raise ValueError("a figure is missing")
            if not all(len(pair) == 2 for name in ("split", "apart") for pair in figures[name]):
                raise ValueError("a pair is not of two")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ResightError(f"{self.doubt_file} is damaged ({_in_short(error)}): remove it.") from error
        return dict(figures)

    def read_metrics(self) -> list[dict[str, Any]]:
        """All epochs' metrics. A last line that a killed process did not finish is left out.

        Raises:
            ResightError: the file is damaged.
        """
        return _read_lines(self.metrics_file)

    def read_timings(self) -> list[dict[str, float]]:
        """Seconds of each stage of each epoch; the epoch and the peak of memory are left out.

        Raises:
            ResightError: the file is damaged.
        """
        lines = _read_lines(self.timings_file)
        return [{name: value for name, value in line.items() if name not in ("epoch", PEAK)} for line in lines]

    def peak_mib(self) -> int | None:
        """The most memory that the run's processes held, in MiB; ``None`` if it was not written down."""
        return max((int(line[PEAK]) for line in _read_lines(self.timings_file) if PEAK in line), default=None)

    def saved_arrays(self, name: str) -> dict[int, Path]:
        """The files of an array that the run keeps of each crop, such as ``labels``, by epoch."""
        files = sorted((self.path / name).glob("[0-9]*.npz"))
        return {int(file.stem): file for file in files if file.stem.isdigit()}

    def read_array(self, name: str, epoch: int) -> np.ndarray:
        """An array that the run keeps of each crop.

        Args:
            name: Its name, such as ``labels``.
            epoch: The epoch.

        Raises:
            ResightError: there is none of this epoch, or the file is damaged.
        """
        file = self.saved_arrays(name).get(epoch)
        if file is None:
            raise ResightError(f"{self.path} has no '{name}' of epoch {epoch}.")
        try:
            with np.load(file) as arrays:
                return np.asarray(arrays[name])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ResightError(
                f"{file} is damaged ({_in_short(error)}): bring it back from a copy, or train again."
            ) from error

    def facts(self, epoch: int | None = None) -> dict[str, Any]:
        """What is printed with every score: the epoch (the last one if not given) and the labels used in training."""
        epochs, data = self.read_metrics(), self.read_data("camera_use")
        return {
            "epoch": epoch or (epochs[-1]["epoch"] if epochs else 0),
            "camera_use_in_training": data["camera_use"],
            "identity_use_in_training": data.get("identity_use", False),
            "started_from": data.get("started_from", []),
            "source_in_training": {name: source[name] for name in ("root", "crops")} | {"people": len(source["people"])}
            if (source := data.get("source"))
            else None,
        }

    def save_epoch(
        self, record: dict[str, Any], seconds: dict[str, float], found: PseudoLabels, *, grouped: bool
    ) -> None:
        """Writes an epoch's metrics, timings and labels.

        Args:
            record: The metrics, with ``epoch``.
            seconds: Seconds of each stage.
            found: What the method found.
            grouped: Whether the labels group crops and are saved.
        """
        epoch = record["epoch"]
        labels = {"labels": found.labels.astype(np.int32)} if grouped else {}
        for name, values in (labels | dict(found.kept)).items():
            self._save_values(name, epoch, values)
        self.append(self.metrics_file, record)
        self.append(self.timings_file, {"epoch": epoch, **seconds, PEAK: peak_memory() >> 20})

    def _save_values(self, name: str, epoch: int, values: np.ndarray) -> None:
        folder = self.path / name
        make_folder(folder)

        def write(file: Path) -> None:
            with file.open("wb") as stream:
                arrays: dict[str, Any] = {name: values}
                np.savez_compressed(stream, **arrays)

        write_aside(folder / f"{epoch:04d}.npz", write)

    def save_weights(self, encoder: nn.Module, extension: nn.Module | None = None) -> None:
        """Writes the encoder's state as safetensors, and under ``method.`` that of the method's extension."""
        from safetensors.torch import save

        beside = {} if extension is None else extension.state_dict()
        named = encoder.state_dict() | {f"{EXTENSION}{name}": value for name, value in beside.items()}
        state = {name: value.detach().cpu().contiguous() for name, value in named.items()}
        write_aside(self.weights_file, lambda file: file.write_bytes(save(state)))

    def kept_weights(self, epoch: int) -> Path:
        """The copy of an epoch's weights, where one is kept."""
        return self.path / "weights" / f"{epoch:04d}.safetensors"

    def describe_kept_weights(self) -> str:
        """Which epochs' weights are kept, for a sentence."""
        epochs = sorted(int(file.stem) for file in (self.path / "weights").glob("*.safetensors"))
        if not epochs:
            return "none are kept but the last epoch's; keep_every=N in training keeps every N-th"
        even = epochs == list(range(epochs[0], epochs[-1] + 1))
        names = f"{epochs[0]} to {epochs[-1]}" if even and len(epochs) > 2 else ", ".join(map(str, epochs))
        return f"kept are the epochs {names}"

    def keep_weights(self, epoch: int) -> None:
        """Keeps a copy of the weights saved last."""
        copy = self.kept_weights(epoch)
        make_folder(copy.parent)
        write_aside(copy, lambda file: shutil.copyfile(self.weights_file, file))

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Commits an epoch: metrics after this point are dropped by a resume.

        Args:
            state: All that training needs to go on, with the number of epochs under ``epoch``. A checkpoint of another
                run is recognised by the ``settings`` and the ``fingerprint`` of the crops.
        """
        state["lines"] = {file.name: file.stat().st_size for file in (self.metrics_file, self.timings_file)}

        def write(file: Path) -> None:
            with file.open("wb") as stream:  # with a path, torch hides the system's error
                torch.save(state, stream)

        write_aside(self.checkpoint_file, write)

    def load_checkpoint(self) -> dict[str, Any]:
        """The last committed state.

        Raises:
            ResightError: the checkpoint, or the metrics and timings up to it, are damaged.
        """
        # a large one holds memories of every crop, which may not fit twice: they are read as they are copied
        state = self._read_checkpoint(mapped=self.checkpoint_file.stat().st_size > 1 << 30)
        for file in (self.metrics_file, self.timings_file):
            size = state["lines"][file.name]
            whole = file.is_file() and file.stat().st_size >= size
            records = _read_lines(file, size) if whole else []
            if not records or records[-1]["epoch"] != state["epoch"]:
                raise ResightError(
                    f"{file} is shorter than it was after epoch {state['epoch']}, or another run's: bring it back from "
                    "a copy, or train anew with --overwrite."
                )
        return state

    def _read_checkpoint(self, mapped: bool) -> dict[str, Any]:
        try:
            state: dict[str, Any] = torch.load(self.checkpoint_file, map_location="cpu", weights_only=True, mmap=mapped)
            known = {name: state[name] for name in ("epoch", "trained", "optimizer", "average", "lines")}
            if not {self.metrics_file.name, self.timings_file.name} <= known["lines"].keys():
                raise KeyError("lines")
            flatten(state.get("settings", {}))
        except Exception as error:  # torch raises all kinds
            if is_out_of_memory(error):
                raise
            raise ResightError(
                f"{self.checkpoint_file} is damaged or of another version of this program: bring it back from a copy, "
                "or train anew with --overwrite. The model of the run can be used without it."
            ) from error
        return state

    def saved_epochs(self) -> int:
        """How many epochs are finished and saved."""
        return int(self._read_checkpoint(mapped=True)["epoch"]) if self.checkpoint_file.exists() else 0

    @contextmanager
    def saying_where_it_stands(self, epochs: int) -> Iterator[None]:
        """Adds to what ends a run from outside which epoch is saved, and the run folder as its attribute ``run``.

        Args:
            epochs: Epochs of the run.

        Raises:
            Stopped: a signal came.
            CannotWrite: a file could not be written.
            OutOfMemory: there was not enough memory.
            ProcessLost: another process of the run ended.
        """
        try:
            yield
        except Stopped as stop:
            stop.standing, stop.run = self._standing(epochs), self.path
            raise
        except (CannotWrite, OutOfMemory, ProcessLost) as error:
            told = type(error)(f"{error} {self._standing(epochs)}")
            told.run = self.path
            raise told from error

    def _standing(self, epochs: int) -> str:
        saved = self.saved_epochs()
        return f"Epoch {saved} of {epochs} is saved in {self.path}." if saved else f"{self.path} has no epoch yet."


def _read_lines(file: Path, size: int | None = None) -> list[dict[str, Any]]:
    """The records of a file with one JSON object per line, each of which has an ``epoch``; of its first bytes only.

    A last line without an end is left out. A missing file has no records.

    Raises:
        ResightError: the file is damaged.
    """
    records: list[dict[str, Any]] = []
    try:
        content = file.read_bytes() if file.exists() else b""
        lines = content[:size].split(b"\n")[:-1]
        for line in lines:
            record = json.loads(line)
            record["epoch"] + 0
            records.append(record)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ResightError(
            f"{file} is damaged in line {len(records) + 1} ({_in_short(error)}): bring it back from a copy, or train "
            "again in another folder."
        ) from error
    return records
