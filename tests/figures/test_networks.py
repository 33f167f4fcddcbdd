"""Figures of training: what networks see, how they learn, and how a leak flatters them."""

from functools import partial

import numpy as np
import pytest
from astropy.table import Table
from conftest import module
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

import blendkit as bk
from blendkit import figures, metrics

HISTORY = {"epoch": np.arange(1, 31), "loss": np.linspace(80, 20, 30), "val_loss": np.abs(np.arange(30) - 20) + 30.0}
ERRORS = {f"val_mape_{member}": np.linspace(90, low, 30) for member, low in (("central", 20), ("companion", 30))}


SIZES = {"blend2flux": (2,), "unet": (3, 2), "blend2mask2flux": (3, 2, 2, 4), "fractions": (8,)}
networks = module(lambda: {name: bk.models.BUILDERS[name](*size, shape=(64, 64)) for name, size in SIZES.items()})


@pytest.mark.parametrize("draw", [
    lambda: figures.learning_curve(HISTORY),
    lambda: figures.learning_curve(Table(HISTORY | ERRORS)),
    lambda: figures.loss_curves({"a run": HISTORY, "another": HISTORY, "third": HISTORY}, same_scale=True),
    lambda: figures.loss_curves({"below zero": HISTORY | {"loss": -HISTORY["loss"]}}),
    lambda: figures.loss_curves({"wide": HISTORY | {"loss": np.geomspace(90, 0.05, 30)}}),
])  # fmt: skip
def test_a_dot_marks_the_best_epoch(drawn, draw):
    (best,) = [line.get_xydata()[0] for line in drawn(draw).axes[0].lines if line.get_marker() == "o"]
    assert best.tolist() == [21, 30]


@pytest.mark.parametrize("draw", [
    lambda s, b, n: figures.activations(n["blend2flux"], s, b),
    lambda s, b, n: figures.shares_seen(s, b, n["fractions"]),
])  # fmt: skip
def test_what_networks_see_can_be_read(drawn, draw, accepted, blends, networks):
    assert len(drawn(lambda: draw(accepted, blends, networks)).findobj(AnchoredSizeBar)) == 1


@pytest.mark.parametrize("name", SIZES)
def test_a_diagram_has_a_bar_for_each_layer_and_all_parameters(drawn, networks, name):
    fig, network = drawn(lambda: figures.network_diagram(networks[name])), networks[name]
    inner = [layer for layer in network.layers if hasattr(layer, "layers")]
    bars = {"Conv2D", "Conv2DTranspose", "Dense", "InputLayer", "Functional", "ErrorScale"}
    for ax, one in zip(fig.axes, (network, *inner), strict=True):
        labels = [text.get_text().split("$")[1] for text in ax.texts if "$" in text.get_text()]
        assert sum(int(label.replace("{,}", "").strip("\\mathbf{}")) for label in labels) == one.count_params()
        assert len(ax.patches) == sum(type(op).__name__ in bars for op in one.operations)
    assert f"{network.count_params():,} parameters" in fig.get_suptitle()


def test_what_is_left_after_a_half_turn_is_the_companion(drawn, accepted):
    pair = bk.make_blends(accepted, [(11, 10)] * 2, 18, 10)
    fig = drawn(lambda: figures.symmetry(accepted, pair))
    left, true = (float(ax.get_xlabel().split()[0]) for ax in fig.axes[3:5])
    assert (left, true) == (pytest.approx(true, rel=0.1), pytest.approx(pair["flux"][0, 1], rel=0.01))


def test_sum_and_share_say_what_the_metrics_say(drawn, accepted, blends):
    images, _, fluxes = bk.render(accepted, blends)
    total = images.astype(float).sum(axis=(1, 2), keepdims=True)[..., 0]
    fig = drawn(lambda: figures.sum_and_share(blends, images))
    for ax, *pair in zip(fig.axes, (fluxes.sum(1, keepdims=True), fluxes), (total, total / [2, 2]), strict=True):
        got = metrics.flux_scores(*pair)
        assert ax.texts[0].get_text() == f"median error {got['median']:.1f} %\nMAPE {got['mape']:.1f} %"


def test_masks_seen_say_the_iou(drawn, accepted, blends, networks):
    images, masks, _ = bk.render(accepted, blends[:1])
    answer = np.asarray(networks["unet"](images[..., None]))
    two = {"U-Net": networks["unet"], "after flux training": networks["blend2mask2flux"]}
    fig = drawn(lambda: figures.masks_seen(accepted, blends, two))
    said = " / ".join(f"{value:.2f}" for value in metrics.iou(masks, answer > 0.5)[0])
    assert fig.axes[2].get_xlabel() == f"IoU {said}"


def test_the_leak_is_the_difference_of_two_errors(drawn, blends):
    noise = np.random.default_rng(0).normal(1, 0.2, (2, *blends["flux"].shape))
    honest, leaky, *noisy = (Table({"flux": factor * blends["flux"]}) for factor in (1.3, 1.1, *noise))
    got, expected = figures.leak_errors(blends, honest, leaky), {"n": 80, "failed": 0, "difference_err": 0}
    expected |= {"honest": 30, "leaky": 10, "difference": 20}
    assert {name: got[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    pairs = (honest, leaky), (leaky, honest), noisy
    for pair, word in zip(pairs, ("flatters by 20.0 ± 0.0", "No flattery", "within the noise"), strict=True):
        assert word in drawn(partial(figures.leak, blends, *pair)).get_suptitle()
    leaky["flux"][:3, 0] = np.nan
    assert figures.leak_errors(blends, honest, leaky)["failed"] == 3


@pytest.mark.parametrize("draw", [
    lambda s, b, n: figures.symmetry(s, b[:0]),
    lambda s, b, n: figures.loss_curves({}),
    lambda s, b, n: figures.activations(n["unet"], s, b),
    lambda s, b, n: figures.leak(b, b[:5], b[:5]),
])  # fmt: skip
def test_what_cannot_be_drawn_of_training_is_refused(draw, accepted, blends, networks):
    with pytest.raises(ValueError):  # noqa: PT011
        draw(accepted, blends, networks)
