"""Galaxy samples: stamps, segmentation maps and a catalogue, in memory and on disk."""

from __future__ import annotations

import hashlib
import json
import numbers
import os
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .download import CANDELS_FILES, data_folder, fetch_candels
from .sky import sky_bank

if TYPE_CHECKING:
    from astropy.table import Table

ZEROPOINT = 25.96
PIXEL_SCALE = 0.06
MORPHOLOGIES = ("sph", "disk", "sphd", "irr")

_IMAGES, _SEGMAPS, _CATALOG = CANDELS_FILES
_SKY, _META = "candels_sky.npy", "candels_meta.json"
_ON_DISK = {
    "id": "ID",
    "ra": "RA",
    "dec": "DEC",
    "field": "FIELD",
    "r_eff": "radius",
    "morphology": "galtype",
}
_RELEASE_COLUMNS = ("ID", "RA", "DEC", "FIELD", "mag", "mag_err", "radius", "z", "galtype", "segval")
_NEEDED = ("id", "mag", "r_eff", "morphology", "segval")


@dataclass(eq=False, repr=False)
class Sample:
    """Galaxies, one to a stamp, each at the stamp's centre pixel ``[ny // 2, nx // 2]``.

    Parameters
    ----------
    images : array of float32, shape (n, ny, nx)
        Stamps in e-/s.
    segmaps : array of uint8, shape (n, ny, nx)
        Segmentation maps: the central galaxy carries the label found at the centre pixel, other labels are
        neighbours, 0 is sky.
    catalog : astropy.table.Table
        Columns `id`, `mag` (AB), `r_eff` (pixels), `morphology` (sph, disk, sphd, irr) and `segval`; `z` may be
        NaN. `clean` adds `flux_auto`, FLUX_AUTO in e-/s of the galaxy alone.
    zeropoint : float
        AB magnitude of 1 e-/s.
    pixel_scale : float
        Arcseconds per pixel.
    name : str
        Where the galaxies come from, for titles.
    report : astropy.table.Table, optional
        What `clean` did to each galaxy.
    sky_stamps : array of float32, shape (k, ny, nx), optional
        The bank behind `sky`; made from the sample itself when it is not given.

    Raises
    ------
    ValueError
        One sentence on the first thing that is wrong.

    Notes
    -----
    What is checked, and the fingerprints by which blends know their galaxies, hold for the arrays as they were given:
    make a changed sample with `dataclasses.replace` instead of writing into them.
    """

    images: np.ndarray
    segmaps: np.ndarray
    catalog: Table
    zeropoint: float = ZEROPOINT
    pixel_scale: float = PIXEL_SCALE
    name: str = "sample"
    report: Table | None = None
    sky_stamps: np.ndarray | None = field(default=None)

    def __post_init__(self):
        check_sample(self)

    def __setattr__(self, name, value):
        if name in ("images", "segmaps", "catalog"):
            for stale in ("fingerprints", "reach"):
                self.__dict__.pop(stale, None)
        super().__setattr__(name, value)

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        ny, nx = self.images.shape[1:]
        return (
            f"<Sample {self.name!r}: {len(self)} galaxies, stamps of {ny} x {nx} pixels at {self.pixel_scale} arcsec, "
            f"AB {self.catalog['mag'].min():.1f} to {self.catalog['mag'].max():.1f}>"
        )

    def __getitem__(self, rows) -> Sample:
        """The sub-sample of a mask, a slice, indices or one index; it keeps this sample's sky."""
        rows = np.arange(len(self))[rows]
        rows = np.atleast_1d(rows)
        if not len(rows):
            raise ValueError("the selection holds no galaxy: an empty sample is of no use, widen the cuts.")
        part = object.__new__(Sample)
        part.__dict__.update(self.__dict__)
        part.images, part.segmaps, part.catalog = self.images[rows], self.segmaps[rows], self.catalog[rows]
        part.sky_stamps = self.sky
        part.__dict__["sky_fingerprint"] = self.sky_fingerprint
        if len(np.unique(rows)) < len(rows):
            raise ValueError(
                f"the selection names {len(rows) - len(np.unique(rows))} galaxies twice: give every index once."
            )
        return part

    @property
    def sky(self) -> np.ndarray:
        """Stamps of this sample's own empty sky, float32, shape (k, ny, nx)."""
        if self.sky_stamps is None:
            self.sky_stamps = sky_bank(self.images, self.segmaps)
        return self.sky_stamps

    @cached_property
    def fingerprints(self) -> dict[int, str]:
        """For each galaxy's id, a digest of its pixels, labels and FLUX_AUTO."""
        flux = np.asarray(self.catalog["flux_auto"]) if "flux_auto" in self.catalog.colnames else np.zeros(len(self))
        return {
            int(i): _digest(image, segmap, np.float64(f))
            for i, image, segmap, f in zip(self.catalog["id"], self.images, self.segmaps, flux, strict=True)
        }

    @cached_property
    def sky_fingerprint(self) -> str:
        """A digest of the sky bank."""
        return _digest(self.sky)

    @cached_property
    def reach(self) -> np.ndarray:
        """How far each galaxy's segment reaches from the centre pixel along either axis, pixels, shape (n,)."""
        own = self.own_masks()
        reach = np.zeros(len(self), int)
        for axis, middle in zip((2, 1), self.centre, strict=True):
            offset = np.abs(np.arange(own.shape[3 - axis]) - middle)
            reach = np.maximum(reach, np.where(own.any(axis=axis), offset, 0).max(axis=1))
        return reach

    @property
    def centre(self) -> tuple[int, int]:
        """Row and column of the centre pixel."""
        return self.images.shape[1] // 2, self.images.shape[2] // 2

    def own_masks(self) -> np.ndarray:
        """Where each stamp's own galaxy is, bool, shape (n, ny, nx)."""
        y, x = self.centre
        return self.segmaps == self.segmaps[:, y, x][:, None, None]

    def index(self, ids) -> np.ndarray:
        """Positions of catalogue ids in this sample.

        Raises
        ------
        ValueError
            Where an id is not in the sample.
        """
        ids = np.atleast_1d(np.asarray(ids))
        known = np.asarray(self.catalog["id"]).astype(np.int64)  # one type: mixed ones are compared as floats
        if ids.dtype.kind in "iu":
            ids = ids.astype(np.int64)
        order = np.argsort(known)
        place = order[np.searchsorted(known, ids, sorter=order).clip(max=len(known) - 1)]
        missing = np.unique(ids[known[place] != ids])
        if len(missing):
            raise ValueError(
                f"{len(missing)} of the galaxies asked for are not in the sample {self.name!r} "
                f"(ids {_few(missing)}): use the sample that the blends were drawn from."
            )
        return place

    def save(self, folder: str | os.PathLike) -> Path:
        """Write the sample in the layout of the CANDELS release (three files, plus its sky and zeropoint).

        Everything is written under temporary names and then moved into place.

        Parameters
        ----------
        folder : path
            Made when it is not there.

        Returns
        -------
        pathlib.Path
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as draft:
            draft = Path(draft)
            np.save(draft / _IMAGES, self.images)
            np.save(draft / _SEGMAPS, self.segmaps)
            np.save(draft / _SKY, self.sky)
            meta = {"name": self.name, "zeropoint": float(self.zeropoint), "pixel_scale": float(self.pixel_scale)}
            (draft / _META).write_text(json.dumps(meta) + "\n", encoding="utf-8")
            _release_catalog(self.catalog).write(draft / _CATALOG, format="ascii.csv")
            for file in sorted(draft.iterdir()):
                os.replace(file, folder / file.name)
        return folder


def load_sample(source: str | os.PathLike = "synthetic", *, n: int | None = None, seed: int = 0) -> Sample:
    """A galaxy sample by name or from a folder.

    Parameters
    ----------
    source : str or path
        ``"synthetic"``: galaxies simulated on first use and cached; ``"candels"``: the paper's own galaxies,
        downloaded from Zenodo record 2604740 on first use; otherwise a folder in the layout of that release
        (``candels_img.npy``, ``candels_seg.npy``, ``candels_cat.csv``).
    n : int, optional
        How many galaxies. Default: 2,000 synthetic ones, or all that a real sample has. A real sample that has
        more gives `n` of them drawn with `seed`.
    seed : int
        Seed of the simulation or of the draw.

    Returns
    -------
    Sample

    Raises
    ------
    ValueError
        One sentence on what is wrong with the files.
    FileNotFoundError
        Where there is no such folder, or a file is missing in it.
    blendkit.download.DownloadError
        Where the download fails; nothing is left half done.
    """
    if n is not None and (not isinstance(n, int | np.integer) or n < 1):
        raise ValueError(f"n = {n!r} galaxies were asked for, expected a whole number of at least 1.")
    if source == "synthetic":
        return _synthetic(2000 if n is None else int(n), seed)
    folder = fetch_candels() if source == "candels" else Path(source).expanduser()
    sample = read_folder(folder)
    if source == "candels":
        sample.name = "CANDELS"
    if n is not None and n < len(sample):
        sample = sample[np.sort(np.random.default_rng(seed).choice(len(sample), n, replace=False))]
    return sample


def join(samples: Sequence[Sample]) -> Sample:
    """Several samples as one, for example simulations of several seeds, or real galaxies and synthetic ones.

    Parameters
    ----------
    samples : sequence of Sample
        At least one; all of the same stamp size, pixel scale and zeropoint, without a common id, and either all with
        `flux_auto` or none.

    Returns
    -------
    Sample
        The galaxies in the order given, with the catalogue columns that all have, each sample's sky stamps once, and
        no report.

    Raises
    ------
    ValueError
        Where the samples do not fit together.
    """
    from astropy.table import vstack

    samples = list(samples)
    if not samples:
        raise ValueError("no sample was given to join, expected at least one: give a list of samples.")
    first = samples[0]
    for sample in samples[1:]:
        for what, one, other in (
            ("stamps of {} pixels", first.images.shape[1:], sample.images.shape[1:]),
            ("a pixel scale of {} arcsec", first.pixel_scale, sample.pixel_scale),
            ("a zeropoint of {}", first.zeropoint, sample.zeropoint),
            ("flux_auto: {}", *("flux_auto" in s.catalog.colnames for s in (first, sample))),
        ):
            if one != other:
                raise ValueError(
                    f"the sample {first.name!r} has {what.format(one)} and {sample.name!r} {what.format(other)}, "
                    "expected the same: join samples that were made and cleaned alike."
                )
    skies = {sample.sky_fingerprint: sample.sky for sample in samples}
    return Sample(
        np.concatenate([sample.images for sample in samples]),
        np.concatenate([sample.segmaps for sample in samples]),
        vstack([sample.catalog for sample in samples], join_type="inner", metadata_conflicts="silent"),
        first.zeropoint,
        first.pixel_scale,
        " and ".join(dict.fromkeys(sample.name for sample in samples)),
        sky_stamps=np.concatenate(list(skies.values())),
    )


def read_folder(folder: Path) -> Sample:
    """Read the three files of the CANDELS release's layout; see `load_sample`."""
    if folder.is_file():
        raise FileNotFoundError(
            f"'{folder}' is a file, expected a folder that holds {', '.join(CANDELS_FILES)}: name that folder."
        )
    if not folder.is_dir():
        raise FileNotFoundError(
            f"there is no folder '{folder}': give 'synthetic', 'candels' or a folder that holds "
            f"{', '.join(CANDELS_FILES)}."
        )
    for name in CANDELS_FILES:
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"'{folder}' has no {name}: the CANDELS layout is {', '.join(CANDELS_FILES)}, all three in one folder."
            )
    meta = _load_meta(folder / _META) if (folder / _META).is_file() else {}
    return Sample(
        _load_stack(folder / _IMAGES),
        _load_stack(folder / _SEGMAPS),
        _load_catalog(folder / _CATALOG),
        **({"name": folder.resolve().name} | meta),
        sky_stamps=_load_stack(folder / _SKY) if (folder / _SKY).is_file() else None,
    )


def check_sample(sample: Sample) -> None:
    """Raise a ValueError with one sentence on the first thing that is wrong with a sample."""
    images, segmaps, catalog = sample.images, sample.segmaps, sample.catalog
    for what, stack, dtype in (("images", images, np.float32), ("segmaps", segmaps, np.uint8)):
        if not isinstance(stack, np.ndarray) or stack.ndim != 3:
            shape = getattr(stack, "shape", type(stack).__name__)
            raise ValueError(f"{what} have shape {shape}, expected (n, ny, nx): stack the stamps along a first axis.")
        if stack.dtype != dtype:
            raise ValueError(
                f"{what} are {stack.dtype}, expected {np.dtype(dtype)}: convert them with "
                f"{what}.astype('{np.dtype(dtype)}')."
            )
    if not hasattr(catalog, "colnames"):
        raise ValueError(
            f"the catalogue is a {type(catalog).__name__}, expected an astropy Table: wrap it in Table(...)."
        )
    for what in ("zeropoint", "pixel_scale"):
        value = getattr(sample, what)
        if not isinstance(value, numbers.Real) or not np.isfinite(value):
            raise ValueError(f"{what} = {value!r} was given, expected a finite number: correct it.")
    missing = [name for name in _NEEDED if name not in catalog.colnames]
    if missing:
        raise ValueError(
            f"the catalogue lacks {', '.join(missing)}, expected the columns {', '.join(_NEEDED)}: rename or add them."
        )
    if not len(images) == len(segmaps) == len(catalog):
        raise ValueError(
            f"there are {len(images)} images, {len(segmaps)} segmentation maps and {len(catalog)} catalogue rows, "
            "expected one of each per galaxy: check that the three files belong together."
        )
    if not len(images):
        raise ValueError("the sample is empty, expected at least one galaxy: check the files or widen the cuts.")
    if images.shape != segmaps.shape:
        raise ValueError(
            f"stamps are {images.shape[1:]} and segmentation maps {segmaps.shape[1:]} pixels, expected the same: "
            "cut both from the same place."
        )
    _check_sky(sample.sky_stamps, images.shape[1:])
    ids = np.asarray(catalog["id"])
    if ids.dtype.kind not in "iu":
        raise ValueError(f"the catalogue's ids are {ids.dtype}, expected whole numbers: number the galaxies.")
    y, x = sample.centre
    finite = np.isfinite(images).all(axis=(1, 2))
    radius, mag = (_floats("the catalogue", c, catalog[c]) for c in ("r_eff", "mag"))
    flux = (
        _floats("the catalogue", "flux_auto", catalog["flux_auto"]) if "flux_auto" in catalog.colnames else mag * 0 + 1
    )
    unknown = ~np.isin(np.asarray(catalog["morphology"], str), MORPHOLOGIES)
    unique, counts = np.unique(ids, return_counts=True)
    for bad, sentence in (
        (ids[~finite], "have NaN or infinite pixels, expected finite e-/s: drop or repair these stamps"),
        (ids[segmaps[:, y, x] == 0], f"have no object at the centre pixel [{y}, {x}] of the segmentation map, expected "
            "the galaxy's own label: recentre or drop these stamps"),
        (ids[~((radius > 0) & (radius < np.inf))], "have a radius that is not positive and finite, expected r_eff in "
            "pixels: drop these rows"),
        (ids[~np.isfinite(mag)], "have a magnitude that is not finite, expected an AB magnitude: drop these rows"),
        (ids[~((flux > 0) & (flux < np.inf))], "have a flux_auto that is not positive and finite: drop these rows"),
        (ids[unknown], f"have an unknown morphology, expected one of {', '.join(MORPHOLOGIES)}: translate the types"),
        (unique[counts > 1], "stand in the catalogue more than once, expected every id once: drop the repeated rows"),
    ):  # fmt: skip
        if len(bad):
            raise ValueError(f"{len(bad)} of {len(ids)} galaxies (ids {_few(bad)}) {sentence}.")


def _check_sky(sky, shape):
    if sky is None:
        return
    fits = sky.ndim == 3 and len(sky) and sky.shape[1:] == shape and sky.dtype == np.float32
    if not fits or not np.isfinite(sky).all():
        raise ValueError(
            f"the sky stamps ({_SKY}) are {sky.dtype} of shape {sky.shape}, expected finite float32 of shape "
            f"(k, {shape[0]}, {shape[1]}): leave them out to have them made from the sample."
        )


def _few(ids) -> str:
    text = ", ".join(str(i) for i in ids[:5])
    return text + (", ..." if len(ids) > 5 else "")


def _digest(*arrays) -> str:
    h = hashlib.blake2b(digest_size=6)
    for a in arrays:
        h.update(np.ascontiguousarray(a))
    return h.hexdigest()


def _why(error: Exception) -> str:
    """The first clause of what a library says, without its full stop."""
    lines = str(error).splitlines()
    text = "".join(c for c in lines[0].split(". ")[0] if c.isprintable()) if lines else ""
    return text[:150].rstrip(".") or "empty file"


def _load_meta(path: Path) -> dict:
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        numbers = {name: float(meta[name]) for name in ("zeropoint", "pixel_scale")}
        return numbers | {"name": str(meta["name"])}
    except (ValueError, TypeError, KeyError):
        raise ValueError(
            f"'{path}' is not what Sample.save writes, expected a JSON object with zeropoint, pixel_scale and name: "
            "save the sample again, or remove the file to have the release's values."
        ) from None


def _load_stack(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        start = file.read(6)
    if start.startswith(b"PK"):
        raise ValueError(
            f"'{path}' is an archive of several arrays, expected one plain .npy array: save it with numpy.save."
        )
    if start != b"\x93NUMPY":
        raise ValueError(f"'{path}' is not a .npy array (it starts with {start!r}): fetch or write it again.")
    try:
        stack = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"'{path}' is not a readable .npy array ({_why(error)}): fetch or write it again.") from None
    return stack if stack.dtype.isnative else stack.astype(stack.dtype.newbyteorder("="))


def _load_catalog(path: Path) -> Table:
    from astropy.table import Table

    try:
        table = Table.read(path, format="ascii.csv", encoding="utf-8-sig")
    except (ValueError, IndexError, OSError) as error:  # astropy's InconsistentTableError is a ValueError
        raise ValueError(f"'{path}' is not a readable CSV table ({_why(error)}): fetch or write it again.") from None
    for name, on_disk in _ON_DISK.items():
        if on_disk in table.colnames:
            if name in table.colnames:
                raise ValueError(f"'{path}' has both columns {on_disk} and {name}, expected one: remove the other.")
            table.rename_column(on_disk, name)
    if "mag_err" in table.colnames:
        table.remove_column("mag_err")
    for name in table.colnames:
        column = table[name]
        if name in ("mag", "r_eff", "z"):
            table[name] = _floats(f"'{path}'", name, column)
        elif np.ma.isMaskedArray(column):
            table[name] = column.astype(str).filled("") if column.dtype.kind in "US" or column.mask.all() else (
                column.astype(float).filled(np.nan))  # fmt: skip
    for name in ("mag", "r_eff", "z", "flux_auto"):
        if name in table.colnames:
            table[name].info.format = ".2f"
    if "field" in table.colnames:
        table["field"] = [str(f).removeprefix("b'").removesuffix("'").strip() for f in table["field"]]
    return table


def _floats(where: str, name: str, column) -> np.ndarray:
    try:
        return np.ma.filled(np.ma.asarray(column).astype(float), np.nan)
    except ValueError:
        raise ValueError(
            f"the column {name} of {where} is not numeric: check that the file is a galaxy catalogue."
        ) from None


def _release_catalog(catalog: Table) -> Table:
    """The catalogue with the release's column names and order; further columns follow."""
    from astropy.table import Table

    table = Table(catalog, copy=True, meta={})
    n = len(table)
    for name, default in {"ra": 0.0, "dec": 0.0, "field": "", "mag_err": np.nan, "z": np.nan}.items():
        if name not in table.colnames:
            table[name] = np.full(n, default)
    table["field"] = [repr(f"{name:<10}".encode()) for name in table["field"]]
    for name, on_disk in _ON_DISK.items():
        if on_disk in table.colnames:
            table.remove_column(on_disk)
        table.rename_column(name, on_disk)
    for name in table.colnames:
        table[name].info.format = None  # every digit
    return table[[*_RELEASE_COLUMNS, *(c for c in table.colnames if c not in _RELEASE_COLUMNS)]]


def _synthetic(n: int, seed: int) -> Sample:
    """Simulate, or take from the cache; the cache entry appears whole or not at all."""
    from . import simulate

    folder = data_folder() / f"synthetic-v{simulate.VERSION}-n{n}-seed{seed}"
    if folder.is_dir():
        try:
            return read_folder(folder)
        except (ValueError, OSError):
            shutil.rmtree(folder, ignore_errors=True)  # damaged: made anew, from the same seed
    sample = simulate.simulate(n, seed)
    try:
        _keep(sample, folder)
    except OSError as error:
        warnings.warn(
            f"the simulated galaxies cannot be kept in '{folder.parent}' ({error.strerror}), so they will be made "
            "again next time: set BLENDKIT_DATA to a folder with room.",
            stacklevel=3,
        )
        return sample
    return read_folder(folder)


def _keep(sample, folder):
    """Save a sample so that its folder appears whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = tempfile.mkdtemp(dir=folder.parent, prefix=".simulating-")
    try:
        sample.save(draft)
        os.chmod(draft, 0o755)
        try:
            os.replace(draft, folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process was quicker, with the same pixels
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
