"""Stamps, blends and their noise (Figures 1 and 2), masks, and the blends furthest off (Figures 10 to 12)."""

import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle, pairwise
from types import SimpleNamespace

import numpy as np
from astropy.table import Table
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy.ndimage import distance_transform_edt

from ..blends.geometry import landing
from ..blends.recipe import make_blends
from ..blends.rendering import render, render_parts
from ..data.check import require
from ..data.cleaning import remove_neighbours
from ..data.sample import Sample
from ..data.sky import empty_pixels
from ..deblenders.base import check_predictions
from ..metrics.scores import delta_mag, iou, mask_scores, values_of
from .style import COLOURS, FAR, FEWEST, KINDS, MASKS, MEMBERS, SEGMENTS, WIDTH, WORDS, Stamp, canvas, draw_outline
from .style import draw_scale_bar, far_from, mask_picture, method_styles, outlines_of, plain_log, put_legend
from .style import robust_sigma, show_stamp, sky_noise, some_blends, stamp_grid, stretch, window_around

_FILLS = ("zero", "sky")
_REACH = 20  # pixels on both sides of a fill's edge
_GAPS = {"nearer than 12": (0, 12), "12 to 25": (12, 25), "farther": (25, np.inf)}  # pixels to a neighbour
_OBJECTS = {"alone": COLOURS["central"], "in a group": COLOURS["companion"]}


def stamps_before_after(sample: Sample, clean: Sample, ids: Sequence[int] | None = None) -> Figure:
    """Stamps before and after ``bk.clean(sample)`` (Figure 1): of `ids`, or four with neighbours well apart."""
    if ids is None:  # from bright to faint, of those with neighbours well apart the half with most replaced
        order = np.argsort(clean.catalog["mag"], kind="stable")[:: -(-len(clean) // 500)]
        ids = np.asarray(clean.catalog["id"])[order]
        before = sample[sample.index(ids)]
        holes = _replaced(before.images, clean.images[order])
        size, pairs = np.count_nonzero(holes, axis=(1, 2)), zip(before.own_masks(), holes, strict=True)
        gap = [distance_transform_edt(~own)[hole].min(initial=FAR) for own, hole in pairs]
        gap, n = np.where(size, gap, -1), min(4, np.count_nonzero(size) or len(ids))
        best = np.lexsort((-size, -gap))[: max(n, np.count_nonzero(gap == FAR) // 2)]
        ids = ids[np.sort(best)[np.linspace(0, len(best) - 1, n).astype(int)]]
    before, after = sample[sample.index(ids)], clean.images[clean.index(ids)]
    own, rows = before.own_masks(), []
    pairs = (before.images, (before.segmaps != 0) & ~own, "solid"), (after, _replaced(before.images, after), "dotted")
    for images, others, line in pairs:
        masks = np.stack([own, others], axis=-1)
        rows.append([Stamp(image, outlines_of(mask, line)) for image, mask in zip(images, masks, strict=True)])
    replaced = Line2D([], [], color=COLOURS["companion"], linestyle="dotted", label="replaced by sky")
    return stamp_grid(
        sample, rows, WORDS["stamps_before_after"], labels=("before", "after cleaning"), legend=[*SEGMENTS, replaced],
        heads=[f"galaxy {row['id']}\n{row['morphology']}, AB {row['mag']:.1f} mag" for row in before.catalog],
    )  # fmt: skip


def _replaced(before, after):
    """Where cleaning put sky, (n, ny, nx): all else changed by its stamp's sky level."""
    step = before - after
    return np.abs(step - np.median(step, axis=(1, 2), keepdims=True)) > 2 * np.spacing(np.abs(before).max())


def sky_fills(sample: Sample, galaxy: int | None = None) -> Figure:
    """Neighbours of a `galaxy` (id; or a crowded one) replaced by pixels at random, and by patches of sky."""
    share = ((sample.segmaps != 0) & ~sample.own_masks()).mean((1, 2))
    at = np.where(share < 0.2, share, 0).argmax() if galaxy is None else sample.index(galaxy)[0]
    image, empty, rng = sample.images[at], empty_pixels(sample.segmaps[at]), np.random.default_rng(0)
    patches, hole = remove_neighbours(image, sample.segmaps[at], rng)
    single = np.where(hole, rng.choice(image[empty], image.shape), image)
    seen = {"the sky itself": (image, empty), "pixels at random": (single, hole), "patches of sky": (patches, hole)}
    with canvas(WORDS["sky_fills"], 4.7) as fig:
        *stamps, ax = _noise_panels(fig, sample, (single, patches), 4)
        for stamp in stamps:
            draw_outline(stamp, hole, COLOURS["companion"], "dotted")
        for (name, (pixels, where)), look in zip(seen.items(), ("k-", "o--", "s:"), strict=True):
            pairs = [where[:, lag:] & where[:, : where.shape[1] - lag] for lag in range(5)]
            noise = [(pixels[:, lag:][both], pixels[:, : both.shape[1]][both]) for lag, both in enumerate(pairs)]
            ax.plot(range(5), [np.corrcoef(*sides)[0, 1] for sides in noise], look, label=name)
        ax.set(xticks=range(5), ylim=(-0.2, 1.1))
        ax.legend(loc="upper right")
    return fig


def rejected_stamps(sample: Sample, report: Table) -> Figure:
    """Eight stamps that ``clean(sample)`` dropped by its report, every first reason before one comes again."""
    dropped = report[~np.asarray(report["kept"], bool)]
    if not len(dropped):
        with canvas(WORDS["none_rejected"], 1.6, n=len(report)) as fig:
            fig.text(0.5, 0.25, "There is nothing to show here.", ha="center")
        return fig
    reasons = [str(text).split("; ") for text in dropped["reason"]]
    firsts, stamps = [first for first, *_ in reasons], []
    chosen = np.argsort([firsts[:i].count(first) for i, first in enumerate(firsts)], kind="stable")[:8]
    of = sample[sample.index(dropped["id"][chosen])]
    for k, image, own, segments, galaxy in zip(chosen, of.images, of.own_masks(), of.segmaps, of.catalog, strict=True):
        outlines = outlines_of(np.stack([own, (segments != 0) & ~own], axis=-1))
        said = textwrap.fill(firsts[k] + f" (+\xa0{len(reasons[k]) - 1}\xa0more)" * (len(reasons[k]) > 1), 25)
        stamps.append(Stamp(image, outlines, (), f"galaxy {galaxy['id']}, {galaxy['mag']:.1f} mag", said))
    which = f"{len(dropped)} of {len(report)} stamps" + f"; {len(stamps)} of them" * (len(stamps) < len(dropped))
    rows = [stamps[i : i + 4] for i in range(0, len(stamps), 4)]
    return stamp_grid(sample, rows, WORDS["rejected_stamps"], legend=SEGMENTS, which=which)


def blend_grid(sample: Sample, central: int, companion: int, distances=(8, 14, 22, 32), dmags=(-1, 0, 1)) -> Figure:
    """Two galaxies (ids) at several `distances` (pixels to the right) and `dmags` of the companion (Figure 2)."""
    dmag, distance = (grid.ravel() for grid in np.meshgrid(dmags, distances, indexing="ij"))
    blends = make_blends(sample, np.tile((central, companion), (len(dmag), 1)), distance, 0, dmag)
    images, masks, _ = render(sample, blends)
    larger, columns, (y0, x0) = blends["r_eff"][0].max(), len(distances), sample.centre
    marks = [((x0, y0, "+", COLOURS["central"]), (x0 + dx, y0, "x", COLOURS["companion"])) for dx in distance]
    stamps = [Stamp(i, outlines_of(m, "dashed"), mark) for i, m, mark in zip(images, masks, marks, strict=True)]
    companions = zip(blends["mag"][::columns, 1], (f"{d:+g}" if d else "0" for d in dmags), strict=True)
    return stamp_grid(
        sample, [stamps[i : i + columns] for i in range(0, len(stamps), columns)], WORDS["blend_grid"],
        heads=[f"{d} px = {d * sample.pixel_scale:.2f}″\n= {d / larger:.1f} × larger r_eff" for d in distances],
        labels=[f"companion\nAB {mag:.1f} mag\n(dmag {d})".replace("-", "−") for mag, d in companions],
        window=window_around(masks, square=False), central=central, mag=blends["mag"][0, 0],
        companion=companion, noisier="Rows with negative dmag are noisier: " * (min(dmags) < 0),
    )  # fmt: skip


def blend_parts(sample: Sample, blends: Table) -> Figure:
    """The first two blends taken apart: the blend, each galaxy alone, and their masks (section 2.2)."""
    blends = some_blends(blends)[:2]
    images, masks, fluxes = render(sample, blends)
    parts, members = render_parts(sample, blends), ["central", *["companion"] * (masks.shape[-1] - 1)]
    rows = [[Stamp(image, outlines_of(mask))] for image, mask in zip(images, masks, strict=True)]
    for i, row in enumerate(rows):
        for k, name in enumerate(members):
            said = f"{fluxes[i, k]:.3g} e⁻/s\nAB {sample.zeropoint - 2.5 * np.log10(fluxes[i, k]):.1f} mag"
            row.append(Stamp(parts[i, ..., k], below=said, colour=COLOURS[name]))
        both = np.count_nonzero(masks[i].sum(axis=-1) > 1)
        row.append(Stamp(mask_picture(masks[i]), below=f"overlap: {both} px" if both else "no overlap"))
    return stamp_grid(
        sample, rows, WORDS["blend_parts"], heads=("blend", *(f"{name} alone" for name in members), "masks"),
        labels=[f"distance {d:.0f} px\n= {d * sample.pixel_scale:.2f}″" for d in blends["distance"]],
        window=window_around(masks), legend=MASKS,
    )  # fmt: skip


def examples(blends: Table, n: int = 3) -> Table:
    """At most `n` blends from close to far apart, with at least nine tenths of each galaxy's light on the stamp."""
    return blends[example_rows(blends, n, "distance")]


def example_rows(blends: Table, n: int, by: str) -> np.ndarray:
    """Rows of `examples`, in the order of what `blendkit.metrics.values_of` calls `by`."""
    rows = np.flatnonzero(np.nanmin(some_blends(blends)["inside"], axis=1) >= 0.9)
    rows = rows if len(rows) else np.arange(len(blends))
    rows, n = rows[np.argsort(values_of(blends, by)[rows], kind="stable")], min(n, len(rows))
    return rows[((np.arange(n) + 0.5) / n * len(rows)).astype(int)]


def detection_shares(blends: Table, n_detected: Sequence[int], bins: int = 8) -> Table:
    """In what share of `n` blends all galaxies are found (`two`), by distance (pixels) and kind of companion.

    Kinds are "brighter" by more than 0.5 mag, "alike" and "fainter"; bins of distances, `low` to `high`, equally full.
    """
    require(len(n_detected) == len(blends), f"{len(n_detected)} numbers for {len(blends)} blends, expected one each.")
    two = np.asarray(n_detected) == (np.asarray(blends["id"]) >= 0).sum(axis=1)
    distance, delta = np.asarray(blends["distance"]), np.asarray(blends["delta_mag"])
    edges = np.unique(np.nanquantile(distance, np.linspace(0, 1, bins + 1)))
    place, rows = np.digitize(distance, edges[1:-1]), []
    for kind, of_kind in zip(KINDS, (delta > 0.5, np.abs(delta) <= 0.5, delta < -0.5), strict=True):
        for k, (low, high) in enumerate(pairwise(edges)):
            if n := np.count_nonzero(here := of_kind & (place == k)):
                share = two[here].mean()
                rows.append((kind, low, high, distance[here].mean(), n, share, np.sqrt(share * (1 - share) / n)))
    return Table(rows=rows, names=("companion", "low", "high", "distance", "n", "two", "two_err"))


def detection_curve(blends: Table, n_detected: Sequence[int], guesses: Mapping[str, float] | None = None) -> Figure:
    """When do two galaxies become one (section 3.3)? Stars: a reader's `guesses` (pixels), by kind of companion."""
    table, guesses = detection_shares(blends, n_detected), guesses or {}
    require(set(guesses) <= set(KINDS), f"guesses for {', '.join(guesses)}, expected some of {', '.join(KINDS)}.")
    with canvas(WORDS["detection_curve"], 5.6, width=9.0, n=len(blends)) as fig:
        ax = fig.subplots()
        for kind, (colour, marker) in KINDS.items():
            rows = table[(table["companion"] == kind) & (table["n"] >= FEWEST)]
            ax.errorbar(rows["distance"], 100 * rows["two"], 100 * rows["two_err"], color=colour, marker=marker,
                        markersize=8, capsize=3, label=f"companion {kind}")  # fmt: skip
            if kind in guesses:
                ax.plot(guesses[kind], 50, "*", c=colour, ms=24, mec="black", label=f"your guess, companion {kind}")
        ax.axhline(50, color="0.6", linewidth=1, zorder=0)
        ax.set(xlim=(0, None), ylim=(-4, 104))
        put_legend(fig, ax.get_legend_handles_labels()[0])
    return fig


def fill_step_sigmas(sample: Sample, blends: Table) -> dict[str, float]:
    """Robust sigmas (e-/s), ``zero_inside`` to ``sky_outside``, near the edge of the companion's stamp; `n_blends`."""
    return _edge_pixels(sample, blends)[0]


def _edge_pixels(sample, blends):
    """`fill_step_sigmas`, empty pixels' offsets from the edge (inside > 0) and values, the best blend, its inside."""
    used = some_blends(blends)[np.any(np.asarray(blends["dx"]) | blends["dy"], axis=1)][:200]
    require(len(used), "none of the blends is shifted, so none has an edge: give blends with dx or dy other than 0.")
    images, masks, _ = render(sample, used, fill="zero")
    images = {"zero": images, "sky": render(sample, used, masks=False)[0]}
    offsets = np.empty(masks.shape[:3])
    for offset, *recipe in zip(offsets, *(used[name][:, 1] for name in ("orient", "dy", "dx")), strict=True):
        frame = np.zeros(offset.shape, bool)
        frame[landing(frame.shape, frame, *recipe)[0]] = True
        offset[:] = np.where(frame, distance_transform_edt(frame) - 0.5, 0.5 - distance_transform_edt(~frame))
    near = np.stack([far_from(mask.any(axis=-1)) for mask in masks]) & (np.abs(offsets) < _REACH)
    near[:, [0, -1]] = near[:, :, [0, -1]] = False  # a turn of the central galaxy leaves its own edge there
    offset, pixels = offsets[near], {fill: stack[near].astype(float) for fill, stack in images.items()}
    sides = {"inside": offset > 0, "outside": offset < 0}
    require(all(side.any() for side in sides.values()), "no blend has sky on both sides of an edge: give more blends.")
    sigmas = {f"{fill}_{name}": robust_sigma(pixels[fill][side]) for fill in images for name, side in sides.items()}
    shown = np.count_nonzero(near & (offsets < 0), axis=(1, 2)).argmax()
    sigmas["n_blends"] = int(np.count_nonzero(near.any(axis=(1, 2))))
    return sigmas, offset, pixels, used[shown : shown + 1], offsets[shown] > 0


def fill_step(sample: Sample, blends: Table) -> Figure:
    """The step that zero fill leaves in the noise, beside sky fill, with the numbers of `fill_step_sigmas`."""
    sigmas, offset, pixels, row, covered = _edge_pixels(sample, blends)
    images = [render(sample, row, fill=fill, masks=False)[0][0] for fill in _FILLS]
    bins, colours = np.arange(-_REACH, _REACH, 2), (COLOURS["companion"], COLOURS["central"])
    with canvas(WORDS["fill_step"], 4.9, n=sigmas["n_blends"], far=FAR) as fig:
        *stamps, ax = _noise_panels(fig, sample, images, 4 * np.sqrt(2))
        for stamp, fill, marker, colour in zip(stamps, _FILLS, "os", colours, strict=True):
            draw_outline(stamp, covered, colour, "dashed")
            profile = [robust_sigma(pixels[fill][(offset > low) & (offset < low + 2)]) for low in bins]
            ax.plot(bins + 1, profile, f"{marker}-", color=colour, label=f"{fill} fill")
        ax.axvline(0, color="0.4", linestyle="dashed", linewidth=1.5)
        low, high = ax.get_ylim()
        ax.set_ylim(low - 0.45 * (high - low), high + 0.4 * (high - low))
        ax.legend(loc="upper right", handlelength=1.5, borderaxespad=0)
        for x, side in ((0.03, "outside"), (0.55, "inside")):
            numbers = "\n".join(f"{fill}: {sigmas[f'{fill}_{side}']:.4f}" for fill in _FILLS)
            ax.text(x, 0.03, f"{side}\n{numbers}", transform=ax.transAxes)
    return fig


def _noise_panels(fig, sample, images, reach):
    """Panels of pictures whose noise is stretched hard, to `reach` times the sky's, and a wider one for a curve."""
    axes = fig.subplots(1, len(images) + 1, width_ratios=(*[1] * len(images), 1.35))
    reach *= sky_noise(sample)
    for ax, image in zip(axes, images, strict=False):
        show_stamp(ax, image, vmin=-reach, vmax=reach)
        ax.set_xlabel(f"shades: ±{reach:.3f} e⁻/s")
    draw_scale_bar(axes[0], sample)
    return axes


def dmag_noise(sample: Sample) -> Figure:
    """`dmag` scales the companion's noise as well: robust sigmas of pixels far from both segments, of 50 pairs."""
    ids = np.asarray(sample.catalog["id"])[:50]
    blends = make_blends(sample, np.stack([ids, np.roll(ids, 1)], axis=1), 0, 0)
    empty = np.stack([far_from(mask.any(axis=-1)) for mask in render(sample, blends)[1]])
    central, companion = render_parts(sample, blends)[empty].T
    sigmas = {dmag: robust_sigma(central + 10 ** (-0.4 * dmag) * companion) for dmag in range(-2, 3)}
    alone, curve = sky_noise(sample), np.linspace(-2, 2, 100)
    faintest = np.asarray(sample.catalog["id"])[np.argsort(sample.catalog["mag"])[-2:]]
    blends = make_blends(sample, [faintest] * 2, sample.centre[1] // 4, 0, [-2.0, 2.0])
    with canvas(WORDS["dmag_noise"], 4.7) as fig:
        *_, ax = _noise_panels(fig, sample, render(sample, blends, masks=False)[0], 8)
        ax.plot(curve, alone * np.sqrt(1 + 10 ** (-0.8 * curve)), c="0.4", label="σ √(1 + 10$^{-0.8\\,dmag}$)")
        ax.plot(list(sigmas), list(sigmas.values()), "o", color=COLOURS["companion"], markersize=9, label="measured")
        ax.axhline(alone, color="0.4", linestyle="dotted", label=f"one stamp: σ = {alone:.4f}")
        ax.set_ylim(0, 1.5 * max(sigmas.values()))
        ax.legend(loc="upper right")
    return fig


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
        sample, stamps, WORDS["masks_beside"], heads=["blend", "true masks", *(textwrap.fill(n, 18) for n in given)],
        labels=[f"row {row}\n{_apart(blends[row])}" for row in rows], legend=MASKS, window=window_around(masks),
    )  # fmt: skip


def iou_by_type(blends: Table, ious: dict[str, np.ndarray]) -> Figure:
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
    best = f"{'best is ' * (len(overall) > 1)}{best}, {texts[best]}"
    with canvas(WORDS["iou_by_type"], 5.4, legend, best=best) as fig:
        left, right = fig.subplots(1, 2, width_ratios=(1, 1.3))
        for k, (name, look) in enumerate(looks.items()):
            values = np.asarray(ious[name], float)
            mean = np.nanmean(values[np.isfinite(values).any(axis=1)], axis=1)
            left.hist(mean, np.linspace(0, 1, 21), histtype="step", weights=np.full(len(mean), 100 / len(mean)), **look)
            rows = table[table["method"] == name]
            y = np.array([pairs.index(pair) for pair in rows["pair"]]) + (k + 0.5) / len(overall) * 0.8 - 0.4
            right.barh(y, rows["iou"], 0.74 / len(overall), color=look["edgecolor"], xerr=rows["iou_err"], capsize=3)
        left.set_xlim(0, 1)
        right.set(xlim=(0, 1), ylim=(len(pairs) - 0.4, -0.6))
        right.set_yticks(range(len(pairs)), [f"{pair} ({counts[pair]:,})" for pair in pairs])
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
    numbers = {"which": f"{len(order)} worst blends" if len(order) > 1 else "worst blend", "how": ", ".join(said)}
    numbers |= {"whose": f"{pred.meta['method']}: the" if "method" in pred.meta else "The"}
    rows, galaxy = [stamps[i : i + 5] for i in range(0, len(stamps), 5)], member + " galaxy" * (member == "central")
    return stamp_grid(sample, rows, WORDS["worst_blends"], window=window_around(masks), galaxy=galaxy, **numbers)


def _apart(row):
    return f"{row['distance']:.0f} px = {row['distance'] / row['r_eff'][0]:.1f} R$_e$"


def field_pictures(pictures: Mapping[str, np.ndarray], catalogue: Table | None = None) -> Figure:
    """Pictures of one field side by side, all on one stretch; objects of a catalogue are circled in the first."""
    first = next(iter(pictures.values()))
    legend, words, numbers = [], WORDS["field_pictures"], {"nx": first.shape[1], "ny": first.shape[0]}
    if catalogue is not None:
        words, numbers = WORDS["field_objects"], {"n": len(catalogue)}
        legend = [Line2D([], [], marker="o", ls="", mfc="none", mec=c, label=name) for name, c in _OBJECTS.items()]
    noise, side = robust_sigma(np.diff(first, axis=0).ravel()), min(5.4, WIDTH / len(pictures))
    with canvas(words, side + 0.8 + 0.3 * bool(legend), legend, max(6.4, side * len(pictures)), **numbers) as fig:
        axes = fig.subplots(1, len(pictures), squeeze=False)[0]
        for ax, (name, picture) in zip(axes, pictures.items(), strict=True):
            show_stamp(ax, stretch(picture, noise))
            ax.set_title(name)
        if catalogue is not None:
            colours = np.where(catalogue["n_in_group"] > 1, *list(_OBJECTS.values())[::-1])
            axes[0].scatter(catalogue["x"], catalogue["y"], s=60, facecolors="none", edgecolors=colours)
            draw_scale_bar(axes[0], SimpleNamespace(**catalogue.meta))
    return fig


def recovered_light(table: Table) -> Figure:
    """Measured over true flux of galaxies that were put into a field, by magnitude and by how near a neighbour is."""
    off = {name: np.asarray(table[c] / table["true"]) for name, c in (("fractions", "flux"), ("SEP", "sep_flux"))}
    error = {name: np.nan_to_num(100 * np.abs(ratio - 1), nan=100) for name, ratio in off.items()}
    within = " and ".join(f"{np.median(values):.1f} % ({name})" for name, values in error.items())
    looks, lost = method_styles(off), np.isnan(off["fractions"]).sum()
    handles = [Line2D([], [], color=c, marker=m, ls="", label=name) for name, (c, m) in looks.items()]
    with canvas(WORDS["recovered_light"], 4.6, handles, within=within, n=len(table), lost=lost) as fig:
        left, right = fig.subplots(1, 2, width_ratios=(1.3, 1))
        left.axhline(1, color="0.6", linewidth=1)
        for k, (name, (colour, marker)) in enumerate(looks.items()):
            left.plot(table["mag"], np.clip(off[name], 0.2, 5), marker, color=colour, alpha=0.7, clip_on=False)
            near = [error[name][(low <= table["near"]) & (table["near"] < high)] for low, high in _GAPS.values()]
            bars = [np.median(values) if len(values) else 0 for values in near]
            right.bar(np.arange(len(_GAPS)) + 0.4 * k - 0.2, bars, 0.38, color=colour)
        left.set(yscale="log", ylim=(0.2, 5))
        plain_log(left.yaxis)
        right.set_xticks(range(len(_GAPS)), [f"{name}\n({len(v)})" for name, v in zip(_GAPS, near, strict=True)])
    return fig
