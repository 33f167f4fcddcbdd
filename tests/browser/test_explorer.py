"""The explorer in JupyterLab and in a page without a kernel and without a network: pixels, hands, keys, answers."""

import re

import nbformat
import numpy as np
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import blendkit as bk
from blendkit.widgets.answers import compared
from blendkit.widgets.view import noise_field

from .conftest import opened_page
from .lab import centre

LIMITS = {"dx": (-63, 63), "dy": (-63, 63), "dmag": (-3, 3), "turn_central": (0, 7), "turn_companion": (0, 7)}
COLOURS = np.array([[26, 26, 26], [0, 114, 178], [213, 94, 0], [204, 121, 167]])  # ground, central, companion, both


def same_pixels(explorer, sample, noise=0.0):
    """The browser's array is what `render` makes of the copied line: equal, or within 4 ulp where dmag is not 0."""
    blends = eval(explorer.line(), {"bk": bk, "sample": sample})
    (image,), masks, _ = bk.render(sample, blends)
    parts = np.moveaxis(bk.render_parts(sample, blends)[0], -1, 0)
    if noise:
        image = image + np.float32(noise * explorer.get("sigma")[0]) * noise_field(image.shape)
    allowed = 4 * np.spacing(np.abs(parts).max(axis=0)) * (noise > 0 or blends["dmag"].any())
    assert (np.abs(explorer.array("image", np.float32) - image) <= allowed).all()
    for k in (0, 1):
        np.testing.assert_array_equal(explorer.array(f"masks[{k}]", bool), masks[0, ..., k])
    return blends, parts, masks[0]


def greys(pixels, noise, white, stretch):
    """The picture of pixels: an asinh stretch from -1 noise to white."""
    soft = 2 * noise * 10**stretch
    low, top = np.arcsinh(noise / soft), np.arcsinh(max(white, 2 * noise) / soft)
    return (255 * (np.arcsinh(pixels / soft) + low) / (low + top)).clip(0, 255)


def test_the_browser_adds_up_what_render_does(explorer, galaxies):
    """Parity: 50 settings, bit for bit at dmag = 0, else within 4 ulp of each pixel."""
    rng = np.random.default_rng(3)
    for k in range(50):
        setting = {name: int(rng.integers(low, high + 1)) for name, (low, high) in LIMITS.items()}
        setting["dmag"] = 0 if k % 2 else round(rng.uniform(-3, 3), 4)
        explorer.set(**setting)
        blends, _, _ = same_pixels(explorer, galaxies)
        assert [blends["dx"][0, 1], blends["dmag"][0, 1]] == [setting["dx"], setting["dmag"]]
    explorer.set(extra_noise=1.5, dmag=0)
    same_pixels(explorer, galaxies, noise=1.5)


def test_what_is_painted_is_what_was_added_up(explorer, galaxies):
    explorer.set(dx=15, dy=-8, dmag=0.5)
    _, parts, masks = same_pixels(explorer, galaxies)
    for stretch in (0, 1.2):
        explorer.set(stretch=stretch)
        for name, pixels in zip(("central", "companion", "blend"), (*parts, parts.sum(axis=0)), strict=True):
            painted = explorer.painted(name)[1::3, 1::3].astype(float)
            right = np.abs(painted - greys(pixels, *explorer.get("sigma", "white"), stretch)[..., None]) <= 1.5
            assert right.all(axis=-1).mean() > (0.85 if name == "blend" else 0.9999)  # but for ellipses
    np.testing.assert_array_equal(explorer.painted("masks")[1::3, 1::3], COLOURS[masks[..., 0] + 2 * masks[..., 1]])
    before = explorer.painted("profile")
    explorer.set(dx=30)
    assert (explorer.painted("profile") != before).any()


def test_ellipses_and_outlines_are_drawn_where_they_are(live):
    red, _, light = np.moveaxis(live.painted("blend").astype(int), -1, 0)
    blue, orange = light - red > 40, red - light > 40
    for colour, mask in ((blue, (90, 110, 20, 50)), (orange, (10, 20, 90, 120))):
        low, high, left, right = (3 * edge for edge in mask)
        for edge in (low, high):
            assert colour[edge - 2 : edge + 2, left:right].any(axis=0).mean() > 0.9
        assert not colour[low + 6 : high - 6, left + 6 : right - 6].any()
    found = live.get("found")[0]["ellipses"]
    assert len(found) == 2
    for x, y, a, _b, theta, which in found:  # the ends of the major axis
        for side in (-a, a):
            row, column = round(3 * (y + 0.5 + side * np.sin(theta))), round(3 * (x + 0.5 + side * np.cos(theta)))
            assert (blue, orange)[which][row - 4 : row + 5, column - 4 : column + 5].any()


def test_every_slider_moves_what_it_says(explorer):
    """In JupyterLab the handles of ipywidgets, with names for screen readers, in a page native ones."""
    explorer.page.get_by_text("more sliders", exact=True).click()
    for name in ("shift x [pixels]", "shift y [pixels]", "magnitude offset", "extra sky noise", "turn central",
                 "turn companion", "stretch"):  # fmt: skip
        settings, painted = explorer.settings, explorer.painted("blend")
        explorer.page.get_by_role("slider", name=name, exact=True).press("ArrowRight")
        explorer.page.wait_for_timeout(50)
        assert (explorer.settings != settings) == (name != "stretch")
        assert (explorer.painted("blend") != painted).any()
    explorer.page.get_by_text("more sliders", exact=True).click()


def test_hand_and_keys_move_the_companion_on_the_stamp_and_the_line_can_be_copied(explorer):
    page, (dx, dy) = explorer.page, explorer.shift
    cells = page.locator(".jp-Cell").count()
    explorer.drag(10, -7)
    explorer.drag(20, 0, button="right")
    page.keyboard.press("Escape")  # the menu, which may lie over the picture
    explorer.canvas.focus()
    for key in ("ArrowLeft", "ArrowUp", "ArrowUp", "Shift+ArrowRight", "a"):
        page.keyboard.press(key)
    assert explorer.shift == (dx + 19, dy - 5)
    assert page.locator(".jp-Cell").count() == cells
    assert f"{dx + 19} pixels right and {dy - 5} up" in explorer.canvas.get_attribute("aria-label")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_text("copy the line").click()
    page.wait_for_selector("text=copied")
    assert page.evaluate("navigator.clipboard.readText()") == explorer.line()
    assert explorer.line().endswith(f"], {dx + 19}, {dy - 5})")
    explorer.drag(1000, 0)
    for _ in range(14):
        explorer.canvas.press("Shift+ArrowDown")
    assert explorer.shift == (63, -63)


def test_slider_and_picture_move_each_other_and_python_answers(live):
    page, before = live.page, live.array("image", np.float32)
    x, y = centre(page.get_by_role("slider", name="shift x [pixels]"))
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y, steps=5)
    page.mouse.up()
    assert live.shift[0] > 12
    image = live.array("image", np.float32)
    assert (image != before).any()
    live.settle()
    words = ["nothing", "one object", "two objects", "3 objects"][len(bk.data.photometry.detect(image))]
    assert f"SEP sees {words}" in page.locator(".bk-explorer [role=status]").inner_text()
    assert page.locator("[role=alert] >> text=broken does not answer: no weights <b>").count() == 1
    live.drag(0, -7)
    row = page.locator(".widget-inline-hbox", has=page.get_by_text("shift y [pixels]", exact=True))
    assert row.locator(".widget-readout").first.inner_text().replace("−", "-") == "-1"


def test_thumbnails_choose_galaxies_and_hiding_hides(live):
    page, line = live.page, live.line()
    for strip in page.locator("[role=listbox]").all():
        chosen, box = strip.locator("[aria-selected=true]").bounding_box(), strip.bounding_box()
        assert box["x"] <= chosen["x"] <= box["x"] + box["width"] - chosen["width"] + 1
    page.locator("[role=option] >> nth=0").click()
    page.wait_for_function("(line) => document.querySelector('.bk-code code').innerText !== line", arg=line)
    live.settle()
    page.get_by_text("hide the truth", exact=True).click()
    page.wait_for_function("document.body.innerText.includes('write down your guesses')")
    assert not page.locator("canvas[data-panel=companion]").first.is_visible()
    assert len(re.findall(r"\d mag\b", page.locator(".bk-explorer").inner_text())) == 1  # of both together
    page.get_by_text("hide the truth", exact=True).click()
    live.settle()


def test_a_late_answer_never_overwrites_a_newer_one(live):
    live.set(dx=-33)
    live.page.wait_for_timeout(500)
    live.set(dx=-32)
    live.page.wait_for_selector(".bk-blend[data-fresh=partly]")  # SEP has answered, the method is still busy
    row = live.page.locator("tr", has=live.page.get_by_text("slow", exact=True))
    assert row.inner_text().split() == ["slow", "…"]
    live.settle()
    for wait in (0, 300):
        live.page.wait_for_timeout(wait)
        assert row.inner_text().split()[1] == "57.96"  # 25.96 + 32


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
