"""Notebook 5: blends under other skies than networks were trained for, and what their numbers are worth there."""

import html
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import ipywidgets as ipw
import numpy as np
from astropy.table import Table
from keras import ops
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.ndimage import fourier_shift, gaussian_filter

from ..blends.recipe import draw_blends, make_blends
from ..blends.rendering import render
from ..blends.world import FWHM, observe
from ..data.check import require
from ..data.sample import Sample
from ..data.sky import CORRELATION, NOISE, sky_noise
from ..deblenders.methods import labelled, measure
from ..figures.style import COLOURS, MEMBERS, Stamp, canvas, method_styles, plain_log, show_stamp, stamp_grid
from ..metrics.bootstrap import weighted_mean, weighted_median, with_errors
from ..networks.sky import measure_sky
from ..networks.world import KINDS, strange_stamps
from ..widgets import view
from ..widgets.answers import Asked, AskingBoard
from ..widgets.view import Panel, row, status
from .experiments import WORDS, formatted

CONDITIONS, STRANGE = WORDS["conditions"], WORDS["strange"]
_TEXTS = {np.inf: "none", 1e6: "10⁶"}
_FROM, _WIDE = 200, 330  # where the axis of the chart begins, and its length


def observed(
    sample: Sample, blends: Table, *, noise: float = 1.0, correlation: float = CORRELATION, blur: float = 0.0,
    level: float = 0.0, off: float = 0.0, third: float = np.inf, units: float = 1.0, seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """Blends under a sky of your choice, (n, ny, nx) float32, in e-/s times `units`.

    Stamps without noise, as of ``load_sample("synthetic", noise="none")``, can be put under any; to others only what
    `noise` (sigma, in units of the survey's) asks for beyond theirs is added. `correlation` is the width in pixels
    (sigma) of the Gaussian that makes neighbouring pixels' noise alike, `blur` the FWHM in arcseconds of one that blurs
    the galaxies, `level` that of the sky in sigmas. All of it lies `off` pixels to the right, beside a `third` galaxy
    that is so many magnitudes fainter than the central one (infinite: none).
    """
    blends = _with_third(sample, blends, third)
    light = render(sample, blends, masks=False, fill="sky" if _own_noise(sample) > 0.1 * NOISE else "zero")[0]
    light = np.fft.ifft2(fourier_shift(np.fft.fft2(light), (0, 0, off))).real if off else light
    blur /= sample.pixel_scale
    sigma, have = noise * NOISE, _own_noise(sample, blur) * _galaxies(blends)
    sky = {"sigma": np.sqrt(np.maximum(sigma**2 - have**2, 0)), "level": level * np.maximum(sigma, have)}
    return observe(light, correlation=correlation, blur=blur, seed=seed, **sky) * np.float32(units)


def _own_noise(sample, blur=0.0):
    """The noise that each stamp of a sample has already, once it is blurred by pixels (FWHM)."""
    return float(gaussian_filter(sample.sky.astype(float), blur / FWHM, axes=(1, 2)).std())


def _galaxies(blends):
    """By how much each blend is noisier than one stamp: the root of the sum of its galaxies' squared scales."""
    scale = np.where(np.asarray(blends["id"]) >= 0, 10 ** (-0.4 * np.asarray(blends["dmag"])), 0)
    return np.sqrt(np.maximum((scale**2).sum(axis=1), 1))


def _with_third(sample, blends, fainter):
    """The blends with a third galaxy, next in brightness to the central one but so much fainter, on another side."""
    if fainter == np.inf:
        return blends
    mags, (ny, nx) = np.asarray(sample.catalog["mag"]), sample.images.shape[1:]
    order = np.argsort(mags, kind="stable")
    rank = np.argsort(order)[sample.index(blends["id"][:, 0])]
    other = order[np.where(rank > 0, rank - 1, min(1, len(order) - 1))]
    dx, dy = (np.asarray(blends[name])[:, 1] for name in ("dx", "dy"))
    more = {"id": sample.catalog["id"][other], "dx": np.rint(-0.4 * dx - 0.7 * dy).clip(1 - nx // 2, nx // 2 - 1)}
    more |= {"dy": np.rint(0.7 * dx - 0.4 * dy).clip(1 - ny // 2, ny // 2 - 1)}
    more |= {"dmag": blends["mag"][:, 0] + fainter - mags[other], "orient": np.zeros_like(rank)}
    return make_blends(sample, *(np.column_stack([blends[name], new]) for name, new in more.items()))


def _true(blends, third=np.inf):
    """What a method should say, (n, 2), fluxes of both galaxies; beside a third one of the central galaxy alone."""
    return np.where([True, third == np.inf], np.asarray(blends["flux"], float), np.nan)


def outside(sample: Sample, blends: Table, methods: Mapping[str, Callable], conditions=CONDITIONS) -> Table:
    """How methods do on the same blends under one condition after the other, all else as in the survey.

    Returns `condition`, `value`, `method`; `median` (%) error of the fluxes, 100 for one that was not found; the shares
    `within_1` error that the method states and `flagged` out of domain (0 to 1, NaN where it says nothing). Of three
    galaxies the central one counts. Noise that the stamps have already stands for all that is less.
    """
    n, galaxies, rows = len(blends), np.asarray(blends["id"]), []
    least = round(_own_noise(sample) * 2**0.5 / NOISE, 1)
    for condition, values in conditions.items():
        values = np.unique(np.maximum(values, least)) if condition == "noise" else values
        images = np.concatenate([observed(sample, blends, **{condition: value}) for value in values])
        for k, value in enumerate(values):
            true = _true(blends, value if condition == "third" else np.inf) * (value if condition == "units" else 1)
            asked = np.isfinite(true)
            for method, pred in measure(images, methods).items():
                pred = pred[k * n : (k + 1) * n]
                flux, error = (pred[c] if c in pred.colnames else np.nan for c in ("flux", "flux_err"))
                percent = np.nan_to_num(100 * np.abs(flux / true - 1), nan=100)[asked]
                within = np.where(np.isfinite(error), np.abs(flux - true) <= error, np.nan)[asked]
                statistics = [partial(weighted_median, percent), partial(weighted_mean, within)]
                flagged = pred["out_of_domain"].mean() if "out_of_domain" in pred.colnames else np.nan
                rows.append((condition, value, method, *with_errors(statistics, galaxies[asked]).ravel(), flagged))
    names = ("condition", "value", "method", "median", "median_err", "within_1", "within_1_err", "flagged")
    return formatted(rows, names, **dict.fromkeys(names[3:], ".2f"))


def trust_map(table: Table) -> Figure:
    """Error and honesty of each method under each condition, as from `outside`."""
    names, looks = list(dict.fromkeys(table["condition"])), method_styles(list(dict.fromkeys(table["method"])))
    handles = [Line2D([], [], color=c, marker=marker, label=name) for name, (c, marker) in looks.items()]
    handles.append(Line2D([], [], color="0.4", linestyle="dotted", label="flagged as out of domain"))
    with canvas(WORDS["trust_map"], 6.4, handles) as fig:
        axes = fig.subplots(2, len(names), sharey="row", sharex="col", squeeze=False)
        for (top, bottom), name in zip(axes.T, names, strict=True):
            rows = table[table["condition"] == name]
            for method, (colour, marker) in looks.items():
                mine, look = rows[rows["method"] == method], {"color": colour, "marker": marker, "capsize": 3}
                at = np.arange(len(mine))
                top.errorbar(at, mine["median"], mine["median_err"], **look)
                bottom.errorbar(at, 100 * mine["within_1"], 100 * mine["within_1_err"], **look)
                bottom.plot(at, 100 * mine["flagged"], color=colour, linestyle="dotted")
            bottom.axhspan(60, 76, color="0.88")
            said = [_TEXTS.get(value, f"{value:.2g}".replace("-", "−")) for value in mine["value"]]
            step = 1 + len(at) // 5
            bottom.set_xticks(at[::step], said[::step])
            bottom.set(xlabel=WORDS["axes"][name][1], xlim=(-0.4, len(at) - 0.6), ylim=(-4, 104))
            top.set(title=WORDS["axes"][name][0], yscale="log")
        least, most = max(table["median"].min() / 2, 0.1), 2 * table["median"].max()
        axes[0, 0].set(ylabel="median error (%)", ylim=(least, most))
        plain_log(axes[0, 0].yaxis)
        axes[1, 0].set_ylabel("within one error (%)")
    return fig


def two_skies(seed: int = 0) -> Figure:
    """White noise and that of the survey, both of the same strength, and how alike neighbouring pixels are."""
    lags, looks = np.arange(5), {"white noise": (0.0, "0.6", "s"), "the survey's sky": (CORRELATION, "#0072B2", "o")}
    with canvas(WORDS["two_skies"], 4.4) as fig:
        *stamps, ax = fig.subplots(1, 3)
        for stamp, (name, (correlation, colour, marker)) in zip(stamps, looks.items(), strict=True):
            noise = sky_noise(np.random.default_rng(seed), (256, 256), NOISE, correlation)
            show_stamp(stamp, noise[:64, :64], vmin=-3 * NOISE, vmax=3 * NOISE)
            stamp.set_title(f"{name}: σ = {noise.std():.4f} e⁻/s")
            alike = [np.mean(noise * np.roll(noise, lag, axis=1)) / noise.var() for lag in lags]
            ax.plot(lags, alike, marker=marker, color=colour, label=name)
        ax.set_xticks(lags)
        ax.legend()
    return fig


def crowding(sample: Sample, n: int = 40, seed: int = 0, most: int = 6) -> Table:
    """Sky levels (sigma; the true one is 0) of stamps with 0 to `most` galaxies, by `fractions` and `plain` medians."""
    rows = []
    for members in range(most + 1):
        blends = draw_blends(sample, n, seed, members=members)
        images, sigma = observed(sample, blends), np.maximum(NOISE, _own_noise(sample) * _galaxies(blends))
        level = ops.convert_to_numpy(measure_sky(images)[0]) / sigma
        rows.append((members, *np.percentile(level, (50, 16, 84)), np.median(np.median(images, axis=(1, 2)) / sigma)))
    return Table(rows=rows, names=("galaxies", "bias", "low", "high", "plain"))


def crowded_sky(table: Table) -> Figure:
    """The sky level that is measured against the number of galaxies on the stamp, as from `crowding`."""
    last, colour = table[-1], COLOURS["methods"][2]
    with canvas(WORDS["crowded_sky"], 4.2, width=9.0, **last) as fig:
        ax = fig.subplots()
        ax.axhline(0, color="0.6", linewidth=1)
        ax.plot(table["galaxies"], table["plain"], "s--", color="0.6", label="median of all pixels")
        ax.fill_between(table["galaxies"], table["low"], table["high"], color=colour, alpha=0.25)
        inside = "inside fractions (band: 68 % of the stamps)"
        ax.plot(table["galaxies"], table["bias"], "D-", color=colour, label=inside)
        ax.set_xticks(table["galaxies"])
        ax.legend()
    return fig


def strange(sample: Sample, blends: Table, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Stamps that no network here is made for, (n, ny, nx), from blends of two, and which of `STRANGE` each is."""
    n, chance = len(blends), np.random.default_rng(seed).uniform(0.05, 0.95, (len(blends), 10))
    kind = np.arange(n) % KINDS
    chance[:, 0], chance[:, 2] = (kind + 0.5) / KINDS, 0.5 + chance[:, 2] / 2
    images = observed(sample, blends, noise=2.0), observed(sample, blends, noise=0.0)
    given = *images, np.full(n, 2 * NOISE), np.full(n, 2.0), chance
    odd, _ = strange_stamps(*(ops.convert_to_tensor(values.astype(np.float32)) for values in given))
    return ops.convert_to_numpy(odd), np.array(STRANGE)[kind]


def flagged(sample: Sample, network: Callable, images: np.ndarray, odd: np.ndarray, kinds: np.ndarray) -> Figure:
    """Four ordinary stamps and a strange one of each kind, and which of them the network flags."""
    first, words = np.unique(kinds, return_index=True)[1], (("not flagged", "#0072B2"), ("flagged", "#d55e00"))
    pictures, titles = np.concatenate([images[:4], odd[first]]), ["ordinary"] * len(images[:4]) + [*kinds[first]]
    flags = network(pictures)["out_of_domain"].astype(int).tolist()
    stamps = [Stamp(p, (), (), t, *words[f]) for p, t, f in zip(pictures, titles, flags, strict=True)]
    numbers = {"ordinary": sum(flags[:4]), "strange": sum(flags[4:]), "n": len(first)}
    sky = sky_noise(np.random.default_rng(0), images[:2].shape).astype(np.float32)
    rows = [stamps[i : i + 6] for i in range(0, len(stamps), 6)]
    return stamp_grid(replace(sample, sky_stamps=sky), rows, WORDS["flagged"], **numbers)


class TrustExplorer(AskingBoard):
    """Move a blend away from the world that networks are trained for, and see what their numbers are worth there.

    Of cleaned galaxies, best without noise (see `observed`), a slider chooses among the `blends`, recipes of pairs;
    `image` is the stamp shown now, (1, ny, nx), in e-/s times the units.
    """

    def __init__(self, sample: Sample, blends: Table, methods=("fractions", "SEP")):
        pairs = len(blends) and np.shape(blends["id"])[1] == 2
        require(pairs, f"{len(blends)} blends were given, expected at least one, of two galaxies each.")
        self.sample, self.blends = sample, blends
        self.methods = [Asked(name, method) for name, method in labelled(methods).items()]
        stamps = {"width": "470px", "max_width": "100%"}
        self.view, self.answer = view.StampsView(sigma=NOISE, layout=stamps), ipw.HTML()
        look = {"style": {"description_width": "10.5em"}, "layout": {"width": "28em", "max_width": "100%"}}
        least = max(0.5, round(_own_noise(sample) * 2**0.5 / NOISE, 1))
        has = f"yours: ≥ {least}" if least > 0.5 else "× survey's"
        here = {"noise": {"description": f"noise [{has}]", "value": max(1.0, least), "min": least}}
        self.blend = ipw.IntSlider(max=len(blends) - 1, description="blend", tooltip="Which of the blends", **look)
        looks = {name: (kind, look | about | here.get(name, {})) for name, (kind, about) in WORDS["sliders"].items()}
        self.sliders = {name: getattr(ipw, kind)(**about) for name, (kind, about) in looks.items()}
        for control in (self.blend, *self.sliders.values()):
            self.on(control, self._show)
        self._start = {name: control.value for name, control in self.sliders.items()}
        back = partial(self.put, self.sliders.values(), self._start.values())
        self.reset = self.on(ipw.Button(description="back to the survey"), back)
        controls = row(ipw.VBox([self.blend, *self.sliders.values(), self.reset]), self.view)
        super().__init__([controls, self.message, self.answer], layout={"max_width": "980px"})
        self._show(wait=True)

    def _show(self, wait=False):
        now = {name: control.value for name, control in self.sliders.items()}
        self.recipe = self.blends[self.blend.value :][:1]
        first, self.image = (observed(self.sample, self.recipe, **settings) for settings in (self._start, now))
        self.true = _true(self.recipe, now["third"])[0] * now["units"]
        pictures = {"under the survey's sky": first[0], "as you have made it": self.image[0] / now["units"]}
        self.view.show({name: Panel(name, pixels, np.percentile(first, 99.9)) for name, pixels in pictures.items()})
        self.ask(self.methods, self.image, self.recipe, wait)

    def _tell(self):
        if len(self.answers) < len(self.methods):
            return
        view.say(self.message, " ".join(why for _, why in self.answers.values() if why))
        tables = {method.name: table for method, (table, _) in self.answers.items() if table is not None}
        flags = {name: int(t["out_of_domain"][0]) for name, t in tables.items() if "out_of_domain" in t.colnames}
        said = "<br>".join(WORDS["flags"][flag].format(html.escape(name)) for name, flag in flags.items())
        self.answer.value = _chart(tables, self.true) + status(said)


def _chart(tables, true):
    """Measured over true flux of one blend's galaxies, with the errors that methods state, as an SVG picture."""
    rows, at = [], lambda ratio: _FROM + _WIDE * np.clip(ratio, -0.02, 2.02) / 2
    for k, (name, table) in ((k, item) for k in np.flatnonzero(np.isfinite(true)) for item in tables.items()):
        ratio, colour, said, shapes = table["flux"][0, k] / true[k], COLOURS[MEMBERS[k]], "not found", ""
        error = table["flux_err"][0, k] / true[k] if "flux_err" in table.colnames else np.nan
        if np.isfinite(ratio):
            said, shapes = f"{ratio:.3g}", f'<circle cx="{at(ratio):.1f}" r="6" fill="{colour}"/>'
        if np.isfinite(error):
            said += f" ± {error:.2g}: {abs(ratio - 1) / max(error, 1e-9):.1f} errors off"
            ends = f'x1="{at(ratio - error):.1f}" x2="{at(ratio + error):.1f}"'
            shapes += f'<line {ends} stroke="{colour}" stroke-width="5"/>'
        rows.append((f"{MEMBERS[k]}, {name}", shapes, said.replace("-", "−")))
    words = {0: "0", 0.5: "0.5", 1: "1", 1.5: "1.5", 2: "2 × the true flux"}
    ticks = [(at(tick), text, 2 if tick == 1 else 0.5) for tick, text in words.items()]
    return view.chart(rows, 24, _FROM + _WIDE + 20, ticks, "measured over true flux")
