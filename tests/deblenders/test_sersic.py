"""Two Sersic profiles fitted to blends: of profiles drawn by galsim the truth is known to the last digit."""

import galsim
import numpy as np
import pytest
from astropy.convolution import Gaussian2DKernel
from astropy.table import Table
from conftest import SKY, noisy, refused, truth_of

import blendkit as bk
from blendkit.data.photometry import flux_auto
from blendkit.deblenders import SEP, Sersic, sersic

SHAPE = (81, 81)
DISK = {"n": 1.0, "r": 4.0, "q": 0.6, "angle": 0.4}
BULGE = {"n": 3.0, "r": 3.0, "q": 0.8, "angle": 1.9}


def galaxy(flux, dy=0.0, dx=0.0, *, n, r, q, angle, psf_sigma=sersic.PSF_SIGMA, shape=SHAPE):
    """Noise-free light of a Sersic profile at (dy, dx) from the centre pixel, semi-major half-light radius r."""
    profile = galsim.Sersic(n, half_light_radius=r * np.sqrt(q), flux=flux).shear(q=q, beta=angle * galsim.radians)
    seen = galsim.Convolve(profile, galsim.Gaussian(sigma=psf_sigma))
    even = (np.array(shape) + 1) % 2 / 2
    stamp = galsim.ImageD(shape[1], shape[0], scale=1.0)
    return seen.drawImage(stamp, method="no_pixel", offset=(dx + even[1], dy + even[0])).array


def auto(*layers):
    """FLUX_AUTO of each galaxy alone."""
    return flux_auto(np.array(layers, np.float32), np.array(layers) > 1.2 * SKY)


@pytest.fixture(scope="module")
def pair():
    """A disk in the centre and a bulge far enough for SEP to see both: layers, and the noisy blend."""
    layers = galaxy(60, 0.2, -0.3, **DISK), galaxy(40, 5.3, -12.4, **BULGE)
    return layers, noisy(*layers)


@pytest.fixture(scope="module")
def close():
    """The same so close that SEP sees one object."""
    layers = galaxy(80, 0.1, 0.2, **DISK), galaxy(30, -3.0, 3.6, **(DISK | {"r": 2.5}))
    image = noisy(*layers)
    assert SEP()(image[None])["n_detected"][0] == 1
    return layers, image


class TestKnownBlends:
    def test_two_galaxies(self, pair):
        layers, image = pair
        for truth in (truth_of((-12, 5, 4.0)), None):
            table = Sersic(truth=truth, images=True, masks=True)(image[None])
            assert (table["case"][0], table["n_detected"][0], table.meta["failed"]) == ("both", 2, 0)
            assert table["flux"][0] == pytest.approx(auto(*layers), rel=0.02)
            light = np.asarray(table["images"])[0].sum(axis=(0, 1))
            assert light == pytest.approx([layer.sum() for layer in layers], rel=0.04)
        masks = np.asarray(table["masks"])
        assert (bk.metrics.iou(np.stack(layers, -1)[None] > 1.2 * SKY, masks) > 0.9).all()
        assert masks[0].all(-1).any(), "where they overlap both are true"

    @pytest.mark.parametrize("told", [True, False])
    def test_closer_than_sep_can_tell_apart(self, close, told):
        layers, image = close
        table = Sersic(truth=truth_of((4, -3, 4.0)) if told else None, images=True)(image[None])
        assert table["case"][0] == "only central", "the case is SEP's"
        assert table["flux"][0] == pytest.approx(auto(*layers), rel=0.1)
        assert np.asarray(table["images"]).sum() == pytest.approx(np.sum(layers), rel=0.02)

    def test_three_galaxies(self):
        """Fitted at once where three are known to be there."""
        layers = galaxy(60, 0, 0, **DISK), galaxy(40, 5, -13, **BULGE), galaxy(30, -12, 10, **DISK)
        truth = Table({"id": [[1, 2, 3]], "dx": [[0, -13, 10]], "dy": [[0, 5, -12]], "r_eff": [[4.0, 3.0, 4.0]]})
        assert Sersic(truth=truth)(noisy(*layers)[None])["flux"][0] == pytest.approx(auto(*layers), rel=0.04)

    @pytest.mark.parametrize("told", [True, False])
    def test_what_remains_tells_who_is_central(self, told):
        """One object off the centre: the second profile may be the central galaxy's."""
        layers = galaxy(15, 0, 0, **(DISK | {"r": 2.0})), galaxy(90, 3, 4.2, **DISK)
        table = Sersic(truth=truth_of((4, 3, 2.0)) if told else None)(noisy(*layers)[None])
        assert table["case"][0] == ("only companion" if told else "only central")
        assert table["flux"][0] == pytest.approx(auto(*layers), rel=0.15)

    def test_it_is_the_position_told_that_counts(self, close):
        """Told the wrong side, the second profile stays there, though the light is on the other."""
        light = np.asarray(Sersic(truth=truth_of((-4, 3, 4.0)), images=True)(close[1][None])["images"])[0, ..., 1]
        assert np.unravel_index(light.argmax(), light.shape)[1] <= SHAPE[1] // 2

    def test_a_quarter_turn_changes_little_and_fluxes_scale_with_the_light(self, pair):
        one, turned, twenty = Sersic()(np.stack([pair[1], np.rot90(pair[1]), 20 * pair[1]]))["flux"]
        np.testing.assert_allclose(turned, one, rtol=0.01)
        np.testing.assert_allclose(twenty, 20 * one, rtol=2e-3)

    def test_a_third_object_is_left_out(self, pair):
        """It lies on the outskirts of the central galaxy and would take its profile along."""
        layers, _ = pair
        table = Sersic()(noisy(*layers, galaxy(30, -9, 4, n=1, r=1.5, q=1, angle=0))[None])
        assert (table["case"][0], table["flux"][0]) == ("more", pytest.approx(auto(*layers), rel=0.03))

    def test_another_psf(self):
        """With the PSF that the blend was seen through the profiles fit; with a wrong one they cannot."""
        layers = galaxy(60, 0, 0, **BULGE, psf_sigma=2.5), galaxy(40, 2, 14, **DISK, psf_sigma=2.5)
        psfs = 7 * Gaussian2DKernel(2.5, x_size=25).array, None
        fits = (Sersic(psf=psf, images=True)(noisy(*layers)[None]) for psf in psfs)
        right, default = (np.abs(np.asarray(fit["images"])[0].sum(-1) - sum(layers)).max() for fit in fits)
        assert right < 2 * SKY
        assert default > 4 * SKY

    def test_errors_hold_where_galaxies_are_sersic_profiles(self):
        layers = galaxy(8, 0, 0, **DISK), galaxy(6, 2, 9, **DISK)
        table = Sersic()(np.stack([noisy(*layers, seed=seed) for seed in range(12)]))
        found = np.isfinite(table["flux"]).all(1)
        assert found.sum() > 9
        ratio = table["flux"][found].std(axis=0) / np.median(table["flux_err"][found], axis=0)
        assert 0.5 < ratio.min() < ratio.max() < 3


def test_real_galaxies_are_all_measured_and_better_than_by_sep(hst_clean):
    """Galaxies that are no Sersic profiles."""
    blends = bk.draw_blends(hst_clean, 8, seed=1)
    images, _, true = bk.render(hst_clean, blends, masks=False)
    sep, fit = SEP(truth=blends)(images), Sersic(truth=blends, n_jobs=1)(images)
    assert (fit["case"] == sep["case"]).all()
    assert fit.meta["failed"] == 0
    assert np.isnan(sep["flux"]).any()
    assert np.isfinite(fit["flux"]).all()
    error = [np.nanmean(np.abs(table["flux"] / true - 1)) for table in (fit, sep)]
    assert error[0] < 0.8 * error[1]


def test_nothing_to_find_is_no_failure():
    """Where a galaxy must be, a profile is fitted to what is there."""
    empty = noisy(np.zeros(SHAPE))[None]
    table, told = Sersic()(empty), Sersic(truth=truth_of((10, 0, 3.0)))(empty)
    assert (table["case"][0], table.meta["failed"], told.meta["failed"]) == ("none", 0, 0)
    assert np.isnan(table["flux"]).all()
    assert (np.abs(told["flux"]) < 2).all()


def test_a_fit_that_breaks_leaves_what_sep_detects(pair, monkeypatch):
    monkeypatch.setattr(sersic, "_fit", lambda *args: 1 / 0)
    table = Sersic(masks=True)(pair[1][None])
    assert (table["case"][0], table["n_detected"][0], table.meta["failed"]) == ("both", 2, 1)
    assert np.isnan(table["flux"]).all()


def test_stamps_that_are_even_and_oblong():
    shape = (64, 90)
    layers = [galaxy(f, dy, dx, **DISK, shape=shape) for f, dy, dx in ((60, 0, 0), (40, 3, 13))]
    table = Sersic(truth=truth_of((13, 3, 4.0)), images=True)(noisy(*layers)[None])
    assert set(table.colnames) == {"flux", "flux_err", "n_detected", "case", "images"}
    assert (table["images"].shape, table["flux"][0]) == ((1, *shape, 2), pytest.approx(auto(*layers), rel=0.03))


def test_many_processes_give_the_same(pair):
    stack = np.repeat(pair[1][None], sersic.SMALL_BATCH + 1, axis=0)
    np.testing.assert_allclose(Sersic(n_jobs=2)(stack)["flux"], Sersic(n_jobs=1)(stack)["flux"], rtol=1e-6)


@pytest.mark.parametrize("psf", [np.ones((4, 4)), np.ones((3, 5)), np.zeros((3, 3)), np.full((3, 3), np.nan)])
def test_what_is_no_psf(psf):
    refused(lambda: Sersic(psf=psf), "side odd")
