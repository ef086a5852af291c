"""Encoders: images in, features out."""

from resight.encoders.embed import channel_statistics, early_statistics, embed_images, map_images
from resight.encoders.encoder import Encoder, EncoderConfig, Features, build_backbone
from resight.encoders.weights import read_state

__all__ = [
    "Encoder",
    "EncoderConfig",
    "Features",
    "build_backbone",
    "channel_statistics",
    "early_statistics",
    "embed_images",
    "map_images",
    "read_state",
]
