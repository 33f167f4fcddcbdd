"""How much of a training step goes into rendering its blends and their skies: `make bench`.

The step of each network at full size, compiled as training compiles it, on 128 x 128 stamps, and the rendering alone;
the share is the median of the rounds' ratios.
"""

import keras
import numpy as np
from keras import ops
from shared import gaussians, in_turn, verdict

import blendkit as bk
from blendkit.networks import training

BATCH, ROUNDS, NEEDED = 16, 5, 0.10


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


sample, backend, slow = gaussians(), keras.backend.backend(), {}
print(f"rendering in a training step, {BATCH} blends, median of {ROUNDS} rounds, Keras on {backend}")
print(f"{'':16s} {'parameters':>11s} {'step':>10s} {'rendering':>10s} {'share':>6s}")
for name in bk.models.BUILDERS:
    network, step = steps(name, sample, BATCH)
    whole, alone = in_turn(step, ROUNDS)
    share = np.median(alone / whole)
    times = f"{1e3 * np.median(whole):7,.0f} ms {1e3 * np.median(alone):7.1f} ms"
    print(f"{name:16s} {network.count_params():11,d} {times} {share:6.2%}", flush=True)
    slow[f"{name} renders for more than {NEEDED:.0%} of a step"] = share > NEEDED
    keras.backend.clear_session()
verdict(slow)
