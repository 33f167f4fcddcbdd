"""What the exam leaves for readers: ``docs/RESULTS.md``, and the shipped weights with what their cards say."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
from astropy.table import Row, Table

from blendkit.networks import weights

from .score import MEMBERS, SAMPLES
from .train import (
    BROADER,
    FINETUNED,
    RUNS,
    SHARPER,
    SHIPPED,
    SHIPPED_PLAN,
    TUTORIAL,
    WITH_MUON,
    Exam,
    card_of,
    seeds_of,
    training,
)  # fmt: skip

WEIGHTS = {
    "blend2flux": "blend2flux",
    "blend2mask2flux": "blend2mask2flux-shipped",
    "unet": "unet-shipped",
    "fractions": "fractions-shipped",
}
"""Name of each network in ``data/weights/``, and the run that it is from."""
LARGEST = 4e6  # bytes of a file of weights
DIGITS = {
    "mape": 1, "median": 1, "scatter": 3, "outliers": 2, "iou": 3, "within1": 1, "within2": 1, "steady": 1,
    "mape_zero": 1, "mape_seen": 1, "to_sep": 2, "to_blend2flux": 2, "minutes": 1,
}  # fmt: skip
BOTH = (TUTORIAL, SHIPPED)
TRAININGS = ("blend2flux", "blend2mask2flux", RUNS["unet"], TUTORIAL)


@dataclass(frozen=True)
class Target:
    """What was asked for before training: both members' `score` from `low` to `high`, for each of `methods`."""

    text: str
    sample: str
    score: str
    low: float = -np.inf
    high: float = np.inf
    methods: tuple[str, ...] = BOTH

    def results(self, table: Table) -> list[tuple[str, str, str, str]]:
        """For each method its name, both values in words, and whether they meet the target."""
        found = []
        for method in self.methods:
            pair = rows_of(table, self.sample, method)
            if not pair or not np.isfinite(pair[0][self.score]):
                found.append((method, "–", "–", "not measured"))
                continue
            met = all(self.low <= row[self.score] <= self.high for row in pair)
            first, second = (cell(row, self.score) for row in pair)
            if f"{self.score}_err" not in table.colnames:  # of the network, not of a member
                second = ""
            found.append((method, first, second, "met" if met else "**missed**"))
        return found


TARGETS = (
    Target("flux MAPE ≤ 7 %", SAMPLES[0], "mape", high=7),
    Target("median error ≤ 3 %", SAMPLES[0], "median", high=3),
    Target("outliers ≤ 0.5 %", SAMPLES[0], "outliers", high=0.5),
    Target("IoU ≥ 0.82", SAMPLES[0], "iou", low=0.82),
    Target("63 to 73 % within 1 σ", SAMPLES[0], "within1", 63, 73),
    Target("90 to 100 % within 2 σ", SAMPLES[0], "within2", 90, 100),
    Target("spread over 8 turns < σ for ≥ 95 %", SAMPLES[0], "steady", low=95),
    Target("MAPE ≤ 1/2 of blend2flux's", SAMPLES[0], "to_blend2flux", high=0.5),
    Target("MAPE ≤ 1/3 of SEP's, where SEP measured", SAMPLES[0], "to_sep", high=1 / 3),
    Target("≤ 10 minutes of training", SAMPLES[0], "minutes", high=10, methods=TRAININGS),
    Target("flux MAPE ≤ 10 %", SAMPLES[1], "mape", high=10),
    Target("outliers ≤ 0.5 %", SAMPLES[1], "outliers", high=0.5),
    Target("60 to 76 % within 1 σ", SAMPLES[1], "within1", 60, 76),
)
"""What was asked for before training."""


def page(table: Table) -> str:
    """The results page, GitHub Markdown, of a table from `score_table` or of its file."""
    methods = list(dict.fromkeys(map(str, table["method"])))
    entries = [(method, sample, rows_of(table, sample, method)) for method in methods for sample in SAMPLES]
    folder = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=folder,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("page.md.j2").render(
        meta=table.meta,
        targets=[(target, *result) for target in TARGETS for result in target.results(table)],
        every=[entry for entry in entries if entry[2]],
        measured=[entry for entry in entries if entry[2] and np.isfinite(entry[2][0]["mape"])],
        gaps=[gap for method in methods if (gap := _gap(table, method))],
        costs=[(method, table[table["method"] == method][0]) for method in methods],
        muon=[rows_of(table, SAMPLES[0], name) for name in (TUTORIAL, WITH_MUON)],
        names={"tutorial": TUTORIAL, "muon": WITH_MUON, "finetuned": FINETUNED},
        population=BROADER | SHARPER | {"close": SHIPPED_PLAN.close, "near": training.CLOSE},
        cell=cell, both=both, failed=failed, ratio=ratio, number=number,
        ranges=lambda seeds: weights.ranges(seeds) if seeds else "–",
    )  # fmt: skip


def rows_of(table: Table, sample: str, method: str) -> list[Row]:
    """The rows of a method's members on a sample, central first; none where it was not measured on it."""
    rows = table[(table["sample"] == sample) & (table["method"] == method)]
    return [row for member in MEMBERS for row in rows[rows["member"] == member]]


def cell(row: Row, key: str) -> str:
    """A value with its error."""
    value, digits = float(row[key]), DIGITS[key]
    if not np.isfinite(value):
        return "–"
    error = float(row[f"{key}_err"]) if f"{key}_err" in row.colnames else np.nan
    return f"{value:.{digits}f}" + (f" ± {error:.{digits}f}" if np.isfinite(error) else "")


def both(rows: list[Row], key: str) -> str:
    """The values of both members."""
    cells = [cell(row, key) for row in rows]
    return "–" if set(cells) == {"–"} else " / ".join(cells)


def failed(rows: list[Row]) -> str:
    """Percentage of the blends on which each member was not measured."""
    if not np.isfinite(rows[0]["mape"]):
        return "–"
    return " / ".join(f"{100 * row['failed'] / (row['n'] + row['failed']):.1f}" for row in rows)


def ratio(above: list[Row], below: list[Row]) -> str:
    """How many times the MAPE of other rows these have."""
    return " / ".join(f"{a['mape'] / b['mape']:.2f}" for a, b in zip(above, below, strict=True))


def number(value: float) -> str:
    """A whole number with commas, a dash for none."""
    return f"{value:,.0f}" if np.isfinite(value) else "–"


def _gap(table, method):
    """Name, rows on synthetic galaxies, rows on real ones; None where either was not measured."""
    pairs = [rows_of(table, sample, method) for sample in (SAMPLES[0], SAMPLES[2 if method == FINETUNED else 1])]
    if all(pairs) and all(np.isfinite(row["mape"]) for pair in pairs for row in pair):
        return method, *pairs
    return None


def ship(exam: Exam, table: Table) -> list[Path]:
    """Put the finished networks with their cards where `Network("fractions")` finds them."""
    shipped, folder = [], exam.home / "data" / "weights"
    folder.mkdir(parents=True, exist_ok=True)
    for name, run in WEIGHTS.items():
        if card_of(exam, run) is None:
            continue
        _, card = weights.load(exam.out / run)  # refuses what does not match
        own, path = exam.out / run / f"{card['name']}{weights.H5}", folder / f"{name}{weights.H5}"
        if (size := own.stat().st_size) >= LARGEST:
            raise ValueError(f"'{own}' has {size / 1e6:.1f} MB, expected less than 4: train a smaller network.")
        if name != "blend2flux":
            card.pop("profile", None)  # these have plans of their own
        card |= {
            "name": name,
            "seeds": list(seeds_of(exam, run)),
            "simulated": {},  # nobody else uses these seeds
            "accuracy": accuracy(table, RUNS[run]),
            "limits": limits(table, RUNS[run]),
            "made_by": exam.made_by,
        }
        with weights.replacing(folder / f"{name}.json") as told, weights.replacing(path) as draft:
            shutil.copyfile(own, draft)  # the same bytes: cards of what started from it name them
            told.write_text(weights.as_json(card), encoding="utf-8")
        shipped.append(path)
    return shipped


def accuracy(table: Table, method: str) -> dict[str, dict]:
    """What a card says of a network's accuracy: by sample, member and score the values, and their errors (``_err``)."""
    keys = ("mape", "median", "scatter", "outliers", "iou", "within1", "within2")
    said = {}
    for row in table[table["method"] == method]:
        values = {name: round(float(row[name]), 4) for key in keys for name in (key, f"{key}_err")}
        values = {name: value for name, value in values.items() if np.isfinite(value)}
        said.setdefault(str(row["sample"]), {})[str(row["member"])] = values
    return said


def limits(table: Table, method: str) -> list[str]:
    """What a card says about where a network must not be trusted, a few sentences."""
    said = [
        "Two galaxies to a stamp of 128 x 128 pixels, the central one in the centre pixel, at most 2 mag apart and 0.5 "
        "to 4 effective radii from each other.",
        "Trained on simulated galaxies of one survey: 0.06 arcsec per pixel, zeropoint 25.96, sky noise 0.006 e-/s per "
        "pixel and stamp; other depths, pixel scales or point spread functions need training of their own.",
    ]
    if method == FINETUNED:
        said.append(
            "Fine-tuned on all real galaxies at hand: its accuracy on real galaxies is that of networks fine-tuned "
            "alike without the galaxies that they were tested on, by folds."
        )
    if gap := _gap(table, method):
        gaps = [
            f"{cell(real, 'mape')} % on real galaxies, {cell(made, 'mape')} % on synthetic ones ({made['member']})"
            for made, real in zip(*gap[1:], strict=True)
        ]
        said.append(f"Mean error of flux: {'; '.join(gaps)}.")
    return said
