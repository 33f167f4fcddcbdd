"""The paper's figures (Boucaud et al. 2019), one function each, in one style fit for a projector.

Every function returns a matplotlib figure that is already detached from pyplot: as the last expression of a
notebook cell it shows once, and nothing stays open.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from typing import TYPE_CHECKING

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, MultipleLocator, NullFormatter
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

from .blending import make_blends, place, render, render_parts
from .metrics import (
    CASES,
    OUTLIER_DMAG,
    _cases,
    _floats,
    _need,
    _same_length,
    case_shares,
    check_unseen,
    flux_scores,
    iou,
    magnitude_scores,
    resample,
)

if TYPE_CHECKING:
    import keras
    from astropy.table import Table
    from matplotlib.figure import Figure

    from .samples import Sample

COLOURS = {
    "central": "#0072B2",
    "companion": "#D55E00",
    "overlap": "#CC79A7",
    "methods": ("#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#0072B2", "#D55E00", "#000000"),
}
"""Okabe and Ito's colour-blind safe palette: central, companion, where both are, and the methods in order."""

CASE_COLOURS = dict(
    zip(CASES, ("#009E73", COLOURS["central"], COLOURS["companion"], "#F0E442", "#999999"), strict=True)
)

FIGURE_5_CASES = {"central": ("both", "only central"), "companion": ("both", "only companion")}
"""Detection cases that count for each galaxy in Figure 5."""

_SEGMENTS = (
    Line2D([], [], color=COLOURS["central"], linewidth=2, label="segment of the central galaxy"),
    Line2D([], [], color=COLOURS["companion"], linewidth=2, label="segments of neighbours"),
)  # for legends

_BLACK, _WHITE = -3.0, 1000.0  # what `stretch` maps to 0 and 1, in units of the noise
_FAR = 10  # pixels kept from every segment where only noise is wanted
_EDGE_REACH = 20  # pixels on both sides of a fill's edge
_MOST_BLENDS = 200
_MOST_STAMPS = 500
_WIDTH = 11.5  # inches


def style() -> AbstractContextManager:
    """The look of every figure: colour-blind safe, text of at least 12 points, galaxies dark on light sky.

    Returns
    -------
    context manager
        ``with bk.figures.style(): ...`` sets matplotlib's rcParams inside, and puts them back.
    """
    return matplotlib.rc_context({
        "figure.dpi": 100,
        "figure.titlesize": 16,
        "figure.titleweight": "bold",
        "font.family": "DejaVu Sans",
        "font.size": 12,
        "axes.titlesize": 13,
        "axes.labelsize": 13,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": matplotlib.cycler(color=COLOURS["methods"]),
        "xtick.labelsize": 12,
        "ytick.labelsize": 12,
        "legend.fontsize": 12,
        "legend.frameon": False,
        "image.cmap": "gray_r",
        "image.origin": "lower",
        "image.interpolation": "nearest",
        "lines.linewidth": 2.0,
    })  # fmt: skip


def stretch(image: np.ndarray, noise: float = 0.006) -> np.ndarray:
    """Pixels as shades, so that sky noise and a galaxy's core are both visible.

    The same flux always gets the same shade, so that pictures can be compared: an inverse hyperbolic sine of
    the pixel in units of twice the noise, from -3 times the noise (0) to 1,000 times the noise (1).

    Parameters
    ----------
    image : array of float, any shape, e-/s
    noise : float
        Standard deviation of the sky, e-/s.

    Returns
    -------
    array of float32, same shape
        0 to 1, clipped.
    """
    low, high = np.arcsinh(_BLACK / 2), np.arcsinh(_WHITE / 2)
    shade = (np.arcsinh(np.asarray(image, np.float32) / np.float32(2 * noise)) - low) / (high - low)
    return np.clip(shade, 0, 1).astype(np.float32)


def stamps_before_after(sample: Sample, clean: Sample, ids: Sequence[int] | None = None, n: int = 4) -> Figure:
    """Stamps before and after cleaning, with their segmentation (Figure 1).

    Parameters
    ----------
    sample, clean : Sample
        Before, and ``bk.clean(sample)``.
    ids : sequence of int, optional
        Galaxies to show. Default: `n` from bright to faint whose neighbours lay well apart from them.
    n : int
        How many, when no `ids` are given.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        An id that is not in the sample, or that cleaning dropped.
    """
    ids = _with_neighbours(sample, clean, n) if ids is None else np.atleast_1d(np.asarray(ids))
    before = sample.index(ids)
    dropped = ids[~np.isin(ids, np.asarray(clean.catalog["id"]))]
    if len(dropped):
        raise ValueError(
            f"galaxy {dropped[0]} was dropped by cleaning, expected ids that were kept: choose from "
            "clean.catalog['id'], or see it with rejected_stamps."
        )
    after = clean.index(ids)
    own, noise = sample.own_masks(), _noise(sample)
    with _canvas(*_size(2, len(ids), extra=1.75)) as fig:
        axes = fig.subplots(2, len(ids), squeeze=False)
        for (top, bottom), b, a in zip(axes.T, before, after, strict=True):
            _show(top, stretch(sample.images[b], noise))
            _show(bottom, stretch(clean.images[a], noise))
            _outlines(top, own[b], (sample.segmaps[b] != 0) & ~own[b])
            _outlines(bottom, own[b], sample.images[b] != clean.images[a], "dotted")
            row = sample.catalog[b]
            top.set_title(f"galaxy {row['id']}\n{row['morphology']}, AB {row['mag']:.1f} mag")
        for ax, label in zip(axes[:, 0], ("before", "after cleaning"), strict=True):
            ax.set_ylabel(label)
        _scale_bar(axes[0, 0], sample, sample.segmaps[before[0]] != 0)
        _title(fig, "Cleaning leaves the galaxy in the centre and replaces its neighbours by sky")
        replaced = Line2D([], [], color=COLOURS["companion"], linestyle="dotted", label="replaced by sky")
        fig.legend(handles=[*_SEGMENTS, replaced], loc="outside lower center", ncols=3)
    return fig


def rejected_stamps(sample: Sample, report: Table, n: int = 8) -> Figure:
    """Stamps that cleaning dropped, with the first reason under each (section 2.1).

    Parameters
    ----------
    sample : Sample
        As it was before cleaning.
    report : astropy.table.Table
        ``clean(sample).report``.
    n : int
        How many at most; each first reason comes up before any comes up again.

    Returns
    -------
    matplotlib.figure.Figure
        One that says so where nothing was dropped.

    Raises
    ------
    ValueError
        Where the report names galaxies that are not in the sample.
    """
    _need(report, "The rows of the report", "id", "kept", "reason")
    dropped = report[~np.asarray(report["kept"], bool)]
    if not len(dropped):
        with _canvas(_WIDTH, 1.6) as fig:
            _title(fig, f"Cleaning dropped none of {len(report)} stamps")
            fig.text(0.5, 0.25, "There is nothing to show here.", ha="center")
        return fig
    total = len(dropped)
    dropped = dropped[_in_turn([str(reason).split("; ")[0] for reason in dropped["reason"]])[:n]]
    own, noise, rows = sample.own_masks(), _noise(sample), sample.index(dropped["id"])
    reasons = [_first_reason(str(reason)) for reason in dropped["reason"]]
    columns = min(4, len(dropped))
    lines = -(-len(dropped) // columns)
    tallest = max(reason.count("\n") + 1 for reason in reasons)
    with _canvas(*_size(lines, columns, extra=1 + (0.45 + 0.2 * tallest) * lines)) as fig:
        axes = fig.subplots(lines, columns, squeeze=False).ravel()
        for ax, row, reason in zip(axes, rows, reasons, strict=False):
            _show(ax, stretch(sample.images[row], noise))
            _outlines(ax, own[row], (sample.segmaps[row] != 0) & ~own[row])
            ax.set_title(f"galaxy {sample.catalog['id'][row]}, AB {sample.catalog['mag'][row]:.1f} mag", fontsize=12)
            ax.set_xlabel(reason, fontsize=12)
        for ax in axes[len(rows) :]:
            ax.set_axis_off()
        _scale_bar(axes[0], sample, sample.segmaps[rows[0]] != 0)
        shown = "" if len(rows) == total else f"; {len(rows)} of them"
        _title(fig, f"Cleaning dropped {total} of {len(report)} stamps{shown}, each with the reason")
        fig.legend(handles=_SEGMENTS, loc="outside lower center", ncols=2)
    return fig


def blend_grid(
    sample: Sample,
    central: int,
    companion: int,
    distances: Sequence[int] = (8, 14, 22, 32),
    dmags: Sequence[float] = (-1.0, 0.0, 1.0),
) -> Figure:
    """The same two galaxies at several distances and magnitude offsets (Figure 2).

    Parameters
    ----------
    sample : Sample
        Cleaned galaxies.
    central, companion : int
        Catalogue ids.
    distances : sequence of int
        Shifts of the companion to the right, whole pixels.
    dmags : sequence of float
        Offsets to the companion's magnitude (`dmag` of a recipe).

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        An id that is not in the sample, no distance or no offset, or a shift off the stamp.
    """
    distances, dmags = np.atleast_1d(distances), np.atleast_1d(dmags).astype(float)
    if not (len(distances) and len(dmags)):
        raise ValueError("the grid has no distance or no dmag, expected at least one of each: (8, 16) and (0, 1), say.")
    if not (distances == np.rint(distances)).all():
        raise ValueError(f"distances = {distances.tolist()} were given, expected whole pixels: round them.")
    distances = distances.astype(int)
    dmag, distance = (grid.ravel() for grid in np.meshgrid(dmags, distances, indexing="ij"))
    blends = make_blends(sample, central, companion, distance, 0, dmag)
    images, masks, _ = render(sample, blends)
    noise, x0 = _noise(sample), sample.centre[1]
    window = _window(masks.any(axis=(0, 3)))
    aspect = np.ptp(window[0]) / np.ptp(window[1])
    larger = max(blends["r_eff_central"][0], blends["r_eff_companion"][0])
    with _canvas(*_size(len(dmags), len(distances), extra=1.6, aspect=aspect)) as fig:
        axes = fig.subplots(len(dmags), len(distances), squeeze=False)
        for ax, image, mask, row in zip(axes.ravel(), images, masks, blends, strict=True):
            _show(ax, stretch(image, noise))
            _outlines(ax, mask[..., 0], mask[..., 1], "dashed")
            ax.set_xlim(*window[1])
            ax.set_ylim(*window[0])
            ax.plot(x0, sample.centre[0], "+", color=COLOURS["central"], markersize=9)
            ax.plot(x0 + row["dx"], sample.centre[0], "x", color=COLOURS["companion"], markersize=8)
        for ax, pixels in zip(axes[0], distances, strict=True):
            ax.set_title(f"{pixels} px = {pixels * sample.pixel_scale:.2f}″\n= {pixels / larger:.1f} × larger r_eff")
        for ax, row in zip(axes[:, 0], blends[:: len(distances)], strict=True):
            ax.set_ylabel(f"companion\nAB {row['mag_companion']:.1f} mag\n(dmag {_signed(row['dmag'])})")
        _scale_bar(axes[-1, 0], sample, masks[-len(distances)].any(axis=-1))
        _title(fig, "The closer the two, the harder to tell them apart")
        _caption(
            fig,
            f"Central: galaxy {blends['central'][0]}, AB {blends['mag_central'][0]:.1f} mag "
            f"(+, full line: its segment). Companion: galaxy {blends['companion'][0]} (×, dashed line). "
            + ("Rows with negative dmag are noisier: " if dmags.min() < 0 else "")
            + "dmag scales the companion's noise as well.",
        )
    return fig


def blend_parts(sample: Sample, blends: Table, n: int = 3, fill: str = "sky") -> Figure:
    """A few blends taken apart: the blend, each galaxy alone, and their masks (section 2.2).

    Parameters
    ----------
    sample : Sample
    blends : astropy.table.Table
        Recipes; the first `n` are shown.
    n : int
    fill : {"sky", "zero"}
        As for `blendkit.render`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        Without blends, or where the sample does not hold their galaxies.
    """
    blends = _some(blends)[: max(n, 1)]
    images, masks, fluxes = render(sample, blends, fill=fill)
    parts, noise = render_parts(sample, blends, fill=fill), _noise(sample)
    window = _window(masks.any(axis=(0, 3)), square=True)
    with _canvas(*_size(len(blends), 4, extra=1.3 + 0.3 * len(blends))) as fig:
        axes = fig.subplots(len(blends), 4, squeeze=False)
        for line, row, image, part, mask, flux in zip(axes, blends, images, parts, masks, fluxes, strict=True):
            for ax, picture in zip(line, (image, *part), strict=False):
                _show(ax, stretch(picture, noise))
            _outlines(line[0], mask[..., 0], mask[..., 1])
            _show(line[3], _mask_picture(mask))
            for ax in line:
                ax.set(ylim=window[0], xlim=window[1])
            distance = np.hypot(row["dx"], row["dy"])
            line[0].set_ylabel(f"distance {distance:.0f} px\n= {distance * sample.pixel_scale:.2f}″")
            for ax, galaxy, value in zip(line[1:3], ("central", "companion"), flux, strict=True):
                mag = sample.zeropoint - 2.5 * np.log10(value)
                ax.set_xlabel(f"{value:.3g} e⁻/s = AB {mag:.1f} mag", color=COLOURS[galaxy])
            both = mask.all(axis=-1).sum()
            line[3].set_xlabel(f"overlap: {both} px" if both else "no overlap")
        for ax, name in zip(axes[0], ("blend", "central alone", "companion alone", "masks"), strict=True):
            ax.set_title(name)
        _scale_bar(axes[0, 0], sample, masks[0].any(axis=-1))
        _title(fig, "A blend is the sum of two galaxies that we know one by one")
        colours = {"central": "central", "companion": "companion", "both": "overlap"}
        handles = [Patch(color=COLOURS[colour], label=name) for name, colour in colours.items()]
        fig.legend(handles=handles, loc="outside lower center", ncols=3)
    return fig


def fill_step_sigmas(sample: Sample, blends: Table) -> dict[str, float]:
    """Noise on both sides of the edge of the shifted companion's stamp, under zero fill and sky fill.

    Parameters
    ----------
    sample : Sample
    blends : astropy.table.Table
        The first 200 that leave part of the frame empty are used.

    Returns
    -------
    dict
        ``zero_inside``, ``zero_outside``, ``sky_inside``, ``sky_outside``: robust standard deviation (1.4826
        times the median absolute deviation), e-/s, of pixels more than 10 pixels from both galaxies' segments
        and at most 20 from the edge; inside is where the companion's stamp lies, outside is what was filled.
        ``n_blends``: how many blends were used.

    Raises
    ------
    ValueError
        Without blends, or where none of them has sky on both sides of an edge.
    """
    return _edge_sigmas(_edge_pixels(sample, blends))


def fill_step(sample: Sample, blends: Table) -> Figure:
    """The step that zero fill leaves in the noise, beside sky fill.

    Parameters
    ----------
    sample, blends
        As for `fill_step_sigmas`; the blend with the longest edge is shown.

    Returns
    -------
    matplotlib.figure.Figure
        The same blend twice with the noise stretched hard, and the noise as a function of the distance from
        the edge, with the numbers of `fill_step_sigmas`.

    Raises
    ------
    ValueError
        As `fill_step_sigmas`.
    """
    pixels = _edge_pixels(sample, blends)
    sigmas = _edge_sigmas(pixels)
    row = blends[pixels["shown"] : pixels["shown"] + 1]
    covered = _covered(sample, row[0])
    reach = 4 * _noise(sample) * np.sqrt(2)
    names = {"zero": "zero fill (the paper's tools)", "sky": "sky fill (blendkit's default)"}
    colours = {"zero": COLOURS["companion"], "sky": COLOURS["central"]}
    with _canvas(_WIDTH, 4.9) as fig:
        axes = fig.subplots(1, 3, width_ratios=(1, 1, 1.35))
        for ax, fill in zip(axes, names, strict=False):
            (image,), (mask,), _ = render(sample, row, fill=fill)
            _show(ax, image, vmin=-reach, vmax=reach)
            _outline(ax, covered, colours[fill], "dashed")
            ax.set_title(names[fill])
            ax.set_xlabel(f"shades: −{reach:.3f} to +{reach:.3f} e⁻/s")
        _scale_bar(axes[0], sample, mask.any(axis=-1))
        ax = axes[2]
        bins = np.arange(-_EDGE_REACH, _EDGE_REACH + 1, 2)
        for fill, marker in zip(names, ("o", "s"), strict=True):
            profile = [
                _robust_sigma(pixels[fill][(pixels["offset"] > low) & (pixels["offset"] < low + 2)])
                for low in bins[:-1]
            ]
            ax.plot(
                bins[:-1] + 1,
                profile,
                marker,
                color=colours[fill],
                linestyle="-",
                markersize=6,
                label=f"{fill} fill",
            )
        ax.axvline(0, color="0.4", linestyle="dashed", linewidth=1.5)
        low, high = ax.get_ylim()
        ax.set_ylim(low - 0.45 * (high - low), high + 0.4 * (high - low))
        ax.set(
            xlabel="distance from the edge (pixels)",
            ylabel="noise σ (e⁻/s)",
            title="σ on both sides of the edge",
        )
        ax.legend(loc="upper right", handlelength=1.5, borderaxespad=0)
        for x, side in ((0.03, "outside"), (0.55, "inside")):
            numbers = "\n".join(f"{fill}: {sigmas[f'{fill}_{side}']:.4f}" for fill in names)
            ax.text(x, 0.03, f"{side}\n{numbers}", transform=ax.transAxes)
        _title(fig, "Zero fill leaves a step in the noise that tells where the companion's stamp was put")
        _caption(
            fig,
            "Dashed: the edge of the companion's stamp; beyond it lies what was filled. "
            f"σ: {sigmas['n_blends']} blends, pixels more than {_FAR} px from both galaxies' segments.",
        )
    return fig


def dmag_noise_sigmas(sample: Sample, dmags: Sequence[float] = (-2.0, -1.0, 0.0, 1.0, 2.0)) -> dict[float, float]:
    """Noise of a blend for several offsets `dmag` to the companion's magnitude.

    Parameters
    ----------
    sample : Sample
        At least two galaxies; the first 50 are paired with one another.
    dmags : sequence of float

    Returns
    -------
    dict
        For each dmag the robust standard deviation, e-/s, of pixels more than 10 pixels from both segments.

    Raises
    ------
    ValueError
        Fewer than two galaxies, no dmag, or no sky far from the galaxies.
    """
    dmags = np.atleast_1d(dmags).astype(float)
    if len(sample) < 2 or not len(dmags):
        raise ValueError(f"{len(sample)} galaxies and {len(dmags)} dmags were given, expected at least two and one.")
    ids = np.asarray(sample.catalog["id"])[:50]
    blends = make_blends(sample, ids, np.roll(ids, 1), 0, 0)
    parts = render_parts(sample, blends)
    _, masks, _ = render(sample, blends)
    empty = np.stack([_far_from(mask.any(axis=-1)) for mask in masks])
    if not empty.any():
        raise ValueError(f"no pixel is more than {_FAR} pixels from the galaxies: use larger stamps.")
    central, companion = parts[:, 0][empty], parts[:, 1][empty]
    return {float(d): _robust_sigma(central + 10 ** (-0.4 * d) * companion) for d in dmags}


def dmag_noise(sample: Sample, dmags: Sequence[float] = (-2.0, -1.0, 0.0, 1.0, 2.0)) -> Figure:
    """`dmag` multiplies the companion's pixels, and so its noise: the noise of the blend gives it away.

    Parameters
    ----------
    sample, dmags
        As for `dmag_noise_sigmas`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    sigmas = dmag_noise_sigmas(sample, dmags)
    alone = _noise(sample)
    curve = np.linspace(min(sigmas) - 0.2, max(sigmas) + 0.2, 100)
    ends = list(dict.fromkeys((min(sigmas), max(sigmas))))
    faintest = np.argsort(np.asarray(sample.catalog["mag"], float))[-2:]
    blends = make_blends(sample, *np.asarray(sample.catalog["id"])[faintest], sample.centre[1] // 4, 0, ends)
    images, masks, _ = render(sample, blends)
    reach = 8 * alone
    with _canvas(_WIDTH, 4.7) as fig:
        axes = fig.subplots(1, len(ends) + 1, width_ratios=(*[1] * len(ends), 1.35))
        for ax, image, dmag in zip(axes, images, ends, strict=False):
            _show(ax, image, vmin=-reach, vmax=reach)
            change = f"{abs(dmag):g} mag {'brighter' if dmag < 0 else 'fainter'}" if dmag else "as it is"
            ax.set_title(f"dmag {_signed(dmag)}: companion {change}", fontsize=12)
            ax.set_xlabel(f"shades: −{reach:.3f} to +{reach:.3f} e⁻/s")
        _scale_bar(axes[0], sample, masks[0].any(axis=-1))
        ax = axes[-1]
        label = "σ of one stamp × √(1 + 10$^{-0.8\\,dmag}$)"
        ax.plot(curve, alone * np.sqrt(1 + 10 ** (-0.8 * curve)), color="0.4", label=label)
        ax.plot(
            list(sigmas),
            list(sigmas.values()),
            "o",
            color=COLOURS["companion"],
            markersize=9,
            label="measured",
        )
        ax.axhline(alone, color="0.4", linestyle="dotted", label=f"one stamp: {alone:.4f}")
        ax.set_ylim(0, None)
        ax.set(
            xlabel="dmag: offset to the companion (mag)",
            ylabel="noise σ of the blend (e⁻/s)",
            title="σ away from the galaxies",
        )
        ax.legend(loc="upper right")
        _title(fig, "Changing the companion's magnitude scales its noise as well")
    return fig


def figure_5_rows(pred: Table, galaxy: str) -> np.ndarray:
    """Which rows count for a galaxy in Figure 5.

    Parameters
    ----------
    pred : astropy.table.Table
        Predictions; without a column `case` all rows count.
    galaxy : {"central", "companion"}
        Central: detection cases "both" and "only central"; companion: "both" and "only companion".

    Returns
    -------
    array of bool, shape (n,)
    """
    if "case" not in pred.colnames:
        return np.ones(len(pred), bool)
    return np.isin(_cases(pred, "The predictions"), FIGURE_5_CASES[galaxy])


def recovered_magnitudes(blends: Table, predictions: Mapping[str, Table]) -> Figure:
    """Recovered against isolated magnitude, central and companion x methods (Figure 5).

    Parameters
    ----------
    blends : astropy.table.Table
        With `flux_central`, `flux_companion` and ``meta["zeropoint"]``.
    predictions : mapping of str to astropy.table.Table
        For each method `flux_central` and `flux_companion`, e-/s at the blends' zeropoint, in their order;
        optionally `case` (see `figure_5_rows`) and ``meta["matching"]``.

    Returns
    -------
    matplotlib.figure.Figure
        The four numbers in each panel are `blendkit.metrics.magnitude_scores` of the rows that count; the
        inset is the histogram of Δmag, recovered minus isolated.

    Raises
    ------
    ValueError
        Without blends or methods, a missing column or zeropoint, lengths that differ, or an unknown case.
    """
    _check(blends, predictions, "flux_central", "flux_companion")
    if "zeropoint" not in blends.meta:
        raise ValueError(
            'The blends have no zeropoint: set blends.meta["zeropoint"] to the AB zeropoint of the fluxes.'
        )
    mags = [blends.meta["zeropoint"] - 2.5 * np.log10(_floats(blends[f"flux_{g}"])) for g in FIGURE_5_CASES]
    low, high = min(m.min() for m in mags), max(m.max() for m in mags)
    limits = np.floor(2 * low) / 2, np.floor(2 * high) / 2 + 0.5
    n = len(predictions)
    shape, size = ((1, 2), (_WIDTH, 5.9)) if n == 1 else ((2, n), (max(9.5, 4 * n), 9.4))
    with _canvas(*size) as fig:
        axes = fig.subplots(*shape, sharex=True, sharey=True, squeeze=False)
        axes = axes.reshape(2, n)
        for column, pred in zip(axes.T, predictions.values(), strict=True):
            for ax, galaxy in zip(column, FIGURE_5_CASES, strict=True):
                _recovered_panel(ax, blends, pred, galaxy, limits)
        for name, ax in zip(predictions, axes[0], strict=True):
            ax.set_title(name if n > 1 else f"{name}: central galaxy")
        if n == 1:
            axes[1, 0].set_title(f"{next(iter(predictions))}: companion")
            for ax in axes.ravel():
                ax.set_xlabel("isolated magnitude (AB mag)")
            axes[0, 0].set_ylabel("recovered magnitude (AB mag)")
        else:
            for ax, galaxy in zip(axes[:, 0], ("central", "companion"), strict=True):
                ax.set_ylabel(f"{galaxy}: recovered (AB mag)")
            for ax in axes[1]:
                ax.set_xlabel("isolated magnitude (AB mag)")
        _title(fig, "Recovered against isolated magnitude: on the line is right, above it too faint")
        selected = any("case" in pred.colnames for pred in predictions.values())
        _caption(
            fig,
            f"Dashed: ±{OUTLIER_DMAG} mag, outliers lie beyond. Inset: Δmag = recovered − isolated (mag), "
            "the end bins hold all beyond. "
            + ("n: blends where the method says that it found both galaxies or only this one. " if selected else "")
            + _matching(predictions),
        )
    return fig


def detection_split(splits: Mapping[str, Table | tuple[Table, Table]]) -> Figure:
    """Shares of the detection cases, one bar for each set of blends (section 3.3).

    Parameters
    ----------
    splits : mapping of str to table or (blends, predictions)
        For each label the table that `blendkit.metrics.case_shares` gives, or what it takes.

    Returns
    -------
    matplotlib.figure.Figure
        Bars of shares in %; one-sigma errors in the text, and at the end of every share but the last.

    Raises
    ------
    ValueError
        Without a bar to draw, or a table without the columns case, share and share_err.
    """
    if not splits:
        raise ValueError('There is no split to draw, expected at least one: give {"label": (blends, predictions)}.')
    tables = {name: case_shares(*split) if isinstance(split, tuple) else split for name, split in splits.items()}
    for name, table in tables.items():
        _need(table, f"The shares of {name!r}", "case", "share", "share_err")
    with _canvas(_WIDTH, 1.1 * len(tables) + 1.9) as fig:
        ax = fig.subplots()
        for y, table in enumerate(tables.values()):
            _split_bar(ax, y, {row["case"]: (100 * row["share"], 100 * row["share_err"]) for row in table})
        ax.set_yticks(range(len(tables)), [textwrap.fill(name, 22) for name in tables], fontsize=13)
        ax.tick_params(axis="y", length=0)
        ax.set(
            xlim=(0, 100),
            ylim=(len(tables) - 0.4, -0.35),
            xlabel="share of the blends (%); error bars: one sigma of the share that ends there",
        )
        ax.spines["left"].set_visible(False)
        seen = {row["case"] for table in tables.values() for row in table if row["share"] > 0}
        handles = [Patch(color=colour, label=case) for case, colour in CASE_COLOURS.items() if case in seen]
        fig.legend(handles=handles, loc="outside lower center", ncols=5, handlelength=1.2, columnspacing=1.5)
        _title(fig, "Which of the two galaxies are detected?")
    return fig


def flux_kinds(blends: Table, predictions: Mapping[str, Table]) -> Figure:
    """Measured over isolated flux: how much of each galaxy's light each kind of flux holds (section 3.3).

    Parameters
    ----------
    blends, predictions
        As for `recovered_magnitudes`, for example what `blendkit.deblenders.sep_baselines` gives. All rows
        count, whatever their detection case.

    Returns
    -------
    matplotlib.figure.Figure
        Boxes: quartiles and median, whiskers from 5 to 95 %. The numbers are `blendkit.metrics.flux_scores`.

    Raises
    ------
    ValueError
        Without blends or methods, a missing column, or lengths that differ.
    """
    _check(blends, predictions, "flux_central", "flux_companion")
    n = len(predictions)
    with _canvas(_WIDTH, 1.4 * n + 2.3) as fig:
        axes = fig.subplots(1, 2, sharex=True, sharey=True)
        ends = [0.25, 4.0]
        for ax, galaxy in zip(axes, FIGURE_5_CASES, strict=True):
            true = _floats(blends[f"flux_{galaxy}"])
            for y, pred in enumerate(predictions.values()):
                ends += _kind_box(ax, y, true, _floats(pred[f"flux_{galaxy}"]), COLOURS[galaxy])
            ax.vlines(1, -0.25, n - 0.55, color="0.4", linestyle="dashed", linewidth=1.5, zorder=0)
            ax.set(title=galaxy, xscale="log", ylim=(n - 0.55, -0.65))
            ax.set_xlabel("measured / isolated flux (ratio, no unit)")
            ax.xaxis.set_major_locator(FixedLocator([d * 10.0**k for k in range(-4, 5) for d in (1, 2, 5)]))
            ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
            ax.xaxis.set_minor_formatter(NullFormatter())
        axes[0].set_xlim(max(min(ends) / 1.3, 1e-3), min(max(ends) * 1.3, 1e3))
        axes[0].set_yticks(range(n), [textwrap.fill(name, 16) for name in predictions], fontsize=13)
        for ax in axes:
            ax.tick_params(axis="y", length=0)
            ax.spines["left"].set_visible(False)
        _title(fig, "Measured over isolated flux: 1 is all of the galaxy's light and nothing else")
        _caption(
            fig,
            "Boxes: quartiles and median; whiskers: 5 to 95 %. Errors are |measured / isolated − 1|: "
            "their median and their mean (MAPE). " + _matching(predictions),
        )
    return fig


def learning_curve(history: Mapping[str, Sequence[float]]) -> Figure:
    """Losses of a training run after each epoch, and the flux errors where the network gives fluxes.

    Parameters
    ----------
    history : mapping of sequences
        ``bk.training.history(folder)``, or what `train` gives to its `progress`: `epoch`, `loss`, `val_loss`, and
        `val_mape_central` and `val_mape_companion` (%) where there are fluxes.

    Returns
    -------
    matplotlib.figure.Figure
        A dot marks the epoch of lowest validation loss, whose weights are kept.
    """
    epoch, valid = _floats(history["epoch"]), _floats(history["val_loss"])
    best = int(np.argmin(valid))
    names = history.colnames if hasattr(history, "colnames") else history
    errors = {galaxy: f"val_mape_{galaxy}" for galaxy in FIGURE_5_CASES if f"val_mape_{galaxy}" in names}
    with _canvas(_WIDTH, 4.2) as fig:
        loss, *flux = np.atleast_1d(fig.subplots(1, 2 if errors else 1))
        loss.plot(epoch, _floats(history["loss"]), marker=".", color="0.5", label="training")
        loss.plot(epoch, valid, marker=".", color=COLOURS["methods"][0], label="validation: other galaxies")
        loss.plot(epoch[best], valid[best], "o", markersize=11, color=COLOURS["methods"][0], label="best epoch so far")
        loss.set_ylabel("loss (what the network lowers)")
        for ax in flux:
            for galaxy, name in errors.items():
                ax.plot(epoch, _floats(history[name]), marker=".", color=COLOURS[galaxy], label=galaxy)
            ax.set_ylabel("flux error in validation, MAPE (%)")
        for ax in (loss, *flux):
            ax.set_xlabel("epoch")
            ax.set_xlim(0, max(2, len(epoch)) + 0.5)
            if min(line.get_ydata().min() for line in ax.lines) > 0:
                ax.set_yscale("log")
            ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.3g}"))
            ax.yaxis.set_minor_formatter(FuncFormatter(lambda y, _: f"{y:.3g}"))
            ax.tick_params(axis="y", which="minor", labelsize=12)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            ax.legend()
        _title(fig, "Learning: validation follows training down; where it turns up again, learning has become memory")
    return fig


@contextmanager
def _canvas(width: float, height: float) -> Iterator[Figure]:
    """A figure in this module's style.

    It is made by pyplot, without which notebooks show text instead of a picture, and leaves it at once.
    """
    with style():
        fig = plt.figure(figsize=(width, height), layout="constrained")
        plt.close(fig)
        yield fig
        fig.draw_without_rendering()  # ticks are made at the first drawing: they get this style, too


def _size(rows, columns, extra, aspect=1.0):
    """Width and height in inches of a figure of rows x columns pictures, with `extra` height for text."""
    width = min(_WIDTH, max(9.0, 0.8 + 2.8 * columns))
    return width, rows * aspect * min((width - 0.8) / columns, 3.2) + extra


def _title(fig, text):
    lines = -(-len(text) // int(7.4 * fig.get_figwidth()))
    fig.suptitle(textwrap.fill(text, len(text) // lines + 4) if lines > 1 else text)


def _caption(fig, text):
    fig.supxlabel(textwrap.fill(text, int(10.6 * fig.get_figwidth())), fontsize=12, color="#333333")


def _show(ax, picture, vmin=0, vmax=1):
    ax.imshow(picture, vmin=vmin, vmax=vmax)
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(visible=True, color="0.5")


def _outline(ax, mask, colour, line="solid"):
    if mask.any() and not mask.all():
        ax.contour(mask, levels=[0.5], colors=[colour], linestyles=[line], linewidths=1.8)


def _outlines(ax, central, companion, line="solid"):
    _outline(ax, central, COLOURS["central"])
    _outline(ax, companion, COLOURS["companion"], line)


def _scale_bar(ax, sample, used):
    """A bar of about a quarter of the picture, labelled in arcseconds, in the corner where least is used."""
    (x0, x1), (y0, y1) = ax.get_xlim(), ax.get_ylim()
    lengths = np.array([0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50])
    arcsec = lengths[np.argmin(np.abs(lengths - (x1 - x0) * sample.pixel_scale / 4))]
    used = used[int(y0 + 0.5) : int(y1 + 0.5), int(x0 + 0.5) : int(x1 + 0.5)]
    height, width = (-(-2 * size // 5) for size in used.shape)
    ends = {"lower": slice(height), "upper": slice(-height, None)}, {"left": slice(width), "right": slice(-width, None)}
    corners = {f"{v} {h}": used[ends[0][v], ends[1][h]].sum() for v in ends[0] for h in ends[1]}
    bar = AnchoredSizeBar(
        ax.transData, arcsec / sample.pixel_scale, f"{arcsec:g}″", min(corners, key=corners.get),
        pad=0.2, borderpad=0.3, sep=3, size_vertical=(y1 - y0) / 60, label_top=True,
    )  # fmt: skip
    bar.patch.set(alpha=0.85, edgecolor="none")
    ax.add_artist(bar)


def _mask_picture(mask):
    """Masks (ny, nx, 2) as colours (ny, nx, 3)."""
    palette = np.array([(1, 1, 1), *(to_rgb(COLOURS[c]) for c in ("central", "companion", "overlap"))])
    return palette[mask[..., 0] + 2 * mask[..., 1].astype(int)]


def _window(used, margin=6, square=False):
    """Limits in y and x of a window that holds all that is used, or of a square one about the centre."""
    limits = []
    for axis, size in enumerate(used.shape):
        places = np.flatnonzero(used.any(axis=1 - axis))
        limits.append((max(places[0] - margin, 0) - 0.5, min(places[-1] + margin, size - 1) + 0.5))
    if square:
        half = max(abs(end - size // 2) for pair, size in zip(limits, used.shape, strict=True) for end in pair)
        limits = [(max(size // 2 - half, -0.5), min(size // 2 + half, size - 0.5)) for size in used.shape]
    return limits


def _signed(value):
    return f"{value:+g}".replace("-", "−") if value else "0"


def _some(blends):
    if not len(blends):
        raise ValueError(
            "there are no blends to draw, expected at least one: make them with draw_blends or make_blends."
        )
    return blends


def _check(blends, predictions, *columns):
    _some(blends)
    if not predictions:
        raise ValueError('There is no prediction to draw, expected at least one: give {"name": table}.')
    _need(blends, "The blends", *columns)
    for method, pred in predictions.items():
        name = f"The predictions of {method!r}"
        _need(pred, name, *columns)
        _same_length(blends, pred, name)
        check_unseen(blends, pred, name)


def _matching(predictions):
    """How positions were matched, each sentence once."""
    said = {}
    for method, pred in predictions.items():
        said.setdefault(str(pred.meta.get("matching", "not stated")).rstrip("."), []).append(method)
    if len(said) == 1:
        return f"Positions: {next(iter(said))}."
    return "Positions: " + "; ".join(f"{', '.join(methods)}: {text}" for text, methods in said.items()) + "."


def _with_neighbours(sample, clean, n):
    """Ids from bright to faint, of those with neighbours well apart: of these the half with most replaced."""
    from scipy.ndimage import distance_transform_edt

    order = np.argsort(np.asarray(clean.catalog["mag"], float), kind="stable")
    order = order[:: -(-len(order) // _MOST_STAMPS)]
    ids = np.asarray(clean.catalog["id"])[order]
    before = sample[sample.index(ids)]
    holes = before.images != clean.images[order]
    size = np.count_nonzero(holes, axis=(1, 2))
    gap = [distance_transform_edt(~o)[h].min(initial=np.inf) for o, h in zip(before.own_masks(), holes, strict=True)]
    gap = np.where(size, gap, -1.0)
    n = min(max(n, 1), np.count_nonzero(size) or len(ids))
    apart = np.argsort(-gap, kind="stable")[: max(n, np.count_nonzero(gap >= min(_FAR, gap.max())))]
    large = apart[np.argsort(-size[apart], kind="stable")][: max(n, len(apart) // 2)]
    return ids[np.sort(large)[np.linspace(0, len(large) - 1, n).astype(int)]]


def _in_turn(reasons):
    """Positions, so that each reason comes up once before any comes up again."""
    turns = defaultdict(count)
    return np.argsort([next(turns[reason]) for reason in reasons], kind="stable")


def _first_reason(reasons):
    """The first of several, and how many more there are."""
    first, *more = reasons.split("; ")
    return textwrap.fill(first + (f" (+\N{NO-BREAK SPACE}{len(more)}\N{NO-BREAK SPACE}more)" if more else ""), 25)


def _robust_sigma(values):
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) if len(values) else np.nan


def _noise(sample):
    """Standard deviation of a sample's sky, e-/s."""
    sigma = _robust_sigma(sample.sky[:16].ravel())
    return sigma if sigma > 0 else 0.006


def _far_from(used):
    """Where only noise is: pixels more than `_FAR` from every segment."""
    from scipy.ndimage import distance_transform_edt

    return distance_transform_edt(~used) > _FAR if used.any() else np.ones(used.shape, bool)


def _covered(sample, row):
    """Where the companion's stamp lies on the frame of one blend."""
    covered = np.zeros(sample.images.shape[1:], bool)
    orient = row["orient_companion"] if "orient_companion" in row.colnames else 0
    place(covered, np.ones_like(covered), int(orient), int(row["dy"]), int(row["dx"]), np.zeros_like(covered))
    return covered


def _edge_pixels(sample, blends):
    """Empty pixels near the edge of the companion's stamp.

    A dictionary: their signed distance from it (``offset``, inside > 0), their values under each fill, the
    number of blends, and the row of the blend that shows most of what was filled.
    """
    from scipy.ndimage import distance_transform_edt

    shifted = np.flatnonzero(np.asarray(_some(blends)["dx"]) | np.asarray(blends["dy"]))[:_MOST_BLENDS]
    if not len(shifted):
        raise ValueError("none of the blends is shifted, so none has an edge: give blends with dx or dy other than 0.")
    used = blends[shifted]
    images, masks, _ = render(sample, used, fill="zero")
    images = {"zero": images, "sky": render(sample, used, masks=False)[0]}
    offsets, near = np.empty(masks.shape[:3]), np.empty(masks.shape[:3], bool)
    for row, mask, offset, where in zip(used, masks, offsets, near, strict=True):
        covered = _covered(sample, row)
        offset[:] = np.where(covered, distance_transform_edt(covered) - 0.5, 0.5 - distance_transform_edt(~covered))
        where[:] = _far_from(mask.any(axis=-1)) & (np.abs(offset) < _EDGE_REACH)
        where[[0, -1]] = where[:, [0, -1]] = False  # a turn of the central galaxy leaves its own edge there
    if not ((offsets[near] > 0).any() and (offsets[near] < 0).any()):
        raise ValueError(
            f"the {len(used)} shifted blends have no sky on both sides of an edge: give more or larger ones."
        )
    outside = np.count_nonzero(near & (offsets < 0), axis=(1, 2))
    return {
        "offset": offsets[near],
        "n_blends": int(np.count_nonzero(near.any(axis=(1, 2)))),
        "shown": int(shifted[outside.argmax()]),
        **{fill: stack[near].astype(float) for fill, stack in images.items()},
    }


def _edge_sigmas(pixels):
    inside = pixels["offset"] > 0
    sides = {"inside": inside, "outside": ~inside}
    sigmas = {f"{f}_{s}": _robust_sigma(pixels[f][where]) for f in ("zero", "sky") for s, where in sides.items()}
    return sigmas | {"n_blends": pixels["n_blends"]}


def _recovered_panel(ax, blends, pred, galaxy, limits):
    rows, colour = figure_5_rows(pred, galaxy), COLOURS[galaxy]
    zeropoint = blends.meta["zeropoint"]
    true = zeropoint - 2.5 * np.log10(_floats(blends[f"flux_{galaxy}"])[rows])
    flux = _floats(pred[f"flux_{galaxy}"])[rows]
    flux[~(np.isfinite(flux) & (flux > 0))] = np.nan
    measured = zeropoint - 2.5 * np.log10(flux)
    got = magnitude_scores(true, measured)
    low, high = limits
    alpha = np.clip(15 / np.sqrt(max(len(true), 1)), 0.3, 0.7)
    ax.plot(true, measured, ".", color=colour, markersize=5, alpha=alpha, markeredgewidth=0, rasterized=True)
    ax.plot(limits, limits, color="black", linewidth=1.5)
    for shift in (-OUTLIER_DMAG, OUTLIER_DMAG):
        ax.plot(limits, np.add(limits, shift), color="black", linewidth=1, linestyle="dashed")
    frame = low - 2, high + 2.5
    ax.set(xlim=limits, ylim=frame)
    off = int(np.count_nonzero((measured < frame[0]) | (measured > frame[1])))
    ax.xaxis.set_major_locator(MultipleLocator(1))
    ax.yaxis.set_major_locator(MultipleLocator(2))
    notes = {"failed": got["failed"], "off the frame": off}
    more = ", ".join(f"{count:,} {what}" for what, count in notes.items() if count)
    more = f"\n({more})" if more else ""
    bias = f"{got['bias']:.3f}".replace("-", "−")
    numbers = (
        f"\nbias {bias} mag\nscatter {got['scatter']:.3f} mag\n"
        f"outliers {100 * got['outliers']:.2f} %\nMAPE (mag) {got['mape']:.2f} %"
    )
    ax.text(
        0.03, 0.98, f"n {got['n']:,} of {len(blends):,}{more}{numbers if got['n'] else ''}",
        transform=ax.transAxes, va="top",
        bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 2},
    )  # fmt: skip
    inset = ax.inset_axes((0.56, 0.1, 0.42, 0.23))
    dmag = (measured - true)[np.isfinite(measured)]
    inset.hist(np.clip(dmag, -1.49, 1.49), bins=np.linspace(-1.5, 1.5, 31), color=colour)
    inset.axvline(0, color="black", linewidth=1)
    inset.set(xlim=(-1.5, 1.5), xticks=(-1, 0, 1), yticks=[])
    inset.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _signed(x)))
    inset.spines["left"].set_visible(False)
    inset.patch.set_alpha(0.8)
    inset.set_title("Δmag (mag)", fontsize=12, pad=2)


def _split_bar(ax, y, shares):
    left, used, below = 0.0, 0.0, []  # left end of the share, and of what no error bar covers
    for case, colour in CASE_COLOURS.items():
        share, error = shares.get(case, (0.0, np.nan))
        if not share > 0:
            continue
        right = left + share
        ax.barh(y, share, left=left, height=0.5, color=colour, edgecolor="white")
        text = f"{share:.1f}" + (f" ± {error:.1f}" if np.isfinite(error) else "") + " %"
        bar = error if np.isfinite(error) and right < 99.99 else 0.0
        if bar:
            ax.errorbar(right, y, xerr=bar, color="black", capsize=4, linewidth=1.8)
        if right - bar - used > 16:
            colour = "black" if case in ("more", "none") else "white"
            ax.text((used + right - bar) / 2, y, text, ha="center", va="center", color=colour, weight="bold")
        else:
            below.append(f"{case} {text}".replace(" ", "\N{NO-BREAK SPACE}"))
        left, used = right, right + bar
    ax.text(100, y + 0.29, textwrap.fill(",  ".join(below), 100), ha="right", va="top")


def _kind_box(ax, y, true, measured, colour):
    got = flux_scores(true, measured)
    ratio = measured / true
    ratio = ratio[np.isfinite(ratio) & (ratio > 0)]
    numbers = f"median error {got['median']:.1f} %, MAPE (flux) {got['mape']:.1f} %\n" if got["n"] else ""
    failed = f" ({got['failed']:,} failed)" if got["failed"] else ""
    ax.text(
        0.01, y - 0.27, f"{numbers}n {got['n']:,}{failed}",
        transform=ax.get_yaxis_transform(), va="bottom",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )  # fmt: skip
    if len(ratio):
        ax.boxplot(
            [ratio], positions=[y], orientation="horizontal", widths=0.4, whis=(5, 95), showfliers=False,
            manage_ticks=False, patch_artist=True,
            boxprops={"facecolor": colour, "alpha": 0.55, "edgecolor": "black"},
            medianprops={"color": "black", "linewidth": 3}, whiskerprops={"linewidth": 2},
        )  # fmt: skip
    return list(np.percentile(ratio, (5, 95))) if len(ratio) else []


def examples(blends: Table, n: int = 3) -> Table:
    """A few blends from close to far apart, with most of the companion's light on the stamp.

    Parameters
    ----------
    blends : astropy.table.Table
        With `distance` and `inside`, as from `draw_blends`.
    n : int
        How many at most.

    Returns
    -------
    astropy.table.Table
        Rows of `blends`; of those with at least nine tenths inside where there are any.
    """
    rows = np.flatnonzero(_floats(_some(blends)["inside"]) >= 0.9)
    rows = rows if len(rows) else np.arange(len(blends))
    rows = rows[np.argsort(_floats(blends["distance"])[rows], kind="stable")]
    n = min(max(n, 1), len(rows))
    return blends[rows[((np.arange(n) + 0.5) / n * len(rows)).astype(int)]]


def symmetry(sample: Sample, blends: Table, n: int = 2) -> Figure:
    """What is left of a blend when all that looks the same after a half turn is taken away.

    Parameters
    ----------
    sample : Sample
    blends : astropy.table.Table
        Recipes; the first `n` are shown.
    n : int

    Returns
    -------
    matplotlib.figure.Figure
        For each blend: itself, turned by 180 degrees about the centre, the fainter of the two in each pixel, what is
        left over, and the companion alone.

    Raises
    ------
    ValueError
        Without blends, or where the sample does not hold their galaxies.
    """
    blends = _some(blends)[: max(n, 1)]
    images, masks, fluxes = render(sample, blends)
    companions, noise = render_parts(sample, blends)[:, 1], _noise(sample)
    window = _window(masks.any(axis=(0, 3)), square=True)
    names = ("blend", "turned by 180°", "fainter of the two", "left over", "companion alone")
    with _canvas(*_size(len(blends), 5, extra=1.5 + 0.2 * len(blends))) as fig:
        axes = fig.subplots(len(blends), 5, squeeze=False)
        for line, image, companion, flux in zip(axes, images, companions, fluxes[:, 1], strict=True):
            turned = np.empty_like(image)
            place(turned, image, 2, 0, 0, image)
            fainter = np.minimum(image, turned)
            left = image - fainter
            for ax, picture in zip(line, (image, turned, fainter, left, companion), strict=True):
                _show(ax, stretch(picture, noise))
                ax.plot(sample.centre[1], sample.centre[0], "+", color=COLOURS["central"], markersize=9)
                ax.set(ylim=window[0], xlim=window[1])
            line[3].set_xlabel(f"{left[left > 5 * noise].sum():.3g} e⁻/s")
            line[4].set_xlabel(f"{flux:.3g} e⁻/s", color=COLOURS["companion"])
        for ax, name in zip(axes[0], names, strict=True):
            ax.set_title(name)
        _scale_bar(axes[0, 0], sample, masks[0].any(axis=-1))
        _title(fig, "What does not look the same after a half turn belongs to the other galaxy")
        _caption(
            fig,
            f"+: the centre. Below “left over”: the light in its pixels above {5 * noise:.3f} e⁻/s, 5 times the noise "
            "of a stamp. Below “companion alone”: its true flux.",
        )
    return fig


def sum_and_share(blends: Table, images: np.ndarray) -> Figure:
    """All light of each blend against both true fluxes together, and half of it against each of them.

    Parameters
    ----------
    blends : astropy.table.Table
        With `flux_central` and `flux_companion`.
    images : array of float, shape (n, ny, nx), e-/s
        Their pixels.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        Without blends, or not as many images.
    """
    if len(_some(blends)) != len(images):
        raise ValueError(f"{len(images)} images were given for {len(blends)} blends, expected one each.")
    total = np.asarray(images, float).sum(axis=(1, 2))
    true = np.stack([_floats(blends[f"flux_{galaxy}"]) for galaxy in FIGURE_5_CASES], 1)
    both, each = (flux_scores(t, m) for t, m in ((true.sum(1), total), (true.T, np.stack([total / 2] * 2))))
    with _canvas(_WIDTH, 5.6) as fig:
        axes = fig.subplots(1, 2, sharex=True, sharey=True)
        axes[0].plot(true.sum(1), total, ".", color=COLOURS["overlap"], alpha=0.6)
        for k, galaxy in enumerate(FIGURE_5_CASES):
            axes[1].plot(true[:, k], total / 2, ".", color=COLOURS[galaxy], alpha=0.5, label=galaxy)
        ends = np.array([true.min() / 1.3, true.sum(1).max() * 1.3])
        for ax, got in zip(axes, (both, each), strict=True):
            ax.plot(ends, ends, color="black", linewidth=1.5)
            ax.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
            ax.text(
                0.03, 0.97, f"median error {got['median']:.1f} %\nMAPE {got['mape']:.1f} %",
                transform=ax.transAxes, va="top",
            )  # fmt: skip
            for axis in (ax.xaxis, ax.yaxis):
                _plain_log(axis)
        axes[0].set(title="the sum", xlabel="both true fluxes together (e⁻/s)", ylabel="all light of the blend (e⁻/s)")
        axes[1].set(
            title="the share", xlabel="true flux of one galaxy (e⁻/s)", ylabel="half of the blend's light (e⁻/s)"
        )
        axes[1].yaxis.set_tick_params(labelleft=True)
        axes[1].legend(loc="lower right", markerscale=2, handletextpad=0)
        _title(fig, "The sum of both fluxes is easy; who owns which share of it is the question")
    return fig


def loss_curves(histories: Mapping[str, Mapping[str, Sequence[float]]], same_scale: bool = False) -> Figure:
    """Losses of several training runs after each epoch, a panel each.

    Parameters
    ----------
    histories : mapping of str to mapping of sequences
        For each label what ``bk.training.history(folder)`` gives: `epoch`, `loss` and `val_loss`.
    same_scale : bool
        Whether all panels share one scale; for runs with the same loss.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        Without a run.
    """
    if not histories:
        raise ValueError('There is no run to draw, expected at least one: give {"label": bk.training.history(folder)}.')
    lines = -(-len(histories) // 2)
    with _canvas(_WIDTH, 3.6 * lines + 1.2) as fig:
        axes = fig.subplots(lines, 2, squeeze=False, sharex=same_scale, sharey=same_scale).ravel()
        for ax, (name, history) in zip(axes, histories.items(), strict=False):
            epoch, loss, valid = (_floats(history[key]) for key in ("epoch", "loss", "val_loss"))
            best = int(np.argmin(valid))
            ax.plot(epoch, loss, marker=".", color="0.5", label="training")
            ax.plot(epoch, valid, marker=".", color=COLOURS["methods"][0], label="validation: other galaxies")
            ax.plot(epoch[best], valid[best], "o", markersize=11, color=COLOURS["methods"][0], label="best epoch: kept")
            ax.set(title=name, xlabel="epoch", ylabel="loss (what the network lowers)")
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            if min(loss.min(), valid.min()) > 0:
                ax.set_yscale("log")
                _plain_log(ax.yaxis, (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0))
        for ax in axes[len(histories) :]:
            ax.set_axis_off()
        fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        _title(fig, "What is lowered in training has to fall on galaxies that the network never learned from")
    return fig


def activations(
    network: keras.Model, sample: Sample, blend: Table, names: Sequence[str] = ("conv1", "conv2", "conv3")
) -> Figure:
    """What the first layers of a network make of a blend: the maps in which most is seen (section 3.1).

    Parameters
    ----------
    network : keras.Model
        With layers of these names that give maps, such as `blendkit.models.blend2flux`.
    sample : Sample
    blend : astropy.table.Table
        Recipes, of which the first is shown.
    names : sequence of str
        Of the layers, a row of pictures each.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        Without a blend, or where the network has no such layer.
    """
    import keras

    (image,), (mask,), _ = render(sample, _some(blend)[:1])
    inner = keras.Model(network.input, {name: network.get_layer(name).output for name in names})
    answers = inner(image[None, ..., None], training=False)
    maps = [keras.ops.convert_to_numpy(answers[name])[0].astype(float) for name in names]
    window, columns = _window(mask.any(axis=-1), margin=20, square=True), 4
    with _canvas(_WIDTH, 1.9 * len(names) + 1.2) as fig:
        left, right = fig.subfigures(1, 2, width_ratios=(1, 1.9))
        ax = left.subplots()
        _show(ax, stretch(image, _noise(sample)))
        _outlines(ax, mask[..., 0], mask[..., 1])
        ax.set(ylim=window[0], xlim=window[1], title="what goes in")
        _scale_bar(ax, sample, mask.any(axis=-1))
        axes = right.subplots(len(names), columns, squeeze=False)
        for line, name, layer in zip(axes, names, maps, strict=True):
            order = np.argsort(-layer.std(axis=(0, 1)))[:columns]
            for ax, k in zip(line, order, strict=False):
                _show(ax, np.sqrt(np.clip(layer[..., k], 0, None) / max(layer[..., k].max(), 1e-12)))
                ax.images[0].set_extent((-0.5, image.shape[1] - 0.5, -0.5, image.shape[0] - 0.5))
                ax.set(ylim=window[0], xlim=window[1])
            for ax in line[len(order) :]:
                ax.set_axis_off()
            ny, nx, n = layer.shape
            silent = np.count_nonzero(layer.max(axis=(0, 1)) <= 0)
            line[0].set_ylabel(f"{name}\n{ny} × {nx} px\n{silent} of {n} silent")
        _title(fig, "Each map is one question that the network asks of every place in the picture")
        _caption(
            fig, "Dark: the answer is large (shades are square roots, each map on its own scale). Silent: all zero."
        )
    return fig


def masks_seen(sample: Sample, blends: Table, networks: Mapping[str, keras.Model], n: int = 3) -> Figure:
    """Masks that networks give for a few blends, as colours, beside the true outlines.

    Parameters
    ----------
    sample : Sample
    blends : astropy.table.Table
        Recipes; the first `n` are shown.
    networks : mapping of str to keras.Model
        For each label a network that gives masks.
    n : int

    Returns
    -------
    matplotlib.figure.Figure
        The stronger the colour, the surer the network; the overlap has its own. Below: intersection over union with
        the true masks, above a threshold of 0.5.

    Raises
    ------
    ValueError
        Without blends.
    """
    blends = _some(blends)[: max(n, 1)]
    images, masks, _ = render(sample, blends)
    answers = {name: _answers(network, images)["masks"] for name, network in networks.items()}
    scores = {name: iou(masks, answer > 0.5) for name, answer in answers.items()}
    window, noise = _window(masks.any(axis=(0, 3)), square=True), _noise(sample)
    columns = 2 + len(answers)
    with _canvas(*_size(len(blends), columns, extra=1.5 + 0.3 * len(blends))) as fig:
        axes = fig.subplots(len(blends), columns, squeeze=False)
        for i, line in enumerate(axes):
            _show(line[0], stretch(images[i], noise))
            _show(line[1], _mask_picture(masks[i]))
            for ax, (name, answer) in zip(line[2:], answers.items(), strict=True):
                _show(ax, _mixed(answer[i]))
                ax.set_xlabel("IoU " + " / ".join("none" if np.isnan(s) else f"{s:.2f}" for s in scores[name][i]))
            for ax in line:
                ax.set(ylim=window[0], xlim=window[1])
        for ax, name in zip(axes[0], ("blend", "true masks", *answers), strict=True):
            ax.set_title(textwrap.fill(name, 20))
        _scale_bar(axes[0, 0], sample, masks[0].any(axis=-1))
        _title(fig, "Which pixels belong to whom? The stronger the colour, the surer the network")
        colours = {"central": (1, 0), "companion": (0, 1), "both": (1, 1), "undecided": (0.5, 0.5)}
        handles = [Patch(color=_mixed(colour), label=name) for name, colour in colours.items()]
        fig.legend(handles=handles, loc="outside lower center", ncols=4)
    return fig


def shares_seen(sample: Sample, blends: Table, network: keras.Model, n: int = 3) -> Figure:
    """The share of each pixel's light that a network gives to either galaxy, and the galaxies that come of it.

    Parameters
    ----------
    sample : Sample
    blends : astropy.table.Table
        Recipes; the first `n` are shown.
    network : keras.Model
        One that gives images, such as `blendkit.models.fractions`.
    n : int

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        Without blends.
    """
    from scipy.ndimage import uniform_filter

    blends = _some(blends)[: max(n, 1)]
    images, masks, fluxes = render(sample, blends)
    parts, noise = render_parts(sample, blends), _noise(sample)
    answer = _answers(network, images)
    window = _window(masks.any(axis=(0, 3)), square=True)
    light = images[..., None]
    shares = np.divide(answer["images"], light, out=np.zeros_like(answer["images"]), where=light != 0)
    shares *= np.clip(uniform_filter(images, (0, 3, 3)) / (3 * noise), 0, 1)[..., None]
    names = ("blend", "shares", "central:\nnetwork", "central:\ntruth", "companion:\nnetwork", "companion:\ntruth")
    with _canvas(*_size(len(blends), 6, extra=1.5 + 0.2 * len(blends))) as fig:
        axes = fig.subplots(len(blends), 6, squeeze=False)
        for i, line in enumerate(axes):
            _show(line[1], _mixed(shares[i], exclusive=True))
            pictures = (
                images[i],
                None,
                answer["images"][i, ..., 0],
                parts[i, 0],
                answer["images"][i, ..., 1],
                parts[i, 1],
            )
            for ax, picture in zip(line, pictures, strict=True):
                if picture is not None:
                    _show(ax, stretch(picture, noise))
                ax.set(ylim=window[0], xlim=window[1])
            for k, galaxy in enumerate(FIGURE_5_CASES):
                said = f"{answer['fluxes'][i, k]:.3g} e⁻/s", f"{fluxes[i, k]:.3g} e⁻/s"
                for ax, text in zip(line[2 + 2 * k : 4 + 2 * k], said, strict=True):
                    ax.set_xlabel(text, color=COLOURS[galaxy])
        for ax, name in zip(axes[0], names, strict=True):
            ax.set_title(name)
        _scale_bar(axes[0, 0], sample, masks[0].any(axis=-1))
        _title(fig, "Whose light is it? Share of the pixel times light of the pixel gives each galaxy back")
        colours = {"all the central's": (1, 0), "all the companion's": (0, 1), "half each": (0.5, 0.5)}
        handles = [Patch(color=_mixed(colour, exclusive=True), label=name) for name, colour in colours.items()]
        handles.append(Patch(facecolor="white", edgecolor="0.5", label="sky, or no light to share"))
        fig.legend(handles=handles, loc="outside lower center", ncols=4)
    return fig


def leak_errors(blends: Table, honest: Table, leaky: Table) -> dict[str, float]:
    """What two networks get in the same exam, of which one learned from the exam's own galaxies.

    Parameters
    ----------
    blends : astropy.table.Table
        The exam: `central`, `companion` (ids), `flux_central`, `flux_companion`.
    honest, leaky : astropy.table.Table
        Predictions of the network that never saw these galaxies, and of the one that did.

    Returns
    -------
    dict
        ``n``, ``failed``: fluxes that both networks gave, and others; ``honest``, ``leaky``: MAPE (%) of the n;
        ``difference``: honest - leaky; each of the three with ``_err``, one sigma from resampling galaxies.

    Raises
    ------
    ValueError
        A missing column, or lengths that differ.
    """
    _need(_some(blends), "The blends", "central", "companion", "flux_central", "flux_companion")
    ids = np.concatenate([np.asarray(blends[galaxy]) for galaxy in FIGURE_5_CASES])
    true, *measured = (
        np.concatenate([_floats(table[f"flux_{galaxy}"]) for galaxy in FIGURE_5_CASES])
        for table in (blends, honest, leaky)
    )
    for pred in (honest, leaky):
        _same_length(blends, pred, "The predictions")
    good = np.all([np.isfinite(flux) & (flux > 0) for flux in measured], axis=0)
    errors = {
        name: 100 * np.abs(flux / true - 1)[good] for name, flux in zip(("honest", "leaky"), measured, strict=True)
    }
    errors["difference"] = errors["honest"] - errors["leaky"]
    got = {"n": int(good.sum()), "failed": int((~good).sum())}
    weights = resample(ids[good], 400) if good.any() else None
    for name, error in errors.items():
        got[name] = float(error.mean()) if good.any() else np.nan
        got[f"{name}_err"] = float((weights @ error / weights.sum(1)).std(ddof=1)) if good.any() else np.nan
    return got


def leak(blends: Table, honest: Table, leaky: Table) -> Figure:
    """The same exam for a network that never saw its galaxies and for one that learned from them (section 2.3).

    Parameters
    ----------
    blends, honest, leaky
        As for `leak_errors`.

    Returns
    -------
    matplotlib.figure.Figure
        The title says what the numbers say.

    Raises
    ------
    ValueError
        As `leak_errors`.
    """
    got = leak_errors(blends, honest, leaky)
    d, e = got["difference"], got["difference_err"]
    if d > 2 * e:
        title = f"The leak flatters by {d:.1f} ± {e:.1f} points"
    elif d < -2 * e:
        title = f"No flattery here: the leaky network is worse by {-d:.1f} ± {e:.1f} points"
    else:
        title = f"Here the leak's effect, {_signed(round(d, 1))} ± {e:.1f} points, is within the noise"
    names = {"honest": "learned from\nother galaxies", "leaky": "learned from the\nexam's own galaxies"}
    with _canvas(_WIDTH, 3.3) as fig:
        ax = fig.subplots()
        for y, (name, colour) in enumerate(zip(names, COLOURS["methods"][:2], strict=True)):
            value, error = got[name], got[f"{name}_err"]
            ax.barh(y, value, xerr=error, height=0.55, color=colour, capsize=5)
            ax.text(value + error, y, f"  {value:.1f} ± {error:.1f} %", va="center")
        ax.set_yticks(range(2), names.values())
        ax.tick_params(axis="y", length=0)
        ax.set(xlabel="flux error in the same exam, MAPE (%)", ylim=(1.5, -0.5))
        ax.margins(x=0.2)
        _title(fig, title)
    return fig


def _plain_log(axis, times=(1.0, 2.0, 5.0)):
    """Plain numbers at so many times each power of ten."""
    axis.set_major_locator(LogLocator(subs=times))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _mixed(parts, exclusive=False):
    """Two maps from 0 to 1, (ny, nx, 2), as colours (ny, nx, 3), which are strong where the maps are."""
    a, b = np.clip(np.moveaxis(np.asarray(parts, float), -1, 0), 0, 1)
    weights = (1 - a - b, a, b, 0 * a) if exclusive else ((1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b)
    palette = np.array([(1, 1, 1), *(to_rgb(COLOURS[c]) for c in ("central", "companion", "overlap"))])
    return np.clip(np.stack(weights, -1) @ palette, 0, 1)


def _answers(network, images):
    """All that a network gives for a few blends, as arrays by name."""
    import keras

    from .models import as_dict

    answers = as_dict(network(images[..., None], training=False))
    return {name: np.asarray(keras.ops.convert_to_numpy(answer), np.float32) for name, answer in answers.items()}
