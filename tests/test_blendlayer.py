"""Blends rendered on the device: the same pixels as `render`, on every backend that is installed."""

import importlib.util
import itertools
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import blendkit as bk
from blendkit import blending
from blendkit.blendlayer import BlendLayer

STRAIGHT = (0, 2, 5, 7)  # no quarter turns: what a stamp that is no square allows
BACKENDS = ("tensorflow", "jax", "torch")


def noise_sample(make_sample, shape, n=4):
    """No galaxy shape at all: every pixel counts, segments are random, and pixels differ from sky."""
    sample = make_sample(n, shape)
    rng = np.random.default_rng(0)
    images = rng.normal(1, 1, sample.images.shape).astype("f4")
    segmaps = rng.integers(0, 3, sample.segmaps.shape).astype("u1")
    segmaps[:, shape[0] // 2, shape[1] // 2] = 1
    return bk.Sample(images, segmaps, sample.catalog, sky_stamps=rng.normal(0, 1, (5, *shape)).astype("f4"))


def every_turn(sample, orients=range(8), dmag=0.0):
    """All pairs of orientations with each of these shifts, from none to one that leaves a single pixel or nothing."""
    ny, nx = sample.images.shape[1:]
    shifts = [(0, 0), (1, -2), (-3, 5), (ny // 2 - 1, 1 - nx // 2), (ny - 1, nx - 1), (1 - ny, 1 - nx), (0, nx - 1)]
    turn_c, turn_k, shift = zip(*itertools.product(orients, orients, shifts), strict=True)
    dy, dx = np.array(shift).T
    ids = np.asarray(sample.catalog["id"])
    central = ids[np.arange(len(dy)) % len(ids)]
    companion = ids[(np.arange(len(dy)) + 1 + np.arange(len(dy)) // len(ids) % 3) % len(ids)]
    return bk.make_blends(sample, central, companion, dx, dy, dmag, turn_c, turn_k)


def arrays(tensors):
    return [keras.ops.convert_to_numpy(tensor) for tensor in tensors]


def ulps(value, expected):
    """How many units in the last place of what was expected they are apart, at most."""
    return (np.abs(value.astype(float) - expected) / np.spacing(np.abs(expected))).max()


class Compiled(keras.Model):
    """A model that only renders, to be compiled; PyTorch's own compiler needs a C++ one, and nobody uses it here."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.compile(jit_compile=keras.backend.backend() != "torch")

    def call(self, recipe):
        return self.layer(recipe)


@pytest.fixture(scope="module")
def square(make_sample):
    return noise_sample(make_sample, (16, 16))


@pytest.fixture
def half_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy(before)


class TestEqual:
    """Run on every backend, see below."""

    @pytest.mark.parametrize("fill", blending.FILLS)
    @pytest.mark.parametrize(
        ("shape", "orients"),
        [((16, 16), range(8)), ((15, 15), range(8)), ((14, 21), STRAIGHT), ((17, 12), STRAIGHT)],
        ids=["even", "odd", "wide", "tall"],
    )
    def test_bit_for_bit(self, make_sample, shape, orients, fill):
        sample = noise_sample(make_sample, shape)
        blends = every_turn(sample, orients)
        expected = bk.render(sample, blends, fill=fill)
        layer = BlendLayer(sample, fill)
        compiled = Compiled(layer).predict(layer.recipe(blends), batch_size=len(blends), verbose=0)
        for result in (arrays(layer(blends)), compiled):
            for got, want in zip(result, expected, strict=True):
                assert got.dtype == want.dtype
                np.testing.assert_array_equal(got, want)

    def test_fainter_companion(self, square):
        """Also where both nearly cancel: the product is rounded before the sum."""
        blends = every_turn(square, dmag=np.random.default_rng(1).uniform(-2, 2, 448))
        images, masks, fluxes = bk.render(square, blends)
        layer = BlendLayer(square)
        compiled = Compiled(layer).predict(layer.recipe(blends), batch_size=len(blends), verbose=0)
        for result in (arrays(layer(blends)), compiled):
            assert ulps(result[0], images) <= 4
            assert (result[1] == masks).all()
            assert ulps(result[2], fluxes) <= 4

    def test_parts(self, square):
        blends = every_turn(square, dmag=0.4)[::5]
        layer = BlendLayer(square)
        parts, masks, fluxes = layer.parts(layer.recipe(blends))
        parts = np.stack(arrays(parts), 1)
        assert ulps(parts, blending.render_parts(square, blends)) <= 4
        image, *rest = arrays(layer(blends))
        assert (parts[:, 0] + parts[:, 1] == image).all()
        assert all((a == b).all() for a, b in zip(arrays((masks, fluxes)), rest, strict=True))

    def test_nothing_left(self, square):
        """A companion far outside leaves sky alone; tables cannot ask for it, recipes made by hand can."""
        layer = BlendLayer(square)
        recipe = layer.recipe(bk.make_blends(square, [10, 10, 10], 11, [0, 3, -2], 0, 0.0, 0, [0, 1, 6]))
        recipe["rows"][:, 2:4] = [(500, 0), (-17, 4), (3, 40_000)]
        parts, masks, _ = layer.parts(recipe)
        assert (arrays(parts)[1] == square.sky[recipe["rows"][:, 7]]).all()
        assert not arrays([masks])[0][..., 1].any()

    def test_float32_under_half_precision(self, square, half_precision):
        blends = every_turn(square)[:64]
        layer = BlendLayer(square)
        for got, want in zip(arrays(layer(blends)), bk.render(square, blends), strict=True):
            assert got.dtype == want.dtype
            assert (got == want).all()

    def test_any_slice(self, square):
        layer, blends = BlendLayer(square), every_turn(square)[:9]
        whole, one = arrays(layer(blends)), arrays(layer(blends[4:5]))
        assert all((a[4:5] == b).all() for a, b in zip(whole, one, strict=True))

    def test_is_not_trained(self, square):
        model = Compiled(BlendLayer(square))
        assert not model.trainable_variables
        assert len(model.non_trainable_variables) == 4


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != keras.backend.backend()])
def test_the_same_on_other_backends(backend):
    if not importlib.util.find_spec(backend):
        pytest.skip(f"{backend} is not installed: pip install {backend} for this test")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{__file__}::TestEqual"]
    done = subprocess.run(command, env=os.environ | {"KERAS_BACKEND": backend}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout


def test_real_galaxies(hst_clean):
    blends = bk.draw_blends(hst_clean, 64, seed=3)
    for got, want in zip(arrays(BlendLayer(hst_clean)(blends)), bk.render(hst_clean, blends), strict=True):
        np.testing.assert_array_equal(got, want)


class TestErrors:
    def test_foreign_galaxies(self, square, make_sample):
        other = make_sample(4, (16, 16), seed=9)
        with pytest.raises(ValueError, match=r"other pixels.*use the sample that the blends were drawn from"):
            BlendLayer(square)(bk.make_blends(other, 10, 11, 3, 1))

    def test_unknown_ids(self, square):
        blends = bk.make_blends(square, 10, 11, 3, 1)
        blends["central"] = 99
        with pytest.raises(ValueError, match="99"):
            BlendLayer(square)(blends)

    def test_rows_out_of_range(self, square):
        blends = bk.make_blends(square, 10, 11, 3, 1)
        blends["dx"] = 16
        with pytest.raises(ValueError, match="dx runs from 16 to 16"):
            BlendLayer(square).recipe(blends)

    def test_unknown_fill(self, square):
        with pytest.raises(ValueError, match="fill = 'mean' was given, expected 'sky' or 'zero'"):
            BlendLayer(square, "mean")
