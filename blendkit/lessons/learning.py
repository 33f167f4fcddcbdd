"""Experiments of notebook 3: small networks that show what learning is, and how it goes wrong."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
from astropy.table import Table, vstack

from ..blends.recipe import draw_blends
from ..blends.rendering import render
from ..data.check import PathLike
from ..data.sample import Sample
from ..deblenders.network import Network
from ..metrics.scores import flux_scores
from ..networks.builders import BUILDERS
from ..networks.training import Plan, history, plan_of, train
from ..networks.weights import card_of, load, shipped
from .experiments import formatted

LESSON_EPOCHS = {"quick": 24, "tutorial": 100, "paper": 200}
LEAK_EPOCHS = {"quick": 30, "tutorial": 40, "paper": 80}
OTHER_FILTERS = {"quick": (4, 16), "tutorial": (8, 16), "paper": (64, 512)}  # beside those of the plan


def network_sizes(profile: str, shape: tuple[int, int]) -> Table:
    """Parameters of each `network` for stamps of this shape, `here` (in this profile) and at `full size`."""
    sizes = Table(names=["network", "here", "full size"], dtype=["U20", int, int])
    for name, build in BUILDERS.items():
        plans = plan_of(name, profile), plan_of(name, "paper")
        sizes.add_row([name, *(build(**plan.arguments, shape=shape).count_params() for plan in plans)])
    return sizes


def stand_ins(networks: dict[str, keras.Model], profile: str) -> tuple[dict[str, keras.Model], Table]:
    """The networks to look into, and a table of who is who: yours, or where "quick" left them beginners the shipped."""
    shown, rows = {}, []
    for name, yours in networks.items():
        own, theirs = card_of(yours), shipped()[name]
        short = profile == "quick" and tuple(theirs["arguments"]["shape"]) == yours.input_shape[1:3]
        shown[name] = load(name)[0] if short else yours
        counts = [card[key] for key in ("epochs", "n_galaxies") for card in (own, theirs)]
        rows.append((name, *counts, "shipped" if short else "yours"))
    names = ["network", "your epochs", "epochs shipped", "your galaxies", "galaxies shipped", "shown"]
    return shown, Table(rows=rows, names=names)


def shipped_histories() -> dict[str, Table]:
    """Losses in the trainings of the networks that come with blendkit, as `blendkit.training.history` gives yours."""
    return {name: Table({"epoch": np.arange(card["epochs"]) + 1} | card["history"]) for name, card in shipped().items()}


def take_exam(images: np.ndarray, shown: dict[str, keras.Model], yours: dict[str, keras.Model]) -> dict[str, Table]:
    """Answers of the networks of `stand_ins`, each with that of yours beside it where yours is another one."""
    answers = {}
    for name, network in shown.items():
        answers[name] = Network(network, masks=name != "blend2flux")(images)
        if network is not yours[name]:
            answers[f"{name}, yours"] = Network(yours[name], masks=name != "blend2flux")(images)
    return answers


def small_lessons(train_sample: Sample, valid: Sample, profile: str, seed: int, folder: PathLike, blends=96) -> dict:
    """Histories of a small blend2flux that learns from the same few blends again and again, or from fresh ones."""
    plan, histories = _small(profile, blends, LESSON_EPOCHS[profile]), {}
    for label, fresh in {f"{blends} fixed blends": False, f"{blends} fresh blends in each epoch": True}.items():
        out = Path(folder) / f"lesson-{blends}-{'fresh' if fresh else 'fixed'}"
        _train_quietly(train_sample, valid, profile, seed, out, replace(plan, fresh=fresh))
        histories[label] = history(out)
    return histories


def leak_experiment(
    train_sample: Sample, valid: Sample, test: Sample, profile: str, seed: int, folder: PathLike, n_blends: int, few=12
) -> tuple[Table, dict[str, Table]]:  # fmt: skip
    """Two networks, each of which learns from its own `few` galaxies, in two exams: of its own and of the other's.

    Returns both exams as one, and what networks say that had not seen its galaxies ("honest") or had ("leaky").
    """
    few = min(few, len(test))
    plan, sides = _small(profile, 256, LEAK_EPOCHS[profile]), [train_sample[:few], test[:few]]
    outs = [Path(folder) / f"leak-{few}-{side}" for side in range(2)]
    runs = [_train_quietly(side, valid, profile, seed, out, plan) for side, out in zip(sides, outs, strict=True)]
    networks, exams = [Network(run) for run in runs], [draw_blends(side, n_blends, seed=seed) for side in sides]
    images = [render(side, exam, masks=False)[0] for side, exam in zip(sides, exams, strict=True)]
    both, predictions = vstack(exams, metadata_conflicts="silent"), {}
    both.meta["fingerprint"] = exams[0].meta["fingerprint"] | exams[1].meta["fingerprint"]
    for name, sitting in {"honest": networks[::-1], "leaky": networks}.items():
        answers = [network(stack) for network, stack in zip(sitting, images, strict=True)]
        predictions[name] = Table({"flux": np.concatenate([answer["flux"] for answer in answers])})
    predictions["leaky"].meta["trained_on"] = answers[0].meta["trained_on"]
    return both, predictions


def sizes_table2(
    network: keras.Model, train_sample: Sample, valid: Sample, blends: Table, images: np.ndarray,
    profile: str, seed: int, folder: PathLike,
) -> Table:  # fmt: skip
    """Does size matter? Flux MAPE (%) of other blend2fluxes, trained as the `network` in `folder` was (Table 2)."""
    plan, folder, rows = plan_of("blend2flux", profile), Path(folder), []
    runs = {plan.arguments["filters"]: (network, folder / "blend2flux")}
    for filters in OTHER_FILTERS[profile]:
        out, sized = folder / f"blend2flux-{filters}", replace(plan, arguments={"filters": filters})
        runs[filters] = _train_quietly(train_sample, valid, profile, seed, out, sized), out
    for filters, (trained, out) in sorted(runs.items()):
        true, measured = blends["flux"], Network(trained)(images)["flux"]
        errors = [flux_scores(true[:, part], measured[:, part])["mape"] for part in (slice(1), slice(1, None))]
        rows.append((filters, trained.count_params(), history(out)["seconds"].sum() / 60, *errors, sum(errors) / 2))
    formats = {"minutes": ".2f"} | dict.fromkeys(("central", "companion", "total"), ".1f")
    return formatted(rows, ["filters", "parameters", *formats], **formats)


def _small(profile: str, blends: int, epochs: int) -> Plan:
    """The plan of a blend2flux so small that it learns in a minute."""
    changes = {"arguments": {"filters": 16}, "valid": 64, "batch": 8, "rate": 3e-3, "schedule": "cosine", "usual": 1.0}
    return replace(plan_of("blend2flux", profile), blends=blends, epochs=epochs, **changes)


def _train_quietly(train_sample, valid, profile, seed, out, plan):
    return train("blend2flux", train_sample, valid, profile, seed, out, plan=plan, progress=lambda history: None)
