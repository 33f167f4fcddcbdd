"""Training: blends made on the device that trains, never seen twice; a run that is interrupted goes on where it was."""

import hashlib
import json
import math
import os
import platform
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import keras
import numpy as np
from astropy.table import Table
from filelock import FileLock, Timeout
from keras import ops

from ..blends.layer import BlendLayer
from ..blends.recipe import RECIPE, draw_blends
from ..blends.world import draw_worlds
from ..data.check import require
from ..data.remote import drafted
from ..data.sample import Sample
from . import weights
from .backend import device, has_gpu, version
from .builders import as_dict, build
from .fractions import UNTOLD, calibrate, fractions_loss, hints
from .world import World

FAR, CLOSE = (0.5, 4.0), (0.5, 1.5)  # separation in units of the larger effective radius; see `draw_blends`
MORE = 4  # galaxies that a stamp may hold beside a pair
CHECKPOINT, HISTORY = "checkpoint.npz", "history.csv"


class TrainingError(RuntimeError):
    """A training run that cannot go on; the message says what to do."""


@dataclass(frozen=True)
class Plan:
    """How a network is built and trained.

    `schedule` is "plateau", the paper's (halve the rate after 4 flat epochs, in which the validation loss is no better,
    and stop after 10), or "cosine": a short warm-up, then down to zero over all `epochs`; "adam" is then AdamW with
    gradients clipped. `optimizer` is "adam", the paper's, or "muon", which brought fractions to 6.1 / 6.8 % where AdamW
    came to 7.4 / 8.4 %. Without `fresh` the blends of the first epoch come again in every epoch: over-fitting. A share
    `usual` of the blends is in the survey's own sky at the end, in the first epoch all of them; the others are in any.
    """

    arguments: dict[str, Any]  # for the network's builder in `blendkit.models`
    blends: int  # to train on in each epoch
    valid: int  # to validate on, the same in every epoch
    epochs: int  # at most
    batch: int = 16  # blends per step
    rate: float = 1e-3  # learning rate, the highest one
    schedule: str = "plateau"
    optimizer: str = "adam"
    xla: bool = False  # in TensorFlow: pays for the many maps of fractions, slows plain convolutions on a CPU
    fresh: bool = True
    close: float = 0.0  # share of blends whose companion lies within 0.5 to 1.5 effective radii
    usual: float = 0.6

    def __post_init__(self):
        for name, n in (("blends", self.blends), ("valid", self.valid)):
            require(n > 0 and n % self.batch == 0, f"{name} = {n} is no multiple of the plan's batch of {self.batch}.")
        require(self.epochs > 0 and self.rate > 0, "a plan needs an epoch at least, and a positive learning rate.")
        require(self.schedule in ("plateau", "cosine"), f"schedule = {self.schedule!r} is neither plateau nor cosine.")
        require(self.optimizer in ("adam", "muon"), f"optimizer = {self.optimizer!r} is neither adam nor muon.")


_PLANS = tomllib.loads(Path(__file__).with_name("plans.toml").read_text("utf-8"))
PLANS = {profile: {name: Plan(**plan) for name, plan in plans.items()} for profile, plans in _PLANS.items()}


class Muon(keras.optimizers.Muon):
    """Keras' Muon, for the kernels of convolutions too, which it sees as matrices from inputs to filters.

    Every direction of a kernel takes the same step, however small its gradient (https://kellerjordan.github.io/posts/muon;
    step size as in arXiv:2502.16982). Biases and normalisations take that of AdamW.
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
    """The plan of a network in a profile; ``dataclasses.replace`` makes another one from it."""
    require(profile in PLANS, f"the profile {profile!r} was asked for, expected one of {', '.join(PLANS)}.")
    plans = PLANS[profile]
    require(model_name in plans, f"the network {model_name!r} was asked for, expected one of {', '.join(plans)}.")
    return plans[model_name]


def paper_loss(network: keras.Model, blend: dict[str, Any], training: bool) -> dict[str, Any]:
    """Of each blend the loss (section 3) and its parts: MAPE on fluxes (equation 1), binary cross-entropy on masks."""
    outputs = as_dict(network(blend["image"][..., None], training=training))
    values, loss = {}, 0.0
    if "fluxes" in outputs:
        percent = 100 * ops.abs(outputs["fluxes"] / blend["fluxes"] - 1)
        values |= {"mape_central": percent[:, 0], "mape_companion": percent[:, 1]}
        loss = loss + ops.mean(percent, axis=1)
    if "masks" in outputs:
        share, masks = ops.clip(outputs["masks"], 1e-7, 1 - 1e-7), blend["masks"]
        values["bce"] = -ops.mean(masks * ops.log(share) + (1 - masks) * ops.log(1 - share), axis=(1, 2, 3))
        # beside percentages a hundred times: with the paper's weight, 10 here, the masks of small networks fade
        loss = loss + (100 if "fluxes" in outputs else 1) * values["bce"]
    return {"loss": loss, **values}


LOSSES = dict.fromkeys(("blend2flux", "unet", "blend2mask2flux"), paper_loss) | {"fractions": fractions_loss}


class Blender(keras.Model):
    """What `fit` trains: rows of a recipe in, blends of the sample in `layer` made on the device, losses out.

    Of the values that ``loss(network, blend, training)`` gives per blend, `loss` is trained; `valid` is evaluated.
    """

    def __init__(self, network: keras.Model, layer: BlendLayer, loss: Callable, recipe: dict, valid=None):
        super().__init__(dtype="float32", name="blender")
        self.network, self.layer, self.valid, self.loss_function = network, layer, valid or layer, loss
        self.world = World(float(layer.sample.sky.std()))
        rows = {name: keras.KerasTensor((2, *v.shape[1:]), str(v.dtype)) for name, v in recipe.items()}
        values = self.compute_output_spec(rows)
        self.means = {name: keras.metrics.Mean(name=name) for name in values if name != "loss"}
        self.built = True

    def call(self, recipe, training=False):
        """The loss function's values for the rows of a recipe."""
        return self.loss_function(self.network, self.blend(recipe, self.layer if training else self.valid), training)

    def blend(self, recipe, layer):
        """The blends of a recipe, each in its world, and what is true of them.

        `image` (n, ny, nx), `parts` and `masks` (n, ny, nx, k) float32, `fluxes`, `inside`, `there`, `dy` and `dx`
        (n, k), the noise `sigma` (n,), `told` (n, k, 2), the `hints` of fractions, `blended` (n,), `chance` (n, 10).
        """
        parts, masks, fluxes = layer.parts(recipe)
        rows, worlds = ops.cast(recipe["rows"], "int32"), ops.cast(recipe["worlds"], "float32")
        image, parts = self.world(parts, rows, worlds, ops.cast(recipe["chance"], "float32"))
        blend = {"image": image, "parts": parts, "masks": ops.cast(masks, "float32"), "fluxes": fluxes}
        blend |= {"there": rows[..., 0] >= 0, "dy": rows[..., 1], "dx": rows[..., 2], "sigma": worlds[:, 0]}
        more = {name: ops.cast(recipe[name], "float32") for name in ("inside", "blended", "chance")}
        return blend | more | {"told": ops.cast(recipe["told"], "int32")}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.mean(y_pred["loss"])

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        for name, mean in self.means.items():
            mean.update_state(y_pred[name])
        return self.get_metrics_result()


class Checkpoint(keras.callbacks.Callback):
    """The state of a run after its last whole epoch, in its folder; `asked` makes one run differ from another."""

    def __init__(self, out: Path, asked: dict[str, Any], schedule: list):
        super().__init__()
        self.out, self.asked, self.schedule = out, json.loads(json.dumps(asked, default=int)), schedule
        self.rows, self.hardware, self.saved, self.mixed, self.arrays = [], [], "", has_gpu(), {}
        if not (out / CHECKPOINT).is_file():
            return
        try:
            with np.load(out / CHECKPOINT, allow_pickle=False) as stored:
                self.arrays = dict(stored)
            state = json.loads(str(self.arrays.pop("state")))
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
            raise ValueError(f"'{out / CHECKPOINT}' is damaged: delete the folder, or give another out.") from None
        for name, value in state["asked"].items():
            told = f"'{out}' holds a run with {name} {value}, but {name} {self.asked.get(name)} was asked for"
            require(value == self.asked.get(name), f"{told}: give another out, or delete the folder to train anew.")
        self.rows, self.hardware, self.saved, self.mixed = (state[n] for n in ("rows", "hardware", "saved", "mixed"))

    def on_train_begin(self, logs=None):
        """Go on where the run was; the callbacks of `schedule` hear of an earlier call's epochs as well."""
        for epoch, row in enumerate(self.rows):
            for callback in self.schedule:
                callback.on_epoch_end(epoch, dict(row))
        for kind in ("network", "optimizer") if self.rows else ():
            self.restore(kind, getattr(self.model, kind).variables)

    def on_epoch_end(self, epoch, logs=None):
        """Keep a finished epoch, and its network where it is the best one so far."""
        kept = {kind: getattr(self.model, kind).variables for kind in ("network", "optimizer")}
        if logs["val_loss"] < min((row["val_loss"] for row in self.rows), default=math.inf):
            kept["best"] = kept["network"]
        for kind, variables in kept.items():
            self.arrays |= {f"{kind}/{i}": np.array(ops.convert_to_numpy(v)) for i, v in enumerate(variables)}
        self.rows.append(logs)
        self.hardware = list(dict.fromkeys([*self.hardware, hardware()]))
        self.write()

    def restore(self, kind, variables):
        """Give variables the values that were kept."""
        for i, variable in enumerate(variables):
            variable.assign(self.arrays[f"{kind}/{i}"])

    def write(self):
        """State and history, to the disk."""
        state = {name: getattr(self, name) for name in ("asked", "rows", "hardware", "saved", "mixed")}
        with drafted(self.out) as draft:
            np.savez(draft / CHECKPOINT, state=json.dumps(state), **self.arrays)
            Table(self.rows).write(draft / HISTORY, format="ascii.csv")


def train(
    model_name: str, train: Sample, valid: Sample, profile: str = "tutorial", seed: int = 42,
    out: str | os.PathLike | None = None, *, start: keras.Model | str | os.PathLike | None = None,
    plan: Plan | None = None, progress: Callable[[dict[str, list]], None] | None = None,
) -> keras.Model:  # fmt: skip
    """Train a network on fresh blends of a sample, or go on where an interrupted run stopped.

    The same call after an interruption loses at most one epoch and gives the same network: that of the epoch of lowest
    validation loss. Its weights and card are in `out` as well, beside the history.

    Parameters
    ----------
    model_name : {"blend2flux", "unet", "blend2mask2flux", "fractions"}
    train, valid : Sample; cleaned galaxies to train on, and others that choose the best epoch
    profile : {"quick", "tutorial", "paper"}; which plan: for tests, for a laptop, or full size on a GPU
    seed : int; of the initial weights and all recipes
    out : path, optional; folder of this run, "results/networks/<model_name>-<profile>" when not given
    start : keras.Model or path, optional
        Weights to start from: a network of the same sizes, or what `blendkit.weights.load` takes. blend2mask2flux may
        start from a U-Net; without any, one is trained first, in the folder "unet" inside `out`.
    plan : Plan, optional; instead of the profile's own one (that of "paper" needs a GPU unless it is given here)
    progress : callable, optional; called after each epoch with the history so far, a dict of lists
    """
    own = plan_of(model_name, profile)
    needs_gpu, plan = plan is None and profile == "paper", plan or own
    _check_samples(train, valid)
    out = Path(out or f"results/networks/{model_name}-{profile}")
    loaded = start is None or isinstance(start, keras.Model)
    given, card = (start, weights.card_of(start) if start else {}) if loaded else weights.load(start)
    asked = {"network": model_name, "profile": profile, "seed": int(seed), "start": _digest(given) if given else "none"}
    asked |= {"training sample": _digest(train), "validation sample": _digest(valid)}
    asked |= {f"plan: {name}": value for name, value in asdict(plan).items()}
    if saved := Checkpoint(out, asked, []).saved:
        return weights.load(out / f"{saved}{weights.H5}")[0]
    if needs_gpu and not has_gpu():
        wait = f"plan=bk.training.plan_of({model_name!r}, 'paper')"
        raise TrainingError(f"the paper profile needs a GPU, none is here: use 'tutorial', or {wait} and days of time.")
    with _alone(out):
        checkpoint = Checkpoint(out, asked, _schedule(plan))
        arguments = plan.arguments | {"shape": train.images.shape[1:]}
        network = build(model_name, arguments, seed, "mixed_float16" if checkpoint.mixed else "float32")
        if given is None and model_name == "blend2mask2flux":
            sizes = {name: plan.arguments[name] for name in ("depth", "filters") if name in plan.arguments}
            options = {"plan": replace(plan_of("unet", profile), arguments=sizes), "progress": progress}
            given = train_network("unet", train, valid, profile, seed, out / "unet", **options)
            card = weights.card_of(given)
        fine_tuned = given is not None and _start_from(network, given)
        name = f"{model_name}-finetuned" if fine_tuned else model_name
        try:
            _fit(name, model_name, network, plan, seed, checkpoint, BlendLayer(train), BlendLayer(valid), progress)
        except KeyboardInterrupt:
            print(f"{name}: stopped after epoch {len(checkpoint.rows)}; the same call goes on from there.", flush=True)
            raise
        network = build(model_name, arguments, seed)
        checkpoint.restore("best", network.variables)
        if model_name == "fractions":
            layer = BlendLayer(valid)
            recipe = _recipe(layer, 8 * plan.valid, seed, 0, usual=plan.usual)
            calibrate(Blender(network, layer, fractions_loss, recipe), recipe, plan.batch)
        made = {"architecture": model_name, "arguments": arguments, "profile": profile, "plan": asdict(plan)}
        made |= {"seed": seed} | _card(checkpoint, (train, valid), card) | ({"fine_tuned": True} if fine_tuned else {})
        weights.save(network, out, name, made)
        checkpoint.saved, checkpoint.arrays = name, {}
        checkpoint.write()
        return weights.load(out / f"{name}{weights.H5}")[0]


train_network = train  # inside it, its own name is a sample's


@contextmanager
def _alone(out):
    """The folder of a run for this process alone: a second one would write over its epochs."""
    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / ".lock", timeout=0):
            try:
                yield
            finally:
                with suppress(OSError):
                    (out / ".lock").unlink()
    except Timeout:
        told = f"another training writes to '{out}' at this moment"
        raise TrainingError(f"{told}: wait until it has ended, or give another out.") from None


def history(folder: str | os.PathLike) -> Table:
    """Losses and their parts, learning rate, seconds and speed after each epoch of the run in a folder (its `out`)."""
    return Table.read(Path(folder) / HISTORY, format="ascii.csv")


@contextmanager
def print_lines(name: str, plan: Plan) -> Iterator[Callable[[dict[str, list]], None]]:
    """A plain line per epoch."""

    def report(history):
        epoch, loss, valid, *_, rate, seconds, speed = (column[-1] for column in history.values())
        line = f"{name}: epoch {epoch} of {plan.epochs}, loss {loss:.4g}, validation {valid:.4g}, learning rate "
        print(f"{line}{rate:.1e}, {seconds:.0f} s, {speed:.0f} images/s", flush=True)

    yield report


reporter = print_lines  # a context ``reporter(name, plan)`` whose function gets the history after each epoch


def hardware() -> str:
    """What trains here, in a few words."""
    if not has_gpu():
        return f"{device()}, {platform.machine()}"
    told = "".join(path.read_text() for path in Path("/proc/driver/nvidia/gpus").glob("*/information"))
    models = dict.fromkeys(line.split(":", 1)[1].strip() for line in told.splitlines() if line.startswith("Model:"))
    return " and ".join(models) or "GPU"


def _fit(name, model_name, network, plan, seed, checkpoint, here, there, progress):
    """Train until the plan is fulfilled; the checkpoint is that of the last whole epoch at any time."""
    pairs = model_name != "fractions"
    fixed = _recipe(there, plan.valid, seed, 0, pairs=pairs, usual=plan.usual)
    blender = Blender(network, here, LOSSES[model_name], fixed, there)
    xla = plan.xla if keras.backend.backend() == "tensorflow" else "auto"
    blender.compile(_optimizer(plan, network), jit_compile=xla)
    callbacks = [*checkpoint.schedule, checkpoint]
    for callback in callbacks:
        callback.set_model(blender)
        callback.on_train_begin()
    with nullcontext(progress) if progress else reporter(name, plan) as report:
        while len(checkpoint.rows) < plan.epochs and not blender.stop_training:
            epoch, began = len(checkpoint.rows), perf_counter()
            usual = max(plan.usual, 1 - epoch * plan.fresh / plan.epochs)  # first the survey's world, then all of them
            recipe = _recipe(here, plan.blends, seed, 1 + epoch * plan.fresh, plan.close, pairs, not pairs, usual)
            for callback in callbacks:
                callback.on_epoch_begin(epoch)
            rate = float(ops.convert_to_numpy(blender.optimizer.learning_rate))
            ready = perf_counter()
            fitted = blender.fit(**_batches(recipe, plan.batch), shuffle=False, verbose=0).history
            steps = perf_counter() - ready
            checked = blender.evaluate(**_batches(fixed, plan.batch), verbose=0, return_dict=True)
            row = {"epoch": 1 + epoch, "loss": fitted["loss"][-1], "val_loss": checked["loss"]}
            if not (math.isfinite(row["loss"]) and math.isfinite(row["val_loss"])):
                told = f"the loss of {name} is no number after epoch {1 + epoch} (those before are kept)"
                advice = f"look for NaN pixels, or train in another folder with a plan of rate={rate / 3:.1g}"
                raise TrainingError(f"{told}: {advice}.")
            row |= {part: fitted[part][-1] for part in blender.means}
            row |= {f"val_{part}": checked[part] for part in blender.means} | {"learning_rate": float(f"{rate:.7g}")}
            row |= {"seconds": perf_counter() - began, "images_per_second": plan.blends / steps}
            for callback in callbacks:
                callback.on_epoch_end(epoch, {key: v if key == "epoch" else float(v) for key, v in row.items()})
            report({column: [row[column] for row in checkpoint.rows] for column in row})


def _schedule(plan):
    """What sets the learning rate of each epoch, and ends a run that has become flat."""
    if plan.schedule == "plateau":
        halve = keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=4, mode="min", min_delta=0)
        return [halve, keras.callbacks.EarlyStopping(patience=10, mode="min")]
    warm = max(1, plan.epochs // 20)

    def cosine(epoch, _):
        if epoch < warm:
            return plan.rate * (epoch + 1) / (warm + 1)
        return plan.rate * 0.5 * (1 + math.cos(math.pi * (epoch - warm) / max(1, plan.epochs - warm)))

    return [keras.callbacks.LearningRateScheduler(cosine)]


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


def _recipe(layer, n, seed, epoch, close=0.0, pairs=False, hinted=False, usual=0.6):
    """The rows of an epoch and the world of each, a share of these the usual one; epoch 0 is the validation's.

    Of the pairs a share is `close`, a tenth of the others closer still, two in ten up to 4 mag apart. Without `pairs`,
    companions are missing in 18 %, and 40 % have more galaxies anywhere on the stamp, two in the mean and at most 4, as
    the real stamps of CANDELS depth have within 60 pixels. The central galaxy, nearest to it all the same, is up to
    two pixels off the centre in 40 %.
    """
    rng = np.random.default_rng([seed, epoch])
    sizes = np.array([0.8 * close, 0.2 * close, 0.1 * (1 - close), 0.7 * (1 - close)]) * n
    kinds = [(2.0, CLOSE), (4.0, CLOSE), (2.0, (0.0, CLOSE[0])), (2.0, FAR), (4.0, FAR)]
    sizes = np.diff(np.rint(np.cumsum([0, *sizes, n - sizes.sum()])).astype(int))
    drawn = [draw_blends(layer.sample, m, rng, *how) for m, how in zip(sizes, kinds, strict=True) if m]
    order, names = rng.permutation(n), (*RECIPE, "inside", "r_eff")
    recipe = {name: np.concatenate([np.asarray(part[name]) for part in drawn])[order] for name in names}
    if not pairs:
        more = draw_blends(layer.sample, n, rng, 6.0, None, members=1 + min(MORE, len(layer.sample) - 1))
        recipe = {name: np.concatenate([recipe[name], more[name][:, 1:]], axis=1) for name in names}
        extra, which = np.minimum(rng.poisson(2.0, n), MORE) * (rng.random(n) < 0.4), rng.random(n)
        recipe["id"][:, 2:][np.arange(recipe["id"].shape[1] - 2) >= extra[:, None]] = -1
        recipe["id"][which < 0.18, 1] = -1
        recipe["id"][which < 0.09, 2:] = -1
    off = np.rint(rng.uniform(-2.4, 2.4, (n, 2)) * (rng.random((n, 1)) < 0.4)).astype(int)
    apart = np.hypot(recipe["dy"], recipe["dx"])[:, 1:] + np.where(recipe["id"][:, 1:] < 0, 1e4, 0)
    off *= np.hypot(*off.T)[:, None] < 0.4 * apart.min(axis=1, keepdims=True)
    ny, nx = layer.shape
    recipe["dy"] = np.clip(recipe["dy"] + off[:, :1], -ny // 2, ny // 2 - 1)
    recipe["dx"] = np.clip(recipe["dx"] + off[:, 1:], -nx // 2, nx // 2 - 1)
    blended = (apart < 0.5 * np.maximum(recipe["r_eff"][:, 1:], recipe["r_eff"][:, :1])).any(axis=1)
    blends = Table({name: recipe[name] for name in RECIPE}, meta=drawn[0].meta)
    told = hints(blends, np.random.default_rng([seed, epoch, 1]))
    told = told if hinted else np.full_like(told, UNTOLD)
    worlds = {"worlds": draw_worlds(rng, n, usual), "chance": rng.random((n, 10)), "told": told}
    floats = {"blended": blended, "inside": np.nan_to_num(recipe["inside"], nan=1.0)} | worlds
    return layer.recipe(blends) | {name: values.astype(np.float32) for name, values in floats.items()}


def _batches(recipe, batch):
    """Arguments of `fit` and `evaluate`; of TensorFlow without a tuner, whose sleep delays the end of an epoch."""
    if keras.backend.backend() != "tensorflow":
        return {"x": recipe, "batch_size": batch}
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return {"x": tf.data.Dataset.from_tensor_slices(recipe).batch(batch, drop_remainder=True).with_options(options)}


def _card(checkpoint, samples, start):
    """What is known of a finished run, and of the network that it started from."""
    rows, backend = checkpoint.rows, keras.backend.backend()
    new = sum(len(sample) - len(weights.was_seen(start, sample.fingerprints)) for sample in samples)
    packages = {"blendkit": version("blendkit"), "keras": keras.__version__, "backend": f"{backend} {version(backend)}"}
    columns = ("loss", "val_loss", "images_per_second")
    card = {
        "sample": " and ".join(dict.fromkeys(sample.name for sample in samples)),
        "pixel_scale": samples[0].pixel_scale,
        "n_galaxies": start.get("n_galaxies", 0) + new, **weights.seen(samples, start),
        "versions": packages | {"numpy": np.__version__, "python": platform.python_version()},
        "hardware": " and ".join(checkpoint.hardware), "seconds": round(sum(row["seconds"] for row in rows), 1),
        "epochs": len(rows), "best_epoch": 1 + int(np.argmin([row["val_loss"] for row in rows])),
        "history": {name: [float(f"{row[name]:.5g}") for row in rows] for name in columns},
    }  # fmt: skip
    if start:
        card["start"] = {key: start[key] for key in ("name", "sha256", "sample", "seed", "profile") if key in start}
    return card


def _check_samples(train, valid):
    for side, sample in (("training", train), ("validation", valid)):
        require(isinstance(sample, Sample), f"the {side} sample is a {type(sample).__name__}: take both from bk.split.")
        known = "flux_auto" in sample.catalog.colnames
        require(known, f"the {side} sample has no flux_auto, the fluxes to learn: give bk.clean(sample).")
        require(len(sample) > 1, f"the {side} sample has {len(sample)} galaxy, expected at least 2.")
    one, other = ((sample.images.shape[1:], sample.zeropoint, sample.pixel_scale) for sample in (train, valid))
    alike = f"stamp size, zeropoint and pixel scale are {one} in training and {other} in validation"
    require(one == other, f"{alike}, expected the same: take both samples from one survey.")
    shared = set(train.fingerprints.values()) & set(valid.fingerprints.values())
    require(not shared, f"{len(shared)} galaxies are in both training and validation: divide one sample with bk.split.")


def _start_from(network, given):
    """Take over the weights of the whole network (True), or of the U-Net inside it (False)."""
    for part in (network, *(layer for layer in network.layers if layer.name == "unet")):
        if [w.shape for w in part.weights] == [w.shape for w in given.weights]:
            part.set_weights(given.get_weights())
            return part is network
    told, expected = (f"{of.name} with {of.count_params():,} parameters" for of in (given, network))
    raise ValueError(f"the weights to start from are of {told}, expected a {expected}: give the plan of that run.")


def _digest(what):
    """A short name for a sample or a network's weights."""
    if isinstance(what, Sample):
        pieces = [" ".join([*what.fingerprints.values(), what.sky_fingerprint, str(what.zeropoint)]).encode()]
    else:
        pieces = [array.tobytes() for array in what.get_weights()]
    return hashlib.sha256(b"".join(pieces)).hexdigest()[:16]
