"""Training a model: the entry that Python and the command line share."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch

from resight.choice import Choice, choose
from resight.common.checks import as_path, flag, instance, shown
from resight.common.devices import resolve_device
from resight.common.files import write_aside
from resight.common.memory import explained_memory
from resight.common.processes import current, launched_rank, own_device
from resight.crops import TRAIN, CropTable, read_crops
from resight.crops.cache import PixelCache
from resight.encoders import Encoder
from resight.errors import ResightError
from resight.methods import METHODS
from resight.model import Model, load
from resight.pictures import cluster_sheet
from resight.scoring import can_be_scored, evaluate_cached, labelled_test_crops, save_evaluation
from resight.training.config import TrainConfig, build_config, flatten, parse_overrides
from resight.training.data import Decisions
from resight.training.loop import fit, run_precision, smaller_embedding
from resight.training.reporting import Reporter
from resight.training.run import RunFolder


def train(
    method: str | None,
    data: CropTable | str | Path,
    out: str | Path,
    *,
    recipe: str | Path | None = None,
    settings: dict[str, Any] | Sequence[str] = (),
    source: CropTable | str | Path | None = None,
    source_identities: int | None = None,
    decisions: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    cache: str | Path | None = None,
    device: str | torch.device = "auto",
    reporter: Reporter | None = None,
) -> Model:
    """Trains a model.

    Only a method that learns from labels, such as ``supervised``, sees the identities in the data.

    Args:
        method: Name of a method, such as ``cluster_contrast``. ``None``: the one of the run that is resumed, or a
            method and recipe that suit the crops (:func:`resight.choice.choose`).
        data: A crop table, or a path that :func:`resight.read_crops` understands. Its ``train`` crops are trained on.
            Where its ``query`` and ``gallery`` crops have identities, the model is scored on them.
        out: The run folder to make.
        recipe: Name of one of the method's recipes, or a YAML file; ``default`` if not given.
        settings: What differs from the recipe: ``{"epochs": 20, "optimizer.lr": 1e-4}`` or ``["epochs=20"]``.
        source: Labelled crops of other identities, a table or a path, for a method that learns from them as well.
        source_identities: How many identities of the source to use, the first in the order of their numbers; all if not
            given.
        decisions: A gallery: what was decided there of pairs of the crops, the pseudo-labels of every epoch obey. For
            methods that cluster all crops in every epoch.
        resume: Go on with the run in ``out``, or start it if it is not there. Without a recipe, its own settings are
            used, with ``settings`` as changes: ``{"epochs": 40}`` trains longer. Settings that say what the run is,
            such as those of the encoder, cannot change.
        overwrite: Replace a run that is in ``out``. A run of which no epoch was finished is replaced without.
        cache: Folder for decoded crops; ``pixels`` beside ``out`` if not given.
        device: Where to train and to compute afterwards: ``cpu``, ``cuda``, ``cuda:N`` (GPU number N), or ``auto``: a
            GPU if there is one, else the CPU. Apple's MPS is not supported, because clustering needs float64.
        reporter: Reports progress; silent if not given.

    Where ``torchrun`` or ``accelerate launch`` started several processes, they share the work: each calls this with the
    same arguments and gets the model, and the first one writes the run folder (docs/many-processes.md).

    Returns:
        The trained model; its ``run`` has the metrics.

    Raises:
        ResightError: the data, a setting or the device is not usable, or training fails; see
            :func:`resight.training.loop.fit`.
    """
    device = resolve_device(device)
    table = data if isinstance(data, CropTable) else read_crops(data)
    if source is not None and not isinstance(source, CropTable):
        source = read_crops(source)
    folder = as_path("The run folder", out)
    if method is None:
        given = flatten(settings if isinstance(settings, dict) else parse_overrides(settings or ()))
        chosen = choose_run(table, recipe, resume=folder if flag("resume", resume) else None, given=given)
        method, recipe = chosen.method, recipe if chosen.recipe is None else chosen.recipe
        settings = {**chosen.settings, **given}
    config = resolve_config(method, recipe, settings, resume=folder if flag("resume", resume) else None)
    return train_config(
        config,
        table,
        out,
        source=source,
        source_identities=source_identities,
        decisions=decisions,
        resume=resume,
        overwrite=overwrite,
        cache=cache,
        device=device,
        reporter=reporter,
    )


def train_config(
    config: TrainConfig,
    table: CropTable,
    out: str | Path,
    *,
    source: CropTable | None = None,
    source_identities: int | None = None,
    decisions: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    cache: str | Path | None = None,
    device: str | torch.device = "auto",
    reporter: Reporter | None = None,
) -> Model:
    """:func:`train` with settings that are resolved and tables that are read; arguments and errors are the same."""
    if source is None and source_identities is not None:
        raise ResightError("A number of source identities was given, but no source: name it with --source PATH.")
    device = own_device(resolve_device(device))
    out, resume = as_path("The run folder", out), flag("resume", resume)
    cache = out.parent / "pixels" if cache is None else as_path("The folder of decoded crops", cache)
    if reporter is not None:
        instance("reporter", reporter, Reporter, "resight.training.reporting has some")
    reporter = reporter or Reporter()
    decided = None if decisions is None else _decisions(decisions, table, cache)
    scored = can_be_scored(table)
    scores: dict[str, Any] = {}
    pixels: PixelCache | None = None  # opened once: opening reads every file to hash it

    def score(encoder: Encoder) -> dict[str, Any]:
        nonlocal pixels
        model = Model(encoder, config, precision=run_precision(config, device))
        if pixels is None:
            tested = labelled_test_crops(table)
            pixels = current().in_turn(lambda: model.open_cache(tested, cache, progress=reporter.progress))
        scores.update(evaluate_cached(model, pixels, progress=reporter.progress))
        return {name: scores[name] for name in ("mAP", "rank1", "rank5", "rank10", "mINP")}

    run = fit(
        config,
        table,
        out,
        source=source,
        source_identities=source_identities,
        decisions=decided,
        resume=resume,
        overwrite=overwrite,
        cache=cache,
        reporter=reporter,
        evaluate=score if scored else None,
        draw=cluster_sheet,
        device=device,
    )
    if launched_rank() > 0:  # what follows is written by the first process
        return load(run.path, device)
    with run.lock(), run.saying_where_it_stands(config.epochs):
        model = load(run.path, device)
        if scored:
            if not scores:  # a finished run, resumed
                with explained_memory("scoring", smaller_embedding(config)):
                    score(model.encoder)
            save_evaluation(run, scores)
        if not METHODS[config.method.name].needs(config.method).identities:
            with explained_memory("clustering halves of the crops", smaller_embedding(config)):
                _save_doubt(model, run, table, cache, reporter)
    return model


def _save_doubt(model: Model, run: RunFolder, table: CropTable, cache: Path, reporter: Reporter) -> None:
    """Writes how sure the clusters are that the trained model finds among its crops.

    Where half of the crops are too few for the run's clustering, there is nothing to write.
    """
    run.doubt_file.unlink(missing_ok=True)  # of fewer epochs
    pixels = model.open_cache(table.subset(TRAIN), cache, progress=reporter.progress)
    features = model.embed_cached(pixels, progress=reporter.progress)
    try:
        figures = model.doubt(features, pixels.table).to_dict()
    except ResightError:
        return
    write_aside(run.doubt_file, lambda file: file.write_text(json.dumps(figures, indent=1), encoding="utf-8"))


def choose_run(
    table: CropTable,
    recipe: str | Path | None,
    *,
    resume: Path | None = None,
    device: object = None,
    given: Collection[str] = (),
) -> Choice:
    """The method, recipe and settings where no method is named.

    Args:
        table: The crops.
        recipe: The recipe that was asked for; there must be none.
        resume: Folder of the run to go on with, whose method is used.
        device: Where training runs, for the sentence.
        given: Dotted names of the settings that the user gives, which are left alone.

    Raises:
        ResightError: a recipe was asked for, which is a recipe of one method.
    """
    if resume is not None and RunFolder(resume).config_file.exists():
        return Choice(RunFolder(resume).read_config().method.name, None, ())
    if recipe is not None:
        raise ResightError(
            f"The recipe {shown(str(recipe))} was asked for, but no method: name the method whose recipe it is, such "
            "as cluster_contrast, or leave the recipe out."
        )
    return choose(table, device, given)


def _decisions(gallery: str | Path, table: CropTable, cache: Path) -> Decisions:
    """What a gallery's decisions say of the crops to train on."""
    from resight.gallery import Gallery

    with Gallery(gallery, device="cpu") as opened:
        return Decisions(opened.name, *opened.decided(table.subset(TRAIN), cache))


def resolve_config(
    method: str,
    recipe: str | Path | None,
    settings: dict[str, Any] | Sequence[str],
    *,
    resume: Path | None = None,
) -> TrainConfig:
    """The settings of a run.

    Args:
        method: Name of the method.
        recipe: As for :func:`train`.
        settings: As for :func:`train`.
        resume: Folder of the run to go on with. If there is one and no recipe is given, its own settings are what
            ``settings`` change.

    Raises:
        ResightError: there is no such method, recipe or setting, or the run is of another method.
    """
    if resume is None or not RunFolder(resume).config_file.exists():
        return build_config(method, recipe, settings)
    config = RunFolder(resume).read_config()
    if config.method.name != method:
        raise ResightError(f"{resume} is a run of {config.method.name}, not of {method}: name its method.")
    if recipe is None:
        return build_config(method, config, settings) if settings else config
    return build_config(method, recipe, settings)
