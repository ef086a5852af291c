"""Nearest neighbours of L2-normalised features: exact or approximate, in memory or on disk, on a CPU or a GPU."""

from resight.clustering.search.neighbours import Neighbours, Search, nearest_neighbours
from resight.clustering.search.rows import UnitRows, unit_rows

__all__ = ["Neighbours", "Search", "UnitRows", "nearest_neighbours", "unit_rows"]
