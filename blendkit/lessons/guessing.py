"""The guess game: the explorer hides the truth, you guess, and a tally tells who was nearer."""

import html

import numpy as np
from astropy.table import Table
from traitlets import Dict

from ..metrics.scores import delta_mag
from ..widgets import BlendExplorer as Explorer

MISSED = 3.0  # mag: so far off is a galaxy that was not measured, and at most one that was


class BlendExplorer(Explorer):
    __doc__ = Explorer.__doc__.replace("\n\n", "\n\n    `tally` keeps what you guess while the truth is hidden.\n\n", 1)
    _rounds = Dict()  # by pair, once its truth was shown: with which settings, and how far off each was

    @property
    def tally(self) -> Table:
        """How far off `you`, SEP and the methods asked were in each round of the guess game: mean |Δmag|."""
        return Table(rows=[{"you": off["you"]} | off for _, off in self._rounds.values() if "you" in off])

    def _tell(self):
        super()._tell()
        if self.hide.value:
            return
        offs = {n: np.abs(delta_mag(self.recipe, {"flux": np.reshape(f, (1, 2))})) for n, f in self.fluxes.items()}
        offs = {n: float(np.fmin(d, MISSED).mean()) for n, d in offs.items() if n != "you" or np.isfinite(d).all()}
        at, counted = self._rounds.setdefault(frozenset(self.view.pair), (self._at, offs))
        if at == self._at:  # a later guess counts nothing, a method that is asked later does
            counted |= {name: off for name, off in offs.items() if name != "you"}
        if self.tally:
            self.answer.value = self.answer.value.replace(self.note, html.escape(tally_line(tallied(self.tally))))


def tallied(tally):
    """For each rival: in how many rounds it was, how far off you were in these, and how far it was (mag)."""
    both = {n: tally[~np.ma.getmaskarray(tally[n])] for n in tally.colnames if n != "you"}
    return [(n, len(rows), *(float(np.mean(rows[who])) for who in ("you", n))) for n, rows in both.items()]


def tally_line(rivals, who="you"):
    """Who was nearer, in one line."""
    told = {}
    for name, rounds, yours, its in rivals:
        begin = f"{rounds} round{'s' * (rounds > 1)}: {who} {yours:.2f} mag off"
        told[begin] = f"{told.get(begin, begin)}, {name} {its:.2f}"
    return "; ".join(told.values())
