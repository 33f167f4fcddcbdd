"""The exam on fields: known galaxies are put into a real image of the sky and into simulated ones, and looked for."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import sep
from astropy.io import fits
from astropy.table import Table, vstack
from scipy.ndimage import gaussian_filter, shift

from blendkit.blends.geometry import landing
from blendkit.data.photometry import map_stamps
from blendkit.data.sample import PIXEL_SCALE, ZEROPOINT, Sample
from blendkit.data.simulate import CENTER, DRAW, Disk, draw_field_galaxy
from blendkit.data.sky import CORRELATION, NOISE, sky_noise
from blendkit.deblenders import field as measuring
from blendkit.metrics.bootstrap import weighted_mean
from blendkit.networks import weights

from . import rivals
from .outside import accuracy, noiseless
from .score import kept, median_ratio, resampled
from .train import ROOT, SEED, SHIPPED, Exam, card_of

IMAGE = Path("field", "abell2744_f105w.fits.gz")  # beside the exam's folder
REAL, SIMULATED, TOGETHER = KINDS = ("real field", "simulated fields", "together")
SEP_THERE, SEP_ALONE = "SEP at the same places", "SEP, its own detection"
PHOTUTILS, SCARLET = "photutils", "scarlet2"
DENSITY = 200  # galaxies to AB 26.5 per square arcminute: 34,930 on 171 in CANDELS' GOODS-S (Guo et al. 2013)
POOL = 600  # simulated galaxies that fields are made of
COPIES = 3  # of the real field for each simulated one
SHARE = {REAL: 0.04, SIMULATED: 0.028}  # of a field's objects so many are put in at once
MARGIN = 32  # pixels from the border within which none is put
PAIRS, CLOSE = 0.25, 0.25  # share that is two galaxies in one, share of the others that is put near an object
NEAR, STAMP = 12, 64  # pixels: a neighbour is near, or on the stamp
BRIGHT = 0.05  # of a galaxy's flux: fainter ones are no neighbours
WITHIN = 3.0  # pixels from its place a galaxy is found
DEEP = 10  # signal to noise
EUCLID = 1.5e9  # galaxies
KNOWN = ("x", "y", "flux", "snr")
GROUPS = {
    "all": lambda near, dmag: near > -1,
    "lone": lambda near, dmag: near > STAMP,
    "near": lambda near, dmag: near < NEAR,
    **{f"{a} to {b} pixels": lambda near, dmag, a=a, b=b: (near >= a) & (near < b)
       for a, b in ((0, 3), (3, 6), (6, 9), (9, 12), (12, 24))},
    "> 1 mag brighter": lambda near, dmag: (near < NEAR) & (dmag < -1),
    "within 1 mag": lambda near, dmag: (near < NEAR) & (np.abs(dmag) <= 1),
    "> 1 mag fainter": lambda near, dmag: (near < NEAR) & (dmag > 1),
}  # fmt: skip
"""Which galaxies are scored together, by the distance of the nearest neighbour and by their magnitude less its own."""
SCORES = {
    "mape": ".2f", "median": ".2f", "outliers": ".2f", "within1": ".1f", "within2": ".1f", "flagged": ".1f",
    "found": ".1f", "more_found": ".2f", "deep": ".1f", "pure": ".1f", "false": ".2f", "more_false": ".2f",
    "median_to_sep": ".3f", "auc": ".3f",
}  # fmt: skip
"""Columns of the table that have an error, and their formats; see `field_table`."""


@dataclass(frozen=True, eq=False)
class Field:
    """A field with galaxies put in.

    Attributes
    ----------
    kind, image, zeropoint : str, float32 (ny, nx), float
    put : astropy.table.Table
        What was put in: `id`, `x`, `y` (pixels), `flux` (in the field's unit), `snr`, `pair` (it is two galaxies) and,
        of the nearest other object of at least `BRIGHT` of its flux, `near` (pixels) and `dmag` (mag less its mag).
    known : astropy.table.Table
        `KNOWN` of all that there is; in the real field of what SEP finds without the galaxies, and of these.
    """

    kind: str
    image: np.ndarray
    zeropoint: float
    put: Table
    known: Table


@dataclass(frozen=True, eq=False)
class Finder:
    """A method: its name, what changes with it, and ``find(field)``, arrays `x`, `y`, `flux` and what else it tells.

    One that is `slow` is only asked for the first galaxy in some of the fields.
    """

    name: str
    key: str
    find: Callable[[Field], dict]
    slow: bool = False


def fields(exam: Exam, seed: int = SEED) -> Iterator[Field]:
    """Copies of the real field (if it is there) and simulated ones, each with other galaxies put in."""
    beside = exam.folder.resolve().parent
    galaxies, path = noiseless(beside / "hst-noiseless"), beside / IMAGE
    if path.is_file():
        image, header = fits.getdata(path, header=True)
        image = np.ascontiguousarray(image, np.float32)
        zeropoint = -2.5 * np.log10(header["PHOTFLAM"]) - 5 * np.log10(header["PHOTPLAM"]) - 2.408
        known = Table({**rivals.sep_alone(image), "snr": np.full(1, np.nan)})[KNOWN]
        for i in range(exam.fields):
            yield with_galaxies(REAL, image, zeropoint, known, galaxies, np.random.default_rng((seed, 0, i)))
    pool = _pool(seed)
    for i in range(-(-exam.fields // COPIES)):
        rng = np.random.default_rng((seed, 2, i))
        yield with_galaxies(SIMULATED, *simulated(exam.sides[0], pool, rng), galaxies, rng)


def _pool(seed):
    return map_stamps(_field_galaxy, [(seed, 1, i) for i in range(POOL)], POOL, desc="galaxies of fields")


def _field_galaxy(seed):
    rng = np.random.default_rng(seed)
    kind, flux, size = draw_field_galaxy(rng)
    return DRAW[kind](rng, Disk(*(CENTER + rng.uniform(-0.5, 0.5, 2)), 1.0), flux, size).astype(np.float32)


def simulated(side: int, pool: list[np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, float, Table]:
    """A field of CANDELS' depth, (side, side) float32, its zeropoint, and its galaxies, any of the `pool` anywhere."""
    n = rng.poisson(DENSITY * (side * PIXEL_SCALE / 60) ** 2)
    image, rows = sky_noise(rng, (side, side), NOISE).astype(np.float32), []
    for which, x, y in zip(rng.integers(len(pool), size=n), *rng.integers(side, size=(2, n)), strict=True):
        _add(image, pool[which], rng, x, y)
        rows.append((float(x), float(y), float(pool[which].sum()), _snr(pool[which], NOISE)))
    return image, ZEROPOINT, Table(rows=rows, names=KNOWN)


def with_galaxies(kind, image, zeropoint, known: Table, galaxies: Sample, rng: np.random.Generator) -> Field:
    """A copy of a field with some galaxies put in, and some pairs closer than 0.5 R, of up to 2 mag difference."""
    image, noise, scale = image.copy(), sep.Background(image).globalrms, 10 ** (0.4 * (zeropoint - galaxies.zeropoint))
    highest, put, members = np.array(image.shape[::-1]) - MARGIN, [], []
    n = max(round(SHARE[kind] * len(known)), 2)
    for pair in np.sort((rng.random(n) < PAIRS) & (np.arange(n) > 0)):  # the first is a single one
        one, other = rng.integers(len(galaxies), size=2)
        light, row = scale * galaxies.images[one], galaxies.catalog[one]
        flux, centre = scale * row["flux_auto"], rng.integers(MARGIN, highest)
        angle, far = rng.uniform(0, 2 * np.pi), np.zeros(2)
        bright = known[known["flux"] > BRIGHT * flux]
        if pair:
            share, second = 10 ** (-0.4 * rng.uniform(0, 2)), galaxies.catalog[other]
            far = rng.uniform(0.1, 0.5) * max(row["r_eff"], second["r_eff"]) * np.array([np.cos(angle), np.sin(angle)])
            light = light + shift(share * flux / second["flux_auto"] * galaxies.images[other], far[::-1])
            members.append((*(centre + far), share * flux, np.nan))
            far *= share / (1 + share)
        elif rng.random() < CLOSE and len(bright):
            near = bright[rng.integers(len(bright))]
            place = NEAR * np.sqrt(rng.random()) * np.array([np.cos(angle), np.sin(angle)])
            centre = np.clip(np.rint(place + (near["x"], near["y"])).astype(int), MARGIN, highest - 1)
        members.append((*centre, flux, _snr(light, noise)))
        put.append((row["id"], *(centre + far), flux, members[-1][-1], pair))
        _add(image, light.astype(np.float32), rng, *centre, orient=None if not pair else 0)
    known = vstack([known, Table(rows=members, names=KNOWN)])
    put = Table(rows=put, names=("id", *KNOWN, "pair"))
    put["near"], put["dmag"] = neighbours(put, known)
    return Field(kind, image, zeropoint, put, known)


def _add(image, stamp, rng, x, y, orient=None):
    """Add a stamp, turned at random unless it is told how, its centre pixel at x, y."""
    (ny, nx), orient = image.shape, rng.integers(8) if orient is None else orient
    where, part = landing(image.shape, stamp, orient, y - ny // 2, x - nx // 2)
    image[where] += part


def _snr(light, noise):
    """Signal to noise of the best filter, in white noise that is smoothed."""
    smooth = np.sqrt(4 * np.pi) * CORRELATION * gaussian_filter(light, CORRELATION)
    return float((light**2).sum() / (noise * np.sqrt((smooth**2).sum())))


def _gaps(one, other):
    return np.hypot(*(np.subtract.outer(np.asarray(one[axis]), np.asarray(other[axis])) for axis in ("x", "y")))


def neighbours(objects: Table | dict, known: Table | dict) -> tuple[np.ndarray, np.ndarray]:
    """Distance (pixels) of the nearest other of at least `BRIGHT` of an object's flux, and the magnitude difference."""
    flux, theirs, gaps = np.asarray(objects["flux"]), np.asarray(known["flux"]), _gaps(objects, known)
    gaps[(gaps == 0) | ~(theirs > BRIGHT * flux[:, None])] = np.inf
    nearest = gaps.argmin(axis=1)
    return gaps.min(axis=1), -2.5 * np.log10(np.maximum(flux, 1e-9) / np.maximum(theirs[nearest], 1e-9))


def nearest(places: Table, found: dict) -> np.ndarray:
    """Which detection is the nearest to each of some places, `len(found)` where none is within `WITHIN`."""
    gaps = _gaps(places, found)
    return np.hstack([gaps, np.full((len(gaps), 1), WITHIN)]).argmin(axis=1)


def finders(exam: Exam) -> tuple[list[Finder], dict[str, str]]:
    """The methods, and by name why others are left out."""
    source = exam.out / "fractions-shipped" if card_of(exam, "fractions-shipped") else "fractions"
    code = [Path(module.__file__).read_bytes() for module in (measuring, rivals)]
    names = {"x": "x", "y": "y", "flux": "flux", "err": "flux_err", "sep": "sep_flux", "blended": "blended",
             "odd": "out_of_domain"}  # fmt: skip

    def network(field):
        table, _, model, _ = measuring.measure_field(field.image, field.zeropoint, network=source, maps=True)
        found = {ours: np.array(table[name], float) for ours, name in names.items() if name in table.colnames}
        return found | {"model": model.sum(dtype=float)}

    def fit(field):
        return rivals.scarlet2(field.image, np.stack([field.put["x"][:1], field.put["y"][:1]], axis=1))

    known = weights.load(source)[1]["sha256"] + weights.file_hash(measuring.__file__)
    own = weights.file_hash(rivals.__file__)
    methods = [
        Finder(SHIPPED, known, network),
        Finder(SEP_ALONE, own, lambda field: rivals.sep_alone(field.image)),
        Finder(PHOTUTILS, own, lambda field: rivals.photutils(field.image)),
        Finder(SCARLET, own, fit, slow=True),
    ]
    lacking = {m.name: f"{m.name} is not installed: pip install blendkit[rivals]" for m in methods
               if m.name in (PHOTUTILS, SCARLET) and not find_spec(m.name)}  # fmt: skip
    return [m for m in methods if m.name not in lacking], lacking


def answer(exam: Exam, method: Finder, field: Field, number: int) -> dict:
    """What a method finds in a field, and the `seconds` of all cores, or what an interrupted exam has kept of it."""

    def make():
        began = time.process_time()
        found = method.find(field)
        return found | {"seconds": time.process_time() - began}

    say = f"{method.name}: {field.kind}, {number + 1}"
    return kept(exam, say, make, method.name, method.key, field.image, field.zeropoint)
