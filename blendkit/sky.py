"""Empty sky: where it is on a stamp, and how to put some of it where light was taken away."""

from __future__ import annotations

import warnings

import numpy as np

BANK_SIZE = 16


def empty_pixels(segmap: np.ndarray, margin: int = 8) -> np.ndarray:
    """Pixels of a stamp that belong to no object and lie well away from all of them.

    Parameters
    ----------
    segmap : array of int, shape (ny, nx)
        Segmentation map, 0 where there is no object.
    margin : int
        Distance in pixels that is kept from every object; it shrinks by halves on a crowded stamp until
        a twentieth of the stamp is empty.

    Returns
    -------
    array of bool, shape (ny, nx)
    """
    from scipy.ndimage import distance_transform_edt

    if not segmap.any():
        return np.ones(segmap.shape, bool)
    distance = distance_transform_edt(segmap == 0)
    while margin and (distance > margin).sum() < segmap.size / 20:
        margin //= 2
    return distance > margin


def flat_pixels(image: np.ndarray) -> np.ndarray:
    """Pixels that equal all their neighbours, as only a part of the sky that was never observed does."""
    from scipy.ndimage import maximum_filter, minimum_filter

    return minimum_filter(image, 3) == maximum_filter(image, 3)


def fill_with_sky(
    image: np.ndarray, hole: np.ndarray, empty: np.ndarray, rng: np.random.Generator, tries: int = 30
) -> np.ndarray:
    """Replace pixels by empty sky of the same stamp.

    The whole hole is laid over the stamp at a random place (wrapping round its edges) and takes over the
    empty pixels found there, so that neighbouring pixels stay neighbours and the noise keeps its level and
    its correlation; what is still missing moves on to the next place.

    Parameters
    ----------
    image : array of float, shape (ny, nx)
    hole, empty : arrays of bool, shape (ny, nx)
        What to replace, and where sky may be taken from.
    rng : numpy.random.Generator
    tries : int
        Places to try before the last pixels are drawn one by one.

    Returns
    -------
    array of float, shape (ny, nx)
        A copy; pixels outside `hole` are untouched.

    Raises
    ------
    ValueError
        Without any empty pixel.
    """
    if not empty.any():
        raise ValueError("the stamp has no empty pixel to take sky from: drop this galaxy or cut a larger stamp.")
    filled = image.copy()
    y, x = np.nonzero(hole)
    ny, nx = image.shape
    for _ in range(tries):
        if not len(y):
            return filled
        from_y, from_x = (y + rng.integers(ny)) % ny, (x + rng.integers(nx)) % nx
        good = empty[from_y, from_x]
        filled[y[good], x[good]] = image[from_y[good], from_x[good]]
        y, x = y[~good], x[~good]
    filled[y, x] = rng.choice(image[empty], len(y))
    return filled


def sky_bank(images: np.ndarray, segmaps: np.ndarray, size: int = BANK_SIZE) -> np.ndarray:
    """A few stamps of pure sky, made from the emptiest stamps of a sample.

    Shifting or turning a stamp leaves part of the frame empty; that part is filled from this bank, which
    belongs to the sample, so that NumPy, the training device and the browser fill it alike.

    Parameters
    ----------
    images : array of float32, shape (n, ny, nx)
    segmaps : array of uint8, shape (n, ny, nx)
    size : int
        Number of sky stamps; a smaller sample gives several from each of its stamps.

    Returns
    -------
    array of float32, shape (size, ny, nx), e-/s

    Warns
    -----
    UserWarning
        Where no stamp has an empty pixel; the bank is then a single stamp of zeros.
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
