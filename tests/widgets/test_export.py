"""Pages without a kernel; what they do in a browser is tested in ``tests/browser``."""

import base64
import gzip
import json
import re

import nbformat
import numpy as np
import pytest
from conftest import refused
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import blendkit as bk
from blendkit.widgets.export import WIDGET_VIEW

HOLDER = r'<script type="application/json" class="bk-network">(.*)</script>'


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
    for kind in ("picture of the live widget", "live widget"):
        assert page.count(f"A {kind}: open the notebook") == 2
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


def test_the_network_of_a_page_gives_what_keras_gives(networked, galaxies):
    """On 60 blends of all kinds, one of them an empty sky; the page asks nobody and names its weights."""
    pieces, rng = json.loads(re.search(HOLDER, networked.read_text())[1]), np.random.default_rng(2)
    asks_nobody(re.sub(HOLDER, "", networked.read_text()))
    assert pieces["weights"] == bk.weights.shipped()["fractions"]["sha256"][:12]
    assert networked.stat().st_size < 25e6
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install -e '.[test]'")
    images = bk.render(galaxies, bk.draw_blends(galaxies, 60, seed=1, max_dmag=4, separation=(0.2, 5)))[0]
    images[10:20] += rng.normal(0, 0.03, images[10:20].shape)
    images[20:30] = images[20:30] * 30 + 0.1  # other units and another sky level
    images[30:35, :, :80] += 5  # unlike all that it knows
    images[35] = rng.normal(0, 0.006, images[35].shape)
    keras = bk.deblenders.Network("fractions", masks=True, images=True)(images)
    session = runtime.InferenceSession(gzip.decompress(base64.b64decode(pieces["model"])))
    answers = zip(*(session.run(None, {"blend": image[None, ..., None]}) for image in images), strict=True)
    page = {output.name: np.concatenate(next(answers)) for output in session.get_outputs()}
    for name in ("flux", "flux_err", "out_of_domain"):
        np.testing.assert_allclose(page[name], keras[name], rtol=1e-4, err_msg=name)
    assert np.isnan(page["flux"]).any(axis=1).nonzero()[0].tolist() == [35]
    assert 1 <= page["out_of_domain"].sum() < 30
    for name in ("images", "masks"):
        off = np.abs(np.moveaxis(page[name], 1, -1).astype(float) - keras[name])
        assert off.mean() < 1e-4 * keras[name].std(), name
    shares = page["shares"]
    assert ((shares > -1e-5) & (shares < 1 + 1e-5)).all()
    one, other = (page["images"] * shares[:, ::-1]).swapaxes(0, 1)  # images are in the ratio of the shares
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5 * images.std())


def test_a_network_that_no_page_can_hold_is_refused(galaxies, tmp_path, monkeypatch):
    explorer, page = bk.BlendExplorer(galaxies), tmp_path / "p.html"
    refused(lambda: bk.export_html(explorer, page, network="nonsense"), "nonsense", "'fractions'")
    monkeypatch.setenv("BLENDKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")  # nobody there
    refused(lambda: bk.export_html(explorer, page, network="fractions"), "npm", "onnxruntime-web")
    assert not page.exists()
