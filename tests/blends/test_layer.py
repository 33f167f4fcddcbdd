"""Blends rendered on the device: the same pixels as `render_parts`, on every backend that is installed."""

import importlib.util
import itertools
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import blendkit as bk
from blendkit.blends.layer import BlendLayer

STRAIGHT = (0, 2, 5, 7)  # no quarter turns: what a stamp that is no square allows
BACKENDS = ("tensorflow", "jax", "torch")


def every_turn(sample, orients=range(8), dmag=0.0):
    """All pairs of orientations with each of these shifts, from none to one that leaves a single pixel or nothing."""
    ny, nx = sample.images.shape[1:]
    shifts = [(0, 0), (1, -2), (-3, 5), (ny // 2 - 1, 1 - nx // 2), (ny - 1, nx - 1), (1 - ny, 1 - nx), (0, nx - 1)]
    *turns, shift = zip(*itertools.product(orients, orients, shifts), strict=True)
    dy, dx = np.array(shift).T
    ids, i = np.asarray(sample.catalog["id"]), np.arange(len(dy))
    pairs = np.stack([ids[i % len(ids)], ids[(i + 1 + i // len(ids) % 3) % len(ids)]], axis=1)
    return bk.make_blends(sample, pairs, dx, dy, dmag, np.array(turns).T)


def arrays(tensors):
    return [keras.ops.convert_to_numpy(tensor) for tensor in tensors]


def ulps(value, expected):
    """How many units in the last place of what was expected they are apart, at most."""
    return (np.abs(value.astype(float) - expected) / np.spacing(np.abs(expected))).max()


def expected_of(sample, blends):
    return bk.render_parts(sample, blends), *bk.render(sample, blends)[1:]


def rendered(sample, blends):
    """What it gives at once, under half precision, and compiled; PyTorch's own compiler needs a C++ one: left out."""
    keras.config.set_dtype_policy("mixed_float16")  # it is in float32 all the same
    layer = BlendLayer(sample)
    recipe = layer.recipe(blends)
    at_once = arrays(layer.parts(recipe))
    keras.config.set_dtype_policy("float32")
    inputs = {name: keras.Input(value.shape[1:], dtype=str(value.dtype), name=name) for name, value in recipe.items()}
    model = keras.Model(inputs, keras.layers.Lambda(layer.parts)(inputs))
    assert not layer.trainable_variables
    model.compile(jit_compile=keras.backend.backend() != "torch")
    return at_once, model.predict(recipe, batch_size=len(blends), verbose=0)


class TestEqual:
    """Run on every backend, see below."""

    @pytest.mark.parametrize(("shape", "orients"), [
        ((16, 16), range(8)), ((15, 15), range(8)), ((14, 21), STRAIGHT), ((17, 12), STRAIGHT),
    ], ids=["even", "odd", "wide", "tall"])  # fmt: skip
    def test_bit_for_bit(self, noise_sample, shape, orients):
        sample = noise_sample(shape)
        blends = every_turn(sample, orients)
        expected = expected_of(sample, blends)
        for result in rendered(sample, blends):
            for got, want in zip(result, expected, strict=True):
                assert got.dtype == want.dtype
                np.testing.assert_array_equal(got, want)

    def test_any_number_of_galaxies_in_any_slice(self, noise_sample):
        sample = noise_sample(n=6)
        blends, layer = bk.draw_blends(sample, 64, members=(0, 4)), BlendLayer(sample)
        expected, part = expected_of(sample, blends), arrays(layer.parts(layer.recipe(blends[4:5])))
        for *results, some, want in zip(*rendered(sample, blends), part, expected, strict=True):
            np.testing.assert_array_equal(some, want[4:5])
            for got in results:
                np.testing.assert_array_equal(got, want)

    def test_fainter_companion(self, noise_sample):
        square = noise_sample()
        blends = every_turn(square, dmag=np.random.default_rng(1).uniform(-2, 2, 448))
        parts, masks, fluxes = expected_of(square, blends)
        for result in rendered(square, blends):
            assert ulps(result[0], parts) <= 4
            assert (result[1] == masks).all()
            assert ulps(result[2], fluxes) <= 4


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != keras.backend.backend()])
def test_the_same_on_other_backends(backend):
    if not importlib.util.find_spec(backend):
        pytest.skip(f"{backend} is not installed: pip install {backend} for this test")
    some = ["-k", "not odd and not tall"]  # other shapes take the same way
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{__file__}::TestEqual", *some]
    done = subprocess.run(command, env=os.environ | {"KERAS_BACKEND": backend}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout
