"""In JupyterLab, in Chromium, the explorer's slider, and one that shows PNG files made by Python, are moved in turn by
their real key events; after each move the picture is read back until it differs. The first answer counts from the first
picture, later ones from the last of five moves, and wait 20 ms for a further move. In an exported page the network
runs in the browser, and its answers are compared with those of Keras to the same pixels.
"""

import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
from browser.lab import CHROMIUM, HOW, SAMPLE, SHOWN, Explorer, cells, chromium, jupyterlab, run_notebook

import blendkit as bk
from tools.bench.rows import Row

MOVES = 100
*_, MOVE = cells("scripts")
SCRIPT = Path(__file__).with_name("bench_explorer.js")


def first_answer(page):
    """Milliseconds from the first picture to the network's first answer."""
    page.wait_for_selector(SHOWN)
    start = perf_counter()
    Explorer(page).settle()
    return 1000 * (perf_counter() - start)


def in_a_notebook(browser, home):
    """Milliseconds, a list for each way."""
    with jupyterlab(home) as lab:
        page = browser.new_page(viewport={"width": 1280, "height": 1400})
        run_notebook(page, lab, cells("timings"), ready=SHOWN)
        first = [first_answer(page)]
        page.wait_for_selector("img.bench-png")
        page.add_script_tag(path=SCRIPT)
        took = page.evaluate("settle()")
        page.get_by_text("ask fractions", exact=True).click()
        return took | {"first": first} | page.evaluate(f"measure([{MOVES}])")


def in_a_page(browser, path):
    """The same of the network and of Keras, and by how much they differ at most."""
    explorer = bk.BlendExplorer(eval(SAMPLE))
    keras, took, off = bk.deblenders.Network("fractions", masks=True, images=True), [], []
    bk.export_html(explorer, path, network="fractions")
    page = browser.new_context(offline=True).new_page()
    page.goto(path.as_uri())
    first = first_answer(page)
    for k in range(51):
        ms, *given = page.evaluate(MOVE, (7 * k) % 40 - 20)
        image, start = Explorer(page).array("image", np.float32)[None], perf_counter()
        table = keras(image)[0]
        took.append((ms, 1000 * (perf_counter() - start)))
        off.append(np.abs(given / np.r_[table["flux"], table["flux_err"]] - 1).max())
    page, keras = np.transpose(took[1:])  # at first Keras compiles
    return {"page": page, "page first": [first], "keras": keras, "off": off}


def rows():
    if CHROMIUM is None:
        yield Row("the explorer", note=f"not measured: {HOW}")
        return
    with tempfile.TemporaryDirectory() as home, chromium() as browser:
        took, why = in_a_notebook(browser, Path(home)), ""
        try:
            took |= in_a_page(browser, Path(home) / "p.html")
        except ValueError as error:  # what it is made of cannot be downloaded
            why = str(error)
    half, most = ({name: np.percentile(times, q) for name, times in took.items()} for q in (50, 95))
    png, keras, ms = "a PNG from Python", "Keras alone" if "keras" in half else "SEP in the explorer", "ms"
    alone = half.get("keras", half["sep"])
    yield Row("a slider's move to pixels, median", half["canvas"], ms, png, half["png"], most=16, ratio_most=0.2)
    yield Row("the same, 95 %", most["canvas"], ms, png, most["png"], most=33)
    yield Row("SEP's answer in the explorer, median", half["sep"], ms, "`fractions` there", half["fractions"])
    yield Row("`fractions` in the explorer, median", half["fractions"], ms, keras, alone, most=150)
    yield Row("its first answer there", half["first"], ms, "later ones", half["fractions"])
    if why:
        yield Row("the network in a page", note=f"not measured: {why}")
        return
    yield Row("`fractions` in an exported page, median", half["page"], ms, keras, alone, most=150)
    yield Row("its first answer there", half["page first"], ms, "later ones", half["page"])
    eps = np.finfo(np.float32).eps
    yield Row("its fluxes and errors there, off Keras' at most", max(took["off"]), "", "float32's ε", eps, most=1e-4)
