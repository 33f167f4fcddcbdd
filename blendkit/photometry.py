"""Classical photometry with SEP: FLUX_AUTO, segmentation and the paper's hot/cold procedure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

COLD = {"thresh": 5.0, "minarea": 10, "deblend_cont": 0.01, "deblend_nthresh": 64}
HOT = {"thresh": 4.0, "minarea": 6, "deblend_cont": 0.0001, "deblend_nthresh": 64}

KRON_FACTOR, KRON_MIN_RADIUS = 2.5, 3.5  # Kron radii, and the smallest aperture's radius in pixels
FLUX_KINDS = ("isophotal", "kron", "kron_masked")


@dataclass(eq=False)
class Detections:
    """What SEP found on one stamp, `k` objects in the order of the segmentation map's labels.

    Attributes
    ----------
    x, y, a, b, theta : arrays of float, shape (k,)
        Barycentre (column, row), semi-axes in pixels, angle in radians from the x axis.
    isophotal, kron, kron_masked : arrays of float, shape (k,), e-/s
        Light inside the object's own segment (what the paper's code uses); inside the Kron ellipse whoever it
        belongs to; inside the Kron ellipse with the other objects' segments blanked (FLUX_AUTO).
    segmap : array of int32, shape (ny, nx)
    hot : bool
        Whether the second, deeper pass was needed.
    """

    x: np.ndarray
    y: np.ndarray
    a: np.ndarray
    b: np.ndarray
    theta: np.ndarray
    isophotal: np.ndarray
    kron: np.ndarray
    kron_masked: np.ndarray
    segmap: np.ndarray
    hot: bool

    def __len__(self) -> int:
        return len(self.x)


def detect(image: np.ndarray) -> Detections:
    """The paper's two-pass SExtractor run on one stamp (section 3.3, Table 3).

    Cold settings first (threshold 5, at least 10 pixels, contrast 0.01, 64 levels); where they find fewer than
    two objects, hot ones (4, 6, 0.0001, 64). Thresholds count in the stamp's own background noise.

    Parameters
    ----------
    image : array of float, shape (ny, nx), e-/s

    Returns
    -------
    Detections

    Raises
    ------
    ValueError
        Where the stamp has NaN or infinite pixels, or no noise at all.
    Exception
        What SEP raises, when its buffers overflow for example.
    """
    import sep

    if not np.isfinite(image).all():
        raise ValueError("the stamp has NaN or infinite pixels, expected finite e-/s: mask or replace them first.")
    image = np.require(image, np.float32, "CW")
    background = sep.Background(image)
    rms = background.globalrms
    if not background.rms().any() or not rms > 0:  # SEP gives a global rms of 1 where there is none
        raise ValueError("the stamp has no noise (rms 0), so no threshold can be set: add the sky noise first.")
    objects, segmap = sep.extract(image, err=rms, segmentation_map=True, **COLD)
    hot = len(objects) < 2
    if hot:
        objects, segmap = sep.extract(image, err=rms, segmentation_map=True, **HOT)
    x, y, a, b, theta = (objects[name] for name in ("x", "y", "a", "b", "theta"))
    kron = np.array([kron_flux(image, o) for o in objects])
    masked = kron if len(objects) == 1 else np.array(
        [kron_flux(image, o, (segmap != 0) & (segmap != label)) for label, o in enumerate(objects, 1)]
    )  # fmt: skip
    return Detections(x, y, a, b, theta, objects["flux"].astype(float), kron, masked, segmap, hot)


def kron_flux(image: np.ndarray, shape, others: np.ndarray | None = None) -> float:
    """Flux inside 2.5 Kron radii, and at least inside a circle of 3.5 pixels: FLUX_AUTO as it is made with SEP.

    Parameters
    ----------
    image : array of float32, shape (ny, nx), e-/s
        C-contiguous.
    shape : mapping
        `x`, `y`, `a`, `b`, `theta` of the object, as `sep.extract` gives them.
    others : array of bool, shape (ny, nx), optional
        Pixels of other objects: blanked, they count as zero.

    Returns
    -------
    float
        NaN where the Kron radius cannot be measured.
    """
    import sep

    x, y, a, b, theta = (float(shape[name]) for name in ("x", "y", "a", "b", "theta"))
    theta = min(max(theta, -np.pi / 2), np.pi / 2)
    if others is not None:
        image = np.where(others, np.float32(0), image)
    radius, _ = sep.kron_radius(image, [x], [y], [a], [b], [theta], 6.0)
    radius = float(radius[0])
    if KRON_FACTOR * radius * np.sqrt(a * b) < KRON_MIN_RADIUS:
        flux, _, _ = sep.sum_circle(image, [x], [y], KRON_MIN_RADIUS)
    elif np.isfinite(radius):
        flux, _, _ = sep.sum_ellipse(image, [x], [y], [a], [b], [theta], KRON_FACTOR * radius)
    else:
        return np.nan
    return float(flux[0])


def own_shape(image: np.ndarray, segment: np.ndarray):
    """Position and ellipse of one object whose pixels are known, as `sep.extract` gives them.

    Parameters
    ----------
    image : array of float32, shape (ny, nx)
    segment : array of bool, shape (ny, nx)

    Returns
    -------
    numpy.void
        One row of `sep.extract`'s table.

    Raises
    ------
    ValueError
        Where the segment has fewer than two pixels.
    """
    import sep

    if np.count_nonzero(segment) < 2:  # SEP would read memory that is not its own
        raise ValueError("the segment holds fewer than two pixels, expected a galaxy: correct the segmentation map.")
    objects, _ = sep.extract(image, 0.0, segmentation_map=np.ascontiguousarray(segment, np.int32))
    return objects[0]


def flux_auto(images: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """FLUX_AUTO of single galaxies, each alone on its stamp: the ground truth of every blend.

    Parameters
    ----------
    images : array of float32, shape (n, ny, nx), e-/s
    segments : array of bool, shape (n, ny, nx)
        The galaxies' own pixels, which give the shape of the Kron ellipse.

    Returns
    -------
    array of float, shape (n,), e-/s
        NaN where it cannot be measured.
    """
    return np.array([_or_nan(_flux_auto_one, image, s) for image, s in zip(images, segments, strict=True)])


def _flux_auto_one(image, segment):
    image = np.require(image, np.float32, "CW")
    return kron_flux(image, own_shape(image, segment))


def half_light_radius(images: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Radius in pixels of the circle that holds half of FLUX_AUTO (SExtractor's FLUX_RADIUS); see `flux_auto`."""
    return np.array([_or_nan(_half_light_one, image, s) for image, s in zip(images, segments, strict=True)])


def _half_light_one(image, segment):
    import sep

    image = np.require(image, np.float32, "CW")
    shape = own_shape(image, segment)
    flux = kron_flux(image, shape)
    radius, _ = sep.flux_radius(image, [shape["x"]], [shape["y"]], [60.0], 0.5, normflux=[flux], subpix=5)
    return float(radius[0])


def _or_nan(measure, *args):
    try:
        return measure(*args)
    except Exception:  # SEP raises bare Exceptions; one bad stamp must not stop the others
        return np.nan


def map_stamps(function: Callable, items: Iterable, n: int, *, n_jobs: int | None = None, desc: str = "") -> list:
    """`function` over `items` on all cores, with a progress bar; few items stay in this process.

    Parameters
    ----------
    function : callable
        Takes one item; must be importable.
    items : iterable
    n : int
        How many items, for the bar.
    n_jobs : int, optional
        Processes; default all cores.
    desc : str
        What the bar says.

    Returns
    -------
    list
        The results in the order of the items.
    """
    import os

    import joblib
    from tqdm import tqdm

    cores = os.cpu_count() or 1 if n_jobs is None else n_jobs
    jobs = joblib.Parallel(n_jobs=min(cores, max(n, 1)), return_as="generator")
    calls = (joblib.delayed(function)(item) for item in items)
    return list(tqdm(jobs(calls), total=n, desc=desc, disable=None, leave=False))
