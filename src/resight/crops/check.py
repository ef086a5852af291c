"""Looking over crops before anything is learned from them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from resight.common.identities import DISTRACTOR, JUNK, UNLABELLED
from resight.crops.images import UnreadableImage, bytes_digest, decode_image, read_bytes
from resight.crops.table import SPLITS, CropTable
from resight.errors import ResightError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

#: Height over width that crops of standing people have.
PERSON_ASPECT = (1.0, 5.0)
_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True)
class CheckReport:
    """What :func:`check_crops` found.

    Attributes:
        root: The folder of the crops.
        source: The reader of the table.
        crops: How many crops the table has.
        splits: Crops of each split; everything is ``train`` where the table has no split.
        identities: People of each split; empty without identities.
        cameras: Crops of each camera in each split, ``{camera: {split: crops}}``; empty without cameras.
        junk: Crops whose identity is junk.
        distractors: Crops whose identity is a distractor.
        unlabelled: Crops no one labelled in a table with identities.
        unreadable: Files that are missing, broken or no image, with the reason.
        zero_size: Files of zero bytes (not repeated in ``unreadable``).
        duplicates: Groups of files with the same bytes, each in text order.
        odd_aspect: Files outside ``aspect_range``, with height over width.
        aspect_range: Least and greatest height over width that is not odd.
        heights: Quantiles of the heights in pixels, ``{quantile: pixels}``; empty if nothing could be read.
        widths: The same of the widths.
    """

    root: str
    source: str
    crops: int
    splits: dict[str, int]
    identities: dict[str, int]
    cameras: dict[str, dict[str, int]]
    junk: int
    distractors: int
    unlabelled: int
    unreadable: tuple[tuple[str, str], ...]
    zero_size: tuple[str, ...]
    duplicates: tuple[tuple[str, ...], ...]
    odd_aspect: tuple[tuple[str, float], ...]
    aspect_range: tuple[float, float]
    heights: dict[float, float]
    widths: dict[float, float]

    @property
    def ok(self) -> bool:
        """Whether every file can be decoded. Duplicates and odd shapes are for the user to judge."""
        return not self.unreadable and not self.zero_size


class _Seen(NamedTuple):
    digest: str | None = None
    size: tuple[int, int] | None = None
    problem: str | None = None


def check_crops(
    table: CropTable,
    *,
    aspect_range: tuple[float, float] = PERSON_ASPECT,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> CheckReport:
    """Read every file once and report what a training run would stumble over.

    Args:
        table: The crops.
        aspect_range: Least and greatest height over width, after EXIF orientation, that is not odd.
        threads: Files read at a time; by default as Python chooses from the number of cores.
        progress: Called with the number of files done, from the calling thread.

    Raises:
        ResightError: ``aspect_range`` is not a range of positive numbers, or ``threads`` is below 1.
    """
    low, high = aspect_range
    if not 0 < low <= high:
        raise ResightError(f"The aspect range {low} to {high} is none: give two positive numbers, the smaller first.")
    if threads is not None and threads < 1:
        raise ResightError(f"{threads} threads cannot read anything: give at least 1.")
    seen: list[_Seen] = []
    with ThreadPoolExecutor(threads) as pool:
        for done, result in enumerate(pool.map(lambda row: _look(table, row), range(len(table))), start=1):
            seen.append(result)
            if progress is not None:
                progress(done)

    groups: dict[str, list[str]] = defaultdict(list)
    odd = []
    for path, (digest, size, _) in zip(table.paths, seen, strict=True):
        if digest is not None:
            groups[digest].append(path)
        if size is not None and not low <= size[0] / size[1] <= high:
            odd.append((path, size[0] / size[1]))
    sizes = np.array([result.size for result in seen if result.size is not None]).reshape(-1, 2)
    split = np.full(len(table), SPLITS[0]) if table.split is None else table.split
    identity = np.ones(0, dtype=np.int64) if table.identity is None else table.identity
    return CheckReport(
        root=str(table.root),
        source=table.source,
        crops=len(table),
        splits={name: count for name in SPLITS if (count := int(np.sum(split == name)))},
        identities=_identities(table, split),
        cameras=_cameras(table, split),
        junk=int(np.sum(identity == JUNK)),
        distractors=int(np.sum(identity == DISTRACTOR)),
        unlabelled=int(np.sum(identity == UNLABELLED)),
        unreadable=tuple(
            (path, result.problem) for path, result in zip(table.paths, seen, strict=True) if result.problem
        ),
        zero_size=tuple(path for path, result in zip(table.paths, seen, strict=True) if result == _Seen()),
        duplicates=tuple(sorted(tuple(sorted(group)) for group in groups.values() if len(group) > 1)),
        odd_aspect=tuple(odd),
        aspect_range=(low, high),
        heights=_quantiles(sizes[:, 0]),
        widths=_quantiles(sizes[:, 1]),
    )


def report_tables(report: CheckReport, *, limit: int = 20) -> list[RenderableType]:
    """The report as titled rich tables: counts and sizes, then one table for each kind of finding.

    Args:
        report: What :func:`check_crops` returned.
        limit: Rows shown of each finding; a last row says how many more there are.
    """
    from rich.markup import escape

    splits = list(report.splits)
    rows = [("crops", *(str(report.splits[name]) for name in splits))]
    if report.identities:
        rows.append(("identities", *(str(report.identities.get(name, 0)) for name in splits)))
    for camera, of_split in report.cameras.items():
        rows.append((f"camera {escape(camera)}", *(str(of_split.get(name, 0)) for name in splits)))
    tables = [_titled(f"{report.crops} crops in {report.root} ({report.source})", ("", *splits), rows)]
    others = {"junk": report.junk, "distractors": report.distractors, "unlabelled": report.unlabelled}
    if any(others.values()):
        rows = [(name, str(count)) for name, count in others.items() if count]
        tables.append(_titled("Crops without a person's identity", ("", "crops"), rows))
    if report.heights:
        rows = [
            (name, *(f"{value:.0f}" for value in values.values()))
            for name, values in (("height", report.heights), ("width", report.widths))
        ]
        tables.append(_titled("Sizes in pixels", ("", *map(_quantile_name, report.heights)), rows))
    low, high = report.aspect_range
    findings: list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]] = [
        ("Unreadable files", ("file", "reason"), list(report.unreadable)),
        ("Empty files (0 bytes)", ("file",), [(path,) for path in report.zero_size]),
        ("Exact duplicates", ("files with the same bytes",), [("\n".join(group),) for group in report.duplicates]),
        (
            f"Height over width outside {low:g} to {high:g}",
            ("file", "height / width"),
            [(path, f"{ratio:.2f}") for path, ratio in report.odd_aspect],
        ),
    ]
    for title, head, found in findings:
        if found:
            rows = [tuple(map(escape, row)) for row in found[:limit]]
            if len(found) > limit:
                rows.append((f"… and {len(found) - limit} more",))
            tables.append(_titled(f"{title}: {len(found)}", head, rows))
    return tables


def render(report: CheckReport, console: Console, *, limit: int = 20) -> None:
    """Print the report on a rich console, ending in one line that sums it up."""
    for table in report_tables(report, limit=limit):
        console.print(table)
    broken = len(report.unreadable) + len(report.zero_size)
    if broken:
        console.print(f"{broken} of {report.crops} files cannot be decoded: mend them or take them out.")
    else:
        console.print(f"All {report.crops} files can be decoded.")


def _look(table: CropTable, row: int) -> _Seen:
    """One file: its digest, (height, width) and problem. An empty file has none of the three."""
    path = table.file(row)
    try:
        data = read_bytes(path)
        if not data:
            return _Seen()
    except UnreadableImage as error:
        return _Seen(problem=error.reason)
    digest = bytes_digest(data)
    try:
        width, height = decode_image(data, path).size
    except UnreadableImage as error:
        return _Seen(digest=digest, problem=error.reason)
    return _Seen(digest=digest, size=(height, width))


def _identities(table: CropTable, split: np.ndarray) -> dict[str, int]:
    if table.identity is None:
        return {}
    person = table.is_person
    people = {name: len(np.unique(table.identity[person & (split == name)])) for name in SPLITS}
    return {name: people[name] for name in SPLITS if np.any(split == name)}


def _cameras(table: CropTable, split: np.ndarray) -> dict[str, dict[str, int]]:
    if table.camera is None:
        return {}
    counts = Counter(zip(table.camera.tolist(), split.tolist(), strict=True))
    names = table.camera_names or {}
    return {
        names.get(camera, str(camera)): {name: counts[camera, name] for name in SPLITS if counts[camera, name]}
        for camera in np.unique(table.camera).tolist()
    }


def _quantiles(values: np.ndarray) -> dict[float, float]:
    if not len(values):
        return {}
    return dict(zip(_QUANTILES, np.quantile(values, _QUANTILES).tolist(), strict=True))


def _quantile_name(quantile: float) -> str:
    return {0.0: "least", 0.5: "median", 1.0: "greatest"}.get(quantile, f"{quantile:.0%}")


def _titled(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> RenderableType:
    """A table under its title, the first column to the left and numbers to the right."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(show_lines=any("\n" in cell for row in rows for cell in row))
    for number, name in enumerate(head):
        numbers = number > 0 and name != "reason"
        table.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return Group(Text(title, style="bold"), table)
