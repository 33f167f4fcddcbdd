"""The pictures that `blend_view.js` draws in the browser: Python's side of them."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import anywidget
import numpy as np
import traitlets

from . import picture

if TYPE_CHECKING:
    from astropy.table import Row

HERE = Path(__file__).parent
JS, CSS = HERE / "blend_view.js", HERE / "blend_view.css"
MIME = "application/vnd.blendkit.explorer+json"
"""Under which an explorer's output keeps what a page without a kernel needs."""
CAPTIONS = "application/vnd.blendkit.captions+json"
"""Under which an output keeps the captions of its picture."""
LINKED = ("dx", "dy", "dmag", "extra_noise", "turn_central", "turn_companion", "stretch", "hide")
"""Traits of `BlendView` that follow a control of the same name in the browser."""
THUMB = 32
"""Pixels of a thumbnail, along either axis."""


class _View(anywidget.AnyWidget):
    _esm, _css = JS, CSS


class BlendView(_View):
    """Two stamps, one of which can be dragged over the other; JavaScript shifts, scales, adds and paints.

    The first group of traits belongs to the pair of galaxies and is sent once for each, the second follows the
    sliders, `found` is what Python answers.
    """

    kind = traitlets.Unicode("blend").tag(sync=True)
    shape = traitlets.List(traitlets.Int()).tag(sync=True)  # ny, nx
    stamps = traitlets.Bytes().tag(sync=True)  # float32 (2, ny, nx), e-/s: central, companion
    sky = traitlets.Bytes().tag(sync=True)  # what fills the places they leave empty
    segments = traitlets.Bytes().tag(sync=True)  # uint8 (2, ny, nx): one where the segment is
    field = traitlets.Bytes().tag(sync=True)  # float32 (ny, nx): normal numbers for the extra noise
    pair = traitlets.List(traitlets.Unicode()).tag(sync=True)  # catalogue ids, which may be too long for numbers
    mags = traitlets.List(traitlets.Float()).tag(sync=True)
    r_eff = traitlets.List(traitlets.Float()).tag(sync=True)
    limits = traitlets.List(traitlets.Int()).tag(sync=True)  # largest |dx|, |dy|
    called = traitlets.Unicode("sample").tag(sync=True)  # the sample's name in the line that is copied
    turns = traitlets.List(traitlets.Int()).tag(sync=True)  # the orientations that this shape allows
    sigma = traitlets.Float().tag(sync=True)  # sky noise, e-/s
    white = traitlets.Float().tag(sync=True)  # what is shown white, e-/s

    dx = traitlets.Int().tag(sync=True)
    dy = traitlets.Int().tag(sync=True)
    dmag = traitlets.Float().tag(sync=True)
    turn_central = traitlets.Int().tag(sync=True)  # which of the turns
    turn_companion = traitlets.Int().tag(sync=True)
    extra_noise = traitlets.Float().tag(sync=True)  # in units of sigma
    stretch = traitlets.Float().tag(sync=True)  # decades of light that become linear
    hide = traitlets.Bool().tag(sync=True)

    found = traitlets.Dict().tag(sync=True)  # at, ellipses, waiting; masks, masks_of


@dataclasses.dataclass(frozen=True)
class Panel:
    """One picture of a `StampsView`.

    Attributes
    ----------
    caption : str
        HTML.
    pixels : array, shape (ny, nx)
        Light in e-/s; for the style "masks" 0 to 3: none, central, companion, both.
    white : float
        What is shown white, e-/s.
    style : {"grey", "signed", "masks"}
        "signed" shows zero as mid-grey.
    contours : sequence of (mask, owner)
        Masks, bool of shape (ny, nx), drawn as outlines in the colour of the central galaxy (0) or the companion (1).
    ellipses : iterable of (x, y, a, b, theta, which)
        As `picture.ellipses`, with the number of a colour.
    """

    caption: str
    pixels: np.ndarray
    white: float = 1.0
    style: str = "grey"
    contours: Sequence[tuple[np.ndarray, int]] = ()
    ellipses: Sequence[tuple] = ()

    def sent(self, name: str) -> dict:
        """What the browser needs."""
        dtype = np.uint8 if self.style == "masks" else np.float32
        outlines = [{"mask": np.asarray(mask, np.uint8).tobytes(), "owner": owner} for mask, owner in self.contours]
        return {
            "name": name, "caption": self.caption, "pixels": np.ascontiguousarray(self.pixels, dtype).tobytes(),
            "white": float(self.white), "style": self.style, "contours": outlines,
        }  # fmt: skip

    def painted(self, noise: float) -> np.ndarray:
        """The same picture without a browser: uint8, shape (height, width, 3)."""
        if self.style == "masks":
            painted = picture.code_picture(self.pixels)
        else:
            levels = picture.signed if self.style == "signed" else picture.grey
            painted = picture.in_colour(levels(self.pixels, noise, self.white))
        for mask, owner in self.contours:
            picture.outline(painted, np.asarray(mask, bool), picture.COLOURS[owner])
        shapes = [(*shape, picture.COLOURS[which]) for *shape, which in self.ellipses]
        return picture.ellipses(painted, shapes) if shapes else painted


class StampsView(_View):
    """Pictures side by side.

    Parameters
    ----------
    sigma : float
        Sky noise, e-/s.
    """

    kind = traitlets.Unicode("stamps").tag(sync=True)
    shape = traitlets.List(traitlets.Int()).tag(sync=True)
    sigma = traitlets.Float().tag(sync=True)
    panels = traitlets.List(traitlets.Dict()).tag(sync=True)

    def show(self, panels: dict[str, Panel]) -> None:
        """Show other pictures, by name."""
        self.shown = panels
        with self.hold_sync():
            self.shape = list(next(iter(panels.values())).pixels.shape)
            self.panels = [panel.sent(name) for name, panel in panels.items()]


class Picker(_View):
    """A strip of thumbnails to choose from; `index` is -1 where the choice is none of them."""

    kind = traitlets.Unicode("picker").tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    size = traitlets.Int(THUMB).tag(sync=True)
    thumbs = traitlets.Bytes().tag(sync=True)
    index = traitlets.Int(-1).tag(sync=True)


def with_picture(bundle: dict, panels: Iterable[Panel], noise: float) -> dict:
    """What a live widget displays, and its pictures in a row for pages without a kernel.

    Parameters
    ----------
    bundle : dict
        By MIME type.
    panels : iterable of Panel
    noise : float
        Sky noise, e-/s.

    Returns
    -------
    dict
    """
    panels = list(panels)
    drawn = picture.png(picture.side_by_side([panel.painted(noise) for panel in panels]))
    return bundle | {"image/png": base64.b64encode(drawn).decode(), CAPTIONS: [panel.caption for panel in panels]}


def name_of(row: Row, hidden: bool = False) -> str:
    """What a galaxy is called in lists: id, type and, unless that is hidden, magnitude."""
    return f"id {row['id']} · {row['morphology']}" + ("" if hidden else f" · {row['mag']:.1f} mag")


def thumbnails(images: np.ndarray, noise: float) -> bytes:
    """Small pictures, each stretched to its own brightest pixels.

    Parameters
    ----------
    images : array of float, shape (n, ny, nx), e-/s
    noise : float
        Sky noise, e-/s.

    Returns
    -------
    bytes
        uint8, shape (n, THUMB, THUMB).
    """
    ny, nx = images.shape[1:]
    side = min(ny, nx, 2 * THUMB)
    top, left = ny // 2 - side // 2, nx // 2 - side // 2
    rows = (np.arange(THUMB) * side) // THUMB
    small = images[:, top:, left:][:, rows][:, :, rows]
    painted = [picture.grey(stamp, noise, float(np.percentile(stamp, 99.5)), scale=1)[::-1] for stamp in small]
    return np.stack(painted).astype(np.uint8).tobytes()


def noise_field(shape: tuple[int, int]) -> np.ndarray:
    """Normal numbers for the extra noise, float32, always the same: what one sees does not flicker."""
    return np.random.default_rng(0).standard_normal(shape, np.float32)
