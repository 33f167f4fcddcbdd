"""Blends: the drawing of recipes, the pixels rendered from them, and where both come to rest."""

import os
import subprocess
import sys
import tracemalloc
import warnings

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import blendkit as bk
from blendkit import blending

COLUMNS = [
    "central", "companion", "dx", "dy", "dmag", "orient_central", "orient_companion", "distance", "delta_mag", "inside",
    "mag_central", "mag_companion", "r_eff_central", "r_eff_companion", "morphology_central", "morphology_companion",
    "flux_central", "flux_companion",
]  # fmt: skip
SQUARE_ONLY = (1, 3, 4, 6)


def moved(stamp, orient, dy=0, dx=0):
    """Reference: each pixel's offset from the centre pixel turned, then shifted; zero where none comes to lie."""
    ny, nx = stamp.shape
    y, x = (i.ravel() for i in np.indices(stamp.shape))
    v, u = y - ny // 2, x - nx // 2
    if orient >= 4:
        v, u = u, v
    for _ in range(orient % 4):  # a quarter turn counter-clockwise as the array is printed: right goes up
        v, u = -u, v
    to_y, to_x = v + ny // 2 + dy, u + nx // 2 + dx
    on = (to_y >= 0) & (to_y < ny) & (to_x >= 0) & (to_x < nx)
    out = np.zeros_like(stamp)
    out[to_y[on], to_x[on]] = stamp[y[on], x[on]]
    return out


def shifted(stamp, dy, dx):
    return ndimage.shift(stamp, (dy, dx), order=0, mode="constant", cval=0)


def reference(sample, row, stack):
    """Central and companion of one row as they lie on the frame, zero where nothing does."""
    c, k = sample.index([row["central"], row["companion"]])
    return moved(stack[c], row["orient_central"]), moved(stack[k], row["orient_companion"], row["dy"], row["dx"])


def noise_sample(make_sample, shape, seed=0, n=3):
    """No galaxy shape at all: every pixel counts, and segments are random."""
    sample = make_sample(n, shape)
    rng = np.random.default_rng(seed)
    images = rng.normal(1, 1, sample.images.shape).astype("f4")
    segmaps = rng.integers(0, 3, sample.segmaps.shape).astype("u1")
    segmaps[:, shape[0] // 2, shape[1] // 2] = 1
    sky = rng.normal(0, 1, (5, *shape)).astype("f4")
    return bk.Sample(images, segmaps, sample.catalog, sky_stamps=sky)


@pytest.fixture(scope="module")
def sample(make_sample):
    return make_sample(12)


@pytest.fixture(scope="module")
def blends(sample):
    return bk.draw_blends(sample, 40, seed=5, dmag=0.3)


@pytest.fixture(scope="module")
def many(synthetic_clean):
    return bk.draw_blends(synthetic_clean, 4000, seed=1, max_dmag=1.5, separation=(0.7, 3.0))


class TestRender:
    @settings(max_examples=100)
    @given(
        dy=st.integers(-15, 15), dx=st.integers(-15, 15),
        shape=st.sampled_from([(16, 16), (17, 17), (16, 21), (19, 18)]),
    )  # fmt: skip
    def test_shifts_against_scipy(self, make_sample, dy, dx, shape):
        sample = noise_sample(make_sample, shape)
        images, masks, _ = bk.render(sample, bk.make_blends(sample, 11, 12, dx, dy), fill="zero")
        own = sample.own_masks()
        assert (images[0] == sample.images[1] + shifted(sample.images[2], dy, dx)).all()
        assert (masks[0, ..., 0] == own[1]).all()
        assert (masks[0, ..., 1] == shifted(own[2].astype("u1"), dy, dx)).all()

    @settings(max_examples=150)
    @given(data=st.data(), seed=st.integers(0, 1000))
    def test_every_shift_and_turn(self, make_sample, data, seed):
        ny = data.draw(st.integers(7, 14), "ny")
        nx = ny if data.draw(st.booleans(), "square") else data.draw(st.integers(7, 14), "nx")
        orients = st.sampled_from([k for k in range(8) if ny == nx or k not in SQUARE_ONLY])
        sample = noise_sample(make_sample, (ny, nx), seed)
        blend = bk.make_blends(
            sample, 10, 12,
            data.draw(st.integers(1 - nx, nx - 1), "dx"), data.draw(st.integers(1 - ny, ny - 1), "dy"), 0.0,
            data.draw(orients, "orient_central"), data.draw(orients, "orient_companion"),
        )  # fmt: skip
        images, masks, fluxes = bk.render(sample, blend, fill="zero")
        central, companion = reference(sample, blend[0], sample.images)
        assert (images[0] == central + companion).all()
        central, companion = reference(sample, blend[0], sample.own_masks().astype("u1"))
        assert (masks[0] == np.stack([central, companion], -1).astype(bool)).all()
        assert fluxes[0].tolist() == np.float32(sample.catalog["flux_auto"][[0, 2]]).tolist()
        assert (images.dtype, masks.dtype, fluxes.dtype) == (np.float32, bool, np.float32)
        assert (images.shape, masks.shape, fluxes.shape) == ((1, ny, nx), (1, ny, nx, 2), (1, 2))

    @settings(max_examples=80)
    @given(
        dy=st.integers(-12, 12), dx=st.integers(-12, 12),
        turns=st.tuples(st.integers(0, 7), st.integers(0, 7)), size=st.sampled_from((13, 14)),
    )  # fmt: skip
    def test_fills_differ_only_where_nothing_lies(self, make_sample, dy, dx, turns, size):
        sample = noise_sample(make_sample, (size, size))
        blend = bk.make_blends(sample, 11, 10, dx, dy, 0.0, *turns)
        there = reference(sample, blend[0], np.ones_like(sample.images))
        zero, sky = (blending.render_parts(sample, blend, fill=f)[0] for f in ("zero", "sky"))
        stamps = [sample.sky[s[0]] for s in blending.sky_rows(blend, len(sample.sky))]
        for part_zero, part_sky, on, stamp in zip(zero, sky, there, stamps, strict=True):
            assert (part_zero == part_sky)[on == 1].all()
            assert (part_zero[on == 0] == 0).all()
            assert (part_sky == stamp)[on == 0].all()
        assert (bk.render(sample, blend)[0][0] == sky[0] + sky[1]).all()

    @pytest.mark.parametrize("size", [63, 64])
    @pytest.mark.parametrize("orient", range(8))
    def test_the_centre_stays_put(self, make_sample, size, orient):
        sample = make_sample(2, (size, size), sky=0.0)
        blend = bk.make_blends(sample, 10, 11, 7, -4, 0.0, orient, orient)
        central, companion = blending.render_parts(sample, blend, fill="zero")[0]
        assert np.unravel_index(central.argmax(), central.shape) == (size // 2, size // 2)
        assert np.unravel_index(companion.argmax(), companion.shape) == (size // 2 - 4, size // 2 + 7)
        masks = bk.render(sample, blend)[1][0]
        assert masks[size // 2, size // 2, 0]
        assert masks[size // 2 - 4, size // 2 + 7, 1]

    def test_the_eight_orientations_are_those_of_numpy(self, make_sample):
        sample = noise_sample(make_sample, (15, 15))
        blend = bk.make_blends(sample, 10, 11, 0, 0, 0.0, np.arange(8), 0)
        parts = blending.render_parts(sample, blend, fill="zero")[:, 0]
        for k, part in enumerate(parts):
            stamp = sample.images[0].T if k >= 4 else sample.images[0]
            assert (part == np.rot90(stamp, k % 4)).all()
        assert len(np.unique(parts.reshape(8, -1), axis=0)) == 8

    @pytest.mark.parametrize(("dy", "dx"), [(20, 0), (-20, 0), (0, 25), (0, -25), (31, 31), (-31, 31)])
    def test_nothing_wraps_round(self, make_sample, dy, dx):
        sample = make_sample(2, sky=0.0, sigma=5.0)
        companion = blending.render_parts(sample, bk.make_blends(sample, 10, 11, dx, dy), fill="zero")[0, 1]
        y, x = np.indices(companion.shape) - 32
        far = np.hypot(y - dy, x - dx) > 30
        assert companion[far].max(initial=0) < 1e-6 * companion.max()

    def test_flux_is_conserved(self, make_sample):
        """A galaxy that stays on the frame, whatever its place and orientation, keeps its light."""
        sample = make_sample(4, sky=0.0)
        blend = bk.draw_blends(sample, 60, seed=2, separation=(0.5, 4.0))
        assert np.hypot(blend["dx"], blend["dy"]).max() < 12
        images, _, fluxes = bk.render(sample, blend, fill="zero")
        total = images.sum((1, 2), dtype=float)
        light = sample.images.sum((1, 2), dtype=float)
        expected = light[sample.index(blend["central"])] + light[sample.index(blend["companion"])]
        assert total == pytest.approx(expected, rel=1e-6)
        assert total == pytest.approx(fluxes.sum(1), rel=1e-4)

    def test_linear_in_the_galaxies(self, make_sample):
        one, two = (noise_sample(make_sample, (16, 16), seed) for seed in (1, 2))
        both = bk.Sample(one.images * 2 + two.images, one.segmaps, one.catalog, sky_stamps=one.sky)
        recipe = bk.draw_blends(one, 20, seed=1)
        pixels = []
        for sample in (one, two, both):
            recipe.meta = {}
            pixels.append(bk.render(sample, recipe, fill="zero")[0])
        np.testing.assert_allclose(pixels[0] * 2 + pixels[1], pixels[2], rtol=1e-5, atol=1e-5)

    def test_masks_overlap(self, make_sample):
        sample = make_sample(2, sigma=4.0)
        near, far = bk.make_blends(sample, 10, 11, [6, 31], 0)
        masks = bk.render(sample, bk.make_blends(sample, 10, 11, [6, 31], 0))[1]
        own = sample.own_masks()
        for mask, row in zip(masks, (near, far), strict=True):
            assert (mask[..., 0] == own[0]).all()
            assert (mask[..., 1] == shifted(own[1].astype("u1"), 0, row["dx"])).all()
        assert masks[0].all(-1).any(), "where they overlap both are true"
        assert not masks[1].all(-1).any()

    def test_masks_leave_neighbours_out(self, make_sample):
        sample = make_sample(2, neighbours=[(0, 20, 50.0)])
        masks = bk.render(sample, bk.make_blends(sample, 10, 11, 0, 0))[1]
        assert (masks[0, ..., 0] == (sample.segmaps[0] == 1)).all()

    def test_without_masks(self, sample, blends):
        images, masks, fluxes = bk.render(sample, blends, masks=False)
        assert masks is None
        assert (images == bk.render(sample, blends)[0]).all()
        assert (fluxes == bk.render(sample, blends)[2]).all()

    def test_the_sample_is_untouched(self, make_sample):
        sample = make_sample(4)
        before = sample.images.copy(), sample.segmaps.copy(), sample.sky.copy()
        images = bk.render(sample, bk.draw_blends(sample, 20, dmag=1.0))[0]
        images += 1
        for was, now in zip(before, (sample.images, sample.segmaps, sample.sky), strict=True):
            assert (was == now).all()

    def test_of_no_rows(self, sample, blends):
        images, masks, fluxes = bk.render(sample, blends[:0])
        assert (images.shape, masks.shape, fluxes.shape) == ((0, 64, 64), (0, 64, 64, 2), (0, 2))


class TestDmag:
    def test_the_companion_is_scaled_with_its_noise(self, make_sample):
        sample = make_sample(2)
        dmag = [0.0, 1.0, -0.75, 2.5]
        blends = bk.make_blends(sample, 10, 11, 9, 3, dmag, 2, 5)
        images, _, fluxes = bk.render(sample, blends, fill="zero")
        parts = blending.render_parts(sample, blends, fill="zero")
        for row, image, part, offset in zip(blends, images, parts, dmag, strict=True):
            central, companion = reference(sample, row, sample.images)
            scale = np.float32(10 ** (-0.4 * offset))
            assert (part[0] == central).all()
            assert (part[1] == companion * scale).all()
            assert (image == central + companion * scale).all()
        empty = parts[0, 1, 24:, :30]  # below and left of the companion there is noise only
        assert parts[3, 1, 24:, :30].std() == pytest.approx(0.1 * empty.std(), rel=1e-4)
        flux = np.asarray(sample.catalog["flux_auto"])
        assert fluxes[:, 0] == pytest.approx(flux[0])
        assert fluxes[:, 1] == pytest.approx(flux[1] * 10 ** (-0.4 * np.array(dmag)))

    def test_the_fill_is_scaled_too(self, make_sample):
        """The companion's stamp is one piece of sky: a step between stamp and fill would give its edge away."""
        sample = make_sample(2)
        plain, faint = blending.render_parts(sample, bk.make_blends(sample, 10, 11, 20, 0, [0.0, 2.5]), fill="sky")[
            :, 1
        ]
        assert faint == pytest.approx(np.float32(0.1) * plain)

    def test_columns_include_it(self, make_sample):
        sample = make_sample(2)
        blend = bk.make_blends(sample, 10, 11, 3, 4, 1.5)[0]
        mag, flux = sample.catalog["mag"], sample.catalog["flux_auto"]
        assert blend["mag_companion"] == pytest.approx(mag[1] + 1.5)
        assert blend["mag_central"] == mag[0]
        assert blend["delta_mag"] == pytest.approx(mag[0] - mag[1] - 1.5)
        assert blend["flux_companion"] == pytest.approx(flux[1] * 10**-0.6)
        assert blend["flux_central"] == flux[0]
        assert blend["distance"] == 5


class TestSky:
    @pytest.mark.parametrize("which", ["gaussians", "hst", "synthetic"])
    def test_the_fill_has_the_skys_sigma(self, request, make_sample, which):
        sample = make_sample(20, (96, 96)) if which == "gaussians" else request.getfixturevalue(f"{which}_clean")[:40]
        ids = np.asarray(sample.catalog["id"])
        nx = sample.images.shape[2]
        blends = bk.make_blends(sample, ids, np.roll(ids, 1), nx // 2 - 1, 0)
        parts = {fill: blending.render_parts(sample, blends, fill=fill)[:, 1] for fill in ("sky", "zero")}
        filled = parts["sky"][..., : nx // 2 - 1]
        assert (parts["zero"][..., : nx // 2 - 1] == 0).all()
        sky = np.concatenate([
            image[blending_free(segmap)] for image, segmap in zip(sample.images, sample.segmaps, strict=True)
        ])  # fmt: skip
        assert robust_sigma(filled) == pytest.approx(robust_sigma(sky), rel=0.05)
        assert np.median(filled) == pytest.approx(np.median(sky), abs=0.1 * float(robust_sigma(sky)))
        assert np.mean(np.abs(filled) > 6 * robust_sigma(sky)) < 1e-3, "no galaxy is in the sky"

    def test_the_bank_is_from_the_samples_pixels(self, make_sample):
        sample = make_sample(3)
        assert sample.sky.dtype == np.float32
        empty = np.concatenate([i[blending_free(s)] for i, s in zip(sample.images, sample.segmaps, strict=True)])
        assert np.isin(sample.sky, empty).all()

    def test_stamps_of_the_bank_differ(self, make_sample):
        sky = make_sample(3).sky
        assert len(np.unique(sky.reshape(len(sky), -1), axis=0)) == len(sky)

    def test_central_and_companion_get_different_skies(self, sample, blends):
        central, companion = blending.sky_rows(blends, len(sample.sky))
        assert (central != companion).all()
        assert max(central.max(), companion.max()) < len(sample.sky)
        assert len(np.unique(companion)) > 10

    def test_a_dragged_companion_keeps_its_sky(self, sample):
        blends = bk.make_blends(sample, 10, 11, np.arange(5), [0, 3, 1, -2, 9], [0, 1, 2, 0, 0], 0, [0, 1, 2, 3, 4])
        assert [len(set(rows.tolist())) for rows in blending.sky_rows(blends, 64)] == [1, 1]


def blending_free(segmap):
    """Well away from every segment."""
    return ndimage.distance_transform_edt(segmap == 0) > 8


def robust_sigma(values):
    return 1.4826 * np.median(np.abs(values - np.median(values)))


class TestSameRowSamePixels:
    @pytest.fixture(params=["sky", "zero"])
    def whole(self, request, sample, blends):
        return request.param, bk.render(sample, blends, fill=request.param)

    def same(self, whole, sample, part, rows):
        fill, everything = whole
        return all((e[rows] == p).all() for e, p in zip(everything, bk.render(sample, part, fill=fill), strict=True))

    def test_slices(self, whole, sample, blends):
        for rows in (slice(3, 9), [17], np.array([30, 2, 2, 5]), slice(None, None, -1)):
            assert self.same(whole, sample, blends[rows], rows)

    def test_one_row_as_a_table(self, whole, sample, blends):
        assert self.same(whole, sample, Table(blends[7:8], meta=blends.meta), [7])

    def test_a_mask(self, whole, sample, blends):
        rows = np.asarray(blends["delta_mag"]) > 0
        assert 0 < rows.sum() < len(blends)
        assert self.same(whole, sample, blends[rows], rows)

    def test_a_reordered_sample(self, whole, sample, blends):
        assert self.same(whole, sample[::-1], blends, slice(None))

    def test_a_file(self, whole, sample, blends, tmp_path):
        blends.write(tmp_path / "x.ecsv")
        read = Table.read(tmp_path / "x.ecsv")
        assert self.same(whole, sample, read, slice(None))
        assert read.meta == blends.meta
        assert read.colnames == blends.colnames
        for name in blends.colnames:
            assert (read[name] == blends[name]).all(), name

    def test_a_saved_sample(self, whole, sample, blends, tmp_path):
        assert self.same(whole, bk.load_sample(sample.save(tmp_path)), blends, slice(None))

    def test_the_sample_that_the_side_was_split_from(self, make_sample):
        clean = make_sample(20)
        for side in bk.split(clean, (0.5, 0.5)):
            blends = bk.draw_blends(side, 30)
            for one, other in zip(bk.render(side, blends), bk.render(clean, blends), strict=True):
                assert (one == other).all()

    def test_only_what_the_recipe_needs(self, sample, blends):
        """The optional columns default to zero, and what is known of the pair is not read."""
        bare = Table(blends["central", "companion", "dx", "dy"], meta=blends.meta)
        full = bk.make_blends(sample, bare["central"], bare["companion"], bare["dx"], bare["dy"])
        for one, other in zip(bk.render(sample, bare), bk.render(sample, full), strict=True):
            assert (one == other).all()


class TestRefusing:
    def other(self, sample, **changes):
        parts = {
            "images": sample.images.copy(), "segmaps": sample.segmaps.copy(), "catalog": sample.catalog.copy(),
            "zeropoint": sample.zeropoint, "sky_stamps": sample.sky.copy(),
        } | changes  # fmt: skip
        return bk.Sample(**parts)

    def test_an_equal_copy_passes(self, sample, blends):
        bk.render(self.other(sample), blends)

    @pytest.mark.parametrize("call", [bk.render, blending.render_parts])
    def test_altered_pixels(self, sample, blends, call):
        images = sample.images.copy()
        row = sample.index(blends["companion"][0])[0]
        images[row, 0, 0] = np.nextafter(images[row, 0, 0], np.float32(1))
        with pytest.raises(ValueError, match=rf"other pixels.*{blends['companion'][0]}.*use the sample .*\.$"):
            call(self.other(sample, images=images), blends)

    def test_altered_labels(self, sample, blends):
        segmaps = sample.segmaps.copy()
        segmaps[:, 0, 0] = 9
        with pytest.raises(ValueError, match=r"12 of the 12 galaxies.*labels.*\.$"):
            bk.render(self.other(sample, segmaps=segmaps), blends)

    def test_altered_fluxes(self, sample, blends):
        catalog = sample.catalog.copy()
        catalog["flux_auto"] *= 1.001
        with pytest.raises(ValueError, match=r"fluxes in the sample.*\.$"):
            bk.render(self.other(sample, catalog=catalog), blends)

    def test_another_zeropoint(self, sample, blends):
        with pytest.raises(ValueError, match=r"zeropoint 25\.96, the sample has 25\.0: .*\.$"):
            bk.render(self.other(sample, zeropoint=25.0), blends)

    def test_another_sky(self, sample, blends):
        other = self.other(sample, sky_stamps=sample.sky + np.float32(0.001))
        with pytest.raises(ValueError, match=r"another sky.*fill='zero'\.$"):
            bk.render(other, blends)
        assert (bk.render(other, blends, fill="zero")[0] == bk.render(sample, blends, fill="zero")[0]).all()

    def test_another_sample(self, make_sample, blends):
        with pytest.raises(ValueError, match=r"other pixels.*\.$"):
            bk.render(make_sample(12, seed=1), blends)

    def test_a_sample_without_the_galaxies(self, sample, blends):
        with pytest.raises(ValueError, match=r"not in the sample 'Gaussians'.*use the sample .*\.$"):
            bk.render(sample[:5], blends)

    def test_from_a_file(self, sample, blends, make_sample, tmp_path):
        blends.write(tmp_path / "x.ecsv")
        with pytest.raises(ValueError, match="other pixels"):
            bk.render(make_sample(12, seed=1), Table.read(tmp_path / "x.ecsv"))

    def test_only_the_galaxies_used_count(self, sample, blends):
        """A galaxy that no row names may have changed."""
        rows = blends[:3]
        images = sample.images.copy()
        used = np.concatenate([rows["central"], rows["companion"]])
        images[~np.isin(sample.catalog["id"], used)] += 1
        bk.render(self.other(sample, images=images), rows)

    @pytest.mark.parametrize("call", [bk.render, blending.render_parts])
    def test_an_unknown_fill(self, sample, blends, call):
        with pytest.raises(ValueError, match=r"fill = 'mirror' was given, expected 'sky' or 'zero'\.$"):
            call(sample, blends, fill="mirror")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"dx": 64}, r"dx runs from 64 to 64.*whole pixels smaller than the stamp \(64\)"),
            ({"dy": -64}, "dy runs from -64 to -64"),
            ({"orient_central": 8}, "orient_central runs from 8 to 8, expected whole numbers from 0 to 7"),
            ({"orient_companion": -1}, "orient_companion runs from -1"),
            ({"dmag": np.nan}, "dmag holds NaN"),
            ({"central": 99}, "not in the sample"),
        ],
    )
    def test_rows_out_of_range(self, sample, arguments, message):
        with pytest.raises(ValueError, match=message) as caught:
            bk.make_blends(sample, **({"central": 10, "companion": 11, "dx": 1, "dy": 1} | arguments))
        assert str(caught.value).endswith(".")

    @pytest.mark.parametrize("name", ["dx", "dy"])
    def test_half_pixels(self, sample, name):
        with pytest.raises(ValueError, match=r"whole pixels.*\.$"):
            bk.make_blends(sample, 10, 11, **({"dx": 1, "dy": 1} | {name: 1.5}))

    def test_half_pixels_in_a_table(self, sample, blends):
        table = blends.copy()
        table["dx"] = table["dx"] + 0.5
        with pytest.raises(ValueError, match=r"whole pixels.*\.$"):
            bk.render(sample, table)

    def test_a_table_that_is_no_recipe(self, sample):
        with pytest.raises(ValueError, match=r"lacks companion, dx, dy, expected at least .*draw_blends.*\.$"):
            bk.render(sample, Table({"central": [10]}))

    @pytest.mark.parametrize("orient", SQUARE_ONLY)
    def test_quarter_turns_of_oblong_stamps(self, make_sample, orient):
        with pytest.raises(ValueError, match=r"quarter turns.*20 x 30.*use 0, 2, 5 or 7\.$"):
            bk.make_blends(make_sample(2, (20, 30)), 10, 11, 0, 0, 0, orient)


class TestDraw:
    def test_columns(self, many):
        assert many.colnames == COLUMNS
        assert [many[c].dtype.kind for c in COLUMNS[:7]] == list("iiiifii")
        assert set(many.meta) >= {"fingerprint", "zeropoint", "seed"}

    def test_columns_are_true(self, many, synthetic_clean):
        catalog = synthetic_clean.catalog
        assert (many["distance"] == np.hypot(many["dx"], many["dy"])).all()
        assert many["delta_mag"] == pytest.approx(np.asarray(many["mag_central"] - many["mag_companion"]), abs=1e-12)
        for galaxy in ("central", "companion"):
            rows = synthetic_clean.index(many[galaxy])
            for name, column in (
                ("mag", "mag"),
                ("r_eff", "r_eff"),
                ("morphology", "morphology"),
                ("flux", "flux_auto"),
            ):
                assert (many[f"{name}_{galaxy}"] == catalog[column][rows]).all()

    def test_rules(self, many):
        assert (many["central"] != many["companion"]).all()
        assert np.abs(many["delta_mag"]).max() < 1.5
        assert np.abs(many["delta_mag"]).max() > 1.4
        assert max(np.abs(many["dx"]).max(), np.abs(many["dy"]).max()) <= 63
        assert (many["dmag"] == 0).all()

    def test_separation(self, many):
        larger = np.maximum(many["r_eff_central"], many["r_eff_companion"])
        rounding = np.sqrt(0.5)
        assert (many["distance"] >= 0.7 * larger - rounding).all()
        assert (many["distance"] <= 3.0 * larger + rounding).all()
        unbounded = larger < 20  # the frame cuts off none of their shifts
        ratio = (many["distance"] / larger)[unbounded]
        assert np.histogram(ratio, np.linspace(0.7, 3.0, 6))[0] / len(ratio) == pytest.approx(0.2, abs=0.035)
        angle = np.arctan2(many["dy"], many["dx"])[larger > 5]
        assert np.histogram(angle, np.linspace(-np.pi, np.pi, 5))[0] / len(angle) == pytest.approx(0.25, abs=0.035)

    def test_orientations(self, many, synthetic_clean):
        for name in ("orient_central", "orient_companion"):
            assert np.bincount(many[name], minlength=8) / len(many) == pytest.approx(1 / 8, abs=0.025)
        assert abs(np.corrcoef(many["orient_central"], many["orient_companion"])[0, 1]) < 0.05
        still = bk.draw_blends(synthetic_clean, 50, turns=False)
        for name in ("orient_central", "orient_companion"):
            assert not still[name].any()

    def test_every_allowed_pair_is_drawn_alike(self, make_sample):
        sample = make_sample(5, mags=[20.0, 20.5, 21.0, 21.2, 23.0])
        with pytest.warns(UserWarning, match="1 of 5"):
            blends = bk.draw_blends(sample, 6000, max_dmag=1.05)
        pairs, counts = np.unique(np.array([blends["central"], blends["companion"]]), axis=1, return_counts=True)
        mags = dict(zip(sample.catalog["id"], sample.catalog["mag"], strict=True))
        allowed = {(i, j) for i in mags for j in mags if i != j and abs(mags[i] - mags[j]) < 1.05}
        assert set(map(tuple, pairs.T.tolist())) == allowed
        for central in (10, 11, 12, 13):
            these = counts[pairs[0] == central]
            assert these.sum() / 6000 == pytest.approx(0.25, abs=0.025)
            assert these / these.sum() == pytest.approx(1 / len(these), abs=0.05)

    def test_the_limit_itself_is_not_allowed(self, make_sample):
        with pytest.raises(ValueError, match="no pair"):
            bk.draw_blends(make_sample(2, mags=[20.0, 21.0]), 5, max_dmag=1.0)

    @pytest.mark.parametrize("dmag", [1.0, -2.0, 3.5])
    def test_dmag_counts_in_the_rules(self, make_sample, dmag):
        sample = make_sample(12)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            blends = bk.draw_blends(sample, 300, dmag=dmag, max_dmag=2.0)
        assert (blends["dmag"] == dmag).all()
        assert np.abs(blends["delta_mag"]).max() < 2
        assert (blends["central"] != blends["companion"]).all()
        mags = np.asarray(sample.catalog["mag"])
        assert blends["mag_companion"] == pytest.approx(mags[sample.index(blends["companion"])] + dmag)

    def test_seed(self, synthetic_clean):
        one, again, other = (bk.draw_blends(synthetic_clean, 100, seed=s) for s in (7, 7, 8))
        for name in COLUMNS:
            assert (one[name] == again[name]).all()
        assert (one["dx"] != other["dx"]).any()
        assert one.meta == again.meta
        np.random.seed(0)  # noqa: NPY002  global state plays no part
        assert (bk.draw_blends(synthetic_clean, 100, seed=7)["dx"] == one["dx"]).all()

    def test_skipped_galaxies_warn_once(self, make_sample):
        sample = make_sample(6, mags=[18.0, 20.0, 20.1, 20.2, 25.0, 27.5])
        with pytest.warns(UserWarning, match=r"3 of 6 galaxies.*within 2\.0 mag.*skipped") as caught:
            blends = bk.draw_blends(sample, 200, max_dmag=2.0)
        assert len(caught) == 1
        assert caught[0].filename == __file__
        assert set(blends["central"]) == set(blends["companion"]) == {11, 12, 13}

    def test_no_pair_at_all(self, make_sample):
        for sample in (make_sample(3, mags=[18, 21, 24]), make_sample(3)[0]):
            with pytest.raises(ValueError, match=r"no pair among the \d galaxies of 'Gaussians'.*raise max_dmag.*\.$"):
                bk.draw_blends(sample, 5, max_dmag=2.0)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"n": 0}, "n = 0 blends"),
            ({"n": 5, "max_dmag": 0}, "max_dmag = 0"),
            ({"n": 5, "max_dmag": np.nan}, "max_dmag = nan"),
            ({"n": 5, "separation": (3, 1)}, r"separation = \(3, 1\)"),
            ({"n": 5, "separation": (-1, 1)}, r"separation = \(-1, 1\)"),
            ({"n": 5, "separation": (100, 101)}, "no place on the stamp.*lower separation"),
        ],
    )
    def test_arguments_that_make_no_sense(self, sample, arguments, message):
        with pytest.raises(ValueError, match=message) as caught:
            bk.draw_blends(sample, **arguments)
        assert str(caught.value).endswith(".")

    def test_far_companions_stay_on_the_frame(self, make_sample):
        blends = bk.draw_blends(make_sample(4, (40, 50), sigma=8.0), 500, separation=(1.0, 6.0), turns=False)
        assert np.abs(blends["dy"]).max() == 19
        assert np.abs(blends["dx"]).max() == 24

    def test_before_cleaning_fluxes_come_from_magnitudes(self, hst):
        with pytest.warns(UserWarning, match=r"no flux_auto.*run bk\.clean first"):
            blends = bk.draw_blends(hst, 5)
        assert blends["flux_central"] == pytest.approx(10 ** (-0.4 * (np.asarray(blends["mag_central"]) - 25.96)))

    @settings(max_examples=60)
    @given(
        dy=st.integers(-24, 24), dx=st.integers(-24, 24), orient=st.integers(0, 7), size=st.sampled_from((25, 26)),
        seed=st.integers(0, 20),
    )  # fmt: skip
    def test_inside_by_brute_force(self, make_sample, dy, dx, orient, size, seed):
        sample = noise_sample(make_sample, (size, size), seed)
        inside = bk.make_blends(sample, 11, 12, dx, dy, 1.0, 3, orient)["inside"][0]
        light = np.where(sample.own_masks()[2], sample.images[2], 0).clip(min=0)
        on_frame = moved(light, orient, dy, dx)
        assert inside == pytest.approx(on_frame.sum(dtype=float) / light.sum(dtype=float), abs=1e-6)

    def test_inside_of_oblong_stamps(self, make_sample):
        sample = noise_sample(make_sample, (20, 31))
        blends = bk.make_blends(sample, 11, 12, 13, -7, 0.0, 0, [0, 2, 5, 7])
        light = np.where(sample.own_masks()[2], sample.images[2], 0).clip(min=0)
        expected = [moved(light, k, -7, 13).sum(dtype=float) for k in (0, 2, 5, 7)]
        assert blends["inside"] == pytest.approx(np.array(expected) / light.sum(dtype=float), abs=1e-6)


class TestSplit:
    @settings(max_examples=40)
    @given(
        n=st.integers(10, 60), seed=st.integers(0, 10**6), shares=st.sampled_from([(0.6, 0.2, 0.2), (0.5, 0.5), (1.0,)])
    )
    def test_disjoint_and_complete(self, make_sample, n, seed, shares):
        sample = make_sample(n, (20, 20), sigma=0.7)
        sides = bk.split(sample, shares, seed)
        ids = [set(side.catalog["id"]) for side in sides]
        assert len(sides) == len(shares)
        assert sum(map(len, ids)) == sum(map(len, sides)) == n
        assert set().union(*ids) == set(sample.catalog["id"])
        for side, share in zip(sides, shares, strict=True):
            assert abs(len(side) - share * n) <= 1
            assert side.sky is sample.sky

    def test_seed(self, synthetic_clean):
        one, again, other = (bk.split(synthetic_clean, seed=s) for s in (3, 3, 4))
        assert all((a.catalog["id"] == b.catalog["id"]).all() for a, b in zip(one, again, strict=True))
        assert set(one[2].catalog["id"]) != set(other[2].catalog["id"])

    def test_it_is_a_draw_not_a_cut(self, synthetic_clean):
        test = bk.split(synthetic_clean)[2]
        rows = synthetic_clean.index(test.catalog["id"])
        assert rows.min() < 30
        assert rows.max() > len(synthetic_clean) - 30

    @pytest.mark.parametrize("shares", [(0.6, 0.2), (0.6, 0.6, -0.2), (1.0, 0.0), (), (np.nan, 1.0), (60, 20, 20)])
    def test_shares_that_are_none(self, sample, shares):
        with pytest.raises(ValueError, match=r"shares = .* expected positive numbers that add up to 1.*\.$"):
            bk.split(sample, shares)

    def test_an_empty_side(self, make_sample):
        with pytest.raises(
            ValueError, match=r"2 galaxies cannot be divided as \(0\.6, 0\.2, 0\.2\).*larger sample.*\.$"
        ):
            bk.split(make_sample(2))


class TestExport:
    NAMES = ("blends.npy", "gg_masks.npy", "flux.npy", "catalogue.csv")

    def test_contents_are_renders(self, sample, blends, tmp_path):
        folder = bk.export(sample, blends, tmp_path / "a" / "b", batch=7, fill="zero")
        assert sorted(os.listdir(folder)) == sorted(f"test_{n}" for n in self.NAMES)
        images, masks, fluxes = bk.render(sample, blends, fill="zero")
        written = [np.load(folder / f"test_{n}", mmap_mode="r") for n in self.NAMES[:3]]
        assert [w.dtype for w in written] == [np.float32, np.uint8, np.float32]
        for array, expected in zip(written, (images, masks, fluxes), strict=True):
            assert array.shape == expected.shape
            assert (array == expected).all()

    def test_the_catalogue_is_the_originals(self, sample, blends, tmp_path):
        table = Table.read(
            bk.export(sample, blends, tmp_path, prefix="train") / "train_catalogue.csv", format="ascii.csv"
        )
        galaxy = ("id", "mag", "rad", "z", "type")
        assert table.colnames == [
            "id",
            "distance",
            "shift_x",
            "shift_y",
            *(f"{g}_{c}" for g in ("g1", "g2") for c in galaxy),
        ]
        assert (table["id"] == np.arange(len(blends))).all()
        assert (table["shift_x"] == blends["dy"]).all(), "the original shifts along rows first"
        assert (table["shift_y"] == blends["dx"]).all()
        for g, ours in (("g1", "central"), ("g2", "companion")):
            assert (table[f"{g}_id"] == blends[ours]).all()
            assert (table[f"{g}_type"] == blends[f"morphology_{ours}"]).all()
            assert np.asarray(table[f"{g}_mag"]) == pytest.approx(np.asarray(blends[f"mag_{ours}"]), abs=1e-6)
            assert np.asarray(table[f"{g}_rad"]) == pytest.approx(np.asarray(blends[f"r_eff_{ours}"]), abs=1e-6)

    def test_memory_is_constant(self, make_sample, tmp_path):
        sample = make_sample(4)
        peaks = []
        for n in (500, 2000):
            blends = bk.draw_blends(sample, n)
            bk.render(sample, blends[:1])
            tracemalloc.start()
            bk.export(sample, blends, tmp_path, batch=50)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert peaks[1] < peaks[0] + 2e6, "2,000 blends take no more than 500; all pixels would be 49 MB"

    def test_a_failure_leaves_nothing(self, sample, blends, tmp_path, monkeypatch):
        render, calls = blending.render, []

        def failing(*args, **kwargs):
            calls.append(1)
            if len(calls) == 3:
                raise RuntimeError("power cut")
            return render(*args, **kwargs)

        monkeypatch.setattr(blending, "render", failing)
        with pytest.raises(RuntimeError, match="power cut"):
            bk.export(sample, blends, tmp_path, batch=7)
        assert os.listdir(tmp_path) == []

    def test_a_failure_leaves_the_older_files(self, sample, blends, tmp_path, monkeypatch):
        bk.export(sample, blends, tmp_path)
        before = {f: (tmp_path / f).read_bytes() for f in os.listdir(tmp_path)}
        monkeypatch.setattr(blending, "_original_catalogue", lambda *a: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            bk.export(sample, blends[:10], tmp_path)
        assert {f: (tmp_path / f).read_bytes() for f in os.listdir(tmp_path)} == before

    def test_silent_where_nobody_watches(self, sample, tmp_path):
        sample.save(tmp_path / "sample")
        code = (
            "import sys, blendkit as bk; s = bk.load_sample(sys.argv[1]);"
            "bk.export(s, bk.draw_blends(s, 300), sys.argv[2], batch=50)"
        )
        command = [sys.executable, "-c", code, tmp_path / "sample", tmp_path / "out"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout + done.stderr == ""
        assert len(os.listdir(tmp_path / "out")) == 4


class TestOddShapes:
    def test_draws_on_oblong_stamps_use_turns_that_fit(self, make_sample):
        sample = make_sample(6, shape=(40, 62))
        blends = bk.draw_blends(sample, 60, seed=1)
        assert set(blends["orient_central"]) == {0, 2, 5, 7}
        assert bk.render(sample, blends)[0].shape == (60, 40, 62)

    def test_a_single_row_is_refused_in_words(self, make_sample):
        sample = make_sample(4)
        with pytest.raises(ValueError, match="one row of a table"):
            bk.render(sample, bk.draw_blends(sample, 3)[0])

    def test_masked_tables_are_rendered(self, make_sample):
        from astropy.table import Table

        sample = make_sample(4)
        blends = bk.draw_blends(sample, 5)
        assert (bk.render(sample, Table(blends, masked=True))[0] == bk.render(sample, blends)[0]).all()

    def test_a_generator_is_a_seed(self, make_sample, tmp_path):
        sample = make_sample(4)
        first, second = (bk.draw_blends(sample, 5, seed=np.random.default_rng(3)) for _ in range(2))
        assert (first["dx"] == second["dx"]).all()
        first.write(tmp_path / "blends.ecsv")
        assert len(bk.clean(sample, seed=np.random.default_rng(3), n_jobs=1)) == 4

    def test_one_stamp_without_sky_does_not_stop_the_others(self, make_sample):
        sample = make_sample(4)
        segmaps = sample.segmaps.copy()
        segmaps[0] = 1
        crowded = bk.Sample(sample.images, segmaps, sample.catalog)
        assert np.isfinite(crowded[:2].sky).all()
        segmaps[:] = 1
        with pytest.warns(UserWarning, match="no stamp has empty sky"):
            assert not bk.Sample(sample.images, segmaps, sample.catalog).sky.any()

    def test_regular_ids_do_not_share_one_sky(self, make_sample):
        from astropy.table import Table

        ids = 64 * np.arange(1, 101)
        table = Table({"central": ids, "companion": ids[::-1]})
        assert len(set(blending.sky_rows(table, 16)[1].tolist())) > 10

    def test_masked_cells_are_refused(self, make_sample):
        from astropy.table import Table

        sample = make_sample(4)
        blends = Table(bk.draw_blends(sample, 5), masked=True)
        blends["dx"].mask[2] = True
        with pytest.raises(ValueError, match="rows of dx are masked"):
            bk.render(sample, blends)

    def test_whole_magnitudes_are_numbers_too(self, make_sample):
        sample = make_sample(4)
        sample.catalog["mag"] = np.full(4, 21)
        assert np.allclose(bk.draw_blends(sample, 5, dmag=0.5)["mag_companion"], 21.5)
