"""Batch norms of a batch that processes share, against those of the whole batch."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from resight.common.processes import Processes
from resight.encoders.norms import SharedBatch, group_batch_norms, share_batch_norms


class Thread(Processes):
    """One of several processes that are threads here."""

    def __init__(self, rank: int, count: int, board: dict[int, object], barrier: threading.Barrier) -> None:
        self.rank, self.count, self.board, self.barrier = rank, count, board, barrier

    def exchange(self, value: object) -> list[object]:
        self.board[self.rank] = value
        self.barrier.wait()
        found = [self.board[rank] for rank in range(self.count)]
        self.barrier.wait()
        return found

    def gather(self, own: Tensor, counts: Sequence[int]) -> Tensor:
        found = [value for value in self.exchange(own.clone()) if isinstance(value, Tensor)]
        assert [len(part) for part in found] == list(counts)
        return torch.cat(found)

    def sum(self, tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            tensor.copy_(torch.stack([v for v in self.exchange(tensor.clone()) if isinstance(v, Tensor)]).sum(0))


def build(spatial: bool, groups: int) -> nn.Sequential:
    torch.manual_seed(1)
    norm: nn.Module = nn.BatchNorm2d(5, eps=1e-3) if spatial else nn.BatchNorm1d(5)
    module = nn.Sequential(norm)
    nn.init.normal_(module[0].weight)
    nn.init.normal_(module[0].bias)
    if groups > 1:
        group_batch_norms(module, groups)
    return module


@pytest.mark.parametrize("spatial", [True, False])
@pytest.mark.parametrize(("count", "groups", "rows"), [(2, 1, 7), (3, 1, 11), (2, 2, 9), (2, 3, 10), (3, 2, 12)])
def test_shares_of_a_batch_are_normalised_as_the_whole(spatial: bool, count: int, groups: int, rows: int) -> None:
    shape = (rows, 5, 3, 2) if spatial else (rows, 5)
    generator = torch.Generator().manual_seed(0)
    images = 2 + 3 * torch.randn(shape, generator=generator)
    factors = torch.randn(shape, generator=generator)
    whole, given = build(spatial, groups), images.clone().requires_grad_()
    expected = whole(given)
    (expected * factors).sum().backward()

    board: dict[int, object] = {}
    barrier = threading.Barrier(count)
    results: dict[int, tuple[nn.Sequential, Tensor, Tensor]] = {}

    def work(rank: int) -> None:
        processes = Thread(rank, count, board, barrier)
        module, batch = build(spatial, groups), SharedBatch(processes)
        share_batch_norms(module, batch)
        batch.rows = rows
        own = images[processes.share(rows)].clone().requires_grad_()
        found = module(own)
        (found * factors[processes.share(rows)]).sum().backward()
        assert own.grad is not None
        results[rank] = module, found.detach(), own.grad

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(results) == count
    assert given.grad is not None
    torch.testing.assert_close(torch.cat([results[rank][1] for rank in range(count)]), expected.detach())
    torch.testing.assert_close(torch.cat([results[rank][2] for rank in range(count)]), given.grad, atol=1e-5, rtol=1e-4)
    for name in ("weight", "bias"):
        total = sum(getattr(results[rank][0][0], name).grad for rank in range(count))
        torch.testing.assert_close(total, getattr(whole[0], name).grad, atol=1e-5, rtol=1e-4)
    keepers = [0] if groups == count else range(count)  # rows that are normalised apart: the first process's are sent
    for rank in keepers:
        for name, value in whole.named_buffers():
            torch.testing.assert_close(dict(results[rank][0].named_buffers())[name], value)


def test_parts_of_groups_of_rows() -> None:
    """Rows of several groups, shared as if in a line, against a plain count."""
    for count in (1, 2, 3, 5):
        for sizes in ([7], [4, 4], [5, 0, 3], [1, 1, 1, 9]):
            owner = [rank for rank, s in enumerate(_alone(count).shares(sum(sizes))) for _ in range(s.stop - s.start)]
            for rank in range(count):
                parts = _alone(count).parts(sizes, rank)
                line, before = [], 0
                for size, part in zip(sizes, parts, strict=True):
                    line += [before + row for row in range(size)[part]]
                    before += size
                assert line == [row for row, own in enumerate(owner) if own == rank]


def _alone(count: int) -> Processes:
    processes = Processes()
    processes.count = count
    return processes
