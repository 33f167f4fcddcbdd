"""The paper's tables: galaxies kept (1), errors of the fluxes by method (2), SExtractor's settings (3)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .cleaning import table1
from .metrics import (
    FIGURE_5_CASES,
    OUTLIER_DMAG,
    _both_galaxies,
    _check_tables,
    _drawer,
    _flux_statistics,
    _mean_of,
    _measured,
    _percent,
    _with_errors,
)
from .photometry import COLD, HOT

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["ranking", "table1", "table2", "table3"]

POSITIONS = {"true positions": "told", "pixels only": "pixels"}  # how meta["matching"] begins: the word for it


def table2(
    blends: Table,
    predictions: Mapping[str, Table],
    parameters: Mapping[str, int | None] | None = None,
    *,
    n_bootstrap: int = 200,
    seed: int | np.random.Generator = 0,
) -> Table:
    """Flux errors of every method, for central galaxies, companions and, in the total row, both (Table 2).

    Parameters
    ----------
    blends : astropy.table.Table
    predictions : mapping of str to astropy.table.Table
        As for `blendkit.metrics.scores`.
    parameters : mapping of str to int, optional
        How many each network has (``network.count_params()``): a column of its own, masked for methods that are not
        named or have None.
    n_bootstrap, seed
        As for `blendkit.metrics.scores`; in total rows galaxies are drawn with all their rows, central or companion.

    Returns
    -------
    astropy.table.Table
        Rows "central", "companion" and "total" for each `method`: `n` measured, `failed`, `mape` (%, equation 1, of
        the flux, measured ones only) and `median` (%), each with `_err`, NaN with fewer than two galaxies.

    Raises
    ------
    ValueError
        As `blendkit.metrics.scores`, but that cases may be masked; and parameters that are no whole numbers.
    """
    from astropy.table import MaskedColumn, Table

    _check_tables(blends, predictions, n_bootstrap)
    draw, rows = _drawer(n_bootstrap, seed), []
    for method, pred in predictions.items():
        parts = {galaxy: _measured(blends, pred, galaxy) for galaxy in FIGURE_5_CASES}
        parts["total"] = _both_galaxies(blends, pred)
        for galaxy, columns in parts.items():
            good = np.isfinite(columns[2])
            ids, true, measured = (column[good] for column in columns[:3])
            numbers = _with_errors(2, partial(_flux_statistics, true, measured), ids, draw)
            rows.append((method, galaxy, len(ids), len(good) - len(ids), *numbers))
    table = Table(rows=rows, names=["method", "galaxy", "n", "failed", "mape", "mape_err", "median", "median_err"])
    for name in ("mape", "mape_err", "median", "median_err"):
        table[name].info.format, table[name].info.unit = ".2f", "%"
    if parameters is not None:
        sizes = _sizes(parameters, table["method"])
        column = MaskedColumn([size or 0 for size in sizes], mask=[size is None for size in sizes], dtype=int)
        table.add_column(column, name="parameters", index=2)
        table["parameters"].info.format = ",d"
    return table


def table3() -> Table:
    """SExtractor's settings in the two passes, as SEP gets them here (section 3.3, Table 3).

    Returns
    -------
    astropy.table.Table
        `setting` (SExtractor's name), `SEP` (its argument), `cold`, `hot`.
    """
    from astropy.table import Table

    settings = {
        "DETECT_THRESH": "thresh",
        "DETECT_MINAREA": "minarea",
        "DEBLEND_MINCONT": "deblend_cont",
        "DEBLEND_NTHRESH": "deblend_nthresh",
    }
    rows = [(name, argument, f"{COLD[argument]:g}", f"{HOT[argument]:g}") for name, argument in settings.items()]
    return Table(rows=rows, names=["setting", "SEP", "cold", "hot"])


def ranking(
    blends: Table,
    predictions: Mapping[str, Table],
    *,
    n_bootstrap: int = 200,
    seed: int | np.random.Generator = 0,
) -> Table:
    """All methods on the same blends, the best first.

    A method must not climb by leaving out what is hard: they stand in the order of `mape_all`, in which every galaxy
    counts, and one that was not measured as 100 % wrong, as if its flux were zero.

    Parameters
    ----------
    blends : astropy.table.Table
    predictions : mapping of str to astropy.table.Table
        As for `blendkit.metrics.scores`; ``meta["seconds_per_blend"]`` where `blendkit.deblenders.measure` gave it.
    n_bootstrap, seed
        As for `blendkit.metrics.scores`; galaxies are drawn with all their rows, central or companion. Whether two
        methods differ is not told by their error bars, but by `blendkit.metrics.difference`.

    Returns
    -------
    astropy.table.Table
        `rank`, `method`; over all galaxies, centrals and companions together: `mape_all` (%), `mape` (%, measured ones
        only), `median` (%), `outliers` (%, of those measured: further off than 0.75 mag), each with `_err`, NaN with
        fewer than two galaxies; `failed` (%); `seconds` per blend, NaN where unknown; `positions`, whether the method
        was "told" where the galaxies are or had the "pixels" only, by how ``meta["matching"]`` begins ("true
        positions" or "pixels only"), else "unknown". ``meta["matching"]`` of the result holds the whole sentences.

    Raises
    ------
    ValueError
        As `blendkit.metrics.scores`, but that cases may be masked.
    """
    from astropy.table import Table

    _check_tables(blends, predictions, n_bootstrap)
    draw, rows = _drawer(n_bootstrap, seed), []
    for method, pred in predictions.items():
        columns = ids, true, measured, *_ = _both_galaxies(blends, pred)
        good = np.isfinite(measured)
        everything = _with_errors(1, _mean_of(_percent(true, measured)), ids, draw)
        numbers = _with_errors(3, _statistics(*(column[good] for column in columns[1:])), ids[good], draw)
        seconds = float(pred.meta.get("seconds_per_blend", np.nan))
        rows.append((method, *everything, *numbers, 100 * np.mean(~good), seconds, positions_of(pred)))
    rows.sort(key=lambda row: row[1])
    columns = [name for key in ("mape_all", "mape", "median", "outliers") for name in (key, f"{key}_err")]
    table = Table(rows=rows, names=["method", *columns, "failed", "seconds", "positions"])
    table.add_column(np.arange(1, len(table) + 1), name="rank", index=0)
    for name in (*columns, "failed"):
        table[name].info.format, table[name].info.unit = ".2f" if name.startswith("out") else ".1f", "%"
    table["seconds"].info.format, table["seconds"].info.unit = ".2g", "s"
    table["positions"].info.description = "whether the method was told the true positions, or had the pixels only"
    table.meta["matching"] = {name: pred.meta.get("matching", "not stated") for name, pred in predictions.items()}
    return table


def _sizes(parameters, methods):
    """How many parameters each method has, None where that is not said."""
    if not isinstance(parameters, Mapping):
        raise ValueError(
            f'parameters is a {type(parameters).__name__}, expected a mapping: give {{"name": network.count_params()}}.'
        )
    for method, size in parameters.items():
        if size is not None and not isinstance(size, int | np.integer):
            raise ValueError(
                f"parameters[{method!r}] is {size!r}, expected a whole number: give network.count_params(), or None."
            )
    return [parameters.get(method) for method in methods.tolist()]


def _statistics(true, measured, mag_true, mag_measured):
    """The function that gives mean and median error and the share of outliers, (3, m) in %, in each of m resamples."""
    outliers = _mean_of(100.0 * (np.abs(mag_measured - mag_true) > OUTLIER_DMAG))
    return lambda *drawn: np.concatenate([_flux_statistics(true, measured, *drawn), outliers(*drawn)])


def positions_of(pred: Table) -> str:
    """What a method knew of the two positions.

    Parameters
    ----------
    pred : astropy.table.Table
        Its predictions, of which ``meta["matching"]`` is read.

    Returns
    -------
    {"told", "pixels", "unknown"}
    """
    said = str(pred.meta.get("matching", "")).lower()
    return next((word for begins, word in POSITIONS.items() if said.startswith(begins)), "unknown")
