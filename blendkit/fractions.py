"""Our own network: which share of each pixel's light belongs to whom?

Both galaxies look nearly the same after a turn by 180 degrees about their own centres. What the turned picture cannot
explain belongs to the other galaxy: the network sees both turned pictures, and learns where that rule of thumb fails.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import layers, ops

if TYPE_CHECKING:
    from astropy.table import Table

    from .blendlayer import BlendLayer

UNTOLD = -10_000  # a position that says: find it yourself
PATCH = 8  # pixels on a side: the convolutions work on a grid of patches
FINE = 2  # the same in the inner half of the stamp, where the blends lie that are hard to separate
_SKY = 0.006  # e-/s per pixel, the noise that the brightness scale and the targets are set by
_SERIAL = keras.saving.register_keras_serializable("blendkit")


@_SERIAL
class TurnAbout(layers.Layer):
    """The picture turned by 180 degrees about a pixel; zero where the turned picture ends."""

    def call(self, picture, position):
        """`picture` (n, ny, nx), `position` (n, 2) int32 row and column; returns (n, ny, nx)."""
        ny, nx = picture.shape[1:]
        y = 2 * ops.expand_dims(position[:, 0], 1) - ops.arange(ny, dtype="int32")[None]
        x = 2 * ops.expand_dims(position[:, 1], 1) - ops.arange(nx, dtype="int32")[None]
        inside = ((y >= 0) & (y < ny))[:, :, None] & ((x >= 0) & (x < nx))[:, None, :]
        at = ops.clip(y, 0, ny - 1)[:, :, None] * nx + ops.clip(x, 0, nx - 1)[:, None, :]
        turned = ops.take_along_axis(ops.reshape(picture, (-1, ny * nx)), ops.reshape(at, (-1, ny * nx)), axis=1)
        return ops.where(inside, ops.reshape(turned, (-1, ny, nx)), 0.0)

    def compute_output_spec(self, picture, position):
        """Shape and type of the turned picture."""
        return keras.KerasTensor(picture.shape, picture.dtype)


@_SERIAL
class Peak(layers.Layer):
    """Row and column of the highest value of a map cut into patches, (n, 2) int32."""

    def call(self, heat):
        """`heat` (n, gy, gx, pixels of a patch); returns (n, 2)."""
        gx = heat.shape[2]
        at = ops.cast(ops.argmax(ops.reshape(heat, (-1, heat.shape[1] * gx * PATCH**2)), axis=1), "int32")
        patch, pixel = at // PATCH**2, at % PATCH**2
        return ops.stack([patch // gx * PATCH + pixel // PATCH, patch % gx * PATCH + pixel % PATCH], axis=-1)

    def compute_output_spec(self, heat):
        """Shape and type of the positions."""
        return keras.KerasTensor((heat.shape[0], 2), "int32")


@_SERIAL
class Compass(layers.Layer):
    """How far each patch is from a pixel, and in which direction: (n, gy, gx, 4)."""

    def __init__(self, shape, **kwargs):
        super().__init__(**kwargs)
        self.shape = tuple(shape)

    def call(self, position):
        """`position` (n, 2) int32 row and column; returns two distances and a direction for each patch."""
        dtype = self.compute_dtype
        y, x = (PATCH * ops.arange(n // PATCH, dtype="int32") + PATCH // 2 for n in self.shape)
        dy = ops.cast(y[None] - ops.expand_dims(position[:, 0], 1), dtype)[:, :, None] / 16
        dx = ops.cast(x[None] - ops.expand_dims(position[:, 1], 1), dtype)[:, None, :] / 16
        r = ops.sqrt(dy**2 + dx**2)
        return ops.stack([ops.exp(-2 * r), ops.exp(-r / 2), dy / (1 + r), dx / (1 + r)], axis=-1)

    def compute_output_spec(self, position):
        """Shape and type of the map."""
        ny, nx = self.shape
        return keras.KerasTensor((position.shape[0], ny // PATCH, nx // PATCH, 4), self.compute_dtype)

    def get_config(self):
        """What this layer is made from."""
        return super().get_config() | {"shape": self.shape}


@_SERIAL
class ErrorScale(layers.Layer):
    """A factor for each galaxy, set by `calibrate` once the network is trained."""

    def __init__(self, **kwargs):
        super().__init__(**{"trainable": False, "dtype": "float32"} | kwargs)

    def build(self, shape):
        """One factor for each column."""
        self.factor = self.add_weight(shape=(shape[-1],), initializer="ones", trainable=False, name="factor")

    def call(self, errors):
        """`errors` (n, 2), e-/s; returns them scaled."""
        return errors * self.factor


def to_patches(maps, side=PATCH):
    """Pixels into patches: (n, ny, nx, c) to (n, gy, gx, pixels of a patch, c)."""
    ny, nx, c = maps.shape[1:]
    maps = ops.reshape(maps, (-1, ny // side, side, nx // side, side, c))
    return ops.reshape(ops.transpose(maps, (0, 1, 3, 2, 4, 5)), (-1, ny // side, nx // side, side**2, c))


def to_pixels(patches):
    """Patches back to pixels: (n, gy, gx, pixels of a patch, c) to (n, ny, nx, c)."""
    gy, gx, pixels, c = patches.shape[1:]
    side = math.isqrt(pixels)
    patches = ops.reshape(patches, (-1, gy, gx, side, side, c))
    return ops.reshape(ops.transpose(patches, (0, 1, 3, 2, 4, 5)), (-1, gy * side, gx * side, c))


def fractions(width: int = 48, *, shape: tuple[int, int] = (128, 128)) -> keras.Model:
    """The network that divides every pixel's light between the two galaxies and the sky.

    A first half, ``get_layer("locate")``, finds the companion in the blend and in the blend turned about the centre. A
    second one, ``get_layer("separate")``, sees the blend turned about the companion as well and gives each pixel three
    shares (a softmax over central, companion and sky). The separated images are share x blend; a flux is their sum,
    times a learned factor of at most 1.35 for light that is lost in the sky. Both halves work on patches of 8 x 8
    pixels, and of 4 x 4 and 2 x 2 pixels in the middle of the stamp (half its height and width), where the blends lie
    that are hard to separate. Brightness is seen relative to a sky noise of 0.006 e-/s per pixel; stamps in quite other
    units need scaling first.

    Parameters
    ----------
    width : int
        Features of a patch; 48 gives 0.9 million parameters.
    shape : (ny, nx)
        Of a stamp, in multiples of 32 pixels.

    Returns
    -------
    keras.Model
        From blends (n, ny, nx, 1), e-/s, to a dict: `fluxes` and `errors` (one sigma) (n, 2), e-/s; `masks`
        (n, ny, nx, 2), 0 to 1; `images` (n, ny, nx, 2), e-/s, the galaxies apart. Central first.

    Raises
    ------
    ValueError
        Where the width is no positive whole number, or the stamp cannot be cut into patches and halved twice.
    """
    if not isinstance(width, int | np.integer) or width < 1:
        raise ValueError(f"width = {width!r} was given, expected a whole number of at least 1: use 48.")
    try:
        ny, nx = shape = tuple(map(int, shape))
    except (TypeError, ValueError):
        raise ValueError(f"shape = {shape!r} was given, expected (ny, nx) in pixels, such as (128, 128).") from None
    if ny < 32 or nx < 32 or ny % 32 or nx % 32:
        raise ValueError(f"stamps of {ny} x {nx} pixels were asked for, expected multiples of 32: cut or pad them.")
    image = keras.Input((*shape, 1), name="image")
    blend = layers.Reshape(shape)(image)
    x, xc, smooth, middle = _look(blend, shape)
    heat, features = _locator(width, shape)([x, xc])
    outputs = _separator(width, shape)([blend, x, xc, smooth, middle, Peak(name="found")(heat), features])
    shares = ops.softmax(ops.pad(outputs["shares"], [(0, 0)] * 4 + [(0, 1)]), axis=-1)[..., :2]
    return keras.Model(
        image,
        {
            "fluxes": outputs["fluxes"],
            "errors": ErrorScale(name="error_scale")(outputs["fluxes"] * ops.exp(outputs["log_errors"])),
            "masks": ops.sigmoid(to_pixels(outputs["masks"])),
            "images": to_pixels(shares) * image,
        },
        name="fractions",
    )


def _look(blend, shape):
    """The blend on a scale that shows faint and bright, the same turned about the centre, and the centre."""
    smooth = ops.average_pool(blend[..., None], 5, strides=1, padding="same", data_format="channels_last")
    x = ops.arcsinh(blend / (2 * _SKY))
    middle = ops.zeros_like(ops.cast(blend[:, 0, :2], "int32")) + ops.array([n // 2 for n in shape], "int32")
    return x, TurnAbout()(x, middle), smooth, middle


def _locator(width, shape):
    x, xc = (keras.Input(shape, name=name) for name in ("light", "turned"))
    pictures = ops.stack([x, xc, ops.relu(x - xc)], axis=-1)
    maps = to_patches(pictures)
    near, skips = _near(pictures, width)
    features = _trunk(ops.concatenate([_stem(maps, width), near], axis=-1), width)
    heat = _per_pixel(features, _back(features, skips), maps, 1)[..., 0]
    return keras.Model([x, xc], [heat, features], name="locate")


def _separator(width, shape):
    blend, x, xc = (keras.Input(shape, name=name) for name in ("blend", "light", "turned"))
    smooth = keras.Input((*shape, 1), name="smooth")
    middle, position = (keras.Input((2,), dtype="int32", name=name) for name in ("middle", "position"))
    clues = keras.Input((shape[0] // PATCH, shape[1] // PATCH, width), name="clues")
    xk = TurnAbout()(x, position)
    maps = [
        x,
        xc,
        xk,
        ops.relu(x - xc),
        ops.relu(x - xk),
        ops.arcsinh(smooth[..., 0] / (0.5 * _SKY)),
        blend,
        smooth[..., 0],
    ]
    pictures = ops.stack(maps, axis=-1)
    near, skips = _near(pictures[..., :6], width)
    maps = to_patches(pictures)
    maps, light, faint = maps[..., :6], maps[..., 6:7], maps[..., 7:]
    places = Compass(shape)(middle), Compass(shape)(position)
    features = _trunk(ops.concatenate([_stem(maps, width), near, clues, *places], axis=-1), width)
    fine = _back(features, skips)
    logits = _per_pixel(features, fine, maps, 2)
    shares = ops.softmax(ops.pad(logits, [(0, 0)] * 4 + [(0, 1)]), axis=-1)[..., :2]
    images = shares * light
    seen = ops.arcsinh(ops.stop_gradient(shares) * faint / (0.5 * _SKY))
    masks = _per_pixel(features, fine, ops.concatenate([maps[..., 5:6], seen], axis=-1), 2)
    light = ops.sum(images, axis=3)  # of each galaxy, in each patch
    raw = ops.maximum(ops.sum(light, axis=(1, 2)), 0.1)
    light = ops.relu(light) / (ops.sum(ops.relu(light), axis=(1, 2), keepdims=True) + 1e-6)
    pooled = ops.einsum("nyxg,nyxf->ngf", light, features)
    logs = ops.log(raw)[..., None] - 4
    galaxy = ops.concatenate([pooled, ops.flip(pooled, axis=1), logs, ops.flip(logs, axis=1)], axis=-1)
    hidden = layers.Dense(2 * width, activation="relu")(layers.Flatten()(galaxy))
    correction = 0.3 * ops.tanh(layers.Dense(2, kernel_initializer="zeros")(hidden))
    hidden = layers.Dense(2 * width, activation="relu")(ops.stop_gradient(layers.Flatten()(galaxy)))
    log_errors = layers.Dense(2, kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(-2.5))(hidden)
    outputs = {
        "fluxes": raw * ops.exp(correction),
        "log_errors": ops.clip(log_errors, -5, 1),
        "shares": logits,
        "masks": masks,
    }
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
    gy, gx, pixels, m = patches.shape[1:]
    return layers.Reshape((gy, gx, pixels * m))(patches)


def _stem(maps, width):
    return layers.Conv2D(2 * width, 1, activation="relu")(_flat(maps))


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


def _trunk(x, width):
    """A small U-Net on the grid of patches, with one look at the whole stamp at its bottom."""
    sizes = [width, 4 * width // 3, 4 * width // 3]
    x = layers.Conv2D(width, 1)(x)
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


def told(blends: Table, rng: np.random.Generator) -> np.ndarray:
    """Where the second half is told to look for the companion while it is trained.

    Half of the blends get the true shift, up to a pixel or a few; the others have to do with what the first half finds.

    Parameters
    ----------
    blends : astropy.table.Table
    rng : numpy.random.Generator

    Returns
    -------
    array of int32, shape (n, 2)
        `dy` and `dx`, or `UNTOLD`.
    """
    n = len(blends)
    at = np.stack([np.asarray(blends["dy"]), np.asarray(blends["dx"])], 1)
    at = at + np.rint(rng.normal(0, rng.choice([0.4, 1.5], (n, 1)), (n, 2))).astype(int)
    return np.where(rng.random((n, 1)) < 0.5, at, UNTOLD).astype(np.int32)


def fractions_loss(network: keras.Model, blend: dict[str, Any], training: bool) -> dict[str, Any]:
    """What `fractions` is trained on: fluxes, shares of light, masks, the companion's place and the flux errors.

    Parameters
    ----------
    network : keras.Model
        From `fractions`.
    blend : dict of tensors
        See `blendkit.training.Blender`.
    training : bool

    Returns
    -------
    dict of tensors of shape (n,)
        `loss`, the sum of: three times the error of both fluxes' logarithms; the cross-entropy of the shares (`share`),
        each pixel weighted by its part of either flux; half of the masks' binary cross-entropy and a fifth of their
        Dice loss (`mask`); a tenth of the cross-entropy of the companion's place (`heat`); a twentieth of the Laplace
        likelihood of the flux errors (`error`). Beside these: `mape_central` and `mape_companion` (%, equation 1),
        `iou`, `far` (share of companions looked for more than 3.5 pixels off), `in1` and `in2` (share of fluxes within
        one and two of the predicted errors, before `calibrate`).
    """
    ny, nx = shape = network.input_shape[1:3]
    image = blend["image"]
    x, xc, around, middle = _look(image, shape)
    heat, features = network.get_layer("locate")([x, xc], training=training)
    true = middle + ops.stack([blend["dy"], blend["dx"]], axis=-1)
    here = ops.clip(middle + blend["told"], 0, ops.array([ny - 1, nx - 1], "int32"))
    position = ops.where(blend["told"] == UNTOLD, Peak()(heat), here)
    out = network.get_layer("separate")([image, x, xc, around, middle, position, features], training=training)

    # where the companion is
    gy, gx = (
        ops.exp(-0.5 * ops.cast(ops.arange(n, dtype="int32")[None] - true[:, k, None], "float32") ** 2)
        for k, n in enumerate(shape)
    )
    target = to_patches((gy[:, :, None] * gx[:, None, :])[..., None])
    target = ops.reshape(target / ops.sum(target, axis=(1, 2, 3), keepdims=True), (-1, ny * nx))
    heat_loss = -ops.sum(target * ops.log_softmax(ops.reshape(heat, (-1, ny * nx)), axis=-1), axis=-1)

    # whose light each pixel is
    parts = ops.stack([blend["central"], blend["companion"]], axis=-1)
    smooth = ops.average_pool(parts, 5, strides=1, padding="same", data_format="channels_last")
    light = ops.where(parts > 6 * _SKY, parts, ops.where(smooth > 0.3 * _SKY, smooth, 0.0))
    labels = to_patches(ops.concatenate([light, blend["masks"]], axis=-1))
    light, masks = labels[..., :2], labels[..., 2:]
    shares = light / (ops.sum(light, axis=-1, keepdims=True) + 0.5 * _SKY)
    fluxes = blend["fluxes"]
    weight = ops.sum(light / fluxes[:, None, None, None, :], axis=-1)
    logits = out["shares"]
    a, b = logits[..., 0], logits[..., 1]
    top = ops.relu(ops.maximum(a, b))
    norm = top + ops.log(ops.exp(a - top) + ops.exp(b - top) + ops.exp(-top))
    share_loss = ops.sum(weight * (norm - ops.sum(shares * logits, axis=-1)), axis=(1, 2, 3))

    # fluxes and their errors
    off = ops.abs(ops.log(out["fluxes"]) - ops.log(fluxes))
    flux_loss = ops.sum(off, axis=-1)
    z = ops.stop_gradient(off) * ops.exp(-out["log_errors"])
    error_loss = ops.sum(z + out["log_errors"], axis=-1)

    m = out["masks"]
    sigmoid = ops.sigmoid(m)
    bce = ops.mean(ops.softplus(m) - m * masks, axis=(1, 2, 3, 4))
    dice = 1 - (2 * ops.sum(sigmoid * masks, axis=(1, 2, 3)) + 1) / (ops.sum(sigmoid + masks, axis=(1, 2, 3)) + 1)
    mask_loss = bce + 0.2 * ops.mean(dice, axis=-1)

    loss = 3 * flux_loss + share_loss + 0.5 * mask_loss + 0.05 * error_loss + 0.1 * heat_loss
    percent = 100 * ops.abs(out["fluxes"] / fluxes - 1)
    miss = ops.sqrt(ops.cast(ops.sum((Peak()(heat) - true) ** 2, axis=-1), "float32"))
    hit = ops.cast(m > 0, "float32")
    iou = ops.sum(hit * masks, axis=(1, 2, 3)) / (ops.sum(ops.maximum(hit, masks), axis=(1, 2, 3)) + 1e-6)
    return {"loss": loss, "mape_central": percent[:, 0], "mape_companion": percent[:, 1], "share": share_loss,
            "heat": heat_loss, "mask": mask_loss, "error": error_loss, "far": ops.cast(miss > 3.5, "float32"),
            "iou": ops.mean(iou, axis=-1), "in1": ops.mean(ops.cast(z < 1, "float32"), axis=-1),
            "in2": ops.mean(ops.cast(z < 2, "float32"), axis=-1)}  # fmt: skip


def calibrate(network: keras.Model, layer: BlendLayer, recipe: dict[str, np.ndarray]) -> None:
    """Scale the network's flux errors, in place, so that they hold for blends that it was not trained on.

    The factor of each galaxy puts 68.3 % of the fluxes within one error. Since confusion has heavier tails than a
    Gaussian, two errors hold a little less than 95.4 %.

    Parameters
    ----------
    network : keras.Model
        From `fractions`, trained.
    layer : BlendLayer
        Of the validation sample.
    recipe : dict of arrays
        Of the validation blends.
    """
    scale = network.get_layer("error_scale")
    scale.factor.assign(np.ones(2))
    pulls = []
    for start in range(0, len(recipe["rows"]), 64):
        images, _, fluxes = layer({name: column[start : start + 64] for name, column in recipe.items()})
        out = network.predict_on_batch(images[..., None])
        pulls.append(np.abs(out["fluxes"] - ops.convert_to_numpy(fluxes)) / out["errors"])
    pulls = np.concatenate(pulls)
    scale.factor.assign(np.quantile(pulls, 0.683, axis=0))
