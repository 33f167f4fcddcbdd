"""The notebooks with widgets as a reader runs them: in JupyterLab, from the first cell to the last."""

from pathlib import Path

import nbformat
import pytest

from . import lab
from .conftest import CELLS, tab_of

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.mark.parametrize(
    ("name", "widget"), [("01_clean_the_sample", ".bk-keys-box canvas"), ("02_build_blends", lab.SHOWN)]
)
def test_a_lesson_runs_and_its_widget_answers(chromium, tmp_path, name, widget):
    cells = [c.source for c in nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4).cells if c.cell_type == "code"]
    cells[0] = f"SAMPLE, PROFILE, SEED, RESULTS = 'synthetic', 'quick', 42, {str(tmp_path)!r}"
    with lab.jupyterlab(tmp_path) as running, tab_of(chromium, viewport={"width": 1280, "height": 800}) as (tab, _):
        lab.run_notebook(tab, running, [*cells, CELLS[-1]], "#done")
        lab.still(tab.locator(widget).first)
        if widget == lab.SHOWN:
            explorer = lab.Explorer(tab)
            explorer.settle()
            dx, dy = explorer.shift
            explorer.drag(-9, 4)
            assert explorer.shift == (dx - 9, dy + 4)
        else:
            tab.locator(widget).first.click()
            tab.keyboard.press("r")
            tab.locator(".bk-keys-box").get_by_text("1 decided").wait_for()
        assert tab.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
