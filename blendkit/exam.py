"""The networks' exam: train them, fine-tune on real galaxies, score on galaxies never seen, write the results page.

``python -m blendkit.exam FOLDER_OF_REAL_GALAXIES`` makes the networks in ``data/weights/``, the table
``data/reference/network_scores.ecsv`` and the page ``docs/RESULTS.md``. It takes hours on a CPU; interrupted, the same
command goes on where it was.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import samples, training, weights
from .blending import draw_blends, place, render, split
from .cleaning import clean
from .deblenders import SEP, Network
from .metrics import check_unseen, iou, resample, scores
from .photometry import half_light_radius
from .samples import Sample, load_sample
from .simulate import simulate

if TYPE_CHECKING:
    from astropy.table import Table

ROOT = Path(__file__).resolve().parents[1]
SEED = 42  # of the exam's galaxies, blends and splits, as in the notebooks, and of all training runs
SHARES = (0.6, 0.2, 0.2)
TRAIN_SEEDS = tuple(range(900_001, 900_026))
"""Simulations that only trainings use: the first for the tutorial's, all but the last for the shipped networks with
masks, the last for fine-tuning."""
BROADER = {"deeper": 1.5, "smaller": 3.0}
"""Galaxies fainter and more compact than the paper's, which other surveys find: every second seed of the shipped
networks, and those beside the real galaxies in fine-tuning."""
SHARPER = {"sharper": 1.4}
"""The same galaxies as other filters see them."""
STEPS = ("tutorial", "ship", "finetune", "scores")
LARGEST = 4e6  # bytes of a file of weights

SHIPPED_PLAN = replace(training.plan_of("fractions"), blends=4096, valid=512, epochs=110, batch=32, close=0.5)
UNET_PLAN = replace(training.plan_of("unet"), blends=4096, valid=512, epochs=20, rate=1.5e-3, schedule="cosine")
FLUX_PLAN = replace(
    training.plan_of("blend2mask2flux"), blends=4096, valid=512, epochs=16, rate=2e-4, schedule="cosine"
)
MUON_PLAN = replace(training.plan_of("blend2flux"), rate=3e-3, schedule="cosine", optimizer="muon")
FINETUNE_PLAN = replace(SHIPPED_PLAN, blends=1024, valid=256, epochs=4, batch=16, rate=6e-4)

SEP_LABEL = "SEP Kron, neighbour masked"
WITH_MUON = "blend2flux (Muon)"
TUTORIAL, SHIPPED, FINETUNED = "fractions (tutorial)", "fractions (shipped)", "fractions-finetuned"
RUNS = {
    "blend2flux": "blend2flux",
    "blend2flux-muon": WITH_MUON,
    "blend2mask2flux": "blend2mask2flux",
    "unet": "unet (masks only)",
    "fractions": TUTORIAL,
    "unet-shipped": "unet (shipped, masks only)",
    "blend2mask2flux-shipped": "blend2mask2flux (shipped)",
    "fractions-shipped": SHIPPED,
    "fractions-finetuned": FINETUNED,
}
"""Folder of each run below the exam's own, and what tables call the network."""
WEIGHTS = {
    "blend2flux": "blend2flux",
    "blend2mask2flux": "blend2mask2flux-shipped",
    "unet": "unet-shipped",
    "fractions": "fractions-shipped",
    "fractions-finetuned": "fractions-finetuned",
}
"""Name of each network in ``data/weights/``, and the run that it is from."""
SAMPLES = ("synthetic", "real", "real, held-out folds")
GALAXIES = ("central", "companion")


@dataclass(frozen=True)
class Exam:
    """What an exam is held on.

    Attributes
    ----------
    folder : pathlib.Path
        Real galaxies.
    out : pathlib.Path
        Where runs and measurements are kept.
    home : pathlib.Path
        Where the page, the table and the weights go: the repository.
    profile : {"quick", "tutorial"}
        Plans of the networks that have no plan of their own here.
    plans : dict of str to Plan
        Plans by run; "finetune" is for all fine-tuning runs.
    galaxies : int
        Simulated for each seed.
    seeds : tuple of int
        As `TRAIN_SEEDS`.
    blends, turned : int
        Blends that methods are scored on, and how many of these are measured in all eight orientations.
    folds : int
        Parts of the real galaxies, each held out once.
    """

    folder: Path
    out: Path
    home: Path = ROOT
    profile: str = "tutorial"
    plans: dict[str, training.Plan] = field(
        default_factory=lambda: {
            "blend2flux-muon": MUON_PLAN,
            "unet-shipped": UNET_PLAN,
            "blend2mask2flux-shipped": FLUX_PLAN,
            "fractions-shipped": SHIPPED_PLAN,
            "finetune": FINETUNE_PLAN,
        }
    )
    galaxies: int = 2000
    seeds: tuple[int, ...] = TRAIN_SEEDS
    blends: int = 3000
    turned: int = 500
    folds: int = 3

    @property
    def made_by(self) -> str:
        """The command."""
        return f"python -m blendkit.exam {self.folder.resolve().name}" + (
            "" if self.profile == "tutorial" else f" --profile {self.profile}"
        )

    def plan(self, run: str, model_name: str) -> training.Plan:
        """The plan of a run: its own one, or the profile's.

        Parameters
        ----------
        run, model_name : str

        Returns
        -------
        Plan
        """
        return self.plans.get(run) or training.plan_of(model_name, self.profile)


def quick_exam(folder: Path, out: Path) -> Exam:
    """An exam that shows in minutes that everything works, and writes nothing outside `out`."""
    names = ("unet", "blend2mask2flux", "fractions")
    plans = {f"{name}-shipped": training.plan_of(name, "quick") for name in names}
    plans["finetune"] = replace(plans["fractions-shipped"], epochs=1, rate=3e-4)
    seeds = (*TRAIN_SEEDS[:2], TRAIN_SEEDS[-1])
    return Exam(folder, out, out, "quick", plans, galaxies=120, seeds=seeds, blends=100, turned=20, folds=2)


# --- training ---------------------------------------------------------------------------------------------------------


def train_tutorial(exam: Exam) -> None:
    """The networks of the tutorial, each by its tutorial plan, on galaxies divided as in the notebooks."""
    train, valid, _ = split(simulated(exam, exam.seeds[:1]), SHARES, SEED)
    for run in ("unet", "blend2mask2flux", "blend2flux", "blend2flux-muon", "fractions"):
        start = exam.out / "unet" if run == "blend2mask2flux" else None
        _train(exam, run, run.removesuffix("-muon"), train, valid, start)


def train_shipped(exam: Exam) -> None:
    """The long runs of the networks with masks, on galaxies of several seeds."""
    seeds = exam.seeds[:-1]
    broader = with_measured_radii(simulated(exam, seeds[1::2], **BROADER, **SHARPER))
    train, valid = split(samples.join([simulated(exam, seeds[::2]), broader]), (0.9, 0.1), SEED)
    for name in ("unet", "blend2mask2flux", "fractions"):
        start = exam.out / "unet-shipped" if name == "blend2mask2flux" else None
        _train(exam, f"{name}-shipped", name, train, valid, start)


def fine_tune(exam: Exam) -> None:
    """The shipped network on real and synthetic galaxies: once for each fold, without it, and once on all."""
    real = real_galaxies(exam)
    made = with_measured_radii(simulated(exam, exam.seeds[-1:], 2 * len(real), **BROADER, **SHARPER))
    runs = {f"finetune-{k + 1}": rest for k, (rest, _) in enumerate(folds(exam, real))}
    for run, known in (runs | {"fractions-finetuned": real}).items():
        sides = zip(*(split(part, (0.8, 0.2), SEED) for part in (known, made[: len(known)])), strict=True)
        train, valid = (samples.join(side) for side in sides)
        _train(exam, run, "fractions", train, valid, exam.out / "fractions-shipped", plan="finetune")


def simulated(exam: Exam, seeds: Sequence[int], n: int | None = None, **population: float) -> Sample:
    """Cleaned synthetic galaxies of several seeds, `n` of each before cleaning, as one sample; see `simulate`."""
    parts = [clean(simulate(n or exam.galaxies, seed, **population)) for seed in seeds]
    made = samples.join(parts)
    if len(parts) == 1:
        return made
    return replace(made, name=parts[0].name.replace(f"seed {seeds[0]}", f"{len(parts)} seeds"))


def with_measured_radii(sample: Sample) -> Sample:
    """The same galaxies, FLUX_RADIUS for `r_eff`, as in catalogues of galaxies that nobody has fitted.

    It is the radius of a circle, seen through the PSF: elongated galaxies are blended more closely than by their
    semi-major axis, compact ones less.
    """
    measured = half_light_radius(sample.images, sample.own_masks())
    catalog = sample.catalog.copy()
    catalog["r_eff"] = np.where(measured > 0, measured, catalog["r_eff"])
    return replace(sample, catalog=catalog)


def real_galaxies(exam: Exam) -> Sample:
    """The real galaxies, cleaned."""
    return clean(load_sample(exam.folder))


def folds(exam: Exam, real: Sample) -> list[tuple[Sample, Sample]]:
    """For each fold the galaxies to train on, and those held out; every galaxy is held out once."""
    parts = split(real, (1 / exam.folds,) * exam.folds, SEED)
    return [(samples.join([p for p in parts if p is not held]), held) for held in parts]


def _train(exam, run, model_name, train, valid, start=None, plan=None):
    print(f"{run}: {len(train)} galaxies to train on, {len(valid)} to choose with.", flush=True)
    plan = exam.plan(plan or run, model_name)
    training.train(model_name, train, valid, exam.profile, SEED, exam.out / run, start=start, plan=plan)
    gc.collect()  # the samples that lay on the device


# --- measuring --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Method:
    """A deblender under examination.

    Attributes
    ----------
    name : str
        In tables.
    key : str
        Changes with the weights.
    measure : callable
        ``measure(images, blends)``, predictions with masks where the method gives any.
    card : dict
        Of the network; empty for SEP.
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
    return Method(RUNS.get(run, FINETUNED), card["sha256"][:12], lambda images, blends: network(images), card)


def card_of(exam: Exam, run: str) -> dict | None:
    """The card in the folder of a finished run, None before."""
    found = [path for path in (exam.out / run).glob("*.json") if path.with_name(f"{path.stem}.weights.h5").is_file()]
    return json.loads(found[0].read_text(encoding="utf-8")) if found else None


def turns(images: np.ndarray, sky: np.ndarray) -> Iterable[np.ndarray]:
    """The seven other orientations of blends about the centre pixel, empty rows and columns filled with sky.

    Parameters
    ----------
    images : array of float32, shape (n, ny, nx)
    sky : array of float32, shape (k, ny, nx)
        Stamps of a single exposure's sky; a blend has two.

    Yields
    ------
    array of float32, shape (n, ny, nx)
    """
    for orient in range(1, 8):
        out = np.empty_like(images)
        for i, image in enumerate(images):
            place(out[i], image, orient, 0, 0, sky[i % len(sky)] + sky[(i + 1) % len(sky)])
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
        `flux`, and where the method gives them `err` (one sigma) and `iou`; `flux_zero`, under zero fill; `spread`, the
        standard deviation over eight orientations, NaN where not measured: all of shape (n, 2). `seconds`: time under
        sky fill.

    Raises
    ------
    ValueError
        Where the method was trained on these galaxies.
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
        part = {"flux": _pair(pred, "flux_{}")}
        if "masks" in pred.colnames:
            part["iou"] = iou(masks, np.asarray(pred["masks"]))
        del masks
        zero, _, _ = render(sample, rows, fill="zero", masks=False)
        part["flux_zero"] = _pair(method.measure(zero, rows), "flux_{}")
        if "flux_central_err" in pred.colnames:
            part["err"] = _pair(pred, "flux_{}_err")
            part["spread"] = np.full((len(rows), 2), np.nan)
            if n := min(max(turned - start, 0), len(rows)):
                views = turns(images[:n], sample.sky)
                others = [_pair(method.measure(view, rows[:n]), "flux_{}") for view in views]
                part["spread"][:n] = np.std([part["flux"][:n], *others], axis=0)
        parts.append(part)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} | {"seconds": seconds}


def answers(exam: Exam, method: Method, sample: Sample, blends: Table) -> dict:
    """As `measure`, or what an interrupted exam has measured already with these weights and blends."""
    columns = ("central", "companion", "dx", "dy", "orient_central", "orient_companion")
    what = (method.key, exam.turned, sample.sky_fingerprint, sorted(sample.fingerprints.values()))
    digest = hashlib.blake2b(repr(what).encode(), digest_size=8)
    for name in columns:
        digest.update(np.asarray(blends[name]).tobytes())
    path = exam.out / "answers" / f"{digest.hexdigest()}.npz"
    if path.is_file():
        with np.load(path) as stored:
            return dict(stored)
    print(f"{method.name}: {len(blends)} blends of {sample.name}", flush=True)
    found = measure(method, sample, blends, turned=exam.turned)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    with draft.open("wb") as file:
        np.savez(file, **found)
    os.replace(draft, path)
    return found


def _pair(table, name):
    return np.stack([np.asarray(table[name.format(galaxy)], float) for galaxy in GALAXIES], axis=1)


# --- scoring ----------------------------------------------------------------------------------------------------------


def score_table(exam: Exam) -> Table:
    """Every finished network and SEP, on synthetic galaxies, on real ones, and on real ones held out of fine-tuning.

    Parameters
    ----------
    exam : Exam

    Returns
    -------
    astropy.table.Table
        A row per sample, method and galaxy; see `score_rows`. ``meta`` says how it was made.
    """
    from astropy.table import vstack

    methods = [sep_method(), *filter(None, (network_method(exam, run) for run in RUNS))]
    test = split(clean(load_sample("synthetic", n=exam.galaxies, seed=SEED)), SHARES, SEED)[2]
    real = real_galaxies(exam)
    tables = []
    for name, sample in zip(SAMPLES, (test, real), strict=False):
        blends = draw_blends(sample, exam.blends, SEED)
        chosen = [m for m in methods if not (sample is real and m.name == FINETUNED)]
        tables.append(score_rows(name, blends, {m: answers(exam, m, sample, blends) for m in chosen}))
    held_out = fold_rows(exam, real, [m for m in methods if m.name in (SEP_LABEL, SHIPPED)])
    table = vstack([*tables, *held_out], metadata_conflicts="silent")
    table.meta = {
        "made_by": exam.made_by,
        "blends": exam.blends,
        "turned": exam.turned,
        "folds": exam.folds,
        "synthetic": f"{len(test)} synthetic galaxies (the test part of seed {SEED})",
        "real": f"{len(real)} real HST galaxies ({real.name})",
        "training": training_facts(exam),
    }
    return table


def fold_rows(exam: Exam, real: Sample, others: list[Method]) -> list[Table]:
    """Scores of the fine-tuned networks, each on blends of the galaxies held out of its training, and of others.

    Parameters
    ----------
    exam : Exam
    real : Sample
    others : list of Method
        Scored on the same blends, for comparison.

    Returns
    -------
    list of astropy.table.Table
        A single one, or none where a fold is not trained yet.
    """
    from astropy.table import vstack

    tuned = [network_method(exam, f"finetune-{k + 1}") for k in range(exam.folds)]
    if not all(tuned):
        return []
    sets, found = [], {}
    for method, (_, held) in zip(tuned, folds(exam, real), strict=True):
        blends = draw_blends(held, max(exam.blends // exam.folds, 1), SEED)
        sets.append(blends)
        for m in (*others, method):
            found.setdefault(m.name, []).append(answers(exam, m, held, blends))
    blends = vstack(sets, metadata_conflicts="silent")
    pooled = {
        name: {key: sum(p[key] for p in parts) if key == "seconds" else np.concatenate([p[key] for p in parts])
               for key in parts[0]}
        for name, parts in found.items()
    }  # fmt: skip
    last = replace(tuned[-1], card=card_of(exam, "fractions-finetuned") or tuned[-1].card)
    return [score_rows(SAMPLES[2], blends, {m: pooled[m.name] for m in (*others, last)})]


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
        A row per method and galaxy, NaN where a score does not apply. `sample`, `method`, `galaxy`, `n` (measured),
        `failed`; with an error each from resampling galaxies: `mape` and `median` (% of flux), `scatter` (mag),
        `outliers` (%, further off than 0.75 mag), `iou` (mean), `within1` and `within2` (% of the fluxes within one and
        two predicted sigmas), `steady` (% of the blends whose flux spreads by less than the predicted sigma over eight
        orientations), `mape_zero` (% of flux, under zero fill), `mape_seen` (% of flux, blends on which SEP measured
        this galaxy), `to_sep` and `to_blend2flux` (ratios of MAPE on the same blends); `parameters`, `minutes` (of
        training), `trained` and `measured` (images per second).
    """
    from astropy.table import Table

    flux = _pair(blends, "flux_{}")
    off = {method.name: _percent(flux, answer["flux"]) for method, answer in found.items()}
    predictions = {
        method.name: Table({f"flux_{g}": answer["flux"][:, k] for k, g in enumerate(GALAXIES)})
        for method, answer in found.items()
    }
    table = scores(blends, predictions)
    rows = []
    for method, answer in found.items():
        masks_only = method.card.get("architecture") == "unet"
        for k, galaxy in enumerate(GALAXIES):
            ids = np.asarray(blends[galaxy])
            own = table[(table["method"] == method.name) & (table["galaxy"] == galaxy) & (table["case"] == "all")][0]
            row = {"sample": name, "method": method.name, "galaxy": galaxy, "n": own["n"], "failed": own["failed"]}
            pairs = {
                "mape": (own["mape_flux"], own["mape_flux_err"]),
                "median": (own["median_flux"], own["median_flux_err"]),
                "scatter": (own["scatter"], own["scatter_err"]),
                "outliers": (100 * own["outliers"], 100 * own["outliers_err"]),
                "mape_zero": _mean(_percent(flux, answer["flux_zero"])[:, k], ids),
            }
            rivals = {"to_sep": off.get(SEP_LABEL), "to_blend2flux": off.get("blend2flux")}
            mine = off[method.name][:, k]
            if SEP_LABEL in off:
                pairs["mape_seen"] = _mean(np.where(np.isfinite(off[SEP_LABEL][:, k]), mine, np.nan), ids)
            pairs |= {key: _mean(mine, ids, rival[:, k]) for key, rival in rivals.items() if rival is not None}
            if masks_only:
                row |= {"n": len(blends), "failed": 0}
                pairs = {}
            if "iou" in answer:
                pairs["iou"] = _mean(answer["iou"][:, k], ids)
            if "err" in answer:
                err = answer["err"][:, k]
                for n in (1, 2):
                    inside = np.abs(answer["flux"][:, k] - flux[:, k]) <= n * err
                    pairs[f"within{n}"] = _mean(100.0 * inside, ids)
                spread = answer["spread"][:, k]
                pairs["steady"] = _mean(np.where(np.isfinite(spread), 100.0 * (spread < err), np.nan), ids)
            for key in SCORES:
                row[key], row[f"{key}_err"] = map(float, pairs.get(key, (np.nan, np.nan)))
            rows.append(row | _facts(method.card) | {"measured": len(blends) / float(answer["seconds"])})
    board = Table(rows)
    for key, (form, unit) in SCORES.items():
        for column in (key, f"{key}_err"):
            board[column].info.format, board[column].info.unit = form, unit
    board["parameters"].info.format, board["minutes"].info.format = ".0f", ".2f"
    board["trained"].info.format = board["measured"].info.format = ".1f"
    return board


SCORES = {
    "mape": (".2f", "%"), "median": (".2f", "%"), "scatter": (".3f", "mag"), "outliers": (".2f", "%"),
    "iou": (".3f", None), "within1": (".1f", "%"), "within2": (".1f", "%"), "steady": (".1f", "%"),
    "mape_zero": (".2f", "%"), "mape_seen": (".2f", "%"), "to_sep": (".3f", None), "to_blend2flux": (".3f", None),
}  # fmt: skip
"""Columns of the table of scores that have an error: format and unit."""


def _facts(card):
    speeds = card.get("history", {}).get("images_per_second") or [np.nan]
    return {
        "parameters": float(card.get("parameters", np.nan)),
        "minutes": float(card.get("seconds", np.nan)) / 60,
        "trained": float(np.median(speeds)),
    }


def training_facts(exam: Exam) -> dict[str, dict]:
    """How each finished run was trained, in a few words by its name in tables."""
    facts = {}
    for run, label in RUNS.items():
        if card := card_of(exam, run):
            plan = card.get("plan", {})
            facts[label] = {
                "galaxies": len(card.get("galaxies", [])),
                "seeds": list(seeds_of(exam, run)),
                "blends": int(card.get("epochs", 0)) * int(plan.get("blends", 0)),
                "hardware": str(card.get("hardware", "unknown")),
            }
    return facts


def seeds_of(exam: Exam, run: str) -> tuple[int, ...]:
    """The simulation seeds that a run has seen."""
    if run.endswith("-shipped"):
        return exam.seeds[:-1]
    return exam.seeds if run == "fractions-finetuned" or run.startswith("finetune-") else exam.seeds[:1]


def _percent(true, measured):
    """Absolute percentage errors, NaN where there is no flux."""
    good = np.isfinite(measured) & (measured > 0)
    return np.where(good, 100 * np.abs(measured / true - 1), np.nan)


def _mean(values, galaxies, below=None):
    """Mean of values, or ratio of two means over the same rows, with its error from resampling galaxies."""
    good = np.isfinite(values) if below is None else np.isfinite(values) & np.isfinite(below)
    if not good.any():
        return np.nan, np.nan
    values, below = values[good], np.ones(good.sum()) if below is None else below[good]
    value = values.sum() / below.sum()
    if len(np.unique(galaxies[good])) < 2:
        return value, np.nan
    counts = resample(galaxies[good])
    return value, float((counts @ values / (counts @ below)).std(ddof=1))


# --- weights ----------------------------------------------------------------------------------------------------------


def ship(exam: Exam, table: Table) -> list[Path]:
    """Put the finished networks with their cards where `Network("fractions")` finds them.

    Parameters
    ----------
    exam : Exam
    table : astropy.table.Table
        As from `score_table`.

    Returns
    -------
    list of pathlib.Path

    Raises
    ------
    ValueError
        Where a file is larger than 4 MB.
    """
    shipped, folder = [], exam.home / "data" / "weights"
    folder.mkdir(parents=True, exist_ok=True)
    for name, run in WEIGHTS.items():
        if card_of(exam, run) is None:
            continue
        _, card = weights.load(exam.out / run)  # refuses what does not match
        own, path = exam.out / run / f"{card['name']}.weights.h5", folder / f"{name}.weights.h5"
        if own.stat().st_size >= LARGEST:
            raise ValueError(
                f"the weights '{own}' take {own.stat().st_size / 1e6:.1f} MB, expected less than {LARGEST / 1e6:.0f}: "
                "train a smaller network."
            )
        if name != "blend2flux":
            card.pop("profile", None)  # these have plans of their own
        card |= {
            "name": name,
            "seeds": list(seeds_of(exam, run)),
            "accuracy": accuracy(table, RUNS[run]),
            "limits": limits(table, RUNS[run]),
            "made_by": exam.made_by,
        }
        with tempfile.TemporaryDirectory(dir=folder, prefix=".shipping-") as draft:
            text = json.dumps(card, indent=1, ensure_ascii=False) + "\n"
            (Path(draft) / f"{name}.json").write_text(text, encoding="utf-8")
            shutil.copyfile(own, Path(draft) / path.name)  # the same bytes: cards of what started from it name them
            os.replace(Path(draft) / path.name, path)
            os.replace(Path(draft) / f"{name}.json", folder / f"{name}.json")
        shipped.append(path)
    return shipped


def accuracy(table: Table, method: str) -> dict[str, dict]:
    """What a card says of a network's accuracy.

    Parameters
    ----------
    table : astropy.table.Table
        As from `score_table`.
    method : str

    Returns
    -------
    dict
        By sample, then galaxy, then score: values, and their errors under the same names with ``_err``.
    """
    said = {}
    for row in table[table["method"] == method]:
        values = {}
        for key in ("mape", "median", "scatter", "outliers", "iou", "within1", "within2"):
            if np.isfinite(row[key]):
                values[key] = round(float(row[key]), 4)
            if np.isfinite(row[f"{key}_err"]):
                values[f"{key}_err"] = round(float(row[f"{key}_err"]), 4)
        said.setdefault(str(row["sample"]), {})[str(row["galaxy"])] = values
    return said


def limits(table: Table, method: str) -> list[str]:
    """What a card says about where a network must not be trusted, a few sentences.

    Parameters
    ----------
    table : astropy.table.Table
    method : str

    Returns
    -------
    list of str
    """
    said = [
        "Two galaxies to a stamp of 128 x 128 pixels, the central one in the centre pixel, at most 2 mag apart and 0.5 "
        "to 4 effective radii from each other.",
        "Trained on simulated galaxies of one survey: 0.06 arcsec per pixel, zeropoint 25.96, sky noise 0.006 e-/s per "
        "pixel and stamp; other depths, pixel scales or point spread functions need training of their own.",
    ]
    if method == FINETUNED:
        said.append(
            "Fine-tuned on all real galaxies at hand: its accuracy on real galaxies is that of networks fine-tuned "
            "alike without the galaxies that they were tested on, by folds."
        )
    gaps = [
        f"{_cell(real, 'mape')} % on real galaxies, {_cell(made, 'mape')} % on synthetic ones ({galaxy})"
        for galaxy in GALAXIES
        if (made := _row(table, SAMPLES[0], method, galaxy)) is not None
        and (real := _row(table, SAMPLES[2 if method == FINETUNED else 1], method, galaxy)) is not None
        and np.isfinite(made["mape"])
    ]
    if gaps:
        said.append(f"Mean error of flux: {'; '.join(gaps)}.")
    return said


# --- the page ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """What was asked for before training: both galaxies' `score` from `low` to `high`, for each of `methods`."""

    text: str
    sample: str
    score: str
    methods: tuple[str, ...]
    low: float = -np.inf
    high: float = np.inf

    def lines(self, table: Table) -> list[str]:
        """Its lines of the page's table, met or missed for each method."""
        lines = []
        for method in self.methods:
            pair = [_row(table, self.sample, method, galaxy) for galaxy in GALAXIES]
            if None in pair or not np.isfinite(pair[0][self.score]):
                lines.append(f"| {self.text} | {self.sample} | {method} | – | – | not measured |")
                continue
            met = all(self.low <= row[self.score] <= self.high for row in pair)
            values = " | ".join(_cell(row, self.score) for row in pair)
            if f"{self.score}_err" not in table.colnames:  # of the network, not of a galaxy
                values = f"{_cell(pair[0], self.score)} | "
            lines.append(f"| {self.text} | {self.sample} | {method} | {values} | {'met' if met else '**missed**'} |")
        return lines


_BOTH = (TUTORIAL, SHIPPED)
TARGETS = (
    Target("flux MAPE ≤ 7 %", SAMPLES[0], "mape", _BOTH, high=7),
    Target("median error ≤ 3 %", SAMPLES[0], "median", _BOTH, high=3),
    Target("outliers ≤ 0.5 %", SAMPLES[0], "outliers", _BOTH, high=0.5),
    Target("IoU ≥ 0.82", SAMPLES[0], "iou", _BOTH, low=0.82),
    Target("63 to 73 % within 1 σ", SAMPLES[0], "within1", _BOTH, 63, 73),
    Target("90 to 100 % within 2 σ", SAMPLES[0], "within2", _BOTH, 90, 100),
    Target("spread over 8 turns < σ for ≥ 95 %", SAMPLES[0], "steady", _BOTH, low=95),
    Target("MAPE ≤ 1/2 of blend2flux's", SAMPLES[0], "to_blend2flux", _BOTH, high=0.5),
    Target("MAPE ≤ 1/3 of SEP's, where SEP measured", SAMPLES[0], "to_sep", _BOTH, high=1 / 3),
    Target("≤ 10 minutes of training", SAMPLES[0], "minutes", ("blend2flux", "blend2mask2flux", RUNS["unet"], TUTORIAL),
           high=10),
    Target("flux MAPE ≤ 10 %", SAMPLES[1], "mape", _BOTH, high=10),
    Target("outliers ≤ 0.5 %", SAMPLES[1], "outliers", _BOTH, high=0.5),
    Target("60 to 76 % within 1 σ", SAMPLES[1], "within1", _BOTH, 60, 76),
)  # fmt: skip
"""What was asked for before training."""


def page(table: Table) -> str:
    """The results page, GitHub Markdown.

    Parameters
    ----------
    table : astropy.table.Table
        As from `score_table`, or read from its file.

    Returns
    -------
    str
    """
    meta = table.meta
    flux_pairs, every_pair = list(_pairs(table, "mape")), list(_pairs(table))
    accuracy_of = ("mape", "median", "scatter", "outliers", "iou", "within1", "within2")
    blocks = [
        "# Results",
        f"Made by `{meta['made_by']}`, with the table `data/reference/network_scores.ecsv`: run the command again "
        "rather than editing this page.",
        "## How to read it",
        f"Every method measured {meta['blends']:,} blends of {meta['synthetic']} and {meta['blends']:,} blends of "
        f"{meta['real']}. No network had seen the galaxies that it is scored on (`metrics.scores` refuses that). For "
        f"fine-tuning, the real galaxies were divided into {meta['folds']} parts: the blends of each part were "
        "measured by a network tuned on the other parts (“held-out folds”; other methods on the same blends beside "
        "it).",
        HOW_TO_READ,
        "## What was asked, and what was reached",
        _markdown(
            ("target", "galaxies", "network", "central", "companion", ""),
            [line for target in TARGETS for line in target.lines(table)],
        ),
        "A target is met when both galaxies meet it, whatever the error bar.",
        "## Accuracy",
        _markdown(
            ("method", "galaxies", "not measured (%)", "MAPE (%)", "median (%)", "scatter (mag)", "outliers (%)",
             "IoU", "within 1 σ (%)", "within 2 σ (%)"),
            [_line(method, sample, _failed(rows), *(_both(rows, key) for key in accuracy_of))
             for method, sample, rows in every_pair],
        ),
        "The U-Net alone measures no flux; blend2mask2flux began with it, so that the two show masks before and after "
        "flux training.",
        "## From synthetic to real galaxies",
        _markdown(
            ("method", "MAPE synthetic (%)", "MAPE real (%)", "real / synthetic"), _gap_lines(table)
        ),
        f"Real galaxies: all of them; for {FINETUNED} held-out folds.",
        "## Against the others, on the same blends",
        _markdown(
            ("method", "galaxies", "MAPE where SEP measured (%)", "MAPE / SEP's", "MAPE / blend2flux's"),
            [_line(method, sample, *(_both(rows, key) for key in ("mape_seen", "to_sep", "to_blend2flux")))
             for method, sample, rows in flux_pairs],
        ),
        "MAPE where SEP measured, and the ratio to SEP's, use only the blends on which SEP measured that galaxy.",
        _same_optimizer(table),
        "## No living off artefacts",
        "All networks were trained with sky fill. “Steady”: share of the blends whose flux spreads by less than the "
        f"predicted σ over the 8 turns of the stamp about its centre pixel (the first {meta['turned']:,} blends).",
        _markdown(
            ("method", "galaxies", "MAPE, sky fill (%)", "MAPE, zero fill (%)", "steady (%)"),
            [_line(method, sample, *(_both(rows, key) for key in ("mape", "mape_zero", "steady")))
             for method, sample, rows in flux_pairs],
        ),
        "## Cost",
        _markdown(
            ("network", "parameters", "minutes of training", "images/s in training", "trained on",
             "training blends", "galaxies seen", "simulation seeds", "images/s measured"),
            _cost_lines(table),
        ),
        "Measured on two cores of a server CPU under TensorFlow, masks included. The minutes of blend2mask2flux come "
        "after those of its U-Net, those of the fine-tuned network after those of the shipped one. The simulation "
        "seeds are used for nothing else; every second one of the shipped networks, and that of the fine-tuning, go "
        f"{BROADER['deeper']:g} mag deeper than the paper's galaxies, with radii up to {BROADER['smaller']:g} times "
        f"smaller, are seen up to {SHARPER['sharper']:g} times more sharply, and have FLUX_RADIUS for a radius; "
        f"{SHIPPED_PLAN.close:.0%} of the blends of fractions, shipped and fine-tuned, lie within "
        f"{training.CLOSE[0]:g} to {training.CLOSE[1]:g} effective radii. All this was set with the real galaxies' "
        "magnitudes, radii and concentration in view, and with the blends of them that earlier weights failed on. "
        "Galaxies seen are those of training and validation.",
    ]  # fmt: skip
    return "\n\n".join(blocks) + "\n"


HOW_TO_READ = (
    "Two values in one cell are central / companion. ± is one standard deviation from resampling galaxies, not blends; "
    "an outlier share of 0 has ± 0, which is no certainty. MAPE and median: mean and median absolute percentage error "
    "of the flux. Scatter: standard deviation of measured − true magnitude. Outliers: further off than 0.75 mag. IoU: "
    "intersection over union of true and measured masks, mean over the blends, 0 where nothing was found. Within 1 σ, "
    "2 σ: share of the fluxes closer to the truth than once or twice the error that the network itself predicts (68 "
    "and 95 % if it is honest). SEP knows both true positions and is scored where it found the galaxy; networks are "
    "scored on all blends."
)


def _markdown(head, lines):
    return "\n".join([_line(*head), "|" + " --- |" * len(head), *lines])


def _line(*cells):
    return f"| {' | '.join(cells)} |"


def _pairs(table, needed=None):
    """Method, sample and both rows, the samples of a method one below the other."""
    for method in dict.fromkeys(map(str, table["method"])):
        for sample in SAMPLES:
            rows = [_row(table, sample, method, galaxy) for galaxy in GALAXIES]
            if None not in rows and (needed is None or np.isfinite(rows[0][needed])):
                yield method, sample, rows


def _row(table, sample, method, galaxy):
    rows = table[(table["sample"] == sample) & (table["method"] == method) & (table["galaxy"] == galaxy)]
    return rows[0] if len(rows) else None


DIGITS = {
    "mape": 1, "median": 1, "scatter": 3, "outliers": 2, "iou": 3, "within1": 1, "within2": 1, "steady": 1,
    "mape_zero": 1, "mape_seen": 1, "to_sep": 2, "to_blend2flux": 2, "minutes": 1,
}  # fmt: skip


def _cell(row, key):
    value, digits = float(row[key]), DIGITS[key]
    if not np.isfinite(value):
        return "–"
    error = float(row[f"{key}_err"]) if f"{key}_err" in row.colnames else np.nan
    return f"{value:.{digits}f}" + (f" ± {error:.{digits}f}" if np.isfinite(error) else "")


def _both(rows, key):
    cells = [_cell(row, key) for row in rows]
    return "–" if cells == ["–", "–"] else " / ".join(cells)


def _failed(rows):
    if not np.isfinite(rows[0]["mape"]):
        return "–"
    return " / ".join(f"{100 * row['failed'] / (row['n'] + row['failed']):.1f}" for row in rows)


def _same_optimizer(table):
    """How far fractions is ahead of a blend2flux that was trained as it was."""
    said = (
        "The paper's networks were trained with Adam, as in the paper, or AdamW (shipped); fractions with Muon, which "
        "learns from fewer blends."
    )
    pairs = [[_row(table, SAMPLES[0], name, galaxy) for name in (TUTORIAL, WITH_MUON)] for galaxy in GALAXIES]
    if any(row is None for pair in pairs for row in pair):
        return said
    ratios = " / ".join(f"{ours['mape'] / theirs['mape']:.2f}" for ours, theirs in pairs)
    return (
        f"{said} Against {WITH_MUON}, blend2flux trained with Muon too, {TUTORIAL} has {ratios} times the MAPE on "
        "synthetic galaxies: that much is the network's, the rest of its ratio to blend2flux the optimiser's."
    )


def _gap_lines(table):
    lines = []
    for method in dict.fromkeys(map(str, table["method"])):
        real = SAMPLES[2] if method == FINETUNED else SAMPLES[1]
        sides = [[_row(table, sample, method, galaxy) for galaxy in GALAXIES] for sample in (SAMPLES[0], real)]
        if any(row is None or not np.isfinite(row["mape"]) for side in sides for row in side):
            continue
        made, seen = sides
        ratio = " / ".join(f"{b['mape'] / a['mape']:.2f}" for a, b in zip(made, seen, strict=True))
        lines.append(_line(method, _both(made, "mape"), _both(seen, "mape"), ratio))
    return lines


def _cost_lines(table):
    lines = []
    for method in dict.fromkeys(map(str, table["method"])):
        row = table[(table["method"] == method)][0]
        told = table.meta["training"].get(method, {})
        number = f"{row['parameters']:,.0f}" if np.isfinite(row["parameters"]) else "–"
        trained, measured = (f"{row[k]:.0f}" if np.isfinite(row[k]) else "–" for k in ("trained", "measured"))
        facts = [f"{told[key]:,}" if key in told else "–" for key in ("blends", "galaxies")]
        lines.append(_line(method, number, _cell(row, "minutes"), trained, told.get("hardware", "–"), *facts,
                           _seeds(told.get("seeds", [])), measured))  # fmt: skip
    return lines


def _seeds(seeds):
    return weights._ranges(seeds) if seeds else "–"


# --- the command ------------------------------------------------------------------------------------------------------


def report(exam: Exam) -> None:
    """Score everything that is trained, and write the table, the page and the weights."""
    table = score_table(exam)
    for name in ("data/reference", "docs"):
        (exam.home / name).mkdir(parents=True, exist_ok=True)
    table.write(exam.home / "data" / "reference" / "network_scores.ecsv", overwrite=True)
    (exam.home / "docs" / "RESULTS.md").write_text(page(table), encoding="utf-8")
    for path in ship(exam, table):
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """The command ``python -m blendkit.exam``."""
    parser = argparse.ArgumentParser("python -m blendkit.exam", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="real galaxies, in the layout of the CANDELS release")
    parser.add_argument("--out", type=Path, help="where runs are kept; default results/exam, quick: results/exam-quick")
    parser.add_argument("--profile", choices=("quick", "tutorial"), default="tutorial",
                        help="quick: a rehearsal of minutes that writes only to --out")  # fmt: skip
    parser.add_argument("--only", default=",".join(STEPS), help=f"some of the steps {','.join(STEPS)}")
    given = parser.parse_args(arguments)
    steps = given.only.split(",")
    if unknown := [step for step in steps if step not in STEPS]:
        parser.error(f"there is no step {unknown[0]!r}, expected some of {','.join(STEPS)}")
    out = given.out or Path("results/exam" if given.profile == "tutorial" else "results/exam-quick")
    exam = Exam(given.folder, out) if given.profile == "tutorial" else quick_exam(given.folder, out)
    doing = {"tutorial": train_tutorial, "ship": train_shipped, "finetune": fine_tune, "scores": report}
    for step in STEPS:
        if step in steps:
            doing[step](exam)


if __name__ == "__main__":
    main()
