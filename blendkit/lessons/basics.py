"""Two pictures for those who have not met a network yet: going downhill, and a convolution."""

import numpy as np
from matplotlib.figure import Figure
from scipy.ndimage import correlate

from ..figures.style import COLOURS, canvas, show_stamp, stretch

NEAR = 8  # pixels from the centre: inside, the light is counted with the first knob


def downhill(images: np.ndarray, fluxes: np.ndarray, rate: float = 0.2, epochs: int = 4, batch: int = 32) -> Figure:
    """The loss of a network with two knobs, and how training walks down into its valley.

    Its answer for the central galaxy is the light near the centre times one knob, and the other light times the second.
    Each step follows the slope that `batch` of the blends show, `rate` long on average in the first epoch.

    Parameters
    ----------
    images, fluxes : arrays (n, ny, nx) and (n, k), e-/s; fluxes of the central galaxy first
    rate : float; the learning rate
    epochs, batch : int; rounds through all blends, and blends in a step
    """
    ny, nx = images.shape[1:]
    y, x = np.ogrid[:ny, :nx]
    near = np.hypot(y - ny // 2, x - nx // 2) <= NEAR
    light = np.stack([np.where(part, images, 0).sum(axis=(1, 2)) for part in (near, ~near)], axis=1)
    light = light / fluxes[:, :1]  # in units of the right answer
    rng, at = np.random.default_rng(0), np.array([0.2, 1.2])
    path, ends = [at], []
    for _ in range(epochs):
        for rows in np.array_split(rng.permutation(len(light)), max(len(light) // batch, 1)):
            slope = np.mean(np.sign(light[rows] @ at - 1)[:, None] * light[rows], axis=0)
            path.append(at := at - rate * slope)
        ends.append(at)
    knobs = np.meshgrid(np.linspace(-0.3, 2.3, 66), np.linspace(-0.6, 1.6, 66))
    loss = 100 * np.abs(np.einsum("nk,kab->nab", light, knobs) - 1).mean(axis=0)
    losses = [100 * np.abs(light @ step - 1).mean() for step in path]
    title = "Training walks downhill: each step turns both knobs a little"
    with canvas(10, 4.6, title, caption="Dots: the start, and after each epoch.") as fig:
        left, right = fig.subplots(1, 2, width_ratios=(1.15, 1))
        levels = loss.min() * np.array([1, 1.05, 1.2, 1.5, 2, 3, 4, 6, 8, 12])
        filled = left.contourf(*knobs, loss, levels=levels, cmap="Greys_r", norm="log", extend="max")
        bar = fig.colorbar(filled, ax=left, label="loss: MAPE (%)", format="%.0f")
        bar.set_ticks([tick for tick in (20, 30, 40, 60, 100, 200, 300) if levels[0] < tick < levels[-1]])
        bar.minorticks_off()
        left.plot(*np.transpose(path), "-", color=COLOURS["companion"], linewidth=1.5)
        left.plot(*np.transpose([path[0], *ends]), "o", color=COLOURS["companion"], markeredgecolor="white", zorder=5)
        left.set(xlabel="knob 1: light near the centre", ylabel="knob 2: all other light", xlim=(-0.3, 2.3))
        left.set(ylim=(-0.6, 1.6), title="the loss for every setting of the knobs")
        right.plot(np.arange(len(losses)) / (len(path) - 1) * epochs, losses, color=COLOURS["companion"])
        right.set(xlabel="epoch", ylabel="loss: MAPE (%)", ylim=(0, None), xticks=range(epochs + 1))
        right.set_title(f"the loss curve of this walk ends at {losses[-1]:.0f} %")
    return fig


def convolutions(image: np.ndarray, filters: dict[str, np.ndarray]) -> Figure:
    """An image (ny, nx) in e-/s and how well small patterns, by name, fit at every place; bad fits are zero (ReLU)."""
    with canvas(10, 4.4, "A filter is a pattern; its map is dark where the pattern fits") as fig:
        axes = fig.subplots(2, len(filters) + 1, height_ratios=(1, 2.4))
        show_stamp(axes[1, 0], stretch(image))
        axes[0, 0].set_axis_off()
        axes[1, 0].set_title("the blend")
        for (upper, lower), (name, pattern) in zip(axes[:, 1:].T, filters.items(), strict=True):
            pattern = np.asarray(pattern, float)
            show_stamp(upper, np.zeros_like(pattern))
            for (row, column), number in np.ndenumerate(pattern):
                upper.text(column, row, f"{number:.1g}", ha="center", va="center", fontsize=10)
            upper.set_title(name)
            fits = np.clip(correlate(image, pattern), 0, None)
            show_stamp(lower, np.sqrt(fits / fits.max()))
    return fig
