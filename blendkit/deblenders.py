"""Deblenders: callables that take blends, shape (n, ny, nx), and return a table with the two fluxes of each."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
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
THRESHOLD = 0.5  # above it a pixel belongs to a galaxy
XLA_PAYS = ("fractions",)  # under TensorFlow on CPUs: 1.5 times as fast, the paper's networks half as fast
LABELS = {
    "isophotal": "SEP isophotal",
    "kron": "SEP Kron",
    "kron_masked": "SEP Kron, neighbour masked",
}


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
    """
    tables = _tables(images, truth, FLUX_KINDS, False, n_jobs)
    return {LABELS[kind]: table for kind, table in tables.items()}


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
    """The detection case of a matched stamp, in the words of `blendkit.metrics.CASES`."""
    if n_detected > 2:
        return "more"
    return {(True, True): "both", (True, False): "only central", (False, True): "only companion"}.get(
        (central >= 0, companion >= 0), "none"
    )


def check_images(images) -> np.ndarray:
    """A stack of stamps, or a ValueError that says what was given."""
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
    if truth is None:
        positions = [None] * n
        matching = "pixels only: nearest the centre is the central galaxy, the brightest other one the companion"
    else:
        missing = [name for name in ("dx", "dy", "r_eff_central") if name not in truth.colnames]
        if missing:
            raise ValueError(
                f"truth lacks {', '.join(missing)}, expected the blends' table: give what draw_blends made."
            )
        if len(truth) != n:
            raise ValueError(
                f"there are {n} images and {len(truth)} rows of truth, expected one each: give the same slice of both."
            )
        positions = list(zip(*(np.asarray(truth[c]).tolist() for c in ("dx", "dy", "r_eff_central")), strict=True))
        matching = "true positions of both galaxies known (paper, section 3.3)"
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
