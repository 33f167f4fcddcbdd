"""How long the network in an exported page takes to answer, opened from disk and offline, against Keras in Python.

Each round moves the companion in headless Chromium and waits for the answer, 20 ms of which are spent waiting for a
further move; then Keras is asked about the same pixels. Run by `make bench`.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from shared import verdict

import blendkit as bk

sys.path.insert(0, str(Path(__file__).parents[1]))

from browser.lab import CHROMIUM, HOW, Explorer, chromium

ROUNDS = 100
MOVE = """async (dx) => {
  const [root, start] = [document.querySelector(".bk-blend"), performance.now()];
  root.blendkit.model.set("dx", dx);
  do await new Promise((go) => setTimeout(go, 1)); while (root.dataset.fresh !== "true");
  return [performance.now() - start, ...root.answer.flux, ...root.answer.flux_err];
}"""


def main():
    if CHROMIUM is None:
        return print(f"bench_page: {HOW}")
    explorer = bk.BlendExplorer(bk.clean(bk.load_sample("synthetic", n=24, seed=5), n_jobs=1))
    keras, took, off = bk.deblenders.Network("fractions", masks=True, images=True), [], 0
    with tempfile.TemporaryDirectory() as home, chromium() as browser:
        try:
            path = bk.export_html(explorer, Path(home) / "p.html", network="fractions")
        except ValueError as why:
            return print(f"bench_page: {why}")
        size, page = path.stat().st_size / 1e6, browser.new_context(offline=True).new_page()
        start = time.perf_counter()
        page.goto(path.as_uri())
        page.wait_for_selector(".bk-blend[data-fresh=true]")
        first, view = time.perf_counter() - start, Explorer(page)
        for k in range(ROUNDS + 1):
            ms, *given = page.evaluate(MOVE, (7 * k) % 40 - 20)
            image = view.array("image", np.float32)[None]
            start = time.perf_counter()
            table = keras(image)[0]
            took.append((ms, 1000 * (time.perf_counter() - start)))
            off = max(off, np.abs(given / np.r_[table["flux"], table["flux_err"]] - 1).max())
    half, most = np.percentile(took[1:], [50, 95], axis=0)  # the first call of Keras compiles
    print(f"fractions in a page of {size:.1f} MB, first answer after {first:.1f} s; {ROUNDS} moves, median / 95 %:")
    for name, median, late in zip(("page", "Keras"), half, most, strict=True):
        print(f"  {name:12s} {median:6.1f} / {late:6.1f} ms")
    print(f"  largest difference from Keras, relative: {off:.1e}")
    limits = {"median above 150 ms": half[0] > 150, "not equal within 1e-4": off > 1e-4, "above 25 MB": size > 25}
    verdict([text for text, missed in limits.items() if missed])


if __name__ == "__main__":
    main()
