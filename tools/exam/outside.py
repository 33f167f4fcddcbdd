"""The exam goes outside: other skies and other blends than the survey's, of the same galaxies, for every method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import galsim
import numpy as np
from astropy.table import Table
from scipy.ndimage import label, shift

from blendkit.blends.recipe import draw_blends, make_blends
from blendkit.blends.rendering import render
from blendkit.blends.world import observe
from blendkit.data.cleaning import clean
from blendkit.data.load import load_sample
from blendkit.data.sample import Sample
from blendkit.data.simulate import THRESHOLD, Disk, flux_of
from blendkit.data.sky import NOISE
from blendkit.deblenders import Sersic
from blendkit.deblenders.base import check_unseen
from blendkit.metrics.bootstrap import weighted_mean, weighted_median
from blendkit.metrics.scores import OUTLIER_DMAG
from blendkit.networks.sky import USUAL

from .score import MEMBERS, Method, examined, kept, median_ratio, network_method, ratio, resampled, sep_method
from .train import SEED, SEP_LABEL, Exam, alone, parents

SATURATED = 30.0  # e-/s
SERSIC = "two Sérsic profiles"
RUNS = ("blend2flux", "blend2mask2flux-shipped", "fractions-shipped")
SCORES = {
    "mape": ".2f", "median": ".2f", "outliers": ".2f", "within1": ".1f", "within2": ".1f", "flagged": ".1f",
    "trusted": ".2f", "nothing": ".1f", "to_base": ".3f", "to_sep": ".3f", "median_to_sep": ".3f",
    "median_to_sersic": ".3f", "differs": ".1e",
}  # fmt: skip
"""Columns of the table that have an error, and their formats; see `outside_table`."""


def star(images: np.ndarray, rng: np.random.Generator, column: bool = False) -> np.ndarray:
    """A saturated star on each stamp, seen through the telescope; of a `column` the detector's bleeds into others."""
    images = images.copy()
    for image in images:
        (ny, nx), flux = image.shape, flux_of(rng.uniform(13, 17))
        y, x = rng.uniform(0.1, 0.9, 2) * (ny, nx)
        image += np.minimum(Disk(x, y, 1.0).light(galsim.DeltaFunction(flux))[:ny, :nx], SATURATED)
        if column:
            half, down, up = rng.uniform((0.5, 0.15, 0.15), (1.5, 1, 1)) * (1, ny, ny)
            rows, columns = (np.arange(n, dtype=float) for n in (ny, nx))
            image[np.ix_((rows > y - down) & (rows < y + up), np.abs(columns - x) < half)] = SATURATED
    return images


def bleeding(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A saturated star whose column bleeds."""
    return star(images, rng, column=True)


def edge(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The end of the mosaic, zero beyond a straight line that passes the centre at up to 0.35 of the stamp's side."""
    along, (far,) = _across(images, rng, (0.05,), (0.35,))
    return np.where(along > far * images.shape[1], np.float32(0), images)


def trail(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A satellite's trail across each stamp, 0.05 to 0.5 e-/s high and 1.5 to 3.5 pixels wide (sigma)."""
    along, (height, width, far) = _across(images, rng, (0.05, 1.5, -0.3), (0.5, 3.5, 0.3))
    return images + (height * np.exp(-0.5 * ((along - far * images.shape[1]) / width) ** 2)).astype(np.float32)


def _across(images, rng, low, high):
    """How far the pixels of each stamp lie from its centre in one direction, and other uniform numbers of its own."""
    n, ny, nx = images.shape
    angle, *others = rng.uniform((0, *low), (2 * np.pi, *high), (n, 1, 1 + len(low))).transpose(2, 0, 1)[..., None]
    return np.cos(angle) * (np.arange(nx) - nx // 2) + np.sin(angle) * (np.arange(ny) - ny // 2)[:, None], others


@dataclass(frozen=True)
class Condition:
    """One way in which stamps differ from the survey's; all else is as there.

    Attributes
    ----------
    name, how : str
        In tables, and how it is made.
    noise : {"none", "correlated", "white"}
        Galaxies without noise, put under a sky by `observe`; or in the noise that they came with.
    sky, draw : dict
        Arguments of `observe` and of `draw_blends`.
    faint : bool
        Whether the two galaxies are 2 to 4 mag apart, instead of at most 2.
    lone : bool
        Whether the companion is left out.
    off, unit : float
        Pixels by which the blend is moved, in any direction; a factor on its pixels, divided out of the fluxes.
    strange : bool
        Whether a network should say that it is out of its domain; only that is asked.
    paint : callable, optional
        ``paint(images, rng)``: what else there is on the stamps.
    """

    name: str
    how: str
    noise: str = "none"
    sky: dict = field(default_factory=dict)
    draw: dict = field(default_factory=dict)
    faint: bool = False
    lone: bool = False
    off: float = 0.0
    unit: float = 1.0
    strange: bool = False
    paint: Callable | None = None

    def blends(self, sample: Sample, n: int) -> Table:
        """`n` recipes, or as many as are found."""
        if self.faint:
            blends = draw_blends(sample, 8 * n, SEED, 4.0, **self.draw)
            return blends[np.abs(blends["delta_mag"]) >= 2][:n]
        blends = draw_blends(sample, n, SEED, **self.draw)
        if self.lone:
            ids = np.where(np.arange(2), -1, blends["id"])
            blends = make_blends(sample, ids, blends["dx"], blends["dy"], orient=blends["orient"])
        return blends

    def stamps(self, sample: Sample, blends: Table) -> tuple[np.ndarray, Table]:
        """Pixels (n, ny, nx) of blends, and where their galaxies are then."""
        if self.noise != "none":
            return render(sample, blends, masks=False)[0], blends
        light, _, _ = render(sample, blends, fill="zero", masks=False)
        truth, rng = blends.copy(), np.random.default_rng(SEED)
        if self.off:
            angle = rng.uniform(0, 2 * np.pi, len(light))
            moves = self.off * np.stack([np.sin(angle), np.cos(angle)])
            light = np.stack([shift(image, move) for image, move in zip(light, moves.T, strict=True)])
            for name, move in zip(("dy", "dx"), moves, strict=True):
                truth[name] = truth[name] + move[:, None]
        images = observe(light, **{"sigma": USUAL, "seed": SEED} | self.sky)
        return np.float32(self.unit) * (self.paint(images, rng) if self.paint else images), truth


HALF = NOISE / 2
UNDISTURBED = "undisturbed"
CONDITIONS = (
    Condition("survey", "stamps in the survey's own sky, shifted parts filled with it", noise="correlated"),
    Condition("white noise", "the same galaxies in white noise, as nobody's mosaic has it", noise="white"),
    Condition(UNDISTURBED, f"light without noise, the survey's noise added (σ = {USUAL:.4f} e⁻/s)"),
    Condition("sky level + σ/2", f"{HALF} e⁻/s added (σ: of a single stamp)", sky={"level": HALF}),
    Condition("sky level − σ/2", f"{HALF} e⁻/s taken away", sky={"level": -HALF}),
    Condition("units × 0.001", "pixels multiplied, fluxes divided again", unit=1e-3),
    Condition("units × 10⁶", "the same", unit=1e6),
    Condition("0.5 pixels off", "the whole blend moved, in any direction", off=0.5),
    Condition("1 pixel off", "the same", off=1.0),
    Condition("2 pixels off", "the same", off=2.0),
    Condition("noise × 0.5", "noise per pixel", sky={"sigma": 0.5 * USUAL}),
    Condition("noise × 2", "the same", sky={"sigma": 2 * USUAL}),
    Condition("noise × 4", "the same", sky={"sigma": 4 * USUAL}),
    Condition("no correlation", "white noise on the same light", sky={"correlation": 0.0}),
    Condition("more correlation", "noise smoothed by a Gaussian of σ = 0.9 pixels", sky={"correlation": 0.9}),
    Condition("blur 0.15″", "light smoothed by a Gaussian of FWHM 2.5 pixels", sky={"blur": 2.5}),
    Condition("blur 0.3″", "the same, 5 pixels", sky={"blur": 5.0}),
    Condition("no companion", "the central galaxy alone", lone=True),
    Condition("a third galaxy", "another companion, drawn as the first; only the central one is asked for",
              draw={"members": 3}),
    Condition("Δmag 2 to 4", "one galaxy much fainter", faint=True),
    Condition("0.5 to 1 R apart", "R: the larger effective radius", draw={"separation": (0.5, 1)}),
    Condition("0.25 to 0.5 R apart", "the same", draw={"separation": (0.25, 0.5)}),
    Condition("0 to 0.25 R apart", "the same", draw={"separation": (0, 0.25)}),
    Condition("a star", "AB 13 to 17, anywhere, saturated", strange=True, paint=star),
    Condition("a bleeding column", "a star whose saturated column, 1 to 3 pixels wide, bleeds", strange=True,
              paint=bleeding),
    Condition("4 to 6 galaxies", "3 to 5 companions", strange=True, draw={"members": (4, 6)}),
    Condition("noise × 20", "noise per pixel", strange=True, sky={"sigma": 20 * USUAL}),
    Condition("noise × 0.05", "the same", strange=True, sky={"sigma": 0.05 * USUAL}),
    Condition("the mosaic's edge", "zero beyond a line, 6 to 45 pixels from the centre", strange=True, paint=edge),
    Condition("a satellite's trail", "0.05 to 0.5 e⁻/s high, 1.5 to 3.5 pixels wide (σ)", strange=True, paint=trail),
)  # fmt: skip


def noiseless(folder: Path) -> Sample:
    """Real galaxies without noise and neighbours: ``stamps.npy`` and ``catalogue.csv`` (id, mag, galtype, radius)."""
    catalog = Table.read(folder / "catalogue.csv", format="ascii.csv")
    catalog.rename_columns(("galtype", "radius"), ("morphology", "r_eff"))
    images, catalog["segval"] = np.load(folder / "stamps.npy"), 1
    y, x = (n // 2 for n in images.shape[1:])
    parts = (label(image > THRESHOLD)[0] for image in images)
    own = np.stack([part == part[y, x] for part in parts]) & (images > THRESHOLD)
    own[:, y, x] = True
    return alone(Sample(images, own.astype(np.uint8), catalog, name=folder.name))


def galaxies(exam: Exam) -> dict[str, dict[str, Sample]]:
    """For "synthetic" and "real" the galaxies of the exam, by `Condition.noise`."""
    beside, known = exam.folder.resolve().parent, examined(exam)
    white = load_sample("synthetic", n=exam.galaxies, seed=SEED, noise="white")
    others = {
        "synthetic": {"white": clean(white), "none": parents(exam, SEED)},
        "real": {"white": clean(load_sample(beside / "hst-sample")), "none": noiseless(beside / "hst-noiseless")},
    }
    found = {}
    for name, sample in known.items():
        same = {key: s[np.isin(s.catalog["id"], sample.catalog["id"])] for key, s in others[name].items()}
        found[name] = {"correlated": sample} | same
    return found


def outside_table(exam: Exam) -> Table:
    """Every method in every condition, on synthetic galaxies and on real ones.

    A row per `sample`, `condition`, `method` and `member` that is there: `n` (with a flux), `failed`, and with an error
    each from resampling galaxies `mape`, `median` (% of flux), `outliers` (%, further off than 0.75 mag or not
    positive), `within1`, `within2` (% within one and two predicted sigmas), `flagged` (% of the stamps called out of
    domain), `trusted` (MAPE of the others), `nothing` (% of the places without galaxy whose flux is not there, or
    within two sigmas of zero), `to_base` (ratio to the MAPE of the undisturbed, where that has the same blends),
    `to_sep` (ratio of MAPEs where SEP measured), `median_to_sep`, `median_to_sersic` (of medians), `differs` (largest
    relative difference from the undisturbed flux, where only units changed).
    """
    fit = Method(SERSIC, "sersic", lambda images, blends: Sersic(truth=blends)(images), {})
    methods = [sep_method(), fit, *filter(None, (network_method(exam, run) for run in RUNS))]
    rows = []
    for name, samples in galaxies(exam).items():
        base = None
        for condition in CONDITIONS:
            sample = samples[condition.noise]
            blends = condition.blends(sample, exam.blends if condition.noise == "correlated" else exam.outside)
            images, truth = condition.stamps(sample, blends)
            found = {}
            for method in methods:
                n = exam.few if method is fit else len(blends)
                if not condition.strange or method.card.get("architecture") == "fractions":
                    told = _answer(exam, method, f"{condition.name}, {name}", images[:n], truth[:n])
                    found[method.name] = told | {key: told[key] / condition.unit for key in ("flux", "err")}
            base = (blends, found) if condition.name == UNDISTURBED else base
            for method in found:
                for row in _rows(condition, blends, found, method, base):
                    rows.append({"sample": name, "condition": condition.name, "method": method} | row)
    table = Table(rows)
    for key, form in SCORES.items():
        table[key].info.format = table[f"{key}_err"].info.format = form
    table.meta = {"made_by": exam.made_by, "blends": exam.outside, "survey": exam.blends, "few": exam.few}
    return table


def _answer(exam, method, where, images, truth):
    """`flux` and `err` of the first two galaxies, (n, 2), and `odd` (n,), NaN where the method does not tell."""

    def measure():
        pred = method.measure(images, truth)
        check_unseen(truth, pred, method.name)
        nothing = {"flux_err": np.full(pred["flux"].shape, np.nan), "out_of_domain": np.full(len(images), np.nan)}
        err, odd = (pred[name] if name in pred.colnames else none for name, none in nothing.items())
        return {"flux": np.array(pred["flux"])[:, :2], "err": np.array(err)[:, :2], "odd": np.array(odd, float)}

    places = (np.asarray(truth[name]) for name in ("id", "dx", "dy"))
    return kept(exam, f"{method.name}: {len(images)} blends, {where}", measure, method.key, images, *places)


def _rows(condition, blends, found, method, base):
    """The scores of one method, a row for each member that is asked for."""
    n, flagged = len(found[method]["flux"]), 100 * found[method]["odd"]
    pairs = np.shape(blends["id"])[1] == 2 and not condition.strange
    for j, member in enumerate(MEMBERS if pairs else ["central"]):
        ids, true = np.asarray(blends["id"])[:n, j], np.asarray(blends["flux"], float)[:, j]
        flux, err = (found[method][key][:, j] for key in ("flux", "err"))
        galaxies = ids if (ids >= 0).all() else np.asarray(blends["id"])[:n, 0]
        score = {"flagged": resampled(weighted_mean, galaxies, flagged)}
        if galaxies is not ids:
            nothing = np.isnan(flux) | (np.abs(flux) <= 2 * err)
            score["nothing"] = resampled(weighted_mean, galaxies, 100.0 * nothing)
        elif not condition.strange:
            off = {name: _percent(answer, true, j) for name, answer in found.items()}
            score |= accuracy(off[method], flux / true[:n], (flux - true[:n]) / err, flagged, ids)
            score |= dict(_against(off, method, ids))
            if base and np.array_equal(base[0]["id"][:n, j], ids):
                undisturbed = base[1][method]
                same = _percent(undisturbed, np.asarray(base[0]["flux"], float)[:, j], j)
                score["to_base"] = resampled(ratio, ids, off[method], same)
                if condition.unit != 1:
                    score["differs"] = float(np.nanmax(np.abs(flux / undisturbed["flux"][:, j] - 1))), np.nan
        row = {"member": member, "n": int(np.isfinite(flux).sum()), "failed": int(np.isnan(flux).sum())}
        for key in SCORES:
            for column, value in zip((key, f"{key}_err"), score.get(key, (np.nan, np.nan)), strict=True):
                row[column] = float(f"{value:.5g}")
        yield row


def _percent(answer, true, j):
    """Absolute percentage errors of the j-th galaxies, NaN only where there is no flux at all."""
    flux = answer["flux"][:, j]
    return 100 * np.abs(flux / true[: len(flux)] - 1)


def accuracy(off, of_true, pull, flagged, ids):
    """How far off the fluxes are, and how honest their errors."""
    far = ~(np.abs(2.5 * np.log10(np.maximum(of_true, 1e-9))) <= OUTLIER_DMAG)
    scores = {
        "mape": (weighted_mean, off),
        "median": (weighted_median, off),
        "outliers": (weighted_mean, np.where(np.isfinite(off), 100.0 * far, np.nan)),
        "within1": (weighted_mean, np.where(np.isfinite(pull), 100.0 * (np.abs(pull) <= 1), np.nan)),
        "within2": (weighted_mean, np.where(np.isfinite(pull), 100.0 * (np.abs(pull) <= 2), np.nan)),
        "trusted": (weighted_mean, np.where(flagged == 0, off, np.nan)),
    }
    return {key: resampled(statistic, ids, values) for key, (statistic, values) in scores.items()}


def _against(off, method, ids):
    """Ratios to the errors of SEP and of the Sersic fit on the same blends."""
    rivals = {"to_sep": (ratio, SEP_LABEL), "median_to_sep": (median_ratio, SEP_LABEL),
              "median_to_sersic": (median_ratio, SERSIC)}  # fmt: skip
    for key, (statistic, rival) in rivals.items():
        n = min(len(off[method]), len(off[rival]))
        yield key, resampled(statistic, ids[:n], off[method][:n], off[rival][:n])
