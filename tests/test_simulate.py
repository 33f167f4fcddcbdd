"""The synthetic sample: does it have the statistics of CANDELS, the same pixels every time, honest labels?"""

import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from blendkit.simulate import BAD_KINDS, SKY, _draw_galaxy, _psf, _segment, simulate

N = 300
# the data README's table: share, magnitude mean, sd, range; r_eff quartiles, maximum
CANDELS = {
    "sph": (0.19, 21.3, 0.9, (18.8, 22.8), (1.9, 2.3, 3.5), 11),
    "disk": (0.21, 22.0, 0.7, (18.2, 23.0), (6.9, 8.6, 11.2), 25),
    "sphd": (0.38, 20.8, 1.0, (18.0, 23.0), (4.4, 5.9, 8.3), 49),
    "irr": (0.22, 21.9, 0.7, (19.3, 23.0), (6.0, 8.0, 11.0), 41),
}


@pytest.fixture(scope="module")
def sample():
    return simulate(N, seed=1, progress=False)


@pytest.fixture(scope="module")
def alone():
    return simulate(N, seed=1, neighbours=False, progress=False)


@pytest.fixture(scope="module")
def population():
    rng = np.random.default_rng(0)
    return [_draw_galaxy(rng) for _ in range(6000)]


@pytest.mark.parametrize("kind", CANDELS)
def test_population_is_that_of_candels(population, kind):
    share, mean, sd, (bright, faint), quartiles, largest = CANDELS[kind]
    mag, r_eff = np.array([(g.mag, g.r_eff) for g in population if g.morphology == kind]).T
    assert len(mag) / len(population) == pytest.approx(share, abs=0.02)
    assert mag.mean() == pytest.approx(mean, abs=0.1)
    assert mag.std() == pytest.approx(sd, abs=0.1)
    assert bright <= mag.min() < mag.max() <= faint
    assert np.percentile(r_eff, (25, 50, 75)) == pytest.approx(quartiles, rel=0.12)
    assert 1 <= r_eff.min() < r_eff.max() <= largest
    assert np.corrcoef(mag, np.log(r_eff))[0, 1] < -0.1, "bright galaxies are larger"


def test_deeper_and_smaller_change_only_what_they_say(population):
    rng = np.random.default_rng(0)
    broad = [_draw_galaxy(rng, deeper=1.5, smaller=3.0) for _ in range(3000)]
    kinds = [
        [np.array([(g.mag, g.r_eff) for g in side if g.morphology == kind]).T for side in (population, broad)]
        for kind in CANDELS
    ]
    for (mag, size), (fainter, smaller) in kinds:
        assert mag.max() + 0.3 < fainter.max() <= mag.max() + 1.6
        assert 0.4 * np.median(size) < np.median(smaller) < 0.7 * np.median(size)
        assert smaller.min() >= 1.0
    shares = [len(now[0]) / 3000 - len(before[0]) / 6000 for before, now in kinds]
    assert np.abs(shares).max() < 0.04

    plain, compact = simulate(4, seed=5, progress=False), simulate(4, seed=5, smaller=3.0, progress=False)
    assert list(plain.catalog["mag"]) == list(compact.catalog["mag"])
    assert (compact.catalog["r_eff"] < plain.catalog["r_eff"]).all()
    assert "3.0 times smaller" in compact.name


def test_sharper_narrows_the_psf_alone():
    plain, sharp = simulate(6, seed=5, progress=False), simulate(6, seed=5, sharper=2.0, progress=False)
    for name in ("mag", "r_eff", "truth_n_neighbours"):
        assert list(plain.catalog[name]) == list(sharp.catalog[name])
    assert_allclose(sharp.catalog["truth_flux"], plain.catalog["truth_flux"], rtol=0.03)
    peaks = [side.images[:, 62:67, 62:67].max((1, 2)) for side in (plain, sharp)]
    assert (peaks[1] > peaks[0]).all()
    assert "2.0 times sharper" in sharp.name
    again = simulate(6, seed=5, progress=False, n_jobs=1)
    assert_array_equal(again.images, plain.images, "a sharp stamp leaves nothing behind")


def test_redshifts(population):
    z = np.array([g.z for g in population])
    assert 0 < z.min() < z.max() < 1.5
    assert 0.6 < np.median(z) < 1


def test_form(sample):
    assert sample.images.shape == sample.segmaps.shape == (N, 128, 128)
    assert sample.images.dtype == np.float32
    assert sample.segmaps.dtype == np.uint8
    assert (sample.zeropoint, sample.pixel_scale) == (25.96, 0.06)
    assert set(sample.catalog["morphology"]) == set(CANDELS)
    assert len(set(sample.catalog["id"])) == N


def test_psf_is_018_arcsec_wide():
    for sharper, width in ((1.0, 0.18), (2.0, 0.10)):
        psf = np.fft.fftshift(np.fft.irfft2(_psf(sharper), s=(256, 256)))
        assert psf.sum() == pytest.approx(1, abs=1e-3)
        profile = psf[128, 128:134] / psf[128, 128]
        assert 2 * 0.06 * np.interp(-0.5, -profile, np.arange(6)) == pytest.approx(width, abs=0.01)


def test_sky_noise(sample):
    outside = sample.segmaps[:, :40, :40] == 0
    ok = outside.all((1, 2)) & (sample.catalog["truth_bad"] == "") & (sample.catalog["truth_n_neighbours"] == 0)
    sky = sample.images[ok, :40, :40]
    assert ok.sum() > 30
    assert np.median([s.std() for s in sky]) == pytest.approx(SKY, rel=0.03)
    neighbouring = np.median([np.corrcoef(s[:, :-1].ravel(), s[:, 1:].ravel())[0, 1] for s in sky])
    assert abs(neighbouring) < 0.03, "the noise is white"


def test_flux_is_the_magnitude(alone):
    catalog = alone.catalog
    ratio = catalog["truth_flux"] / 10 ** (-0.4 * (catalog["mag"] - alone.zeropoint))
    assert ratio.max() < 1.02
    assert np.median(ratio) == pytest.approx(1, abs=0.02)
    assert np.mean(ratio > 0.95) > 0.95, "little light falls off the stamp"
    good = catalog["truth_bad"] == ""
    noise = SKY * 128
    pull = (alone.images.sum((1, 2), dtype=float) - catalog["truth_flux"])[good] / noise
    assert abs(pull.mean()) < 0.25
    assert pull.std() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("kind", CANDELS)
def test_size_is_the_catalogues(alone, kind):
    """A circle of the semi-major radius holds half of a round galaxy's light, more of an inclined one's."""
    catalog = alone.catalog
    chosen = (catalog["truth_bad"] == "") & (catalog["morphology"] == kind) & (catalog["r_eff"] < 20)
    r_eff = np.asarray(catalog["r_eff"])[chosen, None, None]
    distance = np.hypot(*(np.indices((128, 128)) - 64))
    share = np.where(distance < r_eff, alone.images[chosen], 0).sum((1, 2)) / catalog["truth_flux"][chosen]
    assert np.median(share) == pytest.approx({"sph": 0.35, "disk": 0.65, "sphd": 0.55, "irr": 0.6}[kind], abs=0.07)
    assert np.percentile(share, (3, 97)) == pytest.approx((0.5, 0.5), abs=0.42)


def test_centre_belongs_to_the_galaxy(sample):
    assert (sample.segmaps[:, 64, 64] == sample.catalog["segval"]).all()
    assert (sample.catalog["segval"] > 0).all()
    assert len(set(sample.catalog["segval"])) > 1, "the central galaxy's label is not always 1"
    own = sample.own_masks()
    assert own.sum((1, 2)).min() >= 10
    assert own[:, 62:67, 62:67].mean() > 0.95


def test_neighbours(sample, alone):
    labelled = np.array([len(np.unique(s[s > 0])) > 1 for s in sample.segmaps])
    assert labelled.mean() == pytest.approx(2 / 3, abs=0.08)
    assert set(sample.catalog["truth_n_neighbours"]) == {0, 1, 2, 3, 4}
    good = alone.catalog["truth_bad"] == ""
    assert (alone.catalog["truth_n_neighbours"] == 0).all()
    assert (alone.segmaps[good].max((1, 2)) == 1).all()


def test_same_galaxies_without_neighbours(sample, alone):
    for name in ("id", "mag", "r_eff", "z", "morphology", "truth_bad", "truth_flux"):
        assert (sample.catalog[name] == alone.catalog[name]).all(), name
    bare = sample.catalog["truth_n_neighbours"] == 0
    assert (sample.images[bare] == alone.images[bare]).all()
    added = sample.images[~bare] - alone.images[~bare]
    assert added.min() > -1e-4, "neighbours only add light"
    empty = sample.segmaps[~bare] == 0
    assert np.mean(added[empty] > 3 * SKY) < 1e-4, "what has no label is faint"


def test_bad_stamps():
    catalog = simulate(1000, seed=5, neighbours=False, progress=False).catalog
    kinds, counts = np.unique(catalog["truth_bad"][catalog["truth_bad"] != ""], return_counts=True)
    assert set(kinds) == set(BAD_KINDS)
    assert counts.sum() / 1000 == pytest.approx(0.04, abs=0.02)


def test_bad_stamps_are_bad(sample, alone):
    bad = alone.catalog["truth_bad"]
    edge = alone.images[bad == "edge"]
    assert (np.mean(edge == 0, axis=(1, 2)) > 0.02).all()
    assert not (alone.images[bad != "edge"] == 0).any()
    blends = bad == "close_blend"
    assert blends.any()
    extra = alone.images[blends].sum((1, 2)) / alone.catalog["truth_flux"][blends]
    assert (extra > 1.2).all()
    assert (alone.segmaps[blends].max((1, 2)) == 1).all(), "nothing tells a close blend's galaxies apart"


def test_same_pixels_whatever_n_and_processes(sample):
    for n, n_jobs in ((40, 1), (41, 2), (13, 3)):
        other = simulate(n, seed=1, n_jobs=n_jobs, progress=False)
        assert other.images.tobytes() == sample.images[:n].tobytes()
        assert other.segmaps.tobytes() == sample.segmaps[:n].tobytes()
        assert all((other.catalog[c] == sample.catalog[c][:n]).all() for c in other.catalog.colnames)


def test_seeds_differ(sample):
    other = simulate(20, seed=2, progress=False)
    assert not set(other.catalog["id"]) & set(sample.catalog["id"])
    assert (other.images != sample.images[:20]).mean() > 0.9


def test_undetected_contributor_has_no_label():
    bright, faint = np.zeros((2, 128, 128))
    bright[60:69, 60:69] = 1
    faint[20:22, 20:24] = 1  # eight pixels are too few
    segments, label = _segment([bright, faint], np.random.default_rng(0))
    assert label == 1
    assert np.array_equal(segments > 0, bright > 0)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"n": 0}, "n = 0"),
        ({"n": 2.5}, "n = 2.5"),
        ({"n": 10**6}, "n = 1000000"),
        ({"seed": -1}, "seed = -1"),
        ({"seed": "moon"}, "seed = 'moon'"),
        ({"seed": None}, "seed = None"),
        ({"n": 2, "n_jobs": 0}, "n_jobs = 0"),
    ],
)
def test_bad_arguments(arguments, named):
    with pytest.raises(ValueError, match=f"^{named} was given, expected an integer from"):
        simulate(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"deeper": 4}, "deeper = 4 was given, expected 0 to 3"),
        ({"smaller": 0.5}, "smaller = 0.5 was given, expected a"),
        ({"sharper": 3}, "sharper = 3 was given, expected a factor from 1 to 2"),
    ],
)
def test_bad_populations(arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate(2, **arguments)


def test_import_is_light():
    code = "import sys, blendkit.simulate; print({'galsim', 'astropy', 'tqdm', 'joblib'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
