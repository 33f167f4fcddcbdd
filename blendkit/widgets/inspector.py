"""The eye's part of the cleaning: walk through stamps, accept or reject each (paper section 2.1)."""

import html
import zlib
from pathlib import Path

import anywidget
import ipywidgets as ipw
import numpy as np
import traitlets
from astropy.table import Table

from ..data.check import PathLike, require
from ..data.cleaning import read_decisions, remove_neighbours
from ..data.remote import drafted
from ..data.sample import Sample
from ..data.sky import empty_pixels
from ..figures.style import sky_noise
from .view import HERE, WORDS, Board, Panel, StampsView, row, say, shown_errors, status, swatch

_KEYS = {"a": "accept", "r": "reject", "ArrowLeft": "back", "ArrowRight": "next"}
_WORDS = WORDS["inspector"]
_OBSERVED = f"as observed: {swatch('this galaxy', 'central')} {swatch('neighbours', 'companion')}"


class _Keys(anywidget.AnyWidget):
    _esm = (HERE / "keys.js").read_text("utf-8")
    pressable, hint = traitlets.List(list(_KEYS)).tag(sync=True), traitlets.Unicode().tag(sync=True)


class StampInspector(Board):
    """Walk through stamps and accept or reject each, by button or key; every decision is saved at once.

    Opened again with the same file it goes on at the first stamp without a decision; `decisions` are the file's,
    `current` is the id of the stamp shown.

    Parameters
    ----------
    sample, ids : Sample before cleaning; sequence of int, optional, which stamps to look at, in this order
    path : path; CSV with the columns `id` and `decision`, for ``bk.clean(sample, decisions=path)``
    report : ``bk.clean(sample).report``, optional; it then starts with the kept stamps, and shows what checks found
    """

    def __init__(self, sample: Sample, path: PathLike, ids=None, report: Table | None = None):
        self.sample, self.path = sample, Path(path)
        self.ids = [int(i) for i in (sample.catalog["id"] if ids is None else ids)]
        require(self.ids, "ids names no stamp, expected at least one catalogue id: leave it out to see all.")
        self._rows = dict(zip(self.ids, sample.index(self.ids).tolist(), strict=True))
        rows = () if report is None else report
        self._checked = {int(r["id"]): "accept" if r["kept"] else "reject" for r in rows}
        self._flags = {int(r["id"]): str(r["flags"]) for r in rows}
        self.decisions = read_decisions(self.path) if self.path.exists() else {}
        self.progress, self.facts = ipw.HTML(), ipw.HTML()
        self.view = StampsView(sigma=sky_noise(sample))
        self.keys_widget = _Keys(hint=_WORDS["help"].format(self.path.name))
        press = shown_errors("a key in the inspector", self.message)(self._act)
        self.keys_widget.on_msg(lambda _widget, content, _buffers: press(_KEYS[content["key"]]))
        self.buttons = self.buttons_of(_WORDS["buttons"], self._act, "in the inspector")
        choice = {"options": list(self._groups()), "value": "kept" if self._checked else "all"}
        self.shown = self.on(ipw.Dropdown(**choice, **_WORDS["show"]), self._walk)
        self.jump = self.on(ipw.Text(**_WORDS["jump"], continuous_update=False), self._jump)
        above = row(self.shown, self.jump), self.message, self.progress
        super().__init__([*above, self.view, self.facts, row(*self.buttons.values()), self.keys_widget])
        self.add_class("bk-keys-box")
        self._walk()

    def _groups(self):
        """Ids by what becomes of the stamps as it stands."""
        fate, words = self._checked | self.decisions, {"kept": "accept", "dropped": "reject"}
        groups = {name: [i for i in self.ids if fate.get(i, "accept") == word] for name, word in words.items()}
        return groups | {"decided by eye": [i for i in self.ids if i in self.decisions], "all": self.ids}

    def _walk(self):
        """Go through the stamps chosen, from the first without a decision; what is decided now stays in the list."""
        self.chosen, name = self._groups()[self.shown.value], self.shown.value
        if not self.chosen:
            self.shown.value = "all"
            return say(self.message, f"No stamp is {name} so far: here are all.")
        self.position = next((k for k, i in enumerate(self.chosen) if i not in self.decisions), 0)
        self._show()

    def _jump(self):
        numbers = {str(k): i for k, i in enumerate(self.chosen, 1)}
        galaxy = (numbers | {str(i): i for i in self.ids}).get(text := self.jump.value.strip())
        if galaxy is None:
            return say(self.message, text and f"{text} is no id here, and no number from 1 to {len(numbers)}.")
        if galaxy not in self.chosen:
            self.shown.value = "all"
        self.position, self.jump.value = self.chosen.index(galaxy), ""
        self._show()

    def _act(self, name):
        if name in ("accept", "reject"):
            self.decisions = self.decisions | {self.current: name}
            lines = ["id,decision", *(f"{i},{decision}" for i, decision in sorted(self.decisions.items()))]
            with drafted(self.path.parent) as draft:
                (draft / self.path.name).write_text("\n".join([*lines, ""]))
        self.position = min(max(self.position + (-1 if name == "back" else 1), 0), len(self.chosen) - 1)
        self._show()

    def _show(self):
        self.current = self.chosen[self.position]
        place, decided = self._rows[self.current], self.decisions.get(self.current)
        image, segmap, galaxy = self.sample.images[place], self.sample.segmaps[place], self.sample.catalog[place]
        cleaned, own = image, segmap[self.sample.centre]
        if empty_pixels(segmap).any():  # as `clean` leaves it with its default seed
            rng = np.random.default_rng((0, zlib.crc32(str(self.current).encode())))
            cleaned = remove_neighbours(image, segmap, rng)[0]
        labels = sorted(np.unique(segmap[segmap > 0]), key=lambda label: label != own)  # neighbours lie on top
        outlines, white = [(segmap == label, int(label != own)) for label in labels], float(np.percentile(image, 99.9))
        before = Panel(_OBSERVED, image, white, outlines=outlines)
        self.view.show({"before": before, "after": Panel("neighbours replaced by sky", cleaned, white)})
        kept, dropped, by_eye, n = map(len, self._groups().values())
        text = f"<b>{self.position + 1} of {len(self.chosen)}</b>, {by_eye} decided by eye · of all {n} stamps"
        self.progress.value = status(f"{text} <b>{kept} are kept</b>, {dropped} dropped.")
        size = f"{galaxy['mag']:.2f} mag · r_eff {galaxy['r_eff']:.1f} pixels"
        checks = f" · checks: {self._flags.get(self.current) or 'nothing found'}" if self._flags else ""
        facts = html.escape(f"id {self.current} · {galaxy['morphology']} · {size}{checks}")
        self.facts.value = f"{facts} · <b>{f'{decided}ed' if decided else 'not decided yet'}</b>"
