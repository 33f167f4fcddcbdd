"""A click shows what it stands for: on a plot of errors a blend, on a field of the sky an object."""

import contextlib
import html
import json

import ipywidgets as ipw
import numpy as np
import plotly.graph_objects as go
from astropy.nddata import extract_array
from astropy.table import Table

from ..blends.rendering import render, render_parts
from ..data.check import floats, require
from ..data.sample import Sample
from ..deblenders.field import ask
from ..figures.hover import errors_plotly
from ..figures.stamps import worst_rows
from ..figures.style import MEMBERS, sky_noise
from .answers import as_html, compared
from .view import LEGEND, WORDS, Board, Panel, StampsView, row, shown_errors, status, swatch

_AXES = [("magnitude difference", "delta_mag"), ("distance", "distance")]
_RING = {"symbol": "circle-open", "size": 18, "color": "#d55e00", "line_width": 4}  # round the blend shown
WIDEST, SIDE, NEIGHBOURS = 512, 128, 3  # pixels of a field and of a stamp shown; objects named beside the one shown
_ORDERS = {
    "brightest first": lambda t: -floats(t["flux"]),
    "SEP and network differ most": lambda t: -np.abs(np.log(np.fmax(floats(t["flux"] / t["sep_flux"]), 1e-9))),
    "most crowded first": lambda t: -floats(t["n_in_group"]),
}


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
            self.figure.update_layout(xaxis_title=other.layout.xaxis.title, yaxis_title=other.layout.yaxis.title)
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


class FieldBrowser(Board):
    """Click on an object of a field: its share of the light, its flux from SEP and from the network, its neighbours.

    What it takes is what ``bk.measure_field(image, maps=True)`` gives; `row` is that of the object shown now.

    Parameters
    ----------
    catalogue, segmap : astropy.table.Table; array (ny, nx) of the catalogue's ids
    model, residual : arrays (ny, nx), which together are the image
    network : str or path; the one that measured them
    """

    def __init__(self, catalogue: Table, segmap, model, residual, network="fractions"):
        require(len(catalogue), "the catalogue is empty, expected at least one object: look at the image.")
        self.catalogue, self.segmap, self.network, self.row = catalogue, segmap, network, 0
        self.image = np.asarray(model + residual, np.float32)
        self.places, self.facts = np.stack([floats(catalogue[c]) for c in "yx"], axis=1), ipw.HTML()
        look = {"sigma": catalogue.meta["noise"], "layout": {"flex": "1 1 300px", "max_width": "450px"}}
        self.field, self.view = StampsView(clicked=[], **look), StampsView(**look)
        self.field.observe(shown_errors("a click on the field", self.message)(self._clicked), "clicked")
        wide = {"style": {"description_width": "initial"}, "layout": {"width": "23em"}}
        self.order = self.on(ipw.Dropdown(options=list(_ORDERS), description="objects", **wide), self._walk)
        self.number = self.on(ipw.IntSlider(1, 1, len(catalogue), description="number", **wide), self._walk)
        super().__init__([row(self.order, self.number), self.message, self.facts, row(self.field, self.view)])
        self.add_class("bk-field")
        self._walk()

    def show(self, row: int) -> None:
        """Show one object, a row of the catalogue, as a click on it does."""
        require(0 <= row < len(self.catalogue), f"row = {row} was given, expected 0 to {len(self.catalogue) - 1}.")
        self.row = int(row)
        with self.quietly():
            self.number.value = 1 + self._in_order().index(self.row)
        self._paint()

    def _in_order(self):
        return np.argsort(_ORDERS[self.order.value](self.catalogue), kind="stable").tolist()

    def _walk(self):
        self.show(self._in_order()[self.number.value - 1])

    def _clicked(self, change):
        at = change["new"][::-1] + self._corner
        label = self.segmap[tuple(np.clip(np.rint(at).astype(int), 0, np.array(self.image.shape) - 1))]
        here = np.flatnonzero(self.catalogue["id"] == label)
        self.show(here[0] if len(here) else np.argmin(np.hypot(*(self.places - at).T)))

    def _paint(self):
        this, away = self.catalogue[self.row], np.hypot(*(self.places - self.places[self.row]).T)
        nearest, centre = np.argsort(away)[1 : NEIGHBOURS + 1], np.rint(self.places[self.row]).astype(int)
        size = np.minimum(self.image.shape, WIDEST)
        self._corner = np.clip(centre - size // 2, 0, self.image.shape - size)
        part = tuple(slice(start, start + n) for start, n in zip(self._corner, size, strict=True))
        stamp, labels = (extract_array(p, [SIDE] * 2, centre, fill_value=0) for p in (self.image, self.segmap))
        own, noise = labels == this["id"], self.view.sigma
        light = stamp - np.nanmedian(stamp[labels == 0]) if (labels == 0).any() else stamp
        share = next(ask(self.network, light, np.array([[SIDE // 2] * 2]), noise))["share"][0]
        white, others = float(np.nanpercentile(light, 99.9)), np.isin(self.segmap[part], self.catalogue["id"][nearest])
        caption = f"the field: click on an object. {swatch('this one', 'central')} {swatch('its nearest', 'companion')}"
        whole, outlines = self.image[part], [(self.segmap[part] == this["id"], 0), (others, 1)]
        self.field.show({"field": Panel(caption, whole, float(np.nanpercentile(whole, 99.9)), outlines=outlines)})
        panels = {"stamp": Panel("what is there", light, white, outlines=[(own, 0), ((labels > 0) & ~own, 1)])}
        panels["share"] = Panel("its share of each pixel: black none, white all", noise * (3 * share - 1), 2 * noise)
        panels["own"] = Panel(f"its own light, as {self.network} sees it", share * light, white)
        panels["rest"] = Panel("all other light", light - share * light, white)
        self.view.show(panels)
        flags = [name for name in self.catalogue.colnames if self.catalogue[name].dtype == bool and this[name]]
        heads = ["this one", *(f"{away[k]:.0f} pixels away" for k in nearest)]
        zeropoint, objects = self.catalogue.meta["zeropoint"], self.catalogue[[self.row, *nearest]]
        ours = compared(objects["flux"], zeropoint, errors=objects["flux_err"])
        lines = [("SEP", compared(objects["sep_flux"], zeropoint)), (self.network, ours)]
        percent = 100 * np.nansum((share * light)[own]) / np.nansum(light[own])
        self.facts.value = status(
            f"<b>x {this['x']:.0f}, y {this['y']:.0f}: {percent:.0f} % of the light in its outline is its own</b>, as "
            f"{self.network} sees it. In its group: {this['n_in_group']}. Flags: {', '.join(flags) or 'none'}."
            f"{as_html(heads, lines)}"
        )

    def panels(self):
        """What the picture shows."""
        return [*self.field.shown.values(), *self.view.shown.values()]
