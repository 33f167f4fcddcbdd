"""Tables of recipes for blends: which galaxies, and how each is turned, shifted and scaled (sections 2.2 and 2.3)."""

import warnings

import numpy as np
from astropy.table import Table
from scipy.spatial import KDTree

from ..data.check import plain, require
from ..data.sample import Sample
from .geometry import landing

RECIPE = {"id": "numbers", "dx": "pixels", "dy": "pixels", "dmag": "AB magnitudes", "orient": "numbers"}


def split(sample: Sample, shares: tuple[float, ...] = (0.6, 0.2, 0.2), seed: int = 42) -> tuple[Sample, ...]:
    """Divide a sample into `shares` of its galaxies: none is on two sides (section 2.3), nor is one under two ids."""
    shares = np.asarray(shares, float)
    good = shares.ndim == 1 and (shares > 0).all() and abs(shares.sum() - 1) < 1e-6
    given = tuple(shares.ravel().tolist())
    require(good, f"shares = {given} were given, expected positive numbers that add up to 1.")
    ends = np.round(np.cumsum(shares) * len(sample)).astype(int)
    side, order = np.empty(len(sample), int), np.random.default_rng(seed).permutation(len(sample))
    side[order] = np.searchsorted(ends, np.arange(len(sample)), side="right")
    side = side[_first_of_same(sample)]
    few = f"{len(sample)} galaxies were given for shares {given}, expected at least one on each side"
    require(len(np.unique(side)) == len(shares), f"{few}: use a larger sample or fewer sides.")
    return tuple(sample[side == i] for i in range(len(shares)))


def _first_of_same(sample):
    """For each stamp the first one that shows the same galaxy, whatever its sky level and surroundings, (n,)."""
    (y, x), reach = sample.centre, min(8, *sample.centre)
    core = sample.images[:, y - reach : y + reach + 1, x - reach : x + reach + 1].astype(float)
    core -= np.median(core, axis=(1, 2), keepdims=True)
    sums = [core**2, core**3, np.abs(np.diff(core, axis=1)), np.abs(np.diff(core, axis=2))]
    known = np.stack([np.log(np.abs(values.sum(axis=(1, 2))) + 1e-300) for values in sums], axis=1)
    first = np.arange(len(sample))
    for i, j in sorted(KDTree(known).query_pairs(1e-4)):
        first[j] = min(first[j], first[i])
    return first


def draw_blends(
    sample: Sample, n: int, seed: int | np.random.Generator = 42, max_dmag: float = 2.0,
    separation: tuple[float, float] | None = (0.5, 4.0), *, members: int | tuple[int, int] = 2, dmag: float = 0.0,
    turns: bool = True,
) -> Table:  # fmt: skip
    """Draw recipes for `n` blends of a cleaned sample's galaxies, one of them in the centre (section 2.2).

    Returns a row for each; see `make_blends` for the columns.

    Parameters
    ----------
    n, seed : int, int or numpy.random.Generator
    max_dmag, dmag : float; limit to the magnitude difference from the central galaxy, offset to companions' magnitudes
    separation : (low, high)
        Distance of a companion from the central galaxy, drawn uniformly, in units of the larger effective radius; then
        rounded to whole pixels. Shifts stay within ``ny // 2 - 1`` pixels; with None they are anywhere there.
    members : int or (lowest, highest)
        Galaxies in a blend; of a range, each number is as likely. One is a lone galaxy, none is empty sky. Each
        central galaxy has `highest` - 1 possible companions, also where fewer are drawn.
    turns : bool; whether each galaxy gets one of its eight orientations at random, the paper leaves them as observed
    """
    require(isinstance(n, int | np.integer) and n > 0, f"n = {n!r} blends were asked for, expected a whole number > 0.")
    max_dmag, dmag = (plain("max_dmag and dmag", value, RECIPE["dmag"])[()] for value in (max_dmag, dmag))
    require(max_dmag > 0, f"max_dmag = {max_dmag} was given, expected a positive difference in magnitudes.")
    anywhere = separation is None
    low, high = (0.0, 1.0) if anywhere else np.broadcast_to(plain("separation", separation), 2).tolist()
    require(0 <= low <= high, f"separation = {separation} was given, expected (low, high) with 0 <= low <= high.")
    numbers = np.atleast_1d(members)
    fewest, most = numbers[[0, -1]].tolist()
    good, k = numbers.dtype.kind in "iu" and len(numbers) < 3 and 0 <= fewest <= most, max(most, 1)
    require(good, f"members = {members} was given, expected a whole number or (lowest, highest), not negative.")
    rng = np.random.default_rng(seed)
    ny, nx = sample.images.shape[1:]
    rows = _draw_members(sample, n, k, max_dmag, dmag, rng)
    r_eff = np.asarray(sample.catalog["r_eff"], float)[rows]
    shifts = np.zeros((2, n, k), int)
    for j in range(1, k):
        if anywhere:
            limits = np.array([[nx // 2 - 1], [ny // 2 - 1]])
            shifts[..., j] = rng.integers(-limits, limits + 1, (2, n))
        else:
            shifts[..., j] = _draw_shifts(np.maximum(r_eff[:, 0], r_eff[:, j]), low, high, (ny, nx), rng)
    orient = rng.choice(8 if ny == nx else (0, 2, 5, 7), (k, n)).T if turns else 0
    ids = np.asarray(sample.catalog["id"])[rows]
    if fewest < k:
        ids = np.where(np.arange(k) < rng.integers(fewest, most + 1, n)[:, None], ids, -1)
    blends = make_blends(sample, ids, *shifts, dmag, orient)
    if isinstance(seed, int | np.integer):
        blends.meta["seed"] = int(seed)
    return blends


def make_blends(sample: Sample, ids, dx, dy, dmag=0.0, orient=0) -> Table:
    """A table of recipes for blends that you choose yourself.

    Returns columns (n, k): the arguments, `inside` (share of the galaxy's flux that is on the stamp), `mag` and `flux`
    (`dmag` included), `r_eff` (pixels), `morphology`; (n,): `distance` (pixels) from the central galaxy to its nearest
    companion, `delta_mag` (magnitude of the central - that companion's). Empty places have `id` -1 and NaN.

    Parameters
    ----------
    ids : array of int, shape (n, k), or (k,) for a single blend; the central galaxy first, -1 leaves a place empty
    dx, dy : int or array of int
        Shifts in whole pixels along columns and rows: one for each galaxy, (n, k) or (k,) as `ids`, or one for all
        companions of a blend, (n,) or a number, where the central galaxy stays in the centre.
    dmag, orient : numbers or arrays, as dx
        Offsets to the magnitudes: pixels, noise included, are multiplied by ``10 ** (-0.4 * dmag)``; and 0 to 7: a
        transpose if it is 4 or more, then ``orient % 4`` quarter turns counter-clockwise about the centre pixel.
    """
    single, ids = np.ndim(ids) == 1, np.atleast_2d(np.asarray(ids))
    empty, columns = ids == -1, {"id": _whole(ids)}
    for name, value in {"dx": dx, "dy": dy, "dmag": dmag, "orient": orient}.items():
        value = _per_member(name, plain(name, value, RECIPE[name], sample.pixel_scale), ids.shape, single)
        columns[name] = np.where(empty, 0, value.astype(float) if name == "dmag" else _whole(value))
    blends, fluxes = Table(columns), true_fluxes(sample)
    rows = check_recipe(sample, blends)
    mag, r_eff = (np.asarray(sample.catalog[name], float)[rows] for name in ("mag", "r_eff"))
    blends["distance"], nearest = _nearest(blends)
    mag = np.where(empty, np.nan, mag + columns["dmag"])
    companion = np.where(np.isnan(blends["distance"]), np.nan, mag[np.arange(len(ids)), nearest])
    blends["delta_mag"] = mag[:, 0] - companion
    known = {"inside": _share_inside(sample, rows, blends), "mag": mag, "r_eff": r_eff}
    known["morphology"] = np.asarray(sample.catalog["morphology"])[rows]
    known["flux"] = fluxes[rows] * 10 ** (-0.4 * columns["dmag"])
    for name, values in known.items():
        blends[name] = np.where(empty, "" if name == "morphology" else np.nan, values)
    for name in ("distance", "delta_mag", *known.keys() - {"morphology"}):
        blends[name].info.format = ".3f"
    of = {"fingerprint": dict(sample.fingerprints), "zeropoint": float(sample.zeropoint), "sky": sample.sky_fingerprint}
    alone = dict(zip(np.asarray(sample.catalog["id"]).tolist(), fluxes.tolist(), strict=True))
    blends.meta = of | {"shape": list(sample.images.shape[1:]), "pixel_scale": sample.pixel_scale, "flux": alone}
    return blends


def true_fluxes(sample: Sample) -> np.ndarray:
    """FLUX_AUTO of each galaxy alone, shape (n,), e-/s; from catalogue magnitudes, with a warning, before cleaning."""
    if "flux_auto" in sample.catalog.colnames:
        return np.asarray(sample.catalog["flux_auto"], float)
    told = f"the sample {sample.name!r} has no flux_auto, so catalogue magnitudes give the fluxes"
    warnings.warn(f"{told}: run bk.clean first.", stacklevel=3)
    return 10 ** (-0.4 * (np.asarray(sample.catalog["mag"], float) - sample.zeropoint))


def sky_rows(ids: np.ndarray, size: int) -> np.ndarray:
    """Rows of a sky bank that fill what each galaxy leaves empty, (n, k): by ids alone, the same wherever it lies."""
    ids = np.asarray(ids, np.int64)
    mixed = (((ids & 0xFFFFFFFF) * 0x9E3779B1) & 0xFFFFFFFF) >> 16  # regular ids must not share their sky
    places = np.arange(ids.shape[1])
    first = (mixed * (5 + 6 * places)).sum(axis=1, keepdims=True) % size
    return (first + np.where(places, places - 1, size // 2)) % size


def check_recipe(sample: Sample, blends: Table) -> np.ndarray:
    """Positions of the galaxies in the sample, (n, k), -1 for an empty place, once every row is known to be sound."""
    require(isinstance(blends, Table), f"a {type(blends).__name__} was given, expected a table: use blends[i : i + 1].")
    missing = [name for name in ("id", "dx", "dy") if name not in blends.colnames]
    require(not missing, f"the table of blends lacks {', '.join(missing)}: make it with draw_blends or make_blends.")
    shape = np.shape(blends["id"])
    for name in (name for name in RECIPE if name in blends.colnames):
        good = len(shape) == 2 and np.shape(blends[name]) == shape and not np.ma.is_masked(blends[name])
        found = f"{name} has shape {np.shape(blends[name])} or masked entries, expected ({len(blends)}, k) numbers"
        require(good, f"{found}: make the table with draw_blends or make_blends.")
    ny, nx = sample.images.shape[1:]
    for name, low, high in (("dx", 1 - nx, nx - 1), ("dy", 1 - ny, ny - 1), ("orient", 0, 7)):
        value = column(blends, name)
        good = not value.size or (value.dtype.kind in "iu" and low <= value.min() and value.max() <= high)
        found = f"{name} holds {value.dtype} up to {value.max(initial=0)}"
        require(good, f"{found}, expected whole numbers from {low} to {high}.")
    good = ny == nx or not np.isin(column(blends, "orient"), (1, 3, 4, 6)).any()
    require(good, f"orient holds quarter turns, expected none on stamps of {ny} x {nx} pixels: use 0, 2, 5 or 7.")
    require(np.isfinite(column(blends, "dmag")).all(), "dmag holds NaN or infinite values, expected finite magnitudes.")
    ids = np.asarray(blends["id"])
    rows = np.full(shape, -1)
    rows[ids != -1] = sample.index(ids[ids != -1]) if (ids != -1).any() else 0
    return rows


def check_fingerprint(sample: Sample, blends: Table, fill: str) -> None:
    """Refuse blends that were drawn from other galaxies, at another zeropoint or with another sky."""
    require(fill in ("sky", "zero"), f"fill = {fill!r} was given, expected 'sky' or 'zero'.")
    here, expected = sample.fingerprints, blends.meta.get("fingerprint")
    if expected is None:
        return
    used = [] if expected == here else np.unique(blends["id"]).tolist()
    different = [i for i in used if i != -1 and expected.get(i) != here[i]]
    told = f"{len(different)} galaxies of these blends (first ids {different[:3]}) have other pixels, labels or fluxes"
    cure = "use the sample that the blends were drawn from"
    require(not different, f"{told} in the sample {sample.name!r}: {cure}.")
    made_with = {"zeropoint": sample.zeropoint} | ({"sky": sample.sky_fingerprint} if fill == "sky" else {})
    for what, value in made_with.items():
        given = blends.meta.get(what, value)
        told = f"the blends were drawn with {what} {given}, the sample {sample.name!r} has {value}"
        require(given == value, f"{told}: {cure}" + (", or fill='zero'." if what == "sky" else "."))


def placements(sample: Sample, blends: Table, fill: str, bank_size: int) -> list[np.ndarray]:
    """Row in the sample (-1: none), dy, dx, orientation, row of the sky bank, and scale of each galaxy, each (n, k)."""
    rows = check_recipe(sample, blends)
    check_fingerprint(sample, blends, fill)
    if _edited(blends).any():  # what follows from the recipe is brought up to date
        fresh = make_blends(sample, *(column(blends, name) for name in RECIPE))
        blends.update({name: fresh[name] for name in fresh.colnames if name in blends.colnames})
    moved = (column(blends, name) for name in ("dy", "dx", "orient"))
    return [rows, *moved, sky_rows(blends["id"], bank_size), (10 ** (-0.4 * column(blends, "dmag"))).astype(np.float32)]


def column(blends: Table, name: str) -> np.ndarray:
    """A column of the recipe, (n, k); those that are left out are zero."""
    if name not in blends.colnames:
        return np.zeros(np.shape(blends["id"]), int)
    return plain(f"{name} of the blends", blends[name], RECIPE[name])


def check_unedited(blends: Table) -> None:
    """Refuse blends whose recipe was edited after fluxes and distances had been read off it."""
    edited = np.flatnonzero(_edited(blends))
    told = f"{len(edited)} of {len(blends)} blends (first row {edited[:1]}) were edited, flux or distance not theirs"
    require(not len(edited), f"{told}: let bk.render(sample, blends) bring them up to date, or make them anew.")


def _edited(blends):
    """Whether flux or distance are not those of the recipe any more, (n,)."""
    if "flux" not in blends.meta or not {"dx", "dy", "flux", "distance"} <= set(blends.colnames):
        return np.zeros(len(blends), bool)
    ids, alone = np.asarray(blends["id"]), blends.meta["flux"]
    flux = np.reshape([alone.get(i, np.nan) for i in ids.ravel().tolist()], ids.shape)
    flux = np.isclose(blends["flux"], flux * 10 ** (-0.4 * column(blends, "dmag")), 1e-6, 1e-3, equal_nan=True)
    return ~(flux.all(axis=1) & np.isclose(blends["distance"], _nearest(blends)[0], 1e-6, 1e-3, equal_nan=True))


def _nearest(blends):
    """Distance of the central galaxy from its nearest companion, (n,), NaN where it has none, and that one's place."""
    empty = np.asarray(blends["id"]) == -1
    apart = np.hypot(*(column(blends, name) - column(blends, name)[:, :1] for name in ("dx", "dy")))
    apart[empty | empty[:, :1]] = apart[:, 0] = np.nan
    place = np.where(np.isnan(apart), np.inf, apart).argmin(axis=1)
    return apart[np.arange(len(apart)), place], place


def _per_member(name, value, shape, single):
    """An argument of `make_blends` for each galaxy; a number for a whole blend is its companions'."""
    if single and value.shape == shape[1:]:
        return value[None]
    if value.ndim < 2:
        value = value[..., None]
        value = np.where(np.arange(shape[1]) | (shape[1] == 1), value, np.zeros_like(value))
    good = value.shape in (shape, (1, shape[1]), shape[1:])
    require(good, f"{name} has shape {value.shape}, expected that of the ids, {shape}.")
    return value


def _whole(values):
    """Whole numbers as int64; anything else as it is, for the checks to refuse."""
    with np.errstate(invalid="ignore"):
        whole = values.astype(np.int64)
    return whole if (whole == values).all() else values


def _draw_members(sample, n, k, max_dmag, dmag, rng):
    """Positions of the galaxies of each blend, (n, k): companions whose magnitudes are close enough, none twice."""
    mag = np.asarray(sample.catalog["mag"], float)
    order = np.argsort(mag, kind="stable")
    ordered = mag[order] + dmag
    low = np.searchsorted(ordered, mag - max_dmag, side="right")
    high = np.searchsorted(ordered, mag + max_dmag, side="left")
    rank = np.empty(len(mag), int)
    rank[order] = np.arange(len(mag))
    itself = (low <= rank) & (rank < high)
    partners = high - low - itself
    enough = partners >= k - 1
    none = f"none of the {len(mag)} galaxies of {sample.name!r} has {k - 1} others within {max_dmag} mag"
    require(enough.any(), f"{none}: raise max_dmag or use a larger sample.")
    if not enough.all():
        lonely = f"{(~enough).sum()} of {len(mag)} galaxies have no partner within {max_dmag} mag and are skipped"
        warnings.warn(f"{lonely} (first id {sample.catalog['id'][~enough][0]}).", stacklevel=3)
    rows = np.empty((n, k), int)
    rows[:, 0] = central = rng.choice(np.flatnonzero(enough), n)
    for j in range(1, k):
        todo = np.arange(n)
        while len(todo):
            c = central[todo]
            pick = low[c] + rng.integers(0, partners[c])
            pick += itself[c] & (pick >= rank[c])
            rows[todo, j] = order[pick]
            todo = todo[(rows[todo, 1:j] == rows[todo, j, None]).any(axis=1)]
    return rows


def _draw_shifts(radius, low, high, shape, rng):
    """Whole-pixel shifts dx, dy: radius uniform in (low, high) x `radius`, angle uniform, inside the frame."""
    limit_y, limit_x = shape[0] // 2 - 1, shape[1] // 2 - 1
    dx, dy = np.zeros((2, len(radius)), int)
    todo = np.arange(len(radius))
    for _ in range(1000):
        distance = rng.uniform(low, high, len(todo)) * radius[todo]
        angle = rng.uniform(0, 2 * np.pi, len(todo))
        dx[todo], dy[todo] = np.rint(distance * np.cos(angle)), np.rint(distance * np.sin(angle))
        todo = todo[(np.abs(dx[todo]) > limit_x) | (np.abs(dy[todo]) > limit_y)]
        if not len(todo):
            return dx, dy
    reach = f"{low} times their effective radius is more than {limit_x} pixels"
    raise ValueError(f"{len(todo)} blends find no place, {reach}: lower separation or drop the largest galaxies.")


def _share_inside(sample, rows, blends):
    """Share of each galaxy's light (positive pixels of its own segment) that is on the shifted stamp, (n, k)."""
    (ny, nx), (y, x) = sample.images.shape[1:], sample.centre
    share, far = np.ones(rows.shape), np.maximum(abs(column(blends, "dx")), abs(column(blends, "dy")))
    places = np.stack([column(blends, name) for name in ("orient", "dy", "dx")], axis=-1)
    for at in zip(*np.nonzero((rows >= 0) & (sample.reach[rows] + far > min(ny - 1 - y, nx - 1 - x))), strict=True):
        segmap = sample.segmaps[rows[at]]
        light = np.where(segmap == segmap[y, x], sample.images[rows[at]], 0).clip(min=0).astype(float)
        total = light.sum()
        share[at] = landing((ny, nx), light, *places[at].tolist())[1].sum() / total if total > 0 else np.nan
    return share
