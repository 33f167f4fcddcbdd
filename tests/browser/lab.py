"""JupyterLab on localhost and headless Chromium, for the tests of the widgets, their pictures and their benchmark."""

import base64
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
from PIL import Image

CHROMIUM = os.environ.get("BLENDKIT_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
HOW = "no Chromium here: install it with 'sudo apt install chromium', or name one in BLENDKIT_CHROMIUM"
SAMPLE = 'bk.clean(bk.load_sample("synthetic", n=24, seed=5), n_jobs=1)'
SHOWN = ".bk-blend[data-fresh]"  # an explorer that has drawn its pictures
VIEW = "document.querySelector('.bk-blend').blendkit"  # what the view keeps for the tests


def cells(of: str) -> list[str]:
    """The cells of a notebook for the `tests` or the `timings`."""
    text = Path(__file__).with_name("cells.toml").read_text(encoding="utf-8")
    return tomllib.loads(text.replace("SAMPLE", SAMPLE))[of]


@contextlib.contextmanager
def chromium() -> Iterator:
    """A headless browser."""
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--disable-background-networking"]
    with sync_playwright() as p, p.chromium.launch(executable_path=CHROMIUM, args=arguments) as browser:
        yield browser


@contextlib.contextmanager
def jupyterlab(home: Path) -> Iterator[tuple[str, Path]]:
    """A JupyterLab that nobody else uses, its settings in `home`: its address and the folder that it shows."""
    (folder := home / "notebooks").mkdir()
    (home / "overrides.json").write_text('{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}')
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.root_dir={folder}", "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True",
        f"--LabApp.app_settings_dir={home}",
    ]  # fmt: skip
    places = "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR"
    environment = os.environ | dict.fromkeys(places, str(home))
    environment.pop("MPLBACKEND", None)
    with open(home / "log", "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)
    try:
        end, about = time.monotonic() + 60, home / f"jpserver-{server.pid}.json"  # written when it listens
        while not about.exists() or not about.read_text().endswith("}"):
            if server.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"JupyterLab did not start:\n{(home / 'log').read_text()[-2000:]}")
            time.sleep(0.1)
        yield json.loads(about.read_text())["url"], folder
    finally:
        server.terminate()
        server.wait(20)


def run_notebook(page, lab: tuple[str, Path], cells: list[str], ready: str) -> None:
    """Open a notebook of these cells, run all of it, wait for what `ready` selects."""
    address, folder = lab
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)))
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, folder / "n.ipynb")
    page.goto(f"{address}lab/tree/n.ipynb?reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.wait_for_selector("#jp-main-statusbar >> text=/ipykernel.* Idle/")  # before, it would ask for a kernel
    page.click("text=Run >> nth=0")
    page.click("text=Run All Cells >> nth=0")
    page.wait_for_selector(ready, timeout=120_000)


def still(element) -> dict[str, float]:
    """The box of an element in view that has stopped moving: JupyterLab goes on scrolling to the last cell that ran."""
    box = None
    for _ in range(60):
        element.scroll_into_view_if_needed()
        before, box = box, element.bounding_box()
        if box == before:
            return box
        time.sleep(0.4)
    raise AssertionError(f"the page does not stop moving: last seen at {box}")


def centre(element) -> tuple[float, float]:
    """Where to put the mouse on an element that does not move."""
    box = still(element)
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


class Explorer:
    """What is on screen, and hands to move it; works for the live widget and for an exported page."""

    def __init__(self, page):
        self.page, self.canvas = page, page.locator(".bk-blend canvas[data-panel=blend]").first

    settings = property(lambda self: self.page.evaluate(f"{VIEW}.settings"))
    shift = property(lambda self: (self.settings["dx"], self.settings["dy"]))

    def get(self, *names):
        """Values of the view's model."""
        return self.page.evaluate(f"(names) => names.map((name) => {VIEW}.model.get(name))", names)

    def set(self, **values):
        """Set the view's own values, and save them as sliders do: else the echo of an older one may undo them."""
        each = f"for (const name in values) {VIEW}.model.set(name, values[name])"
        self.page.evaluate(f"(values) => {{ {each}; {VIEW}.model.save_changes(); }}", values)

    def array(self, name, dtype):
        """Pixels that JavaScript has added up."""
        text = self.page.evaluate(f"String.fromCharCode(...new Uint8Array({VIEW}.{name}.buffer))")
        return np.frombuffer(text.encode("latin1"), dtype).reshape(self.page.evaluate(f"{VIEW}.shape"))

    def painted(self, name):
        """What a canvas shows, uint8 (height, width, 3), three pixels for each of the stamp's, the lowest row first."""
        png = base64.b64decode(picture(self.page.locator(f".bk-blend canvas[data-panel={name}]").first)[22:])
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))[::-1]

    def line(self):
        """The line of Python that recreates the recipe."""
        return self.page.locator(".bk-code code").first.inner_text()

    def zoom(self):
        """Screen pixels per pixel of the stamp."""
        return self.canvas.bounding_box()["width"] / self.page.evaluate(f"{VIEW}.shape[1]")

    def drag(self, right, up, button="left"):
        """Drag on the canvas by pixels of the stamp."""
        (x, y), zoom, mouse = centre(self.canvas), self.zoom(), self.page.mouse
        mouse.move(x, y)
        mouse.down(button=button)
        for part in (0.5, 1):
            mouse.move(x + round(right * zoom) * part, y - round(up * zoom) * part)
        mouse.up(button=button)

    def settle(self):
        """Wait for the answer to what is on screen now."""
        self.page.wait_for_selector(".bk-blend[data-fresh=true]")


def picture(canvas) -> str:
    """What a canvas shows, as the address of a PNG."""
    return canvas.evaluate("(canvas) => canvas.toDataURL()")
