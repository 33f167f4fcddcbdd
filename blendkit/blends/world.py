"""The sky that a blend is seen under: blur, noise, its correlation and its level."""

import numpy as np
from scipy.ndimage import gaussian_filter

from ..data.sky import CORRELATION, NOISE, sky_noise

FWHM = 2.3548  # of a Gaussian, in sigmas
RANGES = {"sigma": (0.2 * NOISE, 6 * NOISE), "correlation": (0.0, 0.95), "blur": (0.0, 6.0), "level": (-0.01, 0.01)}
"""What networks are trained for: noise per pixel and sky level (e-/s), the noise's correlation (sigma of a Gaussian
over white noise, pixels) and an extra blur (FWHM, pixels)."""


def observe(light: np.ndarray, *, sigma=NOISE, correlation=CORRELATION, blur=0.0, level=0.0, seed=0) -> np.ndarray:
    """Light, (n, ny, nx) or of galaxies apart (n, ny, nx, k), under a sky of your choice: (n, ny, nx) float32.

    Units as in `RANGES`; `sigma` and `level` are numbers or (n,), one for each blend.
    """
    light = np.asarray(light, float)
    light = light.sum(axis=-1) if light.ndim == 4 else light
    light = gaussian_filter(light, blur / FWHM, axes=(1, 2), mode="constant") if blur else light
    noise = sky_noise(np.random.default_rng(seed), light.shape, 1.0, correlation)
    sigma, level = (np.asarray(value, float).reshape(-1, 1, 1) for value in (sigma, level))
    return (light + sigma * noise + level).astype(np.float32)


def draw_worlds(rng: np.random.Generator, n: int, usual: float) -> np.ndarray:
    """Sigma, correlation, blur and level of `n` skies in `RANGES`, (n, 4) float32; a share `usual` is like CANDELS."""
    low, high = np.array(list(RANGES.values())).T
    worlds = rng.uniform(low, high, (n, 4))
    worlds[:, 0] = low[0] * (high[0] / low[0]) ** rng.random(n)
    worlds[:, 2] *= rng.random(n) < 0.5
    here = rng.random(n) < usual
    worlds[here] = [1.0, CORRELATION, 0.0, 0.0]
    worlds[here, 0] = NOISE * 0.85 * 2 ** rng.random(here.sum())
    worlds[here, 1] += rng.normal(0, 0.05, here.sum())
    return worlds.astype(np.float32)
