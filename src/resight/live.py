"""Where a run stands while it trains: read from its folder, without disturbing it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from resight.errors import ResightError
from resight.training.run import RunFolder

_BLOCKS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Standing:
    """Where a run stands.

    Attributes:
        epoch: The last whole epoch; 0 before the first.
        epochs: Epochs that it is to train.
        seconds: Mean seconds per epoch; ``None`` before the first.
        left: Seconds that the rest takes at that pace; ``None`` before the first epoch.
        silent: Seconds since the last epoch was written.
        finished: Whether the run came to its end.
        metrics: The metrics of all epochs.
    """

    epoch: int
    epochs: int
    seconds: float | None
    left: float | None
    silent: float
    finished: bool
    metrics: list[dict[str, Any]]

    @property
    def overdue(self) -> bool:
        """Whether the next epoch takes so much longer than the others that the run may have stopped."""
        return (
            not self.finished and self.seconds is not None and self.silent > max(4 * self.seconds, self.seconds + 120)
        )


def standing(run: RunFolder) -> Standing:
    """Where a run stands.

    Raises:
        ResightError: a file of the run is damaged.
    """
    config = run.read_config()
    metrics = run.read_metrics()
    timings = [sum(line.values()) for line in run.read_timings()]
    epoch = int(metrics[-1]["epoch"]) if metrics else 0
    seconds = sum(timings) / len(timings) if timings else None
    written = run.metrics_file if run.metrics_file.exists() else run.config_file
    try:
        silent = max(0.0, time.time() - written.stat().st_mtime)
        finished = run.weights_file.exists() and (
            epoch >= config.epochs
            or (run.evaluation_file.exists() and run.evaluation_file.stat().st_mtime >= written.stat().st_mtime)
        )
    except OSError as error:
        raise ResightError(f"{run.path} is gone: it was removed, or another run is begun in it.") from error
    left = None if seconds is None else 0.0 if finished else seconds * (config.epochs - epoch)
    return Standing(epoch, config.epochs, seconds, left, silent, finished, metrics)


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """Numbers as a line of blocks, the lowest the smallest and the highest the largest; of many, evenly spread ones.

    >>> sparkline([0, 1, 2, 3, 4, 5, 6, 7])
    '▁▂▃▄▅▆▇█'
    """
    if not values:
        return ""
    if len(values) > width:
        values = [values[round(place * (len(values) - 1) / (width - 1))] for place in range(width)]
    low, high = min(values), max(values)
    if high == low:
        return _BLOCKS[3] * len(values)
    return "".join(_BLOCKS[min(7, int(8 * (value - low) / (high - low)))] for value in values)
