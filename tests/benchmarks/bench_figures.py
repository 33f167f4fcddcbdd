"""How long each figure takes, saved as PNG, for 4 methods x 5,000 blends: ``python tests/benchmarks/bench_figures.py``.

The reference, in the same run, is what the points alone cost: bare scatter plots of all of them, one per method and
galaxy. Each figure should stay under 3 seconds.
"""

import io
import time

import matplotlib.pyplot as plt
import numpy as np
from astropy.table import Table

import blendkit as bk

N, METHODS, GALAXIES, SAVED = 5000, 4, ("central", "companion"), {"format": "png", "dpi": 100}
MOST = 3.0  # seconds


def made_up(rng):
    """Blends and predictions like the published ones in number and spread, of 1,000 galaxies."""
    ids = {g: rng.integers(1000, size=N) for g in GALAXIES}
    mag = {g: rng.uniform(18.5, 23, 1000)[ids[g]] for g in GALAXIES}
    flux = {g: 10 ** (-0.4 * (mag[g] - 25.96)) for g in GALAXIES}
    kinds = np.array(["sph", "disk", "sphd", "irr"])
    blends = Table(
        ids | {f"flux_{g}": flux[g] for g in GALAXIES} | {f"mag_{g}": mag[g] for g in GALAXIES}
        | {f"r_eff_{g}": rng.uniform(2, 10, N) for g in GALAXIES}
        | {f"morphology_{g}": kinds[ids[g] % 4] for g in GALAXIES}
        | {"distance": rng.uniform(3, 40, N), "delta_mag": mag["central"] - mag["companion"]},
        meta={"zeropoint": 25.96},
    )  # fmt: skip
    predictions = {}
    for k in range(METHODS):
        off = {g: rng.standard_t(3, N) * 0.05 * (k + 1) for g in GALAXIES}
        pred = {f"flux_{g}": flux[g] * 10 ** (-0.4 * off[g]) for g in GALAXIES}
        predictions[f"method {k + 1}"] = Table(pred | {f"flux_{g}_err": 0.1 * flux[g] for g in GALAXIES})
    predictions["method 4"]["case"] = rng.choice(["both", "only central", "only companion", "more"], N)
    return blends, predictions


def save(figure):
    figure.savefig(io.BytesIO(), **SAVED)


def bare(blends, predictions):
    """The points of all methods and galaxies, and nothing else."""
    figure, axes = plt.subplots(2, METHODS, figsize=(12, 8))
    plt.close(figure)
    for column, pred in zip(axes.T, predictions.values(), strict=True):
        for ax, galaxy in zip(column, GALAXIES, strict=True):
            ax.plot(blends[f"flux_{galaxy}"], pred[f"flux_{galaxy}"], ".", rasterized=True)
    return figure


def seconds(draw, rounds=3):
    """Median wall time of drawing and saving."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        save(draw())
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def main():
    rng = np.random.default_rng(0)
    blends, predictions = made_up(rng)
    ious = {name: rng.uniform(0.2, 1, (N, 2)) for name in predictions}
    cases = predictions["method 4"]["case"]
    with_case = {name: Table(pred, copy=False) for name, pred in predictions.items()}
    for pred in with_case.values():
        pred["case"] = cases
    figures = bk.figures
    drawn = {
        "Figure 5, recovered_magnitudes": lambda: figures.recovered_magnitudes(blends, predictions),
        "Figure 6, recovered_by_detection": lambda: figures.recovered_by_detection(blends, with_case),
        "Figure 7, errors_by_delta_mag": lambda: figures.errors_by_delta_mag(blends, predictions),
        "Figure 8, median_and_scatter": lambda: figures.median_and_scatter(blends, predictions),
        "Figure 9, by_morphology": lambda: figures.by_morphology(blends, predictions),
        "Figure 12, iou_by_type": lambda: figures.iou_by_type(blends, ious),
        "flux_kinds": lambda: figures.flux_kinds(blends, predictions),
        "failure_map": lambda: figures.failure_map(blends, predictions),
        "calibration_curve": lambda: figures.calibration_curve(blends, predictions),
    }
    save(bare(blends, predictions))  # fonts
    reference = seconds(lambda: bare(blends, predictions))
    print(f"{'bare points':36s} {reference:6.2f} s")
    for name, draw in drawn.items():
        took = seconds(draw)
        print(f"{name:36s} {took:6.2f} s  {took / reference:5.1f} x bare{'' if took < MOST else '   TOO SLOW'}")


if __name__ == "__main__":
    main()
