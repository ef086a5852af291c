"""Methods, one a file."""

from resight.methods.base import Batch, Method, MethodOptions
from resight.methods.cluster_contrast import ClusterContrast

#: Every method, by the name that ``resight train`` takes.
METHODS: dict[str, type[Method]] = {method.name: method for method in (ClusterContrast,)}

__all__ = ["METHODS", "Batch", "ClusterContrast", "Method", "MethodOptions"]
