"""Two galaxies that are dragged over one another in the browser, and what SEP and the networks make of the blend."""

import base64
import html
import warnings
from functools import partial

import IPython
import ipywidgets as ipw
import numpy as np
from astropy.table import Table

from ..blends.recipe import draw_blends, make_blends, sky_rows, true_fluxes
from ..blends.rendering import render, render_parts
from ..data.check import require
from ..data.photometry import detect
from ..data.sample import Sample
from ..deblenders.base import match_pixels
from ..deblenders.methods import labelled
from ..deblenders.sep import LABELS
from ..figures.style import MEMBERS, sky_noise
from ..metrics.scores import delta_mag
from . import view
from .answers import MISSED, Asked, AskingBoard, Detector, as_html, compared, guessed, tallied, tally_line
from .view import Panel, row, say, status

MIME = "application/vnd.blendkit.explorer+json"  # under it an output keeps what a page without a kernel needs
SHOWN, OFFERED = 24, 20  # thumbnails in a strip; galaxies in a page
_ELLIPSE = 3  # isophotal semi-axes of SExtractor, times its a and b
_WORDS = view.WORDS["explorer"]


class BlendExplorer(AskingBoard):
    """Drag one galaxy over another and see what SEP and the networks measure; `recipe` is the one-row table shown now.

    The browser makes the pictures (``blend_view.js``); Python answers with photometry once a slider has come to rest.
    `tally` keeps what you guess while the truth is hidden.

    Parameters
    ----------
    sample : Sample; at least two galaxies, cleaned
    methods : callable, sequence, or mapping of str to str or callable, optional
        Methods beside SEP, as for `blendkit.measure`; a box switches each on and off. By default "fractions" is offered
        for stamps of 128 x 128 pixels, and switched off: the first tick loads the network.
    central, companion : int, optional
        Catalogue ids of the galaxies to start with; default two of about the median magnitude.
    """

    def __init__(self, sample: Sample, methods=None, *, central: int | None = None, companion: int | None = None):
        require(len(sample) > 1, "the sample has a single galaxy, expected at least two: a blend needs a pair.")
        self.sample, shape = sample, sample.images.shape[1:]
        self._surprises, self._notice = 0, ""
        self._rounds = {}  # by pair, once its truth was shown: with which settings, and how far off each was
        fitting = ("fractions",) if shape == (128, 128) else ()  # the network knows stamps of one size
        methods, ticked = (fitting, False) if methods is None else (methods, True)
        self._sep, self.methods = Detector("SEP", detect), {n: Asked(n, m) for n, m in labelled(methods).items()}
        known = getattr(IPython.get_ipython(), "user_ns", {}).items()
        called = next((name for name, value in known if value is sample and not name.startswith("_")), "sample")
        self.view = view.BlendView(shape=list(shape), sigma=sky_noise(sample), called=called)
        self.verdict, self.answer = ipw.HTML(), ipw.HTML()
        once = central is None or central != companion
        require(once, f"galaxy {central} was given twice: choose two different ones.")
        by_light = sample.catalog["id"][np.argsort(sample.catalog["mag"], kind="stable")].tolist()
        third = len(by_light) // 3
        pair = by_light[third], by_light[max(len(by_light) // 2, third + 1)]  # of medium brightness
        central = next(i for i in pair if i != companion) if central is None else central
        companion = next(i for i in reversed(pair) if i != central) if companion is None else companion
        self._make_controls(*shape, (int(central), int(companion)), ticked)
        galaxies = [ipw.HBox(both) for both in zip(self.galaxies, self.pickers, strict=True)]
        (*first, turn_central, turn_companion, noise, stretch), more = self.sliders.values(), self.more
        folded = ipw.VBox([turn_central, turn_companion, noise, stretch])  # away, by the style sheet
        rows = row(self.surprise, self.reset, more), folded, row(self.hide, *self.asked.values()), row(*self.guesses)
        super().__init__([self.message, *galaxies, self.view, ipw.VBox([*first, *rows, self.verdict, self.answer])])
        self.add_class("bk-explorer")
        self._show(wait=True)

    def render(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What is shown now, as ``bk.render(sample, explorer.recipe)`` gives it; extra sky noise is in the image."""
        image, masks, fluxes = render(self._pair, self.recipe)
        more = np.float32(self.extra_noise.value * self.view.sigma)
        return (image + more * view.noise_field(image.shape[1:]) if more else image), masks, fluxes

    @property
    def tally(self) -> Table:
        """How far off `you`, SEP and the methods asked were in each round of the guess game: mean |Δmag|."""
        return Table(rows=[{"you": off["you"]} | off for _, off in self._rounds.values() if "you" in off])

    def _make_controls(self, ny, nx, pair, ticked):
        """Sliders and view follow one another in the browser; Python follows the sliders."""
        x, y = nx // 2 - 1, ny // 2 - 1
        turns = [(("mirrored " if k >= 4 else "") + f"{90 * (k % 4)}°", k) for k in range(8)]
        turns = turns if ny == nx else [turns[k] for k in (0, 2, 5, 7)]
        here = {"dx": {"min": -x, "max": x}, "dy": {"min": -y, "max": y}}
        here |= {f"turn_{name}": {"options": turns} for name in MEMBERS}
        sliders = _WORDS["sliders"].items()
        self.sliders = {name: getattr(ipw, kind)(**about, **here.get(name, {})) for name, (kind, about) in sliders}
        vars(self).update(self.sliders)
        self.hide = self.on(ipw.Checkbox(False, description="hide the truth", indent=False), self._show)
        for name, control in (self.sliders | {"hide": self.hide}).items():
            trait = "index" if hasattr(control, "index") else "value"
            setattr(self.view, name, getattr(control, trait))
            self.links = [*self.links, ipw.jslink((control, trait), (self.view, name))]
        self.view.turns, self.view.limits = [value for _, value in turns], [x, y]
        rows, named = view.spread(self.sample, pair, SHOWN).tolist(), view.named(self.sample)
        thumbs = view.thumbnails(self.sample.images[rows], self.view.sigma)
        strip = {"thumbs": thumbs, "rows": rows, "names": [named[i][0] for i in rows]}
        self.galaxies, self.pickers = [], []
        for galaxy, (text, tip) in zip(pair, _WORDS["galaxies"].items(), strict=True):
            control = ipw.Dropdown(options=named, value=galaxy, description=text, tooltip=tip)
            self.galaxies.append(control)
            self.pickers.append(view.Picker(label=text, **strip))
            self.links = [*self.links, ipw.jslink((control, "index"), (self.pickers[-1], "index"))]
        self.central, self.companion = self.galaxies
        self._all = [*self.galaxies, *list(self.sliders.values())[:-1]]  # what makes the blend
        self._start = [control.value for control in self._all]
        self.surprise = self.on(ipw.Button(**_WORDS["surprise"]), self._surprise)
        self.reset, self.more = self.on(ipw.Button(**_WORDS["reset"]), self._reset), ipw.ToggleButton(**_WORDS["more"])
        self.asked = {name: ipw.Checkbox(ticked, description=f"ask {name}", indent=False) for name in self.methods}
        text = {"placeholder": "magnitude", "continuous_update": False}
        self.guesses = [ipw.Text(description=f"your guess, {name}", **text) for name in MEMBERS]
        for control in (*self._all, *self.asked.values(), *self.guesses):
            self.on(control, self._show)

    def _surprise(self):
        with warnings.catch_warnings(action="ignore"):  # galaxies without a partner of like magnitude
            draw = partial(draw_blends, self.sample, 1, seed=self._surprises, turns=False)
            try:
                blend = draw()[0]
            except ValueError:  # they have none at all
                blend = draw(max_dmag=np.inf)[0]
        self._surprises += 1
        dx, dy = (int(blend[name][1]) for name in ("dx", "dy"))
        self.put(self._all, [*blend["id"].tolist(), dx, dy, 0.0, 0, 0, 0.0])

    def _reset(self):
        self.stretch.value = 0
        self.put(self._all, self._start)

    def _show(self, wait=False):
        *pair, dx, dy, dmag, turn_central, turn_companion, _ = values = [control.value for control in self._all]
        self._notice = _WORDS["itself"] if pair[0] == pair[1] else ""
        if self._notice:
            with self.quietly():
                self.central.value, self.companion.value = map(int, self.view.pair)
            return say(self.message, self._notice)
        if list(map(str, pair)) != self.view.pair:
            self._send_pair(pair)
        self.recipe = make_blends(self._pair, pair, dx, dy, dmag, [turn_central, turn_companion])
        self._at = [*self.view.pair, *values[2:]]
        self._question = [self._sep, *(self.methods[name] for name, box in self.asked.items() if box.value)]
        self.ask(self._question, self.render()[0], self.recipe, wait)

    def _send_pair(self, ids):
        self._pair = pair = self.sample[self.sample.index(ids)]
        rows = sky_rows(np.array([ids]), len(self.sample.sky))[0]
        with self.view.hold_sync():
            self.view.pair, self.view.found = list(map(str, ids)), {}
            self.view.mags, self.view.r_eff = ([float(x) for x in pair.catalog[name]] for name in ("mag", "r_eff"))
            self.view.white = float(np.percentile(pair.images[0], 99.9))
            self.view.sky, self.view.field = _bytes(self.sample.sky[rows]), _bytes(view.noise_field(self.view.shape))
            self.view.segments, self.view.stamps = _bytes(pair.own_masks(), np.uint8), _bytes(pair.images)
        with self.quietly():
            for text in self.guesses:  # they were about others
                text.value = ""

    def _tell(self):
        if self._sep not in self.answers:
            return
        answers, zeropoint, true = dict(self.answers), self.sample.zeropoint, self.recipe["flux"][0]
        found, failure = answers.pop(self._sep)
        say(self.message, " ".join(filter(None, [self._notice, *(why for _, why in answers.values())])))
        if self.hide.value:
            self.view.found, self.answer.value = {}, ""
            self.verdict.value = status(_WORDS["hidden"].format(zeropoint - 2.5 * np.log10(true.sum())))
            return
        fluxes, ellipses = np.full(2, np.nan), []
        if found is not None:
            failure = f"SEP sees {_WORDS['sees'][min(len(found), 3)].format(len(found))}"
            matched = match_pixels(found, self.sample.centre).tolist()
            fluxes = [found.kron_masked[i] if i >= 0 else np.nan for i in matched]
            shapes = np.array([found.x, found.y, _ELLIPSE * found.a, _ELLIPSE * found.b, found.theta], float).T.tolist()
            ellipses = [[*shape, (matched.index(i) if i in matched else 2)] for i, shape in enumerate(shapes)]
        rows = [("alone (true)", compared(true, zeropoint)), (LABELS["kron_masked"], compared(fluxes, zeropoint, true))]
        measured = {"SEP": fluxes}
        outlines, waiting = {}, [method for method in self._question if method not in self.answers]
        for method, (table, _) in answers.items():
            if table is None:
                continue
            error = table["flux_err"][0, :2] if "flux_err" in table.colnames else np.nan
            measured[method.name] = table["flux"][0, :2]
            rows.append((method.name, compared(measured[method.name], zeropoint, true, error)))
            if "masks" in table.colnames and not outlines:
                masks = np.moveaxis(table["masks"][0], -1, 0).astype(np.uint8)
                outlines = {"masks": masks.tobytes(), "masks_of": method.name}
        rows += [(m.name, ["…" if callable(m.method) else "loading the network, once…", ""]) for m in waiting]
        self.view.found = {"at": self._at, "ellipses": ellipses, "waiting": bool(waiting)} | outlines
        if any(text.value.strip() for text in self.guesses):
            guesses = [guessed(t.value, zeropoint, flux) for t, flux in zip(self.guesses, true, strict=True)]
            measured["you"], values = zip(*guesses, strict=True)
            rows.append(("you", values))
        self.verdict.value = status(f"<b>{html.escape(failure)}</b>")
        self._count(measured)
        note = tally_line(tallied(self.tally)) if self.tally else _WORDS["which_flux"]
        self.answer.value = f"{as_html(MEMBERS, rows)}<div class='bk-answers'>{html.escape(note)}</div>"

    def _count(self, measured):
        """Count a round of the guess game, once the truth is seen."""
        offs = {who: np.abs(delta_mag(self.recipe, {"flux": np.array([flux])})) for who, flux in measured.items()}
        means = {who: float(np.fmin(off, MISSED).mean()) for who, off in offs.items()}
        offs = {who: mean for who, mean in means.items() if who != "you" or np.isfinite(offs[who]).all()}
        at, counted = self._rounds.setdefault(frozenset(self.view.pair), (self._at, offs))
        if at == self._at:  # a later guess counts nothing, a method that is asked later does
            counted |= {who: off for who, off in offs.items() if who != "you"}

    def page(self) -> dict:
        """What the explorer of a page needs, ready for JSON: the galaxies now shown and others, spread in magnitude."""
        some = self.sample[view.spread(self.sample, list(map(int, self.view.pair)), OFFERED)]
        known = {"id": list(map(str, some.catalog["id"])), "name": [name for name, _ in view.named(some)]}
        known |= {name: np.asarray(some.catalog[name], float).tolist() for name in ("mag", "r_eff")}
        known |= {"white": np.percentile(some.images, 99.9, axis=(1, 2)).tolist(), "flux": true_fluxes(some).tolist()}
        galaxies, sliders = [dict(zip(known, values, strict=True)) for values in zip(*known.values(), strict=True)], []
        for name, slider in self.sliders.items():
            texts = [text for text, _ in getattr(slider, "options", ())] or None
            low, high, step = (0, len(texts) - 1, 1) if texts else (slider.min, slider.max, slider.step)
            about = {"name": name, "label": slider.description, "tip": slider.tooltip, "plus": name == "dmag"}
            sliders.append(about | {"min": low, "max": high, "step": step, "texts": texts})
        data = {
            "stamps": _bytes(some.images), "segments": _bytes(some.own_masks(), np.uint8),
            "bank": _bytes(self.sample.sky), "field": _bytes(view.noise_field(self.view.shape)),
            "thumbs": view.thumbnails(some.images, self.view.sigma),
        }  # fmt: skip
        return {
            "galaxies": galaxies, "start": [known["id"].index(i) for i in self.view.pair], "sliders": sliders,
            "settings": {name: getattr(slider, "index", slider.value) for name, slider in self.sliders.items()},
            "zeropoint": self.sample.zeropoint,
            **{name: base64.b64encode(sent).decode() for name, sent in data.items()},
            **{name: getattr(self.view, name) for name in ("shape", "sigma", "called", "limits", "turns")},
        }  # fmt: skip

    def panels(self):
        """What the picture shows: only the blend while the truth is hidden."""
        (image,), (masks,), _ = self.render()
        caption, white = "blend, and the objects that SEP detects (ellipses)", self.view.white
        panels = [Panel(caption, image, white, ellipses=self.view.found.get("ellipses", ()))]
        if not self.hide.value:
            parts = render_parts(self._pair, self.recipe)[0]
            panels += [Panel(f"{name} alone", parts[..., k], white) for k, name in enumerate(_WORDS["galaxies"])]
            panels.append(Panel(f"true masks: {view.LEGEND}", masks, style="masks"))
        return panels

    def _repr_mimebundle_(self, **kwargs):
        return super()._repr_mimebundle_(**kwargs) | {MIME: self.page()}


def _bytes(array, dtype=np.float32):
    return np.asarray(array, dtype).tobytes()
