"""How fast synthetic images are drawn, family by family, on one core.

    python benchmarks/synth.py [--size 1024]

The floor of the run is what no renderer can do without: one normal deviate for each pixel and one Gaussian
blur. Files are not written here; `etchline synth` adds PNG compression.
"""

import argparse
import time
from collections.abc import Callable

import cv2
import numpy as np

from etchline.synthesis.benchmark import SynthRequest, draw, plan

BEST_OF = 3


def _seconds(work: Callable[[], object]) -> float:
    """Processor seconds of the best of a few runs: others' load only ever adds."""
    times = []
    for _ in range(BEST_OF):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


def _floor(size: int) -> None:
    noise = np.random.default_rng(0).standard_normal((size, size), np.float32)
    cv2.GaussianBlur(noise, (0, 0), 1.0)


def main() -> None:
    """Prints Mpx/s of the floor and of each family."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=1024)
    size = parser.parse_args().size
    cv2.setNumThreads(1)
    megapixels = size * size / 1e6
    floor = _seconds(lambda: _floor(size))
    print(f"floor  {megapixels / floor:6.1f} Mpx/s")
    request = SynthRequest(images_per_ic=1, size_px=size)
    total = 0.0
    for planned in plan(request):
        seconds = _seconds(lambda planned=planned: draw(request, planned))
        total += seconds
        print(f"{planned.ic}   {megapixels / seconds:6.1f} Mpx/s  {seconds / floor:5.1f} x the floor's time")
    print(f"all    {len(plan(request)) * megapixels / total:6.1f} Mpx/s")


if __name__ == "__main__":
    main()
