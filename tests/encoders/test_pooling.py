"""Pooling: average, maximum, and the generalised mean between them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from resight.encoders.pooling import AveragePooling, GeMPooling, MaxPooling, stripes


@pytest.fixture
def maps() -> torch.Tensor:
    return torch.rand(3, 5, 4, 2, generator=torch.Generator().manual_seed(0)) + 0.1


def test_average_and_maximum(maps: torch.Tensor) -> None:
    for image, average, maximum in zip(maps, AveragePooling()(maps), MaxPooling()(maps), strict=True):
        for channel in range(5):
            values = image[channel].flatten().tolist()
            assert average[channel].item() == pytest.approx(sum(values) / 8)
            assert maximum[channel].item() == max(values)


def test_gem_of_p_1_is_the_average(maps: torch.Tensor) -> None:
    torch.testing.assert_close(GeMPooling(p=1.0)(maps), AveragePooling()(maps))


def test_gem_of_large_p_nears_the_maximum_from_below(maps: torch.Tensor) -> None:
    gem, maximum = GeMPooling(p=60.0)(maps), MaxPooling()(maps)
    assert (gem <= maximum * (1 + 1e-5)).all()
    # The mean of 8 powers is at least an eighth of the largest.
    assert (gem >= maximum * 8 ** (-1 / 60) * (1 - 1e-5)).all()


def test_gem_by_hand() -> None:
    maps = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 2, 2)
    assert GeMPooling(p=3.0)(maps).item() == pytest.approx(((1 + 8 + 27 + 64) / 4) ** (1 / 3))


def test_gem_of_nothing_is_small_and_its_gradient_finite() -> None:
    maps = torch.zeros(1, 2, 2, 2, requires_grad=True)
    pooling = GeMPooling()
    output = pooling(maps)
    assert output.max() < 1e-5
    output.sum().backward()
    assert maps.grad is not None
    assert maps.grad.isfinite().all()
    assert pooling.p.grad is not None
    assert pooling.p.grad.isfinite().all()


def test_gem_gradients_equal_those_derived_by_hand(maps: torch.Tensor) -> None:
    pooling = GeMPooling(p=2.5)
    maps.requires_grad_()
    towards = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    (pooling(maps) * towards).sum().backward()
    x, p, g = maps.detach().double(), 2.5, towards.double()
    m = x.pow(p).mean((2, 3))
    y = m.pow(1 / p)
    by_p = y * (x.pow(p).mul(x.log()).mean((2, 3)) / (p * m) - m.log() / p**2)
    by_x = (g * y / m)[:, :, None, None] * x.pow(p - 1) / 8
    torch.testing.assert_close(pooling.p.grad, (g * by_p).sum().view(1).float(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(maps.grad, by_x.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", [AveragePooling(), MaxPooling(), GeMPooling()])
def test_low_precision_maps_are_pooled_in_float32(pooling: torch.nn.Module, maps: torch.Tensor) -> None:
    low = maps.bfloat16()
    output = pooling(low)
    assert output.dtype == torch.float32
    torch.testing.assert_close(output, pooling(low.float()))


@pytest.mark.parametrize(("height", "parts"), [(24, 3), (8, 3), (7, 2), (5, 5), (4, 1), (16, 6)])
def test_stripes_are_those_of_adaptive_pooling(height: int, parts: int) -> None:
    maps = torch.rand(2, 3, height, 2, generator=torch.Generator().manual_seed(0))
    found = stripes(maps, parts)
    for pooling, reference in ((AveragePooling(), F.adaptive_avg_pool2d), (MaxPooling(), F.adaptive_max_pool2d)):
        pooled = torch.stack([pooling(stripe) for stripe in found], dim=2)
        torch.testing.assert_close(pooled, reference(maps, (parts, 1)).squeeze(3))
