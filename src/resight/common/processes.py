"""Several processes that train one model: who they are, and what they exchange.

``torchrun`` and ``accelerate launch`` start them and set the variables ``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR`` and
``MASTER_PORT``. All of them run the same code on the same numbers, except where one takes its share of the work and
the results are gathered. So each meets the same calls of this module in the same order; a call waits for the others.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from resight.errors import ResightError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

Value = TypeVar("Value")

#: Seconds that a process waits for another one, unless the variable ``RESIGHT_TIMEOUT`` says otherwise.
TIMEOUT = 1800.0
_SENT_AT_ONCE = 1 << 24  # numbers sent in one message


class ProcessLost(ResightError):  # noqa: N818 (a state of the run)
    """Another process of the run ended or does not answer.

    Attributes:
        run: The run folder to go on with, if there is one.
    """

    run: Path | None = None


class Processes:
    """The processes of a run. This class is that of a process alone, which has nothing to wait for.

    Attributes:
        rank: Number of this process, from 0.
        count: Number of processes.
    """

    rank = 0
    count = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def shares(self, size: int) -> list[slice]:
        """The rows that each process takes of ``size`` rows: consecutive, and as equal in number as can be."""
        each, more = divmod(size, self.count)
        bounds = [each * n + min(n, more) for n in range(self.count + 1)]
        return [slice(start, stop) for start, stop in pairwise(bounds)]

    def share(self, size: int) -> slice:
        """The rows that this process takes of ``size`` rows."""
        return self.shares(size)[self.rank]

    def parts(self, sizes: Sequence[int], rank: int | None = None) -> list[slice]:
        """The rows that a process takes of each of several groups of rows, whose rows are shared as if in a line.

        Args:
            sizes: Rows in each group.
            rank: The process; this one if not given.
        """
        share = self.shares(sum(sizes))[self.rank if rank is None else rank]
        found, before = [], 0
        for size in sizes:
            start, stop = (min(max(bound - before, 0), size) for bound in (share.start, share.stop))
            found.append(slice(start, stop))
            before += size
        return found

    def gather(self, own: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows of all processes, those of the first process first.

        The gradient of the result flows back into the own rows alone. So a loss that every process computes of all
        rows gives each process the gradient of its own rows.

        Args:
            own: ``(counts[rank], …)`` rows of this process.
            counts: Rows of each process.
        """
        return own

    def fill(self, array: np.ndarray, shares: Sequence[slice]) -> None:
        """Fills in the rows of an array that other processes computed.

        Args:
            array: The same array in each process, of which a process has written the rows of its share.
            shares: The rows of each process.
        """

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replaces tensors of one type by their sums over the processes."""

    def send(self, tensors: Sequence[Tensor]) -> None:
        """Replaces tensors of any types by those of the first process."""

    def send_together(self, tensors: Sequence[Tensor]) -> None:
        """:meth:`send` for small tensors of one type, in a single message."""

    def all_say(self, value: Value) -> list[Value]:
        """A small value of each process."""
        return [value]

    def first_says(self, value: Value) -> Value:
        """A small value of the first process."""
        return value

    def in_turn(self, work: Callable[[], Value]) -> Value:
        """Lets one process of each machine do some work first, and then the others, who find what it left on disk."""
        return work()

    def wait(self) -> None:
        """Waits until each process has come here."""


class _Group(Processes):
    """Processes of ``torch.distributed``.

    Args:
        rank: Number of this process.
        count: Number of processes.
        local: Number of this process on its machine.
        device: Where it computes.
        store: The store that the processes share.
    """

    def __init__(self, rank: int, count: int, local: int, device: torch.device, store: Any) -> None:
        import torch.distributed as dist

        self.rank, self.count, self.local, self._store = rank, count, local, store
        self._patience = timedelta(seconds=_timeout())
        self._host = dist.new_group(backend="gloo", timeout=self._patience)
        self._device_group: Any = None
        if device.type == "cuda":
            import torch

            torch.cuda.set_device(device)
            name = torch.cuda.get_device_properties(device)
            own = (socket.gethostname(), str(getattr(name, "uuid", device)))
            # NCCL takes one process for each GPU; where two share one, tensors go by way of the CPU
            if len(set(self.all_say(own))) == count and dist.is_nccl_available():
                self._device_group = dist.new_group(backend="nccl", timeout=self._patience)

    def gather(self, own: Tensor, counts: Sequence[int]) -> Tensor:
        return _gather_function().apply(own, self, list(counts))

    def gather_rows(self, own: Tensor, counts: Sequence[int]) -> Tensor:
        """:meth:`gather` without a gradient."""
        import torch
        import torch.distributed as dist

        most = max(counts)
        padded = own.contiguous()
        if len(own) < most:
            padded = torch.cat([padded, own.new_zeros(most - len(own), *own.shape[1:])])
        sent, group = self._sent(padded)
        found = [torch.empty_like(sent) for _ in counts]
        with self._answered():
            dist.all_gather(found, sent, group=group)
        rows = torch.cat([part[:count] for part, count in zip(found, counts, strict=True)])
        return rows.to(own.device)

    def fill(self, array: np.ndarray, shares: Sequence[slice]) -> None:
        import numpy as np
        import torch
        import torch.distributed as dist

        width = max(1, int(np.prod(array.shape[1:])))
        for source, share in enumerate(shares):
            for start in range(share.start, share.stop, step := max(1, _SENT_AT_ONCE // width)):
                rows = slice(start, min(start + step, share.stop))
                block = np.ascontiguousarray(array[rows])
                with self._answered():
                    dist.broadcast(torch.from_numpy(block), dist.get_global_rank(self._host, source), self._host)
                if source != self.rank:
                    array[rows] = block

    def sum(self, tensors: Sequence[Tensor]) -> None:
        import torch
        import torch.distributed as dist

        if not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        sent, group = self._sent(flat)
        with self._answered():
            dist.all_reduce(sent, group=group)
        for tensor, part in zip(tensors, sent.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view(tensor.shape))

    def send(self, tensors: Sequence[Tensor]) -> None:
        import torch.distributed as dist

        for tensor in tensors:
            flat = tensor.detach().contiguous()
            sent, group = self._sent(flat)
            with self._answered():
                dist.broadcast(sent, dist.get_global_rank(group, 0), group)
            if not self.first:
                tensor.detach().copy_(sent)

    def send_together(self, tensors: Sequence[Tensor]) -> None:
        import torch

        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        self.send([flat])
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view(tensor.shape))

    def all_say(self, value: Value) -> list[Value]:
        import torch.distributed as dist

        found: list[Any] = [None] * self.count
        with self._answered():
            dist.all_gather_object(found, value, group=self._host)
        return found

    def first_says(self, value: Value) -> Value:
        return self.all_say(value)[0]

    def in_turn(self, work: Callable[[], Value]) -> Value:
        if self.local == 0:
            found = work()
            self.wait()
            return found
        self.wait()
        return work()

    def wait(self) -> None:
        import torch.distributed as dist

        with self._answered():
            dist.barrier(group=self._host)

    def close(self, error: BaseException | None = None) -> None:
        """Leaves the group, and tells the others why if there was an error."""
        import torch.distributed as dist

        if error is not None and not isinstance(error, ProcessLost):
            with contextlib.suppress(Exception):  # whatever torch raises of a group that breaks up
                said = str(error) if isinstance(error, ResightError) else f"{type(error).__name__}: {error}"
                self._store.set("ended", f"Process {self.rank} of {self.count} on {socket.gethostname()}: {said}")
        for group in (self._device_group, self._host):
            if group is not None:
                with contextlib.suppress(Exception):  # whatever torch raises of a group that breaks up
                    dist.destroy_process_group(group)

    def _sent(self, tensor: Tensor) -> tuple[Tensor, Any]:
        """A tensor as it is sent, and the group that sends it."""
        if self._device_group is not None and tensor.is_cuda:
            return tensor, self._device_group
        return tensor.cpu(), self._host

    @contextmanager
    def _answered(self) -> Iterator[None]:
        """Turns what torch raises of a process that does not answer into a sentence."""
        try:
            yield
        except RuntimeError as error:
            raise ProcessLost(self._explain(error)) from error

    def _explain(self, error: Exception) -> str:
        told = ""
        with contextlib.suppress(Exception):  # whatever torch raises of a group that breaks up
            if self._store.check(["ended"]):
                told = self._store.get("ended").decode()
        if told:
            return f"Another process ended, so this one does as well. {told}"
        if "imed out" in str(error):
            return (
                f"Another of the {self.count} processes did not answer within {self._patience.total_seconds():g} "
                "seconds (RESIGHT_TIMEOUT): see what it printed, and whether its machine can be reached."
            )
        return f"Another of the {self.count} processes ended without a word, perhaps because it was killed."


_alone = Processes()
_current: Processes = _alone
_first_store: Any = None
_groups = 0


def current() -> Processes:
    """The processes of the run that is being trained; a process alone if there is none."""
    return _current


@contextmanager
def alone() -> Iterator[None]:
    """Lets one process do work for a while that the others do not share."""
    global _current
    before, _current = _current, _alone
    try:
        yield
    finally:
        _current = before


def started_by_launcher() -> int:
    """How many processes a launcher started; 1 if there was none.

    Raises:
        ResightError: the variables that it sets are not complete.
    """
    count = _whole("WORLD_SIZE", 1)
    if count > 1:
        for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
            if not os.environ.get(name):
                raise ResightError(
                    f"WORLD_SIZE={count} says that there are {count} processes, but {name} is not set: start them with "
                    "torchrun or accelerate launch, or unset WORLD_SIZE for a process alone."
                )
    return count


def launched_rank() -> int:
    """Number of this process among those that a launcher started; 0 if there was none."""
    text = os.environ.get("RANK", "")
    several = os.environ.get("WORLD_SIZE", "1") not in ("", "1")
    return int(text) if several and text.isdecimal() else 0


def own_device(device: torch.device) -> torch.device:
    """The device of this process: its own GPU, where several processes share a machine and ``cuda`` has no number."""
    import torch

    if device.type != "cuda" or device.index is not None or started_by_launcher() == 1:
        return device
    return torch.device("cuda", _whole("LOCAL_RANK", 0) % torch.cuda.device_count())


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """Joins the processes that a launcher started, for a while.

    Args:
        device: Where this process computes.

    Yields:
        The processes; this one alone if no launcher started several.

    Raises:
        ResightError: the others cannot be reached.
    """
    global _current
    if started_by_launcher() == 1:
        yield _alone
        return
    group = _join(device)
    _current = group
    ended: BaseException | None = None
    try:
        yield group
    except BaseException as error:
        ended = error
        raise
    finally:
        _current = _alone
        group.close(ended)


def _join(device: torch.device) -> _Group:
    """The group of all processes."""
    global _first_store, _groups
    import torch.distributed as dist
    from torch.distributed.rendezvous import rendezvous

    if not dist.is_available():
        raise ResightError("This build of torch has no torch.distributed: start a single process.")
    rank, count = _whole("RANK", 0), started_by_launcher()
    patience = timedelta(seconds=_timeout())
    try:
        if _first_store is None:
            _first_store, rank, count = next(rendezvous("env://", timeout=patience))
            _first_store.set_timeout(patience)
        if not dist.is_initialized():
            store = dist.PrefixStore("resight", _first_store)
            dist.init_process_group("gloo", store=store, rank=rank, world_size=count, timeout=patience)
        _groups += 1
        store = dist.PrefixStore(f"resight-{_groups}", _first_store)
        return _Group(rank, count, _whole("LOCAL_RANK", rank), device, store)
    except (RuntimeError, ValueError, OSError) as error:
        address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise ResightError(
            f"Process {rank} of {count} cannot reach the others through {address} ({' '.join(str(error).split())}): "
            "check that all were started with the same address, and that no firewall is between them."
        ) from error


def _gather_function() -> Any:
    """The autograd function of :meth:`Processes.gather`; made once, when torch is loaded."""
    global _function
    if _function is not None:
        return _function
    import torch

    class Gather(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, own: Tensor, processes: _Group, counts: list[int]) -> Tensor:
            start = sum(counts[: processes.rank])
            ctx.own = slice(start, start + counts[processes.rank])
            return processes.gather_rows(own, counts)

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
            return gradients[0][ctx.own], None, None

    _function = Gather
    return _function


_function: Any = None


def _timeout() -> float:
    text = os.environ.get("RESIGHT_TIMEOUT", "")
    try:
        seconds = float(text) if text else TIMEOUT
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e7:
        raise ResightError(f"RESIGHT_TIMEOUT is a number of seconds above 0, not '{text}'.")
    return seconds


def _whole(name: str, otherwise: int) -> int:
    """A variable of the launcher that is a whole number."""
    text = os.environ.get(name, "")
    if not text:
        return otherwise
    if not text.isdecimal():
        raise ResightError(
            f"The variable {name}, which torchrun and accelerate launch set, is a whole number, not '{text}': unset it "
            "for a process alone."
        )
    return int(text)
