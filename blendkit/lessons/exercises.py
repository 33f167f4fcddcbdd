"""Exercises that check themselves: what must be true of each answer; titles and words stand in ``exercises.toml``."""

import tomllib
import warnings
from collections.abc import Callable
from functools import cache
from numbers import Real
from pathlib import Path
from textwrap import shorten

import numpy as np
from astropy.table import Table

from ..blends.recipe import draw_blends
from ..blends.rendering import render
from ..data.cleaning import clean
from ..data.load import load_sample
from ..data.photometry import detect
from ..deblenders.methods import measure

WORDS = Path(__file__).with_suffix(".toml")
KINDS = {"number": Real, "function": Callable, "pair": (tuple, list)}  # or a class by its name


def check(number: str, answer) -> bool:
    """Whether the answer to an exercise, such as "02.3", is right; prints what is, what is off, and a hint."""
    common, tasks = tomllib.loads(WORDS.read_text(encoding="utf-8")).values()
    if number not in [*tasks]:
        print(f"There is no exercise {number}, expected one of {', '.join(tasks)}.")
        return False
    task, kind = common | tasks[number], type(answer)
    fits = isinstance(answer, KINDS.get(task["kind"], ())) or task["kind"] in [base.__name__ for base in kind.__mro__]
    if not fits:
        given = "Not answered yet" if kind in (type(...), type(None)) else f"✗ This is of the type {kind.__name__}"
        print(f"{given}. Expected is {task['expects']}.")
        return False
    try:
        with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
            for name, good, *values in MUST[number](answer) if number in MUST else _alike(answer, **task["number"]):
                yes, no = task[name] if isinstance(task.get(name), list) else ("", task.get(name, name))
                if yes or not good:
                    print("✓" if good else "✗", (yes if good else no).format(*values))
                if not good:
                    return False
    except Exception as error:  # whatever an answer does
        why = f"{type(error).__name__}: {shorten(str(error), 300)}".rstrip(".")
        print(f"✗ It cannot be checked ({why}). Expected is {task['expects']}.")
        return False
    print(f"✓ {number} is solved. {task['right']}")
    return True


@cache
def _exam():
    """Blends that functions are tried on, and their images."""
    blends = draw_blends(sample := clean(load_sample("synthetic", n=60, seed=42), n_jobs=1), 60)
    return blends, render(sample, blends, masks=False)[0]


def _tried(method, change=0):
    """The fluxes that a method gives for the exam's images, in which something was changed, and its mean error (%)."""
    flux = measure(_exam()[1] + np.float32(change), {"your method": method})["your method"]["flux"]
    flux = np.asarray(flux).reshape(60, 2)
    return flux, 100 * np.abs(np.where(flux > 0, flux, 0) / np.asarray(_exam()[0]["flux"]) - 1).mean()


def _alike(got, right, within=0.01, **slips):
    """An answer must be like `right` within a share of it; slips are what usual mistakes give."""
    got = np.asarray(got, float)
    yield "shape", got.shape == np.shape(right), got.shape, np.shape(right)
    yield "finite", np.isfinite(got).all()
    yield from ((name, not np.allclose(got, wrong, rtol=within)) for name, wrong in slips.items())
    yield "alike", np.allclose(got, right, rtol=within), got.ravel()[0]


STACK, PULLS = np.arange(128.0).reshape(2, 8, 8), np.linspace(-3, 2, 120).reshape(60, 2)
FOUND = Table({"flux": [10.0, 20, 30, 40, 50, 60], "flux_err": [1.0] * 6, "sep_flux": [10.5, 18, 35, 34, 52, np.nan]})
SEEN, LEVELS = (np.arange(60) + 1) % 3, np.linspace(-0.006, 0.006, 60)[:, None, None]  # objects; sky levels, e-/s
MUST = {  # of an answer: names of steps in the words, whether each is true, and numbers for the words
    "01.2": lambda sample: [
        ("bright", (faintest := max(sample.catalog["mag"])) < 21.5, faintest),
        ("disks", {*sample.catalog["morphology"]} == {"disk"}),
        ("all", not any(why.startswith("outside") for why in sample.report["reason"][sample.report["mag"] < 21.5]))],
    "01.4": lambda sample: [
        ("rejected", (n := sum(((r := sample.report)["reason"] == "rejected by eye") & (r["flags"] == ""))) >= 3, n),
        ("accepted", (n := sum(r["kept"] & (r["flags"] != ""))) >= 2, n)],
    "02.1": lambda explorer: [
        ("apart", (r := float(explorer.recipe["distance"][0] / np.max(explorer.recipe["r_eff"]))) > 1, r),
        ("one", (n := len(detect(explorer.render()[0][0]))) == 1, n)],
    "02.2": lambda blends: [
        ("pair", np.shape(blends["id"]) == (1, 2) and len({*blends["id"][0]}) == 2),
        ("swapped", (place := [blends[name][0].tolist() for name in ("dx", "dy")]) != [[0, 5], [0, 12]]),
        ("place", place == [[0, 12], [0, 5]], *place), ("brighter", blends["dmag"][0, 1] != -1),
        ("fainter", [*blends["dmag"][0]] == [0, 1], *blends["dmag"][0])],
    "02.3": lambda close: _alike(
        close((b := _exam()[0]).copy()), (d := b["distance"]) < (r := b["r_eff"]).max(axis=1), central=d < r[:, 0],
        smaller=d < r.min(axis=1), farther=d > r.max(axis=1), pixels=d < 1),
    "02.4": lambda hardest: _alike(
        hardest((b := _exam()[0]).copy(), SEEN.copy()),
        np.argmax((SEEN == 1) * (r := b["distance"] / b["r_eff"].max(axis=1))), all=np.argmax(r),
        pixels=np.argmax((SEEN == 1) * b["distance"]), nearest=np.argmin(np.where(SEEN == 1, r, 99))),
    "02b.2": lambda pattern: [
        ("size", np.shape(p := np.array(pattern, float)) == (3, 3), np.shape(p)),
        ("sides", np.allclose(p, p[..., ::-1])),
        ("even", abs(p.sum()) < 1e-6, p.sum()), ("lower", p[0].sum() > p[2].sum())],
    "03.2": lambda best: _alike(
        best(Table({"epoch": [1, 2, 3, 4], "loss": [9, 7, 6, 5], "val_loss": [9.5, 7.1, 6.6, 7.3]})), 3,
        zero=2, train=4, loss=6.6),
    "03.3": lambda turned: _alike(
        turned(STACK.copy()), np.roll(STACK[:, ::-1, ::-1], 1, (1, 2)), unrolled=STACK[:, ::-1, ::-1],
        mirrored=STACK[:, :, ::-1], upside=STACK[:, ::-1]),
    "03.4": lambda within: _alike(
        within(100 + 9 * PULLS, np.full((60, 2), 9.0), np.full((60, 2), 100.0)), share := (abs(PULLS) < 1).mean(axis=0),
        percent=100 * share, signed=(PULLS < 1).mean(axis=0), beyond=1 - share),
    "04.1": lambda exam: [
        ("median", (m := min(e := exam.errors, key=lambda m: e[m]["median"], default="Nobody")) == "SExtractor", m)],
    "04.3": lambda f: _alike(
        f(np.array([10.0, 20, 40]), np.array([11, np.nan, 30])), 45, fraction=0.45, found=17.5, median=25, none=35 / 3),
    "05.1": lambda explorer: [
        ("off", (p := np.nanmax(abs((said := explorer.methods[0].answer(explorer.image, explorer.recipe)[0][0])["flux"]
                              - explorer.true) / said["flux_err"])) > 3, p), ("flag", not said["out_of_domain"])],
    "05.2": lambda table: [
        ("blur", {*table["condition"]} == {"blur"}), ("values", {0.3, 0.6, 0.9} <= {*table["value"]}),
        ("states", np.isfinite(table["within_1"]).any())],
    "05.4": lambda method: [
        ("level", np.allclose(a := _tried(method)[0], _tried(method, LEVELS)[0], rtol=0.05, equal_nan=True)),
        ("bias", 0.9 < (ratio := np.nanmedian(a / _tried("SEP")[0])) < 1.1, ratio)],
    "06.1": lambda pair: [
        ("same", len(pair[0]) == len(pair[1]) > 0, len(pair[0]), len(pair[1])),
        ("apart", all(pair[0]["distance"] > pair[0]["r_eff"].max(axis=1))),
        ("wrong", not any(abs(np.log2(pair[1]["flux"][:, 1] / pair[0]["flux"][:, 1])) < 1), len(pair[0]))],
    "06.2": lambda method: [
        ("zero", not ((flux := _tried(method)[0]) == 0).any()), ("faint", not (flux < 80).any()),
        ("silent", (n := np.isfinite(flux).sum()) > 5, n)],
    "06.3": lambda pair: [
        ("rows", {"units", "noise"} <= {*pair[0]["condition"]} and len({*pair[0]["method"]}) == 1),
        ("worst", pair[1] == pair[0]["condition"][np.argmax(pair[0]["median"])], pair[1])],
    "06.4": lambda method: [
        ("beaten", (mine := _tried(method)[1]) < 0.8 * (sep := _tried("SEP")[1]), mine, sep)],
    "07.1": lambda disagree: _alike(
        disagree(FOUND.copy()), abs(d := FOUND["flux"] - FOUND["sep_flux"]) > 3, signed=d > 3, below=d < -3,
        one=abs(d) > 1, agree=abs(d) <= 3),
    "07.3": lambda pair: [
        *((name, all(abs(t[a] / t["true"] - 1) < abs(t[b] / t["true"] - 1) / 2)) for name, t, a, b in (
            ("ours", pair[0], "flux", "sep_flux"), ("theirs", pair[1], "sep_flux", "flux"))),
        ("some", len(pair[0]) + len(pair[1]) > 0, len(pair[0]), len(pair[1]))],
}  # fmt: skip
