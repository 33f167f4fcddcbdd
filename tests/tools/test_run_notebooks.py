"""The notebook runner, and the evening before: whatever a reader would see fail turns the run red, and says where."""

import os
import re
import shutil
import subprocess
import sys
from unittest.mock import Mock

import nbformat
import pytest
from conftest import beside
from nbformat.v4 import new_code_cell, new_notebook, new_output

from blendkit.data.remote import DownloadError
from tools import ready
from tools import run_notebooks as runner

SLIDER = "import asyncio, logging, threading\nimport ipywidgets as w\ns = w.IntSlider(3, 0, 10, description={!r})\n"
NO_LAB = Mock(side_effect=RuntimeError("JupyterLab did not answer"))
AT_0 = "IntSlider {!r} set to 0: ZeroDivisionError"
WIDGETS = beside(__file__, "widgets.toml")


def write(path, *cells):
    """A notebook with these cells below its parameters."""
    first = new_code_cell("SAMPLE, PROFILE, SEED, RESULTS = 'no', 'no', 0, 'no'", metadata={"tags": ["parameters"]})
    notebook = new_notebook(cells=[first, *map(new_code_cell, cells)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)
    return path


def said_by(folder, *cells, timeout=60):
    """What a failing run of these cells says; the notebook is left for looking, without the runner's own cells."""
    with pytest.raises(runner.NotebookError) as caught:
        runner.run_notebook(write(folder / "planted.ipynb", *cells), folder / "out", {}, timeout=timeout)
    assert os.listdir(folder / "out") == ["planted.ipynb"]
    assert "_widget_driver" not in (folder / "out" / "planted.ipynb").read_text()
    return str(caught.value)


def test_every_failing_callback_turns_the_run_red(tmp_path):
    said = said_by(tmp_path, *(SLIDER.format(name) + cell["code"] for name, cell in WIDGETS.items()))
    assert not [name for name, cell in WIDGETS.items() if cell["said"] not in said], said


@pytest.mark.parametrize(("code", "expected"), [
    ("1 / 0", "cell 2 '1 / 0': ZeroDivisionError: division by zero"), ("import os\nos._exit(3)", "DeadKernelError"),
    ("import time\ntime.sleep(60)", "CellTimeoutError"),
])  # fmt: skip
def test_a_failing_cell_turns_the_run_red(code, expected, tmp_path):
    assert expected in said_by(tmp_path, code, timeout=3 if "sleep" in code else 60)


def test_a_good_notebook_stays_green(tmp_path):
    where = "import os, sys\nprint(SAMPLE, SEED, RESULTS, os.getcwd(), sys.executable, os.environ['BLENDKIT_HEADLESS'])"
    path = write(tmp_path / "good.ipynb", SLIDER.format("shift") + "w.interact(lambda x: print(x), x=s);", where)
    source = path.read_text()
    done = runner.run_notebook(path, tmp_path / "out", {"SAMPLE": "mine", "SEED": 7, "RESULTS": "there"}, timeout=120)
    assert f"mine 7 there {runner.ROOT} {sys.executable} 1" in nbformat.read(done, 4).cells[-1].outputs[0].text
    assert (path.read_text(), os.listdir(tmp_path / "out")) == (source, ["good.ipynb"])


def test_a_notebook_that_was_run_and_saved_does_not_show_in_git(tmp_path):
    """After `make`, and in a folder that is no clone `make` goes on; what is no notebook is kept as it is."""
    clone, path = tmp_path / "clone", tmp_path / "clone" / "notebooks" / "04_compare_methods.ipynb"
    for name in (".gitattributes", "Makefile", "tools/strip_notebook.py", path.relative_to(clone)):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(runner.ROOT / name, clone / name)

    def call(*command):
        return subprocess.run(command, cwd=clone, check=True, capture_output=True, text=True).stdout

    for command in ("make filter", "git init --quiet", "git add .", "make filter"):
        call(*command.split())
    run = nbformat.read(path, 4)
    for cell in (cell for cell in run.cells if cell.cell_type == "code"):
        cell.metadata["execution"] = {"started": "now"}
        cell.update(execution_count=2, outputs=[new_output("stream", text="seen\n")])
    run.metadata |= {"widgets": {"state": {}}, "language_info": {"name": "python", "version": "3.12.1"}}
    nbformat.write(run, path)
    assert call("git", "diff") == ""
    path.write_text("{ no notebook")
    assert "+{ no notebook" in call("git", "diff")


def test_main_tells_a_line_for_each_notebook_and_shows_only_its_own_scoreboard(tmp_path, capfd):
    """What it will make is deleted first, and nothing else; numbers that cannot be collected fail the run."""
    results = tmp_path / "r"
    (results / "by-hand").mkdir(parents=True)
    stale = {f"04_x{suffix}" for suffix in (".ipynb", ".html", ".json")} | {"scoreboard.txt", "scoreboard.ecsv"}
    kept = {"01_x.json", "decisions.csv", "by-hand/04_x.json"}
    for name in stale | kept:
        (results / name).write_text("SEP 41 %")
    good = write(tmp_path / "04_x.ipynb", "open(RESULTS + '/scoreboard.txt', 'w').write('SEP 42 %\\n')")
    bad = write(tmp_path / "05_bad.ipynb", SLIDER.format("shift") + WIDGETS["observe"]["code"], "1 + 1")
    no_numbers = write(tmp_path / "01_clean_the_sample.ipynb", "1 + 1")
    assert runner.main(["--results", str(results), "--profile", "unknown", str(good)]) == 1
    assert stale < set(os.listdir(results))
    capfd.readouterr()
    assert runner.main(["--results", str(results), *map(str, (good, bad, no_numbers))]) == 1
    out, err = capfd.readouterr()
    said = "05_bad ... .*" + AT_0.format("shift"), ".*failed: collecting the numbers: AttributeError", "SEP 42 %"
    pattern = ".*\n".join([r".*\n04_x \.\.\. \d+ s  ok", *said, "2 of 3 notebooks failed.$"])
    assert re.search(pattern, out, re.DOTALL), out
    assert err == ""
    files = {str(p.relative_to(results)): p.read_text() for p in results.rglob("*") if p.is_file()}
    made = {f"{path.stem}{suffix}" for path in (good, bad, no_numbers) for suffix in (".ipynb", ".html")}
    assert set(files) == kept | made | {"scoreboard.txt"}
    assert {name for name, text in files.items() if "SEP 41 %" in text} == kept


@pytest.mark.parametrize(("argument", "told"), [
    ("--sample=nowhere", "'nowhere'"), ("--sample=x.ipynb", "is a file"), ("--sample=", "SAMPLE is empty"),
    ("--profile=foo", "quick, tutorial or paper"), ("--seed=-1", "SEED=-1"), ("--seed=4.5", "SEED=4.5"),
    ("--seed=", "SEED="), ("--results=", "RESULTS is empty"), ("--results=x.ipynb", "it is a file"),
    ("--results=x.ipynb/r", "Not a directory"), ("--results=.", "the notebooks themselves"), ("no.ipynb", "no note"),
    *(("--sample=candels", error) for error in (DownloadError("no network."), ValueError("bad."), OSError("full."))),
])  # fmt: skip
def test_main_refuses_before_anything_runs(tmp_path, monkeypatch, capfd, argument, told):
    """In one line, as what goes wrong with fetching CANDELS, which comes first."""
    write(tmp_path / "x.ipynb", "1 + 1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "fetch_candels", Mock(side_effect=told))
    assert runner.main([argument, "x.ipynb"]) == 1
    out, err = capfd.readouterr()
    assert (out, err.count("\n"), err.startswith("Nothing was run: ")) == ("", 1, True)
    assert str(told) in err
    assert os.listdir() == ["x.ipynb"]


@pytest.mark.parametrize(("code", "steps", "status", "words"), [
    ("1 + 1", {}, 0, r"Ready for offline use.*"),
    ("import urllib.request as r\nr.urlopen('http://blendkit.invalid/galaxies')", {}, 1, "Not ready.*01_class.*"),
    ("1 + 1", {"jupyter": NO_LAB}, 1, "Not ready.*JupyterLab did not answer.*"),
], ids=["a good machine", "a download", "no JupyterLab"])  # fmt: skip
def test_only_a_good_machine_is_ready(tmp_path, monkeypatch, capsys, code, steps, status, words):
    (tmp_path / "notebooks").mkdir()
    write(tmp_path / "notebooks" / "01_class.ipynb", code)
    monkeypatch.setattr(ready, "ROOT", tmp_path)
    for name in ("machine", "galaxies", "networks", "scoreboard", "jupyter"):
        monkeypatch.setattr(ready, name, steps.get(name, lambda *given: "well"))
    for name in ready.ALONE:
        monkeypatch.setenv(name, "")  # put back after the test
    assert ready.main(["--profile", "quick"]) == status
    assert re.fullmatch(rf"((?!Ready).)*{words}", capsys.readouterr().out, re.DOTALL)
