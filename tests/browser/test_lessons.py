"""The notebooks that have widgets, run as a reader runs them: in JupyterLab, from the first cell to the last."""

from pathlib import Path

import nbformat
import pytest

from .lab import Explorer, run_notebook

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.fixture
def lesson(lab, page, tmp_path):
    """Runs a notebook in its quick profile; gives the page and the folder of its results."""

    def run(name):
        notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
        cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
        cell.source = f"SAMPLE = 'synthetic'; PROFILE = 'quick'; SEED = 42; RESULTS = {str(tmp_path)!r}"
        end = "from IPython.display import HTML\nHTML('<i id=done>done</i>')"
        notebook.cells.append(nbformat.v4.new_code_cell(end))
        run_notebook(page, lab, notebook, ready="#done")
        assert page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
        return page, tmp_path

    return run


def test_stamps_are_judged_by_keys(lesson):
    page, results = lesson("01_clean_the_sample")
    box = page.locator(".bk-keys-box").first
    canvas = box.locator("canvas").first
    canvas.scroll_into_view_if_needed()
    before = canvas.evaluate("(canvas) => canvas.toDataURL()")
    cells = page.locator(".jp-Cell").count()
    canvas.click()
    page.keyboard.press("r")
    page.wait_for_function("document.querySelector('.bk-keys-box [role=status]').innerText.includes('1 decided')")
    assert box.locator("canvas").first.evaluate("(canvas) => canvas.toDataURL()") != before
    page.keyboard.press("a")
    page.wait_for_function("document.querySelector('.bk-keys-box [role=status]').innerText.includes('2 decided')")
    assert page.locator(".jp-Cell").count() == cells
    assert any("reject" in file.read_text() for file in results.rglob("*.csv"))


def test_galaxies_are_dragged_in_the_lesson(lesson):
    page, _ = lesson("02_build_blends")
    explorer = Explorer(page)
    explorer.settle()
    start, zoom = explorer.settings, explorer.zoom()
    explorer.drag(round(-9 * zoom), round(4 * zoom))
    assert (explorer.settings["dx"], explorer.settings["dy"]) == (start["dx"] - 9, start["dy"] + 4)
    explorer.settle()
    assert "SEP sees" in page.locator("[role=status]").first.inner_text()
