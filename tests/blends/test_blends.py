"""Blends: the drawing of recipes, the pixels and the noise rendered from them, and where both come to rest."""

import itertools
import os
import tracemalloc
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from astropy.table import Table
from conftest import module, refused
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import blendkit as bk
from blendkit.blends import recipe
from blendkit.blends.layer import BlendLayer
from blendkit.data.cleaning import remove_neighbours
from blendkit.data.simulate import simulate
from blendkit.data.sky import CORRELATION, LEVEL, NOISE, empty_pixels, sky_bank, sky_noise

AT_ONE_AND_TWO = {"correlated": (0.52, 0.07), "white": (0, 0)}  # CANDELS, the data README's table
TWO = [[10, 11], [11, 12]]
STRAIGHT = (0, 2, 5, 7)  # no quarter turns: what a stamp that is no square allows


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


def reference(sample, row, stack):
    """The galaxies of one row as they lie on the frame, (ny, nx, k), zero where nothing does."""
    places = zip(sample.index(row["id"]), row["orient"], row["dy"], row["dx"], strict=True)
    return np.stack([moved(stack[i], *place) for i, *place in places], axis=-1)


sample = module(lambda make_sample: make_sample(12))
blends = module(lambda sample: bk.draw_blends(sample, 40, seed=5, dmag=0.3))
crowd = module(lambda sample: bk.draw_blends(sample, 200, seed=3, members=(0, 5)))  # empty sky, lone ones, groups
RULES = {"max_dmag": 1.5, "separation": (0.7, 3.0)}
many = module(lambda synthetic_clean: bk.draw_blends(synthetic_clean, 4000, seed=1, **RULES))


class TestRender:
    @settings(max_examples=100)
    @given(data=st.data(), seed=st.integers(0, 1000), k=st.integers(1, 3))
    def test_every_shift_and_turn_of_any_number(self, noise_sample, data, seed, k):
        """About the centre pixel, odd sides or even, and nothing wraps round; masks may overlap."""
        ny = data.draw(st.integers(7, 14), "ny")
        nx = ny if data.draw(st.booleans(), "square") else data.draw(st.integers(7, 14), "nx")
        turns = st.sampled_from(range(8) if ny == nx else STRAIGHT)
        values = {"dx": st.integers(1 - nx, nx - 1), "dy": st.integers(1 - ny, ny - 1), "orient": turns}
        dx, dy, orient = ([data.draw(value, name) for _ in range(k)] for name, value in values.items())
        sample = noise_sample((ny, nx), seed)
        blend = bk.make_blends(sample, [10, 12, 11][:k], dx, dy, orient=orient)
        images, masks, fluxes = bk.render(sample, blend, fill="zero")
        expected, light = reference(sample, blend[0], sample.images), np.where(sample.segmaps == 1, sample.images, 0)
        assert images[0] == pytest.approx(expected.sum(-1), rel=0, abs=1e-5 if k == 3 else 0)  # rounded twice
        assert (masks[0] == reference(sample, blend[0], sample.segmaps == 1)).all()
        inside, whole = reference(sample, blend[0], light.clip(min=0)), light.clip(min=0).sum((1, 2))[[0, 2, 1][:k]]
        assert blend["inside"][0] == pytest.approx(inside.sum((0, 1)) / whole, abs=1e-6)
        assert fluxes[0].tolist() == np.float32(sample.catalog["flux_auto"][[0, 2, 1][:k]]).tolist()
        assert (images.dtype, masks.dtype, fluxes.dtype) == (np.float32, bool, np.float32)
        assert (images.shape, masks.shape, fluxes.shape) == ((1, ny, nx), (1, ny, nx, k), (1, k))

    @settings(max_examples=40)
    @given(
        dy=st.integers(-12, 12), dx=st.integers(-12, 12),
        turns=st.tuples(st.integers(0, 7), st.integers(0, 7)), size=st.sampled_from((13, 14)),
    )  # fmt: skip
    def test_sky_fills_what_is_empty_and_fades_in(self, noise_sample, dy, dx, turns, size):
        """Over the stamp's outermost five pixels along a seam, in steps of 15 degrees; at corners the nearer seam."""
        sample = noise_sample((size, size))
        blend = bk.make_blends(sample, [11, 10], dx, dy, orient=turns)
        on = reference(sample, blend[0], np.ones_like(sample.images)) == 1
        zero, sky = (bk.render_parts(sample, blend, fill=fill)[0] for fill in ("zero", "sky"))
        stamps = np.moveaxis(sample.sky[recipe.sky_rows(blend["id"], len(sample.sky))[0]], 0, -1)
        depth = np.stack([ndimage.distance_transform_cdt(one, "chessboard") for one in np.moveaxis(on, -1, 0)], -1)
        angle = np.radians(15) * np.where(on.all((0, 1)), 6, depth.clip(max=6))
        assert (zero[~on] == 0).all()
        assert sky == pytest.approx(zero * np.sin(angle) + stamps * np.cos(angle), abs=1e-6)
        assert (sky == np.where(on, zero, stamps))[depth % 6 == 0].all()
        assert (bk.render(sample, blend)[0][0] == sky.sum(-1)).all()

    @pytest.mark.parametrize("fill", ["sky", "zero"])
    def test_same_row_same_pixels(self, sample, crowd, fill, tmp_path):
        """Without masks, in any slice or none, after a detour over a file, of a sample without the other galaxies."""
        images, masks, _ = bk.render(sample, crowd, fill=fill)
        alone, none, _ = bk.render(sample, crowd, fill=fill, masks=False)
        assert ((alone == images).all(), none) == (True, None)
        assert [array.shape for array in bk.render(sample, crowd[:0])] == [(0, 64, 64), (0, 64, 64, 5), (0, 5)]
        crowd.write(tmp_path / "blends.ecsv")
        rows = np.random.default_rng(0).permutation(len(crowd))[:40]
        again = bk.render(sample, Table.read(tmp_path / "blends.ecsv")[rows], fill=fill)
        assert (again[0] == images[rows]).all()
        assert (again[1] == masks[rows]).all()
        row = np.flatnonzero((crowd["id"] != -1).sum(axis=1) == 3)[:1]
        smaller = sample[np.isin(sample.catalog["id"], crowd["id"][row])]
        assert (bk.render(smaller, crowd[row], fill=fill)[0] == images[row]).all()


class TestMembers:
    def test_every_number_is_drawn_alike_and_nobody_twice(self, sample):
        blends = bk.draw_blends(sample, 3000, members=(0, 3))
        assert np.bincount((blends["id"] != -1).sum(1), minlength=4) / 3000 == pytest.approx(0.25, abs=0.03)
        for ids in np.asarray(blends["id"]):
            assert len(set(ids[ids != -1])) == (ids != -1).sum()

    def test_an_empty_place_and_a_stamp_of_sky_where_nobody_is(self, sample, crowd):
        empty = crowd["id"] == -1
        images, masks, fluxes = bk.render(sample, crowd)
        for values in (fluxes, *(crowd[name] for name in ("flux", "mag", "r_eff", "inside"))):
            assert (np.isnan(values) == empty).all()
        for pixels in (masks, bk.render_parts(sample, crowd)):
            assert not np.moveaxis(pixels, -1, 1)[empty].any()
        assert (np.isnan(crowd["distance"]) == ((crowd["id"] != -1).sum(1) < 2)).all()
        nobody = images[empty.all(1)]
        assert len(nobody)
        assert all((image == sample.sky).all((1, 2)).any() for image in nobody)


class TestMakeBlends:
    @pytest.mark.parametrize(("ids", "dx", "expected"), [
        ([10, 11], 5, [[0, 5]]), ([10, 11], [1, 5], [[1, 5]]), ([10, 11, -1], 5, [[0, 5, 0]]), ([10], 0, [[0]]),
        (TWO, 5, [[0, 5], [0, 5]]), (TWO, [5, 6], [[0, 5], [0, 6]]), (TWO, [[1, 5], [2, 6]], [[1, 5], [2, 6]]),
    ])  # fmt: skip
    def test_what_a_shift_belongs_to(self, sample, ids, dx, expected):
        assert bk.make_blends(sample, ids, dx, 0)["dx"].tolist() == expected

    @pytest.mark.parametrize(("name", "value"), [
        ("ids", [10, 99]), ("dx", 64), ("dx", 1.5), ("dx", np.nan), ("dx", [1, 2, 3]), ("orient", 8),
        ("dmag", np.inf),
    ])  # fmt: skip
    def test_what_makes_no_sense(self, sample, name, value):
        refused(lambda: bk.make_blends(sample, **({"ids": [10, 11], "dx": 0, "dy": 0} | {name: value})))

    def test_columns_include_dmag_and_tell_of_the_nearest_companion(self, make_sample):
        sample, dmag = make_sample(3), np.array([0, 1.5, 0.5])
        blend = bk.make_blends(sample, [10, 11, 12], [2, 20, -1], [0, 0, 4], dmag)[0]
        mag, flux = sample.catalog["mag"], sample.catalog["flux_auto"]
        assert blend["mag"] == pytest.approx(mag + dmag)
        assert blend["flux"] == pytest.approx(flux * 10 ** (-0.4 * dmag))
        assert (blend["delta_mag"], blend["distance"]) == (pytest.approx(mag[0] - mag[2] - 0.5), 5)

    def test_before_cleaning_fluxes_come_from_magnitudes(self, hst):
        with pytest.warns(UserWarning, match="run bk.clean first"):
            blends = bk.draw_blends(hst, 5)
        assert blends["flux"] == pytest.approx(10 ** (-0.4 * (np.asarray(blends["mag"]) - 25.96)))


class TestDmag:
    def test_the_companion_is_scaled_with_its_noise(self, make_sample):
        sample, dmag = make_sample(2), np.array([0.0, 1.0, -0.75, 2.5])
        blends = bk.make_blends(sample, [[10, 11]] * 4, 9, 3, dmag, [[2, 5]] * 4)
        images, _, fluxes = bk.render(sample, blends, fill="zero")
        parts = bk.render_parts(sample, blends, fill="zero")
        scale = np.stack([np.ones(4), 10 ** (-0.4 * dmag)], axis=1)
        assert (parts == reference(sample, blends[0], sample.images) * scale.astype("f4")[:, None, None]).all()
        assert (images == parts.sum(-1)).all()
        assert fluxes == pytest.approx(scale * sample.catalog["flux_auto"])
        whole = bk.render_parts(sample, blends)  # a step between stamp and fill would give the stamp's edge away
        assert whole == pytest.approx(scale.astype("f4")[:, None, None] * whole[0])

    def test_each_galaxy_has_its_own_sky(self, sample, blends):
        rows = recipe.sky_rows(blends["id"], len(sample.sky))
        assert (rows[:, 0] != rows[:, 1]).all()
        assert len(np.unique(rows[:, 1])) > 10
        assert len(np.unique(recipe.sky_rows([[64 * i, 64 * (101 - i)] for i in range(1, 101)], 16)[:, 1])) > 10


class TestTheRightSample:
    """Blends know their galaxies: other pixels, another zeropoint or another sky are refused, not rendered."""

    @pytest.mark.parametrize("what", ["pixels", "labels", "flux", "zeropoint", "sky", "absent"])
    def test_another_one_is_refused(self, make_sample, what):
        sample, other = make_sample(4), make_sample(4)
        blends = bk.make_blends(sample, [10, 11], 3, 1)
        other.images[1, 3, 3] += what == "pixels"
        other.segmaps[1, 3, 3] += 9 * (what == "labels")
        other.catalog["flux_auto"][1] *= 1.01 if what == "flux" else 1
        zeropoint = 24.0 if what == "zeropoint" else sample.zeropoint
        other = replace(other, sky_stamps=sample.sky + (what == "sky"), zeropoint=zeropoint)
        other = other[[0, 2, 3]] if what == "absent" else other
        for renderer in (partial(bk.render, other), BlendLayer(other).recipe):
            refused(partial(renderer, blends), "sample")
        if what == "sky":
            bk.render(other, blends, fill="zero")

    def test_tables_that_cannot_be_rendered(self, sample, blends):
        masked = Table(blends[:5], masked=True)
        assert (bk.render(sample, masked)[0] == bk.render(sample, blends[:5])[0]).all()
        masked["dx"].mask[2] = True
        half = blends[:5].copy()
        half["dx"] = half["dx"] + 0.5
        for table in (masked, half, blends[0], blends["id", "dx"]):
            refused(partial(bk.render, sample, table))
        refused(lambda: bk.render(sample, blends, fill="mean"), "fill")


class TestDraw:
    def test_rules_and_separation(self, many):
        assert np.abs(many["delta_mag"]).max() < 1.5
        assert np.abs([many["dx"], many["dy"]]).max() <= 63
        assert not np.any([many["dx"][:, 0], many["dy"][:, 0], many["dmag"][:, 1]])
        assert np.allclose(many["distance"], np.hypot(many["dx"][:, 1], many["dy"][:, 1]))
        larger = many["r_eff"].max(axis=1)
        assert (many["distance"] >= 0.7 * larger - np.sqrt(0.5)).all()
        assert (many["distance"] <= 3.0 * larger + np.sqrt(0.5)).all()
        ratio = (many["distance"] / larger)[larger < 20]  # the frame cuts off none of their shifts
        assert np.histogram(ratio, np.linspace(0.7, 3.0, 6))[0] / len(ratio) == pytest.approx(0.2, abs=0.035)
        angle = np.arctan2(many["dy"], many["dx"])[larger > 5, 1]
        assert np.histogram(angle, np.linspace(-np.pi, np.pi, 5))[0] / len(angle) == pytest.approx(0.25, abs=0.035)

    def test_orientations(self, many, synthetic_clean, make_sample):
        for turns in np.asarray(many["orient"]).T:
            assert np.bincount(turns, minlength=8) / len(many) == pytest.approx(1 / 8, abs=0.025)
        assert abs(np.corrcoef(np.asarray(many["orient"]).T)[0, 1]) < 0.05
        assert not bk.draw_blends(synthetic_clean, 50, turns=False)["orient"].any()
        oblong = make_sample(6, shape=(40, 62))
        blends = bk.draw_blends(oblong, 60, seed=1)
        assert set(blends["orient"].ravel()) == {0, 2, 5, 7}
        assert bk.render(oblong, blends)[0].shape == (60, 40, 62)

    def test_every_allowed_pair_is_drawn_alike(self, make_sample):
        sample = make_sample(5, mags=[20.0, 20.5, 21.0, 21.2, 23.0])
        with pytest.warns(UserWarning, match="1 of 5"):
            blends = bk.draw_blends(sample, 6000, max_dmag=1.05)
        pairs, counts = np.unique(blends["id"], axis=0, return_counts=True)
        mags = dict(zip(sample.catalog["id"], sample.catalog["mag"], strict=True))
        allowed = {(i, j) for i, j in itertools.permutations(mags, 2) if abs(mags[i] - mags[j]) < 1.05}
        assert set(map(tuple, pairs.tolist())) == allowed
        for central in (10, 11, 12, 13):
            these = counts[pairs[:, 0] == central]
            assert these.sum() / 6000 == pytest.approx(0.25, abs=0.025)
            assert these / these.sum() == pytest.approx(1 / len(these), abs=0.05)

    @pytest.mark.filterwarnings("ignore::UserWarning")
    @pytest.mark.parametrize("dmag", [1.0, -2.0, 3.5])
    def test_dmag_counts_in_the_rules(self, make_sample, dmag):
        blends = bk.draw_blends(make_sample(12), 300, dmag=dmag, max_dmag=2.0)
        assert (blends["dmag"][:, 1] == dmag).all()
        assert np.abs(blends["delta_mag"]).max() < 2

    def test_seed(self, synthetic_clean):
        draws = ({"seed": 7}, {"seed": 7, "members": (2, 2)}, {"seed": np.random.default_rng(7)}, {"seed": 8})
        one, *others, other = (bk.draw_blends(synthetic_clean, 100, **how) for how in draws)
        assert all((one[name] == again[name]).all() for name in recipe.RECIPE for again in others)
        assert one.meta == others[0].meta
        assert (one["dx"] != other["dx"]).any()

    @pytest.mark.parametrize("arguments", [
        {"n": 0}, {"max_dmag": 0}, {"max_dmag": np.nan}, {"separation": (3, 1)}, {"separation": (100, 101)},
        {"members": -1}, {"members": (3, 1)}, {"members": 13},
    ], ids=str)  # fmt: skip
    def test_what_makes_no_sense(self, sample, arguments):
        refused(lambda: bk.draw_blends(sample, **({"n": 5} | arguments)))

    def test_no_pair_at_all(self, make_sample):
        for sample in (make_sample(3, mags=[18, 21, 24]), make_sample(2, mags=[20.0, 22.0]), make_sample(3)[[0]]):
            refused(partial(bk.draw_blends, sample, 5, max_dmag=2.0), "raise max_dmag")

    def test_far_companions_stay_on_the_frame(self, make_sample):
        blends = bk.draw_blends(make_sample(4, (40, 50), sigma=8.0), 500, separation=(1.0, 6.0), turns=False)
        assert (np.abs(blends["dy"]).max(), np.abs(blends["dx"]).max()) == (19, 24)


class TestSplit:
    @pytest.mark.parametrize("shares", [(0.6, 0.2, 0.2), (0.5, 0.5), (1.0,)])
    @pytest.mark.parametrize("n", [10, 37])
    def test_disjoint_and_complete(self, make_sample, n, shares):
        sample = make_sample(n, (20, 20), sigma=0.7)
        sides = bk.split(sample, shares, seed=n)
        ids = [set(side.catalog["id"]) for side in sides]
        assert (sum(map(len, ids)), set().union(*ids)) == (n, set(sample.catalog["id"]))
        assert all(abs(len(side) - share * n) <= 1 for side, share in zip(sides, shares, strict=True))
        assert all(side.sky is sample.sky for side in sides)

    def test_seed(self, synthetic_clean):
        ids = [[list(side.catalog["id"]) for side in bk.split(synthetic_clean, seed=s)] for s in (3, 3, 4)]
        assert ids[0] == ids[1] != ids[2]
        rows = synthetic_clean.index(ids[0][2])
        assert rows.min() < 30 < len(synthetic_clean) - 30 < rows.max(), "a draw, not a cut"

    @pytest.mark.parametrize("shares", [(0.6, 0.2), (0.6, 0.6, -0.2), (1.0, 0.0), (), (np.nan, 1.0), (60, 20, 20)])
    def test_shares_that_are_none(self, sample, shares):
        refused(lambda: bk.split(sample, shares), "shares")
        refused(lambda: bk.split(sample[:2]), "larger sample")


class TestExport:
    def test_pixels_are_renders_and_the_catalogue_is_the_originals(self, sample, tmp_path):
        blends = bk.draw_blends(sample, 300, seed=5, dmag=0.3)
        folder = bk.export(sample, blends, tmp_path / "a" / "b", prefix="train", fill="zero")
        names = [f"train_{name}" for name in ("blends.npy", "gg_masks.npy", "flux.npy")]
        assert sorted(os.listdir(folder)) == sorted([*names, "train_catalogue.csv"])
        written = [np.load(folder / name) for name in names]
        assert [array.dtype for array in written] == ["f4", "u1", "f4"]
        for array, expected in zip(written, bk.render(sample, blends, fill="zero"), strict=True):
            np.testing.assert_array_equal(array, expected)
        table = Table.read(folder / "train_catalogue.csv", format="ascii.csv")
        galaxy = [f"{g}_{c}" for g in ("g1", "g2") for c in ("id", "mag", "rad", "z", "type")]
        assert table.colnames == ["id", "distance", "shift_x", "shift_y", *galaxy]
        assert (table["shift_x"] == blends["dy"][:, 1]).all(), "the original shifts along rows first"
        assert (table["shift_y"] == blends["dx"][:, 1]).all()
        for j, g in enumerate(("g1", "g2")):
            for theirs, ours in (("id", "id"), ("type", "morphology")):
                assert (table[f"{g}_{theirs}"] == blends[ours][:, j]).all()
            for theirs, ours in (("mag", "mag"), ("rad", "r_eff")):
                np.testing.assert_allclose(table[f"{g}_{theirs}"], blends[ours][:, j], atol=1e-6)

    def test_memory_is_constant(self, make_sample, tmp_path):
        sample, peaks = make_sample(4), []
        for n in (500, 1500):
            blends = bk.draw_blends(sample, n)
            tracemalloc.start()
            bk.export(sample, blends, tmp_path)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert peaks[1] < peaks[0] + 2e6, "1,500 blends take no more than 500; all pixels would be 37 MB"


def simulated(noise, *_):
    sky, dark = (simulate(24, 1, neighbours=False, noise=how).images for how in (noise, "none"))
    sky = (sky - dark)[(dark != 0).all((1, 2))]
    assert sky.mean((1, 2)).std() == pytest.approx(LEVEL * NOISE, rel=0.5)
    return sky - sky.mean((1, 2), keepdims=True), np.ones(sky.shape, bool)


def bank(_, images, segmaps, *__):
    order = np.argsort(np.count_nonzero(segmaps, axis=(1, 2)), kind="stable")
    holes = ~np.stack([empty_pixels(segmap) for segmap in segmaps[order]])
    return sky_bank(images, segmaps, len(images)), holes[:, ::-1, ::-1]


def neighbours(_, images, segmaps, *__):
    both = zip(images, segmaps, strict=True)
    return map(np.stack, zip(*(remove_neighbours(*one, np.random.default_rng(0)) for one in both), strict=True))


def shifted(_, images, segmaps, rng, like):
    sample = bk.Sample(images, np.ones_like(segmaps), like.catalog, sky_stamps=images[::-1])
    dx, dy, orient = rng.integers((-31, -31, 0), (32, 32, 8), (len(images), 3)).T
    pixels, masks, _ = bk.render(sample, bk.make_blends(sample, like.catalog["id"][:, None], dx, dy, orient=orient))
    return pixels, ~masks[..., 0]


@pytest.mark.parametrize("noise", AT_ONE_AND_TWO)
@pytest.mark.parametrize("place", [simulated, bank, neighbours, shifted])
def test_autocorrelation(make_sample, place, noise):
    """At one pixel and at two, along both axes, among the new pixels and from them to the others."""
    n, rng, middle = 300, np.random.default_rng(0), np.indices((64, 64))[:, None] - 32
    images = sky_noise(rng, (n, 64, 64), correlation=CORRELATION * (noise == "correlated")).astype("f4")
    distance = [np.hypot(*(middle - rng.uniform(-32, 32, (2, n, 1, 1)) * far)) for far in (0, 1, 1)]
    segmaps = np.select([d < rng.uniform(3, 8, (n, 1, 1)) for d in distance], [1, 2, 3]).astype("u1")
    pixels, new = place(noise, images, segmaps, rng, make_sample(n, (64, 64)))
    assert pixels.std() == pytest.approx(NOISE, rel=0.03)
    for (k, expected), axis in itertools.product(enumerate(AT_ONE_AND_TWO[noise], start=1), (1, 2)):
        (a, b), (from_new, to_new) = ([np.swapaxes(x, 1, axis)[:, at] for at in np.s_[k:, :-k]] for x in (pixels, new))
        for pairs in filter(np.any, (from_new & to_new, from_new ^ to_new)):
            assert np.mean((a * b)[pairs]) / pixels.var() == pytest.approx(expected, abs=0.03)
