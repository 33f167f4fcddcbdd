"""Networks as deblenders: in order, in batches, with bad stamps apart; and none is scored on what it was trained on."""

import inspect
import os
import subprocess
import sys
import threading
import tracemalloc
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

import blendkit as bk
from blendkit import metrics, models, weights
from blendkit.deblenders import Network

keras = pytest.importorskip("keras")
SHAPE = (32, 32)
FLUXES = ["flux_central", "flux_companion"]


def everything(shape=SHAPE):
    """What `fractions` gives, from two convolutions."""
    blend = keras.Input((*shape, 1))
    maps = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(blend)
    shares = keras.layers.Conv2D(2, 3, padding="same", activation="sigmoid")(maps)
    images = keras.layers.Multiply()([shares, blend])
    fluxes = keras.ops.sum(images, axis=(1, 2))
    outputs = {"fluxes": fluxes, "errors": 0.1 + 0.01 * keras.ops.abs(fluxes), "masks": shares, "images": images}
    return keras.Model(blend, outputs, name="everything")


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(1)
    return everything()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(1, 1, (150, *SHAPE)).astype(np.float32)


@pytest.fixture(scope="module")
def measured(network, images):
    return Network(network, masks=True, images=True)(images)


def shapes_seen(network, monkeypatch):
    """Shapes of the batches that a deblender gives to its network."""
    seen, ask = [], network._model.predict_on_batch
    monkeypatch.setattr(network._model, "predict_on_batch", lambda batch: seen.append(batch.shape) or ask(batch))
    return seen


class TestTable:
    def test_columns(self, network, measured):
        errors = ["flux_central_err", "flux_companion_err"]
        assert measured.colnames == [*FLUXES, *errors, "masks", "images"]
        assert [measured[name].dtype for name in measured.colnames] == [np.float64] * 4 + [bool, np.float32]
        assert measured["masks"].shape == measured["images"].shape == (150, *SHAPE, 2)
        assert measured.meta["method"] == "everything"
        assert measured.meta["matching"].startswith("pixels only")
        assert measured.meta["failed"] == 0
        assert "trained_on" not in measured.meta
        assert Network(network)(np.ones((3, *SHAPE))).colnames == [*FLUXES, *errors]

    def test_values_are_the_networks(self, network, images, measured):
        given = {key: keras.ops.convert_to_numpy(value) for key, value in network(images[:, :, :, None]).items()}
        for k, galaxy in enumerate(("central", "companion")):
            np.testing.assert_allclose(measured[f"flux_{galaxy}"], given["fluxes"][:, k], rtol=1e-5)
            np.testing.assert_allclose(measured[f"flux_{galaxy}_err"], given["errors"][:, k], rtol=1e-5)
        np.testing.assert_allclose(measured["images"], given["images"], rtol=1e-4, atol=1e-5)
        assert np.mean(measured["masks"] == (given["masks"] > 0.5)) > 0.9999

    @pytest.mark.parametrize("asked", [False, True])
    def test_of_no_images(self, network, asked):
        table = Network(network, masks=asked, images=asked)(np.zeros((0, *SHAPE)))
        assert len(table) == 0
        assert table.colnames == Network(network, masks=asked, images=asked)(np.ones((1, *SHAPE))).colnames

    def test_fluxes_that_are_not_positive_stay(self):
        blend = keras.Input((*SHAPE, 1))
        minus = keras.Model(blend, -keras.ops.ones_like(blend[:, :2, 0, 0]), name="minus")
        assert list(Network(minus)(np.ones((2, *SHAPE)))["flux_central"]) == [-1, -1]

    def test_a_network_of_masks(self, images):
        unet = models.unet(2, 2, shape=SHAPE)
        table = Network(unet, masks=True)(images[:5])
        light = np.sum(images[:5, :, :, None] * np.asarray(table["masks"]), axis=(1, 2))
        np.testing.assert_allclose(np.column_stack([table[name] for name in FLUXES]), light, rtol=1e-4, atol=1e-4)
        assert "light of the blend inside each mask" in table.meta["note"]

    def test_every_network_of_the_package(self, images):
        arguments = {
            "blend2flux": {"filters": 2},
            "unet": {"depth": 2, "filters": 2},
            "blend2mask2flux": {"depth": 2, "filters": 2, "flux_filters": 2, "dense": 2},
            "fractions": {"width": 4},
        }
        for name, build in models.BUILDERS.items():
            table = Network(build(**arguments[name], shape=SHAPE), batch=4, masks=name != "blend2flux")(images[:6])
            assert len(table) == 6
            assert np.isfinite([table[flux] for flux in FLUXES]).all()
            assert table.meta["method"] == name
            assert ("flux_central_err" in table.colnames) == (name == "fractions")


class TestBatches:
    @pytest.mark.parametrize("batch", [1, 7, 150, 1000])
    def test_their_size_does_not_matter(self, network, images, measured, batch):
        table = Network(network, batch=batch)(images)
        for name in table.colnames:
            np.testing.assert_allclose(table[name], measured[name], rtol=1e-5)

    def test_order_is_kept(self, network, images, measured):
        rows = np.random.default_rng(1).permutation(len(images))
        np.testing.assert_allclose(Network(network)(images[rows])["flux_central"], measured["flux_central"][rows], 1e-5)

    def test_one_shape_for_all_stacks(self, network, images, monkeypatch):
        """So the network is compiled once, whatever the number of stamps."""
        deblender = Network(network, batch=16)
        seen = shapes_seen(deblender, monkeypatch)
        for n in (2, 15, 16, 17, 100):
            assert len(deblender(images[:n])) == n
        assert set(seen) == {(16, *SHAPE, 1)}

    def test_compiled_once(self, network, images):
        traced = []

        class Counting(keras.layers.Layer):
            def call(self, x):
                traced.append(x.shape)
                return x

        blend = keras.Input((*SHAPE, 1))
        deblender = Network(keras.Model(blend, network(Counting()(blend))), batch=16)
        if keras.config.backend() == "torch":
            pytest.skip("torch compiles nothing")
        traced.clear()
        for n in (40, 16, 3, 90):
            deblender(images[:n])
        assert len(traced) == 1
        deblender(images[:1])
        again = len(traced)
        for n in (1, 40, 1):
            deblender(images[:n])
        assert len(traced) == again <= 3

    def test_a_single_stamp_is_not_padded(self, network, images, measured, monkeypatch):
        """The explorer asks for one at a time."""
        deblender = Network(network)
        seen = shapes_seen(deblender, monkeypatch)
        assert deblender(images[:1])["flux_central"][0] == pytest.approx(measured["flux_central"][0], rel=1e-5)
        assert seen == [(1, *SHAPE, 1)]

    def test_stamps_on_disk(self, network, images, measured, tmp_path):
        np.save(tmp_path / "x.npy", images)
        table = Network(network)(np.load(tmp_path / "x.npy", mmap_mode="r"))
        np.testing.assert_allclose(table["flux_companion"], measured["flux_companion"], rtol=1e-6)

    def test_memory_does_not_grow(self, network, tmp_path):
        """A stack of 100 MB on disk takes a few MB here."""
        stack = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (25_000, *SHAPE))
        stack.flush()
        deblender = Network(network, batch=256)
        deblender(stack[:300])
        tracemalloc.start()
        deblender(stack)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 20e6

    @pytest.mark.parametrize("dtype", [">f8", "f2", "i4", "u1"])
    def test_any_numbers(self, network, images, dtype):
        whole = np.round(np.abs(images[:4]))
        np.testing.assert_allclose(
            Network(network)(whole.astype(dtype))["flux_central"], Network(network)(whole)["flux_central"], rtol=1e-6
        )

    def test_images_are_untouched(self, network, images):
        stack = images[:3].copy()
        stack[1] = np.nan
        before = stack.copy()
        stack.flags.writeable = False
        Network(network, images=True)(stack)
        np.testing.assert_array_equal(stack, before)

    def test_threads(self, network, images, measured):
        """Several sliders may ask at once."""
        deblender, tables = Network(network, batch=16), {}

        def ask(n):
            tables[n] = deblender(images[:n])

        threads = [threading.Thread(target=ask, args=(n,)) for n in (1, 20, 40, 60)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for n, table in tables.items():
            np.testing.assert_allclose(table["flux_central"], measured["flux_central"][:n], rtol=1e-5)
        assert len(tables) == 4

    def test_the_network_given_is_left_as_it_was(self, network, images):
        before = network.predict_function
        Network(network)(images[:2])
        assert network.predict_function is before


class TestBadStamps:
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
    def test_others_go_on(self, network, images, measured, value):
        stack = images.astype(float)
        stack[[3, 149], 5, 5] = value
        table = Network(network, batch=16, masks=True, images=True)(stack)
        good = np.ones(len(images), bool)
        good[[3, 149]] = False
        for name in table.colnames[:4]:
            assert np.isnan(table[name][~good]).all()
            np.testing.assert_allclose(table[name][good], measured[name][good], rtol=1e-5)
        assert not table["masks"][~good].any()
        assert np.isnan(table["images"][~good]).all()
        assert np.isfinite(table["images"][good]).all()
        assert table.meta["failed"] == 2

    def test_a_network_that_gives_no_number(self):
        blend = keras.Input((*SHAPE, 1))
        log = keras.Model(blend, keras.ops.log(blend[:, :2, 0, 0]), name="log")
        stack = np.ones((3, *SHAPE))
        stack[1] = -1
        stack[2] = 0
        table = Network(log)(stack)
        assert np.isnan(table["flux_central"]).tolist() == [False, True, True]
        assert table.meta["failed"] == 2


class TestSources:
    CARD = {  # noqa: RUF012
        "architecture": "blend2flux", "arguments": {"filters": 2, "dense": 4, "shape": SHAPE},
        "seeds": [1001], "galaxies": ["abc"],
    }  # fmt: skip

    def test_name_path_and_folder(self, images, tmp_path, monkeypatch):
        network = models.blend2flux(2, dense=4, shape=SHAPE)
        path = weights.save(network, tmp_path, "small", self.CARD)
        monkeypatch.setattr(weights, "FOLDER", tmp_path)
        expected = Network(network)(images[:4])
        for source in ("small", path, str(path), tmp_path):
            deblender = Network(source)
            table = deblender(images[:4])
            assert (deblender.name, table.meta["method"]) == ("small", "small")
            assert table.meta["trained_on"] == {"seeds": [1001], "galaxies": ["abc"]}
            np.testing.assert_allclose(table["flux_central"], expected["flux_central"], rtol=1e-6)

    def test_a_loaded_network_keeps_its_card(self, images, tmp_path):
        """So that what `train` has just returned cannot be scored on its own galaxies either."""
        path = weights.save(models.blend2flux(2, dense=4, shape=SHAPE), tmp_path, "small", self.CARD)
        table = Network(weights.load(path)[0])(images[:2])
        assert table.meta["method"] == "small"
        assert table.meta["trained_on"]["galaxies"] == ["abc"]

    def test_a_keras_file(self, images, tmp_path, network):
        models.blend2flux(2, shape=SHAPE).save(tmp_path / "mine.v1.keras")
        table = Network(tmp_path / "mine.v1.keras")(images[:2])
        assert table.meta["method"] == "mine"
        assert "trained_on" not in table.meta

    def test_errors_come_at_construction(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="no weights called 'nothing'"):
            Network("nothing")

    def test_wrong_stamps(self, network):
        with pytest.raises(ValueError, match=r"shape \(64, 64\), expected \(32, 32\), on which 'everything' .*\.$"):
            Network(network)(np.zeros((2, 64, 64)))
        with pytest.raises(ValueError, match=r"expected numbers of shape .*image\[None\]\.$"):
            Network(network)(np.zeros(SHAPE))

    def test_what_the_network_does_not_give(self):
        for key, build in (("masks", models.blend2flux), ("images", models.unet)):
            with pytest.raises(ValueError, match=rf"{key}=True was asked of .*fractions.*\.$"):
                Network(build(filters=2, shape=SHAPE), **{key: True})

    def test_other_networks(self):
        vector = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)])
        with pytest.raises(ValueError, match=r"takes inputs of shapes \[\(None, 5\)\], expected .*\.$"):
            Network(vector)

    def test_a_list_of_outputs(self, images):
        blend = keras.Input((*SHAPE, 1))
        masks = keras.layers.Conv2D(2, 1, activation="sigmoid")(blend)
        fluxes = keras.layers.Dense(2)(keras.layers.Flatten()(blend))
        pred = Network(keras.Model(blend, [masks, fluxes]), masks=True)(images[:3])
        assert pred["masks"].shape == (3, *SHAPE, 2)

    def test_one_flux_for_two_galaxies(self):
        blend = keras.Input((*SHAPE, 1))
        fluxes = keras.layers.Dense(1)(keras.layers.Flatten()(blend))
        with pytest.raises(ValueError, match=r"fluxes have shape \(None, 1\), expected \(n, 2\).*\.$"):
            Network(keras.Model(blend, {"fluxes": fluxes}))

    @pytest.mark.parametrize("batch", [0, 1.5, "many"])
    def test_batch(self, network, batch):
        with pytest.raises(ValueError, match="expected a whole number of at least 1"):
            Network(network, batch=batch)

    def test_documented(self):
        assert "Parameters\n" in inspect.getdoc(Network)
        assert "Returns\n" in inspect.getdoc(Network.__call__)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_give_the_same(backend, network, images, tmp_path):
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    if keras.config.backend() == backend:
        pytest.skip("this is the backend of the other tests")
    blend2flux = models.blend2flux(2, shape=SHAPE)
    card = {"architecture": "blend2flux", "arguments": {"filters": 2, "shape": SHAPE}}
    path = weights.save(blend2flux, tmp_path, "small", card)
    np.save(tmp_path / "images.npy", images[:20])
    code = (
        "import sys, numpy as np; from blendkit.deblenders import Network; path, images, out = sys.argv[1:]; "
        "table = Network(path, batch=16)(np.load(images)); "
        "np.save(out, np.column_stack([table['flux_central'], table['flux_companion']]))"
    )
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(Path(bk.__file__).parents[1])}
    command = [sys.executable, "-c", code, path, tmp_path / "images.npy", tmp_path / "out.npy"]
    run = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    table = Network(blend2flux)(images[:20])
    expected = np.column_stack([table[name] for name in FLUXES])
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, rtol=1e-3, atol=1e-5)


class TestUnseen:
    """Scores refuse a network that saw a galaxy of the exam."""

    @pytest.fixture
    def exam(self, make_sample):
        sample = make_sample(8)
        return sample, bk.draw_blends(sample, 30, seed=1, separation=(3, 5))

    def predicted(self, blends, **trained_on):
        table = Table({f"flux_{g}": np.asarray(blends[f"flux_{g}"]) for g in ("central", "companion")})
        table.meta = {"trained_on": {"seeds": [], "galaxies": []} | trained_on} if trained_on else {}
        return table

    def refused(self, blends, pred, match):
        everyone = {"fractions": pred}
        for ask in (metrics.scores, bk.figures.recovered_magnitudes, bk.figures.flux_kinds):
            with pytest.raises(ValueError, match=match) as error:
                ask(blends, everyone)
            assert str(error.value).startswith("The predictions of 'fractions' come from a network that was trained")
            assert str(error.value).endswith(".")
        with pytest.raises(ValueError, match=match):
            bk.scoreboard.scoreboard("x", blends, everyone)

    def test_a_galaxy_by_its_digest(self, exam):
        sample, blends = exam
        first = int(blends["central"][0])
        pred = self.predicted(blends, galaxies=[sample.fingerprints[first], "another"])
        self.refused(blends, pred, "trained on 1 of the 8 galaxies .* load_sample\\('synthetic', seed=1\\)")

    def test_only_the_rows_count(self, exam):
        """A galaxy of the sample that is in none of these blends does no harm."""
        sample, blends = exam
        pred = self.predicted(blends, galaxies=[sample.fingerprints[10]])
        without = (np.asarray(blends["central"]) != 10) & (np.asarray(blends["companion"]) != 10)
        assert without.any()
        metrics.scores(blends[without], {"fractions": pred[without]})
        self.refused(blends, pred, "trained on 1 of")

    def test_a_whole_simulation(self, synthetic_clean):
        blends = bk.draw_blends(synthetic_clean, 30, seed=1)
        self.refused(blends, self.predicted(blends, seeds=[0, 1, 1000]), "trained on .*seed=2")
        metrics.scores(blends, {"fractions": self.predicted(blends, seeds=[1, 1000])})

    def test_first_and_last_galaxy_of_a_seed(self, exam):
        _, blends = exam
        blends["central"] = 700_001
        blends["companion"] = 800_000
        self.refused(blends, self.predicted(blends, seeds=[7]), "trained on 2 of the 2")
        for seed in (6, 8):
            metrics.scores(blends, {"fractions": self.predicted(blends, seeds=[seed])})

    def test_others_are_scored(self, exam):
        _, blends = exam
        preds = {"SEP": self.predicted(blends), "new": self.predicted(blends, seeds=[1000], galaxies=["another"])}
        assert set(metrics.scores(blends, preds)["method"]) == {"SEP", "new"}

    def test_blends_without_fingerprints(self, exam):
        _, blends = exam
        del blends.meta["fingerprint"]
        metrics.scores(blends, {"new": self.predicted(blends, galaxies=["another"])})

    def test_after_a_detour_over_a_file(self, exam, tmp_path):
        sample, blends = exam
        pred = self.predicted(blends, galaxies=list(sample.fingerprints.values()))
        for name, table in (("blends", blends), ("pred", pred)):
            table.write(tmp_path / f"{name}.ecsv")
        self.refused(*(Table.read(tmp_path / f"{name}.ecsv") for name in ("blends", "pred")), "trained on 8 of the 8")
