"""Pages in which explorers live on without a kernel and without a network."""

import json
import logging
import subprocess
import sys
import warnings
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter

from ..data.check import PathLike, require
from ..data.remote import CHECKOUT, drafted
from ..networks.weights import shipped
from .explorer import MIME, BlendExplorer
from .view import CAPTIONS, CSS, HERE, JS, WORDS

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
_PAGE = WORDS["page"]


def export_html(source: BlendExplorer | PathLike, path: PathLike, *, network: PathLike | None = None) -> Path:
    """Write a page in which the explorer lives on, without a kernel and without a network, and give its path.

    `source` is an explorer, or the path of an executed notebook: every explorer in its outputs is live in the page, of
    other widgets it holds a picture. Formulas stay TeX: what draws them would have to be loaded. `path` is the page,
    replaced once the new one is complete. Explorers of 128 x 128 pixels ask the `network`, "fractions" or the path of
    one like it, in the browser: 10 MB, made by a checkout once in a minute after ``pip install -e '.[page]'``.
    """
    path, pieces = Path(path), "" if network is None else _pieces(network)
    if isinstance(source, BlendExplorer):
        text = (HERE / "page.html").read_text(encoding="utf-8") + _fragment(source.page())
    else:
        text = _notebook_page(Path(source))
    text = text.replace("<head>", f"<head>{_PAGE['live_policy' if pieces else 'policy']}", 1) + pieces
    with drafted(path.parent) as draft:
        (draft / path.name).write_text(text, encoding="utf-8")
    return path


def _pieces(network):
    """The network and what runs it; a process of its own makes them, whatever Keras runs on here."""
    told = f"a page with the network {str(network)!r} cannot be made"
    require((CHECKOUT / "tools").is_dir(), f"{told} by an installed blendkit: use a clone of its repository.")
    known = network if network in shipped() else Path(network).absolute()
    command = [sys.executable, "-m", "tools.page_network", known]
    made = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    require(made.returncode == 0, f"{told}: {made.stderr.strip().rpartition(chr(10))[2].partition(': ')[2]}")
    return f'<script type="application/json" class="bk-network">{Path(made.stdout.strip()).read_text("utf-8")}</script>'


def _fragment(page):
    """HTML of one explorer, all that it needs inside."""
    script = JS.read_text(encoding="utf-8").replace("export ", "").replace("default { render };", "")
    parts = CSS.read_text(encoding="utf-8"), script, json.dumps(page).replace("<", "\\u003c")
    return _PAGE["explorer"].format(*parts)


def _notebook_page(path):
    """Explorers live, other widgets as the pictures that they left, or a sentence without any."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("widgets", None)
    for data in (output.data for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output):
        live = data.pop(MIME, None)
        plot = data.pop("application/vnd.plotly.v1+json", None) is not None and "text/html" not in data
        if data.pop(WIDGET_VIEW, None) is None and not plot:
            continue
        png, captions = data.pop("image/png", "").strip(), "; ".join(data.pop(CAPTIONS, ()))
        picture = f'<img alt="the live widget" src="data:image/png;base64,{png}">' if png else data.get("text/html", "")
        what = "A picture of the live widget" if picture else "A live widget"
        picture += f"<p>Left to right: {captions}.</p>" if captions else ""
        without = f"{picture}<p><em>{what}: open the notebook in JupyterLab to use it.</em></p>"
        data["text/html"] = without if live is None else _fragment(live)
    with warnings.catch_warnings(action="ignore"):
        exporter = HTMLExporter(log=logging.Logger("nbconvert", logging.ERROR), raw_template=_PAGE["offline"])
        return exporter.from_notebook_node(notebook, {"metadata": {"name": path.stem}})[0]
