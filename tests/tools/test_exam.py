"""The networks' exam: who sees which galaxies, what the scores mean, and that the page says what the table says."""

import dataclasses
import functools
import re

import numpy as np
import pytest
from astropy.table import Table, vstack
from conftest import gaussian_sample

import blendkit as bk
from blendkit.networks import training, weights
from tools.exam import __main__ as command
from tools.exam import page as results
from tools.exam import score as scoring
from tools.exam import train as teaching
from tools.exam.page import WEIGHTS, page
from tools.exam.score import SAMPLES, Method
from tools.exam.train import FINETUNED, ROOT, SEP_LABEL, SHIPPED, TRAIN_SEEDS, TUTORIAL, Exam

SHAPE = (32, 32)
ARGUMENTS = {"blend2flux": {"filters": 4}, "unet": {"depth": 3, "filters": 4}, "fractions": {"width": 4}}
ARGUMENTS["blend2mask2flux"] = ARGUMENTS["unet"] | {"flux_filters": 4, "dense": 8}
built = functools.cache(lambda name: bk.models.BUILDERS[name](**ARGUMENTS[name], shape=SHAPE))


def galaxies(seed, n=12):
    """Small round galaxies with the ids that a simulation of this seed would have; of seed 0 they are real ones."""
    sample = gaussian_sample(n, SHAPE, sigma=1.5, seed=seed)
    catalog = sample.catalog.copy()
    catalog["id"] = seed * 100_000 + np.arange(n) + 1
    if seed:
        catalog["truth_flux"] = catalog["flux_auto"]
    return dataclasses.replace(sample, catalog=catalog, name=f"synthetic, seed {seed}")


@pytest.fixture(scope="module")
def sky():
    return galaxies(5)


@pytest.fixture(scope="module")
def blends(sky):
    return bk.draw_blends(sky, 60, seed=1)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """An exam on galaxies of 32 x 32 pixels."""
    galaxies(0).save(tmp_path / "real")
    monkeypatch.setattr("gc.collect", lambda: 0)  # half a second each, with Keras loaded
    read = teaching.load_sample
    for module in (teaching, scoring):
        monkeypatch.setattr(module, "clean", lambda sample: sample)
        monkeypatch.setattr(module, "load_sample", lambda name, **k: galaxies(k["seed"]) if k else read(name))
    monkeypatch.setattr(teaching, "simulate", lambda n, seed, **_: galaxies(seed))
    plans = {"finetune": training.plan_of("fractions", "quick")}
    return Exam(tmp_path / "real", tmp_path / "out", tmp_path / "home", "quick", plans, galaxies=12,
                seeds=TRAIN_SEEDS[:3], blends=24, turned=8, folds=2)  # fmt: skip


def no_training(name, train, valid, profile, seed, out, *, start, plan):
    """What `bk.train` leaves behind, without the training."""
    if list(out.glob("*.h5")):
        return
    (before,) = map(weights.read_card, start.glob("*.json")) if start else [None]
    card = {"architecture": name, "arguments": ARGUMENTS[name] | {"shape": SHAPE}, "plan": {"blends": 64}, "epochs": 3,
            "profile": profile, "seconds": 90.0, "history": {"images_per_second": [9.0, 10.0]},
            "n_galaxies": len(train) + len(valid)} | weights.seen([train, valid], before or {})  # fmt: skip
    if before:
        card |= {"start": {"sha256": before["sha256"]}, "fine_tuned": before["architecture"] == name}
    first = built(name).weights[0]
    first.assign(first + 1)
    weights.save(built(name), out, name + "-finetuned" * card.get("fine_tuned", False), card)


class HalfEach:
    """Measures half of the light for each galaxy, as a network in the folder of a run would."""

    def __init__(self, folder, masks):
        (self.card,), self.masks = map(weights.read_card, folder.glob("*.json")), masks

    def __call__(self, images):
        half = np.repeat(images.sum(axis=(1, 2))[:, None] / 2, 2, axis=1)
        table = Table({"flux": half}, meta={"trained_on": self.card})
        if self.card["architecture"] == "fractions":
            table["flux_err"] = half / 10
        if self.masks:
            table["masks"] = np.repeat(images[..., None] > 0.03, 2, axis=-1)
        return table


def oracle(sample, factor=1.0, err=None, name="oracle", **meta):
    """A method that knows the fluxes and masks, and measures `factor` times the flux."""

    def measure(images, blends):
        _, masks, fluxes = bk.render(sample, blends)
        table = Table({"flux": factor * fluxes, "masks": masks}, meta=meta)
        if err is not None:
            table["flux_err"] = err * fluxes
        return table[: len(images)]

    return Method(name, name, measure, {})


def test_who_sees_what(small, monkeypatch):
    runs = {}

    def train(name, train, valid, profile, seed, out, *, start, plan):
        runs[out.name] = (*(set(np.asarray(side.catalog["id"]).tolist()) for side in (train, valid)), start, plan)

    monkeypatch.setattr(training, "train", train)
    for step in (teaching.train_tutorial, teaching.train_shipped, teaching.fine_tune):
        step(small)
    assert list(runs) == ["unet", "blend2mask2flux", "blend2flux", "blend2flux-muon", "fractions", "unet-shipped",
                          "blend2mask2flux-shipped", "fractions-shipped", "finetune-1", "finetune-2",
                          "fractions-finetuned"]  # fmt: skip
    assert not any(train & valid for train, valid, _, _ in runs.values())
    assert runs["blend2flux-muon"][:2] == runs["blend2flux"][:2]
    assert min(TRAIN_SEEDS) > 900_000, "seeds that nobody else uses"
    seeds = {run: {(i - 1) // 100_000 for i in train | valid} for run, (train, valid, _, _) in runs.items()}
    assert seeds["unet"] == {TRAIN_SEEDS[0]} == set(teaching.seeds_of(small, "unet"))
    assert seeds["fractions-shipped"] == set(TRAIN_SEEDS[:2]) == set(teaching.seeds_of(small, "fractions-shipped"))
    assert seeds["fractions-finetuned"] == {0, TRAIN_SEEDS[2]}
    assert len(runs["unet"][0] | runs["unet"][1]) == 10, "the tutorial's test galaxies stay unseen"
    real = set(teaching.real_galaxies(small).catalog["id"])
    parts = [set(held.catalog["id"]) for _, held in teaching.folds(small, teaching.real_galaxies(small))]
    assert sorted(i for part in parts for i in part) == sorted(real), "each is held out once"
    for k, held in enumerate(parts):
        train, valid, start, plan = runs[f"finetune-{k + 1}"]
        assert not held & (train | valid)
        assert real - held <= train | valid
        assert (start, plan) == (small.out / "fractions-shipped", small.plans["finetune"])
    assert real <= runs["fractions-finetuned"][0] | runs["fractions-finetuned"][1]
    assert runs["blend2mask2flux"][2] == small.out / "unet"
    assert runs["blend2mask2flux-shipped"][2] == small.out / "unet-shipped"


def test_the_command_knows_its_steps(tmp_path, monkeypatch, capsys):
    done, steps = [], tuple(command.STEPS)
    for name in steps:
        monkeypatch.setitem(command.STEPS, name, lambda given, name=name: done.append((name, given)))
    command.main([str(tmp_path), "--only", "scores,ship"])
    command.main([str(tmp_path), "--profile", "quick", "--out", str(tmp_path / "out")])
    assert [name for name, _ in done] == ["ship", "scores", *steps]
    assert {(exam.profile, exam.home) for _, exam in done} == {("tutorial", ROOT), ("quick", tmp_path / "out")}
    with pytest.raises(SystemExit):
        command.main([str(tmp_path), "--only", "all"])
    assert "tutorial,ship,finetune,scores" in capsys.readouterr().err


def test_radii_of_real_galaxies_are_measured_ones(hst_clean, sky, monkeypatch):
    ratio = teaching.with_measured_radii(hst_clean).catalog["r_eff"] / hst_clean.catalog["r_eff"]
    assert np.median(ratio) == pytest.approx(1, abs=0.03)
    assert np.quantile(np.abs(ratio - 1), 0.9) < 0.1
    monkeypatch.setattr(teaching, "half_light_radius", lambda images, segments: np.full(len(images), np.nan))
    assert (teaching.with_measured_radii(sky).catalog["r_eff"] == sky.catalog["r_eff"]).all()


def test_an_oracle_is_measured(small, sky, blends):
    found = scoring.measure(oracle(sky, 1.1, 0.2), sky, blends, turned=13, batch=7)
    np.testing.assert_allclose(found["flux"], 1.1 * blends["flux"], rtol=1e-6)
    np.testing.assert_allclose(found["flux_zero"], found["flux"])
    assert (found["iou"] == 1).all()
    assert np.allclose(found["spread"][:13], 0)
    assert np.isnan(found["spread"][13:]).all()
    with pytest.raises(ValueError, match="trained on"):
        scoring.measure(oracle(sky, trained_on=weights.seen([sky[:5]])), sky, blends)
    methods = oracle(sky), oracle(sky, 2), oracle(sky, 2, name="other")
    first, again, other = (scoring.answers(small, method, sky, blends[:4])["flux"] for method in methods)
    assert (first == again).all(), "answers are kept"
    assert (other == 2 * first).all()


@pytest.fixture(scope="module")
def board(sky, blends):
    """Scores of methods whose errors are known."""
    names = (SEP_LABEL, "blend2flux", TUTORIAL, SHIPPED, FINETUNED)
    given = ((1.4, None), (1.2, None), (1.05, 0.06), (1.08, 0.05), (0.45, 0.05))
    methods = [oracle(sky, *errors, name=name) for name, errors in zip(names, given, strict=True)]
    found = {method: scoring.measure(method, sky, blends, turned=20) for method in methods}
    found[methods[0]]["flux"][::3, 1] = np.nan
    table = vstack([scoring.score_rows(name, blends, found) for name in SAMPLES])
    table.meta = {"made_by": "python -m tools.exam a-folder", "blends": 5000, "turned": 20, "folds": 4,
                  "synthetic": "12 made galaxies", "real": "12 real galaxies", "training": {}}  # fmt: skip
    return table


def test_scores_of_known_errors(board):
    companions = board[(board["sample"] == SAMPLES[0]) & (board["member"] == "companion")]
    sep, _, tutorial, shipped, finetuned = companions
    assert [tutorial[key] for key in ("mape", "median", "mape_zero")] == pytest.approx([5, 5, 5], abs=1e-3)
    assert [tutorial[key] for key in ("outliers", "n", "failed", "iou")] == [0, 60, 0, 1]
    assert [tutorial[key] for key in ("within1", "within2", "steady")] == [100, 100, 100]
    assert (shipped["within1"], shipped["within2"]) == (0, 100)
    assert finetuned["outliers"] == 100
    assert (sep["n"], sep["failed"]) == (40, 20)
    assert np.isnan(sep["within1"])
    assert (sep["to_sep"], tutorial["to_sep"], tutorial["to_blend2flux"]) == pytest.approx((1, 0.125, 0.25), abs=1e-4)
    assert tutorial["to_sep_err"] < 1e-3
    assert tutorial["mape_zero_err"] == pytest.approx(tutorial["mape_err"]), "from galaxies, as in metrics"


def test_the_page(board, monkeypatch):
    text = page(board)
    assert re.search(r"flux MAPE ≤ 7 % \| synthetic \| fractions \(tutorial\) \| 5\.0 .* \| met \|", text)
    assert re.search(r"flux MAPE ≤ 7 % \| synthetic \| fractions \(shipped\) \| 8\.0 .* \| \*\*missed\*\* \|", text)
    assert re.search(r"minutes of training \| synthetic \| unet \(masks only\) \| – \| – \| not measured", text)
    assert "nan" not in text
    assert not re.search(r"20\d\d-\d\d", text), "no dates"
    for block in text.split("\n\n"):
        assert len({line.count("|") for line in block.splitlines() if line.startswith("|")}) <= 1, block
    said = re.findall(r"^\| (?!method|---)([^|]+) \| ([^|]+) \|", text.split("## ")[3], re.M)
    assert [sample for _, sample in said] == list(SAMPLES) * 5, "real stands below synthetic"
    assert "Muon), " not in text  # no such run in this table
    monkeypatch.setattr(results, "WITH_MUON", "blend2flux")
    assert "fractions (tutorial) has 0.25 / 0.25 times the MAPE on synthetic" in page(board)


def test_from_training_to_the_page(small, monkeypatch):
    """Every step but the training itself; again, nothing is measured anew."""
    monkeypatch.setattr(training, "train", no_training)
    monkeypatch.setattr(scoring, "Network", HalfEach)
    for step in command.STEPS.values():
        step(small)
    table = Table.read(small.home / "data" / "reference" / "network_scores.ecsv")
    text = (small.home / "docs" / "RESULTS.md").read_text(encoding="utf-8")
    assert text == page(table)
    assert "real, held-out folds | " in text
    shipped = small.home / "data" / "weights"
    cards = {path.stem: weights.read_card(path) for path in shipped.glob("*.json")}
    assert set(cards) == set(WEIGHTS) == {path.name.removesuffix(weights.H5) for path in shipped.glob("*.h5")}
    seeds = dict.fromkeys(WEIGHTS, TRAIN_SEEDS[:2]) | {"blend2flux": TRAIN_SEEDS[:1]}
    for name, card in cards.items():
        assert card["made_by"] == "python -m tools.exam real --profile quick"
        assert card["limits"]
        assert tuple(card["seeds"]) == seeds[name]
        for sample in SAMPLES[:2]:
            values = set(card["accuracy"][sample]["central"])
            assert {"iou", "iou_err"} <= values or name == "blend2flux"
            assert {"mape", "mape_err"} <= values or name == "unet"
    before = {p: p.stat().st_mtime_ns for p in small.out.rglob("*") if p.is_file()}
    for step in (teaching.train_tutorial, teaching.fine_tune, scoring.score_table):
        step(small)
    assert {p: p.stat().st_mtime_ns for p in small.out.rglob("*") if p.is_file()} == before
    monkeypatch.setattr(results, "LARGEST", 1000)
    with pytest.raises(ValueError, match="MB, expected less than"):
        results.ship(small, table)


def test_what_is_stored_fits_together():
    table = Table.read(ROOT / "data" / "reference" / "network_scores.ecsv")
    assert page(table) == (ROOT / "docs" / "RESULTS.md").read_text(encoding="utf-8")
    for name, run in WEIGHTS.items():
        card = weights.shipped()[name]
        assert (weights.FOLDER / f"{name}{weights.H5}").stat().st_size < results.LARGEST
        assert set(card["seeds"]) <= set(TRAIN_SEEDS)
        assert card["made_by"] == "python -m tools.exam hst-sample"
        assert card["limits"]
        assert card["accuracy"] == results.accuracy(table, teaching.RUNS[run])
