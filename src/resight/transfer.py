"""What a model of a labelled source is worth on a target that it never saw, and what adaptation adds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resight.common.checks import instance, shown
from resight.crops import CropTable
from resight.crops.cache import Progress
from resight.errors import ResightError
from resight.model import Model
from resight.scoring import evaluate


def transfer_report(
    source: Model,
    source_table: CropTable,
    target_table: CropTable,
    adapted: Sequence[Model] = (),
    *,
    flip: bool | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Scores a source model on its own test crops and on a target's, then models adapted to the target.

    The form is that of Ji et al. 2020, supplement, table 5.

    Args:
        source: The model trained on the source.
        source_table: The source, with identities, query and gallery.
        target_table: The target, with identities, query and gallery.
        adapted: Models trained on the target.
        flip: Whether to add the embedding of each crop's mirror image; as in each model's training if not given.
        cache: Folder for decoded crops; ``pixels`` beside each run if not given.
        progress: Called with the step's name, the crops done and the crops in all.

    Returns:
        One record per row of the report: ``model`` (the run folder), ``data`` (``source`` or ``target``), ``adapted``,
        and the figures of :func:`resight.scoring.evaluate`. First the source model on the source, then on the target,
        then each adapted model on the target.

    Raises:
        ResightError: there are no labels to score against, or no query or gallery.
    """
    if not isinstance(adapted, list | tuple):
        raise ResightError(f"adapted is a list of models, not {shown(adapted)}.")
    for model in (source, *adapted):
        instance("A model of the report", model, Model, "resight.load gives one")
    pairs = [(source, "source", source_table)]
    pairs += [(model, "target", target_table) for model in (source, *adapted)]
    return [
        {"model": str(model.run.path) if model.run else "", "data": data, "adapted": model is not source}
        | evaluate(model, table, flip=flip, cache=cache, progress=progress)
        for model, data, table in pairs
    ]
