"""What `tools.exam paper` leaves for readers: the run's numbers, ``docs/PAPER.md`` made of these alone, and figures."""

from __future__ import annotations

import gc
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.table import Table
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import blendkit as bk
from blendkit.blends.recipe import draw_blends
from blendkit.blends.rendering import render
from blendkit.data.cleaning import clean
from blendkit.data.load import load_sample
from blendkit.data.remote import drafted
from blendkit.data.sample import Sample
from blendkit.deblenders import Network
from blendkit.deblenders.base import TRUE_POSITIONS
from blendkit.deblenders.network import IN_THE_CENTRE
from blendkit.figures.stamps import example_rows
from blendkit.figures.style import COLOURS, WIDTH, canvas, plain_log
from blendkit.metrics import difference, mask_scores, reference_scores, scoreboard, table2, write_scoreboard
from blendkit.networks.backend import Model, backend, version

from .meter import told
from .page import REFERENCE, template
from .paper_runs import SIZES, Paper, Run, galaxies, runs_of, state_of, watched
from .score import Method, answers, sep_method
from .train import SEED, SEP_LABEL, card_of, training

DATA, PAGE, CURVES = "paper_run.json", "PAPER.md", "paper_curves.png"
SAYS_FLUX = ("blend2flux", "blend2mask2flux", "fractions")  # the U-Net has masks alone
SAYS_MASKS = ("unet", "blend2mask2flux", "fractions")
FINISHED, STOPPED, LEFT = "finished", "stopped", "left"


class Measured(NamedTuple):
    """Blends of galaxies that no network has seen, and what each method says of them, by its name in tables."""

    sample: Sample
    blends: Table
    fluxes: dict[str, Table]
    ious: dict[str, np.ndarray]


def report(paper: Paper) -> Path:
    """Measure what is trained, and write the numbers, the figures and the page, whose path is given.

    A reduced run does not write over the page of a full one: it writes to its own folder then.
    """
    parts = dict(zip(("train", "valid", "test"), galaxies(paper), strict=True))
    exams, parameters = measure_all(paper, parts["test"])
    counts = {name: len(part) for name, part in parts.items()}
    numbers = numbers_of(paper, counts, exams, parameters)
    old = paper.home / REFERENCE / DATA
    keep = paper.size != "full" and old.is_file() and json.loads(old.read_text(encoding="utf-8"))["size"] == "full"
    home = paper.out if keep else paper.home
    with drafted(home / REFERENCE) as draft:
        (draft / DATA).write_text(json.dumps(numbers, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draw_figures(paper, exams["test"])
    write_scoreboard(paper.out, *(board(kind, exam) for kind, exam in exams.items()))
    with drafted(home / "docs") as draft:
        (draft / PAGE).write_text(page(numbers), encoding="utf-8")
        curves(numbers).savefig(draft / CURVES, dpi=70)
    return home / "docs" / PAGE


def network_of(paper: Paper, run: Run, shape: tuple[int, int]) -> Model:
    """The network of a run; of one that has not ended, that of its best epoch so far."""
    if card_of(paper, run.name):
        return bk.weights.load(paper.out / run.name)[0]
    network = bk.models.build(run.network, run.plan.arguments | {"shape": shape}, SEED)
    with np.load(paper.out / run.name / training.CHECKPOINT) as stored:
        for i, variable in enumerate(network.variables):
            variable.assign(stored[f"best/{i}"])
    return network


def measure_all(paper: Paper, test: Sample) -> tuple[dict[str, Measured], dict[str, int]]:
    """What SEP and every network, begun ones too, say of the test galaxies and of real ones; parameters by label."""
    samples, parameters = {"test": test}, {}
    if paper.folder:
        samples["real"] = clean(load_sample(paper.folder))
    exams = {kind: Measured(s, draw_blends(s, paper.blends, SEED), {}, {}) for kind, s in samples.items()}
    _measure(paper, exams, sep_method())
    for run in paper.runs:
        if losses := [row["val_loss"] for row in state_of(paper, run)["rows"]]:
            network = network_of(paper, run, test.images.shape[1:])
            parameters[run.label] = network.count_params()
            asked = Network(network, masks=run.network in SAYS_MASKS)
            key = f"{run.name}, {run.plan}, {len(losses)} epochs, {min(losses)!r}"
            card = {"architecture": run.network}
            _measure(paper, exams, Method(run.label, key, lambda images, _, asked=asked: asked(images), card))
            del network, asked
            gc.collect()
    return exams, parameters


def _measure(paper, exams, method):
    """Add the answers of a method, or what an earlier call has kept of them."""
    for sample, blends, fluxes, ious in exams.values():
        found = answers(paper, method, sample, blends)
        if "iou" in found:
            ious[method.name] = found["iou"]
        says_flux = method.card.get("architecture") != "unet" and (found["flux"] > 0).any()  # begun ones may say none
        if says_flux:
            fluxes[method.name] = table = Table({name: found[name] for name in ("flux", "case") if name in found})
            table.meta = {"method": method.name, "matching": IN_THE_CENTRE if method.card else TRUE_POSITIONS}
            table.meta["seconds_per_blend"] = float(found["seconds"]) / len(blends)


def board(kind: str, exam: Measured) -> Table:
    """The scoreboard of one exam."""
    return scoreboard(f"{kind}: {exam.sample.name}", exam.blends, exam.fluxes)


def numbers_of(paper: Paper, counts: dict, exams: dict[str, Measured], parameters: dict[str, int]) -> dict[str, Any]:
    """All that the page says, as JSON holds it."""
    published = reference_scores(file="published_scores.ecsv")
    numbers = {
        "made_by": paper.made_by,
        "size": paper.size,
        "galaxies": counts | {"name": exams["test"].sample.name},
        "hardware": " ".join(told("name")) or training.hardware(),
        "versions": {name: version(name) for name in ("blendkit", "keras", backend())},
        "runs": [_run(paper, run) | {"parameters": parameters.get(run.label)} for run in paper.runs],
        "drawn": {network: run.label for network, run in best_runs(paper).items()},
        "exams": {"test": None, "real": None} | {kind: _exam(paper, exam) for kind, exam in exams.items()},
        "published": _rows(published[published["case"] == "all"]),
    }
    return plain(numbers)


def _run(paper, run):
    """How one training went."""
    state, seen = state_of(paper, run), watched(paper.out / run.name)
    rows, known = state["rows"], bool(seen["seconds"])
    losses = [row["val_loss"] for row in rows]
    steps = sum(run.plan.blends / row["images_per_second"] for row in rows)
    return {
        "label": run.label, "title": run.title, "protocol": run.protocol, "network": run.network,
        "plan": {name: getattr(run.plan, name) for name in ("arguments", "blends", "valid", "epochs", "batch", "rate")},
        "state": FINISHED if state["saved"] else STOPPED if rows else LEFT,
        "epochs": len(rows), "best_epoch": 1 + int(np.argmin(losses)) if rows else None,
        "minutes": sum(row["seconds"] for row in rows) / 60,
        "blends_per_second": len(rows) * run.plan.blends / steps if rows else None,
        "hardware": " and ".join(state["hardware"]), "precision": "mixed float16" if state["mixed"] else "float32",
        "watt_hours": seen["joules"] / 3600 if known else None,
        "busy": 100 * seen["busy"] / seen["seconds"] if known else None,
        "history": {name: [row[name] for row in rows] for name in ("loss", "val_loss", "learning_rate")},
    }  # fmt: skip


def _exam(paper, exam):
    """The scores of all methods on some blends."""
    sample, blends, fluxes, ious = exam
    masks = mask_scores(blends, ious)
    return {
        "of": f"{len(sample)} galaxies ({sample.name})",
        "blends": len(blends),
        "table2": _rows(table2(blends, fluxes)),
        "masks": _rows(masks[masks["pair"] == "all"]),
        "scoreboard": _rows(board("", exam)),
        "seconds": {label: table.meta["seconds_per_blend"] for label, table in fluxes.items()},
        "protocols": [
            {"title": theirs.title, "paper": theirs.label, "modern": modern.label}
            | difference(blends, fluxes, theirs.label, modern.label)
            for theirs, modern in _pairs(paper)
            if {theirs.label, modern.label} <= set(fluxes)
        ],
    }


def _pairs(paper):
    """The runs of the same network by the paper's protocol and by the modern one."""
    by_title = {}
    for run in paper.runs:
        by_title.setdefault(run.title, {})["paper" if run.plan.schedule == "plateau" else "modern"] = run
    return [(pair["paper"], pair["modern"]) for pair in by_title.values() if len(pair) == 2]


def best_runs(paper: Paper) -> dict[str, Run]:
    """Of each network, at the size that is trained first, the run of the lower validation loss: that of the figures."""
    best, sizes = {}, {}
    for run in paper.runs:
        if rows := state_of(paper, run)["rows"]:
            low = min(row["val_loss"] for row in rows)
            if sizes.setdefault(run.network, run.title) == run.title and low < best.get(run.network, (math.inf,))[0]:
                best[run.network] = low, run
    return {network: run for network, (_, run) in best.items()}


def _rows(table):
    return [dict(zip(table.colnames, row, strict=True)) for row in table]


def plain(value: Any) -> Any:
    """Numbers of NumPy as JSON's, of six digits; None for those that are none."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def page(numbers: dict[str, Any]) -> str:
    """The page, GitHub Markdown, of the numbers of a run."""
    return template("paper.md.j2").render(
        numbers,
        exams_there={kind: exam for kind, exam in numbers["exams"].items() if exam},
        trained=[run for run in numbers["runs"] if run["state"] != LEFT],
        unfinished=[run for run in numbers["runs"] if run["state"] != FINISHED],
        says_flux=SAYS_FLUX,
        sep=SEP_LABEL,
        full=runs_of("full")[0],
        full_filters=SIZES["full"].filters,
        curves=CURVES,
        data=DATA,
        cells=cells,
        lost=lost,
    )


def cells(rows: list[dict], method: str, key: str, digits: int, members=("central", "companion")) -> str:
    """The values of a method's members, each with its error."""
    found = {row["member"]: row for row in rows if row["method"] == method}
    return " / ".join(cell(found[member], key, digits) for member in members) if found else "–"


def cell(row: dict, key: str, digits: int) -> str:
    """A value with its error; a dash where there is none."""
    value, error = row.get(key), row.get(f"{key}_err")
    if value is None:
        return "–"
    said = f"{value:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")
    return said.replace("-", "−")


def lost(rows: list[dict], method: str) -> str:
    """Percentage of all fluxes that a method did not measure."""
    shares = (100 * row["failed"] / (row["n"] + row["failed"]) for row in rows
              if row["method"] == method and row["member"] == "total")  # fmt: skip
    return f"{next(shares, 100.0):.1f}"


def curves(numbers: dict[str, Any]) -> Figure:
    """Validation losses of all runs against the blends that each had seen, a panel for each network."""
    panels = {}
    for run in numbers["runs"]:
        panels.setdefault(run["title"], []).append(run)
    names = {"central": "the paper's protocol: Adam, plateau", "companion": "a modern one: AdamW or Muon, cosine"}
    handles = [Line2D([], [], color=COLOURS[key], label=name) for key, name in names.items()]
    caption = (
        "Validation: other galaxies. Dot: the best epoch, which is kept. The loss of fractions is of its own kind."
    )
    lines = -(-len(panels) // 3)
    with canvas(WIDTH, 2.6 * lines + 1.2, "How each network learns, by two protocols", handles, caption) as fig:
        axes = fig.subplots(lines, 3, squeeze=False).ravel()
        for ax, (title, runs) in zip(axes, panels.items(), strict=False):
            for run in runs:
                if losses := run["history"]["val_loss"]:
                    seen = run["plan"]["blends"] * np.arange(1, len(losses) + 1) / 1000
                    colour = COLOURS["central" if run["protocol"] == "Adam, plateau" else "companion"]
                    best = np.argmin(losses)
                    ax.plot(seen, losses, color=colour)
                    ax.plot(seen[best], losses[best], "o", color=colour)
            ax.set(title=title, yscale="log", xlabel="blends seen (thousands)", ylabel="validation loss")
            plain_log(ax.yaxis, (1.0, 1.5, 2.0, 3.0, 5.0, 7.0))
        for ax in axes[len(panels) :]:
            ax.set_axis_off()
    return fig


def draw_figures(paper: Paper, exam: Measured) -> None:
    """Figures 5 to 12, of SEP and the best run of each network, into the folder ``figures`` of the run."""
    sample, blends, fluxes, ious = exam
    best = best_runs(paper)
    predictions = {SEP_LABEL: fluxes[SEP_LABEL]}
    predictions |= {name: fluxes[run.label] for name, run in best.items() if run.label in fluxes}
    drawn = {
        "figure_05": bk.figures.recovered_magnitudes(blends, predictions),
        "figure_06": bk.figures.recovered_by_detection(blends, predictions),
        "figure_07": bk.figures.errors_by_delta_mag(blends, predictions),
        "figure_08": bk.figures.median_and_scatter(blends, predictions),
        "figure_09": bk.figures.by_morphology(blends, predictions),
    }
    marked = {name: run for name, run in best.items() if run.label in ious}
    if marked:
        few = blends[example_rows(blends, 3, "separation")]
        images, shape = render(sample, few, masks=False)[0], sample.images.shape[1:]
        masks = {name: Network(network_of(paper, run, shape), masks=True)(images) for name, run in marked.items()}
        drawn["figure_10_11"] = bk.figures.masks_beside(sample, few, masks)
        of = {SEP_LABEL: ious[SEP_LABEL]} | {name: ious[run.label] for name, run in marked.items()}
        drawn["figure_12"] = bk.figures.iou_by_type(blends, of)
    with drafted(paper.out / "figures") as draft:
        for name, figure in drawn.items():
            figure.savefig(draft / f"{name}.png", dpi=90)
