"""The eye's part of the cleaning: walk through stamps, accept or reject each (paper section 2.1)."""

from __future__ import annotations

import csv
import html
import os
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import anywidget
import ipywidgets as ipw
import numpy as np
import traitlets

from ..cleaning import read_decisions, remove_neighbours
from ..samples import Sample
from ..sky import empty_pixels
from . import picture
from .errors import recorded
from .view import Panel, StampsView, with_picture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from astropy.table import Table

_DONE = {"accept": "accepted", "reject": "rejected"}
_KEYS = {"a": "accept", "r": "reject", "ArrowLeft": "back", "ArrowRight": "next"}
_OBSERVED = f"as observed: {picture.swatch('this galaxy', 0)} {picture.swatch('neighbours', 1)}"
_HELP = (
    "Keys (click the picture first): a accept, r reject, ← back, → next. "
    "To start over, delete {} and run this cell again."
)


class _Keys(anywidget.AnyWidget):
    _esm = Path(__file__).parent / "keys.js"
    pressable = traitlets.List(list(_KEYS)).tag(sync=True)
    hint = traitlets.Unicode().tag(sync=True)


class StampInspector(ipw.VBox):
    """Walk through stamps and accept or reject each, by button or key; every decision is saved at once.

    Opened again with the same file it goes on at the first stamp without a decision.

    Parameters
    ----------
    sample : Sample
        Stamps before cleaning.
    path : path
        CSV with the columns `id`, `decision`, read when it is there; give it to ``bk.clean(sample, decisions=path)``.
    ids : sequence of int, optional
        Catalogue ids of the stamps to look at, in this order; default all.
    report : astropy.table.Table, optional
        ``bk.clean(sample).report``: what the automatic checks found is shown beside each stamp.

    Attributes
    ----------
    decisions : dict of int to str
        "accept" or "reject" by id: what the file holds.

    Raises
    ------
    ValueError
        Where an id is not in the sample, none is given, or the file is not one of decisions.
    """

    def __init__(
        self,
        sample: Sample,
        path: str | os.PathLike,
        ids: Iterable[int] | None = None,
        report: Table | None = None,
    ):
        self.sample, self.path = sample, Path(path)
        self.ids = [int(i) for i in (sample.catalog["id"] if ids is None else ids)]
        if not self.ids:
            raise ValueError("ids names no stamp, expected at least one catalogue id: leave it out to see all.")
        self._rows = sample.index(self.ids).tolist()
        self._flags = {} if report is None else {int(r["id"]): str(r["flags"]) for r in report}
        self._noise = picture.noise_level(sample.sky)
        self.decisions = read_decisions(self.path) if self.path.exists() else {}
        self.position = self._first_open()
        self._make_parts()
        super().__init__(
            [self.progress, self.view, self.facts, self._buttons(), self.keys_widget, self.message],
            layout=ipw.Layout(max_width="860px"),
        )
        self.add_class("bk-keys-box")
        self._show()

    @property
    def current(self) -> int:
        """Id of the stamp shown."""
        return self.ids[self.position]

    def snapshot(self) -> Callable[[], None]:
        """A function that puts file, decisions and position back as they are now."""
        content = self.path.read_bytes() if self.path.exists() else None
        decisions, position = dict(self.decisions), self.position

        def restore():
            self.decisions, self.position = dict(decisions), position
            if content is not None:
                self.path.write_bytes(content)
            else:
                self.path.unlink(missing_ok=True)
            self._show()

        return restore

    def _make_parts(self):
        self.progress, self.facts, self.message = ipw.HTML(), ipw.HTML(), ipw.HTML()
        self.view = StampsView(sigma=self._noise, layout=ipw.Layout(max_width="660px"))
        self.keys_widget = _Keys(hint=_HELP.format(self.path.name))
        self.keys_widget.on_msg(recorded("a key in the inspector", self.message)(self._pressed))
        self.buttons = {}
        for name, style, icon, tip in (
            ("back", "", "arrow-left", "The stamp before, decision unchanged (left arrow)"),
            ("accept", "success", "check", "Keep this stamp, whatever the automatic checks say (a)"),
            ("reject", "danger", "times", "Drop this stamp (r)"),
            ("next", "", "arrow-right", "The next stamp, decision unchanged (right arrow)"),
        ):
            button = ipw.Button(description=name, button_style=style, icon=icon, tooltip=tip)
            button.on_click(recorded(f"'{name}' in the inspector", self.message)(lambda b: self._act(b.description)))
            self.buttons[name] = button

    def _buttons(self):
        return ipw.HBox(list(self.buttons.values()), layout=ipw.Layout(flex_flow="row wrap"))

    def _first_open(self):
        open_ = (k for k, i in enumerate(self.ids) if i not in self.decisions)
        return next(open_, len(self.ids) - 1)

    def _pressed(self, _widget, content, _buffers):
        self._act(_KEYS[content["key"]])

    def _act(self, name):
        if name in _DONE:
            self.decisions = self.decisions | {self.current: name}
            self._save()
        self.position = min(max(self.position + (-1 if name == "back" else 1), 0), len(self.ids) - 1)
        self._show()

    def _save(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=self.path.parent, prefix=".deciding-")
        with open(handle, "w", newline="") as file:
            csv.writer(file).writerows([("id", "decision"), *sorted(self.decisions.items())])
        os.replace(draft, self.path)

    def _show(self):
        row = self._rows[self.position]
        image, segmap = self.sample.images[row], self.sample.segmaps[row]
        cleaned = _cleaned(image, segmap, self.current)
        bright = float(np.percentile(image, 99.9))
        y, x = self.sample.centre
        outlines = [(segmap == label, int(label != segmap[y, x])) for label in np.unique(segmap[segmap > 0])]
        self.view.show({
            "before": Panel(_OBSERVED, image, bright, contours=outlines),
            "after": Panel("neighbours replaced by sky", cleaned, bright),
        })  # fmt: skip
        self.progress.value, self.facts.value = self._progress(), self._facts(row)

    def _repr_mimebundle_(self, **kwargs):
        return with_picture(super()._repr_mimebundle_(**kwargs), self.view.shown.values(), self.view.sigma)

    def _progress(self):
        decided = sum(i in self.decisions for i in self.ids)
        text = f"<b>{self.position + 1} of {len(self.ids)}</b>, {decided} decided"
        if decided == len(self.ids):
            text += f". All are decided: {html.escape(str(self.path))} is ready for bk.clean(sample, decisions=...)."
        return f'<div role="status">{text}</div>'

    def _facts(self, row):
        galaxy = self.sample.catalog[row]
        facts = [f"id {self.current}", str(galaxy["morphology"]), f"{galaxy['mag']:.2f} mag",
                 f"r_eff {galaxy['r_eff']:.1f} pixels"]  # fmt: skip
        if self._flags:
            facts.append("checks: " + (self._flags.get(self.current) or "nothing found"))
        facts = [html.escape(fact) for fact in facts]
        facts.append(f"<b>{_DONE.get(self.decisions.get(self.current), 'not decided yet')}</b>")
        return " · ".join(facts)


def _cleaned(image, segmap, galaxy):
    """The stamp as `clean` leaves it with its default seed; unchanged where it has no sky to take."""
    if not empty_pixels(segmap).any():
        return image
    return remove_neighbours(image, segmap, np.random.default_rng((0, zlib.crc32(str(galaxy).encode()))))[0]
