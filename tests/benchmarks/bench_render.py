"""How fast `render` is, and how much of a training step goes into rendering its blends and their skies: `make bench`.

Beside `render` stands a plain NumPy loop over pairs, no turns, on one core, that makes images only: with masks, render
has to reach half its rate. A step is that of a network at full size; shares are medians of the rounds' ratios.
"""

from functools import partial
from itertools import product

import keras
import numpy as np
from keras import ops

from shared import in_turn, verdict  # isort: skip
from conftest import gaussian_sample

import blendkit as bk
from blendkit.blends.geometry import DEEP, FADE
from blendkit.blends.recipe import sky_rows
from blendkit.networks import training

SIZE, ROUNDS, STEPS, BATCH, SHARE = 128, 15, 5, 16, 0.10
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


def only_pixels(network, blend, training):
    """A loss that needs all that is rendered, and no network."""
    pixels = ops.sum(blend["image"] + ops.sum(blend["masks"], axis=-1), axis=(1, 2))
    return {"loss": pixels + ops.sum(blend["fluxes"], axis=-1)}


def steps(name, sample, batch):
    """The network, and functions that make one step, and render one batch."""
    plan, layer = training.PLANS["paper"][name], training.BlendLayer(sample)
    jit = plan.xla if keras.backend.backend() == "tensorflow" else "auto"
    recipe = training._recipe(layer, batch, seed=1, epoch=1, pairs=name != "fractions")
    network, loss = bk.models.BUILDERS[name](**plan.arguments), training.LOSSES[name]
    whole, alone = (training.Blender(network, layer, what, recipe) for what in (loss, only_pixels))
    recipe = {key: ops.convert_to_tensor(value) for key, value in recipe.items()}
    whole.compile(keras.optimizers.Adam(1e-6), jit_compile=jit)
    alone.compile(jit_compile=jit)
    return network, {"whole": lambda: whole.train_on_batch(recipe), "alone": lambda: alone.test_on_batch(recipe)}


sample, slow = gaussian_sample(2000, (SIZE, SIZE), sigma=4.0), {}
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

backend = keras.backend.backend()
print(f"rendering in a training step, {BATCH} blends, median of {STEPS} rounds, Keras on {backend}")
print(f"{'':16s} {'parameters':>11s} {'step':>10s} {'rendering':>10s} {'share':>6s}")
for name in bk.models.BUILDERS:
    network, step = steps(name, sample, BATCH)
    whole, alone = in_turn(step, STEPS)
    share = np.median(alone / whole)
    times = f"{1e3 * np.median(whole):7,.0f} ms {1e3 * np.median(alone):7.1f} ms"
    print(f"{name:16s} {network.count_params():11,d} {times} {share:6.2%}", flush=True)
    slow[f"{name} renders for more than {SHARE:.0%} of a step"] = share > SHARE
    keras.backend.clear_session()
verdict(slow)
