"""What all deblenders share: how detections are matched to galaxies, and what a table of predictions must hold."""

import warnings

import numpy as np
from astropy import units as u
from astropy.table import Table
from scipy.optimize import linear_sum_assignment

from ..blends.recipe import check_unedited
from ..data.check import floats, plain, require
from ..data.photometry import Detections
from ..networks.weights import was_seen

CASES = ("both", "only central", "only companion", "more", "none")
"""The detection cases of section 3.3, in the order in which they are reported."""

CENTRAL_WITHIN = 0.5  # in R_cen: how near the centre a single detection must be to count as the central galaxy
NEAR = 3.0  # pixels; an object of a deblender's own is a galaxy within this, or within the galaxy's radius if larger
PICTURES = {"masks": bool, "images": np.float32}  # what a method may give for each pixel
PIXELS_ONLY = "pixels only: nearest the centre is the central galaxy, the brightest other one the companion"
TRUE_POSITIONS = "true positions of both galaxies known (paper, section 3.3)"
POSITIONS = {"true positions": "told", "pixels only": "pixels"}  # how meta["matching"] begins: the word for it


def check_images(images, truth: Table | None = None) -> np.ndarray:
    """A stack of stamps, (n, ny, nx), if it is one: the array given, or one in e-/s and NaN where it was masked."""
    masks = hasattr(images, "mask") or isinstance(images, list | tuple)
    images = plain("the blends", images, "e-/s", getattr(truth, "meta", {}).get("zeropoint"))
    given = f"the blends have shape {images.shape} and type {images.dtype}"
    good = images.ndim == 3 and images.dtype.kind in "fiu"
    require(good, f"{given}, expected numbers of shape (n, ny, nx): give a single stamp as image[None].")
    if masks and (n := np.isnan(images).any(axis=(1, 2)).sum()):
        told = f"{n} of {len(images)} stamps have masked pixels, which count as NaN: no flux is measured on them; fill"
        warnings.warn(f"{told} the pixels, for example with the sky's level, if they matter little.", stacklevel=3)
    return images


def true_places(truth: Table, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of the galaxies on their stamps, each (n, k), NaN for an empty place."""
    missing = [name for name in ("id", "dx", "dy", "r_eff") if name not in truth.colnames]
    require(not missing, f"truth lacks {', '.join(missing)}, expected the blends' table: give what draw_blends made.")
    check_unedited(truth)
    there = np.where(np.asarray(truth["id"]) == -1, np.nan, 0)
    return shape[1] // 2 + truth["dx"] + there, shape[0] // 2 + truth["dy"] + there


def match_positions(found: Detections, x: np.ndarray, y: np.ndarray, r_central: float) -> np.ndarray:
    """Which detection is which galaxy, all true positions known (section 3.3).

    As many of the brightest as there are galaxies go to `x`, `y` (k,), NaN for none, by the smallest sum of distances;
    a single one to the central galaxy if within half its radius. Returns indices into `found`, (k,); -1: none.
    """
    matched, there = np.full(len(x), -1), np.flatnonzero(np.isfinite(x))
    distance = np.hypot(found.x[:, None] - x[there], found.y[:, None] - y[there])
    if len(found) == 1 and len(there) > 1 and there[0] == 0:
        distance[0, 0] = -1 if distance[0, 0] < CENTRAL_WITHIN * r_central else np.inf
    brightest = np.argsort(-found.isophotal, kind="stable")[: len(there)]
    which, whom = linear_sum_assignment(distance[brightest])
    matched[there[whom]] = brightest[which]
    return matched


def match_pixels(found: Detections, centre: tuple[int, int], members: int = 2) -> np.ndarray:
    """The detection nearest the centre (row, column), then the brightest others, (members,); -1 where there is none."""
    matched = np.full(members, -1)
    if len(found):
        matched[0] = np.argmin(np.hypot(found.x - centre[1], found.y - centre[0]))
        others = [i for i in np.argsort(-found.isophotal, kind="stable") if i != matched[0]][: members - 1]
        matched[1 : 1 + len(others)] = others
    return matched


def case_of(matched: np.ndarray, n_detected: int, members: int = 2) -> str:
    """The detection case of a stamp, one of `CASES`; "more" is more objects than there are galaxies."""
    if n_detected > members:
        return "more"
    central, companion = matched[0] >= 0, (matched[1:] >= 0).any()
    return "both" if central and companion else "only central" if central else "only companion" if companion else "none"


def match(blends: Table, pred: Table) -> Table:
    """Bring a deblender's objects, any number in any order, into the order of the blends by position.

    Returns a table of columns (n, k): each galaxy has the object that is its own when the sum of distances is smallest.
    Objects farther than 3 pixels, and farther than the galaxy's effective radius, are nobody's; NaN where none is left.

    Parameters
    ----------
    blends, pred : astropy.table.Table
        The recipes, and of m objects in each `x`, `y` (pixels on the stamp: column and row) and `flux`, each (n, m),
        NaN where there is none; further columns of m values, such as `flux_err` and `masks`, are brought along.
    """
    require("shape" in blends.meta, "the blends do not know their stamps: match with the table that draw_blends gave.")
    require({"x", "y", "flux"} <= set(pred.colnames), f"columns {pred.colnames} were given, expected x, y and flux.")
    pred = plain_fluxes(pred, blends.meta.get("zeropoint"))
    true_x, true_y = true_places(blends, blends.meta["shape"])
    x, y, flux = (plain(name, pred[name], "pixels").astype(float) for name in ("x", "y", "flux"))
    good = x.ndim == 2 and len(x) == len(blends) and x.shape == y.shape == flux.shape
    given = f"x has shape {x.shape}, y {y.shape} and flux {flux.shape}"
    require(good, f"{given}, expected the same ({len(blends)}, m).")
    x = np.where(np.isfinite(flux), x, np.nan)  # what has no flux is nobody's
    distance = np.hypot(true_x[:, :, None] - x[:, None], true_y[:, :, None] - y[:, None])
    far = ~(distance <= np.maximum(np.asarray(blends["r_eff"]), NEAR)[:, :, None])
    cost, source = np.where(far, 1e6, distance), np.full(true_x.shape, -1)
    for i in np.flatnonzero((~far).any(axis=(1, 2))):
        galaxies, objects = linear_sum_assignment(cost[i])
        near = ~far[i, galaxies, objects]
        source[i, galaxies[near]] = objects[near]
    table = Table(meta=dict(pred.meta))
    for name in pred.colnames:
        values = np.ma.asarray(pred[name], None if name == "masks" or np.ndim(pred[name]) != 2 else float)
        if values.shape == x.shape or (values.ndim == 4 and values.shape[-1] == x.shape[1]):
            nobody = np.nan if values.dtype.kind == "f" else 0
            none = np.full((*values.shape[:-1], 1), nobody, values.dtype)
            values = np.concatenate([values.filled(nobody), none], axis=-1)
            values = np.take_along_axis(values, source.reshape(len(source), *[1] * (values.ndim - 2), -1), axis=-1)
        table[name] = values
    table.meta["matching"] = "true positions: each galaxy has the object nearest to it"
    return table


def positions_of(pred: Table) -> str:
    """What a method knew of the positions: "told", "pixels" or "unknown", by how ``meta["matching"]`` begins."""
    said = str(pred.meta.get("matching", "")).lower()
    return next((word for begins, word in POSITIONS.items() if said.startswith(begins)), "unknown")


def plain_fluxes(pred: Table, zeropoint: float | None) -> Table:
    """The predictions, their `flux` and `flux_err` in e-/s where they had another unit, or were magnitudes."""
    units = {name: pred[name].unit for name in {"flux", "flux_err"} & set(getattr(pred, "colnames", ()))}
    if not any(units.values()):
        return pred
    table = Table(pred, copy=False)
    table["flux"] = plain("the fluxes", pred["flux"], "e-/s", zeropoint)
    if units.get("flux_err") in (u.mag, u.ABmag):
        table["flux_err"] = 0.921 * table["flux"] * plain("errors", pred["flux_err"], "AB magnitudes")  # ln(10) / 2.5
    elif "flux_err" in units:
        table["flux_err"] = plain("the errors of fluxes", pred["flux_err"], "e-/s", zeropoint)
    return table


def check_columns(pred: Table, n: int, name: str = "the predictions") -> None:
    """Refuse what is no table of fluxes for n blends, or holds other columns that cannot be used."""
    found = getattr(pred, "colnames", "no columns")
    given = f"{name} are a {type(pred).__name__} with {found}"
    require("flux" in found, f"{given}, expected an astropy Table with a column flux of shape (n, k).")
    given = f"{name} have {len(pred)} rows for {n} blends"
    require(len(pred) == n, f"{given}: give one row per blend, in the same order, NaN where nothing was found.")
    shapes = {2: "(n, k), NaN where nothing was found", 4: "(n, ny, nx, k): stack the galaxies along the last axis"}
    for column, ndim, kinds in (("flux", 2, "fiu"), ("flux_err", 2, "fiu"), ("masks", 4, "b"), ("images", 4, "fiu")):
        if column in pred.colnames:
            values, what = pred[column], "booleans (masks > 0.5)" if kinds == "b" else "numbers"
            given = f"{name} have a column {column} of shape {values.shape} and dtype {values.dtype}"
            good = values.ndim == ndim and values.dtype.kind in kinds and values.shape[-1] == np.shape(pred["flux"])[-1]
            require(good, f"{given}, expected {what} of shape {shapes[ndim]}.")
    if "case" in pred.colnames:
        unknown = sorted(set(np.ma.compressed(np.ma.asarray(pred["case"]).astype(str))) - set(CASES))
        require(not unknown, f"{name} have the unknown cases {unknown[:3]}, expected some of {CASES}: rename them.")


def check_predictions(blends: Table, pred: Table, name: str = "the predictions") -> None:
    """Refuse a table of predictions that cannot be scored; a method that fails on some of the blends is none."""
    good = hasattr(blends, "colnames") and len(blends)
    require(good, "there are no blends to score, expected at least one: draw some with draw_blends.")
    check_columns(pred, len(blends), name)
    check_belongs(blends, pred, name)
    flux = floats(pred["flux"])
    given = f"{name} have {flux.shape[1]} fluxes per blend, expected {np.shape(blends['flux'])[1]}"
    cure = "SEP takes truth=blends or members, networks know pairs, and bk.match sorts objects that have x and y"
    require(flux.shape[1] == np.shape(blends["flux"])[1], f"{given}: {cure}.")
    cure = "check that the method was given these blends and returns fluxes, not magnitudes"
    require((np.isfinite(flux) & (flux > 0)).any(), f"{name} hold no flux that is finite and positive: {cure}.")


def check_belongs(blends: Table, pred: Table, name: str) -> None:
    """Refuse predictions of other blends or in another order, as far as they say so, and networks that saw them."""
    check_unedited(blends)
    for column in ("id", "blend_id"):
        if column in pred.colnames and column in blends.colnames:
            theirs, ours = np.asarray(pred[column]), np.asarray(blends[column])
            good = theirs.dtype.kind in "iuf" and ours.dtype.kind in "iuf" and np.array_equal(theirs, ours)
            told = f"{name} are not of these blends, or in another order: column {column} differs"
            require(good, f"{told}; give one row per blend, in the blends' order.")
    check_unseen(blends, pred, name)


def check_unseen(blends: Table, pred: Table, name: str = "the predictions") -> None:
    """Refuse the predictions of a network that was trained on galaxies of these blends: ``meta["trained_on"]``."""
    ids = np.unique(blends["id"]).tolist() if "id" in blends.colnames else []
    digests = blends.meta.get("fingerprint", {})
    seen = was_seen(pred.meta.get("trained_on") or {}, {i: digests[i] for i in ids if i in digests})
    told = f"{name} come from a network that was trained on {len(seen)} of the {len(ids)} galaxies in these blends"
    cure = "score it on galaxies that it has never seen, for example of load_sample('synthetic') with another seed"
    require(not seen, f"{told}: {cure}.")
