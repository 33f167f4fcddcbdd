"""What all figures share: colours, style, stretch, and how stamps are shown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import cycle
from typing import TYPE_CHECKING

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

from ..metrics import CASES, _bad_truth, _floats, _is_flux, _need, check_predictions
from ..tables import positions_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


LOOKS = {
    "blend2flux": ("#009E73", "o"),
    "blend2mask2flux": ("#E69F00", "s"),
    "fractions": ("#56B4E9", "D"),
    "SEP": ("#000000", "^"),
    "sersic": ("#CC79A7", "P"),
    "unet": ("#999999", "v"),
}
"""Colour and marker of the methods that blendkit knows, the same in every figure."""

_OTHER_LOOKS = (("#882255", "X"), ("#0072B2", "*"), ("#D55E00", "p"), ("#F0E442", "h"), ("#DDCC77", "d"))

COLOURS = {
    "central": "#0072B2",
    "companion": "#D55E00",
    "overlap": "#CC79A7",
    "methods": tuple(colour for colour, _ in (*LOOKS.values(), *_OTHER_LOOKS)),
}
"""Okabe and Ito's colour-blind safe palette, with two of Tol's: central, companion, where both are, and the methods."""

CASE_COLOURS = dict(
    zip(CASES, ("#009E73", COLOURS["central"], COLOURS["companion"], "#F0E442", "#999999"), strict=True)
)

SEGMENTS = (
    Line2D([], [], color=COLOURS["central"], linewidth=2, label="segment of the central galaxy"),
    Line2D([], [], color=COLOURS["companion"], linewidth=2, label="segments of neighbours"),
)  # for legends

_BLACK, _WHITE = -3.0, 1000.0  # what `stretch` maps to 0 and 1, in units of the noise
FAR = 10  # pixels kept from every segment where only noise is wanted

WIDTH = 11.5  # inches
FEWEST = 10  # galaxies or blends: statistics of fewer are not drawn


def style() -> AbstractContextManager:
    """The look of every figure: colour-blind safe, text of at least 12 points, galaxies dark on light sky.

    Returns
    -------
    context manager
        ``with bk.figures.style(): ...`` sets matplotlib's rcParams inside, and puts them back.
    """
    return matplotlib.rc_context({
        "figure.dpi": 100,
        "figure.titlesize": 16,
        "figure.titleweight": "bold",
        "font.family": "DejaVu Sans",
        "font.size": 12,
        "axes.titlesize": 13,
        "axes.labelsize": 13,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": matplotlib.cycler(color=COLOURS["methods"]),
        "xtick.labelsize": 12,
        "ytick.labelsize": 12,
        "legend.fontsize": 12,
        "legend.frameon": False,
        "image.cmap": "gray_r",
        "image.origin": "lower",
        "image.interpolation": "nearest",
        "lines.linewidth": 2.0,
    })  # fmt: skip


def stretch(image: np.ndarray, noise: float = 0.006) -> np.ndarray:
    """Pixels as shades, so that sky noise and a galaxy's core are both visible.

    The same flux always gets the same shade, so that pictures can be compared: an inverse hyperbolic sine of
    the pixel in units of twice the noise, from -3 times the noise (0) to 1,000 times the noise (1).

    Parameters
    ----------
    image : array of float, any shape, e-/s
    noise : float
        Standard deviation of the sky, e-/s.

    Returns
    -------
    array of float32, same shape
        0 to 1, clipped.
    """
    low, high = np.arcsinh(_BLACK / 2), np.arcsinh(_WHITE / 2)
    shade = (np.arcsinh(np.asarray(image, np.float32) / np.float32(2 * noise)) - low) / (high - low)
    return np.clip(shade, 0, 1).astype(np.float32)


@contextmanager
def canvas(width: float, height: float) -> Iterator[Figure]:
    """A figure in this module's style.

    It is made by pyplot, without which notebooks show text instead of a picture, and leaves it at once.
    """
    with style():
        fig = plt.figure(figsize=(width, height), layout="constrained")
        plt.close(fig)
        yield fig
        fig.draw_without_rendering()  # ticks are made at the first drawing: they get this style, too


def grid_size(rows, columns, extra, aspect=1.0):
    """Width and height in inches of a figure of rows x columns pictures, with `extra` height for text."""
    width = min(WIDTH, max(9.0, 0.8 + 2.8 * columns))
    return width, rows * aspect * min((width - 0.8) / columns, 3.2) + extra


def put_title(fig, text):
    """The figure's title, on as many lines as it needs."""
    lines = -(-len(text) // int(7.4 * fig.get_figwidth()))
    fig.suptitle(textwrap.fill(text, len(text) // lines + 4) if lines > 1 else text)


def put_caption(fig, text):
    """What to know below the figure, in grey, wrapped."""
    fig.supxlabel(textwrap.fill(text, int(10.6 * fig.get_figwidth())), fontsize=12, color="#333333")


def put_legend(fig, handles):
    """A legend between the title and the panels, in as many columns as there is room for."""
    widest = max(len(handle.get_label()) for handle in handles)
    columns = min(len(handles), max(1, int((fig.get_figwidth() - 0.5) / (0.11 * widest + 0.8))))
    title, rows = 0.12 + 0.28 * len(fig.get_suptitle().splitlines()), -(-len(handles) // columns)
    fig.get_layout_engine().set(rect=(0, 0, 1, 1 - (0.08 + 0.25 * rows) / fig.get_figheight()))
    fig.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, 1 - title / fig.get_figheight()), ncols=columns,
        columnspacing=1.5, borderaxespad=0, borderpad=0,
    )  # fmt: skip


def show_stamp(ax, picture, vmin=0, vmax=1):
    """A picture without ticks, in a thin frame."""
    ax.imshow(picture, vmin=vmin, vmax=vmax)
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(visible=True, color="0.5")


def draw_outline(ax, mask, colour, line="solid"):
    """The outline of a mask (ny, nx), where it has one."""
    if mask.any() and not mask.all():
        ax.contour(mask, levels=[0.5], colors=[colour], linestyles=[line], linewidths=1.8)


def draw_outlines(ax, central, companion, line="solid"):
    """The outlines of both galaxies, in their colours; `line` is the companion's style."""
    draw_outline(ax, central, COLOURS["central"])
    draw_outline(ax, companion, COLOURS["companion"], line)


def draw_scale_bar(ax, sample, used):
    """A bar of about a quarter of the picture, labelled in arcseconds, in the corner where least is used."""
    (x0, x1), (y0, y1) = ax.get_xlim(), ax.get_ylim()
    lengths = np.array([0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50])
    arcsec = lengths[np.argmin(np.abs(lengths - (x1 - x0) * sample.pixel_scale / 4))]
    used = used[int(y0 + 0.5) : int(y1 + 0.5), int(x0 + 0.5) : int(x1 + 0.5)]
    height, width = (-(-2 * size // 5) for size in used.shape)
    ends = {"lower": slice(height), "upper": slice(-height, None)}, {"left": slice(width), "right": slice(-width, None)}
    corners = {f"{v} {h}": used[ends[0][v], ends[1][h]].sum() for v in ends[0] for h in ends[1]}
    bar = AnchoredSizeBar(
        ax.transData, arcsec / sample.pixel_scale, f"{arcsec:g}″", min(corners, key=corners.get),
        pad=0.2, borderpad=0.3, sep=3, size_vertical=(y1 - y0) / 60, label_top=True,
    )  # fmt: skip
    bar.patch.set(alpha=0.85, edgecolor="none")
    ax.add_artist(bar)


def mask_picture(mask):
    """Masks (ny, nx, 2) as colours (ny, nx, 3)."""
    palette = np.array([(1, 1, 1), *(to_rgb(COLOURS[c]) for c in ("central", "companion", "overlap"))])
    return palette[mask[..., 0] + 2 * mask[..., 1].astype(int)]


def window_around(used, margin=6, square=False):
    """Limits in y and x of a window that holds all that is used, or of a square one about the centre."""
    limits = []
    for axis, size in enumerate(used.shape):
        places = np.flatnonzero(used.any(axis=1 - axis))
        limits.append((max(places[0] - margin, 0) - 0.5, min(places[-1] + margin, size - 1) + 0.5))
    if square:
        half = max(abs(end - size // 2) for pair, size in zip(limits, used.shape, strict=True) for end in pair)
        limits = [(max(size // 2 - half, -0.5), min(size // 2 + half, size - 0.5)) for size in used.shape]
    return limits


def signed(value):
    """A number with its sign and a proper minus."""
    return f"{value:+g}".replace("-", "−") if value else "0"


def some_blends(blends):
    """The blends, or a ValueError where there are none."""
    if not len(blends):
        raise ValueError(
            "there are no blends to draw, expected at least one: make them with draw_blends or make_blends."
        )
    return blends


def check_tables(blends, predictions, *columns):
    """Refuse what cannot be drawn; `columns` are those that the figure needs of the blends, beside the fluxes."""
    some_blends(blends)
    if not predictions:
        raise ValueError('There is no prediction to draw, expected at least one: give {"name": table}.')
    _need(blends, "The blends", "flux_central", "flux_companion", *columns)
    if "zeropoint" not in blends.meta:
        raise ValueError(
            'The blends have no zeropoint: set blends.meta["zeropoint"] to the AB zeropoint of the fluxes.'
        )
    true = np.concatenate([_floats(blends[f"flux_{galaxy}"]) for galaxy in ("central", "companion")])
    if (bad := ~_is_flux(true)).any():
        raise ValueError(_bad_truth("fluxes", "finite and positive", bad, true))
    for method, pred in predictions.items():
        check_predictions(blends, pred, f"The predictions of {method!r}")


def is_sep(name):
    """Whether a method is SExtractor by its name."""
    return name.startswith(("SEP", "SExtractor"))


def method_styles(methods):
    """Colour and marker of each method by its name; names that are not known get what is left, in order."""
    several, others = cycle("^<>"), cycle(_OTHER_LOOKS)
    looks = {}
    for name in methods:
        if is_sep(name):
            looks[name] = LOOKS["SEP"][0], next(several)
        else:
            known = "sersic" if name in ("two Sérsic profiles", "two Sersic profiles") else name
            looks[name] = LOOKS.get(known) or next(others)
    return looks


def matching_said(predictions):
    """Which methods were told both positions, where others were not."""
    told = [name for name, pred in predictions.items() if positions_of(pred) == "told"]
    return f"Told both positions: {', '.join(told)}." if 0 < len(told) < len(predictions) else ""


def robust_sigma(values):
    """1.4826 times the median absolute deviation; NaN without values."""
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) if len(values) else np.nan


def sky_noise(sample):
    """Standard deviation of a sample's sky, e-/s."""
    sigma = robust_sigma(sample.sky[:16].ravel())
    return sigma if sigma > 0 else 0.006


def far_from(used):
    """Where only noise is: pixels more than `FAR` from every segment."""
    from scipy.ndimage import distance_transform_edt

    return distance_transform_edt(~used) > FAR if used.any() else np.ones(used.shape, bool)


def plain_log(axis, times=(1.0, 2.0, 5.0)):
    """Plain numbers at so many times each power of ten."""
    axis.set_major_locator(LogLocator(subs=times))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
