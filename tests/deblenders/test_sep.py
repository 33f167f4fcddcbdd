"""SEP as a deblender: who is matched with whom on blends of which the answer is known, and what goes wrong alone."""

from itertools import permutations

import numpy as np
import pytest
from astropy.table import Table
from conftest import beside, gaussian_light, noisy, refused, truth_of

import blendkit as bk
from blendkit.data.photometry import Detections
from blendkit.deblenders import LABELS, SEP, match_pixels, match_positions, sep_baselines

SHAPE = (81, 81)
CENTRE = (40, 40)
MATCHING = beside(__file__, "matching.toml")


def found(*objects):
    """Detections from (x, y, flux); the other fluxes are given in another order, which must not matter."""
    x, y, flux = np.array(objects, float).reshape(-1, 3).T
    one = np.ones(len(x))
    return Detections(x, y, one, one, 0 * one, flux, flux[::-1], -flux, np.zeros(SHAPE, np.int32))


def in_any_order(match, objects):
    """Which objects are matched, whatever the order in which SEP gives them."""
    for order in permutations(range(len(objects))):
        got = match(found(*(objects[i] for i in order)))
        yield [order[i] if i >= 0 else -1 for i in got]


def draw(*objects):
    """A noisy stamp of Gaussians at (dy, dx) from the centre pixel, with their fluxes."""
    return noisy(*(gaussian_light(SHAPE, CENTRE[0] + dy, CENTRE[1] + dx, flux, 2.5) for dy, dx, flux in objects))


class TestMatching:
    @pytest.mark.parametrize(*MATCHING["true_positions"].values())
    def test_by_true_positions(self, objects, shifts, expected):
        x, y = 40.0 + np.array([(0, 0), *shifts]).T
        for got in in_any_order(lambda found: match_positions(found, x, y, 4.0), objects):
            assert got == expected

    @pytest.mark.parametrize(*MATCHING["pixels"].values())
    def test_by_pixels_nearest_the_centre_then_by_brightness(self, objects, expected):
        """The central galaxy is never its own companion: published code got this index wrong."""
        for members in (2, len(expected)):
            for got in in_any_order(lambda found, k=members: match_pixels(found, CENTRE, k), objects):
                assert got == expected[:members]


class TestKnownBlends:
    """From pixels to fluxes."""

    @pytest.mark.parametrize("flux", [(90, 40), (40, 90)])
    @pytest.mark.parametrize("shift", [(0, 16), (-14, 5), (12, -12)])
    def test_two_galaxies(self, flux, shift):
        image = draw((0, 0, flux[0]), (*shift, flux[1]))
        for truth in (truth_of((shift[1], shift[0], 3.0)), None):
            row = SEP(truth=truth)(image[None])[0]
            assert (row["n_detected"], row["case"]) == (2, "both")
            assert row["flux"] == pytest.approx(flux, rel=0.06)

    @pytest.mark.parametrize("third", [10, 200])
    def test_a_third_object(self, third):
        """A fainter third is passed over, unless it is asked for; a brighter one takes the companion's place."""
        image = draw((0, 0, 60), (0, 18, 40), (-25, 0, third))
        for truth in (truth_of((18, 0, 3.0)), None):
            row = SEP(truth=truth)(image[None])[0]
            assert (row["n_detected"], row["case"]) == (3, "more")
            assert row["flux"] == pytest.approx([60, max(third, 40)], rel=0.08)
        fluxes = SEP(members=3)(image[None])["flux"][0]
        assert fluxes == pytest.approx([60, *sorted((third, 40), reverse=True)], rel=0.15)

    def test_one_detection_or_none(self):
        images = np.stack([draw((0, 0, 60)), draw((0, 18, 60)), draw((0, 18, 60)), draw((0, 0, 0.0))])
        table = SEP(truth=truth_of((18, 0, 3.0), (18, 0, 3.0), (18, 0, 40.0), (5, 5, 3.0)))(images)
        assert list(table["case"]) == ["only central", "only companion", "only central", "none"]
        assert np.isnan(table["flux"]).tolist() == [[False, True], [True, False], [False, True], [True, True]]
        assert (table["n_detected"][3], table.meta["failed"]) == (0, 0), "not found is not failed"
        assert list(SEP()(images)["case"]) == ["only central"] * 3 + ["none"], "pixels alone cannot tell"

    @pytest.mark.parametrize("told", [True, False])
    def test_masks_are_the_matched_segments(self, told):
        stack = np.stack([draw((0, 0, 40), (0, 18, 90)), draw((0, 0, 60)), draw((0, 0, 0.0)), np.zeros(SHAPE, "f4")])
        masks = np.asarray(SEP(truth=truth_of(*[(18, 0, 3.0)] * 4) if told else None, masks=True)(stack)["masks"])
        assert (masks.shape, masks.dtype) == ((4, *SHAPE, 2), bool)
        assert masks[0, 40, [40, 58]].tolist() == [[True, False], [False, True]]
        assert not masks.all(-1).any(), "SEP's segments do not overlap"
        assert masks[1].any((0, 1)).tolist() == [True, False], "what was not found has none"
        assert not masks[2:].any()


def test_one_run_is_three_fluxes_in_any_slice(hst_clean):
    """600 blends of real galaxies: more than one process measures alone."""
    blends, rows = bk.draw_blends(hst_clean, 600, seed=3), np.random.default_rng(0).permutation(600)[:40]
    images = bk.render(hst_clean, blends, masks=False)[0]
    tables = sep_baselines(images, blends)
    assert list(tables) == list(LABELS.values())
    for kind, label in LABELS.items():
        alone = SEP(truth=blends[rows], flux=kind)(images[rows])
        assert tables[label].meta == alone.meta
        for name in alone.colnames:
            np.testing.assert_array_equal(tables[label][rows][name], alone[name])


@pytest.mark.parametrize(("images", "settings", "word"), [
    *[(images, {}, "image[None]") for images in (np.zeros((9, 9)), np.full((1, 9, 9), "a"))],
    (np.zeros((1, 9, 9)), {"flux": "petro"}, "kron_masked"),
    (np.zeros((1, 9, 9)), {"truth": Table({"dx": [1]})}, "draw_blends"),
    (np.zeros((2, 9, 9)), {"truth": Table({"dx": [1]})}, "same slice"),
])  # fmt: skip
def test_what_cannot_be_measured(images, settings, word):
    refused(lambda: SEP(**settings)(images), word)
