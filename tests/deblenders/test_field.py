"""A field: any image in, one row to each object, the same however it is cut into tiles or written to disk."""

import os
import signal
import threading
import time
from functools import partial

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, InverseVariance
from astropy.table import Table
from astropy.wcs import WCS
from conftest import gaussian_light, module, refused, shared

import blendkit as bk
from blendkit.data.photometry import flux_auto
from blendkit.data.sky import sky_noise
from blendkit.deblenders import field
from blendkit.networks import weights

ZP = 25.96


def sky(n, seed=0):
    """Round Gaussians in the survey's sky, one to 50 x 50 pixels, (n, n) float32 in e-/s."""
    rng = np.random.default_rng(seed)
    image = sky_noise(rng, (n, n)).astype(np.float32)
    for y, x, flux, sigma in rng.uniform((0, 0, 2, 1.5), (n, n, 30, 3), (n * n // 2500, 4)):
        first = [max(int(c) - 16, 0) for c in (y, x)]
        here = np.s_[first[0] : first[0] + 32, first[1] : first[1] + 32]
        image[here] += gaussian_light(image[here].shape, y - first[0], x - first[1], flux, sigma)
    return image


image, survey = module(lambda: sky(300)), module(lambda: sky(700, seed=3))


@module
def measure(tmp_path_factory):
    """By an untrained network, saved: what is tested does not depend on what it says."""
    card = {"architecture": "fractions", "arguments": {"width": 8, "shape": (64, 64)}}
    network = bk.models.fractions(**card["arguments"])
    return partial(bk.measure_field, network=weights.save(network, tmp_path_factory.mktemp("network"), "small", card))


measured = module(lambda measure, image: measure(image, ZP, maps=True))
whole = module(lambda measure, survey: measure(survey, ZP, maps=True))


def same(table, other, flux=1.0, rtol=1e-4):
    """Two tables tell of the same objects, in the second in units in which they have `flux` times as much.

    SEP draws lots for pixels between two objects, so its fluxes are a little different whenever it runs.
    """
    assert np.array_equal(table["id"], other["id"])
    for name, factor, more in (("flux", flux, 1), ("size", 1, 9), ("mag_err", 1, 1), ("sep_flux", flux, 300)):
        np.testing.assert_allclose(other[name], factor * table[name], rtol=more * rtol, atol=2e-4)
    for name in ("x", "y", "n_in_group", "edge", "masked"):
        np.testing.assert_allclose(other[name], table[name], atol=0.01)


def write(path, *hdus):
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)


FILES = {
    "doubles.fits": lambda image, path: fits.writeto(path, image.astype(">f8")),
    "scaled.fits": lambda image, path: (
        hdu := fits.ImageHDU(image.astype(float))).scale("int32", bscale=1e-7, bzero=30) or write(path, hdu),
    "zipped.fits.gz": lambda image, path: fits.writeto(path, image),
    "packed.fits.fz": lambda image, path: write(
        path, fits.CompImageHDU(image, compression_type="GZIP_2", quantize_level=0)),
    "later.fits": lambda image, path: write(path, fits.ImageHDU(np.zeros((2, 40, 40))), fits.ImageHDU(image)),
}  # fmt: skip
ARRAYS = {
    "nJy": (lambda image: image * 10 * u.nJy, None, 10),
    "CCDData": (lambda image: CCDData(image, unit="electron/s", meta={"MAGZERO": ZP}), None, 1),
    "counts": (lambda image: np.rint(image * 1e5).astype(int), ZP + 12.5, 1e5),
}
MASKED = {
    "nan": lambda image, bad: {"image": np.where(bad, np.nan, image)},
    "mask": lambda image, bad: {"image": np.where(bad, 50, image), "mask": bad},
    "weight": lambda image, bad: {"image": np.where(bad, 50, image), "weight": np.where(bad, 0, 3)},
    "rms": lambda image, bad: {"image": np.where(bad, 50, image), "rms": np.where(bad, np.inf, 3)},
    "CCDData": lambda image, bad: {"image": CCDData(np.where(bad, 50, image), unit="electron/s", mask=bad)},
    "never observed": lambda image, bad: {"image": np.where(bad, 0, image)},
}


class TestWhatGoesIn:
    @pytest.mark.parametrize("name", FILES)
    def test_a_file(self, measure, measured, image, tmp_path, name):
        FILES[name](image, tmp_path / name)
        same(measured[0], measure(tmp_path / name, ZP), rtol=0.03 if name == "scaled.fits" else 1e-4)

    @pytest.mark.parametrize("given", ARRAYS)
    def test_an_array(self, measure, measured, image, given):
        make, zeropoint, flux = ARRAYS[given]
        same(measured[0], measure(make(image), zeropoint), flux, rtol=0.03)

    @pytest.mark.parametrize(("header", "zeropoint"), [
        ({"MAGZPT": 24.5}, 24.5), ({"BUNIT": "nJy"}, 31.4), ({"BUNIT": "MJy/sr", "PIXAR_SR": 1e-14}, 28.9),
        ({"PHOTFLAM": 3.0386e-20, "PHOTPLAM": 10551.0, "BUNIT": "ELECTRONS/S"}, 26.2687),
        ({"PHOTFLAM": 3.0386e-20, "PHOTPLAM": 10551.0, "BUNIT": "ELECTRONS", "EXPTIME": 100.0}, 31.2687),
    ])  # fmt: skip
    def test_zeropoint_of_a_header(self, measure, image, tmp_path, header, zeropoint):
        fits.writeto(tmp_path / "x.fits", image[:100, :100], fits.Header(header))
        table = measure(tmp_path / "x.fits")
        np.testing.assert_allclose(table.meta["zeropoint"], zeropoint, atol=2e-3)
        np.testing.assert_allclose(table["mag"], zeropoint - 2.5 * np.log10(table["flux"]), atol=3e-3)

    @pytest.mark.parametrize("given", MASKED)
    def test_masked_pixels_are_never_read(self, measure, measured, image, given):
        bad, (y, x) = np.zeros(image.shape, bool), (int(measured[0][axis][12]) for axis in ("y", "x"))
        bad[y - 3 : y, x - 8 : x + 8] = bad[200:, 230:] = True
        table = measure(zeropoint=ZP, **MASKED[given](image, bad))
        same(measure(np.where(bad, np.nan, image), ZP), table)
        assert 0 < np.sum(table["masked"]) < len(table) / 3
        assert not np.any((table["x"] > 231) & (table["y"] > 201))

    def test_noise_that_varies(self, measure, image):
        """Nothing false is found where it is larger, by either kind of map."""
        sigma = np.where(np.arange(300) < 220, 1.0, 10.0) * np.ones((300, 1))
        noisy = image + sky_noise(np.random.default_rng(1), image.shape, 0.05) * (sigma > 1)
        by_rms = measure(noisy, ZP, rms=sigma)
        same(by_rms, measure(noisy, ZP, weight=5 / sigma**2))
        same(by_rms, measure(CCDData(noisy, unit="adu/s", uncertainty=InverseVariance(sigma**-2.0)), ZP))
        assert np.sum(by_rms["x"] > 220) < 12 < np.sum(measure(noisy, ZP)["x"] > 220) / 2

    def test_another_pixel_scale(self, measure, measured, image):
        """The same sky in pixels of half the size: the same objects, light and magnitudes."""
        fine = np.kron(image, np.ones((2, 2), np.float32)) / 4
        with pytest.warns(UserWarning, match=r"0\.03 arcsec per pixel"):
            table, segmap, model, _ = measure(fine, ZP, pixel_scale=0.03, maps=True)
        np.testing.assert_allclose(table["x"], 2 * measured[0]["x"] + 0.5, atol=0.05)
        np.testing.assert_allclose(table["flux"], measured[0]["flux"], rtol=0.03)
        np.testing.assert_allclose(table["size"], 2 * measured[0]["size"], rtol=0.05)
        assert np.mean(segmap[::2, ::2] == measured[1]) > 0.999
        np.testing.assert_allclose(model.sum(), measured[2].sum(), rtol=0.01)

    @pytest.mark.parametrize(("give", "words"), [
        (lambda image, path: image, ["zeropoint"]),
        (lambda image, path: image[None], ["(1, 300, 300)", "cube"]),
        (lambda image, path: image[:0], ["0 x 300"]),
        (lambda image, path: image * np.nan * u.nJy, ["no sky"]),
        (lambda image, path: np.ones((99, 99)) * u.Jy, ["no sky"]),
        (lambda image, path: path.write_text("# id ra dec\n1 2 3\n"), ["not a readable FITS"]),
        (lambda image, path: path.write_bytes(b""), ["not a readable FITS"]),
        (lambda image, path: fits.writeto(path, image) or os.truncate(path, 90_000), ["truncated"]),
        (lambda image, path: fits.writeto(path, image[None]), ["(1, 300, 300)", "hdu="]),
        (lambda image, path: Table({"a": [1]}).write(path), ["none", "hdu="]),
        (lambda image, path: None, ["no file"]),
    ])  # fmt: skip
    def test_what_cannot_be_measured(self, measure, image, tmp_path, give, words):
        given = give(image, path := tmp_path / "x.fits")
        given = given if isinstance(given, np.ndarray) else path
        refused(lambda: measure(given), *words, error=FileNotFoundError if words == ["no file"] else ValueError)

    def test_what_does_not_belong_together(self, measure, image):
        for options in ({"mask": image[1:]}, {"rms": image, "weight": image}, {"tile": 100}, {"pixel_scale": 0}):
            refused(lambda options=options: measure(image, ZP, **options), next(iter(options)).split("_")[0])
        refused(lambda: bk.measure_field(image, ZP, network="blend2flux"), "shares")


class TestWhatComesOut:
    def test_columns(self, measured, image):
        table, segmap, model, residual = measured
        assert table.colnames == [n for n in field.COLUMNS.split() if n not in ("ra", "dec", "blended")]
        assert [str(table[name].unit) for name in ("flux", "x", "mag")] == ["ct / s", "pix", "mag"]
        assert np.array_equal(segmap[np.divmod(table["id"] - 1, 300)], table["id"])
        border = np.concatenate([segmap[[0, -1]], segmap.T[[0, -1]]])
        assert np.array_equal(table["edge"], np.isin(table["id"], border))
        sizes = {group: np.sum(table["group"] == group) for group in table["group"]}
        assert np.array_equal(table["n_in_group"], [sizes[group] for group in table["group"]])
        assert table["n_in_group"].max() > 1
        np.testing.assert_allclose(model + residual, image, atol=1e-6)
        bright = image > 0.1
        assert np.all((model[bright] > 0) & (model[bright] < image[bright] + 0.02)), "shares of all are at most one"

    def test_saturation(self, measure, measured, image):
        full = np.minimum(np.rint(image * 3e4) + 3e4, 2**16 - 1).astype(np.uint16)  # what is above 1.18 overflows
        for given, limit, options in ((image, 1.0, {"saturation": 1.0}), (full, 1.184, {})):
            with pytest.warns(UserWarning, match="objects have pixels of"):
                table = measure(given, ZP, **options)
            there = np.unique(measured[1][image >= limit])
            assert np.sum(table["saturated"]) == np.sum(there > 0)

    @pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning")
    def test_files(self, measure, measured, image, tmp_path):
        wcs = WCS({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 53.1, "CDELT1": -1 / 6e4, "CDELT2": 1 / 6e4})
        fits.writeto(tmp_path / "x.fits", image, wcs.to_header())
        out = tmp_path / "out"
        table = measure(tmp_path / "x.fits", ZP, out=out)
        sky = wcs.pixel_to_world(table["x"], table["y"])
        np.testing.assert_allclose([table["ra"], table["dec"]], [sky.ra.deg, sky.dec.deg], atol=1e-7)
        names = {"catalogue.ecsv", "catalogue.fits", *(f"{name}.fits" for name in field.MAPS)}
        assert {path.name for path in out.iterdir()} == names
        for name, expected in zip(field.MAPS, measured[1:], strict=True):
            with fits.open(out / f"{name}.fits") as hdus:
                np.testing.assert_allclose(hdus[0].data, expected, atol=1e-6)
                np.testing.assert_allclose(WCS(hdus[0].header).wcs_pix2world(9, 5, 0), wcs.wcs_pix2world(9, 5, 0))
        table.write(out / "x.xml", format="votable")
        for name in ("catalogue.ecsv", "catalogue.fits", "x.xml"):
            same(measured[0], Table.read(out / name))
            assert Table.read(out / name)["flux"].unit == u.ct / u.s


class TestTiles:
    def test_no_object_depends_on_them(self, measure, survey, whole):
        table, *maps = measure(survey, ZP, tile=192, maps=True)
        same(whole[0], table)
        assert len(table) > 100
        assert np.mean(maps[0] == whole[1]) > 0.999
        np.testing.assert_allclose(maps[1:], whole[2:], atol=1e-5)

    def test_a_call_that_was_stopped_goes_on(self, measure, survey, whole, tmp_path, monkeypatch):
        asked, measure_tile = [], field._measure_tile

        def stops(box, *args):
            asked.append(box)
            if len(asked) == 3:
                raise KeyboardInterrupt
            return measure_tile(box, *args)

        monkeypatch.setattr(field, "_measure_tile", stops)
        with pytest.raises(KeyboardInterrupt):
            measure(survey, ZP, tile=384, out=tmp_path)
        assert len(list(tmp_path.glob("tiles-*/*.ecsv"))) == 2
        same(whole[0], measure(survey, ZP, tile=384, out=tmp_path))
        assert len(asked) == 5, "of four tiles the third was begun twice"
        assert not list(tmp_path.glob("tiles-*"))

    def test_a_worker_dies(self, measure, survey, whole, tmp_path):
        """No tile is lost, no object doubled."""
        distributed = pytest.importorskip("dask.distributed")
        cluster = partial(distributed.LocalCluster, 2, threads_per_worker=1, dashboard_address=None)
        with cluster() as workers, workers.get_client() as client:
            victim, *_ = client.run(os.getpid).values()

            def kill():
                while not list(tmp_path.glob("tiles-*/*.ecsv")):
                    time.sleep(0.05)
                os.kill(victim, signal.SIGKILL)

            threading.Thread(target=kill, daemon=True).start()
            same(whole[0], measure(survey, ZP, tile=192, out=tmp_path, client=client))
            assert victim not in client.run(os.getpid).values()


def test_lone_galaxies(synthetic):
    """The network that ships measures those of the simulation, and says how well."""
    light = bk.load_sample("synthetic", n=200, seed=0, noise="none")
    rows = np.flatnonzero((light.catalog["mag"] < 22.5) & (light.catalog["morphology"] != "irr"))[:36]
    image = np.block([[light.images[i] for i in line] for line in rows.reshape(6, 6)])
    table = bk.measure_field(image + sky_noise(np.random.default_rng(0), image.shape), ZP)
    at = 128 * np.indices((6, 6)).reshape(2, -1, 1) + 64
    away = np.hypot(table["y"] - at[0], table["x"] - at[1])
    assert np.sum(away.min(axis=1) < 3) >= 34
    found, true = table[away.argmin(axis=1)], flux_auto(light.images[rows], light.own_masks()[rows])
    assert np.median(np.abs(found["sep_flux"] / true - 1)) < 0.02
    assert np.median(np.abs(found["flux"] / true - 1)) < 0.06
    assert np.mean(np.abs(found["flux"] - true) < found["flux_err"]) > 0.4


def test_a_real_field_by_its_header():
    table = bk.measure_field(shared("field/abell2744_f105w.fits.gz"))
    assert 40 < len(table) < 80
    np.testing.assert_allclose(table.meta["zeropoint"], 26.269, atol=1e-3)
    assert {"ra", "dec"} < set(table.colnames)
