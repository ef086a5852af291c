"""Embeddings in two dimensions."""

from __future__ import annotations

import numpy as np

from resight.clustering import unit_rows
from resight.common.checks import LARGEST_SEED, as_array, number, whole
from resight.errors import ResightError


def plane(features: np.ndarray, *, perplexity: float = 30, seed: int = 0) -> np.ndarray:
    """Lays embeddings out in two dimensions by t-SNE (van der Maaten and Hinton 2008), on cosine distances.

    openTSNE computes it from a start by principal components: the same features and seed give the same layout on one
    machine.

    Args:
        features: ``(N, D)`` embeddings, at least 4.
        perplexity: About how many neighbours a crop has. At most a third of the crops: a larger number is lowered.
        seed: Seed of the search for neighbours.

    Returns:
        ``(N, 2)`` float32.

    Raises:
        ResightError: there are fewer than 4 crops, or openTSNE is not installed.
    """
    unit = unit_rows(as_array("The features", features)).take(slice(None))
    perplexity = number("perplexity", perplexity, least=1)
    seed = whole("seed", seed, least=0, most=LARGEST_SEED)
    if len(unit) < 4:
        raise ResightError(f"t-SNE needs at least 4 crops, not {len(unit)}.")
    try:
        from openTSNE import TSNE
    except ImportError as error:
        raise ResightError("t-SNE needs a package that is not installed: pip install 'resight[report]'.") from error
    perplexity = max(1.0, min(perplexity, (len(unit) - 1) / 3))
    found = TSNE(
        perplexity=perplexity,
        metric="cosine",
        neighbors="exact" if len(unit) < 3000 else "auto",
        initialization="pca",
        random_state=seed % 2**32,
        n_jobs=1,
    ).fit(unit)
    return np.asarray(found, np.float32)
