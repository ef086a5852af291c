"""Memories that stand for clusters, instances and cameras, each with its update rule."""

from resight.proxies.camera_proxies import CameraProxies
from resight.proxies.cluster_memory import ClusterMemory, cluster_means
from resight.proxies.instance_memory import InstanceMemory

__all__ = ["CameraProxies", "ClusterMemory", "InstanceMemory", "cluster_means"]
