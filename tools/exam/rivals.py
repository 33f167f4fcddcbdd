"""Other methods on a field, each with the settings of its own documentation: `x`, `y` and `flux` of what it finds.

photutils and scarlet2 are extras, ``pip install blendkit[rivals]``.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import sep
from astropy.convolution import convolve
from astropy.table import Table

from blendkit.data.photometry import KRON_FACTOR, KRON_MIN_RADIUS

HALF = 48  # pixels about an object that scarlet2 models
STEPS = 300  # of its fit at most; 100 leave fluxes far too small


def sep_alone(image: np.ndarray) -> dict[str, np.ndarray]:
    """SEP with SExtractor's defaults; FLUX_AUTO with the segments of others blanked."""
    sky = sep.Background(image)
    light = image - sky.back()
    found, segmap = sep.extract(light, 1.5, err=sky.globalrms, segmentation_map=True)
    shape = [found[name] for name in ("x", "y", "a", "b")] + [np.clip(found["theta"], -np.pi / 2, np.pi / 2)]
    own = {"seg_id": np.arange(1, len(found) + 1, dtype=np.int32), "segmap": segmap}
    radius = KRON_FACTOR * sep.kron_radius(light, *shape, 6.0, **own)[0]
    small = ~(radius * np.sqrt(found["a"] * found["b"]) >= KRON_MIN_RADIUS)
    flux = sep.sum_ellipse(light, *shape, np.where(small, 1, radius), **own)[0]
    round_ = sep.sum_circle(light, found["x"], found["y"], KRON_MIN_RADIUS, **own)[0]
    size = np.sqrt(found["a"] * found["b"])
    return {"x": found["x"], "y": found["y"], "flux": np.where(small, round_, flux), "size": size}


def photutils(image: np.ndarray) -> dict[str, np.ndarray]:
    """photutils: segments of the smoothed image, deblended; Kron fluxes."""
    from photutils import background, segmentation

    sky = background.Background2D(image, 64)
    light = image - sky.background
    smooth = convolve(light, segmentation.make_2dgaussian_kernel(3.0, 5))
    segments = segmentation.detect_sources(smooth, 1.5 * sky.background_rms, 10)
    segments = segmentation.deblend_sources(smooth, segments, 10, n_levels=32, contrast=0.001, progress_bar=False)
    catalog = segmentation.SourceCatalog(light, segments, convolved_data=smooth)
    x, y = (np.asarray(axis) for axis in (catalog.x_centroid, catalog.y_centroid))
    return {"x": x, "y": y, "flux": np.asarray(catalog.kron_flux)}


def scarlet2(image: np.ndarray, places: Table) -> dict[str, np.ndarray]:
    """scarlet2, one band, no prior, of what SEP finds nearest to some places, `x` and `y`; SEP's centres are kept.

    Each source begins as a round Gaussian of SEP's size in a box of six times that to each side.
    """
    import jax.numpy as jnp
    import scarlet2 as s2
    from numpyro.distributions.constraints import positive, unit_interval

    s2.set_validation(False)
    found, sky = sep_alone(image), sep.Background(image)
    centres, fluxes = np.stack([found["x"], found["y"]], axis=1), []
    nearest = [np.argmin(np.hypot(*(centres - place).T)) for place in zip(places["x"], places["y"], strict=True)]
    for i in nearest:
        corner = np.maximum(np.rint(centres[i]).astype(int) - HALF, 0)
        stamp = (image - sky.back())[corner[1] : corner[1] + 2 * HALF, corner[0] : corner[0] + 2 * HALF]
        inside = ((centres >= corner + 1) & (centres < corner + stamp.shape[::-1] - np.array(2))).all(axis=1)
        data = jnp.asarray(stamp[None], jnp.float32)
        seen = s2.Observation(data, jnp.full(data.shape, 1 / sky.globalrms**2), channels=[0])
        with s2.Scene(s2.Frame(s2.Box(data.shape), channels=[0])) as scene:
            seen.match(scene.frame)
            for k in (i, *np.flatnonzero(inside & (np.arange(len(centres)) != i))):
                x, y = centres[k] - corner
                side = min(2 * int(np.ceil(6 * found["size"][k])) + 1, 2 * HALF - 1)
                shape = s2.GaussianMorphology(size=found["size"][k], shape=(side, side))()
                peak = max(stamp[round(y), round(x)], sky.globalrms)
                s2.Source(jnp.array([y, x]), jnp.array([peak]), jnp.clip(shape, 1e-6, 1 - 1e-6))
        with s2.Parameters(scene):
            for k, source in enumerate(scene.sources):
                rate = partial(s2.relative_step, factor=0.05)
                s2.Parameter(source.spectrum, name=f"spectrum{k}", constraint=positive, stepsize=rate)
                s2.Parameter(source.morphology, name=f"morphology{k}", constraint=unit_interval, stepsize=0.01)
        scene = scene.fit(seen, max_iter=STEPS, progress_bar=False)
        fluxes.append(float(s2.measure.flux(scene.sources[0])[0]))
    return {"x": centres[nearest, 0], "y": centres[nearest, 1], "flux": np.array(fluxes)}
