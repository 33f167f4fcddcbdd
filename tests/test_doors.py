"""What comes from outside is converted, refused in one sentence or counted: never a wrong number without a word.

Whole kinds of faults that users of such tools report, each by several of its members.
"""

import errno
from dataclasses import replace
from functools import partial
from unittest.mock import Mock

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import CCDData
from astropy.table import QTable, Table, vstack
from astropy.utils.masked import Masked
from conftest import in_python, module, refused

import blendkit as bk
from blendkit.data.sky import sky_noise

NJY = 10 ** (-0.4 * (25.96 - 31.4))  # nJy of 1 e-/s at the default zeropoint

blends = module(lambda galaxies: bk.draw_blends(galaxies, 12, seed=1))
rendered = module(lambda galaxies, blends: bk.render(galaxies, blends))
SAMPLES = {  # what a user may give -> the same sample
    "fluxes in mJy": lambda s: {"images": s.images * NJY * 1e-6 * u.mJy, "zeropoint": 25.96 * u.mag},
    "counts per second": lambda s: {"images": s.images * u.ct / u.s},
    "stamps as CCDData": lambda s: {"images": [CCDData(stamp, unit="electron/s") for stamp in s.images]},
    "radii in arcmin": lambda s: {"catalog": columns(s, r_eff=s.catalog["r_eff"] * 0.06 / 60 * u.arcmin)},
    "radii in pixels": lambda s: {"catalog": columns(s, r_eff=s.catalog["r_eff"] * u.pix)},
    "magnitudes with a unit": lambda s: {"catalog": columns(s, mag=np.asarray(s.catalog["mag"]) * u.ABmag)},
    "pixel scale with a unit": lambda s: {"pixel_scale": 0.001 * u.arcmin},
    "nothing masked": lambda s: {"images": np.ma.array(s.images), "segmaps": np.ma.array(s.segmaps)},
}  # fmt: skip

WRONG = {
    "exposure time unknown": lambda s: {"images": s.images * u.electron},
    "radii in kpc": lambda s: {"catalog": columns(s, r_eff=s.catalog["r_eff"] * u.kpc)},
    "magnitudes of another system": lambda s: {"catalog": columns(s, mag=np.asarray(s.catalog["mag"]) * u.STmag)},
    "pixel scale in pixels": lambda s: {"pixel_scale": 1 * u.pix},
}

PREDICTIONS = {
    "nJy": lambda flux: {"flux": flux * NJY * u.nJy},
    "magnitudes": lambda flux: {"flux": (25.96 - 2.5 * np.log10(flux)) * u.mag},
    "AB magnitudes, with errors": lambda flux: {
        "flux": (25.96 - 2.5 * np.log10(flux)) * u.ABmag, "flux_err": np.full(flux.shape, 0.1) * u.mag},
    "electrons per second": lambda flux: {"flux": flux * u.electron / u.s},
}  # fmt: skip


class TestUnits:
    @pytest.mark.parametrize("given", SAMPLES)
    def test_a_sample_is_the_same_in_any(self, galaxies, given):
        other = replace(galaxies, **SAMPLES[given](galaxies))
        np.testing.assert_allclose(other.images, galaxies.images, rtol=1e-5)
        assert type(other.images) is np.ndarray
        assert (other.zeropoint, round(other.pixel_scale, 9)) == (25.96, 0.06)
        for name in ("mag", "r_eff"):
            np.testing.assert_allclose(other.catalog[name], galaxies.catalog[name], rtol=1e-9)
            assert other.catalog[name].unit is None

    @pytest.mark.parametrize("given", WRONG)
    def test_what_has_no_conversion_is_refused(self, galaxies, given):
        refused(lambda: replace(galaxies, **WRONG[given](galaxies)), "expected")

    def test_recipes(self, galaxies):
        ids = galaxies.catalog["id"][:2]
        in_arcsec = bk.make_blends(galaxies, ids, 5 * 0.06 * u.arcsec, 2 * u.pix, 1 * u.mag)
        plain = bk.make_blends(galaxies, ids, 5, 2, 1)
        assert all((in_arcsec[name] == plain[name]).all() for name in ("dx", "dy", "flux"))
        refused(lambda: bk.make_blends(galaxies, ids, 0.1 * u.arcsec, 0), "whole")
        refused(lambda: bk.draw_blends(galaxies, 3, separation=(1, 2) * u.arcsec), "arcsec")
        refused(lambda: bk.clean(galaxies, mag=(18, 23) * u.STmag), "AB")

    @pytest.mark.parametrize("table", [Table, QTable])
    @pytest.mark.parametrize("given", PREDICTIONS)
    def test_predictions(self, blends, rendered, given, table):
        answer = table(PREDICTIONS[given](rendered[2].astype(float)))
        measured = bk.measure(rendered[0], {"mine": lambda images: answer}, truth=blends)["mine"]
        np.testing.assert_allclose(measured["flux"], blends["flux"], rtol=1e-3)
        assert np.abs(bk.scores(blends, {"mine": answer})["bias"]).max() < 1e-3
        if "flux_err" in answer.colnames:
            np.testing.assert_allclose(measured["flux_err"], 0.0921 * blends["flux"], rtol=1e-3)

    def test_predictions_that_cannot_be_converted(self, blends, rendered):
        flux = rendered[2]
        refused(lambda: bk.scores(blends, {"mine": Table({"flux": flux * u.erg})}), "erg")
        refused(lambda: bk.metrics.flux_scores(flux * u.nJy, flux), "nJy")
        objects = Table({"x": blends["dx"] * u.arcsec, "y": blends["dy"], "flux": flux})
        refused(lambda: bk.match(blends, objects), "arcsec")

    def test_images_of_deblenders(self, blends, rendered):
        images, sep = rendered[0], bk.deblenders.SEP(truth=blends, n_jobs=1)
        np.testing.assert_allclose(sep(images * NJY * u.nJy)["flux"], sep(images)["flux"], rtol=1e-3)
        network = bk.deblenders.Network("blend2flux")
        np.testing.assert_allclose(network(images * u.electron / u.s)["flux"], network(images)["flux"])
        for method in (network, bk.deblenders.SEP(n_jobs=1)):
            refused(partial(method, images * NJY * u.nJy), "nJy")

    def test_another_pixel_scale_than_the_networks(self, galaxies):
        fine = replace(galaxies, pixel_scale=0.03)
        blends = bk.draw_blends(fine, 3, seed=1)
        with pytest.warns(UserWarning, match="0.06 arcsec per pixel.* 0.03"):
            bk.measure(bk.render(fine, blends)[0], ["blend2flux"], truth=blends)


def columns(sample, **values):
    """The catalogue of a sample with other columns."""
    return QTable({name: sample.catalog[name] for name in sample.catalog.colnames} | values)


MASKED = {"numpy": lambda stack, mask: np.ma.array(stack, mask=mask), "astropy": Masked}
MASKED["CCDData"] = lambda *both: [CCDData(i, unit="electron/s", mask=m) for i, m in zip(*both, strict=True)]


class TestMasks:
    @pytest.mark.parametrize("method", ["SEP", "blend2flux"])
    @pytest.mark.parametrize("masked", MASKED)
    def test_a_masked_pixel_is_never_read(self, rendered, method, masked):
        images, mask = rendered[0].copy(), np.zeros(rendered[0].shape, bool)
        mask[3, 60:63, 64:70] = True
        images[mask] = 50
        with pytest.warns(UserWarning, match="1 of 12"):
            pred = bk.measure(MASKED[masked](images, mask), [method])[method]
        plain = bk.measure(rendered[0], [method])[method]
        assert np.isnan(pred["flux"][3]).all()
        assert pred.meta["failed"] == plain.meta["failed"] + 1
        others = np.arange(12) != 3
        np.testing.assert_array_equal(pred["flux"][others], plain["flux"][others])

    def test_masked_stamps_of_a_sample(self, galaxies):
        images = np.ma.array(galaxies.images)
        images[7, 5, 5] = np.ma.masked
        refused(lambda: replace(galaxies, images=images), galaxies.catalog["id"][7])


EDITS = {
    "one id": lambda b: b["id"].__setitem__((2, 1), b["id"][5, 1]),
    "a shift": lambda b: b["dx"].__setitem__((0, 1), b["dx"][0, 1] + 3),
    "a column in another order": lambda b: b.__setitem__("id", b["id"][::-1].copy()),
    "a flux": lambda b: b["flux"].__setitem__((4, 0), 1.0),
}


class TestStaleCopies:
    @pytest.mark.parametrize("edit", EDITS)
    def test_an_edited_recipe_is_refused_until_it_is_rendered(self, galaxies, blends, rendered, edit, tmp_path):
        """What follows from the recipe is then the same as that of a new one; the pixels obey anyway."""
        images, _, flux = rendered
        edited = blends.copy()
        EDITS[edit](edited)
        refused(lambda: bk.deblenders.SEP(truth=edited, n_jobs=1)(images), "edited")
        refused(lambda: bk.measure(images, {"mine": lambda images: {"flux": flux}}, truth=edited), "edited")
        refused(lambda: bk.scores(edited, {"mine": Table({"flux": flux})}), "edited")
        refused(lambda: bk.figures.examples(edited, 3), "edited")
        written = Table.read(bk.export(galaxies, edited.copy(), tmp_path) / "test_catalogue.csv")
        fresh = bk.make_blends(galaxies, *(edited[name] for name in ("id", "dx", "dy", "dmag", "orient")))
        pixels, _, fluxes = bk.render(galaxies, edited)
        assert (pixels == bk.render(galaxies, fresh)[0]).all()
        for name in ("flux", "mag", "r_eff", "morphology", "distance", "delta_mag", "inside"):
            np.testing.assert_array_equal(edited[name], fresh[name])
        np.testing.assert_allclose(written["distance"], fresh["distance"], atol=1e-5)
        np.testing.assert_allclose(written["g2_mag"], fresh["mag"][:, 1], atol=1e-5)
        assert np.abs(bk.scores(edited, {"mine": Table({"flux": fluxes})})["bias"]).max() < 1e-6

    def test_rows_may_be_chosen_sorted_and_stacked(self, galaxies, blends):
        for table in (blends[3:5], blends[np.argsort(blends["distance"])], vstack([blends[:4], blends[8:]])):
            assert np.allclose(bk.render(galaxies, table)[2], table["flux"])

    def test_pixels_are_not_changed_under_a_blend(self, make_sample):
        sample = make_sample(4)
        bk.make_blends(sample, [10, 11], 3, 1)
        with pytest.raises(ValueError, match="read-only"):
            sample.images[0] = 0


LABELS = {
    "a survey's": lambda labels: labels.astype(np.int64) * 70_001,
    "unsigned": lambda labels: labels.astype(np.uint64) * 2**40,
    "negative": lambda labels: -labels.astype(np.int32),
    "floats": lambda labels: labels.astype(np.float32) * 1000,
}

TWINS = {
    "another level": lambda stamp, rng: stamp + np.float32(0.003),
    "another sky far away": lambda stamp, rng: np.where(
        np.hypot(*(np.indices(stamp.shape) - 64)) > 30, sky_noise(rng, stamp.shape), stamp).astype(np.float32),
}  # fmt: skip


class TestLabelsAndIds:
    @pytest.mark.parametrize("labels", LABELS)
    def test_any_whole_labels(self, hst, labels):
        part = hst[:20]
        catalog, segmaps = part.catalog.copy(), LABELS[labels](part.segmaps)
        catalog["segval"] = segmaps[:, 64, 64]
        other = bk.Sample(part.images, segmaps, catalog)
        ours, theirs = (bk.clean(sample, n_jobs=1).report["n_neighbours", "flux_auto"] for sample in (part, other))
        assert (ours == theirs).all()
        assert (other.catalog["segval"] == other.segmaps[:, 64, 64]).all()

    def test_too_many_labels(self, make_sample):
        sample = make_sample(3)
        refused(lambda: replace(sample, segmaps=1 + np.arange(3 * 64**2).reshape(3, 64, 64)), "stamp 0", "256")

    def test_ids(self, galaxies):
        ids = np.asarray(galaxies.catalog["id"])
        unsigned = replace(galaxies, catalog=columns(galaxies, id=ids.astype(np.uint64) + np.uint64(2**62)))
        blends = bk.draw_blends(unsigned, 5, seed=1)
        rows = unsigned.index(blends["id"].ravel()).reshape(5, 2)
        assert (galaxies.catalog["flux_auto"][rows] == blends["flux"]).all()
        np.testing.assert_allclose(bk.render(unsigned, blends)[2], blends["flux"], rtol=1e-6)
        for wrong in (ids.astype(np.uint64) + np.uint64(2**63), ids - ids.max() - 1, ids.astype(str)):
            refused(partial(replace, galaxies, catalog=columns(galaxies, id=wrong)), "ids")

    @pytest.mark.parametrize("order", [np.s_[::-1], np.roll(np.arange(96), 1)])
    def test_a_catalogue_in_another_order_is_noticed(self, hst, order):
        with pytest.warns(UserWarning, match="segval"):
            refused(lambda: bk.clean(replace(hst, catalog=hst.catalog[order]), n_jobs=1), "order")

    @pytest.mark.parametrize("twin", TWINS)
    def test_a_galaxy_under_two_ids_stays_on_one_side(self, galaxies, twin):
        sample, rng = galaxies[:20], np.random.default_rng(0)
        images = np.concatenate([sample.images[:10], [TWINS[twin](stamp, rng) for stamp in sample.images[:10]]])
        where = np.empty(20, int)
        for side, part in enumerate(bk.split(replace(sample, images=images), seed=3)):
            where[sample.index(part.catalog["id"])] = side
        assert (where[:10] == where[10:]).all()
        assert len(np.unique(where)) == 3


WRITERS = {
    "a sample": lambda galaxies, blends, to: galaxies.save(to),
    "an export": lambda galaxies, blends, to: bk.export(galaxies, blends, to),
    "weights": lambda galaxies, blends, to: bk.weights.save(
        bk.models.unet(4, 8), to, "large", {"architecture": "unet", "arguments": {}}),
    "a page": lambda galaxies, blends, to: bk.export_html(bk.BlendExplorer(galaxies), to / "page.html"),
}  # fmt: skip


@pytest.mark.parametrize(("step", "error", "told"), [
    ("os.fsync", OSError(errno.ENOSPC, ""), r"^[^\n]*full[^\n]*MB are free[^\n]*\Z"),
    ("os.replace", InterruptedError("stopped"), "stopped"),
], ids=["full", "interrupted"])  # fmt: skip
@pytest.mark.parametrize("writer", WRITERS)
def test_a_failure_is_told_and_leaves_the_older_files_alone(
    galaxies, blends, tmp_path, monkeypatch, writer, step, error, told
):
    WRITERS[writer](galaxies, blends, tmp_path)
    sizes = {path: path.write_bytes(b"older") for path in tmp_path.iterdir()}
    monkeypatch.setattr(step, Mock(side_effect=error))
    with pytest.raises(OSError, match=told):
        WRITERS[writer](galaxies, blends, tmp_path)
    assert {path: path.stat().st_size for path in tmp_path.iterdir()} == sizes


START = "import blendkit as bk; bk.training.has_gpu(); bk.models.unet(2, 1)"
SCREEN = "import os, sys; os.write(2, b'compiled code'); print(' and Python', file=sys.stderr)"


class TestEnvironment:
    def test_the_start_of_keras_leaves_a_clean_screen_and_hides_nothing_from_who_asks(self):
        run = in_python(f"{START}\n{SCREEN}", KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL=None)
        assert (run.returncode, run.stdout, run.stderr) == (0, "", "compiled code and Python\n")
        assert in_python(START, KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="0").stderr

    @pytest.mark.parametrize("settings", ['{"image_data_format": "channels_first", "floatx": "float64"}', "no json"])
    def test_the_users_keras_json_does_not_matter(self, tmp_path, settings):
        (tmp_path / "keras.json").write_text(settings)
        code = (
            "import blendkit as bk, numpy as np; x = np.random.default_rng(0).normal(0, 0.006, (2, 128, 128)); "
            "x[:, 60:68, 60:68] += 1; print(bk.deblenders.Network('blend2flux')(x)['flux'].tolist())"
        )
        here, there = (in_python(code, KERAS_HOME=str(home)) for home in (tmp_path / "none", tmp_path))
        assert here.stdout.startswith("[[")
        np.testing.assert_allclose(eval(there.stdout), eval(here.stdout), rtol=1e-4)

    @pytest.mark.parametrize("use", ["train", "models", "deblenders.Network('unet')"])
    def test_a_missing_backend_is_one_sentence(self, use, tmp_path):
        (tmp_path / "keras.json").write_text('{"backend": "nonsense"}')
        for chosen in ({"KERAS_BACKEND": "nonsense"}, {"KERAS_BACKEND": None, "KERAS_HOME": str(tmp_path)}):
            *lines, last = in_python(f"import blendkit as bk; bk.{use}", **chosen).stderr.splitlines()
            assert [word for word in ("nonsense", "KERAS_BACKEND") if word not in last] == []
            assert len(lines) < 14

    def test_without_a_backend_all_but_the_networks_works(self):
        code = """
import blendkit as bk
sample = bk.clean(bk.load_sample("synthetic", n=24, seed=5), n_jobs=1)
blends = bk.draw_blends(sample, 6, seed=1)
images, masks, fluxes = bk.render(sample, blends)
predictions = bk.measure(images, ["SEP"], truth=blends)
bk.scores(blends, predictions), bk.figures.recovered_magnitudes(blends, predictions), bk.BlendExplorer(sample)
bk.preflight()
"""
        done = in_python(code, KERAS_BACKEND="nonsense")
        assert done.returncode == 0, done.stderr
        assert "'nonsense' cannot be found" in done.stdout


class TestNothingThere:
    @pytest.fixture(scope="class")
    def empty(self, rendered):
        rng = np.random.default_rng(0)
        skies = [sky_noise(rng, (128, 128), sigma, width) for sigma in (1e-3, 0.01, 5.0) for width in (0.01, 0.62, 0.9)]
        return np.stack([*skies, np.zeros((128, 128)), np.full((128, 128), 7.0), -rendered[0][0]]).astype(np.float32)

    @pytest.mark.parametrize("name", ["fractions", "blend2flux", "blend2mask2flux", "unet"])
    def test_no_flux_without_a_galaxy(self, name, empty, galaxies, rendered):
        method = bk.deblenders.Network(name)
        pred = method(np.concatenate([empty, rendered[0]]))
        assert np.isnan(pred["flux"][: len(empty)]).all()
        assert np.isfinite(pred["flux"][len(empty) :]).all()
        alone = bk.render(galaxies, bk.draw_blends(galaxies, 20, seed=2, members=1), masks=False)[0]
        assert np.isfinite(method(alone)["flux"][:, 0]).all()


@pytest.mark.parametrize("written", ["ecsv", "tab", "commented_header", "basic", "|", ", ", ";"])
def test_a_catalogue_in_any_usual_form(make_sample, tmp_path, written):
    sample = make_sample(5)
    path = sample.save(tmp_path) / "candels_cat.csv"
    if written.isidentifier():
        Table.read(path, format="ascii.csv").write(path, format=f"ascii.{written}", overwrite=True)
    else:
        path.write_text("# from TOPCAT, mag 20\n" + path.read_text().replace(",", written))
    assert (bk.load_sample(tmp_path).catalog["id", "mag"] == sample.catalog["id", "mag"]).all()
