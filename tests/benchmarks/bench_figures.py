"""How long each figure takes, saved as PNG, for 4 methods x 5,000 blends: `make bench`.

The reference, in the same run, is what the points alone cost: bare scatter plots of all of them, one per method and
member. Each figure should stay under 3 seconds.
"""

import io

import matplotlib.pyplot as plt
import numpy as np
from bench_metrics import make_tables
from shared import in_turn, verdict

import blendkit as bk

MOST = 3.0  # seconds
DRAWN = (
    "recovered_magnitudes", "recovered_by_detection", "errors_by_delta_mag", "median_and_scatter", "by_morphology",
    "iou_by_type", "flux_kinds", "failure_map", "calibration_curve",
)  # fmt: skip


def bare(blends, predictions):
    """The points of all methods and members, and nothing else."""
    figure, axes = plt.subplots(2, len(predictions), figsize=(12, 8))
    plt.close(figure)
    for column, pred in zip(axes.T, predictions.values(), strict=True):
        for k, ax in enumerate(column):
            ax.plot(blends["flux"][:, k], pred["flux"][:, k], ".", rasterized=True)
    return figure


def main():
    blends, predictions = make_tables()
    ious = {name: np.random.default_rng(0).uniform(0.2, 1, (len(blends), 2)) for name in predictions}
    slow = []
    for name in DRAWN:
        given = ious if name == "iou_by_type" else predictions
        ways = {"ours": lambda name=name, given=given: getattr(bk.figures, name)(blends, given)}
        ways["points"] = lambda: bare(blends, predictions)
        saved = {way: lambda f=f: f().savefig(io.BytesIO(), format="png", dpi=100) for way, f in ways.items()}
        ours, points = in_turn(saved, 3)
        print(f"{name:26s} {np.median(ours):6.2f} s  {np.median(ours / points):5.1f} x bare points", flush=True)
        slow += [f"{name} takes more than {MOST:g} s"] * bool(np.median(ours) > MOST)
    verdict(slow)


if __name__ == "__main__":
    main()
