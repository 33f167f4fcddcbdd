"""Networks as deblenders: in order, in batches, with bad stamps apart."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import module, refused

from blendkit.deblenders import Network
from blendkit.networks import builders as models
from blendkit.networks import weights

keras = pytest.importorskip("keras")
SHAPE = (32, 32)


@module
def network():
    """What `fractions` gives, from two convolutions."""
    blend = keras.Input((*SHAPE, 1))
    maps = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(blend)
    shares = keras.layers.Conv2D(2, 3, padding="same", activation="sigmoid")(maps)
    images = keras.layers.Multiply()([shares, blend])
    fluxes = keras.ops.sum(images, axis=(1, 2))
    outputs = {"fluxes": fluxes, "errors": 0.1 + 0.01 * keras.ops.abs(fluxes), "masks": shares, "images": images}
    return keras.Model(blend, outputs, name="everything")


measured = module(lambda network, images: Network(network, masks=True, images=True)(images))


@module
def images():
    images = np.random.default_rng(0).normal(1, 1, (150, *SHAPE)).astype(np.float32)
    images[:, 12:20, 14:18] += 9
    return images


class TestTable:
    def test_columns(self, network, measured):
        expected = {"flux": (float, 2), "flux_err": (float, 2), "masks": (bool, *SHAPE, 2), "images": ("f4", *SHAPE, 2)}
        assert {name: (measured[name].dtype, *measured[name].shape[1:]) for name in measured.colnames} == expected
        assert (measured.meta["method"], measured.meta["failed"]) == ("everything", 0)
        assert measured.meta["matching"].startswith("pixels only")
        assert "trained_on" not in measured.meta
        for n in (0, 3):
            assert Network(network)(np.ones((n, *SHAPE))).colnames == ["flux", "flux_err"]
        assert Network(network, masks=True, images=True)(np.zeros((0, *SHAPE))).colnames == measured.colnames

    def test_values_are_the_networks(self, network, images, measured):
        given = {key: keras.ops.convert_to_numpy(value) for key, value in network(images[:, :, :, None]).items()}
        for ours, theirs in (("flux", "fluxes"), ("flux_err", "errors"), ("images", "images")):
            np.testing.assert_allclose(measured[ours], given[theirs], rtol=1e-4, atol=1e-5)
        assert np.mean(measured["masks"] == (given["masks"] > 0.5)) > 0.9999

    def test_a_network_of_masks(self, images):
        table = Network(models.unet(2, 2, shape=SHAPE), masks=True)(images[:5])
        light = np.sum(images[:5, :, :, None] * np.asarray(table["masks"]), axis=(1, 2))
        np.testing.assert_allclose(table["flux"], light, rtol=1e-4, atol=1e-4)
        assert "inside each mask" in table.meta["note"]


class TestBatches:
    @pytest.mark.parametrize(("batch", "dtype"), [(1, ">f8"), (7, "f4"), (1000, "f8")])
    def test_neither_their_size_nor_order_nor_kind_of_numbers_matters(self, network, images, measured, batch, dtype):
        rows = np.random.default_rng(1).permutation(len(images))[: 20 if batch == 1 else None]
        given = images[rows].astype(dtype)
        given.flags.writeable = False
        np.testing.assert_allclose(Network(network, batch=batch)(given)["flux"], measured["flux"][rows], rtol=1e-5)

    def test_one_shape_for_all_stacks_and_another_for_a_single_stamp(self, network, images, monkeypatch):
        """So the network is compiled once, whatever the number of stamps; the explorer asks for one at a time."""
        deblender, shapes = Network(network, batch=16), []
        model, ask = deblender._model, deblender._model.predict_on_batch
        monkeypatch.setattr(model, "predict_on_batch", lambda batch: shapes.append(batch.shape) or ask(batch))
        for n in (1, 2, 15, 16, 17, 100):
            assert len(deblender(images[:n])) == n
        assert (shapes[0], set(shapes[1:])) == ((1, *SHAPE, 1), {(16, *SHAPE, 1)})

    def test_stamps_on_disk_take_no_memory(self, network, images, measured, tmp_path):
        stack = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (10_000, *SHAPE))
        stack[:150] = images
        deblender = Network(network, batch=256)
        deblender(stack[:300])
        tracemalloc.start()
        table = deblender(stack)
        assert tracemalloc.get_traced_memory()[1] < 10e6, "the stack has 41 MB"
        tracemalloc.stop()
        np.testing.assert_allclose(table["flux"][:150], measured["flux"], rtol=1e-5)

    def test_threads(self, network, images, measured):
        """Several sliders may ask at once."""
        deblender = Network(network, batch=16)
        with ThreadPoolExecutor(4) as pool:
            for table in pool.map(lambda n: deblender(images[:n]), (1, 20, 40, 60)):
                np.testing.assert_allclose(table["flux"], measured["flux"][: len(table)], rtol=1e-5)


class TestBadStamps:
    @pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
    def test_others_go_on(self, network, images, measured, value):
        stack = images[:40].astype(float)
        stack[[3, 39], 5, 5] = value
        table = Network(network, batch=16, masks=True, images=True)(stack)
        good = ~np.isin(np.arange(40), [3, 39])
        for name in ("flux", "flux_err", "images"):
            assert np.isnan(table[name][~good]).all()
            np.testing.assert_allclose(table[name][good], measured[name][:40][good], rtol=1e-4, atol=1e-5)
        assert not table["masks"][~good].any()
        assert table.meta["failed"] == 2

    def test_a_network_that_gives_no_number(self):
        """Is told apart from one that gives a flux that is not positive."""
        blend = keras.Input((*SHAPE, 1))
        log = keras.Model(blend, keras.ops.log(blend[:, :2, 0, 0]), name="log")
        table = Network(log)(np.array([0.5, -1.0, 0.0])[:, None, None] * np.ones((3, *SHAPE)))
        np.testing.assert_allclose(table["flux"][:, 0], [np.log(0.5), np.nan, np.nan], rtol=1e-6)
        assert table.meta["failed"] == 2


class TestSources:
    def test_from_disk_and_from_memory(self, images, tmp_path):
        arguments = {"filters": 2, "dense": 4, "shape": SHAPE}
        card = {"architecture": "blend2flux", "arguments": arguments, "seeds": [1001], "galaxies": ["abc"]}
        network = models.blend2flux(**arguments)
        path = weights.save(network, tmp_path, "small", card)
        for source in (path, weights.load(path)[0]):
            table = Network(source)(images[:4])
            assert (table.meta["method"], table.meta["trained_on"]) == ("small", {"seeds": "1001", "galaxies": "abc"})
            np.testing.assert_allclose(table["flux"], Network(network)(images[:4])["flux"], rtol=1e-6)

    def test_what_cannot_measure(self, network):
        for stamps in (np.zeros((2, 64, 64)), np.zeros(SHAPE)):
            refused(lambda stamps=stamps: Network(network)(stamps), "expected")
        for key, build in (("masks", models.blend2flux), ("images", models.unet)):
            refused(lambda key=key, build=build: Network(build(filters=2, shape=SHAPE), **{key: True}), "fractions")
        refused(lambda: Network(keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)])), "expected a single one")
        refused(lambda: Network(network, batch=0), "batch")
