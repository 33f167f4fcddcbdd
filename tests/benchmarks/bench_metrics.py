"""How long all scores of a comparison take, beside the plain loop over resamples that does the same: `make bench`.

5,000 blends of 1,050 galaxies, as in the paper's test set, by four methods, with 1,000 resamples behind every error
bar. The loop draws galaxies with np.random, puts their rows together with np.concatenate and takes every statistic
anew; 20 of its resamples are timed. Seconds are the process's own, whatever else the machine does; NumPy gets one
thread, since others that only wait would count as well.
"""

import argparse
import os
import sys
import time

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when NumPy is first imported

import numpy as np
from astropy.table import Table

from blendkit import metrics

NEEDED = 10.0  # seconds
ZEROPOINT = 25.96
GALAXIES = ("central", "companion")


def make_tables(n, n_galaxies):
    """Blends, and predictions of two networks with errors and of two methods that detect, and miss some."""
    rng = np.random.default_rng(0)
    blends = Table({galaxy: rng.integers(n_galaxies, size=n) for galaxy in GALAXIES}, meta={"zeropoint": ZEROPOINT})
    for galaxy in GALAXIES:
        blends[f"mag_{galaxy}"] = rng.uniform(19, 23, n)
        blends[f"flux_{galaxy}"] = 10 ** (-0.4 * (blends[f"mag_{galaxy}"] - ZEROPOINT))
        blends[f"morphology_{galaxy}"] = rng.choice(["sph", "disk", "sphd", "irr"], n)
    blends["delta_mag"] = blends["mag_central"] - blends["mag_companion"]
    blends["distance"] = rng.uniform(2, 60, n)
    predictions = {}
    for method, scatter, detects in (("A", 0.1, 0), ("B", 0.2, 0), ("C", 0.5, 1), ("D", 0.6, 1)):
        pred = Table({f"flux_{g}": blends[f"flux_{g}"] * 10 ** rng.normal(0, 0.4 * scatter, n) for g in GALAXIES})
        if detects:
            pred["case"] = rng.choice(metrics.CASES, n, p=[0.74, 0.06, 0.16, 0.03, 0.01])
            for galaxy in GALAXIES:
                found = np.isin(pred["case"], ["both", f"only {galaxy}", "more"])
                pred[f"flux_{galaxy}"] = np.where(found, pred[f"flux_{galaxy}"], np.nan)
        else:
            for galaxy in GALAXIES:
                pred[f"flux_{galaxy}_err"] = scatter * blends[f"flux_{galaxy}"]
        predictions[method] = pred
    return blends, predictions


def ours(blends, predictions, n_bootstrap):
    """The tables of the comparison, each with the seconds that it took."""
    asked = {
        "scores": metrics.scores,
        "figure_5": metrics.figure_5,
        "binned_scores by delta_mag": lambda *given, **more: metrics.binned_scores(*given, "delta_mag", **more),
        "binned_scores by distance": lambda *given, **more: metrics.binned_scores(*given, "distance", **more),
        "binned_scores by morphology": lambda *given, **more: metrics.binned_scores(*given, "morphology", **more),
        "calibration": metrics.calibration,
    }
    tables, seconds = {}, {}
    for name, score in asked.items():
        began = time.process_time()
        tables[name] = score(blends, predictions, n_bootstrap=n_bootstrap)
        seconds[name] = time.process_time() - began
    return tables, seconds


def rows_of(blends, pred, name, row):
    """The rows that one row of one of our tables scores, for the loop to score as well."""
    good = np.asarray(pred[f"flux_{row['galaxy']}"] > 0)
    if name == "scores":
        return good if row["case"] == "all" else good & (pred["case"] == row["case"])
    if name == "calibration":
        return good
    good &= metrics.figure_5_rows(pred, row["galaxy"])
    if name == "figure_5":
        return good
    by = name.rpartition(" ")[2]
    if by == "morphology":
        return good & (blends["morphology_central"] == row["label"])
    values = np.asarray(blends[by])
    return good & (values >= row["low"]) & ((values < row["high"]) | (values == row["high"]) & (row["bin"] == 5))


def plain_loop(name, true, measured, sigma, galaxies, n_bootstrap):
    """Errors of the scores in one row, the plain way."""
    rows = [np.flatnonzero(galaxies == galaxy) for galaxy in np.unique(galaxies)]
    each = []
    for _ in range(n_bootstrap):
        drawn = np.concatenate([rows[i] for i in np.random.randint(len(rows), size=len(rows))])  # noqa: NPY002
        each.append(plain_statistics(name, true[drawn], measured[drawn], sigma[drawn] if sigma is not None else None))
    return np.std(each, axis=0, ddof=1)


def plain_statistics(name, true, measured, sigma):
    if name == "calibration":
        pulls = (measured - true) / sigma
        return [*(np.mean(np.abs(pulls) <= k) for k in (1, 2, 3)), pulls.mean(), robust(pulls)]
    mag = ZEROPOINT - 2.5 * np.log10(true)
    dmag = ZEROPOINT - 2.5 * np.log10(measured) - mag
    outliers, mape = np.mean(np.abs(dmag) > metrics.OUTLIER_DMAG), 100 * np.mean(np.abs(dmag / mag))
    if name == "figure_5":
        return [dmag.mean(), dmag.std(), outliers, mape]
    error = 100 * np.abs(measured / true - 1)
    first = dmag.mean(), np.median(dmag), dmag.std(), robust(dmag)
    return [*first, outliers, mape, error.mean(), np.median(error)]


def robust(values):
    return 1.4826 * np.median(np.abs(values - np.median(values)))


def theirs(blends, predictions, tables, n_bootstrap):
    """The seconds that the loop takes for each table."""
    seconds = {}
    for name, table in tables.items():
        began = time.process_time()
        for row in table:
            pred, galaxy = predictions[row["method"]], row["galaxy"]
            rows = rows_of(blends, pred, name, row)
            if rows.sum() != row["n"]:
                sys.exit(f"the loop and {name} score other rows: the comparison would mean nothing.")
            if rows.any():
                true, measured = (np.array(t[f"flux_{galaxy}"][rows]) for t in (blends, pred))
                sigma = np.array(pred[f"flux_{galaxy}_err"][rows]) if name == "calibration" else None
                plain_loop(name, true, measured, sigma, np.array(blends[galaxy][rows]), n_bootstrap)
        seconds[name] = time.process_time() - began
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blends", type=int, default=5000)
    parser.add_argument("--galaxies", type=int, default=1050)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--loop", type=int, default=20, help="resamples of the plain loop")
    parser.add_argument("--strict", action="store_true", help=f"fail if all takes {NEEDED:g} s or more")
    args = parser.parse_args()

    blends, predictions = make_tables(args.blends, args.galaxies)
    ours(blends[:50], {name: pred[:50] for name, pred in predictions.items()}, 2)  # imports
    tables, fast = ours(blends, predictions, args.resamples)
    slow = theirs(blends, predictions, tables, args.loop)
    times = args.resamples / args.loop
    print(
        f"{args.blends:,} blends of {args.galaxies:,} galaxies x {len(predictions)} methods, {args.resamples:,} "
        f"resamples, one core (the loop: from {args.loop})"
    )
    print(f"{'':30s} {'seconds':>8s} {'plain loop':>11s} {'ratio':>6s}")
    for name, seconds in (*fast.items(), ("all", sum(fast.values()))):
        loop = times * (sum(slow.values()) if name == "all" else slow[name])
        print(f"{name:30s} {seconds:8.2f} {loop:11.1f} {loop / seconds:6.1f}")
    if (total := sum(fast.values())) >= NEEDED:
        print(f"slower than needed: {total:.1f} s, expected less than {NEEDED:g} s")
        if args.strict:
            sys.exit(1)


if __name__ == "__main__":
    main()
