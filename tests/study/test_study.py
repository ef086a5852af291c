"""Studies: what they say, which runs they have, what is run again, and what is written."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import resight
from resight import ResightError
from resight.study import Place, Study, find_study, list_studies, run_study, write_results
from resight.study.runs import Crops, _Slots
from resight.training.config import build_config

DOCS = Path(__file__).parents[2] / "docs"
STUDIES = list_studies()
#: The studies that the pages under docs/studies run.
TABLES = {f"tables/{file.stem}": file for file in (DOCS / "studies" / "tables").glob("*.yaml")}
#: The list of the papers' tables and figures.
PAPERS = {
    "adtc": ("table-2", "table-3-margin", "table-3-units", "table-3-components", "table-3-nearest", "table-3-epochs",
             "table-5", "figure-1", "figure-2", "figure-3"),
    "pplr": ("figure-1", "table-1", "figure-2", "figure-3", "figure-4"),
    "mar": ("figure-s1", "figure-s2a", "figure-s2b"),
    "gam": ("table-1", "table-2", "table-3", "table-4", "table-5", "table-6", "figure-4", "figure-5"),
    "dcmip": ("figure-1", "figure-2", "table-1", "table-2", "table-3", "figure-3", "figure-4"),
}  # fmt: skip


def test_each_table_and_figure_is_a_study() -> None:
    assert {f"{paper}-{name}" for paper, names in PAPERS.items() for name in names} <= set(STUDIES)


@pytest.mark.parametrize("size", ["full", "two cores", "quick"])
@pytest.mark.parametrize("name", [*STUDIES, *TABLES])
def test_rows_of_a_study_are_different_runs(name: str, size: str) -> None:
    quick = size == "quick"
    if name in TABLES and size != "full":
        return  # they have one size
    study = find_study(TABLES.get(name, name)).at_size(quick)
    if size == "two cores":
        study = study.with_recipe("default")
    place = Place(Path("out"), Crops(Path("target")), Crops(Path("source")), quick=quick)
    runs = [place.run(study, row, 0) for row in study.rows]
    assert len({(run.folder, run.crops) for run in runs}) == len(runs), "two rows are the same run"
    assert len({place.run(study, row, 1).folder for row in study.rows} & {run.folder for run in runs}) == 0
    for start in study.starts.values():
        build_config(start.method, start.recipe, start.settings)
    for row in study.rows:
        if row.start is not None and row.score is None:  # a start of another shape could not be loaded
            first, own = place.start(study, row.start, 0).config.encoder, place.run(study, row, 0).config.encoder
            for field in ("backbone", "width_multiplier", "attention", "groups", "height", "pooling"):
                assert getattr(first, field) == getattr(own, field), (row.name, field)


TOY = {
    "title": "A toy",
    "about": "Whether it runs.",
    "method": "cluster_contrast",
    "baseline": "low",
    "measure": ["mAP", "rank1", "clusters", "all_ari", "parameters", "minutes"],
    "rows": [
        {"name": "low", "at": 1, "settings": {"optimizer.lr": 1e-5}, "paper": {"mAP": 40.5}},
        {"name": "high", "at": 2, "settings": {"optimizer.lr": 1e-3}, "paper": {"mAP": 50}},
    ],
    "figures": [
        {"kind": "line", "x": "rate"}, {"kind": "bars", "name": "bars"},
        {"kind": "epochs", "name": "e", "measures": ["loss"]},
        {"kind": "tsne", "name": "tsne", "rows": ["high"]}, {"kind": "attention", "name": "maps"},
        {"kind": "clusters", "name": "clusters"}, {"kind": "crops", "name": "crops"},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def file(tiny: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("toy") / "toy.yaml"
    file.write_text(yaml.safe_dump(TOY | {"settings": tiny | {"epochs": 2}}))
    return file


@pytest.fixture(scope="module")
def toy(file: Path) -> Study:
    return find_study(file)


CHANGES = {"epochs": 1, "sampling.iterations": 2}


@pytest.fixture(scope="module")
def place(
    in_process: Callable[..., tuple[int, str, str]], painted: Path, file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Place:
    """Where the command ran the study."""
    out = tmp_path_factory.mktemp("studies")
    words = ("study", file, "--data", painted, "--train-identities", 7, "--out", out, "--jobs", 2, "-q")
    status, said, told = in_process(*words, *(f"{name}={value}" for name, value in CHANGES.items()))
    assert status == 0, told
    assert "of 2: low, seed 0: finished" in told
    assert "table.md, table.csv" in said
    return Place(out, Crops(painted, train_identities=7), changes=CHANGES, jobs=2)


def test_a_row_alone_leaves_the_others_in_the_table(
    in_process: Callable[..., tuple[int, str, str]], painted: Path, file: Path, place: Place
) -> None:
    words = ("study", file, "--data", painted, "--train-identities", 7, "--out", place.out, "--row", "high", "-q")
    status, _, told = in_process(*words, "--table", *(f"{name}={value}" for name, value in CHANGES.items()))
    assert status == 0, told
    text = (place.out / "toy" / "table.md").read_text(encoding="utf-8")
    assert "| low | 1 |" in text
    assert "| high | 1 |" in text


def test_a_study_writes_its_table_and_figures(toy: Study, place: Place) -> None:
    results, files = write_results(toy, place)
    names = {file.name for file in files}
    assert {"table.md", "table.csv", "figure-map.svg", "bars.svg", "e-loss.svg", "tsne-high.svg", "maps.png"} <= names
    assert {"clusters.png", "crops.svg"} <= names
    assert all(file.is_file() for file in files)
    text = (place.out / "toy" / "table.md").read_text(encoding="utf-8")
    assert "paired bootstrap" in text
    saved = json.loads((results.runs["high"][0].folder / "evaluation.json").read_text())
    row = next(line for line in text.splitlines() if line.startswith("| high"))
    assert f"| {100 * saved['mAP']:.1f} |" in row
    assert row.endswith("| 50 |")
    base, other = (results.runs[name][0].folder for name in ("low", "high"))
    table = resight.read_crops(place.target.path, train_identities=7) if place.target else None
    assert table is not None
    found = resight.compare([base, other], table)["groups"][1]["mAP_difference"]
    assert f"{100 * found['difference']:+.1f} ({100 * found['low']:+.1f} to {100 * found['high']:+.1f})" in row
    epochs = list(csv.DictReader((place.out / "toy" / "epochs.csv").read_text().splitlines()))
    assert [line["row"] + line["epoch"] for line in epochs] == ["low0", "low1", "high0", "high1"]
    assert float(epochs[-1]["test_mAP"]) == saved["mAP"]
    lines = (place.out / "toy" / "table.csv").read_text().splitlines()
    assert len(lines) == 3
    assert float(lines[2].split(",")[3]) == 100 * saved["mAP"]


def test_runs_are_shared_and_only_what_is_missing_is_run(
    toy: Study, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []

    def note(run, *_):
        trained.append(run.name)
        return 1

    monkeypatch.setattr("resight.study.runs._train", note)
    other = toy.model_copy(update={"name": "other", "title": "Another"})
    assert run_study(other, place) == []
    assert trained == []
    failed = run_study(toy, place, seeds=[0, 1])
    assert sorted(trained) == ["high, seed 1", "low, seed 1"]
    assert len(failed) == 2
    results, _ = write_results(toy, place, seeds=[0, 1])
    assert [len(results.runs[name]) for name in ("low", "high")] == [1, 1]


def test_several_seeds_are_a_mean_with_the_least_and_the_largest() -> None:
    from resight.study.tables import described

    assert described([1.0, 2.0, 6.0], "mAP") == "3.0 (1.0–6.0)"
    assert described([0.5], "all_ari") == "0.500"
    assert described([], "mAP") == "–"


def test_a_share_of_the_cores_each() -> None:
    slots = _Slots(1)
    assert slots.threads >= 1
    cores, number = slots.take()
    assert number == 0
    assert len(cores) in (0, slots.threads)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rows": []}, "rows"),
        ({"rows": [TOY["rows"][0], TOY["rows"][0]]}, "two rows are called 'low'"),  # type: ignore[index]
        ({"baseline": "none"}, "names the row 'none'"),
        ({"measure": ["speed"]}, "no measure 'speed'"),
        ({"nonsense": 1}, "nonsense"),
        ({"figures": [{"kind": "cake"}]}, "figures"),
        ({"rows": [{"name": "a", "start": "b"}], "baseline": None, "figures": []}, "not among the starts"),
        ({"method": 5}, "method"),
        ({"title": "left out"}, "wrong.yaml is no study: title is missing: it must be given"),
    ],
)
def test_a_study_that_cannot_be(change: dict[str, object], said: str, tmp_path: Path) -> None:
    wanted = {key: value for key, value in (TOY | change).items() if value != "left out"}
    (tmp_path / "wrong.yaml").write_text(json.dumps(wanted))
    with pytest.raises(ResightError, match=said):
        find_study(tmp_path / "wrong.yaml")


def test_a_study_that_is_not_there(tmp_path: Path, toy: Study) -> None:
    with pytest.raises(ResightError, match="Did you mean 'adtc-table-2'"):
        find_study("adtc-table2")
    with pytest.raises(ResightError, match="no file"):
        find_study(tmp_path / "none.yaml")
    for text in ("", "- a", "a: [", "a: &a [*a]"):
        (tmp_path / "text.yaml").write_text(text)
        with pytest.raises(ResightError, match=r"text\.yaml"):
            find_study(tmp_path / "text.yaml")
    with pytest.raises(ResightError, match="--data PATH"):
        run_study(toy, Place(tmp_path / "out"))
    with pytest.raises(ResightError, match="--source PATH"):
        run_study(find_study("mar-losses"), Place(tmp_path / "out", Crops(tmp_path)))
