"""Training: losses fall on every backend, interrupted runs go on, and what cannot work says so in one sentence."""

import csv
import dataclasses
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import types
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops
from numpy.testing import assert_allclose, assert_array_equal

import blendkit as bk
from blendkit import fractions, models, training, weights
from blendkit.training import Plan

ROOT = Path(__file__).resolve().parents[1]
SHAPE = (32, 32)
TINY = {
    "blend2flux": Plan({"filters": 4}, 64, 16, 3, batch=8, rate=5e-3),
    "unet": Plan({"depth": 3, "filters": 4}, 64, 16, 3, batch=8, rate=5e-3),
    "blend2mask2flux": Plan({"depth": 3, "filters": 4, "flux_filters": 4, "dense": 8}, 64, 16, 3, batch=8, rate=5e-3),
    "fractions": Plan({"width": 4}, 64, 16, 3, batch=8, rate=5e-3, schedule="cosine", optimizer="muon"),
}
TIMES = ("seconds", "images_per_second")
SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from conftest import gaussian_sample
import test_training as t
import blendkit as bk
t.train_here({name!r}, {out!r}, {epochs})
"""


def sides(make_sample, **more):
    return bk.split(make_sample(12, SHAPE, sigma=1.5, **more), (0.6, 0.4), seed=1)


def train_here(name, out, epochs=3, progress=None, **changes):
    from conftest import gaussian_sample

    plan = dataclasses.replace(TINY[name], **{"epochs": epochs} | changes)
    return bk.train(name, *sides(gaussian_sample), "quick", 3, out, plan=plan, progress=progress)


def in_another_process(name, out, epochs, **environment):
    code = SCRIPT.format(tests=str(ROOT / "tests"), name=name, out=str(out), epochs=epochs)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"} | environment
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def numbers(out):
    """The history without what depends on the clock."""
    table = training.history(out)
    return {name: table[name].tolist() for name in table.colnames if name not in TIMES}


def sentence(error):
    text = str(error.value)
    assert text.endswith("."), text
    assert "\n" not in text
    assert not re.search(r"\. [A-Z]", text), text
    return text


@pytest.fixture
def two(make_sample):
    return sides(make_sample)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run of six epochs, in a process of its own."""
    out = tmp_path_factory.mktemp("whole") / "run"
    process = in_another_process("blend2flux", out, 6)
    said, trouble = process.communicate(timeout=300)
    assert process.returncode == 0, trouble
    return out, said


class TestBackends:
    @pytest.fixture(scope="class")
    def first(self, tmp_path_factory):
        """Each network after a few steps here, trained once."""
        out = tmp_path_factory.mktemp("first")
        return {name: (train_here(name, out / name), out / name) for name in TINY}

    @pytest.mark.parametrize("name", TINY)
    def test_the_loss_falls(self, first, name):
        losses = training.history(first[name][1])["loss"]
        assert losses[-1] < losses[0]

    @pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
    def test_falls_and_weights_carry_over(self, first, tmp_path, backend):
        """Another backend trains all networks, and answers with the weights trained here as this one does."""
        if importlib.util.find_spec(backend) is None:
            pytest.skip(f"{backend} is not installed")
        images = np.random.default_rng(0).normal(0, 0.5, (3, *SHAPE, 1)).astype("f4")
        np.save(tmp_path / "images.npy", images)
        code = f"""
import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
import numpy as np, keras, pathlib
import test_training as t
from blendkit import models, training, weights
assert keras.backend.backend() == {backend!r}
images = np.load({str(tmp_path / "images.npy")!r})
for name, folder in { ({name: str(out) for name, (_, out) in first.items()})!r}.items():
    outputs = models.as_dict(weights.load(pathlib.Path(folder))[0](images))
    for key, value in outputs.items():
        np.save(f"{tmp_path}/{{name}}-{{key}}.npy", keras.ops.convert_to_numpy(value))
    t.train_here(name, f"{tmp_path}/{{name}}")
"""
        environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        for name, (network, _) in first.items():
            losses = training.history(tmp_path / name)["loss"]
            assert losses[-1] < losses[0], name
            for key, here in models.as_dict(network(images)).items():
                there = np.load(tmp_path / f"{name}-{key}.npy")
                here = ops.convert_to_numpy(here)
                assert_allclose(there, here, rtol=1e-4, atol=1e-4 * np.abs(here).max(), err_msg=f"{name} {key}")


class TestLoss:
    @pytest.fixture
    def blend(self):
        rng = np.random.default_rng(0)
        return {
            "image": rng.normal(size=(3, *SHAPE)).astype("f4"),
            "masks": (rng.random((3, *SHAPE, 2)) < 0.3).astype("f4"),
            "fluxes": rng.uniform(1, 5, (3, 2)).astype("f4"),
        }

    def test_both(self, blend):
        """Equation 1 of each galaxy; binary cross-entropy as Keras has it; weights 1 and 0.1."""
        network = models.blend2mask2flux(3, 2, 2, 4, shape=SHAPE)
        got = {k: ops.convert_to_numpy(v) for k, v in training.paper_loss(network, blend, False).items()}
        out = {k: ops.convert_to_numpy(v) for k, v in network(blend["image"][..., None]).items()}
        error = 100 * np.abs(out["fluxes"] - blend["fluxes"]) / blend["fluxes"]
        bce = [
            float(keras.losses.BinaryCrossentropy()(m, p)) for m, p in zip(blend["masks"], out["masks"], strict=True)
        ]
        assert_allclose(got["mape_central"], error[:, 0], rtol=1e-5)
        assert_allclose(got["mape_companion"], error[:, 1], rtol=1e-5)
        assert_allclose(got["bce"], bce, rtol=1e-4)
        assert_allclose(got["loss"], error.mean(1) + 0.1 * np.array(bce), rtol=1e-4)

    def test_one_alone(self, blend):
        masks = training.paper_loss(models.unet(3, 2, shape=SHAPE), blend, False)
        assert set(masks) == {"loss", "bce"}
        assert_array_equal(ops.convert_to_numpy(masks["loss"]), ops.convert_to_numpy(masks["bce"]))
        assert set(training.paper_loss(models.blend2flux(2, shape=SHAPE), blend, False)) == {
            "loss", "mape_central", "mape_companion"
        }  # fmt: skip

    def test_blender_hands_over_what_render_gives(self, two):
        seen = {}

        def loss(network, blend, training):
            seen.update(blend)
            return {"loss": blend["fluxes"][:, 0], "second": blend["fluxes"][:, 1]}

        layer = training.BlendLayer(two[0])
        blends = bk.draw_blends(two[0], 8, seed=0)
        recipe = layer.recipe(blends) | {"told": np.full((8, 2), fractions.UNTOLD, np.int32)}
        blender = training.Blender(models.unet(2, 1, shape=SHAPE), layer, loss, recipe)
        assert list(blender.means) == ["second"]
        blender(recipe)
        images, masks, fluxes = bk.render(two[0], blends)
        got = {name: ops.convert_to_numpy(value) for name, value in seen.items()}
        assert_array_equal(got["image"], images)
        assert_array_equal(got["central"] + got["companion"], images)
        assert_array_equal(got["masks"], masks)
        assert got["masks"].dtype == np.float32
        assert_array_equal(got["fluxes"], fluxes)
        assert_array_equal(got["dy"], blends["dy"])
        assert_array_equal(got["dx"], blends["dx"])
        assert (got["told"] == fractions.UNTOLD).all()
        blender.compile()
        scores = blender.evaluate(recipe, batch_size=5, verbose=0, return_dict=True)
        assert_allclose([scores["loss"], scores["second"]], fluxes.mean(0), rtol=1e-5)


class TestRecipes:
    def drawn(self, monkeypatch, two, tmp_path, **changes):
        """Tables drawn in a run, each with its sample."""
        calls, draw = [], training.draw_blends

        def listen(sample, n, seed, **more):
            calls.append((sample, draw(sample, n, seed=seed, **more)))
            return calls[-1][1]

        monkeypatch.setattr(training, "draw_blends", listen)
        plan = dataclasses.replace(TINY["blend2flux"], **changes)
        bk.train("blend2flux", *two, "quick", 3, tmp_path, plan=plan, progress=print)
        return calls

    def test_fresh_for_each_epoch(self, monkeypatch, two, tmp_path):
        trained = [table for sample, table in self.drawn(monkeypatch, two, tmp_path) if sample is two[0]]
        assert [len(table) for table in trained] == [64, 64, 64]
        rows = {tuple(row) for table in trained for row in zip(*(table[c] for c in table.colnames[:7]), strict=True)}
        assert len(rows) > 180

    def test_validation_is_fixed_and_has_its_own_galaxies(self, monkeypatch, two, tmp_path):
        calls = self.drawn(monkeypatch, two, tmp_path)
        tables = [table for sample, table in calls if sample is two[1]]
        assert len(tables) == 1
        ids = [set(table["central"]) | set(table["companion"]) for sample, table in calls]
        mine = {
            i for sample, table in calls if sample is two[0] for i in set(table["central"]) | set(table["companion"])
        }
        assert not mine & (set(tables[0]["central"]) | set(tables[0]["companion"]))
        assert ids

    def test_the_same_blends_again_on_request(self, monkeypatch, two, tmp_path):
        first, *more = [t for s, t in self.drawn(monkeypatch, two, tmp_path, fresh=False) if s is two[0]]
        assert len(more) == 2
        for table in more:
            assert_array_equal(table["dx"], first["dx"])

    @pytest.mark.parametrize(("close", "sizes"), [(0.0, [64]), (0.25, [48, 16]), (1.0, [64])])
    def test_a_share_of_them_close(self, monkeypatch, two, tmp_path, close, sizes):
        """Close ones among the others in any order; those of the validation lie as they always do."""
        got, fit = [], training.Blender.fit

        def listen(self, x, **more):
            got.append(np.concatenate([ops.convert_to_numpy(batch["rows"]) for batch in x]))
            return fit(self, x, **more)

        if keras.backend.backend() == "tensorflow":
            monkeypatch.setattr(training.Blender, "fit", listen)
        calls = self.drawn(monkeypatch, two, tmp_path, epochs=1, close=close)
        train, (valid,) = ([table for sample, table in calls if sample is side] for side in two)
        assert [len(table) for table in train] == sizes
        for table, near in ((valid, False), (train[0], close == 1), (train[-1], close > 0)):
            reach = table["distance"] / np.maximum(table["r_eff_central"], table["r_eff_companion"])
            rounding = 0.75 / np.min(table["r_eff_central"])
            assert (reach.max() <= training.CLOSE[1] + rounding) == near
        rows = np.concatenate([np.stack([table["dy"], table["dx"]], 1) for table in train])
        for drawn in got:
            assert sorted(map(tuple, drawn[:, 2:4])) == sorted(map(tuple, rows))
            assert (drawn[:, 2:4] == rows).all() == (len(sizes) == 1 and close == 0)

    def test_no_epoch_waits_for_a_tuner(self, monkeypatch, two, tmp_path):
        """Rows as drawn, and no tf.data tuner, which would hold up the end of an epoch by up to the epoch's time."""
        if keras.backend.backend() != "tensorflow":
            pytest.skip("only TensorFlow has tf.data")
        got = []
        for name in ("fit", "evaluate"):
            whole = getattr(training.Blender, name)

            def listen(self, x, whole=whole, **more):
                got.append((x.options().autotune.enabled, np.concatenate([batch["rows"] for batch in x])))
                return whole(self, x, **more)

            monkeypatch.setattr(training.Blender, name, listen)
        calls = self.drawn(monkeypatch, two, tmp_path, epochs=1)
        tables = {sample is two[0]: table for sample, table in calls}
        assert [tuned for tuned, _ in got] == [False, False]
        for (_, rows), table in zip(got, (tables[True], tables[False]), strict=True):
            assert_array_equal(rows[:, 2:4], np.stack([table["dy"], table["dx"]], 1))

    def test_fractions_is_told_in_training_only(self, monkeypatch, two, tmp_path):
        got, recipe = [], training._recipe

        def listen(job, layer, epoch, **more):
            got.append((epoch, recipe(job, layer, epoch, **more)["told"]))
            return recipe(job, layer, epoch, **more)

        monkeypatch.setattr(training, "_recipe", listen)
        train_here("fractions", tmp_path, 1)
        for epoch, told in got:
            assert (told == fractions.UNTOLD).all() == (epoch == 0)


class TestInterruption:
    def test_killed_half_way(self, whole, tmp_path):
        """SIGKILL during an epoch: the next call goes on with the epoch that was running, to the same end."""
        out = tmp_path / "run"
        process = in_another_process("blend2flux", out, 6)
        lines = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert "epoch 3 of 6" in lines[-1]
        done = len(training.history(out))
        assert 3 <= done < 6
        again = in_another_process("blend2flux", out, 6)
        said, trouble = again.communicate(timeout=300)
        assert again.returncode == 0, trouble
        assert f"epoch {done + 1} of 6" in said.splitlines()[0]
        assert numbers(out) == numbers(whole[0])
        best = [weights.load(folder)[0].get_weights() for folder in (out, whole[0])]
        for mine, theirs in zip(*best, strict=True):
            assert_array_equal(mine, theirs)

    def test_headless_is_one_plain_line_per_epoch(self, whole):
        lines = whole[1].splitlines()
        assert len(lines) == 6
        assert "\r" not in whole[1]
        assert re.fullmatch(
            r"blend2flux: epoch 1 of 6, loss [\d.]+, validation [\d.]+, learning rate 5.0e-03, \d+ s, \d+ images/s",
            lines[0],
        )

    @pytest.mark.parametrize("name", ["blend2mask2flux", "fractions"])
    def test_ctrl_c(self, name, tmp_path, capsys, monkeypatch):
        """Stopped in the middle of the third epoch; then the same history as without the interruption."""
        monkeypatch.setitem(training.PLANS["quick"], "unet", TINY["unet"])
        evaluate, calls = training.Blender.evaluate, []

        def impatient(self, *args, **kwargs):
            calls.append(1)
            if len(calls) == 3 + 3 * (name == "blend2mask2flux"):
                raise KeyboardInterrupt
            return evaluate(self, *args, **kwargs)

        monkeypatch.setattr(training.Blender, "evaluate", impatient)
        with pytest.raises(KeyboardInterrupt):
            train_here(name, tmp_path / "stopped")
        assert f"{name}: stopped after epoch 2; the same call goes on from there." in capsys.readouterr().out
        assert len(training.history(tmp_path / "stopped")) == 2
        train_here(name, tmp_path / "stopped")
        assert "epoch 3 of 3" in capsys.readouterr().out
        train_here(name, tmp_path / "whole")
        assert numbers(tmp_path / "stopped") == numbers(tmp_path / "whole")

    def test_a_write_that_fails_leaves_the_last_epoch(self, tmp_path, monkeypatch):
        def full(*_):
            raise OSError("no space left on device")

        stop_after(monkeypatch, 2)
        with pytest.raises(KeyboardInterrupt):
            train_here("blend2flux", tmp_path)
        monkeypatch.undo()
        monkeypatch.setattr(training.os, "fsync", full)
        with pytest.raises(OSError, match="no space"):
            train_here("blend2flux", tmp_path)
        monkeypatch.undo()
        shown = []
        train_here("blend2flux", tmp_path, progress=lambda history: shown.append(history["epoch"]))
        assert shown == [[1, 2, 3]]

    def test_two_machines(self, tmp_path, monkeypatch):
        """A run that goes on elsewhere names both, each once."""
        stop_after(monkeypatch, 2)
        with pytest.raises(KeyboardInterrupt):
            train_here("blend2flux", tmp_path)
        monkeypatch.undo()
        here = training._hardware()
        monkeypatch.setattr(training, "_hardware", lambda: "another machine")
        train_here("blend2flux", tmp_path)
        card = json.loads((tmp_path / "blend2flux.json").read_text(encoding="utf-8"))
        assert card["hardware"] == f"{here} and another machine"

    def test_a_finished_run_returns_at_once(self, tmp_path, capsys, monkeypatch):
        network = train_here("blend2flux", tmp_path)
        capsys.readouterr()
        monkeypatch.setattr(training, "_run_epochs", None)
        again = train_here("blend2flux", tmp_path)
        assert capsys.readouterr().out == ""
        for mine, theirs in zip(network.get_weights(), again.get_weights(), strict=True):
            assert_array_equal(mine, theirs)

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"seed": 4}, "seed 3, but seed 4"),
            ({"profile": "tutorial"}, "profile quick, but profile tutorial"),
            ({"rate": 1e-4}, "plan: rate 0.005, but plan: rate 0.0001"),
            ({"train": 1}, "training sample"),
            ({"valid": 1}, "validation sample"),
            ({"start": 1}, "start none, but start"),
        ],
    )
    def test_another_run_is_refused(self, make_sample, tmp_path, change, told, monkeypatch):
        stop_after(monkeypatch, 1)
        with pytest.raises(KeyboardInterrupt):
            train_here("blend2flux", tmp_path)
        train, valid = sides(make_sample)
        train = train[: len(train) - 1] if "train" in change else train
        valid = valid[: len(valid) - 1] if "valid" in change else valid
        plan = dataclasses.replace(TINY["blend2flux"], rate=change.get("rate", 5e-3))
        start = models.blend2flux(4, shape=SHAPE) if "start" in change else None
        with pytest.raises(ValueError, match=told) as error:
            bk.train("blend2flux", train, valid, change.get("profile", "quick"), change.get("seed", 3), tmp_path,
                     plan=plan, start=start)  # fmt: skip
        assert "delete the folder" in sentence(error)

    def test_a_damaged_state(self, tmp_path):
        (tmp_path / "checkpoint.npz").write_bytes(b"PK nonsense")
        with pytest.raises(ValueError, match="cannot be read") as error:
            train_here("blend2flux", tmp_path)
        sentence(error)


def stop_after(monkeypatch, epochs):
    """Interrupt the run when it wants to begin another epoch."""
    rate = training._rate

    def impatient(plan, state):
        if state.epoch == epochs:
            raise KeyboardInterrupt
        return rate(plan, state)

    monkeypatch.setattr(training, "_rate", impatient)


class TestSchedule:
    def run(self, plan, losses):
        """Rates of the epochs until the plan ends."""
        state, rates = training._State(plan.rate), []
        for loss in losses:
            if state.ended(plan):
                break
            rates.append(training._rate(plan, state))
            training._advance(state, plan, {"val_loss": loss})
        return state, rates

    def test_plateau(self):
        plan = dataclasses.replace(TINY["unet"], epochs=100, rate=1.0)
        state, rates = self.run(plan, [3.0, 2.0, *[2.0] * 50])
        assert rates == [1.0] * 6 + [0.5] * 4 + [0.25] * 2
        assert state.flat == 10
        assert state.best == 2.0

    def test_progress_counts_anew(self):
        plan = dataclasses.replace(TINY["unet"], epochs=100, rate=1.0)
        _, rates = self.run(plan, [2.0, *[2.0] * 9, 1.0, *[1.5] * 50])
        assert len(rates) == 1 + 9 + 1 + 10
        assert rates[-1] == 2.0**-4

    def test_the_last_epoch(self):
        _, rates = self.run(dataclasses.replace(TINY["unet"], epochs=5), 1 / np.arange(1, 50))
        assert len(rates) == 5

    def test_cosine(self):
        plan = dataclasses.replace(TINY["fractions"], epochs=40, rate=1.0)
        _, rates = self.run(plan, np.ones(100))
        assert len(rates) == 40
        assert_allclose(rates[:3], [1 / 3, 2 / 3, 1])
        assert (np.diff(rates[2:]) < 0).all()
        assert 0 < rates[-1] < 0.01

    def test_the_optimiser_gets_the_rate(self, tmp_path, monkeypatch):
        monkeypatch.setattr(training, "_rate", lambda plan, state: 1e-3 / (state.epoch + 1))
        train_here("blend2flux", tmp_path)
        assert_allclose(training.history(tmp_path)["learning_rate"], [1e-3, 1e-3 / 2, 1e-3 / 3])

    def test_a_rate_of_nothing_changes_nothing(self, tmp_path, monkeypatch):
        monkeypatch.setattr(training, "_rate", lambda plan, state: 0.0)
        train_here("blend2flux", tmp_path)
        losses = training.history(tmp_path)["val_loss"]
        assert len(set(losses)) == 1

    def test_best_weights_are_kept(self, two, tmp_path, monkeypatch):
        """The third epoch is bad; what is returned scores as the second did."""
        evaluate, calls = training.Blender.evaluate, []

        def unlucky(self, *args, **kwargs):
            calls.append(1)
            scores = evaluate(self, *args, **kwargs)
            return scores | {"loss": scores["loss"] + 100 * (len(calls) == 3)}

        monkeypatch.setattr(training.Blender, "evaluate", unlucky)
        network = train_here("blend2flux", tmp_path)
        history = training.history(tmp_path)
        assert history["val_loss"][2] > history["val_loss"][1]
        blends = bk.draw_blends(two[1], 16, seed=np.random.default_rng([3, 0]))
        images, _, fluxes = bk.render(two[1], blends)
        got = ops.convert_to_numpy(network(images[..., None]))
        assert_allclose(100 * np.abs(got / fluxes - 1).mean(), history["val_loss"].min(), rtol=1e-4)
        assert json.loads((tmp_path / "blend2flux.json").read_text())["best_epoch"] == 2


class TestMuon:
    """One step of the optimiser of fractions."""

    def step(self, shape, gradient, rate=0.01):
        variable = keras.Variable(np.zeros(shape, "f4"))
        optimizer = training.Muon(rate, weight_decay=None)
        optimizer.apply([ops.convert_to_tensor(gradient.astype("f4"))], [variable])
        return ops.convert_to_numpy(variable)

    @pytest.mark.parametrize("shape", [(3, 3, 8, 6), (1, 1, 12, 20), (30, 10)])
    def test_every_direction_of_a_kernel_takes_the_same_step(self, shape):
        """Also those whose gradient is a thousand times smaller."""
        rng = np.random.default_rng(1)
        n, m = int(np.prod(shape[:-1])), shape[-1]
        u, _, v = np.linalg.svd(rng.normal(size=(n, m)), full_matrices=False)
        gradient = (u * np.geomspace(1, 1e-3, min(n, m))) @ v
        moved = self.step(shape, gradient.reshape(shape)).reshape(n, m)
        along = -np.einsum("nk,nm,km->k", u, moved, v)
        step = 0.01 * 0.2 * np.sqrt(max(n, m))  # root mean square of the elements: about 0.2 times the rate
        assert (along > 0.15 * step).all()
        assert (along < 1.3 * step).all()
        assert along.max() < 10 * along.min()

    def test_the_size_of_a_gradient_does_not_matter(self):
        gradient = np.random.default_rng(2).normal(size=(3, 3, 8, 6))
        moved = self.step(gradient.shape, gradient)
        assert_allclose(self.step(gradient.shape, 1e-3 * gradient), moved, atol=1e-3 * np.abs(moved).max())

    def test_a_bias_takes_the_step_of_adam(self):
        gradient = np.array([3.0, -0.2, 0.5])
        assert_allclose(self.step((3,), gradient), -0.01 * np.sign(gradient), rtol=1e-4)


class TestStart:
    def test_unet_comes_first(self, two, tmp_path, capsys, monkeypatch):
        monkeypatch.setitem(training.PLANS["quick"], "unet", TINY["unet"])
        network = train_here("blend2mask2flux", tmp_path)
        said = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()]
        assert said == ["unet"] * 3 + ["blend2mask2flux"] * 3
        unet = weights.load(tmp_path / "unet")[0]
        assert not np.array_equal(network.get_layer("unet").get_weights()[0], unet.get_weights()[0])

    @pytest.mark.parametrize("how", ["network", "folder"])
    def test_from_a_unet(self, two, tmp_path, how, monkeypatch):
        unet = train_here("unet", tmp_path / "unet")
        monkeypatch.setattr(training, "_rate", lambda plan, state: 0.0)
        plan = dataclasses.replace(TINY["blend2mask2flux"], epochs=1)
        start = unet if how == "network" else tmp_path / "unet"
        network = bk.train("blend2mask2flux", *two, "quick", 3, tmp_path / "both", start=start, plan=plan)
        for mine, theirs in zip(network.get_layer("unet").get_weights(), unet.get_weights(), strict=True):
            assert_array_equal(mine, theirs)
        card = json.loads((tmp_path / "both" / "blend2mask2flux.json").read_text())
        assert card["start"]["name"] == "unet"
        assert "fine_tuned" not in card

    @pytest.mark.parametrize("how", ["network", "folder"])
    def test_fine_tuning(self, two, make_sample, tmp_path, how):
        """Other galaxies, from weights trained before: it begins where these ended, and the card names both."""
        network = train_here("blend2flux", tmp_path / "first")
        others = sides(make_sample, seed=5)
        start = network if how == "network" else tmp_path / "first"
        plan = TINY["blend2flux"]
        bk.train("blend2flux", *others, "quick", 3, tmp_path / "tuned", start=start, plan=plan)
        first, tuned = (training.history(tmp_path / name)["loss"] for name in ("first", "tuned"))
        assert tuned[0] < first[0]
        card = json.loads((tmp_path / "tuned" / "blend2flux-finetuned.json").read_text())
        assert card["fine_tuned"] is True
        assert card["start"]["name"] == "blend2flux"
        seen = {digest for sample in (*two, *others) for digest in sample.fingerprints.values()}
        assert set(card["galaxies"]) == seen

    def test_other_sizes_are_refused(self, two, tmp_path):
        with pytest.raises(ValueError, match="expected a blend2flux with") as error:
            bk.train("blend2flux", *two, "quick", 3, tmp_path, start=models.blend2flux(5, shape=SHAPE),
                     plan=TINY["blend2flux"])  # fmt: skip
        sentence(error)

    def test_initial_weights_follow_the_seed(self, two):
        first, same, other = (training._build("unet", TINY["unet"], two[0], seed) for seed in (1, 1, 2))
        assert_array_equal(first.get_weights()[0], same.get_weights()[0])
        assert not np.array_equal(first.get_weights()[0], other.get_weights()[0])


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            ({"model_name": "resnet"}, "the network 'resnet' was asked for, expected one of blend2flux, unet"),
            ({"profile": "huge"}, "the profile 'huge' was asked for"),
            ({"seed": -1}, "seed = -1 was given, expected a whole number"),
            ({"seed": "x"}, "seed = 'x' was given"),
            ({"train": None}, "the training sample is a NoneType, expected a Sample"),
            ({"valid": "valid"}, "the validation sample is a str"),
            ({"start": "nowhere"}, "there are no weights called 'nowhere'"),
            ({"plan": {"epochs": 1}}, "plan = {'epochs': 1} was given, expected a Plan"),
        ],
    )
    def test_arguments(self, two, tmp_path, arguments, told):
        given = {"model_name": "unet", "train": two[0], "valid": two[1], "profile": "quick", "out": tmp_path}
        with pytest.raises((ValueError, FileNotFoundError), match=re.escape(told)) as error:
            bk.train(**given | arguments)
        if "start" not in arguments:
            sentence(error)
        assert not list(tmp_path.iterdir())

    def test_shared_galaxies(self, two, tmp_path):
        with pytest.raises(ValueError, match="2 galaxies are in both the training and the validation") as error:
            bk.train("unet", two[0], two[0][:2], "quick", out=tmp_path)
        sentence(error)

    def test_galaxies_without_fluxes(self, two, tmp_path):
        raw = dataclasses.replace(two[0], catalog=two[0].catalog.copy())
        raw.catalog.remove_column("flux_auto")
        with pytest.raises(ValueError, match="the training sample has no flux_auto") as error:
            bk.train("unet", raw, two[1], "quick", out=tmp_path)
        sentence(error)

    def test_zeropoints_that_differ(self, two, tmp_path):
        other = dataclasses.replace(two[1], zeropoint=20.0)
        with pytest.raises(ValueError, match=r"the zeropoint is 25\.96 in training and 20\.0 in validation") as error:
            bk.train("unet", two[0], other, "quick", out=tmp_path)
        sentence(error)

    @pytest.mark.parametrize("content", [b"", b"no archive"])
    def test_a_damaged_checkpoint(self, two, tmp_path, content):
        (tmp_path / "checkpoint.npz").write_bytes(content)
        with pytest.raises(ValueError, match="cannot be read as the state of a training run") as error:
            bk.train("unet", *two, "quick", out=tmp_path)
        sentence(error)

    def test_too_small(self, two, tmp_path):
        with pytest.raises(ValueError, match="the validation sample has 1 galaxy, expected at least 2") as error:
            bk.train("unet", two[0], two[1][:1], "quick", out=tmp_path)
        sentence(error)

    def test_no_pair(self, make_sample, tmp_path):
        train = make_sample(2, SHAPE, mags=[18, 23])
        with pytest.raises(ValueError, match="no pair among the 2 galaxies") as error:
            bk.train("blend2flux", train, sides(make_sample)[1], "quick", out=tmp_path, plan=TINY["blend2flux"])
        sentence(error)

    def test_shapes_that_differ(self, two, make_sample, tmp_path):
        with pytest.raises(ValueError, match="32 x 32 pixels and the validation stamps 64 x 64") as error:
            bk.train("unet", two[0], make_sample(4, (64, 64), seed=9), "quick", out=tmp_path)
        sentence(error)

    @pytest.mark.parametrize("name", TINY)
    def test_a_shape_that_no_network_takes(self, name, make_sample, tmp_path):
        train, valid = bk.split(make_sample(6, (50, 50)), (0.5, 0.5))
        start = models.unet(3, 4, shape=SHAPE) if name == "blend2mask2flux" else None
        with pytest.raises(ValueError, match="50") as error:
            bk.train(name, train, valid, "quick", out=tmp_path, start=start)
        sentence(error)

    def test_paper_without_gpu(self, two, tmp_path, monkeypatch):
        monkeypatch.setattr(training, "has_gpu", lambda: False)
        with pytest.raises(training.TrainingError, match="the paper profile needs a GPU") as error:
            bk.train("unet", *two, "paper", out=tmp_path)
        assert "allow_cpu=True" in sentence(error)
        bk.train("unet", *two, "paper", out=tmp_path, allow_cpu=True, plan=dataclasses.replace(TINY["unet"], epochs=1))

    def test_nan(self, tmp_path, monkeypatch):
        """A loss that is lost in the third epoch: advice, and the second epoch's state is kept."""
        rate = training._rate
        monkeypatch.setattr(training, "_rate", lambda plan, state: np.nan if state.epoch == 2 else rate(plan, state))
        with pytest.raises(training.TrainingError, match=r"the loss of blend2flux is .*nan.* after epoch 3") as error:
            train_here("blend2flux", tmp_path)
        assert "epochs 1 to 2 are kept" in sentence(error)
        monkeypatch.undo()
        shown = []
        train_here("blend2flux", tmp_path, progress=lambda history: shown.append(history["epoch"]))
        assert shown == [[1, 2, 3]]

    def test_no_history(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="expected the folder of a run") as error:
            training.history(tmp_path)
        sentence(error)

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"blends": 30}, "blends = 30 was given in a plan with batches of 8, expected a multiple of it: use 32"),
            ({"epochs": 0}, "epochs = 0"),
            ({"rate": -1.0}, "rate = -1.0"),
            ({"schedule": "linear"}, "schedule = 'linear'"),
            ({"optimizer": "sgd"}, "optimizer = 'sgd' was given in a plan, expected 'adam' or 'muon'"),
            ({"close": 1.5}, "close = 1.5 was given in a plan, expected a share of the blends from 0 to 1"),
            ({"close": float("nan")}, "close = nan"),
        ],
    )
    def test_plans(self, change, told):
        with pytest.raises(ValueError, match=re.escape(told)) as error:
            dataclasses.replace(TINY["unet"], **change)
        sentence(error)


class TestWhatIsWritten:
    def test_errors_are_calibrated_on_many_blends_of_the_validation_sample(self, two, tmp_path, monkeypatch):
        """With the few that choose the best epoch, chance decides the size of the errors."""
        calls = []
        monkeypatch.setattr(fractions, "calibrate", lambda network, layer, recipe: calls.append((layer, recipe)))
        train_here("fractions", tmp_path, epochs=1)
        ((layer, recipe),) = calls
        assert set(layer.sample.catalog["id"]) == set(two[1].catalog["id"])
        assert len(recipe["rows"]) == len(recipe["told"]) == 8 * TINY["fractions"].valid
        assert (recipe["told"] == fractions.UNTOLD).all()

    def test_history_and_card(self, two, tmp_path):
        seen = []
        network = train_here("blend2mask2flux", tmp_path, progress=seen.append, epochs=2)
        seen = [history for history in seen if "mape_central" in str(history)]
        table = training.history(tmp_path)
        parts = ["mape_central", "mape_companion", "bce"]
        assert table.colnames == ["epoch", "loss", "val_loss", *parts, *(f"val_{p}" for p in parts), "learning_rate",
                                  "seconds", "images_per_second"]  # fmt: skip
        assert len(seen) == 2
        assert seen[-1] == {name: table[name].tolist() for name in table.colnames}
        with open(tmp_path / "history.csv", newline="") as file:
            assert len(list(csv.reader(file))) == 3
        card = json.loads((tmp_path / "blend2mask2flux.json").read_text(encoding="utf-8"))
        assert card["architecture"] == "blend2mask2flux"
        assert models.BUILDERS[card["architecture"]](**card["arguments"]).count_params() == network.count_params()
        assert (card["profile"], card["seed"], card["sample"]) == ("quick", 3, "Gaussians")
        assert set(card["galaxies"]) == {d for sample in two for d in sample.fingerprints.values()}
        assert set(card["versions"]) == {"blendkit", "keras", "backend", "numpy", "python"}
        assert card["versions"]["backend"].split()[0] == keras.backend.backend()
        assert card["hardware"]
        assert card["seconds"] > 0
        assert card["epochs"] == 2
        assert card["history"] == seen[-1]
        assert sorted(p.name for p in tmp_path.iterdir()) == [
            "blend2mask2flux.json", "blend2mask2flux.weights.h5", "checkpoint.npz", "history.csv", "unet"
        ]  # fmt: skip

    @pytest.mark.parametrize("profile", ["quick", "tutorial"])
    @pytest.mark.parametrize("name", TINY)
    def test_small_variants_stay_below_a_million_parameters(self, name, profile):
        assert models.BUILDERS[name](**training.plan_of(name, profile).arguments).count_params() < 1e6

    def test_the_paper_profile_is_of_full_size(self):
        sizes = {n: training.plan_of(n, "paper") for n in TINY}
        assert all(plan.blends == 25_000 for plan in sizes.values())
        assert sizes["blend2flux"].arguments == {"filters": 256}
        assert sizes["unet"].arguments == {"depth": 5, "filters": 32}
        assert sizes["blend2mask2flux"].arguments == {}

    def test_mixed_precision(self, two, tmp_path, monkeypatch):
        """As on a GPU: half precision inside, the network that comes back is in float32 as ever."""
        monkeypatch.setattr(training, "has_gpu", lambda: True)
        policy = keras.config.dtype_policy().name
        network = train_here("unet", tmp_path, 2)
        assert {layer.dtype_policy.name for layer in network.layers} == {"float32"}
        losses = training.history(tmp_path)["loss"]
        assert losses[1] < losses[0]
        assert keras.config.dtype_policy().name == policy

    def test_live_curve_in_a_notebook(self, tmp_path, monkeypatch):
        """One widget, displayed once; in the end its picture is that of all epochs."""
        import IPython.display

        shown = []

        def keep(curve):
            shown.append((len(curve.history["epoch"]), curve._repr_mimebundle_()[0]["image/png"]))

        def display(curve, display_id):
            keep(curve)
            return types.SimpleNamespace(update=keep)

        monkeypatch.setattr(training, "_looked_at", lambda: True)
        monkeypatch.setattr(IPython.display, "display", display)
        train_here("blend2flux", tmp_path, 3)
        assert [n for n, _ in shown] == [1, 3]
        assert shown[0][1] != shown[1][1]


def test_what_started_a_run_is_not_forgotten(make_sample, tmp_path):
    """Galaxies and seeds of a loaded network are on the card of what was fine-tuned from it."""
    train, valid, other, more = bk.split(make_sample(16, SHAPE, sigma=1.5), (0.25,) * 4, seed=1)
    plan = dataclasses.replace(TINY["blend2flux"], epochs=np.int64(1))
    first = bk.train("blend2flux", train, valid, "quick", np.int64(1), tmp_path / "first", plan=plan)
    weights.save(first, tmp_path / "known", "first", weights.card_of(first) | {"seeds": [7]})
    start, _ = weights.load(tmp_path / "known")
    second = weights.card_of(
        bk.train("blend2flux", other, more, "quick", 1, tmp_path / "second", plan=plan, start=start)
    )
    assert second["seeds"] == [7]
    for sample in (train, valid, other, more):
        assert set(sample.fingerprints.values()) <= set(second["galaxies"])
