"""How a run reports what it does: progress bars, plain lines, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any


class Reporter:
    """Gets the progress of a run and says nothing; the other reporters print it."""

    def __enter__(self) -> Reporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def progress(self, what: str, done: int, total: int) -> None:
        """``done`` of ``total`` parts of a piece of work."""

    def epoch(self, record: dict[str, Any], epochs: int, sentences: Sequence[str] = ()) -> None:
        """An epoch's metrics, and what its method says of the labels."""

    def say(self, text: str) -> None:
        """A sentence."""


def describe_epoch(record: dict[str, Any], epochs: int, sentences: Sequence[str] = ()) -> str:
    """One line about an epoch.

    Args:
        record: Its metrics.
        epochs: Epochs of the run.
        sentences: What its method says of the labels.
    """
    parts = [f"epoch {record['epoch']}/{epochs}"]
    if "loss" in record:
        parts.append(f"loss {record['loss']:.3f}")
    if "clusters" in record:
        parts += [f"{record['clusters']} clusters", f"{record['outliers']} outliers"]
    parts += sentences
    if "neighbour_recall" in record:
        parts.append(f"{100 * record['neighbour_recall']:.1f} % of the true neighbours found")
    if "ari" in record:
        parts.append(f"ARI {record['ari']:.3f} of clustered crops, {record['all_ari']:.3f} of all")
    if "test_mAP" in record:
        parts.append(f"mAP {100 * record['test_mAP']:.1f} rank-1 {100 * record['test_rank1']:.1f}")
    return "  ".join(parts)


class LogReporter(Reporter):
    """Plain lines, one per epoch, for logs and pipes."""

    def epoch(self, record: dict[str, Any], epochs: int, sentences: Sequence[str] = ()) -> None:
        self.say(describe_epoch(record, epochs, sentences))

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class BarReporter(Reporter):
    """Progress bars with the time left, for a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as TimeLeft

        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeLeft(),
            console=Console(stderr=True),
            transient=True,
            speed_estimate_period=300,  # a whole epoch or more, so that pauses to embed count in
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> BarReporter:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def progress(self, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total)
        self._bars.update(self._tasks[what], completed=done, total=total)
        if done >= total:
            self._bars.remove_task(self._tasks.pop(what))

    def epoch(self, record: dict[str, Any], epochs: int, sentences: Sequence[str] = ()) -> None:
        self.say(describe_epoch(record, epochs, sentences))

    def say(self, text: str) -> None:
        self._bars.console.print(text, highlight=False, markup=False, soft_wrap=True)
