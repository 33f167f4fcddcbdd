"""Blends under other skies, how methods do there, and the sliders that move them, with methods that know the truth."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table
from conftest import module, refused

import blendkit as bk
from blendkit.data.sky import NOISE
from blendkit.lessons import CONDITIONS, TrustExplorer, observed, outside
from tests.widgets.conftest import drive, errors  # noqa: F401

PAIRS = [[10, 13], [12, 11], [14, 15], [16, 10]], [9, -12, 3, 14], [2, 6, -9, 0]
DARK = np.zeros((1, 64, 64), np.float32)
light = module(lambda make_sample: replace(make_sample(8, sky=0.0), sky_stamps=DARK))  # without noise
blends = module(lambda light: bk.make_blends(light, *PAIRS))


def knows(blends, error=0.1, missed=False):
    """A method that gives the true fluxes in the units of the images, flags what is bright, and may miss companions."""

    def method(images):
        rows = np.arange(len(images)) % len(blends)
        flux = np.asarray(blends["flux"])[rows] * np.where(images.max(axis=(1, 2)) > 1e3, 1e6, 1)[:, None]
        flux[:, 1] = np.nan if missed else flux[:, 1]
        return Table({"flux": flux, "flux_err": error * flux, "out_of_domain": images.max(axis=(1, 2)) > 1e3})

    return method


class TestObserved:
    def test_the_sky_is_what_was_asked_for(self, light, blends):
        empty = np.s_[:, :20, :20]
        for noise, level in ((1.0, 0.0), (4.0, 1.0)):
            sky = observed(light, blends, noise=noise, level=level)[empty] / (noise * NOISE)
            assert (sky.std(), sky.mean()) == pytest.approx((1, level), abs=0.1)
        for correlation, alike in ((0.0, 0.0), (0.62, 0.53)):
            sky = observed(light, blends, correlation=correlation)[empty]
            assert np.mean(sky[..., 1:] * sky[..., :-1]) / sky.var() == pytest.approx(alike, abs=0.08)

    def test_stamps_keep_the_noise_that_they_have(self, make_sample):
        sample = make_sample(8)
        pairs = bk.make_blends(sample, [[10, 13], [12, 11]], 9, 0)
        same = bk.render(sample, pairs, masks=False)[0]
        np.testing.assert_allclose(observed(sample, pairs), same, atol=1e-7)
        for blur in (0.0, 0.3):
            noise = observed(sample, pairs, noise=3, blur=blur, seed=1)[:, :20, :20].std()
            assert noise == pytest.approx(3 * NOISE, rel=0.1)
        table = outside(sample, pairs, {"right": knows(pairs)}, {"noise": CONDITIONS["noise"]})
        assert table["value"].tolist() == [1.4, 2.0, 4.0]
        slider = TrustExplorer(sample, pairs, {"right": knows(pairs)}).sliders["noise"]
        assert (slider.min, slider.value, slider.description) == (1.4, 1.4, "noise [yours: ≥ 1.4]")

    def test_the_galaxies_move_are_smeared_and_get_a_third_one(self, light, blends):
        still = observed(light, blends, noise=0)
        np.testing.assert_allclose(observed(light, blends, noise=0, off=2), np.roll(still, 2, axis=2), atol=1e-4)
        blurred = observed(light, blends, noise=0, blur=0.3)
        assert blurred.sum() == pytest.approx(still.sum(), rel=1e-3)
        assert blurred.max() < 0.7 * still.max()
        for third, share in ((0, 1), (2.5, 0.1)):
            more = observed(light, blends, noise=0, third=third) - still
            np.testing.assert_allclose(more.sum(axis=(1, 2)), share * blends["flux"][:, 0], rtol=0.02)


class TestOutside:
    def test_each_condition_is_scored_against_its_own_truth(self, light, blends):
        tested = {"level": (-1.0, 0.0), "units": (1.0, 1e6), "third": (np.inf, 0.0)}
        methods = {"right": knows(blends), "blind": knows(blends, missed=True)}
        table = outside(light, blends, methods, tested)
        got = {(row["condition"], row["value"], row["method"]): row for row in table}
        assert len(table) == 12
        for row in (got["level", -1.0, "right"], got["units", 1e6, "right"]):
            assert (row["median"], row["within_1"]) == pytest.approx((0, 1), abs=1e-4)
        assert got["level", 0.0, "blind"]["median"] == pytest.approx(50)  # mean of 0 and 100
        assert got["units", 1e6, "right"]["flagged"] == 1 > got["units", 1.0, "right"]["flagged"] == 0
        assert got["third", 0.0, "right"]["within_1"] < 1, "the brighter of the two others is the companion"


class TestTrustExplorer:
    def test_fluxes_errors_and_flag_follow_the_sliders(self, light, blends, drive):  # noqa: F811
        widget = TrustExplorer(light, blends, {"right": knows(blends), "blind": knows(blends, missed=True)})
        assert "1 ± 0.1: 0.0 errors off" in widget.answer.value
        assert widget.answer.value.count("not found") == 1
        assert "out_of_domain: False" in widget.answer.value
        before, start = widget.view.panels[1], widget.image
        for name, slider in widget.sliders.items():
            slider.value = {"third": 1.0, "units": 1e6}.get(name, getattr(slider, "max", None))
        assert "out_of_domain: True" in widget.answer.value
        assert widget.view.panels[1]["pixels"] != before["pixels"]
        assert widget.image.max() > 1e5 * start.max()
        widget.reset.click()
        np.testing.assert_array_equal(widget.image, start)
        widget.blend.value = 2
        assert widget.recipe["id"].tolist() == blends["id"][2:3].tolist()
        assert "image/png" in widget._repr_mimebundle_()
        drive()
        refused(lambda: TrustExplorer(light, blends[:0]), "0 blends")
