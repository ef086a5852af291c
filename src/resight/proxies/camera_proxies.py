"""One proxy a cluster and camera: fixed within an epoch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resight.proxies.cluster_memory import cluster_means


class CameraProxies(nn.Module):
    """Camera-aware proxies c_(a,b): the mean feature of camera a in cluster b (Wang et al. 2021; PPLR, section B).

    Attributes:
        proxies: ``(M, D)`` L2-normalised, one for each pair of cluster and camera that has crops.
        cluster: ``(M,)`` their clusters.
        camera: ``(M,)`` their cameras.
    """

    proxies: Tensor
    cluster: Tensor
    camera: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Rebuilt from the features at each epoch's start, so no part of a checkpoint.
        self.register_buffer("proxies", torch.empty(0, 0), persistent=False)
        self.register_buffer("cluster", torch.empty(0, dtype=torch.int64), persistent=False)
        self.register_buffer("camera", torch.empty(0, dtype=torch.int64), persistent=False)

    @torch.no_grad()
    def reset(self, features: Tensor, labels: Tensor, camera: Tensor) -> None:
        """Starts an epoch.

        Args:
            features: ``(N, D)`` of all crops.
            labels: ``(N,)`` int64 in −1…C−1.
            camera: ``(N,)`` int64.
        """
        inside = labels >= 0
        pairs, index = torch.stack([labels[inside], camera[inside]], 1).unique(dim=0, return_inverse=True)
        self.proxies = F.normalize(cluster_means(features[inside].float(), index, len(pairs)))
        self.cluster, self.camera = pairs.unbind(1)
