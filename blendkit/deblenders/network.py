"""Trained networks as deblenders."""

import os
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table
from tqdm import tqdm

from ..data.check import require
from ..networks.backend import Model, load_keras
from ..networks.weights import brief, card_of, load
from .base import PICTURES, check_images

IN_THE_CENTRE = "pixels only: the network knows that the central galaxy is in the centre"
INSIDE_MASKS = "flux is the light of the blend inside each mask: where masks overlap, it counts for both galaxies"
THRESHOLD = 0.5  # above it a pixel belongs to a galaxy
NOTHING = 6  # times the noise of means of 5 x 5 pixels: where none is brighter there is sky (1 noise in 2,500 has one)
XLA_PAYS = ("fractions",)  # under TensorFlow on CPUs: 1.5 times as fast, the paper's networks half as fast


@dataclass(eq=False)
class Network:
    """A trained network (sections 3.1 and 3.2).

    Parameters
    ----------
    source : str, path or keras.Model
        A name in `blendkit.weights.shipped`, a path that `blendkit.weights.load` knows, or a network in memory, which
        is not copied. `card` is then what is known of its training, and `name` what tables of scores call it.
    batch : int; stamps that go through the network together: memory does not grow beyond what one batch needs
    masks, images : bool
        Whether to return masks (where the network gives more than 0.5) and separated galaxies (float32, e-/s), shape
        (ny, nx, k) for each blend.
    """

    source: str | os.PathLike | Model
    batch: int = 64
    masks: bool = False
    images: bool = False

    def __post_init__(self):
        keras = load_keras()
        require(self.batch >= 1, f"batch = {self.batch!r} was given, expected a whole number of at least 1.")
        known = isinstance(self.source, keras.Model)
        network, self.card = (self.source, card_of(self.source)) if known else load(self.source)
        self.name = self.card.get("name") or (network.name if known else Path(self.source).name.split(".")[0])
        self._model, self._note = self._inference(network)
        self._one_at_a_time = threading.Lock()

    def __call__(self, images: np.ndarray) -> Table:
        """Measure blends, (n, ny, nx) in e-/s; they may lie on disk (`numpy.memmap`): one batch is read at a time.

        Returns `flux` (n, k), e-/s, NaN for a stamp with NaN or infinite pixels and, from a network with a card, for
        one on which nothing is above the sky; where the network tells them, `flux_err` (one sigma) and `out_of_domain`,
        whether a stamp is unlike all that it was trained on. ``meta`` tells how positions were `matching`, how many
        stamps `failed` and what it was `trained_on`, which `blendkit.scores` refuses. The first call compiles.
        """
        images = check_images(images)
        n, shape, expected = len(images), images.shape[1:], self._model.input_shape[1:3]
        told = f"the blends are stamps of shape {shape}, expected {expected}, on which {self.name!r} was trained"
        good = all(want in (None, given) for want, given in zip(expected, shape, strict=True))
        require(good, f"{told}: cut them to this size around the central galaxy, or train a network on yours.")
        outputs = {key: tensor.shape[1:] for key, tensor in self._model.output.items()}
        size, kinds = 1 if n == 1 else self.batch, PICTURES | {"out_of_domain": bool}
        columns = {key: np.empty((n, *tail), kinds.get(key, float)) for key, tail in outputs.items()}
        block = np.zeros((size, *shape, 1), np.float32)
        for start in tqdm(range(0, n, size), desc=self.name, disable=None if n > size else True, leave=False):
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
                column[rows][bad[:used]] = key == "out_of_domain" if column.dtype == bool else np.nan
        for key in {"flux", "flux_err"} & set(columns):
            columns[key][~np.isfinite(columns[key])] = np.nan
        table = Table(columns, copy=False)
        failed = int(np.isnan(columns["flux"]).any(axis=1).sum())
        table.meta = {"method": self.name, "matching": IN_THE_CENTRE, "failed": failed}
        known = {"note": self._note, "trained_on": brief(self.card)}
        table.meta |= {name: about for name, about in known.items() if about}
        return table

    def _inference(self, network):
        """The network in a shell that gives what is asked for and nothing else, compiled for itself; and a note."""
        keras = load_keras()
        from ..networks.paper import as_dict  # needs Keras
        from ..networks.sky import measure_sky, smoothed

        ops = keras.ops
        inputs = [tuple(tensor.shape) for tensor in getattr(network, "inputs", None) or ()]
        good = len(inputs) == 1 and len(inputs[0]) == 4 and inputs[0][-1] == 1
        told = f"{self.name!r} takes inputs of shapes {inputs}, expected a single one, (n, ny, nx, 1)"
        require(good, f"{told}: give a functional model from blends to fluxes or masks, as those of bk.models.")
        blend = keras.Input(inputs[0][1:], dtype="float32", name="blends")
        given, note = as_dict(network(blend)), None
        lacking = [key for key in PICTURES if getattr(self, key) and key not in given]
        told = f"{self.name!r} gives {', '.join(given)}, expected {', '.join(lacking) or 'fluxes or masks'}"
        good = not lacking and {"fluxes", "masks"} & set(given)
        require(good, f"{told}: leave that out, or use a network that gives it, such as 'fractions'.")
        wanted = {ours: given[key] for ours, key in (("flux", "fluxes"), ("flux_err", "errors")) if key in given}
        if "out_of_domain" in given:
            wanted["out_of_domain"] = given["out_of_domain"] > 0
        if "flux" not in wanted:
            wanted["flux"] = ops.sum(ops.where(given["masks"] > THRESHOLD, blend, 0.0), axis=(1, 2))
            note = INSIDE_MASKS
        smooth = smoothed(blend)
        level, noise = measure_sky(smooth[:, ::2, ::2, 0], full=False)
        there = ops.max(smooth, axis=(1, 2, 3)) - level > NOTHING * noise
        for key in {"flux", "flux_err"} & set(wanted) if self.card else ():
            wanted[key] = ops.where(there[:, None], wanted[key], float("nan"))
        if self.masks:
            wanted["masks"] = given["masks"] > THRESHOLD
        if self.images:
            wanted["images"] = ops.cast(given["images"], "float32")
        model = keras.Model(blend, wanted, name=f"measure_{network.name}")
        if keras.config.backend() == "tensorflow" and network.name in XLA_PAYS:
            model.jit_compile = True
        return model, note
