"""The notebook runner: a planted failure of each kind turns it red, each in its own notebook and kernel."""

import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from blendkit import runner

SLIDER = "import ipywidgets as w\ns = w.IntSlider(3, 0, 10, description='shift')\n"

PLANTED = {
    "cell": ("1 / 0", "cell 2 '1 / 0': ZeroDivisionError: division by zero"),
    "interact, at once": (SLIDER + "w.interact(lambda x: 1 / 0, x=s);", "ZeroDivisionError"),
    "interact, at the far end": (
        SLIDER + "w.interact(lambda x: 1 / (x - 10), x=s);",
        "widget callback, IntSlider 'shift' set to 10: ZeroDivisionError",
    ),
    "interactive_output, at the far end": (
        SLIDER + "out = w.interactive_output(lambda x: 1 / x, {'x': s})\nw.VBox([s, out])",
        "widget callback, IntSlider 'shift' set to 0: ZeroDivisionError",
    ),
    "observe": (SLIDER + "s.observe(lambda c: 1 / c.new, 'value')", "IntSlider 'shift' set to 0: ZeroDivisionError"),
    "button": (
        "import ipywidgets as w\nb = w.Button(description='go')\nb.on_click(lambda b: 1 / 0)\nb",
        "widget callback, Button 'go' clicked: ZeroDivisionError",
    ),
    "output widget": ("import ipywidgets as w\nwith w.Output():\n    1 / 0", "ZeroDivisionError"),
    "thread": (
        SLIDER + "import threading\n"
        "s.observe(lambda c: threading.Thread(target=lambda: 1 / c.new, name='sep').start(), 'value')",
        "thread sep, IntSlider 'shift' set to 0: ZeroDivisionError",
    ),
    "task": (
        SLIDER + "import asyncio\n"
        "async def answer(x):\n    await asyncio.sleep(0.05)\n    1 / x\n"
        "s.observe(lambda c: asyncio.create_task(answer(c.new)), 'value')",
        "background task, IntSlider 'shift' set to 0: ZeroDivisionError",
    ),
    "recorded": (
        SLIDER + "from blendkit.widgets.errors import recorded\n"
        "s.observe(recorded('measuring')(lambda c: 1 / c.new), 'value')",
        "measuring, IntSlider 'shift' set to 0: ZeroDivisionError",
    ),
    "stderr": (
        "import logging\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    logging.getLogger('x').exception('oh')",
        "ZeroDivisionError",
    ),
    "dead kernel": ("import os\nos._exit(3)", "DeadKernelError"),
    "too slow": ("import time\ntime.sleep(60)", "CellTimeoutError"),
}
GOOD = (
    SLIDER + "w.interact(lambda x: print(x), x=s);",
    "import os, sys\nprint(SAMPLE, SEED, RESULTS, os.getcwd(), sys.executable)",
)


def write(path, *cells):
    parameters = new_code_cell(
        "SAMPLE = 'no'; PROFILE = 'no'; SEED = 0; RESULTS = 'no'", metadata={"tags": ["parameters"]}
    )
    notebook = new_notebook(cells=[parameters, *map(new_code_cell, cells)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)
    return path


def text_of(path):
    notebook = nbformat.read(path, as_version=4)
    return "".join(o.get("text", "") for cell in notebook.cells for o in cell.get("outputs", []))


@pytest.mark.parametrize("kind", PLANTED)
def test_planted_failure_turns_the_run_red(kind, tmp_path):
    code, expected = PLANTED[kind]
    path = write(tmp_path / "planted.ipynb", code)
    with pytest.raises(runner.NotebookError) as caught:
        runner.run_notebook(path, tmp_path / "out", {}, timeout=3 if kind == "too slow" else 60)
    assert expected in str(caught.value)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["planted.ipynb"]
    assert "_blendkit_errors" not in (tmp_path / "out" / "planted.ipynb").read_text()


def test_clean_notebook_stays_green(tmp_path):
    path = write(tmp_path / "good.ipynb", *GOOD)
    source = path.read_text()
    done = runner.run_notebook(path, tmp_path / "out", {"SAMPLE": "mine", "SEED": 7, "RESULTS": "there"})
    assert done == tmp_path / "out" / "good.ipynb"
    assert f"mine 7 there {runner.ROOT} {sys.executable}" in text_of(done)
    assert "_blendkit_errors" not in done.read_text()
    assert path.read_text() == source
    assert [p.name for p in done.parent.iterdir()] == ["good.ipynb"]


def test_missing_notebook_is_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no notebook"):
        runner.run_notebook(tmp_path / "no.ipynb", tmp_path, {})


def test_errors_in_stored_widget_state_are_seen():
    bad = {"output_type": "error", "ename": "KeyError", "evalue": "'mag'", "traceback": []}
    state = {"x": {"model_name": "OutputModel", "state": {"outputs": [bad]}}, "y": {"state": {"value": 3}}}
    notebook = new_notebook(metadata={"widgets": {runner._WIDGET_STATE: {"state": state}}})
    assert [(e["type"], e["message"]) for e in runner._visible_errors(notebook)] == [("KeyError", "'mag'")]


def test_page_shows_pictures_of_widgets_and_asks_for_no_network(tmp_path):
    view = {runner._WIDGET_VIEW: {"model_id": "x", "version_major": 2, "version_minor": 0}, "text/plain": "VBox()"}
    outputs = [new_output("display_data", view | {"image/png": "iVBORw0KGgo="}), new_output("display_data", view)]
    cell = new_code_cell("explorer", outputs=outputs)
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "n.ipynb")
    page = runner.to_html(tmp_path / "n.ipynb").read_text()
    assert "data:image/png;base64,iVBORw0KGgo=" in page
    assert page.count("A live widget") == 1
    assert "VBox()" not in page
    assert "html-manager" not in page
    assert sorted(p.name for p in tmp_path.iterdir()) == ["n.html", "n.ipynb"]


def test_main_tells_a_line_for_each_notebook_and_the_scoreboard(tmp_path, capfd):
    good = write(tmp_path / "01_good.ipynb", "open(RESULTS + '/scoreboard.txt', 'w').write('SEP 42 %\\n')")
    bad = write(tmp_path / "02_bad.ipynb", PLANTED["recorded"][0], GOOD[0])
    assert runner.main(["--results", str(tmp_path / "r"), str(good), str(bad)]) == 1
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert lines[1].startswith("01_good  ")
    assert lines[1].endswith(" s  ok")
    assert lines[2].startswith("02_bad  ")
    assert "failed: measuring, IntSlider 'shift' set to 0: ZeroDivisionError" in lines[2]
    assert "SEP 42 %" in lines
    assert str(tmp_path / "r") in lines[-1]
    assert "\r" not in out
    assert err == ""
    assert {p.name for p in (tmp_path / "r").iterdir()} == {
        "01_good.ipynb", "01_good.html", "02_bad.ipynb", "02_bad.html", "scoreboard.txt"
    }  # fmt: skip


def test_main_does_not_show_an_old_scoreboard(tmp_path, capfd):
    (tmp_path / "scoreboard.txt").write_text("SEP 41 %")
    assert runner.main(["--results", str(tmp_path), str(write(tmp_path / "01_x.ipynb", "1 + 1"))]) == 0
    assert "SEP 41 %" not in capfd.readouterr().out


def test_main_refuses_a_missing_sample_before_anything_runs(tmp_path, capfd):
    code = runner.main(["--sample", str(tmp_path / "nowhere"), "--results", str(tmp_path / "r"), "x.ipynb"])
    out, err = capfd.readouterr()
    assert code == 1
    assert out == ""
    assert err.startswith("Nothing was run: there is no folder")
    assert err.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_main_refuses_a_missing_notebook(tmp_path, capfd):
    assert runner.main(["--results", str(tmp_path), str(tmp_path / "no.ipynb")]) == 1
    assert "there is no notebook" in capfd.readouterr().err
