"""Experiment trackers: TensorBoard, Weights & Biases, MLflow, through accelerate."""

from __future__ import annotations

from typing import Any

from resight.errors import ResightError
from resight.training.config import TrainConfig, flatten
from resight.training.run import RunFolder


class Tracker:
    """Sends the metrics of each epoch to the tracker that a run's settings name; does nothing for ``none``.

    Args:
        config: The settings, which the tracker records.
        run: The run folder, where trackers that write files write them.

    Raises:
        ResightError: the tracker's package is not installed.
    """

    def __init__(self, config: TrainConfig, run: RunFolder) -> None:
        self._accelerator: Any = None
        if config.tracker == "none":
            return
        from accelerate import Accelerator
        from accelerate.tracking import get_available_trackers

        if config.tracker not in map(str, get_available_trackers()):
            raise ResightError(
                f"tracker={config.tracker} needs a package that is not installed: pip install "
                f"'resight[{config.tracker}]'."
            )
        self._accelerator = Accelerator(log_with=config.tracker, project_dir=str(run.path))
        settings = {name: str(value) for name, value in flatten(config.model_dump()).items()}
        self._accelerator.init_trackers("resight", settings)

    def log(self, record: dict[str, Any]) -> None:
        """Sends the numbers of an epoch's metrics."""
        if self._accelerator is not None:
            numbers = {name: value for name, value in record.items() if isinstance(value, int | float)}
            self._accelerator.log(numbers, step=record["epoch"])

    def end(self) -> None:
        """Closes the tracker."""
        if self._accelerator is not None:
            self._accelerator.end_training()
