"""How right the fluxes are (Figures 5 to 9), where each method fails, and whether its errors are honest."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, LogNorm, PowerNorm, to_rgba
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, MultipleLocator, NullFormatter

from ..metrics import (
    FIGURE_5_CASES,
    OUTLIER_DMAG,
    _cases,
    _floats,
    _known,
    _need,
    binned_scores,
    calibration,
    case_shares,
    figure_5_rows,
    flux_scores,
    magnitude_scores,
)
from ..samples import MORPHOLOGIES
from .base import (
    CASE_COLOURS,
    COLOURS,
    FEWEST,
    WIDTH,
    canvas,
    check_tables,
    is_sep,
    matching_said,
    method_styles,
    plain_log,
    put_caption,
    put_legend,
    put_title,
    signed,
)

if TYPE_CHECKING:
    from astropy.table import Table
    from matplotlib.figure import Figure

_BINS = 6  # as in Figures 7 to 9
_RESAMPLES = 100  # behind the error bars of Figure 9: right to 7 %
_DISTANCES = ListedColormap(matplotlib.colormaps["plasma"](np.linspace(0, 0.8, 4)))  # close to far
_SKIES = {"synthetic": ("simulated galaxies", "#E69F00", "o"), "real": ("real HST galaxies", "#0072B2", "D")}
_DELTA_MAG = "central − companion magnitude (mag)"
_NEAR = "distance / $R_e$ of the central (no unit)"
_ABSCISSAE = {  # by: (label, what the title says)
    "delta_mag": (_DELTA_MAG, "beside a fainter or a brighter one"),
    "distance": ("distance (pixels)", "from close to far apart"),
    "separation": (_NEAR, "from close to far apart in effective radii"),
}
_FAILURES = {  # score: (label, of the errors in a cell)
    "median_flux": ("median error of the flux (%)", np.median),
    "outliers": (f"share with |Δmag| > {OUTLIER_DMAG} (%)", np.mean),
}
_ERRORS = ListedColormap(matplotlib.colormaps["magma_r"](np.linspace(0.03, 0.85, 256)))  # small to large
_TYPE_LOOKS = {  # none of them a method's colour
    "all": {"color": "#BBBBBB", "marker": "o", "linewidth": 5},
    "sph": {"color": "#332288", "marker": "s"},
    "disk": {"color": "#999933", "marker": "^", "linestyle": "dashed"},
    "sphd": {"color": "#AA4499", "marker": "D", "linestyle": "dashdot"},
    "irr": {"color": "#661100", "marker": "v", "linestyle": "dotted"},
}
_ABOVE = "Δmag = recovered − isolated: above zero is too faint. "
_BARS = f"Error bars: one sigma. Not drawn: bins with fewer than {FEWEST} galaxies. "
_LEFT = "On the left the companion is fainter. "
_INSET = f"Dashed: ±{OUTLIER_DMAG} mag, outliers lie beyond. Inset: Δmag = recovered − isolated, ends hold the rest. "
_WITHIN = {1: 68.27, 2: 95.45, 3: 99.73}  # sigma: % of a Gaussian


def recovered_magnitudes(blends: Table, predictions: Mapping[str, Table], title: str | None = None) -> Figure:
    """Recovered against isolated magnitude, central and companion x methods (Figure 5).

    Parameters
    ----------
    blends : astropy.table.Table
        With `flux_central`, `flux_companion` and ``meta["zeropoint"]``.
    predictions : mapping of str to astropy.table.Table
        For each method `flux_central` and `flux_companion`, e-/s at the blends' zeropoint, in their order;
        optionally `case` (see `blendkit.metrics.figure_5_rows`) and ``meta["matching"]``.
    title : str, optional
        Above the figure, for example to name the blends; default what to look at.

    Returns
    -------
    matplotlib.figure.Figure
        The four numbers in each panel are `blendkit.metrics.magnitude_scores` of the rows that count, where these
        are ten galaxies or more; the inset is the histogram of Δmag, recovered minus isolated.

    Raises
    ------
    ValueError
        Without blends or methods, a missing zeropoint, or what `blendkit.metrics.check_predictions` refuses.
    """
    check_tables(blends, predictions)
    limits = _magnitude_limits(blends)
    with _panels(predictions, 3.8, 1.4) as (fig, axes):
        for column, pred in zip(axes.T, predictions.values(), strict=True):
            for ax, galaxy in zip(column, FIGURE_5_CASES, strict=True):
                magnitudes = _magnitudes(blends, pred, galaxy, figure_5_rows(pred, galaxy))
                n = np.count_nonzero(np.isfinite(magnitudes[1]))
                _recovered_panel(ax, {galaxy: magnitudes}, limits, f"n {n:,} of {len(blends):,}")
        _label_panels(axes, predictions, "isolated (AB mag)", [f"{g}: recovered (AB mag)" for g in FIGURE_5_CASES])
        put_title(fig, title or "Recovered magnitudes: the closer to the line the better, above it is too faint")
        put_caption(fig, f"{_INSET}{_said_of(predictions)}")
    return fig


def recovered_by_detection(blends: Table, predictions: Mapping[str, Table]) -> Figure:
    """Recovered against isolated magnitude where two galaxies were found, one, or another number (Figure 6).

    Parameters
    ----------
    blends, predictions
        As for `recovered_magnitudes`. SExtractor's column `case`, or else the first, says for all methods which blends
        are in which row of panels; where there is none, all are in one row.

    Returns
    -------
    matplotlib.figure.Figure
        A row for each number found in some blends. Central galaxies and companions together, every one of them; the
        four numbers are `blendkit.metrics.magnitude_scores`.

    Raises
    ------
    ValueError
        As `recovered_magnitudes`.
    """
    check_tables(blends, predictions)
    limits = _magnitude_limits(blends)
    finders = sorted((name for name, pred in predictions.items() if "case" in pred.colnames), key=is_sep, reverse=True)
    rows, found = {"all": np.ones(len(blends), bool)}, ""
    if finders:
        case = _cases(predictions[finders[0]], "The predictions")
        one = np.isin(case, ("only central", "only companion"))
        rows = {"two found": case == "both", "one found": one, "more or none": ~one & (case != "both")}
        rows = {name: here for name, here in rows.items() if here.any()}
        found = f"Found: by {finders[0]}. "
    with _panels(predictions, 3.5, 1.8, len(rows)) as (fig, axes):
        for line, here in zip(axes, rows.values(), strict=True):
            for ax, pred in zip(line, predictions.values(), strict=True):
                magnitudes = {galaxy: _magnitudes(blends, pred, galaxy, here) for galaxy in FIGURE_5_CASES}
                _recovered_panel(ax, magnitudes, limits, f"{here.sum():,} of {len(blends):,} blends")
        _label_panels(axes, predictions, "isolated (AB mag)", [f"{name}: recovered (AB mag)" for name in rows])
        how = ", by how many of the two were found" if finders else ""
        put_title(fig, f"Recovered magnitudes, both galaxies of each blend{how}")
        put_legend(fig, [Patch(color=COLOURS[galaxy], label=galaxy) for galaxy in FIGURE_5_CASES])
        put_caption(fig, f"{found}{_INSET}{matching_said(predictions)}")
    return fig


def errors_by_delta_mag(blends: Table, predictions: Mapping[str, Table], title: str | None = None) -> Figure:
    """Error of each magnitude against the magnitude difference, central and companion x methods (Figure 7).

    Parameters
    ----------
    blends : astropy.table.Table
        As for `recovered_magnitudes`, with `delta_mag` and, in pixels, `distance` and `r_eff_central`.
    predictions, title
        As for `recovered_magnitudes`.

    Returns
    -------
    matplotlib.figure.Figure
        A point for each blend that counts (see `blendkit.metrics.figure_5_rows`), in one of four colours: a quarter
        of the blends each, by distance in effective radii of the central. Boxes in six equal bins: quartiles and
        median, whiskers from 5 to 95 %, where there are ten galaxies or more.

    Raises
    ------
    ValueError
        As `recovered_magnitudes`.
    """
    check_tables(blends, predictions, "delta_mag", "distance", "r_eff_central")
    delta, near = _floats(blends["delta_mag"]), _floats(blends["distance"]) / _floats(blends["r_eff_central"])
    edges, quarters = _equal_bins(delta, _BINS), _quantiles(near, 4)
    colours = ScalarMappable(BoundaryNorm(quarters, len(quarters) - 1), _DISTANCES.resampled(len(quarters) - 1))
    rows = {(g, name): figure_5_rows(pred, g) for g in FIGURE_5_CASES for name, pred in predictions.items()}
    dmags = {
        (galaxy, name): np.subtract(*_magnitudes(blends, predictions[name], galaxy, here)[::-1])
        for (galaxy, name), here in rows.items()
    }
    boxes = {panel: _boxes(delta[rows[panel]], dmag, edges) for panel, dmag in dmags.items()}
    frame = _frame(dmags.values(), boxes.values())
    with _panels(predictions, 3.4, 1.6) as (fig, axes):
        for ax, (panel, here) in zip(axes.flat, rows.items(), strict=True):
            _error_points(ax, delta[here], dmags[panel], colours.to_rgba(near)[here], frame)
            _draw_boxes(ax, boxes[panel], edges)
        _label_panels(axes, predictions, _DELTA_MAG, [f"{g}: Δmag (mag)" for g in FIGURE_5_CASES])
        bar = fig.colorbar(colours, ax=list(axes.ravel()), aspect=50, pad=0.01, spacing="uniform", ticks=quarters)
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.1f}"))
        bar.set_label(_NEAR)
        put_title(fig, title or "Error of each galaxy's magnitude beside a fainter or a brighter one")
        put_caption(
            fig,
            f"{_ABOVE}{_LEFT}Boxes: quartiles and median of {FEWEST} galaxies or more; whiskers: 5 to 95 %. "
            + _said_of(predictions),
        )
    return fig


def median_and_scatter(
    blends: Table,
    predictions: Mapping[str, Table],
    by: str = "delta_mag",
    galaxy: str = "central",
    title: str | None = None,
) -> Figure:
    """Median and standard deviation of Δmag in bins, with error bars (Figure 8).

    Parameters
    ----------
    blends : astropy.table.Table
        As for `recovered_magnitudes`, with `central`, `companion` (ids) and what `by` needs.
    predictions
        As for `recovered_magnitudes`.
    by : {"delta_mag", "distance", "separation"}
        Magnitude difference, central minus companion, in six equal bins; or the distance, in pixels or in effective
        radii of the central, in six bins of as many blends each.
    galaxy : {"central", "companion"}
        Whose magnitude.
    title
        As for `recovered_magnitudes`.

    Returns
    -------
    matplotlib.figure.Figure
        `median` and `scatter` of `blendkit.metrics.binned_scores`, where ten galaxies or more were measured.

    Raises
    ------
    ValueError
        As `recovered_magnitudes`, or an unknown `by` or `galaxy`.
    """
    _one_of("by", by, _ABSCISSAE)
    _one_of("galaxy", galaxy, FIGURE_5_CASES)
    check_tables(blends, predictions)
    (label, where), values, equal = _ABSCISSAE[by], _floats(_known(blends, by)), by == "delta_mag"
    edges = _equal_bins(values, _BINS) if equal else _quantiles(values, _BINS)
    table = binned_scores(blends, predictions, values, edges)
    at = edges if equal else np.arange(len(edges))  # on the axis
    styles = method_styles(predictions)
    with canvas(WIDTH, 5.6) as fig:
        axes = fig.subplots(1, 2)
        for k, (method, (colour, marker)) in enumerate(styles.items()):
            rows = table[(table["method"] == method) & (table["galaxy"] == galaxy)]
            _score_lines(axes, rows, _middles(at, k, len(styles)), color=colour, marker=marker)
        _score_scales(axes[:1], axes[1:], at)
        for ax, name in zip(axes, ("median", "scatter"), strict=True):
            ax.set(xlabel=label, ylabel=f"{name} of Δmag (mag)")
            if not equal:
                ax.set_xticks(at, [f"{edge:g}" for edge in edges])
        put_title(fig, title or f"Error of the {galaxy}'s magnitude {where}")
        put_legend(fig, _line_handles(styles))
        bins = _LEFT if equal else "Bins hold equal numbers of blends. "
        put_caption(fig, f"{_ABOVE}{bins}{_BARS}{_said_of(predictions)}")
    return fig


def by_morphology(blends: Table, predictions: Mapping[str, Table]) -> Figure:
    """Median and scatter of the central galaxy's Δmag against the magnitude difference, by its type (Figure 9).

    Parameters
    ----------
    blends : astropy.table.Table
        As for `recovered_magnitudes`, with `central`, `companion` (ids), `delta_mag` and `morphology_central`.
    predictions
        As for `recovered_magnitudes`.

    Returns
    -------
    matplotlib.figure.Figure
        `median` above and `scatter` below of `blendkit.metrics.binned_scores`, a column per method, a line per type,
        where ten galaxies or more were measured.

    Raises
    ------
    ValueError
        As `recovered_magnitudes`.
    """
    check_tables(blends, predictions, "delta_mag", "morphology_central")
    delta = _floats(blends["delta_mag"])
    edges = _equal_bins(delta, _BINS)
    kinds = np.asarray(blends["morphology_central"]).astype(str)
    types = [kind for kind in MORPHOLOGIES if kind in kinds]
    type_of = np.array([types.index(kind) if kind in types else -1 for kind in kinds])
    lines = {"all": binned_scores(blends, predictions, delta, edges, n_bootstrap=_RESAMPLES)}
    if types:
        cells = _cell_of((type_of, len(types)), (_bin_of(delta, edges), _BINS))
        split = binned_scores(blends, predictions, *cells, n_bootstrap=_RESAMPLES)
        lines |= {kind: split[split["bin"] // _BINS == k] for k, kind in enumerate(types)}
    looks = {kind: _TYPE_LOOKS[kind] for kind in lines}
    with _panels(predictions, 3.2, 2.0) as (fig, axes):
        for column, method in zip(axes.T, predictions, strict=True):
            for k, (kind, table) in enumerate(lines.items()):
                rows = table[(table["method"] == method) & (table["galaxy"] == "central")]
                _score_lines(column, rows, _middles(edges, k, len(lines)), **looks[kind])
        _score_scales(*axes, edges)
        _label_panels(axes, predictions, _DELTA_MAG, ["median of Δmag (mag)", "scatter of Δmag (mag)"])
        put_title(fig, "Error of the central's magnitude by its type, beside a fainter or a brighter companion")
        put_legend(fig, [Line2D([], [], label=kind, **look) for kind, look in looks.items()])
        put_caption(fig, f"{_ABOVE}{_LEFT}{_BARS}{_said_of(predictions)}")
    return fig


def failure_map(
    blends: Table, predictions: Mapping[str, Table], score: str = "median_flux", galaxy: str = "companion"
) -> Figure:
    """Where each method fails, in cells of distance and magnitude difference.

    Parameters
    ----------
    blends : astropy.table.Table
        As for `recovered_magnitudes`, with `central`, `companion` (ids), `delta_mag` and, in pixels, `distance`,
        `r_eff_central` and `r_eff_companion`.
    predictions
        As for `recovered_magnitudes`. All rows count, whatever their detection case.
    score : {"median_flux", "outliers"}
        Median error of the flux, or share of outliers. What was not measured is 100 % wrong, and an outlier.
    galaxy : {"central", "companion"}
        Whose flux.

    Returns
    -------
    matplotlib.figure.Figure
        Up to 6 x 6 cells for each method, fewer for few blends, hatched where they hold fewer than ten. In brackets
        the percentage that was not measured.

    Raises
    ------
    ValueError
        As `recovered_magnitudes`, or an unknown `score` or `galaxy`.
    """
    _one_of("score", score, _FAILURES)
    _one_of("galaxy", galaxy, FIGURE_5_CASES)
    check_tables(blends, predictions, "delta_mag", "distance", "r_eff_central", "r_eff_companion")
    label, statistic = _FAILURES[score]
    radius = np.maximum(_floats(blends["r_eff_central"]), _floats(blends["r_eff_companion"]))
    near, delta = _floats(blends["distance"]) / radius, _floats(blends["delta_mag"])
    bins = int(np.clip(np.sqrt(len(blends) / 30), 2, _BINS))
    edges = _equal_bins(near, bins), _equal_bins(delta, bins)
    cells, _ = _cell_of((_bin_of(delta, edges[1]), bins), (_bin_of(near, edges[0]), bins))
    maps, failed = {}, {}
    for method, pred in predictions.items():
        error, lost = _wrong(blends, pred, galaxy, score)
        maps[method] = _per_cell(error, cells, bins, statistic), _per_cell(lost, cells, bins, np.mean)
        failed[method] = lost.mean()
    norm = _scale_of(np.concatenate([value[np.isfinite(value)] for value, _ in maps.values()]))
    n = len(predictions)
    columns = {4: 2}.get(n, min(n, 3))
    with canvas(WIDTH if n > 1 else 9, 1.8 + 4.2 * -(-n // columns)) as fig:
        axes = fig.subplots(-(-n // columns), columns, squeeze=False)
        for k, (ax, (method, (colour, _))) in enumerate(
            zip(axes.flat, method_styles(predictions).items(), strict=False)
        ):
            _map_panel(ax, *maps[method], *edges, norm)
            lost = f"\n{_digits(failed[method])} % not measured" if failed[method] else ""
            ax.set_title(textwrap.fill(method, 24) + lost)
            ax.set(xlabel="distance / the larger $R_e$ (no unit)", ylabel=_DELTA_MAG if k % columns == 0 else "")
            ax.tick_params(labelleft=k % columns == 0)
            ax.spines["top"].set(visible=True, color=colour, linewidth=5)
        for ax in axes.flat[n:]:
            ax.remove()
        bar = fig.colorbar(ScalarMappable(norm, _ERRORS), ax=list(axes.flat[:n]), aspect=40, pad=0.01)
        bar.set_label(f"{galaxy}: {label}")
        if isinstance(norm, LogNorm):
            plain_log(bar.ax.yaxis)
        put_title(fig, f"Where each method fails on the {galaxy}: the darker, the worse")
        put_caption(
            fig,
            f"In brackets: % not measured, counted as 100 % wrong. Hatched: fewer than {FEWEST} blends. "
            f"Downwards the companion gets fainter. {matching_said(predictions)}",
        )
    return fig


def calibration_curve(blends: Table, predictions: Mapping[str, Table]) -> Figure:
    """Whether predicted errors are as large as the true ones: pulls, and how often the truth is within 1, 2, 3 sigma.

    Parameters
    ----------
    blends
        As for `recovered_magnitudes`, with `central` and `companion` (ids).
    predictions
        As for `recovered_magnitudes`; those with `flux_central_err` and `flux_companion_err` (one sigma) are shown.

    Returns
    -------
    matplotlib.figure.Figure
        Histograms of the pulls, (recovered - isolated flux) / predicted error, on a unit Gaussian, and the shares of
        `blendkit.metrics.calibration` less a Gaussian's.

    Raises
    ------
    ValueError
        As `recovered_magnitudes`, or what `blendkit.metrics.calibration` refuses: no method that predicts errors.
    """
    check_tables(blends, predictions)
    table = calibration(blends, predictions)
    shown = {name: style for name, style in method_styles(predictions).items() if name in table["method"]}
    with canvas(WIDTH, 5.6) as fig:
        *axes, shares = fig.subplots(1, 3, width_ratios=(1, 1, 1.3))
        axes[1].sharey(axes[0])
        for ax, galaxy in zip(axes, FIGURE_5_CASES, strict=True):
            pulls = {name: _pulls(blends, predictions[name], galaxy) for name in shown}
            _pull_panel(ax, pulls, shown)
            ax.set_title(galaxy)
        axes[0].set_ylabel("blends per unit of pull (no unit)")
        axes[1].tick_params(labelleft=False)
        _share_panel(shares, table, shown)
        put_title(fig, "Are the predicted errors honest? Then pulls follow the grey Gaussian")
        galaxies = [
            Line2D([], [], color="0.3", marker="o", markersize=8, linestyle="none", label=galaxy, mfc=face)
            for galaxy, face in zip(FIGURE_5_CASES, ("0.3", "white"), strict=True)
        ]
        put_legend(fig, [Patch(color="0.8", label="unit Gaussian"), *_line_handles(shown), *galaxies])
        without = [name for name in predictions if name not in shown]
        put_caption(
            fig,
            "Pull = (recovered − isolated flux) / predicted error, end bins hold the rest. Right, below zero: "
            "errors are too small. Error bars: one sigma, resampling galaxies."
            + (f" Without errors: {', '.join(without)}." if without else ""),
        )
    return fig


def synthetic_and_real(scores: Table) -> Figure:
    """Flux errors of each method on simulated galaxies and on real ones, side by side.

    Parameters
    ----------
    scores : astropy.table.Table
        As `blendkit.exam` stores it: `sample` ("synthetic" or "real"; other rows are left out), `method`, `galaxy`,
        `mape` and `mape_err` in %.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        Where a column is missing, or no method was scored on both.
    """
    _need(scores, "The scores", "sample", "method", "galaxy", "mape", "mape_err")
    value = {(row["sample"], row["method"], row["galaxy"]): (row["mape"], row["mape_err"]) for row in scores}
    methods = [
        name
        for name in dict.fromkeys(scores["method"])
        if all(np.isfinite(value.get((sample, name, "central"), (np.nan,))[0]) for sample in _SKIES)
    ]
    if not methods:
        raise ValueError("The scores hold no method on both 'synthetic' and 'real' galaxies: run blendkit.exam first.")
    with canvas(WIDTH, 0.55 * len(methods) + 2.6) as fig:
        for ax, galaxy in zip(fig.subplots(1, 2, sharex=True, sharey=True), FIGURE_5_CASES, strict=True):
            for y, name in enumerate(methods):
                ends = [value[sample, name, galaxy] for sample in _SKIES]
                ax.plot([mape for mape, _ in ends], [y, y], color="0.7", zorder=0)
                for (mape, error), (_, colour, marker) in zip(ends, _SKIES.values(), strict=True):
                    ax.errorbar(mape, y, xerr=error, color=colour, marker=marker, markersize=9, capsize=3)
            ax.set(title=galaxy, xlabel="mean error of the flux (%)", yticks=range(len(methods)), yticklabels=methods)
            ax.set_xlim(left=0)
        ax.invert_yaxis()
        put_title(fig, "What a method loses when it leaves the simulation")
        put_legend(fig, [Line2D([], [], color=colour, marker=marker, markersize=9, linestyle="none", label=text)
                         for text, colour, marker in _SKIES.values()])  # fmt: skip
        put_caption(fig, "Error bars: one sigma, resampling galaxies. Galaxies that were not measured are left out.")
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
        Bars of shares in %, their one-sigma errors in the text.

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
    with canvas(WIDTH, 1.1 * len(tables) + 1.9) as fig:
        ax = fig.subplots()
        for y, table in enumerate(tables.values()):
            _split_bar(ax, y, {row["case"]: (100 * row["share"], 100 * row["share_err"]) for row in table})
        ax.set_yticks(range(len(tables)), [textwrap.fill(name, 22) for name in tables], fontsize=13)
        ax.tick_params(axis="y", length=0)
        ax.set(
            xlim=(0, 100),
            ylim=(len(tables) - 0.4, -0.35),
            xlabel="share of the blends (%), ± one sigma",
        )
        ax.spines["left"].set_visible(False)
        seen = {row["case"] for table in tables.values() for row in table if row["share"] > 0}
        handles = [Patch(color=colour, label=case) for case, colour in CASE_COLOURS.items() if case in seen]
        fig.legend(handles=handles, loc="outside lower center", ncols=5, handlelength=1.2, columnspacing=1.5)
        put_title(fig, "Which of the two galaxies are detected?")
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
        Without blends or methods, or what `blendkit.metrics.check_predictions` refuses.
    """
    check_tables(blends, predictions)
    n = len(predictions)
    with canvas(WIDTH, 1.4 * n + 2.3) as fig:
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
        put_title(fig, "Measured over isolated flux: 1 is all of the galaxy's light and nothing else")
        put_caption(
            fig,
            "Boxes: quartiles and median; whiskers: 5 to 95 %. Error: |measured / isolated − 1|, its mean is the MAPE. "
            + matching_said(predictions),
        )
    return fig


@contextmanager
def _panels(predictions, height, extra, rows=2):
    """A figure and its axes (rows, methods): side by side for one method, wrapped after four."""
    n = len(predictions)
    blocks = -(-n // 4)
    columns = -(-n // blocks)
    lines = 1 if n == 1 else rows * blocks
    with canvas(min(12, max(WIDTH if n == 1 else 9.5, 4 * n)), extra + height * lines * (1.2 if n == 1 else 1)) as fig:
        if n == 1:
            yield fig, fig.subplots(1, rows, squeeze=False).T
            return
        axes = fig.subplots(lines, columns, squeeze=False)
        axes = axes.reshape(blocks, rows, columns).swapaxes(0, 1).reshape(rows, -1)
        for ax in axes[:, n:].flat:
            ax.remove()
        yield fig, axes[:, :n]


def _label_panels(axes, predictions, xlabel, ylabels):
    """The methods above what the first row's titles say, a stripe in their colours, and labels at the outer scales."""
    n = len(predictions)
    columns = -(-n // -(-n // 4))
    for line in axes:  # their first lines side by side
        lines = [ax.get_title().count("\n") for ax in line]
        for ax, used in zip(line, lines, strict=True):
            ax.set_title(ax.get_title() + "\n" * (max(lines) - used))
    for row, (line, ylabel) in enumerate(zip(axes, ylabels, strict=True)):
        for k, (ax, (method, (colour, _))) in enumerate(zip(line, method_styles(predictions).items(), strict=True)):
            first, last, left = row == 0 or n == 1, row == len(axes) - 1 or n == 1, k % columns == 0
            if first:
                ax.set_title("\n".join(filter(None, (textwrap.fill(method, 24), ax.get_title()))))
            ax.set(xlabel=textwrap.fill(xlabel, 24) if last else "", ylabel=ylabel if left else "")
            ax.tick_params(labelbottom=last, labelleft=left)
            ax.spines["top"].set(visible=first, color=colour, linewidth=5)


def _line_handles(looks):
    return [Line2D([], [], color=c, marker=m, markersize=8, label=name) for name, (c, m) in looks.items()]


def _one_of(name, value, allowed):
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(map(repr, allowed))}.")


def _said_of(predictions):
    """Which blends count, and who was told the positions."""
    selected = any("case" in pred.colnames for pred in predictions.values())
    counted = "Counted: both or only this galaxy found. " if selected else ""
    return counted + matching_said(predictions)


def _magnitudes(blends, pred, galaxy, rows):
    """Isolated and recovered magnitudes of these rows; NaN where the flux is not positive."""
    true, flux = (_floats(table[f"flux_{galaxy}"])[rows] for table in (blends, pred))
    flux = np.where(np.isfinite(flux) & (flux > 0), flux, np.nan)
    return tuple(blends.meta["zeropoint"] - 2.5 * np.log10(values) for values in (true, flux))


def _magnitude_limits(blends):
    mags = np.concatenate([_magnitudes(blends, blends, galaxy, slice(None))[0] for galaxy in FIGURE_5_CASES])
    return np.floor(2 * mags.min()) / 2, np.floor(2 * mags.max()) / 2 + 0.5


def _equal_bins(values, bins):
    """Edges of equal bins over all that is known."""
    values = values[np.isfinite(values)]
    return np.histogram_bin_edges(values if len(values) else [0.0], bins)


def _bin_of(values, edges):
    """Index of each value's bin, -1 where it has none; the last bin holds its upper edge."""
    index = np.searchsorted(edges, values, "right") - 1
    index[values == edges[-1]] -= 1
    return np.where(np.isfinite(values) & (index < len(edges) - 1), index, -1)


def _quantiles(values, bins):
    """Edges that leave as many values in each bin, to one digit."""
    values = values[np.isfinite(values)]
    if not len(values):
        return np.array([0.0, 1.0])
    edges = 10 * np.quantile(values, np.linspace(0, 1, bins + 1))
    return np.unique([np.floor(edges[0]), *np.round(edges[1:-1]), np.floor(edges[-1]) + 1]) / 10


def _cell_of(slow, fast):
    """Each blend's cell by two indices, each given with how many there are, and the cells' edges; -1 is in no cell."""
    (i, m), (j, n) = slow, fast
    return np.where((i < 0) | (j < 0), -1, i * n + j), np.arange(m * n + 1) - 0.5


def _recovered_panel(ax, magnitudes, limits, counted):
    """Recovered against isolated magnitudes, {galaxy: (isolated, recovered)}."""
    true, measured = (np.concatenate(both) for both in zip(*magnitudes.values(), strict=True))
    got = magnitude_scores(true, measured)
    low, high = limits
    frame = low - 1.5, high + 1.5
    colours = np.repeat([to_rgba(COLOURS[g]) for g in magnitudes], [len(pair[0]) for pair in magnitudes.values()], 0)
    shuffled = np.random.default_rng(0).permutation(len(true))  # no galaxy hides the other
    size, alpha = np.clip(5000 / max(got["n"], 1), 7, 18), np.clip(15 / np.sqrt(max(got["n"], 1)), 0.4, 0.7)
    ax.scatter(*(v[shuffled] for v in (true, measured)), size, colours[shuffled], alpha=alpha, lw=0, rasterized=True)
    ax.plot(limits, limits, color="black", linewidth=1.5)
    for shift in (-OUTLIER_DMAG, OUTLIER_DMAG):
        ax.plot(limits, np.add(limits, shift), color="black", linewidth=1, linestyle="dashed")
    ax.set(xlim=limits, ylim=frame)
    ax.xaxis.set_major_locator(MultipleLocator(1))
    ax.yaxis.set_major_locator(MultipleLocator(1))
    failed = "failed" if len(magnitudes) == 1 else "galaxies failed"
    ax.set_title(_counts(counted, {failed: got["failed"]}, measured, frame), fontsize=12)
    bias = f"{got['bias']:.3f}".replace("-", "−")
    numbers = (
        f"bias {bias} mag\nscatter {got['scatter']:.3f} mag\n"
        f"outliers {100 * got['outliers']:.2f} %\nMAPE (mag) {got['mape']:.2f} %"
    )
    if got["n"] >= FEWEST:
        ax.text(0.03, 0.98, numbers, transform=ax.transAxes, va="top", zorder=0.5).set_in_layout(False)
    inset = ax.inset_axes((0.56, 0.1, 0.42, 0.2), zorder=0.5)  # behind the points, as the numbers
    dmags = [np.clip((measured - true)[np.isfinite(measured)], -1.49, 1.49) for true, measured in magnitudes.values()]
    inset.hist(dmags, bins=np.linspace(-1.5, 1.5, 31), color=[COLOURS[g] for g in magnitudes], stacked=True)
    inset.axvline(0, color="black", linewidth=1)
    inset.set(xlim=(-1.5, 1.5), xticks=(-1, 0, 1), yticks=[])
    inset.xaxis.set_major_formatter(FuncFormatter(lambda x, _: signed(x)))
    inset.spines["left"].set_visible(False)
    inset.patch.set_visible(False)
    inset.set_title("Δmag (mag)", fontsize=12, pad=2)


def _counts(counted, notes, values, frame):
    """How many count, and in brackets how many of them are not to be seen."""
    notes |= {"off the frame": np.count_nonzero((values < frame[0]) | (values > frame[1]))}
    more = ", ".join(f"{count:,} {what}" for what, count in notes.items() if count)
    if not more:
        return counted
    line = f"{counted} ({more})"
    return line if len(line) <= 28 else f"{counted}\n{textwrap.fill(f'({more})', 28)}"


def _boxes(x, y, edges):
    """Percentiles of what is known in each bin, None where too little is."""
    index = np.where(np.isfinite(y), _bin_of(x, edges), -1)
    names = ("whislo", "q1", "med", "q3", "whishi")
    bins = [y[index == k] for k in range(len(edges) - 1)]
    percentiles = (np.percentile(b, (5, 25, 50, 75, 95)) if len(b) >= FEWEST else None for b in bins)
    return [None if five is None else dict(zip(names, five, strict=True)) for five in percentiles]


def _frame(dmags, boxes):
    """Limits that hold the boxes, their whiskers and 98 % of the errors."""
    dmag = np.concatenate(list(dmags))
    ends = [-0.05, 0.05, *(box[end] for row in boxes for box in row if box for end in ("whislo", "whishi"))]
    if np.isfinite(dmag).any():
        ends += list(np.nanpercentile(dmag, (1, 99)))
    margin = 0.05 * np.ptp(ends)
    return min(ends) - margin, max(ends) + margin


def _error_points(ax, delta, dmag, colours, frame):
    good = np.isfinite(dmag)
    size = np.clip(5000 / max(good.sum(), 1), 7, 18)
    ax.scatter(delta[good], dmag[good], size, colours[good], alpha=0.6, linewidths=0, rasterized=True)
    ax.axhline(0, color="black", linewidth=1)
    ax.set_ylim(frame)
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    ax.set_title(_counts(f"n {good.sum():,}", {"failed": np.count_nonzero(~good)}, dmag, frame), fontsize=12)


def _draw_boxes(ax, boxes, edges):
    filled = [k for k, box in enumerate(boxes) if box]
    middles, widths = (edges[:-1] + edges[1:]) / 2, 0.6 * np.diff(edges)
    ax.bxp(
        [boxes[k] for k in filled], positions=middles[filled], widths=widths[filled], showfliers=False,
        manage_ticks=False, patch_artist=True,
        boxprops={"facecolor": "none", "edgecolor": "black", "linewidth": 1.5},
        medianprops={"color": "black", "linewidth": 2.5}, whiskerprops={"linewidth": 1.5}, capprops={"linewidth": 1.5},
    )  # fmt: skip
    ax.set_xlim(edges[[0, -1]])
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def _middles(edges, k, n):
    """Abscissae of the k-th of n lines: the bins' middles, a little apart so that error bars can be told apart."""
    return (edges[:-1] + edges[1:]) / 2 + (k - (n - 1) / 2) * np.diff(edges) / 16


def _score_lines(axes, rows, x, **look):
    """Median in the first panel and scatter in the second, where bins hold enough."""
    shown = np.asarray(rows["n"]) >= FEWEST
    for ax, score in zip(axes, ("median", "scatter"), strict=True):
        y, error = (np.where(shown, _floats(rows[name]), np.nan) for name in (score, f"{score}_err"))
        ax.errorbar(x, y, error, **({"markersize": 7, "capsize": 3, "elinewidth": 1.5} | look))


def _score_scales(medians, scatters, edges):
    """The same scale for all medians, with zero in sight, and for all scatters, logarithmic unless one is zero."""
    for ax in medians[1:]:
        ax.sharey(medians[0])
    for ax in medians:
        ax.axhline(0, color="black", linewidth=1, zorder=0)
    low, high = medians[0].get_ylim()
    medians[0].set_ylim(min(low, -0.05), max(high, 0.05))
    values = np.concatenate([[], *(line.get_ydata() for ax in scatters for line in ax.lines)])
    low, high = (np.nanmin(values), np.nanmax(values)) if np.isfinite(values).any() else (0.0, 1.0)
    middle, reach = np.sqrt(low * high), 1.3 * max(np.sqrt(high / low), 1.5) if low > 0 else 1.0
    for ax in scatters:
        if low > 0:
            ax.set(yscale="log", ylim=(middle / reach, middle * reach))
            plain_log(ax.yaxis)
        else:
            ax.set_ylim(0, 1.1 * high or 1.0)
    for ax in (*medians, *scatters):
        ax.set_xlim(edges[[0, -1]])
        ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))


def _wrong(blends, pred, galaxy, score):
    """How wrong each measurement is, and whether there is none, both in %, (n,)."""
    true, measured = _magnitudes(blends, pred, galaxy, slice(None))
    dmag = measured - true
    error = np.abs(10 ** (-0.4 * dmag) - 1) if score == "median_flux" else np.abs(dmag) > OUTLIER_DMAG
    failed = np.isnan(dmag)
    return 100 * np.where(failed, 1.0, error), 100.0 * failed


def _per_cell(values, cells, bins, statistic):
    """A statistic of the values in each cell, (bins, bins), NaN where there are too few."""
    groups = (values[cells == k] for k in range(bins**2))
    return np.reshape([statistic(group) if len(group) >= FEWEST else np.nan for group in groups], (bins, bins))


def _scale_of(values):
    """Shades for errors: logarithmic, or by the square root where some are zero."""
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    if low > 0:
        return LogNorm(low, max(high, 1.01 * low))
    return PowerNorm(0.5, vmin=0, vmax=high or 1.0)


def _digits(number):
    return f"{number:.0f}" if number >= 9.95 or number == 0 else f"{number:.1f}"


def _map_panel(ax, value, lost, x, y, norm):
    ax.add_patch(Rectangle((x[0], y[0]), x[-1] - x[0], y[-1] - y[0], facecolor="0.92", edgecolor="0.7", hatch="//"))
    ax.pcolormesh(x, y, np.ma.masked_invalid(value), norm=norm, cmap=_ERRORS, edgecolors="white", linewidth=1)
    for j, i in np.argwhere(np.isfinite(value)):
        colour = "white" if norm(value[j, i]) > 0.55 else "black"
        text = _digits(value[j, i]) + (f"\n({_digits(lost[j, i])})" if lost[j, i] else "")
        ax.text((x[i] + x[i + 1]) / 2, (y[j] + y[j + 1]) / 2, text, ha="center", va="center", color=colour)
    ax.set(xlim=x[[0, -1]], ylim=y[[0, -1]])
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def _pulls(blends, pred, galaxy):
    """(Predicted - true flux) / error, where both are there."""
    true, flux, error = (
        _floats(table[f"flux_{galaxy}{end}"]) for table, end in ((blends, ""), (pred, ""), (pred, "_err"))
    )
    good = np.isfinite(flux) & (flux > 0) & np.isfinite(error) & (error > 0)
    return (flux - true)[good] / error[good]


def _pull_panel(ax, pulls, styles):
    x = np.linspace(-4.5, 4.5, 181)
    ax.fill_between(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), color="0.8")
    for name, values in pulls.items():
        if len(values):
            bins = np.linspace(-4.5, 4.5, 31)
            ax.hist(
                np.clip(values, -4.49, 4.49), bins, density=True, histtype="step", color=styles[name][0], linewidth=2
            )
    ax.set(xlim=(-4.5, 4.5), xlabel="pull (no unit)")
    ax.xaxis.set_major_locator(MultipleLocator(2))


def _share_panel(ax, table, styles):
    """Shares within 1, 2 and 3 sigma less a Gaussian's, central (filled) and companion (open) of each method."""
    ax.axhline(0, color="0.8", linewidth=6, zorder=0)
    n, ends = len(table), [-1.0, 1.0]
    for k, row in enumerate(table):
        colour, marker = styles[row["method"]]
        x = np.array(list(_WITHIN)) + (k - (n - 1) / 2) * min(0.14, 0.76 / n)
        off = np.array([100 * row[f"within_{sigma}"] - share for sigma, share in _WITHIN.items()])
        error = np.array([100 * row[f"within_{sigma}_err"] for sigma in _WITHIN])
        face = colour if row["galaxy"] == "central" else "white"
        ax.errorbar(x, off, error, color=colour, marker=marker, markersize=8, mfc=face, linestyle="none", capsize=3)
        ends += [*(off - np.nan_to_num(error)), *(off + np.nan_to_num(error))]
    ax.set_xticks(
        list(_WITHIN), [f"{sigma} error{'s' * (sigma > 1)}\n{share:.1f} %" for sigma, share in _WITHIN.items()]
    )
    margin = 0.05 * (np.nanmax(ends) - np.nanmin(ends))
    ax.set(xlim=(0.5, 3.5), ylim=(np.nanmin(ends) - margin, np.nanmax(ends) + margin), title="shares within")
    ax.set_ylabel("share − a Gaussian's (percentage points)")


def _split_bar(ax, y, shares):
    left, below = 0.0, []
    for case, colour in CASE_COLOURS.items():
        share, error = shares.get(case, (0.0, np.nan))
        if not share > 0:
            continue
        ax.barh(y, share, left=left, height=0.5, color=colour, edgecolor="white")
        text = f"{share:.1f}" + (f" ± {error:.1f}" if np.isfinite(error) else "") + " %"
        if share > 14:
            colour = "black" if case in ("more", "none") else "white"
            ax.text(left + share / 2, y, text, ha="center", va="center", color=colour, weight="bold")
        else:
            below.append(f"{case} {text}".replace(" ", "\N{NO-BREAK SPACE}"))
        left += share
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
