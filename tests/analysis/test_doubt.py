"""How sure clusters are."""

import itertools

import numpy as np
import pytest

from resight.analysis import describe_doubt, doubt
from resight.clustering import NoClusters, label_agreement
from resight.errors import ResightError


def slow(labels, halves, camera):
    """The definitions in loops; ``halves`` are (rows, labels of the half)."""
    stays, ratios, agreement = dict.fromkeys(range(len(labels)), 0.0), [], []
    fell, joined = {}, {}
    for rows, half in halves:
        here = {c: [i for i in rows if labels[i] == c] for c in set(labels.tolist()) - {-1}}
        there = {c: [i for i, own in zip(rows, half, strict=True) if own == c] for c in set(half.tolist()) - {-1}}
        of = dict(zip(rows.tolist(), half.tolist(), strict=True))
        ratios.append(len(there) / max(1, sum(len(crops) > 1 for crops in here.values())))
        agreement.append(label_agreement(labels[rows], half))
        for i in rows.tolist():
            if labels[i] >= 0 and of[i] >= 0:
                a, b = set(here[labels[i]]) - {i}, set(there[of[i]]) - {i}
                stays[i] += len(a & b) / len(a | b) if a | b else 0
        main = {}
        for c, crops in here.items():
            parts = sorted([sum(of[i] == d for i in crops) for d in there], reverse=True)
            fell[c] = fell.get(c, 0) + (len(parts) > 1 and parts[1] >= max(2, len(crops) / 4))
            for d in there:
                inside = sum(of[i] == d for i in crops)
                if inside >= 2 and 2 * inside > len(crops):
                    main[c] = d
        for a, b in itertools.combinations(sorted(main), 2):
            if main[a] == main[b]:
                joined[a, b] = joined.get((a, b), 0) + 1
    number = len(halves) / 2
    cameras = sorted(set(camera[labels >= 0].tolist()))
    apart = [
        (a, b)
        for a, b in itertools.combinations(cameras, 2)
        if not any({a, b} <= set(camera[labels == c].tolist()) for c in set(labels.tolist()) - {-1})
    ]
    sure = [stays[i] / number >= 0.75 - 1e-12 for i in range(len(labels))]
    merged = [c for c in sorted(fell) if fell[c] > number]
    split = [pair for pair in sorted(joined) if joined[pair] > number]
    return float(np.mean(ratios)), float(np.mean(agreement)), sure, merged, split, apart


def test_against_loops():
    for seed in range(6):
        rng = np.random.default_rng(seed)
        labels = rng.integers(-1, 12, 150)
        labels[labels >= 0] = np.unique(labels[labels >= 0], return_inverse=True)[1]
        camera = np.where(rng.random(150) < 0.95, labels % 4, rng.integers(0, 4, 150))
        # clusters 0 and 1 are one identity, 2 is two; a few crops go astray
        truth = np.where(labels == 1, 0, labels)
        truth[(labels == 2) & (rng.random(150) < 0.5)] = 50
        halves = []

        def cluster(rows, truth=truth, halves=halves, rng=rng):
            found = np.where(rng.random(len(rows)) < 0.1, rng.integers(-1, 4, len(rows)), truth[rows])
            found[found >= 0] = np.unique(found[found >= 0], return_inverse=True)[1]
            halves.append((rows, found))
            return found

        result = doubt(labels, cluster, camera=camera, draws=3, seed=seed)
        assert np.array_equal(np.sort(np.concatenate([halves[0][0], halves[1][0]])), np.arange(150))
        ratio, agreement, sure, merged, split, apart = slow(labels, halves, camera)
        assert result.clusters == labels.max() + 1
        assert result.low <= result.clusters * ratio <= result.high or result.low == round(result.clusters * ratio)
        assert result.stability == pytest.approx(agreement)
        assert result.sure.tolist() == sure
        assert [*result.merged] == merged
        assert [*result.split] == split == [(0, 1)]
        assert [*result.apart] == apart


def test_clear_clusters_leave_no_doubt_and_none_are_said_so():
    labels = np.repeat(np.arange(10), 12)
    clear = doubt(labels, lambda rows: labels[rows], camera=np.arange(120) % 3)
    assert (clear.low, clear.clusters, clear.high, clear.stability) == (10, 10, 10, 1)
    assert clear.sure.all()
    assert describe_doubt(clear.to_dict()) == [
        "What can be known without labels: 10 identities among the crops; 100 % of the crops are sure, since they keep "
        "their companions when half of the crops are clustered; 0 % are in no cluster and may show other identities."
    ]

    def nothing(rows):
        raise NoClusters("none")

    lost = doubt(labels, nothing, camera=labels // 5)
    assert lost.stability == 0
    assert not lost.sure.any()
    assert lost.apart == ((0, 1),)
    assert describe_doubt(lost.to_dict(), {0: "door", 1: "yard"})[-1].endswith("both of these cameras: door and yard.")
    empty = doubt(np.full(9, -1), nothing)
    assert describe_doubt(empty.to_dict()) == ["No crop is in a cluster, so nothing can be said of identities."]
    with pytest.raises(ResightError, match="not -3"):
        doubt([-3, 0], nothing)
