"""Errors to hover over, to zoom into and to click on (plotly)."""

import numpy as np
import plotly.graph_objects as go
from astropy.table import Table

from ..data.check import require
from ..deblenders.base import check_predictions
from ..metrics.scores import Predictions, values_of
from .stamps import member_errors
from .style import LAYOUT, MEMBERS, SYMBOLS, WORDS, method_styles


def errors_plotly(blends: Table, predictions: Predictions, by: str = "delta_mag", member="companion") -> go.Figure:
    """Error of the magnitude of every blend, in a plotly figure that needs neither pixels nor a kernel.

    `by` is "delta_mag" or "distance". Point i of a trace is row i of the blends; what was not measured has no point.
    """
    require(by in ("delta_mag", "distance"), f"by = {by!r} was given, expected one of delta_mag, distance.")
    fig, x = go.Figure(), values_of(blends, by)
    text, zeropoint = [], blends.meta["zeropoint"]
    for row in blends:
        lines = [f"row {row.index}"]
        for place in np.flatnonzero(row["id"] >= 0):
            mag = zeropoint - 2.5 * np.log10(row["flux"][place])
            lines.append(f"{MEMBERS[min(place, 1)]}: id {row['id'][place]}, {row['morphology'][place]}, {mag:.2f} mag")
        text.append("<br>".join([*lines, f"distance {row['distance']:.1f} pixels"]))
    for name, (colour, marker) in method_styles(predictions).items():
        check_predictions(blends, predictions[name], f"The predictions of {name!r}")
        _, y, size = member_errors(blends, predictions[name], member)
        failed = np.isinf(size).sum()
        fig.add_scattergl(
            x=x, y=y, mode="markers", text=text, name=name + (f" ({failed:,} not measured)" if failed else ""),
            marker={"color": colour, "symbol": SYMBOLS[marker], "size": 7, "opacity": 0.6},
            hovertemplate="%{text}<br>Δmag %{y:+.3f} mag<extra>" + name + "</extra>",
        )  # fmt: skip
    fig.add_hline(0, line={"color": LAYOUT["font"]["color"], "width": 1})
    fig.update_layout(LAYOUT).update_xaxes(title_text=WORDS["median_and_scatter"][by]["panels"][0]["xlabel"])
    return fig.update_yaxes(title_text=f"{member}: Δmag,<br>measured − isolated (mag)")
