"""The browser of errors: a click on a point of the plot shows that blend."""

import numpy as np

from .lab import SAMPLE, still

CELLS = (
    f"import blendkit as bk\nsample = {SAMPLE}",
    "blends = bk.draw_blends(sample, 12, seed=1)\nimages, _, _ = bk.render(sample, blends)",
    "bk.figures.explore_errors(sample, blends, {'SEP': bk.deblenders.SEP(truth=blends, masks=True)(images)})",
)
POINTS = """
(plot) => {
    const { xaxis, yaxis } = plot._fullLayout;
    const { x, y } = plot._fullData[0];
    const place = (axis, value) => axis._offset + axis.l2p(value);
    return Array.from(x, (value, i) => [place(xaxis, value), place(yaxis, y[i])]);
}
"""


def test_a_click_on_a_point_shows_its_blend(notebook):
    tab = notebook(*CELLS, ready=".js-plotly-plot .nsewdrag")
    plot, status = tab.locator(".js-plotly-plot"), tab.locator("[role=status]")
    points = plot.evaluate(POINTS)
    measured = [i for i, (_, y) in enumerate(points) if y is not None and np.isfinite(y)]
    lonely = [
        i
        for i in measured
        if all(abs(points[i][0] - points[k][0]) + abs(points[i][1] - points[k][1]) > 20 for k in measured if k != i)
    ]
    assert len(lonely) > 3
    seen = set()
    for row in lonely[:4]:
        box = still(plot)  # the lines of text above it may have become more
        x, y = box["x"] + points[row][0], box["y"] + points[row][1]
        tab.mouse.move(x - 3, y)
        tab.mouse.move(x, y)
        tab.wait_for_selector(f".hoverlayer >> text=row {row}")  # plotly clicks on what it hovers over
        tab.mouse.click(x, y)
        tab.wait_for_function("(text) => document.querySelector('[role=status]').innerText.startsWith(text)",
                              arg=f"Row {row},")  # fmt: skip
        seen.add(tab.locator("canvas[data-panel=blend]").evaluate("(canvas) => canvas.toDataURL()"))
    assert len(seen) == 4
    assert status.count() == 1
    pictures = tab.locator(".bk-stamps").bounding_box()
    assert abs(pictures["y"] - box["y"]) < 120, "the pictures stand beside the plot, not below it"
