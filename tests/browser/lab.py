"""JupyterLab on localhost and headless Chromium, for the tests of the widgets and for their benchmark."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np

CHROMIUM = os.environ.get("BLENDKIT_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
HOW = "no Chromium here: install it with 'sudo apt install chromium', or name one in BLENDKIT_CHROMIUM"
SAMPLE = 'bk.clean(bk.load_sample("synthetic", n=24, seed=5), n_jobs=1)'
SHOWN = ".bk-blend[data-fresh]"
"""Selects an explorer that has drawn its pictures."""
STATE = """() => {
    const { model, settings } = document.querySelector(".bk-blend").blendkit;
    return [settings, ...["pair", "stretch", "hide"].map((name) => model.get(name))];
}"""


@contextlib.contextmanager
def chromium() -> Iterator:
    """A headless browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@contextlib.contextmanager
def jupyterlab(home: Path) -> Iterator[tuple[str, Path]]:
    """A JupyterLab that nobody else uses, its settings in `home`: its address and the folder that it shows."""
    folder, settings = home / "notebooks", home / "settings"
    for new in (folder, settings):
        new.mkdir()
    (settings / "overrides.json").write_text('{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.port={port}",
        "--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={folder}", "--IdentityProvider.token=",
        "--ServerApp.disable_check_xsrf=True", f"--LabApp.app_settings_dir={settings}",
    ]  # fmt: skip
    places = "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR"
    environment = os.environ | {name: str(home / name) for name in places}
    environment.pop("MPLBACKEND", None)
    with open(home / "log", "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(server, f"{address}/api", home / "log")
        yield address, folder
    finally:
        server.terminate()
        server.wait(20)


def _wait_for(server, address, log):
    for _ in range(600):
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


def run_notebook(page, lab: tuple[str, Path], cells: list[str] | nbformat.NotebookNode, ready: str) -> None:
    """Open a notebook, given whole or as the sources of its cells, run all of it, wait for what `ready` selects."""
    address, folder = lab
    path = folder / f"n{len(list(folder.iterdir()))}.ipynb"
    if isinstance(cells, list):
        cells = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)))
        cells.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(cells, path)
    page.goto(f"{address}/lab/tree/{path.name}?reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.wait_for_selector("#jp-main-statusbar >> text=/ipykernel.* Idle/")  # before, it would ask for a kernel
    page.click("text=Run >> nth=0")
    page.click("text=Run All Cells >> nth=0")
    page.wait_for_selector(ready, timeout=120_000)


def still(element) -> dict[str, float]:
    """The box of an element that is in view and has not moved for half a second.

    JupyterLab goes on scrolling to the last cell that ran; a drag in between would end beside the element.
    """
    box, since = None, 0.0
    for _ in range(300):
        element.scroll_into_view_if_needed()
        before, box = box, element.bounding_box()
        since = since if box == before else time.monotonic()
        if time.monotonic() - since > 0.5:
            return box
        time.sleep(0.05)
    raise AssertionError(f"the page does not stop moving: last seen at {box}")


def slider(page, text: str):
    """The handle of an ipywidgets slider."""
    return page.locator(".widget-inline-hbox", has=page.get_by_text(text, exact=True)).first.locator(".noUi-handle")


class Explorer:
    """What is on screen, and hands to move it; works for the live widget and for an exported page."""

    def __init__(self, page):
        self.page = page
        self.canvas = page.locator(".bk-blend canvas[data-panel=blend]").first

    @property
    def settings(self):
        return self.page.evaluate("document.querySelector('.bk-blend').blendkit.settings")

    def pixels(self, name="image"):
        """The array that was painted."""
        text, shape = self.page.evaluate(
            """(name) => {
                const shown = document.querySelector('.bk-blend').blendkit;
                const bytes = new Uint8Array(shown[name].buffer);
                const part = (i) => String.fromCharCode(...bytes.subarray(i, i + 4096));
                const starts = Array.from({ length: Math.ceil(bytes.length / 4096) }, (_, k) => 4096 * k);
                return [btoa(starts.map(part).join("")), shown.shape];
            }""",
            name,
        )
        return np.frombuffer(base64.b64decode(text), np.float32).reshape(shape)

    def painted(self, name):
        """What a canvas shows, uint8 (height, width, 3), three pixels for each of the stamp's, the lowest row first."""
        pixels, size = self.page.evaluate(
            """(name) => {
                const canvas = document.querySelector(`.bk-blend canvas[data-panel=${name}]`);
                const { width, height } = canvas;
                const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
                copy.drawImage(canvas, 0, 0);
                const data = copy.getImageData(0, 0, width, height).data;
                const parts = Array.from({ length: Math.ceil(data.length / 8192) }, (_, k) =>
                    String.fromCharCode(...data.subarray(8192 * k, 8192 * (k + 1))));
                return [btoa(parts.join("")), [height, width]];
            }""",
            name,
        )
        return np.frombuffer(base64.b64decode(pixels), np.uint8).reshape(*size, 4)[::-1, :, :3]

    def set(self, **values):
        """Set the view's own values, and save them as sliders do: else the echo of an older one may undo them."""
        self.page.evaluate(
            """(values) => {
                const { model } = document.querySelector(".bk-blend").blendkit;
                for (const name in values) model.set(name, values[name]);
                model.save_changes();
            }""",
            values,
        )

    def line(self):
        """The line of Python that recreates the recipe."""
        return self.page.locator(".bk-code code").first.inner_text()

    def drag(self, right, up, button="left"):
        """Drag on the canvas, in screen pixels, once the page has stopped scrolling."""
        box = still(self.canvas)
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.page.mouse.move(x, y)
        self.page.mouse.down(button=button)
        self.page.mouse.move(x + right / 2, y - up / 2)
        self.page.mouse.move(x + right, y - up)
        self.page.mouse.up(button=button)

    def zoom(self):
        """Screen pixels per pixel of the stamp."""
        return self.canvas.bounding_box()["width"] / self.page.evaluate(
            "document.querySelector('.bk-blend').blendkit.shape[1]"
        )

    def state(self):
        """All that a reader can set."""
        return self.page.evaluate(STATE)

    def reach(self, state):
        """Wait until Python, which may be slow, has set this."""
        self.page.wait_for_function(f"(wanted) => JSON.stringify(({STATE})()) === JSON.stringify(wanted)", arg=state)

    def settle(self):
        """Wait for the answer to what is on screen now."""
        self.page.wait_for_selector(".bk-blend[data-fresh=true]")
