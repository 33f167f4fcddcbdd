"""Take the pictures of the explorer that README.md shows: ``python tests/browser/screenshots.py docs``."""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from PIL import Image

import blendkit as bk
from browser.lab import SHOWN, Explorer, chromium, jupyterlab, run_notebook

CELLS = (
    "import blendkit as bk\n\ntest = bk.clean(bk.load_sample('synthetic', n=60, seed=2))",
    "bk.BlendExplorer(test, ['fractions'])",
)


def main(folder: Path) -> None:
    """Light and dark in JupyterLab, and an exported page on a phone."""
    with tempfile.TemporaryDirectory() as home, jupyterlab(Path(home)) as lab, chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 1300})
        run_notebook(page, lab, list(CELLS), ready=SHOWN)
        explorer = Explorer(page)
        explorer.settle()
        explorer.drag(30, 60)
        explorer.settle()
        output = page.locator(".jp-OutputArea-child", has=page.locator(".bk-blend")).first
        for theme in ("light", "dark"):
            if theme == "dark":
                page.click("text=Settings >> nth=0")
                page.hover("text=Theme >> nth=0")
                page.click("text=JupyterLab Dark >> nth=0")
            page.mouse.move(5, 5)
            page.wait_for_timeout(1500)
            output.screenshot(path=folder / f"explorer-{theme}.png")
        path = bk.export_html(
            bk.BlendExplorer(bk.clean(bk.load_sample("synthetic", n=60, seed=2))), Path(home) / "p.html"
        )
        phone = browser.new_page(viewport={"width": 390, "height": 844})
        phone.goto(path.as_uri())
        phone.wait_for_selector(SHOWN)
        phone.screenshot(path=folder / "explorer-phone.png")
    for path in folder.glob("explorer-*.png"):
        Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
