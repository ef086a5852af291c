"""Every epoch and every stream of random numbers has its own seed, and a run's seed settles them all."""

from __future__ import annotations

import numpy as np
import torch

from resight.training.seeds import Stream, epoch_seed, numpy_generator, torch_generator


def test_epoch_seeds_differ_by_run_epoch_and_stream() -> None:
    seeds = {epoch_seed(seed, epoch, stream) for seed in range(10) for epoch in range(100) for stream in Stream}
    assert len(Stream) == 4
    assert len(seeds) == 10 * 100 * 4
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_generators_start_from_the_seed_whatever_was_drawn_before() -> None:
    def draws(seed: int, epoch: int, stream: Stream) -> tuple[np.ndarray, torch.Tensor]:
        torch.rand(3)
        return numpy_generator(seed, epoch, stream).random(4), torch.rand(
            4, generator=torch_generator(seed, epoch, stream)
        )

    first, again = draws(1, 2, Stream.BATCHES), draws(1, 2, Stream.BATCHES)
    assert np.array_equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    for other in (draws(2, 2, Stream.BATCHES), draws(1, 3, Stream.BATCHES), draws(1, 2, Stream.AUGMENTATION)):
        assert not np.array_equal(first[0], other[0])
        assert not torch.equal(first[1], other[1])
