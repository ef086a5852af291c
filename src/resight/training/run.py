"""The run folder: everything a run leaves behind, written so that a kill at any moment loses at most one epoch."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from resight.common.files import write_aside
from resight.crops import CropTable
from resight.errors import ResightError
from resight.training.config import TrainConfig

#: Prefix, in a file of weights, of what is not the encoder's.
BESIDE = "method."


def table_fingerprint(table: CropTable, digest: str, columns: tuple[str, ...] = ("camera", "time", "track")) -> str:
    """Hash of a table's columns that matter and of its files' contents (``digest``)."""
    hasher = blake2b(digest.encode(), digest_size=16)
    hasher.update("\n".join(table.paths).encode())
    for name in columns:
        column = getattr(table, name)
        hasher.update(name.encode() + (b"-" if column is None else np.ascontiguousarray(column).tobytes()))
    return hasher.hexdigest()


def runs_behind(weights: str) -> list[dict[str, Any]]:
    """The runs that first weights come from, the latest first: a run's folder, its crops and the labels it used.

    Empty for weights that come from no run, such as ImageNet's.
    """
    path = Path(weights)
    folder = path if path.is_dir() else path.parent
    run = RunFolder(folder)
    if weights in ("none", "imagenet") or not (run.config_file.is_file() and run.data_file.is_file()):
        return []
    data = run.read_data()
    told = {"run": str(folder), "root": data["root"]}
    told |= {name: data.get(name) for name in ("camera_use", "identity_use")}
    return [told, *data.get("started_from", [])]


class RunFolder:
    """Names and files of a run.

    ======================  ====================================================================
    ``config.yaml``         resolved settings, with the method's name
    ``data.json``           where the crops came from, their fingerprint, unreadable crops; likewise of a source, with
                            the names of its people; the runs whose weights this one starts from
    ``metrics.jsonl``       one line an epoch; the same for the same seed, whatever the machine's speed
    ``timings.jsonl``       seconds of each epoch's stages
    ``labels/0001.npz``     pseudo-labels of each epoch
    ``agreement/0001.npz``  PPLR: cross agreement of each crop's parts in each epoch, ``(N, P)``
    ``model.safetensors``   weights of the encoder to use (the average, if one is kept); under ``method.`` what the
                            model needs beside it, such as MAR's agents
    ``weights/0010.safet…`` copies of them of earlier epochs, where ``keep_every`` asks for some
    ``checkpoint.pt``       full training state after the last whole epoch
    ``evaluation.json``     figures on the test split, where there is one
    ======================  ====================================================================
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

    def start(self, config: TrainConfig, data: dict[str, Any]) -> None:
        """Makes the folder and writes what is known before training."""
        self.path.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        write_aside(self.data_file, lambda file: file.write_text(json.dumps(data, indent=1), encoding="utf-8"))
        write_aside(self.config_file, lambda file: file.write_text(text, encoding="utf-8"))

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
        """What is said beside every score: the epoch, the last unless given, and use of identities and cameras."""
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

    def save_values(self, name: str, epoch: int, values: np.ndarray) -> None:
        """Keeps an epoch's values of each crop, such as ``labels``, in a folder of that name and under it."""
        folder = self.path / name
        folder.mkdir(exist_ok=True)

        def write(file: Path) -> None:
            with file.open("wb") as stream:
                arrays: dict[str, Any] = {name: values}
                np.savez_compressed(stream, **arrays)

        write_aside(folder / f"{epoch:04d}.npz", write)

    def save_weights(self, module: nn.Module, beside: Mapping[str, Tensor] | None = None) -> None:
        """Writes a module's state as safetensors, and under ``method.`` what a model needs beside it."""
        from safetensors.torch import save_file

        named = module.state_dict() | {f"{BESIDE}{name}": value for name, value in (beside or {}).items()}
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
