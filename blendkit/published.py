"""The paper's own catalogue of test blends, with what three methods measured, as blends and predictions."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .download import data_folder, fetch

if TYPE_CHECKING:
    from astropy.table import Table

URL = (
    "https://raw.githubusercontent.com/aboucaud/coindeblend/7aabf78483961f218e6be81e2e728add370923e3/"
    "paper_plots/output_catalog.csv"
)
SHA256 = "6ce8b0037f9a41d07b973069a99f2d08e70432a2de850055a43e18b0c58af06b"

ZEROPOINT = 25.96
"""AB zeropoint of all fluxes that `load_published` returns."""

SEXTRACTOR_ZEROPOINT = 25.67
"""AB zeropoint of SExtractor's fluxes in the file."""

_MATCHED = "true positions of both galaxies known (paper, section 3.3)"
_IN_THE_CENTRE = "pixels only: the network knows that the central galaxy is in the centre"
_METHODS = {  # name: (suffix of its columns, their zeropoint, how positions were matched)
    "blend2flux": ("b2f", ZEROPOINT, _IN_THE_CENTRE),
    "blend2mask2flux": ("b2m2f", ZEROPOINT, _IN_THE_CENTRE),
    "SExtractor": ("sex", SEXTRACTOR_ZEROPOINT, _MATCHED),
}
_GALAXIES = {"central": "g1", "companion": "g2"}
_KNOWN = {"mag": "mag", "r_eff": "rad", "z": "z", "morphology": "type", "flux": "flux"}
_CASES = dict(enumerate(("only central", "only companion", "both", "more")))  # by the number in the file
_NUMBERS = [
    "id",
    "distance",
    *(f"{g}_{key}" for g in _GALAXIES.values() for key in ("id", "mag", "rad", "z", "flux")),
    *(f"{g}_flux_{suffix}" for g in _GALAXIES.values() for suffix, *_ in _METHODS.values()),
    "detection",
]
_NEEDED = [  # in every row; what a method has measured may be missing
    "id", "distance", *(f"{g}_{key}" for g in _GALAXIES.values() for key in ("id", *_KNOWN.values())),
]  # fmt: skip
_WORDS = [f"{g}_type" for g in _GALAXIES.values()]


def load_published(
    source: str | os.PathLike = "coindeblend", *, url: str = URL, known_hash: str = SHA256
) -> tuple[Table, dict[str, Table]]:
    """Read the catalogue behind the paper's figures: 4,776 test blends, and what three methods measured on them.

    Parameters
    ----------
    source : str or path
        "coindeblend": the file ``output_catalog.csv`` that the authors published with their code (BSD-3), downloaded
        once (1.1 MB) and verified. Or the path of a csv file in UTF-8 with the same columns, the same or your own, in
        which only measured fluxes may be empty. A `pathlib.Path` of the name "coindeblend" is a path where such a file
        is there, else the name.
    url, known_hash : str
        Where "coindeblend" is, and its sha256.

    Returns
    -------
    blends : astropy.table.Table
        A row per blend, without pixels: `id` (of the blend), `central`, `companion` (ids of the galaxies), `distance`
        (pixels), `delta_mag` (mag_central - mag_companion), and of each galaxy alone `mag_*` (AB), `r_eff_*` (pixels),
        `z_*`, `morphology_*` and `flux_*` (at ``meta["zeropoint"]`` = 25.96). The catalogue knows no `dx`, `dy`.
    predictions : dict of str to astropy.table.Table
        "blend2flux", "blend2mask2flux" and "SExtractor": `id`, `flux_central`, `flux_companion` (at 25.96, NaN where
        nothing was found; SExtractor's are brought from 25.67) and `case`, SExtractor's detection case, by which the
        paper selects rows for all three. ``meta["matching"]`` says how positions were matched.

    Raises
    ------
    DownloadError
        Where the file cannot be downloaded.
    FileNotFoundError
        Where there is no file of this name.
    ValueError
        Where the file has not these columns, no rows, an empty field or a row that is cut off, an entry that is no
        number, or an unknown detection case.

    References
    ----------
    Boucaud et al. 2019, MNRAS 491, 2481, section 4; https://github.com/aboucaud/coindeblend
    """
    from astropy.table import Table

    if source == "coindeblend" or (source == Path("coindeblend") and not source.is_file()):
        path = data_folder() / "coindeblend" / "output_catalog.csv"
        fetch(url, known_hash, path, cure=f"try again later, or download it by hand to {path}")
        name = "published catalogue (Boucaud et al. 2019)"
    else:
        path = Path(source).expanduser()
        name = path.name
    catalogue = _read(path)
    blends = Table({"id": catalogue["id"]}, meta={"name": name, "zeropoint": ZEROPOINT})
    for galaxy, prefix in _GALAXIES.items():
        blends[galaxy] = catalogue[f"{prefix}_id"]
    blends["distance"] = catalogue["distance"]
    blends["delta_mag"] = catalogue["g1_mag"] - catalogue["g2_mag"]
    for key, theirs in _KNOWN.items():
        for galaxy, prefix in _GALAXIES.items():
            blends[f"{key}_{galaxy}"] = catalogue[f"{prefix}_{theirs}"]

    predictions = {}
    for method, (suffix, zeropoint, matching) in _METHODS.items():
        pred = Table({"id": catalogue["id"]}, meta={"method": method, "matching": matching})
        for galaxy, prefix in _GALAXIES.items():
            pred[f"flux_{galaxy}"] = catalogue[f"{prefix}_flux_{suffix}"] * 10 ** (0.4 * (ZEROPOINT - zeropoint))
        pred["case"] = catalogue["detection"]
        predictions[method] = pred
    return blends, predictions


def _read(path: Path) -> dict[str, np.ndarray]:
    """Return the columns of the file, (n,) each: numbers, NaN where a field is empty, and words."""
    from astropy.io import ascii

    if not path.is_file():
        raise FileNotFoundError(
            f"There is no file {path}, expected a csv file like the paper's output_catalog.csv: "
            "give its path, or 'coindeblend' to download it."
        )
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        table = ascii.read(lines, format="csv")
        fields = [len(row) for row in csv.reader(lines) if row]
    except (ascii.InconsistentTableError, csv.Error, ValueError) as error:
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(_wrong(path, f"is not a table of comma-separated values ({why.rstrip('.')})")) from None
    if missing := [column for column in (*_NUMBERS, *_WORDS) if column not in table.colnames]:
        raise ValueError(_wrong(path, f"has no column {', '.join(missing)}"))
    if len(table) == 0:
        raise ValueError(_wrong(path, "has no rows"))
    if short := [row for row, found in enumerate(fields) if found < fields[0]]:
        raise ValueError(_wrong(path, f"is cut off in row {short[0]}, with {fields[short[0]]} of {fields[0]} fields"))
    columns = {column: np.asarray(table[column], str) for column in _WORDS}
    for column in _NUMBERS:
        if table[column].dtype.kind not in "iuf":
            raise ValueError(_wrong(path, f"has words in its column {column}"))
        columns[column] = _plain(table[column])
    for column in _NEEDED:
        empty = np.ma.getmaskarray(np.ma.asarray(table[column])) | (columns[column] != columns[column])  # or NaN
        if empty.any():
            row = np.flatnonzero(empty)[0] + 1
            raise ValueError(_wrong(path, f"has an empty field in its column {column}, row {row}"))
    unknown = sorted(set(columns["detection"].tolist()) - set(_CASES))
    if unknown:
        raise ValueError(_wrong(path, f"has an unknown detection case {unknown[0]:g} where 0, 1, 2 and 3 are known"))
    columns["detection"] = np.array([_CASES[number] for number in columns["detection"].tolist()])
    return columns


def _plain(column: np.ndarray) -> np.ndarray:
    """Return numbers without a mask: integers where all are there, else floats with NaN."""
    mask = np.ma.getmaskarray(np.ma.asarray(column))
    return np.asarray(np.ma.filled(np.ma.asarray(column, dtype=float), np.nan)) if mask.any() else np.array(column)


def _wrong(path: Path, what: str) -> str:
    return (
        f"The file {path} {what}, expected the columns of the paper's output_catalog.csv: "
        "give a file in that layout, or 'coindeblend' to download it."
    )
