"""The networks' exam: who sees which galaxies, what the scores mean, and that the page says what the table says."""

import dataclasses
import json
import re

import numpy as np
import pytest
from astropy.table import Table
from conftest import HST, gaussian_sample
from test_training import TINY

import blendkit as bk
from blendkit import exam, models, training, weights
from blendkit.deblenders import Network
from blendkit.exam import FINETUNED, SAMPLES, SEP_LABEL, SHIPPED, TRAIN_SEEDS, TUTORIAL, Exam, Method

SHAPE = (32, 32)
DONE = exam.ROOT / "data" / "reference" / "network_scores.ecsv"


def galaxies(seed, n=12):
    """Small round galaxies with the ids that a simulation of this seed would have."""
    sample = gaussian_sample(n, SHAPE, sigma=1.5, seed=seed)
    sample.catalog["id"] = seed * 100_000 + np.arange(n) + 1
    sample.name = f"synthetic, seed {seed}"
    return sample


@pytest.fixture
def small(tmp_path, monkeypatch):
    """An exam on galaxies of 32 x 32 pixels with plans of seconds."""
    galaxies(0).save(tmp_path / "real")
    reading = exam.load_sample
    monkeypatch.setattr(
        exam, "load_sample", lambda source, **k: galaxies(k["seed"]) if source == "synthetic" else reading(source)
    )
    monkeypatch.setattr(exam, "simulate", lambda n, seed, **_: galaxies(seed))
    monkeypatch.setattr(exam, "clean", lambda sample: sample)
    plans = {name: dataclasses.replace(plan, epochs=1) for name, plan in TINY.items()}
    plans |= {f"{name}-shipped": plans[name] for name in ("unet", "blend2mask2flux", "fractions")}
    plans["finetune"] = plans["fractions"]
    return Exam(tmp_path / "real", tmp_path / "out", tmp_path / "home", "quick", plans, galaxies=12,
                seeds=TRAIN_SEEDS[:3], blends=24, turned=8, folds=2)  # fmt: skip


@pytest.fixture
def sky():
    return bk.Sample(*(lambda s: (s.images, s.segmaps, s.catalog))(galaxies(5)))


def no_training(name, train, valid, profile, seed, out, *, start, plan):
    """What `bk.train` leaves behind, without the training."""
    if list(out.glob("*.h5")):
        return
    arguments = plan.arguments | {"shape": SHAPE}
    network = models.BUILDERS[name](**arguments)
    seen = [*train.fingerprints.values(), *valid.fingerprints.values()]
    card = {"architecture": name, "arguments": arguments, "galaxies": seen, "plan": {"blends": 64}, "epochs": 3,
            "profile": profile, "seconds": 90.0, "history": {"images_per_second": [9.0, 10.0]}}  # fmt: skip
    if start is not None:
        first = weights.load(start)[1]
        card |= {"start": {"sha256": first["sha256"]}, "fine_tuned": first["architecture"] == name}
    weights.save(network, out, name + "-finetuned" * card.get("fine_tuned", False), card)


class HalfEach:
    """Measures half of the light for each galaxy, as a network in the folder of a run would."""

    def __init__(self, folder, masks):
        (path,) = folder.glob("*.json")
        self.card = json.loads(path.read_text())
        self.masks = masks

    def __call__(self, images):
        half = images.sum(axis=(1, 2)) / 2
        table = Table({"flux_central": half, "flux_companion": half})
        if self.card["architecture"] == "fractions":
            table["flux_central_err"] = table["flux_companion_err"] = half / 10
        if self.masks:
            table["masks"] = np.repeat(images[..., None] > 0.03, 2, axis=-1)
        table.meta["trained_on"] = {"galaxies": self.card["galaxies"]}
        return table


def oracle(sample, factor=1.0, err=None, name="oracle", **meta):
    """A method that knows the fluxes and masks, and measures `factor` times the flux."""

    def measure(images, blends):
        _, masks, fluxes = bk.render(sample, blends)
        table = Table({"flux_central": factor * fluxes[:, 0], "flux_companion": factor * fluxes[:, 1], "masks": masks})
        if err is not None:
            for k, galaxy in enumerate(exam.GALAXIES):
                table[f"flux_{galaxy}_err"] = err * fluxes[:, k]
        table.meta = meta
        return table[: len(images)]

    return Method(name, name, measure, {})


class TestWhoSeesWhat:
    def test_training_seeds_are_nobody_elses(self):
        assert len(set(TRAIN_SEEDS)) == len(TRAIN_SEEDS)
        assert min(TRAIN_SEEDS) > 900_000

    def test_many_seeds_have_a_short_name(self, small, monkeypatch):
        """Cards tell it; the seeds are there beside it."""
        monkeypatch.setattr(
            exam,
            "simulate",
            lambda n, seed, **_: dataclasses.replace(galaxies(seed), name=f"synthetic, seed {seed}, deep"),
        )
        assert exam.simulated(small, TRAIN_SEEDS[:1]).name == f"synthetic, seed {TRAIN_SEEDS[0]}, deep"
        assert exam.simulated(small, TRAIN_SEEDS[1:3]).name == "synthetic, 2 seeds, deep"

    def test_every_real_galaxy_is_held_out_once(self, small):
        real = exam.real_galaxies(small)
        pairs = exam.folds(small, real)
        held = [i for _, part in pairs for i in part.catalog["id"]]
        assert sorted(held) == sorted(real.catalog["id"])
        for rest, part in pairs:
            assert not set(rest.catalog["id"]) & set(part.catalog["id"])
            assert len(rest) + len(part) == len(real)

    def test_each_run(self, small, monkeypatch):
        runs = {}

        def train(name, train, valid, profile, seed, out, *, start, plan):
            ids = [set(np.asarray(side.catalog["id"]).tolist()) for side in (train, valid)]
            runs[out.name] = (name, *ids, start, plan)

        monkeypatch.setattr(training, "train", train)
        exam.train_tutorial(small)
        exam.train_shipped(small)
        exam.fine_tune(small)
        assert list(runs) == ["unet", "blend2mask2flux", "blend2flux", "blend2flux-muon", "fractions",
                              "unet-shipped", "blend2mask2flux-shipped", "fractions-shipped", "finetune-1",
                              "finetune-2", "fractions-finetuned"]  # fmt: skip
        assert runs["blend2flux-muon"][:3] == runs["blend2flux"][:3]
        real = exam.real_galaxies(small)
        seeds = {}
        for run, (_, train, valid, _, _) in runs.items():
            assert not train & valid
            seeds[run] = {(i - 1) // 100_000 for i in train | valid}
            assert seeds[run] - {0} == set(exam.seeds_of(small, run)) or run.startswith(("fine", "fractions-fine"))
        assert seeds["unet"] == {TRAIN_SEEDS[0]}
        for name in ("unet", "blend2mask2flux", "fractions"):
            assert seeds[f"{name}-shipped"] == set(TRAIN_SEEDS[:2])
        assert seeds["fractions-finetuned"] == {0, TRAIN_SEEDS[2]}
        whole, held = runs["unet"], [part for _, part in exam.folds(small, real)]
        assert len(whole[1]) + len(whole[2]) == 10, "the tutorial's test galaxies stay unseen"
        for k, part in enumerate(held):
            _, train, valid, start, plan = runs[f"finetune-{k + 1}"]
            assert not set(part.catalog["id"]) & (train | valid)
            assert start == small.out / "fractions-shipped"
            assert plan is small.plans["finetune"]
        assert set(real.catalog["id"]) <= runs["fractions-finetuned"][1] | runs["fractions-finetuned"][2]
        assert runs["blend2mask2flux"][3] == small.out / "unet"
        assert runs["blend2mask2flux-shipped"][3] == small.out / "unet-shipped"

    def test_the_command_knows_its_steps(self, tmp_path, monkeypatch, capsys):
        done = []
        for name in ("train_tutorial", "train_shipped", "fine_tune", "report"):
            monkeypatch.setattr(exam, name, lambda given, name=name: done.append((name, given.profile)))
        exam.main([str(tmp_path), "--only", "scores,ship"])
        exam.main([str(tmp_path), "--profile", "quick", "--out", str(tmp_path / "out")])
        assert done[:2] == [("train_shipped", "tutorial"), ("report", "tutorial")]
        assert [name for name, _ in done[2:]] == ["train_tutorial", "train_shipped", "fine_tune", "report"]
        with pytest.raises(SystemExit):
            exam.main([str(tmp_path), "--only", "all"])
        assert "tutorial,ship,finetune,scores" in capsys.readouterr().err

    def test_a_rehearsal_leaves_the_repository_alone(self, tmp_path):
        assert exam.quick_exam(tmp_path, tmp_path / "out").home == tmp_path / "out"
        assert Exam(tmp_path, tmp_path / "out").home == exam.ROOT


class TestRadii:
    def test_those_of_real_galaxies_are_measured_ones(self, hst_folder):
        real = bk.clean(bk.load_sample(hst_folder))
        ratio = exam.with_measured_radii(real).catalog["r_eff"] / real.catalog["r_eff"]
        assert np.median(ratio) == pytest.approx(1, abs=0.03)
        assert np.quantile(np.abs(ratio - 1), 0.9) < 0.1

    def test_pixels_stay_and_what_cannot_be_measured_too(self, sky, monkeypatch):
        measured = np.linspace(1, 2, len(sky))
        measured[3] = np.nan
        monkeypatch.setattr(exam, "half_light_radius", lambda images, segments: measured)
        changed = exam.with_measured_radii(sky)
        kept = np.arange(len(sky)) == 3
        assert changed.fingerprints == sky.fingerprints
        np.testing.assert_array_equal(changed.catalog["r_eff"][~kept], measured[~kept])
        np.testing.assert_array_equal(changed.catalog["r_eff"][kept], sky.catalog["r_eff"][kept])


class TestTurns:
    def test_the_centre_stays(self, sky):
        views = list(exam.turns(sky.images, sky.sky))
        assert len(views) == 7
        for view in views:
            assert (view[:, 16, 16] == sky.images[:, 16, 16]).all()
            assert np.isfinite(view).all()
        assert len({view.tobytes() for view in (sky.images, *views)}) == 8

    def test_what_is_left_empty_is_sky(self, sky):
        bright = sky.images + np.float32(100)
        for view in exam.turns(bright, sky.sky):
            empty = view < 50
            assert empty.sum() in (0, 32 * len(bright), 63 * len(bright))
            if empty.any():
                assert view[empty].std() == pytest.approx(0.006 * 2**0.5, rel=0.2)


class TestMeasuring:
    def test_an_oracle(self, sky):
        blends = bk.draw_blends(sky, 30, seed=1)
        found = exam.measure(oracle(sky, 1.1, 0.2), sky, blends, turned=13, batch=7)
        flux = np.stack([blends["flux_central"], blends["flux_companion"]], 1)
        np.testing.assert_allclose(found["flux"], 1.1 * flux, rtol=1e-6)
        np.testing.assert_allclose(found["flux_zero"], found["flux"])
        assert (found["iou"] == 1).all()
        assert np.allclose(found["spread"][:13], 0)
        assert np.isnan(found["spread"][13:]).all()
        assert found["seconds"] > 0

    def test_who_was_trained_on_these_is_refused(self, sky):
        blends = bk.draw_blends(sky, 4, seed=1)
        seen = list(sky.fingerprints.values())[:5]
        with pytest.raises(ValueError, match="was trained on"):
            exam.measure(oracle(sky, trained_on={"galaxies": seen, "seeds": []}), sky, blends)

    def test_answers_are_kept(self, small, sky):
        blends = bk.draw_blends(sky, 4, seed=1)
        first = exam.answers(small, oracle(sky), sky, blends)
        again = exam.answers(small, oracle(sky, 2.0), sky, blends)
        other = exam.answers(small, oracle(sky, 2.0, name="other"), sky, blends)
        assert (first["flux"] == again["flux"]).all()
        assert (other["flux"] == 2 * first["flux"]).all()


@pytest.fixture
def board(sky):
    """Scores of methods whose errors are known."""
    blends = bk.draw_blends(sky, 60, seed=1)
    methods = {
        SEP_LABEL: oracle(sky, 1.4, name=SEP_LABEL),
        "blend2flux": oracle(sky, 1.2, name="blend2flux"),
        TUTORIAL: oracle(sky, 1.05, 0.06, name=TUTORIAL),
        SHIPPED: oracle(sky, 1.08, 0.05, name=SHIPPED),
        FINETUNED: oracle(sky, 0.45, 0.05, name=FINETUNED),
    }
    found = {method: exam.measure(method, sky, blends, turned=20) for method in methods.values()}
    found[methods[SEP_LABEL]]["flux"][::3, 1] = np.nan
    tables = [exam.score_rows(name, blends, found) for name in SAMPLES]
    from astropy.table import vstack

    table = vstack(tables)
    table.meta = {"made_by": "python -m blendkit.exam a-folder", "blends": 5000, "turned": 20, "folds": 4,
                  "synthetic": "12 made galaxies", "real": "12 real galaxies", "training": {}}  # fmt: skip
    return table


class TestScores:
    def row(self, board, method, galaxy="companion"):
        return exam._row(board, SAMPLES[0], method, galaxy)

    def test_known_errors(self, board):
        row = self.row(board, TUTORIAL)
        assert row["mape"] == pytest.approx(5, abs=1e-3)
        assert row["median"] == pytest.approx(5, abs=1e-3)
        assert (row["outliers"], row["n"], row["failed"]) == (0, 60, 0)
        assert (row["within1"], row["within2"], row["steady"]) == (100, 100, 100)
        assert (self.row(board, SHIPPED)["within1"], self.row(board, SHIPPED)["within2"]) == (0, 100)
        assert self.row(board, FINETUNED)["outliers"] == 100
        assert row["iou"] == 1
        assert row["mape_zero"] == pytest.approx(5, abs=1e-3)

    def test_ratios_on_the_same_blends(self, board):
        row = self.row(board, TUTORIAL)
        assert row["to_sep"] == pytest.approx(0.125, abs=1e-4)
        assert row["to_blend2flux"] == pytest.approx(0.25, abs=1e-4)
        assert row["to_sep_err"] < 1e-3
        sep = self.row(board, SEP_LABEL)
        assert (sep["n"], sep["failed"]) == (40, 20)
        assert np.isnan(sep["within1"])
        assert sep["to_sep"] == pytest.approx(1)

    def test_errors_come_from_galaxies_as_in_metrics(self, sky):
        blends = bk.draw_blends(sky, 60, seed=1)
        pred = Table({f"flux_{g}": blends[f"flux_{g}"] * np.linspace(1, 2, 60) for g in exam.GALAXIES})
        own = bk.metrics.scores(blends, {"x": pred})[0]
        off = exam._percent(np.asarray(blends["flux_central"]), np.asarray(pred["flux_central"]))
        value, error = exam._mean(off, np.asarray(blends["central"]))
        assert (value, error) == pytest.approx((own["mape_flux"], own["mape_flux_err"]))
        assert np.isnan(exam._mean(np.full(60, np.nan), np.asarray(blends["central"]))).all()


class TestPage:
    def test_met_and_missed(self, board):
        text = exam.page(board)
        assert re.search(r"flux MAPE ≤ 7 % \| synthetic \| fractions \(tutorial\) \| 5\.0 .* \| met \|", text)
        assert re.search(r"flux MAPE ≤ 7 % \| synthetic \| fractions \(shipped\) \| 8\.0 .* \| \*\*missed\*\* \|", text)
        assert re.search(r"minutes of training \| synthetic \| unet \(masks only\) \| – \| – \| not measured", text)

    def test_tables_are_whole(self, board):
        text = exam.page(board)
        for block in text.split("\n\n"):
            lines = block.splitlines()
            if lines[0].startswith("|"):
                assert len({line.count("|") for line in lines}) == 1, block
        assert "nan" not in text
        assert not re.search(r"20\d\d-\d\d", text), "no dates"

    def test_what_the_optimizer_did_is_told_apart(self, board, monkeypatch):
        assert "Muon), " not in exam.page(board)  # no such run in this table
        monkeypatch.setattr(exam, "WITH_MUON", "blend2flux")
        assert "fractions (tutorial) has 0.25 / 0.25 times the MAPE on synthetic" in exam.page(board)

    def test_real_stands_below_synthetic(self, board):
        accuracy = exam.page(board).split("## Accuracy")[1].split("##")[0]
        said = re.findall(r"^\| (?!method|---)([^|]+) \| ([^|]+) \|", accuracy, re.M)
        assert [sample for _, sample in said] == list(SAMPLES) * 5


def test_from_training_to_the_page(small, monkeypatch):
    """Every step but the training itself; again, nothing is measured anew."""
    monkeypatch.setattr(training, "train", no_training)
    monkeypatch.setattr(exam, "Network", HalfEach)
    for step in (exam.train_tutorial, exam.train_shipped, exam.fine_tune, exam.report):
        step(small)
    shipped = small.home / "data" / "weights"
    assert {p.name.removesuffix(".weights.h5") for p in shipped.glob("*.h5")} == set(exam.WEIGHTS)
    table = Table.read(small.home / "data" / "reference" / "network_scores.ecsv")
    page = (small.home / "docs" / "RESULTS.md").read_text(encoding="utf-8")
    assert page == exam.page(table)
    assert "real, held-out folds | " in page
    for name in exam.WEIGHTS:
        card = weights.load(shipped / f"{name}.weights.h5")[1]
        assert card["made_by"] == "python -m blendkit.exam real --profile quick"
        assert card["limits"]
        assert weights.readable(card)
        seeds = {"blend2flux": TRAIN_SEEDS[:1], FINETUNED: TRAIN_SEEDS[:3]}.get(name, TRAIN_SEEDS[:2])
        assert tuple(card["seeds"]) == seeds
        real = SAMPLES[2 if name == FINETUNED else 1]
        central = {sample: card["accuracy"][sample]["central"] for sample in (SAMPLES[0], real)}
        for values in central.values():
            assert {"iou", "iou_err"} <= set(values) or name == "blend2flux"
            assert {"mape", "mape_err"} <= set(values) or name == "unet"
    tuned = json.loads((shipped / f"{FINETUNED}.json").read_text(encoding="utf-8"))
    assert tuned["fine_tuned"]
    assert tuned["start"]["sha256"] == json.loads((shipped / "fractions.json").read_text(encoding="utf-8"))["sha256"]
    real = exam.real_galaxies(small)
    blends = bk.draw_blends(real, 4, seed=1)
    pred = Network(shipped / f"{FINETUNED}.weights.h5")(bk.render(real, blends)[0])
    with pytest.raises(ValueError, match="was trained on"):
        bk.metrics.scores(blends, {"tuned": pred})
    before = {p: p.stat().st_mtime_ns for p in small.out.rglob("*") if p.is_file()}
    for step in (exam.train_tutorial, exam.fine_tune, exam.score_table):
        step(small)
    assert {p: p.stat().st_mtime_ns for p in small.out.rglob("*") if p.is_file()} == before


def test_large_weights_are_refused(small, board, monkeypatch):
    plan = small.plans["blend2flux"]
    no_training("blend2flux", galaxies(1), galaxies(2), "quick", 1, small.out / "blend2flux", start=None, plan=plan)
    monkeypatch.setattr(exam, "LARGEST", 1000)
    with pytest.raises(ValueError, match="MB, expected less than"):
        exam.ship(small, board)


@pytest.mark.skipif(not DONE.is_file(), reason="no exam was held yet: python -m blendkit.exam FOLDER")
class TestWhatIsStored:
    def test_the_page_is_that_of_the_table(self):
        page = (exam.ROOT / "docs" / "RESULTS.md").read_text(encoding="utf-8")
        assert page == exam.page(Table.read(DONE))

    @pytest.mark.parametrize("name", exam.WEIGHTS)
    def test_the_weights_and_their_cards(self, name):
        card = weights.shipped()[name]
        assert (weights.FOLDER / f"{name}.weights.h5").stat().st_size < exam.LARGEST
        assert set(card["seeds"]) <= set(TRAIN_SEEDS)
        assert card["made_by"].startswith("python -m blendkit.exam ")
        assert card["limits"]
        assert card["accuracy"] == exam.accuracy(Table.read(DONE), exam.RUNS[exam.WEIGHTS[name]])
        assert HST.name in card["made_by"]
