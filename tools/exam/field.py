"""The exam on fields: known galaxies are put into a real image of the sky and into simulated ones, and looked for."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import sep
from astropy.io import fits
from astropy.table import Table, vstack
from pooch import file_hash
from scipy.ndimage import gaussian_filter, shift

from blendkit.blends.geometry import landing
from blendkit.data.photometry import map_stamps
from blendkit.data.sample import PIXEL_SCALE, ZEROPOINT, Sample
from blendkit.data.simulate import CENTER, DRAW, Disk, draw_field_galaxy
from blendkit.data.sky import CORRELATION, NOISE, sky_noise
from blendkit.deblenders import field as measuring
from blendkit.metrics.bootstrap import weighted_mean
from blendkit.networks.weights import load

from . import rivals
from .outside import accuracy, noiseless
from .score import Method, kept, median_ratio, resampled
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
    kind, number : str, int
        The how manieth of its kind.
    image, zeropoint : float32 (ny, nx), float
    put : astropy.table.Table
        What was put in: `id`, `x`, `y` (pixels), `flux` (in the field's unit), `snr`, `pair` (it is two galaxies) and,
        of the nearest other object of at least `BRIGHT` of its flux, `near` (pixels) and `dmag` (mag less its mag).
    known : astropy.table.Table
        `KNOWN` of all that there is; in the real field of what SEP finds without the galaxies, and of these.
    """

    kind: str
    number: int
    image: np.ndarray
    zeropoint: float
    put: Table
    known: Table


def fields(exam: Exam, seed: int = SEED) -> Iterator[Field]:
    """Copies of the real field (if it is there) and simulated ones, each with other galaxies put in."""
    beside = exam.folder.resolve().parent
    galaxies, path = noiseless(beside / "hst-noiseless"), beside / IMAGE
    if path.is_file():
        image, header = fits.getdata(path, header=True)
        image = np.ascontiguousarray(image, np.float32)
        zeropoint = -2.5 * np.log10(header["PHOTFLAM"]) - 5 * np.log10(header["PHOTPLAM"]) - 2.408
        known = Table(rivals.sep_alone(image))[KNOWN[:3]]
        known["snr"] = np.nan
        for i in range(exam.fields):
            yield with_galaxies(REAL, i, image, zeropoint, known, galaxies, np.random.default_rng((seed, 0, i)))
    pool = _pool(seed)
    for i in range(-(-exam.fields // COPIES)):
        rng = np.random.default_rng((seed, 2, i))
        yield with_galaxies(SIMULATED, i, *simulated(exam.sides[0], pool, rng), galaxies, rng)


@cache
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


def with_galaxies(kind, number, image, zeropoint, known: Table, galaxies: Sample, rng: np.random.Generator) -> Field:
    """A copy of a field with some galaxies put in, and some pairs closer than 0.5 R, of up to 2 mag difference."""
    image, noise, scale = image.copy(), sep.Background(image).globalrms, 10 ** (0.4 * (zeropoint - galaxies.zeropoint))
    highest, put, members = np.array(image.shape[::-1]) - MARGIN, [], []
    n = max(round(SHARE[kind] * len(known)), 2)
    for pair in rng.random(n) < PAIRS:
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
            centre = np.clip(np.rint([place[0] + near["x"], place[1] + near["y"]]).astype(int), MARGIN, highest - 1)
        members.append((*centre, flux, _snr(light, noise)))
        put.append((row["id"], *(centre + far), flux, members[-1][-1], pair))
        _add(image, light.astype(np.float32), rng, *centre, orient=None if not pair else 0)
    known = vstack([known, Table(rows=members, names=KNOWN)])
    put = Table(rows=put, names=("id", *KNOWN, "pair"))
    put["near"], put["dmag"] = neighbours(put, known)
    return Field(kind, number, image, zeropoint, put, known)


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
    itself = (gaps == 0) & (theirs == flux[:, None])
    gaps[itself | ~(theirs > BRIGHT * flux[:, None])] = np.inf
    nearest = gaps.argmin(axis=1)
    return gaps.min(axis=1), -2.5 * np.log10(np.maximum(flux, 1e-9) / np.maximum(theirs[nearest], 1e-9))


def nearest(places: Table, found: dict) -> np.ndarray:
    """Which detection is the nearest to each of some places, `len(found)` where none is within `WITHIN`."""
    gaps = _gaps(places, found)
    return np.hstack([gaps, np.full((len(gaps), 1), WITHIN)]).argmin(axis=1)


def weights_of(exam: Exam) -> tuple[str, str]:
    """The network of the exam's long run, or the shipped one before that is finished; what changes with it and code."""
    source = str((exam.out / "fractions-shipped").resolve()) if card_of(exam, "fractions-shipped") else "fractions"
    return source, load(source)[1]["sha256"] + file_hash(measuring.__file__)


def methods_of(exam: Exam) -> tuple[list[Method], dict[str, str]]:
    """The methods, ``measure(field)`` gives `x`, `y`, `flux` and what else they tell; and why others are left out."""
    (source, key), own = weights_of(exam), file_hash(rivals.__file__)

    def network(field):
        table, _, model, _ = measuring.measure_field(field.image, field.zeropoint, network=source, maps=True)
        names = {"flux_err": "err", "sep_flux": "sep", "out_of_domain": "odd"}
        names = {name: names.get(name, name) for name in ("x", "y", "flux", *names, "blended")}
        found = {ours: np.array(table[name], float) for name, ours in names.items() if name in table.colnames}
        return found | {"model": model.sum(dtype=float)}

    every = {
        SEP_ALONE: lambda field: rivals.sep_alone(field.image),
        PHOTUTILS: lambda field: rivals.photutils(field.image),
        SCARLET: lambda field: rivals.scarlet2(field.image, field.put[~field.put["pair"]]),
    }
    lacking = {name: f"{name} is not installed: `pip install blendkit[rivals]`" for name in every
               if name != SEP_ALONE and not find_spec(name)}  # fmt: skip
    others = [Method(name, own, measure, {}) for name, measure in every.items() if name not in lacking]
    return [Method(SHIPPED, key, network, {}), *others], lacking


def answer(exam: Exam, method: Method, field: Field) -> dict:
    """What a method finds in a field and the `seconds` of all cores, or what an interrupted exam has kept of it."""

    def make():
        began = time.process_time()
        found = method.measure(field)
        return found | {"seconds": time.process_time() - began}

    return kept(exam, f"{method.name}: {field.kind}", make, method.name, method.key, field.image, field.zeropoint)


def measured(exam: Exam, methods: list[Method], seed: int = SEED) -> tuple[Table, Table, Table, dict, np.ndarray]:
    """Every method on every field.

    Returns
    -------
    hits : astropy.table.Table
        A row for each method and galaxy, in the same order for all: `kind`, `method`, the columns of `Field.put`,
        `asked`, and of the nearest detection `measured`, `err`, `blended`, `odd`, NaN where there is none.
    seen, deep : astropy.table.Table
        In the simulated fields (`field`: which) a row for each method and detection, whether it is `true`, with `near`
        and `dmag`; and for each method and known object with `snr` above `DEEP`, whether it is `found`.
    rates, light : dict, array
        Objects per second and core; all true light of simulated fields, all that is measured and in the model image.
    """
    hits, seen, deep, rates, light = [], [], [], {}, np.zeros(3)
    for field in fields(exam, seed):
        few = field.number < max(exam.few // 50, 1)
        told = {method.name: answer(exam, method, field) for method in methods if few or method.name != SCARLET}
        for name in told:
            rates.setdefault(name, []).append(len(told[name]["x"]) / told[name]["seconds"])
        told[SEP_THERE] = {key: told[SHIPPED]["sep" if key == "flux" else key] for key in ("x", "y", "flux")}
        for name in [*(method.name for method in methods), SEP_THERE]:
            found, labels = told.get(name, dict.fromkeys(KNOWN, np.empty(0))), {"method": name, "field": field.number}
            at, nothing = nearest(field.put, found), np.full(len(found["x"]), np.nan)
            own = {key: np.append(found.get(key, nothing), np.nan)[at] for key in ("flux", "err", "blended", "odd")}
            own["measured"] = own.pop("flux")
            hits.append(_rows(dict(field.put.items()) | own, kind=field.kind, asked=name in told, **labels))
            if field.kind == SIMULATED and name != SCARLET:
                at, (near, dmag) = nearest(field.known, found), neighbours(found, found)
                true = np.isin(np.arange(len(near)), at)
                seen.append(_rows({"true": true, "near": near, "dmag": dmag}, **labels))
                deep.append(_rows({"found": (at < len(near))[field.known["snr"] > DEEP]}, **labels))
        if field.kind == SIMULATED:
            light += field.known["flux"].sum(), np.nansum(told[SHIPPED]["flux"]), told[SHIPPED]["model"]
    rates = {name: float(np.median(each)) for name, each in rates.items()}  # the first one compiles
    return vstack(hits), vstack(seen), vstack(deep), rates, light


def _rows(columns, **labels):
    return Table(columns | {name: [value] * len(next(iter(columns.values()))) for name, value in labels.items()})


def memory_and_workers(exam: Exam, seed: int = SEED) -> dict[str, np.ndarray]:
    """Peak memory (MB) of `measure_field` for two sizes of a FITS image, and seconds with one and two Dask workers."""
    source, key = weights_of(exam)

    def make():
        image = simulated(exam.sides[0], _pool(seed), np.random.default_rng((seed, 3)))[0]
        with TemporaryDirectory(dir=exam.out) as folder:
            paths = [str(Path(folder, f"{side}.fits").resolve()) for side in exam.sides[1:]]
            for path, side in zip(paths, exam.sides[1:], strict=True):
                fits.writeto(path, np.tile(image, (side // len(image),) * 2))
            calls = [[sys.executable, "-c", PEAK, path, str(ZEROPOINT), source, f"{path}-out"] for path in paths]
            told = [subprocess.run(call, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout for call in calls]
            peaks = [int(text.split()[-1]) / 1024 for text in told]
            workers = (1, 2) if find_spec("distributed") else ()
            seconds = [_on_workers(paths[0], source, n, exam.sides[1] // 4) for n in workers] or [np.nan] * 2
        return {"peaks": np.array(peaks), "seconds": np.array(seconds)}

    exam.out.mkdir(parents=True, exist_ok=True)
    return kept(exam, "memory, and two workers", make, key, exam.sides, seed)


PEAK = """import resource, sys, blendkit as bk
bk.measure_field(sys.argv[1], float(sys.argv[2]), network=sys.argv[3], out=sys.argv[4])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"""


def _on_workers(path, source, n, tile):
    from dask.distributed import Client, LocalCluster

    threads = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    cluster = LocalCluster(n_workers=n, threads_per_worker=1, dashboard_address=None, env=threads)
    with cluster, Client(cluster) as client:
        first = sky_noise(np.random.default_rng(0), (64, 64), NOISE)
        first[32, 32] += 1
        client.run(measuring.measure_field, first, ZEROPOINT, network=source)  # compiles
        began = time.perf_counter()
        measuring.measure_field(path, ZEROPOINT, network=source, client=client, tile=tile)
        return time.perf_counter() - began


def field_table(exam: Exam, seed: int = SEED) -> Table:
    """Every method in the real field, in simulated ones, and in both together.

    A row per `sample`, `condition` (a group of `GROUPS`) and `method`: `n` (single galaxies with a flux), `failed`
    (without), and with an error each, from resampling galaxies (or fields), `mape`, `median` (% of flux), `outliers`
    (%, further off than 0.75 mag or not positive), `within1`, `within2` (% within one and two predicted sigmas),
    `flagged` (% out of domain), `found` (% of those at S/N > 10), `more_found` (that less SEP's own), `median_to_sep`
    (ratio to SEP's median where both measured, to the better of SEP's two ways); in simulated fields `deep` (% found of
    all objects at S/N > 10), `pure` (% of the detections that are objects), `false` (detections per field that are
    none), `more_false` (that less SEP's own); and for all galaxies `auc` (area under the ROC curve of `blended`, pairs
    against lone galaxies), `rate` (objects per second and core), `memory` (ratio of peaks). `meta` says what was done.
    """
    methods, lacking = methods_of(exam)
    hits, seen, deep, rates, light = measured(exam, methods, seed)
    run, rows = memory_and_workers(exam, seed), []
    names = list(dict.fromkeys(hits["method"]))
    for kind in KINDS:
        parts = {name: hits[(hits["method"] == name) & ((hits["kind"] == kind) | (kind == TOGETHER))] for name in names}
        if not len(parts[SHIPPED]):
            continue
        for group, name in ((group, name) for group in GROUPS for name in names):
            score = _on_galaxies(parts, name, GROUPS[group])
            if kind != REAL and name != SCARLET:
                score |= _on_detections(seen, deep, name, group)
            if group == "all":
                score |= {"auc": _auc(parts[name])}
                score |= {"rate": (rates.get(name, np.nan), np.nan)} if kind != REAL else {}
                score |= {"memory": (run["peaks"][1] / run["peaks"][0], np.nan)} if name == SHIPPED else {}
            row = {"sample": kind, "condition": group, "method": name, "member": "central"}
            row |= {key: score.pop(key) for key in ("n", "failed")}
            for key in (*SCORES, "rate", "memory"):
                for column, value in zip((key, f"{key}_err"), score.get(key, (np.nan, np.nan)), strict=True):
                    row[column] = float(f"{value:.5g}")
            rows.append(row)
    table = Table(rows)
    for key, form in SCORES.items():
        table[key].info.format = table[f"{key}_err"].info.format = form
    kinds = {kind: hits[(hits["method"] == SHIPPED) & (hits["kind"] == kind)] for kind in KINDS[:2]}
    table.meta = {
        "made_by": exam.made_by,
        "fields": {kind: len(set(each["field"])) for kind, each in kinds.items()},
        "put": {kind: len(each) for kind, each in kinds.items()},
        "pairs": int(np.sum([each["pair"].sum() for each in kinds.values()])),
        "sides": list(exam.sides),
        "lacking": lacking,
        "light": (light / light[0]).round(4).tolist(),
        "peaks": run["peaks"].round().tolist(),
        "workers": float(np.round(run["seconds"][0] / run["seconds"][1], 2)),
        "hours": float(np.round(EUCLID / rates[SHIPPED] / 3600)),
    }
    return table


def _on_galaxies(parts, name, group) -> dict:
    """The scores of the single galaxies of a group, which were put in."""
    asked = parts[name]["asked"] & ~parts[name]["pair"] & group(parts[name]["near"], parts[name]["dmag"])
    of_true = {key: np.asarray(part["measured"] / part["flux"])[asked] for key, part in parts.items()}
    off = {key: 100 * np.abs(each - 1) for key, each in of_true.items()}
    own, there = parts[name][asked], np.isfinite(off[name])
    found = {key: np.where(own["snr"] > DEEP, 100.0 * np.isfinite(each), np.nan) for key, each in off.items()}
    pull, flagged, ids = (np.asarray(each) for each in (
        (own["measured"] - own["flux"]) / own["err"], 100 * own["odd"], own["id"]))  # fmt: skip
    ratios = (resampled(median_ratio, ids, off[name], off[way]) for way in (SEP_THERE, SEP_ALONE))
    return accuracy(off[name], of_true[name], pull, flagged, ids) | {
        "flagged": resampled(weighted_mean, ids, flagged),
        "found": resampled(weighted_mean, ids, found[name]),
        "more_found": resampled(weighted_mean, ids, found[name] - found[SEP_ALONE]),
        "median_to_sep": max(ratios),
        "n": int(there.sum()),
        "failed": int((~there).sum()),
    }


def _on_detections(seen, deep, name, group) -> dict:
    """The scores of all that a method found in simulated fields, of a group; for "all" also of what it did not find."""
    own, known = (table[table["method"] == name] for table in (seen, deep))
    own = own[GROUPS[group](own["near"], own["dmag"])]
    score = {"pure": resampled(weighted_mean, np.asarray(own["field"]), 100.0 * own["true"])}
    if group == "all":
        every = np.unique(seen["field"])
        false = {key: np.array([np.sum(~seen["true"][(seen["field"] == i) & (seen["method"] == key)]) for i in every])
                 for key in (name, SEP_ALONE)}  # fmt: skip
        score["false"] = resampled(weighted_mean, every, 1.0 * false[name])
        score["more_false"] = resampled(weighted_mean, every, 1.0 * (false[name] - false[SEP_ALONE]))
        score["deep"] = resampled(weighted_mean, np.asarray(known["field"]), 100.0 * known["found"])
    return score


def _auc(hits) -> tuple[float, float]:
    """Area under the ROC curve of `blended`, pairs against lone galaxies, and its error."""
    hits = hits[hits["pair"] | GROUPS["lone"](hits["near"], hits["dmag"])]

    def area(blended, pair, counts):
        order = np.argsort(blended)
        pairs, lone = (counts[:, order] * (pair[order] == kind) for kind in (1, 0))
        with np.errstate(invalid="ignore"):
            return (pairs * np.cumsum(lone, axis=1)).sum(axis=1) / (pairs.sum(axis=1) * lone.sum(axis=1))

    return resampled(area, *(np.asarray(hits[name]) for name in ("id", "blended", "pair")))
