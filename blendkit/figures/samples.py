"""Stamps, blends and their noise (Figures 1 and 2)."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ..blending import make_blends, place, render, render_parts
from ..metrics import (
    _floats,
    _need,
)
from .base import (
    COLOURS,
    FAR,
    FEWEST,
    SEGMENTS,
    WIDTH,
    canvas,
    draw_outline,
    draw_outlines,
    draw_scale_bar,
    far_from,
    grid_size,
    mask_picture,
    put_caption,
    put_legend,
    put_title,
    robust_sigma,
    show_stamp,
    signed,
    sky_noise,
    some_blends,
    stretch,
    window_around,
)

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.figure import Figure

    from ..samples import Sample

_KINDS = "#E69F00", "#666666", "#56B4E9"  # companion brighter, alike, fainter
_EDGE_REACH = 20  # pixels on both sides of a fill's edge
_MOST_BLENDS = 200
_MOST_STAMPS = 500


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
    own, noise = sample.own_masks(), sky_noise(sample)
    with canvas(*grid_size(2, len(ids), extra=1.75)) as fig:
        axes = fig.subplots(2, len(ids), squeeze=False)
        for (top, bottom), b, a in zip(axes.T, before, after, strict=True):
            show_stamp(top, stretch(sample.images[b], noise))
            show_stamp(bottom, stretch(clean.images[a], noise))
            draw_outlines(top, own[b], (sample.segmaps[b] != 0) & ~own[b])
            draw_outlines(bottom, own[b], sample.images[b] != clean.images[a], "dotted")
            row = sample.catalog[b]
            top.set_title(f"galaxy {row['id']}\n{row['morphology']}, AB {row['mag']:.1f} mag")
        for ax, label in zip(axes[:, 0], ("before", "after cleaning"), strict=True):
            ax.set_ylabel(label)
        draw_scale_bar(axes[0, 0], sample, sample.segmaps[before[0]] != 0)
        put_title(fig, "Cleaning leaves the galaxy in the centre and replaces its neighbours by sky")
        replaced = Line2D([], [], color=COLOURS["companion"], linestyle="dotted", label="replaced by sky")
        fig.legend(handles=[*SEGMENTS, replaced], loc="outside lower center", ncols=3)
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
        with canvas(WIDTH, 1.6) as fig:
            put_title(fig, f"Cleaning dropped none of {len(report)} stamps")
            fig.text(0.5, 0.25, "There is nothing to show here.", ha="center")
        return fig
    total = len(dropped)
    dropped = dropped[_in_turn([str(reason).split("; ")[0] for reason in dropped["reason"]])[:n]]
    own, noise, rows = sample.own_masks(), sky_noise(sample), sample.index(dropped["id"])
    reasons = [_first_reason(str(reason)) for reason in dropped["reason"]]
    columns = min(4, len(dropped))
    lines = -(-len(dropped) // columns)
    tallest = max(reason.count("\n") + 1 for reason in reasons)
    with canvas(*grid_size(lines, columns, extra=1 + (0.45 + 0.2 * tallest) * lines)) as fig:
        axes = fig.subplots(lines, columns, squeeze=False).ravel()
        for ax, row, reason in zip(axes, rows, reasons, strict=False):
            show_stamp(ax, stretch(sample.images[row], noise))
            draw_outlines(ax, own[row], (sample.segmaps[row] != 0) & ~own[row])
            ax.set_title(f"galaxy {sample.catalog['id'][row]}, AB {sample.catalog['mag'][row]:.1f} mag", fontsize=12)
            ax.set_xlabel(reason, fontsize=12)
        for ax in axes[len(rows) :]:
            ax.set_axis_off()
        draw_scale_bar(axes[0], sample, sample.segmaps[rows[0]] != 0)
        shown = "" if len(rows) == total else f"; {len(rows)} of them"
        put_title(fig, f"Cleaning dropped {total} of {len(report)} stamps{shown}, each with the reason")
        fig.legend(handles=SEGMENTS, loc="outside lower center", ncols=2)
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
    noise, x0 = sky_noise(sample), sample.centre[1]
    window = window_around(masks.any(axis=(0, 3)))
    aspect = np.ptp(window[0]) / np.ptp(window[1])
    larger = max(blends["r_eff_central"][0], blends["r_eff_companion"][0])
    with canvas(*grid_size(len(dmags), len(distances), extra=1.6, aspect=aspect)) as fig:
        axes = fig.subplots(len(dmags), len(distances), squeeze=False)
        for ax, image, mask, row in zip(axes.ravel(), images, masks, blends, strict=True):
            show_stamp(ax, stretch(image, noise))
            draw_outlines(ax, mask[..., 0], mask[..., 1], "dashed")
            ax.set_xlim(*window[1])
            ax.set_ylim(*window[0])
            ax.plot(x0, sample.centre[0], "+", color=COLOURS["central"], markersize=9)
            ax.plot(x0 + row["dx"], sample.centre[0], "x", color=COLOURS["companion"], markersize=8)
        for ax, pixels in zip(axes[0], distances, strict=True):
            ax.set_title(f"{pixels} px = {pixels * sample.pixel_scale:.2f}″\n= {pixels / larger:.1f} × larger r_eff")
        for ax, row in zip(axes[:, 0], blends[:: len(distances)], strict=True):
            ax.set_ylabel(f"companion\nAB {row['mag_companion']:.1f} mag\n(dmag {signed(row['dmag'])})")
        draw_scale_bar(axes[-1, 0], sample, masks[-len(distances)].any(axis=-1))
        put_title(fig, "The closer the two, the harder to tell them apart")
        put_caption(
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
    blends = some_blends(blends)[: max(n, 1)]
    images, masks, fluxes = render(sample, blends, fill=fill)
    parts, noise = render_parts(sample, blends, fill=fill), sky_noise(sample)
    window = window_around(masks.any(axis=(0, 3)), square=True)
    with canvas(*grid_size(len(blends), 4, extra=1.3 + 0.3 * len(blends))) as fig:
        axes = fig.subplots(len(blends), 4, squeeze=False)
        for line, row, image, part, mask, flux in zip(axes, blends, images, parts, masks, fluxes, strict=True):
            for ax, picture in zip(line, (image, *part), strict=False):
                show_stamp(ax, stretch(picture, noise))
            draw_outlines(line[0], mask[..., 0], mask[..., 1])
            show_stamp(line[3], mask_picture(mask))
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
        draw_scale_bar(axes[0, 0], sample, masks[0].any(axis=-1))
        put_title(fig, "A blend is the sum of two galaxies that we know one by one")
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
    reach = 4 * sky_noise(sample) * np.sqrt(2)
    names = {"zero": "zero fill (the paper's tools)", "sky": "sky fill (blendkit's default)"}
    colours = {"zero": COLOURS["companion"], "sky": COLOURS["central"]}
    with canvas(WIDTH, 4.9) as fig:
        axes = fig.subplots(1, 3, width_ratios=(1, 1, 1.35))
        for ax, fill in zip(axes, names, strict=False):
            (image,), (mask,), _ = render(sample, row, fill=fill)
            show_stamp(ax, image, vmin=-reach, vmax=reach)
            draw_outline(ax, covered, colours[fill], "dashed")
            ax.set_title(names[fill])
            ax.set_xlabel(f"shades: −{reach:.3f} to +{reach:.3f} e⁻/s")
        draw_scale_bar(axes[0], sample, mask.any(axis=-1))
        ax = axes[2]
        bins = np.arange(-_EDGE_REACH, _EDGE_REACH + 1, 2)
        for fill, marker in zip(names, ("o", "s"), strict=True):
            profile = [
                robust_sigma(pixels[fill][(pixels["offset"] > low) & (pixels["offset"] < low + 2)]) for low in bins[:-1]
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
        put_title(fig, "Zero fill leaves a step in the noise that tells where the companion's stamp was put")
        put_caption(
            fig,
            "Dashed: the edge of the companion's stamp; beyond it lies what was filled. "
            f"σ: {sigmas['n_blends']} blends, pixels more than {FAR} px from both galaxies' segments.",
        )
    return fig


def detection_shares(blends: Table, n_detected: Sequence[int], bins: int = 8) -> Table:
    """How often two galaxies are found as two, by distance and by which of them is brighter.

    Parameters
    ----------
    blends : astropy.table.Table
        Recipes, with `distance` and `delta_mag`.
    n_detected : array of int, shape (n,)
        Objects found in each, as in the table of `blendkit.deblenders.SEP`.
    bins : int
        Number of bins in distance, each with as many blends as the others.

    Returns
    -------
    astropy.table.Table
        `companion` ("brighter" by more than 0.5 mag, "alike", "fainter"), `low` and `high` edge of the bin and mean
        `distance` in pixels, `n` blends, `two` (share of them in which exactly two objects were found) and its
        binomial error `two_err`. Bins without blends are left out.

    Raises
    ------
    ValueError
        Where there are not as many numbers as blends.
    """
    from astropy.table import Table

    two = np.asarray(n_detected) == 2
    if two.shape != (len(blends),):
        raise ValueError(
            f"n_detected has shape {two.shape}, expected ({len(blends)},): one number for each blend, in their order."
        )
    distance, delta_mag = np.asarray(blends["distance"], float), np.asarray(blends["delta_mag"], float)
    edges = np.unique(np.quantile(distance, np.linspace(0, 1, bins + 1)))
    place = np.clip(np.searchsorted(edges, distance, side="right") - 1, 0, len(edges) - 2)
    kinds = np.where(np.abs(delta_mag) <= 0.5, "alike", np.where(delta_mag > 0, "brighter", "fainter"))
    rows = []
    for kind in ("brighter", "alike", "fainter"):
        for k in range(len(edges) - 1):
            here = (kinds == kind) & (place == k)
            if n := int(here.sum()):
                share = two[here].mean()
                error = np.sqrt(share * (1 - share) / n)
                rows.append((kind, edges[k], edges[k + 1], distance[here].mean(), n, share, error))
    return Table(rows=rows, names=("companion", "low", "high", "distance", "n", "two", "two_err"))


def detection_curve(blends: Table, n_detected: Sequence[int], guesses: dict[str, float] | None = None) -> Figure:
    """When do two galaxies become one? The share found as two against distance (section 3.3).

    Parameters
    ----------
    blends, n_detected
        As for `detection_shares`.
    guesses : dict of str to float, optional
        Distance in pixels at which a reader expects two galaxies to become one, by kind of companion ("brighter",
        "alike", "fainter"): drawn as stars at one half.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        As `detection_shares`, or where a guess is of another kind.
    """
    table, guesses = detection_shares(blends, n_detected), guesses or {}
    looks = dict(zip(("brighter", "alike", "fainter"), zip(_KINDS, ("o", "s", "^"), strict=True), strict=True))
    if unknown := [kind for kind in guesses if kind not in looks]:
        raise ValueError(f"guesses for {', '.join(map(repr, unknown))} were given, expected {', '.join(looks)}.")
    with canvas(9.0, 5.6) as fig:
        ax = fig.subplots()
        for kind, (colour, marker) in looks.items():
            rows = table[table["companion"] == kind]
            rows = rows[rows["n"] >= FEWEST]
            ax.errorbar(rows["distance"], 100 * rows["two"], 100 * rows["two_err"], color=colour, marker=marker,
                        markersize=8, capsize=3, label=f"companion {kind}")  # fmt: skip
            if kind in guesses:
                ax.plot(guesses[kind], 50, "*", color=colour, markersize=24, markeredgecolor="black",
                        label=f"your guess, companion {kind}")  # fmt: skip
        ax.axhline(50, color="0.6", linewidth=1, zorder=0)
        ax.set(xlabel="distance of the two centres (pixels)", ylabel="two objects found (% of blends)", ylim=(-4, 104))
        ax.set_xlim(left=0)
        put_title(fig, "The nearer they come, the more often two galaxies are found as one")
        put_legend(fig, ax.get_legend_handles_labels()[0])
        put_caption(
            fig, f"{len(blends)} blends; 'alike' is within 0.5 mag, points of fewer than {FEWEST} are not drawn."
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
    empty = np.stack([far_from(mask.any(axis=-1)) for mask in masks])
    if not empty.any():
        raise ValueError(f"no pixel is more than {FAR} pixels from the galaxies: use larger stamps.")
    central, companion = parts[:, 0][empty], parts[:, 1][empty]
    return {float(d): robust_sigma(central + 10 ** (-0.4 * d) * companion) for d in dmags}


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
    alone = sky_noise(sample)
    curve = np.linspace(min(sigmas) - 0.2, max(sigmas) + 0.2, 100)
    ends = list(dict.fromkeys((min(sigmas), max(sigmas))))
    faintest = np.argsort(np.asarray(sample.catalog["mag"], float))[-2:]
    blends = make_blends(sample, *np.asarray(sample.catalog["id"])[faintest], sample.centre[1] // 4, 0, ends)
    images, masks, _ = render(sample, blends)
    reach = 8 * alone
    with canvas(WIDTH, 4.7) as fig:
        axes = fig.subplots(1, len(ends) + 1, width_ratios=(*[1] * len(ends), 1.35))
        for ax, image, dmag in zip(axes, images, ends, strict=False):
            show_stamp(ax, image, vmin=-reach, vmax=reach)
            change = f"{abs(dmag):g} mag {'brighter' if dmag < 0 else 'fainter'}" if dmag else "as it is"
            ax.set_title(f"dmag {signed(dmag)}: companion {change}", fontsize=12)
            ax.set_xlabel(f"shades: −{reach:.3f} to +{reach:.3f} e⁻/s")
        draw_scale_bar(axes[0], sample, masks[0].any(axis=-1))
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
        put_title(fig, "Changing the companion's magnitude scales its noise as well")
    return fig


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
    apart = np.argsort(-gap, kind="stable")[: max(n, np.count_nonzero(gap >= min(FAR, gap.max())))]
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

    shifted = np.flatnonzero(np.asarray(some_blends(blends)["dx"]) | np.asarray(blends["dy"]))[:_MOST_BLENDS]
    if not len(shifted):
        raise ValueError("none of the blends is shifted, so none has an edge: give blends with dx or dy other than 0.")
    used = blends[shifted]
    images, masks, _ = render(sample, used, fill="zero")
    images = {"zero": images, "sky": render(sample, used, masks=False)[0]}
    offsets, near = np.empty(masks.shape[:3]), np.empty(masks.shape[:3], bool)
    for row, mask, offset, where in zip(used, masks, offsets, near, strict=True):
        covered = _covered(sample, row)
        offset[:] = np.where(covered, distance_transform_edt(covered) - 0.5, 0.5 - distance_transform_edt(~covered))
        where[:] = far_from(mask.any(axis=-1)) & (np.abs(offset) < _EDGE_REACH)
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
    sigmas = {f"{f}_{s}": robust_sigma(pixels[f][where]) for f in ("zero", "sky") for s, where in sides.items()}
    return sigmas | {"n_blends": pixels["n_blends"]}


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
    rows = np.flatnonzero(_floats(some_blends(blends)["inside"]) >= 0.9)
    rows = rows if len(rows) else np.arange(len(blends))
    rows = rows[np.argsort(_floats(blends["distance"])[rows], kind="stable")]
    n = min(max(n, 1), len(rows))
    return blends[rows[((np.arange(n) + 0.5) / n * len(rows)).astype(int)]]
