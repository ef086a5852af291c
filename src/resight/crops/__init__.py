"""Crops: the table of crops, its readers and writers, its splits, decoded images."""

from __future__ import annotations

from resight.common.identities import DISTRACTOR, JUNK, UNLABELLED
from resight.crops.check import CheckReport, check_crops, remarks
from resight.crops.images import UnreadableImage, file_digest, read_image
from resight.crops.readers import FORMATS, Format, detect_format, read_crops, write_table
from resight.crops.splits import balanced_subset, identity_split, reference_crops, unbalanced_subset
from resight.crops.table import GALLERY, QUERY, SPLITS, TRAIN, CropTable

__all__ = [
    "DISTRACTOR",
    "FORMATS",
    "GALLERY",
    "JUNK",
    "QUERY",
    "SPLITS",
    "TRAIN",
    "UNLABELLED",
    "CheckReport",
    "CropTable",
    "Format",
    "UnreadableImage",
    "balanced_subset",
    "check_crops",
    "detect_format",
    "file_digest",
    "identity_split",
    "read_crops",
    "read_image",
    "reference_crops",
    "remarks",
    "unbalanced_subset",
    "write_table",
]
