"""The classical baselines' scoreboard, on synthetic and on real galaxies side by side.

``python -m blendkit.scoreboard FOLDER`` makes ``data/reference/sep_scores.ecsv`` anew from a folder of real galaxies.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .blending import draw_blends, render
from .cleaning import clean
from .deblenders import sep_baselines
from .metrics import case_shares, scores
from .photometry import half_light_radius
from .samples import Sample, load_sample

if TYPE_CHECKING:
    from astropy.table import Table

REFERENCE = Path(__file__).resolve().parents[1] / "data" / "reference"
SCORES = ("bias", "scatter", "outliers", "mape_mag", "mape_flux", "median_flux")


def sep_exam(sample: Sample, n: int, seed: int = 42) -> tuple[Table, dict[str, Table]]:
    """Blends of a cleaned sample, and what SEP's three fluxes make of them, true positions known.

    Parameters
    ----------
    sample : Sample
        Cleaned.
    n : int
        Number of blends.
    seed : int

    Returns
    -------
    blends : astropy.table.Table
    predictions : dict of str to astropy.table.Table
        As from `sep_baselines`.
    """
    blends = draw_blends(sample, n, seed=seed)
    images, _, _ = render(sample, blends, masks=False)
    return blends, sep_baselines(images, truth=blends)


def scoreboard(
    name: str, blends: Table, predictions: dict[str, Table], *, n_bootstrap: int = 200, seed: int = 0
) -> Table:
    """One row per method and galaxy: the detection split and every score, with errors from resampling galaxies.

    Parameters
    ----------
    name : str
        What the column `sample` says.
    blends : astropy.table.Table
    predictions : dict of str to astropy.table.Table
    n_bootstrap, seed : int

    Returns
    -------
    astropy.table.Table
        Columns `sample`, `method`, `galaxy`, `n`, `failed`; `both`, `one`, `more` (% of the blends in which two,
        one and more objects were found); `bias` and `scatter` (mag), `outliers` (%), `mape_mag`, `mape_flux` and
        `median_flux` (%), each with `_err`. Methods that detect nothing, such as networks, have NaN for the split.
    """
    table = scores(blends, predictions, n_bootstrap=n_bootstrap, seed=seed)
    table = table[table["case"] == "all"]
    board = table[["method", "galaxy", "n", "failed"]]
    board.add_column(np.full(len(board), name), name="sample", index=0)
    splits = {method: _split(blends, pred, n_bootstrap, seed) for method, pred in predictions.items()}
    for label in ("both", "one", "more"):
        for k, suffix in enumerate(("", "_err")):
            board[label + suffix] = [100 * splits[method][label][k] for method in board["method"]]
    for label in SCORES:
        for suffix in ("", "_err"):
            board[label + suffix] = table[label + suffix] * (100 if label == "outliers" else 1)
    for label in board.colnames[5:]:
        board[label].info.format = ".3f" if label.startswith(("bias", "scatter")) else ".1f"
        board[label].info.unit = "mag" if label.startswith(("bias", "scatter")) else "%"
    board.meta["matching"] = table.meta.get("matching", {})
    return board


def _split(blends, pred, n_bootstrap, seed):
    """Share of the blends in which two, one and more objects were found, each with its error; NaN for networks."""
    from astropy.table import Table

    if "case" not in pred.colnames:
        return dict.fromkeys(("both", "one", "more"), (np.nan, np.nan))
    case = np.asarray(pred["case"], str)
    one = Table({"case": np.where(np.char.startswith(case, "only"), "only central", case)})
    shares = case_shares(blends, one, n_bootstrap=n_bootstrap, seed=seed)
    found = {str(row["case"]): (row["share"], row["share_err"]) for row in shares}
    return {"both": found["both"], "one": found["only central"], "more": found["more"]}


def readable(board: Table) -> str:
    """A scoreboard as plain text of at most 125 columns: a block for each sample, every number with its error.

    Parameters
    ----------
    board : astropy.table.Table
        As from `scoreboard`; the methods of a sample that detect anything share its detections.

    Returns
    -------
    str
    """
    head = (
        f"{'method':26s}  {'galaxy':9s}  {'n':>5s}  {'failed':>6s}  {'bias (mag)':>14s}  {'scatter (mag)':>13s}  "
        f"{'outliers (%)':>12s}  {'flux MAPE (%)':>13s}  {'median (%)':>10s}"
    )
    lines = []
    for sample in dict.fromkeys(board["sample"]):
        rows = board[board["sample"] == sample]
        searched = rows[np.isfinite(rows["both"])]
        found = [f"{name} {_pm(row, key, 1)} %" for row in searched[:1] for name, key in _FOUND.items()]
        lines += [f"{sample}: {', '.join(found) or 'nothing searched for objects'}", head, "-" * len(head)]
        lines += [
            f"{row['method']:26s}  {row['galaxy']:9s}  {row['n']:5d}  {row['failed']:6d}  {_pm(row, 'bias', 3):>14s}  "
            f"{_pm(row, 'scatter', 3):>13s}  {_pm(row, 'outliers', 1):>12s}  {_pm(row, 'mape_flux', 1):>13s}  "
            f"{_pm(row, 'median_flux', 1):>10s}"
            for row in rows
        ]
        lines.append("")
    return "\n".join(lines)


def write_scoreboard(results: str | os.PathLike, *boards: Table) -> Path:
    """Write scoreboards, one below the other, as ``scoreboard.txt`` to read and ``scoreboard.ecsv`` to compute with.

    Parameters
    ----------
    results : path
        Folder; made when it is not there.
    *boards : astropy.table.Table
        As from `scoreboard` and `reference_scores`.

    Returns
    -------
    pathlib.Path
        The text file.
    """
    from astropy.table import vstack

    folder = Path(results)
    folder.mkdir(parents=True, exist_ok=True)
    everything = vstack(boards, metadata_conflicts="silent")
    everything.write(folder / "scoreboard.ecsv", overwrite=True)
    text = folder / "scoreboard.txt"
    text.write_text(readable(everything), encoding="utf-8")
    return text


_FOUND = {"two objects found in": "both", "one in": "one", "more in": "more"}


def _pm(row, name, digits):
    return f"{row[name]:.{digits}f} ± {row[name + '_err']:.{digits}f}"


def reference_scores(but: str = "") -> Table:
    """The stored scoreboard: real HST galaxies, and synthetic ones like them in magnitude and size.

    Parameters
    ----------
    but : str
        Leave out the rows of this sample, when it is the one now being measured.

    Returns
    -------
    astropy.table.Table
        As from `scoreboard`, with a column `source`; ``meta["made_by"]`` says how.
    """
    from astropy.table import Table

    table = Table.read(REFERENCE / "sep_scores.ecsv")
    return table[table["source"] != but]


def reference_cases(but: str = "") -> dict[str, Table]:
    """The stored detection cases, for each sample as from `blendkit.metrics.case_shares`; see `reference_scores`."""
    from astropy.table import Table

    table = Table.read(REFERENCE / "sep_cases.ecsv")
    table = table[table["source"] != but]
    return {str(name): table[table["sample"] == name] for name in dict.fromkeys(table["sample"])}


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
    from scipy.optimize import linear_sum_assignment

    real, pool = (_as_measured(sample) for sample in (real, pool))
    mag, size = (
        np.subtract.outer(f(real.catalog), f(pool.catalog))
        for f in (lambda c: np.asarray(c["mag"]), lambda c: np.log(np.asarray(c["r_eff"])))
    )
    rows, chosen = linear_sum_assignment(mag**2 + (2 * size) ** 2)
    return real[rows], pool[chosen]


def _as_measured(sample):
    catalog = sample.catalog.copy()
    catalog["mag"] = sample.zeropoint - 2.5 * np.log10(catalog["flux_auto"])
    catalog["r_eff"] = half_light_radius(sample.images, sample.own_masks())
    return Sample(sample.images, sample.segmaps, catalog, sample.zeropoint, sample.pixel_scale, sample.name,
                  sky_stamps=sample.sky)  # fmt: skip


def make_reference(folder: str, n: int = 5000, seed: int = 42) -> tuple[Table, Table]:
    """Measure the stored tables: a folder of real galaxies, and its synthetic twins.

    Parameters
    ----------
    folder : path
    n : int
        Blends of each.
    seed : int

    Returns
    -------
    scores, cases : astropy.table.Table
    """
    from astropy.table import vstack

    real = clean(load_sample(folder))
    pair = like_for_like(real, clean(load_sample("synthetic", seed=seed)))
    names = (f"stored: {len(real)} real HST galaxies", "stored: synthetic, alike in magnitude and size")
    sources = (real.name, "matched")
    boards, shares = [], []
    for name, source, sample in zip(names, sources, pair, strict=True):
        blends, predictions = sep_exam(sample, n, seed)
        boards.append(scoreboard(name, blends, predictions))
        shares.append(case_shares(blends, next(iter(predictions.values()))))
        shares[-1].add_column(name, name="sample", index=0)
        for table in (boards[-1], shares[-1]):
            table["source"] = source
    tables = vstack(boards, metadata_conflicts="silent"), vstack(shares, metadata_conflicts="silent")
    for table in tables:
        table.meta["made_by"] = (
            f"python -m blendkit.scoreboard {Path(folder).name} ({n} blends of each, seed {seed}; positions known)"
        )
    return tables


if __name__ == "__main__":
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for table, file in zip(make_reference(sys.argv[1]), ("sep_scores.ecsv", "sep_cases.ecsv"), strict=True):
        table.write(REFERENCE / file, overwrite=True)
