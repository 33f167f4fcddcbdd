"""Deblenders: callables that take blends, shape (n, ny, nx), and return a table with the two fluxes of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .photometry import FLUX_KINDS, Detections, detect, map_stamps

if TYPE_CHECKING:
    from astropy.table import Table

CENTRAL_WITHIN = 0.5  # in R_cen: how near the centre a single detection must be to count as the central galaxy
SMALL_BATCH = 500  # stamps that one process measures before the others would have started
LABELS = {
    "isophotal": "SEP isophotal",
    "kron": "SEP Kron",
    "kron_masked": "SEP Kron, neighbour masked",
}


@dataclass
class SEP:
    """SExtractor, through its library version SEP, as in the paper (section 3.3, Table 3).

    Parameters
    ----------
    truth : astropy.table.Table, optional
        The blends' recipes. With it, detections are matched to both true positions as in the paper: of more than two
        the two brightest are kept; two go to the true positions, each to one, so that the sum of distances is
        smallest; a single one is the central galaxy if it lies within 0.5 R_cen of the centre, else the companion.
        Without it SEP knows only pixels: the detection nearest the centre is the central galaxy, the brightest
        other one the companion.
    flux : {"kron_masked", "kron", "isophotal"}
        Kron flux with the neighbours' segments blanked (FLUX_AUTO, the best), Kron flux, or the light inside
        the object's own segment (the paper's published code).
    masks : bool
        Whether to return the matched segments as masks, shape (ny, nx, 2) for each blend.
    n_jobs : int, optional
        Processes; default all cores.

    Notes
    -----
    A stamp on which SEP fails (NaN pixels, no noise, a full buffer) gives NaN and is counted in ``meta["failed"]``.
    """

    truth: Table | None = None
    flux: str = "kron_masked"
    masks: bool = False
    n_jobs: int | None = None

    def __post_init__(self):
        if self.flux not in FLUX_KINDS:
            raise ValueError(f"flux = {self.flux!r} was asked for, expected one of {', '.join(FLUX_KINDS)}.")

    def __call__(self, images: np.ndarray) -> Table:
        """Measure blends.

        Parameters
        ----------
        images : array of float, shape (n, ny, nx), e-/s

        Returns
        -------
        astropy.table.Table
            `flux_central`, `flux_companion` (e-/s, NaN where nothing was found), `n_detected`, `case` ("both",
            "only central", "only companion", "more", "none"), and `masks` if asked for. ``meta`` tells how positions
            were `matching` and how many stamps `failed`.

        Raises
        ------
        ValueError
            Where the images are no stack, or not as many as the rows of `truth`.
        """
        return _tables(images, self.truth, (self.flux,), self.masks, self.n_jobs)[self.flux]


def sep_baselines(images: np.ndarray, truth: Table | None = None, n_jobs: int | None = None) -> dict[str, Table]:
    """The three fluxes that SEP offers, from one run: `SEP` with each kind of flux, by label.

    Parameters
    ----------
    images, truth, n_jobs
        As for `SEP`.

    Returns
    -------
    dict of str to astropy.table.Table
    """
    tables = _tables(images, truth, FLUX_KINDS, False, n_jobs)
    return {LABELS[kind]: table for kind, table in tables.items()}


def match_positions(found: Detections, centre: tuple[int, int], dx: int, dy: int, r_central: float) -> tuple[int, int]:
    """Which detections are the central galaxy and the companion, both true positions known (section 3.3).

    Parameters
    ----------
    found : Detections
    centre : (row, column)
        True position of the central galaxy.
    dx, dy : int
        True shift of the companion, pixels.
    r_central : float
        Effective radius of the central galaxy, pixels.

    Returns
    -------
    central, companion : int
        Indices into `found`; -1 for a galaxy that was not detected.
    """
    if not len(found):
        return -1, -1
    to_central = np.hypot(found.x - centre[1], found.y - centre[0])
    if len(found) == 1:
        return (0, -1) if to_central[0] < CENTRAL_WITHIN * r_central else (-1, 0)
    to_companion = np.hypot(found.x - centre[1] - dx, found.y - centre[0] - dy)
    first, second = np.argsort(-found.isophotal, kind="stable")[:2].tolist()
    if to_central[first] + to_companion[second] <= to_central[second] + to_companion[first]:
        return first, second
    return second, first


def match_pixels(found: Detections, centre: tuple[int, int]) -> tuple[int, int]:
    """The detection nearest the centre, and the brightest other one; -1 where there is none.

    Parameters
    ----------
    found : Detections
    centre : (row, column)

    Returns
    -------
    central, companion : int
    """
    if not len(found):
        return -1, -1
    central = int(np.argmin(np.hypot(found.x - centre[1], found.y - centre[0])))
    if len(found) == 1:
        return central, -1
    brightness = found.isophotal.copy()
    brightness[central] = -np.inf
    return central, int(np.argmax(brightness))


def case_of(central: int, companion: int, n_detected: int) -> str:
    """The detection case of a matched stamp, in the words of `blendkit.metrics.CASES`."""
    if n_detected > 2:
        return "more"
    return {(True, True): "both", (True, False): "only central", (False, True): "only companion"}.get(
        (central >= 0, companion >= 0), "none"
    )


def check_images(images) -> np.ndarray:
    """A stack of stamps, or a ValueError that says what was given."""
    images = np.asarray(images)
    if images.ndim != 3 or images.dtype.kind not in "fiu":
        raise ValueError(
            f"the blends have shape {images.shape} and type {images.dtype}, expected numbers of shape (n, ny, nx): "
            "give a single stamp as image[None]."
        )
    return images


def _tables(images, truth, kinds, masks, n_jobs):
    from astropy.table import Table

    images = check_images(images)
    n, centre = len(images), (images.shape[1] // 2, images.shape[2] // 2)
    if truth is None:
        positions = [None] * n
        matching = "pixels only: nearest the centre is the central galaxy, the brightest other one the companion"
    else:
        missing = [name for name in ("dx", "dy", "r_eff_central") if name not in truth.colnames]
        if missing:
            raise ValueError(
                f"truth lacks {', '.join(missing)}, expected the blends' table: give what draw_blends made."
            )
        if len(truth) != n:
            raise ValueError(
                f"there are {n} images and {len(truth)} rows of truth, expected one each: give the same slice of both."
            )
        positions = list(zip(*(np.asarray(truth[c]).tolist() for c in ("dx", "dy", "r_eff_central")), strict=True))
        matching = "true positions of both galaxies known (paper, section 3.3)"
    work = [(image, centre, position, kinds, masks) for image, position in zip(images, positions, strict=True)]
    rows = map_stamps(_measure, work, n, n_jobs=1 if n <= SMALL_BATCH else n_jobs, desc="SEP")
    tables = {}
    for k, kind in enumerate(kinds):
        fluxes = np.array([row["fluxes"][k] for row in rows]).reshape(n, 2)
        meta = {"method": LABELS[kind], "matching": matching, "failed": sum(row["failed"] for row in rows)}
        tables[kind] = Table({
            "flux_central": fluxes[:, 0],
            "flux_companion": fluxes[:, 1],
            "n_detected": np.array([row["n_detected"] for row in rows], int),
            "case": np.array([row["case"] for row in rows], "U14"),
        }, meta=meta)  # fmt: skip
        if masks:
            tables[kind]["masks"] = np.array([row["masks"] for row in rows]).reshape(n, *images.shape[1:], 2)
    return tables


def _measure(work):
    image, centre, position, kinds, masks = work
    shape = (*image.shape, 2)
    try:
        found = detect(image)
    except Exception:  # SEP raises bare Exceptions; this stamp is counted as failed and the others go on
        return {
            "fluxes": np.full((len(kinds), 2), np.nan),
            "n_detected": 0,
            "case": "none",
            "failed": True,
            "masks": np.zeros(shape, bool) if masks else None,
        }
    if position is None:
        pair = match_pixels(found, centre)
    else:
        dx, dy, r_central = position
        pair = match_positions(found, centre, dx, dy, r_central)
    fluxes = [[getattr(found, kind)[i] if i >= 0 else np.nan for i in pair] for kind in kinds]
    segments = [found.segmap == i + 1 if i >= 0 else np.zeros(image.shape, bool) for i in pair]
    return {
        "fluxes": fluxes,
        "n_detected": len(found),
        "case": case_of(*pair, len(found)),
        "failed": False,
        "masks": np.stack(segments, -1) if masks else None,
    }
