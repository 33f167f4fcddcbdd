"""How fast `render` is, beside a plain NumPy loop over pairs that does the same work, no turns: `make bench`.

One core, fresh output arrays on both sides; the loop makes images only: with masks, render has to reach half its rate.
"""

from functools import partial
from itertools import product

import numpy as np
from shared import SIZE, gaussians, in_turn, verdict

import blendkit as bk
from blendkit.blends.geometry import DEEP, FADE
from blendkit.blends.recipe import sky_rows

ROUNDS = 15
NEEDED = {"images": 1.2, "images, masks, fluxes": 0.5}  # times as fast as the loop


def window(shift):
    """Where a stamp shifted by `shift` pixels lands along one axis, where that comes from, and its share there."""
    to, source = slice(max(shift, 0), SIZE + min(shift, 0)), slice(max(-shift, 0), SIZE - max(shift, 0))
    depth = np.minimum(np.arange(SIZE - abs(shift)), DEEP) + 1 if shift else np.full(SIZE, DEEP + 1)
    return to, source, depth[:: -1 if shift < 0 else 1]


def plain_images(sample, blends, fill):
    """Gather, shift by slices, fade, add."""
    out, ids = np.empty((len(blends), SIZE, SIZE), np.float32), np.asarray(blends["id"])
    rows, donors, sky = sample.index(ids).tolist(), sky_rows(ids, len(sample.sky))[:, 1], sample.sky
    dx, dy = (np.asarray(blends[name])[:, 1].tolist() for name in ("dx", "dy"))
    for i, (central, companion) in enumerate(rows):
        (to_y, from_y, depth_y), (to_x, from_x, depth_x) = window(dy[i]), window(dx[i])
        stamp, out[i] = sample.images[companion][from_y, from_x], sample.images[central]
        if fill == "sky":
            depth, under = np.minimum.outer(depth_y, depth_x), sky[donors[i]].copy()
            stamp = stamp * FADE[depth] + under[to_y, to_x] * FADE[::-1][depth]
            under[to_y, to_x] = 0
            out[i] += under
        out[i, to_y, to_x] += stamp
    return out


sample, slow = gaussians(), {}
blends = bk.draw_blends(sample, 2000, seed=1, turns=False)
print(f"render, {len(blends)} blends of {SIZE} x {SIZE} pixels, median of {ROUNDS} rounds, one core")
print(f"{'':34s} {'blends/s':>9s} {'plain loop':>11s} {'ratio':>6s} {'10-90 %':>12s} {'needed':>7s}")
for (what, needed), fill in product(NEEDED.items(), ("zero", "sky")):
    render = partial(bk.render, sample, blends, fill=fill, masks="masks" in what)
    loop = partial(plain_images, sample, blends, fill)
    assert np.array_equal(render()[0], loop()), "they disagree: the comparison would mean nothing"
    ours, plain = in_turn({"ours": render, "plain": loop}, ROUNDS)
    low, ratio, high = np.percentile(plain / ours, (10, 50, 90))
    rates = "{:9,.0f} {:11,.0f}".format(*(len(blends) / np.median(times) for times in (ours, plain)))
    print(f"{what + ', fill ' + fill:34s} {rates} {ratio:6.2f} {low:5.2f} -{high:5.2f} {needed:7.1f}")
    slow[f"{what}, fill {fill}: slower than needed"] = ratio < needed
verdict(slow)
