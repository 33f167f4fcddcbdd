"""The notebook runner: a planted failure of each kind turns it red, each in its own notebook and kernel."""

import os
import shutil
import signal
import subprocess
import sys
import time

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from blendkit import runner
from blendkit.download import DownloadError

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
    done = runner.run_notebook(path, tmp_path / "out", {"SAMPLE": "mine", "SEED": 7, "RESULTS": "there"}, timeout=120)
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


def test_main_tells_a_line_for_each_notebook_and_the_scoreboard(tmp_path, capfd):
    good = write(tmp_path / "04_good.ipynb", "open(RESULTS + '/scoreboard.txt', 'w').write('SEP 42 %\\n')")
    bad = write(tmp_path / "05_bad.ipynb", PLANTED["recorded"][0], GOOD[0])
    assert runner.main(["--results", str(tmp_path / "r"), str(good), str(bad)]) == 1
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert lines[1].startswith("04_good ... ")
    assert lines[1].endswith(" s  ok")
    assert lines[2].startswith("05_bad ... ")
    assert "failed: measuring, IntSlider 'shift' set to 0: ZeroDivisionError" in lines[2]
    assert "SEP 42 %" in lines
    assert str(tmp_path / "r") in lines[-2]
    assert lines[-1] == "1 of 2 notebooks failed."
    assert "\r" not in out
    assert err == ""
    assert {p.name for p in (tmp_path / "r").iterdir()} == {
        "04_good.ipynb", "04_good.html", "05_bad.ipynb", "05_bad.html", "scoreboard.txt"
    }  # fmt: skip


def test_main_does_not_show_an_old_scoreboard(tmp_path, capfd):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "scoreboard.txt").write_text("SEP 41 %")
    assert runner.main(["--results", str(tmp_path / "r"), str(write(tmp_path / "01_x.ipynb", "1 + 1"))]) == 0
    assert "SEP 41 %" not in capfd.readouterr().out


def test_main_deletes_what_it_will_make_and_nothing_else(tmp_path, capfd):
    results = tmp_path / "r"
    (results / "by-hand").mkdir(parents=True)
    stale = {f"04_x{suffix}" for suffix in (".ipynb", ".html", ".json")} | {"scoreboard.txt", "scoreboard.ecsv"}
    kept = {"01_x.json", "decisions.csv", "by-hand/04_x.json"}
    for name in stale | kept:
        (results / name).write_text("SEP 41 %")
    bad = write(tmp_path / "04_x.ipynb", "1 / 0")
    assert runner.main(["--results", str(results), "--profile", "unknown", str(bad)]) == 1
    assert stale < {p.name for p in results.iterdir()}
    assert runner.main(["--results", str(results), str(bad)]) == 1
    files = {str(p.relative_to(results)): p.read_text() for p in results.rglob("*") if p.is_file()}
    assert set(files) == kept | {"04_x.ipynb", "04_x.html"}
    assert [name for name, text in files.items() if "SEP 41 %" in text] == [n for n in files if n in kept]
    out = capfd.readouterr().out
    assert "SEP 41 %" not in out
    assert out.endswith("1 of 1 notebooks failed.\n")


@pytest.fixture
def refused(tmp_path, monkeypatch, capfd):
    """A function that runs a good notebook with arguments that must be refused, and returns the one line said."""
    write(tmp_path / "x.ipynb", "1 + 1")
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        assert runner.main([*arguments, "x.ipynb"]) == 1
        out, err = capfd.readouterr()
        assert out == ""
        assert err.startswith("Nothing was run: ")
        assert err.count("\n") == 1
        assert not (tmp_path / "results").exists()
        return err.removeprefix("Nothing was run: ").rstrip()

    return run


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--sample=nowhere"], "there is no folder 'nowhere'"),
        (["--sample=x.ipynb"], "'x.ipynb' is a file, expected a folder that holds candels_img.npy"),
        (["--sample="], "SAMPLE is empty: use synthetic, candels or the name of a folder."),
        (["--profile=foo"], "PROFILE=foo is unknown: use quick, tutorial or paper."),
        (["--seed=-1"], "SEED=-1 cannot be used: give a whole number of at least 0"),
        (["--seed=4.5"], "SEED=4.5 cannot be used"),
        (["--seed="], "SEED= cannot be used"),
        (["--results="], "RESULTS is empty"),
        (["no.ipynb"], "there is no notebook"),
    ],
)
def test_main_refuses_before_anything_runs(refused, arguments, sentence):
    assert refused(*arguments).startswith(sentence)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("x.ipynb", "it is a file"), ("x.ipynb/r", "Not a directory"), (".", "the notebooks themselves are there")],
)
def test_main_refuses_results_that_it_cannot_write(refused, tmp_path, name, reason):
    assert refused(f"--results={name}") == (
        f"cannot write into '{(tmp_path / name).resolve()}' ({reason}): free it, or name another folder with "
        "RESULTS=<folder>."
    )
    assert (tmp_path / "x.ipynb").is_file()


@pytest.mark.parametrize("error", [DownloadError("no network."), ValueError("bad."), OSError("full.")])
def test_main_fetches_candels_first_and_tells_what_went_wrong(refused, monkeypatch, error):
    def fetch():
        raise error

    monkeypatch.setattr(runner, "fetch_candels", fetch)
    assert refused("--sample=candels") == str(error)


@pytest.mark.skipif(not shutil.which("make"), reason="no make: install it")
def test_make_passes_its_variables_on():
    asked = ["SAMPLE=a b", "PROFILE=paper", "SEED=7", "RESULTS=there"]
    said = subprocess.run(
        ["make", "-n", "tutorial", *asked], cwd=runner.ROOT, capture_output=True, text=True, check=True
    )
    assert '--sample="a b" --profile="paper" --seed="7" --results="there"' in said.stdout


def test_ctrl_c_ends_with_a_sentence(tmp_path):
    slow = write(tmp_path / "01_slow.ipynb", "import time\nopen(RESULTS + '/running', 'w').close()\ntime.sleep(60)")
    results = tmp_path / "r"
    command = [sys.executable, "-m", "blendkit.runner", "--results", str(results), str(slow)]
    with subprocess.Popen(command, cwd=runner.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        deadline = time.monotonic() + 60
        while not (results / "running").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        run.send_signal(signal.SIGINT)
        said = run.communicate(timeout=60)[0]
    assert run.returncode == 130
    assert said.splitlines()[1:] == [
        "01_slow ... ",
        "Stopped. Nothing is half-written: type the same command to start again.",
    ]
    assert os.listdir(results) == ["running"]
