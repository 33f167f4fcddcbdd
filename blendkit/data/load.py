"""Where samples come from by name, and the paper's own catalogue of test blends."""

import json
import tomllib
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
from astropy.table import Table

from .check import PathLike, floats, read_table, require
from .remote import CANDELS_FILES, data_folder, fetch, fetch_candels, missing
from .sample import CATALOG, IMAGES, META, ON_DISK, SEGMAPS, SKY, ZEROPOINT, Sample
from .simulate import VERSION, simulate

REFERENCE = Path(__file__).resolve().parents[1] / "shipped" / "reference"
URL, SHA256, _CASES, _KNOWN, _METHODS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8")).values()


def load_sample(source="synthetic", *, n: int | None = None, seed: int = 0, noise: str = "correlated") -> Sample:
    """A galaxy sample by name or from a folder.

    Parameters
    ----------
    source : str or path
        "synthetic": galaxies simulated on first use and cached; "candels": the paper's own, downloaded from Zenodo
        record 2604740 on first use; otherwise a folder with the three files of that release.
    n, seed : int, optional; how many (2,000 synthetic, or all real ones), and the seed of the simulation or the draw
    noise : {"correlated", "white", "none"}; of a synthetic sample: CANDELS' own, uncorrelated, or no sky at all
    """
    good = n is None or (isinstance(n, int | np.integer) and n >= 1)
    require(good, f"n = {n!r} galaxies were asked for, expected a whole number of at least 1.")
    if source == "synthetic":
        return _synthetic(int(n or 2000), seed, noise)
    sample = read_folder(fetch_candels(), "CANDELS") if source == "candels" else read_folder(Path(source).expanduser())
    if n is None or n >= len(sample):
        return sample
    return sample[np.sort(np.random.default_rng(seed).choice(len(sample), n, replace=False))]


def read_folder(folder: Path, name: str = "") -> Sample:
    """Read the three files of the CANDELS release's layout; see `load_sample`."""
    if absent := missing(folder):
        cure = f"give 'synthetic', 'candels' or a folder that holds {', '.join(CANDELS_FILES)}"
        raise FileNotFoundError(f"there is no folder '{folder}' with {', '.join(absent)}: {cure}.")
    meta = {"name": name or folder.resolve().name}
    if (folder / META).is_file():
        meta = _read(lambda path: json.loads(path.read_text(encoding="utf-8")), folder / META, "JSON file")
        good = isinstance(meta, dict) and set(meta) == {"name", "zeropoint", "pixel_scale"}
        require(good, f"'{folder / META}' has no zeropoint, pixel_scale and name: save the sample again, or remove it.")
    sky = _stack(folder / SKY) if (folder / SKY).is_file() else None
    return Sample(_stack(folder / IMAGES), _stack(folder / SEGMAPS), _catalog(folder / CATALOG), **meta, sky_stamps=sky)


def _read(reader, path: Path, what: str, **options):
    """What a library reads from a file, or one sentence on why it cannot."""
    try:
        return reader(path, **options)
    except Exception as error:  # np.load lets through what zipfile and tokenize raise
        why = "".join(c for c in str(error).partition("\n")[0] if c.isprintable())[:150].rstrip(".")
        raise ValueError(f"'{path}' is not a readable {what} ({why}): fetch or write it again.") from None


def _stack(path: Path) -> np.ndarray:
    stack = _read(np.load, path, ".npy array", allow_pickle=False)
    require(isinstance(stack, np.ndarray), f"'{path}' holds several arrays, expected one: save it with numpy.save.")
    return stack.astype(stack.dtype.newbyteorder("="), copy=False)


def _catalog(path: Path) -> Table:
    table = _read(read_table, path, "CSV table", known="mag")
    for name, on_disk in ON_DISK.items():
        if on_disk in table.colnames:
            require(name not in table.colnames, f"'{path}' has both columns {on_disk} and {name}: remove one of them.")
            table.rename_column(on_disk, name)
    table = table[[name for name in table.colnames if name != "mag_err"]]
    for name in table.colnames:
        column = table[name]
        if name in ("mag", "r_eff", "z") and column.unit is None:
            table[name] = floats(column, f"the column {name} of '{path}'")
        elif np.ma.isMaskedArray(column):
            words = column.dtype.kind in "US" or column.mask.all()
            table[name] = column.astype(str).filled("") if words else column.astype(float).filled(np.nan)
        if name in ("mag", "r_eff", "z", "flux_auto"):
            table[name].info.format = ".2f"
    if "field" in table.colnames:
        table["field"] = [str(f).removeprefix("b'").removesuffix("'").strip() for f in table["field"]]
    return table


def _synthetic(n: int, seed: int, noise: str) -> Sample:
    """Take from the cache, or simulate: anew as well what lies there damaged, from the same seed."""
    folder = data_folder() / (f"synthetic-v{VERSION}-n{n}-seed{seed}" + f"-{noise}" * (noise != "correlated"))
    with suppress(ValueError, OSError):
        return read_folder(folder)
    sample = simulate(n, seed, noise=noise)
    try:
        return read_folder(sample.save(folder))
    except OSError as error:
        why = f"the simulated galaxies cannot be kept in '{folder.parent}' ({error.strerror})"
        warnings.warn(f"{why}: set BLENDKIT_DATA to a folder with room.", stacklevel=3)
        return sample


def load_published(source: PathLike = "coindeblend") -> tuple[Table, dict[str, Table]]:
    """Read the catalogue behind the paper's figures: 4,776 test blends, and what three methods measured on them.

    Returns blends as `draw_blends` makes them, with `blend_id` and `z`, without `dx` and `dy`; and for "blend2flux",
    "blend2mask2flux" and "SExtractor" tables of `blend_id`, `flux` (n, 2) (at zeropoint 25.96, NaN where nothing was
    found) and `case` (SExtractor's detection case, by which the paper selects rows). `source` is "coindeblend", the
    file that the authors published with their code (github.com/aboucaud/coindeblend, BSD-3), downloaded once (1.1 MB);
    or a csv file with the same columns, in which only measured fluxes may be empty.
    """
    known, kept = source == "coindeblend", data_folder() / "coindeblend" / "output_catalog.csv"
    path = fetch(URL, SHA256, kept) if known else Path(source).expanduser()
    title = "published catalogue (Boucaud et al. 2019)" if known else path.name
    cure = "expected the columns of the paper's output_catalog.csv: give such a file, or 'coindeblend' to download it."
    if not path.is_file():
        raise FileNotFoundError(f"there is no file '{path}', {cure}")
    table = _read(read_table, path, "CSV table", known="distance")
    keys, columns = [*_KNOWN.values(), *(f"flux_{suffix}" for suffix, *_ in _METHODS.values())], {}
    for name in ("id", "distance", "detection", *(f"{galaxy}_{key}" for key in keys for galaxy in ("g1", "g2"))):
        require(name in table.colnames and len(table), f"'{path}' has no column {name} or no rows, {cure}")
        words = name.endswith("type")
        what, column = f"the column {name} of '{path}'", table[name]
        values = np.ma.filled(column.astype(str), "") if words else floats(column, what)
        empty = np.flatnonzero(values == "" if words else np.isnan(values))
        whole = "flux_" in name or not len(empty)
        require(whole, f"'{path}' has an empty field in its column {name}, row {empty[:1] + 1}, {cure}")
        columns[name] = values.astype(int) if name.endswith("id") else values
    case = columns["detection"]
    require(np.isin(case, range(4)).all(), f"'{path}' has an unknown detection case among {np.unique(case)}, {cure}")
    blends = Table({"blend_id": columns["id"]}, meta={"name": title, "zeropoint": ZEROPOINT})
    for ours, theirs in _KNOWN.items():
        blends[ours] = np.stack([columns[f"g1_{theirs}"], columns[f"g2_{theirs}"]], axis=1)
    blends["distance"], blends["delta_mag"] = columns["distance"], blends["mag"][:, 0] - blends["mag"][:, 1]
    predictions = {}
    for method, (suffix, zeropoint, matching) in _METHODS.items():
        flux = np.stack([columns[f"{galaxy}_flux_{suffix}"] for galaxy in ("g1", "g2")], axis=1)
        flux *= 10 ** (0.4 * (ZEROPOINT - zeropoint))
        pred = {"blend_id": columns["id"], "flux": flux, "case": np.take(_CASES, case.astype(int))}
        predictions[method] = Table(pred, meta={"method": method, "matching": matching})
    return blends, predictions
