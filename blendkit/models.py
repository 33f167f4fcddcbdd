"""The networks of the paper (sections 3.1 and 3.2, figures 3 and 4, table 2), and ours."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

from .fractions import fractions


def blend2flux(
    filters: int = 256, *, dense: int | None = None, channels: int = 1, shape: tuple[int, int] = (128, 128)
) -> keras.Model:
    """The network that reads both fluxes off a blend (section 3.1, figure 3).

    Five 3 x 3 convolutions of `filters` times 1, 1, 2, 2 and 4, each of the first four followed by a pooling that
    halves the image; two dense layers; two numbers.

    Parameters
    ----------
    filters : int
        Filters of the first convolution: 64, 256 and 512 are those of table 2, with 1,607,106, 25,696,002 and
        102,772,226 parameters.
    dense : int, optional
        Units of each dense layer; as many as `filters` when not given.
    channels : int
        Images per blend: one, or three when two masks come with it.
    shape : (ny, nx)
        Of a stamp, in multiples of 16 pixels.

    Returns
    -------
    keras.Model
        From blends (n, ny, nx, channels), e-/s, to fluxes (n, 2) of central and companion, e-/s.

    Raises
    ------
    ValueError
        Where a size is no positive whole number, or the stamp cannot be halved four times.
    """
    dense = filters if dense is None else dense
    _check_sizes(filters=filters, dense=dense, channels=channels)
    shape = _check_shape(shape, 4)
    x = blend = keras.Input((*shape, channels), dtype="float32", name="blend")
    for i, factor in enumerate((1, 1, 2, 2, 4), 1):
        x = _convolution(factor * filters, f"conv{i}")(x)
        if i < 5:
            x = layers.MaxPooling2D(2, name=f"pool{i}")(x)
    x = layers.Flatten(name="flatten")(x)
    for i in (1, 2):
        x = layers.Dense(dense, activation="relu", name=f"dense{i}")(x)
    return keras.Model(blend, layers.Dense(2, dtype="float32", name="fluxes")(x), name="blend2flux")


def unet(depth: int = 5, filters: int = 32, *, shape: tuple[int, int] = (128, 128)) -> keras.Model:
    """The network that outlines both galaxies (section 3.2, the left part of figure 4).

    On the way down each level has two 3 x 3 convolutions and twice the filters of the one above, on an image half as
    wide; on the way up, 2 x 2 up-convolutions bring the image back, and each level sees again what it held on the way
    down.

    Parameters
    ----------
    depth : int
        Levels, one more than there are poolings.
    filters : int
        Filters of the first level; the paper's 5 levels of 32 to 512 have 7,759,554 parameters.
    shape : (ny, nx)
        Of a stamp, in multiples of ``2 ** (depth - 1)`` pixels.

    Returns
    -------
    keras.Model
        From blends (n, ny, nx, 1), e-/s, to masks (n, ny, nx, 2) of central and companion, from 0 to 1: a pixel
        belongs to a galaxy above 0.5, and may belong to both.

    Raises
    ------
    ValueError
        Where a size is no positive whole number, or the stamp cannot be halved ``depth - 1`` times.
    """
    _check_sizes(depth=depth, filters=filters)
    shape = _check_shape(shape, depth - 1)
    x = blend = keras.Input((*shape, 1), dtype="float32", name="blend")
    seen = []
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
    masks = layers.Conv2D(2, 1, activation="sigmoid", dtype="float32", name="masks")(x)
    return keras.Model(blend, masks, name="unet")


def blend2mask2flux(
    depth: int = 5,
    filters: int = 32,
    flux_filters: int = 128,
    dense: int = 256,
    *,
    shape: tuple[int, int] = (128, 128),
) -> keras.Model:
    """The network that outlines both galaxies and then, seeing blend and masks, reads the fluxes (figure 4).

    A `unet`, whose masks join the blend as second and third channel of a smaller `blend2flux`.

    Parameters
    ----------
    depth, filters : int
        Of the U-Net, which is the layer ``model.get_layer("unet")``.
    flux_filters, dense : int
        First filters and dense units of the flux network, the layer ``model.get_layer("blend2flux")``. The paper's
        sizes, which are the defaults, make 18,431,300 parameters.
    shape : (ny, nx)
        Of a stamp, in multiples of what both networks need.

    Returns
    -------
    keras.Model
        From blends (n, ny, nx, 1), e-/s, to a dict of `masks` (n, ny, nx, 2), from 0 to 1, and `fluxes` (n, 2), e-/s.

    Raises
    ------
    ValueError
        Where a size is no positive whole number, or the stamp cannot be halved often enough.
    """
    _check_sizes(depth=depth, filters=filters, flux_filters=flux_filters, dense=dense)
    shape = _check_shape(shape, max(depth - 1, 4))
    blend = keras.Input((*shape, 1), dtype="float32", name="blend")
    masks = unet(depth, filters, shape=shape)(blend)
    both = layers.Concatenate(name="blend_and_masks")([blend, masks])
    fluxes = blend2flux(flux_filters, dense=dense, channels=3, shape=shape)(both)
    return keras.Model(blend, {"masks": masks, "fluxes": fluxes}, name="blend2mask2flux")


def as_dict(outputs: Any) -> dict[str, Any]:
    """What any of the networks gave, by name.

    Parameters
    ----------
    outputs : dict, or tensor or array of shape (n, 2) or (n, ny, nx, 2), or a list of these

    Returns
    -------
    dict
        A dict as it is; else `fluxes` or `masks`, told by the shape.

    Raises
    ------
    ValueError
        Where the shape is neither, or that of something called `fluxes`, `errors`, `masks` or `images` is another.
    """
    if isinstance(outputs, list | tuple):
        return {name: value for output in outputs for name, value in as_dict(output).items()}
    if isinstance(outputs, dict):
        for name, rank in {"fluxes": 2, "errors": 2, "masks": 4, "images": 4}.items():
            shape = tuple(getattr(outputs.get(name), "shape", ()))
            if shape and (len(shape) != rank or shape[-1] != 2):
                raise ValueError(
                    f"the network's {name} have shape {shape}, expected {'(n, 2)' if rank == 2 else '(n, ny, nx, 2)'}: "
                    "give one number for each of the two galaxies."
                )
        return outputs
    name = {2: "fluxes", 4: "masks"}.get(len(outputs.shape))
    if name is None or outputs.shape[-1] != 2:
        raise ValueError(
            f"the network gave an output of shape {tuple(outputs.shape)}, expected fluxes (n, 2) or masks "
            "(n, ny, nx, 2): give it two outputs, or a dict of them by name."
        )
    return {name: outputs}


def _convolution(filters, name):
    """A 3 x 3 convolution and ReLU, with initial weights that keep the signal's size (He et al. 2015, section 2.2).

    Keras' own ones (Glorot) lose half of the variance in each layer: a U-Net then begins with deep levels that are
    nearly silent, and marks both galaxies alike for some 80,000 blends; with these for at most 10,000.
    """
    return layers.Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer="he_normal", name=name)


def _check_sizes(**sizes):
    for name, size in sizes.items():
        if not isinstance(size, int | np.integer) or size < 1:
            raise ValueError(f"{name} = {size!r} was given, expected a whole number of at least 1.")


def _check_shape(shape, halvings):
    """The shape of a stamp as a tuple, after checking that it can be halved so many times."""
    step = 2**halvings
    try:
        ny, nx = map(int, shape)
    except (TypeError, ValueError):
        raise ValueError(f"shape = {shape!r} was given, expected (ny, nx) in pixels, such as (128, 128).") from None
    if ny < 1 or nx < 1 or ny % step or nx % step:
        raise ValueError(
            f"stamps of {ny} x {nx} pixels were given, expected multiples of {step}, since this network halves them "
            f"{halvings} times: crop or pad them, to {_nearest(ny, step)} x {_nearest(nx, step)} for example."
        )
    return ny, nx


def _nearest(size, step):
    return max(1, round(size / step)) * step


BUILDERS = {"blend2flux": blend2flux, "unet": unet, "blend2mask2flux": blend2mask2flux, "fractions": fractions}
