"""Every score in the paper: views of one table of measurements; a flux that is NaN or not positive counts as failed."""

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise, product
from pathlib import Path

import numpy as np
from astropy.table import Column, Table, vstack
from numpy.typing import ArrayLike

from ..data.check import floats, plain, require
from ..data.sample import MORPHOLOGIES
from ..deblenders.base import CASES, check_predictions, plain_fluxes
from . import bootstrap
from .bootstrap import weighted_mean, with_errors

OUTLIER_DMAG = 0.75  # further from the isolated magnitude is an outlier (Figure 5): a factor of two in flux
FIGURE_5_CASES = {"central": ("both", "only central"), "companion": ("both", "only companion")}
"""The detection cases that count for each member in Figures 5 and 7 to 9."""

STATISTICS, KEYS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")).values()
BAD_TRUTH = "True values are missing, infinite, or fluxes not positive: drop these galaxies."
Predictions = Mapping[str, Table]
ALL_SCORES, PULLS, PANEL = tuple(STATISTICS)[:8], tuple(STATISTICS)[8:13], ("bias", "scatter", "outliers", "mape_mag")
MEASURED = ("true", "measured", "error", "mag_true", "mag_measured")


def magnitude_scores(mag_true: ArrayLike, mag_measured: ArrayLike) -> dict[str, int | float]:
    """Magnitudes ``n`` scored and ``failed``, and the four numbers of Figure 5.

    Of Δmag = measured - true the mean ``bias``, standard deviation ``scatter`` and share (0 to 1) of ``outliers``,
    |Δmag| > 0.75; and ``mape`` (%, eq. 1), which leaves out magnitudes of 0.
    """
    return _point(PANEL, floats, "AB magnitudes", mag_true=mag_true, mag_measured=mag_measured)


def flux_scores(flux_true: ArrayLike, flux_measured: ArrayLike) -> dict[str, int | float]:
    """Fluxes ``n`` scored and ``failed``; of absolute errors (%) the mean ``mape`` and the ``median`` (Table 2)."""
    return _point(("mape_flux", "median_flux"), positive, "e-/s", true=flux_true, measured=flux_measured)


def iou(masks_true: ArrayLike, masks_measured: ArrayLike) -> np.ndarray:
    """Intersection over union (eq. 2) of true and measured masks, (n, ny, nx, k) bool, as (n, k) float64.

    Between 0 (nothing in common, or one of the two empty) and 1 (equal); NaN where both are empty.
    """
    true, measured = np.asarray(masks_true), np.asarray(masks_measured)
    given = f"shapes {true.shape} and {measured.shape} and dtypes {true.dtype} and {measured.dtype}"
    good = true.dtype == measured.dtype == bool and true.shape == measured.shape and true.ndim == 4
    require(good, f"Masks have {given}, expected (n, ny, nx, k) of bool: threshold them (masks > 0.5).")
    common, union = (np.count_nonzero(both, axis=(1, 2)) for both in (true & measured, true | measured))
    return np.divide(common, union, out=np.full(union.shape, np.nan), where=union > 0)


def delta_mag(blends: Table, pred: Table) -> np.ndarray:
    """Measured minus isolated magnitude of each member, (n, k); NaN where it was not measured or a place is empty."""
    return -2.5 * np.log10(positive(pred["flux"]) / positive(blends["flux"]))


def figure_5_rows(pred: Table, member: str) -> np.ndarray:
    """Which blends count for "central" or "companion" in Figure 5, (n,) bool: all of them where there is no `case`."""
    return np.isin(words(pred["case"]), FIGURE_5_CASES[member]) if "case" in pred.colnames else np.ones(len(pred), bool)


def measurements(blends: Table, predictions: Predictions) -> Table:
    """All that was measured of each galaxy in each blend: the table of which every score is a view.

    A row per `method`, `place` (0 to k - 1, not the empty ones) and `blend`: `member` ("central", "companion"),
    `galaxy` (id); of the flux `true`, `measured` (NaN if failed) and `error` (predicted sigma, or NaN); `mag_true`,
    `mag_measured`; `case` ("" where none is told); `counts`, whether the row does in Figure 5.

    `predictions` hold for each method a table of ``flux`` (n, k), as the blends are ordered; optionally ``flux_err``,
    ``case`` (see `CASES`), and ``meta["matching"]``, a sentence on how positions were matched.
    """
    good = isinstance(predictions, Mapping) and predictions
    require(good, f"A {type(predictions).__name__} was given, expected {{name: table}}, at least one.")
    require("zeropoint" in blends.meta, 'The blends have no zeropoint: set blends.meta["zeropoint"], of AB magnitudes.')
    ids, zeropoint = np.asarray(blends["id"]), blends.meta["zeropoint"]
    predictions = {method: plain_fluxes(pred, zeropoint) for method, pred in predictions.items()}
    for method, pred in predictions.items():
        check_predictions(blends, pred, f"The predictions of {method!r}")
    place, blend = np.nonzero(ids.T >= 0)
    true = positive(blends["flux"])[blend, place]
    require(np.isfinite(true).all(), BAD_TRUTH)
    known = {"blend": blend, "place": place, "member": np.where(place == 0, "central", "companion"),
             "galaxy": ids[blend, place], "true": true, "mag_true": zeropoint - 2.5 * np.log10(true)}  # fmt: skip
    tables = []
    for method, pred in predictions.items():
        measured = positive(pred["flux"])[blend, place]
        error = positive(pred["flux_err"])[blend, place] if "flux_err" in pred.colnames else np.full(len(blend), np.nan)
        case = words(pred["case"]) if "case" in pred.colnames else np.full(len(blends), "")
        counts = np.where(place == 0, *(figure_5_rows(pred, member)[blend] for member in FIGURE_5_CASES))
        told = {"measured": measured, "error": error, "mag_measured": zeropoint - 2.5 * np.log10(measured)}
        tables.append(Table({"method": [method] * len(blend), **known, **told, "case": case[blend], "counts": counts}))
    rows = vstack(tables)
    rows.meta["matching"] = {name: pred.meta.get("matching", "not stated") for name, pred in predictions.items()}
    return rows


def scores(blends: Table, predictions: Predictions, *, n_bootstrap: int = 200, seed: int = 0) -> Table:
    """Score every method, for each member and by the method's own detection case, with error bars.

    A row per `method`, `member` and `case` ("all", then those that occur): `n`, `failed` and eight scores that the
    table describes, each with its one-sigma error `…_err`, NaN with fewer than two galaxies.

    Parameters
    ----------
    blends, predictions : as for `measurements`; slices of both score a part of the blends
    n_bootstrap, seed : int; resamples of the galaxies behind each error bar, and their seed
    """
    rows = measurements(blends, predictions)
    case, groups = np.asarray(rows["case"]), []
    for key, mask in by_member(rows):
        groups.append(((*key, "all"), mask))
        groups += [((*key, word), mask & (case == word)) for word in _in_order(case[rows["method"] == key[0]]) if word]
    return tabulate(rows, ("method", "member", "case"), groups, ALL_SCORES, n_bootstrap, seed)


def figure_5(blends: Table, predictions: Predictions, *, n_bootstrap: int = 200, seed: int = 0) -> Table:
    """The numbers in the panels of Figure 5, of the rows that count there: see `FIGURE_5_CASES`, and `scores`.

    `left_out` are blends whose detection case does not count, `outliers` a share (0 to 1).
    """
    rows = measurements(blends, predictions)
    counts = np.asarray(rows["counts"])
    table = tabulate(rows[counts], ("method", "member"), None, PANEL, n_bootstrap, seed)
    left_out = [np.count_nonzero(mask & ~counts) for _, mask in by_member(rows)]
    table.add_column(Column(left_out, description=KEYS["left_out"]), name="left_out", index=4)
    return table


def binned_scores(
    blends: Table, predictions: Predictions, by: str | ArrayLike, bins: int | Sequence[float] = 6,
    *, n_bootstrap: int = 200, seed: int = 0,
) -> Table:  # fmt: skip
    """Score every method and member in bins of something known about the blends (Figures 7 to 9).

    A row per `method`, `member` and `bin`: `label`, `low`, `high`, then as `scores`, of the blends that count in Figure
    5. `by` is as for `values_of`; words are bins of their own. `bins` are so many equal ones over the range of all
    blends, or increasing edges: a bin holds its lower edge, the last one its upper edge as well.
    """
    rows = measurements(blends, predictions)
    labels, edges, index = _bins(values_of(blends, by)[rows["blend"]], bins)
    index[~rows["counts"]] = -1
    groups = (
        ((*key, number, labels[number], *edge), mask & (index == number))
        for (key, mask), (number, edge) in product(by_member(rows), enumerate(edges))
    )
    return tabulate(rows, ("method", "member", "bin", "label", "low", "high"), groups, ALL_SCORES, n_bootstrap, seed)


def calibration(blends: Table, predictions: Predictions, *, n_bootstrap: int = 200, seed: int = 0) -> Table:
    """How honest predicted errors (``flux_err``) are: coverage at 1, 2 and 3 sigma, and the distribution of the pulls.

    A row per `method` that has some and `member`, with what the table describes; all else as in `scores`.
    """
    honest = {name: pred for name, pred in predictions.items() if "flux_err" in pred.colnames}
    require(honest, f"None of {', '.join(map(repr, predictions))} predicts errors: give one that does, as 'fractions'.")
    rows = measurements(blends, honest)
    rows["measured"][np.isnan(rows["error"])] = np.nan
    table = tabulate(rows, ("method", "member"), None, PULLS, n_bootstrap, seed)
    table["failed"].description = "flux or its error NaN, infinite or not positive"
    return table


def difference(blends: Table, predictions: Predictions, a: str, b: str) -> dict[str, float]:
    """How much larger the flux error (MAPE, eq. 1) of method `a` is than that of `b`, with its one-sigma ``error``.

    ``difference`` is in percentage points, over all members; a flux that was not measured counts as 100 % wrong.
    """
    require({a, b} <= set(predictions), f"{a!r} and {b!r} were given, expected two of {', '.join(predictions)}.")
    rows = [measurements(blends, {name: predictions[name]}) for name in (a, b)]
    off = np.subtract(*(np.nan_to_num(_quantities(each)["percent"], nan=100.0) for each in rows))
    pair = with_errors([partial(weighted_mean, off)], rows[0]["galaxy"])[0].tolist()
    return dict(zip(("difference", "error"), pair, strict=True))


def mask_scores(blends: Table, ious: Mapping[str, ArrayLike], *, n_bootstrap: int = 200, seed: int = 0) -> Table:
    """Mean intersection over union of masks, (n, k) from `iou`, overall and by pair of morphologies (Figure 12).

    A row per `method`, `member` ("central", "companion", and "both", where each blend counts once) and `pair` ("all",
    "disk + irr" …): `n`, mean `iou` and its error from resampling that member's galaxies.
    """
    ids, types, lines = np.asarray(blends["id"]), words(blends["morphology"])[:, :2], []
    order = _in_order(types)
    ranks = [tuple(sorted(order.index(word) for word in pair if word)) for pair in types.tolist()]
    masks = {"all": np.ones(len(ids), bool)}
    masks |= {" + ".join(order[i] for i in pair): np.array([r == pair for r in ranks]) for pair in sorted(set(ranks))}
    for method, values in ious.items():
        values = floats(values)
        good = values.shape == ids.shape and not ((values < 0) | (values > 1)).any()
        require(good, f"IoUs of {method!r} have shape {values.shape}, expected {ids.shape}, 0 to 1, as iou gives them.")
        mean = floats(np.ma.masked_invalid(values).mean(axis=1, keepdims=True))
        parts = {"central": (0, 1, values[:, :1]), "companion": (1, None, values[:, 1:]), "both": (0, 1, mean)}
        for (member, (start, stop, given)), (pair, mask) in product(parts.items(), masks.items()):
            good = np.isfinite(given) & mask[:, None]
            score = with_errors([partial(weighted_mean, given[good])], ids[:, start:stop][good], n_bootstrap, seed)
            lines.append((method, member, pair, np.count_nonzero(good), *score.ravel()))
    table = described(lines, ("method", "member", "pair", "n"), ("iou",))
    table["n"].description = "masks that were compared; blends for both galaxies"
    return table


def case_shares(blends: Table, pred: Table, n_bootstrap: int = 200, seed: int = 0) -> Table:
    """Share (0 to 1) of the blends in each detection case of `CASES` (§3.3); errors from resampling the centrals."""
    good = "case" in pred.colnames and len(pred) == len(blends)
    require(good, f"{len(pred)} predictions with columns {pred.colnames} were given, expected {len(blends)} with case.")
    is_case = words(pred["case"]) == np.array(CASES)[:, None]
    table = described([*zip(CASES, *shares(blends, is_case, n_bootstrap, seed).T, strict=True)], ("case",), ("share",))
    table["n"] = Column(is_case.sum(axis=1), description="number of blends")
    return table


def shares(blends: Table, groups: Iterable[np.ndarray], n_bootstrap: int, seed: int) -> np.ndarray:
    """Share of the blends in each group, masks (n,), and its error from resampling central galaxies, (groups, 2)."""
    statistics = [partial(weighted_mean, mask) for mask in groups]
    return with_errors(statistics, np.asarray(blends["id"])[:, 0], n_bootstrap, seed)


def values_of(blends: Table, by: str | ArrayLike) -> np.ndarray:
    """What is known of each blend, (n,): numbers or words as they were given, or by one of these names.

    "delta_mag": mag of the central galaxy - that of the nearest companion; "distance": pixels between these two;
    "separation": distance / effective radius of the central galaxy; "morphology": of the central galaxy (Figure 9).
    """
    if isinstance(by, str):
        known = ("delta_mag", "distance", "separation", "morphology")
        require(by in known, f"by is {by!r}, expected one of {', '.join(known)}, or a value for each blend.")
        column = blends[by] if by != "separation" else blends["distance"] / blends["r_eff"][:, 0]
        by = column[:, 0] if by == "morphology" else column
    values = np.ma.asarray(by)
    require(values.shape == (len(blends),), f"by has shape {values.shape}, expected ({len(blends)},): one per blend.")
    if values.dtype.kind not in "fiub":
        return words(values)
    alone = (np.asarray(blends["id"])[:, 1:] < 0).all(axis=1)
    require((np.isfinite(floats(values)) | alone).all(), "by holds values that are not finite: drop these blends.")
    return floats(values)


def tabulate(rows: Table, keys: tuple, groups: Iterable | None, names: tuple, n_bootstrap: int, seed: int) -> Table:
    """A line for each group, (values of the keys, mask of measurements): n, failed, each statistic and its error."""
    quantities, galaxies, lines = _quantities(rows), np.asarray(rows["galaxy"]), []
    good = np.isfinite(rows["measured"])
    for key, mask in groups or by_member(rows):
        used = mask & good
        values = with_errors(_statistics(names, quantities, used), galaxies[used], n_bootstrap, seed)
        lines.append((*key, np.count_nonzero(used), np.count_nonzero(mask & ~good), *values.ravel()))
    table = described(lines, (*keys, "n", "failed"), names)
    table.meta["matching"] = rows.meta["matching"]
    return table


def by_member(rows: Table, members: Iterable[str] = FIGURE_5_CASES) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    """For each method and member ("total" is all of them together) the mask of its measurements."""
    for method, member in product(rows.meta["matching"], members):
        yield (method, member), (rows["method"] == method) & ((rows["member"] == member) | (member == "total"))


def described(lines: list[tuple], first: Sequence[str], names: Sequence[str]) -> Table:
    """Lines as a table: the columns `first`, then each of `names` with its error, all with format, unit and words."""
    table = Table(rows=lines, names=[*first, *(column for name in names for column in (name, f"{name}_err"))])
    for name in names:
        _, _, form, unit, text = STATISTICS[name]
        for column, about in ((name, text), (f"{name}_err", f"one-sigma bootstrap error of {name}")):
            table[column].format, table[column].unit, table[column].description = form, unit or None, about
    for name in KEYS.keys() & set(first):
        table[name].description, table[name].format = KEYS[name], ".3f" if name in ("low", "high") else None
    return table


def words(values: ArrayLike) -> np.ndarray:
    """An array of str, "masked" where it is masked."""
    values = np.ma.asarray(values)
    return np.where(np.ma.getmaskarray(values), "masked", np.ma.getdata(values).astype(str))


def positive(values: ArrayLike) -> np.ndarray:
    """Fluxes in e-/s, NaN where there is none: infinite, or not positive."""
    values = floats(plain("the fluxes", values, "e-/s"))
    return np.where((values > 0) & (values < np.inf), values, np.nan)


def _point(names, valid, kind, **rows):
    """Count, and score with each measurement taken once; `rows` are the true and the measured values."""
    given, found = (str(getattr(values, "unit", None) or "none") for values in rows.values())
    require(given == found, f"True values have the unit {given}, measured {found}, expected the same: convert one.")
    rows = {name: plain(name, values, kind, 0.0) for name, values in rows.items()}
    given, found = map(np.shape, rows.values())
    require(given == found, f"True values have shape {given}, measured {found}: give NaN for what is missing.")
    rows = {name: valid(values).ravel() for name, values in rows.items()}
    true, measured = rows.values()
    require(np.isfinite(true).all(), BAD_TRUTH)
    good = np.isfinite(measured)
    blank = dict.fromkeys(MEASURED, np.full(len(good), np.nan))
    point = with_errors(_statistics(names, _quantities(blank | rows), good), np.zeros(good.sum()))[:, 0].tolist()
    names = [name.replace("mape_mag", "mape").removesuffix("_flux") for name in names]
    return {"n": int(good.sum()), "failed": int((~good).sum()), **dict(zip(names, point, strict=True))}


def _quantities(rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the statistics are of, (n,) each, from measurements."""
    true, measured, error, mag, mag_measured = (np.asarray(rows[name]) for name in MEASURED)
    dmag, pull = mag_measured - mag, (measured - true) / error
    percent_mag = 100 * np.abs(np.divide(dmag, mag, out=np.full(len(mag), np.nan), where=mag != 0))
    quantities = {"dmag": dmag, "outlier": np.abs(dmag) > OUTLIER_DMAG, "percent_mag": percent_mag}
    quantities |= {f"within_{k}": np.abs(pull) <= k for k in (1, 2, 3)}
    return quantities | {"percent": 100 * np.abs(measured / true - 1), "pull": pull}


def _statistics(names, quantities, used):
    """Functions from weights to each of the statistics of the measurements that are used."""
    known = (STATISTICS[name][:2] for name in names)
    return [partial(getattr(bootstrap, statistic), quantities[of][used]) for statistic, of in known]


def _bins(values, bins):
    """Labels, edges and, for each value, the number of its bin, -1 outside."""
    if values.dtype.kind == "U":
        labels = _in_order(values)
        return labels, [(np.nan, np.nan)] * len(labels), np.argmax(values[:, None] == np.array(labels), axis=1)
    edges = np.histogram_bin_edges(values[np.isfinite(values)], bins).astype(float)
    require(len(edges) > 1 and (np.diff(edges) > 0).all(), f"bins is {bins!r}, expected a number or increasing edges.")
    index = np.searchsorted(edges, values, "right") - 1
    index[values == edges[-1]] = len(edges) - 2
    index[~(values <= edges[-1])] = -1
    places = max(0, 1 - int(np.floor(np.log10(np.diff(edges).min()))))  # two digits of the narrowest bin
    texts = [f"{edge.round(places) + 0:.{places}f}" for edge in edges]  # + 0: no minus before a zero
    return [f"{low} to {high}" for low, high in pairwise(texts)], list(pairwise(edges.tolist())), index


def _in_order(values: np.ndarray) -> list[str]:
    """The different words: morphologies and cases in the order of the paper, then others by the alphabet."""
    present = set(np.unique(values).tolist())
    known = [word for word in (*MORPHOLOGIES, *CASES) if word in present]
    return known + sorted(present - set(known))
