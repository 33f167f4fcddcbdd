"""Cleaning: what is replaced and by what, what is dropped, and what that does to fluxes of which the truth is known."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import SKY, changed, gaussian_light, module, refused
from scipy.ndimage import distance_transform_edt

import blendkit as bk
from blendkit.data.cleaning import read_decisions, table1
from blendkit.data.photometry import flux_auto
from blendkit.data.simulate import simulate
from blendkit.data.sky import empty_pixels, sky_bank

TWO_EACH = {"neighbours": [(0, 22, 30.0), (-24, -5, 12.0)], "mags": np.linspace(20, 21.5, 8)}
crowded = module(lambda make_sample: make_sample(8, (80, 80), **TWO_EACH))


class TestWhatIsReplaced:
    @pytest.mark.parametrize("dilation", [0, 5, 9])
    def test_neighbours_are_gone_and_nothing_else_changes(self, crowded, dilation):
        tidy = bk.clean(crowded, dilation=dilation, n_jobs=1)
        assert (len(tidy), list(tidy.report["n_neighbours"])) == (len(crowded), [2] * 8)
        assert (tidy.segmaps == (crowded.segmaps == 1)).all()
        stamps = zip(crowded.images, crowded.segmaps, tidy.images, tidy.report["replaced"], strict=True)
        for image, segmap, cleaned, count in stamps:
            to_own, to_others = (distance_transform_edt(~where) for where in (segmap == 1, segmap > 1))
            hole = (to_others <= dilation) & (to_others < to_own)
            assert hole.sum() == count
            level = np.median(image[empty_pixels(segmap, 16)])
            assert cleaned[~hole] == pytest.approx(image[~hole] - level, abs=0.05 * SKY)
            assert np.mean((np.abs(cleaned - image + level) > 0.01 * SKY)[hole]) > 0.98

    def test_twice_is_once(self, hst_clean, synthetic_clean):
        for clean in (hst_clean, synthetic_clean):
            again = bk.clean(clean)
            assert again.fingerprints == clean[clean.index(again.catalog["id"])].fingerprints
            assert len(again) >= 0.98 * len(clean)

    def test_a_stamp_without_sky_is_dropped(self, make_sample):
        sample = changed(make_sample(3), segmaps=(1, 1))
        assert bk.clean(sample, n_jobs=1).report["reason"].tolist() == ["", "no empty sky on the stamp", ""]
        assert "flux" in bk.clean(sample, n_jobs=1, decisions={11: "accept"}).report["reason"][1]


def test_the_survey_keeps_its_noise(hst, hst_clean):
    before = hst[hst.index(hst_clean.catalog["id"])]
    far = np.stack([distance_transform_edt(segmap == 0) > 10 for segmap in before.segmaps])
    inside, outside = (hst_clean.images[at] for at in ((before.segmaps > 0) & ~before.own_masks(), far))
    assert len(inside) > 20_000
    assert inside.std() == pytest.approx(outside.std(), rel=0.05)
    assert inside.mean() == pytest.approx(outside.mean(), abs=0.1 * SKY)
    bank = sky_bank(hst.images, hst.segmaps)
    assert bank.std() == pytest.approx(outside.std(), rel=0.05)
    assert np.abs(bank).max() < 8 * SKY, "no objects"


class TestSamePixels:
    def test_whatever_the_processes_and_the_other_galaxies(self, hst, hst_clean):
        part = bk.clean(hst[::-3], n_jobs=1)
        assert part.fingerprints == hst_clean[hst_clean.index(part.catalog["id"])].fingerprints
        assert list(part.catalog["id"]) == [i for i in hst[::-3].catalog["id"] if i in hst_clean.catalog["id"]]

    def test_the_truth_is_not_read(self, synthetic, synthetic_clean):
        names = [name for name in synthetic.catalog.colnames if name.startswith("truth_")]
        cleaned = bk.clean(changed(synthetic, **{name: synthetic.catalog[name][::-1] for name in names}))
        assert cleaned.fingerprints == synthetic_clean.fingerprints
        assert all((cleaned.report[c] == synthetic_clean.report[c]).all() for c in ("kept", "reason", "flags"))


def test_what_it_says(hst, hst_clean, synthetic_clean):
    for clean in (hst_clean, synthetic_clean):
        report = clean.report
        assert ((report["reason"] == "") == report["kept"]).all()
        kept = report[report["kept"]]
        assert all((kept[name] == clean.catalog[name]).all() for name in ("id", "morphology", "mag", "flux_auto"))
        assert (flux_auto(clean.images, clean.own_masks()) == clean.catalog["flux_auto"]).all()
    assert list(hst_clean.report["id"]) == list(hst.catalog["id"])
    assert 80 <= len(hst_clean) < len(hst) == 96


class TestCutsAndDecisions:
    def test_cuts(self, crowded):
        mag = crowded.catalog["mag"]
        cleaned = bk.clean(crowded, mag=(20.3, 21.2), decisions={10: "accept"}, n_jobs=1)
        inside = (mag > 20.3) & (mag < 21.2)
        assert list(cleaned.catalog["id"]) == list(crowded.catalog["id"][inside]), "cuts stand above the eye"
        assert all("mag < 21.2" in r for r in cleaned.report["reason"][~inside])
        cleaned = bk.clean(crowded, morphology=("sph", "irr"), n_jobs=1)
        assert table1(cleaned.report)["after"].tolist() == [2, 0, 0, 2, 4]
        for wrong in ({"mag": (23, 18)}, {"mag": (18,)}, {"morphology": ("disc",)}, {"mag": (1, 2)}, {"dilation": -1}):
            refused(lambda wrong=wrong: bk.clean(crowded, n_jobs=1, **wrong))

    @pytest.mark.parametrize("as_file", [True, False])
    def test_the_eye_overrules(self, hst, hst_clean, tmp_path, as_file):
        before = {row["id"]: row for row in hst_clean.report}
        dropped, good = (next(i for i in before if before[i]["kept"] == kept) for kept in (False, True))
        decisions = {dropped: "accept", good: "reject", 987654: "reject"}
        if as_file:
            rows = "".join(f"{i},{decision}\n" for i, decision in decisions.items())
            decisions = tmp_path / "d.csv"
            decisions.write_text("id,decision\n" + rows)
        cleaned = bk.clean(hst, decisions=decisions)
        assert set(cleaned.catalog["id"]) == (set(hst_clean.catalog["id"]) | {dropped}) - {good}
        report = {row["id"]: row for row in cleaned.report}
        assert (report[good]["reason"], report[dropped]["reason"]) == ("rejected by eye", "")
        assert report[dropped]["flags"] == before[dropped]["flags"] != ""

    def test_decisions_that_are_none(self, tmp_path):
        path, named = tmp_path / "d.csv", "id,decision\n"
        for text in ("id,verdict\n1,accept", named + "x,accept", named + ",accept\n3,accept", "id:decision\n3:accept"):
            path.write_text(text + "\n")
            refused(lambda: read_decisions(path), "expected")
        for text, expected in (("id,decision\n", {}), ("id;decision\n3;accept\n", {3: "accept"})):
            path.write_text(text)
            assert read_decisions(path) == expected
        assert read_decisions(None) == {}
        refused(lambda: read_decisions({3: "maybe"}), "expected")
        with pytest.raises(FileNotFoundError, match="nowhere"):
            read_decisions(tmp_path / "nowhere.csv")


class TestInspection:
    @pytest.mark.parametrize(("part", "where", "value", "word"), [
        ("images", np.s_[0, :, :9], 0.0, "mosaic's edge"),
        ("images", np.s_[0, :, :9], 0.37, "mosaic's edge"),
        ("images", np.s_[0, 46, 34:48], 1.8, "artefact"),  # a cosmic ray
        ("images", np.s_[0, 10:14, 10:14], -0.1, "artefact"),  # a dead spot
        ("segmaps", np.s_[0, 10:12, :60], 3, "artefact"),  # a bleeding star's trail
    ])  # fmt: skip
    def test_a_bad_stamp(self, make_sample, part, where, value, word):
        cleaned = bk.clean(changed(make_sample(2, (80, 80), sigma=4.0), **{part: (where, value)}), n_jobs=1)
        assert list(cleaned.catalog["id"]) == [11]
        assert word in cleaned.report["reason"][0]

    def test_a_galaxy_that_is_touched(self, make_sample):
        sample = make_sample(1, (80, 80), sigma=3.0, neighbours=[(0, 12, 60.0)], mags=[21])
        report = bk.clean(sample, decisions={10: "accept"}, n_jobs=1).report
        assert "a neighbour touches the galaxy" in report["flags"][0]

    @pytest.mark.parametrize(("kind", "dropped"), [("disk", True), ("irr", False)])
    def test_two_in_one(self, make_sample, kind, dropped):
        """A second galaxy within the same segment; an irregular one is allowed to look like that."""
        sample = make_sample(2, (80, 80), mags=[21, 21])
        both = sample.images[0] + gaussian_light((80, 80), 40, 49, 60, 2.0)
        sample = changed(sample, images=(0, both), segmaps=(np.s_[0, 30:51, 30:60], 1), morphology=[kind, kind])
        report = bk.clean(sample, n_jobs=1).report
        assert ("lopsided" in report["reason"][0]) == dropped
        assert report["kept"][1]

    def test_what_is_no_flaw(self, make_sample, hst, synthetic_clean):
        sample = make_sample(5)
        with pytest.warns(UserWarning, match="zeropoint"):
            assert len(bk.clean(replace(sample, zeropoint=27.96), n_jobs=1)) == 5, "a wrong zeropoint is told"
        dark = bk.clean(replace(sample, images=sample.images - np.float32(0.012)), n_jobs=1)
        assert not any("artefact" in flags for flags in dark.report["flags"]), "another sky level"
        assert len(bk.clean(changed(sample, segval=[7, 1, 1, 1, 1]), n_jobs=1)) == 5, "the centre pixel has the label"
        assert len(bk.clean(changed(sample, segmaps=(np.s_[:, 10:50, :2], 2)), n_jobs=1)) == 5, "cut, and no trail"
        kept = bk.clean(simulate(40, 0, noise="none")).report["kept"]
        assert (kept == synthetic_clean.report["kept"][:40]).mean() > 0.95, "no sky at all"
        assert len(bk.clean(make_sample(5, (80, 80), sky=0.0), n_jobs=1)) == 5, "as flat as it can be"
        rounded = replace(hst, images=(np.round(hst.images / 0.002) * 0.002).astype(np.float32))
        assert len(bk.clean(rounded)) >= 80, "rounded pixels are no edge"

    def test_another_flux_than_the_catalogues(self, make_sample):
        sample = make_sample(3)
        cleaned = bk.clean(changed(sample, mag=sample.catalog["mag"] + [1, -1, 0]), n_jobs=1)
        assert list(cleaned.report["reason"]) == ["its flux is far from the catalogue's"] * 2 + [""]


def test_truth():
    """Of 400 simulated galaxies, which are there without neighbours and sky too."""
    sample, alone = bk.load_sample("synthetic", n=400, seed=0), simulate(400, 0, neighbours=False, noise="none")
    report, bad = bk.clean(sample).report, np.asarray(sample.catalog["truth_bad"])
    for kind, low, high in (("edge", 1, 1), ("artefact", 0.5, 1), ("close_blend", 0.4, 1), ("", 0, 0.13)):
        assert low <= 1 - np.mean(report["kept"][bad == kind]) <= high
    good = report["kept"] & (bad == "")
    own, crowded = sample.own_masks()[good], np.asarray(sample.catalog["truth_n_neighbours"])[good] > 0
    true = flux_auto(alone.images[good], own)
    change = report["flux_auto"][good] / true - 1  # neighbours' light that stays, or own light lost: the rest is alike
    assert 0.5 < crowded.mean() < 0.85
    for part in (change[~crowded], change[crowded]):
        assert abs(part.mean()) < 0.005
        assert part.std() < 0.03
    assert np.abs(change).max() < 0.25
    assert (flux_auto(sample.images[good], own) / true).std() > 0.02, "without cleaning fluxes would be wrong"
