"""The paper's figures (Boucaud et al. 2019), a function each: a matplotlib (or plotly) figure, detached from pyplot."""

from .. import lazy
from .style import CASE_COLOURS, COLOURS, stretch, style  # at once: the file's name must not hide the function

_NAMES = {
    "stamps": "blend_grid blend_parts detection_curve detection_shares dmag_noise examples field_pictures fill_step "
    "fill_step_sigmas iou_by_type masks_beside recovered_light rejected_stamps sky_fills stamps_before_after "
    "worst_blends worst_rows",
    "accuracy": "by_morphology calibration_curve detection_split errors_by_delta_mag failure_map flux_kinds "
    "median_and_scatter recovered_by_detection recovered_magnitudes synthetic_and_real",
    "networks": "activations leak leak_errors learning_curve loss_curves masks_seen network_diagram shares_seen "
    "sum_and_share symmetry",
    "hover": "errors_plotly",
}

__getattr__, __dir__, _LAZY = lazy(__name__, _NAMES)
__all__ = ["CASE_COLOURS", "COLOURS", "stretch", "style", *_LAZY]
