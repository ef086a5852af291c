"""The command ``study``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from resight.cli.options import DeviceOption, FormatOption, QuietOption, given_path, reporter


def study(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A study of the package, or a YAML file.", show_default=False),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Settings that differ for all rows.", show_default=False),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", parser=given_path, metavar="PATH", help="Crops to train on and to test with.", show_default=False
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--source",
            parser=given_path,
            metavar="PATH",
            help="Labelled crops of other identities, for studies that need them.",
            show_default=False,
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Tiny networks; on synthetic people where no --data is given. Minutes per study."),
    ] = False,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME",
            help="Recipe of all rows, instead of the study's: default is the size for two cores.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(parser=given_path, metavar="FOLDER", help="Folder of all studies; they share runs.")
    ] = Path("runs/studies"),
    seeds: Annotated[
        list[int] | None,
        typer.Option(
            "--seed", min=0, metavar="N", help="A seed; give it several times for several.", show_default=False
        ),
    ] = None,
    rows: Annotated[
        list[str] | None,
        typer.Option(
            "--row", metavar="NAME", help="Train only this row; give it several times for several.", show_default=False
        ),
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=1, max=256, metavar="N", help="Runs at a time, each with its share of cores and GPUs.")
    ] = 1,
    table: Annotated[bool, typer.Option("--table", help="Train nothing: write what is finished.")] = False,
    list_all: Annotated[bool, typer.Option("--list", help="List the studies.")] = False,
    format: FormatOption = "auto",
    train_identities: Annotated[
        int | None,
        typer.Option(
            "--train-identities",
            min=1,
            metavar="N",
            help="Divide --data by identity, as elsewhere.",
            show_default=False,
        ),
    ] = None,
    source_format: Annotated[str, typer.Option(metavar="NAME", help="Format of the source, as for --format.")] = "auto",
    source_identities: Annotated[
        int | None,
        typer.Option(min=2, metavar="N", help="Use only the first N identities of the source.", show_default=False),
    ] = None,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
) -> None:
    """Run a table or figure of a paper: what is missing is trained, then the table and figures are written.

    A study is rows of settings, seeds, and what is measured. Runs are named by their settings, so that studies share
    them; a study that was stopped goes on, and a seed more costs only its own runs.

    Example: **resight study adtc-table-2 --quick**
    """
    from resight.cli.tables import print_table, print_text
    from resight.errors import ResightError

    if list_all or name is None:
        if name is not None:
            raise ResightError("--list shows all studies: leave the name out.")
        from resight.study import find_study, list_studies

        found = [find_study(one) for one in list_studies()]
        rows_of = [(one.name, one.paper, f"{len(one.rows)} × {len(one.seeds)}", one.title) for one in found]
        print_table(("study", "paper", "rows × seeds", "what it is"), rows_of)
        print("Next: resight study NAME --quick")
        return
    with reporter(quiet) as report:
        from resight.common.devices import resolve_device
        from resight.study import Place, find_study, run_study, write_results
        from resight.study.runs import Crops
        from resight.training.config import parse_overrides

        whole = find_study(name)
        changes = parse_overrides(settings or [])
        resolve_device(device)
        for row in rows or []:
            if row not in [one.name for one in whole.rows]:
                names = ", ".join(f"'{one.name}'" for one in whole.rows)
                raise ResightError(f"The study {whole.name} has no row '{row}': choose of {names}.")
        if quick and recipe is not None:
            raise ResightError("--quick has a recipe for its tiny networks: give --quick or --recipe, not both.")
        chosen = sized = whole.at_size(quick) if recipe is None else whole.with_recipe(recipe)
        if rows:
            kept = [one for one in sized.rows if one.name in rows]
            chosen = sized.model_copy(update={"rows": kept})
        for one in chosen.rows:  # a slip in a setting is said before anything is made
            if one.score is None:
                chosen.config(one, 0, changes=changes)
        if rows:  # the table has the other rows, too, but those that these settings make impossible
            shown = [one for one in sized.rows if one.name in rows or _possible(sized, one, changes)]
            sized = sized.model_copy(update={"rows": shown})
        place = Place(
            out,
            None if data is None else Crops(data, format, train_identities),
            None if source is None else Crops(source, source_format, None, source_identities),
            quick=quick,
            changes=changes,
            device=device,
            jobs=jobs,
            reporter=report,
        )
        for crops in (place.target, place.source):  # what cannot be read is said before anything is trained
            if crops is not None:
                crops.read()
        failed = [] if table else run_study(chosen, place, seeds=seeds)
        results, files = write_results(sized, place, seeds=seeds)
    head, lines = results.table()
    lines = [cells for cells in lines if cells[1] != "0"]  # table.md has those that are not finished, too
    origin = "; ".join(filter(None, (chosen.paper, "quick size" if quick else "")))
    print_table(head, lines, title=f"{chosen.title}{f' ({origin})' if origin else ''}", words=1)
    print_text(chosen.about.strip())
    print(f"In {files[0].parent}: {', '.join(file.name for file in files)}.")
    if failed:
        names = "; ".join(f"{run.name}: {place.out / 'logs' / f'{run.folder.name}.log'}" for run in failed[:3])
        raise ResightError(
            f"{len(failed)} of the runs failed, and the table is without them. Their logs say why: {names}. The same "
            "command goes on."
        )


def _possible(study: Any, row: Any, changes: dict[str, Any]) -> bool:
    """Whether a row can be run with some settings."""
    from resight.errors import ResightError

    try:
        study.config(row, 0, changes=changes)
    except ResightError:
        return False
    return True
