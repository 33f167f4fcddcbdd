"""Deblenders: callables that take blends, shape (n, ny, nx), and return a table with the two fluxes of each."""

from __future__ import annotations

import inspect
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .photometry import FLUX_KINDS, Detections, detect, map_stamps

if TYPE_CHECKING:
    import keras
    from astropy.table import Table

CENTRAL_WITHIN = 0.5  # in R_cen: how near the centre a single detection must be to count as the central galaxy
SMALL_BATCH = 500  # stamps that one process measures before the others would have started
IN_THE_CENTRE = "pixels only: the network knows that the central galaxy is in the centre"
PICTURES = {"masks": bool, "images": np.float32}  # what a network gives for each pixel
PIXELS_ONLY = "pixels only: nearest the centre is the central galaxy, the brightest other one the companion"
TRUE_POSITIONS = "true positions of both galaxies known (paper, section 3.3)"
THRESHOLD = 0.5  # above it a pixel belongs to a galaxy
XLA_PAYS = ("fractions",)  # under TensorFlow on CPUs: 1.5 times as fast, the paper's networks half as fast
LABELS = {
    "isophotal": "SEP isophotal",
    "kron": "SEP Kron",
    "kron_masked": "SEP Kron, neighbour masked",
}
_OTHER_LENGTH = "there are {images} images and {truth} rows of truth, expected one each: give the same slice of both."
_CLASSICAL = ("SEP", "sersic")
_REGISTERED = {}  # what `register` was given


def __getattr__(name):
    if name == "Sersic":  # its home loads astropy and scipy
        from .sersic import Sersic

        return Sersic
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@dataclass
class SEP:
    """SExtractor, through its library version SEP, as in the paper (section 3.3, Table 3).

    Parameters
    ----------
    truth : astropy.table.Table, optional
        The blends' recipes. With it, detections are matched to both true positions as in the paper: of more than two
        the two brightest are kept; two go to the true positions, each to one, so that the sum of distances is
        smallest; a single one is the central galaxy if it lies within 0.5 R_cen of the centre, else the companion.
        Without it SEP knows only pixels: the detection nearest the centre is the central galaxy, the brightest
        other one the companion.
    flux : {"kron_masked", "kron", "isophotal"}
        Kron flux with the neighbours' segments blanked (FLUX_AUTO, the best), Kron flux, or the light inside
        the object's own segment (the paper's published code).
    masks : bool
        Whether to return the matched segments as masks, shape (ny, nx, 2) for each blend.
    n_jobs : int, optional
        Processes; default all cores.

    Raises
    ------
    ValueError
        Where `flux` is none of the three.

    Notes
    -----
    A stamp on which SEP fails (NaN pixels, no noise, a full buffer) gives NaN and is counted in ``meta["failed"]``.
    """

    truth: Table | None = None
    flux: str = "kron_masked"
    masks: bool = False
    n_jobs: int | None = None

    def __post_init__(self):
        if self.flux not in FLUX_KINDS:
            raise ValueError(f"flux = {self.flux!r} was asked for, expected one of {', '.join(FLUX_KINDS)}.")

    def __call__(self, images: np.ndarray) -> Table:
        """Measure blends.

        Parameters
        ----------
        images : array of float, shape (n, ny, nx), e-/s

        Returns
        -------
        astropy.table.Table
            `flux_central`, `flux_companion` (e-/s, NaN where nothing was found), `n_detected`, `case` ("both",
            "only central", "only companion", "more", "none"), and `masks` if asked for. ``meta`` tells how positions
            were `matching` and how many stamps `failed`.

        Raises
        ------
        ValueError
            Where the images are no stack, or not as many as the rows of `truth`.
        """
        return _tables(images, self.truth, (self.flux,), self.masks, self.n_jobs)[self.flux]


@dataclass(eq=False)
class Network:
    """A trained network (sections 3.1 and 3.2).

    Parameters
    ----------
    source : str, path or keras.Model
        A name in `blendkit.weights.shipped`, a path that `blendkit.weights.load` knows, or a network in memory. It is
        loaded at once and stays; a network in memory is not copied.
    batch : int
        Stamps that go through the network together; memory does not grow beyond what one batch needs.
    masks : bool
        Whether to return masks of both galaxies, shape (ny, nx, 2) for each blend: where the network gives more than
        0.5.
    images : bool
        Whether to return the separated galaxies, float32, e-/s, of the same shape.

    Attributes
    ----------
    card : dict
        What is known of the training; empty for a ``.keras`` file and for a network in memory that neither
        `blendkit.train` nor `blendkit.weights.load` gave.
    name : str
        What tables of scores call the method.

    Raises
    ------
    FileNotFoundError, ValueError
        Where there are no such weights, or they are refused; see `blendkit.weights.load`. Where masks or images are
        asked of a network that gives none.

    Notes
    -----
    The network is compiled at the first call, once for single stamps and once for stacks, of which the last batch is
    filled up.
    """

    source: str | os.PathLike | keras.Model
    batch: int = 64
    masks: bool = False
    images: bool = False

    def __post_init__(self):
        from .quiet import load_keras
        from .weights import card_of, load

        keras = load_keras()
        if not isinstance(self.batch, int | np.integer) or self.batch < 1:
            raise ValueError(f"batch = {self.batch!r} was given, expected a whole number of at least 1.")
        known = isinstance(self.source, keras.Model)
        network, self.card = (self.source, card_of(self.source)) if known else load(self.source)
        self.name = self.card.get("name") or (network.name if known else Path(self.source).name.split(".")[0])
        self._model, self._gives, self._note = self._inference(network)
        self._one_at_a_time = threading.Lock()

    def __call__(self, images: np.ndarray) -> Table:
        """Measure blends.

        Parameters
        ----------
        images : array of numbers, shape (n, ny, nx), e-/s
            May lie on disk (`numpy.memmap`): one batch is read at a time.

        Returns
        -------
        astropy.table.Table
            `flux_central`, `flux_companion` (e-/s, NaN for a stamp with NaN or infinite pixels); `flux_central_err`,
            `flux_companion_err` (one sigma) where the network predicts them; `masks` and `images` if asked for.
            ``meta`` holds the `method`, how positions were `matching`, how many stamps `failed` and, where the network
            has a card, which galaxies it was `trained_on`: `blendkit.metrics.scores` refuses these.

        Raises
        ------
        ValueError
            Where the images are no stack, or stamps of another size than the network's.
        """
        from astropy.table import Table
        from tqdm import tqdm

        images = check_images(images)
        n, shape, expected = len(images), images.shape[1:], self._model.input_shape[1:3]
        if any(want not in (None, given) for want, given in zip(expected, shape, strict=True)):
            raise ValueError(
                f"the blends are stamps of shape {shape}, expected {expected}, on which {self.name!r} was trained: "
                "cut the stamps to this size around the central galaxy, or train a network on yours."
            )
        columns = {key: np.empty((n, 2)) for key in self._gives if key in ("fluxes", "errors")}
        columns |= {key: np.empty((n, *shape, 2), dtype) for key, dtype in PICTURES.items() if key in self._gives}
        size = 1 if n == 1 else self.batch
        block = np.zeros((size, *shape, 1), np.float32)
        with tqdm(total=n, desc=self.name, disable=None if n > size else True, leave=False) as bar:
            for start in range(0, n, size):
                rows = slice(start, min(start + size, n))
                used = rows.stop - rows.start
                with np.errstate(over="ignore"):
                    block[:used, ..., 0] = images[rows]
                bad = ~np.isfinite(block).all(axis=(1, 2, 3))
                block[bad] = 0
                with self._one_at_a_time:
                    answer = self._model.predict_on_batch(block)
                for key, column in columns.items():
                    column[rows] = answer[key][:used]
                    column[rows][bad[:used]] = False if column.dtype == bool else np.nan
                bar.update(used)
        fluxes = {f"flux_{galaxy}{end}": columns[key][:, k] for key, end in (("fluxes", ""), ("errors", "_err"))
                  if key in columns for k, galaxy in enumerate(("central", "companion"))}  # fmt: skip
        for flux in fluxes.values():
            flux[~np.isfinite(flux)] = np.nan
        table = Table(fluxes | {key: columns[key] for key in PICTURES if key in columns}, copy=False)
        failed = np.isnan(columns["fluxes"]).any(axis=1)
        table.meta = {"method": self.name, "matching": IN_THE_CENTRE, "failed": int(failed.sum())}
        if self._note:
            table.meta["note"] = self._note
        if self.card:
            table.meta["trained_on"] = {key: list(self.card.get(key, [])) for key in ("seeds", "galaxies")}
        return table

    def _inference(self, network):
        """The network in a shell that gives what is asked for and nothing else, compiled for itself."""
        import keras
        from keras import ops

        from .models import as_dict

        inputs = [tuple(tensor.shape) for tensor in getattr(network, "inputs", None) or ()]
        if len(inputs) != 1 or len(inputs[0]) != 4 or inputs[0][-1] != 1:
            raise ValueError(
                f"{self.name!r} takes inputs of shapes {inputs}, expected a single one, (n, ny, nx, 1): give a "
                "functional model from blends to fluxes or masks, as those of blendkit.models."
            )
        blend = keras.Input(inputs[0][1:], dtype="float32", name="blends")
        given, note = as_dict(network(blend)), None
        for key in ("masks", "images"):
            if getattr(self, key) and key not in given:
                raise ValueError(
                    f"{key}=True was asked of {self.name!r}, which gives {', '.join(given)}: leave it out, or use a "
                    f"network that gives {key}, such as 'fractions'."
                )
        wanted = {key: given[key] for key in ("fluxes", "errors") if key in given}
        if "fluxes" not in given:
            if "masks" not in given:
                raise ValueError(
                    f"{self.name!r} gives {', '.join(given)}, expected fluxes or masks: train it for these."
                )
            wanted["fluxes"] = ops.sum(ops.where(given["masks"] > THRESHOLD, blend, 0.0), axis=(1, 2))
            note = "flux is the light of the blend inside each mask: where masks overlap, it counts for both galaxies"
        if self.masks:
            wanted["masks"] = given["masks"] > THRESHOLD
        if self.images:
            wanted["images"] = ops.cast(given["images"], "float32")
        model = keras.Model(blend, wanted, name=f"measure_{network.name}")
        if keras.config.backend() == "tensorflow" and network.name in XLA_PAYS:
            model.jit_compile = True
        return model, tuple(wanted), note


def sep_baselines(images: np.ndarray, truth: Table | None = None, n_jobs: int | None = None) -> dict[str, Table]:
    """The three fluxes that SEP offers, from one run: `SEP` with each kind of flux, by label.

    Parameters
    ----------
    images, truth, n_jobs
        As for `SEP`.

    Returns
    -------
    dict of str to astropy.table.Table

    Raises
    ------
    ValueError
        As a call of `SEP`.
    """
    tables = _tables(images, truth, FLUX_KINDS, False, n_jobs)
    return {LABELS[kind]: table for kind, table in tables.items()}


def register(name: str, deblender: Callable | None = None, *, replace: bool = False) -> Callable:
    """Give a method a name, under which `measure` finds it.

    Parameters
    ----------
    name : str
        Spaces around it do not count, nor do capitals where it is that of a built-in method: "sep" is "SEP".
    deblender : callable, optional
        Takes images, shape (n, ny, nx), e-/s, and returns a table, or a dict of arrays, with `flux_central` and
        `flux_companion`, one number per blend, NaN where nothing was found. Where it has a parameter called `truth`, it
        is given the blends' recipes too. Left out, `register` is a decorator: ``@register("half each")``.
    replace : bool
        Whether the name may be one that is in use.

    Returns
    -------
    callable
        The deblender as it was given.

    Raises
    ------
    ValueError
        Where the name is empty or in use, or the deblender cannot be called or is a class.
    """
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"the name {name!r} was given, expected a text to call the method by, such as 'half each'.")
    name = {known.lower(): known for known in _built_in()}.get(name.strip().lower(), name.strip())
    if name in registered() and not replace:
        raise ValueError(
            f"the name {name!r} is in use already, expected a new one: choose another, or give replace=True."
        )
    if deblender is None:
        return lambda function: register(name, function, replace=replace)
    if not callable(deblender):
        raise ValueError(
            f"{name!r} was registered with a {type(deblender).__name__}, expected a function that takes images, "
            "shape (n, ny, nx), and returns a table with flux_central and flux_companion."
        )
    _refuse_class(name, deblender)
    _REGISTERED[name] = deblender
    return deblender


def registered() -> tuple[str, ...]:
    """The names that `measure` knows.

    Returns
    -------
    tuple of str
        SEP, the Sersic fit, the weights that come with the package, and what `register` was given.
    """
    return tuple(dict.fromkeys([*_built_in(), *_REGISTERED]))


def _built_in():
    from .weights import shipped

    return *_CLASSICAL, *shipped()


def _refuse_class(label, deblender):
    if inspect.isclass(deblender):
        raise ValueError(
            f"the method {label!r} is the class {deblender.__name__}, expected what measures images when it is called: "
            f"make one, as in {deblender.__name__}()."
        )


def measure(
    images: np.ndarray, methods: Iterable[str] | Mapping[str, str | Callable], truth: Table | None = None
) -> dict[str, Table]:
    """Put several methods to the same blends.

    Parameters
    ----------
    images : array of float, shape (n, ny, nx), e-/s
    methods : sequence of str, or mapping of str to str or callable
        Names from `registered`; or under labels of your own such names and deblenders. A function of yours gets a copy
        of the images and may change it.
    truth : astropy.table.Table, optional
        The blends' recipes, for the deblenders that take them: `SEP` and the Sersic fit then know both positions, and a
        function with a parameter `truth` is given them, unless `functools.partial` has set it. With it every table is
        checked as by `blendkit.metrics.check_predictions`, but that a method may have found nothing.

    Returns
    -------
    dict of str to astropy.table.Table
        What each method gave, ``meta["seconds_per_blend"]`` added: wall clock of the call. A network is called on two
        blends before, since its first call compiles.

    Raises
    ------
    ValueError
        Where there is no method, a name or label is none, a method is a class or needs the `truth` that is not there, a
        method's answer is no table of fluxes for these blends, or `truth` is not theirs.
    RuntimeError
        Where a method fails; the message names it. Nothing is kept of those before it.
    """
    images = check_images(images)
    if truth is not None and len(truth) != len(images):
        raise ValueError(_OTHER_LENGTH.format(images=len(images), truth=len(truth)))
    tables = {}
    for label, (deblender, arguments) in _chosen(methods, truth).items():
        try:
            if isinstance(deblender, Network):
                deblender(images[:2])
            given = images if isinstance(deblender, Network | SEP) else images.copy()
            start = time.perf_counter()
            answer = deblender(given, **arguments)
            seconds = time.perf_counter() - start
        except Exception as error:
            raise RuntimeError(f"the method {label!r} failed with {type(error).__name__}: {error}") from error
        tables[label] = checked(label, answer, len(images), truth)
        tables[label].meta["seconds_per_blend"] = seconds / len(images) if len(images) else np.nan
    return tables


def _chosen(methods, truth):
    """Under each label the deblender and what it takes beside the images, before any of them is called."""
    if not isinstance(methods, Mapping):
        names = list(methods) if isinstance(methods, Iterable) and not isinstance(methods, str) else [None]
        if not all(isinstance(name, str) for name in names):
            raise ValueError(
                f"methods = {methods!r} was given, expected names: give a list such as ['SEP', 'sersic'], or "
                "{label: function} for functions of your own."
            )
        methods = {name: name for name in names}
    if not methods:
        raise ValueError(f"no method was given, expected at least one: choose among {', '.join(registered())}.")
    for label, method in methods.items():
        if not isinstance(label, str):
            raise ValueError(f"a method is called {label!r}, expected a text: give for example {str(label)!r}.")
        _refuse_class(label, method)
    deblenders = {label: method if callable(method) else by_name(method, truth) for label, method in methods.items()}
    return {label: (deblender, _with_truth(label, deblender, truth)) for label, deblender in deblenders.items()}


def check_name(name: str) -> None:
    """Refuse a method that `registered` does not know.

    Parameters
    ----------
    name : str

    Raises
    ------
    ValueError
        Where there is no such method; the message names the closest.
    """
    if not isinstance(name, str) or name not in registered():
        raise ValueError(f"there is no method {name!r}, expected {_closest(name)}, or a function under a label.")


def by_name(name: str, truth: Table | None = None) -> Callable:
    """The deblender of a name in `registered`, which for a network loads its weights.

    Parameters
    ----------
    name : str
    truth : astropy.table.Table, optional
        The blends' recipes, for `SEP` and the Sersic fit.

    Returns
    -------
    callable

    Raises
    ------
    ValueError
        Where there is no such method.
    """
    from .weights import shipped

    check_name(name)
    if name in _REGISTERED:
        return _REGISTERED[name]
    if name in shipped():
        return Network(name)
    return {"SEP": SEP, "sersic": __getattr__("Sersic")}[name](truth=truth)


def _closest(name):
    from difflib import get_close_matches

    known = {known.lower(): known for known in registered()}
    near = get_close_matches(str(name).lower(), known, n=3, cutoff=0.5) or list(known)
    return "one of " + ", ".join(repr(known[key]) for key in near) if len(near) > 1 else repr(known[near[0]])


def _with_truth(label, deblender, truth):
    """The keyword `truth`, for a deblender that has such a parameter and no value of its own to keep."""
    if isinstance(deblender, partial) and "truth" in deblender.keywords:
        return {}
    try:
        parameter = inspect.signature(deblender).parameters.get("truth")
    except (TypeError, ValueError):  # a built-in without a signature
        return {}
    if parameter is None:
        return {}
    if truth is not None:
        return {"truth": truth}
    if parameter.default is parameter.empty:
        raise ValueError(f"the method {label!r} takes the blends' recipes and there are none: give truth=blends.")
    return {}


def checked(label: str, answer: Table | Mapping, n: int, truth: Table | None = None) -> Table:
    """A method's answer as a table of its own.

    Parameters
    ----------
    label : str
        What messages call the method.
    answer : astropy.table.Table or mapping of str to array
    n : int
        Number of blends.
    truth : astropy.table.Table, optional
        Their recipes: with them the answer's ids are compared, and a network trained on these galaxies is refused.

    Returns
    -------
    astropy.table.Table
        With a ``meta`` of its own; the columns are not copied.

    Raises
    ------
    ValueError
        Where the answer is no table of fluxes for these blends; see `blendkit.metrics.check_predictions`. A method may
        have found nothing, and there may be no blends.
    """
    from astropy.table import Table

    from .metrics import _check_columns, _same_ids, check_unseen

    if not isinstance(answer, Table | Mapping):
        raise ValueError(
            f"the method {label!r} returned a {type(answer).__name__}, expected a table, or a dict of arrays, with "
            "flux_central and flux_companion."
        )
    meta = dict(getattr(answer, "meta", {}))
    try:
        table = Table(answer, copy=False)
    except Exception as error:
        raise ValueError(
            f"the method {label!r} returned a dict that is no table ({error}), expected arrays of one length: "
            "give one number per blend, NaN where nothing was found."
        ) from error
    table.meta = meta
    name = f"The predictions of {label!r}"
    _check_columns(range(n), table, name)
    if truth is not None:
        _same_ids(truth, table, name)
        check_unseen(truth, table, name)
    return table


def match_positions(found: Detections, centre: tuple[int, int], dx: int, dy: int, r_central: float) -> tuple[int, int]:
    """Which detections are the central galaxy and the companion, both true positions known (section 3.3).

    Parameters
    ----------
    found : Detections
    centre : (row, column)
        True position of the central galaxy.
    dx, dy : int
        True shift of the companion, pixels.
    r_central : float
        Effective radius of the central galaxy, pixels.

    Returns
    -------
    central, companion : int
        Indices into `found`; -1 for a galaxy that was not detected.
    """
    if not len(found):
        return -1, -1
    to_central = np.hypot(found.x - centre[1], found.y - centre[0])
    if len(found) == 1:
        return (0, -1) if to_central[0] < CENTRAL_WITHIN * r_central else (-1, 0)
    to_companion = np.hypot(found.x - centre[1] - dx, found.y - centre[0] - dy)
    first, second = np.argsort(-found.isophotal, kind="stable")[:2].tolist()
    if to_central[first] + to_companion[second] <= to_central[second] + to_companion[first]:
        return first, second
    return second, first


def match_pixels(found: Detections, centre: tuple[int, int]) -> tuple[int, int]:
    """The detection nearest the centre, and the brightest other one; -1 where there is none.

    Parameters
    ----------
    found : Detections
    centre : (row, column)

    Returns
    -------
    central, companion : int
    """
    if not len(found):
        return -1, -1
    central = int(np.argmin(np.hypot(found.x - centre[1], found.y - centre[0])))
    if len(found) == 1:
        return central, -1
    brightness = found.isophotal.copy()
    brightness[central] = -np.inf
    return central, int(np.argmax(brightness))


def case_of(central: int, companion: int, n_detected: int) -> str:
    """The detection case of a matched stamp.

    Parameters
    ----------
    central, companion : int
        As from `match_positions` and `match_pixels`.
    n_detected : int

    Returns
    -------
    str
        One of `blendkit.metrics.CASES`.
    """
    if n_detected > 2:
        return "more"
    return {(True, True): "both", (True, False): "only central", (False, True): "only companion"}.get(
        (central >= 0, companion >= 0), "none"
    )


def true_positions(images: np.ndarray, truth: Table | None) -> tuple[list, str]:
    """What a deblender may know of the positions in each blend, and the sentence for ``meta["matching"]``.

    Parameters
    ----------
    images : array, shape (n, ny, nx)
    truth : astropy.table.Table or None
        The blends' recipes, or None where only the pixels are to be used.

    Returns
    -------
    positions : list
        For each blend (dx, dy, r_eff_central) as `match_positions` takes them, or None.
    matching : str

    Raises
    ------
    ValueError
        Where `truth` lacks a column, or has another length than `images`.
    """
    if truth is None:
        return [None] * len(images), PIXELS_ONLY
    missing = [name for name in ("dx", "dy", "r_eff_central") if name not in truth.colnames]
    if missing:
        raise ValueError(f"truth lacks {', '.join(missing)}, expected the blends' table: give what draw_blends made.")
    if len(truth) != len(images):
        raise ValueError(_OTHER_LENGTH.format(images=len(images), truth=len(truth)))
    positions = zip(*(np.asarray(truth[c]).tolist() for c in ("dx", "dy", "r_eff_central")), strict=True)
    return list(positions), TRUE_POSITIONS


def check_images(images) -> np.ndarray:
    """A stack of stamps, if it is one.

    Parameters
    ----------
    images : array_like

    Returns
    -------
    array of numbers, shape (n, ny, nx)
        Not a copy where an array was given.

    Raises
    ------
    ValueError
        Anything else than numbers of this shape.
    """
    images = np.asarray(images)
    if images.ndim != 3 or images.dtype.kind not in "fiu":
        raise ValueError(
            f"the blends have shape {images.shape} and type {images.dtype}, expected numbers of shape (n, ny, nx): "
            "give a single stamp as image[None]."
        )
    return images


def _tables(images, truth, kinds, masks, n_jobs):
    from astropy.table import Table

    images = check_images(images)
    n, centre = len(images), (images.shape[1] // 2, images.shape[2] // 2)
    positions, matching = true_positions(images, truth)
    work = [(image, centre, position, kinds, masks) for image, position in zip(images, positions, strict=True)]
    rows = map_stamps(_measure, work, n, n_jobs=1 if n <= SMALL_BATCH else n_jobs, desc="SEP")
    tables = {}
    for k, kind in enumerate(kinds):
        fluxes = np.array([row["fluxes"][k] for row in rows]).reshape(n, 2)
        meta = {"method": LABELS[kind], "matching": matching, "failed": sum(row["failed"] for row in rows)}
        tables[kind] = Table({
            "flux_central": fluxes[:, 0],
            "flux_companion": fluxes[:, 1],
            "n_detected": np.array([row["n_detected"] for row in rows], int),
            "case": np.array([row["case"] for row in rows], "U14"),
        }, meta=meta)  # fmt: skip
        if masks:
            tables[kind]["masks"] = np.array([row["masks"] for row in rows]).reshape(n, *images.shape[1:], 2)
    return tables


def _measure(work):
    image, centre, position, kinds, masks = work
    shape = (*image.shape, 2)
    try:
        found = detect(image)
    except Exception:  # SEP raises bare Exceptions; this stamp is counted as failed and the others go on
        return {
            "fluxes": np.full((len(kinds), 2), np.nan),
            "n_detected": 0,
            "case": "none",
            "failed": True,
            "masks": np.zeros(shape, bool) if masks else None,
        }
    if position is None:
        pair = match_pixels(found, centre)
    else:
        dx, dy, r_central = position
        pair = match_positions(found, centre, dx, dy, r_central)
    fluxes = [[getattr(found, kind)[i] if i >= 0 else np.nan for i in pair] for kind in kinds]
    segments = [found.segmap == i + 1 if i >= 0 else np.zeros(image.shape, bool) for i in pair]
    return {
        "fluxes": fluxes,
        "n_detected": len(found),
        "case": case_of(*pair, len(found)),
        "failed": False,
        "masks": np.stack(segments, -1) if masks else None,
    }
