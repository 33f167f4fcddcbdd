"""Scores: their definitions, the paper's published numbers, failures, and error bars against slow loops."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from blendkit import metrics
from blendkit.metrics import (
    CASES,
    binned_scores,
    calibration,
    case_shares,
    check_predictions,
    difference,
    figure_5,
    figure_5_rows,
    flux_scores,
    iou,
    magnitude_scores,
    mask_scores,
    resample,
    scores,
)

ROOT = Path(__file__).resolve().parents[1]
ZEROPOINT = 25.96
SCORES = ("bias", "median", "scatter", "robust_scatter", "outliers", "mape_mag", "mape_flux", "median_flux")
PULLS = ("within_1", "within_2", "within_3", "pull_mean", "pull_scatter")
TYPES = ("sph", "disk", "sphd", "irr")

magnitudes = st.lists(st.tuples(st.floats(15, 28), st.floats(-3, 3)), min_size=1, max_size=40)


def fabricate(n=3000, n_galaxies=None, sigma=0.1, seed=0):
    """Blends and predictions with Gaussian Δmag; every row its own galaxy unless `n_galaxies` is given."""
    rng = np.random.default_rng(seed)
    ids = {
        name: rng.permutation(n) if n_galaxies is None else rng.integers(n_galaxies, size=n)
        for name in ("central", "companion")
    }
    true = {name: 10 ** rng.uniform(0.5, 3, n) for name in ids}
    dmag = {name: rng.normal(0.02, sigma, n) for name in ids}
    blends = Table(ids | {f"flux_{name}": true[name] for name in ids}, meta={"zeropoint": ZEROPOINT})
    pred = Table({f"flux_{name}": true[name] * 10 ** (-0.4 * dmag[name]) for name in ids})
    return blends, pred


def catalogue(n=2000, n_galaxies=None, sigma=0.1, seed=0):
    """As `fabricate`, with what else is known of the pairs and, for the method, errors and detection cases."""
    blends, pred = fabricate(n, n_galaxies, sigma, seed)
    rng = np.random.default_rng(seed + 1)
    for galaxy in ("central", "companion"):
        blends[f"mag_{galaxy}"] = ZEROPOINT - 2.5 * np.log10(blends[f"flux_{galaxy}"])
        blends[f"r_eff_{galaxy}"] = rng.uniform(2, 10, n)
        blends[f"morphology_{galaxy}"] = rng.choice(TYPES, n)
        true = np.array(blends[f"flux_{galaxy}"])
        pred[f"flux_{galaxy}_err"] = true * rng.uniform(0.05, 0.2, n)
        pred[f"flux_{galaxy}"] = true + pred[f"flux_{galaxy}_err"] * rng.normal(size=n)
    blends["distance"] = rng.uniform(2, 60, n)
    blends["delta_mag"] = blends["mag_central"] - blends["mag_companion"]
    pred["case"] = rng.choice(CASES, n, p=[0.6, 0.15, 0.1, 0.1, 0.05])
    return blends, pred


def robust(values):
    return 1.4826 * np.median(np.abs(values - np.median(values)))


def all_scores(true, measured):
    """The columns of `scores`, by numpy, of fluxes that were all measured."""
    dmag = 2.5 * np.log10(np.asarray(true) / np.asarray(measured))
    percent = 100 * np.abs(np.asarray(measured) / np.asarray(true) - 1)
    mag = ZEROPOINT - 2.5 * np.log10(np.asarray(true))
    values = dmag.mean(), np.median(dmag), dmag.std(), robust(dmag), np.mean(np.abs(dmag) > 0.75)
    return [*values, 100 * np.mean(np.abs(dmag / mag)), percent.mean(), np.median(percent)]


def only_row(table, **where):
    """The one row of the table in which each of the columns has the value given."""
    (row,) = [row for row in table if all(row[name] == value for name, value in where.items())]
    return row


# --- definitions -----------------------------------------------------------------------------------


def test_magnitude_scores_of_a_worked_example():
    got = magnitude_scores([20.0, 20.0, 20.0, 25.0], [20.75, 21.0, 19.0, np.nan])
    assert (got["n"], got["failed"]) == (3, 1)
    dmag = np.array([0.75, 1.0, -1.0])
    assert_allclose(got["bias"], dmag.mean())
    assert_allclose(got["scatter"], dmag.std())
    assert_allclose(got["outliers"], 2 / 3)  # exactly 0.75 is not yet an outlier
    assert_allclose(got["mape"], (3.75 + 5 + 5) / 3)


def test_flux_scores_of_a_worked_example():
    got = flux_scores([10.0, 10, 10, 10, 10, 10, 10], [11.0, 8, 13, np.nan, 0, -3, np.inf])
    assert (got["n"], got["failed"]) == (3, 4)
    assert_allclose([got["mape"], got["median"]], [20, 20])
    assert_allclose(flux_scores([10.0, 10], [11, 14])["median"], 25)  # an even number: the mean of the middle two


@given(magnitudes)
def test_identity_scores_zero(pairs):
    true = np.array(pairs)[:, 0]
    assert list(magnitude_scores(true, true).values()) == [len(true), 0, 0, 0, 0, 0]
    assert list(flux_scores(true, true).values()) == [len(true), 0, 0, 0]


@given(magnitudes)
def test_scores_are_numpys_and_ignore_the_order(pairs):
    true, dmag = np.array(pairs).T
    got, turned = magnitude_scores(true, true + dmag), magnitude_scores(true[::-1], (true + dmag)[::-1])
    dmag = true + dmag - true
    expected = [dmag.mean(), dmag.std(), np.mean(np.abs(dmag) > 0.75), 100 * np.mean(np.abs(dmag) / true)]
    for scored in (got, turned):
        assert_allclose(list(scored.values())[2:], expected, rtol=1e-9, atol=1e-12)


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=40))
def test_a_flux_ten_percent_too_high_has_ten_percent_error(flux):
    got = flux_scores(flux, 1.1 * np.array(flux))
    assert_allclose([got["mape"], got["median"]], [10, 10])


@given(st.lists(st.tuples(st.floats(-9, 9), st.integers(0, 4)), min_size=1, max_size=30))
def test_weighted_median_is_the_median_of_repeated_values(pairs):
    values, weights = np.array([p[0] for p in pairs]), np.array([[p[1] for p in pairs]])
    weights[0, 0] += 1
    assert_allclose(metrics.weighted_median(values, weights), np.median(np.repeat(values, weights[0])))


def test_measured_fainter_is_a_positive_bias():
    assert magnitude_scores([20.0], [20.5])["bias"] == 0.5
    blends, _ = fabricate(50)
    half = Table({name: blends[name] / 2 for name in ("flux_central", "flux_companion")})
    assert_allclose(scores(blends, {"half": half})["bias"], 2.5 * np.log10(2))


def test_bias_and_scatter_survive_a_large_common_offset():
    dmag = 1e-6 * np.random.default_rng(0).normal(size=500)
    got = magnitude_scores(np.full(500, 20.0), 1020.0 + dmag)
    assert_allclose(got["scatter"], dmag.std(), rtol=1e-4)


def test_nothing_measured_gives_nan_and_no_warning(recwarn):
    for got in (magnitude_scores([20.0, 21], [np.nan, np.inf]), flux_scores([1.0, 2], [np.nan, -1])):
        assert (got.pop("n"), got.pop("failed")) == (0, 2)
        assert np.isnan(list(got.values())).all()
    assert magnitude_scores([], [])["n"] == 0
    assert not recwarn.list


def test_masked_measurements_have_failed():
    measured = MaskedColumn([11.0, 99.0], mask=[False, True])
    assert flux_scores([10.0, 10.0], measured)["failed"] == 1
    assert_allclose(magnitude_scores([10.0, 10.0], measured)["bias"], 1)


def test_a_magnitude_of_zero_is_left_out_of_the_percentage_only(recwarn):
    got = magnitude_scores([0, 20.0, -10], [1, 21.0, -11])
    assert_allclose([got["mape"], got["bias"], got["n"], got["failed"]], [(5 + 10) / 2, 1 / 3, 3, 0])
    assert got["outliers"] == 1
    assert np.isnan(magnitude_scores([0.0], [1.0])["mape"])
    assert not recwarn.list


@pytest.mark.parametrize(
    ("score", "true", "measured", "words"),
    [
        (magnitude_scores, [20.0, 21], [20.0], r"shape \(2,\).*\(1,\).*one measurement per galaxy"),
        (magnitude_scores, [20.0, np.nan], [20.0, 21], "1 of 2 true magnitudes are not finite.*nan.*drop"),
        (flux_scores, [[1.0]], [1.0], r"shape \(1, 1\)"),
        (flux_scores, [1.0, 0.0, -2], [1.0, 1, 1], r"2 of 3 true fluxes are not finite and positive.*0\.0"),
        (flux_scores, MaskedColumn([1.0], mask=[True]), [1.0], "1 of 1 true fluxes"),
    ],
)
def test_wrong_truth_gets_one_sentence(score, true, measured, words):
    with pytest.raises(ValueError, match=words) as caught:
        score(true, measured)
    assert "\n" not in str(caught.value)


# --- masks -----------------------------------------------------------------------------------------


def test_iou_of_known_masks():
    true, measured = np.zeros((2, 3, 8, 10, 2), bool)
    true[0, :4, :4, 0] = True  # 16 pixels; 8 of them and 8 others are found
    measured[0, 2:6, :4, 0] = True
    true[1, 1, 1:6, :] = measured[1, 1, 1:6, :] = True  # the same
    true[2, :, :, 0] = True  # one empty; the companion of the first and the third are empty in both
    expected = [[8 / 24, np.nan], [1, 1], [0, np.nan]]
    assert_array_equal(iou(true, measured), expected)
    assert_array_equal(iou(measured, true), expected)


def test_iou_against_sets_of_pixels():
    true, measured = np.random.default_rng(0).random((2, 4, 5, 6, 2)) > 0.6
    got = iou(true, measured)
    for n, k in np.ndindex(got.shape):
        a, b = (set(np.flatnonzero(masks[n, :, :, k])) for masks in (true, measured))
        assert got[n, k] == len(a & b) / len(a | b)


def test_iou_of_no_stamps_is_empty():
    assert iou(np.zeros((0, 8, 8, 2), bool), np.zeros((0, 8, 8, 2), bool)).shape == (0, 2)


@pytest.mark.parametrize(
    ("true", "measured", "words"),
    [
        (
            np.zeros((1, 4, 4, 2), bool),
            np.zeros((1, 4, 4, 2)),
            "measured masks have dtype float64.*threshold",
        ),
        (np.zeros((1, 4, 4, 2), bool), np.zeros((2, 4, 4, 2), bool), r"\(1, 4, 4, 2\).*\(2, 4, 4, 2\)"),
        (np.zeros((4, 4, 2), bool), np.zeros((4, 4, 2), bool), r"expected the same \(n, ny, nx, 2\)"),
        (np.zeros((1, 4, 4, 3), bool), np.zeros((1, 4, 4, 3), bool), r"expected the same \(n, ny, nx, 2\)"),
    ],
)
def test_wrong_masks_get_one_sentence(true, measured, words):
    with pytest.raises(ValueError, match=words):
        iou(true, measured)


# --- error bars ------------------------------------------------------------------------------------


def test_resample_draws_galaxies_with_all_their_rows():
    galaxies = np.random.default_rng(1).choice(["a", "b", "c", "d"], 50)
    weights = resample(galaxies, 4000, seed=3)
    _, first, galaxy = np.unique(galaxies, return_index=True, return_inverse=True)
    assert weights.shape == (4000, 50)
    assert_array_equal(weights, weights[:, first][:, galaxy])
    assert_array_equal(weights[:, first].sum(axis=1), 4)
    assert_allclose(weights.mean(axis=0), 1, atol=0.07)
    assert_array_equal(weights, resample(galaxies, 4000, seed=3))
    assert (weights != resample(galaxies, 4000, seed=4)).any()
    order = np.random.default_rng(2).permutation(50)
    assert_array_equal(weights[:, order], resample(galaxies[order], 4000, seed=3))


def test_errors_of_independent_rows_are_the_analytic_ones():
    n, sigma = 3000, 0.4
    blends, pred = fabricate(n, sigma=sigma)
    for row in scores(blends, {"a": pred}, n_bootstrap=600):
        share = row["outliers"]
        assert_allclose(row["bias_err"], sigma / np.sqrt(n), rtol=0.1)
        assert_allclose(row["scatter_err"], sigma / np.sqrt(2 * n), rtol=0.1)
        assert_allclose(row["outliers_err"], np.sqrt(share * (1 - share) / n), rtol=0.1)


def test_a_galaxy_repeated_in_many_rows_counts_once():
    blends, pred = fabricate(400)
    rows = np.repeat(np.arange(400), 9)
    once, nine = scores(blends, {"a": pred}), scores(blends[rows], {"a": pred[rows]})
    for name in SCORES:
        assert_allclose(nine[name], once[name])
        assert_allclose(nine[f"{name}_err"], once[f"{name}_err"])


@pytest.mark.parametrize("galaxy", ["central", "companion"])
def test_errors_are_those_of_scoring_each_resample(galaxy):
    blends, pred = fabricate(500, n_galaxies=40, sigma=0.5)
    pred["flux_companion"][::7] = np.nan
    got = only_row(scores(blends, {"a": pred}, n_bootstrap=50, seed=9), galaxy=galaxy)
    good = np.isfinite(pred[f"flux_{galaxy}"])
    true, measured = (np.array(table[f"flux_{galaxy}"][good]) for table in (blends, pred))
    assert_allclose([got[name] for name in SCORES], all_scores(true, measured))
    each = [
        all_scores(np.repeat(true, weights), np.repeat(measured, weights))
        for weights in resample(blends[galaxy][good], 50, seed=9)
    ]
    assert_allclose([got[f"{name}_err"] for name in SCORES], np.std(each, axis=0, ddof=1))


def test_errors_agree_with_a_slow_loop_over_galaxies():
    blends, pred = fabricate(600, n_galaxies=60)
    rng = np.random.default_rng(5)
    shared = dict(zip(range(60), rng.normal(0, 0.2, 60), strict=True))  # what a galaxy's rows have in common
    pred["flux_central"] *= [10 ** (-0.4 * shared[i]) for i in blends["central"]]
    rows_of = [np.flatnonzero(blends["central"] == i) for i in np.unique(blends["central"])]
    true, measured = (np.array(table["flux_central"]) for table in (blends, pred))
    loop = []
    for _ in range(1500):
        rows = np.concatenate([rows_of[i] for i in rng.integers(len(rows_of), size=len(rows_of))])
        loop.append(all_scores(true[rows], measured[rows]))
    got = only_row(scores(blends, {"a": pred}, n_bootstrap=1500), galaxy="central")
    errors = dict(zip(SCORES, np.std(loop, axis=0, ddof=1), strict=True))
    assert errors.pop("outliers") == got["outliers_err"] == 0
    assert_allclose([got[f"{name}_err"] for name in errors], list(errors.values()), rtol=0.12)


# --- the table of scores ---------------------------------------------------------------------------


def test_scores_table_of_a_fabricated_catalogue():
    blends, good = fabricate(200, n_galaxies=50)
    sep = good.copy()
    sep["case"] = np.resize(["both", "both", "only central", "none"], 200)
    sep["flux_companion"][sep["case"] != "both"] = np.nan
    sep["flux_central"][sep["case"] == "none"] = -1
    sep.meta["matching"] = "nearest to the centre"
    table = scores(blends, {"net": good, "SEP": sep})

    with_errors = [column for name in SCORES for column in (name, f"{name}_err")]
    assert table.colnames == ["method", "galaxy", "case", "n", "failed", *with_errors]
    cases = ["all", "both", "only central", "none"]
    assert [tuple(row)[:3] for row in table] == [
        *(("net", galaxy, "all") for galaxy in ("central", "companion")),
        *(("SEP", galaxy, case) for galaxy in ("central", "companion") for case in cases),
    ]
    assert table["n"].tolist() == [200, 200, 150, 100, 50, 0, 100, 100, 0, 0]
    assert table["failed"].tolist() == [0, 0, 50, 0, 0, 50, 100, 0, 50, 50]
    measured = table["n"] > 0
    for name in with_errors:
        assert_array_equal(np.isfinite(table[name]), measured)
        assert table[name].description
    assert table.meta["matching"] == {"net": "not stated", "SEP": "nearest to the centre"}
    assert (table["bias"].unit, table["mape_flux"].unit) == ("mag", "%")
    assert "nan" in "\n".join(table.pformat(max_lines=-1, max_width=-1))

    both = sep["case"] == "both"
    row = only_row(table, method="SEP", galaxy="central", case="both")
    flux = flux_scores(blends["flux_central"][both], sep["flux_central"][both])
    assert (row["mape_flux"], row["median_flux"]) == (flux["mape"], flux["median"])


def test_errors_of_a_method_do_not_depend_on_its_company_or_the_row_order():
    blends, pred = fabricate(300, n_galaxies=30)
    pred["case"] = np.resize(CASES, 300)
    order = np.random.default_rng(0).permutation(300)
    alone = scores(blends, {"a": pred})
    beside = scores(blends, {"b": pred["flux_central", "flux_companion"], "a": pred})[2:]
    shuffled = scores(blends[order], {"a": pred[order]})
    for name in alone.colnames[3:]:
        assert_array_equal(alone[name], beside[name])
        assert_allclose(alone[name], shuffled[name])
    assert (alone["bias_err"] != scores(blends, {"a": pred}, seed=1)["bias_err"]).all()


def test_a_generator_goes_on_where_an_integer_starts_anew():
    blends, pred = fabricate(100, n_galaxies=30)
    twice = {"a": pred, "b": pred}
    for score in (scores, figure_5, lambda b, p, seed: binned_scores(b, p, np.full(100, "all"), seed=seed)):
        anew, again, on = (score(blends, twice, seed=seed)["bias_err"] for seed in (1, 1, np.random.default_rng(1)))
        assert_array_equal(anew, again)
        assert_array_equal(anew[:2], anew[2:])
        assert on[0] == anew[0]
        assert (on[:2] != on[2:]).all()


def test_one_galaxy_has_no_error_bar(recwarn):
    blends, pred = fabricate(20, n_galaxies=1)
    table = scores(blends, {"a": pred})
    assert np.isfinite(table["bias"]).all()
    assert np.isnan(table["bias_err"]).all()
    assert not recwarn.list


def test_scores_do_not_change_their_input():
    blends, pred = fabricate(20)
    pred["case"] = "both"
    before = blends.copy(), pred.copy()
    scores(blends, {"a": pred})
    for old, new in zip(before, (blends, pred), strict=True):
        assert (old == new).all()
        assert old.meta == new.meta


IDS = ("central", "companion")


def wrong_table(change):
    """The fabricated tables after one change to them."""
    blends, pred = fabricate(5)
    return change(blends, pred) or (blends, pred)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda blends, pred: (blends, pred[:4]),
            "predictions of 'mine' have 4 rows for 5 blends.*same order",
        ),
        (lambda blends, pred: pred.remove_column("flux_companion"), "'mine' have no column flux_companion"),
        (lambda blends, pred: blends.remove_column("central"), "blends have no column central"),
        (lambda blends, pred: blends.meta.clear(), "no zeropoint: set"),
        (lambda blends, pred: blends["flux_central"].__setitem__(2, np.nan), "1 of 5 true fluxes.*nan.*drop"),
        (
            lambda blends, pred: pred.add_column(["two"] * 5, name="case"),
            "predictions of 'mine' have an unknown case 'two', expected one of",
        ),
        (lambda blends, pred: (blends[:0], pred[:0]), "no blends to score, expected at least one"),
        (lambda blends, pred: (blends, {"flux_central": [1]}), "of 'mine' are a dict, expected an astropy Table"),
        (lambda blends, pred: ({}, pred), "The blends are a dict, expected the table that draw_blends gives"),
        (
            lambda blends, pred: pred.add_columns([blends["central"].astype(str), blends["companion"]], names=IDS),
            r"of 'mine' have ids of dtype <U\d+ in column central, expected int64 .* astype\('int64'\)",
        ),
        (lambda blends, pred: pred.meta.update(trained_on=[0]), r'of \'mine\' have meta\["trained_on"\] = \[0\], exp'),
        *(
            (
                lambda blends, pred, column=column, values=values: pred.add_column(values, name=column),
                rf"of 'mine' have a column {column} of shape .* and dtype .*, expected {words}",
            )
            for column, values, words in (
                ("flux_central_err", np.ones((5, 2)), "one number for each of the 5 blends"),
                ("flux_companion_err", ["x"] * 5, "one number for each of the 5 blends"),
                ("masks", np.ones((5, 4, 4, 2)), r"booleans of shape \(n, ny, nx, 2\): .*masks > 0.5"),
                ("masks", np.ones((5, 4, 4), bool), "booleans of shape"),
                ("masks", np.ones((5, 4, 4, 3), bool), "booleans of shape"),
                ("images", np.ones((5, 4, 4)), "numbers of shape"),
            )
        ),
        (
            lambda blends, pred: pred.replace_column("flux_central", np.ones((5, 2))),
            r"column flux_central of shape \(5, 2\) and dtype float64, expected one number for each of the 5",
        ),
        (
            lambda blends, pred: pred.replace_column("flux_companion", ["faint"] * 5),
            r"column flux_companion of shape \(5,\) and dtype <U5, expected one number",
        ),
        (
            lambda blends, pred: pred.add_columns([blends["central"][::-1], blends["companion"]], names=IDS),
            "of 'mine' are in another order than these blends: central is 1 in row 0, expected 2; .*blends' order",
        ),
        (
            lambda blends, pred: pred.add_columns([blends["central"], blends["companion"] + 1], names=IDS),
            "of 'mine' are not of these blends: companion is .* in row 0",
        ),
        (
            lambda blends, pred: (
                [table.add_column(ids, name="id") for table, ids in ((blends, list("abcde")), (pred, list("abced")))]
                and None
            ),
            "in another order than these blends: id is 'e' in row 3, expected 'd'",
        ),
        (
            lambda blends, pred: pred.meta.update(trained_on={"seeds": [0]}),
            "of 'mine' come from a network that was trained on .* galaxies in these blends",
        ),
        *(
            (
                lambda blends, pred, nothing=nothing: (
                    [pred.replace_column(name, [nothing] * 5) for name in ("flux_central", "flux_companion")] and None
                ),
                "of 'mine' measured nothing: not one of the 10 fluxes is finite and positive",
            )
            for nothing in (np.nan, -1.0, np.inf, 0)
        ),
    ],
)
def test_wrong_tables_get_one_sentence(change, words):
    blends, pred = wrong_table(change)
    for score in (scores, figure_5, lambda b, p: binned_scores(b, p, np.arange(len(b)))):
        with pytest.raises(ValueError, match=words) as caught:
            score(blends, {"mine": pred})
        assert "\n" not in str(caught.value)
        assert str(caught.value).endswith(".")


def test_predictions_that_can_be_scored():
    blends, pred = fabricate(5)
    check_predictions(blends, pred)
    pred["central"] = blends["central"]
    pred["id"] = range(5)  # the blends have no such column
    pred["flux_central"] = np.nan
    pred["flux_companion"][1:] = -1
    check_predictions(blends, pred, "These")
    assert scores(blends, {"a": pred})["failed"].tolist() == [5, 4]
    pred["flux_companion"] = MaskedColumn([3] * 5, mask=[1, 1, 0, 1, 1])
    check_predictions(blends, pred)
    with pytest.raises(ValueError, match=r"^These are in another order than these blends: central"):
        check_predictions(blends, pred[[1, 0, 2, 3, 4]], "These")


def test_masked_cases_stop_only_what_needs_them():
    blends, pred = catalogue(50)
    pred["case"] = MaskedColumn(pred["case"], mask=np.arange(50) == 7)
    check_predictions(blends, pred)
    assert len(calibration(blends, {"a": pred}, n_bootstrap=2)) == 2
    assert len(binned_scores(blends, {"a": pred}, "distance", rows="all", n_bootstrap=2)) == 12
    for score in (scores, figure_5, *(partial(binned_scores, by=by) for by in ("case", "distance"))):
        with pytest.raises(ValueError, match="predictions of 'a' have an unknown case 'masked'"):
            score(blends, {"a": pred})
    with pytest.raises(ValueError, match="The predictions have an unknown case 'masked'"):
        figure_5_rows(pred, "central")


@pytest.mark.parametrize(
    ("predictions", "words"),
    [
        (lambda pred: [pred], r'The methods are a list, expected a mapping: give \{"name": .*\}\.$'),
        (lambda pred: pred, "The methods are a Table, expected a mapping"),
        (lambda pred: None, "The methods are a NoneType, expected a mapping"),
        (lambda pred: {1: pred}, r"A method is called 1, expected a text: give for example '1'\.$"),
    ],
)
def test_what_are_no_methods(predictions, words):
    blends, pred = catalogue(5)
    given = predictions(pred)
    for score in (scores, figure_5, calibration, mask_scores, lambda b, p: difference(b, p, "a", "b")):
        with pytest.raises(ValueError, match=words):
            score(blends, given)


@pytest.mark.parametrize("n_bootstrap", [200.0, 2.5, "9", None, True])
def test_what_is_no_number_of_resamples(n_bootstrap):
    blends, pred = catalogue(5)
    for ask in (
        lambda: scores(blends, {"a": pred}, n_bootstrap=n_bootstrap),
        lambda: mask_scores(blends, {"a": np.ones((5, 2))}, n_bootstrap=n_bootstrap),
        lambda: case_shares(blends, pred, n_bootstrap),
        lambda: resample([1, 2], n_bootstrap),
    ):
        with pytest.raises(ValueError, match=r"n_bootstrap is .*, expected at least 2, a whole number.*\.$"):
            ask()
    assert len(scores(blends, {"a": pred["flux_central", "flux_companion"]}, n_bootstrap=np.int64(2))) == 2


def test_too_little_to_do_gets_one_sentence():
    blends, pred = fabricate(5)
    with pytest.raises(ValueError, match="no prediction to score"):
        scores(blends, {})
    with pytest.raises(ValueError, match="n_bootstrap is 1, expected at least 2"):
        scores(blends, {"a": pred}, n_bootstrap=1)
    with pytest.raises(ValueError, match="no rows to resample"):
        resample([])


# --- differences -----------------------------------------------------------------------------------


def test_difference_of_a_worked_example():
    blends = Table(
        {"central": [1, 2], "companion": [3, 1], "flux_central": [10.0, 10], "flux_companion": [10.0, 10]},
        meta={"zeropoint": ZEROPOINT},
    )
    a = Table({"flux_central": [11.0, np.nan], "flux_companion": [13.0, 10]})  # errors 10, 100, 30, 0
    b = Table({"flux_central": [12.0, 9.0], "flux_companion": [0.0, 10]})  # 20, 10, 100, 0
    got = difference(blends, {"a": a, "b": b, "not looked at": None}, "a", "b")
    assert list(got) == ["difference", "error"]
    assert got["difference"] == pytest.approx((140 - 130) / 4)
    assert got["error"] > 0
    back = difference(blends, {"a": a, "b": b}, "b", "a")
    assert (back["difference"], back["error"]) == pytest.approx((-got["difference"], got["error"]))
    assert difference(blends, {"a": a}, "a", "a") == {"difference": 0, "error": 0}


def test_error_of_a_difference_is_that_of_a_loop_over_galaxies():
    blends, a = fabricate(600, n_galaxies=40)
    _, b = fabricate(600, n_galaxies=40, sigma=0.15, seed=1)
    for galaxy in ("central", "companion"):  # b errs in its own way on top of what makes a galaxy hard for both
        b[f"flux_{galaxy}"] = a[f"flux_{galaxy}"] * (1 + 0.03 * np.random.default_rng(2).normal(size=600))
    got = difference(blends, {"a": a, "b": b}, "a", "b", n_bootstrap=800)
    ids = np.concatenate([blends[g] for g in ("central", "companion")])
    errors = [
        np.concatenate([100 * np.abs(p[f"flux_{g}"] / blends[f"flux_{g}"] - 1) for g in ("central", "companion")])
        for p in (a, b)
    ]
    off = errors[0] - errors[1]
    names, rng = np.unique(ids), np.random.default_rng(3)
    of = {name: off[ids == name] for name in names}
    drawn = [np.concatenate([of[k] for k in rng.choice(names, len(names))]).mean() for _ in range(800)]
    assert got["difference"] == pytest.approx(off.mean())
    assert got["error"] == pytest.approx(np.std(drawn), rel=0.15)
    alone = [only_row(scores(blends, {"p": p}), galaxy="central")["mape_flux_err"] for p in (a, b)]
    assert got["error"] < 0.5 * np.hypot(*alone), "the same galaxies for both"


def test_difference_on_one_galaxy_has_no_error():
    blends, pred = fabricate(9, n_galaxies=1)
    got = difference(blends, {"a": pred, "b": pred}, "a", "b")
    assert got["difference"] == 0
    assert np.isnan(got["error"])


def test_difference_of_wrong_methods():
    blends, pred = fabricate(9)
    with pytest.raises(ValueError, match=r"no predictions of 'c', expected one of 'a', 'b': give the names"):
        difference(blends, {"a": pred, "b": pred}, "a", "c")
    with pytest.raises(ValueError, match=r"no predictions of \['a'\], expected one of"):
        difference(blends, {"a": pred}, ["a"], "a")
    with pytest.raises(ValueError, match="predictions of 'b' have 8 rows for 9 blends"):
        difference(blends, {"a": pred, "b": pred[1:]}, "a", "b")
    blends["flux_central"][3] = -1
    with pytest.raises(ValueError, match="1 of 9 true fluxes are not finite and positive"):
        difference(blends, {"a": pred, "b": pred}, "a", "b")


# --- Figure 5 and bins -----------------------------------------------------------------------------


def test_figure_5_counts_the_cases_of_the_paper():
    blends, pred = catalogue(600, n_galaxies=50)
    pred["flux_central"][:40] = np.nan
    table = figure_5(blends, {"SEP": pred, "net": pred["flux_central", "flux_companion"]})
    names = ("bias", "scatter", "outliers", "mape_mag")
    numbers = ["n", "failed", *(f"{n}{e}" for n in names for e in ("", "_err"))]
    assert table.colnames == ["method", "galaxy", *numbers[:2], "left_out", *numbers[2:]]
    assert (table["n"] + table["failed"] + table["left_out"] == 600).all()
    assert "case" in table["left_out"].description
    for galaxy, case in (("central", "only central"), ("companion", "only companion")):
        rows = np.isin(pred["case"], ["both", case])
        assert_array_equal(figure_5_rows(pred, galaxy), rows)
        for method, rows_in in (("SEP", rows), ("net", np.ones(600, bool))):
            got = only_row(table, method=method, galaxy=galaxy)
            own = scores(blends[rows_in], {method: pred[rows_in]["flux_central", "flux_companion"]})
            own = only_row(own, galaxy=galaxy)
            assert_allclose([got[name] for name in numbers], [own[name] for name in numbers])
            assert got["left_out"] == (~rows_in).sum()
    assert table["failed"].sum() == 40 + figure_5_rows(pred, "central")[:40].sum()
    assert table.meta["matching"] == {"SEP": "not stated", "net": "not stated"}


def test_a_constant_offset_is_the_bias_of_every_bin():
    blends, pred = catalogue(300)
    for galaxy in ("central", "companion"):
        pred[f"flux_{galaxy}"] = blends[f"flux_{galaxy}"] * 10 ** (-0.4 * 0.3)
    for by in ("delta_mag", "morphology"):
        table = binned_scores(blends, {"a": pred}, by)
        for name in ("bias", "median"):
            assert_allclose(table[name], 0.3)
        for name in ("scatter", "robust_scatter", "outliers", "bias_err", "median_err", "robust_scatter_err"):
            assert_allclose(table[name], 0, atol=1e-12)
        assert_allclose(table["median_flux"], 100 * (1 - 10**-0.12))


def test_identity_scores_zero_in_every_bin():
    blends, pred = catalogue(300)
    for galaxy in ("central", "companion"):
        pred[f"flux_{galaxy}"] = blends[f"flux_{galaxy}"]
    table = binned_scores(blends, {"a": pred}, "distance")
    for name in SCORES:
        assert_array_equal(table[name], 0)


@pytest.mark.parametrize("by", ["delta_mag", "distance", "separation", "morphology", "case"])
def test_bins_hold_every_row_once(by):
    blends, pred = catalogue(500, n_galaxies=60)
    pred["flux_central"][::9] = np.nan
    table = binned_scores(blends, {"a": pred, "b": pred}, by, rows="all")
    for method in "ab":
        for galaxy, failed in (("central", 56), ("companion", 0)):
            of = table[(table["method"] == method) & (table["galaxy"] == galaxy)]
            assert of["bin"].tolist() == list(range(len(of)))
            assert (of["n"].sum(), of["failed"].sum()) == (500 - failed, failed + 0)
    counted = binned_scores(blends, {"a": pred}, by)
    for galaxy in ("central", "companion"):
        of = counted[counted["galaxy"] == galaxy]
        assert (of["n"] + of["failed"]).sum() == figure_5_rows(pred, galaxy).sum()


def test_bins_are_scores_of_their_rows():
    blends, pred = catalogue(500, n_galaxies=60)
    pred["flux_companion"][::9] = np.nan
    edges = [2, 10, 25, 60]
    table = binned_scores(blends, {"a": pred}, "distance", edges, rows="all", seed=3)
    assert_array_equal(table["low"], 2 * edges[:-1])
    assert_array_equal(table["high"], 2 * edges[1:])
    for row in table:
        rows = (blends["distance"] >= row["low"]) & (blends["distance"] < row["high"])
        own = scores(blends[rows], {"a": pred["flux_central", "flux_companion"][rows]}, seed=3)
        own = only_row(own, galaxy=row["galaxy"])
        assert [row[name] for name in own.colnames[3:]] == [own[name] for name in own.colnames[3:]]


def test_bins_by_case_are_the_rows_of_scores():
    blends, pred = catalogue(500, n_galaxies=60)
    table = binned_scores(blends, {"a": pred}, "case", rows="all")
    cases = scores(blends, {"a": pred})
    cases = cases[cases["case"] != "all"]
    assert table["label"].tolist() == cases["case"].tolist() == 2 * list(CASES)
    for name in cases.colnames[3:]:
        assert_array_equal(table[name], cases[name])
    figure = binned_scores(blends, {"a": pred}, "case")
    assert_array_equal(figure["n"] > 0, [*[True, True, False, False, False], *[True, False, True, False, False]])


def test_one_word_for_all_is_one_bin():
    blends, pred = catalogue(500, n_galaxies=60)
    table = binned_scores(blends, {"a": pred}, np.full(500, "everything"), rows="all")
    own = scores(blends, {"a": pred["flux_central", "flux_companion"]})
    assert table["label"].tolist() == 2 * ["everything"]
    assert np.isnan(table["low"]).all()
    for name in own.colnames[3:]:
        assert_array_equal(table[name], own[name])


def test_masked_words_are_a_bin_of_their_own():
    blends, pred = catalogue(300)
    hidden = np.arange(300) < 40
    blends["morphology_central"] = MaskedColumn(blends["morphology_central"], mask=hidden)
    assert blends["morphology_central"].dtype == "<U4"
    table = binned_scores(blends, {"a": pred}, "morphology", rows="all", n_bootstrap=2)
    assert table["label"].tolist() == 2 * [*TYPES, "masked"]
    assert table["n"].tolist()[4::5] == [40, 40]
    pairs = mask_scores(blends, {"a": np.ones((300, 2))}, n_bootstrap=2)
    masked = [row["n"] for row in pairs if row["galaxy"] == "both" and "masked" in row["pair"]]
    assert sum(masked) == 40
    assert 1 < len(masked) <= 4


def test_errors_of_a_bin_agree_with_a_slow_loop_over_galaxies():
    blends, pred = catalogue(3000, n_galaxies=80)
    rng = np.random.default_rng(5)
    pred["flux_companion"] *= (10 ** rng.normal(0, 0.05, 80))[blends["companion"]]
    got = binned_scores(blends, {"a": pred}, "delta_mag", [-1, 1], n_bootstrap=1500)[1]
    rows = figure_5_rows(pred, "companion") & (np.abs(blends["delta_mag"]) < 1)
    true, measured = (np.array(table["flux_companion"][rows]) for table in (blends, pred))
    rows_of = [np.flatnonzero(blends["companion"][rows] == i) for i in np.unique(blends["companion"][rows])]
    loop = []
    for _ in range(1500):
        drawn = np.concatenate([rows_of[i] for i in rng.integers(len(rows_of), size=len(rows_of))])
        loop.append(all_scores(true[drawn], measured[drawn]))
    assert (got["galaxy"], got["n"]) == ("companion", rows.sum())
    assert_allclose([got[name] for name in SCORES], all_scores(true, measured))
    assert_allclose([got[f"{name}_err"] for name in SCORES], np.std(loop, axis=0, ddof=1), rtol=0.12)


def test_bins_do_not_depend_on_the_row_order():
    blends, pred = catalogue(400, n_galaxies=50)
    order = np.random.default_rng(0).permutation(400)
    for by in ("separation", "case", np.array(blends["flux_central"])):
        mixed = by if isinstance(by, str) else by[order]
        one = binned_scores(blends, {"a": pred}, by)
        two = binned_scores(blends[order], {"a": pred[order]}, mixed)
        assert one["label"].tolist() == two["label"].tolist()
        for name in one.colnames[6:]:
            assert_allclose(one[name], two[name], atol=1e-12)


def test_separation_is_in_effective_radii_of_the_central_galaxy():
    blends, pred = catalogue(300)
    radii = np.array(blends["distance"] / blends["r_eff_central"])
    named, given = (binned_scores(blends, {"a": pred}, by) for by in ("separation", radii))
    assert_allclose([named["low"][0], named["high"][5]], [radii.min(), radii.max()])
    assert named["n"].tolist() == given["n"].tolist()


def test_bins_are_those_of_all_blends():
    """The range is that of all blends, whichever rows count for a method or galaxy."""
    blends, pred = catalogue(200)
    blends["distance"][0], pred["case"][0] = 600, "none"
    table = binned_scores(blends, {"a": pred}, "distance", 3)
    low = blends["distance"].min()
    assert_allclose(table["low"][:3], low + (600 - low) / 3 * np.arange(3))
    assert table["n"].tolist()[1:3] == [0, 0]
    assert np.isnan(table["bias"][1])
    assert (table["label"][1], table["label"][2]) == ("202 to 401", "401 to 600")


@given(st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=30), st.integers(1, 9))
def test_equal_bins_are_numpys(thousandths, bins):
    values = np.array(thousandths) / 1000
    _, edges, index = metrics._bins(values, bins)
    assert_array_equal(np.bincount(index, minlength=bins), np.histogram(values, bins)[0])
    assert_array_equal([edges[0][0], *np.array(edges)[:, 1]], np.histogram(values, bins)[1])


def test_values_on_and_beyond_edges():
    labels, edges, index = metrics._bins(np.array([0, 1, 1.5, 2, 4, 4.1, -0.1]), [0, 1, 2, 4])
    assert index.tolist() == [0, 1, 1, 2, 2, -1, -1]
    assert labels == ["0.0 to 1.0", "1.0 to 2.0", "2.0 to 4.0"]
    assert edges == [(0, 1), (1, 2), (2, 4)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"by": "z"}, "by is 'z', expected one of 'delta_mag', .* 'case', or an array"),
        ({"by": "separation"}, "The blends have no column r_eff_central"),
        ({"by": "case"}, "The predictions of 'a' have no column case"),
        ({"by": [1.0, 2]}, r"by has shape \(2,\) for 5 blends, expected \(5,\)"),
        ({"by": [1, 2, np.nan, 4, 5.0]}, "1 of 5 values to bin by are not finite.*nan"),
        ({"by": "distance", "bins": 0}, "bins is 0, expected a number of bins or increasing edges"),
        ({"by": "distance", "bins": 2.5}, r"bins is 2\.5, expected"),
        ({"by": "distance", "bins": [1]}, r"bins is \[1\], expected"),
        ({"by": "distance", "bins": [1, 3, 2]}, r"bins is \[1, 3, 2\], expected"),
        ({"by": "distance", "bins": [0, np.inf]}, r"bins is \[0, inf\], expected"),
        ({"by": "distance", "bins": "many"}, "bins is 'many', expected"),
        ({"by": "distance", "rows": "some"}, "rows is 'some', expected 'figure 5' or 'all'"),
    ],
)
def test_wrong_bins_get_one_sentence(arguments, words):
    blends, pred = fabricate(5)
    blends["distance"] = np.arange(5.0)
    with pytest.raises(ValueError, match=words) as caught:
        binned_scores(blends, {"a": pred}, **arguments)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


@given(st.lists(st.tuples(st.floats(-9, 9), st.integers(0, 4)), min_size=1, max_size=30))
def test_median_and_scatter_of_repeated_values(pairs):
    values, weights = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    weights[0] += 1
    got = metrics._median_and_scatter(values, np.arange(len(values)), weights[:, None])[:, 0]
    repeated = np.repeat(values, weights)
    assert_allclose(got, [np.median(repeated), robust(repeated)], atol=1e-8)


# --- calibration -----------------------------------------------------------------------------------


def test_gaussian_pulls_are_covered_as_gaussians_are():
    blends, pred = catalogue(40000)
    for row in calibration(blends, {"a": pred}, n_bootstrap=100):
        assert (row["n"], row["failed"]) == (40000, 0)
        for name, expected in zip(PULLS, (0.6827, 0.9545, 0.9973, 0, 1), strict=True):
            assert abs(row[name] - expected) < 4 * row[f"{name}_err"]
            assert row[f"{name}_err"] < 0.01


def test_errors_half_as_large_are_told():
    blends, pred = catalogue(40000)
    for galaxy in ("central", "companion"):
        pred[f"flux_{galaxy}_err"] /= 2
        pred[f"flux_{galaxy}"] += pred[f"flux_{galaxy}_err"]
    table = calibration(blends, {"a": pred}, n_bootstrap=2)
    assert_allclose(table["pull_scatter"], 2, rtol=0.03)
    assert_allclose(table["pull_mean"], 1, rtol=0.05)
    assert_allclose(table["within_2"], 0.6247, atol=0.01)  # a Gaussian between -1.5 and 0.5 sigma


def test_calibration_of_a_worked_example_counts_failures():
    blends, pred = fabricate(6)
    blends["flux_central"] = 10.0
    pred["flux_central"] = [11.0, 12, 13.5, np.nan, 10, 10]
    pred["flux_central_err"] = [1.0, 1, 1, 1, np.nan, 0]
    pred["flux_companion_err"] = 1e9
    table = calibration(blends, {"a": pred, "without": pred["flux_central", "flux_companion"]})
    assert set(table["method"]) == {"a"}
    row = table[0]
    assert (row["n"], row["failed"]) == (3, 3)
    expected = [1 / 3, 2 / 3, 2 / 3, 6.5 / 3, 1.4826]
    assert_allclose([row[name] for name in PULLS], expected)
    assert table["failed"].tolist() == [3, 0]
    assert table.colnames[4:] == [column for name in PULLS for column in (name, f"{name}_err")]


def test_errors_of_the_calibration_agree_with_a_slow_loop():
    blends, pred = catalogue(1500, n_galaxies=70)
    pred["flux_central"] += (np.random.default_rng(3).normal(0, 0.1, 70))[blends["central"]] * blends["flux_central"]
    got = calibration(blends, {"a": pred}, n_bootstrap=1500)[0]
    pulls = np.array((pred["flux_central"] - blends["flux_central"]) / pred["flux_central_err"])
    good = pred["flux_central"] > 0
    rows_of = [np.flatnonzero((blends["central"] == i) & good) for i in np.unique(blends["central"][good])]
    rng, loop = np.random.default_rng(5), []
    for _ in range(1500):
        p = pulls[np.concatenate([rows_of[i] for i in rng.integers(len(rows_of), size=len(rows_of))])]
        loop.append([*(np.mean(np.abs(p) <= k) for k in (1, 2, 3)), p.mean(), robust(p)])
    assert_allclose([got[f"{name}_err"] for name in PULLS], np.std(loop, axis=0, ddof=1), rtol=0.12)


def test_calibration_needs_errors():
    blends, pred = fabricate(5)
    with pytest.raises(ValueError, match=r"None of the methods 'a' predicts errors, expected at least one .*\.$"):
        calibration(blends, {"a": pred})
    with pytest.raises(ValueError, match="The predictions of 'a' have 4 rows for 5 blends"):
        calibration(blends, {"a": pred[:4]})
    pred["flux_central_err"] = 1.0
    with pytest.raises(ValueError, match="The predictions of 'a' have no column flux_companion_err"):
        calibration(blends, {"a": pred})


# --- scores of masks -------------------------------------------------------------------------------


def test_mask_scores_of_a_worked_example():
    nan = np.nan
    blends = Table({
        "central": [1, 2, 3, 1], "companion": [4, 5, 6, 5],
        "morphology_central": ["irr", "disk", "sph", "disk"], "morphology_companion": ["disk", "irr", "sph", "disk"],
    })  # fmt: skip
    table = mask_scores(blends, {"unet": [[0.8, 0.6], [0.4, nan], [nan, nan], [1.0, 0.0]], "other": np.ones((4, 2))})
    assert table.colnames == ["method", "galaxy", "pair", "n", "iou", "iou_err"]
    unet = table[table["method"] == "unet"]
    assert unet["pair"].tolist() == 3 * ["all", "sph + sph", "disk + disk", "disk + irr"]
    assert unet["galaxy"].tolist() == ["central"] * 4 + ["companion"] * 4 + ["both"] * 4
    assert unet["n"].tolist() == [3, 0, 1, 2, 2, 0, 1, 1, 3, 0, 1, 2]
    expected = [2.2 / 3, nan, 1, 0.6, 0.3, nan, 0, 0.6, 1.6 / 3, nan, 0.5, 0.55]
    assert_allclose(unet["iou"], expected)
    assert_array_equal(np.isfinite(unet["iou_err"]), [1, 0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 1])
    assert (table["iou"][table["method"] == "other"] == 1).all()


def test_mask_scores_partition_the_blends_and_ignore_who_is_central():
    blends, _ = catalogue(900, n_galaxies=60)
    values = np.random.default_rng(0).random((900, 2))
    table = mask_scores(blends, {"a": values})
    assert len(table) == 3 * (1 + 10)
    for galaxy in ("central", "companion", "both"):
        of = table[table["galaxy"] == galaxy]
        assert of["n"][0] == of["n"][1:].sum() == 900
        assert_allclose(np.average(of["iou"][1:], weights=of["n"][1:]), of["iou"][0])
    turned = blends.copy()
    for name in ("morphology_{}", "{}"):
        turned[name.format("central")] = blends[name.format("companion")]
        turned[name.format("companion")] = blends[name.format("central")]
    other = mask_scores(turned, {"a": values[:, ::-1]})
    swap = {"central": "companion", "companion": "central", "both": "both"}
    for row in table:
        again = only_row(other, galaxy=swap[row["galaxy"]], pair=row["pair"])
        assert again["iou"] == pytest.approx(row["iou"])
    order = np.random.default_rng(1).permutation(900)
    mixed = mask_scores(blends[order], {"a": values[order]})
    assert_allclose(mixed["iou_err"], table["iou_err"])


@pytest.mark.parametrize("galaxy", ["central", "companion", "both"])
def test_errors_of_mask_scores_agree_with_a_slow_loop(galaxy):
    blends, _ = catalogue(900, n_galaxies=60)
    rng = np.random.default_rng(0)
    shared = rng.uniform(0.3, 0.7, 60)
    values = np.stack([shared[blends["central"]], shared[blends["companion"]]], 1) + rng.uniform(-0.1, 0.1, (900, 2))
    got = only_row(mask_scores(blends, {"a": values}, n_bootstrap=1500), galaxy=galaxy, pair="all")
    column = {"central": values[:, 0], "companion": values[:, 1], "both": values.mean(axis=1)}[galaxy]
    ids = np.array(blends["companion" if galaxy == "companion" else "central"])
    rows_of = [np.flatnonzero(ids == i) for i in np.unique(ids)]
    loop = [
        column[np.concatenate([rows_of[i] for i in rng.integers(len(rows_of), size=len(rows_of))])].mean()
        for _ in range(1500)
    ]
    assert got["iou"] == pytest.approx(column.mean())
    assert got["iou_err"] == pytest.approx(np.std(loop, ddof=1), rel=0.12)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda blends: (blends, {}), "no IoUs to score"),
        (lambda blends: (blends[:0], {"a": np.ones((0, 2))}), "no blends to score"),
        (lambda blends: (blends, {"a": np.ones(5)}), r"IoUs of 'a' have shape \(5,\) for 5 blends, expected \(5, 2\)"),
        (lambda blends: (blends, {"a": np.full((5, 2), 1.5)}), r"10 of 10 IoUs of 'a' are not between 0 and 1.*1\.5"),
        (lambda blends: (blends["central", "companion"], {"a": np.ones((5, 2))}), "no column morphology_central"),
    ],
)
def test_wrong_ious_get_one_sentence(change, words):
    blends, _ = catalogue(5)
    with pytest.raises(ValueError, match=words) as caught:
        mask_scores(*change(blends))
    assert str(caught.value).endswith(".")


# --- detection cases -------------------------------------------------------------------------------


def test_case_shares():
    blends, pred = fabricate(1000)
    pred["case"] = ["both"] * 700 + ["more"] * 50 + ["only companion"] * 250
    table = case_shares(blends, pred, n_bootstrap=1000)
    assert table.colnames == ["case", "share", "share_err", "n"]
    assert table["case"].tolist() == ["both", "only central", "only companion", "more", "none"]
    assert table["n"].tolist() == [700, 0, 250, 50, 0]
    assert_allclose(table["share"], [0.7, 0, 0.25, 0.05, 0])
    share = np.array(table["share"])
    assert_allclose(table["share_err"], np.sqrt(share * (1 - share) / 1000), rtol=0.1)
    ten_times = np.repeat(np.arange(1000), 10)
    again = case_shares(blends[ten_times], pred[ten_times], n_bootstrap=1000)
    assert_allclose(again["share_err"], table["share_err"])


def test_case_shares_of_wrong_tables():
    blends, pred = fabricate(5)
    with pytest.raises(ValueError, match="predictions have no column case"):
        case_shares(blends, pred)
    pred["case"] = MaskedColumn(["both"] * 5, mask=[0, 0, 1, 0, 0])
    with pytest.raises(ValueError, match="unknown case 'masked'"):
        case_shares(blends, pred)
    with pytest.raises(ValueError, match="5 rows for 4 blends"):
        case_shares(blends[:4], pred)


def test_importing_the_module_does_not_import_astropy():
    code = "import sys, blendkit.metrics; sys.exit('astropy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
