"""What the timings share: the tests' helpers, and things timed in turn, so that what else runs hits all of them."""

import sys
import time
from pathlib import Path

import numpy as np

sys.path[:0] = [str(folder) for folder in Path(__file__).resolve().parents[1:3]]  # conftest and tests


def in_turn(functions, rounds):
    """Seconds of each function in each round, one array for each; who goes first alternates, a first round warms up."""
    times = {name: [] for name in functions}
    for i in range(rounds + 1):
        for name in functions if i % 2 else reversed(functions):
            start = time.perf_counter()
            result = functions[name]()
            times[name].append(time.perf_counter() - start)
            del result  # outside of the clock
    return [np.array(times[name][1:]) for name in functions]


def verdict(limits):
    """Say which limits were missed, given as {limit: missed}, and fail where any was."""
    sys.exit("; ".join(limit for limit in limits if limits[limit]) or 0)
