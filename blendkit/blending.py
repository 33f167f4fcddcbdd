"""Blends of two galaxies: a table of recipes, and the pixels rendered from it (sections 2.2 and 2.3)."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .samples import Sample

if TYPE_CHECKING:
    from astropy.table import Table

FILLS = ("sky", "zero")
_RECIPE = ("central", "companion", "dx", "dy", "dmag", "orient_central", "orient_companion")
_KNOWN = ("mag", "r_eff", "morphology", "flux")


def split(sample: Sample, shares: tuple[float, ...] = (0.6, 0.2, 0.2), seed: int = 42) -> tuple[Sample, ...]:
    """Divide a sample by galaxy: none is on two sides (section 2.3).

    Parameters
    ----------
    sample : Sample
    shares : tuple of float
        Share of the galaxies for each side, adding up to one.
    seed : int

    Returns
    -------
    tuple of Sample
        As many as there are shares, for example train, validation and test.

    Raises
    ------
    ValueError
        Where the shares do not add up to one, or a side would be empty.
    """
    shares = np.asarray(shares, float)
    if shares.ndim != 1 or not (shares > 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise ValueError(
            f"shares = {tuple(shares.ravel().tolist())} were given, expected positive numbers that add up to 1."
        )
    ends = np.round(np.cumsum(shares) * len(sample)).astype(int)
    sides = np.split(np.random.default_rng(seed).permutation(len(sample)), ends[:-1])
    if not all(len(side) for side in sides):
        raise ValueError(
            f"{len(sample)} galaxies cannot be divided as {tuple(shares.tolist())} without an empty side: "
            "use a larger sample or fewer sides."
        )
    return tuple(sample[np.sort(side)] for side in sides)


def draw_blends(
    sample: Sample,
    n: int,
    seed: int = 42,
    max_dmag: float = 2.0,
    separation: tuple[float, float] = (0.5, 4.0),
    *,
    dmag: float = 0.0,
    turns: bool = True,
) -> Table:
    """Draw recipes for blends of two galaxies of a sample (section 2.2).

    Parameters
    ----------
    sample : Sample
        Cleaned galaxies.
    n : int
        Number of blends.
    seed : int or numpy.random.Generator
    max_dmag : float
        The two magnitudes differ by less than this.
    separation : (low, high)
        Distance of the companion, drawn uniformly, in units of the larger effective radius; then rounded to whole
        pixels. Both shifts stay within ``ny // 2 - 1`` pixels.
    dmag : float
        Offset to every companion's magnitude.
    turns : bool
        Whether each galaxy gets one of its eight orientations at random; False leaves them as observed, as the
        paper does.

    Returns
    -------
    astropy.table.Table
        One row per blend; see `make_blends` for the columns.

    Raises
    ------
    ValueError
        Where no pair of galaxies is allowed, or an argument makes no sense.

    Warns
    -----
    UserWarning
        Once, where galaxies have no allowed partner; they are skipped.
    """
    if not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"n = {n!r} blends were asked for, expected a whole number of at least 1.")
    if not max_dmag > 0:
        raise ValueError(f"max_dmag = {max_dmag} was given, expected a positive difference in magnitudes.")
    low, high = separation
    if not 0 <= low <= high:
        raise ValueError(f"separation = {separation} was given, expected (low, high) with 0 <= low <= high.")
    if not np.isfinite(dmag):
        raise ValueError(f"dmag = {dmag} was given, expected a finite number of magnitudes.")
    rng = np.random.default_rng(seed)
    central, companion = _draw_pairs(sample, n, max_dmag, dmag, rng)
    r_eff = np.asarray(sample.catalog["r_eff"], float)
    dx, dy = _draw_shifts(np.maximum(r_eff[central], r_eff[companion]), low, high, sample.images.shape[1:], rng)
    ny, nx = sample.images.shape[1:]
    orient = rng.choice(8 if ny == nx else (0, 2, 5, 7), (2, n)) if turns else np.zeros((2, n), int)
    ids = np.asarray(sample.catalog["id"])
    blends = make_blends(sample, ids[central], ids[companion], dx, dy, dmag, *orient)
    if isinstance(seed, int | np.integer):
        blends.meta["seed"] = int(seed)
    return blends


def make_blends(sample: Sample, central, companion, dx, dy, dmag=0.0, orient_central=0, orient_companion=0) -> Table:
    """A table of recipes for blends that you choose yourself.

    Parameters
    ----------
    sample : Sample
    central, companion : int or array of int, shape (n,)
        Catalogue ids.
    dx, dy : int or array of int
        The companion's shift in whole pixels along columns and rows.
    dmag : float or array of float
        Offset to the companion's magnitude: its pixels, noise included, are multiplied by ``10 ** (-0.4 * dmag)``.
    orient_central, orient_companion : int or array of int
        0 to 7: a transpose if it is 4 or more, then ``k % 4`` quarter turns counter-clockwise (as `numpy.rot90`)
        about the centre pixel.

    Returns
    -------
    astropy.table.Table
        The arguments as columns, and what is known of the pair: `distance` (pixels), `delta_mag` (mag_central -
        mag_companion), `inside` (share of the companion's flux that is still on the stamp), `mag_*`, `r_eff_*`,
        `morphology_*` and `flux_*` of both; those of the companion include `dmag`. ``meta`` holds the
        fingerprints of the sample's galaxies and its zeropoint.

    Raises
    ------
    ValueError
        Where an id is not in the sample, or a shift or orientation is out of range.
    """
    from astropy.table import Table

    columns = np.broadcast_arrays(
        *map(np.atleast_1d, (central, companion, dx, dy, dmag, orient_central, orient_companion))
    )
    blends = Table({
        name: column.astype(float) if name == "dmag" else _whole(column)
        for name, column in zip(_RECIPE, columns, strict=True)
    })  # fmt: skip
    rows = _check_recipe(sample, blends)
    blends["distance"] = np.hypot(blends["dx"], blends["dy"])
    flux = true_fluxes(sample)
    known = {name: np.asarray(sample.catalog[name], float) for name in ("mag", "r_eff")}
    known |= {"morphology": np.asarray(sample.catalog["morphology"]), "flux": flux}
    for name in _KNOWN:
        for galaxy, row in rows.items():
            blends[f"{name}_{galaxy}"] = known[name][row]
    blends["mag_companion"] += blends["dmag"]
    blends["flux_companion"] *= 10 ** (-0.4 * blends["dmag"])
    blends.add_column(blends["mag_central"] - blends["mag_companion"], name="delta_mag", index=8)
    inside = _share_inside(sample, rows["companion"], blends["dx"], blends["dy"], blends["orient_companion"])
    blends.add_column(inside, name="inside", index=9)
    for name in ("distance", "delta_mag", "inside", "mag_central", "mag_companion", "r_eff_central", "r_eff_companion",
                 "flux_central", "flux_companion"):  # fmt: skip
        blends[name].info.format = ".3f"
    blends.meta = {
        "fingerprint": dict(sample.fingerprints),
        "zeropoint": float(sample.zeropoint),
        "sky": sample.sky_fingerprint,
    }
    return blends


def _whole(column):
    """Whole numbers as int64; anything else as it is, for the checks to refuse."""
    whole = column.astype(np.int64)
    return whole if (whole == column).all() else np.array(column)


def true_fluxes(sample: Sample) -> np.ndarray:
    """FLUX_AUTO of each galaxy alone, shape (n,), e-/s; from catalogue magnitudes, with a warning, before cleaning."""
    if "flux_auto" in sample.catalog.colnames:
        return np.asarray(sample.catalog["flux_auto"], float)
    warnings.warn(
        f"the sample {sample.name!r} has no flux_auto, so catalogue magnitudes give the fluxes: run bk.clean first.",
        stacklevel=3,
    )
    return 10 ** (-0.4 * (np.asarray(sample.catalog["mag"], float) - sample.zeropoint))


def render(
    sample: Sample, blends: Table, *, fill: str = "sky", masks: bool = True
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """The pixels of blends.

    Parameters
    ----------
    sample : Sample
        The sample that the blends were drawn from, or any that holds these very galaxies.
    blends : astropy.table.Table
        From `draw_blends` or `make_blends`, or any slice of it.
    fill : {"sky", "zero"}
        What a shift or a turn leaves empty: the sample's own sky, or zeros (as the paper's tools do, which leaves a
        step in the noise).
    masks : bool
        Whether the masks are wanted.

    Returns
    -------
    images : array of float32, shape (n, ny, nx), e-/s
        Central plus companion, noise of both.
    masks : array of bool, shape (n, ny, nx, 2), or None
        The segments of central and companion; where both are true they overlap.
    fluxes : array of float32, shape (n, 2), e-/s
        FLUX_AUTO of central and companion, each alone.

    Raises
    ------
    ValueError
        Where the sample does not hold these very galaxies, or a row is out of range.
    """
    rows = _check_recipe(sample, blends)
    _check_fingerprint(sample, blends, fill)
    images = _render_images(sample, blends, rows, fill)
    fluxes = np.empty((len(blends), 2), np.float32)
    flux = true_fluxes(sample)
    fluxes[:, 0] = flux[rows["central"]]
    fluxes[:, 1] = flux[rows["companion"]] * 10 ** (-0.4 * _column(blends, "dmag"))
    return images, _render_masks(sample, blends, rows) if masks else None, fluxes


def render_parts(sample: Sample, blends: Table, *, fill: str = "sky") -> np.ndarray:
    """The two galaxies of each blend apart: float32, shape (n, 2, ny, nx); their sum is `render`'s image."""
    rows = _check_recipe(sample, blends)
    _check_fingerprint(sample, blends, fill)
    parts = np.empty((len(blends), 2, *sample.images.shape[1:]), np.float32)
    bank = _bank(sample, fill)
    for part, (c, k, dy, dx, turn_c, turn_k, scale, sky_c, sky_k) in zip(
        parts, _recipe(sample, blends, rows, len(bank)), strict=True
    ):
        place(part[0], sample.images[c], turn_c, 0, 0, bank[sky_c])
        place(part[1], sample.images[k], turn_k, dy, dx, bank[sky_k])
        if scale != 1:
            part[1] *= scale
    return parts


def export(
    sample: Sample,
    blends: Table,
    folder: str | os.PathLike,
    *,
    prefix: str = "test",
    fill: str = "sky",
    batch: int = 256,
) -> Path:
    """Write blends as plain pixels, under the file names of the paper's own tool (candels-blender).

    Parameters
    ----------
    sample, blends, fill
        As for `render`.
    folder : path
        Made when it is not there; files of the same names are replaced once the new ones are complete.
    prefix : str
        "train" or "test" in the original tool.
    batch : int
        Blends in memory at a time.

    Returns
    -------
    pathlib.Path
        The folder, with ``{prefix}_blends.npy`` (n, ny, nx) float32, ``{prefix}_gg_masks.npy`` (n, ny, nx, 2) uint8,
        ``{prefix}_flux.npy`` (n, 2) and ``{prefix}_catalogue.csv`` (columns of the original, `shift_x` and `shift_y`
        the companion's shift along rows and columns).
    """
    from tqdm import tqdm

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    n, (ny, nx) = len(blends), sample.images.shape[1:]
    with tempfile.TemporaryDirectory(dir=folder, prefix=".exporting-") as draft:
        draft = Path(draft)

        def stack(name, dtype, *shape):
            path = draft / f"{prefix}_{name}.npy"
            return np.lib.format.open_memmap(path, "w+", dtype=dtype, shape=(n, *shape))

        images, masks = stack("blends", np.float32, ny, nx), stack("gg_masks", np.uint8, ny, nx, 2)
        fluxes = stack("flux", np.float32, 2)
        with tqdm(total=n, desc="exporting", disable=None, leave=False) as bar:
            for start in range(0, n, batch):
                part = slice(start, min(start + batch, n))
                images[part], masks[part], fluxes[part] = render(sample, blends[part], fill=fill)
                bar.update(part.stop - part.start)
        for array in (images, masks, fluxes):
            array.flush()
        del images, masks, fluxes
        _original_catalogue(sample, blends).write(draft / f"{prefix}_catalogue.csv", format="ascii.csv")
        for file in sorted(draft.iterdir()):
            os.replace(file, folder / file.name)
    return folder


def _original_catalogue(sample, blends):
    from astropy.table import Table

    z = np.asarray(sample.catalog["z"], float) if "z" in sample.catalog.colnames else np.full(len(sample), np.nan)
    table = Table({
        "id": np.arange(len(blends)), "distance": blends["distance"], "shift_x": blends["dy"], "shift_y": blends["dx"]
    })  # fmt: skip
    for name, galaxy in (("g1", "central"), ("g2", "companion")):
        table[f"{name}_id"] = blends[galaxy]
        table[f"{name}_mag"] = blends[f"mag_{galaxy}"]
        table[f"{name}_rad"] = blends[f"r_eff_{galaxy}"]
        table[f"{name}_z"] = z[sample.index(blends[galaxy])]
        table[f"{name}_type"] = blends[f"morphology_{galaxy}"]
    for name in table.colnames:
        if table[name].dtype.kind == "f":
            table[name].info.format = ".6f"
    return table


def turned(stamp: np.ndarray, orient: int) -> tuple[np.ndarray, int, int]:
    """A stamp in one of its eight orientations about the pixel ``[ny // 2, nx // 2]``, without a copy.

    Since the centre pixel stays where it is, a flip moves an even stamp by one pixel: a row or column leaves the
    frame, and one at the other side is left empty, unless a shift makes up for it.

    Parameters
    ----------
    stamp : array, shape (ny, nx)
    orient : int
        0 to 7; see `make_blends`.

    Returns
    -------
    view : array
        The turned pixels.
    y, x : int
        Where on the frame ``view[0, 0]`` belongs: 0 or 1.
    """
    if orient >= 4:
        stamp = stamp.T
    quarter = orient % 4
    if quarter % 2:
        stamp = stamp.T
    flip_y, flip_x = quarter in (1, 2), quarter in (2, 3)
    even_y, even_x = (size % 2 == 0 for size in stamp.shape)
    view = stamp[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
    return view, int(flip_y and even_y), int(flip_x and even_x)


def place(target: np.ndarray, stamp: np.ndarray, orient: int, dy: int, dx: int, fill: np.ndarray) -> None:
    """Write a stamp, turned and shifted, into `target`, and `fill` where that leaves the frame empty.

    Parameters
    ----------
    target, stamp, fill : arrays, shape (ny, nx)
    orient, dy, dx : int
        See `make_blends`.
    """
    view, y, x = turned(stamp, orient) if orient else (stamp, 0, 0)
    y, x = y + dy, x + dx
    ny, nx = target.shape
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + view.shape[0], ny), min(x + view.shape[1], nx)
    if not orient and stamp.flags.c_contiguous and target.flags.c_contiguous:
        step, source = dy * nx + dx, stamp.reshape(-1)  # one long copy; what wraps round is filled below
        if step >= 0:
            target.reshape(-1)[step:] = source[: len(source) - step]
        else:
            target.reshape(-1)[:step] = source[-step:]
    else:
        target[top:bottom, left:right] = view[top - y : bottom - y, left - x : right - x]
    if top:
        target[:top] = fill[:top]
    if bottom < ny:
        target[bottom:] = fill[bottom:]
    if left:
        target[top:bottom, :left] = fill[top:bottom, :left]
    if right < nx:
        target[top:bottom, right:] = fill[top:bottom, right:]


def sky_rows(blends: Table, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Which stamps of the sample's sky bank fill what central and companion leave empty, two arrays of shape (n,).

    They follow from the two ids alone: the same blend has the same sky in every slice, and a companion that is
    dragged about keeps it.
    """
    first = (5 * _mix(blends["central"]) + 11 * _mix(blends["companion"])) % size
    return (first + size // 2) % size, first


def _mix(ids):
    """16 bits that depend on all of the lower 32 bits of an id, so that regular ids do not share their sky."""
    return (((np.asarray(ids, np.int64) & 0xFFFFFFFF) * 0x9E3779B1) & 0xFFFFFFFF) >> 16


def _column(blends, name):
    """A column of the recipe; the optional ones default to zero."""
    return np.asarray(blends[name]) if name in blends.colnames else np.zeros(len(blends), int)


def _recipe(sample, blends, rows, bank_size=1):
    scale = (10 ** (-0.4 * _column(blends, "dmag"))).astype(np.float32)
    sky = (s.tolist() for s in sky_rows(blends, bank_size))
    ints = (_column(blends, name).tolist() for name in ("dy", "dx", "orient_central", "orient_companion"))
    return zip(rows["central"].tolist(), rows["companion"].tolist(), *ints, scale, *sky, strict=True)


def _render_images(sample, blends, rows, fill):
    stamps, bank = sample.images, _bank(sample, fill)
    out = np.empty((len(blends), *stamps.shape[1:]), np.float32)
    turned_central = np.empty_like(stamps[0])
    for image, (c, k, dy, dx, turn_c, turn_k, scale, sky_c, sky_k) in zip(
        out, _recipe(sample, blends, rows, len(bank)), strict=True
    ):
        place(image, stamps[k], turn_k, dy, dx, bank[sky_k])
        if scale != 1:
            image *= scale
        central = stamps[c]
        if turn_c:
            place(turned_central, central, turn_c, 0, 0, bank[sky_c])
            central = turned_central
        np.add(central, image, out=image)
    return out


def _render_masks(sample, blends, rows):
    (ny, nx), (y, x) = sample.segmaps.shape[1:], sample.centre
    labels, reach = sample.segmaps[:, y, x].tolist(), sample.reach.tolist()
    out = np.zeros((len(blends), ny, nx, 2), bool)
    for pair, (c, k, dy, dx, turn_c, turn_k, *_) in zip(out, _recipe(sample, blends, rows), strict=True):
        _place_segment(pair[..., 0], sample.segmaps[c], labels[c], reach[c], turn_c, 0, 0)
        _place_segment(pair[..., 1], sample.segmaps[k], labels[k], reach[k], turn_k, dy, dx)
    return out


def _place_segment(target, segmap, label, reach, orient, dy, dx):
    """As `place`, the pixels with this label into an empty mask; only the square that they reach is touched."""
    view, y, x = turned(segmap, orient) if orient else (segmap, 0, 0)
    y, x = y + dy, x + dx
    middle_y, middle_x = segmap.shape[0] // 2 + dy, segmap.shape[1] // 2 + dx
    top, left = max(y, 0, middle_y - reach), max(x, 0, middle_x - reach)
    bottom = max(top, min(y + view.shape[0], target.shape[0], middle_y + reach + 1))
    right = max(left, min(x + view.shape[1], target.shape[1], middle_x + reach + 1))
    part = view[top - y : bottom - y, left - x : right - x]
    np.equal(part, label, out=target[top:bottom, left:right])


def _bank(sample, fill):
    if fill not in FILLS:
        raise ValueError(f"fill = {fill!r} was given, expected 'sky' or 'zero'.")
    if fill == "sky":
        return sample.sky
    return np.zeros((1, *sample.images.shape[1:]), np.float32)


def _check_recipe(sample, blends):
    """Positions of both galaxies in the sample, after checking that every row can be rendered."""
    if type(blends).__name__ == "Row":
        raise ValueError("one row of a table was given, expected a table: use blends[i : i + 1].")
    missing = [name for name in ("central", "companion", "dx", "dy") if name not in blends.colnames]
    if missing:
        raise ValueError(
            f"the table of blends lacks {', '.join(missing)}, expected at least central, companion, dx and dy: "
            "make it with draw_blends or make_blends."
        )
    masked = [name for name in _RECIPE if name in blends.colnames and np.ma.is_masked(blends[name])]
    if masked:
        raise ValueError(f"rows of {', '.join(masked)} are masked, expected a number in each: fill or drop these rows.")
    ny, nx = sample.images.shape[1:]
    for name, limit in (("dx", nx), ("dy", ny)):
        shift = _column(blends, name)
        if len(shift) and (shift.dtype.kind not in "iu" or max(-int(shift.min()), int(shift.max())) >= limit):
            raise ValueError(
                f"{name} runs from {shift.min()} to {shift.max()} ({shift.dtype}), expected whole pixels smaller than "
                f"the stamp ({limit}): round or reduce the shifts."
            )
    for name in ("orient_central", "orient_companion"):
        orient = _column(blends, name)
        if len(orient) and (orient.dtype.kind not in "iu" or orient.min() < 0 or orient.max() > 7):
            raise ValueError(f"{name} runs from {orient.min()} to {orient.max()}, expected whole numbers from 0 to 7.")
        if ny != nx and np.isin(orient, (1, 3, 4, 6)).any():
            raise ValueError(
                f"{name} holds quarter turns, expected none on stamps of {ny} x {nx} pixels: use 0, 2, 5 or 7."
            )
    if not np.isfinite(_column(blends, "dmag")).all():
        raise ValueError("dmag holds NaN or infinite values, expected finite magnitudes: correct these rows.")
    return {galaxy: sample.index(blends[galaxy]) for galaxy in ("central", "companion")}


def _check_fingerprint(sample, blends, fill):
    expected = blends.meta.get("fingerprint")
    if expected is None:
        return
    here = sample.fingerprints
    used = np.unique(np.concatenate([np.asarray(blends[name]) for name in ("central", "companion")])).tolist()
    different = [i for i in used if expected.get(i) != here[i]]
    if different:
        raise ValueError(
            f"{len(different)} of the {len(used)} galaxies of these blends have other pixels, labels or fluxes in "
            f"the sample {sample.name!r} (first id {different[0]}): use the sample that the blends were drawn from."
        )
    if blends.meta.get("zeropoint", sample.zeropoint) != sample.zeropoint:
        raise ValueError(
            f"the blends were drawn at zeropoint {blends.meta['zeropoint']}, the sample has {sample.zeropoint}: "
            "use the sample that they were drawn from."
        )
    if fill == "sky" and blends.meta.get("sky", sample.sky_fingerprint) != sample.sky_fingerprint:
        raise ValueError(
            f"the blends were drawn with another sky than that of the sample {sample.name!r}: use the sample that they "
            "were drawn from, or fill='zero'."
        )


def _draw_pairs(sample, n, max_dmag, dmag, rng):
    """Positions of `n` centrals and companions whose magnitudes are close enough."""
    mag = np.asarray(sample.catalog["mag"], float)
    order = np.argsort(mag, kind="stable")
    ordered = mag[order] + dmag
    low = np.searchsorted(ordered, mag - max_dmag, side="right")
    high = np.searchsorted(ordered, mag + max_dmag, side="left")
    rank = np.empty(len(mag), int)
    rank[order] = np.arange(len(mag))
    itself = (low <= rank) & (rank < high)
    partners = high - low - itself
    eligible = np.flatnonzero(partners > 0)
    if not len(eligible):
        raise ValueError(
            f"no pair among the {len(mag)} galaxies of {sample.name!r} differs by less than {max_dmag} mag: "
            "raise max_dmag or use a larger sample."
        )
    if len(eligible) < len(mag):
        alone = np.asarray(sample.catalog["id"])[partners <= 0]
        warnings.warn(
            f"{len(alone)} of {len(mag)} galaxies have no partner within {max_dmag} mag and are skipped "
            f"(first id {alone[0]}).",
            stacklevel=3,
        )
    central = rng.choice(eligible, n)
    pick = low[central] + rng.integers(0, partners[central])
    pick += itself[central] & (pick >= rank[central])
    return central, order[pick]


def _draw_shifts(radius, low, high, shape, rng):
    """Whole-pixel shifts: radius uniform in (low, high) x `radius`, angle uniform, inside the frame."""
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
    raise ValueError(
        f"{len(todo)} blends find no place on the stamp: {low} times an effective radius of {radius[todo].max():.0f} "
        f"pixels is more than {limit_x} pixels; lower separation or drop the largest galaxies."
    )


def _share_inside(sample, rows, dx, dy, orient):
    """Share of each companion's light (positive pixels of its own segment) that is on the shifted stamp."""
    ny, nx = sample.images.shape[1:]
    y0, x0 = sample.centre
    dx, dy, orient = map(np.asarray, (dx, dy, orient))
    share = np.ones(len(rows))
    cut = sample.reach[rows] + np.maximum(np.abs(dx), np.abs(dy)) > min(ny - 1 - y0, nx - 1 - x0)
    for row in np.unique(rows[cut]):
        own = sample.segmaps[row] == sample.segmaps[row, y0, x0]
        light = np.where(own, sample.images[row], 0).clip(min=0).astype(float)
        total = np.zeros((ny + 1, nx + 1))
        total[1:, 1:] = light.cumsum(0).cumsum(1)
        these = np.flatnonzero(cut & (rows == row))
        # the frame's corners, relative to the centre pixel, taken back to the companion's own frame
        top, bottom = -y0 - dy[these], ny - 1 - y0 - dy[these]
        left, right = -x0 - dx[these], nx - 1 - x0 - dx[these]
        corners_y, corners_x = _turn_back(np.stack([top, bottom]), np.stack([left, right]), orient[these])
        low_y, high_y = np.clip(np.sort(corners_y, axis=0) + y0 + [[0], [1]], 0, ny)
        low_x, high_x = np.clip(np.sort(corners_x, axis=0) + x0 + [[0], [1]], 0, nx)
        inside = total[high_y, high_x] - total[low_y, high_x] - total[high_y, low_x] + total[low_y, low_x]
        share[these] = inside / total[-1, -1] if total[-1, -1] > 0 else np.nan
    return share


def _turn_back(y, x, orient):
    """Offsets from the centre on a turned stamp to those on the stamp as it was."""
    for quarter in (1, 2, 3):
        on = orient % 4 >= quarter
        y, x = np.where(on, x, y), np.where(on, -y, x)
    return np.where(orient >= 4, x, y), np.where(orient >= 4, y, x)
