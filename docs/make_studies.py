"""Write docs/results.md and the pages under docs/studies from their data files.

    python docs/make_studies.py

Every measured figure stands in one place, docs/studies/NAME.yaml. All values are read as text, so a figure goes to the
page exactly as it is written: 0.410 stays 0.410.

A study has ``title``, ``question``, ``reading`` (what the figures say), ``setup`` (network, data, length), ``bounds``
(what limits the figures), ``commit``, ``commands`` (shell lines; they may be missing) and ``tables``. A table has
``name``, ``columns``, ``rows`` and, if needed, ``text`` above and ``reading`` below the figures. A row maps columns to
figures:

- one figure, or ``[mean, least, largest]`` over several seeds; a missing figure is shown as –;
- ``run`` names the row, ``settings`` are the ``key=value`` in which its runs differ from the study's commands;
- ``from: STUDY / TABLE / RUN`` takes what the row does not give itself from a row elsewhere.

docs/results.yaml has ``title``, ``introduction``, ``rows`` (all with ``from``), ``findings``, ``studies`` (their order)
and ``after``.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import TextWrapper
from typing import Any

import yaml

DOCS = Path(__file__).resolve().parent
STUDIES = DOCS / "studies"
#: Headings of columns that are not called as in the data.
HEADINGS = {
    "run": "",
    "rank1": "rank-1",
    "rank5": "rank-5",
    "rank10": "rank-10",
    "ARI": "ARI, all",
    "AMI": "AMI, all",
    "parameters": "parameters, M",
}
OLD_COMMAND = (
    "At the commit above, `benchmarks/ablation.py` trained these runs. `resight study` took its place and gives them\n"
    "the same settings."
)
STUDY_KEYS = {"title", "question", "reading", "setup", "bounds", "commit", "tables"}
TABLE_KEYS = {"name", "columns", "rows"}


def load(file: Path) -> dict[str, Any]:
    """A data file, with every value as text."""
    return yaml.load(file.read_text(encoding="utf-8"), yaml.BaseLoader)


def load_studies() -> dict[str, dict[str, Any]]:
    """All studies by name, with the rows that refer to others filled in.

    Raises:
        ValueError: a study or a table has a wrong key, or a row refers to none or has a column that is not shown.
    """
    studies = {file.stem: load(file) for file in sorted(STUDIES.glob("*.yaml"))}
    for name, study in studies.items():
        if wrong := (set(study) - {"commands"}) ^ STUDY_KEYS:
            raise ValueError(f"{name}.yaml: missing or unknown keys: {sorted(wrong)}.")
        for table in study["tables"]:
            if wrong := (set(table) - {"text", "reading"}) ^ TABLE_KEYS:
                raise ValueError(f"{name}.yaml: a table has missing or unknown keys: {sorted(wrong)}.")
            for row in table["rows"]:
                if hidden := set(row) - set(table["columns"]) - {"settings", "from"}:
                    raise ValueError(f"{name}.yaml: '{table['name']}' has no columns {sorted(hidden)} for {row}.")
            table["rows"] = [complete(row, studies) for row in table["rows"]]
    return studies


def complete(row: dict[str, Any], studies: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A row with what it takes from the row that its ``from`` names.

    Raises:
        ValueError: there is no such row.
    """
    if "from" not in row:
        return row
    study, table, run = row["from"].split(" / ")
    found = [
        other
        for each in studies.get(study, {}).get("tables", [])
        for other in each["rows"]
        if each["name"] == table and other.get("run") == run
    ]
    if len(found) != 1:
        raise ValueError(f"There are {len(found)} rows '{row['from']}', not one.")
    return found[0] | row


def cell(value: str | list[str] | None) -> str:
    """What a table shows of a figure."""
    if value is None:
        return "–"
    return f"{value[0]} ({value[1]}–{value[2]})" if isinstance(value, list) else value


def table_lines(columns: list[str], rows: list[dict[str, Any]]) -> str:
    """A table in Markdown."""
    lines = [[HEADINGS.get(column, column) for column in columns], ["---"] * len(columns)]
    lines += [[cell(row.get(column)) for column in columns] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def settings_of(study: dict[str, Any]) -> dict[str, str]:
    """The settings of each run that a study names.

    Raises:
        ValueError: two rows of one name have different settings.
    """
    found: dict[str, str] = {}
    for row in (row for table in study["tables"] for row in table["rows"] if "settings" in row):
        if found.setdefault(row["run"], row["settings"]) != row["settings"]:
            raise ValueError(f"'{row['run']}' of '{study['title']}' has two different settings.")
    return found


def study_page(name: str, study: dict[str, Any]) -> str:
    """The page of a study."""
    blocks = [
        f"# {study['title']}",
        f"<!-- Written by docs/make_studies.py from {name}.yaml: change that file and run the script. -->",
        "Data, protocol and the other studies: [results](../results.md).",
        wrap(f"**Question.** {study['question']}"),
        wrap(f"**Reading.** {study['reading']}"),
        wrap(f"**What bounds it.** {study['bounds']}"),
        f"## Setup\n\n{study['setup']}",
        f"Commit: {study['commit']}",
    ]
    for table in study["tables"]:
        blocks += [f"## {table['name']}", table.get("text", "")]
        blocks += [table_lines(table["columns"], table["rows"]), table.get("reading", "")]
    if settings := settings_of(study):
        rows = [{"run": run, "sets beyond the commands below": f"`{words}`"} for run, words in settings.items()]
        blocks += ["## Settings of the runs", table_lines(["run", "sets beyond the commands below"], rows)]
    if "commands" in study:
        old = "docs/studies/tables/" in study["commands"]
        blocks += ["## Commands", OLD_COMMAND if old else ""]
        blocks += [f"```sh\n{study['commands'].strip()}\n```"]
    return join(blocks)


def results_page(studies: dict[str, dict[str, Any]]) -> str:
    """The page of all results.

    Raises:
        ValueError: it does not list each study once, or a row of it refers to none.
    """
    data = load(DOCS / "results.yaml")
    if sorted(data["studies"]) != sorted(studies):
        raise ValueError(f"results.yaml should list each study once: {sorted(studies)}.")
    rows = []
    for row in (complete(row, studies) for row in data["rows"]):
        row["setting"] = f"[{row['setting']}](studies/{row['from'].split(' / ')[0]}.md)"
        row["command"] = f"`{row['command']}`"
        row.setdefault("time", f"{cell(row.get('minutes'))} min")
        rows.append(row)
    links = []
    for name in data["studies"]:
        title, question = studies[name]["title"], " ".join(studies[name]["question"].split())
        links.append({"study": f"[{title}](studies/{name}.md)", "question": question})
    numbered = [f"{number}. {text}" for number, text in enumerate(data["findings"], 1)]
    blocks = [
        f"# {data['title']}",
        "<!-- Written by docs/make_studies.py from results.yaml: change that file and run the script. -->",
        data["introduction"],
        table_lines(["setting", "command", "mAP", "rank1", "time", "seeds", "camera labels"], rows),
        "## Findings",
        "\n".join(wrap(text, indent="   ") for text in numbered),
        "## Studies",
        table_lines(["study", "question"], links),
        data["after"],
    ]
    return join(blocks)


def wrap(text: str, indent: str = "") -> str:
    """A paragraph in lines of at most 120 characters, all but the first indented."""
    return TextWrapper(120, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False).fill(text)


def join(blocks: list[str]) -> str:
    """A page of paragraphs, without empty ones."""
    return "\n\n".join(block.strip() for block in blocks if block.strip()) + "\n"


def pages() -> dict[Path, str]:
    """All pages that this script writes, by file."""
    studies = load_studies()
    found = {STUDIES / f"{name}.md": study_page(name, study) for name, study in studies.items()}
    return found | {DOCS / "results.md": results_page(studies)}


def main() -> None:
    """Writes all pages and removes those of studies that are gone."""
    written = pages()
    for file, text in written.items():
        file.write_text(text, encoding="utf-8")
    for file in set(STUDIES.glob("*.md")) - set(written):
        file.unlink()


if __name__ == "__main__":
    main()
