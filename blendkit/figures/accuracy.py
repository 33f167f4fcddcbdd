"""How right fluxes are (Figures 5 to 9), where methods fail, if errors are honest; parameters as `blendkit.scores`."""

import textwrap
from contextlib import contextmanager

import numpy as np
from astropy.table import Table
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, LogNorm, PowerNorm, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy.stats import binned_statistic_2d

from .. import metrics
from ..data.check import require
from ..data.sample import MORPHOLOGIES
from ..metrics.scores import OUTLIER_DMAG, Predictions
from .style import CASE_COLOURS, COLOURS, FEWEST, HEIGHT, MEMBERS, SKIES, TYPES, WIDTH, WORDS, canvas, matching_said
from .style import method_styles, plain_log

_BINS = 6  # as in Figures 7 to 9
_ERRORS = ListedColormap(colormaps["magma_r"](np.linspace(0.03, 0.85, 256)))  # small to large
_BOXES = {"manage_ticks": False, "boxprops": {"facecolor": "none"}}
_WITHIN = {1: 68.27, 2: 95.45, 3: 99.73}  # sigma: % of a Gaussian, central is filled and companion open


def recovered_magnitudes(blends: Table, predictions: Predictions) -> Figure:
    """Recovered against isolated magnitude, central and companion x methods (Figure 5).

    What counts is said by `blendkit.metrics.figure_5_rows`; the numbers in a panel are `blendkit.metrics.figure_5`.
    """
    with _panels(WORDS["recovered_magnitudes"], predictions, MEMBERS) as (fig, axes):
        for ax, rows in zip(axes.flat, _panels_of(blends, predictions).values(), strict=True):
            counted = f"n {np.isfinite(rows['measured'][rows['counts']]).sum():,} of {len(rows):,}"
            _recovered_panel(ax, blends, rows[rows["counts"]], counted, "failed")
    return fig


def recovered_by_detection(blends: Table, predictions: Predictions) -> Figure:
    """Recovered against isolated magnitude where SExtractor's `case`, or the first, is two found, or one (Figure 6)."""
    table, split, found, how = metrics.measurements(blends, predictions), {"all": np.ones(len(blends), bool)}, "", ""
    finders = [name for name, pred in predictions.items() if "case" in pred.colnames]
    if finders:
        finder = next((name for name in finders if name.startswith(("SEP", "SExtractor"))), finders[0])
        case = np.asarray(predictions[finder]["case"]).astype(str)
        split = {"two found": case == "both", "one found": np.isin(case, ("only central", "only companion"))}
        split = {name: here for name, here in split.items() if here.any()} or {"more or none": case != "both"}
        rest = len(blends) - sum(here.sum() for here in split.values())
        found, how = f"Found: by {finder}; not drawn: {rest:,} with more or none. ", ", by how many galaxies were found"
    legend, words = [Patch(color=COLOURS[member], label=member) for member in MEMBERS], WORDS["recovered_by_detection"]
    with _panels(words, predictions, split, legend, found=found, how=how) as (fig, axes):
        for line, here in zip(axes, split.values(), strict=True):
            for ax, method in zip(line, predictions, strict=True):
                rows = table[(table["method"] == method) & here[table["blend"]]]
                _recovered_panel(ax, blends, rows, f"{here.sum():,} of {len(blends):,} blends", "galaxies failed")
    return fig


def errors_by_delta_mag(blends: Table, predictions: Predictions) -> Figure:
    """Error of each magnitude against the magnitude difference (Figure 7); colours by distance, a quarter each."""
    delta, near = (metrics.values_of(blends, by) for by in ("delta_mag", "separation"))
    edges, quarters = _edges(delta, _BINS), _edges(near, 4, equal=False)
    shades = ListedColormap(colormaps["plasma"](np.linspace(0, 0.8, len(quarters) - 1)))  # close to far
    colours = ScalarMappable(BoundaryNorm(quarters, shades.N), shades)
    panels, ends = [], [-0.05, 0.05]
    for rows in _panels_of(blends, predictions).values():
        rows = rows[rows["counts"] & np.isfinite(delta[rows["blend"]])]
        dmag, good = np.asarray(rows["mag_measured"] - rows["mag_true"]), np.isfinite(rows["measured"])
        at = np.asarray(rows["blend"])[good]
        bins = [dmag[good][np.digitize(delta[at], edges[1:-1]) == k] for k in range(_BINS)]
        bins = [group if len(group) >= FEWEST else [] for group in bins]
        ends += [end for group in bins if len(group) for end in np.percentile(group, (5, 95))]
        panels.append((dmag, good, at, bins))
    ends += list(np.percentile(np.concatenate([[0], *(dmag[good] for dmag, good, *_ in panels)]), (1, 99)))
    frame = min(ends) - 0.05 * np.ptp(ends), max(ends) + 0.05 * np.ptp(ends)
    with _panels(words := WORDS["errors_by_delta_mag"], predictions, MEMBERS) as (fig, axes):
        for ax, (dmag, good, at, bins) in zip(axes.flat, panels, strict=True):
            size = np.clip(5000 / max(good.sum(), 1), 7, 18)
            ax.scatter(delta[at], dmag[good], size, colours.to_rgba(near[at]), alpha=0.6, lw=0, rasterized=True)
            ax.axhline(0, color="black", linewidth=1)
            ax.boxplot(bins, positions=(edges[:-1] + edges[1:]) / 2, widths=0.6 * np.diff(edges), **_BOXES)
            ax.set(xlim=edges[[0, -1]], ylim=frame)
            ax.set_title(_counts(f"n {good.sum():,}", (~good).sum(), "failed", dmag, frame))
            ax.locator_params(nbins=5, steps=[1, 2, 5, 10])
        look = {"aspect": 50, "pad": 0.01, "spacing": "uniform", "ticks": quarters, "format": "%.1f"}
        fig.colorbar(colours, ax=list(axes.flat), label=words["colours"], **look)
    return fig


def median_and_scatter(blends: Table, predictions: Predictions, by: str = "delta_mag", member="central") -> Figure:
    """Median and standard deviation of Δmag in bins, with error bars: `blendkit.metrics.binned_scores` (Figure 8).

    `by` is "delta_mag" (central minus companion, in six equal bins), "distance" (pixels) or "separation" (in effective
    radii of the central), in six bins of as many blends each; `member` is "central" or "companion".
    """
    words, equal, styles = WORDS["median_and_scatter"], by == "delta_mag", method_styles(predictions)
    require(by in words, f"by = {by!r} was given, expected one of {', '.join(words)}.")
    require(member in MEMBERS, f"member = {member!r} was given, expected one of {', '.join(MEMBERS)}.")
    edges = _edges(metrics.values_of(blends, by), _BINS, equal)
    table = metrics.binned_scores(blends, predictions, by, edges)
    at = edges if equal else np.arange(len(edges))  # on the axis
    with canvas(words[by], 5.6, _line_handles(styles), member=member, **_counted(predictions)) as fig:
        axes = fig.subplots(1, 2)
        looks = {method: {"color": colour, "marker": marker} for method, (colour, marker) in styles.items()}
        table = table[table["member"] == member]
        _draw_scores(axes[:, None], [[(table[table["method"] == name], look) for name, look in looks.items()]], at)
        for ax in axes if not equal else ():
            ax.set_xticks(at, [f"{edge:g}" for edge in edges])
    return fig


def by_morphology(blends: Table, predictions: Predictions) -> Figure:
    """`blendkit.metrics.binned_scores` of the central galaxies of each type by the magnitude difference (Figure 9)."""
    delta, kinds = metrics.values_of(blends, "delta_mag"), metrics.values_of(blends, "morphology")
    edges, lines = _edges(delta, _BINS), {}
    for kind in ("all", *(kind for kind in MORPHOLOGIES if kind in kinds)):
        here = np.where((kinds == kind) | (kind == "all"), delta, edges[-1] + 1)  # the others are in no bin
        table = metrics.binned_scores(blends, predictions, here, edges, n_bootstrap=100)  # errors right to 7 %
        lines[kind] = table[table["member"] == "central"]
    legend = [Line2D([], [], label=kind, **TYPES[kind]) for kind in lines]
    with _panels(WORDS["by_morphology"], predictions, ("median", "scatter"), legend) as (fig, axes):
        of = {name: [(t[t["method"] == name], TYPES[kind]) for kind, t in lines.items()] for name in predictions}
        _draw_scores(axes, of.values(), edges)
    return fig


def failure_map(blends: Table, predictions: Predictions, member: str = "companion") -> Figure:
    """Where each method fails on a `member`: median error of the flux in cells of distance and magnitude difference.

    Every blend counts; what was not measured is 100 % wrong, and counted in brackets; hatched are cells of few blends.
    """
    require(member in MEMBERS, f"member = {member!r} was given, expected one of {', '.join(MEMBERS)}.")
    delta, near = metrics.values_of(blends, "delta_mag"), blends["distance"] / np.nanmax(blends["r_eff"], axis=1)
    bins = int(np.clip(np.sqrt(len(blends) / 30), 2, _BINS - (len(predictions) > 3)))
    x, y, maps = _edges(near, bins), _edges(delta, bins), []
    panels = _panels_of(blends, predictions)
    for rows in (panels[member, method] for method in predictions):
        ratio, at = np.asarray(rows["measured"] / rows["true"]), np.asarray(rows["blend"])
        failed, pairs = 100.0 * np.isnan(ratio), np.isfinite((near * delta)[at])
        value, lost, n = (
            binned_statistic_2d(delta[at[pairs]], near[at[pairs]], values[pairs], statistic, (y, x)).statistic
            for values, statistic in ((np.abs(np.nan_to_num(ratio) - 1), "median"), (failed, "mean"), (failed, "count"))
        )
        maps.append((np.where(n >= FEWEST, 100 * value, np.nan), lost, failed.mean()))
    shown = np.concatenate([value[np.isfinite(value)] for value, *_ in maps])
    low, high = shown.min(initial=np.inf), shown.max(initial=0)
    norm = LogNorm(low, max(high, 1.01 * low)) if 0 < low < np.inf else PowerNorm(0.5, vmin=0, vmax=high or 1.0)
    with _panels(WORDS["failure_map"], predictions, [member], least=5.0, member=member) as (fig, axes):
        for ax, (grid, lost, failed) in zip(axes.flat, maps, strict=True):
            ax.patch.set(facecolor="0.92", edgecolor="0.7", hatch="//")
            ax.pcolormesh(x, y, np.ma.masked_invalid(grid), norm=norm, cmap=_ERRORS, edgecolors="white", linewidth=1)
            for j, i in np.argwhere(np.isfinite(grid)):
                text = _digits(grid[j, i]) + (f"\n({_digits(lost[j, i])})" if lost[j, i] else "")
                look = {"ha": "center", "va": "center", "color": "white" if norm(grid[j, i]) > 0.55 else "black"}
                ax.text(x[i : i + 2].mean(), y[j : j + 2].mean(), text, **look)
            ax.set(xlim=x[[0, -1]], ylim=y[[0, -1]], title=f"{_digits(failed)} % not measured" if failed else "")
            ax.locator_params(nbins=5, steps=[1, 2, 5, 10])
        look = {"aspect": 40, "pad": 0.01, "label": f"{member}: median error of the flux (%)"}
        bar = fig.colorbar(ScalarMappable(norm, _ERRORS), ax=list(axes.flat), **look)
        if isinstance(norm, LogNorm):
            plain_log(bar.ax.yaxis)
    return fig


def calibration_curve(blends: Table, predictions: Predictions) -> Figure:
    """Whether predicted errors are as large as the true ones: pulls, and `blendkit.metrics.calibration`."""
    table, panels = metrics.calibration(blends, predictions), _panels_of(blends, predictions)
    shown = {name: look for name, look in method_styles(predictions).items() if name in table["method"]}
    x, bins = np.linspace(-4.5, 4.5, 181), np.linspace(-4.5, 4.5, 31)
    filled = {"color": "0.3", "marker": "o", "markersize": 8, "linestyle": "none"}
    members = [Line2D([], [], label=m, mfc=face, **filled) for m, face in zip(MEMBERS, ("0.3", "white"), strict=True)]
    legend = [Patch(color="0.8", label="unit Gaussian"), *_line_handles(shown), *members]
    without = ", ".join(name for name in predictions if name not in shown)
    without = f" Without errors: {without}." * bool(without)
    with canvas(WORDS["calibration_curve"], 5.6, legend, without=without) as fig:
        *axes, shares = fig.subplots(1, 3, width_ratios=(1, 1, 1.3))
        axes[1].sharey(axes[0])
        for ax, member in zip(axes, MEMBERS, strict=True):
            ax.fill_between(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), color="0.8")
            for name, (colour, _) in shown.items():
                rows = panels[member, name]
                pulls = np.asarray((rows["measured"] - rows["true"]) / rows["error"])
                if np.isfinite(pulls).any():
                    pulls = np.clip(pulls[np.isfinite(pulls)], -4.49, 4.49)
                    ax.hist(pulls, bins, density=True, histtype="step", color=colour, linewidth=2)
            ax.set(xlim=(-4.5, 4.5), xticks=range(-4, 5, 2))
        axes[1].tick_params(labelleft=False)
        shares.axhline(0, color="0.8", linewidth=6, zorder=0)
        shares.update_datalim([(1, -1), (3, 1)])
        for k, row in enumerate(table):
            (colour, marker), n = shown[row["method"]], len(table)
            off, error = ([100 * row[f"within_{k}{end}"] for k in _WITHIN] for end in ("", "_err"))
            look = {"color": colour, "marker": marker, "mfc": colour if row["member"] == "central" else "white"}
            at = np.array([*_WITHIN]) + (k - (n - 1) / 2) * min(0.14, 0.76 / n)
            off = np.subtract(off, [*_WITHIN.values()])
            shares.errorbar(at, off, error, markersize=8, linestyle="none", capsize=3, **look)
        shares.set_xticks([*_WITHIN], [f"{k} error{'s' * (k > 1)}\n{share:.1f} %" for k, share in _WITHIN.items()])
        shares.set_xlim(0.5, 3.5)
    return fig


def synthetic_and_real(scores: Table) -> Figure:
    """Flux errors (`mape`, `mape_err` of each `method` and `member`) in the `sample` "synthetic" and in "real"."""
    value = {(row["sample"], row["method"], row["member"]): (row["mape"], row["mape_err"]) for row in scores
             if np.isfinite(row["mape"])}  # fmt: skip
    known = [(sky, member) for sky in SKIES for member in MEMBERS]
    methods = [name for name in dict.fromkeys(scores["method"]) if all((sky, name, m) in value for sky, m in known)]
    require(methods, "the scores hold no method on both 'synthetic' and 'real' galaxies: run the exam first.")
    legend, y = _line_handles({text: look for text, *look in SKIES.values()}, linestyle="none"), range(len(methods))
    with canvas(WORDS["synthetic_and_real"], 0.55 * len(methods) + 2.6, legend) as fig:
        for ax, member in zip(fig.subplots(1, 2, sharex=True, sharey=True), MEMBERS, strict=True):
            mapes, errors = np.transpose([[value[sky, name, member] for name in methods] for sky in SKIES])
            ax.hlines(y, *mapes.T, color="0.7", zorder=0)
            for mape, error, (_, colour, marker) in zip(mapes.T, errors.T, SKIES.values(), strict=True):
                ax.errorbar(mape, y, xerr=error, color=colour, fmt=marker, markersize=9, capsize=3)
            ax.set(yticks=y, yticklabels=methods)
        ax.set_xlim(left=0)
        ax.invert_yaxis()
    return fig


def detection_split(splits: dict[str, Table]) -> Figure:
    """Shares of the detection cases (section 3.3), a bar for each label's table from `blendkit.metrics.case_shares`."""
    require(splits, 'there is no split to draw, expected at least one: give {"label": case_shares(blends, pred)}.')
    seen = {row["case"] for table in splits.values() for row in table if row["share"] > 0}
    handles = [Patch(color=colour, label=case) for case, colour in CASE_COLOURS.items() if case in seen]
    with canvas(WORDS["detection_split"], 1.1 * len(splits) + 1.9, handles) as fig:
        ax = fig.subplots()
        for y, table in enumerate(splits.values()):
            share, errors, below = 100 * np.asarray(table["share"]), 100 * np.asarray(table["share_err"]), []
            left, colours = np.cumsum(share) - share, [CASE_COLOURS[case] for case in table["case"]]
            ax.barh(y, share, left=left, height=0.5, color=colours, edgecolor="white")
            for case, at, size, error in zip(table["case"], left + share / 2, share, errors, strict=True):
                text = f"{size:.1f}" + (f" ± {error:.1f}" if np.isfinite(error) else "") + " %"
                if size > 14:
                    colour = "black" if case in ("more", "none") else "white"
                    ax.text(at, y, text, ha="center", va="center", color=colour, weight="bold")
                elif size > 0:
                    below.append(f"{case} {text}".replace(" ", "\N{NO-BREAK SPACE}"))
            ax.text(100, y + 0.29, textwrap.fill(",  ".join(below), 100), ha="right", va="top")
        ax.set_yticks(range(len(splits)), [textwrap.fill(name, 22) for name in splits], fontsize=13)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.set(xlim=(0, 100), ylim=(len(splits) - 0.4, -0.35))
    return fig


def flux_kinds(blends: Table, predictions: Predictions) -> Figure:
    """Measured over isolated flux of every blend, and `blendkit.metrics.flux_scores` of each kind (section 3.3)."""
    panels, n, ends = _panels_of(blends, predictions), len(predictions), [0.25, 4.0]
    with canvas(WORDS["flux_kinds"], 1.05 * n + 2.1, told=matching_said(predictions)) as fig:
        axes = dict(zip(MEMBERS, fig.subplots(1, 2, sharex=True, sharey=True), strict=True))
        for k, ((member, _), rows) in enumerate(panels.items()):
            ax, got = axes[member], metrics.flux_scores(rows["true"], rows["measured"])
            text = f"n {got['n']:,}" + (f" ({got['failed']:,} failed)" if got["failed"] else "")
            if got["n"]:
                text = f"median error {got['median']:.1f} %, MAPE (flux) {got['mape']:.1f} %\n{text}"
                ratio = np.asarray(rows["measured"] / rows["true"])[np.isfinite(rows["measured"])]
                look = {"boxprops": {"facecolor": (COLOURS[member], 0.55)}, "orientation": "horizontal", "widths": 0.4}
                ax.boxplot(ratio, positions=[k % n], **(_BOXES | look))
                ends += list(np.percentile(ratio, (5, 95)))
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            ax.text(0.01, k % n - 0.27, text, transform=ax.get_yaxis_transform(), va="bottom", bbox=box)
        for ax in axes.values():
            ax.vlines(1, -0.25, n - 0.55, color="0.4", linestyle="dashed", linewidth=1.5, zorder=0)
            ax.set_xscale("log")
            ax.tick_params(axis="y", length=0)
            ax.spines["left"].set_visible(False)
        ax.set(xlim=(max(min(ends) / 1.3, 1e-3), min(max(ends) * 1.3, 1e3)), ylim=(n - 0.55, -0.65))
        axes["central"].set_yticks(range(n), [textwrap.fill(name, 16) for name in predictions], fontsize=13)
        plain_log(ax.xaxis)
    return fig


def _digits(number):
    return f"{number:.0f}" if number >= 9.95 or number == 0 else f"{number:.1f}"


@contextmanager
def _panels(words, predictions, names, legend=(), least=3.2, **numbers):
    """A figure of a screen's height, lines of at least so many inches, and its axes (names, methods); labels last."""
    n, rows, blocks = len(predictions), len(names), -(-len(predictions) // 4)
    ylabels, xlabel = [textwrap.fill(words["ylabel"].format(name), 20) for name in names], words["xlabel"]
    columns, lines = (-(-n // blocks), rows * blocks) if n > 1 else (rows, 1)
    width, numbers = 9.5 if n == 2 else WIDTH, _counted(predictions) | numbers
    with canvas(words, max(HEIGHT, least * lines), legend, width, **numbers) as fig:
        axes = fig.subplots(lines, columns, squeeze=False).reshape(blocks, rows, -1).swapaxes(0, 1).reshape(rows, -1)
        for ax in axes[:, n:].flat:
            ax.remove()
        axes = axes[:, :n]
        for first, *others in axes:
            for ax in others:
                ax.sharey(first)
        yield fig, axes
        for row, (line, ylabel) in enumerate(zip(axes, ylabels, strict=True)):
            most = max(ax.get_title().count("\n") for ax in line)  # their first lines side by side
            for k, (ax, (method, (colour, _))) in enumerate(zip(line, method_styles(predictions).items(), strict=True)):
                first, last, left = n == 1 or row == 0, n == 1 or row == rows - 1, n == 1 or k % columns == 0
                title = ax.get_title() + "\n" * (most - ax.get_title().count("\n"))
                ax.set_title("\n".join(filter(None, (textwrap.fill(method, 24) if first else "", title))))
                ax.set(xlabel=textwrap.fill(xlabel, 24 if n > 1 else 60) if last else "", ylabel=ylabel if left else "")
                ax.tick_params(labelbottom=last, labelleft=left)
                ax.spines["top"].set(visible=first, color=colour, linewidth=5)


def _panels_of(blends, predictions):
    """The rows of `measurements` for each (member, method)."""
    table, methods = metrics.measurements(blends, predictions), list(predictions)
    return {(m, name): table[(table["member"] == m) & (table["method"] == name)] for m in MEMBERS for name in methods}


def _line_handles(looks, **more):
    return [Line2D([], [], color=c, marker=m, markersize=8, label=name, **more) for name, (c, m) in looks.items()]


def _counted(predictions):
    """Which blends count, and who was told the positions, for captions."""
    selected = any("case" in pred.colnames for pred in predictions.values())
    return {"counted": "Counted: both or only this galaxy found. " * selected, "told": matching_said(predictions)}


def _edges(values, bins, equal=True):
    """Edges of equal bins over all that is known, or of bins that hold as many values each, to one digit."""
    values = values[np.isfinite(values)]
    require(len(values), "there are no blends of two galaxies or more to draw: make some with draw_blends.")
    if equal:
        return np.histogram_bin_edges(values, bins)
    edges = 10 * np.quantile(values, np.linspace(0, 1, bins + 1))
    return np.unique([np.floor(edges[0]), *np.round(edges[1:-1]), np.floor(edges[-1]) + 1]) / 10


def _recovered_panel(ax, blends, rows, counted, failed):
    """Recovered against isolated magnitudes of rows of `measurements`."""
    rows = rows[np.random.default_rng(0).permutation(len(rows))]  # no galaxy hides the other
    true, measured, member = (np.asarray(rows[name]) for name in ("mag_true", "mag_measured", "member"))
    mags = blends.meta["zeropoint"] - 2.5 * np.log10(np.asarray(blends["flux"]))
    limits = np.floor([2 * np.nanmin(mags), 2 * np.nanmax(mags) + 1]) / 2
    got, frame = metrics.magnitude_scores(true, measured), limits + np.array([-3.6, 1.7])
    size, alpha = np.clip(5000 / max(got["n"], 1), 7, 18), np.clip(15 / np.sqrt(max(got["n"], 1)), 0.4, 0.7)
    colours = to_rgba_array([COLOURS[name] for name in member])
    ax.scatter(true, measured, size, colours, alpha=alpha, lw=0, rasterized=True)
    ax.plot(limits, limits, color="black", linewidth=1.5)
    ax.plot(limits, limits[:, None] + [-OUTLIER_DMAG, OUTLIER_DMAG], color="black", linewidth=1, linestyle="dashed")
    ax.set(xlim=limits, ylim=frame, title=_counts(counted, got["failed"], failed, measured, frame))
    ax.locator_params(nbins=20, steps=[1, 10], integer=True)
    if got["n"] >= FEWEST:
        numbers = f"bias {got['bias']:.3f} mag\nscatter {got['scatter']:.3f} mag\n".replace("-", "−")
        numbers += f"outliers {100 * got['outliers']:.2f} %\nMAPE (mag) {got['mape']:.2f} %"
        ax.text(0.99, 0.0, numbers, transform=ax.transAxes, ha="right", va="bottom", zorder=0.5).set_in_layout(False)
    inset = ax.inset_axes((0.12, 0.74, 0.36, 0.14), zorder=0.5, facecolor="none")  # behind the points, as the numbers
    dmags = [np.clip(measured - true, -1.49, 1.49)[np.isfinite(measured) & (member == name)] for name in MEMBERS]
    inset.hist(dmags, np.linspace(-1.5, 1.5, 31), color=[COLOURS[name] for name in MEMBERS], stacked=True)
    inset.axvline(0, color="black", linewidth=1)
    inset.set(xlim=(-1.5, 1.5), yticks=[], xticks=(-1, 0, 1), xticklabels=("−1", "0", "+1"))
    inset.spines["left"].set_visible(False)
    inset.set_title("Δmag (mag)", fontsize=12, pad=2)


def _counts(counted, failures, failed, values, frame):
    """How many count, and in brackets how many of them are not to be seen."""
    notes = {failed: failures, "off the frame": np.count_nonzero((values < frame[0]) | (values > frame[1]))}
    more = ", ".join(f"{count:,} {what}" for what, count in notes.items() if count)
    line = f"{counted} ({more})" if more else counted
    return line if len(line) <= 28 or not more else f"{counted}\n{textwrap.fill(f'({more})', 28)}"


def _draw_scores(axes, columns, edges):
    """Medians above, around zero, and scatters below, logarithmic unless one is zero: lines (rows, look) per column."""
    for column, lines in zip(axes.T, columns, strict=True):
        for k, (rows, look) in enumerate(lines):
            x = (edges[:-1] + edges[1:]) / 2 + (k - (len(lines) - 1) / 2) * np.diff(edges) / 16
            for ax, score in zip(column, ("median", "scatter"), strict=True):
                y, error = (np.where(rows["n"] >= FEWEST, rows[name], np.nan) for name in (score, f"{score}_err"))
                ax.errorbar(x, y, error, **({"markersize": 7, "capsize": 3, "elinewidth": 1.5} | look))
                ax.set_xlim(edges[[0, -1]])
                ax.locator_params("x", nbins=6, steps=[1, 2, 5, 10])
    values, scatter = np.concatenate([line.get_ydata() for ax in axes[1] for line in ax.lines]), axes[1, 0]
    for ax in axes[0]:
        ax.set_ylim(min(ax.get_ylim()[0], -0.05), max(ax.get_ylim()[1], 0.05))
        ax.axhline(0, color="black", linewidth=1, zorder=0)
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0:
        spread = 1.3 * max(np.sqrt(values.max() / values.min()), 1.5)
        scatter.set(yscale="log", ylim=np.sqrt(values.min() * values.max()) * np.array([1 / spread, spread]))
        plain_log(scatter.yaxis)
    else:
        scatter.set_ylim(0, 1.1 * values.max(initial=0) or 1.0)
