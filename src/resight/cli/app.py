"""The commands, put together in groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from resight import __version__
from resight.cli import catalogue, data, scores, training, using

app = typer.Typer(
    name="resight",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Learn to recognise the same person across cameras, without one label.\n\n"
    "Start with **resight check PATH**, then **resight train cluster_contrast --data PATH**.",
)

_GROUPS: dict[str, tuple[Callable[..., None], ...]] = {
    "Training": (training.train, training.demo),
    "Scores": (scores.evaluate, scores.transfer),
    "Using a model": (using.embed, using.cluster, using.describe, using.attention),
    "Crops": (data.check, data.synth, data.thin),
    "Lists": (catalogue.methods, catalogue.recipes),
}
for _title, _commands in _GROUPS.items():
    for _command in _commands:
        app.command(rich_help_panel=_title)(_command)


def _version(value: bool) -> None:
    if value:
        print(f"resight {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    return None
