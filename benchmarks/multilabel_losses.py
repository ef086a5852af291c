"""The losses of MAR beside loops over crops, cameras and pairs: seconds of a forward and backward pass.

Both sides run in one process, turn by turn, on the same seeded features; their losses are compared.

    python benchmarks/multilabel_losses.py
    python benchmarks/multilabel_losses.py --crops 64 --persons 500 --dim 1280
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.distance import pdist
from torch import Tensor

from resight.losses import cross_view_consistency, joint_embedding, multilabel_discriminative, pair_agreement
from resight.proxies import log_multilabels

RATIO, MARGIN = 0.005, 1.0


def joint_by_crops(source: Tensor, labels: Tensor, target: Tensor, agents: Tensor) -> Tensor:
    """The joint embedding loss, crop by crop."""
    terms = []
    for crop, feature in enumerate(torch.cat([source, target])):
        hard = agents @ feature.detach() > 1 - MARGIN / 2
        if crop < len(source):
            terms.append((feature - agents[labels[crop]]).square().sum())
            hard[labels[crop]] = False
        if hard.any():
            terms.append((MARGIN - (feature - agents[hard]).square().sum(1)).clamp(min=0).mean())
    return torch.stack(terms).mean()


def consistency_by_cameras(logs: Tensor, camera: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """The consistency loss, camera by camera."""
    terms = []
    for number in camera.unique():
        rows = logs[camera == number]
        if len(rows) > 1:
            terms += [(rows.mean(0) - mean).square().sum(), (rows.std(0) - std).square().sum()]
    return torch.stack(terms).mean()


def discriminative_by_pairs(features: Tensor, multilabels: Tensor, threshold: float) -> Tensor:
    """The discriminative loss: distances of all pairs on the host, then pair by pair."""
    distance = pdist(features.detach().cpu().numpy())
    agreement = 1 - pdist(multilabels.cpu().numpy(), "cityblock") / 2
    first, second = np.triu_indices(len(features), 1)
    near: list[Tensor] = []
    far: list[Tensor] = []
    for pair in np.argsort(distance)[: max(1, int(len(distance) * RATIO))]:
        likeness = torch.exp(-(features[first[pair]] - features[second[pair]]).square().sum())
        (near if agreement[pair] > threshold else far).append(likeness)
    negative = torch.stack(far).mean() if far else torch.tensor(0.5)
    positive = torch.stack(near).mean() if near else torch.tensor(1.0)
    return torch.log(positive + negative) - torch.log(positive)


def main() -> None:
    """Prints seconds and ratios of each loss and of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=int, default=184, help="of each set in a batch")
    parser.add_argument("--persons", type=int, default=4101)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--cameras", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    generator = torch.Generator().manual_seed(options.seed)

    def unit(rows: int) -> Tensor:
        return F.normalize(torch.randn(rows, options.dim, generator=generator))

    agents = unit(options.persons)
    labels = torch.randint(0, options.persons, (options.crops,), generator=generator)
    camera = torch.randint(0, options.cameras, (options.crops,), generator=generator)
    # crops near agents, a few target crops to an agent, so that there are hard agents, and positive and negative pairs
    people = torch.randint(0, options.persons, (max(1, options.crops // 4),), generator=generator).repeat(5)
    noise = torch.linspace(1, 4, 2 * options.crops)[torch.randperm(2 * options.crops, generator=generator), None]
    start = F.normalize(torch.cat([agents[labels], agents[people[: options.crops]]]) + noise * unit(2 * options.crops))
    log_start = log_multilabels(start[options.crops :], agents)
    mean, std = log_start.mean(0), log_start.std(0)
    blended = log_start.exp()
    threshold = pair_agreement(blended).quantile(1 - RATIO / 2).item()

    def split(features: Tensor) -> tuple[Tensor, Tensor]:
        return features[: options.crops], features[options.crops :]

    sides: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
        "joint embedding": (
            lambda f: joint_embedding(split(f)[0], labels, split(f)[1], agents, MARGIN),
            lambda f: joint_by_crops(split(f)[0], labels, split(f)[1], agents),
        ),
        "cross-view consistency": (
            lambda logs: cross_view_consistency(logs, camera, options.cameras, mean, std),
            lambda logs: consistency_by_cameras(logs, camera, mean, std),
        ),
        "discriminative": (
            lambda f: multilabel_discriminative(split(f)[1], pair_agreement(blended), threshold, RATIO),
            lambda f: discriminative_by_pairs(split(f)[1], blended, threshold),
        ),
    }
    print(
        f"{options.crops} + {options.crops} crops, {options.persons} persons, {options.dim} dimensions, "
        f"{torch.get_num_threads()} threads, fastest of {options.repeats}"
    )
    print(f"{'':24}{'Resight':>12}{'loops':>12}{'ratio':>8}{'difference':>14}")
    total = [0.0, 0.0]
    for name, functions in sides.items():
        seconds: list[list[float]] = [[], []]
        losses = [0.0, 0.0]
        for turn in range(options.repeats + 1):
            for side, function in enumerate(functions):
                inputs = (log_start if name == "cross-view consistency" else start).clone().requires_grad_()
                begin = time.perf_counter()
                loss = function(inputs)
                loss.backward()
                if turn:
                    seconds[side].append(time.perf_counter() - begin)
                losses[side] = loss.item()
        fastest = [min(times) for times in seconds]
        total = [a + b for a, b in zip(total, fastest, strict=True)]
        print(
            f"{name:24}{1e3 * fastest[0]:9.1f} ms{1e3 * fastest[1]:9.1f} ms{fastest[1] / fastest[0]:8.2f}"
            f"{abs(losses[0] - losses[1]):14.1e}"
        )
    print(f"{'all':24}{1e3 * total[0]:9.1f} ms{1e3 * total[1]:9.1f} ms{total[1] / total[0]:8.2f}")


if __name__ == "__main__":
    main()
