"""Checks of identities, cameras and options, before anything is ranked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from resight.common.checks import as_array, integers, one_of, whole
from resight.common.identities import DISTRACTOR, JUNK
from resight.errors import ResightError
from resight.evaluation.metrics import AP_CONVENTIONS


@dataclass(frozen=True, eq=False)
class Labels:
    """Checked labels of Q queries and of the K gallery crops that are not junk.

    Attributes:
        query_identity: ``(Q,)`` int64.
        gallery_identity: ``(K,)`` int64.
        query_camera: ``(Q,)`` int64, or ``None`` without cameras.
        gallery_camera: ``(K,)`` int64, or ``None`` without cameras.
        kept: ``(G,)`` bool: whether a crop of the whole gallery is among the K.
    """

    query_identity: np.ndarray
    gallery_identity: np.ndarray
    query_camera: np.ndarray | None
    gallery_camera: np.ndarray | None
    kept: np.ndarray

    def drop_junk(self, distances: np.ndarray) -> np.ndarray:
        """``(B, K)`` of ``(B, G)`` distances: without the columns of junk."""
        return distances if self.kept.all() else distances[:, self.kept]


def check_labels(
    shape: tuple[int, int],
    query_identity: np.ndarray,
    gallery_identity: np.ndarray,
    query_camera: np.ndarray | None,
    gallery_camera: np.ndarray | None,
) -> Labels:
    """Checks the labels of queries and gallery.

    Args:
        shape: Q and G, the numbers of queries and of gallery crops.
        query_identity: ``(Q,)`` integers, at least 1.
        gallery_identity: ``(G,)`` integers; -1 is junk, 0 is a distractor.
        query_camera: ``(Q,)`` integers, or ``None`` together with ``gallery_camera``.
        gallery_camera: ``(G,)`` integers, or ``None``.

    Returns:
        The labels as int64, the gallery's without junk.

    Raises:
        ResightError: There is no query or no gallery crop, cameras are given for only one of the two, an array has
            another shape or no integers, or an identity is out of range.
    """
    for name, size in zip(("query", "gallery"), shape, strict=True):
        if size == 0:
            raise ResightError(f"There is no {name} crop: there is nothing to evaluate.")
    if (query_camera is None) != (gallery_camera is None):
        missing = "query" if query_camera is None else "gallery"
        raise ResightError(
            f"The {missing} cameras are missing: give cameras for both query and gallery, or for neither."
        )
    identity = _column(query_identity, shape[0], "query", "identities")
    of_gallery = _column(gallery_identity, shape[1], "gallery", "identities")
    camera = None if query_camera is None else _column(query_camera, shape[0], "query", "cameras")
    gallery_cameras = None if gallery_camera is None else _column(gallery_camera, shape[1], "gallery", "cameras")
    bad = np.flatnonzero(identity <= DISTRACTOR)
    if len(bad):
        raise ResightError(
            f"Query row {bad[0]} has identity {identity[bad[0]]} ({len(bad)} such queries), which can have no right "
            "answer: identities are numbered from 1 (0 is a distractor, -1 is junk)."
        )
    bad = np.flatnonzero(of_gallery < JUNK)
    if len(bad):
        raise ResightError(
            f"Gallery row {bad[0]} has identity {of_gallery[bad[0]]} ({len(bad)} such crops), which is no label: give "
            "the identity's number, 0 for a crop that shows none of the queries' identities, or -1 to ignore the crop."
        )
    kept = of_gallery != JUNK
    return Labels(identity, of_gallery[kept], camera, None if gallery_cameras is None else gallery_cameras[kept], kept)


def check_options(ap: str, max_rank: int, block: int | None) -> tuple[int, int | None]:
    """``max_rank`` and ``block`` as plain numbers; a :class:`ResightError` if these cannot be options."""
    one_of("ap, the convention for average precision,", ap, AP_CONVENTIONS)
    max_rank = whole("max_rank, the length of the CMC curve,", max_rank, most=1_000_000)
    return max_rank, None if block is None else whole("block, the queries at a time,", block)


def _column(values: np.ndarray, size: int, name: str, what: str) -> np.ndarray:
    """The values as ``(size,)`` int64, or a :class:`ResightError`."""
    column = as_array(f"The {name} {what}", values)
    if column.shape != (size,):
        raise ResightError(
            f"The {name} {what} have shape {column.shape}, but there are {size} {name} crops: give one value per crop."
        )
    return integers(f"The {name} {what}", column)
