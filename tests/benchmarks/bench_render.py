"""`render`: 1,000 blends of 128 × 128 pixels on one core, beside a plain NumPy loop over pairs, no turns, that makes
images only: with masks, it has to reach half its rate. Training: steps of 16 blends, beside making these blends and
their skies alone: the ratio is the share of a step that goes into that, and is asked to be small at full size (paper).
All are medians of rounds in turn.
"""

from functools import partial
from itertools import product

import keras
import numpy as np
from conftest import gaussian_sample
from keras import ops

import blendkit as bk
from blendkit.blends.geometry import DEEP, FADE
from blendkit.blends.recipe import sky_rows
from blendkit.networks import training
from tools.bench.rows import Row, in_turn

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


def steps(name, profile, sample):
    """The number of parameters, and functions that make one step of a plan, and render its batch."""
    plan, layer = training.PLANS[profile][name], training.BlendLayer(sample)
    jit = plan.xla if keras.backend.backend() == "tensorflow" else "auto"
    recipe = training._recipe(layer, BATCH, seed=1, epoch=1, pairs=name != "fractions")
    network, loss = bk.models.BUILDERS[name](**plan.arguments), training.LOSSES[name]
    whole, alone = (training.Blender(network, layer, what, recipe) for what in (loss, only_pixels))
    recipe = {key: ops.convert_to_tensor(value) for key, value in recipe.items()}
    whole.compile(training._optimizer(plan, network), jit_compile=jit)
    alone.compile(jit_compile=jit)
    calls = {"whole": lambda: whole.train_on_batch(recipe), "alone": lambda: alone.test_on_batch(recipe)}
    return network.count_params(), calls


def rows():
    sample = gaussian_sample(1000, (SIZE, SIZE), sigma=4.0)
    blends = bk.draw_blends(sample, 1000, seed=1, turns=False)
    for (what, needed), fill in product(NEEDED.items(), ("zero", "sky")):
        render = partial(bk.render, sample, blends, fill=fill, masks="masks" in what)
        loop = partial(plain_images, sample, blends, fill)
        assert np.array_equal(render()[0], loop()), "they disagree: the comparison would mean nothing"
        ours, plain = (len(blends) / np.median(times) for times in in_turn({"": render, "loop": loop}, ROUNDS))
        what = f"`render`, {what}, fill {fill}"
        yield Row(what, ours, "blends/s", "NumPy loop", plain, ratio_least=needed)
    for profile, name in product(("tutorial", "paper"), bk.models.BUILDERS):
        parameters, calls = steps(name, profile, sample)
        whole, alone = (BATCH / np.median(times) for times in in_turn(calls, STEPS))
        what, asked = f"training `{name}`, {profile}, {parameters:,} parameters", SHARE if profile == "paper" else None
        yield Row(what, whole, "images/s", "making the blends alone", alone, ratio_most=asked)
        keras.backend.clear_session()
