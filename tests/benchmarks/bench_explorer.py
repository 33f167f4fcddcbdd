"""How long the explorer takes to change pixels and to answer, in JupyterLab and in a page: `make bench`.

In a notebook its slider, and one that shows PNG files made by Python, are moved in turn by their real key events; after
each move the picture is read back until it differs. Answers wait 20 ms for a further move. In the page each answer of
the network is compared with that of Keras to the same pixels.
"""

import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

from shared import verdict  # isort: skip
from browser.lab import CHROMIUM, HOW, SAMPLE, SHOWN, Explorer, cells, chromium, jupyterlab, run_notebook

import blendkit as bk

MOVES = 200
*_, MOVE = cells("scripts")


def in_a_notebook(browser, home):
    """Milliseconds, a list for each way."""
    with jupyterlab(home) as lab:
        page = browser.new_page(viewport={"width": 1280, "height": 1400})
        run_notebook(page, lab, cells("timings"), ready="img.bench-png")
        page.wait_for_selector(SHOWN)
        Explorer(page).settle()
        page.add_script_tag(path=Path(__file__).with_suffix(".js"))
        took = page.evaluate("settle()")
        page.get_by_text("ask fractions", exact=True).click()
        return took | page.evaluate(f"measure([{MOVES}])")


def in_a_page(browser, path):
    """The same of the network and of Keras, and by how much they differ at most."""
    explorer = bk.BlendExplorer(eval(SAMPLE))
    keras, took, off = bk.deblenders.Network("fractions", masks=True, images=True), [], []
    bk.export_html(explorer, path, network="fractions")
    page = browser.new_context(offline=True).new_page()
    page.goto(path.as_uri())
    page.wait_for_selector(".bk-blend[data-fresh=true]")
    for k in range(101):
        ms, *given = page.evaluate(MOVE, (7 * k) % 40 - 20)
        image, start = Explorer(page).array("image", np.float32)[None], perf_counter()
        table = keras(image)[0]
        took.append((ms, 1000 * (perf_counter() - start)))
        off.append(np.abs(given / np.r_[table["flux"], table["flux_err"]] - 1).max())
    return dict(zip(("page", "Keras"), np.transpose(took[1:]), strict=True)), max(off)  # at first Keras compiles


if CHROMIUM is None:
    sys.exit(print(f"bench_explorer: {HOW}"))
with tempfile.TemporaryDirectory() as home, chromium() as browser:
    took, off = in_a_notebook(browser, Path(home)), 0
    try:
        in_page, off = in_a_page(browser, Path(home) / "p.html")
        took |= in_page
    except ValueError as why:  # what it is made of cannot be downloaded
        print(f"bench_explorer, the page: {why}")
half, most = ({name: np.percentile(times, q) for name, times in took.items()} for q in (50, 95))
print(f"{MOVES} moves in JupyterLab, 100 in a page, median / 95 %: to pixels (canvas, png), and to the answer")
for name in took:
    print(f"  {name:12s} {half[name]:6.1f} / {most[name]:6.1f} ms")
verdict({
    "canvas: median above 16 ms": half["canvas"] > 16,
    "canvas: 95 % above 33 ms": most["canvas"] > 33,
    f"PNG {half['png'] / half['canvas']:.1f} times as slow, not 5 times": half["png"] < 5 * half["canvas"],
    "fractions: median above 150 ms": half["fractions"] > 150,
    "page: median above 150 ms": half.get("page", 0) > 150,
    f"page and Keras {off:.0e} apart, not 1e-4": off > 1e-4,
})  # fmt: skip
