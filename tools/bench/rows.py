"""What all timings share: a row of the table, and things timed in turn. No NumPy: a script may set its threads."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A figure beside a reference measured in the same run, and what is asked of it.

    Attributes
    ----------
    what, unit, reference : str
    this, that : float
        The figure and that of the reference, in the unit.
    least, most, ratio_least, ratio_most : float, optional
        What is asked of the figure, and of its ratio to the reference's.
    note : str
        Said instead of figures: why there are none.
    broken : bool
        Whether that counts as missed.
    """

    what: str
    this: float = math.nan
    unit: str = ""
    reference: str = ""
    that: float = math.nan
    least: float | None = None
    most: float | None = None
    ratio_least: float | None = None
    ratio_most: float | None = None
    note: str = ""
    broken: bool = False

    @property
    def ratio(self) -> float:
        """The figure in units of the reference's."""
        return float(self.this) / float(self.that)

    @property
    def asked(self) -> dict[str, bool]:
        """What is asked, in words, and whether it was met: a figure that is no number meets nothing."""
        limits = {
            f"≥ {number(self.least)} {self.unit}": self.least is None or self.this >= self.least,
            f"≤ {number(self.most)} {self.unit}": self.most is None or self.this <= self.most,
            f"ratio ≥ {number(self.ratio_least)}": self.ratio_least is None or self.ratio >= self.ratio_least,
            f"ratio ≤ {number(self.ratio_most)}": self.ratio_most is None or self.ratio <= self.ratio_most,
        }
        return {text: bool(met) for text, met in limits.items() if "–" not in text}

    @property
    def missed(self) -> bool:
        """Whether something that is asked was not reached."""
        return self.broken or not all(self.asked.values())

    def cells(self) -> list[str]:
        """The row as the table shows it: what, figure, reference, ratio, asked, verdict."""
        verdict = "**missed**" if self.missed else "met" if self.asked else "–"
        if self.note:
            return [self.what, " ".join(self.note.replace("|", "/").split()), "–", "–", "–", verdict]
        figures = f"{number(self.this)} {self.unit}", f"{self.reference}: {number(self.that)} {self.unit}"
        return [self.what, *figures, number(self.ratio), ", ".join(self.asked) or "–", verdict]


def number(value: float | None) -> str:
    """Three digits, or all before the point."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def in_turn(functions: dict[str, Callable[[], object]], rounds: int) -> list[list[float]]:
    """Seconds of each function in each round, a list for each; who goes first alternates, a first round warms up.

    What else the machine does then hits all of them.
    """
    times = {name: [] for name in functions}
    for i in range(rounds + 1):
        for name in functions if i % 2 else reversed(functions):
            start = time.perf_counter()
            result = functions[name]()
            times[name].append(time.perf_counter() - start)
            del result  # outside of the clock
    return [times[name][1:] for name in functions]
