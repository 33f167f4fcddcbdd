"""Training: blends made on the device that trains, never seen twice; a run that is interrupted goes on where it was."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import random
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from . import fractions, models, weights
from .blending import draw_blends
from .blendlayer import BlendLayer
from .preflight import _device, _version
from .preflight import profile as known_profile
from .samples import Sample

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["BlendLayer", "Blender", "Plan", "TrainingError", "has_gpu", "history", "paper_loss", "plan_of", "train"]

MASK_WEIGHT = 0.1  # of the masks' loss where fluxes are trained as well
HALVE_AFTER, STOP_AFTER = 4, 10  # flat epochs
CLOSE = (0.5, 1.5)  # separation of close blends, in units of the larger effective radius; see `draw_blends`

_CHECKPOINT, _HISTORY = "checkpoint.npz", "history.csv"


class TrainingError(RuntimeError):
    """A training run that cannot go on; the message says what to do."""


@dataclass(frozen=True)
class Plan:
    """How a network is built and trained.

    Attributes
    ----------
    arguments : dict
        For the network's builder in `blendkit.models`.
    blends : int
        Training blends per epoch, drawn anew for each.
    valid : int
        Validation blends, the same in every epoch.
    epochs : int
        At most so many.
    batch : int
        Blends per step.
    rate : float
        Learning rate, the highest one.
    schedule : {"plateau", "cosine"}
        "plateau", the paper's: the rate is halved after every 4 flat epochs (no better validation loss), and 10 flat
        epochs end the run. "cosine": a short warm-up, then down to zero over all `epochs`.
    optimizer : {"adam", "muon"}
        "adam", the paper's; with the cosine schedule it is AdamW with gradients clipped. "muon": see `Muon`. With it an
        earlier fractions, of 8 x 8 pixel patches only, came to flux errors of 6.1 / 6.8 %, with AdamW to 7.4 / 8.4 %
        (central / companion, 2,048 validation blends; tutorial sizes, 16 epochs of 1,024 blends, a rate of 3e-3, one
        run of each). After the few steps of quick it is AdamW that is ahead.
    xla : bool
        Whether TensorFlow compiles the step with XLA; JAX always does, PyTorch never. True for fractions alone, whose
        loss has many maps, except in quick, which is over before it pays. The paper's networks are plain convolutions,
        which XLA slows down on a CPU: 37 against 145 images/s for blend2flux, 19 against 37 for unet and
        blend2mask2flux (tutorial sizes, one core).
    fresh : bool
        False: the blends of the first epoch again in every epoch, which shows what over-fitting is.
    close : float
        Share of the training blends, 0 to 1, whose companion lies within 0.5 to 1.5 effective radii; the others, and
        those of the validation, lie as `draw_blends` has it.
    """

    arguments: dict[str, Any]
    blends: int
    valid: int
    epochs: int
    batch: int = 16
    rate: float = 1e-3
    schedule: str = "plateau"
    optimizer: str = "adam"
    xla: bool = False
    fresh: bool = True
    close: float = 0.0

    def __post_init__(self):
        for name in ("blends", "valid", "epochs", "batch"):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or value < 1:
                raise ValueError(f"{name} = {value!r} was given in a plan, expected a whole number of at least 1.")
        for name in ("blends", "valid"):
            value = getattr(self, name)
            if value % self.batch:
                raise ValueError(
                    f"{name} = {value} was given in a plan with batches of {self.batch}, expected a multiple of it: "
                    f"use {math.ceil(value / self.batch) * self.batch}."
                )
        for name, known in {"schedule": ("plateau", "cosine"), "optimizer": ("adam", "muon")}.items():
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"{name} = {value!r} was given in a plan, expected {known[0]!r} or {known[1]!r}.")
        if not (self.rate > 0 and math.isfinite(self.rate)):
            raise ValueError(f"rate = {self.rate} was given in a plan, expected a positive learning rate.")
        if not 0 <= self.close <= 1:
            raise ValueError(f"close = {self.close} was given in a plan, expected a share of the blends from 0 to 1.")


PLANS = {
    "quick": {
        "blend2flux": Plan({"filters": 8}, 512, 128, 4, rate=2e-3),
        "unet": Plan({"depth": 4, "filters": 4}, 256, 64, 4, rate=4e-3),
        "blend2mask2flux": Plan({"depth": 4, "filters": 4, "flux_filters": 8, "dense": 16}, 256, 64, 3, rate=1e-3),
        "fractions": Plan({"width": 8}, 256, 64, 3, rate=3e-3, schedule="cosine"),
    },
    "tutorial": {
        "blend2flux": Plan({"filters": 32}, 2048, 512, 24),
        "unet": Plan({"depth": 5, "filters": 8}, 1024, 256, 28),
        "blend2mask2flux": Plan(
            {"depth": 5, "filters": 8, "flux_filters": 24, "dense": 48}, 1024, 256, 16, rate=3e-4
        ),
        "fractions": Plan({"width": 48}, 4096, 512, 12, rate=6e-3, schedule="cosine", optimizer="muon", xla=True),
    },
    "paper": {
        "blend2flux": Plan({"filters": 256}, 25_000, 5_000, 200, batch=40, rate=1e-4),
        "unet": Plan({"depth": 5, "filters": 32}, 25_000, 5_000, 200, batch=40, rate=3e-4),
        "blend2mask2flux": Plan({}, 25_000, 5_000, 200, batch=40, rate=1e-4),
        "fractions": Plan(
            {"width": 64}, 25_000, 5_000, 120, batch=40, rate=6e-3, schedule="cosine", optimizer="muon", xla=True
        ),
    },
}  # fmt: skip
"""The plan of each network in each profile of `blendkit.preflight`."""


class Muon(keras.optimizers.Muon):
    """Keras' Muon, for the kernels of convolutions too, which it sees as matrices from inputs to filters.

    A step turns every direction of a kernel by the same amount, however small its gradient is (Jordan et al. 2024,
    https://kellerjordan.github.io/posts/muon; step size as in Liu et al. 2025, arXiv:2502.16982). Biases and
    normalisations take the step of AdamW.
    """

    def _should_use_adamw(self, variable):
        return len(variable.shape) not in (2, 4)

    def zeropower_via_newtonschulz5(self, x, steps):
        """The matrix nearest to a kernel whose singular values are all about one, in the kernel's shape."""
        flat = super().zeropower_via_newtonschulz5(ops.reshape(x, (-1, x.shape[-1])), steps)
        return ops.reshape(flat, x.shape)

    def lr_adjust(self, x):
        """A step as large as AdamW's would be (root mean square)."""
        return x * (self.rms_rate * math.sqrt(max(math.prod(x.shape[:-1]), x.shape[-1])))


def plan_of(model_name: str, profile: str = "tutorial") -> Plan:
    """The plan of a network in a profile; ``dataclasses.replace`` makes another one from it.

    Parameters
    ----------
    model_name : {"blend2flux", "unet", "blend2mask2flux", "fractions"}
    profile : {"quick", "tutorial", "paper"}

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        For any other name.
    """
    known_profile(profile)
    if model_name not in PLANS[profile]:
        raise ValueError(f"the network {model_name!r} was asked for, expected one of {', '.join(PLANS[profile])}.")
    return PLANS[profile][model_name]


def paper_loss(network: keras.Model, blend: dict[str, Any], training: bool) -> dict[str, Any]:
    """Loss of the paper's networks (section 3): MAPE on fluxes (equation 1), binary cross-entropy on masks.

    Parameters
    ----------
    network : keras.Model
        Gives fluxes, masks or both.
    blend : dict
        `image` (n, ny, nx), `masks` (n, ny, nx, 2) and `fluxes` (n, 2).
    training : bool

    Returns
    -------
    dict of tensors of shape (n,)
        `loss`, and what it is made of: `mape_central` and `mape_companion` (%), whose mean counts once; `bce`, which
        counts a tenth beside fluxes and once alone.
    """
    outputs = models.as_dict(network(blend["image"][..., None], training=training))
    values, loss = {}, 0.0
    if "fluxes" in outputs:
        percent = 100 * ops.abs(outputs["fluxes"] / blend["fluxes"] - 1)
        values |= {"mape_central": percent[:, 0], "mape_companion": percent[:, 1]}
        loss = loss + ops.mean(percent, axis=1)
    if "masks" in outputs:
        share = ops.clip(outputs["masks"], 1e-7, 1 - 1e-7)
        masks = blend["masks"]
        bce = -ops.mean(masks * ops.log(share) + (1 - masks) * ops.log(1 - share), axis=(1, 2, 3))
        values["bce"] = bce
        loss = loss + (MASK_WEIGHT if "fluxes" in outputs else 1.0) * bce
    return {"loss": loss, **values}


LOSSES = {
    "blend2flux": paper_loss,
    "unet": paper_loss,
    "blend2mask2flux": paper_loss,
    "fractions": fractions.fractions_loss,
}


class Blender(keras.Model):
    """What `fit` trains: rows of a recipe in, blends rendered on the device, the network's loss out.

    Parameters
    ----------
    network : keras.Model
    layer : BlendLayer
        Of the sample that the recipes name.
    loss : callable
        ``loss(network, blend, training)``, a dict of values per blend, of which `loss` is trained; the others are
        averaged and logged. `blend` holds `image`, `central`, `companion` (n, ny, nx), `masks` (n, ny, nx, 2) float32,
        `fluxes` (n, 2), `dy`, `dx` (n,) and `told` (n, 2) int32.
    recipe : dict of arrays
        Any, for the shapes and types of its rows.
    """

    def __init__(self, network: keras.Model, layer: BlendLayer, loss: Callable, recipe: dict[str, np.ndarray]):
        super().__init__(dtype="float32", name="blender")
        self.network, self.layer, self.loss_function = network, layer, loss
        rows = {name: keras.KerasTensor((2, *v.shape[1:]), str(v.dtype)) for name, v in recipe.items()}
        values = self.compute_output_spec(rows)
        self.means = {name: keras.metrics.Mean(name=name) for name in values if name != "loss"}
        self.built = True

    def blend(self, recipe: dict[str, Any]) -> dict[str, Any]:
        """The blends of a recipe as the loss wants them.

        Parameters
        ----------
        recipe : dict of arrays or tensors
            `rows` and `scale` as from ``BlendLayer.recipe``, and `told`.

        Returns
        -------
        dict of tensors
        """
        (central, companion), masks, fluxes = self.layer.parts(recipe)
        rows = ops.cast(recipe["rows"], "int32")
        return {
            "image": central + companion,
            "central": central,
            "companion": companion,
            "masks": ops.cast(masks, "float32"),
            "fluxes": fluxes,
            "dy": rows[:, 2],
            "dx": rows[:, 3],
            "told": ops.cast(recipe["told"], "int32"),
        }

    def call(self, recipe, training=False):
        """The loss function's values for the rows of a recipe."""
        return self.loss_function(self.network, self.blend(recipe), training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Mean loss of a batch."""
        return ops.mean(y_pred["loss"])

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Means so far of what is logged beside the loss."""
        for name, mean in self.means.items():
            mean.update_state(y_pred[name])
        return self.get_metrics_result()


def train(
    model_name: str,
    train: Sample,
    valid: Sample,
    profile: str = "tutorial",
    seed: int = 42,
    out: str | os.PathLike | None = None,
    *,
    start: keras.Model | str | os.PathLike | None = None,
    plan: Plan | None = None,
    allow_cpu: bool = False,
    progress: Callable[[dict[str, list]], None] | None = None,
) -> keras.Model:
    """Train a network on fresh blends of a sample, or go on where an interrupted run stopped.

    Every epoch draws its blends anew from `seed` and the epoch's number; those of the validation sample stay the same.
    After each epoch everything is written to `out`, so that the same call after an interruption loses at most
    one epoch and gives the same network; where the run was finished, it gives its network at once.

    Parameters
    ----------
    model_name : {"blend2flux", "unet", "blend2mask2flux", "fractions"}
    train, valid : Sample
        Cleaned galaxies to train on, and others that choose the best epoch.
    profile : {"quick", "tutorial", "paper"}
        Which plan: for tests, for a laptop, or full size on a GPU.
    seed : int
        For the initial weights and all recipes.
    out : path, optional
        Folder of this run; "results/networks/<model_name>-<profile>" when not given.
    start : keras.Model or path, optional
        Weights to start from: a folder of an earlier run, a weights file or name (see `blendkit.weights.load`), or a
        network of the same sizes; the card then tells which galaxies these weights have seen, except where it is a
        network that neither `train` nor a card vouches for. For blend2mask2flux it may be a U-Net; without any, one is
        trained first, in the folder "unet" inside `out`.
    plan : Plan, optional
        Instead of the profile's own one.
    allow_cpu : bool
        Whether the paper profile may run without a GPU, which takes days.
    progress : callable, optional
        Called after each epoch with the history so far, a dict of lists. When not given: a live learning curve in a
        notebook, a line per epoch elsewhere.

    Returns
    -------
    keras.Model
        With the weights of the epoch of lowest validation loss. They are in `out` as well, with a card and the history.

    Raises
    ------
    ValueError
        Where a name is unknown, the samples cannot be used or share a galaxy, or `out` holds another run.
    TrainingError
        Where the paper profile finds no GPU, or the loss is no longer a number.
    """
    own = plan_of(model_name, profile)
    if not isinstance(plan, Plan | None):
        raise ValueError(f"plan = {plan!r} was given, expected a Plan: change bk.training.plan_of({model_name!r}).")
    _check_samples(train, valid)
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed = {seed!r} was given, expected a whole number of at least 0.")
    seed = int(seed)
    needs_gpu = plan is None and profile == "paper" and not allow_cpu
    plan = plan or own
    out = Path(f"results/networks/{model_name}-{profile}" if out is None else out)
    given, card = _opened(start)
    asked = _asked(model_name, profile, seed, plan, train, valid, given)
    state = _read(out, asked) or _State(plan.rate, mixed=has_gpu())
    if state.saved:
        return _opened(out / f"{state.saved}.weights.h5")[0]
    if needs_gpu and not has_gpu():
        raise TrainingError(
            f"the paper profile needs a GPU and {keras.backend.backend()} finds none: use profile='tutorial', install "
            "blendkit[gpu] on a machine with an NVIDIA GPU, or give allow_cpu=True and wait for days."
        )
    network = _build(model_name, plan, train, seed, mixed=state.mixed)
    if given is None and model_name == "blend2mask2flux":
        first = _unet_plan(plan, profile)
        options = {"plan": first, "allow_cpu": allow_cpu, "progress": progress}
        given, card = _opened(_train("unet", train, valid, profile, seed, out / "unet", **options))
    fine_tuned = given is not None and _adopt(network, given)
    name = f"{model_name}-finetuned" if fine_tuned else model_name
    job = _Job(name, model_name, profile, int(seed), plan, train, valid, out, asked, network, card)
    try:
        with nullcontext(progress) if progress else _reporting(name, plan) as report:
            _run_epochs(job, state, report)
    except KeyboardInterrupt:
        print(f"{name}: stopped after epoch {state.epoch}; the same call goes on from there.", flush=True)
        raise
    return _finish(job, state)


_train = train


def history(folder: str | os.PathLike) -> Table:
    """What was written down after each epoch of a run.

    Parameters
    ----------
    folder : path
        The `out` of `train`.

    Returns
    -------
    astropy.table.Table
        A row per epoch: `epoch`, `loss`, `val_loss`, then each part of the loss in training and (`val_`) validation,
        `learning_rate`, `seconds` (of the whole epoch) and `images_per_second` (of its training steps).

    Raises
    ------
    FileNotFoundError
        Where the folder holds no run.
    """
    from astropy.table import Table

    path = Path(folder) / _HISTORY
    if not path.is_file():
        raise FileNotFoundError(f"there is no '{path}', expected the folder of a run with at least one finished epoch.")
    return Table.read(path, format="ascii.csv")


def has_gpu() -> bool:
    """Whether the backend in use computes on a GPU."""
    device = str(ops.zeros(1).device).lower()
    return "gpu" in device or "cuda" in device


@dataclass
class _State:
    """What a run remembers from one epoch to the next.

    `saved` is the name of its weights once it is finished, `mixed` whether it began in mixed precision, `hardware`
    what has trained it so far.
    """

    rate: float
    flat: int = 0
    best: float = math.inf
    rows: list[dict[str, float]] = field(default_factory=list)
    saved: str = ""
    mixed: bool = False
    hardware: list[str] = field(default_factory=list)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def epoch(self):
        return len(self.rows)

    def ended(self, plan):
        return self.epoch >= plan.epochs or (plan.schedule == "plateau" and self.flat >= STOP_AFTER)

    def history(self):
        return {name: [row[name] for row in self.rows] for name in self.rows[0]} if self.rows else {}


@dataclass(frozen=True)
class _Job:
    name: str
    model_name: str
    profile: str
    seed: int
    plan: Plan
    train: Sample
    valid: Sample
    out: Path
    asked: dict[str, Any]
    network: keras.Model
    start_card: dict[str, Any]


def _run_epochs(job, state, progress):
    """Train until the plan is fulfilled; `state` is that of the last whole epoch at any time."""
    if state.ended(job.plan):
        return
    plan, loss = job.plan, LOSSES[job.model_name]
    optimizer = _optimizer(plan, job.network)
    if state.rows:
        _set(job.network.variables, state.arrays, "network")
        _set(optimizer.variables, state.arrays, "optimizer")
    here, there = BlendLayer(job.train), BlendLayer(job.valid)
    fixed = _recipe(job, there, 0)
    training, validation = Blender(job.network, here, loss, fixed), Blender(job.network, there, loss, fixed)
    xla = plan.xla if keras.backend.backend() == "tensorflow" else "auto"
    training.compile(optimizer, jit_compile=xla)
    validation.compile(jit_compile=xla)
    while not state.ended(plan):
        epoch, began = state.epoch + 1, time.perf_counter()
        recipe = _recipe(job, here, epoch if plan.fresh else 1)
        rate = optimizer.learning_rate = _rate(plan, state)
        ready = time.perf_counter()
        fitted = training.fit(**_batches(recipe, plan.batch), shuffle=False, verbose=0).history
        steps = time.perf_counter() - ready
        checked = validation.evaluate(**_batches(fixed, plan.batch), verbose=0, return_dict=True)
        losses = {"loss": fitted["loss"][-1], "val_loss": checked["loss"]}
        if not all(map(math.isfinite, losses.values())):
            raise TrainingError(_not_a_number(job, epoch, rate, losses))
        parts = {name: fitted[name][-1] for name in training.means}
        row = losses | parts | {f"val_{name}": checked[name] for name in parts}
        timing = {"seconds": time.perf_counter() - began, "images_per_second": plan.blends / steps}
        row = {"epoch": epoch, **row, "learning_rate": rate, **timing}
        _advance(state, plan, {name: value if name == "epoch" else float(value) for name, value in row.items()})
        state.hardware = list(dict.fromkeys([*state.hardware, _hardware()]))
        state.arrays |= _values(job.network.variables, "network") | _values(optimizer.variables, "optimizer")
        if state.flat == 0:
            state.arrays |= _values(job.network.variables, "best")
        _write(job.out, job.asked, state)
        progress(state.history())


def _advance(state, plan, row):
    """Take a finished epoch into account: best so far, or flat; the rate of the next one."""
    state.rows.append(row)
    better = row["val_loss"] < state.best
    state.best, state.flat = min(state.best, row["val_loss"]), 0 if better else state.flat + 1
    if plan.schedule == "plateau" and state.flat and state.flat % HALVE_AFTER == 0:
        state.rate /= 2


def _rate(plan, state):
    if plan.schedule == "plateau":
        return state.rate
    warm = max(1, plan.epochs // 20)
    if state.epoch < warm:
        return plan.rate * (state.epoch + 1) / (warm + 1)
    return plan.rate * 0.5 * (1 + math.cos(math.pi * (state.epoch - warm) / max(1, plan.epochs - warm)))


def _optimizer(plan, network):
    if plan.optimizer == "muon":
        optimizer = Muon(plan.rate, global_clipnorm=1.0)
    elif plan.schedule == "cosine":
        optimizer = keras.optimizers.AdamW(plan.rate, weight_decay=1e-4, global_clipnorm=1.0)
    else:
        optimizer = keras.optimizers.Adam(plan.rate)
    if any(layer.dtype_policy.name == "mixed_float16" for layer in network.layers):
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(network.trainable_variables)
    return optimizer


def _recipe(job, layer, epoch, times=1):
    """The rows of an epoch; those of epoch 0 are the validation's, which nobody is told anything about."""
    sample, n = (job.train, job.plan.blends) if epoch else (job.valid, times * job.plan.valid)
    blends = _drawn(sample, n, job.plan.close if epoch else 0.0, np.random.default_rng([job.seed, epoch]))
    told = np.full((n, 2), fractions.UNTOLD, np.int32)
    if epoch and job.model_name == "fractions":
        told = fractions.told(blends, np.random.default_rng([job.seed, epoch, 1]))
    return layer.recipe(blends) | {"told": told}


def _drawn(sample, n, close, rng):
    """Blends, a share of them close, in random order."""
    from astropy.table import Table

    few = round(close * n)
    if not few:
        return draw_blends(sample, n, rng)
    wide = [draw_blends(sample, n - few, rng)] if few < n else []
    parts = [*wide, draw_blends(sample, few, rng, separation=CLOSE)]
    order = rng.permutation(n)
    blends = Table({name: np.concatenate([part[name] for part in parts])[order] for name in parts[0].colnames})
    blends.meta = parts[0].meta  # of the sample, so the same in both; `vstack` takes long to compare them
    return blends


def _batches(recipe, batch):
    """Arguments of `fit` and `evaluate`.

    Under TensorFlow, arrays would go through a tf.data pipeline whose tuner sleeps for 10 ms, 20 ms, 40 ms and so on;
    an epoch ends when it wakes, at worst after as long again.
    """
    if keras.backend.backend() != "tensorflow":
        return {"x": recipe, "batch_size": batch}
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return {"x": tf.data.Dataset.from_tensor_slices(recipe).batch(batch, drop_remainder=True).with_options(options)}


def _finish(job, state):
    """The best epoch's network, in float32 whatever it was trained in, and everything about it in its folder."""
    network = _build(job.model_name, job.plan, job.train, job.seed)
    _set(network.variables, state.arrays, "best")
    if job.model_name == "fractions":
        layer = BlendLayer(job.valid)
        fractions.calibrate(network, layer, _recipe(job, layer, 0, times=8))
    weights.save(network, job.out, job.name, _card(job, state))
    state.saved, state.arrays = job.name, {}
    _write(job.out, job.asked, state)
    return _opened(job.out / f"{job.name}.weights.h5")[0]


def _card(job, state):
    from . import __version__

    digests = dict.fromkeys([*job.start_card.get("galaxies", []), *_digests(job.train), *_digests(job.valid)])
    names = dict.fromkeys(sample.name for sample in (job.train, job.valid))
    backend = keras.backend.backend()
    card = {
        "architecture": job.model_name,
        "arguments": _arguments(job.plan, job.train),
        "profile": job.profile,
        "plan": asdict(job.plan),
        "seed": job.seed,
        "sample": " and ".join(names),
        "galaxies": list(digests),
        "versions": {
            "blendkit": __version__,
            "keras": keras.__version__,
            "backend": f"{backend} {_version(backend)}",
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "hardware": " and ".join(state.hardware),
        "seconds": round(sum(row["seconds"] for row in state.rows), 1),
        "epochs": state.epoch,
        "best_epoch": 1 + min(range(state.epoch), key=lambda i: state.rows[i]["val_loss"]),
        "history": state.history(),
    }
    if job.start_card:
        keys = ("name", "sha256", "sample", "seed", "profile")
        card["start"] = {key: job.start_card[key] for key in keys if key in job.start_card}
        if job.start_card.get("seeds"):
            card["seeds"] = list(job.start_card["seeds"])
    if job.name != job.model_name:
        card["fine_tuned"] = True
    return card


def _hardware():
    """What trained here, in a few words."""
    if not has_gpu():
        return f"{_device()}, {platform.machine()}"
    told = "".join(path.read_text() for path in Path("/proc/driver/nvidia/gpus").glob("*/information"))
    models = dict.fromkeys(line.split(":", 1)[1].strip() for line in told.splitlines() if line.startswith("Model:"))
    return " and ".join(models) or "GPU"


def _digests(sample):
    return sample.fingerprints.values()


def _arguments(plan, sample):
    return plan.arguments | {"shape": tuple(map(int, sample.images.shape[1:]))}


def _build(model_name, plan, sample, seed, mixed=False):
    """The network with the initial weights of this seed, whatever random numbers were drawn before."""
    policy = keras.config.dtype_policy()
    with _seeded(seed):
        try:
            keras.config.set_dtype_policy("mixed_float16" if mixed else "float32")
            return models.BUILDERS[model_name](**_arguments(plan, sample))
        finally:
            keras.config.set_dtype_policy(policy)


@contextmanager
def _seeded(seed) -> Iterator[None]:
    """Keras takes the seeds of initial weights from Python's own generator, which is left as it was found."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)


def _check_samples(train, valid):
    for side, sample in (("training", train), ("validation", valid)):
        if not isinstance(sample, Sample):
            raise ValueError(
                f"the {side} sample is a {type(sample).__name__}, expected a Sample: take both from bk.split."
            )
        if "flux_auto" not in sample.catalog.colnames:
            raise ValueError(f"the {side} sample has no flux_auto, the fluxes to learn: give bk.clean(sample).")
        if len(sample) < 2:
            raise ValueError(f"the {side} sample has {len(sample)} galaxy, expected at least 2: use a larger sample.")
    shapes = [sample.images.shape[1:] for sample in (train, valid)]
    if shapes[0] != shapes[1]:
        (ny, nx), (my, mx) = shapes
        raise ValueError(
            f"the training stamps have {ny} x {nx} pixels and the validation stamps {my} x {mx}, expected the same: "
            "take both from one sample with bk.split."
        )
    for what in ("zeropoint", "pixel_scale"):
        here, there = getattr(train, what), getattr(valid, what)
        if here != there:
            raise ValueError(
                f"the {what.replace('_', ' ')} is {here} in training and {there} in validation, expected the same: "
                "take both samples from one survey."
            )
    shared = set(_digests(train)) & set(_digests(valid))
    if shared:
        first = next(i for i, digest in train.fingerprints.items() if digest in shared)
        raise ValueError(
            f"{len(shared)} galaxies are in both the training and the validation sample (first id {first}), expected "
            "none: divide one sample with bk.split."
        )


def _opened(start):
    """A network to start from, and its card; neither where none was given."""
    if start is None:
        return None, {}
    if isinstance(start, keras.Model):
        return start, weights.card_of(start)
    return weights.load(start)


def _adopt(network, given):
    """Take over the weights of the whole network (True), or of the U-Net inside it (False)."""
    inside = [layer for layer in network.layers if layer.name == "unet"]
    for part in (network, *inside):
        if [w.shape for w in part.weights] == [w.shape for w in given.weights]:
            part.set_weights(given.get_weights())
            return part is network
    unets = " or the U-Net inside it" if inside else ""
    raise ValueError(
        f"the weights to start from are of {given.name!r} with {given.count_params():,} parameters, expected a "
        f"{network.name} with {network.count_params():,}{unets}: give the plan of the run to start from."
    )


def _unet_plan(plan, profile):
    sizes = {name: plan.arguments[name] for name in ("depth", "filters") if name in plan.arguments}
    return replace(plan_of("unet", profile), arguments=sizes)


def _asked(model_name, profile, seed, plan, train, valid, given):
    """What makes one run differ from another, by the name that the reader knows it under."""
    settings = {"network": model_name, "profile": profile, "seed": int(seed)}
    settings |= {
        f"{side} sample": _digest([*_digests(sample), sample.sky_fingerprint, str(sample.zeropoint)])
        for side, sample in (("training", train), ("validation", valid))
    }
    started = "none" if given is None else _digest([w.tobytes() for w in given.get_weights()])
    settings |= {"start": started, **{f"plan: {name}": value for name, value in asdict(plan).items()}}
    return json.loads(json.dumps(settings, default=lambda value: value.tolist()))


def _digest(pieces):
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece.encode() if isinstance(piece, str) else piece)
    return digest.hexdigest()[:16]


def _values(variables, kind):
    return {f"{kind}/{i}": np.array(ops.convert_to_numpy(v)) for i, v in enumerate(variables)}


def _set(variables, arrays, kind):
    for i, variable in enumerate(variables):
        variable.assign(arrays[f"{kind}/{i}"])


def _write(out, asked, state):
    """State and history, each in place of the last epoch's in one step."""
    out.mkdir(parents=True, exist_ok=True)
    told = {name: getattr(state, name) for name in ("rate", "flat", "best", "rows", "saved", "mixed", "hardware")}
    with _replacing(out / _CHECKPOINT) as file:
        np.savez(file, told=json.dumps(told | {"asked": asked}), **state.arrays)
    lines = [",".join(state.rows[0])] + [",".join(map(repr, row.values())) for row in state.rows]
    with _replacing(out / _HISTORY) as file:
        file.write(("\n".join(lines) + "\n").encode())


@contextmanager
def _replacing(path):
    """A file to write to, which takes the place of `path` once it is complete and on the disk."""
    draft = path.with_name(f".{path.name}.part")
    with open(draft, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def _read(out, asked):
    """The state of the run in this folder, None where there is none, an error where it is another run."""
    path = out / _CHECKPOINT
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            told = json.loads(str(stored["told"]))
            arrays = {name: stored[name] for name in stored.files if name != "told"}
        there = told.pop("asked")
    except (OSError, EOFError, TypeError, ValueError, KeyError, zipfile.BadZipFile):
        raise ValueError(
            f"'{path}' cannot be read as the state of a training run: delete the folder '{out}', or give another out."
        ) from None
    for name in asked | there:
        if there.get(name) != asked.get(name):
            raise ValueError(
                f"the folder '{out}' holds a run with {name} {there.get(name)}, but {name} {asked.get(name)} was asked "
                "for: give another out, or delete the folder to train anew."
            )
    return _State(**told, arrays=arrays)


def _not_a_number(job, epoch, rate, losses):
    kept = f"epochs 1 to {epoch - 1} are kept in '{job.out}'" if epoch > 1 else "no epoch was finished"
    return (
        f"the loss of {job.name} is {losses['loss']} and {losses['val_loss']} in validation after epoch {epoch} "
        f"({kept}): look for NaN or huge pixels in the sample, or train in another folder at a smaller learning rate, "
        f"plan=dataclasses.replace(bk.training.plan_of({job.model_name!r}, {job.profile!r}), rate={rate / 3:.1g})."
    )


def _looked_at():
    """Whether this runs in a notebook that somebody looks at."""
    from .widgets.errors import FILE_VARIABLE

    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel") and FILE_VARIABLE not in os.environ


@contextmanager
def _reporting(name, plan):
    """A live learning curve in a notebook, a plain line per epoch elsewhere."""
    if not _looked_at():
        yield lambda history: print(_line(name, plan, history), flush=True)
        return

    from IPython.display import display

    from .widgets.curve import LearningCurve

    curve = LearningCurve(name=name, epochs=plan.epochs)
    shown = []

    def show(history):
        curve.show(history)
        if not shown:
            shown.append(display(curve, display_id=True))

    try:
        yield show
        curve.epochs = len(curve.history["epoch"]) if shown else 0  # also where it stopped early
    finally:
        for place in shown:
            place.update(curve)  # its picture, which stays in the notebook, is that of all epochs


def _line(name, plan, history):
    last = {key: values[-1] for key, values in history.items()}
    return (
        f"{name}: epoch {last['epoch']} of {plan.epochs}, loss {last['loss']:.4g}, validation {last['val_loss']:.4g}, "
        f"learning rate {last['learning_rate']:.1e}, {last['seconds']:.0f} s, {last['images_per_second']:.0f} images/s"
    )
