"""Experiments that the notebooks run: what is asked of the kit, and the numbers, pictures and sliders that result."""

import os
import tomllib
from pathlib import Path

import ipywidgets as ipw
import numpy as np
from astropy.nddata import CCDData, add_array
from astropy.table import Column, Table
from matplotlib.figure import Figure
from scipy.ndimage import correlate

from ..data.cleaning import clean
from ..data.load import load_published, load_sample
from ..data.photometry import flux_auto
from ..data.remote import CHECKOUT, DownloadError, data_folder
from ..data.sample import ZEROPOINT, Sample
from ..data.simulate import BAD_KINDS, simulate
from ..data.sky import NOISE, sky_noise
from ..deblenders.base import CASES
from ..deblenders.base import NEAR as MATCHED
from ..deblenders.field import measure_field
from ..deblenders.network import Network
from ..figures.style import COLOURS, MEMBERS, canvas, method_styles, show_stamp, stretch
from ..metrics.scores import flux_scores, iou, measurements
from ..metrics.tables import table2
from ..networks.weights import shipped
from ..widgets import view

WORDS = tomllib.loads(Path(__file__).with_name("words.toml").read_text("utf-8"))
NEAR = 8  # pixels from the centre: inside, the light is counted with the first knob
_FROM, _WIDE, _MOST = 170, 330, 50  # where the axis of the chart begins, its length, and its end in %
IMAGE = "field/abell2744_f105w.fits.gz"  # 400 x 400 pixels of the Hubble Space Telescope, e-/s
_FAINT = 0.05  # of a galaxy's light: fainter neighbours do not trouble it
_BESIDE, _EDGE = ((0, 4), (6.3, 24)), 8  # lowest and highest angle and pixels from an object; pixels from the edge


class Readable(Table):
    """A table that is shown whole, and without the types of its columns."""

    def _repr_html_(self):
        return "\n".join(self.pformat(max_lines=-1, max_width=-1, html=True, show_dtype=False))


def formatted(rows, names, **formats) -> Table:
    """Rows as a table, some columns of which are printed in a format of their own."""
    table = Table(rows=rows, names=names)
    for name, form in formats.items():
        table[name].info.format = form
    return table


def plus_minus(table: Table, columns: str) -> Table:
    """Some columns of a table, to read: where it has a column of errors as well, they stand behind the numbers."""
    shown = Readable(table[columns.split()])
    for name in shown.colnames:
        if f"{name}_err" in table.colnames:
            form, pairs = table[name].info.format or ".1f", zip(table[name], table[f"{name}_err"], strict=True)
            texts = [f"{value:{form}} ± {error:{form}}" if np.isfinite(value) else "–" for value, error in pairs]
            shown[name] = Column(texts, unit=table[name].unit)
    return shown


def published() -> tuple[Table, dict[str, Table]] | tuple[None, None]:
    """The paper's blends and answers, as from `load_published`; twice None where they cannot be had, and a sentence."""
    try:
        theirs, paper = load_published()
    except DownloadError as why:
        print(f"You see the stored numbers of the published catalogue and not its figures: {why}")
        return None, None
    print(f"{len(theirs):,} blends; methods: {', '.join(paper)}.")
    return theirs, paper


def paper_cases(stored: Table) -> Table:
    """Shares of the detection cases among the paper's blends, as `case_shares` gives them, of its stored numbers."""
    here = (stored["method"] == "SExtractor") & (stored["member"] == "central") & np.isin(stored["case"], CASES)
    return stored[here]["case", "share", "share_err"]


class ExamSliders(view.Board):
    """Who does best when only some blends count? Sliders choose these by their distance and magnitude difference.

    `errors` are the mean and the median error (%) of each method's fluxes, and the share (%) that it did not find.
    """

    def __init__(self, blends: Table, predictions: dict[str, Table]):
        self.blends, self.looks, self.chart = blends, method_styles(predictions), ipw.HTML()
        self.rows = measurements(blends, predictions)
        self.near = np.asarray(blends["distance"] / np.max(blends["r_eff"], axis=1))
        self.delta, look = np.asarray(blends["delta_mag"]), {"description_width": "14em"}

        def between(text, tip, values):
            low, high = np.floor(2 * values.min()) / 2, np.ceil(2 * values.max()) / 2
            about = {"min": low, "max": high, "value": (low, high), "step": 0.25, "readout_format": ".2f"}
            about |= {"style": look, "layout": {"width": "38em", "max_width": "100%"}}
            return self.on(ipw.FloatRangeSlider(description=text, tooltip=tip, **about), self._show)

        self.distance = between("distance [larger radius]", "In effective radii of the larger galaxy", self.near)
        self.delta_mag = between("central − companion [mag]", "To the right the companion is brighter", self.delta)
        self.member = ipw.ToggleButtons(options=["both", *MEMBERS], description="whose flux", style=look)
        self.on(self.member, self._show)
        super().__init__([self.distance, self.delta_mag, self.member, self.message, self.chart])
        self._show()

    def _show(self):
        ranges = (self.distance.value, self.near), (self.delta_mag.value, self.delta)
        here = np.all([(low <= values) & (values <= high) for (low, high), values in ranges], axis=0)
        counts = here[self.rows["blend"]] & ((self.rows["member"] == self.member.value) | (self.member.value == "both"))
        off, self.errors = 100 * np.abs(np.asarray(self.rows["measured"] / self.rows["true"]) - 1), {}
        for name in self.looks if here.any() else ():
            mine = off[counts & (self.rows["method"] == name)]
            lost, mine = 100 * np.isnan(mine).mean(), np.nan_to_num(mine, nan=100)
            self.errors[name] = {"mean": mine.mean(), "median": np.median(mine), "not found": lost}
        said = f"<b>{here.sum():,} of {len(self.blends):,} blends count.</b>"
        few = " So few say little: widen the sliders." if here.sum() < 30 else ""
        self.chart.value = view.status(said + few) + _chart(self.errors, self.looks)

    def _repr_mimebundle_(self, **kwargs):
        return view.Freed._repr_mimebundle_(self, **kwargs) | {"text/html": self.chart.value}


def _chart(errors, looks):
    """A bar for each method's mean error, a line at its median, as an SVG picture."""
    rows, at = [], lambda percent: _FROM + _WIDE * min(percent, _MOST) / _MOST
    for name, got in errors.items():
        wide, median = at(got["mean"]) - _FROM, at(got["median"])
        bar = f'<rect x="{_FROM}" y="-13" width="{wide:.1f}" height="22" fill="{looks[name][0]}" opacity="0.45"/>'
        bar += f'<line x1="{median:.1f}" x2="{median:.1f}" y1="-17" y2="13" stroke="currentColor" stroke-width="4"/>'
        said = f"{'▸ ' if got['mean'] > _MOST else ''}mean {got['mean']:.1f} %, median {got['median']:.1f} %"
        said += f", not found {got['not found']:.0f} %" if got["not found"] >= 0.5 else ""
        rows.append((name, bar, said))
    ticks = [(at(tick), f"{tick}{' % error of the flux' * (tick == _MOST)}", 0.5) for tick in range(0, _MOST + 1, 10)]
    return view.chart(rows, 34, _FROM + _WIDE + 15, ticks, "error of each method")


def truth_check(n: int = 400, seed: int = 0) -> dict[str, float]:
    """What cleaning does to `n` synthetic galaxies: their FLUX_AUTO against that of the same without neighbours.

    Returns of the stamps kept the mean `bias` and the `scatter` of it (%), `good_dropped` (%); and of each kind of bad
    ones, as `planted_edge`, the number, and the share dropped, `caught_edge` (%, NaN where there is none).
    """
    sample = load_sample("synthetic", n=n, seed=seed)
    report, alone = clean(sample).report, clean(simulate(n, seed, neighbours=False)).report
    kept, bad = np.asarray(report["kept"]), np.asarray(sample.catalog["truth_bad"], str)
    good = kept & (bad == "")
    ratio = np.asarray(report["flux_auto"])[good] / np.asarray(alone["flux_auto"])[good]
    found = {"n": int(good.sum()), "bias": float(100 * (ratio.mean() - 1)), "scatter": float(100 * ratio.std())}
    found["good_dropped"] = float(100 * (~kept)[bad == ""].mean())
    for kind in BAD_KINDS:
        dropped = ~kept[bad == kind]
        found[f"caught_{kind}"] = float(100 * dropped.mean()) if len(dropped) else np.nan
        found[f"planted_{kind}"] = len(dropped)
    return found


def networks_of(home: str | os.PathLike, names: list[str], profile: str) -> tuple[dict[str, Network], list[str]]:
    """The networks that you trained in notebook 3 (folders in `home`), else the shipped ones; and which are yours."""
    yours = [name for name in names if profile != "quick" and any((Path(home) / name).glob("*.weights.h5"))]
    sources = {name: Path(home) / name if name in yours else name for name in names}
    return {n: Network(s, masks=n != "blend2flux", images=n == "fractions") for n, s in sources.items()}, yours


def shipped_networks() -> Table:
    """The networks that come with blendkit: size, training, and flux error (MAPE, %) on `simulated` and `real` ones."""
    rows = []
    for name, card in shipped().items():
        marks = (card["accuracy"][world].values() for world in ("synthetic", "real"))
        errors = [np.mean([member.get("mape", np.nan) for member in members]) for members in marks]
        said = ["–" if np.isnan(error) else f"{error:.1f}" for error in errors]
        rows.append((name, card["parameters"], card["n_galaxies"], card["epochs"], card["seconds"] / 60, *said))
    names = ["network", "parameters", "galaxies", "epochs", "minutes", "simulated", "real"]
    return formatted(rows, names, minutes=".0f")


def lone_objects(blends: Table, predictions: dict[str, Table], n_detected: np.ndarray) -> Table:
    """Errors of the central galaxy's flux where one object was found (`n_detected`), and where two or more were."""
    lone, true, rows = np.asarray(n_detected) == 1, np.asarray(blends["flux"])[:, 0], []
    for objects, here in {"one found": lone, "two or more found": ~lone}.items():
        for name, pred in predictions.items():
            got = flux_scores(true[here], np.asarray(pred["flux"])[here, 0])
            rows.append((objects, name, got["mape"], got["n"], got["failed"]))
    return formatted(rows, ["objects", "positions", "mape", "n", "failed"], mape=".1f")


def lone_light(blends: Table, pred: Table) -> dict[str, float]:
    """Of `n` lone detections of centrals: medians of flux `measured` and light `together`, in the central's flux."""
    lone, true = np.asarray(pred["case"]) == "only central", np.asarray(blends["flux"])
    own = true[lone, 0]
    measured, together = np.asarray(pred["flux"])[lone, 0] / own, np.nansum(true[lone], axis=1) / own
    return {"n": int(lone.sum()), "measured": float(np.median(measured)), "together": float(np.median(together))}


def error_ratios(errors: Table, ranking: Table, reference: str = "fractions") -> Table:
    """How many times a reference's flux errors others have, by `table2` (`measured`) and `ranking` (`everything`)."""
    measured, everything = _total(errors), {row["method"]: row["mape_all"] for row in ranking}
    rows = [(name, *(e[name] / e[reference] for e in (measured, everything))) for name in measured if name != reference]
    return formatted(rows, ["method", "measured", "everything"], measured=".1f", everything=".1f")


def mean_ious(masks: np.ndarray, predictions: dict[str, Table]) -> dict[str, list[float]]:
    """Mean intersection over union with the true masks (n, ny, nx, k), one per member, where a method gives masks."""
    drawn = {name: pred["masks"] for name, pred in predictions.items() if "masks" in pred.colnames}
    return {name: np.nanmean(iou(masks, mask), axis=0).tolist() for name, mask in drawn.items()}


def report_card(blends: Table, masks: np.ndarray, predictions: dict[str, Table]) -> Table:
    """What each method got in an exam, in words that fit a page: flux errors (MAPE, %), and the IoU with true masks."""
    errors, ious, rows = table2(blends, predictions), mean_ious(masks, predictions), []
    for method in predictions:
        members = {row["member"]: row for row in errors[errors["method"] == method]}
        said = [f"{members[name]['mape']:.1f} ± {members[name]['mape_err']:.1f}" for name in ("central", "companion")]
        drawn = f"{np.mean(ious[method]):.2f}" if method in ious else "–"
        rows.append((method, *said, members["total"]["failed"], drawn))
    return Table(rows=rows, names=["method", "central (%)", "companion (%)", "missing", "IoU"])


def beside_the_paper(stored: Table, errors: Table) -> Table:
    """Flux MAPE (%) of the paper's catalogue and of a run's `table2`; the paper's `scatter` of centrals (Figure 5)."""
    central, total = stored[(stored["case"] == "Figure 5") & (stored["member"] == "central")], _total(errors)
    there = {row["method"]: row["mape_flux"] for row in stored if row["member"] == "total"}
    rows = [(row["method"], row["scatter"], there[row["method"]], total.get(row["method"], np.nan)) for row in central]
    formats = {"scatter": ".2f", "in the paper": ".1f", "in this run": ".1f"}
    return formatted(rows, ["method", *formats], **formats)


def _total(errors):
    """Flux MAPE of each method over all members."""
    return {row["method"]: row["mape"] for row in errors if row["member"] == "total"}


def downhill(images: np.ndarray, fluxes: np.ndarray, rate: float = 0.2, epochs: int = 4, batch: int = 32) -> Figure:
    """The loss of a network with two knobs, and how training walks down into its valley.

    Its answer for the central galaxy is the light near the centre times one knob, and the other light times the second.
    Each step follows the slope that `batch` of the blends show, `rate` long on average in the first of the `epochs`.
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
    with canvas(WORDS["downhill"], 4.6) as fig:
        left, right = fig.subplots(1, 2, width_ratios=(1.15, 1))
        levels = loss.min() * np.array([1, 1.05, 1.2, 1.5, 2, 3, 4, 6, 8, 12])
        filled = left.contourf(*knobs, loss, levels=levels, cmap="Greys_r", norm="log", extend="max")
        bar = fig.colorbar(filled, ax=left, label="loss: MAPE (%)", format="%.0f")
        bar.set_ticks([tick for tick in (20, 30, 40, 60, 100, 200, 300) if levels[0] < tick < levels[-1]])
        bar.minorticks_off()
        left.plot(*np.transpose(path), "-", color=COLOURS["companion"], linewidth=1.5)
        left.plot(*np.transpose([path[0], *ends]), "o", color=COLOURS["companion"], markeredgecolor="white", zorder=5)
        left.set(xlim=(-0.3, 2.3), ylim=(-0.6, 1.6))
        right.plot(np.arange(len(losses)) / (len(path) - 1) * epochs, losses, color=COLOURS["companion"])
        right.set(ylim=(0, None), xticks=range(epochs + 1))
        right.set_title(f"the loss curve of this walk ends at {losses[-1]:.0f} %")
    return fig


def convolutions(image: np.ndarray, filters: dict[str, np.ndarray]) -> Figure:
    """An image (ny, nx) in e-/s and how well small patterns, by name, fit at every place; bad fits are zero (ReLU)."""
    with canvas(WORDS["convolutions"], 4.4) as fig:
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


def _at_hand(name: str) -> Path | None:
    """Where data lies that is not simulated: with the other galaxies, or in `shared/data` beside the checkout."""
    places = (home / name for home in (data_folder(), CHECKOUT.parent / "shared" / "data"))
    return next((place for place in places if place.exists()), None)


def open_field(seed: int = 0) -> CCDData:
    """A crowded piece of the real sky in e-/s where it is at hand, else one that is simulated; it says which."""
    if path := _at_hand(IMAGE):
        field = CCDData.read(path)
        print("The real sky:", *(field.header[key] for key in ("TELESCOP", "INSTRUME", "FILTER", "TARGNAME")))
        return field
    print(f"There is no {IMAGE} here, so this sky is SIMULATED: galaxies at random places, in a survey's noise.")
    rng = np.random.default_rng(seed)
    empty = CCDData(sky_noise(rng, (400, 400)), unit="electron / s", header={"MAGZERO": ZEROPOINT})
    galaxies = clean(load_sample("synthetic", n=100, seed=seed + 1, noise="none"))[:80]
    return put_in(empty, galaxies, *rng.integers(0, 400, (2, len(galaxies))), ZEROPOINT)


def known_galaxies(source: str = "synthetic", n: int = 100, seed: int = 0) -> Sample:
    """Galaxies without noise, so that their light is known: real ones where `source` is real and they are at hand."""
    if source == "synthetic" or not (folder := _at_hand("hst-noiseless")):
        return clean(load_sample("synthetic", n=n, seed=seed, noise="none"))
    stamps, table = np.load(folder / "stamps.npy")[:n], Table.read(folder / "catalogue.csv")[:n]
    table.rename_columns(["galtype", "radius"], ["morphology", "r_eff"])
    table["segval"], table["flux_auto"] = 1, flux_auto(stamps, segments := stamps > NOISE)
    return Sample(stamps, segments.astype(np.uint8), table, name="real HST galaxies", sky_stamps=0 * stamps[:1])


def put_in(field: CCDData, galaxies: Sample, x, y, zeropoint: float) -> CCDData:
    """The field with galaxies' light added, one at each pixel (x, y), the field's edge cutting off what is beyond."""
    new, light = field.copy(), galaxies.images * np.float32(10 ** (0.4 * (zeropoint - galaxies.zeropoint)))
    new.data = np.array(field.data, np.float32)
    for image, *at in zip(light, y, x, strict=True):
        add_array(new.data, image, at)
    return new


def recovered(field: CCDData, catalogue: Table, galaxies: Sample, n: int = 12, rounds: int = 3, seed: int = 0) -> Table:
    """What comes back of galaxies that are put into a field whose own objects are in the catalogue, `n` in each round.

    Every other one lands beside an object. A row for each: `true` flux and `mag`; `near`, pixels to the nearest object
    with a twentieth of its light; `flux`, `flux_err`, `sep_flux` of what was found at its place, NaN if nothing was.
    """
    rng, rows, zeropoint = np.random.default_rng(seed), [], catalogue.meta["zeropoint"]
    true = np.asarray(galaxies.catalog["flux_auto"]) * 10 ** (0.4 * (zeropoint - galaxies.zeropoint))
    objects, n = np.stack([catalogue["y"], catalogue["x"]], axis=1), min(n, len(galaxies))
    hosts = objects[catalogue["flux"] >= min(_FAINT * np.median(true), max(catalogue["flux"]))]
    for _ in range(rounds):
        some, (angle, far) = rng.choice(len(true), n, replace=False), rng.uniform(*_BESIDE, (n, 2)).T
        beside = rng.choice(hosts, n) + (far * [np.sin(angle), np.cos(angle)]).T
        places = np.where(np.arange(n)[:, None] % 2, beside, rng.random((n, 2)) * field.shape)
        places = np.clip(np.rint(places).astype(int), _EDGE, np.subtract(field.shape, _EDGE + 1))
        found = measure_field(put_in(field, galaxies[some], *places.T[::-1], zeropoint), zeropoint)
        spots, lights = np.concatenate([objects, places]), np.concatenate([catalogue["flux"], true[some]])
        for k, (i, place) in enumerate(zip(some, places, strict=True)):
            apart = np.hypot(*(spots - place).T)
            apart[len(objects) + k] = np.inf
            near = min(apart[lights > _FAINT * true[i]])
            away = np.hypot(found["y"] - place[0], found["x"] - place[1])
            here = min(away, default=np.inf) <= max(MATCHED, galaxies.catalog["r_eff"][i])
            measured = [found[name][np.argmin(away)] if here else np.nan for name in ("flux", "flux_err", "sep_flux")]
            rows.append((*place[::-1], zeropoint - 2.5 * np.log10(true[i]), near, true[i], *measured))
    names = ["x", "y", "mag", "near", "true", "flux", "flux_err", "sep_flux"]
    return formatted(rows, names, **dict.fromkeys(names[2:], ".2f"))
