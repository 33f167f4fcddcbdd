"""SEP as a deblender, and how any method that starts from its detections measures stamps."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from astropy.table import Table

from ..data.check import require
from ..data.photometry import detect, map_stamps
from . import base

SMALL_BATCH = 500  # stamps that one process measures before the others would have started
LABELS = {"isophotal": "SEP isophotal", "kron": "SEP Kron", "kron_masked": "SEP Kron, neighbour masked"}


@dataclass
class SEP:
    """SExtractor, through its library version SEP, as in the paper (section 3.3, Table 3).

    Parameters
    ----------
    truth : astropy.table.Table, optional
        The blends' recipes, to match detections to the true positions as `match_positions` does. Without it the
        detection nearest the centre is the central galaxy, the brightest other ones, `members` in all, its companions.
    flux : {"kron_masked", "kron", "isophotal"}
        Kron flux with the neighbours' segments blanked (FLUX_AUTO, the best), Kron flux, or the light inside the
        object's own segment (the paper's published code).
    masks, n_jobs : bool; int, optional
        Whether to return the matched segments, shape (ny, nx, k) for each blend; processes, by default all cores.
    """

    truth: Table | None = None
    flux: str = "kron_masked"
    masks: bool = False
    n_jobs: int | None = None
    members: int = 2

    def __post_init__(self):
        require(self.flux in LABELS, f"flux = {self.flux!r} was asked for, expected one of {', '.join(LABELS)}.")

    def __call__(self, images: np.ndarray) -> Table:
        """Measure blends, (n, ny, nx) in e-/s.

        Returns `flux` (n, k), e-/s, NaN where nothing was found, `n_detected`, `case` (one of `CASES`). ``meta`` tells
        how positions were `matching` and how many stamps `failed` (NaN pixels, no noise, a full buffer).
        """
        return self._tables(images, (self.flux,))[LABELS[self.flux]]

    def _tables(self, images, kinds):
        """A table for each kind of flux, by label."""
        masks, tables, measure = ["masks"] * self.masks, {}, partial(_fluxes, kinds, self.masks)
        settings = {"small_batch": SMALL_BATCH, "members": self.members, "n_jobs": self.n_jobs}
        all_kinds = measure_stamps(images, self.truth, [*kinds, *masks], measure, **settings)
        for kind in kinds:
            table = tables[LABELS[kind]] = all_kinds[[kind, "n_detected", "case", *masks]]
            table.rename_column(kind, "flux")
            table.meta = {"method": LABELS[kind], **all_kinds.meta}
        return tables


def sep_baselines(images: np.ndarray, truth: Table | None = None) -> dict[str, Table]:
    """The three fluxes that SEP offers, from one run: what `SEP` gives with each kind of flux, by label."""
    return SEP(truth)._tables(images, LABELS)


def measure_stamps(images, truth, columns, measure, *, small_batch, members=2, n_jobs=None, desc="SEP") -> Table:
    """The `columns`, (k,) or `PICTURES`, that ``measure(image, found, matched, position)`` gives of each stamp."""
    images = base.check_images(images, truth)
    n, k, positions, matching = len(images), members, [None] * len(images), base.PIXELS_ONLY
    if truth is not None:
        good, what = hasattr(truth, "colnames") and len(truth) == n, type(truth).__name__
        require(good, f"{n} images and a {what} of {len(truth)} rows were given, expected the same slice.")
        x, y = base.true_places(truth, images.shape[1:])
        positions = list(zip(x, y, np.asarray(truth["r_eff"])[:, 0].tolist(), strict=True))
        k, matching = x.shape[1], base.TRUE_POSITIONS
    work = ((image, position, k, measure) for image, position in zip(images, positions, strict=True))
    rows = map_stamps(_measure_stamp, work, n, n_jobs=1 if n <= small_batch else n_jobs, desc=desc)
    table = Table()
    for name in columns:
        shape, dtype = (*images.shape[1:], k) if name in base.PICTURES else (k,), base.PICTURES.get(name, float)
        nothing = np.full(shape, np.nan if dtype is float else 0, dtype)
        table[name] = np.array([row.get(name, nothing) for row in rows], dtype).reshape(n, *shape)
    table["n_detected"] = np.array([row["n_detected"] for row in rows], int)
    table["case"] = np.array([row["case"] for row in rows], "U14")
    table.meta = {"matching": matching, "failed": sum(row["failed"] for row in rows)}
    return table


def _measure_stamp(work):
    image, position, k, measure = work
    row = {"n_detected": 0, "case": "none", "failed": False}
    try:
        found = detect(image)
        if position is None:
            matched = base.match_pixels(found, (image.shape[0] // 2, image.shape[1] // 2), k)
        else:
            matched, k = base.match_positions(found, *position), int(np.isfinite(position[0]).sum())
        row |= {"n_detected": len(found), "case": base.case_of(matched, len(found), k)}
        return row | measure(image, found, matched, position)
    except Exception:  # SEP raises bare Exceptions; this stamp is counted as failed and the others go on
        return row | {"failed": True}


def _fluxes(kinds, masks, image, found, matched, position):
    row = {kind: [getattr(found, kind)[i] if i >= 0 else np.nan for i in matched] for kind in kinds}
    return row | ({"masks": found.segmap[..., None] == np.where(matched >= 0, matched + 1, -1)} if masks else {})
