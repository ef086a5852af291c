"""Differences between runs that are scored on the same queries, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resight.common.checks import LARGEST_SEED, as_path, shown, whole
from resight.crops import CropTable
from resight.crops.cache import Progress
from resight.errors import ResightError
from resight.evaluation import DRAWS, QueryScores, RerankOptions, paired_bootstrap
from resight.model import Model, load
from resight.scoring import labelled_test_crops, rank_cached
from resight.training.run import RunFolder

#: Figures of an evaluation that say what was scored.
_ABOUT = ("scored_queries", "skipped_queries", "gallery_size", "camera_rule", "ap", "rerank")
Run = Model | str | Path


@dataclass(frozen=True, eq=False)
class ScoredRun:
    """A run's figures on the query and gallery crops of a table.

    Attributes:
        record: Plain figures: ``run``, ``epoch``, ``mAP`` and ``rank1``.
        queries: The figures of each scored query.
    """

    record: dict[str, Any]
    queries: QueryScores


def compare(
    runs: Mapping[str, Run | Sequence[Run]] | Sequence[Run],
    table: CropTable,
    *,
    baseline: str | None = None,
    ap: str = "standard",
    rerank: RerankOptions | None = None,
    flip: bool | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    device: str = "auto",
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Compares runs by a paired bootstrap over queries.

    All runs are scored on the same query and gallery crops by the rules of :func:`resight.evaluate`. Queries are drawn
    with replacement, and each draw is applied to all runs. Several runs of one method with different seeds are a group:
    the figures of each query are averaged over the runs first. The interval then says how sure the difference is on
    other queries of this kind, for these trained runs; it does not say how much another seed of training changes.

    Args:
        runs: Names, each with a run or with several of one method; or a sequence of runs, which are named by their
            folders. A run is a folder or a loaded model.
        table: A table with identities and query and gallery crops.
        baseline: Name of the group that the others are compared with; the first if not given.
        ap: How average precision is computed: ``standard`` or ``trapezoidal``.
        rerank: Settings of k-reciprocal re-ranking; not re-ranked if not given.
        flip: Whether to add the embedding of each crop's mirror image; as in each run's training if not given.
        draws: Draws of the bootstrap.
        seed: Seed of the draws.
        device: Where the models of run folders compute.
        cache: Folder for decoded crops; ``pixels`` beside each run if not given.
        progress: Called with the step's name, the crops done and the crops in all.

    Returns:
        Plain figures, rates as fractions of 1: ``baseline``, ``draws``, ``seed``, ``ap``, ``rerank``,
        ``scored_queries``, ``skipped_queries``, ``gallery_size``, ``camera_rule`` and ``groups``, one record per name:
        ``name``, ``runs`` (per run its folder, epoch, ``mAP`` and ``rank1``), ``mAP`` and ``rank1`` (means over the
        runs), and, except for the baseline, ``mAP_difference`` and ``rank1_difference``: each a record of
        :class:`resight.evaluation.PairedDifference`.

    Raises:
        ResightError: fewer than two groups, an unknown baseline, there are no labels to score against, or the runs
            cannot read the same crops.
    """
    groups = _groups(runs)
    if baseline is None:
        baseline = next(iter(groups))
    if not isinstance(baseline, str) or baseline not in groups:
        raise ResightError(f"There is no run {shown(baseline)} to compare with: choose one of {', '.join(groups)}.")
    draws, seed = whole("draws", draws, most=10**7), whole("seed", seed, least=0, most=LARGEST_SEED)
    tested = labelled_test_crops(table)
    scored: dict[str, list[ScoredRun]] = {}
    paths: list[str] | None = None
    about: dict[str, Any] = {}
    for name, members in groups.items():
        scored[name] = []
        for run in members:
            model = run if isinstance(run, Model) else load(run, device)
            pixels = model.open_cache(tested, cache, progress=progress)
            if paths is not None and paths != list(pixels.table.paths):
                raise ResightError(
                    f"{_folder(model)} could not read the same crops of {table.root} as the runs before it: find the "
                    "broken files by 'resight check' and take them out."
                )
            paths = list(pixels.table.paths)
            metrics = rank_cached(model, pixels, ap=ap, rerank=rerank, flip=flip, progress=progress)
            assert metrics.queries is not None
            epoch = model.run.facts()["epoch"] if model.run else 0
            record = {"run": _folder(model), "epoch": epoch, "mAP": metrics.mAP, "rank1": metrics.rank1}
            scored[name].append(ScoredRun(record, metrics.queries))
            about = {name: metrics.to_dict()[name] for name in _ABOUT}
    found = compare_scores(scored, baseline, draws=draws, seed=seed)
    return {"baseline": baseline, "draws": draws, "seed": seed, **about, "groups": found}


def compare_scores(
    scored: Mapping[str, Sequence[ScoredRun]], baseline: str, *, draws: int = DRAWS, seed: int = 0
) -> list[dict[str, Any]]:
    """The ``groups`` of :func:`compare` from runs that were scored on the same queries.

    Args:
        scored: Groups by name, each with at least one run.
        baseline: Name of the group that the others are compared with.
        draws: Draws of the bootstrap.
        seed: Seed of the draws.
    """
    figures = {
        "mAP": lambda run: run.queries.average_precision,
        "rank1": lambda run: (run.queries.first_rank == 1).astype(np.float64),
    }
    means = {
        measure: {name: np.mean([of(run) for run in members], axis=0) for name, members in scored.items()}
        for measure, of in figures.items()
    }
    others = [name for name in scored if name != baseline]
    differences = {
        measure: dict(
            zip(
                others,
                paired_bootstrap(values[baseline], np.stack([values[name] for name in others]), draws=draws, seed=seed)
                if others
                else [],
                strict=True,
            )
        )
        for measure, values in means.items()
    }
    groups = []
    for name, members in scored.items():
        group: dict[str, Any] = {"name": name, "runs": [run.record for run in members]}
        for measure, values in means.items():
            group[measure] = float(values[name].mean())
        if name != baseline:
            for measure in means:
                group[f"{measure}_difference"] = asdict(differences[measure][name])
        groups.append(group)
    return groups


def _groups(runs: Any) -> dict[str, list[Run]]:
    """The groups by name; a sentence unless there are two of them, each with runs."""
    if isinstance(runs, Mapping):
        groups = {
            name: list(members) if isinstance(members, list | tuple) else [members] for name, members in runs.items()
        }
        wrong = next((name for name in groups if not isinstance(name, str) or not name), None)
        if wrong is not None:
            raise ResightError(f"Runs are named by texts, not {shown(wrong)}.")
    elif isinstance(runs, list | tuple):
        groups = {}
        for run in runs:
            name = _folder(run) if isinstance(run, Model) else str(as_path("A run folder", run))
            if name in groups:
                raise ResightError(f"{name} is named twice: a run is not compared with itself.")
            groups[name] = [run]
    else:
        raise ResightError(f"Runs are a list of run folders, or a mapping of names to run folders, not {shown(runs)}.")
    if len(groups) < 2:
        raise ResightError(f"At least two runs are compared, not {len(groups)}: name another run folder.")
    for name, members in groups.items():
        if not members:
            raise ResightError(f"The group '{name}' has no run: give it at least one run folder.")
        for member in members:
            if not isinstance(member, Model):
                RunFolder.existing(as_path("A run folder", member))
    return groups


def _folder(model: Model) -> str:
    return str(model.run.path) if model.run else "a model without a run folder"
