"""Commands that list what there is: ``methods`` and ``recipes``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def methods() -> None:
    """List the methods.

    Example: **resight methods**
    """
    from resight.cli.tables import print_table
    from resight.methods import METHODS

    print_table(("method", "what it does"), [(name, METHODS[name].summary) for name in sorted(METHODS)])


def recipes(
    method: Annotated[
        str | None, typer.Argument(metavar="METHOD", help="List only what this method has.", show_default=False)
    ] = None,
    show: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Print one recipe: its settings and their sources.", show_default=False),
    ] = None,
    settings: Annotated[
        bool, typer.Option("--settings", help="List every setting with its default instead of the recipes.")
    ] = False,
) -> None:
    """List the recipes: a method's settings for a data set, each with its source.

    Example: **resight recipes cluster_contrast --show default**
    """
    from resight.errors import ResightError
    from resight.training.config import recipes as all_recipes

    known = all_recipes()
    if method is not None and method not in known:
        raise ResightError(f"There is no method '{method}': choose one of {', '.join(known)}.")
    chosen = {method: known[method]} if method else known
    if show:
        print(_recipe_file(chosen, show).read_text(encoding="utf-8"), end="")
    elif settings:
        _print_settings(list(chosen))
    else:
        _print_recipes(chosen)


def _recipe_file(known: dict[str, dict[str, Path]], name: str) -> Path:
    """The only recipe of a name among those of the methods given."""
    from resight.errors import ResightError

    found = {method: files[name] for method, files in known.items() if name in files}
    if not found:
        if len(known) > 1:
            raise ResightError(f"There is no recipe '{name}': 'resight recipes' lists them.")
        method, files = next(iter(known.items()))
        raise ResightError(f"There is no recipe '{name}' of {method}: choose one of {', '.join(files)}.")
    if len(found) > 1:
        example = "cluster_contrast" if "cluster_contrast" in found else next(iter(found))
        raise ResightError(
            f"{len(found)} methods have a recipe '{name}': name the method as well, one of {', '.join(found)}, as in "
            f"'resight recipes {example} --show {name}'."
        )
    return next(iter(found.values()))


def _print_settings(methods: list[str]) -> None:
    """All settings of one method, or the shared ones and then each method's own."""
    from resight.cli.tables import print_table
    from resight.training.config import describe_settings

    head = ("setting", "default", "meaning")
    if len(methods) == 1:
        print_table(head, describe_settings(methods[0]))
        return
    shared = [row for row in describe_settings(methods[0]) if not row[0].startswith("method.")]
    print_table(head, shared, title="Settings of every method")
    for method in methods:
        own = [row for row in describe_settings(method) if row[0].startswith("method.")]
        print_table(head, own, title=f"Settings of {method} alone")


def _print_recipes(known: dict[str, dict[str, Path]]) -> None:
    from resight.cli.tables import print_table
    from resight.training.config import read_recipe

    rows = [
        (method, recipe, str(read_recipe(method, recipe).get("description", "")))
        for method, files in known.items()
        for recipe in files
    ]
    print_table(("method", "recipe", "what it is"), rows)
