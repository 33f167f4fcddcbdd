"""The numbers that a notebook shows, kept beside it so that a test can compare them.

The runner adds a last cell to each notebook that calls `write_numbers` on the notebook's own variables.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import blendkit as bk

BOTH = ("central", "companion")


def write_numbers(notebook: str, variables: Mapping, results: str | os.PathLike) -> None:
    """Write ``results/<notebook>.json``, whole or not at all."""
    numbers = NUMBERS[notebook](SimpleNamespace(**variables))
    path, draft = Path(results) / f"{notebook}.json", Path(results) / f".{notebook}.json.{os.getpid()}"
    draft.write_text(json.dumps(numbers, indent=2, default=lambda value: value.tolist()) + "\n", encoding="utf-8")
    os.replace(draft, path)


def numbers_01(ns: SimpleNamespace) -> dict:
    return {
        "galaxies": len(ns.sample),
        "kept": len(ns.clean),
        "replaced_pixels": ns.clean.report["replaced"].sum(),
        "flux_auto_median": float(sorted(ns.clean.catalog["flux_auto"])[len(ns.clean) // 2]),
        "table1": {str(row["type"]): [row["before"], row["after"]] for row in ns.table1},
        "truth": ns.truth,
    }


def numbers_02(ns: SimpleNamespace) -> dict:
    shares = bk.figures.detection_shares(ns.blends, ns.seen["n_detected"], bins=1)
    light = bk.render_parts(ns.test, ns.blends).sum(axis=(1, 2, 3))
    return {
        "galaxies": [len(ns.train), len(ns.valid), len(ns.test)],
        "shared_galaxies": len(ns.clean)
        - len({*ns.train.catalog["id"], *ns.valid.catalog["id"], *ns.test.catalog["id"]}),
        "blends": len(ns.blends),
        "two_found": {row["companion"]: row["two"] for row in shares},
        "median_distance": float(sorted(ns.blends["distance"])[len(ns.blends) // 2]),
        "largest_flux_difference": abs(ns.images.sum(axis=(1, 2)) / light - 1).max(),
        "least_inside": ns.blends["inside"].min(),
        "step": ns.step,
    }


def numbers_02b(ns: SimpleNamespace) -> dict:
    mapes = {name: bk.metrics.flux_scores(ns.exam["flux"], p["flux"])["mape"] for name, p in ns.predictions.items()}
    first, *_, last = ns.fit.history["loss"]
    return {"parameters": [ns.network.count_params(), ns.same], "first": first, "last": last, "mape": mapes}


def numbers_03(ns: SimpleNamespace) -> dict:
    total = ns.images.sum(axis=(1, 2))
    half_each = np.repeat(total[:, None] / 2, ns.fluxes.shape[1], axis=1)
    scores = bk.scores(ns.blends, ns.predictions, n_bootstrap=2)
    score = {(row["method"], row["member"]): row for row in scores if row["case"] == "all"}
    networks, ious = {}, bk.lessons.mean_ious(ns.masks, ns.predictions)
    for name, network in ns.networks.items():
        history, yours = ns.histories[name], f"{name}, yours" if f"{name}, yours" in ns.predictions else name
        central, companion = score[yours, "central"], score[yours, "companion"]
        networks[name] = {
            "parameters": network.count_params(), "epochs": len(history),
            "first_loss": history["loss"][0], "last_loss": history["loss"][-1],
            "first_val_loss": history["val_loss"][0], "best_val_loss": min(history["val_loss"]),
            "n": [central["n"], companion["n"]], "failed": [central["failed"], companion["failed"]],
            "mape_central": central["mape_flux"], "mape_companion": companion["mape_flux"],
            "scatter_central": central["scatter"], "scatter_companion": companion["scatter"],
        }  # fmt: skip
        if yours in ious:
            networks[name] |= dict(zip(("iou_central", "iou_companion"), ious[yours], strict=True))
    fixed, fresh = ({"loss": h["loss"][-1], "val_loss": h["val_loss"][-1]} for h in ns.lessons.values())
    sep = [score["SEP Kron, neighbour masked", member] for member in BOTH]
    return {
        "blends": len(ns.blends),
        "galaxies": {"train": len(ns.train), "valid": len(ns.valid), "test": len(ns.test)},
        "total_mape": bk.metrics.flux_scores(ns.fluxes.sum(axis=1), total)["mape"],
        "half_each_mape": bk.metrics.flux_scores(ns.fluxes, half_each)["mape"],
        "networks": networks,
        "shown": {name: np.mean([score[name, member]["mape_flux"] for member in BOTH]) for name in ns.looked_at},
        "iou": {name: np.mean(ious[name]) for name in ns.looked_at if name in ious},
        "sep": {"mape_central": sep[0]["mape_flux"], "mape_companion": sep[1]["mape_flux"], "n": [r["n"] for r in sep]},
        "fixed": fixed,
        "fresh": fresh,
        "leak": bk.figures.leak_errors(ns.exam, **ns.marks),
        "table2": {str(row["filters"]): {"parameters": row["parameters"], "mape": row["total"]} for row in ns.table2},
    }


def numbers_04(ns: SimpleNamespace) -> dict:
    shown = ("n", "failed", "bias", "scatter", "outliers", "mape_flux", "median_flux")
    masks, published = bk.metrics.mask_scores(ns.blends, ns.ious, n_bootstrap=2), ns.figure_5
    return {
        "blends": len(ns.blends),
        "galaxies": len(ns.test),
        "cases": {str(row["case"]): row["share"] for row in ns.cases},
        "scores": {f"{row['method']}, {row['member']}": {name: row[name] for name in shown} for row in ns.board},
        "exam": ns.exam.errors,
        "iou": {row["method"]: row["iou"] for row in masks if row["pair"] == "all" and row["member"] == "both"},
        "published": {row["method"]: row["scatter"] for row in published if row["member"] == "central"},
    }


def numbers_05(ns: SimpleNamespace) -> dict:
    methods = {}
    for row in ns.table:
        shown = {name: row[name] for name in ("median", "within_1", "flagged")}
        methods.setdefault(str(row["method"]), {})[f"{row['condition']} {row['value']:g}"] = shown
    return methods | {
        "galaxies": len(ns.clean),
        "blends": len(ns.blends),
        "skies": ns.skies["median"],
        "crowd": {name: ns.crowd[name][-1] for name in ("galaxies", "bias", "plain")},
        "flags": {name: flag.mean() for name, flag in ns.flags.items()},
    }


def numbers_06(ns: SimpleNamespace) -> dict:
    return {
        "blends": len(ns.blends),
        "ranking": _columns(ns.ranking, "rank", "mape_all", "mape", "median", "failed"),
        "calibration": {row["member"]: [row["within_1"], row["within_2"]] for row in ns.calibration},
        "lone": {f"{row['objects']}, {row['positions']}": row["mape"] for row in ns.lone},
    }


def numbers_07(ns: SimpleNamespace) -> dict:
    close, off = np.asarray(ns.back["near"]) < 25, {}
    for name, column in (("fractions", "flux"), ("SEP", "sep_flux")):
        error = np.nan_to_num(100 * np.abs(np.asarray(ns.back[column] / ns.back["true"]) - 1), nan=100)
        parts = {"all": error, "close": error[close], "lone": error[~close]}
        off[name] = {where: np.median(values) for where, values in parts.items()}
    sums = (np.abs(pixels[~np.isnan(pixels)]).sum() for pixels in (ns.residual, ns.model + ns.residual))
    return {
        "objects": len(ns.catalogue),
        "grouped": np.mean(ns.catalogue["n_in_group"] > 1),
        "residual": np.divide(*sums),
        "put_in": len(ns.back),
        "found": len(ns.found) / len(ns.back),
        "within": ns.within,
        "median": off,
    }


def _columns(table, *names):
    """Some columns of a table with a row for each method."""
    return {row["method"]: {name: row[name] for name in names} for row in table}


NUMBERS = {
    "01_clean_the_sample": numbers_01,
    "02_build_blends": numbers_02,
    "02b_how_a_network_learns": numbers_02b,
    "03_train_networks": numbers_03,
    "04_compare_methods": numbers_04,
    "05_trust_the_numbers": numbers_05,
    "06_your_own_method": numbers_06,
    "07_a_real_piece_of_sky": numbers_07,
}
"""By notebook: a function of its variables that gives the numbers it shows."""
