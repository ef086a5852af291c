"""The tables of benchmarks/ablations can be run: known settings, and a folder of its own for each row."""

import runpy
from pathlib import Path

import pytest
import yaml

from resight.training.config import build_config

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
TABLES = sorted((BENCHMARKS / "ablations").glob("*.yaml"))


@pytest.mark.parametrize("file", TABLES, ids=lambda file: file.stem)
def test_rows_of_a_table(file: Path) -> None:
    script = runpy.run_path(str(BENCHMARKS / "ablation.py"))
    table = yaml.safe_load(file.read_text(encoding="utf-8"))
    built = []
    for row in table["rows"]:
        config = build_config(row.get("method", table["method"]), table["recipe"], script["row_settings"](table, row))
        built.append((config.model_dump_json(), row.get("data")))
    assert len(set(built)) == len(built) > 1, "two rows are the same run"
    assert len({script["run_folder"](Path("out"), row["name"], 0) for row in table["rows"]}) == len(built)


def test_there_are_tables() -> None:
    assert len(TABLES) > 10
