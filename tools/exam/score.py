"""What each method says of blends of galaxies that it has never seen, and how good that is."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
from astropy.table import Table, vstack

from blendkit.blends.geometry import place
from blendkit.blends.recipe import draw_blends, split
from blendkit.blends.rendering import render
from blendkit.data.cleaning import clean
from blendkit.data.load import load_sample
from blendkit.data.sample import Sample
from blendkit.deblenders import SEP, Network
from blendkit.deblenders.base import check_unseen
from blendkit.metrics import iou, scores
from blendkit.metrics.bootstrap import weighted_mean, weighted_median, with_errors

from .train import RUNS, SEED, SEP_LABEL, SHARES, Exam, card_of, seeds_of

SAMPLES = ("synthetic", "real")
MEMBERS = {"central": slice(0, 1), "companion": slice(1, None)}
SCORES = {
    "mape": (".2f", "%"), "median": (".2f", "%"), "scatter": (".3f", "mag"), "outliers": (".2f", "%"),
    "iou": (".3f", None), "within1": (".1f", "%"), "within2": (".1f", "%"), "steady": (".1f", "%"),
    "mape_seen": (".2f", "%"), "to_sep": (".3f", None), "to_blend2flux": (".3f", None),
}  # fmt: skip
"""Columns of the table of scores that have an error: format and unit."""


@dataclass(frozen=True, eq=False)
class Method:
    """A deblender under examination.

    Attributes
    ----------
    name, key : str
        In tables; and what changes with the weights.
    measure : callable
        ``measure(images, blends)``, predictions with masks where the method gives any.
    card : dict
        Of the network; empty for others.
    """

    name: str
    key: str
    measure: Callable[[np.ndarray, Table], Table]
    card: dict


def sep_method() -> Method:
    """SEP's best flux, both true positions known."""
    return Method(SEP_LABEL, "sep", lambda images, blends: SEP(truth=blends, masks=True)(images), {})


def network_method(exam: Exam, run: str) -> Method | None:
    """The network of a run, None where that run is not finished."""
    card = card_of(exam, run)
    if card is None:
        return None
    network = Network(exam.out / run, masks=card["architecture"] != "blend2flux")
    return Method(RUNS[run], card["sha256"][:12], lambda images, blends: network(images), card)


def turns(images: np.ndarray, sky: np.ndarray) -> Iterable[np.ndarray]:
    """The seven other orientations of blends about the centre pixel, empty rows and columns filled with sky.

    `sky`, (m, ny, nx), are stamps of a single exposure's sky; a blend of two galaxies has two.
    """
    for orient in range(1, 8):
        out = np.empty_like(images)
        for i, image in enumerate(images):
            place(out[i], image, orient, 0, 0, sky[i % len(sky)] + sky[(i + 1) % len(sky)], fade=True)
        yield out


def measure(method: Method, sample: Sample, blends: Table, *, turned: int = 0, batch: int = 1000) -> dict:
    """What a method says of each blend, in constant memory but for a few numbers per blend.

    Parameters
    ----------
    method : Method
    sample : Sample
    blends : astropy.table.Table
        Of galaxies that the method was not trained on.
    turned : int
        How many of the blends, from the first on, are measured in all eight orientations if errors are predicted.
    batch : int
        Blends rendered at a time.

    Returns
    -------
    dict of arrays
        `flux`, and where the method gives them `err` (one sigma) and `iou`; `spread`, the standard deviation over eight
        orientations, NaN where not measured: all of shape (n, k). `case` (n,), as SEP tells it. `seconds`: time that
        the method took.
    """
    seconds, parts = 0.0, []
    for start in range(0, len(blends), batch):
        rows = blends[start : start + batch]
        images, masks, _ = render(sample, rows)
        if not start:
            check_unseen(blends, method.measure(images[:2], rows[:2]), method.name)  # compiles as well
        began = time.perf_counter()
        pred = method.measure(images, rows)
        seconds += time.perf_counter() - began
        part = {"flux": np.array(pred["flux"], float)}
        if "case" in pred.colnames:
            part["case"] = np.array(pred["case"], str)
        if "masks" in pred.colnames:
            part["iou"] = iou(masks, np.asarray(pred["masks"]))
        if "flux_err" in pred.colnames:
            part["err"] = np.array(pred["flux_err"], float)
            part["spread"] = np.full(part["err"].shape, np.nan)
            if n := min(max(turned - start, 0), len(rows)):
                views = [method.measure(view, rows[:n])["flux"] for view in turns(images[:n], sample.sky)]
                part["spread"][:n] = np.std([part["flux"][:n], *views], axis=0)
        parts.append(part)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} | {"seconds": seconds}


def kept(exam: Exam, say: str, make: Callable[[], dict], *what) -> dict:
    """What `make` gives, or what an interrupted exam has kept of it; it depends on `what`, arrays and other values."""
    digest = hashlib.blake2b(digest_size=8)
    for part in what:
        digest.update(np.ascontiguousarray(part) if isinstance(part, np.ndarray) else repr(part).encode())
    path = exam.out / "answers" / f"{digest.hexdigest()}.npz"
    if path.is_file():
        with np.load(path) as stored:
            return dict(stored)
    print(say, flush=True)
    found = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    with draft.open("wb") as file:
        np.savez(file, **found)
    os.replace(draft, path)
    return found


def answers(exam: Exam, method: Method, sample: Sample, blends: Table) -> dict:
    """As `measure`, or what an interrupted exam has measured already with these weights and blends."""
    known = (method.key, exam.turned, sample.sky_fingerprint, sorted(sample.fingerprints.values()))
    recipe = (np.asarray(blends[name]) for name in ("id", "dx", "dy", "orient"))
    make = partial(measure, method, sample, blends, turned=exam.turned)
    return kept(exam, f"{method.name}: {len(blends)} blends of {sample.name}", make, known, *recipe)


def examined(exam: Exam) -> dict[str, Sample]:
    """The galaxies that nobody was trained on, in the survey's sky, cleaned."""
    made = split(clean(load_sample("synthetic", n=exam.galaxies, seed=SEED)), SHARES, SEED)[2]
    return dict(zip(SAMPLES, (made, clean(load_sample(exam.folder))), strict=True))


def score_table(exam: Exam) -> Table:
    """Every finished network and SEP, on synthetic galaxies and on real ones.

    A row per sample, method and member, see `score_rows`; ``meta`` says how it was made.
    """
    methods = [sep_method(), *filter(None, (network_method(exam, run) for run in RUNS))]
    samples, tables = examined(exam), []
    for name, sample in samples.items():
        blends = draw_blends(sample, exam.blends, SEED)
        tables.append(score_rows(name, blends, {m: answers(exam, m, sample, blends) for m in methods}))
    table = vstack(tables, metadata_conflicts="silent")
    table.meta = {
        "made_by": exam.made_by,
        "blends": exam.blends,
        "turned": exam.turned,
        "synthetic": f"{len(samples['synthetic'])} synthetic galaxies (the test part of seed {SEED})",
        "real": f"{len(samples['real'])} real HST galaxies ({samples['real'].name})",
        "training": {label: _training(exam, run) for run, label in RUNS.items() if card_of(exam, run)},
    }
    return table


def score_rows(name: str, blends: Table, found: dict[Method, dict]) -> Table:
    """The scores of several methods on the same blends.

    Parameters
    ----------
    name : str
        What the column `sample` says.
    blends : astropy.table.Table
    found : dict of Method to dict
        As from `measure`.

    Returns
    -------
    astropy.table.Table
        A row per method and member, NaN where a score does not apply. `sample`, `method`, `member`, `n` (measured),
        `failed`; with an error each from resampling galaxies: `mape` and `median` (% of flux), `scatter` (mag),
        `outliers` (%, further off than 0.75 mag), `iou` (mean), `within1` and `within2` (% of the fluxes within one and
        two predicted sigmas), `steady` (% of the blends whose flux spreads by less than the predicted sigma over eight
        orientations), `mape_seen` (% of flux, blends on which SEP measured this galaxy), `to_sep` and `to_blend2flux`
        (ratios of MAPE on the same blends); `parameters`, `minutes` (of training), `trained` and `measured` (images per
        second).
    """
    flux = np.array(blends["flux"], float)
    off = {method.name: percent(flux, answer["flux"]) for method, answer in found.items()}
    predictions = {method.name: Table({"flux": answer["flux"]}) for method, answer in found.items()}
    table = scores(blends, predictions)
    rows = []
    for method, answer in found.items():
        for member, places in MEMBERS.items():
            own = table[(table["method"] == method.name) & (table["member"] == member) & (table["case"] == "all")][0]
            row = {"sample": name, "method": method.name, "member": member, "n": own["n"], "failed": own["failed"]}
            of, ids = answer | {"off": off[method.name], "true": flux}, np.ravel(blends["id"][:, places])
            of = {key: np.ravel(values[:, places]) for key, values in of.items() if np.ndim(values) == 2}
            pairs = {
                "mape": (own["mape_flux"], own["mape_flux_err"]),
                "median": (own["median_flux"], own["median_flux_err"]),
                "scatter": (own["scatter"], own["scatter_err"]),
                "outliers": (100 * own["outliers"], 100 * own["outliers_err"]),
            }
            rivals = {"to_sep": SEP_LABEL, "to_blend2flux": "blend2flux"}
            rivals = {key: np.ravel(off[rival][:, places]) for key, rival in rivals.items() if rival in off}
            pairs |= {key: resampled(ratio, ids, of["off"], rival) for key, rival in rivals.items()}
            if "to_sep" in rivals:
                pairs["mape_seen"] = resampled(weighted_mean, ids, of["off"] + 0 * rivals["to_sep"])
            if method.card.get("architecture") == "unet":  # measures no flux of its own
                row |= {"n": len(ids), "failed": 0}
                pairs = {}
            if "iou" in of:
                pairs["iou"] = resampled(weighted_mean, ids, of["iou"])
            if "err" in of:
                away, spread = np.abs(of["flux"] - of["true"]), of["spread"]
                for n in (1, 2):
                    pairs[f"within{n}"] = resampled(weighted_mean, ids, 100.0 * (away <= n * of["err"]))
                steady = np.where(np.isfinite(spread), 100.0 * (spread < of["err"]), np.nan)
                pairs["steady"] = resampled(weighted_mean, ids, steady)
            for key in SCORES:
                row[key], row[f"{key}_err"] = map(float, pairs.get(key, (np.nan, np.nan)))
            rows.append(row | _cost(method.card) | {"measured": len(blends) / float(answer["seconds"])})
    board = Table(rows)
    for key, (form, unit) in SCORES.items():
        for column in (key, f"{key}_err"):
            board[column].info.format, board[column].info.unit = form, unit
    for key, form in {"parameters": ".0f", "minutes": ".2f", "trained": ".1f", "measured": ".1f"}.items():
        board[key].info.format = form
    return board


def percent(true: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Absolute percentage errors, NaN where there is no flux."""
    good = np.isfinite(measured) & (measured > 0)
    return np.where(good, 100 * np.abs(measured / true - 1), np.nan)


def resampled(statistic: Callable, galaxies: np.ndarray, *values: np.ndarray) -> tuple[float, float]:
    """``statistic(*values, weights)`` of the rows without NaN, and its error from resampling galaxies."""
    good = np.isfinite(values).all(axis=0)
    if not good.any():
        return np.nan, np.nan
    return tuple(with_errors([partial(statistic, *(each[good] for each in values))], galaxies[good])[0].tolist())


def ratio(values: np.ndarray, below: np.ndarray, weights: np.ndarray, of: Callable = weighted_mean) -> np.ndarray:
    """Ratio of the means of two measurements of the same rows."""
    return of(values, weights) / of(below, weights)


median_ratio = partial(ratio, of=weighted_median)


def _cost(card):
    speeds = card.get("history", {}).get("images_per_second") or [np.nan]
    return {
        "parameters": float(card.get("parameters", np.nan)),
        "minutes": float(card.get("seconds", np.nan)) / 60,
        "trained": float(np.median(speeds)),
    }


def _training(exam, run):
    """How a finished run was trained, in a few words."""
    card = card_of(exam, run)
    return {
        "galaxies": int(card.get("n_galaxies", 0)),
        "seeds": list(seeds_of(exam, run)),
        "blends": int(card.get("epochs", 0)) * int(card.get("plan", {}).get("blends", 0)),
        "hardware": str(card.get("hardware", "unknown")),
    }
