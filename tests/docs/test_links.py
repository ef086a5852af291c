"""Links and paths in the documents lead somewhere."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SOURCE = re.compile(r"`(src/[^`\s]*)`")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def documents() -> list[Path]:
    """All Markdown files that git tracks or would track."""
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    ).stdout.split()  # fmt: skip
    files = [ROOT / name for name in names] or [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    return [file for file in files if file.is_file()]


def anchors(text: str) -> set[str]:
    """What the headings of a page are called in links, as GitHub does it."""
    titles = HEADING.findall(FENCE.sub("", text))
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def broken(file: Path, text: str) -> list[str]:
    """The relative links of a page that lead nowhere, and its paths under src/ that do not exist."""
    found = []
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = file.parent / path
        exists = target.exists()
        if exists and anchor:
            exists = anchor in anchors(target.read_text(encoding="utf-8") if path else text)
        if not exists:
            found.append(link)
    return found + [path for path in SOURCE.findall(text) if not (ROOT / path).exists()]


@pytest.mark.parametrize("file", documents(), ids=lambda file: str(file.relative_to(ROOT)))
def test_links_lead_somewhere(file: Path) -> None:
    assert broken(file, file.read_text(encoding="utf-8")) == []


def test_the_documents_are_found() -> None:
    assert {"README.md", "results.md"} <= {file.name for file in documents()}


def test_what_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# A title, with `code`", encoding="utf-8")
    text = "# Here\n[a](other.md) [b](other.md#a-title-with-code) [c](#here) [d](https://x.y/z) `src/resight`\n"
    assert broken(tmp_path / "page.md", text) == []
    wrong = "[a](gone.md) [b](other.md#gone) ![c](gone.png) [d](#here) `src/gone.py`"
    assert broken(tmp_path / "page.md", wrong) == ["gone.md", "other.md#gone", "gone.png", "#here", "src/gone.py"]
