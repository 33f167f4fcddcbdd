"""Stamps of 128 × 128 pixels measured in a second, blends of two synthetic galaxies that are new in every round, median
of the rounds after a first one that compiles and starts processes. SEP, the Sérsic fit and photutils
(`detect_sources`, `deblend_sources`, a catalogue with Kron fluxes) work on all cores, a stamp per process; networks and
scarlet2 use the threads of their libraries. The two last are asked about few stamps; scarlet2 compiles for each.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np
from astropy.table import Table

import blendkit as bk
from blendkit.data.photometry import map_stamps
from blendkit.networks.backend import has_gpu
from tools.bench.rows import Row, in_turn
from tools.exam import rivals

SIZES = {"SEP": (2400, 3), "the Sérsic fit": (48, 2), "photutils": (48, 2), "scarlet2": (3, 2)}
"""So many stamps in all, in so many rounds after the first; 1,024 and 3 for the others."""


def photutils(images: np.ndarray) -> list:
    """photutils' answers."""
    return map_stamps(quietly, images, len(images))


def quietly(image: np.ndarray) -> dict:
    """One of them, without advice."""
    with warnings.catch_warnings(action="ignore"):
        return rivals.photutils(image)


def scarlet2(images: np.ndarray) -> list:
    """A scene fitted to each stamp, with all that SEP finds there."""
    centre = Table({axis: [images.shape[1] // 2] for axis in ("x", "y")})
    return [rivals.scarlet2(image, centre) for image in images]


def rate(name: str, measure, images: np.ndarray) -> float:
    """Stamps per second."""
    n, rounds = SIZES.get(name, (1024, 3))
    parts = iter(np.array_split(images[:n], rounds + 1))
    (seconds,) = in_turn({name: lambda: measure(next(parts))}, rounds)
    return n / (rounds + 1) / float(np.median(seconds))


def rows() -> Iterator[Row]:
    """SEP on one core and on all, and every network beside SEP and its rivals."""
    sample = bk.clean(bk.load_sample("synthetic", n=200, seed=0))
    images = bk.render(sample, bk.draw_blends(sample, 2400, seed=1), masks=False)[0]
    every = {"SEP": bk.deblenders.SEP(), "the Sérsic fit": bk.deblenders.Sersic(), "photutils": photutils,
             "scarlet2": scarlet2}  # fmt: skip
    lacking = [name for name in ("photutils", "scarlet2") if not find_spec(name)]
    rates = {name: rate(name, measure, images) for name, measure in every.items() if name not in lacking}
    cores, alone = os.cpu_count(), rate("SEP, one core", bk.deblenders.SEP(n_jobs=1), images)
    yield Row("SEP on all cores, for each of them", rates["SEP"] / cores, "stamps/s", "on one core", alone)
    where = "on the GPU" if has_gpu() else f"on {cores} cores"
    for name in bk.weights.shipped():
        own = rate(name, bk.deblenders.Network(name), images)
        for rival, theirs in rates.items():
            yield Row(f"`{name}` {where}", own, "stamps/s", rival, theirs)
    for name in lacking:
        yield Row(f"networks beside {name}", note=f"{name} is not installed: `pip install blendkit[rivals]`")
    if not has_gpu():
        yield Row("networks on a GPU", note="not measured: there is none here, or Keras does not see it")
