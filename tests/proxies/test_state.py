"""State that takes the size of the checkpoint it is loaded from."""

from __future__ import annotations

import torch
from torch import nn

from resight.proxies.state import register_state


class Holder(nn.Module):
    def __init__(self, rows: int) -> None:
        super().__init__()
        register_state(self, "numbers", torch.zeros(rows, dtype=torch.int64))
        register_state(self, "weights", nn.Parameter(torch.zeros(rows, 2)))


def test_buffers_and_parameters_take_the_size_of_what_is_loaded() -> None:
    saved, fresh = Holder(5), Holder(0)
    saved.numbers = torch.arange(5)
    saved.weights.data.normal_()
    known = fresh.weights
    fresh.load_state_dict(saved.state_dict())
    assert torch.equal(fresh.numbers, torch.arange(5))
    assert torch.equal(fresh.weights, saved.weights)
    assert fresh.weights is known  # so an optimiser goes on with it
    assert [name for name, _ in fresh.named_parameters()] == ["weights"]


def test_a_copy_is_loaded() -> None:
    saved, fresh = Holder(3), Holder(4)
    fresh.load_state_dict(saved.state_dict())
    saved.numbers += 1
    saved.weights.data += 1
    assert not fresh.numbers.any()
    assert not fresh.weights.any()
