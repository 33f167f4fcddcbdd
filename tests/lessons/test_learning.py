"""Experiments of notebook 3, on small stamps and with a few epochs."""

import numpy as np
import pytest

import blendkit as bk
from blendkit import lessons
from blendkit.lessons import learning


@pytest.fixture(scope="module")
def sides(make_sample):
    return bk.split(make_sample(60, (32, 32), mags=np.linspace(20, 21.5, 60)), (0.5, 0.2, 0.3), seed=0)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setitem(learning.LESSON_EPOCHS, "quick", 2)
    monkeypatch.setitem(learning.LEAK_EPOCHS, "quick", 1)
    monkeypatch.setitem(learning.OTHER_FILTERS, "quick", (2,))


def test_network_sizes_are_the_papers_at_full_size():
    sizes = lessons.network_sizes("quick", (128, 128))
    full = dict(zip(sizes["network"], sizes["full size"], strict=True))
    assert (full["blend2flux"], full["unet"], full["blend2mask2flux"]) == (25_696_002, 7_759_554, 18_431_300)
    assert (sizes["here"] < sizes["full size"]).all()


def test_small_lessons_learn_from_fixed_and_from_fresh_blends(sides, tmp_path):
    fixed, fresh = lessons.small_lessons(*sides[:2], "quick", 0, tmp_path).values()
    assert len(fixed) == len(fresh) == 2
    assert fixed["loss"][0] == fresh["loss"][0]  # the same blends in the first epoch
    assert fixed["loss"][1] != fresh["loss"][1]


def test_the_leaky_network_has_seen_the_exam(sides, tmp_path):
    exam, predictions = lessons.leak_experiment(*sides, "quick", 0, tmp_path, n_blends=30, few=10)
    assert set(np.unique(exam["id"])) <= set(sides[2].catalog["id"][:10])
    assert bk.figures.leak_errors(exam, **predictions)["n"] <= 60
    bk.scores(exam, {"honest": predictions["honest"]}, n_bootstrap=2)
    with pytest.raises(ValueError, match="trained"):
        bk.scores(exam, {"leaky": predictions["leaky"]}, n_bootstrap=2)


def test_table_2_has_a_row_for_each_size(sides, tmp_path, monkeypatch):
    plan = learning.replace(bk.training.plan_of("blend2flux", "quick"), blends=32, valid=16, epochs=1)
    monkeypatch.setattr(learning, "plan_of", lambda name, profile: plan)
    network = bk.train("blend2flux", *sides[:2], "quick", 0, tmp_path / "blend2flux", plan=plan)
    blends = bk.draw_blends(sides[2], 20)
    images = bk.render(sides[2], blends, masks=False)[0]
    table = lessons.sizes_table2(network, *sides[:2], blends, images, "quick", 0, tmp_path)
    assert table["filters"].tolist() == [2, plan.arguments["filters"]]
    assert table["parameters"][1] == network.count_params()
    assert np.allclose(table["total"], (table["central"] + table["companion"]) / 2, equal_nan=True)
