"""Stored scores: ``python -m tools.reference FOLDER`` and ``python -m tools.reference output_catalog.csv``.

From a folder of real galaxies it makes ``sep_scores.ecsv`` and ``sep_cases.ecsv`` anew: SEP's scores on these, and on
synthetic ones like them; from the paper's own catalogue ``published_scores.ecsv``.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import sep
from astropy.table import Table, vstack
from scipy.optimize import linear_sum_assignment

from blendkit.blends.recipe import draw_blends
from blendkit.blends.rendering import render
from blendkit.data.cleaning import clean
from blendkit.data.load import REFERENCE, load_published, load_sample
from blendkit.data.photometry import flux_auto, own_shape
from blendkit.data.sample import Sample
from blendkit.deblenders import sep_baselines
from blendkit.figures.style import MEMBERS
from blendkit.metrics import CASES, case_shares, figure_5_rows, measurements, scoreboard
from blendkit.metrics.scores import by_member, shares, tabulate
from blendkit.metrics.tables import BOARD


def like_for_like(real: Sample, pool: Sample) -> tuple[Sample, Sample]:
    """Two samples of the same size that are alike in magnitude and half-light radius, measured alike.

    Parameters
    ----------
    real, pool : Sample
        Cleaned; for each galaxy of `real` the most similar one of `pool` is taken, none twice.

    Returns
    -------
    real, matched : Sample
        With `mag` and `r_eff` replaced by FLUX_AUTO's magnitude and the measured half-light radius in both.
    """
    real, pool = (_as_measured(sample) for sample in (real, pool))
    mag, size = (
        np.subtract.outer(f(real.catalog), f(pool.catalog))
        for f in (lambda c: np.asarray(c["mag"]), lambda c: np.log(np.asarray(c["r_eff"])))
    )
    rows, chosen = linear_sum_assignment(mag**2 + (2 * size) ** 2)
    return real[rows], pool[chosen]


def half_light_radius(images: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Radius in pixels of the circle that holds half of FLUX_AUTO (SExtractor's FLUX_RADIUS), NaN where that fails."""
    radii, fluxes = np.full(len(images), np.nan), flux_auto(images, segments)
    for i in np.flatnonzero(np.isfinite(fluxes)):
        image = np.require(images[i], np.float32, "CW")
        at = own_shape(image, segments[i])
        radii[i] = sep.flux_radius(image, [at["x"]], [at["y"]], [60.0], 0.5, normflux=fluxes[[i]], subpix=5)[0][0]
    return radii


def _as_measured(sample):
    catalog = sample.catalog.copy()
    catalog["mag"] = sample.zeropoint - 2.5 * np.log10(catalog["flux_auto"])
    catalog["r_eff"] = half_light_radius(sample.images, sample.own_masks())
    return replace(sample, catalog=catalog, report=None, sky_stamps=sample.sky)


def make_reference(folder: str, n: int = 5000, seed: int = 42) -> tuple[Table, Table]:
    """Measure the stored tables, `n` blends each: a folder of real galaxies, and its synthetic twins."""
    real = clean(load_sample(folder))
    pair = like_for_like(real, clean(load_sample("synthetic", seed=seed)))
    names = (f"stored: {len(real)} real HST galaxies", "stored: synthetic, alike in magnitude and size")
    boards, shares = [], []
    for name, source, sample in zip(names, (real.name, "matched"), pair, strict=True):
        blends = draw_blends(sample, n, seed=seed)
        predictions = sep_baselines(render(sample, blends, masks=False)[0], truth=blends)
        boards.append(scoreboard(name, blends, predictions))
        shares.append(case_shares(blends, next(iter(predictions.values()))))
        shares[-1].add_column(name, name="sample", index=0)
        for table in (boards[-1], shares[-1]):
            table["source"] = source
    tables = vstack(boards, metadata_conflicts="silent"), vstack(shares, metadata_conflicts="silent")
    for table in tables:
        table.meta["made_by"] = (
            f"python -m tools.reference {Path(folder).name} ({n} blends of each, seed {seed}; positions known)"
        )
    return tables


def published_scores(file: str, n_bootstrap: int = 200, seed: int = 0) -> Table:
    """The scores of the paper's own answers (`load_published`), for each method, member and detection case.

    `case` is also "all" and "Figure 5" (the blends that count there), `member` also "total" (both, in all blends);
    `share` and `share_err` of the blends, then as in `blendkit.scores`.
    """
    theirs, paper = load_published(file)
    rows, case, groups, share = measurements(theirs, paper), np.asarray(paper["SExtractor"]["case"], str), [], []
    for key, mask in by_member(rows, (*MEMBERS, "total")):
        here = {"all": np.ones(len(theirs), bool)}
        if key[1] in MEMBERS:
            here["Figure 5"] = figure_5_rows(paper["SExtractor"], key[1])
            here |= {word: case == word for word in CASES if (case == word).any()}
        groups += [((*key, word), mask & counts[rows["blend"]]) for word, counts in here.items()]
        share += shares(theirs, here.values(), n_bootstrap, seed).tolist()
    table = tabulate(rows, ("method", "member", "case"), groups, BOARD, n_bootstrap, seed)
    table.add_columns([*np.transpose(share)], indexes=[3, 3], names=["share", "share_err"])
    for name in ("share", "share_err"):
        table[name].info.format = ".3f"
    table["source"] = "coindeblend"
    table.meta = {"made_by": f"python -m tools.reference {Path(file).name} ({len(theirs)} blends of the paper)"}
    return table


def main(source: str) -> None:
    """Write the stored tables that are made from this folder or file."""
    if Path(source).is_file():
        tables = {"published_scores.ecsv": published_scores(source)}
    else:
        tables = dict(zip(("sep_scores.ecsv", "sep_cases.ecsv"), make_reference(source), strict=True))
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for file, table in tables.items():
        table.write(REFERENCE / file, overwrite=True)


if __name__ == "__main__":
    main(sys.argv[1])
