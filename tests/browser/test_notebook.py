"""The other widgets in JupyterLab."""

import numpy as np
import pytest

from .lab import cells, picture, still

POINTS, CUT, _ = cells("scripts")


@pytest.mark.parametrize("inside", [".bk-explorer", ".bk-keys-box", ".bk-field", ".js-plotly-plot"])
def test_a_widget_fits_one_screen(notebook, inside):
    """Of 800 pixels JupyterLab leaves 680 to the notebook. Beside a list of files nothing is cut off or scrolls."""
    tab = notebook[0].page
    tab.set_viewport_size({"width": 1280, "height": 800})
    output = tab.locator(".jp-OutputArea-output", has=tab.locator(inside))
    assert still(output)["height"] <= 680
    assert output.evaluate(CUT) == []
    for axis in output.locator(".xtitle, .ytitle").all():
        title, plot = axis.bounding_box(), output.locator(".js-plotly-plot").bounding_box()
        assert plot["y"] <= title["y"] < title["y"] + title["height"] <= plot["y"] + plot["height"]
    tab.set_viewport_size({"width": 1280, "height": 1400})


def test_a_click_on_a_point_shows_its_blend(notebook):
    tab, seen = notebook[0].page, set()
    plot = tab.locator(".js-plotly-plot")
    output = tab.locator(".jp-OutputArea-output", has=plot)
    points = np.array(plot.evaluate(POINTS), float)
    measured = points[np.isfinite(points).all(axis=1)]
    lonely = [i for i, point in enumerate(points) if (np.abs(measured - point).sum(axis=1) < 20).sum() == 1]
    for row in lonely[:3]:
        box = still(plot)  # the lines of text above it may have become more
        x, y = box["x"] + points[row, 0], box["y"] + points[row, 1]
        tab.mouse.move(x - 3, y)
        tab.mouse.move(x, y)
        tab.wait_for_selector(f".hoverlayer >> text=row {row}")  # plotly clicks on what it hovers over
        tab.mouse.click(x, y)
        output.locator(f"[role=status] >> text=Row {row},").wait_for()
        seen.add(picture(output.locator("canvas[data-panel=blend]")))
    assert len(seen) == 3


def test_a_click_on_an_object_of_a_field_shows_it(notebook):
    widget = notebook[0].page.locator(".bk-field")
    canvas, status = widget.locator("canvas[data-panel=field]"), widget.locator("[role=status]")
    for x, y in ((250, 30), (50, 160)):
        box = still(canvas)
        right, up = (x + 0.5) / 300 * box["width"], (y + 0.5) / 200 * box["height"]
        notebook[0].page.mouse.click(box["x"] + right, box["y"] + box["height"] - up)
        status.get_by_text(f"x {x}, y {y}: 50 %").wait_for()
    alone, beside = (widget.locator(".bk-stamps").nth(k).bounding_box() for k in (0, 1))
    assert alone["y"] == beside["y"]


def test_a_training_is_watched(notebook):
    curve = notebook[0].page.locator(".bk-curve")
    status, (loss, error) = curve.locator("[role=status]"), curve.locator("canvas").all()
    still(loss)
    for word in ("blend2flux · epoch 4: loss", "flux error", "trained"):
        assert word in status.inner_text()
    assert "4 epochs" in loss.get_attribute("aria-label")
    drawn = picture(loss)
    for _ in range(3):
        loss.press("ArrowLeft")
    assert "epoch 2: loss" in status.inner_text()
    assert picture(loss) != drawn
    still(error)
    error.hover(position={"x": 60, "y": 50})
    assert "epoch 1: loss" in status.inner_text()


def test_stamps_are_judged_by_keys(notebook):
    tab = notebook[0].page
    box, before_cells = tab.locator(".bk-keys-box"), tab.locator(".jp-Cell").count()
    canvas = box.locator("canvas").first
    still(canvas)
    before = picture(canvas)
    canvas.click()
    box.locator("select").press("r")  # decides nothing
    canvas.click()
    for key, said in (("r", "2 of 24, 1 decided"), ("ArrowRight", "3 of 24"), ("a", "4 of 24, 2 decided")):
        tab.keyboard.press(key)
        box.get_by_text(said).wait_for()
        assert picture(canvas) != before
    assert tab.locator(".jp-Cell").count() == before_cells
    assert tab.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
