"""Batched augmentation, on the device of the images.

The random numbers come from a CPU generator that the caller seeds, so that a resumed run and a run on another
device see the same crops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from pydantic import Field, model_validator
from torch import Tensor

from resight.common.settings import Settings

#: Part of a side of an image.
Share = Annotated[float, Ge(0), Le(0.5)]

_Share = Annotated[float, Field(ge=0, le=1)]
_Ratio = Annotated[float, Field(gt=0)]


class Draws:
    """Random numbers for a batch, of which one process uses those of its own rows.

    Args:
        generator: Source of randomness, on the CPU.
        batch: Images in the batch.
        rows: The images that are augmented here; all if not given.
    """

    def __init__(self, generator: torch.Generator, batch: int, rows: slice = slice(None)) -> None:
        self.generator = generator
        self.batch = batch
        self.rows = rows

    @classmethod
    def of(cls, source: Draws | torch.Generator, images: Tensor) -> Draws:
        """Draws for these images, if the source is a generator."""
        return source if isinstance(source, Draws) else cls(source, len(images))

    def rand(self, *shape: int) -> Tensor:
        """``(b, …)`` float32 numbers from 0 to 1, one row for each own image."""
        return torch.rand(self.batch, *shape, generator=self.generator)[self.rows]

    def randint(self, high: int, *shape: int) -> Tensor:
        """``(b, …)`` int64 numbers from 0 to ``high`` − 1, one row for each own image."""
        return torch.randint(0, high, (self.batch, *shape), generator=self.generator)[self.rows]


class AugmentationConfig(Settings):
    """Flip, shift and erase, as Luo et al. 2019 ("Bag of Tricks") and their followers do; zoom, contrast and colour."""

    flip: float = Field(0.5, ge=0, le=1, description="probability of a mirror image")
    pad: Annotated[int, Ge(0)] | tuple[Share, Share] = Field(
        (0.039, 0.078),
        description="black padding on each side before a random crop of the old size: shares of the height (above and "
        "below) and of the width (left and right), or one number of pixels for all sides",
    )
    zoom: float = Field(1.0, ge=1, description="largest factor by which a random part of the image is enlarged")
    contrast: float = Field(0.0, ge=0, le=1, description="largest relative change of contrast")
    colour: float = Field(0.0, ge=0, le=1, description="largest relative change of each colour channel, as by a camera")
    erase: float = Field(0.5, ge=0, le=1, description="probability of erasing a rectangle (Zhong et al. 2020)")
    erase_area: tuple[_Share, _Share] = Field((0.02, 0.4), description="least and largest share of the image erased")
    erase_aspect: tuple[_Ratio, _Ratio] = Field((0.3, 3.3), description="least and largest height / width of it")

    @model_validator(mode="after")
    def _least_comes_first(self) -> AugmentationConfig:
        for name in ("erase_area", "erase_aspect"):
            least, largest = getattr(self, name)
            if least > largest:
                raise ValueError(f"{name} is the least and the largest, but {least:g} is above {largest:g}")
        return self

    def padding(self, height: int, width: int) -> tuple[int, int]:
        """Pixels of padding above and below, and left and right, of images of a size in pixels."""
        if isinstance(self.pad, int):
            return self.pad, self.pad
        return round(self.pad[0] * height), round(self.pad[1] * width)


def augment(
    images: Tensor,
    preprocess: Callable[[Tensor], Tensor],
    config: AugmentationConfig,
    generator: torch.Generator | Draws,
) -> Tensor:
    """One random view of each image: uint8 ``(B, 3, H, W)`` in, normalised by ``preprocess`` out."""
    generator = Draws.of(generator, images)
    images = flip_and_crop(images, config, generator)
    if config.zoom > 1:
        images = random_zoom(images, config, generator)
    if config.contrast > 0:
        images = random_contrast(images, config, generator)
    if config.colour > 0:
        images = random_colour(images, config, generator)
    return random_erasing(preprocess(images), config, generator)


def random_zoom(images: Tensor, config: AugmentationConfig, generator: torch.Generator | Draws) -> Tensor:
    """Enlarges a random window of each image to its full size, bilinearly: uint8 ``(B, 3, H, W)`` in and out."""
    batch, draws = len(images), Draws.of(generator, images)
    factor = 1 + (config.zoom - 1) * draws.rand()
    share = 1 / factor
    centre = (1 - share)[:, None] * (2 * draws.rand(2) - 1)
    if not batch:
        return images
    window = torch.zeros(batch, 2, 3)
    window[:, 0, 0] = window[:, 1, 1] = share
    window[:, :, 2] = centre
    grid = F.affine_grid(window.to(images.device), list(images.shape), align_corners=False)
    found = F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return found.round_().to(torch.uint8)


def random_contrast(images: Tensor, config: AugmentationConfig, generator: torch.Generator | Draws) -> Tensor:
    """Moves each image's values away from or towards its mean: uint8 ``(B, 3, H, W)`` in and out."""
    factor = 1 + config.contrast * (2 * Draws.of(generator, images).rand(1, 1, 1) - 1)
    values = images.float()
    mean = values.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, values, factor.to(images.device)).round_().clamp_(0, 255).to(torch.uint8)


def random_colour(images: Tensor, config: AugmentationConfig, generator: torch.Generator | Draws) -> Tensor:
    """Multiplies each image's red, green and blue by factors of their own: uint8 ``(B, 3, H, W)`` in and out."""
    factor = 1 + config.colour * (2 * Draws.of(generator, images).rand(3, 1, 1) - 1)
    return (images * factor.to(images.device)).round_().clamp_(0, 255).to(torch.uint8)


def flip_and_crop(images: Tensor, config: AugmentationConfig, generator: torch.Generator | Draws) -> Tensor:
    """Mirrors and shifts each image: uint8 ``(B, 3, H, W)`` in and out, in channels-last order."""
    batch, _, height, width = images.shape
    draws = Draws.of(generator, images)
    flip = draws.rand() < config.flip
    above, beside = config.padding(height, width)
    top = draws.randint(2 * above + 1, 1)
    left = draws.randint(2 * beside + 1, 1)
    rows = top + torch.arange(height)
    columns = torch.arange(width).expand(batch, -1)
    columns = left + torch.where(flip[:, None], width - 1 - columns, columns)
    padded = F.pad(images, (beside, beside, above, above)).permute(0, 2, 3, 1)
    at = [index.to(images.device) for index in (torch.arange(batch)[:, None, None], rows[:, :, None], columns[:, None])]
    return padded[at[0], at[1], at[2]].permute(0, 3, 1, 2)


def random_erasing(
    images: Tensor, config: AugmentationConfig, generator: torch.Generator | Draws, attempts: int = 10
) -> Tensor:
    """Sets a random rectangle of some images to 0 (the mean, after normalising), Zhong et al. 2020, Algorithm 1.

    Args:
        images: Normalised ``(B, 3, H, W)``.
        config: Probability, area and aspect.
        generator: Source of randomness, on the CPU.
        attempts: Rectangles drawn per image; the first that fits is used, and an image that none fits is left.
    """
    _, _, height, width = images.shape
    draws = Draws.of(generator, images)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * draws.rand(attempts)

    area = uniform(*config.erase_area) * height * width
    aspect = uniform(*config.erase_aspect)
    tall, wide = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (tall < height) & (wide < width)
    first = fits.int().argmax(1, keepdim=True)
    chosen = fits.any(1) & (draws.rand() < config.erase)
    tall, wide = tall.gather(1, first), wide.gather(1, first)
    top = (draws.rand(1) * (height - tall + 1)).floor()
    left = (draws.rand(1) * (width - wide + 1)).floor()
    y, x = torch.arange(height), torch.arange(width)
    rows = (y >= top) & (y < top + tall) & chosen[:, None]
    columns = (x >= left) & (x < left + wide)
    mask = (rows[:, None, :, None] & columns[:, None, None, :]).to(images.device)
    return images.masked_fill(mask, 0.0)
