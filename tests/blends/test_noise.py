"""The sky's noise is the survey's wherever the kit puts some, and across the seams: a network could smell the rest."""

from itertools import product

import numpy as np
import pytest

import blendkit as bk
from blendkit.data.cleaning import remove_neighbours
from blendkit.data.simulate import simulate
from blendkit.data.sky import CORRELATION, LEVEL, NOISE, empty_pixels, sky_bank, sky_noise

AT_ONE_AND_TWO = {"correlated": (0.52, 0.07), "white": (0, 0)}  # CANDELS, the data README's table


def simulated(noise, *_):
    sky, dark = (simulate(24, 1, neighbours=False, noise=how).images for how in (noise, "none"))
    sky = (sky - dark)[(dark != 0).all((1, 2))]
    assert sky.mean((1, 2)).std() == pytest.approx(LEVEL * NOISE, rel=0.5)
    return sky - sky.mean((1, 2), keepdims=True), np.ones(sky.shape, bool)


def bank(_, images, segmaps, *__):
    order = np.argsort(np.count_nonzero(segmaps, axis=(1, 2)), kind="stable")
    holes = ~np.stack([empty_pixels(segmap) for segmap in segmaps[order]])
    return sky_bank(images, segmaps, len(images)), holes[:, ::-1, ::-1]


def neighbours(_, images, segmaps, *__):
    both = zip(images, segmaps, strict=True)
    return map(np.stack, zip(*(remove_neighbours(*one, np.random.default_rng(0)) for one in both), strict=True))


def shifted(_, images, segmaps, rng, like):
    sample = bk.Sample(images, np.ones_like(segmaps), like.catalog, sky_stamps=images[::-1])
    dx, dy, orient = rng.integers((-31, -31, 0), (32, 32, 8), (len(images), 3)).T
    pixels, masks, _ = bk.render(sample, bk.make_blends(sample, like.catalog["id"][:, None], dx, dy, orient=orient))
    return pixels, ~masks[..., 0]


@pytest.mark.parametrize("noise", AT_ONE_AND_TWO)
@pytest.mark.parametrize("place", [simulated, bank, neighbours, shifted])
def test_autocorrelation(make_sample, place, noise):
    """At one pixel and at two, along both axes, among the new pixels and from them to the others."""
    n, rng, middle = 300, np.random.default_rng(0), np.indices((64, 64))[:, None] - 32
    images = sky_noise(rng, (n, 64, 64), correlation=CORRELATION * (noise == "correlated")).astype("f4")
    distance = [np.hypot(*(middle - rng.uniform(-32, 32, (2, n, 1, 1)) * far)) for far in (0, 1, 1)]
    segmaps = np.select([d < rng.uniform(3, 8, (n, 1, 1)) for d in distance], [1, 2, 3]).astype("u1")
    pixels, new = place(noise, images, segmaps, rng, make_sample(n, (64, 64)))
    assert pixels.std() == pytest.approx(NOISE, rel=0.03)
    for (k, expected), axis in product(enumerate(AT_ONE_AND_TWO[noise], start=1), (1, 2)):
        (a, b), (from_new, to_new) = ([np.swapaxes(x, 1, axis)[:, at] for at in np.s_[k:, :-k]] for x in (pixels, new))
        for pairs in filter(np.any, (from_new & to_new, from_new ^ to_new)):
            assert np.mean((a * b)[pairs]) / pixels.var() == pytest.approx(expected, abs=0.03)
