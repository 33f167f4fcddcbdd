"""A synthetic sample that looks like the CANDELS parent sample of Boucaud et al. (2019).

Types, magnitudes and radii follow the 1,050 CANDELS galaxies of the paper's published test blends. Smooth
light (de Vaucouleurs spheroids, inclined exponential disks, bulges, bars) is drawn by galsim in Fourier space
on one fixed grid and seen through an HST WFC3/F160W-like PSF; spiral arms, clumps, lopsidedness, knots
and tidal tails are put on top in pixel space, no finer than the PSF. Lengths are in pixels, light in e-/s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np

from .samples import MORPHOLOGIES, PIXEL_SCALE, ZEROPOINT, Sample

VERSION = 2  # part of the cache's file name: raise it whenever pixels change

SIZE = 128
CENTER = SIZE // 2
SKY = 0.006  # noise per pixel, e-/s
THRESHOLD = 1.2 * SKY  # surface brightness at which segments end, e-/s per pixel
MIN_AREA = 10  # pixels: what covers fewer is not detected
BAD_SHARE = 0.04
BAD_KINDS = ("close_blend", "edge", "artefact")
MAX_GALAXIES = 100_000  # of one seed: ids of two seeds must not meet
MAX_SEED = 10**12

_GRID = 2 * SIZE  # side of the periodic grid of the Fourier transforms
_PSF_SIGMA = 1.25  # pixels, Gaussian core of the PSF (FWHM 0.18")
_SHARPER = ContextVar("sharper", default=1.0)  # what the widths of the PSF are divided by
_TRUNCATION = 8.0  # Sersic profiles end there, in half-light radii


class _Population(NamedTuple):
    """Magnitudes and sizes of one morphological type."""

    share: float
    mag_mean: float
    mag_sd: float
    mag_range: tuple[float, float]
    r_eff: float  # median at magnitude 21.5, pixels
    r_slope: float  # of log10(r_eff) with magnitude
    r_scatter: float  # dex
    r_range: tuple[float, float]


# From the per-type table of the data README, with magnitude means and spreads such that the table's come out
# after the cut at the range's ends; slopes and scatter fitted to the same 1,050 galaxies.
_POPULATIONS = {
    "sph": _Population(0.19, 21.25, 1.0, (18.8, 22.8), 2.32, -0.162, 0.148, (1.1, 11.0)),
    "disk": _Population(0.21, 22.0, 0.75, (18.2, 23.0), 9.78, -0.089, 0.136, (4.3, 25.0)),
    "sphd": _Population(0.38, 20.75, 1.08, (18.0, 23.0), 5.26, -0.104, 0.171, (1.6, 49.0)),
    "irr": _Population(0.22, 21.9, 0.7, (19.3, 23.0), 8.84, -0.082, 0.184, (2.0, 41.0)),
}
_SMALLEST = 1.1  # pixels, of half-light radii where `smaller` shrinks them
_FAINTEST_MEAN_SB = 30.7  # mag per pixel within r_eff: the survey misses what is fainter

_NEIGHBOUR_SHARES = (0.10, 0.40, 0.17, 0.33)  # of MORPHOLOGIES among faint field galaxies
_NEIGHBOUR_MEAN = 1.2  # galaxies per stamp
_NEIGHBOUR_MAGS = (18.5, 26.5)
_NEIGHBOUR_COUNTS_SLOPE = 0.24  # d log10 N / d mag


# ---------------------------------------------------------------- drawing through the PSF


@cache
def _pixels() -> tuple[np.ndarray, np.ndarray]:
    """Row and column numbers of a stamp, each (SIZE, SIZE)."""
    return np.indices((SIZE, SIZE), dtype=float)


def _fourier_image(profile: Any) -> np.ndarray:
    """Fourier transform of a galsim profile on the common half plane, (_GRID, _GRID // 2 + 1) complex."""
    import galsim

    half = _GRID // 2
    image = galsim.ImageCD(galsim.BoundsI(0, half, -half, half - 1))
    profile.drawKImage(image=image, scale=2 * np.pi / _GRID, recenter=False)
    return np.fft.ifftshift(image.array, axes=0)


@contextmanager
def _seen(sharper: float) -> Iterator[None]:
    """Draw with a PSF so many times narrower than WFC3/F160W's."""
    token = _SHARPER.set(sharper)
    try:
        yield
    finally:
        _SHARPER.reset(token)


@lru_cache(maxsize=4)
def _psf(sharper: float = 1.0) -> np.ndarray:
    """WFC3/F160W-like transfer function: aperture, 0.128" native pixel, charge diffusion, 0.06" pixel."""
    import galsim

    optics = galsim.Airy(lam_over_diam=0.132 / PIXEL_SCALE / sharper, obscuration=0.33)
    detector = [galsim.Pixel(0.128 / PIXEL_SCALE / sharper), galsim.Gaussian(sigma=0.5 / sharper), galsim.Pixel(1.0)]
    return _fourier_image(galsim.Convolve(optics, *detector))


def _psf_sigma() -> float:
    return _PSF_SIGMA / _SHARPER.get()


def _see(profile: Any, x: float, y: float) -> np.ndarray:
    """The (SIZE, SIZE) light of a galsim profile at column `x`, row `y`, through the PSF."""
    phase_y = np.exp(-2j * np.pi * y * np.fft.fftfreq(_GRID))
    phase_x = np.exp(-2j * np.pi * x * np.fft.rfftfreq(_GRID))
    spectrum = _fourier_image(profile) * _psf(_SHARPER.get())
    spectrum *= phase_y[:, None]
    spectrum *= phase_x
    return np.fft.irfft2(spectrum, s=(_GRID, _GRID))[:SIZE, :SIZE]


@cache
def _unit_sersic(n: float) -> Any:
    import galsim

    return galsim.Sersic(n, half_light_radius=1.0, trunc=_TRUNCATION)


def _sersic(n: float, r_eff: float, q: float, angle: float, flux: float) -> Any:
    """Sersic profile: semi-major half-light radius `r_eff`, axis ratio `q`, major axis at `angle` from x."""
    import galsim

    round_one = _unit_sersic(n).dilate(r_eff * math.sqrt(q)).withFlux(flux)
    return round_one.shear(q=q, beta=angle * galsim.radians)


def _inclined_disk(r_eff: float, cos_i: float, angle: float, flux: float) -> Any:
    """Exponential disk of finite thickness: semi-major half-light radius `r_eff`, at `angle` from x."""
    import galsim

    inclination = math.acos(cos_i) * galsim.radians
    disk = galsim.InclinedExponential(inclination, half_light_radius=r_eff, scale_h_over_r=0.12, flux=flux)
    return disk.rotate(angle * galsim.radians)


def _blobs(x: np.ndarray, y: np.ndarray, sigma: np.ndarray, flux: np.ndarray) -> np.ndarray:
    """Sum of k round Gaussians of intrinsic width `sigma` seen through the PSF's core, (SIZE, SIZE)."""
    width = np.hypot(sigma, _psf_sigma())[:, None]
    pixel = np.arange(SIZE)
    columns = np.exp(-0.5 * ((pixel - x[:, None]) / width) ** 2)
    rows = np.exp(-0.5 * ((pixel - y[:, None]) / width) ** 2)
    rows *= flux[:, None] / (2 * np.pi * width**2)
    return np.einsum("ky,kx->yx", rows, columns)  # not BLAS: its threads could change the last bit


# ---------------------------------------------------------------- galaxies


class _Plane(NamedTuple):
    """A disk's plane on the sky: centre, scale length, axis ratio and angle of the major axis from x."""

    x: float
    y: float
    scale: float
    q: float
    angle: float

    def to_disk(self) -> tuple[np.ndarray, np.ndarray]:
        """Radius (scale lengths) and azimuth (rad) in the disk of every pixel, each (SIZE, SIZE)."""
        row, column = _pixels()
        dx, dy = column - self.x, row - self.y
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        major, minor = (dx * cos + dy * sin) / self.scale, (dy * cos - dx * sin) / (self.scale * self.q)
        return np.hypot(np.hypot(major, minor), 0.3 / self.scale), np.arctan2(minor, major)

    def to_sky(self, radius: np.ndarray, azimuth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Column and row of points in the disk."""
        major, minor = radius * self.scale * np.cos(azimuth), radius * self.scale * self.q * np.sin(azimuth)
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return self.x + major * cos - minor * sin, self.y + major * sin + minor * cos


class _Arms(NamedTuple):
    """A logarithmic spiral pattern."""

    number: int
    winding: float  # cotangent of the pitch angle, signed
    phase: float
    strength: float

    @classmethod
    def draw(cls, rng: np.random.Generator, strength: float) -> _Arms:
        pitch = np.radians(rng.uniform(12, 32))
        return cls(
            number=int(rng.choice((2, 3, 4), p=(0.65, 0.2, 0.15))),
            winding=float(rng.choice((-1, 1)) / np.tan(pitch)),
            phase=rng.uniform(0, 2 * np.pi),
            strength=strength,
        )

    def factor(self, plane: _Plane, radius: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
        """Factor on the surface brightness; arms too tight for the PSF are smeared out."""
        wave = self.number * math.hypot(1.0, self.winding) / (radius * plane.scale * plane.q)
        strength = self.strength * np.exp(-0.5 * (_psf_sigma() * wave) ** 2) * radius / (radius + 0.5)
        return 1 + strength * np.cos(self.number * (azimuth - self.winding * np.log(radius)) + self.phase)

    def crest(self, rng: np.random.Generator, radius: np.ndarray) -> np.ndarray:
        """Azimuths on the arms at these radii."""
        arm = rng.integers(self.number, size=len(radius))
        return (2 * np.pi * arm - self.phase) / self.number + self.winding * np.log(radius)


def _texture(rng: np.random.Generator, plane: _Plane, strength: float) -> np.ndarray:
    """Log-normal clumps, foreshortened like the disk; `strength` is the rms of the log before the PSF."""
    ky, kx = 2 * np.pi * np.fft.fftfreq(SIZE)[:, None], 2 * np.pi * np.fft.rfftfreq(SIZE)
    cos, sin = math.cos(plane.angle), math.sin(plane.angle)
    k_disk2 = (kx * cos + ky * sin) ** 2 + (plane.q * (ky * cos - kx * sin)) ** 2
    spectrum = 1 / (1 + k_disk2 * (0.6 * plane.scale) ** 2)
    spectrum[0, 0] = 0
    spectrum /= np.sqrt(2 * np.mean(spectrum**2))
    spectrum *= np.exp(-0.5 * _psf_sigma() ** 2 * (kx**2 + ky**2))
    noise = np.fft.rfft2(rng.standard_normal((SIZE, SIZE)))
    return np.exp(strength * np.sqrt(2) * np.fft.irfft2(noise * spectrum, s=(SIZE, SIZE)))


def _structured(
    rng: np.random.Generator, smooth: np.ndarray, plane: _Plane, arms: _Arms, clumps: float, lopsided: float
) -> np.ndarray:
    """Give a smooth disk arms, clumps, a lopsided side and an outer break, at unchanged flux on the stamp."""
    radius, azimuth = plane.to_disk()
    light = smooth * arms.factor(plane, radius, azimuth) * _texture(rng, plane, clumps)
    light *= 1 + lopsided * np.cos(azimuth - rng.uniform(0, 2 * np.pi)) * radius / (radius + 1)
    break_radius = rng.uniform(3.0, 5.5)
    light /= 1 + np.exp(np.minimum((radius - break_radius) / 0.35, 50.0))
    return light * (smooth.sum() / light.sum())


def _knots(rng: np.random.Generator, plane: _Plane, arms: _Arms, number: int, flux: float, spread: float) -> np.ndarray:
    """`number` star-forming knots that share `flux`, along the arms with a scatter of `spread` rad."""
    radius = np.minimum(rng.gamma(2.0, 1.0, number), 4.5)
    azimuth = arms.crest(rng, np.maximum(radius, 0.1)) + rng.normal(0, spread, number)
    shares = rng.lognormal(0.0, 0.9, number) * np.exp(-0.7 * radius)  # fainter outwards
    sigma = rng.uniform(0.05, 0.25, number) * plane.scale
    return _blobs(*plane.to_sky(radius, azimuth), sigma, flux * shares / shares.sum())


def _tail(rng: np.random.Generator, x: float, y: float, r_eff: float, flux: float) -> np.ndarray:
    """A curved tidal tail that leaves the galaxy near its half-light radius."""
    along = np.linspace(0, 1, 16)
    radius = r_eff * (0.8 + rng.uniform(1.0, 2.8) * along)
    azimuth = rng.uniform(0, 2 * np.pi) + rng.uniform(-2.2, 2.2) * along
    shares = (1.1 - along) * rng.lognormal(0, 0.3, len(along))
    columns, rows = x + radius * np.cos(azimuth), y + radius * np.sin(azimuth)
    return _blobs(columns, rows, r_eff * (0.15 + 0.15 * along), flux * shares / shares.sum())


def _enclosed(radius: np.ndarray, n: int) -> np.ndarray:
    """Share of a Sersic profile's light within `radius` (half-light radii), for integer `n`."""
    t = (2 * n - 1 / 3 + 0.009876 / n) * radius ** (1 / n)
    return 1 - np.exp(-t) * sum(t**k / math.factorial(k) for k in range(2 * n))


def _half_light(bulge_share: float, bulge_n: int, bulge_radius: float) -> float:
    """Half-light radius of bulge + exponential disk, all radii in units of the disk's half-light radius."""
    radius = np.geomspace(0.01, 4, 300)
    bulge, disk = _enclosed(radius / bulge_radius, bulge_n), _enclosed(radius, 1)
    enclosed = bulge_share * bulge + (1 - bulge_share) * disk
    return float(np.interp(0.5, enclosed, radius))


def _spheroid(rng: np.random.Generator, flux: float, r_eff: float, x: float, y: float) -> np.ndarray:
    """A de Vaucouleurs profile, not quite smooth."""
    q, angle = 1 - min(abs(rng.normal(0.25, 0.18)), 0.65), rng.uniform(0, np.pi)
    smooth = _see(_sersic(4, r_eff, q, angle, flux), x, y)
    light = smooth * _texture(rng, _Plane(x, y, r_eff, q, angle), rng.uniform(0.05, 0.2))
    return light * (smooth.sum() / light.sum())


def _disk(rng: np.random.Generator, flux: float, r_eff: float, x: float, y: float) -> np.ndarray:
    bulge, clumps, knots = rng.uniform((0, 0.15, 0), (0.12, 0.45, 0.1))
    return _bulge_and_disk(rng, flux, r_eff, x, y, bulge, clumps, knots)


def _spheroid_and_disk(rng: np.random.Generator, flux: float, r_eff: float, x: float, y: float) -> np.ndarray:
    bulge, clumps, knots = rng.uniform((0.2, 0.1, 0), (0.75, 0.4, 0.05))
    return _bulge_and_disk(rng, flux, r_eff, x, y, bulge, clumps, knots)


def _bulge_and_disk(
    rng: np.random.Generator,
    flux: float,
    r_eff: float,
    x: float,
    y: float,
    bulge_share: float,
    clumps: float,
    knots: float,
) -> np.ndarray:
    """Inclined disk with arms, clumps, knots and perhaps a bar; `bulge_share` of the light is bulge."""
    import galsim

    bulge_n = int(rng.choice((2, 3, 4)))
    bulge_radius = rng.uniform(0.12, 0.2) + 0.4 * bulge_share
    r_disk = r_eff / _half_light(bulge_share, bulge_n, bulge_radius)
    cos_i, angle = rng.uniform(0.08, 1), rng.uniform(0, np.pi)
    plane = _Plane(x, y, r_disk / 1.678, math.hypot(cos_i, 0.15 * math.sqrt(1 - cos_i**2)), angle)
    arms = _Arms.draw(rng, strength=rng.uniform(0.0, 0.6))

    bar_share = rng.uniform(0.05, 0.2) if rng.random() < 0.35 else 0.0
    disk_flux = flux * (1 - bulge_share)
    smooth_flux = disk_flux * (1 - bar_share - knots)
    light = _structured(
        rng,
        _see(_inclined_disk(r_disk, cos_i, angle, smooth_flux), x, y),
        plane,
        arms,
        clumps,
        lopsided=min(abs(rng.normal(0, 0.2)), 0.6),
    )
    bulge_q = plane.q + (1 - plane.q) * rng.uniform(0.5, 0.95)
    centre = _sersic(bulge_n, bulge_radius * r_disk, bulge_q, angle, bulge_share * flux)
    if bar_share:
        face_on = _sersic(0.5, rng.uniform(0.3, 0.6) * r_disk, 0.3, rng.uniform(0, np.pi), 1.0)
        bar = face_on.transform(1, 0, 0, plane.q).rotate(angle * galsim.radians)
        centre += bar.withFlux(bar_share * disk_flux)
    light += _see(centre, x, y)
    return light + _knots(rng, plane, arms, int(rng.integers(4, 16)), knots * disk_flux, spread=0.4)


def _irregular(rng: np.random.Generator, flux: float, r_eff: float, x: float, y: float) -> np.ndarray:
    """One to three bodies, clumps, knots and, twice in five, a tidal tail."""
    tail = rng.uniform(0.04, 0.18) if rng.random() < 0.4 else 0.0
    knots = rng.uniform(0.01, 0.06)
    shares = np.append(1.0, rng.uniform(0.08, 0.35, rng.integers(0, 3)))
    shares *= (1 - tail - knots) / shares.sum()
    q, angle = rng.uniform(0.35, 0.95), rng.uniform(0, np.pi)
    plane = _Plane(x, y, 1.1 * r_eff / 1.678, q, angle)
    body = _sersic(float(rng.choice((0.5, 1.0))), 1.1 * r_eff, q, angle, flux * shares[0])
    for share in shares[1:]:
        distance, direction = r_eff * rng.uniform(0.2, 0.9), rng.uniform(0, 2 * np.pi)
        size, q_part, turn = rng.uniform((0.35, 0.4, 0), (0.9, 1, np.pi))
        part = _sersic(1.0, r_eff * size, q_part, turn, flux * share)
        body += part.shift(distance * math.cos(direction), distance * math.sin(direction))
    arms = _Arms.draw(rng, strength=0.0)
    light = _structured(
        rng, _see(body, x, y), plane, arms, clumps=rng.uniform(0.1, 0.3), lopsided=rng.uniform(0.05, 0.45)
    )
    light += _knots(rng, plane, arms, int(rng.integers(4, 20)), knots * flux, spread=2.0)
    return light + _tail(rng, x, y, r_eff, tail * flux)


_DRAW = {"sph": _spheroid, "disk": _disk, "sphd": _spheroid_and_disk, "irr": _irregular}


def _draw_size(rng: np.random.Generator, population: _Population, mag: float) -> float:
    """Half-light radius at this magnitude: log-normal, within the type's range and the survey's depth."""
    low, high = np.log10(population.r_range)
    high = min(high, 0.2 * (_FAINTEST_MEAN_SB - mag - 2.5 * math.log10(2 * math.pi)))
    middle = math.log10(population.r_eff) + population.r_slope * (mag - 21.5)
    return 10 ** _bounded(lambda: rng.normal(middle, population.r_scatter), low, high)


def _bounded(draw: Callable[[], float], low: float, high: float) -> float:
    """First value of `draw()` within the bounds."""
    while not low <= (value := draw()) <= high:
        pass
    return float(value)


def _flux(mag: float) -> float:
    return 10 ** (-0.4 * (mag - ZEROPOINT))


def _mag(flux: float) -> float:
    return ZEROPOINT - 2.5 * math.log10(flux)


# ---------------------------------------------------------------- neighbours, segments, bad stamps


def _draw_neighbours(rng: np.random.Generator, central: np.ndarray, r_eff: float) -> list[np.ndarray]:
    """Light of up to four other galaxies, each (SIZE, SIZE), all faint at the stamp's very centre."""
    layers = []
    for _ in range(min(rng.poisson(_NEIGHBOUR_MEAN), 4)):
        kind = rng.choice(MORPHOLOGIES, p=_NEIGHBOUR_SHARES)
        bright, faint = (10 ** (_NEIGHBOUR_COUNTS_SLOPE * m) for m in _NEIGHBOUR_MAGS)
        mag = math.log10(rng.uniform(bright, faint)) / _NEIGHBOUR_COUNTS_SLOPE
        size = _draw_field_size(rng, _POPULATIONS[kind], mag)
        if rng.random() < 0.15:
            distance, direction = max(rng.uniform(1.5, 3.5) * r_eff, 8.0), rng.uniform(0, 2 * np.pi)
            dx, dy = distance * math.cos(direction), distance * math.sin(direction)
        else:
            dx, dy = rng.uniform(-CENTER - 4, CENTER + 4, 2)
            while math.hypot(dx, dy) < 25:
                dx, dy = rng.uniform(-CENTER - 4, CENTER + 4, 2)
        light = _DRAW[kind](rng, _flux(mag), size, CENTER + dx, CENTER + dy)
        if light[CENTER, CENTER] < 0.3 * central[CENTER, CENTER]:
            layers.append(light)
    return layers


def _draw_field_size(rng: np.random.Generator, population: _Population, mag: float) -> float:
    """Half-light radius of a galaxy of any magnitude: its type's, continued with -0.1 dex per magnitude."""
    middle = math.log10(population.r_eff) - 0.1 * (mag - 21.5)
    return float(np.clip(10 ** rng.normal(middle, population.r_scatter), 1.0, 40.0))


def _segment(layers: list[np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Segmentation map as SExtractor would leave it: (SIZE, SIZE) uint8, and the label of ``layers[0]``.

    A pixel belongs to its brightest contributor where the light exceeds the threshold; contributors that own
    fewer than MIN_AREA pixels are not detected and get no label. Labels come in random order.
    """
    light = np.stack(layers)
    above = light.sum(0) > THRESHOLD
    area = np.bincount(light.argmax(0)[above], minlength=len(layers))
    area[0] = SIZE**2
    found = light[area >= MIN_AREA]
    labels = rng.permutation(len(found)).astype(np.uint8) + np.uint8(1)
    segments = np.where(found.sum(0) > THRESHOLD, labels[found.argmax(0)], np.uint8(0))
    segments[CENTER, CENTER] = labels[0]
    return segments, int(labels[0])


def _close_companion(rng: np.random.Generator, mag: float, r_eff: float) -> np.ndarray:
    """A comparable galaxy on top of the central one."""
    kind = rng.choice(MORPHOLOGIES)
    distance, direction = max(rng.uniform(0.6, 1.6) * r_eff, 3.5), rng.uniform(0, 2 * np.pi)
    x, y = CENTER + distance * math.cos(direction), CENTER + distance * math.sin(direction)
    size = max(r_eff * rng.uniform(0.4, 1.0), 1.5)
    return _DRAW[kind](rng, _flux(mag + rng.uniform(-0.3, 1.2)), size, x, y)


def _off_mosaic(rng: np.random.Generator) -> np.ndarray:
    """What lies beyond the mosaic's tilted edge, 8 to 50 pixels from the centre, (SIZE, SIZE) bool."""
    row, column = _pixels()
    angle = rng.integers(4) * np.pi / 2 + rng.normal(0, 0.15)
    along = (column - CENTER) * np.cos(angle) + (row - CENTER) * np.sin(angle)
    return along > rng.uniform(8, 50)


def _artefact(rng: np.random.Generator, r_eff: float) -> np.ndarray:
    """A cosmic ray, satellite trail, persistence blob or dead spot near the galaxy, signed, (SIZE, SIZE)."""
    row, column = _pixels()
    kind = rng.choice(("cosmic ray", "trail", "persistence", "dead"))
    distance, direction = rng.uniform(0, 2) * r_eff, rng.uniform(0, 2 * np.pi)
    dx, dy = column - CENTER - distance * np.cos(direction), row - CENTER - distance * np.sin(direction)
    angle = rng.uniform(0, np.pi)
    along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
    if kind == "cosmic ray":
        return rng.uniform(0.1, 1.0) * np.exp(-((across / 0.8) ** 2)) * (np.abs(along) < rng.uniform(3, 15))
    if kind == "trail":
        return rng.uniform(0.02, 0.2) * np.exp(-((across / rng.uniform(1.5, 3.5)) ** 2))
    width = rng.uniform(2, 9)
    blob = np.exp(-0.5 * (dx**2 + dy**2) / width**2)
    return blob * (rng.uniform(0.02, 0.15) if kind == "persistence" else -rng.uniform(0.03, 0.15))


# ---------------------------------------------------------------- stamps


class _Galaxy(NamedTuple):
    """What the catalogue says of a central galaxy."""

    morphology: str
    mag: float
    r_eff: float
    z: float


def _draw_galaxy(rng: np.random.Generator, deeper: float = 0.0, smaller: float = 1.0) -> _Galaxy:
    """Type, magnitude, size and redshift of a galaxy; see `simulate` for `deeper` and `smaller`."""
    kind = str(rng.choice(MORPHOLOGIES, p=[_POPULATIONS[m].share for m in MORPHOLOGIES]))
    population = _POPULATIONS[kind]
    bright, faint = population.mag_range
    faint += deeper
    excess = faint - population.mag_mean - deeper / 2  # counts rise towards the limit: a gamma distribution below it
    shape, scale = (excess / population.mag_sd) ** 2, population.mag_sd**2 / excess
    mag = _bounded(lambda: faint - rng.gamma(shape, scale), bright, faint)
    z_share = np.clip(0.52 + 0.09 * (mag - 21.3), 0.15, 0.85)  # of the range 0 to 1.5; fainter is farther
    r_eff = _draw_size(rng, population, mag)
    z = 1.5 * rng.beta(5 * z_share, 5 * (1 - z_share))
    if smaller > 1:
        r_eff = max(r_eff * smaller ** -rng.random(), min(r_eff, _SMALLEST))
    return _Galaxy(kind, mag, r_eff, z)


def _simulate_one(
    seed: int, index: int, neighbours: bool, deeper: float, smaller: float, sharper: float
) -> tuple[np.ndarray, np.ndarray, dict]:
    """Galaxy `index` of a seed: image (SIZE, SIZE) float32, segments (SIZE, SIZE) uint8, catalogue row."""
    streams = np.random.SeedSequence(seed, spawn_key=(index,)).spawn(6)
    *streams, rng_psf = map(np.random.default_rng, streams)
    with _seen(sharper ** rng_psf.random()):
        return _draw_stamp(streams, seed, index, neighbours, deeper, smaller)


def _draw_stamp(
    streams: list[np.random.Generator], seed: int, index: int, neighbours: bool, deeper: float, smaller: float
) -> tuple[np.ndarray, np.ndarray, dict]:
    rng, rng_neighbours, rng_bad, rng_labels, rng_noise = streams
    kind, mag, r_eff, _ = galaxy = _draw_galaxy(rng, deeper, smaller)
    x, y = CENTER + rng.uniform(-0.5, 0.5, 2)
    central = _DRAW[kind](rng, _flux(mag), r_eff, x, y)

    layers = [central]
    if neighbours:
        layers += _draw_neighbours(rng_neighbours, central, r_eff)
    image = np.sum(layers, axis=0)
    bad = str(rng_bad.choice(BAD_KINDS)) if rng_bad.random() < BAD_SHARE else ""
    if bad == "close_blend":
        companion = _close_companion(rng_bad, mag, r_eff)
        image += companion
        layers[0] = central + companion
        galaxy = galaxy._replace(mag=_mag(float(layers[0].sum())))  # a survey that saw one galaxy measured both
    segments, label = _segment(layers, rng_labels)
    if bad == "artefact":
        artefact = _artefact(rng_bad, r_eff)
        image += artefact
        stray = (artefact > THRESHOLD) & (segments == 0)
        if stray.sum() >= MIN_AREA:
            segments[stray] = len(layers) + 1
    image += rng_noise.normal(0, SKY, image.shape)
    if bad == "edge":
        outside = _off_mosaic(rng_bad)
        image[outside] = 0.0
        segments[outside] = 0

    row = {
        "id": seed * MAX_GALAXIES + index + 1,
        **galaxy._asdict(),
        "segval": label,
        "truth_bad": bad,
        "truth_flux": float(central.sum()),
        "truth_n_neighbours": len(layers) - 1,
    }
    return image.astype(np.float32), segments, row


def simulate(
    n: int = 2000,
    seed: int = 0,
    *,
    neighbours: bool = True,
    deeper: float = 0.0,
    smaller: float = 1.0,
    sharper: float = 1.0,
    n_jobs: int | None = None,
    progress: bool = True,
) -> Sample:
    """Simulate a CANDELS-like sample of galaxies, one in the middle of each stamp.

    Galaxy `i` of a seed is the same, bit for bit, whatever `n` and `n_jobs`.

    Parameters
    ----------
    n : int
        Number of galaxies, at most 100,000.
    seed : int
        Not negative. Galaxies of two seeds share no catalogue id.
    neighbours : bool
        False leaves the neighbours out and keeps every central galaxy, its noise and its flaws: what a
        perfect cleaning would find.
    deeper : float
        How many magnitudes fainter than the paper's sample, cut at AB 23, the limit is; a network that was trained on
        a deeper sample does not meet the faintest galaxies unprepared.
    smaller : float
        Radii are divided by a factor drawn for each galaxy between 1 and this, uniformly in its logarithm, though not
        below 1.1 pixels: other surveys find more compact galaxies than the paper's.
    sharper : float
        Widths of the PSF, WFC3/F160W's, are divided by a factor drawn for each stamp between 1 and this, uniformly in
        its logarithm: at shorter wavelengths HST sees more sharply.
    n_jobs : int, optional
        Number of processes; by default one per core.
    progress : bool
        Show a progress bar when run in a terminal.

    Returns
    -------
    Sample
        `images` (n, 128, 128) float32 in e-/s at 0.06" per pixel and AB zeropoint 25.96, with white sky noise
        of 0.006 e-/s; `segmaps` (n, 128, 128) uint8; `catalog` with `id`, `morphology`, `mag` (total, AB;
        of both galaxies in an undetected close blend), `r_eff` (semi-major half-light radius in pixels), `z`, `segval`,
        and what only a simulation knows: `truth_bad` ("", "close_blend", "edge" or "artefact"),
        `truth_flux` (the central galaxy's noise-free light on the stamp, e-/s), `truth_n_neighbours`
        (detectable or not).

    Raises
    ------
    ValueError
        If `n`, `seed` or `n_jobs` is not an integer within its range, or `deeper`, `smaller` or `sharper` out of range.

    Notes
    -----
    Types, magnitudes and radii follow the CANDELS galaxies in the test blends of Boucaud et al. (2019, MNRAS
    491, 2481; sample selection in section 2.1).
    """
    import joblib
    from astropy.table import Table
    from tqdm import tqdm

    n = _integer("n", n, 1, MAX_GALAXIES)
    seed = _integer("seed", seed, 0, MAX_SEED)
    if not 0 <= deeper <= 3:
        raise ValueError(
            f"deeper = {deeper} was given, expected 0 to 3 magnitudes: the population is not known beyond."
        )
    if not 1 <= smaller <= 5:
        raise ValueError(f"smaller = {smaller} was given, expected a factor from 1 to 5.")
    if not 1 <= sharper <= 2:
        raise ValueError(f"sharper = {sharper} was given, expected a factor from 1 to 2: pixels are no finer.")
    n_jobs = joblib.cpu_count() if n_jobs is None else _integer("n_jobs", n_jobs, 1, 1024)

    images = np.empty((n, SIZE, SIZE), np.float32)
    segmaps = np.empty((n, SIZE, SIZE), np.uint8)
    rows = []
    jobs = joblib.Parallel(n_jobs=min(n_jobs, n), return_as="generator")
    broader = deeper, smaller, sharper
    stamps = jobs(joblib.delayed(_simulate_one)(seed, index, neighbours, *broader) for index in range(n))
    silent = None if progress else True  # None: silent where nobody watches, in logs and headless notebooks
    for i, stamp in enumerate(tqdm(stamps, total=n, desc="simulating", unit="galaxy", disable=silent)):
        images[i], segmaps[i], row = stamp
        rows.append(row)
    name = (
        f"synthetic, seed {seed}"
        + ("" if neighbours else ", no neighbours")
        + (f", {deeper} mag deeper" if deeper else "")
        + (f", up to {smaller} times smaller" if smaller > 1 else "")
        + (f", PSF up to {sharper} times sharper" if sharper > 1 else "")
    )
    return Sample(images, segmaps, Table(rows=rows), zeropoint=ZEROPOINT, pixel_scale=PIXEL_SCALE, name=name)


def _integer(name: str, value: int, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
        raise ValueError(f"{name} = {value!r} was given, expected an integer from {low} to {high:,}.")
    return int(value)
