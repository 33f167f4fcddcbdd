"""Classical photometry: FLUX_AUTO against truths, the two-pass procedure, stamps in parallel."""

import galsim
import numpy as np
import pytest
import sep
from conftest import SKY, gaussian_light, in_python, noisy, refused

from blendkit.data.photometry import COLD, HOT, detect, flux_auto, kron_flux
from tools.reference import half_light_radius

THRESHOLD = 1.2 * SKY  # where the segments of the survey end, roughly


def sersic(n, r_eff, q=1.0, flux=100.0, size=151):
    """A noiseless galaxy seen through a PSF of 3 pixels."""
    profile = galsim.Sersic(n, half_light_radius=r_eff, flux=flux, trunc=8 * r_eff)
    profile = galsim.Convolve(profile.shear(q=q, beta=0.6 * galsim.radians), galsim.Gaussian(fwhm=3.0))
    return profile.drawImage(nx=size, ny=size, scale=1.0).array.astype(np.float32)


class TestFluxAuto:
    @pytest.mark.parametrize("q", [1.0, 0.5])
    @pytest.mark.parametrize("r_eff", [2, 4, 7])
    @pytest.mark.parametrize(("n", "low", "high"), [(1, 0.95, 0.99), (2, 0.90, 0.97), (4, 0.85, 0.94)])
    def test_flux_auto_of_noiseless_galaxies(self, n, low, high, r_eff, q):
        """A Kron aperture holds some 96 % of an exponential's light, 90 % of a de Vaucouleurs profile's."""
        image = sersic(n, r_eff, q)
        alone = image[None], image[None] > THRESHOLD
        assert low < flux_auto(*alone)[0] / image.sum() < high
        if (n, q, r_eff) == (1, 1.0, 7):  # broader than the PSF
            assert half_light_radius(*alone)[0] == pytest.approx(r_eff, rel=0.05)

    def test_flux_auto_of_real_galaxies_is_the_catalogues(self, hst_clean):
        catalog = hst_clean.catalog
        ratio = catalog["flux_auto"] / 10 ** (-0.4 * (catalog["mag"] - hst_clean.zeropoint))
        assert 0.92 < np.median(ratio) < 0.99
        assert np.mean((ratio > 0.9) & (ratio < 1.05)) > 0.95

    def test_bad_stamps_give_nan_and_take_nothing_down(self):
        """A lone pixel lets SEP read memory that is not its own: run in a process of its own."""
        code = (
            "import numpy as np; from blendkit.data.photometry import flux_auto;"
            "images = np.random.default_rng(0).normal(0, 0.006, (30, 64, 64)).astype('f4'); images[4] = np.nan;"
            "segments = np.zeros(images.shape, bool); segments[::2, 30:35, 30:35] = segments[1::2, 32, 32] = True;"
            "images[:, 30:35, 30:35] += 0.1; segments[6] = False; good = np.isfinite(flux_auto(images, segments));"
            "assert np.flatnonzero(good).tolist() == [i for i in range(0, 30, 2) if i not in (4, 6)]"
        )
        assert in_python(code).returncode == 0

    def test_a_point_gets_a_circle(self):
        """Where the Kron ellipse would be smaller than 3.5 pixels, the flux in that circle."""
        image = np.zeros((31, 31), np.float32)
        image[15, 15], image[15, 18] = 10, 1
        assert kron_flux(image, {"x": 15.0, "y": 15.0, "a": 0.3, "b": 0.3, "theta": 0.0}) == pytest.approx(11, rel=1e-5)


class TestDetect:
    @pytest.mark.parametrize(("second", "n", "hot"), [((52, 60, 2.5), 2, 0), ((60, 0.65, 1.3), 2, 1), ((), 0, 1)])
    def test_hot_where_cold_finds_fewer_than_two(self, monkeypatch, second, n, hot):
        """The second case stands out by five sigmas, in too few pixels for the cold pass."""
        extract, used = sep.extract, []
        monkeypatch.setattr(sep, "extract", lambda i, **k: used.append({c: k[c] for c in COLD}) or extract(i, **k))
        light = np.zeros((80, 80))
        if second:
            light = gaussian_light((80, 80), 40, 28, 60, 2.5) + gaussian_light((80, 80), 40, *second)
        found = detect(noisy(light))
        assert (len(found), used) == (n, [COLD, HOT][: 1 + hot])
        assert found.kron.shape == found.kron_masked.shape == found.isophotal.shape == (n,)

    def test_what_is_found_on_a_close_pair(self):
        """Isophotal fluxes lie below the truth, plain Kron far above, masked Kron between."""
        found = detect(noisy(gaussian_light((90, 90), 44, 37, 80, 3) + gaussian_light((90, 90), 46, 53, 60, 3)))
        order = np.argsort(found.x)
        assert found.x[order] == pytest.approx([37, 53], abs=1)
        assert found.y[order] == pytest.approx([44, 46], abs=1)
        assert found.segmap[np.rint(found.y).astype(int), np.rint(found.x).astype(int)].tolist() == [1, 2]
        isophotal, kron, masked = (flux[order] / [80, 60] for flux in (found.isophotal, found.kron, found.kron_masked))
        assert (isophotal < 1.02).all()
        assert (kron > 1.2).all()
        assert (np.abs(masked - 1) < 0.1).all()

    @pytest.mark.parametrize(("value", "word"), [(0.0, "noise"), (3.0, "noise"), (np.nan, "NaN"), (np.inf, "infinite")])
    def test_stamps_that_cannot_be_measured(self, value, word):
        refused(lambda: detect(np.full((40, 40), value)), word)
