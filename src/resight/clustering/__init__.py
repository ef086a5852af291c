"""From features to pseudo-labels: neighbour search, Jaccard distance, DBSCAN, bottom-up and two-stage clustering.

All functions take and return arrays. Compiled loops load on first use.
"""

from resight.clustering.agreement import cross_agreement
from resight.clustering.bottom_up import Merging, bottom_up, merge_clusters
from resight.clustering.camera_jaccard import CameraNeighbours, camera_jaccard, camera_neighbours
from resight.clustering.cameras import LeftOut, centre_by_camera, leave_out_one_camera
from resight.clustering.dbscan import dbscan
from resight.clustering.infomap import infomap
from resight.clustering.jaccard import jaccard_distance, neighbour_weights
from resight.clustering.labels import NoClusters, PseudoLabels, cluster_crops, find_neighbours
from resight.clustering.links import Links, respect_links
from resight.clustering.pseudo_cameras import pseudo_cameras
from resight.clustering.quality import clustering_quality, label_agreement
from resight.clustering.search import Neighbours, UnitRows, nearest_neighbours, unit_rows
from resight.clustering.selection import Examined, best_setting, examine_settings, longest_list
from resight.clustering.tracks import Tracks, respect_tracks, track_conflicts
from resight.clustering.two_stage import two_stage

__all__ = [
    "CameraNeighbours",
    "Examined",
    "LeftOut",
    "Links",
    "Merging",
    "Neighbours",
    "NoClusters",
    "PseudoLabels",
    "Tracks",
    "UnitRows",
    "best_setting",
    "bottom_up",
    "camera_jaccard",
    "camera_neighbours",
    "centre_by_camera",
    "cluster_crops",
    "clustering_quality",
    "cross_agreement",
    "dbscan",
    "examine_settings",
    "find_neighbours",
    "infomap",
    "jaccard_distance",
    "label_agreement",
    "leave_out_one_camera",
    "longest_list",
    "merge_clusters",
    "nearest_neighbours",
    "neighbour_weights",
    "pseudo_cameras",
    "respect_links",
    "respect_tracks",
    "track_conflicts",
    "two_stage",
    "unit_rows",
]
