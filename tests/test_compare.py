"""A method from outside goes the whole way: registered, measured, in every figure, table and the scoreboard."""

import numpy as np
import pytest
from astropy.table import Table
from matplotlib.text import Text

import blendkit as bk
from blendkit import figures, metrics, scoreboard, tables


@pytest.fixture(scope="module")
def exam(synthetic_clean):
    """Blends, their images and true masks, and the predictions of constant shares beside SEP."""
    blends = bk.draw_blends(synthetic_clean, 80, seed=3)
    images, masks, _ = bk.render(synthetic_clean, blends)

    def constant(images, share=0.6):
        total = images.sum(axis=(1, 2))
        flux = {"flux_central": share * total, "flux_companion": (1 - share) * total}
        err = {f"{name}_err": 0.5 * np.abs(values) for name, values in flux.items()}
        halves = np.zeros((*images.shape, 2), bool)
        halves[:, :, :64, 0] = halves[:, :, 64:, 1] = True
        return Table(flux | err | {"masks": halves})

    bk.deblenders.register("constant shares", constant, replace=True)
    predictions = bk.deblenders.measure(images, ["SEP", "constant shares"], truth=blends)
    return synthetic_clean, blends, masks, predictions


FIGURES = {
    "recovered_magnitudes": lambda s, b, m, p: figures.recovered_magnitudes(b, p),
    "recovered_by_detection": lambda s, b, m, p: figures.recovered_by_detection(
        b, {name: with_case(pred, p["SEP"]["case"]) for name, pred in p.items()}
    ),
    "flux_kinds": lambda s, b, m, p: figures.flux_kinds(b, p),
    "errors_by_delta_mag": lambda s, b, m, p: figures.errors_by_delta_mag(b, p),
    "median_and_scatter": lambda s, b, m, p: figures.median_and_scatter(b, p),
    "median_and_scatter, distance": lambda s, b, m, p: figures.median_and_scatter(b, p, by="distance"),
    "by_morphology": lambda s, b, m, p: figures.by_morphology(b, p),
    "failure_map": lambda s, b, m, p: figures.failure_map(b, p),
    "calibration_curve": lambda s, b, m, p: figures.calibration_curve(b, p),
    "explore_errors": lambda s, b, m, p: figures.explore_errors(s, b, p).figure,
    "worst_blends": lambda s, b, m, p: figures.worst_blends(s, b, p["constant shares"], n=3),
    "masks_beside": lambda s, b, m, p: figures.masks_beside(s, b, {"constant shares": p["constant shares"]["masks"]}),
    "iou_by_type": lambda s, b, m, p: figures.iou_by_type(
        b, {"constant shares": metrics.iou(m, np.asarray(p["constant shares"]["masks"]))}
    ),
}


def with_case(pred, case):
    pred = pred.copy()
    pred["case"] = case
    return pred


def words(figure):
    """Everything that is written in a matplotlib or plotly figure."""
    if hasattr(figure, "findobj"):
        return " ".join(text.get_text() for text in figure.findobj(Text))
    return str(figure)


@pytest.mark.parametrize("name", FIGURES)
def test_constant_shares_stand_in_every_figure(exam, name):
    text = words(FIGURES[name](*exam))
    assert "constant shares" in text or name == "worst_blends"  # which is given a single method, without its name


def test_constant_shares_stand_in_every_table(exam):
    _, blends, masks, predictions = exam
    ious = {"constant shares": metrics.iou(masks, np.asarray(predictions["constant shares"]["masks"]))}
    for table in (
        metrics.scores(blends, predictions), metrics.figure_5(blends, predictions), tables.table2(blends, predictions),
        metrics.binned_scores(blends, predictions, "distance"), metrics.calibration(blends, predictions),
        metrics.mask_scores(blends, ious), tables.ranking(blends, predictions),
        scoreboard.scoreboard("mine", blends, predictions),
    ):  # fmt: skip
        assert "constant shares" in table["method"]
    ranking = tables.ranking(blends, predictions)
    assert list(ranking["method"]) == ["SEP", "constant shares"]
    assert (ranking["seconds"] > 0).all()
    assert "constant shares" in scoreboard.readable(scoreboard.scoreboard("mine", blends, predictions))


def without(pred, name):
    pred = pred.copy()
    pred.remove_column(name)
    return pred


def shuffled(blends, pred):
    pred = pred.copy()
    pred["central"], pred["companion"] = blends["central"], blends["companion"]
    return pred[::-1]


def nothing(pred):
    pred = pred.copy()
    for galaxy in ("central", "companion"):
        pred[f"flux_{galaxy}"] = np.nan
    return pred


WRONG = {
    "missing column": (lambda b, p: without(p, "flux_companion"), "have no column flux_companion"),
    "other length": (lambda b, p: p[1:], "have 79 rows for 80 blends"),
    "wrong order": (shuffled, "order|ids"),
    "nothing measured": (lambda b, p: nothing(p), "measured nothing"),
}
OTHERS = ("worst_blends", "masks_beside", "iou_by_type", "recovered_by_detection")  # figures that take something else
TAKERS = {
    "scores": lambda s, b, m, p: metrics.scores(b, p),
    "figure_5": lambda s, b, m, p: metrics.figure_5(b, p),
    "binned_scores": lambda s, b, m, p: metrics.binned_scores(b, p, "distance"),
    "calibration": lambda s, b, m, p: metrics.calibration(b, p),
    "table2": lambda s, b, m, p: tables.table2(b, p),
    "ranking": lambda s, b, m, p: tables.ranking(b, p),
    "scoreboard": lambda s, b, m, p: scoreboard.scoreboard("mine", b, p),
    **{name: draw for name, draw in FIGURES.items() if name not in OTHERS},
}


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_tables_get_one_sentence_everywhere(exam, wrong, taker):
    sample, blends, masks, predictions = exam
    spoil, message = WRONG[wrong]
    with pytest.raises(ValueError, match=message) as refusal:
        TAKERS[taker](sample, blends, masks, {"mine": spoil(blends, predictions["constant shares"])})
    text = str(refusal.value)
    assert "'mine'" in text
    assert "\n" not in text
    assert text.endswith(".")


def test_worst_blends_refuses_wrong_tables_too(exam):
    sample, blends, _, predictions = exam
    for spoil, message in WRONG.values():
        with pytest.raises(ValueError, match=message):
            figures.worst_blends(sample, blends, spoil(blends, predictions["constant shares"]))
