"""Figures: they draw without a screen, stay on their canvas, and their numbers are those of the metrics."""

import subprocess
import sys
import warnings
from functools import cache
from itertools import combinations
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.table import Table
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from numpy.testing import assert_allclose, assert_array_equal

import blendkit as bk
from blendkit import figures, metrics

matplotlib.use("Agg")

ROOT = Path(__file__).resolve().parents[1]
NOISE, SIZE = 0.006, 96
MATCHING = "true positions of both galaxies known (paper, section 3.3)"
FEW_BLENDS = Table({"case": metrics.CASES, "share": [0.2] * 5, "share_err": [0.09] * 5})


def fabricate_sample(n=8, seed=0):
    """Round galaxies, each with a neighbour in one corner."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((SIZE, SIZE))
    mag, width = np.linspace(20, 22.5, n), np.linspace(4, 2, n)
    images = rng.normal(0, NOISE, (n, SIZE, SIZE))
    segmaps = np.zeros((n, SIZE, SIZE), np.uint8)
    for image, segmap, m, w in zip(images, segmaps, mag, width, strict=True):
        for label, (cy, cx) in ((2, (20, 74)), (1, (SIZE // 2, SIZE // 2))):
            r2 = ((y - cy) ** 2 + (x - cx) ** 2) / w**2
            image += 10 ** (-0.4 * (m - 25.96)) * np.exp(-r2 / 2) / (2 * np.pi * w**2)
            segmap[r2 < 12] = label
    types = np.resize(["sph", "disk", "sphd", "irr"], n)
    columns = {"id": np.arange(100, 100 + n), "mag": mag, "r_eff": 1.18 * width, "morphology": types}
    catalog = Table({**columns, "segval": np.ones(n, int)})
    return bk.Sample(images.astype(np.float32), segmaps, catalog, name="fabricated")


def fabricate_predictions(blends, seed=0, **meta):
    """Fluxes off by 10 %, a few not measured, and every detection case."""
    rng = np.random.default_rng(seed)
    pred = Table(meta=meta)
    for galaxy in ("central", "companion"):
        pred[f"flux_{galaxy}"] = blends[f"flux_{galaxy}"] * rng.normal(1, 0.1, len(blends))
        pred[f"flux_{galaxy}"][:2] = np.nan, -1
    pred["case"] = np.resize(["both"] * 6 + list(metrics.CASES), len(blends))
    return pred


@pytest.fixture(scope="module")
def sample():
    return fabricate_sample()


@pytest.fixture(scope="module")
def clean(sample):
    return bk.clean(sample, decisions=dict.fromkeys(sample.catalog["id"].tolist(), "accept"), n_jobs=1)


@pytest.fixture(scope="module")
def blends(clean):
    return bk.draw_blends(clean, 60, seed=1)


@pytest.fixture(scope="module")
def predictions(blends):
    names = ("SEP isophotal", "SEP Kron", "SEP Kron, neighbour masked")
    return {name: fabricate_predictions(blends, i, matching=MATCHING) for i, name in enumerate(names)}


def report_of_rejections(clean):
    report = clean.report.copy()
    report["kept"][:3] = False
    reason = "the label at the centre is not the catalogue's; flux far from the catalogue's"
    report["reason"] = np.array([reason, reason, "rejected by eye"] + [""] * (len(report) - 3))
    return report


def with_kept(report):
    report = report.copy()
    report["kept"] = True
    return report


def six(predictions):
    """As many methods as a figure must hold, with the names that they have in the notebooks."""
    names = ("SEP", "blend2flux", "blend2mask2flux", "fractions", "sersic", "half the light each")
    return dict(zip(names, list(predictions.values()) * 2, strict=True))


def without_case(predictions):
    pred = predictions["SEP Kron"].copy()
    pred.remove_column("case")
    return {"a method": pred}


def nothing_of(blends):
    return Table(dict.fromkeys(("flux_central", "flux_companion"), np.full(len(blends), np.nan)))


def with_errors(blends):
    """Predictions with errors, as the network gives them."""
    pred = fabricate_predictions(blends, 7, matching="pixels only")
    for galaxy in ("central", "companion"):
        pred[f"flux_{galaxy}_err"] = 0.1 * blends[f"flux_{galaxy}"]
    pred.remove_column("case")
    return pred


DRAW = {
    "before and after": lambda s, c, b, p: figures.stamps_before_after(s, c),
    "before and after, one": lambda s, c, b, p: figures.stamps_before_after(s, c, ids=[103]),
    "rejected": lambda s, c, b, p: figures.rejected_stamps(s, report_of_rejections(c)),
    "rejected, none": lambda s, c, b, p: figures.rejected_stamps(s, with_kept(c.report)),
    "grid": lambda s, c, b, p: figures.blend_grid(c, 100, 103),
    "grid, one": lambda s, c, b, p: figures.blend_grid(c, 100, 103, distances=[10], dmags=[0]),
    "parts": lambda s, c, b, p: figures.blend_parts(c, b),
    "parts, one": lambda s, c, b, p: figures.blend_parts(c, b[:1], fill="zero"),
    "fill step": lambda s, c, b, p: figures.fill_step(c, b),
    "dmag noise": lambda s, c, b, p: figures.dmag_noise(c),
    "dmag noise, one": lambda s, c, b, p: figures.dmag_noise(c, [0]),
    "magnitudes, one": lambda s, c, b, p: figures.recovered_magnitudes(b, {"SEP": p["SEP Kron"]}),
    "magnitudes, two": lambda s, c, b, p: figures.recovered_magnitudes(b, dict(list(p.items())[:2])),
    "magnitudes, three": lambda s, c, b, p: figures.recovered_magnitudes(b, p),
    "split": lambda s, c, b, p: figures.detection_split({
        "synthetic galaxies": (b, p["SEP Kron"]), "real": metrics.case_shares(b, p["SEP isophotal"])
    }),
    "split, few blends": lambda s, c, b, p: figures.detection_split({"few": FEW_BLENDS, "fewer": FEW_BLENDS[:3]}),
    "kinds": lambda s, c, b, p: figures.flux_kinds(b, p),
    "kinds, one": lambda s, c, b, p: figures.flux_kinds(b, {"SEP": p["SEP Kron"]}),
    "magnitudes, six": lambda s, c, b, p: figures.recovered_magnitudes(b, six(p)),
    "detection": lambda s, c, b, p: figures.recovered_by_detection(b, p),
    "detection, one without cases": lambda s, c, b, p: figures.recovered_by_detection(b, without_case(p)),
    "detection, five": lambda s, c, b, p: figures.recovered_by_detection(b, dict(list(six(p).items())[:5])),
    "difference": lambda s, c, b, p: figures.errors_by_delta_mag(b, p),
    "difference, one": lambda s, c, b, p: figures.errors_by_delta_mag(b, without_case(p)),
    "difference, four": lambda s, c, b, p: figures.errors_by_delta_mag(b, dict(list(six(p).items())[:4])),
    "difference, six": lambda s, c, b, p: figures.errors_by_delta_mag(b, six(p)),
    "bins": lambda s, c, b, p: figures.median_and_scatter(b, p),
    "bins of distance": lambda s, c, b, p: figures.median_and_scatter(b, six(p), "distance", "companion"),
    "bins of separation": lambda s, c, b, p: figures.median_and_scatter(b, without_case(p), "separation"),
    "types": lambda s, c, b, p: figures.by_morphology(b, p),
    "types, one": lambda s, c, b, p: figures.by_morphology(b, without_case(p)),
    "types, four": lambda s, c, b, p: figures.by_morphology(b, dict(list(six(p).items())[:4])),
    "failures": lambda s, c, b, p: figures.failure_map(b, p),
    "failures, one": lambda s, c, b, p: figures.failure_map(b, without_case(p), "outliers", "central"),
    "failures, five": lambda s, c, b, p: figures.failure_map(b, dict(list(six(p).items())[:5])),
    "calibration": lambda s, c, b, p: figures.calibration_curve(b, p | {"fractions": with_errors(b)}),
    "calibration, six": lambda s, c, b, p: figures.calibration_curve(b, dict.fromkeys(six(p), with_errors(b))),
}  # fmt: skip


@pytest.fixture(scope="module", params=DRAW)
def figure(request, sample, clean, blends, predictions):
    before = matplotlib.rcParams.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig = DRAW[request.param](sample, clean, blends, predictions)
        texts_of(fig)
    assert matplotlib.rcParams == before
    return fig


@cache
def texts_of(fig):
    """Every text that is drawn, with its place in pixels."""
    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    off_the_scale = {label for ax in fig.findobj(Axes) for label in labels_off_the_scale(ax)}
    texts = [t for t in fig.findobj(matplotlib.text.Text) if t.get_visible() and t.get_text().strip()]
    texts = [t for t in texts if t not in off_the_scale]
    return {t: t.get_window_extent(canvas.get_renderer()) for t in texts}


def labels_off_the_scale(ax):
    for axis in (ax.xaxis, ax.yaxis):
        low, high = sorted(axis.get_view_interval())
        for tick in axis.get_major_ticks():
            if not low - 1e-9 <= tick.get_loc() <= high + 1e-9:
                yield from (tick.label1, tick.label2)


def caption(fig):
    return " ".join(fig.get_supxlabel().split())


def said(fig):
    return " ".join(" ".join(t.get_text() for t in texts_of(fig)).split())


def test_a_figure_belongs_to_nobody_and_says_what_to_see(figure):
    assert isinstance(figure, Figure)
    assert plt.get_fignums() == []
    assert figure.get_suptitle()
    assert figure.get_figwidth() <= 12


def test_captions_have_two_lines_at_most(figure):
    assert len(figure.get_supxlabel().splitlines()) <= 2


def test_texts_are_legible_and_on_the_canvas(figure):
    for text, box in texts_of(figure).items():
        assert text.get_fontsize() >= 12, text.get_text()
        assert box.xmin >= -1, text.get_text()
        assert box.ymin >= -1, text.get_text()
        assert box.xmax <= figure.bbox.xmax + 1, text.get_text()
        assert box.ymax <= figure.bbox.ymax + 1, text.get_text()


def test_texts_do_not_overlap(figure):
    for (one, a), (other, b) in combinations(texts_of(figure).items(), 2):
        width, height = min(a.xmax, b.xmax) - max(a.xmin, b.xmin), min(a.ymax, b.ymax) - max(a.ymin, b.ymin)
        assert min(width, height) < 3, (one.get_text(), other.get_text())


def test_scales_have_labels_with_units(figure):
    for ax in figure.findobj(Axes):
        for axis, name in ((ax.xaxis, "x"), (ax.yaxis, "y")):
            label = axis.get_label_text() or (ax.get_title() if ax not in figure.axes else "")
            numbers = [t for t in axis.get_ticklabels() if t.get_visible() and t.get_text()[-1:].isdigit()]
            if numbers:
                assert any(unit in label for unit in ("mag)", "(%)", "(pixels)", "no unit)", "points)", "(e⁻/s)")), (
                    name,
                    label,
                )


def test_pictures_have_a_scale_bar(figure):
    if any(ax.images for ax in figure.axes):
        assert "″" in said(figure)


def test_stretch_maps_flux_to_shades():
    flux = np.linspace(-0.1, 20, 1000)
    shade = figures.stretch(flux.reshape(20, 50))
    assert shade.shape == (20, 50)
    assert shade.dtype == np.float32
    assert (np.diff(shade.ravel()) >= 0).all()
    assert_allclose(figures.stretch([-3 * NOISE, 1000 * NOISE]), [0, 1], atol=1e-6)
    assert_array_equal(figures.stretch([-1, 100]), [0, 1])
    assert_allclose(figures.stretch(2 * flux, noise=2 * NOISE), figures.stretch(flux), rtol=1e-5)


def test_before_and_after_show_these_galaxies(sample, clean):
    fig = figures.stamps_before_after(sample, clean, ids=[105, 101])
    assert [ax.get_title().split("\n")[0] for ax in fig.axes[:2]] == ["galaxy 105", "galaxy 101"]
    noise = figures.base.sky_noise(sample)
    assert_array_equal(fig.axes[0].images[0].get_array(), figures.stretch(sample.images[5], noise))
    assert_array_equal(fig.axes[3].images[0].get_array(), figures.stretch(clean.images[1], noise))
    assert_allclose(noise, NOISE, rtol=0.03)
    assert [text.get_text() for text in fig.legends[0].get_texts()] == [
        "segment of the central galaxy", "segments of neighbours", "replaced by sky"
    ]  # fmt: skip


def test_rejected_stamps_show_every_reason_first(sample, clean):
    fig = figures.rejected_stamps(sample, report_of_rejections(clean), n=2)
    assert fig.get_suptitle() == "Cleaning dropped 3 of 8 stamps; 2 of them, each with the reason"
    reasons = [" ".join(ax.get_xlabel().split()) for ax in fig.axes]
    assert reasons == ["the label at the centre is not the catalogue's (+ 1 more)", "rejected by eye"]
    assert [ax.get_title() for ax in fig.axes] == ["galaxy 100, AB 20.0 mag", "galaxy 102, AB 20.7 mag"]


def test_a_first_reason_comes_up_again_only_when_all_were_shown(sample, clean):
    report = clean.report.copy()
    report["kept"][:4] = False
    report["reason"] = np.array(["lopsided", "lopsided; edge", "lopsided", "edge"] + [""] * (len(report) - 4))
    shown = [ax.get_xlabel().replace("\xa0", " ") for ax in figures.rejected_stamps(sample, report, n=3).axes]
    assert shown == ["lopsided", "edge", "lopsided (+ 1 more)"]


def test_neighbours_well_apart_are_shown_first(sample, clean):
    images = clean.images.copy()
    images[[2, 5], SIZE // 2, SIZE // 2 + 12] = 1  # replaced close to galaxies 102 and 105
    after = bk.Sample(images, clean.segmaps, clean.catalog)
    chosen = figures.samples._with_neighbours(sample, after, 3)
    assert not {102, 105} & set(chosen)
    assert (np.diff(chosen) > 0).all()
    assert_array_equal(figures.samples._with_neighbours(sample, after, 20), sample.catalog["id"])
    assert len(figures.samples._with_neighbours(sample, sample, 3)) == 3


def test_the_grid_shows_the_rendered_blends(clean):
    distances, dmags = (6, 12, 25), (-1, 1.5)
    fig = figures.blend_grid(clean, 101, 104, distances, dmags)
    recipe = bk.make_blends(clean, 101, 104, [6, 12, 25] * 2, 0, np.repeat([-1.0, 1.5], 3))
    images = bk.render(clean, recipe, masks=False)[0]
    for ax, image in zip(fig.axes, images, strict=True):
        assert_array_equal(ax.images[0].get_array(), figures.stretch(image, figures.base.sky_noise(clean)))
    assert fig.axes[1].get_title().startswith("12 px = 0.72″")
    assert fig.axes[3].get_ylabel().endswith("(dmag +1.5)")
    assert "Central: galaxy 101" in fig.get_supxlabel()
    assert "negative dmag are noisier: dmag scales the companion's noise as well." in said(fig)
    assert "noisier" not in said(figures.blend_grid(clean, 101, 104, distances, [0, 1]))


def test_parts_show_blend_galaxies_and_overlap(clean):
    recipe = bk.make_blends(clean, 100, 101, 8, 3, 1.0)
    fig = figures.blend_parts(clean, recipe)
    (image,), (mask,), (flux,) = bk.render(clean, recipe)
    noise = figures.base.sky_noise(clean)
    assert_array_equal(fig.axes[0].images[0].get_array(), figures.stretch(image, noise))
    for ax, part in zip(fig.axes[1:3], bk.blending.render_parts(clean, recipe)[0], strict=True):
        assert_array_equal(ax.images[0].get_array(), figures.stretch(part, noise))
    picture = fig.axes[3].images[0].get_array()
    overlap = (picture == matplotlib.colors.to_rgb(figures.COLOURS["overlap"])).all(axis=-1)
    assert_array_equal(overlap, mask.all(axis=-1))
    assert fig.axes[3].get_xlabel() == f"overlap: {overlap.sum()} px"
    assert fig.axes[2].get_xlabel().startswith(f"{flux[1]:.3g} e⁻/s")


def test_the_scale_bar_is_as_long_as_it_says(clean):
    (bar,) = figures.blend_grid(clean, 100, 101, [10], [0]).findobj(AnchoredSizeBar)
    label = bar.txt_label.get_text()
    assert_allclose(bar.size_bar.get_children()[0].get_width() * clean.pixel_scale, float(label.rstrip("″")))


@pytest.mark.parametrize("free", ["lower left", "lower right", "upper left", "upper right"])
def test_the_scale_bar_lies_where_the_picture_is_empty(clean, free):
    used = np.ones((SIZE, SIZE), bool)
    vertical, horizontal = free.split()
    rows = slice(30) if vertical == "lower" else slice(-30, None)
    columns = slice(34) if horizontal == "left" else slice(-34, None)
    used[rows, columns] = False
    fig, ax = plt.subplots(figsize=(3, 3))
    plt.close(fig)
    ax.imshow(used, origin="lower")
    figures.base.draw_scale_bar(ax, clean, used)
    (bar,) = fig.findobj(AnchoredSizeBar)
    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    box = ax.transData.inverted().transform(bar.get_window_extent(canvas.get_renderer()))
    (x0, y0), (x1, y1) = np.rint(box).astype(int)
    assert not used[y0:y1, x0:x1].any()
    assert y1 > y0
    assert x1 > x0


def test_fill_step_finds_the_noise_of_one_and_of_two_stamps(clean, blends):
    sigmas = figures.fill_step_sigmas(clean, blends)
    two = NOISE * np.sqrt(2)
    assert_allclose([sigmas[k] for k in ("zero_inside", "sky_inside", "sky_outside")], two, rtol=0.03)
    assert_allclose(sigmas["zero_outside"], NOISE, rtol=0.03)
    assert 0 < sigmas["n_blends"] <= len(blends)
    text = said(figures.fill_step(clean, blends))
    assert f"zero: {sigmas['zero_outside']:.4f}" in text
    assert f"sky: {sigmas['sky_outside']:.4f}" in text


def test_dmag_scales_the_noise_of_the_companion(clean):
    sigmas = figures.dmag_noise_sigmas(clean, [-1, 0, 2])
    assert list(sigmas) == [-1, 0, 2]
    expected = NOISE * np.sqrt(1 + 10 ** (-0.8 * np.array(list(sigmas))))
    assert_allclose(list(sigmas.values()), expected, rtol=0.02)


def test_panels_of_figure_5_say_what_the_metrics_say(blends, predictions):
    fig = figures.recovered_magnitudes(blends, predictions)
    for column, pred in enumerate(predictions.values()):
        for row, galaxy in enumerate(("central", "companion")):
            counted = np.isin(pred["case"], ["both", f"only {galaxy}"])
            assert_array_equal(figures.figure_5_rows(pred, galaxy), counted)
            flux = np.where(pred[f"flux_{galaxy}"] > 0, pred[f"flux_{galaxy}"], np.nan)[counted]
            true = 25.96 - 2.5 * np.log10(blends[f"flux_{galaxy}"][counted])
            got = metrics.magnitude_scores(true, 25.96 - 2.5 * np.log10(flux))
            assert got["failed"] == 2
            ax = fig.axes[3 * row + column]
            assert ax.get_title().endswith(f"n {got['n']} of 60 (2 failed)")
            text = ax.texts[0].get_text().replace("−", "-").split("\n")
            assert text == [
                f"bias {got['bias']:.3f} mag", f"scatter {got['scatter']:.3f} mag",
                f"outliers {100 * got['outliers']:.2f} %", f"MAPE (mag) {got['mape']:.2f} %",
            ]  # fmt: skip
            assert ax.texts[0].get_zorder() < ax.collections[0].get_zorder()  # the text hides no point
    assert "Counted: both or only this galaxy found." in caption(fig)


def test_without_cases_all_rows_count(blends, predictions):
    pred = predictions["SEP Kron"].copy()
    pred.remove_column("case")
    pred.meta.clear()
    fig = figures.recovered_magnitudes(blends, {"mine": pred}, title="Mine")
    assert fig.axes[0].get_title() == "mine\nn 58 of 60 (2 failed)"
    assert "Counted" not in caption(fig)
    assert fig.get_suptitle() == "Mine"


def test_few_galaxies_have_no_numbers(blends, predictions):
    fig = figures.recovered_magnitudes(blends[:11], {"SEP": predictions["SEP Kron"][:11]})
    for ax in fig.axes[:2]:  # two of eleven were not measured, and some do not count
        assert int(ax.get_title().split()[2]) < 10
        assert not ax.texts


def test_figure_5_of_the_published_catalogue(published):
    fig = figures.recovered_magnitudes(*published)
    for row, n in enumerate(("3,844", "4,344")):
        assert all(f"n {n} of 4,776" in ax.get_title() for ax in fig.axes[3 * row : 3 * row + 3])
    sextractor = fig.axes[5].texts[0].get_text()
    assert sextractor == "bias 0.002 mag\nscatter 0.710 mag\noutliers 16.23 %\nMAPE (mag) 1.97 %"
    assert caption(fig).endswith("Told both positions: SExtractor.")


def test_who_was_told_the_positions_is_said_only_where_methods_differ(blends, predictions):
    first, second, third = (p.copy() for p in predictions.values())
    second.meta["matching"] = "pixels only"
    third.meta.clear()
    fig = figures.flux_kinds(blends, {"A": first, "B": second, "C": third})
    assert caption(fig).endswith("Told both positions: A.")
    for alike in ({"A": first}, {"B": second, "C": third}):
        assert "positions" not in caption(figures.flux_kinds(blends, alike))


def test_kinds_say_what_the_metrics_say(blends, predictions):
    fig = figures.flux_kinds(blends, predictions)
    for ax, galaxy in zip(fig.axes, ("central", "companion"), strict=True):
        for text, pred in zip(ax.texts, predictions.values(), strict=True):
            got = metrics.flux_scores(blends[f"flux_{galaxy}"], pred[f"flux_{galaxy}"])
            expected = f"median error {got['median']:.1f} %, MAPE (flux) {got['mape']:.1f} %\nn 58 (2 failed)"
            assert text.get_text() == expected


def test_bars_are_the_shares(blends, predictions):
    pred = predictions["SEP Kron"]
    shares = metrics.case_shares(blends, pred)
    fig = figures.detection_split({"SEP": (blends, pred)})
    (ax,) = fig.axes
    assert_allclose([bar.get_width() for bar in ax.patches], 100 * shares["share"])
    text = said(fig)
    for row in shares:
        assert f"{100 * row['share']:.1f} ± {100 * row['share_err']:.1f} %" in text
    assert [text.get_text() for text in fig.legends[0].get_texts()] == list(metrics.CASES)


def test_numbers_lie_inside_their_bars_or_clear_of_all():
    shares = Table({"case": metrics.CASES, "share": [0.5, 0.16, 0.14, 0.12, 0.08], "share_err": [0.09] * 5})
    fig = figures.detection_split({"several": shares})
    texts_of(fig)
    (ax,) = fig.axes
    assert ax.get_xlim() == (0, 100)
    assert not ax.lines  # no error bars: the errors stand beside the numbers
    bars = [bar.get_window_extent() for bar in ax.patches]
    *inside, below = (text.get_window_extent(fig.canvas.get_renderer()) for text in ax.texts)
    for box, bar in zip(inside, bars, strict=False):
        assert bar.xmin < box.xmin
        assert box.xmax < bar.xmax
    assert not any(below.overlaps(bar) for bar in bars)
    for case in metrics.CASES[len(inside) :]:
        assert case in ax.texts[-1].get_text().replace("\xa0", " ")


@pytest.mark.parametrize("case", ["both", "none"])
def test_a_galaxy_that_was_never_measured_is_drawn(blends, predictions, case):
    nothing = Table({"flux_central": blends["flux_central"], "flux_companion": np.full(60, np.nan)})
    nothing["case"] = case
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for methods in ({"nothing": nothing}, {"SEP": predictions["SEP Kron"], "nothing": nothing}):
            magnitudes = figures.recovered_magnitudes(blends, methods)
            kinds = figures.flux_kinds(blends, methods)
            for fig in (magnitudes, kinds):
                assert "nan" not in said(fig)
            assert magnitudes.axes[-1].get_title().endswith("n 0 of 60" + " (60 failed)" * (case == "both"))
            assert kinds.axes[-1].texts[-1].get_text() == "n 0 (60 failed)"


@pytest.mark.parametrize(
    ("draw", "sentence"),
    [
        (lambda s, c, b, p: figures.stamps_before_after(s, c, ids=[7]), r"not in the sample .* \(ids 7\)"),
        (lambda s, c, b, p: figures.stamps_before_after(s, c[2:], ids=[100]), "galaxy 100 was dropped by"),
        (lambda s, c, b, p: figures.rejected_stamps(s, b), "The rows of the report have no column id"),
        (lambda s, c, b, p: figures.blend_grid(c, 100, 7), "not in the sample"),
        (lambda s, c, b, p: figures.blend_grid(c, 100, 101, distances=[]), "no distance or no dmag"),
        (lambda s, c, b, p: figures.blend_grid(c, 100, 101, distances=[2.5]), "whole pixels: round them"),
        (lambda s, c, b, p: figures.blend_grid(c, 100, 101, distances=[200]), "smaller than the stamp"),
        (lambda s, c, b, p: figures.blend_parts(c, b[:0]), "no blends to draw"),
        (lambda s, c, b, p: figures.fill_step(c, b[:0]), "no blends to draw"),
        (lambda s, c, b, p: figures.fill_step_sigmas(c, bk.make_blends(c, 100, 101, 0, 0)), "is shifted"),
        (lambda s, c, b, p: figures.dmag_noise_sigmas(c[:1]), "1 galaxies and 5 dmags"),
        (lambda s, c, b, p: figures.recovered_magnitudes(b[:0], p), "no blends to draw"),
        (lambda s, c, b, p: figures.recovered_magnitudes(b, {}), "no prediction to draw"),
        (lambda s, c, b, p: figures.recovered_magnitudes(b, {"A": p["SEP Kron"][:5]}), "'A' have 5 rows for 60"),
        (lambda s, c, b, p: figures.flux_kinds(b, {"A": b["dx", "dy"]}), "'A' have no column flux_central"),
        (lambda s, c, b, p: figures.flux_kinds(b, {"A": nothing_of(b)}), "'A' measured nothing"),
        (lambda s, c, b, p: figures.detection_split({}), "no split to draw"),
        (lambda s, c, b, p: figures.detection_split({"A": b}), "The shares of 'A' have no column case"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_one_clear_sentence(draw, sentence, sample, clean, blends, predictions):
    with pytest.raises(ValueError, match=sentence) as caught:
        draw(sample, clean, blends, predictions)
    assert "\n" not in str(caught.value)
    assert plt.get_fignums() == []


def test_blendkit_loads_without_matplotlib():
    code = "import sys, blendkit; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_notebook_shows_a_figure_once():
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    draw = (
        "from astropy.table import Table\nfrom blendkit import figures\n"
        "shares = Table({'case': ['both'], 'share': [1.0], 'share_err': [0.1]})\n"
        "figures.detection_split({'A': shares})"
    )
    cells = [nbformat.v4.new_code_cell(source) for source in (draw, f"{draw};\nNone", "1")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    client = nbclient.NotebookClient(notebook, kernel_name="python3", timeout=120)
    client.execute(cwd=str(ROOT))
    pictures = [sum("image/png" in o.get("data", {}) for o in cell.outputs) for cell in notebook.cells]
    assert pictures == [1, 0, 0]


HISTORY = {"epoch": np.arange(1, 31), "loss": np.linspace(80, 20, 30), "val_loss": np.abs(np.arange(30) - 20) + 30.0}


@pytest.fixture(scope="module")
def networks():
    """The four networks as they are before training."""
    sizes = {"blend2flux": (2,), "unet": (3, 2), "blend2mask2flux": (3, 2, 2, 4), "fractions": (8,)}
    return {name: bk.models.BUILDERS[name](*size, shape=(SIZE, SIZE)) for name, size in sizes.items()}


def pupils(blends, honest=1.3, leaky=1.1):
    """Predictions that are off by these factors."""
    columns = ("flux_central", "flux_companion")
    return [Table({name: factor * blends[name] for name in columns}) for factor in (honest, leaky)]


DRAW_TRAINING = {
    "symmetry": lambda s, b, n: figures.symmetry(s, b),
    "symmetry, one": lambda s, b, n: figures.symmetry(s, b[:1]),
    "sum and share": lambda s, b, n: figures.sum_and_share(b, bk.render(s, b)[0]),
    "curves, one": lambda s, b, n: figures.loss_curves({"a run": HISTORY}),
    "curves, two": lambda s, b, n: figures.loss_curves({"a run": HISTORY, "another": HISTORY}, same_scale=True),
    "curves, four": lambda s, b, n: figures.loss_curves({name: HISTORY for name in n}),
    "curve below zero": lambda s, b, n: figures.loss_curves({"a run": HISTORY | {"loss": -HISTORY["loss"]}}),
    "activations": lambda s, b, n: figures.activations(n["blend2flux"], s, b),
    "activations, deep": lambda s, b, n: figures.activations(n["blend2flux"], s, b, names=["conv5"]),
    "masks": lambda s, b, n: figures.masks_seen(
        s, b, {"U-Net": n["unet"], "after flux training": n["blend2mask2flux"]}
    ),
    "masks, one": lambda s, b, n: figures.masks_seen(s, b[:1], {"ours": n["fractions"]}),
    "shares": lambda s, b, n: figures.shares_seen(s, b, n["fractions"]),
    "shares, one": lambda s, b, n: figures.shares_seen(s, b[:1], n["fractions"]),
    "leak": lambda s, b, n: figures.leak(b, *pupils(b)),
    "leak, other way": lambda s, b, n: figures.leak(b, *pupils(b)[::-1]),
    "leak, none": lambda s, b, n: figures.leak(b, *pupils(b, 1.2, 1.2)),
}


@pytest.mark.parametrize("kind", DRAW_TRAINING)
def test_figures_of_training_keep_the_rules(kind, clean, blends, networks):
    before = matplotlib.rcParams.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig = DRAW_TRAINING[kind](clean, blends, networks)
        texts_of(fig)
    assert matplotlib.rcParams == before
    test_a_figure_belongs_to_nobody_and_says_what_to_see(fig)
    test_texts_are_legible_and_on_the_canvas(fig)
    test_texts_do_not_overlap(fig)
    test_pictures_have_a_scale_bar(fig)


def test_examples_run_from_close_to_far_with_both_galaxies_inside(blends):
    few = figures.examples(blends, 4)
    assert len(few) == 4
    assert (few["inside"] >= 0.9).all()
    assert (np.diff(few["distance"]) > 0).all()
    assert few.meta["fingerprint"] == blends.meta["fingerprint"]
    assert len(figures.examples(blends[:2], 9)) <= 2
    lost = blends[:3].copy()
    lost["inside"] = 0.1
    assert len(figures.examples(lost)) == 3


def test_what_is_left_after_a_half_turn_is_the_companion(clean):
    pair = bk.make_blends(clean, 101, 100, 28, 12)
    fig = figures.symmetry(clean, pair)
    left, true = (float(ax.get_xlabel().split()[0]) for ax in fig.axes[3:5])
    assert left == pytest.approx(true, rel=0.05)
    assert true == pytest.approx(pair["flux_companion"][0], rel=0.01)


def test_sum_and_share_say_what_the_metrics_say(clean, blends):
    images, _, fluxes = bk.render(clean, blends)
    total = images.astype(float).sum(axis=(1, 2))
    half = np.stack([total / 2] * 2, 1)
    fig = figures.sum_and_share(blends, images)
    for ax, (true, measured) in zip(fig.axes, ((fluxes.sum(1), total), (fluxes, half)), strict=True):
        got = metrics.flux_scores(true, measured)
        assert ax.texts[0].get_text() == f"median error {got['median']:.1f} %\nMAPE {got['mape']:.1f} %"


def test_the_leak_is_the_difference_of_two_errors(blends):
    got = figures.leak_errors(blends, *pupils(blends))
    assert (got["n"], got["failed"]) == (120, 0)
    assert [got[name] for name in ("honest", "leaky", "difference")] == pytest.approx([30, 10, 20])
    assert got["difference_err"] == pytest.approx(0, abs=1e-6)
    assert figures.leak(blends, *pupils(blends)).get_suptitle() == "The leak flatters by 20.0 ± 0.0 points"
    assert figures.leak(blends, *pupils(blends)[::-1]).get_suptitle().startswith("No flattery here")
    honest, leaky = pupils(blends)
    leaky["flux_central"][:3] = np.nan
    assert figures.leak_errors(blends, honest, leaky)["failed"] == 3


def test_a_leak_within_the_noise_is_called_so(blends):
    rng = np.random.default_rng(0)
    noisy = [
        Table({f"flux_{g}": blends[f"flux_{g}"] * rng.normal(1, 0.2, len(blends)) for g in ("central", "companion")})
        for _ in range(2)
    ]
    assert "within the noise" in figures.leak(blends, *noisy).get_suptitle()


@pytest.mark.parametrize(
    ("draw", "sentence"),
    [
        (lambda s, b, n: figures.examples(b[:0]), "no blends to draw"),
        (lambda s, b, n: figures.symmetry(s, b[:0]), "no blends to draw"),
        (lambda s, b, n: figures.sum_and_share(b, np.zeros((2, 8, 8))), "2 images were given for 60 blends"),
        (lambda s, b, n: figures.loss_curves({}), "no run to draw"),
        (lambda s, b, n: figures.activations(n["unet"], s, b), "No such layer: conv1"),
        (lambda s, b, n: figures.masks_seen(s, b[:0], n), "no blends to draw"),
        (lambda s, b, n: figures.shares_seen(s, b[:0], n["fractions"]), "no blends to draw"),
        (lambda s, b, n: figures.leak(b, *pupils(b[:5])), "rows for 60 blends"),
    ],
)
def test_what_cannot_be_drawn_of_training_is_one_clear_sentence(draw, sentence, clean, blends, networks):
    with pytest.raises(ValueError, match=sentence):
        draw(clean, blends, networks)
    assert plt.get_fignums() == []


def test_detection_curve_shows_shares_and_guesses():
    rng = np.random.default_rng(0)
    n = 600
    blends = Table({"distance": rng.uniform(0, 40, n), "delta_mag": rng.choice([-1.0, 0.2, 1.5], n)})
    found = np.where(blends["distance"] > np.where(blends["delta_mag"] < 0, 20, 10), 2, 1)
    table = figures.detection_shares(blends, found)
    assert set(table["companion"]) == {"brighter", "alike", "fainter"}
    assert table["n"].sum() == n
    near, far = table["high"] <= 10, table["low"] >= 20.5
    assert (table["two"][near] == 0).all()
    assert (table["two"][far] == 1).all()
    whole = figures.detection_shares(blends, found, bins=1)
    bright = np.asarray(blends["delta_mag"]) == 1.5
    assert whole["two"][0] == pytest.approx((found[bright] == 2).mean())
    fig = figures.detection_curve(blends, found, {"brighter": 9, "fainter": 18})
    stars = [line.get_xdata()[0] for line in fig.axes[0].lines if line.get_marker() == "*"]
    assert stars == [9, 18]
    with pytest.raises(ValueError, match="'blue' were given, expected brighter, alike, fainter"):
        figures.detection_curve(blends, found, {"blue": 9})
    with pytest.raises(ValueError, match="one number for each blend"):
        figures.detection_shares(blends, found[:5])
