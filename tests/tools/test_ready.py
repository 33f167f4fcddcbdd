"""The evening before: a machine is called ready only where every step went well without the network."""

import re

import pytest
from test_run_notebooks import write

from tools import ready


@pytest.fixture
def rehearse(tmp_path, monkeypatch, capsys):
    """Rehearse a class with one notebook of these cells: (exit status, what was printed)."""

    def run(*cells, **steps):
        (tmp_path / "notebooks").mkdir()
        write(tmp_path / "notebooks" / "01_class.ipynb", *cells)
        monkeypatch.setattr(ready, "ROOT", tmp_path)
        for name in ("machine", "galaxies", "networks", "scoreboard", "jupyter"):
            monkeypatch.setattr(ready, name, steps.get(name, lambda *given: "well"))
        for name in ready.ALONE:
            monkeypatch.setenv(name, "")  # put back after the test
        return ready.main(["--profile", "quick"]), capsys.readouterr().out

    return run


def no_lab():
    raise RuntimeError("JupyterLab did not answer")


@pytest.mark.parametrize(("code", "steps", "status", "words"), [
    ("1 + 1", {}, 0, r"Ready for offline use.*"),
    ("import urllib.request as r\nr.urlopen('http://blendkit.invalid/galaxies')", {}, 1, "Not ready.*01_class.*"),
    ("1 + 1", {"jupyter": no_lab}, 1, "Not ready.*JupyterLab did not answer.*"),
], ids=["a good machine", "a download", "no JupyterLab"])  # fmt: skip
def test_only_a_good_machine_is_ready(rehearse, code, steps, status, words):
    got, said = rehearse(code, **steps)
    assert got == status
    assert re.fullmatch(rf"((?!Ready).)*{words}", said, re.DOTALL)
