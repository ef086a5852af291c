"""What is drawn: the report of a check of crops, and cells with characters that rich would take for markup."""

from __future__ import annotations

import pytest

from resight.cli.tables import print_check, print_table
from resight.crops import CheckReport


def report(**changes: object) -> CheckReport:
    """A report of ten crops, four of which cannot be decoded."""
    found: dict[str, object] = {
        "root": "crops",
        "source": "folder",
        "crops": 10,
        "splits": {"train": 8, "query": 2},
        "identities": {"train": 3, "query": 1},
        "cameras": {"cam [1]": {"train": 5, "query": 2}, "cam2": {"train": 3}},
        "junk": 0,
        "distractors": 4,
        "unlabelled": 0,
        "unreadable": (("cam1/cut.jpg", "image file is truncated"), ("cam2/text.png", "it is not an image")),
        "zero_size": ("cam1/zero.png", "cam2/zero too.png"),
        "duplicates": (("cam1/0.jpg", "cam2/copy of [0].jpg"),),
        "odd_aspect": (("cam1/2.jpg", 0.5), ("cam2/3.jpg", 8.0)),
        "aspect_range": (1.0, 5.0),
        "heights": {0.0: 32.0, 0.05: 33.0, 0.5: 64.0, 1.0: 80.0},
        "widths": {0.0: 10.0, 0.05: 11.0, 0.5: 32.0, 1.0: 64.0},
    }
    return CheckReport(**(found | changes))  # type: ignore[arg-type]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Calls a function that prints, 120 columns wide; what it printed, line by line, without the spaces of tables."""
    monkeypatch.setenv("COLUMNS", "120")

    def run(function, *args: object, **options: object) -> list[str]:
        function(*args, **options)
        return [" ".join(line.replace("│", "|").split()) for line in capsys.readouterr().out.splitlines()]

    return run


def test_counts_sizes_and_findings(lines) -> None:
    out = lines(print_check, report())
    for line in (
        "10 crops in crops (folder)",
        "| crops | 8 | 2 |",
        "| identities | 3 | 1 |",
        "| camera cam [1] | 5 | 2 |",
        "| camera cam2 | 3 | 0 |",
        "Crops without an identity",
        "| distractors | 4 |",
        "| height | 32 | 33 | 64 | 80 |",
        "| width | 10 | 11 | 32 | 64 |",
        "Unreadable files: 2",
        "| cam1/cut.jpg | image file is truncated |",
        "Empty files (0 bytes): 2",
        "| cam2/zero too.png |",
        "Exact duplicates: 1",
        "| cam2/copy of [0].jpg |",
        "Height over width outside 1 to 5: 2",
        "| cam2/3.jpg | 8.00 |",
        "4 of 10 files cannot be decoded: mend them or take them out.",
    ):
        assert line in out, line
    assert not [line for line in out if "junk" in line or "more" in line]
    assert [line for line in out if "least" in line] == ["┃ ┃ least ┃ 5% ┃ median ┃ greatest ┃"]


def test_long_lists_are_cut(lines) -> None:
    out = lines(print_check, report(), limit=1)
    assert "| cam1/cut.jpg | image file is truncated |" in out
    assert not [line for line in out if "text.png" in line]
    assert out.count("| … and 1 more | |") == 2  # unreadable and odd, in tables of two columns
    assert out.count("| … and 1 more |") == 1  # empty


def test_a_clean_set(lines) -> None:
    clean = dict.fromkeys(("unreadable", "zero_size", "duplicates", "odd_aspect"), ())
    out = lines(print_check, report(**clean, distractors=0, identities={}))
    assert out[-1] == "All 10 files can be decoded."
    assert not [line for line in out if "identit" in line or "Unreadable" in line or "Exact" in line]


def test_cells_are_shown_as_they_are(lines) -> None:
    out = lines(print_table, ("file", "number"), [("[bold]a[/bold].jpg", "12"), ("[/]", "3")], words=1)
    assert "| [bold]a[/bold].jpg | 12 |" in out
    assert "| [/] | 3 |" in out
