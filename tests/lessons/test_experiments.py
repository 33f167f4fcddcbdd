"""Experiments of the notebooks: the numbers that they come back with."""

import numpy as np
import pytest
from astropy.table import Table
from conftest import only_row

import blendkit as bk
from blendkit import lessons, metrics


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
    errors, ranked = metrics.table2(*run, n_bootstrap=2), metrics.ranking(*run, n_bootstrap=2)
    (row,) = lessons.error_ratios(errors, ranked)
    total = {r["method"]: r["mape"] for r in errors if r["member"] == "total"}
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
