"""What the tests share: the real sample, the synthetic one, and small ones of which everything is known."""

import atexit
import os
import random
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]
HST = ROOT.parent / "shared" / "data" / "hst-sample"
CATALOGUE = ROOT.parent / "shared" / "data" / "paper" / "output_catalog.csv"
SKY = 0.006

# Simulated galaxies go to a folder of this session; set here so that notebooks run by tests inherit it.
if "BLENDKIT_DATA" not in os.environ:
    os.environ["BLENDKIT_DATA"] = tempfile.mkdtemp(prefix="blendkit-tests-")
    atexit.register(shutil.rmtree, os.environ["BLENDKIT_DATA"], ignore_errors=True)

import blendkit as bk  # noqa: E402

# the same examples everywhere, however slow the machine: the tests decide what lands
settings.register_profile("steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """The same initial weights whenever this test runs: Keras takes its seeds from Python's own generator."""
    random.seed(item.nodeid)


@pytest.fixture(scope="session")
def hst_folder():
    """The folder with 96 real HST galaxies beside the checkout."""
    if not HST.is_dir():
        pytest.skip("no hst-sample: put the project's shared/data folder beside the checkout (../shared/data)")
    return HST


@pytest.fixture(scope="session")
def hst(hst_folder):
    """The real sample as it is read."""
    return bk.load_sample(hst_folder)


@pytest.fixture(scope="session")
def hst_clean(hst):
    return bk.clean(hst)


@pytest.fixture(scope="session")
def published_csv():
    """The paper's published catalogue."""
    if not CATALOGUE.is_file():
        pytest.skip("no output_catalog.csv: put the project's shared/data folder beside the checkout (../shared/data)")
    return CATALOGUE


@pytest.fixture(scope="session")
def published(published_csv):
    """The published catalogue as blends and predictions."""
    return bk.load_published(published_csv)


@pytest.fixture(scope="session")
def synthetic():
    """200 simulated galaxies, seed 0."""
    return bk.load_sample("synthetic", n=200, seed=0)


@pytest.fixture(scope="session")
def synthetic_clean(synthetic):
    return bk.clean(synthetic)


@pytest.fixture(scope="session")
def make_sample():
    """A function that makes small samples by hand; see `gaussian_sample`."""
    return gaussian_sample


@pytest.fixture(scope="session")
def accepted():
    """Eight round Gaussians, cleaned, with all of them accepted by hand."""
    sample = gaussian_sample(8, sigma=2.5)
    return bk.clean(sample, n_jobs=1, decisions=dict.fromkeys(sample.catalog["id"].tolist(), "accept"))


@pytest.fixture(scope="session")
def gaussian():
    """A function that draws one round Gaussian; see `gaussian_light`."""
    return gaussian_light


def gaussian_light(shape, y, x, flux, sigma):
    """Light of a round Gaussian at row `y`, column `x`, float64, shape `shape`."""
    row, column = np.indices(shape)
    return flux / (2 * np.pi * sigma**2) * np.exp(-((row - y) ** 2 + (column - x) ** 2) / (2 * sigma**2))


def gaussian_sample(n=6, shape=(64, 64), *, seed=0, sky=SKY, sigma=2.0, mags=None, neighbours=()):
    """Round Gaussians on white noise, one in the centre pixel of each stamp.

    `neighbours` are (dy, dx, flux) of further ones that every stamp holds. Ids are 10, 11, ...; `flux_auto` is the
    true flux of each central one.
    """
    from astropy.table import Table

    rng = np.random.default_rng(seed)
    ny, nx = shape
    mags = np.linspace(20.0, 22.0, n) if mags is None else np.asarray(mags, float)
    flux = 10 ** (-0.4 * (mags - 25.96))
    images, segmaps = np.empty((n, ny, nx), np.float32), np.zeros((n, ny, nx), np.uint8)
    for i in range(n):
        layers = [gaussian_light(shape, ny // 2, nx // 2, flux[i], sigma)]
        layers += [gaussian_light(shape, ny // 2 + dy, nx // 2 + dx, f, sigma) for dy, dx, f in neighbours]
        light = np.stack(layers)
        segmaps[i] = np.where(light.sum(0) > 1.2 * SKY, light.argmax(0) + 1, 0)
        images[i] = light.sum(0) + rng.normal(0, sky, shape)
    catalog = Table({
        "id": np.arange(n) + 10,
        "mag": mags,
        "r_eff": np.full(n, 1.1774 * sigma),
        "morphology": np.array(["sph", "disk", "sphd", "irr"])[np.arange(n) % 4],
        "segval": np.ones(n, int),
        "flux_auto": flux,
    })  # fmt: skip
    return bk.Sample(images, segmaps, catalog, name="Gaussians")
