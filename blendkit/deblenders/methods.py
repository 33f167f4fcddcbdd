"""The methods by name, and how several are put to the same blends."""

import inspect
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import partial

import numpy as np
from astropy.table import Table

from ..data.check import require
from ..data.sample import PIXEL_SCALE
from ..networks.weights import shipped
from .base import check_belongs, check_columns, check_images, match, plain_fluxes
from .network import Network
from .sep import SEP
from .sersic import Sersic

METHODS = {"SEP": SEP, "sersic": Sersic} | dict.fromkeys(shipped(), Network)
"""What `measure` finds by name; add your own: ``METHODS["half each"] = my_function``."""


def by_name(name: str, truth: Table | None = None) -> Callable:
    """The deblender of a name in `METHODS`, which for a network loads its weights; `truth` is for SEP and Sersic."""
    known = {known.lower(): known for known in METHODS}
    near = [known[key] for key in get_close_matches(str(name).lower(), known, n=3, cutoff=0.4) or known]
    require(name in METHODS, f"there is no method {name!r}, expected {', '.join(near)}, or a function of your own.")
    method = METHODS[name]
    return Network(name) if method is Network else method(truth=truth) if inspect.isclass(method) else method


def measure(
    images: np.ndarray, methods: Iterable[str | Callable] | Mapping[str, str | Callable], truth: Table | None = None
) -> dict[str, Table]:
    """Put several methods to the same blends.

    Returns the table of each by label, with ``meta["seconds_per_blend"]``: wall clock, of a network once compiled.

    Parameters
    ----------
    images : array of float, shape (n, ny, nx), e-/s
    methods : sequence, or mapping from labels of your own, of names in `METHODS` and deblenders
        A deblender takes a copy of the images, and the recipes where it has a parameter called `truth`; it returns a
        table, or a dict of arrays, with `flux` (n, k).
    truth : astropy.table.Table, optional
        The blends' recipes: SEP and the Sersic fit then know the positions, every answer is checked against them, and
        one with `x` and `y` is brought into their order; see `blendkit.match`.
    """
    images = check_images(images, truth)
    n, rows, tables = len(images), len(images) if truth is None else len(truth), {}
    require(rows == n, f"there are {n} images and {rows} rows of truth, expected one each: give the same slice.")
    methods = labelled(methods)
    require(methods, f"no method was given, expected at least one: choose among {', '.join(METHODS)}.")
    chosen = {}  # before any of them is called
    for label, method in methods.items():
        good, what = isinstance(label, str) and not inspect.isclass(method), f"{label!r}: {method!r}"
        require(good, f"{what} was given as a method, expected a text and what measures images, as SEP(), not SEP.")
        deblender = method if callable(method) else by_name(method, truth)
        fixed = isinstance(deblender, partial) and "truth" in deblender.keywords
        wanted = None if fixed else inspect.signature(deblender).parameters.get("truth")
        good = wanted is None or truth is not None or wanted.default is not wanted.empty
        require(good, f"the method {label!r} takes the blends' recipes and there are none: give truth=blends.")
        chosen[label] = deblender, {"truth": truth} if wanted is not None and truth is not None else {}
    for label, (deblender, arguments) in chosen.items():
        try:
            if isinstance(deblender, Network):
                seen = deblender.card.get("pixel_scale", PIXEL_SCALE)
                given = getattr(truth, "meta", {}).get("pixel_scale", seen)
                if deblender.card and not 0.9 < given / seen < 1.1:  # galaxies look larger or smaller than it knows
                    told = f"{label!r} knows {seen} arcsec per pixel, the blends have {given}: resample."
                    warnings.warn(told, stacklevel=2)
                deblender(images[:2])
            given = images if isinstance(deblender, Network | SEP) else images.copy()
            start = time.perf_counter()
            answer = deblender(given, **arguments)
            seconds = time.perf_counter() - start
        except Exception as error:
            raise RuntimeError(f"the method {label!r} failed with {type(error).__name__}: {error}") from error
        tables[label] = checked(label, answer, n, truth)
        tables[label].meta["seconds_per_blend"] = seconds / max(n, 1)
    return tables


def labelled(methods: str | Callable | Iterable | Mapping) -> Mapping:
    """Methods by label, from one, several or a mapping; a callable without a label is called by its name."""
    if isinstance(methods, Mapping):
        return methods
    methods = [methods] if isinstance(methods, str) or callable(methods) else list(methods)
    names = (getattr(m, "name", getattr(m, "__name__", type(m).__name__)) for m in methods)
    labels = [m if isinstance(m, str) else name for m, name in zip(methods, names, strict=True)]
    require(len(set(labels)) == len(labels), f"{labels} were given, expected a name of its own for each: label them.")
    return dict(zip(labels, methods, strict=True))


def checked(label: str, answer: Table | Mapping, n: int, truth: Table | None = None) -> Table:
    """A method's answer for n blends as a table of its own, in the order of their recipes where these are known."""
    good, kind = isinstance(answer, Table | Mapping), type(answer).__name__
    require(good, f"the method {label!r} returned a {kind}, expected a table or dict with flux (n, k).")
    table = plain_fluxes(Table(answer, copy=False), getattr(truth, "meta", {}).get("zeropoint"))
    table.meta = dict(getattr(answer, "meta", {}))
    name = f"the predictions of {label!r}"
    check_columns(table, n, name)
    if truth is not None:
        check_belongs(truth, table, name)
        table = match(truth, table) if {"x", "y"} <= set(table.colnames) else table
    return table
