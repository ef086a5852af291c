"""One proxy per cluster and camera, fixed within an epoch or moved by every batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resight.proxies.cluster_memory import cluster_means, rank_within_cluster


class CameraProxies(nn.Module):
    """Camera-aware proxies c_(a,b): the mean feature of the crops of camera a in cluster b.

    Sources: Wang et al., "Camera-aware Proxies for Unsupervised Person Re-Identification", AAAI 2021; Cho et al.,
    "Part-based Pseudo Label Refinement for Unsupervised Person Re-identification", CVPR 2022, supplement, equation 1.

    Attributes:
        proxies: ``(M, D)`` float32, L2-normalised: one proxy for each pair of a cluster and a camera that has crops,
            ascending by cluster, then camera.
        cluster: ``(M,)`` int64 cluster of each proxy.
        camera: ``(M,)`` int64 camera of each proxy.
        own: ``(N,)`` int64 index of the proxy of each crop's cluster and camera; −1 for a crop without a cluster.
    """

    proxies: Tensor
    cluster: Tensor
    camera: Tensor
    own: Tensor

    def __init__(self) -> None:
        super().__init__()
        # computed from the features when an epoch starts, so checkpoints need not hold them
        self.register_buffer("proxies", torch.empty(0, 0), persistent=False)
        self.register_buffer("cluster", torch.empty(0, dtype=torch.int64), persistent=False)
        self.register_buffer("camera", torch.empty(0, dtype=torch.int64), persistent=False)
        self.register_buffer("own", torch.empty(0, dtype=torch.int64), persistent=False)

    @torch.no_grad()
    def reset(self, features: Tensor, labels: Tensor, camera: Tensor) -> None:
        """Computes the proxies when an epoch starts.

        Args:
            features: ``(N, D)`` features of all crops.
            labels: ``(N,)`` int64 clusters, 0…C−1; crops with label −1 are ignored.
            camera: ``(N,)`` int64 cameras.
        """
        inside = labels >= 0
        pairs, index = torch.stack([labels[inside], camera[inside]], 1).unique(dim=0, return_inverse=True)
        self.proxies = F.normalize(cluster_means(features[inside].float(), index, len(pairs)))
        self.cluster, self.camera = pairs.unbind(1)
        self.own = torch.full_like(labels, -1)
        self.own[inside] = index

    @torch.no_grad()
    def update(self, features: Tensor, own: Tensor, momentum: float) -> None:
        """Moves proxies by the crops of a batch, one after another: c ← normalise(m·c + (1−m)·f).

        Source: public code of Wang et al., "Offline-Online Associated Camera-Aware Proxies for Unsupervised Person
        Re-Identification" (O2CAP), IEEE TIP 2022, arXiv 2201.05820; there m = 0.2.

        Args:
            features: ``(B, D)`` L2-normalised features f; no gradient flows into them.
            own: ``(B,)`` int64 index of each crop's proxy.
            momentum: m, the share of the old proxy, 0…1.
        """
        features, rank = features.detach().to(self.proxies.dtype), rank_within_cluster(own)
        for turn in range(int(rank.max()) + 1):
            now = rank == turn
            moved = momentum * self.proxies[own[now]] + (1 - momentum) * features[now]
            self.proxies[own[now]] = F.normalize(moved)
