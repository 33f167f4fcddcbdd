"""Experiments of notebook 3: small networks that show what learning is, and how it goes wrong."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
from astropy.table import Table

from ..blends.recipe import draw_blends
from ..blends.rendering import render
from ..data.sample import Sample
from ..deblenders.network import Network
from ..metrics.scores import flux_scores
from ..networks.builders import BUILDERS
from ..networks.training import Plan, history, plan_of, train

LESSON_EPOCHS = {"quick": 24, "tutorial": 100, "paper": 200}
LEAK_EPOCHS = {"quick": 10, "tutorial": 40, "paper": 80}
OTHER_FILTERS = {"quick": (4, 16), "tutorial": (8, 16), "paper": (64, 512)}  # beside those of the plan


def network_sizes(profile: str, shape: tuple[int, int]) -> Table:
    """Parameters of each `network` for stamps of this shape, `here` (in this profile) and at `full size`."""
    sizes = Table(names=["network", "here", "full size"], dtype=["U20", int, int])
    for name, build in BUILDERS.items():
        plans = plan_of(name, profile), plan_of(name, "paper")
        sizes.add_row([name, *(build(**plan.arguments, shape=shape).count_params() for plan in plans)])
    return sizes


def small_lessons(
    train_sample: Sample, valid: Sample, profile: str, seed: int, folder: str | os.PathLike, blends: int = 96
) -> dict[str, Table]:
    """Histories of a small blend2flux that learns from the same few blends again and again, or from fresh ones."""
    plan, histories = _small(profile, blends, LESSON_EPOCHS[profile]), {}
    for label, fresh in {f"{blends} fixed blends": False, f"{blends} fresh blends in each epoch": True}.items():
        out = Path(folder) / f"lesson-{blends}-{'fresh' if fresh else 'fixed'}"
        _train_quietly(train_sample, valid, profile, seed, out, replace(plan, fresh=fresh))
        histories[label] = history(out)
    return histories


def leak_experiment(
    train_sample: Sample, valid: Sample, test: Sample, profile: str, seed: int, folder: str | os.PathLike,
    n_blends: int, few: int = 60,
) -> tuple[Table, dict[str, Table]]:  # fmt: skip
    """The same exam for a network that learned from other galaxies and for one that learned from the exam's own.

    Returns the exam, `n_blends` of the first `few` galaxies of `test`, and the predictions of the "honest" network,
    which learns from as many of `train_sample`, and of the "leaky" one. The fewer, the more each can be remembered.
    """
    few = min(few, len(test))
    exam, plan = draw_blends(test[:few], n_blends, seed=seed), _small(profile, 256, LEAK_EPOCHS[profile])
    images, predictions = render(test, exam, masks=False)[0], {}
    for name, galaxies in {"honest": train_sample[:few], "leaky": test[:few]}.items():
        predictions[name] = Network(_train_quietly(galaxies, valid, profile, seed, Path(folder) / name, plan))(images)
    return exam, predictions


def sizes_table2(
    network: keras.Model, train_sample: Sample, valid: Sample, blends: Table, images: np.ndarray,
    profile: str, seed: int, folder: str | os.PathLike,
) -> Table:  # fmt: skip
    """Does size matter? Other blend2fluxes beside that of this profile, all trained in the same way (Table 2).

    `network` is that of this profile, whose run is in ``folder / "blend2flux"``; `blends` and `images` are the exam.
    Returns `filters`, `parameters`, `minutes` of training, and flux MAPE (%) of `central`, `companion` and both
    (`total`).
    """
    plan, folder = plan_of("blend2flux", profile), Path(folder)
    runs = {plan.arguments["filters"]: (network, folder / "blend2flux")}
    for filters in OTHER_FILTERS[profile]:
        out = folder / f"blend2flux-{filters}"
        sized = replace(plan, arguments={"filters": filters})
        runs[filters] = _train_quietly(train_sample, valid, profile, seed, out, sized), out
    rows = []
    for filters, (trained, out) in sorted(runs.items()):
        true, measured = blends["flux"], Network(trained)(images)["flux"]
        errors = [flux_scores(true[:, part], measured[:, part])["mape"] for part in (slice(1), slice(1, None))]
        rows.append((filters, trained.count_params(), history(out)["seconds"].sum() / 60, *errors, sum(errors) / 2))
    table = Table(rows=rows, names=["filters", "parameters", "minutes", "central", "companion", "total"])
    for name in table.colnames[2:]:
        table[name].info.format = ".2f" if name == "minutes" else ".1f"
    return table


def _small(profile: str, blends: int, epochs: int) -> Plan:
    """The plan of a blend2flux so small that it learns in a minute."""
    changes = {"arguments": {"filters": 16}, "valid": 64, "batch": 8, "rate": 3e-3, "schedule": "cosine", "usual": 1.0}
    return replace(plan_of("blend2flux", profile), blends=blends, epochs=epochs, **changes)


def _train_quietly(train_sample, valid, profile, seed, out, plan):
    return train("blend2flux", train_sample, valid, profile, seed, out, plan=plan, progress=lambda history: None)
