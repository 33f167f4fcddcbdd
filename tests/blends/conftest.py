"""A sample without any galaxy shape: every pixel counts, segments are random, one is small, no pixel is like sky."""

import numpy as np
import pytest

import blendkit as bk


@pytest.fixture(scope="session")
def noise_sample(make_sample):
    def noise_sample(shape=(16, 16), seed=0, n=4):
        sample, rng = make_sample(n, shape), np.random.default_rng(seed)
        images = rng.normal(1, 1, sample.images.shape).astype("f4")
        segmaps = rng.integers(0, 3, sample.segmaps.shape).astype("u1")
        centre = np.reshape(shape, (2, 1, 1)) // 2
        segmaps[0, np.abs(np.indices(shape) - centre).max(axis=0) > 2] = 2
        segmaps[:, *centre.ravel()] = 1
        return bk.Sample(images, segmaps, sample.catalog, sky_stamps=rng.normal(0, 1, (5, *shape)).astype("f4"))

    return noise_sample
