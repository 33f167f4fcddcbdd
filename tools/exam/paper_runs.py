"""The trainings of `tools.exam.paper`: which there are, in which order, and how long they go on."""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from blendkit.blends.recipe import split
from blendkit.data.cleaning import clean
from blendkit.data.load import load_sample
from blendkit.data.remote import drafted
from blendkit.data.sample import Sample

from .meter import WATCHED, Meter
from .train import ROOT, SEED, SHARES, Exam, training

METER = "meter.json"
PAPERS, MODERN = "paper", "modern"


@dataclass(frozen=True)
class Size:
    """How large everything is.

    Attributes
    ----------
    profile : {"paper", "quick"}
        Whose plans the paper's protocol is (Adam; the rate halved on a plateau).
    filters : tuple of int
        Of blend2flux; the second network is the one of the figures.
    both, modern : dict
        What all plans have otherwise than in that profile, and what the modern ones have.
    rates : dict of str to float
        Highest learning rates of the modern protocol.
    galaxies, blends : int
        Of the sample that is divided into training, validation and test; to measure.
    """

    profile: str
    filters: tuple[int, int, int]
    both: dict[str, Any]
    modern: dict[str, Any]
    rates: dict[str, float]
    galaxies: int | None
    blends: int


SIZES = {
    "full": Size(
        "paper", (64, 256, 512), {"usual": 1.0}, {"epochs": 40, "batch": 100},
        {"blend2flux": 1e-3, "unet": 1e-3, "blend2mask2flux": 3e-4}, None, 5000,
    ),
    "small": Size(
        "quick", (4, 16, 32), {"usual": 1.0, "blends": 1024, "valid": 256, "epochs": 8}, {},
        {"blend2flux": 3e-3, "unet": 4e-3, "blend2mask2flux": 1e-3}, 600, 600,
    ),
}  # fmt: skip
"""All blends are in the survey's own sky (`usual`), as the paper's were. Muon for blend2flux, which it helps most."""


@dataclass(frozen=True)
class Run:
    """A training: its folder's `name`, and the run (`start`) whose weights it begins with."""

    name: str
    network: str
    plan: training.Plan
    start: str | None = None

    @property
    def title(self) -> str:
        """The network and, where there are several, its size."""
        return f"{self.network} {self.plan.arguments['filters']}" if self.network == "blend2flux" else self.network

    @property
    def protocol(self) -> str:
        """How it is trained, in two words."""
        adam = "AdamW" if self.plan.schedule == "cosine" else "Adam"
        return f"{'Muon' if self.plan.optimizer == 'muon' else adam}, {self.plan.schedule}"

    @property
    def label(self) -> str:
        """What tables call the network that comes of it."""
        return f"{self.title} ({self.protocol})"


def runs_of(size: str) -> tuple[Run, ...]:
    """All trainings, the best first: what a reader would miss most if time ran out after it.

    First the paper's main network and then each other one, with the protocol that gets further in less time; then the
    paper's own protocol in the same order; the smaller and the larger blend2flux last, the largest at the very end.
    blend2mask2flux starts from the U-Net of its protocol, which therefore stands before it.
    """
    few, usual, many = SIZES[size].filters
    order = [("blend2flux", MODERN, usual), ("unet", MODERN, None), ("blend2mask2flux", MODERN, None)]
    order += [("fractions", None, None)]
    order += [("blend2flux", PAPERS, usual), ("unet", PAPERS, None), ("blend2mask2flux", PAPERS, None)]
    order += [("blend2flux", protocol, filters) for filters in (few, many) for protocol in (MODERN, PAPERS)]
    return tuple(_run(SIZES[size], *which) for which in order)


def _run(size, network, protocol, filters):
    plan = replace(training.plan_of(network, size.profile), **size.both)
    if filters:
        plan = replace(plan, arguments={"filters": filters})
    if protocol == MODERN:
        optimizer = "muon" if network == "blend2flux" else "adam"
        plan = replace(plan, **size.modern, schedule="cosine", optimizer=optimizer, rate=size.rates[network])
    name = "-".join(str(part) for part in (network, filters, protocol) if part)
    return Run(name, network, plan, f"unet-{protocol}" if network == "blend2mask2flux" else None)


@dataclass(frozen=True)
class Paper(Exam):
    """What `tools.exam paper` is asked for; `folder` are real galaxies to measure as well, None for none.

    Attributes
    ----------
    size, sample : str
        A key of `SIZES`; what `load_sample` takes.
    runs : tuple of Run
    """

    turned: int = 0
    size: str = "full"
    sample: str = "synthetic"
    runs: tuple[Run, ...] = ()

    @property
    def made_by(self) -> str:
        """The command."""
        real = f" --real {self.folder.resolve().name}" if self.folder else ""
        return f"python -m tools.exam paper --size {self.size} --sample {Path(self.sample).name}{real}"


def paper_of(size: str, sample: str, real: Path | None, out: Path | None = None, home: Path = ROOT) -> Paper:
    """All of a size."""
    named, out = SIZES[size], out or Path("results/paper" if size == "full" else "results/paper-small")
    return Paper(real, out, home, named.profile, {}, named.galaxies, blends=named.blends,
                 size=size, sample=sample, runs=runs_of(size))  # fmt: skip


def galaxies(paper: Paper) -> list[Sample]:
    """Cleaned galaxies to train on, to validate on and to measure, none in two of these."""
    return split(clean(load_sample(paper.sample, n=paper.galaxies, seed=SEED)), SHARES, SEED)


class Spent(Exception):
    """The budget does not hold another epoch."""


def train_all(paper: Paper, minutes: float = math.inf) -> None:
    """Train what is not trained yet, one run after the other, for so many minutes.

    A run ends at an epoch's end when the next one, as long as the last, would not end in time; an epoch that was begun
    is finished, so that each call gets further.
    """
    train, valid, _ = galaxies(paper)
    end = perf_counter() + 60 * minutes
    with Meter() as meter:
        for run in paper.runs:
            if state_of(paper, run)["saved"]:
                continue
            if perf_counter() >= end:
                return
            print(f"{run.name}: {run.protocol}", flush=True)
            try:
                _train(paper, run, train, valid, meter, end)
            except Spent:
                print(f"{run.name}: the {minutes:g} minutes are spent; the same command goes on from here.", flush=True)
                return
            gc.collect()  # the samples that lay on the device


def _train(paper, run, train, valid, meter, end):
    out, start = paper.out / run.name, paper.out / run.start if run.start else None
    with training.print_lines(run.name, run.plan) as line:
        progress = _watched(run.plan, line, out / METER, meter, end)
        training.train(run.network, train, valid, paper.profile, SEED, out, start=start, plan=run.plan,
                       progress=progress)  # fmt: skip


def _watched(plan, line, path, meter, end) -> Callable[[dict[str, list]], None]:
    """What is to be done after each epoch: say it, add up what the device did, and look at the clock."""
    meter.read()  # what was before is another run's

    def progress(history):
        line(history)
        known = watched(path.parent)
        sums = {name: known[name] + more for name, more in meter.read().items()}
        with drafted(path.parent) as draft:
            (draft / path.name).write_text(json.dumps(sums), encoding="utf-8")
        if len(history["epoch"]) < plan.epochs and perf_counter() + history["seconds"][-1] > end:
            raise Spent

    return progress


def watched(folder: Path) -> dict[str, float]:
    """What the device did in all epochs of a run, see `Meter.read`."""
    path = folder / METER
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else dict.fromkeys(WATCHED, 0.0)


def state_of(paper: Paper, run: Run) -> dict[str, Any]:
    """How far a run is: `rows`, one for each epoch, `saved` (nothing before its end), `hardware`, `mixed` precision."""
    path = paper.out / run.name / training.CHECKPOINT
    if not path.is_file():
        return {"rows": [], "saved": "", "hardware": [], "mixed": False}
    with np.load(path, allow_pickle=False) as stored:
        return json.loads(str(stored["state"]))
