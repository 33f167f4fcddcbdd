"""How long the network in an exported page takes to answer, from disk and offline, against Keras in Python.

In headless Chromium, from a move of the companion until the answer, 20 ms of which pass in waiting for a further move;
after each, Keras is asked about the same pixels. Run by `make bench`.
"""

import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
from shared import verdict

import blendkit as bk

sys.path.insert(0, str(Path(__file__).parents[1]))

from browser.lab import CHROMIUM, HOW, Explorer, chromium

MOVE = """async (dx) => { const [root, start] = [document.querySelector(".bk-blend"), performance.now()];
  root.blendkit.model.set("dx", dx);
  do await new Promise((go) => setTimeout(go, 1)); while (root.dataset.fresh !== "true");
  return [performance.now() - start, ...root.answer.flux, ...root.answer.flux_err]; }"""


def main(path):
    explorer = bk.BlendExplorer(bk.clean(bk.load_sample("synthetic", n=24, seed=5), n_jobs=1))
    keras, took, off = bk.deblenders.Network("fractions", masks=True, images=True), [], []
    try:
        size = bk.export_html(explorer, path, network="fractions").stat().st_size / 1e6
    except ValueError as why:
        return print(f"bench_page: {why}")
    with chromium() as browser:
        page, start = browser.new_context(offline=True).new_page(), perf_counter()
        page.goto(path.as_uri())
        page.wait_for_selector(".bk-blend[data-fresh=true]")
        print(
            f"fractions in a page of {size:.1f} MB: first answer after {perf_counter() - start:.1f} s; median / 95 %:"
        )
        for k in range(101):
            ms, *given = page.evaluate(MOVE, (7 * k) % 40 - 20)
            image, start = Explorer(page).array("image", np.float32)[None], perf_counter()
            table = keras(image)[0]
            took.append((ms, 1000 * (perf_counter() - start)))
            off.append(np.abs(given / np.r_[table["flux"], table["flux_err"]] - 1).max())
    half, most = np.percentile(took[1:], [50, 95], axis=0)  # at first Keras compiles
    print(
        f"  page {half[0]:.1f} / {most[0]:.1f} ms, Keras {half[1]:.1f} / {most[1]:.1f} ms, at most {max(off):.0e} apart"
    )
    limits = {"median above 150 ms": half[0] > 150, "not equal within 1e-4": max(off) > 1e-4, "above 25 MB": size > 25}
    verdict([text for text, missed in limits.items() if missed])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        main(Path(home) / "p.html") if CHROMIUM else print(f"bench_page: {HOW}")
