"""Who is trained on what: the tutorial's networks, and the shipped ones. None ever sees a real galaxy."""

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
from blendkit.data.cleaning import clean
from blendkit.data.load import read_folder
from blendkit.data.photometry import flux_auto
from blendkit.data.sample import SKY, Sample
from blendkit.data.simulate import simulate

from ..reference import half_light_radius

training = bk.training  # Keras, without what TensorFlow says at its start
ROOT = Path(__file__).resolve().parents[2]
SEED = 42  # of the exam's galaxies, blends and splits, as in the notebooks, and of all training runs
SHARES = (0.6, 0.2, 0.2)
TRAIN_SEEDS = tuple(range(900_001, 900_025))
"""Simulations that only trainings use: the first for the tutorial's networks, all of them for the shipped ones."""
BROADER = {"deeper": 1.5, "smaller": 3.0}
"""Galaxies fainter and more compact than the paper's, which other surveys find: every second seed of the shipped
networks."""
SHARPER = {"sharper": 1.4}
"""The same galaxies as other filters see them."""

SHIPPED_PLAN = replace(
    training.plan_of("fractions"), blends=4096, valid=1024, epochs=180, batch=32, close=0.4, usual=0.7
)
UNET_PLAN = replace(
    training.plan_of("unet"), blends=4096, valid=512, epochs=20, rate=1.5e-3, schedule="cosine", usual=0.6
)
FLUX_PLAN = replace(
    training.plan_of("blend2mask2flux"), blends=4096, valid=512, epochs=16, rate=2e-4, schedule="cosine", usual=0.6
)
MUON_PLAN = replace(training.plan_of("blend2flux"), rate=3e-3, schedule="cosine", optimizer="muon")

SEP_LABEL = "SEP Kron, neighbour masked"
WITH_MUON = "blend2flux (Muon)"
TUTORIAL, SHIPPED = "fractions (tutorial)", "fractions (shipped)"
RUNS = {
    "blend2flux": "blend2flux",
    "blend2flux-muon": WITH_MUON,
    "blend2mask2flux": "blend2mask2flux",
    "unet": "unet (masks only)",
    "fractions": TUTORIAL,
    "unet-shipped": "unet (shipped, masks only)",
    "blend2mask2flux-shipped": "blend2mask2flux (shipped)",
    "fractions-shipped": SHIPPED,
}
"""Folder of each run below the exam's own, and what tables call the network."""


@dataclass(frozen=True)
class Exam:
    """What an exam is held on.

    Attributes
    ----------
    folder, out, home : pathlib.Path
        Real galaxies in the survey's sky, with the folders `hst-sample` and `hst-noiseless` beside it; where runs and
        measurements are kept; where the page, the tables and the weights go.
    profile : {"quick", "tutorial"}
        Plans of the networks that have no plan of their own here.
    plans : dict of str to Plan
        Plans by run.
    galaxies : int
        Simulated for each seed.
    seeds : tuple of int
        As `TRAIN_SEEDS`.
    blends, turned : int
        Blends that methods are scored on, and how many of these are measured in all eight orientations.
    outside, few : int
        Blends in each condition of `tools.exam.outside`, and how many of these the slow Sersic fit measures.
    fields, sides : int, tuple of int
        Copies of the real field in `tools.exam.field`; pixels on a side of simulated fields: of those in which galaxies
        are looked for, and of two whose peak memory is compared.
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
        }
    )
    galaxies: int = 2000
    seeds: tuple[int, ...] = TRAIN_SEEDS
    blends: int = 3000
    turned: int = 500
    outside: int = 1000
    few: int = 150
    fields: int = 100
    sides: tuple[int, int, int] = (1024, 2048, 8192)

    @property
    def made_by(self) -> str:
        """The command."""
        profile = "" if self.profile == "tutorial" else f" --profile {self.profile}"
        return f"python -m tools.exam {self.folder.resolve().name}{profile}"


def quick_exam(folder: Path, out: Path) -> Exam:
    """An exam that shows in minutes that everything works, and writes nothing outside `out`."""
    plans = {f"{name}-shipped": training.plan_of(name, "quick") for name in ("unet", "blend2mask2flux", "fractions")}
    sizes = {"galaxies": 120, "seeds": TRAIN_SEEDS[:2], "blends": 100, "turned": 20, "outside": 40, "few": 2}
    sizes |= {"fields": 4, "sides": (512, 512, 1024)}
    return Exam(folder, out, out, "quick", plans, **sizes)


def train_tutorial(exam: Exam) -> None:
    """The networks of the tutorial, each by its tutorial plan, on galaxies cleaned and divided as in the notebooks."""
    train, valid, _ = split(clean(simulate(exam.galaxies, exam.seeds[0])), SHARES, SEED)
    for run in ("unet", "blend2mask2flux", "blend2flux", "blend2flux-muon", "fractions"):
        start = exam.out / "unet" if run == "blend2mask2flux" else None
        _train(exam, run, run.removesuffix("-muon"), train, valid, start)


def train_shipped(exam: Exam) -> None:
    """The long runs of the networks with masks, on galaxies of all seeds, without noise: worlds bring their own."""
    parts = [parents(exam, seed) for seed in exam.seeds[::2]]
    parts += [with_measured_radii(parents(exam, seed, **BROADER, **SHARPER)) for seed in exam.seeds[1::2]]
    train, valid = split(replace(join(parts), name=f"synthetic, {len(parts)} seeds, no noise"), (0.95, 0.05), SEED)
    del parts
    for name in ("fractions", "unet", "blend2mask2flux"):
        start = exam.out / "unet-shipped" if name == "blend2mask2flux" else None
        _train(exam, f"{name}-shipped", name, train, valid, start)


def parents(exam: Exam, seed: int, **population: float) -> Sample:
    """Simulated galaxies alone and without noise, kept in the exam's folder; see `simulate` and `alone`."""
    folder = exam.out / "parents" / "-".join(map(str, (seed, exam.galaxies, *population.values())))
    if not (folder / SKY).is_file():  # the last that `save` writes
        sample = simulate(exam.galaxies, seed, neighbours=False, noise="none", **population)
        alone(sample[np.asarray(sample.catalog["truth_bad"]) == ""]).save(folder)
    return read_folder(folder)


def join(samples: Sequence[Sample]) -> Sample:
    """Simulations of several seeds as one sample, which keeps each one's sky."""
    first = samples[0]
    skies = {sample.sky_fingerprint: sample.sky for sample in samples}
    stacks = (np.concatenate([getattr(sample, name) for sample in samples]) for name in ("images", "segmaps"))
    catalog = vstack([sample.catalog for sample in samples], metadata_conflicts="silent")
    name, sky = " and ".join(dict.fromkeys(s.name for s in samples)), np.concatenate(list(skies.values()))
    return Sample(*stacks, catalog, first.zeropoint, first.pixel_scale, name, sky_stamps=sky)


def alone(sample: Sample) -> Sample:
    """Galaxies without neighbours and noise as after a perfect cleaning: with FLUX_AUTO, and no sky."""
    flux = flux_auto(sample.images, sample.own_masks())
    catalog, kept = sample.catalog.copy(), flux > 0
    catalog["flux_auto"] = flux
    arrays = {"images": sample.images[kept], "segmaps": sample.segmaps[kept], "catalog": catalog[kept]}
    return replace(sample, **arrays, sky_stamps=np.zeros((1, *sample.images.shape[1:]), np.float32))


def with_measured_radii(sample: Sample) -> Sample:
    """The same galaxies, FLUX_RADIUS for `r_eff`, as in catalogues of galaxies that nobody has fitted.

    It is the radius of a circle, seen through the PSF: elongated galaxies are blended more closely than by their
    semi-major axis, compact ones less.
    """
    measured = half_light_radius(sample.images, sample.own_masks())
    catalog = sample.catalog.copy()
    catalog["r_eff"] = np.where(measured > 0, measured, catalog["r_eff"])
    return replace(sample, catalog=catalog)


def card_of(exam: Exam, run: str) -> dict | None:
    """The card in the folder of a finished run, None before."""
    found = [path for path in (exam.out / run).glob("*.json") if path.with_name(f"{path.stem}.weights.h5").is_file()]
    return json.loads(found[0].read_text(encoding="utf-8")) if found else None


def seeds_of(exam: Exam, run: str) -> tuple[int, ...]:
    """The simulation seeds that a run has seen."""
    return exam.seeds if run.endswith("-shipped") else exam.seeds[:1]


def _train(exam, run, model_name, train, valid, start=None):
    print(f"{run}: {len(train)} galaxies to train on, {len(valid)} to choose with.", flush=True)
    plan = exam.plans.get(run) or training.plan_of(model_name, exam.profile)
    training.train(model_name, train, valid, exam.profile, SEED, exam.out / run, start=start, plan=plan)
    gc.collect()  # the samples that lay on the device
