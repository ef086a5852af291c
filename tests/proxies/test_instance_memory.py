"""The memory of instance proxies against its definition, one crop after another."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from resight.proxies import InstanceMemory


def some(rows: int, seed: int, dim: int = 5) -> Tensor:
    return F.normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)))


def rows_of(memory: InstanceMemory, features: Tensor) -> list[list[int]]:
    """Which crop each proxy is."""
    equal = (memory.proxies[:, :, None] == features).all(3)
    assert (equal.sum(2) == 1).all()
    return equal.float().argmax(2).tolist()


def test_reset_draws_each_clusters_crops_evenly_and_no_outlier() -> None:
    labels = torch.tensor([0] * 9 + [1] * 4 + [-1] * 5 + [2] * 3 + [3])[torch.randperm(22)]
    features = some(22, 0)
    torch.manual_seed(0)
    memory = InstanceMemory(4)
    memory.reset(features, labels)
    assert memory.proxies.shape == (4, 4, 5)
    for cluster, drawn in enumerate(rows_of(memory, features)):
        assert all(labels[row] == cluster for row in drawn)
    counts = [sorted(Counter(drawn).values()) for drawn in rows_of(memory, features)]
    assert counts == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 2], [4]]


def test_reset_draws_at_random_and_the_same_for_a_seed() -> None:
    labels, features = torch.zeros(30, dtype=torch.int64), some(30, 0)
    drawn = []
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        memory = InstanceMemory(8)
        memory.reset(features, labels)
        drawn.append(rows_of(memory, features)[0])
    assert drawn[0] == drawn[2] != drawn[1]
    seen = Counter()
    for seed in range(300):
        torch.manual_seed(seed)
        memory.reset(features, labels)
        seen.update(rows_of(memory, features)[0])
    assert all(40 < seen[row] < 130 for row in range(30))  # 80 expected


def one_after_another(proxies: Tensor, batches: list[tuple[Tensor, list[int]]]) -> Tensor:
    """Each cluster's proxies as a queue: a crop takes the place of the one that has been there longest."""
    proxies = proxies.clone()
    order = [list(range(proxies.shape[1])) for _ in proxies]
    for features, labels in batches:
        for feature, label in zip(features, labels, strict=True):
            place = order[label].pop(0)
            proxies[label, place] = feature
            order[label].append(place)
    return proxies


@pytest.mark.parametrize("size", [1, 3, 4, 16])
def test_update_equals_the_definition(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    everything = torch.arange(40) % 5
    memory = InstanceMemory(size)
    memory.reset(some(40, 0), everything)
    before, batches = memory.proxies.clone(), []
    for seed in range(12):
        # of five clusters four, in no order: some with a single crop, some with more than K
        labels = torch.multinomial(torch.tensor([0.6, 0.2, 0.15, 0.05]), 3 + 2 * seed, True, generator=generator)
        features = some(len(labels), 100 + seed)
        memory.update(features, labels)
        batches.append((features, labels.tolist()))
        assert torch.equal(memory.proxies, one_after_another(before, batches))
    assert torch.equal(memory.proxies[4], before[4])


def test_as_many_crops_as_proxies_replace_them_all_and_of_more_the_last_stay() -> None:
    memory = InstanceMemory(4)
    memory.reset(some(8, 0), torch.arange(8) % 2)
    for count in (4, 7):
        features = some(count, count)
        memory.update(features, torch.zeros(count, dtype=torch.int64))
        assert {tuple(row.tolist()) for row in memory.proxies[0]} == {tuple(row.tolist()) for row in features[-4:]}


def test_update_takes_no_part_in_the_gradient_and_stays_in_float32() -> None:
    memory = InstanceMemory(2)
    memory.reset(some(6, 0), torch.arange(6) % 3)
    memory.update(some(4, 1).bfloat16().requires_grad_(), torch.tensor([0, 1, 1, 0]))
    assert not memory.proxies.requires_grad
    assert memory.proxies.dtype == torch.float32


def test_it_is_no_part_of_a_checkpoint() -> None:
    memory = InstanceMemory(2)
    memory.reset(some(6, 0), torch.arange(6) % 3)
    assert not memory.state_dict()
