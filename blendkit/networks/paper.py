"""The networks of the paper (sections 3.1 and 3.2, figures 3 and 4, table 2)."""

from typing import Any

import keras
import numpy as np
from keras import layers

from ..data.check import require
from .sky import Sky

RANKS = {"fluxes": 2, "errors": 2, "masks": 4, "images": 4}


def blend2flux(
    filters: int = 256, *, dense: int | None = None, channels: int = 1, shape: tuple[int, int] = (128, 128)
) -> keras.Model:
    """The network that reads both fluxes (n, 2) off blends (n, ny, nx, channels), all in e-/s (section 3.1, figure 3).

    Five convolutions have 1, 1, 2, 2 and 4 times as many `filters` (64, 256 and 512 in table 2), two dense layers
    `dense` units each, by default as many. A blend has one of the `channels`, or three when two masks come with it. The
    `shape` (ny, nx) of a stamp is in multiples of 16 pixels.
    """
    dense = filters if dense is None else dense
    check(shape, 16, filters=filters, dense=dense, channels=channels)
    blend = keras.Input((*shape, channels), dtype="float32", name="blend")
    x, unit = (blend, None) if channels > 1 else Sky(name="sky")(blend)
    for i, factor in enumerate((1, 1, 2, 2, 4), 1):
        x = _convolution(factor * filters, f"conv{i}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{i}")(x) if i < 5 else x
    x = layers.Flatten(name="flatten")(x)
    for i in (1, 2):
        x = layers.Dense(dense, activation="relu", name=f"dense{i}")(x)
    fluxes = layers.Dense(2, dtype="float32", name="fluxes")(x)
    return keras.Model(blend, fluxes if unit is None else unit[:, None] * fluxes, name="blend2flux")


def unet(depth: int = 5, filters: int = 32, *, shape: tuple[int, int] = (128, 128)) -> keras.Model:
    """The network that outlines both galaxies (section 3.2, the left part of figure 4).

    Blends (n, ny, nx, 1), e-/s, become masks (n, ny, nx, 2), from 0 to 1: above 0.5 a pixel belongs to that galaxy. It
    has `depth` levels, each on an image half as wide as that of the level above, and `filters` at the first, doubled at
    each one below. The `shape` (ny, nx) of a stamp is in multiples of ``2 ** (depth - 1)`` pixels.
    """
    check(shape, 2 ** (depth - 1), depth=depth, filters=filters)
    blend = keras.Input((*shape, 1), dtype="float32", name="blend")
    seen, (x, _) = [], Sky(name="sky")(blend)
    for level in range(1, depth + 1):
        if level > 1:
            seen.append(x)
            x = layers.MaxPooling2D(2, name=f"pool{level - 1}")(x)
        for i in (1, 2):
            x = _convolution(filters * 2 ** (level - 1), f"down{level}_conv{i}")(x)
    for level in range(depth - 1, 0, -1):
        width = filters * 2 ** (level - 1)
        x = layers.Conv2DTranspose(width, 2, strides=2, name=f"up{level}")(x)
        x = layers.Concatenate(name=f"up{level}_skip")([seen[level - 1], x])
        for i in (1, 2):
            x = _convolution(width, f"up{level}_conv{i}")(x)
    return keras.Model(blend, layers.Conv2D(2, 1, activation="sigmoid", dtype="float32", name="masks")(x), name="unet")


def blend2mask2flux(
    depth: int = 5, filters: int = 32, flux_filters: int = 128, dense: int = 256, *, shape: tuple[int, int] = (128, 128)
) -> keras.Model:
    """A `unet`, whose masks join the blend as second and third channel of a smaller `blend2flux` (figure 4).

    It gives a dict of `masks` and `fluxes`, by its layers "unet" and "blend2flux"; all defaults are the paper's.
    """
    blend = keras.Input((*shape, 1), dtype="float32", name="blend")
    masks = unet(depth, filters, shape=shape)(blend)
    light, unit = Sky(name="sky")(blend)
    both = layers.Concatenate(name="blend_and_masks")([light, masks])
    fluxes = blend2flux(flux_filters, dense=dense, channels=3, shape=shape)(both)
    return keras.Model(blend, {"masks": masks, "fluxes": unit[:, None] * fluxes}, name="blend2mask2flux")


def as_dict(outputs: Any) -> dict[str, Any]:
    """What a network gave, by name; a bare output of shape (n, k) is `fluxes`, one of (n, ny, nx, k) `masks`."""
    if isinstance(outputs, list | tuple):
        return {name: value for output in outputs for name, value in as_dict(output).items()}
    outputs = outputs if isinstance(outputs, dict) else {"fluxes" if len(outputs.shape) == 2 else "masks": outputs}
    for name in RANKS.keys() & outputs.keys():
        shape, wanted = tuple(outputs[name].shape), "(n, k)" if RANKS[name] == 2 else "(n, ny, nx, k)"
        given = f"the network's {name} have shape {shape}, expected {wanted} for k galaxies"
        good = len(shape) == RANKS[name] and shape[-1] > 1
        require(good, f"{given}: give it such outputs, or a dict of them by name.")
    return outputs


def check(shape: tuple[int, int], step: int, **sizes: int) -> None:
    """Refuse sizes of a network that are no whole numbers, and stamps that are no multiples of `step` pixels."""
    for name, n in sizes.items():
        good = isinstance(n, int | np.integer) and n > 0
        require(good, f"{name} = {n!r} was given, expected a whole number above 0.")
    ny, nx = shape
    fits = min(ny, nx) > 0 and ny % step == nx % step == 0
    require(fits, f"stamps of {ny} x {nx} pixels were given, expected multiples of {step}: crop or pad them.")


def _convolution(filters, name):
    """A 3 x 3 convolution and ReLU, with initial weights that keep the signal's size (He et al. 2015, section 2.2)."""
    # with Keras' own ones a U-Net marks both galaxies alike for some 80,000 blends, with these for at most 10,000
    return layers.Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer="he_normal", name=name)
