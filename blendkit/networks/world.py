"""Worlds to train in, on the device that trains: skies of all kinds, and stamps that do not belong into any."""

import keras
import numpy as np
from keras import ops

from ..blends.world import FWHM
from .sky import smoothed

FIELD = 2048  # pixels on a side of the white noise that noise is cut from


class World(keras.layers.Layer):
    """Much as `observe`, on the device: galaxies (n, ny, nx, k) in `worlds`, (n, 4) as from `draw_worlds`, float32.

    `own` is the noise that the stamp of a galaxy has already: so much less is added. It gives the blends (n, ny, nx)
    and their galaxies after the blur. The noise is cut from one large field, where is said by `chance`, (n, 10).
    """

    def __init__(self, own: float = 0.0):
        super().__init__(trainable=False, dtype="float32", name="world")
        self.own = float(own)
        noise = np.random.default_rng(0).standard_normal((FIELD, FIELD)).astype(np.float32)
        self.field = self.add_weight((FIELD * FIELD,), initializer=lambda *_, **__: noise.reshape(-1), trainable=False)
        self.built = True

    def call(self, parts, rows, worlds, chance):
        ny, nx = parts.shape[1:3]
        sigma, correlation, blur, level = ops.unstack(worlds, axis=1)
        y, x = (_gaussians(blur / FWHM, n) for n in (ny, nx))
        y, x = (g / ops.max(ops.sum(g, axis=2), axis=1)[:, None, None] for g in (y, x))
        seen = ops.einsum("nij,njkm->nikm", y, parts)
        seen = ops.einsum("nikm,nlk->nilm", seen, x)
        y, x = (_gaussians(correlation, n) for n in (ny, nx))
        y, x = (g / ops.sqrt(ops.sum(g**2, axis=2, keepdims=True)) for g in (y, x))
        start = [ops.cast(chance[:, j] * (FIELD - n), "int32")[:, None, None] for j, n in ((8, ny), (9, nx))]
        at = start[0] * FIELD + start[1] + (np.arange(ny)[:, None] * FIELD + np.arange(nx)).astype(np.int32)
        noise = ops.take(ops.convert_to_tensor(self.field), at)
        noise = ops.matmul(ops.matmul(y, noise), ops.transpose(x, (0, 2, 1)))
        have = self.own**2 * ops.sum(ops.cast(rows[..., 0] >= 0, "float32"), axis=1)
        more = ops.sqrt(ops.relu(sigma**2 - have))[:, None, None]
        return ops.sum(seen, axis=-1) + more * noise + level[:, None, None], seen


def _gaussians(width, n):
    """Gaussians about each of `n` pixels, a row each, of the widths (m,): (m, n, n)."""
    apart = (np.arange(n)[:, None] - np.arange(n)).astype(np.float32) ** 2
    return ops.exp(-0.5 * apart / ops.maximum(width, 0.05)[:, None, None] ** 2)


KINDS = 8  # of strange stamps
CROWD, CROWDED = 4, 32  # so many galaxies within so many pixels of the centre are strange


def strange_stamps(images, light, sigma, members, chance):
    """Stamps that no network here is made for, and how sure that is (0 or 1), made from ordinary ones (n, ny, nx).

    Which of the `stamps` below and how is said by `chance`, (n, 10) and uniform. `light` (n, ny, nx) is the same
    without the noise that was added, `sigma` the noise (n,), `members` the number of galaxies (n,).
    """
    ny, nx = images.shape[1:]
    kind, turn, *u = (value[:, None, None] for value in ops.unstack(chance, axis=1))
    kind, noise, sigma = ops.floor(kind * KINDS), images - light, sigma[:, None, None]
    y, x = (ops.convert_to_tensor(at.astype(np.float32)[None]) for at in np.indices((ny, nx)) - ny // 2)
    cos, sin = ops.cos(2 * np.pi * turn), ops.sin(2 * np.pi * turn)
    along = x * cos + y * sin
    bright = sigma * 10 ** (1.3 + 2.7 * u[0])

    far, many = 3 + 40 * u[0], u[1] < 0.6
    others = [_rolled(ops.roll(images, -j, axis=0), f * far * cos, f * far * sin) for j, f in ((1, 1.0), (2, -0.8))]
    beside = ops.cast(u[3] < 0.6, "float32")
    off_y, off_x = (at - 60 * (v - 0.5) * beside for at, v in ((y, u[1]), (x, u[2])))
    r2 = off_y**2 + off_x**2
    spikes = ops.exp(-ops.abs(off_y)) + ops.exp(-ops.abs(off_x))
    star = bright * (10 * (1 + r2 / (1.5 + 2 * u[4]) ** 2) ** -2.5 + 0.2 * spikes / (1 + r2 / 100))
    upright = u[1] < 0.7
    across, down = ops.where(upright, x, y), ops.where(upright, y, x)
    column = (ops.abs(across - 60 * (u[2] - 0.5)) < 0.6 + 2 * u[3]) & (down < 128 * (u[4] - 0.3))
    column = column & (down > -20 - 100 * u[5])
    trail = bright * ops.exp(-0.5 * ((along - 60 * (u[1] - 0.5)) / (0.7 + 3 * u[2])) ** 2)
    slope, waves = along / 64 * (3 + 25 * u[1]), (1.5 + 6 * u[1]) * ops.sin(along / (1 + 5 * u[2]))
    away = 14 + 40 * u[1]
    blotches = smoothed(noise[..., None])[..., 0]
    stamps = [
        images + others[0] + ops.where(many, others[1], 0.0),  # a crowd
        ops.where(u[5] < 0.3, noise, images) + star,
        ops.where(column, 5 * bright, images),  # it bleeds
        ops.where(along > 50 * u[1], ops.where(u[2] < 0.7, 0.0, u[3] * sigma), images),  # the mosaic's edge
        images + trail,
        images + sigma * ops.where(u[3] < 0.5, slope, waves),  # an uneven sky
        ops.where(u[2] < 0.7, _rolled(images, away * cos, away * sin), noise),  # no galaxy in the centre
        light + 3 * blotches,
    ]
    made = sum(ops.where(kind == i, stamp, 0.0) for i, stamp in enumerate(stamps))
    crowd = members + ops.roll(members, -1) + ops.where(many[:, 0, 0], ops.roll(members, -2), 0)
    kind, noisy = kind[:, 0, 0], ops.std(noise, axis=(1, 2)) > 0.5 * sigma[:, 0, 0]
    sure = ops.where(kind == 0, crowd >= CROWD, (kind < KINDS - 1) | noisy)
    return made, ops.cast(sure, "float32")


def _rolled(images, dy, dx):
    """Stamps moved round their edges by pixels (n, 1, 1)."""
    ny, nx = images.shape[1:]
    y = ops.mod(np.arange(ny, dtype=np.int32)[None, :, None] - ops.cast(dy, "int32"), ny)
    x = ops.mod(np.arange(nx, dtype=np.int32)[None, None, :] - ops.cast(dx, "int32"), nx)
    at = ops.reshape(y * nx + x, (-1, ny * nx))
    return ops.reshape(ops.take_along_axis(ops.reshape(images, (-1, ny * nx)), at, axis=1), (-1, ny, nx))
