"""Notebook 7: a piece of the sky, real where one is at hand, and known galaxies that are put into it."""

from pathlib import Path

import numpy as np
from astropy.nddata import CCDData, add_array
from astropy.table import Table

from ..data.cleaning import clean
from ..data.load import load_sample
from ..data.photometry import flux_auto
from ..data.remote import CHECKOUT, data_folder
from ..data.sample import ZEROPOINT, Sample
from ..data.sky import NOISE, sky_noise
from ..deblenders.base import NEAR
from ..deblenders.field import measure_field
from .experiments import formatted

IMAGE = "field/abell2744_f105w.fits.gz"  # 400 x 400 pixels of the Hubble Space Telescope, e-/s
FAINTEST = 0.05  # of a galaxy's light: fainter neighbours do not trouble it
BESIDE, EDGE = ((0, 4), (6.3, 24)), 8  # lowest and highest angle and pixels from an object; pixels from the edge


def _at_hand(name: str) -> Path | None:
    """Where data lies that is not simulated: with the other galaxies, or in `shared/data` beside the checkout."""
    places = (home / name for home in (data_folder(), CHECKOUT.parent / "shared" / "data"))
    return next((place for place in places if place.exists()), None)


def open_field(seed: int = 0) -> CCDData:
    """A crowded piece of the real sky in e-/s where it is at hand, else one that is simulated; it says which."""
    if path := _at_hand(IMAGE):
        field = CCDData.read(path)
        print("The real sky:", *(field.header[key] for key in ("TELESCOP", "INSTRUME", "FILTER", "TARGNAME")))
        return field
    print(f"There is no {IMAGE} here, so this sky is SIMULATED: galaxies at random places, in a survey's noise.")
    rng = np.random.default_rng(seed)
    empty = CCDData(sky_noise(rng, (400, 400)), unit="electron / s", header={"MAGZERO": ZEROPOINT})
    galaxies = clean(load_sample("synthetic", n=100, seed=seed + 1, noise="none"))[:80]
    return put_in(empty, galaxies, *rng.integers(0, 400, (2, len(galaxies))), ZEROPOINT)


def known_galaxies(source: str = "synthetic", n: int = 100, seed: int = 0) -> Sample:
    """Galaxies without noise, so that their light is known: real ones where `source` is real and they are at hand."""
    if source == "synthetic" or not (folder := _at_hand("hst-noiseless")):
        return clean(load_sample("synthetic", n=n, seed=seed, noise="none"))
    stamps, table = np.load(folder / "stamps.npy")[:n], Table.read(folder / "catalogue.csv")[:n]
    table.rename_columns(["galtype", "radius"], ["morphology", "r_eff"])
    table["segval"], table["flux_auto"] = 1, flux_auto(stamps, segments := stamps > NOISE)
    return Sample(stamps, segments.astype(np.uint8), table, name="real HST galaxies", sky_stamps=0 * stamps[:1])


def put_in(field: CCDData, galaxies: Sample, x, y, zeropoint: float) -> CCDData:
    """The field with galaxies' light added, one at each pixel (x, y), the field's edge cutting off what is beyond."""
    new, light = field.copy(), galaxies.images * np.float32(10 ** (0.4 * (zeropoint - galaxies.zeropoint)))
    new.data = np.array(field.data, np.float32)
    for image, *at in zip(light, y, x, strict=True):
        add_array(new.data, image, at)
    return new


def recovered(field: CCDData, catalogue: Table, galaxies: Sample, n: int = 12, rounds: int = 3, seed: int = 0) -> Table:
    """What comes back of galaxies that are put into a field whose own objects are in the catalogue, `n` in each round.

    Every other one lands beside an object. A row for each: `true` flux and `mag`; `near`, pixels to the nearest object
    with a twentieth of its light; `flux`, `flux_err`, `sep_flux` of what was found at its place, NaN if nothing was.
    """
    rng, rows, zeropoint = np.random.default_rng(seed), [], catalogue.meta["zeropoint"]
    true = np.asarray(galaxies.catalog["flux_auto"]) * 10 ** (0.4 * (zeropoint - galaxies.zeropoint))
    objects, n = np.stack([catalogue["y"], catalogue["x"]], axis=1), min(n, len(galaxies))
    hosts = objects[catalogue["flux"] >= min(FAINTEST * np.median(true), max(catalogue["flux"]))]
    for _ in range(rounds):
        some, (angle, far) = rng.choice(len(true), n, replace=False), rng.uniform(*BESIDE, (n, 2)).T
        beside = rng.choice(hosts, n) + (far * [np.sin(angle), np.cos(angle)]).T
        places = np.where(np.arange(n)[:, None] % 2, beside, rng.random((n, 2)) * field.shape)
        places = np.clip(np.rint(places).astype(int), EDGE, np.subtract(field.shape, EDGE + 1))
        found = measure_field(put_in(field, galaxies[some], *places.T[::-1], zeropoint), zeropoint)
        spots, lights = np.concatenate([objects, places]), np.concatenate([catalogue["flux"], true[some]])
        for k, (i, place) in enumerate(zip(some, places, strict=True)):
            apart = np.hypot(*(spots - place).T)
            apart[len(objects) + k] = np.inf
            near, away = min(apart[lights > FAINTEST * true[i]]), np.hypot(found["y"] - place[0], found["x"] - place[1])
            here = min(away, default=np.inf) <= max(NEAR, galaxies.catalog["r_eff"][i])
            measured = [found[name][np.argmin(away)] if here else np.nan for name in ("flux", "flux_err", "sep_flux")]
            rows.append((*place[::-1], zeropoint - 2.5 * np.log10(true[i]), near, true[i], *measured))
    names = ["x", "y", "mag", "near", "true", "flux", "flux_err", "sep_flux"]
    return formatted(rows, names, **dict.fromkeys(names[2:], ".2f"))
