"""The exam that sliders set, and the paper's answers with and without a network."""

from numpy.testing import assert_allclose

from blendkit import lessons, metrics
from blendkit.data import load
from tests.figures.test_accuracy import make_exam, measure
from tests.widgets.conftest import drive, errors  # noqa: F401
from tools.reference import published_scores


def test_sliders_choose_which_blends_count(drive):  # noqa: F811
    blends = make_exam(200)
    predictions = {"SEP": measure(blends, 1, 0.5), "fractions": measure(blends, 2, 0.1)}
    exam, near = lessons.ExamSliders(blends, predictions), blends["distance"] / blends["r_eff"].max(axis=1)
    for chosen, here in (((exam.distance.min, exam.distance.max), near > 0), ((1.0, 2.0), (near >= 1) & (near <= 2))):
        exam.distance.value = chosen
        assert f"{here.sum()} of 200 blends" in exam.chart.value
        few = {name: pred[here] for name, pred in predictions.items()}
        for row in metrics.ranking(blends[here], few, n_bootstrap=2):
            got = exam.errors[row["method"]]
            assert_allclose([got["mean"], got["not found"]], [row["mape_all"], row["failed"]])
    exam.delta_mag.value = (exam.delta_mag.min, exam.delta_mag.min)
    assert exam.errors == {}
    assert exam.chart.value in exam._repr_mimebundle_().values()
    drive()


def test_stored_numbers_are_those_of_the_catalogue(published, published_csv):
    made, stored = published_scores(published_csv, 2), metrics.reference_scores(file="published_scores.ecsv")
    for name in ("method", "member", "case", "n", "failed"):
        assert stored[name].tolist() == made[name].tolist()
    for name in ("share", "bias", "scatter", "outliers", "mape_mag", "mape_flux", "median_flux"):
        assert_allclose(stored[name], made[name])
    shares = metrics.case_shares(published[0], published[1]["SExtractor"])
    assert_allclose(lessons.paper_cases(stored)["share"], shares["share"][shares["share"] > 0])
    texts = lessons.plus_minus(stored, "case mape_flux")["mape_flux"]
    assert (texts[0], texts[30]) == (f"{made['mape_flux'][0]:.2f} ± {stored['mape_flux_err'][0]:.2f}", "–")


def test_without_a_network_one_sentence_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("BLENDKIT_DATA", str(tmp_path))
    monkeypatch.setattr(load, "URL", "http://127.0.0.1:9/output_catalog.csv")
    assert lessons.published() == (None, None)
    assert [line[:11] for line in capsys.readouterr().out.splitlines()] == ["Downloading", "You see the"]
