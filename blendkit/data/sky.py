"""Empty sky: where it is on a stamp, and how to put some of it where light was taken away."""

import warnings
from itertools import islice

import numpy as np
from scipy import ndimage
from scipy.sparse.linalg import LinearOperator, cg

from .check import require

NOISE = 0.006  # sigma of the survey's sky, e-/s per pixel
CORRELATION = 0.62  # pixels: white noise smoothed so is correlated as CANDELS' is, 0.52, 0.27 diagonally, 0.07 at two
LEVEL = 0.1  # scatter of the sky's level from stamp to stamp, in NOISE


def sky_noise(rng: np.random.Generator, shape, sigma=NOISE, correlation: float = CORRELATION) -> np.ndarray:
    """Noise of a drizzled mosaic in e-/s, shape (..., ny, nx): `sigma` per pixel, smoothed by `correlation` pixels."""
    smooth = ndimage.fourier_gaussian(np.ones(shape[-2:]), correlation)
    noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=shape)) * smooth).real
    return sigma / np.sqrt(np.mean(smooth**2)) * noise


def empty_pixels(segmap: np.ndarray, margin: int = 8) -> np.ndarray:
    """Pixels more than `margin` from every object, bool (ny, nx); the margin is halved until a twentieth is empty."""
    if not segmap.any():
        return np.ones(segmap.shape, bool)
    distance = ndimage.distance_transform_edt(segmap == 0)
    while margin and (distance > margin).sum() < segmap.size / 20:
        margin //= 2
    return distance > margin


def flat_pixels(image: np.ndarray) -> np.ndarray:
    """Pixels that equal all their neighbours, as only a part of the sky that was never observed does."""
    if (image[1:] != image[:-1]).all():
        return np.zeros(image.shape, bool)
    return ndimage.minimum_filter(image, 3) == ndimage.maximum_filter(image, 3)


def fill_with_sky(image: np.ndarray, hole: np.ndarray, empty: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A copy of a stamp with the pixels of `hole` replaced by patches of its `empty` sky, noise correlated as there."""
    require(empty.any(), "the stamp has no empty pixel to take sky from: drop this galaxy or cut a larger stamp.")
    (ny, nx), (y, x) = image.shape, np.nonzero(hole)
    level, noise = np.median(image[empty]), image[empty].std()
    sky, width = np.abs(image - level) < 4 * noise, _correlation(np.where(empty, image - level, 0), empty)
    filled, known = image.copy(), sky & ~hole
    wide, wide_empty, wide_sky = (np.pad(pixels, ((ny, ny), (nx, nx))) for pixels in (image, empty, sky))
    for _ in range(30):  # what is still missing takes over the empty pixels at the best of thirty random places
        if not len(y):
            return filled
        places = rng.integers((1, 1), (2 * ny, 2 * nx), (30, 2)).tolist()
        dy, dx = max(places, key=lambda place: np.count_nonzero(wide_empty[y + place[0], x + place[1]]))
        there, patch = np.s_[dy : dy + ny, dx : dx + nx], np.zeros(image.shape, bool)
        patch[y, x] = wide_empty[y + dy, x + dx]
        filled[patch] = wide[there][patch]
        near = ndimage.maximum_filter(patch, 5)
        rim = near & known & wide_sky[there]
        if width and rim.any():  # near its rim a patch is bent, so that it continues what lies beyond
            box = ndimage.find_objects(near.astype(int))[0]
            filled[patch] += _bend((filled - wide[there])[rim], rim[box], width)[patch[box]]
        known |= patch
        y, x = np.nonzero(hole & ~known)
    filled[y, x] = rng.choice(image[empty], len(y))  # the last pixels one by one
    return filled


def _correlation(noise, empty):
    """Sigma in pixels of the Gaussian that passes through the autocorrelation at one pixel, 0 where there is none."""
    products, pairs = (sum((a[1:] * a[:-1]).sum() for a in (map_, map_.T)) for map_ in (noise, empty))
    at_one = products / max(pairs, 1) / max(np.mean(noise[empty] ** 2), 1e-300)
    return np.sqrt(-0.5 / np.log(min(at_one, 0.9))) if at_one > 0.03 else 0.0


def _bend(step, rim, width):
    """Expected noise (ny, nx), given that it is `step` on the pixels of `rim`: simple kriging with a Gaussian."""
    weights = np.zeros(rim.shape)

    def spread(values):
        weights[rim] = values
        return ndimage.gaussian_filter(weights, width, mode="constant")

    matrix = LinearOperator((len(step), len(step)), lambda values: spread(values)[rim], dtype=float)
    return spread(cg(matrix, step, rtol=0.1, maxiter=20)[0])


def sky_bank(images: np.ndarray, segmaps: np.ndarray, size: int = 16) -> np.ndarray:
    """Stamps of pure sky, (size, ny, nx), from the emptiest ones of a sample: they fill what shifts and turns leave."""
    emptiest = np.argsort(np.count_nonzero(segmaps, axis=(1, 2)), kind="stable")
    donors = ((images[i], empty_pixels(segmaps[i]), flat_pixels(images[i])) for i in emptiest[: 4 * size])
    good = ((image, empty & ~flat) for image, empty, flat in donors if flat.mean() < 0.05 and (empty & ~flat).any())
    if not (sky := list(islice(good, size))):
        warnings.warn("no stamp has empty sky, so shifted and turned stamps are filled with zeros.", stacklevel=3)
        return np.zeros((1, *images.shape[1:]), np.float32)
    bank = np.empty((size, *images.shape[1:]), np.float32)
    flips = np.s_[::-1, ::-1], np.s_[::-1], np.s_[:, ::-1]  # the same sky must not lie on itself
    for k in range(size):
        image, empty = sky[k % len(sky)]
        bank[k] = fill_with_sky(image, ~empty, empty, np.random.default_rng(k))[flips[k // len(sky) % 3]]
    return bank
