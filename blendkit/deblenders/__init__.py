"""Deblenders: callables that take blends, (n, ny, nx), and return a table with the fluxes of each, `flux` (n, k)."""

from .base import CASES, match, match_pixels, match_positions
from .methods import METHODS, measure
from .network import Network
from .sep import LABELS, SEP, sep_baselines
from .sersic import Sersic
