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
from tempfile import TemporaryDirectory

import numpy as np
import sep
from astropy import units as u
from astropy.io import fits
from astropy.nddata import NDData, StdDevUncertainty
from astropy.table import Column, Table, vstack
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from scipy import ndimage
from scipy.interpolate import RectBivariateSpline, make_interp_spline
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from ..data.check import plain, require
from ..data.photometry import flux_auto, kron_flux
from ..data.remote import drafted
from ..data.sample import PIXEL_SCALE, digest
from ..data.sky import NOISE, flat_pixels, sky_noise
from ..networks.backend import load_keras
from ..networks.weights import card_of, load
from .network import THRESHOLD, XLA_PAYS

CELL = 64  # pixels on a side: in each cell the sky's level and noise are measured
MARGIN = 256  # pixels about a tile that are looked at with it
BATCH = 16  # stamps that are asked together
SMALLEST = 32  # pixels on a side of an image
UNSURE = 0.1  # of the light of galaxies in a pixel: an object with so little has none, one with all but so little all
DETECT = {"thresh": 2.0, "minarea": 8, "deblend_cont": 0.001, "filter_type": "conv", "segmentation_map": True}
ZEROPOINTS = ("ABMAGZP", "MAGZERO", "MAGZPT", "MAGZP", "ZEROPOINT", "ZEROPNT", "ZPAB", "PHOTZP")
COLUMNS = (
    "id x y ra dec flux flux_err mag mag_err sep_flux size group n_in_group blended edge masked saturated out_of_domain"
)
UNITS = {"x": "pix", "y": "pix", "ra": "deg", "dec": "deg", "mag": "mag", "mag_err": "mag", "size": "pix"}
MAPS = ("segmap", "model", "residual")
_one_at_a_time = threading.Lock()


def measure_field(
    image, zeropoint=None, *, network="fractions", rms=None, weight=None, mask=None, hdu=None, pixel_scale=None,
    saturation=None, tile: int = 1024, maps: bool = False, out: str | os.PathLike | None = None, client=None,
):  # fmt: skip
    """Detect and measure every object of an image of the sky, each by the share of the light that is its own.

    Returns a table, a row to each object: `id`, `x`, `y` (pixels, the first is 0) and, where the image has a WCS, `ra`,
    `dec`; `flux`, the FLUX_AUTO of its own light, `flux_err` in the image's unit, `mag`, `mag_err`, all by what the
    network separates; `sep_flux`, SEP's FLUX_AUTO with other objects blanked; `size`, the half-light radius in pixels;
    `group` and `n_in_group`, of objects whose segments touch; `blended`, the probability that it is itself two; and
    flags: `edge` and `masked` (its segment touches the image's border, masked pixels), `saturated`, `out_of_domain`
    (its stamp is unlike all that the network has seen). With `maps` a tuple: table, segmentation map (by `id`), model
    (the sum of all separated objects) and residual, image - model.

    Parameters
    ----------
    image : path of a FITS file, astropy.nddata.CCDData, or array (ny, nx)
        Counts per second or flux densities per pixel, in any unit; without one e-/s, which tables call ct / s.
    zeropoint : float, optional
        AB magnitude of 1 in the image's unit; else from a unit in Jy, or the header: MAGZERO and its kin as they
        stand, PHOTFLAM and PHOTPLAM as of counts per second, or of EXPTIME where BUNIT has counts alone.
    network : name, path or keras.Model; as in `blendkit.deblenders.Network`, one that tells shares
    rms, weight, mask : path or array (ny, nx), optional
        How the noise varies, as sigma or as inverse variance (its scale is measured), and bad pixels.
    hdu : int or str, optional; the extension of a FITS file, else the first with two dimensions
    pixel_scale : float, optional
        Arcseconds per pixel where no WCS tells them. An image that differs by more than 10 % from what the network
        knows is resampled, its light conserved; everything is given back in the image's own pixels.
    saturation : float, optional; pixels from here on are saturated: the header's SATURATE, else what 16 bits hold
    tile, maps : int, bool; pixels on a side that are worked on together, a multiple of 64; whether to return the maps
    out : path, optional
        A folder for catalogue.ecsv and .fits, segmap.fits, model.fits and residual.fits. Finished tiles are kept there
        until all are: a call that was stopped goes on.
    client : dask.distributed.Client, optional; its workers, who must see the files and `out`, measure the tiles
    """
    require(tile > 0 and tile % CELL == 0, f"tile = {tile} was given, expected a multiple of {CELL}: take 1024.")
    named = isinstance(network, str | os.PathLike)
    require(named or not client, "a network in memory and a client were given, expected a name or path: save it.")
    network = network, os.stat(network).st_mtime_ns if named and os.path.exists(network) else 0
    card = _asked(*network)[1]
    frame = _open(image, zeropoint, (rms, weight, mask), hdu, pixel_scale, saturation, card)
    planes = [digest(part) if isinstance(part, np.ndarray) else part for part in (frame.data, frame.mask, frame.noise)]
    facts = planes, frame.step, frame.power, frame.saturation, tile, DETECT, card.get("sha256", network)
    key = digest(repr(facts).encode())
    (ny, nx), frame = frame.grid, _with_sky(frame)
    boxes = [(y, min(y + tile, ny), x, min(x + tile, nx)) for y in range(0, ny, tile) for x in range(0, nx, tile)]
    with TemporaryDirectory(prefix="blendkit-") as temporary:
        home = Path(out or temporary).expanduser()
        tiles = home / f"tiles-{key}"
        files = {box: tiles / f"{box[0]}-{box[2]}.ecsv" for box in boxes}
        todo = [box for box, file in files.items() if not file.is_file()]
        done = _measured(todo, frame, network, bool(out or maps), client, tiles)
        for box, table, pictures in tqdm(done, desc="field", unit="tile", total=len(todo), disable=None, leave=False):
            with drafted(tiles) as draft:  # the .npz moves before the .ecsv
                np.savez_compressed(draft / f"{files[box].stem}.npz", **pictures)
                Table(table).write(draft / files[box].name)
        table = _catalogue(frame, vstack([Table.read(file) for file in files.values()]), card)
        if out or maps:
            with drafted(home, 12 * frame.shape[0] * frame.shape[1]) as draft, _quiet():
                _write_maps(draft, frame, files)
                table.write(draft / "catalogue.ecsv")
                table.write(draft / "catalogue.fits")
            shutil.rmtree(tiles, ignore_errors=True)
        if maps:
            return table, *(fits.getdata(home / f"{name}.fits", memmap=False) for name in MAPS)
    return table


def ask(network, light: np.ndarray, at: np.ndarray, noise: float, origin=(0, 0), tell=None) -> Iterator[dict[str, np.ndarray]]:
    """What a network (as in `measure_field`) says of the objects `at` rows and columns (n, 2), a dict for each batch.

    `light` (ny, nx) has no sky level, `noise` per pixel, and NaN where nothing is known: there and beyond is put noise,
    of the same places the same, given the `origin` in a larger image. The dict has `stamps` (n, ny, nx), the object's
    `share` of their pixels, which of them are its `own` (of the light of galaxies its share, below and above a tenth
    none and all) and its `mask`, `fluxes` and `errors` (n, 2) of it and all the rest, `out_of_domain` and `blended`.
    """
    model, _ = _asked(*network) if isinstance(network, tuple) else _asked(network, 0)
    shape = (128, 128)
    padded = np.pad(light, [(n // 2, n // 2) for n in shape], constant_values=np.nan)
    y, x = ((np.arange(n) + o - m // 2) % m for n, o, m in zip(padded.shape, origin, shape, strict=True))
    bank = sky_noise(np.random.default_rng(0), shape, noise).astype(np.float32)
    views = np.lib.stride_tricks.sliding_window_view(np.where(np.isnan(padded), bank[y][:, x], padded), shape)
    unit = NOISE / noise  # so that a stamp is strange for what is on it, not for its units
    for start in range(0, len(at), BATCH):
        rows = at[start : start + BATCH]
        stamps = np.zeros((BATCH, *shape, 1), np.float32)
        stamps[: len(rows), ..., 0] = views[rows[:, 0], rows[:, 1]]
        with _one_at_a_time:
            block = np.zeros((BATCH, 5, 3), np.float32)
            block[: len(rows)] = tell[start : start + BATCH]
            answer = model.predict_on_batch([unit * stamps, block]) | {"stamps": stamps[..., 0]}
        answer = {name: values[: len(rows)] for name, values in answer.items()}
        yield answer | {name: answer[name] / unit for name in ("fluxes", "errors")}


@lru_cache(2)
def _asked(network, changed=0):
    """A network that gives what is asked for and nothing else, compiled; and its card."""
    keras = load_keras()
    network, card = (network, card_of(network)) if isinstance(network, keras.Model) else load(network)
    given = network.output if isinstance(network.output, dict) else {}
    told = f"the network {network.name!r} gives {', '.join(given) or 'one array'}, expected shares and blended"
    require("blended" in given, f"{told}: use 'fractions' or one that was trained like it.")
    from ..networks import fractions as F
    ops, shape = keras.ops, network.input_shape[1:3]
    image, told = keras.Input((*shape, 1)), keras.Input((F.OTHERS, 3))
    blend, unit = network.get_layer("sky")(image)
    blend = blend[..., 0]
    x, xc, smooth, rough, middle = F._look(blend, shape)
    heat, features = network.get_layer("locate")([x, xc])
    centre, found, chance = F.places(heat)
    import os
    mode = os.environ.get("TELL", "all")
    others = middle[:, None] + ops.cast(told[..., :2], "int32")
    likely = told[..., 2]
    if mode == "both":
        number = 25 * F.smoothed(ops.exp(ops.minimum(ops.cast(F.to_pixels(heat)[..., 1:], "float32"), 3.0)))
        number = ops.max_pool(number, 5, strides=1, padding="same", data_format="channels_last")
        flat = ops.clip(others[..., 0], 0, 127) * 128 + ops.clip(others[..., 1], 0, 127)
        likely = likely * ops.minimum(ops.take_along_axis(ops.reshape(number, (-1, 128 * 128)), flat, axis=1), 1.0)
    places = F.nearest(others, likely, shape) if mode != "none" else F.nearest(found, chance, shape)
    out = network.get_layer("separate")([blend, x, smooth, rough, middle if mode != "none" else centre, *places, features])
    errors = ops.sqrt(out["fluxes"] ** 2 + F.FAINT**2) * ops.exp(out["log_errors"])
    errors = network.get_layer("error_scale")(errors)
    shares = F.to_pixels(F._shares(out["shares"]))
    masks = ops.sigmoid(F.to_pixels(out["masks"]))
    share, rest = shares[..., 0], shares[..., 1]
    sure = keras.ops.clip((share / (share + rest + 1e-6) - UNSURE) / (1 - 2 * UNSURE), 0, 1)
    wanted = {"fluxes": unit[:, None] * out["fluxes"], "errors": unit[:, None] * errors, "out_of_domain": network.get_layer("watch")([x, rough]), "blended": ops.sigmoid(network.get_layer("twins")([x, xc]))}
    wanted |= {"share": share, "rest": rest, "own": sure, "mask": masks[..., 0] > THRESHOLD}
    model = keras.Model([image, told], wanted, name=f"ask_{network.name}")
    if keras.config.backend() == "tensorflow" and network.name in XLA_PAYS:
        model.jit_compile = True
    return model, card


@dataclass(frozen=True)
class _OnDisk:
    """A picture in a FITS file, of which only what is sliced is read."""

    path: str
    hdu: int = 0
    written: int = 0  # when, ns

    def __getitem__(self, where):
        with _quiet(), fits.open(self.path, memmap=False) as hdus:
            return hdus[self.hdu].section[where]


@dataclass(frozen=True, eq=False)
class _Frame:
    """An image, and how to look at it on a grid of pixels of the size that the network knows."""

    data: object  # as `mask` and `noise` an array or `_OnDisk`
    mask: object
    noise: object  # how it varies; to its `power` it is a sigma
    power: float
    shape: tuple[int, int]
    step: float  # the image's pixels in one of the grid
    zeropoint: float
    unit: u.UnitBase
    pixel_scale: float  # of the image, arcsec
    wcs: WCS | None
    saturation: float
    levels: np.ndarray | None = None  # of the sky, in each cell of the grid
    sigma: float = 1  # of the sky's noise on the grid,
    scale: float = 1  # and in units of `noise`

    @property
    def grid(self) -> tuple[int, int]:
        return tuple(round(n / self.step) for n in self.shape)

    def around(self, box) -> tuple[int, int, int, int]:
        """A box of the grid (first row, end, first column, end) with its margin."""
        (y0, y1, x0, x1), (ny, nx) = box, self.grid
        return max(y0 - MARGIN, 0), min(y1 + MARGIN, ny), max(x0 - MARGIN, 0), min(x1 + MARGIN, nx)

    def read(self, y0, y1, x0, x1) -> tuple[np.ndarray, np.ndarray]:
        """A box of the image, float32, NaN where nothing is known; and how large the noise is there."""
        here = np.s_[y0:y1, x0:x1]
        with np.errstate(over="ignore"):
            pixels = np.array(self.data[here], np.float32)
            noise = np.ones_like(pixels) if self.noise is None else np.array(self.noise[here], np.float32)
        bad = ~np.isfinite(pixels) | ~(np.isfinite(noise) & (noise > 0))
        bad |= (pixels == 0) & ndimage.maximum_filter(flat_pixels(pixels), 3)  # never observed
        if self.mask is not None:
            bad |= np.asarray(self.mask[here]) != 0
        pixels[bad], noise[bad] = np.nan, 1
        return pixels, noise**self.power

    def window(self, box) -> tuple[np.ndarray, np.ndarray]:
        """The same of a box of the grid; where the grid's pixels are others, each has the light that falls on it."""
        if self.step == 1:
            return self.read(*box)
        low = [max(int(a * self.step) - 16, 0) for a in box[::2]]
        high = [min(int(b * self.step) + 16, n) for b, n in zip(box[1::2], self.shape, strict=True)]
        pixels, noise = self.read(low[0], high[0], low[1], high[1])
        bad = np.isnan(pixels)
        pixels[bad] = 0 if bad.all() else np.median(pixels[~bad])
        parts = [pixels, noise, bad]
        for axis in (0, 1):
            edges = np.arange(box[2 * axis], box[2 * axis + 1] + 1) * self.step - low[axis]
            for i, part in enumerate(parts):
                sums = np.pad(np.cumsum(part, axis, dtype=float), [(1 - axis, 0), (axis, 0)])
                spline = make_interp_spline(np.arange(sums.shape[axis]), sums, axis=axis)
                parts[i] = np.diff(spline(np.minimum(edges, sums.shape[axis] - 1)), axis=axis)
        pixels, noise, bad = (part.astype(np.float32, order="C") for part in parts)
        pixels[bad > 0.02 * self.step**2] = np.nan
        return pixels, noise

    def level(self, box) -> np.ndarray:
        """The sky in a box of the grid, a spline through the cells: in the same pixel always the same."""
        levels = np.pad(self.levels, 2, mode="edge")
        y, x = ((np.arange(n) - 1.5) * CELL - 0.5 for n in levels.shape)
        return RectBivariateSpline(y, x, levels)(np.arange(*box[:2]), np.arange(*box[2:])).astype(np.float32)


def _with_sky(frame) -> _Frame:
    """The frame with its sky: level and noise in all cells that have enough pixels, as SEP finds them in one mesh."""
    ny, nx = frame.grid
    levels, sigmas, scales = np.full((3, -(-ny // CELL), -(-nx // CELL)), np.nan)
    for row in range(len(levels)):
        strip, noise = frame.window((row * CELL, min((row + 1) * CELL, ny), 0, nx))
        for column in range(levels.shape[1]):
            here = np.s_[:, column * CELL : (column + 1) * CELL]
            cell, bad = np.ascontiguousarray(strip[here]), np.isnan(strip[here])
            if bad.mean() <= 0.5 and bad.size >= SMALLEST**2 / 4 and np.ptp(cell[~bad]) > 0:
                sky = sep.Background(np.where(bad, 0, cell), mask=bad, bw=CELL, bh=CELL)
                levels[row, column], sigmas[row, column] = sky.globalback, sky.globalrms
                scales[row, column] = sky.globalrms / np.median(noise[here][~bad])
    known = np.isfinite(levels)
    told = "the image has no sky, its pixels are NaN, masked or all the same"
    require(known.any(), f"{told}, expected noise around the objects: check the file and the mask.")
    levels = levels[tuple(ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True))]
    levels = ndimage.median_filter(levels, 3, mode="nearest")
    return replace(frame, levels=levels, sigma=float(np.median(sigmas[known])), scale=float(np.median(scales[known])))


def _measured(todo, frame, network, keep, client, folder):
    """Tiles and what was measured on them, as they are ready."""
    if not client:
        yield from (_measure_tile(box, frame, network, keep) for box in todo)
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("data", "mask", "noise"):
        if isinstance(part := getattr(frame, name), np.ndarray):
            fits.writeto(folder / f"{name}.fits", part.astype(np.float32), overwrite=True)
            frame = replace(frame, **{name: _OnDisk(str(folder.resolve() / f"{name}.fits"))})
    for future in client.map(_measure_tile, todo, frame=frame, network=network, keep=keep, pure=False):
        yield future.result()
        future.release()


def _measure_tile(box, frame, network, keep):
    """The box, a table of the objects whose peak is in it, and on the box with its margin their maps."""
    y0, y1, x0, x1 = window = frame.around(box)
    seen, noise = frame.window(window)
    light = seen - frame.level(window)
    bad = np.isnan(light)
    clean = np.where(bad, np.float32(0), light)
    sep.set_extract_pixstack(max(clean.size, 300_000))
    sep.set_sub_object_limit(8192)
    objects, labels = sep.extract(clean, err=frame.scale * noise, mask=bad, **DETECT)
    peaks = np.stack([objects["ypeak"], objects["xpeak"]], axis=1)
    y, x = peaks.T + np.array([[y0], [x0]])
    own = np.flatnonzero((y >= box[0]) & (y < box[1]) & (x >= box[2]) & (x < box[3]))
    ids, at = y * frame.grid[1] + x + 1, peaks[own]
    pieces = ndimage.label(labels > 0, np.ones((3, 3)))[0][*peaks.T]
    _, first, which = np.unique(pieces, return_index=True, return_inverse=True)
    table = {"id": ids[own], "group": ids[first[which]][own]}
    table["sep_flux"] = np.array([_kron(clean, labels, i + 1, objects[i]) for i in own], float)
    centre = np.stack(sep.winpos(clean, at[:, 1], at[:, 0], np.full(len(own), 2.0))[1::-1], axis=1)
    lost = ~(np.hypot(*(centre - at).T) < 3)  # to a brighter one
    table["y"], table["x"] = np.where(lost[:, None], at, centre).T + np.array([[y0], [x0]])
    border, (ny, nx) = np.ones(clean.shape, bool), frame.grid
    border[int(y0 == 0) : y1 - y0 - (y1 == ny), int(x0 == 0) : x1 - x0 - (x1 == nx)] = False
    places = {"edge": border, "masked": ndimage.maximum_filter(bad, 3)}
    places["saturated"] = seen >= frame.saturation * frame.step**2
    table |= {name: np.isin(own + 1, labels[where]) for name, where in places.items()}

    names = ("flux", "flux_err", "size", "out_of_domain", "blended")
    (ny, nx), told = (128, 128), [np.empty((0, len(names)))]
    inside_out = np.argsort(np.hypot(*np.ogrid[-ny // 2 : ny // 2, -nx // 2 : nx // 2]), axis=None)
    share = np.zeros(np.add(clean.shape, (ny, nx)), np.float32)
    import os
    if os.environ.get("WIN"):
        at = np.where(lost[:, None], at, np.rint(centre)).astype(int)
    everyone = np.stack([objects["y"], objects["x"]], 1)
    tell = np.zeros((len(at), 5, 3), np.float32)
    for j, i in enumerate(own):
        off = np.rint(everyone - at[j]); off[i] = 1e6
        inside = (np.abs(off) < 64).all(1); near_ = np.flatnonzero(inside)
        near_ = near_[np.argsort(np.hypot(*off[near_].T) / np.sqrt(np.maximum(objects["flux"][near_], 1e-9)) ** float(os.environ.get("POW", "0")))][:5]
        tell[j, : len(near_), :2] = off[near_]; tell[j, : len(near_), 2] = 1
    extra = []
    for answer in ask(network, light, at, frame.sigma, (y0, x0), tell):
        mine = answer["own"] * answer["stamps"]
        flux = flux_auto(mine, answer["mask"])
        ratio = answer["share"] / (answer["share"] + answer["rest"] + 1e-6)
        e3 = np.clip((ratio - 0.3) / 0.4, 0, 1)
        sh = objects[own[sum(map(len, told)) :][: len(flux)]]; ell = []
        for j, o in enumerate(sh):
            k_ = sum(map(len, told)) + j
            moved = {n_: o[n_] for n_ in ("a", "b", "theta")} | {"x": nx // 2 + o["x"] - at[k_, 1], "y": ny // 2 + o["y"] - at[k_, 0]}
            try: ell.append(kron_flux(np.ascontiguousarray(mine[j], np.float32), moved))
            except Exception: ell.append(np.nan)
        extra.append(np.stack([flux, flux_auto(e3 * answer["stamps"], answer["mask"]), ell, answer["fluxes"][:, 1]], 1))
        flux = answer["fluxes"][:, 0]
        flux, err = np.where(np.isnan(flux), answer["fluxes"][:, 0], flux), answer["errors"][:, 0]
        growth = np.cumsum(mine.reshape(len(flux), -1)[:, inside_out], axis=1)
        within = np.argmax(growth > flux[:, None] / 2, axis=1)  # so many pixels have half of the flux
        size = np.where((flux > 0) & (within > 0), np.sqrt((within + 1) / np.pi), np.nan)
        for (row, column), one in zip(at[sum(map(len, told)) :], answer["share"] if keep else (), strict=False):
            share[row : row + ny, column : column + nx] += one
        told.append(np.stack([flux, err, size, answer["out_of_domain"], answer["blended"]], axis=1))
    table |= dict(zip(names, np.concatenate(told).T, strict=True))
    table |= dict(zip(("k_mask", "k_share", "k_ell", "rest"), np.concatenate(extra).T))
    table["out_of_domain"] = table["out_of_domain"] > 0
    number = np.zeros(len(ids) + 1, np.int32 if np.prod(frame.grid) < 2**31 else np.int64)
    number[own + 1] = ids[own]
    pictures = {"segmap": number[labels], "share": share[ny // 2 : -ny // 2, nx // 2 : -nx // 2]}
    return box, table, pictures if keep else {}


def _kron(light, labels, label, shape):
    """FLUX_AUTO of one object of many, the others' segments blanked."""
    half = int(np.clip(8 * shape["a"], 32, MARGIN))
    y, x = (max(int(shape[name]) - half, 0) for name in ("y", "x"))
    here = np.s_[y : y + 2 * half, x : x + 2 * half]
    moved = {name: shape[name] for name in ("a", "b", "theta")} | {"x": shape["x"] - x, "y": shape["y"] - y}
    with suppress(Exception):  # SEP raises bare Exceptions
        return kron_flux(np.ascontiguousarray(light[here]), moved, (labels[here] != 0) & (labels[here] != label))
    return np.nan


def _catalogue(frame, table, card) -> Table:
    """The rows of all tiles, on the image's own pixels."""
    table.sort("id")
    flux = np.where(table["flux"] > 0, table["flux"], np.nan)
    table["x"], table["y"] = ((table[axis] + 0.5) * frame.step - 0.5 for axis in ("x", "y"))
    table["size"] *= frame.step
    table["mag"] = frame.zeropoint - 2.5 * np.log10(flux)
    table["mag_err"] = 2.5 / np.log(10) * table["flux_err"] / flux
    if frame.wcs is not None:
        place = frame.wcs.pixel_to_world(table["x"], table["y"]).icrs
        table["ra"], table["dec"] = place.ra.deg, place.dec.deg
    nodes, edges = np.unique([table["id"], table["group"]], return_inverse=True)
    edges = edges.reshape(2, -1)
    graph = coo_array((np.ones(len(table)), tuple(edges)), (len(nodes), len(nodes)))
    label = connected_components(graph, directed=False)[1][edges[0]]
    _, first, which, count = np.unique(label, return_index=True, return_inverse=True, return_counts=True)
    table["group"], table["n_in_group"] = table["id"][first][which], count[which]
    if n := np.count_nonzero(table["saturated"]):
        warnings.warn(f"{n} objects have pixels of {frame.saturation:g} or more: their flux is too low.", stacklevel=3)
    facts = {"network": card.get("name", ""), "sha256": card.get("sha256", ""), "zeropoint": frame.zeropoint}
    catalogue = Table(meta=facts | {"pixel_scale": frame.pixel_scale, "noise": frame.sigma / frame.step})
    for name in [name for name in COLUMNS.split() + ["k_mask", "k_share", "k_ell", "rest"] if name in table.colnames]:
        values = np.asarray(table[name])
        if values.dtype.kind == "f":
            values = values.round(8 if "deg" in UNITS[name] else 4) if name in UNITS else values.astype(np.float32)
        catalogue[name] = Column(values, unit=frame.unit if "flux" in name else UNITS.get(name))
    return catalogue


def _write_maps(draft, frame, files) -> None:
    """Segmentation map, model and residual as FITS, a strip of the image's rows at a time.

    All shares of a pixel together are at most one: the model is that sum, or 1, times the light above the sky.
    """
    wcs, written = fits.Header() if frame.wcs is None else frame.wcs.to_header(relax=True), {}
    wcs["MAGZERO"] = frame.zeropoint
    y, x = (np.minimum(((np.arange(n) + 0.5) / frame.step).astype(int), round(n / frame.step) - 1) for n in frame.shape)
    for y0, y1 in sorted({box[:2] for box in files}):
        box, segmap, share = (y0, y1, 0, frame.grid[1]), 0, np.zeros((y1 - y0, frame.grid[1]), np.float32)
        for near, file in files.items():
            wy0, wy1, wx0, wx1 = frame.around(near)
            if (a := max(y0, wy0)) < (b := min(y1, wy1)):
                with np.load(file.with_suffix(".npz")) as maps:
                    share[a - y0 : b - y0, wx0:wx1] += maps["share"][a - wy0 : b - wy0]
                    labels = np.pad(maps["segmap"][a - wy0 : b - wy0], ((a - y0, y1 - b), (wx0, box[3] - wx1)))
                segmap = np.where(labels > 0, labels, segmap)
        rows = np.flatnonzero((y >= y0) & (y < y1))
        pixels, _ = frame.read(rows[0], rows[-1] + 1, 0, frame.shape[1])
        segmap, share, level = (part[y[rows] - y0][:, x] for part in (segmap, share, frame.level(box)))
        model = np.nan_to_num((pixels - level / frame.step**2) * np.minimum(share, 1))
        for name, part in zip(MAPS, (segmap, model, pixels - model), strict=True):
            if name not in written:
                header = fits.PrimaryHDU(np.broadcast_to(part[0, 0], frame.shape), wcs).header
                header["BUNIT"] = "" if name == "segmap" else str(frame.unit)
                written[name] = fits.StreamingHDU(draft / f"{name}.fits", header)
            written[name].write(part)
    for file in written.values():
        file.close()


@contextmanager
def _quiet():
    """Without what astropy says of headers that are a little odd."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        warnings.filterwarnings("error", ".*truncated", AstropyWarning)
        yield


def _picture(source, what, hdu=None):
    """A picture that can be sliced, its shape and its header: of a FITS file or an array."""
    if not isinstance(source, str | os.PathLike):
        data = source.data if isinstance(source, NDData) else getattr(source, "value", source)
        data = np.asarray(np.ma.getdata(data))
        told = f"{what} is {data.dtype} of shape {data.shape}, expected numbers of shape (ny, nx)"
        require(data.ndim == 2 and data.dtype.kind in "biuf", f"{told}: give one plane, such as cube[0].")
        return data, data.shape, fits.Header(getattr(source, "meta", None) or {})
    path = Path(source).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file '{path}', expected {what} as FITS: check the name.")
    try:
        with _quiet(), fits.open(path, memmap=False) as hdus:
            shapes = [getattr(h, "shape", ()) if h.is_image else () for h in hdus]
            flat = [i for i, shape in enumerate(shapes) if len(shape) == 2]
            which = flat[0] if flat and hdu is None else hdus.index_of(hdu or 0)
            header, packed = hdus[which].header, path.suffix in (".gz", ".bz2", ".xz", ".Z")  # read as a whole
            data = hdus[which].data if packed else _OnDisk(str(path.resolve()), which, path.stat().st_mtime_ns)
            _ = which in flat and data[-1:]
    except Exception as error:  # astropy, gzip and struct have errors of their own
        why = "".join(c for c in str(error).partition("\n")[0] if c.isprintable())[:150].rstrip(".:")
        raise ValueError(f"'{path}' is not a readable FITS file ({why}): fetch or write it again.") from None
    had = f"'{path}' has pictures of shapes {', '.join(str(shape) for shape in shapes if shape) or 'none'}"
    require(which in flat, f"{had}, expected {what}, (ny, nx): choose one by hdu=, or cut a plane out.")
    return data, shapes[which], header


def _open(image, zeropoint, planes, hdu, pixel_scale, saturation, card) -> _Frame:
    """An image with all that is known of it, checked."""
    data, shape, header = _picture(image, "the image", hdu)
    given = f"the image has {shape[0]} x {shape[1]} pixels"
    require(min(shape) >= SMALLEST, f"{given}, expected at least {SMALLEST} x {SMALLEST}: give more sky around.")
    unit, wcs = _unit(getattr(image, "unit", None) or header.get("BUNIT")), getattr(image, "wcs", None)
    with suppress(Exception), _quiet():  # wcslib has errors of its own
        wcs = wcs or WCS(header)
        wcs = wcs.celestial if wcs.has_celestial else None

    zeropoint = _zeropoint(header, unit) if zeropoint is None else plain("the zeropoint", zeropoint, "AB magnitudes")
    known = zeropoint is not None and np.isfinite(zeropoint)
    told = f"the image has zeropoint {zeropoint}, expected a number: give zeropoint=, the AB magnitude of 1 in its unit"
    require(known, f"{told}, or write it to the header as {ZEROPOINTS[1]}.")

    knows = card.get("pixel_scale", PIXEL_SCALE)
    if pixel_scale is None:
        pixel_scale = knows if wcs is None else 3600 * np.mean(proj_plane_pixel_scales(wcs))
    pixel_scale = float(plain("the pixel_scale", pixel_scale, "arcsec per pixel"))
    told = f"the image has {pixel_scale:.4g} arcsec per pixel"
    require(0.001 < pixel_scale < 10, f"{told}, expected some hundredths or tenths: give pixel_scale=.")
    step = 1 if 1 / 1.1 < pixel_scale / knows < 1.1 else knows / pixel_scale
    if step != 1:
        told = f"{told}, the network knows {knows}: it is resampled, its light conserved"
        warnings.warn(f"{told}; positions and maps stay on the image's own pixels.", stacklevel=3)

    rms, weight, mask = planes
    require(rms is None or weight is None, "rms and weight were both given, expected one of them: leave one out.")
    if (uncertainty := getattr(image, "uncertainty", None)) is not None and rms is None and weight is None:
        rms = uncertainty.represent_as(StdDevUncertainty).array
    mask, planes = getattr(image, "mask", None) if mask is None else mask, {}
    for what, plane in (("rms map", rms), ("weight map", weight), ("mask", mask)):
        if plane is not None and plane is not np.ma.nomask:
            planes[what], extent, _ = _picture(plane, f"the {what}")
            told = f"the {what} has shape {extent}, the image {shape}"
            require(extent == shape, f"{told}, expected the same: cut both alike.")
    noise = planes.get("rms map", planes.get("weight map"))
    planes = {"mask": planes.get("mask"), "noise": noise, "power": 1 if weight is None else -0.5}
    if saturation is None:
        kind = data[:1].dtype
        small = kind.kind in "iu" and kind.itemsize < 4
        saturation = header.get("SATURATE", np.iinfo(kind).max if small else np.inf)
    about = {"zeropoint": float(zeropoint), "unit": unit or u.ct / u.s, "pixel_scale": pixel_scale, "wcs": wcs}
    return _Frame(data, shape=shape, step=step, saturation=float(saturation), **planes, **about)


def _unit(text) -> u.UnitBase | None:
    """A unit in one of its usual spellings, electrons as the counts that FITS and VOTable know."""
    text = re.sub(r"(?i)electrons?|counts?|\be-?(?=/)", "ct", re.sub(r"(?i)\bs(ec|econds?)?$", "s", str(text or "")))
    for word in (text, text.lower()):
        with suppress(ValueError):
            return u.Unit(word) if word.strip() else None
    return None


def _zeropoint(header, unit) -> float | None:
    """AB magnitude of 1 in an image's unit, as the unit or the header tells it."""
    if unit is not None and unit.is_equivalent(u.Jy):
        return 8.9 - 2.5 * np.log10(unit.to(u.Jy))
    if unit is not None and unit.is_equivalent(u.Jy / u.sr) and "PIXAR_SR" in header:
        return 8.9 - 2.5 * np.log10(unit.to(u.Jy / u.sr) * header["PIXAR_SR"])
    if named := [name for name in ZEROPOINTS if name in header]:
        return float(header[named[0]])
    if "PHOTFLAM" not in header or "PHOTPLAM" not in header:
        return None
    seconds = 1 if unit is None or u.s in unit.bases else header.get("EXPTIME", 1)
    return -2.5 * np.log10(header["PHOTFLAM"] / seconds) - 5 * np.log10(header["PHOTPLAM"]) - 2.408
