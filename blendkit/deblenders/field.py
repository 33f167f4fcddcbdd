"""A field: an image of the sky in, a catalogue with errors out, from a stamp to a survey."""

import os
import re
import shutil
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import sep
from astropy import units as u
from astropy.io import fits
from astropy.nddata import NDData, StdDevUncertainty
from astropy.table import Table
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from scipy.interpolate import RectBivariateSpline, make_interp_spline
from scipy.ndimage import generic_filter, maximum_filter
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from ..data.check import plain, require
from ..data.photometry import kron_flux
from ..data.remote import drafted
from ..data.sample import PIXEL_SCALE, digest
from ..data.sky import NOISE, flat_pixels, sky_noise
from ..networks.backend import load_keras
from ..networks.weights import card_of, load
from .network import XLA_PAYS

CELL = 64  # pixels on a side: in each cell the sky's level and noise are measured
MARGIN = 256  # pixels about a tile that are looked at with it
BATCH = 16  # stamps that are asked together
SMALLEST = 32  # pixels on a side of an image
DETECT = {"thresh": 2.0, "minarea": 8, "deblend_nthresh": 32, "deblend_cont": 0.001, "filter_type": "conv"}
ZEROPOINTS = ("ABMAGZP", "ABZP", "MAGZERO", "MAGZPT", "MAGZP", "ZEROPOINT", "ZEROPNT", "ZPAB", "PHOTZP")
MAPS = {"segmap": "i4", "model": "f4", "residual": "f4"}
UNITS = {"x": "pix", "y": "pix", "ra": "deg", "dec": "deg", "mag": "mag", "mag_err": "mag", "size": "pix"}
_one_at_a_time = threading.Lock()


def measure_field(
    image, zeropoint=None, *, network="fractions", rms=None, weight=None, mask=None, hdu=None, pixel_scale=None,
    saturation=None, tile: int = 1024, maps: bool = False, out: str | os.PathLike | None = None, client=None,
):  # fmt: skip
    """Detect and measure every object of an image of the sky, each by the share of the light that is its own.

    Returns a table, a row to each object: `id`, `x`, `y` (pixels, the first is 0) and, where the image has a WCS, `ra`,
    `dec`; `flux`, `flux_err` in the image's unit and `mag`, `mag_err` from the network; `sep_flux`, SEP's FLUX_AUTO
    with other objects blanked; `size`, the half-light radius in pixels; `group` and `n_in_group`, of objects whose
    segments touch; `blended`, the probability that it is itself two, if the network tells; and flags: `edge` and
    `masked` (its segment touches the image's border, masked pixels), `saturated`, `out_of_domain` (its stamp is unlike
    all that the network has seen). With ``maps=True`` a tuple: table, segmentation map (by `id`), model (the sum of all
    separated objects) and residual, image - model.

    Parameters
    ----------
    image : path of a FITS file, astropy.nddata.CCDData, or array (ny, nx)
        Counts per second or flux densities per pixel, in any unit; NaN where nothing is known. Arrays without a unit
        are e-/s.
    zeropoint : float, optional
        AB magnitude of 1 in the image's unit; else from a unit in Jy, or the header: MAGZERO and its kin as they
        stand, PHOTFLAM and PHOTPLAM as of counts per second, or of EXPTIME where BUNIT has counts alone.
    network : name, path or keras.Model; as in `blendkit.deblenders.Network`, one that tells shares
    rms, weight, mask : path or array (ny, nx), optional
        How the noise varies, as sigma or as inverse variance (its scale is measured), and bad pixels.
    hdu : int or str, optional; the extension of a FITS file, else the first with two dimensions
    pixel_scale : float, optional
        Arcseconds per pixel where no WCS tells them; an image that differs by more than 10 % from what the network
        knows is resampled to that, its light conserved. Everything is given back in the image's own pixels.
    saturation : float, optional; pixels from here on are saturated, by default the header's SATURATE
    tile : int; pixels on a side that are worked on together, a multiple of 64: of no consequence but for memory
    maps : bool
    out : path, optional
        A folder for catalogue.ecsv, catalogue.fits, segmap.fits, model.fits and residual.fits. Finished tiles are kept
        there until all are: a call that was stopped goes on.
    client : dask.distributed.Client, optional
        The workers of your cluster measure the tiles; they read the files, too.
    """
    require(tile % CELL == 0 and tile > 0, f"tile = {tile} was given, expected a multiple of {CELL}: take 1024.")
    named = isinstance(network, str | os.PathLike)
    require(named or client is None, "a network in memory and a client were given, expected its name or path: save it.")
    network = (network, os.stat(network).st_mtime_ns if named and os.path.exists(network) else 0)
    card = _asked(*network)[1]
    frame = _open(image, zeropoint, rms, weight, mask, hdu, pixel_scale, saturation, card)
    sky = _sky(frame)
    ny, nx = frame.grid
    boxes = [(y, min(y + tile, ny), x, min(x + tile, nx)) for y in range(0, ny, tile) for x in range(0, nx, tile)]
    keep = maps or out is not None
    store = _Store(None if out is None else Path(out).expanduser(), digest(*_facts(frame, card, network[0], tile)))
    todo = [box for box in boxes if not store.has(box)]
    with tqdm(total=len(boxes), initial=len(boxes) - len(todo), desc="field", unit="tile", disable=None) as progress:
        for box, result in _measured(todo, frame, sky, network, keep, client):
            store.put(box, *result)
            progress.update()
    table = _catalogue(frame, sky, [store.rows(box) for box in boxes], card)
    if out is not None:
        with drafted(store.out, 12 * frame.shape[0] * frame.shape[1]) as draft:
            _write(draft, table, frame, _strips(frame, sky, boxes, store))
        shutil.rmtree(store.folder, ignore_errors=True)
    if not maps:
        return table
    if out is not None:
        return table, *(fits.getdata(store.out / f"{name}.fits") for name in MAPS)
    return table, *map(np.concatenate, zip(*_strips(frame, sky, boxes, store), strict=True))


def ask(network, light: np.ndarray, at: np.ndarray, noise: float, origin=(0, 0)) -> Iterator[dict[str, np.ndarray]]:
    """What a network says of objects of an image without its sky level: a dict for each batch of `BATCH` objects.

    It has `fluxes`, `errors` (n, 2), of the object and of all the rest, `share` (n, ny, nx), what part of each pixel's
    light is the object's, `out_of_domain` (n,), `blended` (n,) where the network tells it, and `stamps`. What is NaN or
    beyond the image is filled with noise, of the same places the same.

    Parameters
    ----------
    network : name, path or keras.Model
    light, noise : array (ny, nx), NaN where nothing is known, and the noise per pixel
    at : array of int, shape (n, 2), row and column of each object
    origin : row and column of the first pixel in a larger image
    """
    model, _ = _asked(*network) if isinstance(network, tuple) else _asked(network)
    shape = model.input_shape[1:3]
    half = np.array(shape) // 2
    padded = np.pad(light, [(n, n) for n in half], constant_values=np.nan)
    y, x = (np.arange(n) + o - h for n, o, h in zip(padded.shape, origin, half, strict=True))
    bank = sky_noise(np.random.default_rng(0), shape, noise).astype(np.float32)
    padded = np.where(np.isnan(padded), bank[y % shape[0]][:, x % shape[1]], padded)
    views = np.lib.stride_tricks.sliding_window_view(padded, shape)
    unit = NOISE / noise  # so that a stamp is strange for what is on it, not for its units
    for start in range(0, len(at), BATCH):
        rows = at[start : start + BATCH]
        stamps = np.zeros((BATCH, *shape), np.float32)
        stamps[: len(rows)] = views[rows[:, 0], rows[:, 1]]
        with _one_at_a_time:
            answer = model.predict_on_batch(unit * stamps[..., None])
        answer = {name: values[: len(rows)] for name, values in answer.items()} | {"stamps": stamps[: len(rows)]}
        yield answer | {name: answer[name] / unit for name in ("fluxes", "errors")}


@lru_cache(2)
def _asked(network, changed=0):
    """A network that gives what is asked for and nothing else, compiled; and its card."""
    keras = load_keras()
    known = isinstance(network, keras.Model)
    network, card = (network, card_of(network)) if known else load(network)
    given = network.output if isinstance(network.output, dict) else {}
    told = f"the network {network.name!r} gives {', '.join(given) or 'a single array'}, expected shares of the light"
    require("shares" in given, f"{told}: use 'fractions' or one that was trained like it.")
    wanted = {name: given[name] for name in ("fluxes", "errors", "out_of_domain", "blended") if name in given}
    model = keras.Model(network.input, wanted | {"share": given["shares"][..., 0]}, name=f"ask_{network.name}")
    if keras.config.backend() == "tensorflow" and network.name in XLA_PAYS:
        model.jit_compile = True
    return model, card


@dataclass(frozen=True)
class _OnDisk:
    """A picture in a FITS file, of which only what is sliced is read."""

    path: str
    hdu: int

    def __getitem__(self, where):
        with _quiet(), fits.open(self.path, memmap=False) as hdus:
            return hdus[self.hdu].section[where]


@dataclass(frozen=True, eq=False)
class _Frame:
    """An image and how to look at it: on a grid of pixels of the size that the network knows."""

    data: Any  # arrays or `_OnDisk`
    shape: tuple[int, int]
    step: float  # the image's pixels in one of the grid
    zeropoint: float
    unit: u.UnitBase
    pixel_scale: float  # of the image, arcsec
    wcs: WCS | None = None
    mask: Any = None
    noise: Any = None  # how it varies
    inverse: bool = False  # as inverse variance
    saturation: float = np.inf
    origin: tuple[int, int] = (0, 0)  # of the arrays, in the image

    @property
    def grid(self) -> tuple[int, int]:
        return tuple(max(1, round(n / self.step)) for n in self.shape)

    def around(self, box) -> tuple[int, int, int, int]:
        """A box of the grid with its margin."""
        (y0, y1, x0, x1), (ny, nx) = box, self.grid
        return max(y0 - MARGIN, 0), min(y1 + MARGIN, ny), max(x0 - MARGIN, 0), min(x1 + MARGIN, nx)

    def source(self, box) -> tuple[int, int, int, int]:
        """What of the image a box of the grid is made from."""
        if self.step == 1:
            return box
        low, high = (np.floor(np.multiply(box[::2], self.step)) - 16, np.ceil(np.multiply(box[1::2], self.step)) + 16)
        (y0, x0), (y1, x1) = np.maximum(low, 0).astype(int).tolist(), np.minimum(high, self.shape).astype(int).tolist()
        return y0, y1, x0, x1

    def read(self, box) -> tuple[np.ndarray, np.ndarray | None]:
        """A box of the image, float32, NaN where nothing is known; and there the sigma of the noise, if it varies."""
        (y0, y1, x0, x1), (oy, ox) = box, self.origin
        here = np.s_[y0 - oy : y1 - oy, x0 - ox : x1 - ox]
        with np.errstate(over="ignore"):
            pixels = np.array(self.data[here], np.float32)
        noise = None if self.noise is None else np.array(self.noise[here], np.float32)
        bad = ~np.isfinite(pixels) | (flat_pixels(pixels) & (pixels == 0))  # never observed
        if self.mask is not None:
            bad |= np.asarray(self.mask[here]) != 0
        if noise is not None:
            bad |= ~(np.isfinite(noise) & (noise > 0))
            noise = np.where(bad, 1, noise) ** (-0.5 if self.inverse else 1)
        pixels[bad] = np.nan
        return pixels, noise

    def window(self, box) -> tuple[np.ndarray, np.ndarray | None]:
        """The same of a box of the grid."""
        if self.step == 1:
            return self.read(box)
        y0, _, x0, _ = source = self.source(box)
        pixels, noise = self.read(source)
        bad = np.isnan(pixels)
        edges = [
            np.arange(a, b + 1) * self.step - start for a, b, start in zip(box[::2], box[1::2], (y0, x0), strict=True)
        ]
        pixels[bad] = np.median(pixels[~bad]) if not bad.all() else 0
        pixels, missing = _resampled(pixels, edges), _resampled(bad, edges) if bad.any() else 0
        if noise is not None:
            y, x = (
                np.clip((e[:-1] + e[1:]) / 2, 0, n - 1).astype(int) for e, n in zip(edges, noise.shape, strict=True)
            )
            noise = noise[y][:, x]
        return np.where(missing > 0.02 * self.step**2, np.nan, pixels).astype(np.float32), noise

    def nearest(self, box) -> list[np.ndarray]:
        """Rows and columns of the image that lie in a box of the grid, as rows and columns in that box."""
        at = (
            np.minimum(((np.arange(n) + 0.5) / self.step).astype(int), m - 1)
            for n, m in zip(self.shape, self.grid, strict=True)
        )
        return [a[(a >= low) & (a < high)] - low for a, low, high in zip(at, box[::2], box[1::2], strict=True)]

    def cut(self, box) -> "_Frame":
        """What a worker needs to look at a box of the grid: files it reads itself, arrays travel."""
        parts = {name: part for name in ("data", "mask", "noise") if (part := getattr(self, name)) is not None}
        if all(isinstance(part, _OnDisk) for part in parts.values()):
            return self
        y0, y1, x0, x1 = self.source(box)
        return replace(self, **{name: np.array(part[y0:y1, x0:x1]) for name, part in parts.items()}, origin=(y0, x0))


def _resampled(pixels, edges):
    """The sums of pixels (ny, nx) between these rows and columns, whole or not."""
    for axis in (0, 1):
        sums = np.pad(np.cumsum(pixels, axis=axis, dtype=float), [(int(axis == 0), 0), (int(axis == 1), 0)])
        spline = make_interp_spline(np.arange(sums.shape[axis]), sums, k=3, axis=axis)
        pixels = np.diff(spline(np.clip(edges[axis], 0, sums.shape[axis] - 1)), axis=axis)
    return pixels


@dataclass(frozen=True, eq=False)
class _Sky:
    """The sky of a whole image: its level in each cell, and its noise."""

    levels: np.ndarray
    noise: float  # sigma per pixel of the grid
    relative: float  # the same, in units of the map that tells how it varies

    def level(self, box) -> np.ndarray:
        """The level in each pixel of a box, a spline through the cells: of the same pixel always the same."""
        levels = np.pad(self.levels, 2, mode="edge")
        y, x = ((np.arange(n) - 1.5) * CELL - 0.5 for n in levels.shape)
        at = (np.arange(low, high) for low, high in zip(box[::2], box[1::2], strict=True))
        return RectBivariateSpline(y, x, levels)(*at).astype(np.float32)


def _sky(frame) -> _Sky:
    """Measure level and noise in all cells of an image that have enough pixels, as SEP does in one mesh."""
    ny, nx = frame.grid
    levels, sigmas, relative = np.full((3, -(-ny // CELL), -(-nx // CELL)), np.nan)
    for y0 in range(0, ny, 8 * CELL):
        strip, noise = frame.window((y0, min(y0 + 8 * CELL, ny), 0, nx))
        for y in range(0, len(strip), CELL):
            for x in range(0, nx, CELL):
                cell = np.ascontiguousarray(strip[y : y + CELL, x : x + CELL])
                bad, place = np.isnan(cell), ((y0 + y) // CELL, x // CELL)
                if 2 * bad.sum() <= bad.size and bad.size >= SMALLEST**2 / 4 and np.nanstd(cell) > 0:
                    found = sep.Background(np.where(bad, 0, cell), mask=bad, bw=cell.shape[1], bh=cell.shape[0])
                    levels[place], sigmas[place] = found.globalback, found.globalrms
                    here = 1 if noise is None else np.median(noise[y : y + CELL, x : x + CELL][~bad])
                    relative[place] = sigmas[place] / here
    told = "the image has no sky, its pixels are NaN, masked or all the same"
    require(np.isfinite(levels).any(), f"{told}, expected noise around the objects: check the file and the mask.")
    while np.isnan(levels).any():
        levels = np.where(np.isnan(levels), generic_filter(levels, _median, 3, mode="nearest"), levels)
    levels = generic_filter(levels, _median, 3, mode="nearest")
    return _Sky(levels, float(np.nanmedian(sigmas)), float(np.nanmedian(relative)))


def _median(values):
    known = values[~np.isnan(values)]
    return np.median(known) if len(known) else np.nan


def _measured(todo, frame, sky, network, keep, client):
    """Tiles and what was measured on them, as they are ready."""
    calls = {"sky": sky, "network": network, "keep": keep}
    if client is None:
        yield from ((box, _measure_tile(frame, box, **calls)) for box in todo)
        return
    from dask.distributed import as_completed  # an extra

    frames = [frame.cut(frame.around(box)) for box in todo]
    futures = client.map(_measure_tile, frames, todo, pure=False, **calls)
    whose = dict(zip((future.key for future in futures), todo, strict=True))
    for future, result in as_completed(futures, with_results=True):
        yield whose[future.key], result
        future.release()


def _measure_tile(frame, box, *, sky, network, keep):
    """The objects whose peak is in a box: a table, pairs that touch, and on the box with its margin their maps."""
    window = y0, y1, x0, x1 = frame.around(box)
    seen, noise = frame.window(window)
    light = seen - sky.level(window)
    bad = np.isnan(light)
    clean = np.where(bad, 0, light)
    sep.set_extract_pixstack(max(clean.size, 300_000))
    sep.set_sub_object_limit(8192)
    err = sky.noise if noise is None else (sky.relative * noise).astype(np.float32)
    objects, labels = sep.extract(clean, err=err, mask=bad, segmentation_map=True, **DETECT)
    at = np.stack([objects["ypeak"], objects["xpeak"]], axis=1)
    y, x = at[:, 0] + y0, at[:, 1] + x0
    own = np.flatnonzero((y >= box[0]) & (y < box[1]) & (x >= box[2]) & (x < box[3]))
    ids = y * frame.grid[1] + x + 1

    rows, columns = np.ogrid[y0:y1, x0:x1]
    border = (rows == 0) | (rows == frame.grid[0] - 1) | (columns == 0) | (columns == frame.grid[1] - 1)
    places = {"edge": border, "saturated": seen >= frame.saturation * frame.step**2, "masked": maximum_filter(bad, 3)}
    table = {"id": ids[own]} | {name: np.empty(len(own)) for name in ("x", "y", "flux", "flux_err", "sep_flux", "size")}
    table |= {name: (np.bincount(labels[where], minlength=len(y) + 1) > 0)[own + 1] for name, where in places.items()}
    table["out_of_domain"] = np.zeros(len(own), bool)
    table["sep_flux"][:] = [_kron(clean, labels, i + 1, objects[i]) for i in own]

    half, done = np.array(_asked(*network)[0].input_shape[1:3]) // 2, 0
    share = np.zeros(clean.shape + 2 * half, np.float32) if keep else None
    for answer in ask(network, light, at[own], sky.noise, (y0, x0)):
        part = own[done : done + len(answer["share"])]
        new, done = slice(done, done + len(part)), done + len(part)
        table["flux"][new], table["flux_err"][new] = answer["fluxes"][:, 0], answer["errors"][:, 0]
        table["out_of_domain"][new] = answer["out_of_domain"] > 0
        if "blended" in answer:
            table.setdefault("blended", np.empty(len(own)))[new] = answer["blended"]
        light_of = answer["share"] * answer["stamps"]
        off = _centroids(light_of)
        table["y"][new], table["x"][new] = y[part] + off[:, 0], x[part] + off[:, 1]
        table["size"][new] = _half_light(light_of, answer["fluxes"][:, 0])
        if keep:
            for (row, column), one in zip(at[part], answer["share"], strict=True):
                share[row : row + one.shape[0], column : column + one.shape[1]] += one
    if not keep:
        return table, _touching(labels, ids, own), {}
    share = share[half[0] : -half[0], half[1] : -half[1]]
    number = np.zeros(len(y) + 1, np.int32 if frame.grid[0] * frame.grid[1] < 2**31 else np.int64)
    number[own + 1] = ids[own]
    return table, _touching(labels, ids, own), {"segmap": number[labels], "share": share}


def _kron(light, labels, label, shape):
    """FLUX_AUTO of one object of many, the others' segments blanked."""
    half = int(np.clip(8 * shape["a"], 32, MARGIN))
    y, x = (max(int(shape[name]) - half, 0) for name in ("y", "x"))
    here = np.s_[y : y + 2 * half, x : x + 2 * half]
    segment = labels[here]
    moved = {name: shape[name] for name in ("a", "b", "theta")} | {"x": shape["x"] - x, "y": shape["y"] - y}
    with suppress(Exception):  # SEP raises bare Exceptions
        return kron_flux(np.ascontiguousarray(light[here]), moved, (segment != 0) & (segment != label))
    return np.nan


def _centroids(light):
    """Centres of objects alone, (n, ny, nx), from the centre pixel, (n, 2): light under a Gaussian that moves there."""
    r, middle = np.arange(-8.0, 9.0), [n // 2 for n in light.shape[1:]]
    inner = light[:, middle[0] - 8 : middle[0] + 9, middle[1] - 8 : middle[1] + 9]
    off = np.zeros((len(light), 2))
    for _ in range(6):
        y, x = (np.exp(-0.5 * ((r - off[:, j, None]) / 2) ** 2) for j in (0, 1))
        seen = inner * y[:, :, None] * x[:, None]
        total = np.maximum(seen.sum(axis=(1, 2)), 1e-30)
        mean = np.stack([seen.sum(axis=2) @ r, seen.sum(axis=1) @ r], axis=1) / total[:, None]
        off = np.clip(off + 2 * (mean - off), -3, 3)
    return off


@lru_cache(4)
def _rings(shape):
    """Radii in pixels, and what part of each pixel lies within each: (ny * nx, radii)."""
    radii = np.arange(0.5, min(shape) // 4, 0.5)
    away = np.hypot(*np.ogrid[-(shape[0] // 2) : shape[0] - shape[0] // 2, -(shape[1] // 2) : shape[1] - shape[1] // 2])
    return radii, np.clip(radii - away.reshape(-1, 1) + 0.5, 0, 1).astype(np.float32)


def _half_light(light, flux):
    """The radius in pixels in which half of a flux lies, (n,); NaN where none does."""
    radii, rings = _rings(light.shape[1:])
    growth = np.pad(light.reshape(len(light), -1) @ rings, [(0, 0), (1, 0)])
    half = flux[:, None] / 2
    k = np.argmax(growth >= half, axis=1)
    (low, high), i = (np.pad(radii, (1, 0))[[k - 1, k]], np.arange(len(k)))
    part = (half[:, 0] - growth[i, k - 1]) / (growth[i, k] - growth[i, k - 1])
    return np.where((k > 0) & (flux > 0), low + part * (high - low), np.nan)


def _touching(labels, ids, own):
    """Pairs of ids whose segments touch, at least one of them among `own`: (n, 2)."""
    sides = ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1]))
    sides += ((np.s_[1:, 1:], np.s_[:-1, :-1]), (np.s_[1:, :-1], np.s_[:-1, 1:]))
    pairs = np.concatenate([np.stack([labels[a], labels[b]])[:, labels[a] != labels[b]] for a, b in sides], axis=1).T
    pairs = np.unique(pairs[pairs.all(axis=1)], axis=0) - 1
    return ids[pairs[np.isin(pairs, own).any(axis=1)]]


class _Store:
    """What was measured on each tile, in memory or in a folder."""

    def __init__(self, out, key):
        self.out, self.folder, self.results = out, out and out / f"tiles-{key}", {}

    def path(self, box, kind):
        return self.folder / f"{box[0]}-{box[2]}.{kind}"

    def has(self, box):
        return self.out is not None and self.path(box, "ecsv").is_file()

    def put(self, box, table, pairs, maps):
        if self.out is None:
            self.results[box] = table, pairs, maps
            return
        with drafted(self.folder) as draft:  # .npz moves before .ecsv
            np.savez_compressed(draft / self.path(box, "npz").name, pairs=pairs, **maps)
            Table(table).write(draft / self.path(box, "ecsv").name)

    def rows(self, box):
        if self.out is None:
            return self.results[box][:2]
        table = Table.read(self.path(box, "ecsv"))
        return {name: np.asarray(table[name]) for name in table.colnames}, self.maps(box)["pairs"]

    def maps(self, box):
        return self.results[box][2] if self.out is None else np.load(self.path(box, "npz"))


def _catalogue(frame, sky, results, card) -> Table:
    """The rows of all tiles as one table, on the image's own pixels."""
    tables, pairs = zip(*results, strict=True)
    named = next((t for t in tables if len(t["id"])), tables[0])
    rows = {name: np.concatenate([t[name] for t in tables if name in t]) for name in named}
    order = np.argsort(rows["id"])
    rows = {name: values[order] for name, values in rows.items()}
    for axis in ("x", "y"):
        rows[axis] = (rows[axis] + 0.5) * frame.step - 0.5
    rows["size"] *= frame.step
    flux, n = rows["flux"], len(order)
    with np.errstate(invalid="ignore", divide="ignore"):
        rows["mag"] = np.where(flux > 0, frame.zeropoint - 2.5 * np.log10(flux), np.nan)
        rows["mag_err"] = np.where(flux > 0, 2.5 / np.log(10) * rows["flux_err"] / flux, np.nan)
    if frame.wcs is not None:
        place = frame.wcs.pixel_to_world(rows["x"], rows["y"]).icrs
        rows["ra"], rows["dec"] = place.ra.deg, place.dec.deg
    pairs = np.concatenate(pairs)
    a, b = np.searchsorted(rows["id"], pairs[np.isin(pairs, rows["id"]).all(axis=1)]).T
    _, label = connected_components(coo_matrix((np.ones(len(a)), (a, b)), (n, n)), directed=False)
    _, first, which, count = np.unique(label, return_index=True, return_inverse=True, return_counts=True)
    rows["group"], rows["n_in_group"] = rows["id"][first][which], count[which]
    names = "id x y ra dec flux flux_err mag mag_err sep_flux size group n_in_group blended edge masked saturated"
    table = Table({name: rows[name] for name in [*names.split(), "out_of_domain"] if name in rows})
    for name in table.colnames:
        table[name].unit = frame.unit if "flux" in name else UNITS.get(name)
    facts = {"network": card.get("name", ""), "sha256": card.get("sha256", ""), "zeropoint": frame.zeropoint}
    table.meta = facts | {"pixel_scale": frame.pixel_scale, "noise": sky.noise / frame.step}
    return table


def _strips(frame, sky, boxes, store):
    """Segmentation map, model and residual, a strip of the image's rows at a time.

    All shares of a pixel together are at most one: the model is that sum, or 1, times the light above the sky.
    """
    nx = frame.grid[1]
    for y0, y1 in sorted({box[:2] for box in boxes}):
        segmap, share = None, np.zeros((y1 - y0, nx), np.float32)
        for box in boxes:
            wy0, wy1, wx0, wx1 = frame.around(box)
            a, b = max(y0, wy0), min(y1, wy1)
            if a < b:
                maps, there, here = store.maps(box), np.s_[a - wy0 : b - wy0], np.s_[a - y0 : b - y0, wx0:wx1]
                labels = maps["segmap"][there]
                segmap = np.zeros(share.shape, labels.dtype) if segmap is None else segmap
                share[here] += maps["share"][there]
                segmap[here] = np.where(labels > 0, labels, segmap[here])
        rows, columns = frame.nearest((y0, y1, 0, nx))
        first = np.searchsorted(frame.nearest((0, frame.grid[0], 0, nx))[0], y0)
        pixels, _ = frame.read((first, first + len(rows), 0, frame.shape[1]))
        level, share, segmap = (a[rows][:, columns] for a in (sky.level((y0, y1, 0, nx)), share, segmap))
        model = np.nan_to_num((pixels - level / frame.step**2) * np.minimum(share, 1))
        yield segmap, model, pixels - model


def _write(folder, table, frame, strips):
    """The files of a catalogue and its maps."""
    with _quiet():
        header = fits.Header() if frame.wcs is None else frame.wcs.to_header(relax=True)
        table.write(folder / "catalogue.ecsv")
        table.write(folder / "catalogue.fits")
        files = {}
        for parts in strips:
            for name, part in zip(MAPS, parts, strict=True):
                if name not in files:
                    own = {"SIMPLE": True, "BITPIX": 8 * part.itemsize * (-1 if part.dtype.kind == "f" else 1)}
                    own |= {"NAXIS": 2, "NAXIS1": frame.shape[1], "NAXIS2": frame.shape[0]}
                    own |= (
                        {} if name == "segmap" else {"BUNIT": frame.unit.to_string("fits"), "MAGZERO": frame.zeropoint}
                    )
                    files[name] = fits.StreamingHDU(folder / f"{name}.fits", fits.Header(own) + header)
                files[name].write(part)
        for file in files.values():
            file.close()


@contextmanager
def _quiet():
    """Without what astropy says of headers that are a little odd."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        warnings.filterwarnings("error", ".*truncated", AstropyWarning)
        yield


def _facts(frame, card, network, tile):
    """By what a tile's result is known."""
    for part in (frame.data, frame.mask, frame.noise):
        if isinstance(part, _OnDisk):
            about = os.stat(part.path)
            part = f"{os.path.realpath(part.path)} {part.hdu} {about.st_size} {about.st_mtime_ns}"
        yield np.array(part if part is not None else 0) if not isinstance(part, str) else part.encode()
    yield f"{card.get('sha256', network)} {tile} {frame.step} {frame.inverse} {frame.saturation} {DETECT}".encode()


def _picture(source, what, hdu=None):
    """A picture that can be sliced, its shape and its header: of a FITS file or an array."""
    if not isinstance(source, str | os.PathLike):
        data = source.data if isinstance(source, NDData) else getattr(source, "value", source)
        data = np.asarray(np.ma.getdata(data))
        header = dict(getattr(source, "meta", None) or {})
        good = data.ndim == 2 and data.dtype.kind in "biuf"
        told = f"{what} is {data.dtype} of shape {data.shape}, expected numbers of shape (ny, nx)"
        require(good, f"{told}: give one image, such as a plane of a cube, cube[0].")
        return data, data.shape, header
    path = Path(source).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file '{path}', expected {what} as FITS: check the name.")
    try:
        with _quiet(), fits.open(path, memmap=False) as hdus:
            shapes = [getattr(h, "shape", ()) if h.is_image else () for h in hdus]
            flat = [i for i, shape in enumerate(shapes) if len(shape) == 2]
            which = hdus.index_of(hdu) if hdu is not None else flat[0] if flat else -1
            good, shape, header = which in flat, shapes[which], hdus[which].header if which >= 0 else {}
            packed = path.suffix in (".gz", ".bz2", ".xz", ".Z") and good  # these are read as a whole, or not at all
            data = hdus[which].data if packed else _OnDisk(str(path.resolve()), which)
            data[:1, :1] if good else None
    except Exception as error:  # astropy, gzip and struct have errors of their own
        why = "".join(c for c in str(error).partition("\n")[0] if c.isprintable())[:150].rstrip(".:")
        raise ValueError(f"'{path}' is not a readable FITS file ({why}): fetch or write it again.") from None
    had = ", ".join(str(shape) for shape in shapes if shape) or "none"
    require(good, f"'{path}' has pictures of shapes {had}, expected (ny, nx): choose one by hdu=, or cut a plane out.")
    return data, shape, header


def _open(image, zeropoint, rms, weight, mask, hdu, pixel_scale, saturation, card) -> _Frame:
    """An image with all that is known of it, checked."""
    data, shape, header = _picture(image, "the image", hdu)
    given = f"the image has {shape[0]} x {shape[1]} pixels"
    require(min(shape) >= SMALLEST, f"{given}, expected at least {SMALLEST} x {SMALLEST}: give more sky around.")
    unit = getattr(image, "unit", None) or _unit(header.get("BUNIT"))
    wcs = getattr(image, "wcs", None)
    if wcs is None:
        with suppress(Exception), _quiet():  # wcslib has errors of its own
            wcs = WCS(fits.Header(header)).celestial
    wcs = wcs if wcs is not None and wcs.has_celestial else None

    zeropoint = _zeropoint(header, unit) if zeropoint is None else plain("the zeropoint", zeropoint, "AB magnitudes")
    cure = "give zeropoint=, the AB magnitude of 1 in its unit"
    require(zeropoint is not None, f"the image tells no zeropoint, expected one of {', '.join(ZEROPOINTS)}: {cure}.")
    require(np.isfinite(zeropoint), f"zeropoint = {zeropoint} was given, expected a finite number: {cure}.")

    knows = card.get("pixel_scale", PIXEL_SCALE)
    if pixel_scale is None:
        pixel_scale = knows if wcs is None else 3600 * np.mean(proj_plane_pixel_scales(wcs))
    pixel_scale = float(plain("the pixel_scale", pixel_scale, "arcsec per pixel"))
    told = f"the image has {pixel_scale:.4g} arcsec per pixel"
    require(0 < pixel_scale < 60, f"{told}, expected some hundredths to some: give pixel_scale=.")
    step = 1 if 1 / 1.1 < pixel_scale / knows < 1.1 else knows / pixel_scale
    if step != 1:
        told = f"{told}, the network knows {knows}: it is resampled, its light conserved"
        warnings.warn(f"{told}; positions and maps stay on the image's own pixels.", stacklevel=3)

    require(rms is None or weight is None, "rms and weight were both given, expected one of them: leave one out.")
    if (uncertainty := getattr(image, "uncertainty", None)) is not None and rms is None and weight is None:
        rms = uncertainty.represent_as(StdDevUncertainty).array
    mask = getattr(image, "mask", None) if mask is None else mask
    planes = {"the rms map": rms, "the weight map": weight, "the mask": None if mask is np.ma.nomask else mask}
    for what, plane in planes.items():
        if plane is not None:
            planes[what], extent, _ = _picture(plane, what)
            same = f"{what} has shape {extent}, the image {shape}, expected the same"
            require(extent == shape, f"{same}: cut both alike.")
    rms, weight, mask = planes.values()
    if saturation is None:
        saturation = header.get("SATURATE", np.inf)
    noise = {"noise": weight if rms is None else rms, "inverse": rms is None}
    unit, known = unit or u.electron / u.s, {"wcs": wcs, "mask": mask, "saturation": float(saturation)}
    return _Frame(data, shape, step, float(zeropoint), unit, pixel_scale, **known, **noise)


def _unit(text) -> u.UnitBase | None:
    """The unit of a header's BUNIT, in one of its usual spellings."""
    text = str(text or "").strip()
    for word in (text, re.sub(r"(electron|count)s", r"\1", text.lower())):
        with suppress(ValueError):
            return u.Unit(word) if word else None
    return None


def _zeropoint(header, unit) -> float | None:
    """AB magnitude of 1 in an image's unit, as the unit or the header tells it."""
    if unit is not None and unit.is_equivalent(u.Jy):
        return 8.9 - 2.5 * np.log10(unit.to(u.Jy))
    if unit is not None and unit.is_equivalent(u.Jy / u.sr) and "PIXAR_SR" in header:
        return 8.9 - 2.5 * np.log10(unit.to(u.Jy / u.sr) * header["PIXAR_SR"])
    for name in ZEROPOINTS:
        if name in header:
            return float(header[name])
    if not {"PHOTFLAM", "PHOTPLAM"} <= set(header):
        return None
    rate = -2.5 * np.log10(header["PHOTFLAM"]) - 5 * np.log10(header["PHOTPLAM"]) - 2.408
    total = unit is not None and u.s not in unit.bases and "EXPTIME" in header
    return float(rate + 2.5 * np.log10(header["EXPTIME"]) if total else rate)
