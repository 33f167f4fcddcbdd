"""Our own network: which share of each pixel's light is this galaxy's, and which everybody else's?

A galaxy turned by 180 degrees about its centre looks nearly the same; the rest of the light is another one's. The
network sees the blend turned about the centre of each galaxy, and learns where that rule of thumb fails.
"""

import math
from typing import Any

import keras
import numpy as np
from astropy.table import Table
from keras import layers, ops

from ..blends.world import RANGES
from ..data.sky import NOISE as SKY
from .paper import check
from .sky import USUAL, Sky, measure_sky, serial, smoothed
from .world import CROWD, CROWDED, strange_stamps

UNTOLD = -10_000  # a position that says: find it yourself
PATCH = 8  # pixels on a side: the convolutions work on a grid of patches
FINE = 2  # the same in the inner half of the stamp, where the blends lie that are hard to separate
FAINT = 40 * SKY  # errors of fluxes are absolute well below, relative well above; the noise is `USUAL` in these units
NEAR = 3  # pixels from the centre of the stamp, within which the central galaxy is looked for
OTHERS = 5  # galaxies beside the central one whose places are looked for
MOST = 3.0  # logarithm of the largest expected number of others in a pixel
CLOSE = 48  # pixels on a side of what is searched for a second centre


@serial
class TurnAbout(layers.Layer):
    """Pictures (n, ny, nx) turned by 180 degrees about pixels, row and column of one for each pixel (n, ny or 1, nx or
    1, 2) int32; zero where they end."""

    def call(self, picture, position):
        ny, nx = picture.shape[1:]
        y = 2 * position[..., 0] - ops.arange(ny, dtype="int32")[None, :, None]
        x = 2 * position[..., 1] - ops.arange(nx, dtype="int32")[None, None, :]
        inside = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
        at = ops.clip(y, 0, ny - 1) * nx + ops.clip(x, 0, nx - 1)
        turned = ops.take_along_axis(ops.reshape(picture, (-1, ny * nx)), ops.reshape(at, (-1, ny * nx)), axis=1)
        return ops.where(inside, ops.reshape(turned, (-1, ny, nx)), 0.0)


@serial
class ErrorScale(layers.Layer):
    """A factor for the error of each galaxy, (n, 2), set by `calibrate` once the network is trained."""

    def build(self, shape):
        self.factor = self.add_weight(shape=(shape[-1],), initializer="ones", trainable=False, name="factor")

    def call(self, errors):
        return errors * self.factor


def places(heat):
    """Where the central galaxy is and where others may be, from their two maps of heat, in patches.

    The first has its peak near the centre, (n, 2) int32 row and column; the exponential of the second is the expected
    number of others in a pixel. Of those the `OTHERS` highest peaks, (n, OTHERS, 2), and the chance of each.
    """
    maps = ops.cast(to_pixels(heat), "float32")
    ny, nx = maps.shape[1:3]
    top, left = ny // 2 - NEAR, nx // 2 - NEAR
    middle = maps[:, top : top + 2 * NEAR + 1, left : left + 2 * NEAR + 1, 0]
    own = _rows_and_columns(ops.argmax(ops.reshape(middle, (-1, middle.shape[1] ** 2)), axis=1), middle)
    number = 25 * smoothed(ops.exp(ops.minimum(maps[..., 1:], MOST)))
    highest = ops.max_pool(number, 7, strides=1, padding="same", data_format="channels_last")
    number = ops.reshape(ops.where(number >= highest, number, 0.0), (-1, ny * nx))
    chance, at = ops.top_k(number, OTHERS)
    return own + np.array([top, left], np.int32), _rows_and_columns(at, maps), ops.minimum(chance, 1.0)


def _rows_and_columns(at, maps):
    """Places in flat maps as int32 row and column, (..., 2)."""
    at = ops.cast(at, "int32")
    return ops.stack([at // maps.shape[2], at % maps.shape[2]], axis=-1)


def nearest(others, chance, shape):
    """Of `places` the one that each pixel is nearest to, the likelier the nearer, (n, ny, nx, 2); and its chance."""
    y, x = (np.arange(n, dtype=np.float32) for n in shape)
    at = ops.cast(others, "float32")
    away = (at[:, :, 0, None, None] - y[:, None]) ** 2 + (at[:, :, 1, None, None] - x) ** 2
    away = (away + 1) / ops.maximum(chance, 1e-6)[..., None, None]
    which = ops.reshape(ops.argmin(away, axis=1), (-1, shape[0] * shape[1]))
    at = ops.stack([ops.take_along_axis(others[..., j], which, axis=1) for j in (0, 1)], axis=-1)
    likely = ops.take_along_axis(chance, which, axis=1)
    return ops.reshape(at, (-1, *shape, 2)), ops.reshape(likely, (-1, *shape))


def compass(position, shape):
    """How far each patch is from its pixel, (n, gy or 1, gx or 1, 2) int32, and in which direction: (n, gy, gx, 4)."""
    dtype = keras.config.dtype_policy().compute_dtype
    y, x = (np.arange(PATCH // 2, n, PATCH, dtype=np.int32) for n in shape)
    dy = ops.cast(ops.subtract(y[:, None], position[..., 0]), dtype) / 16
    dx = ops.cast(ops.subtract(x, position[..., 1]), dtype) / 16
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
    """The network that divides every pixel's light between the central galaxy, all the others and the sky.

    From blends (n, ny, nx, 1) to a dict: `fluxes` and `errors` (n, 2), `masks`, `shares` and `images` (n, ny, nx, 2),
    of the central galaxy and of all the rest together. The layer "locate" finds the galaxies in the blend and in the
    blend turned about the centre; "separate" sees the blend turned about the centre and about the nearest of the
    others, and gives each pixel three shares (central, rest, sky). The images are share x (blend - sky level); a flux
    is their sum, times a learned factor of at most 1.35 for light that is lost in the sky. `blended` (n,) is the
    probability that the central galaxy is itself two, their centres less than half a radius apart, as "twins" sees it.
    Where `out_of_domain` is above zero, "watch" finds the stamp strange, or its noise is outside of `RANGES` by a
    quarter. A `width` of 48 features in each patch gives a million parameters; `shape` (ny, nx) is in multiples of 32.
    """
    check(shape, 32, width=width)
    image = keras.Input((*shape, 1), name="image")
    blend, unit = Sky(name="sky")(image)
    blend = blend[..., 0]
    x, xc, smooth, rough, _ = _look(blend, shape)
    heat, features = _locator(width, shape)([x, xc])
    centre, others, chance = places(heat)
    out = _separator(width, shape)([blend, x, smooth, rough, centre, *nearest(others, chance, shape), features])
    errors = ops.sqrt(out["fluxes"] ** 2 + FAINT**2) * ops.exp(out["log_errors"])
    errors = ErrorScale(name="error_scale", trainable=False, dtype="float32")(errors)
    odd, noise = _watch(shape)([x, rough]), unit * USUAL
    beyond = (noise < RANGES["sigma"][0] / 1.25) | (noise > RANGES["sigma"][1] * 1.25)
    outputs = {"fluxes": unit[:, None] * out["fluxes"], "errors": unit[:, None] * errors}
    outputs["out_of_domain"] = ops.where(beyond, 1.0, odd)
    outputs["blended"] = ops.sigmoid(_twins(shape)([x, xc]))
    outputs["shares"] = to_pixels(_shares(out["shares"]))
    outputs["images"] = outputs["shares"] * (blend * unit[:, None, None])[..., None]
    return keras.Model(image, outputs | {"masks": ops.sigmoid(to_pixels(out["masks"]))}, name="fractions")


def _look(blend, shape):
    """The blend so that faint and bright show, turned about the centre, smoothed, its noise's roughness; the centre."""
    smooth = smoothed(blend[..., None])
    x = ops.arcsinh(blend / (2 * SKY))
    middle = ops.zeros_like(ops.cast(blend[:, 0, :2], "int32")) + ops.array([n // 2 for n in shape], "int32")
    rough = ops.log(measure_sky(smooth[:, ::2, ::2, 0], full=False)[1] / USUAL + 0.01) + 1
    return x, TurnAbout()(x, middle[:, None, None]), smooth, rough, middle


def _locator(width, shape):
    x, xc = (keras.Input(shape, name=name) for name in ("light", "turned"))
    pictures = ops.stack([x, xc, ops.relu(x - xc)], axis=-1)
    maps, (near, skips) = to_patches(pictures), _near(pictures, width)
    features = _trunk(maps, [near], width)
    heat = _per_pixel(features, _back(features, skips), maps, 2)
    return keras.Model([x, xc], [heat, features], name="locate")


def _separator(width, shape):
    blend, x = (keras.Input(shape, name=name) for name in ("blend", "light"))
    smooth, noise = keras.Input((*shape, 1), name="smooth"), keras.Input((), name="rough")
    centre, position = (keras.Input(s, dtype="int32", name=n) for s, n in (((2,), "centre"), ((*shape, 2), "nearest")))
    chance = keras.Input(shape, name="chance")
    clues = keras.Input((shape[0] // PATCH, shape[1] // PATCH, width), name="clues")
    middle, xk = centre[:, None, None], TurnAbout()(x, position)
    xc, around = TurnAbout()(x, middle), ops.arcsinh(smooth[..., 0] / (0.5 * SKY))
    pictures = ops.stack([x, xc, xk, ops.relu(x - xc), ops.relu(x - xk), around, blend, smooth[..., 0]], axis=-1)
    near, skips = _near(pictures[..., :6], width)
    maps = to_patches(pictures)
    maps, light, faint = maps[..., :6], maps[..., 6:7], maps[..., 7:]
    at, likely = (values[:, PATCH // 2 :: PATCH, PATCH // 2 :: PATCH] for values in (position, chance))
    directions = [compass(middle, shape), compass(at, shape), likely[..., None]]
    features = _trunk(maps, [near, clues, *directions], width)
    fine = _back(features, skips)
    logits = _per_pixel(features, fine, maps, 2)
    shares = _shares(logits)
    seen = ops.arcsinh(ops.stop_gradient(shares) * faint / (0.5 * SKY))
    masks = _per_pixel(features, fine, ops.concatenate([maps[..., 5:], seen], axis=-1), 2)
    light = ops.sum(shares * light, axis=3)  # of each galaxy, in each patch
    raw = ops.sum(light, axis=(1, 2))
    light = ops.relu(light) / (ops.sum(ops.relu(light), axis=(1, 2), keepdims=True) + 1e-6)
    pooled = ops.einsum("nyxg,nyxf->ngf", light, features)
    logs = ops.log(ops.relu(raw) + FAINT)[..., None] - 4
    rough = ops.repeat(noise[:, None, None], 2, axis=1)
    galaxy = [pooled, ops.flip(pooled, axis=1), logs, ops.flip(logs, axis=1), rough]
    galaxy = ops.concatenate(galaxy, axis=-1)
    hidden = layers.Dense(2 * width, activation="relu")(layers.Flatten()(galaxy))
    correction = 0.3 * ops.tanh(layers.Dense(2, kernel_initializer="zeros")(hidden))
    hidden = layers.Dense(2 * width, activation="relu")(ops.stop_gradient(layers.Flatten()(galaxy)))
    hidden = layers.Dense(width, activation="relu")(hidden)
    log_errors = layers.Dense(2, kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(-2.5))(hidden)
    outputs = {"fluxes": raw * ops.exp(correction), "log_errors": ops.clip(log_errors, -5, 1)}
    outputs |= {"shares": logits, "masks": masks}
    return keras.Model([blend, x, smooth, noise, centre, position, chance, clues], outputs, name="separate")


def _twins(shape):
    """A small network that looks from near whether the central galaxy is two."""
    x, xc = (keras.Input(shape, name=name) for name in ("light", "turned"))
    view = layers.Cropping2D(tuple(max(n - CLOSE, 0) // 2 for n in shape))(ops.stack([x, xc, x - xc], axis=-1))
    return keras.Model([x, xc], _verdict(view, (16, 24, 40)), name="twins")


def _watch(shape):
    """A small network that says how strange a stamp looks from afar, in cells of 4 x 4 pixels."""
    light, rough = keras.Input(shape, name="light"), keras.Input((), name="rough")
    cells = to_patches(light[..., None], 4)[..., 0]
    view = ops.stack([of(cells, axis=-1) for of in (ops.mean, ops.max, ops.min, ops.std)], axis=-1)
    return keras.Model([light, rough], _verdict(view, (16, 32, 48), rough[:, None], name="alarm"), name="watch")


def _verdict(view, sizes, *more, name=None):
    """One number for each picture, its logit."""
    for filters in sizes:
        view = layers.MaxPooling2D()(_convs(view, filters))
    seen = [layers.GlobalMaxPooling2D()(view), layers.GlobalAveragePooling2D()(view), *more]
    hidden = layers.Dense(48, activation="relu")(ops.concatenate(seen, axis=-1))
    return layers.Dense(1, name=name, dtype="float32")(hidden)[:, 0]


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
    """Where to look for the galaxies, (n, k, 2) int32: nearly the true `dy`, `dx` for half of the blends."""
    at = np.stack([blends["dy"], blends["dx"]], axis=2)
    jitter = rng.choice([0.4, 1.5], (len(at), 1, 1)) * np.where(np.arange(at.shape[1]), 1.0, 0.5)[:, None]
    at = at + np.rint(rng.normal(0, 1, at.shape) * jitter).astype(int)
    return np.where(rng.random((len(at), 1, 1)) < 0.5, at, UNTOLD).astype(np.int32)


def fractions_loss(network: keras.Model, blend: dict[str, Any], training: bool) -> dict[str, Any]:
    """What `fractions` is trained on, of `blend` (see `blendkit.networks.training.Blender`); tensors of shape (n,).

    `loss` is a weighted sum of: the error of both fluxes, relative where they are bright; the cross-entropy of the
    shares (`share`), each pixel weighted by its part of either flux; `mask`, binary cross-entropy and Dice loss; that
    of the places (`heat`: cross-entropy of the central one's, and the likelihood of a Poisson process for the others';
    where the first of these is more than 3.5 pixels from any found, it is `far`); the cross-entropies of strange
    stamps (`strange`) and of galaxies that are two (`twins`); the quantile loss of the errors (`error`).
    """
    ny, nx = shape = network.input_shape[1:3]
    image, unit = map(ops.stop_gradient, network.get_layer("sky")(blend["image"][..., None]))
    image = image[..., 0]
    there = blend["there"]
    real, others = ops.minimum(_with_rest(ops.cast(there, "float32")), 1.0), ops.cast(there[:, 1:], "float32")
    fluxes = _with_rest(ops.where(there, blend["fluxes"] * blend["inside"], 0.0) / unit[:, None])
    parts, masks = _with_rest(blend["parts"] / unit[:, None, None, None]), ops.minimum(_with_rest(blend["masks"]), 1.0)
    x, xc, around, rough, middle = _look(image, shape)
    heat, features = network.get_layer("locate")([x, xc], training=training)
    true = middle[:, None] + ops.stack([blend["dy"], blend["dx"]], axis=-1)
    centre, found, chance = places(ops.stop_gradient(heat))
    told = blend["told"][:, :1, 0] > UNTOLD
    hinted = ops.clip(middle[:, None] + blend["told"], 0, ops.array([ny - 1, nx - 1], "int32"))
    centre = ops.where(told & there[:, :1], hinted[:, 0], centre)
    pad = [(0, 0), (0, OTHERS - others.shape[1])]
    at = ops.where(told[..., None], ops.pad(hinted[:, 1:], [*pad, (0, 0)]), found)
    likely = ops.where(told, ops.pad(others, pad), chance)
    inputs = [image, x, around, rough, centre, *nearest(at, likely, shape), features]
    out = network.get_layer("separate")(inputs, training=training)

    # where the galaxies are
    y, x_ = (ops.subtract(np.arange(n, dtype=np.int32)[None, None], true[..., j : j + 1]) for j, n in enumerate(shape))
    y, x_ = (ops.softmax(-0.5 * ops.cast(off, "float32") ** 2, axis=2) for off in (y, x_))
    y, sides = y * ops.cast(there, "float32")[..., None], (slice(1), slice(1, None))
    target = ops.stack([ops.einsum("nky,nkx->nyx", y[:, side], x_[:, side]) for side in sides], axis=-1)
    flat = [ops.reshape(maps, (-1, ny * nx, 2)) for maps in (to_patches(target), ops.cast(heat, "float32"))]
    central = -ops.sum(flat[0][..., 0] * ops.log_softmax(flat[1][..., 0], axis=1), axis=1)
    number = ops.sum(ops.exp(ops.minimum(flat[1][..., 1], MOST)), axis=1)
    heat_loss = central + number - ops.sum(flat[0][..., 1] * flat[1][..., 1], axis=1)

    # whose light each pixel is
    smooth = smoothed(parts)
    light = ops.where(parts > 6 * SKY, parts, ops.where(smooth > 0.3 * SKY, smooth, 0.0))
    light, masks = to_patches(light), to_patches(masks)
    shares = light / (ops.sum(light, axis=-1, keepdims=True) + 0.5 * SKY)
    weight = ops.sum(light / ops.maximum(fluxes, FAINT)[:, None, None, None, :], axis=-1)
    logits, m = out["shares"], out["masks"]
    a, b = logits[..., 0], logits[..., 1]
    top = ops.relu(ops.maximum(a, b))
    norm = top + ops.log(ops.exp(a - top) + ops.exp(b - top) + ops.exp(-top))
    share_loss = ops.sum(weight * (norm - ops.sum(shares * logits, axis=-1)), axis=(1, 2, 3))

    # fluxes and their errors
    off = ops.abs(ops.arcsinh(out["fluxes"] / FAINT) - ops.arcsinh(fluxes / FAINT))
    above = ops.log(ops.stop_gradient(off) + 1e-4) - out["log_errors"]
    error_loss = ops.sum(ops.maximum(0.683 * above, -0.317 * above), axis=-1)

    sigmoid = ops.sigmoid(m)
    bce = ops.mean(ops.softplus(m) - m * masks, axis=(1, 2, 3, 4))
    dice = 1 - (2 * ops.sum(sigmoid * masks, axis=(1, 2, 3)) + 1) / (ops.sum(sigmoid + masks, axis=(1, 2, 3)) + 1)
    mask_loss = bce + 0.2 * ops.mean(dice, axis=-1)

    # what else there may be on a stamp
    few = (ops.shape(image)[0] + 3) // 4
    close = there & (ops.sum((true - middle[:, None]) ** 2, axis=-1) < CROWDED**2)
    members = ops.sum(ops.cast(close, "float32"), axis=1)
    mixed = (blend["image"], ops.sum(blend["parts"], axis=-1), blend["sigma"], members, blend["chance"])
    odd, sure = strange_stamps(*(values[:few] for values in mixed))
    odd, _, _, odd_rough, _ = _look(ops.stop_gradient(network.get_layer("sky")(odd[..., None])[0][..., 0]), shape)
    seen = [ops.concatenate([x, odd]), ops.concatenate([rough, odd_rough])]
    alarm = network.get_layer("watch")(seen, training=training)
    watch_loss = ops.softplus(ops.where(members < CROWD, alarm[:-few], -alarm[:-few]))
    watch_loss = watch_loss + ops.mean(sure * ops.softplus(-alarm[-few:]))
    twins = network.get_layer("twins")([x, xc], training=training)
    twins_loss = ops.softplus(twins) - blend["blended"] * twins

    loss = 3 * ops.sum(off, axis=-1) + share_loss + 0.5 * mask_loss + 0.05 * error_loss + 0.1 * heat_loss
    percent = 100 * ops.abs(out["fluxes"] / ops.where(real > 0, fluxes, 1.0) - 1)
    percent = percent * real / (ops.mean(real, axis=0) + 1e-6)
    miss = ops.min(ops.sum((found - true[:, 1:2]) ** 2, axis=-1), axis=1)
    miss = ops.cast(miss > 12, "float32") * others[:, 0]
    return {"loss": loss + 0.2 * (watch_loss + twins_loss), "mape_central": percent[:, 0], "mape_rest": percent[:, 1],
            "share": share_loss, "heat": heat_loss, "mask": mask_loss, "error": error_loss, "strange": watch_loss,
            "twins": twins_loss, "far": miss}  # fmt: skip


def _with_rest(values):
    """The central galaxy's and the sum of all others', (..., 2), of what each of k galaxies has, (..., k)."""
    return ops.stack([values[..., 0], ops.sum(values[..., 1:], axis=-1)], axis=-1)


def calibrate(blender: keras.Model, recipe: dict[str, np.ndarray], batch: int = 32) -> None:
    """Set the scale of a network's errors and the limit of `out_of_domain` on the `valid` galaxies of a `Blender`.

    Of all fluxes 68.3 % lie within one error, and 1 in 200 stamps without a crowd is called strange.
    """
    network = blender.network
    factor, alarm = network.get_layer("error_scale").factor, network.get_layer("watch").get_layer("alarm").bias
    factor.assign(np.ones(2))
    pulls, alarms = [], []
    for start in range(0, len(recipe["rows"]), batch):
        rows = {name: column[start : start + batch] for name, column in recipe.items()}
        blend = {name: ops.convert_to_numpy(value) for name, value in blender.blend(rows, blender.valid).items()}
        out = network.predict_on_batch(blend["image"][..., None])
        fluxes = np.where(blend["there"], blend["fluxes"] * blend["inside"], 0)
        fluxes = np.stack([fluxes[:, 0], fluxes[:, 1:].sum(axis=1)], axis=1)
        close = blend["there"] & (np.hypot(blend["dy"], blend["dx"]) < CROWDED)
        pulls.append(np.abs(out["fluxes"] - fluxes) / out["errors"])
        alarms.append(out["out_of_domain"][close.sum(axis=1) < CROWD])
    factor.assign(np.quantile(np.concatenate(pulls), 0.683, axis=0))
    alarm.assign(alarm - np.quantile(np.concatenate(alarms), 0.995))
