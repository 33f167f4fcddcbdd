"""Masks beside the true ones, worst blends and the plotly figure: what is drawn is what the metrics say."""

from functools import partial

import numpy as np
import pytest
from astropy.table import Table
from conftest import refused
from matplotlib.colors import to_rgb
from matplotlib.container import BarContainer
from numpy.testing import assert_allclose, assert_array_equal

import blendkit as bk
from blendkit import figures, metrics
from blendkit.figures.style import COLOURS, MEMBERS, sky_noise

true = pytest.fixture(scope="module")(lambda accepted, blends: bk.render(accepted, blends)[1])


@pytest.fixture(scope="module")
def pred(blends, true):
    """Fluxes off by more and more, two not measured, and masks that lack a part of the truth."""
    off = 10 ** (0.4 * np.linspace(0, 1.5, len(blends)))
    table = Table({"flux": blends["flux"] * np.stack([off, 1 / off], 1), "masks": true.copy()})
    table["flux"][[5, 9], 1] = np.nan, -1
    table["masks"][:, : true.shape[1] // 2] = False
    table.meta["method"] = "half of it"
    return table


def test_masks_and_ious_are_those_of_the_metrics(drawn, accepted, blends, true, pred):
    none = np.zeros_like(true)
    fig = drawn(lambda: figures.masks_beside(accepted, blends, {"half": pred, "none": none, "all": true}))
    axes, scores = np.reshape(fig.axes, (3, 5)), metrics.iou(true, np.asarray(pred["masks"]))
    rows = [int(line[0].get_ylabel().split("\n")[0].removeprefix("row ")) for line in axes]
    apart = (blends["distance"] / blends["r_eff"][:, 0])[rows]
    assert (np.diff(apart) >= 0).all()  # from close to far apart
    assert apart[-1] > 1.5 * apart[0]
    for line, row, far in zip(axes, rows, apart, strict=True):
        for ax, ious in zip(line[2:], (scores[row], (0, 0), (1, 1)), strict=True):
            assert ax.get_xlabel() == "{:.2f} / {:.2f}".format(*ious)
        assert line[0].get_ylabel().endswith(f"{blends['distance'][row]:.0f} px = {far:.1f} R$_e$")
        for k, member in enumerate(MEMBERS):
            colours = [to_rgb(COLOURS[which]) for which in (member, "overlap")]
            coloured = [(line[1].images[0].get_array() == colour).all(-1) for colour in colours]
            assert_array_equal(np.any(coloured, axis=0), true[row, ..., k])
    assert [ax.get_title() for ax in axes[0]] == ["blend", "true masks", "half", "none", "all"]


def test_ious_by_type_are_those_of_the_metrics(drawn, blends, true, pred):
    half = metrics.iou(true, np.asarray(pred["masks"]))
    half[3], half[4, 1] = np.nan, np.nan
    ious, blends = {"half": half, "all": metrics.iou(true, true)}, blends.copy()
    blends["morphology"] = np.stack([["sph"] * 18 + ["irr"] * 14 + ["sphd"] * 8, ["disk"] * 40], axis=1)
    fig, table = drawn(lambda: figures.iou_by_type(blends, ious)), metrics.mask_scores(blends, ious)
    table = table[(table["member"] == "both") & (table["pair"] != "all") & (table["n"] >= 10)]
    left, right = fig.axes
    bars = [container for container in right.containers if isinstance(container, BarContainer)]
    for name, container in zip(ious, bars, strict=True):
        assert_allclose([bar.get_width() for bar in container], table["iou"][table["method"] == name])
    labels = [label.get_text() for label in right.get_yticklabels()]
    assert labels == ["sph + disk (17)", "disk + irr (14)"]  # one is NaN, eight are too few
    assert fig.get_suptitle().startswith("Mean IoU of the masks: best is all, 1.000")
    counts = np.histogram(np.nanmean(np.delete(half, 3, axis=0), axis=1), np.linspace(0, 1, 21))[0]
    assert left.patches[0].get_xy()[:, 1].max() == pytest.approx(100 * counts.max() / 39)


def test_a_single_blend(drawn, accepted, blends, true, pred):
    assert len(drawn(lambda: figures.masks_beside(accepted, blends[:1], {"true": true[:1]})).axes) == 3
    drawn(lambda: figures.iou_by_type(blends[:1], {"all": metrics.iou(true, true)[:1]}))
    drawn(lambda: figures.worst_blends(accepted, blends[7:8], pred[7:8], member="central"))


def test_what_cannot_be_drawn_is_refused(accepted, blends, true, pred):
    for methods in ({}, {"SEP": pred["flux",]}, {"mine": true[:3]}):
        refused(partial(figures.masks_beside, accepted, blends, methods), "masks")
    refused(lambda: figures.masks_beside(accepted, blends[:0], {"true": true}), "no blends")
    refused(lambda: figures.iou_by_type(blends, {"none": np.full((40, 2), np.nan)}), "all IoUs are NaN")
    refused(lambda: figures.worst_rows(blends, pred, "third"), "third")


def test_the_worst_is_really_worst(accepted, blends, pred):
    assert figures.worst_rows(blends, pred, "central").tolist() == [*range(39, -1, -1)]
    rows = figures.worst_rows(blends, pred)
    assert rows.tolist() == [5, 9, *(i for i in range(39, -1, -1) if i not in (5, 9))]
    three = bk.draw_blends(accepted, 6, seed=3, members=3)
    times = np.ones((6, 3))
    times[2, 2] = 100
    assert figures.worst_rows(three, Table({"flux": times * three["flux"]}))[0] == 2  # the worst of several companions


def test_the_worst_are_shown_with_what_went_wrong(drawn, accepted, blends, pred):
    fig = drawn(lambda: figures.worst_blends(accepted, blends, pred, n=6))
    assert "2 not measured, the others off by 1.38 to 1.50 mag" in " ".join(fig.get_suptitle().split())
    assert [int(ax.get_title().split("\n")[0].removeprefix("row ")) for ax in fig.axes] == [5, 9, 39, 38, 37, 36]
    true = blends.meta["zeropoint"] - 2.5 * np.log10(blends["flux"][:, 1])
    assert fig.axes[0].get_xlabel() == f"{true[5]:.2f}: not measured"
    assert fig.axes[2].get_xlabel().split() == f"{true[39]:.2f} → {true[39] + 1.5:.2f} (+1.50)".split()
    shade = figures.stretch(bk.render(accepted, blends[39:])[0][0], sky_noise(accepted))
    assert_array_equal(fig.axes[2].images[0].get_array(), shade)


def test_points_are_the_errors(twenty):
    blends, predictions = twenty
    fig = figures.errors_plotly(blends, predictions)
    assert [trace.name for trace in fig.data] == ["fluxes (2 not measured)", "exact"]
    for trace, pred in zip(fig.data, predictions.values(), strict=True):
        assert_allclose(trace.y, metrics.delta_mag(blends, pred)[:, 1])
        assert_array_equal(trace.x, blends["delta_mag"])
    mags = blends.meta["zeropoint"] - 2.5 * np.log10(blends["flux"][3])
    said = [f"{member}: id {blends['id'][3, k]}, {blends['morphology'][3, k]}, {mags[k]:.2f} mag"
            for k, member in enumerate(MEMBERS)]  # fmt: skip
    assert fig.data[0].text[3].split("<br>") == ["row 3", *said, f"distance {blends['distance'][3]:.1f} pixels"]
    central = figures.errors_plotly(blends, predictions, "distance", "central").data[0]
    assert_array_equal(central.x, blends["distance"])
    assert_allclose(central.y, metrics.delta_mag(blends, predictions["fluxes"])[:, 0])


def test_unknown_words_and_other_blends_are_refused(twenty):
    blends, predictions = twenty
    for given, by, member in ((20, "colour", "central"), (20, "distance", "both"), (9, "distance", "central")):
        exact = {"exact": predictions["exact"][:given]}
        refused(lambda a=(exact, by, member): figures.errors_plotly(blends, *a), *["rows for"] * (given < 20))
