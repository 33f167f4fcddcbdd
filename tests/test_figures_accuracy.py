"""Figures 5 to 9, the failure map and the calibration: what is drawn is what the metrics say."""

import warnings

import matplotlib
import numpy as np
import pytest
from astropy.table import Table
from matplotlib.colors import to_hex, to_rgba
from matplotlib.patches import PathPatch
from numpy.testing import assert_allclose

import blendkit as bk
from blendkit import figures, metrics
from blendkit.figures.base import LOOKS as KNOWN
from blendkit.figures.base import method_styles

matplotlib.use("Agg")

GALAXIES = ("central", "companion")
TYPES = ("sph", "disk", "sphd", "irr")
LOOKS = {name: colour.lower() for name, (colour, _) in KNOWN.items()}
NAMES = ("SEP", "blend2flux", "blend2mask2flux", "fractions", "sersic", "mine")


def make_exam(n=400, galaxies=60, seed=0):
    """Blends without pixels, a galaxy in many of them."""
    rng = np.random.default_rng(seed)
    mag, r_eff = rng.uniform(19, 22.9, galaxies), np.exp(rng.normal(1.7, 0.4, galaxies))
    types, k = np.resize(TYPES, galaxies), rng.integers(galaxies, size=n)
    apart = abs(mag[:, None] - mag[k]) < 2
    apart[k, np.arange(n)] = False
    j = np.array([rng.choice(np.flatnonzero(column)) for column in apart.T])
    blends = Table({"central": k + 1, "companion": j + 1}, meta={"zeropoint": 25.96})
    for galaxy, i in zip(GALAXIES, (k, j), strict=True):
        columns = {"mag": mag, "r_eff": r_eff, "morphology": types, "flux": 10 ** (0.4 * (25.96 - mag))}
        for name, values in columns.items():
            blends[f"{name}_{galaxy}"] = values[i]
    blends["distance"] = np.maximum(r_eff[k], r_eff[j]) * rng.uniform(0.5, 4, n)
    blends["delta_mag"] = mag[k] - mag[j]
    return blends


def measure(blends, seed, sigma, *, case=False, errors=False):
    """Fluxes with errors of `sigma`, some not measured."""
    rng = np.random.default_rng(seed)
    pred = Table(meta={"matching": "pixels only"})
    for galaxy in GALAXIES:
        flux = blends[f"flux_{galaxy}"] * np.exp(rng.normal(0.1, sigma, len(blends)))
        pred[f"flux_{galaxy}"] = np.where(rng.random(len(blends)) < 0.05, rng.choice([np.nan, -1, 0]), flux)
        if errors:
            pred[f"flux_{galaxy}_err"] = sigma * blends[f"flux_{galaxy}"]
    if case:
        pred["case"] = rng.choice(metrics.CASES, len(blends), p=[0.6, 0.1, 0.15, 0.1, 0.05])
    return pred


def with_column(table, **columns):
    table = table.copy()
    for name, values in columns.items():
        table[name] = np.resize(values, len(table))
    return table


@pytest.fixture(scope="module")
def blends():
    return make_exam()


@pytest.fixture(scope="module")
def predictions(blends):
    return {
        "SEP": measure(blends, 1, 0.5, case=True),
        "blend2flux": measure(blends, 2, 0.1),
        "fractions": measure(blends, 3, 0.07, errors=True),
    }


def delta_mag(blends, pred, galaxy):
    """Measured - isolated magnitude, NaN where not measured or not counted in Figure 5."""
    flux = np.asarray(pred[f"flux_{galaxy}"], float)
    counted = np.isfinite(flux) & (flux > 0)
    if "case" in pred.colnames:
        counted &= (pred["case"] == "both") | (pred["case"] == f"only {galaxy}")
    return np.where(counted, -2.5 * np.log10(np.where(counted, flux, 1) / blends[f"flux_{galaxy}"]), np.nan)


def caption(fig):
    return " ".join(fig.get_supxlabel().split())


def lines_of(ax):
    """Abscissae, values and half lengths of the error bars, for each line with markers."""
    for container in ax.containers:
        line, _, (bars,) = container.lines
        x, y = line.get_data()
        segments = [np.diff(segment[:, 1]) / 2 if len(segment) else [np.nan] for segment in bars.get_segments()]
        yield np.asarray(x), np.asarray(y), np.array(segments)[:, 0], to_hex(line.get_color())


def boxes_of(ax):
    """Quartiles of the boxes, from left to right."""
    boxes = [patch.get_path().vertices for patch in ax.patches if isinstance(patch, PathPatch)]
    return np.array([(box[:, 0].mean(), box[:, 1].min(), box[:, 1].max()) for box in boxes])


def test_lines_are_the_metrics_medians_and_scatters(blends, predictions):
    fig = figures.median_and_scatter(blends, predictions, galaxy="companion")
    table = metrics.binned_scores(blends, predictions, "delta_mag", 6)
    for ax, score in zip(fig.axes, ("median", "scatter"), strict=True):
        for method, (x, y, error, colour) in zip(predictions, lines_of(ax), strict=True):
            rows = table[(table["method"] == method) & (table["galaxy"] == "companion")]
            assert (rows["n"] >= 10).all()
            assert_allclose(y, rows[score])
            assert_allclose(error, rows[f"{score}_err"])
            assert ((x >= rows["low"]) & (x < rows["high"])).all()
            assert colour == LOOKS[method]


@pytest.mark.parametrize("by", ["distance", "separation"])
def test_bins_of_distance_hold_equal_numbers_of_blends(blends, predictions, by):
    fig = figures.median_and_scatter(blends, predictions, by)
    values = np.asarray(blends["distance"] / (blends["r_eff_central"] if by == "separation" else 1))
    edges = np.array([float(label.get_text()) for label in fig.axes[0].get_xticklabels()])
    counts = np.histogram(values, edges)[0]
    assert counts.sum() == len(blends)
    assert (abs(counts - len(blends) / 6) < 15).all()  # edges have one digit
    table = metrics.binned_scores(blends, predictions, by, edges)
    for method, (x, y, *_) in zip(predictions, lines_of(fig.axes[1]), strict=True):
        rows = table[(table["method"] == method) & (table["galaxy"] == "central")]
        assert_allclose(y, rows["scatter"])
        assert (x.astype(int) == np.arange(6)).all()
    assert "Bins hold equal numbers of blends." in caption(fig)


def test_bins_of_few_galaxies_are_not_drawn(blends, predictions):
    lonely = blends.copy()
    lonely["delta_mag"] = np.clip(lonely["delta_mag"], -2, 1)
    lonely["delta_mag"][:9] = 2
    for fig in (figures.median_and_scatter(lonely, predictions), figures.by_morphology(lonely, predictions)):
        for ax in fig.axes:
            for _, y, *_ in lines_of(ax):
                assert np.isnan(y[-1])
        assert "Not drawn: bins with fewer than 10 galaxies." in caption(fig)
    for ax in figures.errors_by_delta_mag(lonely, predictions).axes[:6]:
        assert boxes_of(ax)[:, 0].max() < 1 + 1 / 3  # none in the last bin


def test_figures_of_one_function_have_titles_of_their_own(blends, predictions):
    titles = {
        figures.median_and_scatter(blends, predictions, by, galaxy).get_suptitle()
        for by in ("delta_mag", "distance", "separation")
        for galaxy in GALAXIES
    }
    assert len(titles) == 6
    for draw in (figures.recovered_magnitudes, figures.errors_by_delta_mag, figures.median_and_scatter):
        assert draw(blends, predictions, title="the paper's catalogue").get_suptitle() == "the paper's catalogue"


def test_figure_8_of_the_published_catalogue_by_hand(published):
    blends, predictions = published
    fig = figures.median_and_scatter(blends, predictions)
    delta = np.asarray(blends["mag_central"] - blends["mag_companion"])
    width = np.ptp(delta) / 6
    index = np.minimum((delta - delta.min()) // width, 5)
    medians, scatters = (list(lines_of(ax)) for ax in fig.axes)
    for k, pred in enumerate(predictions.values()):
        dmag = delta_mag(blends, pred, "central")
        bins = [dmag[(index == b) & np.isfinite(dmag)] for b in range(6)]
        assert_allclose(medians[k][1], [np.median(b) for b in bins], atol=1e-9)
        assert_allclose(scatters[k][1], [np.std(b) for b in bins], atol=1e-9)
    networks, sextractor = scatters[:2], scatters[2]
    for network in networks:
        assert (network[1] < 0.17).all()
        assert (sextractor[1] > 3 * network[1]).all()
        assert network[1][-1] > 1.5 * network[1][0]  # a fainter central scatters more


def test_types_are_scored_apart_in_the_same_bins(blends, predictions):
    fig = figures.by_morphology(blends, predictions)
    edges = np.histogram_bin_edges(blends["delta_mag"], 6)
    index = np.clip(np.searchsorted(edges, blends["delta_mag"], "right") - 1, 0, 5)
    columns = np.array(fig.axes, object).reshape(2, 3).T
    for column, (method, pred) in zip(columns, predictions.items(), strict=True):
        assert column[0].get_title() == method
        dmag = delta_mag(blends, pred, "central")
        for ax, statistic in zip(column, (np.median, np.std), strict=True):
            lines = list(lines_of(ax))
            assert len(lines) == 5
            for kind, (_, y, *_) in zip(("all", *TYPES), lines, strict=True):
                of_kind = np.isfinite(dmag) & ((blends["morphology_central"] == kind) | (kind == "all"))
                bins = [dmag[of_kind & (index == k)] for k in range(6)]
                assert_allclose(y, [statistic(b) if len(b) >= 10 else np.nan for b in bins])
    legend = [text.get_text() for text in fig.legends[0].get_texts()]
    assert legend == ["all", *TYPES]
    for row in columns.T:
        assert len({ax.get_ylim() for ax in row}) == 1
    types = {colour for *_, colour in lines_of(fig.axes[0])}
    assert not types & {colour.lower() for colour in figures.COLOURS["methods"]}


def test_boxes_are_quartiles_and_points_are_the_blends_that_count(blends, predictions):
    fig = figures.errors_by_delta_mag(blends, predictions)
    edges = np.histogram_bin_edges(blends["delta_mag"], 6)
    panels = np.array(fig.axes[:6], object).reshape(2, 3)
    for column, pred in zip(panels.T, predictions.values(), strict=True):
        for ax, galaxy in zip(column, GALAXIES, strict=True):
            dmag = delta_mag(blends, pred, galaxy)
            good = np.isfinite(dmag)
            points = ax.collections[0].get_offsets()
            assert_allclose(points, np.stack([blends["delta_mag"], dmag], 1)[good], atol=1e-9)
            index = np.clip(np.searchsorted(edges, blends["delta_mag"], "right") - 1, 0, 5)
            bins = [dmag[good & (index == k)] for k in range(6)]
            assert min(map(len, bins)) >= 10
            expected = [[*np.percentile(b, (25, 75))] for b in bins]
            assert_allclose(boxes_of(ax)[:, 1:], expected)
            whiskers = {round(y, 9) for line in ax.lines for y in line.get_ydata()}
            assert {round(y, 9) for b in bins for y in np.percentile(b, (5, 50, 95))} <= whiskers
            low, high = ax.get_ylim()
            assert low < min(np.percentile(b, 5) for b in bins)
            assert high > max(np.percentile(b, 95) for b in bins)
            off = np.count_nonzero((dmag < low) | (dmag > high))
            title = " ".join(ax.get_title().split())
            assert f"n {good.sum():,}" in title
            assert (f"{off} off the frame)" in title) == bool(off)
    assert len({ax.get_ylim() for ax in panels.flat}) == 1
    labels = [[bool(ax.get_ylabel()) for ax in line] for line in panels]
    assert labels == [[True, False, False]] * 2
    assert fig.axes[6].get_ylabel() == "distance / $R_e$ of the central (no unit)"


def test_points_have_four_colours_by_distance_for_a_quarter_of_the_blends_each(blends, predictions):
    ax = figures.errors_by_delta_mag(blends, {"a": predictions["blend2flux"]}).axes[0]
    counts = np.unique(ax.collections[0].get_facecolors()[:, :3], axis=0, return_counts=True)[1]
    assert len(counts) == 4
    assert (abs(counts / counts.sum() - 0.25) < 0.04).all()


def test_panels_by_detection_pool_both_galaxies_and_split_the_blends(blends, predictions):
    fig = figures.recovered_by_detection(blends, predictions)
    case = predictions["SEP"]["case"]
    rows = {"two found": ["both"], "one found": ["only central", "only companion"], "more or none": ["more", "none"]}
    panels = np.array(fig.axes, object).reshape(3, 3)
    for line, cases in zip(panels, rows.values(), strict=True):
        here = np.isin(case, cases)
        for ax, pred in zip(line, predictions.values(), strict=True):
            true = np.concatenate([blends[f"flux_{g}"][here] for g in GALAXIES])
            flux = np.concatenate([pred[f"flux_{g}"][here] for g in GALAXIES])
            flux = np.where(flux > 0, flux, np.nan)
            got = metrics.magnitude_scores(-2.5 * np.log10(true) + 25.96, -2.5 * np.log10(flux) + 25.96)
            title = " ".join(ax.get_title().split())
            assert f"{here.sum()} of 400 blends" in title
            assert not got["failed"] or f"({got['failed']} galaxies failed" in title
            text = ax.texts[0].get_text().replace("−", "-")
            assert text.startswith(f"bias {got['bias']:.3f} mag\nscatter {got['scatter']:.3f} mag")
            assert text.endswith(f"outliers {100 * got['outliers']:.2f} %\nMAPE (mag) {got['mape']:.2f} %")
            assert len(ax.collections[0].get_offsets()) == 2 * here.sum()
    assert [line[0].get_ylabel() for line in panels] == [f"{name}: recovered (AB mag)" for name in rows]
    assert "Found: by SEP." in caption(fig)
    two = {name: with_column(pred, case="both") for name, pred in predictions.items()}
    assert len(figures.recovered_by_detection(blends, two).axes) == 3  # rows without blends are not drawn
    without = {name: pred for name, pred in predictions.items() if name != "SEP"}
    fig = figures.recovered_by_detection(blends, without)
    assert len(fig.axes) == 2
    assert "Found" not in caption(fig)


def test_figure_6_of_the_published_catalogue(published):
    fig = figures.recovered_by_detection(*published)
    titles = [" ".join(ax.get_title().split()) for ax in fig.axes]
    for k, n in enumerate(("3,550", "1,088", "138")):
        assert all(f"{n} of 4,776 blends" in title for title in titles[3 * k : 3 * k + 3])
    assert titles[5] == "1,088 of 4,776 blends (1,088 galaxies failed)"
    assert "Found: by SExtractor." in caption(fig)  # whose case stands in every table


@pytest.mark.parametrize(("score", "galaxy"), [("median_flux", "companion"), ("outliers", "central")])
def test_cells_hold_the_errors_of_their_blends_and_what_was_not_measured(blends, predictions, score, galaxy):
    fig = figures.failure_map(blends, predictions, score, galaxy)
    near = np.asarray(blends["distance"] / np.maximum(blends["r_eff_central"], blends["r_eff_companion"]))
    delta = np.asarray(blends["delta_mag"])
    bins = 3  # 400 blends
    i, j = (np.minimum((v - v.min()) // (np.ptp(v) / bins), bins - 1) for v in (near, delta))
    limits = set()
    for ax, pred in zip(fig.axes, predictions.values(), strict=False):
        ratio = np.asarray(pred[f"flux_{galaxy}"] / blends[f"flux_{galaxy}"])
        lost = ~(ratio > 0)
        ratio[lost] = 1
        error = np.where(lost, 1, abs(ratio - 1) if score == "median_flux" else abs(2.5 * np.log10(ratio)) > 0.75)
        (mesh,) = (c for c in ax.collections if hasattr(c, "get_coordinates"))
        value = mesh.get_array().reshape(bins, bins)
        limits.add((mesh.norm.vmin, mesh.norm.vmax))
        for k, m in np.ndindex(bins, bins):
            here = (j == k) & (i == m)
            statistic = np.median if score == "median_flux" else np.mean
            assert here.sum() >= 10
            assert value[k, m] == pytest.approx(100 * statistic(error[here]))
            written = ax.texts[bins * k + m].get_text().split("\n")
            assert abs(float(written[0]) - value[k, m]) <= 0.5
            share = 100 * lost[here].mean()
            assert len(written) == 1 + (share > 0)
            assert not share or abs(float(written[1].strip("()")) - share) <= 0.5
        assert ax.get_title().endswith(f"\n{100 * lost.mean():.1f} % not measured")
    assert len(limits) == 1
    assert galaxy in fig.get_suptitle()


def test_the_cell_that_is_never_measured_is_the_worst(blends, predictions):
    lost = predictions["fractions"].copy()
    near = blends["distance"] / np.maximum(blends["r_eff_central"], blends["r_eff_companion"])
    lost["flux_companion"][near < 1.6] = np.nan
    ax = figures.failure_map(blends, {"blind to close pairs": lost}).axes[0]
    (mesh,) = (c for c in ax.collections if hasattr(c, "get_coordinates"))
    value = mesh.get_array().reshape(3, 3)
    assert (value[:, 0] == 100).all()
    assert (value[:, 1:] < 100).all()


def test_failures_are_counted_as_the_metrics_count_errors(blends, predictions):
    pred = predictions["fractions"].copy()
    for galaxy in GALAXIES:  # all measured: the cells are those of binned_scores
        pred[f"flux_{galaxy}"] = np.where(pred[f"flux_{galaxy}"] > 0, pred[f"flux_{galaxy}"], blends[f"flux_{galaxy}"])
    delta = np.asarray(blends["delta_mag"])
    edges = np.histogram_bin_edges(delta, 3)
    row = np.clip(np.searchsorted(edges, delta, "right") - 1, 0, 2)
    near = np.asarray(blends["distance"] / np.maximum(blends["r_eff_central"], blends["r_eff_companion"]))
    column = np.minimum((near - near.min()) // (np.ptp(near) / 3), 2)
    table = metrics.binned_scores(blends, {"a": pred}, 3 * row + column, np.arange(10) - 0.5, rows="all")
    table = table[table["galaxy"] == "companion"]
    for score, times in (("median_flux", 1), ("outliers", 100)):
        ax = figures.failure_map(blends, {"a": pred}, score).axes[0]
        (mesh,) = (c for c in ax.collections if hasattr(c, "get_coordinates"))
        assert_allclose(np.ravel(mesh.get_array()), times * table[score])


def test_cells_with_few_blends_are_hatched(blends, predictions):
    fig = figures.failure_map(blends[:30], {name: pred[:30] for name, pred in predictions.items()})
    for ax in fig.axes[:3]:
        (mesh,) = (c for c in ax.collections if hasattr(c, "get_coordinates"))
        assert mesh.get_array().mask.any()
        assert len(ax.texts) == (~mesh.get_array().mask).sum()
        assert ax.patches[0].get_hatch()


def test_calibration_draws_the_metrics_shares_and_leaves_out_methods_without_errors(blends, predictions):
    fig = figures.calibration_curve(blends, predictions)
    table = metrics.calibration(blends, predictions)
    for row, (_, y, error, drawn) in zip(table, lines_of(fig.axes[2]), strict=True):
        nominal = np.array([68.27, 95.45, 99.73])
        assert_allclose(y + nominal, [100 * row[f"within_{k}"] for k in (1, 2, 3)])
        assert_allclose(error, [100 * row[f"within_{k}_err"] for k in (1, 2, 3)])
        assert drawn == LOOKS["fractions"]
    assert {"central", "companion"} <= {text.get_text() for text in fig.legends[0].get_texts()}
    low, high = fig.axes[2].get_ylim()
    tops = [(y + error).max() for _, y, error, _ in lines_of(fig.axes[2])]
    bottoms = [(y - error).min() for _, y, error, _ in lines_of(fig.axes[2])]
    ends = min(-1, *bottoms), max(1, *tops)
    assert low < ends[0]
    assert high > ends[1]
    assert high - low == pytest.approx(1.1 * np.ptp(ends))  # nothing but what is drawn, and zero
    assert "Without errors: SEP, blend2flux." in caption(fig)
    for ax, galaxy in zip(fig.axes, GALAXIES, strict=False):
        pred = predictions["fractions"]
        pulls = (pred[f"flux_{galaxy}"] - blends[f"flux_{galaxy}"]) / pred[f"flux_{galaxy}_err"]
        pulls = pulls[pred[f"flux_{galaxy}"] > 0]
        expected = np.histogram(np.clip(pulls, -4.49, 4.49), np.linspace(-4.5, 4.5, 31), density=True)[0]
        assert_allclose(ax.patches[0].get_path().vertices[:, 1].max(), expected.max())


def test_a_method_has_one_colour_in_every_figure(blends, predictions):
    colours = [to_rgba(LOOKS[name]) for name in predictions]
    lines = figures.median_and_scatter(blends, predictions).axes[0]
    assert [to_rgba(colour) for *_, colour in lines_of(lines)] == colours
    for draw in DRAW_ALL:
        if draw not in (figures.median_and_scatter, figures.calibration_curve):
            stripes = [ax.spines["top"].get_edgecolor() for ax in draw(blends, predictions).axes[:3]]
            assert stripes == colours, draw


def test_a_method_has_one_look_whatever_stands_beside_it():
    names = ("SExtractor", "blend2flux", "blend2mask2flux", "fractions", "unet", "two Sérsic profiles", "mine", "yours")
    together = method_styles(names)
    assert len(set(together.values())) == len({colour for colour, _ in together.values()}) == len(names)
    for name in names[:-1]:
        assert method_styles([name]) == {name: together[name]}
    assert method_styles(["sersic"])["sersic"] == together["two Sérsic profiles"]
    seps = method_styles(["SEP isophotal", "SEP Kron", "SEP Kron, neighbour masked"])
    assert {colour for colour, _ in seps.values()} == {together["SExtractor"][0]}
    assert len({marker for _, marker in seps.values()}) == 3
    galaxies_and_masks = {figures.COLOURS[name] for name in ("central", "companion", "overlap")}
    assert not galaxies_and_masks & {together[name][0] for name in (*names[:5], "mine")}


DRAW_ALL = (
    figures.recovered_magnitudes,
    figures.recovered_by_detection,
    figures.errors_by_delta_mag,
    figures.median_and_scatter,
    figures.by_morphology,
    figures.failure_map,
    figures.calibration_curve,
)


def hard_cases():
    """Tables that are allowed, and hard to draw."""
    blends = make_exam(40, 12)
    good, other = measure(blends, 1, 0.3, errors=True), measure(blends, 2, 0.1, case=True, errors=True)
    one = make_exam(1, 12)
    single = measure(one, 1, 0.1, errors=True)
    for galaxy in GALAXIES:
        single[f"flux_{galaxy}"] = 1.1 * one[f"flux_{galaxy}"]
    yield "one blend", one, {"a": single}
    yield (
        "one blend, of which nothing counts",
        one,
        {"a": with_column(single, case="none")},
    )
    lost = good.copy()
    lost["flux_companion"] = np.nan
    yield "a galaxy never measured", blends, {"a": good, "b": lost}
    perfect = good.copy()
    for galaxy in GALAXIES:
        perfect[f"flux_{galaxy}"] = blends[f"flux_{galaxy}"]
    yield "a method without an error", blends, {"a": perfect, "b": good}
    faint = blends.copy()
    faint["delta_mag"][:20], faint["delta_mag"][20:] = -2, 2
    yield "empty bins", faint, {"a": good, "b": other}
    masked = Table(good, masked=True)
    masked["flux_central"].mask[:10] = True
    yield "masked fluxes", blends, {"a": masked}
    yield "equal magnitudes", with_column(blends, delta_mag=0.0), {"a": good}
    yield "types of one's own", with_column(blends, morphology_central="elliptical"), {"a": good}


@pytest.mark.parametrize("draw", DRAW_ALL, ids=lambda draw: draw.__name__)
def test_hard_cases_are_drawn_without_a_warning(draw):
    for name, blends, predictions in hard_cases():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fig = draw(blends, predictions)
        said = " ".join(text.get_text() for ax in fig.axes for text in ax.texts)
        assert "nan" not in said, name


@pytest.mark.parametrize("n", [1, 5])
def test_as_many_panels_as_methods(blends, predictions, n):
    several = {name: predictions["fractions"] for name in NAMES[:n]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for draw in (figures.errors_by_delta_mag, figures.recovered_magnitudes):
            fig = draw(blends, several)
            titles = [ax.get_title().split("\n")[0] for ax in fig.axes]
            assert [title for title in dict.fromkeys(titles) if title in several] == list(several)
            assert fig.get_figwidth() <= 12


WITHOUT = [
    (figures.errors_by_delta_mag, "delta_mag"),
    (figures.errors_by_delta_mag, "r_eff_central"),
    (figures.median_and_scatter, "delta_mag"),
    (figures.by_morphology, "morphology_central"),
    (figures.failure_map, "r_eff_companion"),
]


@pytest.mark.parametrize(("draw", "column"), WITHOUT)
def test_a_missing_column_is_named(draw, column, blends, predictions):
    short = blends.copy()
    short.remove_column(column)
    with pytest.raises(ValueError, match=f"The blends have no column {column} "):
        draw(short, predictions)


@pytest.mark.parametrize("draw", DRAW_ALL, ids=lambda draw: draw.__name__)
def test_wrong_tables_are_one_clear_sentence(draw, blends, predictions):
    good = predictions["fractions"]
    nothing = Table({f"flux_{galaxy}": np.full(400, np.nan) for galaxy in GALAXIES})
    no_zeropoint, no_truth = blends.copy(), blends.copy()
    no_zeropoint.meta.clear()
    no_truth["flux_central"][3] = 0
    wrong = [
        (blends, {}, "no prediction to draw"),
        (blends[:0], {"A": good[:0]}, "no blends to draw"),
        (blends, {"A": good[:9]}, "'A' have 9 rows for 400 blends"),
        (blends, {"A": nothing}, "'A' measured nothing"),
        (blends, {"A": with_column(good, central=blends["central"][::-1])}, "in another order"),
        (no_zeropoint, {"A": good}, "have no zeropoint"),
        (no_truth, {"A": good}, "1 of 800 true fluxes are not finite and positive"),
    ]
    for table, methods, sentence in wrong:
        with pytest.raises(ValueError, match=sentence) as caught:
            draw(table, methods)
        assert "\n" not in str(caught.value)


def test_words_that_are_not_known_are_one_clear_sentence(blends, predictions):
    with pytest.raises(ValueError, match="by is 'size', expected one of 'delta_mag', 'distance', 'separation'"):
        figures.median_and_scatter(blends, predictions, "size")
    with pytest.raises(ValueError, match="galaxy is 'both', expected one of 'central', 'companion'"):
        figures.failure_map(blends, predictions, galaxy="both")
    with pytest.raises(ValueError, match="score is 'bias', expected one of 'median_flux', 'outliers'"):
        figures.failure_map(blends, predictions, "bias")
    with pytest.raises(ValueError, match="predicts errors, expected at least one with flux_central_err"):
        figures.calibration_curve(blends, {"SEP": predictions["SEP"]})


def test_the_explorer_is_loaded_only_when_it_is_asked_for():
    assert "explore_errors" in dir(bk.figures)
    assert callable(bk.figures.explore_errors)
    with pytest.raises(AttributeError, match="no attribute 'figure_99'"):
        _ = bk.figures.figure_99


def test_synthetic_and_real_side_by_side():
    rows = [(sample, method, galaxy, 10.0 + k, 0.5) for k, sample in enumerate(("synthetic", "real", "folds"))
            for method in ("SEP", "fractions") for galaxy in ("central", "companion")]  # fmt: skip
    rows.append(("synthetic", "unet", "central", np.nan, np.nan))
    table = Table(rows=rows, names=("sample", "method", "galaxy", "mape", "mape_err"))
    fig = figures.synthetic_and_real(table)
    for ax, galaxy in zip(fig.axes, ("central", "companion"), strict=True):
        assert ax.get_title() == galaxy
        assert next(list(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) == 2) == [10, 11]
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == ["SEP", "fractions"]
    with pytest.raises(ValueError, match="no method on both"):
        figures.synthetic_and_real(table[:4])
    with pytest.raises(ValueError, match="mape_err"):
        figures.synthetic_and_real(table["sample", "method", "galaxy", "mape"])
