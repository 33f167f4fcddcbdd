"""The exam on fields: what is put in, what the scores of known answers are, and what the page says of them."""

import re

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from conftest import gaussian_light, gaussian_sample

from blendkit.data.sky import sky_noise
from tools.exam import __main__ as command
from tools.exam import field, page, rivals
from tools.exam.score import Method
from tools.exam.train import SHIPPED, Exam

SIDE = 256
STAMP = 64


def sky(seed=0):
    return sky_noise(np.random.default_rng(seed), (SIDE, SIDE)).astype(np.float32)


@pytest.fixture(scope="module")
def monkeypatch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def exam(tmp_path_factory, monkeypatch):
    """A small exam: real galaxies are round Gaussians, and so are the simulated ones of a field."""
    folder = tmp_path_factory.mktemp("exam")
    sample = gaussian_sample(8, (STAMP, STAMP), sigma=2.5, seed=0, sky=0, mags=np.linspace(20, 22, 8))
    monkeypatch.setattr(field, "noiseless", lambda folder: sample)
    pool = [gaussian_light((STAMP, STAMP), STAMP // 2, STAMP // 2, flux, 2.0).astype("f4") for flux in (3, 9, 40)]
    monkeypatch.setattr(field, "_pool", lambda seed: pool)
    monkeypatch.setattr(field, "DENSITY", 300)
    monkeypatch.setattr(field, "SHARE", dict.fromkeys(field.KINDS, 0.3))
    image = sky()
    for y, x in ((30, 40), (100, 60), (60, 120), (130, 130)):
        image += gaussian_light(image.shape, y, x, 20, 2.5).astype(np.float32)
    path = folder / field.IMAGE
    path.parent.mkdir()
    fits.writeto(path, image, fits.Header({"PHOTFLAM": 3.0386e-20, "PHOTPLAM": 10551.0}))
    return Exam(folder / "real", folder / "out", folder, "quick", fields=12, few=15, sides=(SIDE, SIDE, 512))


def knows(name, factor=1.0, missing=0, false=0, **more):
    """A method that knows all that there is, but for every `missing`-th galaxy, and `false` ones in a corner."""

    def measure(given):
        known = given.known[np.arange(len(given.known)) % missing > 0] if missing else given.known
        nothing = np.arange(false) / 2
        told = {axis: np.append(known[axis], nothing - 1000) for axis in ("x", "y")}
        flux = factor * np.append(known["flux"], 1 + nothing)
        pairs = given.put[given.put["pair"]]
        blended = field.nearest(Table(told), pairs) < len(pairs)
        told |= {"flux": flux, "err": 0.04 * flux, "sep": 1.2 / factor * flux, "blended": 1.0 * blended}
        return told | {"odd": 0 * flux, "model": flux.sum()} | more

    return Method(name, name, measure, {})


@pytest.fixture(scope="module")
def known(exam, monkeypatch):
    """The table of methods whose errors are known; what they cost as well."""
    methods = [knows(SHIPPED, 1.05, false=1), knows(field.SEP_ALONE, 1.1, missing=3, false=3), knows(field.SCARLET)]
    monkeypatch.setattr(field, "methods_of", lambda exam: (methods, {"photutils": "photutils is not installed"}))
    run = {"peaks": np.array([1000.0, 1200.0]), "seconds": np.array([3.0, 2.0])}
    monkeypatch.setattr(field, "memory_and_workers", lambda exam, seed: run)
    return field.field_table(exam)


def test_what_is_put_in(exam):
    every = list(field.fields(exam))
    assert [each.kind for each in every] == [field.REAL] * 12 + [field.SIMULATED] * 4
    again = field.fields(exam, seed=field.SEED)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(every, again, strict=True)), "the same of one seed"
    clean = fits.getdata(exam.out.parent / field.IMAGE)
    for each in every[:12]:
        added = each.image - clean
        put, members = each.put, each.known[-len(each.put) - each.put["pair"].sum() :]
        if all(put[axis].min() > STAMP / 2 and put[axis].max() < SIDE - STAMP / 2 for axis in ("x", "y")):
            assert added.sum() == pytest.approx(members["flux"].sum(), rel=0.03)
        for row in put:
            y, x = round(row["y"]), round(row["x"])
            assert added[y - 2 : y + 3, x - 2 : x + 3].max() > 0.5 * row["flux"] / (2 * np.pi * 2.5**2), "it is there"
            gaps = np.hypot(each.known["x"] - row["x"], each.known["y"] - row["y"])
            others = gaps[(each.known["flux"] > field.BRIGHT * row["flux"]) & (gaps > 0)]
            assert row["near"] == pytest.approx(others.min())
    pairs = [each.put[each.put["pair"]]["near"] for each in every]
    assert 0 < np.concatenate(pairs).max() < 0.5 * 12, "a pair is closer than half a radius"


def test_scores_of_known_answers(exam, known):
    def told(method, score, group="all", sample=field.TOGETHER):
        row = known[(known["method"] == method) & (known["condition"] == group) & (known["sample"] == sample)]
        return row[score][0]

    expected = {"median": 5, "mape": 5, "outliers": 0, "within1": 0, "within2": 100, "found": 100, "failed": 0,
                "median_to_sep": 0.5, "auc": 1, "deep": 100, "false": 1, "more_false": -2, "memory": 1.2}  # fmt: skip
    assert {name: told(SHIPPED, name) for name in expected} == pytest.approx(expected, abs=1e-3)
    assert told(field.SEP_THERE, "median") == pytest.approx(20, abs=1e-3)
    assert told(field.SEP_ALONE, "n") + told(field.SEP_ALONE, "failed") == told(SHIPPED, "n")
    assert told(field.SEP_ALONE, "deep") == pytest.approx(67, abs=12), "every third is missing"
    assert told(SHIPPED, "more_found") == pytest.approx(100 - told(field.SEP_ALONE, "found"), abs=0.01)
    assert 90 < told(SHIPPED, "pure", sample=field.SIMULATED) < 100
    first = [each.put["pair"] for each in field.fields(exam) if not each.number]
    assert told(field.SCARLET, "n") == np.sum(~np.concatenate(first)), "asked in the first field of each kind"
    assert told(SHIPPED, "n") > told(SHIPPED, "n", "near") > 0
    answers = [path.stat().st_mtime_ns for path in sorted(exam.out.rglob("*.npz"))]
    assert np.array_equal(field.field_table(exam)["median"], known["median"], equal_nan=True)
    assert answers == [path.stat().st_mtime_ns for path in sorted(exam.out.rglob("*.npz"))], "kept"


def test_the_page_tells_of_fields(exam, known, monkeypatch, capsys):
    monkeypatch.setattr(command, "field_table", lambda exam: known)
    command.STEPS["field"](exam)
    (stored,) = (table for table in page.stored(exam.home) if table)
    text = page.fields_section(stored)
    assert text in capsys.readouterr().out
    assert text == page.fields_section(known)
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|", text, re.MULTILINE))
    assert rows["median error ≤ 5 %"].startswith("5.0 ± 0.0")
    assert rows["median ≤ 0.6 × SEP's"].endswith(", met")
    assert rows["60 to 76 % within 1 σ"].endswith("**missed**")
    assert rows["photutils"] == "photutils is not installed"
    assert not re.search(r"nan|20\d\d-\d\d", text)


@pytest.mark.parametrize("name", ["sep_alone", "photutils", "scarlet2"])
def test_others_measure_a_lone_galaxy(name, monkeypatch):
    pytest.importorskip(name if name != "sep_alone" else "sep", reason=f"no {name}: pip install blendkit[rivals]")
    image = sky(1) + gaussian_light((SIDE, SIDE), 90, 70, 40, 2.5).astype(np.float32)
    monkeypatch.setattr(rivals, "HALF", 16)
    found = getattr(rivals, name)(image, *([{"x": [70], "y": [90]}] if name == "scarlet2" else []))
    (i,) = np.flatnonzero(np.hypot(found["x"] - 70, found["y"] - 90) < 1)
    assert found["flux"][i] == pytest.approx(40, rel=0.3 if name == "scarlet2" else 0.1)
