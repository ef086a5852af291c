"""A search that processes share: the neighbours of each part of the crops are those of a search for all."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from resight.clustering.search import neighbours
from resight.clustering.search.device import search_on_device
from resight.clustering.search.exact import search_exact
from resight.clustering.search.inverted import search_approximate
from resight.clustering.search.products import Products
from resight.clustering.search.rows import UnitRows, unit_rows
from resight.common.processes import Processes

K = 7


@pytest.fixture(scope="module")
def rows() -> UnitRows:
    return unit_rows(np.random.default_rng(0).normal(size=(700, 24)).astype(np.float32))


def empty() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.full((700, K), -1, np.int32), np.full((700, K), -1, np.float32), np.full(700, -1, np.float32)


@pytest.mark.parametrize("on_device", [False, True])
def test_parts_of_an_exact_search_are_those_of_the_whole(rows: UnitRows, on_device: bool) -> None:
    whole, parts = empty(), empty()
    for found, shares in ((whole, [slice(0, 700)]), (parts, [slice(0, 233), slice(233, 466), slice(466, 700)])):
        for part in shares:
            if on_device:
                search_on_device(rows, *found, torch.device("cpu"), part=part)
            else:
                search_exact(rows, Products(rows), *found, tile_rows=64, part=part)
    for first, second in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(first, second)


def test_parts_of_an_approximate_search_are_those_of_the_whole(rows: UnitRows) -> None:
    whole, parts = empty(), empty()
    expected = search_approximate(rows, *whole[:2], recall=0.9)
    search_approximate(rows, *parts[:2], recall=0.9, part=slice(0, 300))
    found = search_approximate(rows, *parts[:2], recall=0.9, part=slice(300, 700), complete=lambda: None)
    assert found["recall"] == expected["recall"]
    np.testing.assert_array_equal(whole[0], parts[0])
    np.testing.assert_array_equal(whole[1], parts[1])


def test_processes_share_a_search_of_many_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each searches for its share and gets the others' from them."""
    features = np.random.default_rng(1).normal(size=(neighbours.SHARED_FROM, 8)).astype(np.float32)
    whole = neighbours.nearest_neighbours(features, K)

    class Second(Processes):
        rank, count = 1, 2

        def fill(self, array: np.ndarray, shares: list[slice]) -> None:
            complete = {np.dtype(np.int32): whole.indices, np.dtype(np.float32): whole.distances}[array.dtype]
            np.testing.assert_array_equal(array[shares[1]], complete[shares[1]])
            array[shares[0]] = complete[shares[0]]

    monkeypatch.setattr(neighbours, "current", Second)
    found = neighbours.nearest_neighbours(features, K)
    np.testing.assert_array_equal(found.indices, whole.indices)
    np.testing.assert_array_equal(found.distances, whole.distances)
