"""Seeds of all random numbers of a run.

Every stream of random numbers is seeded by the run's seed, the epoch and the stream, never by a state that goes on. An
epoch that is begun again after a crash therefore draws the same numbers.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """What random numbers are drawn for."""

    MODEL = 0  # torch's global generator: dropout, k-means, parameters made anew
    AUGMENTATION = 1
    BATCHES = 2
    SOURCE_BATCHES = 3


def epoch_seed(seed: int, epoch: int, stream: Stream) -> int:
    """The seed of one stream in one epoch, counted from 0; seeds of neighbouring epochs and streams are far apart."""
    return (seed * 1_000_003 + epoch * 7_919 + stream * 104_729 + 12_345) % (2**31 - 1)


def torch_generator(seed: int, epoch: int, stream: Stream) -> torch.Generator:
    """A CPU generator for one stream in one epoch."""
    return torch.Generator().manual_seed(epoch_seed(seed, epoch, stream))


def numpy_generator(seed: int, epoch: int, stream: Stream) -> np.random.Generator:
    """A numpy generator for one stream in one epoch."""
    return np.random.default_rng(epoch_seed(seed, epoch, stream))
