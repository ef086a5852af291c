"""Flip, pad-and-crop, normalise and erase a batch: ours against kornia's modules, in one process, turn by turn.

pip install kornia
python benchmarks/augmentation.py --batch 128 --repeats 10
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from resight.encoders import Encoder, EncoderConfig
from resight.training.augment import AugmentationConfig, flip_and_crop, random_erasing


def main() -> None:
    """Prints milliseconds of both and their ratio."""
    import kornia.augmentation as K

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    size = (arguments.height, arguments.width)
    config = AugmentationConfig()
    encoder = Encoder(EncoderConfig(backbone="resnet18", weights="none", width_multiplier=0.25))
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (arguments.batch, 3, *size), dtype=torch.uint8, generator=generator)
    geometry = torch.nn.Sequential(
        K.RandomHorizontalFlip(p=0.5), K.RandomCrop(size, padding=config.padding(*size)[::-1])
    )
    erasing = K.RandomErasing(scale=config.erase_area, ratio=config.erase_aspect, p=config.erase)

    def ours() -> Tensor:
        return random_erasing(encoder.preprocess(flip_and_crop(images, config, generator)), config, generator)

    def kornia() -> Tensor:
        flipped = geometry(images.float())
        return erasing(encoder.preprocess(flipped))

    seconds: dict[str, list[float]] = {"ours": [], "kornia": []}
    functions: dict[str, Callable[[], Tensor]] = {"ours": ours, "kornia": kornia}
    for repeat in range(arguments.repeats + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            output = function()
            if repeat:
                seconds[name].append(1e3 * (time.perf_counter() - start))
            assert output.shape == images.shape
    fast, slow = (statistics.median(seconds[name]) for name in ("ours", "kornia"))
    spread = ", ".join(f"{name} {min(values):.0f}–{max(values):.0f} ms" for name, values in seconds.items())
    print(
        f"batch {arguments.batch}, {size[0]}×{size[1]}, {torch.get_num_threads()} threads: ours {fast:.0f} ms, "
        f"kornia {slow:.0f} ms, ratio {slow / fast:.1f} ({spread})"
    )


if __name__ == "__main__":
    main()
