import math

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from resight.clustering import PseudoLabels, clustering_quality, label_agreement
from resight.errors import ResightError


def count_pairs(label: list[int], identity: list[int]) -> dict[str, float]:
    """Every pair looked at: the scores that are made of pairs."""
    a = b = c = d = 0
    for i in range(len(label)):
        for j in range(i):
            cluster, person = label[i] == label[j], identity[i] == identity[j]
            a += cluster and person
            b += cluster and not person
            c += person and not cluster
            d += not cluster and not person
    precision = a / (a + b) if a + b else 0.0
    recall = a / (a + c) if a + c else 0.0
    expected = (a + b) * (a + c) / (a + b + c + d)
    highest = (a + b + a + c) / 2
    return {
        "pair_precision": precision,
        "pair_recall": recall,
        "fowlkes_mallows": math.sqrt(precision * recall),
        "ari": (a - expected) / (highest - expected),
    }


def entropies(label: list[int], identity: list[int]) -> dict[str, float]:
    """Homogeneity, completeness and V-measure from the entropies."""
    n = len(label)

    def entropy(values: list) -> float:
        return -sum(p * math.log(p) for v in set(values) if (p := values.count(v) / n))

    joint = entropy(list(zip(label, identity, strict=True)))
    homogeneity = 1 - (joint - entropy(label)) / entropy(identity)
    completeness = 1 - (joint - entropy(identity)) / entropy(label)
    return {
        "homogeneity": homogeneity,
        "completeness": completeness,
        "v_measure": 2 * homogeneity * completeness / (homogeneity + completeness),
    }


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_counting(seed):
    rng = np.random.default_rng(seed)
    identity = rng.integers(-1, 8, 90)
    label = np.where(rng.uniform(size=90) < 0.7, np.maximum(identity, 0), rng.integers(0, 9, 90))
    label[rng.uniform(size=90) < 0.2] = -1
    _, renumbered = np.unique(label, return_inverse=True)
    label = renumbered - 1  # 0 … C-1 and -1, the outliers being the lowest
    found = clustering_quality(PseudoLabels(label), identity)

    keep = (identity > 0) & (label >= 0)
    alone = [value if value >= 0 else 1000 + i for i, value in enumerate(label.tolist())]
    everyone = (identity > 0).nonzero()[0].tolist()
    for prefix, these, people in (
        ("", label[keep].tolist(), identity[keep].tolist()),
        ("all_", [alone[i] for i in everyone], [int(identity[i]) for i in everyone]),
    ):
        for name, value in {**count_pairs(these, people), **entropies(these, people)}.items():
            assert found[prefix + name] == pytest.approx(value, abs=1e-9), prefix + name
        assert found[f"{prefix}scored"] == len(these)
        assert -1 <= found[f"{prefix}ami"] <= 1
    assert found["clusters"] == label.max() + 1
    assert found["outliers"] == (label < 0).sum()
    assert found["without_identity"] == (identity <= 0).sum()


def test_perfect_and_plain():
    found = clustering_quality(np.array([0, 0, 1, 1, 2, 2]), np.array([7, 7, 3, 3, 9, 9]))
    for name in ("ari", "ami", "fowlkes_mallows", "v_measure", "homogeneity", "completeness", "pair_precision"):
        assert found[name] == pytest.approx(1)
        assert found[f"all_{name}"] == pytest.approx(1)
    assert found["pair_recall"] == 1
    assert {type(value) for value in found.values()} == {int, float}


@pytest.mark.parametrize(
    ("label", "identity"),
    [
        ([-1, -1, -1], [1, 1, 2]),  # nothing clustered
        ([0, 0, 0], [0, -1, 0]),  # nobody known
        ([0, 1, 2], [1, 2, 3]),  # no pairs at all
        ([0, 0, 0], [1, 1, 1]),
        ([0], [5]),
        ([], []),
    ],
)
def test_never_nan(label, identity):
    found = clustering_quality(np.array(label, int), np.array(identity, int))
    assert all(math.isfinite(value) for value in found.values())


def test_nothing_clustered_is_zero():
    found = clustering_quality(np.array([-1, -1, -1]), np.array([1, 1, 2]))
    for name in ("ari", "ami", "fowlkes_mallows", "v_measure", "pair_precision", "pair_recall", "scored"):
        assert found[name] == 0
    assert (found["clusters"], found["outliers"], found["all_scored"]) == (0, 3, 3)


def test_arrays_of_different_length_are_refused():
    with pytest.raises(ResightError, match="one integer label and one integer identity per crop"):
        clustering_quality(np.zeros(3, int), np.zeros(4, int))


def test_agreement_of_labellings_counts_each_outlier_alone():
    labels, others = np.array([0, 0, 1, 1, -1, -1]), np.array([3, 3, 0, 0, -1, -1])
    assert label_agreement(labels, others) == 1
    assert label_agreement(PseudoLabels(labels), labels) == 1
    moved = np.array([0, 0, 1, -1, 1, -1])
    assert label_agreement(labels, moved) == pytest.approx(adjusted_rand_score([0, 0, 1, 1, 2, 3], [0, 0, 1, 2, 1, 3]))
    assert label_agreement(labels, np.full(6, -1)) == 0
    with pytest.raises(ResightError, match="same crops"):
        label_agreement(labels, moved[:5])
