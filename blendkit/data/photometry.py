"""Classical photometry with SEP: FLUX_AUTO, segmentation and the paper's hot/cold procedure."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

import joblib
import numpy as np
import sep
from tqdm import tqdm

from .check import require

# thresholds in the stamp's own background noise, pixels, contrast and levels
COLD = {"thresh": 5.0, "minarea": 10, "deblend_cont": 0.01, "deblend_nthresh": 64}
HOT = {"thresh": 4.0, "minarea": 6, "deblend_cont": 0.0001, "deblend_nthresh": 64}

KRON_FACTOR, KRON_MIN_RADIUS = 2.5, 3.5  # Kron radii, and the smallest aperture's radius in pixels


@dataclass(eq=False)
class Detections:
    """What SEP found on one stamp, k objects in the order of the segmentation map's labels; fluxes in e-/s."""

    x: np.ndarray  # barycentre, pixels, (k,)
    y: np.ndarray
    a: np.ndarray  # semi-axes, pixels
    b: np.ndarray
    theta: np.ndarray  # radians from the x axis
    isophotal: np.ndarray  # light inside the object's own segment, what the paper's code uses
    kron: np.ndarray  # inside the Kron ellipse, whoever it belongs to
    kron_masked: np.ndarray  # inside it with the other objects' segments blanked: FLUX_AUTO
    segmap: np.ndarray  # int32, (ny, nx)

    def __len__(self) -> int:
        return len(self.x)


def detect(image: np.ndarray) -> Detections:
    """The paper's SExtractor run on one stamp, cold, and hot where that finds fewer than two (section 3.3, Table 3)."""
    require(np.isfinite(image).all(), "the stamp has NaN or infinite pixels, expected e-/s: replace them first.")
    image = np.require(image, np.float32, "CW")
    background = sep.Background(image)
    rms = background.globalrms
    noisy = background.rms().any() and rms > 0  # SEP gives a global rms of 1 where there is none
    require(noisy, "the stamp has no noise (rms 0), so no threshold can be set: add the sky noise first.")
    objects, segmap = sep.extract(image, err=rms, segmentation_map=True, **COLD)
    if len(objects) < 2:
        objects, segmap = sep.extract(image, err=rms, segmentation_map=True, **HOT)
    kron = np.array([kron_flux(image, o) for o in objects])
    others = ((segmap != 0) & (segmap != label) for label in range(1, len(objects) + 1))
    masked = np.array([kron_flux(image, *pair) for pair in zip(objects, others, strict=True)])
    shape = (objects[name] for name in ("x", "y", "a", "b", "theta"))
    return Detections(*shape, objects["flux"].astype(float), kron, masked, segmap)


def kron_flux(image: np.ndarray, shape, others: np.ndarray | None = None) -> float:
    """FLUX_AUTO about a row of `sep.extract` on a C-contiguous float32 stamp; pixels of `others` (bool) are zero."""
    x, y, a, b, theta = (float(shape[name]) for name in ("x", "y", "a", "b", "theta"))
    theta = min(max(theta, -np.pi / 2), np.pi / 2)
    image = image if others is None else np.where(others, np.float32(0), image)
    radius = float(sep.kron_radius(image, [x], [y], [a], [b], [theta], 6.0)[0][0])
    if KRON_FACTOR * radius * np.sqrt(a * b) < KRON_MIN_RADIUS:
        return float(sep.sum_circle(image, [x], [y], KRON_MIN_RADIUS)[0][0])
    if np.isfinite(radius):
        return float(sep.sum_ellipse(image, [x], [y], [a], [b], [theta], KRON_FACTOR * radius)[0][0])
    return np.nan  # no Kron radius can be measured


def own_shape(image: np.ndarray, segment: np.ndarray) -> np.void:
    """Position and ellipse of one object whose pixels are known (bool, (ny, nx)), as a row of `sep.extract`."""
    few = "the segment holds fewer than two pixels, expected a galaxy: correct the segmentation map."
    require(np.count_nonzero(segment) >= 2, few)  # SEP would read memory that is not its own
    objects, _ = sep.extract(image, 0.0, segmentation_map=np.ascontiguousarray(segment, np.int32))
    return objects[0]


def flux_auto(images: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """FLUX_AUTO, (n,) e-/s, of galaxies alone; their own `segments`, bool, shape the Kron ellipses; NaN: it failed."""
    fluxes = np.full(len(images), np.nan)
    for i, (image, segment) in enumerate(zip(images, segments, strict=True)):
        image = np.require(image, np.float32, "CW")
        with suppress(Exception):  # SEP raises bare Exceptions; one bad stamp must not stop the others
            fluxes[i] = kron_flux(image, own_shape(image, segment))
    return fluxes


def map_stamps(function: Callable, items: Iterable, n: int, *, n_jobs: int | None = None, desc: str = "") -> list:
    """`function` over `n` items on all cores (or `n_jobs`), in order, with a progress bar where somebody watches."""
    jobs = joblib.Parallel(n_jobs=min(n_jobs or joblib.cpu_count(), max(n, 1)), return_as="generator")
    calls = (joblib.delayed(function)(item) for item in items)
    return list(tqdm(jobs(calls), total=n, desc=desc, disable=None, leave=False))
