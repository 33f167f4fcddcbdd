"""Errors to hover over, to zoom into and to click on (plotly)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..metrics import _floats, _need
from .base import check_tables, method_styles
from .masks import delta_mag

if TYPE_CHECKING:
    import plotly.graph_objects
    from astropy.table import Table

    from ..samples import Sample
    from ..widgets.errors_browser import ErrorsBrowser

ABSCISSAE = {
    "delta_mag": "magnitude difference, central − companion (mag)",
    "distance": "distance of the two galaxies (pixels)",
}
_INK, _CLEAR = "#757575", "rgba(0, 0, 0, 0)"  # legible in light and dark notebooks
SHOWN_GALAXIES = ("companion", "central")
_SYMBOLS = {  # of matplotlib's markers
    "o": "circle", "s": "square", "D": "diamond", "^": "triangle-up", "<": "triangle-left", ">": "triangle-right",
    "v": "triangle-down", "P": "cross", "X": "x", "*": "star", "p": "pentagon", "h": "hexagon", "d": "diamond-tall",
}  # fmt: skip


def explore_errors(sample: Sample, blends: Table, predictions: Mapping[str, Table]) -> ErrorsBrowser:
    """Every blend as a point for each method; a click on a point shows that blend, its masks and what is left over.

    Parameters
    ----------
    sample : Sample
    blends : astropy.table.Table
        Recipes.
    predictions : mapping of str to astropy.table.Table
        For each method `flux_central` and `flux_companion`; `masks` and `images` are shown where a method gives them.

    Returns
    -------
    blendkit.widgets.ErrorsBrowser

    Raises
    ------
    ValueError
        As `errors_plotly`.
    """
    from ..widgets.errors_browser import ErrorsBrowser

    return ErrorsBrowser(sample, blends, predictions)


def errors_plotly(
    blends: Table, predictions: Mapping[str, Table], by: str = "delta_mag", galaxy: str = "companion"
) -> plotly.graph_objects.Figure:
    """Error of the magnitude of every blend, in a plotly figure that needs neither pixels nor a kernel.

    Parameters
    ----------
    blends : astropy.table.Table
        With `flux_central`, `flux_companion`, ``meta["zeropoint"]`` and, if `by` is "distance", `distance`; ids, types
        and distances are shown where there are any.
    predictions : mapping of str to astropy.table.Table
        Of each method, in the order of `blends`.
    by : {"delta_mag", "distance"}
        What is on the abscissa.
    galaxy : {"companion", "central"}
        Whose error is on the ordinate.

    Returns
    -------
    plotly.graph_objects.Figure
        A trace for each method, of which point i is row i of the blends. What was not measured has no point; the legend
        says how many these are.

    Raises
    ------
    ValueError
        Where `by` or `galaxy` is another word, a column is missing, or predictions are refused.
    """
    import plotly.graph_objects as go

    check_tables(blends, predictions)
    x = abscissa(blends, by)
    if galaxy not in SHOWN_GALAXIES:
        raise ValueError(f"galaxy = {galaxy!r} was given, expected one of {', '.join(SHOWN_GALAXIES)}.")
    fig, text = go.Figure(), [_in_words(blends[i], i, blends.meta["zeropoint"]) for i in range(len(blends))]
    for name, (colour, marker) in method_styles(predictions).items():
        y = delta_mag(blends, predictions[name], galaxy)
        marker = {"color": colour, "symbol": _SYMBOLS[marker], "size": 7, "opacity": 0.6}
        fig.add_scattergl(
            x=x, y=y, mode="markers", marker=marker, name=legend_name(name, y), text=text,
            hovertemplate="%{text}<br>Δmag %{y:+.3f} mag<extra>" + name + "</extra>",
        )  # fmt: skip
    fig.add_hline(0, line={"color": _INK, "width": 1})
    fig.update_layout(
        template="simple_white", font={"size": 14, "color": _INK}, width=480, height=440, hovermode="closest",
        showlegend=True, paper_bgcolor=_CLEAR, plot_bgcolor=_CLEAR, margin={"l": 70, "r": 10, "t": 30, "b": 110},
        legend={"orientation": "h", "y": -0.21, "yanchor": "top", "x": 0},
        xaxis_title=ABSCISSAE[by], yaxis_title=ordinate_title(galaxy),
    )  # fmt: skip
    for axis in (fig.layout.xaxis, fig.layout.yaxis):
        axis.update(linecolor=_INK, tickcolor=_INK)
    return fig


def abscissa(blends: Table, by: str) -> np.ndarray:
    """Magnitude difference or distance of each blend, (n,)."""
    if by not in ABSCISSAE:
        raise ValueError(f"by = {by!r} was given, expected one of {', '.join(ABSCISSAE)}.")
    if by in blends.colnames:
        return _floats(blends[by])
    _need(blends, "The blends", *(("distance",) if by == "distance" else ("flux_central", "flux_companion")))
    return -2.5 * np.log10(_floats(blends["flux_central"]) / _floats(blends["flux_companion"]))


def ordinate_title(galaxy: str) -> str:
    """What is on the ordinate, with its unit."""
    return f"{galaxy}: Δmag, measured − isolated (mag)"


def legend_name(name: str, errors: np.ndarray) -> str:
    """A method's name, and how many of its errors are NaN."""
    failed = int(np.isnan(errors).sum())
    return name + (f" ({failed:,} not measured)" if failed else "")


def _in_words(row, i, zeropoint):
    """What is known of a blend: two or three lines."""
    lines = [f"row {i}"]
    for galaxy in ("central", "companion"):
        said = [f"id {row[galaxy]}"] if galaxy in row.colnames else []
        said += [str(row[f"morphology_{galaxy}"])] if f"morphology_{galaxy}" in row.colnames else []
        said.append(f"{zeropoint - 2.5 * np.log10(row[f'flux_{galaxy}']):.2f} mag")
        lines.append(f"{galaxy}: {', '.join(said)}")
    return "<br>".join(lines + ([f"distance {row['distance']:.1f} pixels"] if "distance" in row.colnames else []))
