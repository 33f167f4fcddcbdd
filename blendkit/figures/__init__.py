"""The paper's figures (Boucaud et al. 2019), one function each, in one style fit for a projector.

Every function but `explore_errors` returns a matplotlib figure that is already detached from pyplot: as the last
expression of a notebook cell it shows once, and nothing stays open.
"""

from ..metrics import FIGURE_5_CASES, figure_5_rows
from .accuracy import (
    by_morphology,
    calibration_curve,
    detection_split,
    errors_by_delta_mag,
    failure_map,
    flux_kinds,
    median_and_scatter,
    recovered_by_detection,
    recovered_magnitudes,
    synthetic_and_real,
)
from .base import CASE_COLOURS, COLOURS, stretch, style
from .masks import iou_by_type, masks_beside, worst_blends
from .networks import (
    activations,
    leak,
    leak_errors,
    learning_curve,
    loss_curves,
    masks_seen,
    network_diagram,
    shares_seen,
    sum_and_share,
    symmetry,
)
from .samples import (
    blend_grid,
    blend_parts,
    detection_curve,
    detection_shares,
    dmag_noise,
    dmag_noise_sigmas,
    examples,
    fill_step,
    fill_step_sigmas,
    rejected_stamps,
    stamps_before_after,
)

__all__ = [
    "CASE_COLOURS",
    "COLOURS",
    "FIGURE_5_CASES",
    "activations",
    "blend_grid",
    "blend_parts",
    "by_morphology",
    "calibration_curve",
    "detection_curve",
    "detection_shares",
    "detection_split",
    "dmag_noise",
    "dmag_noise_sigmas",
    "errors_by_delta_mag",
    "errors_plotly",
    "examples",
    "explore_errors",
    "failure_map",
    "figure_5_rows",
    "fill_step",
    "fill_step_sigmas",
    "flux_kinds",
    "iou_by_type",
    "leak",
    "leak_errors",
    "learning_curve",
    "loss_curves",
    "masks_beside",
    "masks_seen",
    "median_and_scatter",
    "network_diagram",
    "recovered_by_detection",
    "recovered_magnitudes",
    "rejected_stamps",
    "shares_seen",
    "stamps_before_after",
    "stretch",
    "style",
    "sum_and_share",
    "symmetry",
    "synthetic_and_real",
    "worst_blends",
]


def __getattr__(name):
    if name in ("errors_plotly", "explore_errors"):  # plotly loads where it is used
        from . import hover

        return getattr(hover, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
