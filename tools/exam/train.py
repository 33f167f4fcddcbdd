"""Who is trained on what: the tutorial's networks, the shipped ones, and those fine-tuned on real galaxies."""

from __future__ import annotations

import gc
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from astropy.table import vstack

import blendkit as bk
from blendkit.blends.recipe import split
from blendkit.data.check import require
from blendkit.data.cleaning import clean
from blendkit.data.load import load_sample
from blendkit.data.sample import Sample
from blendkit.data.simulate import simulate

from ..reference import half_light_radius

training = bk.training  # Keras, without what TensorFlow says at its start
ROOT = Path(__file__).resolve().parents[2]
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


@dataclass(frozen=True)
class Exam:
    """What an exam is held on.

    Attributes
    ----------
    folder, out, home : pathlib.Path
        Real galaxies; where runs and measurements are kept; where the page, the table and the weights go.
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
        profile = "" if self.profile == "tutorial" else f" --profile {self.profile}"
        return f"python -m tools.exam {self.folder.resolve().name}{profile}"


def quick_exam(folder: Path, out: Path) -> Exam:
    """An exam that shows in minutes that everything works, and writes nothing outside `out`."""
    names = ("unet", "blend2mask2flux", "fractions")
    plans = {f"{name}-shipped": training.plan_of(name, "quick") for name in names}
    plans["finetune"] = replace(plans["fractions-shipped"], epochs=1, rate=3e-4)
    seeds = (*TRAIN_SEEDS[:2], TRAIN_SEEDS[-1])
    return Exam(folder, out, out, "quick", plans, galaxies=120, seeds=seeds, blends=100, turned=20, folds=2)


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
    train, valid = split(join([simulated(exam, seeds[::2]), broader]), (0.9, 0.1), SEED)
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
        train, valid = (join(side) for side in sides)
        _train(exam, run, "fractions", train, valid, exam.out / "fractions-shipped", plan="finetune")


def simulated(exam: Exam, seeds: Sequence[int], n: int | None = None, **population: float) -> Sample:
    """Cleaned synthetic galaxies of several seeds in white noise, `n` of each before cleaning; see `simulate`."""
    parts = [clean(simulate(n or exam.galaxies, seed, noise="white", **population)) for seed in seeds]
    if len(parts) == 1:
        return parts[0]
    return replace(join(parts), name=parts[0].name.replace(f"seed {seeds[0]}", f"{len(parts)} seeds"))


def join(samples: Sequence[Sample]) -> Sample:
    """Several samples as one, for example simulations of several seeds, or real galaxies and synthetic ones.

    They keep the catalogue columns that all have (and `truth_flux`, NaN for real galaxies, if any has it) and each
    one's sky. Stamp size, pixel scale, zeropoint and whether there is a `flux_auto` must be the same, ids different.
    """
    require(len(samples), "no sample was given to join, expected at least one: give a list of samples.")
    first = samples[0]
    alike = {
        (s.images.shape[1:], float(s.pixel_scale), float(s.zeropoint), "flux_auto" in s.catalog.colnames)
        for s in samples
    }
    what = "(stamp size, pixel scale, zeropoint, whether there is a flux_auto)"
    require(len(alike) == 1, f"{what} = {alike}, expected one for all: join samples that were made and cleaned alike.")
    catalogs = [sample.catalog.copy() for sample in samples]
    simulated = ["truth_flux" in catalog.colnames for catalog in catalogs]
    for catalog, made in zip(catalogs, simulated, strict=True):
        if any(simulated) and not made:
            catalog["truth_flux"] = np.nan
    skies = {sample.sky_fingerprint: sample.sky for sample in samples}
    stacks = (np.concatenate([getattr(sample, name) for sample in samples]) for name in ("images", "segmaps"))
    catalog = vstack(catalogs, join_type="inner", metadata_conflicts="silent")
    name, sky = " and ".join(dict.fromkeys(s.name for s in samples)), np.concatenate(list(skies.values()))
    return Sample(*stacks, catalog, first.zeropoint, first.pixel_scale, name, sky_stamps=sky)


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
    return [(join([p for p in parts if p is not held]), held) for held in parts]


def card_of(exam: Exam, run: str) -> dict | None:
    """The card in the folder of a finished run, None before."""
    found = [path for path in (exam.out / run).glob("*.json") if path.with_name(f"{path.stem}.weights.h5").is_file()]
    return json.loads(found[0].read_text(encoding="utf-8")) if found else None


def seeds_of(exam: Exam, run: str) -> tuple[int, ...]:
    """The simulation seeds that a run has seen."""
    if run.endswith("-shipped"):
        return exam.seeds[:-1]
    return exam.seeds if run == "fractions-finetuned" or run.startswith("finetune-") else exam.seeds[:1]


def _train(exam, run, model_name, train, valid, start=None, plan=None):
    print(f"{run}: {len(train)} galaxies to train on, {len(valid)} to choose with.", flush=True)
    plan = exam.plans.get(plan or run) or training.plan_of(model_name, exam.profile)
    training.train(model_name, train, valid, exam.profile, SEED, exam.out / run, start=start, plan=plan)
    gc.collect()  # the samples that lay on the device
