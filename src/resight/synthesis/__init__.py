"""Synthetic worlds of walking people: data for re-identification that shows no real person."""

from __future__ import annotations

from resight.synthesis.config import LEVELS, WorldConfig, describe_knobs, world_config
from resight.synthesis.video import MadeVideos, VideoConfig, describe_video_settings, video_config, write_videos
from resight.synthesis.world import Made, World, synthetic, write_world

__all__ = [
    "LEVELS",
    "Made",
    "MadeVideos",
    "VideoConfig",
    "World",
    "WorldConfig",
    "describe_knobs",
    "describe_video_settings",
    "synthetic",
    "video_config",
    "world_config",
    "write_videos",
    "write_world",
]
