"""Exported pages: the explorer lives in them without a kernel and without a network."""

import nbformat
import numpy as np
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import blendkit as bk
from blendkit.widgets.answers import compared

from .conftest import opened_page
from .lab import centre
from .test_explorer import same_pixels


def test_a_finger_drags_and_a_second_one_does_nothing(exported, galaxies):
    (dx, dy), (x, y), step = exported.shift, centre(exported.canvas), round(8 * exported.zoom())
    session = exported.page.context.new_cdp_session(exported.page)

    def touch(kind, *places):
        points = [{"x": x, "y": y, "id": k} for k, (x, y) in enumerate(places)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", (x, y))
    touch("touchMove", (x + step, y))
    assert exported.shift == (dx + 8, dy)
    touch("touchStart", (x + step, y), (x - 60, y + 50))
    touch("touchMove", (x + step, y), (x - 60, y - 50))
    touch("touchEnd")
    assert exported.shift == (dx + 8, dy)
    same_pixels(exported, galaxies)
    assert exported.page.locator("input[data-name=dx]").input_value() == str(dx + 8)


def test_explorers_of_a_notebook_with_other_shapes_and_long_ids(chromium, galaxies, tmp_path):
    """Stamps that are not square, and ids beyond what a browser's numbers hold."""
    catalog = galaxies.catalog.copy()
    catalog["id"] = np.arange(len(catalog)) + 1234567890123456789
    cut = bk.Sample(galaxies.images[:, 16:112, 32:95], galaxies.segmaps[:, 16:112, 32:95], catalog)
    outputs = [new_output("display_data", bk.BlendExplorer(cut)._repr_mimebundle_())]
    cells = [new_markdown_cell("# Two"), *(new_code_cell("explorer", outputs=outputs) for _ in range(2))]
    nbformat.write(new_notebook(cells=cells), tmp_path / "n.ipynb")
    with opened_page(chromium, bk.export_html(tmp_path / "n.ipynb", tmp_path / "n.html")) as explorer:
        assert explorer.page.locator(".bk-blend").count() == 2
        (dx, dy), rng = explorer.shift, np.random.default_rng(1)
        explorer.drag(-5, 0)
        assert explorer.shift == (dx - 5, dy)
        for _ in range(10):
            shift = {"dx": int(rng.integers(-30, 31)), "dy": int(rng.integers(-40, 41))}
            explorer.set(turn_central=int(rng.integers(4)), turn_companion=int(rng.integers(4)), **shift)
            same_pixels(explorer, cut)
        before = explorer.line()
        explorer.page.get_by_text("surprise me").first.click()
        assert explorer.line() != before
        same_pixels(explorer, cut)


def test_other_galaxies_and_their_sky(exported, galaxies):
    page, line = exported.page, exported.line()
    strips, alert = (page.locator(f"[role={role}]") for role in ("listbox", "alert"))
    assert strips.first.locator("[role=option]").count() == 20
    for central, companion in ((0, 19), (7, 3), (12, 13)):
        strips.nth(0).locator("[role=option]").nth(central).click()
        strips.nth(1).locator("[role=option]").nth(companion).click()
        same_pixels(exported, galaxies)
    strips.nth(1).locator("[role=option]").nth(12).click()
    assert "cannot be blended with itself" in alert.inner_text()
    page.get_by_text("surprise me").click()
    same_pixels(exported, galaxies)
    page.get_by_text("reset").click()
    assert (alert.inner_text(), exported.line()) == ("", line)


def test_on_a_phone_nothing_is_too_wide_and_the_blend_comes_before_its_sliders(exported):
    page = exported.page
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.evaluate("scrollTo(0, 0)")
    blend, sliders = page.locator("canvas[role=application]"), page.locator(".bk-controls").first
    box = blend.bounding_box()
    assert box["y"] + box["height"] <= min(800, sliders.bounding_box()["y"])  # all of it is on the first screen
    page.set_viewport_size({"width": 1280, "height": 800})
    assert abs(sliders.bounding_box()["y"] - blend.bounding_box()["y"]) < 20  # beside it


def test_the_network_answers_as_in_python_and_hides_with_the_truth(chromium, networked, galaxies):
    """Dragging works before it is loaded; then every answer is that of Keras, in numbers and in words."""
    asked = bk.deblenders.Network("fractions")
    changes = {"dx": -9, "dmag": 1.5}, {"dy": 25, "turn_companion": 5}, {"dx": 0, "dy": 1}, {"extra_noise": 5}
    with opened_page(chromium, networked) as explorer:
        page, (dx, dy) = explorer.page, explorer.shift
        hide, said = page.get_by_text("hide the truth", exact=True), page.locator("[role=status]")
        explorer.drag(3, 0)
        assert explorer.shift == (dx + 3, dy)
        explorer.settle()
        for change in changes:
            explorer.set(**change)
            explorer.settle()
            expected = asked(explorer.array("image", np.float32)[None])[0]
            for name in ("flux", "flux_err", "out_of_domain"):
                given = page.evaluate(f"Array.from(document.querySelector('.bk-blend').answer.{name})")
                np.testing.assert_allclose(given, expected[name], rtol=1e-4, err_msg=f"{name} {change}")
            true = eval(explorer.line(), {"bk": bk, "sample": galaxies})["flux"][0]
            words = compared(expected["flux"], galaxies.zeropoint, true, expected["flux_err"])
            assert page.locator(".bk-answers tr:last-child td").all_inner_texts() == words
            assert f"out_of_domain: {expected['out_of_domain']}" in said.inner_text()
        page.get_by_text("show whose light it is").click()
        explorer.set(dx=14, dy=0, extra_noise=0, dmag=0)
        explorer.settle()
        red, _, blue = explorer.painted("shares")[3 * 64 + 1, [3 * 64 + 1, 3 * 78 + 1]].T.astype(int)
        assert ((blue - red) * [1, -1] > 50).all()  # central, companion
        hide.click()
        assert "both galaxies together" in said.inner_text()
        assert page.locator("td:visible, canvas[data-panel=shares]:visible").count() == 0
        assert explorer.get("found") == [{}]
