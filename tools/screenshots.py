"""Take the pictures of the explorer that README.md shows: ``python -m tools.screenshots docs``."""

import sys
import tempfile
from pathlib import Path

from PIL import Image

import blendkit as bk
from tests.browser.lab import SHOWN, Explorer, chromium, jupyterlab, run_notebook

CELLS = (
    "import blendkit as bk\ntest = bk.clean(bk.load_sample('synthetic', n=60, seed=2))",
    "bk.BlendExplorer(test, ['fractions'])",
)


def main(folder: Path) -> None:
    """Light and dark in JupyterLab, and an exported page on a phone."""
    with tempfile.TemporaryDirectory() as home, jupyterlab(Path(home)) as lab, chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 1300})
        run_notebook(page, lab, list(CELLS), ready=SHOWN)
        explorer = Explorer(page)
        explorer.settle()
        explorer.drag(10, 20)
        explorer.settle()
        output = page.locator(".jp-OutputArea-child", has=page.locator(".bk-blend")).first
        for theme in ("Light", "Dark"):
            page.click("text=Settings >> nth=0")
            page.hover("text=Theme >> nth=0")
            page.click(f"text=JupyterLab {theme} >> nth=0")
            page.mouse.move(5, 5)
            page.wait_for_timeout(1500)
            output.screenshot(path=folder / f"explorer-{theme.lower()}.png")
        sample = bk.clean(bk.load_sample("synthetic", n=60, seed=2))
        path = bk.export_html(bk.BlendExplorer(sample), Path(home) / "p.html")
        phone = browser.new_page(viewport={"width": 390, "height": 844})
        phone.goto(path.as_uri())
        phone.wait_for_selector(SHOWN)
        phone.screenshot(path=folder / "explorer-phone.png")
    for path in folder.glob("explorer-*.png"):
        Image.open(path).convert("RGB").save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
