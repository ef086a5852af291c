"""What a run says of itself: what it is going to do, and what is odd about its pseudo-labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from resight.clustering.remarks import Kind, odd_clusters, remedy
from resight.common.devices import fast_bfloat16
from resight.common.processes import started_by_launcher
from resight.crops import GALLERY, QUERY, TRAIN, CropTable
from resight.encoders import EncoderConfig
from resight.methods import METHODS
from resight.training.config import TrainConfig, build_config, flatten, is_read, recipes
from resight.training.data import camera_settings, camera_use

#: The recipe, of methods that have it, that uses camera labels.
CAMERA_RECIPE = "cameras"


def uses_cameras(config: TrainConfig) -> tuple[str, ...]:
    """Settings by which a run uses camera labels; empty if it uses none."""
    return camera_use(config, METHODS[config.method.name].needs(config.method))


def has_camera_recipe(method: str) -> bool:
    """Whether a method has a recipe that uses camera labels where its default uses none."""
    return CAMERA_RECIPE in recipes()[method] and not uses_cameras(build_config(method))


def describe_run(
    config: TrainConfig,
    table: CropTable,
    *,
    recipe: str | Path | None,
    precision: str,
    device: torch.device,
    out: Path,
) -> tuple[str, list[tuple[str, str]]]:
    """What a run is going to do, for :meth:`resight.training.reporting.Reporter.header`.

    Args:
        config: Its settings.
        table: Its crops.
        recipe: The recipe that the settings come from; None for the settings of a run that is resumed.
        precision: Its arithmetic, ``float32`` or ``bfloat16``.
        device: Where it trains.
        out: Its folder.

    Returns:
        A title, and name and text of each row.
    """
    method = config.method.name
    source = "the settings of the run" if recipe is None else f"recipe {recipe}"
    rows = [
        ("crops", _describe_crops(table, METHODS[method].needs(config.method).identities)),
        ("cameras", _describe_cameras(config, table.subset(TRAIN))),
        ("encoder", _describe_encoder(config.encoder)),
        ("device", _describe_device(config, precision, device)),
        ("epochs", _describe_epochs(config)),
    ]
    return f"Training {method}, {source}, into {out}:", rows


def _describe_encoder(encoder: EncoderConfig) -> str:
    text = f"{encoder.backbone} at {encoder.height}×{encoder.width} pixels, weights {encoder.weights}"
    if encoder.freeze_norms and encoder.weights == "none":
        return f"{text}; batch norms would keep statistics that were never learnt: set encoder.freeze_norms=false"
    return text


def _describe_crops(table: CropTable, learns_identities: bool) -> str:
    counts = {name: len(table.subset(name)) for name in (TRAIN, QUERY, GALLERY)}
    text = f"{counts[TRAIN]} to train on, from {table.root} ({table.source})"
    if counts[QUERY]:
        text += f"; {counts[QUERY]} queries and {counts[GALLERY]} gallery crops to score with"
    if table.identity is None:
        return f"{text}; identities are not known"
    return f"{text}; identities are {'learnt from' if learns_identities else 'known, and used for figures only'}"


def _describe_cameras(config: TrainConfig, crops: CropTable) -> str:
    used, method = uses_cameras(config), METHODS[config.method.name]
    if config.pseudo_cameras is not None:
        known = "not known" if crops.camera is None else f"{len(np.unique(crops.camera))}, not used"
        by = camera_settings(config, method.needs(config.method))
        return f"{known}. {config.pseudo_cameras} pseudo-cameras, found from the crops, are used ({', '.join(by)})."
    if crops.camera is None:
        text = "not known."
    else:
        text = f"{len(np.unique(crops.camera))}, " + (f"used ({', '.join(used)})" if used else "not used.")
    if used or not has_camera_recipe(method.name):
        return text
    verb = "would use" if crops.camera is None else "uses"
    worth = f": {method.cameras_worth}" if method.cameras_worth else ""
    return f"{text} --recipe {CAMERA_RECIPE} {verb} them{worth}."


def _describe_device(config: TrainConfig, precision: str, device: torch.device) -> str:
    if device.type == "cuda":
        parts = [f"{device} ({torch.cuda.get_device_name(device)})"]
    else:
        threads = torch.get_num_threads()
        parts = [f"{device}, {threads} thread{'s' if threads > 1 else ''}"]
    if (count := started_by_launcher()) > 1:
        parts[0] = f"{count} processes, this one on {parts[0]}"
    parts.append(precision)
    if fast_bfloat16(device):
        return ", ".join(parts)
    if precision == "bfloat16":
        return ", ".join(parts) + ", which it does not have in hardware: precision=float32 is many times faster"
    return ", ".join(parts) + (" (it has no bfloat16 in hardware)" if config.precision == "auto" else "")


def _describe_epochs(config: TrainConfig) -> str:
    batch = config.sampling.clusters * config.sampling.crops
    steps = f"{config.sampling.iterations} steps" if config.sampling.iterations else "as many steps as show each crop"
    return f"{config.epochs} of {steps}, {batch} crops per step; the time they take is estimated after the first steps"


class Advice(NamedTuple):
    """A setting to try.

    Attributes:
        name: Its dotted name.
        now: Its value in the run.
        value: The value to try.
    """

    name: str
    now: Any
    value: Any

    def __str__(self) -> str:
        return f"{self.name}={str(self.value).lower()}"


def advise(kind: Kind, config: TrainConfig) -> Advice | None:
    """The setting of a run that mends something odd about its pseudo-labels, if one does.

    Args:
        kind: What is odd: a kind of :class:`resight.clustering.remarks.Remark`.
        config: The settings of the run.
    """
    method = METHODS[config.method.name]
    settings = config.clustering.arguments() | config.method.identity_settings(None)
    settings["clusters"] = getattr(config.method, "clusters", None)
    if (found := remedy(kind, method.clustering_algorithm, settings)) is None:
        return None
    values, needs = flatten(config.model_dump()), method.needs(config.method)
    for name in (f"method.{found[0]}", f"clustering.{found[0]}"):
        if name in values and is_read(name, needs):
            return Advice(name, values[name], found[1])
    return None


class Watch:
    """Looks at the pseudo-labels of each epoch, and speaks once of what stays odd.

    The first labels of a run are poor and mend themselves, so only what is odd in three labellings in a row is worth a
    word.

    Args:
        config: The settings of the run.
        camera: ``(N,)`` camera of each crop, if known.
    """

    _PATIENCE = 3

    def __init__(self, config: TrainConfig, camera: np.ndarray | None) -> None:
        self._config = config
        self._camera = camera
        self._labels: np.ndarray | None = None
        self._seen: dict[Kind, int] = {}
        # merging begins with single crops, whatever the settings are
        self._expected: set[Kind] = (
            {"tiny"} if METHODS[config.method.name].clustering_algorithm == "bottom_up" else set()
        )

    def look(self, labels: np.ndarray) -> list[str]:
        """Sentences about an epoch's labels; none if they are those of the epoch before."""
        if self._labels is not None and np.array_equal(labels, self._labels):
            return []
        self._labels, sentences = labels, []
        remarks = {remark.kind: remark.text for remark in odd_clusters(labels, self._camera)}
        self._seen = {kind: self._seen.get(kind, 0) + 1 for kind in remarks if kind not in self._expected}
        for kind, count in self._seen.items():
            if count == self._PATIENCE:
                advice = advise(kind, self._config)
                text = f" If this stays, train with {advice} (now {advice.now})." if advice else ""
                sentences.append(f"Note: for {count} epochs now: {remarks[kind]}{text}")
        return sentences
