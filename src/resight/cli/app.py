"""The commands, put together in groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from resight import __version__
from resight.cli import catalogue, data, gallery, scores, show, study, training, using, video


class _Plain:
    """Leaves the types of arguments and flags out of the help: typer would print <list[str]> and <bool>."""

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if getattr(param, "is_flag", False) or param.param_type_name == "argument":
                param.display_type_rich = lambda ctx: None
        return params


class _Command(_Plain, TyperCommand):
    pass


class _Group(_Plain, TyperGroup):
    pass


app = typer.Typer(
    name="resight",
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Learn to recognise the same person across cameras, without one label.\n\n"
    "Start with **resight demo**. With crops of your own: **resight check PATH**, then "
    "**resight train --data PATH**.",
)

_GROUPS: dict[str, tuple[Callable[..., None], ...]] = {
    "Training": (training.train, training.demo, training.bench),
    "Scores": (scores.evaluate, scores.compare, scores.transfer),
    "Using a model": (using.embed, using.cluster, video.journeys, using.describe),
    "What a run learned": (show.report, show.watch),
    "Studies": (study.study,),
    "Galleries": (gallery.search, gallery.identify),
    "Crops": (video.ingest, data.check, data.synth, data.thin),
    "Lists": (catalogue.methods, catalogue.recipes),
}
for _title, _commands in _GROUPS.items():
    for _command in _commands:
        app.command(cls=_Command, rich_help_panel=_title)(_command)


_shown = typer.Typer(cls=_Group, no_args_is_help=True, rich_markup_mode="markdown", help="Draw one picture of a run.")
for _command in (show.ranks, show.clusters, show.attention, show.tsne, show.curves, show.cameras):
    _shown.command(cls=_Command)(_command)
app.add_typer(_shown, name="show", rich_help_panel="What a run learned")

for _name, _command in gallery.COMMANDS.items():
    gallery.gallery_app.command(_name, cls=_Command)(_command)
app.add_typer(gallery.gallery_app, name="gallery", cls=_Group, rich_help_panel="Galleries")


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
