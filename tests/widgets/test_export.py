"""Pages without a kernel; what they do in a browser is tested in ``tests/browser``."""

import re

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import blendkit as bk
from blendkit.widgets.export import WIDGET_VIEW


def asks_nobody(page):
    """The page, which forbids requests before anything else, and makes none."""
    asking = r"<script[^>]*src|<link|<iframe|@import|\bsrc=(?![\"']?data:)|url\((?![\"']?data:)|mathjax|require\.js"
    assert not re.findall(asking, re.sub("<img[^>]*example.org.*?>", "", page))
    assert page.count("default-src 'none'") == 1
    policy = page.index("Content-Security-Policy")
    assert page.index("<head>") < policy < min(page.index("<style"), page.index("<body"))
    return page


def test_widgets_leave_pictures_with_captions_or_a_sentence(galaxies, tmp_path):
    view = {WIDGET_VIEW: {"model_id": "x", "version_major": 2, "version_minor": 0}, "text/plain": "VBox()"}
    plot = {"application/vnd.plotly.v1+json": {"data": [], "layout": {}}}
    foreign = {"text/html": "<img src='https://example.org/a.png'>"}
    inspector, live = bk.StampInspector(galaxies, tmp_path / "d.csv"), bk.BlendExplorer(galaxies)
    left = (widget._repr_mimebundle_() for widget in (inspector, live))
    bundles = view | {"image/png": "iVBORw0KGgo="}, view, plot, foreign, *left
    cells = [new_code_cell("x", outputs=[new_output("display_data", bundle)]) for bundle in bundles]
    cells.append(new_markdown_cell("# [Zenodo](https://zenodo.org)"))
    nbformat.write(new_notebook(cells=cells), tmp_path / "n.ipynb")
    page = asks_nobody(bk.export_html(tmp_path / "n.ipynb", tmp_path / "n.html").read_text())
    assert page.count("standalone(here, {") == 1  # an explorer stays live
    picture = page.index("data:image/png;base64,iVBORw0KGgo=")
    assert picture < page.index("A picture of the live widget: open the notebook")
    assert page.count("A picture of the live widget") == 2
    assert page.count("A live widget: open the notebook") == 2
    assert all(said in page for said in ("Left to right: as observed", 'href="https://zenodo.org"'))
    assert not re.findall(r"VBox\(\)|html-manager", page)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["n.html", "n.ipynb"]


def test_a_page_holds_twenty_galaxies_and_starts_with_what_is_shown(galaxies, tmp_path):
    explorer = bk.BlendExplorer(galaxies, central=500004, companion=500009)
    explorer.dx.value, explorer.turn_companion.value, explorer.dmag.value = -20, 5, 0.5
    data = explorer.page()
    ids, mags = ([galaxy[name] for galaxy in data["galaxies"]] for name in ("id", "mag"))
    assert (len(set(ids)), [ids[k] for k in data["start"]]) == (20, ["500004", "500009"])
    assert mags == sorted(mags)
    assert [data["settings"][name] for name in ("dx", "turn_companion", "dmag")] == [-20, 5, 0.5]
    few = bk.BlendExplorer(galaxies[:3])
    assert len(few.page()["galaxies"]) == 3
    asks_nobody(bk.export_html(few, tmp_path / "a" / "few.html").read_text())
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["few.html"]
