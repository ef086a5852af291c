"""What an embedding and its clusters look like, in numbers: plain arrays in, plain arrays out."""

from resight.analysis.cameras import CameraConfusion, camera_confusion, camera_mixture
from resight.analysis.clusters import Journey, confidence, distance_order, journeys
from resight.analysis.doubt import Doubt, describe_doubt, doubt
from resight.analysis.plane import plane

__all__ = [
    "CameraConfusion",
    "Doubt",
    "Journey",
    "camera_confusion",
    "camera_mixture",
    "confidence",
    "describe_doubt",
    "distance_order",
    "doubt",
    "journeys",
    "plane",
]
