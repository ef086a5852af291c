"""Augmentation: shifted and mirrored windows, erased rectangles, and the same from the same seed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from resight.methods import METHODS
from resight.training.augment import (
    AugmentationConfig,
    augment,
    flip_and_crop,
    random_colour,
    random_contrast,
    random_erasing,
    random_zoom,
)
from resight.training.config import build_config


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_images(batch: int, height: int = 5, width: int = 4) -> torch.Tensor:
    return torch.randint(1, 256, (batch, 3, height, width), generator=seeded(9), dtype=torch.uint8)


def windows(image: np.ndarray, above: int, beside: int) -> dict[bytes, tuple[bool, int, int]]:
    """Every (mirrored?, top, left) window of the padded image."""
    _, height, width = image.shape
    padded = np.pad(image, ((0, 0), (above, above), (beside, beside)))
    found = {}
    for top in range(2 * above + 1):
        for left in range(2 * beside + 1):
            window = padded[:, top : top + height, left : left + width]
            found[window.tobytes()] = False, top, left
            found[window[:, :, ::-1].tobytes()] = True, top, left
    return found


def test_each_image_becomes_a_shifted_or_mirrored_window_of_itself() -> None:
    images = some_images(1800)
    output = flip_and_crop(images, AugmentationConfig(flip=0.5, pad=2), seeded())
    assert output.dtype == torch.uint8
    assert output.shape == images.shape
    drawn = [windows(image, 2, 2)[crop.tobytes()] for image, crop in zip(images.numpy(), output.numpy(), strict=True)]
    count = Counter(drawn)
    assert len(count) == 2 * 5 * 5
    # 36 of each expected, with a standard deviation of 6.
    assert min(count.values()) > 12
    assert max(count.values()) < 66


@pytest.mark.parametrize(
    ("pad", "size", "pixels"),
    [
        (10, (256, 128), (10, 10)),
        (10, (96, 48), (10, 10)),
        ((0.039, 0.078), (256, 128), (10, 10)),  # the published share, at the published size
        ((0.039, 0.078), (128, 64), (5, 5)),
        ((0.039, 0.078), (96, 48), (4, 4)),
        ((0.026, 0.078), (384, 128), (10, 10)),  # PPLR's
        ((0.018, 0.055), (384, 128), (7, 7)),  # MAR's
        ((0.0, 0.5), (64, 32), (0, 16)),
        (0, (64, 32), (0, 0)),
    ],
)
def test_padding_is_in_pixels_or_a_share_of_each_side(
    pad: int | tuple[float, float], size: tuple[int, int], pixels: tuple[int, int]
) -> None:
    assert AugmentationConfig(pad=pad).padding(*size) == pixels


def test_each_side_has_a_padding_of_its_own() -> None:
    images = some_images(1800, width=8)
    height, width = images.shape[2:]
    config = AugmentationConfig(flip=0, pad=(1 / height, 3 / width))
    output = flip_and_crop(images, config, seeded())
    drawn = [windows(image, 1, 3)[crop.tobytes()] for image, crop in zip(images.numpy(), output.numpy(), strict=True)]
    count = Counter(drawn)
    assert {top for _, top, _ in count} == set(range(3))
    assert {left for _, _, left in count} == set(range(7))
    # 86 of each expected, with a standard deviation of 9.
    assert min(count.values()) > 50
    assert max(count.values()) < 125


def test_a_share_that_is_a_number_of_pixels_gives_the_same_views() -> None:
    images = some_images(50)
    height, width = images.shape[2:]
    share, pixels = AugmentationConfig(pad=(2 / height, 2 / width)), AugmentationConfig(pad=2)
    assert torch.equal(flip_and_crop(images, share, seeded()), flip_and_crop(images, pixels, seeded()))


@pytest.mark.parametrize("method", [name for name in METHODS if name != "adtc"])  # ADTC pads nothing
def test_recipes_for_small_crops_keep_the_published_share(method: str) -> None:
    tall = method in ("pplr", "mar")
    augmentation = build_config(method, None).augmentation
    assert augmentation.padding(384 if tall else 256, 128) == ((7, 7) if method == "mar" else (10, 10))
    assert augmentation.padding(128, 64) == {"mar": (2, 4), "pplr": (3, 5)}.get(method, (5, 5))


@pytest.mark.parametrize("flip", [0.0, 0.2, 1.0])
def test_share_of_mirror_images(flip: float) -> None:
    images = some_images(1000)
    output = flip_and_crop(images, AugmentationConfig(flip=flip, pad=0), seeded())
    mirrored = (output == images.flip(3)).flatten(1).all(1)
    assert ((output == images).flatten(1).all(1) | mirrored).all()
    assert mirrored.float().mean().item() == pytest.approx(flip, abs=0.05 if 0 < flip < 1 else 0)


def test_nothing_to_do_is_the_identity() -> None:
    images = some_images(7)
    assert torch.equal(flip_and_crop(images, AugmentationConfig(flip=0, pad=0), seeded()), images)


def test_flip_and_crop_leaves_its_input_alone() -> None:
    images = some_images(7)
    before = images.clone()
    flip_and_crop(images, AugmentationConfig(), seeded())
    assert torch.equal(images, before)


def test_flip_and_crop_gives_channels_last() -> None:
    output = flip_and_crop(some_images(4), AugmentationConfig(), seeded())
    assert output.is_contiguous(memory_format=torch.channels_last)


def erased(config: AugmentationConfig, batch: int, height: int = 32, width: int = 16, seed: int = 0) -> np.ndarray:
    """``(B, H, W)`` bool: what was set to 0; checks that all else is untouched."""
    images = torch.randn(batch, 3, height, width, generator=seeded(5))
    before = images.clone()
    output = random_erasing(images, config, seeded(seed))
    assert torch.equal(images, before)
    gone = (output == 0).all(1)
    assert torch.equal(output, images.masked_fill(gone[:, None], 0.0))
    return gone.numpy()


def sides(mask: np.ndarray) -> tuple[int, int]:
    """Height and width of what was erased; checks that it is one filled rectangle."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert np.array_equal(np.outer(mask.any(1), mask.any(0)), mask)
    tall, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert (tall, wide) == (len(rows), len(columns))
    return int(tall), int(wide)


def test_erased_are_rectangles_of_the_stated_area_and_aspect() -> None:
    config = AugmentationConfig(erase=1.0, erase_area=(0.02, 0.4), erase_aspect=(0.3, 3.3))
    masks = erased(config, 500)
    shares = []
    for mask in masks:
        tall, wide = sides(mask)
        shares.append(tall * wide / (32 * 16))
        # each side is rounded to whole pixels
        assert (tall + 0.5) * (wide + 0.5) >= 0.02 * 32 * 16
        assert (tall - 0.5) * (wide - 0.5) <= 0.4 * 32 * 16
        assert (tall + 0.5) / (wide - 0.5) >= 0.3
        assert (tall - 0.5) / (wide + 0.5) <= 3.3
    assert min(shares) < 0.05
    assert max(shares) > 0.35


def test_aspect_is_height_over_width() -> None:
    for mask in erased(AugmentationConfig(erase=1.0, erase_area=(0.1, 0.2), erase_aspect=(2.0, 3.0)), 50):
        tall, wide = sides(mask)
        assert tall > wide


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_share_of_erased_images(share: float) -> None:
    masks = erased(AugmentationConfig(erase=share), 1000)
    assert masks.any((1, 2)).mean() == pytest.approx(share, abs=0.05 if 0 < share < 1 else 0)


def test_rectangles_lie_anywhere() -> None:
    masks = erased(AugmentationConfig(erase=1.0, erase_area=(0.05, 0.1)), 1000, 12, 8)
    often = masks.mean(0)
    assert often.min() > 0  # corners as well
    assert often.max() < 0.3
    assert often == pytest.approx(often[::-1, ::-1], abs=0.06)


def test_a_rectangle_that_never_fits_leaves_the_image() -> None:
    masks = erased(AugmentationConfig(erase=1.0, erase_area=(1.0, 1.0), erase_aspect=(1.0, 1.0)), 10, 8, 8)
    assert not masks.any()


def test_a_side_of_the_whole_image_is_not_erased() -> None:
    for mask in erased(AugmentationConfig(erase=1.0, erase_area=(0.3, 0.6), erase_aspect=(0.1, 9.0)), 300, 12, 6):
        tall, wide = sides(mask) if mask.any() else (0, 0)
        assert tall < 12
        assert wide < 6


@pytest.mark.parametrize("what", [flip_and_crop, random_erasing])
def test_the_generator_settles_everything(what: object) -> None:
    images, config = some_images(16, 12, 8), AugmentationConfig(pad=3)
    torch.manual_seed(1)
    first = what(images, config, seeded(3))  # type: ignore[operator]
    torch.manual_seed(2)
    assert torch.equal(what(images, config, seeded(3)), first)  # type: ignore[operator]
    assert not torch.equal(what(images, config, seeded(4)), first)  # type: ignore[operator]


def test_zoom_shows_a_smaller_window_of_the_image_enlarged() -> None:
    # a ramp in both directions tells where the window lies: values are linear in position, so interpolation is exact
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(30.0), indexing="ij")
    image = torch.stack([5 * y, 5 * x, torch.full_like(x, 77)]).to(torch.uint8)
    output = random_zoom(image.expand(300, -1, -1, -1), AugmentationConfig(zoom=1.5), seeded()).float()
    assert (output[:, 2] == 77).all()
    for channel, size in ((0, 40), (1, 30)):
        profile = output[:, channel].mean(1 if channel else 2) / 5  # position shown at each output position
        step = (profile[:, -3] - profile[:, 2]) / (size - 5)
        assert step.min() > 1 / 1.5 - 0.01
        assert step.max() < 1.01
        assert step.std() > 0.05
        assert (profile[:, 0] >= -0.2).all()
        assert (profile[:, -1] <= size - 0.8).all()
        centre = profile.mean(1) - (size - 1) / 2
        assert centre.std() > 0.02 * size
        assert abs(centre.mean()) < 0.02 * size
    # one factor for both directions
    steps = [
        (output[:, c].mean(1 if c else 2)[:, [2, -3]] / 5).diff(dim=1)[:, 0] / (s - 5) for c, s in ((0, 40), (1, 30))
    ]
    assert (steps[0] - steps[1]).abs().max() < 0.03


def test_contrast_keeps_the_mean_and_scales_what_differs_from_it() -> None:
    image = torch.full((3, 8, 6), 100, dtype=torch.uint8)
    image[:, ::2] = 140
    output = random_contrast(image.expand(400, -1, -1, -1), AugmentationConfig(contrast=0.5), seeded()).float()
    assert (output.mean((1, 2, 3)) - 120).abs().max() < 0.6
    factor = (output[:, 0, 0, 0] - output[:, 0, 1, 0]) / 40
    assert factor.min() > 0.45
    assert factor.max() < 1.55
    assert factor.min() < 0.6
    assert factor.max() > 1.4
    extreme = torch.tensor([0, 255], dtype=torch.uint8).repeat(48).view(1, 3, 8, 4).expand(50, -1, -1, -1)
    assert set(random_contrast(extreme, AugmentationConfig(contrast=1.0), seeded()).flatten().tolist()) > {0, 255}


def test_colour_scales_each_channel_by_a_factor_of_its_own() -> None:
    image = torch.tensor([40, 100, 160], dtype=torch.uint8).view(3, 1, 1).expand(500, 3, 6, 4)
    output = random_colour(image, AugmentationConfig(colour=0.5), seeded()).float()
    assert (output == output[:, :, :1, :1]).all()
    factors = (output[:, :, 0, 0] / image[:, :, 0, 0]).numpy()
    assert factors.min() > 0.48
    assert factors.max() < 1.52
    assert (factors.std(axis=0) > 0.25).all()
    assert abs(np.corrcoef(factors.T)[np.triu_indices(3, 1)]).max() < 0.15
    bright = torch.full((200, 3, 2, 2), 250, dtype=torch.uint8)
    assert (random_colour(bright, AugmentationConfig(colour=0.5), seeded()) == 255).any()


def test_one_view_is_all_of_it_in_order_and_off_by_default() -> None:
    images = some_images(6, 24, 12)

    def prepare(pixels: torch.Tensor) -> torch.Tensor:
        return pixels.float() / 100

    plain = AugmentationConfig(pad=2)
    generator = seeded()
    expected = random_erasing(prepare(flip_and_crop(images, plain, generator)), plain, generator)
    assert torch.equal(augment(images, prepare, plain, seeded()), expected)
    full = AugmentationConfig(pad=2, zoom=1.4, contrast=0.3, colour=0.2)
    generator = seeded()
    pixels = flip_and_crop(images, full, generator)
    for step in (random_zoom, random_contrast, random_colour):
        pixels = step(pixels, full, generator)
    expected = random_erasing(prepare(pixels), full, generator)
    assert torch.equal(augment(images, prepare, full, seeded()), expected)
