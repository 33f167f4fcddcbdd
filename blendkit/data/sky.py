"""Empty sky: where it is on a stamp, and how to put some of it where light was taken away."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.ndimage import distance_transform_edt, maximum_filter, minimum_filter

from .check import require

BANK_SIZE = 16


def empty_pixels(segmap: np.ndarray, margin: int = 8) -> np.ndarray:
    """Pixels of a stamp that belong to no object and lie well away from all of them, bool, shape (ny, nx).

    `margin` is the distance in pixels that is kept from every object; it shrinks by halves on a crowded stamp until a
    twentieth of the stamp is empty.
    """
    if not segmap.any():
        return np.ones(segmap.shape, bool)
    distance = distance_transform_edt(segmap == 0)
    while margin and (distance > margin).sum() < segmap.size / 20:
        margin //= 2
    return distance > margin


def flat_pixels(image: np.ndarray) -> np.ndarray:
    """Pixels that equal all their neighbours, as only a part of the sky that was never observed does."""
    return minimum_filter(image, 3) == maximum_filter(image, 3)


def fill_with_sky(image: np.ndarray, hole: np.ndarray, empty: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A copy of a stamp with the pixels of `hole` replaced by sky from its `empty` pixels.

    The whole hole is laid over the stamp at a random place (wrapping round its edges) and takes over the empty pixels
    found there, so that neighbouring pixels stay neighbours and the noise keeps its level and its correlation; what is
    still missing moves on to the next of thirty places, and the last pixels are drawn one by one.
    """
    require(empty.any(), "the stamp has no empty pixel to take sky from: drop this galaxy or cut a larger stamp.")
    filled = image.copy()
    y, x = np.nonzero(hole)
    ny, nx = image.shape
    for _ in range(30):
        if not len(y):
            return filled
        from_y, from_x = (y + rng.integers(ny)) % ny, (x + rng.integers(nx)) % nx
        good = empty[from_y, from_x]
        filled[y[good], x[good]] = image[from_y[good], from_x[good]]
        y, x = y[~good], x[~good]
    filled[y, x] = rng.choice(image[empty], len(y))
    return filled


def sky_bank(images: np.ndarray, segmaps: np.ndarray, size: int = BANK_SIZE) -> np.ndarray:
    """Stamps of pure sky, made from the emptiest stamps of a sample: float32, shape (size, ny, nx), e-/s.

    Shifting or turning a stamp leaves part of the frame empty; that part is filled from this bank, which belongs to the
    sample, so that NumPy, the training device and the browser fill it alike.
    """
    covered = np.count_nonzero(segmaps, axis=(1, 2))
    sky = []
    for donor in np.argsort(covered, kind="stable")[: 4 * size]:
        flat = flat_pixels(images[donor])
        empty = empty_pixels(segmaps[donor]) & ~flat
        if empty.any() and flat.mean() < 0.05:
            sky.append((images[donor], empty))
        if len(sky) == size:
            break
    if not sky:
        warnings.warn("no stamp has empty sky, so shifted and turned stamps are filled with zeros.", stacklevel=3)
        return np.zeros((1, *images.shape[1:]), np.float32)
    bank = np.empty((size, *images.shape[1:]), np.float32)
    for k in range(size):
        image, empty = sky[k % len(sky)]
        bank[k] = fill_with_sky(image, ~empty, empty, np.random.default_rng(k))
    return bank
