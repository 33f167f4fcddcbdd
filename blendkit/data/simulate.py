"""A synthetic sample that looks like the CANDELS parent sample of Boucaud et al. (2019).

Types, magnitudes and radii are as in its published test blends. Smooth light is drawn by galsim, seen through a PSF
like HST WFC3/F160W's; arms, clumps, knots and tails lie on top, no finer than that. Lengths: pixels, light: e-/s.
"""

import math
import numbers
import tomllib
from functools import lru_cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple, Self

import galsim
import numpy as np
from astropy.table import Table

from .check import require
from .photometry import map_stamps
from .sample import MORPHOLOGIES, PIXEL_SCALE, ZEROPOINT, Sample
from .sky import CORRELATION, LEVEL, NOISE, sky_noise

VERSION = 3  # part of the cache's file name: raise it whenever pixels change

SIZE, CENTER = 128, 64
THRESHOLD = 1.2 * NOISE  # surface brightness at which segments end, e-/s per pixel
MIN_AREA = 10  # pixels: what covers fewer is not detected
BAD_SHARE, BAD_KINDS = 0.04, ("close_blend", "edge", "artefact")
MAX_GALAXIES = 100_000  # of one seed: ids of two seeds must not meet
MAX_SEED = 10**12

GRID = 2 * SIZE  # side of the periodic grid of the Fourier transforms
PSF_SIGMA = 1.25  # pixels, Gaussian core of the PSF (FWHM 0.18")
ROW, COLUMN = np.indices((SIZE, SIZE), dtype=float)
Random = np.random.Generator
SKIES = {"correlated": (1, CORRELATION), "white": (1, 0), "none": (0, 0)}  # share of NOISE, its correlation

_TABLE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
POPULATIONS = {kind: SimpleNamespace(**about) for kind, about in _TABLE.items()}
FAINTEST_MEAN_SB = 30.7  # mag per pixel within r_eff: the survey misses what is fainter
FIELD_SHARES = (0.10, 0.40, 0.17, 0.33)  # of MORPHOLOGIES among faint field galaxies
COUNTS_SLOPE = 0.24  # d log10 N / d mag of field galaxies


def fourier_image(profile: galsim.GSObject) -> np.ndarray:
    """Fourier transform of a galsim profile on the common half plane, (GRID, GRID // 2 + 1) complex."""
    half = GRID // 2
    image = galsim.ImageCD(galsim.BoundsI(0, half, -half, half - 1))
    profile.drawKImage(image=image, scale=2 * np.pi / GRID, recenter=False)
    return np.fft.ifftshift(image.array, axes=0)


@lru_cache(maxsize=4)
def psf(sharper: float = 1.0) -> np.ndarray:
    """WFC3/F160W-like transfer function: aperture, 0.128" native pixel, charge diffusion, 0.06" pixel."""
    optics = galsim.Airy(lam_over_diam=0.132 / PIXEL_SCALE / sharper, obscuration=0.33)
    detector = [galsim.Pixel(0.128 / PIXEL_SCALE / sharper), galsim.Gaussian(sigma=0.5 / sharper), galsim.Pixel(1.0)]
    return fourier_image(galsim.Convolve(optics, *detector))


def sersic(n: float, r_eff: float, q: float, angle: float, flux: float) -> galsim.GSObject:
    """Sersic profile: semi-major half-light radius `r_eff`, axis ratio `q`, major axis at `angle` from x."""
    unit = galsim.Sersic(n, half_light_radius=1.0, trunc=8.0)
    return unit.dilate(r_eff * math.sqrt(q)).withFlux(flux).shear(q=q, beta=angle * galsim.radians)


class Disk(NamedTuple):
    """A disk's plane on the sky, and how it is seen."""

    x: float  # column and row of the centre
    y: float
    sharper: float  # widths of the PSF are divided by it
    scale: float = 1.0  # scale length, axis ratio, and angle of the major axis from x
    q: float = 1.0
    angle: float = 0.0

    def light(self, profile: galsim.GSObject) -> np.ndarray:
        """The (SIZE, SIZE) light of a galsim profile at the centre, through the PSF."""
        spectrum = fourier_image(profile) * psf(self.sharper)
        spectrum *= np.exp(-2j * np.pi * self.y * np.fft.fftfreq(GRID))[:, None]
        spectrum *= np.exp(-2j * np.pi * self.x * np.fft.rfftfreq(GRID))
        return np.fft.irfft2(spectrum, s=(GRID, GRID))[:SIZE, :SIZE]

    def blobs(self, x: np.ndarray, y: np.ndarray, sigma: np.ndarray, flux: np.ndarray) -> np.ndarray:
        """Sum of k round Gaussians of intrinsic width `sigma` seen through the PSF's core, (SIZE, SIZE)."""
        width = np.hypot(sigma, PSF_SIGMA / self.sharper)[:, None]
        columns, rows = (np.exp(-0.5 * ((np.arange(SIZE) - at[:, None]) / width) ** 2) for at in (x, y))
        rows *= flux[:, None] / (2 * np.pi * width**2)
        return np.einsum("ky,kx->yx", rows, columns)  # not BLAS: its threads could change the last bit

    def to_disk(self) -> tuple[np.ndarray, np.ndarray]:
        """Radius (scale lengths) and azimuth (rad) in the disk of every pixel, each (SIZE, SIZE)."""
        dx, dy = COLUMN - self.x, ROW - self.y
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        major, minor = (dx * cos + dy * sin) / self.scale, (dy * cos - dx * sin) / (self.scale * self.q)
        return np.hypot(np.hypot(major, minor), 0.3 / self.scale), np.arctan2(minor, major)

    def texture(self, rng: Random, strength: float) -> np.ndarray:
        """Log-normal clumps, foreshortened like the disk; `strength` is the rms of the log before the PSF."""
        ky, kx = 2 * np.pi * np.fft.fftfreq(SIZE)[:, None], 2 * np.pi * np.fft.rfftfreq(SIZE)
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        k_disk2 = (kx * cos + ky * sin) ** 2 + (self.q * (ky * cos - kx * sin)) ** 2
        spectrum = 1 / (1 + k_disk2 * (0.6 * self.scale) ** 2)
        spectrum[0, 0] = 0
        spectrum /= np.sqrt(2 * np.mean(spectrum**2))
        spectrum *= np.exp(-0.5 * (PSF_SIGMA / self.sharper) ** 2 * (kx**2 + ky**2))
        noise = np.fft.rfft2(rng.standard_normal((SIZE, SIZE)))
        return np.exp(strength * np.sqrt(2) * np.fft.irfft2(noise * spectrum, s=(SIZE, SIZE)))


class Arms(NamedTuple):
    """A logarithmic spiral pattern."""

    number: int
    winding: float  # cotangent of the pitch angle, signed
    phase: float
    strength: float

    @classmethod
    def draw(cls, rng: Random, strength: float) -> Self:
        pitch, number = np.radians(rng.uniform(12, 32)), int(rng.choice((2, 3, 4), p=(0.65, 0.2, 0.15)))
        return cls(number, float(rng.choice((-1, 1)) / np.tan(pitch)), rng.uniform(0, 2 * np.pi), strength)

    def knots(self, rng: Random, disk: Disk, number: int, flux: float, spread: float) -> np.ndarray:
        """`number` star-forming knots that share `flux`, along the arms with a scatter of `spread` rad."""
        radius = np.minimum(rng.gamma(2.0, 1.0, number), 4.5)
        arm = rng.integers(self.number, size=number)
        crest = (2 * np.pi * arm - self.phase) / self.number + self.winding * np.log(np.maximum(radius, 0.1))
        azimuth = crest + rng.normal(0, spread, number)
        shares = rng.lognormal(0.0, 0.9, number) * np.exp(-0.7 * radius)  # fainter outwards
        sigma = rng.uniform(0.05, 0.25, number) * disk.scale
        major, minor = radius * disk.scale * np.cos(azimuth), radius * disk.scale * disk.q * np.sin(azimuth)
        cos, sin = math.cos(disk.angle), math.sin(disk.angle)
        columns, rows = disk.x + major * cos - minor * sin, disk.y + major * sin + minor * cos
        return disk.blobs(columns, rows, sigma, flux * shares / shares.sum())


def structured(rng: Random, smooth: np.ndarray, disk: Disk, arms: Arms, clumps: float, lopsided: float) -> np.ndarray:
    """Give a smooth disk arms, clumps, a lopsided side and an outer break, at unchanged flux on the stamp."""
    radius, azimuth = disk.to_disk()
    wave = arms.number * math.hypot(1.0, arms.winding) / (radius * disk.scale * disk.q)
    strength = arms.strength * np.exp(-0.5 * (PSF_SIGMA / disk.sharper * wave) ** 2)  # arms too tight for the PSF smear
    crests = np.cos(arms.number * (azimuth - arms.winding * np.log(radius)) + arms.phase)
    light = smooth * (1 + strength * radius / (radius + 0.5) * crests) * disk.texture(rng, clumps)
    light *= 1 + lopsided * np.cos(azimuth - rng.uniform(0, 2 * np.pi)) * radius / (radius + 1)
    light /= 1 + np.exp(np.minimum((radius - rng.uniform(3.0, 5.5)) / 0.35, 50.0))
    return light * (smooth.sum() / light.sum())


def enclosed(radius: np.ndarray, n: int) -> np.ndarray:
    """Share of a Sersic profile's light within `radius` (half-light radii), for integer `n`."""
    t = (2 * n - 1 / 3 + 0.009876 / n) * radius ** (1 / n)
    return 1 - np.exp(-t) * sum(t**k / math.factorial(k) for k in range(2 * n))


def spheroid(rng: Random, spot: Disk, flux: float, r_eff: float) -> np.ndarray:
    """A de Vaucouleurs profile, not quite smooth."""
    q, angle = 1 - min(abs(rng.normal(0.25, 0.18)), 0.65), rng.uniform(0, np.pi)
    smooth = spot.light(sersic(4, r_eff, q, angle, flux))
    light = smooth * spot._replace(scale=r_eff, q=q, angle=angle).texture(rng, rng.uniform(0.05, 0.2))
    return light * (smooth.sum() / light.sum())


def bulge_and_disk(lowest: tuple, highest: tuple, rng: Random, spot: Disk, flux: float, r_eff: float) -> np.ndarray:
    """Inclined disk with perhaps a bar; bounds of the bulge's share, the clumps' strength and the knots' share."""
    bulge, clumps, knots = rng.uniform(lowest, highest)
    bulge_n, bulge_radius = int(rng.choice((2, 3, 4))), rng.uniform(0.12, 0.2) + 0.4 * bulge
    radius = np.geomspace(0.01, 4, 300)  # in half-light radii of the disk
    inside = bulge * enclosed(radius / bulge_radius, bulge_n) + (1 - bulge) * enclosed(radius, 1)
    r_disk = r_eff / float(np.interp(0.5, inside, radius))
    cos_i, angle = rng.uniform(0.08, 1), rng.uniform(0, np.pi)
    disk = spot._replace(scale=r_disk / 1.678, q=math.hypot(cos_i, 0.15 * math.sqrt(1 - cos_i**2)), angle=angle)
    arms = Arms.draw(rng, strength=rng.uniform(0.0, 0.6))
    bar_share, disk_flux = rng.uniform(0.05, 0.2) if rng.random() < 0.35 else 0.0, flux * (1 - bulge)
    thick = galsim.InclinedExponential(math.acos(cos_i) * galsim.radians, half_light_radius=r_disk, scale_h_over_r=0.12)
    smooth = spot.light(thick.withFlux(disk_flux * (1 - bar_share - knots)).rotate(angle * galsim.radians))
    light = structured(rng, smooth, disk, arms, clumps, lopsided=min(abs(rng.normal(0, 0.2)), 0.6))
    centre = sersic(bulge_n, bulge_radius * r_disk, disk.q + (1 - disk.q) * rng.uniform(0.5, 0.95), angle, bulge * flux)
    if bar_share:
        bar = sersic(0.5, rng.uniform(0.3, 0.6) * r_disk, 0.3, rng.uniform(0, np.pi), 1.0).transform(1, 0, 0, disk.q)
        centre += bar.rotate(angle * galsim.radians).withFlux(bar_share * disk_flux)
    light += spot.light(centre)
    return light + arms.knots(rng, disk, int(rng.integers(4, 16)), knots * disk_flux, spread=0.4)


def irregular(rng: Random, spot: Disk, flux: float, r_eff: float) -> np.ndarray:
    """One to three bodies, clumps, knots and, twice in five, a tidal tail."""
    tail, knots = rng.uniform(0.04, 0.18) if rng.random() < 0.4 else 0.0, rng.uniform(0.01, 0.06)
    shares = np.append(1.0, rng.uniform(0.08, 0.35, rng.integers(0, 3)))
    shares *= (1 - tail - knots) / shares.sum()
    q, angle = rng.uniform(0.35, 0.95), rng.uniform(0, np.pi)
    disk = spot._replace(scale=1.1 * r_eff / 1.678, q=q, angle=angle)
    body = sersic(float(rng.choice((0.5, 1.0))), 1.1 * r_eff, q, angle, flux * shares[0])
    for share in shares[1:]:
        dx, dy = offset(rng, r_eff * rng.uniform(0.2, 0.9))
        size, q_part, turn = rng.uniform((0.35, 0.4, 0), (0.9, 1, np.pi))
        body += sersic(1.0, r_eff * size, q_part, turn, flux * share).shift(dx, dy)
    arms = Arms.draw(rng, strength=0.0)
    clumps, lopsided = rng.uniform(0.1, 0.3), rng.uniform(0.05, 0.45)
    light = structured(rng, spot.light(body), disk, arms, clumps, lopsided)
    light += arms.knots(rng, disk, int(rng.integers(4, 20)), knots * flux, spread=2.0)
    along = np.linspace(0, 1, 16)  # the tail leaves the galaxy near its half-light radius, and is curved
    radius = r_eff * (0.8 + rng.uniform(1.0, 2.8) * along)
    azimuth = rng.uniform(0, 2 * np.pi) + rng.uniform(-2.2, 2.2) * along
    shares = (1.1 - along) * rng.lognormal(0, 0.3, len(along))
    columns, rows = spot.x + radius * np.cos(azimuth), spot.y + radius * np.sin(azimuth)
    return light + spot.blobs(columns, rows, r_eff * (0.15 + 0.15 * along), tail * flux * shares / shares.sum())


DRAW = {"sph": spheroid, "disk": partial(bulge_and_disk, (0, 0.15, 0), (0.12, 0.45, 0.1))}
DRAW |= {"sphd": partial(bulge_and_disk, (0.2, 0.1, 0), (0.75, 0.4, 0.05)), "irr": irregular}


def offset(rng: Random, distance: float) -> tuple[float, float]:
    """Columns and rows of a step in a random direction."""
    direction = rng.uniform(0, 2 * np.pi)
    return distance * math.cos(direction), distance * math.sin(direction)


def flux_of(mag: float) -> float:
    """Light in e-/s of an AB magnitude."""
    return 10 ** (-0.4 * (mag - ZEROPOINT))


def draw_field_galaxy(rng: Random) -> tuple[str, float, float]:
    """Morphology, light (e-/s) and effective radius of a galaxy of a deep field, AB 18.5 to 26.5."""
    kind = rng.choice(MORPHOLOGIES, p=FIELD_SHARES)
    mag = math.log10(rng.uniform(*(10 ** (COUNTS_SLOPE * m) for m in (18.5, 26.5)))) / COUNTS_SLOPE
    middle = math.log10(POPULATIONS[kind].r_eff) - 0.1 * (mag - 21.5)
    return kind, flux_of(mag), float(np.clip(10 ** rng.normal(middle, POPULATIONS[kind].r_scatter), 1.0, 40.0))


def draw_neighbours(rng: Random, central: np.ndarray, r_eff: float, sharper: float) -> list[np.ndarray]:
    """Light of up to four other galaxies, each (SIZE, SIZE), all faint at the stamp's very centre."""
    layers = []
    for _ in range(min(rng.poisson(1.2), 4)):
        kind, flux, size = draw_field_galaxy(rng)
        close = rng.random() < 0.15
        dx, dy = offset(rng, max(rng.uniform(1.5, 3.5) * r_eff, 8.0)) if close else (0, 0)
        while not close and math.hypot(dx, dy) < 25:
            dx, dy = rng.uniform(-CENTER - 4, CENTER + 4, 2)
        light = DRAW[kind](rng, Disk(CENTER + dx, CENTER + dy, sharper), flux, size)
        if light[CENTER, CENTER] < 0.3 * central[CENTER, CENTER]:
            layers.append(light)
    return layers


def segment(layers: list[np.ndarray], rng: Random) -> tuple[np.ndarray, int]:
    """Segmentation map as SExtractor would leave it, and the label of ``layers[0]``; labels come in random order."""
    light = np.stack(layers)
    area = np.bincount(light.argmax(0)[light.sum(0) > THRESHOLD], minlength=len(layers))
    area[0] = SIZE**2
    found = light[area >= MIN_AREA]
    labels = rng.permutation(len(found)).astype(np.uint8) + np.uint8(1)
    segments = np.where(found.sum(0) > THRESHOLD, labels[found.argmax(0)], np.uint8(0))
    segments[CENTER, CENTER] = labels[0]
    return segments, int(labels[0])


def draw_artefact(rng: Random, r_eff: float) -> np.ndarray:
    """A cosmic ray, satellite trail, persistence blob or dead spot near the galaxy, signed, (SIZE, SIZE)."""
    kind = rng.choice(("cosmic ray", "trail", "persistence", "dead"))
    distance, direction = rng.uniform(0, 2) * r_eff, rng.uniform(0, 2 * np.pi)
    dx, dy = COLUMN - CENTER - distance * np.cos(direction), ROW - CENTER - distance * np.sin(direction)
    angle = rng.uniform(0, np.pi)
    along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
    if kind == "cosmic ray":
        return rng.uniform(0.1, 1.0) * np.exp(-((across / 0.8) ** 2)) * (np.abs(along) < rng.uniform(3, 15))
    if kind == "trail":
        return rng.uniform(0.02, 0.2) * np.exp(-((across / rng.uniform(1.5, 3.5)) ** 2))
    blob = np.exp(-0.5 * (dx**2 + dy**2) / rng.uniform(2, 9) ** 2)
    return blob * (rng.uniform(0.02, 0.15) if kind == "persistence" else -rng.uniform(0.03, 0.15))


def draw_galaxy(rng: Random, deeper: float = 0.0, smaller: float = 1.0) -> dict[str, str | float]:
    """Morphology, mag, r_eff and z of a central galaxy; see `simulate` for `deeper` and `smaller`."""
    kind = str(rng.choice(MORPHOLOGIES, p=[POPULATIONS[m].share for m in MORPHOLOGIES]))
    population = POPULATIONS[kind]
    bright, faint = population.mag_range[0], population.mag_range[1] + deeper
    excess = faint - population.mag_mean - deeper / 2  # counts rise towards the limit: a gamma distribution below it
    shape, scale = (excess / population.mag_sd) ** 2, population.mag_sd**2 / excess
    mag = log_r = math.inf
    while not bright <= mag <= faint:
        mag = faint - rng.gamma(shape, scale)
    low, high = np.log10(population.r_range)
    high = min(high, 0.2 * (FAINTEST_MEAN_SB - mag - 2.5 * math.log10(2 * math.pi)))
    while not low <= log_r <= high:
        log_r = rng.normal(math.log10(population.r_eff) + population.r_slope * (mag - 21.5), population.r_scatter)
    r_eff = 10**log_r
    z_share = np.clip(0.52 + 0.09 * (mag - 21.3), 0.15, 0.85)  # of the range 0 to 1.5; fainter is farther
    z = 1.5 * rng.beta(5 * z_share, 5 * (1 - z_share))
    r_eff = max(r_eff * smaller ** -rng.random(), min(r_eff, 1.1)) if smaller > 1 else r_eff
    return {"morphology": kind, "mag": mag, "r_eff": r_eff, "z": z}


def draw_stamp(work: tuple) -> tuple[np.ndarray, np.ndarray, dict]:
    """One galaxy of a seed: image (SIZE, SIZE) float32, segments (SIZE, SIZE) uint8, catalogue row."""
    index, seed, neighbours, deeper, smaller, sharper, noise = work
    streams = np.random.SeedSequence(seed, spawn_key=(index,)).spawn(6)
    rng, rng_neighbours, rng_bad, rng_labels, rng_noise, rng_psf = map(np.random.default_rng, streams)
    sharper = sharper ** rng_psf.random()
    galaxy = draw_galaxy(rng, deeper, smaller)
    kind, mag, r_eff, _ = galaxy.values()
    central = DRAW[kind](rng, Disk(*(CENTER + rng.uniform(-0.5, 0.5, 2)), sharper), flux_of(mag), r_eff)
    layers = [central, *(draw_neighbours(rng_neighbours, central, r_eff, sharper) if neighbours else ())]
    image = np.sum(layers, axis=0)
    bad = str(rng_bad.choice(BAD_KINDS)) if rng_bad.random() < BAD_SHARE else ""
    if bad == "close_blend":  # a comparable galaxy on top of the central one
        kind, (dx, dy) = rng_bad.choice(MORPHOLOGIES), offset(rng_bad, max(rng_bad.uniform(0.6, 1.6) * r_eff, 3.5))
        size, flux = max(r_eff * rng_bad.uniform(0.4, 1.0), 1.5), flux_of(mag + rng_bad.uniform(-0.3, 1.2))
        companion = DRAW[kind](rng_bad, Disk(CENTER + dx, CENTER + dy, sharper), flux, size)
        image += companion
        layers[0] = central + companion
        galaxy["mag"] = ZEROPOINT - 2.5 * math.log10(float(layers[0].sum()))  # a survey that saw one measured both
    segments, label = segment(layers, rng_labels)
    if bad == "artefact":
        artefact = draw_artefact(rng_bad, r_eff)
        image += artefact
        stray = (artefact > THRESHOLD) & (segments == 0)
        if stray.sum() >= MIN_AREA:
            segments[stray] = len(layers) + 1
    share, correlation = SKIES[noise]
    image += share * (sky_noise(rng_noise, image.shape, NOISE, correlation) + rng_noise.normal(0, LEVEL * NOISE))
    if bad == "edge":  # the mosaic ends along a tilted line, 8 to 50 pixels from the centre
        angle = rng_bad.integers(4) * np.pi / 2 + rng_bad.normal(0, 0.15)
        outside = (COLUMN - CENTER) * np.cos(angle) + (ROW - CENTER) * np.sin(angle) > rng_bad.uniform(8, 50)
        image[outside] = segments[outside] = 0
    truth = {"truth_bad": bad, "truth_flux": float(central.sum()), "truth_n_neighbours": len(layers) - 1}
    catalog = {"id": seed * MAX_GALAXIES + index + 1, **galaxy, "segval": label}
    return image.astype(np.float32), segments, catalog | truth


def simulate(n=2000, seed=0, *, neighbours=True, deeper=0, smaller=1, sharper=1, noise="correlated") -> Sample:
    """Simulate a CANDELS-like sample, one galaxy in the middle of each stamp of 128 x 128 pixels (section 2.1).

    Galaxy `i` of a seed is the same, bit for bit, whatever `n` and `noise` (see `load_sample`); two seeds share no id.
    `mag` is total (of both galaxies in an undetected close blend); `truth_bad` is one of BAD_KINDS or "", `truth_flux`
    the light without noise (e-/s). Without `neighbours` galaxies keep their noise and flaws: a perfect cleaning. The
    limit is `deeper` magnitudes fainter than AB 23; radii (not below 1.1 pixels) and the PSF's widths are divided by
    factors between 1 and `smaller` and `sharper`, uniform in the logarithm.
    """
    for what, value, low, high in (("n", n, 1, MAX_GALAXIES), ("seed", seed, 0, MAX_SEED)):
        good = isinstance(value, numbers.Integral) and low <= value <= high
        require(good, f"{what} = {value!r} was given, expected an integer from {low} to {high:,}.")
    for what, value, low, high in (("deeper", deeper, 0, 3), ("smaller", smaller, 1, 5), ("sharper", sharper, 1, 2)):
        require(low <= value <= high, f"{what} = {value!r} was given, expected a number from {low} to {high}.")
    require(noise in SKIES, f"noise = {noise!r} was given, expected one of {', '.join(SKIES)}.")
    work = ((index, int(seed), neighbours, deeper, smaller, sharper, noise) for index in range(n))
    images, segmaps, rows = zip(*map_stamps(draw_stamp, work, n, desc="simulating"), strict=True)
    name = f"synthetic, seed {seed}" + ", no neighbours" * (not neighbours) + f", {deeper} mag deeper" * (deeper > 0)
    name += f", up to {smaller} times smaller" * (smaller > 1) + f", PSF up to {sharper} times sharper" * (sharper > 1)
    name += f", {noise} noise".replace("none", "no") * (noise != "correlated")
    return Sample(np.stack(images), np.stack(segmaps), Table(rows=rows), name=name)
