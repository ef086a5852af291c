"""Running mean and standard deviation of soft multilabels."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from resight.common.statistics import camera_statistics
from resight.proxies.state import register_state


class CameraStatistics(nn.Module):
    """Running mean μ and standard deviation σ of log soft multilabels, each averaged over cameras.

    Every update moves μ and σ towards the batch's values at a fixed rate, as BatchNorm does. Source: Yu et al.,
    "Unsupervised Person Re-identification by Soft Multilabel Learning", CVPR 2019, supplement, section 3.

    Args:
        rate: Share of the batch's values in an update, above 0 and at most 1.

    Attributes:
        mean: ``(P,)`` float32 μ, one entry for each of P reference identities.
        std: ``(P,)`` float32 σ.
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
        """Sets μ and σ from all crops. Cameras with fewer than two crops are ignored; without other cameras both are 0.

        Args:
            blocks: ``(n, P)`` log multilabels of consecutive ranges of the N crops.
            camera: ``(N,)`` int64 camera of each crop, 0…V−1.
            cameras: V, the number of cameras.
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
        """μ and σ after a batch, without storing them.

        Args:
            values: ``(B, P)`` log multilabels.
            camera: ``(B,)`` int64 camera of each crop, 0…V−1.
            cameras: V, the number of cameras.

        Returns:
            ``(P,)`` μ and ``(P,)`` σ: unchanged where no camera has two crops in the batch.
        """
        found = self._over_cameras(*camera_statistics(values, camera, cameras), self.mean, self.std)
        return torch.lerp(self.mean, found[0], self.rate), torch.lerp(self.std, found[1], self.rate)

    @torch.no_grad()
    def update(self, mean: Tensor, std: Tensor) -> None:
        """Stores the ``(P,)`` μ and σ that :meth:`moved` returned."""
        self.mean, self.std = mean, std

    @staticmethod
    def _over_cameras(
        mean: Tensor, std: Tensor, enough: Tensor, otherwise_mean: Tensor, otherwise_std: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Averages ``(V, P)`` values over the cameras with ``enough`` crops, or returns the others where none has."""
        weight = enough[:, None] / enough.sum().clamp(min=1)
        some = enough.any()
        return (
            torch.where(some, (mean * weight).sum(0), otherwise_mean).float(),
            torch.where(some, (std * weight).sum(0), otherwise_std).float(),
        )
