"""How long all scores of a comparison take, beside the plain loop over resamples that does the same: `make bench`.

5,000 blends of 1,050 galaxies, as in the paper's test set, by four methods, with 1,000 resamples behind every error
bar. The loop draws galaxies with np.random, puts their rows together with np.concatenate and takes every statistic
anew; 20 of its resamples are timed. Seconds are the process's own, whatever else the machine does; NumPy gets one
thread, since others that only wait would count as well.
"""

import os
import sys
import time

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when NumPy is first imported

import numpy as np
from astropy.table import Table
from shared import verdict

from blendkit import metrics

NEEDED, ZEROPOINT, LOOP = 15.0, 25.96, 20  # seconds; mag; resamples of the plain loop
MEMBERS = ("central", "companion")


def make_tables(n=5000, n_galaxies=1050, methods=4):
    """Blends, and predictions of two networks with errors and of two methods that detect, and miss some."""
    rng = np.random.default_rng(0)
    mag, ids = rng.uniform(18.5, 23, (n, 2)), rng.integers(n_galaxies, size=(n, 2))
    flux = 10 ** (-0.4 * (mag - ZEROPOINT))
    blends = Table({
        "id": ids, "mag": mag, "flux": flux, "r_eff": rng.uniform(2, 10, (n, 2)), "distance": rng.uniform(2, 60, n),
        "morphology": np.array(["sph", "disk", "sphd", "irr"])[ids % 4], "delta_mag": mag[:, 0] - mag[:, 1],
    }, meta={"zeropoint": ZEROPOINT})  # fmt: skip
    predictions = {}
    for k, scatter in enumerate((0.1, 0.2, 0.5, 0.6)[:methods]):
        pred = Table({"flux": flux * 10 ** rng.normal(0, 0.4 * scatter, (n, 2)), "flux_err": scatter * flux})
        if k > 1:
            case = pred["case"] = rng.choice(metrics.CASES, n, p=[0.74, 0.06, 0.16, 0.03, 0.01])
            found = np.stack([np.isin(case, ["both", f"only {member}", "more"]) for member in MEMBERS], axis=1)
            pred["flux"] = np.where(found, pred["flux"], np.nan)
            del pred["flux_err"]
        predictions[f"method {k + 1}"] = pred
    return blends, predictions


def ours(blends, predictions, n_bootstrap):
    """The tables of the comparison, each with the seconds that it took."""
    networks = {name: pred for name, pred in predictions.items() if "flux_err" in pred.colnames}
    asked = {"scores": metrics.scores, "figure_5": metrics.figure_5}
    for by in ("delta_mag", "distance", "morphology"):
        asked[f"binned_scores by {by}"] = lambda *given, by=by, **more: metrics.binned_scores(*given, by, **more)
    asked["calibration"] = lambda blends, _, **more: metrics.calibration(blends, networks, **more)
    tables, seconds = {}, {}
    for name, score in asked.items():
        began = time.process_time()
        tables[name] = score(blends, predictions, n_bootstrap=n_bootstrap)
        seconds[name] = time.process_time() - began
    return tables, seconds


def theirs(blends, predictions, table):
    """The seconds that the plain loop takes for the rows "all" of `scores`."""
    began = time.process_time()
    for row in table[table["case"] == "all"]:
        k, measured = MEMBERS.index(row["member"]), np.asarray(predictions[row["method"]]["flux"])
        good = measured[:, k] > 0
        true, measured, galaxies = (np.asarray(values)[good, k] for values in (blends["flux"], measured, blends["id"]))
        if good.sum() != row["n"]:
            sys.exit("the loop and scores count other rows: the comparison would mean nothing.")
        rows = [np.flatnonzero(galaxies == galaxy) for galaxy in np.unique(galaxies)]
        for _ in range(LOOP):
            drawn = np.concatenate([rows[i] for i in np.random.randint(len(rows), size=len(rows))])  # noqa: NPY002
            dmag, error = -2.5 * np.log10(measured[drawn] / true[drawn]), np.abs(measured[drawn] / true[drawn] - 1)
            middle, mag = np.median(dmag), ZEROPOINT - 2.5 * np.log10(true[drawn])
            middle, np.median(np.abs(dmag - middle)), dmag.mean(), dmag.std(), np.mean(np.abs(dmag / mag))
            np.mean(np.abs(dmag) > metrics.OUTLIER_DMAG), error.mean(), np.median(error)
    return time.process_time() - began


def main():
    blends, predictions = make_tables()
    ours(blends[:50], {name: pred[:50] for name, pred in predictions.items()}, 2)  # imports
    tables, seconds = ours(blends, predictions, 1000)
    print("5,000 blends of 1,050 galaxies, 4 methods, 1,000 resamples, one core")
    for name, took in (*seconds.items(), ("all", sum(seconds.values()))):
        print(f"{name:30s} {took:8.2f} s")
    loop = theirs(blends, predictions, tables["scores"]) * 1000 / LOOP
    print(f"{'plain loop, a part of scores':30s} {loop:8.2f} s: {loop / seconds['scores']:.1f} times as long")
    verdict([f"all in {took:.1f} s, expected less than {NEEDED:g} s"] * (took >= NEEDED))


if __name__ == "__main__":
    main()
