"""Which pixels belong to whom, and the blends on which a method is furthest off (Figures 10 to 12)."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.patches import Patch
from numpy.typing import ArrayLike

from ..blending import render
from ..metrics import _floats, _need, check_predictions, iou, mask_scores
from .base import (
    COLOURS,
    FEWEST,
    WIDTH,
    canvas,
    draw_outlines,
    draw_scale_bar,
    grid_size,
    mask_picture,
    method_styles,
    put_caption,
    put_legend,
    put_title,
    show_stamp,
    sky_noise,
    some_blends,
    stretch,
    window_around,
)

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.figure import Figure

    from ..samples import Sample

_RADIUS = "Distances in pixels (px), and in effective radii R$_e$ of the central galaxy."
GALAXIES = {"central": ("central",), "companion": ("companion",), "both": ("central", "companion")}


def masks_beside(
    sample: Sample,
    blends: Table,
    methods: Mapping[str, Table | np.ndarray],
    rows: Sequence[int] | None = None,
) -> Figure:
    """Masks of several methods beside the true ones (Figures 10 and 11).

    Parameters
    ----------
    sample : Sample
    blends : astropy.table.Table
        Recipes.
    methods : mapping of str to table or array
        For each method its predictions with a column `masks`, or the masks themselves, bool, shape (n, ny, nx, 2), in
        the order of `blends`.
    rows : sequence of int, optional
        Which blends to show; default four, from close to far apart in effective radii of the central galaxy.

    Returns
    -------
    matplotlib.figure.Figure
        Below each picture the intersection over union (eq. 2) with the true masks: `blendkit.metrics.iou`.

    Raises
    ------
    ValueError
        Without blends, rows or methods; where a row is not among the blends; or where a method gives no masks, or not
        one pair for each blend.
    """
    if not methods:
        raise ValueError('There are no masks to draw, expected at least one method: give {"name": predictions}.')
    rows = _spread_rows(some_blends(blends)) if rows is None else _checked_rows(rows, len(blends))
    given = {name: _masks_of(method, name, len(blends))[rows] for name, method in methods.items()}
    shown = blends[rows]
    images, masks, _ = render(sample, shown)
    scores = {name: iou(masks, measured) for name, measured in given.items()}
    window, noise = window_around(masks.any(axis=(0, 3)), square=True), sky_noise(sample)
    columns = 2 + len(given)
    with canvas(*grid_size(len(shown), columns, extra=1.6 + 0.5 * len(shown))) as fig:
        axes = fig.subplots(len(shown), columns, squeeze=False)
        for i, line in enumerate(axes):
            show_stamp(line[0], stretch(images[i], noise))
            line[0].set_xlabel(f"row {rows[i]}\n{_apart(shown[i])}")
            for ax, picture in zip(line[1:], (masks[i], *(measured[i] for measured in given.values())), strict=True):
                show_stamp(ax, mask_picture(picture))
            for ax, score in zip(line[2:], scores.values(), strict=True):
                said = ["no mask" if np.isnan(s) else f"{s:.2f}" for s in score[i]]
                ax.set_xlabel(f"central {said[0]}\ncompanion {said[1]}")
            for ax in line:
                ax.set(ylim=window[0], xlim=window[1])
        for ax, name in zip(axes[0], ("blend", "true masks", *given), strict=True):
            ax.set_title(textwrap.fill(name, 20))
        draw_scale_bar(axes[0, 0], sample, masks[0].any(axis=-1))
        put_title(fig, "Whose pixels are these? An IoU of 1 is the true mask, 0 has none of it")
        names = {"central": "central", "companion": "companion", "overlap": "both"}
        handles = [Patch(color=COLOURS[key], label=name) for key, name in names.items()]
        put_legend(fig, handles)
        put_caption(fig, f"Below each mask its IoU. {_RADIUS}")
    return fig


def iou_by_type(blends: Table, ious: Mapping[str, ArrayLike]) -> Figure:
    """How good masks are, over all blends and for each pair of morphologies (Figure 12).

    Parameters
    ----------
    blends : astropy.table.Table
        As for `blendkit.metrics.mask_scores`.
    ious : mapping of str to (n, 2) array_like
        For each method what `blendkit.metrics.iou` gives.

    Returns
    -------
    matplotlib.figure.Figure
        Left the histogram of the mean over the two masks of each blend; right its mean for each pair of types with
        one-sigma errors, where there are ten blends or more: the numbers of `mask_scores` for "both".

    Raises
    ------
    ValueError
        As `mask_scores`; and where no mask can be compared.
    """
    table = mask_scores(blends, ious)
    table = table[(table["galaxy"] == "both") & (table["n"] > 0)]
    overall = {row["method"]: row for row in table if row["pair"] == "all"}
    if not overall:
        raise ValueError("all IoUs are NaN, expected some between 0 and 1: check that the masks are not all empty.")
    table = table[(table["pair"] != "all") & (table["n"] >= FEWEST)]
    pairs = list(dict.fromkeys(table["pair"].tolist()))
    colours = {name: colour for name, (colour, _) in method_styles(ious).items()}
    best = max(overall.values(), key=lambda row: row["iou"])
    with canvas(WIDTH, 5.4) as fig:
        left, right = fig.subplots(1, 2, width_ratios=(1, 1.3))
        for k, (name, row) in enumerate(overall.items()):
            values = _floats(ious[name])
            counted = np.isfinite(values).any(axis=1)
            mean = np.nanmean(values[counted], axis=1)
            style = {"color": colours[name], "linestyle": ("solid", "dashed", "dotted", "dashdot")[k % 4]}
            style |= {"histtype": "step", "linewidth": 2.5, "weights": np.full(len(mean), 100 / len(mean))}
            left.hist(mean, np.linspace(0, 1, 21), label=f"{name} {_iou(row)}", **style)
            of = table[table["method"] == name]
            y = np.array([pairs.index(pair) for pair in of["pair"]]) + (k + 0.5) / len(overall) * 0.8 - 0.4
            errors = {"xerr": _floats(of["iou_err"]), "capsize": 3}
            right.barh(y, of["iou"], 0.74 / len(overall), color=colours[name], **errors)
        left.set(xlim=(0, 1), xlabel="mean IoU of a blend's two masks (no unit)", ylabel="share of the blends (%)")
        left.set_title("every blend")
        counts = {row["pair"]: row["n"] for row in table[::-1]}
        right.set_yticks(range(len(pairs)), [f"{pair} ({counts[pair]:,})" for pair in pairs])
        right.set(xlim=(0, 1), ylim=(len(pairs) - 0.4, -0.6), xlabel="mean IoU (no unit)")
        right.set_title("types of the two galaxies (number of blends)")
        right.tick_params(axis="y", length=0)
        which = "best is " * (len(overall) > 1) + best["method"]
        put_title(fig, f"Mean IoU of the masks: {which}, {_iou(best)}")
        put_legend(fig, left.get_legend_handles_labels()[0])
        put_caption(fig, f"Error bars: one sigma. Not drawn: pairs of types with fewer than {FEWEST} blends.")
    return fig


def worst_rows(blends: Table, pred: Table, galaxy: str = "companion") -> np.ndarray:
    """Rows of the blends from the worst measurement to the best.

    Parameters
    ----------
    blends : astropy.table.Table
        With `flux_central` and `flux_companion`.
    pred : astropy.table.Table
        The same columns, as measured.
    galaxy : {"central", "companion", "both"}
        Whose flux counts; "both": the worse of the two.

    Returns
    -------
    array of int, shape (n,)
        What was not measured first, then by the size of Δmag.

    Raises
    ------
    ValueError
        Where `galaxy` is another word, or predictions are refused by `blendkit.metrics.check_predictions`.
    """
    if galaxy not in GALAXIES:
        raise ValueError(f"galaxy = {galaxy!r} was given, expected one of {', '.join(GALAXIES)}.")
    check_predictions(blends, pred)
    return np.argsort(-np.nan_to_num(_size_of_error(blends, pred, galaxy), nan=np.inf), kind="stable")


def delta_mag(blends: Table, pred: Table, galaxy: str) -> np.ndarray:
    """Measured minus isolated magnitude of one of the two galaxies, (n,); NaN where it was not measured."""
    _need(blends, "The blends", f"flux_{galaxy}")
    flux = _floats(pred[f"flux_{galaxy}"])
    measured = np.isfinite(flux) & (flux > 0)
    ratio = np.divide(flux, _floats(blends[f"flux_{galaxy}"]), out=np.full(len(flux), np.nan), where=measured)
    return -2.5 * np.log10(ratio)


def _size_of_error(blends, pred, galaxy):
    return np.max([np.abs(delta_mag(blends, pred, which)) for which in GALAXIES[galaxy]], axis=0)


def worst_blends(sample: Sample, blends: Table, pred: Table, n: int = 12, galaxy: str = "companion") -> Figure:
    """The blends on which a method is furthest off.

    Parameters
    ----------
    sample : Sample
    blends : astropy.table.Table
        Recipes.
    pred : astropy.table.Table
        Predictions of one method.
    n : int
        How many at most.
    galaxy : {"central", "companion", "both"}
        As for `worst_rows`.

    Returns
    -------
    matplotlib.figure.Figure
        From the worst on, with the outlines of both true masks; below each the isolated and the measured magnitude.

    Raises
    ------
    ValueError
        As `worst_rows`; or where the sample does not hold these galaxies.
    """
    order = worst_rows(blends, pred, galaxy)[: max(n, 1)]
    failures = int(np.isnan(_size_of_error(blends, pred, galaxy)).sum())
    shown, zeropoint, noise = blends[order], blends.meta.get("zeropoint", sample.zeropoint), sky_noise(sample)
    off = {which: delta_mag(blends, pred, which)[order] for which in GALAXIES[galaxy]}
    images, masks, _ = render(sample, shown)
    window = window_around(masks.any(axis=(0, 3)), square=True)
    columns = min(4, len(order))
    lines = -(-len(order) // columns)
    width, height = grid_size(lines, columns, extra=1.2 + 0.27 * lines * (1 + len(off)))
    with canvas(width, height) as fig:
        axes = fig.subplots(lines, columns, squeeze=False).ravel()
        for i, ax in enumerate(axes[: len(order)]):
            show_stamp(ax, stretch(images[i], noise))
            draw_outlines(ax, masks[i, ..., 0], masks[i, ..., 1])
            ax.set(ylim=window[0], xlim=window[1])
            ax.set_title(f"row {order[i]}: {_apart(shown[i])}", fontsize=12)
            said = []
            for which, values in off.items():
                true = zeropoint - 2.5 * np.log10(shown[f"flux_{which}"][i])
                said.append(_change(true, values[i]))
            ax.set_xlabel("\n".join(said), color=COLOURS.get(galaxy, "black"), fontsize=12)
        for ax in axes[len(order) :]:
            ax.set_axis_off()
        draw_scale_bar(axes[0], sample, masks[0].any(axis=-1))
        put_title(fig, _worst_title(pred, galaxy, _size_of_error(blends[order], pred[order], galaxy), failures))
        put_caption(
            fig,
            "Outlines: true masks, central blue, companion orange. Below: isolated → measured magnitude (AB mag)"
            f"{', first the central galaxy' if galaxy == 'both' else ''}. {_RADIUS}",
        )
    return fig


def _worst_title(pred, galaxy, off, failures):
    """What is shown, from how far off it is; `failures`: how many of all were not measured."""
    whose = {"both": "either galaxy", "central": "the central galaxy", "companion": "the companion"}[galaxy]
    failed, measured = int(np.isnan(off).sum()), off[np.isfinite(off)]
    said = [f"{failed} {f'of the {failures} ' if failed < failures else ''}not measured"] if failed else []
    if len(measured):
        far = f"{measured.min():.2f}" + (f" to {measured.max():.2f}" if len(measured) > 1 else "")
        said.append(f"{'the others ' if failed else ''}off by {far} mag")
    name = f"{pred.meta['method']}: the" if "method" in pred.meta else "The"
    number = f"{len(off)} worst blends" if len(off) > 1 else "worst blend"
    return f"{name} {number} for {whose}, {', '.join(said)}"


def _change(true, off):
    if np.isnan(off):
        return f"{true:.2f}: not measured"
    return f"{true:.2f} → {true + off:.2f} ({off:+.2f})".replace("-", "−")


def _apart(row):
    return f"{row['distance']:.0f} px = {row['distance'] / row['r_eff_central']:.1f} R$_e$"


def _iou(row):
    return f"{row['iou']:.3f}" + (f" ± {row['iou_err']:.3f}" if np.isfinite(row["iou_err"]) else "")


def _spread_rows(blends, n=4):
    """Rows from close to far apart, of those with most of the companion on the stamp where there are any."""
    rows = np.flatnonzero(_floats(blends["inside"]) >= 0.9) if "inside" in blends.colnames else []
    rows = rows if len(rows) else np.arange(len(blends))
    rows = rows[np.argsort((_floats(blends["distance"]) / _floats(blends["r_eff_central"]))[rows], kind="stable")]
    n = min(n, len(rows))
    return rows[((np.arange(n) + 0.5) / n * len(rows)).astype(int)]


def _checked_rows(rows, n):
    rows = np.atleast_1d(rows)
    if not len(rows) or rows.dtype.kind not in "iu" or rows.min() < -n or rows.max() >= n:
        raise ValueError(f"rows = {rows.tolist()} was given, expected row numbers from 0 to {n - 1}: correct them.")
    return rows % n


def _masks_of(method, name, n):
    """Masks of a method, (n, ny, nx, 2)."""
    if hasattr(method, "colnames"):
        if "masks" not in method.colnames:
            raise ValueError(
                f"The predictions of {name!r} have no masks (they have {', '.join(method.colnames)}): ask for them, as "
                "in bk.deblenders.Network('unet', masks=True) or SEP(truth=blends, masks=True)."
            )
        method = method["masks"]
    masks = np.asarray(method)
    if len(masks) != n:
        raise ValueError(f"{len(masks)} masks of {name!r} were given for {n} blends, expected a pair for each of them.")
    return masks
