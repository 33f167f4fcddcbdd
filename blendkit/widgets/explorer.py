"""Sliders that move one galaxy over another, and what SEP makes of it."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import TYPE_CHECKING

import ipywidgets as ipw
import numpy as np

from ..blending import draw_blends, make_blends, render, render_parts
from ..deblenders import LABELS, match_pixels
from ..photometry import detect
from ..samples import Sample
from . import picture
from .errors import recorded, say

if TYPE_CHECKING:
    from astropy.table import Table

_PICTURES = {
    "blend": "blend, and the objects that SEP detects (ellipses)",
    "central": "central galaxy alone",
    "companion": "companion alone",
    "masks": "true masks: " + " ".join(map(picture.swatch, ("central", "companion", "both"), (0, 1, 2))),
}
_ELLIPSE = 3  # isophotal semi-axes of SExtractor, times its a and b
_CELL = 'style="padding: 0 1.2em 0 0; text-align: left; white-space: nowrap"'
_WIDE = {"description_width": "10em"}
_WHICH_FLUX = (
    "These magnitudes are of Kron fluxes: the true one is that of the cleaned galaxy alone, SEP's is measured in the "
    "blend, neighbour masked. The lists above show the catalogue's magnitudes."
)


class BlendExplorer(ipw.VBox):
    """Put one galaxy over another with sliders and see what SEP measures.

    Parameters
    ----------
    sample : Sample
        At least two galaxies, cleaned.
    deblender : callable, optional
        Your own method beside SEP: takes blends, shape (n, ny, nx), and returns a table with `flux_central` and
        `flux_companion`, as the members of `blendkit.deblenders`.
    central, companion : int, optional
        Catalogue ids of the galaxies to start with; default two of about the median magnitude.

    Attributes
    ----------
    recipe : astropy.table.Table
        The one-row table, as `make_blends` gives it, of what is shown now.

    Raises
    ------
    ValueError
        Where the sample has a single galaxy, or the ids given are not two different ones of the sample.
    """

    def __init__(
        self,
        sample: Sample,
        deblender: Callable[[np.ndarray], Table] | None = None,
        *,
        central: int | None = None,
        companion: int | None = None,
    ):
        if len(sample) < 2:
            raise ValueError("the sample has a single galaxy, expected at least two: a blend needs a pair.")
        self.sample, self.deblender = sample, deblender
        self.recipe: Table | None = None
        self._noise = picture.noise_level(sample.sky)
        self._surprises, self._paused = 0, False
        self._make_controls(_start_pair(sample, central, companion))
        self._pictures = {name: ipw.Image(layout=ipw.Layout(width="100%")) for name in _PICTURES}
        self.answer = ipw.HTML()
        self.message = ipw.HTML()
        super().__init__(
            [self._controls(), self.message, self._panels(), self.answer],
            layout=ipw.Layout(max_width="1160px"),
        )
        for control in self._all:
            control.observe(recorded(f"moving '{control.description}'", self.message)(self._moved), "value")
        self._ask = recorded("asking your deblender", self.message)(self._ask)
        self.surprise.on_click(recorded("surprise me", self.message)(self._surprised))
        self.reset.on_click(recorded("reset", self.message)(self._was_reset))
        self._show()

    def render(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image, masks and fluxes of what is shown now, as `blendkit.render` returns them for one blend."""
        return render(self.sample, self.recipe)

    def _make_controls(self, pair):
        ny, nx = self.sample.images.shape[1:]
        options = [(_name(row), int(row["id"])) for row in self.sample.catalog]
        self.central, self.companion = (
            ipw.Dropdown(options=options, value=galaxy, description=text, tooltip=tip, style=_WIDE)
            for galaxy, text, tip in zip(
                pair,
                ("central galaxy", "companion"),
                ("The galaxy in the centre of the stamp", "The galaxy that the sliders move"),
                strict=True,
            )
        )
        self.dx, self.dy = (
            ipw.IntSlider(value, -limit, limit, description=f"shift {axis} [pixels]", tooltip=tip, style=_WIDE)
            for value, limit, axis, tip in (
                (12, nx // 2 - 1, "x", "How far the companion lies to the right of the central galaxy"),
                (6, ny // 2 - 1, "y", "How far the companion lies above the central galaxy"),
            )
        )
        self.dmag = ipw.FloatSlider(
            0, min=-3, max=3, step=0.1, readout_format="+.1f", description="magnitude offset", style=_WIDE,
            tooltip="Companion magnitude offset: its pixels, noise included, are multiplied by 10 ** (-0.4 offset)",
        )  # fmt: skip
        self.magnitude = ipw.HTML(layout=ipw.Layout(margin="0 0 0 10.5em"))
        self.surprise = ipw.Button(description="surprise me", tooltip="Two galaxies and a shift at random")
        self.reset = ipw.Button(description="reset", tooltip="Back to where the explorer began")
        self._all = (self.central, self.companion, self.dx, self.dy, self.dmag)
        self._start = [control.value for control in self._all]
        for control in self._all:
            control.layout = ipw.Layout(width="26.5em", max_width="100%")

    def _controls(self):
        buttons = ipw.HBox([self.surprise, self.reset], layout=ipw.Layout(margin="0 0 0 10.5em"))
        left = ipw.VBox([self.central, self.companion, buttons])
        right = ipw.VBox([self.dx, self.dy, self.dmag, self.magnitude])
        return ipw.HBox([left, right], layout=ipw.Layout(flex_flow="row wrap"))

    def _panels(self):
        panels = [
            ipw.VBox([image, ipw.HTML(f'<div style="line-height:1.3">{_PICTURES[name]}</div>')])
            for name, image in self._pictures.items()
        ]
        columns = "repeat(auto-fit, minmax(190px, 1fr))"
        return ipw.GridBox(panels, layout=ipw.Layout(grid_template_columns=columns, grid_gap="8px"))

    def _moved(self, _change):
        if not self._paused:
            self._show()

    def _surprised(self, _button):
        row = draw_blends(self.sample, 1, seed=self._surprises, turns=False)[0]
        self._surprises += 1
        self._set(int(row["central"]), int(row["companion"]), int(row["dx"]), int(row["dy"]), 0.0)

    def _was_reset(self, _button):
        self._set(*self._start)

    def _set(self, *values):
        self._paused = True
        try:
            for control, value in zip(self._all, values, strict=True):
                control.value = value
        finally:
            self._paused = False
        self._show()

    def _show(self):
        central, companion, dx, dy, dmag = (control.value for control in self._all)
        if central == companion:
            say(self.message, "A galaxy cannot be blended with itself: choose two different ones. "
                "The pictures still show the last pair.")  # fmt: skip
            return
        say(self.message, "")
        pair = self.sample[self.sample.index([central, companion])]
        self.recipe = make_blends(pair, central, companion, dx, dy, dmag)
        images, masks, _ = render(pair, self.recipe)
        parts = render_parts(pair, self.recipe)[0]
        alone, shown = _magnitudes([self.recipe["flux_companion"][0] * 10 ** (0.4 * dmag),
                                    self.recipe["flux_companion"][0]], self.sample.zeropoint)  # fmt: skip
        self.magnitude.value = f"positive = fainter; companion: {alone}, now {shown}"
        found, failure = _detected(images[0])
        self._paint(images[0], parts, masks[0], found)
        self._tell(images, found, failure)

    def _paint(self, image, parts, masks, found):
        bright = float(np.percentile(parts[0], 99.9))
        blend, central, companion = (picture.grey(stamp, self._noise, bright) for stamp in (image, *parts))
        if found is not None:
            blend = picture.ellipses(blend, _shapes(found, self._matched(found)))
        self._painted = [blend, central, companion, picture.mask_picture(masks)]
        for widget, file in zip(self._pictures.values(), map(picture.png, self._painted), strict=True):
            widget.value = file

    def _matched(self, found):
        return match_pixels(found, self.sample.centre)

    def _tell(self, images, found, failure):
        row, zeropoint = self.recipe[0], self.sample.zeropoint
        true = [row["flux_central"], row["flux_companion"]]
        if found is None:
            sentence, fluxes = f"SEP fails on this blend: {failure}", [np.nan, np.nan]
        else:
            sentence = f"SEP sees {_objects(len(found))}"
            fluxes = [found.kron_masked[i] if i >= 0 else np.nan for i in self._matched(found)]
        rows = [
            ("alone (true)", _magnitudes(true, zeropoint)),
            (LABELS["kron_masked"], _compared(fluxes, true, zeropoint)),
        ]
        self.answer.value = _as_html(sentence, rows)
        if self.deblender is not None:
            self._ask(images, sentence, rows, true)

    def _ask(self, images, sentence, rows, true):
        """Add the answer of the reader's own deblender; if it fails, SEP's stays and the message says why."""
        table = self.deblender(images)
        fluxes = [float(table["flux_central"][0]), float(table["flux_companion"][0])]
        answer = _method(self.deblender, table), _compared(fluxes, true, self.sample.zeropoint)
        self.answer.value = _as_html(sentence, [*rows, answer])

    def _repr_mimebundle_(self, **kwargs):
        return picture.with_picture(super()._repr_mimebundle_(**kwargs), self._painted)


def _start_pair(sample, central, companion) -> tuple[int, int]:
    """The ids given; for one that is not, a galaxy of medium brightness."""
    given = [i for i in (central, companion) if i is not None]
    if given:
        sample.index(given)
    if central is not None and central == companion:
        raise ValueError(f"galaxy {central} was given as both central and companion: choose two different ones.")
    by_light = [int(i) for i in sample.catalog["id"][np.argsort(sample.catalog["mag"], kind="stable")]]
    third = len(by_light) // 3
    pair = by_light[third], by_light[max(len(by_light) // 2, third + 1)]
    if central is None:
        central = next(i for i in pair if i != companion)
    if companion is None:
        companion = next(i for i in reversed(pair) if i != central)
    return int(central), int(companion)


def _name(row) -> str:
    return f"id {row['id']} · {row['morphology']} · {row['mag']:.1f} mag"


def _method(deblender, table) -> str:
    return table.meta.get("method") or getattr(deblender, "__name__", type(deblender).__name__)


def _detected(image):
    """SEP's detections, or None and why there are none."""
    try:
        return detect(image), ""
    except Exception as error:  # SEP raises bare Exceptions; the reader is told
        return None, str(error)


def _shapes(found, matched):
    colours = dict(zip(matched, (picture.SKY_BLUE, picture.ORANGE), strict=True))
    for i in range(len(found)):
        a, b = _ELLIPSE * found.a[i], _ELLIPSE * found.b[i]
        yield found.x[i], found.y[i], a, b, found.theta[i], colours.get(i, picture.WHITE)


def _objects(n: int) -> str:
    if n == 0:
        return "nothing."
    if n == 1:
        return "one object: for it, the two galaxies are one (or one of them is too faint)."
    if n == 2:
        return "two objects. The one nearest the centre counts as the central galaxy."
    return f"{n} objects, more than there are. It takes the one nearest the centre and the brightest other one."


def _magnitudes(fluxes, zeropoint):
    return [f"{zeropoint - 2.5 * np.log10(f):.2f} mag" if f > 0 else "not measured" for f in fluxes]


def _compared(fluxes, true, zeropoint):
    texts = []
    for text, flux, truth in zip(_magnitudes(fluxes, zeropoint), fluxes, true, strict=True):
        if flux > 0 and truth > 0:
            off = -2.5 * np.log10(flux / truth)
            percent = 100 * (flux / truth - 1)
            verdict = "right within 2 %" if abs(percent) < 2 else f"{percent:+.0f} % light"
            text += f", Δmag = {off:+.2f} ({verdict})".replace("-", "−")
        texts.append(text)
    return texts


def _as_html(sentence, rows):
    head = "".join(f'<th scope="col" {_CELL}>{text}</th>' for text in ("", "central", "companion"))
    lines = "".join(
        f'<tr><th scope="row" {_CELL}>{html.escape(name)}</th>'
        + "".join(f"<td {_CELL}>{text}</td>" for text in texts)
        + "</tr>"
        for name, texts in rows
    )
    return (
        f'<div role="status" style="line-height: 1.5"><b>{html.escape(sentence)}</b>'
        f"<table><tr>{head}</tr>{lines}</table>{_WHICH_FLUX}</div>"
    )
