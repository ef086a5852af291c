"""Scoring by the split column."""

import subprocess
import sys

import numpy as np
import pytest

from resight.common.identities import UNLABELLED
from resight.errors import ResightError
from resight.evaluation import RerankOptions, evaluate_retrieval, evaluate_splits


def table(seed=0, size=120):
    rng = np.random.default_rng(seed)
    split = rng.choice(["train", "query", "gallery"], size, p=[0.3, 0.2, 0.5])
    identity = rng.integers(1, 9, size)
    identity[(split == "gallery") & (rng.random(size) < 0.2)] = -1
    identity[(split == "gallery") & (rng.random(size) < 0.2)] = 0
    identity[split == "train"] = UNLABELLED  # no one asks about these
    features = rng.normal(size=(size, 6))
    features[split == "train"] = np.nan
    return features, identity, rng.integers(0, 3, size), split


@pytest.mark.parametrize("with_camera", [True, False])
@pytest.mark.parametrize("options", [{}, {"ap": "trapezoidal", "max_rank": 5}, {"rerank": RerankOptions(k1=5, k2=2)}])
def test_picks_query_and_gallery(with_camera, options):
    features, identity, camera, split = table()
    query, gallery = np.flatnonzero(split == "query"), np.flatnonzero(split == "gallery")
    cameras = (camera[query], camera[gallery]) if with_camera else ()
    expected = evaluate_retrieval(
        features[query], features[gallery], identity[query], identity[gallery], *cameras, **options
    )
    result = evaluate_splits(features, identity, camera if with_camera else None, split, **options)
    assert result.to_dict() == expected.to_dict()
    assert result.num_queries == len(query)
    assert result.gallery_size == len(gallery)
    assert result.camera_rule is with_camera


def test_identities_are_needed():
    features, _, camera, split = table()
    with pytest.raises(ResightError, match="no identities to score against"):
        evaluate_splits(features, None, camera, split)


def test_a_split_is_needed():
    features, identity, camera, _ = table()
    with pytest.raises(ResightError, match="column 'split'"):
        evaluate_splits(features, identity, camera, None)


@pytest.mark.parametrize("missing", ["query", "gallery"])
def test_both_sets_are_needed(missing):
    features, identity, camera, split = table()
    split[split == missing] = "train"
    with pytest.raises(ResightError, match=f"in the split '{missing}': the column 'split' holds '"):
        evaluate_splits(features, identity, camera, split)


@pytest.mark.parametrize("name", ["query", "gallery"])
def test_unlabelled_crops_are_named(name):
    features, identity, camera, split = table()
    row = np.flatnonzero(split == name)[2]
    identity[row] = UNLABELLED
    with pytest.raises(ResightError, match=f"split '{name}' have no identity, the first in row {row}"):
        evaluate_splits(features, identity, camera, split)


@pytest.mark.parametrize("column", [0, 1, 2])
def test_columns_must_fit(column):
    features, *columns = table()
    columns[column] = columns[column][:-1]
    with pytest.raises(ResightError, match="one value per crop"):
        evaluate_splits(features, *columns)


def test_import_is_cheap():
    code = (
        "import resight.evaluation, sys; print([m for m in ('torch', 'scipy', 'sklearn', 'numba') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
