"""Crops per second of a synthetic world, with rendering, JPEG and table, at one and two threads.

python benchmarks/synthetic.py --crops 2000
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import resight
from resight.synthesis import LEVELS


def main() -> None:
    """Prints crops per second for every level and number of threads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=int, default=2000)
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--levels", nargs="+", default=list(LEVELS))
    arguments = parser.parse_args()
    size = {"height": arguments.height, "width": arguments.width}
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        resight.synthetic(Path(folder) / "first", identities=4, crops=40, threads=1, **size)
        print(f"first 40 crops, loading or compiling included: {time.perf_counter() - start:.1f} s")
        for level in arguments.levels:
            for threads in arguments.threads:
                start = time.perf_counter()
                resight.synthetic(
                    Path(folder) / f"{level}-{threads}",
                    identities=max(4, arguments.crops // 20),
                    crops=arguments.crops,
                    level=level,
                    threads=threads,
                    **size,
                )
                took = time.perf_counter() - start
                print(
                    f"{level}, {size['height']}×{size['width']}, {threads} thread{'s' * (threads > 1)}: "
                    f"{arguments.crops / took:.0f} crops/s"
                )


if __name__ == "__main__":
    main()
