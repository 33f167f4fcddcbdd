"""A plot of errors in which a click on a point shows the blend that it stands for."""

import contextlib
import html
import json

import ipywidgets as ipw
import numpy as np
import plotly.graph_objects as go
from astropy.table import Table

from ..blends.rendering import render, render_parts
from ..data.check import floats, require
from ..data.sample import Sample
from ..figures.hover import errors_plotly
from ..figures.stamps import worst_rows
from ..figures.style import MEMBERS, sky_noise
from .answers import as_html, compared
from .view import LEGEND, WORDS, Board, Panel, StampsView, row, shown_errors, status

_AXES = [("magnitude difference", "delta_mag"), ("distance", "distance")]
_RING = {"symbol": "circle-open", "size": 18, "color": "#d55e00", "line_width": 4}  # round the blend shown


class ErrorsBrowser(Board):
    """Every blend as a point for each method; a click on a point shows that blend, its masks and what is left over.

    Its `row` in the table is at first that of the worst blend of the first method; `figure` is the plotly widget.

    Parameters
    ----------
    sample, blends : Sample; astropy.table.Table, recipes of blends of two galaxies
    predictions : mapping of str to astropy.table.Table; `masks` and `images` are shown where there are any
    """

    def __init__(self, sample: Sample, blends: Table, predictions: dict[str, Table]):
        require(np.shape(blends["id"])[1] == 2, "these are no blends of two galaxies, expected pairs (members=2).")
        self.sample, self.blends, self.predictions, self.row = sample, blends, dict(predictions), 0
        self.facts, self.figure = ipw.HTML(), go.FigureWidget(errors_plotly(blends, predictions))
        with contextlib.suppress(AttributeError):  # where anywidget would keep every figure that there was
            go.FigureWidget._esm.changed.disconnect()
        for trace in self.figure.data:
            trace.on_click(shown_errors("a click on a point", self.message)(self._clicked))
        self.figure.add_scatter(x=[], y=[], mode="markers", name="the blend shown", hoverinfo="skip", marker=_RING)

        self.by = self.on(ipw.Dropdown(options=_AXES, description="horizontal axis"), self._replot)
        self.member = self.on(ipw.Dropdown(options=MEMBERS[::-1], description="error of the"), self._replot)
        methods = ipw.Dropdown(options=list(self.predictions), description="method")
        self.method = self.on(methods, lambda: self.show(self.row))
        self.buttons = self.buttons_of(WORDS["errors"]["buttons"], self._step, "in the errors")
        self.view = StampsView(sigma=sky_noise(sample), layout={"flex": "1 1 260px", "max_width": "500px"})
        plot = ipw.Box([self.figure], layout={"max_width": "100%", "overflow": "auto"})
        lists = row(self.by, self.member), row(self.method, *self.buttons.values())
        super().__init__([*lists, self.message, self.facts, row(plot, self.view)])
        self.add_class("bk-errors")
        self.show(self._order()[0])

    def show(self, row: int, method: str | None = None) -> None:
        """Show one blend, a row of the table, as a click on its point does; `method` says whose masks and galaxies."""
        method = method or self.method.value
        require(method in self.predictions, f"method = {method!r} was given, expected one of {list(self.predictions)}.")
        require(0 <= row < len(self.blends), f"row = {row} was given, expected 0 to {len(self.blends) - 1}.")
        self.row = int(row)
        with self.quietly():
            self.method.value = method
        self._paint()
        self._mark()

    def _clicked(self, _trace, points, _state):
        if points.point_inds:
            self.show(points.point_inds[0], list(self.predictions)[points.trace_index])

    def _order(self):
        return worst_rows(self.blends, self.predictions[self.method.value], self.member.value).tolist()

    def _step(self, name):
        order = self._order()
        self.show(order[min(max(order.index(self.row) + (-1 if name == "worse" else 1), 0), len(order) - 1)])

    def _replot(self):
        other = errors_plotly(self.blends, self.predictions, self.by.value, self.member.value)
        with self.figure.batch_update():
            for trace, new in zip(self.figure.data, other.data, strict=False):
                trace.update(x=new.x, y=new.y, name=new.name)
            self.figure.layout.xaxis.title.text = other.layout.xaxis.title.text
            self.figure.layout.yaxis.title.text = other.layout.yaxis.title.text
        self._mark()

    def _paint(self):
        pred, blend = self.predictions[self.method.value][self.row], self.blends[self.row : self.row + 1]
        name, (image,), (masks,) = html.escape(self.method.value), *render(self.sample, blend)[:2]
        parts, flux = render_parts(self.sample, blend)[0], floats(pred["flux"])
        whose, said = "alone (true)", "true galaxies, scaled to the measured fluxes"
        model = parts @ np.where(flux > 0, flux / blend["flux"][0], 0)
        if "images" in pred.colnames:
            parts, whose, said = np.asarray(pred["images"]), f"as {name} separates it", "both separated galaxies"
            model = parts.sum(axis=-1)
        white, left = float(np.percentile(image, 99.9)), f"left over: blend − {said} (white: too little taken away)"
        outlines, outlined = [(masks[..., k], k) for k in (0, 1)], f"blend, outlines of the true masks: {LEGEND}"
        panels = {"blend": Panel(outlined, image, white, outlines=outlines)}
        panels["true"] = Panel("true masks", masks, style="masks")
        if "masks" in pred.colnames:
            panels["masks"] = Panel(f"masks of {name}", np.asarray(pred["masks"]), style="masks")
        panels["central"] = Panel(f"central galaxy {whose}", parts[..., 0], white)
        panels["companion"] = Panel(f"companion {whose}", parts[..., 1], white)
        panels["left"] = Panel(left, image - model, white, "signed")
        self.view.show(panels)

    def _mark(self):
        """The blend's points get a ring, and its numbers stand above the plot."""
        *traces, ring = self.figure.data
        errors = [trace.y[self.row] for trace in traces]
        measured = [error for error in errors if np.isfinite(error)]
        ring.update(x=[traces[0].x[self.row]] * len(measured), y=measured)
        blend, zeropoint, method = self.blends[self.row], self.blends.meta["zeropoint"], self.method.value
        lines = [("alone (true)", compared(blend["flux"], zeropoint))]
        lines += [(n, compared(p["flux"][self.row], zeropoint, blend["flux"])) for n, p in self.predictions.items()]
        heads = [f"{m}: id {i}, {kind}" for m, i, kind in zip(MEMBERS, blend["id"], blend["morphology"], strict=True)]
        seen = np.isfinite(errors[list(self.predictions).index(method)])
        unseen = "" if seen else f": no point, it did not measure the {self.member.value}"
        self.facts.value = status(
            f"<b>Row {self.row}, {blend['distance']:.1f} pixels apart: rank {self._order().index(self.row) + 1} of "
            f"{len(self.blends):,} for {html.escape(method)}, the worst first</b>{unseen}{as_html(heads, lines)}"
        )

    def _repr_mimebundle_(self, **kwargs):
        plot = {"application/vnd.plotly.v1+json": json.loads(self.figure.to_json())}
        return super()._repr_mimebundle_(**kwargs) | plot
