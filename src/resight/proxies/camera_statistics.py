"""Mean and spread of soft multilabels, camera by camera and over all cameras."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from resight.common.statistics import camera_statistics
from resight.proxies.state import register_state


class CameraStatistics(nn.Module):
    """Running mean μ and deviation σ of the log multilabels, averaged over cameras (Yu et al. 2019, supplement 3).

    Args:
        rate: Share of a batch in them.

    Attributes:
        mean: ``(P,)``.
        std: ``(P,)``.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, rate: float = 0.0368) -> None:
        super().__init__()
        self.rate = rate
        register_state(self, "mean", torch.empty(0))
        register_state(self, "std", torch.empty(0))

    @torch.no_grad()
    def reset(self, blocks: Iterable[Tensor], camera: Tensor, cameras: int) -> None:
        """Starts from all crops; cameras with a single one are left out.

        Args:
            blocks: ``(n, P)`` log multilabels of so many crops each, in the crops' order.
            camera: ``(N,)`` int64 in 0…V−1.
            cameras: V.
        """
        count = torch.bincount(camera, minlength=cameras)[:, None].double()
        sums = squares = torch.empty(0)
        done = 0
        for block in blocks:
            if not done:
                sums, squares = (torch.zeros(cameras, block.shape[1], device=block.device).double() for _ in range(2))
            of, block = camera[done : done + len(block)], block.double()
            sums.index_add_(0, of, block)
            squares.index_add_(0, of, block.square())
            done += len(block)
        mean = sums / count.clamp(min=1)
        variance = (squares - count * mean.square()).clamp(min=0) / (count - 1).clamp(min=1)
        self.mean, self.std = self._over_cameras(mean, variance.sqrt(), count[:, 0] > 1, sums[0] * 0, sums[0] * 0)

    @torch.no_grad()
    def moved(self, values: Tensor, camera: Tensor, cameras: int) -> tuple[Tensor, Tensor]:
        """μ and σ after a batch of log multilabels ``(B, P)``; as they are if no camera has two of its crops."""
        found = self._over_cameras(*camera_statistics(values, camera, cameras), self.mean, self.std)
        return torch.lerp(self.mean, found[0], self.rate), torch.lerp(self.std, found[1], self.rate)

    @torch.no_grad()
    def update(self, mean: Tensor, std: Tensor) -> None:
        """Keeps what :meth:`moved` gave."""
        self.mean, self.std = mean, std

    @staticmethod
    def _over_cameras(
        mean: Tensor, std: Tensor, enough: Tensor, otherwise_mean: Tensor, otherwise_std: Tensor
    ) -> tuple[Tensor, Tensor]:
        weight = enough[:, None] / enough.sum().clamp(min=1)
        some = enough.any()
        return (
            torch.where(some, (mean * weight).sum(0), otherwise_mean).float(),
            torch.where(some, (std * weight).sum(0), otherwise_std).float(),
        )
