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
        bool, typer.Option("--settings", help="List every setting that the method reads, with its value in the recipe.")
    ] = False,
) -> None:
    """List the recipes: a method's settings for a data set, each with its source.

    --show NAME prints a recipe, --settings all settings (with their values in the recipe 'default', or in NAME).

    Example: **resight recipes cluster_contrast --show default**
    """
    from resight.errors import ResightError
    from resight.training.config import recipes as all_recipes
    from resight.training.config import show_recipe

    known = all_recipes()
    if method is not None and method not in known:
        raise ResightError(f"There is no method '{method}': choose one of {', '.join(known)}.")
    if settings and method is None:
        raise ResightError(
            f"Each method reads settings of its own: name one of {', '.join(known)}, as in 'resight recipes "
            "cluster_contrast --settings'."
        )
    chosen = {method: known[method]} if method else known
    if settings:
        _print_settings(next(iter(chosen)), show)
    elif show is not None:
        print(show_recipe(_method_of(chosen, show), show), end="")
    else:
        _print_recipes(chosen)


def _method_of(known: dict[str, dict[str, Path]], name: str) -> str:
    """The only method, among those given, that has a recipe of this name."""
    from resight.errors import ResightError

    found = [method for method, files in known.items() if name in files]
    if not found:
        if len(known) > 1:
            raise ResightError(f"There is no recipe '{name}': 'resight recipes' lists them.")
        method, files = next(iter(known.items()))
        raise ResightError(f"There is no recipe '{name}' of {method}: choose one of {', '.join(files)}.")
    if len(found) > 1:
        example = "cluster_contrast" if "cluster_contrast" in found else found[0]
        raise ResightError(
            f"{len(found)} methods have a recipe '{name}': name the method as well, one of {', '.join(found)}, as in "
            f"'resight recipes {example} --show {name}'."
        )
    return found[0]


def _print_settings(method: str, recipe: str | None) -> None:
    from resight.cli.tables import print_text
    from resight.training.config import DEFAULT_RECIPE, describe_settings

    print_text(f"Settings that {method} reads, with their values in the recipe '{recipe or DEFAULT_RECIPE}':")
    for setting in describe_settings(method, recipe):
        print_text(f"\n{setting.name}={setting.value}    ({setting.allowed})")
        print_text(setting.meaning, indent=4)


def _print_recipes(known: dict[str, dict[str, Path]]) -> None:
    from resight.cli.tables import print_table
    from resight.training.config import read_recipe

    rows = [
        (method, recipe, str(read_recipe(method, recipe).get("description", "")))
        for method, files in known.items()
        for recipe in files
    ]
    print_table(("method", "recipe", "what it is"), rows)
