"""Dividing a labelled table by identity, and thinning it out by identity and camera."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from resight.common.identities import UNLABELLED
from resight.crops.table import GALLERY, QUERY, TRAIN, CropTable
from resight.errors import ResightError


def identity_split(table: CropTable, train: int) -> CropTable:
    """Divide a table into training and test identities.

    People in the order of their codes: the first ``train`` are train, the others test. Of each test identity the
    first path (in text order) in each camera is a query, the rest gallery; without cameras there is one query an
    identity. Junk and distractors go to the gallery, crops no one labelled to train.

    Args:
        table: A table with identities. A split it has is replaced.
        train: How many identities train.

    Returns:
        The same rows with the column ``split``.

    Raises:
        ResightError: the table has no identities, or ``train`` leaves none to train or none to test.
    """
    identity = table.require("identity", "A split by identity")
    person = table.is_person
    people = np.unique(identity[person])
    if not 1 <= train < len(people):
        raise ResightError(
            f"{train} training identities were asked for, but the table read from {table.root} has {len(people)} "
            f"people: choose {f'1 to {len(people) - 1}' if len(people) > 1 else 'a table with more'}, so that some "
            "train and some test."
        )
    split = np.full(len(table), GALLERY, dtype=f"<U{max(map(len, (TRAIN, QUERY, GALLERY)))}")
    split[(identity == UNLABELLED) | (person & (identity < people[train]))] = TRAIN
    test = np.flatnonzero(person & (identity >= people[train]))
    test = test[np.argsort(np.array([table.paths[row] for row in test]), kind="stable")]
    camera = np.zeros(len(table), dtype=np.int64) if table.camera is None else table.camera
    _, first = np.unique(np.stack([identity[test], camera[test]]), axis=1, return_index=True)
    split[test[first]] = QUERY
    return replace(table, split=split)


def unbalanced_subset(table: CropTable, seed: int = 0) -> CropTable:
    """Thin out training crops as a biased collection would: of each identity, what some of its cameras saw.

    Of a person seen by R cameras, S are kept with S uniform in 0 … R, each camera with all its crops (Ji et al. 2020,
    supplement, equations 1 and 2). Query, gallery and crops of no person stay.

    Args:
        table: A table with identities and cameras; without a split, all of it is thinned out.
        seed: Of the draw.

    Returns:
        The rows that are left, in their order.

    Raises:
        ResightError: the table lacks identities or cameras, or nobody's training crops.
    """
    rows, group = _training_groups(table)
    rng = np.random.default_rng([seed, 0])
    identity = table.require("identity", "An unbalanced subset")[rows]
    _, first = np.unique(group, return_index=True)
    person = np.unique(identity[first], return_inverse=True)[1].reshape(-1)  # of each group
    cameras = np.bincount(person)
    kept = rng.integers(0, cameras + 1)
    chosen = _place_within(person, rng) < kept[person]
    return _without(table, rows[~chosen[group]])


def balanced_subset(table: CropTable, crops: int, seed: int = 0) -> CropTable:
    """Thin out training crops evenly: the same share of each identity's crops in each camera, to within one crop.

    The counterpart of :func:`unbalanced_subset` at the same number of crops; with half of them this is the balanced
    set of Ji et al. 2020, supplement, section 3.

    Args:
        table: As there.
        crops: How many crops of people are left to train.
        seed: Of the draw.

    Returns:
        The rows that are left, in their order.

    Raises:
        ResightError: as there, or there are not so many crops.
    """
    rows, group = _training_groups(table)
    if not 0 <= crops <= len(rows):
        raise ResightError(f"{crops} crops were asked for, but {len(rows)} of people are there to train.")
    rng = np.random.default_rng([seed, 1])
    # The crops of a group of n stand evenly between 0 and 1, at (place + u) / n: so does any share of them.
    height = (_place_within(group, rng) + rng.random(group.max() + 1)[group]) / np.bincount(group)[group]
    return _without(table, rows[np.argsort(height, kind="stable")[crops:]])


def _training_groups(table: CropTable) -> tuple[np.ndarray, np.ndarray]:
    """Rows of training crops of people, and the number of each one's identity-camera pair, identities in order."""
    identity = table.require("identity", "Thinning out by identity and camera")
    camera = table.require("camera", "Thinning out by identity and camera")
    train = table.is_person if table.split is None else table.is_person & (table.split == TRAIN)
    rows = np.flatnonzero(train)
    if not len(rows):
        raise ResightError(f"The table read from {table.root} has no training crops of people to thin out.")
    pairs = np.stack([identity[rows], camera[rows]])
    return rows, np.unique(pairs, axis=1, return_inverse=True)[1].reshape(-1)


def _place_within(group: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The place of each item, from 0, in a random order of its own group."""
    order = np.lexsort((rng.random(len(group)), group))
    place = np.empty(len(group), np.int64)
    place[order] = np.arange(len(group)) - np.searchsorted(group[order], group[order])
    return place


def _without(table: CropTable, rows: np.ndarray) -> CropTable:
    kept = np.ones(len(table), dtype=bool)
    kept[rows] = False
    return table.select(kept)


def reference_crops(table: CropTable, identities: int | None = None) -> CropTable:
    """The labelled crops of people to learn from, for a method that learns from a source beside its own crops.

    Test crops are among them, since a source is never scored; junk, distractors and crops no one labelled are not.

    Args:
        table: A table with identities.
        identities: How many people, the first in the order of their codes; all if not given.

    Raises:
        ResightError: the table has no identities, or fewer people than two or than asked for.
    """
    identity = table.require("identity", "A source of labelled crops")
    people = np.unique(identity[table.is_person])
    if len(people) < 2:
        raise ResightError(
            f"A source needs crops of at least two people with an identity; those in {table.root} show {len(people)}. "
            "Identities count from 1: 0 is a distractor, -1 junk."
        )
    if identities is not None and not 2 <= identities <= len(people):
        raise ResightError(
            f"{identities} identities were asked for of the source in {table.root}, which has {len(people)}: choose 2 "
            f"to {len(people)}."
        )
    last = people[-1 if identities is None else identities - 1]
    return table.select(table.is_person & (identity <= last))
