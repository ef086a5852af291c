"""What an embedding and its clusters look like, in numbers: plain arrays in, plain arrays out."""

from resight.analysis.cameras import CameraConfusion, camera_confusion, camera_mixture
from resight.analysis.clusters import confidence, distance_order
from resight.analysis.doubt import Doubt, describe_doubt, doubt
from resight.analysis.journeys import (
    STAY,
    Journey,
    Move,
    Transition,
    journeys,
    moves,
    shortest_times,
    transitions,
    weigh_impossible,
)
from resight.analysis.plane import plane

__all__ = [
    "STAY",
    "CameraConfusion",
    "Doubt",
    "Journey",
    "Move",
    "Transition",
    "camera_confusion",
    "camera_mixture",
    "confidence",
    "describe_doubt",
    "distance_order",
    "doubt",
    "journeys",
    "moves",
    "plane",
    "shortest_times",
    "transitions",
    "weigh_impossible",
]
