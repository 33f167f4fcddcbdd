"""The paper's catalogue through the public functions: the published numbers, to the last digit given."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from conftest import beside, only_row
from numpy.testing import assert_allclose, assert_array_equal

import blendkit as bk
from blendkit.data import load
from blendkit.metrics.scores import case_shares, figure_5, scores

COLUMNS, PAPER = beside(__file__, "paper.toml").values()
TWO_BLENDS = Path(__file__).with_name("two_blends.csv").read_text(encoding="utf-8")


@pytest.fixture
def own_file(tmp_path):
    (path := tmp_path / "mine.csv").write_text(TWO_BLENDS)
    return path


# as numpy reads it, for calculations that use nothing of blendkit
READ = {"delimiter": ",", "names": True, "dtype": None, "encoding": "utf-8"}
raw = pytest.fixture(scope="module")(lambda published_csv: np.genfromtxt(published_csv, **READ))


class TestPublishedNumbers:
    def test_the_catalogue_as_blends(self, published, published_csv, raw):
        assert hashlib.sha256(published_csv.read_bytes()).hexdigest() == load.SHA256
        blends, predictions = published
        assert (len(blends), blends.meta) == (4776, {"name": "output_catalog.csv", "zeropoint": 25.96})
        columns = {"id": "id", "mag": "mag", "r_eff": "rad", "z": "z", "morphology": "type", "flux": "flux"}
        assert set(blends.colnames) == {"blend_id", *columns, "distance", "delta_mag"}
        for name, theirs in columns.items():
            assert_array_equal(blends[name], np.stack([raw[f"g1_{theirs}"], raw[f"g2_{theirs}"]], axis=1))
        assert ((blends["blend_id"] == raw["id"]) & (blends["delta_mag"] == raw["g1_mag"] - raw["g2_mag"])).all()
        assert_allclose(25.96 - 2.5 * np.log10(blends["flux"]), blends["mag"], atol=1e-6)
        assert list(predictions) == ["blend2flux", "blend2mask2flux", "SExtractor"]
        assert all(pred.colnames == ["blend_id", "flux", "case"] for pred in predictions.values())
        sextractor = predictions["SExtractor"]
        for place, column in enumerate(("g1_sex_mag", "g2_sex_mag")):
            assert_allclose(25.96 - 2.5 * np.log10(sextractor["flux"][:, place]), raw[column], atol=1e-6)
        assert "true positions" in sextractor.meta["matching"]
        assert "pixels only" in predictions["blend2flux"].meta["matching"]

    @pytest.mark.parametrize(COLUMNS, PAPER)
    def test_scores(self, published, method, member, n, bias, scatter, outliers, mape, n_all, mape_flux):
        """Figure 5, and the flux errors over all blends."""
        blends, predictions = published[0], {method: published[1][method]}
        got = only_row(figure_5(blends, predictions, n_bootstrap=2), member=member)
        assert (got["n"], got["failed"]) == (n, 0)
        assert (f"{got['bias']:.3f}", f"{got['scatter']:.3f}", f"{got['mape_mag']:.2f}") == (bias, scatter, mape)
        assert f"{100 * got['outliers']:.{len(outliers.partition('.')[2])}f}" == outliers
        got = only_row(scores(blends, predictions, n_bootstrap=2), member=member, case="all")
        assert (got["n"], got["failed"]) == (n_all, 4776 - n_all)
        assert not mape_flux or f"{got['mape_flux']:.2f}" == mape_flux

    def test_detections_and_the_error_of_the_published_mape(self, published):
        """Resampling galaxies doubles it."""
        blends, pred = published[0], published[1]["blend2flux"]
        shares = case_shares(blends, published[1]["SExtractor"])["share"]
        assert [f"{100 * share:.1f}" for share in shares] == ["74.3", "6.2", "16.6", "2.9", "0.0"]
        got = only_row(scores(blends, {"b2f": pred}, n_bootstrap=500), member="central", case="all")
        by_row = 100 * np.abs(pred["flux"][:, 0] / blends["flux"][:, 0] - 1).std() / np.sqrt(len(blends))
        assert (got["mape_flux_err"], by_row) == (pytest.approx(0.26, abs=0.02), pytest.approx(0.14, abs=0.01))


class TestFiles:
    def test_a_file_of_ones_own(self, own_file):
        blends, predictions = bk.load_published(str(own_file))
        assert (blends.meta["name"], blends["id"].tolist()) == ("mine.csv", [[7, 9], [8, 7]])
        assert predictions["SExtractor"]["case"].tolist() == ["both", "only companion"]
        assert_allclose(predictions["SExtractor"]["flux"][:, 0], [80 * 10 ** (0.4 * 0.29), np.nan])
        for text in ("\ufeff" + TWO_BLENDS.replace("\n", "\r\n"), TWO_BLENDS.replace(",", "\t")):  # from a spreadsheet
            own_file.write_bytes(text.encode())
            for ours, theirs in zip(bk.load_published(own_file)[1].values(), predictions.values(), strict=True):
                assert all(np.array_equal(ours[c], theirs[c], equal_nan=c == "flux") for c in theirs.colnames)

    @pytest.mark.parametrize(("old", "new", "word"), [
        ("g1_type", "kind", "g1_type"),
        (TWO_BLENDS, "", "CSV"),
        (TWO_BLENDS, "\xa2\x81\0,\n", "CSV"),
        (TWO_BLENDS[-200:], "", "no rows"),
        ("10.5", "far", "distance"),
        (",1,,19.5", ",7,,19.5", "unknown detection case"),
        ("0.9,irr,9", "0.9,,9", "empty field in its column g1_type, row .1"),
        ("242.1", "nan", "empty field in its column g1_flux, row .2"),
    ])  # fmt: skip
    def test_a_wrong_file_gets_one_sentence(self, own_file, old, new, word):
        own_file.write_bytes(TWO_BLENDS.replace(old, new).encode("latin-1"))
        with pytest.raises(ValueError, match=rf"^[^\n]*{word}[^\n]*\.$"):
            bk.load_published(own_file)
        own_file.unlink()
        with pytest.raises(FileNotFoundError, match=r"mine\.csv.*'coindeblend' to download it\.$"):
            bk.load_published(own_file)

    def test_the_authors_file_is_fetched_with_its_checksum(self, own_file, monkeypatch, tmp_path):
        monkeypatch.setenv("BLENDKIT_DATA", str(tmp_path))
        asked = []
        monkeypatch.setattr(load, "fetch", lambda *args: asked.append(args) or own_file)
        assert bk.load_published()[0].meta["name"] == "published catalogue (Boucaud et al. 2019)"
        assert asked == [(load.URL, load.SHA256, tmp_path / "coindeblend" / "output_catalog.csv")]
