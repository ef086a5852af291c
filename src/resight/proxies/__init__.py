"""Memories that stand for clusters, instances and cameras, each with its update rule."""

from resight.proxies.camera_proxies import CameraProxies
from resight.proxies.cluster_memory import ClusterMemory, cluster_means

__all__ = ["CameraProxies", "ClusterMemory", "cluster_means"]
