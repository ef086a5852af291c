"""Batch norms whose statistics are those of a part of the batch, or of a batch that several processes share."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resight.common.processes import Processes


def _number_of_groups(groups: int, rows: int) -> int:
    """Groups of a batch: each has at least two rows."""
    return max(1, min(groups, rows // 2))


def _grouped(norm: nn.BatchNorm1d | nn.BatchNorm2d, groups: int, x: Tensor) -> Tensor:
    """A batch norm's output in training, with its class's own forward pass for the first group."""
    first, *others = x.tensor_split(_number_of_groups(groups, len(x)))
    kind = nn.BatchNorm1d if isinstance(norm, nn.BatchNorm1d) else nn.BatchNorm2d
    apart = [F.batch_norm(part, None, None, norm.weight, norm.bias, True, 0.0, norm.eps) for part in others]
    return torch.cat([kind.forward(norm, first), *apart])


class GroupedBatchNorm1d(nn.BatchNorm1d):
    """Batch norm of features ``(B, D)``, which normalises consecutive groups of a training batch apart.

    The running statistics follow the first group, as those of ``torch.nn.DataParallel`` follow the first GPU's. A group
    has at least two crops: a small batch has fewer groups. In evaluation mode this is a plain batch norm.
    """

    groups = 1

    def forward(self, x: Tensor) -> Tensor:
        return _grouped(self, self.groups, x) if self.training else super().forward(x)


class GroupedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm of feature maps ``(B, C, H, W)``, otherwise as :class:`GroupedBatchNorm1d`."""

    groups = 1

    def forward(self, x: Tensor) -> Tensor:
        return _grouped(self, self.groups, x) if self.training else super().forward(x)


def group_batch_norms(module: nn.Module, groups: int) -> None:
    """Lets every batch norm in a module normalise groups of the batch apart; in place.

    Parameters, buffers and names in the state stay as they are.

    Args:
        module: The module; itself no batch norm.
        groups: Number of groups, at least 1.
    """
    for name, child in module.named_children():
        norm: GroupedBatchNorm1d | GroupedBatchNorm2d
        if isinstance(child, nn.BatchNorm1d):
            norm = GroupedBatchNorm1d(child.num_features, child.eps, child.momentum)
        elif isinstance(child, nn.BatchNorm2d):
            norm = GroupedBatchNorm2d(child.num_features, child.eps, child.momentum)
        else:
            group_batch_norms(child, groups)
            continue
        norm.load_state_dict(child.state_dict())
        norm.weight, norm.bias, norm.groups = child.weight, child.bias, groups
        setattr(module, name, norm)


class SharedBatch:
    """A training batch of which each process encodes its share.

    Args:
        processes: The processes.

    Attributes:
        rows: Rows of the batch that is encoded now; set before each pass.
    """

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self.rows = 0

    @property
    def own(self) -> slice:
        """The rows that this process encodes."""
        return self.processes.share(self.rows)

    def groups(self, groups: int) -> list[slice]:
        """The rows of each group that is normalised apart."""
        bounds = [part[[0, -1]].tolist() for part in torch.arange(self.rows).tensor_split(groups)]
        return [slice(first, last + 1) for first, last in bounds]

    def is_apart(self, groups: int) -> bool:
        """Whether each process normalises its rows without the others: the groups are the processes' shares."""
        found = self.groups(_number_of_groups(groups, self.rows))
        return found == self.processes.shares(self.rows)

    def dropout(self, values: Tensor, share: float) -> Tensor:
        """Dropout of the own rows ``(b, …)``, with the mask that a process alone would draw for the whole batch."""
        mask = F.dropout(values.new_ones(self.rows, *values.shape[1:]), share)
        return values * mask[self.own]


class _SharedNorm(torch.autograd.Function):
    """Batch norm of the rows of one process by the statistics of all rows of a group.

    The statistics of the processes' rows are gathered and combined exactly (Chan, Golub and LeVeque 1983); in the
    backward pass the two sums over the batch are added up. The gradients of weight and bias are those of the own rows.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, batch: SharedBatch, groups: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        channels, own, found = x.shape[1], batch.own, batch.groups(groups)
        rows = [slice(max(g.start, own.start) - own.start, min(g.stop, own.stop) - own.start) for g in found]
        apart = batch.is_apart(groups)
        positions = x[0, 0].numel()
        stats = torch.zeros(groups, 2 * channels + 1, device=x.device)
        for group, part in enumerate(rows):
            if part.start < part.stop:
                mean, variance = torch.batch_norm_update_stats(x[part], None, None, 0.0)
                count = torch.full((1,), float((part.stop - part.start) * positions), device=x.device)
                stats[group] = torch.cat([mean.float(), variance.float(), count])
        processes = batch.processes
        every = stats[None]
        if not apart:
            every = processes.gather(stats[None], [1] * processes.count)
        means, variances = every[:, :, :channels], every[:, :, channels:-1]
        counts = every[:, :, -1:]
        total = counts.sum(0).clamp(min=1)
        mean = (counts * means).sum(0) / total
        variance = (counts * (variances + (means - mean).square())).sum(0) / total
        inverse = (variance + eps).rsqrt()
        pieces = [
            F.batch_norm(x[part], mean[group], variance[group], weight, bias, False, 0.0, eps)
            for group, part in enumerate(rows)
            if part.start < part.stop
        ]
        ctx.save_for_backward(x, weight, mean, inverse, total)
        ctx.shared = processes, rows, apart, eps
        unbiased = variance[0] * total[0] / (total[0] - 1).clamp(min=1)
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces), mean[0].clone(), unbiased

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse, total = ctx.saved_tensors
        processes, rows, apart, eps = ctx.shared
        gradient = gradients[0]
        if x.ndim == 4:
            gradient = gradient.contiguous(memory_format=torch.channels_last)
        sums = torch.zeros(2, *mean.shape, device=x.device)
        for group, part in enumerate(rows):
            if part.start < part.stop:
                _, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
                    gradient[part], x[part], weight, None, None, mean[group], inverse[group], True, eps,
                    [False, True, True],
                )  # fmt: skip
                sums[0, group], sums[1, group] = of_weight, of_bias
        own_weight, own_bias = sums.sum(1)
        if not apart:
            processes.sum([sums])
        sums = sums / total[:, 0, None]
        scale = weight * inverse
        slope = -scale * inverse * sums[0]
        shift = -scale * sums[1] - slope * mean
        shape = (1, -1, *[1] * (x.ndim - 2))
        pieces = []
        for group, part in enumerate(rows):
            if part.start < part.stop:
                a, b, c = (values[group].view(shape) for values in (scale, slope, shift))
                moved = torch.addcmul(c, x[part].float(), b)
                pieces.append(moved.addcmul_(gradient[part].float(), a).to(x.dtype))
        of_x = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
        return of_x, own_weight.to(weight.dtype), own_bias.to(weight.dtype), None, None, None


def _shared(norm: SharedBatchNorm1d | SharedBatchNorm2d, x: Tensor) -> Tensor:
    assert norm.batch is not None
    groups = _number_of_groups(norm.groups, norm.batch.rows)
    found, mean, variance = _SharedNorm.apply(x, norm.weight, norm.bias, norm.eps, norm.batch, groups)
    if norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None:
        with torch.no_grad():
            norm.num_batches_tracked += 1
            norm.running_mean.lerp_(mean, norm.momentum or 0.0)
            norm.running_var.lerp_(variance, norm.momentum or 0.0)
    return found


class SharedBatchNorm1d(nn.BatchNorm1d):
    """Batch norm of features ``(b, D)``, a process's share of a batch, by the statistics of the whole batch.

    With ``groups`` above 1, consecutive groups of the whole batch are normalised apart, as by
    :class:`GroupedBatchNorm1d`. In evaluation mode this is a plain batch norm.
    """

    groups = 1
    batch: SharedBatch | None = None

    def forward(self, x: Tensor) -> Tensor:
        return _shared(self, x) if self.training else super().forward(x)


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm of feature maps ``(b, C, H, W)``, otherwise as :class:`SharedBatchNorm1d`."""

    groups = 1
    batch: SharedBatch | None = None

    def forward(self, x: Tensor) -> Tensor:
        return _shared(self, x) if self.training else super().forward(x)


def share_batch_norms(module: nn.Module, batch: SharedBatch, *, leave: nn.Module | None = None) -> None:
    """Lets every batch norm in a module use the statistics of a batch that processes share; in place.

    Parameters, buffers and names in the state stay as they are; an optimiser of the parameters stays valid.

    Args:
        module: The module; itself no batch norm.
        batch: The batch, whose number of rows is set before each pass.
        leave: A part of the module that stays as it is, such as one with frozen statistics.
    """
    for name, child in module.named_children():
        if child is leave:
            continue
        norm: SharedBatchNorm1d | SharedBatchNorm2d
        if isinstance(child, nn.BatchNorm1d):
            norm = SharedBatchNorm1d(child.num_features, child.eps, child.momentum)
        elif isinstance(child, nn.BatchNorm2d):
            norm = SharedBatchNorm2d(child.num_features, child.eps, child.momentum)
        else:
            share_batch_norms(child, batch, leave=leave)
            continue
        norm.weight, norm.bias = child.weight, child.bias
        norm.running_mean, norm.running_var = child.running_mean, child.running_var
        norm.num_batches_tracked = child.num_batches_tracked
        norm.groups, norm.batch = getattr(child, "groups", 1), batch
        norm.train(child.training)
        setattr(module, name, norm)
