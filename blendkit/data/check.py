"""The door: what comes from outside is refused in one sentence, or becomes plain numbers in the kit's own units."""

import os
import re
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.nddata import NDData
from astropy.table import Table

_RATES = [rate / area for rate in (u.one, u.electron / u.s, u.ct / u.s, u.adu / u.s) for area in (u.one, u.pix)]
PathLike = str | os.PathLike
KINDS = {  # what numbers are here: units that are taken, and how those become it that need a scale
    "e-/s": {unit: None for unit in _RATES}
    | {u.Jy: lambda flux, zeropoint: flux * 10 ** (0.4 * (zeropoint - 8.9))}
    | {u.mag: lambda mag, zeropoint: 10 ** (-0.4 * (mag - zeropoint))},
    "AB magnitudes": {u.one: None, u.mag: None, u.ABmag: None},
    "pixels": {u.one: None, u.pix: None, u.arcsec: lambda radius, pixel_scale: radius / pixel_scale},
    "arcsec per pixel": {u.one: None, u.arcsec: None, u.arcsec / u.pix: None},
    "numbers": {u.one: None},
}


def require(condition, sentence: str) -> None:
    """Raise a ValueError with `sentence` (what was given, what is expected, what to do) unless `condition` holds."""
    if not condition:
        raise ValueError(sentence)


def plain(what: str, values, kind: str = "numbers", scale: float | None = None) -> np.ndarray:
    """An array of a kind in `KINDS`, NaN where masked; by `scale` (zeropoint, arcsec per pixel) units are converted."""
    if isinstance(values, list | tuple) and any(hasattr(value, "unit") or hasattr(value, "mask") for value in values):
        return np.stack([plain(what, value, kind, scale) for value in values])
    unit, mask = getattr(values, "unit", None), getattr(values, "mask", None)
    values = np.asarray(np.ma.getdata(values.data if isinstance(values, NDData) else getattr(values, "value", values)))
    if unit is not None:
        unit, known = u.Unit(unit), KINDS[kind]
        near = [to for to in known if unit.is_equivalent(to) and (known[to] is None or scale is not None)]
        require(near, f"{what} are in {unit}, expected {kind}: convert them, and give plain numbers.")
        values = unit.to(near[0], values)
        values = values if known[near[0]] is None else known[near[0]](values, scale)
    return values if mask is None or not np.any(mask) else np.where(mask, np.nan, values)


def floats(values, what: str = "the column") -> np.ndarray:
    """Numbers as float64, NaN where they are masked."""
    try:
        return np.asarray(np.ma.filled(np.ma.asarray(values).astype(float), np.nan))
    except ValueError:
        raise ValueError(f"{what} is not numeric: check that it is a galaxy catalogue.") from None


def read_table(path: PathLike, known: str) -> Table:
    """A table with one of the usual separators, with or without comments; its header has the column `known`."""
    lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    if lines[:1] and lines[0].startswith("# %ECSV"):  # with units
        return Table.read(path, format="ascii.ecsv")
    found = [i for i, line in enumerate(lines) if known in re.split(r"[\s,;|#]+", line.replace('"', ""))]
    expected = "columns with commas, semicolons, tabs, | or spaces between"
    require(found, f"no line names a column {known}, expected {expected}.")
    header = next((i for i in found if not lines[i].startswith("#")), found[-1])
    names, rows = lines[header].lstrip("# "), [line for line in lines[header + 1 :] if not line.startswith("#")]
    separator = next((mark for mark in ",;\t|" if mark in names), " ")
    return Table.read([names, *rows], format="ascii.csv", delimiter=separator, fast_reader=False)  # every digit
