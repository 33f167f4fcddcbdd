"""Training: losses fall on every backend, interrupted runs go on, and what cannot work says so in one sentence."""

import importlib.util
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from conftest import gaussian_sample, refused, same_weights
from numpy.testing import assert_allclose, assert_array_equal

import blendkit as bk
from blendkit.networks.backend import load_keras

keras = load_keras()

from blendkit.networks import builders, fractions, training, weights  # noqa: E402
from blendkit.networks.training import Plan  # noqa: E402

SHAPE = (32, 32)
COSINE = 0.5 + 0.5 * np.cos(np.pi * np.arange(38) / 38)
TINY = {
    "blend2flux": Plan({"filters": 4}, 64, 16, 6, batch=8, rate=5e-3),
    "unet": Plan({"depth": 3, "filters": 4}, 64, 16, 3, batch=8, rate=5e-3),
    "blend2mask2flux": Plan({"depth": 3, "filters": 4, "flux_filters": 4, "dense": 8}, 64, 16, 3, batch=8, rate=5e-3),
    "fractions": Plan({"width": 4}, 64, 16, 3, batch=8, rate=5e-3, schedule="cosine"),
}


def sides(**more):
    return bk.split(gaussian_sample(12, SHAPE, sigma=1.5, **more), (0.6, 0.4), seed=1)


def train_here(name, out, progress=None, start=None, samples=None, **changes):
    options = {"plan": replace(TINY[name], **changes), "start": start, "progress": progress}
    return bk.train(name, *(samples or sides()), "quick", 3, out, **options)


def start_script(code, **environment):
    """Python in another process, where this file is the module `t`."""
    folders = [str(folder) for folder in Path(__file__).resolve().parents[:2]]
    code = f"import sys; sys.path[:0] = {folders}; import test_training as t\n{code}"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code], env=os.environ | environment, **pipes)


def answers(network):
    images = np.random.default_rng(0).normal(0, 0.5, (3, *SHAPE)).astype("f4")
    outputs = builders.as_dict(network.predict(images[..., None], verbose=0))
    return outputs | {"measured": np.asarray(bk.deblenders.Network(network)(images)["flux"])}


def interrupted(name, out, after, **more):
    """A run that is stopped with Ctrl-C once so many epochs are kept."""
    with pytest.raises(KeyboardInterrupt):
        train_here(name, out, Mock(side_effect=[None] * (after - 1) + [KeyboardInterrupt]), **more)


def assert_same_run(one, other):
    """The networks are the same, and the histories in both folders but for what depends on the clock."""
    assert same_weights(one[0], other[0])
    here, there = (training.history(folder) for _, folder in (one, other))
    assert all((here[name] == there[name]).all() for name in here.colnames[:-2])


two = pytest.fixture(scope="module")(lambda: sides())


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Each network after a few steps, with its folder; the U-Net is the one that blend2mask2flux starts from."""
    out = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(training.PLANS["quick"], "unet", TINY["unet"])
        made = {name: (train_here(name, out / name), out / name) for name in TINY if name != "unet"}
    folder = out / "blend2mask2flux" / "unet"
    return made | {"unet": (weights.load(folder)[0], folder)}


@pytest.fixture
def pretended(monkeypatch):
    """Nothing is computed: what `fit` and `evaluate` get is kept, and `losses` are those of the validation."""
    kept = SimpleNamespace(trained=[], checked=[], losses=[1.0] * 50)

    def keep(x, where):
        if keras.backend.backend() == "tensorflow":
            assert not x.options().autotune.enabled, "a tuner holds up the end of an epoch by up to the epoch's time"
            x = {key: np.concatenate([batch[key] for batch in x]) for key in ("rows", "told", "worlds", "blended")}
        where.append(x)

    def fit(self, x, **_):
        keep(x, kept.trained)
        return SimpleNamespace(history={name: [1.0] for name in ("loss", *self.means)})

    def evaluate(self, x, **_):
        keep(x, kept.checked)
        return dict.fromkeys(self.means, 1.0) | {"loss": kept.losses[len(kept.checked) - 1]}

    monkeypatch.setattr(training.Blender, "fit", fit)
    monkeypatch.setattr(training.Blender, "evaluate", evaluate)
    return kept


class TestRuns:
    @pytest.mark.parametrize("name", TINY)
    def test_the_loss_falls(self, first, name):
        losses = training.history(first[name][1])["loss"]
        assert losses[-1] < losses[0]

    @pytest.mark.parametrize("backend", ["jax", "torch"])
    def test_another_backend_trains_and_answers_with_these_weights(self, first, tmp_path, backend):
        if importlib.util.find_spec(backend) is None:
            pytest.skip(f"{backend} is not installed")
        code = f"""
assert t.keras.backend.backend() == {backend!r}
for name, folder in { ({name: str(out) for name, (_, out) in first.items()})!r}.items():
    t.np.savez(f"{tmp_path}/{{name}}", **t.answers(t.weights.load(folder)[0]))
    if name != "unet":
        t.train_here(name, t.Path("{tmp_path}", name))
"""
        process = start_script(code, KERAS_BACKEND=backend, XLA_FLAGS="--xla_backend_optimization_level=0")
        _, trouble = process.communicate()
        assert process.returncode == 0, trouble
        for name, (network, _) in first.items():
            there = np.load(tmp_path / f"{name}.npz")
            for key, here in answers(network).items():
                assert_allclose(there[key], here, rtol=1e-4, atol=1e-4 * np.abs(here).max(), err_msg=f"{name} {key}")
            if name != "unet":
                self.test_the_loss_falls({name: (None, tmp_path / name)}, name)

    def test_a_bad_last_epoch_is_not_what_comes_back(self, tmp_path, monkeypatch):
        evaluate, losses = training.Blender.evaluate, iter([3.0, 2.0, 5.0])
        two_epochs = train_here("blend2flux", tmp_path / "two", epochs=2, usual=1.0)
        monkeypatch.setattr(training.Blender, "evaluate", lambda *a, **k: evaluate(*a, **k) | {"loss": next(losses)})
        three_epochs = train_here("blend2flux", tmp_path / "three", epochs=3, usual=1.0)
        assert same_weights(three_epochs, two_epochs)
        assert weights.card_of(three_epochs)["best_epoch"] == 2

    def test_history_and_card(self, first, two):
        network, out = first["blend2mask2flux"]
        table, card = training.history(out), weights.card_of(network)
        parts = "mape_central mape_companion bce val_mape_central val_mape_companion val_bce"
        assert " ".join(table.colnames) == f"epoch loss val_loss {parts} learning_rate seconds images_per_second"
        assert table["epoch"].tolist() == [1, 2, 3]
        expected = {"profile": "quick", "seed": 3, "sample": "Gaussians", "epochs": 3, "n_galaxies": 12}
        assert card.items() >= (expected | {"hardware": training.hardware(), "seeds": [], "simulated": {}}).items()
        assert all(weights.was_seen(card, sample.fingerprints) == list(sample.fingerprints) for sample in two)
        assert card["versions"]["backend"].split()[0] == keras.backend.backend()
        assert_allclose(card["seconds"], table["seconds"].sum(), atol=0.1)
        assert_allclose(card["history"]["val_loss"], table["val_loss"], rtol=1e-4)

    def test_mixed_precision(self, tmp_path, monkeypatch):
        """As on a GPU: half precision inside, the network that comes back is in float32 as ever."""
        monkeypatch.setattr(training, "has_gpu", lambda: True)
        network = train_here("unet", tmp_path, epochs=2)
        assert {layer.dtype_policy.name for layer in network.layers} == {"float32"}
        assert keras.config.dtype_policy().name == "float32"
        self.test_the_loss_falls({"unet": (network, tmp_path)}, "unet")

    @pytest.mark.parametrize("how", ["network", "folder"])
    def test_blend2mask2flux_goes_on_with_a_unet(self, first, tmp_path, how, pretended):
        """With one that is given, or one trained first."""
        unet, folder = first["unet"]
        network = train_here("blend2mask2flux", tmp_path, start=folder if how == "folder" else unet, epochs=1)
        assert same_weights(network.get_layer("unet"), unet)
        trained, _ = first["blend2mask2flux"]
        assert not same_weights(trained.get_layer("unet"), unet)
        for card in map(weights.card_of, (network, trained)):
            assert (card["start"]["name"], "fine_tuned" in card) == ("unet", False)

    def test_fine_tuning(self, first, two, tmp_path):
        """Other galaxies, from weights trained before: it begins where these ended, and the card tells of both."""
        (network, out), others = first["blend2flux"], sides(seed=5)
        weights.save(network, tmp_path / "known", "first", weights.card_of(network) | {"seeds": [7]})
        network = train_here("blend2flux", tmp_path, start=tmp_path / "known", samples=others, epochs=1)
        card = weights.card_of(network)
        assert training.history(tmp_path)["loss"][0] < training.history(out)["loss"][0]
        assert (card["name"], card["fine_tuned"]) == ("blend2flux-finetuned", True)
        assert (card["start"]["name"], card["seeds"]) == ("first", [7])
        seen = [weights.was_seen(card, sample.fingerprints) for sample in (*two, *others)]
        assert sum(map(len, seen)) == card["n_galaxies"] == 24


class TestLoss:
    def test_fluxes_and_masks(self):
        """Equation 1 of each galaxy; binary cross-entropy as in Keras; masks weigh 100, as errors are in percent."""
        rng, network = np.random.default_rng(0), bk.models.blend2mask2flux(3, 2, 2, 4, shape=SHAPE)
        blend = {"image": rng.normal(size=(3, *SHAPE)), "fluxes": rng.uniform(1, 5, (3, 2))}
        blend |= {"masks": rng.random((3, *SHAPE, 2)) < 0.3}
        blend = {key: value.astype("f4") for key, value in blend.items()}
        got, out = training.paper_loss(network, blend, False), network(blend["image"][..., None])
        error = 100 * np.abs(out["fluxes"] - blend["fluxes"]) / blend["fluxes"]
        bce = np.asarray(keras.losses.binary_crossentropy(blend["masks"], out["masks"])).mean((1, 2))
        alone = training.paper_loss(network.get_layer("unet"), blend, False)
        expected = {"mape_central": error[:, 0], "mape_companion": error[:, 1], "bce": bce}
        expected |= {"loss": np.mean(error, axis=1) + 100 * bce}
        for given, values in ((got, expected), (alone, {"bce": bce, "loss": bce})):
            assert given.keys() == values.keys()
            for key, value in values.items():
                assert_allclose(given[key], value, rtol=1e-4)

    def test_it_gets_what_render_gives(self, two):
        """Blends of the one sample in training, of the other in evaluation."""
        seen = {}

        def loss(network, blend, training):
            seen.update(blend)
            return {"loss": blend["fluxes"][:, 0], "second": blend["fluxes"][:, 1]}

        here, there = (training.BlendLayer(sample) for sample in two)
        for layer in (here, there):
            blends = bk.draw_blends(layer.sample, 8)
            shapes = {"worlds": (8, 4), "chance": (8, 10), "told": (8, 2, 2), "inside": (8, 2), "blended": 8}
            recipe = layer.recipe(blends) | {name: np.zeros(shape, "f4") for name, shape in shapes.items()}  # no noise
            blender = training.Blender(bk.models.unet(2, 1, shape=SHAPE), here, loss, recipe, there)
            blender(recipe, training=layer is here)
            images, masks, fluxes = bk.render(layer.sample, blends)
            expected = {"image": images, "parts": bk.render_parts(layer.sample, blends), "masks": masks.astype("f4")}
            for name, value in (expected | {"fluxes": fluxes}).items():
                assert_array_equal(seen[name], value, strict=True)
            assert_array_equal([seen["dy"], seen["dx"]], [blends["dy"], blends["dx"]])
        blender.compile()
        scores = blender.evaluate(recipe, batch_size=5, verbose=0, return_dict=True)
        assert scores == pytest.approx({"loss": fluxes[:, 0].mean(), "second": fluxes[:, 1].mean()}, rel=1e-5)


class TestRecipes:
    """Rows that are trained on: galaxy, dy, dx, orientation and sky of each member."""

    @pytest.mark.parametrize(("fresh", "least", "most"), [(True, 181, 192), (False, 1, 64)])
    def test_fresh_for_each_epoch_or_not(self, two, tmp_path, pretended, fresh, least, most):
        """Those of the validation are the same in every epoch."""
        train_here("blend2flux", tmp_path, samples=two, fresh=fresh, epochs=3)
        rows = np.concatenate([each["rows"].reshape(64, -1) for each in pretended.trained])
        assert least <= len(np.unique(rows, axis=0)) <= most
        assert all((each["rows"] == pretended.checked[0]["rows"]).all() for each in pretended.checked)

    @pytest.mark.parametrize("close", [0.0, 0.5, 1.0])
    def test_a_share_of_them_close(self, two, tmp_path, pretended, close):
        """Among the others in any order; those of the validation lie as they always do."""
        train_here("blend2flux", tmp_path, samples=two, epochs=1, close=close, blends=800, valid=800)
        limit = 1.5 * two[0].catalog["r_eff"][0]
        rows = [kept[0]["rows"][:, 1] - kept[0]["rows"][:, 0] for kept in (pretended.trained, pretended.checked)]
        trained, checked = (np.hypot(each[:, 1], each[:, 2]) <= limit + 0.75 for each in rows)
        assert 0.3 < checked.mean() < 0.5
        expected = close + (1 - close) * checked.mean()
        assert [trained[:400].mean(), trained[400:].mean()] == pytest.approx([expected] * 2, abs=0.06)

    def test_fractions_is_told_in_training_only_and_calibrated_on_many(self, two, tmp_path, monkeypatch, pretended):
        """With the few blends that choose the best epoch, chance would decide the size of the errors."""
        monkeypatch.setattr(training, "calibrate", calibrate := Mock())
        train_here("fractions", tmp_path, samples=two, epochs=1)
        blender, recipe, _ = calibrate.call_args.args
        assert blender.valid.sample is two[1]
        assert len(recipe["rows"]) == 8 * TINY["fractions"].valid
        for each, told in ((pretended.trained[0], True), (pretended.checked[0], False), (recipe, False)):
            share = (each["told"] != fractions.UNTOLD).any(axis=(1, 2)).mean()
            assert share == pytest.approx(0.5 * told, abs=0.2 * told), "half of them are told where to look"

    @pytest.mark.parametrize("name", ["blend2flux", "fractions"])
    def test_worlds_differ_and_so_do_the_numbers_of_galaxies(self, two, tmp_path, monkeypatch, pretended, name):
        """The paper's networks know pairs; ours meets lone galaxies, and scenes of up to six."""
        monkeypatch.setattr(training, "calibrate", Mock())
        train_here(name, tmp_path, samples=two, epochs=1, blends=800)
        rows, worlds = pretended.trained[0]["rows"], pretended.trained[0]["worlds"]
        assert len(np.unique(worlds[:, 0])) == 800
        off = np.abs(rows[:, 0, 1:3]).max(axis=1)
        assert off.max() == 2
        assert 0.03 < np.mean(off > 0) < 0.25  # not where a close companion would then be nearer to the centre
        at = np.where(rows[..., 0] < 0, np.inf, np.hypot(rows[..., 1], rows[..., 2]))
        assert (at.argmin(axis=1) == 0).all()
        members, companion = (rows[..., 0] >= 0).sum(axis=1), rows[:, 1, 0] >= 0
        if name == "blend2flux":
            assert (members == 2).all()
            return
        assert [np.mean(members == 1), 1 - companion.mean(), np.mean(members > 2)] == pytest.approx(
            [0.14, 0.18, 0.3], abs=0.05
        )
        assert members.max() > 4
        apart = np.hypot(rows[:, 1, 1] - rows[:, 0, 1], rows[:, 1, 2] - rows[:, 0, 2])
        blended = pretended.trained[0]["blended"] > 0
        assert (apart[blended & (members == 2)] < 0.5 * np.max(two[0].catalog["r_eff"])).all()
        assert 0 < blended.mean() < 0.2


class TestInterruption:
    def test_killed_half_way(self, first, tmp_path):
        """SIGKILL during an epoch: the next call goes on with the epoch that was running, to the same end."""
        out = tmp_path / "run"
        process = start_script(f"t.train_here('blend2flux', t.Path({str(out)!r}))")
        lines = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGKILL)
        _, trouble = process.communicate()
        assert "epoch 3 of 6" in lines[-1], trouble
        done = len(training.history(out))
        assert 3 <= done < 6
        shown = []
        network = train_here("blend2flux", out, lambda history: shown.append(len(history["epoch"])))
        assert shown == list(range(done + 1, 7))
        assert_same_run((network, out), first["blend2flux"])

    def test_the_optimiser_goes_on_where_it_was(self, tmp_path, capsys):
        changes = {"optimizer": "muon", "schedule": "cosine"}
        whole = train_here("unet", tmp_path / "whole", **changes)
        interrupted("unet", tmp_path / "stopped", 2, **changes)
        assert "unet: stopped after epoch 2; the same call goes on from there." in capsys.readouterr().out
        stopped = train_here("unet", tmp_path / "stopped", **changes)
        assert_same_run((stopped, tmp_path / "stopped"), (whole, tmp_path / "whole"))

    def test_a_second_one_at_the_same_time_is_refused(self, tmp_path, pretended):
        second = partial(train_here, "blend2flux", tmp_path)
        again = Mock(side_effect=lambda _: refused(second, tmp_path, error=training.TrainingError))
        train_here("blend2flux", tmp_path, again)
        assert again.called

    def test_a_finished_run_returns_at_once(self, first, monkeypatch):
        network, out = first["blend2flux"]
        monkeypatch.setattr(training.Blender, "fit", None)
        assert same_weights(train_here("blend2flux", out), network)

    def test_another_run_is_refused(self, two, tmp_path, pretended):
        interrupted("blend2flux", tmp_path, 1, samples=two)
        asked = {"train": two[0], "valid": two[1], "profile": "quick", "seed": 3, "plan": TINY["blend2flux"]}
        for change, told in (
            ({"seed": 4}, "seed 3, but seed 4"),
            ({"profile": "tutorial"}, "profile quick, but profile tutorial"),
            ({"plan": replace(TINY["blend2flux"], rate=1e-4)}, "rate 0.005, but plan: rate 0.0001"),
            ({"train": two[0][:-1]}, "training sample"),
            ({"valid": two[1][:-1]}, "validation sample"),
            ({"start": bk.models.blend2flux(4, shape=SHAPE)}, "start none, but start"),
        ):
            refused(lambda change=change: bk.train("blend2flux", out=tmp_path, **asked | change), told)

    def test_a_damaged_state(self, tmp_path):
        for content in (b"", b"no archive", b"PK nonsense"):
            (tmp_path / "checkpoint.npz").write_bytes(content)
            refused(lambda: train_here("blend2flux", tmp_path), "is damaged")


@pytest.mark.parametrize("stop", [None, 3, 7, 8])
@pytest.mark.parametrize(("changes", "losses", "rates"), [
    ({"epochs": 100}, [3.0, *[2.0] * 50], [1.0] * 6 + [0.5] * 4 + [0.25] * 2),
    ({"epochs": 100}, [*[2.0] * 10, 1.0, *[1.5] * 50],
     [1.0] * 5 + [0.5] * 4 + [0.25] * 6 + [0.125] * 4 + [0.0625] * 2),
    ({"epochs": 40, "schedule": "cosine"}, [1.0] * 50, [1 / 3, 2 / 3, *COSINE]),
])  # fmt: skip
def test_learning_rates(tmp_path, pretended, stop, changes, losses, rates):
    """Halved after every 4 epochs that bring nothing better, and over after 10, where progress counts anew; or two
    epochs of warm-up out of 40, then half a cosine down to zero, however flat it is. Stopped once or not."""
    pretended.losses = losses
    if stop:
        interrupted("blend2flux", tmp_path, stop, rate=1.0, **changes)
    train_here("blend2flux", tmp_path, lambda history: None, rate=1.0, **changes)
    assert_allclose(training.history(tmp_path)["learning_rate"], rates, rtol=1e-6)


@pytest.mark.parametrize("shape", [(3, 3, 8, 6), (1, 1, 12, 20), (30, 10)])
def test_muon_takes_the_same_step_in_every_direction_of_a_kernel(shape):
    """Also where the gradient is a thousand times smaller; the size of the whole does not matter; biases as by Adam."""

    def step(gradient):
        variable = keras.Variable(np.zeros_like(gradient, "f4"))
        training.Muon(0.01, weight_decay=None).apply([keras.ops.convert_to_tensor(gradient, "float32")], [variable])
        return np.array(variable)

    n, m = int(np.prod(shape[:-1])), shape[-1]
    u, _, v = np.linalg.svd(np.random.default_rng(1).normal(size=(n, m)), full_matrices=False)
    gradient = ((u * np.geomspace(1, 1e-3, min(n, m))) @ v).reshape(shape)
    moved = step(gradient)
    along = -np.einsum("nk,nm,km->k", u, moved.reshape(n, m), v)
    usual = 0.01 * 0.2 * np.sqrt(max(n, m))  # root mean square of the elements: about 0.2 times the rate
    assert 0.15 * usual < along.min() <= along.max() < min(1.3 * usual, 10 * along.min())
    assert_allclose(step(1e-2 * gradient), moved, atol=1e-3 * np.abs(moved).max())
    assert_allclose(step(np.array([3.0, -0.2, 0.5])), [-0.01, 0.01, -0.01], rtol=1e-4)


def test_another_reporter(tmp_path, capsys, monkeypatch, pretended):
    """In place of a line per epoch another reporter may step: the live learning curve of notebooks."""
    shown = []
    monkeypatch.setattr(training, "reporter", lambda name, plan: nullcontext(shown.append))
    train_here("blend2flux", tmp_path / "curve", epochs=2)
    assert [history["epoch"] for history in shown] == [[1], [1, 2]]
    assert list(shown[0]) == training.history(tmp_path / "curve").colnames
    assert not capsys.readouterr().out


class TestErrors:
    @pytest.mark.parametrize(("key", "value", "told"), [
        ("model_name", "resnet", "the network 'resnet' was asked for, expected one of blend2flux, unet"),
        ("profile", "huge", "the profile 'huge' was asked for"),
        ("seed", -1, "non-negative"),
        ("valid", "valid", "the validation sample is a str"),
        ("start", "nowhere", "no weights are called 'nowhere'"),
        ("start", lambda two: bk.models.blend2flux(5, shape=SHAPE), "expected a blend2flux with"),
        ("valid", lambda two: two[0][:2], "2 galaxies are in both"),
        ("valid", lambda two: two[1][:1], "the validation sample has 1 galaxy"),
        ("valid", lambda two: replace(two[1], zeropoint=20.0), "zeropoint"),
        ("valid", lambda two: gaussian_sample(4, (64, 64), seed=9), "stamp size"),
        ("train", lambda two: gaussian_sample(2, SHAPE, mags=[18, 23]), "within 2.0 mag"),
        ("train", lambda two: replace(two[0], catalog=two[0].catalog[two[0].catalog.colnames[:-1]]), r"bk\.clean"),
    ])  # fmt: skip
    def test_arguments(self, two, tmp_path, key, value, told):
        given = {"model_name": "blend2flux", "train": two[0], "valid": two[1], "profile": "quick"}
        given[key] = value(two) if callable(value) else value
        with pytest.raises((ValueError, FileNotFoundError), match=told):
            bk.train(**given, out=tmp_path)
        assert not list(tmp_path.iterdir())

    def test_paper_without_gpu(self, two, tmp_path, monkeypatch, pretended):
        monkeypatch.setattr(training, "has_gpu", lambda: False)
        refused(lambda: bk.train("unet", *two, "paper", out=tmp_path), "needs a GPU", error=training.TrainingError)
        bk.train("unet", *two, "paper", out=tmp_path, plan=TINY["unet"])

    def test_a_loss_that_is_no_number(self, tmp_path, pretended):
        """In the third epoch: advice, and the second epoch's state is kept."""
        pretended.losses[2] = np.nan
        refused(lambda: train_here("blend2flux", tmp_path), "after epoch 3", error=training.TrainingError)
        assert len(training.history(tmp_path)) == 2

    def test_plans(self):
        for key, value in {"blends": 30, "epochs": 0, "rate": -1.0, "schedule": "linear", "optimizer": "sgd"}.items():
            with pytest.raises(ValueError, match=key.rstrip("s")):
                replace(TINY["unet"], **{key: value})
