"""How long all scores of a comparison take, and each figure, saved as PNG: `make bench`.

As many blends as in the paper's test set. Seconds are the process's own, whatever else the machine does; NumPy gets one
thread, since others that only wait would count as well.
"""

import io
import os
import time

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when NumPy is first imported

from functools import partial

from shared import verdict  # isort: skip

from blendkit import metrics
from tests.figures.test_accuracy import DRAW_ALL, make_exam, measure

NEEDED, EACH = 15.0, 3.0  # seconds for all scores and for each figure


def timed(what, call, most):
    """Say how many seconds a call takes, and note whether they are too many."""
    began = time.process_time()
    call()
    seconds[what] = time.process_time() - began
    print(f"{what:30s} {seconds[what]:8.2f} s", flush=True)
    slow[f"{what} in {seconds[what]:.1f} s, expected less than {most:g} s"] = seconds[what] >= most


seconds, slow = {}, {}
blends = make_exam(5000, 1050)
asked = ((0.1, "flux_err"), (0.2, "flux_err"), (0.5, "case"), (0.6, "case"))
predictions = {f"method {k}": measure(blends, k, *how) for k, how in enumerate(asked, 1)}
metrics.scores(blends[:50], {name: pred[:50] for name, pred in predictions.items()}, n_bootstrap=2)  # imports
print("5,000 blends of 1,050 galaxies, 4 methods, 1,000 resamples, one core")
asked = {name: getattr(metrics, name) for name in ("scores", "figure_5", "calibration")}
for by in ("delta_mag", "distance", "morphology"):
    asked[f"binned_scores by {by}"] = partial(metrics.binned_scores, by=by)
for name, score in asked.items():
    timed(name, partial(score, blends, predictions, n_bootstrap=1000), NEEDED)
slow[f"all scores in {sum(seconds.values()):.1f} s, expected less than {NEEDED:g} s"] = sum(seconds.values()) >= NEEDED
for draw in DRAW_ALL:
    timed(draw.__name__, lambda draw=draw: draw(blends, predictions).savefig(io.BytesIO(), dpi=100), EACH)
verdict(slow)
