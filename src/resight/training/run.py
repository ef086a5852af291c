"""The run folder: everything a run leaves behind, written so that a kill at any moment loses at most one epoch."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from resight.clustering import PseudoLabels
from resight.common.files import write_aside
from resight.crops import CropTable
from resight.encoders.weights import EXTENSION
from resight.errors import ResightError
from resight.training.config import TrainConfig


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
    data = run.read_data()
    latest = {"run": str(folder), "root": data["root"]}
    latest |= {name: data.get(name) for name in ("camera_use", "identity_use")}
    return [latest, *data.get("started_from", [])]


class RunFolder:
    """Names and files of a run.

    ======================  ====================================================================
    ``config.yaml``         resolved settings, with the method's name
    ``data.json``           the crops and their fingerprint, unreadable crops, the same for a source, with the names of
                            its identities; the runs whose weights this one starts from
    ``metrics.jsonl``       one line per epoch; the same for the same seed, whatever the machine's speed
    ``timings.jsonl``       seconds of each epoch's stages
    ``labels/0001.npz``     pseudo-labels of each epoch
    ``NAME/0001.npz``       what else a method keeps of each crop in each epoch, such as PPLR's ``agreement``
    ``model.safetensors``   weights of the encoder to use (the EMA teacher's if ``ema.keep``); under ``method.`` what
                            the model needs of its method
    ``weights/0010.safet…`` copies of these weights from earlier epochs (``keep_every``)
    ``checkpoint.pt``       full training state after the last whole epoch
    ``evaluation.json``     figures on the test split, if there is one
    ======================  ====================================================================

    Args:
        path: The folder. Nothing is made or read yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.yaml"
        self.data_file = self.path / "data.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.timings_file = self.path / "timings.jsonl"
        self.weights_file = self.path / "model.safetensors"
        self.checkpoint_file = self.path / "checkpoint.pt"
        self.evaluation_file = self.path / "evaluation.json"

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
        """The settings the run was started with."""
        try:
            return TrainConfig.model_validate(yaml.safe_load(self.config_file.read_text(encoding="utf-8")))
        except (yaml.YAMLError, ValueError, KeyError) as error:
            raise ResightError(f"{self.config_file} does not hold the settings of a run: {error}") from error

    def check_free(self, resume: bool) -> None:
        """Raises a sentence if the folder holds a run that is not to be resumed."""
        if self.config_file.exists() and not resume:
            raise ResightError(f"{self.path} already holds a run: go on with it by --resume, or choose another folder.")

    def resume(self, config: TrainConfig, data: dict[str, Any]) -> dict[str, Any] | None:
        """The state to go on from; ``None`` if the folder holds no run or no epoch of it was finished.

        Args:
            config: The settings, which must be those of the run.
            data: What the run would be started with, whose crops must be those of the run.

        Raises:
            ResightError: settings or crops differ, or the checkpoint is damaged.
        """
        if not self.config_file.exists():
            return None
        if self.read_config() != config:
            raise ResightError(
                f"{self.path} was trained with other settings than these: resume with the settings of its config.yaml, "
                "or train in another folder."
            )
        before = self.read_data()
        if before["fingerprint"] != data["fingerprint"]:
            raise ResightError(f"{self.path} was trained on other crops than those in {data['root']}: train elsewhere.")
        if "source" in data and before["source"]["fingerprint"] != data["source"]["fingerprint"]:
            raise ResightError(
                f"{self.path} was trained with another source than the labelled crops in {data['source']['root']}: "
                "give the same, or train elsewhere."
            )
        return self.load_checkpoint()

    def start(self, config: TrainConfig, data: dict[str, Any]) -> None:
        """Makes the folder of a new run and writes what is known before training."""
        self.path.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        write_aside(self.data_file, lambda file: file.write_text(json.dumps(data, indent=1), encoding="utf-8"))
        write_aside(self.config_file, lambda file: file.write_text(text, encoding="utf-8"))

    def describe_unreadable(self, unreadable: list[tuple[str, str]]) -> Iterable[str]:
        """A sentence about crops that were left out, if there are any."""
        if unreadable:
            names = ", ".join(path for path, _ in unreadable[:5])
            more = f" and {len(unreadable) - 5} more, named in {self.data_file}" if len(unreadable) > 5 else ""
            yield f"{len(unreadable)} unreadable crops left out: {names}{more}."

    def read_data(self) -> dict[str, Any]:
        """What :meth:`start` wrote of the data."""
        data: dict[str, Any] = json.loads(self.data_file.read_text(encoding="utf-8"))
        return data

    def append(self, file: Path, record: dict[str, Any]) -> None:
        """Adds a JSON line."""
        with file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def read_metrics(self) -> list[dict[str, Any]]:
        """All epochs' metrics."""
        if not self.metrics_file.is_file():
            return []
        return [json.loads(line) for line in self.metrics_file.read_text(encoding="utf-8").splitlines()]

    def facts(self, epoch: int | None = None) -> dict[str, Any]:
        """What is printed with every score: the epoch (the last one if not given) and the labels used in training."""
        epochs, data = self.read_metrics(), self.read_data()
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
        self.append(self.timings_file, {"epoch": epoch, **seconds})

    def _save_values(self, name: str, epoch: int, values: np.ndarray) -> None:
        folder = self.path / name
        folder.mkdir(exist_ok=True)

        def write(file: Path) -> None:
            with file.open("wb") as stream:
                arrays: dict[str, Any] = {name: values}
                np.savez_compressed(stream, **arrays)

        write_aside(folder / f"{epoch:04d}.npz", write)

    def save_weights(self, encoder: nn.Module, extension: nn.Module | None = None) -> None:
        """Writes the encoder's state as safetensors, and under ``method.`` that of the method's extension."""
        from safetensors.torch import save_file

        beside = {} if extension is None else extension.state_dict()
        named = encoder.state_dict() | {f"{EXTENSION}{name}": value for name, value in beside.items()}
        state = {name: value.detach().cpu().contiguous() for name, value in named.items()}
        write_aside(self.weights_file, lambda file: save_file(state, file))

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
        copy.parent.mkdir(exist_ok=True)
        write_aside(copy, lambda file: shutil.copyfile(self.weights_file, file))

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Commits an epoch: metrics after this point are dropped by a resume."""
        state["lines"] = {
            file.name: file.stat().st_size if file.exists() else 0 for file in (self.metrics_file, self.timings_file)
        }
        write_aside(self.checkpoint_file, lambda file: torch.save(state, file))

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The last committed state, with the metrics cut back to it; ``None`` if no epoch was finished.

        Raises:
            ResightError: the checkpoint is damaged.
        """
        if not self.checkpoint_file.exists():
            for file in (self.metrics_file, self.timings_file):
                file.unlink(missing_ok=True)
            return None
        try:
            # a large one holds memories of every crop, which may not fit twice: they are read as they are copied
            large = self.checkpoint_file.stat().st_size > 1 << 30
            state: dict[str, Any] = torch.load(self.checkpoint_file, map_location="cpu", weights_only=True, mmap=large)
        except Exception as error:
            raise ResightError(
                f"The checkpoint {self.checkpoint_file} is damaged ({error}): train again in another folder."
            ) from error
        for file in (self.metrics_file, self.timings_file):
            if file.exists():
                os.truncate(file, state["lines"][file.name])
        return state
