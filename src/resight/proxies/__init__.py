"""Proxies that stand for clusters, instances and cameras, and memories of soft multilabels, with their update rules."""

from resight.proxies.camera_proxies import CameraProxies
from resight.proxies.camera_statistics import CameraStatistics
from resight.proxies.cluster_memory import ClusterMemory, cluster_means
from resight.proxies.instance_memory import InstanceMemory
from resight.proxies.multilabels import MultilabelMemory, log_multilabels

__all__ = [
    "CameraProxies",
    "CameraStatistics",
    "ClusterMemory",
    "InstanceMemory",
    "MultilabelMemory",
    "cluster_means",
    "log_multilabels",
]
