"""Samples: what is read, written, selected and refused."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from astropy.table import Table

import blendkit as bk
from blendkit import samples, simulate
from blendkit.download import CANDELS_FILES

IMAGES, SEGMAPS, CATALOG = CANDELS_FILES
RELEASE = ["ID", "RA", "DEC", "FIELD", "mag", "mag_err", "radius", "z", "galtype", "segval"]


def the_sentence(caught, *named):
    """The one sentence of an error, after checking that it is one, names what it should and offers a cure."""
    text = str(caught.value)
    assert text.endswith("."), text
    assert "\n" not in text, text
    assert not re.search(r"[.!?] [A-Z]", text), f"more than one sentence: {text}"
    assert ": " in text or "expected" in text, f"no cure: {text}"
    for name in named:
        assert str(name) in text, f"{name} is not named: {text}"
    return text


def identical(one, other):
    """Whether two samples hold the same bytes."""
    return (
        one.images.tobytes() == other.images.tobytes()
        and one.segmaps.tobytes() == other.segmaps.tobytes()
        and one.sky.tobytes() == other.sky.tobytes()
        and one.catalog.colnames == other.catalog.colnames
        and all(
            np.asarray(one.catalog[c]).tobytes() == np.asarray(other.catalog[c]).tobytes() for c in one.catalog.colnames
        )
    )


class TestReading:
    def test_the_real_folder(self, hst, hst_folder):
        raw = Table.read(hst_folder / CATALOG, format="ascii.csv")
        assert hst.images.shape == hst.segmaps.shape == (96, 128, 128)
        assert (hst.images.dtype, hst.segmaps.dtype) == (np.float32, np.uint8)
        assert (hst.images == np.load(hst_folder / IMAGES)).all()
        assert (hst.segmaps == np.load(hst_folder / SEGMAPS)).all()
        assert (hst.zeropoint, hst.pixel_scale, hst.name) == (25.96, 0.06, "hst-sample")
        for ours, theirs in (("id", "ID"), ("mag", "mag"), ("r_eff", "radius"), ("segval", "segval")):
            assert (hst.catalog[ours] == raw[theirs]).all()
        assert set(hst.catalog["morphology"]) <= set(samples.MORPHOLOGIES)

    def test_the_field_is_a_bytes_literal(self, hst):
        assert set(hst.catalog["field"]) == {"HST"}

    def test_z_may_be_nan_and_mag_err_is_ignored(self, hst):
        assert hst.catalog["z"].dtype == float
        assert np.isnan(hst.catalog["z"]).all()
        assert "mag_err" not in hst.catalog.colnames

    @pytest.mark.parametrize("z", ["", "nan", "NaN"])
    def test_z_in_any_spelling(self, tmp_path, make_sample, z):
        folder = make_sample(2).save(tmp_path)
        table = Table.read(folder / CATALOG, format="ascii.csv")
        lines = [",".join(RELEASE)]
        lines += [f"{r['ID']},1,2,b'GDS       ',{r['mag']},9,{r['radius']},{z},disk,1" for r in table]
        (folder / CATALOG).write_text("\n".join(lines) + "\n")
        catalog = bk.load_sample(folder).catalog
        assert np.isnan(catalog["z"]).all()
        assert catalog["z"].dtype == float
        assert set(catalog["field"]) == {"GDS"}

    def test_big_endian_and_fortran_order(self, tmp_path, make_sample):
        sample = make_sample(3)
        folder = sample.save(tmp_path)
        np.save(folder / IMAGES, np.asfortranarray(sample.images.astype(">f4")))
        read = bk.load_sample(folder)
        assert (read.images == sample.images).all()
        assert read.images.dtype == np.float32
        assert read.images.dtype.isnative

    def test_n_of_a_folder_are_drawn_with_the_seed(self, hst_folder, hst):
        few, again, others = (bk.load_sample(hst_folder, n=20, seed=s) for s in (1, 1, 2))
        assert len(few) == 20
        assert list(few.catalog["id"]) == list(again.catalog["id"])
        assert list(few.catalog["id"]) != list(others.catalog["id"])
        assert few.sky.tobytes() == hst.sky.tobytes(), "the sky stays that of the whole sample"
        assert len(bk.load_sample(hst_folder, n=1000)) == 96

    @pytest.mark.parametrize("n", [0, -3, 2.5, "many"])
    def test_n_makes_sense(self, n):
        with pytest.raises(ValueError, match="galaxies were asked for") as caught:
            bk.load_sample("synthetic", n=n)
        the_sentence(caught, repr(n))


class TestSaving:
    def test_round_trip_bit_for_bit(self, tmp_path, make_sample):
        sample = make_sample(5, (33, 40))
        rng = np.random.default_rng(1)
        sample.zeropoint, sample.pixel_scale, sample.name = 26.123456789012345, 0.03, 'a "named" sample, ü'
        sample.catalog["mag"] += rng.normal(0, 1e-9, 5)
        sample.catalog["flux_auto"] *= 1 + 1e-15
        sample.catalog["z"] = [0.1, np.nan, 0.3, 1 / 3, 5e-324]
        sample.catalog["field"] = ["COSMOS", "GDS", "", "a b", "UDS"]
        sample.catalog["note"] = ["", "lopsided, perhaps", "", 'with "quotes"', "x"]
        sample.catalog["nothing"] = ["", "", "", "", ""]
        sample.catalog["number"] = rng.normal(size=5)
        sample.catalog["count"] = np.arange(5)
        read = bk.load_sample(sample.save(tmp_path / "new" / "folder"))
        assert read.images.tobytes() == sample.images.tobytes()
        assert read.segmaps.tobytes() == sample.segmaps.tobytes()
        assert read.sky.tobytes() == sample.sky.tobytes()
        assert (read.zeropoint, read.pixel_scale) == (sample.zeropoint, sample.pixel_scale)
        assert read.name == sample.name
        for name in sample.catalog.colnames:
            before, after = np.asarray(sample.catalog[name]), np.asarray(read.catalog[name])
            assert before.dtype.kind == after.dtype.kind, name
            np.testing.assert_array_equal(before, after, err_msg=name)
        assert read.fingerprints == sample.fingerprints
        assert identical(bk.load_sample(read.save(tmp_path / "twice")), read)

    def test_a_subsample_keeps_the_sky_on_disk(self, tmp_path, make_sample):
        sample = make_sample(6)
        read = bk.load_sample(sample[[4, 1]].save(tmp_path))
        assert read.sky.tobytes() == sample.sky.tobytes()
        assert list(read.catalog["id"]) == [14, 11]

    def test_layout_is_the_releases(self, tmp_path, hst, hst_folder):
        folder = hst[:7].save(tmp_path)
        table = Table.read(folder / CATALOG, format="ascii.csv")
        raw = Table.read(hst_folder / CATALOG, format="ascii.csv")[:7]
        assert table.colnames[: len(RELEASE)] == RELEASE == raw.colnames
        assert list(table["FIELD"]) == list(raw["FIELD"]) == ["b'HST       '"] * 7
        for name in ("ID", "mag", "radius", "galtype", "segval"):
            assert (table[name] == raw[name]).all(), name
        assert (np.load(folder / IMAGES) == hst.images[:7]).all()
        assert (np.load(folder / SEGMAPS) == hst.segmaps[:7]).all()

    def test_further_columns_follow(self, tmp_path, make_sample):
        table = Table.read(make_sample(2).save(tmp_path) / CATALOG, format="ascii.csv")
        assert table.colnames == [*RELEASE, "flux_auto"]

    def test_nothing_else_is_left(self, tmp_path, make_sample):
        make_sample(2).save(tmp_path)
        make_sample(3).save(tmp_path)
        assert sorted(os.listdir(tmp_path)) == sorted([*CANDELS_FILES, "candels_sky.npy", "candels_meta.json"])
        assert len(bk.load_sample(tmp_path)) == 3

    def test_a_failure_leaves_what_was_there(self, tmp_path, make_sample, monkeypatch):
        sample = bk.load_sample(make_sample(2).save(tmp_path))
        monkeypatch.setattr(samples, "_release_catalog", lambda catalog: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            make_sample(3, seed=5).save(tmp_path)
        assert identical(bk.load_sample(tmp_path), sample)
        assert not [f for f in os.listdir(tmp_path) if f.startswith(".")]


class TestSelecting:
    @pytest.mark.parametrize(
        ("rows", "expected"),
        [
            (np.array([True, False, True, False, False, True]), [10, 12, 15]),
            ([True, False, True, False, False, True], [10, 12, 15]),
            (slice(1, 5, 2), [11, 13]),
            (slice(None, None, -1), [15, 14, 13, 12, 11, 10]),
            ([5, 0, -2], [15, 10, 14]),
            (np.array([3]), [13]),
            (2, [12]),
            (-1, [15]),
            (np.int64(4), [14]),
        ],
    )
    def test_rows(self, make_sample, rows, expected):
        sample = make_sample(6)
        part = sample[rows]
        assert isinstance(part, bk.Sample)
        assert list(part.catalog["id"]) == expected
        where = sample.index(expected)
        assert (part.images == sample.images[where]).all()
        assert (part.segmaps == sample.segmaps[where]).all()
        assert part.images.ndim == 3
        assert (part.zeropoint, part.pixel_scale, part.name) == (sample.zeropoint, sample.pixel_scale, sample.name)
        assert part.fingerprints == {i: sample.fingerprints[i] for i in expected}

    def test_the_sky_is_the_parents(self, make_sample):
        sample = make_sample(6)
        part = sample[4:][1]
        assert part.sky is sample.sky
        assert sample.sky.shape == (16, 64, 64)

    def test_a_part_forgets_the_parents_fingerprints(self, make_sample):
        sample = make_sample(6)
        assert len(sample.fingerprints) == 6
        assert list(sample[:2].fingerprints) == [10, 11]

    def test_columns_select_rows(self, make_sample):
        sample = make_sample(6)
        assert len(sample[sample.catalog["mag"] < 20.9]) == 3

    @pytest.mark.parametrize("rows", [[], slice(0, 0), np.zeros(6, bool)])
    def test_an_empty_selection(self, make_sample, rows):
        with pytest.raises(ValueError, match="no galaxy") as caught:
            make_sample(6)[rows]
        the_sentence(caught, "widen")

    def test_a_repeated_index(self, make_sample):
        with pytest.raises(ValueError, match="twice") as caught:
            make_sample(6)[[1, 2, 1]]
        the_sentence(caught)

    def test_index_of_ids(self, make_sample):
        sample = make_sample(6)[[3, 0, 5]]
        assert sample.index([10, 15, 13, 10]).tolist() == [1, 2, 0, 1]
        for unknown in (11, 9, 99):
            with pytest.raises(ValueError, match="not in the sample") as caught:
                sample.index([10, unknown])
            the_sentence(caught, unknown)

    def test_own_masks(self, make_sample):
        sample = make_sample(2, neighbours=[(0, 20, 50.0)])
        own = sample.own_masks()
        assert own.dtype == bool
        assert (own == (sample.segmaps == 1)).all()
        assert (sample.segmaps == 2).any()


class TestJoining:
    def test_the_parts_of_a_split_are_the_whole(self, make_sample):
        whole = make_sample(8)
        parts = bk.split(whole, (0.5, 0.5), seed=3)
        joined = samples.join(parts)
        assert joined.name == whole.name
        assert joined.fingerprints == {i: whole.fingerprints[i] for p in parts for i in p.fingerprints}
        assert joined.sky.tobytes() == whole.sky.tobytes(), "the sky that all share is there once"
        assert samples.join([whole]).fingerprints == whole.fingerprints

    def test_real_and_synthetic_galaxies(self, hst_clean):
        made = bk.clean(bk.load_sample("synthetic", n=5, seed=1))
        joined = samples.join([hst_clean, made])
        assert len(joined) == len(hst_clean) + len(made)
        assert len(joined.sky) == len(hst_clean.sky) + len(made.sky)
        assert joined.name == f"{hst_clean.name} and {made.name}"
        assert set(joined.catalog.colnames) == set(hst_clean.catalog.colnames)
        assert joined.fingerprints == hst_clean.fingerprints | made.fingerprints
        blends = bk.draw_blends(joined, 50, seed=1)
        images, masks, fluxes = bk.render(joined, blends)
        assert np.isfinite(images).all()
        assert masks.any(axis=(1, 2)).all()
        assert (fluxes > 0).all()

    def test_what_does_not_fit(self, make_sample):
        one = make_sample(3)
        bare = bk.Sample(*spoil(one, catalog=without("flux_auto")))
        bare.catalog["id"] += 10
        wide = bk.Sample(*spoil(bare), pixel_scale=0.03)
        deep = bk.Sample(*spoil(bare), zeropoint=26.0)
        for others, named in (
            ([make_sample(3, (32, 32))], ("(64, 64)", "(32, 32)")),
            ([wide], ("0.06", "0.03")),
            ([deep], ("25.96", "26.0")),
            ([bare], ("flux_auto", "False")),
            ([one], ("more than once", "10, 11, 12")),
        ):
            with pytest.raises(ValueError, match="expected") as caught:
                samples.join([one, *others])
            the_sentence(caught, *named)
        with pytest.raises(ValueError, match="no sample") as caught:
            samples.join([])
        the_sentence(caught)


def spoil(sample, **changes):
    """A sample's parts after changes; a change is a new value or a function of the old one."""
    parts = {"images": sample.images.copy(), "segmaps": sample.segmaps.copy(), "catalog": sample.catalog.copy()}
    for name, change in changes.items():
        parts[name] = change(parts[name])
    return parts["images"], parts["segmaps"], parts["catalog"]


def put(index, value):
    def change(array):
        array[index] = value
        return array

    return change


def in_column(name, index, value):
    def change(table):
        table[name][index] = value
        return table

    return change


def in_float_column(name, index, value):
    def change(table):
        table[name] = np.asarray(table[name], float)
        table[name][index] = value
        return table

    return change


def without(name):
    def change(table):
        table.remove_column(name)
        return table

    return change


WRONG = {
    "images of two dimensions": ({"images": lambda a: a[0]}, ("(64, 64)", "(n, ny, nx)")),
    "images of four dimensions": ({"images": lambda a: a[..., None]}, ("(4, 64, 64, 1)", "(n, ny, nx)")),
    "images that are a list": ({"images": list}, ("list", "(n, ny, nx)")),
    "segmaps of two dimensions": ({"segmaps": lambda a: a[0]}, ("segmaps", "(64, 64)")),
    "images in double precision": ({"images": lambda a: a.astype(float)}, ("float64", "float32", "astype")),
    "images of integers": ({"images": lambda a: a.astype(int)}, ("int64", "float32")),
    "segmaps of int32": ({"segmaps": lambda a: a.astype("i4")}, ("int32", "uint8")),
    "fewer segmaps": ({"segmaps": lambda a: a[:3]}, ("4 images", "3 segmentation maps")),
    "fewer images": ({"images": lambda a: a[:1]}, ("1 images", "4 segmentation maps", "4 catalogue rows")),
    "fewer rows": ({"catalog": lambda t: t[:2]}, ("2 catalogue rows",)),
    "other stamps than segmaps": ({"segmaps": lambda a: a[:, 1:].copy()}, ("(64, 64)", "(63, 64)")),
    "a NaN pixel": ({"images": put((2, 0, 5), np.nan)}, ("NaN", "12", "1 of 4")),
    "an infinite pixel": ({"images": put((1, 63, 63), -np.inf)}, ("infinite", "11")),
    "no object at the centre": ({"segmaps": put((3, 32, 32), 0)}, ("centre", "[32, 32]", "13")),
    "a radius of zero": ({"catalog": in_column("r_eff", 0, 0.0)}, ("radius", "10")),
    "a negative radius": ({"catalog": in_column("r_eff", 1, -2.0)}, ("radius", "11")),
    "a radius of NaN": ({"catalog": in_column("r_eff", 2, np.nan)}, ("radius", "12")),
    "a radius of infinity": ({"catalog": in_column("r_eff", 2, np.inf)}, ("radius", "12")),
    "a magnitude of NaN": ({"catalog": in_column("mag", 0, np.nan)}, ("magnitude", "10")),
    "an infinite magnitude": ({"catalog": in_column("mag", 3, np.inf)}, ("magnitude", "13")),
    "duplicate ids": ({"catalog": in_column("id", 3, 10)}, ("more than once", "10")),
    "ids that are no integers": ({"catalog": in_float_column("id", 3, np.nan)}, ("id", "float64", "whole numbers")),
    "an unknown type": ({"catalog": in_column("morphology", 2, "blob")}, ("morphology", "12", "sph, disk, sphd, irr")),
    "no mag column": ({"catalog": without("mag")}, ("lacks mag",)),
    "no segval column": ({"catalog": without("segval")}, ("lacks segval",)),
    "an empty sample": (
        {"images": lambda a: a[:0], "segmaps": lambda a: a[:0], "catalog": lambda t: t[:0]},
        ("empty", "at least one"),
    ),
}  # fmt: skip


class TestRefusing:
    @pytest.mark.parametrize("case", WRONG)
    def test_in_memory(self, make_sample, case):
        changes, named = WRONG[case]
        with pytest.raises(ValueError, match=r"\.$") as caught:
            bk.Sample(*spoil(make_sample(4), **changes))
        the_sentence(caught, *named)

    @pytest.mark.parametrize("case", [c for c in WRONG if "list" not in c and "morphology" not in c])
    def test_from_a_folder(self, make_sample, case, tmp_path):
        """What is wrong is found as well, in the same words, where the files have it."""
        changes, _ = WRONG[case]
        folder = make_sample(4).save(tmp_path)
        images, segmaps, catalog = spoil(make_sample(4), **changes)
        np.save(folder / IMAGES, images)
        np.save(folder / SEGMAPS, segmaps)
        table = Table(catalog, copy=True)
        for ours, theirs in (("id", "ID"), ("r_eff", "radius"), ("morphology", "galtype")):
            table.rename_column(ours, theirs)
        table.write(folder / CATALOG, format="ascii.csv", overwrite=True)
        with pytest.raises(ValueError, match=r"\.$") as caught:
            bk.load_sample(folder)
        the_sentence(caught)

    def test_a_good_one_passes(self, make_sample):
        bk.Sample(*spoil(make_sample(4)))

    def test_long_lists_of_ids_are_cut(self, make_sample):
        with pytest.raises(ValueError, match="9 of 9") as caught:
            bk.Sample(*spoil(make_sample(9), images=put((slice(None), 0, 0), np.nan)))
        assert "10, 11, 12, 13, 14, ..." in the_sentence(caught)


def a_zip_cut_short(path, sample):
    np.savez(path.with_suffix(".npz"), sample.images)
    path.write_bytes(path.with_suffix(".npz").read_bytes()[:3000])
    path.with_suffix(".npz").unlink()


def renamed_npz(path, sample):
    np.savez(path.with_suffix(".npz"), a=sample.images, b=sample.segmaps)
    path.with_suffix(".npz").rename(path)


FALSE_FILES = {
    "npy that is text": (IMAGES, lambda p, s: p.write_text("1 2 3\n4 5 6\n")),
    "npy that is a web page": (IMAGES, lambda p, s: p.write_text("<!DOCTYPE html><html></html>")),
    "npy that is empty": (SEGMAPS, lambda p, s: p.write_bytes(b"")),
    "npy that was cut": (IMAGES, lambda p, s: p.write_bytes(p.read_bytes()[:5000])),
    "npy that was cut in its header": (IMAGES, lambda p, s: p.write_bytes(p.read_bytes()[:20])),
    "npy with a spoilt header": (IMAGES, lambda p, s: p.write_bytes(p.read_bytes().replace(b"shape", b"sh{pe", 1))),
    "npy of objects": (SEGMAPS, lambda p, s: np.save(p, np.array([{}, 1], object), allow_pickle=True)),
    "npz under another name": (IMAGES, renamed_npz),
    "zip cut short": (IMAGES, a_zip_cut_short),
    "gzip": (IMAGES, lambda p, s: p.write_bytes(b"\x1f\x8b\x08\x00" + bytes(range(200)))),
    "csv that is binary": (CATALOG, lambda p, s: np.save(p.open("wb"), s.images)),
    "csv of random bytes": (CATALOG, lambda p, s: p.write_bytes(np.random.default_rng(0).bytes(5000))),
    "csv that is empty": (CATALOG, lambda p, s: p.write_text("")),
    "csv of blank lines": (CATALOG, lambda p, s: p.write_text("\n\n\n")),
    "csv that is a web page": (CATALOG, lambda p, s: p.write_text("<!DOCTYPE html>\n<p>Not found, sorry</p>\n")),
    "csv without its columns": (CATALOG, lambda p, s: p.write_text("a,b\n1,2\n3,4\n5,6\n")),
    "csv with words for numbers": (
        CATALOG, lambda p, s: p.write_text("ID,mag,radius,galtype,segval\n" + "1,bright,3,disk,1\n" * 3)
    ),
    "csv with lines of other lengths": (
        CATALOG, lambda p, s: p.write_text("ID,mag,radius,galtype,segval\n1,20,3,disk,1\n1,2,3,4,5,6,7,8\n")
    ),
    "csv with a column twice": (
        CATALOG, lambda p, s: p.write_text("ID,id,mag,radius,galtype,segval\n" + "1,1,20,3,disk,1\n" * 3)
    ),
    "json that is none": ("candels_meta.json", lambda p, s: p.write_text("zeropoint 25.9")),
    "json of another shape": ("candels_meta.json", lambda p, s: p.write_text("[25.9]")),
    "sky that is text": ("candels_sky.npy", lambda p, s: p.write_text("sky")),
    "sky of other stamps": ("candels_sky.npy", lambda p, s: np.save(p, s.sky[:, 1:])),
    "sky of double precision": ("candels_sky.npy", lambda p, s: np.save(p, s.sky.astype(float))),
    "sky with NaN": ("candels_sky.npy", lambda p, s: np.save(p, np.full_like(s.sky, np.nan))),
}  # fmt: skip


class TestFalseFiles:
    @pytest.mark.parametrize("case", FALSE_FILES)
    def test_one_sentence_names_the_file(self, tmp_path, make_sample, case):
        name, write = FALSE_FILES[case]
        sample = make_sample(3)
        folder = sample.save(tmp_path)
        write(folder / name, sample)
        with pytest.raises(ValueError, match=r"\.$") as caught:
            bk.load_sample(folder)
        text = the_sentence(caught)
        assert name in text or case in ("csv without its columns", "csv that is a web page") or name.endswith("sky.npy")
        assert len(text) < 500
        assert text.isprintable()

    @pytest.mark.parametrize("missing", CANDELS_FILES)
    def test_a_missing_file(self, tmp_path, make_sample, missing):
        folder = make_sample(2).save(tmp_path)
        (folder / missing).unlink()
        with pytest.raises(FileNotFoundError) as caught:
            bk.load_sample(folder)
        the_sentence(caught, missing, folder)

    def test_no_such_folder(self, tmp_path):
        with pytest.raises(FileNotFoundError) as caught:
            bk.load_sample(tmp_path / "nowhere")
        the_sentence(caught, "nowhere", "synthetic", "candels", *CANDELS_FILES)

    def test_a_file_instead_of_a_folder(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(FileNotFoundError) as caught:
            bk.load_sample(str(tmp_path / "file"))
        the_sentence(caught, "file")


class TestSynthetic:
    @pytest.fixture
    def data(self, tmp_path, monkeypatch):
        monkeypatch.setenv("BLENDKIT_DATA", str(tmp_path / "data"))
        return tmp_path / "data"

    def test_the_second_load_reads_the_cache(self, data, monkeypatch):
        first = bk.load_sample("synthetic", n=3, seed=4)
        monkeypatch.setattr(simulate, "simulate", lambda *a, **k: pytest.fail("simulated again"))
        second = bk.load_sample("synthetic", n=3, seed=4)
        assert identical(first, second)
        assert first.name == second.name
        assert second.fingerprints == first.fingerprints

    def test_the_cache_is_what_was_simulated(self, data):
        cached, made = bk.load_sample("synthetic", n=3, seed=4), simulate.simulate(3, 4, progress=False)
        assert cached.images.tobytes() == made.images.tobytes()
        assert cached.segmaps.tobytes() == made.segmaps.tobytes()
        assert cached.sky.tobytes() == made.sky.tobytes()
        assert (cached.zeropoint, cached.pixel_scale, cached.name) == (made.zeropoint, made.pixel_scale, made.name)
        for name in made.catalog.colnames:
            assert (cached.catalog[name] == made.catalog[name]).all(), name

    def test_an_interrupted_simulation_leaves_nothing(self, data, monkeypatch, make_sample):
        def interrupted(n, seed):
            raise KeyboardInterrupt

        monkeypatch.setattr(simulate, "simulate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bk.load_sample("synthetic", n=3, seed=4)
        assert not data.is_dir() or os.listdir(data) == []

    def test_an_interrupted_write_leaves_nothing(self, data, monkeypatch):
        saving = bk.Sample.save

        def half(self, folder):
            saving(self, folder)
            (folder_of := samples.Path(folder) / IMAGES).write_bytes(folder_of.read_bytes()[:100])
            raise KeyboardInterrupt

        monkeypatch.setattr(bk.Sample, "save", half)
        with pytest.raises(KeyboardInterrupt):
            bk.load_sample("synthetic", n=3, seed=4)
        assert os.listdir(data) == []
        monkeypatch.undo()
        os.environ["BLENDKIT_DATA"], before = str(data), os.environ.get("BLENDKIT_DATA")
        try:
            assert len(bk.load_sample("synthetic", n=3, seed=4)) == 3
        finally:
            os.environ["BLENDKIT_DATA"] = before

    def test_another_process_was_quicker(self, data, monkeypatch):
        making = simulate.simulate

        def slow(n, seed):
            monkeypatch.setattr(simulate, "simulate", making)
            bk.load_sample("synthetic", n=n, seed=seed)
            return making(n, seed, progress=False)

        monkeypatch.setattr(simulate, "simulate", slow)
        assert len(bk.load_sample("synthetic", n=2, seed=4)) == 2
        assert len(os.listdir(data)) == 1

    def test_two_seeds_share_no_id(self, synthetic, data):
        other = bk.load_sample("synthetic", n=5, seed=1)
        assert not set(other.catalog["id"]) & set(synthetic.catalog["id"])
        assert len(set(synthetic.catalog["id"])) == len(synthetic) == 200

    def test_n_is_part_of_the_cache(self, data, synthetic):
        few = bk.load_sample("synthetic", n=5, seed=0)
        assert len(few) == 5
        assert (few.images == synthetic.images[:5]).all()

    def test_silent_where_nobody_watches(self, data):
        code = "import blendkit as bk; bk.load_sample('synthetic', n=2)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout + done.stderr == ""


def test_new_arrays_are_noticed(make_sample):
    sample = make_sample(4)
    blends = bk.draw_blends(sample, 3)
    assert sample.reach.max() < 20
    sample.segmaps = np.ones_like(sample.segmaps)
    assert sample.reach.max() == sample.centre[0]
    with pytest.raises(ValueError, match="other pixels"):
        bk.render(sample, blends)


def test_large_unsigned_ids_are_found(make_sample):
    sample = make_sample(4)
    sample.catalog["id"] = np.array([2**53 + i for i in range(4)], np.uint64)
    assert list(sample.index([2**53 + 3, 2**53 + 1])) == [3, 1]


def test_rounded_images_have_the_right_sky(hst):
    images = (np.round(hst.images / 0.003) * 0.003).astype("f4")
    rounded = bk.Sample(images, hst.segmaps, hst.catalog)
    assert rounded.sky.std() == pytest.approx(np.hypot(0.006, 0.003 / 12**0.5), rel=0.03)
    assert len(bk.clean(rounded)) >= 85
