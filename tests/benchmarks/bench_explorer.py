"""How long a slider of the explorer takes to change pixels in JupyterLab, against PNG files made by Python.

Both sliders sit in one notebook in headless Chromium and are moved in turn by their real key events; after each move
the picture is read back until it differs. Then: how long after the last move SEP and "fractions" have answered, 20 ms
of which are spent waiting for a further move. Run by `make bench`.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from shared import verdict

sys.path.insert(0, str(Path(__file__).parents[1]))

from browser.lab import CHROMIUM, HOW, SAMPLE, SHOWN, Explorer, chromium, jupyterlab, run_notebook

MOVES = 200
PNG = """
import io
import ipywidgets as ipw
import numpy as np
from PIL import Image

image, dx = ipw.Image(), ipw.IntSlider(0, -60, 60, description="PNG")
image.add_class("bench-png")

def paint(_=None):
    blends = bk.make_blends(sample, sample.catalog["id"][:2], dx.value, 0)
    pictures = np.vstack([bk.render(sample, blends)[0], np.moveaxis(bk.render_parts(sample, blends)[0], -1, 0)])
    grey = 80 * np.clip(np.arcsinh(pictures / 0.02), 0, 3)
    file = io.BytesIO()
    Image.fromarray(np.hstack(grey.repeat(3, 1).repeat(3, 2)).astype("u1")).save(file, "PNG")
    image.value = file.getvalue()

dx.observe(paint, "value")
paint()
ipw.VBox([dx, image])
"""


def main():
    if CHROMIUM is None:
        return print(f"bench_explorer: {HOW}")
    cells = ["import blendkit as bk", f"sample = {SAMPLE}\nex = bk.BlendExplorer(sample, ['fractions'])\nex", PNG]
    with tempfile.TemporaryDirectory() as home, jupyterlab(Path(home)) as lab, chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 1400})
        run_notebook(page, lab, cells, ready="img.bench-png")
        page.wait_for_selector(SHOWN)
        Explorer(page).settle()
        page.add_script_tag(path=Path(__file__).with_suffix(".js"))
        took = page.evaluate("settle()")
        page.get_by_text("ask fractions", exact=True).click()
        took |= page.evaluate(f"measure([{MOVES}])")
    half, most = ({name: np.percentile(times, q) for name, times in took.items()} for q in (50, 95))
    print(f"in JupyterLab, {MOVES} moves, median / 95 %: slider to pixels, and last move to answer")
    for name in took:
        print(f"  {name:12s} {half[name]:6.1f} / {most[name]:6.1f} ms")
    limits = {
        "canvas: median above 16 ms": half["canvas"] > 16,
        "canvas: 95 % above 33 ms": most["canvas"] > 33,
        f"PNG {half['png'] / half['canvas']:.1f} times as slow, not 5 times": half["png"] < 5 * half["canvas"],
        "fractions: median above 150 ms": half["fractions"] > 150,
    }
    verdict([text for text, missed in limits.items() if missed])


if __name__ == "__main__":
    main()
