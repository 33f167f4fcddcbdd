"""Notebooks 4 and 6: an exam whose hardness sliders set, tables to read, and the paper's own answers."""

import html

import ipywidgets as ipw
import numpy as np
from astropy.table import Column, Table

from ..data.load import load_published
from ..data.remote import DownloadError
from ..deblenders.base import CASES
from ..figures.style import MEMBERS, method_styles
from ..metrics.scores import measurements
from ..widgets import view

_FROM, _WIDE, _MOST = 170, 330, 50  # where the axis of the chart begins, its length, and its end in %


class Readable(Table):
    """A table that is shown whole, and without the types of its columns."""

    def _repr_html_(self):
        return "\n".join(self.pformat(max_lines=-1, max_width=-1, html=True, show_dtype=False))


def formatted(rows, names, **formats) -> Table:
    """Rows as a table, some columns of which are printed in a format of their own."""
    table = Table(rows=rows, names=names)
    for name, form in formats.items():
        table[name].info.format = form
    return table


def plus_minus(table: Table, columns: str) -> Table:
    """Some columns of a table, to read: where it has a column of errors as well, they stand behind the numbers."""
    shown = Readable(table[columns.split()])
    for name in shown.colnames:
        if f"{name}_err" in table.colnames:
            form, pairs = table[name].info.format or ".1f", zip(table[name], table[f"{name}_err"], strict=True)
            texts = [f"{value:{form}} ± {error:{form}}" if np.isfinite(value) else "–" for value, error in pairs]
            shown[name] = Column(texts, unit=table[name].unit)
    return shown


def published() -> tuple[Table, dict[str, Table]] | tuple[None, None]:
    """The paper's blends and answers, as from `load_published`; twice None where they cannot be had, and a sentence."""
    try:
        theirs, paper = load_published()
    except DownloadError as why:
        print(f"You see the stored numbers of the published catalogue and not its figures: {why}")
        return None, None
    print(f"{len(theirs):,} blends; methods: {', '.join(paper)}.")
    return theirs, paper


def paper_cases(stored: Table) -> Table:
    """Shares of the detection cases among the paper's blends, as `case_shares` gives them, of its stored numbers."""
    here = (stored["method"] == "SExtractor") & (stored["member"] == "central") & np.isin(stored["case"], CASES)
    return stored[here]["case", "share", "share_err"]


class ExamSliders(view.Board):
    """Who does best when only some blends count? Sliders choose these by their distance and magnitude difference.

    `errors` are the mean and the median error (%) of each method's fluxes, and the share (%) that it did not find.
    """

    def __init__(self, blends: Table, predictions: dict[str, Table]):
        self.blends, self.looks, self.chart = blends, method_styles(predictions), ipw.HTML()
        self.rows = measurements(blends, predictions)
        self.near = np.asarray(blends["distance"] / np.max(blends["r_eff"], axis=1))
        self.delta, look = np.asarray(blends["delta_mag"]), {"description_width": "14em"}

        def between(text, tip, values):
            low, high = np.floor(2 * values.min()) / 2, np.ceil(2 * values.max()) / 2
            about = {"min": low, "max": high, "value": (low, high), "step": 0.25, "readout_format": ".2f"}
            about |= {"style": look, "layout": {"width": "38em", "max_width": "100%"}}
            return self.on(ipw.FloatRangeSlider(description=text, tooltip=tip, **about), self._show)

        self.distance = between("distance [larger radius]", "In effective radii of the larger galaxy", self.near)
        self.delta_mag = between("central − companion [mag]", "To the right the companion is brighter", self.delta)
        self.member = ipw.ToggleButtons(options=["both", *MEMBERS], description="whose flux", style=look)
        self.on(self.member, self._show)
        super().__init__([self.distance, self.delta_mag, self.member, self.message, self.chart])
        self._show()

    def _show(self):
        ranges = (self.distance.value, self.near), (self.delta_mag.value, self.delta)
        here = np.all([(low <= values) & (values <= high) for (low, high), values in ranges], axis=0)
        counts = here[self.rows["blend"]] & ((self.rows["member"] == self.member.value) | (self.member.value == "both"))
        off = 100 * np.abs(np.asarray(self.rows["measured"] / self.rows["true"]) - 1)
        self.errors = {}
        for name in self.looks if here.any() else ():
            mine = off[counts & (self.rows["method"] == name)]
            lost, mine = 100 * np.isnan(mine).mean(), np.nan_to_num(mine, nan=100)
            self.errors[name] = {"mean": mine.mean(), "median": np.median(mine), "not found": lost}
        said = f"<b>{here.sum():,} of {len(self.blends):,} blends count.</b>"
        few = " So few say little: widen the sliders." if here.sum() < 30 else ""
        self.chart.value = view.status(said + few) + _chart(self.errors, self.looks)

    def _repr_mimebundle_(self, **kwargs):
        return view.Freed._repr_mimebundle_(self, **kwargs) | {"text/html": self.chart.value}


def _chart(errors, looks):
    """A bar for each method's mean error, a line at its median, as an SVG picture."""
    parts, y, at = [], 0, lambda percent: _FROM + _WIDE * min(percent, _MOST) / _MOST
    for name, got in errors.items():
        y += 34
        bar = f'x="{_FROM}" y="{y - 13}" width="{at(got["mean"]) - _FROM:.1f}" height="22" fill="{looks[name][0]}"'
        line = f'x1="{at(got["median"]):.1f}" x2="{at(got["median"]):.1f}" y1="{y - 17}" y2="{y + 13}"'
        said = f"{'▸ ' if got['mean'] > _MOST else ''}mean {got['mean']:.1f} %, median {got['median']:.1f} %"
        said += f", not found {got['not found']:.0f} %" if got["not found"] >= 0.5 else ""
        parts.append(f'<text x="0" y="{y + 4}">{html.escape(name)}</text><rect {bar} opacity="0.45"/>')
        parts.append(f'<line {line} stroke="currentColor" stroke-width="4"/>')
        parts.append(f'<text x="{_FROM + _WIDE + 15}" y="{y + 4}">{said}</text>')
    ticks = [(at(tick), f"{tick}{' % error of the flux' * (tick == _MOST)}", 0.5) for tick in range(0, _MOST + 1, 10)]
    return view.chart(parts, y + 20, ticks, "error of each method")
