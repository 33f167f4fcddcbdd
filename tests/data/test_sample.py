"""Samples: what is read, written, selected, joined and refused."""

import os
from dataclasses import FrozenInstanceError, replace
from functools import partial

import numpy as np
import pytest
from astropy.table import Table
from conftest import changed, refused
from numpy.testing import assert_array_equal

import blendkit as bk
from blendkit.data import load
from blendkit.data.remote import CANDELS_FILES
from blendkit.data.sample import META, MORPHOLOGIES, SKY

IMAGES, SEGMAPS, CATALOG = CANDELS_FILES
RELEASE = ["ID", "RA", "DEC", "FIELD", "mag", "mag_err", "radius", "z", "galtype", "segval"]


def assert_same(one, other):
    """Two samples hold the same pixels, labels, sky and columns."""
    assert (one.fingerprints, one.sky_fingerprint) == (other.fingerprints, other.sky_fingerprint)
    assert set(one.catalog.colnames) == set(other.catalog.colnames)
    for name in one.catalog.colnames:
        assert one.catalog[name].dtype.kind == other.catalog[name].dtype.kind, name
        assert_array_equal(one.catalog[name], other.catalog[name])
    assert (one.zeropoint, one.pixel_scale, one.name) == (other.zeropoint, other.pixel_scale, other.name)


class TestReading:
    def test_the_real_folder(self, hst, hst_folder):
        raw = Table.read(hst_folder / CATALOG, format="ascii.csv")
        assert_array_equal(hst.images, np.load(hst_folder / IMAGES))
        assert_array_equal(hst.segmaps, np.load(hst_folder / SEGMAPS))
        assert (hst.zeropoint, hst.pixel_scale, hst.name) == (25.96, 0.06, "hst-sample")
        for ours, theirs in (("id", "ID"), ("mag", "mag"), ("r_eff", "radius"), ("segval", "segval")):
            assert_array_equal(hst.catalog[ours], raw[theirs])
        assert set(hst.catalog["morphology"]) <= set(MORPHOLOGIES)
        assert set(hst.catalog["field"]) == {"HST"}, "a bytes literal in the file"
        assert np.isnan(hst.catalog["z"]).all()

    @pytest.mark.parametrize(("z", "mag_err"), [("", ""), ("nan", 9), ("NaN", "")])
    def test_files_of_other_habits(self, tmp_path, make_sample, z, mag_err):
        """Empty fields in any spelling, big-endian numbers, Fortran order."""
        sample = make_sample(2)
        np.save(sample.save(tmp_path) / IMAGES, np.asfortranarray(sample.images.astype(">f4")))
        rows = [f"{i},1,2,b'GDS       ',{20 + i},{mag_err},3,{z},disk,1" for i in range(2)]
        (tmp_path / CATALOG).write_text("\n".join([",".join(RELEASE), *rows]) + "\n")
        read = bk.load_sample(tmp_path)
        assert np.isnan(read.catalog["z"]).all()
        assert set(read.catalog["field"]) == {"GDS"}
        assert_array_equal(read.images, sample.images)
        assert read.images.dtype.isnative

    def test_n_of_a_folder_are_drawn_with_the_seed(self, hst_folder, hst):
        few, again, others = (bk.load_sample(hst_folder, n=20, seed=s) for s in (1, 1, 2))
        assert len(few) == 20
        assert list(few.catalog["id"]) == list(again.catalog["id"]) != list(others.catalog["id"])
        assert_array_equal(few.sky, hst.sky, "the sky stays that of the whole sample")
        assert len(bk.load_sample(hst_folder, n=1000)) == 96
        for n in (0, -3, 2.5, "many"):
            refused(partial(bk.load_sample, hst_folder, n=n), repr(n))


class TestSaving:
    def test_round_trip_bit_for_bit(self, tmp_path, make_sample):
        words = {"field": ["G", "", "a b", "UDS", "x"], "note": ["", "odd, perhaps", '"so"', "", "x"], "none": [""] * 5}
        numbers = {"ra": [0.5] * 5, "dec": [-1e-9] * 5, "z": [0.1, np.nan, 0.3, 1 / 3, 5e-324], "count": np.arange(5)}
        numbers |= {"mag": 20 + np.random.default_rng(1).random(5), "truth_flux": [np.nan, 1.5, 2, np.nan, 1e-9]}
        sample = replace(make_sample(5, (33, 40)), zeropoint=26.123456789012345, name='a "named" sample, ü')
        sample = changed(sample, **numbers, **words)
        assert_same(bk.load_sample(sample.save(tmp_path / "new" / "folder")), sample)

    def test_layout_is_the_releases(self, tmp_path, hst, hst_folder):
        folder = hst[:7].save(tmp_path)
        table, raw = (Table.read(f / CATALOG, format="ascii.csv")[:7] for f in (folder, hst_folder))
        assert table.colnames == RELEASE == raw.colnames
        assert all((table[name] == raw[name]).all() for name in ("ID", "FIELD", "mag", "radius", "galtype", "segval"))
        assert_array_equal(np.load(folder / IMAGES), hst.images[:7])
        assert_array_equal(np.load(folder / SKY), hst.sky)
        hst[:9].save(tmp_path)
        assert sorted(os.listdir(tmp_path)) == sorted([*CANDELS_FILES, SKY, META]), "nothing else is left"
        assert len(bk.load_sample(tmp_path)) == 9


class TestSelecting:
    @pytest.mark.parametrize(("rows", "ids"), [
        ([True, False, True, False, False, True], [10, 12, 15]), (np.arange(6) > 3, [14, 15]),
        (slice(None, None, -2), [15, 13, 11]), ([5, -2], [15, 14]), (np.int64(-2), [14]),
    ])  # fmt: skip
    def test_rows(self, make_sample, rows, ids):
        sample = make_sample(6)
        part = sample[rows]
        assert part.fingerprints == {i: sample.fingerprints[i] for i in ids}
        assert list(part.catalog["id"]) == ids
        assert part.sky is sample.sky, "the sky is the parent's"

    def test_index_of_ids(self, make_sample):
        sample = make_sample(6)[[3, 0, 5]]
        assert sample.index([10, 15, 13, 10]).tolist() == [1, 2, 0, 1]
        for unknown in (11, 9, 99, 10.5):
            refused(partial(sample.index, [10, unknown]), unknown)

    def test_a_changed_sample_is_a_new_one(self, make_sample):
        sample = make_sample(4)
        with pytest.raises(FrozenInstanceError):
            sample.images = sample.images + 1
        for other in (replace(sample, images=2 * sample.images), changed(sample, segmaps=(np.s_[:, 0, 0], 7))):
            assert not set(other.fingerprints.values()) & set(sample.fingerprints.values())


WRONG = {  # part: a new value, or what is written where
    "images of two dimensions": ({"images": lambda i: i[0]}, ["(64, 64)", "(n, ny, nx)"]),
    "double precision": ({"images": lambda i: i.astype(float)}, ["float64", "float32", "astype"]),
    "segmaps of fractions": ({"segmaps": lambda s: s + 0.5}, ["float64", "uint8"]),
    "fewer segmaps": ({"segmaps": lambda s: s[:3]}, ["4 images", "3 segmentation maps"]),
    "fewer rows": ({"catalog": lambda c: c[:2]}, ["2 catalogue rows"]),
    "other stamps than segmaps": ({"segmaps": lambda s: s[:, 1:].copy()}, ["(64, 64)", "(63, 64)"]),
    "a NaN pixel": ({"images": ((2, 0, 5), np.nan)}, ["NaN", "12", "1 of 4"]),
    "no object at the centre": ({"segmaps": ((3, 32, 32), 0)}, ["centre", "[32, 32]", "13"]),
    "a radius of zero": ({"r_eff": (0, 0.0)}, ["radius", "10"]),
    "an infinite magnitude": ({"mag": (3, np.inf)}, ["magnitude", "13"]),
    "duplicate ids": ({"id": (3, 10)}, ["more than once", "10"]),
    "an unknown type": ({"morphology": (2, "blob")}, ["morphology", "12", "sph, disk, sphd, irr"]),
    "ids that are no integers": ({"catalog": lambda c: Table(dict(c) | {"id": [0.5, 1, 2, 3]})}, ["whole numbers"]),
    "no mag column": ({"catalog": lambda c: c["id", "r_eff", "morphology", "segval"]}, ["lacks mag"]),
    "no galaxy": ({part: lambda a: a[:0] for part in ("images", "segmaps", "catalog")}, ["empty"]),
}

FALSE_FILES = {
    "npy that was cut": (IMAGES, lambda p: p.write_bytes(p.read_bytes()[:5000])),
    "npy of objects": (SEGMAPS, lambda p: np.save(p, np.array([{}, 1], object), allow_pickle=True)),
    "npz under another name": (IMAGES, lambda p: np.savez(p.open("wb"), a=np.zeros(3), b=np.ones(2))),
    "csv with words for numbers": (CATALOG, lambda p: p.write_text(p.read_text().replace("20.0", "bright"))),
    "csv with lines of other lengths": (CATALOG, lambda p: p.write_text("ID,mag\n1,20\n1,2,3,4\n")),
    "csv with a column twice": (CATALOG, lambda p: p.write_text("ID,id,mag\n1,1,20\n")),
    "json that is none": (META, lambda p: p.write_text("zeropoint 25.9")),
    "json of another shape": (META, lambda p: p.write_text("[25.9]")),
    "sky of other stamps": (SKY, lambda p: np.save(p, np.zeros((16, 63, 64), "f4"))),
    "sky with NaN": (SKY, lambda p: np.save(p, np.full((16, 64, 64), np.nan, "f4"))),
}


class TestRefused:
    @pytest.mark.parametrize("case", WRONG)
    def test_what_is_wrong_is_named(self, make_sample, case):
        sample, (changes, named) = make_sample(4), WRONG[case]
        parts = {"images": sample.images, "segmaps": sample.segmaps, "catalog": sample.catalog}
        for name, change in changes.items():
            if callable(change):
                parts[name] = change(parts[name])
            else:
                (parts if name in parts else parts["catalog"])[name][change[0]] = change[1]
        refused(lambda: bk.Sample(**parts), *named)

    def test_other_things_that_are_wrong(self, make_sample):
        sample = make_sample(9)
        refused(lambda: replace(sample, images="stamps"), "str")
        refused(lambda: replace(sample, catalog={"id": 1}), "catalogue")
        refused(lambda: replace(sample, zeropoint="AB"), "zeropoint")
        refused(lambda: replace(sample, images=np.inf * sample.images), "9 of 9 galaxies (ids 10, 11, 12, 13, 14, ...)")

    @pytest.mark.parametrize("case", FALSE_FILES)
    def test_a_false_file_is_named(self, tmp_path, make_sample, case):
        name, write = FALSE_FILES[case]
        write(make_sample(3).save(tmp_path) / name)
        refused(lambda: bk.load_sample(tmp_path), name)

    @pytest.mark.parametrize("absent", CANDELS_FILES)
    def test_missing_files_and_folders(self, tmp_path, make_sample, absent):
        nowhere, folder = tmp_path / "nowhere", make_sample(2).save(tmp_path / "here")
        named = ("nowhere", "synthetic", "candels", *CANDELS_FILES)
        refused(lambda: bk.load_sample(str(nowhere)), *named, error=FileNotFoundError)
        (folder / absent).unlink()
        refused(lambda: bk.load_sample(folder), absent, folder, error=FileNotFoundError)


class TestSynthetic:
    """The cache of simulated samples."""

    @pytest.fixture
    def data(self, tmp_path, monkeypatch):
        monkeypatch.setenv("BLENDKIT_DATA", str(tmp_path / "data"))
        return tmp_path / "data"

    def test_the_second_load_reads_the_cache(self, data, synthetic, monkeypatch):
        first, made = bk.load_sample("synthetic", n=3, seed=4), load.simulate(3, 4)
        assert first.fingerprints == made.fingerprints, "pixels and labels"
        assert all((first.catalog[name] == made.catalog[name]).all() for name in made.catalog.colnames)
        assert_array_equal(bk.load_sample("synthetic", n=5).images, synthetic.images[:5])
        assert (bk.load_sample("synthetic", n=3, seed=4, noise="white").images != first.images).mean() > 0.9
        names = ["synthetic-v3-n3-seed4", "synthetic-v3-n3-seed4-white", "synthetic-v3-n5-seed0"]
        assert sorted(os.listdir(data)) == names
        (data / "synthetic-v3-n3-seed4" / IMAGES).write_bytes(b"damaged")
        assert_same(bk.load_sample("synthetic", n=3, seed=4), first)
        monkeypatch.setattr(load, "simulate", lambda *a, **k: pytest.fail("simulated again"))
        assert_same(bk.load_sample("synthetic", n=3, seed=4), first)

    def test_a_folder_without_room_is_told(self, data, capfd):
        data.write_text("a file where the folder should be")
        with pytest.warns(UserWarning, match="BLENDKIT_DATA"):
            assert len(bk.load_sample("synthetic", n=2, seed=4)) == 2
        assert capfd.readouterr() == ("", ""), "silent where nobody watches"
