"""The eye's part of the cleaning: walk through stamps, accept or reject each (paper section 2.1)."""

import html
import os
import zlib
from functools import partial
from pathlib import Path

import anywidget
import ipywidgets as ipw
import numpy as np
import traitlets
from astropy.table import Table

from ..data.check import require
from ..data.cleaning import read_decisions, remove_neighbours
from ..data.remote import replacing
from ..data.sample import Sample
from ..data.sky import empty_pixels
from ..figures.style import sky_noise
from .view import HERE, Board, Panel, StampsView, row, shown_errors, swatch

_DONE = {"accept": "accepted", "reject": "rejected"}
_KEYS = {"a": "accept", "r": "reject", "ArrowLeft": "back", "ArrowRight": "next"}
_BUTTONS = {
    "back": ("", "arrow-left", "The stamp before, decision unchanged (left arrow)"),
    "accept": ("success", "check", "Keep this stamp, whatever the automatic checks say (a)"),
    "reject": ("danger", "times", "Drop this stamp (r)"),
    "next": ("", "arrow-right", "The next stamp, decision unchanged (right arrow)"),
}
_OBSERVED = f"as observed: {swatch('this galaxy', 'central')} {swatch('neighbours', 'companion')}"
_HELP = "Keys (click the picture first): a accept, r reject, ← back, → next. To start over, delete"


class _Keys(anywidget.AnyWidget):
    _esm = HERE / "keys.js"
    pressable, hint = traitlets.List(list(_KEYS)).tag(sync=True), traitlets.Unicode().tag(sync=True)


class StampInspector(Board):
    """Walk through stamps and accept or reject each, by button or key; every decision is saved at once.

    Opened again with the same file it goes on at the first stamp without a decision; `decisions` are the file's.

    Parameters
    ----------
    sample : Sample; stamps before cleaning
    path : path
        CSV with the columns `id`, `decision`, read when it is there; give it to ``bk.clean(sample, decisions=path)``.
    ids : sequence of int, optional
        Catalogue ids of the stamps to look at, in this order; default all.
    report : astropy.table.Table, optional
        ``bk.clean(sample).report``: what the automatic checks found is shown beside each stamp.
    """

    def __init__(self, sample: Sample, path: str | os.PathLike, ids=None, report: Table | None = None):
        self.sample, self.path = sample, Path(path)
        self.ids = [int(i) for i in (sample.catalog["id"] if ids is None else ids)]
        require(self.ids, "ids names no stamp, expected at least one catalogue id: leave it out to see all.")
        self._rows = sample.index(self.ids).tolist()
        self._flags = {} if report is None else {int(r["id"]): str(r["flags"]) for r in report}
        self.decisions = read_decisions(self.path) if self.path.exists() else {}
        undecided = (k for k, i in enumerate(self.ids) if i not in self.decisions)
        self.position = next(undecided, len(self.ids) - 1)
        self.progress, self.facts = ipw.HTML(), ipw.HTML()
        self.view = StampsView(sigma=sky_noise(sample), layout={"max_width": "660px"})
        self.keys_widget, self.buttons = _Keys(hint=f"{_HELP} {self.path.name} and run this cell again."), {}
        press = shown_errors("a key in the inspector", self.message)(self._act)
        self.keys_widget.on_msg(lambda _widget, content, _buffers: press(_KEYS[content["key"]]))
        for name, (style, icon, tip) in _BUTTONS.items():
            button = ipw.Button(description=name, button_style=style, icon=icon, tooltip=tip)
            self.buttons[name] = self.on(button, partial(self._act, name), f"'{name}' in the inspector")
        parts = self.progress, self.view, self.facts, row(*self.buttons.values()), self.keys_widget, self.message
        super().__init__(parts, layout={"max_width": "860px"})
        self.add_class("bk-keys-box")
        self._show()

    @property
    def current(self) -> int:
        """Id of the stamp shown."""
        return self.ids[self.position]

    def _act(self, name):
        if name in _DONE:
            self.decisions = self.decisions | {self.current: name}
            lines = ["id,decision", *(f"{i},{decision}" for i, decision in sorted(self.decisions.items()))]
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.path) as draft:
                draft.write_text("\n".join([*lines, ""]))
        self.position = min(max(self.position + (-1 if name == "back" else 1), 0), len(self.ids) - 1)
        self._show()

    def _show(self):
        place = self._rows[self.position]
        image, segmap, galaxy = self.sample.images[place], self.sample.segmaps[place], self.sample.catalog[place]
        cleaned, own = image, segmap[self.sample.centre]
        if empty_pixels(segmap).any():  # as `clean` leaves it with its default seed
            rng = np.random.default_rng((0, zlib.crc32(str(self.current).encode())))
            cleaned = remove_neighbours(image, segmap, rng)[0]
        labels = sorted(np.unique(segmap[segmap > 0]), key=lambda label: label != own)  # neighbours lie on top
        outlines, white = [(segmap == label, int(label != own)) for label in labels], float(np.percentile(image, 99.9))
        before = Panel(_OBSERVED, image, white, outlines=outlines)
        self.view.show({"before": before, "after": Panel("neighbours replaced by sky", cleaned, white)})
        decided = sum(i in self.decisions for i in self.ids)
        ready = f". All are decided: {html.escape(str(self.path))} is ready for bk.clean(sample, decisions=...)."
        text = f"<b>{self.position + 1} of {len(self.ids)}</b>, {decided} decided"
        self.progress.value = f'<div role="status">{text}{ready if decided == len(self.ids) else ""}</div>'
        size = f"{galaxy['mag']:.2f} mag · r_eff {galaxy['r_eff']:.1f} pixels"
        checks = f" · checks: {self._flags.get(self.current) or 'nothing found'}" if self._flags else ""
        facts = html.escape(f"id {self.current} · {galaxy['morphology']} · {size}{checks}")
        self.facts.value = f"{facts} · <b>{_DONE.get(self.decisions.get(self.current), 'not decided yet')}</b>"
