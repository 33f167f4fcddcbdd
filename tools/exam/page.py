"""What the exam leaves for readers: ``docs/RESULTS.md``, and the shipped weights with what their cards say."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
from astropy.table import Row, Table

from blendkit.blends.world import RANGES
from blendkit.data.remote import drafted
from blendkit.networks import weights

from . import field
from .field import GROUPS, KINDS
from .outside import CONDITIONS, SERSIC
from .score import MEMBERS, SAMPLES
from .train import (
    BROADER,
    RUNS,
    SEP_LABEL,
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
    "mape_seen": 1, "to_sep": 2, "to_blend2flux": 2, "minutes": 1, "flagged": 1, "trusted": 1, "nothing": 1,
    "to_base": 2, "median_to_sep": 2, "median_to_sersic": 2, "found": 1, "more_found": 1, "deep": 1, "pure": 1,
    "false": 1, "more_false": 1, "auc": 2, "rate": 1, "memory": 2,
}  # fmt: skip
REFERENCE = Path("data", "reference")
MASKS = RUNS["blend2mask2flux-shipped"]
PAPER = ("blend2flux", MASKS)
TRAININGS = ("blend2flux", "blend2mask2flux", RUNS["unet"], TUTORIAL)
SYNTHETIC, REAL = SAMPLES


@dataclass(frozen=True)
class Target:
    """What was asked for: the `score` of all members from `low` to `high`.

    `conditions` is one of `CONDITIONS` or several of them, by name; without any it is asked for in the exam itself.
    """

    text: str
    conditions: str | tuple[str, ...]
    score: str
    low: float = -np.inf
    high: float = np.inf
    method: str = SHIPPED
    samples: tuple[str, ...] = SAMPLES

    def result(self, table: Table, sample: str) -> str:
        """The values on a sample in words, and whether they meet the target."""
        if sample not in self.samples:
            return "–"
        names = (self.conditions,) if isinstance(self.conditions, str) else self.conditions
        found = {name: rows_of(table, sample, self.method, name) for name in names}
        if self.score == "trusted" and [row["flagged"] for row in found[names[0]]] == [100]:
            return "all flagged, met"
        found = {name: [row for row in rows if np.isfinite(row[self.score])] for name, rows in found.items()}
        if not all(found.values()):
            return "not measured"
        missed = [n for n, rows in found.items() if not all(self.low <= row[self.score] <= self.high for row in rows)]
        if len(names) > 1:
            told = f"met in {len(names) - len(missed)} of {len(names)}"
            return f"{told}, **missed**: {'; '.join(missed)}" if missed else told
        cells = [cell(row, self.score) for row in found[names[0]]]
        cells = cells[:1] if self.score in ("minutes", "flagged") else cells  # of the stamp, not of a member
        return " / ".join(cells) + (", **missed**" if missed else ", met")


ORDINARY, STRANGE = (tuple(c.name for c in CONDITIONS if c.strange == strange) for strange in (False, True))
HONEST = "60 to 76 % within 1 σ"
OFF = {"0.5 pixels off": 1.1, "1 pixel off": 1.15, "2 pixels off": 1.3}
BLUR = {"blur 0.15″": 1.15, "blur 0.3″": 1.3}
LEVEL = {c.name: 1.05 for c in CONDITIONS if "level" in c.sky}
NOISES = ("noise × 0.5", "noise × 2", "noise × 4")
TARGETS = (
    Target("MAPE ≤ 5.5 %", "survey", "mape", high=5.5, samples=(REAL,)),
    Target("MAPE ≤ 4.5 %", "survey", "mape", high=4.5, samples=(SYNTHETIC,)),
    Target("outliers ≤ 0.3 %", "survey", "outliers", high=0.3),
    Target("median ≤ 2 %", "survey", "median", high=2),
    Target("median below SEP's, where that measured", "survey", "median_to_sep", high=1),
    Target("median below the Sérsic fit's", "survey", "median_to_sersic", high=1),
    Target(HONEST, "survey", "within1", 60, 76),
    Target("MAPE ≤ 6 %", "white noise", "mape", high=6),
    *(Target(f"≤ {most} × undisturbed", name, "to_base", high=most) for name, most in (LEVEL | OFF | BLUR).items()),
    *(Target("fluxes the same to 1e-4", c.name, "differs", high=1e-4) for c in CONDITIONS if c.unit != 1),
    *(Target(HONEST, name, "within1", 60, 76) for name in (*NOISES, *BLUR, "0.25 to 0.5 R apart")),
    Target("MAPE of the central galaxy ≤ 3 %", "no companion", "mape", high=3),
    Target("companion within 2 σ of zero for ≥ 90 %", "no companion", "nothing", low=90),
    Target("MAPE of the central galaxy ≤ 10 %, unless flagged", "a third galaxy", "trusted", high=10),
    *(Target("MAPE < 0.5 × SEP's", ORDINARY, "to_sep", high=0.5, method=m) for m in (SHIPPED, *PAPER)),
    Target("flagged ≤ 3 %", "survey", "flagged", high=3),
    *(Target("flagged ≥ 90 %", name, "flagged", low=90) for name in STRANGE),
    Target("MAPE ≤ 9 %", "", "mape", high=9, method=TUTORIAL, samples=(REAL,)),
    Target("MAPE ≤ 8 %, 1.1 × that of the network of pairs alone", "", "mape", high=8, samples=(REAL,)),
    Target("MAPE ≤ 5.7 %, 1.1 × that of the network of pairs alone", "", "mape", high=5.7, samples=(SYNTHETIC,)),
    Target("≤ 3 hours of training", "", "minutes", high=180, samples=(SYNTHETIC,)),
    *(Target("≤ 10 minutes of training", "", "minutes", high=10, method=m, samples=(SYNTHETIC,)) for m in TRAININGS),
    Target("IoU of the masks 0.65 to 0.77", "", "iou", 0.65, 0.77, method=MASKS),
    Target("IoU of the masks ≥ 0.82", "", "iou", low=0.82),
    Target("MAPE ≤ 1/2 of blend2flux's", "", "to_blend2flux", high=0.5),
    Target("spread over 8 turns < σ for ≥ 95 %", "", "steady", low=95),
)
"""What was asked for before training."""
FIELD_TARGETS = tuple(
    Target(text, condition, score, low, high, samples=KINDS)
    for text, condition, score, low, high in (
        ("median error ≤ 5 %", "all", "median", -np.inf, 5),
        ("mean error ≤ 12 %", "all", "mape", -np.inf, 12),
        ("median ≤ 0.6 × SEP's", "all", "median_to_sep", -np.inf, 0.6),
        ("lone galaxies: median ≤ 1.1 × SEP's", "lone", "median_to_sep", -np.inf, 1.1),
        ("nearest neighbour < 12 pixels: median ≤ 12 %", "near", "median", -np.inf, 12),
        ("outliers ≤ 3 %", "all", "outliers", -np.inf, 3),
        (HONEST, "all", "within1", 60, 76),
        ("88 to 98 % within 2 σ", "all", "within2", 88, 98),
        ("of those at S/N > 10 as many found as by SEP (% more)", "all", "more_found", 0, np.inf),
        ("no more false detections than SEP (more per field)", "all", "more_false", -np.inf, 0),
        ("pairs closer than 0.5 R: area under the ROC curve ≥ 0.8", "all", "auc", 0.8, np.inf),
        ("≥ 100 objects per second and core, all outputs", "all", "rate", 100, np.inf),
        ("peak memory of the large field ≤ 1.3 × the small one's", "all", "memory", -np.inf, 1.3),
    )
)
"""What was asked for of fields."""


def write(exam: Exam, **tables: Table) -> None:
    """Put tables, by name, beside those that are there, and make the page anew if it has all that it needs."""
    for name, table in tables.items():
        (exam.home / REFERENCE).mkdir(parents=True, exist_ok=True)
        table.write(exam.home / REFERENCE / f"{name}_scores.ecsv", overwrite=True)
    network, outside, fields = stored(exam.home)
    if network and outside:
        (exam.home / "docs").mkdir(exist_ok=True)
        (exam.home / "docs" / "RESULTS.md").write_text(page(network, outside, fields), encoding="utf-8")


def stored(home: Path) -> list[Table | None]:
    """The tables of the scores of networks, outside and on fields, None for those that are not there."""
    paths = (home / REFERENCE / f"{name}_scores.ecsv" for name in ("network", "outside", "field"))
    return [Table.read(path) if path.is_file() else None for path in paths]


def fields_section(fields: Table) -> str:
    """What the page says of fields, of the table from `field_table` or of its file."""
    samples = [kind for kind in KINDS[::-1] if kind in fields["sample"]]
    return template("fields.md.j2").render(
        meta=fields.meta,
        samples=samples,
        methods=list(dict.fromkeys(map(str, fields["method"]))),
        rows=lambda *which: rows_of(fields, *which),
        targets=[(t, [t.result(fields, kind) for kind in samples]) for t in FIELD_TARGETS],
        groups=[group for group in GROUPS if group != "all"],
        constants=field,
        cell=cell,
        number=number,
    )


def template(name: str) -> jinja2.Template:
    """A template of this folder."""
    folder = jinja2.FileSystemLoader(Path(__file__).parent)
    tidy = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
    return jinja2.Environment(loader=folder, undefined=jinja2.StrictUndefined, **tidy).get_template(name)


def page(table: Table, outside: Table, fields: Table | None = None) -> str:
    """The results page, GitHub Markdown, of `score_table`, `outside_table` and `field_table` or of their files."""
    methods, others = (list(dict.fromkeys(map(str, t["method"]))) for t in (table, outside))
    entries = [(method, sample, rows_of(table, sample, method)) for method in methods for sample in SAMPLES]
    return template("page.md.j2").render(
        fields=fields_section(fields) if fields else "",
        meta=table.meta | {f"outside_{key}": value for key, value in outside.meta.items()},
        samples=SAMPLES[::-1],
        conditions=CONDITIONS,
        outside=lambda sample, method, condition: rows_of(outside, sample, method, condition),
        others=others,
        targets=[(t, *(t.result(outside if t.conditions else table, sample) for sample in (REAL, SYNTHETIC)))
                 for t in TARGETS],
        every=[entry for entry in entries if entry[2]],
        measured=[entry for entry in entries if entry[2] and np.isfinite(entry[2][0]["mape"])],
        gaps=[gap for method in methods if (gap := _gap(table, method))],
        costs=[(method, table[table["method"] == method][0]) for method in methods],
        muon=[rows_of(table, SYNTHETIC, name) for name in (TUTORIAL, WITH_MUON)],
        names={"tutorial": TUTORIAL, "muon": WITH_MUON, "shipped": SHIPPED, "sep": SEP_LABEL, "sersic": SERSIC},
        population=BROADER | SHARPER | {"close": SHIPPED_PLAN.close, "near": training.CLOSE},
        cell=cell, both=both, failed=failed, ratio=ratio, number=number,
        ranges=lambda seeds: weights.ranges(seeds) if seeds else "–",
    )  # fmt: skip


def rows_of(table: Table, sample: str, method: str, condition: str = "") -> list[Row]:
    """The rows of a method's members on a sample, central first; none where it was not measured on it."""
    rows = table[(table["sample"] == sample) & (table["method"] == method)]
    rows = rows[rows["condition"] == condition] if condition else rows
    return [row for member in MEMBERS for row in rows[rows["member"] == member]]


def cell(row: Row, key: str) -> str:
    """A value with its error."""
    value, form = float(row[key]), ".0e" if key == "differs" else f".{DIGITS[key]}f"
    if not np.isfinite(value):
        return "–"
    error = float(row[f"{key}_err"]) if f"{key}_err" in row.colnames else np.nan
    return f"{value:{form}}" + (f" ± {error:{form}}" if np.isfinite(error) else "")


def both(rows: list[Row], key: str) -> str:
    """The values of both members."""
    cells = [cell(row, key) for row in rows]
    return "–" if set(cells) <= {"–"} else " / ".join(cells)


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
    pairs = [rows_of(table, sample, method) for sample in SAMPLES]
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
            "limits": limits(table, RUNS[run], card["architecture"]),
            "made_by": exam.made_by,
        }
        with drafted(folder) as draft:
            shutil.copyfile(own, draft / path.name)
            (draft / f"{name}.json").write_text(weights.as_json(card), encoding="utf-8")
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


def limits(table: Table, method: str, architecture: str) -> list[str]:
    """What a card says about the world that a network knows, and where it must not be trusted, a few sentences."""
    pairs = "one or two galaxies (three are flagged, if seen)" if architecture == "fractions" else "two galaxies"
    bounds = {name: " to ".join(f"{value:.3g}" for value in ends) for name, ends in RANGES.items()}
    said = [
        f"Stamps of 128 x 128 pixels with {pairs}, the central one within 2 pixels of the centre pixel; at most 4 mag "
        "apart and up to 4 effective radii from each other.",
        "Trained on simulated galaxies at 0.06 arcsec per pixel and zeropoint 25.96, more than half of the blends in "
        f"the sky of CANDELS, the rest in others: noise of {bounds['sigma']} e-/s per pixel, smoothed by "
        f"{bounds['correlation']} pixels, {bounds['blur']} pixels (FWHM) of further blur, sky levels of "
        f"{bounds['level']} e-/s.",
        "Level and noise are measured on the stamp, so that another level or unit changes no flux (but fractions flags "
        "noise beyond that range, in e-/s); other pixel scales need training of their own.",
    ]
    if gap := _gap(table, method):
        gaps = [
            f"{cell(real, 'mape')} % on real galaxies, {cell(made, 'mape')} % on synthetic ones ({made['member']})"
            for made, real in zip(*gap[1:], strict=True)
        ]
        said.append(f"Mean error of flux in the survey's sky: {'; '.join(gaps)}.")
    return said
