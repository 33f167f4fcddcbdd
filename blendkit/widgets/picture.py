"""PNG pictures of stamps for widgets: quick enough to follow a slider."""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np

COLOURS = (86, 180, 233), (230, 159, 0), (255, 255, 255)
"""Of the central galaxy, the companion and both: told apart by colour-blind eyes."""
_DARK = (38, 38, 38)
SCALE = 3


def grey(stamp: np.ndarray, noise: float, white: float, scale: int = SCALE) -> np.ndarray:
    """A stamp as an enlarged grey picture, faint light made visible by an asinh stretch.

    Parameters
    ----------
    stamp : array of float, shape (ny, nx), e-/s
    noise : float
        Sky noise; -1 noise is black.
    white : float
        What is shown white.
    scale : int
        Screen pixels per pixel.

    Returns
    -------
    array of uint8, shape (scale * ny, scale * nx)
        The first row at the bottom, as astronomers plot.
    """
    top = np.arcsinh(max(white / noise, 2) / 2)
    levels = (np.arcsinh(stamp / (2 * noise)) + 0.5) / (top + 0.5)
    return enlarge((levels.clip(0, 1) * 255).astype(np.uint8), scale)


def enlarge(stamp: np.ndarray, scale: int = SCALE) -> np.ndarray:
    """Every pixel `scale` times in both directions, the first row at the bottom."""
    return stamp[::-1].repeat(scale, axis=0).repeat(scale, axis=1)


def signed(left: np.ndarray, noise: float, bright: float, scale: int = SCALE) -> np.ndarray:
    """As `grey` for light that may be negative: white positive, black negative, mid-grey nothing."""
    top = np.arcsinh(max(bright / noise, 2) / 2)
    levels = 0.5 + 0.5 * np.arcsinh(left / (2 * noise)) / top
    return enlarge((levels.clip(0, 1) * 255).astype(np.uint8), scale)


def code_of(masks: np.ndarray) -> np.ndarray:
    """Masks, bool of shape (ny, nx, 2), as one number for each pixel: 0 none, 1 central, 2 companion, 3 both."""
    return masks[..., 0] + 2 * masks[..., 1].astype(np.uint8)


def code_picture(code: np.ndarray, scale: int = SCALE) -> np.ndarray:
    """Central sky blue, companion orange, both white.

    Parameters
    ----------
    code : array of int, shape (ny, nx)
        From `code_of`.
    scale : int
        Pixels of the picture for each pixel of the stamp, along either axis.

    Returns
    -------
    array of uint8, shape (scale * ny, scale * nx, 3)
    """
    return np.array([_DARK, *COLOURS], np.uint8)[enlarge(code, scale)]


def in_colour(picture: np.ndarray) -> np.ndarray:
    """A grey picture, shape (height, width), with three channels to draw into."""
    return np.repeat(picture[..., None], 3, axis=2)


def outline(picture: np.ndarray, segment: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Draw the border of a segment, shape (ny, nx) bool, into an enlarged picture with three channels."""
    big = enlarge(segment, len(picture) // len(segment))
    inner = big.copy()
    for axis in (0, 1):
        for step in (-2, 2):
            inner &= np.roll(big, step, axis)
    picture[big & ~inner] = colour


def ellipses(picture: np.ndarray, shapes: Iterable[tuple], scale: int = SCALE) -> np.ndarray:
    """Draw ellipses over an enlarged picture.

    Parameters
    ----------
    picture : array of uint8, shape (scale * ny, scale * nx, 3)
    shapes : iterable of (x, y, a, b, theta, colour)
        Centre and semi-axes in pixels of the stamp, angle in radians from the x axis.
    scale : int
        As for `code_picture`.

    Returns
    -------
    array of uint8, shape (scale * ny, scale * nx, 3)
    """
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    angle = np.linspace(0, 2 * np.pi, 73)
    for x, y, a, b, theta, colour in shapes:
        along, across = a * np.cos(angle), b * np.sin(angle)
        column = (x + along * np.cos(theta) - across * np.sin(theta) + 0.5) * scale
        row = picture.shape[0] - (y + along * np.sin(theta) + across * np.cos(theta) + 0.5) * scale
        points = list(zip(column.tolist(), row.tolist(), strict=True))
        draw.line(points, fill=(0, 0, 0), width=7, joint="curve")
        draw.line(points, fill=colour, width=3, joint="curve")
    return np.asarray(image)


def png(picture: np.ndarray) -> bytes:
    """A picture, uint8, shape (height, width) or (height, width, 3), as a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png", compress_level=1)
    return buffer.getvalue()


def side_by_side(pictures: list[np.ndarray], gap: int = 8) -> np.ndarray:
    """Pictures of equal height in a row on white."""
    white = np.full((pictures[0].shape[0], gap, 3), 255, np.uint8)
    coloured = [picture if picture.ndim == 3 else in_colour(picture) for picture in pictures]
    row = [part for picture in coloured for part in (white, picture)]
    return np.concatenate(row[1:], axis=1)


def swatch(text: str, which: int) -> str:
    """HTML of a legend's word in the colour of the central galaxy (0), the companion (1) or both (2)."""
    colour = "#{:02x}{:02x}{:02x}".format(*COLOURS[which])
    return f'<span style="background:#262626; color:{colour}; padding:0 .3em">{text}</span>'


def noise_level(stamps: np.ndarray) -> float:
    """Sky noise of sky stamps (robust), e-/s; never zero."""
    return float(1.4826 * np.median(np.abs(stamps - np.median(stamps)))) or 1e-3
