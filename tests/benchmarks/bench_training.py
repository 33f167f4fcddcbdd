"""How much of a training step goes into rendering its blends: `make bench`.

The step of each network at full size, compiled as training compiles it, on 128 x 128 stamps: with blends rendered
inside, with the same blends rendered beforehand and waiting on the device, and the rendering alone. The three are timed
in turn, several times over, so that whatever else the machine does hits all of them. The share is the median of the
rounds' ratios of rendering alone to the whole step; the difference between both steps, printed beside it, measures
the same thing but drowns in the noise of a long step.
"""

import argparse
import statistics
import sys
import time

import keras
import numpy as np
from bench_render import make_sample
from keras import ops

import blendkit as bk
from blendkit import fractions, models, training

NEEDED = 0.05


class Ready(keras.layers.Layer):
    """Stands for a `BlendLayer` whose blends come with the recipe."""

    def parts(self, recipe):
        return (recipe["central"], recipe["companion"]), recipe["masks"], recipe["fluxes"]


def only_pixels(network, blend, training):
    """A loss that needs all that is rendered, and no network."""
    pixels = ops.sum(blend["image"] + ops.sum(blend["masks"], axis=-1), axis=(1, 2))
    return {"loss": pixels + ops.sum(blend["fluxes"], axis=-1)}


def timed(function):
    """Seconds until one call's numbers are here."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def steps(name, sample, batch):
    """Functions that make one step each: blends rendered inside, ready ones, rendering alone."""
    plan = training.PLANS["paper"][name]
    jit = plan.xla if keras.backend.backend() == "tensorflow" else "auto"
    layer = training.BlendLayer(sample)
    recipe = layer.recipe(bk.draw_blends(sample, batch, seed=1))
    recipe["told"] = np.full((batch, 2), fractions.UNTOLD, np.int32)
    (central, companion), masks, fluxes = layer.parts(recipe)
    pixels = {"central": central, "companion": companion, "masks": masks, "fluxes": fluxes}
    ready = recipe | {key: ops.convert_to_numpy(value) for key, value in pixels.items()}
    network, loss = models.BUILDERS[name](**plan.arguments), training.LOSSES[name]
    inside, outside = training.Blender(network, layer, loss, recipe), training.Blender(network, Ready(), loss, ready)
    alone = training.Blender(network, layer, only_pixels, recipe)
    recipe, ready = ({key: ops.convert_to_tensor(value) for key, value in r.items()} for r in (recipe, ready))
    for model in (inside, outside):
        model.compile(keras.optimizers.Adam(1e-6), jit_compile=jit)
    alone.compile(jit_compile=jit)
    return network, {
        "inside": lambda: inside.train_on_batch(recipe),
        "ready": lambda: outside.train_on_batch(ready),
        "alone": lambda: alone.test_on_batch(recipe),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=list(models.BUILDERS), help="all of them when not given")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--strict", action="store_true", help="fail above the share that is allowed")
    args = parser.parse_args()
    sample = make_sample()
    print(f"rendering in a training step, {args.batch} blends, median of {args.rounds} rounds, "
          f"Keras on {keras.backend.backend()}")  # fmt: skip
    titles = f"{'parameters':>11s} {'step':>10s} {'rendering':>10s} {'share':>6s} {'difference':>11s} {'allowed':>8s}"
    print(f"{'':16s} {titles}")
    slow = []
    for name in args.networks:
        network, step = steps(name, sample, args.batch)
        times = {which: [] for which in step}
        for i in range(args.rounds + 1):
            for which in step if i % 2 else reversed(step):
                times[which].append(timed(step[which]))
        inside, ready, alone = (np.array(times[which][1:]) for which in step)  # the first round warms up
        share, difference = statistics.median(alone / inside), statistics.median((inside - ready) / inside)
        slow += [name] * bool(share > NEEDED)
        print(
            f"{name:16s} {network.count_params():11,d} {1e3 * statistics.median(inside):7,.0f} ms "
            f"{1e3 * statistics.median(alone):7.1f} ms {share:6.2%} {difference:+11.1%} {NEEDED:8.0%}", flush=True,
        )  # fmt: skip
        keras.backend.clear_session()
    if slow:
        print(f"more than allowed: {', '.join(slow)}")
        if args.strict:
            sys.exit(1)


if __name__ == "__main__":
    main()
