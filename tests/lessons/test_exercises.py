"""Exercises: nothing that a student answers raises, and what usually goes wrong is told apart from all else."""

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table
from conftest import beside, changed

import blendkit as bk
from blendkit.lessons.exercises import WORDS, check

COMMON, TASKS = beside(WORDS, WORDS.name).values()
WRONG = beside(__file__, "wrong_answers.toml")
NONSENSE = ["a text", np.nan, [], {}, (1, 2), np.zeros(3), Table({"x": [1]}), lambda *a: 1 / 0, lambda *a: "x", len]


def told(capsys, number, answer):
    """What is printed of a wrong answer: a single cross, and it comes last."""
    assert check(number, answer) is False
    said = capsys.readouterr().out.splitlines()
    assert [line[0] for line in said] == ["✓"] * (len(said) - 1) + ["✗"]
    return said[-1][2:]


@pytest.mark.parametrize("number", TASKS)
def test_no_answer_raises_or_passes_by_chance(number, capsys):
    for answer in NONSENSE:
        assert told(capsys, number, answer).endswith((".", "?", ".)"))
    for answer in (..., None):
        assert check(number, answer) is False
        assert TASKS[number]["expects"] in capsys.readouterr().out


def test_what_usually_goes_wrong_has_a_hint_of_its_own(capsys, galaxies):
    known = {
        "np": np, "bk": bk, "SEP": bk.deblenders.SEP, "Table": Table, "changed": changed, "sample": galaxies,
        "pair": (pair := galaxies.catalog["id"][:2]), "bright": galaxies.catalog["mag"] < 21.5,
        "blends": lambda dx: bk.make_blends(galaxies, pair, dx, 0),
        "says": Table({"flux": [[1.0, 1]], "flux_err": [[0.1, 0.1]], "out_of_domain": [True]}),
        "conditions": Table({"condition": ["noise", "units"], "method": ["mine"] * 2, "median": [20, 100]}),
        "known": Table({"true": [10.0, 10], "flux": [10.5, 12], "sep_flux": [12, 10.5]}),
        "fake": lambda kind, **has: type(kind, (SimpleNamespace,), {})(**has),
    }  # fmt: skip
    for number, task in TASKS.items():
        for name, answer in WRONG.get(number, {}).items():
            words = (COMMON | task)[name]
            start = (words if isinstance(words, str) else words[1]).partition("{")[0]
            assert told(capsys, number, eval(answer, known)).startswith(start), (number, name)
        for hint, slip in task.get("number", {}).items():
            assert hint in ("right", "within") or told(capsys, number, slip) == hint
        assert "number" in task or number in WRONG


def test_an_unknown_number_names_the_known_ones(capsys):
    for number in ("08.1", 2.3, None, []):
        assert check(number, 1) is False
        assert ", ".join(TASKS) in capsys.readouterr().out
