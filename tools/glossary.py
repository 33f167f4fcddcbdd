"""Draw the glossary's pictures from our own simulated galaxies: a function for each, named as its file."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import sep
from matplotlib.patches import Circle, Ellipse
from scipy.signal import convolve2d
from scipy.special import erf

import blendkit as bk
from blendkit.data.photometry import COLD, KRON_FACTOR, detect, own_shape
from blendkit.data.simulate import psf, sersic
from blendkit.data.sky import NOISE, sky_noise
from blendkit.figures.style import COLOURS, draw_outline, mask_picture, show_stamp, stretch, style, window_around
from blendkit.metrics.bootstrap import resample, weighted_mean

BLUE, ORANGE, PINK, GREY = COLOURS["central"], COLOURS["companion"], COLOURS["overlap"], "#777777"
PICTURES: list[Callable] = []


def drawn(picture: Callable) -> Callable:
    """Decorator: the glossary has this picture."""
    PICTURES.append(picture)
    return picture


def draw(folder: Path, sample: bk.Sample) -> None:
    """All pictures, as ``folder/<name>.png``, of the sample's galaxies."""
    folder.mkdir(parents=True)
    kit = measured(sample)
    small = {"font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "xtick.labelsize": 8, "ytick.labelsize": 8}
    with style(), plt.rc_context({**small, "legend.fontsize": 8, "lines.linewidth": 1.6}):
        for picture in PICTURES:
            figure = plt.figure(figsize=(3.4, 2.2), layout="constrained")
            picture(figure, kit)
            figure.savefig(folder / f"{picture.__name__}.png", dpi=150)
            plt.close(figure)


def measured(sample: bk.Sample) -> SimpleNamespace:
    """One pair that is shown again and again, and many pairs with what `fractions` and SEP measure of them."""
    order = np.argsort(sample.catalog["mag"])
    a, b = (int(sample.catalog["id"][order[place]]) for place in (2, 6))
    pair = bk.make_blends(sample, [[a, b]], 13, 7)
    images, masks, _ = bk.render(sample, pair)
    parts = bk.render_parts(sample, pair)[0]
    many = bk.draw_blends(sample, 300, seed=1)
    stamps, _, fluxes = bk.render(sample, many)
    network = bk.deblenders.Network("fractions")
    return SimpleNamespace(
        sample=sample, pair=pair, image=images[0], masks=masks[0], parts=parts, many=many, stamps=stamps, fluxes=fluxes,
        alone=sample.images[order[2]], own=sample.segmaps[order[2]] > 0, network=network, answer=network(stamps),
        sep=bk.deblenders.SEP(truth=many)(stamps), lesson=lessons(stamps, fluxes),
        window=window_around(masks, 14),
    )  # fmt: skip


def lessons(stamps: np.ndarray, fluxes: np.ndarray, steps: int = 400) -> dict[float, np.ndarray]:
    """The losses (steps, 2) on 30 blends and on others, of a linear fit of the total flux, for three learning rates."""
    binned = stamps.reshape(len(stamps), 16, 8, 16, 8).mean(axis=(2, 4)).reshape(len(stamps), -1)
    x = np.arcsinh(binned / NOISE)
    x, y = (x - x.mean(axis=0)) / x.std(), np.log10(fluxes[:, 0])
    y, losses = y - y.mean(), {}
    for rate in (0.0005, 0.004, 0.09):
        weights, losses[rate] = np.zeros(x.shape[1]), np.full((steps, 2), np.nan)
        for step in range(steps):
            wrong = x @ weights - y
            losses[rate][step] = np.mean(wrong[:30] ** 2), np.mean(wrong[30:] ** 2)
            weights -= rate * 2 * x[:30].T @ wrong[:30] / 30
            if losses[rate][step, 0] > 10:
                break
    return losses


def panels(figure, pictures, titles=None, window=None):
    """Stamps side by side (of e-/s, or colours), and their axes."""
    axes = np.atleast_1d(figure.subplots(1, len(pictures)))
    for ax, picture, title in zip(axes, pictures, titles or [""] * len(pictures), strict=True):
        show_stamp(ax, picture if picture.ndim == 3 else stretch(picture), window)
        ax.set_title(title)
    return axes


@drawn
def blend(figure, kit):
    panels(
        figure, [kit.parts[..., 0], kit.parts[..., 1], kit.image], ["a galaxy", "+ another", "= a blend"], kit.window
    )


@drawn
def central(figure, kit):
    draw_outline(panels(figure, [kit.image], window=kit.window)[0], kit.masks[..., 0], BLUE)


@drawn
def companion(figure, kit):
    draw_outline(panels(figure, [kit.image], window=kit.window)[0], kit.masks[..., 1], ORANGE)


@drawn
def stamp(figure, kit):
    ax = panels(figure, [kit.alone])[0]
    ax.set(xticks=[0, 64, 127], yticks=[0, 64, 127], xlabel="x (pixels)", ylabel="y (pixels)")
    ax.plot(64, 64, "+", color=ORANGE, markersize=9)


@drawn
def segmentation_map(figure, kit):
    labels = detect(kit.image).segmap
    colours = np.array([[1, 1, 1], *(plt.matplotlib.colors.to_rgb(c) for c in (BLUE, ORANGE, PINK, GREY))])
    panels(figure, [kit.image, colours[np.minimum(labels, 4)]], ["stamp", "segmentation map"], kit.window)


@drawn
def sky_level(figure, kit):
    ax, row = figure.subplots(), kit.image[64] + 20 * NOISE
    ax.plot(row, color=GREY)
    ax.axhline(np.median(row), color=BLUE, linestyle="--", label="level of the sky")
    ax.set(xlabel="pixel along a row", ylabel="light (e⁻/s)", ylim=(0, 0.6))
    ax.legend()


@drawn
def noise(figure, kit):
    white, real = (sky_noise(np.random.default_rng(4), (40, 40), correlation=c) for c in (0.0, 0.62))
    for ax, sky in zip(panels(figure, [white, real], ["white noise", "a survey's noise"]), (white, real), strict=True):
        ax.images[0].set_data(sky / NOISE / 6 + 0.5)


@drawn
def point_spread_function(figure, kit):
    point = np.zeros((25, 25), np.float32)
    point[12, 12] = 1
    light = np.roll(np.fft.irfft2(psf()), (12, 12), (0, 1))[:25, :25]
    panels(figure, [5 * point, 5 * light / light.max()], ["a point of light", "as the telescope sees it"])


@drawn
def magnitude(figure, kit):
    mags = np.asarray(kit.sample.catalog["mag"])
    rows = [int(np.abs(mags - mag).argmin()) for mag in (20.5, 21.5, 22.5, 23.5)]
    middle = slice(34, 95)
    panels(figure, [kit.sample.images[i][middle, middle] for i in rows], [f"{mags[i]:.1f}" for i in rows])


@drawn
def zeropoint(figure, kit):
    ax, flux = figure.subplots(), np.logspace(-2, 2.5, 50)
    ax.semilogx(flux, 25.96 - 2.5 * np.log10(flux), color=BLUE)
    ax.plot([1, 1, 0.01], [30, 25.96, 25.96], ":", color=ORANGE)
    ax.annotate("zeropoint: 25.96", (1, 25.96), (2, 27.2), color=ORANGE)
    ax.set(xlabel="flux (e⁻/s)", ylabel="magnitude", ylim=(30, 19))


@drawn
def delta_mag(figure, kit):
    ax = figure.subplots()
    wrong = bk.metrics.delta_mag(kit.many, kit.sep)[:, 0]
    ax.plot(kit.many["mag"][:, 0], wrong, ".", color=GREY, markersize=3)
    ax.axhline(0, color=BLUE)
    ax.set(ylim=(-1.2, 1.2), xlabel="magnitude of the galaxy alone", ylabel="Δmag")
    ax.text(0.98, 0.04, "measured too bright", transform=ax.transAxes, ha="right")
    ax.text(0.98, 0.9, "measured too faint", transform=ax.transAxes, ha="right")


@drawn
def flux(figure, kit):
    ax, (radius, light) = figure.subplots(), growth(kit)
    ax.plot(radius, light, color=BLUE)
    ax.set(xlabel="radius of a circle (pixels)", ylabel="light inside (e⁻/s)", ylim=(0, None), xlim=(0, 30))
    ax.axhline(light[-1], color=ORANGE, linestyle=":")
    ax.text(29, 0.93 * light[-1], "the flux", color=ORANGE, ha="right", va="top")


def growth(kit, last=30):
    """The light of the galaxy alone inside circles."""
    radius = np.arange(1.0, last + 1)
    image = np.require(kit.alone, np.float32, "CW")
    return radius, np.array([float(sep.sum_circle(image, [64.0], [64.0], r)[0][0]) for r in radius])


@drawn
def effective_radius(figure, kit):
    radius, light = growth(kit)
    half = float(np.interp(light[-1] / 2, light, radius))
    ax = panels(figure, [kit.alone], window=((34, 94), (34, 94)))[0]
    ax.add_patch(Circle((64, 64), half, fill=False, color=ORANGE, linewidth=1.8))
    ax.set_title(f"half of the light within {half:.1f} pixels")


@drawn
def kron_aperture(figure, kit):
    image, window = np.require(kit.alone, np.float32, "CW"), ((24, 104), (24, 104))
    found = own_shape(image, kit.own)
    shape = [float(found[name]) for name in ("a", "b", "theta")]
    radius = KRON_FACTOR * float(sep.kron_radius(image, [found["x"]], [found["y"]], *([v] for v in shape), 6.0)[0][0])
    draw_ellipse(panels(figure, [kit.alone], window=window)[0], found["x"], found["y"], *shape, BLUE, radius)


def draw_ellipse(ax, x, y, a, b, theta, colour, scale=3.0):
    """An ellipse with these semi-axes, so many times as large."""
    axes = 2 * scale * a, 2 * scale * b
    ax.add_patch(Ellipse((x, y), *axes, angle=np.degrees(theta), fill=False, color=colour, linewidth=1.8))


@drawn
def sersic_profile(figure, kit):
    names = {0.5: "n = 0.5", 1: "n = 1: a disk", 4: "n = 4: a bulge"}
    ax, radius = figure.subplots(), np.linspace(0.05, 4, 200)
    for (n, name), colour in zip(names.items(), (GREY, BLUE, ORANGE), strict=True):
        light = np.array([sersic(n, 1.0, 1.0, 0.0, 1.0).xValue(r, 0) for r in radius])
        ax.semilogy(radius, light, color=colour, label=name)
    ax.set(ylim=(1e-4, 10), xlabel="distance from the centre (effective radii)", ylabel="brightness")
    ax.legend()


@drawn
def detection(figure, kit):
    lit = kit.image > COLD["thresh"] * NOISE
    found, ax = detect(kit.image), panels(figure, [kit.image, 5.0 * lit], ["blend", "above the threshold"], kit.window)
    for k in range(len(found)):
        ax[0].plot(found.x[k], found.y[k], "x", color=ORANGE, markersize=8, markeredgewidth=2)


@drawn
def sextractor(figure, kit):
    found, ax = detect(kit.image), panels(figure, [kit.image], window=kit.window)[0]
    for k in range(len(found)):
        draw_ellipse(ax, found.x[k], found.y[k], found.a[k], found.b[k], found.theta[k], (BLUE, ORANGE, PINK)[k % 3])


@drawn
def over_under_deblended(figure, kit):
    n = np.asarray(kit.sep["n_detected"])
    whole = kit.many["inside"].min(axis=1) > 0.97
    some = [int(np.flatnonzero(whole & picked)[0]) for picked in (n == 1, n > 2)]
    words = [f"{n[i]} found:\n{what}-deblended" for i, what in zip(some, ("under", "over"), strict=True)]
    axes = panels(figure, kit.stamps[some], words)
    for ax, image in zip(axes, kit.stamps[some], strict=True):
        found = detect(image)
        for k in range(len(found)):
            draw_ellipse(ax, found.x[k], found.y[k], found.a[k], found.b[k], found.theta[k], ORANGE, 2)


@drawn
def mask(figure, kit):
    panels(figure, [kit.image, mask_picture(kit.masks)], ["blend", "masks"], kit.window)


@drawn
def intersection_over_union(figure, kit):
    true = kit.masks[..., 0]
    guess = np.roll(true, (3, 5), (0, 1))
    ax = panels(figure, [mask_picture(np.stack([true, guess], axis=-1))], window=kit.window)[0]
    both, all_ = np.count_nonzero(true & guess), np.count_nonzero(true | guess)
    ax.set_title(f"IoU = {both} / {all_} = {both / all_:.2f}")


def percent(kit, pred):
    """Errors of the central galaxies' fluxes, per cent; NaN where none was measured."""
    return 100 * (np.asarray(pred["flux"])[:, 0] / kit.fluxes[:, 0] - 1)


@drawn
def mean_absolute_percentage_error(figure, kit):
    wrong = np.abs(percent(kit, kit.answer)[:12])
    ax = figure.subplots()
    ax.bar(np.arange(12), wrong, color=GREY)
    ax.axhline(wrong.mean(), color=ORANGE)
    ax.set(xticks=[], xlabel="12 blends", ylabel="error of the flux (%)", title=f"their mean: {wrong.mean():.1f} %")


@drawn
def outlier(figure, kit):
    ax, wrong = figure.subplots(), bk.metrics.delta_mag(kit.many, kit.sep)[:, 1]
    out = np.abs(wrong) > 0.75
    ax.plot(np.flatnonzero(~out), wrong[~out], ".", color=GREY, markersize=3)
    ax.plot(np.flatnonzero(out), wrong[out], ".", color=ORANGE)
    for limit in (-0.75, 0.75):
        ax.axhline(limit, color=BLUE, linestyle="--")
    ax.set(xlabel="blend", ylabel="Δmag", title=f"{out.sum()} outliers of {len(out)}")


@drawn
def pull(figure, kit):
    ax, values = figure.subplots(), pulls(kit)
    ax.hist(values, np.linspace(-4, 4, 25), density=True, color=BLUE, alpha=0.6)
    x = np.linspace(-4, 4, 100)
    ax.plot(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), color=ORANGE, label="if the errors were honest")
    ax.set(xlabel="pull = true error / stated error", yticks=[])
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.2))


def pulls(kit):
    """Of both galaxies' fluxes, as `fractions` states its errors."""
    return ((np.asarray(kit.answer["flux"]) - kit.fluxes) / np.asarray(kit.answer["flux_err"])).ravel()


@drawn
def calibration(figure, kit):
    ax, sigmas = figure.subplots(), np.linspace(0, 3, 31)
    within = [np.mean(np.abs(pulls(kit)) < s) for s in sigmas]
    ax.plot(sigmas, 100 * erf(sigmas / np.sqrt(2)), color=ORANGE, label="honest")
    ax.plot(sigmas, 100 * np.array(within), color=BLUE, label="fractions")
    ax.set(xlabel="so many stated errors from the truth", ylabel="share of fluxes (%)", ylim=(0, 101))
    ax.legend()


@drawn
def bootstrap(figure, kit):
    wrong = np.abs(percent(kit, kit.answer))
    values = weighted_mean(wrong, resample(kit.many["id"][:, 0], 2000))
    ax = figure.subplots()
    ax.hist(values, 30, color=BLUE, alpha=0.6)
    ax.axvline(wrong.mean(), color=ORANGE)
    ax.set(xlabel="MAPE (%) of blends of other galaxies", yticks=[])
    ax.set_title(f"{wrong.mean():.1f} ± {values.std():.1f} %")


@drawn
def convolution(figure, kit):
    edge = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]], np.float32)
    axes = panels(figure, [kit.image, edge, kit.image], ["blend", "* 3 × 3 weights", "= a map"])
    axes[1].images[0].set_data(edge / 4 + 0.5)
    axes[2].images[0].set_data(convolve2d(stretch(kit.image), edge, "same") + 0.5)
    for ax in axes[::2]:
        ax.set(xlim=kit.window[1], ylim=kit.window[0])


@drawn
def loss(figure, kit):
    ax, losses = figure.subplots(), kit.lesson[0.004][:, 0]
    ax.plot(losses[:100], color=BLUE)
    ax.set(xlabel="epoch", ylabel="loss (squared error)", ylim=(0, None))


@drawn
def epoch(figure, kit):
    axes = figure.subplots(3, 8)
    for place, (ax, image) in enumerate(zip(axes.ravel(), kit.stamps, strict=False)):
        show_stamp(ax, stretch(image), ((34, 94), (34, 94)))
        ax.spines[:].set(color=(BLUE, ORANGE, PINK)[place // 8], linewidth=2)
    for k in range(3):
        axes[k, 0].set_ylabel(f"batch {k + 1}", color=(BLUE, ORANGE, PINK)[k])
    figure.suptitle("one epoch: every blend once", fontsize=9, fontweight="normal")


@drawn
def overfitting(figure, kit):
    ax, losses = figure.subplots(), kit.lesson[0.004]
    for k, (colour, name) in enumerate(((BLUE, "blends it learns from"), (ORANGE, "blends it never saw"))):
        ax.loglog(np.arange(1, len(losses) + 1), losses[:, k], color=colour, label=name)
    ax.set(xlabel="epoch", ylabel="loss")
    ax.legend()
    best = int(losses[:, 1].argmin())
    ax.plot(best + 1, losses[best, 1], "o", color=ORANGE)


@drawn
def learning_rate(figure, kit):
    ax = figure.subplots()
    for (rate, losses), colour in zip(kit.lesson.items(), (GREY, BLUE, ORANGE), strict=True):
        ax.semilogy(losses[:60, 0], color=colour, label=f"rate {rate:g}")
    ax.set(xlabel="epoch", ylabel="loss", ylim=(None, 3))
    ax.legend()


@drawn
def u_net(figure, kit):
    masks = kit.masks.astype(np.float32)
    figure.set_layout_engine("none")
    places = ((128, 0.01, 0.5, 0.26), (32, 0.29, 0.24, 0.15), (8, 0.455, 0.06, 0.09), (32, 0.56, 0.24, 0.15))
    for place, (size, x, y, width) in enumerate((*places, (128, 0.73, 0.5, 0.26))):
        shape = (size, 128 // size, size, 128 // size)
        picture = stretch(kit.image.reshape(shape).mean(axis=(1, 3)))
        if place > 2:
            picture = mask_picture(masks.reshape(*shape, 2).mean(axis=(1, 3)) > 0.5)
        ax = figure.add_axes((x, y, width, width * 3.4 / 2.2))
        show_stamp(ax, picture)
        ax.set_title(f"{size} × {size}", fontsize=8, pad=2)


@drawn
def share(figure, kit):
    light = np.clip(kit.parts, 1e-3, None)
    ax = panels(figure, [kit.image, light[..., 0]], ["blend", "the central galaxy's share"], kit.window)[1]
    ax.images[0].set(data=np.where(kit.masks.any(axis=-1), light[..., 0] / light.sum(axis=-1), np.nan), cmap="viridis")
    figure.colorbar(ax.images[0], ax=ax, shrink=0.6)


@drawn
def field(figure, kit):
    panels(figure, [np.block([list(kit.stamps[row : row + 4]) for row in (0, 4)])])


@drawn
def residual(figure, kit):
    model = np.roll(kit.alone[::-1, ::-1], 1, (0, 1))
    panels(figure, [kit.alone, model, kit.alone - model], ["image", "model", "residual"], ((34, 94), (34, 94)))


@drawn
def morphology(figure, kit):
    kinds = np.asarray(kit.sample.catalog["morphology"])
    rows = [int(np.flatnonzero(kinds == kind)[0]) for kind in ("sph", "disk", "sphd", "irr")]
    panels(figure, [kit.sample.images[row][34:95, 34:95] for row in rows], ["sph", "disk", "sphd", "irr"])


@drawn
def out_of_domain(figure, kit):
    odd, kinds = bk.lessons.strange(kit.sample, kit.many[:40])
    one = int(np.flatnonzero(kit.network(odd)["out_of_domain"])[0])
    usual = int(np.flatnonzero(~np.asarray(kit.network(kit.stamps[:40])["out_of_domain"]))[0])
    panels(figure, [kit.stamps[usual], odd[one]], ["ordinary", f"flagged: {kinds[one]}"])
