"""Build the web book from executed notebooks and ``docs/``: ``python -m tools.book --results FOLDER --out build/book``.

The site needs no server and no network: open ``index.html``. It is built beside its place and moved there when it is
whole. ``docs/conf.py`` says how it looks, `tools.glossary` draws the glossary's pictures.
"""

from __future__ import annotations

import argparse
import html
import inspect
import json
import os
import re
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import plotly.io
from nbformat.v4 import new_code_cell, new_notebook, new_output
from plotly.offline import get_plotlyjs

import blendkit as bk
from blendkit.data.check import require
from blendkit.widgets.explorer import MIME
from blendkit.widgets.export import WIDGET_VIEW
from blendkit.widgets.view import CAPTIONS

from . import glossary

ROOT = Path(__file__).resolve().parents[1]
ALIASES = {
    "central": "Central galaxy", "noise": "Noise and its correlation", "sep": "SExtractor and SEP",
    "sextractor": "SExtractor and SEP", "kron": "FLUX_AUTO, the Kron aperture", "effective radii": "Effective radius",
    "under-deblended": "Over- and under-deblended", "over-deblended": "Over- and under-deblended",
    "over-fitting": "Overfitting",
}  # fmt: skip
PLOTLY = "application/vnd.plotly.v1+json"
# inside a page of the book an explorer is as high as it needs, and light or dark as the book is
_FRAMED = """
<style>.jp-InputArea, .jp-OutputPrompt { display: none !important; }
body, body * { --jp-layout-color0: Canvas; --jp-ui-font-color1: CanvasText; --jp-content-font-color1: CanvasText; }
.framed .bk-standalone { --picture: 330px; }
.bk-code code { background: none !important; color: inherit !important; }
.framed body { margin: 0; overflow: hidden; }
.framed body > h1 { display: none; }</style>
<script>
document.documentElement.classList.toggle("framed", parent !== window);
const tell = () => parent.postMessage({ height: document.body.offsetHeight }, "*");
addEventListener("message", ({ data }) => { document.documentElement.style.colorScheme = data.theme; tell(); });
if (parent !== window) new ResizeObserver(tell).observe(document.body);
</script>
"""


def build(results: Path, out: Path) -> None:
    """The book of the notebooks executed in `results`, put in the place of what was at `out` once it is whole."""
    from sphinx.cmd.build import build_main

    results, out = results.resolve(), out.resolve()
    notebooks = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    missing = [path.name for path in notebooks if not (results / path.name).is_file()]
    require(not missing, f"'{results}' lacks {', '.join(missing)}: run 'make tutorial', which executes all of them.")
    old = [path.name for path in notebooks if sources(path) != sources(results / path.name)]
    require(not old, f"{', '.join(old)} in '{results}' were executed before they were edited: run 'make tutorial'.")
    ours = not out.exists() or (out / ".buildinfo").is_file() or (out.is_dir() and not any(out.iterdir()))
    require(ours, f"'{out}' holds something else than a book: name another folder with --out.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".writing-", dir=out.parent) as draft:
        source = Path(draft) / "source"
        shutil.copytree(ROOT / "docs", source / "docs")
        for name in ("conf.py", "index.md", "book"):
            os.replace(source / "docs" / name, source / name)
        for page in (source / "docs").glob("*.md"):  # files of the repository that the book has not are no links in it
            text = page.read_text(encoding="utf-8")
            page.write_text(re.sub(r"\[([^]]+)\]\(\.\./(?!notebooks/)[^)]*\)", r"\1", text), encoding="utf-8")
        (extra := source / "extra").mkdir()
        sample = bk.clean(bk.load_sample("synthetic", n=60, seed=2))
        glossary.draw(source / "docs" / "glossary", sample)
        front_explorer(sample, extra / "explorer.html")
        for path in [*notebooks, *sorted((ROOT / "notebooks" / "solutions").glob("*.ipynb"))]:
            place = path.relative_to(ROOT / "notebooks")
            executed = results / place if (results / place).is_file() else path
            (source / "notebooks" / place).parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(readable(executed, place, extra), source / "notebooks" / place)
        site, work = Path(draft) / "site", Path(draft) / "work"
        wrong = build_main(["-q", "-W", "--keep-going", "-d", str(work), str(source), str(site)])
        require(not wrong, "Sphinx complains about the book (see above), so nothing was changed: mend that first.")
        for path in site.rglob("*.map"):  # for developers of the theme
            path.unlink()
        if out.exists():
            os.replace(out, Path(draft) / "old")
        os.replace(site, out)


def written(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The cells of a notebook that somebody wrote."""
    return [cell for cell in notebook.cells if "injected-parameters" not in cell.metadata.get("tags", [])]


def sources(path: Path) -> list[str]:
    """What stands in these cells."""
    return [cell.source for cell in written(nbformat.read(path, as_version=4))]


def front_explorer(sample: bk.Sample, path: Path) -> None:
    """The explorer of the front page, with a network that answers in it, where one can be made for it."""
    explorer = bk.BlendExplorer(sample)
    try:
        bk.export_html(explorer, path, network="fractions")
    except ValueError as error:
        print(f"The explorer of the front page goes without a network: {error}", file=sys.stderr)
        bk.export_html(explorer, path)
    framed(path)


def framed(path: Path) -> None:
    """Teach an exported page to live in a frame."""
    with path.open("a", encoding="utf-8") as page:
        page.write(_FRAMED)


def readable(path: Path, place: Path, extra: Path) -> nbformat.NotebookNode:
    """A notebook for reading: explorers and plots live, pictures with words, no folder of this machine.

    `place` is where it stands in the book below ``notebooks/``, `extra` the folder for pages of their own.
    """
    notebook = nbformat.read(path, as_version=4)
    parameters = notebook.metadata.get("papermill", {}).get("parameters", {})
    notebook.metadata = {"kernelspec": notebook.metadata.get("kernelspec", {})}
    cells, heading = written(notebook), path.stem
    notebook.cells = cells
    if parameters:
        how = ", ".join(f"`{name} = {parameters[name]!r}`" for name in ("SAMPLE", "PROFILE", "SEED"))
        opening, _, rest = cells[0].source.partition("\n\n")
        cells[0].source = f"{opening}\n\n:::{{note}}\nThe numbers on this page were made with {how}.\n:::\n\n{rest}"
    for number, cell in enumerate(cells):
        if cell.cell_type != "code":
            cell.source = re.sub(r"\*\*([^*\n]+)\*\*", explained, cell.source)
            titles = re.findall(r"^#+ (.*)$", cell.source, re.MULTILINE)
            heading = titles[-1] if titles else heading
            continue
        text = json.dumps(cell.outputs).replace(str(parameters.get("RESULTS") or "no folder"), "results")
        outputs = [nbformat.from_dict(output) for output in json.loads(text)]
        page, up = extra / f"{'-'.join(place.with_suffix('').parts)}-{number}.html", "../" * len(place.parts)
        cell.metadata = {"mystnb": {"image": {"alt": words(cell, outputs, heading)}}}
        cell.outputs = [shown for output in outputs for shown in static(output, page, up)]
    return notebook


def explained(bold: re.Match) -> str:
    """A bold term as a link to the glossary, where that has it."""
    said = bold[1].lower()
    titles = re.findall("^### (.*)$", (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)
    known = {title.lower(): title for title in titles} | ALIASES
    title = known.get(said) or known.get(said.removesuffix("s"))
    return f"[{bold[0]}](/docs/glossary.md#{slug(title)})" if title else bold[0]


def slug(title: str) -> str:
    """A heading as it stands in a link."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def static(output: nbformat.NotebookNode, page: Path, up: str) -> list[nbformat.NotebookNode]:
    """What of an output shows without a kernel: an explorer in a frame, a plot that answers, a picture and a word.

    An explorer gets a `page`; `up` leads to it.
    """
    data = output.get("data", {})
    if MIME in data:
        cell = new_code_cell(outputs=[new_output("display_data", {MIME: data[MIME], WIDGET_VIEW: {}})])
        nbformat.write(new_notebook(cells=[cell]), page)
        framed(bk.export_html(page, page))
        return [_html(f'<iframe class="bk-live" src="{up}{page.name}" title="the live explorer"></iframe>')]
    plot, widget = data.pop(PLOTLY, None), data.pop(WIDGET_VIEW, None)
    captions = "; ".join(data.pop(CAPTIONS, ()))
    after = []
    if widget is not None:
        left = f"Left to right: {captions}. " if captions else ""
        after += [_html(f"<p class='bk-word'>{left}<em>Open the notebook in JupyterLab to use this widget.</em></p>")]
    if plot is not None:
        figure = plotly.io.from_json(json.dumps(plot), skip_invalid=True)
        (page.parent / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")
        how = {"full_html": False, "include_plotlyjs": f"{up}plotly.min.js", "default_height": 420}
        after += [_html(plotly.io.to_html(figure, **how))]
    pictures = [output] if {"image/png", "text/html"} & {*data} or not after else []
    return pictures + after


def _html(text):
    return new_output("display_data", {"text/html": text})


def words(cell: nbformat.NotebookNode, outputs: list, heading: str) -> str:
    """What a picture shows, for those who do not see it: what its function says of itself, below which heading."""
    captions = "; ".join(caption for output in outputs for caption in output.get("data", {}).get(CAPTIONS, ()))
    captions = html.unescape(re.sub("<[^>]*>", "", captions))
    heading = re.sub(r"[*`_]", "", heading)
    for name in reversed(re.findall(r"\bbk\.([\w.]+)\(", cell.source)):
        thing = bk
        for part in name.split("."):
            thing = getattr(thing, part, None)
        if thing is not None and ("figures" in name or "lessons" in name or captions):
            said = captions or re.split(r"(?<=\.) |\n\n", inspect.getdoc(thing) or "")[0]
            return f"{heading}: {' '.join(said.replace('`', '').split())}"
    return f"{heading}: {captions}" if captions else heading


def main(argv: list[str] | None = None) -> int:
    """Build it and say where it is; 1 where that failed."""
    parser = argparse.ArgumentParser(prog="python -m tools.book", description="Build the web book.")
    parser.add_argument("--results", default="results", type=Path, help="folder of executed notebooks")
    parser.add_argument("--out", default="build/book", type=Path, help="folder for the site")
    args = parser.parse_args(argv)
    try:
        build(args.results, args.out)
    except (ValueError, OSError, ImportError) as error:
        print(f"No book was made: {error}", file=sys.stderr)
        return 1
    size = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file())
    print(f"The book is {args.out / 'index.html'} ({size / 1e6:.0f} MB): open it in a browser, no network is needed.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
