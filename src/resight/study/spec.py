"""What a study is: a YAML file of rows that differ in a few settings, what is measured of them, and figures."""

from __future__ import annotations

import difflib
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from resight.common.checks import as_path, shown
from resight.common.settings import Settings, explain
from resight.errors import ResightError
from resight.training.config import build_config, flatten, read_yaml

#: Folder of the studies of the package.
STUDIES = Path(__file__).parents[1] / "studies"
_COMMON = "quick-settings"
#: Measures that a table can have, and what each is called.
MEASURES = {
    "mAP": "mAP",
    "rank1": "rank-1",
    "rank5": "rank-5",
    "rank10": "rank-10",
    "mINP": "mINP",
    "clusters": "clusters",
    "outliers": "outliers",
    "ari": "ARI, clustered",
    "all_ari": "ARI, all",
    "all_ami": "AMI, all",
    "all_fowlkes_mallows": "Fowlkes-Mallows, all",
    "all_v_measure": "V-measure, all",
    "parameters": "encoder, M parameters",
    "backbone": "backbone, M parameters",
    "label_seconds": "clustering stage, s per epoch",
    "step_seconds": "training, s per step",
    "minutes": "minutes",
}
#: Measures that are rates, shown in per cent.
RATES = ("mAP", "rank1", "rank5", "rank10", "mINP")
#: The recipe for two cores in the place of a published one, of runs that others start from.
_SMALL_STARTS = {"adtc_market1501": "adtc", "mar_market1501": "reference"}
#: Settings of the encoder that a row does not share with the run that it starts from.
_STARTS_ONLY = ("encoder.weights", "encoder.start", "encoder.freeze_norms", "encoder.neck")
Kind = Literal[
    "line", "bars", "epochs", "crops", "tsne", "clusters", "agreement", "lognormal", "attention",
]  # fmt: skip


class Start(Settings):
    """A run that others start from, trained first."""

    method: str = "supervised"
    recipe: str = "default"
    settings: dict[str, Any] = Field(default_factory=dict)
    data: Literal["source", "target"] = "source"


class Row(Settings):
    """A row of a table.

    Attributes:
        name: Its name.
        method: Its method; that of the study if not given.
        recipe: Its recipe; that of the study if not given.
        settings: What differs from the recipe and from the settings of the study.
        start: The start run whose weights it begins with, by name.
        data: ``target``, or its training crops left out unevenly (``unbalanced``) or evenly (``balanced``).
        score: If given, nothing is trained: the start run is scored on the test crops of ``source`` or ``target``.
        at: Its place on the x axis of a line.
        series: The line that it belongs to.
        paper: What the paper reports, by measure, in its own units: rates in per cent.
    """

    name: str = Field(min_length=1)
    method: str | None = None
    recipe: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    start: str | None = None
    data: Literal["target", "unbalanced", "balanced"] = "target"
    score: Literal["source", "target"] | None = None
    at: float | None = None
    series: str = ""
    paper: dict[str, float] = Field(default_factory=dict)


class Figure(Settings):
    """A figure of a study.

    Attributes:
        kind: ``line`` (measures over ``at``), ``bars`` (measures of all rows), ``epochs`` (metrics by epoch),
            ``crops`` (training crops per identity, as histograms), ``tsne``, ``clusters`` (sheets sorted by distance),
            ``agreement`` (crops of lowest and highest agreement per part), ``lognormal`` (soft multilabels) or
            ``attention`` (crops and maps, rows side by side).
        name: What its file is called behind the study's name.
        rows: The rows that it shows; all if empty.
        measures: What it shows, by name.
        x: What the x axis has.
        logarithmic: Whether the x axis is logarithmic.
    """

    kind: Kind
    name: str = "figure"
    rows: list[str] = Field(default_factory=list)
    measures: list[str] = Field(default_factory=lambda: ["mAP", "rank1"])
    x: str = ""
    logarithmic: bool = False


class Quick(Settings):
    """What the quick size changes.

    Attributes:
        recipe: Recipe of the study.
        settings: Settings beyond those that all quick runs of the method have.
        rows: Settings of rows by name.
        starts: Settings of start runs by name.
    """

    recipe: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    rows: dict[str, dict[str, Any]] = Field(default_factory=dict)
    starts: dict[str, dict[str, Any]] = Field(default_factory=dict)


class Study(Settings):
    """A study: rows of runs, what is measured, figures.

    Attributes:
        name: Name of its file.
        title: What it is called.
        paper: The paper, and the table or figure; empty if it is of no paper.
        about: What it asks, and what differs from the paper.
        method: Method of its rows.
        recipe: Recipe of its rows, in full size.
        settings: Settings of all rows.
        source: Whether its method learns from a labelled source.
        starts: Runs that rows start from.
        rows: The rows.
        seeds: Seeds of each row.
        baseline: The row that others are compared with; ``None`` compares none.
        measure: Columns of the table.
        figures: Figures.
        quick: What the quick size changes.
    """

    name: str = ""
    title: str
    paper: str = ""
    about: str = ""
    method: str
    recipe: str = "default"
    settings: dict[str, Any] = Field(default_factory=dict)
    source: bool = False
    starts: dict[str, Start] = Field(default_factory=dict)
    rows: list[Row] = Field(min_length=1)
    seeds: list[int] = Field(default_factory=lambda: [0], min_length=1)
    baseline: str | None = None
    measure: list[str] = Field(default_factory=lambda: ["mAP", "rank1", "clusters", "all_ari", "minutes"])
    figures: list[Figure] = Field(default_factory=list)
    quick: Quick = Field(default_factory=Quick)

    @model_validator(mode="after")
    def _names(self) -> Study:
        names = [row.name for row in self.rows]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(f"two rows are called '{twice[0]}'")
        mentioned = [("baseline", self.baseline)] if self.baseline is not None else []
        mentioned += [("quick.rows", name) for name in self.quick.rows]
        mentioned += [(f"figure '{figure.name}'", name) for figure in self.figures for name in figure.rows]
        for where, name in mentioned:
            if name not in names:
                raise ValueError(f"{where} names the row '{name}', which there is not")
        for row in self.rows:
            if row.start is not None and row.start not in self.starts:
                raise ValueError(f"the row '{row.name}' starts from '{row.start}', which is not among the starts")
            if row.score is not None and row.start is None:
                raise ValueError(f"the row '{row.name}' is scored without training, but names no start")
        for name in self.measure:
            if name not in MEASURES:
                raise ValueError(f"there is no measure '{name}': choose of {', '.join(MEASURES)}")
        return self

    @property
    def needs_source(self) -> bool:
        """Whether it needs labelled crops of other identities."""
        return self.source or any(start.data == "source" for start in self.starts.values())

    def at_size(self, quick: bool) -> Study:
        """The study in its full size, or in its quick size: with the settings of :attr:`quick` written out."""
        if not quick:
            return self
        common = _quick_settings()["methods"]

        def small(method: str, own: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
            return {**common["all"], **common.get(method, {}), **self.settings, **self.quick.settings, **own, **extra}

        rows = [
            row.model_copy(
                update={"settings": small(row.method or self.method, row.settings, self.quick.rows.get(row.name, {}))}
            )
            for row in self.rows
        ]
        starts = {
            name: start.model_copy(
                update={
                    "settings": {
                        **common["all"],
                        **common.get(start.method, {}),
                        **start.settings,
                        **self.quick.starts.get(name, {}),
                    }
                }
            )
            for name, start in self.starts.items()
        }
        changed = {"rows": rows, "starts": starts, "settings": {}, "recipe": self.quick.recipe or "default"}
        return self.model_copy(update=changed)

    def with_recipe(self, recipe: str) -> Study:
        """The study with another recipe for all rows.

        Runs that rows start from are then made for it: of the source recipe for two cores, where the study names the
        published one, and with the shape of the encoder that their first row has.

        Args:
            recipe: Name of a recipe that the methods of all rows have.

        Raises:
            ResightError: a method has no such recipe.
        """
        rows = [row.model_copy(update={"recipe": None}) for row in self.rows]
        changed = self.model_copy(update={"recipe": recipe, "rows": rows})
        for row in changed.rows:
            if row.score is None:
                changed.config(row, 0)
        starts = {}
        for name, start in self.starts.items():
            of = next((row for row in changed.rows if row.start == name and row.score is None), None)
            settings = dict(start.settings)
            if of is not None and "encoder.backbone" in settings:  # the study gives the whole shape, not the recipe
                shape = flatten(changed.config(of, 0).model_dump(mode="json"))
                given = {key: value for key, value in settings.items() if not key.startswith("encoder.")}
                settings = {key: value for key, value in shape.items() if key.startswith("encoder.")} | given
                for key in _STARTS_ONLY:
                    settings.pop(key, None)
                settings |= {key: start.settings[key] for key in _STARTS_ONLY if key in start.settings}
            starts[name] = start.model_copy(
                update={"recipe": _SMALL_STARTS.get(start.recipe, start.recipe), "settings": settings}
            )
        return changed.model_copy(update={"starts": starts})

    def config(self, row: Row, seed: int, weights: str | None = None, changes: dict[str, Any] | None = None) -> Any:
        """The settings of a row's run.

        Args:
            row: The row.
            seed: Its seed.
            weights: The folder of its start run.
            changes: Settings that differ for all rows.

        Raises:
            ResightError: a setting is not possible.
        """
        settings = {**self.settings, **row.settings, **(changes or {}), "seed": seed}
        if weights is not None:
            settings["encoder.weights"] = weights
        return build_config(row.method or self.method, row.recipe or self.recipe, settings)


@cache
def _quick_settings() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((STUDIES / f"{_COMMON}.yaml").read_text(encoding="utf-8"))
    return found


def quick_worlds() -> dict[str, dict[str, Any]]:
    """The settings of the synthetic worlds of quick studies: ``target`` and ``source``."""
    found: dict[str, dict[str, Any]] = _quick_settings()["worlds"]
    return found


def list_studies() -> dict[str, Path]:
    """The files of the package's studies by name."""
    return {file.stem: file for file in sorted(STUDIES.glob("*.yaml")) if file.stem != _COMMON}


def find_study(name: str | Path) -> Study:
    """A study by its name, or from a YAML file.

    Raises:
        ResightError: there is none of this name, or the file is no study.
    """
    known = list_studies()
    file = known.get(str(name))
    if file is None:
        file = as_path("The file of a study", name)
        if file.suffix.lower() not in (".yaml", ".yml"):
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"Did you mean '{near[0]}'?" if near else "'resight study --list' shows them all."
            raise ResightError(f"There is no study {shown(str(name))}. {hint} A file of your own ends in .yaml.")
        if not file.is_file():
            raise ResightError(f"There is no file {file}: name a study or a YAML file that is there.")
    try:
        content = read_yaml(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ResightError(f"{file} cannot be read as a study: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict):
        raise ResightError(f"{file} is no study: it must be a YAML mapping with title, method and rows.")
    try:
        return Study.model_validate(content | {"name": file.stem})
    except ValidationError as error:
        raise ResightError("{} is no study: {}{}.".format(file, *explain(error))) from error
