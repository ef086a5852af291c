"""The cluster memory against its definition, one crop after another."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from resight.proxies import ClusterMemory, cluster_means
from resight.proxies.cluster_memory import UpdateRule, rank_within_cluster

#: A batch whose identities come back in no order; cluster 3 is not in it.
LABELS = [2, 0, 2, 1, 0, 2, 4, 2, 1, 0]


def some(rows: int, seed: int, dim: int = 5) -> Tensor:
    return F.normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)))


def memory_of(centroids: Tensor, momentum: float, rule: UpdateRule) -> ClusterMemory:
    memory = ClusterMemory(momentum, rule)
    memory.centroids = centroids.clone()
    return memory


def one_after_another(memory: Tensor, features: Tensor, labels: list[int], momentum: float, rule: str) -> Tensor:
    memory = memory.clone()
    if rule == "each":
        targets = list(zip(labels, features, strict=True))
    else:
        targets = []
        for label in sorted(set(labels)):
            own = [f for f, y in zip(features, labels, strict=True) if y == label]
            hardest = min(own, key=lambda f: (f @ memory[label]).item())
            targets.append((label, hardest if rule == "hard" else sum(own) / len(own)))
    for label, target in targets:
        moved = momentum * memory[label] + (1 - momentum) * target
        memory[label] = moved / moved.norm()
    return memory


@pytest.mark.parametrize("rule", ["each", "hard", "mean"])
@pytest.mark.parametrize("momentum", [0.1, 0.7])
def test_update_equals_the_definition(rule: UpdateRule, momentum: float) -> None:
    centroids, features = some(5, 0), some(10, 1)
    memory = memory_of(centroids, momentum, rule)
    memory.update(features, torch.tensor(LABELS))
    torch.testing.assert_close(memory.centroids, one_after_another(centroids, features, LABELS, momentum, rule))
    assert torch.equal(memory.centroids[3], centroids[3])


def test_order_within_a_cluster_matters() -> None:
    centroids, features = some(1, 0), some(3, 1)
    forward, backward = memory_of(centroids, 0.5, "each"), memory_of(centroids, 0.5, "each")
    forward.update(features, torch.zeros(3, dtype=torch.int64))
    backward.update(features.flip(0), torch.zeros(3, dtype=torch.int64))
    assert not torch.allclose(forward.centroids, backward.centroids, atol=1e-3)


@pytest.mark.parametrize("rule", ["each", "hard", "mean"])
def test_momentum_1_keeps_and_momentum_0_replaces(rule: UpdateRule) -> None:
    centroids, features = some(5, 0), some(10, 1)
    kept = memory_of(centroids, 1.0, rule)
    kept.update(features, torch.tensor(LABELS))
    torch.testing.assert_close(kept.centroids, centroids)
    replaced = memory_of(centroids, 0.0, rule)
    replaced.update(features, torch.tensor(LABELS))
    last_of_2, only_of_4 = features[7], features[6]
    torch.testing.assert_close(replaced.centroids[4], only_of_4)
    if rule == "each":
        torch.testing.assert_close(replaced.centroids[2], last_of_2)


def test_hard_takes_the_first_of_equal_crops() -> None:
    centroids = torch.tensor([[1.0, 0.0]])
    features = F.normalize(torch.tensor([[3.0, 4.0], [3.0, -4.0], [4.0, 3.0]]))
    memory = memory_of(centroids, 0.0, "hard")
    memory.update(features, torch.zeros(3, dtype=torch.int64))
    torch.testing.assert_close(memory.centroids[0], features[0])


def test_update_takes_no_part_in_the_gradient() -> None:
    memory = memory_of(some(5, 0), 0.1, "each")
    memory.update(some(10, 1).requires_grad_(), torch.tensor(LABELS))
    assert not memory.centroids.requires_grad


def test_update_of_low_precision_features_keeps_the_memory_in_float32() -> None:
    memory = memory_of(some(5, 0), 0.1, "each")
    memory.update(some(10, 1).bfloat16(), torch.tensor(LABELS))
    assert memory.centroids.dtype == torch.float32


def test_reset_is_the_normalised_mean_without_outliers() -> None:
    features, labels = some(7, 0) * 3, [1, -1, 0, 1, 2, -1, 1]
    memory = ClusterMemory()
    memory.reset(features, torch.tensor(labels))
    assert len(memory) == 3
    for cluster, centroid in enumerate(memory.centroids):
        mean = sum(f for f, y in zip(features, labels, strict=True) if y == cluster)
        torch.testing.assert_close(centroid, mean / mean.norm())


def test_cluster_means() -> None:
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
    found = cluster_means(features, torch.tensor([1, -1, 1, 0]), 3)
    assert found.tolist() == [[7.0, 8.0], [3.0, 4.0], [0.0, 0.0]]


def test_rank_within_cluster_counts_those_before() -> None:
    labels = [*LABELS, 9, 0]
    expected = [labels[:place].count(label) for place, label in enumerate(labels)]
    assert rank_within_cluster(torch.tensor(labels)).tolist() == expected


def test_rank_within_cluster_at_random() -> None:
    for seed in range(20):
        labels = torch.randint(0, 6, (1 + 3 * seed,), generator=torch.Generator().manual_seed(seed)).tolist()
        expected = [labels[:place].count(label) for place, label in enumerate(labels)]
        assert rank_within_cluster(torch.tensor(labels)).tolist() == expected


def test_state_of_another_number_of_clusters_loads() -> None:
    saved = memory_of(some(7, 0), 0.1, "each").state_dict()
    for memory in (ClusterMemory(), memory_of(some(3, 1), 0.1, "each")):
        outer = torch.nn.ModuleDict({"memory": memory})
        outer.load_state_dict({f"memory.{name}": value for name, value in saved.items()})
        assert torch.equal(memory.centroids, saved["centroids"])
        memory.update(some(1, 2), torch.tensor([6]))  # a copy: the saved state is not moved
        assert not torch.equal(memory.centroids, saved["centroids"])


def test_state_without_centroids_is_refused() -> None:
    with pytest.raises(RuntimeError, match="centroids"):
        ClusterMemory().load_state_dict({})
