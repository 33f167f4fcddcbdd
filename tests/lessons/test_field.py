"""Galaxies that are put into a field, and what is told of what comes back."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.nddata import CCDData
from astropy.table import Table
from conftest import module, shared

from blendkit.lessons import experiments as lesson

light = module(lambda make_sample: replace(make_sample(6, sky=0.0), sky_stamps=np.zeros((1, 64, 64), np.float32)))
empty = module(lambda: CCDData(np.zeros((200, 300)), unit="electron / s", header={"MAGZERO": 26.0}))


def test_put_in_adds_each_galaxys_light_at_its_magnitude(light, empty):
    factor = 10 ** (0.4 * (26.0 - light.zeropoint))
    one = lesson.put_in(empty, light[:1], [150], [90], 26.0)
    np.testing.assert_allclose(one.data[58:122, 118:182], factor * light.images[0], rtol=1e-5, atol=1e-9)
    assert one.data.sum() == pytest.approx(factor * light.images[0].sum(), rel=1e-5)
    edges = lesson.put_in(empty, light[:2], [0, 299], [0, 199], 26.0)
    np.testing.assert_allclose(edges.data[:32, :32], factor * light.images[0, 32:, 32:], rtol=1e-5, atol=1e-9)
    assert (one.header, edges.shape, empty.data.max()) == (empty.header, empty.shape, 0)


@pytest.mark.parametrize("found", [True, False])
def test_what_comes_back_is_matched_by_place(light, empty, monkeypatch, found):
    own = Table({"x": [150.0], "y": [100.0], "flux": [500.0]}, meta={"zeropoint": 26.0})
    put = []

    def measure(image, zeropoint):
        galaxies, x, y = put[-1]
        flux = galaxies.catalog["flux_auto"] * 10 ** (0.4 * (zeropoint - galaxies.zeropoint))
        columns = {"x": x + 0.8, "y": y - 0.8, "flux": flux, "flux_err": flux / 10, "sep_flux": 2 * flux}
        return Table(columns)[: None if found else 0]

    monkeypatch.setattr(lesson, "put_in", lambda field, *what: put.append(what[:3]))
    monkeypatch.setattr(lesson, "measure_field", measure)
    light.catalog["flux_auto"] = light.images.sum(axis=(1, 2))
    back = lesson.recovered(empty, own, light, n=4, rounds=3, seed=1)
    assert len(back) == 12
    np.testing.assert_allclose(back["flux"], back["true"] if found else np.nan)
    np.testing.assert_allclose(back["sep_flux"], 2 * back["true"] if found else np.nan)
    np.testing.assert_allclose(back["mag"], 26 - 2.5 * np.log10(back["true"]))
    beside = np.hypot(back["x"] - 150, back["y"] - 100)
    assert (beside[1::2] < 26).all()
    assert (back["near"] <= beside + 1e-6).all()


def test_where_there_is_no_real_sky_it_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(lesson, "_at_hand", lambda name: None)
    field = lesson.open_field(3)
    assert "SIMULATED" in capsys.readouterr().out
    assert (field.header["MAGZERO"], np.isfinite(field.data).all()) == (25.96, True)
    assert lesson.known_galaxies(str(tmp_path), 20, 3).name.startswith("synthetic")


def test_real_sky_and_real_galaxies_are_found_beside_the_checkout(capsys, monkeypatch):
    monkeypatch.setattr(lesson, "CHECKOUT", shared("field").parents[2] / "any")
    assert lesson.open_field().wcs is not None
    assert "The real sky: HST" in capsys.readouterr().out
    galaxies = lesson.known_galaxies("a folder", 20)
    mag = galaxies.zeropoint - 2.5 * np.log10(galaxies.catalog["flux_auto"])
    np.testing.assert_allclose(mag, galaxies.catalog["mag"], atol=0.15)
