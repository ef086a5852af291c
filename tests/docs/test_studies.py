"""The pages of the studies say what their data files say, and the data files are sound."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "docs" / "make_studies.py"))
STUDIES: dict[str, dict[str, Any]] = SCRIPT["load_studies"]()
PAGES: dict[Path, str] = SCRIPT["pages"]()


def rows() -> list[dict[str, Any]]:
    return [row for study in STUDIES.values() for table in study["tables"] for row in table["rows"]]


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.stem)
def test_page_is_that_of_its_data(file: Path) -> None:
    assert file.read_text(encoding="utf-8") == PAGES[file], "run: python docs/make_studies.py"


def test_no_page_is_without_data() -> None:
    assert set((ROOT / "docs" / "studies").glob("*.md")) <= set(PAGES)
    assert len(STUDIES) > 10


def test_means_lie_between_least_and_largest() -> None:
    several = [value for row in rows() for value in row.values() if isinstance(value, list)]
    assert len(several) > 400
    for mean, least, largest in several:
        assert float(least) <= float(mean) <= float(largest), (mean, least, largest)


def test_settings_are_those_of_the_tables() -> None:
    known = set()
    folders = (ROOT / "docs" / "studies" / "tables", ROOT / "src" / "resight" / "studies")
    for file in (file for folder in folders for file in folder.glob("*.yaml")):
        table = yaml.safe_load(file.read_text(encoding="utf-8"))
        for row in table.get("rows", []):
            settings = table.get("settings", {}) | row.get("settings", {})
            words = [f"method {row['method']}"] if "method" in row else []
            words += [f"{name}={json.dumps(value).replace(' ', '')}" for name, value in settings.items()]
            known.add((row["name"], " ".join(words)))
    named = [(row["run"], row["settings"]) for row in rows() if "settings" in row]
    assert len(named) > 70
    assert set(named) <= known


def test_a_row_shows_its_figures_as_they_are_written(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("{run: one, ARI: 0.410, mAP: [20.0, 19.1, 21.0]}", encoding="utf-8")
    table = SCRIPT["table_lines"](["run", "ARI", "mAP", "minutes"], [SCRIPT["load"](file)])
    assert table.splitlines()[-1] == "| one | 0.410 | 20.0 (19.1–21.0) | – |"


def test_a_row_takes_what_it_lacks_from_another() -> None:
    studies = {"a": {"tables": [{"name": "b", "rows": [{"run": "c", "mAP": "1.0", "seeds": "2"}]}]}}
    assert SCRIPT["complete"]({"from": "a / b / c", "mAP": "3.0"}, studies) == {
        "from": "a / b / c", "run": "c", "mAP": "3.0", "seeds": "2",
    }  # fmt: skip
    with pytest.raises(ValueError, match="There are 0 rows 'a / b / d', not one"):
        SCRIPT["complete"]({"from": "a / b / d"}, studies)
