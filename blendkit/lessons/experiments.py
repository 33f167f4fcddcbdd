"""Experiments that the notebooks run: what is asked of the kit, and the numbers or the picture that come back."""

import os
from pathlib import Path

import numpy as np
from astropy.table import Table
from matplotlib.figure import Figure
from scipy.ndimage import correlate

from ..data.cleaning import clean
from ..data.load import load_sample
from ..data.simulate import BAD_KINDS, simulate
from ..deblenders.network import Network
from ..figures.style import COLOURS, canvas, show_stamp, stretch
from ..metrics.scores import flux_scores, iou
from ..metrics.tables import table2
from ..networks.weights import shipped
from .comparing import formatted

NEAR = 8  # pixels from the centre: inside, the light is counted with the first knob


def truth_check(n: int = 400, seed: int = 0) -> dict[str, float]:
    """What cleaning does to synthetic galaxies, simulated and cleaned with neighbours and without.

    Returns `n` good stamps kept; of their relative difference in FLUX_AUTO (%) the mean `bias` and the standard
    deviation `scatter`; `good_dropped` (%); and of each kind of bad stamps, as `planted_edge`, the number and the
    share dropped, `caught_edge` (%, NaN where there is none).
    """
    sample = load_sample("synthetic", n=n, seed=seed)
    report, alone = clean(sample).report, clean(simulate(n, seed, neighbours=False)).report
    kept, bad = np.asarray(report["kept"]), np.asarray(sample.catalog["truth_bad"], str)
    good = kept & (bad == "")
    ratio = np.asarray(report["flux_auto"])[good] / np.asarray(alone["flux_auto"])[good]
    found = {"n": int(good.sum()), "bias": float(100 * (ratio.mean() - 1)), "scatter": float(100 * ratio.std())}
    found["good_dropped"] = float(100 * (~kept)[bad == ""].mean())
    for kind in BAD_KINDS:
        dropped = ~kept[bad == kind]
        found[f"caught_{kind}"] = float(100 * dropped.mean()) if len(dropped) else np.nan
        found[f"planted_{kind}"] = len(dropped)
    return found


def networks_of(home: str | os.PathLike, names: list[str], profile: str) -> tuple[dict[str, Network], list[str]]:
    """The networks that you trained in notebook 3 (folders in `home`), else the shipped ones; and which are yours."""
    yours = [name for name in names if profile != "quick" and any((Path(home) / name).glob("*.weights.h5"))]
    networks = {}
    for name in names:
        source = Path(home) / name if name in yours else name
        networks[name] = Network(source, masks=name != "blend2flux", images=name == "fractions")
    return networks, yours


def shipped_networks() -> Table:
    """The networks that come with blendkit: size, training, and flux error (MAPE, %) on `simulated` and `real` ones."""
    rows = []
    for name, card in shipped().items():
        marks = (card["accuracy"][world].values() for world in ("synthetic", "real"))
        errors = [np.mean([member.get("mape", np.nan) for member in members]) for members in marks]
        said = ["–" if np.isnan(error) else f"{error:.1f}" for error in errors]
        rows.append((name, card["parameters"], card["n_galaxies"], card["epochs"], card["seconds"] / 60, *said))
    names = ["network", "parameters", "galaxies", "epochs", "minutes", "simulated", "real"]
    return formatted(rows, names, minutes=".0f")


def lone_objects(blends: Table, predictions: dict[str, Table], n_detected: np.ndarray) -> Table:
    """Errors of the central galaxy's flux where one object was found (`n_detected`), and where two or more were."""
    lone, true, rows = np.asarray(n_detected) == 1, np.asarray(blends["flux"])[:, 0], []
    for objects, here in {"one found": lone, "two or more found": ~lone}.items():
        for name, pred in predictions.items():
            got = flux_scores(true[here], np.asarray(pred["flux"])[here, 0])
            rows.append((objects, name, got["mape"], got["n"], got["failed"]))
    return formatted(rows, ["objects", "positions", "mape", "n", "failed"], mape=".1f")


def lone_light(blends: Table, pred: Table) -> dict[str, float]:
    """Of `n` lone detections of centrals: medians of flux `measured` and light `together`, in the central's flux."""
    lone, true = np.asarray(pred["case"]) == "only central", np.asarray(blends["flux"])
    own = true[lone, 0]
    measured, together = np.asarray(pred["flux"])[lone, 0] / own, np.nansum(true[lone], axis=1) / own
    return {"n": int(lone.sum()), "measured": float(np.median(measured)), "together": float(np.median(together))}


def error_ratios(errors: Table, ranking: Table, reference: str = "fractions") -> Table:
    """How many times a reference's flux errors others have, by `table2` (`measured`) and `ranking` (`everything`)."""
    measured, everything = _total(errors), {row["method"]: row["mape_all"] for row in ranking}
    rows = [(name, *(e[name] / e[reference] for e in (measured, everything))) for name in measured if name != reference]
    return formatted(rows, ["method", "measured", "everything"], measured=".1f", everything=".1f")


def mean_ious(masks: np.ndarray, predictions: dict[str, Table]) -> dict[str, list[float]]:
    """Mean intersection over union with the true masks (n, ny, nx, k), one per member, where a method gives masks."""
    drawn = {name: pred["masks"] for name, pred in predictions.items() if "masks" in pred.colnames}
    return {name: np.nanmean(iou(masks, mask), axis=0).tolist() for name, mask in drawn.items()}


def report_card(blends: Table, masks: np.ndarray, predictions: dict[str, Table]) -> Table:
    """What each method got in an exam, in words that fit a page: flux errors (MAPE, %), and the IoU with true masks."""
    errors, ious, rows = table2(blends, predictions), mean_ious(masks, predictions), []
    for method in predictions:
        members = {row["member"]: row for row in errors[errors["method"] == method]}
        said = [f"{members[name]['mape']:.1f} ± {members[name]['mape_err']:.1f}" for name in ("central", "companion")]
        drawn = f"{np.mean(ious[method]):.2f}" if method in ious else "–"
        rows.append((method, *said, members["total"]["failed"], drawn))
    return Table(rows=rows, names=["method", "central (%)", "companion (%)", "missing", "IoU"])


def beside_the_paper(stored: Table, errors: Table) -> Table:
    """Flux MAPE (%) of the paper's catalogue and of a run's `table2`; the paper's `scatter` of centrals (Figure 5)."""
    central, total = stored[(stored["case"] == "Figure 5") & (stored["member"] == "central")], _total(errors)
    there = {row["method"]: row["mape_flux"] for row in stored if row["member"] == "total"}
    rows = [(row["method"], row["scatter"], there[row["method"]], total.get(row["method"], np.nan)) for row in central]
    formats = {"scatter": ".2f", "in the paper": ".1f", "in this run": ".1f"}
    return formatted(rows, ["method", *formats], **formats)


def _total(errors):
    """Flux MAPE of each method over all members."""
    return {row["method"]: row["mape"] for row in errors if row["member"] == "total"}


def downhill(images: np.ndarray, fluxes: np.ndarray, rate: float = 0.2, epochs: int = 4, batch: int = 32) -> Figure:
    """The loss of a network with two knobs, and how training walks down into its valley.

    Its answer for the central galaxy is the light near the centre times one knob, and the other light times the second.
    Each step follows the slope that `batch` of the blends show, `rate` long on average in the first of the `epochs`.
    Images are (n, ny, nx), fluxes (n, k), the central galaxy's first, e-/s.
    """
    ny, nx = images.shape[1:]
    y, x = np.ogrid[:ny, :nx]
    near = np.hypot(y - ny // 2, x - nx // 2) <= NEAR
    light = np.stack([np.where(part, images, 0).sum(axis=(1, 2)) for part in (near, ~near)], axis=1)
    light = light / fluxes[:, :1]  # in units of the right answer
    rng, at = np.random.default_rng(0), np.array([0.2, 1.2])
    path, ends = [at], []
    for _ in range(epochs):
        for rows in np.array_split(rng.permutation(len(light)), max(len(light) // batch, 1)):
            slope = np.mean(np.sign(light[rows] @ at - 1)[:, None] * light[rows], axis=0)
            path.append(at := at - rate * slope)
        ends.append(at)
    knobs = np.meshgrid(np.linspace(-0.3, 2.3, 66), np.linspace(-0.6, 1.6, 66))
    loss = 100 * np.abs(np.einsum("nk,kab->nab", light, knobs) - 1).mean(axis=0)
    losses = [100 * np.abs(light @ step - 1).mean() for step in path]
    title = "Training walks downhill: each step turns both knobs a little"
    with canvas(10, 4.6, title, caption="Dots: the start, and after each epoch.") as fig:
        left, right = fig.subplots(1, 2, width_ratios=(1.15, 1))
        levels = loss.min() * np.array([1, 1.05, 1.2, 1.5, 2, 3, 4, 6, 8, 12])
        filled = left.contourf(*knobs, loss, levels=levels, cmap="Greys_r", norm="log", extend="max")
        bar = fig.colorbar(filled, ax=left, label="loss: MAPE (%)", format="%.0f")
        bar.set_ticks([tick for tick in (20, 30, 40, 60, 100, 200, 300) if levels[0] < tick < levels[-1]])
        bar.minorticks_off()
        left.plot(*np.transpose(path), "-", color=COLOURS["companion"], linewidth=1.5)
        left.plot(*np.transpose([path[0], *ends]), "o", color=COLOURS["companion"], markeredgecolor="white", zorder=5)
        left.set(xlabel="knob 1: light near the centre", ylabel="knob 2: all other light", xlim=(-0.3, 2.3))
        left.set(ylim=(-0.6, 1.6), title="the loss for every setting of the knobs")
        right.plot(np.arange(len(losses)) / (len(path) - 1) * epochs, losses, color=COLOURS["companion"])
        right.set(xlabel="epoch", ylabel="loss: MAPE (%)", ylim=(0, None), xticks=range(epochs + 1))
        right.set_title(f"the loss curve of this walk ends at {losses[-1]:.0f} %")
    return fig


def convolutions(image: np.ndarray, filters: dict[str, np.ndarray]) -> Figure:
    """An image (ny, nx) in e-/s and how well small patterns, by name, fit at every place; bad fits are zero (ReLU)."""
    with canvas(10, 4.4, "A filter is a pattern; its map is dark where the pattern fits") as fig:
        axes = fig.subplots(2, len(filters) + 1, height_ratios=(1, 2.4))
        show_stamp(axes[1, 0], stretch(image))
        axes[0, 0].set_axis_off()
        axes[1, 0].set_title("the blend")
        for (upper, lower), (name, pattern) in zip(axes[:, 1:].T, filters.items(), strict=True):
            pattern = np.asarray(pattern, float)
            show_stamp(upper, np.zeros_like(pattern))
            for (row, column), number in np.ndenumerate(pattern):
                upper.text(column, row, f"{number:.1g}", ha="center", va="center", fontsize=10)
            upper.set_title(name)
            fits = np.clip(correlate(image, pattern), 0, None)
            show_stamp(lower, np.sqrt(fits / fits.max()))
    return fig
