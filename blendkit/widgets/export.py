"""Explorers that work in a page without a kernel."""

from __future__ import annotations

import base64
import json
import logging
import os
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .view import CAPTIONS, CSS, JS, LINKED, MIME, THUMB, name_of, noise_field, thumbnails

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..samples import Sample
    from .explorer import BlendExplorer

GALAXIES = 20
"""To choose from in a page."""
_SLIDERS = LINKED[:-1]
_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
_PICTURE_ONLY = "A picture of the live widget: open the notebook in JupyterLab to use it."
_NO_PICTURE = "A live widget: open the notebook in JupyterLab to use it."
# a page asks nobody for anything, whatever its cells have put out
_POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; font-src data:; '
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
)
# nbconvert's own page loads require.js and MathJax from the network, whether needed or not
_OFFLINE_PAGE = "{%- extends 'index.html.j2' -%}" + "".join(
    f"{{%- block html_head_js{part} -%}}{{%- endblock -%}}" for part in ("", "_mathjax", "_mermaidjs")
)
_NOTE = (
    "This page works without Python: drag the companion, move the sliders, choose galaxies. It has no SEP and no "
    "networks, and hides nothing to guess: for that, open the notebook."
)


def page(explorer: BlendExplorer) -> dict:
    """What the explorer of a page needs: the two galaxies now shown and others, evenly spaced in magnitude.

    Parameters
    ----------
    explorer : BlendExplorer

    Returns
    -------
    dict
        Ready for JSON; stamps as base64.
    """
    sample, sigma = explorer.sample, explorer.view.sigma
    some = sample[spread(sample, list(map(int, explorer.view.pair)), GALAXIES)]
    galaxies = [
        {
            "id": str(row["id"]), "name": name_of(row), "mag": float(row["mag"]), "r_eff": float(row["r_eff"]),
            "white": float(np.percentile(image, 99.9)),
        }
        for row, image in zip(some.catalog, some.images, strict=True)
    ]  # fmt: skip
    ids = [galaxy["id"] for galaxy in galaxies]
    return {
        "shape": list(some.images.shape[1:]),
        "galaxies": galaxies,
        "start": [ids.index(i) for i in explorer.view.pair],
        "stamps": _text(some.images, np.float32),
        "segments": _text(some.own_masks(), np.uint8),
        "bank": _text(sample.sky, np.float32),
        "field": _text(noise_field(some.images.shape[1:]), np.float32),
        "thumbs": base64.b64encode(thumbnails(some.images, sigma)).decode(),
        "thumb_size": THUMB,
        "sigma": sigma,
        "called": explorer.view.called,
        "limits": list(explorer.view.limits),
        "turns": list(explorer.view.turns),
        "settings": {name: _now(getattr(explorer, name)) for name in _SLIDERS},
        "sliders": [_slider(name, getattr(explorer, name)) for name in _SLIDERS],
        "note": _NOTE,
    }


def spread(sample: Sample, ids: Sequence[int], n: int) -> np.ndarray:
    """Positions in a sample of the galaxies with these ids and of others, `n` in all, spread over the magnitudes.

    Parameters
    ----------
    sample : Sample
    ids : sequence of int
    n : int

    Returns
    -------
    array of int
        Brightest first.
    """
    order = np.argsort(sample.catalog["mag"], kind="stable")
    given = np.isin(order, sample.index(ids))
    others = np.flatnonzero(~given)
    given[others[np.linspace(0, len(others) - 1, min(n - given.sum(), len(others))).astype(int)]] = True
    return order[given]


def _text(array, dtype):
    return base64.b64encode(np.ascontiguousarray(array, dtype).tobytes()).decode()


def _now(control):
    return control.index if hasattr(control, "index") else control.value


def _slider(name, control):
    spec = {"name": name, "label": control.description, "tip": control.tooltip, "plus": name == "dmag"}
    if hasattr(control, "index"):
        texts = [text for text, _ in control.options]
        return spec | {"min": 0, "max": len(texts) - 1, "step": 1, "texts": texts}
    return spec | {"min": control.min, "max": control.max, "step": control.step}


def fragment(data: dict) -> str:
    """HTML of one explorer, all that it needs inside.

    Parameters
    ----------
    data : dict
        From `page`.

    Returns
    -------
    str
    """
    content = json.dumps(data).replace("<", "\\u003c")
    script = JS.read_text(encoding="utf-8").replace("export ", "").replace("default { render };", "")
    return (
        f"<div class='bk-page'><style>{CSS.read_text(encoding='utf-8')}</style>"
        f'<script type="module">\n{script}\n'
        f'const here = document.querySelector(".bk-page:not([data-live])");\n'
        f'here.dataset.live = "true";\nstandalone(here, {content});\n</script></div>'
    )


def export_html(source: BlendExplorer | str | os.PathLike, path: str | os.PathLike) -> Path:
    """Write a page in which the explorer lives on, without a kernel and without a network.

    Of a notebook's other widgets the page holds a picture. Formulas stay TeX: what draws them would have to be loaded.

    Parameters
    ----------
    source : BlendExplorer or path
        An explorer, or an executed notebook: every explorer in its outputs is live in the page.
    path : path
        The page, replaced once the new one is complete.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    FileNotFoundError, ValueError
        Where there is no such notebook, or the file is none.
    """
    path = Path(path)
    if hasattr(source, "recipe"):
        text = _PAGE.format(body=fragment(page(source)), policy=_POLICY)
    else:
        text = _notebook_page(Path(source))
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".exporting-") as draft:
        draft = Path(draft) / path.name
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)
    return path


def _notebook_page(path):
    import nbformat
    from nbconvert import HTMLExporter

    if not path.is_file():
        raise FileNotFoundError(f"there is no notebook {str(path)!r}: give an explorer or the path of an executed one.")
    try:
        notebook = nbformat.read(path, as_version=4)
    except nbformat.reader.NotJSONError as error:
        raise ValueError(f"{str(path)!r} is not a notebook: give the path of an executed one (.ipynb).") from error
    quiet = logging.getLogger("blendkit.nbconvert")
    quiet.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exporter = HTMLExporter(log=quiet, raw_template=_OFFLINE_PAGE)
        page = exporter.from_notebook_node(_without_kernel(notebook), {"metadata": {"name": path.stem}})[0]
    return page.replace("<head>", f"<head>{_POLICY}", 1)


def _without_kernel(notebook):
    """Explorers live, of other widgets the picture that they left, or a sentence where there is none."""
    notebook.metadata.pop("widgets", None)
    for data in (output.data for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output):
        live = data.pop(MIME, None)
        plot = data.pop("application/vnd.plotly.v1+json", None) is not None and "text/html" not in data
        if data.pop(_WIDGET_VIEW, None) is None and not plot:
            continue
        png = data.pop("image/png", "").strip()
        captions = "; ".join(data.pop(CAPTIONS, ()))
        if live is not None:
            data["text/html"] = fragment(live)
        else:
            picture = f'<img alt="the live widget" src="data:image/png;base64,{png}">' if png else ""
            picture += f"<p>Left to right: {captions}.</p>" if captions else ""
            data["text/html"] = f"{picture}<p><em>{_PICTURE_ONLY if png else _NO_PICTURE}</em></p>"
    return notebook


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
{policy}
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>blendkit: drag one galaxy over another</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 sans-serif; max-width: 1160px; margin: 0 auto; padding: 12px; }}
</style>
</head>
<body>
<h1>Drag one galaxy over another</h1>
{body}
</body>
</html>
"""
