"""Cleaning: what is replaced and by what, what is dropped, and what that does to fluxes of which the truth is known."""

import numpy as np
import pytest
from astropy.table import Table
from scipy.ndimage import distance_transform_edt, gaussian_filter

import blendkit as bk
from blendkit import cleaning
from blendkit.cleaning import read_decisions, remove_neighbours, table1
from blendkit.photometry import flux_auto
from blendkit.simulate import simulate
from blendkit.sky import empty_pixels, fill_with_sky, sky_bank

SKY = 0.006
NEIGHBOURS = [(0, 22, 30.0), (-24, -5, 12.0)]


@pytest.fixture(scope="module")
def crowded(make_sample):
    """Eight galaxies with two neighbours each."""
    return make_sample(8, (80, 80), neighbours=NEIGHBOURS, mags=np.linspace(20, 21.5, 8))


@pytest.fixture(scope="module")
def tidy(crowded):
    return bk.clean(crowded, n_jobs=1)


@pytest.fixture(scope="module")
def survey():
    """400 simulated galaxies with neighbours; the same, noise and flaws included, without; and the first cleaned."""
    sample = bk.load_sample("synthetic", n=400, seed=0)
    return sample, simulate(400, 0, neighbours=False, progress=False), bk.clean(sample)


def same_pixels(one, other):
    return (
        one.images.tobytes() == other.images.tobytes()
        and one.segmaps.tobytes() == other.segmaps.tobytes()
        and (one.catalog["id"] == other.catalog["id"]).all()
        and np.asarray(one.catalog["flux_auto"]).tobytes() == np.asarray(other.catalog["flux_auto"]).tobytes()
    )


class TestWhatIsReplaced:
    def test_all_are_kept(self, crowded, tidy):
        assert len(tidy) == len(crowded)
        assert list(tidy.report["n_neighbours"]) == [2] * 8

    def test_neighbours_are_gone(self, crowded, tidy):
        before, after = (s.images[:, 30:50, 53:73].mean((1, 2)) for s in (crowded, tidy))
        assert (before > 5 * SKY).all()
        assert np.abs(after).max() < 4 * SKY / 20
        assert (tidy.segmaps == np.where(crowded.own_masks(), crowded.segmaps, 0)).all()

    def test_own_pixels_are_untouched(self, crowded, tidy):
        own = crowded.own_masks()
        assert tidy.images[own].tobytes() == crowded.images[own].tobytes()

    def test_only_the_hole_changes(self, crowded, tidy):
        for image, segmap, cleaned, count in zip(
            crowded.images, crowded.segmaps, tidy.images, tidy.report["replaced"], strict=True
        ):
            own, others = segmap == 1, segmap > 1
            hole = (distance_transform_edt(~others) <= 5) & (
                distance_transform_edt(~others) < distance_transform_edt(~own)
            )
            assert others.sum() < hole.sum() == count
            assert (cleaned == image)[~hole].all()
            assert np.mean((cleaned != image)[hole]) > 0.999

    def test_pixels_come_from_the_stamps_own_empty_sky(self, crowded, tidy):
        for image, segmap, cleaned in zip(crowded.images, crowded.segmaps, tidy.images, strict=True):
            sky = image[distance_transform_edt(segmap == 0) > 8]
            assert np.isin(cleaned[cleaned != image], sky).all()

    @pytest.mark.parametrize("dilation", [0, 3, 9])
    def test_dilation(self, crowded, dilation):
        image, hole = remove_neighbours(crowded.images[0], crowded.segmaps[0], np.random.default_rng(0), dilation)
        others = crowded.segmaps[0] > 1
        reach = distance_transform_edt(~others)[hole]
        assert reach.max() <= dilation
        assert hole[others].all()
        if dilation:
            assert reach.max() > dilation - 1
        assert (image == crowded.images[0])[~hole].all()

    def test_light_nearer_to_the_galaxy_stays(self, make_sample):
        sample = make_sample(1, (60, 60), sigma=3.0, neighbours=[(0, 14, 60.0)])
        segmap = sample.segmaps[0]
        _, hole = remove_neighbours(sample.images[0], segmap, np.random.default_rng(0), dilation=5)
        own, others = distance_transform_edt(segmap != 1), distance_transform_edt(segmap != 2)
        assert not hole[own <= others].any()
        assert hole[(others < own) & (others <= 5)].all()

    def test_without_neighbours_nothing_changes(self, make_sample):
        sample = make_sample(3)
        cleaned = bk.clean(sample, n_jobs=1)
        assert cleaned.images.tobytes() == sample.images.tobytes()
        assert list(cleaned.report["replaced"]) == [0, 0, 0]

    def test_the_given_sample_is_untouched(self, crowded):
        before = crowded.images.copy(), crowded.segmaps.copy(), crowded.catalog.copy()
        bk.clean(crowded, n_jobs=1)
        assert (crowded.images == before[0]).all()
        assert (crowded.segmaps == before[1]).all()
        assert (crowded.catalog == before[2]).all()

    def test_twice_is_once(self, hst_clean, synthetic_clean, tidy):
        for clean in (hst_clean, synthetic_clean, tidy):
            again = bk.clean(clean)
            kept = clean[clean.index(again.catalog["id"])]
            assert same_pixels(again, kept)
            assert len(again) >= 0.98 * len(clean)

    def test_a_stamp_without_sky_is_dropped(self, make_sample):
        sample = make_sample(3)
        segmaps = sample.segmaps.copy()
        segmaps[1] = 1
        cleaned = bk.clean(bk.Sample(sample.images, segmaps, sample.catalog), n_jobs=1)
        assert list(cleaned.catalog["id"]) == [10, 12]
        assert cleaned.report["reason"][1] == "no empty sky on the stamp"

    def test_even_accepted_by_eye_it_has_no_flux(self, make_sample):
        sample = make_sample(3)
        segmaps = sample.segmaps.copy()
        segmaps[1] = 1
        sample = bk.Sample(sample.images, segmaps, sample.catalog)
        cleaned = bk.clean(sample, n_jobs=1, decisions={11: "accept"})
        assert "flux" in cleaned.report["reason"][1]


class TestNoise:
    @pytest.fixture(scope="class")
    @staticmethod
    def textured():
        """A stamp of correlated noise, a galaxy in its middle, and a large neighbour in a corner."""
        noise = gaussian_filter(np.random.default_rng(1).normal(size=(200, 200)), 1.0, mode="wrap")
        image = (noise * SKY / noise.std()).astype(np.float32)
        segmap = np.zeros(image.shape, np.uint8)
        segmap[95:106, 95:106] = 1
        segmap[10:70, 10:70] = 2
        neighbour = segmap == 2
        return np.where(neighbour, image + np.float32(1), image), segmap

    def correlation(self, image, where, axis):
        pairs = where & np.roll(where, -1, axis)
        values = image - image[where].mean()
        return (values * np.roll(values, -1, axis))[pairs].mean() / (values[where] ** 2).mean()

    def test_level_and_correlation(self, textured):
        image, segmap = textured
        filled, hole = remove_neighbours(image, segmap, np.random.default_rng(0))
        sky = empty_pixels(segmap)
        assert hole.sum() > 4000
        assert filled[hole].std() == pytest.approx(filled[sky].std(), rel=0.05)
        assert abs(filled[hole].mean()) < 0.05 * SKY * 3
        for axis in (0, 1):
            expected = self.correlation(image, sky, axis)
            assert expected > 0.7, "the noise of this stamp is correlated"
            assert self.correlation(filled, hole, axis) == pytest.approx(expected, abs=0.08)

    def test_the_correlation_is_no_accident(self, textured):
        """Pixels drawn one by one have the level, and no correlation."""
        image, segmap = textured
        filled, hole = remove_neighbours(image, segmap, np.random.default_rng(0))
        filled[hole] = np.random.default_rng(0).permutation(filled[hole])
        assert abs(self.correlation(filled, hole, 0)) < 0.1

    def test_white_noise_stays_white(self, hst, hst_clean):
        inside, outside = [], []
        for ident, cleaned in zip(hst_clean.catalog["id"], hst_clean.images, strict=True):
            row = hst.index(ident)[0]
            hole = cleaned != hst.images[row]
            inside.append(cleaned[hole])
            outside.append(cleaned[distance_transform_edt(hst.segmaps[row] == 0) > 10])
        inside, outside = np.concatenate(inside), np.concatenate(outside)
        assert len(inside) > 20_000
        assert inside.std() == pytest.approx(outside.std(), rel=0.05)
        assert inside.mean() == pytest.approx(outside.mean(), abs=0.1 * SKY)

    def test_fill_uses_the_last_resort(self):
        """Where hardly any sky is left the hole is still filled, with that sky."""
        image = np.random.default_rng(0).normal(size=(40, 40)).astype("f4")
        empty = np.zeros(image.shape, bool)
        empty[0, :3] = True
        filled = fill_with_sky(image, ~empty, empty, np.random.default_rng(0))
        assert np.isin(filled, image[0, :3]).all()
        assert len(np.unique(filled)) == 3

    def test_no_sky_at_all(self):
        with pytest.raises(ValueError, match=r"no empty pixel.*drop this galaxy or cut a larger stamp\.$"):
            fill_with_sky(np.ones((4, 4)), np.ones((4, 4), bool), np.zeros((4, 4), bool), np.random.default_rng(0))

    def test_empty_pixels_keep_their_distance(self):
        segmap = np.zeros((60, 60), np.uint8)
        segmap[30, 30] = 3
        y, x = np.indices(segmap.shape) - 30
        assert (empty_pixels(segmap) == (np.hypot(y, x) > 8)).all()
        segmap[4:-4, 4:-4] = 1
        assert empty_pixels(segmap).any(), "a crowded stamp has a narrower margin"
        assert not (empty_pixels(segmap) & (segmap > 0)).any()
        assert empty_pixels(np.zeros((5, 5), int)).all()
        assert not empty_pixels(np.ones((5, 5), int)).any()

    def test_bank_has_the_sigma_and_no_objects(self, hst):
        bank = sky_bank(hst.images, hst.segmaps)
        sky = np.concatenate(
            [i[distance_transform_edt(s == 0) > 8] for i, s in zip(hst.images, hst.segmaps, strict=True)]
        )
        assert bank.std() == pytest.approx(sky.std(), rel=0.05)
        assert np.abs(bank).max() < 8 * SKY
        assert (sky_bank(hst.images, hst.segmaps) == bank).all()


class TestSamePixels:
    def test_whatever_the_number_of_processes(self, hst, hst_clean):
        assert same_pixels(bk.clean(hst, n_jobs=1), hst_clean)

    def test_whatever_the_other_galaxies(self, hst, hst_clean):
        part = bk.clean(hst[::-3], n_jobs=1)
        assert same_pixels(part, hst_clean[hst_clean.index(part.catalog["id"])])
        kept = set(hst_clean.catalog["id"])
        assert list(part.catalog["id"]) == [i for i in hst[::-3].catalog["id"] if i in kept]

    def test_seed(self, crowded, tidy):
        other = bk.clean(crowded, seed=1, n_jobs=1)
        assert not same_pixels(other, tidy)
        assert same_pixels(bk.clean(crowded, seed=1, n_jobs=1), other)

    def test_galaxies_get_different_skies(self, crowded, tidy):
        """The same hole on the same stamp under another id is filled otherwise."""
        catalog = crowded.catalog.copy()
        catalog["id"] += 100
        other = bk.clean(bk.Sample(crowded.images, crowded.segmaps, catalog), n_jobs=1)
        assert (other.images != tidy.images).any()

    def test_truth_columns_are_not_read(self, synthetic, synthetic_clean):
        assert [c for c in synthetic.catalog.colnames if c.startswith("truth_")]
        for change in ("dropped", "scrambled"):
            catalog = synthetic.catalog.copy()
            for name in [c for c in catalog.colnames if c.startswith("truth_")]:
                if change == "dropped":
                    catalog.remove_column(name)
                else:
                    catalog[name] = np.random.default_rng(0).permutation(catalog[name])
            cleaned = bk.clean(bk.Sample(synthetic.images, synthetic.segmaps, catalog))
            assert same_pixels(cleaned, synthetic_clean)
            for name in ("kept", "reason", "flags", "replaced"):
                assert (cleaned.report[name] == synthetic_clean.report[name]).all()


class TestReport:
    def test_columns(self, crowded, tidy):
        assert tidy.report.colnames == [
            "id", "morphology", "mag", "kept", "reason", "flags", "n_neighbours", "replaced", "flux_auto"
        ]  # fmt: skip
        assert len(tidy.report) == len(crowded)
        for name in ("id", "morphology", "mag"):
            assert (tidy.report[name] == crowded.catalog[name]).all()
        assert (tidy.catalog["flux_auto"] == tidy.report["flux_auto"][tidy.report["kept"]]).all()

    def test_kept_and_reason_agree(self, hst_clean, synthetic_clean):
        for clean in (hst_clean, synthetic_clean):
            report = clean.report
            assert ((report["reason"] == "") == report["kept"]).all()
            assert (report["id"][report["kept"]] == clean.catalog["id"]).all()
            assert (~report["kept"]).any()

    def test_flux_auto_is_that_of_the_cleaned_stamp(self, hst_clean):
        assert (flux_auto(hst_clean.images, hst_clean.own_masks()) == hst_clean.catalog["flux_auto"]).all()

    def test_what_else_is_carried_over(self, make_sample):
        sample = make_sample(3)
        sample.zeropoint, sample.pixel_scale, sample.name = 25.0, 0.03, "mine"
        sample.catalog["mag"] -= 0.96
        cleaned = bk.clean(sample, n_jobs=1)
        assert (cleaned.zeropoint, cleaned.pixel_scale, cleaned.name) == (25.0, 0.03, "mine")
        assert set(sample.catalog.colnames) <= set(cleaned.catalog.colnames)

    def test_table1(self, hst, hst_clean):
        table = table1(hst_clean.report)
        assert table.colnames == ["type", "before", "after"]
        assert list(table["type"]) == ["sph", "disk", "sphd", "irr", "total"]
        for kind, before, after in table[:-1].iterrows():
            assert before == (hst.catalog["morphology"] == kind).sum()
            assert after == (hst_clean.catalog["morphology"] == kind).sum()
        assert tuple(table[-1]) == ("total", len(hst), len(hst_clean))

    def test_table1_of_few(self):
        report = Table({"morphology": ["irr", "sph", "irr"], "kept": [True, False, False]})
        assert table1(report)["before"].tolist() == [1, 0, 0, 2, 3]
        assert table1(report)["after"].tolist() == [0, 0, 0, 1, 1]


class TestCuts:
    def test_magnitudes(self, crowded):
        cleaned = bk.clean(crowded, mag=(20.3, 21.2), n_jobs=1)
        inside = (crowded.catalog["mag"] > 20.3) & (crowded.catalog["mag"] < 21.2)
        assert list(cleaned.catalog["id"]) == list(crowded.catalog["id"][inside])
        assert 0 < len(cleaned) < 8
        assert all("mag < 21.2" in r for r in cleaned.report["reason"][~inside])

    def test_types(self, crowded):
        cleaned = bk.clean(crowded, morphology=("sph", "irr"), n_jobs=1)
        assert set(cleaned.catalog["morphology"]) == {"sph", "irr"}
        assert len(cleaned) == 4
        assert table1(cleaned.report)["after"].tolist() == [2, 0, 0, 2, 4]

    def test_none_by_default(self, tidy):
        assert set(tidy.catalog["morphology"]) == {"sph", "disk", "sphd", "irr"}

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"mag": (23, 18)}, r"mag = \(23, 18\) was asked for, expected \(brightest, faintest\)"),
            ({"mag": (18,)}, r"mag = \(18,\)"),
            ({"morphology": ("disc",)}, r"morphology = \('disc',\) was asked for, expected some of sph, disk"),
            ({"mag": (1, 2)}, "dropped all 8 galaxies.*widen the cuts"),
        ],
    )
    def test_that_make_no_sense(self, crowded, arguments, message):
        with pytest.raises(ValueError, match=message) as caught:
            bk.clean(crowded, n_jobs=1, **arguments)
        assert str(caught.value).endswith(".")


class TestDecisions:
    @pytest.fixture(scope="class")
    @staticmethod
    def dropped(hst_clean):
        report = hst_clean.report
        return int(report["id"][~report["kept"]][0])

    def decide(self, as_file, tmp_path, decisions):
        if not as_file:
            return decisions
        lines = ["id,decision", *(f"{i},{d}" for i, d in decisions.items())]
        (tmp_path / "decisions.csv").write_text("\n".join(lines) + "\n")
        return tmp_path / "decisions.csv"

    @pytest.mark.parametrize("as_file", [True, False])
    def test_the_eye_overrules(self, hst, hst_clean, tmp_path, as_file, dropped):
        good = int(hst_clean.catalog["id"][3])
        decisions = self.decide(as_file, tmp_path, {dropped: "accept", good: "reject", 987654: "reject"})
        cleaned = bk.clean(hst, decisions=decisions)
        assert set(cleaned.catalog["id"]) == (set(hst_clean.catalog["id"]) | {dropped}) - {good}
        report = {int(r["id"]): r for r in cleaned.report}
        assert report[good]["reason"] == "rejected by eye"
        assert report[dropped]["reason"] == ""
        assert report[dropped]["flags"] == {int(r["id"]): r for r in hst_clean.report}[dropped]["flags"] != ""

    def test_cuts_stand_above_the_eye(self, crowded):
        cleaned = bk.clean(crowded, mag=(20.3, 22), decisions={10: "accept"}, n_jobs=1)
        assert 10 not in cleaned.catalog["id"]

    def test_accepting_what_is_good_changes_nothing(self, crowded, tidy):
        assert same_pixels(bk.clean(crowded, decisions={12: "accept"}, n_jobs=1), tidy)

    @pytest.mark.parametrize("as_file", [True, False])
    def test_another_word(self, crowded, tmp_path, as_file):
        decisions = self.decide(as_file, tmp_path, {11: "accept", 12: "maybe"})
        with pytest.raises(ValueError, match=r"galaxy 12 is 'maybe', expected 'accept' or 'reject': correct it\.$"):
            bk.clean(crowded, decisions=decisions, n_jobs=1)

    def test_other_columns(self, crowded, tmp_path):
        (tmp_path / "d.csv").write_text("galaxy,verdict\n1,accept\n")
        with pytest.raises(ValueError, match=r"columns galaxy, verdict, expected id and decision.*\.$"):
            bk.clean(crowded, decisions=tmp_path / "d.csv", n_jobs=1)

    def test_a_file_without_rows(self, tmp_path):
        (tmp_path / "d.csv").write_text("id,decision\n")
        assert read_decisions(tmp_path / "d.csv") == {}
        assert read_decisions(None) == {}

    @pytest.mark.parametrize("text", ["", "\n", "id,decision\nseven,accept\n", "id,decision\n,accept\n3,accept\n"])
    def test_a_file_that_is_none(self, tmp_path, text):
        (tmp_path / "d.csv").write_text(text)
        with pytest.raises(ValueError, match=r"d\.csv' .*expected.*\.$") as caught:
            read_decisions(tmp_path / "d.csv")
        assert "\n" not in str(caught.value)

    def test_no_file(self, crowded, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"nowhere\.csv.*\.$"):
            bk.clean(crowded, decisions=tmp_path / "nowhere.csv", n_jobs=1)


class TestInspection:
    def test_the_real_sample(self, hst, hst_clean):
        assert 80 <= len(hst_clean) < len(hst) == 96
        assert np.isfinite(hst_clean.catalog["flux_auto"]).all()
        assert (hst_clean.catalog["flux_auto"] > 0).all()

    def test_a_galaxy_that_is_touched(self, make_sample):
        sample = make_sample(1, (80, 80), sigma=3.0, neighbours=[(0, 12, 60.0)], mags=[21])
        cleaned = bk.clean(sample, decisions={10: "accept"}, n_jobs=1)
        assert "a neighbour touches the galaxy" in cleaned.report["flags"][0]

    @pytest.mark.parametrize("value", [0.0, 0.37])
    def test_the_mosaics_edge(self, make_sample, value):
        sample = make_sample(2, (80, 80))
        images = sample.images.copy()
        images[0, :, :9] = value
        cleaned = bk.clean(bk.Sample(images, sample.segmaps, sample.catalog), n_jobs=1)
        assert list(cleaned.catalog["id"]) == [11]
        assert cleaned.report["reason"][0] == "the stamp reaches over the mosaic's edge"

    def test_a_cosmic_ray(self, make_sample):
        sample = make_sample(2, (80, 80), sigma=4.0)
        images = sample.images.copy()
        images[0, 46, 34:48] += 0.6
        cleaned = bk.clean(bk.Sample(images, sample.segmaps, sample.catalog), n_jobs=1)
        assert list(cleaned.catalog["id"]) == [11]
        assert "artefact" in cleaned.report["reason"][0]

    def test_a_dead_spot(self, make_sample):
        sample = make_sample(2, (80, 80))
        images = sample.images.copy()
        images[0, 10:14, 10:14] = -0.1 + images[0, 10:14, 10:14]
        cleaned = bk.clean(bk.Sample(images, sample.segmaps, sample.catalog), n_jobs=1)
        assert "artefact" in cleaned.report["reason"][0]

    @pytest.mark.parametrize(("kind", "dropped"), [("disk", True), ("irr", False)])
    def test_two_in_one(self, make_sample, gaussian, kind, dropped):
        """A second galaxy within the same segment; an irregular one is allowed to look like that."""
        sample = make_sample(2, (80, 80), mags=[21, 21])
        images, catalog = sample.images.copy(), sample.catalog.copy()
        images[0] += gaussian((80, 80), 40, 49, 60, 2.0).astype("f4")
        segmaps = sample.segmaps.copy()
        segmaps[0, 30:51, 30:60] = 1
        catalog["morphology"] = kind
        cleaned = bk.clean(bk.Sample(images, segmaps, catalog), n_jobs=1)
        assert ("lopsided" in cleaned.report["reason"][0]) == dropped
        assert cleaned.report["kept"][1]

    def test_a_galaxy_cut_by_the_border_is_no_trail(self):
        segmap = np.zeros((64, 64), int)
        segmap[30:35, 30:35] = 1
        segmap[10:50, :2] = 2
        assert bk.cleaning.longest_trail(segmap) == 1
        segmap[10:12, :60] = 3
        assert bk.cleaning.longest_trail(segmap) > bk.cleaning.TRAIL

    def test_the_smallest_stamps_are_looked_at_too(self):
        segmap = np.zeros((5, 5), int)
        segmap[2, 2] = 1
        assert bk.cleaning.longest_trail(segmap) == 1

    def test_a_wrong_zeropoint_is_told_and_drops_nothing(self, make_sample):
        sample = make_sample(5)
        sample.zeropoint += 2
        with pytest.warns(UserWarning, match="zeropoint"):
            assert len(bk.clean(sample, n_jobs=1)) == 5

    def test_another_sky_level_is_no_artefact(self, make_sample):
        sample = make_sample(5)
        dark = bk.Sample(sample.images - np.float32(0.012), sample.segmaps, sample.catalog)
        assert not any("artefact" in reason for reason in bk.clean(dark, n_jobs=1).report["flags"])

    def test_rounded_pixels_are_no_edge(self, hst):
        images = (np.round(hst.images / 0.002) * 0.002).astype(np.float32)
        assert len(bk.clean(bk.Sample(images, hst.segmaps, hst.catalog))) >= 80

    def test_a_bite_is_seen(self, make_sample):
        sample = make_sample(2)
        segmap = sample.segmaps[0].copy()
        own = segmap == segmap[sample.centre]
        hole = np.zeros_like(own)
        assert bk.cleaning.bite(sample.images[0], own, hole) == 0
        hole[:, : own.shape[1] // 2 - 1] = True
        assert 0.1 < bk.cleaning.bite(sample.images[0], own, hole & ~own | hole) < 0.5

    def test_the_label_at_the_centre_is_the_galaxys(self, make_sample):
        sample = make_sample(2)
        sample.catalog["segval"][0] = 7
        assert len(bk.clean(sample, n_jobs=1)) == 2

    def test_another_flux_than_the_catalogues(self, make_sample):
        sample = make_sample(3)
        sample.catalog["mag"][0] += 1.0
        sample.catalog["mag"][1] -= 1.0
        cleaned = bk.clean(sample, n_jobs=1)
        assert list(cleaned.report["reason"]) == ["its flux is far from the catalogue's"] * 2 + [""]


class TestTruth:
    """What cleaning does to simulated galaxies."""

    def test_planted_bad_stamps_are_caught(self, survey):
        """Measured with seeds 0 to 2 (50 bad ones): all edges, 70 % of artefacts, 59 % of close blends."""
        sample, _, clean = survey
        bad, kept = np.asarray(sample.catalog["truth_bad"]), np.asarray(clean.report["kept"])
        share = {kind: np.mean(~kept[bad == kind]) for kind in ("edge", "artefact", "close_blend")}
        assert share["edge"] == 1
        assert share["artefact"] >= 0.5
        assert share["close_blend"] >= 0.4

    def test_few_good_ones_are_dropped(self, survey):
        """About 8 %: most have a neighbour in touch, which nobody planted, others are lopsided."""
        sample, _, clean = survey
        assert np.mean(~clean.report["kept"][sample.catalog["truth_bad"] == ""]) < 0.13

    def test_fluxes(self, survey):
        """FLUX_AUTO of cleaned galaxies against the same galaxies simulated without neighbours.

        Both hold the same galaxy with the same sky noise, and the same segments define the aperture. The noise cancels
        but for the replaced pixels within the aperture, where one draw of the noise stands against another; so what
        is left is what cleaning does: light of neighbours that stays, and light of the galaxy that is replaced.
        """
        sample, alone, clean = survey
        good = np.asarray(clean.report["kept"]) & (np.asarray(sample.catalog["truth_bad"]) == "")
        own = sample.own_masks()[good]
        change = clean.report["flux_auto"][good] / flux_auto(alone.images[good], own) - 1
        crowded = np.asarray(sample.catalog["truth_n_neighbours"])[good] > 0
        assert 0.5 < crowded.mean() < 0.85
        assert (change[~crowded] == 0).all()
        for part in (change, change[crowded]):
            assert abs(part.mean()) < 0.005
            assert part.std() < 0.01
        assert np.abs(change).max() < 0.25

    def test_without_cleaning_fluxes_would_be_wrong(self, survey):
        """The test above sees neighbours: with them left in, the bias is many times larger."""
        sample, alone, clean = survey
        good = np.asarray(clean.report["kept"]) & (np.asarray(sample.catalog["truth_bad"]) == "")
        own = sample.own_masks()[good]
        change = flux_auto(sample.images[good], own) / flux_auto(alone.images[good], own) - 1
        assert change.std() > 0.02

    def test_truth_check_says_the_same(self, survey):
        sample, _, clean = survey
        got = cleaning.truth_check(400, 0)
        bad, kept = np.asarray(sample.catalog["truth_bad"]), np.asarray(clean.report["kept"])
        assert got["n"] == (kept & (bad == "")).sum()
        assert abs(got["bias"]) < 0.5
        assert 0 < got["scatter"] < 1
        for kind in ("edge", "artefact", "close_blend"):
            assert got[f"caught_{kind}"] == pytest.approx(100 * np.mean(~kept[bad == kind]))
