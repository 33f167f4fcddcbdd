"""Exercises: nothing that a student answers raises, and what usually goes wrong is told apart from all else."""

import tomllib
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table
from conftest import changed

import blendkit as bk
from blendkit.deblenders import SEP
from blendkit.lessons import exercises

COMMON, TASKS = tomllib.loads(exercises.WORDS.read_text(encoding="utf-8")).values()
NONSENSE = ["a text", np.nan, [], {}, (1, 2), np.zeros(3), Table({"x": [1]}), lambda *a: 1 / 0, lambda *a: "x", len]
# what usually goes wrong: the name of its hint among the words, and such an answer, made of a sample where it needs one
FUNCTIONS = {
    "02.3": {"central": lambda b: b["distance"] < b["r_eff"][:, 0],
             "smaller": lambda b: b["distance"] < b["r_eff"].min(1),
             "farther": lambda b: b["distance"] > b["r_eff"].max(1), "pixels": lambda b: b["distance"] < 1,
             "shape": lambda b: 7, "finite": lambda b: b["distance"] * np.nan, "alike": lambda b: b["distance"] < 30},
    "02.4": {"pixels": lambda b, n: np.argmax(np.where(n == 1, b["distance"], 0)), "alike": lambda b, n: 59,
             "all": lambda b, n: np.argmax(b["distance"] / b["r_eff"].max(1)),
             "nearest": lambda b, n: np.argmin(np.where(n == 1, b["distance"] / b["r_eff"].max(1), 99))},
    "03.2": {"zero": lambda h: np.argmin(h["val_loss"]), "train": lambda h: h["epoch"][np.argmin(h["loss"])],
             "loss": lambda h: min(h["val_loss"]), "alike": lambda h: 5},
    "03.3": {"unrolled": lambda i: i[:, ::-1, ::-1], "mirrored": lambda i: i[:, :, ::-1],
             "upside": lambda i: i[:, ::-1], "alike": lambda i: i, "shape": lambda i: i[0]},
    "03.4": {"percent": lambda f, e, t: 100 * (abs(f - t) < e).mean(0), "signed": lambda f, e, t: (f - t < e).mean(0),
             "beyond": lambda f, e, t: (abs(f - t) > e).mean(0), "shape": lambda f, e, t: (abs(f - t) < e).mean()},
    "04.3": {"found": lambda t, m: 100 * np.nanmean(abs(m / t - 1)), "finite": lambda t, m: 100 * abs(m / t - 1).mean(),
             "fraction": lambda t, m: np.nan_to_num(abs(m / t - 1), nan=1).mean(),
             "median": lambda t, m: 100 * np.median(np.nan_to_num(abs(m / t - 1), nan=1)),
             "none": lambda t, m: 100 * np.nan_to_num(abs(m / t - 1)).mean()},
    "05.4": {"level": SEP(), "bias": lambda i: SEP()(i - i.mean(axis=(1, 2), keepdims=True))},
    "06.2": {"zero": lambda i: {"flux": np.zeros((60, 2))}, "faint": SEP(),
             "silent": lambda i: {"flux": np.full((60, 2), np.nan)}},
    "06.4": {"beaten": SEP()},
}  # fmt: skip


def named(kind, **attributes):
    """Something of a class of this name."""
    return type(kind, (SimpleNamespace,), {})(**attributes)


def objects(sample):
    """The same for answers that are no functions."""
    one, other = sample.catalog["id"][:2]
    bright = sample.catalog["mag"] < 21.5
    disks = changed(sample, morphology=["disk"] * len(sample))
    cut = bk.clean(disks, mag=(max(sample.catalog["mag"][bright]), 21.5), n_jobs=1)
    rejected = bk.clean(sample, decisions=dict.fromkeys(sample.catalog["id"][:3].tolist(), "reject"), n_jobs=1)
    moved = {"swapped": (5, 12, 1), "place": (12, -5, 1), "brighter": (12, 5, -1), "fainter": (12, 5, 0)}
    near, far, wide = (bk.make_blends(sample, [one, other], dx, 0) for dx in (1, 60, 40))
    explorers = {name: bk.BlendExplorer(sample, []) for name in ("apart", "one")}
    explorers["apart"].dx.value = explorers["apart"].dy.value = 0
    explorers["one"].dx.value = 40
    skies = {name: Table({"condition": [name], "value": [0.3], "within_1": [np.nan]}) for name in ("noise", "blur")}
    three = Table({"condition": ["blur"] * 3, "value": [0.3, 0.6, 0.9], "within_1": [np.nan] * 3})
    both = Table({"condition": ["noise", "units"], "method": ["mine"] * 2, "median": [20.0, 100.0]})
    said = Table({"flux": [[1.0, 1.0]], "flux_err": [[0.1, 0.1]], "out_of_domain": [True]})
    asked = {"off": (said, 1.1), "flag": (said, 2.0)}
    errors = {"errors": {"SExtractor": {"median": 3.0}, "fractions": {"median": 2.0}}}
    return {
        "01.2": {"bright": sample, "disks": sample[bright], "all": cut},
        "01.4": {"rejected": sample[bright], "accepted": rejected},
        "02.1": explorers, "02.2": {name: bk.make_blends(sample, [one, other], *place) for name, place in moved.items()}
        | {"pair": bk.make_blends(sample, [one, one], 12, 5, 1)},
        "04.1": {"median": named("ExamSliders", **errors)},
        "05.1": {name: named("TrustExplorer", image=0, recipe=0, true=np.array([true, 1.0]), methods=[
            SimpleNamespace(answer=lambda *a, t=t: (t, ""))]) for name, (t, true) in asked.items()},
        "05.2": {"blur": skies["noise"], "values": skies["blur"], "states": three},
        "06.1": {"same": (far, wide[:0]), "apart": (near, near), "wrong": (far, far)},
        "06.3": {"rows": (both[:1], "noise"), "worst": (both, "noise")},
    }  # fmt: skip


def told(capsys, number, answer):
    """What is printed of a wrong answer: one cross, which comes last."""
    capsys.readouterr()
    assert exercises.check(number, answer) is False
    said = capsys.readouterr().out.splitlines()
    assert [line[0] for line in said] == ["✓"] * (len(said) - 1) + ["✗"]
    assert said[-1].endswith((".", "?", ".)"))
    return said[-1][2:]


@pytest.mark.parametrize("number", TASKS)
def test_no_answer_raises_or_passes_by_chance(number, capsys):
    for answer in NONSENSE:
        told(capsys, number, answer)
    for answer in (..., None):
        assert exercises.check(number, answer) is False
        assert TASKS[number]["expects"] in capsys.readouterr().out


def test_what_usually_goes_wrong_has_a_hint_of_its_own(capsys, galaxies):
    for number, answers in (FUNCTIONS | objects(galaxies)).items():
        for name, answer in answers.items():
            words = (COMMON | TASKS[number])[name]
            start = (words if isinstance(words, str) else words[1]).partition("{")[0]
            assert told(capsys, number, answer).startswith(start), (number, name)
    for number, task in TASKS.items():
        for low, high, hint in task.get("slips", ()):
            assert told(capsys, number, (low + high) / 2) == hint


def test_an_unknown_number_names_the_known_ones(capsys):
    for number in ("07.1", 2.3, None, []):
        assert exercises.check(number, 1) is False
        said = capsys.readouterr().out
        assert all(known in said for known in TASKS)
