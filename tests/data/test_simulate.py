"""The synthetic sample: does it have the statistics of CANDELS, the same pixels every time, honest labels?"""

from functools import cache

import numpy as np
import pytest
from conftest import beside, module
from numpy.testing import assert_allclose, assert_array_equal

from blendkit.data import photometry
from blendkit.data.simulate import BAD_KINDS, draw_galaxy, psf, simulate
from blendkit.data.sky import NOISE

N = 300
CANDELS = beside(__file__, "candels.toml")
sample = module(lambda: simulate(N, seed=1))
alone = module(lambda: simulate(N, seed=1, neighbours=False))


@cache
def population(n, **broader):
    rng = np.random.default_rng(0)
    galaxies = [draw_galaxy(rng, **broader) for _ in range(n)]
    return {name: np.array([galaxy[name] for galaxy in galaxies]) for name in galaxies[0]}


class TestGalaxies:
    @pytest.mark.parametrize("kind", CANDELS)
    def test_population_is_that_of_candels_and_broader_on_demand(self, kind):
        share, mean, sd, (bright, faint), quartiles, largest = CANDELS[kind]
        galaxies, broad = population(6000), population(3000, deeper=1.5, smaller=3.0)
        chosen, now = (p["morphology"] == kind for p in (galaxies, broad))
        mag, r_eff = galaxies["mag"][chosen], galaxies["r_eff"][chosen]
        assert (chosen.mean(), now.mean()) == pytest.approx((share, share), abs=0.02)
        assert (mag.mean(), mag.std()) == pytest.approx((mean, sd), abs=0.1)
        assert bright <= mag.min() < mag.max() <= faint
        assert np.percentile(r_eff, (25, 50, 75)) == pytest.approx(quartiles, rel=0.12)
        assert 1 <= r_eff.min() < r_eff.max() <= largest
        assert np.corrcoef(mag, np.log(r_eff))[0, 1] < -0.1, "bright galaxies are larger"
        assert 0 < galaxies["z"].min() < galaxies["z"].max() < 1.5
        assert 0.6 < np.median(galaxies["z"]) < 1
        assert mag.max() + 0.3 < broad["mag"][now].max() <= mag.max() + 1.6
        assert 0.4 < np.median(broad["r_eff"][now]) / np.median(r_eff) < 0.7
        assert broad["r_eff"][now].min() >= 1.0

    def test_sharper_narrows_the_psf_alone(self):
        plain, sharp = simulate(6, seed=5), simulate(6, seed=5, sharper=2.0)
        for name in ("mag", "r_eff", "truth_n_neighbours"):
            assert (plain.catalog[name] == sharp.catalog[name]).all()
        assert_allclose(sharp.catalog["truth_flux"], plain.catalog["truth_flux"], rtol=0.03)
        peaks = [side.images[:, 62:67, 62:67].max((1, 2)) for side in (plain, sharp)]
        assert (peaks[1] > peaks[0]).all()
        for sharper, width in ((1.0, 0.18), (2.0, 0.10)):  # in arcseconds
            light = np.fft.fftshift(np.fft.irfft2(psf(sharper), s=(256, 256)))
            assert light.sum() == pytest.approx(1, abs=1e-3)
            profile = light[128, 128:134] / light[128, 128]
            assert 2 * 0.06 * np.interp(-0.5, -profile, np.arange(6)) == pytest.approx(width, abs=0.01)

    def test_flux_is_the_magnitude(self, alone):
        catalog = alone.catalog
        ratio = catalog["truth_flux"] / 10 ** (-0.4 * (catalog["mag"] - alone.zeropoint))
        assert ratio.max() < 1.02
        assert np.median(ratio) == pytest.approx(1, abs=0.02)
        assert np.mean(ratio > 0.95) > 0.95, "little light falls off the stamp"
        dark = simulate(20, 1, neighbours=False, noise="none")
        good = dark.catalog["truth_bad"] == ""
        assert_allclose(dark.images.sum((1, 2))[good], catalog["truth_flux"][:20][good], rtol=1e-4)

    @pytest.mark.parametrize(("kind", "inside"), [("sph", 0.35), ("disk", 0.65), ("sphd", 0.55), ("irr", 0.6)])
    def test_size_is_the_catalogues(self, alone, kind, inside):
        """A circle of the semi-major radius holds half of a round galaxy's light, more of an inclined one's."""
        catalog = alone.catalog
        chosen = (catalog["truth_bad"] == "") & (catalog["morphology"] == kind) & (catalog["r_eff"] < 20)
        within = np.hypot(*(np.indices((128, 128)) - 64)) < np.asarray(catalog["r_eff"])[chosen, None, None]
        share = np.where(within, alone.images[chosen], 0).sum((1, 2)) / catalog["truth_flux"][chosen]
        assert np.median(share) == pytest.approx(inside, abs=0.07)


class TestStamps:
    def test_neighbours_only_add_light(self, sample, alone):
        for name in ("id", "mag", "r_eff", "z", "morphology", "truth_bad", "truth_flux"):
            assert (sample.catalog[name] == alone.catalog[name]).all(), name
        number = sample.catalog["truth_n_neighbours"]
        assert set(number) == {0, 1, 2, 3, 4}
        assert np.mean([len(np.unique(s[s > 0])) > 1 for s in sample.segmaps]) == pytest.approx(2 / 3, abs=0.08)
        assert (alone.catalog["truth_n_neighbours"] == 0).all()
        assert (alone.segmaps[alone.catalog["truth_bad"] == ""].max((1, 2)) == 1).all()
        assert (sample.images[number == 0] == alone.images[number == 0]).all()
        added = sample.images[number > 0] - alone.images[number > 0]
        assert added.min() > -1e-4
        assert np.mean(added[sample.segmaps[number > 0] == 0] > 3 * NOISE) < 1e-4, "what has no label is faint"

    def test_bad_stamps_are_bad(self, alone):
        bad = alone.catalog["truth_bad"]
        assert (set(bad), np.mean(bad != "")) == ({"", *BAD_KINDS}, pytest.approx(0.04, abs=0.02))
        assert (np.mean(alone.images[bad == "edge"] == 0, axis=(1, 2)) > 0.02).all()
        assert not (alone.images[bad != "edge"] == 0).any()
        blends = bad == "close_blend"
        assert (alone.images[blends].sum((1, 2)) / alone.catalog["truth_flux"][blends] > 1.2).all()
        assert (alone.segmaps[blends].max((1, 2)) == 1).all(), "nothing tells a close blend's galaxies apart"

    @pytest.mark.parametrize(("n", "cores"), [(40, 1), (13, 2)])
    def test_same_pixels_whatever_n_and_processes(self, sample, monkeypatch, n, cores):
        monkeypatch.setattr(photometry.joblib, "cpu_count", lambda: cores)
        other, another = simulate(n, seed=1), simulate(9, seed=2)
        assert_array_equal(other.images, sample.images[:n])
        assert_array_equal(other.segmaps, sample.segmaps[:n])
        assert all((other.catalog[c] == sample.catalog[c][:n]).all() for c in other.catalog.colnames)
        assert not set(another.catalog["id"]) & set(sample.catalog["id"])
        assert (another.images != sample.images[:9]).mean() > 0.9


WRONG = {"n": (0, 2.5, 10**6), "seed": (-1, "m"), "deeper": (4,), "smaller": (0.5,), "sharper": (3,), "noise": ("red",)}


@pytest.mark.parametrize("name", WRONG)
def test_bad_arguments_are_named(name):
    for value in WRONG[name]:
        with pytest.raises(ValueError, match=f"^{name} = .* was given, expected"):
            simulate(**({"n": 2} | {name: value}))
