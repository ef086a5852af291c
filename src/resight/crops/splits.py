"""Choosing crops by identity: training and test identities, fewer training crops, labelled crops of a source."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from resight.common.checks import LARGEST_SEED, instance, whole
from resight.common.identities import UNLABELLED
from resight.crops.table import GALLERY, QUERY, TRAIN, CropTable
from resight.errors import ResightError


def identity_split(table: CropTable, train: int) -> CropTable:
    """Divides a table into training and test identities.

    The first identities, in the order of their numbers, train; the others test. For each test identity, the first path
    (in text order) in each camera is a query and the rest is gallery; without cameras there is one query per identity.
    Junk and distractors go to the gallery, unlabelled crops to train.

    Args:
        table: A table with identities. Its split, if it has one, is replaced.
        train: Number of identities that train.

    Returns:
        The same crops with the column ``split``.

    Raises:
        ResightError: the table has no identities, or ``train`` leaves none to train or none to test.
    """
    identity = _checked(table).require("identity", "A split by identity")
    train = whole("The number of training identities", train, least=-(2**63))
    known = table.is_person
    identities = np.unique(identity[known])
    if not 1 <= train < len(identities):
        choice = f"1 to {len(identities) - 1}" if len(identities) > 1 else "a table with more"
        raise ResightError(
            f"{train} training identities were asked for, but the table read from {table.root} has {len(identities)} "
            f"identities: choose {choice}, so that some train and some test."
        )
    split = np.full(len(table), GALLERY, dtype=f"<U{max(map(len, (TRAIN, QUERY, GALLERY)))}")
    split[(identity == UNLABELLED) | (known & (identity < identities[train]))] = TRAIN
    test = np.flatnonzero(known & (identity >= identities[train]))
    test = test[np.argsort(np.array([table.paths[row] for row in test]), kind="stable")]
    camera = np.zeros(len(table), dtype=np.int64) if table.camera is None else table.camera
    _, first = np.unique(np.stack([identity[test], camera[test]]), axis=1, return_index=True)
    split[test[first]] = QUERY
    return replace(table, split=split)


def unbalanced_subset(table: CropTable, seed: int = 0) -> CropTable:
    """Leaves out training crops, so that identities are seen unequally often.

    For an identity that R cameras saw, S cameras are drawn, with S uniform in 0 … R. Its crops from the drawn cameras
    are kept, its other crops are left out (Ji et al. 2020, supplement, equations 1 and 2). Query and gallery crops and
    crops without an identity are kept.

    Args:
        table: A table with identities and cameras. Without a split all its crops are training crops.
        seed: Seed of the random choice.

    Returns:
        The crops that are kept, in their order.

    Raises:
        ResightError: the table has no identities, no cameras, or no training crop with an identity.
    """
    rows, group = _training_groups(table)
    rng = np.random.default_rng([whole("The seed", seed, least=0, most=LARGEST_SEED), 0])
    identity = table.require("identity", "An unbalanced subset")[rows]
    _, first = np.unique(group, return_index=True)
    owner = np.unique(identity[first], return_inverse=True)[1].reshape(-1)  # of each group
    cameras = np.bincount(owner)
    kept = rng.integers(0, cameras + 1)
    chosen = _place_within(owner, rng) < kept[owner]
    return _without(table, rows[~chosen[group]])


def balanced_subset(table: CropTable, crops: int, seed: int = 0) -> CropTable:
    """Leaves out training crops evenly, for comparison with :func:`unbalanced_subset` at the same number of crops.

    The same share of each identity's crops in each camera is kept, to within one crop. With half of all crops this is
    the balanced set of Ji et al. 2020, supplement, section 3. Query and gallery crops and crops without an identity are
    kept.

    Args:
        table: A table with identities and cameras. Without a split all its crops are training crops.
        crops: Number of training crops with an identity to keep.
        seed: Seed of the random choice.

    Returns:
        The crops that are kept, in their order.

    Raises:
        ResightError: the table has no identities, no cameras, no training crop with an identity, or fewer than
            ``crops`` of these.
    """
    rows, group = _training_groups(table)
    crops = whole("The number of crops", crops, least=-(2**63))
    if not 0 <= crops <= len(rows):
        raise ResightError(
            f"{crops} crops were asked for, but there are {len(rows)} training crops with an identity: ask for 0 to "
            f"{len(rows)}."
        )
    rng = np.random.default_rng([whole("The seed", seed, least=0, most=LARGEST_SEED), 1])
    # The n crops of a group get heights (place + u) / n, evenly spread over 0 … 1: any threshold keeps an even share.
    height = (_place_within(group, rng) + rng.random(group.max() + 1)[group]) / np.bincount(group)[group]
    return _without(table, rows[np.argsort(height, kind="stable")[crops:]])


def _checked(table: CropTable) -> CropTable:
    return instance("table", table, CropTable, "read_crops makes one")


def _training_groups(table: CropTable) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training crops with an identity, and the number of each one's pair of identity and camera."""
    identity = _checked(table).require("identity", "Leaving out crops by identity and camera")
    camera = table.require("camera", "Leaving out crops by identity and camera")
    train = table.is_person if table.split is None else table.is_person & (table.split == TRAIN)
    rows = np.flatnonzero(train)
    if not len(rows):
        raise ResightError(
            f"The table read from {table.root} has no training crop with an identity, so there are none to leave out."
        )
    pairs = np.stack([identity[rows], camera[rows]])
    return rows, np.unique(pairs, axis=1, return_inverse=True)[1].reshape(-1)


def _place_within(group: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The place of each item, from 0, in a random order of its group."""
    order = np.lexsort((rng.random(len(group)), group))
    place = np.empty(len(group), np.int64)
    place[order] = np.arange(len(group)) - np.searchsorted(group[order], group[order])
    return place


def _without(table: CropTable, rows: np.ndarray) -> CropTable:
    kept = np.ones(len(table), dtype=bool)
    kept[rows] = False
    return table.select(kept)


def reference_crops(table: CropTable, identities: int | None = None) -> CropTable:
    """The crops with an identity, of all splits, for a method that also learns from a labelled source.

    Query and gallery crops are included, since a source is not scored.

    Args:
        table: A table with identities.
        identities: Number of identities to use, the first in the order of their numbers; all if not given.

    Returns:
        The crops, in their order.

    Raises:
        ResightError: the table has no identities, or fewer than two, or fewer than asked for.
    """
    identity = _checked(table).require("identity", "A source of labelled crops")
    if identities is not None:
        identities = whole("The number of identities of the source", identities, least=-(2**63))
    known = np.unique(identity[table.is_person])
    if len(known) < 2:
        raise ResightError(
            f"A source needs crops of at least two identities; those in {table.root} show {len(known)}. Identities "
            "count from 1: 0 is a distractor, -1 junk."
        )
    if identities is not None and not 2 <= identities <= len(known):
        raise ResightError(
            f"{identities} identities were asked for of the source in {table.root}, which has {len(known)}: choose 2 "
            f"to {len(known)}."
        )
    last = known[-1 if identities is None else identities - 1]
    return table.select(table.is_person & (identity <= last))
