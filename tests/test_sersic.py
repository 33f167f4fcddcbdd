"""Two Sersic profiles fitted to blends: of profiles drawn by galsim the truth is known to the last digit."""

import galsim
import numpy as np
import pytest
from astropy.table import Table

import blendkit as bk
from blendkit import deblenders, sersic
from blendkit.deblenders import SEP, Sersic
from blendkit.photometry import flux_auto

SHAPE = (81, 81)
SKY = 0.006
DISK = {"n": 1.0, "r": 4.0, "q": 0.6, "angle": 0.4}
BULGE = {"n": 3.0, "r": 3.0, "q": 0.8, "angle": 1.9}


def galaxy(flux, dy=0.0, dx=0.0, *, n, r, q, angle, psf_sigma=sersic.PSF_SIGMA, shape=SHAPE):
    """Noise-free light of a Sersic profile at (dy, dx) from the centre pixel, semi-major half-light radius r."""
    profile = galsim.Sersic(n, half_light_radius=r * np.sqrt(q), flux=flux).shear(q=q, beta=angle * galsim.radians)
    seen = galsim.Convolve(profile, galsim.Gaussian(sigma=psf_sigma))
    even = (np.array(shape) + 1) % 2 / 2
    stamp = galsim.ImageD(shape[1], shape[0], scale=1.0)
    return seen.drawImage(stamp, method="no_pixel", offset=(dx + even[1], dy + even[0])).array


def noisy(*layers, seed=0):
    return (sum(layers) + np.random.default_rng(seed).normal(0, SKY, layers[0].shape)).astype(np.float32)


def auto(*layers):
    """FLUX_AUTO of each galaxy alone."""
    return flux_auto(np.array(layers, np.float32), np.array(layers) > 1.2 * SKY)


def truth_of(*rows):
    """A truth table from (dx, dy, r_eff_central)."""
    dx, dy, r_eff = zip(*rows, strict=True)
    return Table({"dx": dx, "dy": dy, "r_eff_central": np.array(r_eff, float)})


def fluxes(table):
    return np.column_stack([table["flux_central"], table["flux_companion"]])


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


class TestLight:
    """The model against galsim, which integrates in Fourier space to 1e-5."""

    @pytest.mark.parametrize(
        ("r", "n", "q", "peak"), [(8, 0.5, 0.3, 0.01), (4, 1, 0.5, 0.01), (3, 2.5, 0.8, 0.02), (1.5, 4, 0.7, 0.03)]
    )
    @pytest.mark.parametrize("at", [(0.0, 0.0), (0.5, -0.49), (-7.3, 11.2)])
    def test_of_a_profile(self, r, n, q, peak, at):
        window = sersic._Window(slice(0, 81), slice(0, 81), sersic.gaussian_psf())
        dy, dx = at
        e1, e2 = (1 - q) * np.cos(2 * 0.7), (1 - q) * np.sin(2 * 0.7)
        light = window.light(50.0, 40 + dx, 40 + dy, np.log(r), n, e1, e2)
        expected = galaxy(50.0, dy, dx, n=n, r=r, q=q, angle=0.7)
        assert np.abs(light - expected).max() < peak * expected.max()
        assert light.sum() == pytest.approx(expected.sum(), rel=0.005)

    @pytest.mark.parametrize("n", [0.3, 6.0])
    @pytest.mark.parametrize("r", [0.5, 40.0])
    def test_at_the_bounds(self, r, n):
        window = sersic._Window(slice(0, 81), slice(0, 81), sersic.gaussian_psf())
        light = window.light(1.0, 40.3, 39.6, np.log(r), n, 0.9, 0.0)
        assert np.isfinite(light).all()
        assert 0 < light.sum() < 1.05

    def test_a_window_shows_what_the_whole_stamp_does(self):
        """Also of a galaxy at its corner, the light of which comes in from outside."""
        psf = sersic.gaussian_psf()
        whole, part = (
            sersic._Window(slice(a, b), slice(c, d), psf) for a, b, c, d in ((0, 81, 0, 81), (20, 50, 33, 71))
        )
        for x, y in ((50, 40), (33, 20), (70.6, 49.4)):
            p = (10.0, x, y, np.log(3), 1.5, 0.2, -0.3)
            np.testing.assert_allclose(part.light(*p), whole.light(*p)[20:50, 33:71], atol=2e-5)

    def test_a_psf_of_one_pixel(self):
        """Of a smooth profile then only the sampling is left."""
        window = sersic._Window(slice(0, 21), slice(0, 21), np.ones((1, 1)))
        for at in (0.0, 10.0, 20.0):
            light = window.light(9.0, at, at, np.log(5), 0.5, 0.0, 0.0)
            assert np.unravel_index(light.argmax(), light.shape) == (at, at)
        assert light[10, 20] == pytest.approx(light[20, 10])


class TestKnownBlends:
    def test_two_galaxies(self, pair):
        layers, image = pair
        for deblender in (Sersic(truth=truth_of((-12, 5, 4.0)), images=True), Sersic(images=True)):
            table = deblender(image[None])
            assert (table["case"][0], table["n_detected"][0], table.meta["failed"]) == ("both", 2, 0)
            assert fluxes(table)[0] == pytest.approx(auto(*layers), rel=0.02)
            light = np.asarray(table["images"])[0].sum(axis=(0, 1))
            assert light == pytest.approx([layer.sum() for layer in layers], rel=0.04)

    def test_light_is_conserved(self, pair, close):
        for layers, image in (pair, close):
            table = Sersic(images=True)(image[None])
            assert fluxes(table).sum() == pytest.approx(auto(*layers).sum(), rel=0.02)
            assert np.asarray(table["images"]).sum() == pytest.approx(np.sum(layers), rel=0.02)

    def test_closer_than_sep_can_tell_apart(self, close):
        layers, image = close
        for deblender in (Sersic(truth=truth_of((4, -3, 4.0))), Sersic()):
            table = deblender(image[None])
            assert table["case"][0] == "only central", "the case is SEP's"
            assert fluxes(table)[0] == pytest.approx(auto(*layers), rel=0.1)

    def test_what_remains_tells_who_is_central(self):
        """One object off the centre: the second profile may be the central galaxy's."""
        layers = galaxy(15, 0, 0, **(DISK | {"r": 2.0})), galaxy(90, 3, 4.2, **DISK)
        image = noisy(*layers)
        assert SEP()(image[None])["case"][0] == "only central"
        assert fluxes(Sersic()(image[None]))[0] == pytest.approx(auto(*layers), rel=0.15)

    def test_a_true_position_is_kept(self):
        """SEP's single detection is the companion; the central galaxy starts where it must be."""
        layers = galaxy(15, 0, 0, **(DISK | {"r": 2.0})), galaxy(90, 3, 4.2, **DISK)
        table = Sersic(truth=truth_of((4, 3, 2.0)))(noisy(*layers)[None])
        assert table["case"][0] == "only companion"
        assert fluxes(table)[0] == pytest.approx(auto(*layers), rel=0.15)

    def test_it_is_the_position_told_that_counts(self, close):
        """Told the wrong side, the second profile stays there, though the light is on the other."""
        for shift, side in (((4, -3), 1), ((-4, 3), -1)):
            light = np.asarray(Sersic(truth=truth_of((*shift, 4.0)), images=True)(close[1][None])["images"])[0, ..., 1]
            _, x = np.unravel_index(light.argmax(), light.shape)
            assert side * (x - SHAPE[1] // 2) >= 0

    @pytest.mark.parametrize("truth", [True, False])
    def test_quarter_turns_change_little(self, pair, close, truth):
        for (_, image), (dx, dy) in ((pair, (-12, 5)), (close, (4, -3))):
            stack = np.stack([np.rot90(image, k) for k in range(4)])
            shifts = ((dx, dy), (dy, -dx), (-dx, -dy), (-dy, dx))
            table = Sersic(truth=truth_of(*((*shift, 4.0) for shift in shifts)) if truth else None)(stack)
            np.testing.assert_allclose(fluxes(table)[1:], fluxes(table)[[0]].repeat(3, 0), rtol=0.01)

    def test_scales_with_the_light(self, pair):
        stack = np.stack([pair[1], 20 * pair[1]])
        one, twenty = fluxes(Sersic()(stack))
        np.testing.assert_allclose(twenty, 20 * one, rtol=2e-3)

    def test_a_third_object_is_left_out(self, pair):
        """It lies on the outskirts of the central galaxy and would take its profile along."""
        layers, _ = pair
        third = galaxy(30, -9, 4, n=1, r=1.5, q=1, angle=0)
        image = noisy(*layers, third)
        table = Sersic()(image[None])
        assert table["case"][0] == "more"
        assert fluxes(table)[0] == pytest.approx(auto(*layers), rel=0.03)

    def test_another_psf(self):
        """With the PSF that the blend was seen through the profiles fit; with a wrong one they cannot."""
        layers = galaxy(60, 0, 0, **BULGE, psf_sigma=2.5), galaxy(40, 2, 14, **DISK, psf_sigma=2.5)
        image = noisy(*layers)
        light = {}
        for name, psf in (("right", 7 * sersic.gaussian_psf(2.5)), ("default", None)):
            images = np.asarray(Sersic(psf=psf, images=True)(image[None])["images"])[0]
            light[name] = np.abs(images.sum(-1) - np.sum(layers, axis=0)).max()
        assert light["right"] < 2 * SKY
        assert light["default"] > 4 * SKY

    def test_errors_hold_where_galaxies_are_sersic_profiles(self):
        layers = galaxy(8, 0, 0, **DISK), galaxy(6, 2, 9, **DISK)
        stack = np.stack([noisy(*layers, seed=seed) for seed in range(16)])
        table = Sersic()(stack)
        errors = np.column_stack([table["flux_central_err"], table["flux_companion_err"]])
        found = np.isfinite(fluxes(table)).all(1)
        assert found.sum() > 12
        spread = fluxes(table)[found].std(axis=0)
        assert (spread / np.median(errors[found], axis=0) < 3).all()
        assert (spread / np.median(errors[found], axis=0) > 0.5).all()

    def test_masks(self, pair):
        layers, image = pair
        masks = np.asarray(Sersic(masks=True)(image[None])["masks"])
        assert masks.dtype == bool
        true = np.stack(layers, -1)[None] > 1.2 * SKY
        assert (bk.metrics.iou(true, masks) > 0.9).all()
        assert masks[0].all(-1).any(), "profiles overlap"


class TestOnGalaxies:
    """Galaxies that are no Sersic profiles."""

    def test_all_are_measured_and_better_than_by_sep(self, hst_clean):
        blends = bk.draw_blends(hst_clean, 24, seed=1)
        images, _, true = bk.render(hst_clean, blends, masks=False)
        sep, table = SEP(truth=blends)(images), Sersic(truth=blends, n_jobs=1)(images)
        assert (table["case"] == sep["case"]).all()
        assert table.meta["failed"] == 0
        assert np.isnan(fluxes(sep)).any()
        assert np.isfinite(fluxes(table)).all()
        error = {name: np.nanmean(np.abs(fluxes(t) / true - 1)) for name, t in (("SEP", sep), ("fit", table))}
        assert error["fit"] < 0.8 * error["SEP"]


class TestBadStamps:
    def test_others_go_on(self, pair):
        good = pair[1]
        nan = good.copy()
        nan[3, 3] = np.nan
        stack = np.stack([good, nan, np.zeros(SHAPE, "f4"), np.full(SHAPE, np.inf, "f4"), good])
        for deblender in (Sersic(masks=True, images=True), Sersic(truth=truth_of(*[(-12, 5, 4.0)] * 5))):
            table = deblender(stack)
            assert table.meta["failed"] == 3
            assert np.isnan(fluxes(table)).all(1).tolist() == [False, True, True, True, False]
            assert np.isnan(table["flux_central_err"]).tolist() == [False, True, True, True, False]
            assert list(table["case"]) == ["both", "none", "none", "none", "both"]
            assert (fluxes(table)[0] == fluxes(table)[4]).all()
        masks = Sersic(masks=True)(stack[1:3])["masks"]
        assert not np.asarray(masks).any()

    def test_nothing_to_find(self):
        """Not found is not failed; where a galaxy must be, a profile is fitted to what is there."""
        empty = noisy(np.zeros(SHAPE))[None]
        table = Sersic()(empty)
        assert (table["case"][0], table.meta["failed"]) == ("none", 0)
        assert np.isnan(fluxes(table)).all()
        told = Sersic(truth=truth_of((10, 0, 3.0)))(empty)
        assert told.meta["failed"] == 0
        assert (np.abs(fluxes(told)) < 2).all()

    def test_a_fit_that_breaks(self, pair, monkeypatch):
        """SEP's detections are told all the same."""

        def breaks(*args):
            raise np.linalg.LinAlgError("SVD did not converge")

        monkeypatch.setattr(sersic, "_fit", breaks)
        table = Sersic(masks=True)(pair[1][None])
        assert (table["case"][0], table["n_detected"][0], table.meta["failed"]) == ("both", 2, 1)
        assert np.isnan(fluxes(table)).all()

    def test_a_user_who_stops_it(self, pair, monkeypatch):
        def interrupted(image):
            raise KeyboardInterrupt

        monkeypatch.setattr(sersic, "detect", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Sersic()(pair[1][None])

    def test_images_are_untouched(self, pair):
        image = pair[1][None].copy()
        image.flags.writeable = False
        Sersic(images=True)(image)
        assert (image[0] == pair[1]).all()


class TestBatches:
    def test_many_processes_give_the_same(self, pair, close):
        stack = np.stack([pair[1], close[1]] * 5)
        assert len(stack) > sersic.SMALL_BATCH
        parallel, alone = (Sersic(n_jobs=n)(stack) for n in (2, 1))
        for name in alone.colnames:
            np.testing.assert_array_equal(parallel[name], alone[name])
        assert parallel.meta == alone.meta

    @pytest.mark.parametrize("truth", [None, truth_of((1, 1, 1.0))[:0]])
    def test_of_no_images(self, truth):
        table = Sersic(truth=truth, masks=True, images=True)(np.zeros((0, 32, 40), "f4"))
        assert len(table) == 0
        assert table["masks"].shape == table["images"].shape == (0, 32, 40, 2)

    def test_the_columns(self, pair):
        table = Sersic(masks=True, images=True)(pair[1][None])
        ends = ("flux_central", "flux_companion", "flux_central_err", "flux_companion_err")
        assert table.colnames == [*ends, "n_detected", "case", "masks", "images"]
        assert Sersic()(pair[1][None]).colnames == table.colnames[:-2]
        assert table["images"].dtype == np.float32
        assert table.meta["method"] == "two Sersic profiles"

    def test_what_was_known_is_said(self, pair):
        told = Sersic(truth=truth_of((-12, 5, 4.0)))(pair[1][None]).meta["matching"]
        assert told.startswith("true positions of both galaxies known")
        assert told.endswith("where SEP found only one, the second fit starts at the true position of the other")
        alone = Sersic()(pair[1][None]).meta["matching"]
        assert alone.startswith("pixels only")
        assert alone.endswith("the second fit starts at the peak of what one profile leaves over")

    def test_stamps_that_are_even_or_oblong(self):
        shape = (64, 90)
        layers = [galaxy(f, dy, dx, **DISK, shape=shape) for f, dy, dx in ((60, 0, 0), (40, 3, 13))]
        table = Sersic(truth=truth_of((13, 3, 4.0)), images=True)(noisy(*layers)[None])
        assert table["images"].shape == (1, *shape, 2)
        assert fluxes(table)[0] == pytest.approx(auto(*layers), rel=0.03)


class TestRefusing:
    @pytest.mark.parametrize(
        "psf",
        [np.ones((4, 4)), np.ones((3, 5)), np.ones(3), np.zeros((3, 3)), np.full((3, 3), np.nan), np.full((3, 3), "a")],
    )
    def test_what_is_no_psf(self, psf):
        with pytest.raises(ValueError, match=r"the PSF has shape .* expected finite numbers of shape \(k, k\), k odd"):
            Sersic(psf=psf)

    def test_what_is_no_stack(self):
        with pytest.raises(ValueError, match=r"the blends have shape \(9, 9\)"):
            Sersic()(np.zeros((9, 9)))

    def test_truth_of_other_blends(self):
        with pytest.raises(ValueError, match=r"2 images and 1 rows of truth.*same slice of both\.$"):
            Sersic(truth=truth_of((1, 1, 1.0)))(np.zeros((2, 9, 9), "f4"))
        with pytest.raises(ValueError, match=r"truth lacks dy, r_eff_central"):
            Sersic(truth=Table({"dx": [1]}))(np.zeros((1, 9, 9), "f4"))


def test_it_is_found_where_the_other_deblenders_are():
    assert deblenders.Sersic is sersic.Sersic
    with pytest.raises(AttributeError, match="has no attribute 'Sersik'"):
        _ = deblenders.Sersik
