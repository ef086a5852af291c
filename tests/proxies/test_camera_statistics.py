"""Running statistics over cameras against numpy, camera by camera."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from resight.proxies import CameraStatistics


def over_cameras(values: np.ndarray, camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    groups = [rows for number in np.unique(camera) if len(rows := values[camera == number]) > 1]
    return np.mean([g.mean(0) for g in groups], 0), np.mean([g.std(0, ddof=1) for g in groups], 0)


@pytest.mark.parametrize("block", [1, 7, 100])
def test_starts_from_all_crops_and_moves_by_the_rate(block: int) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(-8, 2, (60, 5)).astype(np.float32)
    camera = np.r_[rng.integers(0, 3, 59), 3]  # the last camera has a single crop
    statistics = CameraStatistics(0.25)
    statistics.reset(torch.from_numpy(values).split(block), torch.from_numpy(camera), 4)
    mean, std = over_cameras(values, camera)
    assert np.allclose(statistics.mean, mean, atol=1e-5)
    assert np.allclose(statistics.std, std, atol=1e-5)
    batch, seen = values[20:30] + 1, camera[20:30]
    moved = statistics.moved(torch.from_numpy(batch), torch.from_numpy(seen), 4)
    assert np.allclose(statistics.mean, mean, atol=1e-5)  # not kept yet
    statistics.update(*moved)
    new = over_cameras(batch, seen)
    assert np.allclose(statistics.mean, 0.75 * mean + 0.25 * new[0], atol=1e-5)
    assert np.allclose(statistics.std, 0.75 * std + 0.25 * new[1], atol=1e-5)


def test_a_batch_of_single_crops_moves_nothing() -> None:
    statistics = CameraStatistics(0.5)
    statistics.reset([torch.randn(6, 2)], torch.tensor([0, 0, 0, 1, 1, 1]), 2)
    moved = statistics.moved(torch.randn(2, 2), torch.tensor([0, 1]), 2)
    assert torch.equal(moved[0], statistics.mean)
    assert torch.equal(moved[1], statistics.std)


def test_one_crop_a_camera_starts_from_nothing() -> None:
    statistics = CameraStatistics()
    statistics.reset([torch.randn(2, 2)], torch.tensor([0, 1]), 2)
    assert statistics.mean.tolist() == statistics.std.tolist() == [0, 0]
