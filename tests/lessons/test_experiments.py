"""Experiments of the notebooks: the numbers that they come back with, exams that sliders set, other skies."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table
from conftest import module, only_row, refused
from numpy.testing import assert_allclose

import blendkit as bk
from blendkit import lessons, metrics
from blendkit.data import load
from blendkit.data.sky import NOISE
from blendkit.lessons import CONDITIONS, TrustExplorer, learning, observed, outside
from tests.figures.test_accuracy import make_exam, measure
from tests.widgets.conftest import drive, errors  # noqa: F401
from tools.reference import published_scores


@pytest.fixture(scope="module")
def run():
    """A small exam of fabricated answers: two methods, and detections of a classical one."""
    rng, n = np.random.default_rng(0), 400
    ids = np.stack([rng.permutation(40)[:2] for _ in range(n)]) + 1
    flux = 10 ** rng.uniform(1, 2.5, 40)[ids - 1]
    blends, lone = Table({"id": ids, "flux": flux}, meta={"zeropoint": 25.96}), rng.random(n) < 0.3
    classical = flux * rng.normal(1, 0.2, flux.shape)
    classical[lone] = flux[lone].sum(axis=1, keepdims=True) * [1, np.nan]
    classical = Table({"flux": classical, "case": np.where(lone, "only central", "both"), "n_detected": 2 - lone})
    return blends, {"SExtractor": classical, "fractions": Table({"flux": flux * rng.normal(1, 0.05, flux.shape)})}


def test_lone_objects_hold_the_light_of_both_galaxies(run):
    blends, predictions = run
    table = lessons.lone_objects(blends, predictions, predictions["SExtractor"]["n_detected"])
    assert table["n"][table["positions"] == "SExtractor"].sum() == len(blends)
    mape = {(row["objects"], row["positions"]): row["mape"] for row in table}
    assert mape["one found", "SExtractor"] > 50 > 25 > mape["two or more found", "SExtractor"]
    assert mape["one found", "fractions"] == pytest.approx(mape["two or more found", "fractions"], rel=0.3)
    got = lessons.lone_light(blends, predictions["SExtractor"])
    assert got["n"] == (predictions["SExtractor"]["case"] == "only central").sum()
    assert 1 < got["measured"] == pytest.approx(got["together"], rel=0.05)


def test_ratios_and_report_card_count_what_was_not_found_and_leave_out_missing_masks(run):
    blends, predictions = run
    table2, ranked = metrics.table2(*run, n_bootstrap=2), metrics.ranking(*run, n_bootstrap=2)
    (row,) = lessons.error_ratios(table2, ranked)
    total = {r["method"]: r["mape"] for r in table2 if r["member"] == "total"}
    measured = pytest.approx(total["SExtractor"] / total["fractions"])
    assert row["measured"] == measured != row["everything"]
    masks = np.ones((len(blends), 8, 8, 2), bool)
    predictions["fractions"]["masks"] = masks & (np.arange(8)[:, None, None] < [8, 4])
    classical, fractions = lessons.report_card(blends, masks, predictions)
    error = only_row(metrics.table2(*run), method="fractions", member="companion")
    assert fractions["companion (%)"] == f"{error['mape']:.1f} ± {error['mape_err']:.1f}"
    assert (fractions["missing"], classical["missing"]) == (0, np.isnan(predictions["SExtractor"]["flux"]).sum())
    assert (fractions["IoU"], classical["IoU"]) == ("0.75", "–")


def test_networks_are_yours_where_you_trained_them(tmp_path):
    card = {"architecture": "blend2flux", "arguments": {"filters": 2, "shape": (32, 32)}}
    bk.weights.save(bk.models.blend2flux(**card["arguments"]), tmp_path / "blend2flux", "blend2flux", card)
    networks, yours = lessons.networks_of(tmp_path, ["blend2flux", "unet"], "tutorial")
    assert (yours, networks["blend2flux"].card["name"]) == (["blend2flux"], "blend2flux")
    assert "masks" in networks["unet"](np.zeros((1, 128, 128), np.float32)).colnames
    assert lessons.networks_of(tmp_path, ["blend2flux"], "quick")[1] == []


def test_sliders_choose_which_blends_count(drive):  # noqa: F811
    blends = make_exam(200)
    predictions = {"SEP": measure(blends, 1, 0.5), "fractions": measure(blends, 2, 0.1)}
    exam, near = lessons.ExamSliders(blends, predictions), blends["distance"] / blends["r_eff"].max(axis=1)
    for chosen, here in (((exam.distance.min, exam.distance.max), near > 0), ((1.0, 2.0), (near >= 1) & (near <= 2))):
        exam.distance.value = chosen
        assert f"{here.sum()} of 200 blends" in exam.chart.value
        few = {name: pred[here] for name, pred in predictions.items()}
        for row in metrics.ranking(blends[here], few, n_bootstrap=2):
            got = exam.errors[row["method"]]
            assert_allclose([got["mean"], got["not found"]], [row["mape_all"], row["failed"]])
    exam.delta_mag.value = (exam.delta_mag.min, exam.delta_mag.min)
    assert exam.errors == {}
    assert exam.chart.value in exam._repr_mimebundle_().values()
    drive()


def test_stored_numbers_are_those_of_the_catalogue(published, published_csv):
    made, stored = published_scores(published_csv, 2), metrics.reference_scores(file="published_scores.ecsv")
    for name in ("method", "member", "case", "n", "failed"):
        assert stored[name].tolist() == made[name].tolist()
    for name in ("share", "bias", "scatter", "outliers", "mape_mag", "mape_flux", "median_flux"):
        assert_allclose(stored[name], made[name])
    shares = metrics.case_shares(published[0], published[1]["SExtractor"])
    assert_allclose(lessons.paper_cases(stored)["share"], shares["share"][shares["share"] > 0])
    texts = lessons.plus_minus(stored, "case mape_flux")["mape_flux"]
    assert (texts[0], texts[30]) == (f"{made['mape_flux'][0]:.2f} ± {stored['mape_flux_err'][0]:.2f}", "–")


def test_without_a_network_one_sentence_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("BLENDKIT_DATA", str(tmp_path))
    monkeypatch.setattr(load, "URL", "http://127.0.0.1:9/output_catalog.csv")
    assert lessons.published() == (None, None)
    assert [line[:11] for line in capsys.readouterr().out.splitlines()] == ["Downloading", "You see the"]


many = module(lambda make_sample: make_sample(60, (32, 32), mags=np.linspace(20, 21.5, 60)))
sides = module(lambda many: bk.split(many, (0.5, 0.2, 0.3), seed=0))


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setitem(learning.LESSON_EPOCHS, "quick", 2)
    monkeypatch.setitem(learning.LEAK_EPOCHS, "quick", 1)
    monkeypatch.setitem(learning.OTHER_FILTERS, "quick", (2,))


def test_small_lessons_learn_from_fixed_and_from_fresh_blends(sides, tmp_path):
    fixed, fresh = lessons.small_lessons(*sides[:2], "quick", 0, tmp_path).values()
    assert len(fixed) == len(fresh) == 2
    assert fixed["loss"][0] == fresh["loss"][0]  # the same blends in the first epoch
    assert fixed["loss"][1] != fresh["loss"][1]


def test_each_network_sits_the_exam_of_its_own_galaxies_and_that_of_the_others(sides, tmp_path):
    exam, predictions = lessons.leak_experiment(*sides, "quick", 0, tmp_path, n_blends=15, few=10)
    networks = [bk.deblenders.Network(tmp_path / f"leak-10-{k}") for k in range(2)]
    for k, half in enumerate((slice(15), slice(15, None))):
        side = sides[2 * k][:10]
        assert set(np.unique(exam["id"][half])) <= set(side.catalog["id"])
        images = bk.render(side, bk.draw_blends(side, 15, seed=0), masks=False)[0]
        for name, network in {"leaky": networks[k], "honest": networks[1 - k]}.items():
            assert np.array_equal(predictions[name]["flux"][half], network(images)["flux"], equal_nan=True)
    bk.scores(exam, {"honest": predictions["honest"]}, n_bootstrap=2)
    refused(lambda: bk.scores(exam, {"leaky": predictions["leaky"]}, n_bootstrap=2), "trained")


def test_table_2_has_a_row_for_each_size(sides, tmp_path, monkeypatch):
    plan = learning.replace(bk.training.plan_of("blend2flux", "quick"), blends=32, valid=16, epochs=1)
    monkeypatch.setattr(learning, "plan_of", lambda name, profile: plan)
    network = bk.train("blend2flux", *sides[:2], "quick", 0, tmp_path / "blend2flux", plan=plan)
    assert lessons.stand_ins({"blend2flux": network}, "quick")[0]["blend2flux"] is network, "no other fits its stamps"
    blends = bk.draw_blends(sides[2], 20)
    images = bk.render(sides[2], blends, masks=False)[0]
    table = lessons.sizes_table2(network, *sides[:2], blends, images, "quick", 0, tmp_path)
    assert table["filters"].tolist() == [2, plan.arguments["filters"]]
    assert table["parameters"][1] == network.count_params()
    assert np.allclose(table["total"], (table["central"] + table["companion"]) / 2, equal_nan=True)


def test_shipped_networks_stand_in_for_beginners_only():
    yours, images = {name: bk.weights.load(name)[0] for name in ("blend2flux", "unet")}, np.zeros((2, 128, 128))
    shown, who = lessons.stand_ins(yours, "quick")
    assert who["shown"].tolist() == ["shipped"] * 2
    assert all(shown[name] is not yours[name] for name in yours)
    assert [*lessons.take_exam(images, shown, yours)] == ["blend2flux", "blend2flux, yours", "unet", "unet, yours"]
    shown, who = lessons.stand_ins(yours, "tutorial")
    assert who["shown"].tolist() == ["yours"] * 2
    assert [*lessons.take_exam(images, shown, yours)] == ["blend2flux", "unet"]
    epochs = [losses["epoch"][-1] for losses in lessons.shipped_histories().values()]
    assert epochs == lessons.shipped_networks()["epochs"].tolist()


PAIRS = [[10, 13], [12, 11], [14, 15], [16, 10]], [9, -12, 3, 14], [2, 6, -9, 0]
DARK = np.zeros((1, 64, 64), np.float32)
light = module(lambda make_sample: replace(make_sample(8, sky=0.0), sky_stamps=DARK))  # without noise
blends = module(lambda light: bk.make_blends(light, *PAIRS))


def knows(blends, error=0.1, missed=False):
    """A method that gives the true fluxes in the units of the images, flags what is bright, and may miss companions."""

    def method(images):
        rows = np.arange(len(images)) % len(blends)
        flux = np.asarray(blends["flux"])[rows] * np.where(images.max(axis=(1, 2)) > 1e3, 1e6, 1)[:, None]
        flux[:, 1] = np.nan if missed else flux[:, 1]
        return Table({"flux": flux, "flux_err": error * flux, "out_of_domain": images.max(axis=(1, 2)) > 1e3})

    return method


class TestObserved:
    def test_the_sky_is_what_was_asked_for(self, light, blends):
        empty = np.s_[:, :20, :20]
        for noise, level in ((1.0, 0.0), (4.0, 1.0)):
            sky = observed(light, blends, noise=noise, level=level)[empty] / (noise * NOISE)
            assert (sky.std(), sky.mean()) == pytest.approx((1, level), abs=0.1)
        for correlation, alike in ((0.0, 0.0), (0.62, 0.53)):
            sky = observed(light, blends, correlation=correlation)[empty]
            assert np.mean(sky[..., 1:] * sky[..., :-1]) / sky.var() == pytest.approx(alike, abs=0.08)

    def test_stamps_keep_the_noise_that_they_have(self, make_sample):
        sample = make_sample(8)
        pairs = bk.make_blends(sample, [[10, 13], [12, 11]], 9, 0)
        same = bk.render(sample, pairs, masks=False)[0]
        np.testing.assert_allclose(observed(sample, pairs), same, atol=1e-7)
        for blur in (0.0, 0.3):
            noise = observed(sample, pairs, noise=3, blur=blur, seed=1)[:, :20, :20].std()
            assert noise == pytest.approx(3 * NOISE, rel=0.1)
        table = outside(sample, pairs, {"right": knows(pairs)}, {"noise": CONDITIONS["noise"]})
        assert table["value"].tolist() == [1.4, 2.0, 4.0]
        slider = TrustExplorer(sample, pairs, {"right": knows(pairs)}).sliders["noise"]
        assert (slider.min, slider.value, slider.description) == (1.4, 1.4, "noise [yours: ≥ 1.4]")

    def test_the_galaxies_move_are_smeared_and_get_a_third_one(self, light, blends):
        still = observed(light, blends, noise=0)
        np.testing.assert_allclose(observed(light, blends, noise=0, off=2), np.roll(still, 2, axis=2), atol=1e-4)
        blurred = observed(light, blends, noise=0, blur=0.3)
        assert blurred.sum() == pytest.approx(still.sum(), rel=1e-3)
        assert blurred.max() < 0.7 * still.max()
        for third, share in ((0, 1), (2.5, 0.1)):
            more = observed(light, blends, noise=0, third=third) - still
            np.testing.assert_allclose(more.sum(axis=(1, 2)), share * blends["flux"][:, 0], rtol=0.02)


def test_each_condition_is_scored_against_its_own_truth(light, blends):
    tested = {"level": (-1.0, 0.0), "units": (1.0, 1e6), "third": (np.inf, 0.0)}
    methods = {"right": knows(blends), "blind": knows(blends, missed=True)}
    table = outside(light, blends, methods, tested)
    got = {(row["condition"], row["value"], row["method"]): row for row in table}
    assert len(table) == 12
    for row in (got["level", -1.0, "right"], got["units", 1e6, "right"], got["third", 0.0, "right"]):
        assert (row["median"], row["within_1"]) == pytest.approx((0, 1), abs=1e-4)
    assert got["level", 0.0, "blind"]["median"] == pytest.approx(50)  # mean of 0 and 100
    assert got["units", 1e6, "right"]["flagged"] == 1 > got["units", 1.0, "right"]["flagged"] == 0
    assert got["third", 0.0, "blind"]["median"] == pytest.approx(0), "only the central one is asked for"


def test_fluxes_errors_and_flag_follow_the_sliders(light, blends, drive):  # noqa: F811
    widget = TrustExplorer(light, blends, {"right": knows(blends), "blind": knows(blends, missed=True)})
    assert "1 ± 0.1: 0.0 errors off" in widget.answer.value
    assert widget.answer.value.count("not found") == 1
    assert "out_of_domain: False" in widget.answer.value
    before, start = widget.view.panels[1], widget.image
    for name, slider in widget.sliders.items():
        slider.value = {"third": 1.0, "units": 1e6}.get(name, getattr(slider, "max", None))
    assert "out_of_domain: True" in widget.answer.value
    assert widget.view.panels[1]["pixels"] != before["pixels"]
    assert widget.image.max() > 1e5 * start.max()
    widget.reset.click()
    np.testing.assert_array_equal(widget.image, start)
    widget.blend.value = 2
    assert widget.recipe["id"].tolist() == blends["id"][2:3].tolist()
    assert "image/png" in widget._repr_mimebundle_()
    drive()
    refused(lambda: TrustExplorer(light, blends[:0]), "0 blends")
