"""Every score in the paper (Boucaud et al. 2019), with error bars that respect how the blends were made.

A galaxy sits in many blends, so rows of a blend set are not independent. Error bars therefore come from
resampling *galaxies* with all their rows (`resample`), never single rows. A measurement that is missing (NaN)
or impossible (a flux that is not positive) is counted as failed and reported; it is never dropped in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from functools import lru_cache
from itertools import combinations_with_replacement, count, pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from .samples import MORPHOLOGIES
from .simulate import MAX_GALAXIES

if TYPE_CHECKING:
    from astropy.table import Table

CASES = ("both", "only central", "only companion", "more", "none")
"""The detection cases of §3.3, in the order in which they are reported."""

OUTLIER_DMAG = 0.75
"""Further than this from the isolated magnitude is an outlier (Figure 5): a factor of two in flux."""

FIGURE_5_CASES = {"central": ("both", "only central"), "companion": ("both", "only companion")}
"""The detection cases that count for each galaxy in Figures 5 and 7 to 9."""

NOT_MEASURED = 100.0
"""Error in % of a flux that was not measured, where every galaxy counts: as if the flux were zero."""

_MAD_TO_SIGMA = 1.4826  # of a Gaussian
_MAGNITUDE_NAMES = ("bias", "scatter", "outliers", "mape")
_FLUX_NAMES = ("mape", "median")
_FIGURE_5_NAMES = ("bias", "scatter", "outliers", "mape_mag")
_ALL_NAMES = (
    "bias", "median", "scatter", "robust_scatter", "outliers", "mape_mag", "mape_flux", "median_flux",
)  # fmt: skip
_CALIBRATION_NAMES = ("within_1", "within_2", "within_3", "pull_mean", "pull_scatter")
_COLUMNS = {  # of the tables of scores: (format, unit, description)
    "case": (None, None, "detection case, as the method itself reports it"),
    "bin": ("d", None, "number of the bin, from 0; the same bins for every method and galaxy"),
    "label": (None, None, "what the bin holds"),
    "low": (".3f", None, "lower edge, in the bin; NaN where bins are words"),
    "high": (".3f", None, "upper edge, in the bin only if it is the last; NaN where bins are words"),
    "pair": (None, None, "morphologies of the two galaxies, in either order"),
    "n": ("d", None, "measured, and scored"),
    "failed": ("d", None, "not measured: flux NaN, infinite or not positive"),
    "left_out": ("d", None, "neither: blends whose detection case does not count for this galaxy (figure_5_rows)"),
    "bias": (".3f", "mag", "mean of measured - isolated magnitude: positive is measured too faint"),
    "median": (".3f", "mag", "median of measured - isolated magnitude"),
    "scatter": (".3f", "mag", "standard deviation of measured - isolated magnitude"),
    "robust_scatter": (".3f", "mag", "1.4826 times the median distance of measured - isolated magnitude to its median"),
    "outliers": (".4f", None, f"share (0 to 1) with |measured - isolated magnitude| > {OUTLIER_DMAG}"),
    "mape_mag": (".2f", "%", "mean absolute percentage error of the magnitude (eq. 1, as in Figure 5)"),
    "mape_flux": (".2f", "%", "mean absolute percentage error of the flux (eq. 1, as in Table 2)"),
    "median_flux": (".2f", "%", "median absolute percentage error of the flux"),
    "within_1": (".3f", None, "share (0 to 1) within one predicted sigma; 0.683 if errors are Gaussian and right"),
    "within_2": (".3f", None, "share (0 to 1) within two predicted sigmas; 0.954 if errors are Gaussian and right"),
    "within_3": (".3f", None, "share (0 to 1) within three predicted sigmas; 0.997 if errors are Gaussian and right"),
    "pull_mean": (".3f", None, "mean of (measured - isolated flux) / predicted sigma; 0 if there is no bias"),
    "pull_scatter": (
        ".3f",
        None,
        "robust scatter of the pulls; 1 if the predicted sigmas are right, more if too small",
    ),
    "iou": (".3f", None, "mean intersection over union (eq. 2)"),
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
        absolute percentage error (eq. 1) of the magnitude, in %, from which true magnitudes of exactly 0 are left
        out, and from nothing else. With ``n`` = 0 the four scores are NaN.

    Raises
    ------
    ValueError
        Shapes differ, or a true magnitude is not finite.
    """
    true, measured = _same_shape(mag_true, mag_measured, "magnitudes")
    if (bad := ~np.isfinite(true)).any():
        raise ValueError(_bad_truth("magnitudes", "finite", bad, true))
    return _point(_MAGNITUDE_NAMES, _magnitude_means, true, measured, np.isfinite(measured))


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
        How often each row is in each resample: weights for sums, means and `weighted_median`. A single galaxy is in
        all resamples alike: that is no error of 0, there is none to tell.

    Raises
    ------
    ValueError
        Fewer than two resamples asked for, or no rows given.
    """
    _check_bootstrap(n_bootstrap)
    names, galaxy_of_row = np.unique(np.asarray(galaxies), return_inverse=True)
    if len(names) == 0:
        raise ValueError("There are no rows to resample, expected at least one: check the selection.")
    return _drawer(n_bootstrap, seed)(len(names)).T[:, galaxy_of_row]


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
    return _median(*_in_order(values, np.arange(len(values)), np.asarray(weights, dtype=np.int64).T))


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
        occurs). ``n`` and ``failed`` as in `flux_scores`; of Δmag = measured - isolated magnitude ``bias``
        (mean), ``median``, ``scatter`` (standard deviation) and ``robust_scatter`` (1.4826 times the median
        distance to the median), all in mag; ``outliers`` (share, 0 to 1), ``mape_mag`` (%, Figure 5),
        ``mape_flux`` (%, Table 2), ``median_flux`` (%), each followed by its one-sigma error ``…_err``. Errors
        come from resampling the galaxies measured (centrals for central rows, companions for companion rows)
        and are NaN where fewer than two galaxies were measured. No resample can hold an outlier when there is
        none: an outlier share of 0 has error 0, not certainty.
        ``meta["matching"]`` holds the sentence of each method.

    Raises
    ------
    ValueError
        What `check_predictions` refuses, a missing column or zeropoint of the blends, a true flux that is not
        finite and positive, no method, a name that is no text, a masked case, or no whole number of at least two
        resamples.
    """
    _check_tables(blends, predictions, n_bootstrap)
    draw, rows = _drawer(n_bootstrap, seed), []
    for method, pred in predictions.items():
        selections = {"all": np.ones(len(blends), bool)}
        if "case" in pred.colnames:
            cases = _cases(pred, f"The predictions of {method!r}")
            selections |= {case: cases == case for case in CASES if case in cases}
        for galaxy in FIGURE_5_CASES:
            measured = _measured(blends, pred, galaxy)
            rows += [
                (method, galaxy, case, *_score(_ALL_NAMES, *(values[rows_in] for values in measured), draw))
                for case, rows_in in selections.items()
            ]
    return _score_table(rows, ("method", "galaxy", "case", "n", "failed"), _ALL_NAMES, predictions)


def difference(
    blends: Table,
    predictions: Mapping[str, Table],
    a: str,
    b: str,
    *,
    n_bootstrap: int = 200,
    seed: int | np.random.Generator = 0,
) -> dict[str, float]:
    """How much larger the flux error of one method is than that of another on the same blends.

    The methods are compared galaxy by galaxy, and resamples hold the same galaxies for both: what makes a blend hard
    for every method does not count as uncertainty. The error is therefore not that of two independent scores.

    Parameters
    ----------
    blends, predictions, n_bootstrap, seed
        As in `scores`.
    a, b : str
        Two names in `predictions`; the others are not looked at.

    Returns
    -------
    dict
        ``difference``: mean absolute percentage error of the flux (eq. 1) of `a` minus that of `b`, in percentage
        points, over central galaxies and companions together, so negative is `a` better; a flux that was not measured
        counts as 100 % wrong, as in `blendkit.tables.ranking`. ``error``: its one-sigma error from resampling the
        galaxies, each with all its rows, central or companion; NaN with fewer than two galaxies.

    Raises
    ------
    ValueError
        What `scores` refuses of these two, or a name that is not in `predictions`.
    """
    _check_methods(predictions)
    for name in (a, b):
        if name not in list(predictions):
            raise ValueError(
                f"There are no predictions of {name!r}, expected one of {', '.join(map(repr, predictions))}: "
                "give the names of two methods."
            )
    _check_tables(blends, {name: predictions[name] for name in (a, b)}, n_bootstrap)
    errors = {}
    for name in (a, b):
        ids, true, measured, *_ = _both_galaxies(blends, predictions[name])
        errors[name] = _percent(true, measured)
    value, error = _with_errors(1, _mean_of(errors[a] - errors[b]), ids, _drawer(n_bootstrap, seed))
    return {"difference": value, "error": error}


def figure_5_rows(pred: Table, galaxy: str, name: str = "The predictions") -> np.ndarray:
    """Which rows count for a galaxy in Figure 5.

    Parameters
    ----------
    pred : astropy.table.Table
        Predictions; without a column `case` all rows count.
    galaxy : {"central", "companion"}
        Central: detection cases "both" and "only central"; companion: "both" and "only companion".
    name : str
        How the message of an error begins.

    Returns
    -------
    array of bool, shape (n,)

    Raises
    ------
    ValueError
        A case that is masked or not one of `CASES`.
    """
    if "case" not in pred.colnames:
        return np.ones(len(pred), bool)
    return np.isin(_cases(pred, name), FIGURE_5_CASES[galaxy])


def figure_5(
    blends: Table,
    predictions: Mapping[str, Table],
    *,
    n_bootstrap: int = 200,
    seed: int | np.random.Generator = 0,
) -> Table:
    """The numbers in the panels of Figure 5, with error bars.

    Parameters
    ----------
    blends, predictions, n_bootstrap, seed
        As in `scores`. Only the rows of `figure_5_rows` count.

    Returns
    -------
    astropy.table.Table
        A row per ``method`` and ``galaxy``: ``n``, ``failed``; ``left_out``, how many blends do not count because of
        their detection case (``n + failed + left_out`` were given); ``bias``, ``scatter`` (mag), ``outliers`` (share, 0
        to 1) and ``mape_mag`` (%) as in `scores`, each score followed by its one-sigma error ``…_err``.

    Raises
    ------
    ValueError
        As in `scores`.
    """
    _check_tables(blends, predictions, n_bootstrap)
    draw, rows = _drawer(n_bootstrap, seed), []
    for method, pred in predictions.items():
        for galaxy in FIGURE_5_CASES:
            rows_in = figure_5_rows(pred, galaxy, f"The predictions of {method!r}")
            measured = (values[rows_in] for values in _measured(blends, pred, galaxy))
            n, failed, *values = _score(_FIGURE_5_NAMES, *measured, draw)
            rows.append((method, galaxy, n, failed, int((~rows_in).sum()), *values))
    return _score_table(rows, ("method", "galaxy", "n", "failed", "left_out"), _FIGURE_5_NAMES, predictions)


def binned_scores(
    blends: Table,
    predictions: Mapping[str, Table],
    by: str | ArrayLike,
    bins: int | Sequence[float] = 6,
    *,
    rows: str = "figure 5",
    n_bootstrap: int = 200,
    seed: int | np.random.Generator = 0,
) -> Table:
    """Score every method on both galaxies in bins of something known about the blends (Figures 7 to 9).

    Parameters
    ----------
    blends, predictions, n_bootstrap, seed
        As in `scores`.
    by : {"delta_mag", "distance", "separation", "morphology", "case"} or (n,) array_like
        What the bins are made of. "delta_mag": mag_central - mag_companion, for both galaxies (the abscissa of
        Figures 7 and 8); "distance": pixels between the two galaxies; "separation": distance / effective radius
        of the central galaxy; "morphology": of the central galaxy (Figure 9); "case": the detection case that
        the method reports. Or numbers or words of your own, one per blend: the same word for all blends gives
        one bin with everything, and blends whose word is masked are the bin "masked".
    bins : int or increasing sequence of float
        Of numbers: so many equal bins over the range of all blends, or the edges. A bin holds its lower edge, the
        last one its upper edge as well; blends outside the edges are in no bin. Words are their own bins.
    rows : {"figure 5", "all"}
        "figure 5": only the rows of `figure_5_rows`, as in the paper; "all": every blend, whatever was detected.

    Returns
    -------
    astropy.table.Table
        A row per ``method``, ``galaxy`` and ``bin``, also where the bin is empty: ``label``, ``low`` and ``high``
        (edges; NaN for words), then ``n``, ``failed`` and all columns of `scores` with their errors.

    Raises
    ------
    ValueError
        What `scores` refuses; a `by` that is none of the above, not finite, or of another length; edges that do
        not increase; an unknown kind of rows.
    """
    if rows not in ("figure 5", "all"):
        raise ValueError(f"rows is {rows!r}, expected 'figure 5' or 'all': see the rows that count in figure_5_rows.")
    _check_tables(blends, predictions, n_bootstrap)
    of_case = isinstance(by, str) and by == "case"
    if of_case:
        for method, pred in predictions.items():
            _need(pred, f"The predictions of {method!r}", "case")
        values = np.concatenate([_cases(pred, f"The predictions of {name!r}") for name, pred in predictions.items()])
    else:
        values = _known(blends, by)
    labels, edges, index = _bins(values, bins)
    index = np.broadcast_to(index.reshape(-1, len(blends)), (len(predictions), len(blends)))

    draw, table = _drawer(n_bootstrap, seed), []
    for (method, pred), bin_of_row in zip(predictions.items(), index, strict=True):
        for galaxy in FIGURE_5_CASES:
            measured = _measured(blends, pred, galaxy)
            counted = np.ones(len(blends), bool)
            if rows == "figure 5":
                counted = figure_5_rows(pred, galaxy, f"The predictions of {method!r}")
            for k, (label, (low, high)) in enumerate(zip(labels, edges, strict=True)):
                rows_in = counted & (bin_of_row == k)
                score = _score(_ALL_NAMES, *(column[rows_in] for column in measured), draw)
                table.append((method, galaxy, k, label, low, high, *score))
    first = ("method", "galaxy", "bin", "label", "low", "high", "n", "failed")
    return _score_table(table, first, _ALL_NAMES, predictions)


def calibration(
    blends: Table,
    predictions: Mapping[str, Table],
    *,
    n_bootstrap: int = 200,
    seed: int | np.random.Generator = 0,
) -> Table:
    """How honest the predicted errors are: coverage at 1, 2 and 3 sigma, and the distribution of the pulls.

    A pull is (measured - isolated flux) / predicted sigma. Right and Gaussian errors give pulls of mean 0 and
    scatter 1, and coverages of 0.683, 0.954 and 0.997.

    Parameters
    ----------
    blends, n_bootstrap, seed
        As in `scores`.
    predictions : mapping of str to astropy.table.Table
        As in `scores`; methods without ``flux_central_err`` and ``flux_companion_err`` (one sigma, in the unit of the
        flux) are left out.

    Returns
    -------
    astropy.table.Table
        A row per ``method`` and ``galaxy``: ``n``, ``failed`` (flux or its error not finite and positive),
        ``within_1``, ``within_2``, ``within_3`` (shares, 0 to 1), ``pull_mean`` and ``pull_scatter`` (1.4826 times
        the median distance to the median), each followed by its one-sigma error ``…_err`` as in `scores`.

    Raises
    ------
    ValueError
        What `scores` refuses, a method with an error for only one of the galaxies, or none with errors.
    """
    _check_tables(blends, predictions, n_bootstrap)
    needed = [f"flux_{galaxy}_err" for galaxy in FIGURE_5_CASES]
    with_errors = {name: pred for name, pred in predictions.items() if set(needed) & set(pred.colnames)}
    if not with_errors:
        raise ValueError(
            f"None of the methods {', '.join(map(repr, predictions))} predicts errors, expected at least one with "
            f"{' and '.join(needed)}: give a network that does, such as 'fractions'."
        )
    draw, rows = _drawer(n_bootstrap, seed), []
    for method, pred in with_errors.items():
        _need(pred, f"The predictions of {method!r}", *needed)
        for galaxy in FIGURE_5_CASES:
            ids, true, measured = _measured(blends, pred, galaxy)[:3]
            sigma = _floats(pred[f"flux_{galaxy}_err"])
            good = _is_flux(measured) & _is_flux(sigma)
            pulls = (measured[good] - true[good]) / sigma[good]
            values = _with_errors(len(_CALIBRATION_NAMES), _pull_statistics(pulls), ids[good], draw)
            rows.append((method, galaxy, int(good.sum()), int((~good).sum()), *values))
    table = _score_table(rows, ("method", "galaxy", "n", "failed"), _CALIBRATION_NAMES, with_errors)
    table["failed"].description = "flux or its error NaN, infinite or not positive"
    return table


def mask_scores(
    blends: Table,
    ious: Mapping[str, ArrayLike],
    *,
    n_bootstrap: int = 200,
    seed: int | np.random.Generator = 0,
) -> Table:
    """Mean intersection over union of masks, overall and for each pair of morphologies (Figure 12).

    Parameters
    ----------
    blends : astropy.table.Table
        The recipe: ``central``, ``companion`` (ids), ``morphology_central``, ``morphology_companion``.
    ious : mapping of str to (n, 2) array_like
        For each method what `iou` gives: central, companion; NaN, where both masks are empty, is not counted.
    n_bootstrap, seed
        As in `scores`.

    Returns
    -------
    astropy.table.Table
        A row per ``method``, ``galaxy`` ("central", "companion", "both") and ``pair`` ("all", then each pair of
        morphologies that occurs, in either order, such as "disk + irr"; what is masked is called "masked"): ``n``, how
        many were counted, the mean
        ``iou`` and its one-sigma error ``iou_err`` from resampling companions for "companion", centrals for the
        others. For "both" each blend counts once, with the mean over its two masks.

    Raises
    ------
    ValueError
        A missing column, no blends, no method, a name that is no text, IoUs that are not (n, 2) or outside 0 to 1, or
        no whole number of at least two resamples.
    """
    _check_bootstrap(n_bootstrap)
    _check_methods(ious, "There are no IoUs", "iou(true, masks)")
    _need(_some(blends), "The blends", "central", "companion", "morphology_central", "morphology_companion")
    pairs = _pairs(blends)
    selections = {"all": np.ones(len(blends), bool)} | {pair: pairs == pair for pair in dict.fromkeys(pairs.tolist())}
    order = [" + ".join(pair) for pair in combinations_with_replacement(_morphologies(blends), 2)]
    draw, rows = _drawer(n_bootstrap, seed), []
    for method, values in ious.items():
        values = _check_ious(blends, values, method)
        counted = np.isfinite(values)
        mean = np.divide(
            np.where(counted, values, 0).sum(axis=1), counted.sum(axis=1),
            out=np.full(len(values), np.nan), where=counted.any(axis=1),
        )  # fmt: skip
        for galaxy, column in (("central", values[:, 0]), ("companion", values[:, 1]), ("both", mean)):
            ids = np.asarray(blends["companion" if galaxy == "companion" else "central"])
            for pair in ["all", *(pair for pair in order if pair in selections)]:
                rows_in = selections[pair] & np.isfinite(column)
                score = _with_errors(1, _mean_of(column[rows_in]), ids[rows_in], draw)
                rows.append((method, galaxy, pair, int(rows_in.sum()), *score))
    table = _score_table(rows, ("method", "galaxy", "pair", "n"), ("iou",))
    table["n"].description = "masks that were compared; blends for both galaxies"
    return table


def check_predictions(blends: Table, pred: Table, name: str = "The predictions") -> None:
    """Refuse a table of predictions that cannot be scored, with one sentence on what is wrong.

    A method that fails on some of the blends is none of these: its failures are counted.

    Parameters
    ----------
    blends : astropy.table.Table
        The recipe.
    pred : astropy.table.Table
        ``flux_central`` and ``flux_companion``, a row per blend in the same order; where it also carries the ids
        ``central``, ``companion`` or ``id`` of the blends, they are compared. ``flux_central_err``,
        ``flux_companion_err``, ``case``, ``masks`` and ``images`` are checked where they are there. A masked case is
        refused only by what needs it, such as `scores`.
    name : str
        How the message begins.

    Raises
    ------
    ValueError
        No blends; something that is no table; a missing column; another length; fluxes or their errors that are not
        one number per blend; masks that are not (n, ny, nx, 2) bool, or images that are not numbers of that shape; an
        unknown case; ids that are not those of the blends, row by row; no positive flux at all; or a network that was
        trained on these galaxies (`check_unseen`).
    """
    _check_columns(_some(blends), pred, name)
    _same_ids(blends, pred, name)
    if not any(_is_flux(_floats(pred[f"flux_{galaxy}"])).any() for galaxy in FIGURE_5_CASES):
        raise ValueError(
            f"{name} measured nothing: not one of the {2 * len(pred)} fluxes is finite and positive; "
            "check that the method was given these blends and returns fluxes, not magnitudes or NaN."
        )
    check_unseen(blends, pred, name)


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
        Where a galaxy in these rows is one of those, or ``meta["trained_on"]`` is no mapping.
    """
    if not pred.meta.get("trained_on") or not {"central", "companion"} <= set(blends.colnames):
        return
    trained = pred.meta["trained_on"]
    if not isinstance(trained, Mapping):
        raise ValueError(
            f'{name} have meta["trained_on"] = {trained!r}, expected a mapping: give '
            '{"seeds": [...], "galaxies": [...]}, or leave it out.'
        )
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
        A missing column, lengths that differ, a masked or unknown case, or no whole number of at least two resamples.
    """
    from astropy.table import Table

    _check_bootstrap(n_bootstrap)
    _need(blends, "The blends", "central")
    _need(pred, "The predictions", "case")
    _same_length(blends, pred, "The predictions")
    is_case = _cases(pred, "The predictions") == np.array(CASES)[:, None]
    draw = _drawer(n_bootstrap, seed)
    found = _with_errors(len(CASES), lambda *drawn: _means(is_case, *drawn), np.asarray(blends["central"]), draw)
    share, error = np.reshape(found, (-1, 2)).T
    n = is_case.sum(axis=1)
    table = Table([CASES, share, error, n], names=["case", "share", "share_err", "n"])
    table["share"].format = table["share_err"].format = ".3f"
    table["share"].description = "share of all blends (0 to 1)"
    table["share_err"].description = "one-sigma bootstrap error of share"
    table["n"].description = "number of blends"
    return table


def _magnitude_means(true: np.ndarray, measured: np.ndarray, galaxy: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return bias, scatter, outliers and MAPE, (4, m), of n magnitudes in each of m resamples."""
    dmag = measured - true
    centre = dmag.mean()  # keeps the variance, a difference of two means, free of cancellation
    off, nonzero = dmag - centre, true != 0
    percent = 100 * np.abs(np.divide(dmag, true, out=np.zeros_like(dmag), where=nonzero))
    columns = off, off**2, np.abs(dmag) > OUTLIER_DMAG, percent, nonzero
    offset, square, outliers, percent, share = _means(columns, galaxy, counts)
    mape = np.divide(percent, share, out=np.full_like(percent, np.nan), where=share > 0)
    return np.stack([centre + offset, np.sqrt(np.maximum(square - offset**2, 0)), outliers, mape])


def _flux_statistics(true: np.ndarray, measured: np.ndarray, galaxy: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return mean and median absolute percentage error, (2, m), of n fluxes in each of m resamples."""
    error = 100 * np.abs(measured / true - 1)
    return np.stack([*_means([error], galaxy, counts), _median(*_in_order(error, galaxy, counts))])


def _median_and_scatter(values: np.ndarray, galaxy: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return median and robust scatter, (2, m), of n values in each of m resamples."""
    values, upto = _in_order(values, galaxy, counts)
    median = _median(values, upto)
    return np.stack([median, _MAD_TO_SIGMA * _median_distance(values, upto, median)])


def _pull_statistics(pulls: np.ndarray) -> Callable:
    """Return the function that gives coverages, mean and robust scatter of pulls, (5, m), in each of m resamples."""
    columns = [*(np.abs(pulls) <= sigmas for sigmas in (1, 2, 3)), pulls]

    def statistics(galaxy: np.ndarray, counts: np.ndarray) -> np.ndarray:
        return np.stack([*_means(columns, galaxy, counts), _median_and_scatter(pulls, galaxy, counts)[1]])

    return statistics


def _mean_of(values: np.ndarray) -> Callable:
    """Return the function that gives the mean of values, (1, m), in each of m resamples."""
    return lambda galaxy, counts: _means([values], galaxy, counts)


def _means(columns: Iterable[np.ndarray], galaxy: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the mean of each of k columns in each of m resamples, (k, m), from sums over each galaxy's rows.

    Rows belong to `galaxy`, (n,) int, and a resample holds each galaxy as often as `counts`, (n_galaxies, m), says.
    """
    columns = (np.ones(len(galaxy)), *columns)
    sums = np.stack([np.bincount(galaxy, column, len(counts)) for column in columns]) @ counts.astype(float)
    return sums[1:] / sums[0]


def _in_order(values: np.ndarray, galaxy: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return n values sorted, and how many rows of each resample are among the first 1, 2, ... n, (n, m) int."""
    order = np.argsort(values)
    upto = counts[galaxy[order]]
    for row in range(1, len(upto)):  # ten times faster than np.cumsum, which does not walk along the memory
        upto[row] += upto[row - 1]
    return values[order], upto


def _median(values: np.ndarray, upto: np.ndarray) -> np.ndarray:
    """Return the median in each of m resamples, (m,), of what `_in_order` gives."""
    lower, upper = ((upto[-1] - 1) // 2, upto[-1] // 2)
    return (values[_first_above(upto, lower)] + values[_first_above(upto, upper)]) / 2


def _first_above(upto: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """Return the first row of each column of `upto`, (n, m) increasing, that is above `rank`, (m,), by bisection."""
    columns = np.arange(upto.shape[1])
    low, high = np.zeros_like(columns), np.full_like(columns, len(upto) - 1)
    while (low < high).any():
        middle = (low + high) // 2
        above = upto[middle, columns] > rank
        low, high = np.where(above, low, middle + 1), np.where(above, middle, high)
    return high


def _median_distance(values: np.ndarray, upto: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Return the median of ``|values - centre|`` in each of m resamples, (m,), of what `_in_order` gives.

    The distances are bisected, to 2^-32 of the range of the values, and the one found is taken from the values:
    sorting them anew in every resample would take a hundred times as long.
    """
    before = np.concatenate([np.zeros_like(upto[:1]), upto])
    columns = np.arange(upto.shape[1])
    ranks = np.stack([(upto[-1] + 1) // 2, upto[-1] // 2 + 1])

    def ends(distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.searchsorted(values, centre - distance, "left"), np.searchsorted(values, centre + distance, "right")

    low, high = np.zeros(ranks.shape), np.full(ranks.shape, values[-1] - values[0])
    for _ in range(32):
        middle = (low + high) / 2
        start, stop = ends(middle)
        enough = before[stop, columns] - before[start, columns] >= ranks
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    start, stop = ends(high)
    return np.maximum(centre - values[start], values[stop - 1] - centre).mean(axis=0)  # the distance itself


def _point(
    names: tuple[str, ...], statistics: Callable, true: np.ndarray, measured: np.ndarray, good: np.ndarray
) -> dict[str, int | float]:
    """Count, and score the good measurements with each taken once."""
    n = int(good.sum())
    values = np.full(len(names), np.nan)
    if n:
        values = statistics(true[good], measured[good], *_once(n))[:, 0]
    return {"n": n, "failed": good.size - n, **dict(zip(names, values.tolist(), strict=True))}


def _once(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the galaxy of each of n rows and the counts with which every row is taken once."""
    return np.zeros(n, int), np.ones((1, 1), int)


def _measured(blends: Table, pred: Table, galaxy: str) -> tuple[np.ndarray, ...]:
    """Return ids, true and measured fluxes, true and measured magnitudes, NaN where the measurement has failed."""
    true, measured = (_floats(table[f"flux_{galaxy}"]) for table in (blends, pred))
    if (bad := ~_is_flux(true)).any():
        raise ValueError(_bad_truth("fluxes", "finite and positive", bad, true))
    measured = np.where(_is_flux(measured), measured, np.nan)
    mags = (blends.meta["zeropoint"] - 2.5 * np.log10(flux) for flux in (true, measured))
    return np.asarray(blends[galaxy]), true, measured, *mags


def _both_galaxies(blends: Table, pred: Table) -> list[np.ndarray]:
    """Return what `_measured` gives for all galaxies of the blends, centrals first."""
    parts = (_measured(blends, pred, galaxy) for galaxy in FIGURE_5_CASES)
    return [np.concatenate(columns) for columns in zip(*parts, strict=True)]


def _percent(true: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Return the absolute percentage error of every flux; one that has failed (NaN) is as wrong as zero."""
    return np.where(np.isfinite(measured), 100 * np.abs(measured / true - 1), NOT_MEASURED)


def _score(
    names: tuple[str, ...],
    galaxies: np.ndarray,
    true: np.ndarray,
    measured: np.ndarray,
    mag_true: np.ndarray,
    mag_measured: np.ndarray,
    draw: Callable[[int], np.ndarray],
) -> list[float]:
    """Return n, failed, and each score of `names` (all, or those of Figure 5) followed by its error."""
    good = np.isfinite(measured)
    n = int(good.sum())
    galaxies, true, measured = galaxies[good], true[good], measured[good]
    mag_true, mag_measured = mag_true[good], mag_measured[good]

    def statistics(*drawn: np.ndarray) -> np.ndarray:
        bias, scatter, outliers, mape = _magnitude_means(mag_true, mag_measured, *drawn)
        if names == _FIGURE_5_NAMES:
            return np.stack([bias, scatter, outliers, mape])
        median, robust = _median_and_scatter(mag_measured - mag_true, *drawn)
        return np.stack([bias, median, scatter, robust, outliers, mape, *_flux_statistics(true, measured, *drawn)])

    return [n, good.size - n, *_with_errors(len(names), statistics, galaxies, draw)]


def _with_errors(n_statistics: int, statistics: Callable, galaxies: np.ndarray, draw: Callable) -> list[float]:
    """Return each statistic of all rows, followed by its standard deviation over resamples of the galaxies.

    NaN without rows, and errors with fewer than two galaxies. `statistics` takes what `_means` takes.
    """
    values = errors = np.full(n_statistics, np.nan)
    if len(galaxies):
        values = statistics(*_once(len(galaxies)))[:, 0]
        names, galaxy_of_row = np.unique(galaxies, return_inverse=True)
        if len(names) > 1:
            errors = statistics(galaxy_of_row, draw(len(names))).std(axis=1, ddof=1)
    return np.stack([values, errors], axis=1).ravel().tolist()


def _drawer(n_bootstrap: int, seed: int | np.random.Generator) -> Callable[[int], np.ndarray]:
    """Return the function from a number of galaxies to how often each is drawn, (n_galaxies, n_bootstrap) int32.

    With an integer seed the same number of galaxies has the same draws, and they are made once.
    """

    def draw(n: int) -> np.ndarray:
        counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=n_bootstrap)
        return np.ascontiguousarray(counts.T, dtype=np.int32)

    return draw if isinstance(seed, np.random.Generator) else lru_cache(maxsize=16)(draw)


def _score_table(
    rows: list[tuple], first: tuple[str, ...], names: tuple[str, ...], predictions: Mapping[str, Table] | None = None
) -> Table:
    """Return rows as a table: the columns `first`, then each of `names` with its error, described and formatted."""
    from astropy.table import Table

    table = Table(rows=rows, names=[*first, *(column for name in names for column in (name, f"{name}_err"))])
    for name in [name for name in (*first, *names) if name in _COLUMNS]:
        form, unit, description = _COLUMNS[name]
        columns = {name: description} | (
            {f"{name}_err": f"one-sigma bootstrap error of {name}"} if name in names else {}
        )
        for column, text in columns.items():
            table[column].format, table[column].unit, table[column].description = form, unit, text
    if predictions is not None:
        table.meta["matching"] = {name: pred.meta.get("matching", "not stated") for name, pred in predictions.items()}
    return table


def _known(blends: Table, by: str | ArrayLike) -> np.ndarray:
    """Return what the bins are made of, (n,), from its name or as it was given."""
    columns = {
        "delta_mag": ("delta_mag",),
        "distance": ("distance",),
        "separation": ("distance", "r_eff_central"),
        "morphology": ("morphology_central",),
    }
    if isinstance(by, str):
        if by not in columns:
            raise ValueError(
                f"by is {by!r}, expected one of {', '.join(map(repr, (*columns, 'case')))}, or an array with one "
                "value per blend: give for example by=blends['z_central']."
            )
        _need(blends, "The blends", *columns[by])
        values, *divisor = (blends[column] for column in columns[by])
        return _floats(values) / _floats(divisor[0]) if divisor else np.ma.asarray(values)
    values = np.ma.asarray(by)
    if values.shape != (len(blends),):
        raise ValueError(
            f"by has shape {values.shape} for {len(blends)} blends, expected ({len(blends)},): "
            "give one value per blend."
        )
    return values


def _bins(values: np.ndarray, bins: int | Sequence[float]) -> tuple[list[str], list[tuple[float, float]], np.ndarray]:
    """Return labels, edges and, for each value, the number of its bin (-1 outside)."""
    if np.ma.asarray(values).dtype.kind not in "fiub":
        words = _words(values)
        labels = _in_known_order(words)
        order = {label: k for k, label in enumerate(labels)}
        return labels, [(np.nan, np.nan)] * len(labels), np.array([order[word] for word in words.tolist()])
    values = _floats(values)
    if (bad := ~np.isfinite(values)).any():
        raise ValueError(
            f"{bad.sum()} of {len(values)} values to bin by are not finite (the first is {values[bad][0]}): "
            "drop these blends and their predictions, or bin by something else."
        )
    edges = _edges(values, bins)
    index = np.searchsorted(edges, values, "right") - 1
    index[values == edges[-1]] = len(edges) - 2
    index[values > edges[-1]] = -1
    places = max(0, 1 - int(np.floor(np.log10(np.diff(edges).min()))))  # two digits of the narrowest bin
    words = [f"{edge.round(places) + 0:.{places}f}" for edge in edges]  # + 0: no minus before a zero
    return [f"{low} to {high}" for low, high in pairwise(words)], list(pairwise(edges.tolist())), index


def _edges(values: np.ndarray, bins: int | Sequence[float]) -> np.ndarray:
    """Return increasing edges: those given, or those of so many equal bins over the range of the values."""
    given = np.asarray(bins)
    if given.ndim == 0 and given.dtype.kind in "iu" and given > 0:
        return np.histogram_bin_edges(values, int(given))
    if given.dtype.kind not in "fiu" or given.ndim != 1 or len(given) < 2 or not _increase(given):
        raise ValueError(f"bins is {bins!r}, expected a number of bins or increasing edges: give for example 6.")
    return given.astype(float)


def _increase(edges: np.ndarray) -> bool:
    return bool(np.isfinite(edges).all() and (np.diff(edges) > 0).all())


def _in_known_order(words: np.ndarray) -> list[str]:
    """Return the different words, morphologies and cases in the order of the paper and others by the alphabet."""
    present = set(words.tolist())
    known = [word for word in (*MORPHOLOGIES, *CASES) if word in present]
    return known + sorted(present - set(known))


def _words(values: ArrayLike) -> np.ndarray:
    """Return words, (n,) str, "masked" for what is masked."""
    values = np.ma.asarray(values)
    return np.where(np.ma.getmaskarray(values), "masked", np.ma.getdata(values).astype(str))


def _morphologies(blends: Table) -> list[str]:
    types = [_words(blends[f"morphology_{galaxy}"]) for galaxy in FIGURE_5_CASES]
    return _in_known_order(np.concatenate(types))


def _pairs(blends: Table) -> np.ndarray:
    """Return the two morphologies of each blend as one word, (n,) str, the same in either order."""
    order = {name: k for k, name in enumerate(_morphologies(blends))}
    columns = (_words(blends[f"morphology_{galaxy}"]).tolist() for galaxy in FIGURE_5_CASES)
    return np.array([" + ".join(sorted(pair, key=order.get)) for pair in zip(*columns, strict=True)])


def _check_ious(blends: Table, values: ArrayLike, method: str) -> np.ndarray:
    values = _floats(values)
    if values.shape != (len(blends), 2):
        raise ValueError(
            f"The IoUs of {method!r} have shape {values.shape} for {len(blends)} blends, expected "
            f"({len(blends)}, 2): give what iou(true, masks) returns, central and companion."
        )
    if (bad := (values < 0) | (values > 1)).any():
        raise ValueError(
            f"{bad.sum()} of {values.size} IoUs of {method!r} are not between 0 and 1 (the first is "
            f"{values[bad][0]}): give what iou(true, masks) returns."
        )
    return values


def _check_tables(blends: Table, predictions: Mapping[str, Table], n_bootstrap: int) -> None:
    """Refuse what cannot be scored."""
    _check_bootstrap(n_bootstrap)
    _check_methods(predictions)
    _need(_some(blends), "The blends", "central", "companion", "flux_central", "flux_companion")
    if "zeropoint" not in blends.meta:
        raise ValueError(
            'The blends have no zeropoint: set blends.meta["zeropoint"] to the AB zeropoint of the fluxes.'
        )
    for method, pred in predictions.items():
        check_predictions(blends, pred, f"The predictions of {method!r}")


def _check_methods(given: Mapping, none: str = "There is no prediction", what: str = "table") -> None:
    """Refuse what is no mapping from the names of methods."""
    if not isinstance(given, Mapping):
        raise ValueError(f'The methods are a {type(given).__name__}, expected a mapping: give {{"name": {what}}}.')
    if not given:
        raise ValueError(f'{none} to score, expected at least one method: give {{"name": {what}}}.')
    if wrong := [name for name in given if not isinstance(name, str)]:
        raise ValueError(f"A method is called {wrong[0]!r}, expected a text: give for example {str(wrong[0])!r}.")


def _check_columns(rows: Sized, pred: Table, name: str) -> None:
    """Refuse what is no table with two fluxes for each of the rows, or holds other columns that cannot be used."""
    if not hasattr(pred, "colnames"):
        raise ValueError(
            f"{name} are a {type(pred).__name__}, expected an astropy Table: give "
            "Table({'flux_central': ..., 'flux_companion': ...})."
        )
    _need(pred, name, "flux_central", "flux_companion")
    _same_length(rows, pred, name)
    numbers = f"one number for each of the {len(rows)} blends: give (n,) float, NaN where nothing was found"
    masks = "booleans of shape (n, ny, nx, 2): stack central and companion along the last axis, masks > 0.5"
    images = "numbers of shape (n, ny, nx, 2): stack central and companion along the last axis"
    expected = {f"flux_{galaxy}{end}": (1, "fiu", numbers) for end in ("", "_err") for galaxy in FIGURE_5_CASES}
    expected |= {"masks": (4, "b", masks), "images": (4, "fiu", images)}
    for column, (ndim, kinds, what) in expected.items():
        if column not in pred.colnames:
            continue
        given = pred[column]
        if given.ndim != ndim or given.dtype.kind not in kinds or (ndim == 4 and given.shape[-1] != 2):
            raise ValueError(
                f"{name} have a column {column} of shape {given.shape} and dtype {given.dtype}, expected {what}."
            )
    if "case" in pred.colnames:
        _known_cases(pred, name)


def _some(blends: Table) -> Table:
    if not hasattr(blends, "colnames"):
        raise ValueError(f"The blends are a {type(blends).__name__}, expected the table that draw_blends gives.")
    if len(blends) == 0:
        raise ValueError("There are no blends to score, expected at least one: draw some with draw_blends.")
    return blends


def _same_ids(blends: Table, pred: Table, name: str) -> None:
    """Refuse predictions whose own ids are not those of the blends, row by row."""
    for column in ("central", "companion", "id"):
        if column not in pred.colnames or column not in blends.colnames:
            continue
        theirs, ours = (np.asarray(table[column]) for table in (pred, blends))
        if (theirs.dtype.kind in "iuf") != (ours.dtype.kind in "iuf"):
            raise ValueError(
                f"{name} have ids of dtype {theirs.dtype} in column {column}, expected {ours.dtype} as in the blends: "
                f"convert them with astype({ours.dtype.name!r})."
            )
        theirs, ours = theirs.tolist(), ours.tolist()
        if theirs != ours:
            row = next(row for row, pair in enumerate(zip(theirs, ours, strict=True)) if pair[0] != pair[1])
            why = "in another order than" if sorted(map(str, theirs)) == sorted(map(str, ours)) else "not of"
            raise ValueError(
                f"{name} are {why} these blends: {column} is {theirs[row]!r} in row {row}, expected {ours[row]!r}; "
                "give one row per blend, in the blends' order."
            )


def _floats(values: ArrayLike) -> np.ndarray:
    """Return a float64 array; what is masked, as in tables read from files with empty fields, becomes NaN."""
    return np.asarray(np.ma.filled(np.ma.asarray(values, dtype=float), np.nan))  # columns are slow


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
    if not isinstance(n_bootstrap, int | np.integer) or n_bootstrap < 2:
        raise ValueError(
            f"n_bootstrap is {n_bootstrap!r}, expected at least 2, a whole number: 200 gives error bars to 5 %."
        )


def _need(table: Table, name: str, *columns: str) -> None:
    if missing := [column for column in columns if column not in table.colnames]:
        raise ValueError(
            f"{name} have no column {', '.join(missing)} (they have {', '.join(table.colnames) or 'none'}): "
            f"give a table with {', '.join(columns)}."
        )


def _same_length(blends: Sized, pred: Table, name: str) -> None:
    if len(pred) != len(blends):
        raise ValueError(
            f"{name} have {len(pred)} rows for {len(blends)} blends: "
            "give one row per blend, in the same order, NaN where nothing was found."
        )


def _cases(pred: Table, name: str) -> np.ndarray:
    """Return the detection cases, (n,) str, where each row has one."""
    cases = _known_cases(pred, name)
    if "masked" in cases:
        raise ValueError(f"{name} have an unknown case 'masked', expected one of {CASES}: fill it.")
    return cases


def _known_cases(pred: Table, name: str) -> np.ndarray:
    """Return the detection cases, (n,) str, "masked" where there is none."""
    cases = _words(pred["case"])
    if unknown := sorted(set(cases.tolist()) - {*CASES, "masked"}):
        raise ValueError(f"{name} have an unknown case {unknown[0]!r}, expected one of {CASES}: rename it.")
    return cases
