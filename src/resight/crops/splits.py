"""Dividing a labelled table by identity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from resight.crops.table import GALLERY, QUERY, TRAIN, UNLABELLED, CropTable
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
