"""Where a stamp lands on the frame when it is turned and shifted."""

from functools import cache

import numpy as np

# A shifted stamp's share outside it (none) and on its pixels one to five, six and more from the seam; the fill's share
# is FADE[::-1]. Squares add up to one, so that the noise stays, and neighbouring pixels share almost the same noise.
FADE = np.array([0, *np.cos(np.radians([75, 60, 45, 30, 15])), 1], np.float32)
DEEP = len(FADE) - 2

# offset on a turned stamp -> offset on the stamp as it was, (y, x) = matrix @ (y, x), for the eight orientations
_TURNS = [np.linalg.matrix_power([[0, 1], [-1, 0]], quarters) for quarters in range(4)]
TURN_BACK = np.array([*_TURNS, *(turn[::-1] for turn in _TURNS)], np.int32)


def landing(frame: tuple[int, int], stamp: np.ndarray, orient: int, dy: int, dx: int):
    """Slices of the frame that a stamp covers, turned about its centre pixel and shifted; its pixels there (a view)."""
    flip_y, flip_x = orient % 4 in (1, 2), orient % 4 in (2, 3)
    stamp = (stamp.T if (orient >= 4) != orient % 2 else stamp)[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
    (ny, nx), (height, width) = frame, stamp.shape  # a flip moves the centre pixel of an even stamp
    y = ny // 2 + dy - ((height - 1) // 2 if flip_y else height // 2)
    x = nx // 2 + dx - ((width - 1) // 2 if flip_x else width // 2)
    top, left = max(y, 0), max(x, 0)
    bottom, right = max(min(y + height, ny), 0), max(min(x + width, nx), 0)
    return (slice(top, bottom), slice(left, right)), stamp[top - y : max(bottom - y, 0), left - x : max(right - x, 0)]


def place(target: np.ndarray, stamp: np.ndarray, orient: int, dy: int, dx: int, fill: np.ndarray, fade=False) -> None:
    """Write a turned, shifted stamp into `target`, `fill` where that leaves it empty; with `fade` seams go over."""
    ny, nx = target.shape
    if orient or not target.flags.c_contiguous:
        (rows, columns), part = landing(target.shape, stamp, orient, dy, dx)
        target[rows, columns] = part
        top, bottom, left, right = rows.start, rows.stop, columns.start, columns.stop
    else:  # one long copy is faster than one by rows; what wraps round lies where the fill goes
        ahead, behind = max(dy * nx + dx, 0), max(-dy * nx - dx, 0)
        target.ravel()[ahead : ny * nx - behind] = stamp.ravel()[behind : ny * nx - ahead]
        top, bottom, left, right = max(dy, 0), min(ny + dy, ny), max(dx, 0), min(nx + dx, nx)
    if top:
        target[:top] = fill[:top]
    if bottom < ny:
        target[bottom:] = fill[bottom:]
    if left:
        target[top:bottom, :left] = fill[top:bottom, :left]
    if right < nx:
        target[top:bottom, right:] = fill[top:bottom, right:]
    if fade:
        turn = np.s_[:: -1 if bottom < ny else 1, :: -1 if right < nx else 1]  # seams come to lie first
        inside, sky = target[top:bottom, left:right][turn], fill[top:bottom, left:right][turn]
        if bottom - top < ny:
            _mix(inside, sky, *_shares(nx, right - left < nx))
            inside, sky = inside[DEEP:], sky[DEEP:]
        if right - left < nx:
            _mix(inside.T, sky.T, *_shares(ny, False))


def _mix(stamp, sky, share, share_of_sky):
    stamp, sky = stamp[:DEEP], sky[:DEEP]
    at = np.s_[: len(stamp), : stamp.shape[1]]
    stamp *= share[at]
    stamp += sky * share_of_sky[at]


@cache
def _shares(nx, corner):
    """Shares of stamp and fill on the first rows, (DEEP, nx); at a corner the nearer seam counts."""
    depth = np.minimum.outer(np.arange(1, DEEP + 1), np.arange(1, nx + 1) if corner else np.full(nx, DEEP))
    return FADE[depth], FADE[::-1][depth]


def place_segment(target: np.ndarray, segmap: np.ndarray, reach: int, orient: int, dy: int, dx: int) -> None:
    """Mark in an empty mask where the segment of the centre pixel lands; it lies within `reach` pixels of that."""
    y, x = segmap.shape[0] // 2, segmap.shape[1] // 2
    label = segmap[y, x]
    if reach < min(segmap.shape[0] - y, segmap.shape[1] - x):
        segmap = segmap[y - reach : y + reach + 1, x - reach : x + reach + 1]
    at, part = landing(target.shape, segmap, orient, dy, dx)
    np.equal(part, label, out=target[at])
