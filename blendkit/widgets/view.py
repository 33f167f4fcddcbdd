"""The pictures that `blend_view.js` draws in the browser, and what else all widgets share: Python's side of them."""

import contextlib
import html
import logging
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anywidget
import IPython
import ipywidgets as ipw
import matplotlib
import numpy as np
from IPython.core.pylabtools import print_figure
from ipywidgets.widgets.widget import _instances
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.patheffects import withStroke
from traitlets import Bool, Bytes, Dict, Float, Instance, Int, List, Unicode

from ..figures.style import COLOURS, draw_outline, mask_picture, show_stamp, style

HERE = Path(__file__).parent
JS, CSS = HERE / "blend_view.js", HERE / "blend_view.css"
WORDS = tomllib.loads((HERE / "words.toml").read_text("utf-8"))
CAPTIONS = "application/vnd.blendkit.captions+json"  # under it an output keeps the captions of its picture
OWNERS = (COLOURS["central"], COLOURS["companion"], "#ffffff")  # of ellipses and outlines; the last: nobody
THUMB = 32  # pixels of a thumbnail, along either axis
LOG = logging.getLogger("blendkit.widgets")
LOG.addHandler(logging.NullHandler())  # readers see the sentence in the widget


def say(message, text):
    """Show a sentence in an `ipywidgets.HTML` so that screen readers speak it; an empty one takes it away."""
    style = "line-height: 1.5; border-left: 4px solid #d55e00; padding-left: 0.6em"
    message.value = f'<div role="alert" style="{style}">{html.escape(text)}</div>' if text else ""


@contextlib.contextmanager
def shown_errors(what, message):
    """Decorator for callbacks: an exception is said in the widget's message line, until the next call, and logged."""
    say(message, "")
    try:
        yield
    except Exception as error:
        LOG.exception(what)
        say(message, f"Something went wrong ({what}): {error or type(error).__name__}")


def status(text):
    """HTML that screen readers speak when it changes."""
    return f'<div role="status" style="line-height: 1.5">{text}</div>'


def row(*widgets):
    """Widgets side by side; on a narrow screen below one another."""
    return ipw.HBox(widgets, layout={"flex_flow": "row wrap"})


def chart(rows, step, right, ticks, label):
    """An SVG picture: rows of a name, shapes round y = 0 and a text, over an axis; `ticks` are x, text, line width."""
    parts, bottom = [], step * len(rows) + 14
    for k, (name, shapes, said) in enumerate(rows, 1):
        texts = f'<text y="5">{html.escape(name)}</text><text x="{right}" y="5">{said}</text>'
        parts.append(f'<g transform="translate(0, {step * k})">{shapes}{texts}</g>')
    for x, text, width in ticks:
        parts.append(f'<line x1="{x}" x2="{x}" y1="12" y2="{bottom}" stroke="currentColor" stroke-width="{width}"/>')
        parts.append(f'<text x="{x - 8}" y="{bottom + 16}">{text}</text>')
    look = 'style="width: 880px; max-width: 100%; font: 14px sans-serif; fill: currentColor; display: block"'
    about = f'role="img" aria-label="{label}" viewBox="0 0 880 {bottom + 22}" {look}'
    return f"<svg {about}>{''.join(parts)}</svg>"


def place():
    """The cell that runs, and which run of it; None where the notebook does not tell."""
    parent = IPython.get_ipython().kernel.get_parent()
    return parent.get("metadata", {}).get("cellId"), parent.get("header", {}).get("msg_id")


def free(_result):
    """Close what earlier runs of the cell that has run have shown: the notebook took their output away."""
    cell, run = place()
    for widget in list(_instances.values()):
        if cell and getattr(widget, "cell", None) == cell and widget.run != run:
            widget.close()


class Freed(ipw.DOMWidget):
    """A widget that takes its parts with it when it closes, as it does when the cell that shows it runs again."""

    cell = run = None  # that showed it last

    def close(self):
        """Close it, and the widgets that it is made of."""
        parts = [self]
        for part in parts:  # which become more
            if isinstance(part, list | tuple):
                parts.extend(part)
            elif isinstance(part, ipw.Widget) and part.comm is not None:
                parts.extend(part._trait_values.values())
                ipw.Widget.close(part)

    def _repr_mimebundle_(self, **kwargs):
        if hasattr(shell := IPython.get_ipython(), "kernel"):
            self.cell, self.run = place()
            shell.events.register("post_run_cell", free)
        return super()._repr_mimebundle_(**kwargs)


class Board(Freed, ipw.VBox):
    """Controls round a `view`, a line for their callbacks' errors, and a picture for notebooks without a kernel."""

    message, links = Instance(ipw.HTML, ()), List()
    paused = False

    def on(self, control, act, what=""):
        """The control; a click on it or a change calls `act`, whose errors name it by `what`."""
        said = shown_errors(what or f"'{control.description}'", self.message)(act)
        if isinstance(control, ipw.Button):
            control.on_click(lambda _button: said())
        else:
            control.observe(lambda _change: None if self.paused else said(), "value")
        return control

    def buttons_of(self, looks, act, where):
        """Buttons by name, whose click calls `act` with it."""
        named = {name: ipw.Button(description=name, **look) for name, look in looks.items()}
        return {name: self.on(button, partial(act, name), f"'{name}' {where}") for name, button in named.items()}

    @contextlib.contextmanager
    def quietly(self):
        """Controls that are set here call nobody."""
        self.paused = True
        try:
            yield
        finally:
            self.paused = False

    def panels(self):
        """What the picture shows."""
        return self.view.shown.values()

    def _repr_mimebundle_(self, **kwargs):
        panels = self.panels()
        with style(), matplotlib.rc_context({"image.cmap": "gray"}):
            fig = Figure(figsize=(2.6 * len(panels), 2.6), layout="constrained")
            for ax, panel in zip(fig.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
                panel.draw(ax, self.view.sigma)
            picture = print_figure(fig, bbox_inches=None, base64=True)
        captions = [panel.caption for panel in panels]
        return super()._repr_mimebundle_(**kwargs) | {"image/png": picture, CAPTIONS: captions}


class View(Freed, anywidget.AnyWidget):
    """Something that `blend_view.js` draws, chosen by its `kind`."""

    _esm, _css = JS.read_text("utf-8"), CSS.read_text("utf-8")  # paths would keep every view that there was


class BlendView(View):
    """Two stamps, one of which can be dragged over the other; JavaScript shifts, scales, adds and paints."""

    kind = Unicode("blend").tag(sync=True)  # the first traits are sent once for a pair, the others follow the sliders
    stamps, sky, segments, field = (Bytes().tag(sync=True) for _ in range(4))  # segments uint8, others float32
    shape, limits, turns = (List(Int()).tag(sync=True) for _ in range(3))  # ny, nx; largest |dx|, |dy|; orientations
    pair = List(Unicode()).tag(sync=True)  # catalogue ids, which may be too long for numbers
    mags, r_eff = (List(Float()).tag(sync=True) for _ in range(2))
    sigma, white = (Float().tag(sync=True) for _ in range(2))  # sky noise, and what is shown white, e-/s
    called = Unicode("sample").tag(sync=True)  # the sample's name in the line that is copied

    dx, dy, turn_central, turn_companion = (Int().tag(sync=True) for _ in range(4))  # pixels; which of the turns
    dmag, extra_noise, stretch = (Float().tag(sync=True) for _ in range(3))  # mag; sigma; decades that become linear
    hide = Bool().tag(sync=True)
    found = Dict().tag(sync=True)  # Python's answer: at, ellipses, waiting; masks, masks_of


class Picker(View):
    """A strip of thumbnails of some `rows` of a list to choose from; `index` is the row chosen, shown here or not."""

    kind, label = Unicode("picker").tag(sync=True), Unicode().tag(sync=True)
    names, thumbs, rows = List(Unicode()).tag(sync=True), Bytes().tag(sync=True), List(Int()).tag(sync=True)
    index = Int().tag(sync=True)


@dataclass(frozen=True)
class Panel:
    """One picture of a `StampsView`."""

    caption: str  # HTML
    pixels: np.ndarray  # (ny, nx) in e-/s, or bool (ny, nx, k)
    white: float = 1.0
    style: str = "grey"  # from dark sky to `white`; "signed" with zero as mid-grey; or "masks"
    outlines: Sequence[tuple[np.ndarray, int]] = ()  # mask, number of a colour
    ellipses: Sequence[tuple] = ()  # x, y, a, b, theta, number of a colour

    def draw(self, ax, noise):
        """Draw it without a browser."""
        if self.style == "masks":
            return show_stamp(ax, mask_picture(self.pixels))
        top = np.arcsinh(max(self.white / noise, 2) / 2)
        low = -top if self.style == "signed" else -0.5
        show_stamp(ax, np.arcsinh(self.pixels / (2 * noise)), vmin=low, vmax=top)
        for mask, owner in self.outlines:
            draw_outline(ax, mask, OWNERS[owner])
        for x, y, a, b, theta, owner in self.ellipses:
            shape = Ellipse((x, y), 2 * a, 2 * b, angle=np.degrees(theta), fill=False, linewidth=2)
            ax.add_patch(shape).set_edgecolor(OWNERS[owner])
        for line in (*ax.collections, *ax.patches):
            line.set_path_effects([withStroke(linewidth=3.5, foreground="white")])


class StampsView(View):
    """Pictures side by side; `sigma` is the sky noise, e-/s."""

    kind, sigma = Unicode("stamps").tag(sync=True), Float().tag(sync=True)
    shape, panels = List(Int()).tag(sync=True), List(Dict()).tag(sync=True)
    clicked = List(Float(), None, allow_none=True).tag(sync=True)  # x, y in pixels; None: clicks do nothing

    def show(self, panels):
        """Show other pictures, by name."""
        self.shown, sent = panels, []
        for name, panel in panels.items():
            pixels = np.asarray(panel.pixels, np.float32)
            if panel.style == "masks":
                pixels = panel.pixels[..., 0] + 2 * panel.pixels[..., 1:].any(axis=-1).astype(np.uint8)
            outlines = [{"mask": np.asarray(mask, np.uint8).tobytes(), "owner": k} for mask, k in panel.outlines]
            about = {"name": name, "caption": panel.caption, "white": float(panel.white), "style": panel.style}
            sent.append(about | {"pixels": pixels.tobytes(), "contours": outlines})
        with self.hold_sync():
            self.shape, self.panels = list(pixels.shape[:2]), sent


def swatch(text, member):
    """HTML of a legend's word for what is drawn in one of the figures' colours."""
    look = "background: #1a1a1a; color: #eee; padding: 0 .2em; white-space: nowrap"
    return f'<span style="{look}"><span style="color: {COLOURS[member]}">■</span> {text}</span>'


LEGEND = " ".join(swatch(text, member) for text, member in zip(("central", "companion", "both"), COLOURS, strict=False))


def named(sample):
    """What each galaxy is called in lists, and its id."""
    return [(f"id {row['id']} · {row['morphology']}", int(row["id"])) for row in sample.catalog]


def thumbnails(images, noise):
    """Small pictures of stamps (n, ny, nx), each stretched to its own brightest pixels: uint8 (n, THUMB, THUMB)."""
    ny, nx = images.shape[1:]
    side = min(ny, nx, 2 * THUMB)
    rows = np.arange(THUMB) * side // THUMB
    small = images[:, ny // 2 - side // 2 :, nx // 2 - side // 2 :][:, rows][:, :, rows]
    white = np.percentile(small, 99.5, axis=(1, 2), keepdims=True)
    top = np.arcsinh(np.maximum(white / noise, 2) / 2)
    return (255 * ((np.arcsinh(small / (2 * noise)) + 0.5) / (top + 0.5)).clip(0, 1)).astype(np.uint8).tobytes()


def noise_field(shape):
    """Normal numbers for the extra noise, float32, always the same: what one sees does not flicker."""
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def spread(sample, ids, n):
    """Rows of a sample, brightest first: the galaxies with these ids and others, `n` in all, spread in magnitude."""
    order = np.argsort(sample.catalog["mag"], kind="stable")
    given = np.isin(order, sample.index(ids))
    others = np.flatnonzero(~given)
    given[others[np.linspace(0, len(others) - 1, min(n - given.sum(), len(others))).astype(int)]] = True
    return order[given]
