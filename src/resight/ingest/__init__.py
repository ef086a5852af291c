"""From video to sightings: frames, boxes, tracks, and the folder that their crops are kept in."""

from __future__ import annotations

from resight.ingest.annotations import read_boxes, write_mot
from resight.ingest.boxes import Boxes, GivenBoxes
from resight.ingest.detectors import MotionDetector, OnnxDetector
from resight.ingest.run import Feed, Ingest, Result, parse_duration, parse_time, read_feeds
from resight.ingest.store import Sightings
from resight.ingest.video import open_source

__all__ = [
    "Boxes",
    "Feed",
    "GivenBoxes",
    "Ingest",
    "MotionDetector",
    "OnnxDetector",
    "Result",
    "Sightings",
    "open_source",
    "parse_duration",
    "parse_time",
    "read_boxes",
    "read_feeds",
    "write_mot",
]
