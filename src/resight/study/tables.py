"""What the finished runs of a study measured, as a table, and its figures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from resight.common.files import make_folder, write_aside
from resight.comparison import ScoredRun, compare_scores
from resight.encoders import Encoder
from resight.errors import ResightError
from resight.evaluation import QueryScores
from resight.export import markdown_table
from resight.sentences import describe_difference
from resight.study.figures import draw
from resight.study.runs import Place, StudyRun
from resight.study.spec import MEASURES, RATES, Row, Study
from resight.training.run import RunFolder
from resight.view import RunView


def view_of(run: StudyRun, place: Place) -> RunView:
    """A view of a finished run with the crops that it is scored on."""
    return RunView(
        run.folder, run.crops.path, format=run.crops.format, train_identities=run.crops.train_identities,
        device=place.device, cache=place.out / "pixels", progress=place.reporter.progress,
    )  # fmt: skip


def scored_run(run: StudyRun, place: Place) -> ScoredRun | None:
    """The figures of each query of a finished run; ``None`` where there is nothing to score against.

    They are kept beside the runs, so that a table is made again without scoring.
    """
    name = run.folder.name
    if not run.trains:
        name += "-" + blake2b(json.dumps(run.crops.key()).encode(), digest_size=4).hexdigest()
    file = place.out / "queries" / f"{name}.npz"
    weights = RunFolder(run.folder).weights_file
    if file.is_file() and file.stat().st_mtime >= weights.stat().st_mtime:
        with np.load(file) as kept:
            queries = QueryScores(kept["query"], kept["precision"], kept["first"])
            record = json.loads(str(kept["record"]))
        return ScoredRun(record, queries)
    seen = view_of(run, place)
    if not seen.scored:
        return None
    figures = seen.ranking
    assert figures.queries is not None
    found = figures.to_dict()
    record = {measure: found[measure] for measure in RATES} | {"run": str(run.folder), "epoch": 0}
    record |= {"paths": _paths_digest(seen)}
    make_folder(file.parent)
    queries = figures.queries

    def write(aside: Path) -> None:
        with aside.open("wb") as stream:
            np.savez(
                stream, query=queries.query, precision=queries.average_precision, first=queries.first_rank,
                record=np.array(json.dumps(record)),
            )  # fmt: skip

    write_aside(file, write)
    return ScoredRun(record, queries)


def _paths_digest(seen: RunView) -> str:
    return blake2b("\n".join(sorted(seen.tested.table.paths)).encode(), digest_size=8).hexdigest()


def measured(run: StudyRun, scored: ScoredRun | None) -> dict[str, float]:
    """What a finished run measured, by name; rates in per cent."""
    folder = RunFolder(run.folder)
    found: dict[str, float] = {}
    if scored is not None:
        found |= {name: 100 * scored.record[name] for name in RATES}
    lines, timings = folder.read_metrics(), folder.read_timings()
    if run.trains and lines:
        found |= {name: float(lines[-1][name]) for name in MEASURES if isinstance(lines[-1].get(name), int | float)}
    if run.trains and timings:
        seconds = {stage: [line[stage] for line in timings if stage in line] for stage in ("embed", "label", "train")}
        found["minutes"] = sum(sum(line.values()) for line in timings) / 60
        found["label_seconds"] = float(np.mean(seconds["embed"] or [0]) + np.mean(seconds["label"] or [0]))
        if run.config.sampling.iterations:
            found["step_seconds"] = float(np.mean(seconds["train"] or [0])) / run.config.sampling.iterations
    encoder = run.config.encoder.model_copy(update={"weights": "none"})
    network = Encoder(encoder)
    found["parameters"] = sum(p.numel() for p in network.parameters()) / 1e6
    found["backbone"] = sum(p.numel() for p in network.backbone.parameters()) / 1e6
    return found


class Results:
    """What all finished runs of a study measured.

    Attributes:
        study: The study.
        runs: Per row its finished runs.
        figures: Per row what each of them measured.
        differences: Per row the differences from the baseline in ``mAP`` and ``rank1``, where the tests are the same.
    """

    def __init__(self, study: Study, place: Place, seeds: Sequence[int] | None = None) -> None:
        self.study = study
        self.runs: dict[str, list[StudyRun]] = {}
        self.figures: dict[str, list[dict[str, float]]] = {}
        scored: dict[str, list[ScoredRun]] = {}
        for row in study.rows:
            runs = [place.run(study, row, seed) for seed in seeds or study.seeds]
            self.runs[row.name] = [run for run in runs if run.finished]
            found = [scored_run(run, place) for run in self.runs[row.name]]
            self.figures[row.name] = [
                measured(run, score) for run, score in zip(self.runs[row.name], found, strict=True)
            ]
            if found and all(score is not None for score in found):
                scored[row.name] = [score for score in found if score is not None]
        self.differences: dict[str, dict[str, Any]] = {}
        base = scored.get(study.baseline or "")
        if study.baseline is not None and base:
            same = {
                name: runs
                for name, runs in scored.items()
                if all(run.record["paths"] == base[0].record["paths"] for run in runs)
            }
            if len(same) > 1:
                for group in compare_scores(same, study.baseline):
                    if "mAP_difference" in group:
                        self.differences[group["name"]] = {
                            measure: group[f"{measure}_difference"] for measure in ("mAP", "rank1")
                        }

    @property
    def finished(self) -> list[Row]:
        """Rows with at least one finished run."""
        return [row for row in self.study.rows if self.runs[row.name]]

    def values(self, row: Row, measure: str) -> list[float]:
        """What the runs of a row measured."""
        return [found[measure] for found in self.figures[row.name] if measure in found]

    def columns(self) -> list[str]:
        """The measures that at least one row has."""
        return [name for name in self.study.measure if any(self.values(row, name) for row in self.finished)]

    def papers(self) -> list[str]:
        """The measures that the paper reports."""
        return [name for name in MEASURES if any(name in row.paper for row in self.study.rows)]

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Columns and rows as words."""
        head = ["", "seeds", *(MEASURES[name] for name in self.columns())]
        if self.differences:
            head.append("mAP − baseline")
        if self.papers():
            head.append("paper: " + " / ".join(MEASURES[name] for name in self.papers()))
        rows = []
        for row in self.study.rows:
            done = self.runs[row.name]
            cells = [row.name, str(len(done))]
            cells += [described(self.values(row, name), name) for name in self.columns()]
            if self.differences:
                found = self.differences.get(row.name)
                cells.append(
                    "baseline"
                    if row.name == self.study.baseline
                    else describe_difference(found["mAP"])
                    if found
                    else "–"
                )
            if self.papers():
                cells.append(" / ".join(f"{row.paper[name]:g}" if name in row.paper else "–" for name in self.papers()))
            rows.append(cells)
        return head, rows


def described(values: list[float], measure: str) -> str:
    """A value, or a mean with the least and the largest."""
    if not values:
        return "–"
    digits = 0 if measure in ("clusters", "outliers") else 1 if measure in (*RATES, "minutes") else 2
    digits = 3 if measure.endswith(("ari", "ami", "mallows", "measure", "step_seconds")) else digits
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def write_results(study: Study, place: Place, *, seeds: Sequence[int] | None = None) -> tuple[Results, list[Path]]:
    """Writes the table and the figures of what is finished.

    Args:
        study: The study, in the size that was run.
        place: Where and on what; prepared.
        seeds: Instead of the study's.

    Returns:
        The results, and the files in a folder of the study's name: ``table.md``, ``table.csv``, ``epochs.csv`` (the
        metrics of each run by epoch) and the figures.

    Raises:
        ResightError: no run is finished.
    """
    place.prepare(study)
    results = Results(study, place, seeds)
    if not results.finished:
        raise ResightError(
            f"No run of the study {study.name} is finished in {place.out}: run it first, without --table. What each "
            f"run said is in {place.out / 'logs'}."
        )
    folder = place.out / (f"{study.name}-quick" if place.quick else study.name)
    make_folder(folder)
    head, rows = results.table()
    size = "quick size, on synthetic people" if place.quick else f"recipe {study.recipe}"
    origin = "; ".join(filter(None, (study.paper, size)))
    text = f"# {study.title}\n\n{origin}.\n\n{study.about.strip()}\n\n{markdown_table(head, rows)}"
    if results.differences:
        text += (
            f"\nDifferences from the row '{study.baseline}' in points, with 95 % intervals: paired bootstrap over "
            "queries, 10,000 draws, seed 0.\n"
        )
    files = [folder / "table.md", folder / "table.csv", folder / "epochs.csv"]
    write_aside(files[0], lambda aside: aside.write_text(text, encoding="utf-8"))
    write_aside(files[1], lambda aside: aside.write_text(_csv(results), encoding="utf-8"))
    write_aside(files[2], lambda aside: aside.write_text(_epochs_csv(results), encoding="utf-8"))
    for figure in study.figures:
        place.reporter.progress(f"figure {figure.name}", 0, 1)
        files += draw(figure, study, results, place, folder, view_of)
        place.reporter.progress(f"figure {figure.name}", 1, 1)
    return results, files


def _csv(results: Results) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["row", "seed", "run", *results.columns(), *(f"paper_{name}" for name in results.papers())])
    for row in results.study.rows:
        for run, found in zip(results.runs[row.name], results.figures[row.name], strict=True):
            cells: list[Any] = [found.get(name, "") for name in results.columns()]
            writer.writerow(
                [
                    row.name,
                    run.config.seed,
                    run.folder.name,
                    *cells,
                    *(row.paper.get(name, "") for name in results.papers()),
                ]
            )
    return out.getvalue()


def _epochs_csv(results: Results) -> str:
    """The numbers that each run measured in each epoch: test scores, losses, clusters."""
    lines = [
        {"row": row.name, "seed": run.config.seed, "run": run.folder.name}
        | {name: value for name, value in line.items() if isinstance(value, int | float)}
        for row in results.study.rows
        for run in results.runs[row.name]
        if run.trains
        for line in RunFolder(run.folder).read_metrics()
    ]
    out = io.StringIO()
    names = dict.fromkeys(name for line in lines for name in line)
    writer = csv.DictWriter(out, list(names) or ["row", "seed", "run", "epoch"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()
