"""How long an epoch waits for the tuner of tf.data's pipelines: `make bench`.

Epochs of blend2flux at tutorial size and of several lengths, their recipes given to `fit` as arrays, as Keras takes
them by itself, and as `blendkit.training` gives them. Both are timed in turn.
"""

import argparse
import statistics
import time

import keras
import numpy as np
from bench_render import make_sample

import blendkit as bk
from blendkit import fractions, models, training


def timed(blender, batches):
    """Seconds of one epoch."""
    start = time.perf_counter()
    blender.fit(**batches, shuffle=False, verbose=0)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", nargs="*", type=int, default=[256, 512, 1024, 1536], help="blends in an epoch")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if keras.backend.backend() != "tensorflow":
        print("only TensorFlow has tf.data: nothing to compare.")
        return
    sample, plan = make_sample(), training.plan_of("blend2flux")
    layer = training.BlendLayer(sample)
    recipe = layer.recipe(bk.draw_blends(sample, max(args.lengths), seed=1))
    recipe["told"] = np.full((max(args.lengths), 2), fractions.UNTOLD, np.int32)
    network = models.blend2flux(**plan.arguments)
    blender = training.Blender(network, layer, training.paper_loss, recipe)
    blender.compile(keras.optimizers.Adam(1e-6), jit_compile=plan.xla)
    print(f"an epoch of blend2flux, batches of {plan.batch}, median of {args.rounds} rounds")
    print(f"{'blends':>8s} {'arrays':>9s} {'blendkit':>9s} {'ratio':>6s}")
    for length in args.lengths:
        rows = {name: column[:length] for name, column in recipe.items()}
        arrays, ours = {"x": rows, "batch_size": plan.batch}, training._batches(rows, plan.batch)
        for batches in (arrays, ours):
            timed(blender, batches)  # warms up
        pairs = [(timed(blender, arrays), timed(blender, ours)) for _ in range(args.rounds)]
        medians = [statistics.median(times) for times in zip(*pairs, strict=True)]
        ratio = statistics.median(a / b for a, b in pairs)
        print(f"{length:8d} {medians[0]:7.2f} s {medians[1]:7.2f} s {ratio:6.2f}", flush=True)


if __name__ == "__main__":
    main()
