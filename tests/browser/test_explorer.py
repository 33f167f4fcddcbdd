"""The explorer in JupyterLab: pixels, hands, keys, answers."""

import re

import numpy as np

import blendkit as bk
from blendkit.widgets.view import noise_field

from .lab import SAMPLE, SHOWN, Explorer, slider, still

LIMITS = {"dx": (-63, 63), "dy": (-63, 63), "dmag": (-3, 3), "turn_central": (0, 7), "turn_companion": (0, 7)}


def recreated(sample, line):
    """The recipe that a copied line makes."""
    return eval(line, {"bk": bk, "sample": sample})


def same_pixels(explorer, sample, noise=0.0):
    """The browser's array is what `render` makes of the copied line: equal, or within 4 ulp where dmag is not 0."""
    blends = recreated(sample, explorer.line())
    (image,), masks, _ = bk.render(sample, blends)
    if noise:
        sigma = explorer.page.evaluate("document.querySelector('.bk-blend').blendkit.model.get('sigma')")
        image = image + np.float32(noise * sigma) * noise_field(image.shape)
    allowed = 4 * np.spacing(np.abs(bk.blending.render_parts(sample, blends)[0]).max(axis=0))
    if blends["dmag"][0] == 0 and not noise:
        allowed = 0
    assert (np.abs(explorer.pixels() - image) <= allowed).all()
    drawn = explorer.page.evaluate("document.querySelector('.bk-blend').blendkit.masks.map((mask) => Array.from(mask))")
    np.testing.assert_array_equal(np.reshape(drawn, (2, *image.shape)), np.moveaxis(masks[0], -1, 0))
    return blends


def greys(pixels, noise, white, stretch=0.0):
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
        blends = same_pixels(explorer, galaxies)
        assert [blends["dx"][0], blends["dmag"][0]] == [setting["dx"], setting["dmag"]]
    explorer.set(extra_noise=1.5, dmag=0)
    same_pixels(explorer, galaxies, noise=1.5)


def test_what_is_painted_is_what_was_added_up(explorer, galaxies):
    explorer.set(dx=15, dy=-8, dmag=0.5)
    blends = recreated(galaxies, explorer.line())
    (central, companion), masks = bk.blending.render_parts(galaxies, blends)[0], bk.render(galaxies, blends)[1][0]
    sigma, white = explorer.page.evaluate(
        "['sigma', 'white'].map((name) => document.querySelector('.bk-blend').blendkit.model.get(name))"
    )
    for stretch in (0, 1.2):
        explorer.set(stretch=stretch)
        for name, pixels in (("central", central), ("companion", companion)):
            painted = explorer.painted(name)[1::3, 1::3].astype(float)
            assert (painted[..., 0] == painted[..., 2]).all()
            assert np.abs(painted[..., 0] - greys(pixels, sigma, white, stretch)).max() <= 1.5
        painted = explorer.painted("blend")[1::3, 1::3].astype(float)
        expected = greys(central + companion, sigma, white, stretch)
        bare = (painted.max(axis=-1) == painted.min(axis=-1)) & (np.abs(painted[..., 0] - expected) <= 1.5)
        assert bare.mean() > 0.85  # but for ellipses
    colours = np.array([[38, 38, 38], [86, 180, 233], [230, 159, 0], [255, 255, 255]])
    np.testing.assert_array_equal(explorer.painted("masks")[1::3, 1::3], colours[masks[..., 0] + 2 * masks[..., 1]])
    before = explorer.painted("profile")
    for colour in colours:
        assert (before == colour).all(axis=-1).any()
    explorer.set(dx=30)
    assert (explorer.painted("profile") != before).any()


def test_ellipses_and_outlines_are_drawn_where_they_are(notebook):
    masks = (
        "import numpy as np\nfrom astropy.table import Table\n"
        "def box(images):\n"
        "    masks = np.zeros((1, 128, 128, 2), bool)\n"
        "    masks[0, 90:110, 20:50, 0] = True\n"
        "    masks[0, 10:20, 90:120, 1] = True\n"
        "    return Table({'flux_central': [1.0], 'flux_companion': [1.0], 'masks': masks})\n"
    )
    explorer = Explorer(
        notebook("import blendkit as bk", masks, f"ex = bk.BlendExplorer({SAMPLE}, box)\nex", ready=SHOWN)
    )
    explorer.settle()
    red, _, light = np.moveaxis(explorer.painted("blend").astype(int), -1, 0)
    blue, orange = light - red > 40, red - light > 40
    for colour, mask in ((blue, (90, 110, 20, 50)), (orange, (10, 20, 90, 120))):
        low, high, left, right = (3 * edge for edge in mask)
        for edge in (colour[low - 2 : low + 2, left:right], colour[high - 2 : high + 2, left:right]):
            assert edge.any(axis=0).mean() > 0.9
        assert not colour[low + 6 : high - 6, left + 6 : right - 6].any()
    found = explorer.page.evaluate("document.querySelector('.bk-blend').blendkit.model.get('found').ellipses")
    assert len(found) == 2
    for x, y, a, _b, theta, which in found:  # the ends of the major axis
        for side in (-1, 1):
            row = round(3 * (y + 0.5 + side * a * np.sin(theta)))
            column = round(3 * (x + 0.5 + side * a * np.cos(theta)))
            assert (blue, orange)[which][row - 4 : row + 5, column - 4 : column + 5].any()


def test_every_slider_moves_what_it_says(explorer):
    """In JupyterLab the handles of ipywidgets, with names for screen readers, in a page native ones."""
    page = explorer.page
    names = ["shift x [pixels]", "shift y [pixels]", "magnitude offset", "extra sky noise", "turn central",
             "turn companion", "stretch"]  # fmt: skip
    for name in names:
        before = [explorer.settings, explorer.painted("blend").tobytes()]
        handle = page.get_by_role("slider", name=name, exact=True)
        assert handle.count() == 1
        handle.press("ArrowRight")
        page.wait_for_timeout(50)
        after = [explorer.settings, explorer.painted("blend").tobytes()]
        assert (after[0] != before[0]) == (name != "stretch")
        assert after[1] != before[1]


def test_the_companion_stays_on_the_stamp(explorer):
    explorer.drag(3000, 0)
    assert explorer.settings["dx"] == 63
    explorer.canvas.focus()
    for _ in range(14):
        explorer.page.keyboard.press("Shift+ArrowDown")
    assert (explorer.settings["dx"], explorer.settings["dy"]) == (63, -63)


def test_the_line_can_be_copied(explorer):
    page = explorer.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_text("copy the line").click()
    page.wait_for_selector("text=copied")
    assert page.evaluate("navigator.clipboard.readText()") == explorer.line()


def test_dragging_moves_by_pixels(explorer):
    start, zoom = explorer.settings, explorer.zoom()
    explorer.drag(round(10 * zoom), round(-7 * zoom))
    assert (explorer.settings["dx"], explorer.settings["dy"]) == (start["dx"] + 10, start["dy"] - 7)
    explorer.drag(60, 0, button="right")
    assert explorer.settings["dx"] == start["dx"] + 10


def test_a_slider_moves_the_picture_and_python_answers(live, galaxies):
    explorer = live
    explorer.settle()
    before = explorer.pixels()
    handle = slider(explorer.page, "shift x [pixels]")
    box = still(handle)
    explorer.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    explorer.page.mouse.down()
    explorer.page.mouse.move(box["x"] + 40, box["y"] + box["height"] / 2, steps=5)
    explorer.page.mouse.up()
    dx = explorer.settings["dx"]
    assert dx > 12
    assert (explorer.pixels() != before).any()
    explorer.settle()
    found = bk.photometry.detect(explorer.pixels())
    word = {0: "nothing", 1: "one object", 2: "two objects"}.get(len(found), f"{len(found)} objects")
    assert f"SEP sees {word}" in explorer.page.locator(".jupyter-widgets [role=status]").inner_text()


def test_dragging_on_the_picture_moves_the_slider(live):
    start, zoom = live.settings, live.zoom()
    live.drag(0, round(-7 * zoom))
    live.settle()
    readout = live.page.locator(".widget-inline-hbox", has=live.page.get_by_text("shift y [pixels]", exact=True))
    assert readout.locator(".widget-readout").first.inner_text().replace("−", "-") == str(start["dy"] - 7)


def test_keys_move_the_companion_and_leave_the_notebook_alone(explorer):
    page, start = explorer.page, explorer.settings
    cells = page.locator(".jp-Cell").count()
    explorer.canvas.focus()
    for key in ("ArrowLeft", "ArrowUp", "ArrowUp", "Shift+ArrowRight"):
        page.keyboard.press(key)
    assert (explorer.settings["dx"], explorer.settings["dy"]) == (start["dx"] + 9, start["dy"] + 2)
    page.keyboard.press("a")
    assert page.locator(".jp-Cell").count() == cells
    assert "9 pixels" not in explorer.canvas.get_attribute("aria-label")
    assert f"{start['dx'] + 9} pixels right and {start['dy'] + 2} up" in explorer.canvas.get_attribute("aria-label")


def test_thumbnails_choose_galaxies_and_hiding_hides(live):
    page, explorer = live.page, live
    explorer.settle()
    for strip in page.locator("[role=listbox]").all():
        chosen, box = strip.locator("[aria-selected=true]").bounding_box(), strip.bounding_box()
        assert box["x"] <= chosen["x"] <= box["x"] + box["width"] - chosen["width"] + 1
    line = explorer.line()
    page.locator("[role=listbox] >> nth=0").locator("[role=option] >> nth=0").click()
    page.wait_for_function("(line) => document.querySelector('.bk-code code').innerText !== line", arg=line)
    explorer.settle()
    page.get_by_text("hide the truth", exact=True).click()
    page.wait_for_function("document.body.innerText.includes('write down your guesses')")
    assert not page.locator("canvas[data-panel=companion]").is_visible()
    told = re.findall(r"\d mag\b", page.locator(".jp-OutputArea").last.inner_text())
    assert len(told) == 1  # of both together
    page.get_by_text("hide the truth", exact=True).click()
    explorer.settle()


def test_a_late_answer_never_overwrites_a_newer_one(notebook):
    slow = (
        "import time\n"
        "from astropy.table import Table\n"
        "asked = []\n"
        "def slow(images):\n"
        "    asked.append(len(asked))\n"
        "    time.sleep(2.0 if len(asked) == 2 else 0.0)\n"
        "    return Table({'flux_central': [10.0 ** (len(asked) - 1)], 'flux_companion': [1.0]})\n"
    )
    tab = notebook("import blendkit as bk", slow, f"ex = bk.BlendExplorer({SAMPLE}, {{'slow': slow}})\nex", ready=SHOWN)
    explorer = Explorer(tab)
    explorer.settle()
    explorer.canvas.focus()
    tab.keyboard.press("ArrowLeft")  # the second question, answered after two seconds
    tab.wait_for_timeout(500)
    assert explorer.settings["dx"] == 11
    tab.keyboard.press("ArrowLeft")  # the third one
    tab.wait_for_selector(".bk-blend[data-fresh=partly]")  # SEP has answered, the method is still busy
    row = tab.locator("tr", has=tab.get_by_text("slow", exact=True))
    assert row.inner_text().split() == ["slow", "…"]
    explorer.settle()
    assert row.inner_text().split()[1] == "20.96"  # 25.96 - 2.5 log10(100): the third answer
    tab.wait_for_timeout(500)
    assert row.inner_text().split()[1] == "20.96"


def test_a_deblender_that_fails_is_told_in_words(notebook):
    broken = "def broken(images):\n    raise RuntimeError('no weights <b>')"
    tab = notebook("import blendkit as bk", broken, f"bk.BlendExplorer({SAMPLE}, broken)", ready=SHOWN)
    tab.wait_for_selector("[role=alert] >> text=broken does not answer: no weights <b>")
    assert "SEP sees" in tab.locator("[role=status]").last.inner_text()
