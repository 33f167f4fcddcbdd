"""Imports: medians of fresh processes, in turn. Memory: the peak of a process that draws blends of 200 synthetic
galaxies, then renders and measures 1,000 at a time and keeps all fluxes. The same processes tell how time grows with
the number of blends, from drawing to the last flux, without what they compile. What is called projected was not run:
it is the time of the larger number of blends, multiplied. 1,500,000,000 are the galaxies of a survey like Euclid's,
each measured once.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from statistics import median

from tools.bench.rows import Row

IMPORT = "import time; began = time.perf_counter(); import {}; print(time.perf_counter() - began)"
MEASURE = """import resource, sys, time
import numpy as np
import blendkit as bk
name, n = sys.argv[1], int(sys.argv[2])
sample = bk.clean(bk.load_sample("synthetic", n=200, seed=0), n_jobs=1)
method = bk.deblenders.SEP() if name == "SEP" else bk.deblenders.Network(name)
method(bk.render(sample, bk.draw_blends(sample, 600, seed=0), masks=False)[0])
began = time.perf_counter()
blends = bk.draw_blends(sample, n, seed=1)
parts = (blends[i : i + 1000] for i in range(0, n, 1000))
flux = np.concatenate([method(bk.render(sample, part, masks=False)[0])["flux"] for part in parts])
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"""
UNIT = 1 if sys.platform == "darwin" else 1024  # bytes, of ru_maxrss
TIMES = 9  # of each import
NUMBERS = {"SEP": (1000, 4000), "fractions": (1000, 4000), "blend2flux": (5000, 50_000)}  # blends
LINEAR = 1.2  # times the time of a blend when there are fewer
MILLION, SURVEY = 1e6, 1.5e9


def told(*call: str) -> list[float]:
    """The numbers that a fresh process prints."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", *call], check=True, stdout=subprocess.PIPE, text=True)
    return [float(word) for word in done.stdout.split()]


def rows() -> Iterator[Row]:
    """Importing, memory, and time from thousands of blends to a survey."""
    every = {name: [] for name in ("blendkit", "numpy")}
    for _ in range(1 + TIMES):
        for name, times in every.items():
            times += told(IMPORT.format(name))
    ours, numpy = (median(times[1:]) for times in every.values())
    yield Row("`import blendkit`", ours, "s", "`import numpy`", numpy, most=0.3)
    blend = {}
    for name, (few, many) in NUMBERS.items():
        (less, small), (more, large) = (told(MEASURE, name, str(n)) for n in (few, many))
        blend[name] = more / many
        what, unit = f"{many:,} blends by {name}", "ms per blend"
        yield Row(f"time of {what}", 1000 * more / many, unit, f"{few:,}", 1000 * less / few, ratio_most=LINEAR)
        if many >= 50_000:
            small, large = (peak * UNIT / 1e6 for peak in (small, large))
            yield Row(f"peak memory of {what}", large, "MB", f"{few:,}", small, ratio_most=1.1)
    for name in blend:
        for n, unit, seconds in ((MILLION, "hours", 3600), (SURVEY, "days", 86_400)):
            this, that = (n * blend[key] / seconds for key in (name, "SEP"))
            yield Row(f"{n:,.0f} blends by {name} here, projected", this, unit, "SEP, projected", that)
