"""The evening before: a machine is called ready only where every step went well without the network."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tools import ready


@pytest.fixture
def rehearse(tmp_path, monkeypatch, capsys):
    """Rehearse a class with one notebook of these cells: (exit status, what was printed)."""

    def run(*cells, **steps):
        (tmp_path / "notebooks").mkdir()
        first = new_code_cell("SAMPLE, PROFILE, SEED, RESULTS = 0, 0, 0, 0", metadata={"tags": ["parameters"]})
        notebook = new_notebook(cells=[first, *map(new_code_cell, cells)])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, tmp_path / "notebooks" / "01_class.ipynb")
        monkeypatch.setattr(ready, "ROOT", tmp_path)
        for name in ("machine", "galaxies", "networks", "scoreboard", "jupyter"):
            monkeypatch.setattr(ready, name, steps.get(name, lambda *given: "well"))
        for name in ready.ALONE:
            monkeypatch.setenv(name, "")  # put back after the test
        return ready.main(["--profile", "quick"]), capsys.readouterr().out

    return run


def test_a_good_machine_is_ready(rehearse):
    status, said = rehearse("1 + 1")
    assert status == 0
    assert "Ready for offline use" in said


@pytest.mark.parametrize("case", ["a download", "no JupyterLab"])
def test_a_machine_that_lacks_something_is_not(rehearse, case):
    def no_lab():
        raise RuntimeError("JupyterLab did not answer")

    download = "import urllib.request\nurllib.request.urlopen('http://blendkit.invalid/galaxies')"
    status, said = rehearse(download) if case == "a download" else rehearse("1 + 1", jupyter=no_lab)
    assert status == 1
    assert "Ready" not in said
    assert ("01_class" if case == "a download" else "JupyterLab did not answer") in said.partition("Not ready")[2]
