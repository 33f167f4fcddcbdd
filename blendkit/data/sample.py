"""A sample of galaxies: stamps, segmentation maps and a catalogue."""

import hashlib
import json
import numbers
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from astropy.table import Table

from .check import PathLike, floats, plain, require
from .remote import CANDELS_FILES, drafted
from .sky import sky_bank

ZEROPOINT, PIXEL_SCALE = 25.96, 0.06  # AB magnitude of 1 e-/s; arcseconds per pixel
MORPHOLOGIES = ("sph", "disk", "sphd", "irr")

IMAGES, SEGMAPS, CATALOG = CANDELS_FILES
SKY, META = "candels_sky.npy", "candels_meta.json"
ON_DISK = {"id": "ID", "ra": "RA", "dec": "DEC", "field": "FIELD", "r_eff": "radius", "morphology": "galtype"}
RELEASE_COLUMNS = ("ID", "RA", "DEC", "FIELD", "mag", "mag_err", "radius", "z", "galtype", "segval")
NEEDED = ("id", "mag", "r_eff", "morphology", "segval")


@dataclass(frozen=True, eq=False, repr=False)
class Sample:
    """Galaxies, one to a stamp, each at the stamp's centre pixel ``[ny // 2, nx // 2]``.

    Blends know their galaxies by the arrays as they were given: make a changed sample with `dataclasses.replace`
    instead of writing into them, which blends once drawn forbid. Units are converted, fluxes by the zeropoint and radii
    by the pixel scale; a masked pixel counts as NaN.

    Parameters
    ----------
    images, segmaps : arrays of float32 and of whole numbers, shape (n, ny, nx)
        Stamps in e-/s, and maps in which the label at the centre pixel is the galaxy's own, others are neighbours'
        and 0 is sky; labels that uint8 does not hold, such as a survey's own, are numbered anew from 1.
    catalog : astropy.table.Table
        Columns `id`, `mag` (AB), `r_eff` (pixels), `morphology` (sph, disk, sphd, irr) and `segval`, the label at the
        centre; `z` may be NaN. `clean` adds `flux_auto`, FLUX_AUTO in e-/s of the galaxy alone, and `report`.
    zeropoint, pixel_scale, name : AB magnitude of 1 e-/s, arcseconds per pixel, and where the galaxies come from
    sky_stamps : array of float32, shape (k, ny, nx), optional; made from the sample itself when not given
    """

    images: np.ndarray
    segmaps: np.ndarray
    catalog: Table
    zeropoint: float = ZEROPOINT
    pixel_scale: float = PIXEL_SCALE
    name: str = "sample"
    report: Table | None = None
    sky_stamps: np.ndarray | None = None

    def __post_init__(self):
        for name, value in _admitted(self).items():
            object.__setattr__(self, name, value)
        _check(self)

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        (ny, nx), mag = self.images.shape[1:], self.catalog["mag"]
        size = f"{len(self)} galaxies, stamps of {ny} x {nx} pixels at {self.pixel_scale} arcsec"
        return f"<Sample {self.name!r}: {size}, AB {mag.min():.1f} to {mag.max():.1f}>"

    def __getitem__(self, rows) -> Self:
        """The sub-sample of a mask, a slice, indices or one index; it keeps this sample's sky."""
        rows = np.atleast_1d(np.arange(len(self))[rows])
        parts = {name: getattr(self, name)[rows] for name in ("images", "segmaps", "catalog")}
        return replace(self, **parts, sky_stamps=self.sky)

    @cached_property
    def sky(self) -> np.ndarray:
        """Stamps of this sample's own empty sky, float32, shape (k, ny, nx)."""
        return sky_bank(self.images, self.segmaps) if self.sky_stamps is None else self.sky_stamps

    @cached_property
    def fingerprints(self) -> dict[int, str]:
        """For each galaxy's id, a digest of its pixels, labels and FLUX_AUTO; of simulated ones it begins with "s"."""
        columns = {"flux_auto": np.zeros(len(self)), "truth_flux": np.full(len(self), np.nan)} | dict(self.catalog)
        flux, truth = (np.asarray(columns[name], float) for name in ("flux_auto", "truth_flux"))
        made = np.where(np.isfinite(truth), "s", "").tolist()
        self.images.flags.writeable = self.segmaps.flags.writeable = False
        galaxies = zip(self.catalog["id"], made, self.images, self.segmaps, flux, strict=True)
        return {int(i): prefix + digest(*parts) for i, prefix, *parts in galaxies}

    @cached_property
    def sky_fingerprint(self) -> str:
        return digest(self.sky)

    @cached_property
    def reach(self) -> np.ndarray:
        """How far each galaxy's segment reaches from the centre pixel along either axis, pixels, shape (n,)."""
        far = np.abs(np.indices(self.images.shape[1:]) - np.reshape(self.centre, (2, 1, 1))).max(axis=0)
        return (self.own_masks() * far.astype(np.int32)).max(axis=(1, 2))

    @property
    def centre(self) -> tuple[int, int]:
        """Row and column of the centre pixel."""
        return self.images.shape[1] // 2, self.images.shape[2] // 2

    def own_masks(self) -> np.ndarray:
        """Where each stamp's own galaxy is, bool, shape (n, ny, nx)."""
        return self.segmaps == self.segmaps[:, *self.centre][:, None, None]

    def index(self, ids) -> np.ndarray:
        """Positions of catalogue ids in this sample."""
        ids = np.atleast_1d(ids)
        ids = ids if ids.dtype.kind == "f" else ids.astype(np.int64)  # one type: mixed ones are compared as floats
        known = np.asarray(self.catalog["id"]).astype(np.int64)
        order = np.argsort(known)
        place = order[np.searchsorted(known, ids, sorter=order).clip(max=len(known) - 1)]
        missing = np.unique(ids[known[place] != ids])
        absent = f"{len(missing)} of the galaxies (ids {_few(missing)}) are not in the sample {self.name!r}"
        require(not len(missing), f"{absent}: use the sample that the blends were drawn from.")
        return place

    def save(self, folder: PathLike) -> Path:
        """Write the sample in the layout of the CANDELS release (three files, plus its sky and zeropoint)."""
        folder, stacks = Path(folder), {IMAGES: self.images, SEGMAPS: self.segmaps, SKY: self.sky}
        with drafted(folder, sum(stack.nbytes for stack in stacks.values())) as draft:
            for name, stack in stacks.items():
                np.save(draft / name, stack)
            meta = {"name": self.name, "zeropoint": float(self.zeropoint), "pixel_scale": float(self.pixel_scale)}
            (draft / META).write_text(json.dumps(meta) + "\n", encoding="utf-8")
            table = Table(self.catalog, copy=True, meta={})  # with the release's columns, further ones follow
            for column, default in {"ra": 0.0, "dec": 0.0, "field": "", "mag_err": np.nan, "z": np.nan}.items():
                if column not in table.colnames:
                    table[column] = np.full(len(table), default)
            table["field"] = [repr(f"{field:<10}".encode()) for field in table["field"]]
            table.remove_columns([column for column in ON_DISK.values() if column in table.colnames])
            table.rename_columns([*ON_DISK], [*ON_DISK.values()])
            for column in table.itercols():
                column.info.format = None  # every digit
            further = (column for column in table.colnames if column not in RELEASE_COLUMNS)
            table[[*RELEASE_COLUMNS, *further]].write(draft / CATALOG, format="ascii.csv")
        return folder


def digest(*arrays) -> str:
    """Twelve hexadecimal digits by which the bytes of arrays are known."""
    h = hashlib.blake2b(digest_size=6)
    for array in arrays:
        h.update(np.ascontiguousarray(array))
    return h.hexdigest()


def _admitted(sample):
    """The parts of a sample in the kit's own units and types."""
    zeropoint = plain("the zeropoint", sample.zeropoint, "AB magnitudes")[()]
    pixel_scale = plain("the pixel_scale", sample.pixel_scale, "arcsec per pixel")[()]
    parts = {"images": sample.images, "sky_stamps": sample.sky_stamps}
    for name, stack in parts.items():
        if hasattr(stack, "unit") or hasattr(stack, "mask") or isinstance(stack, list | tuple):
            parts[name] = plain(f"the {name}", stack, "e-/s", zeropoint).astype(np.float32)
    labels = np.ma.filled(sample.segmaps, 0)
    parts["segmaps"] = _numbered(labels)
    if not isinstance(sample.catalog, Table):
        return parts
    catalog = Table(sample.catalog, copy=False)
    kinds = {"mag": ("AB magnitudes", None), "r_eff": ("pixels", pixel_scale), "flux_auto": ("e-/s", zeropoint)}
    for name, (kind, scale) in kinds.items():
        if name in catalog.colnames and catalog[name].unit is not None:
            catalog[name] = plain(f"the catalogue's {name}", catalog[name], kind, scale)
    if "id" in catalog.colnames and catalog["id"].dtype.kind == "u" and not (catalog["id"] >= 2**63).any():
        catalog["id"] = np.asarray(catalog["id"]).astype(np.int64)
    if "segval" in catalog.colnames and parts["segmaps"] is not labels and len(labels) == len(catalog):
        centre = np.s_[:, labels.shape[1] // 2, labels.shape[2] // 2]
        catalog["segval"] = np.where(catalog["segval"] == labels[centre], parts["segmaps"][centre], catalog["segval"])
    return parts | {"catalog": catalog, "zeropoint": zeropoint, "pixel_scale": pixel_scale}


def _numbered(segmaps):
    """Whole labels as uint8; a stamp with others than that holds is numbered from 1, in their order."""
    whole = isinstance(segmaps, np.ndarray) and segmaps.ndim == 3 and segmaps.dtype.kind in "biuf"
    if not whole or segmaps.dtype == np.uint8 or not (segmaps == np.rint(segmaps)).all():
        return segmaps
    numbered = np.where((segmaps >= 0) & (segmaps < 256), segmaps, 0).astype(np.uint8)
    for i in np.flatnonzero((segmaps != numbered).any(axis=(1, 2))):
        labels, at = np.unique(segmaps[i], return_inverse=True)
        require(len(labels) <= 256, f"stamp {i} has {len(labels)} labels, expected at most 256: cut it smaller.")
        numbered[i] = (np.cumsum(labels != 0) * (labels != 0))[at].reshape(segmaps[i].shape)
    return numbered


def _check(sample: Sample) -> None:
    """Raise a ValueError with one sentence on the first thing that is wrong with a sample."""
    images, segmaps, catalog = sample.images, sample.segmaps, sample.catalog
    how = {"images": "convert them with images.astype('float32')", "segmaps": "give whole numbers"}
    for what, stack, dtype in (("images", images, "float32"), ("segmaps", segmaps, "uint8")):
        shape, kind = getattr(stack, "shape", None), getattr(stack, "dtype", type(stack).__name__)
        good = isinstance(stack, np.ndarray) and stack.ndim == 3 and kind == dtype
        expected = f"expected {dtype} of shape (n, ny, nx): stack the stamps along a first axis, and {how[what]}"
        require(good, f"{what} are {kind} of shape {shape}, {expected}.")
    found = getattr(catalog, "colnames", ())
    lacks = ", ".join(name for name in NEEDED if name not in found)
    require(not lacks, f"the catalogue lacks {lacks}, expected a Table of {', '.join(NEEDED)}: rename or add columns.")
    for what in ("zeropoint", "pixel_scale"):
        value = getattr(sample, what)
        good = isinstance(value, numbers.Real) and np.isfinite(value)
        require(good, f"{what} = {value!r} was given, expected a finite number: correct it.")
    given = f"{len(images)} images of {images.shape[1:]}, {len(segmaps)} segmentation maps of {segmaps.shape[1:]}"
    alike = images.shape == segmaps.shape and len(images) == len(catalog)
    cure = "expected one of each per galaxy, of the same size: check that the three files belong together"
    require(alike, f"{given} pixels and {len(catalog)} catalogue rows were given, {cure}.")
    require(len(images), "the sample is empty, expected at least one galaxy: check the files or widen the cuts.")
    if (sky := sample.sky_stamps) is not None:
        good = len(sky) and sky.shape[1:] == images.shape[1:] and sky.dtype == np.float32 and np.isfinite(sky).all()
        require(good, f"the sky stamps ({SKY}) are no finite float32 of shape (k, ny, nx): leave them out to be made.")
    ids = np.asarray(catalog["id"])
    whole = ids.dtype.kind == "i" and ids.min() >= 0 and not np.ma.is_masked(catalog["id"])
    require(whole, f"the ids are {ids.dtype}, expected whole numbers from 0 to 2**63 - 1: number the galaxies.")
    y, x = sample.centre
    mag, radius, flux = (
        floats(catalog[name], f"the column {name} of the catalogue") if name in found else np.ones(len(ids))
        for name in ("mag", "r_eff", "flux_auto")
    )
    unknown = ~np.isin(np.asarray(catalog["morphology"], str), MORPHOLOGIES)
    unique, counts = np.unique(ids, return_counts=True)
    for bad, sentence in (
        (ids[~np.isfinite(images).all(axis=(1, 2))], "have NaN or infinite pixels: drop or repair these stamps"),
        (ids[segmaps[:, y, x] == 0], f"have no object at the centre pixel [{y}, {x}] of the segmentation map, expected "
            "the galaxy's own label: recentre or drop these stamps"),
        (ids[~((radius > 0) & (radius < np.inf))], "have a radius that is not positive and finite, expected r_eff in "
            "pixels: drop these rows"),
        (ids[~np.isfinite(mag)], "have a magnitude that is not finite, expected an AB magnitude: drop these rows"),
        (ids[~((flux > 0) & (flux < np.inf))], "have a flux_auto that is not positive and finite: drop these rows"),
        (ids[unknown], f"have an unknown morphology, expected one of {', '.join(MORPHOLOGIES)}: translate the types"),
        (unique[counts > 1], "stand in the sample more than once, expected every id once: drop the repeated rows"),
    ):  # fmt: skip
        require(not len(bad), f"{len(bad)} of {len(ids)} galaxies (ids {_few(bad)}) {sentence}.")


def _few(ids) -> str:
    return ", ".join(str(i) for i in ids[:5]) + (", ..." if len(ids) > 5 else "")
