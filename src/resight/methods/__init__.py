"""Methods, one a file."""

from resight.methods.adtc import Adtc
from resight.methods.base import Batch, Method, MethodOptions
from resight.methods.cluster_contrast import ClusterContrast
from resight.methods.dcmip import Dcmip
from resight.methods.idl_acl import IdlAcl
from resight.methods.mar import Mar
from resight.methods.pplr import Pplr
from resight.methods.supervised import Supervised

#: Every method, by the name that ``resight train`` takes.
METHODS: dict[str, type[Method]] = {
    method.name: method for method in (ClusterContrast, Adtc, Dcmip, IdlAcl, Mar, Pplr, Supervised)
}

__all__ = [
    "METHODS",
    "Adtc",
    "Batch",
    "ClusterContrast",
    "Dcmip",
    "IdlAcl",
    "Mar",
    "Method",
    "MethodOptions",
    "Pplr",
    "Supervised",
]
