"""A plot of errors in which a click on a point shows the blend that it stands for."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import ipywidgets as ipw
import numpy as np

from ..blending import render, render_parts
from ..figures.hover import ABSCISSAE, SHOWN_GALAXIES, abscissa, errors_plotly, legend_name, ordinate_title
from ..figures.masks import delta_mag, worst_rows
from ..samples import Sample
from . import picture
from .errors import recorded
from .explorer import _CELL, _compared, _magnitudes
from .view import Panel, StampsView, with_picture

if TYPE_CHECKING:
    from astropy.table import Table

_WORDS = " ".join(map(picture.swatch, ("central", "companion", "both"), (0, 1, 2)))
_CHOICES = {
    "by": ("horizontal axis", [("magnitude difference", "delta_mag"), ("distance", "distance")]),
    "galaxy": ("error of the", list(SHOWN_GALAXIES)),
}
_SLOTS = ("blend", "true", "masks", "central", "companion", "left")
_LIT = "the blend shown"


class ErrorsBrowser(ipw.VBox):
    """Every blend as a point for each method; a click on a point shows that blend, its masks and what is left over.

    Parameters
    ----------
    sample : Sample
    blends : astropy.table.Table
        Recipes.
    predictions : mapping of str to astropy.table.Table
        Of each method; `masks` and `images` are shown where there are any.

    Attributes
    ----------
    row : int
        Of the blend that is shown: at first the worst of the first method.
    figure : plotly.graph_objects.FigureWidget

    Raises
    ------
    ValueError
        Where predictions are refused, or the sample does not hold these galaxies.
    """

    def __init__(self, sample: Sample, blends: Table, predictions: Mapping[str, Table]):
        import plotly.graph_objects as go

        self.sample, self.blends, self.predictions = sample, blends, dict(predictions)
        self.row, self._noise, self._paused = 0, picture.noise_level(sample.sky), False
        self.message, self.facts = ipw.HTML(), ipw.HTML()
        self.figure = go.FigureWidget(errors_plotly(blends, predictions))
        self._make_controls()
        for trace in self.figure.data:
            trace.on_click(recorded("a click on a point", self.message)(self._clicked))
        self.figure.add_scatter(
            x=[], y=[], mode="markers", name=_LIT, hoverinfo="skip",
            marker={"symbol": "circle-open", "size": 18, "color": "#d55e00", "line_width": 4},
        )  # fmt: skip
        self.view = StampsView(sigma=self._noise, layout=ipw.Layout(flex="1 1 260px", max_width="100%"))
        plot = ipw.Box([self.figure], layout=ipw.Layout(max_width="100%", overflow="auto"))
        super().__init__(
            [
                ipw.HBox([*self._choices.values()], layout=ipw.Layout(flex_flow="row wrap")),
                ipw.HBox([self.method, *self.buttons.values()], layout=ipw.Layout(flex_flow="row wrap")),
                self.message,
                self.facts,
                ipw.HBox([plot, self.view], layout=ipw.Layout(flex_flow="row wrap")),
            ]
        )
        self.show(self._order()[0])

    def show(self, row: int, method: str | None = None) -> None:
        """Show one blend, as a click on its point does.

        Parameters
        ----------
        row : int
            In the table of blends.
        method : str, optional
            Whose masks and galaxies are shown; default the one of the list.

        Raises
        ------
        ValueError
            Where there is no such row or method.
        """
        if method is not None and method not in self.predictions:
            raise ValueError(f"method = {method!r} was given, expected one of {', '.join(self.predictions)}.")
        if not 0 <= row < len(self.blends):
            raise ValueError(f"row = {row} was given, expected a row of the blends, 0 to {len(self.blends) - 1}.")
        self.row = int(row)
        self._set(self.method, method or self.method.value)
        self._paint()
        self._light()
        self._tell()

    def snapshot(self) -> Callable[[], None]:
        """A function that shows again what is shown now."""
        row, method = self.row, self.method.value
        return lambda: self.show(row, method)

    def _make_controls(self):
        wide = {"description_width": "8em"}
        self._choices = {
            name: ipw.Dropdown(options=options, description=text, style=wide)
            for name, (text, options) in _CHOICES.items()
        }
        self.by, self.galaxy = self._choices.values()
        self.method = ipw.Dropdown(options=list(self.predictions), description="method", style=wide)
        self.buttons = {
            name: ipw.Button(description=name, icon=icon, tooltip=tip)
            for name, icon, tip in (
                ("worse", "arrow-left", "The blend on which this method is next further off"),
                ("less bad", "arrow-right", "The blend on which this method is next less far off"),
            )
        }
        for name, step in zip(self.buttons, (-1, 1), strict=True):
            act = recorded(f"'{name}' in the errors", self.message)(lambda _button, step=step: self._step(step))
            self.buttons[name].on_click(act)
        for control in self._choices.values():
            control.observe(recorded(f"choosing '{control.description}'", self.message)(self._replot), "value")
        self.method.observe(recorded("choosing 'method'", self.message)(self._other_method), "value")

    def _set(self, control, value):
        self._paused = True
        try:
            control.value = value
        finally:
            self._paused = False

    def _clicked(self, trace, points, _state):
        if points.point_inds:
            self.show(points.point_inds[0], list(self.predictions)[points.trace_index])

    def _order(self):
        return worst_rows(self.blends, self.predictions[self.method.value], self.galaxy.value)

    def _step(self, step):
        order = self._order()
        place = int(np.flatnonzero(order == self.row)[0]) + step
        self.show(order[min(max(place, 0), len(order) - 1)])

    def _other_method(self, _change):
        if not self._paused:
            self.show(self.row)

    def _replot(self, _change):
        x = abscissa(self.blends, self.by.value)
        with self.figure.batch_update():
            for trace, (name, pred) in zip(self.figure.data, self.predictions.items(), strict=False):
                y = delta_mag(self.blends, pred, self.galaxy.value)
                trace.update(x=x, y=y, name=legend_name(name, y))
            self.figure.update_xaxes(title_text=ABSCISSAE[self.by.value])
            self.figure.update_yaxes(title_text=ordinate_title(self.galaxy.value))
        self._light()

    def _light(self):
        errors = [y for trace in self.figure.data[:-1] if np.isfinite(y := trace.y[self.row])]
        self.figure.data[-1].update(x=[self.figure.data[0].x[self.row]] * len(errors), y=errors)

    def _paint(self):
        name = self.method.value
        pred, blend = self.predictions[name][self.row], self.blends[self.row : self.row + 1]
        (image,), (masks,), _ = render(self.sample, blend)
        parts, fluxes = render_parts(self.sample, blend)[0], [pred["flux_central"], pred["flux_companion"]]
        given = {key: np.asarray(pred[key]) for key in ("masks", "images") if key in pred.colnames}
        if "images" in given:
            parts, whose = np.moveaxis(given["images"], -1, 0), f"as {html.escape(name)} separates it"
            model, said = parts.sum(axis=0), "blend − both separated galaxies"
        else:
            true = [blend["flux_central"][0], blend["flux_companion"][0]]
            share = [f / t if f > 0 else 0 for f, t in zip(fluxes, true, strict=True)]
            model, whose = np.tensordot(share, parts, 1), "alone (true)"
            said = "blend − true galaxies, scaled to the measured fluxes"
        bright = float(np.percentile(image, 99.9))
        panels = {
            "blend": Panel(f"blend, outlines of the true masks: {_WORDS}", image, bright,
                           contours=[(masks[..., k], k) for k in (0, 1)]),
            "true": Panel("true masks", picture.code_of(masks), style="masks"),
            "central": Panel(f"central galaxy {whose}", parts[0], bright),
            "companion": Panel(f"companion {whose}", parts[1], bright),
            "left": Panel(f"left over: {said} (white: too little taken away)", image - model, bright, "signed"),
        }  # fmt: skip
        if "masks" in given:
            panels["masks"] = Panel(f"masks of {html.escape(name)}", picture.code_of(given["masks"]), style="masks")
        self.view.show({slot: panels[slot] for slot in _SLOTS if slot in panels})

    def _tell(self):
        row, zeropoint = self.blends[self.row], self.blends.meta["zeropoint"]
        true = [row["flux_central"], row["flux_companion"]]
        lines = [("alone (true)", _magnitudes(true, zeropoint))]
        for name, pred in self.predictions.items():
            measured = [float(np.ma.filled(pred[f"flux_{g}"][self.row], np.nan)) for g in ("central", "companion")]
            lines.append((name, _compared(measured, true, zeropoint)))
        lines.insert(0, ("", [f"{g}: id {row[g]}, {row[f'morphology_{g}']}" for g in ("central", "companion")]))
        cells = ([f"<td {_CELL}>{html.escape(text)}</td>" for text in (name, *texts)] for name, texts in lines)
        table = "".join(f"<tr>{''.join(line)}</tr>" for line in cells)
        place = int(np.flatnonzero(self._order() == self.row)[0]) + 1
        error = delta_mag(self.blends, self.predictions[self.method.value], self.galaxy.value)[self.row]
        unseen = "" if np.isfinite(error) else f": no point, it did not measure the {self.galaxy.value}"
        self.facts.value = (
            f'<div role="status" style="line-height:1.5"><b>Row {self.row}, {row["distance"]:.1f} pixels apart: rank '
            f"{place} of {len(self.blends):,} for {html.escape(self.method.value)}, the worst first</b>{unseen}"
            f"<table>{table}</table></div>"
        )

    def _repr_mimebundle_(self, **kwargs):
        static = {"application/vnd.plotly.v1+json": json.loads(self.figure.to_json())}
        return with_picture(super()._repr_mimebundle_(**kwargs), self.view.shown.values(), self._noise) | static
