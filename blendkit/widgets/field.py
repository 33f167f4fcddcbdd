"""A field of the sky in which a click on an object shows whose light is there, and who measures what."""

import ipywidgets as ipw
import numpy as np
from astropy.nddata import extract_array
from astropy.table import Table

from ..data.check import floats, require
from ..deblenders.field import ask
from .answers import as_html, compared
from .view import Board, Panel, StampsView, row, shown_errors, status, swatch

WIDEST, SIDE, NEIGHBOURS = 512, 128, 3  # pixels of a field and of a stamp shown; objects named beside the one shown
_ORDERS = {
    "brightest first": lambda t: -floats(t["flux"]),
    "SEP and network differ most": lambda t: -np.abs(np.log(np.fmax(floats(t["flux"] / t["sep_flux"]), 1e-9))),
    "most crowded first": lambda t: -floats(t["n_in_group"]),
}


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
