"""How long all scores of a comparison take, and each figure, saved as PNG: `make bench`.

5,000 blends of 1,050 galaxies, as in the paper's test set, by four methods, with 1,000 resamples behind every error
bar. Seconds are the process's own, whatever else the machine does; NumPy gets one thread, since others that only wait
would count as well.
"""

import io
import os
import time

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when NumPy is first imported

from functools import partial

import numpy as np
from astropy.table import Table
from shared import verdict

from blendkit import figures, metrics

NEEDED, EACH, ZEROPOINT = 15.0, 3.0, 25.96  # seconds for all scores and for each figure; mag
DRAWN = (
    "recovered_magnitudes", "recovered_by_detection", "errors_by_delta_mag", "median_and_scatter", "by_morphology",
    "iou_by_type", "flux_kinds", "failure_map", "calibration_curve",
)  # fmt: skip
MEMBERS = ("central", "companion")


def make_tables(n=5000, n_galaxies=1050):
    """Blends, and predictions of two networks with errors and of two methods that detect, and miss some."""
    rng = np.random.default_rng(0)
    mag, ids = rng.uniform(18.5, 23, (n, 2)), rng.integers(n_galaxies, size=(n, 2))
    flux = 10 ** (-0.4 * (mag - ZEROPOINT))
    blends = Table({
        "id": ids, "mag": mag, "flux": flux, "r_eff": rng.uniform(2, 10, (n, 2)), "distance": rng.uniform(2, 60, n),
        "morphology": np.array(["sph", "disk", "sphd", "irr"])[ids % 4], "delta_mag": mag[:, 0] - mag[:, 1],
    }, meta={"zeropoint": ZEROPOINT})  # fmt: skip
    predictions = {}
    for k, scatter in enumerate((0.1, 0.2, 0.5, 0.6)):
        pred = Table({"flux": flux * 10 ** rng.normal(0, 0.4 * scatter, (n, 2)), "flux_err": scatter * flux})
        if k > 1:
            case = pred["case"] = rng.choice(metrics.CASES, n, p=[0.74, 0.06, 0.16, 0.03, 0.01])
            found = np.stack([np.isin(case, ["both", f"only {member}", "more"]) for member in MEMBERS], axis=1)
            pred["flux"] = np.where(found, pred["flux"], np.nan)
            del pred["flux_err"]
        predictions[f"method {k + 1}"] = pred
    return blends, predictions


def timed(what, call, most):
    """Say how many seconds a call takes, and note whether they are too many."""
    began = time.process_time()
    call()
    seconds[what] = time.process_time() - began
    print(f"{what:30s} {seconds[what]:8.2f} s", flush=True)
    slow[f"{what} in {seconds[what]:.1f} s, expected less than {most:g} s"] = seconds[what] >= most


seconds, slow = {}, {}
blends, predictions = make_tables()
metrics.scores(blends[:50], {name: pred[:50] for name, pred in predictions.items()}, n_bootstrap=2)  # imports
print("5,000 blends of 1,050 galaxies, 4 methods, 1,000 resamples, one core")
asked = {name: getattr(metrics, name) for name in ("scores", "figure_5", "calibration")}
for by in ("delta_mag", "distance", "morphology"):
    asked[f"binned_scores by {by}"] = partial(metrics.binned_scores, by=by)
for name, score in asked.items():
    timed(name, partial(score, blends, predictions, n_bootstrap=1000), NEEDED)
slow[f"all scores in {sum(seconds.values()):.1f} s, expected less than {NEEDED:g} s"] = sum(seconds.values()) >= NEEDED
ious = {name: np.random.default_rng(0).uniform(0.2, 1, (len(blends), 2)) for name in predictions}
for name in DRAWN:
    draw = partial(getattr(figures, name), blends, ious if name == "iou_by_type" else predictions)
    timed(name, lambda draw=draw: draw().savefig(io.BytesIO(), dpi=100), EACH)
verdict(slow)
