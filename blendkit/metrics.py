"""Every score in the paper (Boucaud et al. 2019), with error bars that respect how the blends were made.

A galaxy sits in many blends, so rows of a blend set are not independent. Error bars therefore come from
resampling *galaxies* with all their rows (`resample`), never single rows. A measurement that is missing (NaN)
or impossible (a flux that is not positive) is counted as failed and reported; it is never dropped in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from .simulate import MAX_GALAXIES

if TYPE_CHECKING:
    from astropy.table import Table

CASES = ("both", "only central", "only companion", "more", "none")
"""The detection cases of §3.3, in the order in which they are reported."""

OUTLIER_DMAG = 0.75
"""Further than this from the isolated magnitude is an outlier (Figure 5): a factor of two in flux."""

_MAGNITUDE_NAMES = ("bias", "scatter", "outliers", "mape")
_FLUX_NAMES = ("mape", "median")
_COLUMNS = {  # column of the table of scores: (format, unit, description)
    "bias": (".3f", "mag", "mean of measured - isolated magnitude: positive is measured too faint"),
    "scatter": (".3f", "mag", "standard deviation of measured - isolated magnitude"),
    "outliers": (".4f", None, f"share (0 to 1) with |measured - isolated magnitude| > {OUTLIER_DMAG}"),
    "mape_mag": (".2f", "%", "mean absolute percentage error of the magnitude (eq. 1, as in Figure 5)"),
    "mape_flux": (".2f", "%", "mean absolute percentage error of the flux (eq. 1, as in Table 2)"),
    "median_flux": (".2f", "%", "median absolute percentage error of the flux"),
}


def magnitude_scores(mag_true: ArrayLike, mag_measured: ArrayLike) -> dict[str, int | float]:
    """Score measured magnitudes against those of the isolated galaxies: the four numbers of Figure 5.

    Parameters
    ----------
    mag_true, mag_measured : array_like, same shape
        Magnitudes at the same zeropoint. A measured one that is NaN, infinite or masked has failed.

    Returns
    -------
    dict
        ``n``: how many were scored; ``failed``: how many were not (``n + failed`` were given);
        ``bias``: mean of Δmag = measured - true, so positive is measured too faint; ``scatter``: standard
        deviation of Δmag, outliers included; ``outliers``: share (0 to 1) with |Δmag| > 0.75; ``mape``: mean
        absolute percentage error (eq. 1) of the magnitude, in %. With ``n`` = 0 the four scores are NaN.

    Raises
    ------
    ValueError
        Shapes differ, or a true magnitude is not finite.
    """
    true, measured = _same_shape(mag_true, mag_measured, "magnitudes")
    if (bad := ~np.isfinite(true)).any():
        raise ValueError(_bad_truth("magnitudes", "finite", bad, true))
    return _point(_MAGNITUDE_NAMES, _magnitude_statistics, true, measured, np.isfinite(measured))


def flux_scores(flux_true: ArrayLike, flux_measured: ArrayLike) -> dict[str, int | float]:
    """Score measured fluxes against those of the isolated galaxies: the percentage errors of Table 2.

    Parameters
    ----------
    flux_true, flux_measured : array_like, same shape
        Fluxes in the same unit. A measured one that is NaN, infinite, masked or ≤ 0 has failed.

    Returns
    -------
    dict
        ``n``: how many were scored; ``failed``: how many were not (``n + failed`` were given);
        ``mape``, ``median``: mean (eq. 1) and median absolute percentage error of the flux, in %.
        With ``n`` = 0 both are NaN.

    Raises
    ------
    ValueError
        Shapes differ, or a true flux is not finite and positive.
    """
    true, measured = _same_shape(flux_true, flux_measured, "fluxes")
    if (bad := ~_is_flux(true)).any():
        raise ValueError(_bad_truth("fluxes", "finite and positive", bad, true))
    return _point(_FLUX_NAMES, _flux_statistics, true, measured, _is_flux(measured))


def iou(masks_true: ArrayLike, masks_measured: ArrayLike) -> np.ndarray:
    """Intersection over union of true and measured masks (eq. 2, as in Figures 10 to 12).

    Parameters
    ----------
    masks_true, masks_measured : (n, ny, nx, 2) bool
        Masks of the central galaxy (first) and of its companion.

    Returns
    -------
    (n, 2) float64
        Between 0 (nothing in common, or one of the two empty) and 1 (equal); NaN where both are empty.

    Raises
    ------
    ValueError
        Masks that are not boolean, not (n, ny, nx, 2), or of different shapes.
    """
    true, measured = np.asarray(masks_true), np.asarray(masks_measured)
    for name, masks in (("true", true), ("measured", measured)):
        if masks.dtype != bool:
            raise ValueError(f"The {name} masks have dtype {masks.dtype}, expected bool: threshold them (masks > 0.5).")
    if true.shape != measured.shape or true.ndim != 4 or true.shape[-1] != 2:
        raise ValueError(
            f"Masks have shapes {true.shape} (true) and {measured.shape} (measured), expected the same "
            "(n, ny, nx, 2) for both: stack central and companion along the last axis."
        )
    common = np.count_nonzero(true & measured, axis=(1, 2))
    union = np.count_nonzero(true | measured, axis=(1, 2))
    return np.divide(common, union, out=np.full(union.shape, np.nan), where=union > 0)


def resample(galaxies: ArrayLike, n_bootstrap: int = 200, seed: int | np.random.Generator = 0) -> np.ndarray:
    """Draw galaxies with replacement, each with all of its rows.

    Parameters
    ----------
    galaxies : (n,) array_like
        Which galaxy each row measures; not empty.
    n_bootstrap : int
        Number of resamples, at least 2.
    seed : int or numpy.random.Generator
        The same integer and galaxies give the same draws, in whatever order the rows stand.

    Returns
    -------
    (n_bootstrap, n) int32
        How often each row is in each resample: weights for sums, means and `weighted_median`.

    Raises
    ------
    ValueError
        Fewer than two resamples asked for, or no rows given.
    """
    _check_bootstrap(n_bootstrap)
    names, galaxy_of_row = np.unique(np.asarray(galaxies), return_inverse=True)
    n = len(names)
    if n == 0:
        raise ValueError("There are no rows to resample, expected at least one: check the selection.")
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=n_bootstrap)
    return counts.astype(np.int32)[:, galaxy_of_row]


def weighted_median(values: ArrayLike, weights: np.ndarray) -> np.ndarray:
    """Median of values that occur a whole number of times each.

    Parameters
    ----------
    values : (n,) array_like
    weights : (m, n) int
        How often each value occurs, in each of m resamples; not all zero.

    Returns
    -------
    (m,) float64
        ``np.median(np.repeat(values, w))`` for each row ``w`` of the weights.
    """
    values = np.asarray(values, dtype=float)
    order = np.argsort(values)
    upto = np.cumsum(weights[:, order], axis=1)
    total = upto[:, -1:]
    lower, upper = ((upto > middle).argmax(axis=1) for middle in ((total - 1) // 2, total // 2))
    return (values[order[lower]] + values[order[upper]]) / 2


def scores(
    blends: Table,
    predictions: Mapping[str, Table],
    *,
    n_bootstrap: int = 200,
    seed: int | np.random.Generator = 0,
) -> Table:
    """Score every method on both galaxies, overall and by the method's own detection case, with error bars.

    Parameters
    ----------
    blends : astropy.table.Table
        The recipe from `blendkit.draw_blends`: ``central``, ``companion`` (ids), ``flux_central``,
        ``flux_companion`` (FLUX_AUTO of each galaxy alone), ``meta["zeropoint"]`` and ``meta["fingerprint"]``.
    predictions : mapping of str to astropy.table.Table
        For each method ``flux_central`` and ``flux_companion``, in the order of `blends` and at its
        zeropoint; optionally ``case`` (see `CASES`), ``meta["matching"]``, a sentence on how positions
        were matched, and ``meta["trained_on"]`` (see `check_unseen`).
    n_bootstrap : int
        Number of resamples behind each error bar, at least 2.
    seed : int or numpy.random.Generator
        With an integer every row of the result starts from it, so that a method's error bars do not depend on
        which other methods are scored beside it.

    Returns
    -------
    astropy.table.Table
        A row per ``method``, ``galaxy`` ("central", "companion") and ``case`` ("all", then each case that
        occurs). ``n`` and ``failed`` as in `flux_scores`; ``bias``, ``scatter`` (mag), ``outliers`` (share,
        0 to 1), ``mape_mag`` (%, Figure 5), ``mape_flux`` (%, Table 2), ``median_flux`` (%), each followed by
        its one-sigma error ``…_err``. Errors come from resampling the galaxies measured (centrals for central
        rows, companions for companion rows) and are NaN where fewer than two galaxies were measured. No
        resample can hold an outlier when there is none: an outlier share of 0 has error 0, not certainty.
        ``meta["matching"]`` holds the sentence of each method.

    Raises
    ------
    ValueError
        A missing column or zeropoint, lengths that differ, an unknown case, a true flux that is not finite
        and positive, no method, fewer than two resamples, or a network that was trained on these galaxies.
    """
    from astropy.table import Table

    _check_bootstrap(n_bootstrap)
    if not predictions:
        raise ValueError('There is no prediction to score, expected at least one: give {"name": table}.')
    _need(blends, "The blends", "central", "companion", "flux_central", "flux_companion")
    if "zeropoint" not in blends.meta:
        raise ValueError(
            'The blends have no zeropoint: set blends.meta["zeropoint"] to the AB zeropoint of the fluxes.'
        )
    zeropoint = blends.meta["zeropoint"]

    rows = []
    for method, pred in predictions.items():
        name = f"The predictions of {method!r}"
        _need(pred, name, "flux_central", "flux_companion")
        _same_length(blends, pred, name)
        check_unseen(blends, pred, name)
        selections = {"all": slice(None)}
        if "case" in pred.colnames:
            cases = _cases(pred, name)
            selections |= {case: cases == case for case in CASES if case in cases}
        for galaxy in ("central", "companion"):
            ids = np.asarray(blends[galaxy])
            true, measured = _floats(blends[f"flux_{galaxy}"]), _floats(pred[f"flux_{galaxy}"])
            for case, rows_in in selections.items():
                columns = (values[rows_in] for values in (ids, true, measured))
                rows.append((method, galaxy, case, *_score_row(*columns, zeropoint, n_bootstrap, seed)))

    with_errors = [column for name in _COLUMNS for column in (name, f"{name}_err")]
    table = Table(rows=rows, names=["method", "galaxy", "case", "n", "failed", *with_errors])
    table["case"].description = "detection case, as the method itself reports it"
    table["n"].description = "measured, and scored"
    table["failed"].description = "not measured: flux NaN, infinite or not positive"
    for name, (form, unit, description) in _COLUMNS.items():
        for column, text in ((name, description), (f"{name}_err", f"one-sigma bootstrap error of {name}")):
            table[column].format, table[column].unit, table[column].description = form, unit, text
    table.meta["matching"] = {name: pred.meta.get("matching", "not stated") for name, pred in predictions.items()}
    return table


def check_unseen(blends: Table, pred: Table, name: str = "The predictions") -> None:
    """Refuse the predictions of a network that was trained on galaxies of these blends.

    Parameters
    ----------
    blends : astropy.table.Table
        ``central`` and ``companion`` (ids), and ``meta["fingerprint"]``, a digest for each id.
    pred : astropy.table.Table
        Checked where ``meta["trained_on"]`` is there: ``galaxies`` are digests, ``seeds`` simulations of which all
        galaxies were used.
    name : str
        How the message begins.

    Raises
    ------
    ValueError
        Where a galaxy in these rows is one of those.
    """
    if not pred.meta.get("trained_on") or not {"central", "companion"} <= set(blends.colnames):
        return
    trained = pred.meta["trained_on"]
    seeds, galaxies = set(trained.get("seeds", ())), set(trained.get("galaxies", ()))
    ids = np.unique(np.concatenate([np.asarray(blends[galaxy]) for galaxy in ("central", "companion")])).tolist()
    digests = blends.meta.get("fingerprint", {})
    seen = [i for i in ids if (i - 1) // MAX_GALAXIES in seeds or digests.get(i) in galaxies]
    if seen:
        here = {(i - 1) // MAX_GALAXIES for i in ids}
        other = next(seed for seed in count() if seed not in seeds | here)
        raise ValueError(
            f"{name} come from a network that was trained on {len(seen)} of the {len(ids)} galaxies in these blends: "
            f"score it on galaxies that it has never seen, for example of load_sample('synthetic', seed={other})."
        )


def case_shares(blends: Table, pred: Table, n_bootstrap: int = 200, seed: int | np.random.Generator = 0) -> Table:
    """Share of the blends in each detection case (§3.3).

    Parameters
    ----------
    blends : astropy.table.Table
        The recipe; only ``central`` (ids) is used.
    pred : astropy.table.Table
        Predictions in the same order, with the column ``case`` (see `CASES`).
    n_bootstrap, seed
        As in `resample`.

    Returns
    -------
    astropy.table.Table
        ``case`` (all five, in the order of `CASES`), ``share`` (0 to 1), ``share_err`` (one sigma, resampling
        central galaxies; NaN with fewer than two) and ``n``, the number of blends. No blends: shares are NaN.

    Raises
    ------
    ValueError
        A missing column, lengths that differ, an unknown case, or fewer than two resamples.
    """
    from astropy.table import Table

    _check_bootstrap(n_bootstrap)
    _need(blends, "The blends", "central")
    _need(pred, "The predictions", "case")
    _same_length(blends, pred, "The predictions")
    is_case = _cases(pred, "The predictions")[:, None] == np.array(CASES)
    n = is_case.sum(axis=0)

    def shares(weights: np.ndarray) -> np.ndarray:
        return weights @ is_case / weights.sum(axis=1, keepdims=True)

    share = n / len(pred) if len(pred) else np.full(len(CASES), np.nan)
    error = _bootstrap_error(shares, blends["central"], n_bootstrap, seed, len(CASES))
    table = Table([CASES, share, error, n], names=["case", "share", "share_err", "n"])
    table["share"].format = table["share_err"].format = ".3f"
    table["share"].description = "share of all blends (0 to 1)"
    table["share_err"].description = "one-sigma bootstrap error of share"
    table["n"].description = "number of blends"
    return table


def _magnitude_statistics(true: np.ndarray, measured: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return bias, scatter, outliers and MAPE, (m, 4), of n magnitudes under each of (m, n) weights."""
    dmag = measured - true
    centre = dmag.mean()  # keeps the variance, a difference of two means, free of cancellation
    off = dmag - centre
    columns = np.stack([off, off**2, np.abs(dmag) > OUTLIER_DMAG, 100 * np.abs(dmag / true)], axis=1)
    offset, square, outliers, mape = (weights @ columns / weights.sum(axis=1, keepdims=True)).T
    scatter = np.sqrt(np.maximum(square - offset**2, 0))
    return np.stack([centre + offset, scatter, outliers, mape], axis=1)


def _flux_statistics(true: np.ndarray, measured: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return mean and median absolute percentage error, (m, 2), of n fluxes under each of (m, n) weights."""
    error = 100 * np.abs(measured / true - 1)
    return np.stack([weights @ error / weights.sum(axis=1), weighted_median(error, weights)], axis=1)


def _point(
    names: tuple[str, ...], statistics: Callable, true: np.ndarray, measured: np.ndarray, good: np.ndarray
) -> dict[str, int | float]:
    """Count, and score the good measurements with each taken once."""
    n = int(good.sum())
    values = np.full(len(names), np.nan)
    if n:
        (values,) = statistics(true[good], measured[good], np.ones((1, n), int))
    return {"n": n, "failed": good.size - n, **dict(zip(names, values.tolist(), strict=True))}


def _score_row(
    galaxies: np.ndarray,
    true: np.ndarray,
    measured: np.ndarray,
    zeropoint: float,
    n_bootstrap: int,
    seed: int | np.random.Generator,
) -> list[float]:
    """Return n, failed, and each score of `_COLUMNS` followed by its error."""
    flux = flux_scores(true, measured)
    good = _is_flux(measured)
    galaxies, true, measured = galaxies[good], true[good], measured[good]
    mag_true, mag_measured = (zeropoint - 2.5 * np.log10(value) for value in (true, measured))
    mag = magnitude_scores(mag_true, mag_measured)

    def statistics(weights: np.ndarray) -> np.ndarray:
        magnitudes = _magnitude_statistics(mag_true, mag_measured, weights)
        return np.hstack([magnitudes, _flux_statistics(true, measured, weights)])

    values = [mag[name] for name in _MAGNITUDE_NAMES] + [flux[name] for name in _FLUX_NAMES]
    errors = _bootstrap_error(statistics, galaxies, n_bootstrap, seed, len(values))
    return [flux["n"], flux["failed"], *np.stack([values, errors], axis=1).ravel().tolist()]


def _bootstrap_error(
    statistics: Callable[[np.ndarray], np.ndarray],
    galaxies: ArrayLike,
    n_bootstrap: int,
    seed: int | np.random.Generator,
    n_statistics: int,
) -> np.ndarray:
    """Return the standard deviation of each statistic over resamples, NaN with fewer than two galaxies."""
    if len(np.unique(np.asarray(galaxies))) < 2:
        return np.full(n_statistics, np.nan)
    return statistics(resample(galaxies, n_bootstrap, seed)).std(axis=0, ddof=1)


def _floats(values: ArrayLike) -> np.ndarray:
    """Return a float64 array; what is masked, as in tables read from files with empty fields, becomes NaN."""
    return np.ma.filled(np.ma.asarray(values, dtype=float), np.nan)


def _is_flux(flux: np.ndarray) -> np.ndarray:
    return np.isfinite(flux) & (flux > 0)


def _same_shape(true: ArrayLike, measured: ArrayLike, what: str) -> tuple[np.ndarray, np.ndarray]:
    true, measured = _floats(true), _floats(measured)
    if true.shape != measured.shape:
        raise ValueError(
            f"True {what} have shape {true.shape} but measured ones {measured.shape}, expected the same: "
            "give one measurement per galaxy, NaN where there is none."
        )
    return true, measured


def _bad_truth(what: str, expected: str, bad: np.ndarray, true: np.ndarray) -> str:
    return (
        f"{bad.sum()} of {true.size} true {what} are not {expected} (the first is {true[bad][0]}): "
        "drop these galaxies before scoring."
    )


def _check_bootstrap(n_bootstrap: int) -> None:
    if n_bootstrap < 2:
        raise ValueError(f"n_bootstrap is {n_bootstrap}, expected at least 2: 200 gives error bars to 5 %.")


def _need(table: Table, name: str, *columns: str) -> None:
    if missing := [column for column in columns if column not in table.colnames]:
        raise ValueError(
            f"{name} have no column {', '.join(missing)} (they have {', '.join(table.colnames) or 'none'}): "
            f"give a table with {', '.join(columns)}."
        )


def _same_length(blends: Table, pred: Table, name: str) -> None:
    if len(pred) != len(blends):
        raise ValueError(
            f"{name} have {len(pred)} rows for {len(blends)} blends: "
            "give one row per blend, in the same order, NaN where nothing was found."
        )


def _cases(pred: Table, name: str) -> np.ndarray:
    """Return the detection cases, (n,) str."""
    cases = np.ma.filled(np.ma.asarray(pred["case"]).astype("U32"), "masked")
    if unknown := sorted(set(cases.tolist()) - set(CASES)):
        raise ValueError(f"{name} have an unknown case {unknown[0]!r}, expected one of {CASES}: rename it.")
    return cases
