"""From survey stamps to isolated galaxies: cuts, neighbours replaced by sky, bad stamps dropped (section 2.1)."""

import tomllib
import warnings
import zlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import sep
from astropy.table import Table
from scipy.ndimage import binary_erosion, center_of_mass, distance_transform_edt, gaussian_filter, map_coordinates

from .check import PathLike, plain, read_table, require
from .photometry import flux_auto, map_stamps
from .sample import MORPHOLOGIES, Sample
from .sky import empty_pixels, fill_with_sky, flat_pixels

EYE = SimpleNamespace(**tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8")))
FAR = 2.5 * np.log10(2)  # mag between FLUX_AUTO and the catalogue, after the sample's own median


def clean(
    sample: Sample, *, mag: tuple[float, float] | None = None, morphology: tuple[str, ...] | None = None,
    dilation: int = 5, decisions: PathLike | dict[int, str] | None = None, seed: int = 0, n_jobs: int | None = None,
) -> Sample:  # fmt: skip
    """Isolated galaxies from survey stamps (paper section 2.1, Figure 1).

    Every object but the central one is replaced by empty sky of the same stamp, the median of what is empty is
    subtracted, stamps that an eye would reject are dropped, and FLUX_AUTO of what remains becomes the ground truth,
    `flux_auto` (e-/s) in the catalogue. The segmentation maps hold the central galaxy alone. `report` tells of each
    galaxy given whether it was `kept`, the `reason` if not, and what the checks found anyway (`flags`).

    Parameters
    ----------
    mag, morphology : (brightest, faintest) and tuple of str, optional
        Keep brightest <= mag < faintest and these types only; the paper's other cuts were made before the release.
    dilation : int; pixels by which the neighbours' segments are grown, but not beyond halfway to the central galaxy's
    decisions : path or dict, optional
        From `StampInspector` (a CSV of `id` and `decision`) or your own: "accept" and "reject" overrule the checks.
    seed, n_jobs : int
        Of the places that the sky is taken from (a galaxy's pixels depend on it and the id alone); processes.
    """
    known = morphology is None or set(morphology) <= set(MORPHOLOGIES)
    require(known, f"morphology = {morphology!r} was asked for, expected some of {', '.join(MORPHOLOGIES)}.")
    mag = mag if mag is None else plain("mag", mag, "AB magnitudes").tolist()
    good = mag is None or (len(mag) == 2 and mag[0] < mag[1])
    require(good, f"mag = {mag!r} was asked for, expected (brightest, faintest), for example (18, 23).")
    require(dilation >= 0, f"dilation = {dilation!r} was given, expected a number of pixels of at least 0.")
    by_eye, catalog = read_decisions(decisions), sample.catalog.copy()
    if other := np.count_nonzero(np.asarray(catalog["segval"]) != sample.segmaps[:, *sample.centre]):
        told = f"{other} of {len(sample)} galaxies have another label at their centre than segval: are the rows in"
        warnings.warn(f"{told} the order of the stamps?", stacklevel=2)
    work = (
        (image, segmap, str(row["morphology"]), dilation, (seed, zlib.crc32(str(row["id"]).encode())))
        for image, segmap, row in zip(sample.images, sample.segmaps, catalog, strict=True)
    )
    results = map_stamps(_clean_one, work, len(sample), n_jobs=n_jobs, desc="cleaning")
    images, n_neighbours, replaced, flux, flags = map(list, zip(*results, strict=True))
    catalog["flux_auto"] = flux
    for i in _far_from_catalogue(sample, catalog["flux_auto"]):
        flags[i].append("its flux is far from the catalogue's")
    reasons = []
    for row, found in zip(catalog, flags, strict=True):
        decision, unmeasured = by_eye.get(int(row["id"])), "" if row["flux_auto"] > 0 else "no flux could be measured"
        reason = {"accept": "", "reject": "rejected by eye"}.get(decision, "; ".join(found)) or unmeasured
        if morphology is not None and row["morphology"] not in morphology:
            reason = f"type {row['morphology']} not asked for"
        if mag is not None and not mag[0] <= row["mag"] < mag[1]:
            reason = f"outside {mag[0]} <= mag < {mag[1]}"
        reasons.append(reason)
    kept = np.array([not reason for reason in reasons])
    report = Table(catalog["id", "morphology", "mag"], meta={})
    report["kept"], report["reason"] = kept, np.array(reasons, str)
    report["flags"] = np.array(["; ".join(found) for found in flags], str)
    report["n_neighbours"], report["replaced"], report["flux_auto"] = n_neighbours, replaced, flux
    report["mag"].info.format = report["flux_auto"].info.format = ".2f"
    require(kept.any(), f"all {len(sample)} were dropped ({reasons[0]}, ...): widen the cuts or accept some by eye.")
    alone = np.where(sample.own_masks(), sample.segmaps, np.uint8(0))
    parts = {"images": np.stack(images)[kept], "segmaps": alone[kept], "catalog": catalog[kept]}
    return replace(sample, **parts, report=report, sky_stamps=None)


def _far_from_catalogue(sample, flux):
    """Positions of galaxies whose flux disagrees with the catalogue more than the sample does as a whole."""
    with np.errstate(invalid="ignore", divide="ignore"):
        offset = -2.5 * np.log10(flux) + sample.zeropoint - np.asarray(sample.catalog["mag"], float)
    usual = np.nanmedian(offset) if np.isfinite(offset).any() else 0.0
    if abs(usual) > FAR:
        differ = f"measured magnitudes of {sample.name!r} differ from the catalogue's by {usual:+.2f} mag (median)"
        warnings.warn(f"{differ}: check its zeropoint ({sample.zeropoint}).", stacklevel=3)
    far = np.flatnonzero(np.abs(offset - usual) > FAR)
    told = f"{len(far)} of {len(sample)} stamps hold another flux than their row of the catalogue says, expected few"
    require(len(far) <= max(0.3 * len(sample), 5), f"{told}: check that the rows are in the order of the stamps.")
    return far


def table1(report: Table) -> Table:
    """The paper's Table 1 from ``clean(sample).report``: galaxies of each `type` (and in all) `before` and `after`."""
    types, kept = np.asarray(report["morphology"], str), np.asarray(report["kept"])
    counts = {"type": [*MORPHOLOGIES, "total"]}
    for name, chosen in (("before", types), ("after", types[kept])):
        counts[name] = [int((chosen == t).sum()) for t in MORPHOLOGIES] + [len(chosen)]
    return Table(counts)


def read_decisions(decisions: PathLike | dict[int, str] | None) -> dict[int, str]:
    """Decisions made by eye, id to "accept" or "reject"; see `clean`."""
    decisions = {} if decisions is None else decisions
    if not isinstance(decisions, dict):
        table = read_table(decisions, "decision")
        good = {"id", "decision"} <= set(table.colnames)
        good = good and (not len(table) or (table["id"].dtype.kind == "i" and not np.ma.is_masked(table["id"])))
        expected = "columns id (whole numbers) and decision, expected what StampInspector writes"
        require(good, f"'{decisions}' has no {expected}: give its file.")
        decisions = {int(row["id"]): str(row["decision"]) for row in table}
    for i, decision in decisions.items():
        require(decision in ("accept", "reject"), f"galaxy {i}: {decision!r} is given, expected 'accept' or 'reject'.")
    return {int(i): decision for i, decision in decisions.items()}


def remove_neighbours(image: np.ndarray, segmap: np.ndarray, rng: np.random.Generator, dilation: int = 5) -> tuple:
    """A stamp with every object but the central one replaced by its own empty sky, and where (bool); see `clean`."""
    own, others = _sides(segmap)
    if not others.any():
        return image.copy(), others
    to_others = distance_transform_edt(~others)
    hole = (to_others <= dilation) & (to_others < distance_transform_edt(~own))
    return fill_with_sky(image, hole, empty_pixels(segmap), rng), hole


def _sides(segmap):
    """Where the central galaxy is, and where the others are."""
    own = segmap == segmap[segmap.shape[0] // 2, segmap.shape[1] // 2]
    return own, (segmap != 0) & ~own


def _clean_one(work):
    """Stamp, neighbours, replaced pixels, FLUX_AUTO and what an eye would object to, of one galaxy."""
    image, segmap, morphology, dilation, seed = work
    n_neighbours = int(np.count_nonzero(np.unique(segmap)) - 1)
    empty, own = empty_pixels(segmap), _sides(segmap)[0]
    if not empty.any():
        return image.copy(), n_neighbours, 0, np.nan, ["no empty sky on the stamp"]
    cleaned, hole = remove_neighbours(image, segmap, np.random.default_rng(seed), dilation)
    flags = inspect(image, segmap, cleaned, hole, cleaned[empty], morphology)
    cleaned -= np.quantile(cleaned[empty_pixels(own, 16)], 0.5, method="lower")  # a pixel's value: twice is once
    return cleaned, n_neighbours, int(hole.sum()), float(flux_auto(cleaned[None], own[None])[0]), flags


def inspect(image, segmap, cleaned, hole, sky, morphology: str) -> list[str]:
    """What an eye would object to on a stamp before and after `remove_neighbours` (the inspection of section 2.1)."""
    own, others = _sides(segmap)
    level, noise = np.median(sky), sky.std()
    for _ in range(3):
        noise = sky[np.abs(sky - level) <= 4 * noise].std()
    outline = own & ~binary_erosion(own)
    least = EYE.faintest * np.median(image[outline])
    if noise > least / 1000 and flat_pixels(image).mean() > EYE.flat_share:  # else no sky at all
        return ["the stamp reaches over the mosaic's edge"]
    noise = max(noise, least)
    dark, sharp = image.min() < level - EYE.negative * noise, sharp_pixels(image, own, noise) >= EYE.sharp_pixels
    contact = others.any() and (distance_transform_edt(~others)[outline] <= EYE.contact_gap).mean() > EYE.contact_share
    lopsided = morphology != "irr" and asymmetry(cleaned, own, noise) > EYE.asymmetry
    checks = {
        "a neighbour touches the galaxy": contact or bite(image, own, hole) > EYE.bite,
        "an artefact crosses the stamp": dark or sharp or longest_trail(segmap) > EYE.trail,
        "the galaxy is lopsided, perhaps two in one": lopsided,
    }
    return [sentence for sentence, found in checks.items() if found]


def bite(image: np.ndarray, own: np.ndarray, hole: np.ndarray) -> float:
    """Share of the galaxy's light that was replaced with a neighbour, judged from the opposite side of the galaxy."""
    light = np.where(own, image, 0).clip(min=0)
    row, column = np.nonzero(hole)
    y, x = center_of_mass(light)
    row, column = np.rint(2 * y - row).astype(int), np.rint(2 * x - column).astype(int)
    inside = (row >= 0) & (row < own.shape[0]) & (column >= 0) & (column < own.shape[1])
    return float(light[row[inside], column[inside]].sum() / light.sum())


def sharp_pixels(image: np.ndarray, own: np.ndarray, noise: float) -> int:
    """Pixels of the galaxy, outside its core, that are narrower than any telescope lets a star be."""
    # In one of four directions a pixel stands out against the next ones by nearly as much as against those two pixels
    # away; a point source of FWHM 3 pixels rises by 37 to 50 % only on that last step.
    ny, nx = image.shape
    shifted = np.lib.stride_tricks.sliding_window_view(np.pad(image, 2, mode="reflect"), (ny, nx))
    sharp = np.zeros(image.shape, bool)
    for step in np.array([(0, 1), (1, 0), (1, 1), (1, -1)]):
        near, far = (image - (shifted[*(2 + s * step)] + shifted[*(2 - s * step)]) / 2 for s in (1, 2))
        sharp |= (near > EYE.sharp_sigmas * noise) & (near > 0.75 * far) & (near < 1.15 * far)
    row, column = np.indices(image.shape)
    return int((sharp & own & (np.hypot(row - ny // 2, column - nx // 2) > 4)).sum())


def longest_trail(segmap: np.ndarray) -> float:
    """Largest axis ratio among the neighbours' segments, but for slivers that the stamp's border leaves of a galaxy."""
    border = np.ones(segmap.shape, bool)
    border[3:-3, 3:-3] = False
    ratio = 1.0
    for label in np.unique(segmap[_sides(segmap)[1]]):
        y, x = np.nonzero(segmap == label)
        if len(y) > 20 and border[y, x].mean() < 0.5:
            narrow, wide = np.linalg.eigvalsh(np.cov(y, x))
            ratio = max(ratio, float(np.sqrt(wide / max(narrow, 0.1))))
    return ratio


def asymmetry(image: np.ndarray, own: np.ndarray, noise: float) -> float:
    """Share of the smoothed light that a half turn about the peak or the centre of light, the better one, changes."""
    smooth = gaussian_filter(image.astype(np.float32), 1.0)
    peak_y, peak_x = np.unravel_index(np.argmax(np.where(own, smooth, -np.inf)), own.shape)
    x, y, _ = sep.winpos(smooth, [float(peak_x)], [float(peak_y)], [2.0])
    (row, column), values = np.nonzero(own), smooth[own]
    centres = (y[0], x[0]), center_of_mass(np.where(own, image, 0).clip(min=0).astype(float))
    turned = (map_coordinates(smooth, [2 * cy - row, 2 * cx - column], order=1) for cy, cx in centres)
    expected = 0.3 * 1.128 * noise  # smoothing leaves 0.3 of the noise; mean |difference| of two normals: 1.128 sigma
    return min((np.abs(values - there) - expected).sum() / values.sum() for there in turned)
