"""Pages without a kernel; what they do in a browser is tested in ``tests/browser``."""

import json
import re

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import blendkit as bk
from blendkit.widgets import export


@pytest.fixture(scope="module")
def galaxies():
    return bk.clean(bk.load_sample("synthetic", n=24, seed=5), n_jobs=1)


def requests_of(page):
    """Whatever would make a browser ask somebody."""
    return re.findall(
        r"<script[^>]*src|<link|<iframe|@import|\bsrc=(?![\"']?data:)|url\((?![\"']?data:)|mathjax|require\.js", page
    )


def test_page_shows_pictures_of_widgets_and_asks_for_no_network(tmp_path):
    view = {export._WIDGET_VIEW: {"model_id": "x", "version_major": 2, "version_minor": 0}, "text/plain": "VBox()"}
    outputs = [new_output("display_data", view | {"image/png": "iVBORw0KGgo="}), new_output("display_data", view)]
    cells = [new_markdown_cell("# [Zenodo](https://zenodo.org)"), new_code_cell("explorer", outputs=outputs)]
    nbformat.write(new_notebook(cells=cells), tmp_path / "n.ipynb")
    page = bk.export_html(tmp_path / "n.ipynb", tmp_path / "n.html").read_text()
    picture = page.index("data:image/png;base64,iVBORw0KGgo=")
    assert picture < page.index("A picture of the live widget: open the notebook in JupyterLab to use it.")
    assert page.count("A live widget") == 1
    assert page.count("A picture of") == 1
    assert "<script" not in page
    assert not requests_of(page)
    assert 'href="https://zenodo.org"' in page
    assert "VBox()" not in page
    assert "html-manager" not in page
    assert sorted(p.name for p in tmp_path.iterdir()) == ["n.html", "n.ipynb"]


def test_explorers_of_a_notebook_stay_live(galaxies, tmp_path):
    bundle = bk.BlendExplorer(galaxies)._repr_mimebundle_()
    cells = [new_code_cell("explorer", outputs=[new_output("display_data", bundle)]) for _ in range(2)]
    nbformat.write(new_notebook(cells=cells), tmp_path / "n.ipynb")
    page = bk.export_html(tmp_path / "n.ipynb", tmp_path / "n.html").read_text()
    assert page.count("standalone(here, {") == 2
    assert "A picture of the live widget" not in page
    assert not requests_of(page)


def test_a_page_holds_twenty_galaxies_with_the_pair_that_is_shown(galaxies, tmp_path):
    explorer = bk.BlendExplorer(galaxies, central=500004, companion=500009)
    data = export.page(explorer)
    ids = [galaxy["id"] for galaxy in data["galaxies"]]
    assert len(ids) == len(set(ids)) == 20
    assert [ids[k] for k in data["start"]] == ["500004", "500009"]
    assert [galaxy["mag"] for galaxy in data["galaxies"]] == sorted(galaxy["mag"] for galaxy in data["galaxies"])
    json.dumps(data)
    few = bk.BlendExplorer(galaxies[:3])
    assert len(export.page(few)["galaxies"]) == 3
    page = bk.export_html(few, tmp_path / "a" / "few.html").read_text()
    assert not requests_of(page)
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["few.html"]


def test_a_page_starts_with_what_the_sliders_show(galaxies):
    explorer = bk.BlendExplorer(galaxies)
    explorer.dx.value, explorer.turn_companion.value, explorer.dmag.value = -20, 5, 0.5
    settings = export.page(explorer)["settings"]
    assert (settings["dx"], settings["turn_companion"], settings["dmag"]) == (-20, 5, 0.5)


def test_pages_forbid_requests_and_say_what_pictures_show(galaxies, tmp_path):
    inspector = bk.StampInspector(galaxies, tmp_path / "d.csv")._repr_mimebundle_()
    plot = {"application/vnd.plotly.v1+json": {"data": [], "layout": {}}}
    foreign = {"text/html": "<img src='https://example.org/a.png'>"}
    cells = [new_code_cell("x", outputs=[new_output("display_data", data)]) for data in (inspector, plot, foreign)]
    nbformat.write(new_notebook(cells=cells), tmp_path / "n.ipynb")
    pages = [bk.export_html(tmp_path / "n.ipynb", tmp_path / "n.html").read_text(),
             bk.export_html(bk.BlendExplorer(galaxies), tmp_path / "e.html").read_text()]  # fmt: skip
    for page in pages:
        policy = page.index("Content-Security-Policy")
        assert page.count("default-src 'none'") == 1
        assert page.index("<head>") < policy < min(page.index("<style"), page.index("<body"))
    assert "Left to right: as observed" in pages[0]
    assert pages[0].count("A picture of the live widget") == 1
    assert pages[0].count("A live widget") == 1


@pytest.mark.parametrize(("content", "error"), [(None, FileNotFoundError), ("no notebook", ValueError)])
def test_what_is_no_notebook_is_refused(tmp_path, content, error):
    path = tmp_path / "n.ipynb"
    if content:
        path.write_text(content)
    with pytest.raises(error, match=r"n\.ipynb.*executed one"):
        bk.export_html(path, tmp_path / "n.html")
    assert not (tmp_path / "n.html").exists()


def test_thumbnails_are_small_and_use_all_of_grey(galaxies):
    thumbs = np.frombuffer(export.thumbnails(galaxies.images[:3], 0.01), np.uint8).reshape(3, export.THUMB, -1)
    assert thumbs.shape == (3, 32, 32)
    assert (thumbs.reshape(3, -1).max(axis=1) == 255).all()
