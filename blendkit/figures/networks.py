"""What networks see and how they learn."""

import textwrap
from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import numpy as np
from astropy.table import Table
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import uniform_filter

from ..blends.geometry import place
from ..blends.rendering import render, render_parts
from ..data.check import require
from ..data.sample import Sample
from ..metrics.bootstrap import weighted_mean, with_errors
from ..metrics.scores import flux_scores, iou
from ..networks.backend import Model, load_keras
from .style import COLOURS, LAYERS, MEMBERS, WIDTH, WORDS, Stamp, canvas, outlines_of, plain_log, sky_noise
from .style import some_blends, stamp_grid, window_around

_LOSSES = {"loss": ("training", "0.5"), "val_loss": ("validation: other galaxies", COLOURS["methods"][0])}


def learning_curve(history: Mapping[str, Sequence[float]]) -> Figure:
    """Losses after each epoch of a training's `history`, the best one dotted, and flux errors where there are any."""
    names = getattr(history, "colnames", history)
    errors = {f"val_mape_{member}": (member, COLOURS[member]) for member in MEMBERS if f"val_mape_{member}" in names}
    panels = [("best epoch so far",), *[("", errors, "flux error in validation, MAPE (%)")] * bool(errors)]
    with canvas(WORDS["learning_curve"], 4.2) as fig:
        for ax, how in zip(fig.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            _draw_epochs(ax, history, *how)
            ax.legend()
    return fig


def loss_curves(histories: Mapping[str, Mapping[str, Sequence[float]]], same_scale: bool = False) -> Figure:
    """Losses of training runs (what ``bk.training.history(folder)`` gives, by label), a panel each."""
    require(histories, 'there is no run to draw, expected at least one: give {"label": bk.training.history(folder)}.')
    lines = -(-len(histories) // 2)
    with canvas(WORDS["loss_curves"], 2.7 * lines + 1.2) as fig:
        axes = fig.subplots(lines, 2, squeeze=False, sharex=same_scale, sharey=same_scale).ravel()
        for ax, (name, history) in zip(axes, histories.items(), strict=False):
            _draw_epochs(ax, history, "best epoch: kept")
            ax.set_title(name)
        for ax in axes[len(histories) :]:
            ax.set_axis_off()
        fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return fig


def _draw_epochs(ax, history, best, lines=_LOSSES, ylabel="loss (what the network lowers)"):
    """Columns of a history against the epoch; `lines` are label and colour of each, `best` is the label of the dot."""
    values, epochs = [np.asarray(history[name], float) for name in lines], history["epoch"]
    for (label, colour), value in zip(lines.values(), values, strict=True):
        ax.plot(epochs, value, marker=".", color=colour, label=label)
    ax.set(xlabel="epoch", ylabel=ylabel, xlim=(0.5, max(2, len(epochs)) + 0.5))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if 0 < 2 * (low := np.min(values)) < (high := np.max(values)):
        ax.set_yscale("log")
        plain_log(ax.yaxis, (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0) if high < 20 * low else (1.0, 2.0, 5.0))
    if best:
        k = np.argmin(values[-1])
        ax.plot(epochs[k], values[-1][k], "o", markersize=11, color=colour, label=best)


def symmetry(sample: Sample, blends: Table) -> Figure:
    """What is left of the first three blends when all that looks the same after a half turn is taken away."""
    blends = some_blends(blends)[:3]
    images, masks, fluxes = render(sample, blends)
    companions, limit = render_parts(sample, blends)[..., 1:].sum(axis=-1), 5 * sky_noise(sample)
    centre, rows = [(sample.centre[1], sample.centre[0], "+", COLOURS["central"])], []
    for image, companion, flux in zip(images, companions, fluxes, strict=True):
        turned = np.empty_like(image)
        place(turned, image, 2, 0, 0, image)
        left = image - (fainter := np.minimum(image, turned))
        row = [Stamp(picture, marks=centre) for picture in (image, turned, fainter)]
        row.append(Stamp(left, (), centre, below=f"{left[left > limit].sum():.3g} e⁻/s"))
        rows.append([*row, Stamp(companion, (), centre, "", f"{np.nansum(flux[1:]):.3g} e⁻/s", COLOURS["companion"])])
    return stamp_grid(sample, rows, WORDS["symmetry"], window=window_around(masks), limit=limit)


def sum_and_share(blends: Table, images: np.ndarray) -> Figure:
    """All light of each blend (n, ny, nx) against both true fluxes together, and half of it against each of them."""
    total, true = np.asarray(images, float).sum(axis=(1, 2)), np.asarray(some_blends(blends)["flux"], float)
    both, known = np.nansum(true, axis=1), np.isfinite(true)
    half = np.broadcast_to((total / known.sum(axis=1).clip(1))[:, None], true.shape)
    ends = np.nanmin(true) / 1.3, both.max() * 1.3
    with canvas(WORDS["sum_and_share"], 5.6) as fig:
        axes = fig.subplots(1, 2, sharex=True, sharey=True)
        axes[0].plot(both, total, ".", color=COLOURS["overlap"], alpha=0.6)
        for name, places in zip(MEMBERS, (slice(1), slice(1, None)), strict=True):
            axes[1].plot(true[:, places].ravel(), half[:, places].ravel(), ".", c=COLOURS[name], alpha=0.5, label=name)
        for ax, pair in zip(axes, ((both, total), (true[known], half[known])), strict=True):
            got = flux_scores(*pair)
            said = f"median error {got['median']:.1f} %\nMAPE {got['mape']:.1f} %"
            ax.text(0.03, 0.97, said, transform=ax.transAxes, va="top")
            ax.plot(ends, ends, color="black", linewidth=1.5)
            ax.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
            plain_log(ax.xaxis)
            plain_log(ax.yaxis)
        axes[1].yaxis.set_tick_params(labelleft=True)
        axes[1].legend(loc="lower right", markerscale=2, handletextpad=0)
    return fig


def activations(network: Model, sample: Sample, blend: Table, names=("conv1", "conv2", "conv3")) -> Figure:
    """What layers of a network make of the first blend: four maps that differ much (section 3.1)."""
    (image,), masks, _ = render(sample, some_blends(blend)[:1])
    inner = load_keras().Model(network.input, {name: network.get_layer(name).output for name in names})
    answers, rows, labels = _answers(inner, image[None]), [], []
    for name in names:
        maps = np.clip(answers[name][0], 0, None).astype(float)
        shades = 1 - np.sqrt(maps / np.maximum(maps.max(axis=(0, 1)), 1e-12))
        shades = np.kron(shades, np.ones((len(image) // len(maps),) * 2 + (1,)))
        spread, order = maps.std(axis=(0, 1)), []
        unit = ((maps - maps.mean(axis=(0, 1))) / np.maximum(spread, 1e-12)).reshape(-1, len(spread))
        while len(order) < min(4, np.count_nonzero(spread)):
            alike = (unit.T @ unit[:, order] / len(unit)).max(axis=1, initial=-1)  # correlations
            order.append(np.argmax(spread * (1 - alike)))
        rows.append([Stamp(image, outlines_of(masks[0])), *(Stamp(shades[..., [k] * 3]) for k in order)])
        silent = np.count_nonzero(maps.max(axis=(0, 1)) == 0)
        labels.append(f"{name}\n{maps.shape[0]} × {maps.shape[1]} px\n{silent} of {maps.shape[2]} silent")
    return stamp_grid(sample, rows, WORDS["activations"], labels=labels, window=window_around(masks, margin=20))


def masks_seen(sample: Sample, blends: Table, networks: Mapping[str, Model]) -> Figure:
    """Masks that `networks` give for the first three blends, beside the true ones; IoU of what is above 0.5."""
    blends = some_blends(blends)[:3]
    images, masks, _ = render(sample, blends)
    rows = [[Stamp(image), Stamp(_mixed(mask))] for image, mask in zip(images, masks, strict=True)]
    for network in networks.values():
        answers = _answers(network, images)["masks"]
        for row, answer, values in zip(rows, answers, iou(masks, answers > 0.5), strict=True):
            said = " / ".join("none" if np.isnan(value) else f"{value:.2f}" for value in values)
            row.append(Stamp(_mixed(answer), below=f"IoU {said}"))
    colours = {"central": (1, 0), "companion": (0, 1), "both": (1, 1), "undecided": (0.5, 0.5)}
    legend = [Patch(color=_mixed(colour), label=name) for name, colour in colours.items()]
    heads, window = ["blend", "true masks", *(textwrap.fill(name, 20) for name in networks)], window_around(masks)
    return stamp_grid(sample, rows, WORDS["masks_seen"], heads=heads, window=window, legend=legend)


def shares_seen(sample: Sample, blends: Table, network: Model) -> Figure:
    """The share of each pixel's light that a network of images gives to either galaxy, and the galaxies of it."""
    blends = some_blends(blends)[:3]
    images, masks, fluxes = render(sample, blends)
    parts, answer = render_parts(sample, blends), _answers(network, images)
    light = images[..., None]
    shares = np.divide(answer["images"], light, out=np.zeros_like(answer["images"]), where=light != 0)
    shares *= np.clip(uniform_filter(images, (0, 3, 3)) / (3 * sky_noise(sample)), 0, 1)[..., None]
    rows = [[Stamp(image), Stamp(_mixed(share, exclusive=True))] for image, share in zip(images, shares, strict=True)]
    for i, row in enumerate(rows):
        for k, member in enumerate(MEMBERS):
            for picture, flux in ((answer["images"], answer["fluxes"]), (parts, fluxes)):
                row.append(Stamp(picture[i, ..., k], below=f"{flux[i, k]:.3g} e⁻/s", colour=COLOURS[member]))
    colours = {"the central's": (1, 0), "the companion's": (0, 1), "half each": (0.5, 0.5)}
    legend = [Patch(color=_mixed(colour, exclusive=True), label=name) for name, colour in colours.items()]
    legend.append(Patch(facecolor="white", edgecolor="0.5", label="no light"))
    return stamp_grid(sample, rows, WORDS["shares_seen"], window=window_around(masks), legend=legend)


def _mixed(parts, exclusive=False):
    """Maps from 0 to 1, (ny, nx, k), as colours (ny, nx, 3), which are strong where the maps are."""
    parts = np.asarray(parts, float)
    a, b = np.clip(parts[..., 0], 0, 1), np.clip(parts[..., 1:].sum(axis=-1), 0, 1)
    weights = (1 - a - b, a, b, 0 * a) if exclusive else ((1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b)
    palette = np.array([(1, 1, 1), *(to_rgb(COLOURS[c]) for c in ("central", "companion", "overlap"))])
    return np.clip(np.stack(weights, -1) @ palette, 0, 1)


def _answers(network, images):
    """All that a network gives for a few blends, as arrays by name."""
    to_numpy = load_keras().ops.convert_to_numpy
    from ..networks.paper import as_dict

    answers = as_dict(network(images[..., None], training=False))
    return {name: np.asarray(to_numpy(answer), np.float32) for name, answer in answers.items()}


def leak_errors(blends: Table, honest: Table, leaky: Table) -> dict[str, float]:
    """MAPE (%) of two networks, of which one learned from the exam's galaxies, and the ``difference``, with ``_err``.

    ``n``, ``failed``: fluxes that both gave, and others; errors are from resampling galaxies.
    """
    require(len(honest) == len(leaky) == len(blends), f"{len(honest)} and {len(leaky)} rows for {len(blends)} blends.")
    there = np.asarray(blends["id"]) >= 0
    ids = np.asarray(blends["id"])[there]
    true, *fluxes = (np.asarray(table["flux"])[there] for table in (blends, honest, leaky))
    good = np.all([np.isfinite(flux) & (flux > 0) for flux in fluxes], axis=0)
    errors = [100 * np.abs(flux / true - 1)[good] for flux in fluxes]
    errors.append(errors[0] - errors[1])
    numbers = with_errors([lambda weights, e=e: weighted_mean(e, weights) for e in errors], ids[good], 400, 0)
    got = {"n": int(good.sum()), "failed": int((~good).sum())}
    for name, (value, error) in zip(("honest", "leaky", "difference"), numbers.tolist(), strict=True):
        got |= {name: value, f"{name}_err": error}
    return got


def leak(blends: Table, honest: Table, leaky: Table) -> Figure:
    """The same exam for a network that never saw its galaxies and for one that learned from them (section 2.3)."""
    got = leak_errors(blends, honest, leaky)
    d, e = got["difference"], got["difference_err"]
    words = WORDS["leak"]["noise" if abs(d) <= 2 * e else "flattery" if d > 0 else "worse"]
    with canvas(words, 3.3, difference=f"{d:+.1f}".replace("-", "−"), size=abs(d), error=e) as fig:
        ax = fig.subplots()
        for y, name in enumerate(("honest", "leaky")):
            value, error = got[name], got[f"{name}_err"]
            ax.barh(y, value, xerr=error, height=0.55, color=COLOURS["methods"][y], capsize=5)
            ax.text(value + error, y, f"  {value:.1f} ± {error:.1f} %", va="center")
        ax.set_yticks([0, 1], ["learned from\nother galaxies", "learned from the\nexam's own galaxies"])
        ax.tick_params(axis="y", length=0)
        ax.set(xlabel="flux error in the same exam, MAPE (%)", ylim=(1.5, -0.5))
        ax.margins(x=0.2)
    return fig


def network_diagram(network: Model) -> Figure:
    """A model as a row of bars, from the blend to what it gives (figures 3 and 4), then one for each network in it."""
    inner = [layer for layer in network.layers if hasattr(layer, "layers")]
    rows, total = {one: _blocks(one) for one in (network, *inner)}, network.count_params()
    most = max(sum(layer.count_params() for layer in block.layers) for one in inner or rows for block in rows[one][0])
    kinds = {_kind(layer) for blocks, _ in rows.values() for block in blocks for layer in block.layers}
    legend = [Patch(facecolor=c, edgecolor="black", label=kind) for kind, c in LAYERS.items() if kind in kinds]
    if any(skips for _, skips in rows.values()):
        legend.append(Line2D([], [], color="0.35", linestyle="dashed", label="skip connection"))
    numbers = {"name": network.name, "total": total, "most": 100 * most / max(total, 1)}
    with canvas(WORDS["network_diagram"], 2.2 * len(rows) + 1.4, legend, **numbers) as fig:
        for ax, one in zip(fig.subplots(len(rows), 1, squeeze=False)[:, 0], rows, strict=True):
            _draw_blocks(ax, *rows[one])
            gives = f", gives {', '.join(one.output)}" if isinstance(one.output, dict) else ""
            ax.set_title(f"{one.name}: {one.count_params():,} parameters{gives}" if inner else "", loc="left")
    return fig


def _blocks(network):
    """Layers with weights that follow on one another, together where maps have the same size; and are any skipped?"""
    blocks, source = [], {}  # source: the blocks that the answer of each operation comes from
    ends = {tensor._keras_history.operation for tensor in network.outputs}
    for op in network.operations:
        nodes = [node.operation for call in op._inbound_nodes for node in call.parent_nodes]
        parents = source[op] = set().union(*(source.get(node, ()) for node in nodes))
        if (kind := _kind(op)) is None:
            continue
        shape = tuple(n or 1 for n in op._inbound_nodes[0].output_tensors[0].shape[1:])
        size, alone = shape[:2] if len(shape) > 1 else (), op in ends or kind == "network"
        home = 0 if kind == "input" else max(parents, default=0) if size else len(blocks) - 1
        if not blocks or (kind != "input" and (alone or blocks[home].alone or size != blocks[home].size)):
            home = len(blocks)
            blocks.append(SimpleNamespace(size=size, alone=alone or kind == "input", parents=set(), layers={}))
        blocks[home].parents |= parents - {home}
        blocks[home].layers[op] = shape
        source[op] = {home}
    return blocks, any(parent < k - 1 for k, block in enumerate(blocks) for parent in block.parents)


def _kind(op):
    """What a layer is called in the legend, None for one without weights."""
    known = {"InputLayer": "input", "Functional": "network", "Conv2DTranspose": "up-convolution", "Dense": "dense"}
    known["Conv2D"] = "convolution 1 × 1" if getattr(op, "kernel_size", 0) == (1, 1) else "convolution"
    return known.get(type(op).__name__) or ("other layer" if getattr(op, "count_params", int)() else None)


def _draw_blocks(ax, blocks, skips):
    """Blocks, arrows and labels, in inches."""
    pitch, ends = min(WIDTH / len(blocks), 1.7), []
    for k, block in enumerate(blocks):
        x, tall = (WIDTH - pitch * len(blocks)) / 2 + pitch * (k + 0.5), 0.18 + 0.15 * np.log2(max(block.size or (1,)))
        bars = {layer: shape for layer, shape in block.layers.items() if "Normal" not in type(layer).__name__}
        shapes, kinds = list(bars.values()), [_kind(layer) for layer in bars]
        widths = np.array([0.05 + 0.027 * np.log2(np.prod(shape[2:] or shape)) for shape in shapes])
        widths *= 0.7 * pitch / max(widths.sum(), 0.7 * pitch)
        if kinds == ["network"]:
            widths, tall = np.array([0.7 * pitch]), 0.6
            ax.text(x, 0, next(iter(bars)).name, ha="center", va="center", weight="bold")
        edges = x - widths.sum() / 2 + np.cumsum([0, *widths])
        ax.bar(edges[:-1], tall, widths, -tall / 2, align="edge", color=[LAYERS[kind] for kind in kinds], ec="black")
        shape = max(shapes, key=lambda shape: (shapes.count(shape), np.prod(shape)))
        label = "×".join(map(str, shape[:2])) + "".join(f"\n× {n}" for n in shape[2:3])
        if parameters := sum(layer.count_params() for layer in block.layers):
            label += f"\n$\\mathbf{{{parameters:,}}}$".replace(",", "{,}")
        ax.text(x, -tall / 2 - 0.06, label, ha="center", va="top")
        ends.append(((edges[-1], 0), (x, tall / 2)))
        for parent in block.parents:
            skip, look = parent < k - 1, {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "color": "black"}
            if skip:
                curve = f"arc3,rad={-min(0.15, 0.9 / (x - ends[parent][1][0]))}"
                look |= {"color": "0.35", "linestyle": "dashed", "connectionstyle": curve}
            ax.annotate("", ends[k][1] if skip else (edges[0], 0), ends[parent][skip], arrowprops=look)
    ax.set(xlim=(0, WIDTH), ylim=(-1.35, 1.15 if skips else 0.65), xticks=[], yticks=[], frame_on=False)
