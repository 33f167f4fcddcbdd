"""Figures of stamps, masks and errors: they show the pixels that they name, and the numbers of noise and metrics."""

from functools import partial

import numpy as np
import pytest
from astropy.table import Table, vstack
from conftest import changed, module, refused
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb
from matplotlib.container import BarContainer
from matplotlib.text import Text
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from numpy.testing import assert_allclose, assert_array_equal

import blendkit as bk
from blendkit import figures, metrics
from blendkit.figures.style import COLOURS, MEMBERS, sky_noise

NOISE, SIZE = 0.006, 96
REASONS = ("the label at the centre is not the catalogue's; flux far from the catalogue's", "rejected by eye")
# round galaxies, ids 10 to 17 from bright to faint, each with a neighbour in one corner
ROUND = {"sigma": 2.5, "mags": np.linspace(20, 22.5, 8), "neighbours": [(-28, 26, 60)]}
sample = module(lambda make_sample: make_sample(8, (SIZE, SIZE), **ROUND))
clean = module(lambda sample: bk.clean(sample, decisions=dict.fromkeys(range(10, 18), "accept"), n_jobs=1))
true = module(lambda accepted, blends: bk.render(accepted, blends)[1])
pairs = module(lambda clean: bk.draw_blends(clean, 40, seed=1))


def shown(drawn, function, sample, *args):
    """A figure of stamps that can be read: with one scale bar as long as it says, and units on all other axes."""
    fig = drawn(lambda: function(sample, *args))
    (bar,) = fig.findobj(AnchoredSizeBar)
    arcsec = bar.size_bar.get_children()[0].get_width() * sample.pixel_scale
    assert_allclose(float(bar.txt_label.get_text().rstrip("″")), arcsec)
    assert fig.get_figheight() < 6.7, "a laptop shows all of it"
    assert all(ax.images or "(" in ax.get_xlabel() + ax.get_ylabel() for ax in fig.axes)
    return fig


def dropping(clean, *reasons):
    """The report of a cleaning that dropped the first galaxies for these reasons."""
    report = clean.report.copy()
    report["kept"] = np.arange(len(report)) >= len(reasons)
    report["reason"] = [*reasons, *[""] * (len(report) - len(reasons))]
    return report


def shades(ax):
    return np.asarray(ax.images[0].get_array())


def said(fig):
    """All texts of a figure, on one line."""
    return " ".join(" ".join(text.get_text() for text in fig.findobj(Text)).replace("\xa0", " ").split())


def test_stretch_maps_flux_to_shades():
    flux = np.linspace(-0.1, 20, 1000)
    shade = figures.stretch(flux.reshape(20, 50))
    assert (shade.shape, shade.dtype) == ((20, 50), np.float32)
    assert (np.diff(shade.ravel()) >= 0).all()
    assert_allclose(figures.stretch([-1, -3 * NOISE, 1000 * NOISE, 100]), [0, 0, 1, 1], atol=1e-6)
    assert_allclose(figures.stretch(2 * flux, noise=2 * NOISE), figures.stretch(flux), rtol=1e-5)


def test_before_and_after_show_these_galaxies_or_neighbours_well_apart(drawn, sample, clean):
    fig, noise = shown(drawn, figures.stamps_before_after, sample, clean, [15, 11]), sky_noise(sample)
    assert [ax.get_title().split("\n")[0] for ax in fig.axes[:2]] == ["galaxy 15", "galaxy 11"]
    assert_allclose(noise, NOISE, rtol=0.03)
    assert_array_equal(shades(fig.axes[0]), figures.stretch(sample.images[5], noise))
    assert_array_equal(shades(fig.axes[3]), figures.stretch(clean.images[1], noise))
    close = changed(clean, images=(np.s_[[2, 5], SIZE // 2, SIZE // 2 + 9], 1))  # replaced close to galaxies 12 and 15
    fig = shown(drawn, figures.stamps_before_after, sample, close)
    ids = [int(ax.get_title().split()[1]) for ax in fig.axes[:4]]
    assert (ids, len(figures.stamps_before_after(sample, sample).axes)) == (sorted({*ids} - {12, 15}), 8)


def test_sky_fills_are_the_same_outside_of_the_hole(drawn, sample):
    fig = shown(drawn, figures.sky_fills, sample, 12)
    single, patches = (shades(ax) for ax in fig.axes[:2])
    assert_array_equal(single[36:], patches[36:])
    assert_array_equal(single[36:], sample.images[2][36:])
    assert all(line.get_ydata()[:2] == pytest.approx([1, 0], abs=0.1) for line in fig.axes[2].lines), "white noise"


def test_rejected_stamps_show_every_reason_before_one_comes_again(drawn, sample, clean):
    fig = shown(drawn, figures.rejected_stamps, sample, dropping(clean, REASONS[0], REASONS[0], *[REASONS[1]] * 4))
    texts = [(ax.get_title().split(",")[0], " ".join(ax.get_xlabel().split())) for ax in fig.axes[:3]]
    first = REASONS[0].split(";")[0] + " (+ 1 more)"
    assert texts == [("galaxy 10", first), ("galaxy 12", REASONS[1]), ("galaxy 11", first)]
    assert "dropped none of 8 stamps" in drawn(lambda: figures.rejected_stamps(sample, dropping(clean))).get_suptitle()


def test_the_grid_shows_the_rendered_blends(drawn, clean):
    fig = shown(drawn, figures.blend_grid, clean, 11, 14, (6, 12, 25), (-1, 1.5))
    recipe = bk.make_blends(clean, [(11, 14)] * 6, [6, 12, 25] * 2, 0, np.repeat([-1.0, 1.5], 3))
    for ax, image in zip(fig.axes, bk.render(clean, recipe, masks=False)[0], strict=True):
        assert_array_equal(shades(ax), figures.stretch(image, sky_noise(clean)))
    assert fig.axes[1].get_title().startswith("12 px = 0.72″")
    shown(drawn, figures.blend_grid, clean, 11, 14, [10], [0])


def test_parts_show_blend_galaxies_and_overlap(drawn, clean):
    recipe = bk.make_blends(clean, (10, 11, 12), (0, 6, -5), (0, 3, 4), (0, 1.0, 0.5))
    *pictures, masks = shown(drawn, figures.blend_parts, clean, recipe).axes
    (image,), (mask,), (flux,) = bk.render(clean, recipe)
    parts = np.moveaxis(bk.render_parts(clean, recipe)[0], -1, 0)
    for ax, expected in zip(pictures, (image, *parts), strict=True):
        assert_array_equal(shades(ax), figures.stretch(expected, sky_noise(clean)))
    both = mask.sum(axis=-1) > 1
    assert_array_equal((shades(masks) == to_rgb(figures.COLOURS["overlap"])).all(axis=-1), both)
    assert masks.get_xlabel() == f"overlap: {both.sum()} px"
    for ax, value in zip(pictures[1:], flux, strict=True):
        assert ax.get_xlabel().startswith(f"{value:.3g} e⁻/s")


def test_examples_run_from_close_to_far_with_both_galaxies_inside(pairs):
    few = figures.examples(pairs, 4)
    assert (len(few), few["inside"].min() >= 0.9, np.diff(few["distance"]).min() > 0) == (4, True, True)
    assert few.meta["fingerprint"] == pairs.meta["fingerprint"]
    assert len(figures.examples(pairs[:3] | Table({"inside": np.full((3, 2), 0.1)}))) == 3


def test_zero_fill_has_the_noise_of_one_stamp_outside_and_sky_fill_of_two(drawn, clean, pairs):
    sigmas, two = figures.fill_step_sigmas(clean, pairs), NOISE * np.sqrt(2)
    assert_allclose([sigmas[k] for k in ("zero_inside", "sky_inside", "sky_outside")], two, rtol=0.04)
    assert_allclose(sigmas["zero_outside"], NOISE, rtol=0.04)
    assert 0 < sigmas["n_blends"] <= len(pairs)
    text = said(shown(drawn, figures.fill_step, clean, pairs))
    assert all(f"{fill}: {sigmas[f'{fill}_outside']:.4f}" in text for fill in ("zero", "sky"))


def test_dmag_scales_the_noise_of_the_companion(drawn, clean):
    (points,) = (line for line in shown(drawn, figures.dmag_noise, clean).axes[2].lines if line.get_marker() == "o")
    assert_allclose(points.get_ydata(), NOISE * np.sqrt(1 + 10 ** (-0.8 * np.arange(-2, 3))), rtol=0.02)


def test_detection_shares_are_those_of_the_blends(drawn):
    rng, n = np.random.default_rng(0), 600
    blends = Table({"distance": rng.uniform(0, 40, n), "delta_mag": rng.choice([-1.0, 0.2, 1.5], n)})
    blends["id"] = np.ones((n, 2), int)
    # a brighter companion is found from 10 pixels on, another one from 20
    found = blends, np.where(blends["distance"] > np.where(blends["delta_mag"] < 0, 20, 10), 2, 1)
    table = figures.detection_shares(*found)
    assert (set(table["companion"]), table["n"].sum()) == ({"brighter", "alike", "fainter"}, len(blends))
    assert (table["two"][table["high"] <= 10] == 0).all()
    assert (table["two"][table["low"] >= 20.5] == 1).all()
    bright = blends["delta_mag"] == 1.5
    assert figures.detection_shares(*found, bins=1)["two"][0] == pytest.approx((found[1][bright] == 2).mean())
    lone = Table({"distance": [np.nan] * 5, "delta_mag": [np.nan] * 5, "id": [(1, -1)] * 5})
    with_lone = figures.detection_shares(vstack([blends, lone]), [*found[1], *[1] * 5])
    assert with_lone["two"].tolist() == table["two"].tolist(), "blends without a companion are left out"
    fig = drawn(lambda: figures.detection_curve(*found, {"brighter": 9, "fainter": 18}))
    brighter, *others = fig.axes[0].lines
    assert set(brighter.get_ydata()) <= set(100 * table["two"][table["companion"] == "brighter"])
    assert [line.get_xdata()[0] for line in others if line.get_marker() == "*"] == [9, 18], "guesses as stars"


@pytest.mark.parametrize("draw", [
    lambda s, c, b: figures.stamps_before_after(s, c, ids=[7]),
    lambda s, c, b: figures.fill_step_sigmas(c, bk.make_blends(c, (10, 11), 0, 0)),
    lambda s, c, b: figures.examples(b[:0]),
    lambda s, c, b: figures.detection_shares(b, [1, 2, 2]),
    lambda s, c, b: figures.detection_curve(b, [1] * len(b), {"blue": 9}),
])  # fmt: skip
def test_what_cannot_be_drawn_of_stamps_is_refused(draw, sample, clean, pairs):
    refused(lambda: draw(sample, clean, pairs))
    assert plt.get_fignums() == []


@module
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
