"""Our own network: its patches, turns and shares, what it is told, and errors that hold."""

import numpy as np
import pytest

import blendkit as bk
from blendkit.quiet import load_keras

keras = load_keras()

from blendkit import fractions as fr  # noqa: E402
from blendkit.training import Blender, BlendLayer  # noqa: E402


@pytest.fixture(scope="module")
def small():
    """An untrained network for stamps of 32 x 64 pixels."""
    keras.utils.set_random_seed(3)
    return fr.fractions(4, shape=(32, 64))


@pytest.fixture(scope="module")
def stack():
    return np.random.default_rng(1).normal(0.05, 0.1, (5, 32, 64)).astype(np.float32)


def test_size_is_between_half_a_million_and_two_million():
    assert 5e5 < bk.models.fractions().count_params() < 2e6


def test_patches_and_back(stack):
    patches = fr.to_patches(stack[..., None])
    assert tuple(patches.shape) == (5, 4, 8, 64, 1)
    np.testing.assert_array_equal(np.asarray(patches)[2, 1, 3].reshape(8, 8), stack[2, 8:16, 24:32])
    np.testing.assert_array_equal(np.asarray(fr.to_pixels(patches))[..., 0], stack)
    fine = fr.to_patches(stack[..., None], fr.FINE)
    assert tuple(fine.shape) == (5, 16, 32, 4, 1)
    np.testing.assert_array_equal(np.asarray(fine)[2, 1, 3].reshape(2, 2), stack[2, 2:4, 6:8])
    np.testing.assert_array_equal(np.asarray(fr.to_pixels(fine))[..., 0], stack)


def test_the_inner_half_is_seen_finely_and_nothing_else(stack):
    pictures = keras.Input((32, 64, 1))
    near, skips = fr._near(pictures, 6)
    look = keras.Model(pictures, [near, *skips])
    seen, fine, finer = (np.asarray(value) for value in look(stack[..., None]))
    assert seen.shape == (5, 4, 8, 16)
    assert fine.shape == (5, 8, 16, 2)
    assert finer.shape == (5, 4, 8, 4)
    assert seen[:, 1:3, 2:6].any(axis=(0, 3)).all()
    outer = stack[..., None].copy()
    outer[:, 8:24, 16:48] = 0
    for a, b in zip(look(outer), look(np.zeros_like(outer)), strict=True):
        np.testing.assert_array_equal(a, b)
    edge = np.ones((4, 8), bool)
    edge[1:3, 2:6] = False
    assert not seen[:, edge].any()


@pytest.mark.parametrize("at", [(16, 32), (0, 0), (5, 60), (31, 63)])
def test_turning_about_a_pixel(stack, at):
    turned = np.asarray(fr.TurnAbout()(stack, np.tile(np.int32(at), (5, 1))))
    expected = np.zeros_like(stack)
    for y in range(32):
        for x in range(64):
            v, u = 2 * at[0] - y, 2 * at[1] - x
            if 0 <= v < 32 and 0 <= u < 64:
                expected[:, y, x] = stack[:, v, u]
    np.testing.assert_array_equal(turned, expected)


def test_peak_is_the_highest_pixel(stack):
    found = np.asarray(fr.Peak()(fr.to_patches(stack[..., None])[..., 0]))
    expected = [np.unravel_index(image.argmax(), image.shape) for image in stack]
    np.testing.assert_array_equal(found, expected)


def test_shares_are_shares(small, stack):
    out = {name: np.asarray(value) for name, value in small(stack[..., None]).items()}
    light = out["images"].sum(-1)
    assert (np.sign(out["images"]) == np.sign(stack)[..., None]).all()
    assert (np.abs(light) <= np.abs(stack) * (1 + 1e-5)).all()
    assert (out["fluxes"] > 0).all()
    assert (out["errors"] > 0).all()
    assert ((out["masks"] >= 0) & (out["masks"] <= 1)).all()


def test_half_of_the_blends_are_told_where_to_look(synthetic_clean):
    blends = bk.draw_blends(synthetic_clean, 4000, seed=1)
    told = fr.told(blends, np.random.default_rng(0))
    silent = (told == fr.UNTOLD).all(axis=1)
    assert ((told == fr.UNTOLD).any(axis=1) == silent).all()
    assert silent.mean() == pytest.approx(0.5, abs=0.03)
    off = told[~silent] - np.stack([blends["dy"], blends["dx"]], 1)[~silent]
    assert np.median(np.abs(off)) <= 1
    assert np.abs(off).max() < 12
    np.testing.assert_array_equal(told, fr.told(blends, np.random.default_rng(0)))


def test_what_it_is_told_matters_and_only_while_it_is_trained(small, make_sample):
    sample = make_sample(8, (32, 64))
    layer = BlendLayer(sample)
    blends = bk.draw_blends(sample, 16, seed=2, separation=(1, 3), turns=False)
    recipe = layer.recipe(blends)
    untold, true = np.full((16, 2), fr.UNTOLD, np.int32), np.stack([blends["dy"], blends["dx"]], 1).astype(np.int32)
    blender = Blender(small, layer, fr.fractions_loss, recipe | {"told": untold})
    alone, helped = (blender(recipe | {"told": told}) for told in (untold, true))
    assert not np.allclose(alone["mape_companion"], helped["mape_companion"])
    images, _, fluxes = layer(blends)
    measured = np.asarray(small(images[..., None])["fluxes"])
    off = 100 * np.abs(measured / np.asarray(fluxes) - 1)
    np.testing.assert_allclose(off[:, 1], np.asarray(alone["mape_companion"]), rtol=1e-3)


def test_calibrated_errors_hold_for_the_blends_they_were_calibrated_on(small, make_sample):
    sample = make_sample(12, (32, 64))
    layer = BlendLayer(sample)
    blends = bk.draw_blends(sample, 192, seed=4, turns=False)
    before = np.asarray(small(layer(blends)[0][..., None])["fluxes"])
    for _ in range(2):  # a second time changes nothing
        fr.calibrate(small, layer, layer.recipe(blends))
        images, _, fluxes = layer(blends)
        out = {name: np.asarray(value) for name, value in small(images[..., None]).items()}
        pulls = np.abs(out["fluxes"] - np.asarray(fluxes)) / out["errors"]
        np.testing.assert_allclose(np.quantile(pulls, 0.683, axis=0), 1, rtol=1e-3)
    np.testing.assert_allclose(out["fluxes"], before, rtol=1e-5)


@pytest.mark.parametrize(("arguments", "said"), [
    ({"width": 0}, "width = 0 was given"),
    ({"shape": (50, 64)}, "50 x 64"),
    ({"shape": (0, 64)}, "0 x 64"),
])  # fmt: skip
def test_sizes_that_make_no_network(arguments, said):
    with pytest.raises(ValueError, match=said):
        fr.fractions(**arguments)
