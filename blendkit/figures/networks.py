"""What networks see and how they learn."""

from __future__ import annotations

import textwrap
from collections import namedtuple
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, Patch, Rectangle
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ..blending import place, render, render_parts
from ..metrics import (
    FIGURE_5_CASES,
    _floats,
    _need,
    _same_length,
    flux_scores,
    iou,
    resample,
)
from .base import (
    COLOURS,
    WIDTH,
    canvas,
    draw_outlines,
    draw_scale_bar,
    grid_size,
    mask_picture,
    plain_log,
    put_caption,
    put_title,
    show_stamp,
    signed,
    sky_noise,
    some_blends,
    stretch,
    window_around,
)

if TYPE_CHECKING:
    import keras
    from astropy.table import Table
    from matplotlib.figure import Figure

    from ..samples import Sample


def learning_curve(history: Mapping[str, Sequence[float]]) -> Figure:
    """Losses of a training run after each epoch, and the flux errors where the network gives fluxes.

    Parameters
    ----------
    history : mapping of sequences
        ``bk.training.history(folder)``, or what `train` gives to its `progress`: `epoch`, `loss`, `val_loss`, and
        `val_mape_central` and `val_mape_companion` (%) where there are fluxes.

    Returns
    -------
    matplotlib.figure.Figure
        A dot marks the epoch of lowest validation loss, whose weights are kept.
    """
    epoch, valid = _floats(history["epoch"]), _floats(history["val_loss"])
    best = int(np.argmin(valid))
    names = history.colnames if hasattr(history, "colnames") else history
    errors = {galaxy: f"val_mape_{galaxy}" for galaxy in FIGURE_5_CASES if f"val_mape_{galaxy}" in names}
    with canvas(WIDTH, 4.2) as fig:
        loss, *flux = np.atleast_1d(fig.subplots(1, 2 if errors else 1))
        loss.plot(epoch, _floats(history["loss"]), marker=".", color="0.5", label="training")
        loss.plot(epoch, valid, marker=".", color=COLOURS["methods"][0], label="validation: other galaxies")
        loss.plot(epoch[best], valid[best], "o", markersize=11, color=COLOURS["methods"][0], label="best epoch so far")
        loss.set_ylabel("loss (what the network lowers)")
        for ax in flux:
            for galaxy, name in errors.items():
                ax.plot(epoch, _floats(history[name]), marker=".", color=COLOURS[galaxy], label=galaxy)
            ax.set_ylabel("flux error in validation, MAPE (%)")
        for ax in (loss, *flux):
            ax.set_xlabel("epoch")
            ax.set_xlim(0, max(2, len(epoch)) + 0.5)
            if min(line.get_ydata().min() for line in ax.lines) > 0:
                ax.set_yscale("log")
            ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.3g}"))
            ax.yaxis.set_minor_formatter(FuncFormatter(lambda y, _: f"{y:.3g}"))
            ax.tick_params(axis="y", which="minor", labelsize=12)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            ax.legend()
        put_title(
            fig, "Learning: validation follows training down; where it turns up again, learning has become memory"
        )
    return fig


def symmetry(sample: Sample, blends: Table, n: int = 2) -> Figure:
    """What is left of a blend when all that looks the same after a half turn is taken away.

    Parameters
    ----------
    sample : Sample
    blends : astropy.table.Table
        Recipes; the first `n` are shown.
    n : int

    Returns
    -------
    matplotlib.figure.Figure
        For each blend: itself, turned by 180 degrees about the centre, the fainter of the two in each pixel, what is
        left over, and the companion alone.

    Raises
    ------
    ValueError
        Without blends, or where the sample does not hold their galaxies.
    """
    blends = some_blends(blends)[: max(n, 1)]
    images, masks, fluxes = render(sample, blends)
    companions, noise = render_parts(sample, blends)[:, 1], sky_noise(sample)
    window = window_around(masks.any(axis=(0, 3)), square=True)
    names = ("blend", "turned by 180°", "fainter of the two", "left over", "companion alone")
    with canvas(*grid_size(len(blends), 5, extra=1.5 + 0.2 * len(blends))) as fig:
        axes = fig.subplots(len(blends), 5, squeeze=False)
        for line, image, companion, flux in zip(axes, images, companions, fluxes[:, 1], strict=True):
            turned = np.empty_like(image)
            place(turned, image, 2, 0, 0, image)
            fainter = np.minimum(image, turned)
            left = image - fainter
            for ax, picture in zip(line, (image, turned, fainter, left, companion), strict=True):
                show_stamp(ax, stretch(picture, noise))
                ax.plot(sample.centre[1], sample.centre[0], "+", color=COLOURS["central"], markersize=9)
                ax.set(ylim=window[0], xlim=window[1])
            line[3].set_xlabel(f"{left[left > 5 * noise].sum():.3g} e⁻/s")
            line[4].set_xlabel(f"{flux:.3g} e⁻/s", color=COLOURS["companion"])
        for ax, name in zip(axes[0], names, strict=True):
            ax.set_title(name)
        draw_scale_bar(axes[0, 0], sample, masks[0].any(axis=-1))
        put_title(fig, "What does not look the same after a half turn belongs to the other galaxy")
        put_caption(
            fig,
            f"+: the centre. Below “left over”: the light in its pixels above {5 * noise:.3f} e⁻/s, 5 times the noise "
            "of a stamp. Below “companion alone”: its true flux.",
        )
    return fig


def sum_and_share(blends: Table, images: np.ndarray) -> Figure:
    """All light of each blend against both true fluxes together, and half of it against each of them.

    Parameters
    ----------
    blends : astropy.table.Table
        With `flux_central` and `flux_companion`.
    images : array of float, shape (n, ny, nx), e-/s
        Their pixels.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        Without blends, or not as many images.
    """
    if len(some_blends(blends)) != len(images):
        raise ValueError(f"{len(images)} images were given for {len(blends)} blends, expected one each.")
    total = np.asarray(images, float).sum(axis=(1, 2))
    true = np.stack([_floats(blends[f"flux_{galaxy}"]) for galaxy in FIGURE_5_CASES], 1)
    both, each = (flux_scores(t, m) for t, m in ((true.sum(1), total), (true.T, np.stack([total / 2] * 2))))
    with canvas(WIDTH, 5.6) as fig:
        axes = fig.subplots(1, 2, sharex=True, sharey=True)
        axes[0].plot(true.sum(1), total, ".", color=COLOURS["overlap"], alpha=0.6)
        for k, galaxy in enumerate(FIGURE_5_CASES):
            axes[1].plot(true[:, k], total / 2, ".", color=COLOURS[galaxy], alpha=0.5, label=galaxy)
        ends = np.array([true.min() / 1.3, true.sum(1).max() * 1.3])
        for ax, got in zip(axes, (both, each), strict=True):
            ax.plot(ends, ends, color="black", linewidth=1.5)
            ax.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
            ax.text(
                0.03, 0.97, f"median error {got['median']:.1f} %\nMAPE {got['mape']:.1f} %",
                transform=ax.transAxes, va="top",
            )  # fmt: skip
            for axis in (ax.xaxis, ax.yaxis):
                plain_log(axis)
        axes[0].set(title="the sum", xlabel="both true fluxes together (e⁻/s)", ylabel="all light of the blend (e⁻/s)")
        axes[1].set(
            title="the share", xlabel="true flux of one galaxy (e⁻/s)", ylabel="half of the blend's light (e⁻/s)"
        )
        axes[1].yaxis.set_tick_params(labelleft=True)
        axes[1].legend(loc="lower right", markerscale=2, handletextpad=0)
        put_title(fig, "The sum of both fluxes is easy; who owns which share of it is the question")
    return fig


def loss_curves(histories: Mapping[str, Mapping[str, Sequence[float]]], same_scale: bool = False) -> Figure:
    """Losses of several training runs after each epoch, a panel each.

    Parameters
    ----------
    histories : mapping of str to mapping of sequences
        For each label what ``bk.training.history(folder)`` gives: `epoch`, `loss` and `val_loss`.
    same_scale : bool
        Whether all panels share one scale; for runs with the same loss.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        Without a run.
    """
    if not histories:
        raise ValueError('There is no run to draw, expected at least one: give {"label": bk.training.history(folder)}.')
    lines = -(-len(histories) // 2)
    with canvas(WIDTH, 3.6 * lines + 1.2) as fig:
        axes = fig.subplots(lines, 2, squeeze=False, sharex=same_scale, sharey=same_scale).ravel()
        for ax, (name, history) in zip(axes, histories.items(), strict=False):
            epoch, loss, valid = (_floats(history[key]) for key in ("epoch", "loss", "val_loss"))
            best = int(np.argmin(valid))
            ax.plot(epoch, loss, marker=".", color="0.5", label="training")
            ax.plot(epoch, valid, marker=".", color=COLOURS["methods"][0], label="validation: other galaxies")
            ax.plot(epoch[best], valid[best], "o", markersize=11, color=COLOURS["methods"][0], label="best epoch: kept")
            ax.set(title=name, xlabel="epoch", ylabel="loss (what the network lowers)")
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            if min(loss.min(), valid.min()) > 0:
                ax.set_yscale("log")
                plain_log(ax.yaxis, (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0))
        for ax in axes[len(histories) :]:
            ax.set_axis_off()
        fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        put_title(fig, "What is lowered in training has to fall on galaxies that the network never learned from")
    return fig


def activations(
    network: keras.Model, sample: Sample, blend: Table, names: Sequence[str] = ("conv1", "conv2", "conv3")
) -> Figure:
    """What the first layers of a network make of a blend: the maps in which most is seen (section 3.1).

    Parameters
    ----------
    network : keras.Model
        With layers of these names that give maps, such as `blendkit.models.blend2flux`.
    sample : Sample
    blend : astropy.table.Table
        Recipes, of which the first is shown.
    names : sequence of str
        Of the layers, a row of pictures each.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        Without a blend, or where the network has no such layer.
    """
    import keras

    (image,), (mask,), _ = render(sample, some_blends(blend)[:1])
    inner = keras.Model(network.input, {name: network.get_layer(name).output for name in names})
    answers = inner(image[None, ..., None], training=False)
    maps = [keras.ops.convert_to_numpy(answers[name])[0].astype(float) for name in names]
    window, columns = window_around(mask.any(axis=-1), margin=20, square=True), 4
    with canvas(WIDTH, 1.9 * len(names) + 1.2) as fig:
        left, right = fig.subfigures(1, 2, width_ratios=(1, 1.9))
        ax = left.subplots()
        show_stamp(ax, stretch(image, sky_noise(sample)))
        draw_outlines(ax, mask[..., 0], mask[..., 1])
        ax.set(ylim=window[0], xlim=window[1], title="what goes in")
        draw_scale_bar(ax, sample, mask.any(axis=-1))
        axes = right.subplots(len(names), columns, squeeze=False)
        for line, name, layer in zip(axes, names, maps, strict=True):
            order = np.argsort(-layer.std(axis=(0, 1)))[:columns]
            for ax, k in zip(line, order, strict=False):
                show_stamp(ax, np.sqrt(np.clip(layer[..., k], 0, None) / max(layer[..., k].max(), 1e-12)))
                ax.images[0].set_extent((-0.5, image.shape[1] - 0.5, -0.5, image.shape[0] - 0.5))
                ax.set(ylim=window[0], xlim=window[1])
            for ax in line[len(order) :]:
                ax.set_axis_off()
            ny, nx, n = layer.shape
            silent = np.count_nonzero(layer.max(axis=(0, 1)) <= 0)
            line[0].set_ylabel(f"{name}\n{ny} × {nx} px\n{silent} of {n} silent")
        put_title(fig, "Each map is one question that the network asks of every place in the picture")
        put_caption(
            fig, "Dark: the answer is large (shades are square roots, each map on its own scale). Silent: all zero."
        )
    return fig


def masks_seen(sample: Sample, blends: Table, networks: Mapping[str, keras.Model], n: int = 3) -> Figure:
    """Masks that networks give for a few blends, as colours, beside the true outlines.

    Parameters
    ----------
    sample : Sample
    blends : astropy.table.Table
        Recipes; the first `n` are shown.
    networks : mapping of str to keras.Model
        For each label a network that gives masks.
    n : int

    Returns
    -------
    matplotlib.figure.Figure
        The stronger the colour, the surer the network; the overlap has its own. Below: intersection over union with
        the true masks, above a threshold of 0.5.

    Raises
    ------
    ValueError
        Without blends.
    """
    blends = some_blends(blends)[: max(n, 1)]
    images, masks, _ = render(sample, blends)
    answers = {name: _answers(network, images)["masks"] for name, network in networks.items()}
    scores = {name: iou(masks, answer > 0.5) for name, answer in answers.items()}
    window, noise = window_around(masks.any(axis=(0, 3)), square=True), sky_noise(sample)
    columns = 2 + len(answers)
    with canvas(*grid_size(len(blends), columns, extra=1.5 + 0.3 * len(blends))) as fig:
        axes = fig.subplots(len(blends), columns, squeeze=False)
        for i, line in enumerate(axes):
            show_stamp(line[0], stretch(images[i], noise))
            show_stamp(line[1], mask_picture(masks[i]))
            for ax, (name, answer) in zip(line[2:], answers.items(), strict=True):
                show_stamp(ax, _mixed(answer[i]))
                ax.set_xlabel("IoU " + " / ".join("none" if np.isnan(s) else f"{s:.2f}" for s in scores[name][i]))
            for ax in line:
                ax.set(ylim=window[0], xlim=window[1])
        for ax, name in zip(axes[0], ("blend", "true masks", *answers), strict=True):
            ax.set_title(textwrap.fill(name, 20))
        draw_scale_bar(axes[0, 0], sample, masks[0].any(axis=-1))
        put_title(fig, "Which pixels belong to whom? The stronger the colour, the surer the network")
        colours = {"central": (1, 0), "companion": (0, 1), "both": (1, 1), "undecided": (0.5, 0.5)}
        handles = [Patch(color=_mixed(colour), label=name) for name, colour in colours.items()]
        fig.legend(handles=handles, loc="outside lower center", ncols=4)
    return fig


def shares_seen(sample: Sample, blends: Table, network: keras.Model, n: int = 3) -> Figure:
    """The share of each pixel's light that a network gives to either galaxy, and the galaxies that come of it.

    Parameters
    ----------
    sample : Sample
    blends : astropy.table.Table
        Recipes; the first `n` are shown.
    network : keras.Model
        One that gives images, such as `blendkit.models.fractions`.
    n : int

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        Without blends.
    """
    from scipy.ndimage import uniform_filter

    blends = some_blends(blends)[: max(n, 1)]
    images, masks, fluxes = render(sample, blends)
    parts, noise = render_parts(sample, blends), sky_noise(sample)
    answer = _answers(network, images)
    window = window_around(masks.any(axis=(0, 3)), square=True)
    light = images[..., None]
    shares = np.divide(answer["images"], light, out=np.zeros_like(answer["images"]), where=light != 0)
    shares *= np.clip(uniform_filter(images, (0, 3, 3)) / (3 * noise), 0, 1)[..., None]
    names = ("blend", "shares", "central:\nnetwork", "central:\ntruth", "companion:\nnetwork", "companion:\ntruth")
    with canvas(*grid_size(len(blends), 6, extra=1.5 + 0.2 * len(blends))) as fig:
        axes = fig.subplots(len(blends), 6, squeeze=False)
        for i, line in enumerate(axes):
            show_stamp(line[1], _mixed(shares[i], exclusive=True))
            pictures = (
                images[i],
                None,
                answer["images"][i, ..., 0],
                parts[i, 0],
                answer["images"][i, ..., 1],
                parts[i, 1],
            )
            for ax, picture in zip(line, pictures, strict=True):
                if picture is not None:
                    show_stamp(ax, stretch(picture, noise))
                ax.set(ylim=window[0], xlim=window[1])
            for k, galaxy in enumerate(FIGURE_5_CASES):
                said = f"{answer['fluxes'][i, k]:.3g} e⁻/s", f"{fluxes[i, k]:.3g} e⁻/s"
                for ax, text in zip(line[2 + 2 * k : 4 + 2 * k], said, strict=True):
                    ax.set_xlabel(text, color=COLOURS[galaxy])
        for ax, name in zip(axes[0], names, strict=True):
            ax.set_title(name)
        draw_scale_bar(axes[0, 0], sample, masks[0].any(axis=-1))
        put_title(fig, "Whose light is it? Share of the pixel times light of the pixel gives each galaxy back")
        colours = {"all the central's": (1, 0), "all the companion's": (0, 1), "half each": (0.5, 0.5)}
        handles = [Patch(color=_mixed(colour, exclusive=True), label=name) for name, colour in colours.items()]
        handles.append(Patch(facecolor="white", edgecolor="0.5", label="sky, or no light to share"))
        fig.legend(handles=handles, loc="outside lower center", ncols=4)
    return fig


def leak_errors(blends: Table, honest: Table, leaky: Table) -> dict[str, float]:
    """What two networks get in the same exam, of which one learned from the exam's own galaxies.

    Parameters
    ----------
    blends : astropy.table.Table
        The exam: `central`, `companion` (ids), `flux_central`, `flux_companion`.
    honest, leaky : astropy.table.Table
        Predictions of the network that never saw these galaxies, and of the one that did.

    Returns
    -------
    dict
        ``n``, ``failed``: fluxes that both networks gave, and others; ``honest``, ``leaky``: MAPE (%) of the n;
        ``difference``: honest - leaky; each of the three with ``_err``, one sigma from resampling galaxies.

    Raises
    ------
    ValueError
        A missing column, or lengths that differ.
    """
    _need(some_blends(blends), "The blends", "central", "companion", "flux_central", "flux_companion")
    ids = np.concatenate([np.asarray(blends[galaxy]) for galaxy in FIGURE_5_CASES])
    true, *measured = (
        np.concatenate([_floats(table[f"flux_{galaxy}"]) for galaxy in FIGURE_5_CASES])
        for table in (blends, honest, leaky)
    )
    for pred in (honest, leaky):
        _same_length(blends, pred, "The predictions")
    good = np.all([np.isfinite(flux) & (flux > 0) for flux in measured], axis=0)
    errors = {
        name: 100 * np.abs(flux / true - 1)[good] for name, flux in zip(("honest", "leaky"), measured, strict=True)
    }
    errors["difference"] = errors["honest"] - errors["leaky"]
    got = {"n": int(good.sum()), "failed": int((~good).sum())}
    weights = resample(ids[good], 400) if good.any() else None
    for name, error in errors.items():
        got[name] = float(error.mean()) if good.any() else np.nan
        got[f"{name}_err"] = float((weights @ error / weights.sum(1)).std(ddof=1)) if good.any() else np.nan
    return got


def leak(blends: Table, honest: Table, leaky: Table) -> Figure:
    """The same exam for a network that never saw its galaxies and for one that learned from them (section 2.3).

    Parameters
    ----------
    blends, honest, leaky
        As for `leak_errors`.

    Returns
    -------
    matplotlib.figure.Figure
        The title says what the numbers say.

    Raises
    ------
    ValueError
        As `leak_errors`.
    """
    got = leak_errors(blends, honest, leaky)
    d, e = got["difference"], got["difference_err"]
    if d > 2 * e:
        title = f"The leak flatters by {d:.1f} ± {e:.1f} points"
    elif d < -2 * e:
        title = f"No flattery here: the leaky network is worse by {-d:.1f} ± {e:.1f} points"
    else:
        title = f"Here the leak's effect, {signed(round(d, 1))} ± {e:.1f} points, is within the noise"
    names = {"honest": "learned from\nother galaxies", "leaky": "learned from the\nexam's own galaxies"}
    with canvas(WIDTH, 3.3) as fig:
        ax = fig.subplots()
        for y, (name, colour) in enumerate(zip(names, COLOURS["methods"][:2], strict=True)):
            value, error = got[name], got[f"{name}_err"]
            ax.barh(y, value, xerr=error, height=0.55, color=colour, capsize=5)
            ax.text(value + error, y, f"  {value:.1f} ± {error:.1f} %", va="center")
        ax.set_yticks(range(2), names.values())
        ax.tick_params(axis="y", length=0)
        ax.set(xlabel="flux error in the same exam, MAPE (%)", ylim=(1.5, -0.5))
        ax.margins(x=0.2)
        put_title(fig, title)
    return fig


def _mixed(parts, exclusive=False):
    """Two maps from 0 to 1, (ny, nx, 2), as colours (ny, nx, 3), which are strong where the maps are."""
    a, b = np.clip(np.moveaxis(np.asarray(parts, float), -1, 0), 0, 1)
    weights = (1 - a - b, a, b, 0 * a) if exclusive else ((1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b)
    palette = np.array([(1, 1, 1), *(to_rgb(COLOURS[c]) for c in ("central", "companion", "overlap"))])
    return np.clip(np.stack(weights, -1) @ palette, 0, 1)


def _answers(network, images):
    """All that a network gives for a few blends, as arrays by name."""
    import keras

    from ..models import as_dict

    answers = as_dict(network(images[..., None], training=False))
    return {name: np.asarray(keras.ops.convert_to_numpy(answer), np.float32) for name, answer in answers.items()}


_KINDS = {
    "input": "#999999",
    "convolution": COLOURS["central"],
    "convolution 1 × 1": "#56B4E9",
    "up-convolution": "#009E73",
    "dense": "#E69F00",
    "network": "white",
    "other layer": "#CC79A7",
}
_GAP, _LINE = 0.12, 0.19  # inches between the texts of a diagram, and per line
_Place = namedtuple("_Place", "x y half wide tall band label")  # of a block on a diagram, in inches


@dataclass(eq=False)
class _Block:
    """Layers that follow on one another and work on maps of the same size."""

    name: str
    shapes: list[tuple]  # of what each layer gives, without the batch
    kinds: list[str]
    parameters: int
    parents: set[_Block]
    alone: bool
    outputs: int = 1
    merged: _Block | None = None

    @property
    def size(self):
        """Rows and columns of its maps; None for plain numbers."""
        shape = self.shapes[0]
        return None if len(shape) < 2 or shape[:2] == (1, 1) else shape[:2]

    @property
    def shape(self):
        """The most common shape, of these the largest."""
        return max(self.shapes, key=lambda shape: (self.shapes.count(shape), np.prod(shape)))

    @property
    def bars(self):
        """Kind and width in inches of the bar of each layer."""
        if self.kinds == ["network"]:
            return [("network", 1.7)]
        drawn = [(k, s) for k, s in zip(self.kinds, self.shapes, strict=True) if k] or [("other layer", self.shape)]
        widths = [0.05 + 0.027 * np.log2(max(np.prod(s[2:] if len(s) > 1 else s), 1)) for _, s in drawn]
        squeeze = min(1, 1.0 / sum(widths))
        return [(kind, squeeze * width) for (kind, _), width in zip(drawn, widths, strict=True)]

    def absorb(self, other):
        self.shapes += other.shapes
        self.kinds += other.kinds
        self.parameters += other.parameters
        self.parents |= other.parents - {self}
        self.outputs += self.kinds[0] == "input"
        other.merged = self


def network_diagram(network: keras.Model) -> Figure:
    """A network as blocks, from the blend on the left to what it gives on the right (figures 3 and 4).

    Layers that follow on one another and work on maps of the same size are one block, with a bar for each that has
    weights. A network that is made of networks has a row for these, and then one for each of them.

    Parameters
    ----------
    network : keras.Model
        One of `blendkit.models`, or any other functional or sequential model of known input shape.

    Returns
    -------
    matplotlib.figure.Figure
        Below each block its shape and its number of parameters; in each row these add up to the whole.

    Raises
    ------
    ValueError
        Where the model has no graph of layers.
    """
    inner = [op for op in _graph(network) if hasattr(op, "layers")]
    panels = [(one, *_laid_out(_blocks(one))) for one in (network, *inner)]
    total = network.count_params()
    most = max(block.parameters for _, places, _ in panels[-len(inner) :] for block in places)
    kinds = {kind for _, places, _ in panels for block in places for kind, _ in block.bars}
    heights = [top for *_, (_, top) in panels]
    with canvas(WIDTH, sum(heights) + 0.35 * len(panels) + 1.2) as fig:
        axes = fig.subplots(len(panels), 1, height_ratios=heights, squeeze=False)[:, 0]
        skips = 0
        for ax, (one, places, extent) in zip(axes, panels, strict=True):
            skips += _draw_blocks(ax, places, extent)
            whose = f"{one.name}, {one.count_params():,} parameters: " if inner else ""
            ax.set_title(textwrap.fill(whose + _takes_and_gives(one), 120), loc="left", fontsize=12)
        handles = [Patch(facecolor=c, edgecolor="black", label=kind) for kind, c in _KINDS.items() if kind in kinds]
        if skips:
            handles.append(Line2D([], [], color="0.35", linestyle="dashed", label="skip connection"))
        fig.legend(handles=handles, loc="outside lower center", ncols=len(handles), columnspacing=1.2)
        put_title(fig, f"{network.name}: {total:,} parameters, {100 * most / max(total, 1):.0f} % of them in one block")
        axes[-1].set_xlabel(
            "Height of a block: rows of its maps; width of a bar: how many maps or numbers (both logarithmic).\nBelow "
            "a block: rows × columns × maps, or how many numbers; in bold: how many parameters.",
            fontsize=12,
            color="#333333",
        )
    return fig


def _graph(network):
    """Each operation of a network, in order, with those whose answers it takes."""
    import keras

    try:
        whole = keras.Model(network.inputs, network.outputs) if isinstance(network, keras.Sequential) else network
        operations = dict.fromkeys(whole.operations)
    except (AttributeError, TypeError, ValueError):
        raise ValueError(
            f"the network {getattr(network, 'name', network)!r} has no graph of layers to draw, expected a functional "
            "or sequential model of known input shape: build it as keras.Model(inputs, outputs)."
        ) from None
    return {
        op: [p.operation for node in op._inbound_nodes for p in node.parent_nodes if p.operation in operations]
        for op in operations
    }


def _blocks(network):
    """The blocks of a network in order; layers without weights belong to none."""
    ends = {tensor._keras_history.operation for tensor in network.outputs}
    blocks, source = [], {}
    for op, parents in _graph(network).items():
        parents = {_merged(block) for parent in parents for block in source[parent]}
        kind, alone = _kind(op), op in ends or hasattr(op, "layers")
        if kind is None:
            source[op] = parents
            continue
        shapes = _shapes(op.output)
        new = _Block(op.name, shapes[:1], [kind], op.count_params(), parents, alone or kind == "input", len(shapes))
        home = _home(new, blocks)
        if home is None:
            blocks.append(new)
        else:
            detours = [p for p in parents if p.size is None and p is not home and p.parents <= {home}]
            for other in (*detours, new):
                home.absorb(other)
            blocks = [block for block in blocks if block not in detours]
        source[op] = {home or new}
    for block in blocks:
        block.parents = {_merged(parent) for parent in block.parents} - {block}
    return blocks


def _home(new, blocks):
    """The block that a layer continues: of the same size, and nothing of another size between; or None."""
    if new.kinds == ["input"]:
        return next((block for block in blocks if block.kinds[0] == "input"), None)
    if new.alone:
        return None
    if new.size is None:
        found = [b for b in blocks if b.size is None and not b.alone and (b in new.parents or b.parents == new.parents)]
        return found[-1] if found else None
    before = [block for block in blocks if block in new.parents and block.size is not None]
    return before[-1] if before and not before[-1].alone and before[-1].size == new.size else None


def _merged(block):
    while block.merged:
        block = block.merged
    return block


def _kind(op):
    """What a layer with weights is called in the legend; "" for one that needs no bar, None for one without weights."""
    name = type(op).__name__
    if name == "InputLayer":
        return "input"
    if not getattr(op, "count_params", int)():
        return None
    if hasattr(op, "layers"):
        return "network"
    if "Conv" in name:
        if "Transpose" in name:
            return "up-convolution"
        return "convolution 1 × 1" if set(op.kernel_size) == {1} else "convolution"
    return "dense" if name == "Dense" else "" if "Normalization" in name else "other layer"


def _shapes(tensors):
    import keras

    return [tuple(n or 1 for n in tensor.shape[1:]) for tensor in keras.tree.flatten(tensors)]


def _times(shape):
    return " × ".join(map(str, shape)).replace(" ", "\N{NO-BREAK SPACE}") or "1"


def _takes_and_gives(network):
    outputs = getattr(network, "output", network.outputs)
    ends = [tensor._keras_history.operation for tensor in network.outputs]
    names = outputs if isinstance(outputs, dict) else [op.name if _kind(op) else "" for op in ends]
    outputs = list(outputs.values()) if isinstance(outputs, dict) else network.outputs
    takes, gives = (
        ", ".join(f"{name} ({_times(shape)})".strip() for name, shape in zip(names, _shapes(tensors), strict=True))
        for names, tensors in (([tensor.name for tensor in network.inputs], network.inputs), (names, outputs))
    )
    return f"takes {takes}, gives {gives}"


def _label(block, in_a_row):
    """Shape of a block and its number of parameters, as lines of text."""
    shape = block.shape
    number = [] if block.kinds[0] == "input" else [f"{block.parameters:,}"]
    if block.outputs > 1:
        return [f"{block.outputs} {'outputs' if number else 'inputs'}", *number]
    if len(shape) > 2 and (in_a_row or block.alone):
        return [_times(shape[:2]), f"×\N{NO-BREAK SPACE}{_times(shape[2:])}", *number]
    return [_times(shape), *number]


def _laid_out(blocks):
    """For each block its centre, half width, height and label, in inches; and the extent of all.

    A network whose maps only shrink is a row; one whose maps grow again goes down and up.
    """
    inner = [block for block in blocks if block.size and not block.alone]
    sizes = [np.prod(block.size) for block in inner]
    row = all(b <= a for a, b in pairwise(sizes))
    levels = sorted(set(sizes), reverse=True)
    level = 0
    band, tall, labels = [], [], []
    for k, block in enumerate(blocks):
        following = next((b for b in blocks[k:] if b in inner), None) if block.kinds[0] == "input" else block
        level = 0 if row else levels.index(np.prod(following.size)) if following in inner else level
        band.append(level)
        side = block.size[0] if block.size else 1
        grown = (0.16 + 0.14 * np.log2(side)) * (1.1 if row and inner else 0.8)
        tall.append(0.6 if block.kinds == ["network"] else grown)
        labels.append(_label(block, row))
    texts = [_LINE * len(label) + 0.08 for label in labels]
    rows = sorted(set(band))
    highest = [max(t for t, b in zip(tall, band, strict=True) if b == r) for r in rows]
    below = [max(t for t, b in zip(texts, band, strict=True) if b == r) for r in rows]
    y, at = 0.0, {}  # the bands, one below the other
    for r, height, text in zip(rows, highest, below, strict=True):
        at[r] = y - height / 2
        y -= height + text + _GAP
    places, last, x = {}, {}, 0.0
    for block, r, height, label in zip(blocks, band, tall, labels, strict=True):
        text = max(_width(line, k == len(label) - 1) for k, line in enumerate(label)) / 2
        half = sum(width for _, width in block.bars) / 2
        wide = max(text, half)
        if places:
            before = next(reversed(places.values()))
            x = before.x + (max(before.wide, 0.5 * row) if before.band != r else 0) + half + _GAP
        if r in last:
            x = max(x, last[r].x + last[r].wide + wide + (_GAP if len(rows) > 1 else 2 * _GAP))
        places[block] = last[r] = _Place(x, at[r], half, wide, height, r, label)
    left, right = (f(p.x + sign * p.wide for p in places.values()) for f, sign in ((min, -1), (max, 1)))
    return places, ((left, right), -y + 0.3)


def _width(text, bold):
    """Of a line of text, in inches."""
    font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal", size=12)
    return 1.04 * TextPath((0, 0), text, prop=font).get_extents().width / 72


def _draw_blocks(ax, places, extent):
    """Draw blocks, arrows and labels; returns how many arrows pass over a block."""
    (left, right), height = extent
    spare = max(WIDTH - 0.5 - (right - left), 0) / 2
    ax.set(xlim=(left - spare, right + spare), ylim=(0.3 - height, 0.3), aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    for block, spot in places.items():
        x = spot.x - spot.half
        for kind, width in block.bars:
            corner = x, spot.y - spot.tall / 2
            ax.add_patch(Rectangle(corner, width, spot.tall, facecolor=_KINDS[kind], edgecolor="black"))
            x += width
        if block.kinds == ["network"]:
            ax.text(spot.x, spot.y, block.name, ha="center", va="center", weight="bold")
        for k, line in enumerate(spot.label):
            bold = k == len(spot.label) - 1 and block.kinds[0] != "input"
            below = spot.y - spot.tall / 2 - 0.05 - _LINE * k
            ax.text(spot.x, below, line, ha="center", va="top", weight="bold" if bold else "normal")
    order = list(places)
    skips = 0
    for k, block in enumerate(order):
        for parent in sorted(block.parents, key=order.index):
            between = order[order.index(parent) + 1 : k]
            _draw_arrow(ax, places[parent], places[block], [places[b] for b in between], skips)
            skips += bool(between)
    return skips


def _draw_arrow(ax, a, b, between, n):
    """An arrow between neighbours; a dashed one past all that lie between."""
    top_a, top_b = a.y + a.tall / 2, b.y + b.tall / 2
    if between and a.band == b.band and all(p.band != a.band for p in between):
        y = a.y + min(a.tall, b.tall) / 4
        path = [(a.x + a.half, y), (b.x - b.half, y)]
    elif between:
        over = max(p.y + p.tall / 2 for p in (a, b, *between)) + 0.1 + 0.08 * (n % 3)
        path = [(a.x, top_a), (a.x, over), (b.x, over), (b.x, top_b)]
    elif a.band == b.band:
        path = [(a.x + a.half, a.y), (b.x - b.half, b.y)]
    elif a.y > b.y:
        path = [(a.x + a.half, a.y), (b.x - b.half / 3, a.y), (b.x - b.half / 3, top_b)]
    else:
        path = [(a.x + a.half / 3, top_a), (a.x + a.half / 3, b.y), (b.x - b.half, b.y)]
    look = {"color": "0.35", "linestyle": "dashed"} if between else {"color": "black"}
    arrow = {"arrowstyle": "-|>", "mutation_scale": 12, "linewidth": 1.4, "fill": False, "zorder": 0.5}
    ax.add_patch(FancyArrowPatch(path=Path(path), **arrow, **look))
