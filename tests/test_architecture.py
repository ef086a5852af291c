"""The rooms of the package import in one direction only."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import resight

SOURCE = Path(resight.__file__).parent
#: Rooms from the ground up. A room imports rooms further down and nothing else of the package.
FLOORS = (
    ("errors",),
    ("common",),
    ("crops",),
    ("encoders", "clustering", "synthesis", "ingest"),
    ("proxies", "losses", "evaluation", "identities", "analysis"),
    ("methods",),
    ("training",),
    ("model",),
    ("scoring", "sentences", "charts", "pictures", "live"),
    ("gallery", "view"),
    ("choice",),
    ("transfer", "comparison", "entry", "export"),
    ("show", "journeys"),
    ("report",),
    ("study",),
    ("demo", "bench"),
    ("cli",),
)
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}


def room_of(module: str) -> str:
    """The room of a module of the package: its first name behind ``resight``."""
    return module.split(".")[1]


def imports_of(file: Path) -> list[tuple[int, str]]:
    """Line and name of each module of the package that a file imports, inside functions too."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            assert node.module is not None
            # "from resight import x" imports the module x or a public name
            names = [f"resight.{alias.name}" for alias in node.names] if node.module == "resight" else [node.module]
            found += [(node.lineno, name) for name in names]
    return [(line, name) for line, name in found if name.split(".")[0] == "resight"]


def modules() -> list[Path]:
    """All modules but those that are above all rooms."""
    above = {SOURCE / "__init__.py", SOURCE / "__main__.py"}
    return sorted(set(SOURCE.rglob("*.py")) - above)


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(SOURCE)))
def test_no_arrow_runs_up_or_sideways(file: Path) -> None:
    own = room_of(".".join(("resight", *file.relative_to(SOURCE).with_suffix("").parts)))
    for line, name in imports_of(file):
        assert name != "resight", f"{file}:{line} imports the whole package"
        other = room_of(name)
        if other == "__version__":
            assert own == "cli"
            continue
        assert own == other or FLOOR[other] < FLOOR[own], f"{file}:{line}: {own} imports {other}, which is not below it"


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(SOURCE)))
def test_no_room_borrows_private_names_of_another(file: Path) -> None:
    own = room_of(".".join(("resight", *file.relative_to(SOURCE).with_suffix("").parts)))
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("resight."):
            assert node.module is not None
            private = [part for part in (*node.module.split("."), *(a.name for a in node.names)) if part[0] == "_"]
            private = [name for name in private if not name.startswith("__")]
            assert not private or room_of(node.module) == own, f"{file}:{node.lineno} borrows {private}"


def test_no_room_outside_methods_names_a_method() -> None:
    """Training, models and reports serve methods that they do not know."""
    from resight.methods import METHODS

    names = [f'"{name}"' for name in METHODS] + [rf"\b{method.__name__}\b" for method in METHODS.values()]
    shared = ["model.py", "scoring.py", *(f"training/{p.name}" for p in (SOURCE / "training").glob("*.py"))]
    for file in shared:
        text = (SOURCE / file).read_text(encoding="utf-8")
        assert not [name for name in names if re.search(name, text)], file
