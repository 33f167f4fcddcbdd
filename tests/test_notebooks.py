"""Every notebook, run headless on synthetic and on real galaxies, with the numbers that it shows."""

import json
import os
import re
import shutil
from types import SimpleNamespace

import pytest
from conftest import beside

from blendkit.data.remote import data_folder
from blendkit.lessons.exercises import WORDS
from tools import run_notebooks as runner
from tools.notebook_numbers import NUMBERS

NOTEBOOKS = runner.ROOT / "notebooks"
EXPECTED, LAWS = beside(__file__, "expected_numbers.toml"), beside(__file__, "laws.toml")
TASKS = beside(WORDS, WORDS.name)["exercises"]


@pytest.fixture(scope="module")
def catalogue_at_hand(published_csv):
    """The published catalogue where `load_published` would have downloaded it to."""
    place = data_folder() / "coindeblend" / published_csv.name
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.with_suffix(f".{os.getpid()}")
    shutil.copyfile(published_csv, draft)
    os.replace(draft, place)


@pytest.fixture(scope="module", params=["synthetic", "hst"])
def run(request, tmp_path_factory, catalogue_at_hand):
    """The results of all notebooks on one sample, and the numbers in them. The two samples run side by side."""
    sample = "synthetic" if request.param == "synthetic" else str(request.getfixturevalue("drizzled_folder"))
    results = tmp_path_factory.mktemp(f"results-{request.param}")
    assert runner.main(["--sample", sample, "--profile", "quick", "--results", str(results)]) == 0
    shown = {notebook: flat(json.loads((results / f"{notebook}.json").read_text())) for notebook in EXPECTED}
    return SimpleNamespace(sample=request.param, results=results, shown=shown)


def flat(value, name=""):
    """Numbers, nested names joined by dots."""
    if not isinstance(value, dict):
        return {name.removeprefix("."): value}
    return {k: v for key, item in value.items() for k, v in flat(item, f"{name}.{key}").items()}


def exercises(path, tag):
    """Heading, number as tagged, and what was printed, of each exercise in a notebook."""
    heading = ""
    for cell in json.loads(path.read_text())["cells"]:
        source, tags = "".join(cell["source"]), cell["metadata"].get("tags", [])
        heading = source if source.startswith("### ") else heading
        if tag in tags:
            assert source.endswith(f'\n\nbk.lessons.check("{tags[1]}", answer);')
            said = "".join(line for output in cell["outputs"] for line in output.get("text", [])).splitlines()
            yield heading.splitlines()[0], tags[1], said


def test_exercises_and_solutions_agree_and_solutions_pass(tmp_path):
    solutions, titles = sorted((NOTEBOOKS / "solutions").glob("*.ipynb")), {}
    assert [path.name for path in solutions] == [f"{notebook}.ipynb" for notebook in EXPECTED]
    arguments = ["--sample", "synthetic", "--profile", "quick", "--results", str(tmp_path)]
    assert runner.main([*arguments, *map(str, solutions)]) == 0
    for path in solutions:
        asked, solved = exercises(NOTEBOOKS / path.name, "exercise"), [*exercises(tmp_path / path.name, "solution")]
        assert [row[:2] for row in asked] == [row[:2] for row in solved]
        assert 3 <= len(solved) <= 5
        titles |= {number: heading for heading, number, _ in solved}
        assert [said for _, number, said in solved if TASKS[number]["right"] not in said[-1]] == []
    assert titles == {number: f"### {number} · {task['title']}" for number, task in TASKS.items()}


def test_every_notebook_has_numbers_to_compare():
    notebooks = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
    assert [path.stem for path in notebooks] == sorted(NUMBERS) == sorted(EXPECTED)
    cells = [cell for path in notebooks[3:] for cell in json.loads(path.read_text())["cells"]]
    lines = [line.rstrip() for cell in cells if cell["cell_type"] == "code" for line in cell["source"]]
    assert max(map(len, lines)) <= 105, "at 1280 pixels JupyterLab scrolls longer lines sideways"


@pytest.mark.parametrize("notebook", EXPECTED)
def test_numbers_are_the_expected_ones(run, notebook):
    shown, which = run.shown[notebook], run.sample == "hst"
    expected = {key: pairs[which] for key, pairs in EXPECTED[notebook].items() if which < len(pairs)}
    wrong = {key: (shown[key], *pair) for key, pair in expected.items() if not abs(shown[key] - pair[0]) <= pair[1]}
    assert not wrong, "number: (shown, expected, tolerance)"


@pytest.mark.parametrize("notebook", LAWS)
def test_laws_hold(run, notebook):
    shown = run.shown[notebook]
    for less, factor, *more in LAWS[notebook]:
        assert shown[less] < factor * (sum(shown[name] for name in more) if more else 1), less


def test_further_laws_hold(run):
    _, _, learning, training, compared, trust, own, _ = run.shown.values()
    assert learning["parameters"][0] == learning["parameters"][1], "the network on the page is the paper's"
    memory, learnt = (training[f"{kind}.val_loss"] - training[f"{kind}.loss"] for kind in ("fixed", "fresh"))
    assert memory > learnt
    missed = [key for key in compared if key.startswith("exam.") and key.endswith(".not found") and compared[key] > 0.5]
    assert missed == ["exam.SExtractor.not found"]  # networks always answer, but for one of hundreds
    for where in ("units 0.001", "units 1e+06", "level -1", "level 1"):  # it measures noise and level itself
        assert trust[f"fractions.{where}.median"] == pytest.approx(trust["fractions.units 1.median"], rel=0.01)
    assert abs(trust["crowd.bias"]) < trust["crowd.plain"] / 2
    for member in ("central", "companion"):
        one, two = own[f"calibration.{member}"]
        assert 0.5 < one < 0.85 < two <= 1


def test_pages_and_a_scoreboard_of_both_worlds_are_left_for_reading(run):
    rows = re.findall("^SEP", (run.results / "scoreboard.txt").read_text(), re.MULTILINE)
    assert len(rows) == {"synthetic": 18, "hst": 12}[run.sample]
    for notebook in EXPECTED:
        page = (run.results / f"{notebook}.html").read_text(encoding="utf-8")
        assert "data:image/png" in page
        assert "Traceback" not in page
