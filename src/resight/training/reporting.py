"""How a run reports what it does: progress bars, plain lines, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

_NAME = 10  # width of the names in a header
_WIDEST = 110  # text on wider terminals is still wrapped here


class Reporter:
    """Gets the progress of a run and says nothing; the other reporters print it."""

    def __enter__(self) -> Reporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def header(self, title: str, rows: Sequence[tuple[str, str]], notes: Sequence[str] = ()) -> None:
        """What a run is going to do: a title, name and text of each row, and sentences to note.

        It is printed with the next report, so that an error found before there is any work stands alone.
        """

    def progress(self, what: str, done: int, total: int) -> None:
        """``done`` of ``total`` parts of a piece of work. A total of 1 is work whose parts are not counted."""

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
    return "  ".join(_epoch_parts(record, epochs, sentences))


def _epoch_parts(record: dict[str, Any], epochs: int, sentences: Sequence[str]) -> list[str]:
    parts = [f"epoch {record['epoch']}/{epochs}" if record["epoch"] else "before training"]
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
    return parts


def duration(seconds: float) -> str:
    """A length of time in words: ``42 s``, ``2 min 20 s``, ``25 min`` or ``2 h 05 min``."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    if seconds < 180:
        return f"{round(seconds) // 60} min {round(seconds) % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


class Pace:
    """How long a run takes and has left, by its reports of progress.

    The time left is that of the epochs left, each as long as the mean of those that ended. Before one has ended, it is
    estimated from the first steps and from the time that embedding and clustering took before them.

    Args:
        clock: The time in seconds.
    """

    _STEPS, _SECONDS = 3, 5.0  # steps and seconds that an estimate needs

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = clock()
        self._epoch_start: float | None = None
        self._first_step: tuple[float, int] | None = None
        self._steps = 0  # in an epoch
        self._epochs: list[float] = []
        self._estimated = False

    def progress(self, what: str, done: int, total: int) -> str:
        """Takes a report of progress. Returns the first estimate when there is one, else an empty text."""
        now = self._clock()
        if self._epoch_start is None and what in ("embedding", "clustering", "epoch 1"):
            self._epoch_start = now
        if what.startswith("epoch "):
            self._steps = total
        if what != "all steps" or self._estimated or self._epochs or self._epoch_start is None:
            return ""
        if self._first_step is None:
            self._first_step = now, done
            return ""
        begun, before = self._first_step
        steps = done - before
        if steps < self._STEPS or now - begun < self._SECONDS:
            return ""
        self._estimated = True
        step = (now - begun) / steps
        apart = max(0.0, begun - step - self._epoch_start)  # embedding and clustering
        left = step * (total - done) + apart * ((total - done) // self._steps)
        return f"About {duration(left)} left: {step:.2g} s per step, measured in the first {steps + 1} steps."

    def epoch(self, number: int, epochs: int) -> str:
        """Takes the end of an epoch, 0 for the scores before training. Returns the time so far and the time left."""
        now = self._clock()
        if number and self._epoch_start is not None:
            self._epochs.append(now - self._epoch_start)
        self._epoch_start = now
        if not self._epochs:
            return ""
        so_far = duration(now - self._start)
        if number == epochs:
            return f"{so_far} in all"
        return f"{so_far} so far, about {duration(sum(self._epochs) / len(self._epochs) * (epochs - number))} left"


class _Printer(Reporter):
    """What the reporters that print have in common."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._header: tuple[str, Sequence[tuple[str, str]], Sequence[str]] | None = None

    def header(self, title: str, rows: Sequence[tuple[str, str]], notes: Sequence[str] = ()) -> None:
        self._header = title, rows, notes

    def _begin(self) -> None:
        """Prints the header that waits."""
        if self._header is None:
            return
        (title, rows, notes), self._header = self._header, None
        self.say(title)
        for name, text in rows:
            self._print(text.split(" "), " ", first=f"  {name:<{_NAME}}", others=" " * (_NAME + 2))
        for note in notes:
            self.say(f"Note: {note}")

    def progress(self, what: str, done: int, total: int) -> None:
        self._begin()
        if estimate := self._pace.progress(what, done, total):
            self.say(estimate)

    def epoch(self, record: dict[str, Any], epochs: int, sentences: Sequence[str] = ()) -> None:
        self._begin()
        times = self._pace.epoch(record["epoch"], epochs)
        parts = _epoch_parts(record, epochs, sentences) + ([times] if times else [])
        self._print(parts, "  ", others=" " * 4)

    def say(self, text: str) -> None:
        self._begin()
        self._print(text.split(" "), " ")

    def _print(self, parts: Sequence[str], between: str, first: str = "", others: str = "") -> None:
        """Prints parts of a text, which may be put on several lines.

        Args:
            parts: The parts.
            between: What stands between two parts on one line.
            first: What the first line begins with.
            others: What the other lines begin with.
        """
        raise NotImplementedError


class LogReporter(_Printer):
    """Plain lines for logs and pipes: one per epoch, and one per minute of work within it."""

    _INTERVAL = 60.0

    def __init__(self) -> None:
        super().__init__()
        self._said = time.monotonic()
        self._begun: dict[str, tuple[float, int]] = {}

    def progress(self, what: str, done: int, total: int) -> None:
        super().progress(what, done, total)
        now = time.monotonic()
        begun, before = self._begun.setdefault(what, (now, done))
        if done >= total:
            del self._begun[what]
        elif what != "all steps" and now - self._said >= self._INTERVAL and done > before:
            left = (now - begun) / (done - before) * (total - done)
            self.say(f"{what}: {done} of {total}, about {duration(left)} left of this")

    def _print(self, parts: Sequence[str], between: str, first: str = "", others: str = "") -> None:
        print(first + between.join(parts), file=sys.stderr, flush=True)
        self._said = time.monotonic()


class BarReporter(_Printer):
    """Progress bars with the time left, for a terminal."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as TimeLeft

        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}", justify="right"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            TimeLeft(),
            console=Console(stderr=True),
            transient=True,
            speed_estimate_period=300,  # a whole epoch or more, so that pauses to embed count in
        )
        self._tasks: dict[str, Any] = {}
        self._waiting: Any = None

    def __enter__(self) -> BarReporter:
        self._bars.start()
        self._show_waiting(True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def progress(self, what: str, done: int, total: int) -> None:
        super().progress(what, done, total)
        self._show(what, done, total)
        self._show_waiting(not self._tasks)

    def _show(self, what: str, done: int, total: int) -> None:
        if done >= total:
            if what in self._tasks:
                self._bars.remove_task(self._tasks.pop(what))
            return
        if what not in self._tasks:
            counted = total > 1
            self._tasks[what] = self._bars.add_task(
                what, total=total if counted else None, count="", left="left" if counted else ""
            )
        if total > 1:
            self._bars.update(self._tasks[what], completed=done, total=total, count=f"{done}/{total}")

    def _show_waiting(self, wanted: bool) -> None:
        """Shows or hides the bar for work that reports nothing, such as building the network."""
        if wanted and self._waiting is None:
            self._waiting = self._bars.add_task("preparing", total=None, count="", left="")
        elif not wanted and self._waiting is not None:
            self._bars.remove_task(self._waiting)
            self._waiting = None

    def _print(self, parts: Sequence[str], between: str, first: str = "", others: str = "") -> None:
        console = self._bars.console
        width, lines, empty = min(console.width, _WIDEST), [first], True
        for part in parts:
            if not empty and len(lines[-1]) + len(between) + len(part) > width:
                lines.append(others)
                empty = True
            lines[-1] += part if empty else between + part
            empty = False
        # soft_wrap: a part longer than a line, such as a path, stays whole for who copies it
        console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
