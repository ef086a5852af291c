"""Experiment trackers: TensorBoard, Weights & Biases, MLflow, through accelerate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from resight.common.files import CannotWrite
from resight.common.processes import current
from resight.errors import ResightError
from resight.training.config import TrainConfig, flatten
from resight.training.run import RunFolder


class Tracker:
    """Sends metrics and pictures of epochs to the tracker that a run's settings name; does nothing for ``none``.

    Args:
        config: The settings, which the tracker records.
        run: The run folder, where trackers that write files write them.

    Raises:
        ResightError: the tracker's package is not installed.
    """

    def __init__(self, config: TrainConfig, run: RunFolder) -> None:
        self._config = config
        self._run = run
        self._accelerator: Any = None
        if config.tracker == "none":
            return
        from accelerate.tracking import get_available_trackers

        if config.tracker not in map(str, get_available_trackers()):
            raise ResightError(
                f"tracker={config.tracker} needs a package that is not installed: pip install "
                f"'resight[{config.tracker}]'."
            )

    def start(self) -> None:
        """Opens the tracker.

        Raises:
            ResightError: the tracker failed.
        """
        if self._config.tracker == "none":
            return
        from accelerate import Accelerator

        settings = {name: str(value) for name, value in flatten(self._config.model_dump()).items()}
        with self._explained():
            self._accelerator = Accelerator(log_with=self._config.tracker, project_dir=str(self._run.path))
            self._accelerator.init_trackers("resight", settings, init_kwargs=self._named())

    def _named(self) -> dict[str, dict[str, str]]:
        """What makes the tracker call the run as its folder is called; TensorBoard does so without."""
        name = self._run.path.resolve().name
        return {"wandb": {"wandb": {"name": name}}, "mlflow": {"mlflow": {"run_name": name}}}.get(
            self._config.tracker, {}
        )

    def log(self, record: dict[str, Any]) -> None:
        """Sends the numbers of an epoch's metrics.

        Raises:
            ResightError: the tracker failed.
        """
        if self._accelerator is not None:
            numbers = {name: value for name, value in record.items() if isinstance(value, int | float)}
            with self._explained():
                self._accelerator.log(numbers, step=record["epoch"])

    @property
    def follows(self) -> bool:
        """Whether there is a tracker to send to."""
        return self._accelerator is not None

    def picture(self, name: str, picture: Any, epoch: int) -> None:
        """Sends a picture.

        Args:
            name: What it is called, the same in every epoch.
            picture: A Pillow image.
            epoch: The epoch that it shows.

        Raises:
            ResightError: the tracker failed.
        """
        if self._accelerator is None:
            return
        with self._explained():
            if self._config.tracker == "mlflow":
                import mlflow

                mlflow.log_image(picture, f"{name}/{epoch:04d}.png")
                return
            tracker = self._accelerator.get_tracker(self._config.tracker)
            if self._config.tracker == "wandb":
                tracker.log_images({name: [picture]}, step=epoch)
            else:
                tracker.log_images({name: np.asarray(picture)[None]}, step=epoch, dataformats="NHWC")

    def end(self) -> None:
        """Closes the tracker.

        Raises:
            ResightError: the tracker failed.
        """
        if self._accelerator is not None:
            with self._explained():
                if current().count == 1:
                    self._accelerator.end_training()
                    return
                for tracker in self._accelerator.trackers:  # end_training would end the processes' connection, too
                    tracker.finish()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        name = self._config.tracker
        try:
            yield
        except Exception as error:  # whatever the tracker's package raises
            raise CannotWrite(
                f"tracker={name} failed ({' '.join(str(error).split())}): mend it, or go on without it by "
                "tracker=none. All its figures are in metrics.jsonl, too."
            ) from error
