"""Diagrams of networks, masks and worst blends: what is drawn is what networks and metrics say."""

import subprocess
import sys
import warnings
from itertools import combinations

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.table import Table
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.container import BarContainer

import blendkit as bk
from blendkit import metrics
from blendkit.figures import COLOURS, masks, networks

matplotlib.use("Agg")


@pytest.fixture(scope="module")
def blends(accepted):
    return bk.draw_blends(accepted, 40, seed=3)


@pytest.fixture(scope="module")
def true(accepted, blends):
    return bk.render(accepted, blends)[1]


@pytest.fixture(scope="module")
def pred(blends, true):
    """Fluxes off by more and more, two not measured, and masks that lack a part of the truth."""
    off = 10 ** (0.4 * np.linspace(0, 1.5, len(blends)))
    table = Table({f"flux_{g}": blends[f"flux_{g}"] * f for g, f in (("central", off), ("companion", 1 / off))})
    table["flux_companion"][[5, 9]] = np.nan, -1
    table["masks"] = true.copy()
    table["masks"][:, : true.shape[1] // 2] = False
    table.meta["method"] = "half of it"
    return table


def drawn(draw):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig = draw()
    check_texts(fig)
    return fig


def check_texts(fig):
    """The rules of every figure: on the canvas, legible, apart, and nothing left open."""
    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    texts = [t for t in fig.findobj(matplotlib.text.Text) if t.get_visible() and t.get_text().strip()]
    boxes = {t: t.get_window_extent(canvas.get_renderer()) for t in texts if t not in off_the_scale(fig)}
    for text, box in boxes.items():
        assert text.get_fontsize() >= 12, text.get_text()
        assert box.xmin >= -1, text.get_text()
        assert box.ymin >= -1, text.get_text()
        assert box.xmax <= fig.bbox.xmax + 1, text.get_text()
        assert box.ymax <= fig.bbox.ymax + 1, text.get_text()
    for (one, a), (other, b) in combinations(boxes.items(), 2):
        width, height = min(a.xmax, b.xmax) - max(a.xmin, b.xmin), min(a.ymax, b.ymax) - max(a.ymin, b.ymin)
        assert min(width, height) < 3, (one.get_text(), other.get_text())
    assert fig.get_suptitle()
    assert fig.get_figwidth() <= 12
    assert plt.get_fignums() == []


def off_the_scale(fig):
    """Labels of ticks that are not drawn."""
    axes = [(axis, sorted(axis.get_view_interval())) for ax in fig.axes for axis in (ax.xaxis, ax.yaxis)]
    ticks = [t for axis, (low, high) in axes for t in axis.get_major_ticks() if not low <= t.get_loc() <= high]
    return {label for tick in ticks for label in (tick.label1, tick.label2)}


def residual_network():
    import keras

    x = blend = keras.Input((32, 32, 1), name="blend")
    for filters in (4, 8):
        x = short = keras.layers.Conv2D(filters, 3, strides=2, padding="same")(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.Add()([keras.layers.Conv2D(filters, 3, padding="same")(x), short])
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(blend, [keras.layers.Dense(2, name=name)(x) for name in ("fluxes", "errors")], name="residual")


def plain_network():
    import keras

    inner = [keras.layers.Conv2D(4, 3), keras.layers.Flatten(), keras.layers.Dense(2)]
    return keras.Sequential([keras.Input((16, 16, 1)), *inner], name="plain")


NETWORKS = {
    "blend2flux": lambda: bk.models.blend2flux(),
    "small blend2flux": lambda: bk.models.blend2flux(4, shape=(16, 32)),
    "unet": lambda: bk.models.unet(),
    "small unet": lambda: bk.models.unet(2, 4, shape=(32, 32)),
    "blend2mask2flux": lambda: bk.models.blend2mask2flux(),
    "fractions": lambda: bk.models.fractions(),
    "residual": residual_network,
    "sequential": plain_network,
}


def numbers(ax):
    """The parameters at the blocks of one row of the diagram."""
    bold = [t.get_text().replace(",", "") for t in ax.texts if t.get_weight() == "bold"]
    return [int(text) for text in bold if text.isdigit()]


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_at_the_blocks_add_up(name):
    network = NETWORKS[name]()
    fig = drawn(lambda: networks.network_diagram(network))
    assert fig.get_suptitle().startswith(f"{network.name}: {network.count_params():,} parameters, ")
    inner = [layer for layer in network.layers if hasattr(layer, "layers")]
    assert len(fig.axes) == 1 + len(inner)
    for ax, one in zip(fig.axes, [network, *inner], strict=True):
        assert sum(numbers(ax)) == one.count_params()
    for ax, one in zip(fig.axes[1:], inner, strict=True):
        assert ax.get_title(loc="left").startswith(f"{one.name}, {one.count_params():,} parameters: takes ")
        assert one.name in [text.get_text() for text in fig.axes[0].texts]


def shapes(fig):
    return [[t.get_text().replace("\xa0", " ") for t in ax.texts if t.get_weight() != "bold"] for ax in fig.axes]


def test_blocks_of_the_papers_networks_have_their_shapes():
    (row,) = shapes(networks.network_diagram(bk.models.blend2flux(8)))
    assert row == ["128 × 128", "× 1", "128 × 128", "× 8", "64 × 64", "× 8", "32 × 32", "× 16", "16 × 16", "× 16",
                   "8 × 8", "× 32", "8", "2"]  # fmt: skip
    (row,) = shapes(networks.network_diagram(bk.models.unet(3, 4, shape=(32, 32))))
    assert row == ["32 × 32", "× 1", "32 × 32 × 4", "16 × 16 × 8", "8 × 8 × 16", "16 × 16 × 8", "32 × 32 × 4",
                   "32 × 32", "× 2"]  # fmt: skip


def test_the_unet_has_its_skip_connections_and_ours_its_halves():
    (row,) = networks.network_diagram(bk.models.unet(4, 4, shape=(32, 32))).axes
    dashed = [patch for patch in row.patches if patch.get_linestyle() == "dashed"]
    assert len(dashed) == 3
    for arrow in dashed:
        assert np.ptp(arrow.get_path().vertices[:2, 1]) == 0  # each on its own level
    whole, locate, separate = shapes(networks.network_diagram(bk.models.fractions(6, shape=(64, 64))))
    assert whole[2:4] == ["2 outputs", "4 outputs"]
    sizes = ["16 × 16 × 2", "8 × 8 × 4", "8 × 8 × 6", "4 × 4 × 8", "2 × 2 × 8", "4 × 4 × 8", "8 × 8 × 6", "4 × 4 × 4",
             "8 × 8 × 4", "16 × 16 × 2"]  # fmt: skip
    assert locate == ["2 inputs", *sizes]
    assert separate[: len(sizes) + 1] == ["7 inputs", *sizes]


def test_a_model_without_a_graph_is_one_sentence():
    import keras

    class Mine(keras.Model):
        pass

    with pytest.raises(ValueError, match=r"has no graph of layers to draw, expected a functional .* build it as"):
        networks.network_diagram(Mine())
    with pytest.raises(ValueError, match="has no graph of layers to draw"):
        networks.network_diagram(keras.Sequential([keras.layers.Dense(2)]))


def test_figures_load_neither_keras_nor_plotly():
    code = (
        "import sys, blendkit.figures.networks, blendkit.figures.masks, blendkit.figures.hover; "
        "assert not {'keras', 'tensorflow', 'plotly', 'ipywidgets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# masks


def test_masks_and_ious_are_those_of_the_metrics(accepted, blends, true, pred):
    none = np.zeros_like(true)
    rows = [7, 0, -1]
    fig = drawn(lambda: masks.masks_beside(accepted, blends, {"half": pred, "none": none, "all": true}, rows))
    axes = np.reshape(fig.axes, (3, 5))
    scores = metrics.iou(true, np.asarray(pred["masks"]))
    for line, row in zip(axes, rows, strict=True):
        assert line[0].get_xlabel().startswith(f"row {row % 40}\n{blends['distance'][row]:.0f} px")
        assert line[2].get_xlabel() == "central {:.2f}\ncompanion {:.2f}".format(*scores[row])
        assert line[3].get_xlabel() == "central 0.00\ncompanion 0.00"
        assert line[4].get_xlabel() == "central 1.00\ncompanion 1.00"
        picture = line[1].images[0].get_array()
        for k, galaxy in enumerate(("central", "companion")):
            coloured = [(picture == to_rgb(COLOURS[which])).all(-1) for which in (galaxy, "overlap")]
            np.testing.assert_array_equal(np.any(coloured, axis=0), true[row, ..., k])
    assert [ax.get_title() for ax in axes[0]] == ["blend", "true masks", "half", "none", "all"]
    assert "effective radii R$_e$ of the central galaxy" in fig.get_supxlabel()


def test_examples_go_from_close_to_far_apart(accepted, blends, true):
    rows = masks._spread_rows(blends)
    apart = (blends["distance"] / blends["r_eff_central"])[rows]
    assert len(rows) == 4
    assert (np.diff(apart) >= 0).all()
    assert apart[-1] > 1.5 * apart[0]
    fig = drawn(lambda: masks.masks_beside(accepted, blends[:1], {"true": true[:1]}))
    assert len(fig.axes) == 3


def test_ious_by_type_are_those_of_the_metrics(blends, true, pred):
    half = metrics.iou(true, np.asarray(pred["masks"]))
    half[3] = np.nan
    half[4, 1] = np.nan
    ious = {"half": half, "all": metrics.iou(true, true)}
    blends = blends.copy()
    blends["morphology_companion"], blends["morphology_central"] = "disk", ["sph"] * 18 + ["irr"] * 14 + ["sphd"] * 8
    fig = drawn(lambda: masks.iou_by_type(blends, ious))
    table = metrics.mask_scores(blends, ious)
    table = table[(table["galaxy"] == "both") & (table["n"] > 0)]
    left, right = fig.axes
    bars = [c for c in right.containers if isinstance(c, BarContainer)]
    for name, container in zip(ious, bars, strict=True):
        of = table[(table["method"] == name) & (table["pair"] != "all") & (table["n"] >= 10)]
        np.testing.assert_allclose([bar.get_width() for bar in container], of["iou"])
    labels = [label.get_text() for label in right.get_yticklabels()]
    assert labels == ["sph + disk (17)", "disk + irr (14)"]  # one is NaN, eight are too few
    assert fig.get_suptitle().startswith("Mean IoU of the masks: best is all, 1.000")
    vertices = left.patches[0].get_xy()
    mean = np.nanmean(half[np.isfinite(half).any(1)], axis=1)
    counts = np.histogram(mean, np.linspace(0, 1, 21))[0]
    assert vertices[:, 1].max() == pytest.approx(100 * counts.max() / len(mean))


def test_a_single_blend_and_all_empty_masks(blends, true):
    fig = drawn(lambda: masks.iou_by_type(blends[:1], {"all": metrics.iou(true, true)[:1]}))
    assert fig.get_suptitle() == "Mean IoU of the masks: all, 1.000"
    with pytest.raises(ValueError, match="all IoUs are NaN, expected some between 0 and 1"):
        masks.iou_by_type(blends, {"none": np.full((40, 2), np.nan)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": {}}, "There are no masks to draw"),
        ({"methods": {"SEP": Table({"flux_central": np.ones(40)})}}, "predictions of 'SEP' have no masks"),
        ({"methods": {"mine": np.zeros((3, 8, 8, 2), bool)}}, "3 masks of 'mine' were given for 40 blends"),
        ({"rows": [40]}, r"rows = \[40\] was given, expected row numbers from 0 to 39"),
        ({"rows": []}, r"rows = \[\] was given"),
        ({"blends": Table()}, "there are no blends to draw"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(accepted, blends, pred, change, message):
    given = {"sample": accepted, "blends": blends, "methods": {"half": pred}} | change
    with pytest.raises(ValueError, match=message):
        masks.masks_beside(**given)


# the worst


def test_the_worst_is_really_worst(blends, pred):
    assert masks.worst_rows(blends, pred, "central").tolist() == list(range(39, -1, -1))
    rows = masks.worst_rows(blends, pred, "companion")
    assert rows[:2].tolist() == [5, 9]
    assert rows[2:].tolist() == [i for i in range(39, -1, -1) if i not in (5, 9)]
    better = pred.copy()
    better["flux_central"] = blends["flux_central"]
    better["flux_central"][20] *= 100
    assert masks.worst_rows(blends, better, "both")[:4].tolist() == [5, 9, 20, 39]
    measured = metrics.magnitude_scores(np.full(40, 20.0), 20 + masks.delta_mag(blends, pred, "central"))
    assert measured["bias"] == pytest.approx(-0.75, abs=1e-6)


def test_the_worst_are_shown_with_what_went_wrong(accepted, blends, pred):
    fig = drawn(lambda: masks.worst_blends(accepted, blends, pred, n=6))
    assert " ".join(fig.get_suptitle().split()) == (
        "half of it: the 6 worst blends for the companion, 2 not measured, the others off by 1.38 to 1.50 mag"
    )
    axes = [ax for ax in fig.axes if ax.images]
    assert [int(ax.get_title().split(":")[0].removeprefix("row ")) for ax in axes] == [5, 9, 39, 38, 37, 36]
    true = blends.meta["zeropoint"] - 2.5 * np.log10(blends["flux_companion"])
    assert axes[0].get_xlabel() == f"{true[5]:.2f}: not measured"
    assert axes[2].get_xlabel() == f"{true[39]:.2f} → {true[39] + 1.5:.2f} (+1.50)"
    image = bk.render(accepted, blends[39:])[0][0]
    shade = bk.figures.stretch(image, bk.figures.base.sky_noise(accepted))
    np.testing.assert_array_equal(axes[2].images[0].get_array(), shade)


def test_the_worst_of_both_galaxies_and_of_a_single_blend(accepted, blends, pred):
    fig = drawn(lambda: masks.worst_blends(accepted, blends, pred, n=3, galaxy="both"))
    assert all(len(ax.get_xlabel().split("\n")) == 2 for ax in fig.axes[:3])
    assert "not measured" in fig.axes[0].get_xlabel().split("\n")[1]
    fig = drawn(lambda: masks.worst_blends(accepted, blends[7:8], pred[7:8], galaxy="central"))
    assert "the worst blend for the central galaxy, off by" in " ".join(fig.get_suptitle().split())
    failed = pred.copy()
    failed["flux_companion"] = np.nan
    fig = drawn(lambda: masks.worst_blends(accepted, blends, failed, n=2))
    assert " ".join(fig.get_suptitle().split()).endswith("2 of the 40 not measured")
    with pytest.raises(ValueError, match="galaxy = 'third' was given, expected one of central, companion, both"):
        masks.worst_rows(blends, pred, "third")
