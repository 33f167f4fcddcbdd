"""What all figures share: colours, style, stretch, and the grid of stamps."""

import textwrap
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from astropy.table import Table
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from scipy.ndimage import distance_transform_edt

from ..blends.recipe import check_unedited
from ..data.check import require
from ..data.sample import Sample
from ..deblenders.base import positions_of
from ..metrics.scores import OUTLIER_DMAG

MEMBERS = ("central", "companion")
_LOOKS, WORDS = (tomllib.loads(Path(__file__).with_name(f"{n}.toml").read_text("utf-8")) for n in ("looks", "words"))
OTHERS, COLOURS, CASE_COLOURS, LOOKS, SYMBOLS, TYPES, SKIES, KINDS, LAYERS, LAYOUT = _LOOKS.values()
COLOURS["methods"] = tuple(colour for colour, _ in (*LOOKS.values(), *OTHERS))
"""Okabe and Ito's colour-blind safe palette, with some of Tol's; "overlap" is where both galaxies are."""

SEGMENTS = [Line2D([], [], color=COLOURS[m], linewidth=2, label=said) for m, said in WORDS["segments"].items()]
MASKS = [Patch(color=COLOURS[key], label=key.replace("overlap", "both")) for key in (*MEMBERS, "overlap")]
FAR = 10  # pixels kept from every segment where only noise is wanted
WIDTH, HEIGHT = 10.0, 6.6  # inches, at most: what a laptop's notebook shows at once
FEWEST = 10  # galaxies or blends: statistics of fewer are not drawn


def style() -> AbstractContextManager:
    """The look of every figure inside ``with bk.figures.style():``, colour-blind safe, galaxies dark on light sky."""
    cycle_of_methods = {"axes.prop_cycle": matplotlib.cycler(color=COLOURS["methods"])}
    return plt.style.context([Path(__file__).with_name("blendkit.mplstyle"), cycle_of_methods])


def stretch(image: np.ndarray, noise: float = 0.006) -> np.ndarray:
    """Pixels (e-/s) as shades: asinh in units of twice the `noise`, 0 at -3 times and 1 at 1,000 times the noise."""
    low, high = np.arcsinh(-3.0 / 2), np.arcsinh(1000.0 / 2)
    shade = (np.arcsinh(np.asarray(image, np.float32) / np.float32(2 * noise)) - low) / (high - low)
    return np.clip(shade, 0, 1).astype(np.float32)


@contextmanager
def canvas(words: Mapping, height: float, legend=(), width: float = WIDTH, **numbers) -> Iterator[Figure]:
    """A figure in this style, unknown to pyplot: its `words` are as in words.toml, the numbers stand in them."""
    title, caption = _said(words, numbers)
    with style():
        fig = plt.figure(figsize=(width, height), layout="constrained")  # without pyplot, notebooks show text
        plt.close(fig)
        lines = -(-len(title) // int(7.4 * width))
        fig.suptitle(textwrap.fill(title, len(title) // lines + 4) if lines > 1 else title)
        if legend:
            put_legend(fig, legend)
        if caption:
            fig.supxlabel(textwrap.fill(caption, int(10.6 * width)), fontsize=12, color="#333333")
        yield fig
        for ax, labels in zip(fig.axes, words.get("panels", ()), strict=False):
            ax.set(**labels)
        fig.draw_without_rendering()  # ticks are made at the first drawing: they get this style, too


def _said(words, numbers):
    """Title and caption, the numbers in them."""
    return [words.get(part, "").format(few=FEWEST, outlier=OUTLIER_DMAG, **numbers) for part in ("title", "caption")]


def put_legend(fig: Figure, handles: Sequence) -> None:
    """A legend between the title and the panels, in as many columns as there is room for."""
    width, height = fig.get_size_inches()
    widths = [0.105 * len(handle.get_label()) + 0.8 for handle in handles]
    columns = len(handles) if sum(widths) < width else min(len(handles), max(1, int((width - 0.5) / max(widths))))
    title, rows = 0.12 + 0.28 * len(fig.get_suptitle().splitlines()), -(-len(handles) // columns)
    fig.get_layout_engine().set(rect=(0, 0, 1, 1 - (0.08 + 0.25 * rows) / height))
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, 1 - title / height), "ncols": columns}
    fig.legend(handles=handles, columnspacing=1.5, borderaxespad=0, borderpad=0, **place)


@dataclass(frozen=True)
class Stamp:
    """One picture of a `stamp_grid`: (ny, nx) in e-/s, or colours (ny, nx, 3)."""

    picture: np.ndarray
    outlines: Sequence = ()  # (mask, colour[, line style])
    marks: Sequence = ()  # (x, y, marker, colour)
    title: str = ""
    below: str = ""  # under the picture, in `colour`
    colour: str = "black"


def stamp_grid(sample: Sample, rows, words, *, heads=(), labels=(), window=None, legend=(), **numbers) -> Figure:
    """Rows of `Stamp`s, the first the longest, on one stretch, with `heads` and `labels`; words as for `canvas`."""
    (title, caption), heads = _said(words, numbers), heads or words.get("heads", ())
    texts = [heads or [""], *([getattr(stamp, at) for stamp in row] for row in rows for at in ("title", "below"))]
    noise, columns = sky_noise(sample), len(rows[0])
    lines = sum(max(text.count("\n") + bool(text) for text in line) for line in texts) + (len(title) > 66)
    letters = max(len(part) for line in texts for text in line for part in text.split("\n"))
    aspect = np.divide(*np.ptp(window, axis=1)) if window is not None else 1.0
    extra = 0.85 + 0.25 * lines + 0.35 * bool(legend) + 0.22 * (len(caption) / 95 + bool(caption))
    side = min((WIDTH - 0.8) / columns, 3.2, max((HEIGHT - extra) / len(rows) / aspect, 1.2))
    width, height = min(WIDTH, max(9.0, 0.8 + columns * max(side, 0.1 * letters))), extra + len(rows) * aspect * side
    with canvas(words, height, legend, width, **numbers) as fig:
        axes = fig.subplots(len(rows), columns, squeeze=False)
        for line, row in zip(axes, rows, strict=True):
            for ax, stamp in zip(line, row, strict=False):
                show_stamp(ax, stamp.picture if np.ndim(stamp.picture) == 3 else stretch(stamp.picture, noise), window)
                for outline in stamp.outlines:
                    draw_outline(ax, *outline)
                for x, y, marker, colour in stamp.marks:
                    ax.plot(x, y, marker, color=colour, markersize=9)
                ax.set_title(stamp.title, fontsize=12)
                ax.set_xlabel(stamp.below, color=stamp.colour, fontsize=12)
            for ax in line[len(row) :]:
                ax.remove()
        for ax, head in zip(axes[0], heads, strict=False):
            ax.set_title(head)
        for ax, label in zip(axes[:, 0], labels, strict=False):
            ax.set_ylabel(label)
        draw_scale_bar(axes[0, 0], sample)
    return fig


def show_stamp(ax, picture: np.ndarray, window=None, vmin: float = 0, vmax: float = 1) -> None:
    """A picture without ticks, in a thin frame, or the `window` of it."""
    ax.imshow(picture, vmin=vmin, vmax=vmax)
    ax.set(xticks=[], yticks=[], **({} if window is None else {"ylim": window[0], "xlim": window[1]}))
    ax.spines[:].set(visible=True, color="0.5")


def draw_outline(ax, mask: np.ndarray, colour: str, line: str = "solid") -> None:
    """The outline of a mask (ny, nx), where it has one."""
    if mask.any() and not mask.all():
        ax.contour(mask, levels=[0.5], colors=[colour], linestyles=[line], linewidths=1.8)


def outlines_of(masks: np.ndarray, line: str = "solid") -> list[tuple[np.ndarray, str, str]]:
    """Outlines of the galaxies' masks (ny, nx, k) for a `Stamp`; `line` is the style of companions."""
    looks = [("central", "solid")] + [("companion", line)] * (masks.shape[-1] - 1)
    return [(masks[..., k], COLOURS[member], style) for k, (member, style) in enumerate(looks)]


def draw_scale_bar(ax, sample: Sample) -> None:
    """A bar of about a quarter of the picture, labelled in arcseconds, in the corner where least is seen."""
    (x0, x1), (y0, y1) = ax.get_xlim(), ax.get_ylim()
    lengths = np.array([0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50])
    arcsec = lengths[np.argmin(np.abs(lengths - (x1 - x0) * sample.pixel_scale / 4))]
    shade = ax.images[0].norm(ax.images[0].get_array())[int(y0 + 0.5) : int(y1 + 0.5), int(x0 + 0.5) : int(x1 + 0.5)]
    ny, nx = (-(-2 * size // 5) for size in shade.shape)
    corners = {"lower left": shade[:ny, :nx], "lower right": shade[:ny, -nx:]}
    corners |= {"upper left": shade[-ny:, :nx], "upper right": shade[-ny:, -nx:]}
    bar = AnchoredSizeBar(
        ax.transData, arcsec / sample.pixel_scale, f"{arcsec:g}″", min(corners, key=lambda at: corners[at].sum()),
        pad=0.2, borderpad=0.3, sep=3, size_vertical=(y1 - y0) / 60, label_top=True,
    )  # fmt: skip
    bar.patch.set(alpha=0.85, edgecolor="none")
    ax.add_artist(bar)


def mask_picture(masks: np.ndarray) -> np.ndarray:
    """Masks (ny, nx, k) as colours (ny, nx, 3): white, central, companion, both."""
    palette = to_rgba_array(["white", *(COLOURS[key] for key in (*MEMBERS, "overlap"))])[:, :3]
    return palette[np.where(masks.sum(axis=-1) > 1, 3, masks[..., 0] + 2 * masks[..., 1:].any(axis=-1))]


def window_around(masks: np.ndarray, margin: int = 6, square: bool = True) -> np.ndarray:
    """Limits (2, 2) in y and x of a window with all masks (n, ny, nx, k): square about the centre, or closer."""
    size, used = np.array(masks.shape[1:3])[:, None], np.nonzero(masks)[1:3]
    limits = np.array([(places.min() - margin - 0.5, places.max() + margin + 0.5) for places in used])
    if square:
        limits = size // 2 + np.array([-1, 1]) * np.abs(limits - size // 2).max()
    return np.clip(limits, -0.5, size - 0.5)


def some_blends(blends: Table) -> Table:
    """The blends, where there are any and none was edited since it was made."""
    require(len(blends), "there are no blends to draw, expected at least one: make them with draw_blends.")
    check_unedited(blends)
    return blends


def method_styles(methods: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each method by its name; names that are not known get what is left, in order."""
    markers, others, styles = cycle("^<>"), cycle(OTHERS), {}
    for name in methods:
        if name.startswith(("SEP", "SExtractor")):
            styles[name] = LOOKS["SEP"][0], next(markers)
        else:
            styles[name] = tuple(LOOKS.get("sersic" if name.startswith("two S") else name) or next(others))
    return styles


def matching_said(predictions: Mapping[str, Table]) -> str:
    """Which methods were told both positions, where others were not."""
    told = [name for name, pred in predictions.items() if positions_of(pred) == "told"]
    return f"Told both positions: {', '.join(told)}." if 0 < len(told) < len(predictions) else ""


def robust_sigma(values: np.ndarray) -> float:
    """1.4826 times the median absolute deviation; NaN without values."""
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) if len(values) else np.nan


def sky_noise(sample: Sample) -> float:
    """Standard deviation of a sample's sky, e-/s."""
    return robust_sigma(sample.sky[:16].ravel()) or 0.006


def far_from(used: np.ndarray) -> np.ndarray:
    """Where only noise is: pixels more than `FAR` from every segment."""
    return distance_transform_edt(~used) > FAR if used.any() else np.ones(used.shape, bool)


def plain_log(axis, times=(1.0, 2.0, 5.0)) -> None:
    """Plain numbers at so many times each power of ten."""
    axis.set_major_locator(LogLocator(subs=times))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
