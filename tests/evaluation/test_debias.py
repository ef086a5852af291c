from __future__ import annotations

import numpy as np
import pytest

from resight.errors import ResightError
from resight.evaluation import debias_by_camera, evaluate_retrieval


def crops(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    identity, camera = np.repeat(np.arange(1, 11), 6), np.tile([0, 1, 2], 20)
    bias = 3 * rng.normal(size=(3, 16))
    values = rng.normal(size=(11, 16))[identity] + bias[camera] + 0.3 * rng.normal(size=(60, 16))
    return values / np.linalg.norm(values, axis=1, keepdims=True), identity, camera


@pytest.mark.parametrize("form", ["centre", "standardise"])
def test_each_dimension_follows_the_formula(form: str) -> None:
    features, _, camera = crops()
    reference = np.arange(60) % 4 != 0
    found = debias_by_camera(features, camera, form=form, reference=reference)  # type: ignore[arg-type]
    for row in range(60):
        own = features[(camera == camera[row]) & reference]
        share = len(own) / (len(own) + 5)
        expected = []
        for column in range(16):
            pool = features[reference, column]
            mean = share * np.mean(own[:, column]) + (1 - share) * np.mean(pool)
            sigma = np.sqrt(share * np.var(own[:, column]) + (1 - share) * np.var(pool)) + 1e-3
            expected.append((features[row, column] - mean) / (sigma if form == "standardise" else 1))
        np.testing.assert_allclose(found[row], np.array(expected) / np.linalg.norm(expected), atol=1e-5)


def test_a_camera_without_reference_crops_takes_the_mean_of_all() -> None:
    features, _, camera = crops()
    found = debias_by_camera(features, camera, reference=camera != 2)
    moved = features - features[camera != 2].mean(axis=0)
    np.testing.assert_allclose(
        found[camera == 2], (moved / np.linalg.norm(moved, axis=1, keepdims=True))[camera == 2], atol=1e-6
    )


def test_it_finds_identities_across_cameras() -> None:
    features, identity, camera = crops()

    def score(values: np.ndarray) -> float:
        own = np.arange(60) % 6 < 3, np.arange(60) % 6 >= 3
        sides = [side[part] for side in (values, identity, camera) for part in own]
        return evaluate_retrieval(*sides).mAP

    assert score(debias_by_camera(features, camera)) > score(features) + 0.2


def test_without_a_form_nothing_changes() -> None:
    features, _, camera = crops()
    assert debias_by_camera(features, camera, form="none") is features


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"camera": None}, "needs the camera of every crop"),
        ({"camera": np.zeros(3)}, "one camera per crop"),
        ({"reference": np.zeros(60, bool)}, "no reference crops"),
        ({"form": "mean"}, "debias"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(options: dict[str, object], said: str) -> None:
    features, _, camera = crops()
    with pytest.raises(ResightError, match=said):
        debias_by_camera(features, **({"camera": camera} | options))  # type: ignore[arg-type]
