"""A run and the crops it is looked at with: what pictures, reports and studies are made of."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from resight.clustering import NoClusters
from resight.common.checks import as_path, whole
from resight.crops import TRAIN, UNLABELLED, CropTable, identity_split, read_crops
from resight.crops.cache import PixelCache, Progress
from resight.errors import ResightError
from resight.evaluation import RankingMetrics
from resight.model import Model, load
from resight.scoring import can_be_scored, labelled_test_crops, rank_cached
from resight.training.run import RunFolder, table_fingerprint


def crops_of_run(
    run: RunFolder, data: str | Path | None = None, *, format: str = "auto", train_identities: int | None = None
) -> CropTable:
    """The crops that a run was trained on, with its test crops where there are any.

    Args:
        run: The run folder.
        data: Where the crops are; if not given, the folder that the run was trained from is read again. If identities
            were divided by ``train_identities`` then, they are divided in the same way: by the number that gives as
            many training crops.
        format: Format of the crops; ``auto`` is that of the run if no ``data`` is given.
        train_identities: As for :func:`resight.read_crops`.

    Raises:
        ResightError: the crops are not there any more, or are of a table whose file the run does not name.
    """
    if data is not None:
        return read_crops(data, format, train_identities=train_identities)
    known = run.read_data("root", "format", "crops")
    root = Path(str(known["root"]))
    if known["format"] in ("csv", "parquet", "table"):
        raise ResightError(
            f"{run.path} was trained on a table of crops in {root}, whose file it does not name: name it with --data "
            "FILE (data= in Python)."
        )
    if not root.is_dir():
        raise ResightError(
            f"The crops that {run.path} was trained on are no longer in {root}: say where they are with --data PATH "
            "(data= in Python)."
        )
    named = str(known["format"]) if format == "auto" else format
    table = read_crops(root, named, train_identities=train_identities)
    trained = int(known["crops"]) + len(known.get("unreadable", []))
    if train_identities is None and table.split is None and table.identity is not None and trained < len(table):
        counts = np.unique(table.identity[table.is_person], return_counts=True)[1]
        totals = np.cumsum(counts) + np.count_nonzero(table.identity == UNLABELLED)
        if len(found := np.flatnonzero(totals[:-1] == trained)):
            return identity_split(table, int(found[0]) + 1)
    return table


class RunView:
    """A run, its model, its crops and what is computed from them. Nothing is computed before it is asked for.

    Args:
        run: The run folder.
        data: The crops, a table or a path; those that the run was trained on if not given.
        format: Format of the crops at a path.
        train_identities: As for :func:`resight.read_crops`.
        epoch: Use the weights of an earlier epoch, if training kept them.
        device: Where the model computes.
        cache: Folder for decoded crops; ``pixels`` beside the run if not given.
        crops: Training crops that are embedded at most. Of more, whole clusters are drawn; crops in no cluster are then
            drawn in proportion.
        progress: Called with the step's name, the crops done and the crops in all.

    Raises:
        ResightError: there is no such run.
    """

    def __init__(
        self,
        run: str | Path,
        data: CropTable | str | Path | None = None,
        *,
        format: str = "auto",
        train_identities: int | None = None,
        epoch: int | None = None,
        device: str = "auto",
        cache: str | Path | None = None,
        crops: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.run = RunFolder.existing(as_path("The run folder", run))
        self.epoch = None if epoch is None else whole("epoch", epoch)
        self.limit = None if crops is None else whole("crops", crops, least=4)
        self._data, self._format, self._train_identities = data, format, train_identities
        self._device, self._cache, self._progress = device, cache, progress
        #: Crops that could not be read so far, each with the reason.
        self.unreadable: dict[str, str] = {}

    @property
    def name(self) -> str:
        """What the run is called: the name of its folder."""
        return self.run.path.name or str(self.run.path)

    @cached_property
    def config(self) -> Any:
        """The settings of the run."""
        return self.run.read_config()

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The metrics of each epoch."""
        return self.run.read_metrics()

    @cached_property
    def model(self) -> Model:
        """The model."""
        return load(self.run.path, self._device, epoch=self.epoch)

    @cached_property
    def table(self) -> CropTable:
        """All crops."""
        if isinstance(self._data, CropTable):
            return self._data
        return crops_of_run(self.run, self._data, format=self._format, train_identities=self._train_identities)

    @cached_property
    def _all_trained(self) -> PixelCache:
        return self.open_cache(self.table.subset(TRAIN))

    def open_cache(self, table: CropTable) -> PixelCache:
        """Decodes crops at the model's size; those that cannot be read are left out, and their names kept."""
        pixels = self.model.open_cache(table, self._cache, max_unreadable=1, progress=self._progress)
        self.unreadable |= dict(pixels.unreadable)
        return pixels

    @cached_property
    def is_trained_on(self) -> bool:
        """Whether the training crops of the table are those that the run was trained on, in the same order.

        Columns such as times may differ: then the crops of the run are read again and the files compared.
        """
        cache, known = self._all_trained, self.run.read_data().get("fingerprint")
        if known == table_fingerprint(cache.table, cache.digest):
            return True
        try:
            own = self.open_cache(crops_of_run(self.run).subset(TRAIN))
        except ResightError:  # they are gone, or in a table
            return False
        return own.digest == cache.digest and known == table_fingerprint(own.table, own.digest)

    @cached_property
    def label_epochs(self) -> list[int]:
        """Epochs whose pseudo-labels belong to the training crops of the table, ascending."""
        return sorted(self.run.saved_arrays("labels")) if self.is_trained_on else []

    def labels_of(self, epoch: int) -> np.ndarray:
        """The pseudo-labels of all training crops in an epoch."""
        labels = self.run.read_array("labels", epoch)
        if labels.shape != (len(self._all_trained),):
            raise ResightError(f"{self.run.path} has labels of {labels.shape} crops in epoch {epoch}: it is damaged.")
        return labels.astype(np.int64)

    @property
    def trained_table(self) -> CropTable:
        """All training crops that could be read."""
        return self._all_trained.table

    @cached_property
    def rows(self) -> np.ndarray:
        """The training crops that are embedded, as indices of all of them."""
        size = len(self._all_trained)
        if self.limit is None or size <= self.limit:
            return np.arange(size)
        rng = np.random.default_rng(0)
        if not self.label_epochs:
            return np.sort(rng.choice(size, self.limit, replace=False))
        labels = self.labels_of(self.label_epochs[-1])
        order = rng.permutation(labels.max() + 1)
        share = self.limit / size
        outliers = rng.permutation(np.flatnonzero(labels < 0))
        outliers = outliers[: round(share * len(outliers))]
        ends = np.cumsum(np.bincount(labels[labels >= 0], minlength=len(order))[order])
        taken = order[: max(1, int(np.searchsorted(ends, self.limit - len(outliers), side="right")))]
        return np.flatnonzero(np.isin(labels, taken) | np.isin(np.arange(size), outliers))

    @cached_property
    def trained(self) -> CropTable:
        """The training crops that are embedded."""
        return self._all_trained.table.select(self.rows)

    @cached_property
    def images(self) -> np.ndarray:
        """``(N, 3, H, W)`` uint8, of :attr:`trained`."""
        images = self._all_trained.images
        return np.asarray(images[:] if len(self.rows) == len(images) else images[self.rows])

    @cached_property
    def features(self) -> np.ndarray:
        """``(N, D)`` embeddings of :attr:`trained`."""
        return self.model.embed(self.images, progress=self._progress)

    @cached_property
    def labels(self) -> np.ndarray:
        """``(N,)`` clusters of :attr:`trained`: the pseudo-labels of the last epoch.

        They are the model's own clusters where the run has no labels of these crops; all -1 where nothing clusters.
        """
        if self.label_epochs and self.epoch is None:
            return self.labels_of(self.label_epochs[-1])[self.rows]
        try:
            return self.model.cluster(self.features, self.trained).labels.astype(np.int64)
        except NoClusters:
            return np.full(len(self.trained), -1)

    @cached_property
    def scored(self) -> bool:
        """Whether there are labelled queries and a gallery."""
        return can_be_scored(self.table)

    @cached_property
    def tested(self) -> PixelCache:
        """The query and gallery crops.

        Raises:
            ResightError: there are none.
        """
        crops = labelled_test_crops(self.table)
        return self.open_cache(crops)

    @cached_property
    def test_features(self) -> np.ndarray:
        """Embeddings of the query and gallery crops."""
        return self.model.embed_cached(self.tested, progress=self._progress)

    @cached_property
    def ranking(self) -> RankingMetrics:
        """The figures of the ranking, those of each query among them."""
        return rank_cached(self.model, self.tested, features=self.test_features)
