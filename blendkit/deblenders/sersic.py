"""Model fitting, the classical way to take a blend apart: two Sersic profiles seen through the PSF, fitted at once."""

from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from astropy.convolution import Gaussian2DKernel
from astropy.modeling.models import Sersic2D
from astropy.table import Table
from scipy import fft
from scipy.ndimage import gaussian_filter
from scipy.optimize import least_squares
from scipy.special import gamma, gammaincinv

from ..data.check import plain, require
from ..data.photometry import kron_flux, own_shape
from .base import PICTURES
from .sep import measure_stamps

LABEL = "two Sersic profiles"
NOTE = "errors are the fit's own: they hold for Sersic profiles, real galaxies are off by several of them"
PSF_SIGMA = 1.25  # pixels: Gaussian core of WFC3/F160W at 0.06" per pixel, the pixel's own response included
ISOPHOTE = 1.2  # in the noise of the stamp: where a galaxy's mask ends
SMALL_BATCH = 8  # stamps that one process fits before the others would have started
MARGIN = 10  # pixels of sky around SEP's segments that are fitted too
REACH = 4.0  # pixels that a centre may move from where it starts
SMALLEST_Q = 0.1
MISMATCH = 0.03  # of the light: what no profile reproduces, added to the noise so that bright cores do not rule the fit
# of flux (in units of where it starts), x and y (from there), log r_eff, n, and the ellipticity as a vector
LOWEST = np.array([0, -REACH, -REACH, np.log(0.5), 0.3, SMALLEST_Q - 1, SMALLEST_Q - 1])
HIGHEST = np.array([np.inf, REACH, REACH, np.log(40), 6, 1 - SMALLEST_Q, 1 - SMALLEST_Q])
STEP = np.sqrt(np.finfo(float).eps)  # relative, of the derivatives
TOLERANCE, MAX_STEPS = 1e-5, 100  # relative change of the parameters that ends a fit; steps at most
_FINE = ((4, 4), (1, 20))  # within so many pixels of a centre, so many samples along each side of a pixel
_PEAK_SIGMA, _PEAK_RADIUS = 1.5, 4  # pixels: smoothing in which a second peak is sought, and where its light is summed
_FAINTEST_START = 0.1  # of the first galaxy's flux, for a second one that SEP did not find


@dataclass(eq=False)
class Sersic:
    """Sersic profiles, convolved with the PSF and fitted at once to each blend, from where SEP finds galaxies.

    A galaxy's flux is FLUX_AUTO, as for the ground truth, of what is left when the others' profiles are taken away:
    less biased than the profile's own light, whose median on real galaxies is 3 to 7 % too large. The errors are the
    fit's own: one flux in five is within one of the truth on synthetic galaxies, one in seven on real ones, since
    galaxies are no Sersic profiles. A stamp that cannot be fitted is NaN and counted in ``meta["failed"]``.

    Parameters
    ----------
    truth : astropy.table.Table, optional
        The blends' recipes. Detections are matched as by `blendkit.deblenders.SEP`, with it or without. A galaxy that
        SEP did not find starts at its true position or, without `truth`, at the brightest peak of what a single
        profile leaves over; of the galaxies then fitted, the one nearest the centre is the central one.
    psf : array of float, shape (side, side), optional
        Light of a point source in the middle of its centre pixel, side odd; by default a Gaussian of 1.25 pixels, the
        core of HST's WFC3/F160W. It is normalised to a sum of one.
    masks, images, n_jobs : bool, bool; int, optional
        Whether to return masks (where a profile is above 1.2 times the noise) and the profiles as the PSF shows them
        (float32, e-/s), shape (ny, nx, k) for each blend; processes, by default all cores.
    """

    truth: Table | None = None
    psf: np.ndarray | None = None
    masks: bool = False
    images: bool = False
    n_jobs: int | None = None

    def __post_init__(self):
        psf = Gaussian2DKernel(PSF_SIGMA, x_size=15).array if self.psf is None else self.psf
        psf = plain("the PSF", psf, "e-/s").astype(float)
        square = psf.ndim == 2 and psf.shape[0] == psf.shape[1] and psf.shape[0] % 2 == 1
        wanted = "finite numbers of shape (side, side), side odd, with a positive sum: cut out a star in its middle"
        good = square and np.isfinite(psf).all() and psf.sum() > 0
        require(good, f"the PSF has shape {psf.shape}, expected {wanted}.")
        self.psf = psf / psf.sum()

    def __call__(self, images: np.ndarray) -> Table:
        """Measure blends, (n, ny, nx) in e-/s.

        Returns `flux` and `flux_err` (one sigma: noise, and how well the other galaxies' profiles are known), (n, k) in
        e-/s, NaN where there is no galaxy to fit; `n_detected` and `case` of SEP. ``meta`` is as SEP's, with a `note`.
        """
        start = "peak of what one profile leaves over" if self.truth is None else "true position of the other"
        columns = ["flux", "flux_err", *(key for key in PICTURES if getattr(self, key))]
        fit, settings = partial(_taken_apart, psf=self.psf), {"small_batch": SMALL_BATCH, "n_jobs": self.n_jobs}
        table = measure_stamps(images, self.truth, columns, fit, desc=LABEL, **settings)
        table.meta["matching"] += f"; where SEP found only one, the second fit starts at the {start}"
        table.meta = {"method": LABEL, **table.meta, "note": NOTE}
        return table


class _Window:
    """A part of a stamp; profiles are moved to where they belong there, and through the PSF, in Fourier space."""

    def __init__(self, rows: slice, columns: slice, psf: np.ndarray):
        self.rows, self.columns = rows, columns
        self._shape, self._pad = (rows.stop - rows.start, columns.stop - columns.start), len(psf) // 2
        self._size = tuple(fft.next_fast_len(side + 2 * self._pad, real=True) for side in self._shape)
        self._fy, self._fx = fft.fftfreq(self._size[0])[:, None], fft.rfftfreq(self._size[1])
        centred = np.roll(np.pad(psf, [(0, side - len(psf)) for side in self._size]), (-self._pad, -self._pad), (0, 1))
        self._transfer = fft.rfft2(centred) / np.sinc(self._fy) / np.sinc(self._fx)  # the PSF has the pixel in it

    def light(self, flux, x, y, log_r, n, e1, e2) -> np.ndarray:
        """A profile of total light `flux` at column `x`, row `y` of the stamp, as the PSF shows it in the window."""
        x, y = x - self.columns.start + self._pad, y - self.rows.start + self._pad
        column, row = round(x), round(y)
        shift = np.exp(-2j * np.pi * (y - row) * self._fy) * np.exp(-2j * np.pi * (x - column) * self._fx)
        profile = _profile([side + 2 * self._pad for side in self._shape], row, column, log_r, n, e1, e2)
        inside = (slice(self._pad, self._pad + side) for side in self._shape)
        return flux * fft.irfft2(fft.rfft2(profile, self._size) * self._transfer * shift, self._size)[tuple(inside)]


def _profile(shape, row, column, log_r, n, e1, e2):
    """A Sersic profile of total light 1 with its centre in the middle of a pixel, averaged over pixels near it."""
    r_eff, ellip = np.exp(log_r), min(np.hypot(e1, e2), 1 - SMALLEST_Q)
    theta, b = np.arctan2(e2, e1) / 2, gammaincinv(2 * n, 0.5)
    amplitude = b ** (2 * n) / (2 * np.pi * n * r_eff**2 * (1 - ellip) * np.exp(b) * gamma(2 * n))
    shape_of_it = (amplitude, r_eff, n, 0.0, 0.0, ellip, theta)
    light = Sersic2D.evaluate(np.arange(shape[1]) - column, np.arange(shape[0])[:, None] - row, *shape_of_it)
    for reach, fine in _FINE:
        near = 2 * reach + 1
        offset = (np.arange(near * fine) + 0.5) / fine - near / 2
        samples = Sersic2D.evaluate(offset, offset[:, None], *shape_of_it)
        mean = samples.reshape(near, fine, near, fine).mean(axis=(1, 3))
        top, left = row - reach, column - reach
        core = light[max(top, 0) : top + near, max(left, 0) : left + near]
        core[:] = mean[max(-top, 0) :, max(-left, 0) :][: core.shape[0], : core.shape[1]]
    return light


def _fit(image, weights, window, starts):
    """Fit profiles at once: parameters (k, 7), weighted derivatives (pixels, 7 k) and covariance (7 k, 7 k)."""
    data, weights = image[window.rows, window.columns], weights[window.rows, window.columns]
    starts = np.array(starts, float)
    units, starts[:, 0] = starts[:, 0].copy(), 1.0  # fluxes are fitted in units of where they start
    low, high = (bound + starts * (0, 1, 1, 0, 0, 0, 0) for bound in (LOWEST, HIGHEST))
    low[:, 1:3] = np.maximum(low[:, 1:3], (window.columns.start, window.rows.start))
    high[:, 1:3] = np.minimum(high[:, 1:3], (window.columns.stop - 1, window.rows.stop - 1))
    light = lru_cache(maxsize=4 * len(starts))(window.light)  # one galaxy changes at a time

    def off(values):
        model = sum(unit * light(*params) for unit, params in zip(units, values.reshape(-1, 7).tolist(), strict=True))
        return (weights * (model - data)).ravel()

    start, bounds = np.clip(starts, low, high).ravel(), (low.ravel(), high.ravel())
    best = least_squares(off, start, bounds=bounds, diff_step=STEP, xtol=TOLERANCE, max_nfev=MAX_STEPS)
    params = best.x.reshape(-1, 7)
    params[:, 0] *= units
    chi_square = 2 * best.cost / max(np.count_nonzero(weights) - params.size, 1)
    return params, best.jac, chi_square * np.linalg.pinv(best.jac.T @ best.jac, hermitian=True)


def _taken_apart(image, found, matched, position, psf):
    """Fluxes and their errors, masks and images of one stamp's galaxies."""
    if position is None and matched.max() < 0:
        return {}
    image = np.asarray(image, float)
    there = np.arange(len(matched)) if position is None else np.flatnonzero(np.isfinite(position[0]))
    points = None if position is None else np.stack(position[:2], -1)[there]
    noise = np.median(np.abs(image[found.segmap == 0])) / 0.6745
    used = np.isin(found.segmap, [0, *(i + 1 for i in matched if i >= 0)])
    weights = used / np.hypot(noise, MISMATCH * gaussian_filter(image, 1.0))
    y, x = np.nonzero((found.segmap > 0) & used)
    if points is not None:
        x, y = np.append(x, points[:, 0]), np.append(y, points[:, 1])
    axes = zip((y, x), image.shape, strict=True)
    parts = (slice(max(int(at.min()) - MARGIN, 0), min(int(at.max()) + MARGIN + 1, side)) for at, side in axes)
    window = _Window(*parts, psf)
    starts = _starts(image, weights, window, found, matched[there], points)
    params, derivatives, covariance = _fit(image, weights, window, starts)
    order = np.arange(len(params))
    if points is None and -1 in matched:
        order = np.argsort(np.hypot(*(params[:, 1:3] - (image.shape[1] // 2, image.shape[0] // 2)).T))
    whole = _Window(slice(0, image.shape[0]), slice(0, image.shape[1]), psf)
    models = np.stack([whole.light(*params[j]) for j in order], -1)
    masks = models > ISOPHOTE * noise
    with np.errstate(divide="ignore"):  # pixels that are left out
        inverse = 1 / weights[window.rows, window.columns].ravel()
    shape = (*image.shape, len(matched))
    answer = {"masks": np.zeros(shape, bool), "images": np.zeros(shape, np.float32)}
    answer |= {"flux": np.full(len(matched), np.nan), "flux_err": np.full(len(matched), np.nan)}
    answer["masks"][..., there], answer["images"][..., there] = masks, models
    for j, place in enumerate(there):
        own_light = np.where(used, image - models[..., np.arange(len(there)) != j].sum(-1), models[..., j])
        answer["flux"][place] = models[..., j].sum()
        if masks[..., j].sum() > 1:  # FLUX_AUTO without the others, in an ellipse that has the profile's shape
            shape = own_shape(models[..., j].astype(np.float32), masks[..., j])
            answer["flux"][place] = kron_flux(np.ascontiguousarray(own_light, np.float32), shape)
        pixels = (masks[..., j] & used)[window.rows, window.columns].ravel()
        others = (7 * np.delete(order, j)[:, None] + np.arange(7)).ravel()
        change = inverse[pixels] @ derivatives[np.ix_(pixels, others)]
        error = change @ covariance[np.ix_(others, others)] @ change + pixels.sum() * noise**2
        answer["flux_err"][place] = np.sqrt(error)
    return answer


def _starts(image, weights, window, found, matched, points):
    """Where the profiles start: SEP's detections, or else a true position or a peak of the rest."""
    starts = [None] * len(matched)
    for k, i in enumerate(matched):
        if i >= 0:
            ellip = np.clip(1 - max(found.b[i], 0.7) / max(found.a[i], 1.0), 0, 0.8)
            flux, theta = np.nanmax([found.kron_masked[i], found.isophotal[i], 1e-3]), 2 * found.theta[i]
            shape = np.log(max(found.a[i], 1.0)), 1.5, ellip * np.cos(theta), ellip * np.sin(theta)
            starts[k] = flux, found.x[i], found.y[i], *shape
    if None not in starts:
        return starts
    known, used = [start for start in starts if start is not None], (weights > 0).astype(float)
    rest = (image * used)[window.rows, window.columns]
    if known:
        light = sum(window.light(*params) for params in _fit(image, used, window, known)[0])
        rest = rest - light * used[window.rows, window.columns]
    rows, columns = np.mgrid[window.rows, window.columns]
    for k, start in enumerate(starts):
        if start is None:
            peak = np.argmax(gaussian_filter(rest, _PEAK_SIGMA))
            x, y = (columns.flat[peak], rows.flat[peak]) if points is None else points[k]
            near = rest[np.hypot(columns - x, rows - y) < _PEAK_RADIUS].sum()
            faintest = _FAINTEST_START * known[0][0] if known else 1.0
            starts[k] = (max(2 * near, faintest), x, y, np.log(2.5), 1.0, 0.0, 0.0)
    return starts
