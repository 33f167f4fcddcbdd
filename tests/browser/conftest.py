"""A real JupyterLab in a real headless Chromium: one lab, one notebook and one exported page for all tests."""

from __future__ import annotations

import contextlib

import pytest

import blendkit as bk

from . import lab
from .lab import CHROMIUM, HOW, SAMPLE, SHOWN, VIEW, Explorer

CELLS = (
    f"import blendkit as bk\nsample = {SAMPLE}",
    """
import time
import numpy as np

def box(images):
    masks = np.zeros((1, 128, 128, 2), bool)
    masks[0, 90:110, 20:50, 0] = masks[0, 10:20, 90:120, 1] = True
    return {"flux": [[1.0, 1.0]], "masks": masks}

def slow(images):  # two seconds at dx = -33; its first magnitude is 25.96 - dx
    dx = globals()["ex"].dx.value if "ex" in globals() else 12
    time.sleep(2 * (dx == -33))
    return {"flux": [[10 ** (0.4 * dx), 1.0]]}

def broken(images):
    raise RuntimeError("no weights <b>")

ex = bk.BlendExplorer(sample, {'box': box, 'slow': slow, 'broken': broken})
ex""",
    """
blends = bk.draw_blends(sample, 12, seed=1)
images, _, _ = bk.render(sample, blends)
bk.ErrorsBrowser(sample, blends, {"SEP": bk.deblenders.SEP(truth=blends, masks=True)(images)})""",
    "bk.StampInspector(bk.load_sample('synthetic', n=24, seed=5), 'decisions.csv')",
    """
train, valid = bk.split(sample, (0.75, 0.25), seed=1)
plan = bk.training.Plan({"filters": 4}, 64, 32, 4, rate=2e-3)
network = bk.train("blend2flux", train, valid, "quick", seed=1, out="curve", plan=plan)""",
    """
from astropy.table import Table
import blendkit.widgets.field as field

field.ask = lambda network, light, *_: iter([{"share": np.full((1, *light.shape), 0.5)}])
segmap = np.zeros((200, 300), int)
segmap[150:171, 40:61], segmap[20:41, 240:261] = 5, 9
columns = {"id": [5, 9], "x": [50, 250], "y": [160, 30], "flux": [9.0, 5.0], "sep_flux": [9.0, 5.0]}
columns |= {"flux_err": [0.1, 0.1], "n_in_group": [1, 1]}
known = Table(columns, meta={"zeropoint": 25.96, "noise": 0.006})
bk.FieldBrowser(known, segmap, 1.0 * (segmap > 0), np.zeros(segmap.shape))""",
    "from IPython.display import HTML\nHTML('<i id=done>done</i>')",
)
STATE = f"JSON.stringify([{VIEW}.settings, ...['pair', 'stretch', 'hide'].map((name) => {VIEW}.model.get(name))])"


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/browser/" in item.nodeid:
            item.add_marker(pytest.mark.skipif(CHROMIUM is None, reason=HOW))


@pytest.fixture(scope="package")
def chromium():
    pytest.importorskip("playwright", reason="needs playwright: pip install -e '.[test]'")
    with lab.chromium() as browser:
        yield browser


@contextlib.contextmanager
def tab_of(browser, **context):
    """An empty page; any error on its console fails the tests. Gives it and the addresses that it asked for."""
    context = browser.new_context(**context)
    tab, complaints, requests = context.new_page(), [], []
    tab.set_default_timeout(60_000)
    tab.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))
    yield tab, requests
    context.close()
    assert complaints == []


@contextlib.contextmanager
def opened_page(browser, path):
    """An exported page, opened from disk on a phone with networking off; a request but for the file fails the tests."""
    phone = {"viewport": {"width": 390, "height": 800}, "offline": True, "has_touch": True}
    with tab_of(browser, **phone) as (tab, requests):
        tab.goto(path.as_uri())
        tab.wait_for_selector(SHOWN)
        yield Explorer(tab)
        assert [url for url in requests if not url.startswith("blob:")] == [path.as_uri()]  # blobs are its own memory


def framed(page):
    """The explorer in a frame of the page."""
    frame = page.locator("iframe.bk-live").first
    frame.scroll_into_view_if_needed()  # what is out of sight stands still
    explorer = Explorer(frame.element_handle().content_frame())
    explorer.page.wait_for_selector(SHOWN)
    explorer.page.mouse = page.mouse
    return explorer


def wait_until(frame, true):
    """Until an expression is true; Playwright's own way of waiting is against an exported page's policy."""
    for _ in range(300):
        if frame.evaluate(true):
            return
        frame.wait_for_timeout(100)
    raise AssertionError(f"it never came true that {true}")


@pytest.fixture(scope="package")
def notebook(chromium, tmp_path_factory):
    """The explorer of a notebook that has run and holds all widgets; and how the explorer began."""
    size, home = {"width": 1280, "height": 1400}, tmp_path_factory.mktemp("lab")
    with lab.jupyterlab(home) as running, tab_of(chromium, viewport=size) as (tab, _):
        lab.run_notebook(tab, running, list(CELLS), "#done")
        explorer = Explorer(tab)
        explorer.settle()
        yield explorer, tab.evaluate(STATE)


@pytest.fixture
def live(notebook):
    """The explorer in JupyterLab, as it began."""
    explorer, start = notebook
    explorer.settle()  # before, a click would overtake what the last test set
    explorer.page.get_by_text("reset", exact=True).click()
    explorer.page.wait_for_function(f"(start) => {STATE} === start", arg=start)
    explorer.settle()
    return explorer


@pytest.fixture
def exported(chromium, galaxies, tmp_path):
    """The explorer in a page without a kernel."""
    with opened_page(chromium, bk.export_html(bk.BlendExplorer(galaxies), tmp_path / "page.html")) as explorer:
        yield explorer


explorer = pytest.fixture(params=["live", "exported"])(lambda request: request.getfixturevalue(request.param))
