"""Multilabels and the memory of them, in memory and on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from resight.common.memory import room_for
from resight.proxies import MultilabelMemory, log_multilabels


def test_multilabels_are_the_softmax_and_leave_agents_alone() -> None:
    features, agents = F.normalize(torch.randn(3, 4)).requires_grad_(), F.normalize(torch.randn(5, 4)).requires_grad_()
    logs = log_multilabels(features, agents, 7.0)
    scores = np.exp(7 * features.detach().numpy() @ agents.detach().numpy().T)
    assert np.allclose(logs.exp().detach(), scores / scores.sum(1, keepdims=True), atol=1e-6)
    logs.square().sum().backward()
    assert features.grad is not None
    assert agents.grad is None


@pytest.mark.parametrize("limit", [1e9, 0])
def test_a_crop_is_kept_as_first_seen_and_then_moved(limit: float) -> None:
    memory = MultilabelMemory(0.9, limit)
    memory.reset(6, 4)
    values = torch.rand(6, 4, generator=torch.Generator().manual_seed(0)).softmax(1)
    expected: dict[int, torch.Tensor] = {}
    for step in range(5):
        rows = torch.tensor([step, 5, (step + 2) % 5])
        new = values[torch.randperm(6, generator=torch.Generator().manual_seed(step))[:3]]
        blended = memory.blend(rows, new)
        for row, value, found in zip(rows.tolist(), new, blended, strict=True):
            expected[row] = 0.9 * expected[row] + 0.1 * value if row in expected else value
            assert torch.allclose(found, expected[row], atol=2e-3)
        before = memory.values.clone()
        memory.update(rows, blended)
        untouched = [row for row in range(6) if row not in rows]
        assert torch.equal(memory.values[untouched], before[untouched])
    assert memory.known.all()
    assert memory.values.dtype == torch.float16
    assert memory.values.nbytes == 2 * 6 * 4


def test_a_large_one_is_on_disk_and_a_checkpoint_goes_into_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[np.ndarray] = []

    def watched(*args: Any, **options: Any) -> np.ndarray:
        made.append(room_for(*args, **options))
        return made[-1]

    monkeypatch.setattr("resight.proxies.multilabels.room_for", watched)
    held, mapped = MultilabelMemory(limit=1e9), MultilabelMemory(limit=100)
    held.reset(20, 10)
    held.update(torch.arange(0, 20, 2), torch.rand(10, 10))
    torch.save(held.state_dict(), tmp_path / "m.pt")
    mapped.load_state_dict(torch.load(tmp_path / "m.pt", weights_only=True, mmap=True))
    assert torch.equal(mapped.values, held.values)
    assert torch.equal(mapped.known, held.known)
    (array,) = made
    assert isinstance(array, np.memmap)
    assert mapped.values.data_ptr() == array.ctypes.data
    mapped.update(torch.tensor([1]), torch.ones(1, 10))
    again = MultilabelMemory(limit=1e9)
    torch.save(mapped.state_dict(), tmp_path / "n.pt")
    again.load_state_dict(torch.load(tmp_path / "n.pt", weights_only=True))
    assert again.values[1].tolist() == [1.0] * 10
    assert again.known.tolist() == [row % 2 == 0 or row == 1 for row in range(20)]
