"""The paper's tables, the ranking of methods, and the scoreboard beside the stored one of real galaxies."""

import os
from pathlib import Path

import numpy as np
from astropy.table import Column, MaskedColumn, Table, hstack, vstack

from ..data.cleaning import table1 as table1
from ..data.load import REFERENCE
from ..data.photometry import COLD, HOT
from ..deblenders.base import positions_of
from .scores import FIGURE_5_CASES, Predictions, by_member, measurements, shares, tabulate, words

BOARD = ("bias", "scatter", "outliers", "mape_mag", "mape_flux", "median_flux")
FOUND = {"two objects found in": "both", "one in": "one", "more in": "more"}
PRINTED = {"bias (mag)": ("bias", 3), "scatter (mag)": ("scatter", 3), "outliers (%)": ("outliers", 1)}  # score, digits
PRINTED |= {"flux MAPE (%)": ("mape_flux", 1), "median (%)": ("median_flux", 1)}


def table2(
    blends: Table, predictions: Predictions, parameters: dict | None = None, *, n_bootstrap: int = 200, seed: int = 0
) -> Table:
    """Flux errors of every method, for central galaxies, companions and, in the total row, both (Table 2).

    By `method` and `member`: `n`, `failed`, and of the flux, where measured, `mape` (%, eq. 1) and `median` (%), each
    with `_err`. `parameters` says how many each network has: a column of its own, masked for other methods.
    """
    rows, names = measurements(blends, predictions), ("mape_flux", "median_flux")
    table = tabulate(rows, ("method", "member"), by_member(rows, (*FIGURE_5_CASES, "total")), names, n_bootstrap, seed)
    for name in table.colnames[4:]:
        table[name].description = table[name].description.replace("mape_flux", "mape").replace("median_flux", "median")
        table.rename_column(name, name.replace("_flux", ""))
    table.meta.clear()  # mappings do not go into a FITS header
    if parameters is not None:
        sizes = np.ma.masked_values([parameters.get(method) or -1 for method in table["method"].tolist()], -1)
        table.add_column(MaskedColumn(sizes, format=",d"), name="parameters", index=2)
    return table


def table3() -> Table:
    """SExtractor's settings in the two passes, as SEP gets them here (Table 3): `setting`, `SEP`, `cold`, `hot`."""
    settings = {"DETECT_THRESH": "thresh", "DETECT_MINAREA": "minarea"}
    settings |= {"DEBLEND_MINCONT": "deblend_cont", "DEBLEND_NTHRESH": "deblend_nthresh"}
    rows = [(name, argument, f"{COLD[argument]:g}", f"{HOT[argument]:g}") for name, argument in settings.items()]
    return Table(rows=rows, names=["setting", "SEP", "cold", "hot"])


def ranking(blends: Table, predictions: Predictions, *, n_bootstrap: int = 200, seed: int = 0) -> Table:
    """All methods on the same blends (parameters as for `scores`), the best first.

    A method must not climb by leaving out what is hard: they stand in the order of `mape_all` (%), in which a galaxy
    that was not measured is 100 % wrong. Of the measured ones `mape`, `median` (%) and `outliers` (%, further off than
    0.75 mag), each with `_err`; `failed` (%); `seconds` per blend; `positions`: whether the method was "told" where the
    galaxies are, had the "pixels" only, or "unknown". Whether two methods differ, `difference` tells.
    """
    rows = measurements(blends, predictions)
    total = [((method,), mask) for (method, _), mask in by_member(rows, ["total"])]
    found = tabulate(rows, ("method",), total, ("mape_flux", "median_flux", "outliers"), n_bootstrap, seed)
    rows["measured"] = np.nan_to_num(rows["measured"])  # one that was not measured is as wrong as a flux of zero
    every = tabulate(rows, ("method",), total, ("mape_flux",), n_bootstrap, seed)
    table = found[["method"]]
    columns = {"mape_all": (every, "mape_flux"), "mape": (found, "mape_flux"), "median": (found, "median_flux")}
    for name, (source, column) in (columns | {"outliers": (found, "outliers")}).items():
        times, form = (100, ".2f") if name == "outliers" else (1, ".1f")
        for end in ("", "_err"):
            table[name + end] = Column(times * np.asarray(source[column + end]), format=form, unit="%")
    failed = 100 * np.asarray(found["failed"]) / np.asarray(found["n"] + found["failed"])
    table["failed"] = Column(failed, format=".1f", unit="%")
    seconds = [float(pred.meta.get("seconds_per_blend", np.nan)) for pred in predictions.values()]
    table["seconds"] = Column(seconds, format=".2g", unit="s")
    table["positions"] = [positions_of(pred) for pred in predictions.values()]
    table["positions"].description = "whether the method was told the true positions, or had the pixels only"
    table.sort("mape_all")
    table.add_column(np.arange(1, len(table) + 1), name="rank", index=0)
    return table


def scoreboard(name: str, blends: Table, predictions: Predictions, *, n_bootstrap: int = 200, seed: int = 0) -> Table:
    """One row per method and member: the detection split and every score, with errors from resampling galaxies.

    Beside six of `scores`: `sample` (`name`), `n`, `failed`; `both`, `one`, `more` (% of the blends in which so many
    objects were found; NaN for methods that detect nothing, such as networks).
    """
    board = tabulate(measurements(blends, predictions), ("method", "member"), None, BOARD, n_bootstrap, seed)
    board.add_column([name] * len(board), name="sample", index=0)
    splits = np.full((len(board), len(FOUND), 2), np.nan)
    for row, pred in enumerate(predictions.values()):
        if "case" in pred.colnames:
            case = words(pred["case"])
            found = case == "both", np.char.startswith(case, "only"), case == "more"
            splits[2 * row : 2 * row + 2] = 100 * shares(blends, found, n_bootstrap, seed)
    names = [label + end for label in FOUND.values() for end in ("", "_err")]
    board.add_columns([*splits.reshape(-1, 6).T], indexes=[5] * 6, names=names)
    for label in board.colnames[5:]:
        board[label] *= 100 if label.startswith("outliers") else 1
        magnitude = label.startswith(("bias", "scatter"))
        board[label].info.format, board[label].info.unit = (".3f", "mag") if magnitude else (".1f", "%")
    return board


def write_scoreboard(results: str | os.PathLike, *boards: Table) -> Path:
    """Write ``scoreboard.txt`` to read (returned; a block for each sample, in 125 columns) and ``scoreboard.ecsv``."""
    everything, text = vstack(boards, metadata_conflicts="silent"), Path(results) / "scoreboard.txt"
    text.parent.mkdir(parents=True, exist_ok=True)
    everything.write(text.with_suffix(".ecsv"), overwrite=True)
    lines, said = [], lambda row, name, digits: f"{row[name]:.{digits}f} ± {row[name + '_err']:.{digits}f}"
    for sample in dict.fromkeys(everything["sample"]):
        rows = everything[everything["sample"] == sample]
        searched = rows[np.isfinite(rows["both"])]
        found = [f"{name} {said(row, key, 1)} %" for row in searched[:1] for name, key in FOUND.items()]
        texts = {title: [said(row, *what) for row in rows] for title, what in PRINTED.items()}
        table = hstack([rows["method", "member", "n", "failed"], Table(texts)], metadata_conflicts="silent")
        shown = table.pformat(max_lines=-1, max_width=-1, align=["<", "<", *">>>>>>>"])
        lines += [f"{sample}: {', '.join(found) or 'nothing searched for objects'}", *shown, ""]
    text.write_text("\n".join(lines), encoding="utf-8")
    return text


def reference_scores(but: str = "", file: str = "sep_scores.ecsv") -> Table:
    """The stored scoreboard: real HST galaxies, and synthetic ones like them; without the sample (`source`) `but`."""
    table = Table.read(REFERENCE / file)
    return table[table["source"] != but]


def reference_cases(but: str = "") -> dict[str, Table]:
    """The stored detection cases, for each sample as from `case_shares`; see `reference_scores`."""
    table = reference_scores(but, "sep_cases.ecsv")
    return {str(name): table[table["sample"] == name] for name in dict.fromkeys(table["sample"])}
