"""A real JupyterLab in a real headless Chromium."""

from __future__ import annotations

import contextlib

import pytest

import blendkit as bk

from . import lab as lab_module
from .lab import CHROMIUM, HOW, SAMPLE, SHOWN, Explorer, jupyterlab, run_notebook


def pytest_collection_modifyitems(items):
    if CHROMIUM is None:
        for item in items:
            if "tests/browser/" in item.nodeid:
                item.add_marker(pytest.mark.skip(reason=HOW))


@pytest.fixture(scope="package")
def galaxies():
    """The sample that the notebooks of these tests make."""
    return bk.clean(bk.load_sample("synthetic", n=24, seed=5), n_jobs=1)


@pytest.fixture(scope="package")
def chromium():
    pytest.importorskip("playwright", reason="needs playwright: pip install -e '.[test]'")
    with lab_module.chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def lab(tmp_path_factory):
    with jupyterlab(tmp_path_factory.mktemp("lab")) as running:
        yield running


@contextlib.contextmanager
def laptop(browser):
    """An empty page of a laptop's width; any error on its console fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 1400})
    tab = context.new_page()
    tab.set_default_timeout(60_000)
    complaints = []
    tab.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    yield tab
    context.close()
    assert complaints == []


@pytest.fixture
def page(chromium):
    """A page for one test."""
    with laptop(chromium) as tab:
        yield tab


@pytest.fixture
def notebook(lab, page):
    """Opens a notebook of these cells in JupyterLab and runs all of them; gives the page."""

    def opened(*cells, ready):
        run_notebook(page, lab, list(cells), ready)
        return page

    return opened


@pytest.fixture(scope="module")
def shared_tab(chromium, lab):
    """A notebook with an explorer, for all tests of a module: it, and how it began."""
    with laptop(chromium) as tab:
        run_notebook(tab, lab, ["import blendkit as bk", f"ex = bk.BlendExplorer({SAMPLE})\nex"], SHOWN)
        explorer = Explorer(tab)
        explorer.settle()
        yield explorer, explorer.state()


@pytest.fixture
def live(shared_tab):
    """The explorer in JupyterLab, as it began."""
    explorer, start = shared_tab
    explorer.settle()  # before, a click would overtake what the last test set
    explorer.page.get_by_text("reset", exact=True).click()
    explorer.reach(start)
    explorer.settle()
    return explorer


@pytest.fixture
def opened(chromium):
    """Opens exported pages from disk on a phone with networking off; any request but for the file fails the test."""
    context = chromium.new_context(viewport={"width": 390, "height": 800}, offline=True, has_touch=True)
    tab = context.new_page()
    asked_for, requests, complaints = [], [], []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))

    def open_page(path):
        asked_for.append(path.as_uri())
        tab.goto(asked_for[-1])
        tab.wait_for_selector(SHOWN)
        return Explorer(tab)

    yield open_page
    context.close()
    assert requests == asked_for
    assert complaints == []


@pytest.fixture
def exported(opened, galaxies, tmp_path):
    """The explorer in a page without a kernel."""
    return opened(bk.export_html(bk.BlendExplorer(galaxies), tmp_path / "deep" / "page.html"))


@pytest.fixture(params=["live", "exported"])
def explorer(request):
    """The explorer in JupyterLab, and in a page."""
    return request.getfixturevalue(request.param)
