"""Our own network: which share of each pixel's light belongs to whom?

A galaxy turned by 180 degrees about its centre looks nearly the same; the rest of the light is the other one's. The
network sees the blend turned about both centres, and learns where that rule of thumb fails.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from astropy.table import Table
from keras import layers, ops

from ..blends.layer import BlendLayer
from .paper import check

UNTOLD = -10_000  # a position that says: find it yourself
PATCH = 8  # pixels on a side: the convolutions work on a grid of patches
FINE = 2  # the same in the inner half of the stamp, where the blends lie that are hard to separate
SKY = 0.006  # e-/s per pixel, the noise that the brightness scale and the targets are set by
serial = keras.saving.register_keras_serializable("blendkit")


@serial
class TurnAbout(layers.Layer):
    """Pictures (n, ny, nx) turned by 180 degrees about pixels (n, 2), int32 row and column; zero where they end."""

    def call(self, picture, position):
        ny, nx = picture.shape[1:]
        y = 2 * ops.expand_dims(position[:, 0], 1) - ops.arange(ny, dtype="int32")[None]
        x = 2 * ops.expand_dims(position[:, 1], 1) - ops.arange(nx, dtype="int32")[None]
        inside = ((y >= 0) & (y < ny))[:, :, None] & ((x >= 0) & (x < nx))[:, None, :]
        at = ops.clip(y, 0, ny - 1)[:, :, None] * nx + ops.clip(x, 0, nx - 1)[:, None, :]
        turned = ops.take_along_axis(ops.reshape(picture, (-1, ny * nx)), ops.reshape(at, (-1, ny * nx)), axis=1)
        return ops.where(inside, ops.reshape(turned, (-1, ny, nx)), 0.0)


@serial
class ErrorScale(layers.Layer):
    """A factor for the error of each galaxy, (n, 2), set by `calibrate` once the network is trained."""

    def build(self, shape):
        self.factor = self.add_weight(shape=(shape[-1],), initializer="ones", trainable=False, name="factor")

    def call(self, errors):
        return errors * self.factor


def peak(heat):
    """Row and column of the highest value of a map cut into patches: (n, gy, gx, pixels of a patch) to (n, 2) int32."""
    gy, gx = heat.shape[1:3]
    at = ops.cast(ops.argmax(ops.reshape(heat, (-1, gy * gx * PATCH**2)), axis=1), "int32")
    patch, pixel = at // PATCH**2, at % PATCH**2
    return ops.stack([patch // gx * PATCH + pixel // PATCH, patch % gx * PATCH + pixel % PATCH], axis=-1)


def compass(position, shape):
    """How far each patch is from a pixel, (n, 2) int32, and in which direction: (n, gy, gx, 4)."""
    y, x = (np.arange(PATCH // 2, n, PATCH, dtype=np.int32)[None] for n in shape)
    dtype = keras.config.dtype_policy().compute_dtype
    dy = ops.cast(ops.subtract(y, position[:, :1]), dtype)[:, :, None] / 16
    dx = ops.cast(ops.subtract(x, position[:, 1:]), dtype)[:, None, :] / 16
    r = ops.sqrt(dy**2 - -(dx**2))  # `+` of one stamp's maps is a bias to Keras on TensorFlow
    return ops.stack([ops.exp(-2 * r), ops.exp(-r / 2), dy / (1 + r), dx / (1 + r)], axis=-1)


def to_patches(maps, side=PATCH):
    """Pixels into patches: (n, ny, nx, c) to (n, gy, gx, pixels of a patch, c)."""
    ny, nx, c = maps.shape[1:]
    maps = ops.reshape(maps, (-1, ny // side, side, nx // side, side, c))
    return ops.reshape(ops.transpose(maps, (0, 1, 3, 2, 4, 5)), (-1, ny // side, nx // side, side**2, c))


def to_pixels(patches):
    """Patches back to pixels: (n, gy, gx, pixels of a patch, c) to (n, ny, nx, c)."""
    gy, gx, pixels, c = patches.shape[1:]
    side = math.isqrt(pixels)
    patches = ops.transpose(ops.reshape(patches, (-1, gy, gx, side, side, c)), (0, 1, 3, 2, 4, 5))
    return ops.reshape(patches, (-1, gy * side, gx * side, c))


def fractions(width: int = 48, *, shape: tuple[int, int] = (128, 128)) -> keras.Model:
    """The network that divides every pixel's light between the two galaxies and the sky.

    From blends (n, ny, nx, 1) to a dict: `fluxes` and `errors` (n, 2), `masks` and `images` (n, ny, nx, 2). The layer
    "locate" finds the companion in the blend and in the blend turned about the centre; "separate" sees the blend turned
    about the companion as well and gives each pixel three shares (central, companion, sky). The images are share x
    blend; a flux is their sum, times a learned factor of at most 1.35 for light that is lost in the sky.

    Parameters
    ----------
    width : int
        Features of a patch; 48 gives 0.9 million parameters.
    shape : (ny, nx)
        Of a stamp, in multiples of 32 pixels.
    """
    check(shape, 32, width=width)
    image = keras.Input((*shape, 1), name="image")
    blend = layers.Reshape(shape)(image)
    x, xc, smooth, middle = _look(blend, shape)
    heat, features = _locator(width, shape)([x, xc])
    out = _separator(width, shape)([blend, x, xc, smooth, middle, peak(heat), features])
    scale = ErrorScale(name="error_scale", trainable=False, dtype="float32")
    outputs = {"fluxes": out["fluxes"], "errors": scale(out["fluxes"] * ops.exp(out["log_errors"]))}
    outputs |= {"images": to_pixels(_shares(out["shares"])) * image, "masks": ops.sigmoid(to_pixels(out["masks"]))}
    return keras.Model(image, outputs, name="fractions")


def _look(blend, shape):
    """The blend on a scale that shows faint and bright, the same turned about the centre, and the centre."""
    smooth = ops.average_pool(blend[..., None], 5, strides=1, padding="same", data_format="channels_last")
    x = ops.arcsinh(blend / (2 * SKY))
    middle = ops.zeros_like(ops.cast(blend[:, 0, :2], "int32")) + ops.array([n // 2 for n in shape], "int32")
    return x, TurnAbout()(x, middle), smooth, middle


def _locator(width, shape):
    x, xc = (keras.Input(shape, name=name) for name in ("light", "turned"))
    pictures = ops.stack([x, xc, ops.relu(x - xc)], axis=-1)
    maps, (near, skips) = to_patches(pictures), _near(pictures, width)
    features = _trunk(maps, [near], width)
    heat = _per_pixel(features, _back(features, skips), maps, 1)[..., 0]
    return keras.Model([x, xc], [heat, features], name="locate")


def _separator(width, shape):
    blend, x, xc = (keras.Input(shape, name=name) for name in ("blend", "light", "turned"))
    smooth = keras.Input((*shape, 1), name="smooth")
    middle, position = (keras.Input((2,), dtype="int32", name=name) for name in ("middle", "position"))
    clues = keras.Input((shape[0] // PATCH, shape[1] // PATCH, width), name="clues")
    xk = TurnAbout()(x, position)
    around = ops.arcsinh(smooth[..., 0] / (0.5 * SKY))
    pictures = ops.stack([x, xc, xk, ops.relu(x - xc), ops.relu(x - xk), around, blend, smooth[..., 0]], axis=-1)
    near, skips = _near(pictures[..., :6], width)
    maps = to_patches(pictures)
    maps, light, faint = maps[..., :6], maps[..., 6:7], maps[..., 7:]
    features = _trunk(maps, [near, clues, compass(middle, shape), compass(position, shape)], width)
    fine = _back(features, skips)
    logits = _per_pixel(features, fine, maps, 2)
    shares = _shares(logits)
    seen = ops.arcsinh(ops.stop_gradient(shares) * faint / (0.5 * SKY))
    masks = _per_pixel(features, fine, ops.concatenate([maps[..., 5:], seen], axis=-1), 2)
    light = ops.sum(shares * light, axis=3)  # of each galaxy, in each patch
    raw = ops.maximum(ops.sum(light, axis=(1, 2)), 0.1)
    light = ops.relu(light) / (ops.sum(ops.relu(light), axis=(1, 2), keepdims=True) + 1e-6)
    pooled = ops.einsum("nyxg,nyxf->ngf", light, features)
    logs = ops.log(raw)[..., None] - 4
    galaxy = ops.concatenate([pooled, ops.flip(pooled, axis=1), logs, ops.flip(logs, axis=1)], axis=-1)
    hidden = layers.Dense(2 * width, activation="relu")(layers.Flatten()(galaxy))
    correction = 0.3 * ops.tanh(layers.Dense(2, kernel_initializer="zeros")(hidden))
    hidden = layers.Dense(2 * width, activation="relu")(ops.stop_gradient(layers.Flatten()(galaxy)))
    log_errors = layers.Dense(2, kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(-2.5))(hidden)
    outputs = {"fluxes": raw * ops.exp(correction), "log_errors": ops.clip(log_errors, -5, 1)}
    outputs |= {"shares": logits, "masks": masks}
    return keras.Model([blend, x, xc, smooth, middle, position, clues], outputs, name="separate")


def _per_pixel(features, fine, maps, n):
    """`n` numbers for each pixel: its own, in the inner half from `fine` too, and a mixture of `maps` by its patch."""
    gy, gx, pixels, m = maps.shape[1:]
    own = layers.Reshape((gy, gx, pixels, n))(layers.Conv2D(pixels * n, 1)(features))
    inner = layers.Reshape((*fine.shape[1:3], FINE**2, n))(layers.Conv2D(FINE**2 * n, 1)(fine))
    inner = ops.pad(to_patches(to_pixels(inner)), [(0, 0), (gy // 4, gy // 4), (gx // 4, gx // 4), (0, 0), (0, 0)])
    weights = layers.Reshape((gy, gx, m, n))(layers.Conv2D(m * n, 1, kernel_initializer="zeros")(features))
    return own + inner + ops.matmul(maps, weights)


def _flat(patches):
    return layers.Reshape((*patches.shape[1:3], math.prod(patches.shape[3:])))(patches)


def _shares(logits):
    """Softmax over central, companion and sky, whose logit is 0; the sky's share is left out."""
    return ops.softmax(ops.pad(logits, [(0, 0)] * 4 + [(0, 1)]), axis=-1)[..., :2]


def _near(pictures, width):
    """The inner half of the stamp seen finely: features for its patches, zero elsewhere; and those of finer patches."""
    ny, nx = pictures.shape[1:3]
    x = layers.Cropping2D((ny // 4, nx // 4))(pictures)
    skips = []
    for side, filters in ((FINE, max(width // 3, 1)), (2, max(2 * width // 3, 1))):
        x = layers.Conv2D(filters, 1, activation="relu")(_flat(to_patches(x, side)))
        x = _convs(x, filters)
        skips.append(x)
    return layers.ZeroPadding2D((ny // 4 // PATCH, nx // 4 // PATCH))(_flat(to_patches(x, 2))), skips


def _back(features, skips):
    """Features of the inner half's finest patches."""
    x = layers.Cropping2D((features.shape[1] // 4, features.shape[2] // 4))(features)
    for skip in skips[::-1]:
        x = layers.UpSampling2D()(layers.Conv2D(skip.shape[-1], 1)(x))
        x = _convs(x + skip, skip.shape[-1])
    return x


def _convs(x, filters):
    for _ in range(2):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.97)(x))
    return x


def _trunk(maps, clues, width):
    """A small U-Net on the grid of patches, with one look at the whole stamp at its bottom."""
    sizes = [width, 4 * width // 3, 4 * width // 3]
    x = layers.Conv2D(2 * width, 1, activation="relu")(_flat(maps))
    x = layers.Conv2D(width, 1)(ops.concatenate([x, *clues], axis=-1))
    skips = []
    for filters in sizes[:-1]:
        x = _convs(x, filters)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = _convs(x, sizes[-1])
    whole = layers.Dense(sizes[-1], activation="relu")(layers.GlobalAveragePooling2D()(x))
    x = x + layers.Reshape((1, 1, sizes[-1]))(layers.Dense(sizes[-1])(whole))
    for filters, skip in zip(sizes[-2::-1], skips[::-1], strict=True):
        x = layers.UpSampling2D()(layers.Conv2D(filters, 1)(x))
        x = _convs(x + skip, filters)
    return x


def hints(blends: Table, rng: np.random.Generator) -> np.ndarray:
    """Where to look for the companion in training, (n, 2) int32: nearly the true `dy`, `dx` in half of the blends."""
    n, at = len(blends), np.stack([blends["dy"][:, 1], blends["dx"][:, 1]], axis=1)
    at = at + np.rint(rng.normal(0, rng.choice([0.4, 1.5], (n, 1)), (n, 2))).astype(int)
    return np.where(rng.random((n, 1)) < 0.5, at, UNTOLD).astype(np.int32)


def fractions_loss(network: keras.Model, blend: dict[str, Any], training: bool) -> dict[str, Any]:
    """What `fractions` is trained on, of `blend` (see `blendkit.networks.training.Blender`); tensors of shape (n,).

    `loss` is the sum of: three times the error of both fluxes' logarithms; the cross-entropy of the shares (`share`),
    each pixel weighted by its part of either flux; half of `mask`, binary cross-entropy and a fifth of the Dice loss; a
    tenth of the cross-entropy of the companion's place (`heat`); a twentieth of the Laplace likelihood of the errors
    (`error`). `far` are companions looked for more than 3.5 pixels off, `in1`, `in2` fluxes within one, two errors.
    """
    ny, nx = shape = network.input_shape[1:3]
    image, parts, fluxes = blend["image"], blend["parts"], blend["fluxes"]
    x, xc, around, middle = _look(image, shape)
    heat, features = network.get_layer("locate")([x, xc], training=training)
    true = middle + ops.stack([blend["dy"][:, 1], blend["dx"][:, 1]], axis=-1)
    here = ops.clip(middle + blend["told"], 0, ops.array([ny - 1, nx - 1], "int32"))
    found = peak(heat)
    position = ops.where(blend["told"] == UNTOLD, found, here)
    out = network.get_layer("separate")([image, x, xc, around, middle, position, features], training=training)

    # where the companion is
    y, x = (ops.subtract(np.arange(n, dtype=np.int32)[None], true[:, j : j + 1]) for j, n in enumerate(shape))
    y, x = (ops.exp(-0.5 * ops.cast(off, "float32") ** 2) for off in (y, x))
    target = to_patches((y[:, :, None] * x[:, None, :])[..., None])
    target = ops.reshape(target / ops.sum(target, axis=(1, 2, 3), keepdims=True), (-1, ny * nx))
    heat_loss = -ops.sum(target * ops.log_softmax(ops.reshape(heat, (-1, ny * nx)), axis=-1), axis=-1)

    # whose light each pixel is
    smooth = ops.average_pool(parts, 5, strides=1, padding="same", data_format="channels_last")
    light = ops.where(parts > 6 * SKY, parts, ops.where(smooth > 0.3 * SKY, smooth, 0.0))
    light, masks = ops.split(to_patches(ops.concatenate([light, blend["masks"]], axis=-1)), 2, axis=-1)
    shares = light / (ops.sum(light, axis=-1, keepdims=True) + 0.5 * SKY)
    weight = ops.sum(light / fluxes[:, None, None, None, :], axis=-1)
    logits, m = out["shares"], out["masks"]
    a, b = logits[..., 0], logits[..., 1]
    top = ops.relu(ops.maximum(a, b))
    norm = top + ops.log(ops.exp(a - top) + ops.exp(b - top) + ops.exp(-top))
    share_loss = ops.sum(weight * (norm - ops.sum(shares * logits, axis=-1)), axis=(1, 2, 3))

    # fluxes and their errors
    off = ops.abs(ops.log(out["fluxes"]) - ops.log(fluxes))
    z = ops.stop_gradient(off) * ops.exp(-out["log_errors"])
    error_loss = ops.sum(z + out["log_errors"], axis=-1)

    sigmoid = ops.sigmoid(m)
    bce = ops.mean(ops.softplus(m) - m * masks, axis=(1, 2, 3, 4))
    dice = 1 - (2 * ops.sum(sigmoid * masks, axis=(1, 2, 3)) + 1) / (ops.sum(sigmoid + masks, axis=(1, 2, 3)) + 1)
    mask_loss = bce + 0.2 * ops.mean(dice, axis=-1)

    loss = 3 * ops.sum(off, axis=-1) + share_loss + 0.5 * mask_loss + 0.05 * error_loss + 0.1 * heat_loss
    percent = 100 * ops.abs(out["fluxes"] / fluxes - 1)
    miss = ops.sqrt(ops.cast(ops.sum((found - true) ** 2, axis=-1), "float32"))
    hit = ops.cast(m > 0, "float32")
    iou = ops.sum(hit * masks, axis=(1, 2, 3)) / (ops.sum(ops.maximum(hit, masks), axis=(1, 2, 3)) + 1e-6)
    within = {f"in{n}": ops.mean(ops.cast(z < n, "float32"), axis=-1) for n in (1, 2)}
    return {"loss": loss, "mape_central": percent[:, 0], "mape_companion": percent[:, 1], "share": share_loss,
            "heat": heat_loss, "mask": mask_loss, "error": error_loss, "far": ops.cast(miss > 3.5, "float32"),
            "iou": ops.mean(iou, axis=-1)} | within  # fmt: skip


def calibrate(network: keras.Model, layer: BlendLayer, recipe: dict[str, np.ndarray]) -> None:
    """Scale the network's flux errors, in place: 68.3 % of a recipe's fluxes, not trained on, lie within one error."""
    factor, pulls = network.get_layer("error_scale").factor, []
    factor.assign(np.ones(2))
    for start in range(0, len(recipe["rows"]), 64):
        images, _, fluxes = layer({name: column[start : start + 64] for name, column in recipe.items()})
        out = network.predict_on_batch(images[..., None])
        pulls.append(np.abs(out["fluxes"] - ops.convert_to_numpy(fluxes)) / out["errors"])
    factor.assign(np.quantile(np.concatenate(pulls), 0.683, axis=0))
