"""The explorer in JupyterLab and in a page: pixels, hands, keys, answers."""

import re

import numpy as np

import blendkit as bk
from blendkit.widgets.view import noise_field

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
