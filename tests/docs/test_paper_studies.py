"""The page of the papers' studies has every study, and every picture is there and shows synthetic people."""

import re
from pathlib import Path

from resight.study import find_study, list_studies

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "paper-studies.md").read_text(encoding="utf-8")


def test_every_study_is_on_the_page() -> None:
    for name in list_studies():
        assert f"`resight study {name}`" in PAGE
        assert f"### {find_study(name).title}" in PAGE


def test_every_picture_is_shown() -> None:
    shown = set(re.findall(r"\]\((images/studies/[^)]+)\)", PAGE))
    assert shown == {f"images/studies/{file.name}" for file in (DOCS / "images" / "studies").iterdir()}
    assert len(shown) > 10
