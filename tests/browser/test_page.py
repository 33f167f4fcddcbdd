"""Exported pages: the explorer lives in them without a kernel and without a network."""

import nbformat
import numpy as np
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import blendkit as bk

from .lab import still


def rendered(galaxies, explorer):
    return bk.render(galaxies, eval(explorer.line(), {"bk": bk, "sample": galaxies}))[0][0]


def fingers(page):
    """A function that puts fingers on the screen: their places, none for all lifted."""
    session = page.context.new_cdp_session(page)

    def touch(kind, *places):
        points = [{"x": x, "y": y, "id": k} for k, (x, y) in enumerate(places)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    return touch


def test_a_finger_drags_and_a_second_one_does_nothing(exported, galaxies):
    start, zoom, touch = exported.settings, exported.zoom(), fingers(exported.page)
    box = still(exported.canvas)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch("touchStart", (x, y))
    touch("touchMove", (x + round(8 * zoom), y))
    assert exported.settings["dx"] == start["dx"] + 8
    touch("touchStart", (x + round(8 * zoom), y), (x - 60, y + 50))
    touch("touchMove", (x + round(8 * zoom), y), (x - 60, y - 50))
    assert (exported.settings["dx"], exported.settings["dy"]) == (start["dx"] + 8, start["dy"])
    touch("touchEnd")
    np.testing.assert_array_equal(exported.pixels(), rendered(galaxies, exported))
    assert exported.page.locator("input[data-name=dx]").input_value() == str(start["dx"] + 8)


def test_explorers_of_an_exported_notebook(opened, galaxies, tmp_path):
    outputs = [new_output("display_data", bk.BlendExplorer(galaxies)._repr_mimebundle_())]
    cells = [new_markdown_cell("# Two"), *(new_code_cell("explorer", outputs=outputs) for _ in range(2))]
    nbformat.write(new_notebook(cells=cells), tmp_path / "n.ipynb")
    explorer = opened(bk.export_html(tmp_path / "n.ipynb", tmp_path / "n.html"))
    assert explorer.page.locator(".bk-blend").count() == 2
    zoom, start = explorer.zoom(), explorer.settings
    explorer.drag(round(-5 * zoom), 0)
    assert explorer.settings["dx"] == start["dx"] - 5
    np.testing.assert_array_equal(explorer.pixels(), rendered(galaxies, explorer))


def test_other_shapes_and_long_ids(opened, galaxies, tmp_path):
    """Stamps that are not square, and ids beyond what a browser's numbers hold."""
    catalog = galaxies.catalog.copy()
    catalog["id"] = np.arange(len(catalog)) + 1234567890123456789
    cut = bk.Sample(galaxies.images[:, 16:112, 32:95], galaxies.segmaps[:, 16:112, 32:95], catalog)
    explorer = opened(bk.export_html(bk.BlendExplorer(cut), tmp_path / "cut.html"))
    rng = np.random.default_rng(1)
    for _ in range(10):
        explorer.set(
            dx=int(rng.integers(-30, 31)), dy=int(rng.integers(-40, 41)), turn_central=int(rng.integers(4)),
            turn_companion=int(rng.integers(4)),
        )  # fmt: skip
        np.testing.assert_array_equal(explorer.pixels(), rendered(cut, explorer))
    explorer.page.get_by_text("surprise me").click()
    np.testing.assert_array_equal(explorer.pixels(), rendered(cut, explorer))


def test_other_galaxies_and_their_sky(exported, galaxies):
    page = exported.page
    strips = page.locator("[role=listbox]")
    assert strips.first.locator("[role=option]").count() == 20
    for central, companion in ((0, 19), (7, 3), (12, 13)):
        strips.nth(0).locator("[role=option]").nth(central).click()
        strips.nth(1).locator("[role=option]").nth(companion).click()
        np.testing.assert_array_equal(exported.pixels(), rendered(galaxies, exported))
    strips.nth(1).locator("[role=option]").nth(12).click()
    assert "cannot be blended with itself" in page.locator("[role=alert]").inner_text()
    before = exported.settings, exported.line()
    page.get_by_text("surprise me").click()
    assert (exported.settings, exported.line()) != before
    np.testing.assert_array_equal(exported.pixels(), rendered(galaxies, exported))
    page.get_by_text("reset").click()
    assert page.locator("[role=alert]").inner_text() == ""
    assert (exported.settings["dx"], exported.settings["dy"]) == (12, 6)
    np.testing.assert_array_equal(exported.pixels(), rendered(galaxies, exported))


def test_nothing_is_wider_than_a_phone(exported):
    assert exported.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_on_a_phone_the_blend_comes_before_its_sliders(exported):
    page = exported.page
    blend, sliders = page.locator("canvas[role=application]"), page.locator(".bk-controls")
    end = blend.bounding_box()["y"] + blend.bounding_box()["height"]
    assert end <= min(800, sliders.bounding_box()["y"])  # all of it is on the first screen
    page.set_viewport_size({"width": 1280, "height": 800})
    assert sliders.bounding_box()["y"] < blend.bounding_box()["y"]
