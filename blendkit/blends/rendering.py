"""The pixels of blends, in NumPy: the reference that the training device and the browser are held to."""

import math
from contextlib import ExitStack
from itertools import islice, product
from pathlib import Path

import numpy as np
from astropy.table import Table
from tqdm import tqdm

from ..data.check import PathLike, require
from ..data.remote import drafted
from ..data.sample import Sample
from .geometry import place, place_segment
from .recipe import column, placements, true_fluxes


def render(
    sample: Sample, blends: Table, *, fill: str = "sky", masks: bool = True
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """The pixels of blends.

    Returns images (n, ny, nx) float32, e-/s, the sum of the galaxies with the noise of all; masks (n, ny, nx, k) bool,
    their segments, where several are true they overlap; and fluxes (n, k) float32, FLUX_AUTO of each galaxy alone, NaN
    for an empty place.

    Parameters
    ----------
    sample : Sample; the one that the blends were drawn from, or any that holds these very galaxies
    blends : astropy.table.Table
        From `draw_blends` or `make_blends`, or any slice; where you edited a recipe, what follows from it is renewed.
    fill : {"sky", "zero"}
        What a shift or a turn leaves empty: the sample's own sky, into which the stamp's outermost five pixels go over,
        or zeros (as the paper's tools do, which leaves a step in the noise).
    masks : bool; whether they are wanted, else None
    """
    stamps, bank = sample.images, _sky_stamps(sample, fill)
    rows, *_, skies, _ = places = placements(sample, blends, fill, len(bank))
    images, scratch = np.empty((len(blends), *stamps.shape[1:]), np.float32), np.empty_like(stamps[0])
    members = zip(*(values[::-1] for values in _flat(places)), strict=True)
    for image in images[::-1]:  # from the last galaxy of the last blend to the first of the first
        target = image
        for row, dy, dx, orient, sky, scale in islice(members, rows.shape[1]):
            if row < 0:
                continue
            place(target, stamps[row], orient, dy, dx, bank[sky], fill == "sky")
            if scale != 1:
                target *= scale
            if target is scratch:
                image += scratch
            target = scratch
    nobody = (rows < 0).all(axis=1)
    images[nobody] = bank[skies[nobody, 0]]
    fluxes = np.where(rows < 0, np.nan, true_fluxes(sample)[rows] * 10 ** (-0.4 * column(blends, "dmag")))
    segments = np.zeros((len(blends), *stamps.shape[1:], rows.shape[1]), bool) if masks else None
    for m, (row, dy, dx, orient, *_) in enumerate(zip(*_flat(places), strict=True)) if masks else ():
        if row >= 0:
            target = segments[m // rows.shape[1], ..., m % rows.shape[1]]
            place_segment(target, sample.segmaps[row], sample.reach[row], orient, dy, dx)
    return images, segments, fluxes.astype(np.float32)


def render_parts(sample: Sample, blends: Table, *, fill: str = "sky") -> np.ndarray:
    """The galaxies of each blend apart, (n, ny, nx, k) float32; they add up to the image of `render`, 0 where empty."""
    bank = _sky_stamps(sample, fill)
    places = placements(sample, blends, fill, len(bank))
    parts = np.zeros((*places[0].shape, *sample.images.shape[1:]), np.float32)
    for part, row, dy, dx, orient, sky, scale in zip(parts.reshape(-1, *parts.shape[2:]), *_flat(places), strict=True):
        if row >= 0:
            place(part, sample.images[row], orient, dy, dx, bank[sky], fill == "sky")
            part *= scale
    return np.moveaxis(parts, 1, -1)


def export(sample: Sample, blends: Table, folder: PathLike, *, prefix: str = "test", fill: str = "sky") -> Path:
    """Write blends of two galaxies as plain pixels, under the file names of the paper's own tool (candels-blender).

    Returns the folder, with ``{prefix}_blends.npy`` (n, ny, nx) float32, ``{prefix}_gg_masks.npy`` (n, ny, nx, 2)
    uint8, ``{prefix}_flux.npy`` (n, 2) and ``{prefix}_catalogue.csv`` (columns of the original, `shift_x` and `shift_y`
    the companion's shift along rows and columns). `prefix` is "train" or "test" there; the rest is as for `render`.
    """
    pairs = np.shape(blends["id"])[1:] == (2,) and (np.asarray(blends["id"]) != -1).all()
    require(pairs, "the blends are not all of two galaxies, expected pairs: the paper's tool knows no others.")
    placements(sample, blends, fill, 1)  # the whole table is sound, and not only each part of it
    folder, n, (ny, nx) = Path(folder), len(blends), sample.images.shape[1:]
    kinds = {"blends": ("<f4", (ny, nx)), "gg_masks": ("|u1", (ny, nx, 2)), "flux": ("<f4", (2,))}
    size = n * sum(np.dtype(dtype).itemsize * math.prod(shape) for dtype, shape in kinds.values())
    z = np.asarray(sample.catalog["z"], float) if "z" in sample.catalog.colnames else np.full(len(sample), np.nan)
    rows = sample.index(np.ravel(blends["id"])).reshape(-1, 2)
    with drafted(folder, size) as draft, ExitStack() as files:
        stacks = [files.enter_context(open(draft / f"{prefix}_{name}.npy", "wb")) for name in kinds]
        for stack, (dtype, shape) in zip(stacks, kinds.values(), strict=True):
            np.lib.format.write_array_header_1_0(stack, {"descr": dtype, "fortran_order": False, "shape": (n, *shape)})
        for start in tqdm(range(0, n, 256), desc="exporting", disable=None, leave=False):
            rendered = render(sample, blends[start : start + 256], fill=fill)
            for stack, pixels, (dtype, _) in zip(stacks, rendered, kinds.values(), strict=True):
                stack.write(np.ascontiguousarray(pixels, dtype))
        shift = {"shift_x": blends["dy"][:, 1], "shift_y": blends["dx"][:, 1]}
        table = Table({"id": np.arange(n), "distance": blends["distance"]} | shift)
        columns = {"id": blends["id"], "mag": blends["mag"], "rad": blends["r_eff"], "z": z[rows]}
        columns["type"] = blends["morphology"]
        for j, key in product((0, 1), columns):
            table[f"g{j + 1}_{key}"] = columns[key][:, j]
        formats = {name: ".6f" for name in table.colnames if table[name].dtype.kind == "f"}
        table.write(draft / f"{prefix}_catalogue.csv", format="ascii.csv", formats=formats)
    return folder


def _sky_stamps(sample, fill):
    """What a shift or a turn leaves empty is filled from these, (m, ny, nx) float32."""
    return sample.sky if fill == "sky" else np.zeros((1, *sample.images.shape[1:]), np.float32)


def _flat(places):
    """`placements` as flat lists."""
    return [values.ravel().tolist() for values in places]
