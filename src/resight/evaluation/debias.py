"""What a camera adds to all its embeddings is taken away before crops are compared."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np

from resight.common.checks import as_array, one_of
from resight.errors import ResightError

Debias = Literal["none", "centre", "standardise"]
DEBIAS_FORMS = get_args(Debias)

#: Crops of all cameras that count beside a camera's own, so that a camera of few crops leans on the others.
_SHARED = 5
_LEAST_DEVIATION = 1e-3


def debias_by_camera(features: Any, camera: Any, *, form: Debias = "centre", reference: Any = None) -> np.ndarray:
    """Embeddings without what their camera adds: f̂ = (f − m_c) / σ_c, L2-normalised.

    m_c and σ_c are mean and deviation of each dimension over camera c's reference crops, to which those of all cameras
    are added with the weight of five crops. This uses camera labels. Source: Song, Park and Lee, ICLR 2025, arXiv
    2502.10195.

    Args:
        features: ``(N, D)`` embeddings.
        camera: ``(N,)`` camera of each crop.
        form: ``centre`` leaves σ_c out; ``standardise`` is the formula; ``none`` changes nothing.
        reference: ``(N,)`` bool: the crops that m_c and σ_c are taken from, such as the gallery; all if not given.

    Returns:
        ``(N, D)`` float32, L2-normalised; with ``none`` the features themselves.

    Raises:
        ResightError: there is not one camera per crop, there is no reference, or the form is not one of these.
    """
    one_of("debias", form, DEBIAS_FORMS)
    if form == "none":
        return np.asarray(features)
    values = as_array("The features", features)
    if camera is None:
        raise ResightError(
            f"debias={form} needs the camera of every crop, and none are known: give the crop table a camera column or "
            "leave debias out."
        )
    cameras = as_array("The cameras", camera)
    inside = np.ones(len(values), bool) if reference is None else as_array("The reference crops", reference)
    if values.ndim != 2 or cameras.shape != (len(values),) or inside.shape != cameras.shape or inside.dtype != bool:
        raise ResightError(
            f"There are {len(values)} features: give a matrix of these, one camera per crop, and for each crop whether "
            "it is a reference."
        )
    if not inside.any():
        raise ResightError("There are no reference crops to take the cameras' means from: name at least one.")
    values = values.astype(np.float64)
    pool, spread = values[inside].mean(axis=0), values[inside].var(axis=0)
    result = np.empty(values.shape, np.float32)
    for number in np.unique(cameras):
        own = cameras == number
        members = values[own & inside]
        share = len(members) / (len(members) + _SHARED)
        mean = share * (members.mean(axis=0) if len(members) else 0) + (1 - share) * pool
        moved = values[own] - mean
        if form == "standardise":
            variance = share * (members.var(axis=0) if len(members) else 0) + (1 - share) * spread
            moved /= np.sqrt(variance) + _LEAST_DEVIATION
        norm = np.linalg.norm(moved, axis=1, keepdims=True)
        result[own] = np.where(norm > 0, moved / np.where(norm > 0, norm, 1), values[own])
    return result
