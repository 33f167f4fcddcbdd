"""Who is asked about a blend, without anybody waiting for them, and how the answers read."""

import asyncio
import contextlib
import html
import textwrap

import numpy as np

from ..data.check import floats, require
from ..deblenders.base import match
from ..deblenders.methods import METHODS, by_name, checked
from ..deblenders.network import Network
from .view import LOG, Board, shown_errors

_WAIT = 0.02  # seconds without a move before anybody is asked
MISSED = 3.0  # mag: so far off is a galaxy that was not measured, and at most one that was


class Asked:
    """A method that is asked about one blend after the other; one given by name is made when it is first asked."""

    def __init__(self, name, method):
        if not callable(method) and method not in METHODS:
            by_name(method)  # which says what names there are
        self.name, self.method, self.lock = name, method, asyncio.Lock()

    def answer(self, image, recipe):
        """Its table, or None and why."""
        try:
            if not callable(self.method):
                self.method = outlining(self.method)
            table = checked(self.name, self.method(image.copy()), 1)
            table = match(recipe, table) if {"x", "y"} <= set(table.colnames) else table
            k = np.shape(table["flux"])[-1]
            require(k == 2, f"{k} fluxes were returned, expected 2.")
            shape, expected = table["masks"].shape if "masks" in table.colnames else None, (*image.shape, 2)
            require(shape in (None, expected), f"masks of shape {shape} were returned, expected {expected}.")
        except (Exception, SystemExit) as error:
            LOG.exception("asking %s", self.name)
            return None, f"{self.name} does not answer: {textwrap.shorten(str(error), 300) or type(error).__name__}"
        return table, ""


class Detector(Asked):
    """SEP's detections, or None and why."""

    def answer(self, image, _recipe):
        try:
            return self.method(image[0]), ""
        except Exception as error:  # SEP raises bare Exceptions; the reader is told
            return None, f"SEP fails on this blend: {error}"


class AskingBoard(Board):
    """A board on which methods are asked about the blend shown; `_tell` shows the `answers` that there are by now."""

    def put(self, controls, values):
        """Set several controls, and show once what they ask for."""
        with self.quietly():
            for control, value in zip(controls, values, strict=True):
                control.value = value
        self._show()

    def ask(self, methods, image, recipe, wait):
        """Ask them; where an event loop runs nobody has to `wait` for them, and older questions are forgotten."""
        self.answers = answers = {}
        if not wait:
            with contextlib.suppress(RuntimeError):  # there is no loop
                loop = asyncio.get_running_loop()
                self._asking = loop.create_task(self._asked(answers, methods, image, recipe))
                return
        answers.update({method: method.answer(image, recipe) for method in methods})
        self._tell()

    async def _asked(self, answers, methods, *question):
        await asyncio.sleep(_WAIT)

        async def ask(method):
            async with method.lock:  # of the questions that come while it is busy only the newest counts
                if answers is self.answers:
                    answers[method] = await asyncio.to_thread(method.answer, *question)
            if answers is self.answers:
                with shown_errors("showing the answers", self.message):
                    self._tell()

        await asyncio.gather(*map(ask, methods))


def outlining(name):
    """A method by its name; networks outline the galaxies if they can."""
    with contextlib.suppress(ValueError):
        if METHODS[name] is Network:
            return Network(name, masks=True)
    return by_name(name)


def compared(fluxes, zeropoint, true=np.nan, errors=np.nan):
    """Fluxes as magnitudes with their errors, and how far they are from the true ones: a text for each."""
    texts = []
    for flux, light, error in np.broadcast(*map(floats, (np.atleast_1d(fluxes), true, errors))):
        text = "not measured"
        if 0 < flux < np.inf:
            within = f" ± {2.5 / np.log(10) * error / flux:.2f}" if 0 <= error < np.inf else ""
            text = f"{zeropoint - 2.5 * np.log10(flux):.2f}{within} mag"
        if 0 < flux < np.inf and light > 0:
            off, percent = round(-2.5 * np.log10(flux / light), 2) + 0.0, 100 * (flux / light - 1)
            verdict = "right within 2 %" if abs(percent) < 2 else f"{percent:+.0f} % light"
            verdict = f"{flux / light:.3g} × the light" if percent >= 1000 else verdict
            text += f", Δmag\xa0=\xa0{off:+.2f} ({verdict})".replace("-", "−")
        texts.append(text)
    return texts


def guessed(text, zeropoint, true):
    """The flux of a reader's guess of a magnitude, NaN where it is none, and what it is worth in words."""
    mag = np.nan
    with contextlib.suppress(ValueError):
        mag = float(text.replace(",", "."))
    if 5 <= mag <= 35:
        return (flux := 10 ** (-0.4 * (mag - zeropoint))), compared(flux, zeropoint, true)[0]
    return np.nan, f"{text[:12]} is no magnitude: write a number such as 21.5" if text.strip() else "–"


def as_html(heads, rows):
    """A table: a name, then a text for each galaxy in a row; `heads` stand above the galaxies."""
    lines = [f'<th scope="col">{html.escape(head)}</th>' for head in ("", *heads)]
    for name, texts in rows:
        cells = "".join(f"<td>{html.escape(text)}</td>" for text in texts)
        lines.append(f'</tr><tr><th scope="row">{html.escape(name)}</th>{cells}')
    return f"<table class='bk-answers'><tr>{''.join(lines)}</tr></table>"


def tallied(tally):
    """For each rival: in how many rounds it was, how far off you were in these, and how far it was (mag)."""
    both = {n: tally[~np.ma.getmaskarray(tally[n])] for n in tally.colnames if n != "you"}
    return [(n, len(rows), *(float(np.mean(rows[who])) for who in ("you", n))) for n, rows in both.items()]


def tally_line(rivals, who="you"):
    """Who was nearer, in one line."""
    told = {}
    for name, rounds, yours, its in rivals:
        begin = f"{rounds} round{'s' * (rounds > 1)}: {who} {yours:.2f} mag off"
        told[begin] = f"{told.get(begin, begin)}, {name} {its:.2f}"
    return "; ".join(told.values())
