"""How long a slider of the explorer takes to change pixels in JupyterLab, against PNG files made by Python.

Both sliders sit in one notebook in headless Chromium and are moved in turn by their real key events; after each move
the picture is read back until it differs. Then: how long after the last move SEP and "fractions" have answered, 20 ms
of which are spent waiting for a further move.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from browser.lab import CHROMIUM, HOW, SAMPLE, SHOWN, Explorer, chromium, jupyterlab, run_notebook

MOVES = 200
PNG = """
import ipywidgets as ipw
import numpy as np
from blendkit.widgets import picture

image, dx = ipw.Image(), ipw.IntSlider(0, -60, 60, description="PNG")
image.add_class("bench-png")
noise = picture.noise_level(sample.sky)


def paint(_=None):
    blends = bk.make_blends(sample, *sample.catalog["id"][:2], dx.value, 0)
    pictures = [*bk.render(sample, blends)[0], *bk.blending.render_parts(sample, blends)[0]]
    white = float(np.percentile(pictures[1], 99.9))
    image.value = picture.png(picture.side_by_side([picture.grey(p, noise, white) for p in pictures]))


dx.observe(paint, "value")
paint()
ipw.VBox([dx, image])
"""
MEASURE = """
async ([moves]) => {
  const probe = document.createElement("canvas");
  [probe.width, probe.height] = [48, 48];
  const context = probe.getContext("2d", { willReadFrequently: true });
  const look = (picture) => { // the middle of the blend, pixel for pixel
    context.drawImage(picture, -192 + 48 / 2, -192 + 48 / 2);
    return context.getImageData(0, 0, 48, 48).data.join();
  };
  const tick = () => new Promise((go) => { const { port1, port2 } = new MessageChannel();
                                           port1.onmessage = go; port2.postMessage(0); });
  const handle = (text) => [...document.querySelectorAll(".widget-inline-hbox")]
    .find((row) => row.innerText.includes(text)).querySelector(".noUi-handle");
  const ways = {
    canvas: [handle("shift x [pixels]"), () => document.querySelector(".bk-blend canvas")],
    png: [handle("PNG"), () => document.querySelector("img.bench-png")],
  };
  const took = { canvas: [], png: [] };
  const cost = [];
  for (let k = 0; k < moves; k++) {
    for (const [name, [slider, picture]] of Object.entries(ways)) {
      const before = look(picture());
      const key = Math.floor(k / 20) % 2 ? "ArrowLeft" : "ArrowRight";
      const again = performance.now();
      look(picture());
      cost.push(performance.now() - again);
      const start = performance.now();
      slider.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
      await null; // what the key event itself has queued, before any other task
      while (look(picture()) === before && performance.now() - start < 5000) await tick();
      took[name].push(performance.now() - start);
      await new Promise((go) => setTimeout(go, 120));
    }
  }
  return { ...took, look: cost };
}
"""
SETTLE = """
async () => {
  const root = document.querySelector(".bk-blend");
  const { model } = root.blendkit;
  const took = { sep: [], network: [] };
  const answered = async (since, states) => {
    while (!states.includes(root.dataset.fresh) && performance.now() - since < 5000) {
      await new Promise((go) => setTimeout(go, 1));
    }
    return performance.now() - since;
  };
  for (let k = 0; k < 60; k++) {
    for (let step = 0; step < 5; step++) {
      model.set("dx", (k * 7 + step) % 40);
      model.save_changes();
      await new Promise((go) => setTimeout(go, 16));
    }
    const start = performance.now();
    took.sep.push(await answered(start, ["partly", "true"]));
    took.network.push(await answered(start, ["true"]));
    await new Promise((go) => setTimeout(go, 100));
  }
  return took;
}
"""


def main():
    if CHROMIUM is None:
        print(f"bench_explorer: {HOW}")
        return
    cells = ["import blendkit as bk", f"sample = {SAMPLE}\nex = bk.BlendExplorer(sample, ['fractions'])\nex", PNG]
    with tempfile.TemporaryDirectory() as home, jupyterlab(Path(home)) as lab, chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 1400})
        run_notebook(page, lab, cells, ready="img.bench-png")
        page.wait_for_selector(SHOWN)
        Explorer(page).settle()
        answers = page.evaluate(SETTLE)
        page.get_by_text("ask fractions", exact=True).click()
        took = page.evaluate(MEASURE, [MOVES])
    half, most = ({name: np.percentile(times, q) for name, times in (took | answers).items()} for q in (50, 95))
    print(f"slider to pixels in JupyterLab, {MOVES} moves, median / 95 %:")
    for name, text in (("canvas", "drawn in the browser"), ("png", "PNG into ipywidgets.Image")):
        print(f"  {text:28s} {half[name]:6.1f} / {most[name]:6.1f} ms")
    print(f"  (one look at the pixels costs {half['look']:.1f} / {most['look']:.1f} ms, part of both)")
    ratio = half["png"] / half["canvas"]
    print(f"  ratio of the medians         {ratio:6.1f}")
    print("answered after the last move, median / 95 %:")
    for name, text in (("sep", "SEP"), ("network", "fractions")):
        print(f"  {text:28s} {half[name]:6.0f} / {most[name]:6.0f} ms")
    met = {
        "canvas: median at most 16 ms": half["canvas"] <= 16,
        "canvas: 95 % at most 33 ms": most["canvas"] <= 33,
        "PNG at least 5 times slower": ratio >= 5,
        "fractions: median at most 150 ms": half["network"] <= 150,
    }
    print("; ".join(f"{text}: {'met' if yes else 'MISSED'}" for text, yes in met.items()))


if __name__ == "__main__":
    main()
