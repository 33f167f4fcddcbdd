"""Scores of deblenders, with error bars from resampling galaxies."""

from ..deblenders.base import CASES
from .bootstrap import resample, weighted_median
from .scores import FIGURE_5_CASES, OUTLIER_DMAG, binned_scores, calibration, case_shares, delta_mag, difference
from .scores import figure_5, figure_5_rows, flux_scores, iou, magnitude_scores, mask_scores, measurements, scores
from .scores import values_of
from .tables import ranking, reference_cases, reference_scores, scoreboard, table1, table2, table3, write_scoreboard
