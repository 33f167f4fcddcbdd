"""Classical photometry: FLUX_AUTO against truths, the two-pass procedure, stamps in parallel."""

import joblib
import numpy as np
import pytest
import sep

from blendkit import photometry
from blendkit.photometry import COLD, HOT, detect, flux_auto, half_light_radius, kron_flux, map_stamps, own_shape

SKY = 0.006
THRESHOLD = 1.2 * SKY  # where the segments of the survey end, roughly


def sersic(n, r_eff, q=1.0, flux=100.0, size=151):
    """A noiseless galaxy seen through a PSF of 3 pixels."""
    import galsim

    profile = galsim.Sersic(n, half_light_radius=r_eff, flux=flux, trunc=8 * r_eff)
    profile = galsim.Convolve(profile.shear(q=q, beta=0.6 * galsim.radians), galsim.Gaussian(fwhm=3.0))
    return profile.drawImage(nx=size, ny=size, scale=1.0).array.astype(np.float32)


def noisy(light, seed=0):
    return (light + np.random.default_rng(seed).normal(0, SKY, light.shape)).astype(np.float32)


class TestFluxAuto:
    @pytest.mark.parametrize("q", [1.0, 0.5])
    @pytest.mark.parametrize("r_eff", [2, 4, 7])
    @pytest.mark.parametrize(("n", "low", "high"), [(1, 0.95, 0.99), (2, 0.90, 0.97), (4, 0.85, 0.94)])
    def test_of_noiseless_galaxies(self, n, low, high, r_eff, q):
        """A Kron aperture holds some 96 % of an exponential's light, 90 % of a de Vaucouleurs profile's."""
        image = sersic(n, r_eff, q)
        assert low < flux_auto(image[None], image[None] > THRESHOLD)[0] / image.sum() < high

    def test_is_linear(self):
        image = sersic(1, 4)
        segment = image[None] > THRESHOLD
        one, ten = flux_auto(image[None], segment), flux_auto(10 * image[None], segment)
        assert ten == pytest.approx(10 * one, rel=1e-5)

    def test_on_the_real_sample(self, hst_clean):
        catalog = hst_clean.catalog
        ratio = catalog["flux_auto"] / 10 ** (-0.4 * (catalog["mag"] - hst_clean.zeropoint))
        assert 0.92 < np.median(ratio) < 0.99
        assert np.mean((ratio > 0.9) & (ratio < 1.05)) > 0.95

    def test_on_the_synthetic_sample(self, synthetic_clean):
        catalog = synthetic_clean.catalog
        ratio = (catalog["flux_auto"] / catalog["truth_flux"])[catalog["truth_bad"] == ""]
        assert 0.9 < np.median(ratio) < 1
        assert np.mean((ratio > 0.75) & (ratio < 1.1)) > 0.95

    def test_is_that_of_a_detection(self):
        """The same galaxy detected instead of given as a segment has nearly the same FLUX_AUTO."""
        image = noisy(sersic(1, 4))
        found = detect(image)
        assert len(found) == 1
        assert flux_auto(image[None], found.segmap[None] == 1)[0] == pytest.approx(found.kron_masked[0], rel=0.01)

    def test_the_segment_alone_gives_the_shape(self):
        """A neighbour outside the segment adds only what lies in the aperture."""
        image, other = sersic(1, 4), np.roll(sersic(1, 4), 60, axis=1)
        segment = image > THRESHOLD
        alone, together = flux_auto(np.stack([image, image + other]), np.stack([segment, segment]))
        assert together == pytest.approx(alone, rel=0.01)

    def test_one_bad_stamp_gives_nan(self):
        image = sersic(1, 4)
        images = np.stack([image, np.full_like(image, np.nan), image])
        segments = np.stack([image > THRESHOLD] * 2 + [np.zeros(image.shape, bool)])
        flux = flux_auto(images, segments)
        assert np.isfinite(flux[0])
        assert np.isnan(flux[1:]).all()

    def test_any_layout_in_memory(self):
        image = sersic(1, 4)
        segment = image[None] > THRESHOLD
        expected = flux_auto(image[None], segment)
        for other in (image.astype(float), image.astype(">f4"), np.asfortranarray(image)):
            assert flux_auto(other[None], segment) == pytest.approx(expected, rel=1e-6)

    def test_half_light_radius(self):
        image = sersic(1, 6)
        assert half_light_radius(image[None], image[None] > THRESHOLD)[0] == pytest.approx(6, rel=0.05)

    def test_masked_kron_leaves_the_neighbour_out(self):
        central, other = sersic(1, 4), np.roll(sersic(1, 4, flux=50), 22, axis=1)
        image = np.ascontiguousarray(central + other)
        shape = own_shape(image, central > np.maximum(other, THRESHOLD))
        plain = kron_flux(image, shape)
        masked = kron_flux(image, shape, (other > central) & (other > THRESHOLD))
        assert masked == pytest.approx(central.sum(), rel=0.08)
        assert plain > masked

    def test_a_point_gets_a_circle(self):
        """Where the ellipse would be smaller than 3.5 pixels, the flux in that circle."""
        image = np.zeros((31, 31), np.float32)
        image[15, 15], image[15, 18] = 10, 1
        shape = {"x": 15.0, "y": 15.0, "a": 0.3, "b": 0.3, "theta": 0.0}
        assert kron_flux(image, shape) == pytest.approx(11, rel=1e-5)


class TestDetect:
    def count_passes(self, monkeypatch):
        extract, settings = sep.extract, []

        def counting(image, **kwargs):
            settings.append({k: kwargs[k] for k in COLD})
            return extract(image, **kwargs)

        monkeypatch.setattr(sep, "extract", counting)
        return settings

    def test_the_papers_settings(self):
        """Table 3."""
        names = ("thresh", "minarea", "deblend_cont", "deblend_nthresh")
        assert tuple(COLD[n] for n in names) == (5, 10, 0.01, 64)
        assert tuple(HOT[n] for n in names) == (4, 6, 0.0001, 64)

    def test_cold_is_enough_for_two(self, gaussian, monkeypatch):
        passes = self.count_passes(monkeypatch)
        shape = (80, 80)
        found = detect(noisy(gaussian(shape, 40, 28, 60, 2.5) + gaussian(shape, 40, 52, 60, 2.5)))
        assert (len(found), found.hot, passes) == (2, False, [COLD])

    def test_hot_when_cold_finds_one(self, gaussian, monkeypatch):
        passes = self.count_passes(monkeypatch)
        shape = (80, 80)
        # the second one stands out by five sigmas in too few pixels for the cold pass
        found = detect(noisy(gaussian(shape, 40, 28, 60, 2.5) + gaussian(shape, 40, 60, 0.65, 1.3)))
        assert passes == [COLD, HOT]
        assert found.hot
        assert len(found) == 2

    def test_hot_when_cold_finds_none(self, monkeypatch):
        passes = self.count_passes(monkeypatch)
        found = detect(noisy(np.zeros((60, 60))))
        assert (len(found), found.hot, passes) == (0, True, [COLD, HOT])
        assert found.kron.shape == found.kron_masked.shape == found.isophotal.shape == (0,)

    def test_what_is_found(self, gaussian):
        shape = (90, 90)
        found = detect(noisy(gaussian(shape, 30, 25, 80, 3) + gaussian(shape, 60, 66, 40, 3)))
        assert len(found) == 2
        order = np.argsort(found.x)
        assert found.x[order] == pytest.approx([25, 66], abs=0.3)
        assert found.y[order] == pytest.approx([30, 60], abs=0.3)
        assert found.kron_masked[order] == pytest.approx([80, 40], rel=0.05)
        for label, (x, y) in enumerate(zip(found.x, found.y, strict=True), 1):
            assert found.segmap[round(y), round(x)] == label
        assert set(np.unique(found.segmap)) == {0, 1, 2}

    def test_the_three_fluxes(self, gaussian):
        """On a close pair: isophotal below the truth, plain Kron far above, masked Kron between."""
        shape = (90, 90)
        found = detect(noisy(gaussian(shape, 45, 37, 80, 3) + gaussian(shape, 45, 53, 60, 3)))
        assert len(found) == 2
        order = np.argsort(found.x)
        true = np.array([80, 60])
        isophotal, kron, masked = (getattr(found, kind)[order] / true for kind in ("isophotal", "kron", "kron_masked"))
        assert (isophotal < 1.02).all()
        assert (kron > 1.2).all()
        assert (np.abs(masked - 1) < 0.1).all()

    def test_alone_masked_kron_is_kron(self):
        found = detect(noisy(sersic(1, 4)))
        assert len(found) == 1
        assert (found.kron == found.kron_masked).all()

    @pytest.mark.parametrize(
        ("image", "message"),
        [
            (np.zeros((40, 40)), "no noise"),
            (np.full((40, 40), 3.0), "no noise"),
            (np.full((40, 40), np.nan), "NaN or infinite"),
            (np.pad(np.ones((40, 40)), 1, constant_values=np.inf), "NaN or infinite"),
        ],
    )
    def test_stamps_that_cannot_be_measured(self, image, message):
        with pytest.raises(ValueError, match=message) as caught:
            detect(image)
        assert str(caught.value).endswith(".")

    def test_the_image_is_untouched(self):
        image = noisy(sersic(1, 4))
        before = image.copy()
        detect(image)
        assert (image == before).all()

    def test_double_precision_gives_the_same(self):
        image = noisy(sersic(1, 4))
        assert (detect(image).kron_masked == detect(image.astype(float)).kron_masked).all()


class TestMapStamps:
    def test_order(self):
        assert map_stamps(abs, range(0, -50, -1), 50, n_jobs=2) == list(range(50))

    def test_of_nothing(self):
        assert map_stamps(abs, [], 0) == []

    def test_errors_come_through(self):
        with pytest.raises(ZeroDivisionError):
            map_stamps(_inverse, [1, 0], 2, n_jobs=1)

    def test_all_cores(self, monkeypatch):
        asked = []

        class Parallel(joblib.Parallel):
            def __init__(self, n_jobs, **kwargs):
                asked.append(n_jobs)
                super().__init__(n_jobs=1, **kwargs)

        monkeypatch.setattr(joblib, "Parallel", Parallel)
        monkeypatch.setattr("os.cpu_count", lambda: 7)
        map_stamps(abs, range(9), 9)
        map_stamps(abs, range(3), 3)
        map_stamps(abs, range(9), 9, n_jobs=2)
        assert asked == [7, 3, 2]

    def test_silent_where_nobody_watches(self, capfd):
        map_stamps(abs, range(9), 9, n_jobs=1, desc="measuring")
        assert capfd.readouterr() == ("", "")


def _inverse(x):
    return 1 / x


def test_flux_kinds_are_detections_columns():
    assert set(photometry.FLUX_KINDS) <= set(photometry.Detections.__dataclass_fields__)


def test_a_lone_pixel_gives_nan_and_takes_nothing_down():
    """SEP reads memory that is not its own there: run in a process of its own."""
    import subprocess
    import sys

    code = (
        "import numpy as np, blendkit as bk;"
        "images = np.random.default_rng(0).normal(0, 0.006, (30, 64, 64)).astype('f4');"
        "segments = np.zeros(images.shape, bool); segments[::2, 30:35, 30:35] = True; segments[1::2, 32, 32] = True;"
        "flux = bk.photometry.flux_auto(images, segments); assert np.isnan(flux[1::2]).all()"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
