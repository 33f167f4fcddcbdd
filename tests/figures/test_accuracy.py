"""Figures 5 to 9, the failure map and the calibration: what is drawn is what the metrics say."""

from functools import partial
from itertools import product

import numpy as np
import pytest
from astropy.table import Table
from conftest import module, refused
from matplotlib.colors import to_hex, to_rgba
from matplotlib.patches import PathPatch
from numpy.testing import assert_allclose

from blendkit import figures, metrics
from blendkit.figures.style import COLOURS, HEIGHT, LOOKS, MEMBERS, method_styles

TYPES = ("sph", "disk", "sphd", "irr")
DRAW_ALL = (
    figures.recovered_magnitudes, figures.recovered_by_detection, figures.errors_by_delta_mag,
    figures.median_and_scatter, figures.by_morphology, figures.failure_map, figures.calibration_curve,
    figures.flux_kinds,
)  # fmt: skip


def make_exam(n=400, galaxies=60, members=2):
    """Blends without pixels, a galaxy in many of them."""
    rng = np.random.default_rng(0)
    mag, r_eff = rng.uniform(19, 22.9, galaxies), np.exp(rng.normal(1.7, 0.4, galaxies))
    k = np.stack([rng.permutation(galaxies)[:members] for _ in range(n)])
    columns = {"id": k + 1, "mag": mag[k], "r_eff": r_eff[k], "flux": 10 ** (0.4 * (25.96 - mag[k]))}
    columns |= {"distance": r_eff[k].max(axis=1) * rng.uniform(0.5, 4, n), "delta_mag": mag[k[:, 0]] - mag[k[:, 1]]}
    return Table({**columns, "morphology": np.resize(TYPES, galaxies)[k]}, meta={"zeropoint": 25.96})


def measure(blends, seed, sigma, *more):
    """Fluxes with errors of `sigma`, some not measured, and if asked for "flux_err" and "case"."""
    rng, flux = np.random.default_rng(seed), np.asarray(blends["flux"])
    measured = flux * np.exp(rng.normal(0.1, sigma, flux.shape))
    lost = rng.random(flux.shape) < 0.05
    pred = {"flux": np.where(lost, rng.choice([np.nan, -1, 0], flux.shape), measured), "flux_err": sigma * flux}
    pred["case"] = rng.choice(metrics.CASES, len(blends), p=[0.6, 0.1, 0.15, 0.1, 0.05])
    return Table({name: pred[name] for name in ("flux", *more)}, meta={"matching": "pixels only"})


ASKED = {"SEP": (1, 0.5, "case"), "blend2flux": (2, 0.1), "fractions": (3, 0.07, "flux_err")}
blends = module(make_exam)
predictions = module(lambda blends: {name: measure(blends, *how) for name, how in ASKED.items()})
figs = module(lambda drawn, blends, predictions: {d.__name__: drawn(partial(d, blends, predictions)) for d in DRAW_ALL})


def dmag_of(blends, pred, member, counted=True):
    """Measured - isolated magnitude, NaN where not measured or not counted in Figure 5."""
    dmag = metrics.delta_mag(blends, pred)[:, MEMBERS.index(member)]
    if counted and "case" in pred.colnames:
        dmag[~np.isin(pred["case"], ("both", f"only {member}"))] = np.nan
    return dmag


def in_bins(values, by):
    """What is known in each of six equal bins of `by`."""
    index = np.digitize(by, np.linspace(min(by), max(by), 7)[1:-1])
    return [values[(index == k) & np.isfinite(values)] for k in range(6)]


def words(text):
    return " ".join(text.split())


def lines_of(ax):
    """Values, half lengths of the error bars and colour of each line with markers."""
    for container in ax.containers:
        line, _, (bars,) = container.lines
        segments = [np.diff(segment[:, 1]) / 2 if len(segment) else [np.nan] for segment in bars.get_segments()]
        yield np.asarray(line.get_ydata()), np.array(segments)[:, 0], to_hex(line.get_color()).upper()


def test_every_figure_has_units_on_its_axes(figs):
    for name, fig in figs.items():
        labels = [words(label) for ax in fig.axes for label in (ax.get_xlabel(), ax.get_ylabel()) if label]
        assert labels
        assert all(label.endswith(("mag)", "no unit)", "(%)", "percentage points)")) for label in labels), name
        assert fig.get_figheight() <= HEIGHT, f"{name} is higher than a screen of 1280 x 800 shows"


def test_numbers_in_the_panels_of_figure_5_are_the_scores(figs, blends, predictions):
    fig = figs["recovered_magnitudes"]
    scores = {(row["method"], row["member"]): row for row in metrics.figure_5(blends, predictions, n_bootstrap=2)}
    for ax, (member, method) in zip(fig.axes, product(MEMBERS, predictions), strict=True):
        row, title = scores[method, member], words(ax.get_title())
        assert title.startswith(f"{method} " * (member == "central") + f"n {row['n']} of 400 ({row['failed']} failed")
        assert ax.texts[0].get_text().replace("−", "-") == (
            f"bias {row['bias']:.3f} mag\nscatter {row['scatter']:.3f} mag\n"
            f"outliers {100 * row['outliers']:.2f} %\nMAPE (mag) {row['mape_mag']:.2f} %"
        )
        points = ax.collections[0]
        assert (points.get_facecolors()[:, :3] == to_rgba(COLOURS[member])[:3]).all()
        dmag = np.diff(points.get_offsets().filled(np.nan), axis=1)
        assert np.nansum(dmag) == pytest.approx(np.nansum(dmag_of(blends, predictions[method], member)))


def test_figure_6_pools_both_galaxies_and_splits_the_blends(figs, blends, predictions):
    fig = figs["recovered_by_detection"]
    rows = ["both"], ["only central", "only companion"]
    for line, cases in zip(np.reshape(fig.axes, (2, 3)), rows, strict=True):
        here = np.isin(predictions["SEP"]["case"], cases)
        for ax, pred in zip(line, predictions.values(), strict=True):
            true, dmag = np.asarray(blends["mag"])[here], metrics.delta_mag(blends, pred)[here]
            got = metrics.magnitude_scores(true, true + dmag)
            assert f"{here.sum()} of 400 blends" in words(ax.get_title())
            assert not got["failed"] or f"({got['failed']} galaxies failed" in words(ax.get_title())
            assert f"scatter {got['scatter']:.3f} mag" in ax.texts[0].get_text()
            assert len(ax.collections[0].get_offsets()) == 2 * here.sum()
    others = np.isin(predictions["SEP"]["case"], ["more", "none"]).sum()
    assert f"Found: by SEP; not drawn: {others} with more or none." in words(fig.get_supxlabel())
    both = predictions["SEP"] | Table({"case": ["both"] * 400})
    assert len(figures.recovered_by_detection(blends, {"SEP": both}).axes) == 1  # rows without blends are not drawn


def test_boxes_of_figure_7_are_quartiles_and_points_the_blends_that_count(figs, blends, predictions):
    *axes, _ = figs["errors_by_delta_mag"].axes
    delta = np.asarray(blends["delta_mag"])
    for ax, (member, pred) in zip(axes, product(MEMBERS, predictions.values()), strict=True):
        dmag = dmag_of(blends, pred, member)
        good = np.isfinite(dmag)
        assert_allclose(ax.collections[0].get_offsets(), np.stack([delta, dmag], 1)[good], atol=1e-9)
        boxes = [patch.get_path().vertices[:, 1] for patch in ax.patches if isinstance(patch, PathPatch)]
        quartiles = [np.percentile(b, (25, 75)) for b in in_bins(dmag, delta) if len(b) >= 10]
        assert_allclose([(box.min(), box.max()) for box in boxes if np.isfinite(box).all()], quartiles)
        off = np.count_nonzero((dmag < ax.get_ylim()[0]) | (dmag > ax.get_ylim()[1]))
        assert f"n {good.sum():,}" in ax.get_title()
        assert (f"{off} off the frame)" in words(ax.get_title())) == bool(off)
    counts = np.unique(axes[1].collections[0].get_facecolors()[:, :3], axis=0, return_counts=True)[1]
    assert (abs(counts / counts.sum() - 0.25) < 0.04).all()  # by distance, a quarter of the blends each


@pytest.mark.parametrize(("by", "member"), [("delta_mag", "companion"), ("separation", "central")])
def test_lines_of_figure_8_are_the_medians_and_scatters(blends, predictions, by, member):
    fig, edges = figures.median_and_scatter(blends, predictions, by, member), 6
    if by == "separation":
        edges = np.array([float(label.get_text()) for label in fig.axes[0].get_xticklabels()])
        counts = np.histogram(metrics.values_of(blends, by), edges)[0]
        assert (abs(counts - len(blends) / 6) < 15).all()  # edges have one digit
    table = metrics.binned_scores(blends, predictions, by, edges)
    for ax, score in zip(fig.axes, ("median", "scatter"), strict=True):
        for method, (y, error, colour) in zip(predictions, lines_of(ax), strict=True):
            rows = table[(table["method"] == method) & (table["member"] == member)]
            shown = rows["n"] >= 10
            assert_allclose(y, np.where(shown, rows[score], np.nan))
            assert_allclose(error[shown], rows[f"{score}_err"][shown])
            assert colour == LOOKS[method][0]


def test_types_of_figure_9_are_scored_apart_in_the_same_bins(figs, blends, predictions):
    fig = figs["by_morphology"]
    for column, (method, pred) in zip(np.reshape(fig.axes, (2, 3)).T, predictions.items(), strict=True):
        assert column[0].get_title() == method
        dmag = dmag_of(blends, pred, "central")
        for ax, statistic in zip(column, (np.median, np.std), strict=True):
            for kind, (y, *_) in zip(("all", *TYPES), lines_of(ax), strict=True):
                here = (blends["morphology"][:, 0] == kind) | (kind == "all")
                bins = in_bins(np.where(here, dmag, np.nan), blends["delta_mag"])
                assert_allclose(y, [statistic(b) if len(b) >= 10 else np.nan for b in bins])
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["all", *TYPES]
    assert not {colour for *_, colour in lines_of(fig.axes[0])} & {*COLOURS["methods"]}


@pytest.mark.parametrize("member", MEMBERS)
def test_cells_of_the_failure_map_count_what_was_not_measured_as_all_wrong(blends, predictions, member):
    fig = figures.failure_map(blends, predictions, member)
    near = np.asarray(blends["distance"] / blends["r_eff"].max(axis=1))
    i, j = (np.digitize(v, np.linspace(v.min(), v.max(), 4)[1:-1]) for v in (near, blends["delta_mag"]))  # 3 x 3 cells
    for ax, pred in zip(fig.axes, predictions.values(), strict=False):
        dmag, written = dmag_of(blends, pred, member, counted=False), iter(ax.texts)
        lost, error = np.isnan(dmag), 100 * np.nan_to_num(abs(10 ** (-0.4 * dmag) - 1), nan=1)
        for cell, value in zip(np.ndindex(3, 3), np.ravel(ax.collections[0].get_array()), strict=True):
            here = (j == cell[0]) & (i == cell[1])
            assert here.sum() >= 10
            assert value == pytest.approx(np.median(error[here]))
            number, *share = next(written).get_text().split("\n")
            assert abs(float(number) - value) <= 0.5
            assert bool(share) == lost[here].any()
            assert not share or abs(float(share[0].strip("()")) - 100 * lost[here].mean()) <= 0.5
        assert ax.get_title().endswith(f"\n{100 * lost.mean():.1f} % not measured")


def test_calibration_draws_the_shares_and_the_pulls_of_methods_with_errors(figs, blends, predictions):
    fig = figs["calibration_curve"]
    low, high = fig.axes[2].get_ylim()
    for row, (y, error, _) in zip(metrics.calibration(blends, predictions), lines_of(fig.axes[2]), strict=True):
        assert_allclose(np.add(y, (68.27, 95.45, 99.73)), [100 * row[f"within_{k}"] for k in (1, 2, 3)])
        assert_allclose(error, [100 * row[f"within_{k}_err"] for k in (1, 2, 3)])
        assert ((low < y - error) & (y + error < high)).all()
    assert {*MEMBERS} <= {text.get_text() for text in fig.legends[0].get_texts()}


def test_kinds_of_flux_are_boxes_of_ratios_with_the_scores(figs, blends, predictions):
    for place, (ax, member) in enumerate(zip(figs["flux_kinds"].axes, MEMBERS, strict=True)):
        assert ax.get_title() == member
        boxes = [patch for patch in ax.patches if isinstance(patch, PathPatch)]
        for text, box, pred in zip(ax.texts, boxes, predictions.values(), strict=True):
            got = metrics.flux_scores(blends["flux"][:, place], pred["flux"][:, place])
            assert text.get_text() == (
                f"median error {got['median']:.1f} %, MAPE (flux) {got['mape']:.1f} %\n"
                f"n {got['n']} ({got['failed']} failed)"
            )
            assert box.get_facecolor()[:3] == to_rgba(COLOURS[member])[:3]
            ratio, ends = np.asarray(pred["flux"] / blends["flux"])[:, place], box.get_path().vertices[:, 0]
            assert_allclose((ends.min(), ends.max()), np.percentile(ratio[ratio > 0], (25, 75)))


def test_detection_split_draws_the_shares(drawn, blends, predictions):
    shares = metrics.case_shares(blends, predictions["SEP"])
    fig = drawn(lambda: figures.detection_split({"this run": shares, "some": shares}))
    (ax,) = fig.axes
    assert [bar.get_width() for bar in ax.patches[:5]] == pytest.approx(list(100 * shares["share"]))
    said = " ".join(text.get_text() for text in ax.texts).replace("\xa0", " ")
    assert all(f"{100 * row['share']:.1f} ± {100 * row['share_err']:.1f} %" in said for row in shares)
    assert [text.get_text() for text in fig.legends[0].get_texts()] == list(metrics.CASES)


def test_synthetic_and_real_side_by_side(drawn):
    rows = [(sample, method, member, 10.0 + k, 0.5) for k, sample in enumerate(("synthetic", "real", "folds"))
            for method in ("SEP", "fractions", "unet") for member in MEMBERS]  # fmt: skip
    table = Table(rows=rows, names=("sample", "method", "member", "mape", "mape_err"))
    table["mape"][4] = np.nan
    fig = drawn(lambda: figures.synthetic_and_real(table))
    for ax, member in zip(fig.axes, MEMBERS, strict=True):
        assert ax.get_title() == member
        assert [list(container[0].get_xdata()) for container in ax.containers] == [[10, 10], [11, 11]]
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == ["SEP", "fractions"]
    refused(lambda: figures.synthetic_and_real(table[:6]), "no method on both")


def test_a_method_has_one_look_in_every_figure_and_never_a_galaxys():
    names = ("SExtractor", "blend2flux", "blend2mask2flux", "fractions", "unet", "two Sérsic profiles", "mine", "yours")
    together = method_styles(names)
    assert len({colour for colour, _ in together.values()}) == len(names)
    assert all(method_styles([name]) == {name: together[name]} for name in names[:-1])
    assert method_styles(["sersic"])["sersic"] == together["two Sérsic profiles"]
    seps = method_styles(["SEP isophotal", "SEP Kron", "SEP Kron, neighbour masked"])
    assert (len(set(seps.values())), {colour for colour, _ in seps.values()}) == (3, {"#000000"})
    assert not {COLOURS[member] for member in MEMBERS} & {*COLOURS["methods"]}


def hard_cases():
    """Tables that are allowed, and hard to draw."""
    blends, one = make_exam(40, 12), make_exam(1, 12)
    good = measure(blends, 1, 0.3, "flux_err")
    single = Table({"flux": 1.1 * one["flux"], "flux_err": 0.1 * one["flux"]})
    yield "one blend", one, {"a": single}
    yield "one blend, of which nothing counts", one, {"a": single | Table({"case": ["none"]})}
    lost = good["flux"] * [1, np.nan]
    yield "a galaxy never measured", blends, {"a": good, "b": good | Table({"flux": lost})}
    yield "a method without an error", blends, {"a": good | Table({"flux": blends["flux"]}), "b": good}
    yield "empty bins", blends | Table({"delta_mag": np.resize([-2.0, 2.0], 40)}), {"a": good}
    yield "equal magnitudes", blends | Table({"delta_mag": np.zeros(40)}), {"a": good}
    yield "types of one's own", blends | Table({"morphology": np.full((40, 2), "elliptical")}), {"a": good}
    yield "masked fluxes", blends, {"a": good | Table({"flux": np.ma.masked_greater(good["flux"], 100)})}
    four = make_exam(60, 12, members=4)
    for name, nothing in {"id": -1, "morphology": "", "flux": np.nan, "r_eff": np.nan}.items():
        four[name][:20, 1:] = nothing
    four["distance"][:20] = four["delta_mag"][:20] = np.nan
    yield "one galaxy or four", four, {"a": measure(four, 1, 0.3, "flux_err")}
    yield "five methods", blends, {f"method {k}": good for k in range(5)}


@pytest.mark.parametrize("case", [*hard_cases()], ids=lambda case: case[0])
def test_hard_cases_are_drawn_without_a_warning(recwarn, case):
    _, blends, predictions = case
    for draw in DRAW_ALL:
        fig = draw(blends, predictions)
        assert "nan" not in " ".join(text.get_text() for ax in fig.axes for text in ax.texts)
        assert fig.get_figwidth() <= 12
    assert not recwarn.list


def test_what_cannot_be_drawn_is_refused(blends, predictions):
    for draw in (figures.median_and_scatter, figures.failure_map):
        refused(lambda draw=draw: draw(blends, predictions, member="both"), "expected one of")
    refused(lambda: figures.median_and_scatter(blends, predictions, "size"), "expected one of")
    refused(lambda: figures.detection_split({}), "no split")
