"""How networks see the sky: its level and noise are measured on the stamp itself."""

import keras
import numpy as np
from keras import ops

from ..data.sky import NOISE

USUAL = NOISE * 2**0.5  # e-/s per pixel: the noise of a blend of two galaxies of the survey, in which networks count
serial = keras.saving.register_keras_serializable("blendkit")


def measure_sky(images, full: bool = True):
    """Sky level and noise of stamps (n, ny, nx), each (n,), whatever galaxies are on them.

    The level is where pixels are densest: from the lower quartile of coarse cells it moves to the mean of the pixels
    within 1.5 sigma, of a quarter and, if `full`, of all. The noise is the rms of those below, where no galaxy is.
    """
    cells = ops.average_pool(images[..., None], 8, strides=8, data_format="channels_last")[..., 0]
    cells = ops.sort(ops.reshape(cells, (-1, cells.shape[1] * cells.shape[2])), axis=1)
    level, some = cells[:, cells.shape[1] // 4][:, None, None], images[:, ::2, ::2]
    noise = 5 * _below(some - level, np.inf)
    for pixels in [some] * 9 + [images] * full:
        off = pixels - level
        noise = _below(off, 5 * noise)
        level = level + _mean(off, ops.abs(off) < 1.5 * noise)
    return level[:, 0, 0], _below(pixels - level, 5 * noise)[:, 0, 0]


def smoothed(maps):
    """Means of 5 x 5 pixels of (n, ny, nx, c), fewer at the rim; `average_pool` counts them slowly under XLA."""
    y, x = (25 / np.convolve(np.ones(n), np.ones(5), "same").astype(np.float32) for n in maps.shape[1:3])
    maps = ops.pad(maps, [(0, 0), (2, 2), (2, 2), (0, 0)])
    return ops.average_pool(maps, 5, strides=1, data_format="channels_last") * (y[:, None] * x / 25)[..., None]


def _mean(values, where):
    where = ops.cast(where, "float32")
    return ops.sum(where * values, axis=(1, 2), keepdims=True) / (ops.sum(where, axis=(1, 2), keepdims=True) + 1)


def _below(off, most):
    """Root mean square of what lies below zero, but not by more than `most`."""
    return ops.sqrt(_mean(off**2, (off < 0) & (off > -most)))


@serial
class Sky(keras.layers.Layer):
    """Stamps (n, ny, nx, 1) less their sky level, in units in which their noise is `USUAL`; and that unit, (n,)."""

    def __init__(self, **options):
        super().__init__(**{"dtype": "float32", "trainable": False} | options)

    def call(self, images):
        level, noise = measure_sky(images[..., 0])
        light = images - level[:, None, None, None]
        unit = ops.maximum(noise, 1e-6 * ops.max(ops.abs(light), axis=(1, 2, 3)) + 1e-30) / USUAL
        return light / unit[:, None, None, None], unit
