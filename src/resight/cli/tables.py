"""Tables and reports, drawn by rich on standard output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from resight.sentences import (
    RATES,
    clustering_rows,
    comparison_rows,
    describe_best_epoch,
    describe_comparison,
    describe_scores,
    describe_transfer,
    percent,
)

if TYPE_CHECKING:
    from resight.crops import CheckReport


def print_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "", words: int | None = None
) -> None:
    """Prints a table.

    Args:
        head: Names of the columns.
        rows: Cells, row by row; a row may be short.
        title: A line above the table.
        words: How many columns, from the left, hold words and are set to the left; the others hold numbers. All if not
            given.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_lines=any("\n" in cell for row in rows for cell in row))
    for number, name in enumerate(head):
        table.add_column(Text(name), justify="left" if words is None or number < words else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    if title:
        Console().print(Text(title, style="bold"))
    Console().print(table)


def print_text(text: str, indent: int = 0) -> None:
    """Prints a sentence, wrapped to the width of the terminal, behind ``indent`` spaces."""
    import textwrap

    from rich.console import Console

    for line in text.splitlines():
        margin = " " * indent
        wrapped = textwrap.wrap(
            line, Console().width, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False
        )
        print("\n".join(wrapped))


def print_remarks(remarks: Sequence[tuple[str, str]]) -> None:
    """Prints what is odd about a result and, under each sentence, the command that mends it, if there is one."""
    for text, command in remarks:
        print_text(f"Note: {text}")
        if command:
            print(f"  {command}")


def print_scores(scores: Mapping[str, Any], title: str = "Retrieval, last epoch") -> None:
    """Prints figures of :func:`resight.scoring.evaluate`, and what they depend on."""
    print_table(list(RATES.values()), [[percent(scores[name]) for name in RATES]], title=title, words=0)
    print_text(describe_scores(scores))
    print_text(describe_best_epoch(scores))
    if quality := scores.get("clustering"):
        head = ("", "clustered crops", "all, outliers alone")
        title = f"Clusters of the test crops, by {quality['algorithm']}"
        print_table(head, clustering_rows(quality), title=title, words=1)
        print_text(f"{quality['clusters']} clusters, {quality['outliers']} outliers.")


def print_transfer(report: Sequence[Mapping[str, Any]], source: str, target: str) -> None:
    """Prints what :func:`resight.transfer.transfer_report` returned; source and target are called by these names."""
    names = [name for name in RATES if name != "mINP"]
    rows = [
        [describe_transfer(row, source, target), row["model"], *(percent(row[name]) for name in names)]
        for row in report
    ]
    print_table(["", "model", *(RATES[name] for name in names)], rows, title="Transfer, last epochs", words=2)


def print_comparison(found: Mapping[str, Any]) -> None:
    """Prints what :func:`resight.comparison.compare` returned."""
    head, rows = comparison_rows(found)
    print_table(head, rows, title="Comparison, last epochs", words=1)
    print_text(describe_comparison(found))


def print_check(report: CheckReport, *, limit: int = 20) -> None:
    """Prints a check of crops: counts, sizes, one table per kind of finding, and a line that sums it up.

    Args:
        report: What :func:`resight.crops.check_crops` returned.
        limit: Rows shown of each finding; a last row says how many more there are.
    """
    splits = list(report.splits)
    rows = [["crops", *(str(report.splits[name]) for name in splits)]]
    if report.identities:
        rows.append(["identities", *(str(report.identities.get(name, 0)) for name in splits)])
    for camera, of_split in list(report.cameras.items())[:limit]:
        rows.append([f"camera {camera}", *(str(of_split.get(name, 0)) for name in splits)])
    if len(report.cameras) > limit:
        rows.append([f"… and {len(report.cameras) - limit} more cameras"])
    print_table(["", *splits], rows, title=f"{report.crops} crops in {report.root} ({report.source})", words=1)
    others = {"junk": report.junk, "distractors": report.distractors, "unlabelled": report.unlabelled}
    if any(others.values()):
        rows = [[name, str(count)] for name, count in others.items() if count]
        print_table(["", "crops"], rows, title="Crops without an identity", words=1)
    if report.heights:
        sizes = {"height": report.heights, "width": report.widths}
        rows = [[name, *(f"{value:.0f}" for value in values.values())] for name, values in sizes.items()]
        print_table(["", *map(_quantile_name, report.heights)], rows, title="Sizes in pixels", words=1)
    low, high = report.aspect_range
    odd = [(path, f"{ratio:.2f}") for path, ratio in report.odd_aspect]
    _print_finding("Unreadable files", ("file", "reason"), report.unreadable, limit, words=2)
    _print_finding("Empty files (0 bytes)", ("file",), [(path,) for path in report.zero_size], limit)
    duplicates = [("\n".join(group),) for group in report.duplicates]
    _print_finding("Exact duplicates", ("files with the same bytes",), duplicates, limit)
    _print_finding(f"Height over width outside {low:g} to {high:g}", ("file", "height / width"), odd, limit)
    broken = len(report.unreadable) + len(report.zero_size)
    if broken:
        every = f" --limit {broken} lists them all." if broken > limit else ""
        print_text(f"{broken} of {report.crops} files cannot be decoded: mend them or take them out.{every}")
    else:
        print_text(f"All {report.crops} files can be decoded.")


def _print_finding(
    title: str, head: Sequence[str], found: Sequence[Sequence[str]], limit: int, *, words: int = 1
) -> None:
    if not found:
        return
    rows = list(found[:limit])
    if len(found) > limit:
        rows.append((f"… and {len(found) - limit} more",))
    print_table(head, rows, title=f"{title}: {len(found)}", words=words)


def _quantile_name(quantile: float) -> str:
    return {0.0: "least", 0.5: "median", 1.0: "greatest"}.get(quantile, f"{quantile:.0%}")
