"""Methods, one per file."""

from typing import Any

from resight.methods.adtc import Adtc
from resight.methods.base import Batch, EpochData, EpochPlan, Method, MethodData, MethodOptions, Needs
from resight.methods.cluster_contrast import ClusterContrast
from resight.methods.dcmip import Dcmip
from resight.methods.idl_acl import IdlAcl
from resight.methods.mar import Mar
from resight.methods.pplr import Pplr
from resight.methods.supervised import Supervised

#: Every method, by the name that ``resight train`` takes.
METHODS: dict[str, type[Method[Any]]] = {
    method.name: method for method in (ClusterContrast, Adtc, Dcmip, IdlAcl, Mar, Pplr, Supervised)
}

__all__ = [
    "METHODS",
    "Adtc",
    "Batch",
    "ClusterContrast",
    "Dcmip",
    "EpochData",
    "EpochPlan",
    "IdlAcl",
    "Mar",
    "Method",
    "MethodData",
    "MethodOptions",
    "Needs",
    "Pplr",
    "Supervised",
]
