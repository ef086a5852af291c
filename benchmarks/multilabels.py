"""How near to log-normal the soft multilabels of a model of the method 'mar' are (Yu et al. 2019, supplement, Fig. S1).

Statistics of log y beside those of the normal distribution with its mean and deviation: skewness and excess kurtosis,
both 0 for a normal, and the Kolmogorov–Smirnov distance, the largest difference of the two distribution functions. With
so many numbers any test would reject; the distance says by how much.

    python benchmarks/multilabels.py runs/mar-1 --data market1501-train
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy import stats

import resight
from resight.crops import read_crops


def normality(values: np.ndarray) -> dict[str, float]:
    """Mean, deviation and how far ``(n,)`` values are from a normal distribution with these."""
    values = np.sort(values, axis=None).astype(np.float64)
    mean, std = float(values.mean()), float(values.std())
    fitted = stats.norm.cdf(values, mean, std)
    steps = np.arange(len(values) + 1) / len(values)
    return {
        "mean": mean,
        "std": std,
        "skew": float(stats.skew(values)),
        "kurtosis": float(stats.kurtosis(values)),
        "KS": float(max((steps[1:] - fitted).max(), (fitted - steps[:-1]).max())),
    }


def main() -> None:
    """Prints the statistics over all dimensions, for the first person, and dimension by dimension."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run of the method 'mar'")
    parser.add_argument("--data", required=True, help="crops, of which those of the training split are described")
    parser.add_argument("--train-identities", type=int, help="only crops of the first N identities")
    parser.add_argument("--epoch", type=int, help="an earlier epoch whose weights were kept")
    parser.add_argument("--cache", help="folder for decoded crops")
    parser.add_argument("--most", type=int, default=20_000_000, help="numbers that the pooled statistics are taken of")
    options = parser.parse_args()

    model = resight.load(options.run, epoch=options.epoch)
    table = read_crops(options.data, train_identities=options.train_identities).subset("train")
    features = model.embed_cached(model.open_cache(table, options.cache))
    rows = np.random.default_rng(0).permutation(len(features))[: max(1, options.most // len(model.persons))]
    logs = np.log(model.multilabels(features[rows]))
    each = [normality(column) for column in logs.T]
    found = {
        "all dimensions": normality(logs),
        f"the first person ({model.persons[0]})": each[0],
        "median over persons": {name: float(np.median([one[name] for one in each])) for name in each[0]},
    }
    print(f"log y of {len(logs)} crops and {logs.shape[1]} persons")
    print(f"{'':32}" + "".join(f"{name:>10}" for name in each[0]))
    for name, values in found.items():
        print(f"{name:32}" + "".join(f"{value:10.3f}" for value in values.values()))


if __name__ == "__main__":
    main()
