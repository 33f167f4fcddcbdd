"""All scores of 5,000 blends of 1,050 galaxies, as many as in the paper's test set, by four methods, and the slowest of
the figures, saved as PNG. Seconds are the process's own, whatever else the machine does; NumPy gets one thread, since
others that only wait would count as well.
"""

import io
import os
import time

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when NumPy is first imported

from functools import partial

from matplotlib.figure import Figure

from blendkit import metrics
from tests.figures.test_accuracy import DRAW_ALL, make_exam, measure
from tools.bench.rows import Row

BINNED = [partial(metrics.binned_scores, by=by) for by in ("delta_mag", "distance", "morphology")]
SCORES = (metrics.scores, metrics.figure_5, metrics.calibration, *BINNED)


def seconds(*calls):
    """Of all calls together."""
    began = time.process_time()
    for call in calls:
        call()
    return time.process_time() - began


def save(draw, *given):
    """Draw a figure, as PNG."""
    draw(*given).savefig(io.BytesIO(), dpi=100)


def rows():
    blends = make_exam(5000, 1050)
    asked = ((0.1, "flux_err"), (0.2, "flux_err"), (0.5, "case"), (0.6, "case"))
    predictions = {f"method {k}": measure(blends, k, *how) for k, how in enumerate(asked, 1)}
    metrics.scores(blends[:50], {name: pred[:50] for name, pred in predictions.items()}, n_bootstrap=2)  # imports
    many, few = (seconds(*(partial(s, blends, predictions, n_bootstrap=n) for s in SCORES)) for n in (1000, 2))
    yield Row("all scores, 1,000 resamples, one core", many, "s", "2 resamples", few, most=15)
    slowest, name = max((seconds(partial(save, draw, blends, predictions)), draw.__name__) for draw in DRAW_ALL)
    yield Row(f"the slowest figure, `{name}`", slowest, "s", "an empty one", seconds(partial(save, Figure)), most=3)
