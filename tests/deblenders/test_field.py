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
from astropy.nddata import CCDData, InverseVariance, StdDevUncertainty
from astropy.table import Table
from astropy.wcs import WCS
from conftest import gaussian_light, module, refused, shared

import blendkit as bk
from blendkit.data.sky import sky_noise
from blendkit.deblenders import field
from blendkit.networks import weights

ZP = 25.96


@module
def network(tmp_path_factory):
    """An untrained `fractions`, saved: what is tested does not depend on what it says."""
    arguments = {"width": 8, "shape": (64, 64)}
    card = {"architecture": "fractions", "arguments": arguments}
    return weights.save(bk.models.fractions(**arguments), tmp_path_factory.mktemp("network"), "small", card)


def sky(n, seed=0, density=1 / 2500):
    """Round Gaussians in the survey's sky, (n, n) float32 in e-/s."""
    rng = np.random.default_rng(seed)
    image = sky_noise(rng, (n, n)).astype(np.float32)
    for y, x, flux, sigma in rng.uniform((0, 0, 2, 1.5), (n, n, 30, 3), (int(n * n * density), 4)):
        iy, ix = (max(int(c) - 16, 0) for c in (y, x))
        here = np.s_[iy : iy + 32, ix : ix + 32]
        image[here] += gaussian_light(image[here].shape, y - iy, x - ix, flux, sigma)
    return image


@module
def image():
    return sky(300)


@module
def wcs():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [53.1, -27.8], [100, 80]
    wcs.wcs.cdelt = [-0.06 / 3600, 0.06 / 3600]
    return wcs


measure = module(lambda network: partial(bk.measure_field, network=network))
measured = module(lambda measure, image: measure(image, ZP, maps=True))


def same(table, other, flux=1.0, rtol=1e-4):
    """Two tables tell of the same objects, in the second in units in which they have `flux` times as much."""
    assert np.array_equal(table["id"], other["id"])
    np.testing.assert_allclose(other["flux"], flux * table["flux"], rtol=rtol)
    for name in ("x", "y", "mag", "size", "n_in_group", "edge", "masked"):
        np.testing.assert_allclose(other[name], table[name], atol=2e-3, rtol=1e-3)


def scaled_integers(image, path):
    hdu = fits.ImageHDU(np.rint((image - 30) / 1e-7).astype(np.int32))
    hdu.header["BSCALE"], hdu.header["BZERO"] = 1e-7, 30.0
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)


def in_extension(image, path):
    cube = fits.ImageHDU(np.zeros((2, 40, 40)))
    fits.HDUList([fits.PrimaryHDU(), cube, fits.ImageHDU(image, name="SCI"), fits.ImageHDU(image)]).writeto(path)


FILES = {
    "plain.fits": lambda image, path: fits.writeto(path, image),
    "doubles.fits": lambda image, path: fits.writeto(path, image.astype(">f8")),
    "scaled.fits": scaled_integers,
    "zipped.fits.gz": lambda image, path: fits.writeto(path, image),
    "packed.fits.fz": lambda image, path: fits.HDUList(
        [fits.PrimaryHDU(), fits.CompImageHDU(image, compression_type="GZIP_2", quantize_level=0)]
    ).writeto(path),
    "extension.fits": in_extension,
}
ARRAYS = {
    "little ends": (lambda image: image.astype("<f8"), ZP, 1),
    "nJy": (lambda image: image * 10 * u.nJy, None, 10),
    "CCDData": (lambda image: CCDData(image, unit="electron/s", meta={"MAGZERO": ZP}), None, 1),
    "counts": (lambda image: np.rint(image * 1e5).astype(int), ZP + 12.5, 1e5),
    "uncertainty": (lambda image: CCDData(
        image, unit="adu/s", uncertainty=StdDevUncertainty(np.full(image.shape, 7.0))), ZP, 1),
}  # fmt: skip


class TestWhatGoesIn:
    @pytest.mark.parametrize("name", FILES)
    def test_a_file(self, measure, measured, image, tmp_path, name):
        FILES[name](image, tmp_path / name)
        same(measured[0], measure(tmp_path / name, ZP), rtol=1e-3)

    @pytest.mark.parametrize("given", ARRAYS)
    def test_an_array(self, measure, measured, image, given):
        make, zeropoint, flux = ARRAYS[given]
        table = measure(make(image), zeropoint)
        expected = measured[0].copy()
        expected["mag"] += table.meta["zeropoint"] - ZP - 2.5 * np.log10(flux)
        same(expected, table, flux, rtol=0.01)

    @pytest.mark.parametrize(("header", "zeropoint"), [
        ({"MAGZPT": 24.5}, 24.5), ({"BUNIT": "nJy"}, 31.4), ({"BUNIT": "MJy/sr", "PIXAR_SR": 1e-14}, 28.9),
        ({"PHOTFLAM": 3.0386e-20, "PHOTPLAM": 10551.0, "BUNIT": "ELECTRONS/S"}, 26.2687),
        ({"PHOTFLAM": 3.0386e-20, "PHOTPLAM": 10551.0, "BUNIT": "ELECTRONS", "EXPTIME": 100.0}, 31.2687),
    ])  # fmt: skip
    def test_zeropoint_of_a_header(self, measure, image, tmp_path, header, zeropoint):
        fits.writeto(tmp_path / "x.fits", image[:100, :100], fits.Header(header))
        table = measure(tmp_path / "x.fits")
        np.testing.assert_allclose(table.meta["zeropoint"], zeropoint, atol=2e-3)
        np.testing.assert_allclose(table["mag"], zeropoint - 2.5 * np.log10(table["flux"]), atol=1e-3)

    @pytest.mark.parametrize("given", ["nan", "mask", "weight", "rms", "CCDData", "never observed"])
    def test_masked_pixels_are_never_read(self, measure, measured, image, given):
        bad, spoilt, zeros = np.zeros(image.shape, bool), image.copy(), image.copy()
        y, x = (int(measured[0][axis][12]) for axis in ("y", "x"))
        bad[y - 3 : y, x - 8 : x + 8] = bad[200:, 230:] = True
        spoilt[bad], zeros[bad] = np.nan if given == "nan" else 50, 0
        table = {
            "nan": lambda: measure(spoilt, ZP),
            "mask": lambda: measure(spoilt, ZP, mask=bad),
            "weight": lambda: measure(spoilt, ZP, weight=np.where(bad, 0, 3)),
            "rms": lambda: measure(spoilt, ZP, rms=np.where(bad, np.inf, 3)),
            "CCDData": lambda: measure(CCDData(spoilt, unit="electron/s", mask=bad), ZP),
            "never observed": lambda: measure(zeros, ZP),
        }[given]()  # fmt: skip
        same(measure(np.where(bad, np.nan, image), ZP), table)
        assert 0 < np.sum(table["masked"]) < len(table) / 3
        assert not np.any((table["x"] > 231) & (table["y"] > 201))

    def test_noise_that_varies(self, measure, image):
        """No object where the noise is tenfold, by either map."""
        sigma = np.where(np.arange(300) < 150, 1.0, 10.0) * np.ones((300, 1))
        noisy = image + sky_noise(np.random.default_rng(1), image.shape, 0.05) * (sigma > 1)
        by_rms, by_weight = measure(noisy, ZP, rms=sigma), measure(noisy, ZP, weight=5 / sigma**2)
        same(by_rms, by_weight)
        assert np.sum(by_rms["x"] > 152) < np.sum(by_rms["x"] < 148) / 2
        given = CCDData(noisy, unit="adu/s", uncertainty=InverseVariance(sigma**-2.0))
        same(by_rms, measure(given, ZP))

    def test_another_pixel_scale(self, measure, measured, image, wcs):
        """The same sky in pixels of half the size: the same objects, light and magnitudes."""
        fine = np.kron(image, np.ones((2, 2), np.float32)) / 4
        with pytest.warns(UserWarning, match=r"0\.03 arcsec per pixel"):
            table, segmap, model, residual = measure(fine, ZP, pixel_scale=0.03, maps=True)
        np.testing.assert_allclose(table["x"], 2 * measured[0]["x"] + 0.5, atol=0.02)
        np.testing.assert_allclose(table["flux"], measured[0]["flux"], rtol=1e-3)
        np.testing.assert_allclose(table["size"], 2 * measured[0]["size"], rtol=1e-3)
        assert (segmap[::2, ::2] == measured[1]).mean() > 0.999
        np.testing.assert_allclose(model + residual, fine, atol=1e-6)
        np.testing.assert_allclose(model.sum(), measured[2].sum(), rtol=1e-3)

    @pytest.mark.parametrize(("give", "words"), [
        (lambda image, path: image, ["zeropoint"]),
        (lambda image, path: image[None], ["(1, 300, 300)", "cube"]),
        (lambda image, path: image[:1, :1], ["1 x 1"]),
        (lambda image, path: image[:0], ["0 x 300"]),
        (lambda image, path: CCDData(image * np.nan, unit="nJy"), ["no sky"]),
        (lambda image, path: np.ones((99, 99)) * u.Jy, ["no sky"]),
        (lambda image, path: path.write_text("# id ra dec\n1 2 3\n") and path, ["not a readable FITS"]),
        (lambda image, path: path.write_bytes(b"") or path, ["not a readable FITS"]),
        (lambda image, path: fits.writeto(path, image) or (path.write_bytes(path.read_bytes()[:90_000]) and path),
         ["truncated"]),
        (lambda image, path: fits.writeto(path, image[None]) or path, ["(1, 300, 300)", "hdu="]),
        (lambda image, path: Table({"a": [1]}).write(path) or path, ["none", "hdu="]),
        (lambda image, path: path, ["no file"]),
    ])  # fmt: skip
    def test_what_cannot_be_measured(self, measure, image, tmp_path, give, words):
        error = FileNotFoundError if words == ["no file"] else ValueError
        refused(lambda: measure(give(image, tmp_path / "x.fits")), *words, error=error)

    def test_what_does_not_belong_together(self, measure, image):
        refused(lambda: measure(image, ZP, mask=image[1:] > 0), "the mask", "(299, 300)")
        refused(lambda: measure(image, ZP, rms=image, weight=image), "rms and weight")
        refused(lambda: measure(image, ZP, tile=100), "tile")
        refused(lambda: measure(image, ZP, pixel_scale=0), "arcsec")
        refused(lambda: bk.measure_field(image, ZP, network="blend2flux"), "shares")


class TestWhatComesOut:
    def test_columns(self, measured):
        table, segmap, *_ = measured
        assert table.colnames == [name for name in field.COLUMNS.split() if name not in ("ra", "dec", "blended")] + [
            "out_of_domain"]  # fmt: skip
        assert (table["flux"].unit, table["x"].unit, table["mag"].unit) == (u.electron / u.s, u.pix, u.mag)
        assert set(np.unique(segmap)) == {0, *table["id"]}
        y, x = np.divmod(table["id"] - 1, segmap.shape[1])
        assert np.array_equal(segmap[y, x], table["id"])
        assert np.array_equal(
            table["edge"], [i in np.r_[segmap[[0, -1]].flat, segmap[:, [0, -1]].flat] for i in table["id"]]
        )
        for name in set(table["group"]):
            assert np.all(table["n_in_group"][table["group"] == name] == np.sum(table["group"] == name))
        assert table["n_in_group"].max() > 1

    def test_shares_of_all_are_at_most_one(self, measured, image):
        _, _, model, residual = measured
        np.testing.assert_allclose(model + residual, image, atol=1e-6)
        bright = image > 0.1
        assert bright.sum() > 500
        assert np.all((model[bright] > 0) & (model[bright] < image[bright] + 0.02))

    def test_files(self, measure, measured, image, wcs, tmp_path):
        fits.writeto(tmp_path / "x.fits", image, wcs.to_header())
        table = measure(tmp_path / "x.fits", ZP, out=tmp_path / "out")
        same(measured[0], table)
        sky = wcs.pixel_to_world(table["x"], table["y"])
        np.testing.assert_allclose([table["ra"], table["dec"]], [sky.ra.deg, sky.dec.deg], atol=1e-7)
        names = {"catalogue.ecsv", "catalogue.fits", *(f"{name}.fits" for name in field.MAPS)}
        assert {path.name for path in (tmp_path / "out").iterdir()} == names
        for name, expected in zip(field.MAPS, measured[1:], strict=True):
            with fits.open(tmp_path / "out" / f"{name}.fits") as hdus:
                np.testing.assert_allclose(hdus[0].data, expected, atol=1e-6)
                np.testing.assert_allclose(WCS(hdus[0].header).wcs_pix2world(9, 5, 0), wcs.wcs_pix2world(9, 5, 0))
        for kind in ("ecsv", "fits"):
            same(table, Table.read(tmp_path / "out" / f"catalogue.{kind}"))
        table.write(tmp_path / "x.xml", format="votable")
        same(table, Table.read(tmp_path / "x.xml"))

    def test_saturation(self, measure, image):
        table = measure(image, ZP, saturation=1.0)
        assert 0 < np.sum(table["saturated"]) < len(table)
        assert table["flux"][table["saturated"]].min() > np.median(table["flux"])


@module
def survey():
    return sky(700, seed=3)


whole = module(lambda measure, survey: measure(survey, ZP, maps=True))


class TestTiles:
    def test_no_object_depends_on_them(self, measure, survey, whole):
        table, *maps = measure(survey, ZP, tile=192, maps=True)
        same(whole[0], table)
        assert len(table) > 100
        for expected, got in zip(whole[1:], maps, strict=True):
            np.testing.assert_allclose(got, expected, atol=1e-5)

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
        assert len(asked) == 5, "of four tiles, the third was begun twice"
        assert not list(tmp_path.glob("tiles-*"))

    def test_workers_one_of_which_dies(self, measure, survey, whole, tmp_path):
        """No tile is lost, no object doubled."""
        distributed = pytest.importorskip("dask.distributed")
        with (
            distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster,
            cluster.get_client() as client,
        ):
            workers = list(client.run(os.getpid).values())

            def kill():
                while not list(tmp_path.glob("tiles-*/*.ecsv")):
                    time.sleep(0.05)
                os.kill(workers[0], signal.SIGKILL)

            threading.Thread(target=kill, daemon=True).start()
            table = measure(survey, ZP, tile=192, out=tmp_path, client=client)
            assert workers[0] not in client.run(os.getpid).values()
        same(whole[0], table)


def test_isolated_galaxies(synthetic):
    """Those that ship measure lone galaxies of the simulation, and say how well."""
    light = bk.load_sample("synthetic", n=200, seed=0, noise="none")
    rows = np.flatnonzero((light.catalog["mag"] < 22.5) & (light.catalog["morphology"] != "irr"))[:36]
    image = np.block([[light.images[i] for i in line] for line in rows.reshape(6, 6)])
    true = light.images[rows].sum(axis=(1, 2), dtype=float)
    table = bk.measure_field(image + sky_noise(np.random.default_rng(0), image.shape), ZP)
    y, x = (128 * np.arange(6) + 64 for _ in "yx")
    at = np.array([(a, b) for a in y for b in x])
    away = np.hypot(table["y"] - at[:, :1], table["x"] - at[:, 1:])
    assert away.min(axis=1).max() < 3
    found = table[away.argmin(axis=1)]
    off = np.abs(found["flux"] / true - 1)
    assert np.median(off) < 0.06
    assert np.mean(np.abs(found["flux"] - true) < found["flux_err"]) > 0.4
    assert np.median(np.abs(found["sep_flux"] / true - 1)) < 0.06


def test_a_real_field_by_its_header():
    table = bk.measure_field(shared("field/abell2744_f105w.fits.gz"))
    assert 40 < len(table) < 80
    np.testing.assert_allclose(table.meta["zeropoint"], 26.269, atol=1e-3)
