"""Experiments of notebook 3, on small stamps and with a few epochs."""

import numpy as np
import pytest
from conftest import module, refused

import blendkit as bk
from blendkit import lessons
from blendkit.lessons import learning

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
