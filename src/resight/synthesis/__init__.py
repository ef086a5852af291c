"""Synthetic worlds of walking people: data for re-identification that shows no real person."""

from __future__ import annotations

from resight.synthesis.config import LEVELS, WorldConfig, describe_knobs, world_config
from resight.synthesis.world import Made, World, synthetic, write_world

__all__ = ["LEVELS", "Made", "World", "WorldConfig", "describe_knobs", "synthetic", "world_config", "write_world"]
