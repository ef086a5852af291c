"""How the crops of a cluster are chosen by camera: the two samplers, and the former name of the setting."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from resight.errors import ResightError
from resight.methods import METHODS
from resight.training.config import build_config
from resight.training.data import camera_use
from resight.training.sampling import SamplingConfig, pk_batches

DRAWS = 6000


def spcl(members: list[int], camera: list[int], count: int) -> list[int]:
    """SpCL's sampler as its public code does it, for one cluster."""
    first = random.choice(members)
    elsewhere = [crop for crop in members if camera[crop] != camera[first]]
    pool = elsewhere or [crop for crop in members if crop != first]
    if len(pool) >= count:
        return [first, *random.sample(pool, count - 1)]
    return [first, *random.choices(pool, k=count - 1)]


def ours(cameras: str, camera: list[int], count: int) -> Callable[[], list[int]]:
    config = SamplingConfig(clusters=1, crops=count, iterations=DRAWS, cameras=cameras)  # type: ignore[arg-type]
    drawn = pk_batches(np.zeros(len(camera), np.int64), config, np.random.default_rng(0), np.array(camera))
    return lambda: next(drawn).tolist()


#: Cameras of a cluster's crops, and K.
CLUSTERS = [
    pytest.param([0, 0, 0, 1, 1, 2], 4, id="one crop has too few elsewhere, another has enough"),
    pytest.param([0, 0, 0, 0, 1, 1, 1], 4, id="exactly K - 1 elsewhere: with repetition, as the public code"),
    pytest.param([3, 3, 3, 3, 3, 3], 3, id="one camera, enough crops"),
    pytest.param([3, 3, 3], 8, id="one camera, too few crops"),
    pytest.param([0, 1], 8, id="one crop in each of two cameras"),
]


@pytest.mark.parametrize(("camera", "count"), CLUSTERS)
def test_spcl_draws_as_often_as_the_slow_reference(camera: list[int], count: int) -> None:
    random.seed(0)
    draw, members = ours("spcl", camera, count), list(range(len(camera)))

    def summary(crops: list[int]) -> tuple[int, int, int]:
        """The first crop, distinct crops, and companions from its camera: what the samplers differ in."""
        return crops[0], len(set(crops)), sum(camera[crop] == camera[crops[0]] for crop in crops[1:])

    found = Counter(summary(draw()) for _ in range(DRAWS))
    expected = Counter(summary(spcl(members, camera, count)) for _ in range(DRAWS))
    # a count of n differs from another by √(2n) in one standard deviation
    assert all(abs(found[key] - expected[key]) <= 5 * (2 * max(expected[key], 8)) ** 0.5 for key in found | expected)


@pytest.mark.parametrize(("camera", "count"), CLUSTERS)
def test_each_possible_companion_is_as_likely_as_another(camera: list[int], count: int) -> None:
    draw, chosen = ours("spcl", camera, count), Counter[tuple[int, int]]()
    for _ in range(DRAWS):
        first, *others = draw()
        chosen.update((first, crop) for crop in others)
    for first in range(len(camera)):
        elsewhere = [crop for crop in range(len(camera)) if camera[crop] != camera[first]]
        pool = elsewhere or [crop for crop in range(len(camera)) if crop != first]
        counts = [chosen[first, crop] for crop in pool]
        mean = DRAWS * (count - 1) / len(camera) / len(pool)
        assert sum(counts) == sum(chosen[first, crop] for crop in range(len(camera)))
        assert all(abs(n - mean) < 6 * mean**0.5 for n in counts)


def test_the_samplers_differ_where_other_cameras_have_too_few() -> None:
    camera = [0, 0, 0, 0, 0, 1]
    for cameras, own in (("spread", {2}), ("spcl", {0})):
        draw = ours(cameras, camera, 4)
        drawn = [crops for crops in (draw() for _ in range(200)) if camera[crops[0]] == 0]
        assert {sum(camera[crop] == 0 for crop in crops[1:]) for crops in drawn} == own
        assert all(len(set(crops)) == (4 if cameras == "spread" else 2) for crops in drawn)


def test_a_crop_alone_in_its_cluster_fills_its_place() -> None:
    assert ours("spcl", [2], 5)() == [0] * 5


@pytest.mark.parametrize(("before", "now"), [("true", "spread"), ("false", "none"), ("spcl", "spcl")])
def test_the_former_name_is_understood(before: str, now: str) -> None:
    config = build_config("cluster_contrast", None, [f"sampling.prefer_other_cameras={before}"])
    assert config.sampling.cameras == now
    assert config == build_config("cluster_contrast", None, [f"sampling.cameras={now}"])
    saved = config.sampling.model_dump() | {"prefer_other_cameras": before == "true"}
    del saved["cameras"]
    assert SamplingConfig.model_validate(saved).cameras == ("spread" if before == "true" else "none")


def test_another_name_is_refused() -> None:
    with pytest.raises(ResightError, match=r"sampling\.cameras='all' is not possible"):
        build_config("cluster_contrast", None, ["sampling.cameras=all"])


@pytest.mark.parametrize("cameras", ["none", "spread", "spcl"])
def test_the_use_of_cameras_is_declared(cameras: str) -> None:
    config = build_config("dcmip", None, [f"sampling.cameras={cameras}"])
    used = camera_use(config, METHODS["dcmip"].needs(config.method))
    assert used == (() if cameras == "none" else ("sampling.cameras",))


def test_with_balance_proxies_a_batch_holds_crops_of_one_cluster_in_one_camera() -> None:
    rng = np.random.default_rng(1)
    labels, camera = rng.integers(-1, 5, 200), rng.integers(0, 3, 200)
    config = SamplingConfig(balance="proxies", clusters=4, crops=3, iterations=60)
    drawn: Counter[tuple[int, int]] = Counter()
    for batch in pk_batches(labels, config, np.random.default_rng(0), camera):
        for unit in batch.reshape(4, 3):
            assert len(set(unit.tolist())) == 3
            assert len({(labels[crop], camera[crop]) for crop in unit}) == 1
            drawn[int(labels[unit[0]]), int(camera[unit[0]])] += 1
    assert set(drawn) == {(label, of) for label, of in zip(labels.tolist(), camera.tolist(), strict=True) if label >= 0}
    assert set(drawn.values()) == {240 // 15}


def test_even_draws_one_crop_of_each_camera_in_turn() -> None:
    camera = np.array([0] * 20 + [1] * 2 + [2] * 5)
    config = SamplingConfig(clusters=1, crops=8, iterations=50, cameras="even")
    first = set()
    for batch in pk_batches(np.zeros(27, np.int64), config, np.random.default_rng(0), camera):
        assert len(set(batch.tolist())) == 8
        assert [sorted(camera[batch[start : start + 3]].tolist()) for start in (0, 3)] == [[0, 1, 2]] * 2
        assert sorted(camera[batch[6:]].tolist()) == [0, 2]
        first.add(int(camera[batch[0]]))
    assert first == {0, 1, 2}


def test_tracks_spread_draws_one_crop_of_each_track_first() -> None:
    track = np.array([5] * 10 + [7] * 3 + [2] * 1)
    camera = np.array([0] * 10 + [1] * 4)
    for cameras in ("none", "spread"):
        config = SamplingConfig(clusters=1, crops=4, iterations=50, tracks="spread", cameras=cameras)  # type: ignore[arg-type]
        for batch in pk_batches(np.zeros(14, np.int64), config, np.random.default_rng(0), camera, track):
            assert sorted(track[batch[:3]].tolist()) == [2, 5, 7]
            assert len(set(batch.tolist())) == 4


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ResightError, match="cameras=none"):
        build_config("cluster_contrast", "cameras", {"sampling.balance": "proxies"})
    with pytest.raises(ResightError, match="tracks=none"):
        build_config("cluster_contrast", "market1501", {"sampling.tracks": "spread"})
    config = build_config("cluster_contrast", "default", {"sampling.balance": "proxies"})
    assert camera_use(config, METHODS["cluster_contrast"].needs(config.method)) == ("sampling.balance",)
