"""Which pixels belong to whom, and the blends on which a method is furthest off (Figures 10 to 12)."""

import textwrap
from itertools import cycle

import numpy as np
from astropy.table import Table
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import ArrayLike

from ..blends.rendering import render
from ..data.check import require
from ..data.sample import Sample
from ..deblenders.base import check_predictions
from ..metrics.scores import delta_mag, iou, mask_scores

# isort: off
from .stamps import example_rows
from .style import COLOURS, FEWEST, MASKS, MEMBERS, WIDTH, Stamp, canvas, mask_picture, method_styles, outlines_of
from .style import stamp_grid, window_around

_RADIUS = "Distances in pixels (px), and in effective radii R$_e$ of the central galaxy."


def masks_beside(sample: Sample, blends: Table, methods: dict[str, Table | np.ndarray]) -> Figure:
    """Masks of several methods beside the true ones, for three blends from close to far apart (Figures 10 and 11).

    `methods` are predictions with a column `masks`, or masks, bool (n, ny, nx, k); below each `blendkit.metrics.iou`.
    """
    require(methods, 'there are no masks to draw, expected at least one method: give {"name": predictions}.')
    rows, given = example_rows(blends, 3, "separation"), {}
    for name, method in methods.items():
        given[name] = np.asarray(method["masks"] if "masks" in getattr(method, "colnames", ()) else method)
        good = given[name].ndim == 4 and len(given[name]) == len(blends)
        how = "bk.deblenders.Network('unet', masks=True) or SEP(truth=blends, masks=True)"
        require(good, f"no masks of {len(blends)} blends were given for {name!r}: ask for them, as in {how}.")
    images, masks, _ = render(sample, blends[rows])
    scores, stamps = {name: iou(masks, measured[rows]) for name, measured in given.items()}, []
    for i, row in enumerate(rows):
        stamps.append([Stamp(images[i]), Stamp(mask_picture(masks[i]))])
        for name, measured in given.items():
            below = " / ".join("no mask" if np.isnan(score) else f"{score:.2f}" for score in scores[name][i])
            stamps[-1].append(Stamp(mask_picture(measured[row]), below=below))
    return stamp_grid(
        sample, stamps, "Whose pixels are these? IoU of central / companion; 1 is perfect",
        heads=["blend", "true masks", *(textwrap.fill(name, 18) for name in given)],
        labels=[f"row {row}\n{_apart(blends[row])}" for row in rows], legend=MASKS, caption=_RADIUS,
        window=window_around(masks.any(axis=(0, 3))),
    )  # fmt: skip


def iou_by_type(blends: Table, ious: dict[str, ArrayLike]) -> Figure:
    """How good masks are, blend by blend and for pairs of types: `blendkit.metrics.mask_scores` (Figure 12)."""
    table = mask_scores(blends, ious)
    table = table[(table["member"] == "both") & (table["n"] > 0)]
    overall = {row["method"]: row for row in table if row["pair"] == "all"}
    require(overall, "all IoUs are NaN, expected some between 0 and 1: check that the masks are not all empty.")
    table = table[(table["pair"] != "all") & (table["n"] >= FEWEST)]
    counts = {row["pair"]: row["n"] for row in table[::-1]}
    pairs, texts = list(dict.fromkeys(table["pair"])), {name: f"{row['iou']:.3f}" for name, row in overall.items()}
    texts |= {name: f"{texts[name]} ± {row['iou_err']:.3f}" for name, row in overall.items() if row["iou_err"] >= 0}
    best = max(overall, key=lambda name: overall[name]["iou"])
    lines = zip(method_styles(overall).items(), cycle(("solid", "dashed", "dotted", "dashdot")))
    looks = {name: {"edgecolor": colour, "linestyle": line, "linewidth": 2.5} for (name, (colour, _)), line in lines}
    legend = [Patch(fill=False, label=f"{name} {texts[name]}", **look) for name, look in looks.items()]
    title = f"Mean IoU of the masks: {'best is ' * (len(overall) > 1)}{best}, {texts[best]}"
    caption = f"Error bars: one sigma. Not drawn: pairs of types with fewer than {FEWEST} blends."
    with canvas(WIDTH, 5.4, title, legend, caption) as fig:
        left, right = fig.subplots(1, 2, width_ratios=(1, 1.3))
        for k, (name, look) in enumerate(looks.items()):
            values = np.asarray(ious[name], float)
            mean = np.nanmean(values[np.isfinite(values).any(axis=1)], axis=1)
            left.hist(mean, np.linspace(0, 1, 21), histtype="step", weights=np.full(len(mean), 100 / len(mean)), **look)
            rows = table[table["method"] == name]
            y = np.array([pairs.index(pair) for pair in rows["pair"]]) + (k + 0.5) / len(overall) * 0.8 - 0.4
            right.barh(y, rows["iou"], 0.74 / len(overall), color=look["edgecolor"], xerr=rows["iou_err"], capsize=3)
        left.set(title="every blend", xlim=(0, 1), ylabel="share of the blends (%)")
        left.set_xlabel("mean IoU of a blend's two masks (no unit)")
        right.set(title="types of the two galaxies (number of blends)", xlabel="mean IoU (no unit)", xlim=(0, 1))
        right.set_yticks(range(len(pairs)), [f"{pair} ({counts[pair]:,})" for pair in pairs])
        right.set_ylim(len(pairs) - 0.4, -0.6)
        right.tick_params(axis="y", length=0)
    return fig


def member_errors(blends: Table, pred: Table, member: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place, Δmag (NaN: not measured) and its size (infinite there) of a member of each blend, the worst of several."""
    require(member in MEMBERS, f"member = {member!r} was given, expected one of {', '.join(MEMBERS)}.")
    dmag, there = delta_mag(blends, pred), np.asarray(blends["id"]) >= 0
    there &= (np.arange(there.shape[1]) > 0) == (member == "companion")
    size = np.where(there, np.nan_to_num(np.abs(dmag), nan=np.inf), -1)
    place, rows = size.argmax(axis=1), np.arange(len(size))
    return place, np.where(there, dmag, np.nan)[rows, place], size[rows, place]


def worst_rows(blends: Table, pred: Table, member: str = "companion") -> np.ndarray:
    """Rows of the blends that have this member, from the worst measurement to the best: what was not measured first."""
    size = member_errors(blends, pred, member)[2]
    require((size >= 0).any(), f"none of the {len(blends)} blends has a {member}, expected one at least.")
    return np.argsort(-size, kind="stable")[: (size >= 0).sum()]


def worst_blends(sample: Sample, blends: Table, pred: Table, n: int = 10, member: str = "companion") -> Figure:
    """The `n` blends on which a method's predictions of a `member` are furthest off, with the true masks' outlines."""
    check_predictions(blends, pred)
    order, (place, dmag, size) = worst_rows(blends, pred, member)[:n], member_errors(blends, pred, member)
    failures, (place, dmag, size) = np.isinf(size).sum(), (values[order] for values in (place, dmag, size))
    images, masks, _ = render(sample, blends[order])
    true = blends.meta["zeropoint"] - 2.5 * np.log10(np.asarray(blends["flux"])[order, place])
    stamps = []
    for row, mag, off, image, mask in zip(order, true, dmag, images, masks, strict=True):
        off = ": not measured" if np.isnan(off) else f" → {mag + off:.2f}\n({off:+.2f})".replace("-", "−")
        title = f"row {row}\n{_apart(blends[row])}"
        stamps.append(Stamp(image, outlines_of(mask), title=title, below=f"{mag:.2f}{off}", colour=COLOURS[member]))
    failed, off = np.isinf(size).sum(), size[np.isfinite(size)]
    said = [f"{failed} {f'of the {failures} ' if failed < failures else ''}not measured"] if failed else []
    if len(off):
        far = " to ".join(dict.fromkeys((f"{off.min():.2f}", f"{off.max():.2f}")))
        said.append(f"{'the others ' if failed else ''}off by {far} mag")
    number = f"{len(order)} worst blends" if len(order) > 1 else "worst blend"
    title = f"{pred.meta['method']}: the" if "method" in pred.meta else "The"
    title += f" {number} for the {member}{' galaxy' * (member == 'central')}, {', '.join(said)}"
    caption = "Outlines: true masks, central blue, companion orange. Below: isolated → measured magnitude (AB mag)."
    rows = [stamps[i : i + 5] for i in range(0, len(stamps), 5)]
    return stamp_grid(sample, rows, title, window=window_around(masks.any(axis=(0, 3))), caption=f"{caption} {_RADIUS}")


def _apart(row):
    return f"{row['distance']:.0f} px = {row['distance'] / row['r_eff'][0]:.1f} R$_e$"
