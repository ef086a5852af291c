"""Batch norms whose statistics are those of a part of the batch, as when several GPUs share a batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _grouped(norm: nn.BatchNorm1d | nn.BatchNorm2d, groups: int, x: Tensor) -> Tensor:
    """A batch norm's output in training, with its class's own forward pass for the first group."""
    first, *others = x.tensor_split(max(1, min(groups, len(x) // 2)))
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
