"""Batches of P clusters and K crops of each."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from resight.training.sampling import SamplingConfig, batches, crop_batches, num_batches, pk_batches, source_batches

#: Clusters of 1 to 12 crops, in no order, with a third of the crops outliers.
SIZES = {0: 5, 1: 1, 2: 12, 3: 4, 4: 2, 5: 7, 6: 3, 7: 9, 8: 4, 9: 6}


def shuffled_labels() -> np.ndarray:
    labels = np.repeat([*SIZES, -1], [*SIZES.values(), 25])
    return np.random.default_rng(0).permutation(labels)


def batches_of(
    labels: np.ndarray, config: SamplingConfig, seed: int = 0, camera: np.ndarray | None = None
) -> list[np.ndarray]:
    return list(pk_batches(labels, config, np.random.default_rng(seed), camera))


def groups(batch: np.ndarray, crops: int) -> np.ndarray:
    return batch.reshape(-1, crops)


@pytest.mark.parametrize(("clusters", "crops"), [(4, 3), (3, 8), (10, 4), (1, 1), (7, 2)])
def test_a_batch_is_p_distinct_clusters_of_k_crops(clusters: int, crops: int) -> None:
    labels = shuffled_labels()
    batches = batches_of(labels, SamplingConfig(clusters=clusters, crops=crops, iterations=40))
    assert len(batches) == 40
    for batch in batches:
        assert batch.dtype == np.int64
        of = labels[groups(batch, crops)]
        assert of.shape == (clusters, crops)
        assert (of == of[:, :1]).all()
        assert len(np.unique(of[:, 0])) == clusters
        assert (of >= 0).all()


@pytest.mark.parametrize("camera", [None, np.arange(78) % 3])
def test_small_clusters_give_every_crop_and_large_ones_no_crop_twice(camera: np.ndarray | None) -> None:
    labels = shuffled_labels()
    config = SamplingConfig(clusters=5, crops=6, iterations=30, cameras="none" if camera is None else "spread")
    for batch in batches_of(labels, config, camera=camera):
        for rows in groups(batch, 6):
            size = SIZES[labels[rows[0]]]
            assert len(np.unique(rows)) == min(6, size)


@pytest.mark.parametrize("clusters", [1, 3, 4, 7, 10])
def test_clusters_are_visited_equally_often_at_every_point_of_an_epoch(clusters: int) -> None:
    labels = shuffled_labels()
    seen: Counter[int] = Counter(dict.fromkeys(SIZES, 0))
    for batch in batches_of(labels, SamplingConfig(clusters=clusters, crops=2, iterations=50)):
        seen.update(labels[groups(batch, 2)[:, 0]].tolist())
        if clusters in (1, 10):  # the rounds end with a batch, or a batch holds them all
            assert max(seen.values()) - min(seen.values()) <= 1
    assert max(seen.values()) - min(seen.values()) <= 1
    assert sum(seen.values()) == 50 * clusters


def test_fewer_clusters_than_p_all_come() -> None:
    labels = np.array([0, 1, 1, -1, 2, 2, 0, 1])
    for batch in batches_of(labels, SamplingConfig(clusters=16, crops=2, iterations=5)):
        assert sorted(labels[groups(batch, 2)[:, 0]]) == [0, 1, 2]


def test_every_crop_of_a_large_cluster_has_its_turn() -> None:
    labels = np.zeros(50, dtype=np.int64)
    batches = batches_of(labels, SamplingConfig(clusters=1, crops=5, iterations=200))
    counts = np.bincount(np.concatenate(batches), minlength=50)
    # 1000 draws over 50 crops: 20 each, with a standard deviation of 4.2.
    assert counts.min() > 4
    assert counts.max() < 40


def test_the_seed_settles_everything() -> None:
    labels, config = shuffled_labels(), SamplingConfig(clusters=4, crops=4, iterations=20)
    first, again, other = (np.stack(batches_of(labels, config, seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_cameras_are_not_looked_at_unless_asked() -> None:
    labels, config = shuffled_labels(), SamplingConfig(clusters=4, crops=4, iterations=20)
    without = np.stack(batches_of(labels, config))
    for camera in (np.zeros(len(labels)), np.arange(len(labels)), np.arange(len(labels)) % 2):
        assert np.array_equal(np.stack(batches_of(labels, config, camera=camera)), without)


def test_preferred_companions_are_those_of_other_cameras() -> None:
    labels = shuffled_labels()
    camera = np.random.default_rng(1).choice([0, 0, 0, 1, 2], len(labels))
    config = SamplingConfig(clusters=6, crops=4, iterations=60, cameras="spread")
    checked = 0
    for batch in batches_of(labels, config, camera=camera):
        for rows in groups(batch, 4):
            members = np.flatnonzero(labels == labels[rows[0]])
            elsewhere = int((camera[members] != camera[rows[0]]).sum())
            other = camera[rows[1:]] != camera[rows[0]]
            drawn_once = min(3, len(members) - 1)  # what is left of K is drawn from all of a small cluster again
            expected = [place < elsewhere for place in range(drawn_once)]
            assert other[:drawn_once].tolist() == expected
            checked += 0 < elsewhere < drawn_once
    assert checked > 10  # clusters that had some companions elsewhere, and too few


def test_crops_in_random_order_come_once_a_round_and_never_twice_in_a_batch() -> None:
    labels = shuffled_labels()
    config = SamplingConfig(order="crops", clusters=5, crops=2, iterations=27)
    drawn = list(crop_batches(labels, config, np.random.default_rng(0)))
    assert len(drawn) == 27
    seen: Counter[int] = Counter(dict.fromkeys(np.flatnonzero(labels >= 0).tolist(), 0))
    for batch in drawn:
        assert len(np.unique(batch)) == len(batch) == 10
        assert batch.dtype == np.int64
        seen.update(batch.tolist())
        assert max(seen.values()) - min(seen.values()) <= 2
    assert sum(seen.values()) == 270
    assert max(seen.values()) - min(seen.values()) <= 1
    assert (labels[list(seen)] >= 0).all()


def test_a_pass_over_the_crops_leaves_out_the_last_batch_that_is_not_full() -> None:
    labels = shuffled_labels()  # 53 crops with a label
    config = SamplingConfig(order="crops", clusters=10, crops=1, iterations=0)
    drawn = list(batches(labels, config, np.random.default_rng(0)))
    assert num_batches(labels, config) == len(drawn) == 5
    assert len(np.unique(np.concatenate(drawn))) == 50
    whole = list(batches(np.zeros(7, np.int64), config, np.random.default_rng(0)))
    assert [sorted(batch.tolist()) for batch in whole] == [list(range(7))]


def test_a_pass_in_clusters_has_as_many_batches_as_hold_the_crops_once() -> None:
    config = SamplingConfig(clusters=4, crops=3, iterations=0)
    assert len(list(batches(shuffled_labels(), config, np.random.default_rng(0)))) == 53 // 12


def test_the_order_chooses_the_sampler() -> None:
    labels, config = shuffled_labels(), SamplingConfig(clusters=4, crops=3, iterations=2)
    by_cluster = np.concatenate(list(batches(labels, config, np.random.default_rng(0))))
    assert np.array_equal(by_cluster, np.concatenate(batches_of(labels, config)))
    by_crop = np.concatenate(
        list(batches(labels, config.model_copy(update={"order": "crops"}), np.random.default_rng(0)))
    )
    assert len(np.unique(by_crop)) == 24


@pytest.mark.parametrize(("source_crops", "width"), [(None, 12), (5, 5), (50, 30)])
def test_a_source_comes_in_rounds_beside_the_batches(source_crops: int | None, width: int) -> None:
    config = SamplingConfig(order="crops", clusters=12, crops=1, source_crops=source_crops)
    drawn = list(source_batches(30, config, 20, np.random.default_rng(0)))
    seen: Counter[int] = Counter(dict.fromkeys(range(30), 0))
    for rows in drawn:
        assert len(np.unique(rows)) == len(rows) == width
        seen.update(rows.tolist())
    assert len(drawn) == 20
    assert len(seen) == 30
    assert max(seen.values()) - min(seen.values()) <= 2


def public_code(labels: np.ndarray, clusters: int, crops: int, rng: np.random.Generator) -> list[list[int]]:
    """One round of the public sampler without cameras: clusters in random order, then batches without the rest."""
    order: list[int] = []
    for cluster in rng.permutation(labels.max() + 1):
        members = np.flatnonzero(labels == cluster)
        first = rng.choice(members)
        others = members[members != first]
        order += [first, *rng.choice(others, crops - 1, replace=len(others) < crops)]
    size = clusters * crops
    return [order[start : start + size] for start in range(0, len(order) - size + 1, size)]


def test_draws_as_spcl_are_as_frequent_as_those_of_the_public_sampler() -> None:
    labels = np.repeat(np.arange(7), [2, 3, 4, 5, 6, 9, 12])
    config = SamplingConfig(clusters=3, crops=4, iterations=2, draws="spcl")
    rng = np.random.default_rng(0)
    found, expected = np.zeros(len(labels)), np.zeros(len(labels))
    repeats = []
    for _ in range(4000):
        for batch in pk_batches(labels, config, rng):
            found += np.bincount(batch, minlength=len(labels))
            repeats.append(len(batch) - len(set(batch)))
        for batch in public_code(labels, 3, 4, rng):
            expected += np.bincount(batch, minlength=len(labels))
    assert np.abs(found / expected - 1).max() < 0.06
    assert max(repeats) > 0


def test_draws_as_spcl_leave_out_what_a_round_leaves_over() -> None:
    labels = np.repeat(np.arange(5), 4)
    config = SamplingConfig(clusters=2, crops=2, iterations=40, draws="spcl")
    drawn = [set(labels[batch]) for batch in pk_batches(labels, config, np.random.default_rng(0))]
    assert len(drawn) == 40
    for first, second in zip(drawn[::2], drawn[1::2], strict=True):
        assert len(first) == len(second) == 2
        assert not first & second


def test_draws_as_spcl_with_fewer_clusters_than_p() -> None:
    labels = np.array([0, 0, 1, 1, 1])
    config = SamplingConfig(clusters=4, crops=2, iterations=3, draws="spcl")
    drawn = list(pk_batches(labels, config, np.random.default_rng(0)))
    assert [len(batch) for batch in drawn] == [4, 4, 4]
