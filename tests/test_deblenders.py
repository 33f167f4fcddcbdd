"""SEP as a deblender: who is matched with whom on blends of which the answer is known, and what goes wrong alone."""

from itertools import permutations

import numpy as np
import pytest
import sep
from astropy.table import Table

import blendkit as bk
from blendkit import deblenders, photometry
from blendkit.deblenders import LABELS, SEP, match_pixels, match_positions, sep_baselines
from blendkit.photometry import Detections

SKY = 0.006
SHAPE = (81, 81)
CENTRE = (40, 40)


def found(*objects):
    """Detections from (x, y, flux); the other fluxes are given in another order, which must not matter."""
    x, y, flux = np.array(objects, float).reshape(-1, 3).T
    one = np.ones(len(x))
    return Detections(x, y, one, one, 0 * one, flux, flux[::-1], -flux, np.zeros(SHAPE, np.int32), False)


def truth_of(*rows):
    """A truth table from (dx, dy, r_eff_central)."""
    dx, dy, r_eff = zip(*rows, strict=True)
    return Table({"dx": dx, "dy": dy, "r_eff_central": np.array(r_eff, float)})


@pytest.fixture(scope="module")
def draw(gaussian):
    def draw(*objects, sigma=2.5, seed=0):
        """A noisy stamp of Gaussians at (dy, dx) from the centre pixel, with their fluxes."""
        light = sum(gaussian(SHAPE, CENTRE[0] + dy, CENTRE[1] + dx, flux, sigma) for dy, dx, flux in objects)
        return (light + np.random.default_rng(seed).normal(0, SKY, SHAPE)).astype(np.float32)

    return draw


@pytest.fixture(scope="module")
def real(hst_clean):
    """600 blends of real galaxies: more than one process measures alone."""
    blends = bk.draw_blends(hst_clean, 600, seed=3)
    images, masks, fluxes = bk.render(hst_clean, blends)
    return blends, images, masks, fluxes


@pytest.fixture(scope="module")
def tables(real):
    return sep_baselines(real[1], real[0])


class TestMatchPositions:
    """Central at (40, 40), companion at the shift; every order in which SEP could list the objects."""

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    @pytest.mark.parametrize("fluxes", [(9, 1), (1, 9)])
    def test_two(self, order, fluxes):
        objects = [(40.2, 39.8, fluxes[0]), (51.7, 44.1, fluxes[1])]
        got = match_positions(found(*(objects[i] for i in order)), CENTRE, 12, 4, 5.0)
        assert [order[i] for i in got] == [0, 1]

    @pytest.mark.parametrize("order", list(permutations(range(3))))
    @pytest.mark.parametrize("fluxes", [(9, 5, 1), (5, 9, 1)])
    def test_a_third_fainter_one_does_not_count(self, order, fluxes):
        """Even where it lies right on the companion's true position."""
        objects = [(40, 40, fluxes[0]), (50.5, 40, fluxes[1]), (52, 40, fluxes[2])]
        got = match_positions(found(*(objects[i] for i in order)), CENTRE, 12, 0, 5.0)
        assert [order[i] for i in got] == [0, 1]

    @pytest.mark.parametrize("order", list(permutations(range(3))))
    def test_a_third_brighter_one_does(self, order):
        """Of more than two the two brightest are kept (case iii): here the companion is not among them."""
        objects = [(40, 40, 9), (52, 40, 1), (20, 60, 20)]
        got = match_positions(found(*(objects[i] for i in order)), CENTRE, 12, 0, 5.0)
        assert [order[i] for i in got] == [0, 2]

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    @pytest.mark.parametrize("fluxes", [(9, 1), (1, 9)])
    def test_no_detection_is_used_twice(self, order, fluxes):
        """Both true positions lie nearest to the same detection: each still gets one of its own."""
        objects = [(41.5, 40, fluxes[0]), (47, 40, fluxes[1])]
        shift = 3
        assert abs(41.5 - 40) < abs(47 - 40)
        assert abs(41.5 - 43) < abs(47 - 43)
        got = match_positions(found(*(objects[i] for i in order)), CENTRE, shift, 0, 5.0)
        assert [order[i] for i in got] == [0, 1]

    def test_rows_and_columns(self):
        """dx runs along columns (SEP's x), dy along rows (its y)."""
        objects = found((40, 55, 5), (40, 40, 5))
        assert match_positions(objects, CENTRE, 0, 15, 5.0) == (1, 0)
        assert match_positions(found((20, 30, 5), (10, 41, 5)), (30, 20), -10, 11, 5.0) == (0, 1)

    @pytest.mark.parametrize(
        ("x", "y", "expected"),
        [(40, 40, (0, -1)), (41.9, 40, (0, -1)), (40, 38.2, (0, -1)), (42.1, 40, (-1, 0)), (52, 40, (-1, 0))],
    )
    def test_one_within_half_the_radius_is_the_central(self, x, y, expected):
        assert match_positions(found((x, y, 5)), CENTRE, 12, 0, 4.0) == expected

    def test_none(self):
        assert match_positions(found(), CENTRE, 12, 0, 4.0) == (-1, -1)


class TestMatchPixels:
    @pytest.mark.parametrize("order", list(permutations(range(4))))
    def test_nearest_the_centre_then_the_brightest_other(self, order):
        objects = [(41, 39, 5), (45, 40, 2), (70, 10, 8), (20, 60, 3)]
        got = match_pixels(found(*(objects[i] for i in order)), CENTRE)
        assert [order[i] for i in got] == [0, 2]

    @pytest.mark.parametrize("order", list(permutations(range(3))))
    def test_the_central_is_never_its_own_companion(self, order):
        """The brightest of the others, looked up among the others: published code got this index wrong."""
        objects = [(40, 40, 100), (60, 40, 1), (20, 20, 2)]
        got = match_pixels(found(*(objects[i] for i in order)), CENTRE)
        assert [order[i] for i in got] == [0, 2]

    def test_others_without_flux(self):
        assert match_pixels(found((40, 40, 5), (60, 40, -1), (20, 40, -2)), CENTRE) == (0, 1)

    def test_one(self):
        assert match_pixels(found((79, 3, 5)), CENTRE) == (0, -1)

    def test_none(self):
        assert match_pixels(found(), CENTRE) == (-1, -1)


class TestKnownBlends:
    """From pixels to fluxes."""

    @pytest.mark.parametrize("flux", [(90, 40), (40, 90)])
    @pytest.mark.parametrize("shift", [(0, 16), (-14, 5), (12, -12)])
    def test_two_galaxies(self, draw, flux, shift):
        image = draw((0, 0, flux[0]), (*shift, flux[1]))
        for deblender in (SEP(truth=truth_of((shift[1], shift[0], 3.0))), SEP()):
            row = deblender(image[None])[0]
            assert (row["n_detected"], row["case"]) == (2, "both")
            assert (row["flux_central"], row["flux_companion"]) == pytest.approx(flux, rel=0.06)

    @pytest.mark.parametrize("third", [(-25, 0, 10), (-25, 0, 200)])
    def test_a_third_object(self, draw, third):
        """A fainter third is passed over; a brighter one takes the companion's place."""
        image = draw((0, 0, 60), (0, 18, 40), third)
        expected = (60, 200 if third[2] == 200 else 40)
        for deblender in (SEP(truth=truth_of((18, 0, 3.0))), SEP()):
            row = deblender(image[None])[0]
            assert (row["n_detected"], row["case"]) == (3, "more")
            assert (row["flux_central"], row["flux_companion"]) == pytest.approx(expected, rel=0.08)

    def test_a_brighter_third_pushes_the_central_out(self, draw):
        """What the paper's rule does: the two brightest go to the two positions."""
        image = draw((0, 0, 30), (0, 18, 60), (-30, 10, 200))
        with_truth = SEP(truth=truth_of((18, 0, 3.0)))(image[None])[0]
        assert sorted((with_truth["flux_central"], with_truth["flux_companion"])) == pytest.approx([60, 200], rel=0.08)
        assert SEP()(image[None])[0]["flux_central"] == pytest.approx(30, rel=0.08)

    def test_one_detection(self, draw):
        images = np.stack([draw((0, 0, 60)), draw((0, 18, 60)), draw((0, 18, 60))])
        table = SEP(truth=truth_of((18, 0, 3.0), (18, 0, 3.0), (18, 0, 40.0)))(images)
        assert list(table["n_detected"]) == [1, 1, 1]
        assert list(table["case"]) == ["only central", "only companion", "only central"]
        assert np.isnan(table["flux_companion"]).tolist() == [True, False, True]
        assert np.isnan(table["flux_central"]).tolist() == [False, True, False]
        assert list(SEP()(images)["case"]) == ["only central"] * 3, "pixels alone cannot tell"

    def test_nothing_to_find(self, draw):
        for deblender in (SEP(), SEP(truth=truth_of((5, 5, 3.0)))):
            table = deblender(draw((0, 0, 0.0))[None])
            assert (table["n_detected"][0], table["case"][0], table.meta["failed"]) == (0, "none", 0)
            assert np.isnan([table["flux_central"][0], table["flux_companion"][0]]).all()

    def test_a_companion_on_top_is_one_object(self, draw):
        table = SEP(truth=truth_of((1, 0, 3.0)))(draw((0, 0, 60), (0, 1, 60))[None])
        assert (table["n_detected"][0], table["case"][0]) == (1, "only central")
        assert table["flux_central"][0] == pytest.approx(120, rel=0.05)

    def test_even_stamps(self, gaussian):
        """The centre pixel of an even stamp is [n // 2, n // 2]."""
        light = gaussian((80, 80), 40, 40, 60, 2.5)
        image = (light + np.random.default_rng(0).normal(0, SKY, light.shape)).astype("f4")
        assert SEP(truth=truth_of((10, 10, 0.8)))(image[None])["case"][0] == "only central"

    @pytest.mark.parametrize("truth", [True, False])
    def test_masks_are_the_matched_segments(self, draw, truth):
        image = draw((0, 0, 40), (0, 18, 90))
        table = SEP(truth=truth_of((18, 0, 3.0)) if truth else None, masks=True)(
            np.stack([image, draw((0, 0, 0.0))])[:1]
        )
        masks = table["masks"]
        assert masks.shape == (1, *SHAPE, 2)
        assert masks.dtype == bool
        assert masks[0, 40, 40].tolist() == [True, False]
        assert masks[0, 40, 58].tolist() == [False, True]
        assert not masks[0].all(-1).any(), "SEP's segments do not overlap"

    def test_masks_of_what_was_not_found_are_empty(self, draw):
        masks = SEP(masks=True)(np.stack([draw((0, 0, 60)), draw((0, 0, 0.0)), np.zeros(SHAPE, "f4")]))["masks"]
        assert masks[0, ..., 0].any()
        assert not masks[0, ..., 1].any()
        assert not masks[1:].any()


class TestBadStamps:
    def test_others_go_on(self, draw):
        good = draw((0, 0, 60), (0, 18, 40))
        nan = good.copy()
        nan[3, 3] = np.nan
        images = np.stack(
            [good, nan, np.zeros(SHAPE, "f4"), np.full(SHAPE, 7.0, "f4"), np.full(SHAPE, np.inf, "f4"), good]
        )
        for deblender in (SEP(masks=True), SEP(truth=truth_of(*[(18, 0, 3.0)] * 6))):
            table = deblender(images)
            assert table.meta["failed"] == 4
            assert list(table["case"]) == ["both", *["none"] * 4, "both"]
            assert np.isnan(table["flux_central"]).tolist() == [False, True, True, True, True, False]
            assert table["flux_central"][0] == table["flux_central"][5] == SEP()(good[None])["flux_central"][0]

    def test_a_full_buffer(self, draw, monkeypatch):
        """SEP raises a bare Exception when its deblending buffer overflows."""
        images = np.stack([draw((0, 0, 60), (0, 18, 40), seed=s) for s in range(4)])
        expected = SEP()(images)
        extract = sep.extract

        def overflowing(image, *args, **kwargs):
            if (image == images[2]).all():
                raise Exception("internal pixel buffer full: The limit of 300000 active object pixels was reached")
            return extract(image, *args, **kwargs)

        monkeypatch.setattr(sep, "extract", overflowing)
        table = SEP()(images)
        assert table.meta["failed"] == 1
        assert np.isnan(table["flux_central"][2])
        assert np.isnan(table["flux_companion"][2])
        others = [0, 1, 3]
        assert (table["flux_companion"][others] == expected["flux_companion"][others]).all()

    def test_a_real_overflow(self, draw):
        """No mock: a stamp with more active pixels than SEP has memory for."""
        before = sep.get_extract_pixstack()
        bright = draw((0, 0, 3000), sigma=9)
        sep.set_extract_pixstack(1000)
        try:
            table = SEP()(np.stack([bright, draw((0, 0, 60))]))
        finally:
            sep.set_extract_pixstack(before)
        assert table.meta["failed"] == 1
        assert np.isnan(table["flux_central"]).tolist() == [True, False]

    def test_not_caught_are_those_of_the_user(self, draw, monkeypatch):
        def interrupted(image):
            raise KeyboardInterrupt

        monkeypatch.setattr(deblenders, "detect", interrupted)
        with pytest.raises(KeyboardInterrupt):
            SEP()(draw((0, 0, 60))[None])


class TestBatches:
    def test_many_processes_give_the_same(self, real):
        blends, images, _, _ = real
        assert len(images) > deblenders.SMALL_BATCH
        parallel, alone = (SEP(truth=blends, n_jobs=n)(images) for n in (2, 1))
        for name in parallel.colnames:
            np.testing.assert_array_equal(parallel[name], alone[name])
        assert parallel.meta == alone.meta

    def test_order_and_slices(self, real):
        blends, images, _, _ = real
        rows = np.random.default_rng(0).permutation(len(images))[:40]
        whole, part = SEP(truth=blends[:60], n_jobs=1)(images[:60]), SEP(truth=blends[rows], n_jobs=1)(images[rows])
        for i, row in enumerate(rows):
            if row < 60:
                np.testing.assert_equal(tuple(part[i]), tuple(whole[int(row)]))
        assert len(part) == 40

    def test_of_no_images(self):
        for truth in (None, truth_of((1, 1, 1.0))[:0]):
            table = SEP(truth=truth, masks=True)(np.zeros((0, 32, 32), "f4"))
            assert len(table) == 0
            assert table["masks"].shape == (0, 32, 32, 2)

    def test_the_columns(self, real):
        blends, images, _, _ = real
        table = SEP()(images[:5])
        assert table.colnames == ["flux_central", "flux_companion", "n_detected", "case"]
        assert table.meta["method"] == "SEP Kron, neighbour masked"
        assert table.meta["matching"].startswith("pixels only")
        assert SEP(truth=blends[:5])(images[:5]).meta["matching"].startswith("true positions")
        assert set(SEP(truth=blends[:60])(images[:60])["case"]) <= set(bk.metrics.CASES)

    def test_images_are_untouched(self, real):
        images = real[1][:3]
        before = images.copy()
        SEP(masks=True)(images)
        assert (images == before).all()

    def test_truth_and_images_may_be_of_any_kind(self, real):
        blends, images, _, _ = real
        expected = SEP(truth=blends[:5])(images[:5])
        got = SEP(truth=blends[:5])(images[:5].astype(">f8"))
        assert (got["flux_central"] == expected["flux_central"]).all()


class TestThreeFluxes:
    def test_one_run_is_three(self, real):
        blends, images = real[0][:60], real[1][:60]
        for truth in (blends, None):
            tables = sep_baselines(images, truth)
            assert list(tables) == list(LABELS.values())
            for kind, label in LABELS.items():
                alone = SEP(truth=truth, flux=kind)(images)
                assert tables[label].meta == alone.meta
                for name in alone.colnames:
                    np.testing.assert_array_equal(tables[label][name], alone[name])

    def test_they_share_the_matching(self, tables):
        one, *others = tables.values()
        for other in others:
            assert (other["case"] == one["case"]).all()
            assert (other["n_detected"] == one["n_detected"]).all()

    def test_plain_kron_counts_the_neighbour_twice(self, real, tables):
        """On real galaxies its error is several times that of masked Kron, which is the best of the three."""
        fluxes = real[3]
        error = {}
        for label, table in tables.items():
            measured = np.column_stack([table["flux_central"], table["flux_companion"]])
            error[label] = 100 * np.nanmean(np.abs(measured / fluxes - 1))
        isophotal, kron, masked = (error[LABELS[kind]] for kind in photometry.FLUX_KINDS)
        assert kron > 2 * masked
        assert kron > 2 * isophotal
        assert masked < 1.05 * isophotal
        assert 10 < masked < 50

    def test_most_are_found(self, tables):
        case = next(iter(tables.values()))["case"]
        assert 0.6 < np.mean(case == "both") < 0.9
        assert np.mean(case == "more") < 0.06
        assert np.mean(case == "none") < 0.01

    def test_magnitudes_agree_where_both_are_found(self, real, tables):
        both = tables[LABELS["kron_masked"]]
        rows = (both["case"] == "both") & (np.asarray(real[0]["distance"]) > 15)
        for galaxy, true in zip(("central", "companion"), real[3].T, strict=True):
            assert np.median(both[f"flux_{galaxy}"][rows] / true[rows]) == pytest.approx(1, abs=0.05)


class TestRefusing:
    def test_an_unknown_flux(self):
        with pytest.raises(
            ValueError, match=r"flux = 'petro' was asked for, expected one of isophotal, kron, kron_masked\.$"
        ):
            SEP(flux="petro")

    @pytest.mark.parametrize(
        "images",
        [np.zeros((9, 9)), np.zeros((1, 9, 9, 1)), np.zeros(5), np.full((1, 9, 9), "a"), np.zeros((1, 9, 9), bool)],
    )
    def test_what_is_no_stack(self, images):
        with pytest.raises(ValueError, match=r"the blends have shape .* expected numbers of shape .*image\[None\]\.$"):
            SEP()(images)

    def test_truth_of_other_blends(self):
        with pytest.raises(ValueError, match=r"2 images and 1 rows of truth.*same slice of both\.$"):
            SEP(truth=truth_of((1, 1, 1.0)))(np.zeros((2, 9, 9), "f4"))

    def test_truth_without_positions(self):
        with pytest.raises(ValueError, match=r"truth lacks dy, r_eff_central.*draw_blends.*\.$"):
            SEP(truth=Table({"dx": [1]}))(np.zeros((1, 9, 9), "f4"))


def test_images_that_cannot_be_written_to_are_measured(make_sample):
    sample = make_sample(4)
    images, _, _ = bk.render(sample, bk.draw_blends(sample, 6, separation=(4, 6)))
    images.flags.writeable = False
    assert np.isfinite(bk.deblenders.SEP()(images)["flux_central"]).all()
    sample.images.flags.writeable = False
    assert np.isfinite(bk.photometry.flux_auto(sample.images, sample.own_masks())).all()
