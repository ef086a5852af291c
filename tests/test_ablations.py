"""The tables of benchmarks/ablations can be run: known settings, and a folder of its own for each row."""

import json
import runpy
from pathlib import Path

import pytest
import yaml

from resight.training.config import build_config

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
TABLES = sorted((BENCHMARKS / "ablations").glob("*.yaml"))


@pytest.mark.parametrize("file", TABLES, ids=lambda file: file.stem)
def test_rows_of_a_table(file: Path) -> None:
    run_folder = runpy.run_path(str(BENCHMARKS / "ablation.py"))["run_folder"]
    table = yaml.safe_load(file.read_text(encoding="utf-8"))
    built = []
    for row in table["rows"]:
        settings = table.get("settings", {}) | row.get("settings", {})
        words = [f"{name}={json.dumps(value)}" for name, value in settings.items()]
        config = build_config(row.get("method", table["method"]), table["recipe"], words)
        built.append((config.model_dump_json(), row.get("data")))
    assert len(set(built)) == len(built) > 1, "two rows are the same run"
    assert len({run_folder(Path("out"), row["name"], 0) for row in table["rows"]}) == len(built)


def test_there_are_tables() -> None:
    assert len(TABLES) > 10
