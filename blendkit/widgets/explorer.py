"""Two galaxies that are dragged over one another in the browser, and what SEP and the networks make of the blend."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import html
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import ipywidgets as ipw
import numpy as np

from ..blending import draw_blends, make_blends, render, render_parts, sky_rows
from ..deblenders import LABELS, Network, by_name, check_name, checked, match_pixels
from ..photometry import detect
from ..samples import Sample
from . import picture
from .errors import record, recorded, say
from .export import page, spread
from .view import LINKED, MIME, BlendView, Panel, Picker, name_of, noise_field, thumbnails, with_picture

if TYPE_CHECKING:
    from astropy.table import Table

SHOWN = 24
"""Thumbnails in a strip."""
_PANELS = {
    "blend": "blend, and the objects that SEP detects (ellipses)",
    "central": "central galaxy alone",
    "companion": "companion alone",
    "masks": "true masks: " + " ".join(map(picture.swatch, ("central", "companion", "both"), (0, 1, 2))),
}
_ELLIPSE = 3  # isophotal semi-axes of SExtractor, times its a and b
_WAIT = 0.02  # seconds without a move before anybody is asked
_CELL = 'style="padding: 0 1.2em 0 0; text-align: left; vertical-align: top"'
_WIDE = {"description_width": "9.6em"}
_WHICH_FLUX = (
    "These magnitudes are of Kron fluxes: the true one is that of the cleaned galaxy alone, SEP's is measured in the "
    "blend, neighbour masked. The lists above show the catalogue's magnitudes."
)
_HIDDEN = (
    "The truth is hidden, and so are all answers. Press 'surprise me' for a pair that you have not seen, write down "
    "your guesses, then untick 'hide the truth'. A hint: both galaxies together have {:.2f} mag."
)
_FAINTEST, _BRIGHTEST = 35, 5  # magnitudes that a guess may have


class BlendExplorer(ipw.VBox):
    """Drag one galaxy over another and see what SEP and the networks measure.

    The pictures are made in the browser from two stamps (``blend_view.js``): no slider waits for Python, which answers
    with photometry when a slider has come to rest.

    Parameters
    ----------
    sample : Sample
        At least two galaxies, cleaned.
    deblenders : callable, sequence of str, or mapping of str to str or callable, optional
        Methods beside SEP, as for `blendkit.deblenders.measure`; a box switches each on and off. By default "fractions"
        is offered for stamps of 128 x 128 pixels, and switched off: the first tick loads the network.
    central, companion : int, optional
        Catalogue ids of the galaxies to start with; default two of about the median magnitude.

    Attributes
    ----------
    recipe : astropy.table.Table
        The one-row table, as `make_blends` gives it, of what is shown now.

    Raises
    ------
    ValueError
        Where the sample has a single galaxy, the ids given are not two different ones of the sample, or a method has an
        unknown name.
    """

    def __init__(
        self,
        sample: Sample,
        deblenders: Callable[[np.ndarray], Table] | Sequence[str] | Mapping[str, str | Callable] | None = None,
        *,
        central: int | None = None,
        companion: int | None = None,
    ):
        if len(sample) < 2:
            raise ValueError("the sample has a single galaxy, expected at least two: a blend needs a pair.")
        self.sample = sample
        self.recipe: Table | None = None
        self._noise = picture.noise_level(sample.sky)
        self._surprises, self._paused, self._moves, self._tasks, self._notice = 0, False, 0, set(), ""
        self._sep = _Detector("SEP")
        ticked = deblenders is not None
        if not ticked:  # the shipped network knows stamps of one size
            deblenders = ("fractions",) if sample.images.shape[1:] == (128, 128) else ()
        self._methods = _methods(deblenders)
        self.view = BlendView(shape=list(sample.images.shape[1:]), sigma=self._noise, called=_called(sample))
        self._make_controls(_start_pair(sample, central, companion), ticked)
        self.verdict, self.answer, self.message = ipw.HTML(), ipw.HTML(), ipw.HTML()
        super().__init__(
            [*self._controls(), self.message, self.verdict, self.view, _row(*self.asked.values()), self.answer],
            layout=ipw.Layout(max_width="1160px"),
        )
        self.add_class("bk-explorer")
        self._connect()
        self._show(wait=False)

    def render(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image, masks and fluxes of what is shown now, as `blendkit.render` returns them for one blend.

        With the slider "extra sky noise" at zero the image is that of ``bk.render(sample, explorer.recipe)``.
        """
        image, masks, fluxes = render(self._pair, self.recipe)
        more = np.float32(self.extra_noise.value * self._noise)
        return (image + more * self._field if more else image), masks, fluxes

    # what there is to move

    def _make_controls(self, pair, ticked):
        ny, nx = self.sample.images.shape[1:]
        self.central, self.companion = (
            ipw.Dropdown(options=self._names(), value=galaxy, description=text, tooltip=tip, style=_WIDE)
            for galaxy, text, tip in zip(
                pair,
                ("central galaxy", "companion"),
                ("The galaxy in the centre of the stamp", "The galaxy that you move"),
                strict=True,
            )
        )
        self.dx, self.dy = (
            ipw.IntSlider(min(value, limit), -limit, limit, description=f"shift {axis} [pixels]", tooltip=tip)
            for value, limit, axis, tip in (
                (12, nx // 2 - 1, "x", "How far the companion lies to the right of the central galaxy"),
                (6, ny // 2 - 1, "y", "How far the companion lies above the central galaxy"),
            )
        )
        self.dmag = ipw.FloatSlider(
            0, min=-3, max=3, step=0.1, readout_format="+.1f", description="magnitude offset",
            tooltip="Positive = fainter: the companion's pixels, noise included, times 10 ** (-0.4 offset)",
        )  # fmt: skip
        self.turn_central, self.turn_companion = (
            ipw.SelectionSlider(
                options=_turns(ny == nx), value=0, description=f"turn {galaxy}",
                tooltip=f"How the {galaxy} galaxy is mirrored, and then turned about its centre",
            )
            for galaxy in ("central", "companion")
        )  # fmt: skip
        self.extra_noise, self.stretch = (
            ipw.FloatSlider(0, min=0, max=limit, step=0.1, readout_format=".1f", description=text, tooltip=tip)
            for limit, text, tip in (
                (5, "extra sky noise", "Noise added to the blend, in units of the noise of this sample's sky"),
                (2, "stretch", "0 shows the faint outskirts, 2 only the bright centres"),
            )
        )
        self.surprise = ipw.Button(description="surprise me", tooltip="Two galaxies and a shift at random")
        self.reset = ipw.Button(description="reset", tooltip="Back to where the explorer began")
        self._all = (self.central, self.companion, self.dx, self.dy, self.dmag, self.turn_central, self.turn_companion,
                     self.extra_noise)  # fmt: skip
        self._start = [control.value for control in self._all]
        for control in (*self._all, self.stretch):
            width = "26.5em" if isinstance(control, ipw.Dropdown) else "32em"
            control.style, control.layout = _WIDE, ipw.Layout(width=width, max_width="100%")
        self.asked = {name: _box(f"ask {name}", ticked) for name in self._methods}
        self.hide = _box("hide the truth", False)
        self.guesses = [
            ipw.Text(placeholder="magnitude", description=f"your guess, {galaxy}", style={"description_width": "auto"},
                     layout=ipw.Layout(width="20em", max_width="100%"), continuous_update=False)
            for galaxy in ("central", "companion")
        ]  # fmt: skip
        self._make_pickers()

    def _make_pickers(self):
        rows = spread(self.sample, self._start[:2], SHOWN)
        self._offered = [int(i) for i in self.sample.catalog["id"][rows]]
        thumbs = thumbnails(self.sample.images[rows], self._noise)
        self.pickers = [
            Picker(label=control.description, thumbs=thumbs, layout=ipw.Layout(width="100%", min_width="0"))
            for control in (self.central, self.companion)
        ]

    def _mark_pickers(self):
        names = {i: name for name, i in self.central.options}
        for picker, control in zip(self.pickers, (self.central, self.companion), strict=True):
            picker.names = [names[i] for i in self._offered]
            picker.index = self._offered.index(control.value) if control.value in self._offered else -1

    def _names(self, hidden=False):
        return [(name_of(row, hidden), int(row["id"])) for row in self.sample.catalog]

    def _controls(self):
        wide = ipw.Layout(flex="1 1 300px", min_width="0", overflow="hidden")
        galaxies = [
            _row(control, ipw.Box([picker], layout=wide))
            for control, picker in zip((self.central, self.companion), self.pickers, strict=True)
        ]
        left = ipw.VBox([self.dx, self.dy, self.dmag, self.extra_noise])
        right = ipw.VBox([self.turn_central, self.turn_companion, self.stretch])
        return *galaxies, _row(left, right), _row(self.surprise, self.reset), _row(self.hide, *self.guesses)

    def _connect(self):
        """Sliders and view follow one another in the browser; Python hears of the sliders."""
        for name in LINKED:
            control = getattr(self, name)
            trait = "index" if hasattr(control, "index") else "value"
            setattr(self.view, name, getattr(control, trait))
            ipw.jslink((control, trait), (self.view, name))
        self.view.turns = [value for _, value in self.turn_central.options]
        self.view.limits = [self.dx.max, self.dy.max]
        for control in self._all:
            control.observe(recorded(f"moving '{control.description}'", self.message)(self._moved), "value")
        for control in (*self.asked.values(), *self.guesses):
            control.observe(recorded(control.description, self.message)(self._moved), "value")
        self.hide.observe(recorded("hiding the truth", self.message)(self._hidden), "value")
        for picker, control in zip(self.pickers, (self.central, self.companion), strict=True):
            picker.observe(recorded(f"choosing the {control.description}", self.message)(self._picked), "index")
        self._ask = recorded("asking after a move", self.message)(self._ask)
        self._hear = recorded("telling an answer")(self._hear)
        self.surprise.on_click(recorded("surprise me", self.message)(self._surprised))
        self.reset.on_click(recorded("reset", self.message)(self._was_reset))

    # what happens when something moves

    def _moved(self, _change):
        if not self._paused:
            self._show()

    def _picked(self, change):
        if change["new"] >= 0:
            control = self.central if change["owner"] is self.pickers[0] else self.companion
            control.value = self._offered[change["new"]]

    def _hidden(self, _change):
        """Names without magnitudes while the truth is hidden."""
        with self._quietly():
            for control in (self.central, self.companion):
                chosen = control.value
                control.options = self._names(self.hide.value)
                control.value = chosen
        self._mark_pickers()
        self._show()

    def _surprised(self, _button):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # galaxies without a partner of like magnitude
            try:
                row = draw_blends(self.sample, 1, seed=self._surprises, turns=False)[0]
            except ValueError:  # they have none at all
                row = draw_blends(self.sample, 1, seed=self._surprises, turns=False, max_dmag=np.inf)[0]
        self._surprises += 1
        self._set(int(row["central"]), int(row["companion"]), int(row["dx"]), int(row["dy"]), 0.0, 0, 0, 0.0)

    def _was_reset(self, _button):
        self.stretch.value = 0
        self._set(*self._start)

    def _set(self, *values):
        with self._quietly():
            for control, value in zip(self._all, values, strict=True):
                control.value = value
        self._show()

    @contextlib.contextmanager
    def _quietly(self):
        """Controls that are set here are not answered one by one."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False

    def _show(self, wait=True):
        central, companion, *recipe = (control.value for control in self._all[:-1])
        if central == companion:
            with self._quietly():
                self.central.value, self.companion.value = map(int, self.view.pair)
            self._mark_pickers()
            self._notice = "A galaxy cannot be blended with itself: choose two different ones."
            say(self.message, self._notice)
            return
        self._moves, self._notice = self._moves + 1, ""
        if [str(central), str(companion)] != self.view.pair:
            self._send_pair(central, companion)
        self.recipe = make_blends(self._pair, central, companion, *recipe)
        asked = [self._sep, *(self._methods[name] for name, box in self.asked.items() if box.value)]
        at = [*self.view.pair, *(control.value for control in self._all[2:])]
        question = _Question(self._moves, at, self.recipe, self.render()[0], asked)
        try:
            loop = asyncio.get_running_loop() if wait else None
        except RuntimeError:
            loop = None
        if loop is None:
            for worker in asked:
                question.heard[worker] = worker.answer(question.image)
            self._tell(question)
        else:
            task = loop.create_task(self._ask(question))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _send_pair(self, central, companion):
        self._pair = pair = self.sample[self.sample.index([central, companion])]
        self._field = noise_field(pair.images.shape[1:])
        rows = np.ravel(sky_rows({"central": [central], "companion": [companion]}, len(self.sample.sky)))
        with self.view.hold_sync():
            self.view.pair = [str(central), str(companion)]
            self.view.mags, self.view.r_eff = ([float(x) for x in pair.catalog[name]] for name in ("mag", "r_eff"))
            self.view.white = float(np.percentile(pair.images[0], 99.9))
            self.view.sky = np.asarray(self.sample.sky[rows], np.float32).tobytes()
            self.view.segments = pair.own_masks().astype(np.uint8).tobytes()
            self.view.field = self._field.tobytes()
            self.view.found = {}
            self.view.stamps = np.asarray(pair.images, np.float32).tobytes()
        with self._quietly():
            for text in self.guesses:  # they were about others
                text.value = ""
        self._mark_pickers()

    # who is asked, and what they say

    async def _ask(self, question):
        await asyncio.sleep(_WAIT)
        loop = asyncio.get_running_loop()

        def tell(*answer):
            with contextlib.suppress(RuntimeError):  # the notebook has ended meanwhile
                loop.call_soon_threadsafe(self._hear, question, *answer)

        if question.number == self._moves:  # else something has moved meanwhile, and is asked about
            for worker in question.asked:
                worker.ask(question.image, tell)

    def _hear(self, question, worker, *answer):
        question.heard[worker] = answer
        if question.number == self._moves and self._sep in question.heard:
            self._tell(question)

    def _tell(self, question):
        (found, why), *others = (question.heard.get(worker, (None, "")) for worker in question.asked)
        tables = {w.name: t for w, (t, _) in zip(question.asked[1:], others, strict=True) if t is not None}
        waiting = [worker for worker in question.asked if worker not in question.heard]
        say(self.message, " ".join(filter(None, [self._notice, *(failure for _, failure in others)])))
        self._shown = []
        if self.hide.value:
            self.view.found = {}
            both = question.recipe["flux_central"][0] + question.recipe["flux_companion"][0]
            self.verdict.value = _status(_HIDDEN.format(self.sample.zeropoint - 2.5 * np.log10(both)))
            self.answer.value = ""
            return
        matched = [] if found is None else match_pixels(found, self.sample.centre)
        self._shown = [] if found is None else list(_shapes(found, matched))
        drawn = {"at": question.at, "ellipses": self._shown, "waiting": bool(waiting)}
        if outlined := next((name for name, table in tables.items() if "masks" in table.colnames), None):
            masks = np.moveaxis(tables[outlined]["masks"][0], -1, 0)
            drawn |= {"masks": masks.astype(np.uint8).tobytes(), "masks_of": outlined}
        self.view.found = drawn
        row, zeropoint = question.recipe[0], self.sample.zeropoint
        true = [row["flux_central"], row["flux_companion"]]
        if found is None:
            sentence, fluxes = f"SEP fails on this blend: {why}", [np.nan, np.nan]
        else:
            sentence = f"SEP sees {_objects(len(found))}"
            fluxes = [found.kron_masked[i] if i >= 0 else np.nan for i in matched]
        rows = [
            ("alone (true)", _magnitudes(true, zeropoint)),
            (LABELS["kron_masked"], _compared(fluxes, true, zeropoint)),
        ]
        for name, table in tables.items():
            columns = [f"flux_{galaxy}{suffix}" for suffix in ("", "_err") for galaxy in ("central", "companion")]
            values = [np.ma.filled(table[c], np.nan)[0] if c in table.colnames else np.nan for c in columns]
            rows.append((name, _compared(values[:2], true, zeropoint, values[2:])))
        rows += [(worker.name, [worker.excuse, ""]) for worker in waiting]
        if any(text.value.strip() for text in self.guesses):
            guesses = zip(self.guesses, true, strict=True)
            rows.append(("you", [_guessed(text.value, flux, zeropoint) for text, flux in guesses]))
        self.verdict.value = _status(f"<b>{html.escape(sentence)}</b>")
        self.answer.value = _as_html(rows)

    # for pages without a kernel

    def _panels(self):
        (image,), (masks,), _ = self.render()
        central, companion = render_parts(self._pair, self.recipe)[0]
        white = self.view.white
        blend = {"blend": Panel(_PANELS["blend"], image, white, ellipses=self._shown)}
        if self.hide.value:
            return blend
        return blend | {
            "central": Panel(_PANELS["central"], central, white),
            "companion": Panel(_PANELS["companion"], companion, white),
            "masks": Panel(_PANELS["masks"], picture.code_of(masks), style="masks"),
        }

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs)
        return with_picture(bundle, self._panels().values(), self._noise) | {MIME: page(self)}


@dataclasses.dataclass(frozen=True)
class _Question:
    """What was on screen when a slider came to rest, who is asked about it, and what was heard."""

    number: int
    at: list
    recipe: Table
    image: np.ndarray
    asked: list[_Worker]
    heard: dict[_Worker, tuple] = dataclasses.field(default_factory=dict)


class _Worker:
    """Somebody who is asked, in a thread that nobody has to wait for."""

    excuse = "…"

    def __init__(self, name):
        self.name = name
        self._busy, self._next, self._lock = False, None, threading.Lock()

    def ask(self, image, tell):
        """Call ``tell(self, *answer)``, from a thread; of the questions that come meanwhile only the newest counts."""
        with self._lock:
            self._next = image, tell
            if self._busy:
                return
            self._busy = True
        threading.Thread(target=self._work, name=f"blendkit: {self.name}", daemon=True).start()

    def _work(self):
        while True:
            with self._lock:
                if self._next is None:
                    self._busy = False
                    return
                (image, tell), self._next = self._next, None
            tell(self, *self.answer(image))


class _Detector(_Worker):
    def answer(self, image):
        """SEP's detections, or None and why."""
        try:
            return detect(image[0]), ""
        except Exception as error:  # SEP raises bare Exceptions; the reader is told
            return None, str(error)


class _Method(_Worker):
    """A deblender; one given by name is made when it is first asked."""

    def __init__(self, name, method):
        super().__init__(name)
        if isinstance(method, str):
            check_name(method)
        self.method = method

    @property
    def excuse(self):
        """What is said while no answer is there."""
        return "loading the network, once…" if isinstance(self.method, str) else "…"

    def answer(self, image):
        """Its table, or None and why."""
        try:
            table = checked(self.name, self._made()(image.copy()), 1)
            if "masks" in table.colnames and table["masks"].shape[1:] != (*image.shape[1:], 2):
                raise ValueError(
                    f"masks of shape {table['masks'].shape} were returned, expected {(*image.shape, 2)}: central and "
                    "companion for each pixel."
                )
        except (Exception, SystemExit) as error:
            record(f"asking {self.name}", error)
            return None, f"{self.name} does not answer: {error or type(error).__name__}"
        return table, ""

    def _made(self):
        if isinstance(self.method, str):
            made = by_name(self.method)
            if isinstance(made, Network):
                with contextlib.suppress(ValueError):  # one that outlines nothing
                    made = dataclasses.replace(made, masks=True)
            self.method = made
        return self.method


def _methods(given) -> dict[str, _Method]:
    if callable(given) or isinstance(given, str):
        given = [given]
    if not isinstance(given, Mapping):
        given = {_name_of_method(method): method for method in given}
    return {name: _Method(name, method) for name, method in given.items()}


def _name_of_method(method):
    if isinstance(method, str):
        return method
    return getattr(method, "name", None) or getattr(method, "__name__", type(method).__name__)


def _row(*widgets):
    return ipw.HBox(list(widgets), layout=ipw.Layout(flex_flow="row wrap"))


def _box(text, ticked):
    return ipw.Checkbox(
        ticked, description=text, indent=False, layout=ipw.Layout(width="auto", margin="2px 16px 2px 2px")
    )


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


def _turns(square) -> list[tuple[str, int]]:
    turns = [(("mirrored " if k >= 4 else "") + f"{90 * (k % 4)}°", k) for k in range(8)]
    return turns if square else [turns[k] for k in (0, 2, 5, 7)]


def _shapes(found, matched):
    owners = dict(zip(matched, (0, 1), strict=True))
    for i in range(len(found)):
        shape = found.x[i], found.y[i], _ELLIPSE * found.a[i], _ELLIPSE * found.b[i], found.theta[i]
        yield [*map(float, shape), owners.get(i, 2)]


def _objects(n: int) -> str:
    if n == 0:
        return "nothing."
    if n == 1:
        return "one object: for it, the two galaxies are one (or one of them is too faint)."
    if n == 2:
        return "two objects. The one nearest the centre counts as the central galaxy."
    return f"{n} objects, more than there are. It takes the one nearest the centre and the brightest other one."


def _guessed(text, true, zeropoint):
    """What a reader's guess is worth, in words."""
    if not text.strip():
        return "–"
    try:
        mag = float(text.replace(",", "."))
    except ValueError:
        mag = np.nan
    if not _BRIGHTEST <= mag <= _FAINTEST:
        return f"{text[:12]} is no magnitude: write a number such as 21.5"
    return _compared([10 ** (-0.4 * (mag - zeropoint))], [true], zeropoint, [np.nan])[0]


def _magnitudes(fluxes, zeropoint, errors=(np.nan, np.nan)):
    texts = []
    for flux, error in zip(fluxes, errors, strict=True):
        measured = 0 < flux < np.inf
        within = f" ± {2.5 / np.log(10) * error / flux:.2f}" if measured and 0 <= error < np.inf else ""
        texts.append(f"{zeropoint - 2.5 * np.log10(flux):.2f}{within} mag" if measured else "not measured")
    return texts


def _compared(fluxes, true, zeropoint, errors=(np.nan, np.nan)):
    texts = []
    for text, flux, truth in zip(_magnitudes(fluxes, zeropoint, errors), fluxes, true, strict=True):
        if 0 < flux < np.inf and truth > 0:
            off = -2.5 * np.log10(flux / truth)
            percent = 100 * (flux / truth - 1)
            verdict = "right within 2 %" if abs(percent) < 2 else f"{percent:+.0f} % light"
            if abs(percent) >= 1000:
                verdict = f"{flux / truth:.3g} × the light"
            text += f", Δmag = {round(off, 2) + 0.0:+.2f} ({verdict})".replace("-", "−")
        texts.append(text)
    return texts


def _status(text):
    return f'<div role="status" style="line-height: 1.5">{text}</div>'


def _as_html(rows):
    head = "".join(f'<th scope="col" {_CELL}>{text}</th>' for text in ("", "central", "companion"))
    lines = "".join(
        f'<tr><th scope="row" {_CELL}>{html.escape(name)}</th>'
        + "".join(f"<td {_CELL}>{html.escape(text)}</td>" for text in texts)
        + "</tr>"
        for name, texts in rows
    )
    return f'<div style="line-height: 1.5"><table><tr>{head}</tr>{lines}</table>{_WHICH_FLUX}</div>'


def _called(sample) -> str:
    """The name that a sample has in the reader's notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    known = getattr(shell, "user_ns", {}).items()
    return next((name for name, value in known if value is sample and not name.startswith("_")), "sample")
