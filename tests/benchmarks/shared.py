"""What the timings share: a sample to measure on, and things timed in turn, so that what else runs hits all of them."""

from __future__ import annotations

import sys
import time

import numpy as np
from astropy.table import Table

import blendkit as bk

SIZE = 128


def gaussians(n=2000):
    """Gaussians on noise: what is on the stamps does not matter for speed, only how many there are."""
    rng = np.random.default_rng(0)
    y, x = np.indices((SIZE, SIZE)) - SIZE // 2
    r_eff = rng.uniform(2, 10, n)
    light = np.exp(-(x**2 + y**2) / (2 * r_eff[:, None, None] ** 2))
    images = (light + rng.normal(0, 0.006, light.shape)).astype("f4")
    catalog = Table({
        "id": np.arange(n) + 1, "mag": rng.uniform(19, 23, n), "r_eff": r_eff, "morphology": np.full(n, "disk"),
        "segval": np.ones(n, int), "flux_auto": rng.uniform(10, 600, n),
    })  # fmt: skip
    return bk.Sample(images, (light > 0.05).astype("u1"), catalog)


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
