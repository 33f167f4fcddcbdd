"""What the tests share: the real sample, the synthetic one, and small ones of which everything is known."""

import atexit
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import HealthCheck, settings

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
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


def pytest_collection_modifyitems(items):
    """The notebooks, which take longest, come first."""
    items.sort(key=lambda item: "test_notebooks" not in item.nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file's tests on one worker, the browser's all together, the notebooks of both samples side by side."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduler(LoadFileScheduling):
        def _split_scope(self, nodeid):
            sample = re.search(r"test_notebooks.*\[(hst|synthetic)", nodeid)
            return sample[1] if sample else "browser" if "browser/" in nodeid else nodeid.split("::")[0]

    return Scheduler(config, log)


def shared(name):
    """A path in the project's data folder beside the checkout; without it, the test is skipped."""
    if not (SHARED / name).exists():
        pytest.skip(f"no {name}: put the project's shared/data folder beside the checkout (../shared/data)")
    return SHARED / name


session, module = (pytest.fixture(scope=scope) for scope in ("session", "module"))
hst_folder = session(lambda: shared("hst-sample"))  # 96 real galaxies
drizzled_folder = session(lambda: shared("hst-drizzled"))  # the same, in the survey's sky
hst = session(lambda hst_folder: bk.load_sample(hst_folder))
hst_clean = session(lambda hst: bk.clean(hst))
synthetic = session(lambda: bk.load_sample("synthetic", n=200, seed=0))
synthetic_clean = session(lambda synthetic: bk.clean(synthetic))
galaxies = session(lambda: bk.clean(bk.load_sample("synthetic", n=24, seed=5), n_jobs=1))  # of the tests of widgets
published_csv = session(lambda: shared("paper/output_catalog.csv"))
published = session(lambda published_csv: bk.load_published(published_csv))  # blends and predictions
make_sample, noise_sample = session(lambda: gaussian_sample), session(lambda: random_sample)


@session
def networked(galaxies, tmp_path_factory):
    """A page of the explorer in which `fractions` answers; what it is made of is downloaded once."""
    path = tmp_path_factory.mktemp("page") / "p.html"
    try:
        return bk.export_html(bk.BlendExplorer(galaxies), path, network="fractions")
    except ValueError as why:
        pytest.skip(str(why)) if re.search("is missing|cannot download", str(why)) else pytest.fail(str(why))


@session
def accepted():
    """Eight round Gaussians, cleaned, with all of them accepted by hand."""
    sample = gaussian_sample(8, sigma=2.5)
    return bk.clean(sample, n_jobs=1, decisions=dict.fromkeys(sample.catalog["id"].tolist(), "accept"))


@session
def twenty(accepted):
    """Blends, and predictions of two methods: fluxes, of which two companions are missing; masks and images as well."""
    blends = bk.draw_blends(accepted, 20, seed=3)
    fluxes = Table({"flux": blends["flux"] * np.random.default_rng(0).lognormal(0, 0.2, (20, 2))})
    fluxes["flux"][[4, 6], 1] = np.nan, 0
    exact = {"flux": blends["flux"], "masks": bk.render(accepted, blends)[1]}
    exact["images"] = bk.render_parts(accepted, blends)
    return blends, {"fluxes": fluxes, "exact": Table(exact)}


def beside(file, name):
    """What a TOML file beside another file says."""
    return tomllib.loads(Path(file).with_name(name).read_text(encoding="utf-8"))


def refused(call, *words, error=ValueError):
    """A call fails with one short sentence that holds these words, and offers a cure; gives the sentence."""
    with pytest.raises(error, match=r"\A[^\n]{,500}(: |expected)[^\n]*\.\Z") as caught:
        call()
    told = str(caught.value)
    assert told.isprintable()
    assert [word for word in words if str(word) not in told] == [], told
    return told


def in_python(code, **environment):
    """A process of its own that runs this code, when it has ended; a variable set to None is none."""
    environment = {name: value for name, value in (os.environ | environment).items() if value is not None}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


def only_row(table, **where):
    (row,) = [row for row in table if all(row[name] == value for name, value in where.items())]
    return row


def same_weights(one, other):
    return all((a == b).all() for a, b in zip(one.get_weights(), other.get_weights(), strict=True))


def changed(sample, images=None, segmaps=None, **columns):
    """A sample with other pixels or labels, as (where, value), and other columns."""
    catalog = sample.catalog.copy()
    for name, values in columns.items():
        catalog[name] = values
    arrays = {"images": sample.images.copy(), "segmaps": sample.segmaps.copy()}
    for name, change in (("images", images), ("segmaps", segmaps)):
        if change:
            arrays[name][change[0]] = change[1]
    return replace(sample, catalog=catalog, **arrays)


def gaussian_light(shape, y, x, flux, sigma):
    """Light of a round Gaussian at row `y`, column `x`, float64, shape `shape`."""
    row, column = np.indices(shape)
    return flux / (2 * np.pi * sigma**2) * np.exp(-((row - y) ** 2 + (column - x) ** 2) / (2 * sigma**2))


def noisy(*layers, seed=0):
    """A stamp of these layers of light, float32, in white noise."""
    return (sum(layers) + np.random.default_rng(seed).normal(0, SKY, layers[0].shape)).astype(np.float32)


def truth_of(*rows):
    """The recipes of pairs, from (dx, dy, r_eff of the central galaxy)."""
    dx, dy, r_eff = np.array(rows, float).T
    none, missing = np.zeros(len(rows)), np.full(len(rows), np.nan)
    columns = {"id": (none + 1, none + 2), "dx": (none, dx), "dy": (none, dy), "r_eff": (r_eff, missing)}
    return Table({name: np.stack(values, axis=1) for name, values in columns.items()})


def gaussian_sample(n=6, shape=(64, 64), *, seed=0, sky=SKY, sigma=2.0, mags=None, neighbours=()):
    """Round Gaussians on white noise, one in the centre pixel of each stamp.

    `neighbours` are (dy, dx, flux) of further ones that every stamp holds. Ids are 10, 11, ...; `flux_auto` is the
    true flux of each central one.
    """
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
    kinds = np.array(["sph", "disk", "sphd", "irr"])[np.arange(n) % 4]
    catalog = {"id": np.arange(n) + 10, "mag": mags, "r_eff": np.full(n, 1.1774 * sigma), "morphology": kinds}
    catalog = Table(catalog | {"segval": np.ones(n, int), "flux_auto": flux})
    return bk.Sample(images, segmaps, catalog, name="Gaussians")


def random_sample(shape=(16, 16), seed=0, n=4):
    """A sample without any galaxy shape: every pixel counts, segments are random, one is small, none is like sky."""
    sample, rng = gaussian_sample(n, shape), np.random.default_rng(seed)
    images = rng.normal(1, 1, sample.images.shape).astype("f4")
    segmaps = rng.integers(0, 3, sample.segmaps.shape).astype("u1")
    centre = np.reshape(shape, (2, 1, 1)) // 2
    segmaps[0, np.abs(np.indices(shape) - centre).max(axis=0) > 2] = 2
    segmaps[:, *centre.ravel()] = 1
    return bk.Sample(images, segmaps, sample.catalog, sky_stamps=rng.normal(0, 1, (5, *shape)).astype("f4"))
