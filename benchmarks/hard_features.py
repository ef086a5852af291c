"""Seeded features as hard to tell apart as those of a model in training, of any size.

Persons come in families that look alike, a camera moves all its crops, a person looks different in each camera, and
crops scatter: all this in a subspace of few dimensions, as in trained embeddings, where neighbourhoods overlap. Noise
in all dimensions is small beside it. With ``difficulty=1``, about 0.8 of the five nearest other crops of 12,936 crops
of 751 persons from 6 cameras (the size of Market-1501's training set) are of the same person.
"""

from __future__ import annotations

import numpy as np

#: Dimensions in which persons, cameras and crops differ.
RANK = 48
#: Persons who look alike.
FAMILY = 4
#: Standard deviations of a coordinate, beside 1 of the family's centre: what is a person's own, a camera's shift, a
#: person's look in a camera, and the scatter of crops.
PERSON, CAMERA, LOOK, SCATTER = 0.75, 0.5, 0.65, 1.15
#: The length of the noise in all dimensions, where that of a standard normal code is 1.
NOISE = 0.75
#: Rows generated at once: part of the definition, because each block has its own seed.
BLOCK = 8192


def hard_world(num_crops: int, identities: int, cameras: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Who is on each crop and which camera took it, in random order.

    Args:
        num_crops: N, at least two a person.
        identities: Persons, numbered from 1.
        cameras: Cameras, numbered from 0.
        seed: Of the random numbers.

    Returns:
        ``(N,)`` int64 identities, with unequal numbers of crops, and ``(N,)`` int64 cameras. A person is seen by some
        of the cameras only.
    """
    rng = np.random.default_rng([seed, 1])
    share = rng.gamma(2.5, size=identities)
    identity = np.repeat(
        np.arange(1, identities + 1), 2 + rng.multinomial(num_crops - 2 * identities, share / share.sum())
    )
    rng.shuffle(identity)
    # The cameras of a person: the first few of a random order of all.
    order = rng.permuted(np.tile(np.arange(cameras), (identities, 1)), axis=1)
    seen_by = rng.integers(min(2, cameras), cameras + 1, size=identities)
    return identity, order[identity - 1, rng.integers(0, seen_by[identity - 1])]


def hard_features(
    identity: np.ndarray,
    camera: np.ndarray,
    dim: int,
    seed: int,
    *,
    difficulty: float = 1.0,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Features of the given crops, not normalised; the same for the same arguments.

    Args:
        identity: ``(N,)`` integers, at least 0. Crops of identity 0 are each of a person of their own.
        camera: ``(N,)`` integers, at least 0.
        dim: D.
        seed: Of the random numbers.
        difficulty: Factor of all that parts crops of one person; 1 as the module says.
        out: ``(N, D)`` array or memory map of floats to write into, a block of rows at a time; a new float32 array
            where ``None``.

    Returns:
        ``out``, ``(N, D)``.
    """
    rng = np.random.default_rng([seed, 2])
    people, width = int(identity.max()) + 1, min(RANK, dim)
    basis = rng.standard_normal((width, dim), dtype=np.float32) / np.float32(np.sqrt(dim))
    family = rng.standard_normal((people // FAMILY + 1, width), dtype=np.float32)
    centre = family[np.arange(people) // FAMILY] + PERSON * rng.standard_normal((people, width), dtype=np.float32)
    shift = CAMERA * difficulty * rng.standard_normal((int(camera.max()) + 1, width), dtype=np.float32)
    pairs, pair = np.unique(identity * len(shift) + camera, return_inverse=True)
    look = LOOK * difficulty * rng.standard_normal((len(pairs), width), dtype=np.float32)
    if out is None:
        out = np.empty((len(identity), dim), dtype=np.float32)
    noise = np.float32(NOISE * difficulty * np.sqrt(width / dim))
    for start in range(0, len(identity), BLOCK):
        rng = np.random.default_rng([seed, 3, start])
        rows = slice(start, min(start + BLOCK, len(identity)))
        who = identity[rows]
        code = SCATTER * difficulty * rng.standard_normal((len(who), width), dtype=np.float32)
        code += centre[who]
        code[who == 0] += 2 * rng.standard_normal((np.count_nonzero(who == 0), width), dtype=np.float32)
        code += shift[camera[rows]]
        code += look[pair[rows]]
        part = rng.standard_normal((len(who), dim), dtype=np.float32)
        part *= noise
        part += code @ basis
        out[rows] = part
    return out


def precision_at_5(features: np.ndarray, identity: np.ndarray, *, sample: int = 1000, seed: int = 0) -> float:
    """Share of the same person among the five nearest other crops, over a random sample of crops.

    Args:
        features: ``(N, D)`` array or memory map of floats.
        identity: ``(N,)`` integers.
        sample: Crops looked at.
        seed: Of the sample.

    Returns:
        The share, by cosine similarity.
    """
    size = len(identity)
    chosen = np.sort(np.random.default_rng(seed).choice(size, min(sample, size), replace=False))
    probe = np.asarray(features[chosen], dtype=np.float32)
    best = np.full((len(chosen), 5), -np.inf, dtype=np.float32)
    where = np.zeros((len(chosen), 5), dtype=np.int64)
    for start in range(0, size, BLOCK):
        part = np.asarray(features[start : start + BLOCK], dtype=np.float32)
        similarity = probe @ (part / np.linalg.norm(part, axis=1, keepdims=True)).T
        similarity[chosen[:, None] == np.arange(start, start + len(part))] = -np.inf
        similarity = np.concatenate([best, similarity], axis=1)
        column = np.concatenate([where, np.tile(np.arange(start, start + len(part)), (len(chosen), 1))], axis=1)
        top = np.argpartition(-similarity, 5, axis=1)[:, :5]
        best, where = np.take_along_axis(similarity, top, 1), np.take_along_axis(column, top, 1)
    return float((identity[where] == identity[chosen, None]).mean())
