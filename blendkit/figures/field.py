"""A field of the sky, and what comes back of galaxies that were put into it."""

from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np
from astropy.table import Table
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .style import COLOURS, WIDTH, canvas, draw_scale_bar, method_styles, plain_log, robust_sigma, show_stamp, stretch

BINS = {"nearer than 12": (0, 12), "12 to 25": (12, 25), "farther": (25, np.inf)}  # pixels to the nearest neighbour
OBJECTS = {"alone": COLOURS["central"], "in a group": COLOURS["companion"]}


def field_pictures(pictures: Mapping[str, np.ndarray], catalogue: Table | None = None) -> Figure:
    """Pictures of one field side by side, all on one stretch; objects of a catalogue are circled in the first."""
    first = next(iter(pictures.values()))
    legend, title = [], f"A piece of the sky: {first.shape[1]} × {first.shape[0]} pixels"
    if catalogue is not None:
        title = f"{len(catalogue):,} objects were found"
        legend = [Line2D([], [], marker="o", ls="", mfc="none", mec=c, label=name) for name, c in OBJECTS.items()]
    noise, side = robust_sigma(np.diff(first, axis=0).ravel()), min(5.4, WIDTH / len(pictures))
    with canvas(max(6.4, side * len(pictures)), side + 0.8 + 0.3 * bool(legend), title, legend) as fig:
        axes = fig.subplots(1, len(pictures), squeeze=False)[0]
        for ax, (name, picture) in zip(axes, pictures.items(), strict=True):
            show_stamp(ax, stretch(picture, noise))
            ax.set_title(name)
        if catalogue is not None:
            colours = np.where(catalogue["n_in_group"] > 1, *list(OBJECTS.values())[::-1])
            axes[0].scatter(catalogue["x"], catalogue["y"], s=60, facecolors="none", edgecolors=colours)
            draw_scale_bar(axes[0], SimpleNamespace(**catalogue.meta))
    return fig


def recovered_light(table: Table) -> Figure:
    """Measured over true flux of galaxies that were put into a field, by magnitude and by how near a neighbour is."""
    off = {name: np.asarray(table[c] / table["true"]) for name, c in (("fractions", "flux"), ("SEP", "sep_flux"))}
    error = {name: np.nan_to_num(100 * np.abs(ratio - 1), nan=100) for name, ratio in off.items()}
    said = " and ".join(f"{np.median(values):.1f} % ({name})" for name, values in error.items())
    looks, lost = method_styles(off), np.isnan(off["fractions"]).sum()
    handles = [Line2D([], [], color=c, marker=m, ls="", label=name) for name, (c, m) in looks.items()]
    caption = f"{len(table)} galaxies. Not found, which counts as 100 % wrong: {lost}. Beyond the axis: at its edge."
    with canvas(WIDTH, 4.6, f"Half of the fluxes come back within {said}", handles, caption) as fig:
        left, right = fig.subplots(1, 2, width_ratios=(1.3, 1))
        left.axhline(1, color="0.6", linewidth=1)
        for k, (name, (colour, marker)) in enumerate(looks.items()):
            left.plot(table["mag"], np.clip(off[name], 0.2, 5), marker, color=colour, alpha=0.7, clip_on=False)
            near = [error[name][(low <= table["near"]) & (table["near"] < high)] for low, high in BINS.values()]
            bars = [np.median(values) if len(values) else 0 for values in near]
            right.bar(np.arange(len(BINS)) + 0.4 * k - 0.2, bars, 0.38, color=colour)
        left.set(yscale="log", ylim=(0.2, 5), xlabel="true magnitude", ylabel="measured / true flux")
        plain_log(left.yaxis)
        right.set(ylabel="median error (%)", xlabel="pixels to the nearest neighbour")
        right.set_xticks(range(len(BINS)), [f"{name}\n({len(v)})" for name, v in zip(BINS, near, strict=True)])
    return fig
