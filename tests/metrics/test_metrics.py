"""Scores: definitions, failures, and error bars; the paper's numbers are held in tests/data/test_published.py."""

# isort: off
from functools import partial

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table
from conftest import only_row, refused
from numpy.testing import assert_allclose, assert_array_equal

from blendkit.metrics import CASES, binned_scores, calibration, case_shares, delta_mag, difference, figure_5
from blendkit.metrics import flux_scores, iou, magnitude_scores, mask_scores, measurements, ranking, resample, scores
from blendkit.metrics import table2, table3

ZEROPOINT = 25.96
MEMBERS = ("central", "companion")
SCORES = ("bias", "median", "scatter", "robust_scatter", "outliers", "mape_mag", "mape_flux", "median_flux")
PULLS = ("within_1", "within_2", "within_3", "pull_mean", "pull_scatter")
TYPES = ("sph", "disk", "sphd", "irr")


def fabricate(n=3000, n_galaxies=None, sigma=0.1, seed=0, k=2):
    """Blends and predictions with Gaussian Δmag; every row its own galaxy unless `n_galaxies` is given."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(n * k).reshape(n, k) if n_galaxies is None else rng.integers(n_galaxies, size=(n, k))
    flux = 10 ** rng.uniform(0.5, 3, (n, k))
    blends = Table({"id": ids, "flux": flux}, meta={"zeropoint": ZEROPOINT})
    return blends, Table({"flux": flux * 10 ** (-0.4 * rng.normal(0.02, sigma, (n, k)))})


def catalogue(n=2000, n_galaxies=None, seed=0):
    """As `fabricate`, with what else is known of the blends and, for the method, errors and detection cases."""
    blends, pred = fabricate(n, n_galaxies, seed=seed)
    rng = np.random.default_rng(seed + 1)
    blends["r_eff"], blends["morphology"] = rng.uniform(2, 10, (n, 2)), rng.choice(TYPES, (n, 2))
    blends["distance"] = rng.uniform(2, 60, n)
    blends["delta_mag"] = -2.5 * np.log10(blends["flux"][:, 0] / blends["flux"][:, 1])
    pred["flux_err"] = blends["flux"] * rng.uniform(0.05, 0.2, (n, 2))
    pred["flux"] = blends["flux"] + pred["flux_err"] * rng.normal(size=(n, 2))
    pred["case"] = rng.choice(CASES, n, p=[0.6, 0.15, 0.1, 0.1, 0.05])
    return blends, pred


def all_scores(true, measured):
    """The columns of `scores`, by numpy, of fluxes that were all measured."""
    dmag, mag = 2.5 * np.log10(true / measured), ZEROPOINT - 2.5 * np.log10(true)
    percent = 100 * np.abs(measured / true - 1)
    robust = 1.4826 * np.median(np.abs(dmag - np.median(dmag)))
    values = dmag.mean(), np.median(dmag), dmag.std(), robust, np.mean(np.abs(dmag) > 0.75)
    return [*values, 100 * np.mean(np.abs(dmag / mag)), percent.mean(), np.median(percent)]


def values_in(row, names, end=""):
    return [row[f"{name}{end}"] for name in names]


class TestDefinitions:
    def test_scores_of_a_worked_example(self):
        got = magnitude_scores([20.0, 20.0, 20.0, 25.0], [20.75, 21.0, 19.0, np.nan])
        dmag = np.array([0.75, 1.0, -1.0])
        expected = [3, 1, dmag.mean(), dmag.std(), 2 / 3, (3.75 + 5 + 5) / 3]  # exactly 0.75 is not yet an outlier
        assert_allclose(list(got.values()), expected)
        got = flux_scores([10.0, 10, 10, 10, 10, 10, 10], [11.0, 8, 13, np.nan, 0, -3, np.inf])
        assert_allclose(list(got.values()), [3, 4, 20, 20])
        assert_allclose(flux_scores([10.0, 10], [11, 14])["median"], 25)  # an even number: the mean of the middle two
        assert list(magnitude_scores([20.1, 27.3], [20.1, 27.3]).values()) == [2, 0, 0, 0, 0, 0]

    def test_what_was_not_measured_is_counted_without_a_warning(self, recwarn):
        for got in (magnitude_scores([20.0, 21], [np.nan, np.inf]), flux_scores([1.0, 2], [np.nan, -1])):
            assert (got.pop("n"), got.pop("failed")) == (0, 2)
            assert np.isnan(list(got.values())).all()
        assert flux_scores([10.0, 10.0], MaskedColumn([11.0, 99.0], mask=[False, True]))["failed"] == 1
        got = magnitude_scores([0, 20.0, -10], [1, 21.0, -11])  # a magnitude of zero is left out of the percentage only
        assert_allclose([got["mape"], got["bias"], got["n"]], [(5 + 10) / 2, 1 / 3, 3])
        assert not recwarn.list

    @pytest.mark.parametrize(("score", "true", "measured", "word"), [
        (magnitude_scores, [20.0, 21], [20.0], "shape"),
        (magnitude_scores, [20.0, np.nan], [20.0, 21], "True values"),
        (flux_scores, [1.0, 0.0, -2], [1.0, 1, 1], "positive"),
        (flux_scores, MaskedColumn([1.0], mask=[True]), [1.0], "missing"),
        (iou, np.zeros((1, 4, 4, 2), bool), np.zeros((1, 4, 4, 2)), "threshold"),
        (iou, np.zeros((4, 4, 2), bool), np.zeros((4, 4, 2), bool), "(n, ny, nx, k)"),
    ])  # fmt: skip
    def test_what_cannot_be_scored(self, score, true, measured, word):
        refused(lambda: score(true, measured), word)

    def test_iou_against_sets_of_pixels(self):
        true, measured = np.random.default_rng(0).random((2, 4, 5, 6, 3)) > 0.6
        true[0, ..., 0] = measured[0, ..., 0] = measured[1, ..., 1] = False
        got = iou(true, measured)
        assert np.isnan(got[0, 0])
        assert got[1, 1] == 0
        for n, k in np.argwhere(np.isfinite(got)):
            a, b = (set(np.flatnonzero(masks[n, :, :, k])) for masks in (true, measured))
            assert got[n, k] == len(a & b) / len(a | b)


class TestMeasurements:
    def test_measurements_are_a_row_per_method_and_galaxy(self):
        blends, pred = catalogue(40, n_galaxies=9)
        pred["flux"][3, 1] = -1
        rows = measurements(blends, {"a": pred, "b": pred[["flux"]]})
        assert len(rows) == 2 * 2 * 40
        for row in rows:
            where = row["blend"], row["place"]
            assert (row["galaxy"], row["true"]) == (blends["id"][where], blends["flux"][where])
            assert row["member"] == MEMBERS[row["place"]]
            assert row["case"] == (pred["case"][row["blend"]] if row["method"] == "a" else "")
            assert row["counts"] == (row["case"] in ("", "both", f"only {row['member']}"))
        assert np.count_nonzero(np.isnan(rows["measured"])) == 2
        assert_allclose(rows["mag_measured"] - rows["mag_true"], np.tile(delta_mag(blends, pred).T.ravel(), 2))

    def test_three_galaxies_and_lone_ones(self):
        blends, pred = fabricate(60, n_galaxies=12, k=3)
        blends["id"][:20, 2], blends["id"][:10, 1] = -1, -1
        there = np.asarray(blends["id"]) >= 0
        blends["flux"][~there] = np.nan
        blends["morphology"] = np.where(there, "disk", "")
        blends["distance"] = np.where(there[:, 1], np.arange(60.0), np.nan)
        table = scores(blends, {"a": pred})
        assert table["n"].tolist() == [60, 50 + 40]
        own = all_scores(*(np.asarray(t["flux"])[:, 1:][there[:, 1:]] for t in (blends, pred)))
        assert_allclose(values_in(table[1], SCORES), own)
        assert np.isfinite(delta_mag(blends, pred)).sum() == 150
        assert binned_scores(blends, {"a": pred}, "distance", 2)["n"].tolist() == [25, 25, 40, 50]
        ious = mask_scores(blends, {"a": np.where(there, 0.5, np.nan)})
        got = {(row["member"], row["pair"]): row["n"] for row in ious}
        assert got["central", "all"] == got["both", "all"] == 60
        assert (got["companion", "all"], got["central", "disk"], got["central", "disk + disk"]) == (90, 10, 50)


class TestErrorBars:
    def test_resample_draws_galaxies_with_all_their_rows(self):
        galaxies = np.random.default_rng(1).choice(["a", "b", "c", "d"], 50)
        weights = resample(galaxies, 4000, seed=3)
        _, first, galaxy = np.unique(galaxies, return_index=True, return_inverse=True)
        assert_array_equal(weights, weights[:, first][:, galaxy])
        assert_array_equal(weights[:, first].sum(axis=1), 4)
        assert_allclose(weights.mean(axis=0), 1, atol=0.07)
        refused(lambda: resample([]), "at least")
        refused(lambda: resample(galaxies, 1), "at least")

    def test_a_galaxy_repeated_in_many_rows_counts_once(self):
        blends, pred = fabricate(200)
        pred["case"] = np.resize(CASES, 200)
        rows = np.repeat(np.arange(200), 9)
        once, nine = scores(blends, {"a": pred}), scores(blends[rows], {"a": pred[rows]})
        for name in once.colnames[5:]:
            assert_allclose(nine[name], once[name])
        shares, again = case_shares(blends, pred), case_shares(blends[rows], pred[rows])
        assert_allclose(again["share_err"], shares["share_err"])
        for wrong in (pred[["flux"]], pred[:4]):
            refused(partial(case_shares, blends, wrong), "expected")
        assert_allclose(shares["share_err"], np.sqrt(shares["share"] * (1 - shares["share"]) / 200), rtol=0.15)

    @pytest.mark.parametrize("member", MEMBERS)
    def test_errors_are_those_of_scoring_each_resample(self, member):
        blends, pred = fabricate(500, n_galaxies=40, sigma=0.5)
        pred["flux"][::7, 1] = np.nan
        got = only_row(scores(blends, {"a": pred}, n_bootstrap=50, seed=9), member=member)
        place = MEMBERS.index(member)
        good = np.isfinite(pred["flux"][:, place])
        true, measured = (np.array(table["flux"][good, place]) for table in (blends, pred))
        assert_allclose(values_in(got, SCORES), all_scores(true, measured))
        weights = resample(blends["id"][good, place], 50, seed=9)
        each = [all_scores(np.repeat(true, w), np.repeat(measured, w)) for w in weights]
        assert_allclose(values_in(got, SCORES, "_err"), np.std(each, axis=0, ddof=1))

    def test_error_of_a_difference_draws_the_same_galaxies_for_both(self):
        blends, pred = catalogue(1000, n_galaxies=80)
        rng = np.random.default_rng(5)
        pred["flux"] *= (10 ** rng.normal(0, 0.05, 80))[blends["id"]]  # what a galaxy's rows have in common
        other = Table({"flux": pred["flux"] * (1 + 0.03 * rng.normal(size=(1000, 2)))})
        predictions = {"a": pred[["flux"]], "b": other}
        alone = scores(blends, predictions)["mape_flux_err"][::2]
        assert 0 < difference(blends, predictions, "a", "b")["error"] < 0.5 * np.hypot(*alone)

    def test_one_galaxy_has_no_error_bar(self, recwarn):
        blends, pred = fabricate(20, n_galaxies=1)
        predictions = {"a": pred, "b": pred}
        for make, name in ((scores, "bias"), (ranking, "mape"), (table2, "median")):
            table = make(blends, predictions)
            assert np.isfinite(table[name]).all()
            assert np.isnan(table[f"{name}_err"]).all()
        assert_array_equal(list(difference(blends, predictions, "a", "b").values()), [0, np.nan])
        assert not recwarn.list


class TestScores:
    def test_scores_table_of_a_fabricated_catalogue(self):
        blends, good = fabricate(200, n_galaxies=50)
        sep = Table({"flux": good["flux"], "case": np.resize(["both", "both", "only central", "none"], 200)})
        sep["flux"][sep["case"] != "both", 1] = np.nan
        sep["flux"][sep["case"] == "none", 0] = -1
        sep.meta["matching"] = "nearest to the centre"
        table = scores(blends, {"net": good, "SEP": sep})
        with_errors = [column for name in SCORES for column in (name, f"{name}_err")]
        assert table.colnames == ["method", "member", "case", "n", "failed", *with_errors]
        assert [tuple(row)[:3] for row in table] == [
            *(("net", member, "all") for member in MEMBERS),
            *(("SEP", member, case) for member in MEMBERS for case in ("all", "both", "only central", "none")),
        ]
        assert table["n"].tolist() == [200, 200, 150, 100, 50, 0, 100, 100, 0, 0]
        assert table["failed"].tolist() == [0, 0, 50, 0, 0, 50, 100, 0, 50, 50]
        for name in with_errors:
            assert_array_equal(np.isfinite(table[name]), table["n"] > 0)
            assert table[name].description
        assert table.meta["matching"] == {"net": "not stated", "SEP": "nearest to the centre"}
        assert (table["bias"].unit, table["mape_flux"].unit) == ("mag", "%")

    def test_difference_of_a_worked_example(self):
        blends = Table({"id": [[1, 3], [2, 1]], "flux": np.full((2, 2), 10.0)}, meta={"zeropoint": ZEROPOINT})
        a = Table({"flux": [[11.0, 13.0], [np.nan, 10]]})  # errors 10, 30, 100, 0
        b = Table({"flux": [[12.0, 0.0], [9.0, 10]]})  # 20, 100, 10, 0
        got, back = (difference(blends, {"a": a, "b": b, "not looked at": None}, *pair) for pair in ("ab", "ba"))
        assert got["difference"] == pytest.approx((140 - 130) / 4)
        assert (back["difference"], back["error"]) == pytest.approx((-got["difference"], got["error"]))
        refused(lambda: difference(blends, {"a": a, "b": b}, "a", "c"), "'c'")


class TestFigure5AndBins:
    @pytest.mark.parametrize("member", MEMBERS)
    def test_figure_5_counts_the_cases_of_the_paper(self, member):
        blends, pred = catalogue(600, n_galaxies=50)
        pred["flux"][:40, 0] = np.nan
        table = figure_5(blends, {"SEP": pred, "net": pred[["flux"]]})
        numbers = [name for name in table.colnames[2:] if name != "left_out"]
        assert (table["n"] + table["failed"] + table["left_out"] == 600).all()
        for method, cases in (("SEP", ["both", f"only {member}"]), ("net", CASES)):
            where = np.isin(pred["case"], cases)
            own = only_row(scores(blends[where], {method: pred[["flux"]][where]}), member=member)
            got = only_row(table, method=method, member=member)
            assert_allclose(values_in(got, numbers), values_in(own, numbers))

    def test_bins_are_scores_of_their_rows(self):
        blends, pred = catalogue(500, n_galaxies=60)
        pred["flux"][::9, 1] = np.nan
        for row in binned_scores(blends, {"a": pred[["flux"]]}, "distance", [2, 10, 25, 60], seed=3):
            where = np.asarray((blends["distance"] >= row["low"]) & (blends["distance"] < row["high"]))
            own = only_row(scores(blends[where], {"a": pred[where]}, seed=3), member=row["member"], case="all")
            assert values_in(row, own.colnames[3:]) == values_in(own, own.colnames[3:])

    def test_equal_bins_are_numpys_over_all_blends_with_both_ends(self):
        blends, pred = catalogue(200)
        blends["distance"] = np.round(blends["distance"])
        blends["distance"][0], pred["case"][0] = 600, "none"
        table = binned_scores(blends, {"a": pred[["flux"]]}, "distance", 3, n_bootstrap=2)
        n, edges = np.histogram(blends["distance"], 3)
        assert table["n"].tolist() == 2 * n.tolist()
        assert_allclose([*table["low"][:3], table["high"][2]], edges)
        assert (table["label"][1], table["label"][2]) == ("201 to 401", "401 to 600")
        given = binned_scores(blends, {"a": pred[["flux"]]}, np.arange(200), [0, 10, 20], n_bootstrap=2)
        assert given["n"].tolist() == 2 * [10, 11]

    def test_masked_words_are_a_bin_of_their_own(self):
        blends, pred = catalogue(300)
        masked = np.zeros((300, 2), bool)
        masked[:40, 0] = True
        blends["morphology"] = MaskedColumn(blends["morphology"], mask=masked)
        table = binned_scores(blends, {"a": pred[["flux"]]}, "morphology", n_bootstrap=2)
        assert (table["label"].tolist(), table["n"].tolist()[4::5]) == (2 * [*TYPES, "masked"], [40, 40])
        pairs = mask_scores(blends, {"a": np.ones((300, 2))}, n_bootstrap=2)
        assert sum(row["n"] for row in pairs if row["member"] == "both" and "masked" in row["pair"]) == 40
        pred["case"] = MaskedColumn(pred["case"], mask=np.arange(300) == 7)
        assert only_row(scores(blends, {"a": pred}, n_bootstrap=2), member="central", case="masked")["n"] == 1

    @pytest.mark.parametrize(("by", "bins"), [
        ("z", 6), ([1.0, 2], 6), ([1, 2, np.nan, 4, 5], 6), ("distance", 0), ("distance", [1]), ("distance", [1, 3, 2]),
    ])  # fmt: skip
    def test_wrong_bins(self, by, bins):
        blends, pred = catalogue(5)
        with pytest.raises(ValueError, match=r"\w+"):
            binned_scores(blends, {"a": pred}, by, bins)


class TestCalibrationAndMasks:
    def test_calibration_of_a_worked_example_counts_failures(self):
        blends, pred = fabricate(6)
        blends["flux"][:, 0], pred["flux"][:, 0] = 10.0, [11.0, 12, 13.5, np.nan, 10, 10]
        pred["flux_err"] = np.stack([[1.0, 1, 1, 1, np.nan, 0], [1e9] * 6], axis=1)
        table = calibration(blends, {"a": pred, "without": pred[["flux"]]})
        assert set(table["method"]) == {"a"}
        assert (table["n"].tolist(), table["failed"].tolist()) == ([3, 6], [3, 0])
        assert_allclose(values_in(table[0], PULLS), [1 / 3, 2 / 3, 2 / 3, 6.5 / 3, 1.4826])
        refused(lambda: calibration(blends, {"a": pred[["flux"]]}), "predicts errors")

    def test_mask_scores_of_a_worked_example(self):
        nan, types = np.nan, [["irr", "disk"], ["disk", "irr"], ["sph", "sph"], ["disk", "disk"]]
        blends = Table({"id": [[1, 4], [2, 5], [3, 6], [1, 5]], "morphology": types})
        unet = mask_scores(blends, {"unet": [[0.8, 0.6], [0.4, nan], [nan, nan], [1.0, 0.0]]})
        assert unet["pair"].tolist() == 3 * ["all", "sph + sph", "disk + disk", "disk + irr"]
        assert unet["member"].tolist() == ["central"] * 4 + ["companion"] * 4 + ["both"] * 4
        assert unet["n"].tolist() == [3, 0, 1, 2, 2, 0, 1, 1, 3, 0, 1, 2]
        assert_allclose(unet["iou"], [2.2 / 3, nan, 1, 0.6, 0.3, nan, 0, 0.6, 1.6 / 3, nan, 0.5, 0.55])
        assert_array_equal(np.isfinite(unet["iou_err"]), [1, 0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 1])
        for wrong in (np.ones(4), np.full((4, 2), 1.5)):
            refused(partial(mask_scores, blends, {"a": wrong}), "'a'")


class TestTables:
    def test_table2_holds_the_scores_of_each_member_and_of_all_together(self):
        blends, pred = fabricate(600, n_galaxies=40)
        pred["flux"][:100, 1] = np.nan
        *rows, total = table2(blends, {"a": pred}, seed=3)
        for row, own in zip(rows, scores(blends, {"a": pred}, seed=3), strict=True):
            theirs = values_in(own, ("n", "failed", "mape_flux", "mape_flux_err", "median_flux"))
            assert values_in(row, ("n", "failed", "mape", "mape_err", "median")) == theirs
        errors = 100 * np.abs(np.asarray(pred["flux"] / blends["flux"]).T.ravel() - 1)
        good, ids = np.isfinite(errors), np.asarray(blends["id"]).T.ravel()
        assert (total["member"], total["n"], total["failed"]) == ("total", 1100, 100)
        assert_allclose([total["mape"], total["median"]], [errors[good].mean(), np.median(errors[good])])
        weights = resample(ids[good], seed=3)  # galaxies are drawn with all their rows, central or not
        assert_allclose(total["mape_err"], (weights @ errors[good] / weights.sum(axis=1)).std(ddof=1))

    @pytest.mark.filterwarnings("ignore:Invalid keyword for column 3")  # FITS knows no separators of thousands
    @pytest.mark.parametrize("ending", ["ecsv", "fits"])
    def test_table2_with_parameters_can_be_saved(self, tmp_path, ending):
        blends, pred = fabricate(60)
        table = table2(blends, dict.fromkeys("abc", pred), {"a": 1234567, "b": None}, n_bootstrap=2)
        assert "1,234,567" in "".join(table.pformat(max_width=-1))
        table.write(tmp_path / f"table.{ending}")
        found = Table.read(tmp_path / f"table.{ending}")
        assert (found.colnames, found["parameters"].tolist()) == (table.colnames, 3 * [1234567] + 6 * [None])

    def test_table3_is_the_papers(self):
        assert [tuple(row) for row in table3()["setting", "cold", "hot"]] == [
            ("DETECT_THRESH", "5", "4"), ("DETECT_MINAREA", "10", "6"), ("DEBLEND_MINCONT", "0.01", "0.0001"),
            ("DEBLEND_NTHRESH", "64", "64"),
        ]  # fmt: skip

    def test_ranking_is_by_the_errors_and_leaving_out_galaxies_does_not_help(self):
        predictions = {f"sigma {sigma}": fabricate(600, sigma=sigma)[1] for sigma in (0.4, 0.05, 0.1)}
        predictions["sigma 0.05"]["flux"][:300, 1] = np.nan
        said = ("true positions of both known", "pixels only: in the centre", "nearest")
        for pred, text in zip(predictions.values(), said, strict=True):
            pred.meta["matching"] = text
        predictions["sigma 0.1"].meta["seconds_per_blend"] = 0.003
        table = ranking(fabricate(600)[0], predictions)
        assert [tuple(row) for row in table["rank", "method", "positions", "failed"]] == [
            (1, "sigma 0.1", "unknown", 0), (2, "sigma 0.05", "pixels", 25), (3, "sigma 0.4", "told", 0),
        ]  # fmt: skip
        assert_allclose(table["seconds"], [0.003, np.nan, np.nan])
        assert table["outliers"][0] == 0 < table["outliers"][-1]
        assert table["mape"][1] < table["mape"][0]
        assert table["mape_all"][1] == pytest.approx(0.75 * table["mape"][1] + 0.25 * 100)
